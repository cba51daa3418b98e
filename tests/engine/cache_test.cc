// When an earlier result stands for a task, and when equal tasks wait for each other.
#include <set>
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "trackbed/engine/cache_key.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;
using Names = std::vector<std::string>;

Task& AddCached(Pipeline& pipeline, std::string name, std::vector<std::string> dependencies = {}) {
  Task& task = AddTask(pipeline, std::move(name), std::move(dependencies));
  task.cache = CacheMode::automatic;
  return task;
}

Pipeline OneTask() {
  Pipeline pipeline = NewPipeline("cached");
  AddCached(pipeline, "train").outputs = {{"accuracy", ValueType::number}};
  return pipeline;
}

Outcome Trained() {
  Outcome outcome = Outcome::Success("accuracy=0.93\n");
  outcome.output_digest = "sha256:model";
  return outcome;
}

// The reason for which the attempt of a task did not use the cache.
std::string CacheOff(EngineLab& lab, const RunId& run, const std::string& task) {
  const StoredRun stored = lab.Stored(run);
  const TaskIndex index = IndexOf(stored.state->pipeline(), task);
  const AttemptIntended* intended = stored.state->Intended(index);
  return intended == nullptr ? WhyNotCached(*stored.state, index) : intended->cache_off;
}

TEST_CASE("A second run takes the result of the first") {
  EngineLab lab;
  lab.executor.Script("train", Trained());
  Pipeline pipeline = OneTask();
  AddTask(pipeline, "use", {"train"}).command = {"use ${{ tasks.train.outputs.accuracy }}"};
  const RunId first = lab.Submit(pipeline);
  lab.RunToEnd();
  pipeline.name = "renamed";  // names do not matter, what runs does
  pipeline.tasks[0].resources = {Slot("cpu", 2)};
  pipeline.tasks[0].timeout = seconds(5);
  const RunId second = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatesOf(second) == "train:cached use:succeeded");
  CHECK(lab.executor.StartedTasks() == Names{"train/1", "use/1", "use/1"});
  const StoredRun stored = lab.Stored(second);
  const TaskResult* result = stored.state->Result(0);
  REQUIRE(result != nullptr);
  CHECK(result->run == first);
  CHECK(result->task == "train");
  CHECK(result->attempt == 1);
  CHECK(result->digest == "sha256:model");
  // Its values and files are seen as if it had run here.
  const AttemptSpec& spec = lab.executor.spec(second + "/use/1");
  CHECK(spec.command == Names{"use 0.93"});
  CHECK(spec.inputs[0].host_path == "/home/lab/runs/" + first + "/train/1/outputs");
}

TEST_CASE("A result of a result names the attempt that made it") {
  EngineLab lab;
  lab.executor.Script("train", Trained());
  const RunId first = lab.Submit(OneTask());
  lab.RunToEnd();
  const RunId second = lab.Submit(OneTask());
  lab.RunToEnd();
  const RunId third = lab.Submit(OneTask());
  lab.RunToEnd();
  CHECK(lab.StateOf(third, "train") == "cached");
  CHECK(lab.Stored(third).state->Result(0)->run == first);
}

