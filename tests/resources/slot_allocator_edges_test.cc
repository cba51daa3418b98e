// The allocator at its edges: amounts out of range, what an operator changes, ids that were never
// given, and what a machine looks like that is not all alike.
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "trackbed/resources/slot_algebra.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1000 * 1000;

SlotRequest Slot(const std::string& name, int64_t thousandths) {
  return {name, Quantity::FromThousandths(thousandths)};
}

NodeDescription NodeOf(const std::string& slot, const std::vector<int64_t>& capacities) {
  NodeDescription node;
  for (const int64_t capacity : capacities) {
    NodeDevice device;
    device.id = "d" + std::to_string(node.devices.size());
    device.slot = slot;
    device.capacity = Quantity::FromThousandths(capacity);
    node.devices.push_back(device);
  }
  return node;
}

SlotAllocatorOptions With(AllocationStrategy strategy) {
  SlotAllocatorOptions options;
  options.strategy = strategy;
  options.numa = NumaPolicy::none;
  return options;
}

SlotAllocator Make(const NodeDescription& node, const SlotAllocatorOptions& options = {}) {
  StatusOr<SlotAllocator> allocator = SlotAllocator::Create(node, options);
  REQUIRE(allocator.ok());
  return *std::move(allocator);
}

Allocation Take(SlotAllocator& allocator, const std::vector<SlotRequest>& request) {
  const auto demand = allocator.Prepare(request);
  CAPTURE(demand.status().ToString());
  REQUIRE(demand.ok());
  Allocation allocation;
  REQUIRE(allocator.Allocate(*demand, &allocation).ok());
  return allocation;
}

std::string Text(const Allocation& allocation) {
  std::string text;
  for (const AllocationPart& part : allocation.parts) {
    if (!text.empty()) text += " ";
    text += std::string(part.device.empty() ? part.slot : part.device) + "=" +
            FormatSlotAmount(part.slot, part.amount);
  }
  return text;
}

std::string Refusal(SlotAllocator& allocator, const std::vector<SlotRequest>& request) {
  const auto demand = allocator.Prepare(request);
  Allocation allocation;
  const Status status = demand.ok() ? allocator.Allocate(*demand, &allocation) : demand.status();
  CHECK_FALSE(status.ok());
  return std::string(Message(status));
}

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

// Of 20 devices the last five are linked well with each other, and d3 with the last of them.
NodeDescription Twenty() {
  NodeDescription node = NodeOf("cuda.shares", std::vector<int64_t>(20, 1000));
  for (int a = 15; a < 20; ++a) {
    for (int b = 15; b < a; ++b) {
      node.links.push_back(
          {"d" + std::to_string(a), "d" + std::to_string(b), LinkLevel::nvlink, 2});
    }
    node.links.push_back({"d3", "d" + std::to_string(a), LinkLevel::nvlink, 1});
  }
  return node;
}

TEST_CASE("Devices are connected with the one that holds the rest, on large machines too") {
  SlotAllocator allocator = Make(Twenty(), With(AllocationStrategy::best_fit));
  // The rest fits most tightly on d3, so what is best connected with d3 goes with it.
  const AllocationPart part = Part("cuda.shares", "d3", 400);
  Allocation allocation;
  REQUIRE(allocator.AllocateParts({&part, 1}, &allocation).ok());
  CHECK(Text(Take(allocator, {Slot("cuda.shares", 3600)})) == "d3=0.6 d15=1 d16=1 d17=1");
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
