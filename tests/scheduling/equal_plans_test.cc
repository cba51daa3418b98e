// The scheduler, which looks at what has changed only, beside itself looking at all that waits in
// each Schedule: every plan has to be the same, whatever happens. But for two kinds of policies,
// for reasons that DECISIONS.md has ("What wakes for nothing"): where tasks are stopped for others,
// and where shares decide and room is reserved.
//
// TRACKBED_SCHEDULER_STEPS makes the stories longer, TRACKBED_SCHEDULER_SEED lets them begin
// elsewhere.
#include <absl/strings/str_cat.h>

#include <algorithm>
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

// What a story is about.
enum class About : uint8_t { ranks, shares, shares_and_reservations };

GroupPolicy AnyPolicy(Draw* draw, About about) {
  GroupPolicy policy;
  if (about == About::shares) {
    policy.order = draw->OneIn(2) ? QueueOrder::drf : QueueOrder::fair_share;
    policy.backfill = draw->OneIn(2) ? Backfill::strict : Backfill::any;
  } else if (about == About::shares_and_reservations) {
    policy.order = draw->OneIn(2) ? QueueOrder::drf : QueueOrder::fair_share;
    policy.backfill = draw->OneIn(2) ? Backfill::easy : Backfill::conservative;
  } else {
    policy.order = draw->OneIn(2) ? QueueOrder::fifo : QueueOrder::lifo;
    policy.backfill = static_cast<Backfill>(draw->Below(4));
  }
  policy.reservation_depth = static_cast<uint32_t>(draw->Below(5));
  policy.ageing = draw->OneIn(2) ? Duration{0} : Duration{minutes(20)};
  policy.gang_grace = minutes(draw->Below(30));
  policy.default_run_time = minutes(15);
  return policy;
}

Quota AnyQuota(Draw* draw) {
  Quota quota;
  if (draw->OneIn(4)) quota.max_running = static_cast<uint32_t>(1 + draw->Below(6));
  if (draw->OneIn(3)) quota.limit[kCpu] = (4 + draw->Below(16)) * 1000;
  quota.weight = 1 + draw->Below(3);
  return quota;
}

TaskRequest AnyTask(Draw* draw, TaskId id, Time now) {
  TaskRequest task;
  task.id = id;
  task.priority = draw->Below(4) - 1;
  // Few demands, so that many tasks share one, and gangs with them.
  task.demand.cpu = (1 + draw->Below(4)) * 1000;
  const int devices = draw->Below(4);
  if (devices == 1) task.demand.whole_devices = static_cast<int16_t>(1 + draw->Below(2));
  if (devices == 2) task.demand.share = static_cast<int16_t>(300 + 300 * draw->Below(2));
  if (draw->OneIn(5)) {
    task.members = static_cast<uint32_t>(2 + draw->Below(3));
    task.on_different_nodes = draw->OneIn(2);
  }
  task.run_time = draw->OneIn(6) ? Duration{0} : Duration{minutes(1 + draw->Below(40))};
  if (draw->OneIn(6)) task.history = static_cast<uint64_t>(1 + draw->Below(2));
  if (draw->OneIn(12)) task.not_before = now + minutes(draw->Below(10));
  return task;
}

std::string Text(const Plan& plan) {
  std::string text;
  const auto add = [&](const Placement& place) {
    absl::StrAppend(&text, " ", place.node, ":", place.whole_devices, ":", place.shared_device);
  };
  for (const Start& start : plan.starts) {
    absl::StrAppend(&text, "start ", start.task);
    for (const Placement& member : start.members) add(member);
    text += '\n';
  }
  for (const Repair& repair : plan.repairs) {
    absl::StrAppend(&text, "repair ", repair.task, " ", repair.member);
    add(repair.placement);
    text += '\n';
  }
  for (const TaskId task : plan.released) absl::StrAppend(&text, "release ", task, "\n");
  absl::StrAppend(&text, "next ", ToNanoseconds(plan.next));
  return text;
}

// Both schedulers, which are told the same.
class Pair {
 public:
  Pair(const GroupPolicy& policy, bool compare)
      : compare_(compare), quick_(Options(policy, false)), slow_(Options(policy, true)) {}

  template <typename Act>
  void Both(Act&& act) {
    act(quick_);
    if (compare_) act(slow_);
  }

  // What was planned; the test fails when the two do not agree.
  Plan Schedule(Time now) {
    Plan plan = quick_.Schedule(now);
    if (!compare_) return plan;
    const std::string quick = Text(plan);
    const std::string slow = Text(slow_.Schedule(now));
    if (quick != slow) REQUIRE(quick == slow);
    return plan;
  }

  Scheduler& quick() { return quick_; }