TEST_CASE("What a result depends on makes another key") {
  const auto base = [] {
    Pipeline pipeline = NewPipeline("key");
    pipeline.source = "code";
    pipeline.folders = {{"data", "data"}};
    AddTask(pipeline, "split");
    Task& task = AddCached(pipeline, "train", {"split"});
    task.command = {"train --alpha ${{ params.alpha }}"};
    task.environment = {{"MODE", "fast"}, {"TOKEN", "secret://env/TOKEN"}};
    task.outputs = {{"n", ValueType::integer}};
    task.mounts = {{"data", "/data", true}};
    task.files = {"train.py", "lib"};
    task.image = "python:3.12";
    return pipeline;
  };
  struct Scene {
    Pipeline pipeline;
    SubmitOptions options;
    std::string input = "sha256:input";
  };
  const auto scene = [&] {
    Scene s;
    s.pipeline = base();
    s.options.parameters = {{"alpha", 0.5}};
    s.options.source = {
        "/sources/1",
        "sha256:all",
        {{"lib/a.py", "sha256:a"}, {"library.py", "sha256:unseen"}, {"train.py", "sha256:t"}}};
    s.options.folders = {{"data", "/mnt/data", "sha256:data"}};
    return s;
  };
  EngineLab lab;
  lab.secrets.values["env/TOKEN"] = "hunter2";
  const auto runs_anew = [&](Scene s) {
    lab.executor.Script("split", Outcome::Files(s.input));
    lab.executor.Script("train", Outcome::Success("n=1\n"));
    const RunId run = lab.Submit(s.pipeline, s.options);
    lab.RunToEnd();
    REQUIRE(lab.StatusOf(run) == "succeeded");
    return lab.StateOf(run, "train") == "succeeded";
  };
  REQUIRE(runs_anew(scene()));
  REQUIRE_FALSE(runs_anew(scene()));

  SECTION("these matter") {
    Scene s = scene();
    SECTION("a parameter in the command") { s.options.parameters["alpha"] = 0.25; }
    SECTION("the command") {
      s.pipeline.tasks[1].command = {std::string(s.pipeline.tasks[1].command.front()) + " "};
    }
    SECTION("a script and a program") { s.pipeline.tasks[1].shell = false; }
    SECTION("a variable") { s.pipeline.tasks[1].environment[0].value = "slow"; }
    SECTION("a variable of the pipeline") { s.pipeline.environment = {{"A", "1"}}; }
    SECTION("another secret") {
      s.pipeline.tasks[1].environment[1].value = "secret://env/OTHER";
      lab.secrets.values["env/OTHER"] = "hunter2";
    }
    SECTION("the image") { s.pipeline.tasks[1].image = "python:3.13"; }
    SECTION("a file it sees") { s.options.source.files["lib/a.py"] = "sha256:other"; }
    SECTION("a file in a folder it sees") { s.options.source.files["lib/b.py"] = "sha256:b"; }
    SECTION("the input") { s.input = "sha256:other"; }
    SECTION("no input") { s.input = ""; }
    SECTION("a folder it reads") { s.options.folders[0].digest = "sha256:other"; }
    SECTION("where the folder is seen") { s.pipeline.tasks[1].mounts[0].path = "/elsewhere"; }
    SECTION("the type of an output") { s.pipeline.tasks[1].outputs[0].type = ValueType::number; }
    CHECK(runs_anew(s));
  }
  SECTION("these do not") {
    Scene s = scene();
    SECTION("a parameter it does not use") { s.options.parameters["beta"] = 1.0; }
    SECTION("the value of a secret") { lab.secrets.values["env/TOKEN"] = "changed"; }
    SECTION("a file it does not see") { s.options.source.files["library.py"] = "sha256:other"; }
    SECTION("where the code and folders lie") {
      s.options.source.host_path = "/sources/2";
      s.options.folders[0].host_path = "/mnt/copy";
    }
    SECTION("retries, timeouts, resources, labels, names") {
      Task& task = s.pipeline.tasks[1];
      task.retry.max_attempts = 7;
      task.timeout = seconds(9);
      task.grace_period = seconds(1);
      task.resources = {Slot("cpu", 3)};
      task.labels = {{"team", "blue"}};
      task.description = "words";
      s.pipeline.name = "other";
    }
    SECTION("a condition that holds") { s.pipeline.tasks[1].when = "true"; }
    CHECK_FALSE(runs_anew(s));
  }
}

TEST_CASE("A key is of fields, not of their bytes in a row") {
  CHECK(CacheKeyOf({{"ab", "c"}}) != CacheKeyOf({{"a", "bc"}}));
  CHECK(CacheKeyOf({{"a", "b"}, {"c", "d"}}) != CacheKeyOf({{"a", "bcd"}}));
  CHECK(CacheKeyOf({{"a", "b"}}) == CacheKeyOf({{"a", "b"}}));
  CHECK(CacheKeyOf({}).starts_with("sha256:"));
}

