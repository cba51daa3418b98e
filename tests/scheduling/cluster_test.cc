#include "trackbed/scheduling/cluster.hpp"

#include <bit>
#include <vector>

#include "scheduling/node_room.hpp"
#include "support/catch.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

NodeCapacity TwoKinds() {
  NodeCapacity capacity;
  capacity.cpu = 32'000;
  capacity.memory = 1000;
  capacity.architecture = 1;
  capacity.device_count = 4;
  capacity.device_kind = {3, 3, 5, 5};
  return capacity;
}

TEST_CASE("a cluster refuses nodes out of range", "[cluster]") {
  Cluster cluster;
  NodeCapacity capacity = TwoKinds();
  capacity.cpu = -1;
  CHECK(cluster.AddNode(capacity).status().code() == StatusCode::kInvalidArgument);
  capacity = TwoKinds();
  capacity.device_count = 17;
  CHECK(cluster.AddNode(capacity).status().code() == StatusCode::kInvalidArgument);
  capacity = TwoKinds();
  capacity.device_kind[3] = 64;
  CHECK(cluster.AddNode(capacity).status().code() == StatusCode::kInvalidArgument);
  capacity = TwoKinds();
  capacity.architecture = 32;
  CHECK(cluster.AddNode(capacity).status().code() == StatusCode::kInvalidArgument);
  CHECK(cluster.size() == 0);
  CHECK(cluster.AddNode(TwoKinds()).ok());
  CHECK(cluster.device_capacity() == 4000);
}

TEST_CASE("counted resources are taken and given back like others", "[cluster]") {
  Cluster cluster;
  NodeCapacity capacity = TwoKinds();
  capacity.counted = {5, 0, 2};
  REQUIRE(cluster.AddNode(capacity).ok());
  capacity.counted[1] = -1;
  CHECK(cluster.AddNode(capacity).status().code() == StatusCode::kInvalidArgument);
  const CountedAmounts three = {3, 0, 1};
  const CountedAmounts of_second = {0, 1};
  Demand demand;
  demand.architectures = 2;
  demand.counted = &three;
  CHECK(cluster.Fits(0, demand));
  const Placement placement = cluster.FirstDevices(0, demand);
  REQUIRE(cluster.Take(demand, placement));
  CHECK(cluster.state(0).counted == CountedAmounts{2, 0, 1});
  CHECK_FALSE(cluster.Fits(0, demand));
  CHECK_FALSE(cluster.Take(demand, placement));
  CHECK(cluster.FitsEmpty(0, demand));
  Demand other = demand;
  other.counted = &of_second;
  CHECK_FALSE(cluster.FitsEmpty(0, other));
  cluster.Give(demand, placement);
  CHECK(cluster.state(0).counted == CountedAmounts{5, 0, 2});
}

TEST_CASE("demands are compared by what they say", "[cluster]") {
  const CountedAmounts two = {2};
  const CountedAmounts same = {2};
  const CountedAmounts more = {3};
  Demand a;
  Demand b;
  CHECK(a == b);
  a.counted = &two;
  CHECK(a > b);
  CHECK(a != b);
  b.counted = &same;
  CHECK(a == b);
  CHECK(std::is_eq(a <=> b));
  b.counted = &more;
  CHECK(a < b);
  a.label = 1;
  CHECK(a > b);
  b.cpu = 1;
  CHECK(a < b);
}

