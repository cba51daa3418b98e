#include "executors/supervisor/sandboxed.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "executors/supervisor/spawn.hpp"

namespace trackbed {
namespace {

void Tell(int status_descriptor, SandboxedWord word) {
  // Less than PIPE_BUF, so it arrives whole; when nobody listens any more there is nothing to tell.
  [[maybe_unused]] const ssize_t written = write(status_descriptor, &word, sizeof(word));
}

// Bubblewrap hands down descriptors of ours that the command is not to have.
void CloseAllBut(int kept) {
  const auto number = static_cast<unsigned>(kept);
  if (number > 3) syscall(SYS_close_range, 3U, number - 1, 0U);
  syscall(SYS_close_range, number + 1, ~0U, 0U);
  fcntl(kept, F_SETFD, FD_CLOEXEC);
}

}  // namespace

int RunSandboxed(int argument_count, char** arguments) {
  if (argument_count < 4) return 64;
  BlockSignals();
  const int status_descriptor = atoi(arguments[2]);
  CloseAllBut(status_descriptor);
  SpawnRequest request;
  request.arguments.assign(arguments + 3, arguments + argument_count);
  request.environment = OwnEnvironment();
  request.program = FindProgram(request.arguments.front(), request.environment);
  int error = request.program.empty() ? errno : 0;
  pid_t child = 0;
  if (error == 0) {
    Tell(status_descriptor, {SandboxedWord::Kind::starting, 0});
    error = Spawn(request, &child);
  }
  if (error != 0) {
    Tell(status_descriptor, {SandboxedWord::Kind::not_started, error});
    return 127;
  }
  Tell(status_descriptor, {SandboxedWord::Kind::running, 0});
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  Tell(status_descriptor, {SandboxedWord::Kind::ended, status});
  return 0;
}

}  // namespace trackbed
