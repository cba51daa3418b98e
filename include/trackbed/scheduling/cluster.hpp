// The nodes of one resource group as placement sees them: dense numbers, no text.
//
// What is free is always derived from what was taken and given back; nothing else changes it. A
// demand is met by one node as a whole or not at all. Not thread-safe.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

using NodeIndex = uint32_t;

inline constexpr int kMaxDevices = 16;      // of one node
inline constexpr int kMaxDeviceKinds = 64;  // of one cluster
inline constexpr size_t kMaxCounted = 6;
inline constexpr int32_t kWholeDevice = 1000;  // thousandths
inline constexpr uint64_t kAnyDeviceKind = ~uint64_t{0};

// Amounts of further resources that are only counted: licences, the devices of a second family. The
// owner of the cluster numbers them. In quotas, number i counts as resource
// kFirstDeviceResource + i (amounts.hpp).
using CountedAmounts = std::array<int64_t, kMaxCounted>;

// What a node has. Amounts are not negative.
struct NodeCapacity {
  int64_t cpu = 0;           // thousandths of a core
  int64_t memory = 0;        // bytes
  uint8_t architecture = 0;  // a number that the owner of the cluster gave: 0 to 31
  uint8_t device_count = 0;
  // The slot type and model of each device, as a number that the owner gave: 0 to 63.
  std::array<uint8_t, kMaxDevices> device_kind{};
  uint32_t location = 0;       // the switch or rack it hangs on, as a number
  float price_per_hour = 0;    // in any one currency
  float idle_watts = 0;        // drawn while nothing runs
  float watts_per_device = 0;  // drawn by a device in use, on top
  CountedAmounts counted{};
};

// What one task, or one member of a gang, asks of the node it runs on. It takes `whole_devices`
// entire devices and, if `share` is not 0, that many thousandths of one more.
struct Demand {
  int64_t cpu = 0;     // thousandths of a core
  int64_t memory = 0;  // bytes
  int16_t whole_devices = 0;
  int16_t share = 0;                       // 0 to 999
  uint64_t device_kinds = kAnyDeviceKind;  // a set: bit k stands for kind k
  uint32_t architectures = ~uint32_t{0};   // a set: bit a stands for architecture a
  // For the host's own placer, which may tell apart what is alike to everybody else.
  uint32_t label = 0;
  // What it takes of the counted resources; null: nothing. Must outlive all that knows the demand.
  const CountedAmounts* counted = nullptr;

  bool wants_devices() const { return whole_devices > 0 || share > 0; }
  // Thousandths of devices in all.
  int64_t device_amount() const { return int64_t{whole_devices} * kWholeDevice + share; }
  friend bool operator==(const Demand& a, const Demand& b) {
    return a.cpu == b.cpu && a.memory == b.memory && a.whole_devices == b.whole_devices &&
           a.share == b.share && a.device_kinds == b.device_kinds &&
           a.architectures == b.architectures && a.label == b.label &&
           (a.counted == b.counted ||
            (a.counted != nullptr && b.counted != nullptr && *a.counted == *b.counted));
  }
  friend std::strong_ordering operator<=>(const Demand& a, const Demand& b) {
    if (const auto order = a.cpu <=> b.cpu; order != 0) return order;
    if (const auto order = a.memory <=> b.memory; order != 0) return order;
    if (const auto order = a.whole_devices <=> b.whole_devices; order != 0) return order;
    if (const auto order = a.share <=> b.share; order != 0) return order;
    if (const auto order = a.device_kinds <=> b.device_kinds; order != 0) return order;
    if (const auto order = a.architectures <=> b.architectures; order != 0) return order;
    if (const auto order = a.label <=> b.label; order != 0) return order;
    if (a.counted == b.counted) return std::strong_ordering::equal;
    if (a.counted == nullptr || b.counted == nullptr) {
      return (a.counted != nullptr) <=> (b.counted != nullptr);
    }
    return *a.counted <=> *b.counted;
  }
  template <typename H>
  friend H AbslHashValue(H hash, const Demand& demand) {
    hash = H::combine(std::move(hash), demand.cpu, demand.memory, demand.whole_devices,
                      demand.share, demand.device_kinds, demand.architectures, demand.label);
    if (demand.counted == nullptr) return hash;
    return H::combine(std::move(hash), *demand.counted);
  }
};

