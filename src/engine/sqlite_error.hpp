// What SQLite and the file system say of a store, in the words of our codes.
#pragma once

#include <sqlite3.h>

#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Whether that value of errno says that there is no room: on the disk, for the user, in one file.
bool IsOutOfSpace(int system_error);

// The error of the last call on `database`, which was to do `doing` with the store `path`. To be
// called before anything else changes errno.
Status SqliteError(sqlite3* database, std::string_view path, std::string_view doing);

}  // namespace trackbed
