#include "engine/node_queue.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "engine/node_devices.hpp"
#include "engine/request.hpp"
#include "trackbed/scheduling/amounts.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/run_time_history.hpp"

namespace trackbed {
namespace {

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

// A placer chooses among several nodes; the slot allocator of a node chooses within it.
class NodeQueue::NodePlacer final : public Placer {
 public:
  explicit NodePlacer(NodeQueue* queue) : queue_(*queue) {}
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    return queue_.Try(cluster, demand, {});
  }
  std::optional<Placement> ChooseNear(const Cluster& cluster, const Demand& demand,
                                      std::span<const LocalData> data) override {
    return queue_.Try(cluster, demand, data);
  }
  bool Accepts(const Cluster& cluster, const Demand& demand, const Placement& placement) override {
    return queue_.TryAt(cluster, demand, placement);
  }
  void Observe(const Demand& demand) override {
    if (queue_.placer_ != nullptr) queue_.placer_->Observe(demand);
  }

 private:
  NodeQueue& queue_;
};

// The host's, for a scheduler of ours. What it cannot rank waits as if it stood at 0: that its
// order fails must not keep a task from ever running.
class NodeQueue::LenientOrder final : public Order {
 public:
  explicit LenientOrder(Order* order) : order_(*order) {}
  StatusOr<int64_t> Rank(const TaskRequest& task, Time submitted) override {
    return order_.Rank(task, submitted).value_or(0);
  }
  bool ByShares() const override { return order_.ByShares(); }
  double Share(const Tenancy& tenancy, TenantIndex tenant, Time now) override {
    return order_.Share(tenancy, tenant, now);
  }

 private:
  Order& order_;
};

StatusOr<std::unique_ptr<NodeQueue>> NodeQueue::Create(std::span<const NodeDescription> nodes,
                                                       Tenancy tenancy, const GroupPolicy& policy,
                                                       Order* order,
                                                       std::function<bool(const ReadyTask&)> wanted,
                                                       NodeChoice choice) {
  std::vector<Node> accounts;
  for (const NodeDescription& node : nodes) {
    for (const Node& other : accounts) {
      if (other.name != node.name) continue;
      return InvalidArgument(
          absl::StrCat("name: found \"", node.name, "\" twice, expected a name for each node"));
    }
    TRACKBED_ASSIGN_OR_RETURN(SlotAllocator allocator, NewNodeAccount(node));
    accounts.push_back({node.name, std::move(allocator)});
  }
  std::unique_ptr<NodeQueue> queue(new NodeQueue(nodes, std::move(accounts), std::move(tenancy),
                                                 policy, order, std::move(wanted)));
  if (choice.placer.empty()) {
    // Without accelerators nothing is lost by fragments, and a node that fails takes few with it.
    choice.placer = queue->model_.has_cards() ? "default" : "spread";
  }
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<Placer> placer, MakePlacer(choice.placer));
  if (nodes.size() > 1) {
    queue->placer_ = std::move(placer);
    queue->reads_from_ = std::move(choice.reads_from);
  }
  return queue;
}

NodeQueue::NodeQueue(std::span<const NodeDescription> nodes, std::vector<Node> accounts,
                     Tenancy tenancy, const GroupPolicy& policy, Order* order,
                     std::function<bool(const ReadyTask&)> wanted)
    : descriptions_(nodes.begin(), nodes.end()),
      model_(nodes),
      nodes_(std::move(accounts)),
      tenancy_(std::move(tenancy)),
      policy_(policy),
      order_(order),
      wanted_(std::move(wanted)),
      unlimited_(IsUnlimited(tenancy_)),
      evicts_(policy.preempt_by_priority || policy.reclaim) {}

// ---- Lines -----------------------------------------------------------------------------------

// The request in the terms of each node that could meet it. Errors as LineFor.
StatusOr<std::vector<std::optional<SlotDemand>>> NodeQueue::Prepare(
    std::span<const SlotRequest> request, Enforcement at_least) {
  std::vector<std::optional<SlotDemand>> slots(nodes_.size());
  bool possible = false;
  Status first;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const StatusOr<SlotDemand> demand = nodes_[node].allocator.Prepare(request, at_least);
    if (demand.ok()) {
      slots[node] = *demand;
      possible = true;
    } else if (!absl::IsResourceExhausted(demand.status())) {
      return demand.status();
    } else if (first.ok()) {
      first = demand.status();
    }
  }
  if (possible) return slots;
  if (nodes_.size() == 1) return first;
  return ResourceExhausted(absl::StrCat("none of the ", nodes_.size(), " nodes can hold it; node ",
                                        nodes_.front().name, ": ", AbslView(Message(first))));
}

