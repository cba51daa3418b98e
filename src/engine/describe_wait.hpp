// What the queue says about a waiting task, in the words of explain.hpp.
#pragma once

#include <functional>
#include <string>

#include "engine/node_queue.hpp"
#include "trackbed/engine/explain.hpp"

namespace trackbed {

// As somebody calls it who asks about a task of the run `asking`: "TASK" or "RUN/TASK".
std::string NameOfTask(const RunState& run, TaskIndex task, const RunId& asking);

// That it waits for the task of this name to end, whose result is its own.
TaskExplanation DescribeSameWork(const std::string& equal);

TaskExplanation DescribeReason(const QueueReason& reason,
                               const std::function<std::string(const ReadyTask&)>& name);

}  // namespace trackbed
