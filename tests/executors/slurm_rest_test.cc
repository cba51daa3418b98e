// What is said to slurmrestd and what it says, and exchanges with it that do not go well. With a
// real one: tests/system/executor_suite_slurm_rest.sh.
#include "executors/slurm_rest.hpp"

#include <deque>
#include <nlohmann/json.hpp>

#include "executors/slurm_rest_json.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::json;

Json Submission(int version, const std::vector<std::string>& arguments) {
  const auto body = RestSubmission(version, arguments, {"PATH=/bin", "LC_ALL=C"});
  INFO(body.status());
  REQUIRE(body.ok());
  return Json::parse(*body);
}

TEST_CASE("slurm rest: the newest version that both speak") {
  const auto describe = [](const std::vector<std::string>& versions) {
    Json json = {{"paths", Json::object()}};
    for (const std::string& version : versions) json["paths"]["/slurm/" + version + "/jobs"] = {};
    return json.dump();
  };
  CHECK(*ChooseRestVersion(describe({"v0.0.36", "v0.0.38", "v0.0.37"})) == 38);
  CHECK(*ChooseRestVersion(describe({"v0.0.40", "v0.0.41"})) == 40);
  const auto newer = ChooseRestVersion(describe({"v0.0.43", "v0.0.44"}));
  CHECK(Message(newer.status()) ==
        "it speaks v0.0.43, v0.0.44 of its interface; v0.0.36 to v0.0.40 are known here");
  CHECK_FALSE(ChooseRestVersion("<html>").ok());
  CHECK_FALSE(ChooseRestVersion("{\"paths\": []}").ok());
}

TEST_CASE("slurm rest: a submission says what the arguments of sbatch say") {
  const std::vector<std::string> arguments = {"--parsable",
                                              "--job-name=trackbed-a",
                                              "--comment=run/it's \"a\"/1",
                                              "--output=/f/slurm.log",
                                              "--open-mode=append",
                                              "--chdir=/",
                                              "--export=ALL",
                                              "--requeue",
                                              "--nodes=2",
                                              "--ntasks=2",
                                              "--cpus-per-task=3",
                                              "--mem=100M",
                                              "--gres=gpu:a100:2,tpu:1",
                                              "--time=4",
                                              "--partition=main",
                                              "--account=lab",
                                              "--qos=high",
                                              "--constraint=nvlink",
                                              "--wrap=exec '/s' --job '/f'"};
  const Json old = Submission(38, arguments);
  CHECK(old["script"] == "#!/bin/sh\nexec '/s' --job '/f'\n");
  const Json expected = {{"name", "trackbed-a"},
                         {"comment", "run/it's \"a\"/1"},
                         {"standard_output", "/f/slurm.log"},
                         {"open_mode", "append"},
                         {"current_working_directory", "/"},
                         {"requeue", true},
                         {"nodes", 2},
                         {"tasks", 2},
                         {"cpus_per_task", 3},
                         {"memory_per_node", 100},
                         {"gres", "gpu:a100:2,tpu:1"},
                         {"time_limit", 4},
                         {"partition", "main"},
                         {"account", "lab"},
                         {"qos", "high"},
                         {"constraints", "nvlink"},
                         {"environment", {{"PATH", "/bin"}, {"LC_ALL", "C"}}}};
  CHECK(old["job"] == expected);

  const Json later = Submission(40, arguments)["job"];
  CHECK(later["environment"] == Json({"PATH=/bin", "LC_ALL=C"}));
  CHECK(later["time_limit"]["number"] == 4);
  CHECK(later["memory_per_node"]["set"] == true);
  CHECK(later["minimum_nodes"] == 2);
  CHECK(later["tres_per_node"] == "gres/gpu:a100:2,gres/tpu:1");
  CHECK(Submission(39, arguments)["job"]["tres_per_node"] == "gres:gpu:a100:2,gres:tpu:1");

  const auto unknown = RestSubmission(38, {"--burst=x"}, {});
  CHECK(Message(unknown.status()) == "\"--burst=x\" cannot be asked of slurmrestd");
  CHECK_FALSE(RestSubmission(38, {"--mem=all"}, {}).ok());
}

