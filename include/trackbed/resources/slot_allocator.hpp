// Which task gets how much of which device of one machine.
//
//   TRACKBED_ASSIGN_OR_RETURN(SlotAllocator allocator, SlotAllocator::Create(node));
//   TRACKBED_ASSIGN_OR_RETURN(SlotDemand demand, allocator.Prepare(task.resources));
//   Allocation allocation;
//   TRACKBED_RETURN_IF_ERROR(allocator.Allocate(demand, &allocation));
//   …
//   TRACKBED_RETURN_IF_ERROR(allocator.Release(allocation));
//
// A request is met as a whole or not at all: whatever fails, nothing has changed. It never gets
// less than it asks for.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

// How an amount is laid on devices. What fits one device is never split, and what does not is
// split over as few as can hold it.
enum class AllocationStrategy : uint8_t {
  fill,      // on the device with most free; more: the devices with most free, each to the full
  even,      // on the device with least free that holds it; more: in parts as equal as can be
  best_fit,  // on the device with least free that holds it; more: whole devices, and the rest on
             // the device with least free that holds it, so that few fractions are left over
};

// Whether devices, processors and memory of one task come from one NUMA node.
enum class NumaPolicy : uint8_t {
  prefer_single_node,  // from one node where possible, else from as near as possible
  interleaved,         // devices from one node after the other; processors and memory in equal
                       // parts from the nodes of the devices
  none,
};

struct SlotAllocatorOptions {
  AllocationStrategy strategy = AllocationStrategy::even;
  NumaPolicy numa = NumaPolicy::prefer_single_node;
  // Whether an amount that one device could hold, were it free, may be split over several. When
  // not, larger amounts are given in equal parts (up to one quantum), as many as are needed.
  bool allow_fragmentation = true;
  // Steps in which slots are given, where not those of the table of slot types: multiples of them.
  std::vector<SlotRequest> quanta;
};

// One amount on one device. The views live as long as the allocator that made them, or a copy.
struct AllocationPart {
  std::string_view slot;
  std::string_view device;  // of cpu and mem "numa0", "numa1", …; "" without NUMA nodes
  Quantity amount;
  int numa_node = kUnknownNumaNode;
  Enforcement enforcement = Enforcement::accounting;
  friend bool operator==(const AllocationPart&, const AllocationPart&) = default;
};

// All that one task holds.
struct Allocation {
  uint64_t id = 0;  // never given twice by one allocator
  // Accelerators first, then cpu, then mem; so many that hardly a request needs the heap.
  absl::InlinedVector<AllocationPart, 8> parts;
  friend bool operator==(const Allocation&, const Allocation&) = default;
};

// A request in the terms of one allocator: checked, with slots named twice added up.
class SlotDemand {
 private:
  friend class SlotAllocator;
  struct Entry {
    uint32_t slot;
    int64_t amount;
  };
  absl::InlinedVector<Entry, 4> entries_;
};

// Why a demand cannot be met now.
struct Shortfall {
  enum class Kind : uint8_t {
    none,
    shortage,       // too little is free
    fragmentation,  // enough is free, but not where one task could use it
  };
  Kind kind = Kind::none;
  std::string_view slot;
  Quantity needed;
  Quantity free;                // on all devices that may be given
  Quantity most_on_one_device;  // of `free`
  Quantity missing;             // a shortage: so much more must become free
  std::string message;          // "needs 2 cuda.shares, 1.4 of 8 free: 0.6 short"
};

struct DeviceUsage {
  std::string_view slot;
  std::string_view device;
  Quantity capacity;
  Quantity used;
  bool healthy = true;
  friend bool operator==(const DeviceUsage&, const DeviceUsage&) = default;
};

// Copies are independent of each other: a copy is the way to try something out. Not thread-safe.
class SlotAllocator {
 public:
  // kInvalidArgument when the description is wrong (ValidateNode) or the options are.
  static StatusOr<SlotAllocator> Create(const NodeDescription& node,
                                        SlotAllocatorOptions options = {});

