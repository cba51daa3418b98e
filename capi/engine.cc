// The engine: opening, driving, asking.
#include "engine.hpp"

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "documents.hpp"
#include "pipeline.hpp"
#include "scheduler.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/data/artifact_store.hpp"
#include "trackbed/engine/artifacts.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/engine/store_check.hpp"
#include "trackbed/executors/executor_choice.hpp"
#include "trackbed/executors/gang_executor.hpp"
#include "trackbed/pipeline/pipeline_json.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/resources/local_node.hpp"

namespace trackbed::capi {
namespace {

namespace fs = std::filesystem;

// The library itself; the program when it is linked in.
std::string LibraryFolder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&trackbed_engine_open), &info) == 0) return "";
  std::error_code error;
  const fs::path path = fs::canonical(info.dli_fname, error);
  return error ? "" : path.parent_path().string();
}

// "" when it is in none of the places; then the executor looks beside the program.
std::string FindBesideLibrary(const std::string& program) {
  const std::string folder = LibraryFolder();
  if (folder.empty()) return "";
  for (const char* place : {"/", "/../libexec/trackbed/", "/../../libexec/trackbed/"}) {
    std::string path = folder + place + program;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

SecretSource* SecretsOf(const EngineCore& core) {
  return core.host_secrets != nullptr ? static_cast<SecretSource*>(core.host_secrets.get())
                                      : core.local_secrets.get();
}

Executor* ExecutorOf(const EngineCore& core) {
  return core.host_executor != nullptr ? static_cast<Executor*>(core.host_executor.get())
                                       : core.own_executor.get();
}

template <typename Host>
void KeepPort(const std::unique_ptr<Host>& host) {
  if (host != nullptr) host->port.Keep();
}

StatusOr<std::vector<NodeDescription>> DetectNodes(const trackbed_engine_options& options) {
  std::string_view text;
  TRACKBED_RETURN_IF_ERROR(ReadText(options.node, "options.node", &text));
  trackbed_answer answer;
  if (text.empty() && options.device_probe != nullptr) {
    trackbed_device_probe table;
    TRACKBED_RETURN_IF_ERROR(ReadTable(options.device_probe, "options.device_probe", &table,
                                       &trackbed_device_probe::probe));
    TRACKBED_RETURN_IF_ERROR(CallBack("the host's device probe", [&](trackbed_error** error) {
      return table.probe(table.user_data, &answer, error);
    }));
    text = answer.text;
  }
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> slots,
                            ReadSlots(options.slots, options.slot_count, "options.slots"));
  for (const SlotRequest& slot : slots) {
    if (FindSlotType(slot.slot) == nullptr) return UnknownSlot(slot.slot);
    if (slot.amount < Quantity()) return InvalidArgument("options.slots: found a negative amount");
  }
  std::vector<NodeDescription> nodes;
  if (text.empty()) {
    nodes.push_back(DetectLocalNode());
  } else {
    const Outcome read = ReadNodesText(text, "node", &nodes);
    if (!read.ok()) return read.status();
  }
  if (nodes.size() == 1) {
    OfferSlots(slots, &nodes.front());
  } else if (!slots.empty()) {
    return InvalidArgument("options.slots: of several nodes each says what it offers");
  }
  return nodes;
}

StatusOr<ExecutorChoice> ReadExecutorChoice(const trackbed_executor_choice& read) {
  ExecutorChoice choice;
  switch (read.kind) {
    case TRACKBED_RUN_AS_PROCESS:
      choice.on = "process";
      break;
    case TRACKBED_RUN_IN_CONTAINER:
      choice.on = "docker";
      break;
    case TRACKBED_RUN_BY_SLURM:
      choice.on = "slurm";
      break;
    default:
      return InvalidArgument("options.run_on.kind: found an unknown one");
  }
  TRACKBED_RETURN_IF_ERROR(ReadText(read.endpoint, "options.run_on.endpoint", &choice.endpoint));
  TRACKBED_RETURN_IF_ERROR(ReadText(read.image, "options.run_on.image", &choice.image));
  TRACKBED_RETURN_IF_ERROR(ReadText(read.network, "options.run_on.network", &choice.network));
  TRACKBED_RETURN_IF_ERROR(ReadText(read.user, "options.run_on.user", &choice.user));
  TRACKBED_RETURN_IF_ERROR(
      ReadText(read.credentials, "options.run_on.credentials", &choice.credentials));
  TRACKBED_RETURN_IF_ERROR(
      ReadText(read.slurm_endpoint, "options.run_on.slurm_endpoint", &choice.slurm_endpoint));
  TRACKBED_RETURN_IF_ERROR(
      ReadText(read.slurm_token_file, "options.run_on.slurm_token_file", &choice.slurm_token_file));
  TRACKBED_RETURN_IF_ERROR(ReadTexts(read.registries, read.registry_count,
                                     "options.run_on.registries", &choice.registries));
  TRACKBED_RETURN_IF_ERROR(ReadTexts(read.partitions, read.partition_count,
                                     "options.run_on.partitions", &choice.partitions));
  TRACKBED_RETURN_IF_ERROR(
      ReadTexts(read.accounts, read.account_count, "options.run_on.accounts", &choice.accounts));
  TRACKBED_RETURN_IF_ERROR(
      ReadTexts(read.qualities, read.quality_count, "options.run_on.qualities", &choice.qualities));
  TRACKBED_RETURN_IF_ERROR(
      ReadTexts(read.sbatch, read.sbatch_count, "options.run_on.sbatch", &choice.submit_options));
  return choice;
}

Status MakeExecutor(const trackbed_engine_options& options, EngineCore* core) {
  if (options.executor != nullptr) {
    if (options.run_on != nullptr) {
      return InvalidArgument("options: found both executor and run_on, expected one of them");
    }
    trackbed_executor table;
    TRACKBED_RETURN_IF_ERROR(ReadTable(options.executor, "options.executor", &table,
                                       &trackbed_executor::start, &trackbed_executor::stop));
    core->host_executor = std::make_unique<HostExecutor>(table, core->kick.get());
    return absl::OkStatus();
  }
  ExecutorSurroundings surroundings;
  ProcessExecutorOptions& chosen = surroundings.processes;
  TRACKBED_RETURN_IF_ERROR(
      ReadText(options.supervisor, "options.supervisor", &chosen.supervisor_path));
  if (chosen.supervisor_path.empty()) {
    chosen.supervisor_path = FindBesideLibrary("trackbed-supervisor");
  }
  switch (options.sandbox) {
    case TRACKBED_SANDBOX_AUTOMATIC:
      chosen.sandbox = SandboxMode::automatic;
      break;
    case TRACKBED_SANDBOX_NEVER:
      chosen.sandbox = SandboxMode::never;
      break;
    case TRACKBED_SANDBOX_ALWAYS:
      chosen.sandbox = SandboxMode::always;
      break;
    default:
      return InvalidArgument("options.sandbox: found an unknown mode");
  }
  TRACKBED_RETURN_IF_ERROR(ReadTexts(options.inherit, options.inherit_count, "options.inherit",
                                     &chosen.inherit_environment));
  if (options.run_on == nullptr) {
    TRACKBED_ASSIGN_OR_RETURN(core->own_processes, ProcessExecutor::Create(chosen));
    TRACKBED_ASSIGN_OR_RETURN(core->own_executor, GangExecutor::Create(core->own_processes.get()));
    return absl::OkStatus();
  }
  trackbed_executor_choice read;
  TRACKBED_RETURN_IF_ERROR(ReadStruct(options.run_on, "options.run_on", &read));
  TRACKBED_ASSIGN_OR_RETURN(const ExecutorChoice choice, ReadExecutorChoice(read));
  TRACKBED_RETURN_IF_ERROR(
      ReadText(read.container_init, "options.run_on.container_init", &surroundings.container_init));
  if (surroundings.container_init.empty()) {
    surroundings.container_init = FindBesideLibrary("trackbed-container-init");
  }
  surroundings.secret = [secrets = SecretsOf(*core)](std::string_view source,
                                                     std::string_view name) {
    return secrets->Resolve(source, name);
  };
  surroundings.home = core->workspace.home();
  surroundings.nodes = core->nodes;
  TRACKBED_ASSIGN_OR_RETURN(core->own_executor, OpenExecutors(choice, surroundings));
  // Slurm decides what runs when: it is handed all that is ready.
  if (read.kind == TRACKBED_RUN_BY_SLURM && core->nodes.size() == 1) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> slots,
                              ReadSlots(options.slots, options.slot_count, "options.slots"));
    core->nodes.front() = UnlimitedNode(slots, std::move(core->nodes.front()));
  }
  return absl::OkStatus();
}

