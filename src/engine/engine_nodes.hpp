// The nodes of an engine: which attempt runs on which of them, and what it holds there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/node_devices.hpp"
#include "engine/node_queue.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/engine/event.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

class EngineNodes {
 public:
  // Whether events say on which node something runs, although there is only one: others may come.
  enum class Naming : uint8_t { where_needed, always };

  // At least one node. Errors, `order`, `wanted` and `choice` as NodeQueue::Create.
  static StatusOr<std::unique_ptr<EngineNodes>> Create(std::vector<NodeDescription> nodes,
                                                       Naming naming, const Tenancy& tenancy,
                                                       const GroupPolicy& policy, Order* order,
                                                       std::function<bool(const ReadyTask&)> wanted,
                                                       NodeChoice choice = {});

  NodeQueue& queue() { return *queue_; }
  const std::vector<NodeDescription>& descriptions() const { return descriptions_; }
  // Nothing new starts on these; on the others it may.
  void SetDrained(std::set<std::string> names);
  // Goes on with what another has noted of silent nodes.
  void TakeOver(const EngineNodes& other) { silent_ = other.silent_; }

  // Puts into the attempt's specification, and into its event, where it runs and what it is given.
  void Assign(const HeldMembers& members, AttemptSpec* spec, AttemptIntended* intended) const;

  // Takes note of the nodes that the executor calls silent; nothing starts there. The answer: those
  // that have been silent for `lease`.
  std::vector<std::string> NoteSilent(const std::vector<std::string>& names, Time now,
                                      Duration lease);
  // Those of the nodes that the attempt runs on which are silent, and since when; none: all answer.
  AttemptUnknown UnknownOf(const AttemptIntended* intended) const;
  bool any_silent() const { return !silent_.empty(); }
  // Whether a member of the attempt runs on one of them.
  bool RunsOn(const AttemptIntended* intended, const std::vector<std::string>& names) const;

  // Counts an attempt that was started earlier with what its event says, and returns what to
  // release. Null: no event tells what it holds. The rest as NodeQueue::Occupy.
  uint32_t Occupy(NodeQueue::Line line, const AttemptIntended* intended, Time started, Time now,
                  HeldMembers* given = nullptr, bool stoppable = true);
  // Puts into its specification what its event says.
  void Restore(const AttemptIntended* intended, AttemptSpec* spec) const;

 private:
  EngineNodes(std::vector<NodeDescription> nodes, Naming naming, std::unique_ptr<NodeQueue> queue);
  void OpenOrClose(NodeIndex node);
  // The node of this name, as events have it; kNoNode.
  NodeIndex Find(std::string_view name) const;
  std::vector<AssignedDevice> Devices(NodeIndex node, std::span<const AllocationPart> parts) const;

  std::vector<NodeDescription> descriptions_;
  Naming naming_;
  std::set<std::string> drained_;
  std::map<std::string, Time> silent_;  // since when
  std::vector<NodeDevices> devices_;    // by node
  std::unique_ptr<NodeQueue> queue_;
};

// The nodes of a store that an engine uses, and which of them get nothing new.
struct StoredNodes {
  std::vector<NodeDescription> nodes;
  std::set<std::string> drained;
};
StatusOr<StoredNodes> ReadStoredNodes(Store& store,
                                      const std::function<bool(const NodeDescription&)>& takes);

}  // namespace trackbed
