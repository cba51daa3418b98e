// The pipelines that the benchmarks run, and an executor that does nothing at once.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/executors/executor.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed::benchmark {

enum class Shape {
  chain,    // each task depends on the one before
  fan_out,  // all depend on the first
  layered,  // layers of 100 (of 10 in small graphs); each task depends on 3 of the layer before
  map,      // the batches of one task's map
};

inline std::string_view ToString(Shape shape) {
  switch (shape) {
    case Shape::chain:
      return "chain";
    case Shape::fan_out:
      return "fan-out";
    case Shape::layered:
      return "layered";
    case Shape::map:
      return "map";
  }
  return "";
}

// Calls visit(task, dependency) for every edge, by index, in order of tasks.
template <typename Visit>
void ForEachEdge(Shape shape, size_t tasks, Visit visit) {
  const size_t width = tasks < 1000 ? 10 : 100;
  for (size_t i = 1; i < tasks; ++i) {
    if (shape == Shape::chain) visit(i, i - 1);
    if (shape == Shape::fan_out) visit(i, size_t{0});
    if (shape != Shape::layered || i < width) continue;
    const size_t layer = (i / width - 1) * width;
    for (size_t k = 0; k < 3; ++k) visit(i, layer + (i + k) % width);
  }
}

inline Pipeline MakePipeline(Shape shape, size_t tasks) {
  Pipeline pipeline;
  pipeline.name = "benchmark";
  pipeline.tasks.resize(shape == Shape::map ? 1 : tasks);
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) {
    pipeline.tasks[i].name = "task" + std::to_string(i);
    pipeline.tasks[i].command = {"/bin/true"};
    pipeline.tasks[i].shell = false;
  }
  if (shape == Shape::map) pipeline.tasks[0].map = TaskMap{std::to_string(tasks), 1, 0, 0};
  // Whole lists at once, as the readers of pipelines give them: a list that grows takes more room.
  std::vector<std::vector<std::string>> dependencies(pipeline.tasks.size());
  ForEachEdge(shape, pipeline.tasks.size(), [&](size_t task, size_t dependency) {
    dependencies[task].push_back(pipeline.tasks[dependency].name);
  });
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) {
    pipeline.tasks[i].dependencies = dependencies[i];
  }
  return pipeline;
}

// Every attempt has succeeded by the next Poll.
class NoOpExecutor final : public Executor {
 public:
  // Reports no more than `limit` ends: what is started after that goes on for ever.
  explicit NoOpExecutor(size_t limit = std::numeric_limits<size_t>::max()) : limit_(limit) {}

  // Calls `action` before the report of the end number `count` is given.
  void At(size_t count, std::function<void()> action) {
    action_at_ = count;
    action_ = std::move(action);
  }
  size_t ended() const { return ended_; }

  Status Start(const AttemptSpec& spec) override {
    started_.push_back(spec.key);
    return absl::OkStatus();
  }
  Status Adopt(const AttemptKey& key, const std::string& /*folder*/) override {
    started_.push_back(key);
    return absl::OkStatus();
  }
  Status Poll(std::vector<AttemptReport>* reports) override {
    for (AttemptKey& key : started_) {
      if (ended_ == limit_) break;
      if (++ended_ == action_at_) action_();
      reports->emplace_back().key = std::move(key);
    }
    started_.clear();
    return absl::OkStatus();
  }
  Status Stop(const AttemptKey& /*key*/, StopMode /*mode*/) override { return absl::OkStatus(); }
  int WakeDescriptor() const override { return -1; }

 private:
  size_t limit_;
  size_t ended_ = 0;
  size_t action_at_ = std::numeric_limits<size_t>::max();
  std::function<void()> action_;
  std::vector<AttemptKey> started_;
};

}  // namespace trackbed::benchmark
