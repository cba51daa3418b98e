// Tasks that run once for each batch of a list: what batches get, how many run at once, what comes
// of the results, and what cancelling, retrying and taking over do.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "engine/run_times.hpp"
#include "support/engine_lab.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/run_queries.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

// list -> score (over what `over` says) -> report
Pipeline Scores(std::string over, uint32_t batch = 1) {
  Pipeline pipeline = NewPipeline("scores");
  AddTask(pipeline, "list");
  if (over.find("tasks.list") != std::string::npos) {
    pipeline.tasks[0].outputs = {{"items", ValueType::string}, {"n", ValueType::integer}};
  }
  Task& score = AddTask(pipeline, "score", {"list"});
  score.map = TaskMap{std::move(over), batch, 0, 0};
  score.outputs = {{"value", ValueType::integer}};
  AddTask(pipeline, "report", {"score"}).command = {
      "report ${{ tasks.score.outputs.value }} ${{ tasks.score.state }}"};
  return pipeline;
}

constexpr char kItems[] = "${{ tasks.list.outputs.items }}";

void ScriptList(EngineLab& lab, const std::string& items) {
  lab.executor.Script("list", Outcome::Success("items=" + items + "\nn=3\n"));
}

// Each batch of every run of "score" ends as this says.
void ScriptBatches(EngineLab& lab, const std::function<Outcome(const AttemptSpec&)>& outcome) {
  lab.executor.decide = [outcome](const AttemptSpec& spec) -> std::optional<Outcome> {
    if (spec.key.find("/score/") == std::string::npos) return std::nullopt;
    return outcome(spec);
  };
}

std::string Variable(const AttemptSpec& spec, const std::string& name) {
  for (const EnvironmentVariable& variable : spec.environment) {
    if (variable.name == name) return variable.value;
  }
  return "unset";
}

TEST_CASE("A map runs its task for each item and hands the results on in order") {
  EngineLab lab;
  Pipeline pipeline = Scores(kItems);
  pipeline.tasks[1].command = {
      "score ${{ item }} ${{ item.index }} of ${{ run.id }} by ${{ "
      "task.name }} in ${{ run.pipeline }}"};
  ScriptList(lab, R"(["a b",2,{"x":[null]},0.5])");
  ScriptBatches(lab, [](const AttemptSpec& spec) {
    const std::string batch = spec.key.substr(0, spec.key.rfind('/'));
    Outcome outcome = Outcome::Success("value=" + batch.substr(batch.rfind('/') + 1) + "0");
    outcome.takes = seconds(9 - std::stoi(batch.substr(batch.rfind('/') + 1)));  // the last first
    return outcome;
  });
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:succeeded report:succeeded");
  CHECK(lab.StatesOf(run + "/score/1") == "0:succeeded 1:succeeded 2:succeeded 3:succeeded");
  CHECK(lab.executor.spec(run + "/report/1").command[0] == "report '[0,10,20,30]' succeeded");
  const auto command = [&](int batch) {
    return lab.executor.spec(run + "/score/1/" + std::to_string(batch) + "/1").command[0];
  };
  const std::string end = " of " + run + " by score in scores";
  CHECK(command(0) == "score 'a b' 0" + end);
  CHECK(command(1) == "score 2 1" + end);
  CHECK(command(2) == "score '{\"x\":[null]}' 2" + end);
  CHECK(command(3) == "score 0.5 3" + end);
  const AttemptSpec& third = lab.executor.spec(run + "/score/1/2/1");
  CHECK(Variable(third, "TRACKBED_MAP_ITEMS") == R"([{"x":[null]}])");
  CHECK(Variable(third, "TRACKBED_MAP_COUNT") == "1");
  CHECK(Variable(third, "TRACKBED_MAP_FIRST") == "unset");  // equal items are equal work
  CHECK(third.folder == "/home/lab/runs/" + run + "/score/1/2/1");
  CHECK(lab.executor.attempts().count(run + "/score/1") == 0);  // it holds nothing itself
}

