// What the executor concludes from what Slurm says and from the attempts' records, with programs in
// place of Slurm's commands that say what a test wants: states that a cluster gets into seldom.
// With a real one, tests/system/slurm.sh and the suite of executors.
#include "trackbed/executors/slurm_executor.hpp"

#include <csignal>
#include <cstdlib>

#include "executors/attempt_fixture.hpp"
#include "executors/attempt_name.hpp"
#include "executors/attempt_records.hpp"
#include "executors/supervisor_process.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;

// Commands in a folder, which is put first in PATH while this lives.
class StandIn {
 public:
  StandIn() : path_(getenv("PATH") == nullptr ? "/usr/bin:/bin" : getenv("PATH")) {
    const std::string begin = "#!/bin/sh\nd=" + scratch_.path() + "\n";
    // `mute`: takes the job and says that the controller has not been reached. `refuse`: says that.
    // `execute`: also runs it, with what `given` exports.
    Program("sbatch", begin +
                          "[ ! -e $d/refuse ] || { cat $d/refuse >&2; exit 1; }\n"
                          "echo x >> $d/submitted\n"
                          "for a; do case $a in --wrap=*) wrap=${a#--wrap=};; esac; done\n"
                          "[ ! -e $d/given ] || . $d/given\n"
                          "if [ -e $d/execute ]; then sh -c \"$wrap\" > /dev/null 2>&1 & fi\n"
                          "if [ -e $d/mute ]; then echo 'sbatch: error: Batch job submission "
                          "failed: Unable to contact slurm controller' >&2; exit 1; fi\n"
                          "wc -l < $d/submitted | tr -d ' '\n");
    Program("squeue", begin +
                          "echo \"$*\" >> $d/asked\n[ ! -e $d/down ] || exit 1\n"
                          "cat $d/queue\n");
    Program("scancel", begin + "echo \"$*\" >> $d/cancelled\n");
    Program("sacct", begin + "cat $d/accounts 2> /dev/null\n");
    Program("srun", begin +
                        "for a; do case $a in --ntasks=*) n=${a#--ntasks=};;\n"
                        "--nodes=*) nodes=${a#--nodes=};; esac; done\n"
                        "while case $1 in --*) true;; *) false;; esac; do shift; done\n"
                        "i=0; while [ $i -lt $n ]; do\n"
                        "SLURM_STEP_NUM_NODES=$nodes SLURM_PROCID=$i SLURM_STEP_NUM_TASKS=$n "
                        "\"$@\" &\n"
                        "i=$((i + 1)); done; wait\n");
    WriteAll(File("queue"), "");
    setenv("PATH", (scratch_ / "bin:" + path_).c_str(), 1);
  }
  ~StandIn() { setenv("PATH", path_.c_str(), 1); }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  std::string File(const std::string& name) const { return scratch_ / name; }
  const ScratchFolder& scratch() const { return scratch_; }

