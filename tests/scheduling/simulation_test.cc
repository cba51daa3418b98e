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

}  // namespace
}  // namespace trackbed
