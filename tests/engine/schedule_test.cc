// Whose turn it is: priorities, learned run times, quotas, and what interrupted runs still hold.
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "trackbed/engine/explain.hpp"

namespace trackbed {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using Names = std::vector<std::string>;

Outcome Takes(Duration time) {
  Outcome outcome;
  outcome.takes = time;
  return outcome;
}

TaskExplanation Ask(EngineLab& lab, const RunId& run, TaskIndex task) {
  const auto explained = ExplainTask(lab.store(), run, task, lab.clock.now(), {},
                                     lab.options.tenancy, lab.options.policy);
  REQUIRE(explained.ok());
  return *explained;
}

TEST_CASE("The priority of a task and that of its run add up") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  const auto pipeline = [&](const std::string& name, int16_t priority) {
    Pipeline made = NewPipeline(name);
    made.priority = priority;
    AddTask(made, name + "-low").priority = -1;
    AddTask(made, name + "-plain");
    AddTask(made, name + "-high").priority = 3;
    for (const Task& task : made.tasks) lab.executor.Script(task.name, Takes(seconds(1)));
    return made;
  };
  lab.Submit(pipeline("a", 0));
  lab.Submit(pipeline("b", 1));
  SubmitOptions urgent;
  urgent.priority = 10;  // instead of the pipeline's
  const RunId run = lab.Submit(pipeline("c", -20), urgent);
  CHECK(lab.engine().Find(run)->submitted().priority == 10);
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"c-high/1", "c-plain/1", "c-low/1", "b-high/1",
                                             "a-high/1", "b-plain/1", "a-plain/1", "b-low/1",
                                             "a-low/1"});
  urgent.priority = kMaxPriority + 1;
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(pipeline("d", 0)), urgent);
  CHECK(refused.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(refused.status()) == "priority: found 1001, expected -1000 to 1000");
}

TEST_CASE("However much of higher priority comes, a task gets its turn") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  lab.options.policy.ageing = minutes(10);
  lab.compare_after_steps = false;
  Pipeline low = NewPipeline("low");
  AddTask(low, "low");
  lab.executor.decide = [](const AttemptSpec&) { return Takes(minutes(1)); };
  Pipeline high = NewPipeline("high");
  AddTask(high, "high").priority = 3;
  lab.Submit(high);
  lab.Step();
  const RunId run = lab.Submit(low);
  const Time submitted = lab.clock.now();
  for (int i = 0; i < 100 && lab.Stored(run).state->task(0).attempt == 0; ++i) {
    lab.Submit(high);
    lab.StepAfter(minutes(1));
  }
  const Duration waited = lab.Stored(run).state->task(0).started - submitted;
  CHECK(waited >= minutes(30));
  CHECK(waited <= minutes(32));
}

TEST_CASE(
    "Run times are learned from earlier runs, and small tasks fill the gap before a large one") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
  lab.compare_after_steps = false;
  Pipeline pipeline = NewPipeline("nightly");
  AddTask(pipeline, "holder").resources = {Slot("cpu", 3)};
  AddTask(pipeline, "large").resources = {Slot("cpu", 4)};
  AddTask(pipeline, "lengthy");
  AddTask(pipeline, "brief");
  lab.executor.Script("holder", Takes(minutes(60)));
  lab.executor.Script("large", Takes(minutes(30)));
  lab.executor.Script("lengthy", Takes(minutes(90)));
  lab.executor.Script("brief", Takes(minutes(30)));
  lab.Submit(pipeline);
  lab.Step();
  // Nothing is known yet: all are expected to run as long as each other.
  CHECK(lab.executor.StartedTasks() == Names{"holder/1", "lengthy/1"});
  CHECK(Ask(lab, lab.told[0].first, 1).expected_start == kNever);
  lab.RunToEnd();

  Names before = lab.executor.StartedTasks();
  const Time submitted = lab.clock.now();
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  before.insert(before.end(), {"holder/1", "brief/1"});
  CHECK(lab.executor.StartedTasks() == before);
  const TaskExplanation large = Ask(lab, run, 1);
  CHECK(large.situation == TaskSituation::shortage);
  CHECK(large.expected_start >= submitted + minutes(60));
  CHECK(large.expected_start <= submitted + minutes(68));
  CHECK(large.sentence == "needs 4 cpu, 0 of 4 free: 4 short; expected at " +
                              FormatTime(large.expected_start) + "; held by holder (3), brief (1)");
  CHECK(large.sentence.starts_with(lab.engine().ExplainWait(run, 1)));
  lab.clock.AdvanceTo(submitted + minutes(31));
  lab.Step();
  const TaskExplanation lengthy = Ask(lab, run, 2);
  CHECK(lengthy.situation == TaskSituation::reserved);
  CHECK(lengthy.ahead == "large");
  CHECK(lengthy.until == large.expected_start);
  CHECK(lengthy.sentence == "would fit, but would delay large, for which the room is kept from " +
                                FormatTime(large.expected_start));
  CHECK(lengthy.sentence == lab.engine().ExplainWait(run, 2));

  SECTION("an engine that takes over knows the same") {
    lab.Crash();
    REQUIRE(lab.engine().Resume(run).ok());
    lab.Step();
    CHECK(lab.executor.StartedTasks() == before);
    CHECK(lab.engine().ExplainWait(run, 2) == lengthy.sentence);
    CHECK(Ask(lab, run, 2).sentence == lengthy.sentence);
  }
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks().back() == "lengthy/1");
}

