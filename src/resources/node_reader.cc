// From a document to a NodeDescription: its fields, then how they fit together, each mistake placed
// where it stands in the document.
#include "trackbed/resources/node_reader.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>
#include <set>

#include "pipeline/document.hpp"
#include "pipeline/findings.hpp"
#include "pipeline/schema_reader.hpp"
#include "resources/link_level.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1000;
// The allocator keeps sets of NUMA nodes in a word of 64 bits.
constexpr int64_t kMaxNumaNode = 63;
constexpr int64_t kMaxLanes = 99;
constexpr Quantity kOne = Quantity::FromThousandths(1000);

// What is read of a node, and where the elements of its lists stand: beside the lists.
struct NodeDraft {
  NodeDescription node;
  std::vector<const DocumentNode*> numa;
  std::vector<const DocumentNode*> devices;
  std::vector<const DocumentNode*> links;
  bool has_cpu = false;
  bool has_mem = false;
};

struct DeviceDraft {
  NodeDevice device;
  const DocumentNode* capacity = nullptr;
};

struct LinkDraft {
  NodeLink link;
  bool has_ends = false;
  bool has_level = false;
};

// The rules that hold for a node however it was made. `Report` takes the part of the node that a
// mistake is in (its list and place there), the path below it, and what is wrong.
enum class Part : uint8_t { node, numa, devices, links };

template <typename Report>
class NodeCheck {
 public:
  NodeCheck(const NodeDescription& node, Report report) : node_(node), report_(report) {}

  void Run() {
    if (node_.architecture != "x86_64" && node_.architecture != "aarch64") {
      report_(Part::node, 0, "architecture",
              FoundExpected(node_.architecture, "x86_64 or aarch64"));
    }
    NotNegative(Part::node, 0, "cpu", "cpu", node_.cpu);
    NotNegative(Part::node, 0, "mem", "mem", node_.mem);
    CheckNuma();
    for (size_t i = 0; i < node_.devices.size(); ++i) CheckDevice(i);
    for (size_t i = 0; i < node_.links.size(); ++i) CheckLink(i);
    CheckEndpoint();
    if (node_.price_per_hour < Quantity()) {
      report_(Part::node, 0, "price_per_hour",
              FoundExpected(node_.price_per_hour.ToString(), "a price that is not negative"));
    }
    if (node_.idle_watts < 0 || node_.peak_watts < node_.idle_watts) {
      report_(Part::node, 0, "power",
              absl::StrCat("found ", node_.idle_watts, " W idle and ", node_.peak_watts,
                           " W at most, expected at least 0 and no less than idle"));
    }
  }

 private:
  void NotNegative(Part part, size_t index, std::string_view path, std::string_view slot,
                   Quantity amount) {
    if (amount >= Quantity()) return;
    report_(part, index, path,
            FoundExpected(FormatSlotAmount(slot, amount), "an amount that is not negative"));
  }

  void CheckEndpoint() {
    const std::string& endpoint = node_.endpoint;
    if (!endpoint.empty() && !endpoint.starts_with("unix:///") && !endpoint.starts_with("tcp://") &&
        !endpoint.starts_with("https://")) {
      report_(Part::node, 0, "endpoint",
              FoundExpected(endpoint, "unix:///PATH, tcp://HOST:PORT or https://HOST:PORT"));
    }
    if (!node_.certificates.empty() && !node_.certificates.starts_with('/')) {
      report_(Part::node, 0, "certificates", FoundExpected(node_.certificates, "an absolute path"));
    }
  }

