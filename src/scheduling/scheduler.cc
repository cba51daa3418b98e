#include "trackbed/scheduling/scheduler.hpp"

#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "scheduling/scheduler_state.hpp"

namespace trackbed {
namespace {

constexpr uint32_t kMaxMembers = 100'000;
#if !defined(NDEBUG)
// Totals are derived; builds for debugging count them anew every so many calls of Schedule.
constexpr uint64_t kRecountEvery = 256;
#endif

class FirstFit final : public Placer {
 public:
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      if (cluster.Fits(node, demand)) return cluster.FirstDevices(node, demand);
    }
    return std::nullopt;
  }
};

}  // namespace

Amounts SchedulerState::Charge(const TaskRequest& request) const {
  Amounts amounts{};
  amounts[kCpu] = request.demand.cpu * request.members;
  amounts[kMemory] = request.demand.memory * request.members;
  amounts[request.device_resource] += request.demand.device_amount() * request.members;
  if (request.demand.counted != nullptr) {
    for (size_t i = 0; i < kMaxCounted; ++i) {
      amounts[kFirstDeviceResource + i] += (*request.demand.counted)[i] * request.members;
    }
  }
  return amounts;
}

std::optional<Enforcement> SchedulerState::EnforcementOf(const Demand& demand,
                                                         const Placements& members) const {
  std::optional<Enforcement> weakest;
  for (const Placement& member : members) {
    const auto its = enforcement.Of(demand, cluster.capacity(member.node), member);
    if (its) weakest = std::min(weakest.value_or(*its), *its);
  }
  return weakest;
}

UseChange SchedulerState::Claimed(size_t claims, const TaskState* task) const {
  UseChange claimed;
  for (size_t i = 0; i < claims; ++i) {
    const TaskState& holder = tasks[reservations[i].task];
    if (&holder == task) continue;
    claimed.Starts(tenancy, holder.request.tenant, Charge(holder.request));
  }
  return claimed;
}

Time SchedulerState::ExpectedEnd(const TaskState& task, Time now) const {
  if (task.stopping) return now;
  // One that runs longer than expected is given half as long again, as often as it takes: so what
  // is expected changes only when an expected end has passed.
  Duration length = task.expected;
  const Duration ran = now - task.started;
  while (length <= ran) length += std::max<Duration>(length / 2, std::chrono::seconds(1));
  return Later(task.started, length);
}

bool SchedulerState::GoesBefore(TenantIndex tenant_a, const Rank& a, TenantIndex tenant_b,
                                const Rank& b, Time now) const {
  if (tenant_a != tenant_b && OrderedByShares()) {
    const int64_t band_a = Band(a, now);
    const int64_t band_b = Band(b, now);
    if (band_a != band_b) return band_a > band_b;
    // Where siblings have equal shares the levels below them decide, as far as both have any: so
    // that tenants that are equally deep are in one order, whoever is compared with whom.
    auto [rival_a, rival_b] = tenancy.Rivals(tenant_a, tenant_b);
    while (rival_a != rival_b) {
      const double share_a = ShareOf(rival_a, now);
      const double share_b = ShareOf(rival_b, now);
      if (share_a != share_b) return share_a < share_b;
      if (rival_a == tenant_a || rival_b == tenant_b) break;
      rival_a = tenancy.Towards(rival_a, tenant_a);
      rival_b = tenancy.Towards(rival_b, tenant_b);
    }
  }
  return a < b;
}

int64_t SchedulerState::Band(const Rank& rank, Time now) const {
  if (order != nullptr) return 0;
  if (policy.ageing <= Duration{0}) return -rank.major;
  const int64_t aged = ToNanoseconds(now) - rank.major;
  const int64_t step = policy.ageing.count();
  return aged >= 0 ? aged / step : (aged - step + 1) / step;
}

bool SchedulerState::Binds(const Reservation& reservation, const TaskState& task, Time now) const {
  const TaskState& holder = tasks[reservation.task];
  if (&holder == &task) return false;
  return reservation.claim ||
         GoesBefore(holder.request.tenant, holder.rank, task.request.tenant, task.rank, now);
}

class Scheduler::Impl : public SchedulerState {
 public:
  using SchedulerState::SchedulerState;

  // -- nodes

  StatusOr<NodeIndex> AddNode(std::string name, const NodeCapacity& capacity, uint8_t resource) {
    if (by_name_.contains(name)) {
      return AlreadyExists(absl::StrCat("node \"", name, "\" is there already"));
    }
    if (resource < kFirstDeviceResource || resource >= kMaxResources) {
      return InvalidArgument(absl::StrCat("node \"", name, "\": found device resource ", resource,
                                          ", expected ", kFirstDeviceResource, " to ",
                                          kMaxResources - 1));
    }
    TRACKBED_ASSIGN_OR_RETURN(const NodeIndex node, cluster.AddNode(capacity));
    by_name_.insert(name);
    node_names.push_back(std::move(name));
    on_node.emplace_back();
    capacity_[kCpu] += capacity.cpu;
    capacity_[kMemory] += capacity.memory;
    capacity_[resource] += int64_t{capacity.device_count} * kWholeDevice;
    for (size_t i = 0; i < kMaxCounted; ++i) {
      // What is counted beside devices of the same resource is parts of these.
      if (capacity.device_count > 0 && kFirstDeviceResource + i == resource) continue;
      capacity_[kFirstDeviceResource + i] += capacity.counted[i];
    }
    tenancy.SetCapacity(capacity_);
    return node;
  }

  std::vector<TaskId> LoseNode(NodeIndex node, Time now) {
    if (node >= cluster.size()) return {};
    cluster.SetOpen(node, false);
    std::vector<TaskId> ended;
    const std::vector<TaskSlot> there = on_node[node];
    for (const TaskSlot slot : there) {
      TaskState& task = tasks[slot];
      if (!task.known) continue;  // ended by an earlier member
      if (task.request.members == 1 || task.stopping) {
        ended.push_back(task.request.id);
        End(slot, now);
        continue;
      }
      for (uint32_t member = 0; member < task.members.size(); ++member) {
        if (task.members[member].node != node || task.IsLost(member)) continue;
        if (task.lost.empty()) task.lost_at = now;
        task.lost.push_back(member);
        cluster.Give(task.request.demand, task.members[member]);
        Leave(node, slot);
      }
      crippled_.insert(slot);
    }
    DropReservationsOn(node);
    return ended;
  }

  // -- tasks

  Status Check(const TaskRequest& request) const {
    const Demand& demand = request.demand;
    const auto refuse = [&](std::string_view message) {
      return InvalidArgument(absl::StrCat("task ", request.id, ": ", AbslView(message)));
    };
    if (demand.cpu < 0 || demand.memory < 0 || demand.whole_devices < 0 || demand.share < 0) {
      return refuse("found a negative amount, expected 0 or more");
    }
    int64_t most = 0;
    if (request.members > kMaxMembers ||
        __builtin_mul_overflow(demand.cpu, int64_t{request.members}, &most) ||
        __builtin_mul_overflow(demand.memory, int64_t{request.members}, &most)) {
      return refuse("found more than can be counted");
    }
    for (size_t i = 0; demand.counted != nullptr && i < kMaxCounted; ++i) {
      const int64_t amount = (*demand.counted)[i];
      if (amount < 0 || __builtin_mul_overflow(amount, int64_t{request.members}, &most)) {
        return refuse("found an amount out of range of a counted resource");
      }
    }
    if (demand.share >= kWholeDevice) {
      return refuse(absl::StrCat("found a share of ", demand.share,
                                 " thousandths, expected 0 to 999 and whole devices apart"));
    }
    if (request.members == 0) {
      return refuse(absl::StrCat("found 0 members, expected 1 to ", kMaxMembers));
    }
    if (request.run_time < Duration{0}) return refuse("found a negative run time");
    if (request.tenant >= tenancy.size()) {
      return refuse(absl::StrCat("there is no tenant ", request.tenant));
    }
    if (request.device_resource < kFirstDeviceResource ||
        request.device_resource >= kMaxResources) {
      return refuse(absl::StrCat("found device resource ", request.device_resource, ", expected ",
                                 kFirstDeviceResource, " to ", kMaxResources - 1));
    }
    if ((policy.kinds >> static_cast<unsigned>(request.kind) & 1U) == 0) {
      static constexpr const char* kNames[] = {"interactive", "batch", "inference", "system"};
      return refuse(absl::StrCat("the resource group takes no ",
                                 kNames[static_cast<size_t>(request.kind)], " work"));
    }
    for (size_t i = 0; i < request.data.size(); ++i) {
      const LocalData& there = request.data[i];
      if (there.node >= cluster.size()) {
        return refuse(absl::StrCat("data: there is no node ", there.node));
      }
      if (there.bytes < 0) return refuse("data: found a negative amount, expected 0 or more");
      for (size_t before = 0; before < i; ++before) {
        if (request.data[before].node == there.node) {
          return refuse(absl::StrCat("data: node ", there.node, " is named twice"));
        }
      }
    }
    return absl::OkStatus();
  }

