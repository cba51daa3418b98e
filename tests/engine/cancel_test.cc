// Cancelling: politely, then not; from here and from other processes; and going on afterwards.
#include <string>
#include <vector>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Names = std::vector<std::string>;
using Stops = std::vector<FakeExecutor::StopCall>;

// "work" runs until it is stopped; "queued" waits for its slot, "later" for "work".
Pipeline Workload() {
  Pipeline pipeline = NewPipeline("cancel");
  Task& work = AddTask(pipeline, "work");
  work.resources = {Slot("cpu", 4)};
  work.grace_period = seconds(5);
  AddTask(pipeline, "queued").resources = {Slot("cpu", 4)};
  AddTask(pipeline, "later", {"work"});
  return pipeline;
}

TEST_CASE("Cancel asks attempts to stop, forces them after their grace, and ends the run") {
  EngineLab lab;
  Outcome stubborn = Outcome::Waits();
  stubborn.ignores_terminate = true;
  lab.executor.Script("work", stubborn);
  const RunId run = lab.Submit(Workload());
  lab.Step();
  const AttemptKey key = run + "/work/1";
  REQUIRE(lab.engine().Cancel(run).ok());
  CHECK(lab.executor.stops() == Stops{{key, StopMode::terminate}});
  REQUIRE(lab.engine().Cancel(run).ok());  // once more changes nothing
  lab.StepAfter(seconds(5) - Duration(1));
  CHECK(lab.executor.stops().size() == 1);
  CHECK(lab.engine().IsActive(run));
  lab.StepAfter(Duration(1));
  CHECK(lab.executor.stops() == Stops{{key, StopMode::terminate}, {key, StopMode::kill}});
  CHECK_FALSE(lab.engine().IsActive(run));
  CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.StatesOf(run) == "work:cancelled queued:cancelled later:cancelled");
  CHECK(lab.FailureOf(run, "work") == "signal");
  CHECK(lab.executor.started().size() == 1);
}

TEST_CASE("A run none of whose tasks runs is cancelled at the next step") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("waiting");
  Task& task = AddTask(pipeline, "a");
  task.retry.max_attempts = 2;
  task.retry.delay = seconds(100);
  lab.executor.Script("a", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.Step();
  CHECK(lab.StatusOf(run) == "cancelled");
  lab.StepAfter(seconds(1000));
  CHECK(lab.executor.started().size() == 1);
}

TEST_CASE("However an attempt ends under a cancellation, nothing new starts") {
  struct Case {
    Outcome ending;
    std::string state;
  };
  const Case cases[] = {
      {Outcome::Success("n=1\n"), "succeeded"},
      {Outcome::Success(""), "cancelled"},  // its output is missing: it was interrupted
      {Outcome::Failure(), "cancelled"},
      {Outcome::Lost(), "cancelled"},
  };
  for (const Case& c : cases) {
    EngineLab lab;
    Pipeline pipeline = NewPipeline("cancel");
    Task& task = AddTask(pipeline, "a");
    task.retry.max_attempts = 3;
    task.outputs = {{"n", ValueType::integer}};
    AddTask(pipeline, "b", {"a"});
    AddTask(pipeline, "alarm", {"a"}).trigger = Trigger::all_done;
    Outcome stubborn = Outcome::Waits();
    stubborn.ignores_terminate = true;
    lab.executor.Script("a", 1, stubborn);
    lab.executor.Script("a", 2, Outcome::Success("n=2\n"));
    const RunId run = lab.Submit(pipeline);
    lab.Step();
    REQUIRE(lab.engine().Cancel(run).ok());
    lab.executor.Finish(run + "/a/1", c.ending);
    lab.Step();
    CHECK(lab.StatusOf(run) == "cancelled");
    CHECK(lab.StatesOf(run) == "a:" + c.state + " b:cancelled alarm:cancelled");
    CHECK(lab.executor.started().size() == 1);
    // And it can be gone on with.
    REQUIRE(lab.engine().Resume(run).ok());
    lab.RunToEnd();
    CHECK(lab.StatesOf(run) == "a:succeeded b:succeeded alarm:succeeded");
    CHECK(lab.StatusOf(run) == "succeeded");
  }
}

