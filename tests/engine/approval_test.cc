// Tasks that wait until somebody approves of them: asked once, decided once, whatever happens.
#include "trackbed/engine/approval.hpp"

#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/run_queries.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Names = std::vector<std::string>;

const ApprovalDecided kYes{true, "ada", "looks good"};
const ApprovalDecided kNo{false, "grace", "recall is too low"};

// "ask" waits for somebody once "train" has succeeded; "release" and "report" come after it.
Pipeline Workload(Approval approval = {
                      "Accuracy ${{ tasks.train.outputs.accuracy }}: go on?", {}, Duration(0)}) {
  Pipeline pipeline = NewPipeline("ask");
  AddTask(pipeline, "train").outputs = {{"accuracy", ValueType::number}};
  Task& ask = AddTask(pipeline, "ask", {"train"});
  ask.command.clear();
  ask.cache = CacheMode::automatic;
  ask.approval = std::move(approval);
  AddTask(pipeline, "release", {"ask"});
  AddTask(pipeline, "report", {"ask"}).trigger = Trigger::any_failed;
  return pipeline;
}

RunId SubmitAndAsk(EngineLab& lab, Approval approval = {"Go on?", {}, Duration(0)}) {
  lab.executor.Script("train", Outcome::Success("accuracy=0.9\n"));
  const RunId run = lab.Submit(Workload(std::move(approval)));
  lab.Step();
  REQUIRE(lab.StateOf(run, "ask") == "waiting");
  return run;
}

Names TypesOf(EngineLab& lab, const RunId& run) {
  Names types;
  for (const Event& event : lab.EventsOf(run)) types.emplace_back(ToString(event.type));
  return types;
}

std::string Complaint(const Status& status, StatusCode code) {
  CHECK(status.code() == code);
  return std::string(Message(status));
}

TEST_CASE("A task asks, is approved of, and those after it run") {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Success("accuracy=0.97\n"));
  const RunId run = lab.Submit(Workload());
  lab.Step();
  CHECK(lab.StatesOf(run) == "train:succeeded ask:waiting release:pending report:pending");
  CHECK(lab.Stored(run).state->Asked(1)->message == "Accuracy 0.97: go on?");
  lab.StepAfter(hours(1000));
  CHECK(lab.engine().IsActive(run));
  CHECK(lab.executor.running() == 0);

  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.StatesOf(run) == "train:succeeded ask:succeeded release:succeeded report:skipped");
  CHECK(lab.executor.StartedTasks() == Names{"train/1", "release/1"});
  CHECK(*lab.Stored(run).state->Decision(1) == kYes);
  CHECK(TypesOf(lab, run) == Names{"run_submitted", "attempt_intended", "attempt_succeeded",
                                   "approval_requested", "approval_decided", "task_skipped",
                                   "attempt_intended", "attempt_succeeded", "run_finished"});
}

TEST_CASE("A rejection is a failure: triggers, allow_failure and the verdict follow it") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab);
  REQUIRE(lab.engine().Decide(run, "ask", kNo).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "failed");
  CHECK(lab.StatesOf(run) == "train:succeeded ask:failed release:skipped report:succeeded");
  CHECK(lab.FailureOf(run, "ask") == "rejected: rejected by grace: recall is too low");

  Pipeline tolerant = Workload({"Go on?", {}, Duration(0)});
  tolerant.tasks[1].allow_failure = true;
  const RunId second = lab.Submit(tolerant);
  lab.Step();
  REQUIRE(lab.engine().Decide(second, "ask", kNo).ok());
  lab.RunToEnd();
  CHECK(lab.StatesOf(second) == "train:succeeded ask:failed release:succeeded report:succeeded");
  CHECK(lab.StatusOf(second) == "succeeded");
}

