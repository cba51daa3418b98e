#include "scheduling/scored_placer.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "scheduling/devices.hpp"

namespace trackbed {
namespace {

constexpr int32_t kUnknown = INT32_MIN;
// Numbers of states are given anew when there are more; so much memory at most for each shape.
constexpr size_t kMostStates = size_t{1} << 16U;
// Shapes remembered: of so many scores in all, but not fewer than kLeastShapes.
constexpr size_t kMostScores = size_t{1} << 24U;
constexpr size_t kLeastShapes = 64;
constexpr size_t kMostShapes = 4096;

// What scores may know of a capacity, as bytes.
std::string CapacityBytes(const NodeCapacity& capacity) {
  std::string bytes;
  const auto add = [&](auto value) {
    std::array<char, sizeof value> raw;
    std::memcpy(raw.data(), &value, sizeof value);
    bytes.append(raw.data(), raw.size());
  };
  add(capacity.cpu);
  add(capacity.architecture);
  add(capacity.device_count);
  for (size_t i = 0; i < capacity.device_count; ++i) add(capacity.device_kind[i]);
  add(capacity.price_per_hour);
  add(capacity.idle_watts);
  add(capacity.watts_per_device);
  return bytes;
}

}  // namespace

int32_t ScoredPlacer::ScoreOf(const Cluster& cluster, NodeIndex node, const Demand& demand) const {
  const NodeState& state = cluster.state(node);
  const NodeCapacity& capacity = cluster.capacity(node);
  if (!state.open || !HasRoom(capacity, state, demand)) return kNoRoom;
  return scorer_->Score(capacity, state, scorer_->TagOf(cluster, node), demand).score;
}

std::optional<NodeIndex> ScoredPlacer::BestNode(const Cluster& cluster, const Demand& demand) {
  scorer_->Prepare(cluster);
  if (scan_) return Scan(cluster, demand);
  FollowChanges(cluster);
  Shape& shape = ShapeFor(cluster, demand);
  Update(cluster, &shape);
  return Pick(cluster, demand, shape.index);
}

Placement ScoredPlacer::PlaceOn(const Cluster& cluster, const Demand& demand, NodeIndex node) {
  const Scored scored = scorer_->Score(cluster.capacity(node), cluster.state(node),
                                       scorer_->TagOf(cluster, node), demand);
  const Placement placement{node, scored.whole_devices, scored.shared_device};
  scorer_->Chosen(cluster, demand, placement);
  return placement;
}

std::optional<Placement> ScoredPlacer::Choose(const Cluster& cluster, const Demand& demand) {
  const std::optional<NodeIndex> node = BestNode(cluster, demand);
  if (!node) return std::nullopt;
  return PlaceOn(cluster, demand, *node);
}

std::optional<NodeIndex> ScoredPlacer::Scan(const Cluster& cluster, const Demand& demand) {
  std::optional<NodeIndex> best;
  int32_t highest = kNoRoom;
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    if (!HasUnscored(cluster.state(node), demand)) continue;
    const int32_t score = ScoreOf(cluster, node, demand);
    if (score <= highest) continue;
    highest = score;
    best = node;
  }
  return best;
}

std::optional<NodeIndex> ScoredPlacer::Pick(const Cluster& cluster, const Demand& demand,
                                            const ScoreIndex& index) {
  if (index.highest() <= kNoRoom) return std::nullopt;
  const size_t first = index.FirstHighest();
  if (HasUnscored(cluster.state(static_cast<NodeIndex>(first)), demand)) {
    return static_cast<NodeIndex>(first);
  }
  // The index knows nothing of memory and counted resources, which are seldom what is short.
  std::optional<NodeIndex> best;
  int32_t highest = kNoRoom;
  for (size_t node = 0; node < cluster.size(); ++node) {
    if (index.at(node) <= highest ||
        !HasUnscored(cluster.state(static_cast<NodeIndex>(node)), demand)) {
      continue;
    }
    highest = index.at(node);
    best = static_cast<NodeIndex>(node);
  }
  return best;
}

void ScoredPlacer::NumberCapacities(const Cluster& cluster) {
  absl::flat_hash_map<std::string, uint32_t> numbers;
  capacity_of_.clear();
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    const auto number = static_cast<uint32_t>(numbers.size());
    capacity_of_.push_back(
        numbers.try_emplace(CapacityBytes(cluster.capacity(node)), number).first->second);
  }
}

