// Slots, as runs share them: never more than there are, and nobody starves.
#include <string>
#include <vector>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using Names = std::vector<std::string>;

TEST_CASE("A task that names no slots takes one cpu") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 3)})};
  Pipeline pipeline = NewPipeline("default");
  for (int i = 0; i < 10; ++i) {
    AddTask(pipeline, "t" + std::to_string(i));
    Outcome outcome;
    outcome.takes = seconds(1);
    lab.executor.Script("t" + std::to_string(i), outcome);
  }
  lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.running() == 3);
  CHECK(lab.engine().ExplainWait(lab.told.front().first, 3) == "needs 1 cpu, 0 of 3 free: 1 short");
  CHECK(lab.engine().ExplainWait(lab.told.front().first, 9) ==
        "needs 1 cpu, 0 of 3 free: 1 short; 6 tasks that ask for the same before it");
  lab.RunToEnd();
  CHECK(lab.executor.most_running() == 3);
}

TEST_CASE("An engine that is told of no slots runs one task at a time") {
  EngineLab lab;
  lab.options.nodes.clear();
  Pipeline pipeline = NewPipeline("one");
  AddTask(pipeline, "a");
  AddTask(pipeline, "b");
  lab.executor.Script("a", Outcome::Waits());
  lab.Submit(pipeline);
  lab.Step();
  CHECK(lab.executor.StartedTasks() == Names{"a/1"});
}

TEST_CASE("Requests of different kinds are met side by side") {
  EngineLab lab;
  lab.options.nodes = {
      NodeOfSlots({Slot("cpu", 4), Slot("cuda.device", 2), {"mem", *Quantity::ParseBytes("16g")}})};
  Pipeline pipeline = NewPipeline("mixed");
  const auto add = [&](const std::string& name, std::vector<SlotRequest> resources) {
    AddTask(pipeline, name).resources = std::move(resources);
    lab.executor.Script(name, Outcome::Waits());
  };
  add("gpu1", {Slot("cpu", 1), Slot("cuda.device", 1)});
  add("gpu2", {Slot("cpu", 1), Slot("cuda.device", 1)});
  add("gpu3", {Slot("cpu", 1), Slot("cuda.device", 1)});
  add("mem1", {Slot("cpu", 1), {"mem", *Quantity::ParseBytes("10g")}});
  add("mem2", {Slot("cpu", 1), {"mem", *Quantity::ParseBytes("10g")}});
  add("half", {{"cpu", Quantity::FromThousandths(500)}});
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  // Those that do not fit let others pass.
  CHECK(lab.executor.StartedTasks() == Names{"gpu1/1", "gpu2/1", "mem1/1", "half/1"});
  CHECK(lab.engine().ExplainWait(run, IndexOf(pipeline, "gpu3")) ==
        "needs 1 cuda.device, 0 of 2 free: 1 short");
  lab.executor.Finish(run + "/half/1");
  lab.Step();
  CHECK(lab.engine().ExplainWait(run, IndexOf(pipeline, "gpu3")) ==
        "needs 1 cuda.device, 0 of 2 free: 1 short");
  CHECK(lab.engine().ExplainWait(run, IndexOf(pipeline, "mem2")) ==
        "needs 10g mem, 6g of 16g free: 4g short");
  lab.executor.Finish(run + "/gpu2/1");
  lab.executor.Finish(run + "/mem1/1");
  lab.Step();
  CHECK(lab.executor.running() == 3);
  CHECK(lab.executor.MostUsed("cuda.device") == 2000);
  CHECK(lab.executor.MostUsed("cpu") <= 4000);
}

TEST_CASE("A task that is never run between two equal ones does not change their slots") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
  Pipeline pipeline = NewPipeline("line");
  AddTask(pipeline, "small");
  AddTask(pipeline, "large1").resources = {Slot("cpu", 4)};
  AddTask(pipeline, "off").skip = true;
  AddTask(pipeline, "large2").resources = {Slot("cpu", 4)};
  for (const char* name : {"small", "large1", "large2"}) {
    Outcome outcome;
    outcome.takes = seconds(1);
    lab.executor.Script(name, outcome);
  }
  lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.executor.MostUsed("cpu") == 4000);
  CHECK(lab.executor.most_running() == 1);
}

TEST_CASE("A skipped task of a pipeline can be asked about") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("off");
  AddTask(pipeline, "off").skip = true;
  const RunId run = lab.Submit(pipeline);
  CHECK(lab.engine().ExplainWait(run, 0).empty());
}

TEST_CASE("What can never fit is refused when it is submitted") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4), {"mem", *Quantity::ParseBytes("16g")}})};
  Pipeline pipeline = NewPipeline("large");
  AddTask(pipeline, "fits").resources = {Slot("cpu", 4), {"mem", *Quantity::ParseBytes("16g")}};
  AddTask(pipeline, "wide").resources = {Slot("cpu", 8)};
  AddTask(pipeline, "deep").resources = {{"mem", *Quantity::ParseBytes("20g")}};
  AddTask(pipeline, "fast").resources = {Slot("cuda.device", 1)};
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions());
  CHECK(refused.status().code() == StatusCode::kResourceExhausted);
  CHECK(Message(refused.status()) ==
        "task \"wide\": needs 8 cpu, there is 4\n"
        "task \"deep\": needs 20g mem, there is 16g\n"
        "task \"fast\": needs 1 cuda.device, there is none");
  CHECK(lab.store().ListRuns(10)->empty());
}

