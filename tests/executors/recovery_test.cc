// At most once, whoever asks and whoever dies.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <random>

#include "executors/attempt_fixture.hpp"
#include "executors/attempt_records.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

// Runs `body` in another process, which must not use the test framework.
pid_t InChild(const std::function<void()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  return pid;
}

int CountLines(const std::string& path) {
  const std::string text = ReadAll(path);
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

ClaimRecord ReadClaim(const std::string& folder) {
  ClaimRecord claim;
  std::string error;
  std::optional<ExitRecord> exit;
  REQUIRE(DecodeClaimFile(ReadAll(folder + "/claim"), &claim, &exit, &error));
  return claim;
}

pid_t WaitForClaim(const std::string& folder) {
  REQUIRE(Eventually([&] { return std::filesystem::exists(folder + "/claim"); }));
  return ReadClaim(folder).pid;
}

bool Alive(pid_t pid) { return kill(pid, 0) == 0; }

TEST_CASE("a key runs once when two processes start it at the same time") {
  for (int round = 0; round < 20; ++round) {
    const ScratchFolder scratch;
    const AttemptSpec spec = ScriptSpec(scratch, "echo ran >> " + (scratch / "marks"));
    int gate[2];
    REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 2; ++i) {
      children.push_back(InChild([&] {
        auto executor = ProcessExecutor::Create();
        char byte = 0;
        close(gate[1]);
        [[maybe_unused]] const ssize_t opened = read(gate[0], &byte, 1);
        if (!executor.ok() || !(*executor)->Start(spec).ok()) _exit(1);
        std::vector<AttemptReport> reports;
        while (reports.empty() || reports.back().kind == Kind::started) {
          pollfd wake{(*executor)->WakeDescriptor(), POLLIN, 0};
          poll(&wake, 1, 1000);
          if (!(*executor)->Poll(&reports).ok()) _exit(2);
        }
        _exit(reports.back().kind == Kind::exited && reports.back().exit_code == 0 ? 0 : 3);
      }));
    }
    close(gate[0]);
    close(gate[1]);
    for (const pid_t child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      CHECK(status == 0);
    }
    CHECK(CountLines(scratch / "marks") == 1);
  }
}

TEST_CASE("kill -9 of the engine at any point loses nothing and doubles nothing") {
  std::mt19937 random(20261123);
  int never_started = 0;
  for (int round = 0; round < 40; ++round) {
    const ScratchFolder scratch;
    const AttemptSpec spec =
        ScriptSpec(scratch, "echo ran >> " + (scratch / "marks") + "; sleep 0.02; exit 9");
    const pid_t engine = InChild([&] {
      auto executor = ProcessExecutor::Create();
      if (executor.ok()) (void)(*executor)->Start(spec);
      pause();
    });
    std::uniform_int_distribution<int> delay(0, 6000);
    usleep(static_cast<useconds_t>(delay(random)));
    kill(engine, SIGKILL);
    waitpid(engine, nullptr, 0);

    const auto executor = MakeExecutor();
    if (round % 2 == 0) {
      const AttemptReport report = RunToEnd(executor.get(), spec);
      CHECK(report.kind == Kind::exited);
      CHECK(report.exit_code == 9);
      CHECK(CountLines(scratch / "marks") == 1);
      continue;
    }
    const Status adopted = executor->Adopt(spec.key, spec.folder);
    if (adopted.ok()) {
      int started = 0;
      const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
      CHECK(report.kind == Kind::exited);
      CHECK(report.exit_code == 9);
      CHECK(started == 1);
      CHECK(CountLines(scratch / "marks") == 1);
    } else {
      ++never_started;
      CHECK(adopted.code() == StatusCode::kNotFound);
      CHECK(executor->Adopt(spec.key, spec.folder).code() == StatusCode::kNotFound);
      CHECK(executor->Start(spec).code() == StatusCode::kFailedPrecondition);
      CHECK(CountLines(scratch / "marks") == 0);
      // Whom the engine had told before may still be about to claim it, and finds it taken.
      for (std::error_code error; std::filesystem::exists(spec.folder);) {
        std::filesystem::remove_all(spec.folder, error);
      }
      CHECK(RunToEnd(executor.get(), spec).exit_code == 9);
    }
  }
  INFO(never_started << " of 20 were killed before the claim");
}

