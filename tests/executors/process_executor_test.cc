// Attempts as processes: how they end, what they see, what they leave.
#include "trackbed/executors/process_executor.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <set>

#include "executors/attempt_fixture.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

TEST_CASE("an attempt reports that it started, then how it ended") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptSpec spec = ScriptSpec(scratch, "echo out; echo err >&2; exit 7");
  REQUIRE(executor->Start(spec).ok());
  int started = 0;
  const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
  CHECK(started == 1);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 7);
  CHECK(report.signal == 0);
  CHECK(report.output_text.empty());
  CHECK(report.output_digest.empty());
  CHECK(report.message.empty());
  CHECK(report.wall_time.count() > 0);
  CHECK(report.max_rss_bytes > 0);
  CHECK(LogOf(spec) == "out\nerr\n");
  CHECK_FALSE(std::filesystem::exists(spec.folder + "/tmp"));
}

TEST_CASE("a signal that ends the command is told from an exit code") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptReport report = RunToEnd(executor.get(), ScriptSpec(scratch, "kill -SEGV $$"));
  CHECK(report.kind == Kind::exited);
  CHECK(report.signal == SIGSEGV);
}

TEST_CASE("a program and its arguments run without a shell") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "printf");
  spec.shell = false;
  spec.command = {"printf", "[%s]", "a b", "$HOME", "line\nbreak \\ back"};
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  CHECK(LogOf(spec) == "[a b][$HOME][line\nbreak \\ back]");
}

TEST_CASE("a program that does not exist fails to start, and says so") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "");
  spec.shell = false;
  spec.command = {"no-such-program", "x"};
  REQUIRE(executor->Start(spec).ok());
  int started = 0;
  const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
  CHECK(started == 0);
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message == "cannot run \"no-such-program\": No such file or directory");

  AttemptSpec script = ScriptSpec(scratch, "no-such-program", "run/script/1");
  CHECK(RunToEnd(executor.get(), script).exit_code == 127);
}

TEST_CASE("a script longer than a command line can be runs all the same") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  std::string script;
  while (script.size() < 300000) script += "# some words to make it long\n";
  const AttemptSpec spec = ScriptSpec(scratch, script + "echo end");
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  CHECK(LogOf(spec) == "end\n");
}

TEST_CASE("the environment is the specified one and nothing else") {
  const ScratchFolder scratch;
  setenv("TRACKBED_TEST_LEAK", "leaked", 1);
  setenv("TRACKBED_TEST_WANTED", "wanted", 1);
  ProcessExecutorOptions options;
  options.inherit_environment = {"TRACKBED_TEST_WANTED"};
  const auto executor = MakeExecutor(options);
  AttemptSpec spec = ScriptSpec(scratch, "env; echo a=1 >> $TRACKBED_OUTPUT", "run-1/train/2");
  spec.environment = {{"EPOCHS", "3"}, {"BACKENDAI_CLUSTER_SIZE", "4"}, {"LINES", "a\nb"}};
  spec.pipeline_folder = scratch / "vfroot";
  const AttemptReport report = RunToEnd(executor.get(), spec);
  CHECK(report.output_text == "a=1\n");
  const std::string log = "\n" + LogOf(spec);
  for (const std::string& line :
       {std::string("EPOCHS=3"), std::string("BACKENDAI_CLUSTER_SIZE=4"), std::string("LINES=a\nb"),
        std::string("TRACKBED_TEST_WANTED=wanted"), std::string("BACKENDAI_CLUSTER_HOST=main1"),
        std::string("BACKENDAI_PIPELINE_JOB_ID=run-1"), std::string("BACKENDAI_SESSION_NAME=train"),
        "TMPDIR=" + spec.folder + "/tmp", "TRACKBED_OUTPUTS=" + spec.folder + "/outputs",
        "TRACKBED_PIPELINE_FOLDER=" + spec.pipeline_folder,
        std::string("TRACKBED_ATTEMPT_KEY=run-1/train/2")}) {
    INFO(line);
    CHECK(log.find("\n" + line + "\n") != std::string::npos);
  }
  CHECK(log.find("leaked") == std::string::npos);
}

