// The part that the engine's thread runs: it reads and writes the attempt's folder. All that has to
// do with Slurm happens on the thread of SlurmWorker.
#include "trackbed/executors/slurm_executor.hpp"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "executors/adoption.hpp"
#include "executors/attempt_records.hpp"
#include "executors/gang_environment.hpp"
#include "executors/host_files.hpp"
#include "executors/launch_plan.hpp"
#include "executors/slurm_jobs.hpp"
#include "executors/slurm_worker.hpp"
#include "executors/supervisor_channel.hpp"
#include "executors/supervisor_process.hpp"

namespace trackbed {
namespace {

std::string SlurmFile(const std::string& folder) { return folder + "/" + kSlurmFile; }

// How the attempt is submitted, as a record: the arguments stand in the place of a command.
// and the names of a gang's members in that of folders.
std::string EncodeSubmission(const AttemptKey& key, const std::vector<std::string>& arguments,
                             const std::vector<std::string>& gang) {
  LaunchRecord record;
  record.key = key;
  record.command = arguments;
  record.folders = gang;
  return EncodeLaunch(record);
}

std::vector<std::string> NamesOf(const std::vector<GangMember>& gang) {
  std::vector<std::string> names;
  if (gang.size() < 2) return names;
  for (const GangMember& member : gang) names.push_back(member.host);
  return names;
}

}  // namespace

class SlurmExecutor::Impl {
 public:
  explicit Impl(SlurmExecutorOptions options) : options_(std::move(options)) {}

  Status Initialize();
  Status Start(const AttemptSpec& spec);
  Status Adopt(const AttemptKey& key, const std::string& folder);
  Status Observe(const AttemptKey& key, const std::string& folder);
  Status Poll(std::vector<AttemptReport>* reports);
  Status Stop(const AttemptKey& key, StopMode mode);
  int WakeDescriptor() const { return worker_->WakeDescriptor(); }

 private:
  Status PrepareMembers(const AttemptSpec& spec);
  StatusOr<std::string> Plan(AttemptSpec spec, std::string* script);
  static Status PrepareFolder(const AttemptSpec& spec, const std::string& script,
                              const std::string& order);
  StatusOr<Found> WatchExisting(const AttemptKey& key, const std::string& folder);
  void Watch(SlurmOrder order);
  bool SandboxWorks();

  const SlurmExecutorOptions options_;
  LaunchPlanOptions plan_options_;
  std::string supervisor_;        // as nodes see it
  std::string local_supervisor_;  // to try bubblewrap with; empty: there is none
  std::string bubblewrap_;
  std::optional<bool> sandbox_works_;
  pid_t owner_ = 0;
  std::unique_ptr<SlurmWorker> worker_;
  std::map<AttemptKey, std::string> watched_;  // folders
};

Status SlurmExecutor::Impl::Initialize() {
  owner_ = getpid();
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<SlurmCluster> cluster, OpenSlurmCluster(options_));
  const StatusOr<std::string> local = FindSupervisor("");
  if (local.ok()) local_supervisor_ = *local;
  supervisor_ = options_.supervisor_path;
  if (supervisor_.empty()) {
    if (!local.ok()) return local.status();
    supervisor_ = local_supervisor_;
  }
  bubblewrap_ = FindInPath("bwrap");
  plan_options_.gang_meets = true;
  plan_options_.base_environment = HostEnvironment(options_.inherit_environment);
  worker_ = std::make_unique<SlurmWorker>(std::move(cluster), options_.poll_interval,
                                          options_.record_patience);
  return worker_->Initialize();
}

bool SlurmExecutor::Impl::SandboxWorks() {
  if (!sandbox_works_) {
    DetachedSpawner spawner;
    sandbox_works_ = !bubblewrap_.empty() && !local_supervisor_.empty() && spawner.Prepare().ok() &&
                     BubblewrapWorks(bubblewrap_, local_supervisor_, spawner);
  }
  return *sandbox_works_;
}

