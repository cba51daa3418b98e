// Content digests of files and folder trees: equal trees have equal digests, on every machine.
//
// What counts: relative paths, types, the owner's executable bit, the bytes of files and the target
// text of symbolic links. What does not: times, owners, other permission bits, order on disk. Links
// are never followed, so nothing outside the tree is read. Sockets, pipes and devices are refused.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/data/tree_entry.hpp"

namespace trackbed {

// Everything below `folder`, sorted by path (bytewise). kNotFound when it is missing,
// kFailedPrecondition for what cannot be read and for special files, naming them.
StatusOr<std::vector<TreeEntry>> ListTree(const std::string& folder);

// "sha256:…" of what ListTree found: the digest of the tree. `entries` must be sorted by path.
std::string DigestOfEntries(std::span<const TreeEntry> entries);

// DigestOfEntries(ListTree(folder)).
StatusOr<std::string> TreeDigest(const std::string& folder);

// "sha256:…" of the bytes of one regular file (a link to one is followed).
StatusOr<std::string> FileDigest(const std::string& path);

}  // namespace trackbed
