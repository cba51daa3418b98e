#include "trackbed/scheduling/placers.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "scheduling/devices.hpp"
#include "scheduling/local_placer.hpp"
#include "scheduling/scored_placer.hpp"
#include "scheduling/scorers.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

// Every node that has room scores the same.
class RoomScorer final : public Scorer {
  Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t /*tag*/,
               const Demand& demand) const override {
    Scored scored;
    ChooseFirstDevices(capacity, state, demand, &scored);
    return scored;
  }
};

// Any node that has room, each as likely; any device.
class RandomPlacer final : public ScoredPlacer {
 public:
  RandomPlacer(uint64_t seed, bool scan)
      : ScoredPlacer(std::make_unique<RoomScorer>(), scan), random_(seed) {}

  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    std::optional<Placement> placement = ScoredPlacer::Choose(cluster, demand);
    if (!placement || demand.share == 0) return placement;
    // Of the devices with room for the share that leave enough whole ones.
    const NodeCapacity& capacity = cluster.capacity(placement->node);
    const NodeState& state = cluster.state(placement->node);
    std::array<Placement, kMaxDevices> choices;
    size_t count = 0;
    for (size_t device = 0; device < capacity.device_count; ++device) {
      if (state.device[device] < demand.share || !IsKind(capacity, device, demand)) continue;
      const auto whole = FirstWholeDevices(capacity, state, demand, static_cast<int>(device));
      if (std::popcount(whole) < demand.whole_devices) continue;
      choices[count++] = {placement->node, whole, static_cast<int8_t>(device)};
    }
    return choices[random_.Next() % count];
  }

 private:
  std::optional<NodeIndex> Pick(const Cluster& cluster, const Demand& demand,
                                const ScoreIndex& index) override {
    return Draw(cluster, [&](NodeIndex node) {
      return index.at(node) > kNoRoom && HasUnscored(cluster.state(node), demand);
    });
  }
  std::optional<NodeIndex> Scan(const Cluster& cluster, const Demand& demand) override {
    return Draw(cluster, [&](NodeIndex node) {
      return HasUnscored(cluster.state(node), demand) && ScoreOf(cluster, node, demand) > kNoRoom;
    });
  }

  // Draws until one has room; where few have, draws from those.
  template <typename HasRoom>
  std::optional<NodeIndex> Draw(const Cluster& cluster, HasRoom&& has_room) {
    constexpr int kAttempts = 16;
    if (cluster.size() == 0) return std::nullopt;
    for (int i = 0; i < kAttempts; ++i) {
      const auto node = static_cast<NodeIndex>(random_.Next() % cluster.size());
      if (has_room(node)) return node;
    }
    std::vector<NodeIndex> nodes;
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      if (has_room(node)) nodes.push_back(node);
    }
    if (nodes.empty()) return std::nullopt;
    return nodes[random_.Next() % nodes.size()];
  }

  SeededRandom random_;
};

// The next node that has room, after the one chosen last.
class RoundRobinPlacer final : public ScoredPlacer {
 public:
  explicit RoundRobinPlacer(bool scan) : ScoredPlacer(std::make_unique<RoomScorer>(), scan) {}

 private:
  std::optional<NodeIndex> Pick(const Cluster& cluster, const Demand& demand,
                                const ScoreIndex& index) override {
    return Next(cluster, [&](size_t from) {
      size_t node = index.FirstAtLeast(kNoRoom + 1, from);
      while (node < cluster.size() &&
             !HasUnscored(cluster.state(static_cast<NodeIndex>(node)), demand)) {
        node = index.FirstAtLeast(kNoRoom + 1, node + 1);
      }
      return node;
    });
  }
  std::optional<NodeIndex> Scan(const Cluster& cluster, const Demand& demand) override {
    return Next(cluster, [&](size_t from) {
      size_t node = from;
      while (node < cluster.size()) {
        const auto index = static_cast<NodeIndex>(node);
        if (HasUnscored(cluster.state(index), demand) &&
            ScoreOf(cluster, index, demand) > kNoRoom) {
          break;
        }
        ++node;
      }
      return node;
    });
  }

  template <typename FirstFrom>
  std::optional<NodeIndex> Next(const Cluster& cluster, FirstFrom&& first_from) {
    size_t node = next_ < cluster.size() ? first_from(next_) : cluster.size();
    if (node >= cluster.size()) node = first_from(0);
    if (node >= cluster.size()) return std::nullopt;
    next_ = node + 1;
    return static_cast<NodeIndex>(node);
  }

  size_t next_ = 0;
};

// The members of a gang come one after the other, as equal demands: the location of the one before
// goes first, then any that is in use, then the rest; in each the fullest node.
class TopologyPlacer final : public ScoredPlacer {
 public:
  explicit TopologyPlacer(bool scan) : ScoredPlacer(MakePackScorer(), scan) {}

 private:
  std::optional<NodeIndex> Pick(const Cluster& cluster, const Demand& demand,
                                const ScoreIndex& index) override {
    return Nearest(cluster, demand, [&](NodeIndex node) { return index.at(node); });
  }
  std::optional<NodeIndex> Scan(const Cluster& cluster, const Demand& demand) override {
    return Nearest(cluster, demand, [&](NodeIndex node) { return ScoreOf(cluster, node, demand); });
  }

