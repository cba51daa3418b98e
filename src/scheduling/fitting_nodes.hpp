// The nodes on which a demand fits, kept from one look to the next: only what has changed since is
// looked at again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

class FittingNodes {
 public:
  // Must be called before anything is asked, always with the same cluster and demand.
  void Follow(const Cluster& cluster, const Demand& demand) {
    if (fits_.size() != cluster.size() || seen_ < cluster.first_change()) {
      count_ = 0;
      fits_.assign(cluster.size(), false);
      for (NodeIndex node = 0; node < cluster.size(); ++node) Look(cluster, demand, node);
    } else {
      for (uint64_t i = seen_; i < cluster.end_change(); ++i) {
        Look(cluster, demand, cluster.Changed(i));
      }
    }
    seen_ = cluster.end_change();
  }

  size_t count() const { return count_; }
  bool Has(NodeIndex node) const { return fits_[node]; }

 private:
  void Look(const Cluster& cluster, const Demand& demand, NodeIndex node) {
    const bool fits = cluster.Fits(node, demand);
    if (fits == fits_[node]) return;
    fits_[node] = fits;
    fits ? ++count_ : --count_;
  }

  std::vector<bool> fits_;
  size_t count_ = 0;
  uint64_t seen_ = 0;
};

}  // namespace trackbed
