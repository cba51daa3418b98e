#include "trackbed/resources/allocation_json.hpp"

#include <absl/strings/str_cat.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

Status Malformed(size_t index) {
  return InvalidArgument(absl::StrCat(
      "allocations[", index,
      "]: expected {\"id\": number, \"parts\": [{\"slot\", \"device\", \"amount\"}]}"));
}

bool IsText(const Json& object, const char* name) {
  return object.contains(name) && object[name].is_string();
}

}  // namespace

std::string WriteAllocations(const SlotAllocator& allocator) {
  Json allocations = Json::array();
  for (const Allocation& allocation : allocator.Live()) {
    Json parts = Json::array();
    for (const AllocationPart& part : allocation.parts) {
      parts.push_back({{"slot", std::string(part.slot)},
                       {"device", std::string(part.device)},
                       {"amount", FormatSlotAmount(part.slot, part.amount)}});
    }
    allocations.push_back({{"id", allocation.id}, {"parts", std::move(parts)}});
  }
  return Json{{"allocations", std::move(allocations)}}.dump();
}

Status RestoreAllocations(std::string_view json, SlotAllocator* allocator) {
  const Json document = Json::parse(json, nullptr, false);
  if (document.is_discarded() || !document.is_object() || !document.contains("allocations") ||
      !document["allocations"].is_array()) {
    return InvalidArgument("found no JSON object with a list \"allocations\"");
  }
  std::deque<std::string> texts;  // what the parts refer to
  std::vector<Allocation> live;
  for (const Json& item : document["allocations"]) {
    if (!item.is_object() || !item.contains("id") || !item["id"].is_number_unsigned() ||
        !item.contains("parts") || !item["parts"].is_array()) {
      return Malformed(live.size());
    }
    Allocation allocation;
    allocation.id = item["id"].get<uint64_t>();
    for (const Json& part : item["parts"]) {
      if (!part.is_object() || !IsText(part, "slot") || !IsText(part, "device") ||
          !IsText(part, "amount")) {
        return Malformed(live.size());
      }
      AllocationPart& added = allocation.parts.emplace_back();
      added.slot = texts.emplace_back(part["slot"].get<std::string>());
      added.device = texts.emplace_back(part["device"].get<std::string>());
      const StatusOr<Quantity> amount =
          ParseSlotAmount(added.slot, part["amount"].get<std::string>());
      if (!amount.ok()) {
        return InvalidArgument(
            absl::StrCat("allocation ", allocation.id, ": ", AbslView(Message(amount.status()))));
      }
      added.amount = *amount;
    }
    live.push_back(std::move(allocation));
  }
  return allocator->Restore(live);
}

}  // namespace trackbed
