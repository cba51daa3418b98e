#include "trackbed/engine/store_check.hpp"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/row_digest.hpp"
#include "engine/sqlite_error.hpp"
#include "engine/sqlite_statement.hpp"
#include "engine/unchanging_store.hpp"
#include "trackbed/engine/engine.hpp"

namespace trackbed {
namespace {

// A store in pieces has a finding for each; nobody reads more.
constexpr size_t kMaxFindings = 100;
// No engine asks for longer.
constexpr Duration kLongestLease = std::chrono::hours(24);
constexpr int kBusyMilliseconds = 10'000;

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

StatusOr<Database> OpenDatabase(const std::string& path, int flags, const std::string& vfs) {
  sqlite3* opened = nullptr;
  int code =
      sqlite3_open_v2(path.c_str(), &opened, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                      vfs.empty() ? nullptr : vfs.c_str());
  Database database(opened);
  if (code == SQLITE_OK) {
    sqlite3_busy_timeout(opened, kBusyMilliseconds);
    code = AddRowDigest(opened);
  }
  if (code != SQLITE_OK) return SqliteError(opened, path, "open the store");
  return database;
}

// Rows that should not be, each with a name for it.
struct Rule {
  const char* what;
  const char* sql;
};
constexpr Rule kRules[] = {
    {"damaged: the lease",
     "SELECT '' FROM lease WHERE digest IS NOT row_digest(fence, expires_ns, host, boot_id,"
     " process, process_start, description, node)"},
    {"there is no lease", "SELECT '' WHERE NOT EXISTS(SELECT 1 FROM lease)"},
    {"damaged: run ",
     "SELECT id FROM runs WHERE digest IS NOT row_digest(number, id, pipeline, version,"
     " submitted_ns, status, finished_ns)"},
    {"damaged: pipeline ",
     "SELECT version FROM pipelines WHERE digest IS NOT row_digest(version, document)"},
    {"damaged: ",
     "SELECT CASE type WHEN 0 THEN 'the end' ELSE 'event ' || sequence END ||"
     " ' of run number ' || run FROM events WHERE digest IS NOT"
     " row_digest(run, sequence, time_ns, type, task, attempt, detail)"},
    {"damaged: cached result ",
     "SELECT key FROM cache WHERE digest IS NOT row_digest(key, pipeline, task, time_ns, detail)"},
    {"damaged: request number ",
     "SELECT number FROM requests WHERE digest IS NOT row_digest(time_ns, kind, run, detail)"},
    {"damaged: node ",
     "SELECT name FROM nodes WHERE digest IS NOT row_digest(name, description, drained)"},
    {"there are events, and no run, of number ",
     "SELECT DISTINCT run FROM events WHERE run NOT IN (SELECT number FROM runs)"},
};

class Check {
 public:
  Check(std::string path, sqlite3* database, Time now)
      : path_(std::move(path)), database_(database), now_(now) {}

  StatusOr<StoreReport> Run(Store& store) {
    std::vector<std::string> runs;
    TRACKBED_RETURN_IF_ERROR(CheckRows(&runs));
    TRACKBED_RETURN_IF_ERROR(CheckLease(store));
    for (const std::string& run : runs) TRACKBED_RETURN_IF_ERROR(CheckRun(store, run));
    return std::move(report_);
  }

 private:
  void Find(std::string finding) {
    if (report_.findings.size() < kMaxFindings) report_.findings.push_back(std::move(finding));
  }

  // What could not be read is a finding where that is for damage; else nobody knows whether there
  // is any.
  Status Judge(const Status& status, std::string_view what) {
    if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) return status;
    Find(absl::StrCat(AbslView(what), AbslView(Message(status))));
    return absl::OkStatus();
  }

  template <typename Body>
  Status Visit(const char* sql, const Body& body) {
    Statement row;
    int code = row.Prepare(database_, sql);
    if (code == SQLITE_OK) {
      while ((code = row.Step()) == SQLITE_ROW) body(row);
    }
    return code == SQLITE_DONE ? absl::OkStatus()
                               : Judge(SqliteError(database_, path_, "read the store"), "");
  }

