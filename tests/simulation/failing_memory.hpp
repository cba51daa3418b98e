// SQLite's memory, which can be made to be out at any place. For programs with failing_memory.cc in
// them; not thread-safe.
#pragma once

#include <cstdint>

namespace trackbed {

// From now on the n-th allocation of SQLite's fails (1: the next), or it and all later ones; until
// Mend or the end of the object.
class FailingSqliteMemory {
 public:
  FailingSqliteMemory(int64_t n, bool for_good);
  ~FailingSqliteMemory() { Mend(); }
  FailingSqliteMemory(const FailingSqliteMemory&) = delete;
  FailingSqliteMemory& operator=(const FailingSqliteMemory&) = delete;

  // True when an allocation has failed.
  bool Mend();
};

// Of thousands of allocations every so many fail in turn: $TRACKBED_TORTURE_STRIDE, or 7.
int64_t SqliteMemoryStride();

}  // namespace trackbed