  void CheckNuma() {
    Quantity cpu;
    Quantity mem;
    bool counted = true;
    for (size_t i = 0; i < node_.numa.size(); ++i) {
      const NumaNode& part = node_.numa[i];
      if (part.id < 0 || part.id > kMaxNumaNode) {
        report_(Part::numa, i, "id",
                FoundExpected(absl::StrCat(part.id),
                              absl::StrCat("a number from 0 to ", kMaxNumaNode)));
      } else if (!numa_ids_.insert(part.id).second) {
        report_(Part::numa, i, "id", absl::StrCat("duplicate NUMA node ", part.id));
      }
      NotNegative(Part::numa, i, "cpu", "cpu", part.cpu);
      NotNegative(Part::numa, i, "mem", "mem", part.mem);
      counted = Quantity::Add(cpu, part.cpu, &cpu) && Quantity::Add(mem, part.mem, &mem) && counted;
    }
    if (node_.numa.empty()) return;
    if (!counted) {
      report_(Part::node, 0, "numa", "the amounts together are out of range");
      return;
    }
    Agree("cpu", node_.cpu, cpu);
    Agree("mem", node_.mem, mem);
  }

  void Agree(std::string_view slot, Quantity whole, Quantity sum) {
    if (whole == sum) return;
    report_(Part::node, 0, slot,
            FoundExpected(
                FormatSlotAmount(slot, whole),
                absl::StrCat(FormatSlotAmount(slot, sum), ", what the NUMA nodes have together")));
  }

  void CheckDevice(size_t i) {
    const NodeDevice& device = node_.devices[i];
    if (device.id.empty()) {
      report_(Part::devices, i, "id", "\"id\" is missing");
    } else if (!device_ids_.insert(device.id).second) {
      report_(Part::devices, i, "id", absl::StrCat("duplicate device \"", device.id, "\""));
    }
    const SlotType* type = FindSlotType(device.slot);
    if (device.slot.empty()) {
      report_(Part::devices, i, "slot", "\"slot\" is missing");
    } else if (type == nullptr) {
      report_(Part::devices, i, "slot", std::string(Message(UnknownSlot(device.slot))));
    } else if (device.slot == "cpu" || device.slot == "mem" ||
               device.slot.find('*') != std::string::npos) {
      report_(Part::devices, i, "slot", FoundExpected(device.slot, "a slot of devices"));
    } else if (const Status status =
                   ParseSlotAmount(device.slot, device.capacity.ToString()).status();
               !status.ok()) {
      report_(Part::devices, i, "capacity", std::string(Message(status)));
    } else if (device.capacity == Quantity()) {
      report_(Part::devices, i, "capacity", FoundExpected("0", "more than nothing"));
    }
    if (device.memory_bytes < 0) {
      report_(Part::devices, i, "memory",
              FoundExpected(absl::StrCat(device.memory_bytes), "an amount that is not negative"));
    }
    const bool known =
        device.numa_node == kUnknownNumaNode ||
        (node_.numa.empty() && device.numa_node >= 0 && device.numa_node <= kMaxNumaNode) ||
        numa_ids_.contains(device.numa_node);
    if (!known) {
      report_(Part::devices, i, "numa_node",
              FoundExpected(absl::StrCat(device.numa_node),
                            "the id of a NUMA node, or -1 for unknown"));
    }
  }

  void CheckLink(size_t i) {
    const NodeLink& link = node_.links[i];
    bool known = true;
    for (size_t end = 0; end < 2; ++end) {
      const std::string& id = end == 0 ? link.device : link.peer;
      if (device_ids_.contains(id)) continue;
      known = false;
      std::vector<std::string_view> names;
      for (const NodeDevice& device : node_.devices) names.push_back(device.id);
      report_(Part::links, i, absl::StrCat("between[", end, "]"),
              absl::StrCat("unknown device \"", id, "\"", DidYouMean(id, names)));
    }
    if (link.lanes < 0 || link.lanes > kMaxLanes) {
      report_(Part::links, i, "lanes",
              FoundExpected(absl::StrCat(link.lanes), absl::StrCat("0 to ", kMaxLanes)));
    }
    if (!known) return;
    if (link.device == link.peer) {
      report_(Part::links, i, "between",
              absl::StrCat("\"", link.device, "\" cannot be linked to itself"));
    } else if (!pairs_.insert(std::minmax(link.device, link.peer)).second) {
      report_(Part::links, i, "between",
              absl::StrCat("duplicate link of \"", link.device, "\" and \"", link.peer, "\""));
    }
  }

