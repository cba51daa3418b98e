// The engine dies at every single write, before it takes effect and just after, and another takes
// over: the story must end the same, and no attempt may start twice.
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "support/temporary_folder.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

// Retries, conditions, a failure that is handled, outputs, equal tasks, and waiting for slots.
Pipeline Eventful() {
  Pipeline pipeline = NewPipeline("eventful");
  AddTask(pipeline, "load").outputs = {{"rows", ValueType::integer}};
  Task& flaky = AddTask(pipeline, "flaky", {"load"});
  flaky.retry.max_attempts = 3;
  flaky.retry.delay = seconds(2);
  flaky.retry.jitter = 0.5F;
  AddTask(pipeline, "small", {"load"}).when = "tasks.load.outputs.rows < 100";
  AddTask(pipeline, "large", {"load"}).when = "tasks.load.outputs.rows >= 100";
  AddTask(pipeline, "lint", {"load"}).allow_failure = true;
  AddTask(pipeline, "bad", {"lint"});
  AddTask(pipeline, "alarm", {"bad"}).trigger = Trigger::any_failed;
  AddTask(pipeline, "off", {"bad"}).skip = true;
  for (const char* name : {"twin1", "twin2"}) {
    Task& twin = AddTask(pipeline, name, {"flaky"});
    twin.command = {"train ${{ tasks.load.outputs.rows }}"};
    twin.cache = CacheMode::automatic;
  }
  AddTask(pipeline, "vanishes", {"load"});
  AddTask(pipeline, "slow", {"load"}).timeout = seconds(3);
  AddTask(pipeline, "end", {"twin1", "twin2", "large"}).trigger = Trigger::none_failed;
  return pipeline;
}

void ScriptEventful(FakeExecutor& executor) {
  const auto after = [](int wait, Outcome outcome) {
    outcome.takes = seconds(wait);
    return outcome;
  };
  executor.Script("load", after(1, Outcome::Success("rows=150\n")));
  executor.Script("flaky", 1, after(1, Outcome::Failure()));
  executor.Script("flaky", 2, after(1, Outcome::Failure(7)));
  executor.Script("flaky", 3, after(1, Outcome()));
  executor.Script("lint", Outcome::Failure());
  executor.Script("bad", after(2, Outcome::Failure(9)));
  executor.Script("vanishes", 1, Outcome::Lost());
  executor.Script("slow", Outcome::Waits());
}

constexpr char kEnd[] =
    "load:succeeded flaky:succeeded small:skipped large:succeeded lint:failed bad:failed "
    "alarm:succeeded off:skipped twin1:succeeded twin2:cached vanishes:succeeded slow:failed "
    "end:succeeded";

// One process after the other works on a run until it has ended.
class Story {
 public:
  explicit Story(Store* store) : lab(store) {
    lab.compare_after_steps = false;
    lab.options.nodes = {NodeOfSlots({Slot("cpu", 2)})};
    // Checked at every real start, by what is durable then.
    lab.executor.on_start = [this](const AttemptSpec& spec) {
      const RunId id = spec.key.substr(0, spec.key.rfind('/', spec.key.rfind('/') - 1));
      const StoredRun stored = lab.Stored(id);
      const std::string task = spec.key.substr(id.size() + 1, spec.key.rfind('/') - id.size() - 1);
      const TaskIndex index = IndexOf(stored.state->pipeline(), task);
      CHECK(stored.state->task(index).state == TaskState::running);
      CHECK(MakeKey(id, task, stored.state->task(index).attempt) == spec.key);
    };
  }

  EngineLab lab;

  static AttemptKey MakeKey(const RunId& run, const std::string& task, uint32_t attempt) {
    return run + "/" + task + "/" + std::to_string(attempt);
  }

  // Steps until the engine dies or no run is active; true when it died.
  bool Live() {
    for (int i = 0; i < 10'000; ++i) {
      if (!lab.engine().Step().ok()) return true;
      lab.CompareWithStore();
      if (!lab.engine().HasActiveRuns()) return false;
      lab.clock.AdvanceTo(lab.NextTime());
    }
    FAIL("the run does not end");
    return false;
  }

  // Takes up whatever has not ended, as `resume` would, or goes on cancelling.
  bool TakeOver(bool cancel) {
    lab.Crash();
    lab.Open();
    const std::vector<RunRecord> records = *lab.store().ListRuns(100);
    for (const RunRecord& record : records) {
      if (record.status != RunStatus::running) continue;
      const Status status =
          cancel ? lab.engine().Cancel(record.id) : lab.engine().Resume(record.id);
      INFO(status);
      REQUIRE(status.ok());
    }
    return Live();
  }

  // Every attempt that the log intends was started at most once, and every one that was started
  // is in the log, with the end that it had.
  void CheckAttempts(const RunId& run) {
    std::set<AttemptKey> intended;
    const StoredRun stored = lab.Stored(run);
    for (const Event& event : lab.EventsOf(run)) {
      if (event.type != EventType::attempt_intended) continue;
      const std::string& task = stored.state->pipeline().tasks[event.task].name;
      CHECK(intended.insert(MakeKey(run, task, event.attempt)).second);
    }
    std::set<AttemptKey> started;
    for (const AttemptKey& key : lab.executor.started()) {
      if (!key.starts_with(run + "/")) continue;
      CHECK(started.insert(key).second);
      CHECK(intended.contains(key));
      CHECK(lab.executor.attempts().at(key).ended.has_value());
    }
  }
};

