// Corners of the scheduler that stories come by rarely or never: each is a way on which it once had
// no test.
#include <algorithm>
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

// ---- What is kept for whom --------------------------------------------------------------------

TEST_CASE("Who would delay nobody before the next reservation on the node starts") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 1, hours(2)));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 4));               // after 2
  lab.Submit(SchedulerLab::Task(4, 2, minutes(30)));  // after 1, and over before 3
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start == lab.now + kHour);
  lab.Submit(SchedulerLab::Task(5, 1, minutes(70)));  // beside 4, and over before 3
  CHECK(lab.Step() == Ids{5});
}

TEST_CASE("A reservation that will be over takes nothing of one that starts then") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 2, minutes(30)));
  lab.Submit(SchedulerLab::Task(2, 1));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 2, minutes(20)));  // after 1
  lab.Submit(SchedulerLab::Task(4, 2));               // after 3
  lab.Submit(SchedulerLab::Task(5, 1, hours(5)));     // beside all of them
  CHECK(lab.Step() == Ids{5});
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start ==
        lab.now + RoundUpRunTime(minutes(30)) + RoundUpRunTime(minutes(20)));
}

TEST_CASE("Of a gang's reservation each node keeps its own members") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(4), "n1");
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 1, minutes(1)));
  lab.Submit(SchedulerLab::Task(3, 2));
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  lab.Finish(2);
  TaskRequest gang = SchedulerLab::Task(4, 3);
  gang.members = 2;
  lab.Submit(gang);
  lab.Submit(SchedulerLab::Task(5, 1, hours(5)));
  CHECK(lab.Step() == Ids{5});
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start == lab.now + kHour);
}

TEST_CASE("Members of a gang that start one after the other are beside each other then") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(8), "n0");
  lab.Submit(SchedulerLab::Task(1, 4));
  lab.Submit(SchedulerLab::Task(2, 1, hours(2)));
  lab.Submit(SchedulerLab::Task(3, 3, hours(3)));
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  lab.Submit(SchedulerLab::Task(4, 1, hours(10)));
  TaskRequest gang = SchedulerLab::Task(5, 3);
  gang.members = 2;
  lab.Submit(gang);
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start == lab.now + kHour);
  CHECK(lab.scheduler.Explain(5, lab.now).expected_start == lab.now + RoundUpRunTime(hours(3)));
}

TEST_CASE("Whose reservation went to a more important task holds back nobody") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(4, 1), "n1");
  lab.Submit(SchedulerLab::Task(1, 3));
  TaskRequest task = SchedulerLab::Task(2, 4, hours(2));
  task.demand.whole_devices = 1;
  lab.Submit(task);
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 4));
  CHECK(lab.Step().empty());
  task.id = 4;
  task.priority = 5;
  lab.Submit(task);
  lab.Submit(SchedulerLab::Task(5, 1, hours(5)));  // would delay 3, and not 4
  CHECK(lab.Step() == Ids{5});
}

TEST_CASE("A gang that is apart waits for as many nodes as it has members") {
  for (const bool behind_another : {false, true}) {
    INFO(behind_another);
    SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
    lab.Node(Machine(8), "n0");
    lab.Node(Machine(2), "n1");
    lab.Submit(SchedulerLab::Task(1, 8));
    lab.Submit(SchedulerLab::Task(2, 2, hours(3)));
    REQUIRE(lab.Step() == Ids{1, 2});
    if (behind_another) lab.Submit(SchedulerLab::Task(3, 4, hours(9)));
    TaskRequest gang = SchedulerLab::Task(4, 2);
    gang.members = 2;
    gang.on_different_nodes = true;
    lab.Submit(gang);
    CHECK(lab.Step().empty());
    CHECK(lab.scheduler.Explain(4, lab.now).expected_start == lab.now + RoundUpRunTime(hours(3)));
  }
}

TEST_CASE("Room beside a reservation comes before room on another node that is free later") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(4), "n1");
  lab.Submit(SchedulerLab::Task(1, 4));
  lab.Submit(SchedulerLab::Task(2, 4, hours(3)));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 2));
  lab.Submit(SchedulerLab::Task(4, 2));
  lab.Submit(SchedulerLab::Task(5, 4));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start == lab.now + kHour);
  CHECK(lab.scheduler.Explain(5, lab.now).expected_start == lab.now + 2 * kHour);
}

TEST_CASE("A reservation moves forward only where nobody behind it has to move for that") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(2), "n0");
  lab.Submit(SchedulerLab::Task(1, 1));
  lab.Submit(SchedulerLab::Task(2, 1, hours(2)));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 2));
  lab.Submit(SchedulerLab::Task(4, 1));
  const Time later = lab.now + RoundUpRunTime(hours(2));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(3, lab.now).expected_start == later);
  lab.now += minutes(10);
  lab.Finish(2);
  // Without 4, task 3 could start when 1 has ended.
  CHECK(lab.Step() == Ids{4});
  CHECK(lab.scheduler.Explain(3, lab.now).expected_start == later);
}

