// How much of a node's idle devices the expected mix could not use: the fragment of FGD (Weng et
// al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with FGD", USENIX ATC 2023).
//
// F(n) = sum over shapes m of weight(m) * f(n, m). f(n, m) is all that is left of the devices when
// m does not fit the node or asks for no device; else what is left of those that m could not use.
#pragma once

#include <cstdint>
#include <vector>

#include "trackbed/scheduling/cluster.hpp"
#include "trackbed/scheduling/mix.hpp"

namespace trackbed {

class Fragmentation {
 public:
  explicit Fragmentation(const Mix& mix);
  // Thousandths of devices.
  double Of(const NodeCapacity& capacity, const NodeState& state) const;

 private:
  // Weights are counted in these, so that sums are exact whatever their order: scores are
  // truncated, and no change must count as none.
  static constexpr double kUnit = 0x1p-32;

  // Shapes that can use the same devices and differ in cpu only.
  struct Group {
    uint64_t device_kinds = 0;
    uint32_t architectures = 0;
    int16_t whole_devices = 0;
    int16_t share = 0;
    size_t first = 0;  // of cpu_ and weight_
    size_t end = 0;
  };
  std::vector<Group> groups_;
  std::vector<int64_t> cpu_;     // ascending within a group
  std::vector<int64_t> weight_;  // of all of the group that want at most as much cpu
  int64_t all_ = 0;              // weight of all shapes, those without devices included
};

}  // namespace trackbed
