// What runs, in which order, and what comes of it.
#include "trackbed/engine/engine.hpp"

#include <string>
#include <vector>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

using Names = std::vector<std::string>;

TEST_CASE("A pipeline without tasks succeeds") {
  EngineLab lab;
  const RunId run = lab.Submit(NewPipeline("empty"));
  lab.Step();
  CHECK_FALSE(lab.engine().IsActive(run));
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A chain runs in order") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("chain");
  AddTask(pipeline, "c", {"b"});  // not in the order of the document
  AddTask(pipeline, "b", {"a"});
  AddTask(pipeline, "a");
  const RunId run = lab.Submit(pipeline);
  CHECK(lab.engine().IsActive(run));
  CHECK(lab.engine().HasActiveRuns());
  CHECK(lab.executor.started().empty());  // nothing happens but in Step
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "b/1", "c/1"});
  CHECK(lab.executor.most_running() == 1);
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A diamond runs its middle at once and its end once") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("diamond");
  AddTask(pipeline, "split");
  AddTask(pipeline, "left", {"split"});
  AddTask(pipeline, "right", {"split"});
  AddTask(pipeline, "join", {"left", "right"});
  lab.executor.Script("left", Outcome::Waits());
  lab.executor.Script("right", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.StartedTasks() == Names{"split/1", "left/1", "right/1"});
  CHECK(lab.executor.running() == 2);
  lab.executor.Finish(run + "/right/1");
  lab.Step();
  CHECK(lab.StatesOf(run) == "split:succeeded left:running right:succeeded join:pending");
  CHECK(lab.engine().ExplainWait(run, 3) == "waits for left");
  lab.executor.Finish(run + "/left/1");
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"split/1", "left/1", "right/1", "join/1"});
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A fan-out of a thousand tasks runs as wide as the slots allow") {
  EngineLab lab;
  lab.compare_after_steps = false;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 16)})};
  Pipeline pipeline = NewPipeline("fan");
  AddTask(pipeline, "start");
  Names all;
  for (int i = 0; i < 1000; ++i) {
    AddTask(pipeline, "t" + std::to_string(i), {"start"});
    all.push_back("t" + std::to_string(i));
    Outcome outcome;
    outcome.takes = std::chrono::seconds(1 + i % 3);
    lab.executor.Script(all.back(), outcome);
  }
  AddTask(pipeline, "end", all);
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.most_running() == 16);
  CHECK(lab.executor.started().size() == 1002);
  CHECK(lab.executor.StartedTasks().back() == "end/1");
}

