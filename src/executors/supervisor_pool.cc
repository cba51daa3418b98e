#include "executors/supervisor_pool.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "executors/attempt_records.hpp"
#include "executors/host_files.hpp"

namespace trackbed {
namespace {

// By descriptor: never a process that is not ours. Fails harmlessly if the host was quicker.
void Collect(int process) {
  siginfo_t info{};
  while (waitid(P_PIDFD, static_cast<id_t>(process), &info, WEXITED) != 0 && errno == EINTR) {
  }
  close(process);
}

}  // namespace

SupervisorPool::~SupervisorPool() {
  for (const auto& [id, supervisor] : supervisors_) close(supervisor.socket);
  for (const auto& [id, process] : starters_) Collect(process);
}

Status SupervisorPool::Prepare(const std::string& program, int epoll) {
  program_ = program;
  epoll_ = epoll;
  return spawner_.Prepare();
}

StatusOr<uint64_t> SupervisorPool::Run(std::string_view order, uint64_t tag) {
  while (true) {
    const bool fresh = idle_.empty();
    uint64_t id = 0;
    if (fresh) {
      TRACKBED_ASSIGN_OR_RETURN(id, StartSupervisor());
    } else {
      id = idle_.back();
      idle_.pop_back();
    }
    Supervisor& supervisor = supervisors_[id];
    const int error = SendOrder(supervisor.socket, order);
    if (error == 0) {
      supervisor.busy = true;
      supervisor.tag = tag;
      return id;
    }
    const bool left = error == EPIPE || error == ECONNRESET;
    if (left) {
      Remove(id);
    } else {
      idle_.push_back(id);
    }
    // One that was idle may have left meanwhile; the next may be there.
    if (fresh || !left) return HostStatus(error, "cannot tell a supervisor what to run");
  }
}

StatusOr<uint64_t> SupervisorPool::StartSupervisor() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return HostStatus(errno, "cannot make a socket");
  }
  const uint64_t id = next_id_++;
  Status status = absl::OkStatus();
  const int inherited = fcntl(ends[1], F_DUPFD_CLOEXEC, DetachedSpawner::kLowestDescriptor);
  if (inherited < 0) status = HostStatus(errno, "cannot make a descriptor");
  close(ends[1]);
  if (status.ok()) status = Watch(ends[0], id);
  if (status.ok()) {
    const StatusOr<pid_t> pid =
        spawner_.Spawn(program_, {"trackbed-supervisor", kServeFlag}, inherited);
    status = pid.status();
    if (status.ok()) WatchStarter(*pid);
  }
  if (inherited >= 0) close(inherited);
  if (!status.ok()) {
    close(ends[0]);
    return status;
  }
  supervisors_[id].socket = ends[0];
  return id;
}

Status SupervisorPool::Watch(int descriptor, uint64_t id) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kEventBit | id;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0) return absl::OkStatus();
  return HostStatus(errno, "cannot watch a supervisor");
}

// The child has nothing left to do but to end. Collected once it has, or, without descriptors to
// be told of that, right here.
void SupervisorPool::WatchStarter(pid_t pid) {
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (process < 0 && errno == ESRCH) return;  // collected already, by whoever does that here
  const uint64_t id = next_id_++;
  if (process >= 0 && Watch(process, id).ok()) {
    starters_[id] = process;
    return;
  }
  if (process >= 0) close(process);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

void SupervisorPool::Stop(uint64_t supervisor, ExecutorWord::Kind kind) {
  const auto found = supervisors_.find(supervisor);
  // An error means that it is gone, which is noticed anyway.
  if (found != supervisors_.end() && found->second.busy) SendStop(found->second.socket, kind);
}

void SupervisorPool::OnEvent(uint64_t data, std::vector<News>* news) {
  const uint64_t id = data & ~kEventBit;
  if (const auto starter = starters_.find(id); starter != starters_.end()) {
    Collect(starter->second);
    starters_.erase(starter);
    return;
  }
  const auto found = supervisors_.find(id);
  if (found == supervisors_.end()) return;
  Supervisor& supervisor = found->second;
  News item;
  item.tag = supervisor.tag;
  // One word an event: the next one, if there is one, is the next event.
  const int error = ReceiveFromSupervisor(supervisor.socket, &item.word);
  if (error == EAGAIN) return;
  item.gone = error != 0;
  if (supervisor.busy) news->push_back(item);
  if (!item.gone && item.word.kind == SupervisorWord::Kind::started) return;
  if (item.gone || item.word.last != 0) {
    Remove(id);
  } else if (supervisor.busy) {
    supervisor.busy = false;
    idle_.push_back(id);
  }
}

void SupervisorPool::Remove(uint64_t id) {
  const auto found = supervisors_.find(id);
  if (!found->second.busy) idle_.erase(std::remove(idle_.begin(), idle_.end(), id), idle_.end());
  close(found->second.socket);
  supervisors_.erase(found);
}

}  // namespace trackbed
