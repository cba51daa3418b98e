// Attempts that are stopped so that others have room: durably, politely first, not for nothing.
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "support/story.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/explain.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Names = std::vector<std::string>;
using Stops = std::vector<FakeExecutor::StopCall>;

// Goes on until it is killed.
Outcome Stubborn() {
  Outcome stubborn = Outcome::Waits();
  stubborn.ignores_terminate = true;
  return stubborn;
}

// An engine of four processors that stops tasks for others of a higher priority.
struct Lab : EngineLab {
  explicit Lab(Store* store = nullptr) : EngineLab(store) {
    options.policy.preempt_by_priority = true;
  }
  // A run of one task, called as the pipeline.
  RunId SubmitOne(const std::string& name, int64_t cpu, int priority, SubmitOptions submit = {}) {
    Pipeline pipeline = NewPipeline(name);
    Task& task = AddTask(pipeline, name);
    task.resources = {Slot("cpu", cpu)};
    task.grace_period = seconds(5);
    submit.priority = priority;
    return Submit(std::move(pipeline), std::move(submit));
  }
  // The same, running until it is stopped.
  RunId StartOne(const std::string& name, int64_t cpu, int priority, SubmitOptions submit = {}) {
    executor.Script(name, 1, Outcome::Waits());
    const RunId run = SubmitOne(name, cpu, priority, std::move(submit));
    Step();
    REQUIRE(StateOf(run, name) == "running");
    return run;
  }
  Names TypesOf(const RunId& run) {
    Names types;
    for (const Event& event : EventsOf(run)) types.emplace_back(ToString(event.type));
    return types;
  }
  TaskExplanation Explain(const RunId& run) {
    const auto explained =
        ExplainTask(store(), run, 0, clock.now(), {}, options.tenancy, options.policy);
    REQUIRE(explained.ok());
    return *explained;
  }
  std::string Story(const RunId& run) { return FaultOfStory(*Stored(run).state, EventsOf(run)); }
};

TEST_CASE("Nobody is stopped for others unless the policy says so") {
  Lab lab;
  lab.options.policy.preempt_by_priority = false;
  const RunId low = lab.StartOne("low", 4, 0);
  const RunId high = lab.SubmitOne("high", 4, 9);
  lab.StepAfter(hours(10));
  CHECK(lab.executor.stops().empty());
  CHECK(lab.StateOf(high, "high") == "pending");
  lab.executor.Finish(low + "/low/1");
  lab.RunToEnd();
}

TEST_CASE("Who is less important is stopped, and goes on when there is room again") {
  Lab lab;
  const RunId low = lab.StartOne("low", 4, 0);
  lab.executor.Script("high", Outcome::Waits());
  const RunId high = lab.SubmitOne("high", 2, 5);
  lab.Step();
  // It was told, and has ended; both are known, and high has its room, within the step.
  CHECK(lab.executor.stops() == Stops{{low + "/low/1", StopMode::terminate}});
  CHECK(lab.executor.StartedTasks() == Names{"low/1", "high/1"});
  CHECK(lab.StateOf(low, "low") == "pending");
  const TaskStatus status = lab.Stored(low).state->task(0);
  CHECK(status.preempted_attempts == 1);
  CHECK(status.failed_attempts == 0);
  CHECK(status.lost_attempts == 0);
  CHECK(lab.FailureOf(low, "low") ==
        "preempted: stopped for task high of run " + high + ", which has a higher priority");
  lab.executor.Finish(high + "/high/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");  // it may be tried only once, and was
  CHECK(lab.TypesOf(low) == Names{"run_submitted", "attempt_intended", "attempt_preempting",
                                  "attempt_preempted", "attempt_intended", "attempt_succeeded",
                                  "run_finished"});
  CHECK(lab.executor.MostUsed("cpu") == 4000);
  CHECK(lab.Story(low).empty());
}