TEST_CASE("The time limit of a task stands for a run time that nobody has seen") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  Pipeline pipeline = NewPipeline("limits");
  AddTask(pipeline, "holder").timeout = minutes(30);
  AddTask(pipeline, "large").resources = {Slot("cpu", 2)};
  AddTask(pipeline, "lengthy").timeout = minutes(60);
  AddTask(pipeline, "brief").timeout = minutes(20);
  for (const Task& task : pipeline.tasks) lab.executor.Script(task.name, Outcome::Waits());
  lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.StartedTasks() == Names{"holder/1", "brief/1"});
}

TEST_CASE("Nobody uses more than the quota, and is told which") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 8), Slot("cuda.shares", 4)})};
  CHECK(QuotaResources(lab.options.nodes) == Names{"cpu", "mem", "cuda.shares"});
  Quota quota;
  quota.limit[kFirstDeviceResource] = 1500;
  const TenantIndex vision = *lab.options.tenancy.Add(kRootTenant, "vision", quota);
  quota = Quota();
  quota.max_running = 1;
  REQUIRE(lab.options.tenancy.Add(vision, "ada", quota).ok());
  REQUIRE(lab.options.tenancy.Add(vision, "bob", Quota()).ok());
  Pipeline pipeline = NewPipeline("train");
  AddTask(pipeline, "one").resources = {Slot("cuda.shares", 1)};
  AddTask(pipeline, "two").resources = {Slot("cuda.shares", 1)};
  lab.executor.Script("one", Outcome::Waits());
  lab.executor.Script("two", Outcome::Waits());
  SubmitOptions for_ada;
  for_ada.tenant = "vision/ada";
  SubmitOptions for_bob;
  for_bob.tenant = "vision/bob";
  const RunId ada = lab.Submit(pipeline, for_ada);
  const RunId bob = lab.Submit(pipeline, for_bob);
  const RunId all = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started() == Names{ada + "/one/1", all + "/one/1", all + "/two/1"});
  const TaskExplanation of_ada = Ask(lab, ada, 1);
  CHECK(of_ada.situation == TaskSituation::quota);
  CHECK(of_ada.sentence == "\"vision/ada\" may run 1 tasks at a time and runs 1");
  CHECK(lab.engine().ExplainWait(ada, 1) == of_ada.sentence);
  CHECK(Ask(lab, bob, 0).sentence ==
        "needs 1 cuda.shares; \"vision\" may use 1.5 cuda.shares and uses 1 cuda.shares");
  lab.executor.Finish(ada + "/one/1");
  lab.Step();
  CHECK(lab.executor.started().size() == 4);

  Pipeline large = NewPipeline("large");
  AddTask(large, "two-gpus").resources = {Slot("cuda.shares", 2)};
  const auto submit = [&](const SubmitOptions& options) {
    return lab.engine().Submit(std::make_shared<const Pipeline>(large), options).status();
  };
  CHECK(submit(for_bob).code() == StatusCode::kResourceExhausted);
  CHECK(Message(submit(for_bob)) ==
        "task \"two-gpus\": needs 2 cuda.shares; \"vision\" may use 1.5 cuda.shares and uses 0 "
        "cuda.shares");
  for_bob.tenant = "vision/eve";
  CHECK(submit(for_bob).code() == StatusCode::kNotFound);
  CHECK(submit({}).ok());

  SECTION("what was under way before a restart counts") {
    lab.Crash();
    REQUIRE(lab.engine().Resume(ada).ok());
    REQUIRE(lab.engine().Resume(bob).ok());
    lab.Step();
    CHECK(lab.executor.started().size() == 4);
    CHECK(Ask(lab, bob, 1).situation == TaskSituation::quota);
  }
}

