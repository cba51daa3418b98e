// What SQLite and the system say, in the words of our codes: every code that there is, and calls of
// the system that fail where no test could make them.
#include <dlfcn.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/engine/store_check.hpp"

namespace {

// What the next call of that kind says instead of doing something; 0: it does it.
struct FailingCalls {
  int open_to_write = 0;
  int open_to_read = 0;
  int fsync = 0;  // of what was opened to be read
  int link = 0;
  bool begin_copy = false;  // SQLite has no copy of that name to begin
} failing_calls;
int opened_to_read = -1;

bool Fails(int* error) {
  if (*error == 0) return false;
  errno = std::exchange(*error, 0);
  return true;
}

}  // namespace

// They stand before the C library's, for all of this program.
extern "C" {
int open(const char* path, int flags, ...) {
  const bool to_read = (flags & O_ACCMODE) == O_RDONLY;
  if (Fails(to_read ? &failing_calls.open_to_read : &failing_calls.open_to_write)) return -1;
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const auto file = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (to_read) opened_to_read = file;
  return file;
}
int fsync(int file) {
  if (file == opened_to_read && Fails(&failing_calls.fsync)) return -1;
  return static_cast<int>(::syscall(SYS_fsync, file));
}
sqlite3_backup* sqlite3_backup_init(sqlite3* to, const char* to_name, sqlite3* from,
                                    const char* from_name) {
  static const auto begin =
      reinterpret_cast<decltype(&sqlite3_backup_init)>(::dlsym(RTLD_NEXT, "sqlite3_backup_init"));
  const bool fails = std::exchange(failing_calls.begin_copy, false);
  return begin(to, to_name, from, fails ? "none" : from_name);
}
int link(const char* from, const char* to) noexcept {
  if (Fails(&failing_calls.link)) return -1;
  return static_cast<int>(::syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}

namespace trackbed {
namespace {

namespace fs = std::filesystem;

// While it lives, whoever opens a database is told `code`, with that errno.
class RefusedDatabase {
 public:
  RefusedDatabase(int code, int system_error) {
    told_code = code;
    told_error = system_error;
    REQUIRE(sqlite3_auto_extension(reinterpret_cast<void (*)()>(Refuse)) == SQLITE_OK);
  }
  ~RefusedDatabase() { sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(Refuse)); }
  RefusedDatabase(const RefusedDatabase&) = delete;
  RefusedDatabase& operator=(const RefusedDatabase&) = delete;

 private:
  static int Refuse(sqlite3* /*database*/, char** /*message*/, const void* /*routines*/) {
    errno = told_error;
    return told_code;
  }
  static inline int told_code = SQLITE_OK;
  static inline int told_error = 0;
};

TEST_CASE("Each code of SQLite's is told in our words") {
  const struct {
    int code;
    int system_error;
    StatusCode expected;
    const char* says;
  } all[] = {
      {SQLITE_MISUSE, 0, StatusCode::kInternal, ""},
      {SQLITE_DONE, 0, StatusCode::kDataLoss, "a row is missing"},
      {SQLITE_NOMEM, 0, StatusCode::kResourceExhausted, "out of memory"},
      {SQLITE_FULL, 0, StatusCode::kResourceExhausted, "(is the disk full?)"},
      {SQLITE_CORRUPT, 0, StatusCode::kDataLoss, ""},
      {SQLITE_NOTADB, 0, StatusCode::kDataLoss, ""},
      {SQLITE_CONSTRAINT, 0, StatusCode::kDataLoss, ""},
      {SQLITE_ERROR, 0, StatusCode::kDataLoss, ""},
      {SQLITE_READONLY, 0, StatusCode::kFailedPrecondition, ""},
      {SQLITE_PERM, 0, StatusCode::kFailedPrecondition, ""},
      {SQLITE_AUTH, 0, StatusCode::kFailedPrecondition, ""},
      {SQLITE_CANTOPEN, 0, StatusCode::kFailedPrecondition, ""},
      {SQLITE_BUSY, 0, StatusCode::kUnavailable, ""},
      {SQLITE_LOCKED, 0, StatusCode::kUnavailable, ""},
      {SQLITE_INTERRUPT, ENOSPC, StatusCode::kUnavailable, ""},
      {SQLITE_IOERR, 0, StatusCode::kUnavailable, ""},
      {SQLITE_IOERR, EIO, StatusCode::kUnavailable, ""},
      {SQLITE_IOERR, ENOSPC, StatusCode::kResourceExhausted, "(No space left on device)"},
      {SQLITE_IOERR, EDQUOT, StatusCode::kResourceExhausted, "(Disk quota exceeded)"},
      {SQLITE_IOERR, EFBIG, StatusCode::kResourceExhausted, "(File too large)"},
  };
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  REQUIRE(OpenSqliteStore(path).ok());
  for (const auto& each : all) {
    const RefusedDatabase refused(each.code, each.system_error);
    for (const Status& status : {OpenSqliteStore(path).status(), CheckStore(path, Time{}).status(),
                                 BackupStore(path, folder / "copy.db", Time{}).status()}) {
      CAPTURE(each.code, each.system_error, status);
      CHECK(status.code() == each.expected);
      CHECK(Message(status).starts_with(path + ": cannot open the store: "));
      CHECK(Message(status).find(each.says) != std::string_view::npos);
    }
  }
  CHECK(OpenSqliteStore(path).ok());
}

// While it lives, it knows the database that was opened last.
class OpenedDatabase {
 public:
  OpenedDatabase() {
    REQUIRE(sqlite3_auto_extension(reinterpret_cast<void (*)()>(Note)) == SQLITE_OK);
  }
  ~OpenedDatabase() { sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(Note)); }
  OpenedDatabase(const OpenedDatabase&) = delete;
  OpenedDatabase& operator=(const OpenedDatabase&) = delete;

  static inline sqlite3* last = nullptr;

 private:
  static int Note(sqlite3* database, char** /*message*/, const void* /*routines*/) {
    last = database;
    return SQLITE_OK;
  }
};

TEST_CASE("What a host interrupts is told, and the store goes on") {
  TemporaryFolder folder;
  const OpenedDatabase opened;
  const auto store = OpenSqliteStore(folder / "trackbed.db");
  REQUIRE(store.ok());
  RunRecord record;
  record.id = "p-1";
  REQUIRE((*store)->AddRun(record, "", {Time{}, kNoTask, 0, EventType::run_submitted, ""}).ok());
  int visited = 0;
  const Status status = (*store)->ReadEvents(1, 1, [&](uint64_t, const Event&) {
    ++visited;
    sqlite3_interrupt(OpenedDatabase::last);
    CHECK(absl::IsUnavailable((*store)->ListRuns(10).status()));
  });
  CHECK(visited == 1);
  CHECK(absl::IsUnavailable(status));
  CHECK((*store)->ListRuns(10)->size() == 1);
  CHECK((*store)->ReadEvents(1, 1, [&](uint64_t, const Event&) { ++visited; }).ok());
  CHECK(visited == 2);
}

TEST_CASE("A file that cannot be made for want of room is told so") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  for (const int error : {ENOSPC, EDQUOT}) {
    failing_calls.open_to_write = error;
    const Status refused = OpenSqliteStore(path).status();
    CAPTURE(refused);
    CHECK(absl::IsResourceExhausted(refused));
    CHECK(Message(refused).starts_with(path + ": cannot open the store: "));
    CHECK_FALSE(fs::exists(path));
  }
  failing_calls.open_to_write = EMFILE;
  CHECK(absl::IsFailedPrecondition(OpenSqliteStore(path).status()));
  CHECK(OpenSqliteStore(path).ok());
}

TEST_CASE("A copy that is not on the disk for certain, or cannot get its name, is none") {
  TemporaryFolder folder;
  const std::string path = folder / "trackbed.db";
  const std::string copy = folder / "copy.db";
  REQUIRE(OpenSqliteStore(path).ok());
  const auto refused = [&](StatusCode code, const std::string& message) {
    const Status status = BackupStore(path, copy, Time{}).status();
    CHECK(status.code() == code);
    CHECK(Message(status) == message);
    CHECK_FALSE(fs::exists(copy));
    CHECK_FALSE(fs::exists(copy + ".part"));
  };
  failing_calls.begin_copy = true;
  refused(StatusCode::kDataLoss, copy + ": cannot copy " + path + " there: unknown database none");
  failing_calls.open_to_read = EMFILE;
  refused(StatusCode::kUnavailable, copy + ".part: cannot flush it: Too many open files");
  failing_calls.fsync = EIO;
  refused(StatusCode::kUnavailable, copy + ".part: cannot flush it: Input/output error");
  failing_calls.link = EPERM;
  refused(StatusCode::kFailedPrecondition, copy + ": cannot make it: Operation not permitted");
  REQUIRE(BackupStore(path, copy, Time{}).ok());
}

}  // namespace
}  // namespace trackbed
