// The scheduler of one resource group.
#include "scheduler.hpp"

#include "trackbed/scheduling/placers.hpp"

namespace trackbed::capi {
namespace {

constexpr int32_t kMostResources = static_cast<int32_t>(kMaxResources);

StatusOr<uint8_t> ReadDeviceResource(int32_t resource) {
  if (resource == 0) return uint8_t{kFirstDeviceResource};
  if (resource < static_cast<int32_t>(kFirstDeviceResource) || resource >= kMostResources) {
    return InvalidArgument("device_resource: expected 2 to 7");
  }
  return static_cast<uint8_t>(resource);
}

Duration OrDefault(int64_t nanoseconds, Duration otherwise) {
  return nanoseconds > 0 ? Duration(nanoseconds) : otherwise;
}

template <size_t Count>
Status ReadEnforcements(const uint8_t (&given)[Count], std::string_view name,
                        std::array<Enforcement, Count>* read) {
  for (size_t i = 0; i < Count; ++i) {
    TRACKBED_ASSIGN_OR_RETURN((*read)[i], ReadEnforcement(given[i], name));
  }
  return absl::OkStatus();
}

StatusOr<EnforcementTable> ReadEnforcementTable(const trackbed_enforcement* given) {
  static_assert(kMaxDeviceKinds == TRACKBED_MAX_DEVICE_KINDS);
  trackbed_enforcement read;
  TRACKBED_RETURN_IF_ERROR(ReadStruct(given, "options.enforcement", &read));
  EnforcementTable table;
  TRACKBED_RETURN_IF_ERROR(ReadEnforcements(read.whole, "options.enforcement.whole", &table.whole));
  TRACKBED_RETURN_IF_ERROR(ReadEnforcements(read.share, "options.enforcement.share", &table.share));
  TRACKBED_RETURN_IF_ERROR(
      ReadEnforcements(read.counted, "options.enforcement.counted", &table.counted));
  return table;
}

}  // namespace

StatusOr<GroupPolicy> ReadPolicy(const trackbed_scheduler_options& read) {
  GroupPolicy policy;
  switch (read.order) {
    case TRACKBED_ORDER_FIFO:
      policy.order = QueueOrder::fifo;
      break;
    case TRACKBED_ORDER_LIFO:
      policy.order = QueueOrder::lifo;
      break;
    case TRACKBED_ORDER_DRF:
      policy.order = QueueOrder::drf;
      break;
    case TRACKBED_ORDER_FAIR_SHARE:
      policy.order = QueueOrder::fair_share;
      break;
    default:
      return InvalidArgument("options.order: found an unknown one");
  }
  switch (read.backfill) {
    case TRACKBED_BACKFILL_DEFAULT:
    case TRACKBED_BACKFILL_EASY:
      policy.backfill = Backfill::easy;
      break;
    case TRACKBED_BACKFILL_STRICT:
      policy.backfill = Backfill::strict;
      break;
    case TRACKBED_BACKFILL_ANY:
      policy.backfill = Backfill::any;
      break;
    case TRACKBED_BACKFILL_CONSERVATIVE:
      policy.backfill = Backfill::conservative;
      break;
    default:
      return InvalidArgument("options.backfill: found an unknown one");
  }
  if (read.minimum_run_time_ns < 0 || read.default_run_time_ns < 0 || read.gang_grace_ns < 0 ||
      read.claim_time_ns < 0) {
    return InvalidArgument("options: found a duration below 0");
  }
  if (read.reservation_depth != 0) policy.reservation_depth = read.reservation_depth;
  policy.ageing = read.ageing_ns < 0 ? Duration(0) : OrDefault(read.ageing_ns, policy.ageing);
  policy.preempt_by_priority = read.preempt_by_priority != 0;
  policy.reclaim = read.reclaim != 0;
  policy.minimum_run_time = Duration(read.minimum_run_time_ns);
  policy.default_run_time = OrDefault(read.default_run_time_ns, policy.default_run_time);
  policy.gang_grace = OrDefault(read.gang_grace_ns, policy.gang_grace);
  policy.claim_time = OrDefault(read.claim_time_ns, policy.claim_time);
  if (read.kinds != 0) {
    policy.kinds = 0;
    for (int32_t kind = TRACKBED_WORK_BATCH; kind <= TRACKBED_WORK_SYSTEM; ++kind) {
      if ((read.kinds >> kind & 1U) == 0) continue;
      TRACKBED_ASSIGN_OR_RETURN(const WorkKind known, ReadWorkKind(kind));
      policy.kinds = static_cast<uint8_t>(policy.kinds | 1U << static_cast<uint8_t>(known));
    }
  }
  return policy;
}

StatusOr<SchedulerOptions> ReadSchedulerOptions(const trackbed_scheduler_options* given,
                                                HostPorts* host) {
  trackbed_scheduler_options read;
  TRACKBED_RETURN_IF_ERROR(ReadOptions(given, "options", &read));
  SchedulerOptions options;
  TRACKBED_ASSIGN_OR_RETURN(options.policy, ReadPolicy(read));
  if (read.half_life_ns < 0) return InvalidArgument("options.half_life_ns: found less than 0");
  if (read.half_life_ns > 0) options.tenancy = Tenancy(Duration(read.half_life_ns));
  if (read.resource_count > kMaxResources) {
    return InvalidArgument("options.resources: found more than 8");
  }
  if (read.resource_count != 0) options.resources.clear();
  TRACKBED_RETURN_IF_ERROR(
      ReadTexts(read.resources, read.resource_count, "options.resources", &options.resources));
  if (read.enforcement != nullptr) {
    TRACKBED_ASSIGN_OR_RETURN(options.enforcement, ReadEnforcementTable(read.enforcement));
  }
  if (read.host_order != nullptr) {
    trackbed_order table;
    TRACKBED_RETURN_IF_ERROR(
        ReadTable(read.host_order, "options.host_order", &table, &trackbed_order::rank));
    auto order = std::make_unique<HostOrder>(table);
    host->order = order.get();
    options.order = std::move(order);
  }
  if (read.host_placer != nullptr) {
    trackbed_placer table;
    TRACKBED_RETURN_IF_ERROR(
        ReadTable(read.host_placer, "options.host_placer", &table, &trackbed_placer::choose));
    auto placer = std::make_unique<HostPlacer>(table);
    host->placer = placer.get();
    options.placer = std::move(placer);
    return options;
  }
  std::string_view name;
  TRACKBED_RETURN_IF_ERROR(ReadText(read.placer, "options.placer", &name));
  PlacerOptions placer_options;
  placer_options.seed = read.seed;
  TRACKBED_ASSIGN_OR_RETURN(options.placer,
                            MakePlacer(name.empty() ? "default" : name, placer_options));
  return options;
}

StatusOr<NodeCapacity> ReadCapacity(const trackbed_node_capacity* given, uint8_t* device_resource) {
  trackbed_node_capacity read;
  TRACKBED_RETURN_IF_ERROR(ReadStruct(given, "capacity", &read));
  if (read.device_count < 0 || read.device_count > TRACKBED_MAX_DEVICES) {
    return InvalidArgument("capacity.device_count: expected 0 to 16");
  }
  if (read.architecture < 0 || read.architecture > 31) {
    return InvalidArgument("capacity.architecture: expected 0 to 31");
  }
  TRACKBED_ASSIGN_OR_RETURN(*device_resource, ReadDeviceResource(read.device_resource));
  NodeCapacity capacity;
  capacity.cpu = read.cpu;
  capacity.memory = read.memory;
  capacity.architecture = static_cast<uint8_t>(read.architecture);
  capacity.device_count = static_cast<uint8_t>(read.device_count);
  std::copy_n(read.device_kind, TRACKBED_MAX_DEVICES, capacity.device_kind.begin());
  capacity.location = read.location;
  capacity.price_per_hour = read.price_per_hour;
  capacity.idle_watts = read.idle_watts;
  capacity.watts_per_device = read.watts_per_device;
  capacity.counted = ReadCounted(read.counted);
  return capacity;
}

StatusOr<WorkKind> ReadWorkKind(int32_t kind) {
  switch (kind) {
    case TRACKBED_WORK_BATCH:
      return WorkKind::batch;
    case TRACKBED_WORK_INTERACTIVE:
      return WorkKind::interactive;
    case TRACKBED_WORK_INFERENCE:
      return WorkKind::inference;
    case TRACKBED_WORK_SYSTEM:
      return WorkKind::system;
    default:
      return InvalidArgument("kind: found an unknown kind of work");
  }
}

StatusOr<TaskRequest> ReadTask(const trackbed_task* given, CountedShapes* counted) {
  trackbed_task read;
  TRACKBED_RETURN_IF_ERROR(ReadStruct(given, "task", &read));
  TaskRequest task;
  task.id = read.id;
  task.tenant = read.tenant;
  task.priority = read.priority;
  TRACKBED_ASSIGN_OR_RETURN(task.kind, ReadWorkKind(read.kind));
  TRACKBED_ASSIGN_OR_RETURN(task.demand, ReadDemand({sizeof(trackbed_demand),
                                                     read.architectures,
                                                     read.cpu,
                                                     read.memory,
                                                     read.whole_devices,
                                                     read.share,
                                                     read.device_kinds,
                                                     {}}));
  TRACKBED_ASSIGN_OR_RETURN(task.device_resource, ReadDeviceResource(read.device_resource));
  task.members = read.members == 0 ? 1 : read.members;
  task.on_different_nodes = read.on_different_nodes != 0;
  task.preemptible = read.not_preemptible == 0;
  if (read.run_time_ns < 0) return InvalidArgument("task.run_time_ns: found less than 0");
  task.run_time = Duration(read.run_time_ns);
  task.history = read.history;
  task.not_before = FromNanoseconds(read.not_before_ns);
  task.demand.counted = counted->Find(ReadCounted(read.counted));
  TRACKBED_ASSIGN_OR_RETURN(task.at_least, ReadEnforcement(read.at_least, "task.at_least"));
  return task;
}

StatusOr<Quota> ReadQuota(const trackbed_quota* given) {
  static_assert(kMaxResources == TRACKBED_MAX_RESOURCES);
  trackbed_quota read;
  TRACKBED_RETURN_IF_ERROR(ReadOptions(given, "quota", &read));
  Quota quota;
  for (size_t i = 0; i < kMaxResources; ++i) {
    quota.guaranteed[i] = read.guaranteed[i];
    if ((read.limited >> i & 1U) != 0) quota.limit[i] = read.limit[i];
  }
  if (read.max_running != 0) quota.max_running = read.max_running;
  if (read.max_waiting != 0) quota.max_waiting = read.max_waiting;
  if (read.weight != 0) quota.weight = read.weight;
  return quota;
}

}  // namespace trackbed::capi

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

