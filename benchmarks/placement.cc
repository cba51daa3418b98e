// What one decision of placement costs: decisions a second of each policy at several sizes of
// cluster, near saturation, beside a scan that rescores every node for every decision.
//
//   placement [--quick] [--json FILE] [--openb FOLDER]
//
// Without --openb the mix is built in. Both make the same choices; that is checked.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "measure.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/trace_openb.hpp"

namespace trackbed::benchmark {
namespace {

constexpr int kDevices = 8;
// A task that finds no room is dropped; above this, others end first.
constexpr double kAimedLoad = 0.95;

struct Options {
  bool quick = false;
  std::string json;
  std::string openb;
};

[[noreturn]] void Die(std::string_view message) {
  std::fprintf(stderr, "placement: %.*s\n", static_cast<int>(message.size()), message.data());
  std::exit(1);
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Die("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Tasks on devices of many sizes, few of them large, some without any.
Mix BuiltInMix() {
  Mix mix;
  const auto add = [&](double weight, int64_t cpu, int whole, int share) {
    Demand demand;
    demand.cpu = cpu;
    demand.whole_devices = static_cast<int16_t>(whole);
    demand.share = static_cast<int16_t>(share);
    mix.push_back({demand, weight});
  };
  for (const int64_t cpu : {4000, 8000, 11'000, 12'000, 16'000}) add(9, cpu, 1, 0);
  for (const int share : {50, 110, 160, 230, 320, 370, 470, 550, 590, 650, 810}) {
    for (const int64_t cpu : {2000, 4000, 6000, 8000}) add(share == 810 ? 3.4 : 0.7, cpu, 0, share);
  }
  for (const int64_t cpu : {1000, 4000, 8000, 16'000}) add(3, cpu, 0, 0);
  for (const int whole : {2, 4, 8}) add(0.4, int64_t{whole} * 10'000, whole, 0);
  return MostFrequent(std::move(mix), 1);
}

Mix MixFor(const Options& options) {
  if (options.openb.empty()) return BuiltInMix();
  const auto nodes = openb::ReadNodes(ReadWhole(options.openb + "/openb_node_list_all_node.csv"),
                                      "openb_node_list_all_node.csv");
  if (!nodes.ok()) Die(Message(nodes.status()));
  const auto tasks = openb::ReadTasks(ReadWhole(options.openb + "/openb_pod_list_default.csv"),
                                      "openb_pod_list_default.csv", *nodes);
  if (!tasks.ok()) Die(Message(tasks.status()));
  return openb::MixOf(*tasks);
}

class Arrivals {
 public:
  Arrivals(const Mix& mix, uint64_t seed) : random_(seed) {
    double sum = 0;
    for (const MixShape& shape : mix) {
      sum += shape.weight;
      demands_.push_back(shape.demand);
      until_.push_back(sum);
    }
  }
  uint64_t Number() { return random_.Next(); }
  const Demand& Next() {
    const double dice = static_cast<double>(random_.Next() >> 11U) * 0x1p-53 * until_.back();
    size_t i = 0;
    while (i + 1 < until_.size() && until_[i] <= dice) ++i;
    return demands_[i];
  }

 private:
  SeededRandom random_;
  std::vector<Demand> demands_;
  std::vector<double> until_;
};

struct Result {
  double seconds = 0;  // of the processor, a decision
  uint64_t decisions = 0;
  std::vector<uint64_t> choices;  // in order, to compare
  double load = 0;                // at the end
};

Cluster MakeCluster(size_t nodes) {
  NodeCapacity capacity;
  capacity.cpu = 96'000;
  capacity.memory = int64_t{1} << 40U;
  capacity.device_count = kDevices;
  Cluster cluster;
  for (size_t i = 0; i < nodes; ++i) {
    if (!cluster.AddNode(capacity).ok()) Die("a node was refused");
  }
  return cluster;
}

// Fills a cluster, then measures decisions while tasks end and others come.
Result Measure(std::string_view policy, const Mix& mix, size_t nodes, size_t decisions, bool scan,
               size_t compare) {
  PlacerOptions options;
  options.mix = mix;
  Cluster cluster = MakeCluster(nodes);
  // The cluster is filled by the quick one: it chooses what the scan does.
  auto filling = MakePlacer(policy, options);
  options.scan = scan;
  auto measured = MakePlacer(policy, options);
  if (!filling.ok() || !measured.ok()) Die("no such policy");
  Arrivals arrivals(mix, 1);
  struct Running {
    Demand demand;
    Placement placement;
  };
  std::vector<Running> running;
  const auto load = [&] {
    return 1 - static_cast<double>(cluster.device_left()) /
                   static_cast<double>(cluster.device_capacity());
  };
  const auto place = [&](Placer* placer, const Demand& demand) {
    const auto placement = placer->Choose(cluster, demand);
    if (placement) {
      if (!cluster.Take(demand, *placement)) Die("a choice that does not fit");
      running.push_back({demand, *placement});
    }
    return placement;
  };
  for (int misses = 0; load() < kAimedLoad && misses < 1000;) {
    if (!place(filling->get(), arrivals.Next())) ++misses;
  }
  // The first decision for a shape scores every node; a host pays that once. Both do it, for the
  // sake of those that remember what they chose.
  for (const MixShape& shape : mix) {
    static_cast<void>((*measured)->Choose(cluster, shape.demand));
  }
  Result result;
  const Stopwatch watch;
  for (size_t i = 0; i < decisions; ++i) {
    while (load() > kAimedLoad) {
      const size_t which = arrivals.Number() % running.size();
      cluster.Give(running[which].demand, running[which].placement);
      running[which] = running.back();
      running.pop_back();
    }
    const Demand& demand = arrivals.Next();
    const auto placement = place(measured->get(), demand);
    if (i < compare) {
      result.choices.push_back(!placement ? 0
                                          : 1 + (uint64_t{placement->node} << 24U) +
                                                (uint64_t{placement->whole_devices} << 8U) +
                                                static_cast<uint8_t>(placement->shared_device));
    }
  }
  result.seconds = watch.ProcessorSeconds() / static_cast<double>(decisions);
  result.decisions = decisions;
  result.load = load();
  return result;
}

struct Row {
  std::string policy;
  size_t nodes = 0;
  double quick = 0;  // seconds a decision
  double scan = 0;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--json" && i + 1 < argc) {
      options.json = argv[++i];
    } else if (argument == "--openb" && i + 1 < argc) {
      options.openb = argv[++i];
    } else {
      Die("usage: placement [--quick] [--json FILE] [--openb FOLDER]");
    }
  }
  return options;
}

void Main(const Options& options) {
  const Mix mix = MixFor(options);
  std::printf(
      "Decisions a second of the processor, %d devices a node, %.0f %% allocated, %zu shapes of\n"
      "demand, tasks ending between; beside a scan that rescores every node each time.\n\n",
      kDevices, 100 * kAimedLoad, mix.size());
  std::printf("%-16s %7s %12s %12s %8s\n", "policy", "nodes", "kept scores", "scan", "ratio");
  constexpr std::array<size_t, 3> kSizes = {100, 1000, 10'000};
  std::vector<Row> rows;
  nlohmann::ordered_json json;
  for (const std::string_view policy : kPlacerNames) {
    std::vector<double> seconds;
    for (const size_t nodes : kSizes) {
      const size_t decisions = options.quick ? 30'000 : 200'000;
      // As long for each size, about.
      const size_t scanned = std::max<size_t>((options.quick ? 100'000 : 1'000'000) / nodes, 20);
      const Result quick = Measure(policy, mix, nodes, decisions, false, scanned);
      const Result scan = Measure(policy, mix, nodes, scanned, true, scanned);
      if (quick.choices != scan.choices) Die("kept scores and the scan differ");
      seconds.push_back(quick.seconds);
      std::printf("%-16s %7zu %12.0f %12.0f %7.0fx\n", std::string(policy).c_str(), nodes,
                  1 / quick.seconds, 1 / scan.seconds, scan.seconds / quick.seconds);
      std::fflush(stdout);
      json["decisions"].push_back({{"policy", std::string(policy)},
                                   {"nodes", nodes},
                                   {"per_second", 1 / quick.seconds},
                                   {"per_second_scan", 1 / scan.seconds},
                                   {"allocated", quick.load}});
    }
    const double growth = seconds[2] / seconds[1];
    std::printf("%-16s 1,000 to 10,000 nodes: %.2f times the cost, exponent %.2f\n\n",
                std::string(policy).c_str(), growth, std::log10(growth));
    json["growth"][std::string(policy)] = growth;
  }
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << json.dump(2) << '\n';
    if (!file.flush()) Die("cannot write " + options.json);
  }
}

}  // namespace
}  // namespace trackbed::benchmark

int main(int argc, char** argv) {
  trackbed::benchmark::Main(trackbed::benchmark::ParseOptions(argc, argv));
  return 0;
}
