// The engine's decisions. The order within a step is the whole point: what happened comes in,
// decisions become events, the events become durable in one commit, and only then is anything done.
#include "trackbed/engine/engine.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <queue>
#include <utility>

#include "engine/attempt_builder.hpp"
#include "engine/describe_wait.hpp"
#include "engine/engine_nodes.hpp"
#include "engine/map_run.hpp"
#include "engine/request.hpp"
#include "engine/run_times.hpp"
#include "engine/utf8.hpp"
#include "trackbed/engine/cache_key.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/pipeline/writer.hpp"
#include "trackbed/resources/local_node.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed {
namespace {

// Bounds the work between two commits, and so what a crash can make us do again.
constexpr size_t kEventsPerCommit = 4096;
constexpr Duration kLongestLease = std::chrono::hours(24 * 365);
constexpr Duration kRequestInterval = std::chrono::milliseconds(200);
// An attempt that vanishes says nothing about its task, so it does not use up a try; but a task
// that takes its machine down every time must end.
constexpr uint8_t kMaxLostAttempts = 3;
// Bounds how long a step makes links to output files of maps.
constexpr size_t kGatheredPerStep = 256;

// The line of each task; one number where all have the same, as in most runs.
class TaskLines {
 public:
  TaskLines() = default;  // no task can run
  explicit TaskLines(std::vector<NodeQueue::Line> lines) : lines_(std::move(lines)) {
    const auto differs = [&](NodeQueue::Line line) { return line != lines_.front(); };
    if (lines_.empty() || std::any_of(lines_.begin(), lines_.end(), differs)) return;
    lines_ = std::vector<NodeQueue::Line>(1, lines_.front());
  }
  NodeQueue::Line operator[](TaskIndex task) const { return lines_[lines_.size() == 1 ? 0 : task]; }

 private:
  std::vector<NodeQueue::Line> lines_{NodeQueue::kNoLine};
};

struct ActiveRun {
  ActiveRun(RunRecord run_record, RunState run_state)
      : record(std::move(run_record)), state(std::move(run_state)) {}

  RunRecord record;
  RunState state;
  std::vector<uint32_t> waiting_for;  // unfinished dependencies, by task
  TaskLines lines;
  // Of tasks that use the cache and are ready, queued or running.
  absl::flat_hash_map<TaskIndex, std::string> cache_keys;
  size_t attempts = 0;  // under way

  // Of the run of a map.
  struct OfMap {
    ReadyTask mapped;  // the task whose attempt this run is
    std::optional<BatchWindow> window;
    size_t gathered = 0;  // batches whose outputs stand in those of the mapped task
    Status gathering;
  };
  std::unique_ptr<OfMap> map;
};

// An attempt under way.
struct Attempt {
  ActiveRun* run = nullptr;
  TaskIndex task = 0;
  uint32_t held = 0;  // of the node
  bool timed_out = false;
  bool given_up = false;  // its node has been silent for too long
};

// Equal tasks under way at the same time run once: the leader runs, the others wait for it.
struct Flight {
  ReadyTask leader;
  std::vector<ReadyTask> followers;
};

struct Timer {
  enum class Kind : uint8_t { retry, timeout, kill };
  Time at;
  Kind kind = Kind::retry;
  ReadyTask task;
  uint32_t attempt = 0;
  friend bool operator>(const Timer& a, const Timer& b) { return a.at > b.at; }
};

struct PendingStart {
  AttemptSpec spec;
  bool adopt_only = false;   // watch it, never start it: its run is being cancelled, or …
  std::string cannot_start;  // … it cannot start again, for this reason
};

struct PendingStop {
  AttemptKey key;
  StopMode mode;
};

struct PendingGiveUp {
  AttemptKey key;
  bool reported = false;  // by the executor: once what can end of it has ended
};

struct Publication {
  const ActiveRun* run;
  uint64_t sequence = 0;
  Event event;
};

// `delay` after `time`, or as late as there is.
Time Later(Time time, Duration delay) { return delay < kNever - time ? time + delay : kNever; }

// The wait before the next try (pipeline.hpp gives the formula). The jitter follows from the seed
// of the run, so that a simulated run is the same every time.
Duration RetryDelay(const Retry& retry, uint32_t failed_attempts, uint64_t seed, TaskIndex task) {
  if (retry.delay <= Duration(0)) return Duration(0);
  const double base = static_cast<double>(retry.delay.count()) *
                      std::pow(static_cast<double>(retry.backoff), failed_attempts - 1);
  const double capped = std::min(base, static_cast<double>(retry.max_delay.count()));
  SeededRandom random(seed ^ (static_cast<uint64_t>(task) << 32U) ^ failed_attempts);
  const double unit = static_cast<double>(random.Next() >> 11U) * 0x1.0p-53;
  const double jittered = capped * (1.0 + static_cast<double>(retry.jitter) * (2.0 * unit - 1.0));
  constexpr double kLongest = 0x1.0p62;  // 146 years
  return Duration(static_cast<int64_t>(std::clamp(jittered, 0.0, kLongest)));
}

AttemptEnded DescribeEnd(const AttemptReport& report) {
  AttemptEnded ended;
  ended.exit_code = report.exit_code;
  ended.signal = report.signal;
  ended.message = report.message;
  ended.output_digest = report.output_digest;
  ended.image_digest = report.image_digest;
  ended.wall_time = report.wall_time;
  ended.cpu_time = report.cpu_time;
  ended.max_rss_bytes = report.max_rss_bytes;
  return ended;
}

bool HasNothingToSay(const AttemptEnded& ended) { return ended == AttemptEnded{}; }

// Letters and digits that cannot be mistaken for each other.
RunId MakeRunId(const std::string& pipeline, uint64_t random) {
  constexpr std::string_view kLetters = "23456789abcdefghjkmnpqrstvwxyz";
  std::string ending;
  for (int i = 0; i < 6; ++i) {
    ending.push_back(kLetters[random % kLetters.size()]);
    random /= kLetters.size();
  }
  return absl::StrCat(pipeline, "-", ending);
}

// What a map runs follows the task that it belongs to.
Status CheckSubmitted(const RunId& id) {
  if (!IsMapRun(id)) return absl::OkStatus();
  return FailedPrecondition(absl::StrCat("run ", id, " is of a map; it goes on and ends with run ",
                                         id.substr(0, id.find('/'))));
}

// The log holds UTF-8 only.
Status CheckTexts(const SubmitOptions& options) {
  const auto check = [](std::string_view what, std::string_view name, std::string_view text) {
    if (IsUtf8(name) && IsUtf8(text)) return absl::OkStatus();
    return InvalidArgument(absl::StrCat(AbslView(what), " \"", ReplaceInvalidUtf8(name),
                                        "\": found bytes that are not UTF-8"));
  };
  for (const auto& [name, value] : options.parameters) {
    const auto* text = std::get_if<std::string>(&value);
    TRACKBED_RETURN_IF_ERROR(check("parameter", name, text == nullptr ? "" : *text));
  }
  TRACKBED_RETURN_IF_ERROR(check("source", options.source.host_path, options.source.digest));
  for (const auto& [path, digest] : options.source.files) {
    TRACKBED_RETURN_IF_ERROR(check("source file", path, digest));
  }
  for (const FolderBinding& folder : options.folders) {
    TRACKBED_RETURN_IF_ERROR(check("folder", folder.name, folder.digest));
    TRACKBED_RETURN_IF_ERROR(check("folder", folder.host_path, ""));
  }
  return absl::OkStatus();
}

// Of the run of a map, what it was made from; it is in its first event.
StatusOr<MapBinding> ReadMapBinding(Store& store, const RunRecord& record) {
  RunSubmitted submitted;
  Status decoded = absl::OkStatus();
  TRACKBED_RETURN_IF_ERROR(store.ReadSomeEvents(
      record.number, 1, 1,
      [&](uint64_t, const Event& event) { decoded = Decode(event.detail, &submitted); }));
  TRACKBED_RETURN_IF_ERROR(decoded);
  if (submitted.map) return *std::move(submitted.map);
  return DataLoss(
      absl::StrCat("run ", record.id, ": its first event does not say which map it is of"));
}

Status DamagedPipeline(const RunRecord& run, const Status& status) {
  return DataLoss(
      absl::StrCat("run ", run.id, ": its pipeline cannot be read: ", AbslView(Message(status))));
}

Status ReadRunState(Store& store, const RunRecord& record, std::optional<RunState>* state) {
  TRACKBED_ASSIGN_OR_RETURN(Pipeline pipeline, ReadPipelineOf(store, record));
  StatusOr<Graph> graph =
      IsMapRun(record.id) ? GraphOfMap(pipeline.tasks.size()) : Graph::Build(pipeline);
  if (!graph.ok()) return DamagedPipeline(record, graph.status());
  state->emplace(record.id, std::make_shared<const Pipeline>(std::move(pipeline)),
                 *std::move(graph));
  Status applied = absl::OkStatus();
  uint64_t expected = 1;
  TRACKBED_RETURN_IF_ERROR(
      store.ReadEvents(record.number, 1, [&](uint64_t sequence, const Event& event) {
        if (!applied.ok()) return;
        if (sequence != expected++) {
          applied =
              DataLoss(absl::StrCat("run ", record.id, ": event ", expected - 1, " is missing"));
          return;
        }
        applied = (*state)->Apply(event);
      }));
  if (applied.ok() && expected == 1) {
    return DataLoss(absl::StrCat("run ", record.id, " has no events"));
  }
  return applied;
}

}  // namespace

