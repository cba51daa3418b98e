// A node that stays silent for longer than its lease: the engine waits for it without being called
// again and again (found by tests/simulation, seed 2).
#include <string>

#include "support/engine_lab.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/run_queries.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

NodeDescription Node(std::string name) {
  NodeDescription node = NodeOfSlots({Slot("cpu", 1)});
  node.name = std::move(name);
  return node;
}

// Two nodes, and a task that goes on until it is told to end on each.
RunId RunOneOnEach(EngineLab& lab) {
  lab.options.nodes = {Node("a"), Node("b")};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("p");
  AddTask(pipeline, "t0");
  AddTask(pipeline, "t1");
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  return run;
}

TEST_CASE("What an engine asks to be woken for lies ahead, however long a node is silent") {
  EngineLab lab;
  RunOneOnEach(lab);
  REQUIRE(lab.executor.started().size() == 2);
  lab.executor.silent = {"a"};
  for (int i = 0; i < 20; ++i) {
    lab.Step();
    CHECK(lab.engine().NextDeadline() > lab.clock.Now());
    lab.clock.AdvanceTo(lab.clock.Now() + seconds(15));
  }
  CHECK(lab.executor.given_up().size() == 1);
  lab.executor.silent.clear();
  lab.Step();
  CHECK(lab.engine().NextDeadline() > lab.clock.Now());
}

TEST_CASE("What runs on a silent node is unknown, and everybody who asks is told since when") {
  EngineLab lab;
  const RunId run = RunOneOnEach(lab);
  const std::string node = lab.executor.spec(run + "/t0/1").node;
  const auto told = [&](EventType type) {
    return std::count_if(lab.told.begin(), lab.told.end(),
                         [&](const auto& entry) { return entry.second.type == type; });
  };
  const auto unknown = [&] {
    const bool may_be = NodesMayFallSilent(lab.store(), lab.clock.now());
    return GlanceAt(lab.store(), lab.Stored(run).record, may_be).value().unknown;
  };
  const auto explained = [&] {
    const auto found = ExplainTask(lab.store(), run, 0, lab.clock.now(), {});
    REQUIRE(found.ok());
    return *found;
  };

  lab.executor.silent = {node};
  lab.Step();
  const Time since = lab.clock.now();
  const std::string why = "node " + node + " has not answered since " + FormatTime(since);
  CHECK(explained().situation == TaskSituation::unknown);
  CHECK(explained().sentence == "whether attempt 1 goes on is not known: " + why);
  CHECK(DescribeUnknown(*lab.Stored(run).state, 0) == why);
  CHECK(DescribeUnknown(*lab.Stored(run).state, 1).empty());
  CHECK(unknown() == 1);
  const StoredRun stored = lab.Stored(run);
  CHECK(RunToJson(stored.record, *stored.state).find("\"since\": \"" + FormatTime(since) + "\"") !=
        std::string::npos);
  lab.StepAfter(seconds(5));
  CHECK(told(EventType::attempt_unknown) == 1);  // once, however long it takes

  lab.executor.silent.clear();
  lab.Step();
  CHECK(explained().situation == TaskSituation::running);
  CHECK(told(EventType::attempt_known) == 1);
  CHECK(unknown() == 0);

  // An engine that takes over begins to listen anew.
  lab.executor.silent = {node};
  lab.Step();
  CHECK(told(EventType::attempt_unknown) == 2);
  lab.Crash();
  lab.executor.silent.clear();
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  CHECK(explained().situation == TaskSituation::running);
  CHECK(told(EventType::attempt_known) == 1);
  lab.executor.Finish(run + "/t0/1");
  lab.executor.Finish(run + "/t1/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
}

}  // namespace
}  // namespace trackbed
