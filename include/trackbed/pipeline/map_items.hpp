// What a map goes over, and how it is dealt out to batches.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// Of items, and of what a map says about batches.
inline constexpr int64_t kMaxMapCount = 1'000'000'000;
// Each is a task.
inline constexpr uint64_t kMaxMapBatches = 10'000'000;

struct MapItems {
  uint64_t count = 0;
  // The items, each as JSON on one line. None when the map goes over a number: 0 to count - 1.
  std::vector<std::string> items;
  bool numbered = false;
  friend bool operator==(const MapItems&, const MapItems&) = default;
};

// From the value of TaskMap::over, a JSON list or a whole number. kInvalidArgument says what was
// found and what was expected.
StatusOr<MapItems> ParseMapItems(std::string_view text);

// How many items the batches get: all as many, the last one perhaps fewer. kInvalidArgument when
// that makes more than kMaxMapBatches.
StatusOr<uint64_t> BatchSize(const TaskMap& map, uint64_t items);

}  // namespace trackbed
