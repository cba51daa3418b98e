// How long the tasks of a run will take, as far as that is known.
#pragma once

#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// By task: the mean of its last two successful attempts in earlier runs of a pipeline of this name
// (run_time_history.hpp), else its timeout; 0: not known. `run` need not be stored yet; of stored
// runs only those count that had ended when it was submitted, so the answer stays the same. Of the
// run of a map all batches count as one: the mean of the last two of earlier maps of the task.
// Empty: nothing is known of any.
StatusOr<std::vector<Duration>> EstimateRunTimes(Store& store, const RunRecord& run,
                                                 const Pipeline& pipeline);

}  // namespace trackbed
