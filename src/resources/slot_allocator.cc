// The account of one machine: what is held of each device, and by which allocation.
#include "trackbed/resources/slot_allocator.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <map>

#include "trackbed/resources/node_reader.hpp"

namespace trackbed {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
constexpr int64_t kOne = 1000;  // a whole unit in thousandths
constexpr size_t kMaxDevices = 1024;
// An id is a serial number above the place in the table of live allocations. So many places that no
// machine needs more, and so few that a wrong id cannot make the table huge.

Quantity Thousandths(int64_t amount) { return Quantity::FromThousandths(amount); }

std::string Amount(std::string_view slot, int64_t amount) {
  return FormatSlotAmount(slot, Thousandths(amount));
}

Status Conflict(std::string_view a, std::string_view b) {
  return InvalidArgument(
      absl::StrCat(AbslView(a), " and ", AbslView(b), " exclude each other, expected one of them"));
}

Status TooMany(uint64_t most) {
  return ResourceExhausted(absl::StrCat("there are ", most, " allocations already"));
}

// Both are of some set.
bool Exclude(const SlotType& a, const SlotType& b) { return a.exclusive_set == b.exclusive_set; }

}  // namespace

// ---- The machine -----------------------------------------------------------------------------

StatusOr<SlotAllocator> SlotAllocator::Create(const NodeDescription& node,
                                              SlotAllocatorOptions options) {
  TRACKBED_RETURN_IF_ERROR(ValidateNode(node));
  if (node.devices.size() > kMaxDevices) {
    return InvalidArgument(absl::StrCat("found ", node.devices.size(), " devices, expected ",
                                        kMaxDevices, " at most"));
  }
  SlotAllocator allocator;
  allocator.options_ = std::move(options);
  allocator.names_ = std::make_shared<std::deque<std::string>>();
  TRACKBED_RETURN_IF_ERROR(allocator.AddSlots(node));
  allocator.AddCards(node);
  return allocator;
}

Status SlotAllocator::AddSlots(const NodeDescription& node) {
  std::vector<std::string> names;
  // In the order of the table, in which cpu and mem are the first.
  for (const SlotType& type : KnownSlotTypes()) {
    if (!type.of_devices()) continue;
    for (const NodeDevice& device : node.devices) {
      if (FindSlotType(device.slot) != &type) continue;
      if (std::find(names.begin(), names.end(), device.slot) == names.end()) {
        names.push_back(device.slot);
      }
    }
  }
  names.emplace_back("cpu");
  names.emplace_back("mem");
  for (const std::string& name : names) TRACKBED_RETURN_IF_ERROR(AddSlot(node, name));
  for (const SlotRequest& quantum : options_.quanta) {
    const SlotType* type = FindSlotType(quantum.slot);
    if (type == nullptr) return UnknownSlot(quantum.slot);
    const int64_t step = quantum.amount.thousandths();
    if (step <= 0 || step % type->quantum.thousandths() != 0) {
      return InvalidArgument(absl::StrCat(
          "found a quantum of ", FormatSlotAmount(quantum.slot, quantum.amount), " ", quantum.slot,
          ", expected a multiple of ", FormatSlotAmount(quantum.slot, type->quantum)));
    }
    for (Slot& slot : slots_) {
      if (slot.name == quantum.slot) slot.quantum = step;
    }
  }
  for (const Device& device : devices_) {
    open_.push_back(device.healthy ? device.free : 0);
    const uint64_t bit = device.numa_node == kUnknownNumaNode ? 0 : uint64_t{1} << device.numa_node;
    all_nodes_ |= bit;
    numa_bits_.push_back(bit == 0 ? ~uint64_t{0} : bit);
  }
  return absl::OkStatus();
}

