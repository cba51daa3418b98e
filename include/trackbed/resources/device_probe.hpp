// Finds out what a machine has: processors, memory and NUMA nodes from /proc and /sys, NVIDIA GPUs
// from the driver's own library, which is loaded when asked and not needed to build or run.
#pragma once

#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/resources/mig.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

struct DeviceProbeOptions {
  std::string root = "/";  // where proc/ and sys/ are
  std::string nvml = "libnvidia-ml.so.1";
  // The slot that a GPU without MIG is handed out as: "cuda.device" or "cuda.shares".
  std::string gpu_slot = "cuda.device";
};

// What NVML tells. A GPU in MIG mode is not among the devices; its instances are, each with the
// GPU's UUID as `part_of`.
struct GpuInventory {
  std::vector<NodeDevice> devices;
  std::vector<NodeLink> links;  // between GPUs among the devices
  // GPUs in MIG mode whose table is known, for PlanMig; their instances are noted as free, since
  // only who keeps the account knows which are held.
  std::vector<MigDevice> mig;
};

// The machine without accelerators. kUnavailable when /proc or /sys cannot be read as expected.
StatusOr<NodeDescription> ProbeMachine(const DeviceProbeOptions& options = {});

// kUnavailable when there is no such library, it lacks what we need, or the driver is not loaded.
StatusOr<GpuInventory> ProbeGpus(const DeviceProbeOptions& options = {});

// Both; a machine whose GPUs are unavailable is a machine without.
StatusOr<NodeDescription> ProbeNode(const DeviceProbeOptions& options = {});

}  // namespace trackbed
