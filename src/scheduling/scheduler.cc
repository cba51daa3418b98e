#include "trackbed/scheduling/scheduler.hpp"

#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "scheduling/scheduler_state.hpp"

namespace trackbed {
namespace {

constexpr uint32_t kMaxMembers = 100'000;

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

Time SchedulerState::ExpectedEnd(const TaskState& task, Time now) const {
  if (task.stopping) return now;
  const Time end = task.started + task.expected;
  if (end > now) return end;
  // It runs longer than expected: half as long again.
  return now + std::max<Duration>((now - task.started) / 2, std::chrono::seconds(1));
}

bool SchedulerState::GoesBefore(TenantIndex tenant_a, const Rank& a, TenantIndex tenant_b,
                                const Rank& b, Time now) const {
  const bool drf = policy.order == QueueOrder::drf;
  if (tenant_a != tenant_b && (drf || policy.order == QueueOrder::fair_share)) {
    const int64_t band_a = Band(a, now);
    const int64_t band_b = Band(b, now);
    if (band_a != band_b) return band_a > band_b;
    const auto [rival_a, rival_b] = tenancy.Rivals(tenant_a, tenant_b);
    if (rival_a != rival_b) {
      const double share_a = drf ? tenancy.DominantShare(rival_a) : tenancy.PastUse(rival_a, now);
      const double share_b = drf ? tenancy.DominantShare(rival_b) : tenancy.PastUse(rival_b, now);
      if (share_a != share_b) return share_a < share_b;
    }
  }
  return a < b;
}

int64_t SchedulerState::Band(const Rank& rank, Time now) const {
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
    if (std::find(node_names.begin(), node_names.end(), name) != node_names.end()) {
      return AlreadyExists(absl::StrCat("node \"", name, "\" is there already"));
    }
    if (resource < kFirstDeviceResource || resource >= kMaxResources) {
      return InvalidArgument(absl::StrCat("node \"", name, "\": found device resource ", resource,
                                          ", expected ", kFirstDeviceResource, " to ",
                                          kMaxResources - 1));
    }
    TRACKBED_ASSIGN_OR_RETURN(const NodeIndex node, cluster.AddNode(capacity));
    node_names.push_back(std::move(name));
    node_resource.push_back(resource);
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
    cluster.SetOpen(node, false);
    std::vector<TaskId> ended;
    const std::vector<TaskSlot> there = on_node[node];
    for (const TaskSlot slot : there) {
      TaskState& task = tasks[slot];
      if (!task.known || !task.running) continue;  // ended by an earlier member
      if (task.request.members == 1 || task.stopping) {
        ended.push_back(task.request.id);
        End(slot, now);
        continue;
      }
      for (uint32_t member = 0; member < task.members.size(); ++member) {
        if (task.members[member].node != node || IsLost(task, member)) continue;
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
    if (request.members == 0 || request.members > kMaxMembers) {
      return refuse(
          absl::StrCat("found ", request.members, " members, expected 1 to ", kMaxMembers));
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
    return absl::OkStatus();
  }

  // Whether it could run at all, on empty nodes and within its quotas.
  Status CheckPossible(const TaskRequest& request) const {
    QuotaRefusal refusal;
    if (!tenancy.CouldEverStart(request.tenant, Charge(request), &refusal)) {
      return ResourceExhausted(
          absl::StrCat("task ", request.id, ": ", QuotaSentence(*this, refusal)));
    }
    uint32_t members = 0;
    for (NodeIndex node = 0; node < cluster.size() && members < request.members; ++node) {
      if (!cluster.FitsEmpty(node, request.demand)) continue;
      NodeState room = EmptyRoom(cluster.capacity(node));
      Placement placement;
      do {
        ++members;
      } while (!request.on_different_nodes && members < request.members &&
               TakeRoom(cluster.capacity(node), request.demand, &room, &placement) && [&] {
                 NodeState after = room;
                 return TakeRoom(cluster.capacity(node), request.demand, &after, &placement);
               }());
    }
    if (members >= request.members) return absl::OkStatus();
    if (request.members > 1) {
      return ResourceExhausted(absl::StrCat("task ", request.id, ": even the empty nodes hold ",
                                            members, " of its ", request.members, " members"));
    }
    SchedulerState empty{SchedulerOptions{}};
    empty.resources = resources;
    empty.node_names = node_names;
    empty.node_resource = node_resource;
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

  Rank RankOf(const TaskRequest& request, Time submitted, uint64_t order) const {
    Rank rank;
    rank.order = order;
    const int64_t since = ToNanoseconds(submitted);
    if (policy.order == QueueOrder::lifo) {
      rank.major = -int64_t{request.priority};
      rank.minor = -static_cast<int64_t>(order);
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
      by_demand_[shape.demand].shapes.insert(place->second);
    }
    ++shapes_[place->second].waiting;
    return place->second;
  }

  void WaitsNoMore(const TaskState& task) {
    tenancy.WaitsNoMore(task.request.tenant);
    --waiting_;
    LeaveShape(task);
  }

  void LeaveShape(const TaskState& task) {
    Shape& shape = shapes_[task.shape];
    if (--shape.waiting > 0) return;
    by_shape_.erase(
        {shape.demand, shape.members, shape.on_different_nodes, shape.expected.count()});
    for (const LineIndex line : shape.lines) {
      by_tenant_and_shape_.erase(std::pair(lines_[line].tenant, task.shape));
      free_lines_.push_back(line);
    }
    const auto like = by_demand_.find(shape.demand);
    like->second.shapes.erase(task.shape);
    if (like->second.shapes.empty()) by_demand_.erase(like);
    free_shapes_.push_back(task.shape);
  }

  TaskSlot NewTask(const TaskRequest& request, Time now) {
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
    task.submitted = now;
    task.expected = ExpectedTime(request);
    task.shape = ShapeOf(request, task.expected);
    task.rank = RankOf(request, now, ++submissions_);
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
    const TaskSlot slot = NewTask(request, now);
    tenancy.Waits(request.tenant);
    ++waiting_;
    for (uint32_t member = 0; member < request.members; ++member) placer->Observe(request.demand);
    if (request.not_before > now) {
      later_.emplace(request.not_before, slot);
    } else {
      Enqueue(slot);
    }
    return absl::OkStatus();
  }

  Status Restore(const TaskRequest& request, const Placements& members, Time started, Time now) {
    if (by_id.contains(request.id)) {
      return AlreadyExists(absl::StrCat("task ", request.id, " is known already"));
    }
    TRACKBED_RETURN_IF_ERROR(Check(request));
    if (members.size() != request.members) {
      return InvalidArgument(absl::StrCat("task ", request.id, ": found places for ",
                                          members.size(), " members, expected ", request.members));
    }
    for (size_t i = 0; i < members.size(); ++i) {
      // What runs on a closed node still runs.
      const NodeIndex node = members[i].node;
      const bool closed = node < cluster.size() && !cluster.state(node).open;
      if (closed) cluster.SetOpen(node, true);
      const bool taken = cluster.Take(request.demand, members[i]);
      if (closed) cluster.SetOpen(node, false);
      if (taken) continue;
      while (i-- > 0) cluster.Give(request.demand, members[i]);
      return FailedPrecondition(absl::StrCat("task ", request.id,
                                             ": its room is not free: two tasks hold it, or there "
                                             "is no such node or device"));
    }
    const TaskSlot slot = NewTask(request, now);
    LeaveShape(tasks[slot]);
    tasks[slot].started = started;
    Run(slot, members, now);
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
    MendGangs(now, &plan);
    WakeWhatMayFit();
    WakeWhatMayMakeRoom(now);
    LookAtReservations(now, &plan);
    overtaken_ = false;
    TryLines(now, most, &plan);
    while (overtaken_) {
      overtaken_ = false;
      PlanReservations(now);
      TryLines(now, most, &plan);
    }
    seen_ = cluster.end_change();
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
    const TaskSlot slot = NewTask(request, now);
    TaskState& task = tasks[slot];
    Prediction prediction;
    QuotaRefusal refusal;
    if (request.not_before > now) {
      prediction.start = request.not_before;
    } else if (tenancy.MayStart(request.tenant, Charge(request), &refusal)) {
      Placements members;
      TaskId delayed = 0;
      if (FindRoom(task, now, &members, &delayed) == Found::room) {
        for (const Placement& member : members) cluster.Give(request.demand, member);
        prediction.starts_now = true;
        prediction.start = now;
        prediction.members = std::move(members);
      } else if (LookAhead fresh; const auto earliest = EarliestStart(*this, task, now, &fresh)) {
        prediction.start = earliest->start;
      }
    }
    if (!prediction.starts_now) prediction.reason = ExplainTask(task, slot, now);
    --submissions_;
    LeaveShape(task);
    Forget(slot);
    return prediction;
  }

  void UnparkAll() {
    while (!parked_.empty()) Unpark(parked_.begin()->first);
  }

  size_t waiting() const { return waiting_; }
  size_t running() const { return running_; }

  Status Recount() const {
    Cluster counted;
    Tenancy counted_tenancy = tenancy;
    std::vector<Amounts> used(tenancy.size(), kNothing);
    std::vector<uint32_t> running(tenancy.size(), 0);
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      if (!counted.AddNode(cluster.capacity(node)).ok()) return Internal("a node twice");
    }
    for (const TaskState& task : tasks) {
      if (!task.known || !task.running) continue;
      for (uint32_t member = 0; member < task.members.size(); ++member) {
        if (IsLost(task, member)) continue;
        if (!counted.Take(task.request.demand, task.members[member])) {
          return Internal(absl::StrCat("task ", task.request.id, " holds room that is not there"));
        }
      }
      const Amounts amounts = Charge(task.request);
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

  // The shapes of one demand.
  struct AlikeShapes {
    std::set<ShapeIndex> shapes;
    bool no_room = false;  // nowhere now, for one member
    // Reservations held back a single task of this length and rank: so they do all that are as
    // long and come after it.
    std::optional<std::pair<Duration, Rank>> held_back;
  };

  static bool IsLost(const TaskState& task, uint32_t member) {
    return std::find(task.lost.begin(), task.lost.end(), member) != task.lost.end();
  }

  // -- the queue

  void Enqueue(TaskSlot slot) {
    TaskState& task = tasks[slot];
    const auto [place, added] = by_tenant_and_shape_.try_emplace(
        std::pair(task.request.tenant, task.shape), static_cast<LineIndex>(lines_.size()));
    if (added) {
      if (!free_lines_.empty()) {
        place->second = free_lines_.back();
        free_lines_.pop_back();
      } else {
        lines_.emplace_back();
      }
      Line& line = lines_[place->second];
      line.tenant = task.request.tenant;
      line.shape = task.shape;
      shapes_[task.shape].lines.push_back(place->second);
    }
    task.line = place->second;
    Line& line = lines_[task.line];
    line.tasks.emplace(task.rank, slot);
    // A line that is not active waits for room; a newcomer does not change that, unless it is the
    // first, or one that reservations hold back less than those behind it.
    if (line.tasks.size() == 1 || line.active || line.tasks.begin()->second == slot) {
      Activate(task.line);
    }
  }

  void Dequeue(TaskSlot slot) {
    TaskState& task = tasks[slot];
    if (later_.erase({task.request.not_before, slot}) > 0) return;
    Line& line = lines_[task.line];
    const bool active = line.active.has_value();
    Deactivate(task.line);
    line.tasks.erase({task.rank, slot});
    if (active) Activate(task.line);
  }

  // Ranks alone decide between the lines of one bucket.
  TenantIndex Bucket(const Line& line) const {
    return OrderedByShares() ? line.tenant : kRootTenant;
  }

  void Activate(LineIndex index) {
    Line& line = lines_[index];
    Deactivate(index);
    if (line.tasks.empty()) return;
    line.active = line.tasks.begin()->first;
    active_[Bucket(line)].emplace(*line.active, index);
  }

  void Deactivate(LineIndex index) {
    Line& line = lines_[index];
    if (!line.active) return;
    const auto found = active_.find(Bucket(line));
    found->second.erase({*line.active, index});
    if (found->second.empty()) active_.erase(found);
    line.active.reset();
  }

  void ActivateShape(ShapeIndex shape) {
    for (const LineIndex line : shapes_[shape].lines) Activate(line);
  }

  // The line whose first task goes next.
  std::optional<LineIndex> NextLine(Time now) const {
    const std::pair<Rank, LineIndex>* best = nullptr;
    for (const auto& [tenant, lines] : active_) {
      const auto& head = *lines.begin();
      if (best == nullptr ||
          GoesBefore(tenant, head.first, lines_[best->second].tenant, best->first, now)) {
        best = &head;
      }
    }
    if (best == nullptr) return std::nullopt;
    return best->second;
  }

  bool OrderedByShares() const {
    return policy.order == QueueOrder::drf || policy.order == QueueOrder::fair_share;
  }

  void TryLines(Time now, size_t most, Plan* plan) {
    while (plan->starts.size() < most) {
      const std::optional<LineIndex> line = NextLine(now);
      if (!line) return;
      if (!TryHead(*line, now, plan)) return;
    }
  }

  // Tries to start the first task of the line. False: nobody may go before it.
  bool TryHead(LineIndex index, Time now, Plan* plan) {
    const TaskSlot slot = lines_[index].tasks.begin()->second;
    TaskState& task = tasks[slot];
    Shape& shape = shapes_[task.shape];
    QuotaRefusal refusal;
    const Amounts charge = Charge(task.request);
    if (!tenancy.MayStart(task.request.tenant, charge, &refusal)) {
      Deactivate(index);
      parked_[refusal.tenant].insert(index);
      DropReservation(slot);
      if (const auto victims = ChooseQuotaVictims(*this, task, refusal, now)) {
        Evict(*victims, task, plan);
      }
      return true;
    }
    AlikeShapes& alike = by_demand_.find(shape.demand)->second;
    if (alike.no_room) shape.no_room = true;
    if (!shape.no_room && alike.held_back && shape.expected >= alike.held_back->first &&
        alike.held_back->second < task.rank) {
      shape.held_back = true;
      Deactivate(index);
      return policy.backfill != Backfill::strict;
    }
    if (!shape.no_room) {
      Placements members;
      TaskId delayed = 0;
      const Found found = FindRoom(task, now, &members, &delayed);
      if (found == Found::room) {
        DropReservation(slot);
        Dequeue(slot);
        plan->starts.push_back({task.request.id, members});
        WaitsNoMore(task);
        // It may have taken what was kept for those that it goes before.
        overtaken_ = overtaken_ || std::any_of(reservations.begin(), reservations.end(),
                                               [&](const Reservation& reservation) {
                                                 return !Binds(reservation, task, now);
                                               });
        task.started = now;
        Run(slot, members, now);
        return true;
      }
      if (found == Found::nowhere) {
        shape.no_room = true;
        alike.no_room = alike.no_room || task.request.members == 1;
      }
      if (found == Found::reserved) {
        // Another task of the line may be ranked, or expected to run, the same: none fits.
        shape.held_back = true;
        // Where shares decide who goes first, rank does not say whom a reservation binds.
        if (!OrderedByShares() && task.request.members == 1 &&
            (!alike.held_back || shape.expected < alike.held_back->first)) {
          alike.held_back = std::pair(shape.expected, task.rank);
        }
        Deactivate(index);
        return policy.backfill != Backfill::strict;
      }
    }
    if (MakeRoom(slot, now, plan)) {
      Deactivate(index);
      return true;
    }
    if (policy.backfill == Backfill::strict) return false;
    Deactivate(index);
    Reserve(slot, now);
    return true;
  }

  enum class Found { room, nowhere, reserved };

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
      std::optional<Placement> choice = placer->Choose(cluster, demand);
      if (!choice) {
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
      if (!cluster.Take(demand, *choice)) {  // a placer of the host's may be wrong
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
      if (IsLost(task, member)) continue;
      cluster.Give(task.request.demand, task.members[member]);
      Leave(task.members[member].node, slot);
    }
    tenancy.Ends(task.request.tenant, Charge(task.request), now);
    CountStoppable(slot, false);
    ended_ = true;
    --running_;
    crippled_.erase(slot);
    for (TenantIndex tenant = task.request.tenant;; tenant = tenancy.parent(tenant)) {
      Unpark(tenant);
      if (tenant == kRootTenant) break;
    }
    Forget(slot);
  }

  void Unpark(TenantIndex tenant) {
    const auto found = parked_.find(tenant);
    if (found == parked_.end()) return;
    for (const LineIndex line : found->second) Activate(line);
    parked_.erase(found);
  }

  void Leave(NodeIndex node, TaskSlot slot) {
    auto& there = on_node[node];
    there.erase(std::find(there.begin(), there.end(), slot));
  }

  // Lines whose shape may have found room since the last time.
  void WakeWhatMayFit() {
    std::vector<NodeIndex> changed;
    if (seen_ < cluster.first_change()) {
      for (NodeIndex node = 0; node < cluster.size(); ++node) changed.push_back(node);
    } else {
      for (uint64_t i = seen_; i < cluster.end_change(); ++i) {
        changed.push_back(cluster.Changed(i));
      }
      std::sort(changed.begin(), changed.end());
      changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
    }
    if (changed.empty()) return;
    for (auto& [demand, like] : by_demand_) {
      const bool fits =
          std::any_of(changed.begin(), changed.end(),
                      [&, &wanted = demand](NodeIndex node) { return cluster.Fits(node, wanted); });
      if (!fits) continue;
      like.no_room = false;
      like.held_back.reset();
      for (const ShapeIndex index : like.shapes) {
        Shape& shape = shapes_[index];
        if (!shape.no_room && !shape.held_back) continue;
        shape.no_room = false;
        shape.held_back = false;
        ActivateShape(index);
      }
    }
  }

  // -- reservations

  void WakeHeldBack() {
    for (auto& [demand, like] : by_demand_) like.held_back.reset();
    for (ShapeIndex index = 0; index < shapes_.size(); ++index) {
      if (!shapes_[index].held_back) continue;
      shapes_[index].held_back = false;
      ActivateShape(index);
    }
  }

  void DropReservation(TaskSlot slot) {
    const auto found = std::find_if(reservations.begin(), reservations.end(),
                                    [&](const Reservation& r) { return r.task == slot; });
    look_ahead_.erase(slot);
    if (found == reservations.end()) return;
    reservations.erase(found);
    // Who was behind it may now be the first that waits for room.
    for (ShapeIndex index = 0; index < shapes_.size(); ++index) {
      if (shapes_[index].no_room) ActivateShape(index);
    }
    WakeHeldBack();
    reservations_changed_ = true;
  }

  void DropReservationsOn(NodeIndex node) {
    for (size_t i = reservations.size(); i-- > 0;) {
      const auto& members = reservations[i].members;
      if (std::any_of(members.begin(), members.end(),
                      [&](const Placement& member) { return member.node == node; })) {
        const TaskSlot slot = reservations[i].task;
        DropReservation(slot);
        Activate(tasks[slot].line);
      }
    }
  }

  // Keeps room for a task that found none, if the policy keeps any for it.
  void Reserve(TaskSlot slot, Time now) {
    if (policy.backfill != Backfill::easy && policy.backfill != Backfill::conservative) return;
    const TaskState& task = tasks[slot];
    const size_t depth = policy.backfill == Backfill::easy ? 1 : policy.reservation_depth;
    size_t before = 0;
    size_t kept = 0;
    for (const Reservation& reservation : reservations) {
      if (reservation.task == slot) return;
      if (reservation.claim) continue;
      ++kept;
      if (Binds(reservation, task, now)) ++before;
    }
    if (before >= depth) return;
    std::optional<Reservation> earliest = EarliestStart(*this, task, now, &look_ahead_[slot]);
    if (!earliest) return;
    earliest->task = slot;
    const auto behind =
        std::find_if(reservations.begin(), reservations.end(), [&](const Reservation& reservation) {
          return !reservation.claim && !Binds(reservation, task, now);
        });
    reservations.insert(behind, *std::move(earliest));
    if (kept < depth) return;
    look_ahead_.erase(reservations.back().task);
    reservations.pop_back();
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
      if (tenancy.MayStart(task.request.tenant, Charge(task.request), &refusal)) {
        for (const Placement& member : claim.members) {
          if (!cluster.Take(task.request.demand, member)) break;
          taken.push_back(member);
        }
      }
      if (taken.size() == claim.members.size()) {
        DropReservation(slot);
        Dequeue(slot);
        plan->starts.push_back({task.request.id, taken});
        WaitsNoMore(task);
        task.started = now;
        Run(slot, taken, now);
        continue;
      }
      for (const Placement& member : taken) cluster.Give(task.request.demand, member);
      if (claim.claim_ends <= now) {
        DropReservation(slot);
        Activate(task.line);
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
    std::vector<Reservation> before;
    while (!reservations.empty() && !reservations.back().claim) {
      before.push_back(std::move(reservations.back()));
      reservations.pop_back();
    }
    if (before.empty()) return;
    for (size_t i = before.size(); i-- > 0;) Reserve(before[i].task, now);
    // What was held back stays so while the same room is kept, and no longer than before: what may
    // start on a node that has changed is woken for that. Where shares decide who goes first,
    // whom a reservation binds changes with them.
    bool same = !OrderedByShares();
    const size_t claims = reservations.size() - std::min(reservations.size(), before.size());
    same = same && reservations.size() >= before.size() &&
           std::all_of(reservations.begin(), reservations.begin() + static_cast<ptrdiff_t>(claims),
                       [](const Reservation& reservation) { return reservation.claim; });
    for (size_t i = 0; same && i < before.size(); ++i) {
      const Reservation& now_kept = reservations[reservations.size() - 1 - i];
      same = now_kept.task == before[i].task && now_kept.members == before[i].members &&
             now_kept.start <= before[i].start;
    }
    if (!same) WakeHeldBack();
  }

  // -- eviction

  bool Evicts() const { return policy.preempt_by_priority || policy.reclaim; }

  static bool MayBeStopped(const TaskRequest& request) {
    return request.preemptible && request.kind != WorkKind::system;
  }

  // What any eviction for this task requires, at a glance.
  bool MayEvict(const TaskRequest& request) const {
    if (policy.preempt_by_priority && !stoppable_.empty() &&
        stoppable_.begin()->first < request.priority) {
      return true;
    }
    return policy.reclaim && !stoppable_.empty() &&
           !tenancy.WouldBorrow(request.tenant, Charge(request));
  }

  // Lines that can have room made for them since the last time: something has ended, so that less
  // has to be stopped, or has run for long enough.
  void WakeWhatMayMakeRoom(Time now) {
    if (!Evicts()) return;
    while (!ripe_.empty() && ripe_.begin()->first <= now) {
      ripe_.erase(ripe_.begin());
      ended_ = true;
    }
    if (!ended_) return;
    ended_ = false;
    for (const Shape& shape : shapes_) {
      if (!shape.no_room) continue;
      for (const LineIndex index : shape.lines) {
        const Line& line = lines_[index];
        if (line.active || line.tasks.empty()) continue;
        if (MayEvict(tasks[line.tasks.begin()->second].request)) Activate(index);
      }
    }
  }

  void CountStoppable(TaskSlot slot, bool runs) {
    const TaskState& task = tasks[slot];
    if (!Evicts() || !MayBeStopped(task.request)) return;
    const auto ripe = std::pair(task.started + policy.minimum_run_time, slot);
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
    for (const Reservation& reservation : reservations) {
      if (reservation.claim && reservation.task == slot) return true;  // it is being made
    }
    if (!MayEvict(task.request)) return false;
    const std::optional<Victims> victims = ChooseVictims(*this, task, now);
    if (!victims) return false;
    DropReservation(slot);
    Evict(*victims, task, plan);
    Reservation claim;
    claim.task = slot;
    claim.start = now;
    claim.members = victims->members;
    claim.claim = true;
    claim.claim_ends = now + policy.claim_time;
    reservations.insert(reservations.begin(), std::move(claim));
    return true;
  }

  void Evict(const Victims& victims, const TaskState& beneficiary, Plan* plan) {
    for (const TaskSlot victim : victims.tasks) {
      tasks[victim].stopping = true;
      ++stops;
      plan->evictions.push_back({tasks[victim].request.id, beneficiary.request.id, victims.cause});
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
          if (IsLost(task, member) || !cluster.state(node).open) continue;
          cluster.SetOpen(node, false);
          closed.push_back(node);
        }
      }
      while (!task.lost.empty()) {
        const uint32_t member = task.lost.back();
        const std::optional<Placement> choice = placer->Choose(cluster, task.request.demand);
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
    QuotaRefusal refusal;
    if (!tenancy.MayStart(task.request.tenant, Charge(task.request), &refusal)) {
      reason.rule = WaitReason::Rule::quota;
      reason.refusal = refusal;
      reason.sentence = QuotaSentence(*this, refusal);
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
      reason.sentence = absl::StrCat(
          "would fit, but would delay task ", delayed, ", for which the room is kept",
          reason.until == kNever ? "" : absl::StrCat(" from ", FormatTime(reason.until)));
      return reason;
    }
    if (found == Found::nowhere) {
      const Time expected_start = reason.expected_start;
      reason = WhatIsShort(*this, task.request);
      reason.expected_start = expected_start;
      if (expected_start == kNever) {
        LookAhead fresh;
        if (const auto earliest = EarliestStart(*this, task, now, &fresh)) {
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
  std::vector<Shape> shapes_;
  std::vector<ShapeIndex> free_shapes_;
  std::map<ShapeKey, ShapeIndex> by_shape_;
  std::map<Demand, AlikeShapes> by_demand_;
  std::vector<Line> lines_;
  std::vector<LineIndex> free_lines_;
  absl::flat_hash_map<std::pair<TenantIndex, ShapeIndex>, LineIndex> by_tenant_and_shape_;
  std::map<TenantIndex, std::set<std::pair<Rank, LineIndex>>> active_;
  std::map<TenantIndex, std::set<LineIndex>> parked_;  // by the tenant whose quota refuses
  std::set<std::pair<Time, TaskSlot>> later_;
  absl::flat_hash_map<TaskSlot, LookAhead> look_ahead_;  // of those that reserve, or wanted to
  std::set<TaskSlot> crippled_;
  // Only where the policy evicts: running tasks that may be stopped, by priority, and when those
  // too young for it have run long enough.
  std::map<int32_t, size_t> stoppable_;
  std::set<std::pair<Time, TaskSlot>> ripe_;
  bool ended_ = false;  // since the last Schedule, a task
  uint64_t submissions_ = 0;
  uint64_t seen_ = 0;  // changes of the cluster that are dealt with
  bool reservations_changed_ = false;
  bool overtaken_ = false;  // a task started that some reservation does not bind
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
void Scheduler::DrainNode(NodeIndex node) { impl_->cluster.SetOpen(node, false); }
std::vector<TaskId> Scheduler::LoseNode(NodeIndex node, Time now) {
  return impl_->LoseNode(node, now);
}
void Scheduler::OpenNode(NodeIndex node) { impl_->cluster.SetOpen(node, true); }
Status Scheduler::Submit(const TaskRequest& task, Time now) { return impl_->Submit(task, now); }
Status Scheduler::Restore(const TaskRequest& task, const Placements& members, Time started,
                          Time now) {
  return impl_->Restore(task, members, started, now);
}
Status Scheduler::Finish(TaskId task, Time now) { return impl_->Finish(task, now); }
Plan Scheduler::Schedule(Time now, size_t most) { return impl_->Schedule(now, most); }
WaitReason Scheduler::Explain(TaskId task, Time now) { return impl_->Explain(task, now); }
StatusOr<Prediction> Scheduler::Predict(const TaskRequest& task, Time now) {
  return impl_->Predict(task, now);
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
  TRACKBED_RETURN_IF_ERROR(impl_->tenancy.SetQuota(tenant, quota));
  impl_->UnparkAll();
  return absl::OkStatus();
}
const Tenancy& Scheduler::tenancy() const { return impl_->tenancy; }
Status Scheduler::Recount() const { return impl_->Recount(); }

}  // namespace trackbed
