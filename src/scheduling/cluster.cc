#include "trackbed/scheduling/cluster.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>

namespace trackbed {
namespace {

// Larger amounts are mistakes, and sums over all nodes of a cluster stay in range.
constexpr int64_t kMaxAmount = int64_t{1} << 53;

bool IsKind(const NodeCapacity& capacity, int device, const Demand& demand) {
  return (demand.device_kinds >> capacity.device_kind[static_cast<size_t>(device)] & 1U) != 0;
}

// Whether `left` has the devices; looks at nothing else.
bool HasDevices(const NodeCapacity& capacity, const std::array<int16_t, kMaxDevices>& left,
                const Demand& demand) {
  int whole = 0;
  bool shared = demand.share == 0;
  for (int device = 0; device < capacity.device_count; ++device) {
    if (!IsKind(capacity, device, demand)) continue;
    const int16_t amount = left[static_cast<size_t>(device)];
    if (amount == kWholeDevice) {
      ++whole;
    } else if (amount >= demand.share) {
      shared = true;
    }
  }
  // The share may have to come from one more whole device.
  return whole >= demand.whole_devices + (shared ? 0 : 1);
}

}  // namespace

StatusOr<NodeIndex> Cluster::AddNode(const NodeCapacity& capacity) {
  if (capacity.cpu < 0 || capacity.memory < 0 || capacity.cpu > kMaxAmount ||
      capacity.memory > kMaxAmount) {
    return InvalidArgument(absl::StrCat("node ", nodes_.size(), ": found cpu ", capacity.cpu,
                                        " and memory ", capacity.memory, ", expected 0 to ",
                                        kMaxAmount));
  }
  for (const int64_t amount : capacity.counted) {
    if (amount < 0 || amount > kMaxAmount) {
      return InvalidArgument(absl::StrCat("node ", nodes_.size(), ": found ", amount,
                                          " of a counted resource, expected 0 to ", kMaxAmount));
    }
  }
  if (capacity.architecture >= 32) {
    return InvalidArgument(absl::StrCat("node ", nodes_.size(), ": found architecture ",
                                        capacity.architecture, ", expected 0 to 31"));
  }
  if (capacity.device_count > kMaxDevices) {
    return InvalidArgument(absl::StrCat("node ", nodes_.size(), ": found ", capacity.device_count,
                                        " devices, expected at most ", kMaxDevices));
  }
  NodeState state;
  state.cpu = capacity.cpu;
  state.memory = capacity.memory;
  state.counted = capacity.counted;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    if (capacity.device_kind[device] >= kMaxDeviceKinds) {
      return InvalidArgument(absl::StrCat("node ", nodes_.size(), ": found device kind ",
                                          capacity.device_kind[device], ", expected 0 to ",
                                          kMaxDeviceKinds - 1));
    }
    state.device[device] = kWholeDevice;
  }
  capacities_.push_back(capacity);
  nodes_.push_back(state);
  device_capacity_ += int64_t{capacity.device_count} * kWholeDevice;
  device_left_ += int64_t{capacity.device_count} * kWholeDevice;
  const auto node = static_cast<NodeIndex>(nodes_.size() - 1);
  Note(node);
  return node;
}

bool Cluster::Fits(NodeIndex node, const Demand& demand) const {
  const NodeState& state = nodes_[node];
  const NodeCapacity& capacity = capacities_[node];
  return state.open && state.cpu >= demand.cpu && state.memory >= demand.memory &&
         (demand.architectures >> capacity.architecture & 1U) != 0 &&
         (!demand.wants_devices() || HasDevices(capacity, state.device, demand)) &&
         HasCounted(state.counted, demand);
}

bool Cluster::FitsEmpty(NodeIndex node, const Demand& demand) const {
  const NodeCapacity& capacity = capacities_[node];
  std::array<int16_t, kMaxDevices> all{};
  std::fill_n(all.begin(), capacity.device_count, static_cast<int16_t>(kWholeDevice));
  return capacity.cpu >= demand.cpu && capacity.memory >= demand.memory &&
         (demand.architectures >> capacity.architecture & 1U) != 0 &&
         (!demand.wants_devices() || HasDevices(capacity, all, demand)) &&
         HasCounted(capacity.counted, demand);
}

