#include "trackbed/scheduling/scheduler.hpp"

#include <string>
#include <vector>

#include "scheduling/scheduler_lab.hpp"
#include "support/catch.hpp"
#include "trackbed/scheduling/placers.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Ids = std::vector<TaskId>;

constexpr int64_t kGiB = int64_t{1} << 30;

// Without ageing.
struct Lab : SchedulerLab {
  explicit Lab(GroupPolicy policy = {}) : Lab(Options(policy)) {}
  explicit Lab(SchedulerOptions options) : SchedulerLab(std::move(options)) {}

  static SchedulerOptions Options(GroupPolicy policy) {
    policy.ageing = Duration{0};
    return LabOptions(policy);
  }

  NodeIndex Node(int cores, int devices, const std::string& name) {
    return SchedulerLab::Node(Machine(cores, devices), name);
  }

  static TaskRequest Task(TaskId id, int cores, int run_minutes = 60) {
    return SchedulerLab::Task(id, cores, minutes(run_minutes));
  }

  std::string_view Why(TaskId id) {
    why = scheduler.Explain(id, now).sentence;
    return why;
  }

  std::string why;
};

GroupPolicy With(Backfill backfill) {
  GroupPolicy policy;
  policy.backfill = backfill;
  return policy;
}

GroupPolicy With(QueueOrder order) {
  GroupPolicy policy;
  policy.order = order;
  return policy;
}

TEST_CASE("Tasks start in the order they came, the more important before") {
  Lab lab;
  lab.Node(2, 0, "n1");
  for (TaskId id = 1; id <= 4; ++id) {
    TaskRequest task = lab.Task(id, 1);
    task.priority = id == 4 ? 1 : 0;
    lab.Submit(task);
  }
  CHECK(lab.Step() == Ids{4, 1});
  lab.Finish(4);
  CHECK(lab.Step() == Ids{2});
  CHECK(lab.scheduler.waiting() == 1);
  CHECK(lab.scheduler.running() == 2);
}

TEST_CASE("Last in, first out, inside a priority") {
  Lab lab(With(QueueOrder::lifo));
  lab.Node(1, 0, "n1");
  for (TaskId id = 1; id <= 3; ++id) lab.Submit(lab.Task(id, 1));
  CHECK(lab.Step() == Ids{3});
  lab.Finish(3);
  CHECK(lab.Step() == Ids{2});
}

// The largest first; or who has the fewest running.
class HostOrder final : public Order {
 public:
  explicit HostOrder(bool by_shares) : by_shares_(by_shares) {}
  StatusOr<int64_t> Rank(const TaskRequest& task, Time /*submitted*/) override {
    if (task.priority < 0) return Unavailable("no rank");
    return by_shares_ ? 0 : -task.demand.cpu;
  }
  bool ByShares() const override { return by_shares_; }
  double Share(const Tenancy& tenancy, TenantIndex tenant, Time /*now*/) override {
    return tenancy.running(tenant);
  }

 private:
  const bool by_shares_;
};

TEST_CASE("A host's own order decides alone, and what it refuses is not taken") {
  SchedulerOptions options = Lab::Options({});
  options.order = std::make_unique<HostOrder>(false);
  options.policy.ageing = hours(1);
  Lab lab(std::move(options));
  lab.Node(8, 0, "n");
  TaskRequest urgent = lab.Task(1, 4);
  urgent.priority = 9;
  lab.Submit(urgent);
  lab.Submit(lab.Task(2, 5));
  lab.Submit(lab.Task(3, 3));
  TaskRequest refused = lab.Task(4, 1);
  refused.priority = -1;
  CHECK(absl::IsUnavailable(lab.scheduler.Submit(refused, lab.now)));
  CHECK(absl::IsUnavailable(lab.scheduler.Predict(refused, lab.now).status()));
  CHECK_FALSE(lab.scheduler.IsWaiting(4));
  CHECK(lab.Step() == Ids{2, 3});
  CHECK(lab.scheduler.Recount().ok());
}

TEST_CASE("A host's own shares decide between tenants, at each level of the tree") {
  SchedulerOptions options = Lab::Options({});
  options.order = std::make_unique<HostOrder>(true);
  Lab lab(std::move(options));
  lab.Node(3, 0, "n");
  const TenantIndex one = *lab.scheduler.AddTenant(kRootTenant, "one", {});
  const TenantIndex two = *lab.scheduler.AddTenant(kRootTenant, "two", {});
  const TenantIndex below = *lab.scheduler.AddTenant(two, "below", {});
  const std::pair<TaskId, TenantIndex> tasks[] = {{1, one}, {2, one}, {3, two}, {4, below}};
  for (const auto& [id, tenant] : tasks) {
    TaskRequest task = lab.Task(id, 1);
    task.tenant = tenant;
    lab.Submit(task);
  }
  CHECK(lab.Step() == Ids{1, 3, 2});
  lab.Finish(3);
  CHECK(lab.Step() == Ids{4});
  CHECK(lab.scheduler.Recount().ok());
}

TEST_CASE("Ageing lets what waits long enough pass what is more important") {
  GroupPolicy policy;
  SchedulerOptions options = Lab::Options(policy);
  options.policy.ageing = hours(1);
  Scheduler scheduler(std::move(options));
  NodeCapacity capacity;
  capacity.cpu = 1000;
  REQUIRE(scheduler.AddNode("n1", capacity).ok());
  const Time start = FromNanoseconds(1'700'000'000'000'000'000);
  TaskRequest old_one;
  old_one.id = 1;
  old_one.demand.cpu = 1000;
  TaskRequest young = old_one;
  young.id = 2;
  young.priority = 3;
  REQUIRE(scheduler.Submit(old_one, start).ok());
  REQUIRE(scheduler.Submit(young, start + hours(2)).ok());
  CHECK(scheduler.Schedule(start + hours(2)).starts[0].task == 2);
  REQUIRE(scheduler.Finish(2, start + hours(4)).ok());
  young.id = 3;
  REQUIRE(scheduler.Submit(young, start + hours(4)).ok());
  CHECK(scheduler.Schedule(start + hours(4)).starts[0].task == 1);
}

