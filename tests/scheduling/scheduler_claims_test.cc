// What becomes of a claim, the room and quota that others were stopped for, when a placer or the
// clock is against it.
#include <memory>
#include <optional>
#include <vector>

#include "scheduling/scheduler_lab.hpp"

namespace trackbed {
namespace {

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

}  // namespace
}  // namespace trackbed
