// The best-connected devices of some.
#pragma once

#include <cstdint>
#include <span>

namespace trackbed {

// The weights of the links between devices `first`, `first` + 1, …; more is better.
struct LinkTable {
  std::span<const uint16_t> weights;  // row by row
  uint32_t first;
  uint32_t count;

  uint16_t Between(uint32_t a, uint32_t b) const {
    return weights[(a - first) * count + (b - first)];
  }
};

// Puts into `result` as many of `among` as it has places, so that these and `fixed` together are
// connected best: their worst link is as good as can be, since it is what a collective operation
// waits for, and then the sum of their links; of equal sets the one that is first in order.
//
// Up to 16 devices all sets are compared, with those left out that cannot win. Of more, a set is
// grown from each device in turn, always by the one that connects best, and the best of these
// is taken: a good set in O(n² · places), not always the best.
void FindConnectedSet(const LinkTable& links, std::span<const uint32_t> among,
                      std::span<const uint32_t> fixed, std::span<uint32_t> result);

}  // namespace trackbed
