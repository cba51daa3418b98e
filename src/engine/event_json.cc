#include "trackbed/engine/event_json.hpp"

#include <nlohmann/json.hpp>
#include <string>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(std::string_view text) { return std::string(text); }

Json ToJson(const Value& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

Json ToJson(const std::map<std::string, Value>& values) {
  Json object = Json::object();
  for (const auto& [name, value] : values) object[name] = ToJson(value);
  return object;
}

// Of a slot that an older or newer version knew, nothing is known.
std::string Enforced(std::string_view slot) {
  const SlotType* type = FindSlotType(slot);
  return type == nullptr ? "unknown" : Text(ToString(type->enforcement));
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

void Add(const AttemptEnded& ended, Json* json) {
  if (ended.reason != FailureReason::none) (*json)["reason"] = Text(ToString(ended.reason));
  if (ended.exit_code != 0) (*json)["exit_code"] = ended.exit_code;
  if (ended.signal != 0) (*json)["signal"] = ended.signal;
  if (!ended.message.empty()) (*json)["message"] = ended.message;
  if (!ended.outputs.empty()) (*json)["outputs"] = ToJson(ended.outputs);
  if (!ended.output_digest.empty()) (*json)["output_digest"] = ended.output_digest;
  if (!ended.image_digest.empty()) (*json)["image_digest"] = ended.image_digest;
  if (ended.wall_time > Duration(0)) (*json)["wall_seconds"] = Seconds(ended.wall_time);
  if (ended.cpu_time > Duration(0)) (*json)["cpu_seconds"] = Seconds(ended.cpu_time);
  if (ended.max_rss_bytes > 0) (*json)["max_rss_bytes"] = ended.max_rss_bytes;
  if (ended.retry_at != Time{}) (*json)["retry_at"] = FormatTime(ended.retry_at);
}

void Add(const AttemptUnknown& unknown, Json* json) {
  (*json)["nodes"] = unknown.nodes;
  (*json)["since"] = FormatTime(unknown.since);
}

void AddSlots(const std::vector<HeldSlot>& slots, Json* json) {
  for (const HeldSlot& held : slots) {
    (*json)["slots"].push_back({{"slot", held.slot},
                                {"device", held.device},
                                {"amount", FormatSlotAmount(held.slot, held.amount)},
                                {"enforcement", Enforced(held.slot)}});
  }
}

Json ToJson(const AttemptPreempting& preempting) {
  return {{"run", preempting.run},
          {"task", preempting.task},
          {"cause", Text(ToString(preempting.cause))}};
}

Json ToJson(const ApprovalDecided& decision) {
  Json json = {{"approved", decision.approved}};
  if (!decision.by.empty()) json["by"] = decision.by;
  if (!decision.comment.empty()) json["comment"] = decision.comment;
  return json;
}

void AddDetail(const Event& event, Json* json) {
  switch (event.type) {
    case EventType::run_submitted: {
      RunSubmitted detail;
      if (!Decode(event.detail, &detail).ok()) return;
      (*json)["parameters"] = ToJson(detail.parameters);
      if (!detail.source.digest.empty()) (*json)["source_digest"] = detail.source.digest;
      if (detail.priority != 0) (*json)["priority"] = detail.priority;
      if (!detail.tenant.empty()) (*json)["tenant"] = detail.tenant;
      if (detail.map) {
        (*json)["map"] = {{"task", detail.map->task},
                          {"items", detail.map->count},
                          {"batches", detail.map->batches()}};
      }
      return;
    }
    case EventType::run_finished: {
      RunFinished detail;
      if (Decode(event.detail, &detail).ok()) (*json)["status"] = Text(ToString(detail.status));
      return;
    }
    case EventType::attempt_intended: {
      AttemptIntended detail;
      if (!Decode(event.detail, &detail).ok()) return;
      if (!detail.cache_key.empty()) (*json)["cache_key"] = detail.cache_key;
      if (!detail.cache_off.empty()) (*json)["not_cached"] = detail.cache_off;
      if (!detail.map_run.empty()) (*json)["map_run"] = detail.map_run;
      if (!detail.node.empty()) (*json)["node"] = detail.node;
      AddSlots(detail.slots, json);
      for (size_t rank = 0; rank < detail.gang.size(); ++rank) {
        Json member = {{"host", GangHost(rank)}, {"node", detail.gang[rank].node}};
        AddSlots(detail.gang[rank].slots, &member);
        (*json)["gang"].push_back(std::move(member));
      }
      return;
    }
    case EventType::attempt_succeeded:
    case EventType::attempt_failed:
    case EventType::attempt_cancelled:
    case EventType::attempt_preempted:
    case EventType::task_failed: {
      AttemptEnded detail;
      if (Decode(event.detail, &detail).ok()) Add(detail, json);
      return;
    }
    case EventType::attempt_unknown: {
      AttemptUnknown detail;
      if (Decode(event.detail, &detail).ok()) Add(detail, json);
      return;
    }
    case EventType::task_skipped: {
      TaskSkipped detail;
      if (!Decode(event.detail, &detail).ok()) return;
      (*json)["reason"] = Text(ToString(detail.reason));
      (*json)["message"] = detail.message;
      return;
    }
    case EventType::task_cached: {
      TaskCached detail;
      if (!Decode(event.detail, &detail).ok()) return;
      (*json)["cache_key"] = detail.cache_key;
      (*json)["from_run"] = detail.result.run;
      (*json)["from_task"] = detail.result.task;
      (*json)["from_attempt"] = detail.result.attempt;
      if (!detail.result.outputs.empty()) (*json)["outputs"] = ToJson(detail.result.outputs);
      return;
    }
    case EventType::attempt_preempting: {
      AttemptPreempting detail;
      if (Decode(event.detail, &detail).ok()) (*json)["preempted_for"] = ToJson(detail);
      return;
    }
    case EventType::approval_requested: {
      ApprovalRequested detail;
      if (Decode(event.detail, &detail).ok()) (*json)["message"] = detail.message;
      return;
    }
    case EventType::approval_decided: {
      ApprovalDecided detail;
      if (!Decode(event.detail, &detail).ok()) return;
      const Json decision = ToJson(detail);
      json->insert(decision.begin(), decision.end());
      return;
    }
    case EventType::run_resumed:
    case EventType::run_cancel_requested:
    case EventType::run_retried:
    case EventType::attempt_known:
      return;
  }
}

Json TaskToJson(const RunState& run, TaskIndex index) {
  const TaskStatus& status = run.task(index);
  Json json;
  json["name"] = run.pipeline().tasks[index].name;
  json["state"] = Text(ToString(status.state));
  if (status.cached) json["cached"] = true;
  if (status.attempt > 0) json["attempt"] = status.attempt;
  if (!run.MapRun(index).empty()) json["map_run"] = run.MapRun(index);
  if (status.started != Time{}) json["started"] = FormatTime(status.started);
  if (status.finished != Time{}) json["finished"] = FormatTime(status.finished);
  if (status.started != Time{} && status.finished > status.started) {
    json["seconds"] = Seconds(status.finished - status.started);
  }
  if (const TaskResult* result = run.Result(index)) {
    if (!result->outputs.empty()) json["outputs"] = ToJson(result->outputs);
    if (!result->digest.empty()) json["output_digest"] = result->digest;
    if (status.cached) {
      json["from_run"] = result->run;
      json["from_task"] = result->task;
    }
  }
  if (const ApprovalRequested* asked = run.Asked(index)) {
    const Approval& approval = *run.pipeline().tasks[index].approval;
    json["approval"]["message"] = asked->message;
    if (!approval.approvers.empty()) json["approval"]["approvers"] = approval.approvers;
    if (const Time until = run.ApprovalExpires(index); until != kNever) {
      json["approval"]["until"] = FormatTime(until);
    }
    if (const ApprovalDecided* decision = run.Decision(index)) {
      json["approval"]["decision"] = ToJson(*decision);
    }
  }
  if (const AttemptPreempting* preempting = run.Preemption(index)) {
    json["preempted_for"] = ToJson(*preempting);
  }
  if (const AttemptEnded* failure = run.Failure(index)) {
    Json detail;
    Add(*failure, &detail);
    json["failure"] = detail;
  }
  if (const AttemptUnknown* unknown = run.Unknown(index)) Add(*unknown, &json["unknown"]);
  if (const TaskSkipped* skip = run.Skip(index)) {
    json["skipped"] = {{"reason", Text(ToString(skip->reason))}, {"message", skip->message}};
  }
  return json;
}

// Log text may hold bytes that are not UTF-8; JSON must not.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string EventToJson(std::string_view run, std::string_view task, uint64_t sequence,
                        const Event& event) {
  Json json;
  json["time"] = FormatTime(event.time);
  json["run"] = Text(run);
  if (sequence != 0) json["sequence"] = sequence;
  json["event"] = Text(ToString(event.type));
  if (event.task != kNoTask) json["task"] = Text(task);
  if (event.attempt != 0) json["attempt"] = event.attempt;
  AddDetail(event, &json);
  return Dump(json, -1);
}

std::string EventToJson(const RunState& run, const Event& event) {
  const std::string_view task =
      event.task == kNoTask ? "" : std::string_view(run.pipeline().tasks[event.task].name);
  return EventToJson(run.id(), task, 0, event);
}

std::string RunToJson(const RunRecord& record, const RunState& run) {
  Json json;
  json["run"] = run.id();
  json["pipeline"] = record.pipeline;
  json["version"] = record.version;
  json["status"] = Text(ToString(run.status()));
  json["submitted"] = FormatTime(run.submitted_at());
  if (run.finished_at() != Time{}) json["finished"] = FormatTime(run.finished_at());
  json["parameters"] = ToJson(run.submitted().parameters);
  json["tasks"] = Json::array();
  for (TaskIndex task = 0; task < run.pipeline().tasks.size(); ++task) {
    json["tasks"].push_back(TaskToJson(run, task));
  }
  return Dump(json, 2);
}

}  // namespace trackbed
