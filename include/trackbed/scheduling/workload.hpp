// The jobs of a simulation: read from traces, or made from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

struct Job {
  std::string name;  // unique
  Time submitted{};
  Duration run_time{0};   // that it really runs
  Duration requested{0};  // that its owner asked for; 0: nothing is known
  std::string tenant;     // "research/vision/ada"; "" for the root
  int32_t priority = 0;
  Demand demand;  // of each member
  uint32_t members = 1;
  bool on_different_nodes = false;
  bool preemptible = true;
};

struct Workload {
  std::vector<Job> jobs;  // by time of submission
};

// What MakeWorkload draws from. The defaults look like a shared cluster for machine learning: most
// jobs are small and short, most device hours belong to few.
struct WorkloadMix {
  size_t jobs = 1000;
  size_t tenants = 8;                          // named "team0/user0" and so on, two users a team
  Duration between{std::chrono::seconds(30)};  // submissions, on average
  Duration median_run_time{std::chrono::minutes(15)};  // log-normal
  double run_time_octaves = 2.5;                       // one standard deviation, in doublings
  int devices_per_node = 8;                            // a gang asks for whole nodes of so many
  int fractional = 50;                                 // percent of the jobs: a share of one device
  int whole = 25;                                      // percent: one to four whole devices
  int gangs = 5;                                       // percent; the rest asks for no device
  uint32_t largest_gang = 8;                           // members
  int32_t priorities = 3;                              // 0 to 2; the higher, the rarer
};

// Follows from the mix and the seed alone, on every machine.
Workload MakeWorkload(const WorkloadMix& mix, uint64_t seed);

}  // namespace trackbed
