// What a scheduler knows, and the parts of its work that only look at it: looking ahead in time,
// choosing victims, explaining.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "scheduling/fitting_nodes.hpp"
#include "scheduling/node_room.hpp"
#include "scheduling/use_by_priority.hpp"
#include "trackbed/scheduling/run_time_history.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

using TaskSlot = uint32_t;  // where a task lies; used again after it has gone
using ShapeIndex = uint32_t;
using LineIndex = uint32_t;
using QueueIndex = uint32_t;
using DemandIndex = uint32_t;

// The place of a task in its tenant's order; the smaller goes first. It does not change while the
// task waits: what ageing adds, it adds to all.
struct Rank {
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t order = 0;  // of submission
  friend auto operator<=>(const Rank&, const Rank&) = default;
};

struct TaskState {
  TaskRequest request;
  ShapeIndex shape = 0;
  LineIndex line = 0;
  Rank rank;
  uint64_t asked_kinds = kAnyDeviceKind;  // of devices; `request` has those it does not refuse
  Time submitted{};
  Time started{};
  Duration expected{0};
  bool known = false;  // the slot is in use
  bool running = false;
  bool stopping = false;                  // evicted; its end is awaited
  uint64_t started_in = 0;                // the Schedule that started it
  Placements members;                     // while it runs
  absl::InlinedVector<uint32_t, 1> lost;  // members whose node is gone
  Time lost_at{};

  bool IsLost(uint32_t member) const {
    return std::find(lost.begin(), lost.end(), member) != lost.end();
  }
};

// Tasks alike in all that decides where and when they fit. If one finds no room, none does.
struct Shape {
  Demand demand;
  uint32_t members = 1;
  bool on_different_nodes = false;
  Duration expected{0};
  DemandIndex wanted = 0;
  uint64_t no_room = 0;  // nowhere since this wake of the demand; 0: there may be
  // Reservations hold back who comes from here on; not where shares decide who goes first.
  std::optional<Rank> held_back;
  size_t waiting = 0;  // tasks; a shape of none is used again for another
};

// The waiting tasks of one tenant and one shape that count as the same in quotas. A line without
// tasks does not exist.
struct Line {
  enum class State : uint8_t {
    ready,   // it goes on as soon as its demand does
    tried,   // its first task was tried by itself, and found no room, since its demand last woke
    parked,  // a quota refuses its tasks
  };
  TenantIndex tenant = kRootTenant;
  uint8_t device_resource = kFirstDeviceResource;
  ShapeIndex shape = 0;
  QueueIndex queue = 0;
  State state = State::ready;
  bool held_back = false;  // its first task, by reservations
  TenantIndex parked_at = kRootTenant;
  std::set<std::pair<Rank, TaskSlot>> tasks;
};

// All lines of one demand that ranks alone order: of one tenant where shares decide between
// tenants. Only the first line that is not asleep competes with other queues.
struct Queue {
  TenantIndex bucket = kRootTenant;
  DemandIndex wanted = 0;
  using Lines = absl::btree_set<std::pair<Rank, LineIndex>>;  // by their first tasks
  Lines ready;
  std::map<std::pair<Duration, ShapeIndex>, Lines> by_shape;  // the same, the shortest first
  std::optional<std::pair<Rank, LineIndex>> competing;
};

// What is known of all tasks of one demand. Its lines fall asleep and wake in one step.
struct DemandState {
  Demand demand;
  size_t shapes = 0;     // a demand of none is used again for another
  bool no_room = false;  // nowhere, for one member; a node with more room may change it
  // Reservations held back a single task of this length and rank: so they do all that are as
  // long and come after it.
  std::optional<std::pair<Duration, Rank>> held_back;
  std::vector<std::pair<LineIndex, ShapeIndex>> lines_held_back;
  bool partly = false;  // some shapes of several members find no room
  uint64_t wakes = 1;
  // It woke in this call of Schedule since few nodes had changed. On all others it still has no
  // room, or reservations still hold back what they did before.
  uint64_t woken_in = 0;
  bool had_no_room = false;
  std::optional<std::pair<Duration, Rank>> was_held_back;
  std::vector<QueueIndex> queues;
  std::vector<LineIndex> tried;
  FittingNodes fitting;  // followed where there is a reservation
};

