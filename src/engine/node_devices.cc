#include "engine/node_devices.hpp"

#include <algorithm>
#include <map>

#include "trackbed/base/slot_type.hpp"

namespace trackbed {

NodeDevices::NodeDevices(const NodeDescription& node) {
  // Drivers count cards; instances and other views of one card share its number.
  std::map<std::string_view, std::vector<std::string_view>> cards;  // by the driver's variable
  for (const NodeDevice& device : node.devices) {
    const SlotType* type = FindSlotType(device.slot);
    const std::string_view kind =
        type->visible_devices.empty() ? type->name : type->visible_devices;
    const std::string_view card = device.part_of.empty() ? device.id : device.part_of;
    std::vector<std::string_view>& known = cards[kind];
    auto place = std::find(known.begin(), known.end(), card);
    if (place == known.end()) place = known.insert(place, card);
    devices_[{device.slot, device.id}] = {
        std::string(card), static_cast<int>(place - known.begin()), device.memory_bytes};
    if (std::find(slots_.begin(), slots_.end(), device.slot) == slots_.end()) {
      slots_.push_back(device.slot);
    }
  }
}

std::vector<AssignedDevice> NodeDevices::Assign(std::span<const AllocationPart> parts) const {
  std::vector<AssignedDevice> assigned;
  if (devices_.empty()) return assigned;
  for (const AllocationPart& part : parts) {
    const auto found = devices_.find(std::pair(std::string(part.slot), std::string(part.device)));
    if (found == devices_.end()) continue;
    const Device& device = found->second;
    assigned.push_back({std::string(part.slot), std::string(part.device), device.card, device.index,
                        part.amount, device.memory});
  }
  return assigned;
}

StatusOr<SlotAllocator> NewNodeAccount(const NodeDescription& node) {
  SlotAllocatorOptions options;
  options.allow_fragmentation = false;
  return SlotAllocator::Create(node, options);
}

std::vector<HeldSlot> RecordOf(std::span<const AllocationPart> parts) {
  std::vector<HeldSlot> slots;
  if (std::all_of(parts.begin(), parts.end(),
                  [](const AllocationPart& part) { return part.device.empty(); })) {
    return slots;
  }
  slots.reserve(parts.size());
  for (const AllocationPart& part : parts) {
    slots.push_back({std::string(part.slot), std::string(part.device), part.amount});
  }
  return slots;
}

std::vector<AllocationPart> PartsOf(const std::vector<HeldSlot>& slots) {
  std::vector<AllocationPart> parts;
  parts.reserve(slots.size());
  for (const HeldSlot& held : slots) {
    AllocationPart& part = parts.emplace_back();
    part.slot = held.slot;
    part.device = held.device;
    part.amount = held.amount;
  }
  return parts;
}

}  // namespace trackbed
