// Sums and comparisons of lists of slots, by merging sorted lists.
#include "trackbed/resources/slot_algebra.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace trackbed {
namespace {

using Combine = bool (*)(Quantity, Quantity, Quantity*);

Status OutOfRange(const std::string& slot) {
  return InvalidArgument(absl::StrCat("the amount of ", slot, " is out of range"));
}

StatusOr<std::vector<SlotRequest>> SortAndSum(std::span<const SlotRequest> slots) {
  std::vector<SlotRequest> sorted(slots.begin(), slots.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const SlotRequest& a, const SlotRequest& b) { return a.slot < b.slot; });
  std::vector<SlotRequest> result;
  for (SlotRequest& entry : sorted) {
    if (result.empty() || result.back().slot != entry.slot) {
      result.push_back(std::move(entry));
    } else if (!Quantity::Add(result.back().amount, entry.amount, &result.back().amount)) {
      return OutOfRange(entry.slot);
    }
  }
  return result;
}

StatusOr<std::vector<SlotRequest>> Merge(std::span<const SlotRequest> first,
                                         std::span<const SlotRequest> second, Combine combine) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> a, SortAndSum(first));
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> b, SortAndSum(second));
  std::vector<SlotRequest> result;
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() || j < b.size()) {
    const bool from_a = j == b.size() || (i < a.size() && a[i].slot <= b[j].slot);
    const bool from_b = i == a.size() || (j < b.size() && b[j].slot <= a[i].slot);
    const std::string& slot = from_a ? a[i].slot : b[j].slot;
    Quantity amount;
    if (!combine(from_a ? a[i].amount : Quantity(), from_b ? b[j].amount : Quantity(), &amount)) {
      return OutOfRange(slot);
    }
    if (amount != Quantity()) result.push_back({slot, amount});
    i += from_a ? 1 : 0;
    j += from_b ? 1 : 0;
  }
  return result;
}

}  // namespace

StatusOr<std::vector<SlotRequest>> AddSlots(std::span<const SlotRequest> a,
                                            std::span<const SlotRequest> b) {
  return Merge(a, b, &Quantity::Add);
}

StatusOr<std::vector<SlotRequest>> SubtractSlots(std::span<const SlotRequest> a,
                                                 std::span<const SlotRequest> b) {
  return Merge(a, b, &Quantity::Subtract);
}

StatusOr<bool> SlotsFit(std::span<const SlotRequest> request,
                        std::span<const SlotRequest> available) {
  TRACKBED_ASSIGN_OR_RETURN(const auto wanted, SortAndSum(request));
  TRACKBED_ASSIGN_OR_RETURN(const auto there, SortAndSum(available));
  for (const SlotRequest& slot : wanted) {
    const auto found = std::lower_bound(
        there.begin(), there.end(), slot.slot,
        [](const SlotRequest& entry, const std::string& name) { return entry.slot < name; });
    const bool known = found != there.end() && found->slot == slot.slot;
    if (slot.amount > (known ? found->amount : Quantity())) return false;
  }
  return true;
}

StatusOr<DominantShare> FindDominantShare(std::span<const SlotRequest> held,
                                          std::span<const SlotRequest> capacity) {
  TRACKBED_ASSIGN_OR_RETURN(const auto taken, SortAndSum(held));
  TRACKBED_ASSIGN_OR_RETURN(const auto there, SortAndSum(capacity));
  DominantShare dominant;
  for (const SlotRequest& slot : taken) {
    const auto found = std::find_if(there.begin(), there.end(), [&](const SlotRequest& entry) {
      return entry.slot == slot.slot;
    });
    if (found == there.end() || found->amount <= Quantity()) continue;
    const double share = static_cast<double>(slot.amount.thousandths()) /
                         static_cast<double>(found->amount.thousandths());
    if (share > dominant.share) dominant = {slot.slot, share};
  }
  return dominant;
}

}  // namespace trackbed
