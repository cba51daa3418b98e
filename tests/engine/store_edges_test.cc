// Stores and logs at their edges: parts of a run's events, runs that there are not, details of
// events that cannot be read. The same for the store in memory and the one in a file.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;
using Sequences = std::vector<uint64_t>;

Time At(int64_t second) { return Time(seconds(1'000'000 + second)); }

Event Submitted() { return {At(1), kNoTask, 0, EventType::run_submitted, Encode(RunSubmitted{})}; }

// Run 1 with five events, on each store.
void OnEachStore(const std::function<void(Store&, uint64_t fence)>& check) {
  for (const bool in_file : {false, true}) {
    TemporaryFolder folder;
    std::unique_ptr<Store> store;
    if (in_file) {
      auto opened = OpenSqliteStore(folder / "trackbed.db");
      REQUIRE(opened.ok());
      store = *std::move(opened);
    } else {
      store = NewMemoryStore();
    }
    RunRecord record;
    record.id = "p-1";
    record.pipeline = "p";
    record.version = "sha256:v1";
    record.submitted = At(1);
    const auto added = store->AddRun(record, "encoded", Submitted());
    REQUIRE(added.ok());
    REQUIRE(added->number == 1);
    const auto lease =
        store->AcquireLease({"host", "boot", 1, 2, "test", ""}, At(0), seconds(15), {});
    REQUIRE(lease.ok());
    Batch batch;
    for (uint64_t sequence = 2; sequence <= 5; ++sequence) {
      batch.events.push_back(
          {1, sequence,
           Event{At(static_cast<int64_t>(sequence)), kNoTask, 0, EventType::run_resumed, ""}});
    }
    REQUIRE(store->Commit(lease->fence, batch).ok());
    INFO((in_file ? "in a file" : "in memory"));
    check(*store, lease->fence);
  }
}

Sequences Some(Store& store, int64_t run, uint64_t from, size_t limit) {
  Sequences sequences;
  const Status status = store.ReadSomeEvents(
      run, from, limit, [&](uint64_t sequence, const Event&) { sequences.push_back(sequence); });
  INFO(status);
  CHECK(status.ok());
  return sequences;
}

Sequences All(Store& store, int64_t run, uint64_t from) {
  Sequences sequences;
  const Status status = store.ReadEvents(
      run, from, [&](uint64_t sequence, const Event&) { sequences.push_back(sequence); });
  INFO(status);
  CHECK(status.ok());
  return sequences;
}

TEST_CASE("Some of the events of a run are read, from anywhere") {
  OnEachStore([](Store& store, uint64_t) {
    CHECK(Some(store, 1, 0, 2) == Sequences{1, 2});
    CHECK(Some(store, 1, 1, 2) == Sequences{1, 2});
    CHECK(Some(store, 1, 3, 2) == Sequences{3, 4});
    CHECK(Some(store, 1, 3, 3) == Sequences{3, 4, 5});
    CHECK(Some(store, 1, 3, 100) == Sequences{3, 4, 5});
    CHECK(Some(store, 1, 3, 0).empty());
    CHECK(Some(store, 1, 6, 5).empty());
    CHECK(All(store, 1, 0) == Sequences{1, 2, 3, 4, 5});
    CHECK(All(store, 1, 5) == Sequences{5});
    CHECK(All(store, 1, 6).empty());
  });
}

TEST_CASE("Of a run that there is not nothing is read") {
  OnEachStore([](Store& store, uint64_t) {
    for (const int64_t run : {int64_t{0}, int64_t{-1}, int64_t{2}, INT64_MAX}) {
      CHECK(Some(store, run, 1, 5).empty());
      CHECK(All(store, run, 1).empty());
    }
    CHECK(store.FindRun("p-2").status().code() == StatusCode::kNotFound);
    CHECK(store.FindRun("").status().code() == StatusCode::kNotFound);
    CHECK(store.ReadPipeline("sha256:v2").status().code() == StatusCode::kNotFound);
  });
}

