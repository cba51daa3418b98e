#include "scheduling/fragmentation.hpp"

namespace trackbed {

Fragmentation::Fragmentation(const Mix& mix) {
  for (const MixShape& shape : mix) {
    if (!shape.demand.wants_devices()) {
      others_ += shape.weight;
      continue;
    }
    shapes_.push_back({shape.demand.cpu, shape.demand.device_kinds, shape.demand.architectures,
                       shape.demand.whole_devices, shape.demand.share, shape.weight});
  }
}

double Fragmentation::Of(const NodeCapacity& capacity, const NodeState& state) const {
  int all = 0;
  uint64_t kinds = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    all += state.device[device];
    kinds |= uint64_t{1} << capacity.device_kind[device];
  }
  if (all == 0) return 0;
  double fragment = others_ * all;
  for (const Shape& shape : shapes_) {
    int unusable = all;
    if (state.cpu >= shape.cpu && (shape.device_kinds & kinds) != 0 &&
        (shape.architectures >> capacity.architecture & 1U) != 0) {
      // A demand for whole devices can use no others; one with a share those with as much left.
      const int least = shape.share > 0 ? shape.share : kWholeDevice;
      int usable = 0;
      int whole = 0;
      bool shared = shape.share == 0;
      for (size_t device = 0; device < capacity.device_count; ++device) {
        const int left = state.device[device];
        if (left < least || (shape.device_kinds >> capacity.device_kind[device] & 1U) == 0) {
          continue;
        }
        usable += left;
        if (left == kWholeDevice) {
          ++whole;
        } else {
          shared = true;
        }
      }
      if (whole >= shape.whole_devices + (shared ? 0 : 1)) unusable = all - usable;
    }
    fragment += shape.weight * unusable;
  }
  return fragment;
}

}  // namespace trackbed
