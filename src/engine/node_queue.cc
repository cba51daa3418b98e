#include "engine/node_queue.hpp"

#include <algorithm>
#include <utility>

#include "engine/node_devices.hpp"
#include "engine/request.hpp"
#include "trackbed/scheduling/run_time_history.hpp"

namespace trackbed {
namespace {

constexpr NodeIndex kNode = 0;

bool IsUnlimited(const Tenancy& tenancy) {
  const Quota& root = tenancy.quota(kRootTenant);
  return tenancy.size() == 1 && root.limit == kNoLimit && root.max_running == UINT32_MAX &&
         root.max_waiting == UINT32_MAX;
}

// The scheduler knows tasks by numbers that mean nothing to people.
std::string WithoutNumber(std::string_view message) {
  const size_t colon = message.find(": ");
  return std::string(message.starts_with("task ") && colon != std::string_view::npos
                         ? message.substr(colon + 2)
                         : message);
}

}  // namespace

// Lets the slot allocator choose.
class NodeQueue::NodePlacer final : public Placer {
 public:
  explicit NodePlacer(NodeQueue* queue) : queue_(*queue) {}
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    return queue_.Try(cluster, demand);
  }
  bool Accepts(const Cluster& cluster, const Demand& demand, const Placement& placement) override {
    return queue_.TryAt(cluster, demand, placement);
  }

 private:
  NodeQueue& queue_;
};

StatusOr<std::unique_ptr<NodeQueue>> NodeQueue::Create(
    const NodeDescription& node, Tenancy tenancy, const GroupPolicy& policy,
    std::function<bool(const ReadyTask&)> wanted) {
  TRACKBED_ASSIGN_OR_RETURN(SlotAllocator allocator, NewNodeAccount(node));
  return std::unique_ptr<NodeQueue>(
      new NodeQueue(node, std::move(allocator), std::move(tenancy), policy, std::move(wanted)));
}

NodeQueue::NodeQueue(const NodeDescription& node, SlotAllocator allocator, Tenancy tenancy,
                     const GroupPolicy& policy, std::function<bool(const ReadyTask&)> wanted)
    : model_(node),
      allocator_(std::move(allocator)),
      tenancy_(std::move(tenancy)),
      policy_(policy),
      wanted_(std::move(wanted)),
      unlimited_(IsUnlimited(tenancy_)) {}

// ---- Lines -----------------------------------------------------------------------------------

StatusOr<uint32_t> NodeQueue::RequestFor(std::span<const SlotRequest> request,
                                         Enforcement at_least) {
  TRACKBED_ASSIGN_OR_RETURN(const SlotDemand slots, allocator_.Prepare(request, at_least));
  std::map<std::string, Quantity> total;
  for (const SlotRequest& slot : request) {
    if (slot.amount == Quantity()) continue;
    Quantity& sum = total[slot.slot];
    (void)Quantity::Add(sum, slot.amount, &sum);  // Prepare has added them up before
  }
  const auto number = static_cast<uint32_t>(requests_.size());
  const auto [place, added] = by_request_.try_emplace({total.begin(), total.end()}, number);
  if (added) {
    RequestState& state = requests_.emplace_back();
    state.slots = slots;
    state.counted = std::make_unique<CountedAmounts>();
    state.demand = model_.DemandOf(request, state.counted.get());
    state.demand.label = number;
    if (*state.counted != CountedAmounts{}) state.demand.counted = state.counted.get();
    state.needs_nothing = total.empty();
  }
  return place->second;
}

StatusOr<NodeQueue::Line> NodeQueue::LineFor(const Claim& claim, Time now) {
  const std::vector<SlotRequest> request(claim.request.begin(), claim.request.end());
  LineState line;
  TRACKBED_ASSIGN_OR_RETURN(line.request, RequestFor(RequestOrDefault(request), claim.at_least));
  line.tenant = claim.tenant;
  line.priority = claim.priority;
  if (claim.run_time > Duration{0}) line.run_time = RoundUpRunTime(claim.run_time);
  const std::tuple key(line.request, line.tenant, line.priority, line.run_time.count());
  if (const auto known = by_claim_.find(key); known != by_claim_.end()) return known->second;
  if (!unlimited_) {
    Engage(now);
    const Status possible = scheduler_->Predict(RequestOf(line, last_id_ + 1), now).status();
    Settle(scheduler_->cluster());
    if (!possible.ok()) return Status(possible.code(), WithoutNumber(Message(possible)));
  }
  const auto number = static_cast<Line>(lines_.size());
  lines_.push_back(std::move(line));
  by_claim_.emplace(key, number);
  return number;
}