TEST_CASE("Batches share the items out") {
  struct Case {
    TaskMap map;
    std::string items;
    std::vector<std::string> batches;  // FIRST+COUNT, or the items
  };
  const Case cases[] = {
      {{"7", 3, 0, 0}, "[]", {"0+3", "3+3", "6+1"}},
      {{"${{ tasks.list.outputs.n }}", 2, 0, 0}, "[]", {"0+2", "2+1"}},
      {{"2.0", 5, 0, 0}, "[]", {"0+2"}},
      {{"10", 1, 4, 0}, "[]", {"0+3", "3+3", "6+3", "9+1"}},
      {{"3", 1, 64, 0}, "[]", {"0+1", "1+1", "2+1"}},
      {{kItems, 2, 0, 0}, R"(["a","b","c"])", {R"(["a","b"])", R"(["c"])"}},
      {{"[true, [1, 2]]", 2, 0, 0}, "[]", {"[true,[1,2]]"}},
      {{kItems, 2, 0, 0}, "[]", {}},
      {{"0", 2, 0, 0}, "[]", {}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.map.over, c.map.batch, c.map.batches);
    EngineLab lab;
    ScriptList(lab, c.items);
    ScriptBatches(lab, [](const AttemptSpec&) { return Outcome::Success("value=1"); });
    Pipeline pipeline = Scores(kItems);
    pipeline.tasks[1].map = c.map;
    const RunId run = lab.Submit(pipeline);
    lab.RunToEnd();
    CHECK(lab.StatusOf(run) == "succeeded");
    std::vector<std::string> seen;
    for (size_t i = 0; i < c.batches.size(); ++i) {
      const AttemptSpec& spec = lab.executor.spec(run + "/score/1/" + std::to_string(i) + "/1");
      const std::string items = Variable(spec, "TRACKBED_MAP_ITEMS");
      seen.push_back(items != "unset" ? items
                                      : Variable(spec, "TRACKBED_MAP_FIRST") + "+" +
                                            Variable(spec, "TRACKBED_MAP_COUNT"));
    }
    CHECK(seen == c.batches);
    CHECK(lab.executor.started().size() == c.batches.size() + 2);
    std::string list = "[";
    for (size_t i = 0; i < c.batches.size(); ++i) list += i == 0 ? "1" : ",1";
    CHECK(lab.executor.spec(run + "/report/1").command[0] ==
          "report " + (c.batches.empty() ? "'[]'" : "'" + list + "]'") + " succeeded");
  }
}

