// How an attempt is watched: by the socket to its supervisor, or, when that was started by another
// executor, by a descriptor of its process, in one epoll set. What happened is always read from the
// records in the attempt's folder, never from the process: so it makes no difference whose the
// supervisor is.
#include "trackbed/executors/process_executor.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>
#include <utility>

#include "executors/adoption.hpp"
#include "executors/attempt_end.hpp"
#include "executors/attempt_records.hpp"
#include "executors/control_group.hpp"
#include "executors/gang_environment.hpp"
#include "executors/host_files.hpp"
#include "executors/launch_plan.hpp"
#include "executors/process_tree.hpp"
#include "executors/supervisor_channel.hpp"
#include "executors/supervisor_pool.hpp"
#include "executors/supervisor_process.hpp"

namespace trackbed {
namespace {

constexpr uint64_t kWakeId = 0;
constexpr uint64_t kFirstWatchId = 1;
constexpr int kEventsAtOnce = 64;
// So often an attempt is given to a supervisor that goes without having claimed it.
constexpr int kMaxOrders = 3;

struct Watch {
  uint64_t id = 0;
  AttemptKey key;
  std::string folder;
  uint64_t supervisor = 0;       // in our pool; 0: none there
  std::string order;             // given to it; kept until the command is known to run
  int orders = 0;                // how often it was given
  int process = -1;              // descriptor of a supervisor that is not ours
  std::optional<StopMode> stop;  // last one asked for
  bool started = false;          // reported
  bool attached = false;         // `process` is in the epoll set
};

bool ProcessEnded(int process) {
  pollfd ended{process, POLLIN, 0};
  return poll(&ended, 1, 0) == 1;
}

}  // namespace

class ProcessExecutor::Impl {
 public:
  explicit Impl(ProcessExecutorOptions options) : options_(std::move(options)) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Initialize();
  Status Start(const AttemptSpec& spec);
  Status Adopt(const AttemptKey& key, const std::string& folder);
  Status Observe(const AttemptKey& key, const std::string& folder);
  Status Poll(std::vector<AttemptReport>* reports);
  Status Stop(const AttemptKey& key, StopMode mode);
  int WakeDescriptor() const { return epoll_; }
  bool SandboxWorks();

 private:
  StatusOr<LaunchRecord> Plan(const AttemptSpec& spec, std::string* script);
  Status PrepareFolder(const AttemptSpec& spec, const std::string& script);
  Status GiveOrder(Watch* watch);

  // Begins to watch what the folder says was started; `nothing` when it says nothing, kNotFound
  // when it says that the attempt was given up.
  StatusOr<Found> WatchExisting(const AttemptKey& key, const std::string& folder);
  Watch* NewWatch(const AttemptKey& key, const std::string& folder);
  void RemoveWatch(Watch* watch);
  void CloseProcess(Watch* watch);
  bool Attach(Watch* watch);
  bool OpenClaimed(Watch* watch, const ClaimRecord& claim, bool* gone);
  void Resolve(Watch* watch);
  bool ResolveByExit(Watch* watch, std::string* damage);
  bool ResolveByClaim(Watch* watch);
  void ResolveUnclaimed(Watch* watch);
  void Refused(Watch* watch, int error);
  bool GiveUp(Watch* watch);
  void PassStop(Watch* watch);
  void OnNews(const SupervisorPool::News& news);
  void OnProcessEnd(Watch* watch);
  void Retry();

  void ReportStarted(Watch* watch);
  void ReportExit(Watch* watch, const ExitRecord& record);
  void ReportFailed(Watch* watch, std::string message);
  void ReportLost(Watch* watch, std::string message);
  void ReportGone(Watch* watch, const ClaimRecord& claim, const std::string& damage);
  void Report(AttemptReport report);
  Status TakeEvents();
  void Wake();
  void Unwake();

  const ProcessExecutorOptions options_;
  LaunchPlanOptions plan_options_;
  std::string supervisor_;
  std::string boot_;
  pid_t owner_ = 0;
  std::string bubblewrap_;
  std::optional<bool> sandbox_works_;

  int epoll_ = -1;
  int wake_ = -1;
  SupervisorPool pool_;
  std::vector<SupervisorPool::News> news_;

