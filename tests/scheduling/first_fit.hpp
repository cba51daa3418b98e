// The simplest placer, for tests of everything else.
#pragma once

#include "trackbed/scheduling/placer.hpp"

namespace trackbed {

class FirstFit final : public Placer {
 public:
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    for (NodeIndex node = 0; node < cluster.size(); ++node) {
      if (cluster.Fits(node, demand)) return cluster.FirstDevices(node, demand);
    }
    return std::nullopt;
  }
};

}  // namespace trackbed
