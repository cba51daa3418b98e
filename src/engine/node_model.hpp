// The engine's node as the scheduler counts it.
//
// The slot allocator has the last word on what a task gets: it knows the devices, their links and
// NUMA nodes. The scheduler, which orders tasks and looks ahead, counts in terms of its own. What
// the allocator can give always fits in the scheduler's account too; that may be too hopeful, as
// about an amount that is spread over parts of several devices.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/pipeline/pipeline.hpp"
#include "trackbed/resources/node.hpp"
#include "trackbed/resources/slot_allocator.hpp"
#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

class NodeModel {
 public:
  explicit NodeModel(const NodeDescription& node);

  const NodeCapacity& capacity() const { return capacity_; }
  // The names of what is counted, by the numbers that quotas have for them.
  const std::vector<std::string>& resources() const { return resources_; }

  // The request, which the allocator has found possible. What it takes of counted resources is in
  // *counted; the demand does not refer to it yet.
  Demand DemandOf(std::span<const SlotRequest> request, CountedAmounts* counted) const;
  // Where the parts, given for such a demand, lie.
  Placement PlacementOf(const Demand& demand, std::span<const AllocationPart> parts) const;
  // The devices that a task placed there may not be given.
  std::vector<std::string_view> DevicesBeside(const Placement& placement) const;

 private:
  // One way in which a card is handed out.
  struct View {
    std::string slot;
    std::string device;
    int card = 0;
  };

  void AddCards(const NodeDescription& node);
  void AddCounted(const NodeDescription& node);
  bool IsOfCards(std::string_view slot) const;

  NodeCapacity capacity_;
  std::vector<std::string> resources_ = {"cpu", "mem"};
  // The first family of accelerators, card by card. Others are only counted.
  std::vector<std::string> card_slots_;
  std::vector<View> views_;
  std::vector<std::string> counted_slots_;  // by number; "" for what is spread over cards
};

}  // namespace trackbed
