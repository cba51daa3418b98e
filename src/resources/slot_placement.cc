// Where an amount goes: the strategies, NUMA nodes and links.
#include <absl/container/inlined_vector.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "resources/connected_set.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kAnywhere = ~uint64_t{0};
constexpr int64_t kOne = 1000;
constexpr int kNumaNodes = 64;

// Splits `amount`, a multiple of `quantum`, into parts for devices of which `room` is left, most
// room first: as equal as they can be, what cannot be equal to the first. There is room enough.
template <typename Amounts>
void SplitEvenly(int64_t amount, int64_t quantum, const Amounts& room, Amounts* parts) {
  parts->assign(room.size(), 0);
  size_t left = room.size();
  // Those too small for an equal part are filled.
  while (left > 0 && room[left - 1] <= amount / static_cast<int64_t>(left)) {
    (*parts)[left - 1] = room[left - 1];
    amount -= room[left - 1];
    --left;
  }
  if (left == 0) return;
  const auto count = static_cast<int64_t>(left);
  const int64_t part = amount / count / quantum * quantum;
  auto extra = static_cast<size_t>((amount - part * count) / quantum);
  for (size_t i = 0; i < left; ++i) {
    (*parts)[i] = part + (i < extra ? quantum : 0);
  }
}

}  // namespace

uint64_t SlotAllocator::NodesOf(const Placement& placement, size_t from) const {
  uint64_t nodes = 0;
  for (size_t i = from; i < placement.size(); ++i) {
    const uint64_t bits = numa_bits_[placement[i].device];
    if (bits != kAnywhere) nodes |= bits;
  }
  return nodes;
}

bool SlotAllocator::Place(const SlotDemand& demand, Placement* placement) const {
  switch (options_.numa) {
    case NumaPolicy::none:
      return PlaceFrom(demand, 0, kAnywhere, placement);
    case NumaPolicy::prefer_single_node:
      return PlaceOnOneNode(demand, placement);
    case NumaPolicy::interleaved:
      return PlaceNearby(demand, placement);
  }
  return false;
}

bool SlotAllocator::PlaceFrom(const SlotDemand& demand, size_t first, uint64_t nodes,
                              Placement* placement) const {
  const size_t before = placement->size();
  for (size_t i = first; i < demand.entries_.size(); ++i) {
    const auto& [slot, amount] = demand.entries_[i];
    if (PlaceSlot(slots_[slot], amount, nodes, placement)) continue;
    placement->resize(before);
    return false;
  }
  return true;
}

bool SlotAllocator::PlaceOnOneNode(const SlotDemand& demand, Placement* placement) const {
  if (demand.entries_.empty()) return true;
  // Where the first slot goes if it is free to choose: mostly one node that has room for the rest.
  const auto& [index, amount] = demand.entries_.front();
  const Slot& first = slots_[index];
  if (!PlaceSlot(first, amount, kAnywhere, placement)) return false;
  const uint64_t chosen = NodesOf(*placement);
  if (demand.entries_.size() == 1 && std::popcount(chosen) <= 1) return true;
  if (std::popcount(chosen) == 1 && PlaceFrom(demand, 1, chosen, placement)) return true;
  placement->clear();
  // Else the other nodes, those first that have most of the first slot free.
  std::array<std::pair<int64_t, uint64_t>, kNumaNodes> nodes;
  size_t count = 0;
  for (uint64_t left = all_nodes_; left != 0; left &= left - 1) {
    const uint64_t node = left & (~left + 1);
    if (node == chosen) continue;
    int64_t open = 0;
    for (uint32_t i = first.begin; i < first.end; ++i) {
      if (numa_bits_[i] == node) open += open_[i];
    }
    nodes[count++] = {-open, node};
  }
  std::sort(nodes.begin(), nodes.begin() + static_cast<ptrdiff_t>(count));
  for (size_t i = 0; i < count; ++i) {
    if (PlaceFrom(demand, 0, nodes[i].second, placement)) return true;
  }
  return PlaceNearby(demand, placement);
}

