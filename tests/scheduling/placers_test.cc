#include "trackbed/scheduling/placers.hpp"

#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "scheduling/block_reserve.hpp"
#include "scheduling/expected_loss.hpp"
#include "scheduling/fragmentation.hpp"
#include "scheduling/score_index.hpp"
#include "scheduling/scorers.hpp"
#include "scheduling/share_worth.hpp"
#include "support/catch.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

Demand Share(int16_t share, int64_t cpu = 1000) {
  Demand demand;
  demand.share = share;
  demand.cpu = cpu;
  return demand;
}

Demand Whole(int16_t devices, int64_t cpu = 1000) {
  Demand demand;
  demand.whole_devices = devices;
  demand.cpu = cpu;
  return demand;
}

Demand CpuOnly(int64_t cpu) { return Whole(0, cpu); }

NodeCapacity Node(uint8_t devices, int64_t cpu, uint8_t kind = 0) {
  NodeCapacity capacity;
  capacity.cpu = cpu;
  capacity.memory = 1'000'000;
  capacity.device_count = devices;
  capacity.device_kind.fill(kind);
  return capacity;
}

void Put(Cluster* cluster, NodeIndex node, const Demand& demand) {
  REQUIRE(cluster->Fits(node, demand));
  REQUIRE(cluster->Take(demand, cluster->FirstDevices(node, demand)));
}

Cluster Make(const std::vector<NodeCapacity>& nodes) {
  Cluster cluster;
  for (const NodeCapacity& node : nodes) REQUIRE(cluster.AddNode(node).ok());
  return cluster;
}

NodeIndex Chosen(const Cluster& cluster, std::string_view policy, const Demand& demand,
                 const Mix& mix = {}) {
  PlacerOptions options;
  options.mix = mix;
  const auto placer = MakePlacer(policy, options);
  REQUIRE(placer.ok());
  const auto placement = (*placer)->Choose(cluster, demand);
  REQUIRE(placement.has_value());
  return placement->node;
}