TEST_CASE("Dominant resource fairness: the example of the paper") {
  // 9 cpus, 18 GB; A's tasks take 1 cpu and 4 GB, B's 3 cpus and 1 GB: three and two of them run.
  Lab lab(With(QueueOrder::drf));
  NodeCapacity capacity;
  capacity.cpu = 9000;
  capacity.memory = 18 * kGiB;
  REQUIRE(lab.scheduler.AddNode("n1", capacity).ok());
  const TenantIndex a = *lab.scheduler.AddTenant(kRootTenant, "a", {});
  const TenantIndex b = *lab.scheduler.AddTenant(kRootTenant, "b", {});
  for (TaskId id = 0; id < 8; ++id) {
    TaskRequest task = lab.Task(id + 1, id % 2 == 0 ? 1 : 3);
    task.tenant = id % 2 == 0 ? a : b;
    task.demand.memory = (id % 2 == 0 ? 4 : 1) * kGiB;
    lab.Submit(task);
  }
  lab.Step();
  CHECK(lab.scheduler.tenancy().running(a) == 3);
  CHECK(lab.scheduler.tenancy().running(b) == 2);
}

TEST_CASE("Fair share: who used less of late goes first, and the past fades") {
  Lab lab(With(QueueOrder::fair_share));
  lab.Node(1, 0, "n1");
  const TenantIndex a = *lab.scheduler.AddTenant(kRootTenant, "a", {});
  const TenantIndex b = *lab.scheduler.AddTenant(kRootTenant, "b", {});
  TaskRequest first = lab.Task(1, 1);
  first.tenant = a;
  lab.Submit(first);
  CHECK(lab.Step() == Ids{1});
  lab.now += hours(5);
  const double before = lab.scheduler.tenancy().PastUse(a, lab.now);
  CHECK(before > 0);
  CHECK(lab.scheduler.tenancy().PastUse(b, lab.now) == 0);
  TaskRequest more = lab.Task(2, 1);
  more.tenant = a;
  lab.Submit(more);
  more.id = 3;
  more.tenant = b;
  lab.Submit(more);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{3});
  // Half a life of 7 days later, half of it is left.
  const double used = lab.scheduler.tenancy().PastUse(a, lab.now);
  const double later = lab.scheduler.tenancy().PastUse(a, lab.now + hours(24 * 7));
  CHECK(later == Approx(used / 2).epsilon(1e-6));
}

TEST_CASE("Strict order: nobody overtakes") {
  Lab lab(With(Backfill::strict));
  lab.Node(4, 0, "n1");
  lab.Submit(lab.Task(1, 3));
  lab.Submit(lab.Task(2, 4));
  lab.Submit(lab.Task(3, 1));
  CHECK(lab.Step() == Ids{1});
  CHECK(lab.scheduler.Explain(3, lab.now).rule == WaitReason::Rule::strict_order);
  CHECK(lab.scheduler.Explain(3, lab.now).ahead == 2);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{2});
  lab.Finish(2);
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("EASY: who overtakes does not delay the first that waits") {
  Lab lab;
  lab.Node(4, 0, "n1");
  lab.Submit(lab.Task(1, 3, 60));
  lab.Submit(lab.Task(2, 4, 60));   // at the end of task 1
  lab.Submit(lab.Task(3, 1, 120));  // would delay task 2
  lab.Submit(lab.Task(4, 1, 30));
  CHECK(lab.Step() == Ids{1, 4});
  const WaitReason reason = lab.scheduler.Explain(3, lab.now);
  CHECK(reason.rule == WaitReason::Rule::shortage);
  lab.now += minutes(40);
  lab.Finish(4);
  CHECK(lab.Step() == Ids{});
  const WaitReason held = lab.scheduler.Explain(3, lab.now);
  CHECK(held.rule == WaitReason::Rule::reserved);
  CHECK(held.ahead == 2);
  CHECK(held.sentence.find("task 2") != std::string::npos);
  // The reservation has a time.
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start >= lab.now + minutes(20));
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start <= lab.now + minutes(30));
  lab.now += minutes(20);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{2});
}

TEST_CASE("Where anything may overtake, the large one waits on") {
  Lab lab(With(Backfill::any));
  lab.Node(4, 0, "n1");
  lab.Submit(lab.Task(1, 3, 60));
  lab.Submit(lab.Task(2, 4, 60));
  lab.Submit(lab.Task(3, 1, 120));
  CHECK(lab.Step() == Ids{1, 3});
}

TEST_CASE("Conservative: nobody that waits is delayed") {
  // Two nodes of 2 cores. 1 and 2 run for 60 and 100 minutes; 3 needs 2 cores and 4 as well.
  for (const Backfill backfill : {Backfill::easy, Backfill::conservative}) {
    Lab lab(With(backfill));
    lab.Node(2, 0, "n1");
    lab.Node(2, 0, "n2");
    lab.Submit(lab.Task(1, 1, 60));
    TaskRequest second = lab.Task(2, 2, 100);
    lab.Submit(second);
    lab.Submit(lab.Task(3, 2, 60));  // on n1, after 60 minutes
    lab.Submit(lab.Task(4, 2, 60));  // on n2, after 100 minutes
    CHECK(lab.Step() == Ids{1, 2});
    lab.Submit(lab.Task(5, 1, 200));  // would delay 3
    CHECK(lab.Step() == Ids{});
    lab.Submit(lab.Task(6, 1, 55));
    CHECK(lab.Step() == Ids{6});
  }
}

TEST_CASE("A gang starts whole or not at all, and two gangs do not lock each other out") {
  Lab lab;
  lab.Node(4, 0, "n1");
  lab.Node(4, 0, "n2");
  TaskRequest gang = lab.Task(1, 2);
  gang.members = 3;
  lab.Submit(gang);
  gang.id = 2;
  lab.Submit(gang);
  CHECK(lab.Step() == Ids{1});
  CHECK(lab.scheduler.Find(1)->size() == 3);
  CHECK(lab.scheduler.Find(2) == nullptr);
  CHECK(lab.scheduler.Explain(2, lab.now).rule != WaitReason::Rule::none);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{2});
}

