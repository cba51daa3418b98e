// The allocator at its edges: amounts out of range, what an operator changes, ids that were never
// given, and what a machine looks like that is not all alike.
#include <limits>
#include <string>
#include <vector>

#include "resources/slot_lab.hpp"

namespace trackbed {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1000 * 1000;

AllocationPart Part(std::string_view slot, std::string_view device, int64_t thousandths) {
  AllocationPart part;
  part.slot = slot;
  part.device = device;
  part.amount = Quantity::FromThousandths(thousandths);
  return part;
}

TEST_CASE("A slot that stands twice in a request is asked for in one") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000, 1000}));
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 300), Slot("cuda.shares", 400)})) == "d1=0.7");
  CHECK(Refusal(allocator, {Slot("cuda.shares", 2000), Slot("cuda.shares", 10)}) ==
        "needs 2.01 cuda.shares, there is 2");
  SlotAllocator huge = Make(NodeOf("cuda.mem", {kMost}));
  CHECK(Refusal(huge, {Slot("cuda.mem", kMost), Slot("cuda.mem", kMost)}) ==
        "the amount of cuda.mem is out of range");
}

TEST_CASE("Capacities are counted to the end, or the machine is refused") {
  const Status status = SlotAllocator::Create(NodeOf("cuda.mem", {kMost, kMost, 1000})).status();
  CHECK(Message(status) == "the capacity of cuda.mem is out of range");
  SlotAllocatorOptions options;
  for (const int64_t quantum : {0, -10}) {
    options.quanta = {Slot("cuda.shares", quantum)};
    CHECK(SlotAllocator::Create(NodeOf("cuda.shares", {1000}), options).status().code() ==
          StatusCode::kInvalidArgument);
  }
}

TEST_CASE("What is left of devices below the quantum is free and of no use") {
  SlotAllocatorOptions options = With(AllocationStrategy::even);
  options.quanta = {Slot("cuda.shares", 250)};
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000, 1000, 1000}), options);
  // Taken before the quantum was what it is.
  for (const char* device : {"d0", "d1", "d2"}) {
    Allocation allocation;
    const AllocationPart part = Part("cuda.shares", device, 400);
    REQUIRE(allocator.AllocateParts({&part, 1}, &allocation).ok());
  }
  CHECK(Refusal(allocator, {Slot("cuda.shares", 1750)}) ==
        "needs 1.75 cuda.shares in steps of 0.25; the most free on any device is 0.6, 1.8 in all");
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 1500)})) == "d0=0.5 d1=0.5 d2=0.5");
}

TEST_CASE("Parts that nobody could have been given are refused") {
  SlotAllocator allocator = Make([] {
    NodeDescription node = NodeOf("cuda.shares", {1000});
    node.cpu = Quantity::FromThousandths(4000);
    return node;
  }());
  const auto refusal = [&](const AllocationPart& part) {
    Allocation allocation;
    const Status status = allocator.AllocateParts({&part, 1}, &allocation);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(allocator.live_count() == 0);
    return std::string(Message(status));
  };
  CHECK(refusal(Part("cpu", "", 0)) == "found 0 cpu, expected a multiple of 0.001 above 0");
  CHECK(refusal(Part("cpu", "", -1000)) == "found -1 cpu, expected a multiple of 0.001 above 0");
  CHECK(refusal(Part("cuda.shares", "d0", 5)) ==
        "found 0.005 cuda.shares on d0, expected a multiple of 0.01 above 0");
  CHECK(refusal(Part("cpu", "", 4001)) == "found 4.001 cpu, 4 of 4 free");
}

TEST_CASE("What is live is found by its id, and nothing else is") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000, 1000}));
  const Allocation first = Take(allocator, {Slot("cuda.shares", 300)});
  const Allocation second = Take(allocator, {Slot("cuda.shares", 1400)});
  Allocation found;
  REQUIRE(allocator.Find(second.id, &found));
  CHECK(found == second);
  REQUIRE(allocator.Find(first.id, &found));
  CHECK(found == first);
  CHECK(allocator.Live() == std::vector<Allocation>{first, second});
  CHECK_FALSE(allocator.Find(0, &found));
  CHECK_FALSE(allocator.Find(first.id + 5, &found));
  CHECK_FALSE(allocator.Find(~uint64_t{0}, &found));
  REQUIRE(allocator.Release(first).ok());
  CHECK_FALSE(allocator.Find(first.id, &found));
  CHECK(allocator.Live() == std::vector<Allocation>{second});
  // Its place is another's, its id is not.
  const Allocation third = Take(allocator, {Slot("cuda.shares", 300)});
  CHECK_FALSE(allocator.Find(first.id, &found));
  CHECK(allocator.Live().size() == 2);
  REQUIRE(allocator.Find(third.id, &found));
  CHECK(found == third);
}

