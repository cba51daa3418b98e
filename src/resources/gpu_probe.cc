// What NVML tells of NVIDIA GPUs.
#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <string>
#include <type_traits>

#include "resources/nvml.hpp"
#include "trackbed/resources/device_probe.hpp"

namespace trackbed {
namespace {

constexpr unsigned kMaxNvLinks = 18;
constexpr int kRemoteSwitch = 2;
constexpr Quantity kOne = Quantity::FromThousandths(1000);

struct Gpu {
  NvmlDevice handle = nullptr;
  NodeDevice device;
  std::string bus_id;  // as /sys has it: "0000:4f:00.0"
  bool in_mig_mode = false;
  std::vector<std::string> peers;  // the bus of the GPU at the other end of each NVLink
  int to_switches = 0;             // NVLinks that end at an NVSwitch
};

// "00000000:4F:00.0" is 0000:4f:00.0 below /sys.
std::string BusOf(const NvmlPciInfo& pci) {
  const std::string_view text(pci.bus_id, strnlen(pci.bus_id, sizeof(pci.bus_id)));
  const std::string bus = absl::AsciiStrToLower(AbslView(text));
  return bus.size() == 16 ? bus.substr(4) : bus;
}

template <typename... Arguments>
bool Ask(int (*function)(Arguments...), std::type_identity_t<Arguments>... arguments) {
  return function != nullptr && function(arguments...) == nvml_success;
}

std::string TextOf(int (*function)(NvmlDevice, char*, unsigned int), NvmlDevice device) {
  std::array<char, 96> text{};
  if (!Ask(function, device, text.data(), static_cast<unsigned>(text.size() - 1))) return "";
  return text.data();
}

void ReadHealth(const Nvml& nvml, Gpu* gpu) {
  NvmlMemory memory{};
  const int result = nvml->get_memory(gpu->handle, &memory);
  if (result == nvml_success) gpu->device.memory_bytes = static_cast<int64_t>(memory.total);
  unsigned corrected = 0;
  unsigned uncorrected = 0;
  unsigned pending = 0;
  unsigned failed = 0;
  // Rows of memory that went bad and could not be replaced.
  const bool bad_rows =
      Ask(nvml->get_remapped_rows, gpu->handle, &corrected, &uncorrected, &pending, &failed) &&
      failed != 0;
  gpu->device.healthy = !bad_rows && result != nvml_gpu_is_lost && result != nvml_reset_required;
}

void ReadLinks(const Nvml& nvml, Gpu* gpu) {
  for (unsigned i = 0; i < kMaxNvLinks; ++i) {
    int active = 0;
    NvmlPciInfo remote{};
    int type = 0;
    if (!Ask(nvml->get_link_state, gpu->handle, i, &active) || active == 0) continue;
    if (Ask(nvml->get_link_remote_type, gpu->handle, i, &type) && type == kRemoteSwitch) {
      ++gpu->to_switches;
    } else if (Ask(nvml->get_link_remote, gpu->handle, i, &remote)) {
      gpu->peers.push_back(BusOf(remote));
    }
  }
}

Gpu ReadGpu(const Nvml& nvml, NvmlDevice handle, unsigned index,
            const DeviceProbeOptions& options) {
  Gpu gpu;
  gpu.handle = handle;
  gpu.device.slot = options.gpu_slot;
  gpu.device.capacity = kOne;
  gpu.device.model = TextOf(nvml->get_name, handle);
  gpu.device.id = TextOf(nvml->get_uuid, handle);
  ReadHealth(nvml, &gpu);
  if (gpu.device.id.empty()) {
    // A GPU that does not know its name any more is lost.
    gpu.device.id = absl::StrCat("gpu", index);
    gpu.device.healthy = false;
  }
  if (NvmlPciInfo pci{}; Ask(nvml->get_pci, handle, &pci)) {
    gpu.bus_id = BusOf(pci);
    std::ifstream file(options.root + "/sys/bus/pci/devices/" + gpu.bus_id + "/numa_node");
    if (int numa = kUnknownNumaNode; file >> numa && numa >= 0) gpu.device.numa_node = numa;
  }
  const MigModel* model = MigModelOf(gpu.device.model, gpu.device.memory_bytes);
  if (model != nullptr) gpu.device.mig_model = model->name;
  unsigned current = 0;
  unsigned pending = 0;
  gpu.in_mig_mode = Ask(nvml->get_mig_mode, handle, &current, &pending) && current != 0;
  ReadLinks(nvml, &gpu);
  return gpu;
}

// The instances of a GPU in MIG mode, as devices and for plans.
void AddInstances(const Nvml& nvml, const Gpu& gpu, GpuInventory* inventory) {
  MigDevice plan{gpu.device.id, gpu.device.mig_model, {}, gpu.device.healthy};
  bool known = !plan.model.empty();
  unsigned count = 0;
  if (!Ask(nvml->get_max_mig_devices, gpu.handle, &count)) known = false;
  for (unsigned i = 0; i < count; ++i) {
    NvmlDevice handle = nullptr;
    if (!Ask(nvml->get_mig_device, gpu.handle, i, &handle)) continue;
    NodeDevice device;
    device.id = TextOf(nvml->get_uuid, handle);
    // "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    device.model = TextOf(nvml->get_name, handle);
    const size_t space = device.model.rfind(' ');
    if (device.id.empty() || space == std::string::npos) continue;
    const std::string profile = device.model.substr(space + 1);
    device.slot = MigSlotName(profile);
    device.capacity = kOne;
    NvmlMemory memory{};
    if (Ask(nvml->get_memory, handle, &memory)) {
      device.memory_bytes = static_cast<int64_t>(memory.total);
    }
    device.numa_node = gpu.device.numa_node;
    device.healthy = gpu.device.healthy;
    device.part_of = gpu.device.id;
    inventory->devices.push_back(device);
    // Where it lies is told to privileged users only; without that no plan can be made.
    unsigned id = 0;
    NvmlGpuInstance instance = nullptr;
    NvmlGpuInstanceInfo info{};
    if (Ask(nvml->get_instance_id, handle, &id) &&
        Ask(nvml->get_instance, gpu.handle, id, &instance) &&
        Ask(nvml->get_instance_info, instance, &info)) {
      plan.instances.push_back({device.id, profile, static_cast<int>(info.start), true});
    } else {
      known = false;
    }
  }
  if (known) inventory->mig.push_back(std::move(plan));
}

LinkLevel LevelOf(int ancestor) {
  // NVML's numbers leave room between the levels.
  if (ancestor < 10) return LinkLevel::same_board;
  if (ancestor < 20) return LinkLevel::single_switch;
  if (ancestor < 30) return LinkLevel::multiple_switches;
  if (ancestor < 40) return LinkLevel::host_bridge;
  if (ancestor < 50) return LinkLevel::numa_node;
  return LinkLevel::system;
}

void AddLink(const Nvml& nvml, const Gpu& a, const Gpu& b, GpuInventory* inventory) {
  NodeLink link{a.device.id, b.device.id, LinkLevel::system, 0};
  // All GPUs behind NVSwitches reach each other by as many links as the one that has fewer.
  link.lanes = static_cast<int>(std::count(a.peers.begin(), a.peers.end(), b.bus_id)) +
               std::min(a.to_switches, b.to_switches);
  int ancestor = 0;
  if (link.lanes > 0) {
    link.level = LinkLevel::nvlink;
  } else if (Ask(nvml->get_ancestor, a.handle, b.handle, &ancestor)) {
    link.level = LevelOf(ancestor);
  } else {
    return;
  }
  inventory->links.push_back(std::move(link));
}

}  // namespace

StatusOr<GpuInventory> ProbeGpus(const DeviceProbeOptions& options) {
  TRACKBED_ASSIGN_OR_RETURN(const Nvml nvml, Nvml::Load(options.nvml));
  unsigned count = 0;
  if (!Ask(nvml->get_count, &count)) return Unavailable("NVML does not count its GPUs");
  std::vector<Gpu> gpus;
  for (unsigned i = 0; i < count; ++i) {
    NvmlDevice handle = nullptr;
    // One that we may not use, as in a container, is none of ours.
    if (Ask(nvml->get_device, i, &handle)) gpus.push_back(ReadGpu(nvml, handle, i, options));
  }
  GpuInventory inventory;
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (gpus[i].in_mig_mode) {
      AddInstances(nvml, gpus[i], &inventory);
      continue;
    }
    inventory.devices.push_back(gpus[i].device);
    for (size_t j = 0; j < i; ++j) {
      if (!gpus[j].in_mig_mode) AddLink(nvml, gpus[j], gpus[i], &inventory);
    }
  }
  return inventory;
}

}  // namespace trackbed
