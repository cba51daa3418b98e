// `CheckStore` finds what is wrong, `BackupStore` copies what is sound. (Disks that fail and memory
// that is out: tests/simulation/store_check_torture_test.cc.)
#include "trackbed/engine/store_check.hpp"

#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/row_digest.hpp"
#include "support/engine_lab.hpp"
#include "support/temporary_folder.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;
using Findings = std::vector<std::string>;

Time Now() { return FakeClock().Now(); }

// A store that an engine has worked on: p-… has ended, q-… goes on.
struct Place {
  Place() {
    auto opened = OpenSqliteStore(path);
    REQUIRE(opened.ok());
    EngineLab lab(opened->get());
    Pipeline pipeline = NewPipeline("p");
    AddTask(pipeline, "a").cache = CacheMode::on;
    done = lab.Submit(pipeline);
    lab.RunToEnd();
    lab.executor.decide = [](const AttemptSpec&) { return Outcome::Waits(); };
    pipeline.name = "q";
    AddTask(pipeline, "b");
    going = lab.Submit(pipeline);
    lab.Step();
    REQUIRE((*opened)->ChangeNodes({{"gpu1", "cpu: 4\n", false}}, {}, Now()).ok());
    REQUIRE((*opened)->PostRequest({0, Request::Kind::cancel, going}, Now()).ok());
  }

  // As somebody who knows the digests does it.
  void Execute(const std::string& sql) {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
    REQUIRE(AddRowDigest(database) == SQLITE_OK);
    const int code = sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr);
    INFO(sql << ": " << sqlite3_errmsg(database));
    REQUIRE(code == SQLITE_OK);
    sqlite3_close(database);
  }

  Findings Found() const {
    const StatusOr<StoreReport> report = CheckStore(path, Now());
    INFO(report.status());
    REQUIRE(report.ok());
    return report->findings;
  }

  TemporaryFolder folder;
  std::string path = folder / "trackbed.db";
  RunId done;
  RunId going;
};

bool Holds(const Findings& findings, std::string_view text) {
  return std::any_of(findings.begin(), findings.end(), [&](const std::string& finding) {
    return finding.find(text) != std::string::npos;
  });
}

TEST_CASE("Of a sound store a check finds nothing, and counts what there is") {
  const Place place;
  const StatusOr<StoreReport> report = CheckStore(place.path, Now());
  REQUIRE(report.ok());
  CHECK(report->findings == Findings());
  CHECK(report->runs == 2);
  CHECK(report->cached == 1);
  int64_t events = 0;
  auto store = OpenSqliteStore(place.path);
  for (const int64_t run : {1, 2}) {
    REQUIRE((*store)->ReadEvents(run, 1, [&](uint64_t, const Event&) { ++events; }).ok());
  }
  CHECK(report->events == events);
  CHECK(StoreReportToJson(*report) ==
        "{\"runs\":2,\"events\":" + std::to_string(events) + ",\"cached\":1,\"findings\":[]}");
}

TEST_CASE("Each kind of row that is not what was written is found, and named") {
  const struct {
    const char* sql;
    const char* finding;
  } all[] = {
      {"UPDATE lease SET host='other'", "damaged: the lease"},
      {"DELETE FROM lease", "there is no lease"},
      {"UPDATE runs SET submitted_ns=7 WHERE number=1", "damaged: run p-"},
      {"UPDATE pipelines SET document=x'00'", "damaged: pipeline sha256:"},
      {"UPDATE events SET time_ns=time_ns+1 WHERE run=2 AND sequence=1",
       "damaged: event 1 of run number 2"},
      {"UPDATE events SET digest=digest+1 WHERE run=2 AND type=0",
       "damaged: the end of run number 2"},
      {"UPDATE cache SET task='other'", "damaged: cached result "},
      {"UPDATE requests SET run='other' WHERE run<>''", "damaged: request number 2"},
      {"UPDATE nodes SET drained=1", "damaged: node gpu1"},
      {"DELETE FROM runs WHERE number=1", "there are events, and no run, of number 1"},
      {"DELETE FROM events WHERE run=1 AND sequence=2", "run p-"},
      {"UPDATE cache SET detail=x'ff', digest=row_digest(key, pipeline, task, time_ns, x'ff')",
       "cached result "},
      {"UPDATE cache SET key='other', digest=row_digest('other', pipeline, task, time_ns, detail)",
       "cached result other is that of "},
      {"UPDATE lease SET expires_ns=9000000000000000000, digest=row_digest(fence,"
       " 9000000000000000000, host, boot_id, process, process_start, description, node)",
       "further away than any is given"},
      {"UPDATE runs SET status=2, digest=row_digest(number, id, pipeline, version, submitted_ns, 2,"
       " finished_ns) WHERE number=2",
       "is listed as failed, and its events say running"},
      {"UPDATE runs SET finished_ns=7, digest=row_digest(number, id, pipeline, version,"
       " submitted_ns, status, 7) WHERE number=1",
       "is listed as succeeded, and its events say succeeded"},
      {"PRAGMA writable_schema=1; DELETE FROM sqlite_schema WHERE name='cache_by_task'",
       "SQLite: "},
  };
  for (const auto& [sql, finding] : all) {
    Place place;
    place.Execute(sql);
    const Findings findings = place.Found();
    INFO(sql << "\n" << (findings.empty() ? "nothing" : findings[0]));
    CHECK(Holds(findings, finding));
    // And a copy of it is not made.
    const std::string copy = place.folder / "copy.db";
    const Status refused = BackupStore(place.path, copy, Now()).status();
    CHECK(absl::IsDataLoss(refused));
    CHECK(Message(refused).find("the copy is not sound: ") != std::string_view::npos);
    CHECK_FALSE(fs::exists(copy));
    CHECK_FALSE(fs::exists(copy + ".part"));
  }
}

