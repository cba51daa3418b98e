#include "executors/host_files.hpp"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace trackbed {

Status HostStatus(int error_number, std::string_view what) {
  const std::string message = std::string(what) + ": " + strerror(error_number);
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted(message);
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return Unavailable(message);
    default:
      return FailedPrecondition(message);
  }
}

Status MakeFolders(const std::string& path) {
  if (mkdir(path.c_str(), 0777) == 0) return absl::OkStatus();
  int error_number = errno;
  if (error_number == ENOENT) {
    const size_t slash = path.find_last_of('/');
    if (slash != std::string::npos && slash > 0) {
      TRACKBED_RETURN_IF_ERROR(MakeFolders(path.substr(0, slash)));
      if (mkdir(path.c_str(), 0777) == 0) return absl::OkStatus();
      error_number = errno;
    }
  }
  if (error_number == EEXIST && IsFolder(path)) return absl::OkStatus();
  return HostStatus(error_number, "cannot make the folder " + path);
}

bool IsFolder(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool IsRealFolder(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool PathExists(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0;
}

StatusOr<std::vector<std::string>> ListFolder(const std::string& path) {
  DIR* stream = opendir(path.c_str());
  if (stream == nullptr) return HostStatus(errno, "cannot read the folder " + path);
  const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, closedir);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(stream)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

StatusOr<std::vector<std::string>> PathParts(std::string_view path, std::string_view what) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == ".." || part.find('\0') != std::string_view::npos) {
      return InvalidArgument(std::string(what) + " \"" + std::string(path) +
                             "\" may not climb out of its folder by \"..\"");
    }
    if (!part.empty() && part != ".") parts.emplace_back(part);
    begin = end + 1;
  }
  return parts;
}

std::string JoinParts(const std::vector<std::string>& parts, bool absolute) {
  std::string path;
  for (const std::string& part : parts) {
    if (absolute || !path.empty()) path += '/';
    path += part;
  }
  return path;
}

bool IsWithin(std::string_view path, std::string_view folder) {
  if (!path.starts_with(folder)) return false;
  return path.size() == folder.size() || path[folder.size()] == '/';
}

}  // namespace trackbed
