// What can go wrong with a file: foreign, damaged, newer, read-only, full, shared.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/first_format.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

Time At(int64_t second) { return Time(seconds(1'000'000 + second)); }

std::unique_ptr<Store> MustOpen(const std::string& path, SqliteStoreOptions options = {}) {
  auto store = OpenSqliteStore(path, options);
  INFO(store.status());
  REQUIRE(store.ok());
  return *std::move(store);
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void ExecuteSql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
  char* error = nullptr;
  const int code = sqlite3_exec(database, sql.c_str(), nullptr, nullptr, &error);
  INFO(sql << ": " << (error == nullptr ? "" : error));
  CHECK(code == SQLITE_OK);
  sqlite3_free(error);
  sqlite3_close(database);
}

StatusOr<RunRecord> AddRun(Store& store, const std::string& id, size_t bytes = 10) {
  RunRecord record;
  record.id = id;
  record.pipeline = "p";
  record.version = "sha256:" + id;
  record.submitted = At(1);
  return store.AddRun(record, std::string(bytes, 'x'),
                      {At(1), kNoTask, 0, EventType::run_submitted, Encode(RunSubmitted{})});
}

mode_t ModeOf(const std::string& path) {
  struct stat status{};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777U;
}

// Runs `body` in a process of its own and returns what it reports ("" unless it says otherwise).
std::string InChild(const std::function<std::string()>& body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    const std::string text = body();
    const ssize_t written = ::write(ends[1], text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  return text;
}

// Permissions do not bind root, so the child becomes nobody.
std::string AsNobody(const std::function<std::string()>& body) {
  return InChild([&]() -> std::string {
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return "cannot setuid";
    return body();
  });
}

TEST_CASE("The files of a store are its owner's alone") {
  TemporaryFolder folder;
  const mode_t before = ::umask(0);
  const auto store = MustOpen(folder / "trackbed.db");
  REQUIRE(AddRun(*store, "a").ok());
  ::umask(before);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    CAPTURE(entry.path());
    CHECK(ModeOf(entry.path()) == 0600);
    ++files;
  }
  CHECK(files == 3);  // the database, its log and the index of that
}

TEST_CASE("What was stored is there when the file is opened again") {
  TemporaryFolder folder;
  for (const Durability durability : {Durability::power, Durability::process}) {
    const std::string path = folder / (durability == Durability::power ? "a.db" : "b.db");
    uint64_t fence = 0;
    {
      const auto store = MustOpen(path, {durability, false});
      fence = store->AcquireLease({"h", "b", 1, 2, "d", "n"}, At(0), seconds(10), {})->fence;
      const auto run = AddRun(*store, "a");
      Batch batch;
      batch.events = {{run->number, 2, {At(2), 3, 4, EventType::attempt_intended, "x"}}};
      REQUIRE(store->Commit(fence, batch).ok());
      REQUIRE(store->PostRequest({0, Request::Kind::cancel, "a"}, At(1)).ok());
    }
    const auto store = MustOpen(path, {durability, false});
    CHECK(store->ListRuns(10)->size() == 1);
    CHECK(store->ReadLease()->fence == fence);
    CHECK(store->ReadRequests()->size() == 1);
    int events = 0;
    CHECK(store->ReadEvents(1, 1, [&](uint64_t, Event) { ++events; }).ok());
    CHECK(events == 2);
  }
}

TEST_CASE("A store is opened by many at once, also when it is new") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  std::vector<std::unique_ptr<Store>> stores;
  for (int i = 0; i < 4; ++i) stores.push_back(MustOpen(path));
  REQUIRE(AddRun(*stores[0], "a").ok());
  for (const auto& store : stores) CHECK(store->FindRun("a").ok());
  CHECK(AddRun(*stores[3], "a").status().code() == StatusCode::kAlreadyExists);
}