  // What squeue answers from now on: one line for job `id` of the attempt.
  void Queue(const AttemptSpec& spec, const std::string& state, const std::string& reason = "None",
             const std::string& id = "1") const {
    const std::string draft = File("queue.draft");
    WriteAll(draft, id + "|" + state + "|" + reason + "|" + AttemptName(spec.key, spec.folder) +
                        "|" + spec.folder + "\n");
    std::filesystem::rename(draft, File("queue"));
  }
  size_t Lines(const std::string& name) const {
    const std::string text = ReadAll(File(name));
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

 private:
  void Program(const std::string& name, const std::string& text) const {
    WriteAll(scratch_ / ("bin/" + name), text);
    std::filesystem::permissions(scratch_ / ("bin/" + name), std::filesystem::perms::owner_all);
  }

  const ScratchFolder scratch_;
  const std::string path_;
};

constexpr Duration kQuestionPeriod = std::chrono::milliseconds(20);

std::unique_ptr<SlurmExecutor> NewSlurm(Duration patience = std::chrono::milliseconds(20)) {
  SlurmExecutorOptions options;
  options.poll_interval = kQuestionPeriod;
  options.record_patience = patience;
  auto executor = SlurmExecutor::Create(std::move(options));
  INFO(executor.status());
  REQUIRE(executor.ok());
  return *std::move(executor);
}

// As a job on a node that has begun would.
void Claim(const AttemptSpec& spec) {
  ClaimRecord claim;
  claim.key = spec.key;
  claim.pid = 7;
  claim.start_time = 7;
  claim.boot = "elsewhere";
  REQUIRE(WriteWholeFile(spec.folder + "/" + kClaimFile, EncodeClaim(claim), true) == 0);
}

// By its name: its number may be another job's by now.
bool WasCancelled(const StandIn& cluster, const AttemptSpec& spec) {
  return ReadAll(cluster.File("cancelled")) ==
         "--quiet --name=" + AttemptName(spec.key, spec.folder) + "\n";
}

AttemptSpec GangSpec(const StandIn& cluster, const std::string& script) {
  AttemptSpec spec = ScriptSpec(cluster.scratch(), script);
  spec.gang = {{"main1", "a", {}}, {"sub1", "b", {}}, {"sub2", "c", {}}};
  return spec;
}

// Once, where the queue knows the job from the beginning; else perhaps more often, as a job that
// Slurm does not know is submitted again.
void WaitForSubmission(const StandIn& cluster) {
  REQUIRE(Eventually([&] { return cluster.Lines("submitted") >= 1; }));
}

TEST_CASE("slurm: how a job that left no record ended") {
  struct Row {
    const char* state;
    Kind kind;
    int signal;
    bool out_of_memory;
  };
  for (const Row& row :
       {Row{"NODE_FAIL", Kind::lost, 0, false}, Row{"PREEMPTED", Kind::lost, 0, false},
        Row{"BOOT_FAIL", Kind::lost, 0, false}, Row{"COMPLETED", Kind::lost, 0, false},
        Row{"FAILED", Kind::lost, 0, false}, Row{"TIMEOUT", Kind::exited, SIGKILL, false},
        Row{"OUT_OF_MEMORY", Kind::exited, SIGKILL, true},
        Row{"CANCELLED", Kind::exited, SIGKILL, false}}) {
    INFO(row.state);
    const StandIn cluster;
    const auto executor = NewSlurm();
    const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
    cluster.Queue(spec, "RUNNING");
    REQUIRE(executor->Start(spec).ok());
    WaitForSubmission(cluster);
    Claim(spec);
    cluster.Queue(spec, row.state);
    int started = 0;
    const AttemptReport report = WaitForEnd(executor.get(), spec.key, &started);
    INFO(report.message);
    CHECK(started == 1);
    CHECK(report.kind == row.kind);
    CHECK(report.signal == row.signal);
    CHECK(report.out_of_memory == row.out_of_memory);
    CHECK(report.message.find("job 1") != std::string::npos);
  }
}

TEST_CASE("slurm: how a job that never began ended") {
  for (const auto& [state, kind] :
       {std::pair{"NODE_FAIL", Kind::lost}, std::pair{"FAILED", Kind::failed_to_start},
        std::pair{"CANCELLED", Kind::failed_to_start},
        std::pair{"DEADLINE", Kind::failed_to_start}}) {
    INFO(state);
    const StandIn cluster;
    const auto executor = NewSlurm();
    const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
    cluster.Queue(spec, "PENDING", "Resources");
    REQUIRE(executor->Start(spec).ok());
    WaitForSubmission(cluster);
    cluster.Queue(spec, state);
    CHECK(WaitForEnd(executor.get(), spec.key).kind == kind);
    // Nobody runs it any more, and its order is gone.
    CHECK_FALSE(executor->Start(spec).ok());
    CHECK_FALSE(std::filesystem::exists(spec.folder + "/" + kOrderFile));
  }
}

TEST_CASE("slurm: a job that will wait for ever is withdrawn") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  cluster.Queue(spec, "PENDING", "BadConstraints");
  REQUIRE(executor->Start(spec).ok());
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message == "its job 1 would wait for ever: BadConstraints");
  CHECK(Eventually([&] { return WasCancelled(cluster, spec); }));
}