  // Leaves of the kinds of devices those that are enforced as it asks.
  void Narrow(TaskRequest* request) const {
    if (request->at_least == Enforcement::accounting) return;
    request->demand.device_kinds = enforcement.KindsAtLeast(request->demand, request->at_least);
  }

  Status CheckPossible(const TaskRequest& request) const {
    const auto refuse = [&](Enforcement weakest) {
      return FailedPrecondition(absl::StrCat(
          "task ", request.id, ": found ", AbslView(ToString(weakest)),
          " enforcement of what it would get, expected ", AbslView(ToString(request.at_least))));
    };
    const std::optional<Enforcement> counted = enforcement.OfCounted(request.demand);
    if (counted && *counted < request.at_least) return refuse(*counted);
    TaskRequest narrowed = request;
    Narrow(&narrowed);
    Status possible = CheckFits(narrowed);
    if (possible.ok() || narrowed.demand == request.demand || !CheckFits(request).ok()) {
      return possible;
    }
    Enforcement strongest = Enforcement::accounting;
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      const NodeCapacity& capacity = cluster.capacity(node);
      NodeState room = EmptyRoom(capacity);
      Placement placement;
      if (!TakeRoom(capacity, request.demand, &room, &placement)) continue;
      strongest = std::max(
          strongest,
          enforcement.Of(request.demand, capacity, placement).value_or(Enforcement::accounting));
    }
    return refuse(strongest);
  }

  // Whether it could run at all, on empty nodes and within its quotas.
  Status CheckFits(const TaskRequest& request) const {
    QuotaRefusal refusal;
    if (!tenancy.CouldEverStart(request.tenant, Charge(request), &refusal)) {
      return ResourceExhausted(
          absl::StrCat("task ", request.id, ": ", QuotaSentence(*this, refusal)));
    }
    uint32_t members = 0;
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      const NodeCapacity& capacity = cluster.capacity(node);
      NodeState room = EmptyRoom(capacity);
      Placement placement;
      while (TakeRoom(capacity, request.demand, &room, &placement)) {
        if (++members == request.members) return absl::OkStatus();
        if (request.on_different_nodes) break;
      }
    }
    if (request.members > 1) {
      return ResourceExhausted(absl::StrCat("task ", request.id, ": even the empty nodes hold ",
                                            members, " of its ", request.members, " members"));
    }
    SchedulerState empty{SchedulerOptions{}};
    empty.resources = resources;
    empty.node_names = node_names;
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      if (!empty.cluster.AddNode(cluster.capacity(node)).ok()) return Internal("a node twice");
    }
    return ResourceExhausted(absl::StrCat("task ", request.id, ": even on the empty nodes it ",
                                          WhatIsShort(empty, request).sentence));
  }

  Duration ExpectedTime(const TaskRequest& request) const {
    if (request.run_time > Duration{0}) return RoundUpRunTime(request.run_time);
    if (request.history == 0) return RoundUpRunTime(policy.default_run_time);
    return RoundUpRunTime(history.Guess(request.history, policy.default_run_time));
  }

  // Errors are those of the host's order.
  StatusOr<Rank> RankOf(const TaskRequest& request, Time submitted) {
    Rank rank;
    const int64_t since = ToNanoseconds(submitted);
    if (order != nullptr) {
      TRACKBED_ASSIGN_OR_RETURN(rank.major, order->Rank(request, submitted));
      rank.minor = since;
      rank.order = ++submissions_;
      return rank;
    }
    rank.order = ++submissions_;
    if (policy.order == QueueOrder::lifo) {
      rank.major = -int64_t{request.priority};
      rank.minor = -static_cast<int64_t>(rank.order);
    } else if (policy.ageing > Duration{0}) {
      int64_t step = 0;
      if (__builtin_mul_overflow(int64_t{request.priority}, policy.ageing.count(), &step) ||
          __builtin_sub_overflow(since, step, &rank.major)) {
        rank.major = request.priority > 0 ? INT64_MIN : INT64_MAX;
      }
      rank.minor = since;
    } else {
      rank.major = -int64_t{request.priority};
      rank.minor = since;
    }
    return rank;
  }

  DemandIndex WantedOf(const Demand& demand) {
    const auto [place, added] =
        by_demand_.try_emplace(demand, static_cast<DemandIndex>(demands_.size()));
    if (added) {
      if (!free_demands_.empty()) {
        place->second = free_demands_.back();
        free_demands_.pop_back();
      } else {
        demands_.emplace_back();
      }
      demands_[place->second].demand = demand;
    }
    ++demands_[place->second].shapes;
    return place->second;
  }

  ShapeIndex ShapeOf(const TaskRequest& request, Duration expected) {
    const ShapeKey key{request.demand, request.members, request.on_different_nodes,
                       expected.count()};
    const auto [place, added] = by_shape_.try_emplace(key, static_cast<ShapeIndex>(shapes_.size()));
    if (added) {
      if (!free_shapes_.empty()) {
        place->second = free_shapes_.back();
        free_shapes_.pop_back();
      } else {
        shapes_.emplace_back();
      }
      Shape& shape = shapes_[place->second];
      shape = Shape();
      shape.demand = request.demand;
      shape.members = request.members;
      shape.on_different_nodes = request.on_different_nodes;
      shape.expected = expected;
      shape.wanted = WantedOf(request.demand);
    }
    ++shapes_[place->second].waiting;
    return place->second;
  }

  void WaitsNoMore(const TaskState& task) {
    tenancy.WaitsNoMore(task.request.tenant);
    --waiting_;
    LeaveShape(task);
  }

  // The task has left its line.
  void LeaveShape(const TaskState& task) {
    const Shape& shape = shapes_[task.shape];
    if (--shapes_[task.shape].waiting > 0) return;
    by_shape_.erase(
        {shape.demand, shape.members, shape.on_different_nodes, shape.expected.count()});
    DemandState& wanted = demands_[shape.wanted];
    free_shapes_.push_back(task.shape);
    if (--wanted.shapes > 0) return;
    for (const QueueIndex index : wanted.queues) {
      by_bucket_.erase(std::pair(queues_[index].bucket, shape.wanted));
      free_queues_.push_back(index);
    }
    held_.erase(shape.wanted);
    by_demand_.erase(shape.demand);
    free_demands_.push_back(shape.wanted);
    wanted = DemandState();
  }

  TaskSlot NewTask(const TaskRequest& request, const Rank& rank, Time now) {
    TaskSlot slot;
    if (!free_slots_.empty()) {
      slot = free_slots_.back();
      free_slots_.pop_back();
      tasks[slot] = TaskState();
    } else {
      slot = static_cast<TaskSlot>(tasks.size());
      tasks.emplace_back();
    }
    TaskState& task = tasks[slot];
    task.known = true;
    task.request = request;
    task.asked_kinds = request.demand.device_kinds;
    Narrow(&task.request);
    task.submitted = now;
    task.expected = ExpectedTime(request);
    task.shape = ShapeOf(task.request, task.expected);
    task.rank = rank;
    by_id.emplace(request.id, slot);
    return slot;
  }

  void Forget(TaskSlot slot) {
    by_id.erase(tasks[slot].request.id);
    tasks[slot] = TaskState();
    free_slots_.push_back(slot);
  }

  Status Submit(const TaskRequest& request, Time now) {
    if (by_id.contains(request.id)) {
      return AlreadyExists(absl::StrCat("task ", request.id, " is known already"));
    }
    TRACKBED_RETURN_IF_ERROR(Check(request));
    TRACKBED_RETURN_IF_ERROR(CheckPossible(request));
    QuotaRefusal refusal;
    if (!tenancy.MayWait(request.tenant, &refusal)) {
      return ResourceExhausted(
          absl::StrCat("task ", request.id, ": ", QuotaSentence(*this, refusal)));
    }
    TRACKBED_ASSIGN_OR_RETURN(const Rank rank, RankOf(request, now));
    const TaskSlot slot = NewTask(request, rank, now);
    const Demand& demand = tasks[slot].request.demand;
    tenancy.Waits(request.tenant);
    ++waiting_;
    for (uint32_t member = 0; member < request.members; ++member) placer->Observe(demand);
    if (request.not_before > now) {
      later_.emplace(request.not_before, slot);
    } else {
      Enqueue(slot);
    }
    return absl::OkStatus();
  }

  Status CheckIsNew(const TaskRequest& request) const {
    if (by_id.contains(request.id)) {
      return AlreadyExists(absl::StrCat("task ", request.id, " is known already"));
    }
    return Check(request);
  }

  Status RestoreElsewhere(TaskRequest request, Time started, Time now) {
    TRACKBED_RETURN_IF_ERROR(CheckIsNew(request));
    request.preemptible = false;
    TRACKBED_ASSIGN_OR_RETURN(const Rank rank, RankOf(request, now));
    RunAsFound(request, rank, {}, started, now);
    return absl::OkStatus();
  }

  void RunAsFound(const TaskRequest& request, const Rank& rank, const Placements& members,
                  Time started, Time now) {
    const TaskSlot slot = NewTask(request, rank, now);
    LeaveShape(tasks[slot]);
    tasks[slot].started = started;
    Run(slot, members, now);
  }

  Status Restore(const TaskRequest& request, const Placements& members, Time started, Time now) {
    TRACKBED_RETURN_IF_ERROR(CheckIsNew(request));
    if (members.size() != request.members) {
      return InvalidArgument(absl::StrCat("task ", request.id, ": found places for ",
                                          members.size(), " members, expected ", request.members));
    }
    TaskRequest narrowed = request;
    Narrow(&narrowed);
    TRACKBED_ASSIGN_OR_RETURN(const Rank rank, RankOf(request, now));
    for (size_t i = 0; i < members.size(); ++i) {
      // What runs on a closed node still runs.
      const NodeIndex node = members[i].node;
      const bool closed = node < cluster.size() && !cluster.state(node).open;
      if (closed) cluster.SetOpen(node, true);
      const bool taken = cluster.Take(narrowed.demand, members[i]);
      if (closed) cluster.SetOpen(node, false);
      if (taken) continue;
      while (i-- > 0) cluster.Give(narrowed.demand, members[i]);
      return FailedPrecondition(absl::StrCat("task ", request.id,
                                             ": its room is not free: two tasks hold it, or there "
                                             "is no such node or device"));
    }
    RunAsFound(request, rank, members, started, now);
    return absl::OkStatus();
  }

  Status Stopping(TaskId id) {
    const auto found = by_id.find(id);
    if (found == by_id.end() || !tasks[found->second].running) {
      return NotFound(absl::StrCat("there is no running task ", id));
    }
    TellToStop(found->second);
    reservations_changed_ = true;
    return absl::OkStatus();
  }

  Status Finish(TaskId id, Time now) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return NotFound(absl::StrCat("there is no task ", id));
    const TaskSlot slot = found->second;
    TaskState& task = tasks[slot];
    if (task.running) {
      if (task.request.history != 0 && !task.stopping && task.lost.empty()) {
        history.Add(task.request.history, now - task.started);
      }
      End(slot, now);
    } else {
      Dequeue(slot);
      DropReservation(slot);
      WaitsNoMore(task);
      Forget(slot);
    }
    return absl::OkStatus();
  }

  // -- deciding

  Plan Schedule(Time now, size_t most) {
    Plan plan;
    while (!later_.empty() && later_.begin()->first <= now) {
      Enqueue(later_.begin()->second);
      later_.erase(later_.begin());
    }
    if (scan) ForgetWhatIsKept();
    MendGangs(now, &plan);
    WakeWhatMayFit(now);
    WakeWhatMayMakeRoom(now);
    LookAtReservations(now, &plan);
    overtaken_ = false;
    beside_reservations_ = false;
    TryLines(now, most, &plan);
    while (overtaken_ || beside_reservations_) {
      if (beside_reservations_) WakeHeldBack();
      beside_reservations_ = false;
      if (overtaken_) PlanReservations(now);
      overtaken_ = false;
      TryLines(now, most, &plan);
    }
    seen_ = cluster.end_change();
    ++schedules;
    assert(schedules % kRecountEvery != 0 || Recount().ok());
    if ((victims_changed_ || reservations_changed_) && NextMayStopMore()) {
      plan.next = now + std::chrono::seconds(1);
    }
    if (!ripe_.empty() && waiting_ > 0) plan.next = std::min(plan.next, ripe_.begin()->first);
    if (!later_.empty()) plan.next = std::min(plan.next, later_.begin()->first);
    for (const TaskSlot slot : crippled_) {
      plan.next = std::min(plan.next, tasks[slot].lost_at + policy.gang_grace);
    }
    for (const Reservation& reservation : reservations) {
      // What stops, or runs longer than expected, may end at any moment, but not at this one.
      const Time due = reservation.claim ? reservation.claim_ends : reservation.start;
      plan.next = std::min(plan.next, std::max<Time>(due, now + std::chrono::seconds(1)));
    }
    return plan;
  }

  WaitReason Explain(TaskId id, Time now) {
    WaitReason reason;
    const auto found = by_id.find(id);
    if (found == by_id.end() || tasks[found->second].running) return reason;
    const TaskSlot slot = found->second;
    return ExplainTask(tasks[slot], slot, now);
  }

  StatusOr<Prediction> Predict(const TaskRequest& request, Time now) {
    if (by_id.contains(request.id)) {
      return AlreadyExists(absl::StrCat("task ", request.id, " is known already"));
    }
    TRACKBED_RETURN_IF_ERROR(Check(request));
    TRACKBED_RETURN_IF_ERROR(CheckPossible(request));
    TRACKBED_ASSIGN_OR_RETURN(const Rank rank, RankOf(request, now));
    const TaskSlot slot = NewTask(request, rank, now);
    TaskState& task = tasks[slot];
    Prediction prediction;
    QuotaRefusal refusal;
    if (request.not_before > now) {
      prediction.start = request.not_before;
    } else if (QuotasAdmit(task, &refusal)) {
      Placements members;
      TaskId delayed = 0;
      if (FindRoom(task, now, &members, &delayed) == Found::room) {
        for (const Placement& member : members) cluster.Give(task.request.demand, member);
        prediction.starts_now = true;
        prediction.enforcement = EnforcementOf(request.demand, members);
        prediction.start = now;
        prediction.members = std::move(members);
      } else if (const auto earliest = look_aheads_.EarliestStart(*this, task, now)) {
        prediction.start = earliest->start;
      }
    }
    if (!prediction.starts_now) prediction.reason = ExplainTask(task, slot, now);
    --submissions_;
    LeaveShape(task);
    Forget(slot);
    return prediction;
  }

  StatusOr<Prediction> PredictIf(const TaskRequest& request, const WhatIf& what_if, Time now) {
    absl::flat_hash_set<std::string_view> names;
    for (const WhatIf::Node& node : what_if.added) {
      if (by_name_.contains(node.name) || !names.insert(node.name).second) {
        return AlreadyExists(absl::StrCat("node \"", node.name, "\" is there already"));
      }
    }
    for (const NodeIndex node : what_if.drained) {
      if (node >= cluster.size()) return NotFound(absl::StrCat("there is no node ", node));
    }
    // All that a decision reads is put aside, changed, and put back as it was.
    Cluster changed = cluster;
    for (const WhatIf::Node& node : what_if.added) {
      TRACKBED_RETURN_IF_ERROR(changed.AddNode(node.capacity).status());
    }
    for (const NodeIndex node : what_if.drained) changed.SetOpen(node, false);
    std::swap(cluster, changed);
    const size_t nodes = node_names.size();
    for (const WhatIf::Node& node : what_if.added) {
      node_names.push_back(node.name);
      on_node.emplace_back();
    }
    std::unique_ptr<Placer> real = std::exchange(placer, std::make_unique<FirstFit>());
    LookAheads look_aheads = std::exchange(look_aheads_, LookAheads());
    StatusOr<Prediction> prediction = Predict(request, now);
    look_aheads_ = std::move(look_aheads);
    placer = std::move(real);
    std::swap(cluster, changed);
    node_names.resize(nodes);
    on_node.resize(nodes);
    return prediction;
  }

  void OpenNode(NodeIndex node) {
    if (node >= cluster.size()) return;
    cluster.SetOpen(node, true);
    victims_changed_ = true;
  }

  Status SetQuota(TenantIndex tenant, const Quota& quota) {
    TRACKBED_RETURN_IF_ERROR(tenancy.SetQuota(tenant, quota));
    UnparkAll();
    victims_changed_ = true;
    return absl::OkStatus();
  }

  void UnparkAll() {
    while (!parked_.empty()) Unpark(parked_.begin()->first);
  }

  size_t waiting() const { return waiting_; }
  size_t running() const { return running_; }

  Status Recount() const {
    Cluster counted;
    std::vector<Amounts> used(tenancy.size(), kNothing);
    std::vector<uint32_t> running(tenancy.size(), 0);
    UseByPriority counted_use;
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      if (!counted.AddNode(cluster.capacity(node)).ok()) return Internal("a node twice");
    }
    for (const TaskState& task : tasks) {
      if (!task.known || !task.running) continue;
      for (uint32_t member = 0; member < task.members.size(); ++member) {
        if (task.IsLost(member)) continue;
        if (!counted.Take(task.request.demand, task.members[member])) {
          return Internal(absl::StrCat("task ", task.request.id, " holds room that is not there"));
        }
      }
      const Amounts amounts = Charge(task.request);
      if (Evicts()) {
        counted_use.Count(tenancy, task.request.tenant, task.request.priority, amounts, 1);
      }
      for (TenantIndex tenant = task.request.tenant;; tenant = tenancy.parent(tenant)) {
        if (!Add(used[tenant], amounts, &used[tenant])) return Internal("use out of range");
        ++running[tenant];
        if (tenant == kRootTenant) break;
      }
    }
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      const NodeState& a = counted.state(node);
      const NodeState& b = cluster.state(node);
      if (a.cpu != b.cpu || a.memory != b.memory || a.device != b.device || a.tasks != b.tasks ||
          a.counted != b.counted) {
        return Internal(absl::StrCat("node \"", node_names[node], "\" is miscounted"));
      }
    }
    for (TenantIndex tenant = 0; tenant < tenancy.size(); ++tenant) {
      if (used[tenant] != tenancy.used(tenant) || running[tenant] != tenancy.running(tenant)) {
        return Internal(absl::StrCat("tenant \"", tenancy.Path(tenant), "\" is miscounted"));
      }
    }
    if (!(counted_use == use)) return Internal("what is used at each priority is miscounted");
    return absl::OkStatus();
  }

 private:
  struct ShapeKey {
    Demand demand;
    uint32_t members;
    bool on_different_nodes;
    int64_t expected;
    friend auto operator<=>(const ShapeKey&, const ShapeKey&) = default;
  };

  // -- the queue

  void Enqueue(TaskSlot slot) {
    TaskState& task = tasks[slot];
    const auto [place, added] = by_kind_of_line_.try_emplace(
        std::tuple(task.request.tenant, task.request.device_resource, task.shape),
        static_cast<LineIndex>(lines_.size()));
    if (added) {
      if (!free_lines_.empty()) {
        place->second = free_lines_.back();
        free_lines_.pop_back();
      } else {
        lines_.emplace_back();
      }
      Line& line = lines_[place->second];
      line.tenant = task.request.tenant;
      line.device_resource = task.request.device_resource;
      line.shape = task.shape;
      line.queue = QueueOf(line);
    }
    task.line = place->second;
    Line& line = lines_[task.line];
    const bool first = line.tasks.empty() || task.rank < line.tasks.begin()->first;
    // Behind the first task of its line nothing changes.
    if (first && !added) Withhold(task.line);
    line.tasks.emplace(task.rank, slot);
    if (first) Offer(task.line);
  }

  void Dequeue(TaskSlot slot) {
    TaskState& task = tasks[slot];
    if (later_.erase({task.request.not_before, slot}) > 0) return;
    Line& line = lines_[task.line];
    if (line.tasks.begin()->second != slot) {
      line.tasks.erase({task.rank, slot});
      return;
    }
    const Line::State state = line.state;
    const bool held_back = line.held_back;
    Withhold(task.line);
    line.tasks.erase({task.rank, slot});
    if (line.tasks.empty()) {
      by_kind_of_line_.erase(std::tuple(line.tenant, line.device_resource, line.shape));
      line = Line();
      free_lines_.push_back(task.line);
    } else if (state == Line::State::ready) {
      line.held_back = held_back;
      Offer(task.line);
    } else if (state == Line::State::tried) {
      line.state = state;
      demands_[shapes_[line.shape].wanted].tried.push_back(task.line);
    } else {
      line.state = state;
      parked_[line.parked_at].insert(task.line);
    }
  }

  // Where shares decide between tenants, each tenant has queues of its own.
  TenantIndex Bucket(const Line& line) const {
    return OrderedByShares() ? line.tenant : kRootTenant;
  }

  QueueIndex QueueOf(const Line& line) {
    const DemandIndex wanted = shapes_[line.shape].wanted;
    const auto [place, added] = by_bucket_.try_emplace(std::pair(Bucket(line), wanted),
                                                       static_cast<QueueIndex>(queues_.size()));
    if (added) {
      if (!free_queues_.empty()) {
        place->second = free_queues_.back();
        free_queues_.pop_back();
      } else {
        queues_.emplace_back();
      }
      Queue& queue = queues_[place->second];
      queue = Queue();
      queue.bucket = Bucket(line);
      queue.wanted = wanted;
      demands_[wanted].queues.push_back(place->second);
    }
    return place->second;
  }

  // The line goes on as soon as its demand does.
  void Offer(LineIndex index) {
    Line& line = lines_[index];
    line.state = Line::State::ready;
    const auto head = std::pair(line.tasks.begin()->first, index);
    Queue& queue = queues_[line.queue];
    queue.ready.insert(head);
    queue.by_shape[{shapes_[line.shape].expected, line.shape}].insert(head);
    if (ReservesInOrder()) in_order_.insert(head);
    Compete(line.queue);
  }

  // Takes the line out of wherever its state has it.
  void Withhold(LineIndex index) {
    Line& line = lines_[index];
    switch (line.state) {
      case Line::State::ready: {
        const auto head = std::pair(line.tasks.begin()->first, index);
        Queue& queue = queues_[line.queue];
        queue.ready.erase(head);
        const auto alike = queue.by_shape.find({shapes_[line.shape].expected, line.shape});
        alike->second.erase(head);
        if (alike->second.empty()) queue.by_shape.erase(alike);
        if (ReservesInOrder()) in_order_.erase(head);
        line.held_back = false;
        Compete(line.queue);
        break;
      }
      case Line::State::tried: {
        auto& tried = demands_[shapes_[line.shape].wanted].tried;
        tried.erase(std::find(tried.begin(), tried.end(), index));
        break;
      }
      case Line::State::parked: {
        const auto parked = parked_.find(line.parked_at);
        parked->second.erase(index);
        if (parked->second.empty()) parked_.erase(parked);
        break;
      }
    }
  }

  void Park(LineIndex index, TenantIndex tenant) {
    Withhold(index);
    lines_[index].state = Line::State::parked;
    lines_[index].parked_at = tenant;
    parked_[tenant].insert(index);
  }

  // Its first task was tried by itself and waits until its demand wakes.
  void SetAside(LineIndex index) {
    Withhold(index);
    lines_[index].state = Line::State::tried;
    demands_[shapes_[lines_[index].shape].wanted].tried.push_back(index);
  }

  bool HasNoRoom(const DemandState& wanted, const Shape& shape) const {
    return wanted.no_room || shape.no_room == wanted.wakes;
  }

  // True when there is something to gain from trying the first task of the line, of this rank.
  bool Competes(const DemandState& wanted, const Rank& rank, LineIndex index) const {
    const Line& line = lines_[index];
    const Shape& shape = shapes_[line.shape];
    if (HasNoRoom(wanted, shape)) return TriesEachLine();
    if (line.held_back || (shape.held_back && *shape.held_back <= rank)) return false;
    return !wanted.held_back || shape.expected < wanted.held_back->first ||
           rank < wanted.held_back->second;
  }

  // The line of the queue that competes with those of other queues.
  std::optional<std::pair<Rank, LineIndex>> Foremost(const Queue& queue) const {
    const DemandState& wanted = demands_[queue.wanted];
    if (queue.ready.empty()) return std::nullopt;
    if (policy.backfill == Backfill::strict) return *queue.ready.begin();
    if (wanted.no_room && !TriesEachLine()) return std::nullopt;
    if (!wanted.partly && !wanted.held_back && wanted.lines_held_back.empty()) {
      return *queue.ready.begin();
    }
    std::optional<std::pair<Rank, LineIndex>> best;
    const auto consider = [&](const Queue::Lines& lines, std::optional<Rank> before) {
      for (const auto& head : lines) {
        if ((best && *best <= head) || (before && *before <= head.first)) return;
        if (!Competes(wanted, head.first, head.second)) continue;
        best = head;
        return;
      }
    };
    if (TriesEachLine()) {
      consider(queue.ready, std::nullopt);
      return best;
    }
    // Of those that are held back by length, only who comes before the one that was tried.
    if (wanted.held_back) consider(queue.ready, wanted.held_back->second);
    for (const auto& [shape, lines] : queue.by_shape) {
      if (wanted.held_back && shape.first >= wanted.held_back->first) break;
      consider(lines, shapes_[shape.second].held_back);
    }
    return best;
  }

  void Compete(QueueIndex index) {
    Queue& queue = queues_[index];
    const std::optional<std::pair<Rank, LineIndex>> best = Foremost(queue);
    if (best == queue.competing) return;
    if (queue.competing) {
      const auto found = competing_.find(queue.bucket);
      found->second.erase(*queue.competing);
      if (found->second.empty()) competing_.erase(found);
    }
    queue.competing = best;
    if (best) competing_[queue.bucket].insert(*best);
  }

  void CompeteAll(const DemandState& wanted) {
    for (const QueueIndex queue : wanted.queues) Compete(queue);
  }

  // The line whose first task goes next.
  std::optional<LineIndex> NextLine(Time now) const {
    const std::pair<Rank, LineIndex>* best = nullptr;
    for (const auto& [tenant, lines] : competing_) {
      const auto& head = *lines.begin();
      if (best == nullptr ||
          GoesBefore(tenant, head.first, lines_[best->second].tenant, best->first, now)) {
        best = &head;
      }
    }
    if (best == nullptr) return std::nullopt;
    return best->second;
  }

  bool Reserves() const {
    return policy.backfill == Backfill::easy || policy.backfill == Backfill::conservative;
  }

  size_t ReservationDepth() const {
    return policy.backfill == Backfill::easy ? 1 : policy.reservation_depth;
  }

  // True when each line without room is to be tried by itself: its task may be one for which others
  // are stopped, or whom reservations bind changes with the shares.
  bool TriesEachLine() const { return Evicts() || (Reserves() && OrderedByShares()); }

  // Else only the first tasks of the whole queue can get reservations, and they are found by rank.
  bool ReservesInOrder() const { return Reserves() && !TriesEachLine(); }

  // The next line after the last one looked at, and before `end`, that has no room and could have a
  // reservation.
  std::optional<LineIndex> NextToReserve(std::optional<Rank> end) const {
    if (ReservationDepth() == 0) return std::nullopt;
    if (reservations.size() >= ReservationDepth()) {
      const Rank& last = tasks[reservations[ReservationDepth() - 1].task].rank;
      if (!end || last < *end) end = last;
    }
    auto next = looked_at_ ? in_order_.upper_bound({*looked_at_, UINT32_MAX}) : in_order_.begin();
    for (; next != in_order_.end() && (!end || next->first < *end); ++next) {
      const Line& line = lines_[next->second];
      const Shape& shape = shapes_[line.shape];
      if (!HasNoRoom(demands_[shape.wanted], shape)) continue;
      const TaskSlot slot = line.tasks.begin()->second;
      if (std::none_of(reservations.begin(), reservations.end(),
                       [&](const Reservation& other) { return other.task == slot; })) {
        return next->second;
      }
    }
    return std::nullopt;
  }

  void TryLines(Time now, size_t most, Plan* plan) {
    DropRefusedReservations();
    looked_at_.reset();
    to_share_ = {};
    while (plan->starts.size() < most) {
      const std::optional<LineIndex> competing = NextLine(now);
      std::optional<Rank> rank;
      if (competing) rank = lines_[*competing].tasks.begin()->first;
      const std::optional<LineIndex> reserving = NextToReserve(rank);
      const std::optional<LineIndex> line = reserving ? reserving : competing;
      if (!line) return;
      looked_at_ = lines_[*line].tasks.begin()->first;
      if (!TryHead(*line, now, plan)) return;
    }
  }

  // Tries to start the first task of the line. False: nobody may go before it.
  bool TryHead(LineIndex index, Time now, Plan* plan) {
    const TaskSlot slot = lines_[index].tasks.begin()->second;
    TaskState& task = tasks[slot];
    Shape& shape = shapes_[task.shape];
    DemandState& wanted = demands_[shape.wanted];
    QuotaRefusal refusal;
    if (!QuotasAdmit(task, &refusal)) {
      if (MakeRoom(slot, now, plan)) {
        SetAside(index);
      } else {
        Park(index, refusal.tenant);
        DropReservation(slot);
      }
      return true;
    }
    if (!HasNoRoom(wanted, shape)) {
      Placements members;
      TaskId delayed = 0;
      const std::optional<Found> known = WithoutLooking(task, wanted);
      switch (known ? *known
              : OnlyReservedNodesFit(task, &wanted, now)
                  ? Found::reserved
                  : FindRoom(task, now, &members, &delayed)) {
        case Found::room:
          StartWaiting(slot, members, now, plan);
          return true;
        case Found::nowhere:
          shape.no_room = wanted.wakes;
          wanted.partly = true;
          if (task.request.members == 1) wanted.no_room = true;
          CompeteAll(wanted);
          break;
        case Found::reserved:
          if (policy.backfill == Backfill::strict) return false;
          HoldBack(index, task, now);
          if (known) wanted.held_back = wanted.was_held_back;
          CompeteAll(wanted);
          return true;
      }
    }
    if (MakeRoom(slot, now, plan)) {
      SetAside(index);
      return true;
    }
    if (policy.backfill == Backfill::strict) return false;
    if (TriesEachLine()) SetAside(index);
    Reserve(slot, now);
    return true;
  }

  void StartWaiting(TaskSlot slot, const Placements& members, Time now, Plan* plan) {
    TaskState& task = tasks[slot];
    DropReservation(slot);
    Dequeue(slot);
    plan->starts.push_back({task.request.id, members, EnforcementOf(task.request.demand, members)});
    WaitsNoMore(task);
    for (const Reservation& reservation : reservations) {
      // It may have taken what was kept for those that it goes before. Where shares decide, who
      // goes before whom has changed.
      overtaken_ = overtaken_ || OrderedByShares() || !Binds(reservation, task, now);
      // Who was held back on that node might now be placed otherwise.
      beside_reservations_ =
          beside_reservations_ ||
          std::any_of(members.begin(), members.end(), [&](const Placement& member) {
            return std::any_of(
                reservation.members.begin(), reservation.members.end(),
                [&](const Placement& reserved) { return reserved.node == member.node; });
          });
    }
    task.started = now;
    task.started_in = schedules;
    Run(slot, members, now);
    SleepAgain();
    victims_changed_ = true;
    DropRefusedReservations();
  }

  // The shortest of single tasks that a reservation holds back wherever it holds back `task`.
  Duration ShortestHeldBack(const TaskState& task, Time now) const {
    // One reservation binds all alike that would run longer than to its start.
    // Where others may be stopped for each by itself, each is tried.
    if (TriesEachLine() || reservations.size() != 1) return task.expected;
    return reservations[0].start - now + Duration{1};
  }

  // What woke for room that is taken again sleeps on, without each of its lines being tried.
  void SleepAgain() {
    if (TriesEachLine() || policy.backfill == Backfill::strict) return;
    const auto finds_room = [&](DemandIndex index) {
      DemandState& wanted = demands_[index];
      if (!wanted.had_no_room && !wanted.was_held_back) return true;  // reservations have moved
      if (std::any_of(changed_.begin(), changed_.end(),
                      [&](NodeIndex node) { return cluster.Fits(node, wanted.demand); })) {
        return true;
      }
      if (wanted.had_no_room) {
        wanted.no_room = true;
      } else {
        wanted.held_back = wanted.was_held_back;
      }
      CompeteAll(wanted);
      return false;
    };
    const auto asleep = std::partition(woken_.begin(), woken_.end(), finds_room);
    woken_.erase(asleep, woken_.end());
  }

  void HoldBack(LineIndex index, const TaskState& task, Time now) {
    Shape& shape = shapes_[task.shape];
    DemandState& wanted = demands_[shape.wanted];
    lines_[index].held_back = true;
    wanted.lines_held_back.emplace_back(index, task.shape);
    // Where shares decide who goes first, rank does not say whom a reservation binds.
    if (!OrderedByShares() && !scan) {
      shape.held_back = task.rank;
      const Duration shortest = ShortestHeldBack(task, now);
      if (task.request.members == 1 && (!wanted.held_back || shortest < wanted.held_back->first)) {
        wanted.held_back = std::pair(shortest, task.rank);
      }
    }
    held_.insert(shape.wanted);
  }

  enum class Found { room, nowhere, reserved };

  // What FindRoom would say, where that is known since what had changed is taken again.
  std::optional<Found> WithoutLooking(const TaskState& task, const DemandState& wanted) const {
    if (wanted.woken_in != schedules) return std::nullopt;
    const bool held_back = wanted.was_held_back && task.request.members == 1 &&
                           task.expected >= wanted.was_held_back->first &&
                           wanted.was_held_back->second < task.rank;
    if (!wanted.had_no_room && !held_back) return std::nullopt;
    for (const NodeIndex node : changed_) {
      if (cluster.Fits(node, wanted.demand)) return std::nullopt;
    }
    return wanted.had_no_room ? Found::nowhere : Found::reserved;
  }

  // What there is on a node of the only reservation beside it, until nodes or reservations change.
  const std::optional<NodeState>& ToShare(NodeIndex node, Time now) {
    if (to_share_.changes != cluster.end_change()) to_share_ = {cluster.end_change(), {}};
    const auto [room, added] = to_share_.rooms.try_emplace(node);
    if (added) room->second = WhatMayBeShared(*this, node, now);
    return room->second;
  }

  // True when the task would fit on nodes of the only reservation alone, and would delay that on
  // each. Asking the placer instead would mean to close these nodes one after the other, and
  // everybody who follows the nodes would look at each of them twice.
  bool OnlyReservedNodesFit(const TaskState& task, DemandState* wanted, Time now) {
    if (scan || reservations.size() != 1) return false;
    const Reservation& reservation = reservations.front();
    if (reservation.claim || Later(now, task.expected) <= reservation.start ||
        !Binds(reservation, task, now)) {
      return false;
    }
    wanted->fitting.Follow(cluster, wanted->demand);
    size_t refused = 0;
    for (auto member = reservation.members.begin(); member != reservation.members.end(); ++member) {
      const NodeIndex node = member->node;
      const bool again = std::any_of(reservation.members.begin(), member,
                                     [&](const Placement& other) { return other.node == node; });
      if (again || !wanted->fitting.Has(node)) continue;
      if (MayShare(ToShare(node, now), cluster.capacity(node), wanted->demand)) {
        return false;
      }
      ++refused;
    }
    return refused > 0 && refused == wanted->fitting.count();
  }

  std::optional<Placement> Choose(const TaskState& task) {
    const TaskRequest& request = task.request;
    return request.data.empty() ? placer->Choose(cluster, request.demand)
                                : placer->ChooseNear(cluster, request.demand, request.data);
  }

  // Takes room for all members, or for none.
  Found FindRoom(const TaskState& task, Time now, Placements* members, TaskId* delayed) {
    const Demand& demand = task.request.demand;
    std::vector<NodeIndex> closed;
    const auto close = [&](NodeIndex node) {
      cluster.SetOpen(node, false);
      closed.push_back(node);
    };
    Found found = Found::room;
    bool reserved = false;
    while (members->size() < task.request.members) {
      std::optional<Placement> choice = Choose(task);
      // A placer of the host's may be wrong: it may insist on what is not there, or on what has
      // been closed to it.
      if (!choice || choice->node >= cluster.size() || !cluster.state(choice->node).open) {
        found = reserved ? Found::reserved : Found::nowhere;
        break;
      }
      if (!reservations.empty() &&
          !LeavesReservations(*this, task, *members, *choice, now, delayed)) {
        reserved = true;
        const NodeIndex node = choice->node;
        if (!RoomBesideReservations(*this, task, node, now, &*choice) ||
            !placer->Accepts(cluster, demand, *choice)) {
          close(node);
          continue;
        }
      }
      if (!cluster.Take(demand, *choice)) {
        found = Found::nowhere;
        break;
      }
      members->push_back(*choice);
      if (task.request.on_different_nodes) close(choice->node);
    }
    if (found != Found::room) {
      for (const Placement& member : *members) cluster.Give(demand, member);
      members->clear();
    }
    for (const NodeIndex node : closed) cluster.SetOpen(node, true);
    return found;
  }

  // Counts the task as running; its room is taken already.
  void Run(TaskSlot slot, const Placements& members, Time now) {
    TaskState& task = tasks[slot];
    task.running = true;
    task.members = members;
    for (const Placement& member : members) on_node[member.node].push_back(slot);
    tenancy.Starts(task.request.tenant, Charge(task.request), now);
    CountStoppable(slot, true);
    ++running_;
  }

  void End(TaskSlot slot, Time now) {
    TaskState& task = tasks[slot];
    for (uint32_t member = 0; member < task.members.size(); ++member) {
      if (task.IsLost(member)) continue;
      cluster.Give(task.request.demand, task.members[member]);
      Leave(task.members[member].node, slot);
    }
    tenancy.Ends(task.request.tenant, Charge(task.request), now);
    CountStoppable(slot, false);
    victims_changed_ = true;
    --running_;
    crippled_.erase(slot);
    stopping.erase(slot);
    UnparkUpwards(task.request.tenant);
    Forget(slot);
  }

  // The tenant uses less than before, or less is claimed for it.
  void UnparkUpwards(TenantIndex tenant) {
    for (;; tenant = tenancy.parent(tenant)) {
      Unpark(tenant);
      if (tenant == kRootTenant) return;
    }
  }

  void Unpark(TenantIndex tenant) {
    const auto found = parked_.find(tenant);
    if (found == parked_.end()) return;
    const std::set<LineIndex> lines = std::move(found->second);
    parked_.erase(found);
    for (const LineIndex line : lines) Offer(line);
  }

  void Leave(NodeIndex node, TaskSlot slot) {
    auto& there = on_node[node];
    there.erase(std::find(there.begin(), there.end(), slot));
  }

  // A placer finds room among all nodes; among few it is quicker to ask them.
  bool FewHaveChanged() const { return !scan && changed_.size() <= 16; }

  // What there is on each changed node for who is held back by the only reservation. Nothing, where
  // it takes a look at each task to know who is: what is said of whole demands says nothing then.
  std::vector<std::optional<NodeState>> SharedChanges(Time now) const {
    std::vector<std::optional<NodeState>> shared;
    if (policy.backfill != Backfill::easy || TriesEachLine() || reservations.size() != 1 ||
        !FewHaveChanged()) {
      return shared;
    }
    for (const NodeIndex node : changed_) shared.push_back(WhatMayBeShared(*this, node, now));
    return shared;
  }

  // True when all that waits of this demand is held back by the only reservation, and room that has
  // come free on its nodes changes nothing about that: it would only wake to be held back again. If
  // the reservation moves, all that it holds back is looked at.
  bool StaysHeldBack(const DemandState& wanted,
                     const std::vector<std::optional<NodeState>>& shared) const {
    if (shared.empty() || !wanted.held_back || wanted.partly) return false;
    for (size_t i = 0; i < changed_.size(); ++i) {
      const NodeIndex node = changed_[i];
      if (cluster.Fits(node, wanted.demand) &&
          MayShare(shared[i], cluster.capacity(node), wanted.demand)) {
        return false;
      }
    }
    return true;
  }

  // Demands that may have found room since the last time.
  void WakeWhatMayFit(Time now) {
    changed_.clear();
    woken_.clear();
    if (seen_ < cluster.first_change()) {
      for (NodeIndex node = 0; node < cluster.size(); ++node) changed_.push_back(node);
    } else {
      for (uint64_t i = seen_; i < cluster.end_change(); ++i) {
        changed_.push_back(cluster.Changed(i));
      }
      std::sort(changed_.begin(), changed_.end());
      changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    }
    if (changed_.empty() && !scan) return;
    const std::vector<std::optional<NodeState>> shared = SharedChanges(now);
    for (DemandIndex index = 0; index < demands_.size(); ++index) {
      DemandState& wanted = demands_[index];
      if (wanted.shapes == 0) continue;
      const bool fits = std::any_of(changed_.begin(), changed_.end(), [&](NodeIndex node) {
        return cluster.Fits(node, wanted.demand);
      });
      if (!scan && (!fits || StaysHeldBack(wanted, shared))) continue;
      wanted.woken_in = FewHaveChanged() ? schedules : 0;
      wanted.had_no_room = wanted.no_room;
      wanted.was_held_back = wanted.held_back;
      if (wanted.woken_in == schedules && (wanted.had_no_room || wanted.was_held_back)) {
        woken_.push_back(index);
      }
      wanted.no_room = false;
      wanted.partly = false;
      ++wanted.wakes;
      LetGo(&wanted);
      for (const LineIndex line : std::exchange(wanted.tried, {})) Offer(line);
      CompeteAll(wanted);
    }
  }

  // -- reservations

  // Forgets that reservations hold anything of this demand back.
  void LetGo(DemandState* wanted) {
    wanted->held_back.reset();
    // Some of these may be others meanwhile: those are then tried once more for nothing.
    for (const auto& [line, shape] : wanted->lines_held_back) {
      lines_[line].held_back = false;
      shapes_[shape].held_back.reset();
    }
    wanted->lines_held_back.clear();
  }

  void WakeHeldBack() {
    looked_at_.reset();
    for (const DemandIndex index : held_) {
      demands_[index].was_held_back.reset();
      LetGo(&demands_[index]);
      CompeteAll(demands_[index]);
    }
    held_.clear();
  }

  // A reservation is gone: who was behind it may now be the first that waits for room.
  void ReservationIsGone() {
    WakeHeldBack();
    if (!TriesEachLine()) return;
    for (DemandState& wanted : demands_) {
      for (const LineIndex line : std::exchange(wanted.tried, {})) Offer(line);
    }
  }

  void DropReservation(TaskSlot slot) {
    const auto found = std::find_if(reservations.begin(), reservations.end(),
                                    [&](const Reservation& r) { return r.task == slot; });
    if (found == reservations.end()) return;
    const bool claim = found->claim;
    reservations.erase(found);
    to_share_ = {};
    if (claim) UnparkUpwards(tasks[slot].request.tenant);
    ReservationIsGone();
    reservations_changed_ = true;
  }

  // No room is kept for a task that a quota has come to refuse.
  void DropRefusedReservations() {
    for (size_t i = reservations.size(); i-- > 0;) {
      const TaskSlot slot = reservations[i].task;
      const TaskState& task = tasks[slot];
      QuotaRefusal refusal;
      if (reservations[i].claim || QuotasAdmit(task, &refusal)) continue;
      Park(task.line, refusal.tenant);
      DropReservation(slot);
    }
  }

  void DropReservationsOn(NodeIndex node) {
    for (size_t i = reservations.size(); i-- > 0;) {
      const auto& members = reservations[i].members;
      if (std::any_of(members.begin(), members.end(),
                      [&](const Placement& member) { return member.node == node; })) {
        const TaskSlot slot = reservations[i].task;
        DropReservation(slot);
        TryAgain(tasks[slot].line);
      }
    }
  }

  // All but the tasks, where they run, and what is reserved: for whoever wants it looked at anew.
  void ForgetWhatIsKept() {
    UnparkAll();
    victims_changed_ = true;
    look_aheads_ = LookAheads();
  }

  // A line that was set aside goes on.
  void TryAgain(LineIndex index) {
    if (lines_[index].state != Line::State::tried) return;
    Withhold(index);
    Offer(index);
  }

  // Keeps room for a task that found none, if the policy keeps any for it.
  void Reserve(TaskSlot slot, Time now) {
    if (!Reserves()) return;
    const TaskState& task = tasks[slot];
    const size_t depth = ReservationDepth();
    size_t before = 0;
    size_t kept = 0;
    for (const Reservation& reservation : reservations) {
      if (reservation.task == slot) return;
      if (reservation.claim) continue;
      ++kept;
      if (Binds(reservation, task, now)) ++before;
    }
    if (before >= depth) return;
    std::optional<Reservation> earliest = look_aheads_.EarliestStart(*this, task, now);
    if (!earliest) return;
    earliest->task = slot;
    const auto behind = std::find_if(
        reservations.begin(), reservations.end(),
        [&](const Reservation& reservation) { return !Binds(reservation, task, now); });
    const auto inserted = reservations.insert(behind, *std::move(earliest));
    to_share_ = {};
    const auto place = static_cast<size_t>(inserted - reservations.begin());
    if (kept >= depth) {
      reservations.pop_back();
      WakeHeldBack();
    }
    // Those behind may have counted on the same room.
    overtaken_ = overtaken_ || place + 1 < reservations.size();
  }

  // Starts what claims have room now, gives up claims whose time is over, and plans reservations
  // anew when something that they rest on has changed.
  void LookAtReservations(Time now, Plan* plan) {
    for (size_t i = 0; i < reservations.size();) {
      Reservation& claim = reservations[i];
      if (!claim.claim) break;
      claim.start = now;
      const TaskSlot slot = claim.task;
      TaskState& task = tasks[slot];
      QuotaRefusal refusal;
      Placements taken;
      bool accepted = true;
      // Room and quota that would do for several claims go to the first.
      if (tenancy.MayStart(task.request.tenant, Charge(task.request), Claimed(i), &refusal)) {
        for (const Placement& member : claim.members) {
          if (!HasRoom(task.request.demand, member, RoomBesideClaims(*this, member.node, i))) break;
          accepted = placer->Accepts(cluster, task.request.demand, member);
          if (!accepted || !cluster.Take(task.request.demand, member)) break;
          taken.push_back(member);
        }
      }
      if (taken.size() == claim.members.size()) {
        StartWaiting(slot, taken, now, plan);
        continue;
      }
      for (const Placement& member : taken) cluster.Give(task.request.demand, member);
      // Where the placer knows better it is placed like any other, now.
      if (claim.claim_ends <= now || !accepted) {
        DropReservation(slot);
        TryAgain(task.line);
        continue;
      }
      ++i;
    }
    bool stale = reservations_changed_ || seen_ != cluster.end_change();
    for (const Reservation& reservation : reservations) {
      stale = stale || (!reservation.claim && reservation.start <= now);
    }
    if (stale) PlanReservations(now);
  }

  void PlanReservations(Time now) {
    reservations_changed_ = false;
    const size_t claims = Claims();
    const std::vector<Reservation> before(reservations.begin() + static_cast<ptrdiff_t>(claims),
                                          reservations.end());
    if (before.empty()) return;
    if (policy.backfill == Backfill::conservative && !OrderedByShares()) {
      for (const Reservation& reservation : before) MoveForward(reservation.task, now);
    } else {
      reservations.resize(claims);
      for (const Reservation& reservation : before) Reserve(reservation.task, now);
    }
    if (reservations.size() < claims + before.size()) {
      ReservationIsGone();
      return;
    }
    // What was held back stays so while the same room is kept, and no longer than before: what may
    // start on a node that has changed is woken for that. Where shares decide who goes first,
    // whom a reservation binds changes with them.
    bool same = !scan && !OrderedByShares();
    for (size_t i = 0; same && i < before.size(); ++i) {
      const Reservation& now_kept = reservations[claims + i];
      same = now_kept.members == before[i].members && now_kept.start <= before[i].start;
    }
    if (!same) WakeHeldBack();
  }

  // Plans one reservation anew so that none behind it has to move: an earlier time beside all
  // others, else the time it has. Only when that does not hold any more it is put where it then
  // fits, and those behind it follow.
  void MoveForward(TaskSlot slot, Time now) {
    const auto found = std::find_if(reservations.begin(), reservations.end(),
                                    [&](const Reservation& other) { return other.task == slot; });
    std::optional<Reservation> earliest =
        look_aheads_.EarliestStart(*this, tasks[slot], now, /*behind_all=*/true);
    if (Holds(*this, *found, now)) {
      if (!earliest || earliest->start >= found->start) return;
    } else {
      earliest = look_aheads_.EarliestStart(*this, tasks[slot], now);
    }
    if (!earliest) {
      reservations.erase(found);
      return;
    }
    earliest->task = slot;
    *found = *std::move(earliest);
  }

  // -- eviction

  // What any eviction for this task requires, at a glance.
  bool MayEvict(const TaskRequest& request) const {
    if (stoppable_.empty()) return false;
    if (policy.preempt_by_priority && stoppable_.begin()->first < request.priority) return true;
    return policy.reclaim && !tenancy.WouldBorrow(request.tenant, Charge(request));
  }

  bool HasClaim(TaskSlot slot) const {
    return std::any_of(reservations.begin(), reservations.end(),
                       [&](const Reservation& other) { return other.claim && other.task == slot; });
  }

  // What has started may be stopped from the next Schedule on, and so may others of tenants that
  // borrow now, since something has started or is claimed for them. That is to come soon, if
  // anybody waits for whom it could be done.
  bool NextMayStopMore() const {
    if (!Evicts() || waiting_ == 0) return false;
    // What has started is too young, and where nothing is guaranteed nobody comes to borrow. But
    // who had room, and waits for something else, may have lost it.
    const bool no_others = policy.minimum_run_time > Duration{0} && !tenancy.HasGuarantees();
    return std::any_of(lines_.begin(), lines_.end(), [&](const Line& line) {
      if (line.tasks.empty() || (no_others && line.state == Line::State::tried)) return false;
      const TaskSlot first = line.tasks.begin()->second;
      return MayEvict(tasks[first].request) && !HasClaim(first);
    });
  }

  // Lines that can have room made for them since the last time: something has ended, so that less
  // has to be stopped, or has started, stops, or has run for long enough, or nodes or quotas are
  // others.
  void WakeWhatMayMakeRoom(Time now) {
    if (!Evicts()) return;
    while (!ripe_.empty() && ripe_.begin()->first <= now) {
      ripe_.erase(ripe_.begin());
      victims_changed_ = true;
    }
    if (!victims_changed_) return;
    victims_changed_ = false;
    UnparkAll();
    for (DemandState& wanted : demands_) {
      const std::vector<LineIndex> tried = wanted.tried;
      for (const LineIndex line : tried) {
        if (MayEvict(tasks[lines_[line].tasks.begin()->second].request)) TryAgain(line);
      }
    }
  }

  void CountStoppable(TaskSlot slot, bool runs) {
    const TaskState& task = tasks[slot];
    if (!Evicts()) return;
    use.Count(tenancy, task.request.tenant, task.request.priority, Charge(task.request),
              runs ? 1 : -1);
    if (!MayBeStopped(task.request)) return;
    const auto ripe = std::pair(Later(task.started, policy.minimum_run_time), slot);
    const auto found = stoppable_.try_emplace(task.request.priority, 0).first;
    if (runs) {
      ++found->second;
      if (policy.minimum_run_time > Duration{0}) ripe_.insert(ripe);
    } else {
      if (--found->second == 0) stoppable_.erase(found);
      ripe_.erase(ripe);
    }
  }

  bool MakeRoom(TaskSlot slot, Time now, Plan* plan) {
    if (!Evicts()) return false;
    const TaskState& task = tasks[slot];
    if (HasClaim(slot)) return true;  // it is being made
    if (!MayEvict(task.request)) return false;
    const std::optional<Victims> victims = ChooseVictims(*this, task, now);
    if (!victims) return false;
    DropReservation(slot);
    Evict(*victims, task, plan);
    victims_changed_ = true;
    Reservation claim;
    claim.task = slot;
    claim.start = now;
    claim.members = victims->members;
    claim.claim = true;
    claim.claim_ends = now + policy.claim_time;
    reservations.insert(reservations.begin() + static_cast<ptrdiff_t>(Claims()), std::move(claim));
    return true;
  }

  void TellToStop(TaskSlot slot) {
    tasks[slot].stopping = true;
    stopping.insert(slot);
    for (const Placement& member : tasks[slot].members) look_aheads_.Stops(member.node);
  }

  void Evict(const Victims& victims, const TaskState& beneficiary, Plan* plan) {
    for (const auto& [victim, cause] : victims.tasks) {
      TellToStop(victim);
      plan->evictions.push_back({tasks[victim].request.id, beneficiary.request.id, cause});
    }
  }

  // -- gangs that lost members

  void MendGangs(Time now, Plan* plan) {
    const std::set<TaskSlot> crippled = crippled_;
    for (const TaskSlot slot : crippled) {
      TaskState& task = tasks[slot];
      std::vector<NodeIndex> closed;
      if (task.request.on_different_nodes) {
        for (uint32_t member = 0; member < task.members.size(); ++member) {
          const NodeIndex node = task.members[member].node;
          if (task.IsLost(member) || !cluster.state(node).open) continue;
          cluster.SetOpen(node, false);
          closed.push_back(node);
        }
      }
      while (!task.lost.empty()) {
        const uint32_t member = task.lost.back();
        const std::optional<Placement> choice = Choose(task);
        TaskId delayed = 0;
        if (!choice || !LeavesReservations(*this, task, {}, *choice, now, &delayed) ||
            !cluster.Take(task.request.demand, *choice)) {
          break;
        }
        task.lost.pop_back();
        task.members[member] = *choice;
        on_node[choice->node].push_back(slot);
        plan->repairs.push_back({task.request.id, member, *choice});
        if (task.request.on_different_nodes) {
          cluster.SetOpen(choice->node, false);
          closed.push_back(choice->node);
        }
      }
      for (const NodeIndex node : closed) cluster.SetOpen(node, true);
      if (task.lost.empty()) {
        crippled_.erase(slot);
      } else if (now - task.lost_at >= policy.gang_grace) {
        plan->released.push_back(task.request.id);
        End(slot, now);
      }
    }
  }

  // -- explaining

  WaitReason ExplainTask(const TaskState& task, TaskSlot slot, Time now) {
    WaitReason reason;
    if (task.request.not_before > now) {
      reason.rule = WaitReason::Rule::not_yet;
      reason.until = task.request.not_before;
      reason.expected_start = reason.until;
      reason.sentence = absl::StrCat("starts at ", FormatTime(reason.until), " at the earliest");
      return reason;
    }
    for (const Reservation& reservation : reservations) {
      if (reservation.task != slot) continue;
      reason.expected_start = reservation.start;
      if (!reservation.claim) break;
      reason.rule = WaitReason::Rule::claiming;
      reason.until = reservation.claim_ends;
      reason.sentence = "waits for the tasks that were stopped for it to end";
      return reason;
    }
    QuotaRefusal refusal;
    if (!QuotasAdmit(task, &refusal)) {
      reason.rule = WaitReason::Rule::quota;
      reason.refusal = refusal;
      reason.sentence = QuotaSentence(*this, refusal);
      return reason;
    }
    Placements members;
    TaskId delayed = 0;
    const Found found = FindRoom(task, now, &members, &delayed);
    for (const Placement& member : members) cluster.Give(task.request.demand, member);
    if (found == Found::reserved) {
      reason.rule = WaitReason::Rule::reserved;
      reason.ahead = delayed;
      for (const Reservation& reservation : reservations) {
        if (tasks[reservation.task].request.id == delayed) reason.until = reservation.start;
      }
      reason.sentence =
          absl::StrCat("would fit, but would delay task ", delayed,
                       ", for which the room is kept from ", FormatTime(reason.until));
      return reason;
    }
    if (found == Found::nowhere) {
      const Time expected_start = reason.expected_start;
      reason = WhatIsRefused(*this, task).value_or(WhatIsShort(*this, task.request));
      reason.expected_start = expected_start;
      if (expected_start == kNever) {
        if (const auto earliest = look_aheads_.EarliestStart(*this, task, now)) {
          reason.expected_start = earliest->start;
        }
      }
      if (reason.expected_start != kNever) {
        absl::StrAppend(&reason.sentence, "; expected at ", FormatTime(reason.expected_start));
      }
      return reason;
    }
    if (policy.backfill == Backfill::strict) {
      const auto next = NextLine(now);
      if (next && lines_[*next].tasks.begin()->second != slot) {
        reason.rule = WaitReason::Rule::strict_order;
        reason.ahead = tasks[lines_[*next].tasks.begin()->second].request.id;
        reason.sentence = absl::StrCat("task ", reason.ahead,
                                       " is before it and waits for room; nobody may overtake");
        return reason;
      }
    }
    reason.rule = WaitReason::Rule::next;
    reason.expected_start = now;
    reason.sentence = "can start now";
    return reason;
  }

  Amounts capacity_{};
  std::vector<TaskSlot> free_slots_;
  absl::flat_hash_set<std::string> by_name_;  // of nodes
  std::vector<Shape> shapes_;
  std::vector<ShapeIndex> free_shapes_;
  std::map<ShapeKey, ShapeIndex> by_shape_;
  std::vector<DemandState> demands_;
  std::vector<DemandIndex> free_demands_;
  absl::flat_hash_map<Demand, DemandIndex> by_demand_;
  std::set<DemandIndex> held_;  // of which reservations hold something back
  std::vector<Queue> queues_;
  std::vector<QueueIndex> free_queues_;
  absl::flat_hash_map<std::pair<TenantIndex, DemandIndex>, QueueIndex> by_bucket_;
  std::vector<Line> lines_;
  std::vector<LineIndex> free_lines_;
  absl::flat_hash_map<std::tuple<TenantIndex, uint8_t, ShapeIndex>, LineIndex> by_kind_of_line_;
  std::map<TenantIndex, std::set<std::pair<Rank, LineIndex>>> competing_;  // one of each queue
  std::set<std::pair<Rank, LineIndex>> in_order_;      // all ready lines, if ReservesInOrder
  std::optional<Rank> looked_at_;                      // by TryLines, last
  std::map<TenantIndex, std::set<LineIndex>> parked_;  // by the tenant whose quota refuses
  std::set<std::pair<Time, TaskSlot>> later_;
  LookAheads look_aheads_;
  struct {
    uint64_t changes = 0;
    absl::flat_hash_map<NodeIndex, std::optional<NodeState>> rooms;
  } to_share_;  // as the only reservation is, in this TryLines
  std::set<TaskSlot> crippled_;
  // Only where the policy evicts: running tasks that may be stopped, by priority, and when those
  // too young for it have run long enough.
  std::map<int32_t, size_t> stoppable_;
  std::set<std::pair<Time, TaskSlot>> ripe_;
  bool victims_changed_ = false;  // who may be stopped, since it was last looked at
  uint64_t submissions_ = 0;
  uint64_t seen_ = 0;  // changes of the cluster that are dealt with
  // In this Schedule, by few nodes; there had been no room, or it was held back.
  std::vector<DemandIndex> woken_;
  std::vector<NodeIndex> changed_;  // nodes, since the Schedule before this one
  bool reservations_changed_ = false;
  bool beside_reservations_ = false;  // a task started on a node with a reservation
  // A task started that some reservation does not bind, or was given one before others.
  bool overtaken_ = false;
  size_t waiting_ = 0;
  size_t running_ = 0;
};

