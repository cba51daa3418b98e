#include "trackbed/scheduling/cluster.hpp"

#include <bit>
#include <vector>

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

}  // namespace
}  // namespace trackbed
