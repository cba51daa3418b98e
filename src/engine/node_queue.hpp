// Tasks that may start as soon as the scheduler finds it their turn and the node has room.
//
// Tasks alike in all that decides when they start wait in one line, first come first served; the
// scheduler sees the first of each. It decides who goes next, keeps quotas and reservations; the
// slot allocator of the node decides whether there is room, and gives the devices. While only one
// line waits and no quota can refuse it, there is nothing to decide and the scheduler is not asked.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "engine/node_model.hpp"
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
  Shortfall shortfall;             // of a shortage or fragmentation
};

class NodeQueue {
 public:
  using Line = uint32_t;
  // Stands for a request that can never be met here.
  static constexpr Line kNoLine = UINT32_MAX;

  // What a task asks for.
  struct Claim {
    std::span<const SlotRequest> request;
    TenantIndex tenant = kRootTenant;
    int32_t priority = 0;
    Duration run_time{0};  // expected; 0: not known
    Enforcement at_least = Enforcement::accounting;
  };
  struct Started {
    ReadyTask task;
    uint32_t held = 0;  // to be released
    Allocation allocation;
  };

  // `wanted` says whether a task that was pushed is still to be started.
  static StatusOr<std::unique_ptr<NodeQueue>> Create(const NodeDescription& node, Tenancy tenancy,
                                                     const GroupPolicy& policy,
                                                     std::function<bool(const ReadyTask&)> wanted);
  NodeQueue(const NodeQueue&) = delete;
  NodeQueue& operator=(const NodeQueue&) = delete;

  // The line for tasks with this claim. Errors as SlotAllocator::Prepare: kFailedPrecondition for
  // what is enforced more weakly than at_least; kResourceExhausted when
  // the node or a quota can never meet it.
  StatusOr<Line> LineFor(const Claim& claim, Time now);

  // `since`: when it became ready. Who is pushed later waits behind, whatever this says.
  void Push(Line line, ReadyTask task, Time since);
  // The next task that starts, with what it holds.
  std::optional<Started> Take(Time now);
  void Release(uint32_t held, Time now);
  // Some of what was pushed is not wanted any more: it must not hold up others.
  void Recheck() { recheck_ = true; }

  // Counts an attempt that was found running, and returns what to release. It gets `parts`, which
  // it held before; where these are not free, or there are none, what there is; and where that is
  // not enough, nothing new starts until it is. *allocation, when given, is what it got.
  uint32_t Occupy(Line line, std::span<const AllocationPart> parts, Time started, Time now,
                  Allocation* allocation = nullptr);

  // Take may find something at this time though nothing happens until then; kNever: it does not.
  Time next() const { return scheduler_ == nullptr || waiting_.empty() ? kNever : next_; }

  QueueReason Explain(Line line, const ReadyTask& task, Time now);

 private:
  class NodePlacer;

  struct Waiting {
    ReadyTask task;
    Time since;
  };
  struct RequestState {
    SlotDemand slots;
    Demand demand;
    std::unique_ptr<CountedAmounts> counted;
    bool needs_nothing = false;
  };
  struct LineState {
    uint32_t request = 0;
    TenantIndex tenant = kRootTenant;
    int32_t priority = 0;
    Duration run_time{0};
    std::deque<Waiting> tasks;
    TaskId submitted = 0;  // the scheduler's number of the first task; 0: it does not know it
    std::string refused;   // why the scheduler does not take it now
  };
  // What runs, or ran: places are used again.
  struct Running {
    enum class State : uint8_t { free, holds, crowded };
    uint64_t allocation = 0;  // 0: nothing
    Time started{};
    TaskId scheduled = 0;  // 0: the scheduler does not know it
    Line line = 0;
    uint16_t whole_devices = 0;  // as in Placement
    int8_t shared_device = -1;
    State state = State::free;
  };
  // An allocation that the scheduler has not decided about yet.
  struct Trial {
    Allocation allocation;
    int32_t tasks = 0;  // on the node, without it
  };

  NodeQueue(const NodeDescription& node, SlotAllocator allocator, Tenancy tenancy,
            const GroupPolicy& policy, std::function<bool(const ReadyTask&)> wanted);

  StatusOr<uint32_t> RequestFor(std::span<const SlotRequest> request, Enforcement at_least);
  TaskRequest RequestOf(const LineState& line, TaskId id) const;
  bool Allocate(const RequestState& request, Allocation* allocation);
  void Place(Running* running, const Allocation& allocation);
  uint32_t Hold(Line line, const Allocation& allocation, Time started);
  void Withdraw(LineState* line);
  // Takes the first task from the line.
  ReadyTask Pop(Line line);
  void DropUnwanted(Line line);

  // The scheduler is made when it has something to decide, and knows what runs from then on.
  void Engage(Time now);
  void Restore(Running* running, Time now);
  void SubmitHeads();
  // False: nothing starts.
  bool Decide(Time now);
  std::optional<Started> TakeDirectly(Time now);

  // For the placer.
  std::optional<Placement> Try(const Cluster& cluster, const Demand& demand);
  bool TryAt(const Cluster& cluster, const Demand& demand, const Placement& placement);
  // The scheduler has decided about the trial: it runs, or it is given back.
  void Settle(const Cluster& cluster);

  NodeModel model_;
  SlotAllocator allocator_;
  Tenancy tenancy_;
  GroupPolicy policy_;
  std::function<bool(const ReadyTask&)> wanted_;
  bool unlimited_ = false;  // no quota can refuse anything
  std::unique_ptr<Scheduler> scheduler_;
  std::optional<Trial> trial_;
  std::vector<Allocation> taken_;  // by the starts of the plan being made

  std::deque<RequestState> requests_;
  std::map<std::vector<std::pair<std::string, Quantity>>, uint32_t> by_request_;
  std::vector<LineState> lines_;
  std::map<std::tuple<uint32_t, TenantIndex, int32_t, int64_t>, Line> by_claim_;
  std::set<Line> waiting_;      // lines in which somebody waits
  std::vector<Line> headless_;  // their first task is to be submitted
  std::vector<Line> refused_;   // … when something has ended
  absl::flat_hash_map<TaskId, Line> submitted_;
  std::deque<Started> decided_;
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
