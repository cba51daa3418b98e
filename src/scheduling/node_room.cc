#include "scheduling/node_room.hpp"

#include <algorithm>

namespace trackbed {

NodeState EmptyRoom(const NodeCapacity& capacity) {
  NodeState room;
  room.cpu = capacity.cpu;
  room.memory = capacity.memory;
  room.counted = capacity.counted;
  std::fill_n(room.device.begin(), capacity.device_count, static_cast<int16_t>(kWholeDevice));
  return room;
}

bool TakeRoom(const NodeCapacity& capacity, const Demand& demand, NodeState* room,
              Placement* placement) {
  if (room->cpu < demand.cpu || room->memory < demand.memory ||
      (demand.architectures >> capacity.architecture & 1U) == 0 ||
      !HasCounted(room->counted, demand)) {
    return false;
  }
  placement->whole_devices = 0;
  placement->shared_device = -1;
  int least = kWholeDevice + 1;
  int missing = demand.whole_devices;
  const auto suits = [&](int device) {
    return (demand.device_kinds >> capacity.device_kind[static_cast<size_t>(device)] & 1U) != 0;
  };
  for (int device = 0; demand.share > 0 && device < capacity.device_count; ++device) {
    const int left = room->device[static_cast<size_t>(device)];
    if (suits(device) && left >= demand.share && left < least) {
      least = left;
      placement->shared_device = static_cast<int8_t>(device);
    }
  }
  if (demand.share > 0 && placement->shared_device < 0) return false;
  for (int device = 0; missing > 0 && device < capacity.device_count; ++device) {
    if (device == placement->shared_device || !suits(device) ||
        room->device[static_cast<size_t>(device)] != kWholeDevice) {
      continue;
    }
    placement->whole_devices = static_cast<uint16_t>(placement->whole_devices | 1U << device);
    --missing;
  }
  if (missing > 0) return false;
  SubtractRoom(demand, *placement, room);
  return true;
}

void SubtractRoom(const Demand& demand, const Placement& placement, NodeState* room) {
  room->cpu = std::max<int64_t>(room->cpu - demand.cpu, 0);
  room->memory = std::max<int64_t>(room->memory - demand.memory, 0);
  if (demand.counted != nullptr) {
    TakeCounted(demand, 1, &room->counted);
    for (int64_t& left : room->counted) left = std::max<int64_t>(left, 0);
  }
  for (int device = 0; device < kMaxDevices; ++device) {
    auto& left = room->device[static_cast<size_t>(device)];
    if ((placement.whole_devices >> device & 1U) != 0) left = 0;
    if (device == placement.shared_device) {
      left = static_cast<int16_t>(std::max(left - demand.share, 0));
    }
  }
}

void ReturnRoom(const Demand& demand, const Placement& placement, NodeState* room) {
  room->cpu += demand.cpu;
  room->memory += demand.memory;
  TakeCounted(demand, -1, &room->counted);
  for (int device = 0; device < kMaxDevices; ++device) {
    auto& left = room->device[static_cast<size_t>(device)];
    if ((placement.whole_devices >> device & 1U) != 0) left = static_cast<int16_t>(kWholeDevice);
    if (device == placement.shared_device) left = static_cast<int16_t>(left + demand.share);
  }
}

bool HasRoom(const Demand& demand, const Placement& placement, const NodeState& room) {
  if (room.cpu < demand.cpu || room.memory < demand.memory || !HasCounted(room.counted, demand)) {
    return false;
  }
  for (int device = 0; device < kMaxDevices; ++device) {
    const int left = room.device[static_cast<size_t>(device)];
    if ((placement.whole_devices >> device & 1U) != 0 && left != kWholeDevice) return false;
    if (device == placement.shared_device && left < demand.share) return false;
  }
  return true;
}

}  // namespace trackbed
