// How what a cluster hands out keeps a task to the amounts that it was given.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

// By the numbers that the owner of the cluster gave. Unless it says otherwise a whole device keeps
// a task to itself, a share is advice, and what is only counted is only counted.
struct EnforcementTable {
  std::array<Enforcement, kMaxDeviceKinds> whole;  // of a device of the kind, given as a whole
  std::array<Enforcement, kMaxDeviceKinds> share;  // of a part of one
  std::array<Enforcement, kMaxCounted> counted;

  EnforcementTable() {
    whole.fill(Enforcement::hardware);
    share.fill(Enforcement::advisory);
    counted.fill(Enforcement::accounting);
  }

  // Of what the demand takes, the weakest, if its devices are of this kind.
  Enforcement OfKind(const Demand& demand, size_t kind) const {
    Enforcement weakest = Enforcement::hardware;
    if (demand.whole_devices > 0) weakest = std::min(weakest, whole[kind]);
    if (demand.share > 0) weakest = std::min(weakest, share[kind]);
    return weakest;
  }

  // Of the demand's kinds of devices, those that are enforced no more weakly than that.
  uint64_t KindsAtLeast(const Demand& demand, Enforcement at_least) const {
    uint64_t kinds = demand.device_kinds;
    for (size_t kind = 0; kind < kMaxDeviceKinds; ++kind) {
      if (OfKind(demand, kind) < at_least) kinds &= ~(uint64_t{1} << kind);
    }
    return kinds;
  }

  // Of what it takes of counted resources, the weakest; none: it takes nothing of them.
  std::optional<Enforcement> OfCounted(const Demand& demand) const {
    std::optional<Enforcement> weakest;
    for (size_t i = 0; demand.counted != nullptr && i < kMaxCounted; ++i) {
      if ((*demand.counted)[i] > 0) weakest = std::min(weakest.value_or(counted[i]), counted[i]);
    }
    return weakest;
  }

  // Of what the demand takes there, the weakest; none: neither devices nor anything counted.
  std::optional<Enforcement> Of(const Demand& demand, const NodeCapacity& capacity,
                                const Placement& placement) const {
    std::optional<Enforcement> weakest = OfCounted(demand);
    const auto weaken = [&](Enforcement other) {
      weakest = std::min(weakest.value_or(other), other);
    };
    for (size_t device = 0; device < capacity.device_count; ++device) {
      if ((placement.whole_devices >> device & 1U) != 0)
        weaken(whole[capacity.device_kind[device]]);
    }
    if (placement.shared_device >= 0) {
      weaken(share[capacity.device_kind[static_cast<uint8_t>(placement.shared_device)]]);
    }
    return weakest;
  }
};

}  // namespace trackbed
