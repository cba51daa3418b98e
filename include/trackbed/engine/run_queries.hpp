// What a host asks about runs, answered from what is durable: for programs in other languages, and
// for whoever would rather have JSON than a RunState. Every function: kNotFound for what is not
// there. A run may be called "latest".
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed {

// "latest" is the run submitted last; anything else stands for itself.
StatusOr<RunId> ResolveRun(Store& store, const std::string& given);
// kNotFound names the nearest task that there is.
StatusOr<TaskIndex> FindTask(const RunState& run, std::string_view name);

struct FoundTask {
  StoredRun run;
  TaskIndex task = 0;
};
// The task that is called "train", or, of a task with a map, batch 17 in the run of its batches:
// "score[17]".
StatusOr<FoundTask> FindTaskOrBatch(Store& store, StoredRun run, std::string_view name);

// Whether somebody holds the lease of the store who, if of this machine, is still there: else no
// run is running, whatever its last event says, but "interrupted".
bool IsDriven(Store& store, Time now);
// Whether the engine that holds the lease, if any does, has nodes that could stop answering.
bool NodesMayFallSilent(Store& store, Time now);
// What people should see of a run that goes on, beside that it does.
struct RunGlance {
  std::vector<std::string> asking;  // the tasks that wait for approval, by name
  size_t unknown = 0;               // attempts on nodes that do not answer
};
// Reads the events of a run only where there can be some of either.
StatusOr<RunGlance> GlanceAt(Store& store, const RunRecord& run, bool nodes_may_fall_silent);
// The newest first, an object each, on one line.
StatusOr<std::vector<std::string>> EachRunAsJson(Store& store, size_t limit, Time now);
// The same as an array.
StatusOr<std::string> RunsAsJson(Store& store, size_t limit, Time now);
// As RunToJson (event_json.hpp).
StatusOr<std::string> RunAsJson(Store& store, const std::string& run);
// What ExplainTask found, on one line.
std::string ExplanationToJson(const RunState& run, TaskIndex task,
                              const TaskExplanation& explained);
// Why a task is not running (explain.hpp).
StatusOr<std::string> ExplanationAsJson(Store& store, const std::string& run, std::string_view task,
                                        Time now,
                                        const std::function<bool(const LeaseHolder&)>& is_gone,
                                        const Tenancy& tenancy = Tenancy(),
                                        const GroupPolicy& policy = GroupPolicy(),
                                        Order* order = nullptr);
// Why a task did or did not use an earlier result, field by field.
StatusOr<std::string> CacheUseAsJson(Store& store, const std::string& run, std::string_view task);

// kNotFound for a task with a map: its batches have logs.
Status CheckHasLog(const RunState& run, TaskIndex task);

struct LogPart {
  std::string text;
  bool more = false;    // something may be added, or follows
  std::string attempt;  // whose log it is: "RUN/TASK/ATTEMPT"
};
// Whose log is meant.
struct LogOwner {
  std::string task;
  uint32_t attempt = 0;          // 0: the latest, or the one whose result the task uses
  std::string member = "main1";  // of the gang
};
// At most `limit` bytes from `offset`. Who follows the latest attempt begins anew when there is
// another. kNotFound when it has not started, or the gang has no such member.
StatusOr<LogPart> ReadLog(Store& store, const Workspace& workspace, const std::string& run,
                          const LogOwner& owner, uint64_t offset, size_t limit);

// At most `limit` bytes from `offset` of the log in the file `path`, whose size goes to `size`.
// kNotFound when there is none; a link or a pipe that a task has put in its place is none.
StatusOr<std::string> ReadLogFile(const std::string& path, uint64_t offset, size_t limit,
                                  uint64_t* size);

struct TaskOutputs {
  std::string json;    // {"accuracy": 0.95}
  std::string folder;  // of its files; empty: none
};
// kFailedPrecondition when the task has not succeeded.
StatusOr<TaskOutputs> ReadOutputs(Store& store, const Workspace& workspace, const std::string& run,
                                  std::string_view task);

}  // namespace trackbed
