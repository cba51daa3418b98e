#include "trackbed/data/source_snapshot.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "data/tree_status.hpp"
#include "data/tree_walk.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

constexpr std::array<const char*, 6> kNeverCopied = {".git",  ".trackbed", "__pycache__",
                                                     "*.pyc", ".venv",     "node_modules"};
constexpr std::string_view kIgnoreFile = "/.trackbedignore";
constexpr int kCopyAttempts = 3;
constexpr size_t kLargestNamed = 5;

struct IgnorePattern {
  std::string text;
  bool folders_only = false;
};

std::vector<IgnorePattern> ReadIgnorePatterns(const std::string& folder) {
  std::vector<IgnorePattern> patterns;
  for (const char* name : kNeverCopied) patterns.push_back({name});
  std::ifstream file(folder + std::string(kIgnoreFile));
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) {
      line.pop_back();
    }
    if (line.empty() || line.front() == '#') continue;
    IgnorePattern pattern;
    pattern.folders_only = line.back() == '/';
    if (pattern.folders_only) line.pop_back();
    if (line.starts_with("./")) line.erase(0, 2);
    if (line.starts_with("/")) line.erase(0, 1);
    if (line.empty()) continue;
    pattern.text = line;
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

bool Ignored(const std::vector<IgnorePattern>& patterns, const std::string& path, bool folder) {
  const size_t slash = path.rfind('/');
  const char* name = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
  return std::any_of(patterns.begin(), patterns.end(), [&](const IgnorePattern& pattern) {
    if (pattern.folders_only && !folder) return false;
    return fnmatch(pattern.text.c_str(), name, 0) == 0 ||
           fnmatch(pattern.text.c_str(), path.c_str(), FNM_PATHNAME) == 0;
  });
}

std::string BytesText(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  int64_t tenths = bytes * 10;
  while (tenths >= 10240 && unit + 1 < kUnits.size()) {
    tenths /= 1024;
    ++unit;
  }
  std::string text = std::to_string(tenths / 10);
  if (unit > 0) text += "." + std::to_string(tenths % 10);
  return text + " " + kUnits[unit];
}

// The message names top-level entries: that is what one would write into the ignore file.
Status CheckSize(const std::string& folder, const std::vector<TreeEntry>& entries,
                 int64_t max_bytes) {
  int64_t total = 0;
  std::map<std::string, int64_t> by_name;
  for (const TreeEntry& entry : entries) {
    total += entry.size;
    by_name[entry.path.substr(0, entry.path.find('/'))] += entry.size;
  }
  if (total <= max_bytes) return absl::OkStatus();
  std::vector<std::pair<int64_t, std::string>> largest;
  for (const auto& [name, size] : by_name) largest.emplace_back(size, name);
  std::sort(largest.rbegin(), largest.rend());
  if (largest.size() > kLargestNamed) largest.resize(kLargestNamed);
  std::string message = "the source folder " + folder + " has " + BytesText(total) +
                        ", more than the limit of " + BytesText(max_bytes) + "; largest:";
  for (const auto& [size, name] : largest) message += " " + name + " (" + BytesText(size) + "),";
  message.pop_back();
  return InvalidArgument(message + ". Name what tasks do not need in .trackbedignore");
}

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
Status CopyTree(const std::string& from, const std::string& to,
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

std::string TemporaryName(const std::string& store_folder) {
  static std::atomic<uint64_t> counter{0};
  return store_folder + "/.copy-" + std::to_string(getpid()) + "-" +
         std::to_string(counter.fetch_add(1)) + "-" + std::to_string(time(nullptr));
}

Status CopyIntoStore(const std::string& folder, const std::string& store_folder,
                     const SourceSnapshot& snapshot, bool* changed) {
  TRACKBED_RETURN_IF_ERROR(MakeFolders(store_folder));
  const std::string temporary = TemporaryName(store_folder);
  if (mkdir(temporary.c_str(), 0700) != 0) return SystemStatus("cannot make", temporary);
  const Status status = CopyTree(folder, temporary, snapshot.entries, changed);
  if (!status.ok() || *changed) {
    RemoveCopy(temporary);
    return status;
  }
  return Publish(temporary, snapshot.path);
}

std::string Normalized(std::string_view path) {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

// Selects `path` and all below it. `entries` are sorted bytewise, so what lies below "a" is not
// next to "a" ("a.b" sorts between "a" and "a/b"): two searches.
bool Select(const std::vector<TreeEntry>& entries, const std::string& path,
            std::set<size_t>* selected) {
  const auto by_path = [](const TreeEntry& entry, const std::string& key) {
    return entry.path < key;
  };
  const auto itself = std::lower_bound(entries.begin(), entries.end(), path, by_path);
  if (itself == entries.end() || itself->path != path) return false;
  selected->insert(static_cast<size_t>(itself - entries.begin()));
  const std::string prefix = path + "/";
  for (auto below = std::lower_bound(entries.begin(), entries.end(), prefix, by_path);
       below != entries.end() && below->path.starts_with(prefix); ++below) {
    selected->insert(static_cast<size_t>(below - entries.begin()));
  }
  return true;
}

}  // namespace

StatusOr<SourceSnapshot> SnapshotSource(const std::string& folder, const std::string& store_folder,
                                        const SourceSnapshotOptions& options) {
  const std::vector<IgnorePattern> patterns = ReadIgnorePatterns(folder);
  TreeWalkOptions walk;
  walk.skip = [&patterns](const std::string& path, bool is_folder) {
    return Ignored(patterns, path, is_folder);
  };
  for (int attempt = 0; attempt < kCopyAttempts; ++attempt) {
    SourceSnapshot snapshot;
    // Sizes before contents: nobody should wait for gigabytes to be read only to be refused.
    walk.digests = false;
    if (auto error = WalkTree(folder, walk, &snapshot.entries)) return ToStatus(*error);
    TRACKBED_RETURN_IF_ERROR(CheckSize(folder, snapshot.entries, options.max_bytes));
    snapshot.entries.clear();
    walk.digests = true;
    if (auto error = WalkTree(folder, walk, &snapshot.entries)) return ToStatus(*error);
    snapshot.digest = DigestOfEntries(snapshot.entries);
    snapshot.path = store_folder + "/" + snapshot.digest.substr(snapshot.digest.find(':') + 1);
    struct stat status{};
    if (lstat(snapshot.path.c_str(), &status) == 0) return snapshot;
    bool changed = false;
    TRACKBED_RETURN_IF_ERROR(CopyIntoStore(folder, store_folder, snapshot, &changed));
    if (!changed) return snapshot;
  }
  return Unavailable("the source folder " + folder + " kept changing while it was copied");
}

StatusOr<std::string> DigestOfFiles(const SourceSnapshot& snapshot,
                                    const std::vector<std::string>& files) {
  std::set<size_t> selected;
  std::string missing;
  bool all = files.empty();
  for (const std::string& file : files) {
    const std::string path = Normalized(file);
    if (path == "." || path.empty()) {
      all = true;
    } else if (!Select(snapshot.entries, path, &selected)) {
      missing += (missing.empty() ? "\"" : ", \"") + file + "\"";
    }
  }
  if (!missing.empty()) return NotFound("the source has no " + missing);
  if (all) return DigestOfEntries(snapshot.entries);
  std::vector<TreeEntry> part;
  for (const size_t index : selected) part.push_back(snapshot.entries[index]);
  return DigestOfEntries(part);
}

}  // namespace trackbed