TEST_CASE("Without an answer in time it is rejected, also after a crash") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab, {"Go on?", {}, hours(2)});
  lab.StepAfter(hours(2) - milliseconds(1));
  CHECK(lab.StateOf(run, "ask") == "waiting");
  lab.Crash();
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  CHECK(lab.StateOf(run, "ask") == "waiting");
  lab.StepAfter(milliseconds(1));
  CHECK(lab.StateOf(run, "ask") == "failed");
  lab.RunToEnd();
  CHECK(lab.FailureOf(run, "ask") == "rejected: nobody approved in time");
  CHECK(lab.StatesOf(run) == "train:succeeded ask:failed release:skipped report:succeeded");
}

TEST_CASE("What cannot be decided is told in one sentence") {
  EngineLab lab;
  lab.executor.Script("train", 1, Outcome::Waits());
  const RunId run = lab.Submit(Workload({"Go on?", {"ada", "grace"}, Duration(0)}));
  lab.Step();
  const std::string prefix = "task \"ask\" of run " + run;
  const auto decide = [&](const char* task, const ApprovalDecided& decision) {
    return lab.engine().Decide(run, task, decision);
  };
  CHECK(Complaint(decide("ask", kYes), StatusCode::kFailedPrecondition) ==
        prefix + " does not wait for approval yet: it is pending");
  CHECK(Complaint(decide("train", kYes), StatusCode::kFailedPrecondition) ==
        "task \"train\" of run " + run + " runs something; it waits for no approval");
  CHECK(Complaint(decide("aks", kYes), StatusCode::kNotFound) ==
        "run " + run + " has no task \"aks\"; did you mean \"ask\"?");
  CHECK(lab.engine().Decide("nobody", "ask", kYes).code() == StatusCode::kNotFound);
  lab.executor.Finish(run + "/train/1", Outcome::Success("accuracy=1\n"));
  lab.Step();
  CHECK(Complaint(decide("ask", {true, "bob", ""}), StatusCode::kFailedPrecondition) ==
        "\"bob\" may not decide about " + prefix + "; who may: ada, grace");
  CHECK(Complaint(decide("ask", {true, " ", ""}), StatusCode::kInvalidArgument) ==
        "by: found nobody, expected the name of who decides");
  CHECK(Complaint(decide("ask", {true, std::string(257, 'a'), ""}), StatusCode::kInvalidArgument) ==
        "by: found 257 bytes, expected at most 256");
  CHECK(Complaint(decide("ask", {true, "ada", std::string(16385, 'a')}),
                  StatusCode::kInvalidArgument) ==
        "comment: found 16385 bytes, expected at most 16384");
  CHECK(Complaint(decide("ask", {true, "ada", "\xff"}), StatusCode::kInvalidArgument) ==
        "comment: found bytes that are not UTF-8");
  const size_t events = lab.EventsOf(run).size();
  REQUIRE(decide("ask", kNo).ok());
  CHECK(
      Complaint(decide("ask", kYes), StatusCode::kFailedPrecondition)
          .starts_with(prefix + " is decided already: rejected by grace: recall is too low, at "));
  CHECK(lab.EventsOf(run).size() == events + 1);
  lab.RunToEnd();
  CHECK(Complaint(decide("ask", kYes), StatusCode::kFailedPrecondition)
            .starts_with(prefix + " is decided already"));
}

TEST_CASE("Another process decides through the store, once") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab);
  const StoredRun seen = lab.Stored(run);
  REQUIRE(PostDecision(lab.store(), seen, 1, kNo, lab.clock.now()).ok());
  REQUIRE(PostDecision(lab.store(), seen, 1, kYes, lab.clock.now()).ok());
  // Of a task that there is not, and bytes that are no decision.
  REQUIRE(lab.store()
              .PostRequest({0, Request::Kind::decide, run, Encode(DecisionRequest{99, 1, kYes})},
                           lab.clock.now())
              .ok());
  REQUIRE(lab.store().PostRequest({0, Request::Kind::decide, run, "\xff"}, lab.clock.now()).ok());
  REQUIRE(lab.store().PostRequest({0, Request::Kind::decide, "nobody", ""}, lab.clock.now()).ok());
  lab.StepAfter(milliseconds(300));
  lab.RunToEnd();
  CHECK(*lab.Stored(run).state->Decision(1) == kNo);
  CHECK(lab.StatesOf(run) == "train:succeeded ask:failed release:skipped report:succeeded");
  CHECK(lab.store().ReadRequests()->empty());
  CHECK_FALSE(PostDecision(lab.store(), lab.Stored(run), 1, kYes, lab.clock.now()).ok());
  CHECK(lab.store().ReadRequests()->empty());
}

