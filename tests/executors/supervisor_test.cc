// Supervisors stay for the next attempt: nothing of one reaches another, and whoever is killed,
// each runs at most once.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <random>
#include <set>

#include "executors/attempt_fixture.hpp"
#include "executors/attempt_records.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

ClaimRecord ReadClaim(const AttemptSpec& spec) {
  ClaimRecord claim;
  std::string error;
  REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/claim"); }));
  std::optional<ExitRecord> exit;
  REQUIRE(DecodeClaimFile(ReadAll(spec.folder + "/claim"), &claim, &exit, &error));
  return claim;
}

pid_t SupervisorOf(const AttemptSpec& spec) { return ReadClaim(spec).pid; }

// Until its parent has collected it, a dead process is still there: a zombie.
bool Gone(const ClaimRecord& claim) {
  uint64_t start_time = 0;
  pid_t parent = 0;
  if (!ReadProcessStat(claim.pid, &start_time, &parent)) return true;
  if (start_time != claim.start_time) return true;
  const std::string stat = ReadAll("/proc/" + std::to_string(claim.pid) + "/stat");
  return stat.find(") Z ") != std::string::npos || stat.find(") X ") != std::string::npos;
}

bool HasEnd(const AttemptSpec& spec) {
  ClaimRecord claim;
  std::optional<ExitRecord> exit;
  std::string error;
  return DecodeClaimFile(ReadAll(spec.folder + "/claim"), &claim, &exit, &error) && exit;
}

bool Ended(const ClaimRecord& claim) {
  return Eventually([&] { return Gone(claim); });
}

int CountLines(const std::string& path) {
  const std::string text = ReadAll(path);
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

std::string Key(const std::string& task, int attempt) {
  return "run/" + task + "/" + std::to_string(attempt);
}

// Runs `body` in another process, which must not use the test framework.
pid_t InChild(const std::function<void()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  return pid;
}

// Without the test framework. False when it did not end as it should.
bool RunQuietly(ProcessExecutor* executor, const AttemptSpec& spec) {
  if (!executor->Start(spec).ok()) return false;
  std::vector<AttemptReport> reports;
  while (reports.empty() || reports.back().kind == Kind::started) {
    pollfd wake{executor->WakeDescriptor(), POLLIN, 0};
    poll(&wake, 1, 1000);
    if (!executor->Poll(&reports).ok()) return false;
  }
  return reports.back().kind == Kind::exited && reports.back().exit_code == 0;
}

TEST_CASE("as many supervisors as attempts at a time, however many in all") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  std::set<pid_t> one;
  for (int i = 0; i < 20; ++i) {
    const AttemptSpec spec = ScriptSpec(scratch, "exit " + std::to_string(i), Key("single", i));
    CHECK(RunToEnd(executor.get(), spec).exit_code == i);
    one.insert(SupervisorOf(spec));
  }
  CHECK(one.size() == 1);
  std::set<pid_t> three;
  for (int round = 0; round < 5; ++round) {
    std::vector<AttemptSpec> specs;
    for (int i = 0; i < 3; ++i) {
      specs.push_back(ScriptSpec(scratch, "while ! test -e go; do sleep 0.01; done",
                                 Key("triple" + std::to_string(i), round)));
      REQUIRE(executor->Start(specs.back()).ok());
      three.insert(SupervisorOf(specs.back()));
    }
    for (const AttemptSpec& spec : specs) {
      REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work"); }));
      WriteAll(spec.folder + "/work/go", "");
      CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 0);
    }
  }
  CHECK(three.size() == 3);
  CHECK(three.contains(*one.begin()));
}

