// Pipelines from YAML and JSON, and what is said of those that are wrong.
#include "trackbed/pipeline/reader.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "support/catch.hpp"
#include "support/processor_time.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

constexpr std::string_view kFull = R"(name: digits
description: Trains a classifier
labels: {team: vision, version: 1.10}
source: .
parameters:
  alpha:
    type: number
    default: 1
    description: step
    choices: [0.5, 1]
    minimum: 0
    maximum: 1
  hidden: 64
  quick: true
  rate: 2.5e-3
  title: "64"
  word: fast
  needed: {type: integer}
  color: {choices: [red, blue]}
environment: {PYTHONUNBUFFERED: 1, TOKEN: secret://env/HF_TOKEN}
folders:
  data: {path: ./data}
  models: ../models
  scratch:
tasks:
- name: split
  command: [python3, split.py, 3]
- name: train
  description: text
  command: |
    set -e
    python3 train.py --alpha ${{ params.alpha }}
  dependencies: split
  trigger: none_failed
  when: params.quick
  environment: {B: "2", A: true}
  resources: {mem: 1.5g, cpu: 2, cuda.shares: '1.5'}
  enforcement: advisory
  shared_memory: 2g
  mounts:
  - data
  - data:/data
  - "data:in:ro"
  - models:/out:rw
  - {folder: scratch, path: /tmp/x, read_only: true}
  outputs: {accuracy: number, model: string}
  files: [train.py, lib]
  retry: {max_attempts: 3, delay: 5s, max_delay: 1m, backoff: 1.5, jitter: 0.1}
  timeout: 10m
  grace_period: 5s
  cache: true
  skip: true
  allow_failure: true
  priority: -3
  image: "python:3.11"
  resource_group: fast
  cluster: {size: 2, multi_node: true}
  labels: {a: b}
- name: serve
  kind: serve
  dependencies: [train, split]
  retry: 4
  cache: auto
  outputs: [url]
results: {model.npz: train/model.npz}
)";

ParsedPipeline Read(std::string_view text, const ReaderLimits& limits = {}) {
  return ReadPipeline(text, "p.yaml", TextFormat::yaml, limits);
}

// Only the messages, without the name of the file.
std::string Complaints(std::string_view text) {
  return ReadPipeline(text, "", TextFormat::yaml).diagnostics.ToString();
}

Pipeline MustRead(std::string_view text) {
  ParsedPipeline parsed = Read(text);
  INFO(parsed.diagnostics.ToString());
  REQUIRE(parsed.pipeline.has_value());
  return *parsed.pipeline;
}

// A pipeline of one task with these lines.
std::string Task(const std::string& lines) {
  return "name: p\nfolders: {data: {}}\ntasks:\n- name: t\n  command: x\n  " + lines + "\n";
}

TEST_CASE("Every field of a pipeline is read") {
  const Pipeline p = MustRead(kFull);
  CHECK(p.name == "digits");
  CHECK(p.description == "Trains a classifier");
  CHECK(p.labels == std::map<std::string, std::string>{{"team", "vision"}, {"version", "1.10"}});
  CHECK(p.source == ".");
  REQUIRE(p.parameters.size() == 8);
  CHECK(p.parameters[0] ==
        Parameter{
            "alpha", ValueType::number, Value(1.0), "step", {Value(0.5), Value(1.0)}, 0.0, 1.0});
  CHECK(p.parameters[1] ==
        Parameter{"color", ValueType::string, {}, "", {Value("red"), Value("blue")}, {}, {}});
  CHECK(p.parameters[2] ==
        Parameter{"hidden", ValueType::integer, Value(int64_t{64}), "", {}, {}, {}});
  CHECK(p.parameters[3] == Parameter{"needed", ValueType::integer, {}, "", {}, {}, {}});
  CHECK(p.parameters[4] == Parameter{"quick", ValueType::boolean, Value(true), "", {}, {}, {}});
  CHECK(p.parameters[5] == Parameter{"rate", ValueType::number, Value(0.0025), "", {}, {}, {}});
  CHECK(p.parameters[6] == Parameter{"title", ValueType::string, Value("64"), "", {}, {}, {}});
  CHECK(p.parameters[7] == Parameter{"word", ValueType::string, Value("fast"), "", {}, {}, {}});
  CHECK(p.environment == std::vector<EnvironmentVariable>{{"PYTHONUNBUFFERED", "1"},
                                                          {"TOKEN", "secret://env/HF_TOKEN"}});
  CHECK(p.folders ==
        std::vector<Folder>{{"data", "./data"}, {"models", "../models"}, {"scratch", ""}});
  CHECK(p.results == std::map<std::string, std::string>{{"model.npz", "train/model.npz"}});
}

