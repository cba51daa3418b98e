// The fold of a log: what may follow what, and that a damaged log is not believed.
#include "trackbed/engine/run_state.hpp"

#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "support/faulty_store.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

// a -> b, with a retry for a.
Pipeline TwoTasks() {
  Pipeline pipeline = NewPipeline("two");
  AddTask(pipeline, "a").retry.max_attempts = 2;
  AddTask(pipeline, "b", {"a"});
  return pipeline;
}

RunState NewState(const Pipeline& pipeline) {
  auto graph = Graph::Build(pipeline);
  REQUIRE(graph.ok());
  return {"two-1", std::make_shared<const Pipeline>(pipeline), *std::move(graph)};
}

Time At(int64_t second) { return Time(seconds(1'000'000 + second)); }

Event RunEvent(EventType type, std::string detail = "") {
  return {At(1), kNoTask, 0, type, std::move(detail)};
}
Event TaskEvent(EventType type, TaskIndex task, uint32_t attempt, std::string detail = "") {
  return {At(2), task, attempt, type, std::move(detail)};
}

const Event kSubmitted = RunEvent(EventType::run_submitted, Encode(RunSubmitted{}));
const Event kCancel = RunEvent(EventType::run_cancel_requested);
const Event kResumed = RunEvent(EventType::run_resumed);
const Event kSucceeded =
    RunEvent(EventType::run_finished, Encode(RunFinished{RunStatus::succeeded}));
const Event kFailed = RunEvent(EventType::run_finished, Encode(RunFinished{RunStatus::failed}));
const Event kCancelled =
    RunEvent(EventType::run_finished, Encode(RunFinished{RunStatus::cancelled}));

Event Intended(TaskIndex task, uint32_t attempt) {
  return TaskEvent(EventType::attempt_intended, task, attempt);
}
Event Ended(EventType type, TaskIndex task, uint32_t attempt, AttemptEnded ended = {}) {
  return TaskEvent(type, task, attempt, Encode(ended));
}
Event Done(TaskIndex task, uint32_t attempt) {
  return Ended(EventType::attempt_succeeded, task, attempt);
}
Event Lost(TaskIndex task, uint32_t attempt) {
  AttemptEnded ended;
  ended.reason = FailureReason::lost;
  ended.retry_at = At(9);
  return Ended(EventType::attempt_failed, task, attempt, ended);
}
Event FailedForGood(TaskIndex task, uint32_t attempt) {
  AttemptEnded ended;
  ended.reason = FailureReason::exit_code;
  ended.exit_code = 1;
  return Ended(EventType::attempt_failed, task, attempt, ended);
}
Event Skipped(TaskIndex task) {
  return TaskEvent(EventType::task_skipped, task, 0, Encode(TaskSkipped{}));
}
Event Unknown(TaskIndex task, uint32_t attempt) {
  return TaskEvent(EventType::attempt_unknown, task, attempt, Encode(AttemptUnknown{{"n"}, At(1)}));
}
Event Known(TaskIndex task, uint32_t attempt) {
  return TaskEvent(EventType::attempt_known, task, attempt);
}
Event Retried(std::vector<TaskIndex> tasks) {
  return RunEvent(EventType::run_retried, Encode(RunRetried{std::move(tasks)}));
}

// The number of events that are taken before one is refused; -1 when none is.
int RefusedAt(const std::vector<Event>& events, const Pipeline& pipeline = TwoTasks()) {
  RunState state = NewState(pipeline);
  for (size_t i = 0; i < events.size(); ++i) {
    const Status status = state.Apply(events[i]);
    if (status.ok()) continue;
    CHECK(status.code() == StatusCode::kDataLoss);
    return static_cast<int>(i);
  }
  return -1;
}

