// Many nodes and gangs: who runs where, all of a gang or none, and nothing given twice.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "support/random_pipeline.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

NodeDescription Node(std::string name, const std::vector<SlotRequest>& slots) {
  NodeDescription node = NodeOfSlots(slots);
  node.name = std::move(name);
  return node;
}

// What the attempts that run now hold, by node and "slot" or "slot/device".
using Held = std::map<std::string, std::map<std::string, int64_t>>;

Held HeldNow(const FakeExecutor& executor) {
  Held held;
  for (const auto& [key, attempt] : executor.attempts()) {
    if (attempt.ended) continue;
    std::vector<GangMember> members = attempt.spec.gang;
    if (members.empty()) members.push_back({"", attempt.spec.node, attempt.spec.devices});
    for (const GangMember& member : members) {
      for (const SlotRequest& slot : attempt.spec.resources) {
        held[member.node][slot.slot] += slot.amount.thousandths();
      }
      if (attempt.spec.resources.empty()) held[member.node]["cpu"] += 1000;
      for (const AssignedDevice& device : member.devices) {
        held[member.node][device.slot + "/" + device.id] += device.amount.thousandths();
      }
    }
  }
  return held;
}

// "" when no node gives more than it has.
std::string Overdrawn(const FakeExecutor& executor, const std::vector<NodeDescription>& nodes) {
  for (const auto& [name, held] : HeldNow(executor)) {
    const auto node = std::find_if(nodes.begin(), nodes.end(),
                                   [&wanted = name](const auto& n) { return n.name == wanted; });
    if (node == nodes.end()) return "there is no node " + name;
    for (const auto& [what, amount] : held) {
      int64_t most = what == "cpu" ? node->cpu.thousandths() : 0;
      for (const NodeDevice& device : node->devices) {
        if (what == device.slot || what == device.slot + "/" + device.id) {
          most += device.capacity.thousandths();
        }
      }
      if (amount > most) return name + " gives too much " + what;
    }
  }
  return "";
}

// Of an attempt, by member: "a a b".
std::string NodesOf(const FakeExecutor& executor, const AttemptKey& key) {
  const AttemptSpec& spec = executor.spec(key);
  if (spec.gang.empty()) return spec.node;
  std::string nodes;
  for (const GangMember& member : spec.gang) nodes += (nodes.empty() ? "" : " ") + member.node;
  return nodes;
}

TEST_CASE("Work is spread over nodes, and each gives no more than it has") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 2)}), Node("b", {Slot("cpu", 1)})};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("wide");
  for (int i = 0; i < 5; ++i) AddTask(pipeline, "t" + std::to_string(i));
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.executor.started().size() == 3);
  const Held held = HeldNow(lab.executor);
  CHECK(held.at("a").at("cpu") == 2000);
  CHECK(held.at("b").at("cpu") == 1000);
  // Room on a node is taken by who is next.
  for (const AttemptKey& key : lab.executor.started()) {
    if (lab.executor.spec(key).node != "b") continue;
    lab.executor.Finish(key);
    break;
  }
  lab.Step();
  REQUIRE(lab.executor.started().size() == 4);
  CHECK(lab.executor.spec(lab.executor.started().back()).node == "b");
  CHECK(lab.engine().ExplainWait(run, 4) == "needs 1 cpu; none is free");
}

// Runs "make" on node b, while "first" fills node a, and lets both end.
RunId MakeOnB(EngineLab& lab, Task use, bool busy = false) {
  lab.options.nodes = {Node("a", {Slot("cpu", 4)}), Node("b", {Slot("cpu", 4)})};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("data");
  AddTask(pipeline, "first").resources = {Slot("cpu", 4)};
  AddTask(pipeline, "make");
  use.name = "use";
  use.dependencies = {"make"};
  use.command = {"true"};
  pipeline.tasks.push_back(std::move(use));
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.spec(run + "/first/1").node == "a");
  CHECK(lab.executor.spec(run + "/make/1").node == "b");
  if (busy) {
    Pipeline other = NewPipeline("other");
    AddTask(other, "busy");
    const RunId second = lab.Submit(other);
    lab.Step();
    CHECK(lab.executor.spec(second + "/busy/1").node == "b");
  }
  lab.executor.Finish(run + "/first/1", Outcome::Files("first"));
  lab.executor.Finish(run + "/make/1", Outcome::Files("made"));
  lab.Step();
  return run;
}

