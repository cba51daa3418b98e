// Attempts that are stopped so that others have room. That one is to be is durable before it is
// told, so that its end, whoever sees it, is no failure; what it holds is given to nobody before it
// has ended. An engine that takes over tells those again whose beneficiary still waits; for all
// others the plan is made anew.
#include <algorithm>

#include "engine/engine_impl.hpp"
#include "trackbed/engine/run_queries.hpp"

namespace trackbed {

Status Engine::Impl::StopForOthers() {
  for (const NodeQueue::ToStop& stop : nodes_->queue().TakeStops()) {
    const auto victim = std::find_if(attempts_.begin(), attempts_.end(), [&](const auto& entry) {
      return entry.second.held == stop.held;
    });
    const ActiveRun* other = FindActive(stop.beneficiary.run);
    if (victim == attempts_.end() || other == nullptr) {
      return Internal("the scheduler stops what does not run, or for nobody");
    }
    ActiveRun& run = *victim->second.run;
    // Its end is under way.
    if (run.state.cancel_requested()) continue;
    AttemptPreempting detail;
    detail.run = other->record.id;
    detail.task = other->state.pipeline().tasks[stop.beneficiary.task].name;
    detail.cause = stop.cause == Eviction::Cause::priority ? AttemptPreempting::Cause::priority
                                                           : AttemptPreempting::Cause::reclaim;
    const TaskIndex task = victim->second.task;
    TRACKBED_RETURN_IF_ERROR(Record(run, EventType::attempt_preempting, task,
                                    run.state.task(task).attempt, Encode(detail)));
    MakeRoom(&victim->second);
  }
  return absl::OkStatus();
}

// What the last engine meant to stop: it may or may not have come to that.
void Engine::Impl::StopAgainForOthers() {
  for (const AttemptKey& key : std::exchange(to_stop_again_, {})) {
    const auto found = attempts_.find(key);
    if (found == attempts_.end()) continue;
    ActiveAttempt& attempt = found->second;
    if (!StillWaits(*attempt.run->state.Preemption(attempt.task))) continue;
    nodes_->queue().Stopping(attempt.held);
    MakeRoom(&attempt);
  }
}

bool Engine::Impl::StillWaits(const AttemptPreempting& beneficiary) const {
  const ActiveRun* run = FindActive(beneficiary.run);
  if (run == nullptr) return false;
  const StatusOr<TaskIndex> task = FindTask(run->state, beneficiary.task);
  return task.ok() && IsWanted({run->record.number, *task});
}

void Engine::Impl::MakeRoom(ActiveAttempt* attempt) {
  attempt->makes_room = true;
  StopAttempt(*attempt->run, attempt->task, StopMode::terminate);
}

Status Engine::Impl::Preempted(ActiveRun& run, TaskIndex task, AttemptEnded ended) {
  ended.reason = FailureReason::preempted;
  if (ended.message.empty()) ended.message = DescribePreemption(*run.state.Preemption(task));
  ended.retry_at = now_;
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_preempted, task, run.state.task(task).attempt, Encode(ended)));
  to_consider_.push_back({run.record.number, task});
  return absl::OkStatus();
}

}  // namespace trackbed
