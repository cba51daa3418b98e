// FastTrack's form: both generations read, mistakes reported, and written back to the same meaning.
#include "trackbed/pipeline/fasttrack.hpp"

#include <algorithm>

#include "support/catch.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

// The older generation, as its editor exports it.
constexpr std::string_view kOlder = R"(version: 25.6.1
name: bird-songs
description: Trains a classifier of bird songs.
ownership:
  domain_name: default
  scope: personal
environment:
  envs:
    LANG: ko_KR.UTF-8
    HUB_TOKEN: abc123
tasks:
- name: fetch
  description: ''
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  module_uri: ''
  command: 'cd /home/work/songs

    ./fetch.sh "${SOURCE}" $${HOME}'
  environment:
    project: default
    scaling-group: cpu-pool
    image: registry.example/python:3.11
    envs: {}
  resources:
    cpu: 2
    mem: 4g
  resource_opts:
    shmem: 0g
  dependencies: []
  mounts:
  - bird-data:songs
  skip: false
- name: train
  description: On two nodes
  type: Custom Task
  cluster_mode: multi-node
  cluster_size: 2
  module_uri: ''
  command: ./train.sh
  environment:
    project: default
    scaling-group: gpu-pool
    image: registry.example/torch:2.5
    envs:
      EPOCHS: 3
      VERBOSE: true
  resources:
    cpu: 4
    mem: 16g
    cuda.shares: '1.5'
  resource_opts:
    shmem: 2g
  dependencies:
  - fetch
  mounts:
  - bird-data:songs
  - bird-data:/mnt/again
  - checkpoints
  skip: true
)";

// The newer generation: services, parameters, retries, secrets.
constexpr std::string_view kNewer = R"(version: '26.4'
name: serve-birds
ownership:
  domain: default
  scope: user
continue_on_failure: true
retry:
  max_attempts: 2
params:
- name: rate
  default: 0.01
  description: Learning rate
- name: epochs
  type: int
  value: '5'
- name: label
  type: str
environment:
  envs:
    API_KEY: ${{ secrets.BIRD_API_KEY }}
tasks:
- name: train
  type: custom
  command: ./train --rate ${{ params.rate }} --fmt '${{ .Names }}'
  continue_on_failure: false
  retry:
    max_attempts: 3
    delay: 30
  environment:
    image: registry.example/torch:2.5
    envs:
      NOTE: rate ${{params.rate}}, or ${{ runner.os }}
- name: api
  type: deployment
  dependencies: [train]
  command: ./serve
  retry: {max_attempts: 4, delay: 1m30s}
  resources: {cpu: 1, mem: 2g, cuda.shares: '0'}
  service:
    name: birds
    model_mount_destination: /models
    runtime_variant: custom
    replicas: 2
    open_to_public: false
)";

ParsedPipeline Read(std::string_view text) { return ReadFastTrack(text, "birds.yaml"); }

Pipeline ReadGood(std::string_view text) {
  ParsedPipeline parsed = Read(text);
  INFO(parsed.diagnostics.ToString());
  REQUIRE(parsed.pipeline.has_value());
  return *std::move(parsed.pipeline);
}

std::string Messages(std::string_view text) { return Read(text).diagnostics.ToString(); }

// A document with one task that has the given line among its fields.
std::string WithTaskLine(const std::string& line) {
  return "name: p\ntasks:\n- name: a\n  type: custom\n  command: echo a\n  " + line + "\n";
}

std::string Replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const size_t at = result.find(from);
  REQUIRE(at != std::string::npos);
  return result.replace(at, from.size(), to);
}

Quantity Amount(std::string_view text) { return *Quantity::ParseCount(text); }

