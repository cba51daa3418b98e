// What every store must do; the same tests for the one in memory and the one in a file.
#include "trackbed/engine/store.hpp"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

// A store, with all that keeps it alive.
struct Place {
  explicit Place(bool in_file) {
    if (!in_file) {
      store = NewMemoryStore();
      return;
    }
    auto opened = OpenSqliteStore(folder / "trackbed.db");
    INFO(opened.status());
    REQUIRE(opened.ok());
    store = *std::move(opened);
  }
  TemporaryFolder folder;
  std::unique_ptr<Store> store;
};

Time At(int64_t second) { return Time(seconds(1'000'000 + second)); }

Event Submitted() { return {At(1), kNoTask, 0, EventType::run_submitted, Encode(RunSubmitted{})}; }

RunRecord NewRecord(const RunId& id) {
  RunRecord record;
  record.id = id;
  record.pipeline = "digits";
  record.version = "sha256:v1";
  record.submitted = At(1);
  return record;
}

RunRecord Add(Store& store, const RunId& id) {
  const auto added = store.AddRun(NewRecord(id), "encoded", Submitted());
  INFO(added.status());
  REQUIRE(added.ok());
  return *added;
}

uint64_t Acquire(Store& store, int64_t now = 0) {
  const auto lease =
      store.AcquireLease({"host", "boot", 1, 2, "test", "cpu: 4\n"}, At(now), seconds(15), {});
  INFO(lease.status());
  REQUIRE(lease.ok());
  return lease->fence;
}

std::vector<std::pair<uint64_t, Event>> Read(Store& store, int64_t run, uint64_t from = 1) {
  std::vector<std::pair<uint64_t, Event>> events;
  REQUIRE(store
              .ReadEvents(run, from,
                          [&](uint64_t sequence, Event event) {
                            events.emplace_back(sequence, std::move(event));
                          })
              .ok());
  return events;
}

CacheEntry NewEntry(const std::string& key, const std::string& task, int64_t time) {
  CacheEntry entry;
  entry.key = key;
  entry.pipeline = "digits";
  entry.task = task;
  entry.time = At(time);
  entry.fields = {{"script", "python3 train.py"}, {"input.split", "sha256:s"}};
  entry.result = {"digits-1", task, 2, {{"accuracy", 0.93}, {"n", int64_t{3}}}, "sha256:out"};
  return entry;
}

void ForEachStore(const std::function<void(Store&)>& test) {
  for (const bool in_file : {false, true}) {
    CAPTURE(in_file);
    Place place(in_file);
    test(*place.store);
  }
}

TEST_CASE("A run is added with a number, its pipeline and its first event") {
  ForEachStore([](Store& store) {
    const RunRecord first = Add(store, "digits-1");
    const RunRecord second = Add(store, "digits-2");
    CHECK(first.number > 0);
    CHECK(second.number > first.number);
    RunRecord expected = NewRecord("digits-1");
    expected.number = first.number;
    CHECK(first == expected);
    CHECK(*store.FindRun("digits-1") == expected);
    CHECK(*store.ReadPipeline("sha256:v1") == "encoded");
    CHECK(Read(store, first.number) == std::vector<std::pair<uint64_t, Event>>{{1, Submitted()}});
  });
}

TEST_CASE("The name of a run is taken once") {
  ForEachStore([](Store& store) {
    const RunRecord first = Add(store, "digits-1");
    RunRecord again = NewRecord("digits-1");
    again.version = "sha256:v2";
    const auto refused = store.AddRun(again, "other", Submitted());
    CHECK(refused.status().code() == StatusCode::kAlreadyExists);
    CHECK(Message(refused.status()) == "run digits-1 exists");
    // Nothing of it was stored.
    CHECK(store.ListRuns(10)->size() == 1);
    CHECK(store.ReadPipeline("sha256:v2").status().code() == StatusCode::kNotFound);
    CHECK(Read(store, first.number).size() == 1);
  });
}

TEST_CASE("A pipeline is stored once, as it was first, whatever its bytes") {
  ForEachStore([](Store& store) {
    const std::string bytes("\0\xff binary \0", 11);
    RunRecord record = NewRecord("a-1");
    REQUIRE(store.AddRun(record, bytes, Submitted()).ok());
    record.id = "a-2";
    REQUIRE(store.AddRun(record, "later", Submitted()).ok());
    CHECK(*store.ReadPipeline("sha256:v1") == bytes);
    CHECK(Message(store.ReadPipeline("sha256:none").status()) ==
          "there is no pipeline sha256:none");
  });
}