Status MakeArtifacts(const trackbed_engine_options& options, EngineCore* core) {
  std::string folder;
  TRACKBED_RETURN_IF_ERROR(ReadText(options.artifacts, "options.artifacts", &folder));
  if (options.artifact_store != nullptr) {
    if (!folder.empty()) {
      return InvalidArgument(
          "options: found both artifacts and artifact_store, expected one of them");
    }
    trackbed_artifact_store table;
    TRACKBED_RETURN_IF_ERROR(ReadTable(options.artifact_store, "options.artifact_store", &table,
                                       &trackbed_artifact_store::has, &trackbed_artifact_store::put,
                                       &trackbed_artifact_store::get));
    core->host_artifacts = std::make_unique<HostArtifactStore>(table);
    core->artifacts = core->host_artifacts.get();
  } else if (!folder.empty()) {
    TRACKBED_ASSIGN_OR_RETURN(folder, MakeHomeFolder(folder));
    core->local_artifacts = NewLocalArtifactStore(folder);
    core->artifacts = core->local_artifacts.get();
  }
  if (core->artifacts != nullptr) {
    core->keeper = std::make_unique<ArtifactKeeper>(ExecutorOf(*core), core->artifacts);
  }
  return absl::OkStatus();
}

Status MakeStore(const trackbed_engine_options& options, EngineCore* core) {
  if (options.in_memory != 0) {
    core->store = NewMemoryStore();
    return absl::OkStatus();
  }
  std::string path;
  TRACKBED_RETURN_IF_ERROR(ReadText(options.store, "options.store", &path));
  if (path.empty()) path = core->workspace.Database();
  SqliteStoreOptions chosen;
  switch (options.durability) {
    case TRACKBED_DURABILITY_DEFAULT:
    case TRACKBED_DURABILITY_POWER:
      chosen.durability = Durability::power;
      break;
    case TRACKBED_DURABILITY_PROCESS:
      chosen.durability = Durability::process;
      break;
    default:
      return InvalidArgument("options.durability: found an unknown one");
  }
  TRACKBED_ASSIGN_OR_RETURN(core->store, OpenSqliteStore(path, chosen));
  TRACKBED_ASSIGN_OR_RETURN(core->reader, OpenSqliteStore(path, chosen));
  return absl::OkStatus();
}

Status MakeHome(const trackbed_engine_options& options, EngineCore* core) {
  std::string home;
  TRACKBED_RETURN_IF_ERROR(ReadText(options.home, "options.home", &home));
  if (!home.empty()) {
    TRACKBED_ASSIGN_OR_RETURN(home, MakeHomeFolder(home));
  } else if (options.in_memory == 0 || options.executor == nullptr) {
    return InvalidArgument(
        "options.home: found nothing, expected a folder; only an engine in memory with an executor "
        "of the host's does without");
  }
  core->has_home = !home.empty();
  // Below that nothing can be made, so that names stay names.
  core->workspace = Workspace(home.empty() ? "/dev/null" : home);
  return absl::OkStatus();
}