// Where a demand is met.
struct Placement {
  NodeIndex node = 0;
  uint16_t whole_devices = 0;  // a set: bit d stands for device d
  int8_t shared_device = -1;   // the device of the share; -1: none
  friend bool operator==(const Placement&, const Placement&) = default;
};

// What is left of a node.
struct NodeState {
  int64_t cpu = 0;
  int64_t memory = 0;
  std::array<int16_t, kMaxDevices> device{};  // thousandths left of each
  int32_t tasks = 0;                          // demands met here now
  bool open = true;                           // false: nothing new is placed here
  CountedAmounts counted{};
};

// Whether so much of the counted resources is there.
inline bool HasCounted(const CountedAmounts& left, const Demand& demand) {
  if (demand.counted == nullptr) return true;
  for (size_t i = 0; i < kMaxCounted; ++i) {
    if (left[i] < (*demand.counted)[i]) return false;
  }
  return true;
}
// Takes what the demand says of them, `times` 1, or gives it back, -1.
inline void TakeCounted(const Demand& demand, int64_t times, CountedAmounts* left) {
  if (demand.counted == nullptr) return;
  for (size_t i = 0; i < kMaxCounted; ++i) (*left)[i] -= times * (*demand.counted)[i];
}

class Cluster {
 public:
  // kInvalidArgument when an amount is negative or a number out of range.
  StatusOr<NodeIndex> AddNode(const NodeCapacity& capacity);

  size_t size() const { return nodes_.size(); }
  const NodeCapacity& capacity(NodeIndex node) const { return capacities_[node]; }
  const NodeState& state(NodeIndex node) const { return nodes_[node]; }

  // True when the node is open and has all of the demand free.
  bool Fits(NodeIndex node, const Demand& demand) const;
  // True when it would fit if nothing ran there; whether it is open does not matter.
  bool FitsEmpty(NodeIndex node, const Demand& demand) const;
  // The fitting devices with the lowest numbers for the whole ones, the fullest that has room for
  // the share. The demand must fit.
  Placement FirstDevices(NodeIndex node, const Demand& demand) const;

  // Takes what the placement says; false, with nothing taken, when any of it is not free or the
  // devices are not those the demand asks for.
  [[nodiscard]] bool Take(const Demand& demand, const Placement& placement);
  // Whether Take would.
  bool CanTake(const Demand& demand, const Placement& placement) const;
  // Gives back what Take took; the caller sees to it that it is taken.
  void Give(const Demand& demand, const Placement& placement);

  // A closed node gets nothing new: it is drained, lost, or holds a member of the gang already.
  void SetOpen(NodeIndex node, bool open);

  // Thousandths of devices that there are, and that are left.
  int64_t device_capacity() const { return device_capacity_; }
  int64_t device_left() const { return device_left_; }

  // The history of changes: node `Changed(i)` changed for first_change() <= i < end_change(). Who
  // keeps something derived from nodes remembers end_change() and later looks at the rest; who
  // comes too late looks at all nodes.
  uint64_t first_change() const { return first_change_; }
  uint64_t end_change() const { return first_change_ + changes_.size(); }
  NodeIndex Changed(uint64_t change) const { return changes_[change - first_change_]; }

 private:
  void Note(NodeIndex node);

  std::vector<NodeCapacity> capacities_;
  std::vector<NodeState> nodes_;
  std::vector<NodeIndex> changes_;
  uint64_t first_change_ = 0;
  int64_t device_capacity_ = 0;
  int64_t device_left_ = 0;
};

}  // namespace trackbed