TEST_CASE("Runs are found by name and listed newest first") {
  ForEachStore([](Store& store) {
    CHECK(store.ListRuns(10)->empty());
    const Status missing = store.FindRun("digits-1").status();
    CHECK(missing.code() == StatusCode::kNotFound);
    CHECK(Message(missing) == "there is no run \"digits-1\"");
    for (int i = 0; i < 5; ++i) Add(store, "digits-" + std::to_string(i));
    const auto names = [&](size_t limit) {
      std::string text;
      const std::vector<RunRecord> records = *store.ListRuns(limit);
      for (const RunRecord& record : records) text += record.id.back();
      return text;
    };
    CHECK(names(10) == "43210");
    CHECK(names(2) == "43");
    CHECK(names(0).empty());
    CHECK(names(SIZE_MAX) == "43210");
  });
}

TEST_CASE("A commit stores everything in it") {
  ForEachStore([](Store& store) {
    const uint64_t fence = Acquire(store);
    const RunRecord a = Add(store, "a-1");
    const RunRecord b = Add(store, "b-1");
    REQUIRE(store.PostRequest({0, Request::Kind::cancel, "a-1"}, At(1)).ok());
    REQUIRE(store.PostRequest({0, Request::Kind::cancel, "b-1"}, At(2)).ok());
    const std::vector<Request> requests = *store.ReadRequests();
    REQUIRE(requests.size() == 2);
    CHECK(requests[0].run == "a-1");
    CHECK(requests[1].number > requests[0].number);

    const Event intended{At(2), 0, 1, EventType::attempt_intended, std::string("\0x", 2)};
    const Event most{At(3), kNoTask - 1, UINT32_MAX, EventType::attempt_failed, ""};
    const Event finished{At(4), kNoTask, 0, EventType::run_finished, Encode(RunFinished{})};
    Batch batch;
    batch.events = {{a.number, 2, intended}, {b.number, 2, most}, {a.number, 3, finished}};
    batch.status_changes = {{a.number, RunStatus::failed, At(4)}};
    batch.cache_entries = {NewEntry("sha256:k", "train", 4)};
    batch.requests_done = {requests[0].number};
    batch.lease_until = At(99);
    REQUIRE(store.Commit(fence, batch).ok());

    CHECK(Read(store, a.number) ==
          std::vector<std::pair<uint64_t, Event>>{{1, Submitted()}, {2, intended}, {3, finished}});
    CHECK(Read(store, b.number) ==
          std::vector<std::pair<uint64_t, Event>>{{1, Submitted()}, {2, most}});
    CHECK(store.FindRun("a-1")->status == RunStatus::failed);
    CHECK(store.FindRun("a-1")->finished == At(4));
    CHECK(store.FindRun("b-1")->status == RunStatus::running);
    REQUIRE(store.FindCached("sha256:k")->has_value());
    CHECK(**store.FindCached("sha256:k") == NewEntry("sha256:k", "train", 4));
    CHECK(store.ReadRequests()->size() == 1);
    CHECK(store.ReadLease()->expires == At(99));
  });
}

TEST_CASE("Events are read from any place on") {
  ForEachStore([](Store& store) {
    const uint64_t fence = Acquire(store);
    const RunRecord run = Add(store, "a-1");
    Batch batch;
    for (uint64_t i = 2; i <= 100; ++i) {
      const Event event{At(0), static_cast<TaskIndex>(i), 1, EventType::attempt_intended, ""};
      batch.events.push_back({run.number, i, event});
    }
    REQUIRE(store.Commit(fence, batch).ok());
    for (const uint64_t from : std::initializer_list<uint64_t>{0, 1, 2, 50, 100, 101, 1000}) {
      const auto events = Read(store, run.number, from);
      const uint64_t first = std::max<uint64_t>(from, 1);
      CAPTURE(from);
      REQUIRE(events.size() == (first > 100 ? 0 : 101 - first));
      for (size_t i = 0; i < events.size(); ++i) CHECK(events[i].first == first + i);
    }
    CHECK(Read(store, run.number + 1).empty());
  });
}

