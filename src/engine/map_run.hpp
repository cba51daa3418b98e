// The run of a map: what it is made from, which of its batches may go on, and how it ends.
//
// A task with a map is run by a run of its own, the tasks of which are the batches. So durability,
// retries, caching, logs and quotas of batches are those of tasks. Nothing is stored of it but the
// pipeline that it shares with the mapped task's run and its first event, which holds all that it
// takes from there. The attempt of the mapped task is under way as long as that run is.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"
#include "trackbed/engine/run_state.hpp"

namespace trackbed {

// What `task`, whose dependencies have ended, is run for. kInvalidArgument when its map does not go
// over a list.
StatusOr<MapBinding> BindMap(const RunState& run, TaskIndex task);

// The pipeline of the run of a map, from the one that it shares; called PIPELINE/TASK. Its tasks
// share all but their names; only the first has the command, which is that of all. kDataLoss when
// there is no such task.
StatusOr<Pipeline> PipelineOfMap(const Pipeline& pipeline, const MapBinding& map);

// The graph of `batches` tasks that do not depend on each other.
StatusOr<Graph> GraphOfMap(uint64_t batches);

// Of PIPELINE/TASK, the pipeline that was submitted.
std::string SubmittedPipeline(const Pipeline& pipeline);

// The items of one batch.
struct BatchItems {
  uint64_t first = 0;
  uint64_t count = 0;
};
BatchItems ItemsOf(const MapBinding& map, TaskIndex batch);
// All items of a batch as a JSON list.
std::string ItemsAsJson(const MapBinding& map, const BatchItems& items);

// "017" of 500: where the outputs of a batch stand in those of the map; in the order of the items.
std::string BatchFolder(const MapBinding& map, TaskIndex batch);

// 17 of "score[17]", which it cuts down to "score"; none of "score".
std::optional<uint64_t> CutBatch(std::string_view* name);

// How the attempt of the mapped task ends once the run of its batches has ended as `status`. Of
// each output, the values in order, as JSON; that is bad_output where it is too much.
AttemptEnded EndOfMap(const RunState& batches, RunStatus status);

// Which batches may be considered: no more at once than the map says. A batch counts until it has
// ended for good, also while it waits for its next try.
class BatchWindow {
 public:
  // Batches that run already count.
  explicit BatchWindow(const RunState& run);

  // The next batch; nothing while so many are under way, or when there is none.
  std::optional<TaskIndex> Admit(const RunState& run);
  void OnEnd() { --under_way_; }

 private:
  size_t limit_;  // 0: none
  size_t under_way_ = 0;
  TaskIndex next_ = 0;
  absl::flat_hash_set<TaskIndex> taken_up_;
};

// From which batch on those that have not been tried wait for others of their map; the number of
// batches when none does. For who only reads the state.
TaskIndex FirstHeldBack(const RunState& run);

}  // namespace trackbed
