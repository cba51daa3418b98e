// Points and spans of time, and the port through which every reading of a clock comes.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"

namespace trackbed {

using Duration = std::chrono::nanoseconds;
// Nanoseconds since the Unix epoch, UTC.
using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

inline constexpr Time kNever = Time::max();

inline int64_t ToNanoseconds(Time time) { return time.time_since_epoch().count(); }
inline Time FromNanoseconds(int64_t nanoseconds) { return Time(Duration(nanoseconds)); }

// `delay`, which is not negative, after `time`; kNever where it would be later than that.
inline Time Later(Time time, Duration delay) {
  return time > kNever - delay ? kNever : time + delay;
}

// Reads "90s", "1h30m", "250ms", "2d", "0". Units: ms s m h d, largest first, each once; decimals
// allowed on the last ("1.5h"). Whole milliseconds, never negative. kInvalidArgument names what was
// found.
StatusOr<Duration> ParseDuration(std::string_view text);
// The canonical text of a duration: "1h30m", "250ms", "0s". ParseDuration reads it back. Parts
// below a millisecond are cut.
std::string FormatDuration(Duration duration);
// "2026-11-23T15:36:02Z" in UTC.
std::string FormatTime(Time time);

// Where the engine gets the time from. Called from the thread that calls the engine.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time Now() = 0;
};

// The system's real-time clock. Never destroyed; any thread.
Clock& SystemClock();

}  // namespace trackbed