  const NodeDescription& node_;
  Report report_;
  std::set<int> numa_ids_;
  std::set<std::string_view> device_ids_;
  std::set<std::pair<std::string_view, std::string_view>> pairs_;
};

// ---- Reading ---------------------------------------------------------------------------------

bool ReadAmount(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                std::string_view slot, Quantity* amount) {
  if (node.kind != DocumentNode::Kind::scalar) {
    reader.Expected(node, path, "an amount such as 2, 1.5 or 16g");
    return false;
  }
  const StatusOr<Quantity> parsed = ParseSlotAmount(slot, node.scalar);
  if (!parsed.ok()) {
    reader.Error(node, path, std::string(Message(parsed.status())));
    return false;
  }
  *amount = *parsed;
  return true;
}

template <Quantity NumaNode::* Member>
void ReadNumaAmount(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                    NumaNode* numa) {
  const bool bytes = Member == &NumaNode::mem;
  ReadAmount(reader, node, path, bytes ? "mem" : "cpu", &(numa->*Member));
}

void ReadSmall(SchemaReader& reader, const DocumentNode& node, const NodePath& path, int64_t least,
               int64_t most, int* value) {
  int64_t number = 0;
  if (reader.Integer(node, path, least, most, &number)) *value = static_cast<int>(number);
}

void ReadNuma(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
              NodeDraft* draft) {
  static constexpr SchemaField<NumaNode> kFields[] = {
      {"id", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                NumaNode* d) { ReadSmall(r, n, p, 0, kMaxNumaNode, &d->id); }},
      {"cpu", ReadNumaAmount<&NumaNode::cpu>},
      {"mem", ReadNumaAmount<&NumaNode::mem>},
  };
  if (!reader.List(node, path)) return;
  for (size_t i = 0; i < node.items.size(); ++i) {
    NumaNode numa;
    const NodePath place(path, i);
    if (!reader.Fields<NumaNode>(node.items[i], place, "NUMA node", kFields, &numa)) continue;
    for (const char* field : {"id", "cpu", "mem"}) {
      if (node.items[i].Find(field) == nullptr &&
          !reader.IsReported(NodePath(place, field).ToString())) {
        reader.Error(node.items[i], place, absl::StrCat("\"", field, "\" is missing"));
      }
    }
    draft->node.numa.push_back(numa);
    draft->numa.push_back(&node.items[i]);
  }
}

constexpr SchemaField<DeviceDraft> kDeviceFields[] = {
    {"id", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
              DeviceDraft* d) { r.Text(n, p, &d->device.id); }},
    {"slot", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                DeviceDraft* d) { r.Text(n, p, &d->device.slot); }},
    {"model", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                 DeviceDraft* d) { r.Text(n, p, &d->device.model); }},
    {"capacity", [](SchemaReader&, const DocumentNode& n, const NodePath&,
                    DeviceDraft* d) { d->capacity = &n; }},
    {"memory",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, DeviceDraft* d) {
       Quantity bytes;
       if (ReadAmount(r, n, p, "mem", &bytes)) d->device.memory_bytes = bytes.units();
     }},
    {"numa_node",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, DeviceDraft* d) {
       ReadSmall(r, n, p, kUnknownNumaNode, kMaxNumaNode, &d->device.numa_node);
     }},
    {"healthy", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                   DeviceDraft* d) { r.Boolean(n, p, &d->device.healthy); }},
    {"mig_model", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                     DeviceDraft* d) { r.Text(n, p, &d->device.mig_model); }},
    {"part_of", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                   DeviceDraft* d) { r.Text(n, p, &d->device.part_of); }},
};

