#include "trackbed/resources/node_writer.hpp"

#include <absl/strings/str_cat.h>

#include "pipeline/yaml_lines.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

void WriteBytes(YamlLines* yaml, std::string_view key, Quantity bytes) {
  yaml->Raw(key, bytes.ToBytesString());
}

void WriteText(YamlLines* yaml, std::string_view key, const std::string& text) {
  if (!text.empty()) yaml->Text(key, text);
}

void WriteDevice(YamlLines* yaml, const NodeDevice& device) {
  yaml->OpenItem();
  yaml->Text("id", device.id);
  yaml->Text("slot", device.slot);
  WriteText(yaml, "model", device.model);
  yaml->Raw("capacity", FormatSlotAmount(device.slot, device.capacity));
  if (device.memory_bytes > 0) {
    const StatusOr<Quantity> memory = Quantity::FromUnits(device.memory_bytes);
    if (memory.ok()) WriteBytes(yaml, "memory", *memory);
  }
  if (device.numa_node != kUnknownNumaNode) {
    yaml->Raw("numa_node", std::to_string(device.numa_node));
  }
  if (!device.healthy) yaml->Raw("healthy", "false");
  WriteText(yaml, "mig_model", device.mig_model);
  WriteText(yaml, "part_of", device.part_of);
  yaml->CloseItem();
}

// Into the map that is open.
void WriteFields(const NodeDescription& node, YamlLines* lines) {
  YamlLines& yaml = *lines;
  yaml.Text("name", node.name);
  yaml.Text("architecture", node.architecture);
  if (!node.labels.empty()) {
    yaml.OpenMap("labels");
    for (const auto& [name, value] : node.labels) yaml.Text(name, value);
    yaml.CloseMap();
  }
  if (node.location != NodeLocation()) {
    yaml.OpenMap("location");
    WriteText(lines, "zone", node.location.zone);
    WriteText(lines, "rack", node.location.rack);
    if (!node.location.switches.empty()) {
      yaml.OpenList("switches");
      for (const std::string& name : node.location.switches) yaml.TextItem(name);
      yaml.CloseList();
    }
    yaml.CloseMap();
  }
  yaml.Raw("cpu", node.cpu.ToString());
  WriteBytes(lines, "mem", node.mem);
  if (!node.numa.empty()) {
    yaml.OpenList("numa");
    for (const NumaNode& numa : node.numa) {
      yaml.OpenItem();
      yaml.Raw("id", std::to_string(numa.id));
      yaml.Raw("cpu", numa.cpu.ToString());
      WriteBytes(lines, "mem", numa.mem);
      yaml.CloseItem();
    }
    yaml.CloseList();
  }
  if (!node.devices.empty()) {
    yaml.OpenList("devices");
    for (const NodeDevice& device : node.devices) WriteDevice(lines, device);
    yaml.CloseList();
  }
  if (!node.links.empty()) {
    yaml.OpenList("links");
    for (const NodeLink& link : node.links) {
      yaml.OpenItem();
      yaml.OpenList("between");
      yaml.TextItem(link.device);
      yaml.TextItem(link.peer);
      yaml.CloseList();
      yaml.Raw("level", ToString(link.level));
      if (link.lanes > 0) yaml.Raw("lanes", std::to_string(link.lanes));
      yaml.CloseItem();
    }
    yaml.CloseList();
  }
  if (node.idle_watts > 0 || node.peak_watts > 0) {
    yaml.OpenMap("power");
    yaml.Raw("idle_watts", std::to_string(node.idle_watts));
    yaml.Raw("peak_watts", std::to_string(node.peak_watts));
    yaml.CloseMap();
  }
  if (node.price_per_hour > Quantity()) yaml.Raw("price_per_hour", node.price_per_hour.ToString());
  WriteText(lines, "endpoint", node.endpoint);
  WriteText(lines, "certificates", node.certificates);
}

}  // namespace

std::string WriteNode(const NodeDescription& node) {
  YamlLines yaml;
  WriteFields(node, &yaml);
  return yaml.text();
}

std::string WriteNodes(std::span<const NodeDescription> nodes) {
  if (nodes.size() == 1) return WriteNode(nodes.front());
  YamlLines yaml;
  for (const NodeDescription& node : nodes) {
    yaml.OpenItem();
    WriteFields(node, &yaml);
    yaml.CloseItem();
  }
  return yaml.text();
}

}  // namespace trackbed
