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

}  // namespace
}  // namespace trackbed
