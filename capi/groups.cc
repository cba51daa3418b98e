// Resource groups.
#include <map>
#include <nlohmann/json.hpp>

#include "scheduler.hpp"
#include "trackbed/scheduling/resource_groups.hpp"

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

struct trackbed_groups {
  // What was lent, and what tasks refer to: both outlive the groups.
  std::map<std::string, trackbed_scheduler, std::less<>> handles;
  CountedShapes counted;
  ResourceGroups groups;
};

namespace {

StatusOr<Principal> ReadPrincipal(const trackbed_principal* given) {
  if (given == nullptr) return Principal::Host();
  trackbed_principal read;
  TRACKBED_RETURN_IF_ERROR(ReadStruct(given, "who", &read));
  return Principal{read.tenant, read.operates_nodes != 0, read.sets_policies != 0,
                   read.manages_tenants != 0};
}

StatusOr<GroupRules> ReadRules(const trackbed_group_rules* given) {
  trackbed_group_rules read;
  TRACKBED_RETURN_IF_ERROR(ReadOptions(given, "rules", &read));
  if (read.allowed == nullptr && read.allowed_count != 0) return MissingArgument("rules.allowed");
  GroupRules rules;
  if (read.allowed_count != 0)
    rules.allowed.assign(read.allowed, read.allowed + read.allowed_count);
  if (read.architectures != 0) rules.architectures = read.architectures;
  return rules;
}

// What nearly every call begins with.
struct Call {
  Principal who;
  std::string group;
};

StatusOr<Call> Begin(const trackbed_groups* groups, const trackbed_principal* who,
                     const char* group, size_t group_size) {
  if (groups == nullptr) return MissingArgument("groups");
  Call call;
  TRACKBED_ASSIGN_OR_RETURN(call.who, ReadPrincipal(who));
  TRACKBED_RETURN_IF_ERROR(ReadText(group, group_size, "group", &call.group));
  return call;
}

}  // namespace

trackbed_status trackbed_groups_create(trackbed_groups** out, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(out);
    *out = std::make_unique<trackbed_groups>().release();
    return absl::OkStatus();
  });
}

void trackbed_groups_free(trackbed_groups* groups) noexcept { delete groups; }

trackbed_status trackbed_groups_add_tenant(trackbed_groups* groups, const trackbed_principal* who,
                                           uint32_t parent, const char* name, size_t name_size,
                                           uint32_t* tenant, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(Call call, Begin(groups, who, name, name_size));
    TRACKBED_ASSIGN_OR_RETURN(const TenantIndex added,
                              groups->groups.AddTenant(call.who, parent, std::move(call.group)));
    if (tenant != nullptr) *tenant = added;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_groups_set_quota(trackbed_groups* groups, const trackbed_principal* who,
                                          const char* group, size_t group_size, uint32_t tenant,
                                          const trackbed_quota* quota,
                                          trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    TRACKBED_ASSIGN_OR_RETURN(const Quota read, ReadQuota(quota));
    return groups->groups.SetQuota(call.who, call.group, tenant, read);
  });
}

trackbed_status trackbed_groups_add_group(trackbed_groups* groups, const trackbed_principal* who,
                                          const char* group, size_t group_size,
                                          const trackbed_group_rules* rules,
                                          const trackbed_scheduler_options* options,
                                          trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    TRACKBED_ASSIGN_OR_RETURN(GroupRules read_rules, ReadRules(rules));
    trackbed_scheduler handle;
    TRACKBED_ASSIGN_OR_RETURN(SchedulerOptions read, ReadSchedulerOptions(options, &handle.host));
    TRACKBED_RETURN_IF_ERROR(
        groups->groups.AddGroup(call.who, call.group, std::move(read_rules), std::move(read)));
    handle.host.Keep();
    handle.scheduler = groups->groups.Find(call.group);
    groups->handles.insert_or_assign(call.group, std::move(handle));
    return absl::OkStatus();
  });
}

trackbed_status trackbed_groups_set_rules(trackbed_groups* groups, const trackbed_principal* who,
                                          const char* group, size_t group_size,
                                          const trackbed_group_rules* rules,
                                          trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    TRACKBED_ASSIGN_OR_RETURN(GroupRules read, ReadRules(rules));
    return groups->groups.SetRules(call.who, call.group, std::move(read));
  });
}

