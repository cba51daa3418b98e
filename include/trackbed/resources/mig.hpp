// How NVIDIA GPUs are partitioned (MIG): which profiles there are, where their instances may lie,
// and which instances to create for a request.
//
// A GPU has 7 compute slices and 8 slices of memory. An instance takes neighbouring memory slices
// from one of the places that the hardware allows for its profile; instances may not overlap.
// From NVIDIA's Multi-Instance GPU User Guide, "Supported MIG Profiles" and "Getting Started"
// (https://docs.nvidia.com/datacenter/tesla/mig-user-guide/).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

inline constexpr int kMigComputeSlices = 7;
inline constexpr int kMigMemorySlices = 8;

struct MigProfile {
  std::string_view name;  // "1g.5gb", "1g.5gb+me"
  int id;                 // as the driver numbers it: nvidia-smi mig -cgi 19
  int compute_slices;
  int memory_slices;
  uint8_t starts;     // bit i: an instance may begin at memory slice i
  int max_instances;  // of this profile on one GPU
};

struct MigModel {
  std::string_view name;  // "A100-40GB": NodeDevice::mig_model
  std::span<const MigProfile> profiles;
};

// Every model known, as data.
std::span<const MigModel> KnownMigModels();
// The model, or null when unknown.
const MigModel* FindMigModel(std::string_view name);
const MigProfile* FindMigProfile(const MigModel& model, std::string_view profile);
// The model of a GPU as NVML names it ("NVIDIA H100 80GB HBM3") with so much memory, or null.
const MigModel* MigModelOf(std::string_view product, int64_t memory_bytes);

// "1g.5gb" is handed out as the slot "cuda.device:1g.5gb-mig".
std::string MigSlotName(std::string_view profile);

// An instance that exists.
struct MigInstance {
  std::string id;  // "" in plans
  std::string profile;
  int start = 0;      // its first memory slice
  bool free = false;  // no task holds it
  friend bool operator==(const MigInstance&, const MigInstance&) = default;
};

struct MigDevice {
  std::string id;
  std::string model;
  std::vector<MigInstance> instances;
  bool healthy = true;  // false: nothing new is placed on it
};

// One profile of a request and where it gets its instance.
struct MigAssignment {
  std::string device;
  std::string profile;
  int start = 0;
  std::string instance;  // the free instance to use; "" for one to create
  friend bool operator==(const MigAssignment&, const MigAssignment&) = default;
};

struct MigPlan {
  std::vector<MigAssignment> assignments;  // one for each requested profile, in that order
  // Free instances to destroy before anything is created; empty unless reconfiguring.
  std::vector<std::pair<std::string, std::string>> destroy;  // device, instance
  friend bool operator==(const MigPlan&, const MigPlan&) = default;
};

inline constexpr int kMaxMigSteps = 100'000;

enum class MigReconfigure : uint8_t { never, destroy_free };

// Finds the plan that destroys the fewest free instances (none at all, unless told) and of these
// the one that creates the fewest, so that free instances are used before others are created. Among
// equals the GPUs that are fullest are used. Instances in use are never touched.
//
// It searches all choices but equivalent ones, up to kMaxMigSteps. A search that reaches the limit,
// as one for very many instances that just do not fit may, gives the best plan so far, or a refusal
// that says that not all choices were tried.
//
// kInvalidArgument   an unknown model or profile, instances that overlap or lie where they cannot
// kResourceExhausted the message tells too few free slices (shortage) from slices that lie wrongly
//                    (geometry), and whether destroying free instances would help
StatusOr<MigPlan> PlanMig(std::span<const MigDevice> devices, std::span<const std::string> profiles,
                          MigReconfigure reconfigure = MigReconfigure::never);

}  // namespace trackbed