TEST_CASE("More than a commit's worth of events goes through in several commits") {
  EngineLab lab;
  lab.compare_after_steps = false;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 10'000)})};
  Pipeline pipeline = NewPipeline("wide");
  for (int i = 0; i < 10'000; ++i) AddTask(pipeline, "t" + std::to_string(i));
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.started().size() == 10'000);
  CHECK(lab.process().writes() > 3);
}

// ---- Triggers --------------------------------------------------------------------------------

// How a dependency of the table below ends.
void MakeDependency(EngineLab& lab, Pipeline& pipeline, const std::string& name,
                    const std::string& how) {
  if (how == "upstream_failed") {
    AddTask(pipeline, name + "-above");
    lab.executor.Script(name + "-above", Outcome::Failure());
    AddTask(pipeline, name, {name + "-above"});
    return;
  }
  Task& task = AddTask(pipeline, name);
  if (how == "skipped") task.skip = true;
  if (how == "when_false") task.when = "false";
  if (how == "allowed") task.allow_failure = true;
  if (how == "failed" || how == "allowed") lab.executor.Script(name, Outcome::Failure());
}

TEST_CASE("Each trigger decides by how the dependencies ended") {
  struct Case {
    std::string first, second;
    // For all_succeeded, all_done, any_failed, none_failed: the task's state, or why it is skipped.
    std::string all_succeeded, any_failed, none_failed;
  };
  const std::string run = "succeeded";
  const Case cases[] = {
      {"succeeded", "succeeded", run, "nothing_failed", run},
      {"succeeded", "failed", "upstream_failed", run, "upstream_failed"},
      {"succeeded", "skipped", "upstream_skipped", "nothing_failed", run},
      {"succeeded", "when_false", "upstream_skipped", "nothing_failed", run},
      {"succeeded", "allowed", run, run, run},
      {"succeeded", "upstream_failed", "upstream_failed", run, "upstream_failed"},
      {"failed", "failed", "upstream_failed", run, "upstream_failed"},
      {"failed", "skipped", "upstream_failed", run, "upstream_failed"},
      {"failed", "allowed", "upstream_failed", run, "upstream_failed"},
      {"failed", "upstream_failed", "upstream_failed", run, "upstream_failed"},
      {"skipped", "skipped", "upstream_skipped", "nothing_failed", "upstream_skipped"},
      {"skipped", "when_false", "upstream_skipped", "nothing_failed", "upstream_skipped"},
      {"skipped", "allowed", "upstream_skipped", run, run},
      {"skipped", "upstream_failed", "upstream_failed", run, "upstream_failed"},
      {"allowed", "allowed", run, run, run},
      {"allowed", "upstream_failed", "upstream_failed", run, "upstream_failed"},
  };
  for (const Case& c : cases) {
    for (const bool swapped : {false, true}) {
      EngineLab lab;
      Pipeline pipeline = NewPipeline("triggers");
      MakeDependency(lab, pipeline, "first", swapped ? c.second : c.first);
      MakeDependency(lab, pipeline, "second", swapped ? c.first : c.second);
      AddTask(pipeline, "all_succeeded", {"first", "second"});
      AddTask(pipeline, "all_done", {"first", "second"}).trigger = Trigger::all_done;
      AddTask(pipeline, "any_failed", {"first", "second"}).trigger = Trigger::any_failed;
      AddTask(pipeline, "none_failed", {"first", "second"}).trigger = Trigger::none_failed;
      const RunId id = lab.Submit(pipeline);
      lab.RunToEnd();
      const auto fate = [&](const std::string& task) {
        if (lab.StateOf(id, task) != "skipped") return lab.StateOf(id, task);
        const std::string why = lab.SkipOf(id, task);
        return why.substr(0, why.find(':'));
      };
      CAPTURE(c.first, c.second, swapped, lab.StatesOf(id));
      CHECK(fate("all_succeeded") == c.all_succeeded);
      CHECK(fate("all_done") == run);
      CHECK(fate("any_failed") == c.any_failed);
      CHECK(fate("none_failed") == c.none_failed);
    }
  }
}

TEST_CASE("A skip says which task is the cause") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("why");
  AddTask(pipeline, "load");
  AddTask(pipeline, "train", {"load"});
  AddTask(pipeline, "test", {"train"});
  AddTask(pipeline, "off").skip = true;
  AddTask(pipeline, "after-off", {"off"});
  AddTask(pipeline, "alarm", {"off"}).trigger = Trigger::any_failed;
  AddTask(pipeline, "maybe").when = "1 > 2";
  lab.executor.Script("load", Outcome::Failure(3));
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "failed");
  CHECK(lab.FailureOf(run, "load") == "exit_code");
  CHECK(lab.SkipOf(run, "train") == "upstream_failed: task \"load\" did not succeed");
  CHECK(lab.SkipOf(run, "test") == "upstream_failed: task \"train\" was skipped after a failure");
  CHECK(lab.SkipOf(run, "off") == "asked: skip: true");
  CHECK(lab.SkipOf(run, "after-off") == "upstream_skipped: task \"off\" was skipped");
  CHECK(lab.SkipOf(run, "alarm") == "nothing_failed: no dependency failed");
  CHECK(lab.SkipOf(run, "maybe") == "condition: not: 1 > 2");
  CHECK(lab.executor.StartedTasks() == Names{"load/1"});
}

TEST_CASE("A failure that is allowed neither fails the run nor stops what follows") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("allowed");
  AddTask(pipeline, "lint").allow_failure = true;
  AddTask(pipeline, "build", {"lint"});
  lab.executor.Script("lint", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "lint:failed build:succeeded");
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("A handler of failures does not make the run succeed") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("handler");
  AddTask(pipeline, "work");
  AddTask(pipeline, "alarm", {"work"}).trigger = Trigger::any_failed;
  lab.executor.Script("work", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "work:failed alarm:succeeded");
  CHECK(lab.StatusOf(run) == "failed");
}