TEST_CASE("Members on different nodes") {
  Lab lab;
  lab.Node(4, 0, "n1");
  lab.Node(4, 0, "n2");
  TaskRequest gang = lab.Task(1, 1);
  gang.members = 2;
  gang.on_different_nodes = true;
  lab.Submit(gang);
  REQUIRE(lab.Step() == Ids{1});
  CHECK((*lab.scheduler.Find(1))[0].node != (*lab.scheduler.Find(1))[1].node);
  gang.id = 2;
  gang.members = 3;
  const Status status = lab.scheduler.Submit(gang, lab.now);
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(Message(status) == "task 2: even the empty nodes hold 2 of its 3 members");
}

TEST_CASE("A gang that loses a node keeps its room, and gets a new place or is released whole") {
  Lab lab;
  const NodeIndex first = lab.Node(2, 0, "n1");
  lab.Node(2, 0, "n2");
  TaskRequest gang = lab.Task(1, 2);
  gang.members = 2;
  lab.Submit(gang);
  REQUIRE(lab.Step() == Ids{1});
  CHECK(lab.scheduler.LoseNode(first, lab.now).empty());
  lab.Submit(lab.Task(2, 2));  // a stranger must not take its room
  SECTION("a new node comes in time") {
    CHECK(lab.Step(minutes(1)) == Ids{});
    lab.Node(2, 0, "n3");
    CHECK(lab.Step() == Ids{});
    REQUIRE(lab.plan.repairs.size() == 1);
    CHECK(lab.plan.repairs[0].task == 1);
    CHECK(lab.scheduler.NodeName(lab.plan.repairs[0].placement.node) == "n3");
  }
  SECTION("none comes") {
    CHECK(lab.Step(minutes(1)) == Ids{});
    CHECK(lab.plan.next <= lab.now + minutes(9));
    CHECK(lab.Step(minutes(9)) == Ids{2});
    CHECK(lab.plan.released == Ids{1});
  }
}

TEST_CASE("Quotas hold at every level, and the one that refuses is named") {
  Lab lab;
  lab.Node(16, 0, "n1");
  Quota quota;
  quota.limit[kCpu] = 4000;
  const TenantIndex research = *lab.scheduler.AddTenant(kRootTenant, "research", quota);
  const TenantIndex ada = *lab.scheduler.AddTenant(research, "ada", {});
  Quota one;
  one.max_running = 1;
  const TenantIndex bob = *lab.scheduler.AddTenant(research, "bob", one);
  TaskRequest task = lab.Task(1, 3);
  task.tenant = ada;
  lab.Submit(task);
  task.id = 2;
  lab.Submit(task);
  for (TaskId id = 3; id <= 4; ++id) {
    task = lab.Task(id, 1);
    task.demand.cpu = 500;
    task.tenant = bob;
    lab.Submit(task);
  }
  CHECK(lab.Step() == Ids{1, 3});
  CHECK(lab.Why(2) == "needs 3 cpu; \"research\" may use 4 cpu and uses 3.5 cpu");
  CHECK(lab.Why(4) == "\"research/bob\" may run 1 tasks at a time and runs 1");
  lab.Finish(3);
  CHECK(lab.Step() == Ids{4});
  quota.limit[kCpu] = 8000;
  REQUIRE(lab.scheduler.SetQuota(research, quota).ok());
  CHECK(lab.Step() == Ids{2});
  task = lab.Task(5, 9);
  task.tenant = ada;
  const Status status = lab.scheduler.Submit(task, lab.now);
  CHECK(Message(status) == "task 5: needs 9 cpu; \"research\" may use 8 cpu and uses 0 cpu");
}

TEST_CASE("A reason tells shortage from fragmentation") {
  Lab lab;
  lab.Node(64, 1, "g11");
  lab.Node(64, 1, "g12");
  const auto share = [&](TaskId id, int16_t thousandths) {
    TaskRequest task = lab.Task(id, 1);
    task.demand.share = thousandths;
    return task;
  };
  lab.Submit(share(1, 700));
  lab.Submit(share(2, 600));
  lab.Submit(share(3, 500));
  CHECK(lab.Step() == Ids{1, 2});
  const WaitReason pieces = lab.scheduler.Explain(3, lab.now);
  CHECK(pieces.rule == WaitReason::Rule::fragmentation);
  CHECK(pieces.available == 400);
  CHECK(pieces.sentence.substr(0, pieces.sentence.find(';', 60)) ==
        "needs 0.5 cuda.shares on one device; the most free on any device is 0.4 on node g12 (0.7 "
        "cuda.shares free in all)");
  lab.Submit(share(4, 800));
  lab.Step();
  CHECK(lab.scheduler.Explain(4, lab.now).rule == WaitReason::Rule::shortage);
  TaskRequest large = lab.Task(5, 1);
  large.demand.whole_devices = 2;
  CHECK(Message(lab.scheduler.Submit(large, lab.now)) ==
        "task 5: even on the empty nodes it needs 2 cuda.shares on one node; the most free on any "
        "is 1 on node g11 (2 cuda.shares free in all)");
}

