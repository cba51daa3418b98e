// The scheduler behind the interface, and what resource groups share with it.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common.hpp"
#include "ports.hpp"
#include "trackbed/scheduling/scheduler.hpp"
#include "trackbed/scheduling/tenancy.hpp"

namespace trackbed::capi {

// The ports of the host's that a scheduler owns; null: ours.
struct HostPorts {
  HostPlacer* placer = nullptr;
  HostOrder* order = nullptr;

  // The library owns them from here on.
  void Keep() const {
    if (placer != nullptr) placer->port.Keep();
    if (order != nullptr) order->port.Keep();
  }
  // What went wrong in one of them since this was asked last.
  Status TakeFailure() const {
    Status failure = placer == nullptr ? absl::OkStatus() : placer->TakeFailure();
    Status other = order == nullptr ? absl::OkStatus() : order->TakeFailure();
    return failure.ok() ? other : failure;
  }
};

// Combinations of counted resources that tasks ask for, to which their demands refer.
class CountedShapes {
 public:
  // The same place for equal amounts; null for nothing.
  const CountedAmounts* Find(const CountedAmounts& amounts) {
    return amounts == CountedAmounts{} ? nullptr : &*kept_.insert(amounts).first;
  }

 private:
  std::set<CountedAmounts> kept_;  // stays where it is
};

}  // namespace trackbed::capi

struct trackbed_scheduler {
  trackbed::capi::CountedShapes counted;     // outlives `owned`
  trackbed::Scheduler* scheduler = nullptr;  // `owned`, or one of the resource groups
  std::unique_ptr<trackbed::Scheduler> owned;
  trackbed::capi::HostPorts host;         // of `scheduler`
  std::vector<int32_t> device_resources;  // of the nodes that were added here
};

namespace trackbed::capi {

// `host` gets the ports of the host's that the options have, which they own.
StatusOr<SchedulerOptions> ReadSchedulerOptions(const trackbed_scheduler_options* given,
                                                HostPorts* host);
StatusOr<GroupPolicy> ReadPolicy(const trackbed_scheduler_options& read);
StatusOr<NodeCapacity> ReadCapacity(const trackbed_node_capacity* given, uint8_t* device_resource);
// The request refers to `counted`.
StatusOr<TaskRequest> ReadTask(const trackbed_task* given, CountedShapes* counted);
StatusOr<Quota> ReadQuota(const trackbed_quota* given);
StatusOr<WorkKind> ReadWorkKind(int32_t kind);
// `reason`, which has been checked, and `sentence` may be null.
Status GivePrediction(const Prediction& prediction, int64_t now_ns, int64_t* start_ns,
                      trackbed_wait_reason* reason, trackbed_bytes* sentence);

}  // namespace trackbed::capi