TEST_CASE("Chosen parts count among all that may be live") {
  SlotAllocator allocator = Make({});
  Allocation allocation;
  for (int i = 0; i < 65'536; ++i) {
    if (!allocator.AllocateParts({}, &allocation).ok()) FAIL("refused at " << i);
  }
  CHECK(Message(allocator.AllocateParts({}, &allocation)) == "there are 65536 allocations already");
  REQUIRE(allocator.Release(allocation).ok());
  CHECK(allocator.AllocateParts({}, &allocation).ok());
}

// 20 devices in two rings of five that are linked alike, d10 to d14 and d15 to d19; d3 is linked
// with each of the second.
NodeDescription Twenty() {
  NodeDescription node = NodeOf("cuda.shares", std::vector<int64_t>(20, 1000));
  const auto link = [&](int a, int b, int lanes) {
    node.links.push_back(
        {"d" + std::to_string(a), "d" + std::to_string(b), LinkLevel::nvlink, lanes});
  };
  for (const int first : {10, 15}) {
    for (int a = first; a < first + 5; ++a) {
      for (int b = first; b < a; ++b) link(a, b, 2);
    }
  }
  for (int a = 15; a < 20; ++a) link(3, a, 1);
  return node;
}

TEST_CASE("Devices are connected with the one that holds the rest, on large machines too") {
  SlotAllocator allocator = Make(Twenty(), With(AllocationStrategy::best_fit));
  // The rest fits most tightly on d3, so what is best connected with d3 goes with it.
  const AllocationPart part = Part("cuda.shares", "d3", 400);
  Allocation allocation;
  REQUIRE(allocator.AllocateParts({&part, 1}, &allocation).ok());
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 3600)})) == "d3=0.6 d15=1 d16=1 d17=1");
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 3000)})) == "d10=1 d11=1 d12=1");
}

TEST_CASE("Of sets whose worst links are alike the one with the best sum is taken") {
  for (const int count : {8, 20}) {
    NodeDescription node =
        NodeOf("cuda.device", std::vector<int64_t>(static_cast<size_t>(count), 1000));
    // The last three are linked in a row, the others not at all.
    for (const int a : {count - 3, count - 2}) {
      node.links.push_back(
          {"d" + std::to_string(a), "d" + std::to_string(a + 1), LinkLevel::nvlink, 4});
    }
    SlotAllocator allocator = Make(node, With(AllocationStrategy::even));
    const std::string first = "d" + std::to_string(count - 3);
    const std::string text = Text(Take(allocator, {Slot("cuda.device", 3000)}));
    CHECK(text ==
          first + "=1 d" + std::to_string(count - 2) + "=1 d" + std::to_string(count - 1) + "=1");
  }
}

TEST_CASE("Without links, devices of one NUMA node are nearer to each other") {
  NodeDescription node = NodeOf("cuda.device", {1000, 1000, 1000, 1000, 1000});
  for (int i = 0; i < 2; ++i) {
    node.numa.push_back({i, *Quantity::FromUnits(4), *Quantity::FromUnits(1 << 20)});
  }
  node.cpu = *Quantity::FromUnits(8);
  node.mem = *Quantity::FromUnits(2 << 20);
  const int numa[] = {0, 1, 1, 0, 1};
  for (size_t i = 0; i < 5; ++i) node.devices[i].numa_node = numa[i];
  SlotAllocator allocator = Make(node, With(AllocationStrategy::even));
  CHECK(Text(Take(allocator, {Slot("cuda.device", 3000)})) == "d1=1 d2=1 d4=1");
  CHECK(Text(Take(allocator, {Slot("cuda.device", 2000)})) == "d0=1 d3=1");
}

TEST_CASE("A shortfall says by how much") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000, 1000}));
  Take(allocator, {Slot("cuda.shares", 700)});
  const auto demand = allocator.Prepare(std::vector{Slot("cuda.shares", 1800)});
  REQUIRE(demand.ok());
  const Shortfall shortfall = allocator.Explain(*demand);
  CHECK(shortfall.kind == Shortfall::Kind::shortage);
  CHECK(shortfall.needed == Quantity::FromThousandths(1800));
  CHECK(shortfall.free == Quantity::FromThousandths(1300));
  CHECK(shortfall.most_on_one_device == Quantity::FromThousandths(1000));
  CHECK(shortfall.missing == Quantity::FromThousandths(500));
}

