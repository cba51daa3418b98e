// Corners of the scheduler that stories come by rarely or never: each is a way on which it once had
// no test.
#include <string>
#include <vector>

#include "scheduling/node_room.hpp"
#include "scheduling/scheduler_lab.hpp"
#include "trackbed/scheduling/run_time_history.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using Ids = std::vector<TaskId>;

const Duration kHour = RoundUpRunTime(hours(1));  // as it is expected to take

GroupPolicy WithBackfill(Backfill backfill) {
  GroupPolicy policy;
  policy.ageing = Duration{0};
  policy.backfill = backfill;
  return policy;
}

TEST_CASE("A placer that insists on a node that is closed or not there holds up nobody") {
  // Always the same node.
  class Stubborn final : public Placer {
   public:
    explicit Stubborn(NodeIndex node) : node_(node) {}
    std::optional<Placement> Choose(const Cluster& /*cluster*/, const Demand& /*demand*/) override {
      Placement placement;
      placement.node = node_;
      return placement;
    }

   private:
    NodeIndex node_;
  };
  SECTION("kept for somebody else") {
    SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy), std::make_unique<Stubborn>(0)));
    lab.Node(Machine(4), "n0");
    lab.Submit(SchedulerLab::Task(1, 3));
    REQUIRE(lab.Step() == Ids{1});
    lab.Submit(SchedulerLab::Task(2, 4));
    CHECK(lab.Step().empty());
    // It fits now, and would delay the one before it.
    lab.Submit(SchedulerLab::Task(3, 1, hours(5)));
    lab.Submit(SchedulerLab::Task(4, 1, hours(5)));
    CHECK(lab.Step().empty());
    CHECK(lab.scheduler.Explain(3, lab.now).rule == WaitReason::Rule::reserved);
    lab.Finish(1);
    CHECK(lab.Step() == Ids{2});
  }
  SECTION("not there") {
    SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy), std::make_unique<Stubborn>(7)));
    lab.Node(Machine(4), "n0");
    lab.Submit(SchedulerLab::Task(1, 1));
    CHECK(lab.Step().empty());
    CHECK(lab.scheduler.waiting() == 1);
  }
}

TEST_CASE("Data on several nodes is taken, and none twice") {
  SchedulerLab lab;
  for (const char* name : {"n0", "n1", "n2"}) lab.Node(Machine(1), name);
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.data = {{0, 10}, {2, 5}, {1, 1}};
  lab.Submit(task);
  CHECK(lab.Step() == Ids{1});
  task.id = 2;
  task.data = {{0, 10}, {2, 5}, {0, 1}};
  const Status refused = lab.scheduler.Submit(task, lab.now);
  CHECK(Message(refused) == "task 2: data: node 0 is named twice");
}

TEST_CASE("What the host's order refuses is not restored, and its room stays free") {
  class Refusing final : public Order {
   public:
    StatusOr<int64_t> Rank(const TaskRequest& task, Time /*submitted*/) override {
      if (task.id == 2) return Unavailable("not now");
      return 0;
    }
  };
  SchedulerOptions options = LabOptions();
  options.order = std::make_unique<Refusing>();
  SchedulerLab lab(std::move(options));
  lab.Node(Machine(2), "n0");
  const Placements there(1, Placement());
  CHECK(absl::IsUnavailable(
      lab.scheduler.Restore(SchedulerLab::Task(2, 2), there, lab.now, lab.now)));
  CHECK(lab.scheduler.running() == 0);
  CHECK(lab.scheduler.Recount().ok());
  CHECK(lab.scheduler.Restore(SchedulerLab::Task(1, 2), there, lab.now, lab.now).ok());
}

