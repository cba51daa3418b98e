// Looking after a store (check, backup) on a disk that fails, and with memory that is out: it is
// told, never called damage, and nothing half done is left.
#include <filesystem>
#include <functional>
#include <string>

#include "simulation/failing_memory.hpp"
#include "simulation/store_bench.hpp"
#include "support/engine_lab.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/engine/store_check.hpp"

namespace trackbed {
namespace {

using Contents = std::map<std::string, std::string>;

Time Now() { return FakeClock().Now(); }

// A store as an engine leaves it: a run that ended, with cached results, one that goes on, a node
// and a request.
const Contents& Sound() {
  static const Contents contents = [] {
    Bench bench(Durability::power);
    REQUIRE(bench.Open().ok());
    EngineLab lab(bench.store.get());
    Pipeline pipeline = NewPipeline("p");
    AddTask(pipeline, "a").cache = CacheMode::on;
    AddTask(pipeline, "b", {"a"}).description = std::string(6000, 'd');
    lab.Submit(pipeline);
    lab.RunToEnd();
    lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
    pipeline.name = "q";
    AddTask(pipeline, "c");
    const RunId open = lab.Submit(pipeline);
    lab.Step();
    lab.Close();
    REQUIRE(bench.store->ChangeNodes({{"gpu1", "name: gpu1\ncpu: 4\n", false}}, {}, Now()).ok());
    REQUIRE(bench.store->PostRequest({0, Request::Kind::cancel, open}, Now()).ok());
    bench.store.reset();
    return bench.disk.Contents();
  }();
  return contents;
}

struct Place {
  Place() : bench(Durability::power) { bench.disk.SetContents(Sound()); }
  SqliteStoreOptions Options() const { return {Durability::power, false, bench.process->vfs()}; }
  StatusOr<StoreReport> Check() const { return CheckStore(kPath, Now(), Options()); }
  StatusOr<StoreReport> Backup(const std::string& to) const {
    return BackupStore(kPath, to, Now(), Options());
  }
  Bench bench;
};

void CheckThatIsWhole(const StoreReport& report) {
  CHECK(report.findings == std::vector<std::string>());
  CHECK(report.runs == 2);
  CHECK(report.cached == 1);
  CHECK(report.events > 8);
}

// What is right of a check or a backup during which something failed.
void Judge(const StatusOr<StoreReport>& report) {
  if (report.ok()) {
    CheckThatIsWhole(*report);
  } else {
    CHECK(IsOfTheDisk(report.status()));
  }
}

// A copy that was made is whole, and nothing else is left of a backup.
void CheckCopy(const TemporaryFolder& folder, bool made) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename());
  }
  CHECK(names == (made ? std::vector<std::string>{"copy.db"} : std::vector<std::string>()));
  if (made) CheckThatIsWhole(*CheckStore(folder / "copy.db", Now()));
}

TEST_CASE("An error of the disk while a store is checked is told, and not called damage") {
  const DiskFault fault = GENERATE(DiskFault::fails, DiskFault::refuses, DiskFault::dies);
  int64_t n = 1;
  for (bool met = true; met; ++n) {
    Place place;
    place.bench.process->FailReadAt(n, fault);
    const StatusOr<StoreReport> report = place.Check();
    CAPTURE(n, static_cast<int>(fault), report.status());
    met = place.bench.process->has_failed();
    Judge(report);
    CHECK((met || report.ok()));
  }
  CHECK(n > 10);
  WARN("reads of a check that were made to go wrong: " << n - 2);
}

TEST_CASE("An error of the disk while a store is copied is told, and nothing is left of the copy") {
  const DiskFault fault = GENERATE(DiskFault::fails, DiskFault::refuses);
  int64_t n = 1;
  for (bool met = true; met; ++n) {
    Place place;
    const TemporaryFolder folder;
    place.bench.process->FailReadAt(n, fault);
    const std::string copy = folder / "copy.db";
    const StatusOr<StoreReport> report = place.Backup(copy);
    CAPTURE(n, static_cast<int>(fault), report.status());
    met = place.bench.process->has_failed();
    Judge(report);
    CHECK((met || report.ok()));
    CheckCopy(folder, report.ok());
  }
  CHECK(n > 10);
}

TEST_CASE("Memory that is out while a store is checked or copied is told, and not called damage") {
  const bool for_good = GENERATE(false, true);
  const bool copies = GENERATE(false, true);
  int64_t n = 1;
  for (bool met = true; met; n += SqliteMemoryStride()) {
    Place place;
    const TemporaryFolder folder;
    FailingSqliteMemory memory(n, for_good);
    const StatusOr<StoreReport> report = copies ? place.Backup(folder / "copy.db") : place.Check();
    met = memory.Mend();
    CAPTURE(n, for_good, copies, report.status());
    Judge(report);
    CHECK((met || report.ok()));
    CheckCopy(folder, report.ok() && copies);
  }
  CHECK(n > 100);
}

// ---- The store itself --------------------------------------------------------------------------