TEST_CASE("A task goes where its inputs were written, of equal nodes or if the placer cares") {
  const auto node_of_reader = [](const std::string& placer, bool busy) {
    EngineLab lab;
    lab.options.placer = placer;
    const RunId run = MakeOnB(lab, Task(), busy);
    return lab.executor.spec(run + "/use/1").node;
  };
  CHECK(node_of_reader("", false) == "b");
  CHECK(node_of_reader("", true) == "a");  // b has less left
  CHECK(node_of_reader("locality-aware", true) == "b");
  CHECK(node_of_reader("round-robin", false) == "a");  // does not look at that
}

TEST_CASE("The batches of a map go where the inputs of the mapped task were written") {
  EngineLab lab;
  lab.options.placer = "locality-aware";
  Task use;
  use.map = TaskMap{"2", 1, 0, 0};
  const RunId run = MakeOnB(lab, use);
  for (const char* batch : {"/use/1/0/1", "/use/1/1/1"}) {
    CHECK(lab.executor.spec(run + batch).node == "b");
  }
}

TEST_CASE("An unknown placer is refused, with the nearest that there is") {
  EngineLab lab;
  lab.options.placer = "localityaware";
  const Status status = lab.TryOpen();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status) ==
        "EngineOptions.placer: unknown placement policy \"localityaware\"; did you mean "
        "\"locality-aware\"?");
}

TEST_CASE("A gang on one node gets all of it together, or waits") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 2)}), Node("b", {Slot("cpu", 3)})};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("gangs");
  AddTask(pipeline, "single").resources = {Slot("cpu", 3)};
  AddTask(pipeline, "pair").cluster_size = 2;
  AddTask(pipeline, "other").cluster_size = 2;
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(NodesOf(lab.executor, run + "/single/1") == "b");
  CHECK(NodesOf(lab.executor, run + "/pair/1") == "a a");
  CHECK(lab.executor.started().size() == 2);
  const AttemptSpec& pair = lab.executor.spec(run + "/pair/1");
  CHECK(pair.gang[0].host == "main1");
  CHECK(pair.gang[1].host == "sub1");
  CHECK(pair.rank == 0);
  lab.executor.Finish(run + "/single/1");
  lab.Step();
  CHECK(NodesOf(lab.executor, run + "/other/1") == "b b");
}

TEST_CASE("The members of a gang on different nodes start together") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 2)}), Node("b", {Slot("cpu", 2)})};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("gangs");
  AddTask(pipeline, "single").resources = {Slot("cpu", 1)};
  Task& pair = AddTask(pipeline, "pair");
  pair.cluster_size = 2;
  pair.multi_node = true;
  pair.resources = {Slot("cpu", 2)};
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started().size() == 1);
  CHECK(lab.engine().ExplainWait(run, 1).find("needs 2 cpu") != std::string::npos);
  lab.executor.Finish(run + "/single/1");
  lab.Step();
  CHECK(NodesOf(lab.executor, run + "/pair/1") == "a b");
  CHECK(lab.Stored(run).state->Intended(1)->gang ==
        std::vector<IntendedMember>{{"a", {}}, {"b", {}}});
}