TEST_CASE("An event that is there already is refused, and with it the whole commit") {
  ForEachStore([](Store& store) {
    const uint64_t fence = Acquire(store);
    const RunRecord run = Add(store, "a-1");
    Batch batch;
    batch.events = {{run.number, 2, Submitted()}, {run.number, 1, Submitted()}};
    batch.status_changes = {{run.number, RunStatus::failed, At(4)}};
    batch.cache_entries = {NewEntry("sha256:k", "train", 4)};
    batch.lease_until = At(99);
    CHECK(store.Commit(fence, batch).code() == StatusCode::kInternal);
    CHECK(Read(store, run.number).size() == 1);
    CHECK(store.FindRun("a-1")->status == RunStatus::running);
    CHECK_FALSE(store.FindCached("sha256:k")->has_value());
    CHECK(store.ReadLease()->expires == At(15));
    // The store is as good as before.
    batch.clear();
    batch.events = {{run.number, 2, Submitted()}};
    CHECK(store.Commit(fence, batch).ok());
  });
}

TEST_CASE("A lease is held by one until it ends, is given back or the holder is gone") {
  ForEachStore([](Store& store) {
    CHECK(store.ReadLease()->fence == 0);
    const LeaseHolder one{"lab1", "boot1", 11, 111, "first", "cpu: 1"};
    const LeaseHolder two{"lab2", "boot2", 22, 222, "second", ""};
    const auto first = store.AcquireLease(one, At(0), seconds(10), {});
    REQUIRE(first.ok());
    CHECK(first->fence == 1);
    CHECK(first->holder == one);
    CHECK(first->expires == At(10));
    CHECK(store.ReadLease()->holder == one);

    const auto refused = store.AcquireLease(two, At(9), seconds(10), {});
    CHECK(refused.status().code() == StatusCode::kFailedPrecondition);
    CHECK(Message(refused.status()) ==
          "the store is held by first, process 11 on host lab1 (lease until " + FormatTime(At(10)) +
              ")");
    const auto not_gone = [](const LeaseHolder&) { return false; };
    CHECK_FALSE(store.AcquireLease(two, At(9), seconds(10), not_gone).ok());

    const auto after = store.AcquireLease(two, At(10), seconds(10), not_gone);
    REQUIRE(after.ok());
    CHECK(after->fence == 2);
    // Giving back what is no longer ours does nothing.
    CHECK(store.ReleaseLease(first->fence).ok());
    CHECK_FALSE(store.AcquireLease(one, At(11), seconds(10), {}).ok());
    CHECK(store.ReleaseLease(after->fence).ok());
    const auto third = store.AcquireLease(one, At(11), seconds(10), {});
    REQUIRE(third.ok());
    CHECK(third->fence == 3);
    const auto gone = [&](const LeaseHolder& holder) { return holder == one; };
    CHECK(store.AcquireLease(two, At(12), seconds(10), gone)->fence == 4);
  });
}

TEST_CASE("A commit under an old fence stores nothing") {
  ForEachStore([](Store& store) {
    const uint64_t old_fence = Acquire(store, 0);
    const RunRecord run = Add(store, "a-1");
    const uint64_t fence = Acquire(store, 100);
    Batch batch;
    batch.events = {{run.number, 2, Submitted()}};
    batch.lease_until = At(1000);
    const Status fenced = store.Commit(old_fence, batch);
    CHECK(fenced.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(fenced) ==
          "this engine has lost the store: it is now held by test, process 1 on host host; nothing "
          "was written");
    CHECK(Read(store, run.number).size() == 1);
    CHECK(store.ReadLease()->expires == At(115));
    CHECK(store.Commit(fence, batch).ok());
    // An expired lease that nobody took is still good.
    batch.clear();
    batch.events = {{run.number, 3, Submitted()}};
    CHECK(store.Commit(fence, batch).ok());
  });
}

