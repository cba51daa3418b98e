// Descriptions of machines, right and wrong.
#include "trackbed/resources/node_reader.hpp"

#include "support/catch.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed {
namespace {

constexpr const char* kNode = R"(name: gpu-01
architecture: aarch64
labels: {pool: training}
location: {zone: a, rack: r12, switches: [leaf-3, spine-1]}
numa:
  - {id: 0, cpu: 32, mem: 256g}
  - {id: 1, cpu: 31.5, mem: 128g}
devices:
  - {id: gpu0, slot: cuda.shares, model: H100, memory: 80g, numa_node: 0, mig_model: H100-80GB}
  - {id: gpu1, slot: cuda.device, capacity: 1, numa_node: 1, healthy: false, part_of: GPU-1}
links:
  - {between: [gpu0, gpu1], level: nvlink, lanes: 18}
power: {idle_watts: 400, peak_watts: 2800}
price_per_hour: 12.50
)";

std::string Errors(const std::string& text, TextFormat format = TextFormat::yaml) {
  const ParsedNode parsed = ReadNode(text, "n", format);
  CHECK(parsed.node.has_value() == !parsed.diagnostics.has_errors());
  const std::string errors = parsed.diagnostics.ToString();
  return errors.empty() ? "" : errors + "\n";
}