struct trackbed_plan {
  std::vector<trackbed_plan_item> items;
  int64_t next = TRACKBED_NEVER;
};

namespace {

Status CheckScheduler(const trackbed_scheduler* scheduler) {
  return scheduler == nullptr ? MissingArgument("scheduler") : absl::OkStatus();
}

Status CheckNode(const trackbed_scheduler* scheduler, uint32_t node) {
  TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
  if (node < scheduler->scheduler->cluster().size()) return absl::OkStatus();
  return NotFound("there is no node " + std::to_string(node));
}

Status CheckTenant(const trackbed_scheduler* scheduler, uint32_t tenant) {
  TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
  if (tenant < scheduler->scheduler->tenancy().size()) return absl::OkStatus();
  return NotFound("there is no tenant " + std::to_string(tenant));
}

trackbed_plan_item Item(int32_t kind, TaskId task) {
  trackbed_plan_item item{};
  item.kind = kind;
  item.task = task;
  item.placement.shared_device = -1;
  item.enforcement = -1;
  return item;
}

int32_t GiveEnforcement(const std::optional<Enforcement>& enforcement) {
  return enforcement ? static_cast<int32_t>(*enforcement) : -1;
}

std::unique_ptr<trackbed_plan> GivePlan(const Plan& plan) {
  auto given = std::make_unique<trackbed_plan>();
  for (const Start& start : plan.starts) {
    trackbed_plan_item item = Item(TRACKBED_PLAN_START, start.task);
    item.members = static_cast<uint32_t>(start.members.size());
    item.enforcement = GiveEnforcement(start.enforcement);
    for (const Placement& member : start.members) {
      item.placement = GivePlacement(member);
      given->items.push_back(item);
      ++item.member;
    }
  }
  for (const Eviction& eviction : plan.evictions) {
    trackbed_plan_item item = Item(TRACKBED_PLAN_EVICTION, eviction.victim);
    item.other = eviction.beneficiary;
    item.cause = eviction.cause == Eviction::Cause::priority ? TRACKBED_EVICTION_PRIORITY
                                                             : TRACKBED_EVICTION_RECLAIM;
    given->items.push_back(item);
  }
  for (const Repair& repair : plan.repairs) {
    trackbed_plan_item item = Item(TRACKBED_PLAN_REPAIR, repair.task);
    item.member = repair.member;
    item.placement = GivePlacement(repair.placement);
    given->items.push_back(item);
  }
  for (const TaskId task : plan.released) {
    given->items.push_back(Item(TRACKBED_PLAN_RELEASE, task));
  }
  given->next = ToNanoseconds(plan.next);
  return given;
}

int32_t GiveRule(WaitReason::Rule rule) {
  switch (rule) {
    case WaitReason::Rule::none:
      return TRACKBED_WAIT_NONE;
    case WaitReason::Rule::not_yet:
      return TRACKBED_WAIT_NOT_YET;
    case WaitReason::Rule::quota:
      return TRACKBED_WAIT_QUOTA;
    case WaitReason::Rule::shortage:
      return TRACKBED_WAIT_SHORTAGE;
    case WaitReason::Rule::fragmentation:
      return TRACKBED_WAIT_FRAGMENTATION;
    case WaitReason::Rule::reserved:
      return TRACKBED_WAIT_RESERVED;
    case WaitReason::Rule::enforcement:
      return TRACKBED_WAIT_ENFORCEMENT;
    case WaitReason::Rule::strict_order:
      return TRACKBED_WAIT_STRICT_ORDER;
    case WaitReason::Rule::claiming:
      return TRACKBED_WAIT_CLAIMING;
    case WaitReason::Rule::next:
      return TRACKBED_WAIT_NEXT;
  }
  return TRACKBED_WAIT_NONE;
}

trackbed_wait_reason GiveReason(const WaitReason& reason) {
  trackbed_wait_reason given{};
  given.rule = GiveRule(reason.rule);
  given.resource = static_cast<uint32_t>(reason.resource);
  given.node = reason.has_node ? static_cast<int32_t>(reason.node) : -1;
  given.needed = reason.needed;
  given.available = reason.available;
  if (reason.rule == WaitReason::Rule::quota) {
    given.quota_rule = static_cast<int32_t>(reason.refusal.rule) + TRACKBED_QUOTA_LIMIT;
    given.quota_tenant = reason.refusal.tenant;
    given.quota_resource = static_cast<uint32_t>(reason.refusal.resource);
    given.quota_needed = reason.refusal.needed;
    given.quota_used = reason.refusal.used;
    given.quota_allowed = reason.refusal.allowed;
  }
  given.ahead = reason.ahead;
  given.until_ns = ToNanoseconds(reason.until);
  given.expected_start_ns = ToNanoseconds(reason.expected_start);
  given.enforcement = -1;
  return given;
}

StatusOr<WhatIf> ReadWhatIf(const trackbed_what_if* given) {
  trackbed_what_if read;
  TRACKBED_RETURN_IF_ERROR(ReadStruct(given, "what_if", &read));
  TRACKBED_RETURN_IF_ERROR(
      CheckItems(read.added, read.added_size, read.added_count, "what_if.added"));
  if (read.drained == nullptr && read.drained_count != 0) {
    return MissingArgument("what_if.drained");
  }
  WhatIf asked;
  for (size_t i = 0; i < read.added_count; ++i) {
    trackbed_node_capacity capacity;
    uint8_t device_resource = 0;
    TRACKBED_RETURN_IF_ERROR(ReadItem(read.added, read.added_size, i, "what_if.added", &capacity));
    WhatIf::Node& node = asked.added.emplace_back();
    node.name = "added#" + std::to_string(i);
    TRACKBED_ASSIGN_OR_RETURN(node.capacity, ReadCapacity(&capacity, &device_resource));
  }
  asked.drained.assign(read.drained, read.drained + read.drained_count);
  return asked;
}

}  // namespace