TEST_CASE("an attempt adopted by another executor can be stopped and observed") {
  const ScratchFolder scratch;
  const AttemptSpec spec = ScriptSpec(scratch, "touch ready; sleep 1000");
  auto first = MakeExecutor();
  REQUIRE(first->Start(spec).ok());
  REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
  first.reset();
  const auto second = MakeExecutor();
  REQUIRE(second->Adopt(spec.key, spec.folder).ok());
  REQUIRE(second->Stop(spec.key, StopMode::terminate).ok());
  CHECK(WaitForEnd(second.get(), spec.key).signal == SIGTERM);
  // And again, now from the record alone.
  const auto third = MakeExecutor();
  REQUIRE(third->Adopt(spec.key, spec.folder).ok());
  CHECK(WaitForEnd(third.get(), spec.key).signal == SIGTERM);
  CHECK(third->Start(ScriptSpec(scratch, "true", "run/task/2")).ok());
  AttemptSpec other = spec;
  other.key = "run/other/1";
  CHECK(third->Start(other).code() == StatusCode::kFailedPrecondition);
}

TEST_CASE("an attempt whose supervisor is killed is lost, and dead") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptSpec spec = ScriptSpec(
      scratch,
      "echo $$ > main; setsid sleep 1000 & echo $! > away; sleep 1000 & touch ready; wait");
  REQUIRE(executor->Start(spec).ok());
  REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
  REQUIRE(kill(WaitForClaim(spec.folder), SIGKILL) == 0);
  int started = 0;
  const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
  CHECK(report.kind == Kind::lost);
  CHECK(started == 1);
  CHECK(report.message.find("gone") != std::string::npos);
  for (const char* name : {"main", "away"}) {
    const int pid = std::stoi(ReadAll(spec.folder + "/work/" + name));
    CHECK(Eventually([&] { return !Alive(pid); }));
  }
}

TEST_CASE("a process that took over the number of a dead supervisor is left alone") {
  const ScratchFolder scratch;
  const AttemptSpec spec = ScriptSpec(scratch, "true");
  std::filesystem::create_directories(spec.folder);
  const pid_t stranger = InChild([] { pause(); });
  ClaimRecord claim;
  claim.key = spec.key;
  claim.pid = stranger;
  claim.boot = BootIdentity();
  pid_t parent = 0;
  REQUIRE(ReadProcessStat(stranger, &claim.start_time, &parent));
  SECTION("another start time") { claim.start_time -= 1; }
  SECTION("another boot") { claim.boot = "11111111-2222-3333-4444-555555555555"; }
  WriteAll(spec.folder + "/claim", EncodeClaim(claim));
  const auto executor = MakeExecutor();
  REQUIRE(executor->Adopt(spec.key, spec.folder).ok());
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::lost);
  CHECK(Alive(stranger));
  kill(stranger, SIGKILL);
  waitpid(stranger, nullptr, 0);
}

TEST_CASE("damaged records are reported as such") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptSpec spec = ScriptSpec(scratch, "true");
  SECTION("a claim") {
    WriteAll(spec.folder + "/claim", "trackbed claim 1\nkey run/task/1\npid twelve\nend\n");
    REQUIRE(executor->Start(spec).ok());
  }
  SECTION("half a record of the end") {
    REQUIRE(RunToEnd(executor.get(), spec).exit_code == 0);
    const pid_t supervisor = WaitForClaim(spec.folder);
    const std::string text = ReadAll(spec.folder + "/claim");
    WriteAll(spec.folder + "/claim", text.substr(0, text.size() - 5));
    // While its supervisor lives it may still be written.
    REQUIRE(kill(supervisor, SIGKILL) == 0);
    REQUIRE(executor->Adopt(spec.key, spec.folder).ok());
  }
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  CHECK(report.kind == Kind::lost);
  CHECK(report.message.find("damaged") != std::string::npos);
}