TEST_CASE("the older generation is read completely") {
  const Pipeline pipeline = ReadGood(kOlder);
  CHECK(pipeline.name == "bird-songs");
  CHECK(pipeline.description == "Trains a classifier of bird songs.");
  CHECK(pipeline.labels ==
        std::map<std::string, std::string>{{"fasttrack/version", "25.6.1"},
                                           {"fasttrack/ownership.domain_name", "default"},
                                           {"fasttrack/ownership.scope", "personal"}});
  CHECK(pipeline.environment ==
        std::vector<EnvironmentVariable>{{"HUB_TOKEN", "abc123"}, {"LANG", "ko_KR.UTF-8"}});
  CHECK(pipeline.folders == std::vector<Folder>{{"bird-data", ""}, {"checkpoints", ""}});
  REQUIRE(pipeline.tasks.size() == 2);

  const Task& fetch = pipeline.tasks[0];
  CHECK(fetch.name == "fetch");
  CHECK(fetch.kind == TaskKind::command);
  CHECK(fetch.shell);
  CHECK(fetch.command ==
        std::vector<std::string>{"cd /home/work/songs\n./fetch.sh \"${SOURCE}\" $${HOME}"});
  CHECK(fetch.cache == CacheMode::off);
  CHECK(fetch.resource_group == "cpu-pool");
  CHECK(fetch.image == "registry.example/python:3.11");
  CHECK(fetch.resources ==
        std::vector<SlotRequest>{{"cpu", Amount("2")}, {"mem", *Quantity::ParseBytes("4g")}});
  CHECK(fetch.mounts == std::vector<Mount>{{"bird-data", "/home/work/songs"}});
  CHECK(fetch.labels ==
        std::map<std::string, std::string>{{"fasttrack/environment.project", "default"},
                                           {"fasttrack/shmem", "0g"}});
  CHECK_FALSE(fetch.skip);
  CHECK_FALSE(fetch.multi_node);

  const Task& train = pipeline.tasks[1];
  CHECK(train.description == "On two nodes");
  CHECK(train.multi_node);
  CHECK(train.cluster_size == 2);
  CHECK(train.skip);
  CHECK(train.dependencies == std::vector<std::string>{"fetch"});
  CHECK(train.environment ==
        std::vector<EnvironmentVariable>{{"EPOCHS", "3"}, {"VERBOSE", "true"}});
  CHECK(train.resources == std::vector<SlotRequest>{{"cpu", Amount("4")},
                                                    {"cuda.shares", Amount("1.5")},
                                                    {"mem", *Quantity::ParseBytes("16g")}});
  CHECK(train.mounts == std::vector<Mount>{{"bird-data", "/home/work/songs"},
                                           {"bird-data", "/mnt/again"},
                                           {"checkpoints", "/home/work/checkpoints"}});
  CHECK(train.shared_memory == *Quantity::ParseBytes("2g"));
  CHECK_FALSE(train.labels.get().contains("fasttrack/shmem"));
  CHECK(train.retry == Retry());
}

TEST_CASE("positions of the tasks are kept") {
  CHECK(Read(kOlder).task_positions == std::vector<Position>{{12, 3}, {35, 3}});
}

TEST_CASE("what would change a run is named in a warning") {
  CHECK(Messages(kOlder) ==
        "birds.yaml:10:16: environment.envs.HUB_TOKEN: warning: looks like a credential in plain "
        "text; secret://env/HUB_TOKEN reads it from the environment and keeps it out of the file");
  CHECK(Messages(WithTaskLine("module_uri: git://x")) ==
        "birds.yaml:6:15: tasks[0].module_uri: warning: kept as a label; this version does not act "
        "on it");
  CHECK(Messages(WithTaskLine("service: {replicas: 2}")) ==
        "birds.yaml:6:12: tasks[0].service: warning: kept as a label; this version does not act on "
        "it");
}

TEST_CASE("credentials in plain text are never printed") {
  CHECK(Messages(kOlder).find("abc123") == std::string::npos);
  for (const std::string name : {"HF_TOKEN", "aws_secret_access_key", "Password", "MY_SECRET"}) {
    INFO(name);
    const std::string messages =
        Messages("name: p\nenvironment: {envs: {" + name +
                 ": hunter2}}\ntasks: [{name: a, type: custom, command: x}]\n");
    CHECK(messages.find("looks like a credential") != std::string::npos);
    CHECK(messages.find("hunter2") == std::string::npos);
  }
  for (const std::string line : {"HF_TOKEN: ''", "HF_TOKEN: ${{ secrets.T }}", "TOKENS: x",
                                 "HF_TOKEN: secret://env/HF_TOKEN"}) {
    INFO(line);
    CHECK(
        Messages("name: p\nenvironment: {envs: {" + line + "}}\ntasks: []\n").find("credential") ==
        std::string::npos);
  }
}

