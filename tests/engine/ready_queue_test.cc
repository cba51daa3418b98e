// Who is next: first come first served, past those that do not fit, but not for ever.
#include "engine/ready_queue.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pipelines.hpp"

namespace trackbed {
namespace {

using std::chrono::minutes;

Time At(int64_t minute) { return Time(minutes(1'000'000 + minute)); }

// The tasks that are taken at `now`, in order: "0 1 5".
std::string TakeAll(ReadyQueue& queue, Time now) {
  std::string text;
  while (const auto task = queue.Take(now, [](const ReadyTask&) { return true; })) {
    text += (text.empty() ? "" : " ") + std::to_string(task->task);
  }
  return text;
}

TEST_CASE("Requests that are the same wait in one line, an empty one with those for one cpu") {
  ReadyQueue queue(SlotPool({Slot("cpu", 4)}));
  const auto one = queue.LineFor({Slot("cpu", 1)});
  REQUIRE(one.ok());
  CHECK(*queue.LineFor({}) == *one);
  CHECK(*queue.LineFor({Slot("cpu", 2)}) != *one);
  CHECK(*queue.LineFor({Slot("cpu", 1)}) == *one);
  CHECK(queue.LineFor({Slot("cpu", 5)}).status().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("Tasks are taken in the order they came, over all lines") {
  ReadyQueue queue(SlotPool({Slot("cpu", 10)}));
  const auto one = *queue.LineFor({Slot("cpu", 1)});
  const auto two = *queue.LineFor({Slot("cpu", 2)});
  queue.Push(two, {1, 0}, At(0));
  queue.Push(one, {1, 1}, At(0));
  queue.Push(one, {1, 2}, At(0));
  queue.Push(two, {1, 3}, At(0));
  CHECK(TakeAll(queue, At(0)) == "0 1 2 3");
  CHECK(TakeAll(queue, At(0)).empty());
}

TEST_CASE("A task that does not fit lets others pass until its patience is over") {
  ReadyQueue queue(SlotPool({Slot("cpu", 4)}), minutes(5));
  const auto one = *queue.LineFor({Slot("cpu", 1)});
  const auto four = *queue.LineFor({Slot("cpu", 4)});
  queue.Push(one, {1, 0}, At(0));
  REQUIRE(TakeAll(queue, At(0)) == "0");
  queue.Push(four, {1, 1}, At(0));
  queue.Push(one, {1, 2}, At(1));
  CHECK(TakeAll(queue, At(1)) == "2");
  queue.Push(one, {1, 3}, At(5));
  CHECK(TakeAll(queue, At(5)).empty());
  CHECK(queue.Explain(four) == "needs 4 cpu, 2 of 4 free");
  queue.Release(one);
  CHECK(TakeAll(queue, At(6)).empty());  // three free: still not for the younger
  queue.Release(one);
  CHECK(TakeAll(queue, At(6)) == "1");
  queue.Release(four);
  CHECK(TakeAll(queue, At(6)) == "3");
}

TEST_CASE("Who came before the impatient one may go before it") {
  ReadyQueue queue(SlotPool({Slot("cpu", 4), Slot("mem", 4)}), minutes(5));
  const auto mem = *queue.LineFor({Slot("mem", 4)});
  const auto cpu = *queue.LineFor({Slot("cpu", 4)});
  queue.Occupy(cpu);
  queue.Occupy(mem);
  queue.Push(mem, {1, 0}, At(0));
  queue.Push(cpu, {1, 1}, At(0));
  queue.Push(mem, {1, 2}, At(0));
  queue.Release(mem);
  CHECK(TakeAll(queue, At(9)) == "0");
}

TEST_CASE("A head that is not wanted any more is forgotten and holds nobody up") {
  ReadyQueue queue(SlotPool({Slot("cpu", 4)}), minutes(5));
  const auto one = *queue.LineFor({Slot("cpu", 1)});
  const auto four = *queue.LineFor({Slot("cpu", 4)});
  queue.Occupy(one);
  queue.Push(four, {1, 0}, At(0));
  queue.Push(four, {2, 1}, At(0));
  queue.Push(one, {2, 2}, At(1));
  const auto second_run = [](const ReadyTask& task) { return task.run == 2; };
  CHECK_FALSE(queue.Take(At(9), second_run).has_value());  // 1 is impatient too
  queue.Release(one);
  const auto taken = queue.Take(At(9), second_run);
  REQUIRE(taken.has_value());
  CHECK(*taken == ReadyTask{2, 1});
  const auto nobody = [](const ReadyTask&) { return false; };
  CHECK_FALSE(queue.Take(At(9), nobody).has_value());
  queue.Release(four);
  CHECK(TakeAll(queue, At(9)).empty());
}

TEST_CASE("A task that needs nothing always fits") {
  ReadyQueue queue(SlotPool({Slot("cpu", 1)}));
  const auto none = *queue.LineFor({Slot("cpu", 0)});
  queue.Occupy(*queue.LineFor({Slot("cpu", 1)}));
  queue.Push(none, {1, 0}, At(0));
  CHECK(TakeAll(queue, At(0)) == "0");
  CHECK(queue.Explain(none).empty());
}

}  // namespace
}  // namespace trackbed