TEST_CASE("A failed task leaves the rest of the run alone") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("rest");
  AddTask(pipeline, "bad");
  AddTask(pipeline, "good");
  AddTask(pipeline, "better", {"good"});
  lab.executor.Script("bad", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "bad:failed good:succeeded better:succeeded");
  CHECK(lab.StatusOf(run) == "failed");
}

// ---- Conditions and outputs --------------------------------------------------------------------

TEST_CASE("A condition sees parameters, outputs, states and the run") {
  const std::pair<std::string, std::string> cases[] = {
      {"params.alpha > 0.1", "succeeded"},
      {"params.alpha > 0.9", "skipped"},
      {"tasks.train.outputs.accuracy >= 0.9 and params.kind in ['linear', 'ridge']", "succeeded"},
      {"tasks.train.outputs.accuracy < 0.9", "skipped"},
      {"tasks.train.state == 'succeeded'", "succeeded"},
      {"run.pipeline == 'conditions' && task.name == 'decide' && task.attempt == 1", "succeeded"},
      {"tasks.train.outputs.name == 'tree'", "failed"},      // never written
      {"tasks.elsewhere.state == 'succeeded'", "failed"},    // not upstream
      {"tasks.train.outputs.accuracy == 'high'", "failed"},  // a number and a text
      {"params.missing", "failed"},
      {"tasks.train.outputs.accuracy", "failed"},  // not a boolean
      {"(", "failed"},
  };
  for (const auto& [when, state] : cases) {
    EngineLab lab;
    Pipeline pipeline = NewPipeline("conditions");
    AddTask(pipeline, "train").outputs = {{"accuracy", ValueType::number}};
    AddTask(pipeline, "elsewhere");
    AddTask(pipeline, "decide", {"train"}).when = when;
    lab.executor.Script("train", Outcome::Success("accuracy=0.93\n"));
    SubmitOptions options;
    options.parameters = {{"alpha", 0.5}, {"kind", std::string("ridge")}};
    const RunId run = lab.Submit(pipeline, options);
    lab.RunToEnd();
    CAPTURE(when, lab.FailureOf(run, "decide"));
    CHECK(lab.StateOf(run, "decide") == state);
    CHECK(lab.executor.attempts().contains(run + "/decide/1") == (state == "succeeded"));
    CHECK(lab.StatusOf(run) == (state == "failed" ? "failed" : "succeeded"));
    if (state == "failed") {
      CHECK(lab.FailureOf(run, "decide").starts_with("bad_specification: when: "));
    }
  }
}

TEST_CASE("A condition is judged once, not before each try") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("once");
  Task& task = AddTask(pipeline, "train");
  task.when = "task.attempt == 1";
  task.retry.max_attempts = 2;
  lab.executor.Script("train", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "train:succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"train/1", "train/2"});
}

