#include "executors/slurm_jobs.hpp"

#include <algorithm>

#include "executors/attempt_name.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

AttemptSpec Spec() {
  AttemptSpec spec;
  spec.key = "run-7/train model/2";
  spec.folder = "/shared/home/it's 100%/a";
  spec.command = {"true"};
  spec.environment = {{"TOKEN", "geheim-7291"}};
  spec.secret_names = {"TOKEN"};
  return spec;
}

bool Has(const std::vector<std::string>& arguments, const std::string& argument) {
  return std::find(arguments.begin(), arguments.end(), argument) != arguments.end();
}

TEST_CASE("slurm: a submission asks for what the task asks for") {
  AttemptSpec spec = Spec();
  spec.resources = {{"cpu", Quantity::FromThousandths(2500)},
                    {"cuda.device", *Quantity::FromUnits(2)},
                    {"mem", *Quantity::FromUnits((int64_t{3} << 30) + 1)}};
  spec.timeout = std::chrono::seconds(61);
  SlurmExecutorOptions options;
  options.place.partition = "main";
  options.groups["gpu"] = {"a100", "lab", "high"};
  options.arguments = {"--constraint=nvlink"};
  auto arguments = SubmitArguments(spec, options, "/opt/super visor");
  REQUIRE(arguments.ok());
  CHECK(Has(*arguments, "--cpus-per-task=3"));
  CHECK(Has(*arguments, "--mem=3073M"));
  CHECK(Has(*arguments, "--gres=gpu:2"));
  CHECK(Has(*arguments, "--time=4"));
  CHECK(Has(*arguments, "--partition=main"));
  CHECK(Has(*arguments, "--constraint=nvlink"));
  CHECK(Has(*arguments, "--requeue"));
  CHECK(Has(*arguments, "--comment=run-7/train model/2"));
  CHECK(Has(*arguments, "--job-name=" + AttemptName(spec.key, spec.folder)));
  CHECK(Has(*arguments, "--output=/shared/home/it's 100%%/a/slurm.log"));
  CHECK(arguments->back() == "--wrap=exec '/opt/super visor' --job '/shared/home/it'\\''s 100%/a'");
  for (const std::string& argument : *arguments) {
    CHECK(argument.find("geheim") == std::string::npos);
  }

  spec.resource_group = "gpu";
  spec.timeout = Duration(0);
  arguments = SubmitArguments(spec, options, "/opt/supervisor");
  REQUIRE(arguments.ok());
  CHECK(Has(*arguments, "--partition=a100"));
  CHECK(Has(*arguments, "--account=lab"));
  CHECK(Has(*arguments, "--qos=high"));
  CHECK(std::none_of(arguments->begin(), arguments->end(),
                     [](const std::string& text) { return text.starts_with("--time"); }));
}

TEST_CASE("slurm: accelerators by the names that Slurm has for them") {
  struct Row {
    const char* slot;
    int64_t thousandths;
    const char* expected;
  };
  for (const Row& row :
       {Row{"cuda.device", 1000, "--gres=gpu:1"}, Row{"cuda.shares", 2000, "--gres=gpu:2"},
        Row{"cuda.shares", 255, "--gres=mps:26"},
        Row{"cuda.device:1g.5gb-mig", 1000, "--gres=gpu:1g.5gb:1"},
        Row{"rocm.device", 4000, "--gres=gpu:4"}, Row{"tpu.device", 1000, "--gres=tpu:1"}}) {
    INFO(row.slot);
    AttemptSpec spec = Spec();
    spec.resources = {{row.slot, Quantity::FromThousandths(row.thousandths)}};
    const auto arguments = SubmitArguments(spec, {}, "/s");
    REQUIRE(arguments.ok());
    CHECK(Has(*arguments, row.expected));
    CHECK(Has(*arguments, "--cpus-per-task=1"));
  }
  AttemptSpec odd = Spec();
  odd.resources = {{"x.y,gpu:9", *Quantity::FromUnits(1)}};
  CHECK(absl::IsInvalidArgument(SubmitArguments(odd, {}, "/s").status()));
}

