// Arithmetic on what is free on one node, apart from any cluster: for looking ahead.
#pragma once

#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

// A node with nothing on it.
NodeState EmptyRoom(const NodeCapacity& capacity);

// Takes the demand from `room` if it fits, choosing devices as Cluster::FirstDevices does.
bool TakeRoom(const NodeCapacity& capacity, const Demand& demand, NodeState* room,
              Placement* placement);

// Takes what a placement holds, also where less is free: nothing becomes negative. For adding up
// what overlaps in time, which may not fit together.
void SubtractRoom(const Demand& demand, const Placement& placement, NodeState* room);

// Gives back what a placement holds.
void ReturnRoom(const Demand& demand, const Placement& placement, NodeState* room);

// True when just these devices and amounts are free.
bool HasRoom(const Demand& demand, const Placement& placement, const NodeState& room);

}  // namespace trackbed