TEST_CASE("A file that is no store is left as it is") {
  TemporaryFolder folder;
  const std::string path = folder / "file";
  std::string message;
  SECTION("text") {
    Write(path, std::string(5000, 'x'));
    message = "file is not a database";
  }
  SECTION("a few bytes") {
    Write(path, "hello");
    message = "file is not a database";
  }
  SECTION("another program's database") {
    ExecuteSql(path, "PRAGMA journal_mode=DELETE; CREATE TABLE t(x); INSERT INTO t VALUES(1);");
    message = "this SQLite file is not a Trackbed store";
  }
  SECTION("our mark, and no format that there has been") {
    ExecuteSql(path, "PRAGMA application_id=1416784706; CREATE TABLE t(x);");
    message = "this SQLite file is not a Trackbed store";
  }
  SECTION("another program's empty database") {
    ExecuteSql(path, "PRAGMA application_id=7;");
    message = "this SQLite file is not a Trackbed store";
  }
  const std::string before = BytesOf(path);
  for (const bool read_only : {false, true}) {
    const Status refused = OpenSqliteStore(path, {Durability::power, read_only}).status();
    CHECK(refused.code() == StatusCode::kDataLoss);
    CHECK(std::string(Message(refused)).find(message) != std::string::npos);
    CHECK(std::string(Message(refused)).starts_with(path + ": "));
  }
  CHECK(BytesOf(path) == before);
}

TEST_CASE("A damaged store is called damaged, wherever the damage is") {
  TemporaryFolder folder;
  const std::string good = folder / "good.db";
  {
    const auto store = MustOpen(good);
    const uint64_t fence = store->AcquireLease({}, At(0), seconds(10), {})->fence;
    for (int i = 0; i < 20; ++i) {
      const auto run = AddRun(*store, "run" + std::to_string(i), 3000);
      Batch batch;
      for (uint64_t n = 2; n < 50; ++n) {
        batch.events.push_back(
            {run->number, n, {At(2), 3, 4, EventType::attempt_intended, std::string(100, 'y')}});
      }
      REQUIRE(store->Commit(fence, batch).ok());
    }
  }
  const std::string bytes = BytesOf(good);
  REQUIRE(bytes.size() > 50'000);
  REQUIRE_FALSE(fs::exists(good + "-wal"));  // all of it is in the file

  // Every way must end in an error or in right answers; never in a crash or in wrong ones.
  const auto read_all = [](const std::string& path) -> Status {
    auto store = OpenSqliteStore(path);
    if (!store.ok()) return store.status();
    auto runs = (*store)->ListRuns(100);
    if (!runs.ok()) return runs.status();
    Status first = absl::OkStatus();
    for (const RunRecord& run : *runs) {
      const auto pipeline = (*store)->ReadPipeline(run.version);
      if (first.ok()) first = pipeline.status();
      const Status events = (*store)->ReadEvents(run.number, 1, [](uint64_t, const Event&) {});
      if (first.ok()) first = events;
    }
    return first;
  };
  const std::string damaged = folder / "damaged.db";
  int data_loss = 0;
  for (size_t size = 2; size < bytes.size(); size += 4096 + 511) {
    for (const char* file : {"-wal", "-shm"}) fs::remove(damaged + file);
    Write(damaged, bytes.substr(0, size));
    const Status status = read_all(damaged);
    CAPTURE(size, status);
    CHECK(status.code() == StatusCode::kDataLoss);
  }
  for (size_t at = 0; at < bytes.size(); at += 1777) {
    for (const char* file : {"-wal", "-shm"}) fs::remove(damaged + file);
    std::string flipped = bytes;
    for (size_t i = at; i < std::min(at + 16, flipped.size()); ++i) flipped[i] = '\xa5';
    Write(damaged, flipped);
    const Status status = read_all(damaged);
    if (!status.ok()) ++data_loss;
    CAPTURE(at, status);
    CHECK((status.ok() || status.code() == StatusCode::kDataLoss ||
           status.code() == StatusCode::kFailedPrecondition ||  // the number of the format
           status.code() == StatusCode::kNotFound));            // the name of a pipeline
  }
  CHECK(data_loss > 0);
}

TEST_CASE("A store of a newer Trackbed is not touched") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  MustOpen(path);
  ExecuteSql(path, "PRAGMA user_version=6;");
  for (const bool read_only : {false, true}) {
    const Status refused = OpenSqliteStore(path, {Durability::power, read_only}).status();
    CHECK(refused.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(refused) ==
          path + ": the store has format 6; this Trackbed reads up to format 5");
  }
}

