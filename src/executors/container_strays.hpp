// Attempts that were given up, and containers that are left of them and of others.
#pragma once

#include <string>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Who the containers of the attempts below `home` belong to: what the file `containers` there says,
// which is made when missing, with a random name.
StatusOr<std::string> ContainerOwner(const std::string& home);

// Writes into the attempt's folder that it was given up: what has not begun never does, and what
// runs ends as soon as it reads that. False when it had begun.
bool MarkGivenUp(const std::string& folder);
bool WasGivenUp(const std::string& folder);

// Whether nobody will ask any more for the container of the attempt in `folder`: it has ended, was
// given up, or is gone. False for whatever does not lie below `home`, and while `home` is not that
// of `owner`: then nothing is known.
bool IsStray(const std::string& folder, const std::string& home, const std::string& owner);

}  // namespace trackbed
