// Copying a file that is named by somebody who is not trusted, from a folder that he may change.
#pragma once

#include <string>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Copies the file `path` of the folder `from` to `name` in the folder `to`, which is made when
// missing; what is there in its place is replaced at once. Links in `from` are followed, but the
// file that is read lies in `from`, whatever is exchanged meanwhile; no link below `to` is
// followed. Of the mode only the permissions are kept.
//
// kNotFound            there is no such file, or links lead out of `from`
// kFailedPrecondition  it cannot be written, or a link below `to` is in the way
// kResourceExhausted   the disk is full
Status CopyInside(const std::string& from, const std::string& path, const std::string& to,
                  const std::string& name);

}  // namespace trackbed
