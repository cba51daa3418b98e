// What people decide about tasks that wait for approval (pipeline.hpp, Approval).
//
// Whoever holds an engine says it there (Engine::Decide); anybody else posts it to the store, and
// the engine that holds the lease takes it up. A decision is an event of the run: it survives
// whatever happens next, and there is one for each time that the task asks. Trackbed does not prove
// who somebody is: `by` is what the caller says, and who may write the store may say anything.
#pragma once

#include <string_view>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {

inline constexpr size_t kMaxDeciderSize = 256;  // bytes
inline constexpr size_t kMaxCommentSize = 16 * 1024;

// Whether it can be decided so now. kInvalidArgument: `by` or `comment` is empty, too long, or not
// UTF-8; kFailedPrecondition: the task does not wait for approval, or not for that of `by`.
Status CheckDecision(const RunState& run, TaskIndex task, const ApprovalDecided& decision);

// Asks the engine that drives the run for it, and returns what it was asked. Errors as
// CheckDecision, and the store's. What has become of it by the time that the engine looks, the run
// says: RunState::Decision.
StatusOr<Request> PostDecision(Store& store, const StoredRun& run, TaskIndex task,
                               const ApprovalDecided& decision, Time now);

}  // namespace trackbed
