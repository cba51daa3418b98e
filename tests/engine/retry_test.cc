// Failing and trying again: retries, timeouts, attempts that vanish, Resume and Retry.
#include <cmath>
#include <string>
#include <vector>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Names = std::vector<std::string>;

// The waits between the end of each try and the start of the next, by the log.
std::vector<Duration> WaitsOf(EngineLab& lab, const RunId& run) {
  std::vector<Duration> waits;
  Time failed{};
  for (const Event& event : lab.EventsOf(run)) {
    if (event.type == EventType::attempt_failed) failed = event.time;
    if (event.type == EventType::attempt_intended && failed != Time{}) {
      waits.push_back(event.time - failed);
    }
  }
  return waits;
}

RunId RunFailing(EngineLab& lab, const Retry& retry) {
  Pipeline pipeline = NewPipeline("retry");
  AddTask(pipeline, "flaky").retry = retry;
  lab.executor.Script("flaky", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  return run;
}

TEST_CASE("A failed task is tried as often as it says") {
  EngineLab lab;
  Retry retry;
  retry.max_attempts = 3;
  const RunId run = RunFailing(lab, retry);
  CHECK(lab.executor.StartedTasks() == Names{"flaky/1", "flaky/2", "flaky/3"});
  CHECK(lab.StatusOf(run) == "failed");
  const StoredRun stored = lab.Stored(run);
  CHECK(stored.state->task(0).failed_attempts == 3);
  CHECK(stored.state->task(0).attempt == 3);
}

TEST_CASE("A task that succeeds at its second try has succeeded") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("retry");
  AddTask(pipeline, "flaky").retry.max_attempts = 5;
  AddTask(pipeline, "after", {"flaky"});
  lab.executor.Script("flaky", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"flaky/1", "flaky/2", "after/1"});
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.FailureOf(run, "flaky") == "none");
}

TEST_CASE("The wait before a try grows to its limit") {
  EngineLab lab;
  Retry retry;
  retry.max_attempts = 6;
  retry.delay = seconds(10);
  retry.backoff = 3.0F;
  retry.max_delay = seconds(100);
  const RunId run = RunFailing(lab, retry);
  CHECK(WaitsOf(lab, run) ==
        std::vector<Duration>{seconds(10), seconds(30), seconds(90), seconds(100), seconds(100)});
}

TEST_CASE("A try is not made before its time, and the host is told when that is") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("retry");
  Task& task = AddTask(pipeline, "flaky");
  task.retry.max_attempts = 2;
  task.retry.delay = milliseconds(150);
  lab.executor.Script("flaky", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.StateOf(run, "flaky") == "pending");
  CHECK(lab.engine().NextDeadline() == lab.clock.now() + milliseconds(150));
  CHECK(lab.engine().ExplainWait(run, 0) ==
        "next try at " + FormatTime(lab.clock.now() + milliseconds(150)));
  lab.StepAfter(milliseconds(150) - Duration(1));
  CHECK(lab.executor.started().size() == 1);
  lab.StepAfter(Duration(1));
  CHECK(lab.executor.started().size() == 2);
}

TEST_CASE("Jitter stays within its share, follows from the seed, and differs between tries") {
  Retry retry;
  retry.max_attempts = 40;
  retry.delay = seconds(100);
  retry.backoff = 1.0F;
  retry.jitter = 0.25F;
  const auto waits = [&](uint64_t seed) {
    EngineLab lab;
    lab.random = SeededRandom(seed);
    lab.compare_after_steps = false;
    return WaitsOf(lab, RunFailing(lab, retry));
  };
  const std::vector<Duration> first = waits(1);
  REQUIRE(first.size() == 39);
  CHECK(first == waits(1));
  CHECK(first != waits(2));
  Duration shortest = first[0];
  Duration longest = first[0];
  for (const Duration wait : first) {
    shortest = std::min(shortest, wait);
    longest = std::max(longest, wait);
  }
  CHECK(shortest >= seconds(75));
  CHECK(longest <= seconds(125) + milliseconds(1));  // time moves in whole milliseconds here
  CHECK(shortest < seconds(90));
  CHECK(longest > seconds(110));
}

TEST_CASE("Absurd waits do not overflow") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("retry");
  Task& task = AddTask(pipeline, "flaky");
  task.retry.max_attempts = 3;
  task.retry.delay = Duration::max();
  task.retry.max_delay = Duration::max();
  task.retry.backoff = 1e30F;
  task.retry.jitter = 1.0F;
  task.timeout = Duration::max();
  Task& soon = AddTask(pipeline, "soon");
  soon.retry.max_attempts = 2000;
  soon.retry.backoff = 1e30F;  // of no delay at all
  lab.executor.Script("flaky", Outcome::Failure());
  lab.executor.Script("soon", Outcome::Failure());
  lab.compare_after_steps = false;
  const RunId run = lab.Submit(pipeline);
  for (int i = 0; i < 100; ++i) lab.StepAfter(hours(1));
  CHECK(lab.StatesOf(run) == "flaky:pending soon:failed");
  CHECK(lab.Stored(run).state->task(0).attempt == 1);
  CHECK(lab.Stored(run).state->task(1).attempt == 2000);
}

