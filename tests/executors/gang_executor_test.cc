// Gangs by an executor that runs single processes: one fake, and the one for processes.
#include "trackbed/executors/gang_executor.hpp"

#include <map>
#include <string>
#include <vector>

#include "executors/attempt_fixture.hpp"
#include "support/fake_clock.hpp"
#include "support/fake_executor.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;
using std::chrono::seconds;

AttemptSpec GangSpec(AttemptSpec spec, size_t size) {
  for (size_t rank = 0; rank < size; ++rank) {
    spec.gang.push_back({rank == 0 ? "main1" : "sub" + std::to_string(rank), "n1", {}});
  }
  spec.node = "n1";
  return spec;
}

// A gang of three over a fake executor. The key of a member decides what becomes of it.
struct Lab {
  Lab() { Renew(); }
  void Renew() {
    auto created = GangExecutor::Create(&fake, &clock);
    REQUIRE(created.ok());
    gangs = *std::move(created);
  }
  // The engine has died, and with it this executor.
  void Crash() {
    fake.Forget();
    Renew();
  }
  std::vector<AttemptReport> Poll() {
    std::vector<AttemptReport> reports;
    REQUIRE(gangs->Poll(&reports).ok());
    std::erase_if(reports, [](const auto& report) { return report.kind == Kind::started; });
    return reports;
  }

  FakeClock clock;
  FakeExecutor fake{&clock};
  ScratchFolder scratch;
  std::unique_ptr<GangExecutor> gangs;
  AttemptSpec spec = GangSpec(ScriptSpec(scratch, "train"), 3);
  std::map<AttemptKey, Outcome> outcomes;
};

std::vector<std::string> Started(const Lab& lab) { return lab.fake.started(); }

TEST_CASE("a gang is its members, and succeeds when all do") {
  Lab lab;
  lab.fake.decide = [](const AttemptSpec& spec) -> std::optional<Outcome> {
    Outcome outcome;
    outcome.takes = seconds(spec.rank + 1);
    outcome.output_text = "rank=" + std::to_string(spec.rank);
    return outcome;
  };
  REQUIRE(lab.gangs->Start(lab.spec).ok());
  REQUIRE(lab.gangs->Start(lab.spec).ok());  // again: the same
  CHECK(Started(lab) ==
        std::vector<std::string>{"run/task/1", "run/task/1/sub1", "run/task/1/sub2"});
  CHECK(lab.fake.spec("run/task/1/sub2").folder == lab.spec.folder + "/members/sub2");
  CHECK(lab.fake.spec("run/task/1/sub2").rank == 2);
  CHECK(lab.fake.spec("run/task/1").folder == lab.spec.folder);
  CHECK(lab.Poll().empty());
  lab.clock.Advance(seconds(2));
  CHECK(lab.Poll().empty());
  lab.clock.Advance(seconds(2));
  const auto reports = lab.Poll();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].key == "run/task/1");
  CHECK(reports[0].exit_code == 0);
  CHECK(reports[0].output_text == "rank=0");  // main1's
  CHECK(lab.Poll().empty());
  CHECK(absl::IsNotFound(lab.gangs->Stop("run/task/1", StopMode::kill)));
}

TEST_CASE("the first member that fails ends the others, and is the reason") {
  Lab lab;
  lab.spec.grace_period = seconds(5);
  lab.fake.decide = [](const AttemptSpec& spec) -> std::optional<Outcome> {
    Outcome outcome = Outcome::Waits();
    if (spec.rank == 1) outcome = Outcome::Failure(3);
    outcome.ignores_terminate = spec.rank == 2;
    return outcome;
  };
  REQUIRE(lab.gangs->Start(lab.spec).ok());
  CHECK(lab.Poll().empty());
  CHECK(lab.fake.running() == 1);  // who does not end when asked
  lab.clock.Advance(seconds(4));
  CHECK(lab.Poll().empty());
  lab.clock.Advance(seconds(2));
  auto reports = lab.Poll();
  if (reports.empty()) reports = lab.Poll();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].kind == Kind::exited);
  CHECK(reports[0].exit_code == 3);
  CHECK(reports[0].message == "member sub1: exited with code 3");
  CHECK(lab.fake.running() == 0);
}