TEST_CASE("slurm: a job that a node could not launch is lost, and withdrawn") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  cluster.Queue(spec, "PENDING", "launch failed requeued held");
  REQUIRE(executor->Start(spec).ok());
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::lost);
  CHECK(Eventually([&] { return WasCancelled(cluster, spec); }));
}

TEST_CASE("slurm: a job that was put back into the queue is lost, and withdrawn") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  WaitForSubmission(cluster);
  Claim(spec);
  cluster.Queue(spec, "PENDING", "BeginTime");
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::lost);
  CHECK(Eventually([&] { return WasCancelled(cluster, spec); }));
}

TEST_CASE("slurm: a refusal is told, and another time is waited for") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  WriteAll(cluster.File("refuse"),
           "sbatch: error: Batch job submission failed: Invalid account or account/partition "
           "combination specified\n");
  REQUIRE(executor->Start(spec).ok());
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message ==
        "Slurm refuses the job: Batch job submission failed: Invalid account or "
        "account/partition combination specified");

  const AttemptSpec patient = ScriptSpec(cluster.scratch(), "true", "run/patient/1");
  WriteAll(cluster.File("refuse"), "sbatch: error: QOSMaxSubmitJobPerUserLimit\n");
  REQUIRE(executor->Start(patient).ok());
  const size_t asked = cluster.Lines("asked");
  REQUIRE(Eventually([&] { return cluster.Lines("asked") > asked + 2; }));
  std::vector<AttemptReport> reports;
  REQUIRE(executor->Poll(&reports).ok());
  CHECK(reports.empty());
  std::filesystem::remove(cluster.File("refuse"));
  WaitForSubmission(cluster);
}

TEST_CASE("slurm: while the controller does not answer nothing is concluded") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  WriteAll(cluster.File("down"), "");
  REQUIRE(executor->Start(spec).ok());
  WaitForSubmission(cluster);
  REQUIRE(Eventually([&] { return cluster.Lines("asked") > 3; }));
  std::vector<AttemptReport> reports;
  REQUIRE(executor->Poll(&reports).ok());
  CHECK(reports.empty());
  CHECK(cluster.Lines("submitted") == 1);
  cluster.Queue(spec, "NODE_FAIL");
  std::filesystem::remove(cluster.File("down"));
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::lost);
  // All jobs by one command that does not get longer with them.
  CHECK(ReadAll(cluster.File("asked"))
            .starts_with("--me --all --noheader --states=all --format=%i|%T|%r|%j|%Z\n"));
}

TEST_CASE(
    "slurm: a submission whose answer is lost is looked for, and made again where it is not") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "echo x >> ran");
  WriteAll(cluster.File("mute"), "");
  SECTION("it has arrived") {
    cluster.Queue(spec, "PENDING", "Resources", "41");
    REQUIRE(executor->Start(spec).ok());
    WaitForSubmission(cluster);
    const size_t asked = cluster.Lines("asked");
    REQUIRE(Eventually([&] { return cluster.Lines("asked") > asked + 3; }));
    CHECK(cluster.Lines("submitted") == 1);
    REQUIRE(executor->Stop(spec.key, StopMode::terminate).ok());
    CHECK(Eventually(
        [&] { return ReadAll(cluster.File("cancelled")) == "--quiet --state=PENDING 41\n"; }));
    cluster.Queue(spec, "CANCELLED", "None", "41");
    CHECK(WaitForEnd(executor.get(), spec.key).message == "stopped before it started");
  }
  SECTION("it has not") {
    REQUIRE(executor->Start(spec).ok());
    WaitForSubmission(cluster);
    std::filesystem::remove(cluster.File("mute"));
    WriteAll(cluster.File("execute"), "");
    const AttemptReport report = WaitForEnd(executor.get(), spec.key);
    INFO(report.message);
    CHECK(report.kind == Kind::exited);
    // More than twice, where a question was quicker than the job.
    CHECK(cluster.Lines("submitted") >= 2);
    CHECK(ReadAll(spec.folder + "/work/ran") == "x\n");
  }
}