TEST_CASE("the newer generation is read completely") {
  const Pipeline pipeline = ReadGood(kNewer);
  CHECK(pipeline.labels.at("fasttrack/ownership.domain") == "default");
  CHECK(pipeline.labels.at("fasttrack/version") == "26.4");
  CHECK(pipeline.environment ==
        std::vector<EnvironmentVariable>{{"API_KEY", "secret://env/BIRD_API_KEY"}});
  REQUIRE(pipeline.parameters.size() == 3);
  CHECK(pipeline.parameters[0].name == "epochs");
  CHECK(pipeline.parameters[0].default_value == Value(int64_t{5}));
  CHECK(pipeline.parameters[1].name == "label");
  CHECK(pipeline.parameters[1].type == ValueType::string);
  CHECK_FALSE(pipeline.parameters[1].default_value.has_value());
  CHECK(pipeline.parameters[2].default_value == Value(0.01));
  CHECK(pipeline.parameters[2].type == ValueType::number);
  CHECK(pipeline.parameters[2].description == "Learning rate");

  const Task& train = pipeline.tasks[0];
  CHECK(train.labels == std::map<std::string, std::string>{{"fasttrack/type", "custom"}});
  CHECK_FALSE(train.allow_failure);
  CHECK(train.retry.max_attempts == 3);
  CHECK(train.retry.delay == std::chrono::seconds(30));
  CHECK(train.retry.backoff == 1.0F);
  CHECK(train.command ==
        std::vector<std::string>{"./train --rate ${{ params.rate }} --fmt '$${{ .Names }}'"});
  CHECK(train.environment == std::vector<EnvironmentVariable>{
                                 {"NOTE", "rate ${{ params.rate }}, or $${{ runner.os }}"}});

  const Task& api = pipeline.tasks[1];
  CHECK(api.kind == TaskKind::serve);
  CHECK(api.allow_failure);
  CHECK(api.retry.delay == std::chrono::seconds(90));
  CHECK(api.resources.size() == 2);  // none of a slot is no request
  CHECK(api.labels ==
        std::map<std::string, std::string>{{"fasttrack/type", "deployment"},
                                           {"fasttrack/service.name", "birds"},
                                           {"fasttrack/service.model_mount_destination", "/models"},
                                           {"fasttrack/service.runtime_variant", "custom"},
                                           {"fasttrack/service.replicas", "2"},
                                           {"fasttrack/service.open_to_public", "false"}});
  CHECK(Messages(kNewer) ==
        "birds.yaml:34:9: tasks[1].type: warning: a service is kept and exported; this version "
        "does not run it");
}

TEST_CASE("a retry of the pipeline applies to tasks without their own") {
  const Pipeline pipeline = ReadGood(
      "name: p\nretry: {max_attempts: 5, delay: 2h}\ntasks: [{name: a, type: custom, command: x}, "
      "{name: b, type: custom, command: x, retry: {max_attempts: 0}}]\n");
  CHECK(pipeline.tasks[0].retry.max_attempts == 5);
  CHECK(pipeline.tasks[0].retry.delay == std::chrono::hours(2));
  CHECK(pipeline.tasks[0].retry.max_delay == std::chrono::hours(2));
  CHECK(pipeline.tasks[1].retry.max_attempts == 1);
}

