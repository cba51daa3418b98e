// Tasks that may start as soon as the scheduler finds it their turn and the nodes have room.
//
// Tasks alike in all that decides when they start wait in one line, first come first served; the
// scheduler sees the first of each. It decides who goes next, keeps quotas and reservations; a
// placer chooses among the nodes; the slot allocator of the node decides whether there is room, and
// gives the devices. While there is one node, only one line waits and no quota can refuse it, there
// is nothing to decide and the scheduler is not asked.
//
// Where the policy says so, some of what runs is to be stopped for what waits: the queue says whom,
// and does nothing about it but to keep the room that they leave for whom it was made.
//
// A gang starts whole: each of its members has what the task asks for, or none has anything.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/cluster_model.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/resources/slot_allocator.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

struct ReadyTask {
  int64_t run = 0;  // RunRecord::number
  TaskIndex task = 0;
  friend bool operator==(const ReadyTask&, const ReadyTask&) = default;
};

// Why a task of the queue waits.
struct QueueReason {
  // Of the first task of its line; Rule::none when the task does not wait. Times are told only
  // where they rest on run times that are known.
  WaitReason why;
  std::optional<ReadyTask> ahead;  // the task that `why` says is
  size_t before = 0;               // tasks of its line before it
  bool crowded = false;            // attempts found running hold more than there is
  Shortfall shortfall;             // of a shortage or fragmentation; of one node, if there are more
};

// What one member of an attempt holds.
struct HeldMember {
  NodeIndex node = 0;
  Allocation allocation;
};
using HeldMembers = absl::InlinedVector<HeldMember, 1>;  // main1 first

// How one of several nodes is chosen.
struct NodeChoice {
  // One of kPlacerNames; empty: "default" where there are accelerators, else "spread".
  std::string placer;
  // The nodes on which what the task reads was written: a name for each of its inputs, unless that
  // is not known. Empty: of no task.
  std::function<std::vector<std::string>(const ReadyTask&)> reads_from;
};

class NodeQueue {
 public:
  using Line = uint32_t;
  // Stands for a request that can never be met here.
  static constexpr Line kNoLine = UINT32_MAX;
  // Stands for a node that is not among ours.
  static constexpr NodeIndex kNoNode = UINT32_MAX;

  // What a task asks for.
  struct Claim {
    std::span<const SlotRequest> request;  // of each member
    TenantIndex tenant = kRootTenant;
    int32_t priority = 0;
    Duration run_time{0};  // expected; 0: not known
    uint32_t members = 1;
    bool on_different_nodes = false;  // its members; else all on one
    Enforcement at_least = Enforcement::accounting;
  };
  struct Started {
    ReadyTask task;
    uint32_t held = 0;  // to be released
    HeldMembers members;
  };
  // Somebody who runs and is to be stopped, so that a task that waits has room.
  struct ToStop {
    uint32_t held = 0;
    ReadyTask beneficiary;
    Eviction::Cause cause = Eviction::Cause::priority;
  };
  // Where a member was found running, and what it held there before.
  struct FoundMember {
    NodeIndex node = kNoNode;
    std::vector<AllocationPart> parts;
  };
  // `order`, which outlives the queue, decides in place of the policy's; null: the policy. `wanted`
  // says whether a task that was pushed is still to be started. kInvalidArgument for a wrong
  // description, two of one name, and an unknown placer.
  static StatusOr<std::unique_ptr<NodeQueue>> Create(std::span<const NodeDescription> nodes,
                                                     Tenancy tenancy, const GroupPolicy& policy,
                                                     Order* order,
                                                     std::function<bool(const ReadyTask&)> wanted,
                                                     NodeChoice choice = {});
  NodeQueue(const NodeQueue&) = delete;
  NodeQueue& operator=(const NodeQueue&) = delete;