Status MakePorts(const trackbed_engine_options& options, EngineCore* core) {
  if (options.clock != nullptr) {
    trackbed_clock table;
    TRACKBED_RETURN_IF_ERROR(
        ReadTable(options.clock, "options.clock", &table, &trackbed_clock::now));
    core->host_clock = std::make_unique<HostClock>(table);
    core->clock = core->host_clock.get();
  } else {
    core->clock = &SystemClock();
  }
  if (options.random != nullptr) {
    trackbed_random table;
    TRACKBED_RETURN_IF_ERROR(
        ReadTable(options.random, "options.random", &table, &trackbed_random::next));
    core->host_random = std::make_unique<HostRandom>(table);
  }
  if (options.secrets != nullptr) {
    trackbed_secret_source table;
    TRACKBED_RETURN_IF_ERROR(
        ReadTable(options.secrets, "options.secrets", &table, &trackbed_secret_source::resolve));
    core->host_secrets = std::make_unique<HostSecrets>(table);
  } else {
    core->local_secrets = NewLocalSecrets(core->workspace.Secrets());
  }
  if (options.sink != nullptr) {
    trackbed_event_sink table;
    TRACKBED_RETURN_IF_ERROR(
        ReadTable(options.sink, "options.sink", &table, &trackbed_event_sink::event));
    core->sink = std::make_unique<HostSink>(table);
  }
  return absl::OkStatus();
}

// One descriptor for all that may call for a step.
Status MakeWake(EngineCore* core) {
  core->wake = std::make_unique<Descriptor>(epoll_create1(EPOLL_CLOEXEC));
  if (core->wake->get() < 0) return Unavailable("out of file descriptors");
  epoll_event interest{};
  interest.events = EPOLLIN;
  if (epoll_ctl(core->wake->get(), EPOLL_CTL_ADD, core->kick->descriptor(), &interest) != 0) {
    return Unavailable("out of file descriptors");
  }
  const int executor = core->own_executor == nullptr ? -1 : core->own_executor->WakeDescriptor();
  if (executor >= 0 && epoll_ctl(core->wake->get(), EPOLL_CTL_ADD, executor, &interest) != 0) {
    return Unavailable("out of file descriptors");
  }
  return absl::OkStatus();
}

// The number by which quotas know a slot.
StatusOr<size_t> ResourceOf(const std::vector<std::string>& resources, const std::string& slot) {
  const auto found = std::find(resources.begin(), resources.end(), slot);
  if (found != resources.end()) return static_cast<size_t>(found - resources.begin());
  std::string expected;
  for (const std::string& name : resources) expected += (expected.empty() ? "" : ", ") + name;
  return InvalidArgument("options.tenants: found a quota of \"" + slot + "\", expected one of " +
                         expected);
}

Status ReadAmounts(const trackbed_slot* slots, size_t count,
                   const std::vector<std::string>& resources, Amounts* amounts) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> read,
                            ReadSlots(slots, count, "options.tenants"));
  for (const SlotRequest& slot : read) {
    TRACKBED_ASSIGN_OR_RETURN(const size_t resource, ResourceOf(resources, slot.slot));
    (*amounts)[resource] = resource == kMemory ? slot.amount.units() : slot.amount.thousandths();
  }
  return absl::OkStatus();
}

Status ReadTenants(const trackbed_engine_options& options, std::span<const NodeDescription> nodes,
                   Tenancy* tenancy) {
  TRACKBED_RETURN_IF_ERROR(
      CheckItems(options.tenants, options.tenant_size, options.tenant_count, "options.tenants"));
  const std::vector<std::string> resources = QuotaResources(nodes);
  for (size_t i = 0; i < options.tenant_count; ++i) {
    trackbed_engine_tenant read;
    TRACKBED_RETURN_IF_ERROR(
        ReadItem(options.tenants, options.tenant_size, i, "options.tenants", &read));
    std::string path;
    TRACKBED_RETURN_IF_ERROR(ReadText(read.path, "options.tenants.path", &path));
    Quota quota;
    TRACKBED_RETURN_IF_ERROR(
        ReadAmounts(read.guaranteed, read.guaranteed_count, resources, &quota.guaranteed));
    TRACKBED_RETURN_IF_ERROR(ReadAmounts(read.limit, read.limit_count, resources, &quota.limit));
    if (read.max_running != 0) quota.max_running = read.max_running;
    if (read.max_waiting != 0) quota.max_waiting = read.max_waiting;
    if (read.weight != 0) quota.weight = read.weight;
    const size_t slash = path.rfind('/');
    const bool top = slash == std::string::npos;
    TRACKBED_ASSIGN_OR_RETURN(const TenantIndex parent,
                              tenancy->Find(top ? "" : path.substr(0, slash)));
    TRACKBED_RETURN_IF_ERROR(
        tenancy->Add(parent, top ? path : path.substr(slash + 1), quota).status());
  }
  return absl::OkStatus();
}

Status ReadTurns(const trackbed_engine_options& options, std::span<const NodeDescription> nodes,
                 EngineCore* core) {
  if (options.policy != nullptr) {
    trackbed_scheduler_options read;
    TRACKBED_RETURN_IF_ERROR(ReadStruct(options.policy, "options.policy", &read));
    TRACKBED_ASSIGN_OR_RETURN(core->policy, ReadPolicy(read));
    if (read.half_life_ns < 0) return InvalidArgument("options.policy: found a duration below 0");
    if (read.host_order != nullptr) {
      trackbed_order table;
      TRACKBED_RETURN_IF_ERROR(
          ReadTable(read.host_order, "options.policy.host_order", &table, &trackbed_order::rank));
      core->host_order = std::make_unique<HostOrder>(table);
    }
    if (read.host_placer != nullptr) {
      return InvalidArgument("options.policy.host_placer: the engine has only those with names");
    }
    TRACKBED_RETURN_IF_ERROR(ReadText(read.placer, "options.policy.placer", &core->placer));
    if (read.half_life_ns > 0) core->tenancy = Tenancy(Duration(read.half_life_ns));
  }
  return ReadTenants(options, nodes, &core->tenancy);
}