TEST_CASE("The cache keeps the last entry of a key and finds the last of a task") {
  ForEachStore([](Store& store) {
    const uint64_t fence = Acquire(store);
    CHECK_FALSE(store.FindCached("sha256:1")->has_value());
    CHECK_FALSE(store.FindLastCached("digits", "train", At(100))->has_value());
    Batch batch;
    batch.cache_entries = {NewEntry("sha256:1", "train", 10), NewEntry("sha256:2", "train", 20),
                           NewEntry("sha256:3", "score", 30)};
    REQUIRE(store.Commit(fence, batch).ok());
    const auto last = [&](const std::string& task, int64_t before) {
      const auto entry = store.FindLastCached("digits", task, At(before));
      REQUIRE(entry.ok());
      return entry->has_value() ? (*entry)->key : "none";
    };
    CHECK(last("train", 100) == "sha256:2");
    CHECK(last("train", 20) == "sha256:1");  // before, not at
    CHECK(last("train", 10) == "none");
    CHECK(last("score", 100) == "sha256:3");
    CHECK_FALSE(store.FindLastCached("other", "train", At(100))->has_value());

    CacheEntry newer = NewEntry("sha256:1", "train", 40);
    newer.result.run = "digits-2";
    newer.result.outputs = {{"text", std::string("a\nb")}, {"yes", true}};
    newer.fields.clear();
    batch.cache_entries = {newer};
    REQUIRE(store.Commit(fence, batch).ok());
    CHECK(**store.FindCached("sha256:1") == newer);
    CHECK(last("train", 100) == "sha256:1");
  });
}

TEST_CASE("Requests wait until they are answered") {
  ForEachStore([](Store& store) {
    const uint64_t fence = Acquire(store);
    for (const char* run : {"a", "b", "a"}) {
      REQUIRE(store.PostRequest({99, Request::Kind::cancel, run}, At(1)).ok());
    }
    std::vector<Request> requests = *store.ReadRequests();
    REQUIRE(requests.size() == 3);
    CHECK(requests[0].run == "a");
    CHECK(requests[1].run == "b");
    Batch batch;
    batch.requests_done = {requests[0].number, requests[2].number, 12345};
    REQUIRE(store.Commit(fence, batch).ok());
    requests = *store.ReadRequests();
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].run == "b");
    CHECK(requests[0].kind == Request::Kind::cancel);
    // Numbers are not used again.
    REQUIRE(store.PostRequest({0, Request::Kind::cancel, "c"}, At(2)).ok());
    CHECK(store.ReadRequests()->back().number > batch.requests_done[1]);
  });
}

TEST_CASE("Nodes are kept, replaced and taken away, and the engine is asked to look at them") {
  ForEachStore([](Store& store) {
    CHECK(store.ListNodes()->empty());
    REQUIRE(store.ChangeNodes({{"b", "name: b", false}, {"a", "name: a", true}}, {}, At(1)).ok());
    CHECK(*store.ListNodes() ==
          std::vector<NodeRecord>{{"a", "name: a", true}, {"b", "name: b", false}});
    REQUIRE(store.ChangeNodes({{"a", "name: a\ncpu: 2", false}}, {"b", "nowhere"}, At(2)).ok());
    CHECK(*store.ListNodes() == std::vector<NodeRecord>{{"a", "name: a\ncpu: 2", false}});
    const std::vector<Request> requests = *store.ReadRequests();
    REQUIRE(requests.size() == 2);
    CHECK(requests[0].kind == Request::Kind::look_at_nodes);
    // What the holder of the lease may use is told with a commit.
    const uint64_t fence = Acquire(store);
    const Lease before = *store.ReadLease();
    Batch batch;
    batch.lease_node = "name: a";
    REQUIRE(store.Commit(fence, batch).ok());
    CHECK(store.ReadLease()->holder.node == "name: a");
    CHECK(store.ReadLease()->expires == before.expires);
  });
}

TEST_CASE("A batch that was cleared is empty") {
  Batch batch;
  CHECK(batch.empty());
  batch.events.push_back({1, 1, Submitted()});
  batch.status_changes.push_back({});
  batch.cache_entries.push_back({});
  batch.requests_done.push_back(1);
  batch.lease_until = At(1);
  batch.lease_node = "name: a";
  CHECK_FALSE(batch.empty());
  batch.clear();
  CHECK(batch.empty());
}

TEST_CASE("A holder without a description is still named") {
  CHECK(LeaseHolder{}.ToString() == "an engine, process 0 on host ?");
}

}  // namespace
}  // namespace trackbed
