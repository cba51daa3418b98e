// The Store in one SQLite file.
//
// One row an event, clustered by run, so that reading a run is one range scan and no object grows
// with it. Writes happen in one transaction a commit, which first checks the fence of the lease.
//
// SQLite finds pages that make no sense, not values that have changed. So each row carries a digest
// of its values, checked whenever the row is read, and the last row of each run says how many
// events are before it, so that none can be missing. That row is where the next event goes: on a
// page that is written anyway.
#include <absl/container/flat_hash_map.h>
#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "engine/lease.hpp"
#include "engine/row_digest.hpp"
#include "engine/sqlite_error.hpp"
#include "engine/sqlite_statement.hpp"
#include "engine/unchanging_store.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {
namespace {

constexpr int kApplicationId = 0x54726b42;  // "TrkB"
constexpr int kBusyMilliseconds = 10'000;

// The format of a store is the number of these that made it: each takes a store of the format
// before it to its own. Never changed, only added to.
constexpr const char* kFormats[] = {R"sql(
CREATE TABLE pipelines(version TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE runs(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL,
  version TEXT NOT NULL REFERENCES pipelines, submitted_ns INTEGER NOT NULL,
  status INTEGER NOT NULL, finished_ns INTEGER NOT NULL);
CREATE TABLE events(
  run INTEGER NOT NULL, sequence INTEGER NOT NULL, time_ns INTEGER NOT NULL,
  type INTEGER NOT NULL, task INTEGER, attempt INTEGER, detail BLOB,
  PRIMARY KEY(run, sequence)) WITHOUT ROWID;
CREATE TABLE cache(
  key TEXT PRIMARY KEY, pipeline TEXT NOT NULL, task TEXT NOT NULL, time_ns INTEGER NOT NULL,
  detail BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX cache_by_task ON cache(pipeline, task, time_ns);
CREATE TABLE lease(
  one INTEGER PRIMARY KEY CHECK(one = 1), fence INTEGER NOT NULL, expires_ns INTEGER NOT NULL,
  host TEXT NOT NULL, boot_id TEXT NOT NULL, process INTEGER NOT NULL,
  process_start INTEGER NOT NULL, description TEXT NOT NULL);
CREATE TABLE requests(
  number INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL, kind INTEGER NOT NULL,
  run TEXT NOT NULL);
INSERT INTO lease VALUES(1, 0, 0, '', '', 0, 0, '');
)sql",
                                    R"sql(
ALTER TABLE lease ADD COLUMN node TEXT NOT NULL DEFAULT '';
)sql",
                                    R"sql(
ALTER TABLE pipelines ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cache ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
INSERT INTO events SELECT run, 9223372036854775807, max(sequence), 0, NULL, NULL, NULL, 0
  FROM events GROUP BY run;
UPDATE pipelines SET digest=row_digest(version, document);
UPDATE runs SET digest=row_digest(
  number, id, pipeline, version, submitted_ns, status, finished_ns);
UPDATE events SET digest=row_digest(run, sequence, time_ns, type, task, attempt, detail);
UPDATE cache SET digest=row_digest(key, pipeline, task, time_ns, detail);
UPDATE lease SET digest=row_digest(
  fence, expires_ns, host, boot_id, process, process_start, description, node);
UPDATE requests SET digest=row_digest(time_ns, kind, run);
)sql",
                                    R"sql(
CREATE TABLE nodes(
  name TEXT PRIMARY KEY, description TEXT NOT NULL, drained INTEGER NOT NULL,
  digest INTEGER NOT NULL) WITHOUT ROWID;
)sql",
                                    R"sql(
ALTER TABLE requests ADD COLUMN detail BLOB NOT NULL DEFAULT x'';
UPDATE requests SET digest=row_digest(time_ns, kind, run, detail);
)sql"};
constexpr int kFormat = std::size(kFormats);
// The row that ends a run: its sequence, and its type, which is no event's. Its time is the number
// of events before it.
constexpr int64_t kEndSequence = INT64_MAX;
constexpr int64_t kEndType = 0;

class SqliteStore final : public Store {
 public:
  SqliteStore() = default;
  ~SqliteStore() override;

  Status Open(const std::string& path, const SqliteStoreOptions& options, bool unchanging);