bool HasOutputs(const EngineCore& core, const std::string& folder, const std::string& digest) {
  if (core.has_home) return BringBackOutputs(folder, digest, core.artifacts);
  const StatusOr<bool> known = core.artifacts->Has(digest);
  return known.ok() && *known;
}

// With the engine entered: what is gone of the files of a run.
Status BringBack(EngineCore* core, Store& store, const RunId& run) {
  if (core->artifacts == nullptr || !core->has_home) return absl::OkStatus();
  TRACKBED_ASSIGN_OR_RETURN(const StoredRun stored, LoadRun(store, run));
  return BringBackFiles(*stored.state, core->workspace, core->artifacts);
}

Status OpenEngine(const trackbed_engine_options& options, EngineCore* core) {
  EngineOptions chosen;
  chosen.store = core->store.get();
  chosen.executor = core->keeper != nullptr ? core->keeper.get() : ExecutorOf(*core);
  chosen.clock = core->clock;
  chosen.random = core->host_random.get();
  chosen.secrets = SecretsOf(*core);
  chosen.home = core->workspace.home();
  chosen.nodes = core->nodes;
  TRACKBED_RETURN_IF_ERROR(ReadTurns(options, chosen.nodes, core));
  chosen.tenancy = core->tenancy;
  chosen.policy = core->policy;
  chosen.order = core->host_order.get();
  chosen.placer = core->placer;
  chosen.sink = [core](const RunState& run, uint64_t sequence, const Event& event) {
    Publish(core, run, sequence, event);
  };
  std::string description;
  TRACKBED_RETURN_IF_ERROR(ReadText(options.description, "options.description", &description));
  chosen.holder = ThisProcess(description.empty() ? "an embedded engine" : description);
  if (options.lease_time_ns < 0) return InvalidArgument("options.lease_time_ns: found less than 0");
  if (options.lease_time_ns > 0) chosen.lease_time = Duration(options.lease_time_ns);
  chosen.is_gone = HolderIsGone;
  // Where the host's attempts leave their files only the host knows.
  if (core->host_executor == nullptr) {
    chosen.has_outputs = HasOutputFolder;
    chosen.link_outputs = LinkOutputs;
  }
  if (core->artifacts != nullptr) {
    chosen.has_outputs = [core](const std::string& folder, const std::string& digest) {
      return HasOutputs(*core, folder, digest);
    };
  }
  TRACKBED_ASSIGN_OR_RETURN(core->engine, Engine::Open(std::move(chosen)));
  return absl::OkStatus();
}

// With the engine entered.
Status StepNow(EngineCore* core) {
  core->kick->Clear();
  Status status = core->engine->Step();
  core->stepped.notify_all();
  return status;
}

int PollTimeout(int64_t deadline, Clock& clock) {
  if (deadline == TRACKBED_NEVER) return -1;
  const int64_t now = ToNanoseconds(clock.Now());
  if (deadline <= now) return 0;
  constexpr int64_t kMillisecond = 1'000'000;
  const int64_t wait = (deadline - now - 1) / kMillisecond + 1;
  return static_cast<int>(std::min<int64_t>(wait, std::numeric_limits<int>::max()));
}

// What the thread of an engine does.
void DriveEngine(EngineCore* core) noexcept {
  while (!core->stopping) {
    int timeout = 0;
    try {
      const Entered entered(core);
      // A broken engine says so to whoever calls it next.
      if (!StepNow(core).ok()) break;
      timeout = PollTimeout(ToNanoseconds(core->engine->NextDeadline()), *core->clock);
    } catch (...) {
      break;
    }
    pollfd descriptor{core->wake->get(), POLLIN, 0};
    ::poll(&descriptor, 1, timeout);
  }
  {
    // Locked, or who has just seen that it is driven would wait for it for ever.
    const std::lock_guard lock(core->mutex);
    core->driven = false;
  }
  core->stepped.notify_all();
}

// While it lives no other thread that waits polls for itself.
class Leading {
 public:
  explicit Leading(EngineCore* core) : core_(core) {}
  ~Leading() {
    if (!leads_) return;
    {
      const std::lock_guard lock(core_->mutex);
      core_->led = false;
    }
    core_->stepped.notify_all();
  }
  Leading(const Leading&) = delete;
  Leading& operator=(const Leading&) = delete;

  // With the engine entered: whether it is this thread, from now on.
  bool Take() {
    if (!leads_ && !core_->led && !core_->driven) leads_ = core_->led = true;
    return leads_ && !core_->driven;
  }

 private:
  EngineCore* core_;
  bool leads_ = false;
};

void StopThread(EngineCore* core) {
  const std::lock_guard lock(core->thread_mutex);
  if (!core->thread.joinable()) return;
  core->stopping = true;
  core->kick->Set();
  core->thread.join();
}

// A call on the engine itself, which others may have to be woken for.
template <typename Call>
Status Change(trackbed_engine* engine, const char* run, size_t run_size, Call&& call) {
  TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
  TRACKBED_NEED(run);
  EngineCore* core = engine->core;
  std::string given;
  TRACKBED_RETURN_IF_ERROR(ReadText(run, run_size, "run", &given));
  TRACKBED_ASSIGN_OR_RETURN(
      const RunId id, WithReader(core, [&](Store& store) { return ResolveRun(store, given); }));
  const Entered entered(core);
  Status status = call(*core->engine, id);
  core->kick->Set();
  return status;
}