TEST_CASE("slurm rest: answers") {
  SECTION("to a submission") {
    const auto taken = ReadRestSubmission(200, R"({"errors": [], "job_id": 7})");
    CHECK(taken.kind == SubmitAnswer::Kind::taken);
    CHECK(taken.id == "7");
    const auto refused = ReadRestSubmission(
        500, R"({"errors": [{"error": "Invalid partition name specified", "error_code": 2000}]})");
    CHECK(refused.kind == SubmitAnswer::Kind::refused);
    CHECK(refused.problem == "Invalid partition name specified");
    for (const char* later : {R"({"errors": [{"error": "Unable to contact slurm controller"}]})",
                              "<html>Bad gateway</html>", ""}) {
      CHECK(ReadRestSubmission(502, later).kind == SubmitAnswer::Kind::unsure);
    }
    CHECK(ReadRestSubmission(401, "Authentication failure").kind == SubmitAnswer::Kind::unsure);
  }
  SECTION("about jobs, of all versions") {
    const auto jobs = ReadRestJobs(R"({"jobs": [
      {"job_id": 1, "name": "a", "job_state": "PENDING", "state_reason": "JobHeldUser",
       "state_description": "launch failed requeued held"},
      {"job_id": 2, "name": "b", "job_state": ["CANCELLED", "COMPLETING"]},
      {"job_id": {"set": true, "number": 3}, "name": "b", "job_state": ["TIMEOUT"],
       "state_reason": "None"},
      {"job_id": "4", "name": 5}, 6]})");
    REQUIRE(jobs.ok());
    REQUIRE(jobs->size() == 3);
    CHECK(jobs->find("a")->second.state == JobState::waiting);
    CHECK(jobs->find("a")->second.reason == "launch failed requeued held");
    const auto second = jobs->find("b");
    CHECK(second->second.id == "2");
    CHECK(second->second.state == JobState::running);
    CHECK(std::next(second)->second.state == JobState::timed_out);
    CHECK(absl::IsUnavailable(ReadRestJobs("[]").status()));
    CHECK(absl::IsUnavailable(ReadRestJobs(R"({"jobs": [], "errors": [{}]})").status()));
  }
}

// Answers what a test says, in order, and keeps what it was asked.
class StandInTransport : public HttpTransport {
 public:
  struct Answer {
    int status = 200;
    std::string body;
  };
  std::deque<Answer> answers;
  std::vector<HttpRequest> asked;

  Exchange Send(HttpRequest request, HttpHandler handler) override {
    asked.push_back(std::move(request));
    handlers_.push_back(std::move(handler));
    return asked.size();
  }
  void Cancel(Exchange /*exchange*/) override {}
  void Run() override {
    for (HttpHandler& handler : std::exchange(handlers_, {})) {
      REQUIRE_FALSE(answers.empty());
      Answer answer = std::move(answers.front());
      answers.pop_front();
      HttpOutcome outcome;
      outcome.status = answer.status;
      if (answer.status == 0) outcome.error = answer.body;
      if (answer.status >= 200 && answer.status < 300 && handler.on_bytes) {
        handler.on_bytes(answer.body);
      } else {
        outcome.body = answer.body;
      }
      handler.on_done(outcome);
    }
  }
  int WakeDescriptor() const override { return -1; }

 private:
  std::vector<HttpHandler> handlers_;
};

struct RestLab {
  RestLab() {
    auto owned = std::make_unique<StandInTransport>();
    transport = owned.get();
    rest = std::make_unique<SlurmRest>(SlurmRestOptions{"unix:///s", "anna", "", ""},
                                       std::move(owned));
  }
  void Answer(std::vector<StandInTransport::Answer> answers) const {
    for (auto& answer : answers) transport->answers.push_back(std::move(answer));
    while (!transport->answers.empty()) rest->Wait(-1, Duration(0));
    rest->Wait(-1, Duration(0));
  }
  StandInTransport* transport = nullptr;
  std::unique_ptr<SlurmRest> rest;
};