class Engine::Impl {
 public:
  Impl(EngineOptions options, const Lease& lease)
      : options_(std::move(options)),
        workspace_(options_.home),
        fence_(lease.fence),
        lease_until_(lease.expires) {}

  ~Impl() {
    // The result does not matter: a lease that is not given back expires.
    (void)options_.store->ReleaseLease(fence_);
  }

  // Once, before all else.
  Status MakeQueue(StoredNodes stored);

  StatusOr<RunId> Submit(std::shared_ptr<const Pipeline> pipeline, SubmitOptions options);
  Status Resume(const RunId& id);
  Status Retry(const RunId& id, const std::vector<std::string>& tasks);
  Status Cancel(const RunId& id);
  Status Step();

  ActiveRun* FindActive(const RunId& id) const {
    for (const auto& [number, run] : runs_) {
      if (run->record.id == id) return run.get();
    }
    return nullptr;
  }
  bool HasActiveRuns() const { return !runs_.empty(); }
  int WakeDescriptor() const { return options_.executor->WakeDescriptor(); }
  Time NextDeadline() const;
  std::string ExplainWait(const RunId& id, TaskIndex task);

 private:
  // Lifecycle of runs.
  enum class Purpose : uint8_t { run, cancel };
  StatusOr<ActiveRun*> Load(const RunRecord& record, Purpose purpose);
  Status Activate(ActiveRun& run);
  Status CheckRunnable(const RunRecord& record, const Pipeline& pipeline,
                       const RunSubmitted& submitted, TaskLines* lines);
  Status CountOthers();
  Status CancelActive(ActiveRun& run);
  void FinishRuns();

  // Runs of maps.
  Status StartMap(ActiveRun& run, TaskIndex task);
  StatusOr<std::unique_ptr<ActiveRun>> ReuseMapRun(const ActiveRun& run, TaskIndex task,
                                                   const MapBinding& binding);
  StatusOr<std::unique_ptr<ActiveRun>> MakeMapRun(const ActiveRun& run, TaskIndex task,
                                                  MapBinding binding);
  Status ActivateNewMaps();
  Status TakeUpMap(ActiveRun& run, TaskIndex task);
  Status CancelMap(const ActiveRun& run, TaskIndex task);
  void AdmitBatches(ActiveRun& run);
  bool NeedsGathering(const ActiveRun& run) const;
  Status GatherSome(ActiveRun& run);
  Status EndMap(const ActiveRun& batches, RunStatus verdict);

  Time ReadClock();

  // The parts of a step.
  Status TakeReports();
  Status TakeRequests();
  Status TakeUpNodes();
  void FireTimers();
  void WatchNodes();
  Status ConsiderTasks();
  Status StartReady();
  Status CommitAndAct();

  // Decisions about one task.
  Status Consider(ActiveRun& run, TaskIndex task);
  std::optional<TaskSkipped> JudgeTrigger(const ActiveRun& run, TaskIndex task) const;
  Status ConsiderCache(ActiveRun& run, TaskIndex task);
  Status UseCached(ActiveRun& run, TaskIndex task, const TaskCached& cached);
  Status Enqueue(ActiveRun& run, TaskIndex task);
  void Queue(const ActiveRun& run, TaskIndex task, Time since);
  bool IsWanted(const ReadyTask& ready) const;
  Status StartAttempt(ActiveRun& run, TaskIndex task, const NodeQueue::Started& started);
  Status HandleReport(const AttemptReport& report);
  Status Succeed(ActiveRun& run, TaskIndex task, AttemptEnded ended);
  Status Fail(ActiveRun& run, TaskIndex task, AttemptEnded ended);
  Status FailBeforeAttempt(ActiveRun& run, TaskIndex task, const Status& error);
  Status OnFinal(ActiveRun& run, TaskIndex task);
  void LandFlight(ActiveRun& run, TaskIndex task, const CachedResult* result);
  void StopAttempt(const ActiveRun& run, TaskIndex task, StopMode mode);
  void GiveUp(const PendingGiveUp& lost);

  Status Record(ActiveRun& run, EventType type, TaskIndex task, uint32_t attempt,
                std::string detail);
  Status Broken(Status error) {
    broken_ = error;
    return error;
  }
  AttemptKey KeyOf(const ActiveRun& run, TaskIndex task) const {
    return MakeAttemptKey(run.record.id, run.state.pipeline().tasks[task].name,
                          run.state.task(task).attempt);
  }
  ActiveRun* FindActive(int64_t number) const {
    auto found = runs_.find(number);
    return found == runs_.end() ? nullptr : found->second.get();
  }

  EngineOptions options_;
  Workspace workspace_;
  std::unique_ptr<EngineNodes> nodes_;
  // Ready tasks that fit on none of the nodes that there are now.
  std::vector<std::pair<Time, ReadyTask>> unplaced_;
  uint64_t fence_;
  Time lease_until_;
  Status broken_;
  Time now_{};         // of the step or call under way
  Duration ahead_{0};  // of the clock, which was set back

  std::map<int64_t, std::unique_ptr<ActiveRun>> runs_;  // by number: order matters
  absl::flat_hash_map<AttemptKey, Attempt> attempts_;
  // Attempts of runs that were interrupted and that nobody has taken up: what they hold.
  absl::flat_hash_map<AttemptKey, uint32_t> others_;
  bool counted_others_ = false;
  absl::flat_hash_map<std::string, Flight> flights_;  // by cache key
  std::deque<ReadyTask> to_consider_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::vector<AttemptReport> reports_;
  size_t next_report_ = 0;
  Time next_request_check_{};

  // Decided, and not yet durable.
  Batch batch_;
  absl::flat_hash_map<std::string, CacheEntry> uncommitted_cache_;
  std::vector<PendingStart> starts_;
  std::vector<PendingStop> stops_;
  std::vector<PendingGiveUp> give_ups_;
  std::vector<Publication> publications_;
  std::vector<std::unique_ptr<ActiveRun>> finished_;
  std::vector<std::unique_ptr<ActiveRun>> new_maps_;

  std::vector<ActiveRun*> to_gather_;  // after the next commit
  bool gathering_ = false;             // there is more to gather
};

// ---- Events ----------------------------------------------------------------------------------

Status Engine::Impl::Record(ActiveRun& run, EventType type, TaskIndex task, uint32_t attempt,
                            std::string detail) {
  Event event{now_, task, attempt, type, std::move(detail)};
  Status applied = run.state.Apply(event);
  if (!applied.ok()) {
    return Internal(
        absl::StrCat("the engine decided what its own rules forbid: ", AbslView(Message(applied))));
  }
  if (options_.sink) publications_.push_back({&run, run.state.sequence(), event});
  batch_.events.push_back({run.record.number, run.state.sequence(), std::move(event)});
  return absl::OkStatus();
}

// ---- Runs ------------------------------------------------------------------------------------

Status Engine::Impl::MakeQueue(StoredNodes stored) {
  TRACKBED_ASSIGN_OR_RETURN(
      nodes_, EngineNodes::Create(stored.nodes.empty() ? options_.nodes : std::move(stored.nodes),
                                  options_.takes_stored_node ? EngineNodes::Naming::always
                                                             : EngineNodes::Naming::where_needed,
                                  options_.tenancy, options_.policy,
                                  [this](const ReadyTask& task) { return IsWanted(task); }));
  nodes_->SetDrained(std::move(stored.drained));
  return absl::OkStatus();
}

