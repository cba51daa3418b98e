#include "trackbed/resources/slots.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "trackbed/base/slot_type.hpp"

namespace trackbed {

SlotPool::SlotPool(std::vector<SlotRequest> capacity) {
  std::sort(capacity.begin(), capacity.end(),
            [](const SlotRequest& a, const SlotRequest& b) { return a.slot < b.slot; });
  for (SlotRequest& entry : capacity) {
    if (!capacity_.empty() && capacity_.back().slot == entry.slot) {
      Quantity sum;
      if (Quantity::Add(capacity_.back().amount, entry.amount, &sum)) {
        capacity_.back().amount = sum;
      }
      continue;
    }
    capacity_.push_back(std::move(entry));
  }
  free_.reserve(capacity_.size());
  for (const SlotRequest& entry : capacity_) free_.push_back(entry.amount);
}

StatusOr<SlotClaim> SlotPool::Claim(std::span<const SlotRequest> request) const {
  SlotClaim claim;
  claim.reserve(request.size());
  for (const SlotRequest& wanted : request) {
    if (wanted.amount == Quantity()) continue;
    if (wanted.amount < Quantity()) {
      return InvalidArgument(absl::StrCat("needs ", FormatSlotAmount(wanted.slot, wanted.amount),
                                          " ", wanted.slot, ", expected no less than 0"));
    }
    const auto place = std::lower_bound(
        capacity_.begin(), capacity_.end(), wanted.slot,
        [](const SlotRequest& entry, const std::string& slot) { return entry.slot < slot; });
    const bool known = place != capacity_.end() && place->slot == wanted.slot;
    const auto index = static_cast<uint32_t>(place - capacity_.begin());
    auto earlier = std::find_if(claim.begin(), claim.end(),
                                [&](const auto& part) { return part.first == index; });
    Quantity total = wanted.amount;
    const bool counted =
        !known || earlier == claim.end() || Quantity::Add(earlier->second, wanted.amount, &total);
    if (!known || !counted || place->amount < total) {
      return ResourceExhausted(absl::StrCat(
          "needs ", FormatSlotAmount(wanted.slot, total), " ", wanted.slot, ", there is ",
          known ? FormatSlotAmount(wanted.slot, place->amount) : std::string("none")));
    }
    if (earlier != claim.end()) {
      earlier->second = total;
    } else {
      claim.emplace_back(index, total);
    }
  }
  return claim;
}

bool SlotPool::Fits(const SlotClaim& claim) const {
  return std::all_of(claim.begin(), claim.end(),
                     [&](const auto& part) { return part.second <= free_[part.first]; });
}

bool SlotPool::Take(const SlotClaim& claim) {
  if (!Fits(claim)) return false;
  Occupy(claim);
  return true;
}

// Sums of claims stay far from the range of a quantity: each is at most the capacity.
void SlotPool::Occupy(const SlotClaim& claim) {
  for (const auto& [place, amount] : claim) {
    (void)Quantity::Subtract(free_[place], amount, &free_[place]);
  }
}

void SlotPool::Give(const SlotClaim& claim) {
  for (const auto& [place, amount] : claim) {
    (void)Quantity::Add(free_[place], amount, &free_[place]);
  }
}

std::string SlotPool::ExplainShortage(const SlotClaim& claim) const {
  for (const auto& [place, amount] : claim) {
    if (free_[place] >= amount) continue;
    const std::string& slot = capacity_[place].slot;
    return absl::StrCat("needs ", FormatSlotAmount(slot, amount), " ", slot, ", ",
                        FormatSlotAmount(slot, std::max(free_[place], Quantity())), " of ",
                        FormatSlotAmount(slot, capacity_[place].amount), " free");
  }
  return "";
}

}  // namespace trackbed
