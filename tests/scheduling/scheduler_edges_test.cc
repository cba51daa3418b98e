// The scheduler where things are not as usual: lost nodes, machines that differ, numbers at the
// ends of their ranges, hosts whose placers are wrong, claims that nobody keeps.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "scheduling/scheduler_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using Ids = std::vector<TaskId>;

constexpr int64_t kGiB = int64_t{1} << 30;

struct Group : SchedulerLab {
  explicit Group(const GroupPolicy& policy = {},
                 std::unique_ptr<Placer> placer = std::make_unique<FirstFit>())
      : SchedulerLab(LabOptions(policy, std::move(placer))) {}

  NodeIndex Node(const NodeCapacity& capacity) {
    return SchedulerLab::Node(capacity, "n" + std::to_string(scheduler.cluster().size()));
  }

  static TaskRequest Gang(TaskId id, int cores, uint32_t members) {
    TaskRequest task = Task(id, cores);
    task.members = members;
    return task;
  }

  std::string Refusal(const TaskRequest& task) {
    const size_t waiting = scheduler.waiting();
    const Status status = scheduler.Submit(task, now);
    CHECK_FALSE(status.ok());
    CHECK(scheduler.waiting() == waiting);
    return std::string(Message(status));
  }

  std::vector<NodeIndex> NodesOf(TaskId id) const {
    std::vector<NodeIndex> nodes;
    REQUIRE(scheduler.Find(id) != nullptr);
    for (const Placement& member : *scheduler.Find(id)) nodes.push_back(member.node);
    return nodes;
  }
};

using Nodes = std::vector<NodeIndex>;

GroupPolicy WithoutAgeing() {
  GroupPolicy policy;
  policy.ageing = Duration{0};
  return policy;
}

// ---- Lost nodes ------------------------------------------------------------------------------

TEST_CASE("Several members of a gang are lost with their node, and all get new places") {
  Group group;
  group.Node(Machine(2));
  group.Node(Machine(2));
  group.Submit(Group::Gang(1, 1, 3));
  REQUIRE(group.Step() == Ids{1});
  REQUIRE(group.NodesOf(1) == Nodes{0, 0, 1});
  CHECK(group.scheduler.LoseNode(0, group.now).empty());
  CHECK(group.Step().empty());
  // One has room beside the member that is left; the other waits.
  REQUIRE(group.plan.repairs.size() == 1);
  CHECK(group.plan.released.empty());
  group.Node(Machine(2));
  CHECK(group.Step(minutes(1)).empty());
  REQUIRE(group.plan.repairs.size() == 1);
  CHECK(group.plan.repairs[0].placement.node == 2);
  std::vector<NodeIndex> nodes = group.NodesOf(1);
  std::sort(nodes.begin(), nodes.end());
  CHECK(nodes == Nodes{1, 1, 2});
  // It is whole again: nothing is released once the grace is over.
  CHECK(group.Step(hours(1)).empty());
  CHECK(group.plan.released.empty());
  group.Finish(1);
  CHECK(group.Step().empty());
}

TEST_CASE("A gang whose members are apart is mended apart, and leaves nodes as they were") {
  Group group;
  for (int i = 0; i < 4; ++i) group.Node(Machine(4));
  TaskRequest gang = Group::Gang(1, 1, 3);
  gang.on_different_nodes = true;
  group.Submit(gang);
  REQUIRE(group.Step() == Ids{1});
  REQUIRE(group.NodesOf(1) == Nodes{0, 1, 2});
  group.scheduler.DrainNode(2);
  CHECK(group.scheduler.LoseNode(1, group.now).empty());
  CHECK(group.Step().empty());
  REQUIRE(group.plan.repairs.size() == 1);
  CHECK(group.plan.repairs[0].member == 1);
  CHECK(group.NodesOf(1) == Nodes{0, 3, 2});
  // What was closed for the gang is open again, what was drained is not.
  group.Submit(Group::Gang(2, 3, 2));
  CHECK(group.Step() == Ids{2});
  CHECK(group.NodesOf(2) == Nodes{0, 3});
  group.Submit(Group::Task(3, 1));
  CHECK(group.Step().empty());
}

