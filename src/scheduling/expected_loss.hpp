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
//   uses        for each demand of the mix for a share or for one device, what it could not use of
//               what is left, weighed by how often it comes: two thirds of FGD's fragment
//               (fragmentation.hpp), without those that want several devices, for whom nodes are
//               reserved instead (block_reserve.hpp).
//   kinds       using devices that others can do without: a price for each kind, the part of all
//               demand that can use no other kinds over the part of all devices that these are.
//
// All but stranding are sums over the devices of what follows from the kind of a device, what is
// left of it, and the cpu left: they are read from tables.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "scheduling/scorer.hpp"
#include "trackbed/scheduling/mix.hpp"

namespace trackbed {

class ExpectedLoss {
 public:
  // Losses are whole numbers of these, so that sums do not depend on their order: no change counts
  // as none.
  static constexpr int64_t kUnitsPerThousandth = int64_t{1} << 20U;

  ExpectedLoss() : ExpectedLoss(Mix{}, Cluster{}) {}
  // Of the cluster only what the nodes have matters, not what is left.
  ExpectedLoss(const Mix& mix, const Cluster& cluster);

  // In thousandths of devices.
  double Of(const NodeCapacity& capacity, const NodeState& state) const;

  // The parts of it, in units. `range` is that of the cpu left: what is in the same range of cpu
  // can be used by the same demands.
  size_t CpuRange(int64_t cpu) const;
  int64_t OfDevice(const NodeCapacity& capacity, size_t device, size_t range, int left) const {
    const size_t group = group_of_[capacity.architecture][capacity.device_kind[device]];
    const auto amount = static_cast<size_t>(left);
    return of_left_[group * kAmounts + amount] +
           useless_[(group * ranges_ + range) * sizes_ + size_of_[amount]] * left;
  }
  int64_t Stranded(int64_t devices_left, int64_t cpu) const;

  double Remainder(int left) const { return remainder_[static_cast<size_t>(left)]; }
  double KindPrice(size_t kind) const { return kind_price_[kind]; }
  double CpuPerDevice() const { return cpu_per_device_; }

 private:
  static constexpr size_t kAmounts = kWholeDevice + 1;
  static constexpr size_t kArchitectures = 32;

  void PriceRemainders(const Mix& mix);
  void PriceKinds(const Mix& mix, const Cluster& cluster);
  void Tabulate(const Mix& mix, const Cluster& cluster);

  std::array<double, kAmounts> remainder_{};
  std::array<double, kMaxDeviceKinds> kind_price_{};
  double cpu_per_device_ = 0;   // thousandths of a core to a thousandth of a device; 0: unknown
  double devices_per_cpu_ = 0;  // its inverse

  // Devices of a kind on nodes of an architecture make a group.
  std::array<std::array<uint16_t, kMaxDeviceKinds>, kArchitectures> group_of_{};
  std::vector<int64_t> cpu_;                  // where ranges begin, but the first, which is below
  std::array<uint16_t, kAmounts> size_of_{};  // by amount left: what is usable by the same shares
  size_t ranges_ = 1;
  size_t sizes_ = 1;
  std::vector<int64_t> of_left_;  // by group and amount: remainders and kinds
  std::vector<int64_t> useless_;  // by group, range and size: of each thousandth left
};

}  // namespace trackbed