// What an attempt finds that it could have from the one before; without what names it.
constexpr const char* kShowState =
    "umask; ulimit -a; nice; pwd | sed 's|.*/attempts/.*/work|WORK|'; ls -l /proc/self/fd | wc -l;"
    "grep -E 'Sig[^Q]|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/self/oom_score_adj; "
    "sed 's|/trackbed/attempt-.*||' /proc/self/cgroup; readlink /proc/self/fd/0; "
    "env | grep -vE '^(TRACKBED_|BACKENDAI_|TMPDIR|PWD)' | sort; "
    "ps -o pgid=,sid=,pid= $$ | awk '{print ($1 == $3), ($2 == $3)}'; jobs; ls -A; ls -A $TMPDIR";

TEST_CASE("an attempt finds nothing of the one before it on its supervisor") {
  const ScratchFolder scratch;
  ProcessExecutorOptions options;
  options.cgroup_mode = GENERATE(CgroupMode::automatic, CgroupMode::never);
  const auto fresh = MakeExecutor(options);
  const AttemptSpec expected = ScriptSpec(scratch, kShowState, Key("expected", 1));
  REQUIRE(RunToEnd(fresh.get(), expected).exit_code == 0);

  const auto executor = MakeExecutor(options);
  AttemptSpec messy =
      ScriptSpec(scratch,
                 "umask 077; ulimit -n 50; ulimit -c 0; export LEFT=behind; trap '' TERM INT HUP; "
                 "renice 5 $$ > /dev/null; exec 7> seven; cd /; (setsid sleep 1000 < /dev/null &); "
                 "sleep 1000 & kill -STOP $!; chmod 000 $TRACKBED_OUTPUTS; echo 500 > "
                 "/proc/self/oom_score_adj",
                 Key("messy", 1));
  messy.environment = {{"ONLY_HERE", "1"}};
  messy.resources = {{"cpu", *Quantity::FromUnits(1)},
                     {"mem", *Quantity::FromUnits(256 * 1024 * 1024)}};
  CHECK(RunToEnd(executor.get(), messy).kind == Kind::exited);
  AttemptSpec absent = ScriptSpec(scratch, "", Key("absent", 1));
  absent.shell = false;
  absent.command = {"no-such-program"};
  CHECK(RunToEnd(executor.get(), absent).kind == Kind::failed_to_start);
  AttemptSpec second = ScriptSpec(scratch, kShowState, Key("second", 1));
  CHECK(RunToEnd(executor.get(), second).exit_code == 0);
  CHECK(SupervisorOf(second) == SupervisorOf(messy));
  CHECK(LogOf(second) == LogOf(expected));
}

TEST_CASE("a supervisor keeps no descriptors of attempts that have ended") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const auto count = [&](const AttemptSpec& spec) {
    const auto folder = "/proc/" + std::to_string(SupervisorOf(spec)) + "/fd";
    const auto list = std::filesystem::directory_iterator(folder);
    return std::distance(begin(list), end(list));
  };
  const auto settled = [&](const AttemptSpec& spec, ptrdiff_t expected) {
    return Eventually([&] { return count(spec) == expected; });
  };
  const AttemptSpec first = ScriptSpec(scratch, "true", Key("first", 1));
  REQUIRE(RunToEnd(executor.get(), first).exit_code == 0);
  // 0 to 2, the socket, the signals, the engine.
  CHECK(settled(first, 6));
  for (int i = 0; i < 5; ++i) {
    CHECK(RunToEnd(executor.get(), ScriptSpec(scratch, "true", Key("plain", i))).exit_code == 0);
    AttemptSpec absent = ScriptSpec(scratch, "", Key("absent", i));
    absent.shell = false;
    absent.command = {"/no/such/program"};
    CHECK(RunToEnd(executor.get(), absent).kind == Kind::failed_to_start);
    AttemptSpec boxed = ScriptSpec(scratch, "true", Key("boxed", i));
    boxed.mounts = {{"data", scratch / "data", "/data/here", false}};
    CHECK(RunToEnd(executor.get(), boxed).exit_code == 0);
    CHECK(SupervisorOf(boxed) == SupervisorOf(first));
  }
  CHECK(settled(first, 6));
}

