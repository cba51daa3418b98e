#include "simulation/simulation.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "simulation/room.hpp"
#include "simulation/simulated_disk.hpp"
#include "simulation/world.hpp"
#include "support/pipelines.hpp"
#include "support/run_state_text.hpp"
#include "support/story.hpp"
#include "trackbed/base/sha256.hpp"
#include "trackbed/engine/approval.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/secrets.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/resources/local_node.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed {

std::string_view ToString(Fault fault) {
  constexpr std::array<std::string_view, kFaults> kNames = {
      "crash", "crash_in_write", "write_error", "disk_full",    "power_loss",    "rival",
      "stall", "stall_in_start", "clock_set",   "host_loss",    "busy_executor", "wild_reports",
      "user",  "node_loss",      "node_silent", "slow_network", "node_change",   "no_secret"};
  return kNames[static_cast<size_t>(fault)];
}

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr const char* kStorePath = "/trackbed.db";
constexpr size_t kProcesses = 2;
// Of processors, in thousandths, what the tenants may have.
constexpr int64_t kMostOfA = 2000;
constexpr int64_t kMostOfB = 4000;
constexpr const char* kSecret = "correct-horse-battery-staple";
// Those that Disturb draws; the others have a time of their own.
constexpr size_t kFaultsOfNodes = 2;
constexpr size_t kDrawnFaults = kFaults - 3;
constexpr Pace kPace = {.retry = seconds(20), .timeout = minutes(1), .timeouts = 40, .graces = 30};
// Runs take minutes; a few stay behind hanging attempts, retries and quotas.
constexpr Duration kTimeToEnd = hours(24);

// What an engine told its host, which therefore has to be durable.
using Told = std::map<RunId, std::map<uint64_t, Event>>;

// A process that embeds an engine: it opens the store, takes the lease or waits for it, takes up
// what was interrupted, and starts anew when the engine breaks.
struct HostProcess {
  int64_t number = 0;
  std::unique_ptr<DiskProcess> disk;
  std::unique_ptr<SimulatedExecutor> executor;
  std::unique_ptr<Store> store;
  std::unique_ptr<Engine> engine;
  Time wake{};                      // when it does something next
  bool is_stalled = false;          // until `wake`
  bool is_wanted = true;            // there is to be such a process at all
  std::map<RunId, uint64_t> heard;  // the last event it told of each run
  // Whom it told to stop for others, and for whom: RUN/TASK.
  std::set<AttemptKey> told_to_stop;
  std::set<std::pair<RunId, TaskIndex>> claims;
  bool leaves_runs = false;  // until there are nodes again on which they can run
  bool excused = false;      // something was done to it that its calls may fail for
};

class SimulatedSecrets final : public SecretSource {
 public:
  bool locked = false;
  StatusOr<std::string> Resolve(std::string_view /*source*/, std::string_view name) override {
    if (locked) return NotFound("the vault is locked");
    return std::string(name) + "=" + kSecret;
  }
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        work_(options.seed * 8 + 0),
        chance_(options.seed * 8 + 1),
        gangs_(options.seed * 8 + 6),
        asks_(options.seed * 8 + 7),
        people_(~options.seed),
        values_(~options.seed * 8 + 1),
        changes_(~options.seed * 8 + 2),
        world_(options.seed * 8 + 2),
        engine_random_(options.seed * 8 + 4),
        disk_random_(options.seed * 8 + 3),
        disk_(&disk_random_),
        observer_(&disk_, &world_.clock) {
    MakeNodes();
    ChoosePolicy();
    world_.may_be_stopped = [this](const AttemptKey& key) { return MayBeStopped(key); };
    world_.cpu_limit = {{"a", kMostOfA}, {"b", kMostOfB}};
    world_.tenant_of = [this](const RunId& run) { return tenants_.at(run); };
    world_.is_intended = [this](const AttemptSpec& spec) { return IsIntended(spec); };
    world_.size_of = [this](const AttemptSpec& spec) { return SizeOf(spec); };
    has_values_ = values_.OneIn(2);
    stores_nodes_ = has_several_nodes() && changes_.OneIn(2);
    durability_ = work_.OneIn(3) ? Durability::process : Durability::power;
    is_gone_known_ = work_.OneIn(2);
    // Drawn apart, so that seeds of before tell the story that they told.
    disk_.lies = Dice(options.seed * 8 + 5).OneIn(10) || options.lying;
    start_ = world_.clock.now();
    next_fault_ = start_ + Gap(chance_, minutes(3));
    next_run_ = start_;
    next_answer_ = start_;
    next_change_ = start_ + Gap(changes_, minutes(6));
    processes_[1].is_wanted = false;
  }

  SimulationResult Run() {
    const Time calm = start_ + options_.time;
    while (world_.clock.now() < calm && GoesOn()) Turn(calm);
    Calm();
    const Time latest = world_.clock.now() + kTimeToEnd;
    while (GoesOn() && !IsOver()) {
      if (world_.clock.now() > latest) {
        world_.Violate("runs do not end: " + DescribeOpenRuns());
      }
      Turn(kNever);
    }
    if (GoesOn()) CheckEverything();
    for (HostProcess& process : processes_) End(process);
    SimulationResult result = result_;
    result.violation = world_.violation;
    result.simulated = world_.clock.now() - start_;
    result.attempts = static_cast<int64_t>(world_.started());
    result.digest = digest_.FinishHex();
    return result;
  }

 private:
  bool Holds() const { return world_.violation.empty(); }
  bool GoesOn() const { return Holds() && !result_.store_lost; }
  Time now() const { return world_.clock.now(); }

  template <typename... Parts>
  void Trace(const Parts&... parts) {
    if (!options_.trace) return;
    std::string line = std::to_string(std::chrono::duration<double>(now() - start_).count());
    ((line += " ", line += parts), ...);
    std::fprintf(stderr, "%s\n", line.c_str());
  }

  // Half of the seeds have one node, the others several, on which gangs run as well.
  void MakeNodes() {
    const int more = gangs_.OneIn(2) ? 1 + gangs_.Roll(3) : 0;
    for (int i = 0; i <= more; ++i) {
      const int cores = i == 0 ? 4 : 1 + gangs_.Roll(4);
      const int devices = i == 0 ? 1 : gangs_.Roll(3);
      nodes_.push_back(NodeOfSlots({Slot("cpu", cores), Slot("cuda.device", devices)}));
      if (more > 0) nodes_.back().name = "node" + std::to_string(i);
      world_.capacity[nodes_.back().name] = {{"cpu", cores * 1000},
                                             {"cuda.device", devices * 1000}};
    }
  }
  bool has_several_nodes() const { return nodes_.size() > 1; }