  uint64_t next_id_ = kFirstWatchId;
  std::map<uint64_t, Watch> watches_;
  std::map<AttemptKey, uint64_t> by_key_;
  std::vector<uint64_t> unattached_;  // to be tried again by Poll
  std::vector<AttemptReport> reports_;
  bool woken_ = false;    // wake_ is readable
  bool polling_ = false;  // Poll runs
};

ProcessExecutor::Impl::~Impl() {
  for (auto& [id, watch] : watches_) {
    if (watch.process >= 0) close(watch.process);
  }
  for (const int descriptor : {epoll_, wake_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

Status ProcessExecutor::Impl::Initialize() {
  owner_ = getpid();
  boot_ = BootIdentity();
  TRACKBED_ASSIGN_OR_RETURN(supervisor_, FindSupervisor(options_.supervisor_path));
  bubblewrap_ = FindInPath("bwrap");
  plan_options_.base_environment = HostEnvironment(options_.inherit_environment);
  plan_options_.gang_is_here = true;
  if (options_.cgroup_mode == CgroupMode::automatic) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                              PathParts(options_.cgroup_parent, "the control group"));
    plan_options_.cgroup_parent = JoinParts(parts, false);
  }
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_ < 0 || wake_ < 0) return HostStatus(errno, "cannot make descriptors");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeId;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0) {
    return HostStatus(errno, "cannot watch descriptors");
  }
  return pool_.Prepare(supervisor_, epoll_);
}

bool ProcessExecutor::Impl::SandboxWorks() {
  if (!sandbox_works_) {
    sandbox_works_ =
        !bubblewrap_.empty() && BubblewrapWorks(bubblewrap_, supervisor_, pool_.spawner());
  }
  return *sandbox_works_;
}

// --- Starting ---

Status ProcessExecutor::Impl::Start(const AttemptSpec& spec) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (const auto known = by_key_.find(spec.key); known != by_key_.end()) {
    if (watches_[known->second].folder == spec.folder) return absl::OkStatus();
    return InvalidArgument("the attempt " + spec.key + " was started in another folder");
  }
  TRACKBED_ASSIGN_OR_RETURN(const Found found, FindStarted(spec.folder, [&] {
                              return WatchExisting(spec.key, spec.folder);
                            }));
  if (found == Found::something) return absl::OkStatus();
  std::string script;
  TRACKBED_ASSIGN_OR_RETURN(const LaunchRecord record, Plan(spec, &script));
  TRACKBED_ASSIGN_OR_RETURN(std::string order, MakeOrder(spec, record));
  TRACKBED_RETURN_IF_ERROR(PrepareFolder(spec, script));
  Watch* watch = NewWatch(spec.key, spec.folder);
  watch->order = std::move(order);
  Status given = GiveOrder(watch);
  if (!given.ok()) RemoveWatch(watch);
  return given;
}

StatusOr<LaunchRecord> ProcessExecutor::Impl::Plan(const AttemptSpec& spec, std::string* script) {
  TRACKBED_RETURN_IF_ERROR(ChooseSandbox(
      spec, options_.sandbox, bubblewrap_, [&] { return SandboxWorks(); }, &plan_options_));
  return PlanLaunch(spec, plan_options_, script);
}

Status ProcessExecutor::Impl::PrepareFolder(const AttemptSpec& spec, const std::string& script) {
  if (mkdir(spec.folder.c_str(), 0700) != 0 && errno != EEXIST) {
    TRACKBED_RETURN_IF_ERROR(MakeFolders(spec.folder.substr(0, spec.folder.rfind('/'))));
    if (mkdir(spec.folder.c_str(), 0700) != 0 && errno != EEXIST) {
      return HostStatus(errno, "cannot make the folder " + spec.folder);
    }
  }
  int error = 0;
  if (!script.empty()) error = WriteWholeFile(spec.folder + "/" + kScriptFile, script, false);
  if (error == 0 && !spec.gang.empty()) {
    error = WriteWholeFile(spec.folder + "/" + kHostsFile, HostsFile(spec), false);
  }
  if (error != 0) return HostStatus(error, "cannot write to the folder " + spec.folder);
  return absl::OkStatus();
}

Status ProcessExecutor::Impl::GiveOrder(Watch* watch) {
  TRACKBED_ASSIGN_OR_RETURN(watch->supervisor, pool_.Run(watch->order, watch->id));
  ++watch->orders;
  PassStop(watch);
  return absl::OkStatus();
}

Status ProcessExecutor::Impl::Adopt(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (by_key_.contains(key)) return absl::OkStatus();
  return AdoptOrGiveUp(key, folder, [&] { return WatchExisting(key, folder); });
}