TEST_CASE("Two members that are lost at different times are both mended, each elsewhere") {
  Group group;
  for (int i = 0; i < 3; ++i) group.Node(Machine(4));
  TaskRequest gang = Group::Gang(1, 1, 3);
  gang.on_different_nodes = true;
  group.Submit(gang);
  REQUIRE(group.Step() == Ids{1});
  group.scheduler.LoseNode(0, group.now);
  CHECK(group.Step().empty());
  CHECK(group.plan.repairs.empty());
  group.scheduler.LoseNode(1, group.now);
  group.Node(Machine(4));
  CHECK(group.Step().empty());
  REQUIRE(group.plan.repairs.size() == 1);
  group.Node(Machine(4));
  CHECK(group.Step().empty());
  REQUIRE(group.plan.repairs.size() == 1);
  std::vector<NodeIndex> nodes = group.NodesOf(1);
  std::sort(nodes.begin(), nodes.end());
  CHECK(nodes == Nodes{2, 3, 4});
}

TEST_CASE("A gang that is being stopped ends with its node") {
  GroupPolicy policy = WithoutAgeing();
  policy.preempt_by_priority = true;
  Group group(policy);
  group.Node(Machine(2));
  group.Submit(Group::Gang(1, 1, 2));
  REQUIRE(group.Step() == Ids{1});
  TaskRequest urgent = Group::Task(2, 2);
  urgent.priority = 1;
  group.Submit(urgent);
  group.Step();
  REQUIRE(group.plan.evictions.size() == 1);
  CHECK(group.scheduler.LoseNode(0, group.now) == Ids{1});
  CHECK(group.scheduler.running() == 0);
  group.Node(Machine(2));
  CHECK(group.Step() == Ids{2});
}

TEST_CASE("A crippled gang may be stopped, and what is left of it gives its room") {
  GroupPolicy policy = WithoutAgeing();
  policy.preempt_by_priority = true;
  Group group(policy);
  group.Node(Machine(2));
  group.Node(Machine(2));
  group.Submit(Group::Gang(1, 1, 4));
  REQUIRE(group.Step() == Ids{1});
  group.scheduler.LoseNode(0, group.now);
  group.Step();
  TaskRequest urgent = Group::Task(2, 2);
  urgent.priority = 1;
  group.Submit(urgent);
  CHECK(group.Step().empty());
  REQUIRE(group.plan.evictions.size() == 1);
  CHECK(group.plan.evictions[0].victim == 1);
  group.Finish(1);
  CHECK(group.Step() == Ids{2});
}

TEST_CASE("The run time of a gang that lost members teaches nothing") {
  for (const bool loses : {false, true}) {
    Group group;
    group.Node(Machine(1));
    group.Node(Machine(1));
    TaskRequest gang = Group::Gang(1, 1, 2);
    gang.run_time = Duration{0};
    gang.history = 7;
    group.Submit(gang);
    REQUIRE(group.Step() == Ids{1});
    group.now += minutes(2);
    if (loses) group.scheduler.LoseNode(1, group.now);
    group.Finish(1);
    group.scheduler.OpenNode(1);
    // How long a second one is expected to run is when a third may begin.
    gang.id = 2;
    group.Submit(gang);
    REQUIRE(group.Step() == Ids{2});
    const auto third = group.scheduler.Predict(Group::Gang(3, 1, 2), group.now);
    REQUIRE(third.ok());
    if (loses) {
      CHECK(third->start >= group.now + hours(1));
    } else {
      CHECK(third->start < group.now + minutes(10));
    }
  }
}

TEST_CASE("A reservation on a node that is lost is made elsewhere") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::conservative;
  Group group(policy);
  group.Node(Machine(2));
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 2, minutes(10)));
  group.Submit(Group::Task(2, 2, minutes(60)));
  REQUIRE(group.Step() == Ids{1, 2});
  group.Submit(Group::Task(3, 2));
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(3, group.now).expected_start < group.now + minutes(20));
  CHECK(group.scheduler.LoseNode(0, group.now) == Ids{1});
  CHECK(group.Step().empty());
  const Time later = group.scheduler.Explain(3, group.now).expected_start;
  CHECK(later >= group.now + minutes(60));
  CHECK(later < group.now + minutes(120));
  group.scheduler.LoseNode(1, group.now);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(3, group.now).expected_start == kNever);
  group.scheduler.OpenNode(0);
  CHECK(group.Step() == Ids{3});
}

