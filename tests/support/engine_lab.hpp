// Everything an engine needs, faked: a clock, an executor, a store, secrets, and a process that can
// die. Checks after every step that what is stored folds to what the engine has.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/fake_clock.hpp"
#include "support/fake_executor.hpp"
#include "support/faulty_store.hpp"
#include "support/pipelines.hpp"
#include "support/run_state_text.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/resources/local_node.hpp"

namespace trackbed {

class FakeSecrets final : public SecretSource {
 public:
  StatusOr<std::string> Resolve(std::string_view source, std::string_view name) override {
    const auto found = values.find(std::string(source) + "/" + std::string(name));
    if (found != values.end()) return found->second;
    return NotFound("secret " + std::string(name) + " is not set");
  }
  std::map<std::string, std::string> values;  // "env/TOKEN" -> value
};

class EngineLab {
 public:
  // Without a store: one in memory.
  explicit EngineLab(Store* store = nullptr) : memory_(NewMemoryStore()) {
    store_ = store == nullptr ? memory_.get() : store;
    options.executor = &executor;
    options.clock = &clock;
    options.random = &random;
    options.secrets = &secrets;
    options.home = "/home/lab";
    options.nodes = {NodeOfSlots({Slot("cpu", 4)})};
    options.holder = {"lab1", "boot1", 4711, 1, "trackbed run", ""};
    options.sink = [this](const RunState& run, uint64_t, const Event& event) {
      told.emplace_back(run.id(), event);
    };
  }

  FakeClock clock;
  FakeExecutor executor{&clock};
  SeededRandom random{1};
  FakeSecrets secrets;
  EngineOptions options;
  std::vector<std::pair<RunId, Event>> told;  // by the sink
  bool compare_after_steps = true;

  Store& store() { return *store_; }
  FaultyStore& process() { return *process_; }
  Engine& engine() {
    if (engine_ == nullptr) Open();
    return *engine_;
  }

  void Open() {
    Status status = TryOpen();
    INFO(status);
    REQUIRE(status.ok());
  }
  Status TryOpen() {
    engine_.reset();
    process_ = std::make_unique<FaultyStore>(store_);
    options.store = process_.get();
    StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(options);
    if (engine.ok()) engine_ = *std::move(engine);
    return engine.status();
  }
  // Ends the engine in good order; attempts go on.
  void Close() {
    engine_.reset();
    executor.Forget();
  }
  // The process of the engine dies; another may take its place at once.
  void Crash() {
    if (process_ != nullptr) process_->Die();
    Close();
    options.is_gone = [](const LeaseHolder&) { return true; };
  }

  RunId Submit(Pipeline pipeline, SubmitOptions submit = {}) {
    StatusOr<RunId> run =
        engine().Submit(std::make_shared<const Pipeline>(std::move(pipeline)), std::move(submit));
    INFO(run.status());
    REQUIRE(run.ok());
    return *run;
  }

  void Step() {
    const Status status = engine().Step();
    INFO(status);
    REQUIRE(status.ok());
    if (compare_after_steps) CompareWithStore();
  }
  void StepAfter(Duration wait) {
    clock.Advance(wait);
    Step();
  }
  // Steps, and lets time pass, until no run is active. Fails the test when that takes for ever.
  void RunToEnd() {
    for (int i = 0; i < 100'000; ++i) {
      Step();
      if (!engine().HasActiveRuns()) return;
      clock.AdvanceTo(NextTime());
    }
    FAIL("the runs do not end");
  }
  // When something can happen again.
  Time NextTime() const {
    return std::max(clock.now() + std::chrono::milliseconds(1),
                    std::min(engine_->NextDeadline(), executor.NextEnd()));
  }

  // The run as it is stored.
  StoredRun Stored(const RunId& run) {
    StatusOr<StoredRun> stored = LoadRun(*store_, run);
    INFO(stored.status());
    REQUIRE(stored.ok());
    return *std::move(stored);
  }
  // "succeeded", "failed", …
  std::string StatusOf(const RunId& run) {
    const StoredRun stored = Stored(run);
    CHECK(stored.record.status == stored.state->status());
    return std::string(ToString(stored.record.status));
  }
  std::string StateOf(const RunId& run, std::string_view task) {
    const StoredRun stored = Stored(run);
    const TaskIndex index = IndexOf(stored.state->pipeline(), task);
    const TaskStatus& status = stored.state->task(index);
    return status.cached ? "cached" : std::string(ToString(status.state));
  }
  // "a:succeeded b:skipped"
  std::string StatesOf(const RunId& run) {
    std::string text;
    const StoredRun stored = Stored(run);
    for (const Task& task : stored.state->pipeline().tasks) {
      text += (text.empty() ? "" : " ") + task.name + ":" + StateOf(run, task.name);
    }
    return text;
  }
  std::string FailureOf(const RunId& run, std::string_view task) {
    const StoredRun stored = Stored(run);
    const AttemptEnded* failure = stored.state->Failure(IndexOf(stored.state->pipeline(), task));
    if (failure == nullptr) return "none";
    return std::string(ToString(failure->reason)) +
           (failure->message.empty() ? "" : ": " + failure->message);
  }
  std::string SkipOf(const RunId& run, std::string_view task) {
    const StoredRun stored = Stored(run);
    const TaskSkipped* skip = stored.state->Skip(IndexOf(stored.state->pipeline(), task));
    if (skip == nullptr) return "none";
    return std::string(ToString(skip->reason)) + ": " + skip->message;
  }
  std::vector<Event> EventsOf(const RunId& run) {
    std::vector<Event> events;
    const StatusOr<RunRecord> record = store_->FindRun(run);
    REQUIRE(record.ok());
    REQUIRE(store_
                ->ReadEvents(record->number, 1,
                             [&](uint64_t, Event event) { events.push_back(std::move(event)); })
                .ok());
    return events;
  }

  // What the engine has is what is stored.
  void CompareWithStore() {
    const StatusOr<std::vector<RunRecord>> records = store_->ListRuns(1000, RunsListed::all);
    REQUIRE(records.ok());
    for (const RunRecord& record : *records) {
      const RunState* live = engine_->Find(record.id);
      if (live == nullptr) continue;
      const std::string stored = RunStateText(*Stored(record.id).state);
      if (RunStateText(*live) != stored) CHECK(RunStateText(*live) == stored);
    }
  }

 private:
  std::unique_ptr<Store> memory_;
  Store* store_;
  std::unique_ptr<FaultyStore> process_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace trackbed
