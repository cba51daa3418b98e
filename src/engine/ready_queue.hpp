// Tasks that may start as soon as there are slots for them.
//
// Tasks that ask for the same slots wait in one line, first come first served; between lines, the
// one whose head has waited longest goes first, and one that does not fit lets others pass. So that
// small tasks cannot starve a large one, a head that has waited longer than the patience lets
// nobody pass any more.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {

struct ReadyTask {
  int64_t run = 0;  // RunRecord::number
  TaskIndex task = 0;
  friend bool operator==(const ReadyTask&, const ReadyTask&) = default;
};

class ReadyQueue {
 public:
  explicit ReadyQueue(SlotAllocator allocator, Duration patience = std::chrono::minutes(5))
      : allocator_(std::move(allocator)), patience_(patience) {}

  using Line = uint32_t;
  // The line for tasks with this request, an empty one being one cpu. Errors as
  // SlotAllocator::Prepare: kResourceExhausted when it can never be met.
  StatusOr<Line> LineFor(const std::vector<SlotRequest>& request);

  void Push(Line line, ReadyTask task, Time now);
  // Takes the next task that fits, and its slots: *held, to be given back with Release. Tasks that
  // come first and that `wanted` says no to are forgotten: they must not hold up others.
  std::optional<ReadyTask> Take(Time now, absl::FunctionRef<bool(const ReadyTask&)> wanted,
                                Allocation* held);
  void Release(uint64_t held);
  // Counts an attempt of this line that was found running, and returns what to release. It gets
  // `parts`, which it held before; where these are not free, or there are none, what there is; and
  // where that is not enough, nothing new starts until it is.
  uint64_t Occupy(Line line, std::span<const AllocationPart> parts);

  // Why the head of a line does not start.
  std::string Explain(Line line) const;
  const SlotAllocator& allocator() const { return allocator_; }

 private:
  struct Waiting {
    ReadyTask task;
    uint64_t order;
    Time since;
  };
  struct LineState {
    SlotDemand demand;
    bool needs_nothing = false;
    std::deque<Waiting> tasks;
    uint64_t failed_after = UINT64_MAX;  // it did not fit after so many releases
  };
  bool TryTake(LineState* line, Allocation* held);
  // Takes the first task from the line; `head` is the line's entry in heads_.
  ReadyTask Pop(std::set<std::pair<uint64_t, Line>>::iterator head);

  SlotAllocator allocator_;
  Duration patience_;
  std::vector<LineState> lines_;
  std::map<std::vector<std::pair<std::string, Quantity>>, Line> by_request_;
  std::set<std::pair<uint64_t, Line>> heads_;  // of the lines in which somebody waits, by order
  uint64_t next_order_ = 0;
  uint64_t releases_ = 0;
  // Attempts found running for which there is no room, and those for which it was found later.
  std::map<uint64_t, Line> crowded_;
  absl::flat_hash_map<uint64_t, uint64_t> found_later_;
  uint64_t next_crowded_ = 0;
};

}  // namespace trackbed
