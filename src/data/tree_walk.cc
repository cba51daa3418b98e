#include "data/tree_walk.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "trackbed/base/sha256.hpp"

namespace trackbed {
namespace {

// Each level of folders costs a descriptor while it is read.
constexpr int kMaxDepth = 200;
constexpr size_t kBufferBytes = size_t{128} * 1024;

TreeError SystemError(int error_number, std::string_view what, std::string_view path) {
  return {error_number,
          std::string(what) + " \"" + std::string(path) + "\": " + strerror(error_number)};
}

class Walker {
 public:
  Walker(const TreeWalkOptions& options, std::vector<TreeEntry>* entries)
      : options_(options), entries_(entries) {}

  // Takes ownership of `descriptor`. `prefix` is "" or ends with "/".
  std::optional<TreeError> Folder(int descriptor, const std::string& prefix, int depth) {
    DIR* stream = fdopendir(descriptor);
    if (stream == nullptr) {
      const int error_number = errno;
      close(descriptor);
      return SystemError(error_number, "cannot read the folder", Shown(prefix));
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, closedir);
    if (depth > kMaxDepth) {
      return TreeError{0, "\"" + prefix + "\" is nested deeper than 200 folders"};
    }
    while (true) {
      errno = 0;
      const dirent* found = readdir(stream);
      if (found == nullptr) {
        if (errno == 0) return std::nullopt;
        return SystemError(errno, "cannot read the folder", Shown(prefix));
      }
      const std::string name = found->d_name;
      if (name == "." || name == "..") continue;
      if (auto error = Entry(dirfd(stream), name, prefix + name, depth)) return error;
    }
  }

 private:
  static std::string_view Shown(const std::string& prefix) {
    return prefix.empty() ? std::string_view(".") : std::string_view(prefix);
  }

  std::optional<TreeError> Entry(int parent, const std::string& name, const std::string& path,
                                 int depth) {
    struct stat status{};
    if (fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return SystemError(errno, "cannot look at", path);
    }
    const bool folder = S_ISDIR(status.st_mode);
    if (options_.skip && options_.skip(path, folder)) return std::nullopt;
    TreeEntry entry;
    entry.path = path;
    entry.mode = status.st_mode & 07777U;
    if (folder) {
      entry.type = TreeEntry::Type::folder;
      entries_->push_back(std::move(entry));
      const int child =
          openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (child < 0) return SystemError(errno, "cannot read the folder", path);
      return Folder(child, path + "/", depth + 1);
    }
    std::optional<TreeError> error;
    if (S_ISLNK(status.st_mode)) {
      error = Link(parent, name, &entry);
    } else if (S_ISREG(status.st_mode)) {
      error = File(parent, name, status.st_size, &entry);
    } else {
      error = TreeError{0, "\"" + path + "\" is neither a file, a folder nor a link"};
    }
    if (!error) entries_->push_back(std::move(entry));
    return error;
  }

  std::optional<TreeError> Link(int parent, const std::string& name, TreeEntry* entry) const {
    std::string target(PATH_MAX, '\0');
    const ssize_t length = readlinkat(parent, name.c_str(), target.data(), target.size());
    if (length < 0) return SystemError(errno, "cannot read the link", entry->path);
    target.resize(static_cast<size_t>(length));
    entry->type = TreeEntry::Type::link;
    entry->size = length;
    if (options_.digests) entry->digest = ContentAddress(target);
    return std::nullopt;
  }

  std::optional<TreeError> File(int parent, const std::string& name, int64_t size,
                                TreeEntry* entry) const {
    entry->size = size;
    if (!options_.digests) return std::nullopt;
    // Not blocking: should somebody put a pipe in the file's place just now, open must not wait.
    const int file = openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return SystemError(errno, "cannot read", entry->path);
    auto error = DigestDescriptor(file, -1, &entry->digest, &entry->size);
    close(file);
    if (error) error->message += " (\"" + entry->path + "\")";
    return error;
  }

  const TreeWalkOptions& options_;
  std::vector<TreeEntry>* entries_;
};

std::optional<TreeError> WriteAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return TreeError{errno, std::string("cannot write the copy: ") + strerror(errno)};
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return std::nullopt;
}

}  // namespace

std::optional<TreeError> WalkTree(const std::string& folder, const TreeWalkOptions& options,
                                  std::vector<TreeEntry>* entries) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return SystemError(errno, "cannot read the folder", folder);
  if (auto error = Walker(options, entries).Folder(descriptor, "", 1)) {
    error->message = folder + ": " + error->message;
    return error;
  }
  std::sort(entries->begin(), entries->end(),
            [](const TreeEntry& a, const TreeEntry& b) { return a.path < b.path; });
  return std::nullopt;
}

std::string DigestTreeEntries(std::span<const TreeEntry> entries) {
  Sha256 hash;
  hash.UpdateField("trackbed-tree 1");
  for (const TreeEntry& entry : entries) {
    hash.UpdateField(entry.path);
    switch (entry.type) {
      case TreeEntry::Type::folder:
        hash.UpdateField("folder");
        break;
      case TreeEntry::Type::link:
        hash.UpdateField("link");
        break;
      case TreeEntry::Type::file:
        hash.UpdateField(entry.executable() ? "program" : "file");
        break;
    }
    hash.UpdateField(entry.digest);
  }
  return "sha256:" + hash.FinishHex();
}

std::optional<TreeError> DigestDescriptor(int descriptor, int copy, std::string* digest,
                                          int64_t* size) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0) return TreeError{errno, strerror(errno)};
  if (!S_ISREG(status.st_mode)) return TreeError{0, "not a regular file"};
  Sha256 hash;
  const auto buffer = std::make_unique<char[]>(kBufferBytes);
  *size = 0;
  while (true) {
    const ssize_t count = read(descriptor, buffer.get(), kBufferBytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return TreeError{errno, std::string("cannot read: ") + strerror(errno)};
    if (count == 0) break;
    const std::string_view bytes(buffer.get(), static_cast<size_t>(count));
    hash.Update(bytes);
    *size += count;
    if (copy >= 0) {
      if (auto error = WriteAll(copy, bytes)) return error;
    }
  }
  *digest = "sha256:" + hash.FinishHex();
  return std::nullopt;
}

}  // namespace trackbed
