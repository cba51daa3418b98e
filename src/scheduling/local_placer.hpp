// Takes the node with the highest score, to which having the task's data adds: it counts beside all
// else by a weight.
//
// A node adds the weight times what lies there over what lies where most does. Only the few nodes
// with data are looked at for that; all others are as good as the index of their scores says.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "scheduling/scored_placer.hpp"

namespace trackbed {

class LocalPlacer final : public ScoredPlacer {
 public:
  // In points of the scorer, at least 0. 0: data decides between equal scores only.
  LocalPlacer(std::unique_ptr<Scorer> scorer, bool scan, double weight)
      : ScoredPlacer(std::move(scorer), scan), weight_(weight) {}

  std::optional<Placement> ChooseNear(const Cluster& cluster, const Demand& demand,
                                      std::span<const LocalData> data) override;

 private:
  double weight_;
};

}  // namespace trackbed
