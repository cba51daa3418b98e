#include "trackbed/scheduling/simulation.hpp"

#include <absl/strings/str_cat.h>

#include "scheduling/first_fit.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr int64_t kGiB = int64_t{1} << 30U;

std::vector<SimulatedNode> Nodes(int count, int cores, int devices) {
  std::vector<SimulatedNode> nodes;
  for (int i = 0; i < count; ++i) {
    SimulatedNode node;
    node.name = absl::StrCat("n", i);
    node.capacity.cpu = cores * 1000;
    node.capacity.memory = 512 * kGiB;
    node.capacity.device_count = static_cast<uint8_t>(devices);
    nodes.push_back(node);
  }
  return nodes;
}

constexpr std::array kOrders = {QueueOrder::fifo, QueueOrder::lifo, QueueOrder::drf,
                                QueueOrder::fair_share};
constexpr std::array kBackfills = {Backfill::strict, Backfill::any, Backfill::easy,
                                   Backfill::conservative};

TEST_CASE("Long random simulations end, and count right all the way") {
  for (const QueueOrder order : kOrders) {
    for (const Backfill backfill : kBackfills) {
      for (const bool evictions : {false, true}) {
        for (uint64_t seed = 1; seed <= 3; ++seed) {
          GroupPolicy policy;
          policy.order = order;
          policy.backfill = backfill;
          policy.reservation_depth = 8;
          policy.preempt_by_priority = evictions;
          policy.reclaim = evictions;
          policy.minimum_run_time = minutes(seed);
          SimulationOptions options;
          options.seed = seed;
          options.recount_every = 20;
          options.exact_run_times = seed == 1;
          Quota quota;
          quota.guaranteed[kFirstDeviceResource] = 8000;
          quota.limit[kFirstDeviceResource] = 40'000;
          options.quotas["team0"] = quota;
          quota.max_running = 5;
          options.quotas["team1/user0"] = quota;
          WorkloadMix mix;
          mix.jobs = 400;
          mix.between = seconds(60);
          mix.largest_gang = 4;
          INFO("order " << static_cast<int>(order) << " backfill " << static_cast<int>(backfill)
                        << " evictions " << evictions << " seed " << seed);
          const auto result = SimulateWorkload(Nodes(6, 48, 8), MakeWorkload(mix, seed), policy,
                                               std::make_unique<FirstFit>(), options);
          INFO(Message(result.status()));
          REQUIRE(result.ok());
          CHECK(result->summary.jobs + result->summary.refused == 400);
          CHECK(result->summary.refused < 100);
        }
      }
    }
  }
}

TEST_CASE(
    "EASY: the first that waits starts by the time it was first told, if run times are exact") {
  size_t checked = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    GroupPolicy policy;
    policy.ageing = Duration{0};
    SimulationOptions options;
    options.seed = seed;
    options.exact_run_times = true;
    WorkloadMix mix;
    mix.jobs = 300;
    mix.priorities = 1;
    mix.between = seconds(15);
    mix.largest_gang = 4;
    TaskId first = 1;  // jobs are numbered in the order that they came
    Time told = kNever;
    options.observe = [&](Scheduler& scheduler, const Plan& plan, Time now) -> Status {
      for (const Start& start : plan.starts) {
        if (start.task != first) continue;
        if (now > told) {
          return Internal(absl::StrCat("job ", first, " was told ", FormatTime(told), ", not ",
                                       FormatTime(now)));
        }
        ++checked;
      }
      // None of those before it can come back to the queue.
      for (TaskId id = first; id <= mix.jobs && !scheduler.IsWaiting(first); ++id) {
        if (scheduler.IsWaiting(id)) first = id, told = kNever;
      }
      if (told == kNever && scheduler.IsWaiting(first)) {
        told = scheduler.Explain(first, now).expected_start;
      }
      return absl::OkStatus();
    };
    const auto result = SimulateWorkload(Nodes(6, 48, 8), MakeWorkload(mix, seed), policy,
                                         std::make_unique<FirstFit>(), options);
    INFO("seed " << seed << ": " << Message(result.status()));
    REQUIRE(result.ok());
  }
  CHECK(checked > 100);
}