  // kInvalidArgument for a negative amount, one that is no multiple of the slot's quantum, and
  //   slots that exclude each other
  // kNotFound for an unknown slot
  // kResourceExhausted when even the empty node could not meet it
  // kFailedPrecondition when a slot of devices is enforced more weakly than `at_least`
  StatusOr<SlotDemand> Prepare(std::span<const SlotRequest> request,
                               Enforcement at_least = Enforcement::accounting) const;

  // Takes what `demand`, made by this allocator or one of which it is a copy, asks for.
  // kResourceExhausted with the message of Explain.
  Status Allocate(const SlotDemand& demand, Allocation* allocation);
  // The same without a reason. No heap is used once the allocator has held as many allocations, and
  // while these have at most eight parts.
  [[nodiscard]] bool TryAllocate(const SlotDemand& demand, Allocation* allocation);
  // The same for who keeps the id alone, or asks for the parts by ForEachPart; 0: not possible.
  [[nodiscard]] uint64_t TryAllocate(const SlotDemand& demand);
  Shortfall Explain(const SlotDemand& demand) const;
  // Takes just these parts, as who chose them, or held them before, wants them back; of a part,
  // slot, device and amount count. kInvalidArgument for what is not there or not free.
  Status AllocateParts(std::span<const AllocationPart> parts, Allocation* allocation);

  // Gives back exactly what was given under this id. kFailedPrecondition when it is not live.
  Status Release(uint64_t id);
  Status Release(const Allocation& allocation) { return Release(allocation.id); }

  // Takes up allocations made earlier by an allocator of the same node: after a restart, all live
  // ones. kInvalidArgument names the first that is inconsistent, and then none is taken up.
  Status Restore(std::span<const Allocation> live);

  // Nothing new is given of an unhealthy device; what is held of it stays so until released.
  // kNotFound when no device has that id.
  Status SetHealthy(std::string_view device, bool healthy);

  bool IsLive(uint64_t id) const {
    const uint64_t place = id & kPlaces;
    return id != 0 && place < live_.size() && live_[place].id == id;
  }
  // What is held under this id; false when it is not live.
  bool Find(uint64_t id, Allocation* allocation) const;
  // Calls tell(const AllocationPart&) for each part of a live allocation.
  template <typename Tell>
  void ForEachPart(uint64_t id, Tell&& tell) const {
    for (const Placed& placed : live_[id & kPlaces].placement) tell(PartOf(placed));
  }
  // All live allocations, for Restore; in no particular order.
  std::vector<Allocation> Live() const;
  std::vector<DeviceUsage> Usage() const;
  size_t live_count() const { return live_count_; }

 private:
  // An id is a serial number and, in its last bits, a place in live_.
  static constexpr uint64_t kPlaceBits = 16;
  static constexpr uint64_t kMaxLive = uint64_t{1} << kPlaceBits;
  static constexpr uint64_t kPlaces = kMaxLive - 1;

  // A device, or the processors or the memory of a NUMA node.
  struct Device {
    std::string_view id;
    int64_t capacity = 0;
    int64_t free = 0;
    uint32_t slot = 0;
    uint32_t card = 0;  // kNone: nothing that it shares a card with excludes it
    int numa_node = kUnknownNumaNode;
    bool healthy = true;
  };
  // The devices of a slot lie side by side.
  struct Slot {
    std::string_view name;
    const SlotType* type = nullptr;
    uint32_t begin = 0;
    uint32_t end = 0;
    int64_t quantum = 1;
    int64_t largest = 0;  // capacity of one device
    int64_t total = 0;
    bool of_node = false;         // cpu and mem
    std::vector<uint16_t> links;  // between its devices, row by row; empty when all are alike
  };
  // Devices of one physical card that exclude each other.
  struct Card {
    std::vector<uint32_t> devices;
    const SlotType* holder = nullptr;
    uint32_t held = 0;  // parts
  };
  struct Placed {
    uint32_t device;
    int64_t amount;
  };
  using Placement = absl::InlinedVector<Placed, 8>;
  using Candidates = absl::InlinedVector<uint32_t, 16>;
  struct Entry {
    uint64_t id = 0;  // 0: free
    Placement placement;
  };