TEST_CASE("An event of a run that there is not is stored nowhere, nor what comes with it") {
  OnEachStore([](Store& store, uint64_t fence) {
    for (const int64_t run : {int64_t{0}, int64_t{-1}, int64_t{2}}) {
      Batch batch;
      batch.events.push_back({1, 6, Event{At(6), kNoTask, 0, EventType::run_resumed, ""}});
      batch.events.push_back({run, 2, Event{At(6), kNoTask, 0, EventType::run_resumed, ""}});
      CHECK_FALSE(store.Commit(fence, batch).ok());
      CHECK(All(store, 1, 1) == Sequences{1, 2, 3, 4, 5});
    }
    Batch gap;
    gap.events.push_back({1, 7, Event{At(6), kNoTask, 0, EventType::run_resumed, ""}});
    CHECK_FALSE(store.Commit(fence, gap).ok());
    CHECK(All(store, 1, 1) == Sequences{1, 2, 3, 4, 5});
  });
}

TEST_CASE("No more runs are listed than are asked for") {
  OnEachStore([](Store& store, uint64_t) {
    CHECK(store.ListRuns(0)->empty());
    CHECK(store.ListRuns(1)->size() == 1);
    CHECK(store.ListRuns(SIZE_MAX)->size() == 1);
  });
}

TEST_CASE("A batch that cannot be right is stored nowhere") {
  OnEachStore([](Store& store, uint64_t fence) {
    RunRecord record;
    record.id = "p-1/m/1";
    record.pipeline = "p";
    record.version = "sha256:v1";
    const auto refused = [&](const Batch& batch, StatusCode code) {
      CHECK(store.Commit(fence, batch).code() == code);
      CHECK(All(store, 1, 1) == Sequences{1, 2, 3, 4, 5});
      CHECK(store.ListRuns(10, RunsListed::all)->size() == 1);
      CHECK(store.FindRun("p-1")->status == RunStatus::running);
    };
    Batch twice;
    twice.runs = {{record, Submitted()}, {record, Submitted()}};
    refused(twice, StatusCode::kAlreadyExists);
    Batch known;
    known.runs = {{record, Submitted()}, {*store.FindRun("p-1"), Submitted()}};
    refused(known, StatusCode::kAlreadyExists);
    for (const int64_t run : {int64_t{0}, int64_t{-1}, int64_t{2}}) {
      Batch nowhere;
      nowhere.status_changes = {{1, RunStatus::failed, At(9)}, {run, RunStatus::failed, At(9)}};
      refused(nowhere, StatusCode::kDataLoss);
    }
    Batch both;
    both.runs = {{record, Submitted()}};
    both.status_changes = {{1, RunStatus::succeeded, At(9)}};
    REQUIRE(store.Commit(fence, both).ok());
    CHECK(store.FindRun("p-1/m/1")->number == 2);
    CHECK(store.ListRuns(10)->size() == 1);
    CHECK(store.ListRuns(10, RunsListed::all)->size() == 2);
  });
}

TEST_CASE("A pipeline of no bytes is one") {
  OnEachStore([](Store& store, uint64_t) {
    RunRecord record;
    record.id = "p-2";
    record.version = "sha256:v2";
    REQUIRE(store.AddRun(record, "", Submitted()).ok());
    record.id = "p-3";
    record.version = "sha256:v3";
    REQUIRE(store.AddRun(record, std::string_view(), Submitted()).ok());
    CHECK(store.ReadPipeline("sha256:v2")->empty());
    CHECK(store.ReadPipeline("sha256:v3")->empty());
  });
}

TEST_CASE("A store cannot be made where no file can be") {
  TemporaryFolder folder;
  const Status nowhere = OpenSqliteStore(folder / "missing/trackbed.db").status();
  CHECK(nowhere.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(nowhere).find("cannot open the store") != std::string_view::npos);
  const Status folder_itself = OpenSqliteStore(folder / ".").status();
  CHECK(folder_itself.code() == StatusCode::kFailedPrecondition);
  SqliteStoreOptions reading;
  reading.read_only = true;
  CHECK_FALSE(OpenSqliteStore(folder / "none.db", reading).ok());
  SqliteStoreOptions unknown;
  unknown.vfs = "no such vfs";
  CHECK_FALSE(OpenSqliteStore(folder / "trackbed.db", unknown).ok());
}

