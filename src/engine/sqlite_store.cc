// The Store in one SQLite file.
//
// One row an event, clustered by run, so that reading a run is one range scan and no object grows
// with it. Writes happen in one transaction a commit, which first checks the fence of the lease.
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "engine/lease.hpp"
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
)sql"};
constexpr int kFormat = std::size(kFormats);

// One prepared statement. Values are bound from 1 and read from 0, as in SQLite.
class Statement {
 public:
  Statement() = default;
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  int Prepare(sqlite3* database, std::string_view sql) {
    return sqlite3_prepare_v3(database, sql.data(), static_cast<int>(sql.size()),
                              SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  }

  void Bind(int index, int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  void BindNull(int index) { sqlite3_bind_null(statement_, index); }
  // The bytes must stay until the next Reset.
  void BindText(int index, std::string_view text) {
    sqlite3_bind_text64(statement_, index, text.data() == nullptr ? "" : text.data(), text.size(),
                        SQLITE_STATIC, SQLITE_UTF8);
  }
  void BindBlob(int index, std::string_view bytes) {
    sqlite3_bind_blob64(statement_, index, bytes.data() == nullptr ? "" : bytes.data(),
                        bytes.size(), SQLITE_STATIC);
  }

  int Step() { return sqlite3_step(statement_); }
  void Reset() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

  int64_t Integer(int column) const { return sqlite3_column_int64(statement_, column); }
  bool IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::string Bytes(int column) const {
    const void* data = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return data == nullptr ? std::string()
                           : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

// Resets a statement when the scope ends, so that no read transaction is left open.
class ResetOnExit {
 public:
  explicit ResetOnExit(Statement& statement) : statement_(statement) {}
  ~ResetOnExit() { statement_.Reset(); }
  ResetOnExit(const ResetOnExit&) = delete;
  ResetOnExit& operator=(const ResetOnExit&) = delete;

 private:
  Statement& statement_;
};

class SqliteStore final : public Store {
 public:
  SqliteStore() = default;
  ~SqliteStore() override;

  Status Open(const std::string& path, const SqliteStoreOptions& options);

  StatusOr<Lease> AcquireLease(const LeaseHolder& holder, Time now, Duration ttl,
                               const std::function<bool(const LeaseHolder&)>& is_gone) override;
  Status ReleaseLease(uint64_t fence) override;
  StatusOr<Lease> ReadLease() override;
  StatusOr<RunRecord> AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                             const Event& submitted) override;
  Status Commit(uint64_t fence, const Batch& batch) override;
  StatusOr<RunRecord> FindRun(const RunId& id) override;
  StatusOr<std::vector<RunRecord>> ListRuns(size_t limit) override;
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
  Status PostRequest(const Request& request, Time now) override;
  StatusOr<std::vector<Request>> ReadRequests() override;

 private:
  Status Error(std::string_view doing) const;
  Status Execute(const char* sql, std::string_view doing);
  StatusOr<int> ReadFormat();
  Status BringUpToDate();
  Status UseWriteAheadLog();
  Status PrepareStatements();
  // Runs `body` in one transaction: all of it is stored, or nothing.
  Status InTransaction(std::string_view doing, const std::function<Status()>& body);
  // Runs a statement that returns no rows and resets it.
  Status Run(Statement& statement, std::string_view doing);
  Status WriteEvent(int64_t run, uint64_t sequence, const Event& event);
  StatusOr<std::optional<CacheEntry>> ReadCacheEntry(Statement& statement);

  std::string path_;
  sqlite3* database_ = nullptr;
  struct {
    Statement begin, commit, rollback;
    Statement read_lease, write_lease, renew_lease, release_lease;
    Statement add_pipeline, add_run, add_event, set_status;
    Statement find_run, list_runs, read_pipeline, read_events;
    Statement put_cache, find_cached, find_last_cached;
    Statement post_request, read_requests, delete_request;
  } sql_;
};

// Closes the connection; SQLite keeps it until the statements, destroyed after this, are gone.
SqliteStore::~SqliteStore() { sqlite3_close_v2(database_); }

// What SQLite says, in the words of our codes.
Status SqliteStore::Error(std::string_view doing) const {
  // SQLite does not always keep the number of a failed write; nothing has changed errno since.
  const int last_error = errno;
  const int code = sqlite3_errcode(database_);
  const int system_error = sqlite3_system_errno(database_);
  const int os_error = system_error != 0 ? system_error : last_error;
  std::string message =
      absl::StrCat(path_, ": cannot ", AbslView(doing), ": ", sqlite3_errmsg(database_));
  switch (code) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISUSE:
      return Internal(message);
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
      return DataLoss(absl::StrCat(path_, ": cannot ", AbslView(doing), ": a row is missing"));
    case SQLITE_FULL:
      return ResourceExhausted(absl::StrCat(message, " (is the disk full?)"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DataLoss(message);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
      return FailedPrecondition(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Unavailable(message);
    default:
      break;
  }
  const bool is_full = os_error == ENOSPC || os_error == EDQUOT || os_error == EFBIG;
  if (code == SQLITE_IOERR && is_full) {
    return ResourceExhausted(absl::StrCat(message, " (", std::strerror(os_error), ")"));
  }
  return Unavailable(message);
}

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
  return error == ENOSPC || error == EDQUOT ? ResourceExhausted(message)
                                            : FailedPrecondition(message);
}

Status SqliteStore::Open(const std::string& path, const SqliteStoreOptions& options) {
  path_ = path;
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
              (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
  if (!options.read_only && options.vfs.empty()) {
    TRACKBED_RETURN_IF_ERROR(CreatePrivateFile(path));
  } else if (!options.read_only) {
    flags |= SQLITE_OPEN_CREATE;
  }
  const char* vfs = options.vfs.empty() ? nullptr : options.vfs.c_str();
  if (sqlite3_open_v2(path.c_str(), &database_, flags, vfs) != SQLITE_OK) {
    return Error("open the store");
  }
  sqlite3_extended_result_codes(database_, 0);
  sqlite3_busy_timeout(database_, kBusyMilliseconds);
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
    if ((code != SQLITE_BUSY && code != SQLITE_LOCKED) || i == kTries) {
      return Error("open the store");
    }
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

Status SqliteStore::PrepareStatements() {
  const struct {
    Statement& statement;
    const char* sql;
  } all[] = {
      {sql_.begin, "BEGIN IMMEDIATE"},
      {sql_.commit, "COMMIT"},
      {sql_.rollback, "ROLLBACK"},
      {sql_.read_lease,
       "SELECT fence, expires_ns, host, boot_id, process, process_start, description, node"
       " FROM lease"},
      {sql_.write_lease,
       "UPDATE lease SET fence=?, expires_ns=?, host=?, boot_id=?, process=?, process_start=?,"
       " description=?, node=?"},
      {sql_.renew_lease, "UPDATE lease SET expires_ns=?"},
      {sql_.release_lease, "UPDATE lease SET expires_ns=0 WHERE fence=?"},
      {sql_.add_pipeline, "INSERT OR IGNORE INTO pipelines VALUES(?, ?)"},
      {sql_.add_run, "INSERT INTO runs VALUES(NULL, ?, ?, ?, ?, ?, ?)"},
      {sql_.add_event, "INSERT INTO events VALUES(?, ?, ?, ?, ?, ?, ?)"},
      {sql_.set_status, "UPDATE runs SET status=?, finished_ns=? WHERE number=?"},
      {sql_.find_run,
       "SELECT number, id, pipeline, version, submitted_ns, status, finished_ns FROM runs"
       " WHERE id=?"},
      {sql_.list_runs,
       "SELECT number, id, pipeline, version, submitted_ns, status, finished_ns FROM runs"
       " ORDER BY number DESC LIMIT ?"},
      {sql_.read_pipeline, "SELECT document FROM pipelines WHERE version=?"},
      {sql_.read_events,
       "SELECT sequence, time_ns, type, task, attempt, detail FROM events"
       " WHERE run=? AND sequence>=? ORDER BY sequence"},
      {sql_.put_cache, "INSERT OR REPLACE INTO cache VALUES(?, ?, ?, ?, ?)"},
      {sql_.find_cached, "SELECT key, pipeline, task, time_ns, detail FROM cache WHERE key=?"},
      {sql_.find_last_cached,
       "SELECT key, pipeline, task, time_ns, detail FROM cache"
       " WHERE pipeline=? AND task=? AND time_ns<? ORDER BY time_ns DESC LIMIT 1"},
      {sql_.post_request, "INSERT INTO requests VALUES(NULL, ?, ?, ?)"},
      {sql_.read_requests, "SELECT number, kind, run FROM requests ORDER BY number"},
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
  Status status = code == SQLITE_DONE || code == SQLITE_ROW ? absl::OkStatus() : Error(doing);
  statement.Reset();
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
  sql_.release_lease.Bind(1, static_cast<int64_t>(fence));
  return Run(sql_.release_lease, "give the lease back");
}

StatusOr<RunRecord> SqliteStore::AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                                        const Event& submitted) {
  RunRecord added = record;
  Status status = InTransaction("add a run", [&]() -> Status {
    {
      ResetOnExit reset(sql_.find_run);
      sql_.find_run.BindText(1, record.id);
      if (sql_.find_run.Step() == SQLITE_ROW) {
        return AlreadyExists(absl::StrCat("run ", record.id, " exists"));
      }
    }
    sql_.add_pipeline.BindText(1, record.version);
    sql_.add_pipeline.BindBlob(2, encoded_pipeline);
    TRACKBED_RETURN_IF_ERROR(Run(sql_.add_pipeline, "add a pipeline"));
    sql_.add_run.BindText(1, record.id);
    sql_.add_run.BindText(2, record.pipeline);
    sql_.add_run.BindText(3, record.version);
    sql_.add_run.Bind(4, ToNanoseconds(record.submitted));
    sql_.add_run.Bind(5, static_cast<int64_t>(record.status));
    sql_.add_run.Bind(6, ToNanoseconds(record.finished));
    TRACKBED_RETURN_IF_ERROR(Run(sql_.add_run, "add a run"));
    added.number = sqlite3_last_insert_rowid(database_);
    return WriteEvent(added.number, 1, submitted);
  });
  if (!status.ok()) return status;
  return added;
}

Status SqliteStore::WriteEvent(int64_t run, uint64_t sequence, const Event& event) {
  Statement& insert = sql_.add_event;
  insert.Bind(1, run);
  insert.Bind(2, static_cast<int64_t>(sequence));
  insert.Bind(3, ToNanoseconds(event.time));
  insert.Bind(4, static_cast<int64_t>(event.type));
  if (event.task != kNoTask) insert.Bind(5, event.task);
  if (event.attempt != 0) insert.Bind(6, event.attempt);
  if (!event.detail.empty()) insert.BindBlob(7, event.detail);
  return Run(insert, "write an event");
}

Status SqliteStore::Commit(uint64_t fence, const Batch& batch) {
  return InTransaction("commit", [&]() -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const Lease lease, ReadLease());
    if (lease.fence != fence) return LeaseLost(lease);
    for (const Batch::NewEvent& added : batch.events) {
      TRACKBED_RETURN_IF_ERROR(WriteEvent(added.run, added.sequence, added.event));
    }
    for (const Batch::StatusChange& change : batch.status_changes) {
      sql_.set_status.Bind(1, static_cast<int64_t>(change.status));
      sql_.set_status.Bind(2, ToNanoseconds(change.finished));
      sql_.set_status.Bind(3, change.run);
      TRACKBED_RETURN_IF_ERROR(Run(sql_.set_status, "change the status of a run"));
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
  Statement& row = sql_.find_run;
  ResetOnExit reset(row);
  row.BindText(1, id);
  const int code = row.Step();
  if (code == SQLITE_DONE) return NotFound(absl::StrCat("there is no run \"", id, "\""));
  if (code != SQLITE_ROW) return Error("read the runs");
  return ReadRunRecord(row);
}

StatusOr<std::vector<RunRecord>> SqliteStore::ListRuns(size_t limit) {
  Statement& row = sql_.list_runs;
  ResetOnExit reset(row);
  row.Bind(1, static_cast<int64_t>(limit));
  std::vector<RunRecord> records;
  int code = SQLITE_OK;
  while ((code = row.Step()) == SQLITE_ROW) records.push_back(ReadRunRecord(row));
  if (code != SQLITE_DONE) return Error("read the runs");
  return records;
}

StatusOr<std::string> SqliteStore::ReadPipeline(const std::string& version) {
  Statement& row = sql_.read_pipeline;
  ResetOnExit reset(row);
  row.BindText(1, version);
  const int code = row.Step();
  if (code == SQLITE_DONE) return NotFound(absl::StrCat("there is no pipeline ", version));
  if (code != SQLITE_ROW) return Error("read a pipeline");
  return row.Bytes(0);
}

Status SqliteStore::ReadSomeEvents(int64_t run, uint64_t from, size_t limit,
                                   const std::function<void(uint64_t, Event)>& visit) {
  Statement& row = sql_.read_events;
  ResetOnExit reset(row);
  row.Bind(1, run);
  row.Bind(2, static_cast<int64_t>(from));
  int code = SQLITE_DONE;
  for (; limit > 0 && (code = row.Step()) == SQLITE_ROW; --limit) {
    Event event;
    event.time = FromNanoseconds(row.Integer(1));
    event.type = static_cast<EventType>(row.Integer(2));
    if (!row.IsNull(3)) event.task = static_cast<TaskIndex>(row.Integer(3));
    event.attempt = static_cast<uint32_t>(row.Integer(4));
    if (!row.IsNull(5)) event.detail = row.Bytes(5);
    visit(static_cast<uint64_t>(row.Integer(0)), std::move(event));
  }
  return code == SQLITE_DONE || code == SQLITE_ROW ? absl::OkStatus()
                                                   : Error("read the events of a run");
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

Status SqliteStore::PostRequest(const Request& request, Time now) {
  sql_.post_request.Bind(1, ToNanoseconds(now));
  sql_.post_request.Bind(2, static_cast<int64_t>(request.kind));
  sql_.post_request.BindText(3, request.run);
  return Run(sql_.post_request, "post a request");
}

StatusOr<std::vector<Request>> SqliteStore::ReadRequests() {
  Statement& row = sql_.read_requests;
  ResetOnExit reset(row);
  std::vector<Request> requests;
  int code = SQLITE_OK;
  while ((code = row.Step()) == SQLITE_ROW) {
    requests.push_back({row.Integer(0), static_cast<Request::Kind>(row.Integer(1)), row.Bytes(2)});
  }
  if (code != SQLITE_DONE) return Error("read the requests");
  return requests;
}

}  // namespace

StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path,
                                                 const SqliteStoreOptions& options) {
  auto store = std::make_unique<SqliteStore>();
  TRACKBED_RETURN_IF_ERROR(store->Open(path, options));
  return store;
}

}  // namespace trackbed
