// What an engine on this machine is given by default: who we are, who is gone, whose files exist.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {

// `home` as an absolute path, made when missing; what is made, others cannot read, since logs and
// outputs may hold what they should not see. kFailedPrecondition, kResourceExhausted.
StatusOr<std::string> MakeHomeFolder(const std::string& home);

// This process as the holder of a lease.
LeaseHolder ThisProcess(std::string description);

// True when `holder` was a process of this host that no longer exists, or of an earlier boot of it.
// False when that cannot be known.
bool HolderIsGone(const LeaseHolder& holder);

// Everything about this machine that a run is bound to, taken when it is submitted: a copy of the
// code, and the place and content of each folder. `base` is the folder that the paths of the
// pipeline are relative to (that of its file), `home` that of the store (workspace.hpp); both
// absolute. `parameters` as BindParameters gives them.
//
// kNotFound for a source, or a folder that is only read, that does not exist.
StatusOr<SubmitOptions> PrepareRun(const Pipeline& pipeline, const std::string& base,
                                   const std::string& home, std::map<std::string, Value> parameters,
                                   bool use_cache);

// True when `folder` exists, which is all that a cached result needs: outputs are not changed after
// their attempt.
bool HasOutputFolder(const std::string& folder, const std::string& digest);

// Makes the folder `to` hold the files of `from`, by hard links, or copies where there can be none.
// What is there already stays. kResourceExhausted when the disk is full, else kFailedPrecondition.
Status LinkOutputs(const std::string& from, const std::string& to);

// Copies what the pipeline names under `results` from the outputs of its tasks to `destination`,
// each file by a rename, so that a reader never sees half of one. Results whose task was skipped
// are left out. Returns the names written.
StatusOr<std::vector<std::string>> PublishResults(const RunState& run, const std::string& home,
                                                  const std::string& destination);

}  // namespace trackbed
