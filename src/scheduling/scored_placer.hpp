// Takes the node with the highest score, the lowest number among equals, without looking at most
// nodes.
//
// For each shape of demand there is an index over the scores of all nodes. When the shape is asked
// for, only nodes that changed since it was asked last are scored anew. Nodes in the same state
// share a score: states are numbered, and each shape remembers the score of each number. Where a
// scorer is quicker than that, it is asked instead.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <memory>
#include <optional>
#include <vector>

#include "scheduling/score_index.hpp"
#include "scheduling/scorer.hpp"
#include "trackbed/scheduling/placer.hpp"

namespace trackbed {

// How one is chosen of the nodes that have room.
class ScoredPlacer : public Placer {
 public:
  ScoredPlacer(std::unique_ptr<Scorer> scorer, bool scan)
      : scorer_(std::move(scorer)), scan_(scan), by_state_(!scorer_->is_quick()) {}

  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override;
  void Observe(const Demand& demand) override { scorer_->Observe(demand); }

 protected:
  // The node, of those whose score is above kNoRoom; none has room: no value.
  virtual std::optional<NodeIndex> Pick(const Cluster& cluster, const Demand& demand,
                                        const ScoreIndex& index);
  virtual std::optional<NodeIndex> Scan(const Cluster& cluster, const Demand& demand);
  // The node to choose; the scorer is not told yet.
  std::optional<NodeIndex> BestNode(const Cluster& cluster, const Demand& demand);
  // Where on the node, which is the chosen one.
  Placement PlaceOn(const Cluster& cluster, const Demand& demand, NodeIndex node);
  // The score of an open node or kNoRoom.
  int32_t ScoreOf(const Cluster& cluster, NodeIndex node, const Demand& demand) const;

 private:
  // All that scores may depend on.
  struct StateKey {
    uint32_t capacity = 0;
    uint32_t tag = 0;
    bool open = false;
    bool used = false;
    int64_t cpu = 0;
    std::array<int16_t, kMaxDevices> device{};
    friend bool operator==(const StateKey&, const StateKey&) = default;
    template <typename H>
    friend H AbslHashValue(H hash, const StateKey& key) {
      return H::combine(std::move(hash), key.capacity, key.tag, key.open, key.used, key.cpu,
                        key.device);
    }
  };
  struct Shape {
    Demand demand;  // without what HasUnscored looks at
    ScoreIndex index;
    std::vector<int32_t> score_of_state;
    uint64_t seen = 0;   // changes before this one
    uint64_t epoch = 0;  // of the scorer
    uint64_t states_epoch = 0;
    uint64_t asked = 0;
    bool fresh = true;
  };

  void FollowChanges(const Cluster& cluster);
  void Number(const Cluster& cluster, NodeIndex node);
  void NumberCapacities(const Cluster& cluster);
  Shape& ShapeFor(const Cluster& cluster, const Demand& demand);
  void Update(const Cluster& cluster, Shape* shape);
  int32_t Remembered(const Cluster& cluster, NodeIndex node, Shape* shape) const;

  std::unique_ptr<Scorer> scorer_;
  bool scan_;
  bool by_state_;  // whether scores are kept by the number of a state

  std::vector<uint32_t> capacity_of_;  // by node: a number for equal capacities
  absl::flat_hash_map<StateKey, uint32_t> states_;
  std::vector<uint32_t> state_of_;     // by node
  std::vector<uint64_t> last_change_;  // by node
  uint64_t followed_ = 0;
  uint64_t tags_epoch_ = 0;    // of the scorer, when the tags in the numbers were looked at
  uint64_t states_epoch_ = 1;  // numbers of states were given anew

  absl::flat_hash_map<Demand, std::unique_ptr<Shape>> shapes_;
  uint64_t asked_ = 0;
};

}  // namespace trackbed