Status SlotAllocator::AddSlot(const NodeDescription& node, const std::string& name) {
  Slot slot;
  slot.name = names_->emplace_back(name);
  slot.type = FindSlotType(name);
  slot.begin = static_cast<uint32_t>(devices_.size());
  slot.quantum = slot.type->quantum.thousandths();
  slot.of_node = !slot.type->of_devices();
  const auto add = [&](std::string id, Quantity capacity, int numa_node, bool healthy) {
    Device device;
    device.id = names_->emplace_back(std::move(id));
    device.capacity = device.free = capacity.thousandths();
    device.slot = static_cast<uint32_t>(slots_.size());
    device.card = kNone;
    device.numa_node = numa_node;
    device.healthy = healthy;
    slot.largest = std::max(slot.largest, device.capacity);
    devices_.push_back(std::move(device));
    return !__builtin_add_overflow(slot.total, capacity.thousandths(), &slot.total);
  };
  bool counted = true;
  if (!slot.of_node) {
    for (const NodeDevice& device : node.devices) {
      if (device.slot != name) continue;
      counted = add(device.id, device.capacity, device.numa_node, device.healthy) && counted;
    }
  } else if (node.numa.empty()) {
    add("", name == "cpu" ? node.cpu : node.mem, kUnknownNumaNode, true);
  } else {
    for (const NumaNode& part : node.numa) {
      add(absl::StrCat("numa", part.id), name == "cpu" ? part.cpu : part.mem, part.id, true);
    }
  }
  if (!counted) {
    return InvalidArgument(absl::StrCat("the capacity of ", name, " is out of range"));
  }
  slot.end = static_cast<uint32_t>(devices_.size());
  if (!slot.of_node && slot.type->spans_devices) AddLinks(node, &slot);
  slots_.push_back(std::move(slot));
  return absl::OkStatus();
}

void SlotAllocator::AddLinks(const NodeDescription& node, Slot* slot) const {
  const size_t count = slot->end - slot->begin;
  if (count < 2) return;
  // A better level outweighs any number of lanes.
  constexpr auto kWeight = [](LinkLevel level, int lanes) {
    return static_cast<uint16_t>(static_cast<int>(level) * 100 + lanes);
  };
  std::vector<uint16_t> links(count * count);
  // No tables of Abseil's while an allocator is made: they do not survive memory that is out.
  std::map<std::string_view, size_t> places;
  for (size_t i = 0; i < count; ++i) {
    const Device& a = devices_[slot->begin + i];
    places.emplace(a.id, i);
    for (size_t j = 0; j < count; ++j) {
      const Device& b = devices_[slot->begin + j];
      const bool near = a.numa_node != kUnknownNumaNode && a.numa_node == b.numa_node;
      links[i * count + j] = kWeight(near ? LinkLevel::numa_node : LinkLevel::system, 0);
    }
  }
  for (const NodeLink& link : node.links) {
    const auto a = places.find(link.device);
    const auto b = places.find(link.peer);
    if (a == places.end() || b == places.end()) continue;
    const uint16_t weight = kWeight(link.level, link.lanes);
    links[a->second * count + b->second] = weight;
    links[b->second * count + a->second] = weight;
  }
  bool alike = true;
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < count; ++j)
      alike = alike && (i == j || links[i * count + j] == links[1]);
  }
  if (!alike) slot->links = std::move(links);
}

void SlotAllocator::AddCards(const NodeDescription& node) {
  std::map<std::string_view, const NodeDevice*> described;
  for (const NodeDevice& device : node.devices) described.emplace(device.id, &device);
  std::map<std::pair<std::string_view, std::string_view>, std::vector<uint32_t>> groups;
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    const Slot& slot = slots_[devices_[i].slot];
    if (slot.of_node || slot.type->exclusive_set.empty()) continue;
    const NodeDevice& device = *described.at(devices_[i].id);
    const std::string_view card = device.part_of.empty() ? device.id : device.part_of;
    groups[{card, slot.type->exclusive_set}].push_back(i);
  }
  for (auto& [name, members] : groups) {
    const SlotType* first = slots_[devices_[members.front()].slot].type;
    const bool mixed = std::any_of(members.begin(), members.end(), [&](uint32_t i) {
      return slots_[devices_[i].slot].type != first;
    });
    if (!mixed) continue;
    for (const uint32_t i : members) devices_[i].card = static_cast<uint32_t>(cards_.size());
    cards_.push_back({.devices = std::move(members)});
  }
}

// ---- Requests --------------------------------------------------------------------------------

