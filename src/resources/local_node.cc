// What this machine has, as far as this process may use it, and what of it is offered.
#include "trackbed/resources/local_node.hpp"

#include <absl/strings/str_cat.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

int64_t ReadNumber(const char* path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : otherwise;
}

// In thousandths of a core.
int64_t UsableCores() {
  cpu_set_t set;
  int64_t cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                               : sysconf(_SC_NPROCESSORS_ONLN);
  int64_t thousandths = std::max<int64_t>(cores, 1) * 1000;
  // A container's share: "max 100000" or "150000 100000" (cgroup v2).
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  int64_t period = 0;
  if (quota_file >> quota >> period && quota != "max" && period > 0) {
    const int64_t limit = std::strtoll(quota.c_str(), nullptr, 10) * 1000 / period;
    if (limit > 0) thousandths = std::min(thousandths, limit);
  }
  const int64_t v1_quota = ReadNumber("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1);
  const int64_t v1_period = ReadNumber("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 0);
  if (v1_quota > 0 && v1_period > 0) {
    thousandths = std::min(thousandths, v1_quota * 1000 / v1_period);
  }
  return thousandths;
}

int64_t UsableMemory() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* limit :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const int64_t value = ReadNumber(limit, -1);  // "max" reads as no number
    if (value > 0) bytes = std::min(bytes, value);
  }
  return bytes;
}

bool InOneSet(const SlotType& a, const SlotType& b) {
  return &a == &b || (!a.exclusive_set.empty() && a.exclusive_set == b.exclusive_set);
}

// Devices that stand for themselves can be handed out as a whole or in shares, as is asked.
bool IsWholeDevice(const SlotType& type) {
  return type.kind == SlotKind::discrete || type.kind == SlotKind::share;
}

// The capacities of the devices that make up `amount`: one each, and what is left.
std::vector<Quantity> Devices(const SlotType& type, Quantity amount) {
  std::vector<Quantity> capacities;
  if (!IsWholeDevice(type)) {
    if (amount > Quantity()) capacities.push_back(amount);
    return capacities;
  }
  constexpr int64_t kOne = 1000;
  // So many that an allocator refuses them, and no more.
  constexpr size_t kMost = 2000;
  for (int64_t left = amount.thousandths(); left > 0 && capacities.size() < kMost; left -= kOne) {
    capacities.push_back(Quantity::FromThousandths(std::min(left, kOne)));
  }
  return capacities;
}

void OfferDevices(const std::string& slot, const SlotType& type, Quantity amount,
                  std::vector<NodeDevice>* spare, std::vector<NodeDevice>* offered) {
  size_t number = 0;
  for (const Quantity capacity : Devices(type, amount)) {
    const auto own = std::find_if(spare->begin(), spare->end(), [&](const NodeDevice& device) {
      const SlotType& its = *FindSlotType(device.slot);
      return device.slot == slot ||
             (IsWholeDevice(its) && IsWholeDevice(type) && InOneSet(its, type));
    });
    NodeDevice device;
    if (own != spare->end()) {
      device = std::move(*own);
      spare->erase(own);
    } else {
      device.id = absl::StrCat(slot, "#", number);
    }
    device.slot = slot;
    device.capacity = capacity;
    offered->push_back(std::move(device));
    ++number;
  }
}

// A pipeline may ask for whole GPUs or for shares of them, and a GPU is held in one way at a time.
void OfferShares(NodeDescription* node) {
  const size_t count = node->devices.size();
  for (size_t i = 0; i < count; ++i) {
    NodeDevice view = node->devices[i];
    if (view.slot != "cuda.device") continue;
    view.part_of = view.id;
    view.id += "/shares";
    view.slot = "cuda.shares";
    node->devices.push_back(std::move(view));
  }
}

void ForgetNuma(NodeDescription* node) {
  node->numa.clear();
  for (NodeDevice& device : node->devices) device.numa_node = kUnknownNumaNode;
}

}  // namespace

NodeDescription DetectLocalNode(const DeviceProbeOptions& options) {
  // A machine that cannot be read is one of which only what follows is known.
  NodeDescription node = ProbeNode(options).value_or(NodeDescription());
  OfferShares(&node);
  if (node.numa.size() == 1) ForgetNuma(&node);  // it says nothing
  std::vector<SlotRequest> usable;
  const auto limit = [&](const char* slot, Quantity found, Quantity allowed) {
    if (found == Quantity() || allowed < found) usable.push_back({slot, allowed});
  };
  limit("cpu", node.cpu, Quantity::FromThousandths(UsableCores()));
  const StatusOr<Quantity> memory = Quantity::FromUnits(UsableMemory());
  if (memory.ok()) limit("mem", node.mem, *memory);
  OfferSlots(usable, &node);
  return node;
}

void OfferSlots(const std::vector<SlotRequest>& slots, NodeDescription* node) {
  std::vector<NodeDevice> offered;
  std::vector<NodeDevice> spare;
  for (NodeDevice& device : node->devices) {
    const SlotType* type = FindSlotType(device.slot);
    const bool replaced = std::any_of(slots.begin(), slots.end(), [&](const SlotRequest& given) {
      return InOneSet(*FindSlotType(given.slot), *type);
    });
    // The second way to hand out a card stands for the card itself.
    if (replaced && IsWholeDevice(*type) && !device.part_of.empty()) continue;
    (replaced ? spare : offered).push_back(std::move(device));
  }
  bool has_all = true;
  for (const SlotRequest& given : slots) {
    if (given.slot != "cpu" && given.slot != "mem") {
      OfferDevices(given.slot, *FindSlotType(given.slot), given.amount, &spare, &offered);
      continue;
    }
    Quantity& amount = given.slot == "cpu" ? node->cpu : node->mem;
    has_all = has_all && amount == given.amount;
    amount = given.amount;
  }
  node->devices = std::move(offered);
  if (!has_all) ForgetNuma(node);
  std::erase_if(node->links, [&](const NodeLink& link) {
    const auto gone = [&](const std::string& id) {
      return std::none_of(node->devices.begin(), node->devices.end(),
                          [&](const NodeDevice& device) { return device.id == id; });
    };
    return gone(link.device) || gone(link.peer);
  });
}

NodeDescription NodeOfSlots(const std::vector<SlotRequest>& slots) {
  NodeDescription node;
  OfferSlots(slots, &node);
  return node;
}

}  // namespace trackbed
