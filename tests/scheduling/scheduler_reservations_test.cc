// What becomes of room that is kept for somebody, reserved or claimed, when a placer or another
// task is against it.
#include <memory>
#include <optional>
#include <vector>

#include "scheduling/scheduler_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using Ids = std::vector<TaskId>;

// The first node with room; what a claim has kept it accepts only when it is told to.
class Choosy final : public Placer {
 public:
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    return first_fit_.Choose(cluster, demand);
  }
  bool Accepts(const Cluster& /*cluster*/, const Demand& /*demand*/,
               const Placement& placement) override {
    refused.push_back(placement.node);
    return accepts;
  }

  bool accepts = false;
  std::vector<NodeIndex> refused;

 private:
  FirstFit first_fit_;
};

TEST_CASE("Who claims room that the placer then refuses starts where the placer chooses") {
  GroupPolicy policy;
  policy.ageing = Duration{0};
  policy.preempt_by_priority = true;
  auto placer = std::make_unique<Choosy>();
  Choosy& choosy = *placer;
  SchedulerLab lab(LabOptions(policy, std::move(placer)));
  for (const char* name : {"n0", "n1"}) lab.Node(Machine(2), name);
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 2));
  REQUIRE(lab.Step() == Ids{1, 2});
  TaskRequest urgent = SchedulerLab::Task(3, 2);
  urgent.priority = 1;
  lab.Submit(urgent);
  CHECK(lab.Step().empty());
  REQUIRE(lab.plan.evictions.size() == 1);
  const TaskId victim = lab.plan.evictions[0].victim;
  const bool victim_is_first = victim == 1;
  // Both end, so that the placer has a choice, and it refuses what was claimed.
  lab.Finish(1);
  lab.Finish(2);
  CHECK(lab.Step(minutes(1)) == Ids{3});
  CHECK(choosy.refused == std::vector<NodeIndex>{victim_is_first ? 0U : 1U});
  REQUIRE(lab.plan.starts.size() == 1);
  CHECK(lab.plan.starts[0].members[0].node == 0);
}

TEST_CASE("Who gets a reservation before others moves those that counted on the same room") {
  GroupPolicy policy;
  policy.ageing = Duration{0};
  policy.backfill = Backfill::conservative;
  SchedulerLab lab(LabOptions(policy));
  lab.Node(Machine(2), "n0");
  lab.Submit(SchedulerLab::Task(1, 1, minutes(10)));
  REQUIRE(lab.Step() == Ids{1});
  lab.Submit(SchedulerLab::Task(2, 2, Duration::max()));
  CHECK(lab.Step().empty());
  const Time first = lab.scheduler.Explain(2, lab.now).expected_start;
  REQUIRE(first != kNever);
  TaskRequest urgent = SchedulerLab::Task(3, 2, hours(1));
  urgent.priority = 1;
  lab.Submit(urgent);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.scheduler.Explain(3, lab.now).expected_start == first);
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start >= first + hours(1));
  lab.Finish(1);
  CHECK(lab.Step() == Ids{3});
  lab.Finish(3);
  CHECK(lab.Step() == Ids{2});
}

TEST_CASE("Only what runs can be said to be stopping, and nobody else is stopped for its room") {
  GroupPolicy policy;
  policy.ageing = Duration{0};
  policy.preempt_by_priority = true;
  SchedulerLab lab(LabOptions(policy));
  for (const char* name : {"n0", "n1"}) lab.Node(Machine(2), name);
  lab.Submit(SchedulerLab::Task(1, 2));
  lab.Submit(SchedulerLab::Task(2, 2));
  REQUIRE(lab.Step() == Ids{1, 2});
  lab.Submit(SchedulerLab::Task(3, 2));
  CHECK(Message(lab.scheduler.Stopping(3)) == "there is no running task 3");  // it waits
  CHECK(absl::IsNotFound(lab.scheduler.Stopping(4)));
  REQUIRE(lab.scheduler.Stopping(2).ok());
  TaskRequest urgent = SchedulerLab::Task(5, 2);
  urgent.priority = 1;
  lab.Submit(urgent);
  CHECK(lab.Step().empty());
  CHECK(lab.plan.evictions.empty());
  lab.Finish(2);
  CHECK(lab.Step() == Ids{5});
}

}  // namespace
}  // namespace trackbed
