#include "scheduling/expected_loss.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "scheduling/block_reserve.hpp"
#include "scheduling/devices.hpp"
#include "scheduling/scorers.hpp"

namespace trackbed {
namespace {

// As for FGD: the rare shapes are noise here.
constexpr double kTypical = 0.95;
constexpr double kUses = 2.0 / 3;
// What others forgo by it counts twice: they have nowhere else to go.
constexpr double kKindPrice = 2;
// Of devices opened for shares, a quarter wait for the same shares at the same time.
constexpr double kRivals = 0.25;

// Finer tables would not lead to other choices.
constexpr size_t kMostSteps = 64;

// The values in order, each once; of very many, so many spread over them.
std::vector<int64_t> Steps(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.size() <= kMostSteps) return values;
  std::vector<int64_t> steps;
  for (size_t i = 0; i < kMostSteps; ++i) {
    steps.push_back(values[(i + 1) * values.size() / kMostSteps - 1]);
  }
  return steps;
}

int64_t InUnits(double thousandths) {
  return std::llround(thousandths * static_cast<double>(ExpectedLoss::kUnitsPerThousandth));
}

}  // namespace

ExpectedLoss::ExpectedLoss(const Mix& mix, const Cluster& cluster) {
  double cpu = 0;
  double devices = 0;
  for (const MixShape& shape : mix) {
    if (!shape.demand.wants_devices()) continue;
    cpu += shape.weight * static_cast<double>(shape.demand.cpu);
    devices += shape.weight * static_cast<double>(shape.demand.device_amount());
  }
  if (devices > 0) cpu_per_device_ = cpu / devices;
  if (cpu_per_device_ > 0) devices_per_cpu_ = 1 / cpu_per_device_;
  PriceRemainders(mix);
  PriceKinds(mix, cluster);
  Tabulate(MostFrequent(mix, kTypical), cluster);
}

void ExpectedLoss::PriceRemainders(const Mix& mix) {
  std::array<double, kWholeDevice + 1> weight{};  // of shares by size
  double opened = 0;                              // devices, if they were packed without gaps
  for (const MixShape& shape : mix) {
    if (shape.demand.share == 0) continue;
    weight[static_cast<size_t>(shape.demand.share)] += shape.weight;
    opened += shape.weight * shape.demand.share / kWholeDevice;
  }
  std::vector<size_t> sizes;
  for (size_t size = 1; size < weight.size(); ++size) {
    if (weight[size] > 0) sizes.push_back(size);
  }
  for (size_t left = 0; left < remainder_.size(); ++left) {
    double fitting = 0;
    double rest = 0;
    for (const size_t size : sizes) {
      if (size > left) break;
      fitting += weight[size];
      rest += weight[size] * remainder_[left - size];
    }
    const auto now = static_cast<double>(left);
    if (fitting == 0) {
      remainder_[left] = now;
      continue;
    }
    const double none = std::exp(-fitting / (kRivals * opened));  // a Poisson stream of them
    remainder_[left] = none * now + (1 - none) * rest / fitting;
  }
  // Whatever wants devices can use a whole one.
  remainder_[kWholeDevice] = 0;
}

void ExpectedLoss::PriceKinds(const Mix& mix, const Cluster& cluster) {
  std::array<double, kMaxDeviceKinds> devices{};
  double all = 0;
  uint64_t kinds = 0;
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    const NodeCapacity& capacity = cluster.capacity(node);
    for (size_t device = 0; device < capacity.device_count; ++device) {
      devices[capacity.device_kind[device]] += 1;
      kinds |= uint64_t{1} << capacity.device_kind[device];
      all += 1;
    }
  }
  double demanded = 0;
  for (const MixShape& shape : mix) {
    demanded += shape.weight * static_cast<double>(shape.demand.device_amount());
  }
  for (const MixShape& shape : mix) {
    const uint64_t usable = shape.demand.device_kinds & kinds;
    if (usable == 0 || usable == kinds || !shape.demand.wants_devices()) continue;
    double of_these = 0;
    for (size_t kind = 0; kind < devices.size(); ++kind) {
      if ((usable >> kind & 1U) != 0) of_these += devices[kind];
    }
    const double part = shape.weight * static_cast<double>(shape.demand.device_amount()) / demanded;
    for (size_t kind = 0; kind < devices.size(); ++kind) {
      if ((usable >> kind & 1U) != 0) kind_price_[kind] += kKindPrice * part * all / of_these;
    }
  }
}

