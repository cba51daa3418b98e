#include "simulation/failing_memory.hpp"

#include <sqlite3.h>

#include <cstdlib>
#include <utility>

namespace trackbed {
namespace {

int64_t left = 0;  // until the one that fails; 0: none does
bool stays = false;
bool happened = false;
sqlite3_mem_methods real;

bool Fails() {
  if (left == 0) return false;
  if (left > 1) {
    --left;
    return false;
  }
  if (!stays) left = 0;
  happened = true;
  return true;
}

void* Allocate(int size) { return Fails() ? nullptr : real.xMalloc(size); }
void* Reallocate(void* memory, int size) { return Fails() ? nullptr : real.xRealloc(memory, size); }

// Before anybody uses SQLite: later it does not take another allocator.
const bool installed = [] {
  if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) != SQLITE_OK) std::abort();
  sqlite3_mem_methods methods = real;
  methods.xMalloc = Allocate;
  methods.xRealloc = Reallocate;
  // Without memory that is put by for small things, which would never be out.
  return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK &&
         sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK;
}();

}  // namespace

FailingSqliteMemory::FailingSqliteMemory(int64_t n, bool for_good) {
  if (!installed) std::abort();
  left = n;
  stays = for_good;
  happened = false;
}

bool FailingSqliteMemory::Mend() {
  left = 0;
  return std::exchange(happened, false);
}

int64_t SqliteMemoryStride() {
  const char* given = std::getenv("TRACKBED_TORTURE_STRIDE");
  const int64_t stride = given == nullptr ? 0 : std::strtoll(given, nullptr, 10);
  return stride > 0 ? stride : 7;
}

}  // namespace trackbed
