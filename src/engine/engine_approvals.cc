// Tasks that ask people: no attempts, no slots, one decision for each time that they ask.
#include <utility>

#include "engine/attempt_builder.hpp"
#include "engine/engine_impl.hpp"
#include "trackbed/engine/approval.hpp"

namespace trackbed {

Status Engine::Impl::Ask(ActiveRun& run, TaskIndex task) {
  StatusOr<std::string> question = RenderQuestion(run.state, task);
  if (!question.ok()) return FailBeforeAttempt(run, task, question.status());
  TRACKBED_RETURN_IF_ERROR(Record(run, EventType::approval_requested, task,
                                  run.state.task(task).attempt + 1,
                                  Encode(ApprovalRequested{*std::move(question)})));
  ExpectAnswer(run, task);
  return absl::OkStatus();
}

void Engine::Impl::ExpectAnswer(const ActiveRun& run, TaskIndex task) {
  const Time expires = run.state.ApprovalExpires(task);
  if (expires == kNever) return;
  timers_.push(
      {expires, Timer::Kind::expiry, {run.record.number, task}, run.state.task(task).attempt});
}

Status Engine::Impl::Decide(const RunId& id,
                            const std::function<StatusOr<TaskIndex>(const RunState&)>& find,
                            const ApprovalDecided& decision) {
  TRACKBED_RETURN_IF_ERROR(broken_);
  now_ = ReadClock();
  const auto decide = [&](ActiveRun& run) -> Status {
    TRACKBED_ASSIGN_OR_RETURN(const TaskIndex task, find(run.state));
    TRACKBED_RETURN_IF_ERROR(CheckDecision(run.state, task, decision));
    return RecordDecision(run, task, decision);
  };
  if (ActiveRun* run = FindActive(id)) {
    TRACKBED_RETURN_IF_ERROR(decide(*run));
    return CommitAndAct();
  }
  // Nobody drives it: the decision becomes part of it, and nothing else happens.
  TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, options_.store->FindRun(id));
  TRACKBED_RETURN_IF_ERROR(Load(record, Purpose::cancel).status());
  finished_.push_back(std::move(runs_.extract(record.number).mapped()));
  TRACKBED_RETURN_IF_ERROR(decide(*finished_.back()));
  return CommitAndAct();
}

// Who was first decides; and an answer to an earlier question is none to a later one.
Status Engine::Impl::DecideAsAsked(const Request& request) {
  DecisionRequest asked;
  TRACKBED_RETURN_IF_ERROR(Decode(request.detail, &asked));
  const auto find = [&](const RunState& run) -> StatusOr<TaskIndex> {
    if (asked.task >= run.pipeline().tasks.size() ||
        run.task(asked.task).attempt != asked.attempt) {
      return FailedPrecondition("it does not ask that any more");
    }
    return asked.task;
  };
  return Decide(request.run, find, asked.decision);
}

Status Engine::Impl::RecordDecision(ActiveRun& run, TaskIndex task,
                                    const ApprovalDecided& decision) {
  TRACKBED_RETURN_IF_ERROR(Record(run, EventType::approval_decided, task,
                                  run.state.task(task).attempt, Encode(decision)));
  // A run that nobody drives waits for nothing.
  return run.waiting_for.empty() ? absl::OkStatus() : OnFinal(run, task);
}

}  // namespace trackbed
