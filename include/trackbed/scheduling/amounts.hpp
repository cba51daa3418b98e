// So much of each resource of a group: what quotas limit and shares are measured by.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace trackbed {

// Resource 0 is cpu (thousandths of a core), 1 is memory (bytes); the others are the slot types of
// accelerators (thousandths of a device), as numbered by the owner of the resource group.
inline constexpr size_t kCpu = 0;
inline constexpr size_t kMemory = 1;
inline constexpr size_t kFirstDeviceResource = 2;
inline constexpr size_t kMaxResources = 8;

using Amounts = std::array<int64_t, kMaxResources>;

// False, with *sum unchanged, when an entry of a + b is out of range.
[[nodiscard]] inline bool Add(const Amounts& a, const Amounts& b, Amounts* sum) {
  Amounts result;
  for (size_t i = 0; i < kMaxResources; ++i) {
    if (__builtin_add_overflow(a[i], b[i], &result[i])) return false;
  }
  *sum = result;
  return true;
}

}  // namespace trackbed
