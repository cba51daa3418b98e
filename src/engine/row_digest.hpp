// A digest of a row, as a function of SQL: each row of a store carries one, so that a byte that a
// disk changed is found where SQLite does not look, in the values.
#pragma once

#include <sqlite3.h>

namespace trackbed {

// Makes row_digest(VALUE, …) known to `database`: 64 bits of the SHA-256 of the values and their
// types, as an integer. Returns SQLite's code.
int AddRowDigest(sqlite3* database);

}  // namespace trackbed
