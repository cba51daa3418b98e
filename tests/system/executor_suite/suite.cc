// What every executor must do, whatever it runs attempts in (executors/executor.hpp). An executor
// that passes may be given to an engine.
#include <absl/strings/match.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "system/executor_suite/subject.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

std::string WorkFile(const AttemptSpec& spec, const std::string& name) {
  return spec.folder + "/work/" + name;
}

// Polls, as an engine would, until `holds`.
bool PollUntil(Executor* executor, std::vector<AttemptReport>* reports,
               const std::function<bool()>& holds) {
  return Eventually(
      [&] {
        REQUIRE(executor->Poll(reports).ok());
        return holds();
      },
      60000);
}

bool PollUntilThere(Executor* executor, const std::string& path) {
  std::vector<AttemptReport> reports;
  return PollUntil(executor, &reports, [&] { return std::filesystem::exists(path); });
}

// Starts the attempts in a process of its own, which is killed by kill -9 once all of `marks`
// exist.
void StartAndDie(const std::vector<AttemptSpec>& specs, const std::vector<std::string>& marks) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const auto executor = NewSubject();
    for (const AttemptSpec& spec : specs) {
      if (!executor->Start(spec).ok()) _exit(1);
    }
    std::vector<AttemptReport> reports;
    while (executor->Poll(&reports).ok()) {
      pollfd wake{executor->WakeDescriptor(), POLLIN, 0};
      poll(&wake, 1, 50);
    }
    _exit(2);
  }
  const bool there = Eventually(
      [&] {
        return std::all_of(marks.begin(), marks.end(),
                           [](const auto& mark) { return std::filesystem::exists(mark); });
      },
      60000);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(there);
  REQUIRE(WIFSIGNALED(status));
}

TEST_CASE("suite: an attempt that succeeds") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  const AttemptSpec spec = NewAttempt(scratch, "echo out; echo err >&2");
  REQUIRE(executor->Start(spec).ok());
  int started = 0;
  const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
  INFO(report.message);
  CHECK(started == 1);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 0);
  CHECK(report.signal == 0);
  CHECK_FALSE(report.out_of_memory);
  CHECK(report.message.empty());
  CHECK(report.wall_time.count() > 0);
  CHECK(report.max_rss_bytes > 0);
  const std::string log = LogOf(spec);
  CHECK(log.find("out\n") != std::string::npos);
  CHECK(log.find("err\n") != std::string::npos);
  CHECK(log.size() == 8);
  CHECK(report.image_digest.empty() == !InContainers());
}

TEST_CASE("suite: exit codes and signals are told apart") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  struct Row {
    const char* script;
    int code;
    int signal;
  };
  int number = 0;
  for (const Row& row : {Row{"exit 7", 7, 0}, Row{"exit 139", 139, 0}, Row{"exit 75", 75, 0},
                         Row{"kill -SEGV $$", 0, SIGSEGV}, Row{"kill -KILL $$", 0, SIGKILL}}) {
    INFO(row.script);
    const AttemptReport report = RunToEnd(
        executor.get(), NewAttempt(scratch, row.script, "suite/code/" + std::to_string(++number)));
    CHECK(report.kind == Kind::exited);
    CHECK(report.exit_code == row.code);
    CHECK(report.signal == row.signal);
  }
}

TEST_CASE("suite: a program and its arguments run without a shell") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  AttemptSpec spec = NewAttempt(scratch, "");
  spec.shell = false;
  spec.command = {"printf", "[%s]", "a b", "$HOME", "line\nbreak \\ back"};
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  CHECK(LogOf(spec) == "[a b][$HOME][line\nbreak \\ back]");

  AttemptSpec missing = NewAttempt(scratch, "", "suite/missing/1");
  missing.shell = false;
  missing.command = {"no-such-program", "x"};
  const AttemptReport report = RunToEnd(executor.get(), missing);
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message == "cannot run \"no-such-program\": No such file or directory");
}

