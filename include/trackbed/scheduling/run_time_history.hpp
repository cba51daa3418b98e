// How long tasks will run, guessed from how long tasks like them ran.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "trackbed/base/time.hpp"

namespace trackbed {

// Up to the next eighth of an octave, so that tasks that run about equally long count as alike.
inline Duration RoundUpRunTime(Duration time) {
  const auto milliseconds = static_cast<uint64_t>(std::max<int64_t>(time.count() / 1'000'000, 1));
  const int bits = 64 - std::countl_zero(milliseconds);
  if (bits <= 4) return std::chrono::milliseconds(milliseconds);
  const uint64_t step = uint64_t{1} << static_cast<unsigned>(bits - 4);
  const uint64_t rounded = (milliseconds + step - 1) / step * step;
  return std::chrono::milliseconds(std::min(rounded, uint64_t{1} << 43U));
}

// The mean of the last two run times of the same kind: as good as elaborate predictors, and what
// schedulers lose by users' own guesses it wins back (Tsafrir, Etsion, Feitelson: "Backfilling
// Using System-Generated Predictions Rather than User Runtime Estimates", TPDS 2007).
class RunTimeHistory {
 public:
  void Add(uint64_t key, Duration run_time) {
    Last& last = by_key_[key];
    last.run_times[last.count++ % 2] = run_time;
  }
  // `otherwise` when nothing of this key has ended yet.
  Duration Guess(uint64_t key, Duration otherwise) const {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return otherwise;
    const Last& last = found->second;
    if (last.count == 1) return last.run_times[0];
    return (last.run_times[0] + last.run_times[1]) / 2;
  }

 private:
  struct Last {
    std::array<Duration, 2> run_times{};
    uint64_t count = 0;
  };
  absl::flat_hash_map<uint64_t, Last> by_key_;
};

}  // namespace trackbed
