// The queue before the engine's node, without an engine.
#include "engine/node_queue.hpp"

#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pipelines.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/resources/local_node.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

Time At(int minute) { return Time{} + hours(1000) + minutes(minute); }

// A single process on the first node, of which nothing else is recorded.
const std::vector<NodeQueue::FoundMember> kSomewhere = {{0, {}}};

struct Lab {
  explicit Lab(const std::vector<SlotRequest>& slots, Tenancy tenancy = Tenancy(),
               GroupPolicy policy = {})
      : Lab(NodeOfSlots(slots), std::move(tenancy), policy) {}
  explicit Lab(const NodeDescription& node, Tenancy tenancy = Tenancy(), GroupPolicy policy = {})
      : Lab(std::vector<NodeDescription>{node}, std::move(tenancy), policy) {}
  explicit Lab(const std::vector<NodeDescription>& nodes, Tenancy tenancy = Tenancy(),
               GroupPolicy policy = {}, Order* order = nullptr) {
    auto created =
        NodeQueue::Create(nodes, std::move(tenancy), policy, order,
                          [this](const ReadyTask& t) { return !unwanted || !unwanted(t); });
    REQUIRE(created.ok());
    queue = *std::move(created);
  }

  NodeQueue::Line Line(const std::vector<SlotRequest>& request, int32_t priority = 0,
                       Duration run_time = {}, TenantIndex tenant = kRootTenant) {
    const auto line = queue->LineFor({request, tenant, priority, run_time}, At(0));
    INFO(line.status());
    REQUIRE(line.ok());
    return *line;
  }
  // The tasks that start at `now`, in order: "0 1 5".
  std::string TakeAll(Time now) {
    std::string text;
    while (auto next = queue->Take(now)) {
      held[next->task.task] = next->held;
      allocations[next->task.task] = next->members[0].allocation;
      text += (text.empty() ? "" : " ") + std::to_string(next->task.task);
    }
    return text;
  }
  void Push(NodeQueue::Line line, TaskIndex task, Time since) {
    queue->Push(line, {1, task}, since);
  }
  void Release(TaskIndex task, Time now = At(0)) { queue->Release(held.at(task), now); }
  QueueReason Why(NodeQueue::Line line, TaskIndex task, Time now) {
    return queue->Explain(line, {1, task}, now);
  }

  std::function<bool(const ReadyTask&)> unwanted;
  std::unique_ptr<NodeQueue> queue;
  std::map<TaskIndex, uint32_t> held;
  std::map<TaskIndex, Allocation> allocations;
};

