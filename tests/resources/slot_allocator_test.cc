// What the allocator gives, what it refuses and why, and that its account is always right.
#include "trackbed/resources/slot_allocator.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <numeric>

#include "resources/slot_lab.hpp"
#include "support/catch.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

using Amounts = std::vector<int64_t>;  // thousandths

// Two NUMA nodes, each with four GPUs, 16 cores and 64 GiB.
NodeDescription EightGpus(const std::string& slot) {
  NodeDescription node;
  for (int numa = 0; numa < 2; ++numa) {
    node.numa.push_back({numa, *Quantity::FromUnits(16), *Quantity::FromUnits(int64_t{64} << 30)});
    for (int i = 0; i < 4; ++i) {
      node.devices.push_back(Device("gpu" + std::to_string(numa * 4 + i), slot, 1000, numa));
    }
  }
  node.cpu = *Quantity::FromUnits(32);
  node.mem = *Quantity::FromUnits(int64_t{128} << 30);
  return node;
}

std::string Given(SlotAllocator& allocator, const std::vector<SlotRequest>& request) {
  return Text(Take(allocator, request));
}

// ---- Strategies ------------------------------------------------------------------------------

TEST_CASE("Even parts on as few devices as can be") {
  const SlotAllocatorOptions even = With(AllocationStrategy::even);
  struct Case {
    Amounts capacities;
    int64_t request;
    const char* given;
  };
  const Case cases[] = {
      {{2000, 3000, 3000, 5000}, 6000, "d1=3 d2=3"},
      {{800, 750, 700, 300}, 2310, "d0=0.67 d1=0.67 d2=0.67 d3=0.3"},
      {{500, 500, 500, 500}, 1500, "d0=0.5 d1=0.5 d2=0.5"},
      {{1000, 400, 600}, 500, "d2=0.5"},
      {{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}, 2500, "d0=0.84 d1=0.83 d2=0.83"},
  };
  for (const Case& c : cases) {
    SlotAllocator allocator = Make(NodeOf("cuda.shares", c.capacities), even);
    CHECK(Given(allocator, {Slot("cuda.shares", c.request)}) == c.given);
  }
}

TEST_CASE("Nothing is lost to the quantum") {
  SlotAllocatorOptions options = With(AllocationStrategy::even);
  options.quanta = {Slot("cuda.shares", 250)};
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000, 1000}), options);
  CHECK(Given(allocator, {Slot("cuda.shares", 1750)}) == "d0=1 d1=0.75");
  CHECK(Refusal(allocator, {Slot("cuda.shares", 100)}) ==
        "needs 0.1 cuda.shares, expected a multiple of 0.25");
}

TEST_CASE("Filling takes the devices with most free") {
  SlotAllocator allocator =
      Make(NodeOf("cuda.shares", {500, 1000, 800}), With(AllocationStrategy::fill));
  CHECK(Given(allocator, {Slot("cuda.shares", 300)}) == "d1=0.3");
  CHECK(Given(allocator, {Slot("cuda.shares", 1400)}) == "d2=0.8 d1=0.6");
  CHECK(Given(allocator, {Slot("cuda.shares", 600)}) == "d0=0.5 d1=0.1");
}

TEST_CASE("The best fit leaves few fractions") {
  SlotAllocator allocator =
      Make(NodeOf("cuda.shares", {1000, 1000, 1000, 1000}), With(AllocationStrategy::best_fit));
  CHECK(Given(allocator, {Slot("cuda.shares", 600)}) == "d0=0.6");
  CHECK(Given(allocator, {Slot("cuda.shares", 200)}) == "d0=0.2");
  // The rest goes beside what is there, the whole on whole devices.
  CHECK(Given(allocator, {Slot("cuda.shares", 2150)}) == "d0=0.15 d1=1 d2=1");
  CHECK(Given(allocator, {Slot("cuda.shares", 1050)}) == "d0=0.05 d3=1");
}

TEST_CASE("Without fragmentation an amount that fits a device stays on one") {
  for (const auto strategy :
       {AllocationStrategy::fill, AllocationStrategy::even, AllocationStrategy::best_fit}) {
    SlotAllocator allocator = Make(NodeOf("cuda.shares", Amounts(8, 1000)), With(strategy, false));
    for (int i = 0; i < 8; ++i) Take(allocator, {Slot("cuda.shares", 700)});
    CHECK(Refusal(allocator, {Slot("cuda.shares", 800)}) ==
          "needs 0.8 cuda.shares on one device; the most free on any device is 0.3, 2.4 in all");
    const auto demand = allocator.Prepare(std::vector{Slot("cuda.shares", 800)});
    const Shortfall shortfall = allocator.Explain(*demand);
    CHECK(shortfall.kind == Shortfall::Kind::fragmentation);
    CHECK(shortfall.slot == "cuda.shares");
    CHECK(shortfall.free.thousandths() == 2400);
    CHECK(shortfall.most_on_one_device.thousandths() == 300);
    CHECK(shortfall.missing == Quantity());
  }
}

