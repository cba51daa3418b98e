// The jobs of a simulation: read from traces, or made from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/reader.hpp"
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

// Traces are CSV files whose first line names the columns, in any order; columns that are not named
// here are ignored. Fields may be quoted ("…", a quote in it doubled). All that is wrong goes to
// *diagnostics with its place, as far as it can be told apart; the result is of use only when
// !diagnostics->has_errors(). Amounts are whole numbers unless said otherwise, never negative.
//
// philly: one line a job, as the traces of the Philly cluster are usually flattened (Jeon et al.,
// "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads", USENIX ATC 2019).
//   job            its name, unique
//   vc, user       the tenant is "vc/user"; either may be empty
//   submitted      2026-05-01T10:00:00Z, with a blank for the T and without the Z as well, or
//                  seconds since 1970
//   run_seconds    that it ran; decimals allowed
//   gpus           of the whole job; decimals allowed below 1 ("0.5")
// and, if there:
//   requested_seconds, priority (may be negative), cpus and memory_gib (of the whole job),
//   members        how many equal parts gpus, cpus and memory are divided into; 1 without it
//
// sacct: what `sacct --allocations --parsable2 --delimiter=,` prints
// (slurm.schedmd.com/sacct.html). Steps ("12.batch") and jobs that never started (Start Unknown)
// are left out.
//   JobID, User, Account        the tenant is "Account/User"
//   Submit, Start, End          2026-05-01T10:00:00; read as UTC
//   Timelimit                   [days-]hours:minutes:seconds; UNLIMITED, Partition_Limit: nothing
//   ReqCPUS                     of the whole job
//   AllocTRES, or ReqTRES or ReqGRES where it is empty or missing
//                               "gres/gpu=4", "gpu:4", "gpu:a100:4" among others: of the whole job
// and, if there:
//   ReqMem                      "4000M", "2.5G"; with "n" or without a suffix for each node, with
//                               "c" for each cpu
//   ReqNodes                    members, on different nodes; 1 without it
//   Priority                    slurm's, as it is
Workload ReadPhillyWorkload(std::string_view text, Diagnostics* diagnostics);
Workload ReadSacctWorkload(std::string_view text, Diagnostics* diagnostics);

// Workloads written by hand, YAML or JSON:
//
//   jobs:
//   - name: train                # needed, unique
//     run_time: 2h               # needed; that it really runs
//     submitted: 5m              # after the workload begins; 0 without it
//     requested: 4h              # that its owner asked for; nothing is known without it
//     tenant: research/ada       # the root without it
//     priority: 1
//     resources: {cpu: 2, mem: 16g, devices: 0.5}   # of each member
//     members: 2                 # of a gang; 1 without it
//     on_different_nodes: true
//     preemptible: false         # true without it
//     count: 10                  # so many alike, train-0 to train-9,
//     every: 30s                 # one after the other; all at once without it
//
// An unknown field is a mistake. At most a million jobs.
Workload ReadYamlWorkload(std::string_view text, Diagnostics* diagnostics,
                          const ReaderLimits& limits = {});

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