  StatusOr<Lease> AcquireLease(const LeaseHolder& holder, Time now, Duration ttl,
                               const std::function<bool(const LeaseHolder&)>& is_gone) override;
  Status ReleaseLease(uint64_t fence) override;
  StatusOr<Lease> ReadLease() override;
  StatusOr<RunRecord> AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                             const Event& submitted) override;
  Status Commit(uint64_t fence, const Batch& batch) override;
  StatusOr<RunRecord> FindRun(const RunId& id) override;
  StatusOr<std::vector<RunRecord>> ListRuns(size_t limit, RunsListed listed) override;
  StatusOr<std::string> ReadPipeline(const std::string& version) override;
  Status ReadEvents(int64_t run, uint64_t from,
                    const std::function<void(uint64_t, Event)>& visit) override {
    return ReadSomeEvents(run, from, SIZE_MAX, visit);
  }
  Status ReadSomeEvents(int64_t run, uint64_t from, size_t limit,
                        const std::function<void(uint64_t, Event)>& visit) override;
  StatusOr<std::optional<CacheEntry>> FindCached(const std::string& key) override;
  StatusOr<std::optional<CacheEntry>> FindLastCached(const std::string& pipeline,
                                                     const std::string& task, Time before) override;
  StatusOr<std::vector<NodeRecord>> ListNodes() override;
  Status ChangeNodes(const std::vector<NodeRecord>& put, const std::vector<std::string>& remove,
                     Time now) override;
  Status PostRequest(const Request& request, Time now) override;
  StatusOr<std::vector<Request>> ReadRequests() override;

 private:
  Status Error(std::string_view doing) const { return SqliteError(database_, path_, doing); }
  Status Execute(const char* sql, std::string_view doing);
  StatusOr<int> ReadFormat();
  Status BringUpToDate();
  Status UseWriteAheadLog();
  Status PrepareStatements();
  // Runs `body` in one transaction: all of it is stored, or nothing.
  Status InTransaction(std::string_view doing, const std::function<Status()>& body);
  // The same for reading: all of it is of one moment.
  Status InOneMoment(std::string_view doing, const std::function<Status()>& body);
  // Runs a statement that returns no rows and resets it.
  Status Run(Statement& statement, std::string_view doing);
  // Runs a statement that has to change one row, and finds it only when it is undamaged.
  Status ChangeOne(Statement& statement, std::string_view doing);
  Status Damaged(std::string_view row) const;
  // Within a transaction. Sets the number of *record.
  Status InsertRun(const Event& submitted, RunRecord* record);
  Status WriteEvent(int64_t run, uint64_t sequence, const Event& event);
  // Notes that `batch` adds to its runs, each event after the one before it.
  Status Lengthen(const Batch& batch);
  Status Lengthen(int64_t run, uint64_t from, uint64_t to);
  // OK when the run is not there, so that there is no end of it to be missed.
  Status CheckThatThereIsNo(int64_t run);
  Status WriteRow(int64_t run, int64_t sequence, int64_t time, int64_t type, const Event& event);
  StatusOr<std::optional<CacheEntry>> ReadCacheEntry(Statement& statement);

  std::string path_;
  sqlite3* database_ = nullptr;
  struct {
    Statement begin, begin_reading, commit, rollback;
    Statement read_lease, write_lease, renew_lease;
    Statement add_pipeline, add_run, add_event, set_status;
    Statement lengthen, read_length, last_run, has_run;
    Statement find_run, scan_for_run, list_runs, read_pipeline, read_events;
    Statement put_cache, find_cached, find_last_cached;
    Statement list_nodes, put_node, remove_node, set_lease_node;
    Statement post_request, read_requests, delete_request;
  } sql_;
};

// Closes the connection; SQLite keeps it until the statements, destroyed after this, are gone.
SqliteStore::~SqliteStore() { sqlite3_close_v2(database_); }

Status SqliteStore::Execute(const char* sql, std::string_view doing) {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return Error(doing);
  return absl::OkStatus();
}

// The file may hold what only its owner should see, so it never exists with a wider mode.
Status CreatePrivateFile(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file >= 0) {
    ::close(file);
    return absl::OkStatus();
  }
  const int error = errno;
  const std::string message = absl::StrCat(path, ": cannot open the store: ", std::strerror(error));
  return IsOutOfSpace(error) ? ResourceExhausted(message) : FailedPrecondition(message);
}

