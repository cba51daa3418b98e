#include "trackbed/data/source_snapshot.hpp"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "data/tree_copy.hpp"
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
    TRACKBED_RETURN_IF_ERROR(CopyTree(folder, snapshot.entries, snapshot.path, &changed));
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
