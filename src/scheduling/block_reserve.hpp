// Keeps some nodes in one piece for demands that want several devices of one node.
//
// Such demands are few, so that what they could use hardly shows in a mix of work; but when the
// last node that could take one is broken up, those that still come are lost. How many come before
// the cluster is full varies by the square root of their number: room for twice that is reserved,
// and for so many of those that are expected as they need of their places: where only few nodes
// will do, others must not take them first. The demands with the fewest places come first, on the
// smallest nodes, the last ones in order. A reserved node is chosen late by others; nothing is
// refused there.
#pragma once

#include <cstdint>
#include <vector>

#include "trackbed/scheduling/cluster.hpp"
#include "trackbed/scheduling/mix.hpp"

namespace trackbed {

class BlockReserve {
 public:
  BlockReserve() = default;
  // Of the cluster as it is now: what is left decides how many are still to come and where.
  BlockReserve(const Mix& mix, const Cluster& cluster);

  // 0: not reserved; else a number for the demand that it is reserved for.
  uint32_t ReservedFor(NodeIndex node) const {
    return node < reserved_.size() ? reserved_[node] : 0;
  }

  // How many devices of a node reserved for `number` can be used as wanted, in whole demands, when
  // so many suitable devices are free, and so much cpu.
  int64_t Usable(uint32_t number, int free_devices, int64_t cpu) const;

  const Demand& demand(uint32_t number) const { return demands_[number - 1]; }

 private:
  std::vector<uint32_t> reserved_;  // by node
  std::vector<Demand> demands_;
};

}  // namespace trackbed
