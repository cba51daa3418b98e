#include "trackbed/engine/run_queries.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/cache_key.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/pipeline/pipeline_json.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct FoundTask {
  StoredRun run;
  TaskIndex task = 0;
};

StatusOr<FoundTask> Load(Store& store, const std::string& run, std::string_view task) {
  FoundTask found;
  TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(store, run));
  TRACKBED_ASSIGN_OR_RETURN(found.run, LoadRun(store, id));
  TRACKBED_ASSIGN_OR_RETURN(found.task, FindTask(*found.run.state, task));
  return found;
}

std::string StateName(const TaskStatus& status) {
  const bool cached = status.cached && status.state == TaskState::succeeded;
  return cached ? "cached" : std::string(ToString(status.state));
}

// The attempt that a task shows: its latest, or the one whose result it uses.
struct ShownAttempt {
  std::string run;
  std::string task;
  uint32_t attempt = 0;
};

ShownAttempt AttemptShown(const RunState& run, TaskIndex task) {
  const TaskStatus& status = run.task(task);
  const TaskResult* result = status.cached ? run.Result(task) : nullptr;
  if (result != nullptr) return {result->run, result->task, result->attempt};
  return {run.id(), run.pipeline().tasks[task].name, status.attempt};
}

}  // namespace

StatusOr<RunId> ResolveRun(Store& store, const std::string& given) {
  if (given != "latest") return given;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, store.ListRuns(1));
  if (runs.empty()) return NotFound("nothing has run here yet");
  return runs.front().id;
}

StatusOr<TaskIndex> FindTask(const RunState& run, std::string_view name) {
  const std::vector<Task>& tasks = run.pipeline().tasks;
  for (TaskIndex task = 0; task < tasks.size(); ++task) {
    if (tasks[task].name == name) return task;
  }
  std::vector<std::string_view> names;
  names.reserve(tasks.size());
  for (const Task& task : tasks) names.push_back(task.name);
  const std::string_view near = ClosestMatch(name, names);
  return NotFound(
      absl::StrCat("run ", run.id(), " has no task \"", AbslView(name), "\"",
                   near.empty() ? "" : absl::StrCat("; did you mean \"", AbslView(near), "\"?")));
}

StatusOr<std::string> RunsAsJson(Store& store, size_t limit, Time now) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, store.ListRuns(limit));
  TRACKBED_ASSIGN_OR_RETURN(const Lease lease, store.ReadLease());
  const bool driven = lease.fence != 0 && lease.expires > now;
  Json list = Json::array();
  for (const RunRecord& run : runs) {
    const bool interrupted = run.status == RunStatus::running && !driven;
    Json one = {{"run", run.id},
                {"pipeline", run.pipeline},
                {"version", run.version},
                {"status", interrupted ? "interrupted" : std::string(ToString(run.status))},
                {"submitted", FormatTime(run.submitted)}};
    if (run.finished != Time{}) one["finished"] = FormatTime(run.finished);
    list.push_back(std::move(one));
  }
  return Dump(list);
}

StatusOr<std::string> RunAsJson(Store& store, const std::string& run) {
  TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(store, run));
  TRACKBED_ASSIGN_OR_RETURN(const StoredRun stored, LoadRun(store, id));
  return RunToJson(stored.record, *stored.state);
}

std::string ExplanationToJson(const RunState& run, TaskIndex task,
                              const TaskExplanation& explained) {
  Json object = {{"run", run.id()},
                 {"task", run.pipeline().tasks[task].name},
                 {"state", StateName(run.task(task))},
                 {"situation", std::string(ToString(explained.situation))},
                 {"sentence", explained.sentence}};
  if (!explained.waits_for.empty()) object["waits_for"] = explained.waits_for;
  if (explained.until != kNever) object["until"] = FormatTime(explained.until);
  if (!explained.slot.empty()) {
    object["slot"] = explained.slot;
    object["needed"] = FormatSlotAmount(explained.slot, explained.needed);
    object["free"] = FormatSlotAmount(explained.slot, explained.free);
  }
  if (explained.enforcement) {
    object["enforcement"] = std::string(ToString(*explained.enforcement));
  }
  if (!explained.ahead.empty()) object["ahead"] = explained.ahead;
  if (explained.before > 0) object["before"] = explained.before;
  if (explained.expected_start != kNever) {
    object["expected_start"] = FormatTime(explained.expected_start);
  }
  return Dump(object);
}

