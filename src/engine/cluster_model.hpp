// The engine's nodes as the scheduler counts them.
//
// The slot allocators have the last word on what a task gets: they know the devices, their links
// and NUMA nodes. The scheduler, which orders tasks and looks ahead, counts in terms of its own.
// What an allocator can give always fits in the scheduler's account too; that may be too hopeful,
// as about an amount that is spread over parts of several devices.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/pipeline/pipeline.hpp"
#include "trackbed/resources/node.hpp"
#include "trackbed/resources/slot_allocator.hpp"
#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

class ClusterModel {
 public:
  explicit ClusterModel(std::span<const NodeDescription> nodes);

  size_t size() const { return nodes_.size(); }
  const NodeCapacity& capacity(NodeIndex node) const { return nodes_[node].capacity; }
  // Whether any node has accelerators that are counted one by one.
  bool has_cards() const { return !card_slots_.empty(); }
  // The names of what is counted, by the numbers that quotas have for them.
  const std::vector<std::string>& resources() const { return resources_; }

  // What `together` members with this request, which an allocator has found possible, take of one
  // node. What they take of counted resources is in *counted; the demand does not refer to it yet.
  Demand DemandOf(std::span<const SlotRequest> request, uint32_t together,
                  CountedAmounts* counted) const;
  // Adds where the parts, given by the placement's node for such a demand, lie.
  void AddParts(const Demand& demand, std::span<const AllocationPart> parts,
                Placement* placement) const;
  // The devices that a task placed there may not be given.
  std::vector<std::string_view> DevicesBeside(const Placement& placement) const;

 private:
  // One way in which a card is handed out.
  struct View {
    std::string slot;
    std::string device;
    int card = 0;
  };
  struct Node {
    NodeCapacity capacity;
    std::vector<View> views;
  };

  void FindCardSlots(std::span<const NodeDescription> nodes);
  // False when it has more cards than the scheduler can tell apart.
  bool AddCards(const NodeDescription& description, Node* node) const;
  void AddCounted(const NodeDescription& description, Node* node);
  bool IsOfCards(std::string_view slot) const;

  std::vector<Node> nodes_;
  std::vector<std::string> resources_ = {"cpu", "mem"};
  // The first family of accelerators, card by card. Others are only counted.
  std::vector<std::string> card_slots_;
  std::vector<std::string> counted_slots_;  // by number; "" for what is spread over cards
};

}  // namespace trackbed