Placement Cluster::FirstDevices(NodeIndex node, const Demand& demand) const {
  const NodeState& state = nodes_[node];
  const NodeCapacity& capacity = capacities_[node];
  Placement placement;
  placement.node = node;
  int least = kWholeDevice + 1;
  if (demand.share > 0) {
    for (int device = 0; device < capacity.device_count; ++device) {
      const int left = state.device[static_cast<size_t>(device)];
      if (IsKind(capacity, device, demand) && left >= demand.share && left < least) {
        least = left;
        placement.shared_device = static_cast<int8_t>(device);
      }
    }
  }
  int missing = demand.whole_devices;
  for (int device = 0; device < capacity.device_count && missing > 0; ++device) {
    if (device == placement.shared_device || !IsKind(capacity, device, demand) ||
        state.device[static_cast<size_t>(device)] != kWholeDevice) {
      continue;
    }
    placement.whole_devices = static_cast<uint16_t>(placement.whole_devices | 1U << device);
    --missing;
  }
  return placement;
}

bool Cluster::CanTake(const Demand& demand, const Placement& placement) const {
  if (placement.node >= nodes_.size()) return false;
  const NodeState& state = nodes_[placement.node];
  const NodeCapacity& capacity = capacities_[placement.node];
  if (!state.open || state.cpu < demand.cpu || state.memory < demand.memory ||
      (demand.architectures >> capacity.architecture & 1U) == 0 ||
      std::popcount(placement.whole_devices) != demand.whole_devices ||
      (placement.shared_device >= 0) != (demand.share > 0) ||
      placement.shared_device >= capacity.device_count ||
      placement.whole_devices >> capacity.device_count != 0 || !HasCounted(state.counted, demand)) {
    return false;
  }
  for (int device = 0; device < capacity.device_count; ++device) {
    const bool whole = (placement.whole_devices >> device & 1U) != 0;
    const bool shared = device == placement.shared_device;
    if (!whole && !shared) continue;
    if ((whole && shared) || !IsKind(capacity, device, demand) ||
        state.device[static_cast<size_t>(device)] < (whole ? kWholeDevice : demand.share)) {
      return false;
    }
  }
  return true;
}

bool Cluster::Take(const Demand& demand, const Placement& placement) {
  if (!CanTake(demand, placement)) return false;
  NodeState& state = nodes_[placement.node];
  const NodeCapacity& capacity = capacities_[placement.node];
  state.cpu -= demand.cpu;
  state.memory -= demand.memory;
  TakeCounted(demand, 1, &state.counted);
  for (int device = 0; device < capacity.device_count; ++device) {
    if ((placement.whole_devices >> device & 1U) != 0)
      state.device[static_cast<size_t>(device)] = 0;
  }
  if (placement.shared_device >= 0) {
    auto& left = state.device[static_cast<unsigned char>(placement.shared_device)];
    left = static_cast<int16_t>(left - demand.share);
  }
  ++state.tasks;
  device_left_ -= demand.device_amount();
  Note(placement.node);
  return true;
}

void Cluster::Give(const Demand& demand, const Placement& placement) {
  NodeState& state = nodes_[placement.node];
  state.cpu += demand.cpu;
  state.memory += demand.memory;
  TakeCounted(demand, -1, &state.counted);
  for (int device = 0; device < kMaxDevices; ++device) {
    if ((placement.whole_devices >> device & 1U) != 0) {
      state.device[static_cast<size_t>(device)] = kWholeDevice;
    }
  }
  if (placement.shared_device >= 0) {
    auto& left = state.device[static_cast<unsigned char>(placement.shared_device)];
    left = static_cast<int16_t>(left + demand.share);
  }
  --state.tasks;
  device_left_ += demand.device_amount();
  Note(placement.node);
}

void Cluster::SetOpen(NodeIndex node, bool open) {
  if (nodes_[node].open == open) return;
  nodes_[node].open = open;
  Note(node);
}

void Cluster::Note(NodeIndex node) {
  // Whoever is behind by more than every node looks at them all anyway.
  if (changes_.size() >= 4 * nodes_.size() + 64) {
    const size_t kept = nodes_.size();
    first_change_ += changes_.size() - kept;
    changes_.erase(changes_.begin(), changes_.end() - static_cast<ptrdiff_t>(kept));
  }
  changes_.push_back(node);
}

}  // namespace trackbed
