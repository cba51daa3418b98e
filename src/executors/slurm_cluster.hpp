// The port through which a Slurm cluster is asked for something: its commands
// (slurm_commands.hpp) or its REST service (slurm_rest.hpp).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executors/slurm_jobs.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"

namespace trackbed {

struct SubmitAnswer {
  enum class Kind : uint8_t {
    taken,    // as the job `id`
    unsure,   // perhaps it was taken, and may be submitted again later: `problem`
    refused,  // it never will be: `problem`
  };
  Kind kind = Kind::unsure;
  std::string id;
  std::string problem;
};

// Of which jobs, and what is done to them.
enum class CancelMode : uint8_t {
  withdraw,   // ends it if it waits
  terminate,  // SIGTERM to its supervisor
  kill,       // kKillSignal to its supervisor
  end,        // ends it, whatever it does
};
struct SlurmTarget {
  std::string id;    // empty: all jobs of that name
  std::string name;  // empty: whatever its name. Numbers are given anew by a controller that was
                     // killed before it had noted them; names are an attempt's for ever.
};

// Used by one thread. What begins without an error calls `done` exactly once, from Wait; none is
// called after the end of the object.
class SlurmCluster {
 public:
  virtual ~SlurmCluster() = default;

  // `arguments` are those of sbatch (SubmitArguments).
  virtual Status Submit(const std::vector<std::string>& arguments,
                        std::function<void(SubmitAnswer)> done) = 0;

  // All jobs of this user that the controller knows, by name.
  virtual Status Query(std::function<void(StatusOr<std::multimap<std::string, JobLine>>)> done) = 0;

  // What accounting knows of jobs that the controller has forgotten, by id; kUnavailable is worth
  // another try, other errors are not.
  virtual Status QueryAccounts(
      const std::vector<std::string>& ids,
      std::function<void(StatusOr<std::map<std::string, JobLine>>)> done) = 0;

  // kUnavailable, when the cluster could not be told. A job that is over is no error.
  virtual Status Cancel(CancelMode mode, const std::vector<SlurmTarget>& jobs,
                        std::function<void(Status)> done) = 0;

  // Waits until something has been done, `wake` (when not -1) is readable, or `timeout` is over.
  virtual void Wait(int wake, Duration timeout) = 0;
};

// By REST where an endpoint is named, else by commands. Does not ask the cluster. kNotFound where
// there is no command, and what SlurmRest::Create says.
StatusOr<std::unique_ptr<SlurmCluster>> OpenSlurmCluster(const SlurmExecutorOptions& options);

}  // namespace trackbed