Status SqliteStore::Open(const std::string& path, const SqliteStoreOptions& options,
                         bool unchanging) {
  path_ = path;
  // A cache of our own, whatever the host has set for all its connections.
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
              (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
  if (!options.read_only && options.vfs.empty()) {
    TRACKBED_RETURN_IF_ERROR(CreatePrivateFile(path));
  } else if (!options.read_only) {
    flags |= SQLITE_OPEN_CREATE;
  }
  if (unchanging) flags |= SQLITE_OPEN_URI;
  const std::string name = unchanging ? UnchangingName(path) : path;
  const char* vfs = options.vfs.empty() ? nullptr : options.vfs.c_str();
  if (sqlite3_open_v2(name.c_str(), &database_, flags, vfs) != SQLITE_OK) {
    return Error("open the store");
  }
  sqlite3_busy_timeout(database_, kBusyMilliseconds);
  if (AddRowDigest(database_) != SQLITE_OK) return Error("open the store");
  // Looked at before anything is changed: it may be somebody else's file.
  TRACKBED_ASSIGN_OR_RETURN(const int format, ReadFormat());
  if (!options.read_only) {
    TRACKBED_RETURN_IF_ERROR(UseWriteAheadLog());
    if (format < kFormat) TRACKBED_RETURN_IF_ERROR(BringUpToDate());
  } else if (format == 0) {
    return NotFound(absl::StrCat(path_, ": the store is empty"));
  } else if (format < kFormat) {
    return FailedPrecondition(absl::StrCat(path_, ": the store has format ", format,
                                           ", an older one; opened for writing, it is brought to ",
                                           "format ", kFormat));
  }
  TRACKBED_RETURN_IF_ERROR(Execute(options.durability == Durability::power
                                       ? "PRAGMA synchronous=FULL"
                                       : "PRAGMA synchronous=NORMAL",
                                   "set the durability"));
  return PrepareStatements();
}

// SQLite does not wait for other openers when it changes the journal mode, so we do.
Status SqliteStore::UseWriteAheadLog() {
  constexpr int kTries = 200;
  constexpr int kWaitMilliseconds = 20;
  for (int i = 0;; ++i) {
    const int code = sqlite3_exec(database_, "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr);
    if (code == SQLITE_OK) return absl::OkStatus();
    if (code != SQLITE_BUSY || i == kTries) return Error("open the store");
    sqlite3_sleep(kWaitMilliseconds);
  }
}

// 0 for an empty file. All in one statement: another process may be making the store between two.
StatusOr<int> SqliteStore::ReadFormat() {
  constexpr std::string_view kRead =
      "SELECT (SELECT application_id FROM pragma_application_id),"
      " (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)";
  Statement statement;
  if (statement.Prepare(database_, kRead) != SQLITE_OK || statement.Step() != SQLITE_ROW) {
    return Error("read the store");
  }
  const int64_t application = statement.Integer(0);
  const int64_t format = statement.Integer(1);
  const int64_t tables = statement.Integer(2);
  if (tables == 0 && application == 0) return 0;
  if (application != kApplicationId || format < 1) {
    return DataLoss(absl::StrCat(path_, ": this SQLite file is not a Trackbed store"));
  }
  if (format > kFormat) {
    return FailedPrecondition(absl::StrCat(path_, ": the store has format ", format,
                                           "; this Trackbed reads up to format ", kFormat));
  }
  return static_cast<int>(format);
}

Status SqliteStore::BringUpToDate() {
  TRACKBED_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE", "create the store"));
  // Another process may have done it meanwhile: look again under the write lock.
  const StatusOr<int> format = ReadFormat();
  Status status = format.status();
  for (int next = status.ok() ? *format : kFormat; status.ok() && next < kFormat; ++next) {
    status = Execute(kFormats[next], "create the store");
  }
  if (status.ok()) {
    const std::string mark = absl::StrCat("PRAGMA application_id=", kApplicationId,
                                          "; PRAGMA user_version=", kFormat, ";");
    status = Execute(mark.c_str(), "create the store");
  }
  if (status.ok()) status = Execute("COMMIT", "create the store");
  if (!status.ok()) sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

// What ReadRunRecord and ReadCacheEntry read.
#define TRACKBED_RUN_COLUMNS                                           \
  "number, id, pipeline, version, submitted_ns, status, finished_ns, " \
  "digest=row_digest(number, id, pipeline, version, submitted_ns, status, finished_ns)"
#define TRACKBED_CACHE_COLUMNS             \
  "key, pipeline, task, time_ns, detail, " \
  "digest=row_digest(key, pipeline, task, time_ns, detail)"

Status SqliteStore::PrepareStatements() {
  const struct {
    Statement& statement;
    const char* sql;
  } all[] = {
      {sql_.begin, "BEGIN IMMEDIATE"},
      {sql_.begin_reading, "BEGIN"},
      {sql_.commit, "COMMIT"},
      {sql_.rollback, "ROLLBACK"},
      {sql_.read_lease,
       "SELECT fence, expires_ns, host, boot_id, process, process_start, description, node,"
       " digest=row_digest(fence, expires_ns, host, boot_id, process, process_start, description,"
       " node) FROM lease"},
      {sql_.write_lease,
       "UPDATE lease SET fence=?1, expires_ns=?2, host=?3, boot_id=?4, process=?5,"
       " process_start=?6, description=?7, node=?8,"
       " digest=row_digest(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"},
      {sql_.renew_lease,
       "UPDATE lease SET expires_ns=?1, digest=row_digest(fence, ?1, host, boot_id, process,"
       " process_start, description, node)"},
      {sql_.add_pipeline, "INSERT OR IGNORE INTO pipelines VALUES(?1, ?2, row_digest(?1, ?2))"},
      {sql_.last_run, "SELECT ifnull(max(run), 0) FROM events"},
      {sql_.add_run,
       "INSERT INTO runs VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7,"
       " row_digest(?1, ?2, ?3, ?4, ?5, ?6, ?7))"},
      {sql_.add_event,
       "INSERT INTO events VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7,"
       " row_digest(?1, ?2, ?3, ?4, ?5, ?6, ?7))"},
      {sql_.lengthen,
       "UPDATE events SET time_ns=?4,"
       " digest=row_digest(run, sequence, ?4, type, task, attempt, detail)"
       " WHERE run=?1 AND sequence=?2 AND time_ns=?3 AND digest=row_digest("
       "run, sequence, time_ns, type, task, attempt, detail)"},
      {sql_.read_length,
       "SELECT time_ns, digest=row_digest(run, sequence, time_ns, type, task, attempt, detail)"
       " FROM events WHERE run=? AND sequence=?"},
      {sql_.has_run, "SELECT 1 FROM runs WHERE number=?"},
      {sql_.set_status,
       "UPDATE runs SET status=?1, finished_ns=?2,"
       " digest=row_digest(number, id, pipeline, version, submitted_ns, ?1, ?2)"
       " WHERE number=?3 AND digest=row_digest("
       "number, id, pipeline, version, submitted_ns, status, finished_ns)"},
      {sql_.find_run, "SELECT " TRACKBED_RUN_COLUMNS " FROM runs WHERE id=?"},
      {sql_.scan_for_run, "SELECT 1 FROM runs NOT INDEXED WHERE id=?"},
      {sql_.list_runs, "SELECT " TRACKBED_RUN_COLUMNS " FROM runs ORDER BY number DESC"},
      {sql_.read_pipeline,
       "SELECT document, digest=row_digest(version, document) FROM pipelines WHERE version=?"},
      {sql_.read_events,
       "SELECT sequence, time_ns, type, task, attempt, detail,"
       " digest=row_digest(run, sequence, time_ns, type, task, attempt, detail) FROM events"
       " WHERE run=? AND sequence>=? ORDER BY sequence"},
      {sql_.put_cache,
       "INSERT OR REPLACE INTO cache VALUES(?1, ?2, ?3, ?4, ?5, row_digest(?1, ?2, ?3, ?4, ?5))"},
      {sql_.find_cached, "SELECT " TRACKBED_CACHE_COLUMNS " FROM cache WHERE key=?"},
      {sql_.find_last_cached,
       "SELECT " TRACKBED_CACHE_COLUMNS " FROM cache"
       " WHERE pipeline=? AND task=? AND time_ns<? ORDER BY time_ns DESC LIMIT 1"},
      {sql_.list_nodes,
       "SELECT name, description, drained, digest=row_digest(name, description, drained) FROM nodes"
       " ORDER BY name"},
      {sql_.put_node, "INSERT OR REPLACE INTO nodes VALUES(?1, ?2, ?3, row_digest(?1, ?2, ?3))"},
      {sql_.remove_node, "DELETE FROM nodes WHERE name=?"},
      {sql_.set_lease_node,
       "UPDATE lease SET node=?1, digest=row_digest(fence, expires_ns, host, boot_id, process,"
       " process_start, description, ?1)"},
      {sql_.post_request,
       "INSERT INTO requests(time_ns, kind, run, detail, digest)"
       " VALUES(?1, ?2, ?3, ?4, row_digest(?1, ?2, ?3, ?4))"},
      {sql_.read_requests,
       "SELECT number, kind, run, detail, digest=row_digest(time_ns, kind, run, detail)"
       " FROM requests"
       " ORDER BY number"},
      {sql_.delete_request, "DELETE FROM requests WHERE number=?"},
  };
  for (const auto& [statement, sql] : all) {
    const int code = statement.Prepare(database_, sql);
    if (code == SQLITE_ERROR) {
      return DataLoss(absl::StrCat(
          path_, ": its tables are not those of a store: ", sqlite3_errmsg(database_)));
    }
    if (code != SQLITE_OK) return Error("read the store");
  }
  return absl::OkStatus();
}

Status SqliteStore::Run(Statement& statement, std::string_view doing) {
  const int code = statement.Step();
  Status status = code == SQLITE_DONE ? absl::OkStatus() : Error(doing);
  statement.Reset();
  return status;
}

Status SqliteStore::ChangeOne(Statement& statement, std::string_view doing) {
  TRACKBED_RETURN_IF_ERROR(Run(statement, doing));
  if (sqlite3_changes(database_) == 1) return absl::OkStatus();
  return DataLoss(
      absl::StrCat(path_, ": cannot ", AbslView(doing), ": its row is damaged or gone"));
}

Status SqliteStore::Damaged(std::string_view row) const {
  return DataLoss(absl::StrCat(path_, ": the row of ", AbslView(row), " is damaged"));
}

Status SqliteStore::InOneMoment(std::string_view doing, const std::function<Status()>& body) {
  TRACKBED_RETURN_IF_ERROR(Run(sql_.begin_reading, doing));
  Status status = body();
  // Of reading there is nothing to keep.
  if (sqlite3_get_autocommit(database_) == 0) (void)Run(sql_.rollback, doing);
  return status;
}

Status SqliteStore::InTransaction(std::string_view doing, const std::function<Status()>& body) {
  TRACKBED_RETURN_IF_ERROR(Run(sql_.begin, doing));
  Status status = body();
  if (status.ok()) status = Run(sql_.commit, doing);
  // After some errors SQLite has rolled back by itself.
  if (!status.ok() && sqlite3_get_autocommit(database_) == 0) (void)Run(sql_.rollback, doing);
  return status;
}

StatusOr<Lease> SqliteStore::ReadLease() {
  Statement& row = sql_.read_lease;
  ResetOnExit reset(row);
  if (row.Step() != SQLITE_ROW) return Error("read the lease");
  Lease lease;
  lease.fence = static_cast<uint64_t>(row.Integer(0));
  lease.expires = FromNanoseconds(row.Integer(1));
  lease.holder = {row.Bytes(2),   row.Bytes(3), row.Integer(4),
                  row.Integer(5), row.Bytes(6), row.Bytes(7)};
  if (!row.IsTrue(8)) return Damaged("the lease");
  return lease;
}

StatusOr<Lease> SqliteStore::AcquireLease(const LeaseHolder& holder, Time now, Duration ttl,
                                          const std::function<bool(const LeaseHolder&)>& is_gone) {
  Lease granted;
  Status status = InTransaction("take the lease", [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Lease lease, ReadLease());
    TRACKBED_RETURN_IF_ERROR(CheckLeaseIsFree(lease, now, is_gone));
    granted = Lease{lease.fence + 1, holder, now + ttl};
    Statement& update = sql_.write_lease;
    update.Bind(1, static_cast<int64_t>(granted.fence));
    update.Bind(2, ToNanoseconds(granted.expires));
    update.BindText(3, holder.host);
    update.BindText(4, holder.boot_id);
    update.Bind(5, holder.process);
    update.Bind(6, holder.process_start);
    update.BindText(7, holder.description);
    update.BindText(8, holder.node);
    return Run(update, "take the lease");
  });
  if (!status.ok()) return status;
  return granted;
}

Status SqliteStore::ReleaseLease(uint64_t fence) {
  return InTransaction("give the lease back", [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Lease lease, ReadLease());
    if (lease.fence != fence) return absl::OkStatus();
    sql_.renew_lease.Bind(1, 0);
    return Run(sql_.renew_lease, "give the lease back");
  });
}

StatusOr<RunRecord> SqliteStore::AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                                        const Event& submitted) {
  RunRecord added = record;
  Status status = InTransaction("add a run", [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(InsertRun(submitted, &added));
    sql_.add_pipeline.BindText(1, record.version);
    sql_.add_pipeline.BindBlob(2, encoded_pipeline);
    return Run(sql_.add_pipeline, "add a pipeline");
  });
  if (!status.ok()) return status;
  return added;
}

