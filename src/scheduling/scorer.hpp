// How good a node is for a demand.
#pragma once

#include <cstdint>
#include <memory>

#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

// A score and the devices that earn it.
struct Scored {
  int32_t score = 0;  // higher is better; above kNoRoom
  uint16_t whole_devices = 0;
  int8_t shared_device = -1;
};

inline constexpr int32_t kNoRoom = INT32_MIN + 1;

// Scores follow from the node's capacity and state and the demand without its memory, as long as
// epoch() stays the same: whoever asks may keep them.
class Scorer {
 public:
  virtual ~Scorer() = default;
  // The demand fits the node, memory aside. Location, memory and the number of tasks (other than
  // none) must not matter. `tag` is what TagOf said.
  virtual Scored Score(const NodeCapacity& capacity, const NodeState& state, uint32_t tag,
                       const Demand& demand) const = 0;
  // What else scores depend on; looked at again whenever the node or the epoch changes. Scorers
  // that have tags use different bits: the tag of a composition is that of all its parts.
  virtual uint32_t TagOf(const Cluster& cluster, NodeIndex node) const {
    static_cast<void>(cluster);
    static_cast<void>(node);
    return 0;
  }
  // The demand is about to be met there.
  virtual void Chosen(const Cluster& cluster, const Demand& demand, const Placement& placement) {
    static_cast<void>(cluster);
    static_cast<void>(demand);
    static_cast<void>(placement);
  }
  // Scores lie within -range() and range(); what is beyond is as good as that.
  virtual int32_t range() const { return 100; }
  virtual void Observe(const Demand& demand) { static_cast<void>(demand); }
  // Looks at the cluster before a decision; may change the epoch.
  virtual void Prepare(const Cluster& cluster) { static_cast<void>(cluster); }
  virtual uint64_t epoch() const { return 0; }
  // Scoring costs no more than it costs to find a score kept for the state of the node.
  virtual bool is_quick() const { return false; }
};

}  // namespace trackbed
