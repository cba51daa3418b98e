// Pipelines for tests, built in a few words:
//
//   Pipeline pipeline = NewPipeline("demo");
//   AddTask(pipeline, "fetch");
//   AddTask(pipeline, "train", {"fetch"}).retry.max_attempts = 3;
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

inline Pipeline NewPipeline(std::string name) {
  Pipeline pipeline;
  pipeline.name = std::move(name);
  return pipeline;
}

// The cache is off unless a test turns it on. The reference is good until the next task is added.
inline Task& AddTask(Pipeline& pipeline, std::string name,
                     std::vector<std::string> dependencies = {}) {
  Task& task = pipeline.tasks.emplace_back();
  task.command = {"run-" + name};
  task.name = std::move(name);
  task.dependencies = std::move(dependencies);
  task.cache = CacheMode::off;
  return task;
}

inline TaskIndex IndexOf(const Pipeline& pipeline, std::string_view task) {
  const auto found = std::find_if(pipeline.tasks.begin(), pipeline.tasks.end(),
                                  [&](const Task& t) { return t.name == task; });
  return static_cast<TaskIndex>(found - pipeline.tasks.begin());
}

inline Quantity Units(int64_t units) { return Quantity::FromThousandths(units * 1000); }
inline SlotRequest Slot(std::string slot, int64_t units) { return {std::move(slot), Units(units)}; }

}  // namespace trackbed
