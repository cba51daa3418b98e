#include "trackbed/engine/run_queries.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "engine/map_run.hpp"
#include "trackbed/base/diagnostic.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/cache_key.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/pipeline/pipeline_json.hpp"
#include "trackbed/resources/node_reader.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StatusOr<FoundTask> Load(Store& store, const std::string& run, std::string_view task) {
  TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(store, run));
  TRACKBED_ASSIGN_OR_RETURN(StoredRun stored, LoadRun(store, id));
  return FindTaskOrBatch(store, std::move(stored), task);
}

std::string StateName(const TaskStatus& status) {
  if (status.unknown) return "unknown";
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

// kNotFound when the task has no such member.
Status CheckMember(const Task& task, const std::string& host) {
  std::vector<std::string> members;
  for (size_t rank = 0; rank < task.cluster_size; ++rank) members.push_back(GangHost(rank));
  if (std::find(members.begin(), members.end(), host) != members.end()) return absl::OkStatus();
  return NotFound(absl::StrCat("task \"", task.name, "\" has no member \"", host,
                               "\"; its members: ", absl::StrJoin(members, ", ")));
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

StatusOr<FoundTask> FindTaskOrBatch(Store& store, StoredRun run, std::string_view name) {
  const std::optional<uint64_t> batch = CutBatch(&name);
  TRACKBED_ASSIGN_OR_RETURN(const TaskIndex task, FindTask(*run.state, name));
  if (!batch) return FoundTask{std::move(run), task};
  const RunId& batches = run.state->MapRun(task);
  if (batches.empty()) {
    return NotFound(absl::StrCat("task \"", AbslView(name), "\" of run ", run.record.id,
                                 run.state->pipeline().tasks[task].map
                                     ? " has not been dealt out to batches"
                                     : " has no batches"));
  }
  TRACKBED_ASSIGN_OR_RETURN(StoredRun found, LoadRun(store, batches));
  const size_t count = found.state->graph().task_count();
  if (*batch >= count) {
    return NotFound(absl::StrCat("task \"", AbslView(name), "\" of run ", run.record.id, " has ",
                                 count, " batches, from 0 on"));
  }
  return FoundTask{std::move(found), static_cast<TaskIndex>(*batch)};
}

bool IsDriven(Store& store, Time now) {
  const StatusOr<Lease> lease = store.ReadLease();
  return lease.ok() && lease->fence != 0 && lease->expires > now && !HolderIsGone(lease->holder);
}

bool NodesMayFallSilent(Store& store, Time now) {
  const StatusOr<Lease> lease = store.ReadLease();
  if (!lease.ok() || lease->fence == 0 || lease->expires <= now) return false;
  const ParsedNodes used = ReadNodes(lease->holder.node, "nodes", TextFormat::yaml);
  return used.nodes.size() != 1 || !used.nodes.front().endpoint.empty();
}

StatusOr<RunGlance> GlanceAt(Store& store, const RunRecord& run, bool nodes_may_fall_silent) {
  RunGlance glance;
  if (run.status != RunStatus::running) return glance;
  TRACKBED_ASSIGN_OR_RETURN(const Pipeline pipeline, ReadPipelineOf(store, run));
  const bool can_ask = std::any_of(pipeline.tasks.begin(), pipeline.tasks.end(),
                                   [](const Task& task) { return bool{task.approval}; });
  if (!can_ask && !nodes_may_fall_silent) return glance;
  TRACKBED_ASSIGN_OR_RETURN(const StoredRun stored, LoadRun(store, run.id));
  for (TaskIndex task = 0; task < pipeline.tasks.size(); ++task) {
    const TaskStatus& status = stored.state->task(task);
    if (status.state == TaskState::waiting) glance.asking.push_back(pipeline.tasks[task].name);
    if (status.unknown) ++glance.unknown;
  }
  return glance;
}

StatusOr<std::vector<std::string>> EachRunAsJson(Store& store, size_t limit, Time now) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, store.ListRuns(limit));
  const bool driven = IsDriven(store, now);
  const bool may_fall_silent = NodesMayFallSilent(store, now);
  std::vector<std::string> lines;
  lines.reserve(runs.size());
  for (const RunRecord& run : runs) {
    const bool interrupted = run.status == RunStatus::running && !driven;
    Json one = {{"run", run.id},
                {"pipeline", run.pipeline},
                {"version", run.version},
                {"status", interrupted ? "interrupted" : std::string(ToString(run.status))},
                {"submitted", FormatTime(run.submitted)}};
    if (run.finished != Time{}) one["finished"] = FormatTime(run.finished);
    // A damaged run is told of when it is asked for.
    const RunGlance glance = GlanceAt(store, run, may_fall_silent).value_or(RunGlance());
    if (!glance.asking.empty()) one["asks_for_approval"] = glance.asking;
    if (glance.unknown > 0) one["unknown"] = glance.unknown;
    lines.push_back(Dump(one));
  }
  return lines;
}

