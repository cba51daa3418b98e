// Looking after a store in a file: is it sound, and a copy of it while it is in use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/store.hpp"

namespace trackbed {

struct StoreReport {
  int64_t runs = 0;
  int64_t events = 0;
  int64_t cached = 0;  // results
  // What is wrong, a sentence each; none: everything that is stored can be read and makes sense.
  std::vector<std::string> findings;
};

// {"runs":3,"events":120,"cached":2,"findings":[]}, on one line.
std::string StoreReportToJson(const StoreReport& report);

// Reads all of the store in the file `path` and changes nothing; engines may work on it meanwhile.
// SQLite's own check of pages and indexes, the digest of every row, every run folded from its
// events, every cached result decoded, the lease compared with `now`. Takes time in proportion to
// the size of the store. Damage is a finding; an error only that it cannot be told: kNotFound,
// kFailedPrecondition (no permission, another format), kDataLoss (no store), kUnavailable (the disk
// fails, or somebody keeps the store locked), kResourceExhausted (no memory).
StatusOr<StoreReport> CheckStore(const std::string& path, Time now,
                                 const SqliteStoreOptions& options = {});

// Copies the store in the file `from`, as it is at one moment, to the new file `to` (mode 0600),
// and checks the copy; engines may work on the store meanwhile. What is not whole and sound is not
// left under that name. kAlreadyExists when there is something, kDataLoss naming the first finding,
// and the errors of CheckStore. `options` are those of reading `from`.
StatusOr<StoreReport> BackupStore(const std::string& from, const std::string& to, Time now,
                                  const SqliteStoreOptions& options = {});

}  // namespace trackbed
