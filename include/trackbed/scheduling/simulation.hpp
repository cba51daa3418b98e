// What a policy would have done to a workload: the scheduler itself, driven through simulated time.
//
//   TRACKBED_ASSIGN_OR_RETURN(SimulationResult result,
//                             SimulateWorkload(nodes, workload, policy, std::move(placer), {}));
//   result.summary.mean_wait_seconds …
//   WriteSimulationHtml("two weeks in May", result);
//
// Nothing is modelled twice: the decisions are those of the Scheduler that runs the real cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/scheduling/scheduler.hpp"
#include "trackbed/scheduling/workload.hpp"

namespace trackbed {

struct SimulatedNode {
  std::string name;
  NodeCapacity capacity;
};

struct SimulationOptions {
  uint64_t seed = 0;  // decides the order of jobs that are submitted at the same moment
  // An evicted job takes this long to stop. It is then submitted again and runs from its start.
  Duration stop_time{std::chrono::seconds(30)};
  // The scheduler knows how long each job will run, instead of what its owner asked for.
  bool exact_run_times = false;
  // Quotas by the path of the tenant. A tenant that is not named here has none.
  std::map<std::string, Quota> quotas;
  uint64_t recount_every = 0;  // calls Scheduler::Recount after so many events; 0: never
  // Called after each decision; an error ends the simulation.
  std::function<Status(Scheduler&, const Plan&, Time)> observe;
};

struct JobResult {
  Time first_start{};
  Time start{};  // the last one
  Time end{};
  // All the time between submission and end in which it did not advance: in the queue, and running
  // in vain before it was evicted.
  Duration wait{0};
  double slowdown = 1;  // bounded, see below
  uint32_t evictions = 0;
  std::string refused;  // why it was never taken into the queue; then all else is empty
};

struct SimulationSample {
  Time time{};  // holds from here to the next sample
  double cpu_used = 0;
  double devices_used = 0;
  size_t waiting = 0;
  size_t running = 0;
};

struct TenantSummary {
  std::string tenant;
  size_t jobs = 0;
  double mean_wait_seconds = 0;
  double mean_slowdown = 1;
  double device_hours = 0;  // in vain included
  double core_hours = 0;
  uint64_t evictions = 0;
};

struct SimulationSummary {
  size_t jobs = 0;     // that ended
  size_t refused = 0;  // could not run on these nodes or within these quotas
  double mean_wait_seconds = 0;
  double median_wait_seconds = 0;  // the lower one of two
  double p95_wait_seconds = 0;
  // (time from submission to end) / max(run time, 10 s), at least 1: Feitelson, Rudolph, "Metrics
  // and Benchmarking for Parallel Job Scheduling", JSSPP 1998.
  double mean_slowdown = 1;
  double p95_slowdown = 1;
  // Shares of capacity times makespan.
  double cpu_utilisation = 0;
  double device_utilisation = 0;
  double device_unallocated = 0;
  double fragmentation = 0;  // not allocated while a job that wants devices waits
  // Jain's index of the tenants' mean slowdowns: 1 when all are slowed down alike, 1/n at worst.
  double fairness = 1;
  uint64_t evictions = 0;
  double makespan_seconds = 0;  // from the first submission to the last end
  // What the scheduler was asked.
  uint64_t events = 0;
  uint64_t decisions = 0;  // calls of Schedule
};

struct SimulationResult {
  SimulationSummary summary;
  Workload workload;            // as it was simulated
  std::vector<JobResult> jobs;  // in the same order
  std::vector<SimulationSample> samples;
  std::vector<TenantSummary> tenants;  // by name
  double cpu_capacity = 0;             // cores
  double device_capacity = 0;
  // By the clock, of the scheduler alone. The only thing here that differs from run to run; no
  // writer below writes it.
  double scheduler_seconds = 0;
};

// The same nodes, jobs, policy, placer and options give the same result. kInvalidArgument for a
// node, job, tenant or quota that makes no sense; kInternal when the scheduler miscounts or leaves
// a job waiting for ever.
StatusOr<SimulationResult> SimulateWorkload(const std::vector<SimulatedNode>& nodes,
                                            const Workload& workload, const GroupPolicy& policy,
                                            std::unique_ptr<Placer> placer,
                                            const SimulationOptions& options);

// One line a job: "job,tenant,submitted,first_start,start,end,wait_seconds,…".
std::string WriteSimulationCsv(const SimulationResult& result);
// A page that stands alone: no script, nothing to fetch.
std::string WriteSimulationHtml(std::string_view title, const SimulationResult& result);

}  // namespace trackbed
