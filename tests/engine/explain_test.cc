// Why a task is not running, as anybody can read it from the store.
#include "trackbed/engine/explain.hpp"

#include <string>
#include <vector>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;
using Names = std::vector<std::string>;

TaskExplanation Ask(EngineLab& lab, const RunId& run, TaskIndex task) {
  const auto explained = ExplainTask(lab.store(), run, task, lab.clock.now(), {});
  REQUIRE(explained.ok());
  return *explained;
}

TEST_CASE("A task is explained from the store as the engine explains it") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 8), Slot("cuda.shares", 2)})};
  Pipeline pipeline = NewPipeline("gpus");
  const auto add = [&](const std::string& name, int64_t shares, const Names& after = {}) {
    Task& task = AddTask(pipeline, name);
    task.resources = {{"cuda.shares", Quantity::FromThousandths(shares)}};
    task.dependencies = after;
    lab.executor.Script(name, Outcome::Waits());
  };
  add("a", 600);
  add("b", 700);
  add("c", 1500);
  add("d", 100, {"a", "b"});
  add("e", 800);
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  const RunId other = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.executor.running() == 2);

  const TaskExplanation running = Ask(lab, run, 1);
  CHECK(running.situation == TaskSituation::running);
  CHECK(running.sentence.ends_with("on 0.7 cuda.shares of cuda.shares#0 (advisory)"));
  CHECK(running.enforcement == Enforcement::advisory);

  const TaskExplanation large = Ask(lab, run, 2);
  CHECK(large.situation == TaskSituation::shortage);
  CHECK(large.slot == "cuda.shares");
  CHECK(large.enforcement == Enforcement::advisory);
  CHECK(large.needed == Quantity::FromThousandths(1500));
  CHECK(large.free == Quantity::FromThousandths(700));
  CHECK(large.waits_for == Names{"a", "b"});
  CHECK(large.sentence ==
        "needs 1.5 cuda.shares, 0.7 of 2 free: 0.8 short; held by a (0.6 of cuda.shares#1), "
        "b (0.7 of cuda.shares#0)");
  CHECK(large.sentence.starts_with(lab.engine().ExplainWait(run, 2)));

  // 0.7 is free, but not on one device.
  const TaskExplanation split = Ask(lab, other, 0);
  CHECK(split.situation == TaskSituation::fragmentation);
  CHECK(split.sentence.starts_with(
      "needs 0.6 cuda.shares on one device; the most free on any device is 0.4, 0.7 in all"));

  const TaskExplanation after = Ask(lab, run, 3);
  CHECK(after.situation == TaskSituation::dependencies);
  CHECK(after.waits_for == Names{"a", "b"});
  CHECK(after.sentence == "waits for a, b");

  // What another run holds is told with its name.
  CHECK(Ask(lab, other, 2).waits_for == Names{run + "/a", run + "/b"});

  lab.executor.Finish(run + "/a/1");
  lab.Step();
  CHECK(Ask(lab, run, 0).situation == TaskSituation::ended);
}

TEST_CASE("Who has a part of a GPU is named to who waits for all of it") {
  EngineLab lab;
  NodeDevice card;
  card.id = "GPU-1";
  card.slot = "cuda.device";
  card.capacity = Quantity::FromThousandths(1000);
  NodeDevice parts = card;
  parts.id = "GPU-1/shares";
  parts.slot = "cuda.shares";
  parts.part_of = "GPU-1";
  NodeDevice instance = card;
  instance.id = "MIG-1";
  instance.slot = "cuda.device:1g.5gb-mig";
  instance.part_of = "GPU-2";
  NodeDescription node = NodeOfSlots({Slot("cpu", 4)});
  node.devices = {card, parts, instance};
  lab.options.nodes = {node};
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  Pipeline pipeline = NewPipeline("gpu");
  AddTask(pipeline, "part").resources = {{"cuda.shares", Quantity::FromThousandths(100)}};
  AddTask(pipeline, "instance").resources = {Slot("cuda.device:1g.5gb-mig", 1)};
  AddTask(pipeline, "whole").resources = {Slot("cuda.device", 1)};
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.executor.running() == 2);
  const TaskExplanation whole = Ask(lab, run, 2);
  CHECK(whole.situation == TaskSituation::shortage);
  CHECK(whole.waits_for == Names{"part"});
  CHECK(whole.sentence.ends_with("; held by part (0.1 of GPU-1/shares)"));
}