TEST_CASE("suite: a script longer than a command line can be runs all the same") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  std::string script;
  while (script.size() < 300000) script += "# some words to make it long\n";
  const AttemptSpec spec = NewAttempt(scratch, script + "echo end");
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  CHECK(LogOf(spec) == "end\n");
}

TEST_CASE("suite: a start is idempotent, and a key runs at most once") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  const AttemptSpec spec = NewAttempt(scratch, "echo x >> ran; sleep 0.2");
  REQUIRE(executor->Start(spec).ok());
  REQUIRE(executor->Start(spec).ok());
  CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 0);
  // Again after its end, by another executor: the same end is reported, and nothing runs.
  const auto other = NewSubject();
  REQUIRE(other->Start(spec).ok());
  CHECK(WaitForEnd(other.get(), spec.key).kind == Kind::exited);
  CHECK(ReadAll(WorkFile(spec, "ran")) == "x\n");

  AttemptSpec elsewhere = spec;
  elsewhere.key = "suite/other/1";
  CHECK_FALSE(other->Start(elsewhere).ok());
}

TEST_CASE("suite: two executors that start one attempt at the same time run it once") {
  const ScratchFolder scratch;
  const auto one = NewSubject();
  const auto two = NewSubject();
  const AttemptSpec spec = NewAttempt(scratch, "echo x >> ran");
  REQUIRE(one->Start(spec).ok());
  REQUIRE(two->Start(spec).ok());
  int ends = 0;
  std::vector<AttemptReport> reports;
  REQUIRE(PollUntil(one.get(), &reports, [&] {
    REQUIRE(two->Poll(&reports).ok());
    ends = 0;
    for (const AttemptReport& report : reports) ends += report.kind != Kind::started ? 1 : 0;
    return ends == 2;
  }));
  CHECK(ReadAll(WorkFile(spec, "ran")) == "x\n");
}

TEST_CASE("suite: terminate asks every process, kill forces them") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  SECTION("a command that heeds SIGTERM ends in its own way") {
    const AttemptSpec spec = NewAttempt(
        scratch,
        "trap 'echo asked; exit 3' TERM; (trap 'echo child asked; exit' TERM; touch child; "
        "while :; do sleep 0.01; done) & touch ready; while :; do sleep 0.01; done");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(PollUntilThere(executor.get(), WorkFile(spec, "ready")));
    REQUIRE(PollUntilThere(executor.get(), WorkFile(spec, "child")));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    const AttemptReport report = WaitForEnd(executor.get(), spec.key);
    CHECK(report.exit_code == 3);
    CHECK(report.signal == 0);
    CHECK(LogOf(spec).find("asked") != std::string::npos);
  }
  SECTION("one that has no opinion ends by it") {
    const AttemptSpec spec = NewAttempt(scratch, "touch ready; sleep 1000");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(PollUntilThere(executor.get(), WorkFile(spec, "ready")));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).signal == SIGTERM);
  }
  SECTION("one that does not heed it is killed") {
    const AttemptSpec spec =
        NewAttempt(scratch, "trap '' TERM; touch ready; while :; do sleep 0.01; done");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(PollUntilThere(executor.get(), WorkFile(spec, "ready")));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    REQUIRE(executor->Stop(spec.key, StopMode::kill).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).signal == SIGKILL);
  }
}

TEST_CASE("suite: one that is stopped at once never runs, or ends by it") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  const AttemptSpec spec = NewAttempt(scratch, "sleep 1000");
  REQUIRE(executor->Start(spec).ok());
  REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  INFO(report.message);
  CHECK((report.kind == Kind::failed_to_start || report.signal == SIGTERM));
  CHECK(absl::IsNotFound(executor->Stop("suite/unknown/1", StopMode::kill)));
}

