// Rows of a store that are gone, or are not what was written: damage, in every question that would
// have believed them. (Bytes and pages: tests/simulation/store_torture_test.cc.)
#include <sqlite3.h>

#include <functional>
#include <memory>
#include <string>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

Time At(int64_t second) { return Time(seconds(1'000'000 + second)); }

// Two runs, of which the first has three events, a cached result and a request.
struct Place {
  Place() {
    store = Open();
    for (const char* id : {"p-1", "p-2"}) {
      RunRecord record;
      record.id = id;
      record.pipeline = "p";
      record.version = "sha256:v1";
      record.submitted = At(1);
      const Event submitted{At(1), kNoTask, 0, EventType::run_submitted, Encode(RunSubmitted{})};
      REQUIRE(store->AddRun(record, "encoded", submitted).ok());
    }
    const auto lease = Acquire();
    REQUIRE(lease.ok());
    fence = lease->fence;
    Batch batch;
    batch.events.push_back({1, 2, Event{At(2), kNoTask, 0, EventType::run_resumed, ""}});
    batch.events.push_back({1, 3, Event{At(3), kNoTask, 0, EventType::run_resumed, ""}});
    CacheEntry entry;
    entry.key = "key";
    entry.pipeline = "p";
    entry.task = "t";
    entry.time = At(2);
    batch.cache_entries.push_back(entry);
    REQUIRE(store->Commit(fence, batch).ok());
    REQUIRE(store->PostRequest({0, Request::Kind::cancel, "p-1"}, At(3)).ok());
  }

  std::unique_ptr<Store> Open() {
    auto opened = OpenSqliteStore(folder / "trackbed.db");
    REQUIRE(opened.ok());
    return *std::move(opened);
  }

  StatusOr<Lease> Acquire() {
    return store->AcquireLease({"host", "boot", 1, 2, "test", ""}, At(0), seconds(15),
                               [](const LeaseHolder&) { return true; });
  }

  void Execute(const std::string& sql) {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open((folder / "trackbed.db").c_str(), &database) == SQLITE_OK);
    const int code = sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr);
    INFO(sql << ": " << sqlite3_errmsg(database));
    CHECK(code == SQLITE_OK);
    sqlite3_close(database);
  }

  Status Append(uint64_t sequence) {
    Batch batch;
    batch.events.push_back({1, sequence, Event{At(9), kNoTask, 0, EventType::run_resumed, ""}});
    return store->Commit(fence, batch);
  }

  Status Read(int64_t run) {
    return store->ReadEvents(run, 1, [](uint64_t, const Event&) {});
  }

  TemporaryFolder folder;
  std::unique_ptr<Store> store;
  uint64_t fence = 0;
};

void CheckDamage(const Status& status) {
  INFO(status);
  CHECK(status.code() == StatusCode::kDataLoss);
}

TEST_CASE("A run that is not what was written is not believed, by name or in a list") {
  Place place;
  place.Execute("UPDATE runs SET pipeline='q' WHERE id='p-1'");
  CheckDamage(place.store->FindRun("p-1").status());
  CheckDamage(place.store->ListRuns(10, RunsListed::all).status());
  CHECK(place.store->FindRun("p-2").ok());
  CHECK(place.store->ListRuns(1, RunsListed::all).ok());  // of the newest alone
}

TEST_CASE("A run that is gone is missed where all are listed") {
  for (const char* id : {"p-1", "p-2"}) {
    Place place;
    place.Execute(std::string("DELETE FROM runs WHERE id='") + id + "'");
    CheckDamage(place.store->ListRuns(10, RunsListed::all).status());
  }
}

TEST_CASE("Events that are changed, gone or cut off are missed") {
  for (const char* sql : {
           "UPDATE events SET time_ns=time_ns+1 WHERE run=1 AND sequence=2",
           "UPDATE events SET detail=x'00' WHERE run=1 AND sequence=1",
           "UPDATE events SET sequence=4 WHERE run=1 AND sequence=2",
           "DELETE FROM events WHERE run=1 AND sequence=1",
           "DELETE FROM events WHERE run=1 AND sequence=2",
           "DELETE FROM events WHERE run=1 AND sequence=3",
           "DELETE FROM events WHERE run=1 AND sequence>3",
           "DELETE FROM events WHERE run=1",
       }) {
    INFO(sql);
    Place place;
    place.Execute(sql);
    CheckDamage(place.Read(1));
    CHECK(place.Read(2).ok());
  }
}

TEST_CASE("Nothing is added to a run whose end is gone or is not what was written") {
  for (const char* sql : {
           "DELETE FROM events WHERE run=1 AND sequence>3",
           "UPDATE events SET digest=digest+1 WHERE run=1 AND sequence>3",
           "UPDATE events SET time_ns=2, digest=digest+1 WHERE run=1 AND sequence>3",
           "DELETE FROM events WHERE run=1",
       }) {
    INFO(sql);
    Place place;
    place.Execute(sql);
    CheckDamage(place.Append(4));
    CheckDamage(place.Read(1));
  }
}

TEST_CASE("Without its lease a store is damaged, and nobody gets it") {
  for (const char* sql : {"DELETE FROM lease", "UPDATE lease SET fence=fence+1"}) {
    INFO(sql);
    Place place;
    place.Execute(sql);
    CheckDamage(place.store->ReadLease().status());
    CheckDamage(place.Acquire().status());
    CHECK_FALSE(place.Append(4).ok());
    CHECK_FALSE(place.store->ReleaseLease(place.fence).ok());
  }
}

TEST_CASE("Pipelines, cached results and requests that are not what was written are not used") {
  Place place;
  place.Execute(
      "UPDATE pipelines SET digest=digest+1; UPDATE cache SET detail=x'00';"
      "UPDATE requests SET digest=digest+1");
  CheckDamage(place.store->ReadPipeline("sha256:v1").status());
  CheckDamage(place.store->FindCached("key").status());
  CheckDamage(place.store->FindLastCached("p", "t", At(9)).status());
  CheckDamage(place.store->ReadRequests().status());
}

TEST_CASE("A store without a table of its own is damaged, however it is asked") {
  for (const char* table : {"runs", "events", "lease", "pipelines", "cache", "requests"}) {
    INFO(table);
    Place place;
    place.store.reset();
    place.Execute(std::string("DROP TABLE ") + table);
    const Status status = OpenSqliteStore(place.folder / "trackbed.db").status();
    CheckDamage(status);
  }
}

}  // namespace
}  // namespace trackbed