struct DecisionTexts {
  trackbed_string run;
  trackbed_string task;
  trackbed_string by;
  trackbed_string comment;
};

Status Decide(trackbed_engine* engine, bool approved, const DecisionTexts& texts) {
  std::string task;
  ApprovalDecided decision;
  decision.approved = approved;
  TRACKBED_RETURN_IF_ERROR(ReadText(texts.task, "task", &task));
  TRACKBED_RETURN_IF_ERROR(ReadText(texts.by, "by", &decision.by));
  TRACKBED_RETURN_IF_ERROR(ReadText(texts.comment, "comment", &decision.comment));
  return Change(engine, texts.run.data, texts.run.size,
                [&](Engine& cpp, const RunId& id) { return cpp.Decide(id, task, decision); });
}

// The store of artifacts is asked by one thread at a time: that which has the engine.
Status BringBackForReading(trackbed_engine* engine, const char* run, size_t run_size) {
  TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
  EngineCore* core = engine->core;
  if (core->artifacts == nullptr) return absl::OkStatus();
  std::string given;
  TRACKBED_RETURN_IF_ERROR(ReadText(run, run_size, "run", &given));
  const Entered entered(core);
  TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(*core->store, given));
  return BringBack(core, *core->store, id);
}

// A question about a run, or a task of it, that is answered with a text.
template <typename Question>
Status Ask(trackbed_engine* engine, const char* run, size_t run_size, trackbed_bytes* answer,
           Question&& question) {
  TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
  TRACKBED_NEED(run);
  TRACKBED_NEED(answer);
  std::string given;
  TRACKBED_RETURN_IF_ERROR(ReadText(run, run_size, "run", &given));
  TRACKBED_ASSIGN_OR_RETURN(const std::string text, WithReader(engine->core, [&](Store& store) {
                              return question(store, given);
                            }));
  return GiveBytes(text, answer);
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

StatusOr<std::unique_ptr<Signal>> Signal::Create() {
  const int descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) return Unavailable("out of file descriptors");
  return std::make_unique<Signal>(descriptor);
}

void Signal::Set() const {
  const uint64_t one = 1;
  // Fails only when it is set already.
  [[maybe_unused]] const ssize_t ignored = ::write(descriptor_.get(), &one, sizeof one);
}

void Signal::Clear() const {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t ignored = ::read(descriptor_.get(), &count, sizeof count);
}

EngineCore::~EngineCore() {
  StopThread(this);
  engine.reset();
}

void Entered::WaitForStep(std::chrono::steady_clock::time_point until) {
  core_->inside = std::thread::id();
  // A day where there is no limit, which comes to the same, as who waits looks again: to wait
  // without one would need a newer C++ run time than all else does.
  const auto longest = std::chrono::steady_clock::now() + std::chrono::hours(24);
  core_->stepped.wait_until(lock_, std::min(until, longest));
  core_->inside = std::this_thread::get_id();
}

Status CheckCore(const EngineCore& core, pid_t process) {
  if (process != ::getpid()) {
    return FailedPrecondition(
        "this engine belongs to the parent process: after fork() only that may use it");
  }
  const std::thread::id self = std::this_thread::get_id();
  if (core.inside == self || core.asker == self) {
    return FailedPrecondition("a callback of an engine may not call it");
  }
  return absl::OkStatus();
}

Status CheckEngine(const trackbed_engine* engine) {
  if (engine == nullptr) return MissingArgument("engine");
  return CheckCore(*engine->core, engine->process);
}

}  // namespace trackbed::capi

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

trackbed_status trackbed_engine_open(const trackbed_engine_options* options, trackbed_engine** out,
                                     trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(out);
    trackbed_engine_options read;
    TRACKBED_RETURN_IF_ERROR(ReadStruct(options, "options", &read));
    auto handle = std::make_unique<trackbed_engine>();
    auto core = std::make_unique<EngineCore>();
    TRACKBED_RETURN_IF_ERROR(MakeHome(read, core.get()));
    TRACKBED_ASSIGN_OR_RETURN(core->kick, Signal::Create());
    TRACKBED_ASSIGN_OR_RETURN(core->ended, Signal::Create());
    TRACKBED_RETURN_IF_ERROR(MakePorts(read, core.get()));
    TRACKBED_ASSIGN_OR_RETURN(core->nodes, DetectNodes(read));
    TRACKBED_RETURN_IF_ERROR(MakeExecutor(read, core.get()));
    TRACKBED_RETURN_IF_ERROR(MakeArtifacts(read, core.get()));
    TRACKBED_RETURN_IF_ERROR(MakeStore(read, core.get()));
    TRACKBED_RETURN_IF_ERROR(MakeWake(core.get()));
    TRACKBED_RETURN_IF_ERROR(OpenEngine(read, core.get()));
    KeepPort(core->host_clock);
    KeepPort(core->host_random);
    KeepPort(core->host_secrets);
    KeepPort(core->sink);
    KeepPort(core->host_executor);
    KeepPort(core->host_order);
    KeepPort(core->host_artifacts);
    if (read.device_probe != nullptr) {
      // It has told all that it is asked.
      trackbed_device_probe table;
      if (ReadStruct(read.device_probe, "options.device_probe", &table).ok()) {
        Port<trackbed_device_probe>(table).Keep();
      }
    }
    core->kick->Set();
    handle->process = ::getpid();
    handle->core = core.release();
    *out = handle.release();
    return absl::OkStatus();
  });
}

