// What this machine has, as far as this process may use it.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

#include "trackbed/resources/slots.hpp"

namespace trackbed {
namespace {

int64_t ReadNumber(const char* path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : otherwise;
}

// In thousandths of a core.
int64_t UsableCores() {
  cpu_set_t set;
  int64_t cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                               : sysconf(_SC_NPROCESSORS_ONLN);
  int64_t thousandths = std::max<int64_t>(cores, 1) * 1000;
  // A container's share: "max 100000" or "150000 100000" (cgroup v2).
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  int64_t period = 0;
  if (quota_file >> quota >> period && quota != "max" && period > 0) {
    const int64_t limit = std::strtoll(quota.c_str(), nullptr, 10) * 1000 / period;
    if (limit > 0) thousandths = std::min(thousandths, limit);
  }
  const int64_t v1_quota = ReadNumber("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1);
  const int64_t v1_period = ReadNumber("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 0);
  if (v1_quota > 0 && v1_period > 0) {
    thousandths = std::min(thousandths, v1_quota * 1000 / v1_period);
  }
  return thousandths;
}

int64_t UsableMemory() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* limit :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const int64_t value = ReadNumber(limit, -1);  // "max" reads as no number
    if (value > 0) bytes = std::min(bytes, value);
  }
  return bytes;
}

}  // namespace

std::vector<SlotRequest> DetectLocalSlots() {
  std::vector<SlotRequest> slots;
  slots.push_back({"cpu", Quantity::FromThousandths(UsableCores())});
  if (StatusOr<Quantity> memory = Quantity::FromUnits(UsableMemory()); memory.ok()) {
    slots.push_back({"mem", *memory});
  }
  return slots;
}

}  // namespace trackbed