TEST_CASE("A run that is listed as what its events do not say is damaged, and not gone on with") {
  // As when the power goes on a disk that lies: of two pages of one commit one is of before.
  EngineLab lab;
  Pipeline pipeline = NewPipeline("p");
  AddTask(pipeline, "a");
  const RunId done = lab.Submit(pipeline);
  lab.RunToEnd();
  lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
  const RunId open = lab.Submit(pipeline);
  lab.Step();
  const size_t started = lab.executor.started().size();
  lab.Crash();
  const auto lease = lab.store().AcquireLease({"host", "boot", 1, 2, "test", ""}, At(0),
                                              seconds(15), [](const LeaseHolder&) { return true; });
  REQUIRE(lease.ok());
  Batch batch;
  batch.status_changes.push_back({lab.store().FindRun(done)->number, RunStatus::running, Time{}});
  batch.status_changes.push_back({lab.store().FindRun(open)->number, RunStatus::failed, At(2)});
  REQUIRE(lab.store().Commit(lease->fence, batch).ok());
  REQUIRE(lab.store().ReleaseLease(lease->fence).ok());
  lab.Open();
  const Status resumed = lab.engine().Resume(done);
  CHECK(resumed.code() == StatusCode::kDataLoss);
  CHECK(Message(resumed) == "run " + done + " is listed as running, and its events say succeeded");
  CHECK(lab.engine().Retry(open, {}).code() == StatusCode::kDataLoss);
  CHECK(lab.engine().Cancel(done).code() == StatusCode::kDataLoss);
  CHECK(lab.executor.started().size() == started);
  // The others go on.
  lab.executor.decide = nullptr;
  const RunId other = lab.Submit(pipeline);
  lab.RunToEnd();
  CHECK(lab.StatusOf(other) == "succeeded");
}

// ---- What cannot be read of an event ---------------------------------------------------------

// a, b after a; as after `before`.
Status After(const std::vector<Event>& before, const Event& event) {
  Pipeline pipeline = NewPipeline("two");
  AddTask(pipeline, "a").retry.max_attempts = 2;
  AddTask(pipeline, "b", {"a"});
  auto graph = Graph::Build(pipeline);
  REQUIRE(graph.ok());
  RunState state("two-1", std::make_shared<const Pipeline>(pipeline), *std::move(graph));
  for (const Event& each : before) REQUIRE(state.Apply(each).ok());
  return state.Apply(event);
}

TEST_CASE("An event whose detail cannot be read is damage, whatever the event") {
  const std::string damaged = "\xff\xff\xff\xff";
  const Event cancel{At(2), kNoTask, 0, EventType::run_cancel_requested, ""};
  const Event cancelled{At(3), kNoTask, 0, EventType::run_finished,
                        Encode(RunFinished{RunStatus::cancelled})};
  const Event intended{At(2), 0, 1, EventType::attempt_intended, ""};
  const auto damage = [&](const std::vector<Event>& before, Event event) {
    REQUIRE(After(before, event).ok());  // with its detail it fits
    event.detail = damaged;
    INFO(ToString(event.type));
    const Status status = After(before, event);
    CHECK(status.code() == StatusCode::kDataLoss);
  };
  damage({}, Submitted());
  damage({Submitted(), cancel}, cancelled);
  damage({Submitted(), cancel, cancelled},
         {At(4), kNoTask, 0, EventType::run_retried, Encode(RunRetried{{0}})});
  damage({Submitted()}, {At(2), 0, 1, EventType::attempt_intended, Encode(AttemptIntended{})});
  for (const EventType type : {EventType::attempt_succeeded, EventType::attempt_failed}) {
    damage({Submitted(), intended}, {At(3), 0, 1, type, Encode(AttemptEnded{})});
  }
  damage({Submitted()}, {At(2), 0, 0, EventType::task_failed, Encode(AttemptEnded{})});
  damage({Submitted()}, {At(2), 0, 0, EventType::task_skipped, Encode(TaskSkipped{})});
  damage({Submitted()}, {At(2), 0, 0, EventType::task_cached, Encode(TaskCached{})});
}

}  // namespace
}  // namespace trackbed
