// A node that stays silent for longer than its lease: the engine waits for it without being called
// again and again (found by tests/simulation, seed 2).
#include <string>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

NodeDescription Node(std::string name) {
  NodeDescription node = NodeOfSlots({Slot("cpu", 1)});
  node.name = std::move(name);
  return node;
}

TEST_CASE("What an engine asks to be woken for lies ahead, however long a node is silent") {
  EngineLab lab;
  lab.options.nodes = {Node("a"), Node("b")};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("p");
  AddTask(pipeline, "t0");
  AddTask(pipeline, "t1");
  lab.Submit(pipeline);
  lab.Step();
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

}  // namespace
}  // namespace trackbed
