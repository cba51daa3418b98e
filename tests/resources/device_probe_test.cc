// Discovery, on a made-up tree and with a library that stands in for NVIDIA's.
#include "trackbed/resources/device_probe.hpp"

#include <filesystem>
#include <fstream>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {
namespace {

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

// Two NUMA nodes with processors, and one that is memory only.
DeviceProbeOptions MadeUp(const std::string& root) {
  const std::string node = root + "/sys/devices/system/node/node";
  Write(root + "/proc/sys/kernel/hostname", "made-up\n");
  Write(node + "0/cpulist", "0-3,8\n");
  Write(node + "0/meminfo", "Node 0 MemTotal:       1024 kB\nNode 0 MemFree: 1 kB\n");
  Write(node + "1/cpulist", "4-7\n");
  Write(node + "1/meminfo", "Node 1 MemTotal:       2048 kB\n");
  Write(node + "2/cpulist", "\n");
  Write(node + "2/meminfo", "Node 2 MemTotal:       4096 kB\n");
  Write(root + "/sys/bus/pci/devices/0000:4a:00.0/numa_node", "1\n");
  Write(root + "/sys/bus/pci/devices/0000:4b:00.0/numa_node", "-1\n");
  DeviceProbeOptions options;
  options.root = root;
  options.nvml = TRACKBED_NVML_STAND_IN;
  return options;
}

TEST_CASE("Processors and memory are found node by node") {
  const TemporaryFolder folder;
  const auto node = ProbeMachine(MadeUp(folder.path()));
  REQUIRE(node.ok());
  CHECK(node->name == "made-up");
  CHECK(node->cpu.units() == 9);
  CHECK(node->mem.units() == 3 << 20);
  REQUIRE(node->numa.size() == 2);
  CHECK(node->numa[0].cpu.units() == 5);
  CHECK(node->numa[1].mem.units() == 2 << 20);
  CHECK(ValidateNode(*node).ok());
}

TEST_CASE("Looking again and again leaves no descriptors behind") {
  const TemporaryFolder folder;
  const auto descriptors = [] {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return std::distance(begin(open), end(open));
  };
  REQUIRE(ProbeGpus(MadeUp(folder.path())).ok());
  const auto before = descriptors();
  for (int i = 0; i < 3; ++i) REQUIRE(ProbeGpus(MadeUp(folder.path())).ok());
  CHECK(descriptors() == before);
}

TEST_CASE("A machine without NUMA nodes is one whole") {
  const TemporaryFolder folder;
  DeviceProbeOptions options;
  options.root = folder.path();
  options.nvml = "/nowhere/libnvidia-ml.so.1";
  CHECK(Message(ProbeMachine(options).status()) ==
        "cannot make sense of " + options.root + "/sys/devices/system/cpu/online");
  Write(options.root + "/sys/devices/system/cpu/online", "0-1\n");
  CHECK(Message(ProbeMachine(options).status()) ==
        "cannot make sense of " + options.root + "/proc/meminfo");
  Write(options.root + "/proc/meminfo", "MemTotal:       1024 kB\n");
  const auto node = ProbeNode(options);
  REQUIRE(node.ok());
  CHECK(node->cpu.units() == 2);
  CHECK(node->numa.empty());
  CHECK(node->devices.empty());
  Write(options.root + "/sys/devices/system/node/node0/cpulist", "3-1\n");
  CHECK(ProbeMachine(options).status().code() == StatusCode::kUnavailable);
}

TEST_CASE("GPUs, their links, instances and health are found by NVML") {
  const TemporaryFolder folder;
  const auto gpus = ProbeGpus(MadeUp(folder.path()));
  REQUIRE(gpus.ok());
  REQUIRE(gpus->devices.size() == 5);
  const NodeDevice& first = gpus->devices[0];
  CHECK(first.id == "GPU-0");
  CHECK(first.slot == "cuda.device");
  CHECK(first.model == "NVIDIA A100-SXM4-40GB");
  CHECK(first.memory_bytes == 42'505'273'344);
  CHECK(first.numa_node == 1);
  CHECK(first.healthy);
  CHECK(first.mig_model == "A100-40GB");
  CHECK(gpus->devices[1].numa_node == kUnknownNumaNode);
  CHECK(gpus->devices[2].id == "MIG-10");
  CHECK(gpus->devices[2].slot == "cuda.device:3g.20gb-mig");
  CHECK(gpus->devices[3].part_of == "GPU-2");
  CHECK(gpus->devices[4].id == "GPU-3");
  CHECK_FALSE(gpus->devices[4].healthy);
  REQUIRE(gpus->links.size() == 3);
  CHECK(gpus->links[0] == NodeLink{"GPU-0", "GPU-1", LinkLevel::nvlink, 4});
  CHECK(gpus->links[1] == NodeLink{"GPU-0", "GPU-3", LinkLevel::host_bridge, 0});
  REQUIRE(gpus->mig.size() == 1);
  CHECK(gpus->mig[0].instances ==
        std::vector<MigInstance>{{"MIG-10", "3g.20gb", 4, true}, {"MIG-11", "1g.5gb", 1, true}});
  const auto plan = PlanMig(gpus->mig, std::vector<std::string>{"2g.10gb"});
  REQUIRE(plan.ok());
  CHECK(plan->assignments[0].start == 2);
}

TEST_CASE("What is found can be allocated") {
  const TemporaryFolder folder;
  const auto node = ProbeNode(MadeUp(folder.path()));
  REQUIRE(node.ok());
  CHECK(node->devices.size() == 5);
  auto allocator = SlotAllocator::Create(*node);
  REQUIRE(allocator.ok());
  const auto demand = allocator->Prepare(std::vector<SlotRequest>{
      {"cuda.device", *Quantity::FromUnits(2)}, {"cpu", *Quantity::FromUnits(1)}});
  REQUIRE(demand.ok());
  Allocation allocation;
  REQUIRE(allocator->Allocate(*demand, &allocation).ok());
  CHECK(allocation.parts[0].device == "GPU-0");
  CHECK(allocation.parts[1].device == "GPU-1");
  CHECK(allocation.parts[2].device == "numa1");
}

TEST_CASE("Without NVML there are no GPUs, and that is said") {
  DeviceProbeOptions options;
  options.nvml = "/nowhere/libnvidia-ml.so.1";
  const Status missing = ProbeGpus(options).status();
  CHECK(missing.code() == StatusCode::kUnavailable);
  CHECK(Message(missing).starts_with("cannot load NVML: "));
  options.nvml = "libm.so.6";
  CHECK(Message(ProbeGpus(options).status()) == "libm.so.6 lacks functions of NVML");
}

TEST_CASE("This machine can be probed") {
  const auto node = ProbeNode();
  REQUIRE(node.ok());
  CHECK(node->cpu > Quantity());
  CHECK(ValidateNode(*node).ok());
}

}  // namespace
}  // namespace trackbed
