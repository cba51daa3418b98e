#include "simulation/workload.hpp"

#include <vector>

#include "support/pipelines.hpp"

namespace trackbed {

Pipeline RandomPipeline(Dice& dice, const std::string& name) {
  using std::chrono::milliseconds;
  using std::chrono::minutes;
  using std::chrono::seconds;
  Pipeline pipeline = NewPipeline(name);
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
    task.retry.delay = milliseconds(dice.Roll(3) * 20'000);
    task.retry.jitter = 0.5F;
    if (dice.OneIn(3)) task.timeout = minutes(1 + dice.Roll(40));
    task.grace_period = seconds(dice.Roll(30));
    if (dice.OneIn(2)) {
      task.resources = {Slot("cpu", 1 + dice.Roll(4))};
      if (dice.OneIn(3)) task.resources.push_back(Slot("cuda.device", 1));
    }
    if (dice.OneIn(2)) {
      task.cache = CacheMode::automatic;
      task.command = {"work " + std::to_string(dice.Roll(4))};  // some are equal
    }
    if (dice.OneIn(4)) task.outputs = {{"n", ValueType::integer}};
  }
  return pipeline;
}

}  // namespace trackbed
