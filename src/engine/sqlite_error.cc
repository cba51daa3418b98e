#include "engine/sqlite_error.hpp"

#include <absl/strings/str_cat.h>

#include <cerrno>
#include <cstring>

namespace trackbed {

bool IsOutOfSpace(int system_error) {
  return system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG;
}

Status SqliteError(sqlite3* database, std::string_view path, std::string_view doing) {
  // SQLite does not always keep the number of a failed write; nothing has changed errno since.
  const int last_error = errno;
  const int code = sqlite3_errcode(database);
  const int kept_error = sqlite3_system_errno(database);
  const int system_error = kept_error != 0 ? kept_error : last_error;
  const std::string where = absl::StrCat(AbslView(path), ": cannot ", AbslView(doing), ": ");
  const std::string message = absl::StrCat(where, sqlite3_errmsg(database));
  switch (code) {
    case SQLITE_MISUSE:
      return Internal(message);
    case SQLITE_DONE:
      return DataLoss(absl::StrCat(where, "a row is missing"));
    case SQLITE_NOMEM:
      return ResourceExhausted(message);
    case SQLITE_FULL:
      return ResourceExhausted(absl::StrCat(message, " (is the disk full?)"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT:  // what is there is looked at before it is added to
    case SQLITE_ERROR:       // our SQL does not fit what is there
      return DataLoss(message);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
      return FailedPrecondition(message);
    case SQLITE_IOERR:
      if (!IsOutOfSpace(system_error)) return Unavailable(message);
      return ResourceExhausted(absl::StrCat(message, " (", std::strerror(system_error), ")"));
    default:
      return Unavailable(message);
  }
}

}  // namespace trackbed
