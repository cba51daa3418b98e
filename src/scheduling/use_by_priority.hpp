// What tenants use, counted from their most important tasks down: what a tenant borrows is what its
// least important tasks use.
#pragma once

#include <absl/container/btree_map.h>

#include <cstdint>
#include <utility>

#include "trackbed/scheduling/tenancy.hpp"

namespace trackbed {

class UseByPriority {
 public:
  // Counts a task of the tenant, `times` 1, or no longer, -1: for the tenant and all above it.
  void Count(const Tenancy& tenancy, TenantIndex tenant, int32_t priority, const Amounts& amounts,
             int64_t times) {
    if (amounts == kNothing) return;
    for (;; tenant = tenancy.parent(tenant)) {
      const auto entry = use_.try_emplace(std::pair(tenant, priority), kNothing).first;
      for (size_t i = 0; i < kMaxResources; ++i) entry->second[i] += times * amounts[i];
      if (entry->second == kNothing) use_.erase(entry);
      if (tenant == kRootTenant) return;
    }
  }

  // By the tasks of the tenant, and of all below it, of at least this priority.
  int64_t AtLeast(TenantIndex tenant, int32_t priority, size_t resource) const {
    int64_t sum = 0;
    for (auto entry = use_.lower_bound(std::pair(tenant, priority));
         entry != use_.end() && entry->first.first == tenant; ++entry) {
      sum += entry->second[resource];
    }
    return sum;
  }

  friend bool operator==(const UseByPriority& a, const UseByPriority& b) {
    return a.use_ == b.use_;
  }

 private:
  absl::btree_map<std::pair<TenantIndex, int32_t>, Amounts> use_;
};

}  // namespace trackbed