bool SlotAllocator::PlaceNearby(const SlotDemand& demand, Placement* placement) const {
  for (const auto& [index, amount] : demand.entries_) {
    const Slot& slot = slots_[index];
    const uint64_t taken = NodesOf(*placement);
    const uint64_t near = taken == 0 ? kAnywhere : taken;
    if (slot.of_node && options_.numa == NumaPolicy::interleaved &&
        Interleave(slot, amount, near, placement)) {
      continue;
    }
    if (PlaceSlot(slot, amount, near, placement)) continue;
    if (near != kAnywhere && PlaceSlot(slot, amount, kAnywhere, placement)) continue;
    placement->clear();
    return false;
  }
  return true;
}

bool SlotAllocator::Interleave(const Slot& slot, int64_t amount, uint64_t nodes,
                               Placement* placement) const {
  // Whole cores, where that is possible, rather than exactly equal parts.
  for (const int64_t quantum : {std::max(slot.quantum, kOne), slot.quantum}) {
    if (amount % quantum != 0) continue;
    Candidates candidates = FindCandidates(slot, nodes);
    absl::InlinedVector<int64_t, 16> room;
    absl::InlinedVector<int64_t, 16> parts;
    int64_t sum = 0;
    for (const uint32_t device : candidates) {
      room.push_back(open_[device] - open_[device] % quantum);
      sum += room.back();
    }
    if (sum < amount) continue;
    SplitEvenly(amount, quantum, room, &parts);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i] > 0) placement->push_back({candidates[i], parts[i]});
    }
    return true;
  }
  return false;
}

bool SlotAllocator::PlaceSlot(const Slot& slot, int64_t amount, uint64_t nodes,
                              Placement* placement) const {
  const uint32_t device = FindOne(slot, amount, nodes);
  if (device != kNone) {
    placement->push_back({device, amount});
    return true;
  }
  return slot.type->spans_devices && Spread(slot, amount, nodes, placement);
}

// The device for an amount that fits one. Of equal ones the first; of shares laid out evenly, the
// last, as Backend.AI does.
uint32_t SlotAllocator::FindOne(const Slot& slot, int64_t amount, uint64_t nodes) const {
  uint32_t best = kNone;
  if (options_.strategy == AllocationStrategy::fill ||
      (slot.of_node && options_.strategy == AllocationStrategy::even)) {
    int64_t most = amount - 1;
    for (uint32_t i = slot.begin; i < slot.end; ++i) {
      if (open_[i] > most && Allowed(i, nodes)) {
        best = i;
        most = open_[i];
      }
    }
    return best;
  }
  const bool last =
      options_.strategy == AllocationStrategy::even && slot.type->kind == SlotKind::share;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (uint32_t i = slot.begin; i < slot.end; ++i) {
    if (open_[i] >= amount && Allowed(i, nodes) &&
        (open_[i] < least || (last && open_[i] == least))) {
      best = i;
      least = open_[i];
    }
  }
  return best;
}

// Devices of which a quantum is free, most free first. Of equal ones, when nodes are interleaved,
// one of each node after the other.
SlotAllocator::Candidates SlotAllocator::FindCandidates(const Slot& slot, uint64_t nodes) const {
  Candidates found;
  for (uint32_t i = slot.begin; i < slot.end; ++i) {
    if (open_[i] >= slot.quantum && Allowed(i, nodes)) found.push_back(i);
  }
  if (options_.numa == NumaPolicy::interleaved && !slot.of_node) {
    // The turn of a device: how many of its node come before it.
    absl::InlinedVector<std::pair<size_t, uint32_t>, 16> turns;
    for (size_t i = 0; i < found.size(); ++i) {
      size_t turn = 0;
      for (size_t j = 0; j < i; ++j) {
        turn += numa_bits_[found[j]] == numa_bits_[found[i]] &&
                        Usable(slot, found[j]) == Usable(slot, found[i])
                    ? 1
                    : 0;
      }
      turns.emplace_back(turn, found[i]);
    }
    std::sort(turns.begin(), turns.end());
    for (size_t i = 0; i < found.size(); ++i) found[i] = turns[i].second;
  }
  // A stable sort by insertion: the library's would ask for a buffer on the heap.
  for (size_t i = 1; i < found.size(); ++i) {
    const uint32_t device = found[i];
    size_t place = i;
    for (; place > 0 && Usable(slot, found[place - 1]) < Usable(slot, device); --place) {
      found[place] = found[place - 1];
    }
    found[place] = device;
  }
  return found;
}