void ReadDevice(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                NodeDraft* draft) {
  DeviceDraft device;
  if (!reader.Fields<DeviceDraft>(node, path, "device", kDeviceFields, &device)) return;
  const SlotType* type = FindSlotType(device.device.slot);
  device.device.capacity = kOne;
  if (device.capacity != nullptr) {
    // Of an unknown slot, which is reported by itself, nothing is known about amounts.
    if (type != nullptr) {
      ReadAmount(reader, *device.capacity, NodePath(path, "capacity"), device.device.slot,
                 &device.device.capacity);
    }
  } else if (type != nullptr && type->kind == SlotKind::bytes) {
    reader.Error(node, NodePath(path, "capacity"), "\"capacity\" is missing");
  }
  draft->node.devices.push_back(std::move(device.device));
  draft->devices.push_back(&node);
}

void ReadEnds(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
              LinkDraft* draft) {
  if (node.kind != DocumentNode::Kind::sequence || node.items.size() != 2) {
    reader.Expected(node, path, "a list of two devices");
    return;
  }
  const bool first = reader.Text(node.items[0], NodePath(path, size_t{0}), &draft->link.device);
  draft->has_ends =
      reader.Text(node.items[1], NodePath(path, size_t{1}), &draft->link.peer) && first;
}

void ReadLevel(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
               LinkDraft* draft) {
  draft->has_level = true;
  for (size_t i = 0; i < kLinkLevelNames.size(); ++i) {
    if (node.kind == DocumentNode::Kind::scalar && node.scalar == kLinkLevelNames[i]) {
      draft->link.level = static_cast<LinkLevel>(i);
      return;
    }
  }
  std::string expected;
  for (const std::string_view name : kLinkLevelNames) {
    absl::StrAppend(&expected, expected.empty() ? "one of " : ", ", AbslView(name));
  }
  reader.Expected(node, path, expected);
}

void ReadLink(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
              NodeDraft* draft) {
  static constexpr SchemaField<LinkDraft> kFields[] = {
      {"between", ReadEnds},
      {"level", ReadLevel},
      {"lanes", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                   LinkDraft* d) { ReadSmall(r, n, p, 0, kMaxLanes, &d->link.lanes); }},
  };
  LinkDraft link;
  if (!reader.Fields<LinkDraft>(node, path, "link", kFields, &link)) return;
  if (node.Find("between") == nullptr) {
    reader.Error(node, NodePath(path, "between"), "\"between\" is missing");
  }
  if (!link.has_level) reader.Error(node, NodePath(path, "level"), "\"level\" is missing");
  if (!link.has_ends) return;
  draft->node.links.push_back(std::move(link.link));
  draft->links.push_back(&node);
}

void ReadLocation(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                  NodeDraft* draft) {
  static constexpr SchemaField<NodeLocation> kFields[] = {
      {"zone", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                  NodeLocation* l) { r.Text(n, p, &l->zone); }},
      {"rack", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                  NodeLocation* l) { r.Text(n, p, &l->rack); }},
      {"switches",
       [](SchemaReader& r, const DocumentNode& n, const NodePath& p, NodeLocation* l) {
         if (!r.List(n, p)) return;
         for (size_t i = 0; i < n.items.size(); ++i) {
           std::string name;
           if (r.Text(n.items[i], NodePath(p, i), &name)) l->switches.push_back(std::move(name));
         }
       }},
  };
  reader.Fields<NodeLocation>(node, path, "location", kFields, &draft->node.location);
}

void ReadPower(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
               NodeDraft* draft) {
  static constexpr SchemaField<NodeDescription> kFields[] = {
      {"idle_watts", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                        NodeDescription* d) { r.Integer(n, p, 0, kMost, &d->idle_watts); }},
      {"peak_watts", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                        NodeDescription* d) { r.Integer(n, p, 0, kMost, &d->peak_watts); }},
  };
  reader.Fields<NodeDescription>(node, path, "power", kFields, &draft->node);
}

