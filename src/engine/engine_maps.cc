// Runs of maps: made, taken up, gathered, ended.
#include <absl/strings/str_cat.h>

#include <utility>

#include "engine/attempt_builder.hpp"
#include "engine/engine_impl.hpp"
#include "engine/stored_run.hpp"
#include "trackbed/engine/cache_key.hpp"

namespace trackbed {
namespace {

// Bounds how long a step makes links to output files of maps.
constexpr size_t kGatheredPerStep = 256;

}  // namespace

// The run of its batches becomes durable together with the intent to run it, so that the one is
// there if and only if the other is.
Status Engine::Impl::StartMap(ActiveRun& run, TaskIndex task) {
  const uint32_t attempt = run.state.task(task).attempt + 1;
  StatusOr<AttemptSpec> spec = BuildAttempt(run.state, task, attempt, workspace_);
  if (!spec.ok()) return FailBeforeAttempt(run, task, spec.status());
  StatusOr<MapBinding> binding = BindMap(run.state, task);
  if (!binding.ok()) return FailBeforeAttempt(run, task, binding.status());

  const std::vector<TaskIndex> retried = run.state.RetriedBatches(task);
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
  detail.tasks = retried;
  for (TaskIndex batch = 0; batch < again.state.graph().task_count(); ++batch) {
    if (again.state.task(batch).state == TaskState::failed) detail.tasks.push_back(batch);
  }
  std::sort(detail.tasks.begin(), detail.tasks.end());
  detail.tasks.erase(std::unique(detail.tasks.begin(), detail.tasks.end()), detail.tasks.end());
  TRACKBED_RETURN_IF_ERROR(Record(again, EventType::run_retried, kNoTask, 0, Encode(detail)));
  again.record.status = RunStatus::running;
  batch_.status_changes.push_back({again.record.number, RunStatus::running, Time{}});
  return Activate(again);
}

// The run of the attempt before, when that was of the same and left batches undone, or some are to
// be run again; else null.
StatusOr<std::unique_ptr<ActiveRun>> Engine::Impl::ReuseMapRun(const ActiveRun& run, TaskIndex task,
                                                               const MapBinding& binding) {
  const RunId& id = run.state.MapRun(task);
  if (id.empty()) return nullptr;
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, options_.store->FindRun(id));
  if (record.status == RunStatus::running) return nullptr;
  const bool done = record.status == RunStatus::succeeded;
  if (done && run.state.RetriedBatches(task).empty()) return nullptr;
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

}  // namespace trackbed
