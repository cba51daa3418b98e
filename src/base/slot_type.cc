// The table of slot types.
#include "trackbed/base/slot_type.hpp"

#include <absl/strings/str_cat.h>

#include <array>
#include <vector>

#include "trackbed/base/diagnostic.hpp"

namespace trackbed {
namespace {

constexpr Quantity kThousandth = Quantity::FromThousandths(1);
constexpr Quantity kHundredth = Quantity::FromThousandths(10);
constexpr Quantity kOne = Quantity::FromThousandths(1000);

// The ways to hand out an NVIDIA GPU: whole, in fractions, as MIG instances.
constexpr std::string_view kCuda = "cuda";

// CUDA C++ Programming Guide, "CUDA Environment Variables": devices behind an invalid index are
// invisible, so that -1 shows none.
constexpr std::string_view kCudaDevices = "CUDA_VISIBLE_DEVICES";
constexpr std::string_view kNoCudaDevices = "-1";

constexpr SlotType WholeDevices(std::string_view name, std::string_view description,
                                std::string_view visible_devices = "",
                                std::string_view no_devices = "",
                                std::string_view exclusive_set = "") {
  return {name, SlotKind::discrete, description, Enforcement::hardware, exclusive_set, true,
          kOne, visible_devices,    no_devices};
}

constexpr std::array kSlotTypes = {
    SlotType{"cpu", SlotKind::count, "processor cores", Enforcement::accounting, "", true,
             kThousandth},
    SlotType{"mem", SlotKind::bytes, "main memory", Enforcement::accounting, "", true, kOne},
    WholeDevices("cuda.device", "whole NVIDIA GPUs", kCudaDevices, kNoCudaDevices, kCuda),
    SlotType{"cuda.shares", SlotKind::share, "fractions of NVIDIA GPUs", Enforcement::advisory,
             kCuda, true, kHundredth, kCudaDevices, kNoCudaDevices},
    SlotType{"cuda.mem", SlotKind::bytes, "memory of NVIDIA GPUs", Enforcement::advisory, "", true,
             kOne, kCudaDevices, kNoCudaDevices},
    SlotType{"cuda.device:*-mig", SlotKind::unique, "an instance of a partitioned NVIDIA GPU",
             Enforcement::hardware, kCuda, false, kOne, kCudaDevices, kNoCudaDevices},
    WholeDevices("rocm.device", "AMD GPUs", "ROCR_VISIBLE_DEVICES", "-1"),
    WholeDevices("xpu.device", "Intel GPUs", "ZE_AFFINITY_MASK"),
    WholeDevices("tpu.device", "Google TPUs", "TPU_VISIBLE_CHIPS"),
    WholeDevices("ipu.device", "Graphcore IPUs"),
    WholeDevices("gaudi.device", "Intel Gaudi accelerators", "HABANA_VISIBLE_MODULES"),
    WholeDevices("gaudi2.device", "Intel Gaudi 2 accelerators", "HABANA_VISIBLE_MODULES"),
    WholeDevices("gaudi3.device", "Intel Gaudi 3 accelerators", "HABANA_VISIBLE_MODULES"),
    WholeDevices("warboy.device", "FuriosaAI Warboy NPUs"),
    WholeDevices("rngd.device", "FuriosaAI RNGD NPUs"),
    WholeDevices("atom.device", "Rebellions ATOM NPUs"),
    WholeDevices("atom-plus.device", "Rebellions ATOM+ NPUs"),
    WholeDevices("atom-max.device", "Rebellions ATOM-Max NPUs"),
    WholeDevices("tt-n300.device", "Tenstorrent n300 cards"),
    WholeDevices("hyperaccel-lpu.device", "HyperAccel LPUs"),
};

// True when `slot` is `pattern` with some text, at least one letter, for its "*".
bool Matches(std::string_view pattern, std::string_view slot) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == slot;
  return slot.size() >= pattern.size() && slot.starts_with(pattern.substr(0, star)) &&
         slot.ends_with(pattern.substr(star + 1));
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

Status UnknownSlot(std::string_view slot) {
  std::vector<std::string_view> names;
  for (const SlotType& type : kSlotTypes) names.push_back(type.name);
  std::string message = absl::StrCat("unknown slot \"", AbslView(slot), "\"");
  if (const std::string_view near = ClosestMatch(slot, names); !near.empty()) {
    absl::StrAppend(&message, "; did you mean \"", AbslView(near), "\"?");
  }
  return NotFound(message);
}

std::string_view ToString(Enforcement enforcement) {
  switch (enforcement) {
    case Enforcement::accounting:
      return "accounting";
    case Enforcement::advisory:
      return "advisory";
    case Enforcement::hardware:
      return "hardware";
  }
  return "accounting";
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
