// The tables of MIG, and the search for a plan.
#include "trackbed/resources/mig.hpp"

#include <absl/container/inlined_vector.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "trackbed/base/diagnostic.hpp"

namespace trackbed {
namespace {

// ---- Tables ----------------------------------------------------------------------------------

constexpr uint8_t StartsAt(std::initializer_list<int> slices) {
  uint8_t starts = 0;
  for (const int slice : slices) starts = static_cast<uint8_t>(starts | 1U << slice);
  return starts;
}

// The A100, H100 and H200 differ in their names only: seven profiles in the same places.
struct ProfileNames {
  std::string_view one, one_with_media, one_with_double_memory, two, three, four, seven;
};

constexpr std::array<MigProfile, 7> MakeProfiles(const ProfileNames& names) {
  return {{
      {names.one, 19, 1, 1, StartsAt({0, 1, 2, 3, 4, 5, 6}), 7},
      {names.one_with_media, 20, 1, 1, StartsAt({0, 1, 2, 3, 4, 5, 6}), 1},
      {names.one_with_double_memory, 15, 1, 2, StartsAt({0, 2, 4, 6}), 4},
      {names.two, 14, 2, 2, StartsAt({0, 2, 4}), 3},
      {names.three, 9, 3, 4, StartsAt({0, 4}), 2},
      {names.four, 5, 4, 4, StartsAt({0}), 1},
      {names.seven, 0, 7, 8, StartsAt({0}), 1},
  }};
}

constexpr auto kA100With40 =
    MakeProfiles({"1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"});
constexpr auto kGpuWith80 =
    MakeProfiles({"1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"});
constexpr auto kH200With141 =
    MakeProfiles({"1g.18gb", "1g.18gb+me", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"});

constexpr std::array kModels = {
    MigModel{"A100-40GB", kA100With40},
    MigModel{"A100-80GB", kGpuWith80},
    MigModel{"H100-80GB", kGpuWith80},
    MigModel{"H200-141GB", kH200With141},
};

constexpr int64_t kGigabyte = 1'000'000'000;

// ---- Places ----------------------------------------------------------------------------------

uint8_t MaskOf(const MigProfile& profile, int start) {
  return static_cast<uint8_t>(((1U << profile.memory_slices) - 1U) << start);
}

bool MayStart(const MigProfile& profile, int start) {
  return start >= 0 && start < kMigMemorySlices && (profile.starts >> start & 1U) != 0;
}

enum class Fate : uint8_t { unused, reused, destroyed };

struct FreeInstance {
  const MigInstance* instance;
  const MigProfile* profile;
  uint8_t mask;
  Fate fate = Fate::unused;
};

struct Gpu {
  const MigDevice* device;
  const MigModel* model;
  uint8_t used = 0;  // slices of instances in use, reused or created
  absl::InlinedVector<const MigProfile*, 7> placed;  // the profiles of those
  absl::InlinedVector<FreeInstance, 7> free;

  int CountOf(const MigProfile* profile) const {
    return static_cast<int>(std::count(placed.begin(), placed.end(), profile));
  }
  // Alike in all that matters to what may be placed.
  bool IsLike(const Gpu& other) const {
    return model == other.model && used == other.used &&
           std::is_permutation(placed.begin(), placed.end(), other.placed.begin(),
                               other.placed.end()) &&
           std::equal(free.begin(), free.end(), other.free.begin(), other.free.end(),
                      [](const FreeInstance& a, const FreeInstance& b) {
                        return a.profile == b.profile && a.mask == b.mask && a.fate == b.fate;
                      });
  }
};

StatusOr<Gpu> CheckDevice(const MigDevice& device) {
  Gpu gpu;
  gpu.device = &device;
  gpu.model = FindMigModel(device.model);
  if (gpu.model == nullptr) {
    std::vector<std::string_view> names;
    for (const MigModel& model : kModels) names.push_back(model.name);
    const std::string_view near = ClosestMatch(device.model, names);
    return InvalidArgument(
        absl::StrCat(device.id, ": unknown MIG model \"", device.model, "\"",
                     near.empty() ? "" : absl::StrCat("; did you mean \"", AbslView(near), "\"?")));
  }
  uint8_t taken = 0;
  for (const MigInstance& instance : device.instances) {
    const MigProfile* profile = FindMigProfile(*gpu.model, instance.profile);
    if (profile == nullptr) {
      return InvalidArgument(
          absl::StrCat(device.id, ": ", device.model, " has no profile ", instance.profile));
    }
    if (!MayStart(*profile, instance.start)) {
      return InvalidArgument(absl::StrCat(device.id, ": ", instance.profile,
                                          " cannot begin at memory slice ", instance.start));
    }
    const uint8_t mask = MaskOf(*profile, instance.start);
    if ((taken & mask) != 0) {
      return InvalidArgument(absl::StrCat(device.id, ": the ", instance.profile,
                                          " at memory slice ", instance.start,
                                          " overlaps another instance"));
    }
    taken = static_cast<uint8_t>(taken | mask);
    if (instance.free) {
      gpu.free.push_back({&instance, profile, mask});
    } else {
      gpu.used = static_cast<uint8_t>(gpu.used | mask);
      gpu.placed.push_back(profile);
    }
  }
  std::sort(gpu.free.begin(), gpu.free.end(),
            [](const FreeInstance& a, const FreeInstance& b) { return a.mask < b.mask; });
  return gpu;
}

Status CheckProfile(const std::string& name, const std::vector<Gpu>& gpus) {
  for (const Gpu& gpu : gpus) {
    if (FindMigProfile(*gpu.model, name) != nullptr) return absl::OkStatus();
  }
  std::vector<std::string_view> names;
  for (const MigModel& model : kModels) {
    for (const MigProfile& profile : model.profiles) {
      if (profile.name == name) {
        return ResourceExhausted(absl::StrCat("needs ", name, ", no healthy GPU has this profile"));
      }
      names.push_back(profile.name);
    }
  }
  const std::string_view near = ClosestMatch(name, names);
  return InvalidArgument(
      absl::StrCat("unknown MIG profile \"", name, "\"",
                   near.empty() ? "" : absl::StrCat("; did you mean \"", AbslView(near), "\"?")));
}

// ---- Search ----------------------------------------------------------------------------------

struct Cost {
  int destroyed = 0;
  int created = 0;
  friend auto operator<=>(const Cost&, const Cost&) = default;
};

class Planner {
 public:
  Planner(std::vector<Gpu> gpus, std::span<const std::string> profiles, bool may_destroy)
      : gpus_(std::move(gpus)),
        profiles_(profiles),
        may_destroy_(may_destroy),
        order_(profiles.size()),
        current_(profiles.size()) {
    // Large ones have the fewest places, and those of one profile follow each other.
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      return std::make_tuple(-SlicesOf(profiles_[a]), profiles_[a], a) <
             std::make_tuple(-SlicesOf(profiles_[b]), profiles_[b], b);
    });
  }

  bool Run() {
    Extend(0, 0, Cost());
    return found_;
  }

  // Memory slices of a profile, the fewest that any GPU here needs for it.
  int SlicesOf(const std::string& name) const {
    int slices = kMigMemorySlices;
    for (const Gpu& gpu : gpus_) {
      const MigProfile* profile = FindMigProfile(*gpu.model, name);
      if (profile != nullptr) slices = std::min(slices, profile->memory_slices);
    }
    return slices;
  }

  // Whether some choices were left out.
  bool WasCut() const { return steps_ > kMaxMigSteps; }

  MigPlan TakePlan() { return std::move(best_plan_); }

 private:
  struct Choice {
    size_t gpu = 0;
    const FreeInstance* reused = nullptr;
    int start = 0;
  };
  // Of choices for the same profile, each is made in this order only: others are the same plan.
  static size_t KeyOf(size_t gpu, bool reused, int start) {
    return gpu * 16 + (reused ? 0 : 8) + static_cast<size_t>(start);
  }

  void Extend(size_t next, size_t least_key, Cost cost) {
    if (++steps_ > kMaxMigSteps || (found_ && cost >= best_)) return;
    if (next == order_.size()) {
      found_ = true;
      best_ = cost;
      KeepPlan();
      return;
    }
    const std::string& name = profiles_[order_[next]];
    if (next > 0 && profiles_[order_[next - 1]] != name) least_key = 0;
    // The fullest first, and of those that are alike only the first.
    absl::InlinedVector<size_t, 16> turns(gpus_.size());
    std::iota(turns.begin(), turns.end(), size_t{0});
    std::sort(turns.begin(), turns.end(), [&](size_t a, size_t b) {
      const int full_a = std::popcount(gpus_[a].used);
      const int full_b = std::popcount(gpus_[b].used);
      return full_a != full_b ? full_a > full_b : a < b;
    });
    for (const bool reuse : {true, false}) {
      for (size_t i = 0; i < turns.size(); ++i) {
        const size_t index = turns[i];
        // One alike counts only when its choices come no earlier in the order.
        const bool seen = std::any_of(
            turns.begin(), turns.begin() + static_cast<ptrdiff_t>(i), [&](size_t earlier) {
              return earlier * 16 >= least_key && gpus_[earlier].IsLike(gpus_[index]);
            });
        const MigProfile* profile = FindMigProfile(*gpus_[index].model, name);
        if (seen || profile == nullptr) continue;
        if (reuse) {
          TryReuse(next, least_key, cost, index, profile);
        } else {
          for (int start = 0; start < kMigMemorySlices; ++start) {
            if (MayStart(*profile, start)) TryCreate(next, least_key, cost, index, profile, start);
          }
        }
      }
    }
  }

  void TryReuse(size_t next, size_t least_key, Cost cost, size_t index, const MigProfile* profile) {
    Gpu& gpu = gpus_[index];
    for (FreeInstance& free : gpu.free) {
      const size_t key = KeyOf(index, true, free.instance->start);
      if (free.profile != profile || free.fate != Fate::unused || key < least_key) continue;
      free.fate = Fate::reused;
      Place(gpu, profile, free.mask);
      current_[order_[next]] = {index, &free, free.instance->start};
      Extend(next + 1, key, cost);
      Unplace(gpu, free.mask);
      free.fate = Fate::unused;
    }
  }

  void TryCreate(size_t next, size_t least_key, Cost cost, size_t index, const MigProfile* profile,
                 int start) {
    Gpu& gpu = gpus_[index];
    const uint8_t mask = MaskOf(*profile, start);
    const size_t key = KeyOf(index, false, start);
    const bool too_many = gpu.CountOf(profile) >= profile->max_instances;
    if (key < least_key || (gpu.used & mask) != 0 || too_many) return;
    // What is in the way: by its place, or because there may be no more of its profile.
    int others = gpu.CountOf(profile);
    for (const FreeInstance& free : gpu.free) {
      others += free.fate == Fate::unused && free.profile == profile ? 1 : 0;
    }
    const bool crowded = others >= profile->max_instances;
    absl::InlinedVector<FreeInstance*, 7> in_the_way;
    for (FreeInstance& free : gpu.free) {
      const bool blocks = (free.mask & mask) != 0 || (crowded && free.profile == profile);
      if (free.fate == Fate::unused && blocks) in_the_way.push_back(&free);
    }
    if (!in_the_way.empty() && !may_destroy_) return;
    for (FreeInstance* free : in_the_way) free->fate = Fate::destroyed;
    Place(gpu, profile, mask);
    current_[order_[next]] = {index, nullptr, start};
    Extend(next + 1, key, {cost.destroyed + static_cast<int>(in_the_way.size()), cost.created + 1});
    Unplace(gpu, mask);
    for (FreeInstance* free : in_the_way) free->fate = Fate::unused;
  }

  static void Place(Gpu& gpu, const MigProfile* profile, uint8_t mask) {
    gpu.used = static_cast<uint8_t>(gpu.used | mask);
    gpu.placed.push_back(profile);
  }
  static void Unplace(Gpu& gpu, uint8_t mask) {
    gpu.used = static_cast<uint8_t>(gpu.used & ~mask);
    gpu.placed.pop_back();
  }

  void KeepPlan() {
    best_plan_ = {};
    for (size_t i = 0; i < current_.size(); ++i) {
      const Choice& choice = current_[i];
      best_plan_.assignments.push_back(
          {gpus_[choice.gpu].device->id, profiles_[i], choice.start,
           choice.reused == nullptr ? std::string() : choice.reused->instance->id});
    }
    for (const Gpu& gpu : gpus_) {
      for (const FreeInstance& free : gpu.free) {
        if (free.fate == Fate::destroyed) {
          best_plan_.destroy.emplace_back(gpu.device->id, free.instance->id);
        }
      }
    }
  }

  std::vector<Gpu> gpus_;
  const std::span<const std::string> profiles_;
  const bool may_destroy_;
  std::vector<size_t> order_;
  std::vector<Choice> current_;  // by place in profiles_
  int steps_ = 0;
  bool found_ = false;
  Cost best_;
  MigPlan best_plan_;
};

// Why there is no plan: too few free slices, or slices where no instance may lie.
std::string ExplainFailure(const std::vector<Gpu>& gpus, std::span<const std::string> profiles,
                           bool may_destroy, const Planner& planner) {
  int needed = 0;
  for (const std::string& profile : profiles) needed += planner.SlicesOf(profile);
  int free = 0;
  std::vector<std::string> unmet(profiles.begin(), profiles.end());
  for (const Gpu& gpu : gpus) {
    free += kMigMemorySlices - std::popcount(gpu.used);
    if (may_destroy) continue;
    // Slices of free instances serve only those who ask for just that profile.
    for (const FreeInstance& instance : gpu.free) {
      const auto match = std::find(unmet.begin(), unmet.end(), instance.instance->profile);
      if (match == unmet.end()) {
        free -= instance.profile->memory_slices;
      } else {
        unmet.erase(match);
      }
    }
  }
  std::string message = "needs";
  for (size_t i = 0; i < profiles.size(); ++i) {
    absl::StrAppend(&message, i == 0 ? " " : ", ", profiles[i]);
  }
  absl::StrAppend(&message, ": ", needed, " memory slices, ", free, " free");
  if (needed > free) return absl::StrCat(message, ": ", needed - free, " short");
  absl::StrAppend(&message, ", but not where the instances may lie");
  if (planner.WasCut()) absl::StrAppend(&message, " (not all choices were tried)");
  return message;
}

}  // namespace

std::span<const MigModel> KnownMigModels() { return kModels; }

const MigModel* FindMigModel(std::string_view name) {
  for (const MigModel& model : kModels) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

const MigProfile* FindMigProfile(const MigModel& model, std::string_view profile) {
  for (const MigProfile& candidate : model.profiles) {
    if (candidate.name == profile) return &candidate;
  }
  return nullptr;
}

const MigModel* MigModelOf(std::string_view product, int64_t memory_bytes) {
  // GPUs report somewhat more or less than the gigabytes of their name.
  const auto has = [&](int64_t least, int64_t most) {
    return memory_bytes >= least * kGigabyte && memory_bytes <= most * kGigabyte;
  };
  const auto is = [&](std::string_view name) {
    return product.find(name) != std::string_view::npos;
  };
  if (is("A100") && has(39, 44)) return FindMigModel("A100-40GB");
  if (is("A100") && has(78, 88)) return FindMigModel("A100-80GB");
  if (is("H100") && has(78, 88)) return FindMigModel("H100-80GB");
  if (is("H200") && has(138, 155)) return FindMigModel("H200-141GB");
  return nullptr;
}

std::string MigSlotName(std::string_view profile) {
  return absl::StrCat("cuda.device:", AbslView(profile), "-mig");
}

StatusOr<MigPlan> PlanMig(std::span<const MigDevice> devices, std::span<const std::string> profiles,
                          MigReconfigure reconfigure) {
  std::vector<Gpu> gpus;
  for (const MigDevice& device : devices) {
    TRACKBED_ASSIGN_OR_RETURN(Gpu gpu, CheckDevice(device));
    if (device.healthy) gpus.push_back(std::move(gpu));
  }
  for (const std::string& profile : profiles) {
    TRACKBED_RETURN_IF_ERROR(CheckProfile(profile, gpus));
  }
  const bool may_destroy = reconfigure == MigReconfigure::destroy_free;
  Planner planner(gpus, profiles, may_destroy);
  // Most often nothing needs to go, and that is found at once.
  if (may_destroy) {
    Planner gentle(gpus, profiles, /*may_destroy=*/false);
    if (gentle.Run()) return gentle.TakePlan();
  }
  if (planner.Run()) return planner.TakePlan();
  std::string message = ExplainFailure(gpus, profiles, may_destroy, planner);
  if (!may_destroy) {
    Planner rough(gpus, profiles, /*may_destroy=*/true);
    if (rough.Run()) {
      absl::StrAppend(&message, "; destroying free instances would make room: ",
                      rough.TakePlan().destroy.size());
    }
  }
  return ResourceExhausted(message);
}

}  // namespace trackbed
