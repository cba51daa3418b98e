#include "executors/work_folder.hpp"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace trackbed {
namespace {

constexpr off_t kLargestCopy = 16 << 20;

bool IsRealFolderAt(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool IsThere(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0;
}

}  // namespace

bool AppearsAsCopy(const std::string& target) {
  struct stat status{};
  return lstat(target.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         status.st_size <= kLargestCopy;
}

bool MakeWorkFolder(const std::string& folder, const LaunchRecord& record, std::string* message) {
  for (const std::string& name : record.folders) {
    const std::string path = folder + "/" + name;
    if (mkdir(path.c_str(), 0777) != 0 && !(errno == EEXIST && IsRealFolderAt(path))) {
      *message = "cannot make the folder " + name + ": " + strerror(errno);
      return false;
    }
  }
  for (const auto& [name, target] : record.links) {
    const std::string path = folder + "/" + name;
    if (IsThere(path)) continue;
    if (AppearsAsCopy(target)) {
      // A copy appears whole, so that one who starts again does not take half a file for it.
      const std::string draft = path + ".trackbed-draft";
      std::error_code error;
      std::filesystem::copy_file(target, draft, std::filesystem::copy_options::overwrite_existing,
                                 error);
      if (!error) std::filesystem::rename(draft, path, error);
      if (!error) continue;
      unlink(draft.c_str());
    }
    if (symlink(target.c_str(), path.c_str()) != 0) {
      *message = "cannot make the link " + name + ": " + strerror(errno);
      return false;
    }
  }
  return true;
}

}  // namespace trackbed
