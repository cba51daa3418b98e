// What the engine knows of the runs under way, and the steps it is made of. engine.cc has the step
// itself; engine_runs.cc the life of runs; engine_tasks.cc the decisions about tasks;
// engine_maps.cc the runs of maps; engine_approvals.cc the tasks that ask people;
// engine_preemption.cc who is stopped for whom.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine_nodes.hpp"
#include "engine/map_run.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed {

// Bounds the work between two commits, and so what a crash can make us do again, and what is held
// until it is durable.
inline constexpr size_t kEventsPerCommit = 1024;

// The line of each task; one number where all have the same, as in most runs.
class TaskLines {
 public:
  TaskLines() = default;  // no task can run
  // `to_count` has lines for tasks that can run no more, by which those that do are counted.
  TaskLines(std::vector<NodeQueue::Line> lines, std::map<TaskIndex, NodeQueue::Line> to_count)
      : lines_(std::move(lines)), to_count_(std::move(to_count)) {
    const auto differs = [&](NodeQueue::Line line) { return line != lines_.front(); };
    if (lines_.empty() || std::any_of(lines_.begin(), lines_.end(), differs)) return;
    lines_ = std::vector<NodeQueue::Line>(1, lines_.front());
  }
  // kNoLine: it can run on none of the nodes.
  NodeQueue::Line operator[](TaskIndex task) const { return lines_[lines_.size() == 1 ? 0 : task]; }
  NodeQueue::Line ToCount(TaskIndex task) const {
    const auto found = to_count_.find(task);
    return found == to_count_.end() ? (*this)[task] : found->second;
  }

 private:
  std::vector<NodeQueue::Line> lines_{NodeQueue::kNoLine};
  std::map<TaskIndex, NodeQueue::Line> to_count_;
};

struct ActiveRun {
  ActiveRun(RunRecord run_record, RunState run_state)
      : record(std::move(run_record)), state(std::move(run_state)) {}

  RunRecord record;
  RunState state;
  std::vector<uint32_t> waiting_for;  // unfinished dependencies, by task
  TaskLines lines;
  // Of tasks that use the cache and are ready, queued or running.
  absl::flat_hash_map<TaskIndex, std::string> cache_keys;
  size_t attempts = 0;  // under way

  // Of the run of a map.
  struct OfMap {
    ReadyTask mapped;  // the task whose attempt this run is
    std::optional<BatchWindow> window;
    size_t gathered = 0;  // batches whose outputs stand in those of the mapped task
    Status gathering;
  };
  std::unique_ptr<OfMap> map;
};

// An attempt under way.
struct ActiveAttempt {
  ActiveRun* run = nullptr;
  TaskIndex task = 0;
  uint32_t held = 0;  // of the node
  bool timed_out = false;
  bool given_up = false;    // its node has been silent for too long
  bool makes_room = false;  // it was told to stop for another
};

// Equal tasks under way at the same time run once: the leader runs, the others wait for it.
struct Flight {
  ReadyTask leader;
  std::vector<ReadyTask> followers;
};

struct Timer {
  enum class Kind : uint8_t { retry, timeout, kill, expiry };
  Time at;
  Kind kind = Kind::retry;
  ReadyTask task;
  uint32_t attempt = 0;
  friend bool operator>(const Timer& a, const Timer& b) { return a.at > b.at; }
};

struct PendingStart {
  AttemptSpec spec;
  bool adopt_only = false;   // watch it, never start it: its run is being cancelled, or …
  std::string cannot_start;  // … it cannot start again, for this reason
  bool taken_up = false;     // another engine meant to start it
};

struct PendingStop {
  AttemptKey key;
  StopMode mode;
};

struct PendingGiveUp {
  AttemptKey key;
  bool reported = false;  // by the executor: once what can end of it has ended
};

struct Publication {
  const ActiveRun* run;
  uint64_t sequence = 0;
  Event event;
};