TEST_CASE("How an attempt ended is kept, and each way counts as a try") {
  struct Case {
    Outcome outcome;
    std::string failure;
  };
  Outcome signalled;
  signalled.signal = 11;
  Outcome memory;
  memory.signal = 9;
  memory.out_of_memory = true;
  memory.message = "more than 1g";
  const Case cases[] = {
      {Outcome::Failure(3), "exit_code"},
      {signalled, "signal"},
      {memory, "out_of_memory: more than 1g"},
      {Outcome::StartFails(InvalidArgument("no such image")), "failed_to_start: no such image"},
      {Outcome::StartFails(Internal("broken")), "failed_to_start: broken"},
  };
  for (const Case& c : cases) {
    EngineLab lab;
    Pipeline pipeline = NewPipeline("ends");
    AddTask(pipeline, "a").retry.max_attempts = 2;
    lab.executor.Script("a", c.outcome);
    const RunId run = lab.Submit(pipeline);
    lab.RunToEnd();
    CHECK(lab.FailureOf(run, "a") == c.failure);
    CHECK(lab.Stored(run).state->task(0).failed_attempts == 2);
    CHECK(lab.StatusOf(run) == "failed");
  }
}

// ---- Timeouts --------------------------------------------------------------------------------

TEST_CASE("An attempt past its timeout is asked to stop, then forced") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("slow");
  Task& task = AddTask(pipeline, "slow");
  task.timeout = seconds(60);
  task.grace_period = seconds(5);
  Outcome stubborn = Outcome::Waits();
  stubborn.ignores_terminate = true;
  lab.executor.Script("slow", stubborn);
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  const AttemptKey key = run + "/slow/1";
  using Stops = std::vector<FakeExecutor::StopCall>;
  lab.StepAfter(seconds(60) - Duration(1));
  CHECK(lab.executor.stops().empty());
  lab.StepAfter(Duration(1));
  CHECK(lab.executor.stops() == Stops{{key, StopMode::terminate}});
  lab.StepAfter(seconds(5) - Duration(1));
  CHECK(lab.executor.stops().size() == 1);
  lab.StepAfter(Duration(1));
  CHECK(lab.executor.stops() == Stops{{key, StopMode::terminate}, {key, StopMode::kill}});
  CHECK(lab.StatusOf(run) == "failed");
  CHECK(lab.FailureOf(run, "slow") == "timeout: stopped after its timeout of 1m");
}

TEST_CASE("A timeout ends the try, not the task; an exit code of 0 does not save it") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("slow");
  Task& task = AddTask(pipeline, "slow");
  task.timeout = seconds(60);
  task.retry.max_attempts = 2;
  Outcome polite = Outcome::Waits();
  polite.on_terminate = 0;
  lab.executor.Script("slow", 1, polite);
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"slow/1", "slow/2"});
  CHECK(lab.StatusOf(run) == "succeeded");
  bool timed_out = false;
  for (const Event& event : lab.EventsOf(run)) {
    AttemptEnded ended;
    if (event.type != EventType::attempt_failed) continue;
    REQUIRE(Decode(event.detail, &ended).ok());
    timed_out = ended.reason == FailureReason::timeout;
  }
  CHECK(timed_out);
}

TEST_CASE("The timeout and the grace of one try do not touch the next") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("slow");
  Task& task = AddTask(pipeline, "slow");
  task.timeout = seconds(60);
  task.grace_period = seconds(10);
  task.retry.max_attempts = 3;
  Outcome early = Outcome::Failure();
  early.takes = seconds(50);
  lab.executor.Script("slow", 1, early);
  lab.executor.Script("slow", 2, Outcome::Waits());  // from 50 s to 110 s
  lab.executor.Script("slow", 3, Outcome::Waits());  // from 110 s on
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  for (int second = 1; second <= 169; ++second) lab.StepAfter(seconds(1));
  CHECK(lab.executor.stops() ==
        std::vector<FakeExecutor::StopCall>{{run + "/slow/2", StopMode::terminate}});
  CHECK(lab.StateOf(run, "slow") == "running");
  lab.StepAfter(seconds(1));
  CHECK(lab.executor.stops().back() ==
        FakeExecutor::StopCall{run + "/slow/3", StopMode::terminate});
}