TEST_CASE("suite: nothing outlives its attempt") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  const AttemptSpec spec = NewAttempt(
      scratch,
      "(setsid sh -c 'trap \"\" TERM HUP; while :; do echo x >> beats; sleep 0.01; done' "
      "< /dev/null > /dev/null 2>&1 &); while ! test -s beats; do sleep 0.01; done");
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  const std::string beats = ReadAll(WorkFile(spec, "beats"));
  usleep(200000);
  CHECK(ReadAll(WorkFile(spec, "beats")).size() == beats.size());
}

TEST_CASE("suite: logs are kept byte for byte, binary, in part lines, and 10 MB") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  for (const bool masked : {false, true}) {
    AttemptSpec spec = NewAttempt(
        scratch,
        "printf 'part'; sleep 0.05; printf ' of a line\\r\\n'; head -c 10000000 /dev/urandom > "
        "bytes; cat bytes; printf 'no newline'",
        masked ? "suite/masked/1" : "suite/plain/1");
    if (masked) {
      spec.environment = {{"TOKEN", "a value that random bytes do not hold"}};
      spec.secret_names = {"TOKEN"};
    }
    CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
    CHECK((LogOf(spec) == "part of a line\r\n" + ReadAll(WorkFile(spec, "bytes")) + "no newline"));
  }
}

TEST_CASE("suite: the log can be read while the attempt runs") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  const AttemptSpec spec =
      NewAttempt(scratch, "echo first; while ! test -e go; do sleep 0.01; done; echo second");
  REQUIRE(executor->Start(spec).ok());
  std::vector<AttemptReport> reports;
  CHECK(PollUntil(executor.get(), &reports, [&] { return LogOf(spec) == "first\n"; }));
  WriteAll(WorkFile(spec, "go"), "");
  CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 0);
  CHECK(LogOf(spec) == "first\nsecond\n");
}

TEST_CASE("suite: secrets reach the command, and neither files nor the log") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  AttemptSpec spec = NewAttempt(scratch,
                                "test ${#TOKEN} = 11 && echo \"it is $TOKEN\"; "
                                "echo \"token=$TOKEN\" >> \"$TRACKBED_OUTPUT\"");
  spec.environment = {{"TOKEN", "geheim-7291"}, {"PLAIN", "seen"}};
  spec.secret_names = {"TOKEN"};
  const AttemptReport report = RunToEnd(executor.get(), spec);
  CHECK(report.exit_code == 0);
  CHECK(report.output_text == "token=***\n");
  CHECK(LogOf(spec) == "it is ***\n");
  for (const char* name : {"launch", "claim", "exit", "log", "output", "order", "slurm"}) {
    INFO(name);
    CHECK(ReadAll(spec.folder + "/" + name).find("geheim") == std::string::npos);
  }
}

TEST_CASE("suite: files go in and out") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  WriteAll(scratch / "source/script.sh", "cat \"$TRACKBED_INPUTS/before/file\" data/value\n");
  WriteAll(scratch / "source/deep/er.txt", "deep\n");
  WriteAll(scratch / "before/outputs/file", "input\n");
  WriteAll(scratch / "data/value", "mounted\n");
  AttemptSpec spec =
      NewAttempt(scratch,
                 "sh script.sh; cat deep/er.txt inputs/before/file \"$TRACKBED_INPUT_1/file\"; "
                 "echo more >> data/value; echo new > \"$TRACKBED_OUTPUTS/made\"; "
                 "mkdir \"$TRACKBED_OUTPUTS/sub\"; echo x > \"$TRACKBED_OUTPUTS/sub/y\"; "
                 "printf 'a=1\\n' >> \"$TRACKBED_OUTPUT\"; "
                 "echo bad > inputs/before/file && exit 9; true");
  spec.source_path = scratch / "source";
  spec.inputs = {{"before", scratch / "before/outputs", "", true}};
  spec.mounts = {{"data", scratch / "data", "data", false}};
  // What was left by others is not changed, where the executor can keep it from that.
  if (!InContainers()) spec.command[0].resize(spec.command[0].find("echo bad"));
  const AttemptReport report = RunToEnd(executor.get(), spec);
  INFO(report.message << LogOf(spec));
  CHECK(report.exit_code == 0);
  CHECK(report.output_text == "a=1\n");
  CHECK(report.output_digest == *TreeDigest(spec.folder + "/outputs"));
  CHECK(LogOf(spec).starts_with("input\nmounted\ndeep\ninput\ninput\n"));
  CHECK(ReadAll(scratch / "data/value") == "mounted\nmore\n");
  CHECK(ReadAll(scratch / "before/outputs/file") == "input\n");
  struct stat status{};
  REQUIRE(stat((spec.folder + "/outputs/made").c_str(), &status) == 0);
  CHECK(status.st_uid == geteuid());
}