  void MakeGangs(Pipeline* pipeline) {
    for (Task& task : pipeline->tasks) {
      if (task.map || !gangs_.OneIn(4)) continue;
      task.cluster_size = static_cast<uint16_t>(2 + gangs_.Roll(2));
      task.multi_node = gangs_.OneIn(2);
    }
  }

  // In half of the seeds tasks are stopped for others, and in half of them people are asked.
  void ChoosePolicy() {
    has_approvals_ = asks_.OneIn(2);
    if (asks_.OneIn(2)) return;
    policy_.preempt_by_priority = asks_.OneIn(2);
    policy_.reclaim = !policy_.preempt_by_priority || asks_.OneIn(2);
    policy_.minimum_run_time = minutes(asks_.Roll(4));
  }

  void MakeApprovals(Pipeline* pipeline) {
    for (Task& task : pipeline->tasks) {
      if (!has_approvals_ || !asks_.OneIn(5)) continue;
      Task asking;
      asking.name = task.name;
      asking.dependencies = task.dependencies;
      asking.trigger = task.trigger;
      asking.when = task.when;
      asking.skip = task.skip;
      asking.allow_failure = task.allow_failure;
      Approval approval{"Go on?", {}, Duration(0)};
      if (asks_.OneIn(3)) approval.approvers = {"ada", "grace"};
      if (asks_.OneIn(3)) approval.timeout = minutes(1 + asks_.Roll(60));
      asking.approval = std::move(approval);
      task = std::move(asking);
    }
  }

  // Tasks get values: of a parameter, of earlier tasks, and a secret one.
  void MakeValues(Pipeline* pipeline) {
    if (!has_values_) return;
    pipeline->parameters.emplace_back();
    pipeline->parameters.back().name = "n";
    pipeline->parameters.back().type = ValueType::integer;
    if (values_.OneIn(2)) pipeline->environment = {{"FROM_PARAMETER", "${{ params.n }}"}};
    for (Task& task : pipeline->tasks) {
      if (task.approval) continue;
      if (values_.OneIn(4)) task.environment = {{"TOKEN", "secret://vault/token"}};
      if (values_.OneIn(4)) task.command = {"use ${{ params.n }}"};
      for (const std::string_view dependency : task.dependencies) {
        const Task& before = pipeline->tasks[IndexOf(*pipeline, dependency)];
        if (before.outputs.empty() || before.map) continue;  // of a map: a list
        const std::string value = "${{ tasks." + std::string(dependency) + ".outputs.n }}";
        if (task.map && values_.OneIn(2)) {
          task.map.Mutable().over = value;
        } else if (values_.OneIn(2)) {
          task.command = {"use " + value};
        }
        break;
      }
    }
  }

  // An attempt gets the values that its run has, and no others.
  void CheckValues(const AttemptSpec& spec) {
    const int64_t parameter = parameters_.at(spec.key.substr(0, spec.key.find('/')));
    for (const EnvironmentVariable& variable : spec.environment) {
      const bool is_secret = variable.name == "TOKEN";
      if (variable.name != "FROM_PARAMETER" && !is_secret) continue;
      const std::string right =
          is_secret ? "token=" + std::string(kSecret) : std::to_string(parameter);
      if (variable.value != right) {
        world_.Violate(spec.key + " gets " + variable.name + "=" + variable.value);
      }
    }
    if (!spec.command.empty() && spec.command[0].starts_with("use ") &&
        spec.command[0] != "use 7" && spec.command[0] != "use " + std::to_string(parameter)) {
      world_.Violate(spec.key + " is to run " + spec.command[0]);
    }
  }

  // ---- Time ----------------------------------------------------------------------------------

  // The next thing that happens, up to `end`.
  void Turn(Time end) {
    Time next = end;
    if (!is_calm_)
      next = std::min({next, next_fault_, submitted_ < options_.runs ? next_run_ : kNever});
    next = std::min({next, world_.NextChange(), full_until_, busy_until_, away_until_,
                     silent_until_, slow_until_, locked_until_});
    if (!is_calm_) next = std::min(next, next_change_);
    if (has_approvals_) next = std::min(next, next_answer_);
    for (HostProcess& process : processes_) next = std::min(next, WakeOf(process));
    world_.clock.AdvanceTo(next);
    world_.Advance();
    if (now() >= full_until_) {
      disk_.full = false;
      full_until_ = kNever;
    }
    if (now() >= busy_until_) {
      for (HostProcess& process : processes_) {
        if (process.executor != nullptr) process.executor->unavailable = false;
      }
      busy_until_ = kNever;
    }
    if (now() >= away_until_) {
      world_.ReturnNodes();
      away_until_ = kNever;
    }
    if (now() >= silent_until_) {
      world_.Answer();
      silent_until_ = kNever;
    }
    if (now() >= slow_until_) {
      world_.SpeedUp();
      slow_until_ = kNever;
    }
    if (now() >= locked_until_) {
      secrets_.locked = false;
      locked_until_ = kNever;
    }
    if (!is_calm_ && now() >= next_change_) {
      DisturbOtherwise();
      next_change_ = now() + Gap(changes_, minutes(6));
    }
    if (is_calm_ && has_changed_nodes_) UseAllNodes();
    if (!is_calm_ && now() >= next_fault_) {
      Disturb();
      next_fault_ = now() + Gap(chance_, minutes(3));
    }
    if (!is_calm_ && submitted_ < options_.runs && now() >= next_run_) {
      Submit();
      next_run_ = now() + Gap(work_, options_.time / 80);
    }
    if (has_approvals_ && now() >= next_answer_) {
      Answer();
      next_answer_ = now() + Gap(people_, is_calm_ ? minutes(1) : minutes(3));
    }
    for (HostProcess& process : processes_) {
      if (GoesOn() && WakeOf(process) <= now()) Act(process);
    }
  }

  Time WakeOf(const HostProcess& process) const {
    if (!process.is_wanted && process.engine == nullptr) return kNever;
    if (process.engine == nullptr || process.is_stalled) return process.wake;
    return std::min(process.wake, process.executor->NextReport());
  }

  // ---- Processes -----------------------------------------------------------------------------