// What the first version wrote into its tables.
constexpr char kFirstRows[] = R"sql(
INSERT INTO lease VALUES(1, 7, 0, 'lab1', 'boot1', 4711, 1, 'trackbed run old.yaml');
INSERT INTO pipelines VALUES('sha256:1', x'01');
INSERT INTO runs VALUES(1, 'old-1', 'old', 'sha256:1', 5, 0, 0);
INSERT INTO events VALUES(1, 1, 5, 1, NULL, NULL, NULL);
PRAGMA application_id=1416784706;
PRAGMA user_version=1;
)sql";

TEST_CASE("A store of an older Trackbed is brought up to date, and keeps what it holds") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  ExecuteSql(path, std::string(kFirstFormatTables) + kFirstRows);
  const Status read_only = OpenSqliteStore(path, {Durability::power, true}).status();
  CHECK(read_only.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(read_only) ==
        path +
            ": the store has format 1, an older one; opened for writing, it is brought to "
            "format 5");
  for (int i = 0; i < 2; ++i) {
    const auto store = MustOpen(path);
    const Lease lease = *store->ReadLease();
    CHECK(lease.holder.description == "trackbed run old.yaml");
    CHECK(lease.holder.node.empty());
    CHECK(lease.fence == 7);
    CHECK(store->FindRun("old-1")->version == "sha256:1");
  }
  const auto store = MustOpen(path);
  CHECK(store->AcquireLease({"h", "b", 1, 2, "d", "cpu: 4"}, At(0), seconds(10), {})->fence == 8);
  CHECK(store->ReadLease()->holder.node == "cpu: 4");
  CHECK(AddRun(*store, "new-1")->number == 2);
}

TEST_CASE("Reading only creates and changes nothing") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  const SqliteStoreOptions read_only{Durability::power, true};
  CHECK(OpenSqliteStore(path, read_only).status().code() == StatusCode::kFailedPrecondition);
  CHECK_FALSE(fs::exists(path));
  Write(path, "");
  CHECK(OpenSqliteStore(path, read_only).status().code() == StatusCode::kNotFound);
  CHECK(fs::file_size(path) == 0);

  const auto writer = MustOpen(path);
  REQUIRE(AddRun(*writer, "a").ok());
  const auto reader = MustOpen(path, read_only);
  CHECK(reader->ListRuns(10)->size() == 1);
  CHECK(AddRun(*reader, "b").status().code() == StatusCode::kFailedPrecondition);
  CHECK(reader->PostRequest({0, Request::Kind::cancel, "a"}, At(1)).code() ==
        StatusCode::kFailedPrecondition);
  CHECK_FALSE(reader->AcquireLease({}, At(0), seconds(1), {}).ok());
  // What is written later is seen.
  REQUIRE(AddRun(*writer, "c").ok());
  CHECK(reader->ListRuns(10)->size() == 2);
}

TEST_CASE("Without the right to write, the error names the file and says so") {
  TemporaryFolder folder;
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  const std::string path = folder / "trackbed.db";
  const auto open = [&] { return OpenSqliteStore(path).status().ToString(); };

  SECTION("no folder") {
    CHECK(OpenSqliteStore(folder / "none/trackbed.db").status().ToString() ==
          "FAILED_PRECONDITION: " + (folder / "none/trackbed.db") +
              ": cannot open the store: No such file or directory");
  }
  SECTION("a folder in its place") {
    REQUIRE(::mkdir(path.c_str(), 0700) == 0);
    CHECK(open() == "FAILED_PRECONDITION: " + path + ": cannot open the store: Is a directory");
  }
  SECTION("a folder that may not be written to") {
    CHECK(AsNobody(open) == (::geteuid() == 0 ? "FAILED_PRECONDITION: " + path +
                                                    ": cannot open the store: Permission denied"
                                              : "OK"));
  }
  SECTION("a file that may not be written to") {
    MustOpen(path);
    REQUIRE(::chmod(path.c_str(), 0444) == 0);
    if (::geteuid() == 0) {
      CHECK(AsNobody(open) ==
            "FAILED_PRECONDITION: " + path + ": cannot open the store: Permission denied");
    }
  }
}

TEST_CASE("What a host shares between its connections is not shared with those of a store") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  REQUIRE(sqlite3_enable_shared_cache(1) == SQLITE_OK);
  const auto one = MustOpen(path);
  const auto two = MustOpen(path);
  REQUIRE(AddRun(*one, "a").ok());
  REQUIRE(one->AcquireLease({"h", "b", 1, 2, "d", "n"}, At(0), seconds(10), {}).ok());
  bool asked = false;
  const auto is_gone = [&](const LeaseHolder&) {
    asked = true;
    CHECK(two->FindRun("a").ok());  // with a shared cache, its table would be locked
    return true;
  };
  CHECK(one->AcquireLease({}, At(1), seconds(10), is_gone).ok());
  CHECK(asked);
  CHECK(sqlite3_enable_shared_cache(0) == SQLITE_OK);
}

