#include "scheduling/scorers.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "scheduling/devices.hpp"
#include "scheduling/fragmentation.hpp"

namespace trackbed {
namespace {

// The largest node of the paper's cluster, by which its simulator scales.
constexpr double kLargestCpu = 128'000;
constexpr int kMostDevices = 8;
constexpr double kLargestDevices = kMostDevices * kWholeDevice;

// A scorer whose score does not depend on which devices are chosen: those that Cluster would.
class FirstDevicesScorer : public Scorer {
 public:
  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t tag,
               const Demand& demand) const final {
    Scored scored;
    ChooseFirstDevices(capacity, state, demand, &scored);
    scored.score = Value(capacity, state, tag, demand, scored);
    return scored;
  }
  virtual int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t tag,
                        const Demand& demand, const Scored& devices) const = 0;
};

class BestFitScorer final : public FirstDevicesScorer {
  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
                const Demand& demand, const Scored& /*devices*/) const override {
    const auto cpu = static_cast<double>(state.cpu - demand.cpu);
    const auto devices = static_cast<double>(DeviceLeft(capacity, state) - demand.device_amount());
    const double left = 0.5 * cpu / kLargestCpu + 0.5 * devices / kLargestDevices;
    return std::max(static_cast<int32_t>(100 * (1 - left)), -100);
  }
};

class DotProductScorer final : public FirstDevicesScorer {
  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
                const Demand& demand, const Scored& /*devices*/) const override {
    const double cpu = static_cast<double>(state.cpu) / kLargestCpu *
                       (static_cast<double>(demand.cpu) / kLargestCpu);
    const double devices = static_cast<double>(DeviceLeft(capacity, state)) / kLargestDevices *
                           (static_cast<double>(demand.device_amount()) / kLargestDevices);
    return std::max(static_cast<int32_t>(100 * (1 - (cpu + devices) / 2)), -100);
  }
};

// A shared device with room first, then free devices of a node in use, then an idle node.
class GpuPackingScorer final : public FirstDevicesScorer {
  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
                const Demand& demand, const Scored& devices) const override {
    if (!demand.wants_devices()) return 0;
    if (devices.shared_device >= 0) {
      const int left = state.device[static_cast<size_t>(devices.shared_device)];
      if (left < kWholeDevice) return std::max(100 - left / 10, 50);
    }
    int free = 0;
    for (size_t device = 0; device < capacity.device_count; ++device) {
      if (state.device[device] == kWholeDevice) ++free;
    }
    if (free < capacity.device_count) return std::max(50 - free, 33);
    return std::max(33 - free, free);
  }
};

// Prefers nodes that hold demands for as many devices. A node does not know for how many devices
// those were that took its devices; this remembers it of its own choices, until a device is free.
class GpuClusteringScorer final : public FirstDevicesScorer {
 public:
  uint32_t TagOf(const Cluster& cluster, NodeIndex node) const override {
    // What took a device before this could see it counts as a share.
    const bool known = node < class_of_.size();
    uint32_t classes = 0;
    for (size_t device = 0; device < cluster.capacity(node).device_count; ++device) {
      if (cluster.state(node).device[device] != kWholeDevice) {
        classes |= 1U << (known ? class_of_[node][device] : 0);
      }
    }
    return classes;
  }

  void Chosen(const Cluster& cluster, const Demand& demand, const Placement& placement) override {
    class_of_.resize(cluster.size());
    auto& classes = class_of_[placement.node];
    for (size_t device = 0; device < kMaxDevices; ++device) {
      if ((placement.whole_devices >> device & 1U) != 0 ||
          placement.shared_device == static_cast<int>(device)) {
        classes[device] = static_cast<uint8_t>(ClassOf(demand));
      }
    }
  }

 private:
  static int ClassOf(const Demand& demand) { return demand.share > 0 ? 0 : demand.whole_devices; }

  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t tag,
                const Demand& demand, const Scored& /*devices*/) const override {
    if (!demand.wants_devices()) return 0;
    const uint32_t wanted = 1U << ClassOf(demand);
    const int base = tag == wanted ? 75 : (tag & wanted) != 0 ? 50 : tag == 0 ? 25 : 0;
    // Of eight devices, however many there are: a small node counts as nearly used up.
    const int64_t all = int64_t{kMostDevices} * kWholeDevice;
    const int64_t used = std::max<int64_t>(all - DeviceLeft(capacity, state), 0);
    return base + static_cast<int>(25 * used / all);
  }

  std::vector<std::array<uint8_t, kMaxDevices>> class_of_;  // by node
};