namespace trackbed::capi {

Status GivePrediction(const Prediction& prediction, int64_t now_ns, int64_t* start_ns,
                      trackbed_wait_reason* reason, trackbed_bytes* sentence) {
  TRACKBED_RETURN_IF_ERROR(GiveBytesIfWanted(prediction.reason.sentence, sentence));
  *start_ns = prediction.starts_now ? now_ns : ToNanoseconds(prediction.start);
  if (reason != nullptr) {
    trackbed_wait_reason given = GiveReason(prediction.reason);
    given.enforcement = GiveEnforcement(prediction.enforcement);
    CopyOut(given, reason->struct_size, reason);
  }
  return absl::OkStatus();
}

}  // namespace trackbed::capi

size_t trackbed_plan_size(const trackbed_plan* plan) noexcept {
  return plan == nullptr ? 0 : plan->items.size();
}

size_t trackbed_plan_read(const trackbed_plan* plan, size_t first, trackbed_plan_item* items,
                          size_t item_size, size_t capacity) noexcept {
  if (plan == nullptr || items == nullptr || !IsStructSize<trackbed_plan_item>(item_size) ||
      first >= plan->items.size()) {
    return 0;
  }
  const size_t count = std::min(capacity, plan->items.size() - first);
  for (size_t i = 0; i < count; ++i) {
    CopyOut(plan->items[first + i], item_size, At(items, item_size, i));
  }
  return count;
}