// A process that may write files up to `bytes` only, as if the disk were full beyond.
std::string OnFullDisk(rlim_t bytes, const std::function<std::string()>& body) {
  return InChild([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, bytes};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return std::string("cannot limit");
    return body();
  });
}

TEST_CASE("A full disk is called that, loses nothing, and is forgotten when there is room again") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  SECTION("when the store is new") {
    const std::string code = OnFullDisk(2000, [&] {
      return std::to_string(static_cast<int>(OpenSqliteStore(path).status().code()));
    });
    CHECK(code == std::to_string(static_cast<int>(StatusCode::kResourceExhausted)));
    MustOpen(path);
  }
  SECTION("later") {
    MustOpen(path);
    const std::string told = OnFullDisk(400'000, [&]() -> std::string {
      auto store = OpenSqliteStore(path);
      if (!store.ok()) return store.status().ToString();
      int added = 0;
      Status status = absl::OkStatus();
      while (status.ok() && added < 1000) {
        status = AddRun(**store, "run" + std::to_string(added), 20'000).status();
        if (status.ok()) ++added;
      }
      const bool reads = (*store)->ListRuns(1000).ok();
      return std::to_string(added) + (reads ? " " : " unreadable ") +
             std::to_string(static_cast<int>(status.code()));
    });
    const size_t space = told.find(' ');
    REQUIRE(space != std::string::npos);
    const int added = std::stoi(told);
    CHECK(added > 0);
    CHECK(told.substr(space + 1) ==
          std::to_string(static_cast<int>(StatusCode::kResourceExhausted)));
    const auto store = MustOpen(path);
    CHECK(store->ListRuns(1000)->size() == static_cast<size_t>(added));
    CHECK(AddRun(*store, "another", 20'000).ok());
  }
}

TEST_CASE("Processes that create one store at once all get it") {
  TemporaryFolder folder;
  constexpr int kStores = 20;
  constexpr int kProcesses = 6;
  for (int round = 0; round < kStores; ++round) {
    const std::string path = folder / ("trackbed" + std::to_string(round) + ".db");
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
      const pid_t child = ::fork();
      REQUIRE(child >= 0);
      if (child == 0) {
        const auto store = OpenSqliteStore(path);
        if (!store.ok()) std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
        ::_exit(store.ok() ? 0 : 1);
      }
      children.push_back(child);
    }
    for (const pid_t child : children) {
      int status = 0;
      REQUIRE(::waitpid(child, &status, 0) == child);
      CHECK(status == 0);
    }
  }
}

TEST_CASE("Processes that write at once wait for each other and lose nothing") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  constexpr int kProcesses = 4;
  constexpr int kRuns = 50;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      // The first to come creates it.
      auto store = OpenSqliteStore(path, {Durability::process, false});
      int failed = store.ok() ? 0 : 100;
      for (int n = 0; failed == 0 && n < kRuns; ++n) {
        if (!AddRun(**store, "p" + std::to_string(i) + "-" + std::to_string(n)).ok()) ++failed;
        if (!(*store)->ListRuns(5).ok()) ++failed;
      }
      ::_exit(failed);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  CHECK(MustOpen(path)->ListRuns(1000)->size() == kProcesses * kRuns);
}

TEST_CASE("Of processes that want the lease at once, one gets it") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  MustOpen(path);
  int granted = 0;
  int refused = 0;
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto store = OpenSqliteStore(path);
      if (!store.ok()) ::_exit(2);
      const auto lease = (*store)->AcquireLease({"h", "b", i, 0, "", ""}, At(0), seconds(100), {});
      ::_exit(lease.ok() ? 0 : lease.status().code() == StatusCode::kFailedPrecondition ? 1 : 3);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 0) ++granted;
    if (WEXITSTATUS(status) == 1) ++refused;
  }
  CHECK(granted == 1);
  CHECK(refused == 5);
}

}  // namespace
}  // namespace trackbed