uint32_t NodeQueue::RequestFor(std::span<const SlotRequest> request, uint32_t together,
                               std::vector<std::optional<SlotDemand>> slots, Known* known) {
  std::map<std::string, Quantity> total;
  for (const SlotRequest& slot : request) {
    if (slot.amount == Quantity()) continue;
    Quantity& sum = total[slot.slot];
    (void)Quantity::Add(sum, slot.amount, &sum);  // Prepare has added them up before
  }
  const auto number = static_cast<uint32_t>(requests_.size());
  const auto [place, added] =
      known->requests.try_emplace({{total.begin(), total.end()}, together}, number);
  if (added) {
    RequestState& state = requests_.emplace_back();
    state.slots = std::move(slots);
    state.together = together;
    state.counted = std::make_unique<CountedAmounts>();
    state.demand = model_.DemandOf(request, together, state.counted.get());
    state.demand.label = number;
    if (*state.counted != CountedAmounts{}) state.demand.counted = state.counted.get();
    state.needs_nothing = total.empty();
  }
  return place->second;
}

// Whether the empty nodes hold all members of a gang.
Status NodeQueue::CheckMembers(const Claim& claim) const {
  if (claim.members == 1) return absl::OkStatus();
  const std::vector<SlotRequest> request(claim.request.begin(), claim.request.end());
  uint32_t most = 0;  // members that there is room for
  for (const NodeDescription& description : descriptions_) {
    TRACKBED_ASSIGN_OR_RETURN(SlotAllocator empty, NewNodeAccount(description));
    const StatusOr<SlotDemand> demand = empty.Prepare(RequestOrDefault(request));
    if (!demand.ok()) continue;
    const uint32_t wanted = claim.on_different_nodes ? 1 : claim.members;
    uint32_t here = 0;
    Allocation allocation;
    while (here < wanted && empty.TryAllocate(*demand, &allocation)) ++here;
    most = claim.on_different_nodes ? most + here : std::max(most, here);
  }
  if (most >= claim.members) return absl::OkStatus();
  return ResourceExhausted(
      absl::StrCat("a gang of ", claim.members,
                   claim.on_different_nodes ? " on different nodes; there are only "
                                            : " on one node; even empty, none holds more than ",
                   most, claim.on_different_nodes ? " that hold a member" : " of its members"));
}

StatusOr<NodeQueue::Line> NodeQueue::LineFor(const Claim& claim, Time now, LinePurpose purpose) {
  const std::vector<SlotRequest> request(claim.request.begin(), claim.request.end());
  const bool apart = claim.members > 1 && claim.on_different_nodes;
  LineState line;
  StatusOr<std::vector<std::optional<SlotDemand>>> slots =
      Prepare(RequestOrDefault(request), claim.at_least);
  const bool runs = purpose == LinePurpose::run;
  if (!runs && absl::IsResourceExhausted(slots.status())) {
    slots = std::vector<std::optional<SlotDemand>>(nodes_.size());
  }
  TRACKBED_RETURN_IF_ERROR(slots.status());
  Known& known = runs ? known_ : known_to_count_;
  line.request =
      RequestFor(RequestOrDefault(request), apart ? 1 : claim.members, *std::move(slots), &known);
  line.tenant = claim.tenant;
  line.priority = claim.priority;
  if (claim.run_time > Duration{0}) line.run_time = RoundUpRunTime(claim.run_time);
  line.members = apart ? claim.members : 1;
  line.on_different_nodes = apart;
  const std::tuple key(line.request, line.tenant, line.priority, line.run_time.count(),
                       line.members, line.on_different_nodes);
  if (const auto found = known.lines.find(key); found != known.lines.end()) return found->second;
  if (runs) TRACKBED_RETURN_IF_ERROR(CheckMembers(claim));
  if (runs && !unlimited_) {
    Engage(now);
    const Status possible = scheduler_->Predict(RequestOf(line, last_id_ + 1), now).status();
    Settle(scheduler_->cluster());
    if (!possible.ok()) return Status(possible.code(), WithoutNumber(Message(possible)));
  }
  const auto number = static_cast<Line>(lines_.size());
  lines_.push_back(std::move(line));
  known.lines.emplace(key, number);
  return number;
}