Status SlurmExecutor::Impl::Start(const AttemptSpec& spec) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (const auto known = watched_.find(spec.key); known != watched_.end()) {
    if (known->second == spec.folder) return absl::OkStatus();
    return InvalidArgument("the attempt " + spec.key + " was started in another folder");
  }
  // Twice: another executor may start it between our look and our own mark.
  for (int attempt = 0; attempt < 2; ++attempt) {
    TRACKBED_ASSIGN_OR_RETURN(const Found found, FindStarted(spec.folder, [&] {
                                return WatchExisting(spec.key, spec.folder);
                              }));
    if (found == Found::something) return absl::OkStatus();
    TRACKBED_ASSIGN_OR_RETURN(std::vector<std::string> arguments,
                              SubmitArguments(spec, options_, supervisor_));
    TRACKBED_RETURN_IF_ERROR(PrepareMembers(spec));
    std::vector<std::string> gang = NamesOf(spec.gang);
    const int error =
        WriteWholeFile(SlurmFile(spec.folder), EncodeSubmission(spec.key, arguments, gang), true);
    if (error == 0) {
      Watch({spec.key, spec.folder, std::move(arguments), std::move(gang), true});
      return absl::OkStatus();
    }
    if (error != EEXIST) return HostStatus(error, "cannot write to the folder " + spec.folder);
  }
  return Internal("the mark in " + spec.folder + " appears and disappears");
}

Status SlurmExecutor::Impl::PrepareMembers(const AttemptSpec& spec) {
  const size_t members = std::max<size_t>(spec.gang.size(), 1);
  for (size_t rank = 0; rank < members; ++rank) {
    AttemptSpec member = spec;
    member.rank = rank;
    if (rank > 0) {
      member.key = MemberKey(spec.key, spec.gang[rank], rank);
      member.folder = GangMemberFolder(spec.folder, spec.gang[rank].host);
      member.node = spec.gang[rank].node;
    }
    std::string script;
    TRACKBED_ASSIGN_OR_RETURN(const std::string order, Plan(member, &script));
    TRACKBED_RETURN_IF_ERROR(PrepareFolder(member, script, order));
  }
  return absl::OkStatus();
}

// What the job is to run, with the values of secrets.
StatusOr<std::string> SlurmExecutor::Impl::Plan(AttemptSpec spec, std::string* script) {
  // Which devices are its own, the job learns from Slurm.
  spec.devices.clear();
  spec.offered_slots.clear();
  TRACKBED_RETURN_IF_ERROR(ChooseSandbox(
      spec, options_.sandbox, bubblewrap_, [&] { return SandboxWorks(); }, &plan_options_));
  TRACKBED_ASSIGN_OR_RETURN(LaunchRecord record, PlanLaunch(spec, plan_options_, script));
  // Slurm holds its jobs to what they were given.
  record.memory_bytes = 0;
  record.cpu_thousandths = 0;
  return MakeOrder(spec, record);
}

Status SlurmExecutor::Impl::PrepareFolder(const AttemptSpec& spec, const std::string& script,
                                          const std::string& order) {
  TRACKBED_RETURN_IF_ERROR(MakeFolders(spec.folder));
  chmod(spec.folder.c_str(), 0700);
  // A draft is made with mode 0600, so nobody else can read the secrets at any time.
  int error = WriteWholeFile(spec.folder + "/" + kOrderFile, order, false);
  if (error == 0 && !script.empty()) {
    error = WriteWholeFile(spec.folder + "/" + kScriptFile, script, false);
  }
  if (error != 0) return HostStatus(error, "cannot write to the folder " + spec.folder);
  return absl::OkStatus();
}

