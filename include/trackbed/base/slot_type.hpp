// The slot types that exist: named, countable resources such as "cpu", "mem" and "cuda.shares".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/status.hpp"

namespace trackbed {

enum class SlotKind : uint8_t {
  count,     // cores (fractions allowed)
  discrete,  // whole devices
  share,     // fractions of devices
  bytes,
  unique,  // exactly one: a MIG instance
};

// What keeps a task to the amount it was given, the weakest first.
enum class Enforcement : uint8_t {
  accounting,  // nothing but our own count
  advisory,    // limits that a well-behaved process keeps: an MPS share, a limit of pinned memory
  hardware,    // the device itself: whole devices, MIG instances
};

struct SlotType {
  std::string_view name;  // "cpu", "cuda.shares"; one "*" stands for any text
  SlotKind kind;
  std::string_view description;
  Enforcement enforcement;
  // Slots of one set are different ways to hand out the same devices: a request names at most one
  // of them, and a device is held by one of them at a time. "" for a slot of no set.
  std::string_view exclusive_set;
  bool spans_devices;  // whether one request may be met by several devices together
  Quantity quantum;    // requests are multiples of this, unless an operator sets another
  // The environment variable by which its driver limits a process to some devices, and what it says
  // when there shall be none; "" where there is no such thing.
  std::string_view visible_devices = "";
  std::string_view no_devices = "";

  // Whether devices of their own have it, not the machine as a whole.
  bool of_devices() const { return name != "cpu" && name != "mem"; }
};

// Every slot type known, as data. A new accelerator is a new row.
std::span<const SlotType> KnownSlotTypes();

// The type of `slot`, or null when unknown.
const SlotType* FindSlotType(std::string_view slot);

// kNotFound, with the nearest name.
Status UnknownSlot(std::string_view slot);

// "accounting", "advisory", "hardware".
std::string_view ToString(Enforcement enforcement);

// Reads an amount in the notation of the slot's kind ("16g" for bytes, "1.5" for shares).
// kInvalidArgument for a negative amount, a fraction of a discrete slot, a unique slot other
// than 1; kNotFound, with the nearest name, for an unknown slot.
StatusOr<Quantity> ParseSlotAmount(std::string_view slot, std::string_view text);
// The other way round.
std::string FormatSlotAmount(std::string_view slot, Quantity amount);

}  // namespace trackbed