TEST_CASE("Outputs are read by what the task declares") {
  struct Case {
    std::string text;
    std::string failure;  // "none": they are good
  };
  const Case cases[] = {
      {"accuracy=0.93\nepochs=3\nname=a = b\ngood=true\n", "none"},
      {"accuracy=0.93\r\nepochs=3\r\n\r\nname=\r\ngood=false", "none"},
      {"{\"accuracy\": 0.93, \"epochs\": 3}\n{\"name\": \"x\", \"good\": true}\n", "none"},
      {"accuracy=1\nepochs=1\nname=x\ngood=true\nepochs=2\n", "none"},  // the last one counts
      {"accuracy=0.93\nepochs=3\ngood=true\n",
       "bad_output: the task ended without its output \"name\"; write name=VALUE to "
       "$TRACKBED_OUTPUT"},
      {"loss=1\n",
       "bad_output: output line 1: found \"loss\", which the task does not declare; its outputs: "
       "accuracy, epochs, good, name"},
      {"\nepochs=many\n", "bad_output: output line 2: epochs: "},
      {"epochs=1.5\n", "bad_output: output line 1: epochs: "},
      {"accuracy=nan\n", "bad_output: output line 1: accuracy: "},
      {"just words\n", "bad_output: output line 1: found \"just words\", expected NAME=VALUE"},
      {"{\"accuracy\": \n",
       "bad_output: output line 1: found \"{…\", expected one whole JSON object"},
      {"{\"accuracy\": [1]}\n",
       "bad_output: output line 1: accuracy: expected a text, a number or a boolean"},
      {"{\"accuracy\": null}\n",
       "bad_output: output line 1: accuracy: expected a text, a number or a boolean"},
      {"name=\xff\xfe\n", "bad_output: output line 1: found bytes that are not UTF-8"},
      {"",
       "bad_output: the task ended without its output \"accuracy\"; write accuracy=VALUE to "
       "$TRACKBED_OUTPUT"},
  };
  for (const Case& c : cases) {
    EngineLab lab;
    Pipeline pipeline = NewPipeline("outputs");
    AddTask(pipeline, "train").outputs = {{"accuracy", ValueType::number},
                                          {"epochs", ValueType::integer},
                                          {"good", ValueType::boolean},
                                          {"name", ValueType::string}};
    lab.executor.Script("train", Outcome::Success(c.text));
    const RunId run = lab.Submit(pipeline);
    lab.RunToEnd();
    CAPTURE(c.text, lab.FailureOf(run, "train"));
    CHECK(lab.FailureOf(run, "train").starts_with(c.failure));
    CHECK(lab.StatusOf(run) == (c.failure == "none" ? "succeeded" : "failed"));
  }
}

TEST_CASE("A task that declares no outputs must not write any") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("undeclared");
  AddTask(pipeline, "train");
  lab.executor.Script("train", Outcome::Success("accuracy=1\n"));
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.FailureOf(run, "train") ==
        "bad_output: output line 1: found \"accuracy\", which the task does not declare; its "
        "outputs: none");
}

TEST_CASE("Values of outputs and parameters go into later commands and variables") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("render");
  pipeline.environment = {{"MODE", "all"}, {"PLACE", "pipeline"}};
  AddTask(pipeline, "split").outputs = {{"rows", ValueType::integer}, {"where", ValueType::string}};
  Task& train = AddTask(pipeline, "train", {"split"});
  train.command = {
      "train --rows ${{ tasks.split.outputs.rows }} ${{ tasks.split.outputs.where }} "
      "--alpha ${{ params.alpha }} $${{ literal"};
  train.environment = {{"ID", "${{ run.id }}-${{ task.name }}-${{ task.attempt }}"},
                       {"PLACE", "task"},
                       {"WHERE", "${{ tasks.split.outputs.where }}"}};
  Task& program = AddTask(pipeline, "program", {"train"});
  program.shell = false;
  program.command = {"score", "${{ tasks.split.outputs.where }}"};  // not a direct dependency
  lab.executor.Script("split", Outcome::Success("rows=150\nwhere=it's here\n"));
  SubmitOptions options;
  options.parameters = {{"alpha", 0.1}};
  const RunId run = lab.Submit(pipeline, options);
  lab.RunToEnd();
  REQUIRE(lab.StatusOf(run) == "succeeded");

  const AttemptSpec& spec = lab.executor.spec(run + "/train/1");
  CHECK(spec.shell);
  CHECK(spec.command == Names{"train --rows 150 'it'\\''s here' --alpha 0.1 ${{ literal"});
  CHECK(spec.environment ==
        std::vector<EnvironmentVariable>{
            {"ID", run + "-train-1"}, {"MODE", "all"}, {"PLACE", "task"}, {"WHERE", "it's here"}});
  CHECK(spec.folder == "/home/lab/runs/" + run + "/train/1");
  CHECK(lab.executor.spec(run + "/program/1").command == Names{"score", "it's here"});
}

