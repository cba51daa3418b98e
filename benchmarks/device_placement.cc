// Placing down to the device on 5,000 nodes: fractions of GPUs and MIG instances, decisions a
// second near saturation.
//
//   device_placement [--quick] [--json FILE]
//
// Of each node's 8 GPUs six are given in shares and two are partitioned into seven instances each.
// A decision chooses a node and device (the default policy), takes it there, and has the node's own
// slot allocator give just that device, or an instance; one that had been placed before is taken
// back first. Beside it, as a floor, the same story with every choice known: what was chosen is
// added to and subtracted from bare numbers.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "measure.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/resources/slot_allocator.hpp"
#include "trackbed/scheduling/placers.hpp"

namespace trackbed::benchmark {
namespace {

constexpr int kShared = 6;         // GPUs of each node
constexpr int kInstances = 2 * 7;  // of the partitioned ones
constexpr double kFull = 0.9;      // of the shares, before anything is measured
constexpr double kAim = 50'000;    // decisions a second
constexpr const char* kInstance = "cuda.device:1g.5gb-mig";

[[noreturn]] void Die(std::string_view message) {
  std::fprintf(stderr, "device_placement: %.*s\n", static_cast<int>(message.size()),
               message.data());
  std::exit(1);
}

void Check(const Status& status) {
  if (!status.ok()) Die(Message(status));
}

template <typename T>
T Check(StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

NodeDescription DescribeNode() {
  NodeDescription node;
  node.cpu = *Quantity::FromUnits(128);
  node.mem = *Quantity::FromUnits(int64_t{1} << 40U);
  const auto add = [&](std::string id, const char* slot) {
    NodeDevice device;
    device.id = std::move(id);
    device.slot = slot;
    device.capacity = *Quantity::FromUnits(1);
    node.devices.push_back(std::move(device));
  };
  for (int i = 0; i < kShared; ++i) add("GPU-" + std::to_string(i), "cuda.shares");
  for (int i = 0; i < kInstances; ++i) add("MIG-" + std::to_string(i), kInstance);
  return node;
}

// What one decision gave.
struct Given {
  bool instance = false;
  int16_t share = 0;
  Placement placement;
  uint64_t allocation = 0;
};

class Lab {
 public:
  explicit Lab(size_t nodes) : placer_(Check(MakePlacer("default"))) {
    const SlotAllocator node = Check(SlotAllocator::Create(DescribeNode()));
    one_instance_ = Check(node.Prepare(
        std::vector<SlotRequest>{{kInstance, *Quantity::FromUnits(1)}}, Enforcement::hardware));
    for (int i = 0; i < kShared; ++i) devices_.push_back("GPU-" + std::to_string(i));
    NodeCapacity capacity;
    capacity.cpu = 128'000;
    capacity.device_count = kShared;
    capacity.counted[0] = kInstances;
    for (size_t i = 0; i < nodes; ++i) {
      Check(cluster_.AddNode(capacity));
      nodes_.push_back(node);
    }
    instance_counts_[0] = 1;
  }

  // A task as they come: a fifth ask for an instance, the others for a tenth of a GPU to eight.
  Given Draw() {
    Given given;
    given.instance = random_.Next() % 5 == 0;
    if (!given.instance) given.share = static_cast<int16_t>(100 * (1 + random_.Next() % 8));
    return given;
  }

  bool Place(Given* given) {
    const Demand demand = DemandOf(*given);
    const std::optional<Placement> choice = placer_->Choose(cluster_, demand);
    if (!choice) return false;
    given->placement = *choice;
    Allocation allocation;
    SlotAllocator& node = nodes_[choice->node];
    if (!cluster_.Take(demand, *choice)) Die("a choice that does not fit");
    if (given->instance) {
      if (!node.TryAllocate(one_instance_, &allocation)) Die("no instance where one is free");
    } else {
      const AllocationPart part{"cuda.shares", devices_[static_cast<size_t>(choice->shared_device)],
                                Quantity::FromThousandths(given->share)};
      Check(node.AllocateParts({&part, 1}, &allocation));
    }
    given->allocation = allocation.id;
    return true;
  }

  void TakeBack(const Given& given) {
    cluster_.Give(DemandOf(given), given.placement);
    Check(nodes_[given.placement.node].Release(given.allocation));
  }

  double Fullness() const {
    return 1 - static_cast<double>(cluster_.device_left()) /
                   static_cast<double>(cluster_.device_capacity());
  }
  uint64_t Pick(size_t end) { return random_.Next() % end; }

 private:
  Demand DemandOf(const Given& given) const {
    Demand demand;
    demand.cpu = 1000;
    demand.share = given.share;
    if (given.instance) demand.counted = &instance_counts_;
    return demand;
  }

  Cluster cluster_;
  std::unique_ptr<Placer> placer_;
  std::vector<SlotAllocator> nodes_;
  std::vector<std::string> devices_;
  SlotDemand one_instance_;
  CountedAmounts instance_counts_{};
  SeededRandom random_{1};
};

struct Turn {
  Given back;
  Given placed;
};

// The same story, every choice known.
double ReplaySeconds(size_t nodes, const std::vector<Turn>& turns) {
  struct Node {
    int64_t cpu = 128'000;
    int64_t instances = kInstances;
    std::array<int16_t, kShared> left{};
  };
  std::vector<Node> bare(nodes);
  const auto count = [&](const Given& given, int sign) {
    Node& node = bare[given.placement.node];
    node.cpu -= sign * 1000;
    if (given.instance) {
      node.instances -= sign;
    } else {
      int16_t& left = node.left[static_cast<size_t>(given.placement.shared_device)];
      left = static_cast<int16_t>(left - sign * given.share);
    }
  };
  const Stopwatch watch;
  for (const Turn& turn : turns) {
    count(turn.back, -1);
    count(turn.placed, 1);
  }
  const double seconds = watch.ProcessorSeconds();
  int64_t sum = 0;  // used, so that the loop is not left out
  for (const Node& node : bare) sum += node.cpu + node.instances + node.left[0];
  if (sum == 1) std::printf(" ");
  return seconds;
}

int Main(int argc, char** argv) {
  size_t turns_wanted = 200'000;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      turns_wanted = 20'000;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      Die("usage: device_placement [--quick] [--json FILE]");
    }
  }
  constexpr size_t kNodes = 5000;
  Lab lab(kNodes);
  std::vector<Given> placed;
  while (lab.Fullness() < kFull) {
    Given given = lab.Draw();
    if (lab.Place(&given)) placed.push_back(given);
  }
  std::vector<Turn> turns;
  turns.reserve(turns_wanted);
  size_t dropped = 0;
  const Stopwatch watch;
  for (size_t i = 0; i < turns_wanted; ++i) {
    Given& slot = placed[lab.Pick(placed.size())];
    Turn turn;
    turn.back = slot;
    lab.TakeBack(slot);
    turn.placed = lab.Draw();
    if (!lab.Place(&turn.placed)) {
      ++dropped;  // then what was there comes back
      turn.placed = turn.back;
      if (!lab.Place(&turn.placed)) Die("what was taken back does not fit any more");
    }
    slot = turn.placed;
    turns.push_back(turn);
  }
  const double seconds = watch.ProcessorSeconds();
  const double rate = static_cast<double>(turns.size()) / seconds;
  const double floor = static_cast<double>(turns.size()) / ReplaySeconds(kNodes, turns);
  std::printf("%zu nodes, %zu tasks placed, %zu decisions, %zu without room\n", kNodes,
              placed.size(), turns.size(), dropped);
  std::printf("%-40s %12.0f a second\n", "placing and taking back", rate);
  std::printf("%-40s %12.0f a second\n", "floor: bare sums, choices known", floor);
  std::printf("%-40s %12.1f x\n", "over the floor", floor / rate);
  std::printf("%-40s %12.0f a second%s\n", "aim, at least", kAim, rate >= kAim ? "" : "  UNDER");
  if (json.empty()) return 0;
  std::ofstream file(json);
  file << nlohmann::ordered_json{{"nodes", kNodes},
                                 {"decisions_per_second", rate},
                                 {"floor_per_second", floor},
                                 {"without_room", dropped}}
              .dump(2)
       << '\n';
  if (!file.flush()) Die("cannot write " + json);
  return 0;
}

}  // namespace
}  // namespace trackbed::benchmark

int main(int argc, char** argv) { return trackbed::benchmark::Main(argc, argv); }