TEST_CASE("outputs are digested, and removed temporary files are not in the way") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptSpec spec = ScriptSpec(scratch,
                                      "mkdir $TRACKBED_OUTPUTS/sub; echo hi > "
                                      "$TRACKBED_OUTPUTS/sub/file; ln -s sub/file "
                                      "$TRACKBED_OUTPUTS/link; echo x > $TMPDIR/y");
  const AttemptReport report = RunToEnd(executor.get(), spec);
  CHECK(report.output_digest == *TreeDigest(spec.folder + "/outputs"));
  CHECK(report.message.empty());

  const AttemptSpec pipe = ScriptSpec(scratch, "mkfifo $TRACKBED_OUTPUTS/pipe", "run/pipe/1");
  const AttemptReport refused = RunToEnd(executor.get(), pipe);
  CHECK(refused.exit_code == 74);  // EX_IOERR: those after it would find nothing
  CHECK(refused.output_digest.empty());
  CHECK(refused.message.find("pipe") != std::string::npos);
}

TEST_CASE("an output file that is too large or no file is told, not hung on") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptReport large = RunToEnd(
      executor.get(),
      ScriptSpec(scratch, "yes name=value | head -c 2000000 > $TRACKBED_OUTPUT", "run/large/1"));
  CHECK(large.output_text.size() <= kMaxOutputBytes);
  CHECK(large.output_text.ends_with("name=value\n"));
  CHECK(large.message.find("1 MiB") != std::string::npos);
  const AttemptReport pipe =
      RunToEnd(executor.get(), ScriptSpec(scratch, "mkfifo $TRACKBED_OUTPUT", "run/pipe/1"));
  CHECK(pipe.output_text.empty());
  CHECK_FALSE(pipe.message.empty());
}

TEST_CASE("logs of any size and content are kept byte for byte") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  for (const bool masked : {false, true}) {
    AttemptSpec spec = ScriptSpec(scratch,
                                  "head -c 10000000 /dev/urandom > bytes; cat bytes; "
                                  "printf 'no newline'",
                                  masked ? "run/masked/1" : "run/plain/1");
    if (masked) {
      spec.environment = {{"TOKEN", "a value that random bytes do not hold"}};
      spec.secret_names = {"TOKEN"};
    }
    CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
    CHECK((LogOf(spec) == ReadAll(spec.folder + "/work/bytes") + "no newline"));
  }
}

TEST_CASE("nothing outlives its attempt") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const AttemptSpec spec = ScriptSpec(scratch,
                                      "(setsid sh -c 'trap \"\" TERM HUP; echo $$ > daemon; "
                                      "sleep 1000 & wait' < /dev/null > /dev/null 2>&1 &); "
                                      "sleep 1000 & echo $! > child; "
                                      "while ! test -s daemon; do sleep 0.01; done");
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  for (const char* name : {"daemon", "child"}) {
    const int pid = std::stoi(ReadAll(spec.folder + "/work/" + name));
    CHECK(kill(pid, 0) == -1);
  }
}

TEST_CASE("terminate asks every process, kill forces them") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  SECTION("a command that heeds SIGTERM ends in its own way") {
    const AttemptSpec spec = ScriptSpec(
        scratch,
        "trap 'echo asked; exit 3' TERM; (trap 'echo child asked; exit' TERM; touch child; "
        "while :; do sleep 0.01; done) & touch ready; while :; do sleep 0.01; done");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] {
      return std::filesystem::exists(spec.folder + "/work/ready") &&
             std::filesystem::exists(spec.folder + "/work/child");
    }));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    const AttemptReport report = WaitForEnd(executor.get(), spec.key);
    CHECK(report.exit_code == 3);
    CHECK(report.signal == 0);
    CHECK(LogOf(spec).find("asked") != std::string::npos);
  }
  SECTION("one that does not is killed") {
    const AttemptSpec spec =
        ScriptSpec(scratch, "trap '' TERM; sleep 1000 & touch ready; while :; do sleep 0.01; done");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    std::vector<AttemptReport> reports;
    poll(nullptr, 0, 50);
    REQUIRE(executor->Poll(&reports).ok());
    CHECK(std::none_of(reports.begin(), reports.end(),
                       [](const AttemptReport& r) { return r.kind != Kind::started; }));
    REQUIRE(executor->Stop(spec.key, StopMode::kill).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).signal == SIGKILL);
  }
  SECTION("at once after the start") {
    for (int i = 0; i < 20; ++i) {
      const AttemptSpec spec = ScriptSpec(scratch, "sleep 1000", "run/task/" + std::to_string(i));
      REQUIRE(executor->Start(spec).ok());
      REQUIRE(executor->Stop(spec.key, StopMode::kill).ok());
      const AttemptReport report = WaitForEnd(executor.get(), spec.key);
      CHECK((report.kind == Kind::failed_to_start || report.signal == SIGKILL));
    }
  }
  CHECK(executor->Stop("run/unknown/1", StopMode::kill).code() == StatusCode::kNotFound);
}

