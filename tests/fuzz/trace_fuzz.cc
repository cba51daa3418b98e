// Feeds the readers of traces and workloads. The first byte chooses the form: nodes or tasks of
// openb, philly, sacct, YAML. Nothing may crash or hang, and what is accepted is in range.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.hpp"
#include "trackbed/scheduling/trace_openb.hpp"
#include "trackbed/scheduling/workload.hpp"

namespace {

void CheckDemand(const trackbed::Demand& demand) {
  Require(demand.cpu >= 0 && demand.memory >= 0, "a negative amount");
  Require(demand.whole_devices >= 0 && demand.whole_devices <= trackbed::kMaxDevices,
          "whole devices out of range");
  Require(demand.share >= 0 && demand.share < trackbed::kWholeDevice, "a share out of range");
}

void CheckWorkload(const trackbed::Workload& workload, const trackbed::Diagnostics& diagnostics) {
  if (diagnostics.has_errors()) {
    Require(!diagnostics.ToString().empty(), "errors without a text");
    return;
  }
  trackbed::Time last{};
  for (const trackbed::Job& job : workload.jobs) {
    CheckDemand(job.demand);
    Require(!job.name.empty() && job.members >= 1, "a job without a name or members");
    Require(job.submitted >= last, "jobs are not by time of submission");
    Require(job.run_time >= trackbed::Duration{0} && job.requested >= trackbed::Duration{0},
            "a negative run time");
    last = job.submitted;
  }
}

constexpr char kNodes[] =
    "sn,cpu_milli,memory_mib,gpu,model\na,64000,1000,8,T4\nb,8000,10,1,P100\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  trackbed::Diagnostics diagnostics("w");
  trackbed::ReaderLimits limits;
  limits.max_nodes = 10'000;
  switch (data[0] % 5) {
    case 0:
      if (const auto nodes = trackbed::openb::ReadNodes(text, "n"); nodes.ok()) {
        trackbed::Cluster cluster;
        for (const auto& node : nodes->nodes) {
          Require(cluster.AddNode(node.capacity).ok(), "a node that no cluster takes");
        }
      }
      break;
    case 1: {
      const auto nodes = trackbed::openb::ReadNodes(kNodes, "n");
      if (const auto tasks = trackbed::openb::ReadTasks(text, "t", *nodes); tasks.ok()) {
        for (const auto& task : *tasks) CheckDemand(task.demand);
        trackbed::openb::MixOf(*tasks);
      }
      break;
    }
    case 2:
      CheckWorkload(trackbed::ReadPhillyWorkload(text, &diagnostics), diagnostics);
      break;
    case 3:
      CheckWorkload(trackbed::ReadSacctWorkload(text, &diagnostics), diagnostics);
      break;
    default:
      CheckWorkload(trackbed::ReadYamlWorkload(text, &diagnostics, limits), diagnostics);
  }
  return 0;
}