TEST_CASE("A reservation whose node is drained goes, and comes back with the node") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::conservative;
  Group group(policy);
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 2, minutes(10)));
  REQUIRE(group.Step() == Ids{1});
  group.Submit(Group::Task(2, 2));
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(2, group.now).expected_start != kNever);
  group.scheduler.DrainNode(0);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(2, group.now).expected_start == kNever);
  group.Finish(1);
  CHECK(group.Step().empty());
  group.scheduler.OpenNode(0);
  CHECK(group.Step() == Ids{2});
}

TEST_CASE("A claim that its victims do not meet in time is given up, and nobody else is stopped") {
  GroupPolicy policy = WithoutAgeing();
  policy.preempt_by_priority = true;
  policy.claim_time = minutes(5);
  Group group(policy);
  group.Node(Machine(2));
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 2));
  group.Submit(Group::Task(2, 2));
  REQUIRE(group.Step() == Ids{1, 2});
  TaskRequest urgent = Group::Task(3, 2);
  urgent.priority = 1;
  group.Submit(urgent);
  group.Step();
  REQUIRE(group.plan.evictions.size() == 1);
  const TaskId victim = group.plan.evictions[0].victim;
  CHECK(group.plan.next <= group.now + minutes(5));
  CHECK(group.Step(minutes(4)).empty());
  CHECK(group.plan.evictions.empty());
  CHECK(group.scheduler.Explain(3, group.now).rule == WaitReason::Rule::claiming);
  // What was told to stop counts as gone, so that stopping another would be one too many.
  CHECK(group.Step(minutes(1)).empty());
  CHECK(group.plan.evictions.empty());
  CHECK(group.scheduler.Explain(3, group.now).rule != WaitReason::Rule::claiming);
  group.Finish(victim);
  CHECK(group.Step() == Ids{3});
}

TEST_CASE("A gang is not mended with room that is kept for who goes before it") {
  Group group(WithoutAgeing());
  for (int i = 0; i < 3; ++i) group.Node(Machine(2));
  TaskRequest gang = Group::Gang(1, 2, 2);
  group.Submit(gang);
  REQUIRE(group.Step() == Ids{1});
  group.Submit(Group::Task(2, 1, minutes(8)));
  REQUIRE(group.Step() == Ids{2});
  TaskRequest urgent = Group::Task(3, 2);
  urgent.priority = 1;
  group.Submit(urgent);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(3, group.now).expected_start != kNever);
  // A member of the gang needs a place, half of the last node is free, and it would not do.
  group.scheduler.LoseNode(1, group.now);
  CHECK(group.Step(minutes(1)).empty());
  CHECK(group.plan.repairs.empty());
  group.Finish(2);
  CHECK(group.Step() == Ids{3});
  CHECK(group.plan.repairs.empty());
  CHECK(group.Step(minutes(10)).empty());
  CHECK(group.plan.released == Ids{1});
}

TEST_CASE("For a licence whoever holds one is stopped, and nobody else") {
  GroupPolicy policy = WithoutAgeing();
  policy.preempt_by_priority = true;
  Group group(policy);
  NodeCapacity capacity = Machine(8);
  capacity.counted = {2};
  group.Node(capacity);
  static const CountedAmounts one = {1};
  static const CountedAmounts both = {2};
  TaskRequest holder = Group::Task(1, 1);
  holder.demand.counted = &one;
  group.Submit(holder);
  group.Submit(Group::Task(2, 1));
  holder.id = 3;
  group.Submit(holder);
  REQUIRE(group.Step() == Ids{1, 2, 3});
  TaskRequest urgent = Group::Task(4, 1);
  urgent.priority = 1;
  urgent.demand.counted = &both;
  group.now += minutes(1);
  group.Submit(urgent);
  CHECK(group.Step().empty());
  Ids victims;
  for (const Eviction& eviction : group.plan.evictions) victims.push_back(eviction.victim);
  std::sort(victims.begin(), victims.end());
  CHECK(victims == Ids{1, 3});
  // Its room is claimed: another that needs a licence is told who has it.
  holder.id = 5;
  group.Submit(holder);
  group.Finish(1);
  CHECK(group.Step().empty());
  const WaitReason reason = group.scheduler.Explain(5, group.now);
  CHECK(reason.rule == WaitReason::Rule::reserved);
  CHECK(reason.ahead == 4);
  group.Finish(3);
  CHECK(group.Step() == Ids{4});
}

// ---- Machines that differ --------------------------------------------------------------------

