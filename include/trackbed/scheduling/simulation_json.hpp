// The results of simulations as JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trackbed/scheduling/simulation.hpp"
#include "trackbed/scheduling/trace_openb.hpp"

namespace trackbed {

// What the runs were made of, to be told with the result.
struct PlacementInput {
  std::string policy;
  std::string nodes;  // names of files
  std::string workload;
  double inflate = 1.3;
};
// Each run, and the mean and deviation over the seeds; indented.
std::string PlacementRunsToJson(const PlacementInput& input, const std::vector<openb::Run>& runs);

// Summary, tenants and jobs; indented.
std::string SimulationToJson(const SimulationResult& result);

}  // namespace trackbed