TEST_CASE("A reservation that nothing can keep any more is given up") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  const NodeIndex node = lab.Node(Machine(2), "n0");
  lab.Submit(SchedulerLab::Task(1, 2));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 2));
  lab.Submit(SchedulerLab::Task(3, 2));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start == lab.now + kHour);
  CHECK(lab.scheduler.Explain(3, lab.now).expected_start == lab.now + 2 * kHour);
  lab.scheduler.DrainNode(node);
  CHECK(lab.Step(minutes(1)).empty());
  for (const TaskId task : {TaskId{2}, TaskId{3}}) {
    CHECK(lab.scheduler.Explain(task, lab.now).expected_start == kNever);
  }
  lab.scheduler.OpenNode(node);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start == lab.now + kHour - minutes(2));
  lab.Finish(1);
  CHECK(lab.Step() == Ids{2});
}

TEST_CASE("In strict order a task that has come due and was not looked at yet can start") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::strict)));
  lab.Node(Machine(2), "n0");
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.not_before = lab.now + minutes(10);
  lab.Submit(task);
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(1, lab.now).rule == WaitReason::Rule::not_yet);
  const WaitReason reason = lab.scheduler.Explain(1, lab.now + minutes(20));
  CHECK(reason.rule == WaitReason::Rule::next);
  CHECK(reason.expected_start == lab.now + minutes(20));
  CHECK(lab.Step(minutes(20)) == Ids{1});
}

TEST_CASE("Of a gang that was mended in part, only what it holds counts as room") {
  GroupPolicy policy = WithBackfill(Backfill::easy);
  policy.preempt_by_priority = true;
  policy.minimum_run_time = Duration{0};
  policy.gang_grace = hours(10);
  SchedulerLab lab(LabOptions(policy));
  lab.Node(Machine(2), "n0");
  TaskRequest gang = SchedulerLab::Task(1, 1);
  gang.members = 2;
  lab.Submit(gang);
  REQUIRE(lab.Step() == Ids{1});
  CHECK(lab.scheduler.LoseNode(0, lab.now).empty());  // both members
  lab.scheduler.OpenNode(0);
  // Something else has come to hold half of it meanwhile, which nobody stops.
  TaskRequest other = SchedulerLab::Task(2, 1);
  other.priority = 9;
  Placement place;
  REQUIRE(lab.scheduler.Restore(other, {place}, lab.now, lab.now).ok());
  lab.Step(minutes(1));
  REQUIRE(lab.plan.repairs.size() == 1);
  // One core would come of stopping the gang: not for who needs two.
  TaskRequest large = SchedulerLab::Task(3, 2);
  large.priority = 5;
  lab.Submit(large);
  lab.Step(minutes(1));
  CHECK(lab.plan.evictions.empty());
  TaskRequest small = SchedulerLab::Task(4, 1);
  small.priority = 5;
  lab.Submit(small);
  lab.Step(minutes(1));
  REQUIRE(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.evictions[0].victim == 1);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{4});
}

TEST_CASE("Who found no room behind others of its demand that are held back starts once there is") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 2));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 4));               // waits for the end of 1
  lab.Submit(SchedulerLab::Task(3, 2, hours(3)));     // would delay 2
  lab.Submit(SchedulerLab::Task(4, 1, minutes(30)));  // does not
  lab.Submit(SchedulerLab::Task(5, 2, minutes(30)));  // would not, and has no room beside 4
  CHECK(lab.Step() == Ids{4});
  CHECK(lab.scheduler.Explain(3, lab.now).rule != WaitReason::Rule::next);
  lab.Finish(4);
  CHECK(lab.Step(minutes(1)) == Ids{5});
  CHECK(lab.Step(minutes(1)).empty());
}

TEST_CASE("What refuses a task for its enforcement passes over nodes that are too small") {
  SchedulerOptions options = LabOptions();
  SchedulerLab lab(std::move(options));
  lab.Node(Machine(1), "small");
  lab.Node(Machine(8, 2), "large");
  TaskRequest task = SchedulerLab::Task(1, 4);
  task.demand.share = 500;
  task.at_least = Enforcement::hardware;
  const Status refused = lab.scheduler.Submit(task, lab.now);
  CHECK(absl::IsFailedPrecondition(refused));
  CHECK(lab.scheduler.waiting() == 0);
}