TEST_CASE("A task runs on the architectures that it names, and says so when none has room") {
  Group group;
  NodeCapacity arm = Machine(8);
  arm.architecture = 1;
  group.Node(arm);
  const NodeIndex intel = group.Node(Machine(2));
  TaskRequest task = Group::Task(1, 2);
  task.demand.architectures = 1U << 0U;
  group.Submit(task);
  CHECK(group.Step() == Ids{1});
  CHECK(group.NodesOf(1) == Nodes{intel});
  task.id = 2;
  group.Submit(task);
  CHECK(group.Step().empty());
  const WaitReason reason = group.scheduler.Explain(2, group.now);
  CHECK(reason.rule == WaitReason::Rule::shortage);
  CHECK(reason.sentence.starts_with("needs 2 cpu; none is free"));
  CHECK(reason.expected_start >= group.now + hours(1));
  group.scheduler.DrainNode(intel);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(2, group.now).sentence == "finds no node that is open to it");
  task.id = 3;
  task.demand.architectures = 1U << 2U;
  CHECK(group.Refusal(task) ==
        "task 3: even on the empty nodes it finds no node that is open to it");
}

TEST_CASE("Devices of another kind count for nothing, alone and in shares") {
  Group group;
  NodeCapacity mixed = Machine(16, 4);
  mixed.device_kind = {0, 1, 0, 1};
  group.Node(mixed);
  TaskRequest task = Group::Task(1, 1);
  task.demand.device_kinds = 1U << 1U;
  task.demand.whole_devices = 1;
  task.demand.share = 500;
  group.Submit(task);
  REQUIRE(group.Step() == Ids{1});
  const Placement placed = (*group.scheduler.Find(1))[0];
  CHECK(placed.whole_devices + (1U << static_cast<unsigned>(placed.shared_device)) == 0b1010);
  // Half a device of the kind is left, the others are all free.
  task.id = 2;
  group.Submit(task);
  CHECK(group.Step().empty());
  const WaitReason both = group.scheduler.Explain(2, group.now);
  CHECK(both.rule == WaitReason::Rule::shortage);
  CHECK(both.needed == 1500);
  CHECK(both.available == 500);
  CHECK(both.expected_start >= group.now + hours(1));
  task.id = 3;
  task.demand.whole_devices = 0;
  task.demand.share = 600;
  group.Submit(task);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(3, group.now).available == 500);
  task.id = 4;
  task.demand.share = 400;
  group.Submit(task);
  // It would delay nobody: it ends before what waits can begin.
  task.run_time = minutes(1);
  const auto fits = group.scheduler.Predict(
      [&] {
        TaskRequest other = task;
        other.id = 5;
        return other;
      }(),
      group.now);
  REQUIRE(fits.ok());
  CHECK(fits->starts_now);
  task.id = 6;
  task.demand.whole_devices = 2;
  CHECK(
      group.Refusal(task).starts_with("task 6: even on the empty nodes it needs 2.4 cuda.shares"));
}

TEST_CASE("One and a half devices are free in all, and not together") {
  Group group;
  group.Node(Machine(16, 2));
  group.Node(Machine(16, 2));
  TaskRequest task = Group::Task(1, 1);
  task.demand.share = 500;
  for (TaskId id = 1; id <= 4; ++id) {
    task.id = id;
    task.demand.share = id <= 2 ? 500 : 600;
    group.Submit(task);
  }
  REQUIRE(group.Step() == Ids{1, 2, 3, 4});
  task.id = 5;
  task.demand.whole_devices = 1;
  task.demand.share = 600;
  group.Submit(task);
  CHECK(group.Step().empty());
  const WaitReason reason = group.scheduler.Explain(5, group.now);
  CHECK(reason.rule == WaitReason::Rule::fragmentation);
  CHECK(reason.needed == 1600);
  CHECK(reason.sentence.starts_with("needs 1.6 cuda.shares on one node; the most free on any is "));
}

TEST_CASE("A gang that finds no room for all its members says that") {
  Group group;
  group.Node(Machine(4));
  group.Node(Machine(4));
  group.Submit(Group::Task(1, 3));
  REQUIRE(group.Step() == Ids{1});
  TaskRequest gang = Group::Gang(2, 2, 4);
  group.Submit(gang);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(2, group.now).rule != WaitReason::Rule::none);
  group.scheduler.DrainNode(0);
  group.scheduler.DrainNode(1);
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(2, group.now).sentence ==
        "finds no room for all its members at a time");
}