StatusOr<std::string> ExplanationAsJson(Store& store, const std::string& run, std::string_view task,
                                        Time now,
                                        const std::function<bool(const LeaseHolder&)>& is_gone,
                                        const Tenancy& tenancy, const GroupPolicy& policy) {
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  const RunId& id = found.run.record.id;
  TRACKBED_ASSIGN_OR_RETURN(const TaskExplanation explained,
                            ExplainTask(store, id, found.task, now, is_gone, tenancy, policy));
  return ExplanationToJson(*found.run.state, found.task, explained);
}

StatusOr<std::string> CacheUseAsJson(Store& store, const std::string& run, std::string_view task) {
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  const RunState& state = *found.run.state;
  const TaskStatus& status = state.task(found.task);
  const AttemptIntended* intended = state.Intended(found.task);
  Json json = {{"run", state.id()}, {"task", std::string(task)}, {"cached", status.cached}};
  if (status.attempt == 0 && !status.cached) {
    json["reason"] = "it has not run, so the cache was not asked";
    return Dump(json);
  }
  if (intended == nullptr || intended->cache_key.empty()) {
    const bool known = intended != nullptr && !intended->cache_off.empty();
    json["reason"] = known ? intended->cache_off : "the run was started without the cache";
    return Dump(json);
  }
  json["key"] = intended->cache_key;
  CacheFields before;
  if (status.cached) {
    const TaskResult* result = state.Result(found.task);
    json["compared_with"] = result->run;
    before = intended->cache_fields;
  } else {
    TRACKBED_ASSIGN_OR_RETURN(
        const std::optional<CacheEntry> earlier,
        store.FindLastCached(state.pipeline().name, std::string(task), status.started));
    if (earlier) {
      json["compared_with"] = earlier->result.run;
      before = earlier->fields;
    } else {
      json["reason"] = "no earlier result of this task";
    }
  }
  const std::vector<CacheFieldDifference> differences =
      CompareCacheFields(before, intended->cache_fields);
  json["fields"] = Json::array();
  for (const auto& [name, value] : intended->cache_fields) {
    const auto difference =
        std::find_if(differences.begin(), differences.end(),
                     [&wanted = name](const CacheFieldDifference& d) { return d.name == wanted; });
    const bool same = difference == differences.end();
    Json field = {{"name", name}, {"after", value}, {"same", same}};
    if (!same) field["before"] = difference->before;
    json["fields"].push_back(std::move(field));
  }
  for (const CacheFieldDifference& difference : differences) {
    if (!difference.after.empty()) continue;
    json["fields"].push_back(
        {{"name", difference.name}, {"before", difference.before}, {"same", false}});
  }
  return Dump(json);
}

StatusOr<LogPart> ReadLog(Store& store, const Workspace& workspace, const std::string& run,
                          std::string_view task, uint32_t attempt, uint64_t offset, size_t limit) {
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  const RunState& state = *found.run.state;
  const TaskStatus& status = state.task(found.task);
  ShownAttempt shown = AttemptShown(state, found.task);
  if (attempt != 0) shown = {state.id(), std::string(task), attempt};
  if (shown.attempt == 0) {
    return NotFound(
        absl::StrCat("task \"", AbslView(task), "\" of run ", state.id(), " has not started"));
  }
  const std::string path = workspace.AttemptFolder(shown.run, shown.task, shown.attempt) + "/log";
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return NotFound(absl::StrCat("there is no log ", path));
  const auto size = static_cast<uint64_t>(std::max<std::streamoff>(file.tellg(), 0));
  LogPart part;
  if (offset < size) {
    part.text.resize(std::min<uint64_t>(size - offset, limit));
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(part.text.data(), static_cast<std::streamsize>(part.text.size()));
    part.text.resize(static_cast<size_t>(file.gcount()));
  }
  // Of an attempt that goes on, or that is not the task's last.
  const bool goes_on = !IsFinal(status.state) && state.status() == RunStatus::running &&
                       (attempt == 0 || attempt == status.attempt);
  part.more = goes_on || offset + part.text.size() < size;
  return part;
}

StatusOr<TaskOutputs> ReadOutputs(Store& store, const Workspace& workspace, const std::string& run,
                                  std::string_view task) {
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  const TaskStatus& status = found.run.state->task(found.task);
  if (status.state != TaskState::succeeded) {
    return FailedPrecondition(absl::StrCat("task \"", AbslView(task), "\" of run ",
                                           found.run.record.id, " is ", StateName(status)));
  }
  TaskOutputs outputs{"{}", ""};
  const TaskResult* result = found.run.state->Result(found.task);
  if (result == nullptr) return outputs;
  outputs.json = ValuesToJson(result->outputs);
  if (!result->digest.empty()) {
    outputs.folder =
        workspace.AttemptFolder(result->run, result->task, result->attempt) + "/outputs";
  }
  return outputs;
}

}  // namespace trackbed
