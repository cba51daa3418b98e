#include "trackbed/engine/secrets.hpp"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace trackbed {
namespace {

constexpr size_t kMaxSecretBytes = 64 * 1024;

class LocalSecrets final : public SecretSource {
 public:
  explicit LocalSecrets(std::string folder) : folder_(std::move(folder)) {}

  Status CheckSource(std::string_view source) const override {
    if (source == "env" || source == "file") return absl::OkStatus();
    return InvalidArgument(
        absl::StrCat("found secret source \"", AbslView(source), "\", expected env or file"));
  }

  StatusOr<std::string> Resolve(std::string_view source, std::string_view name) override {
    TRACKBED_RETURN_IF_ERROR(CheckSource(source));
    return source == "env" ? FromEnvironment(std::string(name)) : FromFile(std::string(name));
  }

 private:
  static StatusOr<std::string> FromEnvironment(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    if (value != nullptr) return std::string(value);
    return NotFound(absl::StrCat("secret ", name, " is not set; export ", name, "=…"));
  }

  StatusOr<std::string> FromFile(const std::string& name) const {
    if (name.empty() || name.find('/') != std::string::npos || name.starts_with('.')) {
      return InvalidArgument(
          absl::StrCat("found secret \"", name, "\", expected a plain file name"));
    }
    const std::string path = absl::StrCat(folder_, "/", name);
    // A pipe is not waited for.
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return NotFound(absl::StrCat("there is no secret file ", path));
    StatusOr<std::string> value = ReadPrivate(file, path);
    ::close(file);
    return value;
  }

  static StatusOr<std::string> ReadPrivate(int file, const std::string& path) {
    struct stat status{};
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
      return InvalidArgument(absl::StrCat(path, " is not a file"));
    }
    if ((status.st_mode & 077U) != 0) {
      return FailedPrecondition(
          absl::StrCat(path, " can be read by others; run: chmod 600 ", path));
    }
    std::string value(kMaxSecretBytes + 1, '\0');
    const ssize_t size = ::read(file, value.data(), value.size());
    if (size < 0 || static_cast<size_t>(size) > kMaxSecretBytes) {
      return InvalidArgument(absl::StrCat(path, " is larger than ", kMaxSecretBytes, " bytes"));
    }
    value.resize(static_cast<size_t>(size));
    if (value.ends_with('\n')) value.pop_back();
    return value;
  }

  std::string folder_;
};

}  // namespace

std::unique_ptr<SecretSource> NewLocalSecrets(std::string folder) {
  return std::make_unique<LocalSecrets>(std::move(folder));
}

}  // namespace trackbed