TEST_CASE("Fair shares are of tenants, not of runs") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  lab.options.policy.order = QueueOrder::drf;
  REQUIRE(lab.options.tenancy.Add(kRootTenant, "a", Quota()).ok());
  REQUIRE(lab.options.tenancy.Add(kRootTenant, "b", Quota()).ok());
  Pipeline pipeline = NewPipeline("many");
  for (int i = 0; i < 4; ++i) AddTask(pipeline, "t" + std::to_string(i));
  lab.executor.decide = [](const AttemptSpec&) { return Takes(seconds(1)); };
  SubmitOptions options;
  options.tenant = "a";
  lab.Submit(pipeline, options);
  lab.Submit(pipeline, options);
  options.tenant = "b";
  const RunId of_b = lab.Submit(pipeline, options);
  lab.RunToEnd();
  const std::vector<AttemptKey> started(lab.executor.started().begin(),
                                        lab.executor.started().begin() + 8);
  CHECK(std::count_if(started.begin(), started.end(),
                      [&](const AttemptKey& key) { return key.starts_with(of_b); }) == 4);
}

// The executor of an engine that stands still whenever it is to start something.
class Standing final : public Executor {
 public:
  explicit Standing(FakeExecutor* other) : other_(other) {}
  std::vector<AttemptSpec> late;
  Status Start(const AttemptSpec& spec) override {
    late.push_back(spec);
    return absl::OkStatus();
  }
  Status Adopt(const AttemptKey& key, const std::string& folder) override {
    return other_->Adopt(key, folder);
  }
  Status Poll(std::vector<AttemptReport>* reports) override { return other_->Poll(reports); }
  Status Stop(const AttemptKey& key, StopMode mode) override { return other_->Stop(key, mode); }
  int WakeDescriptor() const override { return -1; }

 private:
  FakeExecutor* other_;
};

TEST_CASE("What an engine meant to start, and stood still, does not start in room of others") {
  EngineLab lab;
  Standing standing(&lab.executor);
  lab.options.executor = &standing;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  Pipeline pipeline = NewPipeline("p");
  AddTask(pipeline, "a");
  lab.executor.Script("a", Outcome::Waits());
  const RunId first = lab.Submit(pipeline);
  lab.compare_after_steps = false;
  lab.Step();
  REQUIRE(standing.late.size() == 1);

  // Another has the store once the lease has ended, and somebody else's run the room.
  const bool is_known_dead = GENERATE(false, true);
  const bool somebody_looked = GENERATE(false, true);
  CAPTURE(is_known_dead, somebody_looked);
  if (is_known_dead) lab.options.is_gone = [](const LeaseHolder&) { return true; };
  lab.process().Die();
  lab.Close();
  lab.options.executor = &lab.executor;
  lab.clock.Advance(std::chrono::minutes(1));
  if (somebody_looked) {
    lab.Open();
    lab.Close();
  }
  const RunId second = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started() == Names{second + "/a/1"});
  if (!is_known_dead) CHECK_FALSE(lab.executor.Start(standing.late[0]).ok());
  CHECK(lab.executor.MostUsed("cpu") == 1000);

  // It was no try of the task's; of one that is dead it is still to be made.
  lab.executor.Finish(second + "/a/1");
  lab.Step();
  REQUIRE(lab.engine().Resume(first).ok());
  lab.Step();
  const AttemptKey again = first + (is_known_dead ? "/a/1" : "/a/2");
  CHECK(lab.executor.started().back() == again);
  lab.executor.Finish(again);
  lab.Step();
  CHECK(lab.StatusOf(first) == "succeeded");
}

