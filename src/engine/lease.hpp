// The rules of the lease, shared by every store.
#pragma once

#include <functional>

#include "trackbed/engine/store.hpp"

namespace trackbed {

// OK when `lease` may be granted to somebody else at `now`.
Status CheckLeaseIsFree(const Lease& lease, Time now,
                        const std::function<bool(const LeaseHolder&)>& is_gone);

// The error of a commit under a fence that is no longer the lease's.
Status LeaseLost(const Lease& lease);

}  // namespace trackbed
