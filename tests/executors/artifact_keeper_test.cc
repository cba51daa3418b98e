#include "trackbed/executors/artifact_keeper.hpp"

#include "executors/attempt_fixture.hpp"
#include "support/fake_clock.hpp"
#include "support/fake_executor.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

// Keeps the names of what it was given, or is full.
class NamesOnly final : public ArtifactStore {
 public:
  StatusOr<bool> Has(const std::string& digest) override { return kept.contains(digest); }
  Status Put(const std::string& digest, const std::string& folder) override {
    if (full) return absl::ResourceExhaustedError("full");
    kept[digest] = folder;
    return absl::OkStatus();
  }
  Status Get(const std::string& /*digest*/, const std::string& /*folder*/) override {
    return NotFound("not kept");
  }

  bool full = false;
  std::map<std::string, std::string> kept;
};

struct Lab {
  std::vector<AttemptReport> Poll() {
    std::vector<AttemptReport> reports;
    REQUIRE(keeper.Poll(&reports).ok());
    std::erase_if(reports, [](const auto& report) { return report.kind == Kind::started; });
    return reports;
  }

  ScratchFolder scratch;
  FakeClock clock;
  FakeExecutor fake{&clock};
  NamesOnly store;
  ArtifactKeeper keeper{&fake, &store};
  AttemptSpec spec = ScriptSpec(scratch, "true");
};

TEST_CASE("keeper: an attempt succeeds once its outputs are kept, and is lost where they are not") {
  Lab lab;
  lab.store.full = GENERATE(false, true);
  lab.fake.decide = [](const AttemptSpec&) { return Outcome::Files("sha256:ab"); };
  REQUIRE(lab.keeper.Start(lab.spec).ok());
  const auto reports = lab.Poll();
  REQUIRE(reports.size() == 1);
  if (lab.store.full) {
    CHECK(reports[0].kind == Kind::lost);
    CHECK(reports[0].message == "its outputs could not be kept: full");
  } else {
    CHECK(reports[0].kind == Kind::exited);
    CHECK(lab.store.kept["sha256:ab"] == lab.spec.folder + "/outputs");
  }
}

TEST_CASE("keeper: what is said about nodes reaches the executor behind it, and comes from there") {
  Lab lab;
  lab.fake.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  lab.spec.node = "b";
  REQUIRE(lab.keeper.Start(lab.spec).ok());
  lab.fake.silent = {"b"};
  CHECK(lab.keeper.SilentNodes() == std::vector<std::string>{"b"});
  CHECK(lab.keeper.GiveUp(lab.spec.key).ok());
  CHECK(lab.fake.given_up() == std::vector<AttemptKey>{lab.spec.key});
  NodeDescription node;
  node.name = "c";
  CHECK(lab.keeper.AddNode(node).ok());
  CHECK(lab.fake.added == std::vector<std::string>{"c"});
}

TEST_CASE("keeper: what an earlier engine started is kept, too, and what was not started is not") {
  Lab lab;
  const bool observes = GENERATE(false, true);
  const auto take_up = [&](const AttemptKey& key) {
    return observes ? lab.keeper.Observe(key, lab.spec.folder)
                    : lab.keeper.Adopt(key, lab.spec.folder);
  };
  lab.fake.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  REQUIRE(lab.fake.Start(lab.spec).ok());
  CHECK(absl::IsNotFound(take_up("none/task/1")));
  REQUIRE(take_up(lab.spec.key).ok());
  CHECK(lab.Poll().empty());
  lab.fake.Finish(lab.spec.key, Outcome::Files("sha256:ab"));
  const auto reports = lab.Poll();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].kind == Kind::exited);
  CHECK(lab.store.kept["sha256:ab"] == lab.spec.folder + "/outputs");
}

TEST_CASE("keeper: what does not start or does not succeed leaves nothing to keep") {
  Lab lab;
  lab.fake.decide = [](const AttemptSpec&) { return Outcome::StartFails(Unavailable("busy")); };
  CHECK(absl::IsUnavailable(lab.keeper.Start(lab.spec)));
  lab.fake.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  REQUIRE(lab.keeper.Start(lab.spec).ok());
  REQUIRE(lab.keeper.Stop(lab.spec.key, StopMode::terminate).ok());
  CHECK(lab.fake.stops().size() == 1);
  REQUIRE(lab.Poll().size() == 1);
  CHECK(lab.store.kept.empty());
  CHECK(lab.keeper.MaxClusterSize() == lab.fake.MaxClusterSize());
}

TEST_CASE("executor: what it does not say of itself is what most do") {
  class Least final : public Executor {
   public:
    Status Start(const AttemptSpec& /*spec*/) override { return absl::OkStatus(); }
    Status Adopt(const AttemptKey& key, const std::string& /*folder*/) override {
      return NotFound(key);
    }
    Status Poll(std::vector<AttemptReport>* /*reports*/) override { return absl::OkStatus(); }
    Status Stop(const AttemptKey& key, StopMode mode) override {
      stopped.emplace_back(key, mode);
      return absl::OkStatus();
    }
    int WakeDescriptor() const override { return -1; }

    std::vector<std::pair<AttemptKey, StopMode>> stopped;
  };
  Least least;
  CHECK(Message(least.Observe("run/a/1", "/x")) == "the attempt run/a/1 is not known to run");
  CHECK(least.AddNode(NodeDescription()).ok());
  CHECK(least.SilentNodes().empty());
  CHECK(least.MaxClusterSize() == 1);
  REQUIRE(least.GiveUp("run/a/1").ok());
  REQUIRE(least.stopped.size() == 1);
  CHECK(least.stopped[0].second == StopMode::kill);
}

}  // namespace
}  // namespace trackbed