TEST_CASE("A run goes from nothing to its end") {
  RunState state = NewState(TwoTasks());
  CHECK(state.unfinished() == 2);
  CHECK(state.sequence() == 0);
  RunSubmitted submitted;
  submitted.parameters = {{"alpha", 0.5}};
  submitted.seed = 42;
  submitted.use_cache = false;
  REQUIRE(state.Apply(RunEvent(EventType::run_submitted, Encode(submitted))).ok());
  CHECK(state.submitted() == submitted);
  CHECK(state.submitted_at() == At(1));
  CHECK(state.status() == RunStatus::running);

  AttemptIntended intended;
  intended.cache_key = "sha256:k";
  REQUIRE(state.Apply(TaskEvent(EventType::attempt_intended, 0, 1, Encode(intended))).ok());
  CHECK(state.task(0).state == TaskState::running);
  CHECK(state.task(0).started == At(2));
  CHECK(state.Intended(0)->cache_key == "sha256:k");

  AttemptEnded failed;
  failed.reason = FailureReason::exit_code;
  failed.retry_at = At(7);
  REQUIRE(state.Apply(Ended(EventType::attempt_failed, 0, 1, failed)).ok());
  CHECK(state.task(0).state == TaskState::pending);
  CHECK(state.RetryAt(0) == At(7));
  CHECK(state.task(0).failed_attempts == 1);
  CHECK(*state.Failure(0) == failed);
  CHECK(state.Verdict() == RunStatus::succeeded);

  REQUIRE(state.Apply(Intended(0, 2)).ok());
  CHECK(state.Intended(0) == nullptr);  // of the latest try, which says nothing
  CHECK(state.RetryAt(0) == Time{});
  AttemptEnded ended;
  ended.outputs = {{"n", int64_t{3}}};
  ended.output_digest = "sha256:files";
  REQUIRE(state.Apply(Ended(EventType::attempt_succeeded, 0, 2, ended)).ok());
  CHECK(state.Failure(0) == nullptr);
  REQUIRE(state.Result(0) != nullptr);
  CHECK(state.Result(0)->outputs == ended.outputs);
  CHECK(state.Result(0)->run == "two-1");
  CHECK(state.Result(0)->attempt == 2);
  CHECK(state.unfinished() == 1);

  REQUIRE(state.Apply(Skipped(1)).ok());
  CHECK(state.Skip(1)->reason == SkipReason::asked);
  CHECK(state.unfinished() == 0);
  REQUIRE(state.Apply(kSucceeded).ok());
  CHECK(state.status() == RunStatus::succeeded);
  CHECK(state.finished_at() == At(1));
  CHECK(state.sequence() == 7);
}