// The nodes of the store have changed: all that waits and runs goes over to a queue before those
// that there are now.
Status Engine::Impl::TakeUpNodes() {
  TRACKBED_ASSIGN_OR_RETURN(StoredNodes stored,
                            ReadStoredNodes(*options_.store, options_.takes_stored_node));
  if (stored.nodes.empty()) stored.nodes = options_.nodes;
  // Where something runs on a node that was taken away, it holds what it has until it ends.
  for (const NodeDescription& before : nodes_->descriptions()) {
    const bool there = std::any_of(stored.nodes.begin(), stored.nodes.end(),
                                   [&](const auto& node) { return node.name == before.name; });
    const bool used = std::any_of(attempts_.begin(), attempts_.end(), [&](const auto& entry) {
      const Attempt& attempt = entry.second;
      return nodes_->RunsOn(attempt.run->state.Intended(attempt.task), {before.name});
    });
    if (there || !used) continue;
    stored.nodes.push_back(before);
    stored.drained.insert(before.name);
  }
  if (stored.nodes == nodes_->descriptions()) {
    nodes_->SetDrained(std::move(stored.drained));
    return absl::OkStatus();
  }
  std::vector<std::pair<Time, ReadyTask>> waiters = nodes_->queue().Waiters();
  waiters.insert(waiters.end(), unplaced_.begin(), unplaced_.end());
  unplaced_.clear();
  std::stable_sort(waiters.begin(), waiters.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  TRACKBED_ASSIGN_OR_RETURN(
      std::unique_ptr<EngineNodes> nodes,
      EngineNodes::Create(std::move(stored.nodes), EngineNodes::Naming::always, options_.tenancy,
                          options_.policy,
                          [this](const ReadyTask& task) { return IsWanted(task); }));
  nodes->TakeOver(*nodes_);
  nodes_ = std::move(nodes);
  nodes_->SetDrained(std::move(stored.drained));
  batch_.lease_node = WriteNodes(nodes_->descriptions());
  for (auto& [number, run] : runs_) {
    // What can run nowhere now waits for other nodes.
    (void)CheckRunnable(run->record, run->state.pipeline(), run->state.submitted(), &run->lines);
  }
  std::vector<std::pair<AttemptKey, Attempt*>> under_way;
  for (auto& [key, attempt] : attempts_) under_way.emplace_back(key, &attempt);
  std::sort(under_way.begin(), under_way.end());
  for (const auto& [key, attempt] : under_way) {
    const RunState& run = attempt->run->state;
    attempt->held = nodes_->Occupy(attempt->run->lines[attempt->task], run.Intended(attempt->task),
                                   run.task(attempt->task).started, now_);
  }
  others_.clear();
  TRACKBED_RETURN_IF_ERROR(CountOthers());
  for (const auto& [since, ready] : waiters) {
    const ActiveRun* run = FindActive(ready.run);
    if (run != nullptr) Queue(*run, ready.task, since);
  }
  return absl::OkStatus();
}

// Finds the line of each task, and everything that keeps the run from being run here.
Status Engine::Impl::CheckRunnable(const RunRecord& record, const Pipeline& pipeline,
                                   const RunSubmitted& submitted, TaskLines* lines) {
  std::vector<std::string> problems;
  StatusCode code = StatusCode::kInvalidArgument;
  *lines = TaskLines();
  std::vector<NodeQueue::Line> found(pipeline.tasks.size(), NodeQueue::kNoLine);
  NodeQueue::Claim claim;
  TRACKBED_ASSIGN_OR_RETURN(claim.tenant, options_.tenancy.Find(submitted.tenant));
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<Duration> run_times,
                            EstimateRunTimes(*options_.store, record, pipeline));
  const auto run_time = [&](size_t task) {
    return run_times.empty() ? Duration{0} : run_times[task];
  };
  std::optional<size_t> last;  // the task that was given a line last
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) {
    const Task& task = pipeline.tasks[i];
    if (task.skip) continue;
    if (task.kind != TaskKind::command) {
      problems.push_back(
          absl::StrCat("task \"", task.name, "\": this version does not run services"));
    }
    if (task.cluster_size > options_.executor->MaxClusterSize()) {
      problems.push_back(absl::StrCat("task \"", task.name, "\": a gang of ", task.cluster_size,
                                      "; this executor runs at most ",
                                      options_.executor->MaxClusterSize(), " together"));
    }
    // Most tasks ask for the same as the one before.
    if (last && pipeline.tasks[*last].resources == task.resources &&
        pipeline.tasks[*last].priority == task.priority && run_time(*last) == run_time(i) &&
        pipeline.tasks[*last].cluster_size == task.cluster_size &&
        pipeline.tasks[*last].multi_node == task.multi_node &&
        pipeline.tasks[*last].enforcement == task.enforcement) {
      found[i] = found[*last];
    } else {
      claim.request = task.resources.get();
      claim.priority = submitted.priority + task.priority;
      claim.run_time = run_time(i);
      claim.at_least = task.enforcement;
      claim.members = task.cluster_size;
      claim.on_different_nodes = task.multi_node;
      const StatusOr<NodeQueue::Line> line = nodes_->queue().LineFor(claim, now_);
      if (!line.ok()) {
        code = line.status().code() == StatusCode::kFailedPrecondition
                   ? StatusCode::kFailedPrecondition
                   : StatusCode::kResourceExhausted;
        problems.push_back(
            absl::StrCat("task \"", task.name, "\": ", AbslView(Message(line.status()))));
        continue;
      }
      found[i] = *line;
    }
    last = i;
  }
  *lines = TaskLines(std::move(found));
  if (problems.empty()) return absl::OkStatus();
  return {code, absl::StrJoin(problems, "\n")};
}

StatusOr<RunId> Engine::Impl::Submit(std::shared_ptr<const Pipeline> pipeline,
                                     SubmitOptions options) {
  TRACKBED_RETURN_IF_ERROR(broken_);
  now_ = ReadClock();
  TRACKBED_ASSIGN_OR_RETURN(Graph graph, Graph::Build(*pipeline));
  TRACKBED_RETURN_IF_ERROR(CheckTexts(options));

  RunSubmitted detail;
  detail.parameters = std::move(options.parameters);
  detail.source = std::move(options.source);
  detail.folders = std::move(options.folders);
  detail.use_cache = options.use_cache;
  detail.priority = options.priority.value_or(pipeline->priority);
  detail.tenant = std::move(options.tenant);
  if (detail.priority < -kMaxPriority || detail.priority > kMaxPriority) {
    return InvalidArgument(absl::StrCat("priority: found ", detail.priority, ", expected ",
                                        -kMaxPriority, " to ", kMaxPriority));
  }
  RunRecord record;
  record.pipeline = pipeline->name;
  record.submitted = now_;
  TaskLines lines;
  TRACKBED_RETURN_IF_ERROR(CheckRunnable(record, *pipeline, detail, &lines));
  detail.seed = options_.random->Next();
  record.version = PipelineVersion(*pipeline);
  const Event submitted{now_, kNoTask, 0, EventType::run_submitted, Encode(detail)};

  const std::string encoded = EncodePipeline(*pipeline);
  StatusOr<RunRecord> added = AlreadyExists("");
  while (absl::IsAlreadyExists(added.status())) {
    record.id = MakeRunId(pipeline->name, options_.random->Next());
    added = options_.store->AddRun(record, encoded, submitted);
  }
  if (!added.ok()) return Broken(added.status());

  auto run = std::make_unique<ActiveRun>(
      *added, RunState(added->id, std::move(pipeline), std::move(graph)));
  TRACKBED_RETURN_IF_ERROR(run->state.Apply(submitted));
  if (options_.sink) publications_.push_back({run.get(), run->state.sequence(), submitted});
  run->lines = std::move(lines);
  ActiveRun& active = *runs_.emplace(added->number, std::move(run)).first->second;
  if (Status status = Activate(active); !status.ok()) return Broken(status);
  return added->id;
}

StatusOr<ActiveRun*> Engine::Impl::Load(const RunRecord& record, Purpose purpose) {
  std::optional<RunState> state;
  TRACKBED_RETURN_IF_ERROR(ReadRunState(*options_.store, record, &state));
  // The row is written together with the event that changes it. Where they differ, one of them is
  // of another time: damage that no digest shows.
  if (state->status() != record.status) {
    return DataLoss(absl::StrCat("run ", record.id, " is listed as ",
                                 AbslView(ToString(record.status)), ", and its events say ",
                                 AbslView(ToString(state->status()))));
  }
  auto run = std::make_unique<ActiveRun>(record, *std::move(state));
  const Status runnable =
      CheckRunnable(record, run->state.pipeline(), run->state.submitted(), &run->lines);
  // Cancelling must work where the run could not.
  if (purpose == Purpose::run) TRACKBED_RETURN_IF_ERROR(runnable);
  return runs_.emplace(record.number, std::move(run)).first->second.get();
}

// Attempts of runs that nobody drives go on. What they hold is not free until they have ended.
Status Engine::Impl::CountOthers() {
  counted_others_ = true;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> records,
                            options_.store->ListRuns(SIZE_MAX, RunsListed::all));
  for (const RunRecord& record : records) {
    if (record.status != RunStatus::running || runs_.contains(record.number)) continue;
    std::optional<RunState> state;
    // A damaged run is told of when it is asked for, and must not keep others from running.
    if (const Status read = ReadRunState(*options_.store, record, &state); !read.ok()) continue;
    TaskLines lines;
    (void)CheckRunnable(record, state->pipeline(), state->submitted(), &lines);
    for (TaskIndex task = 0; task < state->graph().task_count(); ++task) {
      const TaskStatus& status = state->task(task);
      if (status.state != TaskState::running || state->pipeline().tasks[task].map) continue;
      const std::string& name = state->pipeline().tasks[task].name;
      const AttemptKey key = MakeAttemptKey(record.id, name, status.attempt);
      const Status found = options_.executor->Observe(
          key, workspace_.AttemptFolder(record.id, name, status.attempt));
      if (!found.ok()) continue;
      others_[key] = nodes_->Occupy(lines[task], state->Intended(task), status.started, now_);
    }
  }
  return absl::OkStatus();
}

// Derives what is not stored: who waits for whom, what is ready, what runs.
Status Engine::Impl::Activate(ActiveRun& run) {
  const size_t count = run.state.graph().task_count();
  run.waiting_for.assign(count, 0);
  if (run.map != nullptr) run.map->window.emplace(run.state);
  for (TaskIndex task = 0; task < count; ++task) {
    const TaskStatus& status = run.state.task(task);
    if (IsFinal(status.state)) continue;
    const auto dependencies = run.state.graph().Predecessors(task);
    run.waiting_for[task] = static_cast<uint32_t>(
        std::count_if(dependencies.begin(), dependencies.end(),
                      [&](TaskIndex d) { return !IsFinal(run.state.task(d).state); }));
    if (status.state == TaskState::pending) {
      const bool ready = run.waiting_for[task] == 0 && run.map == nullptr;
      if (ready) to_consider_.push_back({run.record.number, task});
      continue;
    }
    if (const AttemptIntended* intended = run.state.Intended(task);
        intended != nullptr && !intended->cache_key.empty()) {
      run.cache_keys[task] = intended->cache_key;
      flights_.try_emplace(intended->cache_key, Flight{{run.record.number, task}, {}});
    }
    if (run.state.pipeline().tasks[task].map) {
      TRACKBED_RETURN_IF_ERROR(TakeUpMap(run, task));
      continue;
    }
    // Under way when the last engine stopped: the same attempt is started again, which finds it
    // where it runs, or starts it if it never came to that.
    TRACKBED_ASSIGN_OR_RETURN(AttemptSpec spec,
                              BuildAttempt(run.state, task, status.attempt, workspace_));
    const Status resolved = ResolveSecrets(options_.secrets, &spec);
    if (const auto other = others_.find(spec.key); other != others_.end()) {
      nodes_->queue().Release(other->second, now_);
      others_.erase(other);
    }
    // It holds its slots whatever else does: they are its own already.
    nodes_->Restore(run.state.Intended(task), &spec);
    const uint32_t held =
        nodes_->Occupy(run.lines[task], run.state.Intended(task), status.started, now_);
    attempts_[spec.key] = {&run, task, held};
    ++run.attempts;
    const Task& definition = run.state.pipeline().tasks[task];
    if (definition.timeout > Duration(0)) {
      timers_.push({Later(status.started, definition.timeout),
                    Timer::Kind::timeout,
                    {run.record.number, task},
                    status.attempt});
    }
    starts_.push_back({std::move(spec), run.state.cancel_requested() || !resolved.ok(),
                       std::string(Message(resolved))});
  }
  if (run.map != nullptr) AdmitBatches(run);
  return absl::OkStatus();
}