TEST_CASE("the working folder shows source, mounts and inputs") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  WriteAll(scratch / "source/main.txt", "main");
  WriteAll(scratch / "source/data/small.txt", "small");
  WriteAll(scratch / "source/deep/a/b.txt", "b");
  WriteAll(scratch / "shared/in.txt", "in");
  WriteAll(scratch / "first/model.bin", "model");
  AttemptSpec spec = ScriptSpec(scratch, "true");
  spec.source_path = scratch / "source";
  spec.mounts = {{"my-data", scratch / "shared", "data/shared", false},
                 {"fresh", scratch / "made/when/missing", "fresh", false}};
  spec.inputs = {{"prepare", scratch / "first", "", true}, {"empty", "", "", true}};
  SECTION("all of the source") {
    spec.command = {
        "cat main.txt data/small.txt data/shared/in.txt deep/a/b.txt inputs/prepare/model.bin "
        "$TRACKBED_INPUT_1/model.bin $TRACKBED_MOUNT_MY_DATA/in.txt && ls $TRACKBED_INPUT_2 && "
        "touch fresh/x"};
    const AttemptReport report = RunToEnd(executor.get(), spec);
    CHECK(report.exit_code == 0);
    CHECK(LogOf(spec) == "mainsmallinbmodelmodelin");
    CHECK(std::filesystem::exists(scratch / "made/when/missing/x"));
    CHECK(ReadAll(scratch / "source/data/shared/in.txt").empty());
  }
  SECTION("parts of it") {
    spec.files = {"deep/a/b.txt", "data"};
    spec.command = {"cat deep/a/b.txt data/small.txt data/shared/in.txt; test ! -e main.txt"};
    CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
    CHECK(LogOf(spec) == "bsmallin");
  }
  SECTION("what is not there is named") {
    spec.files = {"deep", "nothing.py", "deep/none"};
    const Status status = executor->Start(spec);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(Message(status) == "the source has no \"nothing.py\", \"deep/none\"");
    CHECK_FALSE(std::filesystem::exists(spec.folder));
  }
}

TEST_CASE("specifications that cannot be run are refused") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "true");
  const auto code = [&] { return executor->Start(spec).code(); };
  SECTION("mounts that climb") {
    spec.mounts = {{"up", scratch / "x", "a/../../b", false}};
    CHECK(code() == StatusCode::kInvalidArgument);
    spec.mounts = {{"up", scratch / "x", "/a/../b", false}};
    CHECK(code() == StatusCode::kInvalidArgument);
  }
  SECTION("files that climb") {
    spec.source_path = scratch.path();
    spec.files = {"../etc"};
    CHECK(code() == StatusCode::kInvalidArgument);
    spec.files = {"/etc"};
    CHECK(code() == StatusCode::kInvalidArgument);
  }
  SECTION("zero bytes") {
    spec.command = {std::string("a\0b", 3)};
    CHECK(code() == StatusCode::kInvalidArgument);
  }
  SECTION("an empty command") {
    spec.command = {};
    CHECK(code() == StatusCode::kInvalidArgument);
  }
  SECTION("a folder that cannot be made") {
    WriteAll(scratch / "file", "x");
    spec.folder = scratch / "file/attempt";
    CHECK(code() == StatusCode::kFailedPrecondition);
  }
  SECTION("a read-only mount without its folder") {
    spec.mounts = {{"data", scratch / "missing", "data", true}};
    CHECK(code() == StatusCode::kFailedPrecondition);
  }
  CHECK_FALSE(std::filesystem::exists(scratch / "attempts"));
}