TEST_CASE("parameters may be a map") {
  const Pipeline pipeline = ReadGood(
      "name: p\nparams:\n  rate: 0.5\n  many: 7\n  fast: true\n  text: '7'\n  open:\n"
      "  full: {type: number, default: 1, description: d}\ntasks: [{name: a, type: custom, "
      "command: x}]\n");
  std::vector<std::string> found;
  for (const Parameter& parameter : pipeline.parameters) {
    const std::string value =
        parameter.default_value.has_value() ? ToText(*parameter.default_value) : "nothing";
    found.push_back(parameter.name + " " + std::string(ToString(parameter.type)) + " " + value);
  }
  CHECK(found == std::vector<std::string>{"fast boolean true", "full number 1", "many integer 7",
                                          "open string nothing", "rate number 0.5",
                                          "text string 7"});
}

TEST_CASE("names that are not ours become valid, unique and are kept") {
  const ParsedPipeline parsed = Read(R"(name: my birds
tasks:
- {name: fine tune, type: custom, command: x, mounts: ['My Data:d', 'My-Data:e']}
- {name: fine-tune, type: custom, command: x, dependencies: [fine tune]}
- {name: 학습, type: custom, command: x, dependencies: [fine-tune, (fine tune)]}
- {name: (fine tune), type: custom, command: x}
)");
  INFO(parsed.diagnostics.ToString());
  REQUIRE(parsed.pipeline.has_value());
  const Pipeline& pipeline = *parsed.pipeline;
  CHECK(pipeline.name == "my-birds");
  CHECK(pipeline.labels.at("fasttrack/name") == "my birds");
  CHECK(pipeline.tasks[0].name == "fine-tune-2");
  CHECK(pipeline.tasks[0].labels.get().at("fasttrack/name") == "fine tune");
  CHECK(pipeline.tasks[1].name == "fine-tune");
  CHECK(pipeline.tasks[1].labels.get().count("fasttrack/name") == 0);
  CHECK(pipeline.tasks[1].dependencies == std::vector<std::string>{"fine-tune-2"});
  CHECK(pipeline.tasks[2].name == "task");
  CHECK(pipeline.tasks[2].dependencies == std::vector<std::string>{"fine-tune", "fine-tune-3"});
  CHECK(pipeline.tasks[3].name == "fine-tune-3");
  CHECK(pipeline.folders == std::vector<Folder>{{"My-Data", ""}, {"My-Data-2", ""}});
  CHECK(pipeline.labels.at("fasttrack/folder.My-Data-2") == "My Data");
  CHECK(pipeline.tasks[0].mounts ==
        std::vector<Mount>{{"My-Data-2", "/home/work/d"}, {"My-Data", "/home/work/e"}});
  CHECK(parsed.diagnostics.ToString().starts_with(
      "birds.yaml:1:7: name: warning: found \"my birds\", which is no valid name here; it becomes "
      "\"my-birds\"\n"
      "birds.yaml:3:10: tasks[0].name: warning: found \"fine tune\", which is no valid name here; "
      "it becomes \"fine-tune-2\"\n"));
}

TEST_CASE("names that are too long are cut and stay unique") {
  const std::string name(200, 'x');
  const Pipeline pipeline =
      ReadGood("name: p\ntasks:\n- {name: " + name +
               "a, type: custom, command: x}\n- {name: " + name + "b, type: custom, command: x}\n");
  CHECK(pipeline.tasks[0].name == std::string(112, 'x'));
  CHECK(pipeline.tasks[1].name == std::string(112, 'x') + "-2");
  CHECK(pipeline.tasks[1].labels.get().at("fasttrack/name") == name + "b");
}

TEST_CASE("a pipeline that was read is checked like any other") {
  CHECK(Messages("name: p\ntasks:\n- {name: a, type: custom, command: x, dependencies: [b]}\n"
                 "- {name: b, type: custom, command: x, dependencies: [a]}\n")
            .find("tasks wait for each other in a cycle: a -> b -> a") != std::string::npos);
  CHECK(Messages("name: p\ntasks:\n- {name: a, type: custom, command: 'x ${{ params.n }}'}\n")
            .find("unknown parameter \"n\"") != std::string::npos);
}