TEST_CASE("An end that comes with the timeout counts") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("slow");
  AddTask(pipeline, "slow").timeout = seconds(60);
  Outcome outcome;
  outcome.takes = seconds(60);
  lab.executor.Script("slow", outcome);
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A timeout goes on counting while no engine is there") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("slow");
  AddTask(pipeline, "slow").timeout = seconds(60);
  lab.executor.Script("slow", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  lab.Crash();
  lab.clock.Advance(seconds(59));
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  CHECK(lab.executor.stops().empty());
  lab.StepAfter(seconds(1));
  CHECK(lab.executor.stops().size() == 1);
}

// ---- Lost attempts ---------------------------------------------------------------------------

TEST_CASE("A lost attempt is tried again without counting, three times") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("lost");
  AddTask(pipeline, "a");
  lab.executor.Script("a", Outcome::Lost());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "a/2", "a/3", "a/4"});
  CHECK(lab.StatusOf(run) == "failed");
  CHECK(lab.FailureOf(run, "a") == "lost");
  CHECK(lab.Stored(run).state->task(0).failed_attempts == 0);
}

TEST_CASE("Lost attempts and failed ones are counted apart") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("lost");
  AddTask(pipeline, "a").retry.max_attempts = 2;
  lab.executor.Script("a", 1, Outcome::Lost());
  lab.executor.Script("a", 2, Outcome::Failure());
  lab.executor.Script("a", 3, Outcome::Lost());
  lab.executor.Script("a", 4, Outcome::Lost());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.started().size() == 5);
}

TEST_CASE("An executor that is not available now is asked again") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("unavailable");
  AddTask(pipeline, "a");
  lab.executor.Script("a", 1, Outcome::StartFails(Unavailable("busy")));
  lab.executor.Script("a", 2, Outcome::StartFails(Unavailable("busy")));
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"a/3"});
}

// ---- Resume and Retry ------------------------------------------------------------------------

TEST_CASE("Resume takes up an interrupted run where it stands") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("resume");
  AddTask(pipeline, "done");
  AddTask(pipeline, "under-way", {"done"});
  AddTask(pipeline, "ended-meanwhile", {"done"});
  AddTask(pipeline, "last", {"under-way", "ended-meanwhile"});
  lab.executor.Script("under-way", Outcome::Waits());
  lab.executor.Script("ended-meanwhile", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  lab.Close();
  lab.executor.Finish(run + "/ended-meanwhile/1");
  REQUIRE(lab.engine().Resume(run).ok());
  CHECK(lab.engine().Resume(run).ok());  // active already
  lab.Step();
  CHECK(lab.StatesOf(run) ==
        "done:succeeded under-way:running ended-meanwhile:succeeded last:pending");
  lab.executor.Finish(run + "/under-way/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.started().size() == 4);
}

TEST_CASE("A wait for the next try survives the engine") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("resume");
  Task& task = AddTask(pipeline, "flaky");
  task.retry.max_attempts = 2;
  task.retry.delay = hours(2);
  task.retry.max_delay = hours(2);
  lab.executor.Script("flaky", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  lab.Crash();
  lab.clock.Advance(hours(1));
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  CHECK(lab.executor.started().size() == 1);
  lab.StepAfter(hours(1));
  CHECK(lab.executor.started().size() == 2);
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("Resume, Retry and Cancel refuse what makes no sense, and say why") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("states");
  AddTask(pipeline, "a");
  const RunId good = lab.Submit(pipeline);
  lab.RunToEnd();
  lab.executor.Script("a", Outcome::Failure());
  const RunId bad = lab.Submit(pipeline);
  lab.RunToEnd();
  lab.executor.Script("a", Outcome::Waits());
  const RunId interrupted = lab.Submit(pipeline);
  lab.Step();
  lab.Close();
  const RunId active = lab.Submit(pipeline);
  lab.Step();

  Engine& engine = lab.engine();
  const auto refused = [](const Status& status, const std::string& message) {
    CHECK(status.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(status) == message);
  };
  refused(engine.Resume(good), "run " + good + " has succeeded");
  refused(engine.Resume(bad), "run " + bad + " has failed; retry runs its failed tasks again");
  refused(engine.Retry(good, {}), "run " + good +
                                      " has no failed or cancelled task; name the task to run "
                                      "again");
  refused(engine.Retry(interrupted, {}),
          "run " + interrupted + " has not ended; resume continues it");
  refused(engine.Retry(active, {}), "run " + active + " is active");
  refused(engine.Cancel(good), "run " + good + " has succeeded already");
  refused(engine.Cancel(bad), "run " + bad + " has failed already");
  for (const Status& status :
       {engine.Resume("nobody"), engine.Retry("nobody", {}), engine.Cancel("nobody")}) {
    CHECK(status.code() == StatusCode::kNotFound);
    CHECK(Message(status) == "there is no run \"nobody\"");
  }
  const Status unknown = engine.Retry(bad, {"a", "b"});
  CHECK(unknown.code() == StatusCode::kNotFound);
  CHECK(Message(unknown) == "run " + bad + " has no task \"b\"");
  CHECK_FALSE(engine.IsActive(bad));
  // None of it hurt.
  lab.executor.Script("a", Outcome::Success());
  CHECK(engine.Retry(bad, {"a"}).ok());
  lab.executor.Finish(active + "/a/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(bad) == "succeeded");
  CHECK(lab.StatusOf(active) == "succeeded");
}

TEST_CASE("Retry runs what failed and what was skipped because of it") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("again");
  AddTask(pipeline, "load");
  AddTask(pipeline, "train", {"load"});
  AddTask(pipeline, "test", {"train"});
  AddTask(pipeline, "plot", {"load"});
  lab.executor.Script("train", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.StatesOf(run) == "load:succeeded train:failed test:skipped plot:succeeded");
  const Time first_end = lab.Stored(run).state->finished_at();
  CHECK(first_end == lab.clock.now());

  lab.clock.Advance(hours(1));
  REQUIRE(lab.engine().Retry(run, {}).ok());
  CHECK(lab.Stored(run).record.status == RunStatus::running);
  CHECK(lab.Stored(run).record.finished == Time{});
  CHECK(lab.Stored(run).state->finished_at() == Time{});
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"load/1", "train/1", "plot/1", "train/2", "test/1"});
  CHECK(lab.Stored(run).record.finished == lab.clock.now());
}