TEST_CASE("An answer to an earlier question is none to a later one") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab);
  const StoredRun seen = lab.Stored(run);
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.Step();
  CHECK(lab.StateOf(run, "ask") == "cancelled");
  CHECK_FALSE(lab.engine().Decide(run, "ask", kYes).ok());
  REQUIRE(lab.engine().Resume(run).ok());
  REQUIRE(PostDecision(lab.store(), seen, 1, kYes, lab.clock.now()).ok());
  lab.StepAfter(milliseconds(300));
  CHECK(lab.StateOf(run, "ask") == "waiting");
  CHECK(lab.Stored(run).state->task(1).attempt == 2);
  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE(
    "Nothing is decided while a run is being cancelled, and it goes on waiting if it is not") {
  EngineLab lab;
  Pipeline pipeline = Workload({"Go on?", {}, Duration(0)});
  AddTask(pipeline, "long").grace_period = hours(1);
  Outcome stubborn = Outcome::Waits();
  stubborn.ignores_terminate = true;
  lab.executor.Script("long", stubborn);
  lab.executor.Script("train", Outcome::Success("accuracy=1\n"));
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.engine().Cancel(run).ok());
  CHECK(Complaint(lab.engine().Decide(run, "ask", kYes), StatusCode::kFailedPrecondition) ==
        "run " + run + " is being cancelled");
  lab.Crash();
  REQUIRE(lab.engine().Resume(run).ok());  // takes the cancellation back
  lab.Step();
  CHECK(lab.StateOf(run, "ask") == "waiting");
  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  lab.executor.Finish(run + "/long/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A decision outlives the engine, and a run that nobody drives can be decided about") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab);
  lab.Crash();
  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  CHECK_FALSE(lab.engine().IsActive(run));
  CHECK(lab.StateOf(run, "ask") == "succeeded");
  CHECK(lab.told.back().second.type == EventType::approval_decided);
  CHECK_FALSE(lab.engine().Decide(run, "ask", kNo).ok());
  CHECK_FALSE(lab.engine().IsActive(run));
  lab.Crash();
  REQUIRE(lab.engine().Resume(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "train:succeeded ask:succeeded release:succeeded report:skipped");
  CHECK(lab.executor.StartedTasks() == Names{"train/1", "release/1"});
}

TEST_CASE("A retry asks again where the question or what it rests on is new") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab);
  REQUIRE(lab.engine().Decide(run, "ask", kNo).ok());
  lab.RunToEnd();
  REQUIRE(lab.engine().Retry(run, {}).ok());  // what failed
  lab.Step();
  CHECK(lab.StateOf(run, "ask") == "waiting");
  CHECK(lab.Stored(run).state->Decision(1) == nullptr);
  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  REQUIRE(lab.engine().Retry(run, {"release"}).ok());  // what comes after it: no new question
  lab.RunToEnd();
  CHECK(*lab.Stored(run).state->Decision(1) == kYes);
  REQUIRE(lab.engine().Retry(run, {"train"}).ok());  // what it was asked about
  lab.Step();
  CHECK(lab.StateOf(run, "ask") == "waiting");
}

TEST_CASE("Skips, conditions and questions that cannot be put") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("p");
  const auto ask = [&](const char* name, const char* message) -> Task& {
    Task& task = AddTask(pipeline, name);
    task.command.clear();
    task.approval = Approval{message, {}, Duration(0)};
    return task;
  };
  ask("skipped", "Go?").skip = true;
  ask("not-now", "Go?").when = "run.id == 'x'";
  ask("broken", "Go to ${{ params.nowhere }}?").allow_failure = true;
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "skipped:skipped not-now:skipped broken:failed");
  CHECK(lab.FailureOf(run, "broken").starts_with("bad_specification: approval.message: "));
}