TEST_CASE("what was taken and given back leaves the cluster as it was", "[cluster]") {
  // Beside the cluster, a list of what runs: all that is free can be counted from it.
  SeededRandom random(7);
  Cluster cluster;
  std::vector<NodeCapacity> capacities;
  for (int i = 0; i < 5; ++i) {
    NodeCapacity capacity = TwoKinds();
    capacity.cpu = 8000 + 8000 * i;
    capacity.device_count = static_cast<uint8_t>(i);
    capacities.push_back(capacity);
    REQUIRE(cluster.AddNode(capacity).ok());
  }
  struct Running {
    Demand demand;
    Placement placement;
  };
  std::vector<Running> running;
  int taken = 0;
  int refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    const NodeIndex node = static_cast<NodeIndex>(random.Next() % cluster.size());
    if (random.Next() % 3 == 0 && !running.empty()) {
      const size_t which = random.Next() % running.size();
      cluster.Give(running[which].demand, running[which].placement);
      running.erase(running.begin() + static_cast<ptrdiff_t>(which));
    } else {
      Demand demand;
      demand.cpu = static_cast<int64_t>(random.Next() % 4000);
      demand.memory = static_cast<int64_t>(random.Next() % 300);
      demand.whole_devices = static_cast<int16_t>(random.Next() % 3);
      demand.share = static_cast<int16_t>(random.Next() % 2 == 0 ? 0 : random.Next() % 1000);
      if (random.Next() % 4 == 0) demand.device_kinds = uint64_t{1} << 5U;
      if (random.Next() % 16 == 0) demand.architectures = 1;
      // Free devices and the rest, counted anew.
      int64_t cpu = capacities[node].cpu;
      int64_t memory = capacities[node].memory;
      std::array<int, kMaxDevices> left{};
      for (size_t d = 0; d < capacities[node].device_count; ++d) left[d] = kWholeDevice;
      for (const Running& other : running) {
        if (other.placement.node != node) continue;
        cpu -= other.demand.cpu;
        memory -= other.demand.memory;
        for (size_t d = 0; d < kMaxDevices; ++d) {
          if ((other.placement.whole_devices >> d & 1U) != 0) left[d] -= kWholeDevice;
        }
        if (other.placement.shared_device >= 0) {
          left[static_cast<size_t>(other.placement.shared_device)] -= other.demand.share;
        }
      }
      // All ways to choose a device for the share; then enough whole ones must be left.
      bool fits = cpu >= demand.cpu && memory >= demand.memory && demand.architectures != 1;
      bool devices = false;
      for (int shared = -1; shared < capacities[node].device_count; ++shared) {
        if ((shared < 0) != (demand.share == 0)) continue;
        int whole = 0;
        bool ok = true;
        for (int d = 0; d < capacities[node].device_count; ++d) {
          const bool kind =
              (demand.device_kinds >> capacities[node].device_kind[static_cast<size_t>(d)] & 1U) !=
              0;
          const int amount = left[static_cast<size_t>(d)];
          if (d == shared) {
            ok = kind && amount >= demand.share;
          } else if (kind && amount == kWholeDevice) {
            ++whole;
          }
        }
        devices |= ok && whole >= demand.whole_devices;
      }
      fits = fits && devices;
      REQUIRE(cluster.Fits(node, demand) == fits);
      const NodeState before = cluster.state(node);
      const int64_t device_left = cluster.device_left();
      const uint64_t changes = cluster.end_change();
      Placement placement;
      placement.node = node;
      if (fits) {
        placement = cluster.FirstDevices(node, demand);
      } else {
        placement.whole_devices = static_cast<uint16_t>(random.Next() % 16);
        placement.shared_device =
            static_cast<int8_t>(demand.share > 0 ? static_cast<int>(random.Next() % 4) : -1);
      }
      const bool took = cluster.Take(demand, placement);
      REQUIRE(took == fits);
      if (took) {
        running.push_back({demand, placement});
        REQUIRE(cluster.end_change() == changes + 1);
        REQUIRE(cluster.device_left() == device_left - demand.device_amount());
        ++taken;
      } else {
        REQUIRE(cluster.state(node).cpu == before.cpu);
        REQUIRE(cluster.state(node).memory == before.memory);
        REQUIRE(cluster.state(node).device == before.device);
        REQUIRE(cluster.state(node).tasks == before.tasks);
        REQUIRE(cluster.device_left() == device_left);
        REQUIRE(cluster.end_change() == changes);
        ++refused;
      }
    }
  }
  CHECK(taken > 1000);
  CHECK(refused > 1000);
  for (const Running& task : running) cluster.Give(task.demand, task.placement);
  CHECK(cluster.device_left() == cluster.device_capacity());
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    CHECK(cluster.state(node).cpu == capacities[node].cpu);
    CHECK(cluster.state(node).tasks == 0);
  }
}

