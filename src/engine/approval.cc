#include "trackbed/engine/approval.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>

#include "engine/utf8.hpp"

namespace trackbed {
namespace {

Status CheckText(std::string_view what, std::string_view text, size_t most) {
  if (text.size() > most) {
    return InvalidArgument(
        absl::StrCat(AbslView(what), ": found ", text.size(), " bytes, expected at most ", most));
  }
  if (IsUtf8(text)) return absl::OkStatus();
  return InvalidArgument(absl::StrCat(AbslView(what), ": found bytes that are not UTF-8"));
}

}  // namespace

Status CheckDecision(const RunState& run, TaskIndex index, const ApprovalDecided& decision) {
  TRACKBED_RETURN_IF_ERROR(CheckText("by", decision.by, kMaxDeciderSize));
  TRACKBED_RETURN_IF_ERROR(CheckText("comment", decision.comment, kMaxCommentSize));
  if (decision.by.find_first_not_of(" \t\r\n") == std::string::npos) {
    return InvalidArgument("by: found nobody, expected the name of who decides");
  }
  const Task& task = run.pipeline().tasks[index];
  const std::string name = absl::StrCat("task \"", task.name, "\" of run ", run.id());
  if (!task.approval) {
    return FailedPrecondition(absl::StrCat(name, " runs something; it waits for no approval"));
  }
  const TaskState state = run.task(index).state;
  if (const ApprovalDecided* before = run.Decision(index)) {
    return FailedPrecondition(absl::StrCat(name, " is decided already: ", DescribeDecision(*before),
                                           ", at ", FormatTime(run.task(index).finished)));
  }
  if (state != TaskState::waiting) {
    return FailedPrecondition(absl::StrCat(name, " does not wait for approval",
                                           state == TaskState::pending ? " yet" : "", ": it is ",
                                           AbslView(ToString(state))));
  }
  if (run.cancel_requested()) {
    return FailedPrecondition(absl::StrCat("run ", run.id(), " is being cancelled"));
  }
  const std::vector<std::string>& may = task.approval->approvers;
  if (!may.empty() && std::find(may.begin(), may.end(), decision.by) == may.end()) {
    return FailedPrecondition(absl::StrCat("\"", decision.by, "\" may not decide about ", name,
                                           "; who may: ", absl::StrJoin(may, ", ")));
  }
  return absl::OkStatus();
}

StatusOr<Request> PostDecision(Store& store, const StoredRun& run, TaskIndex task,
                               const ApprovalDecided& decision, Time now) {
  TRACKBED_RETURN_IF_ERROR(CheckDecision(*run.state, task, decision));
  Request request;
  request.kind = Request::Kind::decide;
  request.run = run.record.id;
  request.detail = Encode(DecisionRequest{task, run.state->task(task).attempt, decision});
  TRACKBED_RETURN_IF_ERROR(store.PostRequest(request, now));
  return request;
}

}  // namespace trackbed