// How full the node would be, 0 to 1000: the mean over cpu and devices.
int32_t Fullness(const NodeCapacity& capacity, const NodeState& state, const Demand& demand) {
  const auto used = [](int64_t all, int64_t left) {
    return all > 0 ? 1 - static_cast<double>(left) / static_cast<double>(all) : 1.0;
  };
  const double cpu = used(capacity.cpu, state.cpu - demand.cpu);
  if (capacity.device_count == 0) return static_cast<int32_t>(1000 * cpu);
  const double devices = used(int64_t{capacity.device_count} * kWholeDevice,
                              DeviceLeft(capacity, state) - demand.device_amount());
  return static_cast<int32_t>(500 * (cpu + devices));
}

class PackScorer final : public FirstDevicesScorer {
  int32_t range() const override { return 1000; }
  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
                const Demand& demand, const Scored& /*devices*/) const override {
    return Fullness(capacity, state, demand);
  }
};

class SpreadScorer final : public Scorer {
  int32_t range() const override { return 1000; }
  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
               const Demand& demand) const override {
    Scored scored;
    ChooseFirstDevices(capacity, state, demand, &scored);
    if (demand.share > 0) {  // the emptiest device instead
      int most = -1;
      ForEachChoice(capacity, state, demand, [&](const Scored& choice) {
        const int left = state.device[static_cast<size_t>(choice.shared_device)];
        if (left <= most) return;
        most = left;
        scored = choice;
      });
    }
    scored.score = 1000 - Fullness(capacity, state, demand);
    return scored;
  }
};

// Cents or watts beyond this are all the same.
constexpr double kMostExpense = 1'000'000;
constexpr int32_t kFullnessSteps = 1001;

// The less expense the better, then the fuller.
int32_t ByExpense(double expense, int32_t fullness) {
  if (!(expense > 0)) expense = 0;
  const auto whole = static_cast<int32_t>(std::llround(std::min(expense, kMostExpense)));
  return fullness - whole * kFullnessSteps;
}

class CostScorer final : public FirstDevicesScorer {
  int32_t range() const override { return 10'000 * kFullnessSteps; }
  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
                const Demand& demand, const Scored& /*devices*/) const override {
    const double cents = state.tasks > 0 ? 0 : 100 * static_cast<double>(capacity.price_per_hour);
    return ByExpense(cents, Fullness(capacity, state, demand));
  }
};

class PowerScorer final : public FirstDevicesScorer {
  int32_t range() const override { return 10'000 * kFullnessSteps; }
  int32_t Value(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
                const Demand& demand, const Scored& devices) const override {
    int woken = std::popcount(devices.whole_devices);
    if (devices.shared_device >= 0 &&
        state.device[static_cast<size_t>(devices.shared_device)] == kWholeDevice) {
      ++woken;
    }
    double watts = woken * static_cast<double>(capacity.watts_per_device);
    if (state.tasks == 0) watts += static_cast<double>(capacity.idle_watts);
    return ByExpense(watts, Fullness(capacity, state, demand));
  }
};

// The coverage of the paper's typical pods.
constexpr double kTypical = 0.95;

class FgdScorer final : public Scorer {
 public:
  explicit FgdScorer(const Mix& mix)
      : given_(!mix.empty()), fragmentation_(MostFrequent(mix, kTypical)) {}

  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
               const Demand& demand) const override {
    const double before = fragmentation_.Of(capacity, state);
    Scored best;
    best.score = kNoRoom;
    ForEachChoice(capacity, state, demand, [&](Scored choice) {
      const NodeState after = After(state, demand, choice.whole_devices, choice.shared_device);
      const double less = before - fragmentation_.Of(capacity, after);
      // Truncated on purpose: the coarse steps are what lets the order of nodes pack them.
      choice.score = static_cast<int32_t>(100 / (1 + std::exp(-less / kWholeDevice)));
      if (choice.score > best.score) best = choice;
    });
    return best;
  }

