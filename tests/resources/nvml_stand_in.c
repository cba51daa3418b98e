/* Stands in for NVIDIA's library in tests: four GPUs of an imaginary machine.
   0 and 1 are linked by four NVLinks, 2 is in MIG mode, 3 has bad memory. */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct {
  int number; /* of a GPU, or 10 and up of MIG instances */
} Device;
typedef struct {
  unsigned long long total, free, used;
} Memory;
typedef struct {
  char legacy[16];
  unsigned int domain, bus, device, device_id, subsystem;
  char bus_id[32];
} Pci;
typedef struct {
  Device* device;
  unsigned int id, profile, start, size;
} InstanceInfo;

static Device gpus[4] = {{0}, {1}, {2}, {3}};
static Device instances[2] = {{10}, {11}};

/* As the real one does: who loads it anew each time runs out of descriptors. */
__attribute__((constructor)) static void WhenLoaded(void) { (void)eventfd(0, EFD_CLOEXEC); }

EXPORT int nvmlInit_v2(void) { return 0; }
EXPORT int nvmlShutdown(void) { return 0; }
EXPORT int nvmlDeviceGetCount_v2(unsigned int* count) {
  *count = 4;
  return 0;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device** device) {
  *device = &gpus[index];
  return 0;
}
EXPORT int nvmlDeviceGetName(Device* device, char* name, unsigned int size) {
  const char* text = "NVIDIA A100-SXM4-40GB";
  if (device->number == 10) text = "NVIDIA A100-SXM4-40GB MIG 3g.20gb";
  if (device->number == 11) text = "NVIDIA A100-SXM4-40GB MIG 1g.5gb";
  snprintf(name, size, "%s", text);
  return 0;
}
EXPORT int nvmlDeviceGetUUID(Device* device, char* uuid, unsigned int size) {
  snprintf(uuid, size, device->number < 10 ? "GPU-%d" : "MIG-%d", device->number);
  return 0;
}
EXPORT int nvmlDeviceGetMemoryInfo(Device* device, Memory* memory) {
  memory->total = device->number < 10 ? 42505273344ULL : 20937965568ULL;
  return 0;
}
EXPORT int nvmlDeviceGetPciInfo_v3(Device* device, Pci* pci) {
  snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:4%X:00.0", 10 + device->number);
  return 0;
}
EXPORT int nvmlDeviceGetTopologyCommonAncestor(Device* a, Device* b, int* level) {
  (void)a;
  (void)b;
  *level = 30;
  return 0;
}
EXPORT int nvmlDeviceGetNvLinkState(Device* device, unsigned int link, int* active) {
  *active = device->number < 2 && link < 4;
  return 0;
}
EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(Device* device, unsigned int link, Pci* pci) {
  (void)link;
  return nvmlDeviceGetPciInfo_v3(&gpus[1 - device->number], pci);
}
EXPORT int nvmlDeviceGetRemappedRows(Device* device, unsigned int* corrected,
                                     unsigned int* uncorrected, unsigned int* pending,
                                     unsigned int* failed) {
  *corrected = *uncorrected = *pending = 0;
  *failed = device->number == 3;
  return 0;
}
EXPORT int nvmlDeviceGetMigMode(Device* device, unsigned int* current, unsigned int* pending) {
  *current = *pending = device->number == 2;
  return 0;
}
EXPORT int nvmlDeviceGetMaxMigDeviceCount(Device* device, unsigned int* count) {
  (void)device;
  *count = 7;
  return 0;
}
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(Device* device, unsigned int index, Device** mig) {
  (void)device;
  if (index >= 2) return 6;
  *mig = &instances[index];
  return 0;
}
EXPORT int nvmlDeviceGetGpuInstanceId(Device* device, unsigned int* id) {
  *id = (unsigned int)device->number - 10;
  return 0;
}
EXPORT int nvmlDeviceGetGpuInstanceById(Device* device, unsigned int id, Device** instance) {
  (void)device;
  *instance = &instances[id];
  return 0;
}
EXPORT int nvmlGpuInstanceGetInfo(Device* instance, InstanceInfo* info) {
  memset(info, 0, sizeof(*info));
  info->start = instance->number == 10 ? 4 : 1;
  return 0;
}