StatusOr<std::string> RunsAsJson(Store& store, size_t limit, Time now) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> runs, EachRunAsJson(store, limit, now));
  return absl::StrCat("[", absl::StrJoin(runs, ","), "]");
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
                                        const Tenancy& tenancy, const GroupPolicy& policy,
                                        Order* order) {
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  const RunId& id = found.run.record.id;
  TRACKBED_ASSIGN_OR_RETURN(
      const TaskExplanation explained,
      ExplainTask(store, id, found.task, now, is_gone, tenancy, policy, order));
  return ExplanationToJson(*found.run.state, found.task, explained);
}

StatusOr<std::string> CacheUseAsJson(Store& store, const std::string& run, std::string_view task) {
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  const RunState& state = *found.run.state;
  const TaskStatus& status = state.task(found.task);
  const AttemptIntended* intended = state.Intended(found.task);
  Json json = {{"run", state.id()}, {"task", std::string(task)}, {"cached", status.cached}};
  if (state.pipeline().tasks[found.task].approval) {
    json["reason"] = "it asks somebody each time";
    return Dump(json);
  }
  if (status.attempt == 0 && !status.cached) {
    json["reason"] = "it has not run, so the cache was not asked";
    return Dump(json);
  }
  if (intended == nullptr || intended->cache_key.empty()) {
    json["reason"] = WhyNotCached(state, found.task);
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
        store.FindLastCached(state.pipeline().name, state.pipeline().tasks[found.task].name,
                             status.started));
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

Status CheckHasLog(const RunState& run, TaskIndex task) {
  if (run.pipeline().tasks[task].approval) {
    return NotFound(absl::StrCat("task \"", run.pipeline().tasks[task].name, "\" of run ", run.id(),
                                 " is an approval, which has no log"));
  }
  if (!run.pipeline().tasks[task].map) return absl::OkStatus();
  const std::string& name = run.pipeline().tasks[task].name;
  return NotFound(absl::StrCat("task \"", name, "\" of run ", run.id(),
                               " has a log for each of its batches: ", name, "[0], ", name,
                               "[1], …"));
}

StatusOr<LogPart> ReadLog(Store& store, const Workspace& workspace, const std::string& run,
                          const LogOwner& owner, uint64_t offset, size_t limit) {
  const auto& [task, attempt, member] = owner;
  TRACKBED_ASSIGN_OR_RETURN(const FoundTask found, Load(store, run, task));
  TRACKBED_RETURN_IF_ERROR(CheckMember(found.run.state->pipeline().tasks[found.task], member));
  const RunState& state = *found.run.state;
  const TaskStatus& status = state.task(found.task);
  ShownAttempt shown = AttemptShown(state, found.task);
  const std::string& name = state.pipeline().tasks[found.task].name;
  if (attempt != 0) shown = {state.id(), name, attempt};
  TRACKBED_RETURN_IF_ERROR(CheckHasLog(state, found.task));
  if (shown.attempt == 0) {
    return NotFound(
        absl::StrCat("task \"", AbslView(task), "\" of run ", state.id(), " has not started"));
  }
  const std::string path =
      workspace.MemberFolder(shown.run, shown.task, shown.attempt, member) + "/log";
  uint64_t size = 0;
  LogPart part;
  part.attempt = MakeAttemptKey(shown.run, shown.task, shown.attempt);
  TRACKBED_ASSIGN_OR_RETURN(part.text, ReadLogFile(path, offset, limit, &size));
  // Of an attempt that goes on, or that is not the task's last.
  const bool goes_on = !IsFinal(status.state) && state.status() == RunStatus::running &&
                       (attempt == 0 || attempt == status.attempt);
  part.more = goes_on || offset + part.text.size() < size;
  return part;
}

StatusOr<std::string> ReadLogFile(const std::string& path, uint64_t offset, size_t limit,
                                  uint64_t* size) {
  const int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat status{};
  if (file < 0 || ::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    if (file >= 0) ::close(file);
    return NotFound(absl::StrCat("there is no log ", path));
  }
  *size = static_cast<uint64_t>(status.st_size);
  std::string text;
  if (offset < *size) text.resize(std::min<uint64_t>(*size - offset, limit));
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t count = ::pread(file, text.data() + filled, text.size() - filled,
                                  static_cast<off_t>(offset + filled));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    filled += static_cast<size_t>(count);
  }
  ::close(file);
  text.resize(filled);
  return text;
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