TEST_CASE("What is no list fails the task before anything runs") {
  const std::pair<std::string, std::string> cases[] = {
      {"abc", "map.over: found \"abc\", expected a JSON list or a whole number"},
      {"{}", "map.over: found \"{}\", expected a JSON list or a whole number"},
      {"[1", "map.over: found \"[1\", expected a JSON list or a whole number"},
      {"-1", "map.over: found \"-1\", expected a JSON list or a whole number"},
      {"1.5", "map.over: found \"1.5\", expected a JSON list or a whole number"},
      {"true", "map.over: found \"true\", expected a JSON list or a whole number"},
      {"5000000000", "map.over: found 5000000000 items, expected at most 1000000000"},
      {"900000000",
       "map: 900000000 items in batches of 1 are 900000000 batches, expected at most 10000000; a "
       "larger \"batch\" makes fewer"},
      {std::string(3000, '[') + std::string(3000, ']'),
       "map.over: found a list nested more than 100 deep"},
      {"[\"" + std::string(200'000, 'x') + "\"]", ""},
  };
  for (const auto& [items, message] : cases) {
    CAPTURE(items.substr(0, 50));
    EngineLab lab;
    ScriptList(lab, items);
    ScriptBatches(lab, [](const AttemptSpec&) { return Outcome::Success("value=1"); });
    const RunId run = lab.Submit(Scores(kItems));
    lab.RunToEnd();
    CHECK(lab.StatesOf(run) == "list:succeeded score:failed report:skipped");
    CHECK(lab.executor.started().size() == 1);
    if (message.empty()) {
      CHECK(lab.FailureOf(run, "score") ==
            "bad_specification: batch 0 of 1 of run " + run +
                "/score/1: map: the items of batch 0 are 200004 bytes of JSON, expected at most "
                "100000; make batches smaller, or go over a number and take items from a file");
    } else {
      CHECK(lab.FailureOf(run, "score") == "bad_specification: " + message);
      CHECK_FALSE(LoadRun(lab.store(), run + "/score/1").ok());
    }
  }
}

TEST_CASE("No more batches are under way than a map says") {
  EngineLab lab;
  Pipeline pipeline = Scores("20");
  pipeline.tasks[1].map.Mutable().concurrency = 3;
  pipeline.tasks[1].retry.max_attempts = 2;
  pipeline.tasks[1].retry.delay = seconds(30);
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 8)})};
  size_t most = 0;
  ScriptBatches(lab, [&](const AttemptSpec& spec) {
    Outcome outcome = Outcome::Success("value=1");
    // A batch that waits for its next try has its place.
    if (spec.key.ends_with("/4/1")) outcome = Outcome::Failure();
    outcome.takes = seconds(1);
    most = std::max(most, static_cast<size_t>(lab.executor.running()) + 1);
    return outcome;
  });
  const RunId run = lab.Submit(pipeline);
  for (int i = 0; i < 3; ++i) lab.StepAfter(seconds(i));
  const RunId batches = run + "/score/1";
  CHECK(lab.engine().ExplainWait(batches, 10) ==
        "waits for one of the 3 batches that may be under way at once");
  CHECK(lab.engine().ExplainWait(batches, 0).empty());
  const auto asked = ExplainTask(lab.store(), batches, 10, lab.clock.now(), nullptr);
  REQUIRE(asked.ok());
  CHECK(asked->situation == TaskSituation::batches);
  CHECK(asked->sentence == "waits for one of the 3 batches that may be under way at once");
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(most == 3);
  CHECK(lab.executor.started().size() == 1 + 21 + 1);
}

