// The resource groups of an organisation: who may use which, and who may change them.
//
// Use and operation are apart. A user submits, withdraws and asks; what a group is made of, what it
// is for and how much each may use is changed by those who were given the right to, and everybody
// else is refused by name of the right that is missing. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

// Who asks: a tenant, and what it was given beyond use. The host makes these after it has found out
// who is there; it asks for nothing in its own name but with Principal::Host().
struct Principal {
  TenantIndex tenant = kRootTenant;
  bool operates_nodes = false;   // may add, drain and remove nodes
  bool sets_policies = false;    // may make groups and change their rules
  bool manages_tenants = false;  // may add tenants and set quotas below its own tenant
  static Principal Host() { return {kRootTenant, true, true, true}; }
};

// What a group is for.
struct GroupRules {
  std::vector<TenantIndex> allowed;       // these and all below them; empty: everybody
  uint32_t architectures = ~uint32_t{0};  // of the nodes that may be added: a set
};

class ResourceGroups {
 public:
  // Tenants are common to all groups, by the same number; quotas are of each group.
  // kPermissionDenied names the right or rule in the way; else the errors of Tenancy::Add.
  StatusOr<TenantIndex> AddTenant(const Principal& who, TenantIndex parent, std::string name);
  // For a tenant below that of `who`: nobody raises his own quota.
  Status SetQuota(const Principal& who, std::string_view group, TenantIndex tenant,
                  const Quota& quota);

  // kAlreadyExists when the name is taken, kInvalidArgument for an empty name, an unknown tenant
  // among the allowed, or options without a placer.
  Status AddGroup(const Principal& who, std::string name, GroupRules rules,
                  SchedulerOptions options);
  Status SetRules(const Principal& who, std::string_view group, GroupRules rules);

  // Errors as Scheduler::AddNode; kInvalidArgument for an architecture that the group does not
  // take.
  StatusOr<NodeIndex> AddNode(const Principal& who, std::string_view group, std::string name,
                              const NodeCapacity& capacity,
                              uint8_t device_resource = kFirstDeviceResource);
  Status DrainNode(const Principal& who, std::string_view group, std::string_view node);
  Status OpenNode(const Principal& who, std::string_view group, std::string_view node);

  // The groups that the principal may submit this kind of work to, by name.
  std::vector<std::string> Usable(const Principal& who, WorkKind kind) const;

  // The task is submitted for its tenant, which must be that of `who` or one below. Errors as
  // Scheduler::Submit.
  Status Submit(const Principal& who, std::string_view group, const TaskRequest& task, Time now);
  // Withdraws a waiting task of the principal's tenant or one below.
  Status Withdraw(const Principal& who, std::string_view group, TaskId task, Time now);
  StatusOr<Prediction> Predict(const Principal& who, std::string_view group,
                               const TaskRequest& task, Time now);

  // For the host, which runs what is planned; null when there is no such group. Valid until this
  // is destroyed.
  Scheduler* Find(std::string_view group);

 private:
  struct Group {
    GroupRules rules;
    uint8_t kinds = 0;
    std::unique_ptr<Scheduler> scheduler;
    std::map<std::string, NodeIndex, std::less<>> nodes;
  };
  struct Tenant {
    TenantIndex parent;
    std::string name;
  };

  bool IsBelow(TenantIndex tenant, TenantIndex ancestor) const;
  std::string Path(TenantIndex tenant) const;
  StatusOr<Group*> Get(std::string_view group);
  Status MayUse(const Principal& who, std::string_view name, const Group& group,
                const TaskRequest& task) const;
  Status CheckRules(const GroupRules& rules) const;

  std::vector<Tenant> tenants_ = {{kRootTenant, ""}};
  std::map<std::string, Group, std::less<>> groups_;
};

}  // namespace trackbed
