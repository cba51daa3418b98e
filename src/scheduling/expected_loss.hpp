// How much of a node's devices is expected to be lost: left when the cluster is full, because
// nothing that arrives can use it. The default placer takes the node where a demand adds least.
//
// The loss of a node is the sum of three parts, in thousandths of devices. Each follows from the
// mix of work and from the nodes; no number in here was fitted to a trace.
//
//   remainders  R(r) for each device with r left: r, less what that is worth to the shares that may
//               still come (share_worth.hpp). A rest that they could fill without a gap is not
//               lost; one that only they fit who have room elsewhere anyhow is. It is negative
//               where shares take more room than they ask for, because nothing fits beside them.
//   stranding   devices left beyond what the cpu left suffices for, at what demands for devices
//               want of it on average. A demand that needs much cpu goes where there is plenty, one
//               that needs little where there is little. Where the nodes have less cpu than the mix
//               wants beside all devices, nearly every node is short by the average, which then
//               tells none from another: there it counts how much the wants of those that may still
//               come differ, and that they differ less, taken together, the more of them fit.
//   kinds       using devices that others can do without: a price for each kind, the part of all
//               demand that can use no other kinds over the part of all devices that these are.
//
// All but stranding are sums over the devices of what follows from the kind of a device and what is
// left of it: they are read from a table. What demands for several devices need is no part of it:
// nodes are reserved for them (block_reserve.hpp).
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

  // The parts of it, in units.
  int64_t OfDevice(const NodeCapacity& capacity, size_t device, int left) const {
    return of_left_[capacity.device_kind[device] * kAmounts + static_cast<size_t>(left)];
  }
  int64_t Stranded(int64_t devices_left, int64_t cpu) const;

  double Remainder(int left) const { return remainder_[static_cast<size_t>(left)]; }
  double KindPrice(size_t kind) const { return kind_price_[kind]; }
  double CpuPerDevice() const { return cpu_per_device_; }

 private:
  static constexpr size_t kAmounts = kWholeDevice + 1;

  // Demands by what they want of cpu for a device.
  struct Want {
    double cpu = 0;      // thousandths of a core to a thousandth of a device
    double part = 0;     // of all devices that are asked for: by demands that want as much or more
    double per_cpu = 0;  // devices that these get for a thousandth of a core, each its part of it
  };

  void PriceCpu(const Mix& mix, const Cluster& cluster);
  double ByDifferentWants(double devices_left, double cpu) const;
  void PriceRemainders(const Mix& mix);
  void PriceKinds(const Mix& mix, const Cluster& cluster);
  void Tabulate(const Cluster& cluster);

  std::array<double, kAmounts> remainder_{};
  std::array<double, kMaxDeviceKinds> kind_price_{};
  double cpu_per_device_ = 0;     // thousandths of a core to a thousandth of a device; 0: unknown
  double devices_per_cpu_ = 0;    // its inverse
  std::vector<Want> wants_;       // the least first; only where cpu is scarce
  double demand_size_ = 1;        // of the demand that a device goes to, in thousandths, on average
  std::vector<int64_t> of_left_;  // by kind and amount: remainders and kinds
};

}  // namespace trackbed