TEST_CASE("A share lies where least is left, and never on a device that is taken whole") {
  NodeCapacity capacity = Machine(8, 3);
  NodeState room = EmptyRoom(capacity);
  room.device = {400, 700, 1000};
  Demand demand;
  demand.share = 300;
  Placement placement;
  REQUIRE(TakeRoom(capacity, demand, &room, &placement));
  CHECK(placement.shared_device == 0);
  REQUIRE(TakeRoom(capacity, demand, &room, &placement));
  CHECK(placement.shared_device == 1);
  capacity = Machine(8, 2);
  room = EmptyRoom(capacity);
  demand.whole_devices = 1;
  REQUIRE(TakeRoom(capacity, demand, &room, &placement));
  CHECK(placement.shared_device == 0);
  CHECK(placement.whole_devices == 0b10);
  CHECK_FALSE(TakeRoom(capacity, demand, &room, &placement));
}

TEST_CASE("What is reserved for who comes later delays nobody who goes before") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 4));
  REQUIRE(lab.Step() == Ids{1});
  TaskRequest first = SchedulerLab::Task(2, 4);
  first.priority = 5;
  lab.Submit(first);
  lab.Submit(SchedulerLab::Task(3, 4, hours(2)));
  CHECK(lab.Step().empty());
  TaskRequest between = SchedulerLab::Task(4, 4);
  between.priority = 3;
  CHECK(lab.scheduler.Predict(between, lab.now)->start == lab.now + 2 * kHour);
  between.priority = 0;
  CHECK(lab.scheduler.Predict(between, lab.now)->start ==
        lab.now + 2 * kHour + RoundUpRunTime(hours(2)));
}

TEST_CASE("Of two reservations beside each other the one that would be delayed is named") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 3));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 2));
  lab.Submit(SchedulerLab::Task(3, 2, hours(2)));
  lab.Submit(SchedulerLab::Task(4, 1, hours(3)));
  CHECK(lab.Step().empty());
  for (const TaskId task : {TaskId{2}, TaskId{3}}) {
    CHECK(lab.scheduler.Explain(task, lab.now).expected_start == lab.now + kHour);
  }
  const WaitReason reason = lab.scheduler.Explain(4, lab.now);
  CHECK(reason.rule == WaitReason::Rule::reserved);
  CHECK(reason.ahead == 3);
}

TEST_CASE("What would be if a node were drained that is not there cannot be said") {
  SchedulerLab lab;
  lab.Node(Machine(4), "n0");
  WhatIf what_if;
  what_if.drained = {1};
  const auto answer = lab.scheduler.Predict(SchedulerLab::Task(1, 1), what_if, lab.now);
  CHECK(absl::IsNotFound(answer.status()));
}

TEST_CASE("What runs on a node that is opened again may be stopped at once") {
  GroupPolicy policy = WithBackfill(Backfill::easy);
  policy.preempt_by_priority = true;
  policy.minimum_run_time = Duration{0};
  SchedulerLab lab(LabOptions(policy));
  const NodeIndex node = lab.Node(Machine(2), "n0");
  lab.Submit(SchedulerLab::Task(1, 2));
  REQUIRE(lab.Step() == Ids{1});
  lab.scheduler.DrainNode(node);
  lab.Step(minutes(1));
  TaskRequest important = SchedulerLab::Task(2, 2);
  important.priority = 5;
  lab.Submit(important);
  lab.Step(minutes(1));
  lab.Step(minutes(1));
  CHECK(lab.plan.evictions.empty());
  lab.scheduler.OpenNode(node);
  lab.Step(minutes(1));
  REQUIRE(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.evictions[0].victim == 1);
}