TEST_CASE("What is enforced too weakly is refused when a run is submitted, and said why") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 8), Slot("cuda.shares", 2)})};
  Pipeline pipeline = NewPipeline("walls");
  Task& task = AddTask(pipeline, "a");
  task.resources = {{"cpu", Quantity::FromThousandths(500)}};
  task.enforcement = Enforcement::hardware;  // of cores nothing is refused
  AddTask(pipeline, "b").resources = {{"cuda.shares", Quantity::FromThousandths(500)}};
  lab.executor.Script("b", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK_FALSE(Ask(lab, run, 0).enforcement.has_value());
  CHECK(Ask(lab, run, 1).enforcement == Enforcement::advisory);
  // As a pipeline that nobody has validated may say.
  pipeline.tasks[1].enforcement = Enforcement::hardware;
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions());
  CHECK(refused.status().code() == StatusCode::kFailedPrecondition);
  CHECK(Message(refused.status()) ==
        "task \"b\": cuda.shares has advisory enforcement, asked for hardware");
}

TEST_CASE("Waiting for a try, for the end of a cancelled run, and for anybody to drive it") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("waits");
  Task& again = AddTask(pipeline, "again");
  again.retry.max_attempts = 2;
  again.retry.delay = seconds(60);
  again.retry.jitter = 0;
  lab.executor.Script("again", 1, Outcome::Failure());
  AddTask(pipeline, "long");
  lab.executor.Script("long", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  lab.Step();
  const TaskExplanation retry = Ask(lab, run, 0);
  CHECK(retry.situation == TaskSituation::retry);
  CHECK(retry.until == lab.clock.now() + seconds(60));
  CHECK(retry.sentence == lab.engine().ExplainWait(run, 0));
  REQUIRE(lab.engine().Cancel(run).ok());
  CHECK(Ask(lab, run, 0).situation == TaskSituation::cancelling);

  const auto at = [&](Time now, const std::function<bool(const LeaseHolder&)>& is_gone) {
    const auto explained = ExplainTask(lab.store(), run, 1, now, is_gone);
    REQUIRE(explained.ok());
    return explained->sentence;
  };
  const std::string nobody = "nobody drives its run; trackbed resume " + run + " continues it";
  CHECK(at(lab.clock.now() + std::chrono::hours(1), {}) == nobody);
  CHECK(at(lab.clock.now(), [](const LeaseHolder&) { return true; }) == nobody);
  CHECK(ExplainTask(lab.store(), "none", 0, lab.clock.now(), {}).status().code() ==
        StatusCode::kNotFound);
}

TEST_CASE("Of equal tasks one does the work, and the others say that they wait for it") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 1)})};
  Pipeline pipeline = NewPipeline("same");
  AddTask(pipeline, "a").cache = CacheMode::automatic;
  lab.executor.Script("a", Outcome::Waits());
  const RunId first = lab.Submit(pipeline);
  lab.Step();
  const RunId second = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.executor.running() == 1);
  const TaskExplanation same = Ask(lab, second, 0);
  CHECK(same.situation == TaskSituation::same_work);
  CHECK(same.waits_for == Names{first + "/a"});
  CHECK(same.sentence == "waits for " + first + "/a, which does the same work");
  lab.executor.Finish(first + "/a/1");
  lab.Step();
  CHECK(Ask(lab, second, 0).situation == TaskSituation::ended);
  CHECK(lab.executor.running() == 0);
}

TEST_CASE("What nobody is before starts next") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("free");
  AddTask(pipeline, "a");
  const RunId run = lab.Submit(pipeline);
  CHECK(Ask(lab, run, 0).situation == TaskSituation::next);
  CHECK(lab.engine().ExplainWait(run, 0).empty());
}

}  // namespace
}  // namespace trackbed