TEST_CASE("The more important stops the less important: as few as do, the youngest first") {
  GroupPolicy policy;
  policy.preempt_by_priority = true;
  Lab lab(policy);
  lab.Node(4, 0, "n1");
  lab.Node(4, 0, "n2");
  for (TaskId id = 1; id <= 4; ++id) {
    lab.Submit(lab.Task(id, 2));
    lab.Step(minutes(1));
  }
  TaskRequest urgent = lab.Task(5, 4);
  urgent.priority = 5;
  lab.Submit(urgent);
  CHECK(lab.Step() == Ids{});
  REQUIRE(lab.plan.evictions.size() == 2);
  CHECK(lab.plan.evictions[0].beneficiary == 5);
  Ids victims = {lab.plan.evictions[0].victim, lab.plan.evictions[1].victim};
  CHECK(lab.scheduler.Explain(5, lab.now).rule == WaitReason::Rule::claiming);
  // What is given up goes to nobody else.
  lab.Submit(lab.Task(6, 2, 1));
  lab.Finish(victims[0]);
  CHECK(lab.Step() == Ids{});
  CHECK(lab.plan.evictions.empty());
  lab.Finish(victims[1]);
  CHECK(lab.Step() == Ids{5});
  // The same priority stops nobody.
  urgent.id = 7;
  urgent.priority = 0;
  lab.Submit(urgent);
  CHECK(lab.Step() == Ids{});
  CHECK(lab.plan.evictions.empty());
}

TEST_CASE("A gang is stopped whole, what may not be stopped is not, and a minimum time is kept") {
  GroupPolicy policy;
  policy.preempt_by_priority = true;
  policy.minimum_run_time = minutes(10);
  Lab lab(policy);
  lab.Node(2, 0, "n1");
  lab.Node(2, 0, "n2");
  TaskRequest gang = lab.Task(1, 1);
  gang.members = 2;
  gang.on_different_nodes = true;
  lab.Submit(gang);
  TaskRequest fixed = lab.Task(2, 1);
  fixed.preemptible = false;
  lab.Submit(fixed);
  fixed.id = 3;
  lab.Submit(fixed);
  REQUIRE(lab.Step() == Ids{1, 2, 3});
  TaskRequest urgent = lab.Task(4, 1);
  urgent.priority = 1;
  lab.Submit(urgent);
  CHECK(lab.Step(minutes(5)) == Ids{});
  CHECK(lab.plan.evictions.empty());
  lab.Finish(2);  // gives room, and the urgent one needs no victim
  CHECK(lab.Step(minutes(6)) == Ids{4});
  urgent.id = 5;
  lab.Submit(urgent);
  CHECK(lab.Step() == Ids{});
  REQUIRE(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.evictions[0].victim == 1);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{5});
}

TEST_CASE("A guarantee is had by taking back what others borrow, and no further") {
  GroupPolicy policy;
  policy.reclaim = true;
  Lab lab(policy);
  lab.Node(8, 0, "n1");
  Quota half;
  half.guaranteed[kCpu] = 4000;
  const TenantIndex a = *lab.scheduler.AddTenant(kRootTenant, "a", half);
  const TenantIndex b = *lab.scheduler.AddTenant(kRootTenant, "b", half);
  TaskId id = 1;
  for (; id <= 8; ++id) {
    TaskRequest task = lab.Task(id, 1);
    task.tenant = a;
    task.priority = 9;
    lab.Submit(task);
  }
  REQUIRE(lab.Step().size() == 8);
  size_t reclaimed = 0;
  for (; id <= 16; ++id) {
    TaskRequest task = lab.Task(id, 1);
    task.tenant = b;
    lab.Submit(task);
    lab.Step(seconds(1));
    for (const Eviction& eviction : lab.plan.evictions) {
      CHECK(eviction.cause == Eviction::Cause::reclaim);
      CHECK(eviction.victim <= 8);
      lab.Finish(eviction.victim);
      ++reclaimed;
    }
    lab.Step();
  }
  CHECK(reclaimed == 4);
  CHECK(lab.scheduler.tenancy().used(a)[kCpu] == 4000);
  CHECK(lab.scheduler.tenancy().used(b)[kCpu] == 4000);
}

TEST_CASE("A domain's limit that siblings fill is shared out again") {
  GroupPolicy policy;
  policy.reclaim = true;
  Lab lab(policy);
  lab.Node(8, 0, "n1");
  Quota domain_quota;
  domain_quota.limit[kCpu] = 4000;
  const TenantIndex domain = *lab.scheduler.AddTenant(kRootTenant, "domain", domain_quota);
  Quota half;
  half.guaranteed[kCpu] = 2000;
  const TenantIndex a = *lab.scheduler.AddTenant(domain, "a", half);
  const TenantIndex b = *lab.scheduler.AddTenant(domain, "b", half);
  for (TaskId id = 1; id <= 4; ++id) {
    TaskRequest task = lab.Task(id, 1);
    task.tenant = a;
    lab.Submit(task);
  }
  REQUIRE(lab.Step().size() == 4);
  TaskRequest task = lab.Task(5, 2);
  task.tenant = b;
  lab.Submit(task);
  lab.Step();
  REQUIRE(lab.plan.evictions.size() == 2);
  const std::vector<Eviction> evictions = lab.plan.evictions;
  lab.Finish(evictions[0].victim);
  CHECK(lab.Step() == Ids{});
  CHECK(lab.plan.evictions.empty());
  lab.Finish(evictions[1].victim);
  CHECK(lab.Step() == Ids{5});
}

TEST_CASE("Prediction is the scheduler's own answer, and changes nothing") {
  Lab lab;
  lab.Node(4, 0, "n1");
  const auto now = lab.scheduler.Predict(lab.Task(1, 4), lab.now);
  REQUIRE(now.ok());
  CHECK(now->starts_now);
  CHECK(now->members.size() == 1);
  lab.Submit(lab.Task(1, 4, 60));
  REQUIRE(lab.Step() == Ids{1});
  const auto later = lab.scheduler.Predict(lab.Task(2, 2), lab.now);
  REQUIRE(later.ok());
  CHECK_FALSE(later->starts_now);
  CHECK(later->start >= lab.now + minutes(60));
  CHECK(later->start <= lab.now + minutes(68));  // expected times are rounded up by an eighth
  CHECK(later->reason.rule == WaitReason::Rule::shortage);
  CHECK(lab.scheduler.Predict(lab.Task(2, 5), lab.now).status().code() ==
        StatusCode::kResourceExhausted);
  CHECK(lab.scheduler.waiting() == 0);
  CHECK_FALSE(lab.scheduler.IsWaiting(2));
}