TEST_CASE("A gang that can never run is refused, with the reason") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 3)}), Node("b", {Slot("cpu", 1)})};
  const auto refusal = [&](uint16_t size, bool multi_node, int64_t cpu) {
    Pipeline pipeline = NewPipeline("gangs");
    Task& gang = AddTask(pipeline, "gang");
    gang.cluster_size = size;
    gang.multi_node = multi_node;
    gang.resources = {Slot("cpu", cpu)};
    const auto run =
        lab.engine().Submit(std::make_shared<const Pipeline>(std::move(pipeline)), SubmitOptions());
    return std::string(Message(run.status()));
  };
  CHECK(refusal(2, false, 2) ==
        "task \"gang\": a gang of 2 on one node; even empty, none holds more than 1 of its "
        "members");
  CHECK(refusal(2, true, 2) ==
        "task \"gang\": a gang of 2 on different nodes; there are only 1 that hold a member");
  CHECK(refusal(3, false, 1) ==
        "task \"gang\": a gang of 3; this executor runs at most 2 together");
  CHECK(refusal(1, false, 4).find("none of the 2 nodes can hold it") != std::string::npos);
  CHECK(refusal(2, false, 1).empty());
}

TEST_CASE("Two nodes of one name are refused") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 1)}), Node("a", {Slot("cpu", 1)})};
  CHECK(Message(lab.TryOpen()) ==
        "EngineOptions.nodes: name: found \"a\" twice, expected a name for each node");
}

TEST_CASE("After a crash each member holds on its node what it held") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 4), Slot("cuda.device", 2)}),
                       Node("b", {Slot("cpu", 4), Slot("cuda.device", 2)})};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("gangs");
  Task& gang = AddTask(pipeline, "gang");
  gang.cluster_size = 2;
  gang.multi_node = true;
  gang.resources = {Slot("cpu", 1), Slot("cuda.device", 1)};
  for (int i = 0; i < 3; ++i) {
    AddTask(pipeline, "t" + std::to_string(i)).resources = {Slot("cpu", 1), Slot("cuda.device", 1)};
  }
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started().size() == 3);
  lab.Crash();
  std::swap(lab.options.nodes[0], lab.options.nodes[1]);  // what counts is the name
  lab.Open();
  const RunId other = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started().size() == 3);  // all is held by the interrupted run
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  CHECK(Overdrawn(lab.executor, lab.options.nodes) == "");
  CHECK(lab.executor.started().size() == 3);
  CHECK(lab.executor.attempts().at(run + "/gang/1").start_calls == 2);
  lab.executor.Finish(run + "/gang/1");
  lab.Step();
  CHECK(Overdrawn(lab.executor, lab.options.nodes) == "");
  CHECK(lab.executor.started().size() == 4);
  CHECK(NodesOf(lab.executor, other + "/gang/1") == "b a");
}