  // The line for tasks with this claim. Errors as SlotAllocator::Prepare: kFailedPrecondition for
  // what is enforced more weakly than at_least; kResourceExhausted when
  // the nodes, empty and open, or a quota can never meet it.
  // A line to count only takes what can never be met, too: for tasks that run where the nodes were
  // others. Nothing may be pushed into it.
  enum class LinePurpose : uint8_t { run, count };
  StatusOr<Line> LineFor(const Claim& claim, Time now, LinePurpose purpose = LinePurpose::run);
  // Whether the order knows where the tasks of this line stand; its error if not.
  Status CheckRank(Line line, Time now);

  // `since`: when it became ready. Who is pushed later waits behind, whatever this says.
  void Push(Line line, ReadyTask task, Time since);
  // The next task that starts, with what it holds.
  std::optional<Started> Take(Time now);
  void Release(uint32_t held, Time now);
  // Whom Take has found to be in the way since the last time. They hold what they have until they
  // are released; who has them stopped starts then, if he still waits.
  std::vector<ToStop> TakeStops() { return std::exchange(stops_, {}); }
  // It is being stopped already: nobody else has to be for the room that it leaves.
  void Stopping(uint32_t held);
  // All that wait, in the order in which they were pushed.
  std::vector<std::pair<Time, ReadyTask>> Waiters() const;
  // Some of what was pushed is not wanted any more: it must not hold up others.
  void Recheck() { recheck_ = true; }

  // Counts an attempt that was found running, and returns what to release. Each member gets the
  // parts that it held before; where these are not free, or there are none, what there is; and
  // where that is not enough, nothing new starts on its node until it is. A member on no node of
  // ours holds nothing. *given, when given, is what they got. Nobody has it stopped unless it is
  // `stoppable`.
  uint32_t Occupy(Line line, std::span<const FoundMember> members, Time started, Time now,
                  HeldMembers* given = nullptr, bool stoppable = true);

  // Nothing new starts on a node that is closed. All are open at first.
  void SetOpen(NodeIndex node, bool open);
  bool is_open(NodeIndex node) const { return nodes_[node].open; }

  // Take may find something at this time though nothing happens until then; kNever: it does not.
  Time next() const { return scheduler_ == nullptr || waiting_.empty() ? kNever : next_; }

  QueueReason Explain(Line line, const ReadyTask& task, Time now);

 private:
  class NodePlacer;
  class LenientOrder;

  struct Waiting {
    ReadyTask task;
    Time since;
  };
  struct RequestState {
    std::vector<std::optional<SlotDemand>> slots;  // by node; none: it can never meet it
    uint32_t together = 1;                         // so many members on one node
    Demand demand;                                 // of these
    std::unique_ptr<CountedAmounts> counted;
    bool needs_nothing = false;
  };
  struct LineState {
    uint32_t request = 0;
    TenantIndex tenant = kRootTenant;
    int32_t priority = 0;
    Duration run_time{0};
    uint32_t members = 1;             // as the scheduler counts: groups of members on one node
    bool on_different_nodes = false;  // those
    std::deque<Waiting> tasks;
    TaskId submitted = 0;  // the scheduler's number of the first task; 0: it does not know it
    std::string refused;   // why the scheduler does not take it now
  };
  struct Node {
    std::string name;
    SlotAllocator allocator;
    bool open = true;
    uint32_t crowded = 0;  // attempts found running there that hold more than there is
  };
  // What runs, or ran: places are used again.
  struct Running {
    enum class State : uint8_t { free, holds, crowded };
    struct Part {
      NodeIndex node = 0;
      uint64_t allocation = 0;  // 0: nothing
    };
    absl::InlinedVector<Part, 1> parts;  // by member
    Time started{};
    TaskId scheduled = 0;  // 0: the scheduler does not know it
    Line line = 0;
    State state = State::free;
    bool stoppable = true;
    bool stopping = false;
  };
  // Allocations that the scheduler has not decided about yet.
  struct Trial {
    NodeIndex node = 0;
    int32_t tasks = 0;  // on the node, without it
    HeldMembers members;
  };

  NodeQueue(std::span<const NodeDescription> nodes, std::vector<Node> accounts, Tenancy tenancy,
            const GroupPolicy& policy, Order* order, std::function<bool(const ReadyTask&)> wanted);