TEST_CASE("mistakes are errors with a position") {
  CHECK(Messages(WithTaskLine("cluster_sise: 2")) ==
        "birds.yaml:6:3: tasks[0].cluster_sise: unknown field \"cluster_sise\"; did you mean "
        "\"cluster_size\"?");
  CHECK(Messages(WithTaskLine("environment: {imag: x}")) ==
        "birds.yaml:6:17: tasks[0].environment.imag: unknown field \"imag\"; did you mean "
        "\"image\"?");
  CHECK(Messages("name: p\ntaks: []\n") ==
        "birds.yaml:1:1: \"tasks\" is missing\n"
        "birds.yaml:2:1: taks: unknown field \"taks\"; did you mean \"tasks\"?");
  CHECK(Messages("tasks: []\n") == "birds.yaml:1:1: \"name\" is missing");
  CHECK(Messages("name: p\ntasks:\n- {type: custom, command: x}\n") ==
        "birds.yaml:3:3: tasks[0]: \"name\" is missing");
  CHECK(Messages(WithTaskLine("skip: maybe")) ==
        "birds.yaml:6:9: tasks[0].skip: found \"maybe\", expected true or false");
  CHECK(Messages(WithTaskLine("cluster_mode: cloud")) ==
        "birds.yaml:6:17: tasks[0].cluster_mode: found \"cloud\", expected \"single-node\" or "
        "\"multi-node\"");
  CHECK(Messages(WithTaskLine("mounts: ['a:b:c']")) ==
        "birds.yaml:6:12: tasks[0].mounts[0]: found \"a:b:c\", expected \"folder\" or "
        "\"folder:alias\"");
  CHECK(Messages(WithTaskLine("mounts: a")) ==
        "birds.yaml:6:11: tasks[0].mounts: found \"a\", expected a list");
  CHECK(Messages(WithTaskLine("retry: {delay: soon}")) ==
        "birds.yaml:6:18: tasks[0].retry.delay: found \"soon\", expected seconds, or a duration "
        "such as 30s or 1h30m");
  CHECK(Messages(WithTaskLine("dependencies: [b]")) ==
        "birds.yaml:6:18: tasks[0].dependencies[0]: found \"b\", but no task has this name");
  CHECK(Messages(Replace(kOlder, "  - fetch\n", "  - fetc\n"))
            .find("tasks[1].dependencies[0]: found \"fetc\", but no task has this name; did you "
                  "mean \"fetch\"?") != std::string::npos);
  CHECK(Messages(Replace(kOlder, "type: Custom Task", "type: Import"))
            .find("tasks[0].type: found \"Import\", expected \"Custom Task\", \"custom\", "
                  "\"deployment\" or \"serving\"") != std::string::npos);
  CHECK(Messages(Replace(kOlder, "name: train", "name: fetch"))
            .find("tasks[1].name: duplicate task \"fetch\"") != std::string::npos);
  for (const std::string size : {"0", "-1", "two", "65536", "1.5", "[1]"}) {
    INFO(size);
    CHECK(Messages(WithTaskLine("cluster_size: " + size))
              .find("expected a whole number from 1 to 65535") != std::string::npos);
  }
  CHECK_FALSE(Read(WithTaskLine("resources: {cuda.sharez: 1}")).pipeline.has_value());
  CHECK_FALSE(Read(WithTaskLine("resources: {cpu: many}")).pipeline.has_value());
  CHECK_FALSE(Read("- a\n").pipeline.has_value());
  CHECK_FALSE(Read("").pipeline.has_value());
}

TEST_CASE("secrets stand only as whole variables") {
  CHECK(Messages("name: p\ntasks:\n- name: a\n  type: custom\n  command: x ${{ secrets.T }}\n") ==
        "birds.yaml:5:12: tasks[0].command: a secret cannot stand in a command; give it to a "
        "variable in environment.envs and use that");
  CHECK(Messages(WithTaskLine("environment: {envs: {A: 'Bearer ${{ secrets.T }}'}}")) ==
        "birds.yaml:6:27: tasks[0].environment.envs.A: a secret must be the whole value of a "
        "variable");
}

