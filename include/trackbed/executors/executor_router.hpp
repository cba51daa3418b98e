// One executor made of two: new attempts run as chosen; what runs already is watched by the one
// that started it. So a run can be resumed with another choice than it was begun with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trackbed/executors/container_executor.hpp"
#include "trackbed/executors/process_executor.hpp"

namespace trackbed {

class ExecutorRouter : public Executor {
 public:
  // `new_in_containers`: who starts attempts that nobody has started yet. `containers` may be null;
  // then attempts in containers fail with `reason`.
  static StatusOr<std::unique_ptr<ExecutorRouter>> Create(
      std::unique_ptr<ProcessExecutor> processes, std::unique_ptr<ContainerExecutor> containers,
      bool new_in_containers, std::string reason);
  ~ExecutorRouter() override;

  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  int WakeDescriptor() const override { return epoll_; }

 private:
  ExecutorRouter() = default;
  // Who looks after what is in `folder`. kFailedPrecondition, with the reason, when that would be
  // the containers and there are none.
  StatusOr<Executor*> For(const std::string& folder) const;

  std::unique_ptr<ProcessExecutor> processes_;
  std::unique_ptr<ContainerExecutor> containers_;
  bool new_in_containers_ = false;
  std::string reason_;
  int epoll_ = -1;
};

}  // namespace trackbed