Status Engine::Impl::Resume(const RunId& id) {
  TRACKBED_RETURN_IF_ERROR(broken_);
  if (FindActive(id) != nullptr) return absl::OkStatus();
  TRACKBED_RETURN_IF_ERROR(CheckSubmitted(id));
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, options_.store->FindRun(id));
  if (record.status == RunStatus::succeeded || record.status == RunStatus::failed) {
    return FailedPrecondition(absl::StrCat(
        "run ", id, " has ", AbslView(ToString(record.status)),
        record.status == RunStatus::failed ? "; retry runs its failed tasks again" : ""));
  }
  now_ = ReadClock();
  TRACKBED_ASSIGN_OR_RETURN(ActiveRun * run, Load(record, Purpose::run));
  TRACKBED_RETURN_IF_ERROR(Record(*run, EventType::run_resumed, kNoTask, 0, ""));
  if (record.status == RunStatus::cancelled) {
    run->record.status = RunStatus::running;
    batch_.status_changes.push_back({record.number, RunStatus::running, Time{}});
  }
  if (Status status = Activate(*run); !status.ok()) return Broken(status);
  return CommitAndAct();
}

Status Engine::Impl::Retry(const RunId& id, const std::vector<std::string>& names) {
  TRACKBED_RETURN_IF_ERROR(broken_);
  if (FindActive(id) != nullptr) return FailedPrecondition(absl::StrCat("run ", id, " is active"));
  TRACKBED_RETURN_IF_ERROR(CheckSubmitted(id));
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, options_.store->FindRun(id));
  if (record.status == RunStatus::running) {
    return FailedPrecondition(absl::StrCat("run ", id, " has not ended; resume continues it"));
  }
  now_ = ReadClock();
  TRACKBED_ASSIGN_OR_RETURN(ActiveRun * run, Load(record, Purpose::run));
  RunRetried detail;
  const auto& tasks = run->state.pipeline().tasks;
  Status status = absl::OkStatus();
  for (const std::string& name : names) {
    auto found = std::find_if(tasks.begin(), tasks.end(),
                              [&](const Task& task) { return task.name == name; });
    if (found == tasks.end()) {
      status = NotFound(absl::StrCat("run ", id, " has no task \"", name, "\""));
      break;
    }
    detail.tasks.push_back(static_cast<TaskIndex>(found - tasks.begin()));
  }
  if (names.empty()) {
    for (TaskIndex task = 0; task < tasks.size(); ++task) {
      const TaskState state = run->state.task(task).state;
      if (state == TaskState::failed || state == TaskState::cancelled) detail.tasks.push_back(task);
    }
    if (detail.tasks.empty()) {
      status = FailedPrecondition(
          absl::StrCat("run ", id, " has no failed or cancelled task; name the task to run again"));
    }
  }
  if (!status.ok()) {
    runs_.erase(record.number);
    return status;
  }
  std::sort(detail.tasks.begin(), detail.tasks.end());
  detail.tasks.erase(std::unique(detail.tasks.begin(), detail.tasks.end()), detail.tasks.end());
  TRACKBED_RETURN_IF_ERROR(Record(*run, EventType::run_retried, kNoTask, 0, Encode(detail)));
  run->record.status = RunStatus::running;
  batch_.status_changes.push_back({record.number, RunStatus::running, Time{}});
  if (Status activated = Activate(*run); !activated.ok()) return Broken(activated);
  return CommitAndAct();
}

Status Engine::Impl::Cancel(const RunId& id) {
  TRACKBED_RETURN_IF_ERROR(broken_);
  now_ = ReadClock();
  if (ActiveRun* run = FindActive(id)) {
    if (run->state.cancel_requested()) return absl::OkStatus();
    TRACKBED_RETURN_IF_ERROR(Record(*run, EventType::run_cancel_requested, kNoTask, 0, ""));
    TRACKBED_RETURN_IF_ERROR(CancelActive(*run));
    return CommitAndAct();
  }
  TRACKBED_RETURN_IF_ERROR(CheckSubmitted(id));
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, options_.store->FindRun(id));
  if (record.status != RunStatus::running) {
    return FailedPrecondition(
        absl::StrCat("run ", id, " has ", AbslView(ToString(record.status)), " already"));
  }
  TRACKBED_ASSIGN_OR_RETURN(ActiveRun * run, Load(record, Purpose::cancel));
  if (!run->state.cancel_requested()) {
    TRACKBED_RETURN_IF_ERROR(Record(*run, EventType::run_cancel_requested, kNoTask, 0, ""));
  }
  if (Status status = Activate(*run); !status.ok()) return Broken(status);
  TRACKBED_RETURN_IF_ERROR(CancelActive(*run));
  return CommitAndAct();
}

// Asks every attempt of the run to stop, and sees to it that none outstays its grace.
Status Engine::Impl::CancelActive(ActiveRun& run) {
  nodes_->queue().Recheck();
  for (TaskIndex task = 0; task < run.state.graph().task_count() && run.attempts > 0; ++task) {
    if (run.state.task(task).state != TaskState::running) continue;
    if (run.state.pipeline().tasks[task].map) {
      TRACKBED_RETURN_IF_ERROR(CancelMap(run, task));
    } else {
      StopAttempt(run, task, StopMode::terminate);
    }
  }
  return absl::OkStatus();
}

void Engine::Impl::StopAttempt(const ActiveRun& run, TaskIndex task, StopMode mode) {
  stops_.push_back({KeyOf(run, task), mode});
  if (mode == StopMode::kill) return;
  timers_.push({Later(now_, run.state.pipeline().tasks[task].grace_period),
                Timer::Kind::kill,
                {run.record.number, task},
                run.state.task(task).attempt});
}

void Engine::Impl::FinishRuns() {
  for (auto entry = runs_.begin(); entry != runs_.end();) {
    ActiveRun& run = *entry->second;
    const bool ended =
        run.attempts == 0 && (run.state.unfinished() == 0 || run.state.cancel_requested());
    const bool gathers = ended && run.map != nullptr && NeedsGathering(run);
    if (gathers) to_gather_.push_back(&run);
    if (!ended || gathers) {
      ++entry;
      continue;
    }
    const RunStatus verdict = run.state.Verdict();
    // Followers of this run's tasks, in other runs, must not wait for ever.
    std::vector<TaskIndex> leaders;
    for (const auto& [task, key] : run.cache_keys) leaders.push_back(task);
    std::sort(leaders.begin(), leaders.end());
    for (TaskIndex task : leaders) LandFlight(run, task, nullptr);
    Status recorded =
        Record(run, EventType::run_finished, kNoTask, 0, Encode(RunFinished{verdict}));
    if (recorded.ok() && run.map != nullptr) recorded = EndMap(run, verdict);
    if (!recorded.ok()) broken_ = recorded;
    batch_.status_changes.push_back({run.record.number, verdict, now_});
    finished_.push_back(std::move(entry->second));
    nodes_->queue().Recheck();
    entry = runs_.erase(entry);
  }
}

// ---- One step --------------------------------------------------------------------------------

Status Engine::Impl::Step() {
  TRACKBED_RETURN_IF_ERROR(broken_);
  if (!counted_others_) {
    now_ = ReadClock();
    if (Status status = CountOthers(); !status.ok()) return Broken(status);
  }
  while (true) {
    now_ = ReadClock();
    if (Status status = TakeReports(); !status.ok()) return Broken(status);
    if (Status status = TakeRequests(); !status.ok()) return Broken(status);
    FireTimers();
    WatchNodes();
    if (Status status = ConsiderTasks(); !status.ok()) return Broken(status);
    if (Status status = StartReady(); !status.ok()) return Broken(status);
    FinishRuns();
    TRACKBED_RETURN_IF_ERROR(broken_);
    const bool idle = batch_.empty() && starts_.empty() && stops_.empty() && give_ups_.empty() &&
                      publications_.empty() && to_consider_.empty();
    if (now_ + options_.lease_time * 2 / 3 >= lease_until_) {
      lease_until_ = now_ + options_.lease_time;
      batch_.lease_until = lease_until_;
    } else if (idle && to_gather_.empty()) {
      return absl::OkStatus();
    }
    TRACKBED_RETURN_IF_ERROR(CommitAndAct());
    // A lease may be shorter than it takes to renew it.
    if (idle) return absl::OkStatus();
  }
}

