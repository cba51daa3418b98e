// The table of slot types.
#include "trackbed/base/slot_type.hpp"

#include <absl/strings/str_cat.h>

#include <array>
#include <vector>

#include "trackbed/base/diagnostic.hpp"

namespace trackbed {
namespace {

constexpr std::array kSlotTypes = {
    SlotType{"cpu", SlotKind::count, "processor cores"},
    SlotType{"mem", SlotKind::bytes, "main memory"},
    SlotType{"cuda.device", SlotKind::discrete, "whole NVIDIA GPUs"},
    SlotType{"cuda.shares", SlotKind::share, "fractions of NVIDIA GPUs"},
    SlotType{"cuda.mem", SlotKind::bytes, "memory of NVIDIA GPUs"},
    SlotType{"cuda.device:*-mig", SlotKind::unique, "an instance of a partitioned NVIDIA GPU"},
    SlotType{"rocm.device", SlotKind::discrete, "AMD GPUs"},
    SlotType{"xpu.device", SlotKind::discrete, "Intel GPUs"},
    SlotType{"tpu.device", SlotKind::discrete, "Google TPUs"},
    SlotType{"ipu.device", SlotKind::discrete, "Graphcore IPUs"},
    SlotType{"gaudi.device", SlotKind::discrete, "Intel Gaudi accelerators"},
    SlotType{"gaudi2.device", SlotKind::discrete, "Intel Gaudi 2 accelerators"},
    SlotType{"gaudi3.device", SlotKind::discrete, "Intel Gaudi 3 accelerators"},
    SlotType{"warboy.device", SlotKind::discrete, "FuriosaAI Warboy NPUs"},
    SlotType{"rngd.device", SlotKind::discrete, "FuriosaAI RNGD NPUs"},
    SlotType{"atom.device", SlotKind::discrete, "Rebellions ATOM NPUs"},
    SlotType{"atom-plus.device", SlotKind::discrete, "Rebellions ATOM+ NPUs"},
    SlotType{"atom-max.device", SlotKind::discrete, "Rebellions ATOM-Max NPUs"},
    SlotType{"tt-n300.device", SlotKind::discrete, "Tenstorrent n300 cards"},
    SlotType{"hyperaccel-lpu.device", SlotKind::discrete, "HyperAccel LPUs"},
};

// True when `slot` is `pattern` with some text, at least one letter, for its "*".
bool Matches(std::string_view pattern, std::string_view slot) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == slot;
  return slot.size() >= pattern.size() && slot.starts_with(pattern.substr(0, star)) &&
         slot.ends_with(pattern.substr(star + 1));
}

Status UnknownSlot(std::string_view slot) {
  std::vector<std::string_view> names;
  for (const SlotType& type : kSlotTypes) names.push_back(type.name);
  std::string message = absl::StrCat("unknown slot \"", AbslView(slot), "\"");
  if (const std::string_view near = ClosestMatch(slot, names); !near.empty()) {
    absl::StrAppend(&message, "; did you mean \"", AbslView(near), "\"?");
  }
  return NotFound(message);
}

Status Unexpected(std::string_view text, std::string_view expected) {
  return InvalidArgument(
      absl::StrCat("found \"", AbslView(text), "\", expected ", AbslView(expected)));
}

}  // namespace

std::span<const SlotType> KnownSlotTypes() { return kSlotTypes; }

const SlotType* FindSlotType(std::string_view slot) {
  for (const SlotType& type : kSlotTypes) {
    if (Matches(type.name, slot)) return &type;
  }
  return nullptr;
}

StatusOr<Quantity> ParseSlotAmount(std::string_view slot, std::string_view text) {
  const SlotType* type = FindSlotType(slot);
  if (type == nullptr) return UnknownSlot(slot);
  TRACKBED_ASSIGN_OR_RETURN(const Quantity amount, type->kind == SlotKind::bytes
                                                       ? Quantity::ParseBytes(text)
                                                       : Quantity::ParseCount(text));
  if (amount < Quantity()) return Unexpected(text, "an amount that is not negative");
  if (type->kind == SlotKind::unique && amount != Quantity::FromThousandths(1000)) {
    return Unexpected(text, "1, because the slot is a single instance");
  }
  if (type->kind == SlotKind::discrete && amount.thousandths() % 1000 != 0) {
    return Unexpected(text, "a whole number of devices");
  }
  return amount;
}

std::string FormatSlotAmount(std::string_view slot, Quantity amount) {
  const SlotType* type = FindSlotType(slot);
  const bool bytes = type != nullptr && type->kind == SlotKind::bytes;
  return bytes ? amount.ToBytesString() : amount.ToString();
}

}  // namespace trackbed