int64_t trackbed_plan_next(const trackbed_plan* plan) noexcept {
  return plan == nullptr ? TRACKBED_NEVER : plan->next;
}

void trackbed_plan_free(trackbed_plan* plan) noexcept { delete plan; }

trackbed_status trackbed_scheduler_create(const trackbed_scheduler_options* options,
                                          trackbed_scheduler** out,
                                          trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(out);
    auto made = std::make_unique<trackbed_scheduler>();
    TRACKBED_ASSIGN_OR_RETURN(SchedulerOptions read, ReadSchedulerOptions(options, &made->host));
    made->owned = std::make_unique<Scheduler>(std::move(read));
    made->scheduler = made->owned.get();
    made->host.Keep();
    *out = made.release();
    return absl::OkStatus();
  });
}

void trackbed_scheduler_free(trackbed_scheduler* scheduler) noexcept {
  // One of resource groups ends with them.
  if (scheduler != nullptr && scheduler->owned != nullptr) delete scheduler;
}

trackbed_status trackbed_scheduler_add_node(trackbed_scheduler* scheduler, const char* name,
                                            size_t name_size,
                                            const trackbed_node_capacity* capacity, uint32_t* node,
                                            trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(scheduler);
    std::string text;
    uint8_t device_resource = 0;
    TRACKBED_RETURN_IF_ERROR(ReadText(name, name_size, "name", &text));
    TRACKBED_ASSIGN_OR_RETURN(const NodeCapacity read, ReadCapacity(capacity, &device_resource));
    scheduler->device_resources.reserve(scheduler->device_resources.size() + 1);
    TRACKBED_ASSIGN_OR_RETURN(const NodeIndex added, scheduler->scheduler->AddNode(
                                                         std::move(text), read, device_resource));
    scheduler->device_resources.resize(added + 1);
    scheduler->device_resources[added] = device_resource;
    if (node != nullptr) *node = added;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_drain_node(trackbed_scheduler* scheduler, uint32_t node,
                                              trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckNode(scheduler, node));
    scheduler->scheduler->DrainNode(node);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_open_node(trackbed_scheduler* scheduler, uint32_t node,
                                             trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckNode(scheduler, node));
    scheduler->scheduler->OpenNode(node);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_lose_node(trackbed_scheduler* scheduler, uint32_t node,
                                             int64_t now_ns, trackbed_plan** ended,
                                             trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(ended);
    TRACKBED_RETURN_IF_ERROR(CheckNode(scheduler, node));
    auto plan = std::make_unique<trackbed_plan>();
    for (const TaskId task : scheduler->scheduler->LoseNode(node, FromNanoseconds(now_ns))) {
      plan->items.push_back(Item(TRACKBED_PLAN_ENDED, task));
    }
    *ended = plan.release();
    return absl::OkStatus();
  });
}

