#include "engine/run_times.hpp"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <string>

#include "trackbed/pipeline/writer.hpp"
#include "trackbed/scheduling/run_time_history.hpp"

namespace trackbed {
namespace {

// So far back it is looked, in the store and in the runs of the pipeline: the last ones may have
// taken everything from the cache.
constexpr size_t kRunsOfStore = 200;
constexpr size_t kRunsOfPipeline = 8;
// Reading the events of larger runs would cost more than what estimates gain.
constexpr size_t kMostTasks = 10'000;
constexpr size_t kMostEventsOfMap = 4'000;

// The tasks of an earlier run, as those of this one; kNoTask: it is gone.
StatusOr<std::vector<TaskIndex>> MapTasks(Store& store, const std::string& version,
                                          const Pipeline& pipeline) {
  absl::flat_hash_map<std::string_view, TaskIndex> by_name;
  for (TaskIndex task = 0; task < pipeline.tasks.size(); ++task) {
    by_name.emplace(pipeline.tasks[task].name, task);
  }
  TRACKBED_ASSIGN_OR_RETURN(const std::string encoded, store.ReadPipeline(version));
  TRACKBED_ASSIGN_OR_RETURN(const Pipeline earlier, DecodePipeline(encoded));
  std::vector<TaskIndex> tasks;
  tasks.reserve(earlier.tasks.size());
  for (const Task& task : earlier.tasks) {
    const auto found = by_name.find(task.name);
    tasks.push_back(found == by_name.end() ? kNoTask : found->second);
  }
  return tasks;
}

Status AddRun(Store& store, const RunRecord& record, const std::vector<TaskIndex>& tasks,
              RunTimeHistory* history) {
  std::vector<Time> started(tasks.size());
  return store.ReadEvents(record.number, 1, [&](uint64_t, const Event& event) {
    if (event.task >= tasks.size() || tasks[event.task] == kNoTask) return;
    if (event.type == EventType::attempt_intended) started[event.task] = event.time;
    if (event.type == EventType::attempt_succeeded) {
      history->Add(tasks[event.task], event.time - started[event.task]);
    }
  });
}

// The runs to learn from, the oldest first.
StatusOr<std::vector<RunRecord>> EarlierRuns(Store& store, const RunRecord& run,
                                             RunsListed listed) {
  TRACKBED_ASSIGN_OR_RETURN(std::vector<RunRecord> records, store.ListRuns(kRunsOfStore, listed));
  std::erase_if(records, [&](const RunRecord& record) {
    return record.pipeline != run.pipeline || record.status == RunStatus::running ||
           record.finished > run.submitted || (run.number != 0 && record.number >= run.number);
  });
  records.resize(std::min(records.size(), kRunsOfPipeline));
  std::reverse(records.begin(), records.end());
  return records;
}

// A batch has other items each time, and there may be very many: the first ones stand for all.
StatusOr<std::vector<Duration>> EstimateBatches(Store& store, const RunRecord& run,
                                                const Pipeline& pipeline) {
  if (pipeline.tasks.empty()) return std::vector<Duration>();
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> records,
                            EarlierRuns(store, run, RunsListed::all));
  RunTimeHistory history;
  for (const RunRecord& record : records) {
    absl::flat_hash_map<TaskIndex, Time> started;
    TRACKBED_RETURN_IF_ERROR(
        store.ReadSomeEvents(record.number, 1, kMostEventsOfMap, [&](uint64_t, const Event& event) {
          if (event.type == EventType::attempt_intended) started[event.task] = event.time;
          if (event.type == EventType::attempt_succeeded) {
            history.Add(0, event.time - started[event.task]);
          }
        }));
  }
  const Duration time = history.Guess(0, pipeline.tasks.front().timeout);
  return std::vector<Duration>(time > Duration{0} ? pipeline.tasks.size() : 0, time);
}

}  // namespace

StatusOr<std::vector<Duration>> EstimateRunTimes(Store& store, const RunRecord& run,
                                                 const Pipeline& pipeline) {
  if (IsMapRun(run.id)) return EstimateBatches(store, run, pipeline);
  RunTimeHistory history;
  if (pipeline.tasks.size() <= kMostTasks) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> records,
                              EarlierRuns(store, run, RunsListed::submitted));
    std::map<std::string, std::vector<TaskIndex>> by_version;
    for (const RunRecord& record : records) {
      const auto [place, added] = by_version.try_emplace(record.version);
      if (added) {
        // What cannot be read is no experience.
        StatusOr<std::vector<TaskIndex>> tasks = MapTasks(store, record.version, pipeline);
        if (tasks.ok()) place->second = *std::move(tasks);
      }
      TRACKBED_RETURN_IF_ERROR(AddRun(store, record, place->second, &history));
    }
  }
  std::vector<Duration> times;
  for (TaskIndex task = 0; task < pipeline.tasks.size(); ++task) {
    const Duration time = history.Guess(task, pipeline.tasks[task].timeout);
    if (time <= Duration{0}) continue;
    times.resize(pipeline.tasks.size());
    times[task] = time;
  }
  return times;
}

}  // namespace trackbed
