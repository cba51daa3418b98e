// Source code as it was when a run began: a read-only copy, addressed by its content.
//
// Many runs of the same code share one copy. Never copied: `.git`, `.trackbed`, `__pycache__`,
// `*.pyc`, `.venv`, `node_modules`, and what the file `.trackbedignore` in the source names: one
// shell pattern a line ("*.bin", "data/*", "build/"), matched against the name and against the
// relative path of each entry; a trailing "/" matches folders only; "#" starts a comment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/data/tree_entry.hpp"

namespace trackbed {

struct SourceSnapshotOptions {
  int64_t max_bytes = int64_t{1} << 30;
};

struct SourceSnapshot {
  std::string path;                // store_folder/<hexadecimal digest>
  std::string digest;              // "sha256:…" of the tree (DigestOfEntries of `entries`)
  std::vector<TreeEntry> entries;  // sorted by path
};

// Copies `folder` into the store unless a copy of the same content is there already. Safe against
// crashes and against others doing the same: a copy appears under its digest only when complete.
//
// kNotFound            no such folder
// kInvalidArgument     larger than the limit; the message names the largest entries
// kFailedPrecondition  something in it cannot be read, or the store cannot be written
// kResourceExhausted   the disk is full
// kUnavailable         the source kept changing while it was copied
StatusOr<SourceSnapshot> SnapshotSource(const std::string& folder, const std::string& store_folder,
                                        const SourceSnapshotOptions& options = {});

// The digest of the part of the snapshot that `files` (files or folders, relative) name; the whole
// when `files` is empty. The order and repetitions in `files` do not matter. kNotFound names all
// that do not exist.
StatusOr<std::string> DigestOfFiles(const SourceSnapshot& snapshot,
                                    const std::vector<std::string>& files);

}  // namespace trackbed