TEST_CASE("Small tasks do not keep a large one waiting") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
  lab.compare_after_steps = false;
  const auto lasts = [&](const std::string& task, Duration time) {
    Outcome outcome;
    outcome.takes = time;
    lab.executor.Script(task, outcome);
  };
  Pipeline first = NewPipeline("first");
  AddTask(first, "holder");
  lasts("holder", minutes(1));
  Pipeline large = NewPipeline("large");
  AddTask(large, "large").resources = {Slot("cpu", 4)};
  Pipeline small = NewPipeline("small");
  for (int i = 0; i < 100; ++i) {
    AddTask(small, "s" + std::to_string(i));
    lasts("s" + std::to_string(i), minutes(1) + seconds(i));  // never end all together
  }
  lab.Submit(first);
  lab.Step();
  const RunId run = lab.Submit(large);
  lab.Step();
  const Time submitted = lab.clock.now();
  lab.StepAfter(seconds(1));
  lab.Submit(small);
  lab.RunToEnd();
  const StoredRun stored = lab.Stored(run);
  // Room is kept for it: it waits for what ran before it, and for nothing else.
  CHECK(stored.state->task(0).started - submitted <= minutes(1));
  CHECK(lab.executor.MostUsed("cpu") == 4000);
}

// "gpu0=0.5 gpu1=1"
std::string Devices(const AttemptSpec& spec) {
  std::string text;
  for (const AssignedDevice& device : spec.devices) {
    text += (text.empty() ? "" : " ") + device.id + "=" + device.amount.ToString();
  }
  return text;
}

TEST_CASE("An attempt is told its devices, and its event keeps them") {
  EngineLab lab;
  NodeDescription node = NodeOfSlots({Slot("cpu", 8)});
  for (int i = 0; i < 2; ++i) {
    NodeDevice gpu;
    gpu.id = "gpu" + std::to_string(i);
    gpu.slot = "cuda.shares";
    gpu.capacity = Quantity::FromThousandths(1000);
    gpu.memory_bytes = int64_t{80} << 30;
    node.devices.push_back(gpu);
  }
  lab.options.nodes = {node};
  Pipeline pipeline = NewPipeline("shares");
  const auto add = [&](const std::string& name, int64_t thousandths) {
    Task& task = AddTask(pipeline, name);
    if (thousandths > 0) {
      task.resources = {{"cuda.shares", Quantity::FromThousandths(thousandths)}};
    }
    lab.executor.Script(name, Outcome::Waits());
  };
  add("half", 500);
  add("whole", 1000);
  add("more", 700);
  add("none", 0);
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  CHECK(Devices(lab.executor.spec(run + "/half/1")) == "gpu1=0.5");
  CHECK(Devices(lab.executor.spec(run + "/whole/1")) == "gpu0=1");
  CHECK(Devices(lab.executor.spec(run + "/none/1")).empty());
  CHECK(lab.executor.spec(run + "/none/1").offered_slots == Names{"cuda.shares"});
  const AssignedDevice& second = lab.executor.spec(run + "/half/1").devices[0];
  CHECK(second.card == "gpu1");
  CHECK(second.index == 1);
  CHECK(second.memory == int64_t{80} << 30);
  CHECK(lab.engine().ExplainWait(run, 2) == "needs 0.7 cuda.shares, 0.5 of 2 free: 0.2 short");
  const StoredRun stored = lab.Stored(run);
  REQUIRE(stored.state->Intended(1) != nullptr);
  CHECK(stored.state->Intended(1)->slots ==
        std::vector<HeldSlot>{{"cuda.shares", "gpu0", Units(1)}});
  CHECK(stored.state->Intended(3) == nullptr);  // it holds no device: nothing to say

  SECTION("who takes up the run gives nobody what is held") {
    lab.executor.Finish(run + "/half/1");
    lab.Crash();
    REQUIRE(lab.engine().Resume(run).ok());
    lab.Step();
    CHECK(Devices(lab.executor.spec(run + "/more/1")) == "gpu1=0.7");
    CHECK(lab.executor.spec(run + "/whole/1").devices[0].id == "gpu0");
  }
  SECTION("what is given back is given again") {
    lab.executor.Finish(run + "/whole/1");
    lab.Step();
    CHECK(Devices(lab.executor.spec(run + "/more/1")) == "gpu0=0.7");
  }
}

TEST_CASE("A node that makes no sense is refused") {
  EngineLab lab;
  lab.options.nodes[0].cpu = Quantity::FromThousandths(-1);
  const Status status = lab.TryOpen();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status) ==
        "EngineOptions.nodes: cpu: found -0.001, expected an amount that is not negative");
}

TEST_CASE("Attempts found running hold their slots, even when there are fewer now") {
  EngineLab lab;
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
  Pipeline pipeline = NewPipeline("shrunk");
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    AddTask(pipeline, name);
    lab.executor.Script(name, Outcome::Waits());
  }
  const RunId run = lab.Submit(pipeline);
  lab.Step();
  REQUIRE(lab.executor.running() == 4);
  lab.Crash();
  lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
  REQUIRE(lab.engine().Resume(run).ok());
  lab.Step();
  CHECK(lab.executor.running() == 4);
  CHECK(lab.engine().ExplainWait(run, 4) ==
        "attempts found running hold more than there is; nothing starts until some have ended");
  for (const char* name : {"a", "b"}) lab.executor.Finish(run + "/" + name + "/1");
  lab.Step();
  CHECK(lab.executor.running() == 2);
  lab.executor.Finish(run + "/c/1");
  lab.Step();
  CHECK(lab.executor.StartedTasks().back() == "e/1");
}

}  // namespace
}  // namespace trackbed