trackbed_string trackbed_scheduler_node_name(const trackbed_scheduler* scheduler,
                                             uint32_t node) noexcept {
  return GuardValue<trackbed_string>({"", 0}, [&]() -> trackbed_string {
    if (!CheckNode(scheduler, node).ok()) return {"", 0};
    return Borrow(scheduler->scheduler->NodeName(node));
  });
}

trackbed_status trackbed_scheduler_node(const trackbed_scheduler* scheduler, uint32_t node,
                                        trackbed_node_capacity* capacity,
                                        trackbed_node_state* state,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckNode(scheduler, node));
    const Cluster& cluster = scheduler->scheduler->cluster();
    const int32_t resource =
        node < scheduler->device_resources.size() ? scheduler->device_resources[node] : 0;
    if (capacity != nullptr) {
      TRACKBED_RETURN_IF_ERROR(CheckOut(capacity, "capacity"));
      CopyOut(GiveCapacity(cluster.capacity(node), resource), capacity->struct_size, capacity);
    }
    if (state != nullptr) {
      TRACKBED_RETURN_IF_ERROR(CheckOut(state, "state"));
      CopyOut(GiveState(cluster.state(node), cluster.capacity(node)), state->struct_size, state);
    }
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_add_tenant(trackbed_scheduler* scheduler, uint32_t parent,
                                              const char* name, size_t name_size,
                                              const trackbed_quota* quota, uint32_t* tenant,
                                              trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    std::string text;
    TRACKBED_RETURN_IF_ERROR(ReadText(name, name_size, "name", &text));
    TRACKBED_ASSIGN_OR_RETURN(const Quota read, ReadQuota(quota));
    TRACKBED_ASSIGN_OR_RETURN(const TenantIndex added,
                              scheduler->scheduler->AddTenant(parent, std::move(text), read));
    if (tenant != nullptr) *tenant = added;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_set_quota(trackbed_scheduler* scheduler, uint32_t tenant,
                                             const trackbed_quota* quota,
                                             trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckTenant(scheduler, tenant));
    TRACKBED_ASSIGN_OR_RETURN(const Quota read, ReadQuota(quota));
    return scheduler->scheduler->SetQuota(tenant, read);
  });
}

