#include "scheduling/local_placer.hpp"

#include <algorithm>
#include <tuple>

#include "scheduling/devices.hpp"

namespace trackbed {

std::optional<Placement> LocalPlacer::ChooseNear(const Cluster& cluster, const Demand& demand,
                                                 std::span<const LocalData> data) {
  const std::optional<NodeIndex> without = BestNode(cluster, demand);
  if (!without) return std::nullopt;
  int64_t most = 1;
  for (const LocalData& there : data) most = std::max(most, there.bytes);
  // Of those without data none is better than this one; it may have some, and then comes again.
  std::tuple best(static_cast<double>(ScoreOf(cluster, *without, demand)), int64_t{0});
  NodeIndex node = *without;
  for (const LocalData& there : data) {
    if (there.node >= cluster.size() || !HasUnscored(cluster.state(there.node), demand)) continue;
    const int32_t score = ScoreOf(cluster, there.node, demand);
    if (score <= kNoRoom) continue;
    const double part = static_cast<double>(there.bytes) / static_cast<double>(most);
    const std::tuple value(score + weight_ * part, there.bytes);
    if (value < best || (value == best && there.node >= node)) continue;
    best = value;
    node = there.node;
  }
  return PlaceOn(cluster, demand, node);
}

}  // namespace trackbed