TEST_CASE("A row whose digest is right and whose content cannot be read is damage") {
  Place place;
  place.Execute(
      "UPDATE cache SET detail=x'ff', digest=row_digest(key, pipeline, task, time_ns, x'ff')");
  auto store = OpenSqliteStore(place.path);
  REQUIRE(store.ok());
  CHECK(
      absl::IsDataLoss((*store)->FindLastCached("p", "a", Now() + std::chrono::hours(1)).status()));
}

TEST_CASE("Of a store in pieces no more is told than anybody reads") {
  Place place;
  place.Execute(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300)"
      " INSERT INTO requests(time_ns, kind, run) SELECT i, 1, 'r' FROM n");
  CHECK(place.Found().size() == 100);
}

TEST_CASE("What is no store, not there or not to be read is an error and no finding") {
  Place place;
  const std::string copy = place.folder / "copy.db";
  const auto expect = [&](const std::string& path, StatusCode code) {
    INFO(path);
    CHECK(CheckStore(path, Now()).status().code() == code);
    CHECK(BackupStore(path, copy, Now()).status().code() == code);
    CHECK_FALSE(fs::exists(copy));
  };
  expect(place.folder / "nowhere.db", StatusCode::kNotFound);
  // Not for want of a file of that name.
  expect(place.path + "/below.db", StatusCode::kFailedPrecondition);
  std::ofstream(place.folder / "hello.db") << "hello";
  expect(place.folder / "hello.db", StatusCode::kDataLoss);
  place.Execute("PRAGMA user_version=3");
  expect(place.path, StatusCode::kFailedPrecondition);
}

TEST_CASE("A backup is the store, its owner's alone, and stands in nobody's place") {
  Place place;
  const std::string copy = place.folder / "copy.db";
  // What an earlier backup that was ended left is in nobody's way.
  std::ofstream(copy + ".part") << "half";
  const StatusOr<StoreReport> report = BackupStore(place.path, copy, Now());
  INFO(report.status());
  REQUIRE(report.ok());
  CHECK(report->runs == 2);
  struct stat status{};
  REQUIRE(::stat(copy.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600U);
  CHECK_FALSE(fs::exists(copy + ".part"));
  auto store = OpenSqliteStore(copy);
  REQUIRE(store.ok());
  CHECK((*store)->FindRun(place.done)->status == RunStatus::succeeded);
  CHECK((*store)->FindRun(place.going)->status == RunStatus::running);
  CHECK((*store)->ListNodes()->size() == 1);

  const Status taken = BackupStore(place.path, copy, Now()).status();
  CHECK(absl::IsAlreadyExists(taken));
  CHECK(Message(taken) == copy + ": cannot make it: File exists");
  const std::string nowhere = place.folder / "no/copy.db";
  const Status refused = BackupStore(place.path, nowhere, Now()).status();
  CHECK(absl::IsFailedPrecondition(refused));
  CHECK(Message(refused) == nowhere + ".part: cannot make it: No such file or directory");
}

}  // namespace
}  // namespace trackbed