Status ProcessExecutor::Impl::Observe(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (by_key_.contains(key)) return absl::OkStatus();
  return ObserveStarted(key, folder, [&] { return WatchExisting(key, folder); });
}

StatusOr<Found> ProcessExecutor::Impl::WatchExisting(const AttemptKey& key,
                                                     const std::string& folder) {
  std::string text;
  const int error = ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error == ENOENT) return Found::nothing;
  if (error != 0) return HostStatus(error, "cannot read the claim in " + folder);
  ClaimRecord claim;
  std::optional<ExitRecord> exit;
  std::string damage;
  if (DecodeClaimFile(text, &claim, &exit, &damage)) {
    TRACKBED_RETURN_IF_ERROR(CheckClaim(claim, key, folder));
  }
  Watch* watch = NewWatch(key, folder);
  Resolve(watch);
  return Found::something;
}

// --- Watching ---

Watch* ProcessExecutor::Impl::NewWatch(const AttemptKey& key, const std::string& folder) {
  Watch& watch = watches_[next_id_];
  watch.id = next_id_++;
  watch.key = key;
  watch.folder = folder;
  by_key_[key] = watch.id;
  return &watch;
}

void ProcessExecutor::Impl::CloseProcess(Watch* watch) {
  // Closing takes it out of the epoll set: there are no duplicates of it.
  if (watch->process >= 0) close(watch->process);
  watch->process = -1;
  watch->attached = false;
}

void ProcessExecutor::Impl::RemoveWatch(Watch* watch) {
  CloseProcess(watch);
  by_key_.erase(watch->key);
  watches_.erase(watch->id);
}

// Puts the process into the epoll set, or on the list of those to be tried again.
bool ProcessExecutor::Impl::Attach(Watch* watch) {
  if (watch->process >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = watch->id;
    watch->attached = epoll_ctl(epoll_, EPOLL_CTL_ADD, watch->process, &event) == 0;
  }
  if (watch->attached) {
    PassStop(watch);
    return true;
  }
  unattached_.push_back(watch->id);
  Wake();
  return false;
}

// False when the process cannot be watched; *gone tells why.
bool ProcessExecutor::Impl::OpenClaimed(Watch* watch, const ClaimRecord& claim, bool* gone) {
  *gone = claim.boot != boot_;
  if (*gone) return false;
  watch->process = OpenProcess({claim.pid, claim.start_time});
  if (watch->process < 0) {
    *gone = errno == ESRCH || errno == EINVAL;
    return false;
  }
  // One that ended stays in the process table until its parent collects it.
  if (!ProcessEnded(watch->process)) {
    // It may belong to an executor that lives and would give it another attempt; then its end would
    // not be this one's, and a signal for this one would hit another.
    SignalDescriptor(watch->process, kRetireSignal);
    return true;
  }
  *gone = true;
  CloseProcess(watch);
  return false;
}

// Decides from the records what becomes of an attempt whose process is not being watched.
void ProcessExecutor::Impl::Resolve(Watch* watch) {
  if (!ResolveByClaim(watch)) ResolveUnclaimed(watch);
}

// False when nobody has claimed the attempt.
bool ProcessExecutor::Impl::ResolveByClaim(Watch* watch) {
  std::string text;
  const int error = ReadSmallFile(watch->folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error == ENOENT) return false;
  ClaimRecord claim;
  std::optional<ExitRecord> exit;
  std::string damage = error == 0 ? "" : strerror(error);
  if (error != 0 || !DecodeClaimFile(text, &claim, &exit, &damage)) {
    ReportLost(watch, "the record of who runs it is damaged: " + damage);
    return true;
  }
  if (claim.given_up || claim.key != watch->key) {
    ReportFailed(watch, claim.given_up ? "it was given up before it started"
                                       : "its folder belongs to the attempt " + claim.key);
    return true;
  }
  if (exit) {
    ReportExit(watch, *exit);
    return true;
  }
  bool gone = false;
  if (OpenClaimed(watch, claim, &gone)) {
    // Asked to end after this attempt, it may just have ended it.
    if (ResolveByExit(watch, &damage)) return true;
    ReportStarted(watch);
    Attach(watch);
  } else if (gone) {
    // It may have ended properly between our look at the record and at the process.
    if (!ResolveByExit(watch, &damage)) ReportGone(watch, claim, damage);
  } else {
    Attach(watch);
  }
  return true;
}

