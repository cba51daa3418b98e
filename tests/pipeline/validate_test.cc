// The meaning of pipelines: references, cycles, and those that were built in code.
#include <chrono>
#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/processor_time.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {
namespace {

Task MakeTask(std::string name, std::vector<std::string> dependencies = {},
              std::string command = "true") {
  Task task;
  task.name = std::move(name);
  task.command = {std::move(command)};
  task.dependencies = std::move(dependencies);
  return task;
}

// a -> b -> c with an output of a, and an unrelated d.
Pipeline MakePipeline() {
  Pipeline pipeline;
  pipeline.name = "p";
  pipeline.tasks = {MakeTask("a"), MakeTask("b", {"a"}), MakeTask("c", {"b"}), MakeTask("d")};
  pipeline.tasks[0].outputs = {{"score", ValueType::number}};
  pipeline.parameters = {{"alpha", ValueType::number, Value(0.5), "", {}, {}, {}}};
  return pipeline;
}

std::string Complaints(const Pipeline& pipeline) {
  Diagnostics diagnostics;
  ValidatePipeline(pipeline, {}, &diagnostics);
  return diagnostics.ToString();
}

TEST_CASE("A sound pipeline has no mistakes") {
  Pipeline pipeline = MakePipeline();
  pipeline.environment = {{"TOKEN", "${{ secrets.HF_TOKEN }}"},
                          {"WHERE", "${{ run.id }}/${{ run.pipeline }}/${{ task.name }}"}};
  Task& task = pipeline.tasks[2];
  task.command = {"echo ${{ params.alpha }} ${{ tasks.a.outputs.score }} $${{ literal }}"};
  task.environment = {{"FILE", "secret://file/run/secrets/x"},
                      {"KEY", "${{ secrets.KEY }}"},
                      {"TRY", "${{ task.attempt }}"}};
  task.when = "tasks.a.outputs.score > 0.5 and tasks.b.state == 'succeeded'";
  CHECK(Complaints(pipeline) == "");
}

TEST_CASE("References must lead somewhere") {
  struct Case {
    std::string text;
    std::string message;
  };
  const Case cases[] = {
      {"${{ params.alhpa }}", "unknown parameter \"alhpa\"; did you mean \"alpha\"?"},
      {"${{ tasks.x1.state }}", "unknown task \"x1\""},
      {"${{ tasks.a.outputs.scor }}", "task \"a\" has no output \"scor\"; did you mean \"score\"?"},
      {"${{ tasks.d.state }}",
       "task \"d\" is not upstream of this task; add it to the dependencies"},
      {"${{ tasks.c.state }}",
       "task \"c\" is not upstream of this task; add it to the dependencies"},
      {"${{ secrets.KEY }}", "a command may not hold a secret; pass it in an environment variable"},
      {"echo secret://env/KEY",
       "a command may not hold a secret; pass it in an environment variable"},
      {"${{ run.user }}",
       "unknown reference \"run.user\"; known are params.NAME, tasks.NAME.outputs.NAME, "
       "tasks.NAME.state, run.id, run.pipeline, task.name and task.attempt"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    Pipeline pipeline = MakePipeline();
    pipeline.tasks[2].command = {c.text};
    CHECK(Complaints(pipeline) == "tasks[2].command: " + c.message);
  }
  Pipeline broken = MakePipeline();
  broken.tasks[2].shell = false;
  broken.tasks[2].command = {"echo", "${{ params. }}"};
  CHECK_THAT(Complaints(broken), Catch::StartsWith("tasks[2].command[1]: column "));
}

TEST_CASE("Secrets stand alone in environment variables only") {
  Pipeline pipeline = MakePipeline();
  pipeline.tasks[0].environment = {{"A", "x${{ secrets.KEY }}"},
                                   {"B", "${{ secrets.A }}${{ secrets.B }}"},
                                   {"C", "secret://env/${{ params.alpha }}"}};
  pipeline.tasks[1].when = "secrets.KEY == 'x'";
  CHECK(Complaints(pipeline) ==
        "tasks[0].environment.A: a secret must be the whole value of an environment variable: "
        "${{ secrets.NAME }}\n"
        "tasks[0].environment.B: a secret must be the whole value of an environment variable: "
        "${{ secrets.NAME }}\n"
        "tasks[0].environment.B: a secret must be the whole value of an environment variable: "
        "${{ secrets.NAME }}\n"
        "tasks[0].environment.C: a secret reference may not hold ${{ }}\n"
        "tasks[1].when: a condition may not use secrets");
}

TEST_CASE("The environment of the pipeline knows no tasks") {
  Pipeline pipeline = MakePipeline();
  pipeline.environment = {{"A", "${{ tasks.a.state }}"}};
  CHECK(Complaints(pipeline) ==
        "environment.A: the environment of the pipeline may not refer to tasks; set the variable "
        "in the task");
}

TEST_CASE("Graph mistakes are placed at the task") {
  Pipeline pipeline = MakePipeline();
  pipeline.tasks = {MakeTask("train", {"spilt"}), MakeTask("split", {"train", "train"}),
                    MakeTask("train")};
  Diagnostics diagnostics;
  ValidatePipeline(pipeline, {{1, 1}, {2, 1}, {3, 1}}, &diagnostics);
  CHECK(diagnostics.ToString() ==
        "1:1: tasks[0].dependencies[0]: unknown task \"spilt\"; did you mean \"split\"?\n"
        "2:1: tasks[1].dependencies[1]: duplicate dependency \"train\"\n"
        "3:1: tasks[2].name: duplicate task \"train\"; the first is tasks[0]");
}

TEST_CASE("A cycle is named in order and placed at its first task") {
  Pipeline pipeline = MakePipeline();
  pipeline.tasks = {MakeTask("z"), MakeTask("a", {"c"}), MakeTask("b", {"a"}),
                    MakeTask("c", {"b"})};
  Diagnostics diagnostics;
  ValidatePipeline(pipeline, {{1, 1}, {2, 1}, {3, 1}, {4, 1}}, &diagnostics);
  REQUIRE(diagnostics.error_count() == 1);
  CHECK(diagnostics.items()[0].path == "tasks[1].dependencies");
  CHECK(diagnostics.items()[0].position == Position{2, 1});
  CHECK_THAT(diagnostics.items()[0].message, Catch::Contains("a -> b -> c -> a"));
}

TEST_CASE("Pipelines built in code are checked like files") {
  Pipeline pipeline = MakePipeline();
  Task& task = pipeline.tasks[0];
  task.command = {"a", "b"};
  task.retry = {0, Duration(-1), Duration(0), std::nanf(""), 2.0F};
  task.timeout = Duration(1);
  task.priority = 1001;
  task.cluster_size = 0;
  task.resources = {{"cpu", Quantity::FromThousandths(-1)},
                    {"cuda.device", Quantity::FromThousandths(500)},
                    {"cuda.device:1g.5gb-mig", *Quantity::FromUnits(2)},
                    {"gpu", *Quantity::FromUnits(1)}};
  pipeline.parameters = {
      {"a", ValueType::integer, Value("x"), "", {}, {}, {}},
      {"a", ValueType::number, Value(std::numeric_limits<double>::infinity()), "", {}, {}, {}},
      {"n", ValueType::number, {}, "", {}, std::nan(""), {}}};
  pipeline.tasks[1].image = std::string("a\0b", 3);
  CHECK(Complaints(pipeline) ==
        "parameters.a.default: found a string, expected an integer\n"
        "parameters.a.default: expected a finite number\n"
        "parameters.n.minimum: expected a finite number\n"
        "parameters.a: duplicate parameter\n"
        "tasks[0].command: a script is one text, not a list\n"
        "tasks[0].resources.cpu: found \"-0.001\", expected an amount that is not negative\n"
        "tasks[0].resources.cuda.device: found \"0.5\", expected a whole number of devices\n"
        "tasks[0].resources.cuda.device:1g.5gb-mig: found \"2\", expected 1, because the slot is "
        "a single instance\n"
        "tasks[0].resources.gpu: unknown slot \"gpu\"; did you mean \"cpu\"?\n"
        "tasks[0].retry.max_attempts: found 0, expected a whole number from 1 to 1000\n"
        "tasks[0].retry.backoff: found \"nan\", expected a number from 1 to 100\n"
        "tasks[0].retry.jitter: found 2, expected a number from 0 to 1\n"
        "tasks[0].retry.delay: found \"-1ns\", expected a whole number of milliseconds that is "
        "not negative\n"
        "tasks[0].retry.max_delay: found \"0s\", expected more than 0\n"
        "tasks[0].timeout: found \"1ns\", expected a whole number of milliseconds that is not "
        "negative\n"
        "tasks[0].priority: found 1001, expected a whole number from -1000 to 1000\n"
        "tasks[0].cluster.size: found 0, expected at least 1\n"
        "tasks[1].image: found a NUL character, which no text may hold");
}

TEST_CASE("An empty pipeline lacks everything") {
  CHECK(Complaints(Pipeline()) ==
        "name: found \"\", expected a name of letters, digits, \".\", \"_\" and \"-\" that starts "
        "with a letter or digit\n"
        "tasks: found no task, expected at least one");
}

TEST_CASE("Distant references are answered right") {
  // Task i depends on i-1 and i-7 and asks for one task; the answer by brute force is compared.
  constexpr size_t kTasks = 300;
  Pipeline pipeline;
  pipeline.name = "p";
  std::vector<std::vector<bool>> upstream(kTasks, std::vector<bool>(kTasks));
  std::string expected;
  uint64_t state = 7;
  for (size_t i = 0; i < kTasks; ++i) {
    Task task = MakeTask("t" + std::to_string(i));
    for (const size_t back : {size_t{2}, size_t{7}}) {
      if (i < back || (i % 5 == 0)) continue;
      task.dependencies.push_back("t" + std::to_string(i - back));
      upstream[i][i - back] = true;
      for (size_t j = 0; j < kTasks; ++j) {
        if (upstream[i - back][j]) upstream[i][j] = true;
      }
    }
    state = state * 6364136223846793005u + 1442695040888963407u;
    const size_t other = (state >> 33) % kTasks;
    task.when = "tasks.t" + std::to_string(other) + ".state == 'succeeded'";
    pipeline.tasks.push_back(std::move(task));
  }
  Diagnostics diagnostics;
  ValidatePipeline(pipeline, {}, &diagnostics);
  std::vector<bool> complained(kTasks);
  for (const Diagnostic& item : diagnostics.items()) {
    complained[std::stoul(item.path.substr(6))] = true;
  }
  for (size_t i = 0; i < kTasks; ++i) {
    const std::string& when = pipeline.tasks[i].when;
    const size_t other = std::stoul(when.substr(7));
    CAPTURE(i, other);
    CHECK(complained[i] == !upstream[i][other]);
  }
}

TEST_CASE("References over long distances take no quadratic time") {
  constexpr size_t kTasks = 20'000;
  Pipeline pipeline;
  pipeline.name = "p";
  for (size_t i = 0; i < kTasks; ++i) {
    Task task = MakeTask("t" + std::to_string(i));
    if (i > 0) task.dependencies = {"t" + std::to_string(i - 1)};
    if (i > kTasks / 2) {
      task.when = "tasks.t" + std::to_string(i - kTasks / 2) + ".state == 'succeeded'";
    }
    pipeline.tasks.push_back(std::move(task));
  }
  const double start = ProcessorSeconds();
  CHECK(Complaints(pipeline) == "");
  CHECK(ProcessorSeconds() - start < 30);
}

}  // namespace
}  // namespace trackbed