TEST_CASE("The smallest quantum is one that may be asked for") {
  NodeDescription node;
  node.cpu = Quantity::FromThousandths(2000);
  SlotAllocatorOptions options;
  options.quanta = {Slot("cpu", 1)};
  SlotAllocator allocator = Make(node, options);
  CHECK(Text(Take(allocator, {Slot("cpu", 1)})) == "cpu=0.001");
}

TEST_CASE("Places of what has been given back are used again") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000}));
  for (int i = 0; i < 70'000; ++i) {
    const Allocation allocation = Take(allocator, {Slot("cuda.shares", 500)});
    if (allocation.id % 65'536 > 1) FAIL("place " << allocation.id % 65'536 << " at " << i);
    if (!allocator.Release(allocation).ok()) FAIL("not given back at " << i);
  }
  CHECK(allocator.Usage()[0].used == Quantity());
}

// Two NUMA nodes of 8 cores each, d0 and d1 at the first, d2 and d3 at the second.
NodeDescription TwoNuma(const std::vector<int64_t>& capacities = {1000, 1000, 1000, 1000}) {
  NodeDescription node = NodeOf("cuda.shares", capacities);
  for (int i = 0; i < 2; ++i) {
    node.numa.push_back({i, *Quantity::FromUnits(8), *Quantity::FromUnits(1 << 20)});
  }
  node.cpu = *Quantity::FromUnits(16);
  node.mem = *Quantity::FromUnits(2 << 20);
  for (size_t i = 0; i < node.devices.size(); ++i) node.devices[i].numa_node = i < 2 ? 0 : 1;
  return node;
}

TEST_CASE("Devices are connected with the one that holds the rest, on small machines too") {
  NodeDescription node = NodeOf("cuda.shares", std::vector<int64_t>(6, 1000));
  node.links.push_back({"d0", "d1", LinkLevel::nvlink, 1});
  node.links.push_back({"d3", "d5", LinkLevel::nvlink, 1});
  SlotAllocator allocator = Make(node, With(AllocationStrategy::best_fit));
  const AllocationPart part = Part("cuda.shares", "d3", 400);
  Allocation allocation;
  REQUIRE(allocator.AllocateParts({&part, 1}, &allocation).ok());
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 1600)})) == "d3=0.6 d5=1");
}

TEST_CASE("On large machines the search begins at each device") {
  NodeDescription node = NodeOf("cuda.device", std::vector<int64_t>(18, 1000));
  const auto link = [&](int a, int b, int lanes) {
    node.links.push_back(
        {"d" + std::to_string(a), "d" + std::to_string(b), LinkLevel::nvlink, lanes});
  };
  // From d1 and d2 there is a better link, which leads nowhere.
  link(0, 1, 5);
  link(0, 2, 5);
  link(1, 2, 5);
  link(1, 10, 6);
  link(2, 11, 6);
  SlotAllocator allocator = Make(node, With(AllocationStrategy::even));
  CHECK(Text(Take(allocator, {Slot("cuda.device", 3000)})) == "d0=1 d1=1 d2=1");
}

TEST_CASE("A machine may have 1024 devices, of which some are not well from the start") {
  CHECK(SlotAllocator::Create(NodeOf("cuda.shares", std::vector<int64_t>(1024, 1000))).ok());
  CHECK_FALSE(SlotAllocator::Create(NodeOf("cuda.shares", std::vector<int64_t>(1025, 1000))).ok());
  NodeDescription node = NodeOf("cuda.shares", {1000, 1000});
  node.devices[0].healthy = false;
  SlotAllocator allocator = Make(node, With(AllocationStrategy::fill));
  CHECK(Refusal(allocator, {Slot("cuda.shares", 2000)}) ==
        "needs 2 cuda.shares, 1 of 2 free: 1 short; unhealthy devices: 1");
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 100)})) == "d1=0.1");
  REQUIRE(allocator.SetHealthy("d0", true).ok());
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 1000)})) == "d0=1");
  for (const char* name : {"", "numa0", "d2"}) {
    CHECK(allocator.SetHealthy(name, false).code() == StatusCode::kNotFound);
  }
}

TEST_CASE("Slots stand in the order of the table, whatever the order of the devices") {
  NodeDescription node = NodeOf("rocm.device", {1000});
  node.devices.push_back(Device("c0", "cuda.shares", 1000));
  const SlotAllocator allocator = Make(node);
  std::vector<std::string> slots;
  for (const DeviceUsage& usage : allocator.Usage()) slots.emplace_back(usage.slot);
  CHECK(slots == std::vector<std::string>{"cuda.shares", "rocm.device", "cpu", "mem"});
}