void trackbed_engine_close(trackbed_engine* engine) noexcept {
  if (engine == nullptr) return;
  // From a callback of its own it cannot be ended.
  if (engine->process == ::getpid() && !CheckEngine(engine).ok()) return;
  const std::unique_ptr<trackbed_engine> owned(engine);
  // In a child of fork() the rest is the parent's, and its locks may be held for ever.
  if (engine->process != ::getpid()) return;
  (void)Guard(nullptr, [&]() -> Status {
    StopThread(engine->core);
    DetachStreams(engine->core);
    delete engine->core;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_engine_submit(trackbed_engine* engine, const trackbed_pipeline* pipeline,
                                       const trackbed_submit_options* options, trackbed_bytes* run,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    TRACKBED_NEED(pipeline);
    TRACKBED_NEED(run);
    trackbed_submit_options read;
    TRACKBED_RETURN_IF_ERROR(ReadOptions(options, "options", &read));
    std::string_view parameters;
    std::string base;
    TRACKBED_RETURN_IF_ERROR(ReadText(read.parameters, "options.parameters", &parameters));
    TRACKBED_RETURN_IF_ERROR(ReadText(read.base, "options.base", &base));
    if (base.empty()) base = pipeline->base;
    std::error_code ignored;
    base = base.empty() ? std::filesystem::current_path(ignored).string()
                        : std::filesystem::absolute(base, ignored).string();
    TRACKBED_ASSIGN_OR_RETURN(const auto given, ReadParameters(parameters));
    TRACKBED_ASSIGN_OR_RETURN(auto values, BindParameters(*pipeline->pipeline, given));
    EngineCore* core = engine->core;
    // Copies code and reads folders: without holding anybody up.
    TRACKBED_ASSIGN_OR_RETURN(SubmitOptions prepared,
                              PrepareRun(*pipeline->pipeline, base, core->workspace.home(),
                                         std::move(values), read.no_cache == 0));
    TRACKBED_RETURN_IF_ERROR(ReadText(read.tenant, "options.tenant", &prepared.tenant));
    if (read.has_priority != 0) prepared.priority = read.priority;
    const Entered entered(core);
    if (core->artifacts != nullptr) {
      TRACKBED_RETURN_IF_ERROR(KeepSource(prepared.source, core->artifacts));
    }
    TRACKBED_ASSIGN_OR_RETURN(const RunId id,
                              core->engine->Submit(pipeline->pipeline, std::move(prepared)));
    core->kick->Set();
    return GiveBytes(id, run);
  });
}

trackbed_status trackbed_engine_step(trackbed_engine* engine, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    const Entered entered(engine->core);
    return StepNow(engine->core);
  });
}

int trackbed_engine_wake_descriptor(const trackbed_engine* engine) noexcept {
  return engine == nullptr || engine->process != ::getpid() ? -1 : engine->core->wake->get();
}

int64_t trackbed_engine_next_deadline(const trackbed_engine* engine) noexcept {
  return GuardValue<int64_t>(0, [&]() -> int64_t {
    if (engine == nullptr || engine->process != ::getpid()) return TRACKBED_NEVER;
    if (!CheckEngine(engine).ok()) return 0;
    const Entered entered(engine->core);
    return ToNanoseconds(engine->core->engine->NextDeadline());
  });
}

int trackbed_engine_poll_timeout(const trackbed_engine* engine) noexcept {
  return GuardValue<int>(0, [&] {
    if (engine == nullptr || engine->process != ::getpid()) return -1;
    if (!CheckEngine(engine).ok()) return 0;
    const Entered entered(engine->core);
    return PollTimeout(ToNanoseconds(engine->core->engine->NextDeadline()), *engine->core->clock);
  });
}

trackbed_status trackbed_engine_start_thread(trackbed_engine* engine,
                                             trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    EngineCore* core = engine->core;
    const std::lock_guard lock(core->thread_mutex);
    if (core->driven) return FailedPrecondition("the engine has its thread already");
    if (core->thread.joinable()) core->thread.join();  // it ended with an error
    core->stopping = false;
    core->driven = true;
    // Signals are the host's: its threads get them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      core->thread = std::thread(DriveEngine, core);
    } catch (const std::system_error&) {
      core->driven = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!core->driven && !core->thread.joinable()) return Unavailable("out of threads");
    core->ended->Set();  // who steps it while waiting need not any more
    pthread_setname_np(core->thread.native_handle(), "trackbed");
    return absl::OkStatus();
  });
}

trackbed_status trackbed_engine_stop_thread(trackbed_engine* engine,
                                            trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    StopThread(engine->core);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_engine_wait(trackbed_engine* engine, const char* run, size_t run_size,
                                     int64_t timeout_ns, int32_t* ended,
                                     trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    TRACKBED_NEED(run);
    using Steady = std::chrono::steady_clock;
    const Steady::time_point until =
        timeout_ns < 0 ||
                timeout_ns > std::chrono::hours(24 * 365 * 10) / std::chrono::nanoseconds(1)
            ? Steady::time_point::max()
            : Steady::now() + std::chrono::nanoseconds(timeout_ns);
    EngineCore* core = engine->core;
    std::string given;
    TRACKBED_RETURN_IF_ERROR(ReadText(run, run_size, "run", &given));
    TRACKBED_ASSIGN_OR_RETURN(
        const RunId id, WithReader(core, [&](Store& store) { return ResolveRun(store, given); }));
    Leading leading(core);
    while (true) {
      int timeout = 0;
      {
        Entered entered(core);
        if (leading.Take()) {
          core->ended->Clear();
          TRACKBED_RETURN_IF_ERROR(StepNow(core));
        }
        if (!core->engine->IsActive(id)) break;
        if (Steady::now() >= until) {
          if (ended != nullptr) *ended = 0;
          return absl::OkStatus();
        }
        if (!leading.Take()) {
          entered.WaitForStep(until);
          continue;
        }
        timeout = PollTimeout(ToNanoseconds(core->engine->NextDeadline()), *core->clock);
      }
      if (until != Steady::time_point::max()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Steady::now());
        const auto most = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1'000'000'000));
        timeout = timeout < 0 ? most : std::min(timeout, most);
      }
      pollfd descriptors[] = {{core->wake->get(), POLLIN, 0},
                              {core->ended->descriptor(), POLLIN, 0}};
      ::poll(descriptors, 2, timeout);
    }
    TRACKBED_ASSIGN_OR_RETURN(const RunRecord record,
                              WithReader(core, [&](Store& store) { return store.FindRun(id); }));
    if (record.status == RunStatus::running) {
      return FailedPrecondition("nobody drives run " + id + "; resume it");
    }
    if (ended != nullptr) *ended = 1;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_engine_cancel(trackbed_engine* engine, const char* run, size_t run_size,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&] {
    return Change(engine, run, run_size,
                  [](Engine& cpp, const RunId& id) { return cpp.Cancel(id); });
  });
}