TEST_CASE(
    "What runs on a node that is silent too long is tried elsewhere, and its end is ignored") {
  EngineLab lab;
  lab.options.nodes = {Node("a", {Slot("cpu", 2)}), Node("b", {Slot("cpu", 2)})};
  lab.options.node_lease = seconds(30);
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("lost");
  AddTask(pipeline, "t").resources = {Slot("cpu", 2)};
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  const std::string first = lab.executor.spec(run + "/t/1").node;
  const std::string other = first == "a" ? "b" : "a";

  // Silent for a moment: nothing happens to it, but nothing new starts there either.
  lab.executor.silent = {first};
  lab.Step();
  const RunId second = lab.Submit(pipeline);
  lab.Step();
  CHECK(NodesOf(lab.executor, second + "/t/1") == other);
  const RunId third = lab.Submit(pipeline);
  lab.StepAfter(seconds(29));
  CHECK(lab.executor.given_up().empty());
  CHECK(lab.engine().NextDeadline() <= lab.clock.now() + seconds(1));
  lab.executor.silent.clear();
  lab.Step();
  CHECK(lab.StateOf(run, "t") == "running");

  lab.executor.silent = {first};
  lab.Step();
  lab.StepAfter(seconds(30));
  CHECK(lab.executor.given_up() == std::vector<AttemptKey>{run + "/t/1"});
  CHECK(lab.StateOf(run, "t") == "pending");
  CHECK(lab.FailureOf(run, "t") == "lost: its node has not answered for 30s");
  CHECK(lab.executor.started().size() == 2);  // the other node is full, this one silent
  lab.executor.Finish(second + "/t/1");
  lab.Step();
  CHECK(NodesOf(lab.executor, third + "/t/1") == other);
  lab.executor.Finish(third + "/t/1");
  lab.Step();
  CHECK(NodesOf(lab.executor, run + "/t/2") == other);

  // The node comes back: the stray is ended, whatever it says counts for nothing, the node is used.
  AttemptReport late;
  late.key = run + "/t/1";
  lab.executor.Report(late);
  lab.executor.silent.clear();
  const RunId fourth = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.StateOf(run, "t") == "running");
  CHECK(NodesOf(lab.executor, fourth + "/t/1") == first);
  CHECK(Overdrawn(lab.executor, lab.options.nodes) == "");
  lab.executor.Finish(run + "/t/2");
  lab.executor.Finish(fourth + "/t/1");
  lab.RunToEnd();
  CHECK(lab.StatusOf(run) == "succeeded");
  CHECK(lab.Stored(run).state->task(0).failed_attempts == 0);
}

TEST_CASE("Nodes of the store are used, and changes are taken up by an engine that runs") {
  EngineLab lab;
  lab.options.takes_stored_node = [](const NodeDescription& node) { return node.name != "other"; };
  const auto record = [](const NodeDescription& node, bool drained = false) {
    return NodeRecord{node.name, WriteNode(node), drained};
  };
  const auto change = [&](const std::vector<NodeRecord>& put,
                          const std::vector<std::string>& remove = {}) {
    REQUIRE(lab.store().ChangeNodes(put, remove, lab.clock.now()).ok());
    lab.StepAfter(std::chrono::milliseconds(200));
  };
  const auto finish_one_on = [&](const std::string& node) {
    for (const auto& [key, attempt] : lab.executor.attempts()) {
      if (attempt.ended || attempt.spec.node != node) continue;
      lab.executor.Finish(key);
      break;
    }
    lab.Step();
  };
  const NodeDescription a = Node("a", {Slot("cpu", 1)});
  const NodeDescription b = Node("b", {Slot("cpu", 2)});
  const std::vector<NodeRecord> first = {record(a), record(Node("other", {Slot("cpu", 64)}))};
  REQUIRE(lab.store().ChangeNodes(first, {}, lab.clock.now()).ok());
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("moving");
  for (int i = 0; i < 6; ++i) AddTask(pipeline, "t" + std::to_string(i));
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.started().size() == 1);
  CHECK(lab.executor.spec(run + "/t0/1").node == "a");

  change({record(b)});
  CHECK(lab.executor.StartedTasks() == std::vector<std::string>{"t0/1", "t1/1", "t2/1"});
  CHECK(lab.store().ReadLease()->holder.node == WriteNodes(std::vector{a, b}));

  change({record(b, true)});  // drained
  finish_one_on("b");
  CHECK(lab.executor.started().size() == 3);
  CHECK(lab.engine().ExplainWait(run, 3) != "");
  change({record(b)});
  CHECK(lab.executor.started().size() == 4);

  // Taken away, a keeps what it runs, and gets nothing after that.
  change({}, {"a"});
  CHECK(lab.StateOf(run, "t0") == "running");
  finish_one_on("a");
  CHECK(lab.StateOf(run, "t0") == "succeeded");
  CHECK(lab.executor.started().size() == 4);
  finish_one_on("b");
  CHECK(lab.executor.spec(lab.executor.started().back()).node == "b");
  CHECK(Overdrawn(lab.executor, {a, b}) == "");

  // What fits nowhere any more waits for a node that has room.
  Pipeline large = NewPipeline("large");
  AddTask(large, "t").resources = {Slot("cpu", 2)};
  const RunId waits = lab.Submit(large);
  change({record(a)}, {"b"});
  CHECK(lab.StateOf(waits, "t") == "pending");
  CHECK(lab.engine().ExplainWait(waits, 0) == "needs 2 cpu; none is free");
  for (int i = 0; i < 12; ++i) {
    finish_one_on("a");
    finish_one_on("b");
  }
  CHECK(lab.StatusOf(run) == "succeeded");
  change({record(a)});  // on b nothing runs any more
  CHECK(lab.engine().ExplainWait(waits, 0) == "none of the nodes can hold it");
  change({record(b)});
  finish_one_on("b");
  CHECK(lab.StatusOf(waits) == "succeeded");
}

