// The port that chooses where a demand is met. A host may bring its own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

// So much of what a task reads lies on a node.
struct LocalData {
  NodeIndex node = 0;
  int64_t bytes = 0;
  friend bool operator==(const LocalData&, const LocalData&) = default;
};

// Chooses among the nodes of one cluster. The choice follows from the cluster, the demand and
// what was observed before: the same story, the same choices. Not thread-safe.
class Placer {
 public:
  virtual ~Placer() = default;

  // Where to meet the demand, or none when no open node has room. Takes nothing. A placer serves
  // one cluster, always the same.
  virtual std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) = 0;

  // The same for a task that reads `data`, each node once. Which nodes come into question does not
  // depend on it. Placers that do not care where data lies leave this as it is.
  virtual std::optional<Placement> ChooseNear(const Cluster& cluster, const Demand& demand,
                                              std::span<const LocalData> data) {
    static_cast<void>(data);
    return Choose(cluster, demand);
  }

  // Whether the demand may be met just there: a reservation keeps it from where Choose would have
  // met it. For placers that know more of their nodes than the cluster does.
  virtual bool Accepts(const Cluster& cluster, const Demand& demand, const Placement& placement) {
    static_cast<void>(cluster);
    static_cast<void>(demand);
    static_cast<void>(placement);
    return true;
  }

  // A demand has arrived: placers that learn what mix of work to expect learn it here, once for
  // each task and before it is placed.
  virtual void Observe(const Demand& demand) { static_cast<void>(demand); }
};

}  // namespace trackbed
