// Folders at absolute paths, with bubblewrap and without.
#include <signal.h>

#include "executors/attempt_fixture.hpp"
#include "executors/sandbox_plan.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

AttemptSpec PipelineSpec(const ScratchFolder& scratch, const std::string& script) {
  WriteAll(scratch / "source/train.txt", "code");
  WriteAll(scratch / "data/in.txt", "data");
  WriteAll(scratch / "first/model.bin", "model");
  AttemptSpec spec = ScriptSpec(scratch, script);
  spec.source_path = scratch / "source";
  spec.pipeline_folder = scratch / "vfroot";
  spec.pipeline_paths = true;
  spec.mounts = {{"examples", scratch / "data", "/home/work/examples", false},
                 {"data", scratch / "data", "/trackbed-test-data/deep", true}};
  spec.inputs = {{"prepare", scratch / "first", "", true}, {"none", "", "", true}};
  return spec;
}

TEST_CASE("FastTrack's paths exist for the command and not on the machine") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  if (!executor->SandboxWorks()) {
    WARN("SKIPPED: bubblewrap not available");
    return;
  }
  const AttemptSpec spec = PipelineSpec(
      scratch,
      "set -e; cat train.txt examples/in.txt /home/work/examples/in.txt "
      "/trackbed-test-data/deep/in.txt /pipeline/input1/model.bin $TRACKBED_MOUNT_EXAMPLES/in.txt; "
      "ls /pipeline/input2; echo kept > /pipeline/vfroot/kept; "
      "echo made > /pipeline/outputs/made; test -e /pipeline/output/made; "
      "test -e /etc/passwd; test -e /dev/null; test -d /proc/self; "
      "if touch /trackbed-test-data/deep/x 2> /dev/null; then exit 20; fi; "
      "(echo x >> train.txt) 2> /dev/null || true; exit 5");
  const AttemptReport report = RunToEnd(executor.get(), spec);
  INFO(LogOf(spec) << report.message);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 5);
  CHECK(LogOf(spec) == "codedatadatadatamodeldata");
  CHECK(ReadAll(spec.source_path + "/train.txt") == "code");  // what it wrote into was its own
  CHECK(ReadAll(scratch / "vfroot/kept") == "kept\n");
  CHECK(ReadAll(spec.folder + "/outputs/made") == "made\n");
  CHECK_FALSE(report.output_digest.empty());
  for (const char* path : {"/pipeline", "/trackbed-test-data"}) {
    CHECK_FALSE(std::filesystem::exists(path));
  }
}

TEST_CASE("in a sandbox attempts end and are stopped like elsewhere") {
  const ScratchFolder scratch;
  ProcessExecutorOptions options;
  options.sandbox = SandboxMode::always;
  const auto executor = MakeExecutor(options);
  if (!executor->SandboxWorks()) {
    CHECK(executor->Start(ScriptSpec(scratch, "true")).code() == StatusCode::kFailedPrecondition);
    WARN("SKIPPED: bubblewrap not available");
    return;
  }
  SECTION("by a signal") {
    const AttemptReport report = RunToEnd(executor.get(), ScriptSpec(scratch, "kill -SEGV $$"));
    CHECK(report.signal == SIGSEGV);
  }
  SECTION("by a code that only looks like one") {
    const AttemptReport report = RunToEnd(executor.get(), ScriptSpec(scratch, "exit 139"));
    CHECK(report.signal == 0);
    CHECK(report.exit_code == 139);
  }
  SECTION("not started at all") {
    AttemptSpec spec = ScriptSpec(scratch, "");
    spec.shell = false;
    spec.command = {"no-such-program"};
    REQUIRE(executor->Start(spec).ok());
    int started = 0;
    const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message == "cannot run \"no-such-program\": No such file or directory");
    CHECK(started == 0);
  }
  SECTION("asked to end") {
    const AttemptSpec spec =
        ScriptSpec(scratch, "trap 'exit 3' TERM; touch ready; while :; do sleep 0.01; done");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 3);
  }
  SECTION("asked to end before the command is there") {
    const AttemptSpec spec = ScriptSpec(scratch, "sleep 1000");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/claim"); }));
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    const AttemptReport report = WaitForEnd(executor.get(), spec.key);
    CHECK((report.signal == SIGTERM || report.kind == Kind::failed_to_start));
  }
  SECTION("killed") {
    const AttemptSpec spec = ScriptSpec(scratch, "trap '' TERM; touch ready; sleep 1000");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
    REQUIRE(executor->Stop(spec.key, StopMode::kill).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).signal == SIGKILL);
  }
  SECTION("with what is between bubblewrap and the command killed") {
    const AttemptReport report =
        RunToEnd(executor.get(), ScriptSpec(scratch, "kill -KILL $PPID; sleep 1000"));
    CHECK(report.kind == Kind::exited);
    CHECK(report.signal == SIGKILL);
    CHECK(report.exit_code == 0);
  }
  SECTION("with the supervisor killed") {
    const AttemptSpec spec =
        ScriptSpec(scratch, "echo $$ > main; touch ready; while :; do sleep 0.01; done");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
    const std::string claim = ReadAll(spec.folder + "/claim");
    REQUIRE(kill(std::stoi(claim.substr(claim.find("pid ") + 4)), SIGKILL) == 0);
    CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::lost);
    const int main = std::stoi(ReadAll(spec.folder + "/work/main"));
    CHECK(Eventually([&] { return kill(main, 0) != 0; }));
  }
}

TEST_CASE("without a sandbox absolute mounts are links, and the log says so") {
  const ScratchFolder scratch;
  ProcessExecutorOptions options;
  options.sandbox = SandboxMode::never;
  const auto executor = MakeExecutor(options);
  const AttemptSpec spec = PipelineSpec(
      scratch,
      "set -e; cat train.txt examples/in.txt trackbed-test-data/deep/in.txt "
      "$TRACKBED_MOUNT_DATA/in.txt $TRACKBED_INPUT_1/model.bin inputs/prepare/model.bin");
  const AttemptReport report = RunToEnd(executor.get(), spec);
  CHECK(report.exit_code == 0);
  const std::string log = LogOf(spec);
  INFO(log);
  CHECK(log.starts_with("trackbed: no sandbox is used: /home/work/examples is at \"examples\""));
  CHECK(log.ends_with("\ncodedatadatadatamodelmodel"));
}

TEST_CASE("mounts that would hide what is needed are refused") {
  const std::vector<std::string> needed = {"/srv/runs/1"};
  const auto code = [&](const std::string& path) {
    return PlanSandbox({{path, "/tmp", false}}, "/srv/runs/1/work", needed).status().code();
  };
  CHECK(code("/") == StatusCode::kInvalidArgument);
  CHECK(code("/proc") == StatusCode::kInvalidArgument);
  CHECK(code("/dev/shm") == StatusCode::kInvalidArgument);
  CHECK(code("/srv") == StatusCode::kInvalidArgument);
  CHECK(code("/srv/runs/1") == StatusCode::kInvalidArgument);
  CHECK(code("/a/../srv") == StatusCode::kInvalidArgument);
  CHECK(code("/srv/runs/1/work/data") == StatusCode::kOk);
  CHECK(code("/srv/run") == StatusCode::kOk);
}

}  // namespace
}  // namespace trackbed
