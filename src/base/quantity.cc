// Exact decimal reading and writing of amounts.
#include "trackbed/base/quantity.hpp"

#include <absl/numeric/int128.h>
#include <absl/strings/str_cat.h>

#include <limits>
#include <optional>

namespace trackbed {
namespace {

constexpr std::string_view kByteSuffixes = "kmgtp";
constexpr int64_t kMaxUnits = std::numeric_limits<int64_t>::max() / 1000;
// More digits than any amount in range has.
constexpr size_t kMaxIntegerDigits = 18;
constexpr size_t kMaxFractionDigits = 15;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

char ToLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// The parts of "-12.50gib".
struct Decimal {
  bool negative = false;
  uint64_t integer = 0;
  uint64_t fraction = 0;  // the digits after the point, without trailing zeros …
  size_t fraction_digits = 0;
  std::string_view suffix;
};

// Takes digits off the front of *text; false when there are none or too many.
bool TakeDigits(std::string_view* text, bool underscores, size_t max_digits, std::string* digits) {
  size_t i = 0;
  for (; i < text->size(); ++i) {
    const char c = (*text)[i];
    if (IsDigit(c)) {
      digits->push_back(c);
      continue;
    }
    const bool between_digits =
        i > 0 && IsDigit((*text)[i - 1]) && i + 1 < text->size() && IsDigit((*text)[i + 1]);
    if (!(underscores && c == '_' && between_digits)) break;
  }
  text->remove_prefix(i);
  return !digits->empty() && digits->size() <= max_digits;
}

uint64_t ToInteger(std::string_view digits) {
  uint64_t value = 0;
  for (char c : digits) value = value * 10 + static_cast<uint64_t>(c - '0');
  return value;
}

std::optional<Decimal> SplitDecimal(std::string_view text, bool underscores) {
  Decimal result;
  if (text.starts_with('-')) {
    result.negative = true;
    text.remove_prefix(1);
  }
  std::string digits;
  if (!TakeDigits(&text, underscores, kMaxIntegerDigits, &digits)) return std::nullopt;
  result.integer = ToInteger(digits);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    digits.clear();
    TakeDigits(&text, underscores, 0, &digits);
    if (digits.empty()) return std::nullopt;
    while (!digits.empty() && digits.back() == '0') digits.pop_back();
    if (digits.size() > kMaxFractionDigits) return std::nullopt;
    result.fraction = ToInteger(digits);
    result.fraction_digits = digits.size();
  }
  result.suffix = text;
  return result;
}

// The binary exponent of "", "k", "MiB", "gbytes" …; none when it is no suffix of an amount.
std::optional<int> ByteShift(std::string_view suffix) {
  std::string lower;
  for (char c : suffix) lower.push_back(ToLower(c));
  std::string_view rest = lower;
  int shift = 0;
  bool scaled = false;
  if (!rest.empty()) {
    if (const size_t power = kByteSuffixes.find(rest.front()); power != std::string_view::npos) {
      shift = 10 * (static_cast<int>(power) + 1);
      scaled = true;
      rest.remove_prefix(1);
    }
  }
  if (rest.empty() || rest == "b" || rest == "byte" || rest == "bytes") return shift;
  if (scaled && (rest == "ib" || rest == "ibyte" || rest == "ibytes")) return shift;
  return std::nullopt;
}

uint64_t PowerOfTen(size_t exponent) {
  uint64_t power = 1;
  for (size_t i = 0; i < exponent; ++i) power *= 10;
  return power;
}

Status Unexpected(std::string_view text, std::string_view expected) {
  return InvalidArgument(
      absl::StrCat("found \"", AbslView(text), "\", expected ", AbslView(expected)));
}

StatusOr<Quantity> FromParts(bool negative, absl::uint128 thousandths, std::string_view text) {
  if (thousandths > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Unexpected(text, "an amount that fits 64 bits");
  }
  const auto magnitude = static_cast<int64_t>(absl::Uint128Low64(thousandths));
  return Quantity::FromThousandths(negative ? -magnitude : magnitude);
}

}  // namespace

StatusOr<Quantity> Quantity::FromUnits(int64_t units) {
  if (units > kMaxUnits || units < -kMaxUnits) {
    return InvalidArgument(
        absl::StrCat("found ", units, ", expected an amount within ±", kMaxUnits));
  }
  return Quantity(units * 1000);
}

StatusOr<Quantity> Quantity::ParseCount(std::string_view text) {
  constexpr std::string_view kExpected = "an amount such as 2, 1.5 or 500m";
  const std::optional<Decimal> decimal = SplitDecimal(text, /*underscores=*/false);
  if (!decimal) return Unexpected(text, kExpected);
  if (decimal->suffix == "m") {
    if (text.find('.') != std::string_view::npos) return Unexpected(text, kExpected);
    return FromParts(decimal->negative, decimal->integer, text);
  }
  if (!decimal->suffix.empty()) return Unexpected(text, kExpected);
  if (decimal->fraction_digits > 3) {
    return Unexpected(text, "an amount of at most three decimals");
  }
  const uint64_t fraction = decimal->fraction * PowerOfTen(3 - decimal->fraction_digits);
  return FromParts(decimal->negative, absl::uint128(decimal->integer) * 1000 + fraction, text);
}

StatusOr<Quantity> Quantity::ParseBytes(std::string_view text) {
  constexpr std::string_view kExpected = "an amount of bytes such as 16g, 512MiB or 1000";
  const std::optional<Decimal> decimal = SplitDecimal(text, /*underscores=*/true);
  if (!decimal) return Unexpected(text, kExpected);
  const std::optional<int> shift = ByteShift(decimal->suffix);
  if (!shift) return Unexpected(text, kExpected);
  const absl::uint128 whole = absl::uint128(decimal->integer) << *shift;
  const absl::uint128 scaled_fraction = absl::uint128(decimal->fraction) << *shift;
  const uint64_t divisor = PowerOfTen(decimal->fraction_digits);
  if (scaled_fraction % divisor != 0) return Unexpected(text, "a whole number of bytes");
  return FromParts(decimal->negative, (whole + scaled_fraction / divisor) * 1000, text);
}

std::string Quantity::ToString() const {
  // The magnitude as unsigned, because the smallest value has no positive twin.
  const bool negative = thousandths_ < 0;
  const uint64_t magnitude = negative ? uint64_t{0} - static_cast<uint64_t>(thousandths_)
                                      : static_cast<uint64_t>(thousandths_);
  std::string text = absl::StrCat(negative ? "-" : "", magnitude / 1000);
  if (uint64_t fraction = magnitude % 1000; fraction != 0) {
    std::string digits = absl::StrCat(fraction + 1000).substr(1);
    while (digits.back() == '0') digits.pop_back();
    absl::StrAppend(&text, ".", digits);
  }
  return text;
}

std::string Quantity::ToBytesString() const {
  if (thousandths_ % 1000 != 0 || thousandths_ == 0) return ToString();
  int64_t value = thousandths_ / 1000;
  size_t power = 0;
  while (power < kByteSuffixes.size() && value % 1024 == 0) {
    value /= 1024;
    ++power;
  }
  std::string text = absl::StrCat(value);
  if (power > 0) text.push_back(kByteSuffixes[power - 1]);
  return text;
}

}  // namespace trackbed
