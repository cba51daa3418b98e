// One executor made of several: new attempts run as chosen; what runs already is watched by the one
// that started it. So a run can be resumed with another choice than it was begun with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trackbed/executors/container_executor.hpp"
#include "trackbed/executors/gang_executor.hpp"
#include "trackbed/executors/process_executor.hpp"
#include "trackbed/executors/slurm_executor.hpp"

namespace trackbed {

enum class ExecutorKind : uint8_t { processes, containers, slurm };

// What a router is made of. One that is null has a reason, with which its attempts fail.
struct ExecutorRoutes {
  std::unique_ptr<ProcessExecutor> processes;  // never null
  std::unique_ptr<ContainerExecutor> containers;
  std::string no_containers;
  std::unique_ptr<SlurmExecutor> slurm;
  std::string no_slurm;
  ExecutorKind new_attempts = ExecutorKind::processes;  // who starts what nobody has started yet
};

class ExecutorRouter : public Executor {
 public:
  static StatusOr<std::unique_ptr<ExecutorRouter>> Create(ExecutorRoutes routes);
  ~ExecutorRouter() override;

  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  // For new attempts: processes run on nodes without an endpoint only, which are this machine;
  // Slurm knows its own.
  Status AddNode(const NodeDescription& node) override;
  std::vector<std::string> SilentNodes() const override;
  Status GiveUp(const AttemptKey& key) override;
  int WakeDescriptor() const override { return epoll_; }
  // Of who runs new attempts.
  int MaxClusterSize() const override;

 private:
  explicit ExecutorRouter(ExecutorRoutes routes) : routes_(std::move(routes)) {}
  std::vector<Executor*> All() const;
  // Who looks after what is in `folder`. kFailedPrecondition, with the reason, when there is none
  // of that kind.
  StatusOr<Executor*> For(const std::string& folder) const;

  const ExecutorRoutes routes_;
  // Those that run single attempts only get gangs member by member; Slurm gets them whole.
  std::unique_ptr<GangExecutor> processes_;
  std::unique_ptr<GangExecutor> containers_;
  int epoll_ = -1;
};

}  // namespace trackbed