TEST_CASE("Every field of a task is read") {
  const Pipeline p = MustRead(kFull);
  REQUIRE(p.tasks.size() == 3);
  CHECK(p.tasks[0].command == std::vector<std::string>{"python3", "split.py", "3"});
  CHECK_FALSE(p.tasks[0].shell);
  const trackbed::Task& t = p.tasks[1];
  CHECK(t.shell);
  CHECK(t.command ==
        std::vector<std::string>{"set -e\npython3 train.py --alpha ${{ params.alpha }}\n"});
  CHECK(t.dependencies == std::vector<std::string>{"split"});
  CHECK(t.trigger == Trigger::none_failed);
  CHECK(t.when == "params.quick");
  CHECK(t.environment == std::vector<EnvironmentVariable>{{"A", "true"}, {"B", "2"}});
  CHECK(t.resources == std::vector<SlotRequest>{{"cpu", *Quantity::FromUnits(2)},
                                                {"cuda.shares", Quantity::FromThousandths(1500)},
                                                {"mem", *Quantity::FromUnits(3 << 29)}});
  CHECK(t.mounts == std::vector<Mount>{{"data", "data", false},
                                       {"data", "/data", false},
                                       {"data", "in", true},
                                       {"models", "/out", false},
                                       {"scratch", "/tmp/x", true}});
  CHECK(t.outputs ==
        std::vector<Output>{{"accuracy", ValueType::number}, {"model", ValueType::string}});
  CHECK(t.files == std::vector<std::string>{"train.py", "lib"});
  CHECK(t.retry == Retry{3, std::chrono::seconds(5), std::chrono::minutes(1), 1.5F, 0.1F});
  CHECK(t.timeout == std::chrono::minutes(10));
  CHECK(t.grace_period == std::chrono::seconds(5));
  CHECK(t.cache == CacheMode::on);
  CHECK(t.skip);
  CHECK(t.allow_failure);
  CHECK(t.priority == -3);
  CHECK(t.image == "python:3.11");
  CHECK(t.resource_group == "fast");
  CHECK(t.cluster_size == 2);
  CHECK(t.multi_node);
  CHECK(t.enforcement == Enforcement::advisory);
  CHECK(p.tasks[0].enforcement == Enforcement::accounting);
  CHECK(t.shared_memory == *Quantity::FromUnits(int64_t{2} << 30));
  CHECK(p.tasks[0].shared_memory == Quantity());
  CHECK(t.labels == std::map<std::string, std::string>{{"a", "b"}});
  CHECK(p.tasks[2].kind == TaskKind::serve);
  CHECK(p.tasks[2].retry.max_attempts == 4);
  CHECK(p.tasks[2].outputs == std::vector<Output>{{"url", ValueType::string}});
}

TEST_CASE("JSON uses the same names") {
  const ParsedPipeline parsed = ReadPipeline(
      R"({"name": "p", "tasks": [{"name": "a", "command": ["x"], "resources": {"cpu": 1.5},
          "retry": {"max_attempts": 2}, "environment": {"N": 1, "B": false}}]})",
      "p.json", TextFormat::json);
  INFO(parsed.diagnostics.ToString());
  REQUIRE(parsed.pipeline.has_value());
  CHECK(parsed.pipeline->tasks[0].resources[0].amount.thousandths() == 1500);
  CHECK(parsed.pipeline->tasks[0].environment[1].value == "1");
  CHECK(parsed.task_positions == std::vector<Position>{{1, 25}});
}

