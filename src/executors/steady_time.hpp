// Time as an executor measures it, and how long it waits before it tries again.
#pragma once

#include <algorithm>
#include <chrono>

#include "trackbed/base/time.hpp"

namespace trackbed {

using SteadyTime = std::chrono::steady_clock::time_point;

inline SteadyTime SteadyNow() { return std::chrono::steady_clock::now(); }

inline SteadyTime SteadyAfter(Duration delay) {
  return SteadyNow() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(delay);
}

// Twice as long after each failure in a row: from 20 ms to 5 s.
inline Duration Backoff(int failures) {
  constexpr Duration kFirst = std::chrono::milliseconds(20);
  constexpr Duration kLongest = std::chrono::seconds(5);
  Duration delay = kFirst;
  for (int i = 1; i < failures && delay < kLongest; ++i) delay *= 2;
  return std::min(delay, kLongest);
}

}  // namespace trackbed
