#include "executors/attempt_records.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <utility>

namespace trackbed {
namespace {

// --- Writing ---

void AppendEscaped(std::string_view value, bool spaces, std::string* out) {
  for (const char c : value) {
    switch (c) {
      case '\\':
        *out += "\\\\";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case ' ':
        *out += spaces ? "\\s" : " ";
        break;
      default:
        *out += c;
    }
  }
}

class Writer {
 public:
  explicit Writer(std::string_view title) { Line("trackbed", title); }
  void Line(std::string_view key, std::string_view value) {
    text_.append(key);
    text_ += ' ';
    AppendEscaped(value, false, &text_);
    text_ += '\n';
  }
  void Pair(std::string_view key, std::string_view first, std::string_view second) {
    text_.append(key);
    text_ += ' ';
    AppendEscaped(first, true, &text_);
    text_ += ' ';
    AppendEscaped(second, false, &text_);
    text_ += '\n';
  }
  template <typename Integer>
  void Number(std::string_view key, Integer value) {
    Line(key, std::to_string(value));
  }
  std::string Finish() { return std::move(text_) + "end\n"; }

 private:
  std::string text_;
};

// --- Reading ---

bool Unescape(std::string_view text, std::string* value) {
  value->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      *value += text[i];
      continue;
    }
    if (++i == text.size()) return false;
    switch (text[i]) {
      case '\\':
        *value += '\\';
        break;
      case 'n':
        *value += '\n';
        break;
      case 'r':
        *value += '\r';
        break;
      case 's':
        *value += ' ';
        break;
      default:
        return false;
    }
  }
  return true;
}

// Hands out the lines of a record one by one. The first error sticks.
class Reader {
 public:
  Reader(std::string_view text, std::string_view title, std::string* error)
      : rest_(text), error_(error) {
    std::string_view line;
    if (!NextLine(&line) || line != "trackbed " + std::string(title)) Fail("a record", line);
  }

  // False at the end of the record or after an error.
  bool Next() {
    if (failed_ || ended_) return false;
    std::string_view line;
    if (!NextLine(&line)) return Fail("a line", "the end of the file");
    if (line == "end") {
      ended_ = true;
      if (!rest_.empty()) Fail("nothing", rest_);
      return false;
    }
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return Fail("a key and a value", line);
    key_ = line.substr(0, space);
    value_ = line.substr(space + 1);
    return true;
  }

  std::string_view key() const { return key_; }
  bool ok() const { return !failed_ && ended_; }

  bool Text(std::string* out) { return Unescape(value_, out) || Fail("escaped text", value_); }
  bool Append(std::vector<std::string>* out) { return Text(&out->emplace_back()); }
  bool AppendPair(std::vector<std::pair<std::string, std::string>>* out) {
    const size_t space = value_.find(' ');
    if (space == std::string_view::npos) return Fail("two values", value_);
    auto& [first, second] = out->emplace_back();
    if (!Unescape(value_.substr(0, space), &first)) return Fail("escaped text", value_);
    return Unescape(value_.substr(space + 1), &second) || Fail("escaped text", value_);
  }
  template <typename Integer>
  bool Number(Integer* out) {
    const auto [end, code] = std::from_chars(value_.data(), value_.data() + value_.size(), *out);
    return (code == std::errc() && end == value_.data() + value_.size()) || Fail("number", value_);
  }
  bool Flag(bool* out) {
    if (value_ != "0" && value_ != "1") return Fail("0 or 1", value_);
    *out = value_ == "1";
    return true;
  }
  bool Unknown() { return Fail("a known key", key_); }

 private:
  bool NextLine(std::string_view* line) {
    const size_t end = rest_.find('\n');
    if (end == std::string_view::npos) {
      *line = rest_;
      return false;
    }
    *line = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return true;
  }
  bool Fail(std::string_view expected, std::string_view found) {
    if (!failed_) {
      *error_ =
          "found \"" + std::string(found.substr(0, 40)) + "\", expected " + std::string(expected);
    }
    failed_ = true;
    return false;
  }

  std::string_view rest_;
  std::string_view key_;
  std::string_view value_;
  std::string* error_;
  bool failed_ = false;
  bool ended_ = false;
};

bool DecodeLaunchLine(Reader* reader, LaunchRecord* record) {
  const std::string_view key = reader->key();
  if (key == "key") return reader->Text(&record->key);
  if (key == "argument") return reader->Append(&record->command);
  if (key == "environment") return reader->AppendPair(&record->environment);
  if (key == "secret") return reader->Append(&record->secret_names);
  if (key == "folder") return reader->Append(&record->folders);
  if (key == "link") return reader->AppendPair(&record->links);
  if (key == "note") return reader->Append(&record->notes);
  if (key == "bubblewrap") return reader->Text(&record->bubblewrap);
  if (key == "bubblewrap_argument") return reader->Append(&record->bubblewrap_arguments);
  if (key == "cgroup_parent") return reader->Text(&record->cgroup_parent);
  if (key == "memory_bytes") return reader->Number(&record->memory_bytes);
  if (key == "cpu_thousandths") return reader->Number(&record->cpu_thousandths);
  if (key == "has_accelerators") return reader->Flag(&record->has_accelerators);
  return reader->Unknown();
}

