// The port that decides who of those that wait goes first. A host may bring its own, in place of
// GroupPolicy::order, of priority and of ageing.
//
// Two numbers decide. Between tenants, where ByShares: the smaller share of the two siblings that
// the tenants are or belong to, at each level of the tree, goes first. Else, and among tasks of one
// tenant or of equal shares: the smaller rank, then who was submitted first. Both follow from what
// is passed in: the same story, the same numbers. An order serves one scheduler, is called on the
// thread that calls it, and must not call it back. Not thread-safe.
#pragma once

#include <cstdint>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/scheduling/tenancy.hpp"

namespace trackbed {

struct TaskRequest;

class Order {
 public:
  virtual ~Order() = default;

  // Where the task stands; asked once, by what takes the task (Submit, Restore, Predict),
  // which an error refuses with.
  virtual StatusOr<int64_t> Rank(const TaskRequest& task, Time submitted) = 0;

  // Whether shares decide between tenants. Never changes.
  virtual bool ByShares() const { return false; }
  // What the tenant has had of what there is, in any unit; asked while planning, whenever two
  // tenants compete. Not NaN.
  virtual double Share(const Tenancy& tenancy, TenantIndex tenant, Time now) {
    static_cast<void>(now);
    return tenancy.DominantShare(tenant);
  }
};

}  // namespace trackbed
