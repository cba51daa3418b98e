#include "executors/attempt_log.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>

namespace trackbed {

void AttemptLog::Close() {
  if (file_ >= 0) close(file_);
  file_ = -1;
}

void AttemptLog::Begin(const std::string& path) {
  Close();
  mask_ = fresh_mask_;
  position_ = 0;
  file_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0 && error_ == 0) error_ = errno;
  struct stat status{};
  held_ = file_ >= 0 && fstat(file_, &status) == 0 ? status.st_size : 0;
}

void AttemptLog::Write(std::string_view bytes) {
  if (fresh_mask_.empty()) {
    Put(bytes);
    return;
  }
  std::string shown;
  mask_.Feed(bytes, &shown);
  Put(shown);
}

void AttemptLog::Finish() {
  std::string rest;
  mask_.Finish(&rest);
  Put(rest);
  if (file_ >= 0 && ftruncate(file_, position_) != 0 && error_ == 0) error_ = errno;
  Close();
}

void AttemptLog::Put(std::string_view text) {
  while (file_ >= 0 && !text.empty()) {
    const ssize_t written = pwrite(file_, text.data(), text.size(), position_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      if (error_ == 0) error_ = errno;
      return;
    }
    position_ += written;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace trackbed