TEST_CASE("When what runs takes longer, the time that is won is for who was held back") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 3));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 4));
  CHECK(lab.Step().empty());
  lab.Submit(SchedulerLab::Task(3, 1, minutes(25)));
  CHECK(lab.Step(minutes(50)).empty());
  // It has run for all of its time, and is given half as long again.
  CHECK(lab.Step(minutes(12)) == Ids{3});
}

TEST_CASE("What a placer does not start in time is expected now, and not in the past") {
  class Hesitant final : public Placer {
   public:
    std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
      return hesitates ? std::nullopt : first_fit_.Choose(cluster, demand);
    }
    bool hesitates = false;

   private:
    FirstFit first_fit_;
  };
  auto placer = std::make_unique<Hesitant>();
  Hesitant& hesitant = *placer;
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative), std::move(placer)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 4));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 4));
  CHECK(lab.Step().empty());
  hesitant.hesitates = true;
  lab.now += hours(2);
  lab.Finish(1);
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start == lab.now);
  hesitant.hesitates = false;
  lab.Submit(SchedulerLab::Task(3, 1));
  lab.scheduler.DrainNode(0);
  lab.scheduler.OpenNode(0);
  CHECK(lab.Step(minutes(1)) == Ids{2});
}

TEST_CASE("Members of a gang count beside each other before they run") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(8), "n0");
  lab.Submit(SchedulerLab::Task(1, 5));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 6));
  CHECK(lab.Step().empty());
  TaskRequest gang = SchedulerLab::Task(3, 1, hours(5));
  gang.members = 3;  // now there is room for three, beside 2 for two
  lab.Submit(gang);
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(3, lab.now).rule == WaitReason::Rule::reserved);
  gang.id = 4;
  gang.members = 2;
  lab.Submit(gang);
  CHECK(lab.Step() == Ids{4});
}

TEST_CASE("What was seen of a reservation is not believed of the next, which came at once") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 3));
  REQUIRE(lab.Step() == Ids{1});
  TaskRequest first = SchedulerLab::Task(2, 4);
  first.priority = 1;
  lab.Submit(first);
  lab.Submit(SchedulerLab::Task(3, 1, hours(5)));
  CHECK(lab.Step().empty());
  // It goes, and one comes at the same moment beside which there is room.
  lab.Finish(2);
  first.id = 4;
  first.demand.cpu = 3000;
  lab.Submit(first);
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("Who was held back is tried again although others of its demand find no room") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 3));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 4));
  lab.Submit(SchedulerLab::Task(3, 1, hours(5)));  // would delay 2
  CHECK(lab.Step().empty());
  lab.Finish(2);
  TaskRequest gang = SchedulerLab::Task(4, 1);
  gang.members = 2;
  gang.priority = 1;
  lab.Submit(gang);  // has no room for both, and needs two of the four cores then
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("Who goes before a reservation starts beside others of its demand that it holds back") {
  for (const Duration run_time : {hours(5), hours(6)}) {
    SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
    lab.Node(Machine(4), "n0");
    lab.Submit(SchedulerLab::Task(1, 3));
    REQUIRE(lab.Step() == Ids{1});
    TaskRequest large = SchedulerLab::Task(2, 4);
    large.priority = 5;
    lab.Submit(large);
    lab.Submit(SchedulerLab::Task(3, 1, hours(5)));
    CHECK(lab.Step().empty());
    TaskRequest urgent = SchedulerLab::Task(4, 1, run_time);
    urgent.priority = 9;
    lab.Submit(urgent);
    CHECK(lab.Step() == Ids{4});
  }
}

TEST_CASE("Who was held back and has no room any more gets a reservation in its turn") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(2), "n1");
  lab.Submit(SchedulerLab::Task(1, 2, hours(2)));
  lab.Submit(SchedulerLab::Task(2, 2, minutes(1)));
  TaskRequest small = SchedulerLab::Task(3, 1);
  lab.Submit(small);
  REQUIRE(lab.Step() == Ids{1, 2, 3});  // 3 on n1
  lab.Submit(SchedulerLab::Task(4, 4));
  lab.Finish(2);
  lab.Submit(SchedulerLab::Task(5, 2, hours(5)));  // would delay 4
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(5, lab.now).rule == WaitReason::Rule::reserved);
  lab.Submit(SchedulerLab::Task(6, 2, minutes(30)));  // takes the room, as long as nobody needs it
  CHECK(lab.Step() == Ids{6});
  CHECK(lab.scheduler.Explain(5, lab.now).expected_start == lab.now + kHour);
  lab.Submit(SchedulerLab::Task(7, 1, hours(3)));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(7, lab.now).ahead == 5);
}

