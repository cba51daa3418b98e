// What a host does with an artifact store (data/artifact_store.hpp) besides keeping outputs, which
// is the work of an ArtifactKeeper (executors/artifact_keeper.hpp).
#pragma once

#include <string>

#include "trackbed/data/artifact_store.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed {

// Keeps the copy of the code that a run is submitted with.
Status KeepSource(const SourceBinding& source, ArtifactStore* store);

// Whether the folder is there, or was brought back: for EngineOptions::has_outputs. What cannot be
// brought back is made again by its task.
bool BringBackOutputs(const std::string& folder, const std::string& digest, ArtifactStore* store);

// Brings back what the run needs and what is gone: its code, and the outputs of tasks that have
// succeeded. Before it is resumed or retried, or its outputs are read.
Status BringBackFiles(const RunState& run, const Workspace& workspace, ArtifactStore* store);

}  // namespace trackbed