TEST_CASE("What interrupted runs have under way is not given to others") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4), Slot("cuda.device", 2)})};
  Pipeline pipeline = NewPipeline("gpu");
  AddTask(pipeline, "train").resources = {Slot("cpu", 1), Slot("cuda.device", 1)};
  lab.executor.Script("train", Outcome::Waits());
  const RunId first = lab.Submit(pipeline);
  lab.Step();
  lab.Crash();
  const RunId second = lab.Submit(pipeline);
  const RunId third = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started() == Names{first + "/train/1", second + "/train/1"});
  CHECK(lab.executor.spec(second + "/train/1").devices[0].id !=
        lab.executor.spec(first + "/train/1").devices[0].id);
  CHECK(lab.engine().ExplainWait(third, 0) == "needs 1 cuda.device, 0 of 2 free: 1 short");
  CHECK(Ask(lab, third, 0).waits_for == Names{first + "/train", second + "/train"});

  SECTION("until they have ended") {
    lab.executor.Finish(first + "/train/1");
    lab.Step();
    CHECK(lab.executor.started().back() == third + "/train/1");
    // Whoever takes the run up later still learns how it ended.
    REQUIRE(lab.engine().Resume(first).ok());
    lab.Step();
    lab.Step();
    CHECK(lab.StatusOf(first) == "succeeded");
  }
  SECTION("and are not counted twice when somebody takes the run up") {
    REQUIRE(lab.engine().Resume(first).ok());
    lab.Step();
    CHECK(lab.executor.started().size() == 2);
    lab.executor.Finish(first + "/train/1");
    lab.Step();
    CHECK(lab.executor.started().back() == third + "/train/1");
    CHECK(lab.StatusOf(first) == "succeeded");
  }
  SECTION("and may be cancelled") {
    REQUIRE(lab.engine().Cancel(first).ok());
    lab.Step();
    lab.Step();
    CHECK(lab.StatusOf(first) == "cancelled");
    CHECK(lab.executor.started().back() == third + "/train/1");
  }
  SECTION("even where there is less than they hold") {
    lab.Crash();
    lab.options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
    Pipeline small = NewPipeline("small");
    AddTask(small, "small");
    const RunId run = lab.Submit(small);
    lab.Step();
    CHECK(lab.executor.started().size() == 2);
    CHECK(lab.engine().ExplainWait(run, 0) ==
          "attempts found running hold more than there is; nothing starts until some have ended");
    CHECK(Ask(lab, run, 0).sentence == lab.engine().ExplainWait(run, 0));
    lab.executor.Finish(first + "/train/1");
    lab.executor.Finish(second + "/train/1");
    lab.Step();
    CHECK(lab.executor.started().back() == run + "/small/1");
  }
}

TEST_CASE("An attempt that was intended and never started holds nothing") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  Pipeline pipeline = NewPipeline("early");
  AddTask(pipeline, "a");
  const RunId first = lab.Submit(pipeline);
  // The intent becomes durable, and the process dies before the executor is asked.
  lab.process().DieAt(1, FaultyStore::Point::after);
  CHECK_FALSE(lab.engine().Step().ok());
  lab.Crash();
  REQUIRE(lab.executor.started().empty());
  REQUIRE(lab.StateOf(first, "a") == "running");
  const RunId second = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(second) == "succeeded");
  // The run can still be taken up, with the same attempt.
  REQUIRE(lab.engine().Resume(first).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(first) == "succeeded");
  CHECK(lab.executor.attempts().contains(first + "/a/1"));
}

TEST_CASE("What the engine cannot do is refused when it is opened") {
  EngineLab lab;
  const auto refused = [&](auto change) {
    lab.options.policy = GroupPolicy();
    change(lab.options.policy);
    return lab.TryOpen().code() == StatusCode::kInvalidArgument;
  };
  CHECK(refused([](GroupPolicy& policy) { policy.order = QueueOrder::lifo; }));
  CHECK_FALSE(refused([](GroupPolicy& policy) { policy.backfill = Backfill::strict; }));
}

TEST_CASE("Where nobody may overtake, it is said who is before") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  lab.options.policy.backfill = Backfill::strict;
  Pipeline pipeline = NewPipeline("strict");
  AddTask(pipeline, "holder");
  AddTask(pipeline, "large").resources = {Slot("cpu", 2)};
  AddTask(pipeline, "small").priority = -1;
  lab.executor.Script("holder", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.running() == 1);
  const TaskExplanation small = Ask(lab, run, 2);
  CHECK(small.situation == TaskSituation::order);
  CHECK(small.sentence == "large is before it and waits for room; nobody may overtake");
  CHECK(lab.engine().ExplainWait(run, 2) == small.sentence);
}

}  // namespace
}  // namespace trackbed