TEST_CASE("Run times are learned") {
  Lab lab;
  lab.Node(2, 0, "n1");
  TaskRequest task = lab.Task(1, 1);
  task.run_time = Duration{0};
  task.history = 7;
  for (TaskId id = 1; id <= 2; ++id) {
    task.id = id;
    lab.Submit(task);
    REQUIRE(lab.Step() == Ids{id});
    lab.now += minutes(10);
    lab.Finish(id);
  }
  lab.Submit(lab.Task(3, 1, 20));
  lab.Submit(lab.Task(4, 2, 60));  // waits for 3
  REQUIRE(lab.Step() == Ids{3});
  task.id = 5;
  lab.Submit(task);  // 10 minutes, as ever: it may overtake
  CHECK(lab.Step() == Ids{5});
}

TEST_CASE("A task that is not due waits, and the plan says when to look again") {
  Lab lab;
  lab.Node(1, 0, "n1");
  TaskRequest task = lab.Task(1, 1);
  task.not_before = lab.now + minutes(5);
  lab.Submit(task);
  CHECK(lab.Step() == Ids{});
  CHECK(lab.plan.next == lab.now + minutes(5));
  CHECK(lab.scheduler.Explain(1, lab.now).rule == WaitReason::Rule::not_yet);
  CHECK(lab.Step(minutes(5)) == Ids{1});
}

TEST_CASE("A drained node gets nothing new; a lost one ends what ran there") {
  Lab lab;
  const NodeIndex node = lab.Node(2, 0, "n1");
  lab.Submit(lab.Task(1, 1));
  REQUIRE(lab.Step() == Ids{1});
  lab.scheduler.DrainNode(node);
  lab.Submit(lab.Task(2, 1));
  CHECK(lab.Step() == Ids{});
  lab.scheduler.OpenNode(node);
  CHECK(lab.Step() == Ids{2});
  CHECK(lab.scheduler.LoseNode(node, lab.now) == Ids{1, 2});
  CHECK(lab.scheduler.running() == 0);
}

TEST_CASE("What ran before a restart is counted again, and no room twice") {
  Lab lab;
  lab.Node(2, 1, "n1");
  TaskRequest task = lab.Task(1, 1);
  task.demand.share = 600;
  Placement placement;
  placement.shared_device = 0;
  REQUIRE(lab.scheduler.Restore(task, {placement}, lab.now - hours(1), lab.now).ok());
  CHECK(lab.scheduler.running() == 1);
  task.id = 2;
  CHECK(lab.scheduler.Restore(task, {placement}, lab.now, lab.now).code() ==
        StatusCode::kFailedPrecondition);
  CHECK(lab.scheduler.Recount().ok());
  CHECK(lab.scheduler.running() == 1);
}

TEST_CASE("Requests that make no sense are refused and change nothing") {
  Lab lab;
  lab.Node(2, 1, "n1");
  const auto refused = [&](auto&& spoil, const char* expected) {
    TaskRequest task = lab.Task(1, 1);
    spoil(task);
    const Status status = lab.scheduler.Submit(task, lab.now);
    CHECK(Message(status) == expected);
    CHECK(lab.scheduler.waiting() == 0);
  };
  refused([](TaskRequest& t) { t.demand.cpu = -1; },
          "task 1: found a negative amount, expected 0 or more");
  refused([](TaskRequest& t) { t.demand.share = 1000; },
          "task 1: found a share of 1000 thousandths, expected 0 to 999 and whole devices apart");
  refused([](TaskRequest& t) { t.members = 0; }, "task 1: found 0 members, expected 1 to 100000");
  refused([](TaskRequest& t) { t.tenant = 9; }, "task 1: there is no tenant 9");
  refused([](TaskRequest& t) { t.demand.cpu = INT64_MAX, t.members = 2; },
          "task 1: found more than can be counted");
  CHECK(lab.scheduler.Finish(1, lab.now).code() == StatusCode::kNotFound);
  GroupPolicy policy;
  policy.kinds = 1U << static_cast<unsigned>(WorkKind::inference);
  Lab picky(policy);
  picky.Node(1, 0, "n1");
  CHECK(Message(picky.scheduler.Submit(picky.Task(1, 1), picky.now)) ==
        "task 1: the resource group takes no batch work");
  Quota quota;
  quota.weight = 0;
  CHECK(Message(lab.scheduler.AddTenant(kRootTenant, "x", quota).status()) ==
        "tenant \"x\": found weight 0, expected more than 0");
}

TEST_CASE("Who was held back for a task goes on when that task is withdrawn") {
  Lab lab(With(Backfill::easy));
  lab.Node(2, 0, "n1");
  lab.Submit(lab.Task(1, 1));
  CHECK(lab.Step() == Ids{1});
  lab.Submit(lab.Task(2, 2));
  lab.Submit(lab.Task(3, 1, 600));
  CHECK(lab.Step().empty());
  lab.Finish(2);
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("The next decision is due later than now, also while tasks are stopping") {
  GroupPolicy policy = With(Backfill::easy);
  policy.preempt_by_priority = true;
  Lab lab(policy);
  lab.Node(2, 0, "n1");
  lab.Submit(lab.Task(1, 2));
  CHECK(lab.Step() == Ids{1});
  TaskRequest urgent = lab.Task(2, 1);
  urgent.priority = 1;
  lab.Submit(urgent);
  lab.Submit(lab.Task(3, 2));
  CHECK(lab.Step().empty());
  CHECK(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.next > lab.now);
  CHECK(lab.Step(seconds(5)).empty());
  CHECK(lab.plan.next > lab.now);
}

TEST_CASE("A reservation follows when a more important task takes its room") {
  Lab lab(With(Backfill::easy));
  lab.Node(2, 0, "n1");
  lab.Submit(lab.Task(1, 1, 60));
  CHECK(lab.Step() == Ids{1});
  lab.Submit(lab.Task(2, 2));
  CHECK(lab.Step().empty());
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start < lab.now + minutes(120));
  TaskRequest important = lab.Task(3, 1, 120);
  important.priority = 1;
  lab.Submit(important);
  CHECK(lab.Step() == Ids{3});
  CHECK(lab.scheduler.Explain(2, lab.now).expected_start >= lab.now + minutes(120));
}