  template <typename Score>
  std::optional<NodeIndex> Nearest(const Cluster& cluster, const Demand& demand, Score&& score) {
    for (NodeIndex node = static_cast<NodeIndex>(known_); node < cluster.size(); ++node) {
      nodes_of_[cluster.capacity(node).location].push_back(node);
    }
    known_ = cluster.size();
    std::optional<NodeIndex> best;
    int32_t highest = kNoRoom;
    const auto look = [&](NodeIndex node) {
      const int32_t value = score(node);
      if (value <= highest || !HasUnscored(cluster.state(node), demand)) return;
      highest = value;
      best = node;
    };
    if (last_ && *last_ == demand) {
      for (const NodeIndex node : nodes_of_[location_]) look(node);
    }
    if (!best) {
      absl::flat_hash_set<uint32_t> in_use;
      for (NodeIndex node = 0; node < cluster.size(); ++node) {
        if (cluster.state(node).tasks > 0) in_use.insert(cluster.capacity(node).location);
      }
      for (NodeIndex node = 0; node < cluster.size(); ++node) {
        if (in_use.contains(cluster.capacity(node).location)) look(node);
      }
    }
    if (!best) {
      for (NodeIndex node = 0; node < cluster.size(); ++node) look(node);
    }
    last_ = demand;
    if (best) location_ = cluster.capacity(*best).location;
    return best;
  }

  std::optional<Demand> last_;
  uint32_t location_ = 0;
  absl::flat_hash_map<uint32_t, std::vector<NodeIndex>> nodes_of_;
  size_t known_ = 0;
};

constexpr std::string_view kLocalityAware = "locality-aware";
// More than scores can make up for.
constexpr double kAboveAll = 1e12;

std::unique_ptr<Scorer> MakeScorer(std::string_view name, const PlacerOptions& options) {
  if (name == "default") return MakeExpectedLossScorer(options.mix);
  if (name == "fgd") return MakeFgdScorer(options.mix);
  if (name == "best-fit") return MakeBestFitScorer();
  if (name == "dot-product") return MakeDotProductScorer();
  if (name == "gpu-packing") return MakeGpuPackingScorer();
  if (name == "gpu-clustering") return MakeGpuClusteringScorer();
  if (name == "pack") return MakePackScorer();
  if (name == "spread") return MakeSpreadScorer();
  if (name == "cost-aware") return MakeCostScorer();
  if (name == "power-aware") return MakePowerScorer();
  return nullptr;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

Status UnknownName(std::string_view name) {
  std::string message = absl::StrCat("unknown placement policy \"", AbslView(name), "\"");
  constexpr size_t kLongestName = 64;
  const auto distance = [&](std::string_view known) {
    return name.size() > kLongestName ? kLongestName : EditDistance(name, known);
  };
  const auto nearest = std::min_element(kPlacerNames.begin(), kPlacerNames.end(),
                                        [&](auto a, auto b) { return distance(a) < distance(b); });
  if (distance(*nearest) <= 3) {
    absl::StrAppend(&message, "; did you mean \"", AbslView(*nearest), "\"?");
  } else {
    absl::StrAppend(&message, ", expected one of");
    for (const std::string_view known : kPlacerNames) {
      absl::StrAppend(&message, known == kPlacerNames.front() ? " " : ", ", AbslView(known));
    }
  }
  return InvalidArgument(message);
}

}  // namespace

StatusOr<std::unique_ptr<Placer>> MakePlacer(std::string_view name, const PlacerOptions& options) {
  if (name == "random") return std::make_unique<RandomPlacer>(options.seed, options.scan);
  if (name == "round-robin") return std::make_unique<RoundRobinPlacer>(options.scan);
  if (name == "topology-aware") return std::make_unique<TopologyPlacer>(options.scan);
  const bool local = name == kLocalityAware;
  std::unique_ptr<Scorer> scorer = MakeScorer(local ? "default" : name, options);
  if (scorer == nullptr) return UnknownName(name);
  return std::make_unique<LocalPlacer>(std::move(scorer), options.scan, local ? kAboveAll : 0);
}

StatusOr<std::unique_ptr<Placer>> MakeWeightedPlacer(const std::vector<WeightedPlacer>& parts,
                                                     const PlacerOptions& options) {
  if (parts.empty()) return InvalidArgument("a composition of no placement policies");
  std::vector<WeightedScorer> scorers;
  double locality = 0;
  double others = 0;
  for (const WeightedPlacer& part : parts) {
    WeightedScorer scorer{MakeScorer(part.name, options), part.weight};
    if (scorer.scorer == nullptr && part.name != kLocalityAware) {
      if (std::find(kPlacerNames.begin(), kPlacerNames.end(), part.name) != kPlacerNames.end()) {
        return InvalidArgument(
            absl::StrCat("placement policy \"", part.name, "\" cannot be part of a composition"));
      }
      return UnknownName(part.name);
    }
    if (!(part.weight > 0) || !(part.weight <= 1e6)) {
      return InvalidArgument(absl::StrCat("weight of placement policy \"", part.name, "\": found ",
                                          part.weight,
                                          ", expected a number above 0 and up to 1000000"));
    }
    if (scorer.scorer == nullptr) {
      locality += part.weight;
    } else {
      others += part.weight;
      scorers.push_back(std::move(scorer));
    }
  }
  if (scorers.empty()) {
    return InvalidArgument(
        "placement policy \"locality-aware\": found nothing beside it in the composition, expected "
        "another policy for tasks without data");
  }
  std::unique_ptr<Scorer> sum = MakeSumScorer(std::move(scorers));
  // The sum is scaled to its range whatever the weights add up to.
  const double weight = sum->range() * locality / others;
  return std::make_unique<LocalPlacer>(std::move(sum), options.scan, weight);
}

}  // namespace trackbed
