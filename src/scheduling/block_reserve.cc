#include "scheduling/block_reserve.hpp"

#include <algorithm>
#include <cmath>

#include "scheduling/devices.hpp"

namespace trackbed {
namespace {

// Twice the deviation of the number of arrivals.
constexpr double kDeviations = 2;
// The numbers of demands have to fit beside other tags.
constexpr size_t kMostDemands = 255;

int64_t BlocksOf(const Demand& demand, int free_devices, int64_t cpu) {
  const int64_t by_devices = free_devices / demand.whole_devices;
  return demand.cpu > 0 ? std::min(by_devices, cpu / demand.cpu) : by_devices;
}

int64_t BlocksOn(const Cluster& cluster, NodeIndex node, const Demand& demand) {
  const NodeCapacity& capacity = cluster.capacity(node);
  const NodeState& state = cluster.state(node);
  if (!state.open || (demand.architectures >> capacity.architecture & 1U) == 0) return 0;
  return BlocksOf(demand, FreeDevices(capacity, state, demand), state.cpu);
}

struct Wanted {
  Demand demand;
  double blocks = 0;
  int64_t places = 0;
};

}  // namespace

BlockReserve::BlockReserve(const Mix& mix, const Cluster& cluster) {
  double devices = 0;
  for (const MixShape& shape : mix) {
    devices += shape.weight * static_cast<double>(shape.demand.device_amount());
  }
  std::vector<Wanted> wanted;
  for (const MixShape& shape : mix) {
    if (shape.demand.whole_devices < 2 || wanted.size() == kMostDemands) continue;
    Wanted one{shape.demand, 0, 0};
    const double coming = shape.weight / devices * static_cast<double>(cluster.device_left());
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      one.places += BlocksOn(cluster, node, shape.demand);
    }
    if (one.places == 0) continue;
    // Of places that they need all of, none can be spared.
    const double scarcity = std::min(coming / static_cast<double>(one.places), 1.0);
    one.blocks = kDeviations * std::sqrt(coming) + scarcity * coming;
    wanted.push_back(one);
  }
  std::stable_sort(wanted.begin(), wanted.end(),
                   [](const Wanted& a, const Wanted& b) { return a.places < b.places; });
  reserved_.assign(cluster.size(), 0);
  for (const Wanted& one : wanted) {
    demands_.push_back(one.demand);
    const auto number = static_cast<uint32_t>(demands_.size());
    std::vector<NodeIndex> places;
    for (auto node = static_cast<NodeIndex>(cluster.size()); node-- > 0;) {
      if (reserved_[node] == 0 && BlocksOn(cluster, node, one.demand) > 0) places.push_back(node);
    }
    std::stable_sort(places.begin(), places.end(), [&](NodeIndex a, NodeIndex b) {
      return cluster.capacity(a).device_count < cluster.capacity(b).device_count;
    });
    double missing = one.blocks;
    for (const NodeIndex node : places) {
      if (missing <= 0) break;
      reserved_[node] = number;
      missing -= static_cast<double>(BlocksOn(cluster, node, one.demand));
    }
  }
}

int64_t BlockReserve::Usable(uint32_t number, int free_devices, int64_t cpu) const {
  const Demand& demand = demands_[number - 1];
  return demand.whole_devices * BlocksOf(demand, free_devices, cpu);
}

}  // namespace trackbed
