#include "executors/supervisor/attempt.hpp"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "data/tree_walk.hpp"
#include "executors/process_tree.hpp"
#include "executors/supervisor/sandboxed.hpp"
#include "executors/supervisor/spawn.hpp"
#include "executors/work_folder.hpp"

namespace trackbed {
namespace {

// Of the claim and the record of the end. Within a page of the page cache, what one call writes is
// there as a whole or not at all, whatever kills this process.
constexpr size_t kRecordSpace = 4096;
constexpr size_t kMaxMessage = 2000;
constexpr size_t kMaxTmpPath = 60;
constexpr size_t kPipeRead = size_t{64} * 1024;
// Bubblewrap's code for a signal is this and the signal. Of ours inside the sandbox: it was killed
// before it could tell how the command ended.
constexpr int kBubblewrapSignal = 128;
// Most of what ends at all ends soon or runs for long. The executor is woken once for the former.
constexpr int64_t kTellStartedAfterNs = 10'000'000;
// A process that does not die of SIGKILL hangs in the kernel, most often on lost storage.
constexpr int64_t kSurvivorPatienceNs = 60'000'000'000;
// In a job: how often it looks whether the others of a gang are well, and how long it waits for its
// own command to end after one of them is not.
constexpr int kGangBeatMs = 1000;
constexpr int64_t kGangGraceNs = 10'000'000'000;

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

Attempt::~Attempt() {
  for (const int descriptor : {folder_, log_, output_reader_, sandbox_status_, record_}) {
    if (descriptor >= 0) close(descriptor);
  }
  if (output_ != log_ && output_ >= 0) close(output_);
}

int Attempt::Run(std::string_view order) {
  int error = Load(order);
  if (error == 0) error = Claim();
  if (error != 0) {
    station_.Tell(error == EEXIST ? SupervisorWord::Kind::taken : SupervisorWord::Kind::refused,
                  error);
    return error;
  }
  if (station_.alone()) unlink(kOrderFile);
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

int Attempt::Load(std::string_view order) {
  std::string problem;
  if (!DecodeOrder(order, &order_) || !DecodeLaunch(order_.launch, &launch_, &problem) ||
      launch_.command.empty()) {
    return EBADMSG;
  }
  // Their values are in this process from now on, and no other attempt is to meet them.
  if (!order_.secrets.empty()) station_.Retire();
  return chdir(order_.folder.c_str()) == 0 ? 0 : errno;
}

int Attempt::Claim() {
  ClaimRecord claim;
  claim.key = launch_.key;
  claim.pid = station_.pid();
  claim.start_time = station_.start_time();
  claim.boot = station_.boot();
  const bool limits = launch_.memory_bytes > 0 || launch_.cpu_thousandths > 0;
  if (limits && !launch_.cgroup_parent.empty()) {
    group_name_ = launch_.cgroup_parent + "/attempt-" + std::to_string(claim.pid) + "-" +
                  std::to_string(claim.start_time) + "-" + std::to_string(station_.orders_taken());
  }
  claim.cgroup = group_name_;
  claim_ = EncodeClaim(claim);
  return MakeWholeFile(kClaimFile, claim_, kRecordSpace, &record_);
}

// --- Preparation ---

bool Attempt::Prepare(std::string* message) {
  folder_ = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder_ < 0) {
    *message = Failure("cannot open the attempt's folder", errno);
    return false;
  }
  if (!MakeWorkFolder(".", launch_, message)) return false;
  CollectEnvironment();
  if (!OpenLog(message)) return false;
  if (seat_ != nullptr && !seat_->Meet(&environment_, message)) return false;
  MakeControlGroup();
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

void Attempt::CollectEnvironment() {
  for (const auto& [name, value] : launch_.environment) {
    environment_.push_back(name + "=" + (name == "TMPDIR" ? ShortenTmp(value) : value));
  }
  for (const std::string& secret : order_.secrets) {
    environment_.push_back(secret);
    mask_.AddSecret(std::string_view(secret).substr(secret.find('=') + 1));
  }
  if (station_.alone()) CollectJobEnvironment();
}

// What a cluster tells its jobs: about themselves, and which accelerators are theirs.
void Attempt::CollectJobEnvironment() {
  for (const std::string& text : OwnEnvironment()) {
    const std::string_view name = std::string_view(text).substr(0, text.find('='));
    const bool passed =
        name.starts_with("SLURM_") || name.starts_with("CUDA_MPS_") || IsListOfDevices(name);
    const bool known =
        std::any_of(environment_.begin(), environment_.end(), [&](const std::string& other) {
          return std::string_view(other).substr(0, other.find('=')) == name;
        });
    // The login of who submitted is none of a task's business.
    if (!passed || known || name == "SLURM_JWT") continue;
    environment_.push_back(seat_ == nullptr ? text : seat_->OwnPart(text));
  }
}

// Programs put sockets into TMPDIR, whose paths may have 107 bytes; folders of attempts lie deep.
std::string Attempt::ShortenTmp(const std::string& path) {
  if (path.size() <= kMaxTmpPath) return path;
  const std::string link = ShortTemporaryPath(station_.pid(), station_.start_time());
  if (symlink(path.c_str(), link.c_str()) != 0) return path;
  short_tmp_ = link;
  return link;
}

void Attempt::MakeControlGroup() {
  if (group_name_.empty()) return;
  group_.Create(group_name_, launch_.memory_bytes, launch_.cpu_thousandths);
}

// The second best way to limit memory. CUDA reserves far more addresses than it uses: under a limit
// that means memory its programs would not start.
int64_t Attempt::AddressSpaceLimit() const {
  return group_.has_memory() || launch_.has_accelerators ? 0 : launch_.memory_bytes;
}

// --- Running ---

bool Attempt::Start(std::string* message) {
  if (chdir(kWorkFolder) != 0) {
    *message = Failure("cannot enter the working folder", errno);
    return false;
  }
  if (AskedToStop()) {
    *message = "stopped before it started";
    return false;
  }
  started_at_ns_ = NowNs();
  if (!launch_.bubblewrap.empty()) return StartSandboxed(message);
  SpawnRequest request;
  request.arguments = launch_.command;
  request.environment = environment_;
  request.output = output_;
  request.join_files = group_.join_files();
  request.address_space_bytes = AddressSpaceLimit();
  const std::string& name = launch_.command.front();
  request.program = FindProgram(name, environment_);
  const int error = request.program.empty() ? errno : Spawn(request, &main_);
  if (error != 0) {
    *message = Failure("cannot run \"" + name + "\"", error);
    return false;
  }
  Running();
  return true;
}

// By a signal or a word, before there was anything to stop.
bool Attempt::AskedToStop() {
  bool asked = false;
  signalfd_siginfo info{};
  while (read(station_.signals(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == kRetireSignal) station_.Retire();
    asked = asked || info.ssi_signo == SIGTERM || info.ssi_signo == kKillSignal;
  }
  ExecutorWord word;
  while (station_.Hear(&word)) asked = asked || word.kind != ExecutorWord::Kind::order;
  return asked;
}

namespace {

// What bubblewrap is to inherit. Nobody else: gone before anything else is started.
struct SandboxDescriptors {
  SandboxDescriptors() = default;
  ~SandboxDescriptors() {
    for (const int descriptor : {arguments, self, status}) {
      if (descriptor >= 0) close(descriptor);
    }
  }
  SandboxDescriptors(const SandboxDescriptors&) = delete;
  SandboxDescriptors& operator=(const SandboxDescriptors&) = delete;

  int arguments = -1;
  int self = -1;  // this program
  int status = -1;
};

}  // namespace

bool Attempt::StartSandboxed(std::string* message) {
  std::string text;
  for (const std::string& argument : launch_.bubblewrap_arguments) text += argument + '\0';
  SandboxDescriptors inherited;
  // In memory rather than on the command line, where a few hundred mounts would not be readable.
  inherited.arguments = memfd_create("arguments", 0);
  inherited.self = open("/proc/self/exe", O_RDONLY);
  int status[2];
  if (inherited.arguments < 0 || inherited.self < 0 || pipe(status) != 0) {
    *message = Failure("cannot prepare the sandbox", errno);
    return false;
  }
  sandbox_status_ = status[0];
  inherited.status = status[1];
  fcntl(sandbox_status_, F_SETFD, FD_CLOEXEC);
  fcntl(sandbox_status_, F_SETFL, O_NONBLOCK);
  if (WriteFully(inherited.arguments, text) != 0 || lseek(inherited.arguments, 0, SEEK_SET) != 0) {
    *message = Failure("cannot prepare the sandbox", errno);
    return false;
  }
  SpawnRequest request;
  request.program = launch_.bubblewrap;
  request.arguments = {"bwrap",
                       "--args",
                       std::to_string(inherited.arguments),
                       "--",
                       "/proc/self/fd/" + std::to_string(inherited.self),
                       kSandboxedFlag,
                       std::to_string(inherited.status)};
  request.arguments.insert(request.arguments.end(), launch_.command.begin(), launch_.command.end());
  request.environment = environment_;
  request.output = output_;
  request.join_files = group_.join_files();
  request.address_space_bytes = AddressSpaceLimit();
  request.shielded = true;
  const int error = Spawn(request, &main_);
  if (error == 0) return true;
  *message = Failure("cannot run bubblewrap", error);
  return false;
}

void Attempt::Running() {
  running_ = true;
  running_at_ns_ = NowNs();
}

void Attempt::WatchUntilEnd() {
  if (output_ != log_) {
    close(output_);
    output_ = -1;
  }
  while (!main_ended_) {
    pollfd watched[] = {{station_.signals(), POLLIN, 0},
                        {output_reader_, POLLIN, 0},
                        {sandbox_status_, POLLIN, 0},
                        {station_.orders(), POLLIN, 0}};
    if (poll(watched, std::size(watched), PatienceMs()) < 0 && errno != EINTR) break;
    if (station_.alone()) Beat();
    if (watched[1].revents != 0) OnOutput();
    if (watched[2].revents != 0) OnSandboxStatus();
    if (watched[3].revents != 0) OnWords();
    if (watched[0].revents != 0) OnSignals();
    if (!main_ended_ && running_ && !told_ && NowNs() >= running_at_ns_ + kTellStartedAfterNs) {
      told_ = true;
      station_.Tell(SupervisorWord::Kind::started);
    }
  }
  exit_.wall_ns = NowNs() - started_at_ns_;
  OnSandboxStatus();
}

// Of a job, now and then: it shows that it is here, and looks whether it is still wanted.
void Attempt::Beat() {
  const int64_t now = NowNs();
  if (now < next_beat_ns_) return;
  next_beat_ns_ = now + int64_t{seat_ == nullptr ? kBeatMs : kGangBeatMs} * 1'000'000;
  futimens(record_, nullptr);
  if (faccessat(folder_, kFenceFile, F_OK, 0) == 0) SignalAll(SIGKILL);
  if (seat_ == nullptr) return;
  const std::string stop = seat_->StopWord();
  if (stop == kStopByForce) {
    forced_to_end_ = true;
    SignalAll(SIGKILL);
  } else if (stop == kStopPolitely && !asked_to_end_) {
    AskToEnd();
  }
  if (!seat_->HasFailed()) return;
  if (gang_failed_at_ns_ == 0) {
    gang_failed_at_ns_ = now;
    AskToEnd();
  } else if (now > gang_failed_at_ns_ + kGangGraceNs) {
    SignalAll(SIGKILL);
  }
}

// How long to wait before the executor is told that the command runs, or the next beat; -1: for
// ever.
int Attempt::PatienceMs() const {
  int64_t until = 0;
  if (running_ && !told_) until = running_at_ns_ + kTellStartedAfterNs;
  if (station_.alone() && (until == 0 || next_beat_ns_ < until)) until = next_beat_ns_;
  if (until == 0 && !station_.alone()) return -1;
  const int64_t rest = until - NowNs();
  return rest <= 0 ? 0 : static_cast<int>(rest / 1'000'000 + 1);
}

void Attempt::OnWords() {
  ExecutorWord word;
  while (station_.Hear(&word)) {
    if (word.kind == ExecutorWord::Kind::kill) SignalAll(SIGKILL);
    if (word.kind == ExecutorWord::Kind::terminate) AskToEnd();
  }
}

void Attempt::OnSignals() {
  signalfd_siginfo info{};
  while (read(station_.signals(), &info, sizeof(info)) == sizeof(info)) {
    switch (info.ssi_signo) {
      case SIGCHLD:
        break;
      case kKillSignal:
        forced_to_end_ = true;
        SignalAll(SIGKILL);
        break;
      case kRetireSignal:
        station_.Retire();
        break;
      case SIGTERM:
      case SIGINT:
      case SIGHUP:
      case SIGQUIT:
        AskToEnd();
        break;
      default:
        break;
    }
  }
  // Signals of one kind merge, so any of them may stand for a child that ended.
  Reap();
}

void Attempt::AskToEnd() {
  asked_to_end_ = true;
  if (station_.alone()) NoteAsked();
  SignalAll(SIGTERM);
  SignalAll(SIGCONT);  // what is stopped cannot heed the request
}

// So that who reads the record can tell an end that the command chose from one that was asked for.
void Attempt::NoteAsked() const {
  const int file = openat(folder_, kAskedFile, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file >= 0) close(file);
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
      case SandboxedWord::Kind::starting:
        starting_ = true;
        break;
      case SandboxedWord::Kind::running:
        Running();
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
  while ((pid = ReapOne(&status)) > 0) {
    if (pid != main_) continue;
    main_ended_ = true;
    if (!sandboxed_ended_) main_status_ = status;
  }
}

// As waitpid; counts what the child, and those that it waited for, have used.
pid_t Attempt::ReapOne(int* status) {
  rusage usage{};
  const pid_t pid = wait4(-1, status, WNOHANG, &usage);
  if (pid > 0) {
    exit_.cpu_ns += Nanoseconds(usage.ru_utime) + Nanoseconds(usage.ru_stime);
    exit_.max_rss_bytes = std::max(exit_.max_rss_bytes, int64_t{usage.ru_maxrss} * 1024);
  }
  return pid;
}

void Attempt::SignalAll(int signal) {
  for (const ProcessIdentity& process : Descendants(getpid())) SignalProcess(process, signal);
}

// All that is left of the attempt is below us, and becomes our child as its parents die.
void Attempt::KillSurvivors() {
  const int64_t give_up_at = NowNs() + kSurvivorPatienceNs;
  while (true) {
    const pid_t pid = ReapOne(nullptr);
    if (pid > 0) continue;
    if (pid < 0 && errno == ECHILD) break;
    if (NowNs() > give_up_at) {
      AddMessage("some processes of the attempt cannot be killed");
      station_.Retire();  // they must not be taken for the next attempt's
      break;
    }
    SignalAll(SIGKILL);
    OnOutput();
    pollfd woken{station_.signals(), POLLIN, 0};
    poll(&woken, 1, 5);
    signalfd_siginfo info{};
    while (read(station_.signals(), &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo == kRetireSignal) station_.Retire();
    }
  }
  OnOutput();
}

// --- The end ---

void Attempt::SetResult() {
  if (WIFSIGNALED(main_status_)) {
    exit_.signal = WTERMSIG(main_status_);
    // A cluster may give the signal that was meant for us to the command as well.
    if (forced_to_end_ && exit_.signal == kKillSignal) exit_.signal = SIGKILL;
  } else if (!launch_.bubblewrap.empty() && !sandboxed_ended_ &&
             WEXITSTATUS(main_status_) > kBubblewrapSignal) {
    exit_.signal = WEXITSTATUS(main_status_) - kBubblewrapSignal;
  } else {
    exit_.exit_code = WEXITSTATUS(main_status_);
  }
  if (sandboxed_error_ != 0) {
    exit_.ran = false;
    AddMessage(Failure("cannot run \"" + launch_.command.front() + "\"", sandboxed_error_));
  } else if (!running_ && !starting_) {
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
  // The command may have made it a folder that cannot be entered.
  const bool back = folder_ < 0 || fchdir(folder_) == 0;
  if (back && exit_.ran) {
    MaskOutputFile();
    DigestOutputs();
  }
  group_.Remove();
  if (!short_tmp_.empty()) unlink(short_tmp_.c_str());
  const bool recorded = back && WriteExit() == 0;
  std::error_code ignored;
  // Most leave nothing there, and then one call does; remove_all makes a dozen.
  if (back && exit_.ran && rmdir(kTemporaryFolder) != 0) {
    std::filesystem::remove_all(kTemporaryFolder, ignored);
  }
  if (recorded) {
    station_.Tell(SupervisorWord::Kind::ended);
  } else {
    station_.Retire();  // no word and no record: it counts as lost
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
  if (!error) return;
  AddMessage("what it left cannot be handed on: " + error->message);
  if (exit_.exit_code == 0 && exit_.signal == 0) exit_.exit_code = kOutputsNotKept;
}

void Attempt::AddMessage(const std::string& text) {
  if (!exit_.message.empty()) exit_.message += "; ";
  exit_.message += mask_.Apply(text);
}

// 0 or errno.
int Attempt::WriteExit() {
  if (exit_.message.size() > kMaxMessage) exit_.message.resize(kMaxMessage);
  std::string text = EncodeExit(exit_);
  // Escaped it may be longer.
  while (claim_.size() + text.size() > kRecordSpace && !exit_.message.empty()) {
    const size_t excess = claim_.size() + text.size() - kRecordSpace;
    exit_.message.resize(exit_.message.size() - std::min(excess, exit_.message.size()));
    text = EncodeExit(exit_);
  }
  struct stat ours{};
  struct stat there{};
  // The command may have removed the file, or put another in its place.
  if (WriteFully(record_, text) == 0 && fstat(record_, &ours) == 0 &&
      lstat(kClaimFile, &there) == 0 && ours.st_ino == there.st_ino &&
      ours.st_dev == there.st_dev) {
    return 0;
  }
  return WriteWholeFile(kClaimFile, claim_ + text, false);
}

}  // namespace trackbed