  void Act(HostProcess& process) {
    process.is_stalled = false;
    if (process.engine == nullptr) {
      Begin(process);
      return;
    }
    if (process.leaves_runs && !has_changed_nodes_) {
      process.leaves_runs = false;
      TakeUp(process);
      if (process.engine == nullptr) return;
    }
    if (Status status = process.engine->Step(); !status.ok()) {
      Break(process, "step", status);
      return;
    }
    if (chance_.OneIn(50)) CompareWithStore(process);
    const Time deadline = process.engine->NextDeadline();
    if (deadline <= world_.clock.Now()) {
      world_.Violate("process " + std::to_string(process.number) +
                     " did what there was to do, and is to be called again at once");
    }
    process.wake = now() + std::min<Duration>(deadline - world_.clock.Now(), minutes(1));
  }

  void Begin(HostProcess& process) {
    static_cast<void>(End(process));
    process.number = ++process_count_;
    process.excused = disk_.full;
    process.disk = std::make_unique<DiskProcess>(&disk_, &world_.clock);
    process.executor = std::make_unique<SimulatedExecutor>(&world_);
    process.executor->unavailable = now() < busy_until_ && busy_until_ != kNever;
    StatusOr<std::unique_ptr<Store>> store =
        OpenSqliteStore(kStorePath, {durability_, false, process.disk->vfs()});
    if (!store.ok()) {
      Break(process, "open the store", store.status());
      return;
    }
    process.store = *std::move(store);
    if (stores_nodes_ && !has_stored_nodes_) {
      if (const Status status = StoreNodes(*process.store); !status.ok()) {
        Break(process, "store the nodes", status);
        return;
      }
    }
    EngineOptions engine;
    engine.store = process.store.get();
    engine.executor = process.executor.get();
    engine.clock = &world_.clock;
    engine.random = &engine_random_;
    engine.home = "/home/simulated";
    engine.nodes = nodes_;
    if (stores_nodes_) engine.takes_stored_node = [](const NodeDescription&) { return true; };
    engine.secrets = &secrets_;
    Quota small;
    small.limit[kCpu] = kMostOfA;
    Quota half;
    half.guaranteed[kCpu] = 2000;
    half.limit[kCpu] = kMostOfB;
    static_cast<void>(engine.tenancy.Add(kRootTenant, "a", small));
    static_cast<void>(engine.tenancy.Add(kRootTenant, "b", half));
    engine.policy = policy_;
    engine.holder = {"host", "boot", process.number, 1, "process " + std::to_string(process.number),
                     ""};
    if (is_gone_known_) {
      engine.is_gone = [this](const LeaseHolder& holder) {
        return std::none_of(processes_.begin(), processes_.end(), [&](const HostProcess& other) {
          return other.engine != nullptr && other.number == holder.process;
        });
      };
    }
    engine.has_outputs = [this](const std::string&, const std::string&) {
      return !chance_.OneIn(10);
    };
    process.heard.clear();
    process.leaves_runs = false;
    process.told_to_stop.clear();
    process.claims.clear();
    engine.sink = [this, &process](const RunState& run, uint64_t sequence, const Event& event) {
      Hear(process, run, sequence, event);
    };
    StatusOr<std::unique_ptr<Engine>> opened = Engine::Open(std::move(engine));
    if (!opened.ok()) {
      if (absl::IsFailedPrecondition(opened.status()) &&
          Message(opened.status()).find("process ") != std::string_view::npos) {
        // Another has the lease.
        End(process);
        process.wake = now() + seconds(1 + chance_.Roll(10));
        return;
      }
      Break(process, "open the engine", opened.status());
      return;
    }
    process.engine = *std::move(opened);
    Trace("process", std::to_string(process.number), "opens");
    process.wake = now();
    TakeUp(process);
  }

  // Takes up every run that was interrupted.
  void TakeUp(HostProcess& process) {
    StatusOr<std::vector<RunRecord>> records = process.store->ListRuns(1000);
    if (!records.ok()) {
      Break(process, "list the runs", records.status());
      return;
    }
    if (chance_.OneIn(2)) std::reverse(records->begin(), records->end());
    for (const RunRecord& record : *records) {
      if (record.status != RunStatus::running) continue;
      const Status status = !is_calm_ && chance_.OneIn(12) ? process.engine->Cancel(record.id)
                                                           : process.engine->Resume(record.id);
      if (!status.ok() && CannotRunNow(status)) {
        process.leaves_runs = true;
      } else if (!status.ok()) {
        Break(process, "take up " + record.id, status);
        return;
      }
    }
  }

  // Some of its tasks have room on none of the nodes that are left.
  bool CannotRunNow(const Status& status) const {
    return has_changed_nodes_ &&
           (absl::IsInvalidArgument(status) || (absl::IsResourceExhausted(status) && !disk_.full));
  }