class Engine::Impl {
 public:
  // `last_may_act`: who held the store before us has not given it back, may still run, and may not
  // know yet that it is ours.
  Impl(EngineOptions options, const Lease& lease, bool last_may_act)
      : options_(std::move(options)),
        workspace_(options_.home),
        fence_(lease.fence),
        lease_until_(lease.expires),
        last_may_act_(last_may_act) {}

  ~Impl();

  // Once, before all else.
  Status MakeQueue(StoredNodes stored);

  StatusOr<RunId> Submit(std::shared_ptr<const Pipeline> pipeline, SubmitOptions options);
  Status Resume(const RunId& id);
  Status Retry(const RunId& id, const std::vector<std::string>& tasks);
  Status AddRetried(const RunState& run, const std::string& name, RunRetried* detail);
  Status Cancel(const RunId& id);
  // `find` says which task is meant.
  Status Decide(const RunId& id, const std::function<StatusOr<TaskIndex>(const RunState&)>& find,
                const ApprovalDecided& decision);
  Status Step();

  ActiveRun* FindActive(const RunId& id) const {
    for (const auto& [number, run] : runs_) {
      if (run->record.id == id) return run.get();
    }
    return nullptr;
  }
  bool HasActiveRuns() const { return !runs_.empty(); }
  int WakeDescriptor() const { return options_.executor->WakeDescriptor(); }
  Time NextDeadline() const;
  std::string ExplainWait(const RunId& id, TaskIndex task);

 private:
  // Lifecycle of runs.
  enum class Purpose : uint8_t { run, cancel };
  StatusOr<ActiveRun*> Load(const RunRecord& record, Purpose purpose);
  Status Activate(ActiveRun& run);
  Status CheckRunnable(const RunRecord& record, const Pipeline& pipeline,
                       const RunSubmitted& submitted, TaskLines* lines);
  Status CountOthers();
  Status CancelActive(ActiveRun& run);
  void FinishRuns();

  // Approvals.
  Status Ask(ActiveRun& run, TaskIndex task);
  void ExpectAnswer(const ActiveRun& run, TaskIndex task);
  Status DecideAsAsked(const Request& request);
  Status RecordDecision(ActiveRun& run, TaskIndex task, const ApprovalDecided& decision);

  StatusOr<std::unique_ptr<EngineNodes>> MakeNodes(std::vector<NodeDescription> nodes,
                                                   EngineNodes::Naming naming);

  // Runs of maps.
  Status StartMap(ActiveRun& run, TaskIndex task);
  StatusOr<std::unique_ptr<ActiveRun>> ReuseMapRun(const ActiveRun& run, TaskIndex task,
                                                   const MapBinding& binding);
  StatusOr<std::unique_ptr<ActiveRun>> MakeMapRun(const ActiveRun& run, TaskIndex task,
                                                  MapBinding binding);
  Status ActivateNewMaps();
  Status TakeUpMap(ActiveRun& run, TaskIndex task);
  Status CancelMap(const ActiveRun& run, TaskIndex task);
  void AdmitBatches(ActiveRun& run);
  bool NeedsGathering(const ActiveRun& run) const;
  Status GatherSome(ActiveRun& run);
  Status EndMap(const ActiveRun& batches, RunStatus verdict);

  Time ReadClock();

  // The parts of a step.
  Status TakeReports();
  Status TakeRequests();
  Status TakeUpNodes();
  void FireTimers();
  Status WatchNodes();
  Status NoteUnknown();
  std::vector<ActiveAttempt*> AttemptsInOrder();
  Status ConsiderTasks();
  Status StartReady();
  Status CommitAndAct();

