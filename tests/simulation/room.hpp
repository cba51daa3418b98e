// What is free on nodes, counted anew from what runs there: in thousandths of slots.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "simulation/world.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

class Room {
 public:
  explicit Room(std::map<std::string, SlotAmounts> free) : free_(std::move(free)) {}

  void Take(const std::string& node, const std::vector<SlotRequest>& resources) {
    for (auto& [slot, amount] : free_[node]) amount -= AmountOf(resources, slot);
  }

  // Whether so many members fit: each on a node of its own, or all on one.
  bool Fits(const std::vector<SlotRequest>& resources, size_t members, bool apart) const {
    const auto fit = [&](const SlotAmounts& free, size_t together) {
      return std::all_of(free.begin(), free.end(), [&](const auto& slot) {
        return AmountOf(resources, slot.first) * static_cast<int64_t>(together) <= slot.second;
      });
    };
    const auto nodes = std::count_if(free_.begin(), free_.end(), [&](const auto& node) {
      return fit(node.second, apart ? 1 : members);
    });
    return static_cast<size_t>(nodes) >= (apart ? members : 1);
  }

 private:
  std::map<std::string, SlotAmounts> free_;
};

}  // namespace trackbed