constexpr const char* kDescription = R"({"paths": {"/slurm/v0.0.37/jobs": {}}})";

TEST_CASE("slurm rest: the version is agreed on once, and anew when it is not known any more") {
  const RestLab lab;
  int answered = 0;
  const auto ask = [&] {
    REQUIRE(lab.rest->Query([&](const auto& jobs) { answered += jobs.ok() ? 1 : 100; }).ok());
  };
  ask();
  ask();
  lab.Answer({{200, kDescription}, {200, R"({"jobs": []})"}, {200, R"({"jobs": []})"}});
  CHECK(answered == 2);
  ask();
  lab.Answer({{404, ""}});
  CHECK(answered == 102);
  ask();
  lab.Answer({{200, R"({"paths": {"/slurm/v0.0.40/jobs": {}}})"}, {200, R"({"jobs": []})"}});
  CHECK(answered == 103);
  std::string paths;
  for (const HttpRequest& request : lab.transport->asked) paths += request.path + " ";
  CHECK(paths ==
        "/openapi /slurm/v0.0.37/jobs /slurm/v0.0.37/jobs /slurm/v0.0.37/jobs /openapi "
        "/slurm/v0.0.40/jobs ");
}

TEST_CASE("slurm rest: a service that is not there is no answer") {
  const RestLab lab;
  SubmitAnswer answer{SubmitAnswer::Kind::taken, "", ""};
  REQUIRE(lab.rest->Submit({"--ntasks=1"}, [&](SubmitAnswer given) { answer = given; }).ok());
  lab.Answer({{0, "connection refused"}});
  CHECK(answer.kind == SubmitAnswer::Kind::unsure);
  CHECK(answer.problem == "slurmrestd does not answer: connection refused");
  REQUIRE(lab.rest->Submit({"--odd=1"}, [&](SubmitAnswer given) { answer = given; }).ok());
  lab.Answer({{200, kDescription}});
  CHECK(answer.kind == SubmitAnswer::Kind::refused);
}

TEST_CASE("slurm rest: only jobs that are meant are cancelled") {
  const RestLab lab;
  int told = 0;
  const auto done = [&](const Status& status) { told += status.ok() ? 1 : 100; };
  // One waits, the other has begun.
  REQUIRE(lab.rest->Cancel(CancelMode::withdraw, {{"1", ""}, {"2", ""}}, done).ok());
  lab.Answer({{200, kDescription},
              {200, R"({"jobs": [{"job_id": 1, "job_state": "PENDING"}]})"},
              {200, R"({"jobs": [{"job_id": 2, "job_state": "RUNNING"}]})"},
              {200, "{}"}});
  CHECK(told == 1);
  CHECK(lab.transport->asked.back().method == "DELETE");
  CHECK(lab.transport->asked.back().path == "/slurm/v0.0.37/job/1");
  // By name: its number is another's by now.
  REQUIRE(lab.rest->Cancel(CancelMode::end, {{"", "x"}}, done).ok());
  lab.Answer({{200, R"({"jobs": [{"job_id": 1, "name": "y", "job_state": "RUNNING"},
                                  {"job_id": 8, "name": "x", "job_state": "RUNNING"},
                                  {"job_id": 7, "name": "x", "job_state": "COMPLETED"}]})"},
              {500, R"({"errors": [{"error": "Invalid job id specified"}]})"}});
  CHECK(told == 2);
  CHECK(lab.transport->asked.back().path == "/slurm/v0.0.37/job/8");
  REQUIRE(lab.rest->Cancel(CancelMode::terminate, {{"8", ""}}, done).ok());
  lab.Answer({{0, "timeout"}});
  CHECK(told == 102);
  CHECK(lab.transport->asked.back().path == "/slurm/v0.0.37/job/8?signal=TERM");
}

}  // namespace
}  // namespace trackbed