TEST_CASE("Defaults apply to the tasks that do not set the field") {
  const Pipeline p = MustRead(R"(name: p
defaults:
  environment: {A: 1, B: 2}
  resources: {cpu: 4, mem: 1g}
  labels: {x: y}
  retry: {max_attempts: 5, delay: 1s}
  timeout: 1h
  files: [a, b]
tasks:
- name: plain
  command: x
- name: own
  command: x
  environment: {B: 3, C: 4}
  resources: {cpu: 1}
  labels: {z: w}
  retry: 2
  files: [c]
)");
  CHECK(p.tasks[0].environment == std::vector<EnvironmentVariable>{{"A", "1"}, {"B", "2"}});
  CHECK(p.tasks[0].retry.max_attempts == 5);
  CHECK(p.tasks[0].timeout == std::chrono::hours(1));
  const trackbed::Task& own = p.tasks[1];
  CHECK(own.environment == std::vector<EnvironmentVariable>{{"A", "1"}, {"B", "3"}, {"C", "4"}});
  CHECK(own.resources.size() == 2);
  CHECK(own.resources[0].amount.units() == 1);
  CHECK(own.labels.size() == 2);
  CHECK(own.retry == Retry{2});
  CHECK(own.timeout == std::chrono::hours(1));
  CHECK(own.files == std::vector<std::string>{"c"});
}

TEST_CASE("Defaults may not hold what belongs to one task") {
  CHECK(Complaints("name: p\ndefaults: {command: x, cpu: 1}\ntasks: [{name: a, command: x}]\n") ==
        "2:12: defaults.command: this field has no default\n"
        "2:24: defaults.cpu: unknown field \"cpu\"; a default has description, trigger, "
        "environment, resources, enforcement, shared_memory, mounts, files, retry, timeout, "
        "grace_period, cache, skip, "
        "allow_failure, priority, image, resource_group, cluster and labels");
}

TEST_CASE("A priority is a whole number within bounds") {
  const ParsedPipeline parsed = Read("name: p\npriority: 5\ntasks: [{name: a, command: x}]\n");
  REQUIRE(parsed.pipeline.has_value());
  CHECK(parsed.pipeline->priority == 5);
  CHECK(parsed.pipeline->tasks[0].priority == 0);
  CHECK(Complaints("name: p\npriority: 1001\ntasks: [{name: a, command: x, priority: high}]\n") ==
        "2:11: priority: found 1001, expected a whole number from -1000 to 1000\n"
        "3:41: tasks[0].priority: found \"high\", expected a whole number from -1000 to 1000");
}

TEST_CASE("A task may refuse devices that are enforced too weakly") {
  const auto complaints = [](const std::string& line) {
    return Complaints(
        "name: p\ndefaults: {enforcement: hardware}\ntasks:\n- name: a\n  command: x\n  " + line +
        "\n");
  };
  CHECK(complaints("resources: {cpu: 1, mem: 1g, cuda.device: 1}").empty());
  CHECK(complaints("resources: {cuda.device:1g.5gb-mig: 1}").empty());
  CHECK(complaints("resources: {cuda.shares: 0}").empty());
  CHECK(
      complaints("resources: {cuda.shares: 0.5}") ==
      "4:3: tasks[0].enforcement: found \"hardware\", expected no more than \"advisory\", which is "
      "all that cuda.shares has");
  CHECK(complaints("enforcement: advisory\n  resources: {cuda.shares: 0.5}").empty());
  CHECK(complaints("enforcement: strong") ==
        "6:16: tasks[0].enforcement: found \"strong\", expected accounting, advisory or hardware");
}

