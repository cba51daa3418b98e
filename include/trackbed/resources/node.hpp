// What a machine is: its processors and memory, its accelerators and how they are connected.
// Plain values, no behaviour; read from a file by node_reader.hpp or found by device_probe.hpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/quantity.hpp"

namespace trackbed {

// A part of the machine whose processors and memory are near each other.
struct NumaNode {
  int id = 0;
  Quantity cpu;
  Quantity mem;  // bytes
  friend bool operator==(const NumaNode&, const NumaNode&) = default;
};

inline constexpr int kUnknownNumaNode = -1;

// One thing that tasks are given a part of: a GPU, or one MIG instance of it.
struct NodeDevice {
  std::string id;     // unique in the node: "gpu0", a UUID
  std::string slot;   // the slot it hands out: "cuda.device", "cuda.device:1g.5gb-mig"
  std::string model;  // "NVIDIA H100 80GB HBM3"
  Quantity capacity;  // of its slot
  int64_t memory_bytes = 0;
  int numa_node = kUnknownNumaNode;
  bool healthy = true;    // false: nothing new is given of it
  std::string mig_model;  // its table of MIG profiles (mig.hpp); "" when it cannot be partitioned
  // The card that it is a part or a view of; "" when it is one itself. Devices of one card whose
  // slots exclude each other (cuda.device, cuda.shares, MIG) are never handed out together.
  std::string part_of;
  friend bool operator==(const NodeDevice&, const NodeDevice&) = default;
};

// How two devices reach each other, the worst first. The middle ones are NVML's levels of the
// common ancestor on the PCI bus.
enum class LinkLevel : uint8_t {
  system,             // across the connection between processors
  numa_node,          // across the host bridges of one NUMA node
  host_bridge,        // one host bridge
  multiple_switches,  // several PCIe switches
  single_switch,      // one PCIe switch
  same_board,         // two devices on one board
  nvlink,
};

// "system", "numa_node", …, "nvlink".
std::string_view ToString(LinkLevel level);

// Works in both directions. Devices without one are at `numa_node` when they share a known NUMA
// node, else at `system`.
struct NodeLink {
  std::string device;
  std::string peer;
  LinkLevel level = LinkLevel::system;
  int lanes = 0;  // NVLinks between the two
  friend bool operator==(const NodeLink&, const NodeLink&) = default;
};

struct NodeLocation {
  std::string zone;
  std::string rack;
  std::vector<std::string> switches;  // from the one nearest to the node outwards
  friend bool operator==(const NodeLocation&, const NodeLocation&) = default;
};

struct NodeDescription {
  std::string name;
  std::string architecture = "x86_64";  // or "aarch64"
  std::map<std::string, std::string> labels;
  NodeLocation location;
  Quantity cpu;  // the sum of `numa` when there is one
  Quantity mem;  // bytes; likewise
  std::vector<NumaNode> numa;
  std::vector<NodeDevice> devices;
  std::vector<NodeLink> links;
  int64_t idle_watts = 0;
  int64_t peak_watts = 0;
  Quantity price_per_hour;  // in the operator's currency
  // Of its container engine: "unix:///PATH", "tcp://HOST:PORT", "https://HOST:PORT"; empty: it has
  // none of its own. `certificates` is the folder of those for TLS (ca.pem, cert.pem, key.pem).
  std::string endpoint;
  std::string certificates;
  friend bool operator==(const NodeDescription&, const NodeDescription&) = default;
};

}  // namespace trackbed
