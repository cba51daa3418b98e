#include "executors/process_tree.hpp"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string_view>

#include "executors/attempt_records.hpp"

namespace trackbed {
namespace {

constexpr size_t kMaxEnvironmentBytes = size_t{8} << 20;
constexpr int kMaxSweeps = 20;

void ForEachProcess(const std::function<void(pid_t)>& visit) {
  DIR* stream = opendir("/proc");
  if (stream == nullptr) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, closedir);
  while (const dirent* entry = readdir(stream)) {
    char* end = nullptr;
    const long pid = strtol(entry->d_name, &end, 10);
    if (pid > 0 && *end == '\0') visit(static_cast<pid_t>(pid));
  }
}

bool HasEntry(pid_t pid, std::string_view entry) {
  std::string environment;
  const std::string path = "/proc/" + std::to_string(pid) + "/environ";
  if (ReadSmallFile(path, kMaxEnvironmentBytes, &environment) != 0) return false;
  for (size_t begin = 0; begin < environment.size();) {
    const size_t end = std::min(environment.find('\0', begin), environment.size());
    if (std::string_view(environment).substr(begin, end - begin) == entry) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::vector<ProcessIdentity> Descendants(pid_t root) {
  std::multimap<pid_t, ProcessIdentity> by_parent;
  ForEachProcess([&](pid_t pid) {
    ProcessIdentity process{pid, 0};
    pid_t parent = 0;
    if (ReadProcessStat(pid, &process.start_time, &parent)) by_parent.emplace(parent, process);
  });
  std::vector<ProcessIdentity> found;
  std::vector<pid_t> parents = {root};
  while (!parents.empty()) {
    const pid_t parent = parents.back();
    parents.pop_back();
    const auto [begin, end] = by_parent.equal_range(parent);
    for (auto child = begin; child != end; ++child) {
      found.push_back(child->second);
      parents.push_back(child->second.pid);
    }
    by_parent.erase(begin, end);  // a table read while processes come and go may hold a circle
  }
  return found;
}

int OpenProcess(const ProcessIdentity& process) {
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  if (descriptor < 0) return -1;
  uint64_t start_time = 0;
  pid_t parent = 0;
  if (ReadProcessStat(process.pid, &start_time, &parent) && start_time == process.start_time) {
    return descriptor;
  }
  close(descriptor);
  errno = ESRCH;
  return -1;
}

int SignalDescriptor(int process_descriptor, int signal) {
  return syscall(SYS_pidfd_send_signal, process_descriptor, signal, nullptr, 0) == 0 ? 0 : errno;
}

bool SignalProcess(const ProcessIdentity& process, int signal) {
  const int descriptor = OpenProcess(process);
  if (descriptor < 0) return false;
  SignalDescriptor(descriptor, signal);
  close(descriptor);
  return true;
}

void KillByEnvironment(const std::string& entry) {
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    bool found = false;
    ForEachProcess([&](pid_t pid) {
      ProcessIdentity process{pid, 0};
      pid_t parent = 0;
      if (pid == getpid() || !ReadProcessStat(pid, &process.start_time, &parent)) return;
      if (!HasEntry(pid, entry)) return;
      found = true;
      SignalProcess(process, SIGKILL);
    });
    if (!found) return;
    usleep(1000);
  }
}

}  // namespace trackbed