TEST_CASE("It takes no slots: a machine that is full does not keep it from asking") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("p");
  AddTask(pipeline, "long").resources = {Slot("cpu", 4)};
  Task& ask = AddTask(pipeline, "ask");
  ask.command.clear();
  ask.approval = Approval{"Go?", {}, Duration(0)};
  lab.executor.Script("long", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.StatesOf(run) == "long:running ask:waiting");
  lab.executor.Finish(run + "/long/1");
  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  lab.RunToEnd();
}

TEST_CASE("Who asks, what, and what was answered is shown") {
  EngineLab lab;
  const RunId run = SubmitAndAsk(lab, {"Go on?", {"ada", "grace"}, hours(1)});
  const TaskExplanation why =
      *ExplainTask(lab.store(), run, 1, lab.clock.now(), [](const LeaseHolder&) { return true; });
  CHECK(why.situation == TaskSituation::approval);
  CHECK(why.sentence.find("for the approval of ada or grace: Go on?; rejected unless decided by") !=
        std::string::npos);
  CHECK(why.until == lab.clock.now() + hours(1));
  CHECK(lab.engine().ExplainWait(run, 1) == why.sentence);
  const StoredRun seen = lab.Stored(run);
  CHECK(GlanceAt(lab.store(), seen.record, false)->asking == Names{"ask"});
  const std::string waiting = RunToJson(seen.record, *seen.state);
  CHECK(waiting.find(R"("state": "waiting")") != std::string::npos);
  CHECK(waiting.find(R"("approvers")") != std::string::npos);
  REQUIRE(lab.engine().Decide(run, "ask", kYes).ok());
  lab.RunToEnd();
  const StoredRun after = lab.Stored(run);
  const std::string json = RunToJson(after.record, *after.state);
  CHECK(json.find(R"("comment": "looks good")") != std::string::npos);
  CHECK(GlanceAt(lab.store(), after.record, false)->asking.empty());
  for (const Event& event : lab.EventsOf(run)) {
    if (event.type != EventType::approval_decided) continue;
    CHECK(
        EventToJson(*after.state, event)
            .find(
                R"("task":"ask","attempt":1,"approved":true,"by":"ada","comment":"looks good")") !=
        std::string::npos);
  }
}

// Tells the story of one run with a death at one write; false when it ended without.
bool DiesAndGoesOn(int64_t write, FaultyStore::Point point) {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Success("accuracy=1\n"));
  const RunId run = lab.Submit(Workload({"Go on?", {}, Duration(0)}));
  lab.process().DieAt(write, point);
  bool died = false;
  std::optional<ApprovalDecided> decided;
  for (int turn = 0; turn < 100 && lab.StatusOf(run) == "running"; ++turn) {
    Status status = lab.engine().Step();
    if (status.ok() && lab.StateOf(run, "ask") == "waiting") {
      status = lab.engine().Decide(run, "ask", turn % 2 == 0 ? kYes : kNo);
    }
    const StoredRun stored = lab.Stored(run);
    if (const ApprovalDecided* now = stored.state->Decision(1)) {
      CHECK((!decided || *decided == *now));
      decided = *now;
    }
    if (!status.ok()) {
      died = true;
      lab.Crash();
      if (lab.StatusOf(run) == "running") REQUIRE(lab.engine().Resume(run).ok());
    }
    lab.clock.Advance(milliseconds(500));
  }
  REQUIRE(decided.has_value());
  CHECK(lab.StatusOf(run) == (decided->approved ? "succeeded" : "failed"));
  for (const auto& [key, attempt] : lab.executor.attempts()) CHECK(key.ends_with("/1"));
  return died;
}

TEST_CASE("Whenever the process dies, what was decided stays decided and nothing runs twice") {
  for (int64_t write = 1; DiesAndGoesOn(write, FaultyStore::Point::before); ++write) {
    DiesAndGoesOn(write, FaultyStore::Point::after);
  }
}

}  // namespace
}  // namespace trackbed
