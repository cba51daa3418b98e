#include "scheduling/expected_loss.hpp"

#include <algorithm>
#include <cmath>

#include "scheduling/devices.hpp"
#include "scheduling/scorers.hpp"

namespace trackbed {
namespace {

// As for FGD: the rare shapes are noise here.
constexpr double kTypical = 0.95;
constexpr double kBlocksOfOne = 0.5;
// What others forgo by it counts twice: they have nowhere else to go.
constexpr double kKindPrice = 2;
// Of devices opened for shares, a quarter wait for the same shares at the same time.
constexpr double kRivals = 0.25;

Mix WeighBlocks(Mix mix) {
  mix = MostFrequent(std::move(mix), kTypical);
  for (MixShape& shape : mix) {
    const int devices = shape.demand.whole_devices;
    shape.weight *= devices > 1 ? devices : kBlocksOfOne;
  }
  return mix;
}

}  // namespace

ExpectedLoss::ExpectedLoss(const Mix& mix, const Cluster& cluster) : blocks_(WeighBlocks(mix)) {
  double cpu = 0;
  double devices = 0;
  for (const MixShape& shape : mix) {
    if (!shape.demand.wants_devices()) continue;
    cpu += shape.weight * static_cast<double>(shape.demand.cpu);
    devices += shape.weight * static_cast<double>(shape.demand.device_amount());
  }
  if (devices > 0) cpu_per_device_ = cpu / devices;
  PriceRemainders(mix);
  PriceKinds(mix, cluster);
}

void ExpectedLoss::PriceRemainders(const Mix& mix) {
  std::array<double, kWholeDevice + 1> weight{};  // of shares by size
  double opened = 0;  // devices, if they were packed without gaps
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

double ExpectedLoss::Of(const NodeCapacity& capacity, const NodeState& state) const {
  if (capacity.device_count == 0) return 0;
  double loss = 0;
  double left = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    const int16_t amount = state.device[device];
    left += amount;
    loss += remainder_[static_cast<size_t>(amount)];
    loss -= kind_price_[capacity.device_kind[device]] * amount;
  }
  if (cpu_per_device_ > 0) {
    loss += std::max(0.0, left - static_cast<double>(state.cpu) / cpu_per_device_);
  }
  return loss + blocks_.Of(capacity, state);
}

namespace {

// Losses closer together than this count as equal, and the order of the nodes decides: it fills one
// after the other, which differences of a few thousandths must not prevent.
constexpr double kStep = 10;

class ExpectedLossScorer final : public Scorer {
 public:
  explicit ExpectedLossScorer(Mix mix) : given_(std::move(mix)) {}

  int32_t range() const override { return static_cast<int32_t>(4 * kWholeDevice / kStep); }

  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
               const Demand& demand) const override {
    const double before = loss_.Of(capacity, state);
    Scored best;
    best.score = kNoRoom;
    ForEachChoice(capacity, state, demand, [&](Scored choice) {
      const NodeState after = After(state, demand, choice.whole_devices, choice.shared_device);
      const double gain = std::floor((before - loss_.Of(capacity, after)) / kStep);
      choice.score = static_cast<int32_t>(std::clamp(gain, -kMostGain, kMostGain));
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
    loss_ = ExpectedLoss(given_.empty() ? estimate_.mix() : given_, cluster);
    ++epoch_;
  }
  uint64_t epoch() const override { return epoch_; }

 private:
  static constexpr double kMostGain = 1e9;
  Mix given_;
  MixEstimate estimate_;
  ExpectedLoss loss_;
  size_t nodes_ = 0;
  uint64_t estimated_ = 0;
  uint64_t epoch_ = 0;
};

}  // namespace

std::unique_ptr<Scorer> MakeExpectedLossScorer(const Mix& mix) {
  return std::make_unique<ExpectedLossScorer>(mix);
}

}  // namespace trackbed
