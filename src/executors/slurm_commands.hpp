// A Slurm cluster by its commands: sbatch, squeue, sacct and scancel.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "executors/command_runner.hpp"
#include "executors/slurm_cluster.hpp"

namespace trackbed {

// Paths of Slurm's commands.
struct SlurmCommandPaths {
  std::string submit;
  std::string queue;
  std::string cancel;
  std::string account;  // empty: there is none
};
// kNotFound names what is missing.
StatusOr<SlurmCommandPaths> FindSlurmCommands();
// The little of this process's environment that they get.
std::vector<std::string> SlurmCommandEnvironment();

class SlurmCommands : public SlurmCluster {
 public:
  explicit SlurmCommands(SlurmCommandPaths paths)
      : paths_(std::move(paths)), runner_(SlurmCommandEnvironment()) {}

  Status Submit(const std::vector<std::string>& arguments,
                std::function<void(SubmitAnswer)> done) override;
  Status Query(std::function<void(StatusOr<std::multimap<std::string, JobLine>>)> done) override;
  Status QueryAccounts(const std::vector<std::string>& ids,
                       std::function<void(StatusOr<std::map<std::string, JobLine>>)> done) override;
  Status Cancel(CancelMode mode, const std::vector<SlurmTarget>& jobs,
                std::function<void(Status)> done) override;
  void Wait(int wake, Duration timeout) override { runner_.Wait(wake, timeout); }

 private:
  const SlurmCommandPaths paths_;
  CommandRunner runner_;
};

}  // namespace trackbed