  // A call has failed; the engine may be broken. That must have been somebody's doing.
  void Break(HostProcess& process, const std::string& doing, const Status& status) {
    Trace("process", std::to_string(process.number), "cannot", doing + ":",
          std::string(Message(status)));
    if (absl::IsDataLoss(status) && may_be_damaged_) {
      result_.store_lost = true;
      End(process);
      return;
    }
    const bool lost_lease = absl::IsFailedPrecondition(status);
    const bool failed = process.excused || (process.disk != nullptr && process.disk->has_failed());
    if (!lost_lease && !failed) {
      world_.Violate("nothing was in the way, and yet: cannot " + doing + ": " +
                     std::string(Message(status)));
    }
    End(process);
    process.wake = now() + milliseconds(chance_.Roll(20'000));
  }

  // Everything in the process is gone; with the disk dead first, without a trace.
  void End(HostProcess& process) {
    process.engine.reset();
    process.store.reset();
    if (process.disk != nullptr) result_.disk_operations += process.disk->operations();
    process.executor.reset();
    process.disk.reset();
    process.is_stalled = false;
  }
  void Kill(HostProcess& process) {
    if (process.disk != nullptr) process.disk->Die();
    End(process);
    process.wake = now() + milliseconds(chance_.Roll(30'000));
  }

  HostProcess* Driver() {
    for (HostProcess& process : processes_) {
      if (process.engine != nullptr && !process.is_stalled) return &process;
    }
    return nullptr;
  }

  // ---- Work ----------------------------------------------------------------------------------

  void Submit() {
    ++submitted_;
    if (pipelines_.empty() || !work_.OneIn(3)) {
      pipelines_.push_back(RandomPipeline(work_, "p" + std::to_string(pipelines_.size()), kPace));
      if (has_several_nodes()) MakeGangs(&pipelines_.back());
      MakeApprovals(&pipelines_.back());
      MakeValues(&pipelines_.back());
    }
    Pipeline pipeline =
        work_.OneIn(2)
            ? pipelines_.back()
            : pipelines_[static_cast<size_t>(work_.Roll(static_cast<int>(pipelines_.size())))];
    SubmitOptions submit;
    submit.use_cache = !work_.OneIn(6);
    submit.tenant = work_.OneIn(3) ? "" : work_.OneIn(2) ? "a" : "b";
    submit.priority = work_.Roll(4);
    const int64_t parameter = values_.Roll(4);
    if (has_values_) submit.parameters["n"] = Value(parameter);
    HostProcess* process = Driver();
    if (process == nullptr) return;
    const std::string tenant = submit.tenant;
    const StatusOr<RunId> run = process->engine->Submit(
        std::make_shared<const Pipeline>(std::move(pipeline)), std::move(submit));
    if (run.ok()) {
      tenants_[*run] = tenant;
      parameters_[*run] = parameter;
      submitted_runs_.insert(*run);
      ++result_.runs;
      process->wake = now();
      return;
    }
    // A tenant may ask for more than it will ever have, a gang for more than there is together.
    if (absl::IsResourceExhausted(run.status()) && !disk_.full) return;
    if (absl::IsInvalidArgument(run.status()) && has_several_nodes()) return;
    Break(*process, "submit", run.status());
  }

  // ---- People --------------------------------------------------------------------------------

  // Somebody looks at what asks for approval, and answers one of the questions, twice, an old one,
  // or none; himself, or through the store. An answer says in its comment which question it is to.
  void Answer() {
    HostProcess* process = Driver();
    if (process == nullptr || (!is_calm_ && people_.OneIn(4))) return;
    if (!is_calm_ && !posted_.empty() && people_.OneIn(5)) {
      Post(*process, posted_[static_cast<size_t>(people_.Roll(static_cast<int>(posted_.size())))]);
      return;
    }
    StatusOr<std::vector<RunRecord>> records = process->store->ListRuns(1000);
    if (!records.ok()) {
      Break(*process, "list the runs", records.status());
      return;
    }
    std::vector<std::pair<RunId, TaskIndex>> asking;
    for (const RunRecord& record : *records) {
      const RunState* run = process->engine->Find(record.id);
      for (TaskIndex task = 0; run != nullptr && task < run->pipeline().tasks.size(); ++task) {
        if (run->task(task).state == TaskState::waiting) asking.emplace_back(record.id, task);
      }
    }
    if (asking.empty()) return;
    const auto [id, task] =
        asking[static_cast<size_t>(people_.Roll(static_cast<int>(asking.size())))];
    const RunState& run = *process->engine->Find(id);
    const Task& definition = run.pipeline().tasks[task];
    ApprovalDecided decision;
    decision.approved = !people_.OneIn(3);
    decision.by = people_.OneIn(2) ? "ada" : "grace";
    if (!is_calm_ && people_.OneIn(8)) decision.by = "mallory";
    decision.comment = QuestionOf(id, definition.name, run.task(task).attempt);
    ++result_.answers;
    if (people_.OneIn(2)) {
      Request request{0, Request::Kind::decide, id,
                      Encode(DecisionRequest{task, run.task(task).attempt, decision})};
      posted_.push_back(request);
      Post(*process, request);
      decision.approved = !decision.approved;
      if (process->engine == nullptr || !people_.OneIn(3)) return;
    }
    const bool may = CheckDecision(run, task, decision).ok();
    Status status = process->engine->Decide(id, definition.name, decision);
    process->wake = now();
    if (!status.ok()) {
      if (may || !absl::IsFailedPrecondition(status)) Break(*process, "decide", status);
      return;
    }
    if (!may || !(*process->engine->Find(id)->Decision(task) == decision)) {
      world_.Violate("task " + decision.comment + ": what was decided is not what was said");
    }
    decision.approved = !decision.approved;
    status = process->engine->Decide(id, definition.name, decision);
    if (!absl::IsFailedPrecondition(status)) {
      world_.Violate("task " + decision.comment + " is decided twice");
    }
  }

  static std::string QuestionOf(const RunId& run, const std::string& task, uint32_t attempt) {
    return run + "/" + task + "/" + std::to_string(attempt);
  }

  void Post(HostProcess& process, const Request& request) {
    const Status status = process.store->PostRequest(request, world_.clock.Now());
    if (!status.ok()) Break(process, "post an answer", status);
  }

  // ---- Faults --------------------------------------------------------------------------------

  void Disturb() {
    // With one node there is none to lose, and stories are those of before there were several.
    const auto fault = static_cast<Fault>(
        chance_.Roll(has_several_nodes() ? kDrawnFaults : kDrawnFaults - kFaultsOfNodes));
    HostProcess& process = processes_[static_cast<size_t>(chance_.Roll(kProcesses))];
    // Drawn in any case, so that leaving a fault out leaves the others as they are.
    const int size = chance_.Roll(1000);
    const Duration while_long = Gap(chance_, minutes(2));
    if (!options_.faults[static_cast<size_t>(fault)]) return;
    if (Do(fault, process, size, while_long)) {
      ++result_.faults[static_cast<size_t>(fault)];
      Trace("fault:", std::string(ToString(fault)), "process", std::to_string(process.number));
    }
  }

  // What came later than the others, which draw as they always did.
  void DisturbOtherwise() {
    const int kind = changes_.Roll(3);
    const int size = changes_.Roll(1000);
    const Duration while_long = Gap(changes_, minutes(3));
    const Fault fault = kind == 0   ? Fault::slow_network
                        : kind == 1 ? Fault::node_change
                                    : Fault::no_secret;
    if (!options_.faults[static_cast<size_t>(fault)]) return;
    if (DoOtherwise(fault, size, while_long)) {
      ++result_.faults[static_cast<size_t>(fault)];
      Trace("fault:", std::string(ToString(fault)));
    }
  }

  bool DoOtherwise(Fault fault, int size, Duration while_long) {
    const std::string& node = nodes_[static_cast<size_t>(size) % nodes_.size()].name;
    if (fault == Fault::no_secret) {
      if (!has_values_) return false;
      secrets_.locked = true;
      locked_until_ = now() + while_long;
      return true;
    }
    if (!has_several_nodes()) return false;
    if (fault == Fault::slow_network) {
      world_.SlowDown(node);
      slow_until_ = now() + while_long;
      return true;
    }
    HostProcess* process = Driver();
    if (!stores_nodes_ || process == nullptr) return false;
    has_changed_nodes_ = true;
    const NodeDescription& description = nodes_[static_cast<size_t>(size) % nodes_.size()];
    const NodeRecord record{node, WriteNode(description), size % 3 == 0};
    const Status status = size % 3 == 1
                              ? process->store->ChangeNodes({}, {node}, world_.clock.Now())
                              : process->store->ChangeNodes({record}, {}, world_.clock.Now());
    if (!status.ok()) Break(*process, "change the nodes", status);
    return true;
  }

  Status StoreNodes(Store& store) {
    std::vector<NodeRecord> records;
    for (const NodeDescription& node : nodes_) {
      records.push_back({node.name, WriteNode(node), false});
    }
    const Status status = store.ChangeNodes(records, {}, world_.clock.Now());
    has_stored_nodes_ = status.ok();
    if (status.ok()) has_changed_nodes_ = false;
    return status;
  }

  // Until the engine has taken that up, not all runs can be taken up.
  void UseAllNodes() {
    HostProcess* process = Driver();
    if (process == nullptr) return;
    if (!uses_all_nodes_) {
      const Status status = StoreNodes(*process->store);
      has_changed_nodes_ = true;
      uses_all_nodes_ = status.ok();
      process->wake = now();
      if (!status.ok()) Break(*process, "store the nodes", status);
      return;
    }
    const StatusOr<bool> looks = WillLookAtNodes(*process->store);
    if (!looks.ok()) Break(*process, "read the requests", looks.status());
    has_changed_nodes_ = !looks.ok() || *looks;
  }

  // Whether an engine is still to be told that nodes have changed.
  static StatusOr<bool> WillLookAtNodes(Store& store) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<Request> requests, store.ReadRequests());
    return std::any_of(requests.begin(), requests.end(), [](const Request& request) {
      return request.kind == Request::Kind::look_at_nodes;
    });
  }

  bool Do(Fault fault, HostProcess& process, int size, Duration while_long) {
    switch (fault) {
      case Fault::crash:
        if (process.disk == nullptr) return false;
        Kill(process);
        return true;
      case Fault::crash_in_write:
        if (process.disk == nullptr) return false;
        process.disk->FailAt(1 + size % 40, DiskFault::dies);
        return true;
      case Fault::write_error:
        if (process.disk == nullptr) return false;
        process.disk->FailAt(1 + size % 40, size % 3 == 0 ? DiskFault::refuses : DiskFault::fails);
        return true;
      case Fault::disk_full:
        disk_.full = true;
        full_until_ = now() + while_long;
        for (HostProcess& each : processes_) each.excused = true;
        return true;
      case Fault::power_loss:
        for (HostProcess& each : processes_) Kill(each);
        observed_ = nullptr;
        disk_.LosePower();
        world_.LoseAll();
        world_.LoseMessages();
        has_stored_nodes_ = false;
        may_be_damaged_ = may_be_damaged_ || disk_.lies;
        if (durability_ == Durability::process || disk_.lies) ForgetWhatWasLost();
        return true;
      case Fault::rival:
        processes_[1].is_wanted = !processes_[1].is_wanted;
        processes_[1].wake = now();
        return true;
      case Fault::stall:
        if (process.engine == nullptr) return false;
        process.is_stalled = true;
        process.wake = now() + while_long;
        return true;
      case Fault::stall_in_start:
        if (process.engine == nullptr) return false;
        process.executor->before_start = [this, &process, while_long] {
          StallWithin(process, while_long);
        };
        return true;
      case Fault::clock_set:
        world_.clock.Set(seconds(size - 500) + milliseconds(size));
        clock_was_set_ = true;
        return true;
      case Fault::host_loss:
        world_.LoseAll();
        return true;
      case Fault::busy_executor:
        busy_until_ = now() + while_long;
        for (HostProcess& each : processes_) {
          if (each.executor != nullptr) each.executor->unavailable = true;
        }
        return true;
      case Fault::wild_reports:
        return Babble(process, size);
      case Fault::user:
        return ActAsUser(size);
      case Fault::node_loss:
        world_.LoseNode(nodes_[static_cast<size_t>(size) % nodes_.size()].name);
        away_until_ = now() + while_long;
        return true;
      case Fault::node_silent:
        world_.Silence(nodes_[static_cast<size_t>(size) % nodes_.size()].name);
        silent_until_ = now() + while_long;
        return true;
      case Fault::slow_network:
      case Fault::node_change:
      case Fault::no_secret:
        break;
    }
    return false;
  }

  // The process stands in the middle of a call while the world, and its rival, go on.
  void StallWithin(HostProcess& process, Duration while_long) {
    HostProcess& rival = processes_[&process == processes_.data() ? 1 : 0];
    const Time end = now() + while_long;
    rival.is_wanted = true;
    if (rival.engine == nullptr) rival.wake = now();
    while (Holds() && now() < end) {
      world_.clock.AdvanceTo(
          std::max(now() + milliseconds(1), std::min({end, world_.NextChange(), WakeOf(rival)})));
      world_.Advance();
      if (WakeOf(rival) <= now()) Act(rival);
    }
  }

  bool Babble(HostProcess& process, int size) {
    if (process.executor == nullptr) return false;
    AttemptReport report;
    report.key = "p0-nobody/t0/1";
    if (!world_.attempts().empty() && size % 4 != 0) {
      auto attempt = world_.attempts().begin();
      std::advance(attempt, static_cast<size_t>(size) % world_.attempts().size());
      // One that runs is believed to be over when it is said to be.
      if (!attempt->second.over) return false;
      report = attempt->second.end;
      if (size % 3 == 0) report.exit_code = 77;
      if (size % 5 == 0) report.kind = AttemptReport::Kind::started;
    }
    process.executor->Babble(std::move(report));
    return true;
  }

  bool ActAsUser(int size) {
    HostProcess* process = Driver();
    if (process == nullptr) return false;
    StatusOr<std::vector<RunRecord>> records = process->store->ListRuns(1000, RunsListed::all);
    if (!records.ok()) {
      Break(*process, "list the runs", records.status());
      return true;
    }
    if (records->empty()) return false;
    // Mostly one of the last.
    const RunRecord& record =
        (*records)[static_cast<size_t>(size) % std::min<size_t>(records->size(), 6)];
    Status status = absl::OkStatus();
    switch (size % 5) {
      case 0:
        status = process->engine->Cancel(record.id);
        break;
      case 1:
        status =
            process->store->PostRequest({0, Request::Kind::cancel, record.id}, world_.clock.Now());
        if (!status.ok()) {
          Break(*process, "post a request", status);
          return true;
        }
        break;
      case 2:
        status = process->engine->Resume(record.id);
        break;
      case 3:
        status = process->engine->Retry(record.id, {});
        break;
      default:
        status = process->engine->Retry(record.id, {"t0"});
    }
    process->wake = now();
    // What cannot be done to a run in its state is no fault of anything.
    if (!status.ok() && !absl::IsFailedPrecondition(status) && !CannotRunNow(status)) {
      Break(*process, "do", status);
    }
    return true;
  }

  // Nothing goes wrong any more.
  void Calm() {
    is_calm_ = true;
    disk_.full = false;
    full_until_ = busy_until_ = away_until_ = silent_until_ = slow_until_ = locked_until_ = kNever;
    world_.SpeedUp();
    secrets_.locked = false;
    world_.ReturnNodes();
    world_.Answer();
    world_.Heal();
    for (HostProcess& process : processes_) {
      if (process.executor != nullptr) {
        process.executor->unavailable = false;
        process.executor->before_start = nullptr;
      }
      if (process.disk != nullptr) process.disk->Mend();
      process.is_stalled = false;
      process.wake = std::min(process.wake, now());
    }
    processes_[0].is_wanted = true;
  }

  // ---- What must hold ------------------------------------------------------------------------

  StatusOr<std::unique_ptr<Store>> Observe() {
    return OpenSqliteStore(kStorePath, {Durability::process, true, observer_.vfs()});
  }

  // Reads the store as somebody else would. Attempts are many, so the connection is kept.
  Store* observed() {
    if (observed_ == nullptr) {
      StatusOr<std::unique_ptr<Store>> store = Observe();
      if (!store.ok()) return nullptr;
      observed_ = *std::move(store);
    }
    return observed_.get();
  }

  // The run that an attempt is of, as it is stored, and its task.
  std::optional<std::pair<StoredRun, TaskIndex>> StoredTaskOf(const AttemptKey& key) {
    Store* store = observed();
    if (store == nullptr) return std::nullopt;
    const size_t second = key.rfind('/');
    const size_t slash = key.rfind('/', second - 1);
    StatusOr<StoredRun> run = LoadRun(*store, key.substr(0, slash));
    if (!run.ok()) return std::nullopt;
    const TaskIndex task =
        IndexOf(run->state->pipeline(), key.substr(slash + 1, second - slash - 1));
    return std::pair(*std::move(run), task);
  }

  bool IsIntended(const AttemptSpec& spec) {
    const auto stored = StoredTaskOf(spec.key);
    if (!stored) return false;
    const RunState& run = *stored->first.state;
    const TaskStatus& status = run.task(stored->second);
    if (status.state != TaskState::running ||
        std::to_string(status.attempt) != spec.key.substr(spec.key.rfind('/') + 1)) {
      return false;
    }
    const AttemptIntended* noted = run.Intended(stored->second);
    const AttemptIntended intended = noted == nullptr ? AttemptIntended() : *noted;
    if (intended.gang.size() != spec.gang.size()) return false;
    for (size_t i = 0; i < spec.gang.size(); ++i) {
      if (intended.gang[i].node != spec.gang[i].node) return false;
    }
    CheckValues(spec);
    // No node is the first.
    const std::string& node = intended.node.empty() ? nodes_[0].name : intended.node;
    return !spec.gang.empty() || node == spec.node;
  }

  // Only who was cancelled, took too long or makes room for others is told to stop, and that is
  // durable before.
  bool MayBeStopped(const AttemptKey& key) {
    const auto stored = StoredTaskOf(key);
    if (!stored) return true;  // the store cannot be read
    const RunState& run = *stored->first.state;
    const TaskStatus& status = run.task(stored->second);
    return run.cancel_requested() || status.preempting || status.stopping ||
           run.pipeline().tasks[stored->second].timeout > Duration(0);
  }

  size_t SizeOf(const AttemptSpec& spec) {
    const auto stored = StoredTaskOf(spec.key);
    if (!stored) return 0;
    const Task& task = stored->first.state->pipeline().tasks[stored->second];
    std::set<std::string> nodes;
    for (const GangMember& member : MembersOf(spec)) nodes.insert(member.node);
    if (nodes.size() != (task.multi_node ? task.cluster_size : 1U)) {
      world_.Violate(spec.key + " starts on " + std::to_string(nodes.size()) + " nodes");
    }
    return task.cluster_size;
  }

  // A process that stood still meanwhile tells late, but each tells in order, and all the same.
  void Hear(HostProcess& process, const RunState& run, uint64_t sequence, const Event& event) {
    ++result_.events;
    digest_.Update(run.id() + " " + std::to_string(sequence) + " " +
                   std::string(ToString(event.type)) + " " + std::to_string(event.task) + " " +
                   std::to_string(ToNanoseconds(event.time)) + event.detail);
    uint64_t& last = process.heard[run.id()];
    if (sequence <= last) {
      world_.Violate("run " + run.id() + ": event " + std::to_string(sequence) + " is told after " +
                     std::to_string(last));
    }
    last = sequence;
    const auto [told, is_new] = told_[run.id()].try_emplace(sequence, event);
    if (is_new && event.type == EventType::attempt_preempting) CheckVictim(process, run, event);
    if (is_new && event.type == EventType::attempt_intended) CheckNodes(process, run, event);
    if (!is_new && !(told->second == event)) {
      world_.Violate("run " + run.id() + ": event " + std::to_string(sequence) +
                     " was told before, as another one");
    }
  }

  // Nobody is stopped for nothing: for somebody who waits, by the rules of the policy, and not
  // before he has run for long enough.
  void CheckVictim(HostProcess& process, const RunState& run, const Event& event) {
    ++result_.preemptions;
    AttemptPreempting detail;
    static_cast<void>(Decode(event.detail, &detail));
    const std::string victim = run.id() + "/" + run.pipeline().tasks[event.task].name;
    const std::string what = victim + " is stopped for " + detail.run + "/" + detail.task;
    const RunState* other = process.engine->Find(detail.run);
    if (other == nullptr) {
      world_.Violate(what + ", which nobody drives");
      return;
    }
    const TaskIndex task = IndexOf(other->pipeline(), detail.task);
    if (other->task(task).state != TaskState::pending || other->cancel_requested()) {
      world_.Violate(what + ", which does not wait");
    }
    const auto priority = [](const RunState& of, TaskIndex index) {
      return of.submitted().priority + of.pipeline().tasks[index].priority;
    };
    const bool by_priority = detail.cause == AttemptPreempting::Cause::priority;
    if (by_priority ? !policy_.preempt_by_priority : !policy_.reclaim) {
      world_.Violate(what + ", which the policy does not allow");
    }
    if (by_priority && priority(*other, task) <= priority(run, event.task)) {
      world_.Violate(what + ", which is no more important");
    }
    if (event.time - run.task(event.task).started < policy_.minimum_run_time) {
      world_.Violate(what + " before it has run long enough");
    }
    process.told_to_stop.insert(victim + "/" + std::to_string(event.attempt));
    process.claims.emplace(detail.run, task);
    CheckNeed(process, *other, task, victim, what);
  }

  // Had the victim been left alone, there would have been no room for whom it is stopped, and with
  // it gone there is. As the engine has it after what it decided together with this. Not told where
  // more is under way than the logs say: claims of others, ends of cancelled attempts, nodes that
  // are closed.
  void CheckNeed(HostProcess& process, const RunState& other, TaskIndex task,
                 const std::string& victim, const std::string& what) {
    std::erase_if(process.claims, [&](const std::pair<RunId, TaskIndex>& claim) {
      const RunState* run = process.engine->Find(claim.first);
      return run == nullptr || run->task(claim.second).state != TaskState::pending;
    });
    const StatusOr<std::vector<RunRecord>> records = process.store->ListRuns(1000, RunsListed::all);
    if (process.claims.size() > 1 || !process.executor->HearsAllNodes() || has_changed_nodes_ ||
        !records.ok()) {
      return;
    }
    const Task& gains = other.pipeline().tasks[task];
    const std::string tenant = tenants_.at(other.id().substr(0, other.id().find('/')));
    const auto cpu_of = [](const Task& of) {
      return AmountOf(of.resources, "cpu") * static_cast<int64_t>(of.cluster_size);
    };
    int64_t used = cpu_of(gains);  // by its tenant
    Room beside_all(world_.capacity);
    Room beside_victim(world_.capacity);
    for (const RunRecord& record : *records) {
      if (record.status != RunStatus::running) continue;
      const RunState* run = process.engine->Find(record.id);
      if (run == nullptr || run->cancel_requested()) return;
      for (TaskIndex i = 0; i < run->pipeline().tasks.size(); ++i) {
        const Task& definition = run->pipeline().tasks[i];
        const TaskStatus& status = run->task(i);
        if (status.state != TaskState::running || definition.map) continue;
        const std::string name = run->id() + "/" + definition.name;
        if (status.preempting) {
          const AttemptPreempting& stops = *run->Preemption(i);
          const bool for_this = stops.run == other.id() && stops.task == gains.name;
          if (!for_this ||
              !process.told_to_stop.contains(name + "/" + std::to_string(status.attempt))) {
            return;
          }
        }
        if (tenants_.at(run->id().substr(0, run->id().find('/'))) == tenant) {
          used += cpu_of(definition);
        }
        for (const std::string& node : NodesOf(*run, i)) {
          if (!status.preempting) beside_all.Take(node, definition.resources);
          if (!status.preempting || name == victim) beside_victim.Take(node, definition.resources);
        }
      }
    }
    // Where a limit is in the way, room is not all that it is about.
    const auto limit = world_.cpu_limit.find(tenant);
    if (limit != world_.cpu_limit.end() && used > limit->second) return;
    ++result_.needed;
    if (beside_victim.Fits(gains.resources, gains.cluster_size, gains.multi_node)) {
      world_.Violate(what + ", which has room without that");
    }
    if (!beside_all.Fits(gains.resources, gains.cluster_size, gains.multi_node)) {
      world_.Violate(what + ", which has no room after that either");
    }
  }

  // Of each member of a running task.
  std::vector<std::string> NodesOf(const RunState& run, TaskIndex task) const {
    const AttemptIntended* intended = run.Intended(task);
    // No node is the first.
    if (intended == nullptr || (intended->gang.empty() && intended->node.empty())) {
      return {nodes_[0].name};
    }
    if (intended->gang.empty()) return {intended->node};
    std::vector<std::string> nodes;
    for (const IntendedMember& member : intended->gang) nodes.push_back(member.node);
    return nodes;
  }

  // Nothing is to start on a node once the engine has taken up that it is drained or gone.
  void CheckNodes(const HostProcess& process, const RunState& run, const Event& event) {
    if (!has_changed_nodes_ || run.pipeline().tasks[event.task].map) return;
    const StatusOr<Lease> lease = process.store->ReadLease();
    const StatusOr<bool> looks = WillLookAtNodes(*process.store);
    const StatusOr<std::vector<NodeRecord>> stored = process.store->ListNodes();
    if (!lease.ok() || !looks.ok() || *looks || !stored.ok() || stored->empty() ||
        lease->holder.process != process.number) {
      return;
    }
    AttemptIntended intended;
    static_cast<void>(Decode(event.detail, &intended));
    std::vector<std::string> nodes{intended.node};
    if (!intended.gang.empty()) nodes.clear();
    for (const IntendedMember& member : intended.gang) nodes.push_back(member.node);
    for (const std::string& node : nodes) {
      const bool open = std::any_of(stored->begin(), stored->end(), [&](const NodeRecord& record) {
        return record.name == node && !record.drained;
      });
      if (!open)
        world_.Violate(run.id() + " is to start a task on node \"" + node + "\", which is closed");
    }
  }

  // Without a flush at each commit, the last commits may go with the power: the told events that
  // are no longer there, and the runs.
  void ForgetWhatWasLost() {
    Store* store = observed();
    std::map<RunId, uint64_t> there;
    if (store != nullptr) {
      const StatusOr<std::vector<RunRecord>> records = store->ListRuns(100'000, RunsListed::all);
      if (records.ok()) {
        for (const RunRecord& record : *records) {
          const StatusOr<StoredRun> run = LoadRun(*store, record.id);
          if (run.ok()) there[record.id] = run->state->sequence();
        }
      }
    }
    for (auto& [run, told] : told_) {
      const uint64_t last = there.contains(run) ? there[run] : 0;
      told.erase(told.upper_bound(last), told.end());
    }
    std::erase_if(submitted_runs_, [&](const RunId& run) { return !there.contains(run); });
    may_start_again_ = true;
  }

  // Not of an engine that has lost its lease and does not know it yet.
  void CompareWithStore(const HostProcess& process) {
    Store* store = observed();
    if (store == nullptr) return;
    const StatusOr<Lease> lease = store->ReadLease();
    if (!lease.ok() || lease->holder.process != process.number) return;
    const StatusOr<std::vector<RunRecord>> records = store->ListRuns(4, RunsListed::all);
    if (!records.ok()) return;
    for (const RunRecord& record : *records) {
      const RunState* live = process.engine->Find(record.id);
      const StatusOr<StoredRun> stored = LoadRun(*store, record.id);
      if (live == nullptr || !stored.ok()) continue;
      if (RunStateText(*live) != RunStateText(*stored->state)) {
        world_.Violate("run " + record.id + " is not what is stored of it:\n" +
                       RunStateText(*live) + "\nstored:\n" + RunStateText(*stored->state));
      }
    }
  }

  bool IsOver() {
    HostProcess* process = Driver();
    if (process == nullptr || process->engine->HasActiveRuns()) return false;
    Store* store = observed();
    if (store == nullptr) return false;
    const StatusOr<std::vector<RunRecord>> records = store->ListRuns(100'000, RunsListed::all);
    return records.ok() && std::none_of(records->begin(), records->end(), [](const auto& record) {
             return record.status == RunStatus::running;
           });
  }

  std::string DescribeOpenRuns() {
    std::string text;
    HostProcess* process = Driver();
    if (process == nullptr) return "no engine is open";
    const StatusOr<std::vector<RunRecord>> records =
        process->store->ListRuns(100'000, RunsListed::all);
    if (!records.ok()) return std::string(Message(records.status()));
    for (const RunRecord& record : *records) {
      if (record.status != RunStatus::running) continue;
      const RunState* run = process->engine->Find(record.id);
      text += "\n" + record.id + (run == nullptr ? " is not active" : "");
      for (TaskIndex task = 0; run != nullptr && task < run->pipeline().tasks.size(); ++task) {
        if (IsFinal(run->task(task).state)) continue;
        text += "\n  " + run->pipeline().tasks[task].name + " " +
                std::string(ToString(run->task(task).state)) + " " +
                process->engine->ExplainWait(record.id, task);
      }
    }
    return text;
  }

  // What people say is about the question that they were asked.
  void CheckAnswer(const RunState& run, const Event& event) {
    ApprovalDecided decision;
    static_cast<void>(Decode(event.detail, &decision));
    const std::string question =
        QuestionOf(run.id(), run.pipeline().tasks[event.task].name, event.attempt);
    if (!decision.by.empty() && decision.comment != question) {
      world_.Violate(question + " is decided by an answer to " + decision.comment);
    }
  }

  void CheckEverything() {
    if (world_.running() > 0) world_.Violate("attempts run, and no run does");
    Store* store = observed();
    if (store == nullptr) {
      world_.Violate("the store cannot be read");
      return;
    }
    const StatusOr<std::vector<RunRecord>> records = store->ListRuns(100'000, RunsListed::all);
    std::set<AttemptKey> intended;
    std::set<RunId> stored_runs;
    for (const RunRecord& record : *records) {
      stored_runs.insert(record.id);
      const StatusOr<StoredRun> stored = LoadRun(*store, record.id);
      if (!stored.ok()) {
        world_.Violate("run " + record.id + ": " + std::string(Message(stored.status())));
        return;
      }
      std::vector<Event> events;
      static_cast<void>(store->ReadEvents(
          record.number, 1, [&](uint64_t, Event event) { events.push_back(std::move(event)); }));
      StoryRules rules;
      rules.time_goes_on = !clock_was_set_;
      if (const std::string fault = FaultOfStory(*stored->state, events, rules); !fault.empty()) {
        world_.Violate(fault);
      }
      for (const Event& event : events) {
        if (event.type == EventType::approval_decided) CheckAnswer(*stored->state, event);
        if (event.type != EventType::attempt_intended) continue;
        intended.insert(record.id + "/" + stored->state->pipeline().tasks[event.task].name + "/" +
                        std::to_string(event.attempt));
      }
      for (const auto& [sequence, event] : told_[record.id]) {
        if (sequence > events.size() || !(events[sequence - 1] == event)) {
          world_.Violate("run " + record.id + ": event " + std::to_string(sequence) +
                         " was told and is not stored");
        }
      }
    }
    for (const RunId& run : submitted_runs_) {
      if (!stored_runs.contains(run)) world_.Violate("run " + run + " is lost");
    }
    for (const auto& [path, bytes] : disk_.Contents()) {
      if (bytes.find(kSecret) != std::string::npos) world_.Violate("a secret is in " + path);
    }
    for (const auto& [key, attempt] : world_.attempts()) {
      if (!may_start_again_ && !intended.contains(key)) {
        world_.Violate(key + " was started, and nothing is stored of it");
      }
    }
  }

  SimulationOptions options_;
  // Each draws from its own, so that leaving something out leaves the others as they are.
  Dice work_;     // what is submitted
  Dice chance_;   // what goes wrong
  Dice gangs_;    // how many nodes there are, and which tasks are gangs
  Dice asks_;     // which tasks ask people, and who may be stopped for whom
  Dice people_;   // what they answer
  Dice values_;   // which tasks get which values
  Dice changes_;  // networks, nodes and secrets
  World world_;
  SeededRandom engine_random_;
  SeededRandom disk_random_;
  SimulatedDisk disk_;
  DiskProcess observer_;
  std::unique_ptr<Store> observed_;
  std::vector<NodeDescription> nodes_;
  Durability durability_ = Durability::power;
  bool is_gone_known_ = false;

  std::array<HostProcess, kProcesses> processes_;
  int64_t process_count_ = 0;
  std::vector<Pipeline> pipelines_;
  int submitted_ = 0;
  std::map<RunId, std::string> tenants_;
  std::map<RunId, int64_t> parameters_;
  bool has_values_ = false;
  SimulatedSecrets secrets_;
  bool stores_nodes_ = false;       // nodes are added to the store, and changed there
  bool has_stored_nodes_ = false;   // all of them
  bool uses_all_nodes_ = false;     // at the end
  bool has_changed_nodes_ = false;  // … which somebody may have changed since
  std::set<RunId> submitted_runs_;
  bool has_approvals_ = false;
  std::vector<Request> posted_;  // answers
  GroupPolicy policy_;
  Told told_;

  Time start_{};
  Time next_fault_{};
  Time next_run_{};
  Time next_answer_{};
  Time next_change_{};
  Time full_until_ = kNever;
  Time busy_until_ = kNever;
  Time away_until_ = kNever;
  Time silent_until_ = kNever;
  Time slow_until_ = kNever;
  Time locked_until_ = kNever;
  bool is_calm_ = false;
  bool clock_was_set_ = false;
  bool may_start_again_ = false;
  bool may_be_damaged_ = false;
  SimulationResult result_;
  Sha256 digest_;
};

}  // namespace

SimulationResult Simulate(const SimulationOptions& options) { return Simulation(options).Run(); }

}  // namespace trackbed