TEST_CASE("suite: the places that FastTrack scripts expect") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  if (!InContainers() && !MakeExecutor()->SandboxWorks()) {
    WARN("there is no bubblewrap: not tested");
    return;
  }
  WriteAll(scratch / "before/outputs/file", "input\n");
  WriteAll(scratch / "examples/hello.txt", "hello\n");
  AttemptSpec spec =
      NewAttempt(scratch,
                 "cat /pipeline/input1/file /home/work/examples/hello.txt examples/hello.txt; pwd; "
                 "echo kept > /pipeline/vfroot/kept; echo left > /pipeline/outputs/left; "
                 "ls /pipeline/input2; echo $BACKENDAI_CLUSTER_HOST $BACKENDAI_SESSION_NAME");
  spec.pipeline_paths = true;
  spec.pipeline_folder = scratch / "vfroot";
  spec.inputs = {{"before", scratch / "before/outputs", "", true}, {"nothing", "", "", true}};
  spec.mounts = {{"examples", scratch / "examples", "/home/work/examples", true}};
  const AttemptReport report = RunToEnd(executor.get(), spec);
  INFO(report.message);
  CHECK(report.exit_code == 0);
  const bool has_home = std::filesystem::exists("/home/work") && !InContainers();
  const std::string folder = has_home ? spec.folder + "/work" : "/home/work";
  CHECK(LogOf(spec) == "input\nhello\nhello\n" + folder + "\nmain1 task\n");
  CHECK(ReadAll(scratch / "vfroot/kept") == "kept\n");
  CHECK(ReadAll(spec.folder + "/outputs/left") == "left\n");
}

TEST_CASE("suite: an attempt outlives the engine, and the next one takes it up") {
  const ScratchFolder scratch;
  const AttemptSpec going = NewAttempt(
      scratch,
      "echo x >> ran; echo begin; while ! test -e go; do sleep 0.01; done; echo end; exit 4",
      "suite/going/1");
  const AttemptSpec ended =
      NewAttempt(scratch, "echo x >> ran; touch done; exit 5", "suite/ended/1");
  AttemptSpec secret =
      NewAttempt(scratch, "echo x >> ran; echo \"$TOKEN\"; while ! test -e go; do sleep 0.01; done",
                 "suite/secret/1");
  secret.environment = {{"TOKEN", "geheim-7291"}};
  secret.secret_names = {"TOKEN"};
  StartAndDie({going, ended, secret},
              {WorkFile(going, "ran"), WorkFile(ended, "done"), WorkFile(secret, "ran")});

  const auto executor = NewSubject();
  REQUIRE(executor->Start(going).ok());
  REQUIRE(executor->Adopt(ended.key, ended.folder).ok());
  REQUIRE(executor->Adopt(secret.key, secret.folder).ok());
  CHECK(WaitForEnd(executor.get(), ended.key).exit_code == 5);
  WriteAll(WorkFile(going, "go"), "");
  const AttemptReport report = WaitForEnd(executor.get(), going.key);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 4);
  CHECK(LogOf(going) == "begin\nend\n");
  WriteAll(WorkFile(secret, "go"), "");
  CHECK(WaitForEnd(executor.get(), secret.key).exit_code == 0);
  CHECK(LogOf(secret) == "***\n");
  for (const AttemptSpec& spec : {going, ended, secret}) {
    CHECK(ReadAll(WorkFile(spec, "ran")) == "x\n");
  }
}