// One node of so many cores, jobs of one core each unless said otherwise.
struct Classic {
  Job& Add(const std::string& name, int submitted, int cores, int run_time) {
    Job job;
    job.name = name;
    job.submitted = start + seconds(submitted);
    job.demand.cpu = cores * 1000;
    job.run_time = seconds(run_time);
    job.requested = job.run_time;
    workload.jobs.push_back(job);
    return workload.jobs.back();
  }
  SimulationResult Run(const GroupPolicy& policy) const {
    SimulationOptions options;
    options.recount_every = 1;
    options.stop_time = seconds(10);
    auto result =
        SimulateWorkload(Nodes(1, 4, 0), workload, policy, std::make_unique<FirstFit>(), options);
    INFO(Message(result.status()));
    REQUIRE(result.ok());
    return *std::move(result);
  }
  // When a job started last, in seconds.
  int64_t Start(const SimulationResult& result, std::string_view name) const {
    for (size_t i = 0; i < result.jobs.size(); ++i) {
      if (result.workload.jobs[i].name != name) continue;
      return (result.jobs[i].start - start) / seconds(1);
    }
    return -1;
  }
  Time start = FromNanoseconds(1'700'000'000'000'000'000);
  Workload workload;
};

TEST_CASE("FIFO and EASY on the classic example, by hand") {
  // 4 cores. a holds 3 until 128, b wants all 4, c and d would fit beside a.
  Classic classic;
  classic.Add("a", 0, 3, 128);
  classic.Add("b", 1, 4, 128);
  classic.Add("c", 2, 1, 64);    // ends before b can start
  classic.Add("d", 3, 1, 1024);  // would delay b
  GroupPolicy policy;
  policy.backfill = Backfill::strict;
  SimulationResult result = classic.Run(policy);
  CHECK(classic.Start(result, "b") == 128);
  CHECK(classic.Start(result, "c") == 256);
  CHECK(classic.Start(result, "d") == 256);
  CHECK(result.summary.makespan_seconds == Approx(1280));
  CHECK(result.summary.mean_wait_seconds == Approx((0 + 127 + 254 + 253) / 4.0));
  CHECK(result.summary.median_wait_seconds == Approx(127));
  CHECK(result.summary.p95_wait_seconds == Approx(254));
  CHECK(result.summary.mean_slowdown == Approx((1 + 255 / 128.0 + 318 / 64.0 + 1277 / 1024.0) / 4));
  CHECK(result.summary.cpu_utilisation == Approx((3 * 128 + 4 * 128 + 64 + 1024) / (4 * 1280.0)));

  policy.backfill = Backfill::easy;
  result = classic.Run(policy);
  CHECK(classic.Start(result, "c") == 2);
  CHECK(classic.Start(result, "b") == 128);
  CHECK(classic.Start(result, "d") == 256);

  policy.backfill = Backfill::any;
  result = classic.Run(policy);
  CHECK(classic.Start(result, "c") == 2);
  CHECK(classic.Start(result, "d") == 66);
  CHECK(classic.Start(result, "b") == 66 + 1024);
}

TEST_CASE("An evicted job stops, waits again and runs from its start") {
  Classic classic;
  classic.Add("low", 0, 4, 100);
  classic.Add("high", 50, 4, 20).priority = 1;
  GroupPolicy policy;
  policy.preempt_by_priority = true;
  policy.ageing = Duration{0};
  const SimulationResult result = classic.Run(policy);
  CHECK(classic.Start(result, "high") == 60);
  CHECK(classic.Start(result, "low") == 80);
  CHECK(result.summary.evictions == 1);
  CHECK(result.jobs[0].evictions == 1);
  CHECK(result.jobs[0].wait == seconds(80));
  CHECK(result.jobs[1].wait == seconds(10));
  CHECK(result.tenants[0].core_hours == Approx(4 * (60 + 20 + 100) / 3600.0));
}