StatusOr<SlotDemand> SlotAllocator::Prepare(std::span<const SlotRequest> request,
                                            Enforcement at_least) const {
  SlotDemand demand;
  const SlotRequest* exclusive = nullptr;
  for (const SlotRequest& wanted : request) {
    const SlotType* type = FindSlotType(wanted.slot);
    if (type == nullptr) return UnknownSlot(wanted.slot);
    if (wanted.amount == Quantity()) continue;
    const auto needs = [&](Quantity amount) {
      return absl::StrCat("needs ", FormatSlotAmount(wanted.slot, amount), " ", wanted.slot);
    };
    if (wanted.amount < Quantity()) {
      return InvalidArgument(absl::StrCat(needs(wanted.amount), ", expected no less than 0"));
    }
    if (!type->exclusive_set.empty()) {
      if (exclusive != nullptr && exclusive->slot != wanted.slot &&
          Exclude(*FindSlotType(exclusive->slot), *type)) {
        return Conflict(exclusive->slot, wanted.slot);
      }
      exclusive = &wanted;
    }
    const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                   [&](const Slot& entry) { return entry.name == wanted.slot; });
    if (slot == slots_.end()) {
      return ResourceExhausted(absl::StrCat(needs(wanted.amount), ", there is none"));
    }
    const auto index = static_cast<uint32_t>(slot - slots_.begin());
    const auto earlier = std::find_if(demand.entries_.begin(), demand.entries_.end(),
                                      [&](const auto& entry) { return entry.slot == index; });
    Quantity total = wanted.amount;
    if (earlier != demand.entries_.end() &&
        !Quantity::Add(total, Thousandths(earlier->amount), &total)) {
      return InvalidArgument(absl::StrCat("the amount of ", wanted.slot, " is out of range"));
    }
    if (type->kind == SlotKind::unique && total.thousandths() != kOne) {
      return InvalidArgument(
          absl::StrCat(needs(total), ", expected 1, because the slot is a single instance"));
    }
    if (total.thousandths() % slot->quantum != 0) {
      return InvalidArgument(absl::StrCat(needs(total), ", expected a multiple of ",
                                          Amount(wanted.slot, slot->quantum)));
    }
    if (!slot->of_node && type->enforcement < at_least) {
      return FailedPrecondition(
          absl::StrCat(wanted.slot, " has ", AbslView(ToString(type->enforcement)),
                       " enforcement, asked for ", AbslView(ToString(at_least))));
    }
    if (total.thousandths() > slot->total) {
      return ResourceExhausted(
          absl::StrCat(needs(total), ", there is ", Amount(wanted.slot, slot->total)));
    }
    if (!type->spans_devices && total.thousandths() > slot->largest) {
      return ResourceExhausted(absl::StrCat(needs(total), " on one device; the largest has ",
                                            Amount(wanted.slot, slot->largest)));
    }
    if (earlier != demand.entries_.end()) {
      earlier->amount = total.thousandths();
    } else {
      demand.entries_.push_back({index, total.thousandths()});
    }
  }
  // Accelerators are scarce and far apart, so they choose the NUMA node.
  std::sort(demand.entries_.begin(), demand.entries_.end(),
            [](const auto& a, const auto& b) { return a.slot < b.slot; });
  return demand;
}

Status SlotAllocator::Allocate(const SlotDemand& demand, Allocation* allocation) {
  if (TryAllocate(demand, allocation)) return absl::OkStatus();
  if (live_count_ >= kMaxLive) return TooMany(kMaxLive);
  return ResourceExhausted(Explain(demand).message);
}

bool SlotAllocator::TryAllocate(const SlotDemand& demand, Allocation* allocation) {
  Placement placement;
  if (live_count_ >= kMaxLive || !Place(demand, &placement)) return false;
  Describe(NextEntry(placement), allocation);
  allocation->id = Commit();
  return true;
}

uint64_t SlotAllocator::TryAllocate(const SlotDemand& demand) {
  Placement placement;
  if (live_count_ >= kMaxLive || !Place(demand, &placement)) return 0;
  NextEntry(placement);
  return Commit();
}

Shortfall SlotAllocator::Explain(const SlotDemand& demand) const {
  Shortfall result;
  for (const auto& [index, amount] : demand.entries_) {
    const Slot& slot = slots_[index];
    Placement placement;
    if (PlaceSlot(slot, amount, ~uint64_t{0}, &placement)) continue;
    int64_t free = 0;
    int64_t most = 0;
    int drained = 0;
    int elsewhere = 0;
    for (uint32_t i = slot.begin; i < slot.end; ++i) {
      free += open_[i];
      most = std::max(most, open_[i]);
      drained += devices_[i].healthy ? 0 : 1;
      const bool excluded = devices_[i].healthy && devices_[i].free > 0 && open_[i] == 0;
      elsewhere += excluded ? 1 : 0;
    }
    result.slot = slot.name;
    result.needed = Thousandths(amount);
    result.free = Thousandths(free);
    result.most_on_one_device = Thousandths(most);
    std::string& message = result.message;
    message = absl::StrCat("needs ", Amount(slot.name, amount), " ", AbslView(slot.name));
    if (free < amount) {
      result.kind = Shortfall::Kind::shortage;
      result.missing = Thousandths(amount - free);
      absl::StrAppend(&message, ", ", Amount(slot.name, free), " of ",
                      Amount(slot.name, slot.total), " free: ", Amount(slot.name, amount - free),
                      " short");
    } else {
      result.kind = Shortfall::Kind::fragmentation;
      const bool on_one =
          !slot.type->spans_devices || (!options_.allow_fragmentation && amount <= slot.largest);
      absl::StrAppend(&message,
                      on_one ? " on one device"
                      : options_.allow_fragmentation
                          ? " in steps of " + Amount(slot.name, slot.quantum)
                          : " in equal parts",
                      "; the most free on any device is ", Amount(slot.name, most), ", ",
                      Amount(slot.name, free), " in all");
    }
    if (drained > 0) absl::StrAppend(&message, "; unhealthy devices: ", drained);
    if (elsewhere > 0) {
      absl::StrAppend(&message, "; devices held by a slot that excludes it: ", elsewhere);
    }
    return result;
  }
  return result;
}