TEST_CASE("Random work on several nodes: no node gives more than it has, every gang is whole") {
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    CAPTURE(seed);
    Dice dice(seed);
    EngineLab lab;
    lab.random = SeededRandom(seed);
    lab.compare_after_steps = false;
    lab.options.nodes.clear();
    const int count = 2 + dice.Roll(4);
    for (int i = 0; i < count; ++i) {
      std::vector<SlotRequest> slots = {Slot("cpu", 1 + dice.Roll(8))};
      if (dice.OneIn(2)) slots.push_back(Slot("cuda.shares", 1 + dice.Roll(4)));
      lab.options.nodes.push_back(Node("n" + std::to_string(i), slots));
    }
    if (dice.OneIn(3)) lab.options.policy.backfill = Backfill::conservative;
    lab.executor.decide = [&](const AttemptSpec& spec) -> std::optional<Outcome> {
      CHECK((spec.gang.empty() || spec.gang.size() == 2));
      Outcome outcome;
      outcome.takes = seconds(1 + dice.Roll(5));
      if (dice.OneIn(8)) outcome.exit_code = 1;
      if (dice.OneIn(12)) outcome.end = Outcome::End::is_lost;
      return outcome;
    };
    lab.Open();
    std::vector<RunId> runs;
    for (int i = 0; i < 3; ++i) {
      Pipeline pipeline = NewPipeline("random");
      for (int t = 0; t < 12; ++t) {
        Task& task = AddTask(pipeline, "t" + std::to_string(t));
        task.resources = {Slot("cpu", 1 + dice.Roll(3))};
        if (dice.OneIn(3)) {
          task.resources.Mutable().push_back(
              {"cuda.shares", Quantity::FromThousandths(250 * (1 + dice.Roll(8)))});
        }
        if (dice.OneIn(3)) {
          task.cluster_size = 2;
          task.multi_node = dice.OneIn(2);
        }
        task.retry.max_attempts = 2;
        task.timeout = seconds(4);
      }
      // What can never run here is no part of it.
      const auto run = lab.engine().Submit(std::make_shared<const Pipeline>(pipeline), {});
      if (run.ok()) runs.push_back(*run);
    }
    int crashes = dice.Roll(3);
    for (int step = 0; lab.engine().HasActiveRuns(); ++step) {
      REQUIRE(step < 2000);
      lab.Step();
      const std::string overdrawn = Overdrawn(lab.executor, lab.options.nodes);
      if (!overdrawn.empty()) FAIL(overdrawn);
      if (crashes > 0 && dice.OneIn(6)) {
        --crashes;
        lab.Crash();
        lab.Open();
        for (const RunId& run : runs) {
          const Status resumed = lab.engine().Resume(run);
          CHECK((resumed.ok() || absl::IsFailedPrecondition(resumed)));
        }
        continue;
      }
      lab.clock.AdvanceTo(lab.NextTime());
    }
    CHECK(lab.executor.running() == 0);
    std::set<AttemptKey> once;
    for (const AttemptKey& key : lab.executor.started()) CHECK(once.insert(key).second);
  }
}

}  // namespace
}  // namespace trackbed