trackbed_status trackbed_engine_resume(trackbed_engine* engine, const char* run, size_t run_size,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&] {
    return Change(engine, run, run_size, [&](Engine& cpp, const RunId& id) {
      TRACKBED_RETURN_IF_ERROR(BringBack(engine->core, *engine->core->store, id));
      return cpp.Resume(id);
    });
  });
}

trackbed_status trackbed_engine_retry(trackbed_engine* engine, const char* run, size_t run_size,
                                      const trackbed_string* tasks, size_t task_count,
                                      trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    if (tasks == nullptr && task_count != 0) return MissingArgument("tasks");
    std::vector<std::string> names(task_count);
    for (size_t i = 0; i < task_count; ++i) {
      TRACKBED_RETURN_IF_ERROR(ReadText(tasks[i], "tasks", &names[i]));
    }
    return Change(engine, run, run_size, [&](Engine& cpp, const RunId& id) -> Status {
      TRACKBED_RETURN_IF_ERROR(BringBack(engine->core, *engine->core->store, id));
      return cpp.Retry(id, names);
    });
  });
}

trackbed_status trackbed_engine_approve(trackbed_engine* engine, const char* run, size_t run_size,
                                        const char* task, size_t task_size, const char* by,
                                        size_t by_size, const char* comment, size_t comment_size,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&] {
    return Decide(engine, true,
                  {{run, run_size}, {task, task_size}, {by, by_size}, {comment, comment_size}});
  });
}

trackbed_status trackbed_engine_reject(trackbed_engine* engine, const char* run, size_t run_size,
                                       const char* task, size_t task_size, const char* by,
                                       size_t by_size, const char* comment, size_t comment_size,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&] {
    return Decide(engine, false,
                  {{run, run_size}, {task, task_size}, {by, by_size}, {comment, comment_size}});
  });
}

int32_t trackbed_engine_is_active(const trackbed_engine* engine, const char* run,
                                  size_t run_size) noexcept {
  return GuardValue<int32_t>(0, [&] {
    std::string id;
    if (!CheckEngine(engine).ok() || !ReadText(run, run_size, "run", &id).ok()) return 0;
    const Entered entered(engine->core);
    const Engine& cpp = *engine->core->engine;
    return (id.empty() ? cpp.HasActiveRuns() : cpp.IsActive(id)) ? 1 : 0;
  });
}

trackbed_status trackbed_engine_report(trackbed_engine* engine,
                                       const trackbed_attempt_report* report,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(engine);
    if (engine->process != ::getpid()) return CheckEngine(engine);
    EngineCore* core = engine->core;
    if (core->host_executor == nullptr) {
      return FailedPrecondition("this engine has the embedded executor, which reports by itself");
    }
    trackbed_attempt_report read;
    TRACKBED_RETURN_IF_ERROR(ReadStruct(report, "report", &read));
    AttemptReport given;
    switch (read.kind) {
      case TRACKBED_ATTEMPT_STARTED:
        given.kind = AttemptReport::Kind::started;
        break;
      case TRACKBED_ATTEMPT_EXITED:
        given.kind = AttemptReport::Kind::exited;
        break;
      case TRACKBED_ATTEMPT_FAILED_TO_START:
        given.kind = AttemptReport::Kind::failed_to_start;
        break;
      case TRACKBED_ATTEMPT_LOST:
        given.kind = AttemptReport::Kind::lost;
        break;
      default:
        return InvalidArgument("report.kind: found an unknown kind");
    }
    TRACKBED_RETURN_IF_ERROR(ReadText(read.key, "report.key", &given.key));
    TRACKBED_RETURN_IF_ERROR(ReadText(read.message, "report.message", &given.message));
    TRACKBED_RETURN_IF_ERROR(ReadText(read.output_text, "report.output_text", &given.output_text));
    TRACKBED_RETURN_IF_ERROR(
        ReadText(read.output_digest, "report.output_digest", &given.output_digest));
    if (given.output_text.size() > kMaxOutputBytes) {
      return InvalidArgument("report.output_text: found more than 1 MiB");
    }
    if (read.signal < 0 || read.wall_time_ns < 0 || read.cpu_time_ns < 0 ||
        read.max_rss_bytes < 0) {
      return InvalidArgument("report: found an amount below 0");
    }
    given.exit_code = read.exit_code;
    given.signal = read.signal;
    given.out_of_memory = read.out_of_memory != 0;
    given.wall_time = Duration(read.wall_time_ns);
    given.cpu_time = Duration(read.cpu_time_ns);
    given.max_rss_bytes = read.max_rss_bytes;
    return core->host_executor->Add(std::move(given));
  });
}

trackbed_status trackbed_engine_list_runs(trackbed_engine* engine, size_t limit,
                                          trackbed_bytes* json, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    TRACKBED_NEED(json);
    EngineCore* core = engine->core;
    TRACKBED_ASSIGN_OR_RETURN(const std::string text, WithReader(core, [&](Store& store) {
                                return RunsAsJson(store, limit, core->clock->Now());
                              }));
    return GiveBytes(text, json);
  });
}