// ---- Numbers at the ends of their ranges -----------------------------------------------------

TEST_CASE("Nodes that nobody can have are refused") {
  Group group;
  const auto refusal = [&](auto&& spoil) {
    NodeCapacity capacity = Machine(4, 1);
    spoil(capacity);
    const Status status = group.scheduler.AddNode("x", capacity).status();
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(group.scheduler.cluster().size() == 0);
    return std::string(Message(status));
  };
  CHECK(refusal([](NodeCapacity& c) { c.cpu = -1; }).starts_with("node 0: found cpu -1"));
  CHECK(refusal([](NodeCapacity& c) { c.memory = -1; }).starts_with("node 0: found cpu 4000 and"));
  CHECK(refusal([](NodeCapacity& c) { c.cpu = INT64_MAX; }).starts_with("node 0: found cpu 9"));
  CHECK(refusal([](NodeCapacity& c) { c.memory = INT64_MAX; }).starts_with("node 0: found cpu 4"));
  CHECK(refusal([](NodeCapacity& c) { c.counted[1] = -1; }).starts_with("node 0: found -1 of a"));
  CHECK(refusal([](NodeCapacity& c) { c.counted[1] = INT64_MAX; }).starts_with("node 0: found 9"));
  CHECK(refusal([](NodeCapacity& c) { c.architecture = 32; }).starts_with("node 0: found arch"));
  CHECK(refusal([](NodeCapacity& c) { c.device_count = 17; }).starts_with("node 0: found 17"));
  for (const uint8_t resource : {uint8_t{0}, uint8_t{kMaxResources}}) {
    const Status status = group.scheduler.AddNode("x", Machine(4), resource).status();
    CHECK(Message(status).find("found device resource") != std::string_view::npos);
  }
  // Losing, draining and opening what is not there does nothing.
  CHECK(group.scheduler.LoseNode(3, group.now).empty());
  group.scheduler.DrainNode(3);
  group.scheduler.OpenNode(3);
}

