#include "executors/slurm_cluster.hpp"

#include <utility>

#include "executors/slurm_commands.hpp"
#include "executors/slurm_rest.hpp"

namespace trackbed {

StatusOr<std::unique_ptr<SlurmCluster>> OpenSlurmCluster(const SlurmExecutorOptions& options) {
  if (!options.rest.endpoint.empty()) return SlurmRest::Create(options.rest);
  TRACKBED_ASSIGN_OR_RETURN(SlurmCommandPaths paths, FindSlurmCommands());
  return std::make_unique<SlurmCommands>(std::move(paths));
}

}  // namespace trackbed
