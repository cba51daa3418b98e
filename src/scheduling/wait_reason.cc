// Says in words why a task waits.
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "scheduling/scheduler_state.hpp"
#include "trackbed/base/quantity.hpp"

namespace trackbed {
namespace {

std::string ResourceName(const SchedulerState& state, size_t resource) {
  if (resource < state.resources.size()) return state.resources[resource];
  return absl::StrCat("resource ", resource);
}

// How much of a demand one node has free together.
struct Nearest {
  bool found = false;
  NodeIndex node = 0;
  int missing = INT32_MAX;  // in how many respects it falls short
  size_t resource = 0;
  int64_t needed = 0;
  int64_t available = 0;
  bool together = false;  // enough is free on the node, but in pieces
};

int64_t WholeFree(const NodeCapacity& capacity, const NodeState& room, const Demand& demand) {
  int64_t whole = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    const bool suits = (demand.device_kinds >> capacity.device_kind[device] & 1U) != 0;
    if (suits && room.device[device] == kWholeDevice) ++whole;
  }
  return whole * kWholeDevice;
}

// The most of any one device, for a share; the whole ones, for more.
int64_t Together(const NodeCapacity& capacity, const NodeState& room, const Demand& demand) {
  if (demand.whole_devices > 0) {
    int64_t best = 0;
    for (size_t device = 0; device < capacity.device_count; ++device) {
      const bool suits = (demand.device_kinds >> capacity.device_kind[device] & 1U) != 0;
      if (suits && room.device[device] < kWholeDevice) {
        best = std::max<int64_t>(best, room.device[device]);
      }
    }
    return WholeFree(capacity, room, demand) + (demand.share > 0 ? best : 0);
  }
  int64_t best = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    const bool suits = (demand.device_kinds >> capacity.device_kind[device] & 1U) != 0;
    if (suits) best = std::max<int64_t>(best, room.device[device]);
  }
  return best;
}

int64_t AllFree(const NodeCapacity& capacity, const NodeState& room, const Demand& demand) {
  int64_t sum = 0;
  for (size_t device = 0; device < capacity.device_count; ++device) {
    const bool suits = (demand.device_kinds >> capacity.device_kind[device] & 1U) != 0;
    if (suits) sum += room.device[device];
  }
  return sum;
}

}  // namespace

std::string FormatAmount(const SchedulerState& state, size_t resource, int64_t amount) {
  const std::string name = ResourceName(state, resource);
  if (resource == kMemory) {
    // Bytes are counted in bytes here, quantities in thousandths.
    const auto units = Quantity::FromUnits(amount);
    return absl::StrCat(units.ok() ? units->ToBytesString() : absl::StrCat(amount), " ", name);
  }
  return absl::StrCat(Quantity::FromThousandths(amount).ToString(), " ", name);
}

std::string QuotaSentence(const SchedulerState& state, const QuotaRefusal& refusal) {
  const std::string path = state.tenancy.Path(refusal.tenant);
  const std::string who = path.empty() ? "the resource group" : absl::StrCat("\"", path, "\"");
  switch (refusal.rule) {
    case QuotaRefusal::Rule::max_running:
      return absl::StrCat(who, " may run ", refusal.allowed, " tasks at a time and runs ",
                          refusal.used);
    case QuotaRefusal::Rule::max_waiting:
      return absl::StrCat(who, " may have ", refusal.allowed, " tasks waiting and has ",
                          refusal.used);
    case QuotaRefusal::Rule::limit:
      break;
  }
  return absl::StrCat("needs ", FormatAmount(state, refusal.resource, refusal.needed), "; ", who,
                      " may use ", FormatAmount(state, refusal.resource, refusal.allowed),
                      " and uses ", FormatAmount(state, refusal.resource, refusal.used));
}

