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
  struct Shape {
    int64_t cpu = 0;
    uint64_t device_kinds = 0;
    uint32_t architectures = 0;
    int16_t whole_devices = 0;
    int16_t share = 0;
    double weight = 0;
  };
  std::vector<Shape> shapes_;  // those that ask for devices
  double others_ = 0;          // weight of the rest
};

}  // namespace trackbed