bool DecodeClaimLine(Reader* reader, ClaimRecord* record) {
  const std::string_view key = reader->key();
  if (key == "key") return reader->Text(&record->key);
  if (key == "given_up") return reader->Flag(&record->given_up);
  if (key == "pid") return reader->Number(&record->pid);
  if (key == "start_time") return reader->Number(&record->start_time);
  if (key == "boot") return reader->Text(&record->boot);
  if (key == "cgroup") return reader->Text(&record->cgroup);
  return reader->Unknown();
}

bool DecodeExitLine(Reader* reader, ExitRecord* record) {
  const std::string_view key = reader->key();
  if (key == "ran") return reader->Flag(&record->ran);
  if (key == "exit_code") return reader->Number(&record->exit_code);
  if (key == "signal") return reader->Number(&record->signal);
  if (key == "out_of_memory") return reader->Flag(&record->out_of_memory);
  if (key == "wall_ns") return reader->Number(&record->wall_ns);
  if (key == "cpu_ns") return reader->Number(&record->cpu_ns);
  if (key == "max_rss_bytes") return reader->Number(&record->max_rss_bytes);
  if (key == "output_digest") return reader->Text(&record->output_digest);
  if (key == "message") return reader->Text(&record->message);
  return reader->Unknown();
}

template <typename Record>
bool Decode(std::string_view text, std::string_view title, bool (*line)(Reader*, Record*),
            Record* record, std::string* error) {
  *record = Record();
  Reader reader(text, title, error);
  while (reader.Next()) {
    if (!line(&reader, record)) return false;
  }
  return reader.ok();
}

}  // namespace

std::string ShortTemporaryPath(pid_t supervisor, uint64_t start_time) {
  // In memory where possible: on a disk, the link costs a short attempt a fifth of its time.
  const char* folder = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
  return std::string(folder) + "/trackbed-" + std::to_string(supervisor) + "-" +
         std::to_string(start_time);
}

std::string EncodeLaunch(const LaunchRecord& record) {
  Writer writer("launch 1");
  writer.Line("key", record.key);
  for (const auto& argument : record.command) writer.Line("argument", argument);
  for (const auto& [name, value] : record.environment) writer.Pair("environment", name, value);
  for (const auto& name : record.secret_names) writer.Line("secret", name);
  for (const auto& folder : record.folders) writer.Line("folder", folder);
  for (const auto& [path, target] : record.links) writer.Pair("link", path, target);
  for (const auto& note : record.notes) writer.Line("note", note);
  writer.Line("bubblewrap", record.bubblewrap);
  for (const auto& argument : record.bubblewrap_arguments) {
    writer.Line("bubblewrap_argument", argument);
  }
  writer.Line("cgroup_parent", record.cgroup_parent);
  writer.Number("memory_bytes", record.memory_bytes);
  writer.Number("cpu_thousandths", record.cpu_thousandths);
  writer.Line("has_accelerators", record.has_accelerators ? "1" : "0");
  return writer.Finish();
}

std::string EncodeClaim(const ClaimRecord& record) {
  Writer writer("claim 1");
  writer.Line("key", record.key);
  writer.Line("given_up", record.given_up ? "1" : "0");
  writer.Number("pid", record.pid);
  writer.Number("start_time", record.start_time);
  writer.Line("boot", record.boot);
  writer.Line("cgroup", record.cgroup);
  return writer.Finish();
}

std::string EncodeExit(const ExitRecord& record) {
  Writer writer("exit 1");
  writer.Line("ran", record.ran ? "1" : "0");
  writer.Number("exit_code", record.exit_code);
  writer.Number("signal", record.signal);
  writer.Line("out_of_memory", record.out_of_memory ? "1" : "0");
  writer.Number("wall_ns", record.wall_ns);
  writer.Number("cpu_ns", record.cpu_ns);
  writer.Number("max_rss_bytes", record.max_rss_bytes);
  writer.Line("output_digest", record.output_digest);
  writer.Line("message", record.message);
  return writer.Finish();
}

