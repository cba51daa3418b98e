// Tasks that may start as soon as there are slots for them.
//
// Tasks that claim the same slots wait in one line, first come first served; between lines, the one
// whose head has waited longest goes first, and one that does not fit lets others pass. So that
// small tasks cannot starve a large one, a head that has waited longer than the patience lets
// nobody pass any more.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/resources/slots.hpp"

namespace trackbed {

struct ReadyTask {
  int64_t run = 0;  // RunRecord::number
  TaskIndex task = 0;
  friend bool operator==(const ReadyTask&, const ReadyTask&) = default;
};

class ReadyQueue {
 public:
  explicit ReadyQueue(SlotPool pool, Duration patience = std::chrono::minutes(5))
      : pool_(std::move(pool)), patience_(patience) {}

  using Line = uint32_t;
  // The line for tasks with this request; kResourceExhausted when it can never be met.
  StatusOr<Line> LineFor(const std::vector<SlotRequest>& request);

  void Push(Line line, ReadyTask task, Time now);
  // Takes the next task that fits, and its slots. The caller gives them back with Release. Tasks
  // that come first and that `wanted` says no to are forgotten: they must not hold up others.
  std::optional<ReadyTask> Take(Time now, absl::FunctionRef<bool(const ReadyTask&)> wanted);
  void Release(Line line) { pool_.Give(lines_[line].claim); }
  // Takes the slots of one task of this line without asking whether they are free: for an attempt
  // that was found running.
  void Occupy(Line line) { pool_.Occupy(lines_[line].claim); }

  // Why the head of a line does not start.
  std::string Explain(Line line) const { return pool_.ExplainShortage(lines_[line].claim); }
  const SlotPool& pool() const { return pool_; }

 private:
  struct Waiting {
    ReadyTask task;
    uint64_t order;
    Time since;
  };
  struct LineState {
    SlotClaim claim;
    std::deque<Waiting> tasks;
  };
  SlotPool pool_;
  Duration patience_;
  std::vector<LineState> lines_;
  std::map<SlotClaim, Line> by_claim_;
  uint64_t next_order_ = 0;
};

}  // namespace trackbed
