#include "trackbed/executors/executor_router.hpp"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

#include "executors/attempt_records.hpp"
#include "executors/host_files.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

StatusOr<std::unique_ptr<ExecutorRouter>> ExecutorRouter::Create(ExecutorRoutes routes) {
  std::unique_ptr<ExecutorRouter> router(new ExecutorRouter(std::move(routes)));
  TRACKBED_ASSIGN_OR_RETURN(router->processes_,
                            GangExecutor::Create(router->routes_.processes.get()));
  if (router->routes_.containers != nullptr) {
    TRACKBED_ASSIGN_OR_RETURN(router->containers_,
                              GangExecutor::Create(router->routes_.containers.get()));
  }
  router->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (router->epoll_ < 0) return HostStatus(errno, "cannot make a descriptor");
  for (const Executor* executor : router->All()) {
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

std::vector<Executor*> ExecutorRouter::All() const {
  std::vector<Executor*> all = {processes_.get()};
  if (containers_ != nullptr) all.push_back(containers_.get());
  if (routes_.slurm != nullptr) all.push_back(routes_.slurm.get());
  return all;
}

StatusOr<Executor*> ExecutorRouter::For(const std::string& folder) const {
  ExecutorKind kind = routes_.new_attempts;
  if (StartedInSlurm(folder)) {
    kind = ExecutorKind::slurm;
  } else if (PathExists(folder + "/" + kClaimFile)) {
    kind = StartedInContainer(folder) ? ExecutorKind::containers : ExecutorKind::processes;
  }
  switch (kind) {
    case ExecutorKind::containers:
      if (containers_ != nullptr) return containers_.get();
      return FailedPrecondition("it runs in a container: " + routes_.no_containers);
    case ExecutorKind::slurm:
      if (routes_.slurm != nullptr) return routes_.slurm.get();
      return FailedPrecondition("it is a job of Slurm: " + routes_.no_slurm);
    case ExecutorKind::processes:
      break;
  }
  return processes_.get();
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
  for (Executor* executor : All()) TRACKBED_RETURN_IF_ERROR(executor->Poll(reports));
  return absl::OkStatus();
}

Status ExecutorRouter::Stop(const AttemptKey& key, StopMode mode) {
  Status status = absl::OkStatus();
  for (Executor* executor : All()) {
    status = executor->Stop(key, mode);
    if (!absl::IsNotFound(status)) return status;
  }
  return status;
}

Status ExecutorRouter::AddNode(const NodeDescription& node) {
  switch (routes_.new_attempts) {
    case ExecutorKind::containers:
      return containers_->AddNode(node);
    case ExecutorKind::slurm:
      return FailedPrecondition("Slurm knows its own nodes");
    case ExecutorKind::processes:
      break;
  }
  if (node.endpoint.empty()) return absl::OkStatus();
  return FailedPrecondition("processes run on this machine only");
}

std::vector<std::string> ExecutorRouter::SilentNodes() const {
  std::vector<std::string> silent;
  for (const Executor* executor : All()) {
    std::vector<std::string> more = executor->SilentNodes();
    silent.insert(silent.end(), std::make_move_iterator(more.begin()),
                  std::make_move_iterator(more.end()));
  }
  return silent;
}

Status ExecutorRouter::GiveUp(const AttemptKey& key) {
  Status status = absl::OkStatus();
  for (Executor* executor : All()) {
    status = executor->GiveUp(key);
    if (!absl::IsNotFound(status)) return status;
  }
  return status;
}

int ExecutorRouter::MaxClusterSize() const {
  if (routes_.new_attempts == ExecutorKind::slurm) return routes_.slurm->MaxClusterSize();
  return GangExecutor::kMaxMembers;
}

}  // namespace trackbed