// False when there is no whole record of the end; *damage then says what there is instead.
bool ProcessExecutor::Impl::ResolveByExit(Watch* watch, std::string* damage) {
  std::string text;
  ClaimRecord claim;
  std::optional<ExitRecord> exit;
  const int error = ReadSmallFile(watch->folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error != 0) {
    *damage = strerror(error);
  } else if (DecodeClaimFile(text, &claim, &exit, damage) && exit) {
    ReportExit(watch, *exit);
  }
  return exit.has_value();
}

// Nobody has claimed the attempt: its supervisor has gone before it could.
void ProcessExecutor::Impl::ResolveUnclaimed(Watch* watch) {
  if (!watch->order.empty() && watch->orders < kMaxOrders && GiveOrder(watch).ok()) return;
  if (GiveUp(watch)) ReportLost(watch, "its supervisors are gone and have not begun it");
}

void ProcessExecutor::Impl::Refused(Watch* watch, int error) {
  if (!GiveUp(watch)) return;
  ReportFailed(watch, "cannot use the folder " + watch->folder + ": " + strerror(error));
}

// Sees to it that nobody starts the attempt any more. False when somebody has; then it is resolved.
bool ProcessExecutor::Impl::GiveUp(Watch* watch) {
  return ClaimForNobody(watch->key, watch->folder) != EEXIST || !ResolveByClaim(watch);
}

void ProcessExecutor::Impl::OnNews(const SupervisorPool::News& news) {
  const auto found = watches_.find(news.tag);
  if (found == watches_.end()) return;
  Watch* watch = &found->second;
  if (!news.gone && news.word.kind == SupervisorWord::Kind::started) {
    watch->order.clear();
    watch->order.shrink_to_fit();
    ReportStarted(watch);
    return;
  }
  watch->supervisor = 0;
  if (!news.gone && news.word.kind == SupervisorWord::Kind::refused) {
    Refused(watch, news.word.error);
  } else {
    Resolve(watch);
  }
}

void ProcessExecutor::Impl::OnProcessEnd(Watch* watch) {
  CloseProcess(watch);
  Resolve(watch);
}

void ProcessExecutor::Impl::Retry() {
  std::vector<uint64_t> ids;
  ids.swap(unattached_);
  for (const uint64_t id : ids) {
    const auto found = watches_.find(id);
    if (found == watches_.end() || found->second.attached) continue;
    Watch* watch = &found->second;
    if (watch->process < 0) {
      Resolve(watch);
    } else {
      Attach(watch);
    }
  }
}

Status ProcessExecutor::Impl::Poll(std::vector<AttemptReport>* reports) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  Unwake();
  polling_ = true;
  Retry();
  Status taken = TakeEvents();
  polling_ = false;
  reports->insert(reports->end(), std::make_move_iterator(reports_.begin()),
                  std::make_move_iterator(reports_.end()));
  reports_.clear();
  return taken;
}

Status ProcessExecutor::Impl::TakeEvents() {
  while (true) {
    epoll_event events[kEventsAtOnce];
    const int count = epoll_wait(epoll_, events, kEventsAtOnce, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return HostStatus(errno, "cannot watch attempts");
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (SupervisorPool::OwnsEvent(id)) {
        pool_.OnEvent(id, &news_);
        continue;
      }
      const auto found = watches_.find(id);
      if (found != watches_.end()) OnProcessEnd(&found->second);
    }
    for (const SupervisorPool::News& news : std::exchange(news_, {})) OnNews(news);
    if (count < kEventsAtOnce) return absl::OkStatus();
  }
}

Status ProcessExecutor::Impl::Stop(const AttemptKey& key, StopMode mode) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    const bool ended = std::any_of(reports_.begin(), reports_.end(),
                                   [&](const AttemptReport& report) { return report.key == key; });
    if (ended) return absl::OkStatus();
    return NotFound("the attempt " + key + " is not being watched");
  }
  Watch* watch = &watches_[found->second];
  watch->stop = mode;
  PassStop(watch);
  return absl::OkStatus();
}

