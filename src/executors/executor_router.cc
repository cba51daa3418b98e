#include "trackbed/executors/executor_router.hpp"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

#include "executors/attempt_records.hpp"
#include "executors/host_files.hpp"

namespace trackbed {

StatusOr<std::unique_ptr<ExecutorRouter>> ExecutorRouter::Create(
    std::unique_ptr<ProcessExecutor> processes, std::unique_ptr<ContainerExecutor> containers,
    bool new_in_containers, std::string reason) {
  std::unique_ptr<ExecutorRouter> router(new ExecutorRouter());
  router->processes_ = std::move(processes);
  router->containers_ = std::move(containers);
  router->new_in_containers_ = new_in_containers;
  router->reason_ = std::move(reason);
  router->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (router->epoll_ < 0) return HostStatus(errno, "cannot make a descriptor");
  for (const Executor* executor : {static_cast<const Executor*>(router->processes_.get()),
                                   static_cast<const Executor*>(router->containers_.get())}) {
    if (executor == nullptr) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(router->epoll_, EPOLL_CTL_ADD, executor->WakeDescriptor(), &event) != 0) {
      return HostStatus(errno, "cannot watch an executor");
    }
  }
  return router;
}

ExecutorRouter::~ExecutorRouter() {
  if (epoll_ >= 0) close(epoll_);
}

StatusOr<Executor*> ExecutorRouter::For(const std::string& folder) const {
  const bool claimed = PathExists(folder + "/" + kClaimFile);
  const bool contained = claimed ? StartedInContainer(folder) : new_in_containers_;
  if (!contained) return processes_.get();
  if (containers_ == nullptr) return FailedPrecondition("it runs in a container: " + reason_);
  return containers_.get();
}

Status ExecutorRouter::Start(const AttemptSpec& spec) {
  TRACKBED_ASSIGN_OR_RETURN(Executor * executor, For(spec.folder));
  return executor->Start(spec);
}

Status ExecutorRouter::Adopt(const AttemptKey& key, const std::string& folder) {
  TRACKBED_ASSIGN_OR_RETURN(Executor * executor, For(folder));
  return executor->Adopt(key, folder);
}

Status ExecutorRouter::Observe(const AttemptKey& key, const std::string& folder) {
  TRACKBED_ASSIGN_OR_RETURN(Executor * executor, For(folder));
  return executor->Observe(key, folder);
}

Status ExecutorRouter::Poll(std::vector<AttemptReport>* reports) {
  TRACKBED_RETURN_IF_ERROR(processes_->Poll(reports));
  return containers_ == nullptr ? absl::OkStatus() : containers_->Poll(reports);
}

Status ExecutorRouter::Stop(const AttemptKey& key, StopMode mode) {
  Status status = processes_->Stop(key, mode);
  if (!absl::IsNotFound(status) || containers_ == nullptr) return status;
  return containers_->Stop(key, mode);
}

}  // namespace trackbed