TEST_CASE("Every mistake of a file is told in one go, in order") {
  const ParsedPipeline parsed = Read(R"(name: p
parameters: {n: {type: float}}
tasks:
- name: a
  command: x
  retrys: 3
  timeout: fast
  resources: {cpus: 1, mem: -1g}
- name: b
  comand: y
  skip: yes
  dependencies: [c]
  when: params.m > 1
)");
  CHECK_FALSE(parsed.pipeline.has_value());
  CHECK(parsed.diagnostics.ToString() ==
        "p.yaml:2:24: parameters.n.type: found \"float\", expected string, number, integer or "
        "boolean\n"
        "p.yaml:6:3: tasks[0].retrys: unknown field \"retrys\"; did you mean \"retry\"?\n"
        "p.yaml:7:12: tasks[0].timeout: found \"fast\", expected a duration such as 30s or "
        "1h30m\n"
        "p.yaml:8:15: tasks[0].resources.cpus: unknown slot \"cpus\"; did you mean \"cpu\"?\n"
        "p.yaml:8:29: tasks[0].resources.mem: found \"-1g\", expected an amount that is not "
        "negative\n"
        "p.yaml:10:3: tasks[1].comand: unknown field \"comand\"; did you mean \"command\"?\n"
        "p.yaml:11:9: tasks[1].skip: found \"yes\", expected true or false\n"
        "p.yaml:12:18: tasks[1].dependencies[0]: unknown task \"c\"\n"
        "p.yaml:13:9: tasks[1].when: unknown parameter \"m\"");
}

TEST_CASE("Fields by the names of other systems are answered with ours") {
  CHECK(Complaints("name: p\nsteps: []\ntasks: [{name: a, run: x, needs: [b], env: {A: b}}]\n") ==
        "2:1: steps: unknown field \"steps\"; did you mean \"tasks\"?\n"
        "3:19: tasks[0].run: unknown field \"run\"; did you mean \"command\"?\n"
        "3:27: tasks[0].needs: unknown field \"needs\"; did you mean \"dependencies\"?\n"
        "3:39: tasks[0].env: unknown field \"env\"; did you mean \"environment\"?");
}