TEST_CASE("An allocation may be made for its id alone") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000}));
  const auto demand = allocator.Prepare(std::vector{Slot("cuda.shares", 600)});
  REQUIRE(demand.ok());
  const uint64_t id = allocator.TryAllocate(*demand);
  REQUIRE(id != 0);
  Allocation found;
  REQUIRE(allocator.Find(id, &found));
  CHECK(Text(found) == "d0=0.6");
  CHECK(allocator.TryAllocate(*demand) == 0);
  CHECK(allocator.live_count() == 1);
  CHECK(allocator.Release(id).ok());
}

TEST_CASE("What one NUMA node can hold is not spread over two") {
  SlotAllocatorOptions options;
  options.strategy = AllocationStrategy::fill;
  options.allow_fragmentation = true;
  SlotAllocator allocator = Make(TwoNuma(), options);
  Allocation allocation;
  for (const AllocationPart& part : {Part("cuda.shares", "d1", 400), Part("cuda.shares", "d2", 100),
                                     Part("cuda.shares", "d3", 100)}) {
    REQUIRE(allocator.AllocateParts({&part, 1}, &allocation).ok());
  }
  // The two with most free lie apart.
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 1700), Slot("cpu", 2000)})) ==
        "d2=0.9 d3=0.8 numa1=2");
}

TEST_CASE("The best fit keeps to the NUMA node that has room for the rest") {
  SlotAllocatorOptions options;
  options.strategy = AllocationStrategy::best_fit;
  SlotAllocator allocator = Make(TwoNuma(), options);
  CHECK(Text(Take(allocator, {Slot("cpu", 6000)})) == "numa0=6");
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 500), Slot("cpu", 4000)})) == "d2=0.5 numa1=4");
  CHECK(Text(Take(allocator, {Slot("cpu", 1000)})) == "numa0=1");
}

TEST_CASE("A thousandth of a core too much is too much") {
  SlotAllocator allocator = Make(TwoNuma(), With(AllocationStrategy::fill));
  CHECK(Text(Take(allocator, {Slot("cpu", 5000)})) == "numa0=5");
  CHECK(Refusal(allocator, {Slot("cpu", 11'001)}) ==
        "needs 11.001 cpu, 11 of 16 free: 0.001 short");
  CHECK(Text(Take(allocator, {Slot("cpu", 11'000)})) == "numa1=8 numa0=3");
}

// ---- Lists of slots --------------------------------------------------------------------------

using Slots = std::vector<SlotRequest>;

TEST_CASE("Lists of slots are merged whichever ends first") {
  const Slots cpu = {Slot("cpu", 1)};
  const Slots mem = {Slot("mem", 2)};
  const Slots both = {Slot("cpu", 1), Slot("mem", 2)};
  CHECK(*AddSlots(cpu, mem) == both);
  CHECK(*AddSlots(mem, cpu) == both);
  CHECK(*AddSlots(both, {}) == both);
  CHECK(*AddSlots({}, both) == both);
  CHECK(*SubtractSlots(cpu, both) == Slots{Slot("mem", -2)});
  CHECK(*SubtractSlots(both, cpu) == mem);
}

TEST_CASE("A list that cannot be summed is an error, on either side") {
  const Slots twice = {Slot("mem", kMost), Slot("mem", kMost)};
  const Slots one = {Slot("mem", 1000)};
  for (const Status& status :
       {AddSlots(twice, one).status(), AddSlots(one, twice).status(),
        SubtractSlots(one, twice).status(), SlotsFit(one, twice).status(),
        SlotsFit(twice, one).status(), FindDominantShare(twice, one).status(),
        FindDominantShare(one, twice).status()}) {
    CHECK(Message(status) == "the amount of mem is out of range");
  }
}

TEST_CASE("What is not there has no share, and nothing fits into it") {
  const Slots there = {Slot("cpu", 4000), Slot("tpu.device", 1000)};
  // Sorts before all, between and after all that is there.
  for (const char* name : {"atom.device", "mem", "xpu.device"}) {
    CHECK_FALSE(*SlotsFit(Slots{Slot(name, 1)}, there));
    CHECK(FindDominantShare(Slots{Slot(name, 1000), Slot("cpu", 1000)}, there)->slot == "cpu");
  }
  CHECK(*SlotsFit(Slots{Slot("tpu.device", 1000)}, there));
  CHECK_FALSE(*SlotsFit(Slots{Slot("tpu.device", 1001)}, there));
}

}  // namespace
}  // namespace trackbed
