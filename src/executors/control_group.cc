#include "executors/control_group.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "executors/attempt_records.hpp"

namespace trackbed {
namespace {

constexpr const char* kUnifiedRoot = "/sys/fs/cgroup";
constexpr const char* kMemoryRoot = "/sys/fs/cgroup/memory";
constexpr std::array<const char*, 2> kCpuRoots = {"/sys/fs/cgroup/cpu",
                                                  "/sys/fs/cgroup/cpu,cpuacct"};
constexpr int64_t kPeriodMicroseconds = 100000;
constexpr int64_t kMinQuotaMicroseconds = 1000;  // the kernel's

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

bool WriteControl(const std::string& path, const std::string& value) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool written = WriteFully(file, value) == 0;
  close(file);
  return written;
}

int64_t Quota(int64_t cpu_thousandths) {
  return std::max(kMinQuotaMicroseconds, cpu_thousandths * kPeriodMicroseconds / 1000);
}

// Makes the groups on the way to `path`, in version 2 handing the controllers down.
bool MakeGroups(const std::string& root, const std::string& path, bool unified) {
  std::string folder = root;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (unified) {
      // One by one: a controller that is not to be had must not cost us the other.
      WriteControl(folder + "/cgroup.subtree_control", "+memory");
      WriteControl(folder + "/cgroup.subtree_control", "+cpu");
    }
    folder += "/" + path.substr(begin, end - begin);
    if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return false;
    begin = end + 1;
  }
  return true;
}

// Groups can be busy for a moment after their last process is gone.
void RemoveGroup(const std::string& folder) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    if (rmdir(folder.c_str()) == 0 || errno != EBUSY) return;
    usleep(2000);
  }
}

}  // namespace

void ControlGroup::Create(const std::string& path, int64_t memory_bytes, int64_t cpu_thousandths) {
  if (memory_bytes <= 0 && cpu_thousandths <= 0) return;
  if (Exists(std::string(kUnifiedRoot) + "/cgroup.controllers")) {
    CreateUnified(path, memory_bytes, cpu_thousandths);
    return;
  }
  if (memory_bytes > 0) {
    has_memory_ = CreateSeparate(kMemoryRoot, path, "memory.limit_in_bytes", memory_bytes);
    if (has_memory_) {
      // Swap would let the attempt have more than it asked for. Not every kernel can say so.
      WriteControl(folders_.back() + "/memory.memsw.limit_in_bytes", std::to_string(memory_bytes));
      WriteControl(folders_.back() + "/memory.swappiness", "0");
      memory_events_ = folders_.back() + "/memory.oom_control";
    }
  }
  for (const char* root : kCpuRoots) {
    if (cpu_thousandths <= 0 || has_cpu_ || !Exists(root)) continue;
    has_cpu_ = CreateSeparate(root, path, "cpu.cfs_quota_us", Quota(cpu_thousandths));
  }
}

void ControlGroup::CreateUnified(const std::string& path, int64_t memory_bytes,
                                 int64_t cpu_thousandths) {
  if (!MakeGroups(kUnifiedRoot, path, true)) return;
  const std::string folder = std::string(kUnifiedRoot) + "/" + path;
  if (memory_bytes > 0) {
    has_memory_ = WriteControl(folder + "/memory.max", std::to_string(memory_bytes));
    if (has_memory_) WriteControl(folder + "/memory.swap.max", "0");
  }
  if (cpu_thousandths > 0) {
    has_cpu_ = WriteControl(folder + "/cpu.max", std::to_string(Quota(cpu_thousandths)) + " " +
                                                     std::to_string(kPeriodMicroseconds));
  }
  if (!has_memory_ && !has_cpu_) {
    rmdir(folder.c_str());
    return;
  }
  folders_.push_back(folder);
  join_files_.push_back(folder + "/cgroup.procs");
  memory_events_ = folder + "/memory.events";
}

bool ControlGroup::CreateSeparate(const std::string& root, const std::string& path,
                                  const std::string& file, int64_t value) {
  if (!Exists(root + "/cgroup.procs") || !MakeGroups(root, path, false)) return false;
  const std::string folder = root + "/" + path;
  if (!WriteControl(folder + "/" + file, std::to_string(value))) {
    rmdir(folder.c_str());
    return false;
  }
  folders_.push_back(folder);
  join_files_.push_back(folder + "/cgroup.procs");
  return true;
}

bool ControlGroup::RanOutOfMemory() const {
  std::string text;
  if (memory_events_.empty() || ReadSmallFile(memory_events_, 4096, &text) != 0) return false;
  const size_t line = text.find("oom_kill ");
  return line != std::string::npos && strtoll(text.c_str() + line + 9, nullptr, 10) > 0;
}

void ControlGroup::Remove() {
  for (const std::string& folder : folders_) RemoveGroup(folder);
  folders_.clear();
}

void ClearControlGroup(const std::string& path) {
  if (path.empty()) return;
  for (const char* root : {kUnifiedRoot, kMemoryRoot, kCpuRoots[0], kCpuRoots[1]}) {
    const std::string folder = std::string(root) + "/" + path;
    std::string members;
    if (ReadSmallFile(folder + "/cgroup.procs", size_t{1} << 20, &members) != 0) continue;
    for (const char* position = members.c_str(); *position != '\0';) {
      char* end = nullptr;
      const long pid = strtol(position, &end, 10);
      if (end == position) break;
      if (pid > 0) kill(static_cast<pid_t>(pid), SIGKILL);
      position = end + (*end == '\n' ? 1 : 0);
    }
    RemoveGroup(folder);
  }
}

}  // namespace trackbed