TEST_CASE("text in commands survives, whatever it is") {
  const Pipeline pipeline = ReadGood(
      "name: p\nparams: {a: 1}\ntasks:\n- name: a\n  type: custom\n  command: |\n"
      "    echo $$ ${{ ${{ params.a }} ${{params.a}} ${{ params.a + 1 }} $${{ x }} ${{\n");
  CHECK(pipeline.tasks[0].command[0] ==
        "echo $$ $${{ ${{ params.a }} ${{ params.a }} $${{ params.a + 1 }} $$${{ x }} $${{\n");
}

TEST_CASE("FastTrack's form is told from our own") {
  CHECK(LooksLikeFastTrack(kOlder));
  CHECK(LooksLikeFastTrack(kNewer));
  CHECK(
      LooksLikeFastTrack("\xEF\xBB\xBF# x\n---\nname: a\r\ntasks:\r\n  - name: b\r\n"
                         "    type: custom\r\n"));
  CHECK(LooksLikeFastTrack("tasks:\n- \"module_uri\": ''\n"));
  CHECK(LooksLikeFastTrack("tasks:\n-   name: x\n    command: |\n      a\n    cluster_mode: x\n"));
  CHECK(LooksLikeFastTrack("name: a\nenvironment:\n  envs:\n    A: b\ntasks: []\n"));

  CHECK_FALSE(LooksLikeFastTrack(""));
  CHECK_FALSE(LooksLikeFastTrack("tasks:"));
  CHECK_FALSE(LooksLikeFastTrack("version: 1\nname: a\ntasks: []\n"));
  CHECK_FALSE(LooksLikeFastTrack("name: a\ntasks:\n- name: b\n  run: |\n    type: x\n"));
  CHECK_FALSE(LooksLikeFastTrack("name: a\ntasks:\n- name: b\n  labels:\n    type: x\n"));
  CHECK_FALSE(LooksLikeFastTrack("name: a\ntasks:\n  type:\n    run: x\n  cluster_mode: {}\n"));
  CHECK_FALSE(LooksLikeFastTrack("name: a\nenvironment:\n  envs: x\ntasks: []\n"));
  CHECK_FALSE(LooksLikeFastTrack("name: a\ndescription: |\n  ownership: x\ntasks: []\n"));
  CHECK_FALSE(LooksLikeFastTrack("ownership: x\nparameters: {}\ntasks: []\n"));
}

TEST_CASE("our own documents are never taken for FastTrack's") {
  Pipeline pipeline = ReadGood(kNewer);
  CHECK_FALSE(LooksLikeFastTrack(WriteYaml(pipeline)));
  pipeline.environment = {{"envs", ""}};
  pipeline.parameters.clear();
  pipeline.labels.clear();
  CHECK_FALSE(LooksLikeFastTrack(WriteYaml(pipeline)));
}

// Reads what was written; also says that it looks like what it is.
Pipeline WriteAndRead(const Pipeline& pipeline) {
  const FastTrackDocument document = WriteFastTrack(pipeline);
  INFO(document.yaml);
  CHECK(LooksLikeFastTrack(document.yaml));
  return ReadGood(document.yaml);
}

TEST_CASE("what was read from FastTrack is written back the same") {
  for (const std::string_view text : {kOlder, kNewer}) {
    const Pipeline pipeline = ReadGood(text);
    CHECK(WriteFastTrack(pipeline).lost.empty());
    CHECK(WriteAndRead(pipeline) == pipeline);
  }
}

TEST_CASE("the original names are written back") {
  const Pipeline pipeline = ReadGood(
      "version: 25.6.1\nname: my birds\nownership: {scope: personal}\ntasks:\n"
      "- {name: fine tune, type: custom, command: x, mounts: ['My Data:d']}\n"
      "- {name: b, type: custom, command: x, dependencies: [fine tune]}\n");
  const std::string yaml = WriteFastTrack(pipeline).yaml;
  CHECK(yaml.find("name: my birds\n") != std::string::npos);
  CHECK(yaml.find("- My Data:d\n") != std::string::npos);
  CHECK(WriteAndRead(pipeline) == pipeline);
}

