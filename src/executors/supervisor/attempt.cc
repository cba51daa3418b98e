#include "executors/supervisor/attempt.hpp"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "data/tree_walk.hpp"
#include "executors/process_tree.hpp"
#include "executors/supervisor/sandboxed.hpp"
#include "executors/supervisor/spawn.hpp"

namespace trackbed {
namespace {

constexpr off_t kExitRecordSpace = 4096;
constexpr size_t kMaxMessage = 2000;
constexpr off_t kLargestCopy = 16 << 20;
constexpr size_t kMaxTmpPath = 60;
constexpr size_t kPipeRead = size_t{64} * 1024;
constexpr int kExitNoLaunchRecord = 66;
constexpr int kExitCannotClaim = 73;
// A process that does not die of SIGKILL hangs in the kernel, most often on lost storage.
constexpr int64_t kSurvivorPatienceNs = 60'000'000'000;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t Nanoseconds(const timeval& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1000;
}

std::string Failure(const std::string& what, int error) { return what + ": " + strerror(error); }

bool IsRealFolder(const char* path) {
  struct stat status{};
  return lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

}  // namespace

int Attempt::Run() {
  if (fcntl(kStartedDescriptor, F_SETFD, FD_CLOEXEC) == 0) started_ = kStartedDescriptor;
  if (!Load()) return kExitNoLaunchRecord;
  if (const int error = Claim(); error != 0) {
    return error == EEXIST ? kExitAlreadyClaimed : kExitCannotClaim;
  }
  std::string message;
  if (Prepare(&message) && Start(&message)) {
    WatchUntilEnd();
    KillSurvivors();
    SetResult();
  } else {
    exit_.ran = false;
    AddMessage(message);
  }
  Finish();
  return 0;
}

bool Attempt::Load() {
  std::string text;
  std::string error;
  return ReadSmallFile(kLaunchFile, kMaxRecordBytes, &text) == 0 &&
         DecodeLaunch(text, &launch_, &error) && !launch_.command.empty();
}

int Attempt::Claim() {
  ClaimRecord claim;
  claim.key = launch_.key;
  claim.pid = getpid();
  pid_t parent = 0;
  if (!ReadProcessStat(claim.pid, &claim.start_time, &parent)) return ESRCH;
  claim.boot = BootIdentity();
  const bool limits = launch_.memory_bytes > 0 || launch_.cpu_thousandths > 0;
  if (limits && !launch_.cgroup_parent.empty()) {
    group_name_ = launch_.cgroup_parent + "/attempt-" + std::to_string(claim.pid) + "-" +
                  std::to_string(claim.start_time);
  }
  claim.cgroup = group_name_;
  short_tmp_ = ShortTemporaryPath(claim);
  return WriteWholeFile(kClaimFile, EncodeClaim(claim), true);
}

// --- Preparation ---

bool Attempt::Prepare(std::string* message) {
  BlockSignals();
  sigset_t all;
  sigfillset(&all);
  signals_ = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  folder_ = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  // Orphans of the attempt become our children, so that none gets away.
  if (signals_ < 0 || folder_ < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    *message = Failure("cannot watch the attempt", errno);
    return false;
  }
  exit_draft_ = open(kExitDraftFile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (exit_draft_ < 0) {
    *message = Failure("cannot write the attempt's folder", errno);
    return false;
  }
  // Not every file system can set space aside; then the record takes its chance.
  if (fallocate(exit_draft_, 0, 0, kExitRecordSpace) != 0 && errno == ENOSPC) {
    *message = Failure("cannot write the attempt's folder", ENOSPC);
    return false;
  }
  if (!MakeWorkFolder(message)) return false;
  CollectEnvironment();
  if (!OpenLog(message)) return false;
  MakeControlGroup();
  return true;
}

namespace {

// Makes `target` appear at `path`: a file as a copy, whatever else, and what is too large for a
// script, as a link. Programs such as Python look beside the real place of a script for what it
// imports, and must find there only what the task sees; and a task that writes into its script must
// not change the copy of the source that others use.
bool MakeAppear(const std::string& target, const std::string& path) {
  struct stat status{};
  if (lstat(target.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
      status.st_size <= kLargestCopy) {
    std::error_code error;
    if (std::filesystem::copy_file(target, path, error)) return true;
    unlink(path.c_str());
  }
  return symlink(target.c_str(), path.c_str()) == 0;
}

}  // namespace

bool Attempt::MakeWorkFolder(std::string* message) {
  for (const std::string& folder : launch_.folders) {
    if (mkdir(folder.c_str(), 0777) != 0 && !(errno == EEXIST && IsRealFolder(folder.c_str()))) {
      *message = Failure("cannot make the folder " + folder, errno);
      return false;
    }
  }
  for (const auto& [path, target] : launch_.links) {
    if (!MakeAppear(target, path)) {
      *message = Failure("cannot make the link " + path, errno);
      return false;
    }
  }
  return true;
}

bool Attempt::OpenLog(std::string* message) {
  log_ = open(kLogFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (log_ < 0) {
    *message = Failure("cannot write the log", errno);
    return false;
  }
  for (const std::string& note : launch_.notes) WriteFully(log_, mask_.Apply(note) + "\n");
  output_ = log_;
  if (mask_.empty()) return true;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    *message = Failure("cannot make a pipe", errno);
    return false;
  }
  output_reader_ = ends[0];
  output_ = ends[1];
  fcntl(output_reader_, F_SETFL, O_NONBLOCK);
  return true;
}

// Secret values come in our environment. They leave it here, so that looking at this process later
// does not show them.
void Attempt::CollectEnvironment() {
  for (const auto& [name, value] : launch_.environment) {
    environment_.push_back(name + "=" + (name == "TMPDIR" ? ShortenTmp(value) : value));
  }
  for (const std::string& name : launch_.secret_names) {
    char* value = getenv(name.c_str());
    if (value == nullptr) continue;
    environment_.push_back(name + "=" + value);
    mask_.AddSecret(value);
    explicit_bzero(value, strlen(value));
  }
}

// Programs put sockets into TMPDIR, whose paths may have 107 bytes; folders of attempts lie deep.
std::string Attempt::ShortenTmp(const std::string& path) {
  if (path.size() <= kMaxTmpPath || symlink(path.c_str(), short_tmp_.c_str()) != 0) {
    short_tmp_.clear();
    return path;
  }
  return short_tmp_;
}

void Attempt::MakeControlGroup() {
  if (group_name_.empty()) return;
  group_.Create(group_name_, launch_.memory_bytes, launch_.cpu_thousandths);
}

// --- Running ---

bool Attempt::Start(std::string* message) {
  if (chdir(kWorkFolder) != 0) {
    *message = Failure("cannot enter the working folder", errno);
    return false;
  }
  signalfd_siginfo info{};
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGTERM || info.ssi_signo == kKillSignal) {
      *message = "stopped before it started";
      return false;
    }
  }
  started_at_ns_ = NowNs();
  if (!launch_.bubblewrap.empty()) return StartSandboxed(message);
  SpawnRequest request;
  request.arguments = launch_.command;
  request.environment = environment_;
  request.output = output_;
  request.join_files = group_.join_files();
  if (!group_.has_memory()) request.address_space_bytes = launch_.memory_bytes;
  const std::string& name = launch_.command.front();
  request.program = FindProgram(name, environment_);
  const int error = request.program.empty() ? errno : Spawn(request, &main_);
  if (error != 0) {
    *message = Failure("cannot run \"" + name + "\"", error);
    return false;
  }
  running_ = true;
  TellStarted();
  return true;
}

bool Attempt::StartSandboxed(std::string* message) {
  std::string text;
  for (const std::string& argument : launch_.bubblewrap_arguments) text += argument + '\0';
  // In memory rather than on the command line, where a few hundred mounts would not be readable.
  const int arguments = memfd_create("arguments", 0);
  const int self = open("/proc/self/exe", O_RDONLY);
  int status[2];
  if (arguments < 0 || self < 0 || pipe(status) != 0 || WriteFully(arguments, text) != 0 ||
      lseek(arguments, 0, SEEK_SET) != 0) {
    *message = Failure("cannot prepare the sandbox", errno);
    return false;
  }
  fcntl(status[0], F_SETFD, FD_CLOEXEC);
  fcntl(status[0], F_SETFL, O_NONBLOCK);
  SpawnRequest request;
  request.program = launch_.bubblewrap;
  request.arguments = {"bwrap",
                       "--args",
                       std::to_string(arguments),
                       "--",
                       "/proc/self/fd/" + std::to_string(self),
                       kSandboxedFlag,
                       std::to_string(status[1])};
  request.arguments.insert(request.arguments.end(), launch_.command.begin(), launch_.command.end());
  request.environment = environment_;
  request.output = output_;
  request.join_files = group_.join_files();
  if (!group_.has_memory()) request.address_space_bytes = launch_.memory_bytes;
  request.shielded = true;
  const int error = Spawn(request, &main_);
  close(arguments);
  close(self);
  close(status[1]);
  sandbox_status_ = status[0];
  if (error == 0) return true;
  *message = Failure("cannot run bubblewrap", error);
  return false;
}

// The engine that started us may be waiting for this; if it is gone or too busy it finds out later.
void Attempt::TellStarted() {
  const pid_t self = getpid();
  [[maybe_unused]] const ssize_t written = write(started_, &self, sizeof(self));
  close(started_);
  started_ = -1;
}

void Attempt::WatchUntilEnd() {
  if (output_ != log_) close(output_);
  while (!main_ended_) {
    pollfd watched[] = {
        {signals_, POLLIN, 0}, {output_reader_, POLLIN, 0}, {sandbox_status_, POLLIN, 0}};
    if (poll(watched, std::size(watched), -1) < 0 && errno != EINTR) break;
    if (watched[1].revents != 0) OnOutput();
    if (watched[2].revents != 0) OnSandboxStatus();
    if (watched[0].revents != 0) OnSignals();
  }
  exit_.wall_ns = NowNs() - started_at_ns_;
  OnSandboxStatus();
}

void Attempt::OnSignals() {
  signalfd_siginfo info{};
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    switch (info.ssi_signo) {
      case SIGCHLD:
        break;
      case kKillSignal:
        SignalAll(SIGKILL);
        break;
      case SIGTERM:
      case SIGINT:
      case SIGHUP:
      case SIGQUIT:
        asked_to_end_ = true;
        SignalAll(SIGTERM);
        SignalAll(SIGCONT);  // what is stopped cannot heed the request
        break;
      default:
        break;
    }
  }
  // Signals of one kind merge, so any of them may stand for a child that ended.
  Reap();
}