TEST_CASE("suite: an engine that dies at any moment of a start leaves at most one run behind") {
  const ScratchFolder scratch;
  for (int round = 0; round < 12; ++round) {
    const AttemptSpec spec =
        NewAttempt(scratch, "echo x >> ran", "suite/moment/" + std::to_string(round));
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const auto executor = NewSubject();
      if (!executor->Start(spec).ok()) _exit(1);
      std::vector<AttemptReport> reports;
      while (executor->Poll(&reports).ok()) {
        pollfd wake{executor->WakeDescriptor(), POLLIN, 0};
        poll(&wake, 1, 10);
      }
      _exit(2);
    }
    usleep(static_cast<useconds_t>(round) * (InContainers() || InSlurm() ? 40000 : 2000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto executor = NewSubject();
    const AttemptReport report = RunToEnd(executor.get(), spec);
    INFO(round << " " << report.message);
    CHECK(report.kind == Kind::exited);
    CHECK(report.exit_code == 0);
    CHECK(ReadAll(WorkFile(spec, "ran")) == "x\n");
  }
}

TEST_CASE("suite: what was never started is not found, and given up for good") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  const AttemptSpec spec = NewAttempt(scratch, "echo x >> ran");
  CHECK(absl::IsNotFound(executor->Observe(spec.key, spec.folder)));
  CHECK(absl::IsNotFound(executor->Adopt(spec.key, spec.folder)));
  CHECK_FALSE(executor->Start(spec).ok());
  std::filesystem::remove_all(spec.folder);
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
}

TEST_CASE("suite: too much memory is told from a failure") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  AttemptSpec spec = NewAttempt(scratch, "a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done");
  spec.resources = {{"mem", *Quantity::FromUnits(64 << 20)}};
  const AttemptReport report = RunToEnd(executor.get(), spec);
  INFO(report.message);
  CHECK(report.kind == Kind::exited);
  CHECK((report.exit_code != 0 || report.signal != 0));
  // Without control groups a process only fails to get more.
  if (InContainers()) {
    CHECK(report.out_of_memory);
    CHECK(report.message.find("67108864") != std::string::npos);
  }
}

TEST_CASE("suite: many attempts at once") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  constexpr int kAttempts = 16;
  for (int i = 0; i < kAttempts; ++i) {
    REQUIRE(
        executor
            ->Start(NewAttempt(scratch, "echo " + std::to_string(i) + "; exit " + std::to_string(i),
                               "suite/many/" + std::to_string(i)))
            .ok());
  }
  std::vector<AttemptReport> reports;
  std::map<std::string, int> codes;
  REQUIRE(PollUntil(executor.get(), &reports, [&] {
    for (const AttemptReport& report : reports) {
      if (report.kind != Kind::started) codes[report.key] = report.exit_code;
    }
    return codes.size() == kAttempts;
  }));
  for (int i = 0; i < kAttempts; ++i) {
    const std::string key = "suite/many/" + std::to_string(i);
    CHECK(codes[key] == i);
    CHECK(ReadAll(scratch / ("attempts/" + key + "/log")) == std::to_string(i) + "\n");
  }
}