void ExpectedLoss::Tabulate(const Mix& mix, const Cluster& cluster) {
  std::vector<int64_t> cpu;
  std::vector<int64_t> shares;
  double weight = 0;
  const auto is_single = [](const Demand& demand) {
    return demand.wants_devices() && demand.device_amount() <= kWholeDevice;
  };
  for (const MixShape& shape : mix) {
    if (!is_single(shape.demand)) continue;
    weight += shape.weight;
    cpu.push_back(shape.demand.cpu);
    if (shape.demand.share > 0) shares.push_back(shape.demand.share);
  }
  cpu_ = Steps(std::move(cpu));
  ranges_ = cpu_.size() + 1;
  // Below the smallest share, from each on, and whole.
  shares = Steps(std::move(shares));
  sizes_ = shares.size() + 2;
  for (size_t left = 0; left < kAmounts; ++left) {
    size_of_[left] = static_cast<uint16_t>(
        std::upper_bound(shares.begin(), shares.end(), static_cast<int64_t>(left)) -
        shares.begin());
  }
  size_of_[kWholeDevice] = static_cast<uint16_t>(sizes_ - 1);

  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    const NodeCapacity& capacity = cluster.capacity(node);
    for (size_t device = 0; device < capacity.device_count; ++device) {
      const size_t kind = capacity.device_kind[device];
      uint16_t& group = group_of_[capacity.architecture][kind];
      if (group > 0) continue;
      group = static_cast<uint16_t>(of_left_.size() / kAmounts + 1);
      for (size_t left = 0; left < kAmounts; ++left) {
        of_left_.push_back(
            InUnits(remainder_[left] - kind_price_[kind] * static_cast<double>(left)));
      }
      for (size_t range = 0; range < ranges_; ++range) {
        std::vector<double> useless(sizes_, weight);
        for (const MixShape& shape : mix) {
          const Demand& demand = shape.demand;
          if (!is_single(demand) || (demand.device_kinds >> kind & 1U) == 0 ||
              (demand.architectures >> capacity.architecture & 1U) == 0 || range == 0 ||
              demand.cpu > cpu_[range - 1]) {
            continue;
          }
          const size_t first =
              demand.share == 0 ? sizes_ - 1
                                : static_cast<size_t>(
                                      std::lower_bound(shares.begin(), shares.end(), demand.share) -
                                      shares.begin()) +
                                      1;
          for (size_t size = first; size < sizes_; ++size) useless[size] -= shape.weight;
        }
        for (const double part : useless) useless_.push_back(InUnits(kUses * part));
      }
    }
  }
  // Until now 0 stood for none.
  for (auto& groups : group_of_) {
    for (uint16_t& group : groups) {
      if (group > 0) --group;
    }
  }
}

size_t ExpectedLoss::CpuRange(int64_t cpu) const {
  return static_cast<size_t>(std::upper_bound(cpu_.begin(), cpu_.end(), cpu) - cpu_.begin());
}

int64_t ExpectedLoss::Stranded(int64_t devices_left, int64_t cpu) const {
  if (devices_per_cpu_ == 0) return 0;
  const double enough_for = static_cast<double>(cpu) * devices_per_cpu_;
  if (enough_for >= static_cast<double>(devices_left)) return 0;
  return devices_left * kUnitsPerThousandth - InUnits(enough_for);
}

double ExpectedLoss::Of(const NodeCapacity& capacity, const NodeState& state) const {
  if (capacity.device_count == 0) return 0;
  const size_t range = CpuRange(state.cpu);
  int64_t loss = Stranded(DeviceLeft(capacity, state), state.cpu);
  for (size_t device = 0; device < capacity.device_count; ++device) {
    loss += OfDevice(capacity, device, range, state.device[device]);
  }
  return static_cast<double>(loss) / static_cast<double>(kUnitsPerThousandth);
}

namespace {

// Losses closer together than this count as equal, and the order of the nodes decides: it fills one
// after the other, which differences of a few thousandths must not prevent.
constexpr int64_t kStep = 5;
constexpr int64_t kStepUnits = kStep * ExpectedLoss::kUnitsPerThousandth;

// What of a reserved block counts as lost when it is broken: another may come free in time.
constexpr double kBroken = 0.1;
// Above the bits that other scorers use.
constexpr int kReservedBits = 20;

int64_t DivideDown(int64_t value, int64_t by) {
  const int64_t quotient = value / by;
  return value % by < 0 ? quotient - 1 : quotient;
}

class ExpectedLossScorer final : public Scorer {
 public:
  explicit ExpectedLossScorer(Mix mix) : given_(std::move(mix)) {}

