// The openb traces of GPU clusters, and the placement benchmark of the paper they came with (Weng
// et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with FGD", USENIX ATC 2023).
//
// Nodes: CSV with the columns sn, cpu_milli, memory_mib, gpu, model. Workload: name, cpu_milli,
// memory_mib, num_gpu, gpu_milli and, if there, gpu_spec; other columns are ignored. Timestamps are
// not used: the benchmark fills an empty cluster with tasks that stay.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/scheduling/mix.hpp"
#include "trackbed/scheduling/placer.hpp"

namespace trackbed::openb {

struct Node {
  std::string name;
  NodeCapacity capacity;
};

struct Task {
  std::string name;
  Demand demand;
};

// Models of devices are numbered by the nodes that have them.
struct Nodes {
  std::vector<Node> nodes;          // sorted by name
  std::vector<std::string> models;  // by device kind
};

// Those with devices only, as in the published runs. `origin` is the name of the file, for errors:
// "ORIGIN:LINE:COLUMN: what was found, what was expected", kInvalidArgument.
StatusOr<Nodes> ReadNodes(const std::string& text, const std::string& origin);
// Sorted by name.
StatusOr<std::vector<Task>> ReadTasks(const std::string& text, const std::string& origin,
                                      const Nodes& nodes);

// What is expected to come: what fgd calls typical pods is derived from it.
Mix MixOf(const std::vector<Task>& tasks);

// The columns of the result: load that has arrived, in percent of all devices.
inline constexpr int kFirstLoad = 50;
inline constexpr int kLastLoad = 130;
inline constexpr int kLoadStep = 5;
inline constexpr int kLoads = (kLastLoad - kFirstLoad) / kLoadStep + 1;
constexpr int LoadAt(size_t column) { return kFirstLoad + static_cast<int>(column) * kLoadStep; }

// What dropped tasks are told apart by.
inline constexpr std::array<const char*, 4> kShapes = {"without devices", "a share", "one device",
                                                       "several devices"};

struct Run {
  uint64_t seed = 0;
  // Percent of devices allocated when kFirstLoad + i * kLoadStep percent had arrived: the mean over
  // the arrivals after which the load rounds to that, of the next ones before or after if there is
  // none.
  std::array<double, kLoads> allocated{};
  uint64_t arrived = 0;
  uint64_t dropped = 0;
  std::array<uint64_t, kShapes.size()> dropped_shapes{};
  uint64_t migrated = 0;  // tasks that were moved to another node
  // Of the devices left at the end, in percent of all: whole ones, and of nodes without cpu left.
  double left_whole = 0;
  double left_without_cpu = 0;
  double seconds = 0;  // of the decisions, by the clock
};

struct Statistic {
  double mean = 0;
  double deviation = 0;  // of a sample; 0 of one
};

// Of value(run) over the runs.
template <typename Value>
Statistic StatisticOf(const std::vector<Run>& runs, Value&& value) {
  Statistic result;
  const auto count = static_cast<double>(runs.size());
  for (const Run& run : runs) result.mean += static_cast<double>(value(run)) / count;
  if (runs.size() < 2) return result;
  double squares = 0;
  for (const Run& run : runs) {
    squares += std::pow(static_cast<double>(value(run)) - result.mean, 2);
  }
  result.deviation = std::sqrt(squares / (count - 1));
  return result;
}

struct Setup {
  Nodes nodes;
  std::vector<Task> tasks;
  double inflate = 1.3;  // load that arrives, in units of all devices
  // Tasks that may be moved to make room for what does not fit: so many for each 1,000 that have
  // arrived. One is moved where that is enough.
  uint64_t migrations = 0;
};

// The nodes and the arrivals in the order that a seed gives them.
Cluster OrderNodes(const Nodes& nodes, uint64_t seed);
std::vector<Demand> OrderArrivals(const Setup& setup, uint64_t seed);

// Places each arrival, or drops it when it does not fit; nothing ends. kInternal when the placer
// chooses what is not free.
StatusOr<Run> Simulate(const Setup& setup, uint64_t seed, Placer* placer);

}  // namespace trackbed::openb