TEST_CASE("suite: what cannot be run is refused, and says why") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  AttemptSpec climbing = NewAttempt(scratch, "true", "suite/climbing/1");
  climbing.mounts = {{"data", scratch / "data", "../data", false}};
  CHECK(absl::IsInvalidArgument(executor->Start(climbing)));
  AttemptSpec empty = NewAttempt(scratch, "", "suite/empty/1");
  CHECK(absl::IsInvalidArgument(executor->Start(empty)));
  if (InSlurm()) {
    AttemptSpec large = NewAttempt(scratch, "true", "suite/large/1");
    large.resources = {{"mem", *Quantity::FromUnits(int64_t{1} << 50)}};
    const AttemptReport report = RunToEnd(executor.get(), large);
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message.starts_with("Slurm refuses the job: "));
    AttemptSpec nowhere = NewAttempt(scratch, "true", "suite/nowhere/1");
    nowhere.resource_group = "nowhere";
    const AttemptReport unknown = RunToEnd(executor.get(), nowhere);
    CHECK(unknown.kind == Kind::failed_to_start);
    CHECK(unknown.message.starts_with("Slurm refuses the job: "));
    CHECK(absl::StrContains(unknown.message, "artition"));
    AttemptSpec longest = NewAttempt(scratch, "true", "suite/longest/1");
    longest.timeout = std::chrono::hours(1000);
    const AttemptReport waiting = RunToEnd(executor.get(), longest);
    CHECK(waiting.kind == Kind::failed_to_start);
    CHECK(waiting.message.ends_with("would wait for ever: PartitionTimeLimit"));
  }
  if (!InContainers()) return;
  AttemptSpec nowhere = NewAttempt(scratch, "true", "suite/nowhere/1");
  nowhere.image = "localhost/no-such-image:7";
  const AttemptReport report = RunToEnd(executor.get(), nowhere);
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message.starts_with("cannot pull the image \"localhost/no-such-image:7\": "));
  AttemptSpec odd = NewAttempt(scratch, "true", "suite/odd/1");
  odd.image = "../../etc?x=1";
  CHECK(absl::IsInvalidArgument(executor->Start(odd)));
  AttemptSpec device = NewAttempt(scratch, "true", "suite/device/1");
  device.devices = {{"tpu.device", "tpu0", "tpu0", 0, *Quantity::FromUnits(1), 0}};
  const AttemptReport refused = RunToEnd(executor.get(), device);
  CHECK(refused.kind == Kind::failed_to_start);
  CHECK(refused.message == "the device tpu0 of tpu.device cannot be handed to a container");
}

TEST_CASE("suite: an attempt that is out of time ends, politely or not") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  AttemptSpec spec =
      NewAttempt(scratch, "trap 'echo asked' TERM; touch ready; while :; do sleep 0.01; done");
  spec.timeout = std::chrono::seconds(1);
  REQUIRE(executor->Start(spec).ok());
  REQUIRE(PollUntilThere(executor.get(), WorkFile(spec, "ready")));
  // As the engine does when the time is over: it asks, waits for the grace period, and kills.
  REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
  std::vector<AttemptReport> reports;
  REQUIRE(PollUntil(executor.get(), &reports,
                    [&] { return LogOf(spec).find("asked\n") != std::string::npos; }));
  REQUIRE(executor->Stop(spec.key, StopMode::kill).ok());
  CHECK(WaitForEnd(executor.get(), spec.key).signal == SIGKILL);
}

TEST_CASE("suite: clocks that differ do not matter") {
  const ScratchFolder scratch;
  // Years ahead of ours, or behind: what a machine with another clock writes.
  const bool ahead = GENERATE(true, false);
  const timespec there{ahead ? 4'000'000'000 : 1'000'000'000, 0};
  const auto date = [&](const std::string& path) {
    const timespec times[] = {there, there};
    return utimensat(AT_FDCWD, path.c_str(), times, 0) == 0;
  };
  const AttemptSpec spec = NewAttempt(
      scratch, "echo x >> ran; while ! test -e go; do sleep 0.01; done; echo end; exit 4");
  StartAndDie({spec}, {WorkFile(spec, "ran")});
  const auto executor = NewSubject();
  REQUIRE(executor->Adopt(spec.key, spec.folder).ok());
  std::vector<AttemptReport> reports;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  REQUIRE(PollUntil(executor.get(), &reports, [&] {
    for (const char* name : {"claim", "log", "work/ran", "container/begun"}) {
      date(spec.folder + "/" + name);
    }
    return std::chrono::steady_clock::now() > until;
  }));
  // Nothing was concluded from it.
  CHECK(std::all_of(reports.begin(), reports.end(),
                    [](const auto& report) { return report.kind == Kind::started; }));
  WriteAll(WorkFile(spec, "go"), "");
  date(WorkFile(spec, "go"));
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 4);
  CHECK(report.wall_time > Duration(0));
  CHECK(report.wall_time < std::chrono::hours(1));
  CHECK(LogOf(spec) == "end\n");
  CHECK(ReadAll(WorkFile(spec, "ran")) == "x\n");
}