TEST_CASE("a member that cannot start takes those with it that did") {
  for (const bool busy : {false, true}) {
    for (const size_t which : {0U, 1U, 2U}) {
      CAPTURE(busy, which);
      Lab lab;
      lab.fake.decide = [&](const AttemptSpec& spec) -> std::optional<Outcome> {
        if (spec.rank != which) return Outcome::Waits();
        return Outcome::StartFails(busy ? Unavailable("busy") : InvalidArgument("no"));
      };
      const Status status = lab.gangs->Start(lab.spec);
      CHECK(status.ok() == (which > 0));
      CHECK(lab.fake.started().size() == which);
      if (!status.ok()) continue;
      const auto reports = lab.Poll();
      REQUIRE(reports.size() == 1);
      CHECK(reports[0].kind == (busy ? Kind::lost : Kind::failed_to_start));
      CHECK(reports[0].message ==
            "member sub" + std::to_string(which) + (busy ? ": busy" : ": no"));
      CHECK(lab.fake.running() == 0);
    }
  }
}

TEST_CASE("whenever the engine dies, the next finds every member, and none starts twice") {
  for (size_t started = 0; started <= 3; ++started) {
    CAPTURE(started);
    Lab lab;
    lab.fake.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
    // Members begin one after the other; the engine has died after so many.
    for (size_t rank = 0; rank < started; ++rank) {
      AttemptSpec member = lab.spec;
      member.rank = rank;
      if (rank > 0) {
        member.key += "/sub" + std::to_string(rank);
        member.folder += "/members/sub" + std::to_string(rank);
        std::filesystem::create_directories(member.folder);
      }
      REQUIRE(lab.fake.Start(member).ok());
    }
    lab.Crash();
    REQUIRE(lab.gangs->Start(lab.spec).ok());
    CHECK(lab.fake.started().size() == 3);
    lab.Crash();
    REQUIRE(lab.gangs->Adopt(lab.spec.key, lab.spec.folder).ok());
    for (const AttemptKey& key : Started(lab)) lab.fake.Finish(key, Outcome());
    const auto reports = lab.Poll();
    REQUIRE(reports.size() == 1);
    CHECK(reports[0].exit_code == 0);
    CHECK(lab.fake.started().size() == 3);
  }
}

TEST_CASE("who adopts a gang sees to it that missing members never start") {
  Lab lab;
  lab.fake.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  CHECK(absl::IsNotFound(lab.gangs->Adopt(lab.spec.key, lab.spec.folder)));
  CHECK_FALSE(lab.gangs->Start(lab.spec).ok());
  CHECK(lab.fake.started().empty());

  Lab other;
  other.fake.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  REQUIRE(other.gangs->Start(other.spec).ok());
  other.Crash();
  REQUIRE(other.gangs->Observe(other.spec.key, other.spec.folder).ok());
  REQUIRE(other.gangs->Adopt(other.spec.key, other.spec.folder).ok());
  REQUIRE(other.gangs->Stop(other.spec.key, StopMode::terminate).ok());
  const auto reports = other.Poll();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].signal == 15);
  CHECK(other.fake.running() == 0);
}

TEST_CASE("processes of a gang know each other, and end together") {
  const ScratchFolder scratch;
  const auto processes = MakeExecutor();
  auto gangs = GangExecutor::Create(processes.get());
  REQUIRE(gangs.ok());
  AttemptSpec spec = GangSpec(ScriptSpec(scratch, ""), 3);
  const std::string main1 = spec.folder + "/work/id";
  const std::string sub2 = spec.folder + "/members/sub2/work/id";
  spec.command = {
      "echo $BACKENDAI_CLUSTER_HOST $BACKENDAI_CLUSTER_SIZE $BACKENDAI_CLUSTER_REPLICAS "
      "$BACKENDAI_CLUSTER_ROLE $BACKENDAI_CLUSTER_IDX $BACKENDAI_CLUSTER_LOCAL_RANK "
      "$TRACKBED_GANG_RANK $TRACKBED_GANG_HOSTS; "
      "echo $BACKENDAI_SESSION_ID $BACKENDAI_SESSION_NAME >> id; "
      "[ $TRACKBED_GANG_RANK = 1 ] || exec sleep 60; "
      "until [ -s " +
      main1 + " ] && [ -s " + sub2 + " ]; do sleep 0.01; done; kill -KILL $$"};
  REQUIRE((*gangs)->Start(spec).ok());
  const AttemptReport report = WaitForEnd(gangs->get(), spec.key);
  CHECK(report.signal == 9);
  CHECK(report.message == "member sub1: ended by signal 9");
  CHECK(ReadAll(spec.folder + "/log").find("main1 3 main:1,sub:2 main 1 0 0 main1,sub1,sub2\n") !=
        std::string::npos);
  CHECK(ReadAll(spec.folder + "/members/sub2/log")
            .find("sub2 3 main:1,sub:2 sub 2 2 2 main1,sub1,sub2\n") != std::string::npos);
  CHECK(ReadAll(main1) == ReadAll(sub2));
}

}  // namespace
}  // namespace trackbed