TEST_CASE("the written document has the form of FastTrack") {
  Pipeline pipeline;
  pipeline.name = "p";
  Task task;
  task.name = "a";
  task.command = {"echo 'hi'\n\n./run"};
  task.image = "registry.example/python:3.11";
  task.mounts = {{"d", "/home/work/in", false}};
  pipeline.folders = {{"d", ""}};
  task.cache = CacheMode::off;
  task.resources = {{"cpu", Amount("2")}, {"cuda.shares", Amount("1.5")}};
  task.environment = {{"A", "5"}, {"B", "secret://env/B_KEY"}};
  pipeline.tasks = {task};
  const FastTrackDocument document = WriteFastTrack(pipeline);
  CHECK(document.lost.empty());
  CHECK(document.yaml == R"(version: '25.6'
name: p
description: ''
ownership:
  domain_name: default
  scope: personal
environment:
  envs: {}
tasks:
- name: a
  description: ''
  type: Custom Task
  cluster_mode: single-node
  cluster_size: 1
  module_uri: ''
  command: |-
    echo 'hi'

    ./run
  environment:
    image: registry.example/python:3.11
    envs:
      A: '5'
      B: '${{ secrets.B_KEY }}'
  resources:
    cpu: 2
    cuda.shares: '1.5'
  resource_opts: {}
  dependencies: []
  mounts:
  - d:in
  skip: false
)");
}

TEST_CASE("every text survives writing and reading") {
  const std::vector<std::string> texts{"a",
                                       "true",
                                       "5",
                                       "1e3",
                                       "~",
                                       "null",
                                       "- x",
                                       "a: b",
                                       "a #b",
                                       "'",
                                       "\"",
                                       "\\n",
                                       "{}",
                                       "[x",
                                       " lead",
                                       "trail ",
                                       "a\nb",
                                       "a\nb\n",
                                       "a\n\n",
                                       "\na\n",
                                       " a\nb\n",
                                       "a\n  b\n c\n",
                                       "a \nb\n",
                                       "\t",
                                       "a\tb\n\tc\n",
                                       "다람쥐 🐿\n둘\n",
                                       "%x",
                                       "@x",
                                       "`x`",
                                       "!x",
                                       "&x",
                                       "*x",
                                       "| x",
                                       "> x",
                                       "a\r\nb\n",
                                       "${{ x }}\n",
                                       "\x01",
                                       "---\n",
                                       "a\n---\nb\n",
                                       "# c\nb\n",
                                       "...\nb\n",
                                       "yes",
                                       "0x10",
                                       "0o7",
                                       "1:30",
                                       "2024-01-01",
                                       "=",
                                       "<<",
                                       "?",
                                       "? a",
                                       "a\xC2\x85z",
                                       "a\xE2\x80\xA8z\nb",
                                       "\xEF\xBB\xBFz",
                                       "a\n\n\nb",
                                       "a\n \nb",
                                       "a\nb ",
                                       "it's\nso",
                                       "a  b",
                                       "a :b",
                                       "a ::",
                                       "a, b",
                                       "no way",
                                       "x: ",
                                       "a:\tb",
                                       "\\\t\"",
                                       ":",
                                       "a:",
                                       "-",
                                       "--",
                                       ","};
  for (const std::string& text : texts) {
    CAPTURE(text);
    Pipeline pipeline;
    pipeline.name = "p";
    pipeline.description = text;
    Task task;
    task.name = "a";
    task.cache = CacheMode::off;
    task.command = {"echo\n" + text};
    task.environment = {{"A", text}};
    task.description = text;
    pipeline.tasks = {task};
    // As the reader would have it.
    const auto escaped = [](std::string value) {
      const size_t open = value.find("${{");
      return open == std::string::npos ? value : value.insert(open, "$");
    };
    pipeline.tasks[0].command = {escaped("echo\n" + text)};
    pipeline.tasks[0].environment[0].value = escaped(text);
    const FastTrackDocument document = WriteFastTrack(pipeline);
    CHECK(document.lost.empty());
    const Pipeline back = ReadGood(document.yaml);
    CHECK(back.description == pipeline.description);
    CHECK(back.tasks[0].command == pipeline.tasks[0].command);
    CHECK(back.tasks[0].environment == pipeline.tasks[0].environment);
    CHECK(back.tasks[0].description == pipeline.tasks[0].description);
  }
}