TEST_CASE("Batches wait for slots as tasks do, and the mapped task holds none") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
  Pipeline pipeline = Scores("9");
  pipeline.tasks[1].resources = {Slot("cpu", 2)};
  ScriptBatches(lab, [&](const AttemptSpec&) {
    Outcome outcome = Outcome::Success("value=1");
    outcome.takes = seconds(1);
    return outcome;
  });
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.MostUsed("cpu") == 4000);

  pipeline.tasks[1].resources = {Slot("cpu", 5)};
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions());
  CHECK(refused.status().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("A batch that fails is tried again by itself, and fails the map only at the end") {
  EngineLab lab;
  Pipeline pipeline = Scores("5");
  pipeline.tasks[1].retry.max_attempts = 2;
  bool mended = false;
  ScriptBatches(lab, [&](const AttemptSpec& spec) {
    if (spec.key.find("/1/1/1") != std::string::npos) return Outcome::Failure();
    const bool bad = spec.key.find("/score/1/3/") != std::string::npos ||
                     spec.key.find("/score/1/4/") != std::string::npos;
    return bad && !mended ? Outcome::Failure(7) : Outcome::Success("value=1");
  });
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:failed report:skipped");
  CHECK(lab.StatesOf(run + "/score/1") == "0:succeeded 1:succeeded 2:succeeded 3:failed 4:failed");
  CHECK(lab.FailureOf(run, "score") ==
        "exit_code: batch 3 of 5 of run " + run + "/score/1, and 1 more");
  CHECK(lab.Stored(run).state->Failure(1)->exit_code == 7);

  // A retry runs again what failed, and no more.
  mended = true;
  const size_t started = lab.executor.started().size();
  REQUIRE(lab.engine().Retry(run, {}).ok());
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:succeeded report:succeeded");
  CHECK(lab.executor.started().size() == started + 3);
  CHECK(lab.Stored(run).state->MapRun(1) == run + "/score/1");
  CHECK_FALSE(LoadRun(lab.store(), run + "/score/2").ok());

  // One of a map that succeeded runs all of it.
  REQUIRE(lab.engine().Retry(run, {"score"}).ok());
  lab.RunToEnd();
  CHECK(lab.executor.started().size() == started + 3 + 6);
  CHECK(lab.Stored(run).state->MapRun(1) == run + "/score/3");
}

TEST_CASE("One batch of a map is run again, and what comes after the map") {
  EngineLab lab;
  int round = 1;
  bool broken = false;
  ScriptBatches(lab, [&](const AttemptSpec& spec) {
    if (broken && spec.key.find("/score/1/2/") != std::string::npos) return Outcome::Failure();
    return Outcome::Success("value=" + std::to_string(round));
  });
  const RunId run = lab.Submit(Scores("4"));
  broken = GENERATE(false, true);  // of a map that succeeded, or failed in another batch
  CAPTURE(broken);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == (broken ? "failed" : "succeeded"));
  const size_t started = lab.executor.started().size();

  const auto refused = [&](const std::string& task) {
    return std::string(Message(lab.engine().Retry(run, {task})));
  };
  CHECK(refused("score[4]") == "task \"score\" of run " + run + " has 4 batches, from 0 on");
  CHECK(refused("list[0]") == "task \"list\" of run " + run + " has no batches");
  CHECK(refused("scores[0]") == "run " + run + " has no task \"scores\"; did you mean \"score\"?");

  round = 2;
  broken = false;
  REQUIRE(lab.engine().Retry(run, {"score[1]"}).ok());
  SECTION("at once") {}
  SECTION("by the next engine, when this one dies before the batch has begun") {
    lab.Crash();
    lab.Open();
    REQUIRE(lab.engine().Resume(run).ok());
  }
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:succeeded report:succeeded");
  const bool two_failed = lab.Stored(run + "/score/1").state->task(2).attempt == 2;
  CHECK(lab.executor.started().size() == started + 2 + (two_failed ? 1 : 0));
  CHECK(lab.Stored(run).state->MapRun(1) == run + "/score/1");
  CHECK(lab.Stored(run + "/score/1").state->task(0).attempt == 1);
  CHECK(lab.Stored(run + "/score/1").state->task(1).attempt == 2);
  const uint32_t reports = lab.Stored(run).state->task(2).attempt;
  CHECK(lab.executor.spec(run + "/report/" + std::to_string(reports)).command[0] ==
        (two_failed ? "report '[1,2,2,1]' succeeded" : "report '[1,2,1,1]' succeeded"));

  // The map as a whole is another thing.
  REQUIRE(lab.engine().Retry(run, {"score[1]", "score"}).ok());
  lab.RunToEnd();
  CHECK(lab.Stored(run).state->MapRun(1) == run + "/score/3");
}

TEST_CASE("Batches are expected to run as long as earlier ones of the task") {
  EngineLab lab;
  ScriptBatches(lab, [](const AttemptSpec&) {
    Outcome outcome = Outcome::Success("value=1");
    outcome.takes = seconds(80);
    return outcome;
  });
  const Pipeline pipeline = Scores("3");
  const RunId first = lab.Submit(pipeline);
  lab.RunToEnd();
  const auto estimate = [&](const RunId& run, size_t batches) {
    RunRecord record = *lab.store().FindRun(first);
    record.number = 0;
    record.id = run + "/score/1";
    record.pipeline = "scores/score";
    record.submitted = lab.clock.Now();
    Pipeline of_batches = NewPipeline(record.pipeline);
    for (size_t i = 0; i < batches; ++i) AddTask(of_batches, std::to_string(i));
    return *EstimateRunTimes(lab.store(), record, of_batches);
  };
  CHECK(estimate("scores-x", 2) == std::vector<Duration>(2, seconds(80)));
  CHECK(estimate("scores-x", 0).empty());
}