trackbed_status trackbed_scheduler_find_tenant(const trackbed_scheduler* scheduler,
                                               const char* path, size_t path_size, uint32_t* tenant,
                                               trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_NEED(tenant);
    std::string_view text;
    TRACKBED_RETURN_IF_ERROR(ReadText(path, path_size, "path", &text));
    TRACKBED_ASSIGN_OR_RETURN(*tenant, scheduler->scheduler->tenancy().Find(text));
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_tenant_usage(const trackbed_scheduler* scheduler,
                                                uint32_t tenant, trackbed_tenant_usage* out,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckTenant(scheduler, tenant));
    TRACKBED_RETURN_IF_ERROR(CheckOut(out, "out"));
    CopyOut(GiveUsage(scheduler->scheduler->tenancy(), tenant), out->struct_size, out);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_submit(trackbed_scheduler* scheduler, const trackbed_task* task,
                                          int64_t now_ns, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_ASSIGN_OR_RETURN(const TaskRequest read, ReadTask(task, &scheduler->counted));
    TRACKBED_RETURN_IF_ERROR(CheckTenant(scheduler, read.tenant));
    return scheduler->scheduler->Submit(read, FromNanoseconds(now_ns));
  });
}

trackbed_status trackbed_scheduler_submit_batch(trackbed_scheduler* scheduler,
                                                const trackbed_task* tasks, size_t task_size,
                                                size_t task_count, int64_t now_ns,
                                                trackbed_status* statuses, size_t* accepted,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_RETURN_IF_ERROR(CheckItems(tasks, task_size, task_count, "tasks"));
    if (accepted != nullptr) *accepted = 0;
    Status first;
    for (size_t i = 0; i < task_count; ++i) {
      const trackbed_task* task = At(tasks, task_size, i);
      const StatusOr<TaskRequest> read = task->struct_size > task_size
                                             ? BadStructSize("tasks", task->struct_size)
                                             : ReadTask(task, &scheduler->counted);
      Status status = read.status();
      if (status.ok()) status = CheckTenant(scheduler, read->tenant);
      if (status.ok()) status = scheduler->scheduler->Submit(*read, FromNanoseconds(now_ns));
      if (statuses != nullptr) statuses[i] = Report(nullptr, Outcome(status));
      if (status.ok() && accepted != nullptr) ++*accepted;
      if (!status.ok() && first.ok()) {
        first = Status(status.code(),
                       "tasks[" + std::to_string(i) + "]: " + std::string(Message(status)));
      }
    }
    return first;
  });
}

