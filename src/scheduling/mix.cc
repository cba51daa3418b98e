#include "trackbed/scheduling/mix.hpp"

#include <algorithm>
#include <cmath>

namespace trackbed {
namespace {

Demand ShapeOf(Demand demand) {
  demand.memory = 0;
  demand.label = 0;
  demand.counted = nullptr;
  return demand;
}

void SortByWeight(Mix* mix) {
  std::sort(mix->begin(), mix->end(), [](const MixShape& a, const MixShape& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.demand < b.demand;
  });
}

// Half of the sum of all differences: 0 for the same mix, 1 for nothing in common. Neither is
// empty.
double Distance(const Mix& a, const Mix& b) {
  absl::flat_hash_map<Demand, double> difference;
  for (const MixShape& shape : a) difference[shape.demand] += shape.weight;
  for (const MixShape& shape : b) difference[shape.demand] -= shape.weight;
  std::vector<double> parts;  // summed in order of size: the map has none
  parts.reserve(difference.size());
  for (const auto& [demand, weight] : difference) parts.push_back(std::abs(weight));
  std::sort(parts.begin(), parts.end());
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum / 2;
}

// A mix this near to the last one leads to the same choices, nearly.
constexpr double kSameMix = 0.04;
// How many more arrivals are waited for, as a share of those seen, before looking again.
constexpr double kLookAgain = 0.5;
constexpr double kLookAtLeastEvery = 4096;
// Weights grow with each arrival; far below where a double ends they are scaled back.
constexpr double kLargestUnit = 1e100;

}  // namespace

Mix MostFrequent(Mix mix, double coverage) {
  SortByWeight(&mix);
  double all = 0;
  for (const MixShape& shape : mix) all += shape.weight;
  double covered = 0;
  size_t kept = 0;
  // Counts come as fractions here: a hair below the limit is the limit.
  while (kept < mix.size() && covered < coverage * all - 1e-9 * all) covered += mix[kept++].weight;
  mix.resize(kept);
  for (MixShape& shape : mix) shape.weight /= covered;
  return mix;
}

Mix MixOf(const std::vector<Demand>& demands, double coverage) {
  absl::flat_hash_map<Demand, double> counts;
  for (const Demand& demand : demands) counts[ShapeOf(demand)] += 1;
  Mix mix;
  mix.reserve(counts.size());
  for (const auto& [demand, count] : counts) mix.push_back({demand, count});
  return MostFrequent(std::move(mix), coverage);
}

void MixEstimate::Prime(const Mix& mix, double arrivals) {
  for (const MixShape& shape : mix) {
    weights_[ShapeOf(shape.demand)] += shape.weight * arrivals * unit_;
    total_ += shape.weight * arrivals;
  }
  Publish();
}

void MixEstimate::Observe(const Demand& demand) {
  const double growth = std::exp2(1 / half_life_);
  unit_ *= growth;
  total_ = total_ / growth + 1;
  weights_[ShapeOf(demand)] += unit_;
  ++observed_;
  if (unit_ > kLargestUnit) {
    for (auto& [shape, weight] : weights_) weight /= unit_;
    unit_ = 1;
  }
  if (static_cast<double>(observed_) >= next_look_) Publish();
}

void MixEstimate::Publish() {
  Mix mix;
  mix.reserve(weights_.size());
  for (const auto& [demand, weight] : weights_) mix.push_back({demand, weight / unit_});
  // What has all but faded is forgotten.
  mix = MostFrequent(std::move(mix), 1);
  for (auto entry = weights_.begin(); entry != weights_.end();) {
    const auto here = entry++;
    if (here->second < 1e-3 * unit_) weights_.erase(here);
  }
  next_look_ =
      static_cast<double>(observed_) + std::clamp(kLookAgain * total_, 16.0, kLookAtLeastEvery);
  if (mix.empty() || (!mix_.empty() && Distance(mix, mix_) < kSameMix)) return;
  mix_ = std::move(mix);
  ++epoch_;
}

}  // namespace trackbed