Status Engine::Impl::CommitAndAct() {
  // Nothing is done under a fence that is no longer ours, not even when there is nothing to store.
  const bool acts = !starts_.empty() || !stops_.empty() || !give_ups_.empty();
  if (batch_.empty() && acts) batch_.lease_until = lease_until_;
  if (!batch_.empty()) {
    if (Status status = options_.store->Commit(fence_, batch_); !status.ok()) {
      return Broken(status);
    }
  }
  batch_.clear();
  uncommitted_cache_.clear();

  for (const PendingStart& start : starts_) {
    Status status = start.adopt_only ? options_.executor->Adopt(start.spec.key, start.spec.folder)
                                     : options_.executor->Start(start.spec);
    if (status.ok()) continue;
    AttemptReport report;
    report.key = start.spec.key;
    report.kind = absl::IsUnavailable(status) ? AttemptReport::Kind::lost
                                              : AttemptReport::Kind::failed_to_start;
    report.message = absl::IsNotFound(status) && !start.cannot_start.empty()
                         ? start.cannot_start
                         : std::string(Message(status));
    reports_.push_back(std::move(report));
  }
  starts_.clear();
  for (const PendingStop& stop : stops_) {
    // Not found: it has ended, and its report is on its way.
    (void)options_.executor->Stop(stop.key, stop.mode);
  }
  stops_.clear();
  for (const PendingGiveUp& lost : std::exchange(give_ups_, {})) GiveUp(lost);
  TRACKBED_RETURN_IF_ERROR(ActivateNewMaps());
  gathering_ = !to_gather_.empty();
  for (ActiveRun* run : std::exchange(to_gather_, {})) {
    if (Status status = GatherSome(*run); !status.ok()) return Broken(status);
  }
  for (const Publication& publication : std::exchange(publications_, {})) {
    options_.sink(publication.run->state, publication.sequence, publication.event);
  }
  finished_.clear();
  return absl::OkStatus();
}

// First the executor sees to it that the attempt ends wherever it still runs; then it counts as
// lost, and its task is tried again.
void Engine::Impl::GiveUp(const PendingGiveUp& lost) {
  const Status given_up = options_.executor->GiveUp(lost.key);
  // Not found: it has ended, and its report is on its way.
  if (absl::IsNotFound(given_up)) return;
  const auto attempt = attempts_.find(lost.key);
  if (!given_up.ok() && attempt != attempts_.end()) attempt->second.given_up = false;  // try again
  if (!given_up.ok() || lost.reported) return;
  AttemptReport report;
  report.key = lost.key;
  report.kind = AttemptReport::Kind::lost;
  report.message =
      absl::StrCat("its node has not answered for ", FormatDuration(options_.node_lease));
  reports_.push_back(std::move(report));
}

Status Engine::Impl::TakeReports() {
  if (next_report_ == reports_.size()) {
    reports_.clear();
    next_report_ = 0;
  }
  // Also when no attempt is under way: what an executor says twice must not keep it awake.
  if (reports_.size() - next_report_ < kEventsPerCommit) {
    TRACKBED_RETURN_IF_ERROR(options_.executor->Poll(&reports_));
  }
  while (next_report_ < reports_.size() && batch_.events.size() < kEventsPerCommit) {
    TRACKBED_RETURN_IF_ERROR(HandleReport(reports_[next_report_++]));
  }
  return absl::OkStatus();
}

Status Engine::Impl::TakeRequests() {
  if (now_ < next_request_check_) return absl::OkStatus();
  next_request_check_ = now_ + kRequestInterval;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<Request> requests, options_.store->ReadRequests());
  for (const Request& request : requests) {
    batch_.requests_done.push_back(request.number);
    if (request.kind == Request::Kind::look_at_nodes) {
      if (options_.takes_stored_node) TRACKBED_RETURN_IF_ERROR(TakeUpNodes());
      continue;
    }
    // A request that cannot be met any more (the run has ended) is answered by doing nothing.
    Status status = Cancel(request.run);
    if (!broken_.ok()) return status;
  }
  return absl::OkStatus();
}

void Engine::Impl::FireTimers() {
  while (!timers_.empty() && timers_.top().at <= now_) {
    const Timer timer = timers_.top();
    timers_.pop();
    ActiveRun* run = FindActive(timer.task.run);
    if (run == nullptr) continue;
    const TaskIndex task = timer.task.task;
    const TaskStatus& status = run->state.task(task);
    if (timer.kind == Timer::Kind::retry) {
      if (status.state == TaskState::pending) to_consider_.push_back(timer.task);
      continue;
    }
    if (status.state != TaskState::running || status.attempt != timer.attempt) continue;
    if (timer.kind == Timer::Kind::kill) {
      StopAttempt(*run, task, StopMode::kill);
      continue;
    }
    if (auto attempt = attempts_.find(KeyOf(*run, task)); attempt != attempts_.end()) {
      attempt->second.timed_out = true;
      StopAttempt(*run, task, StopMode::terminate);
    }
  }
}

void Engine::Impl::WatchNodes() {
  const std::vector<std::string> lost =
      nodes_->NoteSilent(options_.executor->SilentNodes(), now_, options_.node_lease);
  if (lost.empty()) return;
  for (auto& [key, attempt] : attempts_) {
    const AttemptIntended* intended = attempt.run->state.Intended(attempt.task);
    if (attempt.given_up || !nodes_->RunsOn(intended, lost)) continue;
    attempt.given_up = true;
    give_ups_.push_back({key, intended != nullptr && !intended->gang.empty()});
  }
  std::sort(give_ups_.begin(), give_ups_.end(),
            [](const PendingGiveUp& a, const PendingGiveUp& b) { return a.key < b.key; });
}

// ---- Decisions about tasks -------------------------------------------------------------------

Status Engine::Impl::ConsiderTasks() {
  while (!to_consider_.empty() && batch_.events.size() < kEventsPerCommit) {
    const ReadyTask next = to_consider_.front();
    to_consider_.pop_front();
    ActiveRun* run = FindActive(next.run);
    // A follower of a flight may have been retried, with what it depends on, meanwhile.
    if (run == nullptr || run->state.cancel_requested()) continue;
    if (run->state.task(next.task).state != TaskState::pending) continue;
    if (run->waiting_for[next.task] > 0) continue;
    TRACKBED_RETURN_IF_ERROR(Consider(*run, next.task));
  }
  return absl::OkStatus();
}

// All dependencies of `task` have ended: may it run?
Status Engine::Impl::Consider(ActiveRun& run, TaskIndex task) {
  if (const Time retry_at = run.state.RetryAt(task); retry_at > now_) {
    timers_.push({retry_at, Timer::Kind::retry, {run.record.number, task}, 0});
    return absl::OkStatus();
  }
  const Task& definition = run.state.pipeline().tasks[task];
  const TaskStatus& status = run.state.task(task);
  // Whether it runs at all is decided before its first try, once.
  if (status.failed_attempts == 0 && status.lost_attempts == 0) {
    std::optional<TaskSkipped> skip = JudgeTrigger(run, task);
    if (!skip && !definition.when.empty()) {
      const StatusOr<bool> when = EvaluateWhen(run.state, task);
      if (!when.ok()) return FailBeforeAttempt(run, task, when.status());
      if (!*when)
        skip = TaskSkipped{SkipReason::condition, absl::StrCat("not: ", definition.when.get())};
    }
    if (skip) {
      TRACKBED_RETURN_IF_ERROR(Record(run, EventType::task_skipped, task, 0, Encode(*skip)));
      return OnFinal(run, task);
    }
  }
  if (definition.cache != CacheMode::off && run.state.submitted().use_cache) {
    return ConsiderCache(run, task);
  }
  return Enqueue(run, task);
}

// A map holds no slots itself: its batches wait for theirs.
Status Engine::Impl::Enqueue(ActiveRun& run, TaskIndex task) {
  if (run.state.pipeline().tasks[task].map) return StartMap(run, task);
  Queue(run, task, ReadySince(run.state, task));
  return absl::OkStatus();
}

void Engine::Impl::Queue(const ActiveRun& run, TaskIndex task, Time since) {
  const ReadyTask ready{run.record.number, task};
  if (run.lines[task] == NodeQueue::kNoLine) {
    unplaced_.emplace_back(since, ready);
  } else {
    nodes_->queue().Push(run.lines[task], ready, since);
  }
}

// Why the dependencies of a task rule it out; nothing when they do not.
std::optional<TaskSkipped> Engine::Impl::JudgeTrigger(const ActiveRun& run, TaskIndex task) const {
  const std::vector<Task>& tasks = run.state.pipeline().tasks;
  const Task& definition = tasks[task];
  if (definition.skip) return TaskSkipped{SkipReason::asked, "skip: true"};

  const auto dependencies = run.state.graph().Predecessors(task);
  if (dependencies.empty() || definition.trigger == Trigger::all_done) return std::nullopt;
  TaskIndex failed = kNoTask;
  TaskIndex skipped = kNoTask;
  bool succeeded = false;
  for (TaskIndex dependency : dependencies) {
    switch (run.state.task(dependency).state) {
      case TaskState::failed:
      case TaskState::cancelled:
        if (tasks[dependency].allow_failure && definition.trigger != Trigger::any_failed) {
          succeeded = true;
        } else if (failed == kNoTask) {
          failed = dependency;
        }
        break;
      case TaskState::skipped: {
        const TaskSkipped* reason = run.state.Skip(dependency);
        const bool by_failure = reason != nullptr && reason->reason == SkipReason::upstream_failed;
        TaskIndex& first = by_failure ? failed : skipped;
        if (first == kNoTask) first = dependency;
        break;
      }
      default:
        succeeded = true;
    }
  }
  const auto because = [&](SkipReason reason, TaskIndex culprit, std::string_view what) {
    return TaskSkipped{reason, absl::StrCat("task \"", tasks[culprit].name, "\" ", AbslView(what))};
  };
  if (definition.trigger == Trigger::any_failed) {
    if (failed != kNoTask) return std::nullopt;
    return TaskSkipped{SkipReason::nothing_failed, "no dependency failed"};
  }
  if (failed != kNoTask) {
    const bool itself = run.state.task(failed).state != TaskState::skipped;
    return because(SkipReason::upstream_failed, failed,
                   itself ? "did not succeed" : "was skipped after a failure");
  }
  const bool skip_counts = definition.trigger == Trigger::all_succeeded || !succeeded;
  if (skipped != kNoTask && skip_counts) {
    return because(SkipReason::upstream_skipped, skipped, "was skipped");
  }
  return std::nullopt;
}

