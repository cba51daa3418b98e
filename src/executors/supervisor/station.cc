#include "executors/supervisor/station.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iterator>
#include <utility>

#include "executors/attempt_records.hpp"
#include "executors/supervisor/attempt.hpp"
#include "executors/supervisor/spawn.hpp"

namespace trackbed {
namespace {

// A process costs little to keep and little to start: after a burst of attempts not all of theirs
// need to stay.
constexpr int kIdleMs = 10000;

// The process at the other end. A socket alone does not tell of its end: a child that it forked may
// still hold it.
int OpenPeer(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) return -1;
  return static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0));
}

}  // namespace

bool Station::Open() {
  if (fcntl(kOrdersDescriptor, F_SETFD, FD_CLOEXEC) != 0) return false;
  orders_ = kOrdersDescriptor;
  engine_ = OpenPeer(orders_);
  return OpenAlone();
}

bool Station::OpenAlone() {
  BlockSignals();
  sigset_t all;
  sigfillset(&all);
  signals_ = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  pid_ = getpid();
  pid_t parent = 0;
  boot_ = BootIdentity();
  // Orphans of an attempt become our children, so that none gets away.
  return signals_ >= 0 && ReadProcessStat(pid_, &start_time_, &parent) &&
         prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

bool Station::WaitForOrder(std::string* order) {
  // No folder of an attempt is kept in use.
  if (chdir("/") != 0) return false;
  while (!retired_ && orders_ >= 0) {
    pollfd watched[] = {{orders_, POLLIN, 0}, {signals_, POLLIN, 0}, {engine_, POLLIN, 0}};
    const int count = poll(watched, std::size(watched), kIdleMs);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || SignalledWhileIdle()) return false;
    ExecutorWord word;
    while (Hear(&word)) {
      // A request to stop has come too late for the attempt before.
      if (word.kind != ExecutorWord::Kind::order) continue;
      *order = std::move(word.order);
      ++orders_taken_;
      return true;
    }
    if (watched[2].revents != 0) return false;
  }
  return false;
}

// Signals are for attempts. Who sends one now does not want this process to be here.
bool Station::SignalledWhileIdle() {
  bool signalled = false;
  signalfd_siginfo info{};
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    signalled = signalled || info.ssi_signo != SIGCHLD;
  }
  return signalled;
}

void Station::Tell(SupervisorWord::Kind kind, int error) {
  const SupervisorWord word{kind, error, retired_ ? 1 : 0};
  if (orders_ >= 0 && SendFromSupervisor(orders_, word) != 0) CloseOrders();
}

bool Station::Hear(ExecutorWord* word) {
  if (orders_ < 0) return false;
  const int error = ReceiveFromExecutor(orders_, word);
  if (error == EAGAIN) return false;
  if (error == 0 && word->kind != ExecutorWord::Kind::end) return true;
  CloseOrders();
  return false;
}

void Station::CloseOrders() {
  close(orders_);
  orders_ = -1;
}

int Serve() {
  // The program that embeds the executor may wait for all of its children; this one outlives it.
  const pid_t self = fork();
  if (self != 0) return self > 0 ? 0 : 71;
  Station station;
  if (!station.Open()) return 71;
  std::string text;
  while (station.WaitForOrder(&text)) Attempt(&station).Run(text);
  return 0;
}

}  // namespace trackbed
