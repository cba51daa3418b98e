// Who is next: first come first served, past those that do not fit, but not for ever.
#include "engine/ready_queue.hpp"

#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pipelines.hpp"
#include "trackbed/resources/local_node.hpp"

namespace trackbed {
namespace {

using std::chrono::minutes;

Time At(int64_t minute) { return Time(minutes(1'000'000 + minute)); }

SlotAllocator Machine(const std::vector<SlotRequest>& slots) {
  return *SlotAllocator::Create(NodeOfSlots(slots));
}

// A queue, and what was taken from it.
struct Lab {
  explicit Lab(const std::vector<SlotRequest>& slots) : queue(Machine(slots), minutes(5)) {}
  // The tasks that are taken at `now`, in order: "0 1 5".
  std::string TakeAll(Time now) {
    std::string text;
    Allocation allocation;
    while (const auto task = queue.Take(now, [](const ReadyTask&) { return true; }, &allocation)) {
      held[task->task] = allocation.id;
      text += (text.empty() ? "" : " ") + std::to_string(task->task);
    }
    return text;
  }
  void Release(TaskIndex task) { queue.Release(held.at(task)); }

  ReadyQueue queue;
  std::map<TaskIndex, uint64_t> held;
};

TEST_CASE("Requests that are the same wait in one line, an empty one with those for one cpu") {
  Lab lab({Slot("cpu", 4), Slot("mem", 9)});
  ReadyQueue& queue = lab.queue;
  const auto one = queue.LineFor({Slot("cpu", 1)});
  REQUIRE(one.ok());
  CHECK(*queue.LineFor({}) == *one);
  CHECK(*queue.LineFor({Slot("cpu", 2)}) != *one);
  CHECK(*queue.LineFor({Slot("cpu", 1)}) == *one);
  CHECK(*queue.LineFor({Slot("mem", 0), Slot("cpu", 1)}) == *one);
  const auto both = queue.LineFor({Slot("mem", 4), Slot("cpu", 2)});
  CHECK(*queue.LineFor({Slot("cpu", 1), Slot("mem", 4), Slot("cpu", 1)}) == *both);
  CHECK(queue.LineFor({Slot("cpu", 5)}).status().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("Tasks are taken in the order they came, over all lines") {
  Lab lab({Slot("cpu", 10)});
  const auto one = *lab.queue.LineFor({Slot("cpu", 1)});
  const auto two = *lab.queue.LineFor({Slot("cpu", 2)});
  lab.queue.Push(two, {1, 0}, At(0));
  lab.queue.Push(one, {1, 1}, At(0));
  lab.queue.Push(one, {1, 2}, At(0));
  lab.queue.Push(two, {1, 3}, At(0));
  CHECK(lab.TakeAll(At(0)) == "0 1 2 3");
  CHECK(lab.TakeAll(At(0)).empty());
}

TEST_CASE("A task that does not fit lets others pass until its patience is over") {
  Lab lab({Slot("cpu", 4)});
  const auto one = *lab.queue.LineFor({Slot("cpu", 1)});
  const auto four = *lab.queue.LineFor({Slot("cpu", 4)});
  lab.queue.Push(one, {1, 0}, At(0));
  REQUIRE(lab.TakeAll(At(0)) == "0");
  lab.queue.Push(four, {1, 1}, At(0));
  lab.queue.Push(one, {1, 2}, At(1));
  CHECK(lab.TakeAll(At(1)) == "2");
  lab.queue.Push(one, {1, 3}, At(5));
  CHECK(lab.TakeAll(At(5)).empty());
  CHECK(lab.queue.Explain(four) == "needs 4 cpu, 2 of 4 free: 2 short");
  CHECK(lab.queue.Explain(one) ==
        "an earlier task, which needs more, has waited so long that it is next");
  lab.Release(0);
  CHECK(lab.TakeAll(At(6)).empty());  // three free: still not for the younger
  lab.Release(2);
  CHECK(lab.TakeAll(At(6)) == "1");
  lab.Release(1);
  CHECK(lab.TakeAll(At(6)) == "3");
  CHECK(lab.queue.Explain(one).empty());
}

TEST_CASE("Who came before the impatient one may go before it") {
  Lab lab({Slot("cpu", 4), Slot("mem", 4)});
  const auto mem = *lab.queue.LineFor({Slot("mem", 4)});
  const auto cpu = *lab.queue.LineFor({Slot("cpu", 4)});
  lab.queue.Occupy(cpu, {});
  const uint64_t held = lab.queue.Occupy(mem, {});
  lab.queue.Push(mem, {1, 0}, At(0));
  lab.queue.Push(cpu, {1, 1}, At(0));
  lab.queue.Push(mem, {1, 2}, At(0));
  lab.queue.Release(held);
  CHECK(lab.TakeAll(At(9)) == "0");
}

TEST_CASE("A head that is not wanted any more is forgotten and holds nobody up") {
  Lab lab({Slot("cpu", 4)});
  ReadyQueue& queue = lab.queue;
  const auto one = *queue.LineFor({Slot("cpu", 1)});
  const auto four = *queue.LineFor({Slot("cpu", 4)});
  const uint64_t held = queue.Occupy(one, {});
  queue.Push(four, {1, 0}, At(0));
  queue.Push(four, {2, 1}, At(0));
  queue.Push(one, {2, 2}, At(1));
  const auto second_run = [](const ReadyTask& task) { return task.run == 2; };
  Allocation allocation;
  CHECK_FALSE(queue.Take(At(9), second_run, &allocation).has_value());  // 1 is impatient too
  queue.Release(held);
  const auto taken = queue.Take(At(9), second_run, &allocation);
  REQUIRE(taken.has_value());
  CHECK(*taken == ReadyTask{2, 1});
  Allocation none;
  const auto nobody = [](const ReadyTask&) { return false; };
  CHECK_FALSE(queue.Take(At(9), nobody, &none).has_value());
  queue.Release(allocation.id);
  CHECK(lab.TakeAll(At(9)).empty());
}

TEST_CASE("A task that needs nothing always fits") {
  Lab lab({Slot("cpu", 1)});
  const auto none = *lab.queue.LineFor({Slot("cpu", 0)});
  lab.queue.Occupy(*lab.queue.LineFor({Slot("cpu", 1)}), {});
  lab.queue.Push(none, {1, 0}, At(0));
  CHECK(lab.TakeAll(At(0)) == "0");
  CHECK(lab.queue.Explain(none).empty());
  lab.Release(0);
}

TEST_CASE("What is found running holds what it held, and is not counted twice") {
  Lab lab({Slot("cpu", 4), Slot("cuda.device", 2)});
  const auto gpu = *lab.queue.LineFor({Slot("cpu", 1), Slot("cuda.device", 1)});
  AllocationPart device;
  device.slot = "cuda.device";
  device.device = "cuda.device#1";
  device.amount = Units(1);
  AllocationPart cpu;
  cpu.slot = "cpu";
  cpu.amount = Units(1);
  const uint64_t held = lab.queue.Occupy(gpu, std::vector{device, cpu});
  lab.queue.Push(gpu, {1, 0}, At(0));
  lab.queue.Push(gpu, {1, 1}, At(0));
  Allocation allocation;
  const auto anybody = [](const ReadyTask&) { return true; };
  REQUIRE(lab.queue.Take(At(0), anybody, &allocation));
  CHECK(allocation.parts[0].device == "cuda.device#0");
  CHECK_FALSE(lab.queue.Take(At(0), anybody, &allocation));
  lab.queue.Release(held);
  REQUIRE(lab.queue.Take(At(0), anybody, &allocation));
  CHECK(allocation.parts[0].device == "cuda.device#1");
}

TEST_CASE("Where more is found running than there is, nothing starts until enough has ended") {
  Lab lab({Slot("cpu", 2)});
  const auto one = *lab.queue.LineFor({Slot("cpu", 1)});
  std::vector<uint64_t> held;
  for (int i = 0; i < 4; ++i) held.push_back(lab.queue.Occupy(one, {}));
  lab.queue.Push(one, {1, 0}, At(0));
  CHECK(lab.queue.Explain(one) ==
        "attempts found running hold more than there is; nothing starts until some have ended");
  lab.queue.Release(held[0]);  // one that has room, which the third gets
  CHECK(lab.TakeAll(At(0)).empty());
  lab.queue.Release(held[3]);  // one that has none
  CHECK(lab.TakeAll(At(0)).empty());
  CHECK(lab.queue.Explain(one) == "needs 1 cpu, 0 of 2 free: 1 short");
  lab.queue.Release(held[2]);
  CHECK(lab.TakeAll(At(0)) == "0");
  lab.queue.Release(held[1]);
}

}  // namespace
}  // namespace trackbed