TEST_CASE("What cannot follow is damage") {
  struct Case {
    std::string what;
    std::vector<Event> events;
    int refused_at;
  };
  const Case cases[] = {
      {"the whole story",
       {kSubmitted, Intended(0, 1), Done(0, 1), Intended(1, 1), Done(1, 1), kSucceeded},
       -1},
      {"no submission", {Intended(0, 1)}, 0},
      {"another run event first", {kCancel}, 0},
      {"submitted twice", {kSubmitted, kSubmitted}, 1},
      {"a task that is not there", {kSubmitted, Intended(2, 1)}, 1},
      {"before its dependency", {kSubmitted, Intended(1, 1)}, 1},
      {"skipped before its dependency", {kSubmitted, Skipped(1)}, 1},
      {"the first attempt is missing", {kSubmitted, Intended(0, 2)}, 1},
      {"intended twice", {kSubmitted, Intended(0, 1), Intended(0, 1)}, 2},
      {"intended while it runs", {kSubmitted, Intended(0, 1), Intended(0, 2)}, 2},
      {"ended without a start", {kSubmitted, Done(0, 1)}, 1},
      {"the end of another attempt", {kSubmitted, Intended(0, 1), Done(0, 2)}, 2},
      {"ended twice", {kSubmitted, Intended(0, 1), Done(0, 1), Done(0, 1)}, 3},
      {"run again after its end", {kSubmitted, Intended(0, 1), Done(0, 1), Intended(0, 2)}, 3},
      {"skipped while it runs", {kSubmitted, Intended(0, 1), Skipped(0)}, 2},
      {"failed twice", {kSubmitted, Intended(0, 1), FailedForGood(0, 1), FailedForGood(0, 1)}, 3},
      {"finished with tasks to do", {kSubmitted, kSucceeded}, 1},
      {"finished while one runs", {kSubmitted, Intended(0, 1), kSucceeded}, 2},
      {"cancelled while one runs", {kSubmitted, Intended(0, 1), kCancel, kCancelled}, 3},
      {"finished as running",
       {kSubmitted, kCancel,
        RunEvent(EventType::run_finished, Encode(RunFinished{RunStatus::running}))},
       2},
      {"finished twice", {kSubmitted, kCancel, kCancelled, kCancelled}, 3},
      {"a task after the end", {kSubmitted, kCancel, kCancelled, Intended(0, 1)}, 3},
      {"cancelled twice", {kSubmitted, kCancel, kCancel}, 2},
      {"cancelled, taken back, cancelled", {kSubmitted, kCancel, kResumed, kCancel}, -1},
      {"cancelled after the end", {kSubmitted, kCancel, kCancelled, kCancel}, 3},
      {"resumed after a success",
       {kSubmitted, Intended(0, 1), Done(0, 1), Skipped(1), kSucceeded, kResumed},
       5},
      {"resumed after a failure",
       {kSubmitted, Intended(0, 1), FailedForGood(0, 1), Skipped(1), kFailed, kResumed},
       5},
      {"unknown and known in turn",
       {kSubmitted, Intended(0, 1), Unknown(0, 1), Unknown(0, 1), Known(0, 1), Unknown(0, 1),
        Done(0, 1)},
       -1},
      {"unknown before it runs", {kSubmitted, Unknown(0, 1)}, 1},
      {"another attempt is unknown", {kSubmitted, Intended(0, 1), Unknown(0, 2)}, 2},
      {"unknown after its end", {kSubmitted, Intended(0, 1), Done(0, 1), Unknown(0, 1)}, 3},
      {"known that was not unknown", {kSubmitted, Intended(0, 1), Known(0, 1)}, 2},
      {"known again after an engine took over",
       {kSubmitted, Intended(0, 1), Unknown(0, 1), kResumed, Known(0, 1)},
       4},
      {"retried while it runs", {kSubmitted, Retried({0})}, 1},
      {"retried: a task that is not there", {kSubmitted, kCancel, kCancelled, Retried({2})}, 3},
      {"an unknown event", {kSubmitted, RunEvent(static_cast<EventType>(99))}, 1},
      {"an unknown event of a task", {kSubmitted, TaskEvent(static_cast<EventType>(99), 0, 1)}, 1},
      {"a run event about a task", {kSubmitted, TaskEvent(EventType::run_resumed, 0, 0)}, 1},
      {"a task event about none", {kSubmitted, RunEvent(EventType::attempt_intended)}, 1},
      {"a foreign detail",
       {kSubmitted, Intended(0, 1), TaskEvent(EventType::attempt_succeeded, 0, 1, "\xff\xff")},
       2},
      {"a foreign submission", {RunEvent(EventType::run_submitted, "\xff\xff")}, 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    CHECK(RefusedAt(c.events) == c.refused_at);
  }
}

// a, then somebody is asked.
Pipeline TaskAndQuestion() {
  Pipeline pipeline = NewPipeline("asks");
  AddTask(pipeline, "a");
  AddTask(pipeline, "ask", {"a"}).approval = Approval{"Go on?", {}, Duration(0)};
  return pipeline;
}

Event Asked(TaskIndex task, uint32_t attempt, std::string detail = Encode(ApprovalRequested{})) {
  return TaskEvent(EventType::approval_requested, task, attempt, std::move(detail));
}
Event Decided(TaskIndex task, uint32_t attempt, const ApprovalDecided& decision) {
  return TaskEvent(EventType::approval_decided, task, attempt, Encode(decision));
}

TEST_CASE("Of questions, too, what cannot follow is damage") {
  const Event approved = Decided(1, 1, {true, "ada", ""});
  struct Case {
    std::string what;
    std::vector<Event> events;  // after the submission and the end of a
    int refused_at;
  };
  const Case cases[] = {
      {"the whole story", {Asked(1, 1), approved, kSucceeded}, -1},
      {"a question of what runs something", {Asked(0, 2)}, 0},
      {"an answer to what runs something", {Decided(0, 1, {})}, 0},
      {"asked twice", {Asked(1, 1), Asked(1, 2)}, 1},
      {"the first question is missing", {Asked(1, 2)}, 0},
      {"an answer without a question", {approved}, 0},
      {"the answer to another question", {Asked(1, 1), Decided(1, 2, {true, "ada", ""})}, 1},
      {"answered twice", {Asked(1, 1), approved, approved}, 2},
      {"a question that runs", {Intended(1, 1)}, 0},
      {"a question that cannot be read", {Asked(1, 1, "\xff\xff")}, 0},
      {"an answer that cannot be read",
       {Asked(1, 1), TaskEvent(EventType::approval_decided, 1, 1, "\xff\xff")},
       1},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    std::vector<Event> events = {kSubmitted, Intended(0, 1), Done(0, 1)};
    events.insert(events.end(), c.events.begin(), c.events.end());
    CHECK(RefusedAt(events, TaskAndQuestion()) == (c.refused_at < 0 ? -1 : 3 + c.refused_at));
  }
  CHECK(RefusedAt({kSubmitted, Asked(1, 1)}, TaskAndQuestion()) == 1);  // a has not ended
}

TEST_CASE("Of attempts that are stopped for others, too, what cannot follow is damage") {
  const Event preempting =
      TaskEvent(EventType::attempt_preempting, 0, 1, Encode(AttemptPreempting{}));
  const Event preempted = Ended(EventType::attempt_preempted, 0, 1);
  CHECK(RefusedAt({kSubmitted, Intended(0, 1), preempting, preempted, Intended(0, 2)}) == -1);
  CHECK(RefusedAt({kSubmitted, Intended(0, 1), preempting, Done(0, 1)}) == -1);
  CHECK(RefusedAt({kSubmitted, Intended(0, 1), preempted}) == 2);  // nobody wanted that
  CHECK(RefusedAt({kSubmitted, Intended(0, 1),
                   TaskEvent(EventType::attempt_preempting, 0, 1, "\xff\xff")}) == 2);
  CHECK(RefusedAt({kSubmitted, Intended(0, 1),
                   TaskEvent(EventType::attempt_unknown, 0, 1, "\xff\xff")}) == 2);
}

TEST_CASE("Decisions and states are told in words") {
  CHECK(DescribeDecision({true, "ada", ""}) == "approved by ada");
  CHECK(DescribeDecision({false, "ada", "late"}) == "rejected by ada: late");
  CHECK(DescribeDecision({false, "", ""}) == "nobody approved in time");
  // Of a version to come, perhaps.
  CHECK(ToString(static_cast<TaskState>(99)) == "unknown");
}

TEST_CASE("An attempt is unknown until its node answers, it ends, or an engine takes the run up") {
  for (const Event& end : {Known(0, 1), Done(0, 1), Lost(0, 1), kResumed}) {
    CAPTURE(std::string(ToString(end.type)));
    RunState state = NewState(TwoTasks());
    for (const Event& event : {kSubmitted, Intended(0, 1), Unknown(0, 1)}) {
      REQUIRE(state.Apply(event).ok());
    }
    CHECK(state.task(0).state == TaskState::running);
    CHECK(state.task(0).unknown);
    REQUIRE(state.Unknown(0) != nullptr);
    CHECK(*state.Unknown(0) == AttemptUnknown{{"n"}, At(1)});
    REQUIRE(state.Apply(end).ok());
    CHECK_FALSE(state.task(0).unknown);
    CHECK(state.Unknown(0) == nullptr);
  }
}

TEST_CASE("The refusal names the run and the place") {
  RunState state = NewState(TwoTasks());
  REQUIRE(state.Apply(kSubmitted).ok());
  CHECK(Message(state.Apply(Done(0, 1))) ==
        "run two-1: event 2 (attempt_succeeded) cannot follow what is recorded before it");
}

TEST_CASE("Of a real log, no event can be lost or doubled unseen") {
  EngineLab lab;
  const RunId run = lab.Submit(TwoTasks());
  lab.executor.Script("a", 1, Outcome::Failure());
  lab.RunToEnd();
  const std::vector<Event> events = lab.EventsOf(run);
  REQUIRE(events.size() == 8);
  REQUIRE(RefusedAt(events) == -1);
  for (size_t i = 0; i < events.size(); ++i) {
    CAPTURE(i, ToString(events[i].type));
    std::vector<Event> damaged = events;
    damaged.insert(damaged.begin() + static_cast<ptrdiff_t>(i), events[i]);
    CHECK(RefusedAt(damaged) >= 0);
    if (i + 1 == events.size()) continue;  // a log may stop anywhere: the engine died there
    damaged = events;
    damaged.erase(damaged.begin() + static_cast<ptrdiff_t>(i));
    CHECK(RefusedAt(damaged) >= 0);
    damaged = events;
    std::swap(damaged[i], damaged[i + 1]);
    CHECK(RefusedAt(damaged) >= 0);
  }
}

// A store that gives back something else than what it was given.
class LyingStore final : public FaultyStore {
 public:
  using FaultyStore::FaultyStore;
  std::function<void(std::vector<std::pair<uint64_t, Event>>*)> events;
  std::optional<StatusOr<std::string>> pipeline;

  StatusOr<std::string> ReadPipeline(const std::string& version) override {
    return pipeline ? *pipeline : FaultyStore::ReadPipeline(version);
  }
  Status ReadEvents(int64_t run, uint64_t from,
                    const std::function<void(uint64_t, Event)>& visit) override {
    std::vector<std::pair<uint64_t, Event>> all;
    TRACKBED_RETURN_IF_ERROR(FaultyStore::ReadEvents(
        run, from,
        [&](uint64_t sequence, Event event) { all.emplace_back(sequence, std::move(event)); }));
    if (events) events(&all);
    for (auto& [sequence, event] : all) visit(sequence, std::move(event));
    return absl::OkStatus();
  }
};

TEST_CASE("A run whose log or pipeline is damaged is neither shown nor taken up") {
  EngineLab lab;
  lab.executor.Script("a", Outcome::Waits());
  const RunId run = lab.Submit(TwoTasks());
  lab.Step();
  lab.Close();
  LyingStore liar(&lab.store());
  std::string message;
  SECTION("an event is missing") {
    liar.events = [](auto* all) { all->erase(all->begin()); };
    message = "run " + run + ": event 1 is missing";
  }
  SECTION("no events") {
    liar.events = [](auto* all) { all->clear(); };
    message = "run " + run + " has no events";
  }
  SECTION("an event of another run") {
    liar.events = [](auto* all) { (*all)[1].second.task = 77; };
    message =
        "run " + run + ": event 2 (attempt_intended) cannot follow what is recorded before it";
  }
  SECTION("no pipeline") {
    liar.pipeline = NotFound("there is no pipeline x");
    message = "run " + run + ": its pipeline cannot be read: there is no pipeline x";
  }
  SECTION("a foreign pipeline") {
    liar.pipeline = std::string("\xff\xff\xff");
    message = "run " + run + ": its pipeline cannot be read: ";
  }
  const Status shown = LoadRun(liar, run).status();
  CHECK(shown.code() == StatusCode::kDataLoss);
  CHECK(std::string(Message(shown)).starts_with(message));
  EngineOptions options = lab.options;
  options.store = &liar;
  auto engine = Engine::Open(options);
  REQUIRE(engine.ok());
  CHECK((*engine)->Resume(run) == shown);
  CHECK((*engine)->Cancel(run) == shown);
  CHECK_FALSE((*engine)->IsActive(run));
  CHECK((*engine)->Step().ok());  // the engine is none the worse
}

TEST_CASE("Attempts count on over resumptions and retries, tries begin anew") {
  RunState state = NewState(TwoTasks());
  for (const Event& event : {kSubmitted, Intended(0, 1), Lost(0, 1), Intended(0, 2),
                             FailedForGood(0, 2), Skipped(1), kFailed, Retried({0})}) {
    REQUIRE(state.Apply(event).ok());
  }
  CHECK(state.task(0).attempt == 2);
  CHECK(state.task(0).failed_attempts == 0);
  CHECK(state.task(0).lost_attempts == 0);
  CHECK(state.task(0).fresh);
  CHECK_FALSE(state.task(1).fresh);
  CHECK(state.task(1).state == TaskState::pending);
  CHECK(state.Failure(0) == nullptr);
  CHECK(state.Skip(1) == nullptr);
  CHECK(state.unfinished() == 2);
  CHECK(state.Verdict() == RunStatus::succeeded);
  CHECK(RefusedAt({kSubmitted, Intended(0, 1), FailedForGood(0, 1), Skipped(1), kFailed,
                   Retried({0}), Intended(0, 1)}) == 6);
}

TEST_CASE("A failure that is allowed does not count against the run") {
  Pipeline pipeline = TwoTasks();
  pipeline.tasks[0].allow_failure = true;
  RunState state = NewState(pipeline);
  for (const Event& event : {kSubmitted, Intended(0, 1), FailedForGood(0, 1)}) {
    REQUIRE(state.Apply(event).ok());
  }
  CHECK(state.Verdict() == RunStatus::succeeded);
}

}  // namespace
}  // namespace trackbed