TEST_CASE("Until when the room is kept is said of the reservation in the way") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(2), "n0");
  lab.Node(Machine(4), "n1");
  lab.Submit(SchedulerLab::Task(1, 2));            // n0
  lab.Submit(SchedulerLab::Task(2, 3, hours(3)));  // n1
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 2));             // n0
  lab.Submit(SchedulerLab::Task(4, 4));             // n1
  lab.Submit(SchedulerLab::Task(5, 1, hours(10)));  // would delay 4
  CHECK(lab.Step().empty());
  const WaitReason reason = lab.scheduler.Explain(5, lab.now);
  REQUIRE(reason.rule == WaitReason::Rule::reserved);
  CHECK(reason.ahead == 4);
  CHECK(reason.until == lab.now + RoundUpRunTime(hours(3)));
  CHECK(reason.until != lab.scheduler.Explain(3, lab.now).expected_start);
}

TEST_CASE("A reservation that does not hold any more is told later before its time has come") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(1), "n1");
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 2, hours(2)));
  lab.Submit(SchedulerLab::Task(3, 1, hours(9)));
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  const Time began = lab.now;
  lab.Submit(SchedulerLab::Task(4, 4));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start == began + RoundUpRunTime(hours(2)));
  // The shorter one has run for more than half as long again: it is given a quarter more than that.
  lab.now += minutes(96);
  lab.Finish(3);
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start > began + RoundUpRunTime(hours(2)));
  CHECK(lab.scheduler.Explain(4, lab.now).expected_start < began + minutes(140));
}

TEST_CASE("Who ends just when a reservation starts may use what another one leaves") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::conservative)));
  lab.Node(Machine(32, 6), "n0");
  const auto task = [](TaskId id, int16_t devices, Duration run_time = hours(1)) {
    TaskRequest request = SchedulerLab::Task(id, 1, run_time);
    request.demand.whole_devices = devices;
    return request;
  };
  lab.Submit(task(1, 2));
  lab.Submit(task(2, 2, minutes(30)));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(task(3, 3, minutes(20)));  // after 2, with one of those that are free now
  lab.Submit(task(4, 6));               // after 1
  lab.Submit(task(5, 1));
  CHECK(lab.Step() == Ids{5});
  CHECK((*lab.scheduler.Find(5))[0].whole_devices == 1U << 5U);
}

TEST_CASE("Who was held back on one node starts on another that has come free") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(1), "n1");
  lab.Submit(SchedulerLab::Task(1, 3));
  lab.Submit(SchedulerLab::Task(2, 1));
  lab.Submit(SchedulerLab::Task(3, 1));
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  lab.Finish(2);
  lab.Submit(SchedulerLab::Task(4, 4));
  lab.Submit(SchedulerLab::Task(5, 1, hours(5)));
  CHECK(lab.Step().empty());
  lab.Finish(3);
  CHECK(lab.Step(minutes(1)) == Ids{5});
}

TEST_CASE("No room is kept for a task that a quota has come to refuse") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::easy)));
  lab.Node(Machine(4), "n0");
  const TenantIndex tenant = *lab.scheduler.AddTenant(kRootTenant, "guests", {});
  lab.Submit(SchedulerLab::Task(1, 3));
  REQUIRE(lab.Step() == Ids{1});
  TaskRequest large = SchedulerLab::Task(2, 4);
  large.tenant = tenant;
  lab.Submit(large);
  lab.Submit(SchedulerLab::Task(3, 1, hours(5)));
  CHECK(lab.Step().empty());
  Quota small;
  small.limit[kCpu] = 3000;
  REQUIRE(lab.scheduler.SetQuota(tenant, small).ok());
  CHECK(lab.Step() == Ids{3});
  CHECK(lab.scheduler.Explain(2, lab.now).rule == WaitReason::Rule::quota);
}

TEST_CASE("What is said to be stopping is not stopped again, and its room is expected at once") {
  SchedulerLab lab(LabOptions([] {
    GroupPolicy policy = WithBackfill(Backfill::easy);
    policy.preempt_by_priority = true;
    return policy;
  }()));
  lab.Node(Machine(2), "n0");
  CHECK(absl::IsNotFound(lab.scheduler.Stopping(1)));
  lab.Submit(SchedulerLab::Task(1, 2));
  CHECK(absl::IsNotFound(lab.scheduler.Stopping(1)));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 2));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start == lab.now + kHour);
  CHECK(lab.scheduler.Stopping(1).ok());
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start == lab.now);
  TaskRequest urgent = SchedulerLab::Task(3, 2);
  urgent.priority = 5;
  lab.Submit(urgent);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.plan.evictions.empty());
  lab.Finish(1);
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("When a task starts that is not due is said in words too") {
  SchedulerLab lab;
  lab.Node(Machine(2), "n0");
  TaskRequest task = SchedulerLab::Task(1, 2);
  task.not_before = FromNanoseconds(1'700'003'600'000'000'000);
  lab.Submit(task);
  const WaitReason reason = lab.scheduler.Explain(1, lab.now);
  CHECK(reason.sentence == "starts at 2023-11-14T23:13:20Z at the earliest");
  CHECK(reason.until == task.not_before);
  CHECK(reason.expected_start == task.not_before);
}

// ---- Order --------------------------------------------------------------------------------------