TEST_CASE("slurm: every state of a job counts as one that makes a difference") {
  const std::pair<const char*, JobState> rows[] = {{"PENDING", JobState::waiting},
                                                   {"REQUEUED", JobState::waiting},
                                                   {"REQUEUE_HOLD", JobState::waiting},
                                                   {"CONFIGURING", JobState::running},
                                                   {"RUNNING", JobState::running},
                                                   {"COMPLETING", JobState::running},
                                                   {"SUSPENDED", JobState::running},
                                                   {"STAGE_OUT", JobState::running},
                                                   {"COMPLETED", JobState::ended},
                                                   {"FAILED", JobState::ended},
                                                   {"CANCELLED", JobState::cancelled},
                                                   {"CANCELLED by 1000", JobState::cancelled},
                                                   {"TIMEOUT", JobState::timed_out},
                                                   {"DEADLINE", JobState::timed_out},
                                                   {"OUT_OF_MEMORY", JobState::out_of_memory},
                                                   {"NODE_FAIL", JobState::taken_away},
                                                   {"BOOT_FAIL", JobState::taken_away},
                                                   {"PREEMPTED", JobState::taken_away},
                                                   {"SOMETHING_NEW", JobState::running}};
  for (const auto& [text, state] : rows) {
    INFO(text);
    CHECK(ReadJobState(text) == state);
  }
}

TEST_CASE("slurm: answers are read whatever other jobs are called") {
  const auto jobs = ReadQueue(
      "7|RUNNING|None|trackbed-a|/f/a | b\n8|PENDING|Resources|trackbed-a|/\n\n"
      "9|FAILED|NonZeroExitCode|x|trackbed-a\n10|\n11_[1-3]|PENDING|(null)|odd | name|/");
  CHECK(jobs.count("trackbed-a") == 2);
  CHECK(jobs.find("trackbed-a")->second.id == "7");
  CHECK(jobs.find("trackbed-a")->second.state == JobState::running);
  CHECK(jobs.find("trackbed-a")->second.folder == "/f/a | b");
  CHECK(jobs.count("odd ") == 1);
  const auto accounts = ReadAccounts("7|NODE_FAIL\n8|CANCELLED by 0\n");
  CHECK(accounts.at("7").state == JobState::taken_away);
  CHECK(accounts.at("8").state == JobState::cancelled);
}

TEST_CASE("slurm: what hopes and what does not") {
  CHECK(IsHopeless("PartitionTimeLimit"));
  CHECK(CouldNotBeLaunched("launch failed requeued held"));
  CHECK_FALSE(CouldNotBeLaunched("Resources"));
  CHECK_FALSE(IsHopeless("Resources"));
  CHECK_FALSE(IsHopeless("ReqNodeNotAvail"));
  CHECK(
      MayBeTakenLater("Batch job submission failed: Unable to contact slurm controller "
                      "(connect failure)"));
  // As sbatch said when the controller was killed while it spoke to it.
  CHECK(MayBeTakenLater("Batch job submission failed: Unexpected missing socket error"));
  CHECK(MayBeTakenLater("Batch job submission failed: QOSMaxSubmitJobPerUserLimit"));
  CHECK_FALSE(MayBeTakenLater("Batch job submission failed: Invalid partition name specified"));
}

TEST_CASE("slurm: a gang is one job, on one node or on as many as it has members") {
  AttemptSpec spec = Spec();
  spec.resources = {{"cpu", *Quantity::FromUnits(2)},
                    {"cuda.device", *Quantity::FromUnits(1)},
                    {"mem", *Quantity::FromUnits(int64_t{1} << 30)}};
  spec.gang = {{"main1", "n", {}}, {"sub1", "n", {}}, {"sub2", "n", {}}};
  auto arguments = SubmitArguments(spec, {}, "/s");
  REQUIRE(arguments.ok());
  CHECK(Has(*arguments, "--nodes=1"));
  CHECK(Has(*arguments, "--ntasks=3"));
  CHECK(Has(*arguments, "--cpus-per-task=2"));
  CHECK(Has(*arguments, "--mem=3072M"));
  CHECK(Has(*arguments, "--gres=gpu:3"));
  CHECK(arguments->back() == "--wrap=exec '/s' --gang '/shared/home/it'\\''s 100%/a' 3 2");

  spec.gang[1].node = "other";
  spec.gang[2].node = "third";
  arguments = SubmitArguments(spec, {}, "/s");
  REQUIRE(arguments.ok());
  CHECK(Has(*arguments, "--nodes=3"));
  CHECK(Has(*arguments, "--ntasks=3"));
  CHECK(Has(*arguments, "--mem=1024M"));
  CHECK(Has(*arguments, "--gres=gpu:1"));
}

}  // namespace
}  // namespace trackbed