TEST_CASE("The difference of two keys names what changed, came and went") {
  using Differences = std::vector<CacheFieldDifference>;
  CHECK(CompareCacheFields({{"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "2"}}).empty());
  CHECK(CompareCacheFields({{"a", "1"}, {"b", "2"}, {"c", "3"}},
                           {{"a", "9"}, {"c", "3"}, {"d", "4"}}) ==
        Differences{{"a", "1", "9"}, {"d", "", "4"}, {"b", "2", ""}});
}

TEST_CASE("The cache is off when asked, or when folders are written to; the log says why") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("off");
  pipeline.folders = {{"data", ""}, {"shared", ""}};
  AddTask(pipeline, "never");
  AddCached(pipeline, "writer").mounts = {{"shared", "out", false}};
  AddCached(pipeline, "reader").mounts = {{"shared", "in", true}};
  AddCached(pipeline, "quiet").mounts = {{"data", "in", true}};
  Task& on = AddCached(pipeline, "on");
  on.cache = CacheMode::on;
  on.mounts = {{"shared", "out", false}};
  SubmitOptions options;
  options.folders = {{"data", "/d", "sha256:d"}, {"shared", "/s", "sha256:s"}};
  const RunId first = lab.Submit(pipeline, options);
  lab.RunToEnd();
  CHECK(CacheOff(lab, first, "never") == "the task says cache: false");
  CHECK(CacheOff(lab, first, "writer") == "it mounts folder \"shared\" for writing");
  CHECK(CacheOff(lab, first, "reader") ==
        "it mounts folder \"shared\", which another task of the pipeline writes to");
  CHECK(CacheOff(lab, first, "quiet").empty());
  const RunId second = lab.Submit(pipeline, options);
  lab.RunToEnd();
  CHECK(lab.StatesOf(second) ==
        "never:succeeded writer:succeeded reader:succeeded quiet:cached on:cached");
  options.use_cache = false;
  const RunId third = lab.Submit(pipeline, options);
  lab.RunToEnd();
  CHECK(lab.StateOf(third, "quiet") == "succeeded");
  CHECK(lab.Stored(third).state->Intended(3) == nullptr);
}

TEST_CASE("A result whose files are gone is made again") {
  EngineLab lab;
  std::vector<std::string> asked;
  bool there = true;
  lab.options.has_outputs = [&](const std::string& folder, const std::string& digest) {
    asked.push_back(folder + " " + digest);
    return there;
  };
  lab.executor.Script("train", Trained());
  const RunId first = lab.Submit(OneTask());
  lab.RunToEnd();
  CHECK(asked.empty());
  const RunId second = lab.Submit(OneTask());
  lab.RunToEnd();
  CHECK(asked == Names{"/home/lab/runs/" + first + "/train/1/outputs sha256:model"});
  CHECK(lab.StateOf(second, "train") == "cached");
  there = false;
  const RunId third = lab.Submit(OneTask());
  lab.RunToEnd();
  CHECK(lab.StateOf(third, "train") == "succeeded");
  there = true;
  const RunId fourth = lab.Submit(OneTask());
  lab.RunToEnd();
  CHECK(lab.StateOf(fourth, "train") == "cached");
  CHECK(lab.Stored(fourth).state->Result(0)->run == third);  // the new one
}

TEST_CASE("A failure is never taken for a result") {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Failure());
  lab.Submit(OneTask());
  lab.RunToEnd();
  lab.executor.Script("train", Trained());
  const RunId second = lab.Submit(OneTask());
  lab.RunToEnd();
  CHECK(lab.StateOf(second, "train") == "succeeded");
}

TEST_CASE("A result made at the second try is a result") {
  Pipeline pipeline = OneTask();
  pipeline.tasks[0].retry.max_attempts = 2;
  pipeline.tasks[0].retry.delay = seconds(10);
  EngineLab lab;
  lab.executor.Script("train", 1, Outcome::Failure());
  lab.executor.Script("train", 2, Trained());
  const RunId first = lab.Submit(pipeline);
  lab.Step();
  SECTION("in one go") {}
  SECTION("with a crash between the tries") {
    lab.Crash();
    REQUIRE(lab.engine().Resume(first).ok());
  }
  lab.RunToEnd();
  const RunId second = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StateOf(second, "train") == "cached");
  CHECK(lab.Stored(second).state->Result(0)->attempt == 2);
}

TEST_CASE("A command that holds the number of its attempt is keyed by it") {
  Pipeline pipeline = OneTask();
  pipeline.tasks[0].retry.max_attempts = 2;
  pipeline.tasks[0].command = {"train --seed ${{ task.attempt }}"};
  EngineLab lab;
  lab.executor.Script("train", 1, Outcome::Failure());
  lab.executor.Script("train", 2, Trained());
  const RunId first = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.StatusOf(first) == "succeeded");
  const StoredRun stored = lab.Stored(first);
  const AttemptIntended* intended = stored.state->Intended(0);
  CHECK(intended->cache_key == CacheKeyOf(intended->cache_fields));
  // The same try of another run is the same work; the first try is not.
  const RunId second = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"train/1", "train/2", "train/1"});
  CHECK(lab.StateOf(second, "train") == "cached");
}

