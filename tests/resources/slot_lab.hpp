// Machines and requests for tests of the slot allocator. Amounts are in thousandths.
#pragma once

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "trackbed/resources/slot_algebra.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {

inline SlotRequest Slot(const std::string& name, int64_t thousandths) {
  return {name, Quantity::FromThousandths(thousandths)};
}

inline NodeDevice Device(const std::string& id, const std::string& slot, int64_t thousandths,
                         int numa = kUnknownNumaNode) {
  NodeDevice device;
  device.id = id;
  device.slot = slot;
  device.capacity = Quantity::FromThousandths(thousandths);
  device.numa_node = numa;
  return device;
}

// With devices d0, d1, …
inline NodeDescription NodeOf(const std::string& slot, const std::vector<int64_t>& capacities) {
  NodeDescription node;
  for (const int64_t capacity : capacities) {
    node.devices.push_back(Device("d" + std::to_string(node.devices.size()), slot, capacity));
  }
  return node;
}

inline SlotAllocatorOptions With(AllocationStrategy strategy, bool allow_fragmentation = true) {
  SlotAllocatorOptions options;
  options.strategy = strategy;
  options.numa = NumaPolicy::none;
  options.allow_fragmentation = allow_fragmentation;
  return options;
}

inline SlotAllocator Make(const NodeDescription& node, const SlotAllocatorOptions& options = {}) {
  StatusOr<SlotAllocator> allocator = SlotAllocator::Create(node, options);
  REQUIRE(allocator.ok());
  return *std::move(allocator);
}

inline Allocation Take(SlotAllocator& allocator, const std::vector<SlotRequest>& request) {
  const auto demand = allocator.Prepare(request);
  CAPTURE(demand.status().ToString());
  REQUIRE(demand.ok());
  Allocation allocation;
  const Status status = allocator.Allocate(*demand, &allocation);
  CAPTURE(status.ToString());
  REQUIRE(status.ok());
  return allocation;
}

// "d0=0.5 d1=1", in the order of the allocation.
inline std::string Text(const Allocation& allocation) {
  std::string text;
  for (const AllocationPart& part : allocation.parts) {
    if (!text.empty()) text += " ";
    text += std::string(part.device.empty() ? part.slot : part.device) + "=" +
            FormatSlotAmount(part.slot, part.amount);
  }
  return text;
}

// What a refusal says, after checking that it changed nothing.
inline std::string Refusal(SlotAllocator& allocator, const std::vector<SlotRequest>& request,
                           Enforcement at_least = Enforcement::accounting) {
  const std::vector<DeviceUsage> before = allocator.Usage();
  const auto demand = allocator.Prepare(request, at_least);
  Status status = demand.status();
  Allocation allocation;
  if (demand.ok()) status = allocator.Allocate(*demand, &allocation);
  CHECK_FALSE(status.ok());
  CHECK(allocation == Allocation());
  CHECK(allocator.Usage() == before);
  return std::string(Message(status));
}

}  // namespace trackbed
