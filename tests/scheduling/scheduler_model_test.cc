// The scheduler beside a slow model that looks at everything each time, and properties that hold
// in all stories. TRACKBED_SCHEDULER_STEPS makes them longer, TRACKBED_SCHEDULER_SEED lets them
// begin elsewhere.
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "scheduling/first_fit.hpp"
#include "scheduling/story.hpp"
#include "support/catch.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const Time kStart = kStoryStart;

SchedulerOptions Options(const GroupPolicy& policy) {
  SchedulerOptions options;
  options.policy = policy;
  options.placer = std::make_unique<FirstFit>();
  return options;
}

NodeCapacity Cores(int cores) {
  NodeCapacity capacity;
  capacity.cpu = cores * 1000;
  return capacity;
}

// ---- Quotas, gangs and drains beside a model
// -----------------------------------------------------

// First come, first served, whatever fits may overtake. Nothing is kept but the tasks themselves.
struct Model {
  struct Task {
    TaskRequest request;
    int order = 0;
    std::vector<NodeIndex> nodes;  // of its members, once it runs
  };
  std::vector<int64_t> cores;  // of each node
  std::vector<bool> open;
  std::vector<TenantIndex> parents;  // of each tenant
  std::vector<Quota> quotas;
  std::map<TaskId, Task> tasks;

  int64_t Free(NodeIndex node) const {
    int64_t left = cores[node];
    for (const auto& [id, task] : tasks) {
      left -= task.request.demand.cpu * std::count(task.nodes.begin(), task.nodes.end(), node);
    }
    return left;
  }

  bool IsBelow(TenantIndex tenant, TenantIndex ancestor) const {
    while (tenant != ancestor && tenant != kRootTenant) tenant = parents[tenant];
    return tenant == ancestor;
  }

  bool QuotaAdmits(const TaskRequest& request) const {
    for (TenantIndex tenant = 0; tenant < quotas.size(); ++tenant) {
      if (!IsBelow(request.tenant, tenant)) continue;
      int64_t used = 0;
      uint32_t running = 0;
      for (const auto& [id, task] : tasks) {
        if (task.nodes.empty() || !IsBelow(task.request.tenant, tenant)) continue;
        used += task.request.demand.cpu * task.request.members;
        ++running;
      }
      const int64_t wanted = request.demand.cpu * request.members;
      if (running + 1 > quotas[tenant].max_running) return false;
      if (wanted > 0 && used + wanted > quotas[tenant].limit[kCpu]) return false;
    }
    return true;
  }

  std::map<TaskId, std::vector<NodeIndex>> Schedule() {
    std::vector<Task*> waiting;
    for (auto& [id, task] : tasks) {
      if (task.nodes.empty()) waiting.push_back(&task);
    }
    std::sort(waiting.begin(), waiting.end(), [](const Task* a, const Task* b) {
      return std::pair(-a->request.priority, a->order) < std::pair(-b->request.priority, b->order);
    });
    std::map<TaskId, std::vector<NodeIndex>> starts;
    for (Task* task : waiting) {
      if (!QuotaAdmits(task->request)) continue;
      std::vector<int64_t> left;
      for (NodeIndex node = 0; node < cores.size(); ++node) left.push_back(Free(node));
      std::vector<NodeIndex> nodes;
      for (NodeIndex node = 0; node < cores.size(); ++node) {
        while (nodes.size() < task->request.members && open[node] &&
               left[node] >= task->request.demand.cpu) {
          left[node] -= task->request.demand.cpu;
          nodes.push_back(node);
          if (task->request.on_different_nodes) break;
        }
      }
      if (nodes.size() < task->request.members) continue;
      task->nodes = nodes;
      starts[task->request.id] = nodes;
    }
    return starts;
  }
};

