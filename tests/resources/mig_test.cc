// The tables of MIG and the plans made with them, beside a search that tries everything.
#include "trackbed/resources/mig.hpp"

#include <algorithm>
#include <functional>
#include <set>

#include "support/catch.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

using Profiles = std::vector<std::string>;

MigDevice Gpu(const std::string& id, std::vector<MigInstance> instances = {}) {
  return {id, "A100-40GB", std::move(instances)};
}

std::string Text(const StatusOr<MigPlan>& plan) {
  if (!plan.ok()) return std::string(Message(plan.status()));
  std::string text;
  for (const auto& [device, instance] : plan->destroy) text += "-" + device + "/" + instance + " ";
  for (const MigAssignment& a : plan->assignments) {
    text += a.device + ":" + a.profile + "@" + std::to_string(a.start) +
            (a.instance.empty() ? "" : "=" + a.instance) + " ";
  }
  if (!text.empty()) text.pop_back();
  return text;
}

TEST_CASE("The tables are those of the hardware") {
  for (const MigModel& model : KnownMigModels()) {
    REQUIRE(model.profiles.size() == 7);
    std::set<std::string_view> names;
    for (const MigProfile& profile : model.profiles) {
      CHECK(names.insert(profile.name).second);
      CHECK(profile.compute_slices <= kMigComputeSlices);
      for (int start = 0; start < 8; ++start) {
        if ((profile.starts >> start & 1) != 0) {
          CHECK(start + profile.memory_slices <= kMigMemorySlices);
        }
      }
      CHECK(FindSlotType(MigSlotName(profile.name))->kind == SlotKind::unique);
    }
  }
  const MigModel& h200 = *FindMigModel("H200-141GB");
  CHECK(FindMigProfile(h200, "1g.35gb")->starts == 0b1010101);
  CHECK(FindMigProfile(h200, "2g.35gb")->starts == 0b10101);
  CHECK(FindMigProfile(h200, "3g.71gb")->starts == 0b10001);
  CHECK(FindMigProfile(h200, "4g.71gb")->starts == 1);
  CHECK(FindMigProfile(h200, "7g.141gb")->memory_slices == 8);
  CHECK(FindMigProfile(h200, "1g.18gb+me")->max_instances == 1);
  CHECK(FindMigProfile(h200, "1g.5gb") == nullptr);
}