Status SqliteStore::InsertRun(const Event& submitted, RunRecord* record) {
  {
    ResetOnExit reset(sql_.find_run);
    sql_.find_run.BindText(1, record->id);
    const int code = sql_.find_run.Step();
    if (code == SQLITE_ROW) return AlreadyExists(absl::StrCat("run ", record->id, " exists"));
    // After an error there may be no transaction any more.
    if (code != SQLITE_DONE) return Error("add a run");
  }
  {
    ResetOnExit reset(sql_.last_run);
    if (sql_.last_run.Step() != SQLITE_ROW) return Error("add a run");
    record->number = sql_.last_run.Integer(0) + 1;
  }
  sql_.add_run.Bind(1, record->number);
  sql_.add_run.BindText(2, record->id);
  sql_.add_run.BindText(3, record->pipeline);
  sql_.add_run.BindText(4, record->version);
  sql_.add_run.Bind(5, ToNanoseconds(record->submitted));
  sql_.add_run.Bind(6, static_cast<int64_t>(record->status));
  sql_.add_run.Bind(7, ToNanoseconds(record->finished));
  TRACKBED_RETURN_IF_ERROR(Run(sql_.add_run, "add a run"));
  TRACKBED_RETURN_IF_ERROR(WriteEvent(record->number, 1, submitted));
  return WriteRow(record->number, kEndSequence, 1, kEndType, Event{});
}

