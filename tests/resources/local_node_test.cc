// What this machine offers, and what it is told to offer instead.
#include "trackbed/resources/local_node.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "trackbed/resources/node_reader.hpp"

namespace trackbed {
namespace {

SlotRequest Slot(const std::string& name, int64_t thousandths) {
  return {name, Quantity::FromThousandths(thousandths)};
}

NodeDevice Gpu(const std::string& id, const std::string& slot, const std::string& part_of = "") {
  NodeDevice device;
  device.id = id;
  device.slot = slot;
  device.capacity = Quantity::FromThousandths(1000);
  device.memory_bytes = 1 << 30;
  device.numa_node = 0;
  device.part_of = part_of;
  return device;
}

// Two GPUs, each as a whole and in shares, and an instance of a third.
NodeDescription TwoGpus() {
  NodeDescription node;
  node.cpu = Quantity::FromThousandths(8000);
  node.mem = Quantity::FromThousandths(1 << 20);
  for (int i = 0; i < 2; ++i) {
    node.numa.push_back({i, Quantity::FromThousandths(4000), Quantity::FromThousandths(1 << 19)});
  }
  node.devices = {Gpu("GPU-a", "cuda.device"), Gpu("GPU-b", "cuda.device"),
                  Gpu("GPU-a/shares", "cuda.shares", "GPU-a"),
                  Gpu("GPU-b/shares", "cuda.shares", "GPU-b"),
                  Gpu("MIG-c", "cuda.device:1g.5gb-mig", "GPU-c")};
  node.links = {{"GPU-a", "GPU-b", LinkLevel::nvlink, 12}};
  return node;
}

// "GPU-a:cuda.shares=0.5 …"
std::string Devices(const NodeDescription& node) {
  std::string text;
  for (const NodeDevice& device : node.devices) {
    text += (text.empty() ? "" : " ") + device.id + ":" + device.slot + "=" +
            device.capacity.ToString();
  }
  return text;
}

TEST_CASE("This machine has a processor and memory") {
  const NodeDescription node = DetectLocalNode();
  CHECK(node.cpu > Quantity());
  CHECK(node.mem.units() >= 1 << 20);
  CHECK(ValidateNode(node).ok());
}

TEST_CASE("The GPUs of this machine are offered as a whole and in shares") {
  DeviceProbeOptions options;
  options.nvml = TRACKBED_NVML_STAND_IN;
  const auto gpus = ProbeGpus(options);
  REQUIRE(gpus.ok());
  size_t whole = 0;
  for (const NodeDevice& device : gpus->devices) whole += device.slot == "cuda.device" ? 1 : 0;
  REQUIRE(whole > 0);
  const NodeDescription node = DetectLocalNode(options);
  CHECK(ValidateNode(node).ok());
  size_t shared = 0;
  for (const NodeDevice& device : node.devices) {
    if (device.slot != "cuda.shares") continue;
    CHECK(device.id == device.part_of + "/shares");
    CHECK(device.memory_bytes > 0);
    ++shared;
  }
  CHECK(shared == whole);
  CHECK(node.devices.size() == gpus->devices.size() + shared);
}

TEST_CASE("What is not named stays as it is") {
  NodeDescription node = TwoGpus();
  OfferSlots({}, &node);
  CHECK(node == TwoGpus());
  OfferSlots({Slot("cpu", 8000), Slot("rocm.device", 2000)}, &node);
  CHECK(node.numa.size() == 2);
  CHECK(Devices(node) ==
        Devices(TwoGpus()) + " rocm.device#0:rocm.device=1 rocm.device#1:rocm.device=1");
}

TEST_CASE("Fewer processors are of no NUMA node any more") {
  NodeDescription node = TwoGpus();
  OfferSlots({Slot("cpu", 3000)}, &node);
  CHECK(node.cpu == Quantity::FromThousandths(3000));
  CHECK(node.mem == TwoGpus().mem);
  CHECK(node.numa.empty());
  CHECK(node.devices[0].numa_node == kUnknownNumaNode);
  CHECK(ValidateNode(node).ok());
}

TEST_CASE("A machine's own accelerators are offered first, in the way that is asked for") {
  const std::string instance = "MIG-c:cuda.device:1g.5gb-mig=1 ";
  const auto offered = [](const std::vector<SlotRequest>& slots) {
    NodeDescription node = TwoGpus();
    OfferSlots(slots, &node);
    CHECK(ValidateNode(node).ok());
    return node;
  };
  CHECK(Devices(offered({Slot("cuda.device", 1000)})) == "GPU-a:cuda.device=1");
  CHECK(Devices(offered({Slot("cuda.shares", 1500)})) ==
        "GPU-a:cuda.shares=1 GPU-b:cuda.shares=0.5");
  CHECK(Devices(offered({Slot("cuda.device", 3000)})) ==
        "GPU-a:cuda.device=1 GPU-b:cuda.device=1 cuda.device#2:cuda.device=1");
  CHECK(Devices(offered({Slot("cuda.device", 1000), Slot("cuda.shares", 1000)})) ==
        "GPU-a:cuda.device=1 GPU-b:cuda.shares=1");
  CHECK(Devices(offered({Slot("cuda.device:1g.5gb-mig", 1000)})) ==
        "MIG-c:cuda.device:1g.5gb-mig=1");
  CHECK(Devices(offered({Slot("cuda.device", 0)})).empty());
  CHECK(offered({Slot("cuda.device", 2000)}).links.size() == 1);
  CHECK(offered({Slot("cuda.device", 1000)}).links.empty());
}

TEST_CASE("A node is made of slots") {
  const NodeDescription node =
      NodeOfSlots({Slot("cpu", 2500), Slot("mem", 9000), Slot("cuda.mem", 5000)});
  CHECK(node.cpu == Quantity::FromThousandths(2500));
  CHECK(node.mem == Quantity::FromThousandths(9000));
  CHECK(Devices(node) == "cuda.mem#0:cuda.mem=5");
  CHECK(ValidateNode(node).ok());
}

}  // namespace
}  // namespace trackbed
