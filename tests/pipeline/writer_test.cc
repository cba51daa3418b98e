// What is written reads back to the same pipeline, and the same pipeline writes the same bytes.
#include "trackbed/pipeline/writer.hpp"

#include <chrono>

#include "support/catch.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {
namespace {

Pipeline MakePipeline() {
  Pipeline p;
  p.name = "digits";
  p.description = "Trains: a \"classifier\"\n";
  p.labels = {{"team", "vision"}, {"version", "1.10"}};
  p.source = ".";
  p.parameters = {
      {"alpha", ValueType::number, Value(1.0), "step", {Value(0.1), Value(1.0)}, 0.0, 1.0},
      {"flag", ValueType::boolean, Value(false), "", {}, {}, {}},
      {"hidden", ValueType::integer, Value(int64_t{64}), "", {}, {}, {}},
      {"needed", ValueType::string, {}, "", {}, {}, {}},
      {"text", ValueType::string, Value("64"), "", {Value("64"), Value("true")}, {}, {}}};
  p.environment = {{"EMPTY", ""}, {"TOKEN", "secret://env/HF_TOKEN"}};
  p.folders = {{"data", "./data"}, {"scratch", ""}};
  Task split;
  split.name = "split";
  split.command = {"python3", "split.py", "a b", "it's", ""};
  split.shell = false;
  Task train;
  train.name = "train";
  train.description = "ünïcödé";
  train.command = {"set -e\n\n  python3 train.py --alpha ${{ params.alpha }}\n# done"};
  train.dependencies = {"split"};
  train.trigger = Trigger::none_failed;
  train.when = "params.flag == false";
  train.environment = {{"A", "1"}, {"B", "~"}, {"C", " padded "}, {"D", "line\n\nline\n\n"}};
  train.resources = {{"cpu", *Quantity::FromUnits(2)},
                     {"cuda.shares", Quantity::FromThousandths(1500)},
                     {"mem", *Quantity::FromUnits(1 << 30)}};
  train.mounts = {{"data", "/data", true}, {"scratch", "scratch", false}};
  train.outputs = {{"accuracy", ValueType::number}, {"model", ValueType::string}};
  train.files = {"train.py", "lib"};
  train.retry = {3, std::chrono::seconds(5), std::chrono::minutes(1), 1.5F, 0.1F};
  train.timeout = std::chrono::minutes(10);
  train.grace_period = Duration(0);
  train.shared_memory = *Quantity::ParseBytes("1.5g");
  train.cache = CacheMode::off;
  train.skip = true;
  train.allow_failure = true;
  train.image = "python:3.11";
  train.resource_group = "fast";
  train.priority = 12;
  train.cluster_size = 2;
  train.multi_node = true;
  train.labels = {{"key with: colon", "\ttab \x01 \xc2\x85 \xe2\x80\xa8 \xf0\x9f\x98\x80"}};
  Task serve;
  serve.name = "serve";
  serve.kind = TaskKind::serve;
  p.tasks = {split, train, serve};
  p.results = {{"model.npz", "train/model.npz"}};
  p.priority = -1;
  return p;
}

void CheckReadsBack(const Pipeline& pipeline, std::string_view text, TextFormat format) {
  INFO(text);
  const ParsedPipeline parsed = ReadPipeline(text, "", format);
  INFO(parsed.diagnostics.ToString());
  REQUIRE(parsed.pipeline.has_value());
  CHECK(*parsed.pipeline == pipeline);
  CHECK(CanonicalForm(*parsed.pipeline) == CanonicalForm(pipeline));
}

TEST_CASE("YAML, JSON and the canonical form read back") {
  const Pipeline pipeline = MakePipeline();
  CheckReadsBack(pipeline, WriteYaml(pipeline), TextFormat::yaml);
  CheckReadsBack(pipeline, WriteJson(pipeline), TextFormat::json);
  CheckReadsBack(pipeline, CanonicalForm(pipeline), TextFormat::json);
  CheckReadsBack(pipeline, CanonicalForm(pipeline), TextFormat::yaml);
}

TEST_CASE("The canonical form is fixed") {
  Pipeline p;
  p.name = "p";
  p.parameters = {{"alpha", ValueType::number, Value(0.1), "", {}, 0.0, {}}};
  Task task;
  task.name = "t";
  task.command = {"echo é"};
  task.resources = {{"cpu", Quantity::FromThousandths(500)}, {"mem", *Quantity::FromUnits(1024)}};
  task.retry.max_attempts = 2;
  p.tasks = {task};
  CHECK(CanonicalForm(p) ==
        R"({"name":"p","parameters":{"alpha":{"type":"number","default":0.1,"minimum":0.0}},)"
        R"("tasks":[{"name":"t","command":"echo é","resources":{"cpu":"0.5","mem":"1k"},)"
        R"("retry":{"max_attempts":2}}]})");
  CHECK(PipelineVersion(p) == "sha256:" + PipelineVersion(p).substr(7));
  CHECK(PipelineVersion(p).size() == 71);
}

TEST_CASE("YAML is written for people") {
  Pipeline p;
  p.name = "p";
  Task task;
  task.name = "t";
  task.command = {"set -e\nrun"};
  task.dependencies = {"s"};
  task.environment = {{"A", "1"}};
  task.resources = {{"cpu", *Quantity::FromUnits(2)}, {"mem", *Quantity::FromUnits(1 << 30)}};
  task.timeout = std::chrono::minutes(90);
  p.tasks = {task};
  CHECK(WriteYaml(p) ==
        "name: p\n"
        "tasks:\n"
        "- name: t\n"
        "  command: |-\n"
        "    set -e\n"
        "    run\n"
        "  dependencies:\n"
        "  - s\n"
        "  environment:\n"
        "    A: '1'\n"
        "  resources:\n"
        "    cpu: 2\n"
        "    mem: 1g\n"
        "  timeout: 1h30m\n");
}

TEST_CASE("The version tells pipelines apart, not notations") {
  const Pipeline pipeline = MakePipeline();
  Pipeline other = pipeline;
  CHECK(PipelineVersion(other) == PipelineVersion(pipeline));
  other.tasks[1].command = {std::string(other.tasks[1].command.front()) + " "};
  CHECK(PipelineVersion(other) != PipelineVersion(pipeline));
  other = pipeline;
  other.parameters[0].minimum = -0.0;  // equals 0
  CHECK(other == pipeline);
  CHECK(PipelineVersion(other) == PipelineVersion(pipeline));
}

TEST_CASE("Texts that look like something else stay texts") {
  for (const std::string text : {"",
                                 "~",
                                 "null",
                                 "true",
                                 "no",
                                 "1",
                                 "1.5",
                                 "0x10",
                                 "1e3",
                                 "-",
                                 "- a",
                                 "a: b",
                                 "a #b",
                                 "#a",
                                 "&a",
                                 "*a",
                                 "!a",
                                 "|",
                                 ">",
                                 "@a",
                                 "`a",
                                 "%a",
                                 "{a}",
                                 "[a]",
                                 "'a",
                                 "\"a",
                                 "a'b\"c",
                                 "a\\nb",
                                 "\n",
                                 "\n\n",
                                 "a\n",
                                 "a\n\n",
                                 "\na",
                                 " a\nb",
                                 "a \nb",
                                 "a\n b\n",
                                 "\ta\nb",
                                 "a\tb\nc",
                                 "a\r\nb",
                                 "\r",
                                 "---",
                                 "...",
                                 "a\n---\nb\n",
                                 "<<",
                                 "=",
                                 "?",
                                 "? a",
                                 ",a",
                                 "2024-01-01",
                                 "12:30:00",
                                 "\x7f",
                                 "\xc2\x80",
                                 "\xef\xbb\xbf",
                                 "\xef\xbf\xbe",
                                 "é: è",
                                 "a:",
                                 ":a",
                                 "a,b",
                                 "\x1b[0m"}) {
    CAPTURE(text);
    Pipeline p;
    p.name = "p";
    p.description = text;
    p.parameters = {{"x", ValueType::string, Value(text), "", {Value(text)}, {}, {}}};
    Task task;
    task.name = "t";
    task.shell = false;
    task.command = {"echo", text};
    task.environment = {{"A", text}};
    p.tasks = {task};
    CheckReadsBack(p, WriteYaml(p), TextFormat::yaml);
    CheckReadsBack(p, WriteJson(p), TextFormat::json);
  }
}

TEST_CASE("Text that is not UTF-8 is written, though not kept") {
  Pipeline p = MakePipeline();
  p.description = "\xff\xfe";
  CHECK_FALSE(WriteJson(p).empty());
  CHECK_FALSE(WriteYaml(p).empty());
}

}  // namespace
}  // namespace trackbed
