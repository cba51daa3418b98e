// Reads a folder tree and digests what is in it. The part below tree_digest.hpp that the supervisor
// program shares: it does without Abseil, so errors are plain values here.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trackbed/data/tree_entry.hpp"

namespace trackbed {

struct TreeError {
  int error_number = 0;  // errno; 0 when the system reported none (a special file)
  std::string message;   // names the entry
};

struct TreeWalkOptions {
  // True for entries to leave out, with all below them.
  std::function<bool(const std::string& path, bool folder)> skip;
  bool digests = true;  // false: leave TreeEntry::digest empty and read no file
};

// Everything below `folder`, sorted by path. The folder itself may be given by a link to it.
std::optional<TreeError> WalkTree(const std::string& folder, const TreeWalkOptions& options,
                                  std::vector<TreeEntry>* entries);

// "sha256:…" of a tree whose entries are sorted by path.
std::string DigestTreeEntries(std::span<const TreeEntry> entries);

// Reads `descriptor` to its end; "sha256:…" of the bytes. When `copy` is not -1 the bytes are also
// written there.
std::optional<TreeError> DigestDescriptor(int descriptor, int copy, std::string* digest,
                                          int64_t* size);

}  // namespace trackbed