TEST_CASE("Retry from a task does not take its old result, but those after it may") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("from");
  AddCached(pipeline, "train").outputs = {{"accuracy", ValueType::number}};
  AddCached(pipeline, "score", {"train"});
  lab.executor.Script("train", Trained());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.engine().Retry(run, {"train"}).ok());
  SECTION("at once") {}
  SECTION("after a crash") {
    lab.Crash();
    REQUIRE(lab.engine().Resume(run).ok());
  }
  SECTION("after it was cancelled and taken up again") {
    REQUIRE(lab.engine().Cancel(run).ok());
    lab.Step();
    REQUIRE(lab.StatusOf(run) == "cancelled");
    REQUIRE(lab.engine().Resume(run).ok());
  }
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "train:succeeded score:cached");
  CHECK(lab.executor.StartedTasks() == Names{"train/1", "score/1", "train/2"});
}

// ---- Single flight ---------------------------------------------------------------------------

TEST_CASE("Equal tasks of one run that are ready together run once") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("twins");
  for (const char* name : {"a", "b", "c"}) AddCached(pipeline, name).command = {"same"};
  lab.executor.Script("a", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.StartedTasks() == Names{"a/1"});
  CHECK(lab.engine().ExplainWait(run, 1) == "waits for a, which does the same work");
  CHECK(lab.engine().ExplainWait(run, 0).empty());  // it runs
  lab.executor.Finish(run + "/a/1", Outcome::Files("sha256:x"));
  lab.RunToEnd();
  CHECK(lab.executor.started().size() == 1);
  CHECK(lab.StatesOf(run) == "a:succeeded b:cached c:cached");
}

TEST_CASE("Equal tasks of two runs run once") {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Waits());
  const RunId first = lab.Submit(OneTask());
  lab.Step();
  const RunId second = lab.Submit(OneTask());
  lab.Step();
  CHECK(lab.executor.started().size() == 1);
  lab.executor.Finish(first + "/train/1", Trained());
  lab.RunToEnd();
  CHECK(lab.executor.started().size() == 1);
  CHECK(lab.StateOf(second, "train") == "cached");
}

TEST_CASE("When the one that runs fails, the next takes its place") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("twins");
  for (const char* name : {"a", "b", "c"}) AddCached(pipeline, name).command = {"same"};
  lab.executor.Script("a", Outcome::Failure());
  lab.executor.Script("b", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "b/1"});
  CHECK(lab.executor.running() == 1);
  lab.executor.Finish(run + "/b/1");
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "a:failed b:succeeded c:cached");
}

TEST_CASE("While the one that runs is tried again, the others go on waiting") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("twins");
  for (const char* name : {"a", "b"}) {
    Task& task = AddCached(pipeline, name);
    task.command = {"same"};
    task.retry.max_attempts = 2;
    task.retry.delay = seconds(10);
  }
  lab.executor.Script("a", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.StepAfter(seconds(9));
  CHECK(lab.executor.StartedTasks() == Names{"a/1"});
  lab.RunToEnd();
  CHECK(lab.executor.StartedTasks() == Names{"a/1", "a/2"});
  CHECK(lab.StatesOf(run) == "a:succeeded b:cached");
}

TEST_CASE("When the one that leads finds a result after all, those that wait have it too") {
  EngineLab lab;
  bool there = false;
  lab.options.has_outputs = [&](const std::string&, const std::string&) { return there; };
  Pipeline pipeline = NewPipeline("twins");
  for (const char* name : {"a", "b"}) {
    Task& task = AddCached(pipeline, name);
    task.command = {"same"};
    task.retry.max_attempts = 2;
    task.retry.delay = seconds(10);
  }
  for (const char* name : {"a", "b"}) lab.executor.Script(name, Outcome::Files("sha256:x"));
  lab.Submit(pipeline);
  lab.RunToEnd();
  lab.executor.Script("a", Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.StatesOf(run) == "a:pending b:pending");
  there = true;  // the disk is back
  lab.RunToEnd();
  CHECK(lab.StatesOf(run) == "a:cached b:cached");
}