// ---- The account -----------------------------------------------------------------------------

void SlotAllocator::UpdateOpen(uint32_t device) {
  const Device& d = devices_[device];
  const bool excluded =
      d.card != kNone && cards_[d.card].held > 0 && cards_[d.card].holder != slots_[d.slot].type;
  open_[device] = d.healthy && !excluded ? d.free : 0;
}

void SlotAllocator::Take(const Placed& placed) {
  Device& device = devices_[placed.device];
  device.free -= placed.amount;
  if (device.card != kNone && cards_[device.card].held++ == 0) {
    cards_[device.card].holder = slots_[device.slot].type;
    for (const uint32_t other : cards_[device.card].devices) UpdateOpen(other);
  }
  UpdateOpen(placed.device);
}

void SlotAllocator::Give(const Placed& placed) {
  Device& device = devices_[placed.device];
  device.free += placed.amount;
  if (device.card != kNone && --cards_[device.card].held == 0) {
    for (const uint32_t other : cards_[device.card].devices) UpdateOpen(other);
  }
  UpdateOpen(placed.device);
}

SlotAllocator::Entry& SlotAllocator::NextEntry(const Placement& placement) {
  if (free_live_.empty()) {
    free_live_.reserve(1);
    live_.emplace_back();
    free_live_.push_back(static_cast<uint32_t>(live_.size() - 1));
  }
  Entry& next = live_[free_live_.back()];
  next.placement.assign(placement.begin(), placement.end());
  return next;
}

uint64_t SlotAllocator::Commit() {
  const uint32_t place = free_live_.back();
  Entry& live = live_[place];
  free_live_.pop_back();
  live.id = ++last_serial_ << kPlaceBits | place;
  ++live_count_;
  for (const Placed& placed : live.placement) Take(placed);
  return live.id;
}

void SlotAllocator::Describe(const Entry& entry, Allocation* allocation) const {
  allocation->id = entry.id;
  allocation->parts.clear();
  for (const Placed& placed : entry.placement) allocation->parts.push_back(PartOf(placed));
}

Status SlotAllocator::Release(uint64_t id) {
  const uint64_t place = id & kPlaces;
  if (!IsLive(id)) {
    return FailedPrecondition(absl::StrCat("allocation ", id, " is not live"));
  }
  free_live_.push_back(static_cast<uint32_t>(place));  // first: it needs memory
  Entry& live = live_[place];
  for (const Placed& placed : live.placement) Give(placed);
  live.id = 0;
  live.placement.clear();
  --live_count_;
  return absl::OkStatus();
}

Status SlotAllocator::Restore(std::span<const Allocation> live) {
  SlotAllocator restored = *this;
  for (const Allocation& allocation : live) {
    const Status status = restored.RestoreOne(allocation);
    if (!status.ok()) {
      return InvalidArgument(
          absl::StrCat("allocation ", allocation.id, ": ", AbslView(Message(status))));
    }
  }
  *this = std::move(restored);
  return absl::OkStatus();
}