TEST_CASE("What is alike in all that decides waits in one line") {
  Lab lab({Slot("cpu", 4), Slot("mem", 9)});
  const auto one = lab.Line({Slot("cpu", 1)});
  CHECK(lab.Line({}) == one);
  CHECK(lab.Line({Slot("cpu", 2)}) != one);
  CHECK(lab.Line({Slot("cpu", 1)}) == one);
  CHECK(lab.Line({Slot("mem", 0), Slot("cpu", 1)}) == one);
  CHECK(lab.Line({Slot("cpu", 1)}, 1) != one);
  CHECK(lab.Line({Slot("cpu", 1)}, 0, minutes(5)) != one);
  CHECK(lab.Line({Slot("cpu", 1)}, 0, minutes(5)) ==
        lab.Line({Slot("cpu", 1)}, 0, minutes(5) - std::chrono::seconds(1)));
  const auto both = lab.Line({Slot("mem", 4), Slot("cpu", 2)});
  CHECK(lab.Line({Slot("cpu", 1), Slot("mem", 4), Slot("cpu", 1)}) == both);
  const std::vector<SlotRequest> five = {Slot("cpu", 5)};
  CHECK(lab.queue->LineFor({five}, At(0)).status().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("Tasks start in the order they came, over all lines") {
  Lab lab({Slot("cpu", 6)});
  const auto one = lab.Line({Slot("cpu", 1)});
  const auto two = lab.Line({Slot("cpu", 2)});
  lab.Push(two, 0, At(0));
  lab.Push(one, 1, At(0));
  lab.Push(one, 2, At(0));
  lab.Push(two, 3, At(0));
  lab.Push(one, 4, At(0));
  CHECK(lab.TakeAll(At(0)) == "0 1 2 3");
  CHECK(lab.TakeAll(At(0)).empty());
}

TEST_CASE("A higher priority goes first, with all that wait of it") {
  Lab lab({Slot("cpu", 3)});
  const auto low = lab.Line({Slot("cpu", 1)}, -1);
  const auto high = lab.Line({Slot("cpu", 1)}, 5);
  for (const TaskIndex task : {0U, 1U, 2U}) lab.Push(low, task, At(0));
  for (const TaskIndex task : {3U, 4U}) lab.Push(high, task, At(1));
  CHECK(lab.TakeAll(At(1)) == "3 4 0");
}

// The least important first, and of tenants who has the smaller number.
class BackwardOrder final : public Order {
 public:
  explicit BackwardOrder(bool by_shares) : by_shares_(by_shares) {}
  StatusOr<int64_t> Rank(const TaskRequest& task, Time /*submitted*/) override {
    if (fails) return Unavailable("no rank");
    return task.priority;
  }
  bool ByShares() const override { return by_shares_; }
  double Share(const Tenancy& /*tenancy*/, TenantIndex tenant, Time /*now*/) override {
    return tenant;
  }
  bool fails = false;

 private:
  const bool by_shares_;
};

TEST_CASE("An order of the host's decides instead of priorities; among equals who came first") {
  BackwardOrder order(false);
  Lab lab(std::vector{NodeOfSlots({Slot("cpu", 4)})}, Tenancy(), {}, &order);
  const auto low = lab.Line({}, -1);
  const auto high = lab.Line({}, 5);
  const auto other = lab.Line({Slot("cpu", 2)}, -1);
  CHECK(lab.queue->CheckRank(low, At(0)).ok());
  for (const TaskIndex task : {0U, 1U}) lab.Push(high, task, At(0));
  for (const TaskIndex task : {2U, 3U}) lab.Push(low, task, At(1));
  lab.Push(other, 4, At(1));
  lab.Push(low, 5, At(2));
  CHECK(lab.TakeAll(At(2)) == "2 3 4");
}

TEST_CASE("Shares of the host's decide between tenants") {
  BackwardOrder order(true);
  Tenancy tenancy;
  const TenantIndex one = *tenancy.Add(kRootTenant, "one", {});
  const TenantIndex two = *tenancy.Add(kRootTenant, "two", {});
  Lab lab(std::vector{NodeOfSlots({Slot("cpu", 2)})}, tenancy, {}, &order);
  const auto second = lab.Line({}, 0, {}, two);
  const auto first = lab.Line({}, 9, {}, one);
  lab.Push(second, 0, At(0));
  lab.Push(first, 1, At(1));
  lab.Push(first, 2, At(1));
  CHECK(lab.TakeAll(At(1)) == "1 2");
}

TEST_CASE("What an order cannot rank runs all the same") {
  BackwardOrder order(false);
  order.fails = true;
  Lab lab(std::vector{NodeOfSlots({Slot("cpu", 1)})}, Tenancy(), {}, &order);
  const auto low = lab.Line({}, -1);
  const auto high = lab.Line({}, 5);
  CHECK(absl::IsUnavailable(lab.queue->CheckRank(low, At(0))));
  lab.Push(high, 0, At(0));
  lab.Push(low, 1, At(1));
  CHECK(lab.TakeAll(At(1)) == "0");
  lab.Release(0, At(2));
  CHECK(lab.TakeAll(At(2)) == "1");
}

TEST_CASE("Waiting makes up for priority, so that nothing starves") {
  GroupPolicy policy;
  policy.ageing = hours(1);
  Lab lab({Slot("cpu", 1)}, Tenancy(), policy);
  const auto low = lab.Line({}, 0);
  const auto high = lab.Line({}, 2);
  lab.Push(low, 0, At(0));
  // A stream of more important work that never ends.
  int minute = 0;
  TaskIndex next = 1;
  lab.Push(high, next, At(minute));
  while (next < 100) {
    const std::string started = lab.TakeAll(At(minute));
    if (started == "0") break;
    REQUIRE(started == std::to_string(next));
    minute += 10;
    lab.Push(high, next + 1, At(minute));
    lab.Release(next++, At(minute));
  }
  CHECK(minute >= 120);
  CHECK(minute <= 130);
}

TEST_CASE("Who overtakes does not delay the one that waits for room") {
  Lab lab({Slot("cpu", 4)});
  const auto holder = lab.Line({Slot("cpu", 3)}, 0, minutes(60));
  const auto large = lab.Line({Slot("cpu", 4)}, 0, minutes(30));
  const auto brief = lab.Line({Slot("cpu", 1)}, 0, minutes(30));
  const auto lengthy = lab.Line({Slot("cpu", 1)}, 0, minutes(90));
  lab.Push(holder, 0, At(0));
  REQUIRE(lab.TakeAll(At(0)) == "0");
  lab.Push(large, 1, At(0));
  lab.Push(lengthy, 2, At(0));
  lab.Push(brief, 3, At(0));
  CHECK(lab.TakeAll(At(0)) == "3");
  const QueueReason waits = lab.Why(large, 1, At(0));
  CHECK(waits.why.rule == WaitReason::Rule::shortage);
  CHECK(waits.shortfall.message == "needs 4 cpu, 0 of 4 free: 4 short");
  CHECK(waits.why.expected_start >= At(60));
  CHECK(waits.why.expected_start <= At(68));  // run times are rounded up by an eighth
  lab.Release(3, At(30));
  CHECK(lab.TakeAll(At(30)).empty());
  const QueueReason held_back = lab.Why(lengthy, 2, At(30));
  CHECK(held_back.why.rule == WaitReason::Rule::reserved);
  REQUIRE(held_back.ahead.has_value());
  CHECK(*held_back.ahead == ReadyTask{1, 1});
  CHECK(held_back.why.until == waits.why.expected_start);
  lab.Release(0, At(60));
  CHECK(lab.TakeAll(At(60)) == "1");
}

TEST_CASE("No time is told that rests on run times nobody knows") {
  Lab lab({Slot("cpu", 4)});
  const auto holder = lab.Line({Slot("cpu", 4)});
  const auto next = lab.Line({Slot("cpu", 2)}, 0, minutes(1));
  lab.Push(holder, 0, At(0));
  REQUIRE(lab.TakeAll(At(0)) == "0");
  lab.Push(next, 1, At(0));
  CHECK(lab.TakeAll(At(0)).empty());
  CHECK(lab.Why(next, 1, At(0)).why.expected_start == kNever);
}

TEST_CASE("Quotas hold, and say which") {
  Tenancy tenancy;
  Quota quota;
  quota.limit[kCpu] = 2000;
  const TenantIndex lab_tenant = *tenancy.Add(kRootTenant, "lab", quota);
  quota = Quota();
  quota.max_running = 1;
  const TenantIndex ada = *tenancy.Add(lab_tenant, "ada", quota);
  const TenantIndex bob = *tenancy.Add(lab_tenant, "bob", Quota());
  Lab lab({Slot("cpu", 8)}, tenancy);
  const auto of_ada = lab.Line({Slot("cpu", 1)}, 0, {}, ada);
  const auto of_bob = lab.Line({Slot("cpu", 1)}, 0, {}, bob);
  lab.Push(of_ada, 0, At(0));
  lab.Push(of_ada, 1, At(0));
  lab.Push(of_bob, 2, At(0));
  lab.Push(of_bob, 3, At(0));
  CHECK(lab.TakeAll(At(0)) == "0 2");
  const QueueReason running = lab.Why(of_ada, 1, At(0));
  CHECK(running.why.rule == WaitReason::Rule::quota);
  CHECK(running.why.sentence == "\"lab/ada\" may run 1 tasks at a time and runs 1");
  CHECK(lab.Why(of_bob, 3, At(0)).why.sentence ==
        "needs 1 cpu; \"lab\" may use 2 cpu and uses 2 cpu");
  lab.Release(2);
  CHECK(lab.TakeAll(At(0)) == "3");
  lab.Release(0);
  CHECK(lab.TakeAll(At(0)) == "1");
  const std::vector<SlotRequest> three = {Slot("cpu", 3)};
  const auto refused = lab.queue->LineFor({three, bob}, At(0));
  CHECK(refused.status().code() == StatusCode::kResourceExhausted);
  CHECK(Message(refused.status()) == "needs 3 cpu; \"lab\" may use 2 cpu and uses 0 cpu");
}

TEST_CASE("What is not wanted any more is forgotten and holds nobody up") {
  Lab lab({Slot("cpu", 4)});
  const auto one = lab.Line({Slot("cpu", 1)});
  const auto four = lab.Line({Slot("cpu", 4)});
  lab.queue->Occupy(one, kSomewhere, At(0), At(0));
  lab.queue->Push(four, {1, 0}, At(0));
  lab.queue->Push(four, {1, 1}, At(0));
  lab.queue->Push(one, {2, 2}, At(1));
  CHECK(lab.TakeAll(At(1)).empty());  // room is kept for the first
  lab.unwanted = [](const ReadyTask& task) { return task.run == 1; };
  lab.queue->Recheck();
  CHECK(lab.TakeAll(At(9)) == "2");
  CHECK(lab.TakeAll(At(9)).empty());
}

TEST_CASE("A task that needs nothing always fits") {
  Lab lab({Slot("cpu", 1)});
  const auto none = lab.Line({Slot("cpu", 0)});
  lab.queue->Occupy(lab.Line({Slot("cpu", 1)}), kSomewhere, At(0), At(0));
  lab.Push(none, 0, At(0));
  CHECK(lab.TakeAll(At(0)) == "0");
  CHECK(lab.Why(none, 0, At(0)).why.rule == WaitReason::Rule::none);
  lab.Release(0);
}

TEST_CASE("What is found running holds what it held, and is not counted twice") {
  Lab lab({Slot("cpu", 4), Slot("cuda.device", 2)});
  const auto gpu = lab.Line({Slot("cpu", 1), Slot("cuda.device", 1)});
  AllocationPart device;
  device.slot = "cuda.device";
  device.device = "cuda.device#1";
  device.amount = Units(1);
  AllocationPart cpu;
  cpu.slot = "cpu";
  cpu.amount = Units(1);
  HeldMembers got;
  const std::vector<NodeQueue::FoundMember> found = {{0, {device, cpu}}};
  const uint32_t held = lab.queue->Occupy(gpu, found, At(0), At(0), &got);
  CHECK(got[0].allocation.parts[0].device == "cuda.device#1");
  lab.Push(gpu, 0, At(0));
  lab.Push(gpu, 1, At(0));
  CHECK(lab.TakeAll(At(0)) == "0");
  CHECK(lab.allocations[0].parts[0].device == "cuda.device#0");
  lab.queue->Release(held, At(0));
  CHECK(lab.TakeAll(At(0)) == "1");
  CHECK(lab.allocations[1].parts[0].device == "cuda.device#1");
}

TEST_CASE("Where more is found running than there is, nothing starts until enough has ended") {
  Lab lab({Slot("cpu", 2)});
  const auto one = lab.Line({Slot("cpu", 1)});
  std::vector<uint32_t> held;
  for (int i = 0; i < 4; ++i) held.push_back(lab.queue->Occupy(one, kSomewhere, At(0), At(0)));
  lab.Push(one, 0, At(0));
  CHECK(lab.Why(one, 0, At(0)).crowded);
  lab.queue->Release(held[0], At(0));  // one that has room, which the third gets
  CHECK(lab.TakeAll(At(0)).empty());
  lab.queue->Release(held[3], At(0));  // one that has none
  CHECK(lab.TakeAll(At(0)).empty());
  CHECK_FALSE(lab.Why(one, 0, At(0)).crowded);
  CHECK(lab.Why(one, 0, At(0)).shortfall.message == "needs 1 cpu, 0 of 2 free: 1 short");
  lab.queue->Release(held[2], At(0));
  CHECK(lab.TakeAll(At(0)) == "0");
  lab.queue->Release(held[1], At(0));

  SECTION("what asks for more than there is holds up all until it ends") {
    const uint32_t large = lab.queue->Occupy(NodeQueue::kNoLine, kSomewhere, At(0), At(0));
    lab.Push(one, 1, At(0));
    CHECK(lab.TakeAll(At(0)).empty());
    lab.queue->Release(large, At(0));
    CHECK(lab.TakeAll(At(0)) == "1");
  }
}

NodeDescription Gpus(int count) {
  NodeDescription node = NodeOfSlots({Slot("cpu", 64)});
  for (int i = 0; i < count; ++i) {
    NodeDevice gpu;
    gpu.id = "gpu" + std::to_string(i);
    gpu.slot = "cuda.device";
    gpu.capacity = Units(1);
    node.devices.push_back(gpu);
    gpu.part_of = gpu.id;
    gpu.id += "/shares";
    gpu.slot = "cuda.shares";
    node.devices.push_back(gpu);
  }
  return node;
}

TEST_CASE("Room is kept on the very devices that a waiting task will get") {
  Lab lab(Gpus(2));
  const auto half = lab.Line({{"cuda.shares", Quantity::FromThousandths(500)}}, 0, minutes(60));
  const auto both = lab.Line({Slot("cuda.device", 2)}, 0, minutes(60));
  const auto whole = lab.Line({Slot("cuda.device", 1)}, 0, minutes(30));
  const auto whole_long = lab.Line({Slot("cuda.device", 1)}, 0, minutes(120));
  lab.Push(half, 0, At(0));
  REQUIRE(lab.TakeAll(At(0)) == "0");
  lab.Push(both, 1, At(0));
  lab.Push(whole_long, 2, At(0));
  lab.Push(whole, 3, At(0));
  CHECK(lab.TakeAll(At(0)) == "3");
  CHECK(lab.Why(both, 1, At(0)).shortfall.kind == Shortfall::Kind::shortage);
  lab.Release(3, At(30));
  CHECK(lab.TakeAll(At(30)).empty());
  CHECK(lab.Why(whole_long, 2, At(30)).why.rule == WaitReason::Rule::reserved);
  lab.Release(0, At(60));
  CHECK(lab.TakeAll(At(60)) == "1");
}

TEST_CASE("Slots of any kind are looked ahead for") {
  // Two families, one of them counted; a made-up amount of it.
  Lab lab({Slot("cpu", 8), Slot("cuda.device", 1), Slot("rocm.device", 2), Slot("tpu.device", 3)});
  const auto one = lab.Line({Slot("cpu", 4), Slot("rocm.device", 2)}, 0, minutes(60));
  const auto next = lab.Line({Slot("cpu", 4), Slot("rocm.device", 1)}, 0, minutes(60));
  const auto brief = lab.Line({Slot("cpu", 4), Slot("tpu.device", 3)}, 0, minutes(50));
  const auto lengthy = lab.Line({Slot("cpu", 5)}, 0, minutes(600));
  lab.Push(one, 0, At(0));
  REQUIRE(lab.TakeAll(At(0)) == "0");
  lab.Push(next, 1, At(0));
  lab.Push(lengthy, 2, At(0));
  lab.Push(brief, 3, At(0));
  // Four processors are free, but the second waits for an accelerator of the first: until then
  // others may use them.
  CHECK(lab.TakeAll(At(0)) == "3");
  CHECK(lab.Why(next, 1, At(0)).shortfall.slot == "rocm.device");
  lab.Release(3, At(50));
  CHECK(lab.TakeAll(At(50)).empty());
  CHECK(lab.Why(next, 1, At(50)).shortfall.slot == "rocm.device");
  CHECK(lab.Why(next, 1, At(50)).why.expected_start != kNever);
}

TEST_CASE("The scheduler's account has room for whatever the allocator gives") {
  NodeDescription node = Gpus(4);
  NodeDevice other;
  other.id = "amd0";
  other.slot = "rocm.device";
  other.capacity = Units(1);
  node.devices.push_back(other);
  Lab lab(node);
  SeededRandom random(7);
  std::vector<NodeQueue::Line> lines;
  for (const int64_t shares : {100, 250, 300, 500, 700, 1000, 1200, 1500, 2000, 2500}) {
    lines.push_back(lab.Line({{"cuda.shares", Quantity::FromThousandths(shares)}}, 0, minutes(10)));
  }
  lines.push_back(lab.Line({Slot("cuda.device", 1)}, 0, minutes(20)));
  lines.push_back(lab.Line({Slot("cuda.device", 3)}, 1));
  lines.push_back(lab.Line({Slot("rocm.device", 1), Slot("cuda.device", 1)}, 0));
  lines.push_back(lab.Line({Slot("cpu", 20)}, 0, minutes(5)));
  std::vector<TaskIndex> running;
  TaskIndex pushed = 0;
  size_t started = 0;
  for (int step = 0; step < 3000; ++step) {
    const Time now = At(step);
    const uint64_t choice = random.Next() % 4;
    if (choice < 2 && pushed - started < 50) {
      lab.Push(lines[random.Next() % lines.size()], pushed++, now);
    } else if (!running.empty()) {
      const size_t which = random.Next() % running.size();
      lab.Release(running[which], now);
      running.erase(running.begin() + static_cast<ptrdiff_t>(which));
    }
    while (auto next = lab.queue->Take(now)) {
      lab.held[next->task.task] = next->held;
      running.push_back(next->task.task);
      ++started;
    }
  }
  for (int step = 3000; !running.empty(); ++step) {
    for (const TaskIndex task : running) lab.Release(task, At(step));
    running.clear();
    while (auto next = lab.queue->Take(At(step))) {
      lab.held[next->task.task] = next->held;
      running.push_back(next->task.task);
      ++started;
    }
  }
  CHECK(started == pushed);  // nobody is left behind
}

}  // namespace
}  // namespace trackbed
