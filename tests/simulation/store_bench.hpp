// A store on a simulated disk, with a process that uses it, to which the story of store_torture.hpp
// is told.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <optional>
#include <vector>

#include "simulation/simulated_disk.hpp"
#include "simulation/store_torture.hpp"
#include "support/catch.hpp"
#include "support/fake_clock.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {

inline constexpr const char* kPath = "/trackbed.db";
inline constexpr const char* kLog = "/trackbed.db-wal";

// What is right before the first step and after each: as a store in memory has it.
inline const std::vector<Picture>& Truth() {
  static const std::vector<Picture> truth = [] {
    std::vector<Picture> pictures;
    const std::unique_ptr<Store> store = NewMemoryStore();
    pictures.push_back(Read(*store).value());
    for (const Step& step : StorySteps()) {
      const Status status = step(*store);
      INFO(status);
      REQUIRE(status.ok());
      pictures.push_back(Read(*store).value());
    }
    return pictures;
  }();
  return truth;
}

// Whether an error is one that a disk may be the cause of; damage is none of them.
inline bool IsOfTheDisk(const Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) ||
         absl::IsFailedPrecondition(status);
}

// A disk with a store on it, and the process that uses it.
class Bench {
 public:
  explicit Bench(Durability durability, uint64_t seed = 1)
      : durability_(durability), random_(seed), disk(&random_) {
    Restart();
  }
  ~Bench() { store.reset(); }

  // Another process takes over; with the one before it dead or gone.
  void Restart() {
    store.reset();
    process = std::make_unique<DiskProcess>(&disk, &clock_);
  }
  Status Open() {
    store.reset();
    TRACKBED_ASSIGN_OR_RETURN(store, OpenSqliteStore(kPath, {durability_, false, process->vfs()}));
    return absl::OkStatus();
  }
  StatusOr<Picture> OpenAndRead() {
    TRACKBED_RETURN_IF_ERROR(Open());
    return Read(*store);
  }
  void MakeFirstFormat() {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open_v2(kPath, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                            process->vfs().c_str()) == SQLITE_OK);
    CHECK(sqlite3_exec(database, FirstFormat().c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(database);
  }

  FakeClock& clock() { return clock_; }

  // Tells the story from `*step` on, which it moves. Stops at the first error.
  Status Tell(size_t* step) {
    const std::vector<Step>& steps = StorySteps();
    while (*step < end) {
      // In the middle the store is closed, which empties the log, and opened again.
      if (store == nullptr || *step == steps.size() / 2) TRACKBED_RETURN_IF_ERROR(Open());
      TRACKBED_RETURN_IF_ERROR(steps[*step](*store));
      ++*step;
      if (!reads && *step < end) continue;
      TRACKBED_ASSIGN_OR_RETURN(const Picture picture, Read(*store));
      if (!(picture == Truth()[*step])) return Internal("what is read is not what was written");
    }
    store.reset();
    return absl::OkStatus();
  }

  // Which step the store stands after; nothing when it is none of them.
  std::optional<size_t> Find(const Picture& picture) {
    const std::vector<Picture>& truth = Truth();
    // The latest: some steps change nothing.
    for (size_t i = truth.size(); i-- > 0;) {
      if (truth[i] == picture) return i;
    }
    return std::nullopt;
  }

 private:
  Durability durability_;
  SeededRandom random_;
  FakeClock clock_;

 public:
  SimulatedDisk disk;
  std::unique_ptr<DiskProcess> process;
  size_t end = StorySteps().size();  // of the story
  bool reads = true;                 // everything after each step; else after the last
  std::unique_ptr<Store> store;
};

}  // namespace trackbed
