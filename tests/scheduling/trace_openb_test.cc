#include "trackbed/scheduling/trace_openb.hpp"

#include <string>

#include "support/catch.hpp"
#include "trackbed/scheduling/placers.hpp"

namespace trackbed::openb {
namespace {

constexpr char kNodes[] =
    "sn,cpu_milli,memory_mib,gpu,model\n"
    "n2,96000,393216,8,G2\n"
    "n0,32000,262144,0,\n"
    "n1,104000,524288,2,T4\n";
constexpr char kTasks[] =
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n"
    "p2,8000,30517,0,0,,BE\n"
    "p0,12000,16384,1,1000,,LS\r\n"
    "p1,6000,12288,1,460,T4|A100,LS\n"
    "p3,6000,12288,2,1000,G2|T4,LS\n";

std::string NodesMistake(const std::string& text) {
  return std::string(Message(ReadNodes(text, "n.csv").status()));
}

std::string TasksMistake(const std::string& line) {
  const auto nodes = ReadNodes(kNodes, "n.csv");
  REQUIRE(nodes.ok());
  const std::string text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n" + line;
  return std::string(Message(ReadTasks(text, "t.csv", *nodes).status()));
}

TEST_CASE("nodes with devices are read, sorted by name", "[openb]") {
  const auto nodes = ReadNodes(kNodes, "n.csv");
  REQUIRE(nodes.ok());
  REQUIRE(nodes->nodes.size() == 2);
  CHECK(nodes->nodes[0].name == "n1");
  CHECK(nodes->nodes[0].capacity.cpu == 104'000);
  CHECK(nodes->nodes[0].capacity.memory == int64_t{524'288} * 1024 * 1024);
  CHECK(nodes->nodes[1].capacity.device_count == 8);
  CHECK(nodes->models == std::vector<std::string>{"G2", "T4"});
}

TEST_CASE("tasks are read, models become kinds", "[openb]") {
  const auto nodes = ReadNodes(kNodes, "n.csv");
  REQUIRE(nodes.ok());
  const auto tasks = ReadTasks(kTasks, "t.csv", *nodes);
  REQUIRE(tasks.ok());
  REQUIRE(tasks->size() == 4);
  CHECK((*tasks)[0].name == "p0");
  CHECK((*tasks)[0].demand.whole_devices == 1);
  CHECK((*tasks)[1].demand.share == 460);
  CHECK((*tasks)[1].demand.device_kinds == 2);  // no node has an A100
  CHECK_FALSE((*tasks)[2].demand.wants_devices());
  CHECK((*tasks)[3].demand.device_kinds == 3);
}

TEST_CASE("mistakes name the place and what was expected", "[openb]") {
  CHECK(NodesMistake("") == "n.csv:1:1: found nothing, expected a line with the names of columns");
  CHECK(NodesMistake("sn,cpu_milli,gpu,model\n") ==
        "n.csv:1:1: found a first line without it, expected a column memory_mib");
  CHECK(NodesMistake("sn,cpu_milli,memory_mib,gpu,model\na,1,1,0,\n") ==
        "n.csv: found no node with devices, expected some");
  CHECK(NodesMistake("sn,cpu_milli,memory_mib,gpu,model\n\na,x,1,2,M\n") ==
        "n.csv:3:3: found \"x\", expected cpu_milli, a whole number from 0 to 8589934592");
  CHECK(NodesMistake("sn,cpu_milli,memory_mib,gpu,model\na,1,1,17,M\n") ==
        "n.csv:2:7: found \"17\", expected gpu, a whole number from 0 to 16");
  CHECK(NodesMistake("sn,cpu_milli,memory_mib,gpu,model\na,1,1,2,\n") ==
        "n.csv:2:9: found no model, expected that of the devices");
  CHECK(NodesMistake("sn,cpu_milli,memory_mib,gpu,model\na,1,1\n") ==
        "n.csv:2:5: found 3 fields, expected 5 as in the first line");
  CHECK(TasksMistake("p,-1,1,0,0\n").find("t.csv:2:3: found \"-1\"") == 0);
  CHECK(TasksMistake("p,1,1,2,500\n") ==
        "t.csv:2:9: found gpu_milli 500 of 2 devices, expected 1000, or 1 to 999 of one device");
  CHECK(TasksMistake("p,1,1,1,0\n").find("t.csv:2:9") == 0);
  CHECK(TasksMistake("p,1,99999999999999999999,0,0\n").find("t.csv:2:5") == 0);
  CHECK(TasksMistake("") == "t.csv: found no task, expected some");
  std::string many = "sn,cpu_milli,memory_mib,gpu,model\n";
  for (int i = 0; i < 65; ++i) many += "a,1,1,1,M" + std::to_string(i) + "\n";
  CHECK(NodesMistake(many) == "n.csv:66:9: found one more model, M64, expected at most 64");
}

Setup Small(double inflate) {
  Setup setup;
  setup.nodes = *ReadNodes(kNodes, "n.csv");
  setup.tasks = *ReadTasks(kTasks, "t.csv", setup.nodes);
  setup.inflate = inflate;
  return setup;
}

TEST_CASE("work is added or taken away until the load is reached", "[openb]") {
  const auto demanded = [](const std::vector<Demand>& arrivals) {
    int64_t sum = 0;
    for (const Demand& demand : arrivals) sum += demand.device_amount();
    return sum;
  };
  const Setup more = Small(1.3);
  const auto arrivals = OrderArrivals(more, 42);
  // Of 10 devices; the draw that ended it wanted at most one device, the last one up to two.
  CHECK(demanded(arrivals) > 12'000);
  CHECK(demanded(arrivals) <= 14'000);
  CHECK(OrderArrivals(more, 42) == arrivals);
  CHECK(OrderArrivals(more, 43) != arrivals);
  CHECK(demanded(OrderArrivals(Small(0.2), 42)) <= 2000);
}

TEST_CASE("a run counts what is allocated and dropped", "[openb]") {
  const Setup setup = Small(1.3);
  for (const std::string_view name : kPlacerNames) {
    PlacerOptions options;
    options.mix = MixOf(setup.tasks);
    const auto first = MakePlacer(name, options);
    const auto second = MakePlacer(name, options);
    REQUIRE(first.ok());
    REQUIRE(second.ok());
    const auto run = Simulate(setup, 42, first->get());
    const auto again = Simulate(setup, 42, second->get());
    REQUIRE(run.ok());
    REQUIRE(again.ok());
    CHECK(run->allocated == again->allocated);
    CHECK(run->dropped_shapes == again->dropped_shapes);
    CHECK(run->allocated.back() > 50);
    CHECK(run->allocated.back() <= 100);
    CHECK(run->dropped > 0);
    uint64_t dropped = 0;
    for (const uint64_t count : run->dropped_shapes) dropped += count;
    CHECK(dropped == run->dropped);
    CHECK(run->arrived == OrderArrivals(setup, 42).size());
  }
}

// Chooses the first node whether it fits or not.
class Careless final : public Placer {
  std::optional<Placement> Choose(const Cluster&, const Demand& demand) override {
    return Placement{0, static_cast<uint16_t>(demand.whole_devices > 0 ? 1 : 0), -1};
  }
};

TEST_CASE("tasks are moved to make room, as many as are allowed", "[openb]") {
  // Two nodes with a device each: shares of half a device are spread over both, and a whole one
  // fits when one of them is moved.
  Setup setup;
  setup.inflate = 10;
  const auto nodes =
      ReadNodes("sn,cpu_milli,memory_mib,gpu,model\na,9000,9000,1,M\nb,9000,9000,1,M\n", "n.csv");
  REQUIRE(nodes.ok());
  setup.nodes = *nodes;
  const auto tasks = ReadTasks(
      "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n"
      "p0,1,1,1,400\np1,1,1,1,400\np2,1,1,1,1000\n",
      "t.csv", *nodes);
  REQUIRE(tasks.ok());
  setup.tasks = *tasks;
  uint64_t moved = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    setup.migrations = 0;
    const auto none = MakePlacer("spread");
    REQUIRE(none.ok());
    const auto without = Simulate(setup, seed, none->get());
    REQUIRE(without.ok());
    CHECK(without->migrated == 0);
    setup.migrations = 500;
    const auto some = MakePlacer("spread");
    REQUIRE(some.ok());
    const auto with = Simulate(setup, seed, some->get());
    REQUIRE(with.ok());
    CHECK(with->migrated * 1000 <= 500 * with->arrived);
    CHECK(with->allocated.back() >= without->allocated.back());
    moved += with->migrated;
  }
  CHECK(moved > 0);
}

TEST_CASE("a placer that chooses what is taken is a mistake", "[openb]") {
  Careless careless;
  CHECK(Simulate(Small(1.3), 42, &careless).status().code() == StatusCode::kInternal);
}

}  // namespace
}  // namespace trackbed::openb
