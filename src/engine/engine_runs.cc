// The life of runs: submitted, taken up, tried again, cancelled, finished.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <utility>

#include "engine/attempt_builder.hpp"
#include "engine/engine_impl.hpp"
#include "engine/map_run.hpp"
#include "engine/run_times.hpp"
#include "engine/stored_run.hpp"
#include "engine/utf8.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/pipeline/writer.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed {
namespace {

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

}  // namespace

Status Engine::Impl::MakeQueue(StoredNodes stored) {
  TRACKBED_ASSIGN_OR_RETURN(
      nodes_, MakeNodes(stored.nodes.empty() ? options_.nodes : std::move(stored.nodes),
                        options_.takes_stored_node ? EngineNodes::Naming::always
                                                   : EngineNodes::Naming::where_needed));
  nodes_->SetDrained(std::move(stored.drained));
  return absl::OkStatus();
}

StatusOr<std::unique_ptr<EngineNodes>> Engine::Impl::MakeNodes(std::vector<NodeDescription> nodes,
                                                               EngineNodes::Naming naming) {
  return EngineNodes::Create(
      std::move(nodes), naming, options_.tenancy, options_.policy, options_.order,
      [this](const ReadyTask& task) { return IsWanted(task); },
      {options_.placer, [this](const ReadyTask& task) { return ReadsFrom(task); }});
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
      const ActiveAttempt& attempt = entry.second;
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
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<EngineNodes> nodes,
                            MakeNodes(std::move(stored.nodes), EngineNodes::Naming::always));
  nodes->TakeOver(*nodes_);
  nodes_ = std::move(nodes);
  nodes_->SetDrained(std::move(stored.drained));
  batch_.lease_node = WriteNodes(nodes_->descriptions());
  for (auto& [number, run] : runs_) {
    // What can run nowhere now waits for other nodes.
    (void)CheckRunnable(run->record, run->state.pipeline(), run->state.submitted(), &run->lines);
  }
  for (ActiveAttempt* attempt : AttemptsInOrder()) {
    const RunState& run = attempt->run->state;
    attempt->held =
        nodes_->Occupy(attempt->run->lines.ToCount(attempt->task), run.Intended(attempt->task),
                       run.task(attempt->task).started, now_);
    if (attempt->makes_room) nodes_->queue().Stopping(attempt->held);
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
  std::map<TaskIndex, NodeQueue::Line> to_count;
  NodeQueue::Claim claim;
  TRACKBED_ASSIGN_OR_RETURN(claim.tenant, options_.tenancy.Find(submitted.tenant));
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<Duration> run_times,
                            EstimateRunTimes(*options_.store, record, pipeline));
  const auto run_time = [&](size_t task) {
    return run_times.empty() ? Duration{0} : run_times[task];
  };
  if (const Status known = CheckSecretSources(options_.secrets, pipeline.environment);
      !known.ok()) {
    problems.emplace_back(Message(known));
  }
  std::optional<size_t> last;  // the task that was given a line last
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) {
    const Task& task = pipeline.tasks[i];
    if (task.skip || task.approval) continue;
    if (const Status known = CheckSecretSources(options_.secrets, task.environment.get());
        !known.ok()) {
      problems.push_back(absl::StrCat("task \"", task.name, "\": ", AbslView(Message(known))));
    }
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
        const StatusOr<NodeQueue::Line> counts =
            nodes_->queue().LineFor(claim, now_, NodeQueue::LinePurpose::count);
        if (counts.ok()) to_count[static_cast<TaskIndex>(i)] = *counts;
        continue;
      }
      found[i] = *line;
      if (const Status ranked = nodes_->queue().CheckRank(*line, now_); !ranked.ok()) {
        code = ranked.code();
        problems.push_back(absl::StrCat("task \"", task.name, "\": ", AbslView(Message(ranked))));
      }
    }
    last = i;
  }
  *lines = TaskLines(std::move(found), std::move(to_count));
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
      // An engine that only stood still may yet start what it meant to, in room that we have given
      // to others by then: so what it has not started is given up.
      const std::string folder = workspace_.AttemptFolder(record.id, name, status.attempt);
      const Status found = last_may_act_ ? options_.executor->Adopt(key, folder)
                                         : options_.executor->Observe(key, folder);
      if (!found.ok()) continue;
      others_[key] = nodes_->Occupy(lines.ToCount(task), state->Intended(task), status.started,
                                    now_, nullptr, /*stoppable=*/false);
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
    if (status.state == TaskState::waiting) {
      ExpectAnswer(run, task);
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
        nodes_->Occupy(run.lines.ToCount(task), run.state.Intended(task), status.started, now_);
    if (status.preempting) to_stop_again_.push_back(spec.key);
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
                       std::string(Message(resolved)), /*taken_up=*/true});
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

// "train", or "score[17]": one batch of a map.
Status Engine::Impl::AddRetried(const RunState& run, const std::string& name, RunRetried* detail) {
  std::string_view task_name = name;
  const bool one_batch = CutBatch(&task_name).has_value();
  TRACKBED_ASSIGN_OR_RETURN(const TaskIndex task, FindTask(run, task_name));
  if (!one_batch) {
    detail->tasks.push_back(task);
    return absl::OkStatus();
  }
  TRACKBED_ASSIGN_OR_RETURN(StoredRun stored, LoadRun(*options_.store, run.id()));
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found,
                            FindTaskOrBatch(*options_.store, std::move(stored), name));
  detail->batches.push_back({task, found.task});
  return absl::OkStatus();
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
    status = AddRetried(run->state, name, &detail);
    if (!status.ok()) break;
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
  // A task that is named itself is run as a whole.
  std::erase_if(detail.batches, [&](const RetriedBatch& retried) {
    return std::find(detail.tasks.begin(), detail.tasks.end(), retried.task) != detail.tasks.end();
  });
  for (const RetriedBatch& retried : detail.batches) detail.tasks.push_back(retried.task);
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

}  // namespace trackbed