TEST_CASE("slurm: accounting says how a job ended that the controller has forgotten") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  WriteAll(cluster.File("accounts"), "1|OUT_OF_MEMORY\n");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  WaitForSubmission(cluster);
  Claim(spec);
  WriteAll(cluster.File("queue"), "");
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  INFO(report.message);
  CHECK(report.kind == Kind::exited);
  CHECK(report.out_of_memory);
}

TEST_CASE("slurm: a command that Slurm made end is told from one that ended so") {
  for (const auto& [state, kind] :
       {std::pair{"PREEMPTED", Kind::lost}, std::pair{"PENDING", Kind::lost},
        std::pair{"TIMEOUT", Kind::exited}}) {
    INFO(state);
    const StandIn cluster;
    const auto executor = NewSlurm();
    const AttemptSpec spec = ScriptSpec(
        cluster.scratch(), "trap 'exit 3' TERM; touch ready; while :; do sleep 0.01; done");
    WriteAll(cluster.File("execute"), "");
    cluster.Queue(spec, "RUNNING");
    REQUIRE(executor->Start(spec).ok());
    REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
    ClaimRecord claim;
    std::optional<ExitRecord> exit;
    std::string error;
    REQUIRE(DecodeClaimFile(ReadAll(spec.folder + "/" + kClaimFile), &claim, &exit, &error));
    kill(claim.pid, SIGTERM);  // what Slurm does to a job's first process
    REQUIRE(Eventually([&] {
      return DecodeClaimFile(ReadAll(spec.folder + "/" + kClaimFile), &claim, &exit, &error) &&
             exit;
    }));
    cluster.Queue(spec, state);
    const AttemptReport report = WaitForEnd(executor.get(), spec.key);
    INFO(report.message);
    CHECK(report.kind == kind);
    CHECK(report.exit_code == (kind == Kind::exited ? 3 : 0));
  }
}

TEST_CASE("slurm: the order is removed before the command starts, and a second job runs nothing") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  AttemptSpec spec = ScriptSpec(
      cluster.scratch(), "echo x >> ran; test ! -e ../order && echo \"${#TOKEN} $SLURM_JOB_ID\"");
  spec.environment = {{"TOKEN", "geheim-7291"}};
  spec.secret_names = {"TOKEN"};
  REQUIRE(executor->Start(spec).ok());
  struct stat status{};
  REQUIRE(stat((spec.folder + "/" + kOrderFile).c_str(), &status) == 0);
  CHECK((status.st_mode & 077U) == 0);
  const char* supervisor = getenv("TRACKBED_SUPERVISOR");
  const std::string program =
      supervisor != nullptr
          ? supervisor
          : (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "trackbed-supervisor")
                .string();
  const std::string job = "SLURM_JOB_ID=12 " + program + " --job " + spec.folder;
  CHECK(system(job.c_str()) == 0);
  CHECK(system(job.c_str()) == 0);
  CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 0);
  CHECK(LogOf(spec) == "11 12\n");
  CHECK(ReadAll(spec.folder + "/work/ran") == "x\n");
}

TEST_CASE("slurm: what Slurm has forgotten goes on as long as it shows that it is there") {
  const StandIn cluster;
  constexpr Duration kPatience = std::chrono::seconds(1);
  const auto executor = NewSlurm(kPatience);
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  WaitForSubmission(cluster);
  Claim(spec);
  const bool forgotten = GENERATE(true, false);
  if (forgotten) {
    WriteAll(cluster.File("queue"), "");
  } else {
    cluster.Queue(spec, "PENDING", "Resources");
  }
  const std::string claim = spec.folder + "/" + kClaimFile;
  std::vector<AttemptReport> reports;
  const auto until = std::chrono::steady_clock::now() + 2 * kPatience;
  while (std::chrono::steady_clock::now() < until) {
    std::filesystem::last_write_time(claim, std::filesystem::file_time_type::clock::now());
    REQUIRE(executor->Poll(&reports).ok());
    poll(nullptr, 0, 10);
  }
  CHECK(reports.size() == 1);  // that it has started
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::lost);
  CHECK(std::filesystem::exists(spec.folder + "/" + kFenceFile));
}

