// The scheduler behind the interface, and what resource groups share with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common.hpp"
#include "ports.hpp"
#include "trackbed/scheduling/scheduler.hpp"
#include "trackbed/scheduling/tenancy.hpp"

struct trackbed_scheduler {
  trackbed::Scheduler* scheduler = nullptr;  // `owned`, or one of the resource groups
  std::unique_ptr<trackbed::Scheduler> owned;
  trackbed::capi::HostPlacer* host_placer = nullptr;  // of `scheduler`; null: one of ours
  std::vector<int32_t> device_resources;              // of the nodes that were added here
};

namespace trackbed::capi {

// `host_placer` gets the placer of the host's that the options have, which they own.
StatusOr<SchedulerOptions> ReadSchedulerOptions(const trackbed_scheduler_options* given,
                                                HostPlacer** host_placer);
StatusOr<GroupPolicy> ReadPolicy(const trackbed_scheduler_options& read);
StatusOr<NodeCapacity> ReadCapacity(const trackbed_node_capacity* given, uint8_t* device_resource);
StatusOr<TaskRequest> ReadTask(const trackbed_task* given);
StatusOr<Quota> ReadQuota(const trackbed_quota* given);
StatusOr<WorkKind> ReadWorkKind(int32_t kind);
// `reason`, which has been checked, and `sentence` may be null.
Status GivePrediction(const Prediction& prediction, int64_t now_ns, int64_t* start_ns,
                      trackbed_wait_reason* reason, trackbed_bytes* sentence);

}  // namespace trackbed::capi
