#include "trackbed/scheduling/resource_groups.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "trackbed/base/diagnostic.hpp"

namespace trackbed {
namespace {

Status Denied(std::string_view message) { return absl::PermissionDeniedError(AbslView(message)); }

Status NeedsRight(std::string_view right) {
  return Denied(absl::StrCat("needs the right to ", AbslView(right)));
}

}  // namespace

bool ResourceGroups::IsBelow(TenantIndex tenant, TenantIndex ancestor) const {
  while (tenant != ancestor && tenant != kRootTenant) tenant = tenants_[tenant].parent;
  return tenant == ancestor;
}

std::string ResourceGroups::Path(TenantIndex tenant) const {
  // A principal may be of a tenant that there is not.
  if (tenant >= tenants_.size()) return absl::StrCat("tenant ", tenant);
  std::string path;
  for (; tenant != kRootTenant; tenant = tenants_[tenant].parent) {
    path = path.empty() ? tenants_[tenant].name : absl::StrCat(tenants_[tenant].name, "/", path);
  }
  return path.empty() ? "everybody" : absl::StrCat("\"", path, "\"");
}

StatusOr<ResourceGroups::Group*> ResourceGroups::Get(std::string_view group) {
  const auto found = groups_.find(group);
  if (found != groups_.end()) return &found->second;
  std::vector<std::string_view> names;
  for (const auto& [name, unused] : groups_) names.push_back(name);
  const std::string_view near = ClosestMatch(group, names);
  return NotFound(
      absl::StrCat("there is no resource group \"", AbslView(group), "\"",
                   near.empty() ? "" : absl::StrCat("; did you mean \"", AbslView(near), "\"?")));
}

StatusOr<TenantIndex> ResourceGroups::AddTenant(const Principal& who, TenantIndex parent,
                                                std::string name) {
  if (!who.manages_tenants) return NeedsRight("manage tenants");
  if (parent >= tenants_.size()) {
    return NotFound(absl::StrCat("tenant \"", name, "\": there is no parent ", parent));
  }
  if (!IsBelow(parent, who.tenant)) {
    return Denied(
        absl::StrCat("may manage tenants below ", Path(who.tenant), ", not below ", Path(parent)));
  }
  // The checks are Tenancy's own, made on a copy of the tree first: all groups or none.
  Tenancy tree;
  for (size_t i = 1; i < tenants_.size(); ++i) {
    TRACKBED_RETURN_IF_ERROR(tree.Add(tenants_[i].parent, tenants_[i].name, {}).status());
  }
  TRACKBED_ASSIGN_OR_RETURN(const TenantIndex tenant, tree.Add(parent, name, {}));
  for (auto& [unused, group] : groups_) {
    TRACKBED_RETURN_IF_ERROR(group.scheduler->AddTenant(parent, name, {}).status());
  }
  tenants_.push_back({parent, std::move(name)});
  return tenant;
}

Status ResourceGroups::SetQuota(const Principal& who, std::string_view group, TenantIndex tenant,
                                const Quota& quota) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  if (!who.manages_tenants) return NeedsRight("manage tenants");
  if (tenant >= tenants_.size()) return NotFound(absl::StrCat("there is no tenant ", tenant));
  const bool host = who.tenant == kRootTenant;
  if (!IsBelow(tenant, who.tenant) || (tenant == who.tenant && !host)) {
    return Denied(absl::StrCat("may set quotas of tenants below ", Path(who.tenant), ", not of ",
                               Path(tenant)));
  }
  return found->scheduler->SetQuota(tenant, quota);
}

Status ResourceGroups::CheckRules(const GroupRules& rules) const {
  for (const TenantIndex tenant : rules.allowed) {
    if (tenant >= tenants_.size()) {
      return InvalidArgument(
          absl::StrCat("found the tenant ", tenant, " among the allowed, which does not exist"));
    }
  }
  return absl::OkStatus();
}

Status ResourceGroups::AddGroup(const Principal& who, std::string name, GroupRules rules,
                                SchedulerOptions options) {
  if (!who.sets_policies) return NeedsRight("set policies");
  if (name.empty()) return InvalidArgument("found an empty name, expected that of a group");
  if (groups_.contains(name)) {
    return AlreadyExists(absl::StrCat("the resource group \"", name, "\" is there already"));
  }
  if (options.placer == nullptr) {
    return InvalidArgument(absl::StrCat("resource group \"", name, "\": there is no placer"));
  }
  TRACKBED_RETURN_IF_ERROR(CheckRules(rules));
  Group group;
  group.rules = std::move(rules);
  group.kinds = options.policy.kinds;
  group.scheduler = std::make_unique<Scheduler>(std::move(options));
  for (size_t i = 1; i < tenants_.size(); ++i) {
    TRACKBED_RETURN_IF_ERROR(
        group.scheduler->AddTenant(tenants_[i].parent, tenants_[i].name, {}).status());
  }
  groups_.emplace(std::move(name), std::move(group));
  return absl::OkStatus();
}