// For an amount that no single device holds.
bool SlotAllocator::Spread(const Slot& slot, int64_t amount, uint64_t nodes,
                           Placement* placement) const {
  const bool whole = !slot.of_node && !options_.allow_fragmentation;
  if (whole && amount <= slot.largest) return false;
  const Candidates candidates = FindCandidates(slot, nodes);
  int64_t usable = 0;
  for (const uint32_t device : candidates) usable += Usable(slot, device);
  if (usable < amount) return false;
  if (whole) return SpreadInEqualParts(slot, amount, candidates, placement);
  switch (options_.strategy) {
    case AllocationStrategy::best_fit:
      if (SpreadTightly(slot, amount, candidates, placement)) return true;
      break;
    case AllocationStrategy::even:
      SpreadEvenly(slot, amount, candidates, placement);
      return true;
    case AllocationStrategy::fill:
      break;
  }
  SpreadFull(slot, amount, candidates, placement);
  return true;
}

void SlotAllocator::SpreadFull(const Slot& slot, int64_t amount, const Candidates& candidates,
                               Placement* placement) const {
  // As few devices as can be; of those that are equal to the last of them, the best connected.
  size_t count = 0;
  for (int64_t left = amount; left > 0; ++count) left -= Usable(slot, candidates[count]);
  const int64_t last = Usable(slot, candidates[count - 1]);
  Candidates chosen;
  Candidates equal;
  for (const uint32_t device : candidates) {
    if (Usable(slot, device) > last) chosen.push_back(device);
    if (Usable(slot, device) == last) equal.push_back(device);
  }
  ChooseConnected(slot, equal, count - chosen.size(), &chosen);
  for (const uint32_t device : chosen) {
    const int64_t part = std::min(amount, Usable(slot, device));
    placement->push_back({device, part});
    amount -= part;
  }
}

void SlotAllocator::SpreadEvenly(const Slot& slot, int64_t amount, const Candidates& candidates,
                                 Placement* placement) const {
  size_t count = 0;
  for (int64_t left = amount; left > 0; ++count) left -= Usable(slot, candidates[count]);
  // Of all runs of so many devices with room enough, the one with the most equal parts; among
  // equals the smallest devices, so that large ones stay free.
  absl::InlinedVector<int64_t, 16> room;
  absl::InlinedVector<int64_t, 16> parts;
  absl::InlinedVector<int64_t, 16> best_parts;
  size_t best = 0;
  int64_t least_spread = std::numeric_limits<int64_t>::max();
  for (size_t first = 0; first + count <= candidates.size(); ++first) {
    room.clear();
    int64_t sum = 0;
    for (size_t i = first; i < first + count; ++i) {
      room.push_back(Usable(slot, candidates[i]));
      sum += room.back();
    }
    if (sum < amount) break;
    SplitEvenly(amount, slot.quantum, room, &parts);
    const auto [smallest, largest] = std::minmax_element(parts.begin(), parts.end());
    if (*largest - *smallest <= least_spread) {
      least_spread = *largest - *smallest;
      best = first;
      best_parts = parts;
    }
  }
  Candidates chosen(candidates.begin() + static_cast<ptrdiff_t>(best),
                    candidates.begin() + static_cast<ptrdiff_t>(best + count));
  // Where all are equal, so are other devices as well: then links decide.
  const int64_t level = Usable(slot, chosen.front());
  if (level == Usable(slot, chosen.back())) {
    Candidates equal;
    for (const uint32_t device : candidates) {
      if (Usable(slot, device) == level) equal.push_back(device);
    }
    chosen.clear();
    ChooseConnected(slot, equal, count, &chosen);
  }
  for (size_t i = 0; i < count; ++i) placement->push_back({chosen[i], best_parts[i]});
}