Scheduler::Scheduler(SchedulerOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
Scheduler::~Scheduler() = default;

StatusOr<NodeIndex> Scheduler::AddNode(std::string name, const NodeCapacity& capacity,
                                       uint8_t device_resource) {
  return impl_->AddNode(std::move(name), capacity, device_resource);
}
void Scheduler::DrainNode(NodeIndex node) {
  if (node < impl_->cluster.size()) impl_->cluster.SetOpen(node, false);
}
std::vector<TaskId> Scheduler::LoseNode(NodeIndex node, Time now) {
  return impl_->LoseNode(node, now);
}
void Scheduler::OpenNode(NodeIndex node) { impl_->OpenNode(node); }
Status Scheduler::Submit(const TaskRequest& task, Time now) { return impl_->Submit(task, now); }
Status Scheduler::Restore(const TaskRequest& task, const Placements& members, Time started,
                          Time now) {
  return impl_->Restore(task, members, started, now);
}
Status Scheduler::RestoreElsewhere(const TaskRequest& task, Time started, Time now) {
  return impl_->RestoreElsewhere(task, started, now);
}
Status Scheduler::Stopping(TaskId task) { return impl_->Stopping(task); }
Status Scheduler::Finish(TaskId task, Time now) { return impl_->Finish(task, now); }
Plan Scheduler::Schedule(Time now, size_t most) { return impl_->Schedule(now, most); }
WaitReason Scheduler::Explain(TaskId task, Time now) { return impl_->Explain(task, now); }
StatusOr<Prediction> Scheduler::Predict(const TaskRequest& task, Time now) {
  return impl_->Predict(task, now);
}
StatusOr<Prediction> Scheduler::Predict(const TaskRequest& task, const WhatIf& what_if, Time now) {
  return impl_->PredictIf(task, what_if, now);
}
bool Scheduler::IsWaiting(TaskId task) const {
  const auto found = impl_->by_id.find(task);
  return found != impl_->by_id.end() && !impl_->tasks[found->second].running;
}
std::optional<TenantIndex> Scheduler::TenantOf(TaskId task) const {
  const auto found = impl_->by_id.find(task);
  if (found == impl_->by_id.end()) return std::nullopt;
  return impl_->tasks[found->second].request.tenant;
}
const Placements* Scheduler::Find(TaskId task) const {
  const auto found = impl_->by_id.find(task);
  if (found == impl_->by_id.end() || !impl_->tasks[found->second].running) return nullptr;
  return &impl_->tasks[found->second].members;
}
size_t Scheduler::waiting() const { return impl_->waiting(); }
size_t Scheduler::running() const { return impl_->running(); }
const Cluster& Scheduler::cluster() const { return impl_->cluster; }
const std::string& Scheduler::NodeName(NodeIndex node) const { return impl_->node_names[node]; }
StatusOr<TenantIndex> Scheduler::AddTenant(TenantIndex parent, std::string name,
                                           const Quota& quota) {
  return impl_->tenancy.Add(parent, std::move(name), quota);
}
Status Scheduler::SetQuota(TenantIndex tenant, const Quota& quota) {
  return impl_->SetQuota(tenant, quota);
}
const Tenancy& Scheduler::tenancy() const { return impl_->tenancy; }
Status Scheduler::Recount() const { return impl_->Recount(); }

}  // namespace trackbed