// Has `tell` tell a story that dies at the n-th write, before or after it took effect, for every n
// until nothing dies any more; over both kinds of store. It returns whether anything died.
void AtEveryWrite(const std::function<bool(Store*, int64_t, FaultyStore::Point)>& tell) {
  for (const bool sqlite : {false, true}) {
    for (const auto point : {FaultyStore::Point::before, FaultyStore::Point::after}) {
      int64_t write = 1;
      for (bool died = true; died; write += sqlite ? 3 : 1) {  // memory has had them all
        TemporaryFolder folder;
        auto store = sqlite ? OpenSqliteStore(folder / "trackbed.db", {Durability::process, false})
                            : StatusOr<std::unique_ptr<Store>>(NewMemoryStore());
        REQUIRE(store.ok());
        CAPTURE(sqlite, write, point == FaultyStore::Point::before);
        died = tell(store->get(), write, point);
      }
      CHECK(write > 5);  // or there was not much to die at
    }
  }
}

TEST_CASE("Whenever the engine dies, the run ends the same") {
  AtEveryWrite([&](Store* store, int64_t write, FaultyStore::Point point) {
    Story story(store);
    ScriptEventful(story.lab.executor);
    story.lab.Open();
    story.lab.process().DieAt(write, point);
    const auto submitted =
        story.lab.engine().Submit(std::make_shared<const Pipeline>(Eventful()), SubmitOptions());
    if (!submitted.ok()) {
      // Either it never was, or it was stored and waits to be taken up.
      const size_t runs = story.lab.store().ListRuns(10)->size();
      CHECK(runs == (point == FaultyStore::Point::before ? 0 : 1));
      if (runs == 0) return true;
    }
    const bool died = !submitted.ok() || story.Live();
    if (died) CHECK_FALSE(story.TakeOver(/*cancel=*/false));
    const RunId run = story.lab.store().ListRuns(1)->front().id;
    CHECK(story.lab.StatesOf(run) == kEnd);
    CHECK(story.lab.StatusOf(run) == "failed");
    CHECK(story.lab.executor.MostUsed("cpu") <= 2000);
    story.CheckAttempts(run);
    // Nothing ran that an undisturbed engine would not have run.
    CHECK(story.lab.executor.started().size() == 13);
    CHECK(story.lab.executor.running() == 0);
    return died;
  });
}

TEST_CASE("Whenever the engine dies twice, the run ends the same") {
  for (int64_t first = 1; first <= 12; first += 2) {
    for (int64_t second = 1; second <= 12; second += 2) {
      const std::unique_ptr<Store> store = NewMemoryStore();
      Story story(store.get());
      ScriptEventful(story.lab.executor);
      const RunId run = story.lab.Submit(Eventful());
      story.lab.process().DieAt(first, FaultyStore::Point::after);
      REQUIRE(story.Live());
      story.lab.Crash();
      story.lab.Open();
      story.lab.process().DieAt(second, FaultyStore::Point::before);
      if (!story.lab.engine().Resume(run).ok() || story.Live()) {
        CHECK_FALSE(story.TakeOver(/*cancel=*/false));
      }
      CAPTURE(first, second);
      CHECK(story.lab.StatesOf(run) == kEnd);
      CHECK(story.lab.executor.started().size() == 13);
      story.CheckAttempts(run);
    }
  }
}

TEST_CASE("Whenever the engine dies while it cancels, the run is cancelled and nothing starts") {
  AtEveryWrite([&](Store* store, int64_t write, FaultyStore::Point point) {
    Story story(store);
    ScriptEventful(story.lab.executor);
    Outcome stubborn = Outcome::Waits();
    stubborn.ignores_terminate = true;
    story.lab.executor.Script("large", stubborn);
    const RunId run = story.lab.Submit(Eventful());
    story.lab.process().DieAt(write, point);
    bool died = false;
    for (int i = 0; i < 20 && !died; ++i) {
      died = !story.lab.engine().Step().ok();
      story.lab.clock.AdvanceTo(story.lab.NextTime());
    }
    if (!died) died = !story.lab.engine().Cancel(run).ok() || story.Live();
    // What only the cancelling engine may do: nothing new.
    const size_t started = story.lab.executor.started().size();
    if (died) {
      CHECK_FALSE(story.TakeOver(/*cancel=*/true));
      CHECK(story.lab.executor.started().size() == started);
    }
    CHECK(story.lab.StatusOf(run) == "cancelled");
    CHECK(story.lab.executor.running() == 0);
    story.CheckAttempts(run);
    // Taken up again, it comes to the same end as always.
    story.lab.executor.Script("large", Outcome());
    story.lab.process().DieAt(1'000'000, point);  // no more of that
    REQUIRE(story.lab.engine().Resume(run).ok());
    CHECK_FALSE(story.Live());
    CHECK(story.lab.StatesOf(run) == kEnd);
    story.CheckAttempts(run);
    return died;
  });
}

TEST_CASE("Whenever the engine dies in a second run, results of the first are used, not remade") {
  AtEveryWrite([&](Store* store, int64_t write, FaultyStore::Point point) {
    Story story(store);
    Pipeline pipeline = Eventful();
    for (Task& task : pipeline.tasks) task.cache = CacheMode::automatic;
    ScriptEventful(story.lab.executor);
    story.lab.Submit(pipeline);
    CHECK_FALSE(story.Live());
    const size_t started = story.lab.executor.started().size();
    const RunId run = story.lab.Submit(pipeline);
    story.lab.process().DieAt(write, point);
    const bool died = story.Live();
    if (died) CHECK_FALSE(story.TakeOver(/*cancel=*/false));
    CHECK(story.lab.StatesOf(run) ==
          "load:cached flaky:cached small:skipped large:cached lint:failed bad:failed alarm:cached "
          "off:skipped twin1:cached twin2:cached vanishes:cached slow:failed end:cached");
    CHECK(story.lab.executor.started().size() == started + 3);  // those that failed
    story.CheckAttempts(run);
    return died;
  });
}

}  // namespace
}  // namespace trackbed