TEST_CASE("Each step of priority, and each of ageing, goes before shares") {
  GroupPolicy policy;
  policy.order = QueueOrder::drf;
  policy.ageing = hours(1);
  const auto first_of = [&](int32_t priority_of_idle, Duration waits) {
    SchedulerLab lab(LabOptions(policy));
    lab.Node(Machine(2), "n0");
    const TenantIndex idle = *lab.scheduler.AddTenant(kRootTenant, "idle", {});
    const TenantIndex busy = *lab.scheduler.AddTenant(kRootTenant, "busy", {});
    TaskRequest task = SchedulerLab::Task(1, 1, hours(100));
    task.tenant = busy;
    lab.Submit(task);
    REQUIRE(lab.Step() == Ids{1});
    lab.Submit([&] {
      TaskRequest full = SchedulerLab::Task(9, 1, hours(100));
      full.priority = 20;
      return full;
    }());
    REQUIRE(lab.Step() == Ids{9});
    task.id = 2;
    task.priority = priority_of_idle + 1;
    lab.Submit(task);
    lab.now += waits;
    task.id = 3;
    task.tenant = idle;
    task.priority = priority_of_idle + (waits > Duration{0} ? 1 : 0);
    lab.Submit(task);
    lab.Finish(9);
    const Ids started = lab.Step();
    REQUIRE(started.size() == 1);
    return started[0];
  };
  for (int32_t priority = -3; priority <= 3; ++priority) {
    INFO(priority);
    CHECK(first_of(priority, Duration{0}) == 2);
    CHECK(first_of(priority, hours(1)) == 2);
    CHECK(first_of(priority, minutes(59)) == 3);
  }
}

TEST_CASE("The last comes first among those that are equally important only") {
  GroupPolicy policy = WithBackfill(Backfill::easy);
  policy.order = QueueOrder::lifo;
  SchedulerLab lab(LabOptions(policy));
  lab.Node(Machine(1), "n0");
  for (const TaskId id : {1U, 2U, 3U}) {
    TaskRequest task = SchedulerLab::Task(id, 1);
    task.priority = id < 3 ? 1 : 0;
    lab.Submit(task);
  }
  for (const TaskId id : {2U, 1U, 3U}) {
    CHECK(lab.Step() == Ids{id});
    lab.Finish(id);
  }
}

TEST_CASE("A tenant that would be the next to come is not there") {
  SchedulerLab lab;
  lab.Node(Machine(1), "n0");
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.tenant = 1;
  CHECK(Message(lab.scheduler.Submit(task, lab.now)) == "task 1: there is no tenant 1");
}

TEST_CASE("After a question about other nodes the placer chooses as before") {
  class LastFit final : public Placer {
   public:
    std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
      for (NodeIndex node = static_cast<NodeIndex>(cluster.size()); node-- > 0;) {
        if (cluster.Fits(node, demand)) return cluster.FirstDevices(node, demand);
      }
      return std::nullopt;
    }
  };
  SchedulerLab lab(LabOptions({}, std::make_unique<LastFit>()));
  for (const char* name : {"n0", "n1", "n2"}) lab.Node(Machine(1), name);
  WhatIf what_if;
  what_if.added = {{"n3", Machine(1)}};
  REQUIRE(lab.scheduler.Predict(SchedulerLab::Task(1, 1), what_if, lab.now).ok());
  lab.Submit(SchedulerLab::Task(1, 1));
  CHECK(lab.Step() == Ids{1});
  CHECK((*lab.scheduler.Find(1))[0].node == 2);
  CHECK(lab.Node(Machine(2), "n3") == 3);
  lab.Submit(SchedulerLab::Task(2, 2));
  CHECK(lab.Step() == Ids{2});
}

TEST_CASE("A run time that is given counts, however short it is") {
  SchedulerLab lab;
  lab.Node(Machine(2), "n0");
  lab.Submit(SchedulerLab::Task(1, 2, Duration{1}));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 2));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start ==
        lab.now + RoundUpRunTime(std::chrono::milliseconds(1)));
}

TEST_CASE("A placer is told of each member that comes, once") {
  class Counting final : public Placer {
   public:
    std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
      return first_fit_.Choose(cluster, demand);
    }
    void Observe(const Demand& /*demand*/) override { ++observed; }
    int observed = 0;

   private:
    FirstFit first_fit_;
  };
  auto placer = std::make_unique<Counting>();
  const Counting& counting = *placer;
  SchedulerLab lab(LabOptions({}, std::move(placer)));
  lab.Node(Machine(8), "n0");
  lab.Submit(SchedulerLab::Task(1, 1));
  CHECK(counting.observed == 1);
  TaskRequest gang = SchedulerLab::Task(2, 1);
  gang.members = 3;
  lab.Submit(gang);
  CHECK(counting.observed == 4);
  CHECK(lab.Step() == Ids{1, 2});
  CHECK(counting.observed == 4);
}