TEST_CASE("Who was held back for a reservation that is gone starts at once") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  const NodeIndex other = lab.Node(Machine(4), "n1");
  lab.Submit(SchedulerLab::Task(1, 2));
  REQUIRE(lab.Step() == Ids{1});
  TaskRequest gang = SchedulerLab::Task(2, 4);
  gang.members = 2;
  gang.on_different_nodes = true;
  lab.Submit(gang);
  lab.Submit(SchedulerLab::Task(3, 2, hours(3)));
  CHECK(lab.Step().empty());
  lab.scheduler.DrainNode(other);
  CHECK(lab.Step(minutes(1)) == Ids{3});
}

TEST_CASE("Who cannot have anybody stopped that would help gets a reservation like others") {
  GroupPolicy policy = WithBackfill(Backfill::easy);
  policy.preempt_by_priority = true;
  policy.minimum_run_time = Duration{0};
  SchedulerLab lab(LabOptions(policy));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(1, 1), "n1");
  TaskRequest equal = SchedulerLab::Task(1, 2);
  equal.priority = 5;
  lab.Submit(equal);
  REQUIRE(lab.Step() == Ids{1});
  TaskRequest small = SchedulerLab::Task(2, 1);  // where stopping it is of no use
  small.demand.share = 500;
  lab.Submit(small);
  REQUIRE(lab.Step() == Ids{2});
  TaskRequest large = SchedulerLab::Task(4, 4);
  large.priority = 5;
  lab.Submit(large);
  lab.Submit(SchedulerLab::Task(5, 2, hours(3)));
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.plan.evictions.empty());
  CHECK(lab.scheduler.Explain(5, lab.now).ahead == 4);
}

TEST_CASE("A member that was lost may come back to the node that it was on") {
  SchedulerLab lab;
  lab.Node(Machine(2), "n0");
  const NodeIndex other = lab.Node(Machine(2), "n1");
  TaskRequest gang = SchedulerLab::Task(1, 1);
  gang.members = 2;
  gang.on_different_nodes = true;
  lab.Submit(gang);
  REQUIRE(lab.Step() == Ids{1});
  CHECK(lab.scheduler.LoseNode(other, lab.now).empty());
  lab.Step(minutes(1));
  CHECK(lab.plan.repairs.empty());
  lab.scheduler.OpenNode(other);
  lab.Step(minutes(1));
  REQUIRE(lab.plan.repairs.size() == 1);
  CHECK(lab.plan.repairs[0].placement.node == other);
}

TEST_CASE(
    "What could start now is predicted for now, and for who may run nothing there is no time") {
  SchedulerLab lab;
  lab.Node(Machine(2), "n0");
  const auto answer = lab.scheduler.Predict(SchedulerLab::Task(1, 2), lab.now);
  REQUIRE(answer.ok());
  CHECK(answer->starts_now);
  CHECK(answer->start == lab.now);
  Quota nothing;
  nothing.max_running = 0;
  const auto tenant = lab.scheduler.AddTenant(kRootTenant, "guests", nothing);
  REQUIRE(tenant.ok());
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.tenant = *tenant;
  CHECK(absl::IsResourceExhausted(lab.scheduler.Submit(task, lab.now)));
  CHECK(absl::IsResourceExhausted(lab.scheduler.Predict(task, lab.now).status()));
}

// ---- Words for what is short -----------------------------------------------------------------

constexpr int64_t kGiB = int64_t{1} << 30;