void Attempt::OnOutput() {
  std::string bytes(kPipeRead, '\0');
  while (output_reader_ >= 0) {
    const ssize_t count = read(output_reader_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    std::string shown;
    if (count > 0)
      mask_.Feed(std::string_view(bytes).substr(0, static_cast<size_t>(count)), &shown);
    // When the log cannot be written the command must not hang for it.
    if (const int error = WriteFully(log_, shown); error != 0 && log_error_ == 0) {
      log_error_ = error;
    }
    if (count <= 0) {
      close(output_reader_);
      output_reader_ = -1;
    }
    if (static_cast<size_t>(count) < bytes.size()) return;
  }
}

void Attempt::OnSandboxStatus() {
  SandboxedWord word;
  while (sandbox_status_ >= 0) {
    const ssize_t count = read(sandbox_status_, &word, sizeof(word));
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count != sizeof(word)) {
      close(sandbox_status_);
      sandbox_status_ = -1;
      return;
    }
    switch (word.kind) {
      case SandboxedWord::Kind::running:
        running_ = true;
        TellStarted();
        if (asked_to_end_) SignalAll(SIGTERM);  // the first time there was no command yet
        break;
      case SandboxedWord::Kind::not_started:
        sandboxed_error_ = word.value;
        break;
      case SandboxedWord::Kind::ended:
        sandboxed_ended_ = true;
        main_status_ = word.value;
        break;
    }
  }
}