TEST_CASE("Another process asks for a cancellation through the store") {
  EngineLab lab;
  lab.executor.Script("work", Outcome::Waits());
  const RunId run = lab.Submit(Workload());
  const RunId other = lab.Submit(Workload());
  lab.Step();
  REQUIRE(lab.store().PostRequest({0, Request::Kind::cancel, run}, lab.clock.now()).ok());
  REQUIRE(lab.store().PostRequest({0, Request::Kind::cancel, "nobody"}, lab.clock.now()).ok());
  CHECK(lab.engine().NextDeadline() <= lab.clock.now() + milliseconds(200));
  lab.StepAfter(milliseconds(200));
  CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.engine().IsActive(other));
  CHECK(lab.store().ReadRequests()->empty());
  CHECK(lab.executor.StartedTasks() == Names{"work/1", "work/1"});  // the other's turn
}

TEST_CASE("Many requests for many runs are met in one go") {
  EngineLab lab;
  lab.executor.Script("work", Outcome::Waits());
  std::vector<RunId> runs;
  for (int i = 0; i < 3; ++i) runs.push_back(lab.Submit(Workload()));
  lab.Step();
  for (const RunId& run : runs) {
    for (int twice = 0; twice < 2; ++twice) {
      REQUIRE(lab.store().PostRequest({0, Request::Kind::cancel, run}, lab.clock.now()).ok());
    }
  }
  lab.StepAfter(milliseconds(200));
  for (const RunId& run : runs) CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.store().ReadRequests()->empty());
}

TEST_CASE("A request that came while no engine was there cancels the interrupted run") {
  EngineLab lab;
  lab.executor.Script("work", Outcome::Waits());
  const RunId run = lab.Submit(Workload());
  lab.Step();
  lab.Crash();
  REQUIRE(lab.store().PostRequest({0, Request::Kind::cancel, run}, lab.clock.now()).ok());
  lab.Open();
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.executor.stops() == Stops{{run + "/work/1", StopMode::terminate}});
}

TEST_CASE("Cancelling an interrupted run stops what runs and starts nothing") {
  EngineLab lab;
  lab.executor.Script("work", Outcome::Waits());
  const RunId run = lab.Submit(Workload());
  lab.Step();
  lab.Crash();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.executor.StartedTasks() == Names{"work/1"});
  CHECK(lab.executor.running() == 0);
}

TEST_CASE("Cancelling an interrupted run never starts an attempt that was only intended") {
  EngineLab lab;
  const RunId run = lab.Submit(Workload());
  // The commit that intends the attempt takes effect; the engine dies before it acts on it.
  lab.process().DieAt(1, FaultyStore::Point::after);
  CHECK_FALSE(lab.engine().Step().ok());
  REQUIRE(lab.executor.started().empty());
  REQUIRE(lab.StateOf(run, "work") == "running");
  lab.Crash();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.StateOf(run, "work") == "cancelled");
  CHECK(lab.executor.started().empty());
  // Its key is used up; going on uses the next.
  REQUIRE(lab.engine().Resume(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.StartedTasks().front() == "work/2");
}

TEST_CASE("A cancellation that was under way when the engine died is taken back by Resume") {
  EngineLab lab;
  Outcome slow = Outcome::Waits();
  slow.ignores_terminate = true;
  lab.executor.Script("work", 1, slow);
  const RunId run = lab.Submit(Workload());
  lab.Step();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.Crash();
  REQUIRE(lab.engine().Resume(run).ok());
  CHECK_FALSE(lab.engine().Find(run)->cancel_requested());
  CHECK(lab.engine().Find(run)->task(0).stopping);
  lab.Step();
  SECTION("it stops after all: that is no failure of the task") {
    Outcome stopped;
    SECTION("by the signal") { stopped.signal = 15; }
    SECTION("with a code") { stopped.exit_code = 1; }
    lab.executor.Finish(run + "/work/1", stopped);
    lab.RunToEnd();
    CHECK(lab.Stored(run).state->task(0).attempt == 2);
  }
  SECTION("it does not mind") {
    lab.executor.Finish(run + "/work/1");
    lab.RunToEnd();
    CHECK(lab.Stored(run).state->task(0).attempt == 1);
  }
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.StatesOf(run) == "work:succeeded queued:succeeded later:succeeded");
}