TEST_CASE("Memory that is free in pieces is told by the node with the most") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::any)));
  for (const char* name : {"n0", "n1", "n2"}) lab.Node(Machine(8), name);
  const auto submit = [&](TaskId id, int64_t memory) {
    TaskRequest task = SchedulerLab::Task(id, 1);
    task.demand.memory = memory * kGiB;
    lab.Submit(task);
  };
  submit(1, 40);
  submit(2, 30);
  submit(3, 60);
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  submit(4, 50);
  CHECK(lab.Step().empty());
  const WaitReason pieces = lab.scheduler.Explain(4, lab.now);
  CHECK(pieces.rule == WaitReason::Rule::fragmentation);
  CHECK(pieces.resource == kMemory);
  CHECK(pieces.needed == 50 * kGiB);
  CHECK(pieces.available == 34 * kGiB);
  CHECK(pieces.has_node);
  CHECK(pieces.node == 1);
  CHECK(
      pieces.sentence.starts_with("needs 50g mem on one node; the most free on any is 34g mem on "
                                  "node n1 (62g mem free in all); "
                                  "expected at "));
  submit(5, 63);
  CHECK(lab.Step().empty());
  const WaitReason short_of = lab.scheduler.Explain(5, lab.now);
  CHECK(short_of.rule == WaitReason::Rule::shortage);
  CHECK(short_of.available == 62 * kGiB);
  CHECK(short_of.sentence.starts_with("needs 63g mem; 62g mem free in all; expected at "));
}

TEST_CASE("What is only counted is free in pieces too, and has a number where it has no name") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::any)));
  NodeCapacity capacity = Machine(8, 1);
  capacity.counted = {0, 3000};
  lab.Node(capacity, "n0");
  lab.Node(capacity, "n1");
  static const CountedAmounts two = {0, 2000};
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.demand.counted = &two;
  for (task.id = 1; task.id <= 3; ++task.id) lab.Submit(task);
  REQUIRE(lab.Step() == Ids{1, 2});
  const WaitReason pieces = lab.scheduler.Explain(3, lab.now);
  CHECK(pieces.rule == WaitReason::Rule::fragmentation);
  CHECK(pieces.resource == kFirstDeviceResource + 1);
  CHECK(pieces.available == 1000);
  CHECK(pieces.node == 0);
  CHECK(pieces.sentence.starts_with(
      "needs 2 resource 3 on one node; the most free on any is 1 on node n0 (2 resource 3 free in "
      "all); expected at "));
}

TEST_CASE("The node that comes nearest lacks the fewest things, then least of the same") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::any)));
  for (const char* name : {"n0", "n1", "n2", "n3"}) lab.Node(Machine(8, 1), name);
  // Free afterwards: 1 core and no device, 2 cores and no device, 3 cores, 5 cores and half a
  // device.
  const auto take = [&](TaskId id, NodeIndex node, int cores, int16_t devices, int16_t share) {
    TaskRequest task = SchedulerLab::Task(id, cores);
    task.demand.whole_devices = devices;
    task.demand.share = share;
    Placement place;
    place.node = node;
    place.whole_devices = static_cast<uint16_t>(devices);
    place.shared_device = share > 0 ? 0 : -1;
    REQUIRE(lab.scheduler.Restore(task, {place}, lab.now, lab.now).ok());
  };
  take(1, 0, 7, 1, 0);
  take(2, 1, 6, 1, 0);
  take(3, 2, 5, 0, 0);
  take(4, 3, 3, 0, 500);
  const auto nearest = [&](TaskId id, int cores, int16_t share) {
    TaskRequest task = SchedulerLab::Task(id, cores);
    task.demand.share = share;
    lab.Submit(task);
    CHECK(lab.Step().empty());
    return lab.scheduler.Explain(id, lab.now);
  };
  const WaitReason device = nearest(5, 5, 600);
  CHECK(device.node == 2);  // lacks cores only, as the last one lacks devices only: the first
  CHECK(device.resource == kCpu);
  CHECK(device.available == 3000);
  const WaitReason cores = nearest(6, 6, 400);
  CHECK(cores.node == 3);
  CHECK(cores.resource == kCpu);
  CHECK(cores.available == 5000);
  const WaitReason alone = nearest(7, 8, 0);
  CHECK(alone.node == 3);
  CHECK(alone.rule == WaitReason::Rule::fragmentation);
  CHECK(alone.sentence.starts_with(
      "needs 8 cpu on one node; the most free on any is 5 on node n3 (11 cpu free in all)"));
}

}  // namespace
}  // namespace trackbed
