#include "trackbed/engine/run_state.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "trackbed/engine/cache_key.hpp"

namespace trackbed {

namespace {

// Null where a task has nothing to say.
template <typename Said>
const Said* FindIn(const absl::flat_hash_map<TaskIndex, Said>& all, TaskIndex task) {
  const auto found = all.find(task);
  return found == all.end() ? nullptr : &found->second;
}

}  // namespace

std::string_view ToString(TaskState state) {
  switch (state) {
    case TaskState::pending:
      return "pending";
    case TaskState::waiting:
      return "waiting";
    case TaskState::running:
      return "running";
    case TaskState::succeeded:
      return "succeeded";
    case TaskState::failed:
      return "failed";
    case TaskState::skipped:
      return "skipped";
    case TaskState::cancelled:
      return "cancelled";
  }
  return "unknown";
}

RunState::RunState(RunId id, std::shared_ptr<const Pipeline> pipeline, Graph graph)
    : id_(std::move(id)), pipeline_(std::move(pipeline)), graph_(std::move(graph)) {
  tasks_.resize(pipeline_->tasks.size());
  unfinished_ = tasks_.size();
}

Status RunState::Apply(const Event& event) {
  TRACKBED_RETURN_IF_ERROR(event.task == kNoTask ? ApplyRunEvent(event) : ApplyTaskEvent(event));
  ++sequence_;
  return absl::OkStatus();
}

Status RunState::Unexpected(const Event& event) const {
  return DataLoss(absl::StrCat("run ", id_, ": event ", sequence_ + 1, " (",
                               AbslView(ToString(event.type)),
                               ") cannot follow what is recorded before it"));
}

bool RunState::DependenciesHaveEnded(TaskIndex index) const {
  const auto dependencies = graph_.Predecessors(index);
  return std::all_of(dependencies.begin(), dependencies.end(),
                     [&](TaskIndex dependency) { return IsFinal(tasks_[dependency].state); });
}

Status RunState::ApplyRunEvent(const Event& event) {
  if ((sequence_ == 0) != (event.type == EventType::run_submitted)) return Unexpected(event);
  switch (event.type) {
    case EventType::run_submitted:
      submitted_at_ = event.time;
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &submitted_));
      if (submitted_.map && submitted_.map->fresh) {
        for (TaskStatus& task : tasks_) task.fresh = true;
      }
      return absl::OkStatus();
    case EventType::run_resumed:
      if (status_ != RunStatus::running && status_ != RunStatus::cancelled) {
        return Unexpected(event);
      }
      for (TaskIndex i = 0; i < tasks_.size(); ++i) {
        if (tasks_[i].state == TaskState::cancelled) ResetTask(i, tasks_[i].fresh);
        // It was told to stop; how it ends says nothing about the task itself.
        if (cancel_requested_ && tasks_[i].state == TaskState::running) tasks_[i].stopping = true;
        MakeKnown(i);
      }
      status_ = RunStatus::running;
      finished_at_ = Time{};
      cancel_requested_ = false;
      return absl::OkStatus();
    case EventType::run_cancel_requested:
      if (status_ != RunStatus::running || cancel_requested_) return Unexpected(event);
      cancel_requested_ = true;
      return absl::OkStatus();
    case EventType::run_retried: {
      RunRetried detail;
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &detail));
      if (status_ == RunStatus::running) return Unexpected(event);
      for (TaskIndex task : detail.tasks) {
        if (task >= tasks_.size()) return Unexpected(event);
      }
      ResetForRetry(detail.tasks);
      for (const RetriedBatch& retried : detail.batches) {
        retried_batches_[retried.task].push_back(retried.batch);
      }
      return absl::OkStatus();
    }
    case EventType::run_finished: {
      RunFinished detail;
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &detail));
      if (status_ != RunStatus::running || detail.status == RunStatus::running ||
          (unfinished_ > 0 && !cancel_requested_)) {
        return Unexpected(event);
      }
      for (TaskIndex i = 0; i < tasks_.size(); ++i) {
        if (tasks_[i].state == TaskState::running) return Unexpected(event);
        if (!IsFinal(tasks_[i].state)) Finish(i, TaskState::cancelled, event.time);
      }
      status_ = detail.status;
      finished_at_ = event.time;
      cancel_requested_ = false;
      return absl::OkStatus();
    }
    default:
      return Unexpected(event);
  }
}

