// What Start, Adopt and Observe of every executor have in common: an attempt is looked for where an
// earlier executor may have left it, and one that is given up is never started by anybody.
#pragma once

#include <absl/functional/function_ref.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "executors/attempt_records.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

// kFailedPrecondition in a child that fork() made of the process `owner`.
Status CheckOwner(pid_t owner);

// Claims the attempt for nobody: 0, or errno; EEXIST when somebody was first.
int ClaimForNobody(const AttemptKey& key, const std::string& folder);

// OK when the claim is the attempt's own. kFailedPrecondition when it is another's; kNotFound when
// it says that the attempt was given up.
Status CheckClaim(const ClaimRecord& claim, const AttemptKey& key, const std::string& folder);

// Begins to watch what an attempt's folder, which is there, says was started; `nothing` when it
// says nothing, kNotFound when it says that the attempt was given up.
enum class Found : uint8_t { nothing, something };
using WatchExistingAttempt = absl::FunctionRef<StatusOr<Found>()>;

// For Start: what is there already. kFailedPrecondition when the attempt was given up.
StatusOr<Found> FindStarted(const std::string& folder, WatchExistingAttempt watch_existing);
// Executor::Adopt: kNotFound gives the attempt up, by a claim that nobody holds.
Status AdoptOrGiveUp(const AttemptKey& key, const std::string& folder,
                     WatchExistingAttempt watch_existing);
// Executor::Observe: kNotFound leaves everything as it is.
Status ObserveStarted(const AttemptKey& key, const std::string& folder,
                      WatchExistingAttempt watch_existing);

}  // namespace trackbed
