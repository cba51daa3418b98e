#include "executors/supervisor/spawn.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace trackbed {
namespace {

constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

// Everything the child needs, made before it exists: it shares our memory until execve, so it may
// neither allocate nor fail in a way that unwinds.
struct ChildPlan {
  const char* program;
  char* const* arguments;
  char* const* script_arguments;  // to have /bin/sh read a program without a "#!" line
  char* const* environment;
  const char* const* join_files;
  int output;
  int64_t address_space_bytes;
  bool shielded;
  pid_t parent;
  volatile int error;
};

bool JoinGroup(const char* file) {
  const int descriptor = open(file, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool joined = write(descriptor, "0", 1) == 1;
  close(descriptor);
  return joined;
}

// Whoever started this program set all signals to their defaults but two that the C library keeps
// to itself, which posix_spawn leaves ignored; only a system call can reach them.
void SetChildSignals(bool shielded) {
  const uint64_t by_default[8] = {};  // struct sigaction as the kernel sees it
  for (int number = 32; number < SIGRTMIN; ++number) {
    syscall(SYS_rt_sigaction, number, by_default, nullptr, sizeof(uint64_t));
  }
  sigset_t blocked;
  sigemptyset(&blocked);
  if (shielded) {
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
      sigaddset(&blocked, number);
    }
  }
  sigprocmask(SIG_SETMASK, &blocked, nullptr);
}

[[noreturn]] __attribute__((noinline)) void RunChild(ChildPlan* plan) {
  // No session of its own: this process has one, without a terminal. Where the kernel shares
  // processors out by session, a new one has to be made room for, which takes longer than all else.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above took effect.
  if (getppid() != plan->parent) _exit(127);
  for (const char* const* file = plan->join_files; *file != nullptr; ++file) {
    if (!JoinGroup(*file)) {
      plan->error = errno;
      _exit(127);
    }
  }
  if (plan->address_space_bytes > 0) {
    const rlimit limit{static_cast<rlim_t>(plan->address_space_bytes),
                       static_cast<rlim_t>(plan->address_space_bytes)};
    setrlimit(RLIMIT_AS, &limit);
  }
  if (plan->output >= 0 && (dup2(plan->output, 1) < 0 || dup2(plan->output, 2) < 0)) {
    plan->error = errno;
    _exit(127);
  }
  SetChildSignals(plan->shielded);
  execve(plan->program, plan->arguments, plan->environment);
  if (errno == ENOEXEC) execve("/bin/sh", plan->script_arguments, plan->environment);
  plan->error = errno;
  _exit(127);
}

bool Executable(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return false;
  if (S_ISDIR(status.st_mode)) {
    errno = EACCES;
    return false;
  }
  return faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
}

}  // namespace

std::vector<char*> PointerTable(const std::vector<std::string>& texts) {
  std::vector<char*> table;
  table.reserve(texts.size() + 1);
  // execve does not write to what it is given, but its signature predates const.
  for (const std::string& text : texts) table.push_back(const_cast<char*>(text.c_str()));
  table.push_back(nullptr);
  return table;
}

std::vector<std::string> OwnEnvironment() {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  return variables;
}

std::string FindProgram(const std::string& name, const std::vector<std::string>& environment) {
  if (name.find('/') != std::string::npos) return name;
  std::string_view path = kDefaultPath;
  for (const std::string& entry : environment) {
    if (entry.starts_with("PATH=")) path = std::string_view(entry).substr(5);
  }
  int error = ENOENT;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string folder(path.substr(begin, end - begin));
    const std::string file = (folder.empty() ? "." : folder) + "/" + name;
    if (Executable(file)) return file;
    if (errno == EACCES) error = EACCES;
    begin = end + 1;
  }
  errno = error;
  return "";
}

int Spawn(const SpawnRequest& request, pid_t* child) {
  const std::vector<char*> arguments = PointerTable(request.arguments);
  const std::vector<char*> environment = PointerTable(request.environment);
  std::vector<std::string> script = {"/bin/sh", request.program};
  script.insert(script.end(), request.arguments.begin() + 1, request.arguments.end());
  const std::vector<char*> script_arguments = PointerTable(script);
  const std::vector<char*> join_files = PointerTable(request.join_files);
  ChildPlan plan{request.program.c_str(),
                 arguments.data(),
                 script_arguments.data(),
                 environment.data(),
                 join_files.data(),
                 request.output,
                 request.address_space_bytes,
                 request.shielded,
                 getpid(),
                 0};
  // NOLINTNEXTLINE(bugprone-unsafe-functions): the child does nothing but what it may
  const pid_t pid = vfork();
  if (pid == 0) RunChild(&plan);
  if (pid < 0) return errno;
  *child = pid;
  if (plan.error != 0) waitpid(pid, nullptr, 0);
  return plan.error;
}

void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace trackbed