trackbed_status trackbed_groups_add_node(trackbed_groups* groups, const trackbed_principal* who,
                                         const char* group, size_t group_size, const char* name,
                                         size_t name_size, const trackbed_node_capacity* capacity,
                                         uint32_t* node, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    std::string text;
    uint8_t device_resource = 0;
    TRACKBED_RETURN_IF_ERROR(ReadText(name, name_size, "name", &text));
    TRACKBED_ASSIGN_OR_RETURN(const NodeCapacity read, ReadCapacity(capacity, &device_resource));
    TRACKBED_ASSIGN_OR_RETURN(
        const NodeIndex added,
        groups->groups.AddNode(call.who, call.group, std::move(text), read, device_resource));
    if (node != nullptr) *node = added;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_groups_set_node_open(trackbed_groups* groups,
                                              const trackbed_principal* who, const char* group,
                                              size_t group_size, const char* name, size_t name_size,
                                              int32_t open, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    std::string_view node;
    TRACKBED_RETURN_IF_ERROR(ReadText(name, name_size, "name", &node));
    return open != 0 ? groups->groups.OpenNode(call.who, call.group, node)
                     : groups->groups.DrainNode(call.who, call.group, node);
  });
}

trackbed_status trackbed_groups_usable(const trackbed_groups* groups, const trackbed_principal* who,
                                       int32_t kind, trackbed_bytes* json,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(groups);
    TRACKBED_ASSIGN_OR_RETURN(const Principal principal, ReadPrincipal(who));
    TRACKBED_ASSIGN_OR_RETURN(const WorkKind work, ReadWorkKind(kind));
    const nlohmann::json names(groups->groups.Usable(principal, work));
    return GiveBytes(names.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), json);
  });
}

trackbed_status trackbed_groups_submit(trackbed_groups* groups, const trackbed_principal* who,
                                       const char* group, size_t group_size,
                                       const trackbed_task* task, int64_t now_ns,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    TRACKBED_ASSIGN_OR_RETURN(const TaskRequest read, ReadTask(task, &groups->counted));
    return groups->groups.Submit(call.who, call.group, read, FromNanoseconds(now_ns));
  });
}

trackbed_status trackbed_groups_predict(trackbed_groups* groups, const trackbed_principal* who,
                                        const char* group, size_t group_size,
                                        const trackbed_task* task, int64_t now_ns,
                                        int64_t* start_ns, trackbed_wait_reason* reason,
                                        trackbed_bytes* sentence, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    TRACKBED_NEED(start_ns);
    if (reason != nullptr) TRACKBED_RETURN_IF_ERROR(CheckOut(reason, "reason"));
    TRACKBED_ASSIGN_OR_RETURN(const TaskRequest read, ReadTask(task, &groups->counted));
    TRACKBED_ASSIGN_OR_RETURN(
        const Prediction prediction,
        groups->groups.Predict(call.who, call.group, read, FromNanoseconds(now_ns)));
    if (const auto handle = groups->handles.find(call.group); handle != groups->handles.end()) {
      TRACKBED_RETURN_IF_ERROR(handle->second.host.TakeFailure());
    }
    return GivePrediction(prediction, now_ns, start_ns, reason, sentence);
  });
}

trackbed_status trackbed_groups_withdraw(trackbed_groups* groups, const trackbed_principal* who,
                                         const char* group, size_t group_size, uint64_t task,
                                         int64_t now_ns, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Call call, Begin(groups, who, group, group_size));
    return groups->groups.Withdraw(call.who, call.group, task, FromNanoseconds(now_ns));
  });
}

trackbed_scheduler* trackbed_groups_scheduler(trackbed_groups* groups, const char* group,
                                              size_t group_size) noexcept {
  return GuardValue<trackbed_scheduler*>(nullptr, [&]() -> trackbed_scheduler* {
    std::string_view name;
    if (groups == nullptr || !ReadText(group, group_size, "group", &name).ok()) return nullptr;
    const auto found = groups->handles.find(name);
    return found == groups->handles.end() ? nullptr : &found->second;
  });
}