std::string MemberLog(const AttemptSpec& spec, const std::string& name) {
  return ReadAll(spec.folder + (name == "main1" ? "" : "/members/" + name) + "/log");
}

TEST_CASE("suite: a gang starts whole, ends whole, and its members know where the others are") {
  const ScratchFolder scratch;
  const auto executor = NewSubject();
  if (executor->MaxClusterSize() < 2) return;
  const bool apart = GENERATE(true, false);
  AttemptSpec spec = NewAttempt(scratch, "");
  spec.resource_group = "many";
  spec.gang = {{"main1", "a", {}}, {"sub1", apart ? "b" : "a", {}}};
  const std::string ready = scratch / "ready";
  SECTION("it succeeds when all members do") {
    spec.command = {"echo $TRACKBED_GANG_ADDRESSES; echo $SLURM_NODEID > node; touch made"};
    const AttemptReport report = RunToEnd(executor.get(), spec);
    INFO(report.message << MemberLog(spec, "main1"));
    CHECK(report.kind == Kind::exited);
    CHECK(report.exit_code == 0);
    // On one machine each has an address of its own.
    const std::string addresses = MemberLog(spec, "main1");
    CHECK(MemberLog(spec, "sub1") == addresses);
    const size_t comma = addresses.find(',');
    REQUIRE(comma != std::string::npos);
    CHECK(addresses.substr(0, comma) + "\n" != addresses.substr(comma + 1));
    CHECK(std::filesystem::exists(spec.folder + "/members/sub1/work/made"));
    const bool differ =
        ReadAll(WorkFile(spec, "node")) != ReadAll(spec.folder + "/members/sub1/work/node");
    CHECK(differ == apart);
  }
  SECTION("when one fails the others end, and it is named") {
    spec.command = {"case $PWD in */sub1/work) exit 7;; esac; exec sleep 1000"};
    const AttemptReport report = RunToEnd(executor.get(), spec);
    CHECK(report.exit_code == 7);
    CHECK(report.message == "member sub1: exited with code 7");
  }
  SECTION("a stop reaches all members") {
    spec.command = {"echo x >> " + ready + "; exec sleep 1000"};
    REQUIRE(executor->Start(spec).ok());
    std::vector<AttemptReport> reports;
    REQUIRE(PollUntil(executor.get(), &reports, [&] { return ReadAll(ready) == "x\nx\n"; }));
    const bool force = GENERATE(true, false);
    REQUIRE(executor->Stop(spec.key, force ? StopMode::kill : StopMode::terminate).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).signal == (force ? SIGKILL : SIGTERM));
  }
  SECTION("it outlives the engine") {
    const std::string go = scratch / "go";
    spec.command = {"echo x >> " + ready + "; touch ready; while ! test -e " + go +
                    "; do sleep 0.01; done; exit 4"};
    StartAndDie({spec}, {WorkFile(spec, "ready"), spec.folder + "/members/sub1/work/ready"});
    const auto next = NewSubject();
    REQUIRE(next->Adopt(spec.key, spec.folder).ok());
    WriteAll(go, "");
    CHECK(WaitForEnd(next.get(), spec.key).exit_code == 4);
    CHECK(ReadAll(ready) == "x\nx\n");
  }
}

}  // namespace
}  // namespace trackbed
