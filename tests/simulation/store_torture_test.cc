// The store on a disk on which everything goes wrong, once at each place where it can.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "simulation/store_bench.hpp"

namespace trackbed {
namespace {

struct Trial {
  bool reads = false;  // the fault is in the n-th read; else in the n-th write or flush
  DiskFault fault = DiskFault::fails;
  bool goes_on = false;  // with the same connection after an error
  bool loses_power = false;
  bool is_old = false;  // the store is of the first format
  Durability durability = Durability::power;
};

// One telling of the story with a fault at the n-th place; false when it was over before that.
bool Try(const Trial& trial, int64_t n, uint64_t seed = 1) {
  CAPTURE(n, trial.reads, static_cast<int>(trial.fault), trial.goes_on, trial.loses_power,
          trial.is_old, static_cast<int>(trial.durability), seed);
  Bench bench(trial.durability, seed);
  bench.reads = trial.reads;
  if (trial.is_old) {
    bench.MakeFirstFormat();
    bench.end = 4;  // once it is brought up to date it is a store as any other
  }
  size_t step = trial.is_old ? 1 : 0;
  if (trial.reads) {
    bench.process->FailReadAt(n, trial.fault);
  } else {
    bench.process->FailAt(n, trial.fault);
  }
  const Status status = bench.Tell(&step);
  CAPTURE(status, step);
  const bool met = bench.process->has_failed();
  // Some errors are not worth a word: a log that could not be emptied when the store was closed.
  if (!met) {
    REQUIRE(status.ok());
    return false;
  }
  if (!status.ok()) {
    CHECK(IsOfTheDisk(status));
    if (trial.fault == DiskFault::fills) CHECK(absl::IsResourceExhausted(status));
  }
  bench.process->Mend();
  bench.disk.full = false;
  if (trial.loses_power) {
    bench.store.reset();
    bench.Restart();
    bench.disk.LosePower();
  } else if (trial.fault == DiskFault::dies) {
    bench.Restart();
  }
  if (!trial.goes_on || bench.store == nullptr) {
    const Status opened = bench.Open();
    INFO(opened);
    REQUIRE(opened.ok());
  }
  const StatusOr<Picture> read = Read(*bench.store);
  CAPTURE(read.status());
  REQUIRE(read.ok());
  const std::optional<size_t> stands = bench.Find(*read);
  REQUIRE(stands.has_value());
  const bool may_lose = trial.loses_power && trial.durability == Durability::process;
  // What was acknowledged is there, and what was under way at most.
  CAPTURE(*stands);
  const bool is_there = may_lose || *read == Truth()[step] || *stands >= step;
  const bool is_no_more =
      *stands <= step + 1 || *read == Truth()[std::min(step + 1, Truth().size() - 1)];
  CHECK(is_there);
  CHECK(is_no_more);
  // And it goes on to the end.
  size_t rest = std::min(*stands, bench.end);
  const Status went_on = bench.Tell(&rest);
  CAPTURE(went_on, rest);
  CHECK(went_on.ok());
  return true;
}

// At each place, until the story passes without the fault.
void TryAll(const Trial& trial, int seeds = 1) {
  int64_t n = 1;
  for (bool met = true; met; ++n) {
    met = false;
    for (int seed = 1; seed <= seeds; ++seed) {
      if (Try(trial, n, static_cast<uint64_t>(seed))) met = true;
    }
  }
  CHECK(n > 20);
  WARN((trial.reads ? "reads" : "writes and flushes") << " that were made to go wrong: " << n - 2);
}

TEST_CASE("The story is the same on a sound disk as in memory") {
  for (const bool is_old : {false, true}) {
    Bench bench(Durability::power);
    if (is_old) bench.MakeFirstFormat();
    size_t step = is_old ? 1 : 0;
    const Status status = bench.Tell(&step);
    CAPTURE(status, step);
    CHECK(status.ok());
  }
}

TEST_CASE("An error of the disk at any place is told, and what was acknowledged is there") {
  const bool reads = GENERATE(false, true);
  const DiskFault fault = GENERATE(DiskFault::fails, DiskFault::refuses);
  const bool goes_on = GENERATE(false, true);
  const bool is_old = GENERATE(false, true);
  TryAll({reads, fault, goes_on, false, is_old});
}

TEST_CASE("A disk that is full at any place is told, and what was acknowledged is there") {
  const bool goes_on = GENERATE(false, true);
  const bool is_old = GENERATE(false, true);
  TryAll({false, DiskFault::fills, goes_on, false, is_old});
}

TEST_CASE("A process that dies at any place leaves what it acknowledged") {
  const bool reads = GENERATE(false, true);
  const bool is_old = GENERATE(false, true);
  TryAll({reads, DiskFault::dies, false, false, is_old});
}

TEST_CASE("Power that is lost at any place leaves what was acknowledged, or what came before") {
  const Durability durability = GENERATE(Durability::power, Durability::process);
  const bool is_old = GENERATE(false, true);
  TryAll({false, DiskFault::dies, false, true, is_old, durability}, 3);
}

// ---- Damage ----------------------------------------------------------------------------------

using Contents = std::map<std::string, std::string>;

// A store with the whole story in it; `in_log`: as a process that died left it, before anything
// went from the log to the file.
Contents Told(bool in_log) {
  Bench bench(Durability::power);
  size_t step = 0;
  if (!in_log) {
    REQUIRE(bench.Tell(&step).ok());
    return bench.disk.Contents();
  }
  REQUIRE(bench.Open().ok());
  for (const Step& each : StorySteps()) REQUIRE(each(*bench.store).ok());
  Contents contents = bench.disk.Contents();
  REQUIRE(contents.at(kLog).size() > 50'000);
  return contents;
}

struct Tally {
  int detected = 0;
  int harmless = 0;
  int shortened = 0;  // as if the last commits had never been
};

// Whatever is damaged: an error that says so, or the right answers.
void Judge(const Contents& contents, bool in_log, Tally* tally) {
  const Picture& truth = Truth().back();
  const auto is_told = [](const Status& status) {
    return absl::IsDataLoss(status) || absl::IsNotFound(status) ||
           absl::IsFailedPrecondition(status);  // the number of the format
  };
  {
    Bench bench(Durability::power);
    bench.disk.SetContents(contents);
    const StatusOr<Picture> read = bench.OpenAndRead();
    if (!read.ok()) {
      ++tally->detected;
      CAPTURE(read.status());
      CHECK(is_told(read.status()));
    } else if (read->IsHarmlessTo(truth)) {
      ++tally->harmless;
    } else {
      const bool is_shorter = in_log && bench.Find(*read).has_value();
      CHECK(is_shorter);
      ++tally->shortened;
    }
  }
  if (in_log) return;
  // Whoever writes without having read everything destroys nothing unseen.
  Bench bench(Durability::power);
  bench.disk.SetContents(contents);
  Status status = bench.Open();
  if (!status.ok()) return;
  Batch batch;
  batch.events = {{3, 6, {Time(std::chrono::seconds(5)), 1, 1, EventType::attempt_succeeded, "x"}}};
  status = bench.store->Commit(2, batch);
  RunRecord record;
  record.id = "c";
  record.version = "sha256:c";
  if (status.ok()) {
    status = bench.store->AddRun(record, "c", {Time{}, kNoTask, 0, EventType::run_submitted, ""})
                 .status();
  }
  if (!status.ok()) {
    CAPTURE(status);
    CHECK((is_told(status) || absl::IsInternal(status)));
    return;
  }
  const StatusOr<Picture> read = bench.OpenAndRead();
  if (!read.ok()) {
    CAPTURE(read.status());
    CHECK(is_told(read.status()));
    return;
  }
  Picture expected = truth;
  expected.runs[1].events.push_back(batch.events[0].event);  // of run 3: the newest is a map's
  record.number = 5;
  expected.runs.insert(expected.runs.begin(),
                       {record, "c", {{Time{}, kNoTask, 0, EventType::run_submitted, ""}}});
  CHECK(read->IsHarmlessTo(expected));
}

void Report(const char* what, const Tally& tally) {
  WARN(what << ": " << tally.detected << " found, " << tally.harmless << " harmless, "
            << tally.shortened << " as if the last commits had never been");
}

TEST_CASE("A damaged byte is found, or harms nothing") {
  const bool in_log = GENERATE(false, true);
  const Contents sound = Told(in_log);
  const std::string path = in_log ? kLog : kPath;
  const size_t size = sound.at(path).size();
  // Primes, so that every field of every kind of page has its turn; 1 to try them all.
  const char* given = std::getenv("TRACKBED_TORTURE_STRIDE");
  const size_t usual = in_log ? 211 : 31;
  const size_t stride = given != nullptr ? std::strtoul(given, nullptr, 10) : usual;
  Tally tally;
  for (size_t at = 0; at < size; at += at < 100 ? 1 : stride) {
    for (const int change : {0xff, 0x01}) {
      Contents damaged = sound;
      char& byte = damaged[path][at];
      byte = static_cast<char>(byte ^ change);
      CAPTURE(path, at, change);
      Judge(damaged, in_log, &tally);
    }
  }
  CHECK(tally.detected + tally.shortened > 0);
  Report(in_log ? "bytes of the log" : "bytes of the file", tally);
}

TEST_CASE("A damaged page is found, or harms nothing") {
  const bool in_log = GENERATE(false, true);
  const Contents sound = Told(in_log);
  const std::string path = in_log ? kLog : kPath;
  const size_t size = sound.at(path).size();
  constexpr size_t kPage = 4096;
  const size_t step = in_log ? kPage + 24 : kPage;
  const size_t pages = size / step;
  REQUIRE(pages > 10);
  Tally tally;
  for (size_t page = 0; page < pages; ++page) {
    const size_t at = page * step + (in_log ? 32 : 0);
    const size_t length = std::min(step, size - at);
    // Emptied, overwritten, or another one in its place.
    for (size_t other = 0; other < pages + 2; ++other) {
      Contents damaged = sound;
      std::string& bytes = damaged[path];
      if (other < pages) {
        if (other == page) continue;
        const size_t from = other * step + (in_log ? 32 : 0);
        const std::string copy = bytes.substr(from, length);
        bytes.replace(at, copy.size(), copy);
      } else {
        bytes.replace(at, length, std::string(length, other == pages ? '\0' : '\xa5'));
      }
      CAPTURE(path, page, other);
      Judge(damaged, in_log, &tally);
      if (in_log && other > 3) other = std::max(other, pages - 1);  // enough of them
    }
  }
  CHECK(tally.detected + tally.shortened > 0);
  Report(in_log ? "pages of the log" : "pages of the file", tally);
}

TEST_CASE("A file that has been cut is found to be, or harms nothing") {
  const Contents sound = Told(false);
  for (size_t size = 0; size < sound.at(kPath).size(); size += 509) {
    Contents damaged = sound;
    damaged[kPath].resize(size);
    CAPTURE(size);
    Bench bench(Durability::power);
    bench.disk.SetContents(damaged);
    const StatusOr<Picture> read = bench.OpenAndRead();
    if (size == 0) {
      CHECK(*read == Truth().front());  // a new store, as far as anybody can tell
      continue;
    }
    CAPTURE(read.status());
    CHECK((read.ok() ? *read == Truth().back() : absl::IsDataLoss(read.status())));
  }
}

}  // namespace
}  // namespace trackbed
