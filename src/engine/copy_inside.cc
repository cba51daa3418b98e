#include "engine/copy_inside.hpp"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file_descriptor.hpp"
#include "engine/sqlite_error.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;

Status CannotWrite(const std::string& path) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": cannot write: ", std::strerror(error));
  return IsOutOfSpace(error) ? ResourceExhausted(message) : FailedPrecondition(message);
}

// Where what is open lies now; "" when that cannot be told.
std::string PathOf(const FileDescriptor& file) {
  std::string path(PATH_MAX, '\0');
  const ssize_t length =
      ::readlink(absl::StrCat("/proc/self/fd/", file.get()).c_str(), path.data(), path.size());
  path.resize(length < 0 ? 0 : static_cast<size_t>(length));
  return path;
}

// It is looked at where the file lies once it is open, so that links which change while they are
// followed lead nowhere else.
bool LiesIn(const std::string& folder, const FileDescriptor& file) {
  std::error_code error;
  const fs::path place(folder);
  // The folder itself is no link: its parent is what is trusted.
  const fs::path parent = fs::canonical(place.parent_path(), error);
  return !error && PathOf(file).starts_with((parent / place.filename()).string() + "/");
}

// The folder that `name` is in, below `to`.
Status OpenParent(const std::string& to, const fs::path& name, FileDescriptor* folder) {
  std::error_code error;
  fs::create_directories(to, error);
  folder->Reset(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder->ok()) return CannotWrite(to);
  for (const fs::path& part : name.parent_path()) {
    const std::string next = part.string();
    if (::mkdirat(folder->get(), next.c_str(), 0777) != 0 && errno != EEXIST) {
      return CannotWrite(absl::StrCat(to, "/", name.string()));
    }
    folder->Reset(
        ::openat(folder->get(), next.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder->ok()) return CannotWrite(absl::StrCat(to, "/", name.string()));
  }
  return absl::OkStatus();
}

bool CopyBytes(int from, int to, off_t size) {
  while (size > 0) {
    const ssize_t copied = ::sendfile(to, from, nullptr, static_cast<size_t>(size));
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) return false;
    if (copied == 0) break;  // it has become shorter
    size -= copied;
  }
  return true;
}

}  // namespace

Status CopyInside(const std::string& from, const std::string& path, const std::string& to,
                  const std::string& name) {
  const std::string whole = absl::StrCat(from, "/", path);
  // A pipe is not waited for.
  const FileDescriptor source(::open(whole.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat status{};
  if (!source.ok() || ::fstat(source.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      !LiesIn(from, source)) {
    return NotFound(absl::StrCat("there is no file ", whole));
  }
  FileDescriptor folder(-1);
  TRACKBED_RETURN_IF_ERROR(OpenParent(to, name, &folder));
  const std::string file = fs::path(name).filename().string();
  const std::string draft = absl::StrCat(file, ".tmp-", ::getpid());
  (void)::unlinkat(folder.get(), draft.c_str(), 0);
  constexpr mode_t kPermissions = 0777;
  const FileDescriptor copy(
      ::openat(folder.get(), draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (copy.ok() && CopyBytes(source.get(), copy.get(), status.st_size) &&
      ::fchmod(copy.get(), status.st_mode & kPermissions) == 0 &&
      ::renameat(folder.get(), draft.c_str(), folder.get(), file.c_str()) == 0) {
    return absl::OkStatus();
  }
  const Status error = CannotWrite(absl::StrCat(to, "/", name));
  if (copy.ok()) (void)::unlinkat(folder.get(), draft.c_str(), 0);
  return error;
}

}  // namespace trackbed
