// Who may use how much: the tree of domains, projects and users, with quotas at every level.
//
// What a tenant uses is what runs for it and for all below it. A tenant may use more than it is
// guaranteed, up to its limit: it then borrows what others leave unused, and may have to give it
// back. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/scheduling/amounts.hpp"

namespace trackbed {

using TenantIndex = uint32_t;
inline constexpr TenantIndex kRootTenant = 0;  // everybody
inline constexpr int64_t kUnlimited = INT64_MAX;

inline constexpr Amounts kNothing{};
inline constexpr Amounts kNoLimit = {kUnlimited, kUnlimited, kUnlimited, kUnlimited,
                                     kUnlimited, kUnlimited, kUnlimited, kUnlimited};

struct Quota {
  Amounts guaranteed = kNothing;      // can always be had, by taking back what others borrow
  Amounts limit = kNoLimit;           // never more than this
  uint32_t max_running = UINT32_MAX;  // tasks at a time
  uint32_t max_waiting = UINT32_MAX;  // tasks in the queue
  double weight = 1;                  // of its share beside its siblings; more than 0
};

// Which rule refuses a request, at which level of the tree.
struct QuotaRefusal {
  enum class Rule : uint8_t { limit, max_running, max_waiting };
  Rule rule = Rule::limit;
  TenantIndex tenant = kRootTenant;
  size_t resource = 0;  // for `limit`
  int64_t needed = 0;   // what the request asks for
  int64_t used = 0;     // by the tenant, now
  int64_t allowed = 0;
};

class Tenancy;

// What tenants would use more or less if some tasks started or ended: to ask what could then start
// or end, without changing anything.
class UseChange {
 public:
  void Starts(const Tenancy& tenancy, TenantIndex tenant, const Amounts& amounts);
  void Ends(const Tenancy& tenancy, TenantIndex tenant, const Amounts& amounts);
  int64_t amount(TenantIndex tenant, size_t resource) const;
  int64_t tasks(TenantIndex tenant) const;

 private:
  struct Entry {
    TenantIndex tenant = kRootTenant;
    Amounts amounts = kNothing;
    int64_t tasks = 0;
  };
  void Add(const Tenancy& tenancy, TenantIndex tenant, const Amounts& amounts, int64_t sign);
  const Entry* Find(TenantIndex tenant) const;

  std::vector<Entry> entries_;  // of the tenants of these tasks and all above
};

class Tenancy {
 public:
  // Past use is halved every 7 days.
  Tenancy() : Tenancy(std::chrono::hours(24 * 7)) {}
  explicit Tenancy(Duration half_life);

  // Adds a tenant below `parent`. kAlreadyExists for a name taken among its siblings; kNotFound
  // for an unknown parent; kInvalidArgument for a weight that is not positive, a negative amount,
  // or a guarantee above the limit. Nothing is changed on an error.
  StatusOr<TenantIndex> Add(TenantIndex parent, std::string name, const Quota& quota);
  // The same checks. What runs already goes on, also above a new limit.
  Status SetQuota(TenantIndex tenant, const Quota& quota);

  size_t size() const { return tenants_.size(); }
  // "research/vision/ada"; "" for the root.
  std::string Path(TenantIndex tenant) const;
  // The tenant of that path; kNotFound names the first part that is unknown.
  StatusOr<TenantIndex> Find(std::string_view path) const;
  TenantIndex parent(TenantIndex tenant) const { return tenants_[tenant].parent; }
  const Quota& quota(TenantIndex tenant) const { return tenants_[tenant].quota; }
  const Amounts& used(TenantIndex tenant) const { return tenants_[tenant].used; }
  uint32_t running(TenantIndex tenant) const { return tenants_[tenant].running; }

  // True when the tenant and all above it may start one more task of this size; else *refusal says
  // the first rule that is in the way, from the tenant upwards.
  bool MayStart(TenantIndex tenant, const Amounts& amounts, QuotaRefusal* refusal) const {
    return MayStart(tenant, amounts, {}, refusal);
  }
  // The same after a change.
  bool MayStart(TenantIndex tenant, const Amounts& amounts, const UseChange& change,
                QuotaRefusal* refusal) const;
  // True when the tenant and all above may have one more task waiting.
  bool MayWait(TenantIndex tenant, QuotaRefusal* refusal) const;
  // True when the request could start if nothing of the tenant ran.
  bool CouldEverStart(TenantIndex tenant, const Amounts& amounts, QuotaRefusal* refusal) const;

  // Counting. The caller pairs them.
  void Waits(TenantIndex tenant);
  void WaitsNoMore(TenantIndex tenant);
  void Starts(TenantIndex tenant, const Amounts& amounts, Time now);
  void Ends(TenantIndex tenant, const Amounts& amounts, Time now);

  // True when, with `amounts` more, the tenant or one above it would use more than is guaranteed to
  // it. Resources without a guarantee do not count beside one that has; what has none of a
  // guaranteed resource borrows always.
  bool WouldBorrow(TenantIndex tenant, const Amounts& amounts) const;
  // True when anything is guaranteed to any tenant.
  bool HasGuarantees() const;

  // What there is of each resource: shares are measured against it.
  void SetCapacity(const Amounts& capacity) { capacity_ = capacity; }
  // The largest of the tenant's shares of the group's resources, over its weight (Ghodsi et al.,
  // "Dominant Resource Fairness", NSDI 2011). Resources that the group has none of do not count.
  double DominantShare(TenantIndex tenant) const;
  // What the tenant used, weighted over the resources, each halved every half-life, over its
  // weight, up to `now`. Unit: whole groups times seconds.
  double PastUse(TenantIndex tenant, Time now) const;
  void SetResourceWeights(const std::array<double, kMaxResources>& weights) { weights_ = weights; }

  // The two tenants, siblings below the lowest common ancestor, whose shares decide between two:
  // fair at every level of the tree. Equal when one is above the other.
  std::pair<TenantIndex, TenantIndex> Rivals(TenantIndex a, TenantIndex b) const;
  // The child of `above` on the way down to `tenant`, which is below it.
  TenantIndex Towards(TenantIndex above, TenantIndex tenant) const {
    while (tenants_[tenant].parent != above) tenant = tenants_[tenant].parent;
    return tenant;
  }

 private:
  struct Tenant {
    std::string name;
    TenantIndex parent = kRootTenant;
    uint32_t depth = 0;
    Quota quota;
    Amounts used = kNothing;
    uint32_t running = 0;
    uint32_t waiting = 0;
    double past_use = 0;  // up to `counted_at`
    Time counted_at{};
  };

  Status CheckQuota(const Quota& quota, std::string_view name) const;
  double UseRate(const Tenant& tenant) const;
  double Decayed(const Tenant& tenant, Time now) const;

  Duration half_life_;
  std::vector<Tenant> tenants_;
  Amounts capacity_ = kNothing;
  std::array<double, kMaxResources> weights_ = {1, 1, 10, 10, 10, 10, 10, 10};
};

}  // namespace trackbed