Status NodeQueue::CheckRank(Line line, Time now) {
  if (order_ == nullptr) return absl::OkStatus();
  return order_->Rank(RequestOf(lines_[line], last_id_ + 1), now).status();
}

TaskRequest NodeQueue::RequestOf(const LineState& line, TaskId id) const {
  TaskRequest request;
  request.id = id;
  request.tenant = line.tenant;
  request.priority = line.priority;
  request.demand = requests_[line.request].demand;
  request.run_time = line.run_time;
  request.members = line.members;
  request.on_different_nodes = line.on_different_nodes;
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

std::vector<std::pair<Time, ReadyTask>> NodeQueue::Waiters() const {
  std::vector<std::pair<Time, ReadyTask>> waiters;
  for (const Line index : waiting_) {
    for (const Waiting& waiting : lines_[index].tasks) {
      waiters.emplace_back(waiting.since, waiting.task);
    }
  }
  // No two have the same time.
  std::sort(waiters.begin(), waiters.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return waiters;
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

bool NodeQueue::Allocate(NodeIndex node, const RequestState& request, HeldMembers* members) {
  if (!request.slots[node]) return false;
  const size_t before = members->size();
  for (uint32_t i = 0; i < request.together; ++i) {
    HeldMember& member = members->emplace_back();
    member.node = node;
    if (request.needs_nothing ||
        nodes_[node].allocator.TryAllocate(*request.slots[node], &member.allocation)) {
      continue;
    }
    members->pop_back();
    while (members->size() > before) {
      (void)nodes_[node].allocator.Release(members->back().allocation.id);
      members->pop_back();
    }
    return false;
  }
  return true;
}

void NodeQueue::GiveBack(const HeldMembers& members) {
  for (const HeldMember& member : members) {
    if (member.allocation.id != 0) {
      (void)nodes_[member.node].allocator.Release(member.allocation.id);
    }
  }
}

uint32_t NodeQueue::Hold(Line line, const HeldMembers& members, Time started) {
  uint32_t place;
  if (free_.empty()) {
    place = static_cast<uint32_t>(running_.size());
    running_.emplace_back();
  } else {
    place = free_.back();
    free_.pop_back();
  }
  Running& running = running_[place];
  running.parts.clear();
  for (const HeldMember& member : members) {
    running.parts.push_back({member.node, member.allocation.id});
  }
  running.started = started;
  running.scheduled = 0;
  running.line = line;
  running.state = Running::State::holds;
  running.stoppable = true;
  running.stopping = false;
  ++live_;
  if (line != kNoLine && lines_[line].run_time == Duration{0}) ++unknown_times_;
  return place;
}

void NodeQueue::Release(uint32_t held, Time now) {
  Running& running = running_[held];
  if (running.state == Running::State::crowded) {
    crowded_.erase(held);
    Crowd(running, false);
  } else {
    for (const Running::Part& part : running.parts) {
      if (part.allocation != 0) (void)nodes_[part.node].allocator.Release(part.allocation);
    }
    if (running.line != kNoLine && lines_[running.line].run_time == Duration{0}) --unknown_times_;
  }
  if (running.scheduled != 0) (void)scheduler_->Finish(running.scheduled, now);
  running.state = Running::State::free;
  free_.push_back(held);
  --live_;
  ++releases_;
  changed_ = true;
  for (const Line line : refused_) headless_.push_back(line);
  refused_.clear();
  for (auto entry = crowded_.begin(); entry != crowded_.end();) {
    Running& waiting = running_[*entry];
    if (!TryToHold(&waiting)) {
      ++entry;
      continue;
    }
    if (scheduler_ != nullptr) Restore(&waiting, now);
    entry = crowded_.erase(entry);
  }
}

void NodeQueue::SetOpen(NodeIndex node, bool open) {
  nodes_[node].open = open;
  Opened(node);
}

void NodeQueue::Opened(NodeIndex node) {
  changed_ = true;
  ++releases_;
  if (scheduler_ == nullptr) return;
  if (IsOpen(node)) {
    scheduler_->OpenNode(node);
  } else {
    scheduler_->DrainNode(node);
  }
}

// Nothing starts where attempts were found that hold more than there is.
void NodeQueue::Crowd(const Running& running, bool crowded) {
  for (const Running::Part& part : running.parts) {
    if (part.node == kNoNode) continue;
    nodes_[part.node].crowded += crowded ? 1U : UINT32_MAX;
    Opened(part.node);
  }
}

// What a crowded attempt was found to need.
bool NodeQueue::TryToHold(Running* running) {
  if (running->line == kNoLine) return false;
  const RequestState& request = requests_[lines_[running->line].request];
  HeldMembers members;
  for (const Running::Part& part : running->parts) {
    if (AllocateFound(request, {part.node, {}}, &members)) continue;
    GiveBack(members);
    return false;
  }
  Crowd(*running, false);
  for (size_t i = 0; i < members.size(); ++i) {
    running->parts[i].allocation = members[i].allocation.id;
  }
  running->state = Running::State::holds;
  if (lines_[running->line].run_time == Duration{0}) ++unknown_times_;
  return true;
}

// For one member; adds to *members, or does nothing.
bool NodeQueue::AllocateFound(const RequestState& request, const FoundMember& found,
                              HeldMembers* members) {
  HeldMember member{found.node, {}};
  bool holds = found.node == kNoNode || request.needs_nothing;
  if (!holds && !found.parts.empty()) {
    holds = nodes_[found.node].allocator.AllocateParts(found.parts, &member.allocation).ok();
  }
  if (!holds && request.slots[found.node]) {
    holds =
        nodes_[found.node].allocator.TryAllocate(*request.slots[found.node], &member.allocation);
  }
  if (holds) members->push_back(std::move(member));
  return holds;
}

uint32_t NodeQueue::Occupy(Line line, std::span<const FoundMember> found, Time started, Time now,
                           HeldMembers* given, bool stoppable) {
  HeldMembers members;
  const bool known = std::all_of(found.begin(), found.end(), [&](const FoundMember& member) {
    return line == kNoLine ? member.node == kNoNode
                           : AllocateFound(requests_[lines_[line].request], member, &members);
  });
  if (known) {
    const uint32_t held = Hold(line, members, started);
    running_[held].stoppable = stoppable;
    if (scheduler_ != nullptr) Restore(&running_[held], now);
    if (given != nullptr) *given = std::move(members);
    return held;
  }
  GiveBack(members);
  const auto place = static_cast<uint32_t>(running_.size());
  Running& running = running_.emplace_back();
  for (const FoundMember& member : found) running.parts.push_back({member.node, 0});
  running.started = started;
  running.line = line;
  running.state = Running::State::crowded;
  running.stoppable = stoppable;
  crowded_.insert(place);
  Crowd(running, true);
  if (scheduler_ != nullptr) Restore(&running, now);
  ++live_;
  return place;
}

void NodeQueue::Stopping(uint32_t held) {
  Running& running = running_[held];
  running.stopping = true;
  if (running.scheduled != 0) (void)scheduler_->Stopping(running.scheduled);
  changed_ = true;
}

// ---- Deciding --------------------------------------------------------------------------------

void NodeQueue::Engage(Time now) {
  if (scheduler_ != nullptr) return;
  SchedulerOptions options;
  options.policy = policy_;
  options.tenancy = tenancy_;
  options.placer = std::make_unique<NodePlacer>(this);
  if (order_ != nullptr) options.order = std::make_unique<LenientOrder>(order_);
  options.resources = model_.resources();
  scheduler_ = std::make_unique<Scheduler>(std::move(options));
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    (void)scheduler_->AddNode(nodes_[node].name, model_.capacity(node));  // within its bounds
    if (!IsOpen(node)) scheduler_->DrainNode(node);
  }
  for (Running& running : running_) {
    if (running.state != Running::State::free) Restore(&running, now);
  }
  headless_.assign(waiting_.begin(), waiting_.end());
  changed_ = true;
}

void NodeQueue::Restore(Running* running, Time now) {
  if (running->scheduled != 0) (void)scheduler_->Finish(std::exchange(running->scheduled, 0), now);
  if (running->line == kNoLine) return;
  const RequestState& request = requests_[lines_[running->line].request];
  const bool has_room = running->state == Running::State::holds &&
                        std::all_of(running->parts.begin(), running->parts.end(),
                                    [](const auto& part) { return part.node != kNoNode; });
  Placements placements;
  for (size_t i = 0; has_room && i < running->parts.size(); ++i) {
    const Running::Part& part = running->parts[i];
    if (i % request.together == 0) placements.push_back({part.node});
    Allocation allocation;
    (void)nodes_[part.node].allocator.Find(part.allocation, &allocation);
    model_.AddParts(request.demand, allocation.parts, &placements.back());
  }
  const TaskId id = ++last_id_;
  TaskRequest wanted = RequestOf(lines_[running->line], id);
  wanted.preemptible = running->stoppable;
  // An amount that was placed by another rule may not fit the scheduler's account: the allocator
  // still counts it.
  const bool counted =
      has_room && scheduler_->Restore(wanted, placements, running->started, now).ok();
  if (!counted && !scheduler_->RestoreElsewhere(wanted, running->started, now).ok()) return;
  running->scheduled = id;
  if (running->stopping) (void)scheduler_->Stopping(id);
}

std::vector<LocalData> NodeQueue::DataOf(const ReadyTask& task) const {
  std::vector<LocalData> data;
  if (!reads_from_) return data;
  for (const std::string& name : reads_from_(task)) {
    const auto there = std::find_if(nodes_.begin(), nodes_.end(),
                                    [&](const Node& node) { return node.name == name; });
    if (there == nodes_.end()) continue;  // it has been taken away
    const auto node = static_cast<NodeIndex>(there - nodes_.begin());
    auto known = std::find_if(data.begin(), data.end(),
                              [&](const LocalData& other) { return other.node == node; });
    if (known == data.end()) known = data.insert(data.end(), {node, 0});
    ++known->bytes;
  }
  return data;
}

void NodeQueue::SubmitHeads() {
  for (const Line index : std::exchange(headless_, {})) {
    if (lines_[index].submitted != 0) continue;
    DropUnwanted(index);
    LineState& line = lines_[index];
    if (line.tasks.empty()) continue;
    const TaskId id = ++last_id_;
    TaskRequest request = RequestOf(line, id);
    request.data = DataOf(line.tasks.front().task);
    const Status status = scheduler_->Submit(request, line.tasks.front().since);
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
  for (const Eviction& eviction : plan.evictions) {
    const auto victim = std::find_if(running_.begin(), running_.end(), [&](const Running& running) {
      return running.state == Running::State::holds && running.scheduled == eviction.victim;
    });
    victim->stopping = true;
    stops_.push_back({static_cast<uint32_t>(victim - running_.begin()),
                      lines_[submitted_.at(eviction.beneficiary)].tasks.front().task,
                      eviction.cause});
  }
  // For whom room was made, several may start at once. There is a trial for each of their members.
  auto trial = trials_.begin();
  for (const Start& start : plan.starts) {
    const Line index = submitted_.at(start.task);
    Started started;
    for (size_t i = 0; i < start.members.size(); ++i, ++trial) {
      std::move(trial->members.begin(), trial->members.end(), std::back_inserter(started.members));
    }
    started.held = Hold(index, started.members, now);
    running_[started.held].scheduled = start.task;
    started.task = Pop(index);
    decided_.push_back(std::move(started));
  }
  trials_.clear();
  return !plan.starts.empty();
}

std::optional<NodeQueue::Started> NodeQueue::TakeDirectly(Time now) {
  const Line index = *waiting_.begin();
  DropUnwanted(index);
  LineState& line = lines_[index];
  if (line.tasks.empty() || failed_ == std::pair(index, releases_)) return std::nullopt;
  Started started;
  if (!IsOpen(0) || !Allocate(0, requests_[line.request], &started.members)) {
    failed_ = {index, releases_};
    return std::nullopt;
  }
  headless_.clear();
  started.held = Hold(index, started.members, now);
  started.task = Pop(index);
  return started;
}

std::optional<NodeQueue::Started> NodeQueue::Take(Time now) {
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
      // The placer of several nodes has learned what work to expect, and stays with its cluster.
      if (unlimited_ && live_ == 0 && placer_ == nullptr) scheduler_.reset();
      return std::nullopt;
    }
    if (unlimited_ && !evicts_ && scheduler_ == nullptr && waiting_.size() == 1 &&
        nodes_.size() == 1) {
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

std::optional<Placement> NodeQueue::Try(const Cluster& cluster, const Demand& demand,
                                        std::span<const LocalData> data) {
  Settle(cluster);
  if (placer_ == nullptr) return TryOn(cluster, 0, demand);
  // What an allocator could give fits in the cluster's account.
  const std::optional<Placement> choice =
      data.empty() ? placer_->Choose(cluster, demand) : placer_->ChooseNear(cluster, demand, data);
  if (!choice) return std::nullopt;
  if (const auto placement = TryOn(cluster, choice->node, demand)) return placement;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (node == choice->node || !cluster.Fits(node, demand)) continue;
    if (const auto placement = TryOn(cluster, node, demand)) return placement;
  }
  return std::nullopt;
}

std::optional<Placement> NodeQueue::TryOn(const Cluster& cluster, NodeIndex node,
                                          const Demand& demand) {
  if (!cluster.state(node).open) return std::nullopt;
  Trial trial{node, cluster.state(node).tasks, {}};
  if (!Allocate(node, requests_[demand.label], &trial.members)) return std::nullopt;
  Placement placement;
  placement.node = node;
  for (const HeldMember& member : trial.members) {
    model_.AddParts(demand, member.allocation.parts, &placement);
  }
  trials_.push_back(std::move(trial));
  return placement;
}

bool NodeQueue::TryAt(const Cluster& cluster, const Demand& demand, const Placement& placement) {
  Settle(cluster);
  SlotAllocator& allocator = nodes_[placement.node].allocator;
  // The allocator chooses for itself, so the other devices are hidden from it.
  std::vector<std::string_view> hidden;
  if (demand.wants_devices()) {
    for (const DeviceUsage& usage : allocator.Usage()) {
      const std::vector<std::string_view> beside = model_.DevicesBeside(placement);
      if (usage.healthy && std::find(beside.begin(), beside.end(), usage.device) != beside.end()) {
        hidden.push_back(usage.device);
      }
    }
  }
  for (const std::string_view device : hidden) (void)allocator.SetHealthy(device, false);
  const std::optional<Placement> found = TryOn(cluster, placement.node, demand);
  for (const std::string_view device : hidden) (void)allocator.SetHealthy(device, true);
  if (!found) return false;
  if (*found == placement) return true;
  Settle(cluster);
  return false;
}

// The scheduler takes room for each trial before it asks for the next, and gives all of a task back
// when not all of it fits.
void NodeQueue::Settle(const Cluster& cluster) {
  while (!trials_.empty() && cluster.state(trials_.back().node).tasks <= trials_.back().tasks) {
    GiveBack(trials_.back().members);
    trials_.pop_back();
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
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    reason.crowded = reason.crowded && !IsOpen(node);
  }
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
    reason.shortfall = ShortfallOf(requests_[line.request], reason.why);
  }
  return reason;
}

// What an allocator misses, which knows more; else what the scheduler does, which knows all nodes.
Shortfall NodeQueue::ShortfallOf(const RequestState& request, const WaitReason& why) const {
  if (nodes_.size() == 1 && IsOpen(0) && request.together == 1) {
    return nodes_[0].allocator.Explain(*request.slots[0]);
  }
  Shortfall shortfall;
  shortfall.kind = why.rule == WaitReason::Rule::shortage ? Shortfall::Kind::shortage
                                                          : Shortfall::Kind::fragmentation;
  // When it is expected to start is told apart, and not where that rests on guesses.
  shortfall.message = why.sentence.substr(0, why.sentence.find("; expected at "));
  if (!why.has_node) return shortfall;
  const bool bytes = why.resource == kMemory;
  const auto quantity = [&](int64_t amount) {
    return bytes ? Quantity::FromUnits(amount).value_or(Quantity())
                 : Quantity::FromThousandths(amount);
  };
  shortfall.slot = model_.resources()[why.resource];
  shortfall.needed = quantity(why.needed);
  shortfall.free = quantity(why.available);
  return shortfall;
}

}  // namespace trackbed
