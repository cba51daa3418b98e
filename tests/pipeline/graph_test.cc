// The dependency graph: building, its errors, order, critical path, and its drawings.
#include "trackbed/pipeline/graph.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "support/catch.hpp"

namespace trackbed {
namespace {

Pipeline MakePipeline(std::vector<std::pair<std::string, std::vector<std::string>>> tasks) {
  Pipeline pipeline;
  pipeline.name = "digits";
  for (auto& [name, dependencies] : tasks) {
    Task task;
    task.name = name;
    task.dependencies = std::move(dependencies);
    pipeline.tasks.push_back(std::move(task));
  }
  return pipeline;
}

std::string BuildError(const Pipeline& pipeline) {
  const StatusOr<Graph> graph = Graph::Build(pipeline);
  REQUIRE_FALSE(graph.ok());
  CHECK(graph.status().code() == StatusCode::kInvalidArgument);
  return std::string(Message(graph.status()));
}

Graph BuildRows(const std::vector<std::vector<TaskIndex>>& rows) {
  StatusOr<Graph> graph = Graph::Build(rows);
  REQUIRE(graph.ok());
  return *std::move(graph);
}

std::vector<TaskIndex> ToVector(std::span<const TaskIndex> tasks) {
  return {tasks.begin(), tasks.end()};
}

using Indices = std::vector<TaskIndex>;

TEST_CASE("an empty graph has nothing in it") {
  const StatusOr<Graph> graph = Graph::Build(Pipeline{});
  REQUIRE(graph.ok());
  CHECK(graph->task_count() == 0);
  CHECK(graph->edge_count() == 0);
  CHECK(graph->TopologicalOrder().empty());
  CHECK(graph->Levels().empty());
  CHECK(graph->FindCriticalPath({}).tasks.empty());
}

TEST_CASE("both directions and the order of a graph") {
  const auto graph = Graph::Build(MakePipeline(
      {{"report", {"train", "baseline"}}, {"train", {"fetch"}}, {"fetch", {}}, {"baseline", {}}}));
  REQUIRE(graph.ok());
  CHECK(graph->task_count() == 4);
  CHECK(graph->edge_count() == 3);
  CHECK(ToVector(graph->Predecessors(0)) == Indices{1, 3});  // as in the document
  CHECK(ToVector(graph->Successors(2)) == Indices{1});
  CHECK(ToVector(graph->Successors(0)).empty());
  CHECK(ToVector(graph->TopologicalOrder()) == Indices{2, 3, 1, 0});
  CHECK(graph->Levels() == std::vector<uint32_t>{2, 1, 0, 0});
}

TEST_CASE("errors of a graph name the tasks") {
  CHECK(BuildError(MakePipeline({{"a", {}}, {"b", {}}, {"a", {}}})) == "duplicate task \"a\"");
  CHECK(BuildError(MakePipeline({{"prepare", {}}, {"train", {"preapre"}}})) ==
        "task \"train\" depends on unknown task \"preapre\"; did you mean \"prepare\"?");
  CHECK(BuildError(MakePipeline({{"prepare", {}}, {"train", {"x"}}})) ==
        "task \"train\" depends on unknown task \"x\"");
  CHECK(BuildError(MakePipeline({{"a", {"a"}}})) == "task \"a\" depends on itself");
  CHECK(BuildError(MakePipeline({{"a", {}}, {"b", {"a", "a"}}})) ==
        "task \"b\" depends on task \"a\" twice");
}

TEST_CASE("a cycle is named in the order of its arrows") {
  CHECK(BuildError(MakePipeline({{"x", {}}, {"b", {"a", "x"}}, {"c", {"b"}}, {"a", {"c", "x"}}})) ==
        "tasks wait for each other in a cycle: b -> c -> a -> b");
  CHECK(BuildError(MakePipeline({{"a", {"b"}}, {"b", {"a"}}})) ==
        "tasks wait for each other in a cycle: a -> b -> a");
}

TEST_CASE("tasks that only wait for a cycle are not named as part of it") {
  CHECK(BuildError(MakePipeline({{"after", {"a"}}, {"a", {"b"}}, {"b", {"a"}}})) ==
        "tasks wait for each other in a cycle: a -> b -> a");
}

TEST_CASE("a very long cycle is cut in the middle") {
  constexpr TaskIndex kCount = 200'000;
  std::vector<Indices> rows(kCount);
  for (TaskIndex i = 0; i < kCount; ++i) rows[i] = {i == 0 ? kCount - 1 : i - 1};
  const StatusOr<Graph> graph = Graph::Build(rows);
  REQUIRE_FALSE(graph.ok());
  const std::string message(Message(graph.status()));
  CHECK(message.size() < 500);
  CHECK(message.starts_with("tasks wait for each other in a cycle: 0 -> 1 -> 2 -> "));
  CHECK(message.find("-> 15 -> ... (199968 more) ... -> 199984 ->") != std::string::npos);
  CHECK(message.ends_with("-> 199999 -> 0"));
}

TEST_CASE("errors by index") {
  const auto error = [](const std::vector<Indices>& rows) {
    const StatusOr<Graph> graph = Graph::Build(rows);
    REQUIRE_FALSE(graph.ok());
    return std::string(Message(graph.status()));
  };
  CHECK(error({{}, {7}}) == "task 1 depends on unknown task 7");
  CHECK(error({{0}}) == "task 0 depends on itself");
  CHECK(error({{}, {0, 0}}) == "task 1 depends on task 0 twice");
  CHECK(error({{1}, {0}}) == "tasks wait for each other in a cycle: 0 -> 1 -> 0");
}

TEST_CASE("a chain of a million tasks neither recurses nor crawls") {
  constexpr TaskIndex kCount = 1'000'000;
  std::vector<Indices> rows(kCount);
  // Backwards, so that the order of the document is the worst one.
  for (TaskIndex i = 0; i + 1 < kCount; ++i) rows[i] = {i + 1};
  const Graph graph = BuildRows(rows);
  CHECK(graph.TopologicalOrder().front() == kCount - 1);
  CHECK(graph.TopologicalOrder().back() == 0);
  CHECK(graph.Levels()[0] == kCount - 1);
  const auto path = graph.FindCriticalPath(std::vector<double>(kCount, 1.0));
  CHECK(path.tasks.size() == kCount);
  CHECK(path.length == 1'000'000);
}

TEST_CASE("the order of random graphs is level by level and after every dependency") {
  std::mt19937 random(20240817);
  for (int round = 0; round < 200; ++round) {
    const TaskIndex count = 1 + static_cast<TaskIndex>(random() % 40);
    Indices shuffled(count);
    for (TaskIndex i = 0; i < count; ++i) shuffled[i] = i;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    std::vector<Indices> rows(count);
    for (TaskIndex i = 0; i < count; ++i) {
      for (TaskIndex j = 0; j < i; ++j) {
        if (random() % 4 == 0) rows[shuffled[i]].push_back(shuffled[j]);
      }
    }
    const Graph graph = BuildRows(rows);
    const std::vector<uint32_t> levels = graph.Levels();
    const Indices order = ToVector(graph.TopologicalOrder());
    REQUIRE(order.size() == count);
    REQUIRE(std::is_sorted(order.begin(), order.end(), [&levels](TaskIndex a, TaskIndex b) {
      return std::pair(levels[a], a) < std::pair(levels[b], b);
    }));
    for (TaskIndex i = 0; i < count; ++i) {
      uint32_t expected = 0;
      for (const TaskIndex d : rows[i]) expected = std::max(expected, levels[d] + 1);
      REQUIRE(levels[i] == expected);
      REQUIRE(ToVector(graph.Predecessors(i)) == rows[i]);
    }
  }
}

TEST_CASE("the critical path is the heaviest one") {
  // 0 -> 1 -> 3, 0 -> 2 -> 3, and 4 alone
  const Graph graph = BuildRows({{}, {0}, {0}, {2, 1}, {}});
  CHECK(graph.FindCriticalPath(std::vector<double>{1, 5, 2, 1, 1}).tasks == Indices{0, 1, 3});
  CHECK(graph.FindCriticalPath(std::vector<double>{1, 2, 5, 1, 1}).tasks == Indices{0, 2, 3});
  CHECK(graph.FindCriticalPath(std::vector<double>{1, 2, 5, 1, 1}).length == 7);
  CHECK(graph.FindCriticalPath(std::vector<double>{1, 1, 1, 1, 9}).tasks == Indices{4});
  // Equal: the smaller index.
  CHECK(graph.FindCriticalPath(std::vector<double>{1, 1, 1, 1, 3}).tasks == Indices{0, 1, 3});
  // Missing and senseless weights count as nothing.
  CHECK(graph.FindCriticalPath({}).length == 0);
  CHECK(graph.FindCriticalPath(std::vector<double>{1, -5, std::nan(""), 1}).length == 2);
}

Pipeline ExamplePipeline() {
  Pipeline pipeline = MakePipeline({{"prepare", {}},
                                    {"train", {"prepare"}},
                                    {"baseline", {"prepare"}},
                                    {"report", {"train", "baseline"}}});
  pipeline.tasks[1].when = "params.alpha > 0 && params.kind != \"none\"";
  pipeline.tasks[1].cluster_size = 2;
  pipeline.tasks[2].allow_failure = true;
  pipeline.tasks[3].trigger = Trigger::all_done;
  return pipeline;
}

std::string Render(const Pipeline& pipeline, GraphFormat format) {
  const StatusOr<Graph> graph = Graph::Build(pipeline);
  REQUIRE(graph.ok());
  return RenderGraph(pipeline, *graph, format);
}

TEST_CASE("a graph as text") {
  CHECK(Render(ExamplePipeline(), GraphFormat::text) ==
        R"(digits: 4 tasks, 4 dependencies, 3 levels

level 0
  * prepare

level 1
  * train     <- prepare  [x2]  [when params.alpha > 0 && params.kind != "none"]
    baseline  <- prepare  [may fail]

level 2
  * report    <- train, baseline  [trigger all_done]

* critical path (every task counted alike): prepare -> train -> report
)");
  CHECK(Render(MakePipeline({}), GraphFormat::text) ==
        "digits: 0 tasks, 0 dependencies, 0 levels\n");
}

TEST_CASE("text shows control characters instead of sending them") {
  Pipeline pipeline = MakePipeline({{"a", {}}});
  pipeline.name = "p\x1b[2J\xc2\x9b";
  pipeline.tasks[0].when = "run.id ==\n\t'x'";
  const std::string text = Render(pipeline, GraphFormat::text);
  CHECK(text.starts_with("p\\x1b[2J\\x9b: 1 task, 0 dependencies, 1 level\n"));
  CHECK(text.find("  * a  [when run.id ==\\n\\t'x']\n") != std::string::npos);
}

TEST_CASE("a graph for Graphviz") {
  CHECK(Render(ExamplePipeline(), GraphFormat::dot) ==
        R"(digraph "digits" {
  rankdir=LR;
  node [shape=box, style=rounded];
  t0 [label="prepare", penwidth=2];
  t1 [label="train\nx2\nwhen params.alpha > 0 &amp;&amp; params.kind != \"none\"", penwidth=2];
  t2 [label="baseline\nmay fail"];
  t3 [label="report\ntrigger all_done", penwidth=2];
  t0 -> t1 [penwidth=2];
  t0 -> t2;
  t1 -> t3 [penwidth=2];
  t2 -> t3;
}
)");
  Pipeline odd = MakePipeline({{"a\"];x\\", {}}});
  CHECK(Render(odd, GraphFormat::dot).find("t0 [label=\"a\\\"];x\\\\\"") != std::string::npos);
}

TEST_CASE("a graph for Mermaid") {
  CHECK(Render(ExamplePipeline(), GraphFormat::mermaid) ==
        R"(flowchart LR
  t0["prepare"]:::critical
  t1["train<br/>x2<br/>when params.alpha #62; 0 #38;#38; params.kind #33;#61; #34;none#34;"]:::critical
  t2["baseline<br/>may fail"]
  t3["report<br/>trigger all_done"]:::critical
  t0 ==> t1
  t0 --> t2
  t1 ==> t3
  t2 --> t3
  classDef critical stroke-width:3px
)");
}

TEST_CASE("a graph for programs") {
  const auto document = nlohmann::json::parse(Render(ExamplePipeline(), GraphFormat::json));
  CHECK(document["pipeline"] == "digits");
  CHECK(document["levels"] == 3);
  CHECK(document["critical_path"] == nlohmann::json({"prepare", "train", "report"}));
  REQUIRE(document["tasks"].size() == 4);
  const auto& train = document["tasks"][1];
  CHECK(train["index"] == 1);
  CHECK(train["name"] == "train");
  CHECK(train["level"] == 1);
  CHECK(train["dependencies"] == nlohmann::json({"prepare"}));
  CHECK(train["when"] == "params.alpha > 0 && params.kind != \"none\"");
  CHECK(train["on_critical_path"] == true);
  CHECK(document["tasks"][2]["on_critical_path"] == false);
  CHECK(document["tasks"][2]["allow_failure"] == true);
  CHECK(document["tasks"][3]["trigger"] == "all_done");
}

TEST_CASE("bytes that are not UTF-8 do not break the JSON drawing") {
  Pipeline pipeline = MakePipeline({{"a\xff", {}}});
  const auto document = nlohmann::json::parse(Render(pipeline, GraphFormat::json));
  CHECK(document["tasks"][0]["name"] == "a\xEF\xBF\xBD");
}

}  // namespace
}  // namespace trackbed