// Uses an earlier result, waits for an equal task under way, or lets the task run.
Status Engine::Impl::ConsiderCache(ActiveRun& run, TaskIndex task) {
  const TaskStatus& status = run.state.task(task);
  const ReadyTask self{run.record.number, task};
  StatusOr<AttemptSpec> spec = BuildAttempt(run.state, task, status.attempt + 1, workspace_);
  if (!spec.ok()) return FailBeforeAttempt(run, task, spec.status());
  CachePlan plan = PlanCaching(run.state, task, *spec, kMachineArchitecture);
  if (!plan.off.empty()) {
    return Enqueue(run, task);
  }
  std::string key = CacheKeyOf(plan.fields);
  // A command that holds the number of the attempt makes each try work of its own.
  auto held = run.cache_keys.find(task);
  if (held != run.cache_keys.end() && held->second != key) LandFlight(run, task, nullptr);
  if (!status.fresh) {
    std::optional<CacheEntry> entry;
    if (auto found = uncommitted_cache_.find(key); found != uncommitted_cache_.end()) {
      entry = found->second;
    } else {
      TRACKBED_ASSIGN_OR_RETURN(entry, options_.store->FindCached(key));
    }
    if (entry && !entry->result.output_digest.empty() && options_.has_outputs &&
        !options_.has_outputs(
            workspace_.AttemptFolder(entry->result.run, entry->result.task, entry->result.attempt) +
                "/outputs",
            entry->result.output_digest)) {
      entry.reset();
    }
    if (entry) {
      return UseCached(run, task, {std::move(key), std::move(plan.fields), entry->result});
    }
  }
  Flight& flight = flights_.try_emplace(key, Flight{self, {}}).first->second;
  run.cache_keys[task] = std::move(key);
  if (flight.leader == self) return Enqueue(run, task);
  flight.followers.push_back(self);
  return absl::OkStatus();
}

Status Engine::Impl::UseCached(ActiveRun& run, TaskIndex task, const TaskCached& cached) {
  TRACKBED_RETURN_IF_ERROR(Record(run, EventType::task_cached, task, 0, Encode(cached)));
  LandFlight(run, task, nullptr);  // it may have led one, before its first try failed
  return OnFinal(run, task);
}

// The task that led a flight has ended: with a result the followers have it too, without one each
// is considered anew, and the first of them leads.
void Engine::Impl::LandFlight(ActiveRun& run, TaskIndex task, const CachedResult* result) {
  auto key = run.cache_keys.find(task);
  if (key == run.cache_keys.end()) return;
  auto flight = flights_.find(key->second);
  const ReadyTask self{run.record.number, task};
  if (flight != flights_.end() && flight->second.leader == self) {
    if (result != nullptr) {
      CacheEntry entry;
      entry.key = key->second;
      entry.pipeline = run.state.pipeline().name;
      entry.task = run.state.pipeline().tasks[task].name;
      entry.time = now_;
      if (const AttemptIntended* intended = run.state.Intended(task)) {
        entry.fields = intended->cache_fields;
      }
      entry.result = *result;
      uncommitted_cache_[entry.key] = entry;
      batch_.cache_entries.push_back(std::move(entry));
    }
    for (const ReadyTask& follower : flight->second.followers) to_consider_.push_back(follower);
    flights_.erase(flight);
  }
  run.cache_keys.erase(key);
}

// The run may have been cancelled, or cancelled and retried, since the task was queued.
bool Engine::Impl::IsWanted(const ReadyTask& ready) const {
  const ActiveRun* run = FindActive(ready.run);
  return run != nullptr && !run->state.cancel_requested() &&
         run->state.task(ready.task).state == TaskState::pending &&
         run->waiting_for[ready.task] == 0 && run->state.RetryAt(ready.task) <= now_;
}

Status Engine::Impl::StartReady() {
  while (batch_.events.size() < kEventsPerCommit) {
    const std::optional<NodeQueue::Started> next = nodes_->queue().Take(now_);
    if (!next) return absl::OkStatus();
    TRACKBED_RETURN_IF_ERROR(StartAttempt(*FindActive(next->task.run), next->task.task, *next));
  }
  return absl::OkStatus();
}

Status Engine::Impl::StartAttempt(ActiveRun& run, TaskIndex task,
                                  const NodeQueue::Started& started) {
  const uint32_t attempt = run.state.task(task).attempt + 1;
  StatusOr<AttemptSpec> spec = BuildAttempt(run.state, task, attempt, workspace_);
  AttemptIntended intended;
  if (spec.ok() && run.state.submitted().use_cache) {
    CachePlan plan = PlanCaching(run.state, task, *spec, kMachineArchitecture);
    intended.cache_off = std::move(plan.off);
    if (auto key = run.cache_keys.find(task); key != run.cache_keys.end()) {
      intended.cache_key = key->second;
      intended.cache_fields = std::move(plan.fields);
    }
  }
  Status status = spec.status();
  if (status.ok()) status = ResolveSecrets(options_.secrets, &*spec);
  if (!status.ok()) {
    nodes_->queue().Release(started.held, now_);
    return FailBeforeAttempt(run, task, status);
  }
  nodes_->Assign(started.members, &*spec, &intended);
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_intended, task, attempt, Encode(intended)));
  const Task& definition = run.state.pipeline().tasks[task];
  if (definition.timeout > Duration(0)) {
    timers_.push({Later(now_, definition.timeout),
                  Timer::Kind::timeout,
                  {run.record.number, task},
                  attempt});
  }
  ++run.attempts;
  attempts_[spec->key] = {&run, task, started.held};
  starts_.push_back({*std::move(spec), false, ""});
  return absl::OkStatus();
}

Status Engine::Impl::HandleReport(const AttemptReport& report) {
  if (report.kind == AttemptReport::Kind::started) return absl::OkStatus();
  const auto found = attempts_.find(report.key);
  if (found == attempts_.end()) {  // not ours, or ended already
    if (const auto other = others_.find(report.key); other != others_.end()) {
      nodes_->queue().Release(other->second, now_);
      others_.erase(other);
    }
    return absl::OkStatus();
  }
  const Attempt attempt = found->second;
  attempts_.erase(found);
  ActiveRun& run = *attempt.run;
  const TaskIndex task = attempt.task;
  --run.attempts;
  nodes_->queue().Release(attempt.held, now_);

  AttemptEnded ended = DescribeEnd(report);
  const bool exited = report.kind == AttemptReport::Kind::exited;
  if (exited && report.exit_code == 0 && report.signal == 0 && !attempt.timed_out) {
    const Task& definition = run.state.pipeline().tasks[task];
    if (!definition.outputs.empty() || !report.output_text.empty()) {
      StatusOr<std::map<std::string, Value>> outputs = ReadOutputs(definition, report.output_text);
      if (!outputs.ok()) {
        ended.reason = FailureReason::bad_output;
        ended.message = std::string(Message(outputs.status()));
      } else {
        ended.outputs = *std::move(outputs);
      }
    }
    if (ended.reason == FailureReason::none) return Succeed(run, task, std::move(ended));
  } else if (attempt.timed_out) {
    ended.reason = FailureReason::timeout;
    if (ended.message.empty()) {
      ended.message = absl::StrCat("stopped after its timeout of ",
                                   FormatDuration(run.state.pipeline().tasks[task].timeout));
    }
  } else if (report.kind == AttemptReport::Kind::failed_to_start) {
    ended.reason = FailureReason::failed_to_start;
  } else if (report.kind == AttemptReport::Kind::lost) {
    ended.reason = FailureReason::lost;
  } else if (report.out_of_memory) {
    ended.reason = FailureReason::out_of_memory;
  } else {
    ended.reason = report.signal != 0 ? FailureReason::signal : FailureReason::exit_code;
  }
  if (run.state.cancel_requested()) {
    const uint32_t number = run.state.task(task).attempt;
    TRACKBED_RETURN_IF_ERROR(
        Record(run, EventType::attempt_cancelled, task, number, Encode(ended)));
    LandFlight(run, task, nullptr);
    return OnFinal(run, task);
  }
  // Told to stop by a cancellation that was taken back: how it ended says nothing about the task.
  if (run.state.task(task).stopping && ended.reason != FailureReason::timeout) {
    ended.reason = FailureReason::lost;
  }
  return Fail(run, task, std::move(ended));
}

