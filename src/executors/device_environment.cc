#include "executors/device_environment.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string_view>

#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

constexpr int64_t kOne = 1000;  // a whole device in thousandths

void AppendTo(std::string* list, std::string_view text) {
  absl::StrAppend(list, list->empty() ? "" : ",", AbslView(text));
}

// What the drivers of NVIDIA and AMD call the device: a UUID where we know it, else its number.
std::string NameFor(const AssignedDevice& device) {
  if (device.id.starts_with("MIG-")) return device.id;
  if (device.card.starts_with("GPU-")) return device.card;
  return absl::StrCat(device.index);
}

// CUDA Multi-Process Service, "Environment Variables". The percentage is of every device alike, and
// so is given only to who has one; the limits of memory are by place among the visible devices.
void LimitShares(const AttemptSpec& spec, std::map<std::string, std::string>* environment) {
  std::string memory;
  int place = 0;
  for (const AssignedDevice& device : spec.devices) {
    const SlotType* type = FindSlotType(device.slot);
    if (type == nullptr || type->kind != SlotKind::share) continue;
    const int64_t share = device.amount.thousandths();
    const int64_t mebibytes = (device.memory >> 20U) * share / kOne;
    if (share < kOne && mebibytes > 0) {
      AppendTo(&memory, absl::StrCat(place, "=", mebibytes, "M"));
    }
    if (share < kOne && spec.devices.size() == 1) {
      (*environment)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] =
          absl::StrCat(std::max<int64_t>(1, share * 100 / kOne));
    }
    ++place;
  }
  if (!memory.empty()) (*environment)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = memory;
}

}  // namespace

std::map<std::string, std::string> DeviceEnvironment(const AttemptSpec& spec) {
  std::map<std::string, std::string> environment;
  for (const AssignedDevice& device : spec.devices) {
    AppendTo(&environment["TRACKBED_DEVICES"], device.id);
    const SlotType* type = FindSlotType(device.slot);
    if (type == nullptr || type->visible_devices.empty()) continue;
    AppendTo(&environment[std::string(type->visible_devices)], NameFor(device));
  }
  for (const std::string& slot : spec.offered_slots) {
    const SlotType* type = FindSlotType(slot);
    if (type == nullptr || type->no_devices.empty()) continue;
    environment.emplace(type->visible_devices, type->no_devices);
  }
  LimitShares(spec, &environment);
  return environment;
}

}  // namespace trackbed