  void Observe(const Demand& demand) override {
    if (!given_) estimate_.Observe(demand);
  }
  void Prepare(const Cluster& /*cluster*/) override {
    if (epoch_ == estimate_.epoch()) return;
    epoch_ = estimate_.epoch();
    fragmentation_ = Fragmentation(MostFrequent(estimate_.mix(), kTypical));
  }
  uint64_t epoch() const override { return epoch_; }

 private:
  bool given_;
  Fragmentation fragmentation_;
  MixEstimate estimate_;
  uint64_t epoch_ = 0;
};

class SumScorer final : public Scorer {
 public:
  explicit SumScorer(std::vector<WeightedScorer> parts) : parts_(std::move(parts)) {
    double sum = 0;
    for (size_t i = 0; i < parts_.size(); ++i) {
      sum += std::abs(parts_[i].weight);
      if (std::abs(parts_[i].weight) > std::abs(parts_[heaviest_].weight)) heaviest_ = i;
    }
    for (WeightedScorer& part : parts_) part.weight *= kRange / (sum > 0 ? sum : 1);
  }

  int32_t range() const override { return kRange; }

  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t tag,
               const Demand& demand) const override {
    Scored scored;
    double sum = 0;
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Scorer& scorer = *parts_[i].scorer;
      const Scored part = scorer.Score(capacity, state, tag, demand);
      if (i == heaviest_) scored = part;
      const double range = scorer.range();
      sum += parts_[i].weight * std::clamp(part.score / range, -1.0, 1.0);
    }
    scored.score = static_cast<int32_t>(std::lround(sum));
    return scored;
  }

  // At most one part has tags: MakeWeightedPlacer sees to it.
  uint32_t TagOf(const Cluster& cluster, NodeIndex node) const override {
    uint32_t tag = 0;
    for (const WeightedScorer& part : parts_) tag |= part.scorer->TagOf(cluster, node);
    return tag;
  }
  void Chosen(const Cluster& cluster, const Demand& demand, const Placement& placement) override {
    for (WeightedScorer& part : parts_) part.scorer->Chosen(cluster, demand, placement);
  }
  void Observe(const Demand& demand) override {
    for (WeightedScorer& part : parts_) part.scorer->Observe(demand);
  }
  void Prepare(const Cluster& cluster) override {
    for (WeightedScorer& part : parts_) part.scorer->Prepare(cluster);
  }
  uint64_t epoch() const override {
    uint64_t sum = 0;  // each only ever grows
    for (const WeightedScorer& part : parts_) sum += part.scorer->epoch();
    return sum;
  }

 private:
  static constexpr int32_t kRange = 1'000'000;
  std::vector<WeightedScorer> parts_;
  size_t heaviest_ = 0;
};

}  // namespace

std::unique_ptr<Scorer> MakeBestFitScorer() { return std::make_unique<BestFitScorer>(); }
std::unique_ptr<Scorer> MakeDotProductScorer() { return std::make_unique<DotProductScorer>(); }
std::unique_ptr<Scorer> MakeGpuPackingScorer() { return std::make_unique<GpuPackingScorer>(); }
std::unique_ptr<Scorer> MakeGpuClusteringScorer() {
  return std::make_unique<GpuClusteringScorer>();
}
std::unique_ptr<Scorer> MakePackScorer() { return std::make_unique<PackScorer>(); }
std::unique_ptr<Scorer> MakeSpreadScorer() { return std::make_unique<SpreadScorer>(); }
std::unique_ptr<Scorer> MakeCostScorer() { return std::make_unique<CostScorer>(); }
std::unique_ptr<Scorer> MakePowerScorer() { return std::make_unique<PowerScorer>(); }
std::unique_ptr<Scorer> MakeFgdScorer(const Mix& mix) { return std::make_unique<FgdScorer>(mix); }
std::unique_ptr<Scorer> MakeSumScorer(std::vector<WeightedScorer> parts) {
  return std::make_unique<SumScorer>(std::move(parts));
}

}  // namespace trackbed