TEST_CASE("Demands beyond all numbers are refused with a word that can be read") {
  Group group;
  group.Node(Machine(4, 2));
  const auto refusal = [&](auto&& spoil) {
    TaskRequest task = Group::Task(1, 1);
    spoil(task);
    return group.Refusal(task);
  };
  const std::string negative = "task 1: found a negative amount, expected 0 or more";
  CHECK(refusal([](TaskRequest& t) { t.demand.share = -1; }) == negative);
  CHECK(refusal([](TaskRequest& t) { t.demand.whole_devices = -1; }) == negative);
  CHECK(refusal([](TaskRequest& t) { t.demand.memory = -1; }) == negative);
  const std::string many = "task 1: found more than can be counted";
  CHECK(refusal([](TaskRequest& t) { t.demand.memory = INT64_MAX, t.members = 2; }) == many);
  CHECK(refusal([](TaskRequest& t) { t.members = 100'001; }) == many);
  static const CountedAmounts most = {INT64_MAX};
  CHECK(refusal([](TaskRequest& t) { t.demand.counted = &most, t.members = 2; }) ==
        "task 1: found an amount out of range of a counted resource");
  CHECK(refusal([](TaskRequest& t) { t.run_time = Duration{-1}; }) ==
        "task 1: found a negative run time");
  CHECK(refusal([](TaskRequest& t) {
          t.device_resource = kCpu;
        }).starts_with("task 1: found device resource 0, expected "));
  CHECK(refusal([](TaskRequest& t) {
          t.demand.memory = INT64_MAX;
        }).starts_with("task 1: even on the empty nodes it needs 9223372036854775807 mem; "));
  CHECK(refusal([](TaskRequest& t) {
          t.demand.memory = 65 * kGiB;
        }).starts_with("task 1: even on the empty nodes it needs 65g mem; "));
}

TEST_CASE("The most and the least important task, with ageing, are the first and the last") {
  Group group;  // an hour is a step of priority
  group.Node(Machine(1));
  const auto submit = [&](TaskId id, int32_t priority) {
    TaskRequest task = Group::Task(id, 1);
    task.priority = priority;
    group.Submit(task);
  };
  submit(1, INT32_MIN);
  submit(2, 0);
  submit(3, INT32_MAX);
  submit(4, 2'000'000);   // so many hours ago is before all time
  submit(5, -3'000'000);  // and so many from now after it
  submit(6, -2'560'000);  // alone they could be counted
  Ids order;
  for (int i = 0; i < 6; ++i) {
    const Ids started = group.Step();
    REQUIRE(started.size() == 1);
    order.push_back(started[0]);
    group.Finish(started[0]);
  }
  CHECK(order[0] == 3);
  CHECK(order[1] == 4);
  CHECK(order[2] == 2);
}

TEST_CASE("Between tenants, steps of priority count below 0 as above") {
  GroupPolicy policy;
  policy.order = QueueOrder::drf;
  Group group(policy);
  group.Node(Machine(2));
  const TenantIndex a = *group.scheduler.AddTenant(kRootTenant, "a", {});
  const TenantIndex b = *group.scheduler.AddTenant(kRootTenant, "b", {});
  TaskRequest held = Group::Task(1, 1);
  held.tenant = b;
  group.Submit(held);
  REQUIRE(group.Step() == Ids{1});
  // The one with the smaller share is less important.
  TaskRequest lesser = Group::Task(2, 1);
  lesser.tenant = a;
  lesser.priority = -3;
  group.Submit(lesser);
  TaskRequest greater = Group::Task(3, 1);
  greater.tenant = b;
  greater.priority = -2;
  group.Submit(greater);
  CHECK(group.Step() == Ids{3});
}

TEST_CASE("What runs without end is never expected to make room") {
  for (const auto backfill : {Backfill::easy, Backfill::conservative}) {
    GroupPolicy policy = WithoutAgeing();
    policy.backfill = backfill;
    Group group(policy);
    group.Node(Machine(2));
    group.Submit(Group::Task(1, 1, Duration::max()));
    REQUIRE(group.Step() == Ids{1});
    group.Submit(Group::Task(2, 2));
    CHECK(group.Step().empty());
    CHECK(group.scheduler.Explain(2, group.now).expected_start == kNever);
    // Nothing is kept for it, so that whoever fits goes on.
    group.Submit(Group::Task(3, 1, hours(1000)));
    CHECK(group.Step() == Ids{3});
    group.Finish(1);
    group.Finish(3);
    CHECK(group.Step() == Ids{2});
  }
}

TEST_CASE("Behind what will run without end nothing is expected to start") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::conservative;
  Group group(policy);
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 1, minutes(10)));
  REQUIRE(group.Step() == Ids{1});
  group.Submit(Group::Task(2, 2, Duration::max()));
  group.Submit(Group::Task(3, 2));
  CHECK(group.Step().empty());
  CHECK(group.scheduler.Explain(2, group.now).expected_start < group.now + minutes(20));
  CHECK(group.scheduler.Explain(3, group.now).expected_start == kNever);
  // Beside it is room until it starts, not longer.
  group.Submit(Group::Task(4, 1, minutes(5)));
  group.Submit(Group::Task(5, 1, minutes(50)));
  CHECK(group.Step() == Ids{4});
  group.Finish(1);
  group.Finish(4);
  CHECK(group.Step() == Ids{2});
}

TEST_CASE("Quotas that are no numbers are refused") {
  Group group;
  const auto refusal = [&](auto&& spoil) {
    Quota quota;
    spoil(quota);
    const Status status = group.scheduler.AddTenant(kRootTenant, "x", quota).status();
    CHECK(status.code() == StatusCode::kInvalidArgument);
    return std::string(Message(status));
  };
  const std::string weight = "expected more than 0";
  CHECK(refusal([](Quota& q) {
          q.weight = std::numeric_limits<double>::infinity();
        }).ends_with(weight));
  CHECK(refusal([](Quota& q) { q.weight = std::nan(""); }).ends_with(weight));
  CHECK(refusal([](Quota& q) { q.guaranteed[1] = -1; }) ==
        "tenant \"x\": found a negative quota of resource 1");
  CHECK(refusal([](Quota& q) { q.limit[1] = -1; }) ==
        "tenant \"x\": found a negative quota of resource 1");
  CHECK(group.scheduler.tenancy().size() == 1);
}

// ---- Restarts, questions, withdrawals --------------------------------------------------------

TEST_CASE("What ran on a drained node is counted again, and the node stays drained") {
  Group group;
  group.Node(Machine(4));
  group.scheduler.DrainNode(0);
  Placement placement;
  REQUIRE(group.scheduler.Restore(Group::Task(1, 1), {placement}, group.now, group.now).ok());
  group.Submit(Group::Task(2, 1));
  CHECK(group.Step().empty());
  group.scheduler.OpenNode(0);
  CHECK(group.Step() == Ids{2});
}