  // What there is already, by what it stands for.
  struct Known {
    std::map<std::pair<std::vector<std::pair<std::string, Quantity>>, uint32_t>, uint32_t> requests;
    std::map<std::tuple<uint32_t, TenantIndex, int32_t, int64_t, uint32_t, bool>, Line> lines;
  };
  uint32_t RequestFor(std::span<const SlotRequest> request, uint32_t together,
                      std::vector<std::optional<SlotDemand>> slots, Known* known);
  StatusOr<std::vector<std::optional<SlotDemand>>> Prepare(std::span<const SlotRequest> request,
                                                           Enforcement at_least);
  Status CheckMembers(const Claim& claim) const;
  TaskRequest RequestOf(const LineState& line, TaskId id) const;
  // For all members that are to be together; adds to *members, or does nothing.
  bool Allocate(NodeIndex node, const RequestState& request, HeldMembers* members);
  bool AllocateFound(const RequestState& request, const FoundMember& found, HeldMembers* members);
  void GiveBack(const HeldMembers& members);
  bool IsOpen(NodeIndex node) const { return nodes_[node].open && nodes_[node].crowded == 0; }
  void Crowd(const Running& running, bool crowded);
  // Tells the scheduler which nodes are open.
  void Opened(NodeIndex node);
  uint32_t Hold(Line line, const HeldMembers& members, Time started);
  bool TryToHold(Running* running);
  void Withdraw(LineState* line);
  // Takes the first task from the line.
  ReadyTask Pop(Line line);
  void DropUnwanted(Line line);

  // The scheduler is made when it has something to decide, and knows what runs from then on.
  void Engage(Time now);
  void Restore(Running* running, Time now);
  void SubmitHeads();
  // How many of its inputs lie on each node: their sizes are not known.
  std::vector<LocalData> DataOf(const ReadyTask& task) const;
  // False: nothing starts.
  bool Decide(Time now);
  std::optional<Started> TakeDirectly(Time now);

  Shortfall ShortfallOf(const RequestState& request, const WaitReason& why) const;

  // For the placer.
  std::optional<Placement> Try(const Cluster& cluster, const Demand& demand,
                               std::span<const LocalData> data);
  std::optional<Placement> TryOn(const Cluster& cluster, NodeIndex node, const Demand& demand);
  bool TryAt(const Cluster& cluster, const Demand& demand, const Placement& placement);
  // The scheduler has decided about the last trials: they run, or are given back.
  void Settle(const Cluster& cluster);

  std::vector<NodeDescription> descriptions_;
  ClusterModel model_;
  std::vector<Node> nodes_;
  Tenancy tenancy_;
  GroupPolicy policy_;
  Order* order_;
  std::function<bool(const ReadyTask&)> wanted_;
  std::function<std::vector<std::string>(const ReadyTask&)> reads_from_;
  bool unlimited_ = false;  // no quota can refuse anything
  bool evicts_ = false;     // some may be stopped for others
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Placer> placer_;  // among several nodes
  std::vector<Trial> trials_;       // of the task that the scheduler looks at, or has started

  std::deque<RequestState> requests_;
  std::vector<LineState> lines_;
  Known known_;                 // that tasks can wait in
  Known known_to_count_;        // LinePurpose::count
  std::set<Line> waiting_;      // lines in which somebody waits
  std::vector<Line> headless_;  // their first task is to be submitted
  std::vector<Line> refused_;   // … when something has ended
  absl::flat_hash_map<TaskId, Line> submitted_;
  std::deque<Started> decided_;
  std::vector<ToStop> stops_;
  Time last_since_{};
  TaskId last_id_ = 0;
  bool recheck_ = false;
  bool changed_ = false;  // since the scheduler was asked last
  Time next_ = kNever;

  std::vector<Running> running_;  // what is held is the place here
  std::vector<uint32_t> free_;
  std::set<uint32_t> crowded_;
  size_t live_ = 0;
  size_t unknown_times_ = 0;  // of those that run
  uint64_t releases_ = 0;
  std::pair<Line, uint64_t> failed_{kNoLine, 0};  // so did the line, after so many releases
};

}  // namespace trackbed