TEST_CASE("Fair share lets the tenant that used less go first, and the index tells") {
  Classic classic;
  for (int i = 0; i < 4; ++i) {
    classic.Add("a" + std::to_string(i), i == 0 ? 0 : 1, 4, 100).tenant = "a";
  }
  classic.Add("b0", 2, 4, 100).tenant = "b";
  GroupPolicy policy;
  SimulationResult result = classic.Run(policy);
  CHECK(classic.Start(result, "b0") == 400);
  // a: 1, 1.99, 2.99, 3.99; b: 4.98.
  const double a = (1 + 1.99 + 2.99 + 3.99) / 4;
  CHECK(result.summary.fairness == Approx((a + 4.98) * (a + 4.98) / (2 * (a * a + 4.98 * 4.98))));
  policy.order = QueueOrder::fair_share;
  result = classic.Run(policy);
  CHECK(classic.Start(result, "b0") == 100);
  CHECK(result.tenants[1].mean_slowdown == Approx(1.98));
}

TEST_CASE("A job that cannot run is counted apart, and a run time of nothing is none") {
  Classic classic;
  classic.Add("huge", 0, 5, 10);
  classic.Add("brief", 1, 1, 0);
  const SimulationResult result = classic.Run({});
  CHECK(result.summary.jobs == 1);
  CHECK(result.summary.refused == 1);
  CHECK(result.jobs[0].refused.find("cpu") != std::string::npos);
  CHECK(result.jobs[1].wait == Duration{0});
  CHECK(result.jobs[1].slowdown == 1);
}

TEST_CASE("Equal seeds give equal bytes, and other seeds other orders") {
  WorkloadMix mix;
  mix.jobs = 300;
  mix.between = seconds(1);
  const auto run = [&](uint64_t seed) {
    SimulationOptions options;
    options.seed = seed;
    auto result = SimulateWorkload(Nodes(4, 48, 8), MakeWorkload(mix, 7), {},
                                   std::make_unique<FirstFit>(), options);
    REQUIRE(result.ok());
    return WriteSimulationCsv(*result) + WriteSimulationHtml("seeds", *result);
  };
  const std::string once = run(1);
  CHECK(once == run(1));
  CHECK(once != run(2));
}

TEST_CASE("Reports: a line a job, and a page that stands alone and escapes names") {
  Classic classic;
  classic.Add("a,\"b\"", 0, 1, 30).tenant = "<script>";
  classic.Add("huge", 1, 5, 10);
  const SimulationResult result = classic.Run({});
  CHECK(WriteSimulationCsv(result) ==
        "job,tenant,submitted,first_start,start,end,wait_seconds,run_seconds,slowdown,evictions,"
        "refused\n"
        "\"a,\"\"b\"\"\",<script>,2023-11-14T22:13:20Z,2023-11-14T22:13:20Z,"
        "2023-11-14T22:13:20Z,2023-11-14T22:13:50Z,0.000,30.000,1.000,0,\n"
        "huge,,2023-11-14T22:13:21Z,,,,,,,," +
            result.jobs[1].refused + "\n");
  const std::string page = WriteSimulationHtml("5 < 6 & \"more\"", result);
  CHECK(page.find("<title>5 &lt; 6 &amp; &quot;more&quot;</title>") != std::string::npos);
  CHECK(page.find("<script>") == std::string::npos);
  CHECK(page.find("&lt;script&gt;") != std::string::npos);
  CHECK(page.find("http") == std::string::npos);
  CHECK(page.find(">nan") == std::string::npos);
  // Nothing to draw is no reason to fail.
  CHECK(WriteSimulationHtml("none", SimulationResult()).find(">nan") == std::string::npos);
}

}  // namespace
}  // namespace trackbed