TaskRequest NodeQueue::RequestOf(const LineState& line, TaskId id) const {
  TaskRequest request;
  request.id = id;
  request.tenant = line.tenant;
  request.priority = line.priority;
  request.demand = requests_[line.request].demand;
  request.run_time = line.run_time;
  return request;
}

void NodeQueue::Push(Line index, ReadyTask task, Time since) {
  // Each time is given once, so that between lines, too, who was pushed first goes first.
  last_since_ = std::max(since, last_since_ + Duration{1});
  LineState& line = lines_[index];
  if (line.tasks.empty()) {
    waiting_.insert(index);
    headless_.push_back(index);
    changed_ = true;
  }
  line.tasks.push_back({task, last_since_});
}

void NodeQueue::Withdraw(LineState* line) {
  if (line->submitted == 0) return;
  submitted_.erase(line->submitted);
  line->submitted = 0;
}

ReadyTask NodeQueue::Pop(Line index) {
  LineState& line = lines_[index];
  const ReadyTask first = line.tasks.front().task;
  line.tasks.pop_front();
  line.refused.clear();
  Withdraw(&line);
  if (line.tasks.empty()) {
    waiting_.erase(index);
  } else {
    headless_.push_back(index);
    changed_ = true;
  }
  return first;
}

void NodeQueue::DropUnwanted(Line index) {
  LineState& line = lines_[index];
  while (!line.tasks.empty() && !wanted_(line.tasks.front().task)) {
    if (line.submitted != 0) (void)scheduler_->Finish(line.submitted, line.tasks.front().since);
    Pop(index);
  }
}

// ---- What runs -------------------------------------------------------------------------------

bool NodeQueue::Allocate(const RequestState& request, Allocation* allocation) {
  allocation->id = 0;
  allocation->parts.clear();
  return request.needs_nothing || allocator_.TryAllocate(request.slots, allocation);
}

void NodeQueue::Place(Running* running, const Allocation& allocation) {
  const Demand& demand = requests_[lines_[running->line].request].demand;
  const Placement placement = model_.PlacementOf(demand, allocation.parts);
  running->allocation = allocation.id;
  running->whole_devices = placement.whole_devices;
  running->shared_device = placement.shared_device;
}

uint32_t NodeQueue::Hold(Line line, const Allocation& allocation, Time started) {
  uint32_t place;
  if (free_.empty()) {
    place = static_cast<uint32_t>(running_.size());
    running_.emplace_back();
  } else {
    place = free_.back();
    free_.pop_back();
  }
  Running& running = running_[place];
  running.started = started;
  running.scheduled = 0;
  running.line = line;
  running.state = Running::State::holds;
  Place(&running, allocation);
  ++live_;
  if (lines_[line].run_time == Duration{0}) ++unknown_times_;
  return place;
}

void NodeQueue::Release(uint32_t held, Time now) {
  Running& running = running_[held];
  const bool crowded = running.state == Running::State::crowded;
  if (crowded) {
    crowded_.erase(held);
  } else {
    if (running.allocation != 0) (void)allocator_.Release(running.allocation);
    if (running.scheduled != 0) (void)scheduler_->Finish(running.scheduled, now);
    if (lines_[running.line].run_time == Duration{0}) --unknown_times_;
  }
  running.state = Running::State::free;
  free_.push_back(held);
  --live_;
  ++releases_;
  changed_ = true;
  for (const Line line : refused_) headless_.push_back(line);
  refused_.clear();
  for (auto entry = crowded_.begin(); entry != crowded_.end();) {
    Running& waiting = running_[*entry];
    Allocation allocation;
    if (waiting.line == kNoLine ||
        !Allocate(requests_[lines_[waiting.line].request], &allocation)) {
      ++entry;
      continue;
    }
    waiting.state = Running::State::holds;
    Place(&waiting, allocation);
    if (lines_[waiting.line].run_time == Duration{0}) ++unknown_times_;
    if (scheduler_ != nullptr) Restore(&waiting, now);
    entry = crowded_.erase(entry);
  }
}