TEST_CASE("the fragment of a node as the paper defines it", "[fgd]") {
  // Devices with 500 and 1000 left, 10 cores.
  NodeCapacity capacity = Node(2, 10'000);
  NodeState state;
  state.cpu = 10'000;
  state.device = {500, 1000};
  const Mix mix = {{Share(600), 0.5}, {Whole(1, 20'000), 0.25}, {CpuOnly(1000), 0.25}};
  // The share cannot use 500; the whole device lacks cpu, so all 1500; without devices, all 1500.
  CHECK(Fragmentation(mix).Of(capacity, state) == 0.5 * 500 + 0.25 * 1500 + 0.25 * 1500);
  state.device = {500, 400};
  CHECK(Fragmentation(mix).Of(capacity, state) == 900);  // no device has room for the share
  state.device = {500, 1000};
  CHECK(Fragmentation({{Whole(2), 1}}).Of(capacity, state) == 1500);  // only one is whole
  CHECK(Fragmentation({{Whole(1), 1}}).Of(capacity, state) == 500);
  Demand other = Share(100);
  other.device_kinds = 2;
  CHECK(Fragmentation({{other, 1}}).Of(capacity, state) == 1500);  // of another model
}

TEST_CASE("the score of fgd is the truncated sigmoid of what the fragment shrinks by", "[fgd]") {
  const NodeCapacity capacity = Node(2, 10'000);
  NodeState state;
  state.cpu = 10'000;
  state.device = {500, 1000};
  const Mix mix = {{Share(600), 0.5}, {Whole(1, 20'000), 0.25}, {CpuOnly(1000), 0.25}};
  const auto scorer = MakeFgdScorer(mix);
  // From 1000 to 900: 100 * sigmoid(0.1) = 52.5.
  Scored scored = scorer->Score(capacity, state, 0, Share(600));
  CHECK(scored.score == 52);
  CHECK(scored.shared_device == 1);
  // On the first device to 0.5 * 100 + 0.25 * 1100 + 0.25 * 1100 = 600, 400 less.
  scored = scorer->Score(capacity, state, 0, Share(400));
  CHECK(scored.score == static_cast<int32_t>(100 / (1 + std::exp(-0.4))));
  CHECK(scored.shared_device == 0);
}

TEST_CASE("every policy looks at memory and counted resources") {
  NodeCapacity rich = Node(2, 10'000);
  rich.counted = {0, 4};
  const CountedAmounts licence = {0, 1};
  for (const std::string_view policy : kPlacerNames) {
    for (const bool scan : {false, true}) {
      INFO(policy);
      const Cluster cluster = Make({Node(2, 10'000), Node(2, 10'000), rich, Node(2, 10'000)});
      PlacerOptions options;
      options.scan = scan;
      const auto placer = MakePlacer(policy, options);
      REQUIRE(placer.ok());
      Demand demand = Share(500);
      CHECK((*placer)->Choose(cluster, demand).has_value());
      demand.counted = &licence;
      const auto placement = (*placer)->Choose(cluster, demand);
      REQUIRE(placement.has_value());
      CHECK(placement->node == 2);
      demand.memory = 2'000'000;
      CHECK_FALSE((*placer)->Choose(cluster, demand).has_value());
    }
  }
}

TEST_CASE("typical shapes cover at least what they have to", "[mix]") {
  std::vector<Demand> demands;
  for (int i = 0; i < 90; ++i) demands.push_back(Share(500));
  for (int i = 0; i < 5; ++i) demands.push_back(Whole(1));
  for (int i = 0; i < 5; ++i) demands.push_back(Whole(8));
  demands[0].memory = 7;  // memory makes no shape of its own
  const Mix typical = MixOf(demands, 0.95);
  REQUIRE(typical.size() == 2);
  CHECK(typical[0].demand == Share(500));
  CHECK(std::abs(typical[0].weight - 90.0 / 95) < 1e-12);
  CHECK(typical[1].demand == Whole(1));  // of equal counts the smaller
  CHECK(MixOf(demands).size() == 3);
}

TEST_CASE("the estimate of the mix follows what arrives and forgets", "[mix]") {
  MixEstimate estimate(100);
  for (int i = 0; i < 1000; ++i) estimate.Observe(Share(500));
  REQUIRE(estimate.mix().size() == 1);
  const uint64_t epoch = estimate.epoch();
  for (int i = 0; i < 1000; ++i) estimate.Observe(Share(500));
  CHECK(estimate.epoch() == epoch);  // nothing new
  for (int i = 0; i < 5000; ++i) estimate.Observe(Whole(1));
  REQUIRE(!estimate.mix().empty());
  CHECK(estimate.mix()[0].demand == Whole(1));
  CHECK(estimate.mix()[0].weight > 0.95);
  for (int i = 0; i < 100'000; ++i) estimate.Observe(Whole(2));  // weights stay in range
  CHECK(std::isfinite(estimate.arrivals()));
}

TEST_CASE("an estimate that begins with a known mix holds on to it as its arrivals say", "[mix]") {
  const Mix known = {{Whole(1), 0.75}, {Whole(2), 0.25}};
  MixEstimate estimate(100);
  estimate.Prime(known, 100);
  CHECK(estimate.arrivals() == 100);
  const auto weight = [&](const Demand& demand) {
    for (const MixShape& shape : estimate.mix()) {
      if (shape.demand.whole_devices == demand.whole_devices) return shape.weight;
    }
    return 0.0;
  };
  CHECK(weight(Whole(1)) == Approx(0.75));
  CHECK(weight(Whole(2)) == Approx(0.25));
  for (int i = 0; i < 1000; ++i) estimate.Observe(Whole(2));
  CHECK(weight(Whole(2)) > 0.9);
}

TEST_CASE("each policy chooses as it says", "[placer]") {
  SECTION("best-fit: least left over, scaled by the paper's largest node") {
    Cluster cluster = Make({Node(8, 96'000), Node(2, 96'000), Node(8, 96'000)});
    CHECK(Chosen(cluster, "best-fit", Whole(1)) == 1);
    Put(&cluster, 2, Whole(7));
    CHECK(Chosen(cluster, "best-fit", Whole(1)) == 2);
  }
  SECTION("dot-product: where what is free points least along the demand") {
    Cluster cluster = Make({Node(8, 96'000), Node(2, 96'000), Node(8, 96'000)});
    CHECK(Chosen(cluster, "dot-product", Whole(2, 32'000)) == 1);
    CHECK(Chosen(cluster, "dot-product", Whole(0, 0)) == 0);  // all alike: the first
  }
  SECTION("gpu-packing: a shared device, then a node in use, then an idle one") {
    Cluster cluster = Make({Node(4, 96'000), Node(4, 96'000), Node(4, 96'000)});
    CHECK(Chosen(cluster, "gpu-packing", Share(300)) == 0);
    Put(&cluster, 1, Whole(1));
    CHECK(Chosen(cluster, "gpu-packing", Share(300)) == 1);
    Put(&cluster, 2, Share(500));
    CHECK(Chosen(cluster, "gpu-packing", Share(300)) == 2);
    CHECK(Chosen(cluster, "gpu-packing", Share(600)) == 1);
    CHECK(Chosen(cluster, "gpu-packing", CpuOnly(100)) == 0);
  }
  SECTION("gpu-clustering: with demands for as many devices") {
    Cluster cluster = Make({Node(8, 96'000), Node(8, 96'000), Node(8, 96'000)});
    const auto placer = MakePlacer("gpu-clustering");
    REQUIRE(placer.ok());
    const auto place = [&](const Demand& demand) {
      const auto placement = (*placer)->Choose(cluster, demand);
      REQUIRE(placement.has_value());
      REQUIRE(cluster.Take(demand, *placement));
      return placement->node;
    };
    CHECK(place(Whole(1)) == 0);
    CHECK(place(Share(300)) == 1);  // empty before one that holds another class
    CHECK(place(Whole(2)) == 2);
    CHECK(place(Whole(1)) == 0);
    CHECK(place(Share(300)) == 1);
    CHECK(place(Whole(2)) == 2);
    CHECK(place(Whole(4)) == 2);  // nobody holds its class: the fullest
  }
  SECTION("pack and spread") {
    Cluster cluster = Make({Node(4, 40'000), Node(4, 40'000)});
    Put(&cluster, 1, Whole(1));
    CHECK(Chosen(cluster, "pack", Whole(1)) == 1);
    CHECK(Chosen(cluster, "spread", Whole(1)) == 0);
    Put(&cluster, 0, Whole(2));
    CHECK(Chosen(cluster, "pack", Whole(1)) == 0);
    CHECK(Chosen(cluster, "spread", Whole(1)) == 1);
  }
  SECTION("round-robin") {
    Cluster cluster = Make({Node(1, 40'000), Node(0, 40'000), Node(1, 40'000)});
    const auto placer = MakePlacer("round-robin");
    REQUIRE(placer.ok());
    CHECK((*placer)->Choose(cluster, Share(10))->node == 0);
    CHECK((*placer)->Choose(cluster, Share(10))->node == 2);
    CHECK((*placer)->Choose(cluster, Share(10))->node == 0);
    CHECK((*placer)->Choose(cluster, CpuOnly(10))->node == 1);
  }
  SECTION("topology-aware: gangs stay together") {
    std::vector<NodeCapacity> nodes(6, Node(2, 40'000));
    for (size_t i = 0; i < nodes.size(); ++i) nodes[i].location = static_cast<uint32_t>(i % 2);
    Cluster cluster = Make(nodes);
    Put(&cluster, 3, Share(100));
    const auto placer = MakePlacer("topology-aware");
    REQUIRE(placer.ok());
    for (const NodeIndex expected : {1U, 5U, 0U}) {  // location 1 while there is room
      const auto placement = (*placer)->Choose(cluster, Whole(2));
      REQUIRE(placement.has_value());
      CHECK(placement->node == expected);
      REQUIRE(cluster.Take(Whole(2), *placement));
    }
  }
  SECTION("cost-aware and power-aware") {
    NodeCapacity dear = Node(2, 40'000);
    dear.price_per_hour = 10;
    dear.idle_watts = 100;
    dear.watts_per_device = 50;
    NodeCapacity cheap = Node(2, 40'000);
    cheap.price_per_hour = 2;
    cheap.idle_watts = 300;
    cheap.watts_per_device = 300;
    Cluster cluster = Make({dear, cheap});
    CHECK(Chosen(cluster, "cost-aware", Whole(1)) == 1);
    CHECK(Chosen(cluster, "power-aware", Whole(1)) == 0);
    Put(&cluster, 0, Share(100));
    CHECK(Chosen(cluster, "cost-aware", Whole(1)) == 0);  // it is paid for already
  }
}

std::array<double, kWholeDevice + 1> Weights(const std::vector<std::pair<size_t, double>>& of) {
  std::array<double, kWholeDevice + 1> weight{};
  for (const auto& [share, count] : of) weight[share] = count;
  return weight;
}

bool Near(double a, double b) { return std::abs(a - b) < 1e-9; }

TEST_CASE("what is left of a device is worth what fits in there when shares are packed best",
          "[default]") {
  SECTION("a share beside which nothing fits takes a whole device") {
    const ShareWorth worth = WorthOfRests(Weights({{810, 5}, {470, 2}}));
    CHECK(worth[0] == 0);
    CHECK(Near(worth[469], 0));
    CHECK(Near(worth[470], 0.5));  // two make a device
    CHECK(Near(worth[809], 0.5));
    CHECK(Near(worth[810], 1));
    CHECK(Near(worth[1000], 1));
  }
  SECTION("what fills gaps that there are anyhow is worth nothing") {
    const ShareWorth worth = WorthOfRests(Weights({{810, 5}, {190, 1}}));
    CHECK(Near(worth[190], 0));
    CHECK(Near(worth[810], 1));
  }
  SECTION("where there are more of these than gaps, they are worth a part") {
    const ShareWorth worth = WorthOfRests(Weights({{810, 1}, {190, 9}}));
    CHECK(Near(worth[190], 0.2));
    CHECK(Near(worth[810], 0.8));  // and the other the rest, four of them
  }
  SECTION("without shares only a whole device is worth anything") {
    const ShareWorth worth = WorthOfRests(Weights({}));
    CHECK(worth[999] == 0);
    CHECK(worth[1000] == 1);
  }
}

TEST_CASE("no way to fill a device is worth more than a device, of any mix", "[default]") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SeededRandom random(seed);
    std::array<double, kWholeDevice + 1> weight{};
    const uint64_t step = seed % 2 == 0 ? 10 : 1;
    for (uint64_t i = 1 + random.Next() % (seed % 5 == 0 ? 500 : 20); i > 0; --i) {
      weight[(1 + random.Next() % (1000 / step - 1)) * step] =
          1 + static_cast<double>(random.Next() % 90);
    }
    const ShareWorth worth = WorthOfRests(weight);
    double least = 0;  // devices that are needed, by their prices
    double amount = 0;
    for (size_t left = 1; left <= kWholeDevice; ++left) {
      REQUIRE(worth[left] >= worth[left - 1]);
      // Two parts of a device are never worth more than both together.
      if (left <= kWholeDevice / 2) REQUIRE(2 * worth[left] <= worth[2 * left] + 1e-6);
      if (left == kWholeDevice || weight[left] == 0) continue;
      least += weight[left] * worth[left];
      amount += weight[left] * static_cast<double>(left) / kWholeDevice;
    }
    REQUIRE(worth[kWholeDevice] <= 1 + 1e-6);
    // No fewer devices than the amounts add up to; of at most 64 sizes, that is.
    if (seed % 5 != 0) REQUIRE(least >= amount - 1e-6);
  }
}

TEST_CASE("losses are sums over devices, and what the cpu left does not suffice for", "[default]") {
  // Two shares of 400 fit, or one of 600 and one of 400.
  const Mix mix = {{Whole(1, 8000), 0.5}, {Share(600, 4000), 0.25}, {Share(400, 4000), 0.25}};
  const NodeCapacity capacity = Node(2, 20'000);
  const ExpectedLoss loss(mix, Make({capacity}));
  CHECK(Near(loss.CpuPerDevice(), (0.5 * 8000 + 0.5 * 4000) / (500 + 150 + 100)));
  CHECK(loss.KindPrice(0) == 0);
  CHECK(Near(loss.Remainder(399), 399));
  CHECK(Near(loss.Remainder(1000), 0));
  // The prices of the two add up to a device, and 600 is worth no less than 400.
  CHECK(Near(loss.Remainder(600) + loss.Remainder(400), 0));
  NodeState state;
  state.cpu = 20'000;
  state.device = {1000, 500};
  CHECK(std::abs(loss.Of(capacity, state) - loss.Remainder(500)) < 0.01);
  state.cpu = 5000;
  const double stranded = 1500 - 5000 / loss.CpuPerDevice();
  CHECK(std::abs(loss.Of(capacity, state) - (loss.Remainder(500) + stranded)) < 0.01);
  state.cpu = 0;
  state.device = {0, 0};
  CHECK(loss.Of(capacity, state) == 0);
}

TEST_CASE("where cpu is scarce, wants that differ strand devices beyond the average", "[default]") {
  // 8 cores a device on average, 6.7 to 10; what wants no device takes as much again.
  const Mix mix = {{Whole(1, 8000), 0.25},
                   {Share(600, 4000), 0.125},
                   {Share(400, 4000), 0.125},
                   {CpuOnly(6000), 0.5}};
  const NodeCapacity capacity = Node(1, 12'000);
  const ExpectedLoss scarce(mix, Make({capacity}));
  const ExpectedLoss plenty(mix, Make({capacity, Node(1, 24'000)}));
  NodeState state;
  state.device = {1000};
  const auto stranded = [&](const ExpectedLoss& loss, int64_t cpu) {
    state.cpu = cpu;
    return loss.Of(capacity, state) - loss.Remainder(1000);
  };
  CHECK(stranded(plenty, 8500) == 0);
  CHECK(Near(stranded(plenty, 6000), 250));
  CHECK(stranded(scarce, 8500) > 10);  // one demand in seven wants more
  CHECK(stranded(scarce, 10'000) == 0);
  CHECK(Near(stranded(scarce, 0), 1000));
  for (int64_t cpu = 0; cpu < 12'000; cpu += 250) {
    CHECK(stranded(scarce, cpu + 250) <= stranded(scarce, cpu));
  }
}

TEST_CASE("nodes are kept in one piece for demands that want several devices", "[default]") {
  // 400 devices; of those, one in eight goes to demands for eight at once.
  const Mix mix = {{Whole(1, 4000), 56.0 / 57}, {Whole(8, 40'000), 1.0 / 57}};
  std::vector<NodeCapacity> nodes(49, Node(8, 64'000));
  nodes.push_back(Node(8, 32'000));  // too little cpu
  const Cluster cluster = Make(nodes);
  const BlockReserve reserve(mix, cluster);
  // 50 * 1 / 8 are to come, two deviations are 5; they need an eighth of the 49 places, of which 1.
  int kept = 0;
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    if (reserve.ReservedFor(node) == 0) continue;
    ++kept;
    CHECK(reserve.demand(reserve.ReservedFor(node)).whole_devices == 8);
    CHECK(node >= 43);
  }
  CHECK(kept == 6);
  CHECK(reserve.ReservedFor(49) == 0);
  CHECK(reserve.ReservedFor(1000) == 0);
  CHECK(reserve.Usable(1, 8, 64'000) == 8);
  CHECK(reserve.Usable(1, 7, 64'000) == 0);
  CHECK(reserve.Usable(1, 16, 64'000) == 8);

  // Others come there last: one of each place is taken before a reserved node is broken up.
  Cluster filled = cluster;
  PlacerOptions options;
  options.mix = mix;
  const auto placer = MakePlacer("default", options);
  REQUIRE(placer.ok());
  for (int i = 0; i < 44 * 8; ++i) {
    const auto placement = (*placer)->Choose(filled, Whole(1, 4000));
    REQUIRE(placement.has_value());
    CHECK(reserve.ReservedFor(placement->node) == 0);
    REQUIRE(filled.Take(Whole(1, 4000), *placement));
  }
  CHECK((*placer)->Choose(filled, Whole(8, 40'000)).has_value());
  CHECK((*placer)->Choose(filled, Whole(1, 4000)).has_value());  // nothing is refused
}

TEST_CASE("where only few nodes will do for a demand, others leave all of them to it",
          "[default]") {
  const Mix mix = {{Whole(1, 4000), 56.0 / 57}, {Whole(8, 60'000), 1.0 / 57}};
  std::vector<NodeCapacity> nodes(50, Node(8, 32'000));
  for (size_t i = 0; i < 7; ++i) nodes[i * 7] = Node(8, 64'000);
  const Cluster cluster = Make(nodes);
  const BlockReserve reserve(mix, cluster);  // 6.25 are to come, for 7 places
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    CHECK((reserve.ReservedFor(node) > 0) == (node % 7 == 0 && node < 49));
  }
}

TEST_CASE("devices that some cannot do without are spared", "[default]") {
  Demand picky = Whole(1);
  picky.device_kinds = 1;
  const Mix mix = {{Whole(1), 0.7}, {picky, 0.3}};
  const Cluster cluster = Make({Node(4, 40'000, 0), Node(4, 40'000, 1)});
  CHECK(Chosen(cluster, "default", Whole(1), mix) == 1);
  CHECK(Chosen(cluster, "default", picky, mix) == 0);
}

TEST_CASE("demands for cpu alone leave the cpu that devices need", "[default]") {
  const Mix mix = {{Whole(1, 10'000), 0.8}, {CpuOnly(10'000), 0.2}};
  const Cluster cluster = Make({Node(4, 40'000), Node(2, 80'000), Node(0, 30'000)});
  CHECK(Chosen(cluster, "default", CpuOnly(20'000), mix) != 0);
}

TEST_CASE("the default places without having seen anything", "[default]") {
  const Cluster cluster = Make({Node(0, 40'000), Node(4, 40'000)});
  CHECK(Chosen(cluster, "default", Share(10)) == 1);
  const auto placer = MakePlacer("default");
  REQUIRE(placer.ok());
  CHECK_FALSE((*placer)->Choose(cluster, Whole(5)).has_value());
  CHECK_FALSE((*placer)->Choose(Make({}), Whole(5)).has_value());
}

TEST_CASE("the index finds what a look at all finds", "[index]") {
  SeededRandom random(3);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{17}, size_t{255},
                            size_t{256}, size_t{257}, size_t{4097}}) {
    ScoreIndex index;
    index.Reset(size);
    std::vector<int32_t> scores(size, ScoreIndex::kAbsent);
    for (int step = 0; step < 300 && size > 0; ++step) {
      const size_t position = random.Next() % size;
      scores[position] = static_cast<int32_t>(random.Next() % 9) - 4;
      index.Set(position, scores[position]);
      const auto best = std::max_element(scores.begin(), scores.end());
      REQUIRE(index.highest() == *best);
      REQUIRE(index.FirstHighest() == static_cast<size_t>(best - scores.begin()));
      const size_t from = random.Next() % (size + 1);
      const auto next = std::find_if(scores.begin() + static_cast<ptrdiff_t>(from), scores.end(),
                                     [](int32_t score) { return score >= 2; });
      const size_t found = index.FirstAtLeast(2, from);
      REQUIRE((next == scores.end() ? size_t(-1) : static_cast<size_t>(next - scores.begin())) ==
              found);
    }
    if (size == 0) CHECK(index.highest() == ScoreIndex::kAbsent);
  }
}

// What could arrive; some of it rare, some constrained, some short of memory.
Demand AnyDemand(RandomSource* random) {
  static constexpr std::array<int16_t, 6> kShares = {100, 230, 470, 500, 650, 810};
  Demand demand;
  demand.cpu = static_cast<int64_t>(1 + random->Next() % 6) * 2000;
  demand.memory = static_cast<int64_t>(random->Next() % 3) * 60'000;
  const uint64_t kind = random->Next() % 16;
  if (kind < 6) {
    demand.share = kShares[random->Next() % kShares.size()];
  } else if (kind < 13) {
    demand.whole_devices = static_cast<int16_t>(kind < 11 ? 1 : 2 << random->Next() % 2);
    if (kind == 12) demand.share = 300;
  }
  if (random->Next() % 8 == 0) demand.device_kinds = uint64_t{1} << random->Next() % 2;
  if (random->Next() % 64 == 0) demand.architectures = 2;
  return demand;
}

Cluster AnyCluster(RandomSource* random, int nodes) {
  Cluster cluster;
  for (int i = 0; i < nodes; ++i) {
    NodeCapacity node = Node(static_cast<uint8_t>(i % 5 == 0 ? 0 : 1 << random->Next() % 4),
                             32'000 * static_cast<int64_t>(1 + random->Next() % 3),
                             static_cast<uint8_t>(random->Next() % 2));
    node.architecture = static_cast<uint8_t>(i % 7 == 0);
    node.location = static_cast<uint32_t>(random->Next() % 6);
    node.price_per_hour = static_cast<float>(random->Next() % 3);
    node.idle_watts = static_cast<float>(random->Next() % 3 * 100);
    node.watts_per_device = static_cast<float>(random->Next() % 3 * 100);
    REQUIRE(cluster.AddNode(node).ok());
  }
  return cluster;
}

void CheckEqualChoices(Placer* quick, Placer* scan, int steps) {
  SeededRandom random(11);
  Cluster cluster = AnyCluster(&random, 60);
  struct Running {
    Demand demand;
    Placement placement;
  };
  std::vector<Running> running;
  int placed = 0;
  for (int step = 0; step < steps; ++step) {
    const uint64_t dice = random.Next() % 100;
    if (dice == 0) {
      const auto node = static_cast<NodeIndex>(random.Next() % cluster.size());
      cluster.SetOpen(node, !cluster.state(node).open);
      continue;
    }
    if (dice < 42 && !running.empty()) {
      const size_t which = random.Next() % running.size();
      cluster.Give(running[which].demand, running[which].placement);
      running[which] = running.back();
      running.pop_back();
      continue;
    }
    if (step == steps / 2) REQUIRE(cluster.AddNode(Node(8, 96'000)).ok());
    const Demand demand = AnyDemand(&random);
    quick->Observe(demand);
    scan->Observe(demand);
    std::vector<LocalData> data;
    for (uint64_t i = random.Next() % 3; i > 0; --i) {
      data.push_back({static_cast<NodeIndex>(random.Next() % cluster.size()),
                      static_cast<int64_t>(random.Next() % 4)});
    }
    const auto first = quick->ChooseNear(cluster, demand, data);
    const auto second = scan->ChooseNear(cluster, demand, data);
    REQUIRE(first == second);
    bool fits = false;
    for (NodeIndex node = 0; node < cluster.size() && !fits; ++node) {
      fits = cluster.Fits(node, demand);
    }
    REQUIRE(first.has_value() == fits);  // nothing that fits is refused
    if (!first) continue;
    REQUIRE(cluster.Take(demand, *first));
    running.push_back({demand, *first});
    ++placed;
  }
  CHECK(placed > steps / 4);
}

TEST_CASE("kept scores choose what rescoring every node chooses", "[placer]") {
  for (const std::string_view name : kPlacerNames) {
    DYNAMIC_SECTION(name) {
      PlacerOptions options;
      options.seed = 5;
      const auto quick = MakePlacer(name, options);
      options.scan = true;
      const auto scan = MakePlacer(name, options);
      REQUIRE(quick.ok());
      REQUIRE(scan.ok());
      CheckEqualChoices(quick->get(), scan->get(), 12'000);
    }
  }
  SECTION("a composition") {
    const std::vector<WeightedPlacer> parts = {
        {"default", 2}, {"cost-aware", 1}, {"gpu-clustering", 1}};
    PlacerOptions options;
    const auto quick = MakeWeightedPlacer(parts, options);
    options.scan = true;
    const auto scan = MakeWeightedPlacer(parts, options);
    REQUIRE(quick.ok());
    REQUIRE(scan.ok());
    CheckEqualChoices(quick->get(), scan->get(), 12'000);
  }
  SECTION("a composition with locality") {
    const std::vector<WeightedPlacer> parts = {{"default", 2}, {"locality-aware", 1}};
    PlacerOptions options;
    const auto quick = MakeWeightedPlacer(parts, options);
    options.scan = true;
    const auto scan = MakeWeightedPlacer(parts, options);
    REQUIRE(quick.ok());
    REQUIRE(scan.ok());
    CheckEqualChoices(quick->get(), scan->get(), 12'000);
  }
}

TEST_CASE(
    "of a node with devices of two kinds only those that are asked for are taken, all of them",
    "[placer]") {
  const auto of_kind = [](uint8_t kind, Demand demand) {
    demand.device_kinds = uint64_t{1} << kind;
    return demand;
  };
  for (const std::string_view name : kPlacerNames) {
    CAPTURE(name);
    NodeCapacity mixed = Node(6, 40'000);
    for (size_t device = 0; device < 6; ++device) mixed.device_kind[device] = device % 2;
    Cluster cluster = Make({mixed});
    const auto placer = MakePlacer(name);
    REQUIRE(placer.ok());
    // Shares of one kind lie beside whole devices of it, and leave the other kind alone.
    uint16_t whole = 0;
    int shares = 0;
    const auto take = [&](const Demand& demand) {
      (*placer)->Observe(demand);
      const auto placement = (*placer)->Choose(cluster, demand);
      if (!placement) return false;
      REQUIRE(cluster.Take(demand, *placement));
      whole = static_cast<uint16_t>(whole | placement->whole_devices);
      if (demand.share > 0) {
        CHECK(placement->shared_device % 2 == 1);
        ++shares;
      }
      return true;
    };
    CHECK(take(of_kind(1, Share(700))));
    CHECK(take(of_kind(1, Whole(1))));
    CHECK(take(of_kind(1, Whole(1))));
    CHECK(take(of_kind(1, Share(300))));
    CHECK_FALSE(take(of_kind(1, Share(100))));
    CHECK_FALSE(take(of_kind(1, Whole(1))));
    CHECK(shares == 2);
    CHECK(std::popcount(whole) == 2);
    CHECK((whole & 0b010101U) == 0);
    CHECK(take(of_kind(0, Whole(3))));
    CHECK((whole & 0b010101U) == 0b010101U);
  }
}

TEST_CASE("where there are no nodes, or none with devices, nothing is found", "[placer]") {
  for (const std::string_view name : kPlacerNames) {
    CAPTURE(name);
    const Cluster empty;
    const auto nowhere = MakePlacer(name);
    REQUIRE(nowhere.ok());
    CHECK_FALSE((*nowhere)->Choose(empty, CpuOnly(1)).has_value());
    Cluster cluster = Make({Node(0, 4000), Node(0, 4000)});
    const auto placer = MakePlacer(name);
    REQUIRE(placer.ok());
    CHECK_FALSE((*placer)->Choose(cluster, Whole(1)).has_value());
    CHECK_FALSE((*placer)->Choose(cluster, Share(100)).has_value());
    CHECK((*placer)->Choose(cluster, CpuOnly(4000)).has_value());
    CHECK_FALSE((*placer)->Choose(cluster, CpuOnly(4001)).has_value());
  }
}

TEST_CASE("more demands than scores are kept for are placed as before", "[placer]") {
  Cluster cluster = Make({Node(4, 40'000), Node(4, 40'000)});
  Put(&cluster, 1, Whole(1));
  const auto placer = MakePlacer("pack");
  REQUIRE(placer.ok());
  for (int round = 0; round < 2; ++round) {
    for (int64_t cpu = 1; cpu <= 5000; ++cpu) {
      const auto placement = (*placer)->Choose(cluster, CpuOnly(cpu));
      if (!placement || placement->node != 1) FAIL("cpu " << cpu << " in round " << round);
    }
  }
}

TEST_CASE("a mix of work that needs no processors, or none of these devices, is no obstacle",
          "[default]") {
  const Mix strange = {{Whole(1, 0), 0.5}, {Share(300, 0), 0.25}, {Whole(2, 0), 0.25}};
  for (const std::string_view name : {"default", "fgd"}) {
    CAPTURE(name);
    Cluster cluster = Make({Node(4, 8000), Node(4, 8000)});
    Put(&cluster, 1, Share(300, 0));
    CHECK(Chosen(cluster, name, Share(300, 0), strange) == 1);
    Demand elsewhere = Whole(1);
    elsewhere.device_kinds = uint64_t{1} << 5U;
    CHECK(Chosen(cluster, name, Share(300), {{elsewhere, 1}}) <= 1);
  }
}

TEST_CASE("a composition weighs its parts", "[placer]") {
  Cluster cluster = Make({Node(4, 40'000), Node(4, 40'000)});
  Put(&cluster, 1, Whole(1));
  const auto chosen = [&](double pack, double spread) {
    const auto placer = MakeWeightedPlacer({{"pack", pack}, {"spread", spread}});
    REQUIRE(placer.ok());
    return (*placer)->Choose(cluster, Whole(1))->node;
  };
  CHECK(chosen(2, 1) == 1);
  CHECK(chosen(1, 2) == 0);
}

NodeIndex ChosenNear(const Cluster& cluster, Placer* placer, const Demand& demand,
                     const std::vector<LocalData>& data) {
  const auto placement = placer->ChooseNear(cluster, demand, data);
  REQUIRE(placement.has_value());
  CHECK(placement->whole_devices == cluster.FirstDevices(placement->node, demand).whole_devices);
  return placement->node;
}

TEST_CASE("a task goes where its data lies, of nodes that are equally good", "[placer][locality]") {
  Cluster cluster = Make({Node(4, 40'000), Node(4, 40'000), Node(4, 40'000), Node(2, 9'000)});
  Put(&cluster, 3, Whole(2));
  const auto pack = MakePlacer("pack");
  REQUIRE(pack.ok());
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {}) == 0);
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{2, 10}}) == 2);
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{1, 9}, {2, 10}}) == 2);
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{2, 10}, {1, 10}}) ==
        1);  // the first of equals
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{2, 0}, {1, 0}}) == 0);
  // Never where there is no room, or no node.
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{3, 1'000'000}, {9, 5}}) == 0);
  cluster.SetOpen(2, false);
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{2, 10}}) == 0);
  cluster.SetOpen(2, true);
  CHECK_FALSE((*pack)->ChooseNear(cluster, Whole(5), std::vector<LocalData>{{2, 10}}).has_value());
  // Nor where another node is better.
  Put(&cluster, 1, Whole(1));
  CHECK(ChosenNear(cluster, pack->get(), Whole(1), {{2, 10}}) == 1);
}

TEST_CASE("locality counts as its weight says", "[placer][locality]") {
  Cluster cluster = Make({Node(4, 40'000), Node(4, 40'000)});
  Put(&cluster, 1, Whole(1));
  const auto chosen = [&](const std::vector<WeightedPlacer>& parts, int64_t here, int64_t there) {
    const auto placer = MakeWeightedPlacer(parts);
    REQUIRE(placer.ok());
    return ChosenNear(cluster, placer->get(), Whole(1), {{0, here}, {1, there}});
  };
  CHECK(chosen({{"pack", 1}, {"locality-aware", 10}}, 5, 0) == 0);
  CHECK(chosen({{"pack", 1}, {"locality-aware", 0.01}}, 5, 0) == 1);  // a quarter fuller
  CHECK(chosen({{"locality-aware", 10}, {"pack", 1}}, 50, 45) == 0);
  CHECK(chosen({{"locality-aware", 1}, {"pack", 1}}, 50, 49) == 1);  // hardly less data
  CHECK_FALSE(MakeWeightedPlacer({{"locality-aware", 1}}).ok());
  // By itself it comes before all else.
  const auto alone = MakePlacer("locality-aware");
  REQUIRE(alone.ok());
  for (int i = 0; i < 4; ++i) {
    CHECK(ChosenNear(cluster, alone->get(), Whole(1), {{0, 2}, {1, 1}}) == 0);
    Put(&cluster, 0, Whole(1));
  }
  CHECK(ChosenNear(cluster, alone->get(), Whole(1), {{0, 2}, {1, 1}}) == 1);  // there is room
}

TEST_CASE("names that are none are refused with help", "[placer]") {
  const Status near = MakePlacer("best-fut").status();
  CHECK(near.code() == StatusCode::kInvalidArgument);
  CHECK(Message(near) == "unknown placement policy \"best-fut\"; did you mean \"best-fit\"?");
  const Status far = MakePlacer("something else").status();
  CHECK(Message(far).find("expected one of default, fgd, ") != std::string_view::npos);
  CHECK(MakePlacer(std::string(100'000, 'x')).status().code() == StatusCode::kInvalidArgument);
  CHECK_FALSE(MakeWeightedPlacer({}).ok());
  CHECK_FALSE(MakeWeightedPlacer({{"random", 1}}).ok());
  CHECK_FALSE(MakeWeightedPlacer({{"packk", 1}}).ok());
  CHECK_FALSE(MakeWeightedPlacer({{"pack", 0}}).ok());
  CHECK(Message(MakeWeightedPlacer({{"pack", 2e6}}).status()) ==
        "weight of placement policy \"pack\": found 2e+06, expected a number above 0 and up to "
        "1000000");
  CHECK_FALSE(MakeWeightedPlacer({{"pack", std::nan("")}}).ok());
}

}  // namespace
}  // namespace trackbed