TEST_CASE("Retry from a task runs it and all that depends on it, though they succeeded") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("from");
  AddTask(pipeline, "a");
  AddTask(pipeline, "b", {"a"});
  AddTask(pipeline, "c", {"b"});
  AddTask(pipeline, "d", {"a"});
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.engine().Retry(run, {"b", "b"}).ok());
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "b/1", "d/1", "c/1", "b/2", "c/2"});
}

TEST_CASE("A retried task has all its tries again") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("tries");
  AddTask(pipeline, "a").retry.max_attempts = 2;
  lab.executor.Script("a", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.engine().Retry(run, {}).ok());
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "a/2", "a/3", "a/4"});
  CHECK(lab.StatusOf(run) == "failed");
}

TEST_CASE("Retrying one task of a cancelled run also runs what never ran") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("leftover");
  AddTask(pipeline, "a");
  AddTask(pipeline, "b");
  AddTask(pipeline, "c", {"b"});
  lab.executor.Script("b", 1, Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
  REQUIRE(lab.StatesOf(run) == "a:succeeded b:cancelled c:cancelled");
  REQUIRE(lab.engine().Retry(run, {"a"}).ok());
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "a:succeeded b:succeeded c:succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "b/1", "a/2", "b/2", "c/1"});
}

TEST_CASE("A run whose pipeline no longer fits is not resumed, and stays as it is") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("shrunk");
  AddTask(pipeline, "big").resources = {Slot("cpu", 4)};
  lab.executor.Script("big", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  lab.Close();
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  const Status status = lab.engine().Resume(run);
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(Message(status) == "task \"big\": needs 4 cpu, there is 2");
  CHECK_FALSE(lab.engine().IsActive(run));
  // It can still be cancelled.
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "cancelled");
}

TEST_CASE("A clock that is set back neither stops what is due nor puts it off") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("clock");
  Task& flaky = AddTask(pipeline, "flaky");
  flaky.retry.max_attempts = 2;
  flaky.retry.delay = seconds(10);
  flaky.resources = {Slot("cpu", 4)};
  Task& other = AddTask(pipeline, "other");
  other.resources = {Slot("cpu", 4)};
  other.timeout = seconds(60);
  lab.executor.Script("flaky", 1, Outcome::Failure());
  lab.executor.Script("other", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  lab.StepAfter(seconds(11));
  // It has waited long enough, and waits for room now.
  REQUIRE(lab.StateOf(run, "flaky") == "pending");
  REQUIRE(lab.StateOf(run, "other") == "running");
  lab.StepAfter(-hours(1));
  CHECK(lab.engine().NextDeadline() <= lab.clock.now() + seconds(1));
  lab.StepAfter(seconds(61));  // time enough for the timeout, by the clock of anybody
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "flaky:succeeded other:failed");
  CHECK(lab.executor.StartedTasks() == Names{"flaky/1", "other/1", "flaky/2"});
  Time last{};
  for (const Event& event : lab.EventsOf(run)) {
    CHECK(event.time >= last);
    last = event.time;
  }
}

}  // namespace
}  // namespace trackbed
