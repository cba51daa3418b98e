// Small things about the devices of a node.
#pragma once

#include <bit>

#include "scheduling/scorer.hpp"

namespace trackbed {

inline bool IsKind(const NodeCapacity& capacity, size_t device, const Demand& demand) {
  return (demand.device_kinds >> capacity.device_kind[device] & 1U) != 0;
}

// Whether there is enough of what indices over scores leave aside, since it is seldom short.
inline bool HasUnscored(const NodeState& state, const Demand& demand) {
  return state.memory >= demand.memory && HasCounted(state.counted, demand);
}

// Whether the node has the demand free; HasUnscored and whether it is open aside.
inline bool HasRoom(const NodeCapacity& capacity, const NodeState& state, const Demand& demand) {
  if (state.cpu < demand.cpu || (demand.architectures >> capacity.architecture & 1U) == 0) {
    return false;
  }
  if (!demand.wants_devices()) return true;
  int whole = 0;
  bool shared = demand.share == 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    if (!IsKind(capacity, device, demand)) continue;
    if (state.device[device] == kWholeDevice) {
      ++whole;
    } else if (state.device[device] >= demand.share) {
      shared = true;
    }
  }
  return whole >= demand.whole_devices + (shared ? 0 : 1);
}

// The fitting devices with the lowest numbers, but `except`.
inline uint16_t FirstWholeDevices(const NodeCapacity& capacity, const NodeState& state,
                                  const Demand& demand, int except) {
  uint16_t chosen = 0;
  int missing = demand.whole_devices;
  for (size_t device = 0; device < capacity.device_count && missing > 0; ++device) {
    if (static_cast<int>(device) == except || state.device[device] != kWholeDevice ||
        !IsKind(capacity, device, demand)) {
      continue;
    }
    chosen = static_cast<uint16_t>(chosen | 1U << device);
    --missing;
  }
  return chosen;
}

// As Cluster::FirstDevices: the share on the fullest device that has room for it.
inline void ChooseFirstDevices(const NodeCapacity& capacity, const NodeState& state,
                               const Demand& demand, Scored* scored) {
  int least = kWholeDevice + 1;
  scored->shared_device = -1;
  if (demand.share > 0) {
    for (size_t device = 0; device < capacity.device_count; ++device) {
      const int left = state.device[device];
      if (left >= demand.share && left < least && IsKind(capacity, device, demand)) {
        least = left;
        scored->shared_device = static_cast<int8_t>(device);
      }
    }
  }
  scored->whole_devices = FirstWholeDevices(capacity, state, demand, scored->shared_device);
}

// What is left of the device, by its number.
inline int LeftOf(const NodeState& state, int device) {
  return state.device[static_cast<size_t>(device)];
}

// Of the kinds that the demand can use, how many devices nobody uses.
inline int FreeDevices(const NodeCapacity& capacity, const NodeState& state, const Demand& demand) {
  int free = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    if (state.device[device] == kWholeDevice && IsKind(capacity, device, demand)) ++free;
  }
  return free;
}

inline int64_t DeviceLeft(const NodeCapacity& capacity, const NodeState& state) {
  int64_t left = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) left += state.device[device];
  return left;
}

// The state with the demand met by these devices.
inline NodeState After(const NodeState& state, const Demand& demand, uint16_t whole_devices,
                       int shared_device) {
  NodeState after = state;
  after.cpu -= demand.cpu;
  for (size_t device = 0; whole_devices >> device != 0; ++device) {
    if ((whole_devices >> device & 1U) != 0) after.device[device] = 0;
  }
  if (shared_device >= 0) {
    auto& left = after.device[static_cast<size_t>(shared_device)];
    left = static_cast<int16_t>(left - demand.share);
  }
  ++after.tasks;
  return after;
}

// Calls `visit(Scored)` for each choice of devices that could matter: the whole ones as the lowest
// numbers, the share on each device with room, of devices with as much left and of the same kind
// the first.
template <typename Visit>
void ForEachChoice(const NodeCapacity& capacity, const NodeState& state, const Demand& demand,
                   Visit&& visit) {
  if (demand.share == 0) {
    visit(Scored{0, FirstWholeDevices(capacity, state, demand, -1), -1});
    return;
  }
  for (size_t device = 0; device < capacity.device_count; ++device) {
    const int left = state.device[device];
    if (left < demand.share || !IsKind(capacity, device, demand)) continue;
    bool seen = false;
    for (size_t other = 0; other < device && !seen; ++other) {
      seen = state.device[other] == left &&
             capacity.device_kind[other] == capacity.device_kind[device];
    }
    if (seen) continue;
    const auto whole = FirstWholeDevices(capacity, state, demand, static_cast<int>(device));
    if (std::popcount(whole) < demand.whole_devices) continue;
    visit(Scored{0, whole, static_cast<int8_t>(device)});
  }
}

}  // namespace trackbed
