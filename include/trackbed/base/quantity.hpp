// An exact amount of a slot: thousandths of a unit in 64 bits, never binary floating point.
//
// The range is about +-9.2e15 units (9.2 PB when the unit is a byte) in steps of 0.001.
// Every operation that could leave the range is an error, not a wrapped number.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"

namespace trackbed {

class Quantity {
 public:
  constexpr Quantity() = default;

  static constexpr Quantity FromThousandths(int64_t thousandths) { return Quantity(thousandths); }

  // `units` whole units; kInvalidArgument when out of range.
  static StatusOr<Quantity> FromUnits(int64_t units);

  // Reads a count or a share: "2", "1.5", "500m" (thousandths). No exponent, at most three
  // decimals, no sign but "-". kInvalidArgument names what was found.
  static StatusOr<Quantity> ParseCount(std::string_view text);

  // Reads an amount of bytes: a number with an optional binary suffix k m g t p (powers of 1024,
  // either case), optionally followed by "b", "ib", "byte(s)" or "ibyte(s)"; underscores between
  // digits are ignored. "16g", "1.5GiB", "512_000". The result is a whole number of bytes, or the
  // text is refused ("0.3k" is 307.2 bytes).
  static StatusOr<Quantity> ParseBytes(std::string_view text);

  constexpr int64_t thousandths() const { return thousandths_; }
  // Whole units, rounded towards zero.
  constexpr int64_t units() const { return thousandths_ / 1000; }

  // "2", "1.5": the shortest exact decimal. ParseCount reads it back.
  std::string ToString() const;
  // "16g", "512m", "1000": the largest binary suffix that is exact. ParseBytes reads it back.
  std::string ToBytesString() const;

  // False, with *sum unchanged, when the result is out of range.
  [[nodiscard]] static bool Add(Quantity a, Quantity b, Quantity* sum) {
    return !__builtin_add_overflow(a.thousandths_, b.thousandths_, &sum->thousandths_);
  }
  [[nodiscard]] static bool Subtract(Quantity a, Quantity b, Quantity* difference) {
    return !__builtin_sub_overflow(a.thousandths_, b.thousandths_, &difference->thousandths_);
  }

  friend constexpr auto operator<=>(Quantity, Quantity) = default;

 private:
  explicit constexpr Quantity(int64_t thousandths) : thousandths_(thousandths) {}
  int64_t thousandths_ = 0;
};

}  // namespace trackbed