Status RunState::ApplyTaskEvent(const Event& event) {
  if (sequence_ == 0 || event.task >= tasks_.size() || status_ != RunStatus::running) {
    return Unexpected(event);
  }
  TaskStatus& task = tasks_[event.task];
  if (event.type == EventType::approval_requested || event.type == EventType::approval_decided) {
    return ApplyApproval(event);
  }
  const bool ends_attempt =
      event.type == EventType::attempt_succeeded || event.type == EventType::attempt_failed ||
      event.type == EventType::attempt_cancelled || event.type == EventType::attempt_preempted;
  const bool during_attempt = event.type == EventType::attempt_preempting ||
                              event.type == EventType::attempt_unknown ||
                              event.type == EventType::attempt_known;
  const bool of_attempt = ends_attempt || during_attempt;
  if (task.state != (of_attempt ? TaskState::running : TaskState::pending)) {
    return Unexpected(event);
  }
  if (of_attempt && event.attempt != task.attempt) return Unexpected(event);
  if (!of_attempt && !DependenciesHaveEnded(event.task)) return Unexpected(event);

  AttemptEnded ended;
  const bool has_ended = ends_attempt || event.type == EventType::task_failed;
  if (has_ended && !event.detail.empty()) {
    TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &ended));
  }
  if (event.type == EventType::attempt_preempted && !task.preempting) return Unexpected(event);
  if (has_ended) task.stopping = task.preempting = false;
  if (has_ended) MakeKnown(event.task);
  switch (event.type) {
    case EventType::attempt_intended: {
      const bool is_approval = static_cast<bool>(pipeline_->tasks[event.task].approval);
      if (event.attempt != task.attempt + 1 || is_approval) return Unexpected(event);
      if (!preemptions_.empty()) preemptions_.erase(event.task);
      // Mostly there is nothing else to say, and the pipeline says it too.
      static const std::string no_cache = [] {
        AttemptIntended only;
        only.cache_off = kTaskSaysNoCache;
        return Encode(only);
      }();
      if (!event.detail.empty() && event.detail != no_cache) {
        AttemptIntended& intended = intended_[event.task];
        TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &intended));
        if (!intended.map_run.empty()) map_runs_[event.task] = intended.map_run;
      } else if (!intended_.empty()) {
        intended_.erase(event.task);
      }
      if (!retried_batches_.empty()) retried_batches_.erase(event.task);
      task.state = TaskState::running;
      task.attempt = event.attempt;
      task.started = event.time;
      return absl::OkStatus();
    }
    case EventType::attempt_succeeded:
      if (!failures_.empty()) failures_.erase(event.task);
      if (!ended.outputs.empty() || !ended.output_digest.empty()) {
        results_[event.task] = {std::move(ended.outputs), std::move(ended.output_digest), id_,
                                pipeline_->tasks[event.task].name, event.attempt};
      }
      Finish(event.task, TaskState::succeeded, event.time);
      return absl::OkStatus();
    case EventType::attempt_failed: {
      if (ended.reason == FailureReason::lost) {
        ++task.lost_attempts;
      } else {
        ++task.failed_attempts;
      }
      const bool again = ended.retry_at != Time{};
      failures_[event.task] = std::move(ended);
      if (again) {
        task.state = TaskState::pending;
        task.finished = event.time;
      } else {
        Finish(event.task, TaskState::failed, event.time);
      }
      return absl::OkStatus();
    }
    case EventType::attempt_cancelled:
      failures_[event.task] = std::move(ended);
      Finish(event.task, TaskState::cancelled, event.time);
      return absl::OkStatus();
    case EventType::attempt_preempting:
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &preemptions_[event.task]));
      task.preempting = true;
      return absl::OkStatus();
    case EventType::attempt_preempted:
      ++task.preempted_attempts;
      failures_[event.task] = std::move(ended);
      task.state = TaskState::pending;
      task.finished = event.time;
      return absl::OkStatus();
    case EventType::attempt_unknown:
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &unknown_[event.task]));
      task.unknown = true;
      return absl::OkStatus();
    case EventType::attempt_known:
      if (!task.unknown) return Unexpected(event);
      MakeKnown(event.task);
      return absl::OkStatus();
    case EventType::task_failed:
      failures_[event.task] = std::move(ended);
      task.started = event.time;
      Finish(event.task, TaskState::failed, event.time);
      return absl::OkStatus();
    case EventType::task_skipped:
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &skips_[event.task]));
      Finish(event.task, TaskState::skipped, event.time);
      return absl::OkStatus();
    case EventType::task_cached: {
      TaskCached cached;
      TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &cached));
      results_[event.task] = {std::move(cached.result.outputs),
                              std::move(cached.result.output_digest), std::move(cached.result.run),
                              std::move(cached.result.task), cached.result.attempt};
      AttemptIntended& intended = intended_[event.task];
      intended = AttemptIntended();
      intended.cache_key = std::move(cached.cache_key);
      intended.cache_fields = std::move(cached.cache_fields);
      task.cached = true;
      task.started = event.time;
      Finish(event.task, TaskState::succeeded, event.time);
      return absl::OkStatus();
    }
    default:
      return Unexpected(event);
  }
}

Status RunState::ApplyApproval(const Event& event) {
  TaskStatus& task = tasks_[event.task];
  if (!pipeline_->tasks[event.task].approval) return Unexpected(event);
  if (event.type == EventType::approval_requested) {
    if (task.state != TaskState::pending || event.attempt != task.attempt + 1 ||
        !DependenciesHaveEnded(event.task)) {
      return Unexpected(event);
    }
    TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &asked_[event.task]));
    task.state = TaskState::waiting;
    task.attempt = event.attempt;
    task.started = event.time;
    return absl::OkStatus();
  }
  if (task.state != TaskState::waiting || event.attempt != task.attempt) return Unexpected(event);
  ApprovalDecided& decision = decisions_[event.task];
  TRACKBED_RETURN_IF_ERROR(Decode(event.detail, &decision));
  if (!decision.approved) {
    AttemptEnded& failure = failures_[event.task];
    failure.reason = FailureReason::rejected;
    failure.message = DescribeDecision(decision);
  }
  Finish(event.task, decision.approved ? TaskState::succeeded : TaskState::failed, event.time);
  return absl::OkStatus();
}