TEST_CASE("Without fragmentation more than a device is given in equal parts") {
  SlotAllocator uneven =
      Make(NodeOf("cuda.shares", {1000, 1000}), With(AllocationStrategy::fill, false));
  Take(uneven, {Slot("cuda.shares", 800)});
  CHECK(Refusal(uneven, {Slot("cuda.shares", 1100)}) ==
        "needs 1.1 cuda.shares in equal parts; the most free on any device is 1, 1.2 in all");
  CHECK(Refusal(uneven, {Slot("cuda.shares", 1600)}) ==
        "needs 1.6 cuda.shares, 1.2 of 2 free: 0.4 short");
  SlotAllocator fresh =
      Make(NodeOf("cuda.shares", {1000, 1000, 1000}), With(AllocationStrategy::fill, false));
  CHECK(Given(fresh, {Slot("cuda.shares", 1410)}) == "d0=0.71 d1=0.7");
}

TEST_CASE("Where fragmentation is allowed a small amount is split at need") {
  SlotAllocator allocator =
      Make(NodeOf("cuda.shares", {1000, 1000, 1000}), With(AllocationStrategy::fill));
  for (int i = 0; i < 3; ++i) Take(allocator, {Slot("cuda.shares", 700)});
  CHECK(Given(allocator, {Slot("cuda.shares", 800)}) == "d0=0.3 d1=0.3 d2=0.2");
}

// ---- Refusals --------------------------------------------------------------------------------