TEST_CASE("Shares are of all that the nodes have, and what devices are counted as counts once") {
  SchedulerLab lab;
  NodeCapacity capacity = Machine(8, 2);
  capacity.counted = {9000, 0, 4000};  // the first are parts of the devices
  lab.Node(capacity, "n0");
  capacity = Machine(8);
  capacity.counted = {1000, 0, 2000};
  lab.Node(capacity, "n1");
  static const CountedAmounts licences = {0, 0, 3000};
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.demand.whole_devices = 1;
  lab.Submit(task);
  REQUIRE(lab.Step() == Ids{1});
  const Tenancy& tenancy = lab.scheduler.tenancy();
  CHECK(tenancy.DominantShare(kRootTenant) == Approx(1.0 / 3));  // of 2 devices and 1 licence
  task = SchedulerLab::Task(2, 1);
  task.demand.counted = &licences;
  lab.Submit(task);
  REQUIRE(lab.Step() == Ids{2});
  CHECK(tenancy.used(kRootTenant)[kFirstDeviceResource] == 1000);
  CHECK(tenancy.used(kRootTenant)[kFirstDeviceResource + 2] == 3000);
  CHECK(tenancy.DominantShare(kRootTenant) == Approx(0.5));
  // Devices that are counted as another resource.
  capacity = Machine(8, 1);
  capacity.counted = {0, 5000, 1000};
  REQUIRE(lab.scheduler.AddNode("n2", capacity, kFirstDeviceResource + 1).ok());
  task = SchedulerLab::Task(3, 1);
  task.demand.whole_devices = 1;
  task.device_resource = kFirstDeviceResource + 1;
  Placement place;
  place.node = 2;
  place.whole_devices = 1;
  REQUIRE(lab.scheduler.Restore(task, {place}, lab.now, lab.now).ok());
  CHECK(tenancy.DominantShare(kRootTenant) == Approx(1.0));
  lab.Finish(3);
  task = SchedulerLab::Task(4, 1);
  task.demand.memory = int64_t{64} << 30;
  for (; task.id <= 5; ++task.id) lab.Submit(task);
  REQUIRE(lab.Step() == Ids{4, 5});
  CHECK(tenancy.DominantShare(kRootTenant) == Approx(2.0 / 3));
}

// ---- Who is stopped -----------------------------------------------------------------------------

GroupPolicy Preempting() {
  GroupPolicy policy = WithBackfill(Backfill::easy);
  policy.preempt_by_priority = true;
  return policy;
}

TaskRequest WithPriority(TaskRequest task, int32_t priority) {
  task.priority = priority;
  return task;
}

Ids VictimsOf(const SchedulerLab& lab) {
  Ids victims;
  for (const Eviction& eviction : lab.plan.evictions) victims.push_back(eviction.victim);
  std::sort(victims.begin(), victims.end());
  return victims;
}

TEST_CASE("The least important is stopped, on a node and for a quota") {
  for (const TaskId least : {1U, 2U, 3U}) {
    INFO(least);
    const auto run_three = [&](SchedulerLab& lab, TenantIndex tenant) {
      for (const TaskId id : {1U, 2U, 3U}) {
        TaskRequest task = WithPriority(SchedulerLab::Task(id, 2), id == least ? 0 : 1);
        task.tenant = tenant;
        lab.Submit(task);
        REQUIRE(lab.Step(minutes(1)) == Ids{id});
      }
    };
    SECTION("on a node") {
      SchedulerLab lab(LabOptions(Preempting()));
      lab.Node(Machine(6), "n0");
      run_three(lab, kRootTenant);
      lab.Submit(WithPriority(SchedulerLab::Task(4, 2), 5));
      CHECK(lab.Step(minutes(1)).empty());
      CHECK(VictimsOf(lab) == Ids{least});
    }
    SECTION("for a quota") {
      SchedulerLab lab(LabOptions(Preempting()));
      lab.Node(Machine(16), "n0");
      Quota three;
      three.max_running = 3;
      const TenantIndex tenant = *lab.scheduler.AddTenant(kRootTenant, "three", three);
      run_three(lab, tenant);
      TaskRequest urgent = WithPriority(SchedulerLab::Task(4, 2), 5);
      urgent.tenant = tenant;
      lab.Submit(urgent);
      CHECK(lab.Step(minutes(1)).empty());
      CHECK(VictimsOf(lab) == Ids{least});
    }
  }
}

TEST_CASE("Who need not be stopped does not count as harm when nodes are compared") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(4), "n0");
  lab.Node(Machine(5), "n1");
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 2));
  REQUIRE(lab.Step() == Ids{1, 2});  // on n0, and the oldest
  lab.Submit(SchedulerLab::Task(3, 2));
  lab.Submit(SchedulerLab::Task(4, 2));
  REQUIRE(lab.Step(minutes(1)) == Ids{3, 4});
  lab.Submit(SchedulerLab::Task(5, 1));
  REQUIRE(lab.Step(minutes(1)) == Ids{5});
  lab.Submit(WithPriority(SchedulerLab::Task(6, 4), 5));
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{3, 4});
}