TEST_CASE("idle supervisors that are killed are replaced") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  for (int i = 0; i < 20; ++i) {
    const std::string marks = scratch / ("marks" + std::to_string(i));
    const AttemptSpec spec = ScriptSpec(scratch, "echo ran >> " + marks, Key("task", i));
    CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
    CHECK(CountLines(marks) == 1);
    const ClaimRecord claim = ReadClaim(spec);
    REQUIRE(kill(claim.pid, i % 3 == 2 ? SIGTERM : SIGKILL) == 0);
    // Noticed before the next attempt, or by giving it one.
    if (i % 2 == 0) CHECK(Ended(claim));
  }
}

TEST_CASE("a supervisor killed around the time that it is given an attempt") {
  std::mt19937 random(20261126);
  std::uniform_int_distribution<int> delay(0, 3000);
  int ran = 0;
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  for (int i = 0; i < 40; ++i) {
    const AttemptSpec before = ScriptSpec(scratch, "true", Key("before", i));
    REQUIRE(RunToEnd(executor.get(), before).exit_code == 0);
    const std::string marks = scratch / ("marks" + std::to_string(i));
    const AttemptSpec spec =
        ScriptSpec(scratch, "echo ran >> " + marks + "; exec sleep 0.002", Key("task", i));
    REQUIRE(executor->Start(spec).ok());
    usleep(static_cast<useconds_t>(delay(random)));
    kill(SupervisorOf(before), SIGKILL);
    const AttemptReport report = WaitForEnd(executor.get(), spec.key);
    if (report.kind == Kind::exited) {
      CHECK(report.exit_code == 0);
      CHECK(CountLines(marks) == 1);
      ++ran;
    } else {
      CHECK(report.kind == Kind::lost);
      CHECK(CountLines(marks) <= 1);
    }
  }
  INFO(ran << " of 40 ran");
}

TEST_CASE("what an attempt needs to know may be large") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "env | wc -c", Key("small", 1));
  REQUIRE(RunToEnd(executor.get(), spec).exit_code == 0);
  const pid_t supervisor = SupervisorOf(spec);
  for (const int variables : {1, 5, 15}) {
    // Around the limit of a message, and well beyond it.
    for (const size_t size : {size_t{60000}, size_t{65536}, size_t{100000}}) {
      spec = ScriptSpec(scratch, "env | grep ^LARGE | wc -c",
                        Key("large" + std::to_string(variables), static_cast<int>(size)));
      for (int i = 0; i < variables; ++i) {
        spec.environment.push_back({"LARGE" + std::to_string(10 + i), std::string(size, 'x')});
      }
      CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
      CHECK(std::stoul(LogOf(spec)) == static_cast<size_t>(variables) * (size + 9));
      CHECK(SupervisorOf(spec) == supervisor);
    }
  }
  SECTION("more than the kernel hands to a program") {
    spec = ScriptSpec(scratch, "true", Key("larger", 1));
    for (int i = 0; i < 100; ++i) {
      spec.environment.push_back({"LARGE" + std::to_string(i), std::string(100000, 'x')});
    }
    const AttemptReport report = RunToEnd(executor.get(), spec);
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message == "cannot run \"/bin/sh\": Argument list too long");
  }
  SECTION("more than an order can be") {
    spec = ScriptSpec(scratch, "true", Key("largest", 1));
    spec.environment = {{"LARGE", std::string(kMaxRecordBytes, 'x')}};
    CHECK(executor->Start(spec).code() == StatusCode::kInvalidArgument);
    CHECK_FALSE(std::filesystem::exists(spec.folder));
  }
  const AttemptSpec last = ScriptSpec(scratch, "exit 3", Key("small", 2));
  CHECK(RunToEnd(executor.get(), last).exit_code == 3);
  CHECK(SupervisorOf(last) == supervisor);
}

