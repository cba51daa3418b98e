// Durations as text, instants as text, and the system's clock.
#include "trackbed/base/time.hpp"

#include <absl/numeric/int128.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <array>
#include <limits>

namespace trackbed {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr size_t kMaxDigits = 18;

struct Unit {
  std::string_view name;
  int64_t nanoseconds;
};

// Largest first: the order in which they may appear.
constexpr std::array<Unit, 5> kUnits = {{
    {"d", 86'400'000 * kMillisecond},
    {"h", 3'600'000 * kMillisecond},
    {"m", 60'000 * kMillisecond},
    {"s", 1'000 * kMillisecond},
    {"ms", kMillisecond},
}};

Status Unexpected(std::string_view text, std::string_view expected) {
  return InvalidArgument(
      absl::StrCat("found \"", AbslView(text), "\", expected ", AbslView(expected)));
}

size_t CountDigits(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  return count;
}

uint64_t ToInteger(std::string_view digits) {
  uint64_t value = 0;
  for (char c : digits) value = value * 10 + static_cast<uint64_t>(c - '0');
  return value;
}

// One "90s" of a duration.
struct Part {
  uint64_t integer = 0;
  std::string_view fraction;
  size_t unit = kUnits.size();
};

// Takes one part off the front of *text; false when there is none.
bool TakePart(std::string_view* text, Part* part) {
  const size_t digits = CountDigits(*text);
  if (digits == 0 || digits > kMaxDigits) return false;
  part->integer = ToInteger(text->substr(0, digits));
  text->remove_prefix(digits);
  if (text->starts_with('.')) {
    text->remove_prefix(1);
    const size_t fraction_digits = CountDigits(*text);
    if (fraction_digits == 0 || fraction_digits > kMaxDigits) return false;
    part->fraction = text->substr(0, fraction_digits);
    text->remove_prefix(fraction_digits);
  }
  size_t letters = 0;
  while (letters < text->size() && (*text)[letters] >= 'a' && (*text)[letters] <= 'z') ++letters;
  const std::string_view name = text->substr(0, letters);
  text->remove_prefix(letters);
  for (size_t i = 0; i < kUnits.size(); ++i) {
    if (kUnits[i].name == name) part->unit = i;
  }
  return part->unit < kUnits.size();
}

// False when the part is not a whole number of milliseconds.
bool AddPart(const Part& part, absl::uint128* total) {
  const auto unit = static_cast<uint64_t>(kUnits[part.unit].nanoseconds / kMillisecond);
  absl::uint128 divisor = 1;
  for (size_t i = 0; i < part.fraction.size(); ++i) divisor *= 10;
  const absl::uint128 scaled = absl::uint128(ToInteger(part.fraction)) * unit;
  if (scaled % divisor != 0) return false;
  *total += absl::uint128(part.integer) * unit + scaled / divisor;
  return true;
}

class RealTimeClock final : public Clock {
 public:
  Time Now() override {
    return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  }
};

}  // namespace

StatusOr<Duration> ParseDuration(std::string_view text) {
  constexpr std::string_view kExpected = "a duration such as 30s or 1h30m";
  if (text == "0") return Duration(0);
  absl::uint128 milliseconds = 0;
  size_t next_unit = 0;
  std::string_view rest = text;
  do {
    Part part;
    if (!TakePart(&rest, &part) || part.unit < next_unit) return Unexpected(text, kExpected);
    if (!part.fraction.empty() && !rest.empty()) return Unexpected(text, kExpected);
    if (!AddPart(part, &milliseconds)) return Unexpected(text, "whole milliseconds");
    next_unit = part.unit + 1;
  } while (!rest.empty());
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max() / kMillisecond;
  if (milliseconds > static_cast<uint64_t>(kMax)) {
    return Unexpected(text, "a duration of at most 292 years");
  }
  return Duration(static_cast<int64_t>(absl::Uint128Low64(milliseconds)) * kMillisecond);
}

std::string FormatDuration(Duration duration) {
  int64_t milliseconds = duration.count() / kMillisecond;
  if (milliseconds == 0) return "0s";
  std::string text = milliseconds < 0 ? "-" : "";
  milliseconds = milliseconds < 0 ? -milliseconds : milliseconds;
  for (const Unit& unit : kUnits) {
    const int64_t unit_milliseconds = unit.nanoseconds / kMillisecond;
    if (const int64_t count = milliseconds / unit_milliseconds; count > 0) {
      absl::StrAppend(&text, count, AbslView(unit.name));
    }
    milliseconds %= unit_milliseconds;
  }
  return text;
}

std::string FormatTime(Time time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  return absl::StrFormat("%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                         static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                         clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

Clock& SystemClock() {
  // Never destroyed, so that it may be read while the program ends.
  static RealTimeClock* const clock = new RealTimeClock;
  return *clock;
}

}  // namespace trackbed