TEST_CASE("After a retry of what it depends on, a map is made anew") {
  EngineLab lab;
  bool mended = false;
  lab.executor.decide = [&](const AttemptSpec& spec) -> std::optional<Outcome> {
    if (spec.key.find("/list/") != std::string::npos) {
      return Outcome::Success(mended ? "items=[1,2,3]\nn=3\n" : "items=[1,2]\nn=2\n");
    }
    if (spec.key.find("/score/") == std::string::npos) return std::nullopt;
    return mended ? Outcome::Success("value=1") : Outcome::Failure();
  };
  const RunId run = lab.Submit(Scores(kItems));
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "failed");
  mended = true;
  REQUIRE(lab.engine().Retry(run, {"list"}).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.StatesOf(run + "/score/2") == "0:succeeded 1:succeeded 2:succeeded");
}

TEST_CASE("A map that may fail does not fail its run") {
  EngineLab lab;
  Pipeline pipeline = Scores("2");
  pipeline.tasks[1].allow_failure = true;
  pipeline.tasks[2].command = {"report ${{ tasks.score.state }}"};
  ScriptBatches(lab, [&](const AttemptSpec&) { return Outcome::Failure(); });
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:failed report:succeeded");
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("Cancelling a run cancels its maps, and resuming it goes on with them") {
  EngineLab lab;
  bool stuck = true;
  ScriptBatches(lab, [&](const AttemptSpec& spec) {
    if (spec.key.find("/score/1/0/") != std::string::npos) return Outcome::Success("value=1");
    return stuck ? Outcome::Waits() : Outcome::Success("value=2");
  });
  const RunId run = lab.Submit(Scores("9"));
  lab.Step();
  lab.Step();
  CHECK(lab.executor.running() == 4);
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:cancelled report:cancelled");
  CHECK(lab.StatusOf(run + "/score/1") == "cancelled");
  CHECK(lab.executor.running() == 0);

  stuck = false;
  REQUIRE(lab.engine().Resume(run).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.Stored(run).state->MapRun(1) == run + "/score/1");
  CHECK(lab.Stored(run + "/score/1").state->task(0).attempt == 1);  // it had succeeded
}

TEST_CASE("Cancelling the run of a map fails its task") {
  EngineLab lab;
  bool stuck = true;
  ScriptBatches(lab, [&](const AttemptSpec&) {
    return stuck ? Outcome::Waits() : Outcome::Success("value=2");
  });
  const RunId run = lab.Submit(Scores("3"));
  lab.Step();
  REQUIRE(lab.engine().Cancel(run + "/score/1").ok());
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "list:succeeded score:failed report:skipped");
  CHECK(lab.FailureOf(run, "score") ==
        "cancelled: run " + run + "/score/1 of its batches was cancelled");
  stuck = false;
  REQUIRE(lab.engine().Retry(run, {}).ok());
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.Stored(run).state->MapRun(1) == run + "/score/1");
}

TEST_CASE("The run of a map is not taken up, continued or retried by itself") {
  EngineLab lab;
  ScriptBatches(lab, [&](const AttemptSpec&) { return Outcome::Failure(); });
  const RunId run = lab.Submit(Scores("3"));
  lab.RunToEnd();
  for (const Status& status :
       {lab.engine().Resume(run + "/score/1"), lab.engine().Retry(run + "/score/1", {}),
        lab.engine().Cancel(run + "/score/1")}) {
    CHECK(status.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(status) ==
          "run " + run + "/score/1 is of a map; it goes on and ends with run " + run);
  }
}

