#include "scheduling/expected_loss.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "scheduling/block_reserve.hpp"
#include "scheduling/devices.hpp"
#include "scheduling/scorers.hpp"
#include "scheduling/share_worth.hpp"

namespace trackbed {
namespace {

// What others forgo by it counts twice: they have nowhere else to go.
constexpr double kKindPrice = 2;

int64_t InUnits(double thousandths) {
  return std::llround(thousandths * static_cast<double>(ExpectedLoss::kUnitsPerThousandth));
}

}  // namespace

ExpectedLoss::ExpectedLoss(const Mix& mix, const Cluster& cluster) {
  PriceCpu(mix, cluster);
  PriceRemainders(mix);
  PriceKinds(mix, cluster);
  Tabulate(cluster);
}

void ExpectedLoss::PriceCpu(const Mix& mix, const Cluster& cluster) {
  double cpu = 0;
  double cpu_beside_devices = 0;
  double devices = 0;
  double squares = 0;
  for (const MixShape& shape : mix) {
    const auto wanted_cpu = static_cast<double>(shape.demand.cpu);
    const auto wanted = static_cast<double>(shape.demand.device_amount());
    cpu += shape.weight * wanted_cpu;
    if (!shape.demand.wants_devices()) continue;
    cpu_beside_devices += shape.weight * wanted_cpu;
    devices += shape.weight * wanted;
    squares += shape.weight * wanted * wanted;
  }
  if (devices <= 0 || cpu_beside_devices <= 0) return;
  cpu_per_device_ = cpu_beside_devices / devices;
  devices_per_cpu_ = 1 / cpu_per_device_;
  demand_size_ = squares / devices;

  double cpu_there = 0;
  double devices_there = 0;
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    const NodeCapacity& capacity = cluster.capacity(node);
    if (capacity.device_count == 0) continue;
    cpu_there += static_cast<double>(capacity.cpu);
    devices_there += static_cast<double>(capacity.device_count) * kWholeDevice;
  }
  if (cpu_there * devices >= cpu * devices_there) return;
  for (const MixShape& shape : mix) {
    if (!shape.demand.wants_devices() || shape.demand.cpu == 0) continue;
    const auto wanted = static_cast<double>(shape.demand.device_amount());
    wants_.push_back(
        {static_cast<double>(shape.demand.cpu) / wanted, shape.weight * wanted / devices, 0});
  }
  std::sort(wants_.begin(), wants_.end(), [](const Want& a, const Want& b) {
    return a.cpu != b.cpu ? a.cpu < b.cpu : a.part < b.part;
  });
  double part = 0;
  double per_cpu = 0;
  for (size_t i = wants_.size(); i-- > 0;) {
    part += wants_[i].part;
    per_cpu += wants_[i].part / wants_[i].cpu;
    wants_[i].part = part;
    wants_[i].per_cpu = per_cpu;
  }
}

void ExpectedLoss::PriceRemainders(const Mix& mix) {
  std::array<double, kAmounts> weight{};  // of shares by size
  for (const MixShape& shape : mix) weight[static_cast<size_t>(shape.demand.share)] += shape.weight;
  weight[0] = 0;
  const ShareWorth worth = WorthOfRests(weight);
  for (size_t left = 0; left < kAmounts; ++left) {
    remainder_[left] = static_cast<double>(left) - kWholeDevice * worth[left];
  }
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

void ExpectedLoss::Tabulate(const Cluster& cluster) {
  uint8_t kinds = 1;
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    const NodeCapacity& capacity = cluster.capacity(node);
    for (size_t device = 0; device < capacity.device_count; ++device) {
      kinds = std::max(kinds, static_cast<uint8_t>(capacity.device_kind[device] + 1));
    }
  }
  for (size_t kind = 0; kind < kinds; ++kind) {
    for (size_t left = 0; left < kAmounts; ++left) {
      of_left_.push_back(InUnits(remainder_[left] - kind_price_[kind] * static_cast<double>(left)));
    }
  }
}

int64_t ExpectedLoss::Stranded(int64_t devices_left, int64_t cpu) const {
  if (devices_per_cpu_ == 0) return 0;
  const double enough_for = static_cast<double>(cpu) * devices_per_cpu_;
  if (!wants_.empty() && devices_left > 0) {
    const auto left = static_cast<double>(devices_left);
    return InUnits(std::max(left - enough_for, 0.0) +
                   ByDifferentWants(left, static_cast<double>(cpu)));
  }
  if (enough_for >= static_cast<double>(devices_left)) return 0;
  return devices_left * kUnitsPerThousandth - InUnits(enough_for);
}

// What is stranded beyond that by the average: if one demand got all that is left, the mean over
// the demands says it. The mean of n of them differs from the average by a part of 1 / sqrt(n).
double ExpectedLoss::ByDifferentWants(double devices_left, double cpu) const {
  const double narrow = std::sqrt(std::max(devices_left / demand_size_, 1.0));
  const double have =
      std::max(cpu_per_device_ + (cpu / devices_left - cpu_per_device_) * narrow, 0.0);
  const auto short_of = std::partition_point(wants_.begin(), wants_.end(),
                                             [&](const Want& want) { return want.cpu <= have; });
  const double alone = short_of == wants_.end() ? 0 : short_of->part - have * short_of->per_cpu;
  return devices_left * (alone - std::max(1 - have * devices_per_cpu_, 0.0)) / narrow;
}

double ExpectedLoss::Of(const NodeCapacity& capacity, const NodeState& state) const {
  if (capacity.device_count == 0) return 0;
  int64_t loss = Stranded(DeviceLeft(capacity, state), state.cpu);
  for (size_t device = 0; device < capacity.device_count; ++device) {
    loss += OfDevice(capacity, device, state.device[device]);
  }
  return static_cast<double>(loss) / static_cast<double>(kUnitsPerThousandth);
}

namespace {

// Losses closer together than this count as equal, and the order of the nodes decides: it fills one
// after the other, which differences of a few thousandths must not prevent.
constexpr int64_t kStep = 5;
constexpr int64_t kStepUnits = kStep * ExpectedLoss::kUnitsPerThousandth;

// What of a reserved block counts as lost when it is broken: another may come free in time.
constexpr double kBroken = 0.3;
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
    const int64_t left = DeviceLeft(capacity, state);
    const int64_t gain = loss_.Stranded(left, state.cpu) -
                         loss_.Stranded(left - demand.device_amount(), state.cpu - demand.cpu);
    const uint32_t reserved = tag >> kReservedBits;
    Scored best;
    best.score = kNoRoom;
    ForEachChoice(capacity, state, demand, [&](Scored choice) {
      int64_t less = gain;
      for (size_t device = 0; choice.whole_devices >> device != 0; ++device) {
        if ((choice.whole_devices >> device & 1U) == 0) continue;
        less +=
            loss_.OfDevice(capacity, device, kWholeDevice) - loss_.OfDevice(capacity, device, 0);
      }
      if (choice.shared_device >= 0) {
        const auto device = static_cast<size_t>(static_cast<uint8_t>(choice.shared_device));
        const int amount = state.device[device];
        less += loss_.OfDevice(capacity, device, amount) -
                loss_.OfDevice(capacity, device, amount - demand.share);
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
    if (demand.whole_devices == other.whole_devices && demand.cpu >= other.cpu) return 0;
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