uint32_t NodeQueue::Occupy(Line line, std::span<const AllocationPart> parts, Time started, Time now,
                           Allocation* allocation) {
  Allocation found;
  if (line != kNoLine) {
    const RequestState& request = requests_[lines_[line].request];
    const bool held_devices =
        !request.needs_nothing && !parts.empty() && allocator_.AllocateParts(parts, &found).ok();
    if (held_devices || Allocate(request, &found)) {
      const uint32_t held = Hold(line, found, started);
      if (scheduler_ != nullptr) Restore(&running_[held], now);
      if (allocation != nullptr) *allocation = std::move(found);
      return held;
    }
  }
  const auto place = static_cast<uint32_t>(running_.size());
  Running& running = running_.emplace_back();
  running.started = started;
  running.line = line;
  running.state = Running::State::crowded;
  crowded_.insert(place);
  ++live_;
  return place;
}

// ---- Deciding --------------------------------------------------------------------------------

void NodeQueue::Engage(Time now) {
  if (scheduler_ != nullptr) return;
  SchedulerOptions options;
  options.policy = policy_;
  options.tenancy = tenancy_;
  options.placer = std::make_unique<NodePlacer>(this);
  options.resources = model_.resources();
  scheduler_ = std::make_unique<Scheduler>(std::move(options));
  (void)scheduler_->AddNode("local", model_.capacity());  // NodeModel keeps within its bounds
  for (Running& running : running_) {
    if (running.state == Running::State::holds) Restore(&running, now);
  }
  headless_.assign(waiting_.begin(), waiting_.end());
  changed_ = true;
}

void NodeQueue::Restore(Running* running, Time now) {
  const TaskId id = ++last_id_;
  const bool counted = scheduler_
                           ->Restore(RequestOf(lines_[running->line], id),
                                     {{kNode, running->whole_devices, running->shared_device}},
                                     running->started, now)
                           .ok();
  // An amount that was placed by another rule may not fit the scheduler's account: the allocator
  // still counts it.
  running->scheduled = counted ? id : 0;
}

void NodeQueue::SubmitHeads() {
  for (const Line index : std::exchange(headless_, {})) {
    if (lines_[index].submitted != 0) continue;
    DropUnwanted(index);
    LineState& line = lines_[index];
    if (line.tasks.empty()) continue;
    const TaskId id = ++last_id_;
    const Status status = scheduler_->Submit(RequestOf(line, id), line.tasks.front().since);
    if (status.ok()) {
      line.refused.clear();
      line.submitted = id;
      submitted_.emplace(id, index);
    } else {
      line.refused = WithoutNumber(Message(status));
      refused_.push_back(index);
    }
  }
  headless_.clear();  // dropping adds lines again that were looked at
}

bool NodeQueue::Decide(Time now) {
  // One at a time: the task behind it in its line, which may go before all others, comes up next.
  const Plan plan = scheduler_->Schedule(now, 1);
  Settle(scheduler_->cluster());
  changed_ = !plan.starts.empty();
  next_ = plan.next;
  for (size_t i = 0; i < plan.starts.size(); ++i) {
    const TaskId id = plan.starts[i].task;
    const Line index = submitted_.at(id);
    const uint32_t held = Hold(index, taken_[i], now);
    running_[held].scheduled = id;
    decided_.push_back({Pop(index), held, std::move(taken_[i])});
  }
  taken_.clear();
  return !plan.starts.empty();
}

std::optional<NodeQueue::Started> NodeQueue::TakeDirectly(Time now) {
  const Line index = *waiting_.begin();
  DropUnwanted(index);
  LineState& line = lines_[index];
  if (line.tasks.empty() || failed_ == std::pair(index, releases_)) return std::nullopt;
  Started started;
  if (!Allocate(requests_[line.request], &started.allocation)) {
    failed_ = {index, releases_};
    return std::nullopt;
  }
  headless_.clear();
  started.held = Hold(index, started.allocation, now);
  started.task = Pop(index);
  return started;
}

