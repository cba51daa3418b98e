#include "engine/lease.hpp"

#include <absl/strings/str_cat.h>

#include <utility>

#include "trackbed/engine/store.hpp"

namespace trackbed {

std::string LeaseHolder::ToString() const {
  return absl::StrCat(description.empty() ? "an engine" : description, ", process ", process,
                      " on host ", host.empty() ? "?" : host);
}

Status CheckLeaseIsFree(const Lease& lease, Time now,
                        const std::function<bool(const LeaseHolder&)>& is_gone) {
  if (lease.fence == 0 || lease.expires <= now) return absl::OkStatus();
  if (is_gone && is_gone(lease.holder)) return absl::OkStatus();
  return FailedPrecondition(absl::StrCat("the store is held by ", lease.holder.ToString(),
                                         " (lease until ", FormatTime(lease.expires), ")"));
}

Status LeaseLost(const Lease& lease) {
  return FailedPrecondition(absl::StrCat("this engine has lost the store: it is now held by ",
                                         lease.holder.ToString(), "; nothing was written"));
}

void Batch::clear() {
  runs.clear();
  events.clear();
  status_changes.clear();
  cache_entries.clear();
  requests_done.clear();
  lease_until.reset();
  lease_node.reset();
}

Status Store::ReadSomeEvents(int64_t run, uint64_t from, size_t limit,
                             const std::function<void(uint64_t, Event)>& visit) {
  return ReadEvents(run, from, [&](uint64_t sequence, Event event) {
    if (limit == 0) return;
    --limit;
    visit(sequence, std::move(event));
  });
}

}  // namespace trackbed