TEST_CASE("a supervisor that has known a secret runs nothing else") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  for (int i = 0; i < 3; ++i) {
    AttemptSpec spec = ScriptSpec(scratch, "test ${#TOKEN} -gt 5; exit $?", Key("secret", i));
    // The last one is too large for a message.
    spec.environment = {{"TOKEN", "hunter2" + std::string(i == 2 ? 100000 : 0, 'x')}};
    spec.secret_names = {"TOKEN"};
    CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
    CHECK(Ended(ReadClaim(spec)));
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(scratch.path())) {
    if (entry.is_regular_file()) CHECK(ReadAll(entry.path()).find("hunter2") == std::string::npos);
  }
}

TEST_CASE("idle supervisors end with their executor, busy ones with their attempt") {
  const ScratchFolder scratch;
  auto executor = MakeExecutor();
  const AttemptSpec busy =
      ScriptSpec(scratch, "while ! test -e go; do sleep 0.01; done; touch done", Key("busy", 1));
  REQUIRE(executor->Start(busy).ok());
  const ClaimRecord working = ReadClaim(busy);
  const AttemptSpec other = ScriptSpec(scratch, "true", Key("other", 1));
  REQUIRE(RunToEnd(executor.get(), other).exit_code == 0);
  const ClaimRecord idle = ReadClaim(other);
  executor.reset();
  CHECK(Ended(idle));
  CHECK_FALSE(Gone(working));
  WriteAll(busy.folder + "/work/go", "");
  CHECK(Ended(working));
  CHECK(std::filesystem::exists(busy.folder + "/work/done"));
}

TEST_CASE("idle supervisors end when the engine is killed, though a child of it lives on") {
  const ScratchFolder scratch;
  const AttemptSpec spec = ScriptSpec(scratch, "true");
  int alive[2];
  REQUIRE(pipe2(alive, O_CLOEXEC) == 0);
  const pid_t engine = InChild([&] {
    auto executor = ProcessExecutor::Create();
    if (!executor.ok() || !RunQuietly(executor->get(), spec)) _exit(1);
    // It holds all descriptors of the executor.
    const pid_t child = InChild([] { pause(); });
    if (write(alive[1], &child, sizeof(child)) != sizeof(child)) _exit(2);
    pause();
  });
  pid_t child = 0;
  REQUIRE(read(alive[0], &child, sizeof(child)) == sizeof(child));
  const ClaimRecord claim = ReadClaim(spec);
  CHECK_FALSE(Gone(claim));
  kill(engine, SIGKILL);
  waitpid(engine, nullptr, 0);
  CHECK(Ended(claim));
  kill(child, SIGKILL);
  close(alive[0]);
  close(alive[1]);
}

TEST_CASE("an attempt that another executor adopts is the last of its supervisor") {
  const ScratchFolder scratch;
  const auto first = MakeExecutor();
  const auto second = MakeExecutor();
  const AttemptSpec shared = ScriptSpec(
      scratch, "touch ready; while ! test -e go; do sleep 0.01; done; exit 6", Key("shared", 1));
  REQUIRE(first->Start(shared).ok());
  REQUIRE(Eventually([&] { return std::filesystem::exists(shared.folder + "/work/ready"); }));
  REQUIRE(second->Adopt(shared.key, shared.folder).ok());
  SECTION("it ends by itself") {
    WriteAll(shared.folder + "/work/go", "");
    CHECK(WaitForEnd(first.get(), shared.key).exit_code == 6);
    CHECK(WaitForEnd(second.get(), shared.key).exit_code == 6);
  }
  SECTION("the one that adopts stops it") {
    REQUIRE(second->Stop(shared.key, StopMode::kill).ok());
    CHECK(WaitForEnd(first.get(), shared.key).signal == SIGKILL);
    // Whatever the second still says, it is not heard by this one.
    const AttemptSpec next = ScriptSpec(scratch, "sleep 0.05; exit 7", Key("next", 1));
    REQUIRE(first->Start(next).ok());
    (void)second->Stop(shared.key, StopMode::kill);
    CHECK(WaitForEnd(first.get(), next.key).exit_code == 7);
    CHECK(SupervisorOf(next) != SupervisorOf(shared));
    CHECK(WaitForEnd(second.get(), shared.key).signal == SIGKILL);
  }
  CHECK(Ended(ReadClaim(shared)));
}