TEST_CASE("slurm: a command whose attempt was given up is ended by its supervisor") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "touch ready; exec sleep 1000");
  WriteAll(cluster.File("execute"), "");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  REQUIRE(Eventually([&] { return std::filesystem::exists(spec.folder + "/work/ready"); }));
  WriteAll(spec.folder + "/" + kFenceFile, "");
  ClaimRecord claim;
  std::optional<ExitRecord> exit;
  std::string error;
  REQUIRE(Eventually([&] {
    return DecodeClaimFile(ReadAll(spec.folder + "/" + kClaimFile), &claim, &exit, &error) && exit;
  }));
  cluster.Queue(spec, "COMPLETED");
  CHECK(WaitForEnd(executor.get(), spec.key).signal == SIGKILL);
}

TEST_CASE("slurm: a gang is one job, and its members know each other") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec =
      GangSpec(cluster, "echo \"$TRACKBED_GANG_ADDRESSES\"; echo x > \"$TRACKBED_OUTPUTS/made\"");
  WriteAll(cluster.File("execute"), "");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  INFO(report.message);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 0);
  CHECK(cluster.Lines("submitted") == 1);
  CHECK_FALSE(report.output_digest.empty());
  for (const char* folder : {"", "/members/sub1", "/members/sub2"}) {
    INFO(folder);
    const std::string log = ReadAll(spec.folder + folder + "/log");
    CHECK(log == ReadAll(spec.folder + "/log"));
    CHECK(std::count(log.begin(), log.end(), ',') == 2);
    CHECK_FALSE(std::filesystem::exists(spec.folder + folder + "/" + kOrderFile));
  }
}

TEST_CASE("slurm: each member on a node sees its own devices, of those that the job has there") {
  struct Row {
    const char* nodes;
    const char* given;
    std::vector<std::string> seen;  // by main1, sub1, sub2
  };
  for (const Row& row :
       {Row{"1", "CUDA_VISIBLE_DEVICES=4,5,0,1,2,3", {"4,5", "0,1", "2,3"}},
        Row{"1", "ROCR_VISIBLE_DEVICES=2,1,0", {"2", "1", "0"}},
        Row{"1", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=75", {"25", "25", "25"}},
        // On nodes of their own, and where they cannot be dealt out, it is all that there is.
        Row{"3", "CUDA_VISIBLE_DEVICES=0,1,2", {"0,1,2", "0,1,2", "0,1,2"}},
        Row{"1", "CUDA_VISIBLE_DEVICES=0,1", {"0,1", "0,1", "0,1"}}}) {
    INFO(row.given << " on " << row.nodes);
    const StandIn cluster;
    const auto executor = NewSlurm();
    const std::string given = row.given;
    const std::string name = given.substr(0, given.find('='));
    const AttemptSpec spec = GangSpec(cluster, "echo $" + name);
    WriteAll(cluster.File("given"),
             "export SLURM_JOB_NUM_NODES=" + std::string(row.nodes) + "\nexport " + given + "\n");
    WriteAll(cluster.File("execute"), "");
    cluster.Queue(spec, "RUNNING");
    REQUIRE(executor->Start(spec).ok());
    CHECK(WaitForEnd(executor.get(), spec.key).exit_code == 0);
    CHECK(LogOf(spec) == row.seen[0] + "\n");
    CHECK(ReadAll(spec.folder + "/members/sub1/log") == row.seen[1] + "\n");
    CHECK(ReadAll(spec.folder + "/members/sub2/log") == row.seen[2] + "\n");
  }
}

TEST_CASE("slurm: a gang fails as its first member that does, and the others end") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = GangSpec(cluster,
                                    "[ $SLURM_PROCID != 2 ] || exit 7; trap 'exit 3' TERM; "
                                    "while :; do sleep 0.01; done");
  WriteAll(cluster.File("execute"), "");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  const AttemptReport report = WaitForEnd(executor.get(), spec.key);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 7);
  CHECK(report.message == "member sub2: exited with code 7");
}

