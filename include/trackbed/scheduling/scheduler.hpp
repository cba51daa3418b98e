// The scheduler of one resource group: which waiting task starts next, and where.
//
//   Scheduler scheduler(std::move(options));
//   scheduler.AddNode("g1", capacity);
//   TRACKBED_RETURN_IF_ERROR(scheduler.Submit(task, now));
//   for (const Start& start : scheduler.Schedule(now).starts) …        // start it there
//   scheduler.Finish(task.id, later);                                  // its room is free again
//   scheduler.Explain(task.id, now).sentence;                          // why it still waits
//
// What Schedule decides is counted as done: a task it starts holds its room until Finish. It reads
// no clock and no random number; the same calls give the same decisions on every machine. State is
// kept up to date by what changes, never rebuilt: after one Finish, only what may now fit is looked
// at. Not thread-safe.
//
// A gang starts whole or not at all. Nothing holds room without running, but for a claim: room that
// tasks told to stop are giving up for the task that had them stopped.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/scheduling/cluster.hpp"
#include "trackbed/scheduling/enforcement.hpp"
#include "trackbed/scheduling/order.hpp"
#include "trackbed/scheduling/placer.hpp"
#include "trackbed/scheduling/tenancy.hpp"

namespace trackbed {

using TaskId = uint64_t;  // given by the host; not used again while the task is known

enum class WorkKind : uint8_t { interactive, batch, inference, system };

// One task, or a gang of equal members.
struct TaskRequest {
  TaskId id = 0;
  TenantIndex tenant = kRootTenant;
  int32_t priority = 0;  // higher goes first, whatever the order
  WorkKind kind = WorkKind::batch;
  Demand demand;                                   // of each member
  uint8_t device_resource = kFirstDeviceResource;  // what its devices count as in quotas
  uint32_t members = 1;
  bool on_different_nodes = false;  // no two members on one node
  bool preemptible = true;          // may be stopped for others, as the policy allows
  // Devices and counted resources that are enforced more weakly are refused.
  Enforcement at_least = Enforcement::accounting;
  Duration run_time{0};  // expected; 0: learned from `history`, or the policy's default
  uint64_t history = 0;  // tasks that run about equally long share a number; 0: none
  Time not_before{};
  // Where its inputs lie: of nodes that have room, a placer may prefer these. It never waits for
  // one.
  std::vector<LocalData> data;
};

enum class QueueOrder : uint8_t {
  fifo,        // who came first
  lifo,        // who came last; the first ones may starve, which is what was asked for
  drf,         // whose tenant has the smallest dominant share, at each level of the tree
  fair_share,  // whose tenant has used least, past use fading, at each level of the tree
};

enum class Backfill : uint8_t {
  strict,        // nobody overtakes a task that found no room
  any,           // whatever fits may overtake; large tasks may starve
  easy,          // who overtakes must not delay the first task that found no room
  conservative,  // … nor any that did, up to reservation_depth
};

struct GroupPolicy {
  QueueOrder order = QueueOrder::fifo;
  Backfill backfill = Backfill::easy;
  uint32_t reservation_depth = 64;
  // Waiting this long counts as one step of priority, so that nothing starves; 0: it does not.
  // Not for lifo.
  Duration ageing = std::chrono::hours(1);
  bool preempt_by_priority = false;  // a task may stop others of strictly lower priority
  bool reclaim = false;              // a tenant below its guarantee may stop work of borrowers
  Duration minimum_run_time{0};      // nothing is stopped before it ran this long
  Duration default_run_time = std::chrono::hours(1);  // where nothing is known
  Duration gang_grace = std::chrono::minutes(10);     // how long a gang may wait for a lost member
  // How long a claim waits for what was told to stop.
  Duration claim_time = std::chrono::minutes(10);
  uint8_t kinds = 0xff;  // the set of WorkKind that may run here: bit k stands for kind k
};

struct SchedulerOptions {
  GroupPolicy policy;
  // Tenants known from the start.
  Tenancy tenancy;
  std::unique_ptr<Placer> placer;  // must be given
  // The host's own, in place of the policy's order, of priority and of ageing; null: these.
  std::unique_ptr<Order> order;
  // Names for sentences: of resources, by number ("cpu", "mem", "cuda.shares", …).
  std::vector<std::string> resources = {"cpu", "mem"};
  EnforcementTable enforcement;
  // Looks at all that waits, anew, in each Schedule: the same plans, slowly. For tests.
  bool scan = false;
};

using Placements = absl::InlinedVector<Placement, 1>;  // of the members, in order

struct Start {
  TaskId task = 0;
  Placements members;
  // Of the devices and counted resources that it got, the weakest; none: it got none.
  std::optional<Enforcement> enforcement;
};

// `victim` is to be stopped; report its end with Finish. To run it again, submit it again.
struct Eviction {
  enum class Cause : uint8_t { priority, reclaim };
  TaskId victim = 0;
  TaskId beneficiary = 0;
  Cause cause = Cause::priority;
};

// A gang that lost members has new places for them.
struct Repair {
  TaskId task = 0;
  uint32_t member = 0;
  Placement placement;
};

struct Plan {
  std::vector<Start> starts;
  std::vector<Eviction> evictions;
  std::vector<Repair> repairs;
  std::vector<TaskId> released;  // crippled gangs whose grace is over: stop what is left of them
  // Call Schedule again at this time even if nothing happens; kNever: no need.
  Time next = kNever;
};

// Why a task waits, for programs; `sentence` says the same to people.
struct WaitReason {
  enum class Rule : uint8_t {
    none,           // it does not wait
    not_yet,        // `until` has not come
    quota,          // `refusal` says which and where
    shortage,       // there is less free than it needs, in all
    fragmentation,  // enough is free in all, but not together
    reserved,       // it would delay `ahead`, for which the room is kept until `until`
    strict_order,   // `ahead` is before it and nobody overtakes
    claiming,       // the tasks that make room for it are stopping
    next,           // nothing is in its way: the next Schedule starts it
    enforcement,    // it would fit, but on devices only that are enforced more weakly than it asks
  };
  Rule rule = Rule::none;
  size_t resource = 0;    // what is short
  int64_t needed = 0;     // of it, by one member
  int64_t available = 0;  // the most that is free together, or in all for a shortage
  NodeIndex node = 0;     // where that is
  bool has_node = false;
  QuotaRefusal refusal;
  TaskId ahead = 0;
  Time until = kNever;
  // When it will start at the latest, if all run as long as expected; kNever: not known.
  Time expected_start = kNever;
  std::string sentence;
};

struct Prediction {
  bool starts_now = false;
  Time start = kNever;  // the earliest time that it would start; kNever: never on these nodes
  Placements members;   // when it starts now
  std::optional<Enforcement> enforcement;  // as Start's, when it starts now
  WaitReason reason;                       // when it does not
};

// Nodes as they might be.
struct WhatIf {
  struct Node {
    std::string name;
    NodeCapacity capacity;
  };
  std::vector<Node> added;         // numbered on from those that there are
  std::vector<NodeIndex> drained;  // closed to what is new
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Nodes. Names are unique: kAlreadyExists. `device_resource` is what its devices count as.
  StatusOr<NodeIndex> AddNode(std::string name, const NodeCapacity& capacity,
                              uint8_t device_resource = kFirstDeviceResource);
  // Nothing new is placed there; what runs goes on.
  void DrainNode(NodeIndex node);
  // The node is gone, with all that ran there. Single tasks among it end (their ids are returned);
  // a gang keeps its other members' room for the grace of the policy while a place for the lost
  // ones is looked for.
  std::vector<TaskId> LoseNode(NodeIndex node, Time now);
  // The node takes new tasks (again). Draining or opening a node that there is not does nothing.
  void OpenNode(NodeIndex node);

