#include "trackbed/data/tree_digest.hpp"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "data/tree_status.hpp"
#include "data/tree_walk.hpp"

namespace trackbed {

Status FileStatus(int error_number, std::string_view message) {
  switch (error_number) {
    case ENOENT:
      return NotFound(message);
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted(message);
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case ENOMEM:
      return Unavailable(message);
    default:
      return FailedPrecondition(message);
  }
}

StatusOr<std::vector<TreeEntry>> ListTree(const std::string& folder) {
  std::vector<TreeEntry> entries;
  if (auto error = WalkTree(folder, {}, &entries)) return ToStatus(*error);
  return entries;
}

std::string DigestOfEntries(std::span<const TreeEntry> entries) {
  return DigestTreeEntries(entries);
}

StatusOr<std::string> TreeDigest(const std::string& folder) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<TreeEntry> entries, ListTree(folder));
  return DigestOfEntries(entries);
}

StatusOr<std::string> FileDigest(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) {
    return FileStatus(errno, "cannot read \"" + path + "\": " + strerror(errno));
  }
  std::string digest;
  int64_t size = 0;
  const auto error = DigestDescriptor(file, -1, &digest, &size);
  close(file);
  if (error) return FileStatus(error->error_number, "\"" + path + "\": " + error->message);
  return digest;
}

}  // namespace trackbed