TEST_CASE("attempts adopted around their end are reported as they ended") {
  std::mt19937 random(20261127);
  std::uniform_int_distribution<int> delay(0, 8000);
  const ScratchFolder scratch;
  const auto first = MakeExecutor();
  for (int i = 0; i < 40; ++i) {
    const auto second = MakeExecutor();
    const AttemptSpec spec = ScriptSpec(scratch, "exit 4", Key("task", i));
    REQUIRE(first->Start(spec).ok());
    ReadClaim(spec);
    usleep(static_cast<useconds_t>(delay(random)));
    REQUIRE(second->Adopt(spec.key, spec.folder).ok());
    CHECK(WaitForEnd(first.get(), spec.key).exit_code == 4);
    // Given to the same supervisor, unless it has been told to end.
    const AttemptSpec next = ScriptSpec(scratch, "exit 5", Key("next", i));
    REQUIRE(first->Start(next).ok());
    (void)second->Stop(spec.key, StopMode::kill);
    CHECK(WaitForEnd(second.get(), spec.key).exit_code == 4);
    const AttemptReport report = WaitForEnd(first.get(), next.key);
    CHECK(report.kind == Kind::exited);
    CHECK(report.exit_code == 5);
  }
}

TEST_CASE("a request to stop that comes too late does not hit the next attempt") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  for (int i = 0; i < 20; ++i) {
    const AttemptSpec spec = ScriptSpec(scratch, "exit 1", Key("task", i));
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return HasEnd(spec); }));
    REQUIRE(executor->Stop(spec.key, i % 2 == 0 ? StopMode::kill : StopMode::terminate).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 1);
    const AttemptReport next =
        RunToEnd(executor.get(), ScriptSpec(scratch, "sleep 0.01; exit 2", Key("next", i)));
    CHECK(next.signal == 0);
    CHECK(next.exit_code == 2);
    CHECK(SupervisorOf(ScriptSpec(scratch, "", Key("next", i))) == SupervisorOf(spec));
  }
}

TEST_CASE("kill -9 of an engine that keeps supervisors loses nothing and doubles nothing") {
  std::mt19937 random(20261128);
  std::uniform_int_distribution<int> delay(0, 8000);
  constexpr int kAttempts = 6;
  for (int round = 0; round < 30; ++round) {
    const ScratchFolder scratch;
    const auto spec = [&](int i) {
      return ScriptSpec(scratch, "echo ran >> " + (scratch / ("marks" + std::to_string(i))),
                        Key("task", i));
    };
    int begun[2];
    REQUIRE(pipe2(begun, O_CLOEXEC) == 0);
    const pid_t engine = InChild([&] {
      auto executor = ProcessExecutor::Create();
      if (!executor.ok() || write(begun[1], "x", 1) != 1) _exit(1);
      for (int i = 0; i < kAttempts; ++i) RunQuietly(executor->get(), spec(i));
      pause();
    });
    char byte = 0;
    REQUIRE(read(begun[0], &byte, 1) == 1);
    close(begun[0]);
    close(begun[1]);
    usleep(static_cast<useconds_t>(delay(random)));
    kill(engine, SIGKILL);
    waitpid(engine, nullptr, 0);
    const auto executor = MakeExecutor();
    for (int i = 0; i < kAttempts; ++i) {
      const std::string marks = scratch / ("marks" + std::to_string(i));
      const Status adopted = executor->Adopt(spec(i).key, spec(i).folder);
      if (adopted.ok()) {
        const AttemptReport report = WaitForEnd(executor.get(), spec(i).key);
        CHECK(report.kind == Kind::exited);
        CHECK(CountLines(marks) == 1);
      } else {
        CHECK(adopted.code() == StatusCode::kNotFound);
        CHECK(CountLines(marks) == 0);
      }
    }
  }
}

}  // namespace
}  // namespace trackbed
