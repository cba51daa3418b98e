#include "engine/cluster_model.hpp"

#include <algorithm>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/scheduling/amounts.hpp"

namespace trackbed {
namespace {

constexpr int64_t kMostCounted = int64_t{1} << 53;  // Cluster takes no more
constexpr size_t kMostCardSlots = 5;                // sets of them are numbers of device kinds

std::string_view FamilyOf(const SlotType& type, std::string_view slot) {
  return type.exclusive_set.empty() ? slot : type.exclusive_set;
}

// Whether it is given as the scheduler's devices are: whole, or in thousandths of the whole.
bool IsCard(const NodeDevice& device, const SlotType& type) {
  return (type.kind == SlotKind::discrete || type.kind == SlotKind::share) &&
         device.capacity == Quantity::FromThousandths(kWholeDevice);
}

// Rounded down, so that sums of what is taken never exceed what there is.
int64_t CountOf(const SlotType& type, Quantity amount) {
  const int64_t count = amount.thousandths() / (type.kind == SlotKind::bytes ? 1000 : 1);
  return std::min(count, kMostCounted);
}

}  // namespace

ClusterModel::ClusterModel(std::span<const NodeDescription> nodes) : nodes_(nodes.size()) {
  FindCardSlots(nodes);
  bool told_apart = true;
  for (size_t i = 0; i < nodes.size(); ++i) {
    told_apart = AddCards(nodes[i], &nodes_[i]) && told_apart;
  }
  if (!told_apart) {  // what one node cannot have card by card is only counted on all
    card_slots_.clear();
    nodes_.assign(nodes.size(), Node());
  }
  if (has_cards()) {
    counted_slots_.emplace_back();
    resources_.push_back(IsOfCards("cuda.shares") ? "cuda.shares" : card_slots_.front());
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    nodes_[i].capacity.cpu = CountOf(*FindSlotType("cpu"), nodes[i].cpu);
    nodes_[i].capacity.memory = CountOf(*FindSlotType("mem"), nodes[i].mem);
    AddCounted(nodes[i], &nodes_[i]);
  }
}

bool ClusterModel::IsOfCards(std::string_view slot) const {
  return std::find(card_slots_.begin(), card_slots_.end(), slot) != card_slots_.end();
}

void ClusterModel::FindCardSlots(std::span<const NodeDescription> nodes) {
  const auto always_cards = [&](const std::string& slot, const SlotType& type) {
    return std::all_of(nodes.begin(), nodes.end(), [&](const NodeDescription& node) {
      return std::all_of(node.devices.begin(), node.devices.end(), [&](const NodeDevice& device) {
        return device.slot != slot || IsCard(device, type);
      });
    });
  };
  std::string_view family;
  for (const NodeDescription& node : nodes) {
    for (const NodeDevice& device : node.devices) {
      const SlotType* type = FindSlotType(device.slot);
      if (!IsCard(device, *type) || IsOfCards(device.slot)) continue;
      if (!family.empty() && FamilyOf(*type, device.slot) != family) continue;
      if (!always_cards(device.slot, *type)) continue;
      family = FamilyOf(*type, device.slot);
      card_slots_.push_back(device.slot);
    }
  }
  if (card_slots_.size() > kMostCardSlots) card_slots_.clear();
}

bool ClusterModel::AddCards(const NodeDescription& description, Node* node) const {
  std::vector<std::string_view> cards;
  for (const NodeDevice& device : description.devices) {
    if (!IsOfCards(device.slot)) continue;
    const std::string_view name = device.part_of.empty() ? device.id : device.part_of;
    const auto place = std::find(cards.begin(), cards.end(), name);
    node->views.push_back({device.slot, device.id, static_cast<int>(place - cards.begin())});
    if (place == cards.end()) cards.push_back(name);
  }
  if (cards.size() > kMaxDevices) return false;
  node->capacity.device_count = static_cast<uint8_t>(cards.size());
  // The kind of a card is the set of slots that it is handed out as.
  for (const View& view : node->views) {
    const auto slot = std::find(card_slots_.begin(), card_slots_.end(), view.slot);
    uint8_t& kind = node->capacity.device_kind[static_cast<size_t>(view.card)];
    kind = static_cast<uint8_t>(kind | 1U << static_cast<unsigned>(slot - card_slots_.begin()));
  }
  return true;
}

void ClusterModel::AddCounted(const NodeDescription& description, Node* node) {
  if (has_cards()) {
    node->capacity.counted[0] = int64_t{node->capacity.device_count} * kWholeDevice;
  }
  for (const NodeDevice& device : description.devices) {
    if (IsOfCards(device.slot)) continue;
    auto place = std::find(counted_slots_.begin(), counted_slots_.end(), device.slot);
    if (place == counted_slots_.end()) {
      if (counted_slots_.size() == kMaxCounted) continue;  // left to the allocator alone
      place = counted_slots_.insert(place, device.slot);
      resources_.push_back(device.slot);
    }
    int64_t& sum = node->capacity.counted[static_cast<size_t>(place - counted_slots_.begin())];
    sum = std::min(sum + CountOf(*FindSlotType(device.slot), device.capacity), kMostCounted);
  }
}

Demand ClusterModel::DemandOf(std::span<const SlotRequest> request, uint32_t together,
                              CountedAmounts* counted) const {
  Demand demand;
  *counted = CountedAmounts{};
  int64_t of_cards = 0;
  for (const SlotRequest& wanted : request) {
    int64_t amount = 0;
    if (__builtin_mul_overflow(CountOf(*FindSlotType(wanted.slot), wanted.amount),
                               int64_t{together}, &amount)) {
      amount = kMostCounted;  // of which no node has more
    }
    if (wanted.slot == "cpu") {
      demand.cpu += amount;
    } else if (wanted.slot == "mem") {
      demand.memory += amount;
    } else if (const auto of = std::find(card_slots_.begin(), card_slots_.end(), wanted.slot);
               of != card_slots_.end()) {
      of_cards += amount;
      const auto slot = static_cast<unsigned>(of - card_slots_.begin());
      demand.device_kinds = 0;
      for (unsigned kind = 1; kind < 1U << card_slots_.size(); ++kind) {
        if ((kind >> slot & 1U) != 0) demand.device_kinds |= uint64_t{1} << kind;
      }
    } else {
      const auto place = std::find(counted_slots_.begin(), counted_slots_.end(), wanted.slot);
      if (place == counted_slots_.end()) continue;
      (*counted)[static_cast<size_t>(place - counted_slots_.begin())] += amount;
    }
  }
  // The allocator gives a fraction beyond one card in equal parts of several, and to each member
  // parts of its own.
  const int64_t of_one = of_cards / together;
  const bool fractions = of_one % kWholeDevice != 0 && (of_one > kWholeDevice || together > 1);
  if (fractions || of_cards > int64_t{kMaxDevices} * kWholeDevice) {
    (*counted)[0] = of_cards;
    return demand;
  }
  demand.whole_devices = static_cast<int16_t>(of_cards / kWholeDevice);
  demand.share = static_cast<int16_t>(of_cards % kWholeDevice);
  return demand;
}

void ClusterModel::AddParts(const Demand& demand, std::span<const AllocationPart> parts,
                            Placement* placement) const {
  if (!demand.wants_devices()) return;
  const std::vector<View>& views = nodes_[placement->node].views;
  for (const AllocationPart& part : parts) {
    const auto view = std::find_if(views.begin(), views.end(), [&](const View& known) {
      return known.slot == part.slot && known.device == part.device;
    });
    if (view == views.end()) continue;
    if (part.amount == Quantity::FromThousandths(kWholeDevice)) {
      placement->whole_devices = static_cast<uint16_t>(placement->whole_devices | 1U << view->card);
    } else {
      placement->shared_device = static_cast<int8_t>(view->card);
    }
  }
}

std::vector<std::string_view> ClusterModel::DevicesBeside(const Placement& placement) const {
  std::vector<std::string_view> devices;
  for (const View& view : nodes_[placement.node].views) {
    const bool used = (placement.whole_devices >> view.card & 1U) != 0;
    if (!used && view.card != placement.shared_device) devices.push_back(view.device);
  }
  return devices;
}

}  // namespace trackbed