  // Of one moment, so that what an engine does meanwhile is not taken for damage.
  Status CheckRows(std::vector<std::string>* runs) {
    if (sqlite3_exec(database_, "BEGIN", nullptr, nullptr, nullptr) != SQLITE_OK) {
      return SqliteError(database_, path_, "read the store");
    }
    TRACKBED_RETURN_IF_ERROR(CheckPages());
    for (const Rule& rule : kRules) {
      TRACKBED_RETURN_IF_ERROR(Visit(
          rule.sql, [&](const Statement& row) { Find(absl::StrCat(rule.what, row.Bytes(0))); }));
    }
    TRACKBED_RETURN_IF_ERROR(CheckCache());
    TRACKBED_RETURN_IF_ERROR(Visit("SELECT count(*) FROM events WHERE type<>0",
                                   [&](const Statement& row) { report_.events = row.Integer(0); }));
    TRACKBED_RETURN_IF_ERROR(Visit("SELECT id FROM runs ORDER BY number",
                                   [&](const Statement& row) { runs->push_back(row.Bytes(0)); }));
    report_.runs = static_cast<int64_t>(runs->size());
    (void)sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
    return absl::OkStatus();
  }

  Status CheckPages() {
    Status readable = absl::OkStatus();
    TRACKBED_RETURN_IF_ERROR(Visit("PRAGMA integrity_check", [&](const Statement& row) {
      const std::string told = row.Bytes(0);
      // That a page cannot be read, for which the disk is to blame, SQLite tells like damage here.
      if (told.find("unable to get the page") != std::string::npos ||
          told.find("failed to get page") != std::string::npos) {
        readable = Unavailable(absl::StrCat(path_, ": cannot read the store: ", told));
      } else if (told != "ok") {
        Find(absl::StrCat("SQLite: ", told));
      }
    }));
    return readable;
  }

  Status CheckCache() {
    return Visit("SELECT key, detail FROM cache", [&](const Statement& row) {
      ++report_.cached;
      TaskCached cached;
      const Status status = Decode(row.Bytes(1), &cached);
      if (!status.ok()) {
        Find(absl::StrCat("cached result ", row.Bytes(0), ": ", AbslView(Message(status))));
      } else if (cached.cache_key != row.Bytes(0)) {
        Find(absl::StrCat("cached result ", row.Bytes(0), " is that of ", cached.cache_key));
      }
    });
  }

  Status CheckLease(Store& store) {
    const StatusOr<Lease> lease = store.ReadLease();
    if (!lease.ok()) return Judge(lease.status(), "");
    if (lease->expires > now_ + kLongestLease) {
      Find(absl::StrCat("the lease of ", lease->holder.ToString(), " ends at ",
                        FormatTime(lease->expires), ", further away than any is given"));
    }
    return absl::OkStatus();
  }

  // The record is a copy of what the events say. An engine may be adding to both while they are
  // read, so that they have to differ twice, with nothing added between.
  Status CheckRun(Store& store, const RunId& id) {
    std::optional<uint64_t> differed_at;
    while (true) {
      const StatusOr<StoredRun> run = LoadRun(store, id);
      if (!run.ok()) return Judge(run.status(), absl::StrCat("run ", id, ": "));
      const RunState& state = *run->state;
      if (state.status() == run->record.status &&
          (state.status() == RunStatus::running || state.finished_at() == run->record.finished)) {
        return absl::OkStatus();
      }
      if (differed_at == state.sequence()) {
        Find(absl::StrCat("run ", id, " is listed as ", AbslView(ToString(run->record.status)),
                          ", and its events say ", AbslView(ToString(state.status()))));
        return absl::OkStatus();
      }
      differed_at = state.sequence();
    }
  }