TEST_CASE("Of those on one node only so many are spared as can be") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(5), "n0");
  lab.Submit(SchedulerLab::Task(1, 3));
  REQUIRE(lab.Step() == Ids{1});
  for (const TaskId id : {2U, 3U}) {
    lab.Submit(SchedulerLab::Task(id, 1));
    REQUIRE(lab.Step(minutes(1)) == Ids{id});
  }
  lab.Submit(WithPriority(SchedulerLab::Task(4, 4), 5));
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{1, 3});
  lab.Finish(1);
  lab.Finish(3);
  CHECK(lab.Step() == Ids{4});
}

TEST_CASE("One that does alone is stopped rather than two that go before it") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(4), "n0");
  lab.Submit(SchedulerLab::Task(1, 2));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 1));
  lab.Submit(SchedulerLab::Task(3, 1));
  REQUIRE(lab.Step(minutes(1)) == Ids{2, 3});
  lab.Submit(WithPriority(SchedulerLab::Task(4, 2), 5));
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{1});
  CHECK(lab.scheduler.Explain(4, lab.now).until == lab.now + minutes(10));
}

TEST_CASE("Who was to be stopped for a quota goes on where another is stopped for room") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(1), "n0");
  lab.Node(Machine(2), "n1");
  Quota two;
  two.max_running = 2;
  const TenantIndex tenant = *lab.scheduler.AddTenant(kRootTenant, "two", two);
  const auto submit = [&](TaskId id, int cores, int32_t priority) {
    TaskRequest task = WithPriority(SchedulerLab::Task(id, cores), priority);
    task.tenant = tenant;
    lab.Submit(task);
  };
  submit(1, 1, 0);
  submit(2, 2, 1);
  REQUIRE(lab.Step().size() == 2);
  submit(3, 2, 5);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{2});
}

TEST_CASE("Who waits for a quota stops others of his tenant once they have run long enough") {
  GroupPolicy policy = Preempting();
  policy.minimum_run_time = minutes(10);
  SchedulerLab lab(LabOptions(policy));
  lab.Node(Machine(4), "n0");
  Quota one;
  one.max_running = 1;
  const TenantIndex tenant = *lab.scheduler.AddTenant(kRootTenant, "one", one);
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.tenant = tenant;
  lab.Submit(task);
  REQUIRE(lab.Step() == Ids{1});
  task = WithPriority(task, 5);
  task.id = 2;
  lab.Submit(task);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.plan.evictions.empty());
  CHECK(lab.plan.next == lab.now + minutes(9));
  CHECK(lab.Step(minutes(9)).empty());
  CHECK(VictimsOf(lab) == Ids{1});
}

TEST_CASE("Many that are unimportant are stopped rather than one that is less so") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(2), "n0");
  lab.Node(Machine(2), "n1");
  lab.Submit(WithPriority(SchedulerLab::Task(1, 2), 1));
  lab.Submit(SchedulerLab::Task(2, 1));
  lab.Submit(SchedulerLab::Task(3, 1));
  REQUIRE(lab.Step().size() == 3);
  lab.Submit(WithPriority(SchedulerLab::Task(4, 2), 5));
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{2, 3});
}

TEST_CASE("For a gang that is apart somebody is stopped on each node") {
  SchedulerLab lab(LabOptions(Preempting()));
  for (const char* name : {"n0", "n1", "n2"}) lab.Node(Machine(2), name);
  for (const TaskId id : {1U, 2U, 3U}) lab.Submit(SchedulerLab::Task(id, 2));
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  TaskRequest gang = WithPriority(SchedulerLab::Task(4, 1), 5);
  gang.members = 2;
  gang.on_different_nodes = true;
  lab.Submit(gang);
  CHECK(lab.Step(minutes(1)).empty());
  const Ids victims = VictimsOf(lab);
  REQUIRE(victims.size() == 2);
  for (const TaskId victim : victims) lab.Finish(victim);
  CHECK(lab.Step() == Ids{4});
  CHECK((*lab.scheduler.Find(4))[0].node != (*lab.scheduler.Find(4))[1].node);
}

TEST_CASE("For a quota of running tasks also one that uses no cores is stopped") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(4), "n0");
  Quota one;
  one.max_running = 1;
  const TenantIndex tenant = *lab.scheduler.AddTenant(kRootTenant, "one", one);
  TaskRequest task = SchedulerLab::Task(1, 0);
  task.demand.memory = 1000;
  task.tenant = tenant;
  lab.Submit(task);
  REQUIRE(lab.Step() == Ids{1});
  task = WithPriority(SchedulerLab::Task(2, 1), 5);
  task.tenant = tenant;
  lab.Submit(task);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{1});
}

TEST_CASE("Beside a claim others start on devices that nobody claims") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(32, 3), "n0");
  TaskRequest whole = SchedulerLab::Task(1, 1);
  whole.demand.whole_devices = 1;
  lab.Submit(whole);
  whole = WithPriority(whole, 9);
  whole.id = 2;
  lab.Submit(whole);
  TaskRequest share = WithPriority(SchedulerLab::Task(3, 1), 9);
  share.demand.share = 500;
  lab.Submit(share);
  REQUIRE(lab.Step().size() == 3);
  whole = WithPriority(whole, 5);
  whole.id = 4;
  lab.Submit(whole);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(VictimsOf(lab) == Ids{1});
  share = WithPriority(SchedulerLab::Task(5, 1), 0);
  share.demand.share = 400;
  lab.Submit(share);
  CHECK(lab.Step(minutes(1)) == Ids{5});
}

