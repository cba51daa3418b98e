// A fixed story of everything that is done to a store, told to any store, and what each step of it
// leaves to be read. A store in memory tells what is right.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trackbed/engine/store.hpp"

namespace trackbed {

// All that can be read of a store.
struct Picture {
  struct StoredRun {
    RunRecord record;
    std::string pipeline;
    std::vector<Event> events;
    friend bool operator==(const StoredRun&, const StoredRun&) = default;
  };
  uint64_t fence = 0;
  LeaseHolder holder;
  Time expires{};
  std::vector<StoredRun> runs;  // newest first
  std::map<std::string, CacheEntry> cached;
  std::map<std::string, CacheEntry> last_cached;  // by task
  std::vector<std::pair<int64_t, RunId>> requests;
  std::vector<NodeRecord> nodes;
  friend bool operator==(const Picture&, const Picture&) = default;

  // The same, or without something of the cache: that costs time and nothing else.
  bool IsHarmlessTo(const Picture& truth) const;
};

// Everything, by every way there is to it.
StatusOr<Picture> Read(Store& store);

// A step is one transaction, or none. OK also when what had to be refused was.
using Step = std::function<Status(Store&)>;
const std::vector<Step>& StorySteps();

// The SQL that makes a store as the first version of Trackbed wrote it, holding what the first step
// of the story leaves.
std::string FirstFormat();

}  // namespace trackbed