TEST_CASE("Wrong values of a task say what was expected") {
  struct Case {
    std::string line;
    std::string message;
  };
  const Case cases[] = {
      {"retry: \"3\"", "found the text \"3\", expected a whole number from 1 to 1000"},
      {"retry: 0", "found 0, expected a whole number from 1 to 1000"},
      {"retry: 99999999999999999999",
       "found 99999999999999999999, expected a whole number from 1 to 1000"},
      {"retry: 1.5", "found 1.5, expected a whole number from 1 to 1000"},
      {"retry: {backoff: .nan}", "found \".nan\", expected a number from 1 to 100"},
      {"retry: {jitter: 2}", "found 2, expected a number from 0 to 1"},
      {"retry: {delay: -5s}", "found \"-5s\", expected a duration such as 30s or 1h30m"},
      {"retry: {max_delay: 0s}", "found \"0s\", expected more than 0"},
      {"timeout: 30", "found \"30\", expected a duration such as 30s or 1h30m"},
      {"timeout: [1]", "found a list, expected a duration such as 30s or 1h30m"},
      {"grace_period:", "found nothing, expected a duration such as 30s or 1h30m"},
      {"trigger: always",
       "found \"always\", expected all_succeeded, all_done, any_failed or none_failed"},
      {"cache: maybe", "found \"maybe\", expected true, false or auto"},
      {"kind: daemon", "found \"daemon\", expected command or serve"},
      {"resources: {mem: [1]}", "found a list, expected an amount such as 2, 1.5 or 16g"},
      {"resources: {cuda.device: 0.5}", "found \"0.5\", expected a whole number of devices"},
      {"resources: [cpu]", "found a list, expected a map"},
      {"shared_memory: -1g", "found -1073741824, expected a whole number of bytes, not negative"},
      {"shared_memory: much",
       "found \"much\", expected an amount of bytes such as 16g, 512MiB or 1000"},
      {"environment: {A: [1]}", "found a list, expected a text (\"\" for an empty one)"},
      {"environment: {A: }", "found nothing, expected a text (\"\" for an empty one)"},
      {"environment: [A]", "found a list, expected a map"},
      {"environment: {1A: x}",
       "found \"1A\", expected a name of letters, digits and \"_\" that does not start with a "
       "digit"},
      {"environment: {TRACKBED_RUN: x}",
       "found \"TRACKBED_RUN\", expected a name not starting with TRACKBED_, which is reserved"},
      {"environment: {A: secret://x}",
       "found \"secret://x\", expected secret://SOURCE/NAME, such as secret://env/NAME or "
       "secret://file/NAME"},
      {"environment: {A: secret://env/}",
       "found \"secret://env/\", expected secret://SOURCE/NAME, such as secret://env/NAME or "
       "secret://file/NAME"},
      {"environment: {A: \"secret:///x\"}",
       "found \"secret:///x\", expected secret://SOURCE/NAME, such as secret://env/NAME or "
       "secret://file/NAME"},
      {"mounts: [nothere]", "unknown folder \"nothere\""},
      {"mounts: [dat]", "unknown folder \"dat\"; did you mean \"data\"?"},
      {"mounts: [\"data:ro\"]",
       "found \"data:ro\", expected FOLDER, FOLDER:PATH, FOLDER:PATH:ro or FOLDER:PATH:rw"},
      {"mounts: [\"data:/x:rx\"]",
       "found \"data:/x:rx\", expected FOLDER, FOLDER:PATH, FOLDER:PATH:ro or FOLDER:PATH:rw"},
      {"mounts: [\"data:../x\"]", "found \"../x\", expected a path without \"..\""},
      {"mounts: [\"data:/\"]", "found \"/\", expected the path of a folder to mount at"},
      {"mounts: [\"data:/x\", \"data:/x/.\"]", "two mounts are at the path \"/x\""},
      {"mounts: [{path: x}]", "\"folder\" is missing"},
      {"mounts: [[data]]", "found a list, expected a mount such as data:/data:ro"},
      {"outputs: {x: float}", "found \"float\", expected string, number, integer or boolean"},
      {"outputs: [x, x]", "duplicate output \"x\""},
      {"outputs: [a b]", "found \"a b\", expected a name of letters, digits, \"_\" and \"-\""},
      {"files: [/etc]", "found \"/etc\", expected a relative path"},
      {"files: [a/../../b]", "found \"a/../../b\", expected a path without \"..\""},
      {"files: lib", "found \"lib\", expected a list"},
      {"cluster: {size: 0}", "found 0, expected a whole number from 1 to 65535"},
      {"cluster: 2", "found 2, expected a map"},
      {"labels: {\"a\\nb\": x}", "found \"a\\nb\", expected a key without control characters"},
      {"dependencies: [t]", "a task cannot depend on itself"},
      {"dependencies: {a: b}", "found a map, expected a list"},
      {"skip: \"true\"", "found the text \"true\", expected true or false"},
      {"image: [a]", "found a list, expected a text"},
      {"when: 1 +", "column 3: "},
  };
  for (const Case& c : cases) {
    CAPTURE(c.line);
    const ParsedPipeline parsed = Read(Task(c.line));
    REQUIRE(parsed.diagnostics.error_count() >= 1);
    const Diagnostic& first = parsed.diagnostics.items().at(0);
    CHECK(first.message.substr(0, c.message.ends_with(": ") ? c.message.size() : 999) == c.message);
    CHECK(first.position.line == 6);
    CHECK(first.position.column >= 3);
    CHECK(parsed.diagnostics.error_count() == 1);
  }
}