trackbed_status trackbed_engine_show(trackbed_engine* engine, const char* run, size_t run_size,
                                     trackbed_bytes* json, trackbed_error** error) noexcept {
  return Guard(error, [&] {
    return Ask(engine, run, run_size, json,
               [](Store& store, const std::string& id) { return RunAsJson(store, id); });
  });
}

trackbed_status trackbed_engine_explain(trackbed_engine* engine, const char* run, size_t run_size,
                                        const char* task, size_t task_size, trackbed_bytes* json,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    std::string_view name;
    TRACKBED_RETURN_IF_ERROR(ReadText(task, task_size, "task", &name));
    return Ask(engine, run, run_size, json, [&](Store& store, const std::string& id) {
      EngineCore& core = *engine->core;
      // The host's order is asked by one thread at a time.
      std::optional<Entered> entered;
      if (core.host_order != nullptr && core.reader != nullptr) entered.emplace(&core);
      return ExplanationAsJson(store, id, name, core.clock->Now(), HolderIsGone, core.tenancy,
                               core.policy, core.host_order.get());
    });
  });
}

trackbed_status trackbed_engine_why(trackbed_engine* engine, const char* run, size_t run_size,
                                    const char* task, size_t task_size, trackbed_bytes* json,
                                    trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    std::string_view name;
    TRACKBED_RETURN_IF_ERROR(ReadText(task, task_size, "task", &name));
    return Ask(engine, run, run_size, json, [&](Store& store, const std::string& id) {
      return CacheUseAsJson(store, id, name);
    });
  });
}

trackbed_status trackbed_engine_read_log(trackbed_engine* engine, const char* run, size_t run_size,
                                         const char* task, size_t task_size, uint32_t attempt,
                                         uint64_t offset, size_t limit, trackbed_bytes* text,
                                         int32_t* more, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    std::string_view name;
    TRACKBED_RETURN_IF_ERROR(ReadText(task, task_size, "task", &name));
    bool goes_on = false;
    TRACKBED_RETURN_IF_ERROR(Ask(engine, run, run_size, text,
                                 [&](Store& store, const std::string& id) -> StatusOr<std::string> {
                                   TRACKBED_ASSIGN_OR_RETURN(
                                       LogPart part,
                                       ReadLog(store, engine->core->workspace, id,
                                               {std::string(name), attempt}, offset, limit));
                                   goes_on = part.more;
                                   return std::move(part.text);
                                 }));
    if (more != nullptr) *more = goes_on ? 1 : 0;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_engine_outputs(trackbed_engine* engine, const char* run, size_t run_size,
                                        const char* task, size_t task_size, trackbed_bytes* json,
                                        trackbed_bytes* folder, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    std::string_view name;
    TRACKBED_RETURN_IF_ERROR(ReadText(task, task_size, "task", &name));
    TRACKBED_RETURN_IF_ERROR(BringBackForReading(engine, run, run_size));
    std::string files;
    TRACKBED_RETURN_IF_ERROR(Ask(engine, run, run_size, json,
                                 [&](Store& store, const std::string& id) -> StatusOr<std::string> {
                                   TRACKBED_ASSIGN_OR_RETURN(
                                       TaskOutputs outputs,
                                       ReadOutputs(store, engine->core->workspace, id, name));
                                   files = std::move(outputs.folder);
                                   return std::move(outputs.json);
                                 }));
    Status given = GiveBytesIfWanted(files, folder);
    if (!given.ok()) trackbed_bytes_free(json);
    return given;
  });
}

trackbed_status trackbed_engine_publish_results(trackbed_engine* engine, const char* run,
                                                size_t run_size, const char* folder,
                                                size_t folder_size, trackbed_bytes* names,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    std::string destination;
    TRACKBED_RETURN_IF_ERROR(ReadText(folder, folder_size, "folder", &destination));
    TRACKBED_RETURN_IF_ERROR(BringBackForReading(engine, run, run_size));
    trackbed_bytes unwanted{};
    Status status = Ask(engine, run, run_size, names == nullptr ? &unwanted : names,
                        [&](Store& store, const std::string& given) -> StatusOr<std::string> {
                          const Workspace& workspace = engine->core->workspace;
                          TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(store, given));
                          TRACKBED_ASSIGN_OR_RETURN(const StoredRun stored, LoadRun(store, id));
                          if (destination.empty())
                            destination = workspace.Results(stored.record.pipeline);
                          TRACKBED_ASSIGN_OR_RETURN(
                              const std::vector<std::string> written,
                              PublishResults(*stored.state, workspace.home(), destination));
                          return nlohmann::json(written).dump(
                              -1, ' ', false, nlohmann::json::error_handler_t::replace);
                        });
    trackbed_bytes_free(&unwanted);
    return status;
  });
}

trackbed_status trackbed_store_check(const char* path, size_t path_size, trackbed_bytes* json,
                                     trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(path);
    TRACKBED_NEED(json);
    std::string file;
    TRACKBED_RETURN_IF_ERROR(ReadText(path, path_size, "path", &file));
    TRACKBED_ASSIGN_OR_RETURN(const StoreReport report, CheckStore(file, SystemClock().Now()));
    return GiveBytes(StoreReportToJson(report), json);
  });
}

trackbed_status trackbed_store_backup(const char* path, size_t path_size, const char* to,
                                      size_t to_size, trackbed_bytes* json,
                                      trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(path);
    TRACKBED_NEED(to);
    std::string from;
    std::string copy;
    TRACKBED_RETURN_IF_ERROR(ReadText(path, path_size, "path", &from));
    TRACKBED_RETURN_IF_ERROR(ReadText(to, to_size, "to", &copy));
    TRACKBED_ASSIGN_OR_RETURN(const StoreReport report,
                              BackupStore(from, copy, SystemClock().Now()));
    return GiveBytesIfWanted(StoreReportToJson(report), json);
  });
}