  // Decisions about one task.
  Status Consider(ActiveRun& run, TaskIndex task);
  std::optional<TaskSkipped> JudgeTrigger(const ActiveRun& run, TaskIndex task) const;
  Status ConsiderCache(ActiveRun& run, TaskIndex task);
  Status UseCached(ActiveRun& run, TaskIndex task, const TaskCached& cached);
  Status Enqueue(ActiveRun& run, TaskIndex task);
  void Queue(const ActiveRun& run, TaskIndex task, Time since);
  bool IsWanted(const ReadyTask& ready) const;
  std::vector<std::string> ReadsFrom(const ReadyTask& ready) const;
  Status StartAttempt(ActiveRun& run, TaskIndex task, const NodeQueue::Started& started);
  // Preemption.
  Status StopForOthers();
  void StopAgainForOthers();
  bool StillWaits(const AttemptPreempting& beneficiary) const;
  void MakeRoom(ActiveAttempt* attempt);
  Status Preempted(ActiveRun& run, TaskIndex task, AttemptEnded ended);
  Status HandleReport(const AttemptReport& report);
  Status Succeed(ActiveRun& run, TaskIndex task, AttemptEnded ended);
  Status Fail(ActiveRun& run, TaskIndex task, AttemptEnded ended);
  Status FailBeforeAttempt(ActiveRun& run, TaskIndex task, const Status& error);
  Status OnFinal(ActiveRun& run, TaskIndex task);
  void LandFlight(ActiveRun& run, TaskIndex task, const CachedResult* result);
  void StopAttempt(const ActiveRun& run, TaskIndex task, StopMode mode);
  void GiveUp(const PendingGiveUp& lost);

  Status Record(ActiveRun& run, EventType type, TaskIndex task, uint32_t attempt,
                std::string detail);
  Status Broken(Status error) {
    broken_ = error;
    return error;
  }
  AttemptKey KeyOf(const ActiveRun& run, TaskIndex task) const {
    return MakeAttemptKey(run.record.id, run.state.pipeline().tasks[task].name,
                          run.state.task(task).attempt);
  }
  ActiveRun* FindActive(int64_t number) const {
    auto found = runs_.find(number);
    return found == runs_.end() ? nullptr : found->second.get();
  }

  EngineOptions options_;
  Workspace workspace_;
  std::unique_ptr<EngineNodes> nodes_;
  // Attempts taken up that were to be stopped for others when the last engine stopped.
  std::vector<AttemptKey> to_stop_again_;
  // Ready tasks that fit on none of the nodes that there are now.
  std::vector<std::pair<Time, ReadyTask>> unplaced_;
  uint64_t fence_;
  Time lease_until_;
  Status broken_;
  Time now_{};         // of the step or call under way
  Duration ahead_{0};  // of the clock, which was set back

  std::map<int64_t, std::unique_ptr<ActiveRun>> runs_;  // by number: order matters
  absl::flat_hash_map<AttemptKey, ActiveAttempt> attempts_;
  // Attempts of runs that were interrupted and that nobody has taken up: what they hold.
  absl::flat_hash_map<AttemptKey, uint32_t> others_;
  bool counted_others_ = false;
  bool last_may_act_;
  bool any_unknown_ = false;                          // of attempts_, as far as their events say
  absl::flat_hash_map<std::string, Flight> flights_;  // by cache key
  std::deque<ReadyTask> to_consider_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::vector<AttemptReport> reports_;
  size_t next_report_ = 0;
  Time next_request_check_{};

  // Decided, and not yet durable.
  Batch batch_;
  absl::flat_hash_map<std::string, CacheEntry> uncommitted_cache_;
  std::deque<PendingStart> starts_;  // which gives back what many at once needed
  std::vector<PendingStop> stops_;
  std::vector<PendingGiveUp> give_ups_;
  std::vector<Publication> publications_;
  std::vector<std::unique_ptr<ActiveRun>> finished_;
  std::vector<std::unique_ptr<ActiveRun>> new_maps_;

  std::vector<ActiveRun*> to_gather_;  // after the next commit
  bool gathering_ = false;             // there is more to gather
};

}  // namespace trackbed