Status SqliteStore::WriteRow(int64_t run, int64_t sequence, int64_t time, int64_t type,
                             const Event& event) {
  Statement& insert = sql_.add_event;
  insert.Bind(1, run);
  insert.Bind(2, sequence);
  insert.Bind(3, time);
  insert.Bind(4, type);
  if (event.task != kNoTask) insert.Bind(5, event.task);
  if (event.attempt != 0) insert.Bind(6, event.attempt);
  if (!event.detail.empty()) insert.BindBlob(7, event.detail);
  return Run(insert, "write an event");
}

Status SqliteStore::WriteEvent(int64_t run, uint64_t sequence, const Event& event) {
  return WriteRow(run, static_cast<int64_t>(sequence), ToNanoseconds(event.time),
                  static_cast<int64_t>(event.type), event);
}

Status SqliteStore::Lengthen(int64_t run, uint64_t from, uint64_t to) {
  sql_.lengthen.Bind(1, run);
  sql_.lengthen.Bind(2, kEndSequence);
  sql_.lengthen.Bind(3, static_cast<int64_t>(from));
  sql_.lengthen.Bind(4, static_cast<int64_t>(to));
  TRACKBED_RETURN_IF_ERROR(Run(sql_.lengthen, "lengthen a run"));
  if (sqlite3_changes(database_) == 1) return absl::OkStatus();
  Statement& row = sql_.read_length;
  ResetOnExit reset(row);
  row.Bind(1, run);
  row.Bind(2, kEndSequence);
  const int code = row.Step();
  if (code == SQLITE_DONE) {
    TRACKBED_RETURN_IF_ERROR(CheckThatThereIsNo(run));
    return Internal(absl::StrCat(path_, ": there is no run number ", run));
  }
  if (code != SQLITE_ROW) return Error("lengthen a run");
  if (!row.IsTrue(1)) return Damaged(absl::StrCat("the end of run number ", run));
  return Internal(absl::StrCat(path_, ": event ", from + 1, " of run number ", run,
                               " does not follow event ", row.Integer(0)));
}