Status SlotAllocator::Locate(std::span<const AllocationPart> parts, Placement* placement) const {
  const Slot* exclusive = nullptr;
  for (const AllocationPart& part : parts) {
    const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                   [&](const Slot& entry) { return entry.name == part.slot; });
    if (slot == slots_.end()) {
      return InvalidArgument(absl::StrCat("there is no slot \"", AbslView(part.slot), "\""));
    }
    uint32_t device = slot->begin;
    while (device < slot->end && devices_[device].id != part.device) ++device;
    if (device == slot->end) {
      return InvalidArgument(absl::StrCat("there is no device \"", AbslView(part.device), "\" of ",
                                          AbslView(slot->name)));
    }
    const std::string where =
        absl::StrCat(AbslView(slot->name), devices_[device].id.empty() ? "" : " on ",
                     AbslView(devices_[device].id));
    // Not of the quantum, which an operator may have changed meanwhile.
    const int64_t amount = part.amount.thousandths();
    if (amount <= 0 || amount % slot->type->quantum.thousandths() != 0) {
      return InvalidArgument(absl::StrCat(
          "found ", Amount(slot->name, amount), " ", where, ", expected a multiple of ",
          FormatSlotAmount(slot->name, slot->type->quantum), " above 0"));
    }
    for (const Placed& earlier : *placement) {
      if (earlier.device == device) return InvalidArgument(absl::StrCat(where, " stands twice"));
    }
    if (!slot->type->exclusive_set.empty()) {
      if (exclusive != nullptr && exclusive != &*slot && Exclude(*exclusive->type, *slot->type)) {
        return Conflict(exclusive->name, slot->name);
      }
      exclusive = &*slot;
    }
    if (amount > devices_[device].free) {
      return InvalidArgument(absl::StrCat("found ", Amount(slot->name, amount), " ", where, ", ",
                                          Amount(slot->name, devices_[device].free), " of ",
                                          Amount(slot->name, devices_[device].capacity), " free"));
    }
    const uint32_t card = devices_[device].card;
    if (card != kNone && cards_[card].held > 0 && cards_[card].holder != slot->type) {
      return InvalidArgument(
          absl::StrCat(where, " is held as ", AbslView(cards_[card].holder->name)));
    }
    placement->push_back({device, amount});
  }
  return absl::OkStatus();
}

Status SlotAllocator::AllocateParts(std::span<const AllocationPart> parts, Allocation* allocation) {
  if (live_count_ >= kMaxLive) return TooMany(kMaxLive);
  Placement placement;
  TRACKBED_RETURN_IF_ERROR(Locate(parts, &placement));
  Describe(NextEntry(placement), allocation);
  allocation->id = Commit();
  return absl::OkStatus();
}

Status SlotAllocator::RestoreOne(const Allocation& allocation) {
  const uint64_t place = allocation.id & kPlaces;
  const uint64_t serial = allocation.id >> kPlaceBits;
  if (serial == 0) return InvalidArgument("no allocator made this id");
  if (place < live_.size() && live_[place].id != 0) {
    return InvalidArgument(live_[place].id == allocation.id
                               ? "is live already"
                               : absl::StrCat("cannot be live beside ", live_[place].id));
  }
  Placement placement;
  TRACKBED_RETURN_IF_ERROR(Locate(allocation.parts, &placement));
  while (live_.size() <= place) {
    free_live_.push_back(static_cast<uint32_t>(live_.size()));
    live_.emplace_back();
  }
  std::erase(free_live_, static_cast<uint32_t>(place));
  for (const Placed& placed : placement) Take(placed);
  live_[place].id = allocation.id;
  live_[place].placement = std::move(placement);
  ++live_count_;
  last_serial_ = std::max(last_serial_, serial);
  return absl::OkStatus();
}

Status SlotAllocator::SetHealthy(std::string_view device, bool healthy) {
  for (const Slot& slot : slots_) {
    if (slot.of_node) continue;
    for (uint32_t i = slot.begin; i < slot.end; ++i) {
      if (devices_[i].id != device) continue;
      devices_[i].healthy = healthy;
      UpdateOpen(i);
      return absl::OkStatus();
    }
  }
  return NotFound(absl::StrCat("no device \"", AbslView(device), "\""));
}

bool SlotAllocator::Find(uint64_t id, Allocation* allocation) const {
  if (!IsLive(id)) return false;
  Describe(live_[id & kPlaces], allocation);
  return true;
}

std::vector<Allocation> SlotAllocator::Live() const {
  std::vector<Allocation> live;
  live.reserve(live_count_);
  for (const Entry& entry : live_) {
    if (entry.id != 0) Describe(entry, &live.emplace_back());
  }
  return live;
}

std::vector<DeviceUsage> SlotAllocator::Usage() const {
  std::vector<DeviceUsage> usage;
  usage.reserve(devices_.size());
  for (const Device& device : devices_) {
    usage.push_back({slots_[device.slot].name, device.id, Thousandths(device.capacity),
                     Thousandths(device.capacity - device.free), device.healthy});
  }
  return usage;
}

}  // namespace trackbed
