// Processors, memory and NUMA nodes, as the kernel lists them below /proc and /sys.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "trackbed/resources/device_probe.hpp"

namespace trackbed {
namespace {

constexpr int kMaxNumaNode = 63;

std::string ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// How many numbers a list such as "0-3,8" names; none when it is no such list.
std::optional<int64_t> CountList(const std::string& list) {
  int64_t count = 0;
  if (list.empty()) return 0;
  for (const auto part : absl::StrSplit(list, ',')) {
    const std::vector<std::string> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    int64_t first = 0;
    int64_t last = 0;
    if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
        first < 0 || last < first || last > (1 << 20)) {
      return std::nullopt;
    }
    count += last - first + 1;
  }
  return count;
}

// The bytes of the line "… MemTotal:  16384 kB"; none when there is none.
std::optional<Quantity> ReadMemTotal(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t found = line.find("MemTotal:");
    if (found == std::string::npos) continue;
    const std::vector<std::string> words = absl::StrSplit(
        line.substr(found + std::string_view("MemTotal:").size()), ' ', absl::SkipEmpty());
    int64_t kilobytes = 0;
    if (words.empty() || !absl::SimpleAtoi(words.front(), &kilobytes) || kilobytes < 0 ||
        kilobytes > (int64_t{1} << 42)) {
      return std::nullopt;
    }
    const StatusOr<Quantity> bytes = Quantity::FromUnits(kilobytes * 1024);
    if (!bytes.ok()) return std::nullopt;
    return *bytes;
  }
  return std::nullopt;
}

Status Unreadable(const std::string& path) {
  return Unavailable(absl::StrCat("cannot make sense of ", path));
}

// The ids of the directories node0, node1, …, in order.
std::vector<int> ListNumaNodes(const std::string& folder) {
  std::vector<int> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    int id = 0;
    if (name.starts_with("node") && absl::SimpleAtoi(name.substr(4), &id)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

StatusOr<NodeDescription> ProbeMachine(const DeviceProbeOptions& options) {
  NodeDescription node;
#if defined(__aarch64__)
  node.architecture = "aarch64";
#endif
  node.name = ReadLine(options.root + "/proc/sys/kernel/hostname");
  const std::string nodes = options.root + "/sys/devices/system/node";
  for (const int id : ListNumaNodes(nodes)) {
    const std::string folder = absl::StrCat(nodes, "/node", id);
    const std::optional<int64_t> cpus = CountList(ReadLine(folder + "/cpulist"));
    const std::optional<Quantity> memory = ReadMemTotal(folder + "/meminfo");
    if (!cpus) return Unreadable(folder + "/cpulist");
    if (!memory) return Unreadable(folder + "/meminfo");
    // A node without processors is memory of a device: of a GPU, say, which hands it out itself.
    if (*cpus == 0 || id > kMaxNumaNode) continue;
    NumaNode numa;
    numa.id = id;
    numa.cpu = Quantity::FromThousandths(*cpus * 1000);
    numa.mem = *memory;
    if (!Quantity::Add(node.cpu, numa.cpu, &node.cpu) ||
        !Quantity::Add(node.mem, numa.mem, &node.mem)) {
      return Unreadable(folder);
    }
    node.numa.push_back(numa);
  }
  if (!node.numa.empty()) return node;
  const std::string online = options.root + "/sys/devices/system/cpu/online";
  const std::string meminfo = options.root + "/proc/meminfo";
  const std::optional<int64_t> cpus = CountList(ReadLine(online));
  const std::optional<Quantity> memory = ReadMemTotal(meminfo);
  if (!cpus || *cpus == 0) return Unreadable(online);
  if (!memory) return Unreadable(meminfo);
  node.cpu = Quantity::FromThousandths(*cpus * 1000);
  node.mem = *memory;
  return node;
}

StatusOr<NodeDescription> ProbeNode(const DeviceProbeOptions& options) {
  TRACKBED_ASSIGN_OR_RETURN(NodeDescription node, ProbeMachine(options));
  StatusOr<GpuInventory> gpus = ProbeGpus(options);
  if (!gpus.ok()) {
    if (gpus.status().code() == StatusCode::kUnavailable) return node;
    return std::move(gpus).status();
  }
  node.devices = std::move(gpus->devices);
  node.links = std::move(gpus->links);
  // What NVML places on a NUMA node that was left out above is of an unknown one.
  for (NodeDevice& device : node.devices) {
    const bool known = std::any_of(node.numa.begin(), node.numa.end(), [&](const NumaNode& numa) {
      return numa.id == device.numa_node;
    });
    if (!known) device.numa_node = kUnknownNumaNode;
  }
  return node;
}

}  // namespace trackbed