TEST_CASE("A gang of which one member has no room is not restored in part") {
  Group group;
  group.Node(Machine(4));
  group.Node(Machine(1));
  Placement first;
  Placement second;
  second.node = 1;
  const auto restore = [&](TaskId id, const Placements& members) {
    TaskRequest gang = Group::Gang(id, 2, static_cast<uint32_t>(members.size()));
    return group.scheduler.Restore(gang, members, group.now, group.now).code();
  };
  CHECK(restore(1, {first, second}) == StatusCode::kFailedPrecondition);
  CHECK(group.scheduler.Recount().ok());
  CHECK(group.scheduler.running() == 0);
  second.node = 7;
  CHECK(restore(1, {first, second}) == StatusCode::kFailedPrecondition);
  CHECK(restore(1, {first, first}) == StatusCode::kOk);
  CHECK(restore(1, {first}) == StatusCode::kAlreadyExists);
  TaskRequest wrong = Group::Gang(2, 1, 3);
  CHECK(group.scheduler.Restore(wrong, {first}, group.now, group.now).code() ==
        StatusCode::kInvalidArgument);
  CHECK(group.scheduler.Recount().ok());
}

TEST_CASE("Questions about tasks that do not wait have an answer") {
  Group group(WithoutAgeing());
  group.Node(Machine(2));
  CHECK(group.scheduler.Explain(1, group.now).rule == WaitReason::Rule::none);
  CHECK_FALSE(group.scheduler.TenantOf(1).has_value());
  CHECK_FALSE(group.scheduler.IsWaiting(1));
  group.Submit(Group::Task(1, 2));
  CHECK(group.scheduler.IsWaiting(1));
  const WaitReason next = group.scheduler.Explain(1, group.now);
  CHECK(next.rule == WaitReason::Rule::next);
  CHECK(next.sentence == "can start now");
  CHECK(next.expected_start == group.now);
  REQUIRE(group.Step() == Ids{1});
  CHECK_FALSE(group.scheduler.IsWaiting(1));
  CHECK(group.scheduler.Explain(1, group.now).rule == WaitReason::Rule::none);
  CHECK(group.scheduler.TenantOf(1) == kRootTenant);
}

TEST_CASE("Where nobody may overtake, the first is told that it is next") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::strict;
  Group group(policy);
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 1));
  group.Submit(Group::Task(2, 1));
  CHECK(group.scheduler.Explain(1, group.now).rule == WaitReason::Rule::next);
  const WaitReason second = group.scheduler.Explain(2, group.now);
  CHECK(second.rule == WaitReason::Rule::strict_order);
  CHECK(second.ahead == 1);
}

TEST_CASE("A prediction says what is in the way: time, a quota") {
  Group group;
  group.Node(Machine(4));
  TaskRequest later = Group::Task(1, 1);
  later.not_before = group.now + hours(3);
  auto prediction = group.scheduler.Predict(later, group.now);
  REQUIRE(prediction.ok());
  CHECK_FALSE(prediction->starts_now);
  CHECK(prediction->start == group.now + hours(3));
  CHECK(prediction->reason.rule == WaitReason::Rule::not_yet);
  Quota one;
  one.max_running = 1;
  const TenantIndex tenant = *group.scheduler.AddTenant(kRootTenant, "a", one);
  TaskRequest task = Group::Task(2, 1);
  task.tenant = tenant;
  group.Submit(task);
  REQUIRE(group.Step() == Ids{2});
  task.id = 3;
  prediction = group.scheduler.Predict(task, group.now);
  REQUIRE(prediction.ok());
  CHECK_FALSE(prediction->starts_now);
  CHECK(prediction->reason.rule == WaitReason::Rule::quota);
  CHECK(group.scheduler.waiting() == 0);
  task.id = 2;
  CHECK(group.scheduler.Predict(task, group.now).status().code() == StatusCode::kAlreadyExists);
  WhatIf twice;
  twice.added = {{"x", Machine(1)}, {"x", Machine(1)}};
  CHECK(group.scheduler.Predict(Group::Task(9, 1), twice, group.now).status().code() ==
        StatusCode::kAlreadyExists);
  WhatIf nowhere;
  nowhere.drained = {17};
  CHECK(group.scheduler.Predict(Group::Task(9, 1), nowhere, group.now).status().code() ==
        StatusCode::kNotFound);
}

