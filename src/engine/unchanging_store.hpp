// Reading a store in a file that nobody changes meanwhile, as a copy that nobody knows of yet.
// SQLite then makes no file beside it, by which connections would agree and for which there may be
// no room.
#pragma once

#include <memory>
#include <string>

#include "trackbed/base/status.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {

// What SQLite is to open for it, with SQLITE_OPEN_URI and SQLITE_OPEN_READONLY.
std::string UnchangingName(const std::string& path);

// Errors as of OpenSqliteStore.
StatusOr<std::unique_ptr<Store>> OpenUnchangingStore(const std::string& path);

}  // namespace trackbed