TEST_CASE("Room is made once the minimum run time has passed, without anything else happening") {
  GroupPolicy policy;
  policy.preempt_by_priority = true;
  policy.minimum_run_time = minutes(10);
  Lab lab(policy);
  lab.Node(2, 0, "n1");
  lab.Submit(lab.Task(1, 2));
  CHECK(lab.Step() == Ids{1});
  TaskRequest urgent = lab.Task(2, 2);
  urgent.priority = 1;
  lab.Submit(urgent);
  CHECK(lab.Step(minutes(1)).empty());
  CHECK(lab.plan.evictions.empty());
  CHECK(lab.plan.next == lab.now + minutes(9));
  CHECK(lab.Step(minutes(9)).empty());
  REQUIRE(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.evictions[0].victim == 1);
}

TEST_CASE("The plan asks for the next soon only where that may stop what has just started") {
  GroupPolicy policy;
  policy.preempt_by_priority = true;
  SECTION("what has started may be stopped for who waits") {
    Lab lab(policy);
    lab.Node(2, 0, "n1");
    TaskRequest urgent = lab.Task(1, 2);
    urgent.priority = 1;
    urgent.preemptible = false;
    lab.Submit(urgent);
    CHECK(lab.Step() == Ids{1});
    urgent.id = 2;
    lab.Submit(urgent);
    CHECK(lab.Step().empty());
    lab.Node(1, 0, "n2");
    lab.Submit(lab.Task(3, 1));
    CHECK(lab.Step() == Ids{3});
    CHECK(lab.plan.next == lab.now + seconds(1));
    CHECK(lab.Step(seconds(1)).empty());  // and it does no good: n2 is too small for 2
    CHECK(lab.plan.evictions.empty());
    CHECK(lab.plan.next > lab.now + minutes(1));
  }
  SECTION("nobody waits who is more important") {
    Lab lab(policy);
    lab.Node(2, 0, "n1");
    lab.Submit(lab.Task(1, 2));
    lab.Submit(lab.Task(2, 2));
    CHECK(lab.Step() == Ids{1});
    CHECK(lab.plan.next > lab.now + minutes(59));
  }
  SECTION("what has started is too young") {
    policy.minimum_run_time = minutes(10);
    Lab lab(policy);
    lab.Node(2, 0, "n1");
    TaskRequest urgent = lab.Task(1, 2);
    urgent.priority = 1;
    urgent.preemptible = false;
    lab.Submit(urgent);
    CHECK(lab.Step() == Ids{1});
    urgent.id = 2;
    lab.Submit(urgent);
    lab.Node(1, 0, "n2");
    lab.Submit(lab.Task(3, 1));
    CHECK(lab.Step() == Ids{3});
    CHECK(lab.plan.next == lab.now + minutes(10));
  }
}

TEST_CASE("Room is made as soon as what could not be stopped has ended") {
  GroupPolicy policy = With(Backfill::any);
  policy.preempt_by_priority = true;
  Lab lab(policy);
  lab.Node(8, 0, "n1");
  TaskRequest first = lab.Task(1, 4);
  first.priority = 6;
  lab.Submit(first);
  lab.Submit(lab.Task(2, 4));
  CHECK(lab.Step() == Ids{1, 2});
  TaskRequest urgent = lab.Task(3, 8);
  urgent.priority = 5;
  lab.Submit(urgent);
  lab.Submit(lab.Task(4, 4));
  CHECK(lab.Step().empty());
  CHECK(lab.plan.evictions.empty());
  lab.Finish(1);
  CHECK(lab.Step().empty());  // what came free is kept for task 3
  REQUIRE(lab.plan.evictions.size() == 1);
  CHECK(lab.plan.evictions[0].victim == 2);
  lab.Finish(2);
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("Counted resources are waited for, looked ahead for and counted in quotas") {
  Lab lab;
  NodeCapacity capacity;
  capacity.cpu = 8000;
  capacity.counted = {0, 2};
  REQUIRE(lab.scheduler.AddNode("a", capacity).ok());
  const CountedAmounts licence = {0, 1};
  const CountedAmounts three = {0, 3};
  TaskRequest task = lab.Task(1, 1, 60);
  task.demand.counted = &licence;
  lab.Submit(task);
  for (const TaskId id : {2U, 3U}) {
    task.id = id;
    lab.Submit(task);
  }
  CHECK(lab.Step() == Ids{1, 2});
  const WaitReason waits = lab.scheduler.Explain(3, lab.now);
  CHECK(waits.rule == WaitReason::Rule::shortage);
  CHECK(waits.resource == kFirstDeviceResource + 1);
  CHECK(waits.needed == 1);
  CHECK(waits.available == 0);
  CHECK(waits.expected_start >= lab.now + minutes(60));
  // Room is kept for it from then on, but processors are free until it starts and beside it.
  lab.Submit(lab.Task(4, 4, 600));
  CHECK(lab.Step() == Ids{4});
  task.id = 5;
  task.demand.counted = &three;
  CHECK(lab.scheduler.Submit(task, lab.now).code() == StatusCode::kResourceExhausted);
  const CountedAmounts negative = {-1};
  task.demand.counted = &negative;
  CHECK(lab.scheduler.Submit(task, lab.now).code() == StatusCode::kInvalidArgument);
  Quota quota;
  quota.limit[kFirstDeviceResource + 1] = 2;
  REQUIRE(lab.scheduler.SetQuota(kRootTenant, quota).ok());
  CHECK(lab.scheduler.Explain(3, lab.now).rule == WaitReason::Rule::quota);
  lab.Finish(1);
  CHECK(lab.Step() == Ids{3});
}

TEST_CASE("A plan of one start leaves the others to the next") {
  Lab lab;
  lab.Node(2, 0, "a");
  for (const TaskId id : {1U, 2U, 3U}) lab.Submit(lab.Task(id, 1));
  const auto next = [&] {
    Ids ids;
    for (const Start& start : lab.scheduler.Schedule(lab.now, 1).starts) ids.push_back(start.task);
    return ids;
  };
  CHECK(next() == Ids{1});
  // Who comes meanwhile and is more important goes before those behind.
  TaskRequest urgent = lab.Task(4, 1);
  urgent.priority = 1;
  lab.Submit(urgent);
  CHECK(next() == Ids{4});
  CHECK(next().empty());
}

// Kind 0: partitions, which the hardware keeps apart, whole or in parts. Kind 1: shared by advice.
struct EnforcementLab {
  EnforcementLab() : scheduler(Options()) {
    for (const uint8_t kind : {uint8_t{0}, uint8_t{1}}) {
      NodeCapacity capacity;
      capacity.cpu = 8000;
      capacity.device_count = 2;
      capacity.device_kind.fill(kind);
      REQUIRE(scheduler.AddNode(kind == 0 ? "walls" : "advice", capacity).ok());
    }
  }
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.placer = std::make_unique<FirstFit>();
    options.resources = {"cpu", "mem", "cuda.shares", "licence"};
    options.enforcement.share[0] = Enforcement::hardware;
    return options;
  }
  static TaskRequest Share(TaskId id, int16_t share, Enforcement at_least) {
    TaskRequest task;
    task.id = id;
    task.demand.share = share;
    task.run_time = hours(1);
    task.at_least = at_least;
    return task;
  }
  Time now = FromNanoseconds(1'700'000'000'000'000'000);
  Scheduler scheduler;
};

