// A resource group for tests, its clock, and what was decided.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scheduling/first_fit.hpp"
#include "support/catch.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

// With 64 GiB.
inline NodeCapacity Machine(int cores, int devices = 0) {
  NodeCapacity capacity;
  capacity.cpu = cores * 1000;
  capacity.memory = int64_t{64} << 30;
  capacity.device_count = static_cast<uint8_t>(devices);
  return capacity;
}

inline SchedulerOptions LabOptions(const GroupPolicy& policy = {},
                                   std::unique_ptr<Placer> placer = std::make_unique<FirstFit>()) {
  SchedulerOptions options;
  options.policy = policy;
  options.placer = std::move(placer);
  options.resources = {"cpu", "mem", "cuda.shares"};
  return options;
}

struct SchedulerLab {
  explicit SchedulerLab(SchedulerOptions options = LabOptions()) : scheduler(std::move(options)) {}

  NodeIndex Node(const NodeCapacity& capacity, const std::string& name) {
    const auto node = scheduler.AddNode(name, capacity);
    REQUIRE(node.ok());
    return *node;
  }

  static TaskRequest Task(TaskId id, int cores, Duration run_time = std::chrono::hours(1)) {
    TaskRequest task;
    task.id = id;
    task.demand.cpu = cores * 1000;
    task.run_time = run_time;
    return task;
  }

  void Submit(const TaskRequest& task) {
    const Status status = scheduler.Submit(task, now);
    INFO(Message(status));
    REQUIRE(status.ok());
  }

  // Which tasks start now.
  std::vector<TaskId> Step(Duration after = Duration{0}) {
    now += after;
    plan = scheduler.Schedule(now);
    std::vector<TaskId> ids;
    for (const Start& start : plan.starts) ids.push_back(start.task);
    const Status status = scheduler.Recount();
    INFO(Message(status));
    REQUIRE(status.ok());
    return ids;
  }

  void Finish(TaskId id) { REQUIRE(scheduler.Finish(id, now).ok()); }

  Time now = FromNanoseconds(1'700'000'000'000'000'000);
  Scheduler scheduler;
  Plan plan;
};

}  // namespace trackbed