  std::string path_;
  sqlite3* database_;
  Time now_;
  StoreReport report_;
};

Status Sync(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = file >= 0 && ::fsync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  return synced ? absl::OkStatus()
                : Unavailable(absl::StrCat(path, ": cannot flush it: ", std::strerror(error)));
}

// In one step, and so of one moment; writers go on meanwhile, in the log.
// `name` is what the copy is called in errors.
Status Copy(const std::string& from, const std::string& vfs, const std::string& to,
            const std::string& name) {
  TRACKBED_ASSIGN_OR_RETURN(const Database source, OpenDatabase(from, SQLITE_OPEN_READONLY, vfs));
  TRACKBED_ASSIGN_OR_RETURN(const Database target, OpenDatabase(to, SQLITE_OPEN_READWRITE, ""));
  sqlite3_backup* backup = sqlite3_backup_init(target.get(), "main", source.get(), "main");
  if (backup != nullptr) (void)sqlite3_backup_step(backup, -1);
  // What went wrong at either end is kept with the target.
  (void)sqlite3_backup_finish(backup);
  if (sqlite3_errcode(target.get()) == SQLITE_OK) return absl::OkStatus();
  return SqliteError(target.get(), name, absl::StrCat("copy ", from, " there"));
}

StatusOr<StoreReport> CheckUnchanging(const std::string& path, Time now) {
  TRACKBED_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, OpenUnchangingStore(path));
  TRACKBED_ASSIGN_OR_RETURN(
      const Database database,
      OpenDatabase(UnchangingName(path), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, ""));
  return Check(path, database.get(), now).Run(*store);
}

// Where nothing can be written, nothing can be made beside the store either, and nobody changes it.
// With a log beside it, it is not whole by itself.
bool IsWholeAndReadOnly(const std::string& path) {
  return ::access(path.c_str(), W_OK) != 0 && errno == EROFS &&
         ::access(absl::StrCat(path, "-wal").c_str(), F_OK) != 0;
}

void RemoveStore(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    ::unlink(absl::StrCat(path, suffix).c_str());
  }
}

Status CheckThatItIsThere(const std::string& path, const SqliteStoreOptions& options) {
  // A file system of SQLite's own knows its files by itself.
  if (!options.vfs.empty() || ::access(path.c_str(), F_OK) == 0 || errno != ENOENT) {
    return absl::OkStatus();
  }
  return NotFound(absl::StrCat("there is no store ", path));
}

}  // namespace

std::string StoreReportToJson(const StoreReport& report) {
  const nlohmann::ordered_json json = {{"runs", report.runs},
                                       {"events", report.events},
                                       {"cached", report.cached},
                                       {"findings", report.findings}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

StatusOr<StoreReport> CheckStore(const std::string& path, Time now,
                                 const SqliteStoreOptions& options) {
  SqliteStoreOptions reading = options;
  reading.read_only = true;
  // Sees to it that this is a store, and of this format.
  TRACKBED_RETURN_IF_ERROR(CheckThatItIsThere(path, options));
  if (options.vfs.empty() && IsWholeAndReadOnly(path)) return CheckUnchanging(path, now);
  TRACKBED_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, OpenSqliteStore(path, reading));
  TRACKBED_ASSIGN_OR_RETURN(const Database database,
                            OpenDatabase(path, SQLITE_OPEN_READONLY, options.vfs));
  return Check(path, database.get(), now).Run(*store);
}

StatusOr<StoreReport> BackupStore(const std::string& from, const std::string& to, Time now,
                                  const SqliteStoreOptions& options) {
  SqliteStoreOptions reading = options;
  reading.read_only = true;
  // Before anything is made: what is no store, or of another format, is not copied.
  TRACKBED_RETURN_IF_ERROR(CheckThatItIsThere(from, options));
  TRACKBED_RETURN_IF_ERROR(OpenSqliteStore(from, reading).status());
  const std::string part = absl::StrCat(to, ".part");
  RemoveStore(part);
  const int file = ::open(part.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) {
    return FailedPrecondition(absl::StrCat(part, ": cannot make it: ", std::strerror(errno)));
  }
  ::close(file);
  StoreReport report;
  Status status = Copy(from, options.vfs, part, to);
  if (status.ok()) {
    StatusOr<StoreReport> checked = CheckUnchanging(part, now);
    status = checked.status();
    if (checked.ok()) report = *std::move(checked);
  }
  if (status.ok() && !report.findings.empty()) {
    status = DataLoss(absl::StrCat(from, ": the copy is not sound: ", report.findings[0]));
  }
  if (status.ok()) status = Sync(part);
  // Never in the place of another file.
  if (status.ok() && ::link(part.c_str(), to.c_str()) != 0) {
    const std::string message = absl::StrCat(to, ": cannot make it: ", std::strerror(errno));
    status = errno == EEXIST ? AlreadyExists(message) : FailedPrecondition(message);
  }
  RemoveStore(part);
  if (!status.ok()) return status;
  return report;
}

}  // namespace trackbed