TEST_CASE("A plan says how what it gives is enforced") {
  EnforcementLab lab;
  REQUIRE(lab.scheduler.Submit(lab.Share(1, 900, Enforcement::accounting), lab.now).ok());
  REQUIRE(lab.scheduler.Submit(lab.Share(2, 900, Enforcement::accounting), lab.now).ok());
  REQUIRE(lab.scheduler.Submit(lab.Share(3, 900, Enforcement::accounting), lab.now).ok());
  TaskRequest task = lab.Share(4, 0, Enforcement::hardware);
  task.demand.cpu = 1000;
  REQUIRE(lab.scheduler.Submit(task, lab.now).ok());  // of cores and memory nothing is refused
  const Plan plan = lab.scheduler.Schedule(lab.now);
  REQUIRE(plan.starts.size() == 4);
  CHECK(plan.starts[0].enforcement == Enforcement::hardware);
  CHECK(plan.starts[2].members[0].node == 1);
  CHECK(plan.starts[2].enforcement == Enforcement::advisory);
  CHECK_FALSE(plan.starts[3].enforcement.has_value());
  auto answer = lab.scheduler.Predict(lab.Share(5, 100, Enforcement::accounting), lab.now);
  REQUIRE(answer.ok());
  CHECK(answer->enforcement == Enforcement::hardware);
  // Two members, of which one finds room beside advice only: the weakest counts.
  task = lab.Share(5, 100, Enforcement::accounting);
  task.members = 3;
  answer = lab.scheduler.Predict(task, lab.now);
  REQUIRE(answer.ok());
  CHECK(answer->enforcement == Enforcement::advisory);
  CHECK(lab.scheduler.Recount().ok());
}

TEST_CASE("A request may refuse what is enforced more weakly") {
  EnforcementLab lab;
  REQUIRE(lab.scheduler.Submit(lab.Share(1, 900, Enforcement::hardware), lab.now).ok());
  REQUIRE(lab.scheduler.Submit(lab.Share(2, 900, Enforcement::hardware), lab.now).ok());
  REQUIRE(lab.scheduler.Submit(lab.Share(3, 900, Enforcement::hardware), lab.now).ok());
  const Plan plan = lab.scheduler.Schedule(lab.now);
  REQUIRE(plan.starts.size() == 2);
  CHECK(plan.starts[1].members[0].node == 0);
  CHECK(plan.starts[1].enforcement == Enforcement::hardware);

  SECTION("it waits for the others, and says so") {
    const WaitReason reason = lab.scheduler.Explain(3, lab.now);
    CHECK(reason.rule == WaitReason::Rule::enforcement);
    CHECK(reason.node == 1);
    CHECK(reason.expected_start > lab.now);
    CHECK(
        reason.sentence.starts_with("asks for hardware enforcement; what is free of devices, on "
                                    "node advice first, has advisory; expected at "));
    const auto answer = lab.scheduler.Predict(lab.Share(4, 900, Enforcement::hardware), lab.now);
    REQUIRE(answer.ok());
    CHECK_FALSE(answer->starts_now);
    CHECK(answer->reason.rule == WaitReason::Rule::enforcement);
    REQUIRE(lab.scheduler.Finish(1, lab.now).ok());
    CHECK(lab.scheduler.Schedule(lab.now).starts.size() == 1);
    CHECK(lab.scheduler.Recount().ok());
  }
  SECTION("where the others are full too, it is short like anybody") {
    for (TaskId id = 4; id < 6; ++id) {
      REQUIRE(lab.scheduler.Submit(lab.Share(id, 900, Enforcement::advisory), lab.now).ok());
    }
    CHECK(lab.scheduler.Schedule(lab.now).starts.size() == 2);
    CHECK(lab.scheduler.Explain(3, lab.now).rule == WaitReason::Rule::shortage);
  }
  SECTION("what could never be had is refused") {
    SchedulerOptions options;
    options.placer = std::make_unique<FirstFit>();
    Scheduler weak(std::move(options));
    NodeCapacity capacity;
    capacity.device_count = 1;
    capacity.counted = {0, 1};
    REQUIRE(weak.AddNode("n", capacity).ok());
    const Status refused = weak.Submit(lab.Share(1, 500, Enforcement::hardware), lab.now);
    CHECK(refused.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(refused) ==
          "task 1: found advisory enforcement of what it would get, expected hardware");
    CHECK(weak.Submit(lab.Share(1, 500, Enforcement::advisory), lab.now).ok());
    TaskRequest task = lab.Share(2, 0, Enforcement::advisory);
    const CountedAmounts licence = {0, 1};
    task.demand.counted = &licence;
    CHECK(weak.Submit(task, lab.now).code() == StatusCode::kFailedPrecondition);
    CHECK(weak.waiting() == 1);
    // What there is none of is short, not weak.
    task = lab.Share(2, 500, Enforcement::hardware);
    task.demand.whole_devices = 4;
    CHECK(weak.Submit(task, lab.now).code() == StatusCode::kResourceExhausted);
  }
  SECTION("nor is what it refuses counted as what it runs on") {
    Scheduler restarted(EnforcementLab::Options());
    NodeCapacity capacity;
    capacity.device_count = 1;
    capacity.device_kind.fill(1);
    REQUIRE(restarted.AddNode("advice", capacity).ok());
    CHECK(restarted.Restore(lab.Share(1, 500, Enforcement::hardware), {{0, 0, 0}}, lab.now, lab.now)
              .code() == StatusCode::kFailedPrecondition);
    CHECK(restarted.Restore(lab.Share(1, 500, Enforcement::advisory), {{0, 0, 0}}, lab.now, lab.now)
              .ok());
    CHECK(restarted.Recount().ok());
  }
}

