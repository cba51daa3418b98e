// Takes a run to its end on the terminal: steps the engine, shows progress, heeds Ctrl-C.
#pragma once

#include <string>

#include "cli/progress.hpp"
#include "cli/session.hpp"

namespace trackbed::cli {

// Steps until `run` has ended and returns the exit code. The first interrupt or termination signal
// cancels the run; the second, or the loss of the terminal, leaves at once, the run resumable and
// its attempts under way.
int Drive(Session& session, const RunId& run, Progress& progress);

}  // namespace trackbed::cli
