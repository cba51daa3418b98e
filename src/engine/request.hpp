// What a task asks for, and since when.
#pragma once

#include <algorithm>
#include <vector>

#include "trackbed/engine/run_state.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// What a task that names no slots takes.
inline const std::vector<SlotRequest>& RequestOrDefault(const std::vector<SlotRequest>& request) {
  static const std::vector<SlotRequest> one_cpu = {{"cpu", Quantity::FromThousandths(1000)}};
  return request.empty() ? one_cpu : request;
}

// When a pending task became ready to run: all that it depends on has ended, and its next try is
// due.
inline Time ReadySince(const RunState& run, TaskIndex task) {
  Time since = std::max(run.submitted_at(), run.RetryAt(task));
  for (const TaskIndex dependency : run.graph().Predecessors(task)) {
    since = std::max(since, run.task(dependency).finished);
  }
  return since;
}

// Higher goes first.
inline int32_t PriorityOf(const RunState& run, TaskIndex task) {
  return run.submitted().priority + run.pipeline().tasks[task].priority;
}

}  // namespace trackbed