TEST_CASE("memory limits end the attempt and say why") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec =
      ScriptSpec(scratch, "head -c 400000000 /dev/zero | tail; cat /proc/self/cgroup; exit 1");
  spec.resources = {{"cpu", *Quantity::FromUnits(1)},
                    {"mem", *Quantity::FromUnits(64 * 1024 * 1024)}};
  const AttemptReport report = RunToEnd(executor.get(), spec);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 1);
  if (LogOf(spec).find("trackbed/attempt-") == std::string::npos) {
    WARN("SKIPPED: no permission to make control groups");
    return;
  }
  CHECK(report.out_of_memory);
  CHECK(report.message.find("memory") != std::string::npos);
  // The groups are gone again.
  const std::string log = LogOf(spec);
  const size_t begin = log.find("trackbed/attempt-");
  const std::string group = log.substr(begin, log.find('\n', begin) - begin);
  CHECK_FALSE(std::filesystem::exists("/sys/fs/cgroup/memory/" + group));
  CHECK_FALSE(std::filesystem::exists("/sys/fs/cgroup/" + group));

  AttemptSpec fine = ScriptSpec(scratch, "exit 1", "run/fine/1");
  fine.resources = spec.resources;
  CHECK_FALSE(RunToEnd(executor.get(), fine).out_of_memory);
}

TEST_CASE("without control groups the memory limit is on address space") {
  const ScratchFolder scratch;
  ProcessExecutorOptions options;
  options.cgroup_mode = CgroupMode::never;
  const auto executor = MakeExecutor(options);
  AttemptSpec spec = ScriptSpec(scratch, "ulimit -v");
  spec.resources = {{"mem", *Quantity::FromUnits(512 * 1024 * 1024)}};
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  CHECK(LogOf(spec) == std::to_string(512 * 1024) + "\n");
  // CUDA would not start under any limit that means memory.
  AttemptSpec with_gpu = ScriptSpec(scratch, "ulimit -v", "run/gpu/1");
  with_gpu.resources = spec.resources;
  with_gpu.devices = {{"cuda.shares", "GPU-6f/shares", "GPU-6f", 0, Quantity::FromThousandths(500),
                       int64_t{80} << 30}};
  CHECK(RunToEnd(executor.get(), with_gpu).exit_code == 0);
  CHECK(LogOf(with_gpu) == "unlimited\n");
}

TEST_CASE("the host's own way with signals and children does not matter") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  SECTION("children that are not to be waited for") {
    const auto before = signal(SIGCHLD, SIG_IGN);
    CHECK(RunToEnd(executor.get(), ScriptSpec(scratch, "exit 4")).exit_code == 4);
    signal(SIGCHLD, before);
  }
  SECTION("a host that waits for everything") {
    const AttemptSpec spec = ScriptSpec(scratch, "exit 5");
    REQUIRE(executor->Start(spec).ok());
    while (waitpid(-1, nullptr, 0) > 0) {
    }
    CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 5);
  }
  SECTION("ignored and blocked signals are not handed down") {
    const auto before = signal(SIGTERM, SIG_IGN);
    sigset_t blocked;
    sigset_t old;
    sigfillset(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, &old);
    const AttemptSpec spec = ScriptSpec(scratch, "grep -E 'Sig(Blk|Ign)' /proc/self/status");
    CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
    sigprocmask(SIG_SETMASK, &old, nullptr);
    signal(SIGTERM, before);
    CHECK(LogOf(spec) == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  }
}