// Room kept for a task that cannot start yet.
struct Reservation {
  TaskSlot task = 0;
  Time start = kNever;
  std::vector<Placement> members;
  bool claim = false;  // the room is being made for it, just there, by tasks told to stop
  Time claim_ends = kNever;
};

struct SchedulerState {
  explicit SchedulerState(SchedulerOptions options)
      : policy(options.policy),
        tenancy(std::move(options.tenancy)),
        placer(std::move(options.placer)),
        order(std::move(options.order)),
        resources(std::move(options.resources)),
        enforcement(options.enforcement),
        scan(options.scan) {}

  GroupPolicy policy;
  Tenancy tenancy;
  std::unique_ptr<Placer> placer;
  std::unique_ptr<Order> order;  // null: by the policy
  std::vector<std::string> resources;
  EnforcementTable enforcement;
  bool scan;
  Cluster cluster;
  std::vector<std::string> node_names;
  std::vector<std::vector<TaskSlot>> on_node;  // running tasks, once for each member there
  std::deque<TaskState> tasks;
  absl::flat_hash_map<TaskId, TaskSlot> by_id;
  std::set<TaskSlot> stopping;            // tasks that were told to stop
  UseByPriority use;                      // of what runs; only where the policy evicts
  uint64_t schedules = 1;                 // this Schedule or the next
  std::vector<Reservation> reservations;  // claims first, then as the queue is ordered
  RunTimeHistory history;

  Amounts Charge(const TaskRequest& request) const;

  // Of what the members get there, the weakest.
  std::optional<Enforcement> EnforcementOf(const Demand& demand, const Placements& members) const;

  bool Evicts() const { return policy.preempt_by_priority || policy.reclaim; }
  static bool MayBeStopped(const TaskRequest& request) {
    return request.preemptible && request.kind != WorkKind::system;
  }

  bool OrderedByShares() const {
    if (order != nullptr) return order->ByShares();
    return policy.order == QueueOrder::drf || policy.order == QueueOrder::fair_share;
  }
  // What decides between siblings where shares do; the smaller goes first.
  double ShareOf(TenantIndex tenant, Time now) const {
    if (order != nullptr) return order->Share(tenancy, tenant, now);
    return policy.order == QueueOrder::drf ? tenancy.DominantShare(tenant)
                                           : tenancy.PastUse(tenant, now);
  }

  // How many of the reservations are claims.
  size_t Claims() const {
    return static_cast<size_t>(
        std::find_if(reservations.begin(), reservations.end(),
                     [](const Reservation& reservation) { return !reservation.claim; }) -
        reservations.begin());
  }
  // What the holders of the first `claims` claims, other than `task`, will use once these are met.
  UseChange Claimed(size_t claims, const TaskState* task = nullptr) const;
  // Whether the quotas admit the task beside all that runs and all other claims.
  bool QuotasAdmit(const TaskState& task, QuotaRefusal* refusal) const {
    return tenancy.MayStart(task.request.tenant, Charge(task.request), Claimed(Claims(), &task),
                            refusal);
  }

  // When a running task ends, as far as is known; later than `now` unless it is stopping.
  Time ExpectedEnd(const TaskState& task, Time now) const;

  // Calls act(task, placement) for each member that runs on the node.
  template <typename Act>
  void ForEachOn(NodeIndex node, Act&& act) const {
    const std::vector<TaskSlot>& there = on_node[node];
    for (auto slot = there.begin(); slot != there.end(); ++slot) {
      const TaskState& task = tasks[*slot];
      if (task.members.size() == 1) {
        act(task, task.members[0]);
        continue;
      }
      // A gang is listed once for each member here.
      if (std::find(there.begin(), slot, *slot) != slot) continue;
      for (uint32_t member = 0; member < task.members.size(); ++member) {
        if (task.members[member].node != node || task.IsLost(member)) continue;
        act(task, task.members[member]);
      }
    }
  }

  // True when a task of this tenant and rank goes before the other by the order of the queue. Where
  // that looks at shares it is no total order, and it changes as tasks start and end.
  bool GoesBefore(TenantIndex tenant_a, const Rank& a, TenantIndex tenant_b, const Rank& b,
                  Time now) const;

  // True when `reservation` must not be delayed by `task`.
  bool Binds(const Reservation& reservation, const TaskState& task, Time now) const;

 private:
  // The priority with what ageing added.
  int64_t Band(const Rank& rank, Time now) const;
};