TEST_CASE("a placement that is not the demand's is refused", "[cluster]") {
  Cluster cluster;
  REQUIRE(cluster.AddNode(TwoKinds()).ok());
  Demand demand;
  demand.whole_devices = 1;
  demand.device_kinds = uint64_t{1} << 5U;
  CHECK_FALSE(cluster.Take(demand, {1, 0b0100, -1}));  // no such node
  CHECK_FALSE(cluster.Take(demand, {0, 0b0001, -1}));  // of another kind
  CHECK_FALSE(cluster.Take(demand, {0, 0b1100, -1}));  // one too many
  CHECK_FALSE(cluster.Take(demand, {0, 0b10000, -1}));
  CHECK_FALSE(cluster.Take(demand, {0, 0b0100, 3}));  // a share that nobody asked for
  cluster.SetOpen(0, false);
  CHECK_FALSE(cluster.Fits(0, demand));
  CHECK(cluster.FitsEmpty(0, demand));
  CHECK_FALSE(cluster.Take(demand, {0, 0b0100, -1}));
  cluster.SetOpen(0, true);
  CHECK(cluster.Take(demand, {0, 0b0100, -1}));
}

TEST_CASE("a cluster takes nodes up to the ends of the ranges", "[cluster]") {
  Cluster cluster;
  constexpr int64_t kMost = int64_t{1} << 53;
  NodeCapacity capacity = TwoKinds();
  capacity.cpu = capacity.memory = kMost;
  capacity.counted[5] = kMost;
  capacity.architecture = 31;
  capacity.device_count = 16;
  capacity.device_kind.fill(63);
  CHECK(cluster.AddNode(capacity).ok());
  CHECK(cluster.AddNode(NodeCapacity()).ok());
  const auto refused = [&](auto&& spoil) {
    NodeCapacity spoiled = capacity;
    spoil(spoiled);
    return cluster.AddNode(spoiled).status().code() == StatusCode::kInvalidArgument;
  };
  CHECK(refused([](NodeCapacity& c) { ++c.cpu; }));
  CHECK(refused([](NodeCapacity& c) { ++c.memory; }));
  CHECK(refused([](NodeCapacity& c) { ++c.counted[5]; }));
  CHECK(cluster.size() == 2);
  CHECK(cluster.device_left() == 16'000);
  // All of as many devices as there can be, and one more than that.
  Demand demand;
  demand.whole_devices = 15;
  demand.share = 500;
  demand.device_kinds = uint64_t{1} << 63U;
  NodeState room = EmptyRoom(capacity);
  Placement placement;
  REQUIRE(TakeRoom(capacity, demand, &room, &placement));
  CHECK(placement == Placement{0, 0xfffe, 0});
  CHECK(cluster.FirstDevices(0, demand) == placement);
  CHECK(cluster.Take(demand, placement));
  CHECK_FALSE(TakeRoom(capacity, demand, &room, &placement));
  cluster.Give(demand, {0, 0xfffe, 0});
  CHECK(cluster.device_left() == 16'000);
  demand.whole_devices = 16;
  room = EmptyRoom(capacity);
  CHECK_FALSE(cluster.FitsEmpty(0, demand));
  CHECK_FALSE(cluster.Fits(0, demand));
  CHECK_FALSE(TakeRoom(capacity, demand, &room, &placement));
}

TEST_CASE("a placement that lacks anything is refused", "[cluster]") {
  Cluster cluster;
  REQUIRE(cluster.AddNode(TwoKinds()).ok());
  const CountedAmounts one = {1};
  Demand fits;
  fits.cpu = 32'000;
  fits.memory = 1000;
  fits.whole_devices = 1;
  fits.share = 400;
  const Placement place{0, 0b0010, 0};
  CHECK(cluster.CanTake(fits, place));
  const auto refused = [&](auto&& spoil) {
    Demand demand = fits;
    Placement there = place;
    spoil(demand, there);
    return !cluster.CanTake(demand, there);
  };
  CHECK(refused([](Demand& d, Placement&) { ++d.cpu; }));
  CHECK(refused([](Demand& d, Placement&) { ++d.memory; }));
  CHECK(refused([](Demand& d, Placement&) { d.architectures = 1; }));
  CHECK(refused([&](Demand& d, Placement&) { d.counted = &one; }));
  CHECK(refused([](Demand& d, Placement&) { d.device_kinds = uint64_t{1} << 5U; }));
  CHECK(refused([](Demand&, Placement& p) { p.whole_devices = 0; }));
  CHECK(refused([](Demand&, Placement& p) { p.whole_devices = 0b0001; }));  // the shared one
  CHECK(refused([](Demand&, Placement& p) { p.whole_devices = 0b10000; }));
  CHECK(refused([](Demand&, Placement& p) { p.shared_device = -1; }));
  CHECK(refused([](Demand&, Placement& p) { p.shared_device = 4; }));
  REQUIRE(cluster.Take(fits, place));
  Demand share;
  share.share = 600;
  CHECK(cluster.CanTake(share, {0, 0, 0}));
  CHECK_FALSE(cluster.CanTake(share, {0, 0, 1}));
  share.share = 601;
  CHECK_FALSE(cluster.CanTake(share, {0, 0, 0}));
  Demand whole;
  whole.whole_devices = 1;
  CHECK_FALSE(cluster.CanTake(whole, {0, 0b0001, -1}));
  CHECK(cluster.FirstDevices(0, whole) == Placement{0, 0b0100, -1});
  share.share = 500;
  CHECK(cluster.FirstDevices(0, share) == Placement{0, 0, 0});
}

TEST_CASE("what an empty node is too small for does not fit it", "[cluster]") {
  Cluster cluster;
  REQUIRE(cluster.AddNode(TwoKinds()).ok());
  Demand fits;
  fits.cpu = 32'000;
  fits.memory = 1000;
  fits.whole_devices = 4;
  fits.architectures = 1U << 1U;
  CHECK(cluster.FitsEmpty(0, fits));
  const auto refused = [&](auto&& spoil) {
    Demand demand = fits;
    spoil(demand);
    return !cluster.FitsEmpty(0, demand);
  };
  CHECK(refused([](Demand& d) { ++d.cpu; }));
  CHECK(refused([](Demand& d) { ++d.memory; }));
  CHECK(refused([](Demand& d) { ++d.whole_devices; }));
  CHECK(refused([](Demand& d) { d.share = 1; }));
  CHECK(refused([](Demand& d) { d.architectures = 1; }));
}

TEST_CASE("the last changes are known, in their order", "[cluster]") {
  Cluster cluster;
  for (int i = 0; i < 3; ++i) REQUIRE(cluster.AddNode(TwoKinds()).ok());
  std::vector<NodeIndex> changed = {0, 1, 2};
  SeededRandom random(5);
  for (int step = 0; step < 1000; ++step) {
    const auto node = static_cast<NodeIndex>(random.Next() % 3);
    const bool open = random.Next() % 2 == 0;
    if (cluster.state(node).open != open) changed.push_back(node);
    cluster.SetOpen(node, open);
    REQUIRE(cluster.end_change() == changed.size());
    REQUIRE(cluster.end_change() - cluster.first_change() >= 3);
    REQUIRE(cluster.end_change() - cluster.first_change() < 100);
    for (uint64_t i = cluster.first_change(); i < cluster.end_change(); ++i) {
      REQUIRE(cluster.Changed(i) == changed[i]);
    }
  }
}

TEST_CASE("room on one node is reckoned as the cluster does it", "[cluster]") {
  SeededRandom random(3);
  const CountedAmounts counted = {2, 0, 1};
  int fitted = 0;
  int refused = 0;
  for (int story = 0; story < 200; ++story) {
    Cluster cluster;
    NodeCapacity capacity = TwoKinds();
    capacity.counted = {6, 1, 9};
    REQUIRE(cluster.AddNode(capacity).ok());
    NodeState room = EmptyRoom(capacity);
    std::vector<std::pair<Demand, Placement>> there;
    for (int step = 0; step < 30; ++step) {
      if (!there.empty() && random.Next() % 3 == 0) {
        const auto [demand, placement] = there.back();
        there.pop_back();
        cluster.Give(demand, placement);
        ReturnRoom(demand, placement, &room);
      } else {
        Demand demand;
        demand.cpu = static_cast<int64_t>(random.Next() % 3) * 8000;
        demand.memory = static_cast<int64_t>(random.Next() % 3) * 250;
        demand.whole_devices = static_cast<int16_t>(random.Next() % 3);
        constexpr int16_t kShares[] = {0, 0, 0, 1, 200, 400, 600, 999};
        demand.share = kShares[random.Next() % 8];
        if (random.Next() % 3 == 0) demand.device_kinds = uint64_t{1} << 5U;
        if (random.Next() % 16 == 0) demand.architectures = 1;
        if (random.Next() % 3 == 0) demand.counted = &counted;
        Placement placement;
        const bool fits = cluster.Fits(0, demand);
        REQUIRE(TakeRoom(capacity, demand, &room, &placement) == fits);
        ++(fits ? fitted : refused);
        if (fits) {
          REQUIRE(placement == cluster.FirstDevices(0, demand));
          REQUIRE(cluster.Take(demand, placement));
          there.emplace_back(demand, placement);
        }
        // Of another place, only what is free there counts.
        demand.architectures = ~0U;
        placement.whole_devices = static_cast<uint16_t>(random.Next() % 16);
        demand.whole_devices = static_cast<int16_t>(std::popcount(placement.whole_devices));
        placement.shared_device = -1;
        if (demand.share > 0) placement.shared_device = static_cast<int8_t>(random.Next() % 4);
        demand.device_kinds = kAnyDeviceKind;
        if (demand.share == 0 || (placement.whole_devices >> placement.shared_device & 1U) == 0) {
          REQUIRE(HasRoom(demand, placement, room) == cluster.CanTake(demand, placement));
        }
      }
      const NodeState& state = cluster.state(0);
      REQUIRE(room.cpu == state.cpu);
      REQUIRE(room.memory == state.memory);
      REQUIRE(room.counted == state.counted);
      REQUIRE(room.device == state.device);
    }
  }
  CHECK(fitted > 500);
  CHECK(refused > 500);
}

TEST_CASE("of room that is not there nothing is left, and never less", "[cluster]") {
  const CountedAmounts counted = {2};
  NodeCapacity capacity = TwoKinds();
  capacity.counted = {1, 3};
  NodeState room = EmptyRoom(capacity);
  room.cpu = room.memory = 10;
  room.device[0] = 300;
  Demand demand;
  demand.cpu = 11;
  demand.memory = 20;
  demand.whole_devices = 1;
  demand.share = 500;
  demand.counted = &counted;
  SubtractRoom(demand, {0, 0b0100, 0}, &room);
  CHECK(room.cpu == 0);
  CHECK(room.memory == 0);
  CHECK(room.counted == CountedAmounts{0, 3});
  CHECK(room.device[0] == 0);
  CHECK(room.device[1] == kWholeDevice);
  CHECK(room.device[2] == 0);
  CHECK(room.device[3] == kWholeDevice);
}

}  // namespace
}  // namespace trackbed