std::string DescribeDecision(const ApprovalDecided& decision) {
  if (decision.by.empty()) return "nobody approved in time";
  return absl::StrCat(decision.approved ? "approved by " : "rejected by ", decision.by,
                      decision.comment.empty() ? "" : ": ", decision.comment);
}

std::string DescribePreemption(const AttemptPreempting& preempting) {
  const bool priority = preempting.cause == AttemptPreempting::Cause::priority;
  return absl::StrCat(
      "stopped for task ", preempting.task, " of run ", preempting.run,
      priority ? ", which has a higher priority" : ", whose tenant has less than its guarantee");
}

void RunState::Finish(TaskIndex index, TaskState state, Time time) {
  TaskStatus& task = tasks_[index];
  task.state = state;
  task.finished = time;
  --unfinished_;
  if (state == TaskState::failed && !pipeline_->tasks[index].allow_failure) ++failed_;
}

void RunState::MakeKnown(TaskIndex index) {
  if (!tasks_[index].unknown) return;
  tasks_[index].unknown = false;
  unknown_.erase(index);
}

void RunState::ResetTask(TaskIndex index, bool fresh) {
  TaskStatus& task = tasks_[index];
  if (IsFinal(task.state)) {
    ++unfinished_;
    if (task.state == TaskState::failed && !pipeline_->tasks[index].allow_failure) --failed_;
  }
  // Attempts go on counting: their keys are used up.
  TaskStatus reset;
  reset.attempt = task.attempt;
  reset.fresh = fresh;
  task = reset;
  results_.erase(index);
  failures_.erase(index);
  skips_.erase(index);
  intended_.erase(index);
  asked_.erase(index);
  decisions_.erase(index);
  preemptions_.erase(index);
  retried_batches_.erase(index);
}

void RunState::ResetForRetry(const std::vector<TaskIndex>& roots) {
  // What a cancellation left undone is continued, or the run would end with tasks that never ran.
  for (TaskIndex i = 0; i < tasks_.size(); ++i) {
    if (tasks_[i].state == TaskState::cancelled) ResetTask(i, tasks_[i].fresh);
  }
  std::vector<bool> reset(tasks_.size(), false);
  std::vector<TaskIndex> todo = roots;
  for (TaskIndex root : roots) reset[root] = true;
  for (size_t i = 0; i < todo.size(); ++i) {
    ResetTask(todo[i], /*fresh=*/i < roots.size());
    for (TaskIndex successor : graph_.Successors(todo[i])) {
      if (reset[successor]) continue;
      reset[successor] = true;
      todo.push_back(successor);
    }
  }
  status_ = RunStatus::running;
  finished_at_ = Time{};
}

const TaskResult* RunState::Result(TaskIndex index) const { return FindIn(results_, index); }
const AttemptEnded* RunState::Failure(TaskIndex index) const { return FindIn(failures_, index); }
const TaskSkipped* RunState::Skip(TaskIndex index) const { return FindIn(skips_, index); }
const AttemptIntended* RunState::Intended(TaskIndex index) const {
  return FindIn(intended_, index);
}

const ApprovalRequested* RunState::Asked(TaskIndex index) const { return FindIn(asked_, index); }
Time RunState::ApprovalExpires(TaskIndex index) const {
  const TaskStatus& task = tasks_[index];
  if (task.state != TaskState::waiting) return kNever;
  const Duration timeout = pipeline_->tasks[index].approval->timeout;
  return timeout > Duration(0) ? Later(task.started, timeout) : kNever;
}
const ApprovalDecided* RunState::Decision(TaskIndex index) const {
  return FindIn(decisions_, index);
}
const AttemptPreempting* RunState::Preemption(TaskIndex index) const {
  return FindIn(preemptions_, index);
}
const AttemptUnknown* RunState::Unknown(TaskIndex index) const { return FindIn(unknown_, index); }

const RunId& RunState::MapRun(TaskIndex index) const {
  static const RunId none;
  const RunId* run = FindIn(map_runs_, index);
  return run == nullptr ? none : *run;
}

std::vector<TaskIndex> RunState::RetriedBatches(TaskIndex index) const {
  const std::vector<TaskIndex>* batches = FindIn(retried_batches_, index);
  return batches == nullptr ? std::vector<TaskIndex>() : *batches;
}

Time RunState::RetryAt(TaskIndex index) const {
  const AttemptEnded* failure = Failure(index);
  return failure == nullptr || tasks_[index].state != TaskState::pending ? Time{}
                                                                         : failure->retry_at;
}

RunStatus RunState::Verdict() const {
  if (cancel_requested_) return RunStatus::cancelled;
  return failed_ > 0 ? RunStatus::failed : RunStatus::succeeded;
}

}  // namespace trackbed