TEST_CASE("slurm: a gang that was given up before it began never does") {
  const StandIn cluster;
  const auto executor = NewSlurm();
  const AttemptSpec spec = GangSpec(cluster, "echo x >> ran");
  cluster.Queue(spec, "PENDING", "BadConstraints");
  REQUIRE(executor->Start(spec).ok());
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::failed_to_start);
  // The job comes to a node after all.
  const auto supervisor = FindSupervisor("");
  REQUIRE(supervisor.ok());
  const std::string command = *supervisor + " --gang " + spec.folder + " 3 1";
  CHECK(std::system(command.c_str()) == 0);
  CHECK_FALSE(std::filesystem::exists(spec.folder + "/work/ran"));
}

TEST_CASE("slurm: one question serves all jobs, and there are no more of them with more jobs") {
  for (const int jobs : {10, 150}) {
    INFO(jobs);
    const StandIn cluster;
    WriteAll(cluster.File("execute"), "");
    const auto begin = std::chrono::steady_clock::now();
    const auto executor = NewSlurm();
    std::vector<AttemptSpec> specs;
    std::string queue;
    for (int i = 0; i < jobs; ++i) {
      specs.push_back(ScriptSpec(cluster.scratch(), "true", "run/task/" + std::to_string(i + 1)));
      queue += "1|RUNNING|None|" + AttemptName(specs.back().key, specs.back().folder) + "|/\n";
    }
    WriteAll(cluster.File("queue"), queue);
    for (const AttemptSpec& spec : specs) REQUIRE(executor->Start(spec).ok());
    int ended = 0;
    REQUIRE(Eventually([&] {
      std::vector<AttemptReport> reports;
      REQUIRE(executor->Poll(&reports).ok());
      for (const AttemptReport& report : reports) ended += report.kind == Kind::exited ? 1 : 0;
      return ended == jobs;
    }));
    const auto questions = (std::chrono::steady_clock::now() - begin) / kQuestionPeriod;
    CHECK(cluster.Lines("asked") <= static_cast<size_t>(questions) + 1);
    CHECK(cluster.Lines("submitted") == static_cast<size_t>(jobs));
  }
}

TEST_CASE("slurm: a job that Slurm puts back although its attempt has ended is withdrawn") {
  const StandIn cluster;
  auto executor = NewSlurm();
  const AttemptSpec spec = ScriptSpec(cluster.scratch(), "true");
  WriteAll(cluster.File("execute"), "");
  cluster.Queue(spec, "RUNNING");
  REQUIRE(executor->Start(spec).ok());
  CHECK(WaitForEnd(executor.get(), spec.key).kind == Kind::exited);
  CHECK(ReadAll(cluster.File("cancelled")).empty());
  cluster.Queue(spec, "PENDING", "launch failed requeued held");
  // In its time, or in that of another engine. At its very end it tries too, if Slurm is quick.
  const bool by_another = GENERATE(false, true);
  CAPTURE(by_another);
  if (by_another) {
    executor.reset();
    std::filesystem::remove(cluster.File("cancelled"));
    executor = NewSlurm();
    REQUIRE(executor->Start(ScriptSpec(cluster.scratch(), "true", "run/other/1")).ok());
  }
  CHECK(Eventually([&] {
    return ReadAll(cluster.File("cancelled"))
        .starts_with("--quiet --name=" + AttemptName(spec.key, spec.folder) + " 1\n");
  }));
}

}  // namespace
}  // namespace trackbed