void Attempt::Reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid != main_) continue;
    main_ended_ = true;
    if (!sandboxed_ended_) main_status_ = status;
  }
}

void Attempt::SignalAll(int signal) {
  for (const ProcessIdentity& process : Descendants(getpid())) SignalProcess(process, signal);
}

// All that is left of the attempt is below us, and becomes our child as its parents die.
void Attempt::KillSurvivors() {
  const int64_t give_up_at = NowNs() + kSurvivorPatienceNs;
  while (true) {
    const pid_t pid = waitpid(-1, nullptr, WNOHANG);
    if (pid > 0) continue;
    if (pid < 0 && errno == ECHILD) break;
    if (NowNs() > give_up_at) {
      AddMessage("some processes of the attempt cannot be killed");
      break;
    }
    SignalAll(SIGKILL);
    OnOutput();
    pollfd woken{signals_, POLLIN, 0};
    poll(&woken, 1, 5);
    signalfd_siginfo info{};
    while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    }
  }
  OnOutput();
}

// --- The end ---

void Attempt::SetResult() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  exit_.cpu_ns = Nanoseconds(usage.ru_utime) + Nanoseconds(usage.ru_stime);
  exit_.max_rss_bytes = int64_t{usage.ru_maxrss} * 1024;
  if (WIFSIGNALED(main_status_)) {
    exit_.signal = WTERMSIG(main_status_);
  } else {
    exit_.exit_code = WEXITSTATUS(main_status_);
  }
  if (sandboxed_error_ != 0) {
    exit_.ran = false;
    AddMessage(Failure("cannot run \"" + launch_.command.front() + "\"", sandboxed_error_));
  } else if (!running_) {
    exit_.ran = false;
    AddMessage(exit_.signal != 0 ? "stopped before it started"
                                 : "the sandbox could not be made; the log says why");
  }
  const bool failed = exit_.exit_code != 0 || exit_.signal != 0;
  exit_.out_of_memory = failed && group_.RanOutOfMemory();
  if (exit_.out_of_memory) {
    AddMessage("the attempt needed more memory than its limit of " +
               std::to_string(launch_.memory_bytes) + " bytes");
  }
}