void ReadLabels(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                NodeDraft* draft) {
  if (!reader.Map(node, path)) return;
  for (const DocumentNode::Member& member : node.members) {
    reader.Text(member.value, NodePath(path, member.key), &draft->node.labels[member.key]);
  }
}

void ReadPrice(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
               NodeDraft* draft) {
  const StatusOr<Quantity> price = Quantity::ParseCount(node.scalar);
  if (node.kind != DocumentNode::Kind::scalar || !price.ok() || *price < Quantity()) {
    reader.Expected(node, path, "a price such as 2.5 that is not negative");
    return;
  }
  draft->node.price_per_hour = *price;
}

template <void (*Read)(SchemaReader&, const DocumentNode&, const NodePath&, NodeDraft*)>
void ReadEach(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
              NodeDraft* draft) {
  if (!reader.List(node, path)) return;
  for (size_t i = 0; i < node.items.size(); ++i) {
    Read(reader, node.items[i], NodePath(path, i), draft);
  }
}

constexpr SchemaField<NodeDraft> kNodeFields[] = {
    {"name", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                NodeDraft* d) { r.Text(n, p, &d->node.name); }},
    {"architecture", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                        NodeDraft* d) { r.Text(n, p, &d->node.architecture); }},
    {"labels", ReadLabels},
    {"location", ReadLocation},
    {"cpu",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, NodeDraft* d) {
       d->has_cpu = true;
       ReadAmount(r, n, p, "cpu", &d->node.cpu);
     }},
    {"mem",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, NodeDraft* d) {
       d->has_mem = true;
       ReadAmount(r, n, p, "mem", &d->node.mem);
     }},
    {"numa", ReadNuma},
    {"devices", ReadEach<ReadDevice>},
    {"links", ReadEach<ReadLink>},
    {"power", ReadPower},
    {"price_per_hour", ReadPrice},
    {"endpoint", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                    NodeDraft* d) { r.Text(n, p, &d->node.endpoint); }},
    {"certificates", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                        NodeDraft* d) { r.Text(n, p, &d->node.certificates); }},
};

// The sums of the NUMA nodes stand in for a total that is not given.
void FillInTotals(NodeDraft* draft) {
  Quantity cpu;
  Quantity mem;
  for (const NumaNode& numa : draft->node.numa) {
    if (!Quantity::Add(cpu, numa.cpu, &cpu) || !Quantity::Add(mem, numa.mem, &mem)) return;
  }
  if (!draft->has_cpu) draft->node.cpu = cpu;
  if (!draft->has_mem) draft->node.mem = mem;
}

// Whether a mistake at exactly this path is known: what follows from it is not worth telling.
bool IsKnown(const Diagnostics& diagnostics, const std::string& path) {
  return std::any_of(diagnostics.items().begin(), diagnostics.items().end(),
                     [&](const Diagnostic& item) { return item.path == path; });
}

void CheckDraft(SchemaReader& reader, const DocumentNode& root, const NodePath& whole,
                const NodeDraft& draft, const Diagnostics& diagnostics) {
  const auto report = [&](Part part, size_t index, std::string_view below, std::string message) {
    static constexpr std::string_view kLists[] = {"", "numa", "devices", "links"};
    const std::vector<const DocumentNode*>* elements[] = {nullptr, &draft.numa, &draft.devices,
                                                          &draft.links};
    const auto which = static_cast<size_t>(part);
    const NodePath list(whole, kLists[which]);
    const NodePath element(list, index);
    const NodePath path(part == Part::node ? whole : element, below);
    if (IsKnown(diagnostics, path.ToString())) return;
    const DocumentNode* holder = part == Part::node ? &root : (*elements[which])[index];
    const DocumentNode* field = holder->Find(below.substr(0, below.find('[')));
    reader.Error(field != nullptr ? *field : *holder, path, std::move(message));
  };
  NodeCheck(draft.node, report).Run();
}