Status SqliteStore::Lengthen(const Batch& batch) {
  struct Growth {
    uint64_t from = 0;
    uint64_t to = 0;
  };
  absl::flat_hash_map<int64_t, Growth> growths;
  for (const Batch::NewEvent& added : batch.events) {
    Growth& growth = growths.try_emplace(added.run, Growth{added.sequence - 1, added.sequence - 1})
                         .first->second;
    if (added.sequence != growth.to + 1) {
      return Internal(absl::StrCat(path_, ": event ", added.sequence, " of run number ", added.run,
                                   " does not follow event ", growth.to));
    }
    growth.to = added.sequence;
  }
  for (const auto& [run, growth] : growths) {
    TRACKBED_RETURN_IF_ERROR(Lengthen(run, growth.from, growth.to));
  }
  return absl::OkStatus();
}

Status SqliteStore::Commit(uint64_t fence, const Batch& batch) {
  return InTransaction("commit", [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Lease lease, ReadLease());
    if (lease.fence != fence) return LeaseLost(lease);
    TRACKBED_RETURN_IF_ERROR(Lengthen(batch));
    for (const Batch::NewRun& run : batch.runs) {
      RunRecord record = run.record;
      TRACKBED_RETURN_IF_ERROR(InsertRun(run.submitted, &record));
    }
    for (const Batch::NewEvent& added : batch.events) {
      TRACKBED_RETURN_IF_ERROR(WriteEvent(added.run, added.sequence, added.event));
    }
    for (const Batch::StatusChange& change : batch.status_changes) {
      sql_.set_status.Bind(1, static_cast<int64_t>(change.status));
      sql_.set_status.Bind(2, ToNanoseconds(change.finished));
      sql_.set_status.Bind(3, change.run);
      TRACKBED_RETURN_IF_ERROR(ChangeOne(sql_.set_status, "change the status of a run"));
    }
    for (const CacheEntry& entry : batch.cache_entries) {
      const std::string detail = Encode(TaskCached{entry.key, entry.fields, entry.result});
      sql_.put_cache.BindText(1, entry.key);
      sql_.put_cache.BindText(2, entry.pipeline);
      sql_.put_cache.BindText(3, entry.task);
      sql_.put_cache.Bind(4, ToNanoseconds(entry.time));
      sql_.put_cache.BindBlob(5, detail);
      TRACKBED_RETURN_IF_ERROR(Run(sql_.put_cache, "write to the cache"));
    }
    for (int64_t request : batch.requests_done) {
      sql_.delete_request.Bind(1, request);
      TRACKBED_RETURN_IF_ERROR(Run(sql_.delete_request, "answer a request"));
    }
    if (batch.lease_until) {
      sql_.renew_lease.Bind(1, ToNanoseconds(*batch.lease_until));
      TRACKBED_RETURN_IF_ERROR(Run(sql_.renew_lease, "renew the lease"));
    }
    if (batch.lease_node) {
      sql_.set_lease_node.BindText(1, *batch.lease_node);
      TRACKBED_RETURN_IF_ERROR(Run(sql_.set_lease_node, "renew the lease"));
    }
    return absl::OkStatus();
  });
}