trackbed_status trackbed_scheduler_restore(trackbed_scheduler* scheduler, const trackbed_task* task,
                                           const trackbed_placement* placements,
                                           size_t placement_count, int64_t started_ns,
                                           int64_t now_ns, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_ASSIGN_OR_RETURN(const TaskRequest read, ReadTask(task, &scheduler->counted));
    TRACKBED_RETURN_IF_ERROR(CheckTenant(scheduler, read.tenant));
    if (placements == nullptr) return MissingArgument("placements");
    if (placement_count != read.members) {
      return InvalidArgument("placements: expected one for each member");
    }
    Placements members;
    for (size_t i = 0; i < placement_count; ++i) {
      TRACKBED_RETURN_IF_ERROR(CheckNode(scheduler, placements[i].node));
      TRACKBED_ASSIGN_OR_RETURN(const Placement member, ReadPlacement(placements[i]));
      members.push_back(member);
    }
    return scheduler->scheduler->Restore(read, members, FromNanoseconds(started_ns),
                                         FromNanoseconds(now_ns));
  });
}

trackbed_status trackbed_scheduler_finish(trackbed_scheduler* scheduler, uint64_t task,
                                          int64_t now_ns, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    return scheduler->scheduler->Finish(task, FromNanoseconds(now_ns));
  });
}

trackbed_status trackbed_scheduler_schedule(trackbed_scheduler* scheduler, int64_t now_ns,
                                            trackbed_plan** out, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_NEED(out);
    *out = GivePlan(scheduler->scheduler->Schedule(FromNanoseconds(now_ns))).release();
    return scheduler->host.TakeFailure();
  });
}

