// The placers that come with Trackbed.
//
//   auto placer = MakePlacer("default");
//
// Each gives every fitting node an integer score and takes the highest; of equal scores the node
// with the lowest number wins. Scores are kept and renewed for nodes that changed only, so a
// decision costs about as much in a large cluster as in a small one.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/scheduling/mix.hpp"
#include "trackbed/scheduling/placer.hpp"

namespace trackbed {

struct PlacerOptions {
  // The mix of work to expect, where it is known beforehand; used by default and fgd. Else they
  // learn it from what they observe.
  Mix mix;
  uint64_t seed = 0;  // random only
  // Rescores every node for every decision: the same choices, slowly. For tests and benchmarks.
  bool scan = false;
};

// default           least expected to be left unusable, see src/scheduling/expected_loss.hpp
// fgd               fragmentation gradient descent (Weng et al., "Beware of Fragmentation:
//                   Scheduling GPU-Sharing Workloads with FGD", USENIX ATC 2023)
// best-fit, dot-product, gpu-packing, gpu-clustering, random
//                   what that paper compares with, as its simulator has them
// pack              the fullest node
// spread            the emptiest node
// round-robin       the next node, in order
// topology-aware    where the equal demand before went, else a location in use; the fullest node
// locality-aware    the node with most of what the task reads, if any has room; else as default
// cost-aware        what adds least to the price of the nodes in use
// power-aware       what adds least to the watts drawn
//
// Of equal nodes each takes the one with most of what the task reads (LocalData); random,
// round-robin and topology-aware do not look at that.
inline constexpr std::array<std::string_view, 14> kPlacerNames = {
    "default",        "fgd",        "best-fit",    "dot-product",   "gpu-packing",
    "gpu-clustering", "random",     "pack",        "spread",        "round-robin",
    "topology-aware", "cost-aware", "power-aware", "locality-aware"};

// kInvalidArgument, with the nearest name that there is, for an unknown one.
StatusOr<std::unique_ptr<Placer>> MakePlacer(std::string_view name,
                                             const PlacerOptions& options = {});

struct WeightedPlacer {
  std::string name;  // not random, round-robin or topology-aware, which score no single node
  double weight = 1;
};

// Scores by the weighted sum of what the parts say, each brought to the same range; what
// locality-aware says is the part of the data that lies there, and there must be another. Devices
// are chosen by the part with the largest weight, the first of equals.
StatusOr<std::unique_ptr<Placer>> MakeWeightedPlacer(const std::vector<WeightedPlacer>& parts,
                                                     const PlacerOptions& options = {});

}  // namespace trackbed