void Attempt::Finish() {
  if (!mask_.empty() && log_ >= 0) {
    std::string rest;
    mask_.Finish(&rest);
    if (const int error = WriteFully(log_, rest); error != 0) log_error_ = error;
  }
  if (log_error_ != 0) AddMessage(Failure("the log is not complete", log_error_));
  if (folder_ >= 0 && fchdir(folder_) == 0 && exit_.ran) {
    MaskOutputFile();
    DigestOutputs();
  }
  group_.Remove();
  WriteExit();
  if (!short_tmp_.empty()) unlink(short_tmp_.c_str());
  std::error_code ignored;
  // Most leave nothing there, and then one call does; remove_all makes a dozen.
  if (exit_.ran && rmdir(kTemporaryFolder) != 0) {
    std::filesystem::remove_all(kTemporaryFolder, ignored);
  }
}

// What the task hands on goes to the engine's store, where no secret may go.
void Attempt::MaskOutputFile() {
  std::string text;
  if (mask_.empty() || ReadSmallFile(kOutputFile, kMaxRecordBytes, &text) != 0) return;
  const std::string masked = mask_.Apply(text);
  if (masked == text) return;
  if (const int error = WriteWholeFile(kOutputFile, masked, false); error != 0) {
    unlink(kOutputFile);
    AddMessage(Failure("the task's output could not be masked and was dropped", error));
  }
}

void Attempt::DigestOutputs() {
  if (!IsRealFolder(kOutputsFolder)) {
    AddMessage("the task removed its outputs folder");
    return;
  }
  std::vector<TreeEntry> entries;
  TreeWalkOptions options;
  options.digests = false;
  auto error = WalkTree(kOutputsFolder, options, &entries);
  const bool any = std::any_of(entries.begin(), entries.end(), [](const TreeEntry& entry) {
    return entry.type != TreeEntry::Type::folder;
  });
  if (!error && any) {
    entries.clear();
    options.digests = true;
    error = WalkTree(kOutputsFolder, options, &entries);
    if (!error) exit_.output_digest = DigestTreeEntries(entries);
  }
  if (error) AddMessage(error->message);
}

void Attempt::AddMessage(const std::string& text) {
  if (!exit_.message.empty()) exit_.message += "; ";
  exit_.message += mask_.Apply(text);
}

void Attempt::WriteExit() {
  if (exit_.message.size() > kMaxMessage) exit_.message.resize(kMaxMessage);
  const std::string text = EncodeExit(exit_);
  // Into the space set aside at the beginning: a full disk does not make the attempt look lost.
  if (exit_draft_ >= 0 && WriteFully(exit_draft_, text) == 0 &&
      ftruncate(exit_draft_, static_cast<off_t>(text.size())) == 0 &&
      rename(kExitDraftFile, kExitFile) == 0) {
    return;
  }
  WriteWholeFile(kExitFile, text, false);
}

}  // namespace trackbed