RunRecord ReadRunRecord(const Statement& row) {
  RunRecord record;
  record.number = row.Integer(0);
  record.id = row.Bytes(1);
  record.pipeline = row.Bytes(2);
  record.version = row.Bytes(3);
  record.submitted = FromNanoseconds(row.Integer(4));
  record.status = static_cast<RunStatus>(row.Integer(5));
  record.finished = FromNanoseconds(row.Integer(6));
  return record;
}

StatusOr<RunRecord> SqliteStore::FindRun(const RunId& id) {
  {
    Statement& row = sql_.find_run;
    ResetOnExit reset(row);
    row.BindText(1, id);
    const int code = row.Step();
    if (code == SQLITE_ROW) {
      RunRecord record = ReadRunRecord(row);
      if (!row.IsTrue(7)) return Damaged(absl::StrCat("run ", id));
      return record;
    }
    if (code != SQLITE_DONE) return Error("read the runs");
  }
  // Where an index is damaged, something may be there though it is not in the index.
  Statement& row = sql_.scan_for_run;
  ResetOnExit reset(row);
  row.BindText(1, id);
  const int code = row.Step();
  if (code == SQLITE_ROW) return Damaged(absl::StrCat("run ", id, " in the index"));
  if (code != SQLITE_DONE) return Error("read the runs");
  return NotFound(absl::StrCat("there is no run \"", id, "\""));
}