  // Tenants and quotas: errors as Tenancy's. What waits for a quota is looked at again.
  StatusOr<TenantIndex> AddTenant(TenantIndex parent, std::string name, const Quota& quota);
  Status SetQuota(TenantIndex tenant, const Quota& quota);
  const Tenancy& tenancy() const;

  // Adds a task to the queue. kAlreadyExists for a known id; kInvalidArgument for a demand that
  // makes no sense or a kind of work that the group does not take; kResourceExhausted when it
  // could not run on the empty nodes, or a quota could never admit it: the message says which;
  // kFailedPrecondition when it could, but only on what is enforced more weakly than it asks.
  Status Submit(const TaskRequest& task, Time now);
  // Counts a task as running there: rebuilds the state after a restart. kFailedPrecondition, with
  // nothing changed, when the room is not free.
  Status Restore(const TaskRequest& task, const Placements& members, Time started, Time now);
  // Counts a task as running where there is no room to count: on a node that was taken away, or in
  // room that others have. It counts for its tenant, and nobody is told to stop it.
  Status RestoreElsewhere(const TaskRequest& task, Time started, Time now);
  // A running task is being stopped already, whoever had it stopped before a restart: nobody else
  // is for the room that it leaves. kNotFound.
  Status Stopping(TaskId task);
  // Takes a task out: a waiting one is withdrawn, a running one has ended. kNotFound.
  Status Finish(TaskId task, Time now);

  // Decides all that can be decided now; once there are `most` starts, those behind are left to the
  // next call, with what has been submitted until then.
  Plan Schedule(Time now, size_t most = SIZE_MAX);

  // Why the task waits; Rule::none when it runs or is not known.
  WaitReason Explain(TaskId task, Time now);
  // What would become of a task if it were submitted now; nothing is changed. Errors as Submit's.
  StatusOr<Prediction> Predict(const TaskRequest& task, Time now);
  // The same if nodes were added or drained. The answer is by first fit: the placer has learned the
  // nodes that there are and is not asked about others. Errors also as AddNode's, and kNotFound for
  // a node to drain that there is not. The first such question costs as much as looking at each
  // node anew.
  StatusOr<Prediction> Predict(const TaskRequest& task, const WhatIf& what_if, Time now);

  bool IsWaiting(TaskId task) const;
  // Whose task it is; none when it is not known.
  std::optional<TenantIndex> TenantOf(TaskId task) const;
  // Where a running task is; null when it does not run.
  const Placements* Find(TaskId task) const;
  size_t waiting() const;
  size_t running() const;
  const Cluster& cluster() const;
  const std::string& NodeName(NodeIndex node) const;

  // Recounts everything that is derived from the running tasks (room, quotas) and compares; the
  // first difference, or OK. For tests and simulations.
  Status Recount() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trackbed
