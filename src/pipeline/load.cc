// Reads a pipeline from a file of any form known.
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/file_descriptor.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {
namespace {

Status SystemError(std::string_view what, int error) {
  return InvalidArgument(
      absl::StrCat(AbslView(what), ": ", std::generic_category().message(error)));
}

// Reads to the end, but never more than `limit` bytes: a file may grow while it is read.
StatusOr<std::string> ReadUpTo(int fd, size_t expected_size, size_t limit) {
  std::string text;
  text.reserve(expected_size);
  char piece[1 << 16];
  while (text.size() <= limit) {
    const ssize_t count = read(fd, piece, sizeof(piece));
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("cannot read the file", errno);
    text.append(piece, static_cast<size_t>(count));
  }
  return text;  // too long, as the parser will find
}

StatusOr<std::string> ReadRegularFile(const std::string& path, size_t limit) {
  // Opening a pipe without O_NONBLOCK would wait for a writer.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.ok()) return SystemError("cannot open the file", errno);
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return SystemError("cannot read the file", errno);
  if (S_ISDIR(status.st_mode)) return InvalidArgument("this is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) return InvalidArgument("this is not a regular file");
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size > limit) {
    return InvalidArgument(
        absl::StrCat("the file has ", size, " bytes; at most ", limit, " are read"));
  }
  return ReadUpTo(file.get(), static_cast<size_t>(size), limit);
}

}  // namespace

ParsedPipeline LoadPipeline(const std::string& path, const ReaderLimits& limits) {
  const StatusOr<std::string> text = ReadRegularFile(path, limits.max_bytes);
  if (!text.ok()) {
    ParsedPipeline failed;
    failed.diagnostics = Diagnostics(path);
    failed.diagnostics.Error({}, "", std::string(Message(text.status())));
    return failed;
  }
  if (path.ends_with(".json")) return ReadPipeline(*text, path, TextFormat::json, limits);
  if (LooksLikeFastTrack(*text)) return ReadFastTrack(*text, path, limits);
  return ReadPipeline(*text, path, TextFormat::yaml, limits);
}

}  // namespace trackbed
