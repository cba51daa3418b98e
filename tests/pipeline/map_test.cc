// Tasks with a map, as documents say them: read, checked, written, drawn, exported.
#include <string>
#include <vector>

#include "pipeline/reading.hpp"
#include "support/catch.hpp"
#include "support/pipelines.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/map_items.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

// A pipeline in which task "score", which depends on "list", has these lines.
std::string Document(const std::string& lines) {
  return "name: p\ntasks:\n- name: list\n  command: list\n  outputs: [items]\n- name: score\n"
         "  dependencies: [list]\n" +
         lines;
}

std::string Complaints(const std::string& lines) {
  return ReadPipeline(Document(lines), "", TextFormat::yaml).diagnostics.ToString();
}

TEST_CASE("A map is read") {
  const std::string command = "  command: score ${{ items }}\n";
  const auto map = [&](const std::string& lines) {
    return *MustRead(Document(command + lines)).tasks[1].map;
  };
  CHECK(map("  map: {over: '${{ tasks.list.outputs.items }}'}\n") ==
        TaskMap{"${{ tasks.list.outputs.items }}", 1, 0, 0});
  CHECK(map("  map: {over: 1000000, batch: 1000, concurrency: 8}\n") ==
        TaskMap{"1000000", 1000, 0, 8});
  CHECK(map("  map: {over: 7, batches: 64}\n") == TaskMap{"7", 1, 64, 0});
  CHECK(map("  map:\n    over: [0.1, 2, true, \"2\", it's, 007]\n").over ==
        R"([0.1, 2, true, "2", "it's", "007"])");
  CHECK(map("  map: {over: []}\n").over == "[]");
  CHECK_FALSE(MustRead(Document("  command: x\n")).tasks[1].map);
}

TEST_CASE("What is wrong with a map is said where it stands") {
  const std::pair<std::string, std::string> cases[] = {
      {"  command: x\n  map: {batch: 2}\n", "9:8: tasks[1].map: \"over\" is missing"},
      {"  command: x\n  map: 7\n", "9:8: tasks[1].map: found 7, expected a map"},
      {"  command: x\n  map: {over: {a: 1}}\n",
       "9:15: tasks[1].map.over: found a map, expected a list of texts and numbers, a whole "
       "number, "
       "or ${{ … }}"},
      {"  command: x\n  map: {over: [[1]]}\n",
       "9:15: tasks[1].map.over: found a list, expected a list of texts and numbers, a whole "
       "number, or ${{ … }}"},
      {"  command: x\n  map: {over: 3, bach: 1}\n",
       "9:18: tasks[1].map.bach: unknown field \"bach\"; did you mean \"batch\"?"},
      {"  command: x\n  map: {over: 3, batch: 0}\n",
       "9:25: tasks[1].map.batch: found 0, expected a whole number from 1 to 1000000000"},
      {"  command: x\n  map: {over: 3, batch: 2, batches: 2}\n",
       "9:8: tasks[1].map: found both \"batch\" and \"batches\", expected one of them"},
      {"  command: x\n  map: {over: abc}\n",
       "9:15: tasks[1].map.over: found \"abc\", expected a JSON list or a whole number"},
      {"  command: x\n  map: {over: 100000000}\n",
       "9:15: tasks[1].map.over: 100000000 items in batches of 1 are 100000000 batches, expected "
       "at "
       "most 10000000; a larger \"batch\" makes fewer"},
      {"  command: x\n  map: {over: '${{ tasks.list.outputs.itmes }}'}\n",
       "9:15: tasks[1].map.over: task \"list\" has no output \"itmes\"; did you mean \"items\"?"},
      {"  command: x\n  map: {over: '${{ secrets.A }}'}\n",
       "9:15: tasks[1].map.over: a map may not go over a secret"},
      {"  command: x\n  map: {over: '${{ item }}'}\n",
       "9:15: tasks[1].map.over: \"item\" is known only in the command and the environment of a "
       "task with \"map\""},
      {"  command: x ${{ item }}\n",
       "8:12: tasks[1].command: \"item\" is known only in the command and the environment of a "
       "task "
       "with \"map\""},
      {"  command: x\n  when: item == 3\n  map: {over: 3}\n",
       "9:9: tasks[1].when: \"item\" is known only in the command and the environment of a task "
       "with \"map\""},
      {"  command: x ${{ item }}\n  map: {over: 3, batch: 2}\n",
       "8:12: tasks[1].command: an attempt gets several items, expected \"items\", their list"},
      {"  command: x ${{ item.place }}\n  map: {over: 3}\n",
       "8:12: tasks[1].command: unknown reference \"item.place\"; known are item, item.index, "
       "item.count and items"},
      {"  kind: serve\n  map: {over: 3}\n",
       "9:8: tasks[1].map: a service cannot be run many times"},
  };
  for (const auto& [lines, complaint] : cases) CHECK(Complaints(lines) == complaint);
  CHECK(ReadPipeline("name: p\ndefaults:\n  map: {over: 3}\ntasks:\n- name: a\n  command: b\n", "",
                     TextFormat::yaml)
            .diagnostics.ToString() == "3:3: defaults.map: this field has no default");
}

TEST_CASE("A map is written as it was read, and is part of the version") {
  const Pipeline pipeline =
      MustRead(Document("  command: score\n  map: {over: [a, 1], batches: 3, concurrency: 2}\n"));
  CHECK(MustRead(WriteYaml(pipeline)) == pipeline);
  CHECK(MustRead(WriteJson(pipeline), TextFormat::json) == pipeline);
  CHECK(MustRead(CanonicalForm(pipeline), TextFormat::json) == pipeline);
  const StatusOr<Pipeline> decoded = DecodePipeline(EncodePipeline(pipeline));
  REQUIRE(decoded.ok());
  CHECK(*decoded == pipeline);
  for (uint32_t TaskMap::* member : {&TaskMap::batch, &TaskMap::batches, &TaskMap::concurrency}) {
    Pipeline other = pipeline;
    ++(other.tasks[1].map.Mutable().*member);
    CHECK(PipelineVersion(other) != PipelineVersion(pipeline));
    CHECK_FALSE(other == pipeline);
    CHECK(*DecodePipeline(EncodePipeline(other)) == other);
  }
}

TEST_CASE("Graphs show maps, and FastTrack's form is said to have none") {
  const Pipeline pipeline = MustRead(Document("  command: score\n  map: {over: 12}\n"));
  const StatusOr<Graph> graph = Graph::Build(pipeline);
  REQUIRE(graph.ok());
  CHECK_THAT(RenderGraph(pipeline, *graph, GraphFormat::text), Catch::Contains("map over 12"));
  CHECK_THAT(RenderGraph(pipeline, *graph, GraphFormat::json), Catch::Contains("\"map\": \"12\""));
  CHECK(WriteFastTrack(pipeline).lost ==
        std::vector<std::string>{"pipeline: cache (FastTrack runs every task anew)",
                                 "task \"list\": outputs", "task \"score\": map"});
}

TEST_CASE("Items are taken as they are") {
  const StatusOr<MapItems> items = ParseMapItems(R"( ["a\n\"é", 1, -2.50, null, {"b": [1, 2]}] )");
  REQUIRE(items.ok());
  CHECK(items->count == 5);
  CHECK(items->items ==
        std::vector<std::string>{R"("a\n\"é")", "1", "-2.5", "null", R"({"b":[1,2]})"});
  CHECK_FALSE(items->numbered);
  CHECK(ParseMapItems("3")->numbered);
  for (const char* text : {"", "\"3\"", "1e400", "nan", "[1] [2]", "[\"\xff\"]"}) {
    CHECK(ParseMapItems(text).status().code() == StatusCode::kInvalidArgument);
  }
}

TEST_CASE("Copies of a task share what they do not change") {
  Pipeline pipeline = MustRead(Document("  command: score\n  map: {over: 12}\n"));
  pipeline.tasks[1].image = "python";
  Task copy = pipeline.tasks[1];
  CHECK(&copy.image.get() == &pipeline.tasks[1].image.get());
  copy.image.Mutable() += ":3.11";
  copy.map.Mutable().batch = 9;
  copy.environment.push_back({"A", "b"});
  CHECK(pipeline.tasks[1].image == "python");
  CHECK(pipeline.tasks[1].map->batch == 1);
  CHECK(pipeline.tasks[1].environment.empty());
  const Task again = copy;
  copy = pipeline.tasks[1];
  CHECK(again.image == "python:3.11");
}

}  // namespace
}  // namespace trackbed