// Whole devices, and the rest where it fits most tightly; false when there are too few for that.
bool SlotAllocator::SpreadTightly(const Slot& slot, int64_t amount, const Candidates& candidates,
                                  Placement* placement) const {
  const int64_t size = slot.largest - slot.largest % slot.quantum;
  if (size == 0) return false;
  const int64_t rest = amount % size;
  const auto count = static_cast<size_t>(amount / size);
  Candidates whole;
  for (const uint32_t device : candidates) {
    if (Usable(slot, device) == size) whole.push_back(device);
  }
  uint32_t last = kNone;
  if (rest > 0) {
    // Candidates are in order, so the last that holds it is the tightest.
    for (const uint32_t device : candidates) {
      if (Usable(slot, device) >= rest &&
          (last == kNone || Usable(slot, device) < Usable(slot, last))) {
        last = device;
      }
    }
    if (last == kNone) return false;
    whole.erase(std::remove(whole.begin(), whole.end(), last), whole.end());
  }
  if (whole.size() < count) return false;
  Candidates chosen;
  if (last != kNone) chosen.push_back(last);
  ChooseConnected(slot, whole, count, &chosen);
  for (const uint32_t device : chosen) {
    placement->push_back({device, device == last ? rest : size});
  }
  return true;
}

bool SlotAllocator::SpreadInEqualParts(const Slot& slot, int64_t amount,
                                       const Candidates& candidates, Placement* placement) const {
  for (size_t count = 2; count <= candidates.size(); ++count) {
    const auto parts = static_cast<int64_t>(count);
    const int64_t part = amount / parts / slot.quantum * slot.quantum;
    if (part == 0) return false;
    const auto larger = static_cast<size_t>((amount - part * parts) / slot.quantum);
    if (Usable(slot, candidates[count - 1]) < part) continue;
    if (larger > 0 && Usable(slot, candidates[larger - 1]) < part + slot.quantum) continue;
    // All that hold the larger part are as good as each other.
    const int64_t needed = part + (larger > 0 ? slot.quantum : 0);
    Candidates fitting;
    for (const uint32_t device : candidates) {
      if (Usable(slot, device) >= needed) fitting.push_back(device);
    }
    Candidates chosen;
    if (fitting.size() >= count) {
      ChooseConnected(slot, fitting, count, &chosen);
    } else {
      chosen.assign(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(count));
    }
    for (size_t i = 0; i < count; ++i) {
      placement->push_back({chosen[i], part + (i < larger ? slot.quantum : 0)});
    }
    return true;
  }
  return false;
}

void SlotAllocator::ChooseConnected(const Slot& slot, const Candidates& among, size_t count,
                                    Candidates* chosen) const {
  const bool in_order =
      slot.links.empty() || options_.numa == NumaPolicy::interleaved || count >= among.size();
  if (in_order) {
    chosen->insert(chosen->end(), among.begin(), among.begin() + static_cast<ptrdiff_t>(count));
    return;
  }
  const LinkTable links{slot.links, slot.begin, slot.end - slot.begin};
  const size_t before = chosen->size();
  chosen->resize(before + count);
  FindConnectedSet(links, {among.data(), among.size()}, {chosen->data(), before},
                   {chosen->data() + before, count});
}

}  // namespace trackbed
