#include "engine/map_run.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "engine/attempt_builder.hpp"
#include "trackbed/base/sha256.hpp"
#include "trackbed/engine/cache_key.hpp"
#include "trackbed/pipeline/expression.hpp"
#include "trackbed/pipeline/map_items.hpp"

namespace trackbed {
namespace {

// The outputs of other tasks that the templates of a task ask for.
class ReferredOutputs {
 public:
  explicit ReferredOutputs(const Task& task) {
    for (const std::string_view word : task.command) Add(word);
    for (const EnvironmentVariable& variable : task.environment.get()) Add(variable.value);
  }

  const std::set<std::string>& tasks() const { return tasks_; }
  bool Has(const std::string& task, const std::string& output) const {
    return outputs_.contains({task, output});
  }

 private:
  void Add(std::string_view text) {
    if (text.find("${{") == std::string::npos) return;
    const StatusOr<Template> parsed = Template::Parse(text);
    if (!parsed.ok()) return;
    for (const Reference& reference : parsed->References()) {
      if (reference.parts[0] != "tasks" || reference.parts.size() < 3) continue;
      tasks_.insert(reference.parts[1]);
      if (reference.parts.size() == 4) outputs_.emplace(reference.parts[1], reference.parts[3]);
    }
  }

  std::set<std::string> tasks_;
  std::set<std::pair<std::string, std::string>> outputs_;
};

MapBinding::Upstream DescribeUpstream(const RunState& run, TaskIndex task, bool input,
                                      const ReferredOutputs& referred) {
  MapBinding::Upstream upstream;
  upstream.name = run.pipeline().tasks[task].name;
  upstream.state = ToString(run.task(task).state);
  upstream.input = input;
  const TaskResult* result = run.Result(task);
  if (result == nullptr) return upstream;
  upstream.result = TaskResult{{}, result->digest, result->run, result->task, result->attempt};
  for (const auto& [name, value] : result->outputs) {
    if (referred.Has(upstream.name, name)) upstream.result->outputs.emplace(name, value);
  }
  return upstream;
}

// Adds the tasks of `names` above `task` that are not direct dependencies.
void AddAncestors(const RunState& run, TaskIndex task, const ReferredOutputs& referred,
                  MapBinding* map) {
  std::set<std::string> missing = referred.tasks();
  for (const MapBinding::Upstream& input : map->upstream) missing.erase(input.name);
  std::vector<TaskIndex> todo{task};
  std::vector<bool> seen(missing.empty() ? 0 : run.graph().task_count());
  for (size_t i = 0; i < todo.size() && !missing.empty(); ++i) {
    for (const TaskIndex candidate : run.graph().Predecessors(todo[i])) {
      if (seen[candidate]) continue;
      seen[candidate] = true;
      todo.push_back(candidate);
      if (missing.erase(run.pipeline().tasks[candidate].name) == 0) continue;
      map->upstream.push_back(DescribeUpstream(run, candidate, false, referred));
    }
  }
}

std::string ToJson(const Value& value) {
  return std::visit([](const auto& v) { return nlohmann::json(v).dump(); }, value);
}

std::string DigestOfOutputs(const RunState& batches) {
  Sha256 hash;
  bool any = false;
  for (TaskIndex batch = 0; batch < batches.graph().task_count(); ++batch) {
    const TaskResult* result = batches.Result(batch);
    if (result == nullptr || result->digest.empty()) continue;
    any = true;
    hash.UpdateField(BatchFolder(*batches.map(), batch));
    hash.UpdateField(result->digest);
  }
  return any ? absl::StrCat("sha256:", hash.FinishHex()) : "";
}

// The values of one output, in order; as much of them as fits into *room, which is reduced.
std::string GatherOutput(const RunState& batches, const std::string& name, size_t* room) {
  std::string list = "[";
  for (TaskIndex batch = 0; batch < batches.graph().task_count(); ++batch) {
    const TaskResult* result = batches.Result(batch);
    const bool has = result != nullptr && result->outputs.contains(name);
    absl::StrAppend(&list, batch == 0 ? "" : ",", has ? ToJson(result->outputs.at(name)) : "null");
    if (list.size() >= *room) break;
  }
  list.push_back(']');
  *room -= std::min(*room, list.size());
  return list;
}

void DescribeSuccess(const RunState& batches, AttemptEnded* ended) {
  size_t room = kMaxOutputBytes;
  // All batches have the same outputs; without batches there are no values, but there are lists.
  for (const std::string& output : batches.map()->outputs) {
    ended->outputs.emplace(output, GatherOutput(batches, output, &room));
    if (room > 0) continue;
    ended->outputs.clear();
    ended->reason = FailureReason::bad_output;
    ended->message = absl::StrCat(
        "the outputs of its ", batches.graph().task_count(), " batches are more than ",
        kMaxOutputBytes, " bytes together; larger results belong into files in $TRACKBED_OUTPUTS");
    return;
  }
  ended->output_digest = DigestOfOutputs(batches);
}

void DescribeFailure(const RunState& batches, AttemptEnded* ended) {
  const auto count = static_cast<TaskIndex>(batches.graph().task_count());
  TaskIndex first = count;
  size_t failed = 0;
  for (TaskIndex batch = 0; batch < count; ++batch) {
    if (batches.task(batch).state != TaskState::failed) continue;
    first = std::min(first, batch);
    ++failed;
  }
  if (first == count) return;
  std::string own;
  if (const AttemptEnded* failure = batches.Failure(first)) {
    ended->reason = failure->reason;
    ended->exit_code = failure->exit_code;
    ended->signal = failure->signal;
    own = failure->message;
  }
  const std::string others = failed > 1 ? absl::StrCat(", and ", failed - 1, " more") : "";
  ended->message = absl::StrCat("batch ", first, " of ", count, " of run ", batches.id(), others,
                                own.empty() ? "" : ": ", own);
}

}  // namespace

StatusOr<MapBinding> BindMap(const RunState& run, TaskIndex task) {
  const Task& definition = run.pipeline().tasks[task];
  TRACKBED_ASSIGN_OR_RETURN(const std::string over, RenderOver(run, task));
  TRACKBED_ASSIGN_OR_RETURN(MapItems items, ParseMapItems(over));
  MapBinding map;
  map.task = definition.name;
  TRACKBED_ASSIGN_OR_RETURN(map.batch, BatchSize(*definition.map, items.count));
  map.count = items.count;
  map.items = std::move(items.items);
  map.numbered = items.numbered;
  map.concurrency = definition.map->concurrency;
  map.fresh = run.task(task).fresh;
  map.cache_off = SharedFolderReason(run, definition);
  for (const Output& output : definition.outputs.get()) map.outputs.push_back(output.name);
  const ReferredOutputs referred(definition);
  for (const TaskIndex dependency : run.graph().Predecessors(task)) {
    map.upstream.push_back(DescribeUpstream(run, dependency, true, referred));
  }
  AddAncestors(run, task, referred, &map);
  return map;
}

StatusOr<Pipeline> PipelineOfMap(const Pipeline& pipeline, const MapBinding& map) {
  const auto mapped = std::find_if(pipeline.tasks.begin(), pipeline.tasks.end(),
                                   [&](const Task& task) { return task.name == map.task; });
  if (mapped == pipeline.tasks.end()) {
    return DataLoss(absl::StrCat("pipeline ", pipeline.name, " has no task \"", map.task, "\""));
  }
  Pipeline batches;
  batches.name = absl::StrCat(pipeline.name, "/", map.task);
  batches.labels = pipeline.labels;
  batches.parameters = pipeline.parameters;
  batches.environment = pipeline.environment;
  batches.folders = pipeline.folders;
  // Whether and when the mapped task runs has been decided for all of them.
  Task task = *mapped;
  task.dependencies = {};
  task.when.clear();
  task.map = {};
  task.trigger = Trigger::all_succeeded;
  task.skip = false;
  task.allow_failure = false;
  batches.tasks.reserve(map.batches());
  if (map.batches() > 0) batches.tasks.push_back(task);
  task.command.clear();
  batches.tasks.resize(map.batches(), task);
  for (size_t batch = 0; batch < batches.tasks.size(); ++batch) {
    batches.tasks[batch].name = absl::StrCat(batch);
  }
  return batches;
}

StatusOr<Graph> GraphOfMap(uint64_t batches) {
  return Graph::Build(std::vector<std::vector<TaskIndex>>(batches));
}

std::string SubmittedPipeline(const Pipeline& pipeline) {
  return pipeline.name.substr(0, pipeline.name.find('/'));
}

BatchItems ItemsOf(const MapBinding& map, TaskIndex batch) {
  const uint64_t first = batch * map.batch;
  return {first, std::min(map.batch, map.count - first)};
}

std::string ItemsAsJson(const MapBinding& map, const BatchItems& items) {
  std::string list = "[";
  for (uint64_t i = items.first; i < items.first + items.count; ++i) {
    if (i > items.first) list.push_back(',');
    map.numbered ? absl::StrAppend(&list, i) : absl::StrAppend(&list, map.items[i]);
  }
  list.push_back(']');
  return list;
}

std::string BatchFolder(const MapBinding& map, TaskIndex batch) {
  const std::string last = absl::StrCat(map.batches() - 1);
  const std::string name = absl::StrCat(batch);
  return std::string(last.size() - name.size(), '0') + name;
}

AttemptEnded EndOfMap(const RunState& batches, RunStatus status) {
  AttemptEnded ended;
  ended.wall_time = batches.finished_at() - batches.submitted_at();
  if (status == RunStatus::succeeded) {
    DescribeSuccess(batches, &ended);
  } else if (status == RunStatus::cancelled) {
    ended.reason = FailureReason::cancelled;
    ended.message = absl::StrCat("run ", batches.id(), " of its batches was cancelled");
  } else {
    DescribeFailure(batches, &ended);
  }
  return ended;
}

std::optional<uint64_t> CutBatch(std::string_view* name) {
  const size_t open = name->rfind('[');
  if (open == std::string_view::npos || !name->ends_with(']')) return std::nullopt;
  uint64_t batch = 0;
  const char* end = name->data() + name->size() - 1;
  const auto [stop, error] = std::from_chars(name->data() + open + 1, end, batch);
  if (error != std::errc() || stop != end) return std::nullopt;
  *name = name->substr(0, open);
  return batch;
}

BatchWindow::BatchWindow(const RunState& run) : limit_(run.map()->concurrency) {
  for (TaskIndex batch = 0; batch < run.graph().task_count(); ++batch) {
    if (run.task(batch).state == TaskState::running) taken_up_.insert(batch);
  }
  under_way_ = taken_up_.size();
}

std::optional<TaskIndex> BatchWindow::Admit(const RunState& run) {
  if (limit_ > 0 && under_way_ >= limit_) return std::nullopt;
  for (; next_ < run.graph().task_count(); ++next_) {
    if (run.task(next_).state != TaskState::pending || taken_up_.contains(next_)) continue;
    ++under_way_;
    return next_++;
  }
  return std::nullopt;
}

TaskIndex FirstHeldBack(const RunState& run) {
  const auto count = static_cast<TaskIndex>(run.graph().task_count());
  if (run.map() == nullptr || run.map()->concurrency == 0) return count;
  size_t room = run.map()->concurrency;
  for (TaskIndex batch = 0; batch < count; ++batch) {
    const TaskStatus& status = run.task(batch);
    const bool under_way = status.state == TaskState::running ||
                           (status.state == TaskState::pending && status.tried());
    if (under_way && room > 0) --room;
  }
  for (TaskIndex batch = 0; batch < count; ++batch) {
    const TaskStatus& status = run.task(batch);
    if (status.state != TaskState::pending || status.tried()) continue;
    if (room == 0) return batch;
    --room;
  }
  return count;
}

}  // namespace trackbed
