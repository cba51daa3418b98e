// The nodes of an engine: which attempt runs on which of them, and what it holds there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/node_devices.hpp"
#include "engine/node_queue.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/engine/event.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

class EngineNodes {
 public:
  // At least one node. Errors and `wanted` as NodeQueue::Create.
  static StatusOr<std::unique_ptr<EngineNodes>> Create(
      std::vector<NodeDescription> nodes, const Tenancy& tenancy, const GroupPolicy& policy,
      std::function<bool(const ReadyTask&)> wanted);

  NodeQueue& queue() { return *queue_; }
  const std::vector<NodeDescription>& descriptions() const { return descriptions_; }

  // Puts into the attempt's specification, and into its event, where it runs and what it is given.
  void Assign(const HeldMembers& members, AttemptSpec* spec, AttemptIntended* intended) const;

  // Counts an attempt that was started earlier with what its event says, and returns what to
  // release. Null: no event tells what it holds. *given, when given, is what it got.
  uint32_t Occupy(NodeQueue::Line line, const AttemptIntended* intended, Time started, Time now,
                  HeldMembers* given = nullptr);
  // Puts into its specification what its event says.
  void Restore(const AttemptIntended* intended, AttemptSpec* spec) const;

 private:
  EngineNodes(std::vector<NodeDescription> nodes, std::unique_ptr<NodeQueue> queue);
  // The node of this name, as events have it; kNoNode.
  NodeIndex Find(std::string_view name) const;
  std::vector<AssignedDevice> Devices(NodeIndex node, std::span<const AllocationPart> parts) const;

  std::vector<NodeDescription> descriptions_;
  std::vector<NodeDevices> devices_;  // by node
  std::unique_ptr<NodeQueue> queue_;
};

}  // namespace trackbed