// Looking ahead (look_ahead.cc).

// When members of one demand would fit on each node if nothing but the running tasks held room.
// Kept from one look to the next: only nodes where something has changed, or a task ran longer than
// expected, are looked at again.
struct LookAhead {
  using Member = std::tuple<Time, NodeIndex, uint32_t>;  // the number is that on the node
  using OnNode = absl::InlinedVector<std::pair<Time, Placement>, 1>;
  size_t most = 0;                   // members looked for on each node
  uint64_t seen = 0;                 // changes of the cluster
  uint64_t asked = 0;                // when it was, last
  std::vector<OnNode> on_node;       // Time::min(): at once
  absl::btree_set<Member> earliest;  // of all nodes
  std::vector<Time> expires;         // of each node; kNever: not by time
  absl::btree_set<std::pair<Time, NodeIndex>> expiring;
  std::vector<NodeIndex> stopped;  // where tasks were told to stop since
};

class LookAheads {
 public:
  // The earliest time at which all members of the task would fit, and where, if all runs as long as
  // expected and the reservations that bind it are kept; all reservations do when `behind_all`.
  // None: never, on these nodes.
  std::optional<Reservation> EarliestStart(const SchedulerState& state, const TaskState& task,
                                           Time now, bool behind_all = false);
  // A task on this node was told to stop: it ends sooner than expected.
  void Stops(NodeIndex node);

 private:
  LookAhead& Follow(const SchedulerState& state, const Demand& demand, size_t most, Time now);

  absl::flat_hash_map<Demand, std::unique_ptr<LookAhead>> kept_;
  uint64_t asked_ = 0;
};

// True when the reservation can be kept as it is: its nodes are open, and no running task and no
// reservation before it is expected to be in its way.
bool Holds(const SchedulerState& state, const Reservation& reservation, Time now);
// What the first `claims` reservations, which are claims, leave of what is free on the node now,
// but for that of `holder`, if any. Amounts, unlike devices, are alike: who takes what is free
// already would have a claim wait for what stops for others.
NodeState RoomBesideClaims(const SchedulerState& state, NodeIndex node, size_t claims,
                           const TaskState* holder = nullptr);
// True when a member of `task` that starts now at `placement`, beside `earlier` ones that do not
// run yet, delays no reservation that binds it; else *delayed is whose.
bool LeavesReservations(const SchedulerState& state, const TaskState& task,
                        const Placements& earlier, const Placement& placement, Time now,
                        TaskId* delayed);
// What a task that the only reservation binds, and that would run on when that starts, might take
// on one of its nodes: what is free now and not needed then. None: the reservation does not hold
// there, so that nothing is known.
std::optional<NodeState> WhatMayBeShared(const SchedulerState& state, NodeIndex node, Time now);
// False when no member with this demand can take it, wherever on the node.
bool MayShare(const std::optional<NodeState>& room, const NodeCapacity& capacity,
              const Demand& demand);
// Room for a member of `task` on the node, which is the placement's, that no reservation needs
// while it runs.
bool RoomBesideReservations(const SchedulerState& state, const TaskState& task, NodeIndex node,
                            Time now, Placement* placement);

// Choosing victims (victims.cc).

struct Victims {
  struct Victim {
    TaskSlot task = 0;
    Eviction::Cause cause = Eviction::Cause::priority;
  };
  std::vector<Victim> tasks;
  std::vector<Placement> members;  // where the beneficiary fits once they are gone
};
// The tasks to stop so that `task`, which has no claim, fits and its quotas admit it; none when
// that cannot be had by the rules of the policy, or nothing needs to be stopped.
std::optional<Victims> ChooseVictims(const SchedulerState& state, const TaskState& task, Time now);

// Explaining (wait_reason.cc).

std::string QuotaSentence(const SchedulerState& state, const QuotaRefusal& refusal);
// What the shape is short of, on the node that comes nearest; a shortage or a fragmentation.
WaitReason WhatIsShort(const SchedulerState& state, const TaskRequest& request);
// A node where it would fit if it did not refuse what is enforced so weakly; none: nowhere.
std::optional<WaitReason> WhatIsRefused(const SchedulerState& state, const TaskState& task);
// "2 cpu", "16g mem".
std::string FormatAmount(const SchedulerState& state, size_t resource, int64_t amount);

}  // namespace trackbed