TEST_CASE("A refusal names the slot and what is wrong") {
  NodeDescription node = EightGpus("cuda.shares");
  node.devices.push_back(Device("mig0", "cuda.device:1g.5gb-mig", 1000));
  node.devices.push_back(Device("tpu0", "tpu.device", 1000));
  SlotAllocator allocator = Make(node);
  const auto refusal = [&](const std::vector<SlotRequest>& request,
                           Enforcement at_least = Enforcement::accounting) {
    return Refusal(allocator, request, at_least);
  };
  CHECK(refusal({Slot("cpu", 40'000)}) == "needs 40 cpu, there is 32");
  CHECK(refusal({Slot("cpu", -1000)}) == "needs -1 cpu, expected no less than 0");
  CHECK(refusal({Slot("rocm.device", 1000)}) == "needs 1 rocm.device, there is none");
  CHECK(refusal({Slot("cuda.share", 1000)}) ==
        "unknown slot \"cuda.share\"; did you mean \"cuda.shares\"?");
  CHECK(refusal({Slot("tpu.device", 500)}) == "needs 0.5 tpu.device, expected a multiple of 1");
  CHECK(refusal({Slot("cuda.shares", 105)}) ==
        "needs 0.105 cuda.shares, expected a multiple of 0.01");
  CHECK(refusal({Slot("cuda.device:1g.5gb-mig", 2000)}) ==
        "needs 2 cuda.device:1g.5gb-mig, expected 1, because the slot is a single instance");
  CHECK(refusal({Slot("cuda.shares", 1000), Slot("cuda.device", 1000)}) ==
        "cuda.shares and cuda.device exclude each other, expected one of them");
  CHECK(refusal({Slot("cuda.device:1g.5gb-mig", 1000), Slot("cuda.device:2g.10gb-mig", 1000)}) ==
        "cuda.device:1g.5gb-mig and cuda.device:2g.10gb-mig exclude each other, expected one of "
        "them");
  CHECK(refusal({Slot("cuda.shares", 1000)}, Enforcement::hardware) ==
        "cuda.shares has advisory enforcement, asked for hardware");
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1000 * 1000;
  CHECK(refusal({Slot("mem", kMost / 2 / 1000 * 1000)}).starts_with("needs "));
  // Nothing of a slot conflicts with nothing, and weak slots of the node itself do not count.
  Take(allocator, {Slot("cuda.shares", 0), Slot("cuda.device:1g.5gb-mig", 1000)});
  CHECK(
      allocator
          .Prepare(std::vector{Slot("cpu", 1000), Slot("tpu.device", 1000)}, Enforcement::hardware)
          .ok());
}

TEST_CASE("The last slot that is short leaves the first as they were") {
  SlotAllocator allocator = Make(EightGpus("cuda.shares"));
  Take(allocator, {Slot("cpu", 31'000)});
  CHECK(Refusal(allocator, {Slot("cuda.shares", 500), Slot("cpu", 2000)}) ==
        "needs 2 cpu, 1 of 32 free: 1 short");
}

TEST_CASE("A slot that cannot span devices is on one") {
  NodeDescription node = NodeOf("cuda.device:1g.5gb-mig", {1000, 1000});
  SlotAllocator allocator = Make(node);
  CHECK(Given(allocator, {Slot("cuda.device:1g.5gb-mig", 1000)}) == "d0=1");
  CHECK(Given(allocator, {Slot("cuda.device:1g.5gb-mig", 1000)}) == "d1=1");
  CHECK(Refusal(allocator, {Slot("cuda.device:1g.5gb-mig", 1000)}) ==
        "needs 1 cuda.device:1g.5gb-mig, 0 of 2 free: 1 short");
}

TEST_CASE("Wrong options and descriptions are refused") {
  NodeDescription twice = NodeOf("cuda.device", {1000, 1000});
  twice.devices[1].id = "d0";
  CHECK(Message(SlotAllocator::Create(twice).status()) == "devices[1].id: duplicate device \"d0\"");
  SlotAllocatorOptions options;
  options.quanta = {Slot("cuda.shares", 15)};
  CHECK(Message(SlotAllocator::Create({}, options).status()) ==
        "found a quantum of 0.015 cuda.shares, expected a multiple of 0.01");
  options.quanta = {Slot("cuda.sharez", 15)};
  CHECK(SlotAllocator::Create({}, options).status().code() == StatusCode::kNotFound);
  const int64_t most = std::numeric_limits<int64_t>::max() / 1000 * 1000;
  CHECK(Message(SlotAllocator::Create(NodeOf("cuda.mem", {most, most})).status()) ==
        "the capacity of cuda.mem is out of range");
  CHECK_FALSE(SlotAllocator::Create(NodeOf("cuda.device", Amounts(1025, 1000))).ok());
}

// ---- Devices ---------------------------------------------------------------------------------

TEST_CASE("A card is handed out in one way at a time") {
  NodeDescription node;
  node.devices = {Device("GPU-0", "cuda.device", 1000), Device("share0", "cuda.shares", 1000),
                  Device("mig0", "cuda.device:1g.5gb-mig", 1000),
                  Device("mig1", "cuda.device:2g.10gb-mig", 1000)};
  for (NodeDevice& device : node.devices) {
    if (device.id != "GPU-0") device.part_of = "GPU-0";
  }
  SlotAllocator allocator = Make(node);
  const Allocation half = Take(allocator, {Slot("cuda.shares", 500)});
  CHECK(Refusal(allocator, {Slot("cuda.device", 1000)}) ==
        "needs 1 cuda.device, 0 of 1 free: 1 short; devices held by a slot that excludes it: 1");
  Refusal(allocator, {Slot("cuda.device:1g.5gb-mig", 1000)});
  const Allocation other_half = Take(allocator, {Slot("cuda.shares", 500)});
  CHECK(allocator.Release(half).ok());
  Refusal(allocator, {Slot("cuda.device", 1000)});
  CHECK(allocator.Release(other_half).ok());
  // Instances of one card stand side by side, whatever their profile.
  const Allocation small = Take(allocator, {Slot("cuda.device:1g.5gb-mig", 1000)});
  Take(allocator, {Slot("cuda.device:2g.10gb-mig", 1000)});
  Refusal(allocator, {Slot("cuda.shares", 10)});
  CHECK(allocator.Release(small).ok());
  Refusal(allocator, {Slot("cuda.device", 1000)});
}

TEST_CASE("An unhealthy device is drained") {
  SlotAllocator allocator =
      Make(NodeOf("cuda.shares", {1000, 1000}), With(AllocationStrategy::best_fit));
  const Allocation live = Take(allocator, {Slot("cuda.shares", 400)});
  CHECK(allocator.SetHealthy("d0", false).ok());
  CHECK(Given(allocator, {Slot("cuda.shares", 500)}) == "d1=0.5");
  CHECK(Refusal(allocator, {Slot("cuda.shares", 600)}) ==
        "needs 0.6 cuda.shares, 0.5 of 2 free: 0.1 short; unhealthy devices: 1");
  CHECK(allocator.Release(live).ok());
  Refusal(allocator, {Slot("cuda.shares", 600)});
  CHECK(allocator.SetHealthy("d0", true).ok());
  CHECK(Given(allocator, {Slot("cuda.shares", 600)}) == "d0=0.6");
  CHECK(allocator.SetHealthy("d9", true).code() == StatusCode::kNotFound);
}

TEST_CASE("An allocation tells all there is to know of it") {
  SlotAllocator allocator = Make(EightGpus("cuda.shares"));
  const Allocation allocation =
      Take(allocator, {Slot("mem", 1000 << 20), Slot("cpu", 2000), Slot("cuda.shares", 500)});
  REQUIRE(allocation.parts.size() == 3);
  CHECK(allocation.parts[0] == AllocationPart{"cuda.shares", "gpu7", Quantity::FromThousandths(500),
                                              1, Enforcement::advisory});
  CHECK(allocation.parts[1] == AllocationPart{"cpu", "numa1", Quantity::FromThousandths(2000), 1,
                                              Enforcement::accounting});
  CHECK(allocation.parts[2].device == "numa1");
  CHECK(allocator.live_count() == 1);
}

// ---- NUMA nodes and links --------------------------------------------------------------------

TEST_CASE("A task stays on one NUMA node where possible") {
  SlotAllocatorOptions options;
  options.strategy = AllocationStrategy::fill;
  SlotAllocator allocator = Make(EightGpus("cuda.device"), options);
  const Allocation cores = Take(allocator, {Slot("cpu", 14'000)});
  CHECK(Text(cores) == "numa0=14");
  // The first GPU lies at node 0, where too few cores are left.
  CHECK(Given(allocator, {Slot("cuda.device", 2000), Slot("cpu", 4000)}) ==
        "gpu4=1 gpu5=1 numa1=4");
  CHECK(Given(allocator, {Slot("cuda.device", 4000), Slot("cpu", 2000)}) ==
        "gpu0=1 gpu1=1 gpu2=1 gpu3=1 numa0=2");
  // Nowhere together: as near as possible.
  CHECK(Given(allocator, {Slot("cuda.device", 1000), Slot("cpu", 12'000)}) == "gpu6=1 numa1=12");
  CHECK(Refusal(allocator, {Slot("cuda.device", 1000), Slot("cpu", 1000)}) ==
        "needs 1 cpu, 0 of 32 free: 1 short");
}

TEST_CASE("What no node has alone comes from several") {
  SlotAllocatorOptions options;
  options.strategy = AllocationStrategy::fill;
  SlotAllocator allocator = Make(EightGpus("cuda.device"), options);
  CHECK(Given(allocator, {Slot("cuda.device", 1000), Slot("cpu", 20'000)}) ==
        "gpu0=1 numa0=16 numa1=4");
}

TEST_CASE("Interleaving takes from one NUMA node after the other") {
  SlotAllocatorOptions options;
  options.numa = NumaPolicy::interleaved;
  SlotAllocator allocator = Make(EightGpus("cuda.device"), options);
  CHECK(Given(allocator, {Slot("cuda.device", 3000), Slot("cpu", 5000)}) ==
        "gpu0=1 gpu4=1 gpu1=1 numa0=3 numa1=2");
  CHECK(Given(allocator, {Slot("cuda.device", 1000), Slot("cpu", 5500)}) == "gpu2=1 numa0=5.5");
  CHECK(Given(allocator, {Slot("cpu", 12'000)}) == "numa1=6 numa0=6");
}

// Pairs (0,5), (1,4), (2,7), (3,6) are linked well, and 0, 5, 1, 4 form the only ring of NVLinks.
NodeDescription Linked() {
  NodeDescription node = EightGpus("cuda.device");
  const auto link = [&](int a, int b, LinkLevel level, int lanes) {
    node.links.push_back({"gpu" + std::to_string(a), "gpu" + std::to_string(b), level, lanes});
  };
  link(2, 7, LinkLevel::nvlink, 4);
  link(3, 6, LinkLevel::nvlink, 2);
  link(0, 5, LinkLevel::nvlink, 2);
  link(0, 1, LinkLevel::nvlink, 1);
  link(0, 4, LinkLevel::nvlink, 1);
  link(1, 4, LinkLevel::nvlink, 2);
  link(1, 5, LinkLevel::nvlink, 1);
  link(4, 5, LinkLevel::nvlink, 1);
  return node;
}

TEST_CASE("Several devices are those connected best") {
  for (const auto strategy :
       {AllocationStrategy::fill, AllocationStrategy::even, AllocationStrategy::best_fit}) {
    for (const bool allow_fragmentation : {false, true}) {
      SlotAllocator allocator = Make(Linked(), With(strategy, allow_fragmentation));
      const Allocation pair = Take(allocator, {Slot("cuda.device", 2000)});
      CHECK(Text(pair) == "gpu2=1 gpu7=1");
      CHECK(Given(allocator, {Slot("cuda.device", 4000)}) == "gpu0=1 gpu1=1 gpu4=1 gpu5=1");
      CHECK(Given(allocator, {Slot("cuda.device", 2000)}) == "gpu3=1 gpu6=1");
    }
  }
}

TEST_CASE("The search for connected devices is exact up to 16, and good beyond") {
  for (const size_t count : {6U, 11U, 16U, 20U}) {
    for (uint64_t seed = 0; seed < 12; ++seed) {
      CAPTURE(count, seed);
      SeededRandom random(seed);
      NodeDescription node = NodeOf("cuda.device", Amounts(count, 1000));
      std::vector<std::vector<int>> weight(count, std::vector<int>(count, 0));
      for (size_t a = 0; a < count; ++a) {
        for (size_t b = 0; b < a; ++b) {
          const auto level = static_cast<int>(random.Next() % 7);
          const auto lanes = static_cast<int>(random.Next() % 18);
          weight[a][b] = weight[b][a] = level * 100 + lanes;
          node.links.push_back({"d" + std::to_string(a), "d" + std::to_string(b),
                                static_cast<LinkLevel>(level), lanes});
        }
      }
      const auto score = [&](const std::vector<size_t>& set) {
        std::pair<int, int> result = {100'000, 0};
        for (const size_t a : set) {
          for (const size_t b : set) {
            if (a >= b) continue;
            result.first = std::min(result.first, weight[a][b]);
            result.second += weight[a][b];
          }
        }
        return result;
      };
      const size_t size = 2 + random.Next() % (count - 2);
      SlotAllocator allocator = Make(node, With(AllocationStrategy::even));
      const Allocation given =
          Take(allocator, {Slot("cuda.device", static_cast<int64_t>(size) * 1000)});
      std::vector<size_t> chosen;
      for (const AllocationPart& part : given.parts) {
        chosen.push_back(std::stoul(std::string(part.device.substr(1))));
      }
      std::sort(chosen.begin(), chosen.end());
      REQUIRE(chosen.size() == size);
      CHECK(std::adjacent_find(chosen.begin(), chosen.end()) == chosen.end());
      if (count > 16) continue;
      std::pair<int, int> best = {-1, 0};
      for (uint32_t mask = 0; mask < 1U << count; ++mask) {
        if (static_cast<size_t>(std::popcount(mask)) != size) continue;
        std::vector<size_t> set;
        for (size_t i = 0; i < count; ++i) {
          if ((mask >> i & 1U) != 0) set.push_back(i);
        }
        best = std::max(best, score(set));
      }
      CHECK(score(chosen) == best);
    }
  }
}

// ---- The account -----------------------------------------------------------------------------

TEST_CASE("What is not held cannot be given back") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000}));
  const Allocation allocation = Take(allocator, {Slot("cuda.shares", 500)});
  CHECK(allocator.Release(allocation).ok());
  const Status twice = allocator.Release(allocation);
  CHECK(twice.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(twice) == "allocation " + std::to_string(allocation.id) + " is not live");
  const Allocation next = Take(allocator, {Slot("cuda.shares", 500)});
  CHECK(next.id != allocation.id);
  CHECK_FALSE(allocator.Release(allocation).ok());
  CHECK_FALSE(allocator.Release(0).ok());
  CHECK_FALSE(allocator.Release(~uint64_t{0}).ok());
  CHECK(allocator.live_count() == 1);
  // Whatever somebody does to their copy, what was given is what comes back.
  Allocation forged = next;
  forged.parts[0].amount = Quantity::FromThousandths(900);
  CHECK(allocator.Release(forged).ok());
  CHECK(allocator.Usage()[0].used == Quantity());
}

TEST_CASE("A request for nothing holds nothing") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000}));
  const Allocation nothing = Take(allocator, {});
  CHECK(nothing.parts.empty());
  CHECK(allocator.live_count() == 1);
  CHECK(allocator.Release(nothing).ok());
}

TEST_CASE("There is a limit to how many are live at once") {
  SlotAllocator allocator = Make({});
  const auto nothing = allocator.Prepare({});
  Allocation allocation;
  bool all = true;
  for (int i = 0; i < 65'536; ++i) all = allocator.TryAllocate(*nothing, &allocation) && all;
  CHECK(all);
  CHECK(Refusal(allocator, {}) == "there are 65536 allocations already");
  CHECK(allocator.TryAllocate(*nothing) == 0);
  CHECK(allocator.Release(allocation).ok());
  CHECK(allocator.TryAllocate(*nothing, &allocation));
}

TEST_CASE("The account is rebuilt from live allocations, or not touched") {
  NodeDescription node = EightGpus("cuda.shares");
  node.devices.push_back(Device("whole0", "cuda.device", 1000));
  node.devices.back().part_of = "gpu0";
  SlotAllocator before = Make(node);
  std::vector<Allocation> live;
  for (int i = 0; i < 5; ++i) {
    live.push_back(Take(before, {Slot("cuda.shares", 700), Slot("cpu", 1000)}));
  }
  SlotAllocator after = Make(node);
  REQUIRE(after.Restore(live).ok());
  CHECK(after.Usage() == before.Usage());
  CHECK(after.live_count() == 5);
  const Allocation next = Take(after, {Slot("cuda.shares", 100)});
  for (const Allocation& allocation : live) CHECK(next.id != allocation.id);
  CHECK(after.Release(live[2]).ok());
  CHECK_FALSE(after.Release(live[2]).ok());

  const auto refusal = [&](void (*spoil)(std::vector<Allocation>&)) {
    std::vector<Allocation> spoilt = live;
    spoil(spoilt);
    SlotAllocator fresh = Make(node);
    const std::vector<DeviceUsage> empty = fresh.Usage();
    const Status status = fresh.Restore(spoilt);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(fresh.Usage() == empty);
    CHECK(fresh.live_count() == 0);
    const std::string prefix = "allocation " + std::to_string(spoilt.back().id) + ": ";
    const std::string message(Message(status));
    CHECK(message.starts_with(prefix));
    return message.substr(std::min(prefix.size(), message.size()));
  };
  using List = std::vector<Allocation>;
  CHECK(refusal([](List& l) { l.push_back(l.back()); }) == "is live already");
  CHECK(refusal([](List& l) { l.back().id = 5; }) == "no allocator made this id");
  CHECK(refusal([](List& l) { l.back().id = l[0].id + (uint64_t{1} << 30); }) ==
        "cannot be live beside " + std::to_string(live[0].id));
  CHECK(refusal([](List& l) { l.back().parts[0].slot = "rocm.device"; }) ==
        "there is no slot \"rocm.device\"");
  CHECK(refusal([](List& l) { l.back().parts[0].device = "gpu9"; }) ==
        "there is no device \"gpu9\" of cuda.shares");
  CHECK(refusal([](List& l) { l.back().parts[0].amount = Quantity(); }) ==
        "found 0 cuda.shares on gpu3, expected a multiple of 0.01 above 0");
  CHECK(refusal([](List& l) { l.back().parts[0].device = "gpu4"; }) ==
        "found 0.7 cuda.shares on gpu4, 0.3 of 1 free");
  CHECK(refusal([](List& l) { l.back().parts.push_back(l.back().parts[0]); }) ==
        "cuda.shares on gpu3 stands twice");
  CHECK(refusal([](List& l) {
          l.back().parts.push_back(
              {"cuda.device", "whole0", Quantity::FromThousandths(1000), 0, Enforcement::hardware});
        }) == "cuda.shares and cuda.device exclude each other, expected one of them");
  CHECK(refusal([](List& l) {
          l[0].parts[0].device = "gpu0";
          l.back().parts[0] = {"cuda.device", "whole0", Quantity::FromThousandths(1000), 0,
                               Enforcement::hardware};
        }) == "cuda.device on whole0 is held as cuda.shares");
}

TEST_CASE("Chosen parts are taken as they are, or nothing is") {
  SlotAllocator allocator = Make(EightGpus("cuda.shares"));
  const Allocation first = Take(allocator, {Slot("cuda.shares", 300), Slot("cpu", 2000)});
  const std::vector<DeviceUsage> usage = allocator.Usage();
  Allocation allocation;
  CHECK(allocator.AllocateParts(first.parts, &allocation).ok());
  CHECK(allocation.parts == first.parts);
  CHECK(allocation.id != first.id);
  REQUIRE(allocator.Release(allocation).ok());
  CHECK(allocator.Usage() == usage);
  std::vector<AllocationPart> parts(first.parts.begin(), first.parts.end());
  parts[0].amount = Quantity::FromThousandths(800);
  const Status status = allocator.AllocateParts(parts, &allocation);
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status) == "found 0.8 cuda.shares on gpu7, 0.7 of 1 free");
  CHECK(allocator.Usage() == usage);
}

TEST_CASE("A copy is independent") {
  SlotAllocator allocator = Make(NodeOf("cuda.shares", {1000}));
  SlotAllocator copy = allocator;
  Take(copy, {Slot("cuda.shares", 1000)});
  Take(allocator, {Slot("cuda.shares", 1000)});
}

// ---- Any order of operations -----------------------------------------------------------------

// The obvious account: a map of what is used, and feasibility by the definition.
class Model {
 public:
  Model(const NodeDescription& node, bool allow_fragmentation)
      : allow_fragmentation_(allow_fragmentation) {
    for (const NodeDevice& device : node.devices) {
      Entry& entry = entries_[{device.slot, device.id}];
      entry.capacity = device.capacity.thousandths();
      entry.card = device.part_of.empty() ? device.id : device.part_of;
    }
    if (node.numa.empty()) entries_[{"cpu", ""}].capacity = node.cpu.thousandths();
    for (const NumaNode& numa : node.numa) {
      entries_[{"cpu", "numa" + std::to_string(numa.id)}].capacity = numa.cpu.thousandths();
    }
  }

  Shortfall::Kind Judge(const std::string& slot, int64_t amount, int64_t quantum) {
    std::vector<int64_t> open;
    int64_t largest = 0;
    for (const auto& [key, entry] : entries_) {
      if (key.first != slot) continue;
      largest = std::max(largest, entry.capacity);
      if (!entry.healthy || Excluded(key, entry)) continue;
      open.push_back(entry.capacity - entry.used);
    }
    if (std::accumulate(open.begin(), open.end(), int64_t{0}) < amount) {
      return Shortfall::Kind::shortage;
    }
    const auto fits = [&](int64_t part) {
      return std::count_if(open.begin(), open.end(), [&](int64_t room) { return room >= part; });
    };
    if (fits(amount) > 0) return Shortfall::Kind::none;
    if (slot.ends_with("-mig")) return Shortfall::Kind::fragmentation;
    if (slot == "cpu" || allow_fragmentation_) {
      int64_t usable = 0;
      for (const int64_t room : open) usable += room / quantum * quantum;
      return usable >= amount ? Shortfall::Kind::none : Shortfall::Kind::fragmentation;
    }
    if (amount <= largest) return Shortfall::Kind::fragmentation;
    for (int64_t n = 2; n <= static_cast<int64_t>(open.size()); ++n) {
      const int64_t part = amount / n / quantum * quantum;
      const int64_t larger = (amount - part * n) / quantum;
      if (part > 0 && fits(part) >= n && fits(part + quantum) >= larger) {
        return Shortfall::Kind::none;
      }
    }
    return Shortfall::Kind::fragmentation;
  }

  void Add(const Allocation& allocation, int64_t sign) {
    for (const AllocationPart& part : allocation.parts) {
      entries_.at({std::string(part.slot), std::string(part.device)}).used +=
          sign * part.amount.thousandths();
    }
  }
  void SetHealthy(const std::string& device, bool healthy) {
    for (auto& [key, entry] : entries_) {
      if (key.second == device) entry.healthy = healthy;
    }
  }

  bool Agrees(const SlotAllocator& allocator) const {
    bool same = true;
    for (const DeviceUsage& usage : allocator.Usage()) {
      if (usage.slot == "mem") continue;
      const Entry& entry = entries_.at({std::string(usage.slot), std::string(usage.device)});
      same = same && usage.used.thousandths() == entry.used && entry.used >= 0 &&
             entry.used <= entry.capacity && usage.healthy == entry.healthy;
    }
    return same;
  }

 private:
  using Key = std::pair<std::string, std::string>;
  struct Entry {
    int64_t capacity = 0;
    int64_t used = 0;
    std::string card;
    bool healthy = true;
  };
  static std::string Way(const std::string& slot) { return slot.ends_with("-mig") ? "mig" : slot; }
  bool Excluded(const Key& key, const Entry& entry) const {
    if (entry.card.empty() || !key.first.starts_with("cuda.")) return false;
    return std::any_of(entries_.begin(), entries_.end(), [&](const auto& other) {
      return other.second.card == entry.card && other.second.used > 0 &&
             Way(other.first.first) != Way(key.first);
    });
  }

  const bool allow_fragmentation_;
  std::map<Key, Entry> entries_;
};

NodeDescription RandomNode(SeededRandom& random) {
  const auto roll = [&](uint64_t n) { return static_cast<int>(random.Next() % n); };
  NodeDescription node;
  const int numas = roll(3);
  for (int i = 0; i < numas; ++i) {
    node.numa.push_back({i, *Quantity::FromUnits(4 + roll(5)), *Quantity::FromUnits(1000)});
    (void)Quantity::Add(node.cpu, node.numa.back().cpu, &node.cpu);
    (void)Quantity::Add(node.mem, node.numa.back().mem, &node.mem);
  }
  const int cards = 1 + roll(6);
  for (int i = 0; i < cards; ++i) {
    const std::string card = "c" + std::to_string(i);
    const int numa = numas == 0 ? kUnknownNumaNode : roll(static_cast<uint64_t>(numas) + 1) - 1;
    const auto add = [&](const std::string& suffix, const std::string& slot, int64_t capacity) {
      node.devices.push_back(Device(card + suffix, slot, capacity, numa));
      node.devices.back().part_of = card;
    };
    if (roll(4) != 0) add("s", "cuda.shares", roll(4) == 0 ? 1000 * (1 + roll(3)) : 1000);
    if (roll(2) != 0) add("d", "cuda.device", 1000);
    for (int m = roll(3); m > 0; --m) add("m" + std::to_string(m), "cuda.device:1g.5gb-mig", 1000);
  }
  for (size_t a = 0; a < node.devices.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      if (roll(3) != 0) continue;
      node.links.push_back(
          {node.devices[a].id, node.devices[b].id, static_cast<LinkLevel>(roll(7)), roll(18)});
    }
  }
  return node;
}

TEST_CASE("Whatever is allocated, released, drained and restored, the account is right") {
  int64_t given = 0;
  int64_t short_of = 0;
  int64_t fragmented = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const auto roll = [&](uint64_t n) { return static_cast<int64_t>(random.Next() % n); };
    const NodeDescription node = RandomNode(random);
    SlotAllocatorOptions options;
    options.strategy = static_cast<AllocationStrategy>(roll(3));
    options.numa = static_cast<NumaPolicy>(roll(3));
    options.allow_fragmentation = roll(2) == 0;
    const int64_t quantum = roll(3) == 0 ? 250 : 10;
    options.quanta = {Slot("cuda.shares", quantum)};
    const SlotAllocator empty = Make(node, options);
    SlotAllocator allocator = empty;
    Model model(node, options.allow_fragmentation);
    std::vector<Allocation> live;
    bool right = true;
    const auto verify = [&](bool holds) { right = right && holds; };
    for (int step = 0; step < 4000; ++step) {
      const int64_t action = roll(100);
      if (action < 45 && !live.empty()) {
        const auto which = live.begin() + roll(live.size());
        verify(allocator.Release(*which).ok());
        verify(!allocator.Release(*which).ok());
        model.Add(*which, -1);
        live.erase(which);
      } else if (action < 47 && !node.devices.empty()) {
        const NodeDevice& device = node.devices[static_cast<size_t>(roll(node.devices.size()))];
        const bool healthy = roll(3) != 0;
        verify(allocator.SetHealthy(device.id, healthy).ok());
        model.SetHealthy(device.id, healthy);
      } else if (action < 48) {
        SlotAllocator restored = empty;
        verify(restored.Restore(live).ok());
        for (const NodeDevice& device : node.devices) {
          for (const DeviceUsage& usage : allocator.Usage()) {
            if (usage.device == device.id) {
              verify(restored.SetHealthy(device.id, usage.healthy).ok());
            }
          }
        }
        verify(restored.Usage() == allocator.Usage());
        verify(restored.live_count() == allocator.live_count());
        allocator = std::move(restored);
      } else {
        std::vector<SlotRequest> request;
        switch (roll(4)) {
          case 0:
            request.push_back(Slot("cuda.device", 1000 * (1 + roll(3))));
            break;
          case 1:
            request.push_back(Slot("cuda.device:1g.5gb-mig", 1000));
            break;
          case 2:
            request.push_back(
                Slot("cuda.shares", quantum * (1 + roll(2500 / static_cast<uint64_t>(quantum)))));
            break;
          default:
            break;
        }
        if (!node.numa.empty() && roll(2) == 0) request.push_back(Slot("cpu", 100 * roll(50)));
        const auto demand = allocator.Prepare(request);
        if (!demand.ok()) {
          verify(demand.status().code() == StatusCode::kResourceExhausted);
          continue;
        }
        Shortfall::Kind expected = Shortfall::Kind::none;
        for (const SlotRequest& slot : request) {
          if (expected != Shortfall::Kind::none || slot.amount == Quantity()) continue;
          expected = model.Judge(slot.slot, slot.amount.thousandths(),
                                 slot.slot == "cuda.shares" ? quantum
                                 : slot.slot == "cpu"       ? 1
                                                            : 1000);
        }
        Allocation allocation;
        verify(allocator.Explain(*demand).kind == expected);
        verify(allocator.TryAllocate(*demand, &allocation) == (expected == Shortfall::Kind::none));
        (expected == Shortfall::Kind::none       ? given
         : expected == Shortfall::Kind::shortage ? short_of
                                                 : fragmented) += 1;
        if (expected == Shortfall::Kind::none) {
          std::map<std::string, int64_t> sums;
          for (const AllocationPart& part : allocation.parts) {
            verify(part.amount > Quantity());
            sums[std::string(part.slot)] += part.amount.thousandths();
          }
          for (const SlotRequest& slot : request) {
            verify(sums[slot.slot] == slot.amount.thousandths());
          }
          model.Add(allocation, 1);
          live.push_back(std::move(allocation));
        }
      }
      if (step % 16 == 0) verify(model.Agrees(allocator));
      if (!right) {
        CAPTURE(step, action);
        REQUIRE(right);
      }
    }
    for (const Allocation& allocation : live) verify(allocator.Release(allocation).ok());
    for (const DeviceUsage& usage : allocator.Usage()) verify(usage.used == Quantity());
    REQUIRE(right);
  }
  // All three happened often.
  CHECK(given > 100'000);
  CHECK(short_of > 10'000);
  CHECK(fragmented > 1'000);
}

}  // namespace
}  // namespace trackbed