TEST_CASE("The scheduler decides as a model that looks at everything each time") {
  size_t steps = 0;
  const size_t enough = StorySteps(40'000);
  for (uint64_t seed = FirstSeed(); steps < enough; ++seed) {
    INFO("seed " << seed);
    Draw draw(seed);
    GroupPolicy policy;
    policy.backfill = Backfill::any;
    policy.ageing = Duration{0};
    Scheduler scheduler(Options(policy));
    Model model;
    for (int i = 0; i <= draw.Below(4); ++i) {
      const int cores = 1 + draw.Below(8);
      REQUIRE(scheduler.AddNode(absl::StrCat(i), Cores(cores)).ok());
      model.cores.push_back(cores * 1000);
      model.open.push_back(true);
    }
    const auto any_quota = [&] {
      Quota quota;
      if (draw.OneIn(3)) quota.max_running = static_cast<uint32_t>(draw.Below(5));
      if (draw.OneIn(2)) quota.limit[kCpu] = draw.Below(12) * 1000;
      return quota;
    };
    model.parents.push_back(kRootTenant);
    model.quotas.emplace_back();
    for (int i = 0; i < 4; ++i) {
      const auto parent = static_cast<TenantIndex>(draw.Below(i + 1));
      const Quota quota = any_quota();
      REQUIRE(scheduler.AddTenant(parent, absl::StrCat(i), quota).ok());
      model.parents.push_back(parent);
      model.quotas.push_back(quota);
    }
    Time now = kStart;
    int last = 0;
    for (int step = 0; step < 500; ++step, ++steps) {
      now += seconds(draw.Below(2));
      const int kind = draw.Below(12);
      if (kind < 6) {
        TaskRequest task;
        task.id = static_cast<TaskId>(++last);
        task.tenant = static_cast<TenantIndex>(draw.Below(5));
        task.priority = draw.Below(3);
        task.demand.cpu = draw.Below(5) * 1000;
        task.run_time = minutes(1 + draw.Below(3));
        if (draw.OneIn(3)) {
          task.members = static_cast<uint32_t>(2 + draw.Below(3));
          task.on_different_nodes = draw.OneIn(2);
        }
        if (scheduler.Submit(task, now).ok()) model.tasks[task.id] = {task, last, {}};
      } else if (kind < 10) {
        if (model.tasks.empty()) continue;
        auto ends = model.tasks.begin();
        std::advance(ends, draw.Below(static_cast<int>(model.tasks.size())));
        REQUIRE(scheduler.Finish(ends->first, now).ok());
        model.tasks.erase(ends);
      } else if (kind == 10) {
        const int node = draw.Below(static_cast<int>(model.cores.size()));
        const bool open = draw.OneIn(2);
        model.open[static_cast<size_t>(node)] = open;
        open ? scheduler.OpenNode(static_cast<NodeIndex>(node))
             : scheduler.DrainNode(static_cast<NodeIndex>(node));
      } else {
        const auto tenant = static_cast<TenantIndex>(draw.Below(5));
        model.quotas[tenant] = any_quota();
        REQUIRE(scheduler.SetQuota(tenant, model.quotas[tenant]).ok());
      }
      std::map<TaskId, std::vector<NodeIndex>> starts;
      for (const Start& start : scheduler.Schedule(now).starts) {
        for (const Placement& member : start.members) starts[start.task].push_back(member.node);
      }
      INFO("step " << step);
      const bool same = starts == model.Schedule();
      if (!same) REQUIRE(same);
      if (step % 50 == 0) REQUIRE(scheduler.Recount().ok());
    }
  }
}

// ---- Evictions come to an end
// --------------------------------------------------------------------

TEST_CASE("Tasks do not evict each other for ever") {
  size_t steps = 0;
  size_t evictions = 0;
  const size_t enough = StorySteps(60'000);
  for (uint64_t seed = FirstSeed(); steps < enough; ++seed) {
    INFO("seed " << seed);
    Draw draw(seed);
    GroupPolicy policy;
    policy.order = static_cast<QueueOrder>(draw.Below(4));
    policy.backfill = static_cast<Backfill>(draw.Below(4));
    policy.ageing = draw.OneIn(2) ? Duration{0} : Duration{minutes(10)};
    policy.preempt_by_priority = !draw.OneIn(3);
    policy.reclaim = !policy.preempt_by_priority || draw.OneIn(2);
    Scheduler scheduler(Options(policy));
    for (int i = 0; i <= draw.Below(3); ++i) {
      REQUIRE(scheduler.AddNode(absl::StrCat(i), Cores(2 + draw.Below(5))).ok());
    }
    for (int i = 0; i < 3; ++i) {
      Quota quota;
      quota.guaranteed[kCpu] = draw.Below(4) * 1000;
      REQUIRE(scheduler.AddTenant(kRootTenant, absl::StrCat(i), quota).ok());
    }
    std::map<TaskId, TaskRequest> tasks;
    TaskId last = 0;
    Time now = kStart;
    // Nothing ends by itself, and what was stopped comes back at once, in another order.
    for (int round = 0; round < 12; ++round) {
      TaskRequest fresh;
      fresh.id = ++last;
      fresh.tenant = static_cast<TenantIndex>(1 + draw.Below(3));
      fresh.priority = draw.Below(4);
      fresh.demand.cpu = (1 + draw.Below(3)) * 1000;
      if (draw.OneIn(4)) fresh.members = static_cast<uint32_t>(2 + draw.Below(2));
      fresh.preemptible = !draw.OneIn(6);
      fresh.run_time = minutes(1 + draw.Below(4));
      if (scheduler.Submit(fresh, now).ok()) tasks[fresh.id] = fresh;
      for (int settling = 0;; ++settling, ++steps) {
        REQUIRE(settling < 300);
        now += seconds(1);
        const Plan plan = scheduler.Schedule(now);
        if (plan.starts.empty() && plan.evictions.empty()) break;
        evictions += plan.evictions.size();
        for (const Eviction& eviction : plan.evictions) {
          REQUIRE(scheduler.Finish(eviction.victim, now).ok());
          TaskRequest again = tasks.at(eviction.victim);
          tasks.erase(eviction.victim);
          again.id = ++last;
          tasks[again.id] = again;
          REQUIRE(scheduler.Submit(again, now).ok());
        }
      }
      const Status status = scheduler.Recount();
      if (!status.ok()) REQUIRE(Message(status) == "");
    }
  }
  CHECK(evictions > enough / 200);
}

// ---- Nobody starves
// ------------------------------------------------------------------------------

TEST_CASE("With ageing, what is least important starts although more important work never ends") {
  for (const QueueOrder order : {QueueOrder::fifo, QueueOrder::drf, QueueOrder::fair_share}) {
    for (const Backfill backfill : {Backfill::strict, Backfill::easy, Backfill::conservative}) {
      GroupPolicy policy;
      policy.order = order;
      policy.backfill = backfill;
      policy.ageing = hours(1);
      Scheduler scheduler(Options(policy));
      for (int i = 0; i < 2; ++i) REQUIRE(scheduler.AddNode(absl::StrCat(i), Cores(2)).ok());
      TaskRequest meek;  // a gang that needs everything
      meek.id = 1;
      meek.demand.cpu = 2000;
      meek.members = 2;
      meek.run_time = minutes(10);
      TaskRequest proud;
      proud.id = 2;
      proud.priority = 3;
      proud.demand.cpu = 1000;
      proud.run_time = minutes(10);
      Time now = kStart;
      REQUIRE(scheduler.Submit(meek, now).ok());
      std::map<TaskId, Time> ends;
      bool started = false;
      for (int step = 0; step < 600 && !started; ++step) {
        now += minutes(1);
        for (auto task = ends.begin(); task != ends.end();) {
          if (task->second > now) {
            ++task;
            continue;
          }
          REQUIRE(scheduler.Finish(task->first, now).ok());
          task = ends.erase(task);
        }
        for (int i = 0; step % 5 == 0 && i < 2; ++i, ++proud.id) {
          REQUIRE(scheduler.Submit(proud, now).ok());
        }
        for (const Start& start : scheduler.Schedule(now).starts) {
          ends[start.task] = now + minutes(10);
          started = started || start.task == 1;
        }
      }
      INFO("order " << static_cast<int>(order) << " backfill " << static_cast<int>(backfill));
      CHECK(started);
      CHECK(now < kStart + hours(5));
    }
  }
}

TEST_CASE("Opposed gangs cannot hold parts of each other's room") {
  size_t steps = 0;
  const size_t enough = StorySteps(3'000);
  for (uint64_t seed = FirstSeed(); steps < enough; ++seed) {
    INFO("seed " << seed);
    Draw draw(seed);
    GroupPolicy policy;
    policy.backfill = static_cast<Backfill>(draw.Below(4));
    Scheduler scheduler(Options(policy));
    for (int i = 0; i < 4; ++i) REQUIRE(scheduler.AddNode(absl::StrCat(i), Cores(2)).ok());
    Time now = kStart;
    for (TaskId id = 1; id <= 12; ++id) {
      TaskRequest gang;
      gang.id = id;
      gang.demand.cpu = 1000 * (1 + draw.Below(2));
      gang.members = static_cast<uint32_t>(2 + draw.Below(3));
      gang.on_different_nodes = draw.OneIn(2);
      gang.run_time = minutes(1 + draw.Below(20));
      REQUIRE(scheduler.Submit(gang, now).ok());
    }
    std::set<TaskId> running;
    for (int round = 0; scheduler.waiting() > 0; ++round, ++steps) {
      REQUIRE(round < 13);
      for (const Start& start : scheduler.Schedule(now).starts) running.insert(start.task);
      REQUIRE(scheduler.Recount().ok());
      REQUIRE_FALSE(running.empty());  // else nobody could go on
      REQUIRE(scheduler.Finish(*running.begin(), now).ok());
      running.erase(running.begin());
      now += minutes(5);
    }
  }
}

// ---- Input that makes no sense
// -------------------------------------------------------------------

// All that can be seen of a scheduler from outside.
std::string Seen(Scheduler& scheduler, Time now) {
  std::string seen =
      absl::StrCat("waiting ", scheduler.waiting(), " running ", scheduler.running());
  for (NodeIndex node = 0; node < scheduler.cluster().size(); ++node) {
    const NodeState& state = scheduler.cluster().state(node);
    absl::StrAppend(&seen, "\n", scheduler.NodeName(node), " cpu ", state.cpu, " memory ",
                    state.memory, " tasks ", state.tasks, " open ", state.open);
    for (const int16_t left : state.device) absl::StrAppend(&seen, " ", left);
  }
  const Tenancy& tenancy = scheduler.tenancy();
  for (TenantIndex tenant = 0; tenant < tenancy.size(); ++tenant) {
    absl::StrAppend(&seen, "\n", tenancy.Path(tenant), " runs ", tenancy.running(tenant),
                    " weight ", tenancy.quota(tenant).weight);
    for (size_t i = 0; i < kMaxResources; ++i) {
      absl::StrAppend(&seen, " ", tenancy.used(tenant)[i], "/", tenancy.quota(tenant).limit[i]);
    }
  }
  for (TaskId id = 0; id < 10; ++id) {
    const Placements* members = scheduler.Find(id);
    absl::StrAppend(&seen, "\n", id, members == nullptr ? " " : " runs ",
                    scheduler.IsWaiting(id) ? scheduler.Explain(id, now).sentence : "");
  }
  return seen;
}

TEST_CASE("Input that makes no sense is an error that says so, and changes nothing") {
  Scheduler scheduler(Options({}));
  NodeCapacity capacity = Cores(4);
  capacity.memory = 1000;
  capacity.device_count = 2;
  REQUIRE(scheduler.AddNode("n1", capacity).ok());
  const TenantIndex team = *scheduler.AddTenant(kRootTenant, "team", {});
  Quota closed;
  closed.max_waiting = 0;
  const TenantIndex full = *scheduler.AddTenant(team, "full", closed);
  TaskRequest good;
  good.id = 1;
  good.tenant = team;
  good.demand.cpu = 3000;
  good.demand.share = 600;
  REQUIRE(scheduler.Submit(good, kStart).ok());
  good.id = 2;
  REQUIRE(scheduler.Submit(good, kStart).ok());
  REQUIRE(scheduler.Schedule(kStart).starts.size() == 1);
  const std::string before = Seen(scheduler, kStart);
  const auto refused = [&](const Status& status, std::string_view why) {
    CHECK_FALSE(status.ok());
    CHECK(Message(status) == why);
    CHECK(Seen(scheduler, kStart) == before);
    CHECK(scheduler.Recount().ok());
  };
  // Tasks: the same is refused wherever a task is named.
  const auto bad_task = [&](auto&& spoil, const std::string& why) {
    TaskRequest task = good;
    task.id = 3;
    spoil(task);
    refused(scheduler.Submit(task, kStart), why);
    refused(scheduler.Predict(task, kStart).status(), why);
    refused(scheduler.Predict(task, WhatIf(), kStart).status(), why);
    refused(scheduler.Restore(task, {Placement()}, kStart, kStart), why);
  };
  bad_task([](TaskRequest& t) { t.demand.cpu = -1; },
           "task 3: found a negative amount, expected 0 or more");
  bad_task([](TaskRequest& t) { t.demand.memory = INT64_MIN; },
           "task 3: found a negative amount, expected 0 or more");
  bad_task([](TaskRequest& t) { t.demand.whole_devices = -1; },
           "task 3: found a negative amount, expected 0 or more");
  bad_task([](TaskRequest& t) { t.demand.share = 1000; },
           "task 3: found a share of 1000 thousandths, expected 0 to 999 and whole devices apart");
  bad_task([](TaskRequest& t) { t.members = 0; }, "task 3: found 0 members, expected 1 to 100000");
  bad_task([](TaskRequest& t) { t.members = 100'001; }, "task 3: found more than can be counted");
  bad_task([](TaskRequest& t) { t.demand.cpu = INT64_MAX / 2, t.members = 3; },
           "task 3: found more than can be counted");
  bad_task([](TaskRequest& t) { t.run_time = seconds(-1); }, "task 3: found a negative run time");
  bad_task([](TaskRequest& t) { t.tenant = 99; }, "task 3: there is no tenant 99");
  bad_task([](TaskRequest& t) { t.device_resource = 8; },
           "task 3: found device resource 8, expected 2 to 7");
  bad_task([](TaskRequest& t) { t.id = 2; }, "task 2 is known already");
  TaskRequest task = good;
  task.id = 3;
  task.tenant = full;
  refused(scheduler.Submit(task, kStart),
          "task 3: \"team/full\" may have 0 tasks waiting and has 0");
  task.tenant = team;
  task.demand.cpu = 5000;
  refused(scheduler.Submit(task, kStart),
          "task 3: even on the empty nodes it needs 5 cpu; 4 cpu free in all");
  refused(scheduler.Finish(9, kStart), "there is no task 9");
  // What is said to run.
  task = good;
  task.id = 3;
  refused(scheduler.Restore(task, {}, kStart, kStart),
          "task 3: found places for 0 members, expected 1");
  Placement place;
  place.shared_device = 0;
  const std::string not_free =
      "task 3: its room is not free: two tasks hold it, or there is no such node or device";
  refused(scheduler.Restore(task, {place}, kStart, kStart), not_free);
  place.node = 7;
  refused(scheduler.Restore(task, {place}, kStart, kStart), not_free);
  place.node = 0;
  place.shared_device = 99;
  refused(scheduler.Restore(task, {place}, kStart, kStart), not_free);
  // Nodes.
  refused(scheduler.AddNode("n1", capacity).status(), "node \"n1\" is there already");
  refused(scheduler.AddNode("n2", capacity, 1).status(),
          "node \"n2\": found device resource 1, expected 2 to 7");
  NodeCapacity spoiled = capacity;
  spoiled.cpu = -1;
  CHECK_FALSE(scheduler.AddNode("n2", spoiled).ok());
  spoiled = capacity;
  spoiled.device_count = kMaxDevices + 1;
  CHECK_FALSE(scheduler.AddNode("n2", spoiled).ok());
  scheduler.DrainNode(9);
  scheduler.OpenNode(9);
  CHECK(scheduler.LoseNode(9, kStart).empty());
  CHECK(Seen(scheduler, kStart) == before);
  WhatIf what_if;
  what_if.drained = {9};
  task = good;
  task.id = 3;
  refused(scheduler.Predict(task, what_if, kStart).status(), "there is no node 9");
  what_if.drained = {};
  what_if.added = {{"n1", capacity}};
  refused(scheduler.Predict(task, what_if, kStart).status(), "node \"n1\" is there already");
  what_if.added = {{"n2", spoiled}};
  CHECK_FALSE(scheduler.Predict(task, what_if, kStart).ok());
  CHECK(Seen(scheduler, kStart) == before);
  // Tenants. A parent has to be there before its child, so that a tree cannot have a circle.
  refused(scheduler.AddTenant(3, "own parent", {}).status(),
          "tenant \"own parent\": there is no parent 3");
  refused(scheduler.AddTenant(kRootTenant, "team", {}).status(),
          "tenant \"team\" is there already");
  refused(scheduler.AddTenant(kRootTenant, "a/b", {}).status(),
          "found the tenant name \"a/b\", expected a text without \"/\"");
  Quota quota;
  quota.weight = 0;
  refused(scheduler.SetQuota(team, quota), "tenant \"team\": found weight 0, expected more than 0");
  quota.weight = std::numeric_limits<double>::quiet_NaN();
  refused(scheduler.SetQuota(team, quota),
          "tenant \"team\": found weight nan, expected more than 0");
  quota = {};
  quota.limit[kCpu] = -1;
  refused(scheduler.SetQuota(team, quota), "tenant \"team\": found a negative quota of resource 0");
  quota.limit[kCpu] = 1;
  quota.guaranteed[kCpu] = 2;
  refused(scheduler.SetQuota(team, quota),
          "tenant \"team\": found 2 guaranteed of resource 0, expected at most the limit, 1");
  refused(scheduler.SetQuota(99, {}), "there is no tenant 99");
}

// ---- What if
// -------------------------------------------------------------------------------------

TEST_CASE("What if there were other nodes is answered by the same code, and changes nothing") {
  GroupPolicy policy;
  policy.backfill = Backfill::easy;
  Scheduler scheduler(Options(policy));
  REQUIRE(scheduler.AddNode("n1", Cores(4)).ok());
  TaskRequest task;
  task.id = 1;
  task.demand.cpu = 4000;
  task.run_time = hours(1);
  REQUIRE(scheduler.Submit(task, kStart).ok());
  REQUIRE(scheduler.Schedule(kStart).starts.size() == 1);
  const std::string before = Seen(scheduler, kStart);
  task.id = 2;
  WhatIf more;
  more.added = {{"n2", Cores(2)}, {"n3", Cores(4)}};
  auto answer = scheduler.Predict(task, more, kStart);
  REQUIRE(answer.ok());
  CHECK(answer->starts_now);
  REQUIRE(answer->members.size() == 1);
  CHECK(answer->members[0].node == 2);
  // One that would be refused today, and would then have to wait for both nodes.
  TaskRequest gang = task;
  gang.members = 2;
  CHECK(scheduler.Predict(gang, kStart).status().code() == StatusCode::kResourceExhausted);
  answer = scheduler.Predict(gang, more, kStart);
  REQUIRE(answer.ok());
  CHECK_FALSE(answer->starts_now);
  CHECK(answer->start >= kStart + hours(1));
  CHECK(answer->start < kStart + hours(2));
  // If n1 took nothing new, there would be no end to wait for.
  WhatIf drained;
  drained.drained = {0};
  answer = scheduler.Predict(task, drained, kStart);
  REQUIRE(answer.ok());
  CHECK_FALSE(answer->starts_now);
  CHECK(answer->start == kNever);
  CHECK(answer->reason.sentence == "finds no node that is open to it");
  CHECK(Seen(scheduler, kStart) == before);
  CHECK(scheduler.Recount().ok());
  answer = scheduler.Predict(task, WhatIf(), kStart);
  const auto plain = scheduler.Predict(task, kStart);
  REQUIRE(answer.ok());
  REQUIRE(plain.ok());
  CHECK(answer->start == plain->start);
  CHECK(answer->reason.sentence == plain->reason.sentence);
}

}  // namespace
}  // namespace trackbed
