// An open file, closed when this goes.
#pragma once

#include <unistd.h>

namespace trackbed {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() { Reset(-1); }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  // Closes what is open, and takes over `fd`.
  void Reset(int fd) {
    if (ok()) ::close(fd_);
    fd_ = fd;
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }  // else opening it failed, and errno says why

 private:
  int fd_;
};

}  // namespace trackbed
