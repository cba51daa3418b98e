#include "engine/engine_nodes.hpp"

#include <utility>

#include "trackbed/engine/workspace.hpp"

namespace trackbed {

StatusOr<std::unique_ptr<EngineNodes>> EngineNodes::Create(
    std::vector<NodeDescription> nodes, const Tenancy& tenancy, const GroupPolicy& policy,
    std::function<bool(const ReadyTask&)> wanted) {
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<NodeQueue> queue,
                            NodeQueue::Create(nodes, tenancy, policy, std::move(wanted)));
  return std::unique_ptr<EngineNodes>(new EngineNodes(std::move(nodes), std::move(queue)));
}

EngineNodes::EngineNodes(std::vector<NodeDescription> nodes, std::unique_ptr<NodeQueue> queue)
    : descriptions_(std::move(nodes)), queue_(std::move(queue)) {
  for (const NodeDescription& node : descriptions_) devices_.emplace_back(node);
}

NodeIndex EngineNodes::Find(std::string_view name) const {
  // Where there is one node, events do not name it, and it may be called otherwise than it was.
  if (descriptions_.size() == 1 || name.empty()) return 0;
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
    if (descriptions_.size() > 1) intended->node = spec->node;
    return;
  }
  for (size_t rank = 0; rank < members.size(); ++rank) {
    const HeldMember& member = members[rank];
    const std::string& node = descriptions_[member.node].name;
    spec->gang.push_back({GangHost(rank), node, Devices(member.node, member.allocation.parts)});
    intended->gang.push_back({node, RecordOf(member.allocation.parts)});
  }
}

uint32_t EngineNodes::Occupy(NodeQueue::Line line, const AttemptIntended* intended, Time started,
                             Time now, HeldMembers* given) {
  static const AttemptIntended nothing_known;
  if (intended == nullptr) intended = &nothing_known;
  std::vector<NodeQueue::FoundMember> members;
  for (const IntendedMember& member : intended->gang) {
    members.push_back({Find(member.node), PartsOf(member.slots)});
  }
  if (members.empty()) members.push_back({Find(intended->node), PartsOf(intended->slots)});
  return queue_->Occupy(line, members, started, now, given);
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
