#include "data/tree_copy.hpp"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <filesystem>
#include <string_view>

#include "data/tree_status.hpp"
#include "data/tree_walk.hpp"

namespace trackbed {
namespace {

Status SystemStatus(std::string_view what, const std::string& path) {
  const int error_number = errno;
  // A folder of the store that is missing half-way is a wrong state, not an unknown name.
  const int code = error_number == ENOENT ? EACCES : error_number;
  return FileStatus(code, std::string(what) + " " + path + ": " + strerror(error_number));
}

Status CopyFile(const std::string& from, const std::string& to, const TreeEntry& entry,
                bool* changed) {
  const int source = open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (source < 0) {
    if (errno == ENOENT || errno == ELOOP) {
      *changed = true;
      return absl::OkStatus();
    }
    return SystemStatus("cannot read", from);
  }
  const int copy = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (copy < 0) {
    const Status status = SystemStatus("cannot write", to);
    close(source);
    return status;
  }
  std::string digest;
  int64_t size = 0;
  const auto error = DigestDescriptor(source, copy, &digest, &size);
  close(source);
  Status status = absl::OkStatus();
  if (error) {
    status = FileStatus(error->error_number, from + ": " + error->message);
  } else if (fchmod(copy, entry.executable() ? 0555 : 0444) != 0) {
    status = SystemStatus("cannot change the mode of", to);
  }
  if (close(copy) != 0 && status.ok()) status = SystemStatus("cannot write", to);
  if (status.ok() && digest != entry.digest) *changed = true;
  return status;
}

Status CopyLink(const std::string& from, const std::string& to, const TreeEntry& entry,
                bool* changed) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = readlink(from.c_str(), target.data(), target.size());
  if (length != entry.size) {
    *changed = true;
    return absl::OkStatus();
  }
  target.resize(static_cast<size_t>(length));
  if (symlink(target.c_str(), to.c_str()) != 0) return SystemStatus("cannot make the link", to);
  return absl::OkStatus();
}

// Copies the entries into the empty folder `to`. *changed: the source is no longer as listed.
Status FillCopy(const std::string& from, const std::string& to,
                const std::vector<TreeEntry>& entries, bool* changed) {
  for (const TreeEntry& entry : entries) {
    const std::string source = from + "/" + entry.path;
    const std::string target = to + "/" + entry.path;
    switch (entry.type) {
      case TreeEntry::Type::folder:
        if (mkdir(target.c_str(), 0700) != 0) return SystemStatus("cannot make", target);
        break;
      case TreeEntry::Type::link:
        TRACKBED_RETURN_IF_ERROR(CopyLink(source, target, entry, changed));
        break;
      case TreeEntry::Type::file:
        TRACKBED_RETURN_IF_ERROR(CopyFile(source, target, entry, changed));
        break;
    }
    if (*changed) return absl::OkStatus();
  }
  // Read-only from the leaves up, or the copy could not have been filled.
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const std::string target = to + "/" + entry->path;
    if (entry->type == TreeEntry::Type::folder && chmod(target.c_str(), 0555) != 0) {
      return SystemStatus("cannot change the mode of", target);
    }
  }
  if (chmod(to.c_str(), 0555) != 0) return SystemStatus("cannot change the mode of", to);
  return absl::OkStatus();
}

void RemoveCopy(const std::string& path) {
  std::error_code ignored;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all, ignored);
  using Iterator = std::filesystem::recursive_directory_iterator;
  for (Iterator it(path, ignored), end; !ignored && it != end; it.increment(ignored)) {
    if (it->is_directory(ignored) && !it->is_symlink(ignored)) {
      std::filesystem::permissions(it->path(), std::filesystem::perms::owner_all, ignored);
    }
  }
  std::filesystem::remove_all(path, ignored);
}

// Puts a finished copy in place. Losing to another that copied the same is as good as winning.
Status Publish(const std::string& temporary, const std::string& final_path) {
  if (rename(temporary.c_str(), final_path.c_str()) == 0) return absl::OkStatus();
  const int error_number = errno;
  const bool taken = error_number == EEXIST || error_number == ENOTEMPTY;
  const Status status =
      taken ? absl::OkStatus() : SystemStatus("cannot put the copy in place at", final_path);
  RemoveCopy(temporary);
  return status;
}

Status MakeFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return absl::OkStatus();
  errno = error.value();
  return SystemStatus("cannot make the folder", path);
}

std::string TemporaryName(const std::string& folder) {
  static std::atomic<uint64_t> counter{0};
  return folder + "/.copy-" + std::to_string(getpid()) + "-" +
         std::to_string(counter.fetch_add(1)) + "-" + std::to_string(time(nullptr));
}

}  // namespace

Status CopyTree(const std::string& from, const std::vector<TreeEntry>& entries,
                const std::string& to, bool* changed) {
  const std::string folder = std::filesystem::path(to).parent_path().string();
  TRACKBED_RETURN_IF_ERROR(MakeFolders(folder));
  const std::string temporary = TemporaryName(folder);
  if (mkdir(temporary.c_str(), 0700) != 0) return SystemStatus("cannot make", temporary);
  const Status status = FillCopy(from, temporary, entries, changed);
  if (!status.ok() || *changed) {
    RemoveCopy(temporary);
    return status;
  }
  return Publish(temporary, to);
}

}  // namespace trackbed
