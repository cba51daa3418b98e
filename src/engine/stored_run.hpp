// Runs as the store has them.
#pragma once

#include <optional>

#include "trackbed/base/status.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {

// Replays the events of a run. kDataLoss where its pipeline or one of its events is missing or
// damaged. *state is set when the status is OK.
Status ReadRunState(Store& store, const RunRecord& record, std::optional<RunState>* state);

}  // namespace trackbed
