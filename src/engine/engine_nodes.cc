#include "engine/engine_nodes.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "trackbed/engine/workspace.hpp"
#include "trackbed/resources/node_reader.hpp"

namespace trackbed {

StatusOr<std::unique_ptr<EngineNodes>> EngineNodes::Create(
    std::vector<NodeDescription> nodes, Naming naming, const Tenancy& tenancy,
    const GroupPolicy& policy, Order* order, std::function<bool(const ReadyTask&)> wanted,
    NodeChoice choice) {
  TRACKBED_ASSIGN_OR_RETURN(
      std::unique_ptr<NodeQueue> queue,
      NodeQueue::Create(nodes, tenancy, policy, order, std::move(wanted), std::move(choice)));
  return std::unique_ptr<EngineNodes>(new EngineNodes(std::move(nodes), naming, std::move(queue)));
}

EngineNodes::EngineNodes(std::vector<NodeDescription> nodes, Naming naming,
                         std::unique_ptr<NodeQueue> queue)
    : descriptions_(std::move(nodes)),
      naming_(descriptions_.size() > 1 ? Naming::always : naming),
      queue_(std::move(queue)) {
  for (const NodeDescription& node : descriptions_) devices_.emplace_back(node);
}

NodeIndex EngineNodes::Find(std::string_view name) const {
  // Where events name no nodes there is only one, and it may be called otherwise than it was.
  if (naming_ == Naming::where_needed || name.empty()) return 0;
  for (NodeIndex node = 0; node < descriptions_.size(); ++node) {
    if (descriptions_[node].name == name) return node;
  }
  return NodeQueue::kNoNode;
}

std::vector<AssignedDevice> EngineNodes::Devices(NodeIndex node,
                                                 std::span<const AllocationPart> parts) const {
  if (node == NodeQueue::kNoNode) return {};
  return devices_[node].Assign(parts);
}

void EngineNodes::Assign(const HeldMembers& members, AttemptSpec* spec,
                         AttemptIntended* intended) const {
  const HeldMember& main = members.front();
  spec->node = descriptions_[main.node].name;
  spec->devices = Devices(main.node, main.allocation.parts);
  spec->offered_slots = devices_[main.node].slots();
  if (members.size() == 1) {
    intended->slots = RecordOf(main.allocation.parts);
    if (naming_ == Naming::always) intended->node = spec->node;
    return;
  }
  for (size_t rank = 0; rank < members.size(); ++rank) {
    const HeldMember& member = members[rank];
    const std::string& node = descriptions_[member.node].name;
    spec->gang.push_back({GangHost(rank), node, Devices(member.node, member.allocation.parts)});
    intended->gang.push_back({node, RecordOf(member.allocation.parts)});
  }
}

void EngineNodes::SetDrained(std::set<std::string> names) {
  drained_ = std::move(names);
  for (NodeIndex node = 0; node < descriptions_.size(); ++node) OpenOrClose(node);
}

StatusOr<StoredNodes> ReadStoredNodes(Store& store,
                                      const std::function<bool(const NodeDescription&)>& takes) {
  StoredNodes stored;
  if (!takes) return stored;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<NodeRecord> records, store.ListNodes());
  for (const NodeRecord& record : records) {
    ParsedNode parsed = ReadNode(record.description, record.name, TextFormat::yaml);
    if (!parsed.node) {
      return DataLoss(absl::StrCat("node \"", record.name, "\" of the store cannot be read: ",
                                   parsed.diagnostics.ToString()));
    }
    if (!takes(*parsed.node)) continue;
    if (record.drained) stored.drained.insert(record.name);
    stored.nodes.push_back(*std::move(parsed.node));
  }
  return stored;
}

std::vector<std::string> EngineNodes::NoteSilent(const std::vector<std::string>& names, Time now,
                                                 Duration lease) {
  if (names.empty() && silent_.empty()) return {};
  std::map<std::string, Time> silent;
  for (const std::string& name : names) {
    const auto before = silent_.find(name);
    silent[name] = before == silent_.end() ? now : before->second;
  }
  silent_ = std::move(silent);
  for (NodeIndex node = 0; node < descriptions_.size(); ++node) OpenOrClose(node);
  std::vector<std::string> lost;
  for (const auto& [name, since] : silent_) {
    if (now - since >= lease) lost.push_back(name);
  }
  return lost;
}

void EngineNodes::OpenOrClose(NodeIndex node) {
  const std::string& name = descriptions_[node].name;
  const bool open = !silent_.contains(name) && !drained_.contains(name);
  if (queue_->is_open(node) != open) queue_->SetOpen(node, open);
}

AttemptUnknown EngineNodes::UnknownOf(const AttemptIntended* intended) const {
  AttemptUnknown unknown;
  for (const auto& [name, since] : silent_) {
    if (!RunsOn(intended, {name})) continue;
    unknown.since = unknown.nodes.empty() ? since : std::min(unknown.since, since);
    unknown.nodes.push_back(name);
  }
  return unknown;
}

bool EngineNodes::RunsOn(const AttemptIntended* intended,
                         const std::vector<std::string>& names) const {
  const auto is_named = [&](const std::string& node) {
    const std::string& name = node.empty() ? descriptions_.front().name : node;
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (intended == nullptr) return is_named("");
  if (intended->gang.empty()) return is_named(intended->node);
  return std::any_of(intended->gang.begin(), intended->gang.end(),
                     [&](const IntendedMember& member) { return is_named(member.node); });
}

uint32_t EngineNodes::Occupy(NodeQueue::Line line, const AttemptIntended* intended, Time started,
                             Time now, HeldMembers* given, bool stoppable) {
  static const AttemptIntended nothing_known;
  if (intended == nullptr) intended = &nothing_known;
  std::vector<NodeQueue::FoundMember> members;
  for (const IntendedMember& member : intended->gang) {
    members.push_back({Find(member.node), PartsOf(member.slots)});
  }
  if (members.empty()) members.push_back({Find(intended->node), PartsOf(intended->slots)});
  return queue_->Occupy(line, members, started, now, given, stoppable);
}

void EngineNodes::Restore(const AttemptIntended* intended, AttemptSpec* spec) const {
  NodeIndex node = 0;
  if (intended != nullptr && intended->gang.empty()) {
    node = Find(intended->node);
    spec->devices = Devices(node, PartsOf(intended->slots));
    spec->node = intended->node;
  } else if (intended != nullptr) {
    for (size_t rank = 0; rank < intended->gang.size(); ++rank) {
      const IntendedMember& member = intended->gang[rank];
      spec->gang.push_back(
          {GangHost(rank), member.node, Devices(Find(member.node), PartsOf(member.slots))});
    }
    node = Find(intended->gang.front().node);
    spec->devices = spec->gang.front().devices;
    spec->node = spec->gang.front().node;
  }
  if (node == NodeQueue::kNoNode) return;
  if (spec->node.empty()) spec->node = descriptions_[node].name;
  spec->offered_slots = devices_[node].slots();
}

}  // namespace trackbed