TEST_CASE("Wrong pipelines say what was expected") {
  struct Case {
    std::string text;
    std::string message;
  };
  const std::string tasks = "tasks: [{name: a, command: x}]\n";
  const Case cases[] = {
      {"[]\n", "1:1: found a list, expected a pipeline, which is a map"},
      {"hello\n", "1:1: found \"hello\", expected a pipeline, which is a map"},
      {"tasks: [{name: a, command: x}]\n", "1:1: name: \"name\" is missing"},
      {"name: p\n", "1:1: tasks: \"tasks\" is missing"},
      {"name: p\ntasks:\n", "2:1: tasks: found nothing, expected a list of tasks"},
      {"name: p\ntasks: []\n", "2:8: tasks: found no task, expected at least one"},
      {"name: p\ntasks: {a: {}}\n", "2:8: tasks: found a map, expected a list of tasks"},
      {"name: p\ntasks: [a]\n", "2:9: tasks[0]: found \"a\", expected a task, which is a map"},
      {"name: p\ntasks: [{command: x}]\n", "2:9: tasks[0]: \"name\" is missing"},
      {"name: p\ntasks: [{name: a}]\n", "2:9: tasks[0].command: \"command\" is missing"},
      {"name: p\ntasks: [{name: a, command: \" \"}]\n",
       "2:28: tasks[0].command: found nothing to run, expected a command"},
      {"name: p\ntasks: [{name: a, command: []}]\n",
       "2:28: tasks[0].command: \"command\" is missing"},
      {"name: p\ntasks: [{name: a, command: {}}]\n",
       "2:28: tasks[0].command: found a map, expected a script, or a list of a program and its "
       "arguments"},
      {"name: my pipeline\n" + tasks,
       "1:7: name: found \"my pipeline\", expected a name of letters, digits, \".\", \"_\" and "
       "\"-\" that starts with a letter or digit"},
      {"name: p\nsource: ../x\n" + tasks,
       "2:9: source: found \"../x\", expected a path without \"..\""},
      {"name: p\nsource: /x\n" + tasks, "2:9: source: found \"/x\", expected a relative path"},
      {"name: p\nparameters: {a: {type: integer, default: 1.5}}\n" + tasks,
       "2:42: parameters.a.default: found 1.5, expected an integer"},
      {"name: p\nparameters: {a: {type: number, default: \"1\"}}\n" + tasks,
       "2:41: parameters.a.default: found the text \"1\", expected a number"},
      {"name: p\nparameters: {a: {default: 1, choices: [1, x]}}\n" + tasks,
       "2:43: parameters.a.choices[1]: found \"x\", expected an integer"},
      {"name: p\nparameters: {a: {default: 3, choices: [1, 2]}}\n" + tasks,
       "2:27: parameters.a.default: found 3, expected one of 1, 2"},
      {"name: p\nparameters: {a: {default: 3, maximum: 2}}\n" + tasks,
       "2:27: parameters.a.default: found 3, expected at most 2"},
      {"name: p\nparameters: {a: {default: x, minimum: 2}}\n" + tasks,
       "2:39: parameters.a.minimum: a string has no range; only numbers and integers have"},
      {"name: p\nparameters: {a: {type: number, minimum: 2, maximum: 1}}\n" + tasks,
       "2:41: parameters.a.minimum: the minimum 2 is above the maximum 1"},
      {"name: p\nparameters: {a: {type: number, minimum: .inf}}\n" + tasks,
       "2:41: parameters.a.minimum: found \".inf\", expected a number from "
       "-1.7976931348623157e+308 to 1.7976931348623157e+308"},
      {"name: p\nparameters: {a: }\n" + tasks,
       "2:17: parameters.a: found nothing, expected a default value, or a map with type, default, "
       "…"},
      {"name: p\nparameters: {a: 1e999}\n" + tasks,
       "2:17: parameters.a: found \"1e999\", expected a number that fits 64 bits"},
      {"name: p\nparameters: {a.b: 1}\n" + tasks,
       "2:19: parameters.a.b: found \"a.b\", expected a name of letters, digits, \"_\" and \"-\""},
      {"name: p\nfolders: {a: {pth: x}}\n" + tasks,
       "2:15: folders.a.pth: unknown field \"pth\"; did you mean \"path\"?"},
      {"name: p\nresults: {x: b/y}\n" + tasks, "2:14: results.x: unknown task \"b\""},
      {"name: p\nresults: {x: a}\n" + tasks,
       "2:14: results.x: found \"a\", expected TASK/PATH, a file in the outputs of a task"},
      {"name: p\nresults: {x: a/../y}\n" + tasks,
       "2:14: results.x: found \"a/../y\", expected a path without \"..\""},
      {"name: p\nresults: {/x: a/y}\n" + tasks,
       "2:15: results./x: found \"/x\", expected a relative path"},
      {"name: p\nenvironment: {A: 1\n" + tasks,
       "3:6: not valid YAML: a \"{\" is not closed, or a comma is missing"},
      {"name: p\nname: q\n" + tasks, "2:1: duplicate key \"name\"; the first is on line 1"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(Complaints(c.text) == c.message);
  }
}

TEST_CASE("Endless mistakes are cut short") {
  std::string text = "name: p\ntasks:\n";
  for (int i = 0; i < 5000; ++i) text += "- {name: t, command: x, dependencies: [u, v]}\n";
  const ParsedPipeline parsed = Read(text);
  CHECK(parsed.diagnostics.error_count() == 1001);
  CHECK_THAT(parsed.diagnostics.ToString(),
             Catch::Contains("only the first 1000 mistakes are listed"));
}

TEST_CASE("Defaults too large for many tasks are refused") {
  std::string text =
      "name: p\ndefaults: {description: \"" + std::string(1'000'000, 'x') + "\"}\ntasks:\n";
  for (int i = 0; i < 2000; ++i) {
    text += "- {name: t" + std::to_string(i) + ", command: x}\n";
  }
  CHECK(Complaints(text) == "2:11: defaults: these defaults are too large for 2000 tasks");
}

TEST_CASE("Ten thousand tasks are read fast") {
  std::string text = "name: p\ntasks:\n";
  for (int i = 0; i < 10'000; ++i) {
    const std::string n = std::to_string(i);
    text += "- name: task" + n + "\n  command: python3 work.py --shard " + n + "\n";
    if (i > 0) text += "  dependencies: [task" + std::to_string(i - 1) + "]\n";
    text += "  resources: {cpu: 1, mem: 512m}\n  outputs: [score]\n  timeout: 5m\n";
    if (i > 2) text += "  when: tasks.task" + std::to_string(i - 3) + ".outputs.score == 'x'\n";
  }
  const double start = ProcessorSeconds();
  const Pipeline pipeline = MustRead(text);
  const double took = ProcessorSeconds() - start;
  CHECK(pipeline.tasks.size() == 10'000);
  CHECK(took < 30);  // about half a second when optimized and undisturbed
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "trackbed-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string Write(const std::string& name, std::string_view content) const {
    const std::string path = (path_ / name).string();
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST_CASE("A file is read by what it holds") {
  const TemporaryFolder folder;
  const std::string yaml = folder.Write("p.yaml", kFull);
  const ParsedPipeline from_yaml = LoadPipeline(yaml);
  INFO(from_yaml.diagnostics.ToString());
  REQUIRE(from_yaml.pipeline.has_value());
  const std::string json = folder.Write("p.json", WriteJson(*from_yaml.pipeline));
  CHECK(LoadPipeline(json).pipeline == from_yaml.pipeline);
}

TEST_CASE("A file that cannot be read is one mistake") {
  const TemporaryFolder folder;
  const std::string missing = folder.path() + "/missing.yaml";
  CHECK(LoadPipeline(missing).diagnostics.ToString() ==
        missing + ": cannot open the file: No such file or directory");
  CHECK(LoadPipeline(folder.path()).diagnostics.ToString() ==
        folder.path() + ": this is a folder, expected a file");
  const std::string pipe = folder.path() + "/pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(LoadPipeline(pipe).diagnostics.ToString() == pipe + ": this is not a regular file");
  CHECK(LoadPipeline("/dev/zero").diagnostics.ToString() ==
        "/dev/zero: this is not a regular file");
  const std::string empty = folder.Write("empty.yaml", "");
  CHECK(LoadPipeline(empty).diagnostics.ToString() == empty + ":1:1: the document is empty");
  const std::string binary = folder.Write("binary.yaml", std::string_view("\x7f"
                                                                          "ELF\0\0",
                                                                          6));
  CHECK(LoadPipeline(binary).diagnostics.ToString() ==
        binary + ":1:5: found a NUL byte, expected text; this looks like a binary file");
  const std::string large = folder.Write("large.yaml", "");
  std::filesystem::resize_file(large, 100'000'000);
  CHECK(LoadPipeline(large).diagnostics.ToString() ==
        large + ": the file has 100000000 bytes; at most 16777216 are read");
}

}  // namespace
}  // namespace trackbed
