#include "trackbed/scheduling/tenancy.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

namespace trackbed {
namespace {

// 2^-(age/half_life), from square roots and products only: these give the same bits on every
// machine, which exp2 does not.
double DecayFactor(Duration age, Duration half_life) {
  if (age.count() <= 0) return 1;
  const int64_t halvings = age / half_life;
  if (halvings > 1000) return 0;
  double factor = std::ldexp(1.0, -static_cast<int>(halvings));
  double fraction =
      static_cast<double>((age % half_life).count()) / static_cast<double>(half_life.count());
  double root = 0.5;
  for (int bit = 0; bit < 30; ++bit) {
    root = std::sqrt(root);
    fraction *= 2;
    if (fraction >= 1) {
      fraction -= 1;
      factor *= root;
    }
  }
  return factor;
}

constexpr double kLn2 = 0.6931471805599453;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void UseChange::Add(const Tenancy& tenancy, TenantIndex tenant, const Amounts& amounts,
                    int64_t sign) {
  for (;; tenant = tenancy.parent(tenant)) {
    auto entry = std::find_if(entries_.begin(), entries_.end(),
                              [&](const Entry& other) { return other.tenant == tenant; });
    if (entry == entries_.end()) {
      entry = entries_.insert(entries_.end(), Entry());
      entry->tenant = tenant;
    }
    for (size_t i = 0; i < kMaxResources; ++i) entry->amounts[i] += sign * amounts[i];
    entry->tasks += sign;
    if (tenant == kRootTenant) return;
  }
}

void UseChange::Starts(const Tenancy& tenancy, TenantIndex tenant, const Amounts& amounts) {
  Add(tenancy, tenant, amounts, 1);
}

void UseChange::Ends(const Tenancy& tenancy, TenantIndex tenant, const Amounts& amounts) {
  Add(tenancy, tenant, amounts, -1);
}

const UseChange::Entry* UseChange::Find(TenantIndex tenant) const {
  for (const Entry& entry : entries_) {
    if (entry.tenant == tenant) return &entry;
  }
  return nullptr;
}

int64_t UseChange::amount(TenantIndex tenant, size_t resource) const {
  const Entry* entry = Find(tenant);
  return entry == nullptr ? 0 : entry->amounts[resource];
}

int64_t UseChange::tasks(TenantIndex tenant) const {
  const Entry* entry = Find(tenant);
  return entry == nullptr ? 0 : entry->tasks;
}

Tenancy::Tenancy(Duration half_life)
    : half_life_(std::max<Duration>(half_life, std::chrono::seconds(1))) {
  tenants_.emplace_back();
}

Status Tenancy::CheckQuota(const Quota& quota, std::string_view name) const {
  if (!(quota.weight > 0) || !std::isfinite(quota.weight)) {
    return InvalidArgument(absl::StrCat("tenant \"", AbslView(name), "\": found weight ",
                                        quota.weight, ", expected more than 0"));
  }
  for (size_t i = 0; i < kMaxResources; ++i) {
    if (quota.guaranteed[i] < 0 || quota.limit[i] < 0) {
      return InvalidArgument(
          absl::StrCat("tenant \"", AbslView(name), "\": found a negative quota of resource ", i));
    }
    if (quota.guaranteed[i] > quota.limit[i]) {
      return InvalidArgument(absl::StrCat("tenant \"", AbslView(name), "\": found ",
                                          quota.guaranteed[i], " guaranteed of resource ", i,
                                          ", expected at most the limit, ", quota.limit[i]));
    }
  }
  return absl::OkStatus();
}

StatusOr<TenantIndex> Tenancy::Add(TenantIndex parent, std::string name, const Quota& quota) {
  if (parent >= tenants_.size()) {
    return NotFound(absl::StrCat("tenant \"", name, "\": there is no parent ", parent));
  }
  if (name.empty() || name.find('/') != std::string::npos) {
    return InvalidArgument(
        absl::StrCat("found the tenant name \"", name, "\", expected a text without \"/\""));
  }
  TRACKBED_RETURN_IF_ERROR(CheckQuota(quota, name));
  for (const Tenant& tenant : tenants_) {
    if (tenant.parent == parent && tenant.name == name) {
      return AlreadyExists(absl::StrCat("tenant \"", name, "\" is there already"));
    }
  }
  Tenant tenant;
  tenant.name = std::move(name);
  tenant.parent = parent;
  tenant.depth = tenants_[parent].depth + 1;
  tenant.quota = quota;
  tenants_.push_back(std::move(tenant));
  return static_cast<TenantIndex>(tenants_.size() - 1);
}

Status Tenancy::SetQuota(TenantIndex tenant, const Quota& quota) {
  if (tenant >= tenants_.size()) return NotFound(absl::StrCat("there is no tenant ", tenant));
  TRACKBED_RETURN_IF_ERROR(CheckQuota(quota, tenants_[tenant].name));
  tenants_[tenant].quota = quota;
  return absl::OkStatus();
}

std::string Tenancy::Path(TenantIndex tenant) const {
  std::string path;
  for (; tenant != kRootTenant; tenant = tenants_[tenant].parent) {
    path = path.empty() ? tenants_[tenant].name : absl::StrCat(tenants_[tenant].name, "/", path);
  }
  return path;
}

StatusOr<TenantIndex> Tenancy::Find(std::string_view path) const {
  TenantIndex found = kRootTenant;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path = name.size() == path.size() ? std::string_view() : path.substr(name.size() + 1);
    TenantIndex child = 1;
    while (child < tenants_.size() &&
           (tenants_[child].parent != found || tenants_[child].name != name)) {
      ++child;
    }
    if (child == tenants_.size()) {
      return NotFound(
          absl::StrCat("there is no tenant \"", AbslView(name), "\" below \"", Path(found), "\""));
    }
    found = child;
  }
  return found;
}

bool Tenancy::MayStart(TenantIndex tenant, const Amounts& amounts, const UseChange& change,
                       QuotaRefusal* refusal) const {
  for (;; tenant = tenants_[tenant].parent) {
    const Tenant& at = tenants_[tenant];
    const int64_t running = at.running + change.tasks(tenant);
    if (running >= at.quota.max_running) {
      *refusal = {QuotaRefusal::Rule::max_running, tenant, 0, 1, running, at.quota.max_running};
      return false;
    }
    for (size_t i = 0; i < kMaxResources; ++i) {
      if (amounts[i] <= 0) continue;
      const int64_t used = at.used[i] + change.amount(tenant, i);
      if (amounts[i] > at.quota.limit[i] - std::min(used, at.quota.limit[i])) {
        *refusal = {QuotaRefusal::Rule::limit, tenant, i, amounts[i], used, at.quota.limit[i]};
        return false;
      }
    }
    if (tenant == kRootTenant) return true;
  }
}

bool Tenancy::MayWait(TenantIndex tenant, QuotaRefusal* refusal) const {
  for (;; tenant = tenants_[tenant].parent) {
    const Tenant& at = tenants_[tenant];
    if (at.waiting >= at.quota.max_waiting) {
      *refusal = {QuotaRefusal::Rule::max_waiting, tenant, 0, 1, at.waiting, at.quota.max_waiting};
      return false;
    }
    if (tenant == kRootTenant) return true;
  }
}

bool Tenancy::CouldEverStart(TenantIndex tenant, const Amounts& amounts,
                             QuotaRefusal* refusal) const {
  for (;; tenant = tenants_[tenant].parent) {
    const Tenant& at = tenants_[tenant];
    if (at.quota.max_running == 0) {
      *refusal = {QuotaRefusal::Rule::max_running, tenant, 0, 1, 0, 0};
      return false;
    }
    for (size_t i = 0; i < kMaxResources; ++i) {
      if (amounts[i] > at.quota.limit[i]) {
        *refusal = {QuotaRefusal::Rule::limit, tenant, i, amounts[i], 0, at.quota.limit[i]};
        return false;
      }
    }
    if (tenant == kRootTenant) return true;
  }
}

void Tenancy::Waits(TenantIndex tenant) {
  for (;; tenant = tenants_[tenant].parent) {
    ++tenants_[tenant].waiting;
    if (tenant == kRootTenant) return;
  }
}

void Tenancy::WaitsNoMore(TenantIndex tenant) {
  for (;; tenant = tenants_[tenant].parent) {
    --tenants_[tenant].waiting;
    if (tenant == kRootTenant) return;
  }
}

void Tenancy::Starts(TenantIndex tenant, const Amounts& amounts, Time now) {
  for (;; tenant = tenants_[tenant].parent) {
    Tenant& at = tenants_[tenant];
    at.past_use = Decayed(at, now);
    at.counted_at = std::max(at.counted_at, now);
    // Sums of what lies on real nodes: Cluster bounds each, so that these cannot overflow.
    for (size_t i = 0; i < kMaxResources; ++i) at.used[i] += amounts[i];
    ++at.running;
    if (tenant == kRootTenant) return;
  }
}

void Tenancy::Ends(TenantIndex tenant, const Amounts& amounts, Time now) {
  for (;; tenant = tenants_[tenant].parent) {
    Tenant& at = tenants_[tenant];
    at.past_use = Decayed(at, now);
    at.counted_at = std::max(at.counted_at, now);
    for (size_t i = 0; i < kMaxResources; ++i) at.used[i] -= amounts[i];
    --at.running;
    if (tenant == kRootTenant) return;
  }
}

bool Tenancy::WouldBorrow(TenantIndex tenant, const Amounts& amounts) const {
  bool guaranteed = false;  // some of it
  for (; tenant != kRootTenant; tenant = tenants_[tenant].parent) {
    const Tenant& at = tenants_[tenant];
    for (size_t i = 0; i < kMaxResources; ++i) {
      if (amounts[i] == 0 || at.quota.guaranteed[i] == 0) continue;
      guaranteed = true;
      if (at.used[i] + amounts[i] > at.quota.guaranteed[i]) return true;
    }
  }
  return !guaranteed;
}

bool Tenancy::HasGuarantees() const {
  return std::any_of(tenants_.begin(), tenants_.end(),
                     [](const Tenant& tenant) { return tenant.quota.guaranteed != kNothing; });
}

double Tenancy::DominantShare(TenantIndex tenant) const {
  const Tenant& at = tenants_[tenant];
  double share = 0;
  for (size_t i = 0; i < kMaxResources; ++i) {
    if (capacity_[i] <= 0) continue;
    share = std::max(share, static_cast<double>(at.used[i]) / static_cast<double>(capacity_[i]));
  }
  return share / at.quota.weight;
}

double Tenancy::UseRate(const Tenant& tenant) const {
  double rate = 0;
  double weights = 0;
  for (size_t i = 0; i < kMaxResources; ++i) {
    if (capacity_[i] <= 0) continue;
    const double share = static_cast<double>(tenant.used[i]) / static_cast<double>(capacity_[i]);
    rate += weights_[i] * share;
    weights += weights_[i];
  }
  return weights > 0 ? rate / weights : 0;
}

// The use of the past fades while what runs adds to it: du/dt = rate - u ln2 / half_life.
double Tenancy::Decayed(const Tenant& tenant, Time now) const {
  const double factor = DecayFactor(now - tenant.counted_at, half_life_);
  const double steady = UseRate(tenant) * (Seconds(half_life_) / kLn2);
  return tenant.past_use * factor + steady * (1 - factor);
}

double Tenancy::PastUse(TenantIndex tenant, Time now) const {
  return Decayed(tenants_[tenant], now) / tenants_[tenant].quota.weight;
}

std::pair<TenantIndex, TenantIndex> Tenancy::Rivals(TenantIndex a, TenantIndex b) const {
  TenantIndex from_a = a;
  TenantIndex from_b = b;
  while (tenants_[a].depth > tenants_[b].depth) from_a = a, a = tenants_[a].parent;
  while (tenants_[b].depth > tenants_[a].depth) from_b = b, b = tenants_[b].parent;
  if (a == b) return {a, a};
  while (a != b) {
    from_a = a;
    from_b = b;
    a = tenants_[a].parent;
    b = tenants_[b].parent;
  }
  return {from_a, from_b};
}

}  // namespace trackbed