Status Engine::Impl::Succeed(ActiveRun& run, TaskIndex task, AttemptEnded ended) {
  const uint32_t attempt = run.state.task(task).attempt;
  std::string detail = HasNothingToSay(ended) ? std::string() : Encode(ended);
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_succeeded, task, attempt, std::move(detail)));
  if (!run.cache_keys.empty()) {
    const CachedResult result{run.record.id, run.state.pipeline().tasks[task].name, attempt,
                              std::move(ended.outputs), std::move(ended.output_digest)};
    LandFlight(run, task, &result);
  }
  return OnFinal(run, task);
}

Status Engine::Impl::Fail(ActiveRun& run, TaskIndex task, AttemptEnded ended) {
  const TaskStatus& status = run.state.task(task);
  const struct Retry& retry = run.state.pipeline().tasks[task].retry;
  if (ended.reason == FailureReason::lost) {
    if (status.lost_attempts < kMaxLostAttempts) {
      ended.retry_at = now_ + status.lost_attempts * std::chrono::seconds(1);
    }
  } else if (status.failed_attempts + 1 < retry.max_attempts) {
    ended.retry_at = Later(
        now_, RetryDelay(retry, status.failed_attempts + 1, run.state.submitted().seed, task));
  }
  const bool again = ended.retry_at != Time{};
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_failed, task, status.attempt, Encode(ended)));
  if (again) {
    to_consider_.push_back({run.record.number, task});
    return absl::OkStatus();
  }
  LandFlight(run, task, nullptr);
  return OnFinal(run, task);
}

Status Engine::Impl::FailBeforeAttempt(ActiveRun& run, TaskIndex task, const Status& error) {
  AttemptEnded ended;
  ended.reason = FailureReason::bad_specification;
  ended.message = std::string(Message(error));
  TRACKBED_RETURN_IF_ERROR(Record(run, EventType::task_failed, task, 0, Encode(ended)));
  LandFlight(run, task, nullptr);
  return OnFinal(run, task);
}

// `task` has ended for good: whoever waited only for it may be considered.
Status Engine::Impl::OnFinal(ActiveRun& run, TaskIndex task) {
  for (TaskIndex successor : run.state.graph().Successors(task)) {
    if (--run.waiting_for[successor] == 0) to_consider_.push_back({run.record.number, successor});
  }
  if (run.map != nullptr) {
    run.map->window->OnEnd();
    AdmitBatches(run);
  }
  return absl::OkStatus();
}

// ---- Runs of maps ----------------------------------------------------------------------------

// The run of its batches becomes durable together with the intent to run it, so that the one is
// there if and only if the other is.
Status Engine::Impl::StartMap(ActiveRun& run, TaskIndex task) {
  const uint32_t attempt = run.state.task(task).attempt + 1;
  StatusOr<AttemptSpec> spec = BuildAttempt(run.state, task, attempt, workspace_);
  if (!spec.ok()) return FailBeforeAttempt(run, task, spec.status());
  StatusOr<MapBinding> binding = BindMap(run.state, task);
  if (!binding.ok()) return FailBeforeAttempt(run, task, binding.status());

  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<ActiveRun> batches, ReuseMapRun(run, task, *binding));
  if (batches == nullptr) {
    StatusOr<std::unique_ptr<ActiveRun>> made = MakeMapRun(run, task, *std::move(binding));
    if (!made.ok()) return FailBeforeAttempt(run, task, made.status());
    batches = *std::move(made);
  }
  batches->map = std::make_unique<ActiveRun::OfMap>();
  batches->map->mapped = {run.record.number, task};

  AttemptIntended intended;
  intended.map_run = batches->record.id;
  if (run.state.submitted().use_cache) {
    CachePlan plan = PlanCaching(run.state, task, *spec, kMachineArchitecture);
    intended.cache_off = std::move(plan.off);
    if (auto key = run.cache_keys.find(task); key != run.cache_keys.end()) {
      intended.cache_key = key->second;
      intended.cache_fields = std::move(plan.fields);
    }
  }
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_intended, task, attempt, Encode(intended)));
  ++run.attempts;
  if (batches->record.number == 0) {
    new_maps_.push_back(std::move(batches));
    return absl::OkStatus();
  }
  ActiveRun& again = *runs_.emplace(batches->record.number, std::move(batches)).first->second;
  RunRetried detail;
  for (TaskIndex batch = 0; batch < again.state.graph().task_count(); ++batch) {
    if (again.state.task(batch).state == TaskState::failed) detail.tasks.push_back(batch);
  }
  TRACKBED_RETURN_IF_ERROR(Record(again, EventType::run_retried, kNoTask, 0, Encode(detail)));
  again.record.status = RunStatus::running;
  batch_.status_changes.push_back({again.record.number, RunStatus::running, Time{}});
  return Activate(again);
}

// The run of the attempt before, when that was of the same and left batches undone; else null.
StatusOr<std::unique_ptr<ActiveRun>> Engine::Impl::ReuseMapRun(const ActiveRun& run, TaskIndex task,
                                                               const MapBinding& binding) {
  const RunId& id = run.state.MapRun(task);
  if (id.empty()) return nullptr;
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, options_.store->FindRun(id));
  if (record.status != RunStatus::failed && record.status != RunStatus::cancelled) return nullptr;
  std::optional<RunState> state;
  TRACKBED_RETURN_IF_ERROR(ReadRunState(*options_.store, record, &state));
  MapBinding before = *state->map();
  before.fresh = binding.fresh;
  if (before != binding) return nullptr;
  auto batches = std::make_unique<ActiveRun>(record, *std::move(state));
  const Status runnable =
      CheckRunnable(record, batches->state.pipeline(), batches->state.submitted(), &batches->lines);
  if (!runnable.ok()) return nullptr;
  return batches;
}

StatusOr<std::unique_ptr<ActiveRun>> Engine::Impl::MakeMapRun(const ActiveRun& run, TaskIndex task,
                                                              MapBinding binding) {
  TRACKBED_ASSIGN_OR_RETURN(Pipeline pipeline, PipelineOfMap(run.state.pipeline(), binding));
  TRACKBED_ASSIGN_OR_RETURN(Graph graph, GraphOfMap(pipeline.tasks.size()));
  RunSubmitted detail = run.state.submitted();
  detail.map = std::move(binding);
  detail.seed = options_.random->Next();
  RunRecord record;
  record.id = MakeAttemptKey(run.record.id, run.state.pipeline().tasks[task].name,
                             run.state.task(task).attempt + 1);
  record.pipeline = pipeline.name;
  record.version = run.record.version;
  record.submitted = now_;
  TaskLines lines;
  TRACKBED_RETURN_IF_ERROR(CheckRunnable(record, pipeline, detail, &lines));
  const Event submitted{now_, kNoTask, 0, EventType::run_submitted, Encode(detail)};
  auto batches = std::make_unique<ActiveRun>(
      record,
      RunState(record.id, std::make_shared<const Pipeline>(std::move(pipeline)), std::move(graph)));
  TRACKBED_RETURN_IF_ERROR(batches->state.Apply(submitted));
  batches->lines = std::move(lines);
  if (options_.sink) publications_.push_back({batches.get(), 1, submitted});
  batch_.runs.push_back({std::move(record), submitted});
  return batches;
}

// Runs of maps that the last commit has made durable have their numbers now.
Status Engine::Impl::ActivateNewMaps() {
  for (std::unique_ptr<ActiveRun>& made : std::exchange(new_maps_, {})) {
    StatusOr<RunRecord> record = options_.store->FindRun(made->record.id);
    if (!record.ok()) return Broken(record.status());
    made->record = *std::move(record);
    ActiveRun& batches = *runs_.emplace(made->record.number, std::move(made)).first->second;
    if (Status status = Activate(batches); !status.ok()) return Broken(status);
  }
  return absl::OkStatus();
}

// The attempt of a mapped task was under way when the last engine stopped.
Status Engine::Impl::TakeUpMap(ActiveRun& run, TaskIndex task) {
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record,
                            options_.store->FindRun(run.state.MapRun(task)));
  if (record.status != RunStatus::running) {
    return DataLoss(absl::StrCat("run ", record.id, " has ended, and task \"",
                                 run.state.pipeline().tasks[task].name, "\" of run ", run.record.id,
                                 ", whose map it is, has not"));
  }
  const bool cancelled = run.state.cancel_requested();
  TRACKBED_ASSIGN_OR_RETURN(ActiveRun * batches,
                            Load(record, cancelled ? Purpose::cancel : Purpose::run));
  batches->map = std::make_unique<ActiveRun::OfMap>();
  batches->map->mapped = {run.record.number, task};
  ++run.attempts;
  if (!cancelled) {
    TRACKBED_RETURN_IF_ERROR(Record(*batches, EventType::run_resumed, kNoTask, 0, ""));
  } else if (!batches->state.cancel_requested()) {
    TRACKBED_RETURN_IF_ERROR(Record(*batches, EventType::run_cancel_requested, kNoTask, 0, ""));
  }
  return Activate(*batches);
}

Status Engine::Impl::CancelMap(const ActiveRun& run, TaskIndex task) {
  ActiveRun* batches = FindActive(run.state.MapRun(task));
  if (batches == nullptr) return absl::OkStatus();
  if (!batches->state.cancel_requested()) {
    TRACKBED_RETURN_IF_ERROR(Record(*batches, EventType::run_cancel_requested, kNoTask, 0, ""));
  }
  return CancelActive(*batches);
}

void Engine::Impl::AdmitBatches(ActiveRun& run) {
  while (const std::optional<TaskIndex> batch = run.map->window->Admit(run.state)) {
    to_consider_.push_back({run.record.number, *batch});
  }
}

