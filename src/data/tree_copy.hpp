// Copies of folder trees that appear only when they are whole.
#pragma once

#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/data/tree_entry.hpp"

namespace trackbed {

// Copies what `entries` (sorted by path, with digests) list of the folder `from` to `to`,
// read-only. Safe against crashes and against others doing the same. Where `to` is already, it
// stays. *changed, with nothing left of the copy: the source is no longer as listed.
//
// kFailedPrecondition  something cannot be read, or written
// kResourceExhausted   the disk is full
Status CopyTree(const std::string& from, const std::vector<TreeEntry>& entries,
                const std::string& to, bool* changed);

}  // namespace trackbed
