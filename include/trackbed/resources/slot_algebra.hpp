// Sums and comparisons of lists of slots. A slot that a list does not name has the amount 0; one
// that it names twice has the sum.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// Each result is sorted by slot, names a slot once, and has no zeros.
// kInvalidArgument, naming the slot, when an amount would leave the range of a Quantity.
StatusOr<std::vector<SlotRequest>> AddSlots(std::span<const SlotRequest> a,
                                            std::span<const SlotRequest> b);
// May have negative amounts.
StatusOr<std::vector<SlotRequest>> SubtractSlots(std::span<const SlotRequest> a,
                                                 std::span<const SlotRequest> b);

// Whether every slot of `request` is at most what `available` has of it. Amounts beyond the range
// of a Quantity are an error.
StatusOr<bool> SlotsFit(std::span<const SlotRequest> request,
                        std::span<const SlotRequest> available);

// The slot of which `held` has the largest part of `capacity`, as dominant-resource fairness
// compares users.
struct DominantShare {
  std::string slot;  // "" when nothing is held
  double share = 0;  // for ordering and printing; amounts themselves are never floating point
};
// Slots without capacity do not count. Of equal shares, the first slot by name.
StatusOr<DominantShare> FindDominantShare(std::span<const SlotRequest> held,
                                          std::span<const SlotRequest> capacity);

}  // namespace trackbed
