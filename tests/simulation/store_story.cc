#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include <algorithm>

#include "simulation/store_torture.hpp"
#include "support/first_format.hpp"

namespace trackbed {
namespace {

using std::chrono::seconds;

constexpr const char* kCacheKeys[] = {"key-1", "key-2", "key-3"};
constexpr const char* kTasks[] = {"train", "split"};

Time At(int64_t second) { return Time(seconds(1'000'000 + second)); }

// Calls that must be refused: anything else that comes of them is an error.
Status Expect(StatusCode code, const Status& status) {
  if (status.code() == code) return absl::OkStatus();
  return status.ok() ? Internal("what had to be refused was done") : status;
}

Step Adds(const std::string& id, size_t bytes) {
  return [=](Store& store) {
    RunRecord record;
    record.id = id;
    record.pipeline = "digits";
    record.version = "sha256:" + id;
    record.submitted = At(1);
    return store
        .AddRun(record, std::string(bytes, 'p'),
                {At(1), kNoTask, 0, EventType::run_submitted, Encode(RunSubmitted{})})
        .status();
  };
}

Step Acquires(int64_t second, const std::string& host) {
  return [=](Store& store) {
    return store
        .AcquireLease({host, "boot", 4711, 12, "trackbed run digits.yaml", "cpu: 4\n"}, At(second),
                      seconds(10), {})
        .status();
  };
}

void AddEvents(Batch* batch, int64_t run, uint64_t from, uint64_t to, size_t bytes) {
  for (uint64_t n = from; n <= to; ++n) {
    const auto task = static_cast<TaskIndex>(n % 7);
    batch->events.push_back(
        {run,
         n,
         {At(static_cast<int64_t>(n)), task, 1 + static_cast<uint32_t>(n % 3),
          EventType::attempt_intended, std::string(bytes, static_cast<char>('a' + n % 26))}});
  }
}

CacheEntry Cached(const std::string& key, const std::string& task, int64_t second) {
  return {key,
          "digits",
          task,
          At(second),
          {{"command", "python3 " + task}},
          {"a", task, 2, {{"n", Value(int64_t{second})}}, "sha256:" + key}};
}

Step Commits(uint64_t fence, Batch batch) {
  return [fence, batch = std::move(batch)](Store& store) { return store.Commit(fence, batch); };
}

std::vector<Step> MakeSteps() {
  std::vector<Step> steps;
  steps.push_back(Adds("old-1", 1));
  steps.push_back(Adds("a", 3000));
  steps.push_back(Acquires(0, "lab1"));
  Batch batch;
  AddEvents(&batch, 2, 2, 21, 30);
  batch.lease_until = At(20);
  steps.push_back(Commits(1, batch));
  steps.push_back(Adds("b", 9000));  // more than a page
  batch.clear();
  AddEvents(&batch, 2, 22, 25, 10);
  AddEvents(&batch, 3, 2, 4, 0);
  batch.cache_entries = {Cached("key-1", "train", 5), Cached("key-2", "split", 6)};
  steps.push_back(Commits(1, batch));
  steps.push_back(
      [](Store& store) { return store.PostRequest({0, Request::Kind::cancel, "b"}, At(7)); });
  batch.clear();
  AddEvents(&batch, 3, 5, 5, 3);
  batch.status_changes = {{3, RunStatus::cancelled, At(9)}};
  batch.requests_done = {1};
  steps.push_back(Commits(1, batch));
  batch.clear();
  AddEvents(&batch, 2, 26, 300, 200);  // many pages
  steps.push_back(Commits(1, batch));
  batch.clear();
  batch.cache_entries = {Cached("key-1", "train", 8), Cached("key-3", "train", 9)};
  steps.push_back(Commits(1, batch));
  steps.push_back(
      [](Store& store) { return Expect(StatusCode::kAlreadyExists, Adds("a", 1)(store)); });
  steps.push_back([](Store& store) {
    return Expect(StatusCode::kFailedPrecondition, Acquires(15, "lab2")(store));
  });
  steps.push_back([](Store& store) { return store.ReleaseLease(1); });
  steps.push_back(Acquires(16, "lab2"));
  batch.clear();
  AddEvents(&batch, 2, 301, 301, 5);
  steps.push_back([batch](Store& store) {
    return Expect(StatusCode::kFailedPrecondition, store.Commit(1, batch));
  });
  steps.push_back(
      [](Store& store) { return store.PostRequest({0, Request::Kind::cancel, "a"}, At(17)); });
  batch.status_changes = {{2, RunStatus::succeeded, At(30)}};
  steps.push_back(Commits(2, batch));
  steps.push_back([](Store& store) {
    return store.ChangeNodes({{"gpu1", "name: gpu1\ncpu: 4\n", false}, {"gpu2", "cpu: 8\n", true}},
                             {}, At(40));
  });
  // The run of a map, and what the engine may use from now on.
  batch.clear();
  RunRecord batches;
  batches.id = "a/train/1";
  batches.pipeline = "digits";
  batches.version = "sha256:a";
  batches.submitted = At(41);
  batch.runs.push_back(
      {batches, {At(41), kNoTask, 0, EventType::run_submitted, Encode(RunSubmitted{})}});
  batch.lease_node = "cpu: 16\n";
  steps.push_back(Commits(2, batch));
  steps.push_back(
      [batch](Store& store) { return Expect(StatusCode::kAlreadyExists, store.Commit(2, batch)); });
  // An event that does not follow.
  batch.clear();
  AddEvents(&batch, 2, 303, 303, 5);
  steps.push_back(
      [batch](Store& store) { return Expect(StatusCode::kInternal, store.Commit(2, batch)); });
  steps.push_back([](Store& store) {
    return store.ChangeNodes({{"gpu2", "cpu: 8\nmem: 16g\n", false}}, {"gpu1", "gpu9"}, At(42));
  });
  return steps;
}

}  // namespace

const std::vector<Step>& StorySteps() {
  static const std::vector<Step> steps = MakeSteps();
  return steps;
}

bool Picture::IsHarmlessTo(const Picture& truth) const {
  const auto is_part = [](const auto& part, const auto& whole) {
    return std::all_of(part.begin(), part.end(), [&](const auto& entry) {
      const auto found = whole.find(entry.first);
      return found != whole.end() && found->second == entry.second;
    });
  };
  // The latest result of a task serves explanations only; it may be one before the latest.
  const bool explains = std::all_of(last_cached.begin(), last_cached.end(), [&](const auto& entry) {
    const auto found = truth.cached.find(entry.second.key);
    return found != truth.cached.end() && found->second == entry.second;
  });
  Picture other = *this;
  other.cached = truth.cached;
  other.last_cached = truth.last_cached;
  return other == truth && explains && is_part(cached, truth.cached);
}

StatusOr<Picture> Read(Store& store) {
  Picture picture;
  TRACKBED_ASSIGN_OR_RETURN(const Lease lease, store.ReadLease());
  picture.fence = lease.fence;
  picture.holder = lease.holder;
  picture.expires = lease.expires;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs,
                            store.ListRuns(1000, RunsListed::all));
  for (const RunRecord& record : runs) {
    Picture::StoredRun run;
    TRACKBED_ASSIGN_OR_RETURN(run.record, store.FindRun(record.id));
    if (!(run.record == record)) return Internal("two ways to a run lead to two runs");
    TRACKBED_ASSIGN_OR_RETURN(run.pipeline, store.ReadPipeline(record.version));
    TRACKBED_RETURN_IF_ERROR(store.ReadEvents(
        record.number, 1, [&](uint64_t, Event event) { run.events.push_back(std::move(event)); }));
    picture.runs.push_back(std::move(run));
  }
  for (const char* key : kCacheKeys) {
    TRACKBED_ASSIGN_OR_RETURN(std::optional<CacheEntry> entry, store.FindCached(key));
    if (entry) picture.cached.emplace(key, *std::move(entry));
  }
  for (const char* task : kTasks) {
    TRACKBED_ASSIGN_OR_RETURN(std::optional<CacheEntry> entry,
                              store.FindLastCached("digits", task, At(100)));
    if (entry) picture.last_cached.emplace(task, *std::move(entry));
  }
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<Request> requests, store.ReadRequests());
  for (const Request& request : requests)
    picture.requests.emplace_back(request.number, request.run);
  TRACKBED_ASSIGN_OR_RETURN(picture.nodes, store.ListNodes());
  // Of runs that there are not.
  TRACKBED_RETURN_IF_ERROR(Expect(StatusCode::kNotFound, store.FindRun("nowhere").status()));
  bool is_there = false;
  TRACKBED_RETURN_IF_ERROR(
      store.ReadEvents(999, 1, [&](uint64_t, const Event&) { is_there = true; }));
  if (is_there) return Internal("a run that there is not has events");
  return picture;
}

namespace {
constexpr char kFirstRows[] = R"sql(
INSERT INTO lease VALUES(1, 0, 0, '', '', 0, 0, '');
INSERT INTO pipelines VALUES('sha256:old-1', x'70');
INSERT INTO runs VALUES(1, 'old-1', 'digits', 'sha256:old-1', 1000001000000000, 0, 0);
INSERT INTO events VALUES(1, 1, 1000001000000000, 1, NULL, NULL, @DETAIL@);
PRAGMA application_id=1416784706;
PRAGMA user_version=1;
)sql";
}  // namespace

std::string FirstFormat() {
  const std::string detail = Encode(RunSubmitted{});
  return absl::StrReplaceAll(
      absl::StrCat(kFirstFormatTables, kFirstRows),
      {{"@DETAIL@", absl::StrCat("x'", absl::BytesToHexString(detail), "'")}});
}

}  // namespace trackbed
