// The machine that this process runs on, as one node.
#pragma once

#include <vector>

#include "trackbed/pipeline/pipeline.hpp"
#include "trackbed/resources/device_probe.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

// Its processors and memory as far as this process may use them, affinity and cgroup limits
// counted, and its GPUs, each as a whole ("cuda.device") and in shares ("cuda.shares"). NUMA nodes
// are told only where there are several and the process may use all of them.
NodeDescription DetectLocalNode(const DeviceProbeOptions& options = {});

// Lets `node` offer so much of each slot instead of what it has; of slots not named, what it has.
// Of accelerators, its own devices are used first, also when they were to be handed out in another
// way ("cuda.shares" instead of "cuda.device"); an amount beyond them stands for devices that
// nobody described, named "SLOT#NUMBER". An amount of 0 hides what there is.
void OfferSlots(const std::vector<SlotRequest>& slots, NodeDescription* node);

// A node of these slots and nothing else.
NodeDescription NodeOfSlots(const std::vector<SlotRequest>& slots);

}  // namespace trackbed