TEST_CASE("Data never decides whether a task starts, and holds up nobody") {
  SchedulerOptions options;
  options.policy.ageing = Duration{0};
  options.placer = *MakePlacer("locality-aware");
  Scheduler scheduler(std::move(options));
  NodeCapacity capacity;
  capacity.cpu = 2000;
  for (const char* name : {"a", "b"}) REQUIRE(scheduler.AddNode(name, capacity).ok());
  const Time now = FromNanoseconds(1'700'000'000'000'000'000);
  TaskRequest task;
  task.demand.cpu = 1000;
  task.data = {{1, 100}};
  for (task.id = 1; task.id <= 6; ++task.id) REQUIRE(scheduler.Submit(task, now).ok());
  const Plan plan = scheduler.Schedule(now);
  REQUIRE(plan.starts.size() == 4);  // in their order: first where the data is, then where room is
  for (size_t i = 0; i < 4; ++i) {
    CHECK(plan.starts[i].task == i + 1);
    CHECK(plan.starts[i].members[0].node == (i < 2 ? 1 : 0));
  }
  // The next one goes on where there is room, data or not.
  REQUIRE(scheduler.Finish(3, now).ok());
  const Plan next = scheduler.Schedule(now);
  REQUIRE(next.starts.size() == 1);
  CHECK(next.starts[0].task == 5);
  CHECK(next.starts[0].members[0].node == 0);
  // A gang too has its members there as far as they fit.
  REQUIRE(scheduler.Finish(1, now).ok());
  REQUIRE(scheduler.Finish(6, now).ok());
  task.id = 7;
  task.members = 2;
  task.data = {{1, 5}};
  REQUIRE(scheduler.Submit(task, now).ok());
  REQUIRE(scheduler.Finish(4, now).ok());
  const Plan gang = scheduler.Schedule(now);
  REQUIRE(gang.starts.size() == 1);
  CHECK(gang.starts[0].members[0].node == 1);
  CHECK(gang.starts[0].members[1].node == 0);
  CHECK(scheduler.Recount().ok());

  const auto refused = [&](std::vector<LocalData> data) {
    task.id = 8;
    task.data = std::move(data);
    return std::string(Message(scheduler.Submit(task, now)));
  };
  CHECK(refused({{2, 1}}) == "task 8: data: there is no node 2");
  CHECK(refused({{0, -1}}) == "task 8: data: found a negative amount, expected 0 or more");
  CHECK(refused({{0, 1}, {0, 2}}) == "task 8: data: node 0 is named twice");
}

TEST_CASE("A placer may refuse the place that a reservation leaves") {
  // Chooses the first device, and accepts nothing else.
  class Stubborn final : public Placer {
   public:
    std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
      if (!cluster.Fits(0, demand)) return std::nullopt;
      return cluster.FirstDevices(0, demand);
    }
    bool Accepts(const Cluster& /*cluster*/, const Demand& /*demand*/,
                 const Placement& /*placement*/) override {
      ++asked;
      return accepts;
    }
    bool accepts = false;
    int asked = 0;
  };
  for (const bool accepts : {false, true}) {
    SchedulerOptions options;
    options.policy.ageing = Duration{0};
    auto placer = std::make_unique<Stubborn>();
    placer->accepts = accepts;
    const Stubborn& stubborn = *placer;
    options.placer = std::move(placer);
    Scheduler scheduler(std::move(options));
    NodeCapacity capacity;
    capacity.cpu = 8000;
    capacity.device_count = 4;
    REQUIRE(scheduler.AddNode("a", capacity).ok());
    const Time now = FromNanoseconds(1'700'000'000'000'000'000);
    const auto submit = [&](TaskId id, int16_t devices, Duration run_time) {
      TaskRequest task;
      task.id = id;
      task.demand.whole_devices = devices;
      task.run_time = run_time;
      REQUIRE(scheduler.Submit(task, now).ok());
    };
    submit(1, 1, hours(1));
    submit(2, 2, hours(1));
    REQUIRE(scheduler.Schedule(now).starts.size() == 2);
    REQUIRE(scheduler.Finish(1, now).ok());
    submit(3, 3, hours(1));  // will get the first three when 2 ends
    REQUIRE(scheduler.Schedule(now).starts.empty());
    submit(4, 1, hours(9));  // may have the fourth, which is not what the placer chooses
    const auto starts = scheduler.Schedule(now).starts;
    CHECK(stubborn.asked == 1);
    REQUIRE(starts.size() == (accepts ? 1 : 0));
    if (accepts) CHECK(starts[0].members[0].whole_devices == 1U << 3U);
    CHECK(scheduler.Recount().ok());
  }
}

}  // namespace
}  // namespace trackbed
