// The part of NVML's binary interface that we use, as its reference guide describes it
// (https://docs.nvidia.com/deploy/nvml-api/). No header of NVIDIA's is needed to build.
#pragma once

#include <string>

#include "trackbed/base/status.hpp"

namespace trackbed {

using NvmlDevice = struct NvmlDeviceTag*;
using NvmlGpuInstance = struct NvmlGpuInstanceTag*;

enum NvmlResult : int {
  nvml_success = 0,
  nvml_gpu_is_lost = 15,
  nvml_reset_required = 16,
};

struct NvmlMemory {
  unsigned long long total, free, used;
};

struct NvmlPciInfo {
  char legacy_bus_id[16];
  unsigned int domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

struct NvmlGpuInstanceInfo {
  NvmlDevice device;
  unsigned int id, profile_id;
  unsigned int start, size;  // of the placement, in memory slices
};

// Entry points; those after `get_memory` may be null, as older drivers lack some.
struct NvmlTable {
  int (*init)();
  int (*shutdown)();
  int (*get_count)(unsigned int*);
  int (*get_device)(unsigned int, NvmlDevice*);
  int (*get_name)(NvmlDevice, char*, unsigned int);
  int (*get_uuid)(NvmlDevice, char*, unsigned int);
  int (*get_memory)(NvmlDevice, NvmlMemory*);
  int (*get_pci)(NvmlDevice, NvmlPciInfo*);
  int (*get_ancestor)(NvmlDevice, NvmlDevice, int*);
  int (*get_link_state)(NvmlDevice, unsigned int, int*);
  int (*get_link_remote)(NvmlDevice, unsigned int, NvmlPciInfo*);
  int (*get_link_remote_type)(NvmlDevice, unsigned int, int*);
  int (*get_remapped_rows)(NvmlDevice, unsigned int*, unsigned int*, unsigned int*, unsigned int*);
  int (*get_mig_mode)(NvmlDevice, unsigned int*, unsigned int*);
  int (*get_max_mig_devices)(NvmlDevice, unsigned int*);
  int (*get_mig_device)(NvmlDevice, unsigned int, NvmlDevice*);
  int (*get_instance_id)(NvmlDevice, unsigned int*);
  int (*get_instance)(NvmlDevice, unsigned int, NvmlGpuInstance*);
  int (*get_instance_info)(NvmlGpuInstance, NvmlGpuInstanceInfo*);
};

// The library, initialised until it goes.
class Nvml {
 public:
  static StatusOr<Nvml> Load(const std::string& path);
  Nvml(Nvml&& other) noexcept : library_(other.library_), table_(other.table_) {
    other.library_ = nullptr;
  }
  Nvml& operator=(Nvml&&) = delete;
  ~Nvml();

  const NvmlTable* operator->() const { return &table_; }

 private:
  explicit Nvml(void* library) : library_(library) {}
  void* library_;
  NvmlTable table_{};
};

}  // namespace trackbed