TEST_CASE("A claim on a node that is lost is made elsewhere at once") {
  SchedulerLab lab(LabOptions(Preempting()));
  lab.Node(Machine(2), "n0");
  lab.Node(Machine(2), "n1");
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 2));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(WithPriority(SchedulerLab::Task(3, 2), 5));
  CHECK(lab.Step(minutes(1)).empty());
  const Ids victims = VictimsOf(lab);
  REQUIRE(victims.size() == 1);
  const NodeIndex node = (*lab.scheduler.Find(victims[0]))[0].node;
  CHECK(lab.scheduler.LoseNode(node, lab.now) == victims);
  CHECK(lab.Step(minutes(1)).empty());
  REQUIRE(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.evictions[0].victim == 3 - victims[0]);
}

TEST_CASE("Of two claims the one on the node that would fit is named") {
  SchedulerLab lab(LabOptions(Preempting()));
  for (const char* name : {"n0", "n1"}) lab.Node(Machine(2), name);
  for (const TaskId id : {1U, 2U, 3U, 4U}) lab.Submit(SchedulerLab::Task(id, 1));
  REQUIRE(lab.Step().size() == 4);
  lab.Submit(WithPriority(SchedulerLab::Task(5, 2), 5));
  lab.Submit(WithPriority(SchedulerLab::Task(6, 2, hours(2)), 5));
  CHECK(lab.Step(minutes(1)).empty());
  REQUIRE(VictimsOf(lab) == Ids{1, 2, 3, 4});
  lab.Finish(4);  // of the second node, which the other waits for
  lab.Submit(SchedulerLab::Task(7, 1));
  CHECK(lab.Step(minutes(1)).empty());
  const WaitReason reason = lab.scheduler.Explain(7, lab.now);
  CHECK(reason.rule == WaitReason::Rule::reserved);
  CHECK(reason.ahead == 6);
}

TEST_CASE("The plan asks for the next soon only while somebody could be stopped then") {
  GroupPolicy policy = Preempting();
  SECTION("who would borrow stops nobody") {
    policy.preempt_by_priority = false;
    policy.reclaim = true;
    SchedulerLab lab(LabOptions(policy));
    lab.Node(Machine(2), "n0");
    lab.Submit(SchedulerLab::Task(1, 2));
    REQUIRE(lab.Step() == Ids{1});
    lab.Submit(WithPriority(SchedulerLab::Task(2, 2), 5));
    CHECK(lab.Step(minutes(1)).empty());
    lab.Node(Machine(1), "n1");
    lab.Submit(SchedulerLab::Task(3, 1));
    REQUIRE(lab.Step(minutes(1)) == Ids{3});
    CHECK(lab.plan.next > lab.now + minutes(50));
  }
  SECTION("nobody waits") {
    policy.minimum_run_time = minutes(30);
    SchedulerLab lab(LabOptions(policy));
    lab.Node(Machine(2), "n0");
    lab.Submit(SchedulerLab::Task(1, 2));
    REQUIRE(lab.Step() == Ids{1});
    CHECK(lab.plan.next == kNever);
  }
  SECTION("what may not be stopped is left when the others have ended") {
    policy.reclaim = true;
    SchedulerLab lab(LabOptions(policy));
    lab.Node(Machine(2), "n0");
    Quota quota;
    quota.guaranteed[kCpu] = 2000;
    const TenantIndex owner = *lab.scheduler.AddTenant(kRootTenant, "owner", quota);
    TaskRequest task = SchedulerLab::Task(1, 1);
    task.preemptible = false;
    lab.Submit(task);
    lab.Submit(SchedulerLab::Task(2, 1));
    REQUIRE(lab.Step() == Ids{1, 2});
    task = WithPriority(SchedulerLab::Task(3, 2), 5);
    task.tenant = owner;
    lab.Finish(2);
    lab.Submit(task);
    CHECK(lab.Step(minutes(1)).empty());
    lab.Submit(SchedulerLab::Task(4, 1, minutes(5)));
    REQUIRE(lab.Step(minutes(1)) == Ids{4});
    lab.Finish(4);
    task = SchedulerLab::Task(5, 1, minutes(5));
    task.preemptible = false;
    lab.Submit(task);
    REQUIRE(lab.Step(minutes(1)) == Ids{5});
    CHECK(lab.plan.next > lab.now + minutes(50));
  }
  SECTION("nobody comes of age who has ended") {
    policy.minimum_run_time = minutes(30);
    SchedulerLab lab(LabOptions(policy));
    lab.Node(Machine(2), "n0");
    TaskRequest task = SchedulerLab::Task(1, 1);
    task.preemptible = false;
    lab.Submit(task);
    lab.Submit(SchedulerLab::Task(2, 1));
    REQUIRE(lab.Step() == Ids{1, 2});
    lab.Submit(WithPriority(SchedulerLab::Task(3, 2), 5));
    CHECK(lab.Step(minutes(1)).empty());
    CHECK(lab.plan.next == lab.now + minutes(29));
    lab.Finish(2);
    CHECK(lab.Step(minutes(1)).empty());
    CHECK(lab.plan.next > lab.now + minutes(50));
  }
  SECTION("a reservation that is gone was looked at") {
    SchedulerLab lab(LabOptions(policy));
    lab.Node(Machine(2), "n0");
    lab.Node(Machine(1), "n1");
    TaskRequest task = WithPriority(SchedulerLab::Task(1, 2), 5);
    task.preemptible = false;
    lab.Submit(task);
    lab.Submit(SchedulerLab::Task(2, 1));
    REQUIRE(lab.Step() == Ids{1, 2});
    task.id = 3;
    lab.Submit(task);
    CHECK(lab.Step(minutes(1)).empty());
    lab.Finish(3);
    task.id = 4;
    lab.Submit(task);
    CHECK(lab.Step(minutes(1)).empty());
    CHECK(lab.Step(minutes(1)).empty());
    CHECK(lab.plan.next > lab.now + minutes(50));
  }
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

TEST_CASE("What is lacking is told of the node that lacks fewer things, not of one with more") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::any)));
  lab.Node(Machine(8), "n0");
  lab.Node(Machine(8), "n1");
  Placement place;
  REQUIRE(lab.scheduler.Restore(SchedulerLab::Task(1, 6), {place}, lab.now, lab.now).ok());
  TaskRequest other = SchedulerLab::Task(2, 3);
  other.demand.memory = 60 * kGiB;
  place.node = 1;
  REQUIRE(lab.scheduler.Restore(other, {place}, lab.now, lab.now).ok());
  TaskRequest task = SchedulerLab::Task(3, 6);
  task.demand.memory = 10 * kGiB;
  lab.Submit(task);
  CHECK(lab.Step().empty());
  const WaitReason reason = lab.scheduler.Explain(3, lab.now);
  CHECK(reason.node == 0);
  CHECK(reason.available == 2000);
}