TEST_CASE("Models are known by their product names") {
  CHECK(MigModelOf("NVIDIA A100-SXM4-40GB", 42'505'273'344)->name == "A100-40GB");
  CHECK(MigModelOf("NVIDIA A100 80GB PCIe", 85'899'345'920)->name == "A100-80GB");
  CHECK(MigModelOf("NVIDIA H100 80GB HBM3", 85'520'809'984)->name == "H100-80GB");
  CHECK(MigModelOf("NVIDIA H200", 150'754'820'096)->name == "H200-141GB");
  CHECK(MigModelOf("NVIDIA H100 NVL", 100'000'000'000) == nullptr);
  CHECK(MigModelOf("NVIDIA T4", 16'000'000'000) == nullptr);
}

TEST_CASE("Free instances are used before others are created") {
  const std::vector<MigDevice> gpus = {
      Gpu("a", {{"a0", "3g.20gb", 4, true}, {"a1", "1g.5gb", 0, false}}), Gpu("b")};
  CHECK(Text(PlanMig(gpus, Profiles{"3g.20gb"})) == "a:3g.20gb@4=a0");
  CHECK(Text(PlanMig(gpus, Profiles{"1g.5gb", "3g.20gb", "2g.10gb"})) ==
        "a:1g.5gb@1 a:3g.20gb@4=a0 a:2g.10gb@2");
  CHECK(Text(PlanMig(gpus, Profiles{"7g.40gb"})) == "b:7g.40gb@0");
  CHECK(Text(PlanMig(gpus, Profiles{})) == "");
}

TEST_CASE("A whole GPU is filled by the combinations the hardware allows") {
  const std::vector<MigDevice> gpu = {Gpu("a")};
  CHECK(PlanMig(gpu, Profiles(7, "1g.5gb")).ok());
  CHECK(PlanMig(gpu, Profiles{"3g.20gb", "3g.20gb"}).ok());
  CHECK(PlanMig(gpu, Profiles{"3g.20gb", "4g.20gb"}).ok());
  CHECK(PlanMig(gpu, Profiles{"2g.10gb", "2g.10gb", "2g.10gb", "1g.5gb"}).ok());
  CHECK(PlanMig(gpu, Profiles{"4g.20gb", "2g.10gb", "1g.10gb"}).ok());
  CHECK(PlanMig(gpu, Profiles(4, "1g.10gb")).ok());
  CHECK_FALSE(PlanMig(gpu, Profiles(8, "1g.5gb")).ok());
  CHECK_FALSE(PlanMig(gpu, Profiles{"4g.20gb", "4g.20gb"}).ok());
  CHECK_FALSE(PlanMig(gpu, Profiles(4, "2g.10gb")).ok());
  CHECK_FALSE(PlanMig(gpu, Profiles{"1g.5gb+me", "1g.5gb+me"}).ok());
}

TEST_CASE("Reconfiguring destroys the fewest free instances") {
  const std::vector<MigDevice> gpus = {
      Gpu("a", {{"a0", "1g.5gb", 0, true}, {"a1", "1g.5gb", 1, true}, {"a2", "1g.5gb", 6, true}}),
      Gpu("b", {{"b0", "1g.5gb", 0, false}, {"b1", "1g.5gb", 5, true}})};
  // Slices 4 to 7 have one free instance on each; b is fuller.
  CHECK(Text(PlanMig(gpus, Profiles{"3g.20gb"}, MigReconfigure::destroy_free)) ==
        "-b/b1 b:3g.20gb@4");
  CHECK(Text(PlanMig(gpus, Profiles{"4g.20gb"}, MigReconfigure::destroy_free)) ==
        "-a/a0 -a/a1 a:4g.20gb@0");
  CHECK(Text(PlanMig(gpus, Profiles{"2g.10gb"}, MigReconfigure::destroy_free)) == "b:2g.10gb@2");
  // The free 1g of a has to go though a 1g is asked for: that moves to b.
  CHECK(Text(PlanMig(gpus, Profiles{"7g.40gb", "1g.5gb"}, MigReconfigure::destroy_free)) ==
        "-a/a0 -a/a1 -a/a2 a:7g.40gb@0 b:1g.5gb@5=b1");
}

TEST_CASE("A refusal tells too little from wrongly placed, and whether to reconfigure") {
  const std::vector<MigDevice> full = {Gpu("a", {{"a0", "7g.40gb", 0, false}})};
  CHECK(Text(PlanMig(full, Profiles{"1g.5gb"})) ==
        "needs 1g.5gb: 1 memory slices, 0 free: 1 short");
  const std::vector<MigDevice> split = {
      Gpu("a", {{"a0", "1g.5gb", 1, false}, {"a1", "1g.5gb", 5, false}})};
  const char* const geometry =
      "needs 3g.20gb: 4 memory slices, 6 free, but not where the instances may lie";
  CHECK(Text(PlanMig(split, Profiles{"3g.20gb"})) == geometry);
  CHECK(Text(PlanMig(split, Profiles{"3g.20gb"}, MigReconfigure::destroy_free)) == geometry);
  const std::vector<MigDevice> idle = {
      Gpu("a", {{"a0", "1g.5gb", 1, true}, {"a1", "1g.5gb", 5, false}})};
  CHECK(Text(PlanMig(idle, Profiles{"3g.20gb"})) ==
        "needs 3g.20gb: 4 memory slices, 6 free, but not where the instances may lie; destroying "
        "free instances would make room: 1");
  std::vector<MigDevice> drained = {Gpu("a")};
  drained[0].healthy = false;
  CHECK(Text(PlanMig(drained, Profiles{"1g.5gb"})) ==
        "needs 1g.5gb, no healthy GPU has this profile");
}

TEST_CASE("What cannot be is refused") {
  const auto refusal = [](const MigDevice& gpu, const std::string& profile) {
    const auto plan = PlanMig(std::vector{gpu}, Profiles{profile});
    CHECK(plan.status().code() == StatusCode::kInvalidArgument);
    return Text(plan);
  };
  CHECK(refusal({"a", "A100-41GB", {}}, "1g.5gb") ==
        "a: unknown MIG model \"A100-41GB\"; did you mean \"A100-40GB\"?");
  CHECK(refusal(Gpu("a"), "1g.6gb") == "unknown MIG profile \"1g.6gb\"; did you mean \"1g.5gb\"?");
  CHECK(refusal(Gpu("a", {{"x", "1g.18gb", 0, true}}), "1g.5gb") ==
        "a: A100-40GB has no profile 1g.18gb");
  CHECK(refusal(Gpu("a", {{"x", "3g.20gb", 2, true}}), "1g.5gb") ==
        "a: 3g.20gb cannot begin at memory slice 2");
  CHECK(refusal(Gpu("a", {{"x", "3g.20gb", 0, true}, {"y", "1g.5gb", 3, true}}), "1g.5gb") ==
        "a: the 1g.5gb at memory slice 3 overlaps another instance");
}

// The fewest free instances that have to go, by trying every place for every profile; -1: none.
int FewestDestroyed(const std::vector<MigDevice>& gpus, const Profiles& profiles) {
  const MigModel& model = *FindMigModel("A100-40GB");
  struct Piece {
    size_t gpu;
    unsigned mask;
    const MigProfile* profile;
    bool reused;
  };
  int best = -1;
  std::vector<Piece> pieces;
  const auto mask_of = [](const MigProfile& profile, int start) {
    return ((1U << profile.memory_slices) - 1) << start;
  };
  const std::function<void(size_t)> place = [&](size_t next) {
    if (next == profiles.size()) {
      int destroyed = 0;
      for (size_t g = 0; g < gpus.size(); ++g) {
        int media = 0;
        int kept_media = 0;
        for (const Piece& piece : pieces) {
          media += piece.gpu == g && piece.profile->max_instances == 1 &&
                           piece.profile->memory_slices == 1
                       ? 1
                       : 0;
        }
        for (const MigInstance& instance : gpus[g].instances) {
          const MigProfile& profile = *FindMigProfile(model, instance.profile);
          const unsigned mask = mask_of(profile, instance.start);
          const bool is_media = profile.name.ends_with("+me");
          bool gone = false;
          bool reused = false;
          for (const Piece& piece : pieces) {
            if (piece.gpu != g || (piece.mask & mask) == 0) continue;
            reused = reused || piece.reused;
            gone = gone || !piece.reused;
          }
          if (!gone && !reused && is_media) {
            if (!instance.free) {
              ++media;
            } else if (media > 0) {
              gone = true;
            } else {
              ++kept_media;
            }
          }
          destroyed += gone ? 1 : 0;
        }
        if (media > 1 || media + kept_media > 1) return;
      }
      if (best < 0 || destroyed < best) best = destroyed;
      return;
    }
    const MigProfile& profile = *FindMigProfile(model, profiles[next]);
    for (size_t g = 0; g < gpus.size(); ++g) {
      for (int start = 0; start < 8; ++start) {
        if ((profile.starts >> start & 1) == 0) continue;
        const unsigned mask = mask_of(profile, start);
        bool taken = false;
        bool reused = false;
        for (const Piece& piece : pieces) {
          taken = taken || (piece.gpu == g && (piece.mask & mask) != 0);
        }
        for (const MigInstance& instance : gpus[g].instances) {
          const MigProfile& other = *FindMigProfile(model, instance.profile);
          if ((mask_of(other, instance.start) & mask) == 0) continue;
          taken = taken || !instance.free;
          reused = reused || (instance.profile == profiles[next] && instance.start == start);
        }
        if (taken) continue;
        pieces.push_back({g, mask, &profile, reused});
        place(next + 1);
        pieces.pop_back();
      }
    }
  };
  place(0);
  return best;
}

TEST_CASE("Plans are as good as a search that tries everything") {
  const MigModel& model = *FindMigModel("A100-40GB");
  int possible = 0;
  int impossible = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const auto roll = [&](uint64_t n) { return static_cast<size_t>(random.Next() % n); };
    std::vector<MigDevice> gpus;
    for (size_t g = 0; g < 1 + roll(2); ++g) {
      MigDevice gpu = Gpu("g" + std::to_string(g));
      unsigned taken = 0;
      bool media = false;
      for (size_t tries = roll(9); tries > 0; --tries) {
        const MigProfile& profile = model.profiles[roll(5)];
        const auto start = static_cast<int>(roll(8));
        const unsigned mask = ((1U << profile.memory_slices) - 1) << start;
        const bool second = profile.name.ends_with("+me") && media;
        if ((profile.starts >> start & 1) == 0 || (taken & mask) != 0 || second) continue;
        media = media || profile.name.ends_with("+me");
        taken |= mask;
        gpu.instances.push_back({"i" + std::to_string(gpu.instances.size()),
                                 std::string(profile.name), start, roll(3) != 0});
      }
      gpus.push_back(std::move(gpu));
    }
    Profiles wanted;
    for (size_t i = 1 + roll(3); i > 0; --i) wanted.emplace_back(model.profiles[roll(7)].name);
    const int fewest = FewestDestroyed(gpus, wanted);
    const auto plan = PlanMig(gpus, wanted, MigReconfigure::destroy_free);
    CAPTURE(Text(plan));
    REQUIRE(plan.ok() == (fewest >= 0));
    REQUIRE(PlanMig(gpus, wanted).ok() == (fewest == 0));
    (fewest >= 0 ? possible : impossible) += 1;
    if (!plan.ok()) continue;
    REQUIRE(plan->destroy.size() == static_cast<size_t>(fewest));
    REQUIRE(plan->assignments.size() == wanted.size());
    // What is left and what is new do not overlap.
    for (const MigDevice& gpu : gpus) {
      unsigned taken = 0;
      const auto add = [&](std::string_view name, int start) {
        const MigProfile& profile = *FindMigProfile(model, name);
        const unsigned mask = ((1U << profile.memory_slices) - 1) << start;
        CHECK((taken & mask) == 0);
        CHECK((profile.starts >> start & 1) == 1);
        taken |= mask;
      };
      for (const MigInstance& instance : gpu.instances) {
        const std::pair<std::string, std::string> key = {gpu.id, instance.id};
        if (std::find(plan->destroy.begin(), plan->destroy.end(), key) != plan->destroy.end()) {
          CHECK(instance.free);
        } else {
          add(instance.profile, instance.start);
        }
      }
      for (const MigAssignment& assignment : plan->assignments) {
        if (assignment.device == gpu.id && assignment.instance.empty()) {
          add(assignment.profile, assignment.start);
        }
      }
    }
  }
  CHECK(possible > 300);
  CHECK(impossible > 300);
}

TEST_CASE("Eight GPUs are planned at once") {
  std::vector<MigDevice> gpus;
  for (int i = 0; i < 8; ++i) gpus.push_back(Gpu("g" + std::to_string(i)));
  CHECK(PlanMig(gpus, Profiles(56, "1g.5gb")).ok());
  // So many that not everything is tried, and that is said.
  CHECK(Text(PlanMig(gpus, Profiles(57, "1g.5gb"))).ends_with("(not all choices were tried)"));
  Profiles mixed(8, "3g.20gb");
  for (int i = 0; i < 8; ++i) {
    mixed.emplace_back("2g.10gb");
    mixed.emplace_back("1g.5gb");
  }
  CHECK(PlanMig(gpus, mixed).ok());
}

}  // namespace
}  // namespace trackbed