TEST_CASE("A command that cannot be rendered fails its task before it starts") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("unrendered");
  AddTask(pipeline, "split").outputs = {{"rows", ValueType::integer}};
  Task& train = AddTask(pipeline, "train", {"split"});
  train.trigger = Trigger::all_done;
  train.retry.max_attempts = 3;
  train.command = {"train ${{ tasks.split.outputs.rows }}"};
  lab.executor.Script("split", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "split:failed train:failed");
  CHECK(lab.FailureOf(run, "train") ==
        "bad_specification: command: tasks.split.outputs.rows has no value: task \"split\" is "
        "failed");
  CHECK(lab.executor.StartedTasks() == Names{"split/1"});
}

TEST_CASE("An attempt is given its folders, its inputs and its code") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("places");
  pipeline.source = "code";
  pipeline.folders = {{"data", "data"}, {"models", ""}};
  AddTask(pipeline, "files");
  AddTask(pipeline, "values").outputs = {{"n", ValueType::integer}};
  Task& task = AddTask(pipeline, "train", {"values", "files"});
  task.mounts = {{"data", "/data", true}, {"models", "models", false}};
  task.files = {"train.py"};
  task.image = "python:3.12";
  task.resources = {Slot("cpu", 2)};
  lab.executor.Script("files", Outcome::Files("sha256:f"));
  lab.executor.Script("values", Outcome::Success("n=1\n"));
  SubmitOptions options;
  options.source = {"/home/lab/sources/x", "sha256:x", {{"train.py", "sha256:t"}}};
  options.folders = {{"data", "/mnt/data", "sha256:d"}, {"models", "/home/lab/folders/m", ""}};
  const RunId run = lab.Submit(pipeline, options);
  lab.RunToEnd();
  const AttemptSpec& spec = lab.executor.spec(run + "/train/1");
  CHECK(spec.source_path == "/home/lab/sources/x");
  CHECK(spec.files == Names{"train.py"});
  CHECK(spec.image == "python:3.12");
  CHECK(spec.resources == std::vector<SlotRequest>{Slot("cpu", 2)});
  REQUIRE(spec.mounts.size() == 2);
  CHECK(spec.mounts[0].host_path == "/mnt/data");
  CHECK(spec.mounts[0].path == "/data");
  CHECK(spec.mounts[0].read_only);
  CHECK(spec.mounts[1].host_path == "/home/lab/folders/m");
  CHECK_FALSE(spec.mounts[1].read_only);
  // In the order in which the task names its dependencies.
  REQUIRE(spec.inputs.size() == 2);
  CHECK(spec.inputs[0].name == "values");
  CHECK(spec.inputs[0].host_path.empty());
  CHECK(spec.inputs[1].name == "files");
  CHECK(spec.inputs[1].host_path == "/home/lab/runs/" + run + "/files/1/outputs");
  CHECK_FALSE(spec.pipeline_paths);
}

// ---- What is refused ---------------------------------------------------------------------------

TEST_CASE("What cannot run is refused when it is submitted, all of it at once") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("impossible");
  AddTask(pipeline, "serve").kind = TaskKind::serve;
  AddTask(pipeline, "gang").cluster_size = 3;
  Task& off = AddTask(pipeline, "off");  // never run, so it may ask for anything
  off.kind = TaskKind::serve;
  off.skip = true;
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions());
  CHECK(refused.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(refused.status()) ==
        "task \"serve\": this version does not run services\n"
        "task \"gang\": a gang of 3; this executor runs at most 2 together");
  CHECK(lab.store().ListRuns(10)->empty());
  // The engine is as good as before.
  const RunId run = lab.Submit(NewPipeline("possible"));
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
}

TEST_CASE("What is not UTF-8 is refused when it is submitted") {
  EngineLab lab;
  SubmitOptions options;
  SECTION("parameter") { options.parameters = {{"name", std::string("a\xff")}}; }
  SECTION("source file") { options.source.files = {{"\xc0\x80.py", "sha256:x"}}; }
  SECTION("folder") { options.folders = {{"data", "/mnt/\xed\xa0\x80", ""}}; }
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(NewPipeline("bytes")), options);
  CHECK(refused.status().code() == StatusCode::kInvalidArgument);
  CHECK(std::string(Message(refused.status())).ends_with("found bytes that are not UTF-8"));
  CHECK(lab.store().ListRuns(10)->empty());
}

