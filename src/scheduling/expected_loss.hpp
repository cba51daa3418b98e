// How much of a node's devices is expected to be lost: left when the cluster is full, because
// nothing that arrives can use it. The default placer takes the node where a demand adds least.
//
// The loss of a node is the sum of four parts, in thousandths of devices. Each follows from the mix
// of work and from the nodes; no number in here was fitted to a trace.
//
//   remainders  R(r) for each device in part use with r left: what remains of it in the end. It is
//               left as it is, unless a share g that fits arrives; then it is R(r - g), averaged
//               over the shares that fit. How likely that is depends on how many such shares there
//               are to each device that shares open: seven shares in a thousand do not fill the
//               gaps of five hundred devices, so a gap that only they fit is as good as lost.
//   stranding   devices left beyond what the cpu left suffices for, at what demands for devices
//               want of it on average. A demand that needs much cpu goes where there is plenty, one
//               that needs little where there is little.
//   blocks      the fragment of FGD (fragmentation.hpp), half of it, but whole where a demand
//               wants several whole devices, and that weighed by how many: it keeps empty nodes in
//               one piece, which counting demands alone does too weakly to matter.
//   kinds       using devices that others can do without: a price for each kind, the part of all
//               demand that can use no other kinds over the part of all devices that these are.
#pragma once

#include <array>
#include <cstdint>

#include "scheduling/fragmentation.hpp"
#include "scheduling/scorer.hpp"

namespace trackbed {

class ExpectedLoss {
 public:
  ExpectedLoss() : ExpectedLoss(Mix{}, Cluster{}) {}
  // Of the cluster only what the nodes have matters, not what is left.
  ExpectedLoss(const Mix& mix, const Cluster& cluster);

  double Of(const NodeCapacity& capacity, const NodeState& state) const;

  double Remainder(int left) const { return remainder_[static_cast<size_t>(left)]; }
  double KindPrice(size_t kind) const { return kind_price_[kind]; }
  double CpuPerDevice() const { return cpu_per_device_; }

 private:
  void PriceRemainders(const Mix& mix);
  void PriceKinds(const Mix& mix, const Cluster& cluster);

  std::array<double, kWholeDevice + 1> remainder_{};
  std::array<double, kMaxDeviceKinds> kind_price_{};
  double cpu_per_device_ = 0;  // thousandths of a core to a thousandth of a device; 0: unknown
  Fragmentation blocks_;
};

}  // namespace trackbed
