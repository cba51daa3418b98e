#include "scheduling/fragmentation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

namespace trackbed {

Fragmentation::Fragmentation(const Mix& mix) {
  Mix shapes = mix;
  const auto group_of = [](const Demand& demand) {
    return std::tie(demand.share, demand.whole_devices, demand.device_kinds, demand.architectures);
  };
  std::sort(shapes.begin(), shapes.end(), [&](const MixShape& a, const MixShape& b) {
    if (group_of(a.demand) != group_of(b.demand)) return group_of(a.demand) < group_of(b.demand);
    return a.demand.cpu < b.demand.cpu;
  });
  const Demand* last = nullptr;
  for (const MixShape& shape : shapes) {
    const int64_t weight = std::llround(shape.weight / kUnit);
    all_ += weight;
    const Demand& demand = shape.demand;
    if (!demand.wants_devices()) continue;
    if (last == nullptr || group_of(*last) != group_of(demand)) {
      groups_.push_back({demand.device_kinds, demand.architectures, demand.whole_devices,
                         demand.share, cpu_.size(), cpu_.size()});
    }
    last = &demand;
    Group& group = groups_.back();
    weight_.push_back(weight + (group.end > group.first ? weight_.back() : 0));
    cpu_.push_back(demand.cpu);
    group.end = cpu_.size();
  }
}

double Fragmentation::Of(const NodeCapacity& capacity, const NodeState& state) const {
  int all = 0;
  int most = 0;
  int whole_devices = 0;
  uint64_t kinds = 0;
  std::array<int16_t, kMaxDevices> left;  // those of which something is left
  std::array<uint8_t, kMaxDevices> kind;
  size_t count = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    const int16_t amount = state.device[device];
    if (amount == 0) continue;
    all += amount;
    most = std::max<int>(most, amount);
    whole_devices += amount == kWholeDevice ? 1 : 0;
    kinds |= uint64_t{1} << capacity.device_kind[device];
    left[count] = amount;
    kind[count++] = capacity.device_kind[device];
  }
  if (all == 0) return 0;
  // All that is left, but what a shape can use.
  int64_t fragment = all_ * all;
  for (const Group& group : groups_) {
    // A demand for whole devices can use no others; one with a share those with as much left.
    const int least = group.share > 0 ? group.share : kWholeDevice;
    if (most < least || group.whole_devices > whole_devices || (group.device_kinds & kinds) == 0 ||
        cpu_[group.first] > state.cpu || (group.architectures >> capacity.architecture & 1U) == 0) {
      continue;
    }
    int usable = 0;
    int whole = 0;
    bool shared = group.share == 0;
    for (size_t i = 0; i < count; ++i) {
      const bool usable_one = left[i] >= least && (group.device_kinds >> kind[i] & 1U) != 0;
      usable += usable_one ? left[i] : 0;
      whole += usable_one && left[i] == kWholeDevice ? 1 : 0;
      shared |= usable_one && left[i] != kWholeDevice;
    }
    if (usable == 0 || whole < group.whole_devices + (shared ? 0 : 1)) continue;
    size_t fitting = group.first;
    while (fitting + 1 < group.end && cpu_[fitting + 1] <= state.cpu) ++fitting;
    fragment -= weight_[fitting] * usable;
  }
  return static_cast<double>(fragment) * kUnit;
}

}  // namespace trackbed