bool DecodeLaunch(std::string_view text, LaunchRecord* record, std::string* error) {
  return Decode(text, "launch 1", DecodeLaunchLine, record, error);
}
bool DecodeClaim(std::string_view text, ClaimRecord* record, std::string* error) {
  return Decode(text, "claim 1", DecodeClaimLine, record, error);
}
bool DecodeExit(std::string_view text, ExitRecord* record, std::string* error) {
  return Decode(text, "exit 1", DecodeExitLine, record, error);
}

bool DecodeClaimFile(std::string_view text, ClaimRecord* claim, std::optional<ExitRecord>* exit,
                     std::string* error) {
  exit->reset();
  error->clear();
  constexpr std::string_view kLastLine = "\nend\n";
  const size_t last = text.find(kLastLine);
  const size_t end = last == std::string_view::npos ? text.size() : last + kLastLine.size();
  if (!DecodeClaim(text.substr(0, end), claim, error)) return false;
  const std::string_view rest = text.substr(end);
  ExitRecord record;
  if (!rest.empty() && DecodeExit(rest, &record, error)) *exit = std::move(record);
  return true;
}

int ReadSmallFile(const std::string& path, size_t limit, std::string* text) {
  text->clear();
  const int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return errno;
  struct stat status{};
  int error = 0;
  if (fstat(file, &status) != 0) {
    error = errno;
  } else if (!S_ISREG(status.st_mode)) {
    error = EINVAL;
  }
  char buffer[4096];
  while (error == 0) {
    const ssize_t count = read(file, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) error = errno;
    if (count <= 0) break;
    text->append(buffer, static_cast<size_t>(count));
    if (text->size() > limit) {
      text->resize(limit);
      error = EFBIG;
    }
    // Files that the kernel makes up have no size.
    if (static_cast<off_t>(text->size()) == status.st_size) break;
  }
  close(file);
  return error;
}

int WriteFully(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

namespace {

// A name for a file that becomes `path` once it is whole.
std::string DraftPath(const std::string& path) {
  // Threads of one process may write the same file: the clock tells their drafts apart.
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return path + "." + std::to_string(getpid()) + "-" + std::to_string(now.tv_sec) + "." +
         std::to_string(now.tv_nsec);
}

// 0, or errno; then the draft is gone.
int Publish(const std::string& draft, const std::string& path, bool exclusive) {
  const unsigned flags = exclusive ? RENAME_NOREPLACE : 0;
  if (renameat2(AT_FDCWD, draft.c_str(), AT_FDCWD, path.c_str(), flags) == 0) return 0;
  int error = errno;
  // Not every file system can rename without replacing.
  if (exclusive && (error == EINVAL || error == ENOSYS)) {
    error = link(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
  }
  unlink(draft.c_str());
  return error;
}

int OpenDraft(const std::string& draft) {
  return open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

}  // namespace

int WriteWholeFile(const std::string& path, std::string_view text, bool exclusive) {
  const std::string draft = DraftPath(path);
  const int file = OpenDraft(draft);
  if (file < 0) return errno;
  int error = WriteFully(file, text);
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0) return Publish(draft, path, exclusive);
  unlink(draft.c_str());
  return error;
}

int MakeWholeFile(const std::string& path, std::string_view text, int64_t space, int* file) {
  const std::string draft = DraftPath(path);
  *file = OpenDraft(draft);
  if (*file < 0) return errno;
  int error = WriteFully(*file, text);
  // The size stays that of the text, so that whoever reads finds nothing but what was written.
  if (error == 0 && fallocate(*file, FALLOC_FL_KEEP_SIZE, 0, space) != 0 &&
      (errno == ENOSPC || errno == EDQUOT)) {
    error = errno;
  }
  if (error == 0) {
    error = Publish(draft, path, true);
  } else {
    unlink(draft.c_str());
  }
  if (error == 0) return 0;
  close(*file);
  *file = -1;
  return error;
}

bool ReadProcessStat(pid_t pid, uint64_t* start_time, pid_t* parent) {
  char path[32];
  snprintf(path, sizeof(path), "/proc/%d/stat", static_cast<int>(pid));
  std::string text;
  if (ReadSmallFile(path, 4096, &text) != 0) return false;
  // The second field is the program's name in parentheses and may hold anything.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  const char* position = text.c_str() + name_end + 1;
  char state = 0;
  int parent_pid = 0;
  if (sscanf(position, " %c %d", &state, &parent_pid) != 2) return false;
  *parent = parent_pid;
  // The space before field 3, the state; then on to the one before field 22.
  for (int field = 3; field < 22 && position != nullptr; ++field) {
    position = strchr(position + 1, ' ');
  }
  if (position == nullptr) return false;
  *start_time = strtoull(position, nullptr, 10);
  return true;
}

std::string BootIdentity() {
  std::string text;
  if (ReadSmallFile("/proc/sys/kernel/random/boot_id", 64, &text) != 0) return "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace trackbed