std::optional<NodeQueue::Started> NodeQueue::Take(Time now) {
  if (!crowded_.empty()) return std::nullopt;
  if (std::exchange(recheck_, false)) {
    for (const Line line : std::vector(waiting_.begin(), waiting_.end())) DropUnwanted(line);
  }
  while (true) {
    while (!decided_.empty()) {
      Started next = std::move(decided_.front());
      decided_.pop_front();
      if (wanted_(next.task)) return next;
      Release(next.held, now);
    }
    if (waiting_.empty()) {
      if (unlimited_ && live_ == 0) scheduler_.reset();
      return std::nullopt;
    }
    if (unlimited_ && scheduler_ == nullptr && waiting_.size() == 1) {
      std::optional<Started> next = TakeDirectly(now);
      if (next || !waiting_.empty()) return next;
      continue;
    }
    Engage(now);
    SubmitHeads();
    if (!changed_ && now < next_) return std::nullopt;
    if (!Decide(now)) return std::nullopt;
  }
}

std::optional<Placement> NodeQueue::Try(const Cluster& cluster, const Demand& demand) {
  Settle(cluster);
  if (!cluster.state(kNode).open) return std::nullopt;
  Allocation allocation;
  if (!Allocate(requests_[demand.label], &allocation)) return std::nullopt;
  const Placement placement = model_.PlacementOf(demand, allocation.parts);
  trial_ = Trial{std::move(allocation), cluster.state(kNode).tasks};
  return placement;
}

bool NodeQueue::TryAt(const Cluster& cluster, const Demand& demand, const Placement& placement) {
  Settle(cluster);
  // The allocator chooses for itself, so the other devices are hidden from it.
  std::vector<std::string_view> hidden;
  if (demand.wants_devices()) {
    for (const DeviceUsage& usage : allocator_.Usage()) {
      const std::vector<std::string_view> beside = model_.DevicesBeside(placement);
      if (usage.healthy && std::find(beside.begin(), beside.end(), usage.device) != beside.end()) {
        hidden.push_back(usage.device);
      }
    }
  }
  for (const std::string_view device : hidden) (void)allocator_.SetHealthy(device, false);
  Allocation allocation;
  const bool found = Allocate(requests_[demand.label], &allocation);
  for (const std::string_view device : hidden) (void)allocator_.SetHealthy(device, true);
  if (!found) return false;
  const bool there = model_.PlacementOf(demand, allocation.parts) == placement;
  trial_ = Trial{std::move(allocation), cluster.state(kNode).tasks};
  if (!there) Settle(cluster);
  return there;
}

void NodeQueue::Settle(const Cluster& cluster) {
  if (!trial_) return;
  Allocation allocation = std::move(trial_->allocation);
  const bool runs = cluster.state(kNode).tasks > trial_->tasks;
  trial_.reset();
  if (runs) {
    taken_.push_back(std::move(allocation));
  } else if (allocation.id != 0) {
    (void)allocator_.Release(allocation.id);
  }
}

// ---- Explaining ------------------------------------------------------------------------------

QueueReason NodeQueue::Explain(Line index, const ReadyTask& task, Time now) {
  QueueReason reason;
  if (index == kNoLine) return reason;
  const LineState& line = lines_[index];
  const auto place = std::find_if(line.tasks.begin(), line.tasks.end(),
                                  [&](const Waiting& waiting) { return waiting.task == task; });
  if (place == line.tasks.end()) return reason;
  reason.before = static_cast<size_t>(place - line.tasks.begin());
  reason.crowded = !crowded_.empty();
  if (reason.crowded) {
    reason.why.rule = WaitReason::Rule::shortage;
    return reason;
  }
  Engage(now);
  SubmitHeads();
  if (line.submitted == 0) {
    reason.why.rule = WaitReason::Rule::quota;
    reason.why.sentence = line.refused;
    return reason;
  }
  reason.why = scheduler_->Explain(line.submitted, now);
  Settle(scheduler_->cluster());
  const auto untold = [&](Time* time) {
    if (unknown_times_ > 0 || *time <= now) *time = kNever;
  };
  untold(&reason.why.until);
  untold(&reason.why.expected_start);
  if (const auto ahead = submitted_.find(reason.why.ahead); ahead != submitted_.end()) {
    reason.ahead = lines_[ahead->second].tasks.front().task;
  }
  if (reason.why.rule == WaitReason::Rule::shortage ||
      reason.why.rule == WaitReason::Rule::fragmentation) {
    reason.shortfall = allocator_.Explain(requests_[line.request].slots);
  }
  return reason;
}

}  // namespace trackbed