TEST_CASE("the command gets no descriptors of the host") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  const int leaky = open("/dev/null", O_RDONLY);
  AttemptSpec spec = ScriptSpec(scratch, "ls /proc/self/fd | wc -l");
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  close(leaky);
  CHECK(LogOf(spec) == "4\n");  // 0, 1, 2 and the folder that ls reads
}

TEST_CASE("many attempts at once, each reported once") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  constexpr int kAttempts = 200;
  for (int i = 0; i < kAttempts; ++i) {
    const AttemptSpec spec =
        ScriptSpec(scratch, "exit " + std::to_string(i), "run/t" + std::to_string(i) + "/1");
    REQUIRE(executor->Start(spec).ok());
  }
  std::set<std::string> ended;
  int started = 0;
  REQUIRE(Eventually([&] {
    std::vector<AttemptReport> reports;
    REQUIRE(executor->Poll(&reports).ok());
    for (const AttemptReport& report : reports) {
      if (report.kind == Kind::started) {
        ++started;
        CHECK_FALSE(ended.contains(report.key));
      } else {
        CHECK("run/t" + std::to_string(report.exit_code) + "/1" == report.key);
        CHECK(ended.insert(report.key).second);
      }
    }
    return ended.size() == kAttempts;
  }));
  CHECK(started == kAttempts);
  pollfd wake{executor->WakeDescriptor(), POLLIN, 0};
  CHECK(poll(&wake, 1, 0) == 0);
}

TEST_CASE("a deep folder still has a short TMPDIR, for sockets") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "");
  spec.folder += "/" + std::string(100, 'd');
  spec.command = {"echo mark > $TMPDIR/file; cat " + spec.folder + "/tmp/file; echo $TMPDIR"};
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  const std::string log = LogOf(spec);
  CHECK(log.find("/trackbed-") != std::string::npos);
  CHECK(log.size() < 60);
  CHECK_FALSE(std::filesystem::is_symlink(log.substr(5, log.size() - 6)));
}

// In a process with a mount of its own, 64 KiB large. The exit code says how far it got.
int OnSmallDisk(const std::string& folder) {
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("none", folder.c_str(), "tmpfs", 0, "size=65536") != 0) {
    return 77;
  }
  auto executor = ProcessExecutor::Create();
  if (!executor.ok()) return 1;
  AttemptSpec spec;
  spec.key = "run/full/1";
  spec.folder = folder + "/1";
  spec.command = {"cat /dev/zero > big; exit 6"};
  if (!(*executor)->Start(spec).ok()) return 2;
  std::vector<AttemptReport> reports;
  while (reports.empty() || reports.back().kind == Kind::started) {
    pollfd wake{(*executor)->WakeDescriptor(), POLLIN, 0};
    poll(&wake, 1, 1000);
    if (!(*executor)->Poll(&reports).ok()) return 3;
  }
  if (reports.back().kind != Kind::exited || reports.back().exit_code != 6) return 4;
  spec.key = "run/full/2";
  spec.folder = folder + "/2";
  reports.clear();
  if (!(*executor)->Start(spec).ok()) return 5;
  while (reports.empty()) {
    pollfd wake{(*executor)->WakeDescriptor(), POLLIN, 0};
    poll(&wake, 1, 1000);
    if (!(*executor)->Poll(&reports).ok()) return 6;
  }
  if (reports.back().kind != Kind::failed_to_start) return 7;
  return reports.back().message.find("No space left on device") != std::string::npos ? 0 : 8;
}

TEST_CASE("an attempt that fills the disk ends properly, the next one is told") {
  const ScratchFolder scratch;
  const pid_t child = fork();
  if (child == 0) _exit(OnSmallDisk(scratch.path()));
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    WARN("SKIPPED: no permission to mount a small disk");
    return;
  }
  CHECK(status == 0);
}

TEST_CASE("there is no executor without its supervisor") {
  ProcessExecutorOptions options;
  options.supervisor_path = "/no/such/supervisor";
  const auto executor = ProcessExecutor::Create(options);
  CHECK(executor.status().code() == StatusCode::kNotFound);
  CHECK(Message(executor.status()) ==
        "there is no trackbed-supervisor; looked at /no/such/supervisor");
}

}  // namespace
}  // namespace trackbed