TEST_CASE("Batches and whole maps are taken from the cache") {
  EngineLab lab;
  Pipeline pipeline = Scores(kItems);
  pipeline.tasks[1].cache = CacheMode::automatic;
  pipeline.tasks[1].command = {"score ${{ item }}"};
  std::string items = "[1,2,3]";
  lab.executor.decide = [&](const AttemptSpec& spec) -> std::optional<Outcome> {
    if (spec.key.find("/list/") != std::string::npos) {
      return Outcome::Success("items=" + items + "\nn=3\n");
    }
    if (spec.key.find("/score/") == std::string::npos) return std::nullopt;
    const std::string first = std::to_string(std::stoi(spec.command[0].substr(6)));
    Outcome outcome = Outcome::Success("value=" + first);
    outcome.output_digest = "sha256:" + first;
    return outcome;
  };
  const RunId first = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.executor.started().size() == 5);

  const RunId second = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(second) == "list:succeeded score:cached report:succeeded");
  CHECK(lab.executor.started().size() == 7);
  CHECK_FALSE(LoadRun(lab.store(), second + "/score/1").ok());
  CHECK(lab.executor.spec(second + "/report/1").inputs[0].host_path ==
        "/home/lab/runs/" + first + "/score/1/outputs");
  CHECK(lab.executor.spec(second + "/report/1").command[0] == "report '[1,2,3]' succeeded");

  items = "[0,1,3]";  // two of them are known, one of these at another place
  const RunId third = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(third) == "list:succeeded score:succeeded report:succeeded");
  CHECK(lab.StatesOf(third + "/score/1") == "0:succeeded 1:cached 2:cached");
  CHECK(lab.executor.spec(third + "/report/1").command[0] == "report '[0,1,3]' succeeded");

  // Another size of batches, or no cache at all.
  items = "[1,2,3]";
  pipeline.tasks[1].map.Mutable().batch = 3;
  pipeline.tasks[1].command = {"score 9 ${{ items }}"};
  const RunId fourth = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StateOf(fourth, "score") == "succeeded");
  SubmitOptions options;
  options.use_cache = false;
  const RunId fifth = lab.Submit(pipeline, options);
  lab.RunToEnd();
  CHECK(lab.StateOf(fifth, "score") == "succeeded");
  CHECK(lab.StatesOf(fifth + "/score/1") == "0:succeeded");
}

TEST_CASE("Equal maps under way at once run once") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("twins");
  for (const char* name : {"one", "two"}) {
    Task& task = AddTask(pipeline, name);
    task.command = {"same ${{ item }}"};
    task.cache = CacheMode::automatic;
    task.map = TaskMap{"4", 1, 0, 0};
  }
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "one:succeeded two:cached");
  CHECK(lab.executor.started().size() == 4);
}

TEST_CASE("A batch sees what the mapped task depends on") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("inputs");
  pipeline.environment = {{"TOKEN", "secret://env/TOKEN"}};
  lab.secrets.values["env/TOKEN"] = "hunter2";
  AddTask(pipeline, "first").outputs = {{"rate", ValueType::number}, {"big", ValueType::string}};
  AddTask(pipeline, "files", {"first"});
  AddTask(pipeline, "nothing", {"first"});
  Task& task = AddTask(pipeline, "work", {"files", "nothing"});
  task.map = TaskMap{"2", 1, 0, 0};
  task.command = {"work ${{ tasks.first.outputs.rate }} ${{ tasks.nothing.state }}"};
  task.environment = {{"PLACE", "${{ item.index }}/${{ item.count }}"}};
  lab.executor.Script("first", Outcome::Success("rate=0.5\nbig=xxx\n"));
  lab.executor.Script("files", Outcome::Files("sha256:files"));
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.StatusOf(run) == "succeeded");
  const AttemptSpec& spec = lab.executor.spec(run + "/work/1/1/1");
  CHECK(spec.command[0] == "work 0.5 succeeded");
  CHECK(Variable(spec, "PLACE") == "1/1");
  CHECK(Variable(spec, "TOKEN") == "hunter2");
  REQUIRE(spec.inputs.size() == 2);
  CHECK(spec.inputs[0].name == "files");
  CHECK(spec.inputs[0].host_path == "/home/lab/runs/" + run + "/files/1/outputs");
  CHECK(spec.inputs[1].host_path.empty());
  CHECK(spec.pipeline_folder == "/home/lab/pipelines/inputs");
  // Only what is asked for is kept with the run of the map.
  const StoredRun batches = lab.Stored(run + "/work/1");
  for (const MapBinding::Upstream& upstream : batches.state->map()->upstream) {
    if (upstream.result) CHECK_FALSE(upstream.result->outputs.contains("big"));
  }
}