TEST_CASE("A cancellation given up halfway does not make Resume fail on a used-up key") {
  EngineLab lab;
  const RunId run = lab.Submit(Workload());
  lab.process().DieAt(1, FaultyStore::Point::after);  // intended, not started
  CHECK_FALSE(lab.engine().Step().ok());
  lab.Crash();
  // Cancel asks for the attempt, which uses its key up, and dies before that is recorded.
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.Crash();
  REQUIRE(lab.engine().Resume(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"queued/1", "work/2", "later/1"});
}

TEST_CASE("A cancelled run goes on where it was") {
  EngineLab lab;
  lab.executor.Script("work", 1, Outcome::Waits());
  const RunId run = lab.Submit(Workload());
  lab.Step();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
  REQUIRE(lab.StatusOf(run) == "cancelled");
  REQUIRE(lab.engine().Resume(run).ok());
  CHECK(lab.Stored(run).record.status == RunStatus::running);
  CHECK(lab.Stored(run).state->finished_at() == Time{});
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"work/1", "work/2", "queued/1", "later/1"});
}

TEST_CASE("What a cancelled run left in the queue holds nobody up") {
  EngineLab lab;
  Pipeline small = NewPipeline("small");
  AddTask(small, "first");
  AddTask(small, "second");
  Pipeline large = NewPipeline("large");
  AddTask(large, "all").resources = {Slot("cpu", 4)};
  lab.executor.Script("first", Outcome::Waits());
  lab.executor.Script("second", Outcome::Waits());
  const RunId holder = lab.Submit(small);
  lab.Step();
  const RunId waiting = lab.Submit(large);
  lab.Step();
  lab.StepAfter(std::chrono::hours(1));  // far beyond the patience of the large task
  REQUIRE(lab.engine().Cancel(waiting).ok());
  lab.Step();
  REQUIRE(lab.StatusOf(waiting) == "cancelled");
  const RunId next = lab.Submit(small);
  lab.Step();
  CHECK(lab.executor.running() == 4);
  CHECK(lab.engine().IsActive(holder));
  CHECK(lab.engine().IsActive(next));
}

TEST_CASE("A task that stands in the queue twice after a cancellation starts when it is due") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  Pipeline others = NewPipeline("others");
  AddTask(others, "first");
  AddTask(others, "second");
  Pipeline pipeline = NewPipeline("twice");
  Task& task = AddTask(pipeline, "flaky");
  task.retry.max_attempts = 2;
  task.retry.delay = seconds(100);
  lab.executor.Script("first", Outcome::Waits());
  lab.executor.Script("flaky", 1, Outcome::Failure());
  const RunId holder = lab.Submit(others);
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  // It leaves a place in the queue behind "second", and takes another.
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.Step();
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  lab.executor.Finish(holder + "/first/1");
  lab.StepAfter(seconds(1));
  CHECK(lab.executor.StartedTasks() == Names{"first/1", "second/1", "flaky/1"});
  lab.StepAfter(seconds(100));
  CHECK(lab.executor.StartedTasks().back() == "flaky/2");
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A timeout during a cancellation is a cancellation") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("both");
  Task& task = AddTask(pipeline, "slow");
  task.timeout = seconds(3);
  task.grace_period = seconds(60);
  task.retry.max_attempts = 2;
  Outcome stubborn = Outcome::Waits();
  stubborn.ignores_terminate = true;
  lab.executor.Script("slow", stubborn);
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.StepAfter(seconds(3));
  lab.StepAfter(seconds(57));
  CHECK(lab.StatusOf(run) == "cancelled");
  CHECK(lab.StateOf(run, "slow") == "cancelled");
  CHECK(lab.executor.started().size() == 1);
}

}  // namespace
}  // namespace trackbed