// Begins to watch what the folder says was started; `nothing` when it says nothing, kNotFound when
// it says that the attempt was given up.
StatusOr<Found> SlurmExecutor::Impl::WatchExisting(const AttemptKey& key,
                                                   const std::string& folder) {
  std::string text;
  ClaimRecord claim;
  std::optional<ExitRecord> exit;
  std::string damage;
  int error = ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error != 0 && error != ENOENT) return HostStatus(error, "cannot read the claim in " + folder);
  const bool claimed = error == 0;
  if (claimed && DecodeClaimFile(text, &claim, &exit, &damage)) {
    TRACKBED_RETURN_IF_ERROR(CheckClaim(claim, key, folder));
  }
  error = ReadSmallFile(SlurmFile(folder), kMaxRecordBytes, &text);
  if (error == ENOENT && claimed) {
    return FailedPrecondition("the attempt " + key + " was started elsewhere than in Slurm");
  }
  if (error == ENOENT) return Found::nothing;
  if (error != 0) return HostStatus(error, "cannot read " + SlurmFile(folder));
  LaunchRecord record;
  if (!DecodeLaunch(text, &record, &damage)) {
    return absl::DataLossError(SlurmFile(folder) + " is damaged: " + damage);
  }
  if (record.key != key) {
    return FailedPrecondition("the folder " + folder + " belongs to the attempt " + record.key);
  }
  Watch({key, folder, std::move(record.command), std::move(record.folders), false});
  return Found::something;
}

void SlurmExecutor::Impl::Watch(SlurmOrder order) {
  watched_[order.key] = order.folder;
  worker_->Watch(std::move(order));
}

Status SlurmExecutor::Impl::Adopt(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (watched_.contains(key)) return absl::OkStatus();
  Status status = AdoptOrGiveUp(key, folder, [&] { return WatchExisting(key, folder); });
  if (absl::IsNotFound(status)) {
    unlink((folder + "/" + kOrderFile).c_str());  // of a Start that did not get far
  }
  return status;
}

Status SlurmExecutor::Impl::Observe(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (watched_.contains(key)) return absl::OkStatus();
  return ObserveStarted(key, folder, [&] { return WatchExisting(key, folder); });
}

Status SlurmExecutor::Impl::Poll(std::vector<AttemptReport>* reports) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  const size_t before = reports->size();
  worker_->TakeReports(reports);
  for (size_t i = before; i < reports->size(); ++i) {
    const AttemptReport& report = (*reports)[i];
    if (report.kind != AttemptReport::Kind::started) watched_.erase(report.key);
  }
  return absl::OkStatus();
}

Status SlurmExecutor::Impl::Stop(const AttemptKey& key, StopMode mode) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (!watched_.contains(key)) return NotFound("the attempt " + key + " is not being watched");
  worker_->Stop(key, mode);
  return absl::OkStatus();
}

// --- The public face ---

StatusOr<std::unique_ptr<SlurmExecutor>> SlurmExecutor::Create(SlurmExecutorOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  TRACKBED_RETURN_IF_ERROR(impl->Initialize());
  return std::unique_ptr<SlurmExecutor>(new SlurmExecutor(std::move(impl)));
}

SlurmExecutor::SlurmExecutor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SlurmExecutor::~SlurmExecutor() = default;

Status SlurmExecutor::Start(const AttemptSpec& spec) { return impl_->Start(spec); }
Status SlurmExecutor::Adopt(const AttemptKey& key, const std::string& folder) {
  return impl_->Adopt(key, folder);
}
Status SlurmExecutor::Observe(const AttemptKey& key, const std::string& folder) {
  return impl_->Observe(key, folder);
}
Status SlurmExecutor::Poll(std::vector<AttemptReport>* reports) { return impl_->Poll(reports); }
Status SlurmExecutor::Stop(const AttemptKey& key, StopMode mode) { return impl_->Stop(key, mode); }
int SlurmExecutor::WakeDescriptor() const { return impl_->WakeDescriptor(); }

bool StartedInSlurm(const std::string& folder) { return PathExists(SlurmFile(folder)); }

}  // namespace trackbed