TEST_CASE("A message of an executor may hold any bytes") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("bytes");
  AddTask(pipeline, "a");
  Outcome outcome = Outcome::Failure();
  outcome.message = "died: \xff!";
  lab.executor.Script("a", outcome);
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.FailureOf(run, "a") == "exit_code: died: \xEF\xBF\xBD!");
}

TEST_CASE("An engine is not opened without what it needs") {
  EngineLab lab;
  EngineOptions options = lab.options;
  options.store = &lab.store();
  SECTION("store") { options.store = nullptr; }
  SECTION("executor") { options.executor = nullptr; }
  SECTION("home") { options.home = "relative"; }
  SECTION("lease") { options.lease_time = Duration(0); }
  CHECK(Engine::Open(options).status().code() == StatusCode::kInvalidArgument);
}

// ---- What a host sees --------------------------------------------------------------------------

TEST_CASE("The sink is told every event once, in order, and only what is durable") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("told");
  AddTask(pipeline, "a").retry.max_attempts = 2;
  AddTask(pipeline, "b", {"a"});
  lab.executor.Script("a", 1, Outcome::Failure());
  RunId run;
  std::vector<Event> heard;
  lab.options.sink = [&](const RunState& state, uint64_t sequence, const Event& event) {
    heard.push_back(event);
    CHECK(sequence == heard.size());
    run = state.id();
    // It is in the store already.
    const std::vector<Event> stored = lab.EventsOf(run);
    REQUIRE(stored.size() >= heard.size());
    CHECK(stored[heard.size() - 1] == event);
  };
  lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(heard == lab.EventsOf(run));
  CHECK(heard.front().type == EventType::run_submitted);
  CHECK(heard.back().type == EventType::run_finished);
}

TEST_CASE("A step that has nothing to do writes nothing") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("idle");
  AddTask(pipeline, "a");
  lab.executor.Script("a", Outcome::Waits());
  lab.Submit(pipeline);
  lab.Step();
  const int64_t writes = lab.process().writes();
  for (int i = 0; i < 10; ++i) lab.Step();
  lab.StepAfter(std::chrono::milliseconds(300));  // looks for requests: reads only
  CHECK(lab.process().writes() == writes);
}

TEST_CASE("Ends told twice, late, out of order or by strangers change nothing") {
  EngineLab lab;
  lab.executor.newest_first = true;
  Pipeline pipeline = NewPipeline("noise");
  AddTask(pipeline, "a").retry.max_attempts = 2;
  AddTask(pipeline, "b");
  AddTask(pipeline, "c", {"a", "b"});
  Outcome twice = Outcome::Failure();
  twice.reports = 2;
  lab.executor.Script("a", 1, twice);
  lab.executor.Script("a", 2, Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.StatesOf(run) == "a:running b:succeeded c:pending");
  AttemptReport late;
  late.key = run + "/a/1";  // of the first try, while the second runs
  lab.executor.Report(late);
  late.key = run + "/b/1";  // of a task that has ended
  late.exit_code = 1;
  lab.executor.Report(late);
  late.key = "other-run/x/1";
  lab.executor.Report(late);
  lab.Step();
  CHECK(lab.StatesOf(run) == "a:running b:succeeded c:pending");
  lab.executor.Finish(run + "/a/2");
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.executor.started().size() == 4);
}

TEST_CASE("Many runs at once share the slots, first come first served") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  Pipeline pipeline = NewPipeline("shared");
  AddTask(pipeline, "a");
  AddTask(pipeline, "b", {"a"});
  std::vector<RunId> runs;
  for (int i = 0; i < 5; ++i) runs.push_back(lab.Submit(pipeline));
  lab.RunToEnd();
  CHECK(lab.executor.most_running() == 1);
  for (const RunId& run : runs) CHECK(lab.StatusOf(run) == "succeeded");
  for (size_t i = 0; i < runs.size(); ++i) {
    CHECK(lab.executor.started()[i] == runs[i] + "/a/1");
  }
}

}  // namespace
}  // namespace trackbed