TEST_CASE("When the run that leads is cancelled, the other run takes over") {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Waits());
  SECTION("while it runs") {
    const RunId first = lab.Submit(OneTask());
    lab.Step();
    const RunId second = lab.Submit(OneTask());
    lab.Step();
    REQUIRE(lab.engine().Cancel(first).ok());
    lab.Step();
    CHECK(lab.StatusOf(first) == "cancelled");
    lab.executor.Finish(second + "/train/1", Trained());
    lab.RunToEnd();
    CHECK(lab.StateOf(second, "train") == "succeeded");
  }
  SECTION("while it waits for slots") {
    Pipeline holder = NewPipeline("holder");
    AddTask(holder, "train").resources = {Slot("cpu", 4)};
    const RunId busy = lab.Submit(holder);
    lab.Step();
    const RunId first = lab.Submit(OneTask());
    lab.Step();
    const RunId second = lab.Submit(OneTask());
    lab.Step();
    REQUIRE(lab.engine().Cancel(first).ok());
    lab.Step();
    lab.executor.Finish(busy + "/train/1");
    lab.Step();
    CHECK(lab.executor.attempts().contains(second + "/train/1"));
    CHECK_FALSE(lab.executor.attempts().contains(first + "/train/1"));
  }
}

TEST_CASE("A run that waits for another's result can be cancelled and taken up again") {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Waits());
  const RunId first = lab.Submit(OneTask());
  lab.Step();
  const RunId second = lab.Submit(OneTask());
  lab.Step();
  REQUIRE(lab.engine().Cancel(second).ok());
  lab.Step();
  REQUIRE(lab.StatusOf(second) == "cancelled");
  REQUIRE(lab.engine().Resume(second).ok());
  lab.Step();
  lab.executor.Finish(first + "/train/1", Trained());
  lab.RunToEnd();
  CHECK(lab.StateOf(second, "train") == "cached");
  CHECK(lab.executor.started().size() == 1);
}

TEST_CASE("A waiting task that is retried with what it depends on waits for that first") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("twins");
  AddTask(pipeline, "prepare");
  AddCached(pipeline, "train", {"prepare"});
  lab.executor.Script("train", Outcome::Waits());
  const RunId first = lab.Submit(pipeline);
  lab.Step();
  const RunId second = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.engine().Cancel(second).ok());
  lab.Step();
  lab.executor.Script("prepare", Outcome::Waits());
  REQUIRE(lab.engine().Retry(second, {"prepare"}).ok());
  lab.Step();
  lab.executor.Finish(first + "/train/1");
  lab.Step();
  CHECK(lab.StatesOf(second) == "prepare:running train:pending");
  lab.executor.Finish(second + "/prepare/2");
  lab.RunToEnd();
  CHECK(lab.StatesOf(second) == "prepare:succeeded train:cached");
}

TEST_CASE("A result comes into the cache with the commit that records it") {
  EngineLab lab;
  lab.executor.Script("train", Trained());
  const RunId first = lab.Submit(OneTask());
  lab.Step();  // also runs it to its end
  const StoredRun stored = lab.Stored(first);
  const std::string key = stored.state->Intended(0)->cache_key;
  const auto entry = lab.store().FindCached(key);
  REQUIRE(entry.ok());
  REQUIRE(entry->has_value());
  CHECK((*entry)->pipeline == "cached");
  CHECK((*entry)->task == "train");
  CHECK((*entry)->result.run == first);
  CHECK((*entry)->result.outputs == std::map<std::string, Value>{{"accuracy", 0.93}});
  CHECK(CacheKeyOf((*entry)->fields) == key);
}

TEST_CASE("An attempt under way at a crash leads its flight again") {
  EngineLab lab;
  lab.executor.Script("train", Outcome::Waits());
  const RunId first = lab.Submit(OneTask());
  lab.Step();
  lab.Crash();
  REQUIRE(lab.engine().Resume(first).ok());
  const RunId second = lab.Submit(OneTask());
  lab.Step();
  CHECK(lab.executor.started().size() == 1);
  lab.executor.Finish(first + "/train/1", Trained());
  lab.RunToEnd();
  CHECK(lab.StateOf(second, "train") == "cached");
  CHECK(lab.executor.started().size() == 1);
}

}  // namespace
}  // namespace trackbed