WaitReason WhatIsShort(const SchedulerState& state, const TaskRequest& request) {
  const Demand& demand = request.demand;
  Nearest nearest;
  int64_t total_cpu = 0;
  int64_t total_memory = 0;
  int64_t total_devices = 0;
  CountedAmounts total_counted{};
  for (NodeIndex node = 0; node < state.cluster.size(); ++node) {
    const NodeState& room = state.cluster.state(node);
    const NodeCapacity& capacity = state.cluster.capacity(node);
    if (!room.open || (demand.architectures >> capacity.architecture & 1U) == 0) continue;
    total_cpu += room.cpu;
    total_memory += room.memory;
    total_devices += AllFree(capacity, room, demand);
    for (size_t i = 0; i < kMaxCounted; ++i) total_counted[i] += room.counted[i];
    Nearest here;
    here.found = true;
    here.node = node;
    here.missing = 0;
    const auto check = [&](size_t resource, int64_t needed, int64_t available) {
      if (available >= needed) return;
      ++here.missing;
      here.resource = resource;
      here.needed = needed;
      here.available = available;
    };
    check(kMemory, demand.memory, room.memory);
    check(kCpu, demand.cpu, room.cpu);
    for (size_t i = 0; demand.counted != nullptr && i < kMaxCounted; ++i) {
      check(kFirstDeviceResource + i, (*demand.counted)[i], room.counted[i]);
    }
    if (demand.wants_devices()) {
      check(request.device_resource, demand.device_amount(), Together(capacity, room, demand));
    }
    const bool better = !nearest.found || here.missing < nearest.missing ||
                        (here.missing == nearest.missing && here.resource == nearest.resource &&
                         here.available > nearest.available);
    if (here.missing > 0 && better) nearest = here;
  }
  WaitReason reason;
  if (!nearest.found) {
    reason.rule = WaitReason::Rule::shortage;
    reason.sentence = request.members > 1 ? "finds no room for all its members at a time"
                                          : "finds no node that is open to it";
    return reason;
  }
  reason.resource = nearest.resource;
  reason.needed = nearest.needed;
  reason.available = nearest.available;
  reason.node = nearest.node;
  reason.has_node = true;
  const bool of_devices = demand.wants_devices() && nearest.resource == request.device_resource;
  const int64_t total = nearest.resource == kCpu      ? total_cpu
                        : nearest.resource == kMemory ? total_memory
                        : of_devices                  ? total_devices
                                     : total_counted[nearest.resource - kFirstDeviceResource];
  const std::string needs =
      absl::StrCat("needs ", FormatAmount(state, nearest.resource, nearest.needed));
  if (total < nearest.needed) {
    reason.rule = WaitReason::Rule::shortage;
    reason.available = total;
    reason.sentence = absl::StrCat(
        needs, "; ",
        total == 0 ? "none is free"
                   : absl::StrCat(FormatAmount(state, nearest.resource, total), " free in all"));
    return reason;
  }
  reason.rule = WaitReason::Rule::fragmentation;
  const bool share = of_devices && demand.whole_devices == 0;
  reason.sentence = absl::StrCat(needs, share ? " on one device" : " on one node",
                                 "; the most free", share ? " on any device" : " on any", " is ",
                                 nearest.resource == kMemory
                                     ? FormatAmount(state, kMemory, nearest.available)
                                     : Quantity::FromThousandths(nearest.available).ToString(),
                                 " on node ", state.node_names[nearest.node], " (",
                                 FormatAmount(state, nearest.resource, total), " free in all)");
  return reason;
}

std::optional<WaitReason> WhatIsRefused(const SchedulerState& state, const TaskState& task) {
  Demand demand = task.request.demand;
  if (demand.device_kinds == task.asked_kinds) return std::nullopt;
  demand.device_kinds = task.asked_kinds;
  for (NodeIndex node = 0; node < state.cluster.size(); ++node) {
    if (!state.cluster.Fits(node, demand)) continue;
    const std::optional<Enforcement> there = state.enforcement.Of(
        demand, state.cluster.capacity(node), state.cluster.FirstDevices(node, demand));
    WaitReason reason;
    reason.rule = WaitReason::Rule::enforcement;
    reason.node = node;
    reason.has_node = true;
    reason.sentence =
        absl::StrCat("asks for ", AbslView(ToString(task.request.at_least)),
                     " enforcement; what is free of devices, on node ", state.node_names[node],
                     " first, has ", AbslView(ToString(there.value_or(Enforcement::accounting))));
    return reason;
  }
  return std::nullopt;
}

}  // namespace trackbed
