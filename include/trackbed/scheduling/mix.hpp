// The mix of work to expect: which shapes of demand arrive, and how often.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <vector>

#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

// Demands that differ in memory only count as one shape: memory decides where a demand fits, not
// what its devices leave behind.
struct MixShape {
  Demand demand;      // memory 0
  double weight = 0;  // of all arrivals; a mix adds up to 1
};
// The most frequent first; of equally frequent ones the smaller demand.
using Mix = std::vector<MixShape>;

// The shapes that make up at least `coverage` of the demands, as weights that add up to 1.
Mix MixOf(const std::vector<Demand>& demands, double coverage = 1);

// Keeps the most frequent shapes of a mix and scales their weights up to 1.
Mix MostFrequent(Mix mix, double coverage);

// The mix of what arrived lately: an arrival counts half after `half_life` more of them.
class MixEstimate {
 public:
  explicit MixEstimate(double half_life = 20'000) : half_life_(half_life) {}

  // Starts from a mix known beforehand, as if it came from so many arrivals.
  void Prime(const Mix& mix, double arrivals);
  void Observe(const Demand& demand);
  double arrivals() const { return total_; }  // faded ones count less

  // The mix now. It changes only when what was observed since differs enough to matter, so that
  // whoever derives much from it can keep that: as long as epoch() stays the same.
  const Mix& mix() const { return mix_; }
  uint64_t epoch() const { return epoch_; }

 private:
  void Publish();

  double half_life_;
  absl::flat_hash_map<Demand, double> weights_;  // in units of `unit_`
  double unit_ = 1;   // weight of the next arrival: grows instead of all others fading
  double total_ = 0;  // of weights_ / unit_
  double next_look_ = 16;
  uint64_t observed_ = 0;
  Mix mix_;
  uint64_t epoch_ = 0;
};

}  // namespace trackbed