StatusOr<std::vector<RunRecord>> SqliteStore::ListRuns(size_t limit, RunsListed listed) {
  std::vector<RunRecord> records;
  Status status = InOneMoment("read the runs", [&]() -> Status {
    // Numbers are given in order and never taken back.
    int64_t next = 0;
    {
      ResetOnExit reset(sql_.last_run);
      if (sql_.last_run.Step() != SQLITE_ROW) return Error("read the runs");
      next = sql_.last_run.Integer(0);
    }
    Statement& row = sql_.list_runs;
    ResetOnExit reset(row);
    for (; records.size() < limit; --next) {
      const int code = row.Step();
      if (code == SQLITE_DONE) {
        return next == 0 ? absl::OkStatus() : Damaged(absl::StrCat("run number ", next));
      }
      if (code != SQLITE_ROW) return Error("read the runs");
      RunRecord record = ReadRunRecord(row);
      if (!row.IsTrue(7) || record.number != next) {
        return Damaged(absl::StrCat("run number ", next));
      }
      if (listed == RunsListed::submitted && IsMapRun(record.id)) continue;
      records.push_back(std::move(record));
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return records;
}

StatusOr<std::string> SqliteStore::ReadPipeline(const std::string& version) {
  Statement& row = sql_.read_pipeline;
  ResetOnExit reset(row);
  row.BindText(1, version);
  const int code = row.Step();
  if (code == SQLITE_DONE) return NotFound(absl::StrCat("there is no pipeline ", version));
  if (code != SQLITE_ROW) return Error("read a pipeline");
  if (!row.IsTrue(1)) return Damaged(absl::StrCat("pipeline ", version));
  return row.Bytes(0);
}

Status SqliteStore::ReadSomeEvents(int64_t run, uint64_t from, size_t limit,
                                   const std::function<void(uint64_t, Event)>& visit) {
  Statement& row = sql_.read_events;
  ResetOnExit reset(row);
  row.Bind(1, run);
  row.Bind(2, static_cast<int64_t>(from));
  uint64_t next = std::max<uint64_t>(from, 1);
  const auto damaged = [&] {
    return Damaged(absl::StrCat("event ", next, " of run number ", run));
  };
  for (; limit > 0; --limit, ++next) {
    const int code = row.Step();
    if (code == SQLITE_DONE) return CheckThatThereIsNo(run);
    if (code != SQLITE_ROW) return Error("read the events of a run");
    const auto sequence = static_cast<uint64_t>(row.Integer(0));
    if (!row.IsTrue(6)) return damaged();
    if (row.Integer(2) == kEndType) {
      return next > static_cast<uint64_t>(row.Integer(1)) ? absl::OkStatus() : damaged();
    }
    if (sequence != next) return damaged();
    Event event;
    event.time = FromNanoseconds(row.Integer(1));
    event.type = static_cast<EventType>(row.Integer(2));
    if (!row.IsNull(3)) event.task = static_cast<TaskIndex>(row.Integer(3));
    event.attempt = static_cast<uint32_t>(row.Integer(4));
    if (!row.IsNull(5)) event.detail = row.Bytes(5);
    visit(next, std::move(event));
  }
  return absl::OkStatus();
}

Status SqliteStore::CheckThatThereIsNo(int64_t run) {
  Statement& row = sql_.has_run;
  ResetOnExit reset(row);
  row.Bind(1, run);
  const int code = row.Step();
  if (code == SQLITE_ROW) return Damaged(absl::StrCat("the end of run number ", run));
  return code == SQLITE_DONE ? absl::OkStatus() : Error("read the runs");
}

StatusOr<std::optional<CacheEntry>> SqliteStore::ReadCacheEntry(Statement& row) {
  ResetOnExit reset(row);
  const int code = row.Step();
  if (code == SQLITE_DONE) return std::nullopt;
  if (code != SQLITE_ROW) return Error("read the cache");
  CacheEntry entry;
  entry.key = row.Bytes(0);
  entry.pipeline = row.Bytes(1);
  entry.task = row.Bytes(2);
  entry.time = FromNanoseconds(row.Integer(3));
  if (!row.IsTrue(5)) return Damaged(absl::StrCat("the cached result ", entry.key));
  TaskCached detail;
  TRACKBED_RETURN_IF_ERROR(Decode(row.Bytes(4), &detail));
  entry.fields = std::move(detail.cache_fields);
  entry.result = std::move(detail.result);
  return entry;
}

StatusOr<std::optional<CacheEntry>> SqliteStore::FindCached(const std::string& key) {
  sql_.find_cached.BindText(1, key);
  return ReadCacheEntry(sql_.find_cached);
}

StatusOr<std::optional<CacheEntry>> SqliteStore::FindLastCached(const std::string& pipeline,
                                                                const std::string& task,
                                                                Time before) {
  sql_.find_last_cached.BindText(1, pipeline);
  sql_.find_last_cached.BindText(2, task);
  sql_.find_last_cached.Bind(3, ToNanoseconds(before));
  return ReadCacheEntry(sql_.find_last_cached);
}

StatusOr<std::vector<NodeRecord>> SqliteStore::ListNodes() {
  Statement& row = sql_.list_nodes;
  ResetOnExit reset(row);
  std::vector<NodeRecord> nodes;
  int code = SQLITE_OK;
  while ((code = row.Step()) == SQLITE_ROW) {
    nodes.push_back({row.Bytes(0), row.Bytes(1), row.Integer(2) != 0});
    if (!row.IsTrue(3)) return Damaged(absl::StrCat("node ", nodes.back().name));
  }
  if (code != SQLITE_DONE) return Error("read the nodes");
  return nodes;
}

Status SqliteStore::ChangeNodes(const std::vector<NodeRecord>& put,
                                const std::vector<std::string>& remove, Time now) {
  return InTransaction("change the nodes", [&]() -> Status {
    for (const NodeRecord& node : put) {
      sql_.put_node.BindText(1, node.name);
      sql_.put_node.BindText(2, node.description);
      sql_.put_node.Bind(3, node.drained ? 1 : 0);
      TRACKBED_RETURN_IF_ERROR(Run(sql_.put_node, "change the nodes"));
    }
    for (const std::string& name : remove) {
      sql_.remove_node.BindText(1, name);
      TRACKBED_RETURN_IF_ERROR(Run(sql_.remove_node, "change the nodes"));
    }
    return PostRequest({0, Request::Kind::look_at_nodes, ""}, now);
  });
}

Status SqliteStore::PostRequest(const Request& request, Time now) {
  sql_.post_request.Bind(1, ToNanoseconds(now));
  sql_.post_request.Bind(2, static_cast<int64_t>(request.kind));
  sql_.post_request.BindText(3, request.run);
  sql_.post_request.BindBlob(4, request.detail);
  return Run(sql_.post_request, "post a request");
}

StatusOr<std::vector<Request>> SqliteStore::ReadRequests() {
  Statement& row = sql_.read_requests;
  ResetOnExit reset(row);
  std::vector<Request> requests;
  int code = SQLITE_OK;
  while ((code = row.Step()) == SQLITE_ROW) {
    if (!row.IsTrue(4)) return Damaged("a request");
    requests.push_back(
        {row.Integer(0), static_cast<Request::Kind>(row.Integer(1)), row.Bytes(2), row.Bytes(3)});
  }
  if (code != SQLITE_DONE) return Error("read the requests");
  return requests;
}

}  // namespace

StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path,
                                                 const SqliteStoreOptions& options) {
  auto store = std::make_unique<SqliteStore>();
  TRACKBED_RETURN_IF_ERROR(store->Open(path, options, /*unchanging=*/false));
  return store;
}

StatusOr<std::unique_ptr<Store>> OpenUnchangingStore(const std::string& path) {
  SqliteStoreOptions options;
  options.read_only = true;
  auto store = std::make_unique<SqliteStore>();
  TRACKBED_RETURN_IF_ERROR(store->Open(path, options, /*unchanging=*/true));
  return store;
}

std::string UnchangingName(const std::string& path) {
  // An absolute path comes after a host, of which there is none.
  std::string name = path.starts_with('/') ? "file://" : "file:";
  for (const char c : path) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '/') {
      name += c;
    } else {
      absl::StrAppend(&name, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return name + "?immutable=1";
}

}  // namespace trackbed