TEST_CASE("Memory that is out while a store is opened is told, and the store is as it was") {
  const bool for_good = GENERATE(false, true);
  const bool is_new = GENERATE(false, true);
  int64_t n = 1;
  for (bool met = true; met; n += SqliteMemoryStride()) {
    Bench bench(Durability::power);
    if (!is_new) bench.MakeFirstFormat();
    FailingSqliteMemory memory(n, for_good);
    const Status opened = bench.Open();
    met = memory.Mend();
    CAPTURE(n, for_good, is_new, opened);
    CHECK((opened.ok() || absl::IsResourceExhausted(opened)));
    CHECK((met || opened.ok()));
    const StatusOr<Picture> read = bench.OpenAndRead();
    REQUIRE(read.ok());
    CHECK(*read == Truth()[is_new ? 0 : 1]);
  }
  CHECK(n > 100);
}

TEST_CASE("Memory that is out at any place of a step is told, and the store goes on") {
  const bool for_good = GENERATE(false, true);
  int failed = 0;
  for (size_t step = 0; step < StorySteps().size(); ++step) {
    int64_t n = 1;
    for (bool met = true; met; ++n) {
      Bench bench(Durability::power);
      REQUIRE(bench.Open().ok());
      for (size_t before = 0; before < step; ++before) {
        REQUIRE(StorySteps()[before](*bench.store).ok());
      }
      FailingSqliteMemory memory(n, for_good);
      const Status status = StorySteps()[step](*bench.store);
      const StatusOr<Picture> during = Read(*bench.store);
      met = memory.Mend();
      CAPTURE(n, for_good, step, status, during.status());
      for (const Status& told : {status, during.status()}) {
        CHECK((told.ok() || absl::IsResourceExhausted(told)));
        if (!told.ok()) ++failed;
      }
      if (during.ok()) CHECK((*during == Truth()[step] || *during == Truth()[step + 1]));
      // The same connection goes on, with what it said is done, and nothing in part.
      const StatusOr<Picture> after = Read(*bench.store);
      REQUIRE(after.ok());
      CHECK((*after == Truth()[step + 1] || (!status.ok() && *after == Truth()[step])));
      CHECK((met || (status.ok() && during.ok())));
    }
  }
  CHECK(failed > 100);
  WARN("calls that memory was out for: " << failed);
}

// ---- Others at the same store ------------------------------------------------------------------

TEST_CASE("Who wants to write while another does is told to try again, and reads") {
  Bench bench(Durability::power);
  REQUIRE(bench.Open().ok());
  REQUIRE(StorySteps()[0](*bench.store).ok());
  REQUIRE(StorySteps()[1](*bench.store).ok());
  REQUIRE(bench.store->AcquireLease({"lab1", "", 1, 1, "", ""}, Now(), std::chrono::seconds(9), {})
              .ok());
  DiskProcess other(&bench.disk, &bench.clock());
  auto second = OpenSqliteStore(kPath, {Durability::power, false, other.vfs()});
  REQUIRE(second.ok());
  bool asked = false;
  // The question whether a holder is gone is put within the transaction.
  const auto taken = (*second)->AcquireLease(
      {"lab2", "", 2, 2, "", ""}, Now(), std::chrono::seconds(9), [&](const LeaseHolder& holder) {
        asked = true;
        CHECK(holder.host == "lab1");
        Batch batch;
        batch.lease_until = Now();
        for (const Status& refused :
             {bench.store->Commit(1, batch), bench.store->ReleaseLease(1),
              bench.store->PostRequest({0, Request::Kind::cancel, "a"}, Now()),
              bench.store->ChangeNodes({}, {}, Now()), StorySteps()[4](*bench.store),
              bench.store->AcquireLease({}, Now(), std::chrono::seconds(9), {}).status()}) {
          CAPTURE(refused);
          CHECK(absl::IsUnavailable(refused));
        }
        CHECK(bench.store->ReadLease()->fence == 1);
        CHECK(bench.store->ListRuns(10)->size() == 2);
        return true;
      });
  CHECK(asked);
  REQUIRE(taken.ok());
  CHECK(taken->fence == 2);
  CHECK(bench.store->PostRequest({0, Request::Kind::cancel, "a"}, Now()).ok());
  CHECK(bench.store->ReadRequests()->size() == 1);
}

TEST_CASE("A new store that somebody keeps locked is not waited for without end") {
  Bench bench(Durability::power);
  sqlite3* database = nullptr;
  REQUIRE(sqlite3_open_v2(kPath, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                          bench.process->vfs().c_str()) == SQLITE_OK);
  REQUIRE(sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  DiskProcess other(&bench.disk, &bench.clock());
  {
    // sqlite3_sleep sleeps by the first VFS there is.
    sqlite3_vfs* const usual = sqlite3_vfs_find(nullptr);
    sqlite3_vfs_register(sqlite3_vfs_find(other.vfs().c_str()), 1);
    const Status refused = OpenSqliteStore(kPath, {Durability::power, false, other.vfs()}).status();
    sqlite3_vfs_register(usual, 1);
    CAPTURE(refused);
    CHECK(absl::IsUnavailable(refused));
    CHECK(Message(refused) == std::string(kPath) + ": cannot open the store: database is locked");
  }
  sqlite3_close(database);
  CHECK(OpenSqliteStore(kPath, {Durability::power, false, other.vfs()}).ok());
}

}  // namespace
}  // namespace trackbed