// As far as it can be passed on now; where it cannot, it is once there is somebody to take it. Who
// is gone needs none.
void ProcessExecutor::Impl::PassStop(Watch* watch) {
  if (!watch->stop) return;
  const bool kill = *watch->stop == StopMode::kill;
  if (watch->supervisor != 0) {
    pool_.Stop(watch->supervisor, kill ? ExecutorWord::Kind::kill : ExecutorWord::Kind::terminate);
  } else if (watch->process >= 0) {
    SignalDescriptor(watch->process, kill ? kKillSignal : SIGTERM);
  }
}

// --- Reports ---

// Has the host call Poll, which begins by Unwake.
void ProcessExecutor::Impl::Wake() {
  if (woken_) return;
  woken_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void ProcessExecutor::Impl::Unwake() {
  if (!woken_) return;
  woken_ = false;
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = read(wake_, &ignored, sizeof(ignored));
}

void ProcessExecutor::Impl::Report(AttemptReport report) {
  reports_.push_back(std::move(report));
  if (!polling_) Wake();  // Poll hands over what comes while it runs
}

void ProcessExecutor::Impl::ReportStarted(Watch* watch) {
  if (watch->started) return;
  watch->started = true;
  AttemptReport report;
  report.key = watch->key;
  report.kind = AttemptReport::Kind::started;
  Report(std::move(report));
}

void ProcessExecutor::Impl::ReportExit(Watch* watch, const ExitRecord& record) {
  if (!record.ran) {
    ReportFailed(watch, record.message);
    return;
  }
  ReportStarted(watch);
  Report(ReportOfEnd(watch->key, watch->folder, record));
  RemoveWatch(watch);
}

void ProcessExecutor::Impl::ReportFailed(Watch* watch, std::string message) {
  AttemptReport report;
  report.key = watch->key;
  report.kind = AttemptReport::Kind::failed_to_start;
  report.message = std::move(message);
  Report(std::move(report));
  RemoveWatch(watch);
}

void ProcessExecutor::Impl::ReportLost(Watch* watch, std::string message) {
  ReportStarted(watch);
  AttemptReport report;
  report.key = watch->key;
  report.kind = AttemptReport::Kind::lost;
  report.message = std::move(message);
  Report(std::move(report));
  RemoveWatch(watch);
}

// The supervisor died without a word. The command died with it; what the command had started and
// sent off may not have.
void ProcessExecutor::Impl::ReportGone(Watch* watch, const ClaimRecord& claim,
                                       const std::string& damage) {
  if (claim.boot != boot_) {
    ReportLost(watch, "the machine was restarted while it ran");
    return;
  }
  KillByEnvironment("TRACKBED_ATTEMPT_FOLDER=" + watch->folder);
  unlink(ShortTemporaryPath(claim.pid, claim.start_time).c_str());  // if it made one
  // The record lies where the command could have written: believe only what we would have made.
  const std::string ours = plan_options_.cgroup_parent + "/attempt-";
  if (!plan_options_.cgroup_parent.empty() && claim.cgroup.starts_with(ours) &&
      claim.cgroup.find('/', ours.size()) == std::string::npos) {
    ClearControlGroup(claim.cgroup);
  }
  const std::string left =
      damage.empty() ? "left no record of the end" : "left a damaged record of the end: " + damage;
  ReportLost(watch,
             "its supervisor, process " + std::to_string(claim.pid) + ", is gone and " + left);
}

// --- The public face ---

StatusOr<std::unique_ptr<ProcessExecutor>> ProcessExecutor::Create(ProcessExecutorOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  TRACKBED_RETURN_IF_ERROR(impl->Initialize());
  return std::unique_ptr<ProcessExecutor>(new ProcessExecutor(std::move(impl)));
}

ProcessExecutor::ProcessExecutor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProcessExecutor::~ProcessExecutor() = default;

Status ProcessExecutor::Start(const AttemptSpec& spec) { return impl_->Start(spec); }
Status ProcessExecutor::Adopt(const AttemptKey& key, const std::string& folder) {
  return impl_->Adopt(key, folder);
}

Status ProcessExecutor::Observe(const AttemptKey& key, const std::string& folder) {
  return impl_->Observe(key, folder);
}
Status ProcessExecutor::Poll(std::vector<AttemptReport>* reports) { return impl_->Poll(reports); }
Status ProcessExecutor::Stop(const AttemptKey& key, StopMode mode) {
  return impl_->Stop(key, mode);
}
int ProcessExecutor::WakeDescriptor() const { return impl_->WakeDescriptor(); }
bool ProcessExecutor::SandboxWorks() { return impl_->SandboxWorks(); }

}  // namespace trackbed