  SlotAllocator() = default;

  Status AddSlots(const NodeDescription& node);
  Status AddSlot(const NodeDescription& node, const std::string& name);
  void AddLinks(const NodeDescription& node, Slot* slot) const;
  void AddCards(const NodeDescription& node);

  bool Allowed(uint32_t device, uint64_t nodes) const { return (numa_bits_[device] & nodes) != 0; }
  uint64_t NodesOf(const Placement& placement, size_t from = 0) const;

  // Each adds to *placement; false, with it as it was, when there is not enough on `nodes`.
  bool Place(const SlotDemand& demand, Placement* placement) const;
  bool PlaceOnOneNode(const SlotDemand& demand, Placement* placement) const;
  bool PlaceFrom(const SlotDemand& demand, size_t first, uint64_t nodes,
                 Placement* placement) const;
  bool PlaceNearby(const SlotDemand& demand, Placement* placement) const;
  bool PlaceSlot(const Slot& slot, int64_t amount, uint64_t nodes, Placement* placement) const;
  bool Interleave(const Slot& slot, int64_t amount, uint64_t nodes, Placement* placement) const;
  bool Spread(const Slot& slot, int64_t amount, uint64_t nodes, Placement* placement) const;
  void SpreadFull(const Slot& slot, int64_t amount, const Candidates& candidates,
                  Placement* placement) const;
  void SpreadEvenly(const Slot& slot, int64_t amount, const Candidates& candidates,
                    Placement* placement) const;
  bool SpreadTightly(const Slot& slot, int64_t amount, const Candidates& candidates,
                     Placement* placement) const;
  bool SpreadInEqualParts(const Slot& slot, int64_t amount, const Candidates& candidates,
                          Placement* placement) const;

  uint32_t FindOne(const Slot& slot, int64_t amount, uint64_t nodes) const;
  Candidates FindCandidates(const Slot& slot, uint64_t nodes) const;
  // The `count` of `among` that, with `chosen`, are connected best; added to *chosen.
  void ChooseConnected(const Slot& slot, const Candidates& among, size_t count,
                       Candidates* chosen) const;
  int64_t Usable(const Slot& slot, uint32_t device) const {
    return open_[device] - open_[device] % slot.quantum;
  }

  void UpdateOpen(uint32_t device);
  void Take(const Placed& placed);
  void Give(const Placed& placed);
  // Gets all the memory that is needed for an allocation, so that nothing is taken when it is out:
  // the entry that is used next.
  Entry& NextEntry(const Placement& placement);
  // Takes what the next entry says; its id.
  uint64_t Commit();
  AllocationPart PartOf(const Placed& placed) const {
    const Device& device = devices_[placed.device];
    const Slot& slot = slots_[device.slot];
    return {slot.name, device.id, Quantity::FromThousandths(placed.amount), device.numa_node,
            slot.type->enforcement};
  }
  void Describe(const Entry& entry, Allocation* allocation) const;
  Status Locate(std::span<const AllocationPart> parts, Placement* placement) const;
  Status RestoreOne(const Allocation& allocation);

  SlotAllocatorOptions options_;
  // Shared by copies, which so can take over from each other.
  std::shared_ptr<std::deque<std::string>> names_;
  std::vector<Slot> slots_;  // accelerators first, then cpu, mem
  std::vector<Device> devices_;
  // Beside devices_: what may be given of each, and the bit of its NUMA node, all bits when
  // unknown.
  std::vector<int64_t> open_;
  std::vector<uint64_t> numa_bits_;
  std::vector<Card> cards_;
  uint64_t all_nodes_ = 0;

  std::vector<Entry> live_;
  std::vector<uint32_t> free_live_;
  uint64_t last_serial_ = 0;
  size_t live_count_ = 0;
};

}  // namespace trackbed
