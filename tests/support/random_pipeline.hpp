// Pipelines with every feature that decides about the order of things, thrown by dice.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/pipelines.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/base/time.hpp"

namespace trackbed {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  // From 0 to below `n`.
  int Roll(int n) { return static_cast<int>(random_.Next() % static_cast<uint64_t>(n)); }
  bool OneIn(int n) { return Roll(n) == 0; }
  uint64_t Next() { return random_.Next(); }

 private:
  SeededRandom random_;
};

// How long things take in the stories that a test tells.
struct Pace {
  Duration retry{};    // a retry waits 0, 1 or 2 of these
  Duration timeout{};  // timeouts are 1 to `timeouts` of these
  int timeouts = 1;
  int graces = 1;  // graces are 0 to below so many seconds
};

inline Pipeline RandomPipeline(Dice& dice, std::string name, const Pace& pace) {
  Pipeline pipeline = NewPipeline(std::move(name));
  const int count = 1 + dice.Roll(12);
  for (int i = 0; i < count; ++i) {
    std::vector<std::string> dependencies;
    for (int j = 0; j < i; ++j) {
      if (dice.OneIn(3)) dependencies.push_back("t" + std::to_string(j));
    }
    Task& task = AddTask(pipeline, "t" + std::to_string(i), dependencies);
    task.trigger = static_cast<Trigger>(dice.OneIn(2) ? 0 : dice.Roll(4));
    task.skip = dice.OneIn(15);
    task.allow_failure = dice.OneIn(6);
    task.priority = static_cast<int16_t>(dice.Roll(3));
    if (dice.OneIn(8)) task.when = dice.OneIn(3) ? "task.attempt > 100" : "run.id != 'x'";
    if (dice.OneIn(30)) task.when = "params.missing";
    task.retry.max_attempts = static_cast<uint32_t>(1 + dice.Roll(3));
    task.retry.delay = dice.Roll(3) * pace.retry;
    task.retry.jitter = 0.5F;
    if (dice.OneIn(3)) task.timeout = (1 + dice.Roll(pace.timeouts)) * pace.timeout;
    task.grace_period = std::chrono::seconds(dice.Roll(pace.graces));
    if (dice.OneIn(2)) {
      task.resources = {Slot("cpu", 1 + dice.Roll(4))};
      if (dice.OneIn(3)) task.resources.push_back(Slot("cuda.device", 1));
    }
    if (dice.OneIn(2)) {
      task.cache = CacheMode::automatic;
      task.command = {"work " + std::to_string(dice.Roll(4))};  // some are equal
    }
    if (dice.OneIn(4)) task.outputs = {{"n", ValueType::integer}};
    if (dice.OneIn(8)) {
      task.map = TaskMap{std::to_string(dice.Roll(6)), static_cast<uint32_t>(1 + dice.Roll(2)), 0,
                         static_cast<uint32_t>(dice.Roll(3))};
    }
  }
  return pipeline;
}

}  // namespace trackbed
