// From a task and the state of its run to what an executor is told, and from what it says back.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/secrets.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

#if defined(__x86_64__)
inline constexpr std::string_view kMachineArchitecture = "x86_64";
#elif defined(__aarch64__)
inline constexpr std::string_view kMachineArchitecture = "aarch64";
#else
inline constexpr std::string_view kMachineArchitecture = "other";
#endif

// The value of a task's `when`; true when it has none.
StatusOr<bool> EvaluateWhen(const RunState& run, TaskIndex task);

// The spec of attempt `attempt` of a task, everything rendered; secrets still stand as references.
// What is a secret is said by the pipeline alone: a parameter or output that looks like a reference
// is plain text, so that a task cannot ask for a secret that its pipeline does not name.
StatusOr<AttemptSpec> BuildAttempt(const RunState& run, TaskIndex task, uint32_t attempt,
                                   const Workspace& workspace);

// What a task with an approval asks.
StatusOr<std::string> RenderQuestion(const RunState& run, TaskIndex task);

// What the map of a task goes over: the value of its `over`, as text.
StatusOr<std::string> RenderOver(const RunState& run, TaskIndex task);

// Calls visit(name, result) for each task whose output folder the task gets, in order; `result` is
// null when that left nothing.
template <typename Visit>
void ForEachInput(const RunState& run, TaskIndex task, const Visit& visit) {
  if (const MapBinding* map = run.map()) {
    for (const MapBinding::Upstream& upstream : map->upstream) {
      if (upstream.input) visit(upstream.name, upstream.result ? &*upstream.result : nullptr);
    }
    return;
  }
  for (const TaskIndex dependency : run.graph().Predecessors(task)) {
    visit(run.pipeline().tasks[dependency].name, run.Result(dependency));
  }
}

// kInvalidArgument names the first of the variables that refers to a source that there is not.
Status CheckSecretSources(const SecretSource* secrets,
                          const std::vector<EnvironmentVariable>& environment);

// Puts the values of secrets in place of their references. `secrets` may be null: then every secret
// is unknown.
Status ResolveSecrets(SecretSource* secrets, AttemptSpec* spec);

// Reads the NAME=VALUE lines (or one JSON object a line) that a task wrote, by what it declares.
// kInvalidArgument names the line and what is wrong with it.
StatusOr<std::map<std::string, Value>> ReadOutputs(const Task& task, std::string_view text);

}  // namespace trackbed
