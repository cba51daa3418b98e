#include "executors/supervisor_process.hpp"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "executors/attempt_records.hpp"
#include "executors/host_files.hpp"
#include "executors/sandbox_plan.hpp"

namespace trackbed {
namespace {

constexpr int kProbeTimeoutMs = 5000;

bool Executable(const std::string& path) {
  return !IsFolder(path) && access(path.c_str(), X_OK) == 0;
}

std::string ProgramFolder() {
  std::string path(PATH_MAX, '\0');
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0) return "";
  path.resize(static_cast<size_t>(length));
  return path.substr(0, path.rfind('/'));
}

std::vector<char*> PointerTable(const std::vector<std::string>& texts) {
  std::vector<char*> table;
  table.reserve(texts.size() + 1);
  // posix_spawn does not write to what it is given, but its signature predates const.
  for (const std::string& text : texts) table.push_back(const_cast<char*>(text.c_str()));
  table.push_back(nullptr);
  return table;
}

}  // namespace

StatusOr<std::string> FindSupervisor(const std::string& given) {
  std::vector<std::string> places;
  const char* named = getenv("TRACKBED_SUPERVISOR");
  if (!given.empty()) {
    places = {given};
  } else if (named != nullptr && *named != '\0') {
    places = {named};
  } else {
    const std::string folder = ProgramFolder();
    places = {folder + "/trackbed-supervisor", folder + "/../libexec/trackbed/trackbed-supervisor"};
  }
  std::string looked;
  for (const std::string& place : places) {
    if (Executable(place)) return place;
    looked += (looked.empty() ? "" : " and ") + place;
  }
  return NotFound("there is no trackbed-supervisor; looked at " + looked);
}

std::string FindInPath(const std::string& name) {
  const char* variable = getenv("PATH");
  const std::string_view path = variable == nullptr ? "/usr/local/bin:/usr/bin:/bin" : variable;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string file = std::string(path.substr(begin, end - begin)) + "/" + name;
    if (file.starts_with('/') && Executable(file)) return file;
    begin = end + 1;
  }
  return "";
}

DetachedSpawner::DetachedSpawner() { posix_spawnattr_init(&attributes_); }
DetachedSpawner::~DetachedSpawner() { posix_spawnattr_destroy(&attributes_); }

Status DetachedSpawner::Prepare() {
  sigset_t signals;
  sigfillset(&signals);
  // Blocked until the program says otherwise: no signal can hit it before it is ready.
  int error = posix_spawnattr_setsigmask(&attributes_, &signals);
  sigdelset(&signals, SIGKILL);
  sigdelset(&signals, SIGSTOP);
  if (error == 0) error = posix_spawnattr_setsigdefault(&attributes_, &signals);
  if (error == 0) {
    error = posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  return error == 0 ? absl::OkStatus() : HostStatus(error, "cannot prepare to start programs");
}

StatusOr<pid_t> DetachedSpawner::Spawn(const std::string& program,
                                       const std::vector<std::string>& arguments,
                                       int inherited) const {
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (error == 0) error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, 0, 1);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, 0, 2);
  if (error == 0 && inherited >= 0) {
    error = posix_spawn_file_actions_adddup2(&actions, inherited, kOrdersDescriptor);
  }
  // The host's own descriptors are none of an attempt's business, whatever their flags.
  if (error == 0) {
    error = posix_spawn_file_actions_addclosefrom_np(
        &actions, inherited >= 0 ? kOrdersDescriptor + 1 : kOrdersDescriptor);
  }
  pid_t pid = 0;
  const std::vector<std::string> no_environment;
  if (error == 0) {
    error = posix_spawn(&pid, program.c_str(), &actions, &attributes_,
                        PointerTable(arguments).data(), PointerTable(no_environment).data());
  }
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return HostStatus(error, "cannot start " + program);
  return pid;
}

bool BubblewrapWorks(const std::string& bubblewrap, const std::string& supervisor,
                     const DetachedSpawner& spawner) {
  const StatusOr<std::vector<std::string>> view =
      PlanSandbox({{"/trackbed-probe/folder", "/", true}}, "/", {});
  if (!view.ok()) return false;
  std::vector<std::string> arguments = {"bwrap"};
  arguments.insert(arguments.end(), view->begin(), view->end());
  for (const char* text : {"--", supervisor.c_str(), "--check"}) arguments.emplace_back(text);
  const StatusOr<pid_t> pid = spawner.Spawn(bubblewrap, arguments, -1);
  if (!pid.ok()) return false;
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, *pid, 0));
  pollfd ended{descriptor, POLLIN, 0};
  const bool in_time = descriptor >= 0 && poll(&ended, 1, kProbeTimeoutMs) == 1;
  if (!in_time) kill(*pid, SIGKILL);
  if (descriptor >= 0) close(descriptor);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(*pid), &info, WEXITED) != 0) {
    if (errno != EINTR) return false;
  }
  return in_time && info.si_code == CLD_EXITED && info.si_status == 0;
}

}  // namespace trackbed