TEST_CASE("Of a whole device and a part, what is free together is of the right kind") {
  SchedulerLab lab(LabOptions(WithBackfill(Backfill::any)));
  NodeCapacity capacity = Machine(8, 3);
  capacity.device_kind = {1, 1, 0};
  lab.Node(capacity, "n0");
  lab.Node(capacity, "n1");
  const auto take = [&](TaskId id, NodeIndex node, int8_t device, int16_t share) {
    TaskRequest task = SchedulerLab::Task(id, 1);
    task.demand.share = share;
    Placement place;
    place.node = node;
    place.shared_device = device;
    REQUIRE(lab.scheduler.Restore(task, {place}, lab.now, lab.now).ok());
  };
  take(1, 0, 0, 500);
  take(2, 0, 2, 100);
  take(3, 1, 0, 900);
  TaskRequest task = SchedulerLab::Task(4, 1);
  task.demand.whole_devices = 1;
  task.demand.share = 600;
  task.demand.device_kinds = 1U << 1U;
  lab.Submit(task);
  CHECK(lab.Step().empty());
  const WaitReason reason = lab.scheduler.Explain(4, lab.now);
  CHECK(reason.rule == WaitReason::Rule::fragmentation);
  CHECK(reason.node == 0);
  CHECK(reason.needed == 1600);
  CHECK(reason.available == 1500);
  take(5, 0, 1, 400);
  take(6, 1, 1, 100);
  task.id = 7;
  task.demand.share = 1;
  lab.Submit(task);
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(7, lab.now).node == 1);
  CHECK(lab.scheduler.Explain(7, lab.now).available == 900);
}

TEST_CASE("What is refused for its enforcement is looked for on the first node too") {
  SchedulerOptions options = LabOptions(WithBackfill(Backfill::any));
  options.enforcement.share[1] = Enforcement::hardware;
  SchedulerLab lab(std::move(options));
  lab.Node(Machine(8, 1), "n0");
  NodeCapacity capacity = Machine(8, 1);
  capacity.device_kind[0] = 1;
  lab.Node(capacity, "n1");
  TaskRequest task = SchedulerLab::Task(1, 1);
  task.demand.share = 600;
  task.at_least = Enforcement::hardware;
  lab.Submit(task);
  task.id = 2;
  lab.Submit(task);
  REQUIRE(lab.Step() == Ids{1});
  const WaitReason reason = lab.scheduler.Explain(2, lab.now);
  CHECK(reason.rule == WaitReason::Rule::enforcement);
  CHECK(reason.has_node);
  CHECK(reason.node == 0);
  for (const NodeIndex node : {0U, 1U}) lab.scheduler.DrainNode(node);
  const WaitReason closed = lab.scheduler.Explain(2, lab.now);
  CHECK(closed.rule == WaitReason::Rule::shortage);
  CHECK_FALSE(closed.has_node);
  CHECK(closed.sentence == "finds no node that is open to it");
}

}  // namespace
}  // namespace trackbed