Status ResourceGroups::SetRules(const Principal& who, std::string_view group, GroupRules rules) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  if (!who.sets_policies) return NeedsRight("set policies");
  TRACKBED_RETURN_IF_ERROR(CheckRules(rules));
  found->rules = std::move(rules);
  return absl::OkStatus();
}

StatusOr<NodeIndex> ResourceGroups::AddNode(const Principal& who, std::string_view group,
                                            std::string name, const NodeCapacity& capacity,
                                            uint8_t device_resource) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  if (!who.operates_nodes) return NeedsRight("operate nodes");
  if (capacity.architecture >= 32 ||
      (found->rules.architectures >> capacity.architecture & 1U) == 0) {
    return InvalidArgument(absl::StrCat("node \"", name, "\": the resource group \"",
                                        AbslView(group), "\" takes no nodes of its architecture"));
  }
  for (const auto& [other, place] : groups_) {
    if (place.nodes.contains(name)) {
      return AlreadyExists(
          absl::StrCat("node \"", name, "\" is in the resource group \"", other, "\" already"));
    }
  }
  TRACKBED_ASSIGN_OR_RETURN(const NodeIndex node,
                            found->scheduler->AddNode(name, capacity, device_resource));
  found->nodes.emplace(std::move(name), node);
  return node;
}

Status ResourceGroups::DrainNode(const Principal& who, std::string_view group,
                                 std::string_view node) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  if (!who.operates_nodes) return NeedsRight("operate nodes");
  const auto place = found->nodes.find(node);
  if (place == found->nodes.end()) {
    return NotFound(absl::StrCat("there is no node \"", AbslView(node), "\""));
  }
  found->scheduler->DrainNode(place->second);
  return absl::OkStatus();
}

Status ResourceGroups::OpenNode(const Principal& who, std::string_view group,
                                std::string_view node) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  if (!who.operates_nodes) return NeedsRight("operate nodes");
  const auto place = found->nodes.find(node);
  if (place == found->nodes.end()) {
    return NotFound(absl::StrCat("there is no node \"", AbslView(node), "\""));
  }
  found->scheduler->OpenNode(place->second);
  return absl::OkStatus();
}

Status ResourceGroups::MayUse(const Principal& who, std::string_view name, const Group& group,
                              const TaskRequest& task) const {
  if (task.tenant >= tenants_.size()) {
    return InvalidArgument(absl::StrCat("task ", task.id, ": there is no tenant ", task.tenant));
  }
  if (!IsBelow(task.tenant, who.tenant)) {
    return Denied(absl::StrCat("task ", task.id, ": ", Path(who.tenant), " may not act for ",
                               Path(task.tenant)));
  }
  const std::vector<TenantIndex>& allowed = group.rules.allowed;
  if (!allowed.empty() && std::none_of(allowed.begin(), allowed.end(), [&](TenantIndex tenant) {
        return IsBelow(task.tenant, tenant);
      })) {
    std::string names;
    for (const TenantIndex tenant : allowed) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", Path(tenant));
    }
    return Denied(absl::StrCat("task ", task.id, ": the resource group \"", AbslView(name),
                               "\" is for ", names, ", not for ", Path(task.tenant)));
  }
  return absl::OkStatus();
}

std::vector<std::string> ResourceGroups::Usable(const Principal& who, WorkKind kind) const {
  std::vector<std::string> names;
  TaskRequest task;
  task.tenant = who.tenant;
  for (const auto& [name, group] : groups_) {
    const bool takes_kind = (group.kinds >> static_cast<unsigned>(kind) & 1U) != 0;
    if (takes_kind && MayUse(who, name, group, task).ok()) names.push_back(name);
  }
  return names;
}

Status ResourceGroups::Submit(const Principal& who, std::string_view group, const TaskRequest& task,
                              Time now) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  TRACKBED_RETURN_IF_ERROR(MayUse(who, group, *found, task));
  return found->scheduler->Submit(task, now);
}

Status ResourceGroups::Withdraw(const Principal& who, std::string_view group, TaskId task,
                                Time now) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  const std::optional<TenantIndex> owner = found->scheduler->TenantOf(task);
  // Whoever may not know of a task learns nothing of it.
  if (!owner || !IsBelow(*owner, who.tenant)) {
    return NotFound(absl::StrCat("there is no task ", task));
  }
  if (!found->scheduler->IsWaiting(task)) {
    return FailedPrecondition(absl::StrCat("task ", task, " runs already"));
  }
  return found->scheduler->Finish(task, now);
}

StatusOr<Prediction> ResourceGroups::Predict(const Principal& who, std::string_view group,
                                             const TaskRequest& task, Time now) {
  TRACKBED_ASSIGN_OR_RETURN(Group * found, Get(group));
  TRACKBED_RETURN_IF_ERROR(MayUse(who, group, *found, task));
  return found->scheduler->Predict(task, now);
}

Scheduler* ResourceGroups::Find(std::string_view group) {
  const auto found = groups_.find(group);
  return found == groups_.end() ? nullptr : found->second.scheduler.get();
}

}  // namespace trackbed