TEST_CASE("Outputs of batches that are too much together fail the map, and say so") {
  EngineLab lab;
  Pipeline pipeline = Scores("20");
  pipeline.tasks[1].outputs = {{"text", ValueType::string}};
  pipeline.tasks[2].command = {"report"};
  ScriptBatches(
      lab, [](const AttemptSpec&) { return Outcome::Success("text=" + std::string(60'000, 'x')); });
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.FailureOf(run, "score") ==
        "bad_output: the outputs of its 20 batches are more than 1048576 bytes together; larger "
        "results belong into files in $TRACKBED_OUTPUTS");
  CHECK(lab.StatusOf(run + "/score/1") == "succeeded");
}

TEST_CASE("The output folders of batches are put together in order") {
  EngineLab lab;
  std::vector<std::string> links;
  Status answer = absl::OkStatus();
  lab.options.link_outputs = [&](const std::string& from, const std::string& to) {
    if (!answer.ok()) return answer;
    links.push_back(from + " -> " + to);
    return absl::OkStatus();
  };
  ScriptBatches(lab, [](const AttemptSpec& spec) {
    Outcome outcome = Outcome::Success("value=1");
    if (!spec.key.ends_with("/1/1")) outcome.output_digest = "sha256:" + spec.key;
    return outcome;
  });
  const RunId run = lab.Submit(Scores("11"));
  SECTION("all of them") {
    lab.RunToEnd();
    CHECK(lab.StatusOf(run) == "succeeded");
    REQUIRE(links.size() == 10);  // one left nothing
    const std::string folder = "/home/lab/runs/" + run + "/score/1/";
    CHECK(links[0] == folder + "0/1/outputs -> " + folder + "outputs/00");
    CHECK(links[1] == folder + "2/1/outputs -> " + folder + "outputs/02");
    CHECK(links[9] == folder + "10/1/outputs -> " + folder + "outputs/10");
    CHECK(lab.executor.spec(run + "/report/1").inputs[0].host_path == folder + "outputs");
  }
  SECTION("or the map fails") {
    answer = FailedPrecondition("no such disk");
    lab.RunToEnd();
    CHECK(lab.FailureOf(run, "score") == "bad_output: no such disk");
  }
  SECTION("and a full disk stops the engine, which goes on when there is room") {
    answer = ResourceExhausted("full");
    Status status = absl::OkStatus();
    for (int i = 0; i < 20 && status.ok(); ++i) {
      status = lab.engine().Step();
      lab.clock.Advance(seconds(1));
    }
    CHECK(status.code() == StatusCode::kResourceExhausted);
    lab.Crash();
    answer = absl::OkStatus();
    lab.Open();
    REQUIRE(lab.engine().Resume(run).ok());
    lab.RunToEnd();
    CHECK(lab.StatusOf(run) == "succeeded");
    CHECK(links.size() == 10);
    CHECK(lab.executor.started().size() == 13);
  }
}

TEST_CASE("Lists of runs and questions tell of maps where they are asked about") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  ScriptBatches(lab, [](const AttemptSpec&) { return Outcome::Waits(); });
  const RunId run = lab.Submit(Scores("3"));
  lab.Step();
  CHECK(lab.store().ListRuns(10)->size() == 1);
  CHECK(lab.store().ListRuns(10, RunsListed::all)->size() == 2);
  CHECK(*ResolveRun(lab.store(), "latest") == run);
  const auto parent = ExplainTask(lab.store(), run, 1, lab.clock.now(), nullptr);
  REQUIRE(parent.ok());
  CHECK(parent->situation == TaskSituation::running);
  CHECK_THAT(parent->sentence, Catch::Contains("of its batches, run " + run + "/score/1"));
  const auto batch = ExplainTask(lab.store(), run + "/score/1", 2, lab.clock.now(), nullptr);
  REQUIRE(batch.ok());
  CHECK(batch->situation == TaskSituation::shortage);
  REQUIRE(lab.engine().Cancel(run).ok());
  lab.RunToEnd();
}

TEST_CASE("Slots that batches of interrupted maps hold are not given twice") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  ScriptBatches(lab, [](const AttemptSpec&) { return Outcome::Waits(); });
  const RunId run = lab.Submit(Scores("2"));
  lab.Step();
  CHECK(lab.executor.running() == 2);
  lab.Crash();
  lab.Open();
  Pipeline other = NewPipeline("other");
  AddTask(other, "more");
  lab.Submit(other);
  lab.Step();
  CHECK(lab.executor.running() == 2);
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  for (const char* batch : {"0", "1"}) {
    lab.executor.Finish(run + "/score/1/" + batch + "/1", Outcome::Success("value=1"));
  }
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("Whenever the engine dies, a map ends the same and no batch runs twice") {
  for (const bool cancel : {false, true}) {
    for (const auto point : {FaultyStore::Point::before, FaultyStore::Point::after}) {
      bool died = true;
      int64_t write = 1;
      for (; died; ++write) {
        CAPTURE(cancel, write, point == FaultyStore::Point::before);
        EngineLab lab;
        lab.compare_after_steps = false;
        Pipeline pipeline = Scores(kItems, 2);
        pipeline.tasks[1].map.Mutable().concurrency = 2;
        pipeline.tasks[1].retry.max_attempts = 2;
        std::set<std::string> linked;
        lab.options.link_outputs = [&](const std::string&, const std::string& to) {
          linked.insert(to.substr(to.rfind('/') + 1));
          return absl::OkStatus();
        };
        ScriptList(lab, "[1,2,3,4,5,6,7]");
        ScriptBatches(lab, [](const AttemptSpec& spec) {
          Outcome outcome =
              spec.key.ends_with("/2/1") ? Outcome::Failure() : Outcome::Success("value=5");
          outcome.output_digest = "sha256:x";
          outcome.takes = seconds(1);
          return outcome;
        });
        // What is durable when a batch starts says that it runs.
        lab.executor.on_start = [&](const AttemptSpec& spec) {
          const size_t attempt = spec.key.rfind('/');
          const size_t task = spec.key.rfind('/', attempt - 1);
          CHECK(lab.StateOf(spec.key.substr(0, task),
                            spec.key.substr(task + 1, attempt - task - 1)) == "running");
        };
        const RunId run = lab.Submit(pipeline);
        lab.process().DieAt(write, point);
        died = false;
        for (int i = 0; i < 1000; ++i) {
          if (!lab.engine().Step().ok()) {
            died = true;
            lab.Crash();
            lab.Open();
            if (lab.StatusOf(run) != "running") break;
            REQUIRE((cancel ? lab.engine().Cancel(run) : lab.engine().Resume(run)).ok());
            continue;
          }
          lab.CompareWithStore();
          if (!lab.engine().HasActiveRuns()) break;
          lab.clock.AdvanceTo(lab.NextTime());
        }
        if (died && cancel && lab.StatusOf(run) == "cancelled") {
          CHECK(lab.executor.running() == 0);
          REQUIRE(lab.engine().Resume(run).ok());
          lab.RunToEnd();
        }
        CHECK(lab.StatesOf(run) == "list:succeeded score:succeeded report:succeeded");
        CHECK(lab.Stored(run).state->Result(1)->outputs.at("value") == Value("[5,5,5,5]"));
        CHECK(linked == std::set<std::string>{"0", "1", "2", "3"});
        const std::vector<AttemptKey>& started = lab.executor.started();
        CHECK(std::set<AttemptKey>(started.begin(), started.end()).size() == started.size());
        if (!cancel) CHECK(started.size() == 7);  // list, four batches and a second try, report
        CHECK(lab.executor.running() == 0);
      }
      CHECK(write > 8);
    }
  }
}

}  // namespace
}  // namespace trackbed
