// Why a task is not running, from what is durable: for anybody who can read the store, whoever
// drives it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

enum class TaskSituation : uint8_t {
  ended,          // it has
  running,        // it does
  unknown,        // it did, and its node does not answer
  dependencies,   // those in `waits_for` have not ended
  same_work,      // an equal task, the one in `waits_for`, does its work; it takes the result
  retry,          // its next try is at `until`
  batches,        // as many batches of its map as may be are under way
  cancelling,     // its run is being cancelled
  interrupted,    // nobody drives its run
  shortage,       // too little of `slot` is free …
  fragmentation,  // … or enough, but not together; those in `waits_for` hold some
  quota,          // whom it is for uses all that is allowed
  reserved,       // it would delay `ahead`, for which room is kept until `until`
  order,          // `ahead` is before it, and the policy lets nobody overtake
  next,           // nothing is in its way but those before it
  enforcement,    // it refuses devices enforced as weakly as those that there are
  approval,       // somebody has to approve of it
  preempting,     // those in `waits_for` are being stopped for it
};

// "ended", "running", …
std::string_view ToString(TaskSituation situation);

struct TaskExplanation {
  TaskSituation situation = TaskSituation::next;
  // Of this run "TASK", of others "RUN/TASK".
  std::vector<std::string> waits_for;
  Time until = kNever;
  std::string slot;
  Quantity needed;  // of the slot
  Quantity free;
  std::string ahead;
  size_t before = 0;                       // tasks that ask for the same and go first
  std::optional<Enforcement> enforcement;  // WeakestEnforcement; none also once it has ended
  // When it starts at the latest, if all runs as long as tasks like it did; kNever: not known.
  Time expected_start = kNever;
  std::string sentence;  // the same for people
};

// What keeps a task to its amounts of devices, the weakest of them; none: it asks for no devices.
std::optional<Enforcement> WeakestEnforcement(const std::vector<SlotRequest>& request);

// What of it follows from the state of the run alone: never shortage and fragmentation.
TaskExplanation ExplainState(const RunState& run, TaskIndex task, Time now);

// The accelerators that the latest attempt was given, and what keeps it to that: "0.5 cuda.shares
// of GPU-6f14… (advisory)"; "" for none.
std::string DescribeDevices(const RunState& run, TaskIndex task);

// That its nodes do not answer, and since when: "node two has not answered since 2026-…"; "" where
// they do.
std::string DescribeUnknown(const RunState& run, TaskIndex task);

// As ExplainState, and what the scheduler of the engine that drives the run has to say: it is made
// again from what is stored. `is_gone`, `tenancy`, `policy` and `order` are those of its
// EngineOptions, which it does not store. kNotFound for an unknown run.
StatusOr<TaskExplanation> ExplainTask(Store& store, const RunId& run, TaskIndex task, Time now,
                                      const std::function<bool(const LeaseHolder&)>& is_gone,
                                      const Tenancy& tenancy = Tenancy(),
                                      const GroupPolicy& policy = GroupPolicy(),
                                      Order* order = nullptr);

}  // namespace trackbed