trackbed_status trackbed_scheduler_explain(trackbed_scheduler* scheduler, uint64_t task,
                                           int64_t now_ns, trackbed_wait_reason* out,
                                           trackbed_bytes* sentence,
                                           trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_RETURN_IF_ERROR(CheckOut(out, "out"));
    const WaitReason reason = scheduler->scheduler->Explain(task, FromNanoseconds(now_ns));
    TRACKBED_RETURN_IF_ERROR(scheduler->host.TakeFailure());
    TRACKBED_RETURN_IF_ERROR(GiveBytesIfWanted(reason.sentence, sentence));
    CopyOut(GiveReason(reason), out->struct_size, out);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_predict(trackbed_scheduler* scheduler, const trackbed_task* task,
                                           int64_t now_ns, int64_t* start_ns,
                                           trackbed_wait_reason* reason, trackbed_bytes* sentence,
                                           trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_NEED(start_ns);
    if (reason != nullptr) TRACKBED_RETURN_IF_ERROR(CheckOut(reason, "reason"));
    TRACKBED_ASSIGN_OR_RETURN(const TaskRequest read, ReadTask(task, &scheduler->counted));
    TRACKBED_RETURN_IF_ERROR(CheckTenant(scheduler, read.tenant));
    TRACKBED_ASSIGN_OR_RETURN(const Prediction prediction,
                              scheduler->scheduler->Predict(read, FromNanoseconds(now_ns)));
    TRACKBED_RETURN_IF_ERROR(scheduler->host.TakeFailure());
    return GivePrediction(prediction, now_ns, start_ns, reason, sentence);
  });
}

trackbed_status trackbed_scheduler_predict_if(trackbed_scheduler* scheduler,
                                              const trackbed_task* task,
                                              const trackbed_what_if* what_if, int64_t now_ns,
                                              int64_t* start_ns, trackbed_wait_reason* reason,
                                              trackbed_bytes* sentence,
                                              trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_NEED(start_ns);
    if (reason != nullptr) TRACKBED_RETURN_IF_ERROR(CheckOut(reason, "reason"));
    TRACKBED_ASSIGN_OR_RETURN(const TaskRequest read, ReadTask(task, &scheduler->counted));
    TRACKBED_RETURN_IF_ERROR(CheckTenant(scheduler, read.tenant));
    TRACKBED_ASSIGN_OR_RETURN(const WhatIf asked, ReadWhatIf(what_if));
    TRACKBED_ASSIGN_OR_RETURN(const Prediction prediction,
                              scheduler->scheduler->Predict(read, asked, FromNanoseconds(now_ns)));
    TRACKBED_RETURN_IF_ERROR(scheduler->host.TakeFailure());
    return GivePrediction(prediction, now_ns, start_ns, reason, sentence);
  });
}

int32_t trackbed_scheduler_task_state(const trackbed_scheduler* scheduler, uint64_t task) noexcept {
  return GuardValue<int32_t>(TRACKBED_TASK_UNKNOWN, [&]() -> int32_t {
    if (scheduler == nullptr) return TRACKBED_TASK_UNKNOWN;
    if (scheduler->scheduler->IsWaiting(task)) return TRACKBED_TASK_WAITING;
    return scheduler->scheduler->Find(task) != nullptr ? TRACKBED_TASK_RUNNING
                                                       : TRACKBED_TASK_UNKNOWN;
  });
}

trackbed_status trackbed_scheduler_placements(const trackbed_scheduler* scheduler, uint64_t task,
                                              trackbed_placement* placements, size_t capacity,
                                              size_t* count, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_NEED(count);
    if (placements == nullptr) capacity = 0;
    const Placements* members = scheduler->scheduler->Find(task);
    if (members == nullptr) return NotFound("task " + std::to_string(task) + " does not run");
    for (size_t i = 0; i < std::min(capacity, members->size()); ++i) {
      placements[i] = GivePlacement((*members)[i]);
    }
    *count = members->size();
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_get_stats(const trackbed_scheduler* scheduler,
                                             trackbed_scheduler_stats* out,
                                             trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    TRACKBED_RETURN_IF_ERROR(CheckOut(out, "out"));
    const Cluster& cluster = scheduler->scheduler->cluster();
    CopyOut(
        trackbed_scheduler_stats{0, static_cast<uint32_t>(cluster.size()),
                                 scheduler->scheduler->waiting(), scheduler->scheduler->running(),
                                 cluster.device_capacity(), cluster.device_left()},
        out->struct_size, out);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_scheduler_recount(const trackbed_scheduler* scheduler,
                                           trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckScheduler(scheduler));
    return scheduler->scheduler->Recount();
  });
}
