// The accelerators of the engine's node, as attempts are told of them and as events record them.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/engine/event.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {

class NodeDevices {
 public:
  explicit NodeDevices(const NodeDescription& node);

  // Those among the parts of an allocation; parts of devices that are not there any more are left
  // out.
  std::vector<AssignedDevice> Assign(std::span<const AllocationPart> parts) const;
  // The slots of accelerators that the node hands out.
  const std::vector<std::string>& slots() const { return slots_; }

 private:
  struct Device {
    std::string card;
    int index = 0;
    int64_t memory = 0;
  };
  absl::flat_hash_map<std::pair<std::string, std::string>, Device> devices_;  // by slot and id
  std::vector<std::string> slots_;
};

// The account of the engine's node. What one device could hold is never split over several: a task
// that asks for half a GPU cannot use two quarters.
StatusOr<SlotAllocator> NewNodeAccount(const NodeDescription& node);

// What the attempt's event keeps, so that it is given the same again: nothing when no part names a
// device, because then any is as good.
std::vector<HeldSlot> RecordOf(std::span<const AllocationPart> parts);
// The other way round; the views are those of `slots`.
std::vector<AllocationPart> PartsOf(const std::vector<HeldSlot>& slots);

}  // namespace trackbed
