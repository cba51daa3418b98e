// The state of one run, folded from its events.
//
// Apply is the only way state changes: the engine applies each event as it decides it, a reader
// applies what the store gives back, and both see the same. Not thread-safe.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trackbed/engine/event.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

enum class TaskState : uint8_t {
  pending,  // waits for its dependencies, for slots, or for its next try
  waiting,  // for somebody's approval
  running,  // an attempt is intended or under way
  succeeded,
  failed,
  skipped,
  cancelled,
};
std::string_view ToString(TaskState state);

inline bool IsFinal(TaskState state) { return state > TaskState::running; }

struct TaskStatus {
  TaskState state = TaskState::pending;
  uint8_t lost_attempts = 0;
  // One bit each: a run has a million of these.
  bool cached : 1 = false;      // succeeded by an earlier result
  bool stopping : 1 = false;    // running, and was asked to stop by a cancellation since taken back
  bool fresh : 1 = false;       // to be run again on request: do not look in the cache
  bool preempting : 1 = false;  // running, and to be stopped for another task (Preemption)
  bool unknown : 1 = false;     // running, on a node that does not answer: RunState::Unknown
  uint32_t attempt = 0;  // the latest, from 1; 0: none yet. Of an approval: how often it has asked
  uint32_t failed_attempts = 0;  // those that count as tries
  uint32_t preempted_attempts = 0;
  Time started{};  // of the latest attempt (intended)
  Time finished{};

  // Whether it runs at all has been decided.
  bool tried() const { return failed_attempts > 0 || lost_attempts > 0 || preempted_attempts > 0; }
};

// "approved by ada: looks good", "rejected by …", "nobody approved in time".
std::string DescribeDecision(const ApprovalDecided& decision);
// "stopped for task train of run digits-7kq2m4, which has a higher priority".
std::string DescribePreemption(const AttemptPreempting& preempting);

class RunState {
 public:
  // `graph` must be that of `pipeline`.
  RunState(RunId id, std::shared_ptr<const Pipeline> pipeline, Graph graph);

  // kDataLoss when the event cannot follow what came before: the log is damaged.
  Status Apply(const Event& event);

  const RunId& id() const { return id_; }
  const Pipeline& pipeline() const { return *pipeline_; }
  const Graph& graph() const { return graph_; }
  const RunSubmitted& submitted() const { return submitted_; }

  RunStatus status() const { return status_; }
  bool cancel_requested() const { return cancel_requested_; }
  Time submitted_at() const { return submitted_at_; }
  Time finished_at() const { return finished_at_; }
  uint64_t sequence() const { return sequence_; }  // of the last event applied; 0: none

  // Of the run of a map; else null.
  const MapBinding* map() const { return submitted_.map ? &*submitted_.map : nullptr; }
  // The run of the map of a task: of its latest attempt, or, before it has one since it was reset,
  // of the one before; "" when there is none.
  const RunId& MapRun(TaskIndex index) const;
  // The batches of that run that are to be run again, until the task's next attempt; none: all, or
  // those that failed.
  std::vector<TaskIndex> RetriedBatches(TaskIndex index) const;

  const TaskStatus& task(TaskIndex index) const { return tasks_[index]; }
  size_t unfinished() const { return unfinished_; }  // tasks that are pending, waiting or running

  // The result of a succeeded task that left outputs or files, or is cached; else null.
  const TaskResult* Result(TaskIndex index) const;
  // Why a task failed, was skipped or cancelled, or its last try failed; else null.
  const AttemptEnded* Failure(TaskIndex index) const;
  const TaskSkipped* Skip(TaskIndex index) const;
  // What the latest try of a task was keyed by; null when that is not recorded (see WhyNotCached).
  const AttemptIntended* Intended(TaskIndex index) const;
  // What a task that waits for approval asks, or has asked before it was decided; else null.
  const ApprovalRequested* Asked(TaskIndex index) const;
  // When it is rejected unless it is decided before; kNever: it waits on, or does not.
  Time ApprovalExpires(TaskIndex index) const;
  // What was decided about it; else null.
  const ApprovalDecided* Decision(TaskIndex index) const;
  // For whom its latest attempt is, or was, stopped; else null.
  const AttemptPreempting* Preemption(TaskIndex index) const;
  // Which nodes of a running task do not answer; null when all do.
  const AttemptUnknown* Unknown(TaskIndex index) const;
  // When the next try of a pending task is due; epoch: at once.
  Time RetryAt(TaskIndex index) const;

  // What the run would end as if nothing more happened: failed when a task failed that may not.
  RunStatus Verdict() const;

 private:
  Status ApplyRunEvent(const Event& event);
  Status ApplyTaskEvent(const Event& event);
  Status ApplyApproval(const Event& event);
  void Finish(TaskIndex index, TaskState state, Time time);
  void ResetForRetry(const std::vector<TaskIndex>& roots);
  void ResetTask(TaskIndex index, bool fresh);
  void MakeKnown(TaskIndex index);
  bool DependenciesHaveEnded(TaskIndex index) const;
  Status Unexpected(const Event& event) const;

  RunId id_;
  std::shared_ptr<const Pipeline> pipeline_;
  Graph graph_;
  RunSubmitted submitted_;
  RunStatus status_ = RunStatus::running;
  bool cancel_requested_ = false;
  Time submitted_at_{};
  Time finished_at_{};
  uint64_t sequence_ = 0;
  std::vector<TaskStatus> tasks_;
  size_t unfinished_ = 0;
  size_t failed_ = 0;  // tasks that failed and may not
  // Only tasks that have something to say have an entry.
  absl::flat_hash_map<TaskIndex, TaskResult> results_;
  absl::flat_hash_map<TaskIndex, AttemptEnded> failures_;
  absl::flat_hash_map<TaskIndex, TaskSkipped> skips_;
  absl::flat_hash_map<TaskIndex, AttemptIntended> intended_;
  absl::flat_hash_map<TaskIndex, RunId> map_runs_;
  absl::flat_hash_map<TaskIndex, ApprovalRequested> asked_;
  absl::flat_hash_map<TaskIndex, ApprovalDecided> decisions_;
  absl::flat_hash_map<TaskIndex, AttemptPreempting> preemptions_;
  absl::flat_hash_map<TaskIndex, std::vector<TaskIndex>> retried_batches_;
  absl::flat_hash_map<TaskIndex, AttemptUnknown> unknown_;
};

}  // namespace trackbed