TEST_CASE("arguments become shell words") {
  Pipeline pipeline;
  pipeline.name = "p";
  pipeline.parameters = {{"rate", ValueType::number, Value(0.5), "", {}, {}, {}}};
  Task task;
  task.name = "a";
  task.cache = CacheMode::off;
  task.shell = false;
  task.command = {"./run", "it's", "", "--rate=${{ params.rate }} x", "$HOME"};
  pipeline.tasks = {task};
  const Pipeline back = WriteAndRead(pipeline);
  CHECK(back.tasks[0].shell);
  CHECK(back.tasks[0].command ==
        std::vector<std::string>{"./run 'it'\\''s' '' --rate=${{ params.rate }}' x' '$HOME'"});
}

TEST_CASE("what the form cannot say is listed") {
  Pipeline pipeline;
  pipeline.name = "p";
  pipeline.labels = {{"team", "birds"}, {"fasttrack/version", "25.6"}};
  pipeline.source = "code";
  pipeline.results = {{"model", "a/model.bin"}};
  pipeline.priority = 1;
  pipeline.parameters = {
      {"n", ValueType::integer, Value(int64_t{1}), "", {Value(int64_t{1})}, 0, 9}};
  pipeline.folders = {{"d", "data"}, {"unused", ""}};
  Task task;
  task.name = "a";
  task.command = {"echo ${{ run.id }} $${{ params.n }}"};
  task.trigger = Trigger::all_done;
  task.when = "params.n > 0";
  task.environment = {{"S", "secret://file/x"}, {"T", "${{ task.attempt }}"}};
  task.mounts = {{"d", "data", true}, {"d", "/a:b", false}};
  task.outputs = {{"accuracy", ValueType::number}};
  task.files = {"a.py"};
  task.timeout = std::chrono::seconds(5);
  task.priority = -1;
  task.grace_period = std::chrono::seconds(1);
  task.retry.max_attempts = 3;
  task.retry.delay = std::chrono::seconds(1);
  task.retry.jitter = 0.5F;
  task.labels = {{"x", "y"}};
  pipeline.tasks = {task};
  CHECK(WriteFastTrack(pipeline).lost ==
        std::vector<std::string>{
            "pipeline: source",
            "pipeline: results",
            "pipeline: priority",
            "pipeline: cache (FastTrack runs every task anew)",
            "folder \"d\": path",
            "folder \"unused\": no task mounts it",
            "pipeline: label \"team\"",
            "parameter \"n\": choices",
            "parameter \"n\": minimum",
            "parameter \"n\": maximum",
            "task \"a\": trigger",
            "task \"a\": when",
            "task \"a\": outputs",
            "task \"a\": files",
            "task \"a\": timeout",
            "task \"a\": priority",
            "task \"a\": grace_period",
            "task \"a\": retry.backoff",
            "task \"a\": retry.jitter",
            "task \"a\": label \"x\"",
            "task \"a\": command: ${{ run.id }}",
            "task \"a\": command: the literal text \"${{ params.n }}\"",
            "task \"a\": variable \"S\": its secret does not come from the environment",
            "task \"a\": variable \"T\": ${{ task.attempt }}",
            "task \"a\": mount \"data\": read_only",
            "task \"a\": mount \"data\": relative to the working folder of the task",
            "task \"a\": mount \"/a:b\": \":\" in a path"});
}

TEST_CASE("hostile documents end in errors") {
  CHECK_FALSE(Read(std::string(100'000, '[')).pipeline.has_value());
  std::string many = "name: p\ntasks: [{name: a, type: custom, command: x, dependencies: [";
  for (int i = 0; i < 50'000; ++i) many += "b" + std::to_string(i) + ",";
  const ParsedPipeline parsed = Read(many + "]}]\n");
  CHECK(parsed.diagnostics.error_count() == 1001);  // no more are listed
  CHECK_FALSE(parsed.pipeline.has_value());
}

}  // namespace
}  // namespace trackbed
