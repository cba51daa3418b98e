// What one machine has of each slot, and how much of it is free.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// What one machine has and what of it is taken. Not thread-safe.
class SlotPool {
 public:
  explicit SlotPool(std::vector<SlotRequest> capacity);

  // OK when the request could be met by an empty pool; kResourceExhausted names the slot, what is
  // asked and what there is.
  Status CanEverFit(std::span<const SlotRequest> request) const;
  bool Fits(std::span<const SlotRequest> request) const;
  // Takes the request as a whole; false, with nothing taken, when it does not fit.
  bool Take(std::span<const SlotRequest> request);
  // Gives back what Take took.
  void Give(std::span<const SlotRequest> request);

  const std::vector<SlotRequest>& capacity() const { return capacity_; }
  Quantity Free(std::string_view slot) const;

 private:
  std::vector<SlotRequest> capacity_;  // sorted by slot
  std::vector<Quantity> used_;         // beside capacity_
};

// The cpu and memory slots of this machine, as the process may use them (affinity and cgroup
// limits counted).
std::vector<SlotRequest> DetectLocalSlots();

}  // namespace trackbed