TEST_CASE("records read back as they were written") {
  LaunchRecord launch;
  launch.key = "a b/c\\d/1";
  launch.command = {"sh", "-c", "line 1\n\tline 2\\n\r\n", ""};
  launch.environment = {{"A", "x y\nz"}, {"ODD NAME", ""}};
  launch.secret_names = {"TOKEN"};
  launch.links = {{"work/with space", "/target with space/\\"}};
  launch.memory_bytes = 5;
  launch.has_accelerators = true;
  LaunchRecord read;
  std::string error;
  REQUIRE(DecodeLaunch(EncodeLaunch(launch), &read, &error));
  CHECK(read.key == launch.key);
  CHECK(read.command == launch.command);
  CHECK(read.environment == launch.environment);
  CHECK(read.links == launch.links);
  CHECK(read.memory_bytes == 5);
  CHECK(read.has_accelerators);
  const std::string text = EncodeLaunch(launch);
  for (size_t cut = 0; cut < text.size(); ++cut) {
    CHECK_FALSE(DecodeLaunch(text.substr(0, cut), &read, &error));
  }
  CHECK_FALSE(DecodeLaunch(text + "x", &read, &error));
  CHECK_FALSE(DecodeLaunch("trackbed launch 1\nunknown 1\nend\n", &read, &error));
  CHECK(error == "found \"unknown\", expected a known key");
}

TEST_CASE("the record of an attempt is its claim, then its end") {
  ClaimRecord claim;
  claim.key = "a\nend\n/1";
  claim.pid = 12;
  claim.boot = "b";
  ExitRecord exit;
  exit.exit_code = 3;
  exit.message = "two\nlines\nend\n";
  const std::string first = EncodeClaim(claim);
  const std::string text = first + EncodeExit(exit);
  ClaimRecord read;
  std::optional<ExitRecord> end;
  std::string error;
  for (size_t cut = 0; cut < text.size(); ++cut) {
    INFO(cut);
    CHECK(DecodeClaimFile(text.substr(0, cut), &read, &end, &error) == (cut >= first.size()));
    CHECK_FALSE(end);
    CHECK(error.empty() == (cut == first.size()));
  }
  REQUIRE(DecodeClaimFile(text, &read, &end, &error));
  CHECK(read.key == claim.key);
  REQUIRE(end);
  CHECK(end->exit_code == 3);
  CHECK(end->message == exit.message);
  CHECK(DecodeClaimFile(text + "more", &read, &end, &error));
  CHECK_FALSE(end);
}

TEST_CASE("a claim is made once, by whom it is made it is completed") {
  const ScratchFolder scratch;
  int file = -1;
  REQUIRE(MakeWholeFile(scratch / "claim", "first\n", 4096, &file) == 0);
  CHECK(ReadAll(scratch / "claim") == "first\n");
  int other = -1;
  CHECK(MakeWholeFile(scratch / "claim", "second\n", 4096, &other) == EEXIST);
  CHECK(other == -1);
  CHECK(WriteWholeFile(scratch / "claim", "third\n", true) == EEXIST);
  CHECK(WriteFully(file, "more\n") == 0);
  close(file);
  CHECK(ReadAll(scratch / "claim") == "first\nmore\n");
  const auto entries = std::filesystem::directory_iterator(scratch.path());
  CHECK(std::distance(begin(entries), end(entries)) == 1);  // no drafts
}

TEST_CASE("a command that removes its record does not hide how it ended") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "rm -f ../claim; exit 5");
  SECTION("all of it") {}
  SECTION("for another") { spec.command = {"cp ../claim x; rm ../claim; mv x ../claim; exit 5"}; }
  CHECK(RunToEnd(executor.get(), spec).exit_code == 5);
  const auto second = MakeExecutor();
  REQUIRE(second->Adopt(spec.key, spec.folder).ok());
  CHECK(WaitForEnd(second.get(), spec.key).exit_code == 5);
}

TEST_CASE("after fork the child may not use its parent's executor") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const pid_t child = InChild([&] {
    std::vector<AttemptReport> reports;
    _exit(executor->Poll(&reports).code() == StatusCode::kFailedPrecondition ? 0 : 1);
  });
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

}  // namespace
}  // namespace trackbed
