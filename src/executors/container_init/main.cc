// trackbed-container-init: the first process of an attempt's container. It does for the command
// what trackbed-supervisor does outside: a signal reaches every process, orphans are collected, and
// how the command ended is told exactly, where a container's exit code cannot tell 139 from
// SIGSEGV.
//
//   trackbed-container-init FOLDER COMMAND [ARGUMENT]…
//
// FOLDER is shared with the executor (container_files.hpp). Whoever makes `begun` there runs the
// command, so that a container started once more by anybody runs nothing. An attempt that was given
// up because its host could not be reached, and may be running elsewhere by now, ends when its
// first process reads that there.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "executors/attempt_records.hpp"
#include "executors/container_files.hpp"

namespace trackbed {
namespace {

constexpr int kExitCannotBegin = 73;
constexpr size_t kMaxEventsBytes = 4096;
constexpr timespec kGivenUpInterval = {2, 0};

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t Nanoseconds(const timeval& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1000;
}

// The kernel's count of processes that it killed in this container for lack of memory.
bool RanOutOfMemory() {
  for (const char* path :
       {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"}) {
    std::string text;
    if (ReadSmallFile(path, kMaxEventsBytes, &text) != 0) continue;
    const size_t place = ("\n" + text).find("\noom_kill ");
    if (place == std::string::npos) continue;
    return strtoll(text.c_str() + place + strlen("oom_kill "), nullptr, 10) > 0;
  }
  return false;
}

// Runs the command; its process id, or -1 with errno.
pid_t Spawn(char** command, const sigset_t& outer) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    sigprocmask(SIG_SETMASK, &outer, nullptr);
    execvp(command[0], command);
    const int error = errno;
    [[maybe_unused]] const ssize_t told = write(ends[1], &error, sizeof(error));
    _exit(127);
  }
  const int fork_error = errno;
  close(ends[1]);
  int error = child < 0 ? fork_error : 0;
  if (child > 0 && read(ends[0], &error, sizeof(error)) == sizeof(error)) {
    waitpid(child, nullptr, 0);
  }
  close(ends[0]);
  errno = error;
  return error == 0 ? child : -1;
}

void Forward(int signal, pid_t child) {
  if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT) {
    kill(-1, SIGTERM);
    kill(-1, SIGCONT);  // what is stopped cannot heed the request
  } else {
    kill(child, signal);
  }
}

// Until `child` has ended, or the file `given_up` is there; the child's status.
int Watch(pid_t child, const sigset_t& signals, const std::string& given_up) {
  int status = 0;
  while (true) {
    siginfo_t info{};
    const int signal = sigtimedwait(&signals, &info, &kGivenUpInterval);
    if (signal < 0) {
      if (errno == EAGAIN && access(given_up.c_str(), F_OK) == 0) return SIGKILL;
      continue;
    }
    if (signal != SIGCHLD) {
      Forward(signal, child);
      continue;
    }
    pid_t ended = 0;
    int ended_status = 0;
    bool main_ended = false;
    while ((ended = waitpid(-1, &ended_status, WNOHANG)) > 0) {
      if (ended != child) continue;
      main_ended = true;
      status = ended_status;
    }
    if (main_ended) return status;
  }
}

// What the command left behind may still be writing into its outputs.
void EndOthers() {
  while (true) {
    kill(-1, SIGKILL);
    if (waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
  }
}

int Run(const std::string& folder, char** command) {
  const std::string begun = folder + "/" + kBegunFile;
  const int mark = open(begun.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (mark < 0) {
    if (errno == EEXIST) return kExitBegunBefore;
    fprintf(stderr, "trackbed-container-init: %s: %s\n", begun.c_str(), strerror(errno));
    return kExitCannotBegin;
  }
  close(mark);
  sigset_t all;
  sigset_t outer;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &outer);

  ExitRecord record;
  const int64_t begin = NowNs();
  const pid_t child = Spawn(command, outer);
  if (child < 0) {
    record.ran = false;
    record.message = "cannot run \"" + std::string(command[0]) + "\": " + strerror(errno);
  } else {
    const int status = Watch(child, all, folder + "/" + kGivenUpFile);
    record.wall_ns = NowNs() - begin;
    EndOthers();
    if (WIFSIGNALED(status)) {
      record.signal = WTERMSIG(status);
    } else {
      record.exit_code = WEXITSTATUS(status);
    }
    rusage usage{};
    getrusage(RUSAGE_CHILDREN, &usage);
    record.cpu_ns = Nanoseconds(usage.ru_utime) + Nanoseconds(usage.ru_stime);
    record.max_rss_bytes = int64_t{usage.ru_maxrss} * 1024;
    const bool failed = record.exit_code != 0 || record.signal != 0;
    record.out_of_memory = failed && RanOutOfMemory();
  }
  // Should this fail, the exit code has to do.
  WriteWholeFile(folder + "/" + kEndFile, EncodeExit(record), false);
  if (!record.ran) return 127;
  return record.signal != 0 ? 128 + record.signal : record.exit_code;
}

}  // namespace
}  // namespace trackbed

int main(int argument_count, char** arguments) {
  if (argument_count < 3) return 64;
  // As any other process it would signal, and in the end kill, all that its user runs.
  if (getpid() != 1) {
    fprintf(stderr, "trackbed-container-init: runs only as the first process of a container\n");
    return 64;
  }
  const int code = trackbed::Run(arguments[1], arguments + 2);
  _exit(code);
}
