// What a scheduler knows, and the parts of its work that only look at it: looking ahead in time,
// choosing victims, explaining.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "scheduling/node_room.hpp"
#include "trackbed/scheduling/run_time_history.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

using TaskSlot = uint32_t;  // where a task lies; used again after it has gone
using ShapeIndex = uint32_t;
using LineIndex = uint32_t;

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
  Time submitted{};
  Time started{};
  Duration expected{0};
  bool known = false;  // the slot is in use
  bool running = false;
  bool stopping = false;                  // evicted; its end is awaited
  Placements members;                     // while it runs
  absl::InlinedVector<uint32_t, 1> lost;  // members whose node is gone
  Time lost_at{};
};

// Tasks alike in all that decides where and when they fit. If one finds no room, none does.
struct Shape {
  Demand demand;
  uint32_t members = 1;
  bool on_different_nodes = false;
  Duration expected{0};
  bool no_room = false;    // nowhere now; a node with more room may change it
  bool held_back = false;  // by a reservation
  size_t waiting = 0;      // tasks; a shape of none is used again for another
  std::vector<LineIndex> lines;
};

// The waiting tasks of one tenant and one shape.
struct Line {
  TenantIndex tenant = kRootTenant;
  ShapeIndex shape = 0;
  std::set<std::pair<Rank, TaskSlot>> tasks;
  std::optional<Rank> active;  // its key among the tenant's active lines, while it is one
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
        resources(std::move(options.resources)) {}

  GroupPolicy policy;
  Tenancy tenancy;
  std::unique_ptr<Placer> placer;
  std::vector<std::string> resources;
  Cluster cluster;
  std::vector<std::string> node_names;
  std::vector<uint8_t> node_resource;          // what the devices of each node count as
  std::vector<std::vector<TaskSlot>> on_node;  // running tasks, once for each member there
  std::deque<TaskState> tasks;
  absl::flat_hash_map<TaskId, TaskSlot> by_id;
  std::vector<Reservation> reservations;  // claims first, then as the queue is ordered
  uint64_t stops = 0;                     // tasks that were told to stop
  RunTimeHistory history;

  Amounts Charge(const TaskRequest& request) const;

  // When a running task ends, as far as is known; later than `now` unless it is stopping.
  Time ExpectedEnd(const TaskState& task, Time now) const;

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

// When members of one task would fit on each node: kept from one look to the next, so that only
// nodes where something has changed, or ran longer than expected, are looked at again.
struct LookAhead {
  using Member = std::tuple<Time, NodeIndex, uint32_t>;          // the number is that on the node
  uint64_t seen = 0;                                             // changes of the cluster
  uint64_t stops = 0;                                            // as SchedulerState::stops
  std::vector<std::vector<std::pair<Time, Placement>>> on_node;  // Time::min(): at once
  std::set<Member> earliest;                                     // of all nodes
  std::vector<Time> expires;  // of each node; kNever: not by time
  std::set<std::pair<Time, NodeIndex>> expiring;
};

// The earliest time at which all members of the task would fit, and where, if all runs as long as
// expected and the reservations that bind it are kept. None: never, on these nodes. *kept is empty
// or from an earlier call for the same task.
std::optional<Reservation> EarliestStart(const SchedulerState& state, const TaskState& task,
                                         Time now, LookAhead* kept);
// True when a member of `task` that starts now at `placement`, beside `earlier` ones that do not
// run yet, delays no reservation that binds it; else *delayed is whose.
bool LeavesReservations(const SchedulerState& state, const TaskState& task,
                        const Placements& earlier, const Placement& placement, Time now,
                        TaskId* delayed);
// Room for a member of `task` on the node that no reservation needs while it runs.
bool RoomBesideReservations(const SchedulerState& state, const TaskState& task, NodeIndex node,
                            Time now, Placement* placement);

// Choosing victims (victims.cc).

struct Victims {
  std::vector<TaskSlot> tasks;
  std::vector<Placement> members;  // where the beneficiary fits once they are gone
  Eviction::Cause cause = Eviction::Cause::priority;
};
// The tasks to stop so that `task` fits; none when that cannot be had by the rules of the policy.
std::optional<Victims> ChooseVictims(const SchedulerState& state, const TaskState& task, Time now);
// The tasks to stop so that the quota that refuses `task` admits it: borrowers below the tenant
// whose limit is reached. None when the task would itself borrow, or that is not enough.
std::optional<Victims> ChooseQuotaVictims(const SchedulerState& state, const TaskState& task,
                                          const QuotaRefusal& refusal, Time now);

// Explaining (wait_reason.cc).

std::string QuotaSentence(const SchedulerState& state, const QuotaRefusal& refusal);
// What the shape is short of, on the node that comes nearest; a shortage or a fragmentation.
WaitReason WhatIsShort(const SchedulerState& state, const TaskRequest& request);
// "2 cpu", "16g mem".
std::string FormatAmount(const SchedulerState& state, size_t resource, int64_t amount);

}  // namespace trackbed
