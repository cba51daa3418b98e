// Pipelines as protobuf bytes.
#include <chrono>

#include "support/catch.hpp"
#include "support/processor_time.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

Pipeline MakePipeline() {
  Pipeline p;
  p.name = "digits";
  p.description = "text";
  p.labels = {{"b", "2"}, {"a", "1"}};
  p.source = "src";
  p.priority = 1000;
  p.parameters = {
      {"alpha", ValueType::number, Value(0.1), "step", {Value(0.1), Value(-0.0)}, -1.0, 1.0},
      {"flag", ValueType::boolean, Value(false), "", {}, {}, {}},
      {"hidden", ValueType::integer, Value(int64_t{-64}), "", {}, {}, {}},
      {"needed", ValueType::string, {}, "", {}, {}, {}},
      {"text", ValueType::string, Value(""), "", {}, {}, {}}};
  p.environment = {{"A", "1"}, {"TOKEN", "secret://env/HF_TOKEN"}};
  p.folders = {{"data", "./data"}, {"scratch", ""}};
  Task full;
  full.name = "full";
  full.description = "all fields";
  full.command = {"echo"};
  full.kind = TaskKind::serve;
  full.trigger = Trigger::any_failed;
  full.cache = CacheMode::off;
  full.skip = true;
  full.allow_failure = true;
  full.priority = -7;
  full.cluster_size = 65535;
  full.multi_node = true;
  full.enforcement = Enforcement::hardware;
  full.dependencies = {"b", "a"};
  full.when = "true";
  full.environment = {{"A", "x"}, {"B", ""}};
  full.resources = {{"cpu", Quantity::FromThousandths(1500)}, {"mem", *Quantity::FromUnits(5)}};
  full.mounts = {{"data", "/data", true}, {"scratch", "x", false}};
  full.outputs = {{"a", ValueType::boolean}, {"b", ValueType::string}};
  full.files = {"z", "a"};
  full.retry = {3, std::chrono::seconds(5), std::chrono::minutes(1), 1.5F, 0.1F};
  full.shared_memory = *Quantity::ParseBytes("3g");
  full.timeout = std::chrono::minutes(10);
  full.grace_period = Duration(0);
  full.image = "i";
  full.resource_group = "g";
  full.labels = {{"l", "m"}};
  Task arguments;
  arguments.name = "arguments";
  arguments.shell = false;
  arguments.command = {"a", "", "b"};
  Task none;
  none.name = "none";
  p.tasks = {full, arguments, none};
  p.results = {{"x", "full/x"}};
  return p;
}

TEST_CASE("Encoded pipelines decode to the same") {
  const Pipeline pipeline = MakePipeline();
  const auto decoded = DecodePipeline(EncodePipeline(pipeline));
  REQUIRE(decoded.ok());
  CHECK(*decoded == pipeline);
  CHECK(EncodePipeline(*decoded) == EncodePipeline(pipeline));
  CHECK(*DecodePipeline(EncodePipeline(Pipeline())) == Pipeline());
  CHECK(EncodePipeline(Pipeline()).empty());
}

TEST_CASE("The encoding is deterministic") {
  Pipeline pipeline = MakePipeline();
  for (int i = 0; i < 200; ++i) pipeline.labels["key" + std::to_string(i)] = "v";
  const std::string bytes = EncodePipeline(pipeline);
  for (int i = 0; i < 5; ++i) CHECK(EncodePipeline(*DecodePipeline(bytes)) == bytes);
}

TEST_CASE("What leaves fields out gets defaults") {
  // name: "p", tasks: [{name: "t", retry: {max_attempts: 2}, cluster: {multi_node: true}}]
  const std::string bytes =
      std::string("\x0a\x01p\x42\x0c\x0a\x01t\x72\x02\x08\x02\xb2\x01\x02", 15) +
      std::string("\x10\x01", 2);
  const auto decoded = DecodePipeline(bytes);
  REQUIRE(decoded.ok());
  REQUIRE(decoded->tasks.size() == 1);
  CHECK(decoded->tasks[0].retry == Retry{2});
  CHECK(decoded->tasks[0].cluster_size == 1);
  CHECK(decoded->tasks[0].multi_node);
  CHECK(decoded->tasks[0].grace_period == std::chrono::seconds(10));
}