  int32_t range() const override { return static_cast<int32_t>(4 * kWholeDevice / kStep); }
  bool is_quick() const override { return true; }

  uint32_t TagOf(const Cluster& /*cluster*/, NodeIndex node) const override {
    return reserve_.ReservedFor(node) << kReservedBits;
  }

  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t tag,
               const Demand& demand) const override {
    const int64_t cpu_after = state.cpu - demand.cpu;
    const size_t range_before = loss_.CpuRange(state.cpu);
    const size_t range_after = loss_.CpuRange(cpu_after);
    int64_t left = 0;
    int64_t gain = 0;  // of the devices, if only the cpu were taken
    for (size_t device = 0; device < capacity.device_count; ++device) {
      const int amount = state.device[device];
      if (amount == 0) continue;
      left += amount;
      if (range_before == range_after) continue;
      gain += loss_.OfDevice(capacity, device, range_before, amount) -
              loss_.OfDevice(capacity, device, range_after, amount);
    }
    gain +=
        loss_.Stranded(left, state.cpu) - loss_.Stranded(left - demand.device_amount(), cpu_after);
    const uint32_t reserved = tag >> kReservedBits;
    Scored best;
    best.score = kNoRoom;
    ForEachChoice(capacity, state, demand, [&](Scored choice) {
      int64_t less = gain;
      for (size_t device = 0; choice.whole_devices >> device != 0; ++device) {
        if ((choice.whole_devices >> device & 1U) == 0) continue;
        less += loss_.OfDevice(capacity, device, range_after, kWholeDevice) -
                loss_.OfDevice(capacity, device, range_after, 0);
      }
      if (choice.shared_device >= 0) {
        const auto device = static_cast<size_t>(static_cast<uint8_t>(choice.shared_device));
        const int amount = state.device[device];
        less += loss_.OfDevice(capacity, device, range_after, amount) -
                loss_.OfDevice(capacity, device, range_after, amount - demand.share);
      }
      if (reserved > 0) less -= Broken(capacity, state, reserved, demand, choice);
      choice.score =
          static_cast<int32_t>(std::clamp(DivideDown(less, kStepUnits), -kMostGain, kMostGain));
      if (choice.score > best.score) best = choice;
    });
    return best;
  }

  void Observe(const Demand& demand) override {
    if (given_.empty()) estimate_.Observe(demand);
  }

  void Prepare(const Cluster& cluster) override {
    if (nodes_ == cluster.size() && estimated_ == estimate_.epoch()) return;
    nodes_ = cluster.size();
    estimated_ = estimate_.epoch();
    const Mix& mix = given_.empty() ? estimate_.mix() : given_;
    loss_ = ExpectedLoss(mix, cluster);
    reserve_ = BlockReserve(mix, cluster);
    ++epoch_;
  }
  uint64_t epoch() const override { return epoch_; }

 private:
  static constexpr int64_t kMostGain = 1'000'000'000;

  // In units, of blocks that are reserved for demands of another size.
  int64_t Broken(const NodeCapacity& capacity, const NodeState& state, uint32_t reserved,
                 const Demand& demand, const Scored& choice) const {
    const Demand& other = reserve_.demand(reserved);
    if (demand.whole_devices == other.whole_devices) return 0;
    const NodeState after = After(state, demand, choice.whole_devices, choice.shared_device);
    const int64_t broken =
        reserve_.Usable(reserved, FreeDevices(capacity, state, other), state.cpu) -
        reserve_.Usable(reserved, FreeDevices(capacity, after, other), after.cpu);
    return InUnits(kBroken * static_cast<double>(broken * kWholeDevice));
  }

  Mix given_;
  MixEstimate estimate_;
  ExpectedLoss loss_;
  BlockReserve reserve_;
  size_t nodes_ = 0;
  uint64_t estimated_ = 0;
  uint64_t epoch_ = 0;
};

}  // namespace

std::unique_ptr<Scorer> MakeExpectedLossScorer(const Mix& mix) {
  return std::make_unique<ExpectedLossScorer>(mix);
}

}  // namespace trackbed