TEST_CASE("A task that is not due can be withdrawn") {
  Group group;
  group.Node(Machine(1));
  TaskRequest task = Group::Task(1, 1);
  task.not_before = group.now + hours(1);
  group.Submit(task);
  group.Finish(1);
  CHECK(group.scheduler.waiting() == 0);
  CHECK(group.Step(hours(2)).empty());
  CHECK(group.plan.next == kNever);
}

TEST_CASE("Without reservations whoever fits goes, and the large one waits") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::conservative;
  policy.reservation_depth = 0;
  Group group(policy);
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 1));
  REQUIRE(group.Step() == Ids{1});
  group.Submit(Group::Task(2, 2));
  group.Submit(Group::Task(3, 1, hours(1000)));
  CHECK(group.Step() == Ids{3});
}

TEST_CASE("Who waits behind two reservations is told which one keeps it") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::conservative;
  Group group(policy);
  group.Node(Machine(4));
  group.Node(Machine(2));
  group.Submit(Group::Task(1, 3, minutes(10)));
  group.Submit(Group::Task(2, 1, minutes(30)));
  group.Submit(Group::Task(3, 1, minutes(30)));
  REQUIRE(group.Step() == Ids{1, 2, 3});
  group.Submit(Group::Task(4, 4, minutes(60)));
  group.Submit(Group::Task(5, 2, minutes(60)));
  CHECK(group.Step().empty());
  group.Submit(Group::Task(6, 1, hours(10)));
  CHECK(group.Step().empty());
  const WaitReason reason = group.scheduler.Explain(6, group.now);
  CHECK(reason.rule == WaitReason::Rule::reserved);
  CHECK((reason.ahead == 4 || reason.ahead == 5));
  CHECK(reason.until == group.scheduler.Explain(reason.ahead, group.now).expected_start);
}

TEST_CASE("Many nodes that are free at once are filled at once") {
  Group group(WithoutAgeing());
  for (int i = 0; i < 40; ++i) group.Node(Machine(1));
  for (TaskId id = 1; id <= 80; ++id) group.Submit(Group::Task(id, 1));
  CHECK(group.Step().size() == 40);
  for (TaskId id = 1; id <= 40; ++id) group.Finish(id);
  const Ids second = group.Step();
  CHECK(second.size() == 40);
  CHECK(second.front() == 41);
}

TEST_CASE("So many different demands may wait that what was seen of the first is forgotten") {
  GroupPolicy policy = WithoutAgeing();
  policy.backfill = Backfill::any;
  Group group(policy);
  group.Node(Machine(200));
  group.Submit(Group::Task(1, 199, minutes(100)));
  REQUIRE(group.Step() == Ids{1});
  const auto expected = [&](TaskId id) {
    return group.scheduler.Explain(id, group.now).expected_start;
  };
  for (TaskId id = 2; id <= 150; ++id) group.Submit(Group::Task(id, static_cast<int>(id)));
  CHECK(group.Step().empty());
  const Time end = expected(2);
  CHECK(end >= group.now + minutes(100));
  for (TaskId id = 3; id <= 150; ++id) CHECK(expected(id) == end);
  CHECK(expected(2) == end);
}

// ---- Placers of hosts ------------------------------------------------------------------------

TEST_CASE("A placer that chooses what is not free starts nothing and harms nothing") {
  // Always the first node, whether it fits or not.
  class Wrong final : public Placer {
   public:
    std::optional<Placement> Choose(const Cluster& /*cluster*/, const Demand& /*demand*/) override {
      return Placement();
    }
  };
  Group group(WithoutAgeing(), std::make_unique<Wrong>());
  group.Node(Machine(2));
  group.Node(Machine(2));
  group.Submit(Group::Gang(1, 1, 2));
  CHECK(group.Step() == Ids{1});
  group.Submit(Group::Gang(2, 1, 2));
  CHECK(group.Step().empty());
  CHECK(group.scheduler.waiting() == 1);
  // Members that are lost stay so when the place that is chosen for them is closed.
  group.scheduler.LoseNode(0, group.now);
  CHECK(group.Step().empty());
  CHECK(group.plan.repairs.empty());
  CHECK(group.Step(minutes(10)).empty());
  CHECK(group.plan.released == Ids{1});
}

}  // namespace
}  // namespace trackbed