void ScoredPlacer::Number(const Cluster& cluster, NodeIndex node) {
  const NodeState& state = cluster.state(node);
  const StateKey key{capacity_of_[node], scorer_->TagOf(cluster, node),
                     state.open,         state.tasks > 0,
                     state.cpu,          state.device};
  const auto number = static_cast<uint32_t>(states_.size());
  state_of_[node] = states_.try_emplace(key, number).first->second;
}

// Afterwards it is known when each node changed last, and every node has the number of its state.
void ScoredPlacer::FollowChanges(const Cluster& cluster) {
  const bool anew = last_change_.size() != cluster.size() || followed_ < cluster.first_change() ||
                    states_.size() > std::max(kMostStates, 8 * cluster.size()) ||
                    tags_epoch_ != scorer_->epoch();
  if (!anew) {
    for (uint64_t change = followed_; change < cluster.end_change(); ++change) {
      const NodeIndex node = cluster.Changed(change);
      last_change_[node] = change;
      if (by_state_) Number(cluster, node);
    }
  } else {
    if (last_change_.size() != cluster.size()) {
      if (by_state_) NumberCapacities(cluster);
      shapes_.clear();
    }
    tags_epoch_ = scorer_->epoch();
    last_change_.assign(cluster.size(), 0);
    if (by_state_) {
      states_.clear();
      ++states_epoch_;
      state_of_.assign(cluster.size(), 0);
      for (NodeIndex node = 0; node < cluster.size(); ++node) Number(cluster, node);
    }
    for (uint64_t change = cluster.first_change(); change < cluster.end_change(); ++change) {
      last_change_[cluster.Changed(change)] = change;
    }
  }
  followed_ = cluster.end_change();
}

ScoredPlacer::Shape& ScoredPlacer::ShapeFor(const Cluster& cluster, const Demand& demand) {
  Demand key = demand;
  key.memory = 0;
  key.label = 0;
  key.counted = nullptr;
  auto found = shapes_.find(key);
  if (found == shapes_.end()) {
    const size_t most =
        std::clamp(kMostScores / std::max<size_t>(cluster.size(), 1), kLeastShapes, kMostShapes);
    if (shapes_.size() >= most) {
      // The one not asked for longest.
      auto oldest = shapes_.begin();
      for (auto entry = shapes_.begin(); entry != shapes_.end(); ++entry) {
        if (entry->second->asked < oldest->second->asked) oldest = entry;
      }
      shapes_.erase(oldest);
    }
    auto shape = std::make_unique<Shape>();
    shape->demand = key;
    found = shapes_.emplace(key, std::move(shape)).first;
  }
  found->second->asked = ++asked_;
  return *found->second;
}

int32_t ScoredPlacer::Remembered(const Cluster& cluster, NodeIndex node, Shape* shape) const {
  if (!by_state_) return ScoreOf(cluster, node, shape->demand);
  const uint32_t state = state_of_[node];
  if (state >= shape->score_of_state.size()) {
    shape->score_of_state.resize(states_.size() + states_.size() / 2, kUnknown);
  }
  int32_t& score = shape->score_of_state[state];
  if (score == kUnknown) score = ScoreOf(cluster, node, shape->demand);
  return score;
}

void ScoredPlacer::Update(const Cluster& cluster, Shape* shape) {
  const bool same_states = shape->states_epoch == states_epoch_;
  const bool same_scores = !shape->fresh && shape->epoch == scorer_->epoch();
  if (!same_states || !same_scores) shape->score_of_state.clear();
  shape->states_epoch = states_epoch_;
  shape->epoch = scorer_->epoch();
  if (same_scores && shape->seen >= cluster.first_change()) {
    for (uint64_t change = shape->seen; change < cluster.end_change(); ++change) {
      const NodeIndex node = cluster.Changed(change);
      if (last_change_[node] != change) continue;
      shape->index.Set(node, Remembered(cluster, node, shape));
    }
  } else {
    if (shape->fresh) shape->index.Reset(cluster.size());
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      shape->index.Set(node, Remembered(cluster, node, shape));
    }
    shape->fresh = false;
  }
  shape->seen = cluster.end_change();
}

}  // namespace trackbed