// The outputs of batches are put together once all have succeeded, before their run ends.
bool Engine::Impl::NeedsGathering(const ActiveRun& run) const {
  return options_.link_outputs && run.map->gathering.ok() &&
         run.map->gathered < run.state.graph().task_count() &&
         run.state.Verdict() == RunStatus::succeeded;
}

// What is done twice after a crash is done once: links that are there stay.
Status Engine::Impl::GatherSome(ActiveRun& run) {
  const ActiveRun* parent = FindActive(run.map->mapped.run);
  const TaskIndex mapped = run.map->mapped.task;
  const std::string folder = absl::StrCat(
      workspace_.AttemptFolder(parent->record.id, parent->state.pipeline().tasks[mapped].name,
                               parent->state.task(mapped).attempt),
      "/outputs/");
  size_t links = 0;
  size_t& batch = run.map->gathered;
  for (; batch < run.state.graph().task_count() && links < kGatheredPerStep; ++batch) {
    const auto index = static_cast<TaskIndex>(batch);
    const TaskResult* result = run.state.Result(index);
    if (result == nullptr || result->digest.empty()) continue;
    ++links;
    run.map->gathering = options_.link_outputs(
        workspace_.AttemptFolder(result->run, result->task, result->attempt) + "/outputs",
        folder + BatchFolder(*run.state.map(), index));
    // With room on the disk it goes on where it was.
    if (absl::IsResourceExhausted(run.map->gathering)) return run.map->gathering;
    if (!run.map->gathering.ok()) return absl::OkStatus();
  }
  return absl::OkStatus();
}

// The run of a map has ended, and with it the attempt of the mapped task.
Status Engine::Impl::EndMap(const ActiveRun& batches, RunStatus verdict) {
  ActiveRun& run = *FindActive(batches.map->mapped.run);
  const TaskIndex task = batches.map->mapped.task;
  --run.attempts;
  AttemptEnded ended = EndOfMap(batches.state, verdict);
  if (!batches.map->gathering.ok()) {
    ended = AttemptEnded{};
    ended.reason = FailureReason::bad_output;
    ended.message = std::string(Message(batches.map->gathering));
  }
  if (ended.reason == FailureReason::none) return Succeed(run, task, std::move(ended));
  const EventType type =
      run.state.cancel_requested() ? EventType::attempt_cancelled : EventType::attempt_failed;
  TRACKBED_RETURN_IF_ERROR(Record(run, type, task, run.state.task(task).attempt, Encode(ended)));
  LandFlight(run, task, nullptr);
  return OnFinal(run, task);
}

// ---- What a host asks ------------------------------------------------------------------------

// Time goes on though the clock is set back: what has come to pass does not become the future
// again, and what is due in a minute is not due in an hour.
Time Engine::Impl::ReadClock() {
  const Time read = options_.clock->Now();
  if (read >= now_) ahead_ = Duration{0};
  ahead_ = std::max(ahead_, now_ - read);
  return read + ahead_;
}

Time Engine::Impl::NextDeadline() const {
  Time deadline = lease_until_ - options_.lease_time * 2 / 3;
  deadline = std::min(deadline, next_request_check_);
  if (gathering_) deadline = now_;
  if (!timers_.empty()) deadline = std::min(deadline, timers_.top().at);
  return std::min(deadline, nodes_->queue().next()) - ahead_;  // the host waits by the clock
}

std::string Engine::Impl::ExplainWait(const RunId& id, TaskIndex task) {
  const ActiveRun* run = FindActive(id);
  if (run == nullptr || run->state.task(task).state != TaskState::pending) return "";
  if (run->state.pipeline().tasks[task].skip) return "";
  const Time now = ReadClock();
  const TaskExplanation explanation = ExplainState(run->state, task, now);
  if (explanation.situation != TaskSituation::next) return explanation.sentence;
  if (auto key = run->cache_keys.find(task); key != run->cache_keys.end()) {
    auto flight = flights_.find(key->second);
    const ActiveRun* leader =
        flight == flights_.end() ? nullptr : FindActive(flight->second.leader.run);
    if (leader != nullptr && (leader != run || flight->second.leader.task != task)) {
      return DescribeSameWork(NameOfTask(leader->state, flight->second.leader.task, id)).sentence;
    }
  }
  const auto name = [&](const ReadyTask& ready) {
    const ActiveRun* other = FindActive(ready.run);
    return NameOfTask(other->state, ready.task, id);
  };
  if (run->lines[task] == NodeQueue::kNoLine) return "none of the nodes can hold it";
  const TaskExplanation waits = DescribeReason(
      nodes_->queue().Explain(run->lines[task], {run->record.number, task}, now), name);
  return waits.situation == TaskSituation::next ? "" : waits.sentence;
}

// ---- The public face -------------------------------------------------------------------------

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

StatusOr<std::unique_ptr<Engine>> Engine::Open(EngineOptions options) {
  if (options.store == nullptr || options.executor == nullptr) {
    return InvalidArgument("EngineOptions: store and executor must be given");
  }
  if (!options.home.starts_with('/')) {
    return InvalidArgument(absl::StrCat("EngineOptions.home: found \"", options.home,
                                        "\", expected an absolute path"));
  }
  if (options.lease_time <= Duration(0) || options.lease_time > kLongestLease) {
    return InvalidArgument("EngineOptions.lease_time: expected more than 0, at most a year");
  }
  if (options.clock == nullptr) options.clock = &SystemClock();
  if (options.random == nullptr) options.random = &SystemRandom();
  TRACKBED_ASSIGN_OR_RETURN(StoredNodes stored,
                            ReadStoredNodes(*options.store, options.takes_stored_node));
  if (options.nodes.empty()) options.nodes.emplace_back();
  for (NodeDescription& node : options.nodes) {
    if (node.cpu == Quantity()) {
      OfferSlots({{{"cpu", Quantity::FromThousandths(1000)}}}, &node);
    }
  }
  const GroupPolicy& policy = options.policy;
  if (policy.preempt_by_priority || policy.reclaim || policy.order == QueueOrder::lifo) {
    return InvalidArgument(
        "EngineOptions.policy: the engine has no preempt_by_priority, no reclaim and no order "
        "lifo");
  }
  const auto possible =
      NodeQueue::Create(options.nodes, Tenancy(), GroupPolicy(), [](const auto&) { return true; });
  if (!possible.ok()) {
    return InvalidArgument(
        absl::StrCat("EngineOptions.nodes: ", AbslView(Message(possible.status()))));
  }
  const std::vector<NodeDescription>& first = stored.nodes.empty() ? options.nodes : stored.nodes;
  options.holder.node = WriteNodes(first);
  TRACKBED_ASSIGN_OR_RETURN(const Lease lease,
                            options.store->AcquireLease(options.holder, options.clock->Now(),
                                                        options.lease_time, options.is_gone));
  auto impl = std::make_unique<Impl>(std::move(options), lease);
  TRACKBED_RETURN_IF_ERROR(impl->MakeQueue(std::move(stored)));
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

StatusOr<RunId> Engine::Submit(std::shared_ptr<const Pipeline> pipeline, SubmitOptions options) {
  return impl_->Submit(std::move(pipeline), std::move(options));
}
Status Engine::Resume(const RunId& run) { return impl_->Resume(run); }
Status Engine::Retry(const RunId& run, const std::vector<std::string>& tasks) {
  return impl_->Retry(run, tasks);
}
Status Engine::Cancel(const RunId& run) { return impl_->Cancel(run); }
Status Engine::Step() { return impl_->Step(); }
bool Engine::IsActive(const RunId& run) const { return impl_->FindActive(run) != nullptr; }
bool Engine::HasActiveRuns() const { return impl_->HasActiveRuns(); }
const RunState* Engine::Find(const RunId& run) const {
  const ActiveRun* active = impl_->FindActive(run);
  return active == nullptr ? nullptr : &active->state;
}
int Engine::WakeDescriptor() const { return impl_->WakeDescriptor(); }
Time Engine::NextDeadline() const { return impl_->NextDeadline(); }
std::string Engine::ExplainWait(const RunId& run, TaskIndex task) const {
  return impl_->ExplainWait(run, task);
}

std::vector<std::string> QuotaResources(std::span<const NodeDescription> nodes) {
  return ClusterModel(nodes).resources();
}

StatusOr<Pipeline> ReadPipelineOf(Store& store, const RunRecord& run) {
  const StatusOr<std::string> encoded = store.ReadPipeline(run.version);
  if (absl::IsNotFound(encoded.status())) return DamagedPipeline(run, encoded.status());
  if (!encoded.ok()) return encoded.status();
  StatusOr<Pipeline> pipeline = DecodePipeline(*encoded);
  if (pipeline.ok() && IsMapRun(run.id)) {
    TRACKBED_ASSIGN_OR_RETURN(const MapBinding map, ReadMapBinding(store, run));
    pipeline = PipelineOfMap(*pipeline, map);
  }
  if (!pipeline.ok()) return DamagedPipeline(run, pipeline.status());
  return pipeline;
}

StatusOr<StoredRun> LoadRun(Store& store, const RunId& id) {
  TRACKBED_ASSIGN_OR_RETURN(RunRecord record, store.FindRun(id));
  std::optional<RunState> state;
  TRACKBED_RETURN_IF_ERROR(ReadRunState(store, record, &state));
  return StoredRun{std::move(record), std::make_shared<const RunState>(*std::move(state))};
}

}  // namespace trackbed