TEST_CASE("A description of a node is read as a whole") {
  const ParsedNode parsed = ReadNode(kNode, "n.yaml", TextFormat::yaml);
  CHECK(parsed.diagnostics.ToString().empty());
  REQUIRE(parsed.node.has_value());
  const NodeDescription& node = *parsed.node;
  CHECK(node.name == "gpu-01");
  CHECK(node.architecture == "aarch64");
  CHECK(node.labels.at("pool") == "training");
  CHECK(node.location == NodeLocation{"a", "r12", {"leaf-3", "spine-1"}});
  CHECK(node.cpu.thousandths() == 63'500);
  CHECK(node.mem.units() == int64_t{384} << 30);
  REQUIRE(node.devices.size() == 2);
  CHECK(node.devices[0].capacity.units() == 1);
  CHECK(node.devices[0].memory_bytes == int64_t{80} << 30);
  CHECK(node.devices[0].mig_model == "H100-80GB");
  CHECK(node.devices[0].healthy);
  CHECK_FALSE(node.devices[1].healthy);
  CHECK(node.devices[1].part_of == "GPU-1");
  REQUIRE(node.links.size() == 1);
  CHECK(node.links[0] == NodeLink{"gpu0", "gpu1", LinkLevel::nvlink, 18});
  CHECK(node.idle_watts == 400);
  CHECK(node.peak_watts == 2800);
  CHECK(node.price_per_hour.thousandths() == 12'500);
  CHECK(ValidateNode(node).ok());
}

TEST_CASE("What is written of a node is read back the same") {
  NodeDescription node = *ReadNode(kNode, "n.yaml", TextFormat::yaml).node;
  node.labels["note"] = "two: lines\nand \"quotes\"";
  const std::string text = WriteNode(node);
  const ParsedNode again = ReadNode(text, "again", TextFormat::yaml);
  CHECK(again.diagnostics.ToString().empty());
  REQUIRE(again.node.has_value());
  CHECK(*again.node == node);
  CHECK(WriteNode(*again.node) == text);
}

TEST_CASE("A node is read from JSON as well") {
  const ParsedNode parsed =
      ReadNode(R"({"name": "n", "cpu": 2, "mem": "4g"})", "n.json", TextFormat::json);
  REQUIRE(parsed.node.has_value());
  CHECK(parsed.node->cpu.units() == 2);
}

TEST_CASE("Every mistake is reported in one go, where it stands") {
  CHECK(Errors(R"(name: n
cpu: -1
gpus: 3
device: []
devices:
  - {id: a, slot: cuda.share}
  - {id: a, slot: cuda.device, capacity: 0.5}
  - {id: b, slot: cuda.mem}
  - {slot: cpu, memory: lots, sloth: 1}
links:
  - {between: [a, bb], level: fast}
  - {between: [a]}
price_per_hour: -1
)") == R"(n:2:6: cpu: found "-1", expected an amount that is not negative
n:3:1: gpus: unknown field "gpus"; a node has name, architecture, labels, location, cpu, mem, numa, devices, links, power, price_per_hour, endpoint and certificates
n:4:1: device: unknown field "device"; did you mean "devices"?
n:6:19: devices[0].slot: unknown slot "cuda.share"; did you mean "cuda.shares"?
n:7:10: devices[1].id: duplicate device "a"
n:7:42: devices[1].capacity: found "0.5", expected a whole number of devices
n:8:5: devices[2].capacity: "capacity" is missing
n:9:5: devices[3].id: "id" is missing
n:9:12: devices[3].slot: found "cpu", expected a slot of devices
n:9:25: devices[3].memory: found "lots", expected an amount of bytes such as 16g, 512MiB or 1000
n:9:31: devices[3].sloth: unknown field "sloth"; did you mean "slot"?
n:11:15: links[0].between[1]: unknown device "bb"
)" + std::string("n:11:31: links[0].level: found \"fast\", expected one of system, numa_node, "
                 "host_bridge, multiple_switches, single_switch, same_board, nvlink\n"
                 "n:12:5: links[1].level: \"level\" is missing\n"
                 "n:12:15: links[1].between: found a list, expected a list of two devices\n"
                 "n:13:17: price_per_hour: found -1, expected a price such as 2.5 that is not "
                 "negative\n"));
}

TEST_CASE("Parts of a node have to fit together") {
  CHECK(
      Errors("name: n\ncpu: 3\nnuma:\n- {id: 0, cpu: 1, mem: 1g}\n- {id: 0, cpu: 1, mem: 1g}\n") ==
      "n:2:6: cpu: found 3, expected 2, what the NUMA nodes have together\n"
      "n:5:8: numa[1].id: duplicate NUMA node 0\n");
  CHECK(Errors("name: n\nnuma: [{id: 0, cpu: 1}]\n") == "n:2:8: numa[0]: \"mem\" is missing\n");
  CHECK(
      Errors("name: n\npower: {idle_watts: 3, peak_watts: 2}\n") ==
      "n:2:8: power: found 3 W idle and 2 W at most, expected at least 0 and no less than idle\n");
  CHECK(Errors("name: n\narchitecture: vax\n") ==
        "n:2:15: architecture: found \"vax\", expected x86_64 or aarch64\n");
  CHECK(Errors("name: n\nnuma: [{id: 0, cpu: 1, mem: 1g}]\n"
               "devices: [{id: a, slot: tpu.device, numa_node: 1}]\n") ==
        "n:3:48: devices[0].numa_node: found 1, expected the id of a NUMA node, or -1 for "
        "unknown\n");
  CHECK(Errors("name: n\ndevices: [{id: a, slot: tpu.device}, {id: b, slot: tpu.device}]\n"
               "links: [{between: [a, b], level: system}, {between: [b, a], level: system},\n"
               " {between: [a, a], level: system}]\n") ==
        "n:3:53: links[1].between: duplicate link of \"b\" and \"a\"\n"
        "n:4:12: links[2].between: \"a\" cannot be linked to itself\n");
  CHECK(Errors("cpu: 1\n") == "n:1:1: name: \"name\" is missing\n");
  CHECK(Errors("- 1\n") == "n:1:1: found a list, expected a map\n");
}

TEST_CASE("A node built in code is checked by the same rules") {
  NodeDescription node;
  node.devices.push_back({});
  node.devices[0].id = "a";
  node.devices[0].slot = "cuda.device";
  CHECK(Message(ValidateNode(node)) == "devices[0].capacity: found 0, expected more than nothing");
  node.devices[0].capacity = Quantity::FromThousandths(1000);
  CHECK(ValidateNode(node).ok());
  node.mem = Quantity::FromThousandths(-1000);
  CHECK(Message(ValidateNode(node)) == "mem: found -1, expected an amount that is not negative");
}

}  // namespace
}  // namespace trackbed
