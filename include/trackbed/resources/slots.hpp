// What one machine has of each slot, and how much of it is free.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// A request in the terms of one pool: so much of the slot at that place. Made by SlotPool::Claim.
using SlotClaim = std::vector<std::pair<uint32_t, Quantity>>;

// The capacity of one machine and what of it is taken. Not thread-safe.
class SlotPool {
 public:
  // Slots named twice are added up.
  explicit SlotPool(std::vector<SlotRequest> capacity);

  // The claim for a request, slots named twice added up; kResourceExhausted when even the empty
  // pool could not meet it: the message names the slot, what is asked and what there is.
  StatusOr<SlotClaim> Claim(std::span<const SlotRequest> request) const;

  bool Fits(const SlotClaim& claim) const;
  // Takes the claim as a whole; false, with nothing taken, when it does not fit.
  [[nodiscard]] bool Take(const SlotClaim& claim);
  // Takes the claim though it may not fit: for work that is found running. What is free may then
  // be negative, and nothing fits until enough is given back.
  void Occupy(const SlotClaim& claim);
  // Gives back what Take or Occupy took.
  void Give(const SlotClaim& claim);

  // The first slot that a claim is short of, as a sentence: "needs 2 cpu, 0.5 free"; "" when it
  // fits.
  std::string ExplainShortage(const SlotClaim& claim) const;

  const std::vector<SlotRequest>& capacity() const { return capacity_; }  // sorted by slot

 private:
  std::vector<SlotRequest> capacity_;
  std::vector<Quantity> free_;  // beside capacity_
};

// The cpu and memory slots of this machine, as far as this process may use them: affinity and
// cgroup limits counted.
std::vector<SlotRequest> DetectLocalSlots();

}  // namespace trackbed
