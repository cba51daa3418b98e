// Loads NVML at run time.
#include "resources/nvml.hpp"

#include <absl/strings/str_cat.h>
#include <dlfcn.h>

namespace trackbed {
namespace {

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

void Unload(void* library) { (void)dlclose(library); }

}  // namespace

StatusOr<Nvml> Nvml::Load(const std::string& path) {
  // It stays in memory: unloaded, it leaves a descriptor open (seen with driver 580).
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* reason = dlerror();
    return Unavailable(
        absl::StrCat("cannot load NVML: ", reason == nullptr ? path.c_str() : reason));
  }
  NvmlTable table{};
  const bool complete = Find(library, "nvmlInit_v2", &table.init) &&
                        Find(library, "nvmlShutdown", &table.shutdown) &&
                        Find(library, "nvmlDeviceGetCount_v2", &table.get_count) &&
                        Find(library, "nvmlDeviceGetHandleByIndex_v2", &table.get_device) &&
                        Find(library, "nvmlDeviceGetName", &table.get_name) &&
                        Find(library, "nvmlDeviceGetUUID", &table.get_uuid) &&
                        Find(library, "nvmlDeviceGetMemoryInfo", &table.get_memory);
  if (!complete) {
    Unload(library);
    return Unavailable(absl::StrCat(path, " lacks functions of NVML"));
  }
  Find(library, "nvmlDeviceGetPciInfo_v3", &table.get_pci);
  Find(library, "nvmlDeviceGetTopologyCommonAncestor", &table.get_ancestor);
  Find(library, "nvmlDeviceGetNvLinkState", &table.get_link_state);
  Find(library, "nvmlDeviceGetNvLinkRemotePciInfo_v2", &table.get_link_remote);
  Find(library, "nvmlDeviceGetNvLinkRemoteDeviceType", &table.get_link_remote_type);
  Find(library, "nvmlDeviceGetRemappedRows", &table.get_remapped_rows);
  Find(library, "nvmlDeviceGetMigMode", &table.get_mig_mode);
  Find(library, "nvmlDeviceGetMaxMigDeviceCount", &table.get_max_mig_devices);
  Find(library, "nvmlDeviceGetMigDeviceHandleByIndex", &table.get_mig_device);
  Find(library, "nvmlDeviceGetGpuInstanceId", &table.get_instance_id);
  Find(library, "nvmlDeviceGetGpuInstanceById", &table.get_instance);
  Find(library, "nvmlGpuInstanceGetInfo", &table.get_instance_info);
  if (const int result = table.init(); result != nvml_success) {
    Unload(library);
    return Unavailable(absl::StrCat("NVML does not start: error ", result));
  }
  Nvml nvml(library);
  nvml.table_ = table;
  return nvml;
}

Nvml::~Nvml() {
  if (library_ == nullptr) return;
  table_.shutdown();
  Unload(library_);
}

}  // namespace trackbed