TEST_CASE("Bytes that are no pipeline are refused") {
  struct Case {
    std::string bytes;
    std::string message;
  };
  const std::string broken = "not a pipeline: the bytes are no trackbed.v1.Pipeline";
  const std::string unknown = "not a pipeline: a field that this version does not know";
  const Case cases[] = {
      {std::string("\x0a", 1), broken},  // a name without its length
      {std::string("\x0a\x05"
                   "ab",
                   4),
       broken},                                              // a name cut short
      {std::string("\x0a\x01\xff", 3), broken},              // a name that is not UTF-8
      {std::string("\x00", 1), broken},                      // the tag 0
      {std::string("\x0c", 1), broken},                      // the end of no group
      {std::string("\x42\x7f\x0a", 3), broken},              // a task cut short
      {std::string("\x42\xff\xff\xff\xff\x7f", 6), broken},  // a task of 34 GB
      {std::string("\x42\x02\x0a\x05", 4), broken},          // a task whose name is cut short
      {"hello", broken},
      {std::string("\x5a\x00", 2), unknown},              // field 11
      {std::string("\x42\x03\xc2\x02\x00", 5), unknown},  // field 40 of a task
      {std::string("\x42\x03\xd0\x01\x03", 5), "not a pipeline: an enforcement is out of range"},
      {std::string("\x50\xd2\x0f", 3), "not a pipeline: a priority is out of range"},  // 1001
      {std::string("\x42\x02\x18\x02", 4), "not a pipeline: a kind of task is out of range"},
      {std::string("\x42\x02\x38\x04", 4), "not a pipeline: a trigger is out of range"},
      {std::string("\x42\x03\x88\x01\x03", 5), "not a pipeline: a cache mode is out of range"},
      {std::string("\x42\x07\xb2\x01\x04\x08\x80\x80\x04", 9),
       "not a pipeline: a cluster size is out of range"},
      {std::string("\x2a\x06\x0a\x00\x12\x02\x08\x04", 8),
       "not a pipeline: a type is out of range"},
      {std::string("\x2a\x06\x0a\x00\x12\x02\x12\x00", 8),
       "not a pipeline: a value without a kind"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.bytes);
    const auto decoded = DecodePipeline(c.bytes);
    CHECK(decoded.status().code() == StatusCode::kInvalidArgument);
    CHECK(Message(decoded.status()) == c.message);
  }
}

TEST_CASE("Every truncation is refused or decodes without harm") {
  const std::string bytes = EncodePipeline(MakePipeline());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto decoded = DecodePipeline(bytes.substr(0, size));
    if (decoded.ok()) CHECK_FALSE(*decoded == MakePipeline());
  }
}

TEST_CASE("Fields in any order decode") {
  const Pipeline pipeline = MakePipeline();
  Pipeline head = pipeline;
  head.tasks.clear();
  Pipeline tasks;
  tasks.tasks = pipeline.tasks;
  CHECK(*DecodePipeline(EncodePipeline(tasks) + EncodePipeline(head)) == pipeline);
}

TEST_CASE("A hundred thousand tasks decode fast") {
  Pipeline pipeline;
  pipeline.name = "p";
  for (int i = 0; i < 100'000; ++i) {
    Task task;
    task.name = "task" + std::to_string(i);
    task.command = {"python3 work.py --shard " + std::to_string(i)};
    if (i > 0) task.dependencies = {"task" + std::to_string(i - 1)};
    pipeline.tasks.push_back(std::move(task));
  }
  const std::string bytes = EncodePipeline(pipeline);
  const double start = ProcessorSeconds();
  const auto decoded = DecodePipeline(bytes);
  CHECK(ProcessorSeconds() - start < 10);
  REQUIRE(decoded.ok());
  CHECK(*decoded == pipeline);
}

}  // namespace
}  // namespace trackbed