TEST_CASE("Who does not heed is killed after the grace, and nobody starts before that") {
  Lab lab;
  lab.executor.Script("low", 1, Stubborn());
  const RunId low = lab.SubmitOne("low", 4, 0);
  lab.Step();
  const RunId high = lab.SubmitOne("high", 4, 5);
  lab.Step();
  CHECK(lab.StateOf(low, "low") == "running");
  CHECK(lab.Stored(low).state->task(0).preempting);
  CHECK(lab.Explain(low).sentence.ends_with("; it is being stopped for task high of run " + high +
                                            ", which has a higher priority"));
  const TaskExplanation waits = lab.Explain(high);
  CHECK(waits.situation == TaskSituation::preempting);
  CHECK(waits.waits_for == Names{low + "/low"});
  CHECK(lab.engine().ExplainWait(high, 0) == "waits for the tasks that were stopped for it to end");
  lab.StepAfter(seconds(5) - Duration(1));
  CHECK(lab.executor.StartedTasks() == Names{"low/1"});
  lab.StepAfter(Duration(1));
  CHECK(lab.executor.stops() ==
        Stops{{low + "/low/1", StopMode::terminate}, {low + "/low/1", StopMode::kill}});
  lab.Step();
  CHECK(lab.executor.StartedTasks()[1] == "high/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
}

TEST_CASE("Who has done his work when he is told to stop has succeeded") {
  Lab lab;
  Outcome done = Outcome::Waits();
  done.on_terminate = 0;
  lab.executor.Script("low", 1, done);
  const RunId low = lab.SubmitOne("low", 4, 0);
  lab.Step();
  const RunId high = lab.SubmitOne("high", 4, 5);
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
  CHECK(lab.StatusOf(high) == "succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"low/1", "high/1"});
}

TEST_CASE("However else a victim ends, it is no try of its own") {
  for (const Outcome& ending : {Outcome::Failure(3), Outcome::Lost()}) {
    Lab lab;
    lab.executor.Script("low", 1, Stubborn());
    const RunId low = lab.SubmitOne("low", 4, 0);
    lab.Step();
    lab.SubmitOne("high", 4, 5);
    lab.Step();
    lab.executor.Finish(low + "/low/1", ending);
    lab.RunToEnd();
    CHECK(lab.StatusOf(low) == "succeeded");
    CHECK(lab.Stored(low).state->task(0).preempted_attempts == 1);
  }
}

TEST_CASE("Equals are left alone, and so is who has not run long enough") {
  Lab lab;
  lab.options.policy.minimum_run_time = minutes(10);
  const RunId low = lab.StartOne("low", 4, 0);
  const RunId equal = lab.SubmitOne("equal", 4, 0);
  lab.StepAfter(minutes(5));
  const RunId high = lab.SubmitOne("high", 4, 5);
  lab.Step();
  lab.StepAfter(minutes(5) - milliseconds(1));
  CHECK(lab.executor.stops().empty());
  CHECK(lab.engine().NextDeadline() <= lab.clock.now() + milliseconds(1));
  lab.StepAfter(milliseconds(1));
  CHECK(lab.executor.stops().size() == 1);
  CHECK(lab.executor.StartedTasks()[1] == "high/1");
  lab.RunToEnd();
  for (const RunId& run : {low, equal, high}) CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("No more are stopped than it takes, the least important first") {
  Lab lab;
  const RunId first = lab.StartOne("first", 1, 2);
  const RunId second = lab.StartOne("second", 1, 0);
  const RunId third = lab.StartOne("third", 1, 1);
  const RunId fourth = lab.StartOne("fourth", 1, 0);
  const RunId high = lab.SubmitOne("high", 2, 5);
  lab.Step();
  CHECK(lab.StateOf(high, "high") != "pending");
  CHECK(lab.executor.stops().size() == 2);
  for (const FakeExecutor::StopCall& stop : lab.executor.stops()) {
    CHECK((stop.key == second + "/second/1" || stop.key == fourth + "/fourth/1"));
  }
  for (const RunId& run : {first, third})
    lab.executor.Finish(run + "/" + run.substr(0, run.find('-')) + "/1");
  lab.RunToEnd();
}

TEST_CASE(
    "If the beneficiary goes away, its victim waits for its turn and nobody else is stopped") {
  Lab lab;
  lab.executor.Script("low", 1, Stubborn());
  const RunId low = lab.SubmitOne("low", 2, 0);
  const RunId other = lab.StartOne("other", 2, 1);
  const RunId high = lab.SubmitOne("high", 2, 5);
  lab.Step();
  REQUIRE(lab.executor.stops().size() == 1);
  REQUIRE(lab.engine().Cancel(high).ok());
  lab.Step();
  CHECK(lab.StatusOf(high) == "cancelled");
  // Somebody else comes meanwhile: the room that is being made is for him.
  const RunId next = lab.SubmitOne("next", 2, 4);
  lab.StepAfter(seconds(5));
  lab.Step();
  CHECK(lab.StatusOf(next) == "succeeded");
  CHECK(lab.executor.stops() ==
        Stops{{low + "/low/1", StopMode::terminate}, {low + "/low/1", StopMode::kill}});
  lab.executor.Finish(other + "/other/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
}

TEST_CASE("A timeout that passes while it is being stopped is not held against it") {
  Lab lab;
  lab.executor.Script("low", 1, Stubborn());
  Pipeline pipeline = NewPipeline("low");
  Task& task = AddTask(pipeline, "low");
  task.resources = {Slot("cpu", 4)};
  task.timeout = minutes(1);
  task.grace_period = seconds(30);
  const RunId low = lab.Submit(pipeline);
  lab.Step();
  lab.clock.Advance(seconds(50));
  lab.SubmitOne("high", 4, 5);
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
  CHECK(lab.Stored(low).state->task(0).failed_attempts == 0);
}

TEST_CASE("A cancellation goes before a preemption") {
  Lab lab;
  lab.executor.Script("low", 1, Stubborn());
  const RunId low = lab.SubmitOne("low", 4, 0);
  lab.Step();
  const RunId high = lab.SubmitOne("high", 4, 5);
  lab.Step();
  REQUIRE(lab.engine().Cancel(low).ok());
  lab.StepAfter(seconds(5));
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "cancelled");
  CHECK(lab.StateOf(low, "low") == "cancelled");
  CHECK(lab.StatusOf(high) == "succeeded");
  REQUIRE(lab.engine().Resume(low).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
  CHECK(lab.Story(low).empty());
}

TEST_CASE("A tenant below its guarantee gets it back from who borrowed it") {
  Lab lab;
  lab.options.policy.preempt_by_priority = false;
  lab.options.policy.reclaim = true;
  Quota two;
  two.guaranteed[kCpu] = 2000;
  REQUIRE(lab.options.tenancy.Add(kRootTenant, "a", two).ok());
  REQUIRE(lab.options.tenancy.Add(kRootTenant, "b", two).ok());
  const auto of = [](const char* tenant) {
    SubmitOptions submit;
    submit.tenant = tenant;
    return submit;
  };
  const RunId first = lab.StartOne("first", 2, 9, of("b"));
  const RunId second = lab.StartOne("second", 2, 8, of("b"));  // borrows
  lab.executor.Script("mine", Outcome::Waits());
  const RunId mine = lab.SubmitOne("mine", 2, 0, of("a"));
  lab.Step();
  CHECK(lab.executor.stops() == Stops{{second + "/second/1", StopMode::terminate}});
  CHECK(lab.StateOf(mine, "mine") == "running");
  CHECK(lab.Stored(second).state->Preemption(0)->cause == AttemptPreempting::Cause::reclaim);
  // No more than that is his.
  lab.SubmitOne("more", 2, 0, of("a"));
  lab.StepAfter(minutes(1));
  CHECK(lab.executor.stops().size() == 1);
  lab.executor.Finish(mine + "/mine/1");
  lab.executor.Finish(first + "/first/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(second) == "succeeded");
}

TEST_CASE("A gang is stopped whole, and starts whole where it has made room") {
  Lab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)}), NodeOfSlots({Slot("cpu", 2)})};
  lab.options.nodes[0].name = "n1";
  lab.options.nodes[1].name = "n2";
  const auto gang = [&](const std::string& name, int priority) {
    Pipeline pipeline = NewPipeline(name);
    Task& task = AddTask(pipeline, name);
    task.resources = {Slot("cpu", 2)};
    task.cluster_size = 2;
    task.multi_node = true;
    SubmitOptions submit;
    submit.priority = priority;
    return lab.Submit(pipeline, submit);
  };
  lab.executor.Script("low", 1, Outcome::Waits());
  const RunId low = gang("low", 0);
  lab.Step();
  REQUIRE(lab.executor.running() == 1);
  lab.executor.Script("high", Outcome::Waits());
  const RunId high = gang("high", 5);
  lab.Step();
  CHECK(lab.executor.stops() == Stops{{low + "/low/1", StopMode::terminate}});
  REQUIRE(lab.StateOf(high, "high") == "running");
  CHECK(lab.executor.spec(high + "/high/1").gang.size() == 2);
  lab.executor.Finish(high + "/high/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
}

TEST_CASE("Batches of a map are stopped one by one") {
  Lab lab;
  Pipeline pipeline = NewPipeline("low");
  Task& task = AddTask(pipeline, "low");
  task.map = TaskMap{"4", 1, 0, 0};
  lab.executor.Script("low/1/0", 1, Outcome::Waits());
  lab.executor.Script("low/1/1", 1, Outcome::Waits());
  lab.executor.Script("low/1/2", 1, Outcome::Waits());
  lab.executor.Script("low/1/3", 1, Outcome::Waits());
  const RunId low = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.executor.running() == 4);
  lab.SubmitOne("high", 2, 5);
  lab.Step();
  CHECK(lab.executor.stops().size() == 2);
  for (int i = 0; i < 10 && lab.engine().IsActive(low); ++i) {
    for (const auto& [key, attempt] : lab.executor.attempts()) {
      if (!attempt.ended) {
        lab.executor.Finish(key);
        break;
      }
    }
    lab.StepAfter(seconds(1));
  }
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
  CHECK(lab.executor.started().size() == 7);
}

TEST_CASE("What runs of a run that nobody drives is not stopped") {
  Lab lab;
  const RunId low = lab.StartOne("low", 4, 0);
  lab.Crash();
  const RunId high = lab.SubmitOne("high", 4, 5);
  lab.StepAfter(minutes(1));
  CHECK(lab.executor.stops().empty());
  CHECK(lab.StateOf(high, "high") == "pending");
  REQUIRE(lab.engine().Resume(low).ok());
  lab.Step();
  CHECK(lab.executor.stops() == Stops{{low + "/low/1", StopMode::terminate}});
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
}

// Low runs, high has it stopped; the process dies between what it notes and what it does.
struct Interrupted {
  Interrupted() {
    lab.executor.Script("high", Outcome::Waits());
    low = lab.StartOne("low", 4, 0);
    high = lab.SubmitOne("high", 4, 5);
    lab.process().DieAt(1, FaultyStore::Point::after);
    CHECK_FALSE(lab.engine().Step().ok());
    REQUIRE(lab.Stored(low).state->task(0).preempting);
    REQUIRE(lab.executor.stops().empty());
    lab.Crash();
  }
  Lab lab;
  RunId low;
  RunId high;
};

TEST_CASE("What was to be stopped when the engine died is stopped by the next") {
  for (const bool low_first : {true, false}) {
    Interrupted story;
    Lab& lab = story.lab;
    for (const RunId& run :
         low_first ? Names{story.low, story.high} : Names{story.high, story.low}) {
      REQUIRE(lab.engine().Resume(run).ok());
    }
    lab.Step();
    CHECK(lab.executor.stops() == Stops{{story.low + "/low/1", StopMode::terminate}});
    CHECK(lab.executor.StartedTasks() == Names{"low/1", "high/1"});
    CHECK(lab.TypesOf(story.low) == Names{"run_submitted", "attempt_intended", "attempt_preempting",
                                          "run_resumed", "attempt_preempted"});
  }
}

TEST_CASE("If nobody drives the beneficiary any more, its victim is left alone") {
  Interrupted story;
  Lab& lab = story.lab;
  REQUIRE(lab.engine().Resume(story.low).ok());
  lab.StepAfter(hours(1));
  CHECK(lab.executor.stops().empty());
  SECTION("and succeeds") {
    lab.executor.Finish(story.low + "/low/1");
    lab.RunToEnd();
    CHECK(lab.StatusOf(story.low) == "succeeded");
  }
  SECTION("and is stopped when it comes back") {
    REQUIRE(lab.engine().Resume(story.high).ok());
    lab.Step();
    CHECK(lab.executor.stops().size() == 1);
    CHECK(lab.StateOf(story.high, "high") == "running");
  }
}

TEST_CASE("Nodes that change meanwhile do not have others stopped") {
  Lab lab;
  lab.options.takes_stored_node = [](const NodeDescription&) { return true; };
  const auto put = [&](int count) {
    std::vector<NodeRecord> records;
    for (int i = 1; i <= count; ++i) {
      const std::string name = "n" + std::to_string(i);
      records.push_back({name, "name: " + name + "\ncpu: 2\n", false});
    }
    REQUIRE(lab.store().ChangeNodes(records, {}, lab.clock.now()).ok());
  };
  put(2);
  lab.executor.Script("low", 1, Stubborn());
  lab.executor.Script("mid", 1, Stubborn());
  const RunId low = lab.SubmitOne("low", 2, 0);
  const RunId mid = lab.SubmitOne("mid", 2, 1);
  lab.Step();
  lab.SubmitOne("high", 2, 5);
  lab.Step();
  REQUIRE(lab.executor.stops().size() == 1);
  put(2);
  lab.StepAfter(seconds(1));
  REQUIRE(lab.store().ChangeNodes({{"n3", "name: n3\ncpu: 1\n", false}}, {}, lab.clock.now()).ok());
  lab.StepAfter(seconds(1));
  CHECK(lab.executor.stops().size() == 1);
  lab.StepAfter(seconds(10));
  CHECK(lab.executor.stops().size() == 2);  // the kill
  lab.executor.Finish(mid + "/mid/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(low) == "succeeded");
}

// Three runs of different priorities come one after the other, and the process dies once; the
// number of writes when it did not.
int64_t TellWithDeath(int64_t write, FaultyStore::Point point) {
  Lab lab;
  lab.options.policy.minimum_run_time = seconds(3);
  lab.compare_after_steps = false;
  Outcome stubborn;
  stubborn.takes = minutes(1);
  stubborn.ignores_terminate = true;
  Outcome quick;
  quick.takes = seconds(20);
  lab.executor.Script("low", stubborn);
  lab.executor.Script("mid", quick);
  lab.executor.Script("high", quick);
  struct Work {
    const char* name;
    int64_t cpu;
    int priority;
    int turn;
  };
  const Work work[] = {{"low", 3, 0, 0}, {"mid", 2, 3, 8}, {"high", 4, 6, 14}};
  size_t submitted = 0;
  lab.Open();
  lab.process().DieAt(write, point);
  int64_t writes = 0;
  bool died = false;
  const auto runs = [&] { return *lab.store().ListRuns(10); };
  for (int turn = 0; turn < 600; ++turn) {
    Status status = absl::OkStatus();
    if (submitted < 3 && turn >= work[submitted].turn) {
      const Work& next = work[submitted];
      Pipeline pipeline = NewPipeline(next.name);
      Task& task = AddTask(pipeline, next.name);
      task.resources = {Slot("cpu", next.cpu)};
      task.grace_period = seconds(5);
      SubmitOptions submit;
      submit.priority = next.priority;
      status = lab.engine()
                   .Submit(std::make_shared<const Pipeline>(std::move(pipeline)), submit)
                   .status();
      submitted = runs().size();
    }
    if (status.ok()) status = lab.engine().Step();
    if (!status.ok()) {
      died = true;
      lab.Crash();
      for (const RunRecord& run : runs()) {
        if (run.status == RunStatus::running) REQUIRE(lab.engine().Resume(run.id).ok());
      }
    }
    if (!died) writes = lab.process().writes();
    if (submitted == 3 && status.ok() && !lab.engine().HasActiveRuns()) break;
    lab.clock.Advance(milliseconds(700));
  }
  int preempted = 0;
  for (const RunRecord& run : runs()) {
    INFO(run.id);
    CHECK(run.status == RunStatus::succeeded);
    CHECK(lab.Story(run.id).empty());
    for (const Event& event : lab.EventsOf(run.id)) {
      if (event.type == EventType::attempt_preempted) ++preempted;
    }
  }
  CHECK(preempted >= 1);
  CHECK(lab.executor.MostUsed("cpu") <= 4000);
  for (const FakeExecutor::StopCall& stop : lab.executor.stops()) {
    const auto number = static_cast<uint32_t>(std::stoul(stop.key.substr(stop.key.rfind('/') + 1)));
    const std::vector<Event> events = lab.EventsOf(stop.key.substr(0, stop.key.find('/')));
    CHECK(std::any_of(events.begin(), events.end(), [&](const Event& event) {
      return event.type == EventType::attempt_preempting && event.attempt == number;
    }));
  }
  return died ? 0 : writes;
}

TEST_CASE("Whenever the process dies, all end well, one after the other") {
  const int64_t writes = TellWithDeath(1'000'000, FaultyStore::Point::before);
  REQUIRE(writes > 5);
  for (int64_t write = 1; write <= writes; ++write) {
    TellWithDeath(write, FaultyStore::Point::before);
    TellWithDeath(write, FaultyStore::Point::after);
  }
}

TEST_CASE("Who is stopped for whom is in JSON") {
  Lab lab;
  lab.executor.Script("high", Outcome::Waits());
  const RunId low = lab.StartOne("low", 4, 0);
  const RunId high = lab.SubmitOne("high", 4, 5);
  lab.Step();
  const StoredRun stored = lab.Stored(low);
  const std::string json = RunToJson(stored.record, *stored.state);
  CHECK(json.find("\"preempted_for\"") != std::string::npos);
  CHECK(json.find(high) != std::string::npos);
  for (const Event& event : lab.EventsOf(low)) {
    if (event.type != EventType::attempt_preempting) continue;
    CHECK(EventToJson(*stored.state, event)
              .find("\"preempted_for\":{\"run\":\"" + high +
                    "\",\"task\":\"high\",\"cause\":\"priority\"}") != std::string::npos);
  }
  lab.executor.Finish(high + "/high/1");
  lab.RunToEnd();
}

}  // namespace
}  // namespace trackbed