bool ParseText(std::string_view text, TextFormat format, const ReaderLimits& limits,
               DocumentNode* root, Diagnostics* diagnostics) {
  return format == TextFormat::json ? ParseJsonDocument(text, limits, root, diagnostics)
                                    : ParseYamlDocument(text, limits, root, diagnostics);
}

NodeDescription ReadOne(SchemaReader& reader, const DocumentNode& root, const NodePath& path,
                        const Diagnostics& diagnostics) {
  NodeDraft draft;
  if (!reader.Fields<NodeDraft>(root, path, "node", kNodeFields, &draft)) return {};
  const NodePath name(path, "name");
  if (root.Find("name") == nullptr && !reader.IsReported(name.ToString())) {
    reader.Error(root, name, "\"name\" is missing");
  }
  FillInTotals(&draft);
  CheckDraft(reader, root, path, draft, diagnostics);
  return std::move(draft.node);
}

}  // namespace

ParsedNode ReadNode(std::string_view text, std::string file, TextFormat format,
                    const ReaderLimits& limits) {
  ParsedNode result;
  result.diagnostics = Diagnostics(std::move(file));
  DocumentNode root;
  if (!ParseText(text, format, limits, &root, &result.diagnostics)) return result;
  SchemaReader reader(&result.diagnostics);
  NodeDescription node = ReadOne(reader, root, NodePath(), result.diagnostics);
  result.diagnostics.Sort();
  if (!result.diagnostics.has_errors()) result.node = std::move(node);
  return result;
}

ParsedNodes ReadNodes(std::string_view text, std::string file, TextFormat format,
                      const ReaderLimits& limits) {
  ParsedNodes result;
  result.diagnostics = Diagnostics(std::move(file));
  DocumentNode root;
  if (!ParseText(text, format, limits, &root, &result.diagnostics)) return result;
  SchemaReader reader(&result.diagnostics);
  const NodePath whole;
  std::vector<NodeDescription> nodes;
  if (root.kind != DocumentNode::Kind::sequence) {
    nodes.push_back(ReadOne(reader, root, whole, result.diagnostics));
  }
  if (root.kind == DocumentNode::Kind::sequence && root.items.empty()) {
    reader.Error(root, whole, "found an empty list, expected at least one node");
  }
  for (size_t i = 0; i < root.items.size(); ++i) {
    const DocumentNode& item = root.items[i];
    const NodePath path(whole, i);
    NodeDescription node = ReadOne(reader, item, path, result.diagnostics);
    const bool again = std::any_of(nodes.begin(), nodes.end(), [&](const NodeDescription& other) {
      return !node.name.empty() && other.name == node.name;
    });
    if (again) {
      const DocumentNode* name = item.Find("name");
      reader.Error(*name, NodePath(path, "name"),
                   absl::StrCat("duplicate node \"", node.name, "\""));
    }
    nodes.push_back(std::move(node));
  }
  result.diagnostics.Sort();
  if (!result.diagnostics.has_errors()) result.nodes = std::move(nodes);
  return result;
}

Status ValidateNode(const NodeDescription& node) {
  std::string first;
  const auto report = [&](Part part, size_t index, std::string_view below,
                          const std::string& message) {
    if (!first.empty()) return;
    static constexpr std::string_view kLists[] = {"", "numa[", "devices[", "links["};
    const std::string_view list = kLists[static_cast<size_t>(part)];
    first = list.empty()
                ? absl::StrCat(AbslView(below), ": ", message)
                : absl::StrCat(AbslView(list), index, "].", AbslView(below), ": ", message);
  };
  NodeCheck(node, report).Run();
  return first.empty() ? absl::OkStatus() : InvalidArgument(first);
}

}  // namespace trackbed