 private:
  static SchedulerOptions Options(const GroupPolicy& policy, bool scan) {
    SchedulerOptions options;
    options.policy = policy;
    options.placer = std::make_unique<FirstFit>();
    options.scan = scan;
    return options;
  }
  const bool compare_;
  Scheduler quick_;
  Scheduler slow_;
};

struct Counts {
  size_t starts = 0;
  size_t repairs = 0;
};

void RunStory(uint64_t seed, About about, Counts* counts) {
  Draw draw(seed);
  const GroupPolicy policy = AnyPolicy(&draw, about);
  INFO("order " << static_cast<int>(policy.order) << " backfill "
                << static_cast<int>(policy.backfill) << " depth " << policy.reservation_depth
                << " ageing " << policy.ageing.count());
  Pair pair(policy, about != About::shares_and_reservations);
  const int nodes = 1 + draw.Below(5);
  for (int i = 0; i < nodes; ++i) {
    NodeCapacity capacity;
    capacity.cpu = (2 + draw.Below(8)) * 1000;
    capacity.device_count = static_cast<uint8_t>(draw.Below(5));
    pair.Both([&](Scheduler& one) { REQUIRE(one.AddNode(absl::StrCat(i), capacity).ok()); });
  }
  // Where shares decide, tasks are of users that are equally deep: two domains with two each.
  const bool users_only = about == About::shares;
  const int tenants = users_only ? 6 : 4;
  for (int i = 0; i < tenants; ++i) {
    const int parent = !users_only ? draw.Below(i + 1) : i < 2 ? 0 : 1 + i % 2;
    const Quota quota = AnyQuota(&draw);
    pair.Both([&](Scheduler& one) {
      REQUIRE(one.AddTenant(static_cast<TenantIndex>(parent), absl::StrCat(i), quota).ok());
    });
  }
  const auto any_tenant = [&] {
    return static_cast<TenantIndex>(users_only ? 3 + draw.Below(4) : draw.Below(5));
  };
  Time now = kStoryStart;
  TaskId last = 0;
  std::set<TaskId> known;
  const auto any_known = [&] {
    auto found = known.begin();
    std::advance(found, draw.Below(static_cast<int>(known.size())));
    return *found;
  };
  const auto finish = [&](TaskId task) {
    known.erase(task);
    pair.Both([&](Scheduler& one) { REQUIRE(one.Finish(task, now).ok()); });
  };
  for (int step = 0; step < 150; ++step) {
    INFO("step " << step);
    now += draw.OneIn(3) ? Duration{minutes(draw.Below(6))} : Duration{seconds(draw.Below(20))};
    const int what = draw.Below(40);
    if (what < 20) {
      TaskRequest task = AnyTask(&draw, ++last, now);
      task.tenant = any_tenant();
      const bool taken = pair.quick().Submit(task, now).ok();
      pair.Both([&](Scheduler& one) { (void)one.Submit(task, now); });  // the quick one has it
      if (taken) known.insert(task.id);
    } else if (what < 35) {
      if (!known.empty()) finish(any_known());
    } else if (what == 35) {
      const auto node = static_cast<NodeIndex>(draw.Below(nodes));
      const bool open = draw.OneIn(2);
      pair.Both([&](Scheduler& one) { open ? one.OpenNode(node) : one.DrainNode(node); });
    } else if (what == 36) {
      const auto node = static_cast<NodeIndex>(draw.Below(nodes));
      std::vector<TaskId> ended;
      pair.Both([&](Scheduler& one) { ended = one.LoseNode(node, now); });
      for (const TaskId task : ended) known.erase(task);
    } else if (what == 37) {
      const TenantIndex tenant = any_tenant();
      const Quota quota = AnyQuota(&draw);
      pair.Both([&](Scheduler& one) { (void)one.SetQuota(tenant, quota); });
    }
    const Plan plan = pair.Schedule(now);
    counts->starts += plan.starts.size();
    counts->repairs += plan.repairs.size();
    for (const TaskId task : plan.released) known.erase(task);
  }
  REQUIRE(pair.quick().Recount().ok());
}

void RunStories(About about) {
  Counts counts;
  const size_t stories = StorySteps(30'000) / 150;
  for (uint64_t seed = FirstSeed(); seed < FirstSeed() + stories; ++seed) {
    INFO("seed " << seed);
    RunStory(seed, about, &counts);
  }
  CHECK(counts.starts > stories * 10);
  CHECK(counts.repairs > 0);
}

TEST_CASE("Plans are what looking at everything anew would give") { RunStories(About::ranks); }

TEST_CASE("So they are where shares decide and nothing is reserved") { RunStories(About::shares); }

// In which order things happen is another matter (above); but they happen, and are counted right.
TEST_CASE("Where shares decide and room is reserved each plan comes to an end") {
  RunStories(About::shares_and_reservations);
}

}  // namespace
}  // namespace trackbed
