#include "trackbed/engine/explain.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "engine/attempt_builder.hpp"
#include "engine/describe_wait.hpp"
#include "engine/engine_nodes.hpp"
#include "engine/map_run.hpp"
#include "engine/request.hpp"
#include "engine/run_times.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/cache_key.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/resources/node_reader.hpp"

namespace trackbed {
namespace {

constexpr size_t kNamed = 8;  // so many tasks are named in a sentence
constexpr const char* kNothingInItsWay = "nothing is in its way: it starts when its turn comes";

std::string Names(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kNamed);
  std::string text =
      absl::StrJoin(names.begin(), names.begin() + static_cast<ptrdiff_t>(shown), ", ");
  if (shown < names.size()) absl::StrAppend(&text, " and ", names.size() - shown, " more");
  return text;
}

TaskExplanation Say(TaskSituation situation, std::string sentence) {
  TaskExplanation explanation;
  explanation.situation = situation;
  explanation.sentence = std::move(sentence);
  return explanation;
}

// What one run has done lately.
struct Activity {
  Time taken_up{};  // by an engine, the last time
  Time last{};
};

StatusOr<Activity> ActivityOf(Store& store, int64_t run) {
  Activity activity;
  TRACKBED_RETURN_IF_ERROR(store.ReadEvents(run, 1, [&](uint64_t, const Event& event) {
    activity.last = event.time;
    if (event.task == kNoTask) activity.taken_up = event.time;
  }));
  return activity;
}

// What the result of the task's next attempt would be kept as; "" when it is not to be kept. Equal
// tasks have equal keys, and only one of them runs at a time.
std::string KeyOfNextAttempt(const RunState& run, TaskIndex task) {
  // Where attempts lie is not part of it.
  const StatusOr<AttemptSpec> spec =
      BuildAttempt(run, task, run.task(task).attempt + 1, Workspace("/"));
  if (!spec.ok()) return "";
  const CachePlan plan = PlanCaching(run, task, *spec, kMachineArchitecture);
  return plan.off.empty() ? CacheKeyOf(plan.fields) : "";
}

TaskExplanation ExplainBatch(const RunState& run, TaskIndex index, Time now,
                             TaskIndex first_held_back);

// Whether what is given out as `held` is missing as `asked`: a card is in one way at a time.
bool IsInTheWay(std::string_view held, std::string_view asked) {
  if (held == asked) return true;
  const SlotType* a = FindSlotType(held);
  const SlotType* b = FindSlotType(asked);
  if (a == nullptr || b == nullptr || a->exclusive_set.empty()) return false;
  // An instance of a partitioned card is of one that is not given out in any other way.
  const bool of_cards = a->kind != SlotKind::unique && b->kind != SlotKind::unique;
  return of_cards && a->exclusive_set == b->exclusive_set;
}

// The queue of the engine that drives a run, made again from what is stored.
class StoredQueue {
 public:
  StoredQueue(Store& store, std::unique_ptr<EngineNodes> nodes, const Tenancy& tenancy,
              RunId asking, Time now)
      : store_(store),
        nodes_(std::move(nodes)),
        tenancy_(tenancy),
        asking_(std::move(asking)),
        now_(now) {}

  // Counts what the run has under way. What of it is ready waits, if the run is `driven`.
  Status Add(const StoredRun& stored, bool driven) {
    const RunState& run = *stored.state;
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<Duration> run_times,
                              EstimateRunTimes(store_, stored.record, run.pipeline()));
    NodeQueue::Claim claim;
    claim.tenant = tenancy_.Find(run.submitted().tenant).value_or(kRootTenant);
    const TaskIndex first_held_back = FirstHeldBack(run);
    for (TaskIndex task = 0; task < run.pipeline().tasks.size(); ++task) {
      const TaskState state = run.task(task).state;
      const bool ready =
          state == TaskState::pending && driven && IsReady(run, task, first_held_back);
      if (state != TaskState::running && !ready) continue;
      const ReadyTask here{stored.record.number, task};
      if (run.pipeline().tasks[task].approval) continue;  // nor has what asks somebody
      // A map has no place in the queue and holds nothing; its batches do.
      if (run.pipeline().tasks[task].map) {
        if (ready) ready_.push_back({ReadySince(run, task), here, std::nullopt});
        if (ready) runs_.emplace(here.run, stored.state);
        const AttemptIntended* intended = ready ? nullptr : run.Intended(task);
        if (intended != nullptr) {
          holders_.push_back({NameOfTask(run, task, asking_), intended->cache_key, {}, {}});
        }
        continue;
      }
      claim.request = run.pipeline().tasks[task].resources.get();
      claim.priority = PriorityOf(run, task);
      claim.run_time = run_times.empty() ? Duration{0} : run_times[task];
      claim.at_least = run.pipeline().tasks[task].enforcement;
      claim.members = run.pipeline().tasks[task].cluster_size;
      claim.on_different_nodes = run.pipeline().tasks[task].multi_node;
      const StatusOr<NodeQueue::Line> line = nodes_->queue().LineFor(claim, now_);
      if (ready) {
        ready_.push_back({ReadySince(run, task), here, line});
        runs_.emplace(here.run, stored.state);
        continue;
      }
      Holder holder{NameOfTask(run, task, asking_), "", {}, {}};
      const AttemptIntended* intended = run.Intended(task);
      if (intended != nullptr) holder.cache_key = intended->cache_key;
      const uint32_t held = nodes_->Occupy(line.value_or(NodeQueue::kNoLine), intended,
                                           run.task(task).started, now_, &holder.members);
      if (run.task(task).preempting) {
        const AttemptPreempting& preempting = *run.Preemption(task);
        holder.makes_room_for = absl::StrCat(preempting.run, "/", preempting.task);
        nodes_->queue().Stopping(held);
      }
      holders_.push_back(std::move(holder));
    }
    return absl::OkStatus();
  }

  TaskExplanation Explain(const ReadyTask& asked) {
    std::stable_sort(ready_.begin(), ready_.end(), [](const Ready& a, const Ready& b) {
      return std::tuple(a.since, a.task.run, a.task.task) <
             std::tuple(b.since, b.task.run, b.task.task);
    });
    if (const std::optional<std::string> equal = EqualTaskBefore(asked)) {
      return DescribeSameWork(*equal);
    }
    NodeQueue::Line line = NodeQueue::kNoLine;
    for (const Ready& ready : ready_) {
      const bool queued = ready.line.has_value() && ready.line->ok();
      if (queued) nodes_->queue().Push(**ready.line, ready.task, ready.since);
      if (ready.task != asked) continue;
      if (!ready.line.has_value()) return Say(TaskSituation::next, kNothingInItsWay);
      if (!queued) {
        const bool weak = ready.line->status().code() == StatusCode::kFailedPrecondition;
        return Say(weak ? TaskSituation::enforcement : TaskSituation::shortage,
                   absl::StrCat(AbslView(Message(ready.line->status())), ": it cannot run here"));
      }
      line = **ready.line;
    }
    // The driver has started what it could, and keeps room for who comes next.
    while (const std::optional<NodeQueue::Started> started = nodes_->queue().Take(now_)) {
      if (started->task == asked) return Say(TaskSituation::next, kNothingInItsWay);
    }
    TaskExplanation explanation =
        DescribeReason(nodes_->queue().Explain(line, asked, now_), [&](const ReadyTask& ready) {
          return NameOfTask(*runs_.at(ready.run), ready.task, asking_);
        });
    if (const std::vector<std::string> stopping = StoppingFor(asked); !stopping.empty()) {
      TaskExplanation waits =
          Say(TaskSituation::preempting,
              absl::StrCat("waits for ", Names(stopping), " to end, stopped so that it has room"));
      waits.waits_for = stopping;
      return waits;
    }
    std::vector<std::string> held;
    for (const Holder& holder : holders_) AddHeld(holder, &explanation, &held);
    if (!held.empty()) absl::StrAppend(&explanation.sentence, "; held by ", Names(held));
    return explanation;
  }

 private:
  struct Ready {
    Time since;
    ReadyTask task;
    std::optional<StatusOr<NodeQueue::Line>> line;  // none of a map
  };
  // A task under way, and what it holds.
  struct Holder {
    std::string name;
    std::string cache_key;
    HeldMembers members;
    std::string makes_room_for;  // "RUN/TASK"; empty: for nobody
  };

  // What it holds of the slot that is short, or in the way of it.
  void AddHeld(const Holder& holder, TaskExplanation* explanation,
               std::vector<std::string>* held) const {
    for (const HeldMember& member : holder.members) {
      for (const AllocationPart& part : member.allocation.parts) {
        if (!IsInTheWay(part.slot, explanation->slot)) continue;
        explanation->waits_for.push_back(holder.name);
        held->push_back(absl::StrCat(holder.name, " (", FormatSlotAmount(part.slot, part.amount),
                                     part.device.empty() ? "" : " of ", AbslView(part.device),
                                     ")"));
      }
    }
  }

  std::vector<std::string> StoppingFor(const ReadyTask& asked) const {
    const RunState& run = *runs_.at(asked.run);
    const std::string name = absl::StrCat(run.id(), "/", run.pipeline().tasks[asked.task].name);
    std::vector<std::string> stopping;
    for (const Holder& holder : holders_) {
      if (holder.makes_room_for == name) stopping.push_back(holder.name);
    }
    return stopping;
  }

  // Of equal tasks one does the work: one that runs, else the first that is ready.
  std::optional<std::string> EqualTaskBefore(const ReadyTask& asked) const {
    const auto key_of = [&](const ReadyTask& ready) {
      return KeyOfNextAttempt(*runs_.at(ready.run), ready.task);
    };
    const std::string key = key_of(asked);
    if (key.empty()) return std::nullopt;
    for (const Holder& holder : holders_) {
      if (holder.cache_key == key) return holder.name;
    }
    for (const Ready& ready : ready_) {
      if (ready.task == asked) break;
      if (key_of(ready.task) != key) continue;
      return NameOfTask(*runs_.at(ready.task.run), ready.task.task, asking_);
    }
    return std::nullopt;
  }

  bool IsReady(const RunState& run, TaskIndex task, TaskIndex first_held_back) const {
    return !run.pipeline().tasks[task].skip &&
           ExplainBatch(run, task, now_, first_held_back).situation == TaskSituation::next;
  }

  Store& store_;
  std::unique_ptr<EngineNodes> nodes_;
  const Tenancy& tenancy_;
  RunId asking_;
  Time now_;
  std::vector<Ready> ready_;
  std::vector<Holder> holders_;
  std::map<int64_t, std::shared_ptr<const RunState>> runs_;
};

}  // namespace

std::string_view ToString(TaskSituation situation) {
  switch (situation) {
    case TaskSituation::ended:
      return "ended";
    case TaskSituation::running:
      return "running";
    case TaskSituation::unknown:
      return "unknown";
    case TaskSituation::dependencies:
      return "dependencies";
    case TaskSituation::same_work:
      return "same_work";
    case TaskSituation::retry:
      return "retry";
    case TaskSituation::batches:
      return "batches";
    case TaskSituation::cancelling:
      return "cancelling";
    case TaskSituation::interrupted:
      return "interrupted";
    case TaskSituation::shortage:
      return "shortage";
    case TaskSituation::fragmentation:
      return "fragmentation";
    case TaskSituation::quota:
      return "quota";
    case TaskSituation::reserved:
      return "reserved";
    case TaskSituation::order:
      return "order";
    case TaskSituation::next:
      return "next";
    case TaskSituation::enforcement:
      return "enforcement";
    case TaskSituation::approval:
      return "approval";
    case TaskSituation::preempting:
      return "preempting";
  }
  return "unknown";
}

std::string DescribeDevices(const RunState& run, TaskIndex task) {
  const AttemptIntended* intended = run.Intended(task);
  if (intended == nullptr) return "";
  std::string text;
  for (const HeldSlot& held : intended->slots) {
    const SlotType* type = FindSlotType(held.slot);
    if (held.device.empty() || (type != nullptr && !type->of_devices())) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", FormatSlotAmount(held.slot, held.amount), " ",
                    held.slot, " of ", held.device);
    if (type != nullptr) absl::StrAppend(&text, " (", AbslView(ToString(type->enforcement)), ")");
  }
  return text;
}

std::string DescribeUnknown(const RunState& run, TaskIndex task) {
  const AttemptUnknown* unknown = run.Unknown(task);
  if (unknown == nullptr) return "";
  const bool one = unknown->nodes.size() == 1;
  return absl::StrCat(one ? "node " : "nodes ", Names(unknown->nodes), one ? " has" : " have",
                      " not answered since ", FormatTime(unknown->since));
}

std::optional<Enforcement> WeakestEnforcement(const std::vector<SlotRequest>& request) {
  std::optional<Enforcement> weakest;
  for (const SlotRequest& wanted : request) {
    const SlotType* type = FindSlotType(wanted.slot);
    if (type == nullptr || !type->of_devices() || wanted.amount == Quantity()) continue;
    weakest = std::min(weakest.value_or(type->enforcement), type->enforcement);
  }
  return weakest;
}

namespace {

// "waits since … for the approval of ada or grace: Release it?"
std::string DescribeAsking(const RunState& run, TaskIndex index) {
  const std::vector<std::string>& approvers = run.pipeline().tasks[index].approval->approvers;
  const Time until = run.ApprovalExpires(index);
  return absl::StrCat(
      "waits since ", FormatTime(run.task(index).started), " for the approval of ",
      approvers.empty() ? "somebody" : absl::StrJoin(approvers, " or "), ": ",
      run.Asked(index)->message,
      until == kNever ? "" : absl::StrCat("; rejected unless decided by ", FormatTime(until)),
      "; trackbed approve ", run.id(), " ", run.pipeline().tasks[index].name);
}

}  // namespace

TaskExplanation ExplainState(const RunState& run, TaskIndex index, Time now) {
  return ExplainBatch(run, index, now, FirstHeldBack(run));
}

namespace {

TaskExplanation ExplainBatch(const RunState& run, TaskIndex index, Time now,
                             TaskIndex first_held_back) {
  const TaskStatus& status = run.task(index);
  const std::vector<Task>& tasks = run.pipeline().tasks;
  if (IsFinal(status.state)) return Say(TaskSituation::ended, "it has ended");
  if (status.state == TaskState::running) {
    if (tasks[index].map) {
      return Say(
          TaskSituation::running,
          absl::StrCat("attempt ", status.attempt, " runs since ", FormatTime(status.started),
                       ": that of its batches, run ", run.MapRun(index)));
    }
    if (status.unknown) {
      return Say(TaskSituation::unknown,
                 absl::StrCat("whether attempt ", status.attempt,
                              " goes on is not known: ", DescribeUnknown(run, index)));
    }
    const std::string held = DescribeDevices(run, index);
    std::string sentence =
        absl::StrCat("attempt ", status.attempt, " runs since ", FormatTime(status.started),
                     held.empty() ? "" : " on ", held);
    if (status.preempting) {
      absl::StrAppend(&sentence, "; it is being ", DescribePreemption(*run.Preemption(index)));
    }
    return Say(TaskSituation::running, std::move(sentence));
  }
  if (run.cancel_requested()) {
    return Say(TaskSituation::cancelling, "its run is being cancelled");
  }
  TaskExplanation explanation;
  if (status.state == TaskState::waiting) {
    explanation.situation = TaskSituation::approval;
    explanation.until = run.ApprovalExpires(index);
    explanation.sentence = DescribeAsking(run, index);
    return explanation;
  }
  for (const TaskIndex dependency : run.graph().Predecessors(index)) {
    if (!IsFinal(run.task(dependency).state)) {
      explanation.waits_for.push_back(tasks[dependency].name);
    }
  }
  if (!explanation.waits_for.empty()) {
    explanation.situation = TaskSituation::dependencies;
    explanation.sentence = absl::StrCat("waits for ", Names(explanation.waits_for));
  } else if (const Time retry_at = run.RetryAt(index); retry_at > now) {
    explanation.situation = TaskSituation::retry;
    explanation.until = retry_at;
    explanation.sentence = absl::StrCat("next try at ", FormatTime(retry_at));
  } else if (index >= first_held_back && !status.tried()) {
    explanation.situation = TaskSituation::batches;
    explanation.sentence = absl::StrCat("waits for one of the ", run.map()->concurrency,
                                        " batches that may be under way at once");
  } else {
    explanation.sentence = kNothingInItsWay;
  }
  return explanation;
}

}  // namespace

std::string NameOfTask(const RunState& run, TaskIndex task, const RunId& asking) {
  const std::string& name = run.pipeline().tasks[task].name;
  return run.id() == asking ? name : absl::StrCat(run.id(), "/", name);
}

TaskExplanation DescribeSameWork(const std::string& equal) {
  TaskExplanation explanation = Say(
      TaskSituation::same_work, absl::StrCat("waits for ", equal, ", which does the same work"));
  explanation.waits_for.push_back(equal);
  return explanation;
}

TaskExplanation DescribeReason(const QueueReason& reason,
                               const std::function<std::string(const ReadyTask&)>& name) {
  using Rule = WaitReason::Rule;
  const WaitReason& why = reason.why;
  TaskExplanation explanation = Say(TaskSituation::next, kNothingInItsWay);
  explanation.before = reason.before;
  if (reason.ahead) explanation.ahead = name(*reason.ahead);
  if (reason.crowded) {
    explanation.situation = TaskSituation::shortage;
    explanation.sentence =
        "attempts found running hold more than there is; nothing starts until some have ended";
    return explanation;
  }
  explanation.until = why.until;
  explanation.expected_start = why.expected_start;
  const Shortfall& shortfall = reason.shortfall;
  if (why.rule == Rule::claiming) {
    explanation.situation = TaskSituation::preempting;
    explanation.sentence = why.sentence;
  } else if (shortfall.kind != Shortfall::Kind::none) {
    explanation.situation = shortfall.kind == Shortfall::Kind::shortage
                                ? TaskSituation::shortage
                                : TaskSituation::fragmentation;
    explanation.slot = shortfall.slot;
    explanation.needed = shortfall.needed;
    explanation.free = shortfall.free;
    explanation.sentence = shortfall.message;
  } else if (why.rule == Rule::quota) {
    explanation.situation = TaskSituation::quota;
    explanation.sentence = why.sentence;
  } else if (why.rule == Rule::reserved) {
    explanation.situation = TaskSituation::reserved;
    explanation.sentence = absl::StrCat(
        "would fit, but would delay ", explanation.ahead, ", for which the room is kept",
        why.until == kNever ? "" : absl::StrCat(" from ", FormatTime(why.until)));
  } else if (why.rule == Rule::strict_order) {
    explanation.situation = TaskSituation::order;
    explanation.sentence =
        absl::StrCat(explanation.ahead, " is before it and waits for room; nobody may overtake");
  }
  if (explanation.expected_start != kNever) {
    absl::StrAppend(&explanation.sentence, "; expected at ",
                    FormatTime(explanation.expected_start));
  }
  if (reason.before > 0) {
    absl::StrAppend(&explanation.sentence, "; ", reason.before,
                    reason.before == 1 ? " task that asks" : " tasks that ask",
                    " for the same before it");
  }
  return explanation;
}

namespace {

// Why it waits, of a task that has not ended and of which the state says `explanation`.
StatusOr<TaskExplanation> ExplainUnended(Store& store, const StoredRun& asked, TaskIndex task,
                                         TaskExplanation explanation, Time now,
                                         const std::function<bool(const LeaseHolder&)>& is_gone,
                                         const Tenancy& tenancy, const GroupPolicy& policy,
                                         Order* order) {
  const RunId& id = asked.record.id;
  // People may answer whether somebody drives the run or not.
  if (explanation.situation == TaskSituation::approval) return explanation;
  TRACKBED_ASSIGN_OR_RETURN(const Lease lease, store.ReadLease());
  if (lease.expires <= now || (is_gone && is_gone(lease.holder))) {
    return Say(TaskSituation::interrupted,
               absl::StrCat("nobody drives its run; trackbed resume ", id, " continues it"));
  }
  const bool is_approval = static_cast<bool>(asked.state->pipeline().tasks[task].approval);
  if (explanation.situation != TaskSituation::next || is_approval) return explanation;
  ParsedNodes known = ReadNodes(lease.holder.node, "nodes", TextFormat::yaml);
  if (known.nodes.empty()) return explanation;  // an engine that does not say what it may use
  StatusOr<std::unique_ptr<EngineNodes>> nodes =
      EngineNodes::Create(std::move(known.nodes), EngineNodes::Naming::where_needed, tenancy,
                          policy, order, [](const ReadyTask&) { return true; });
  if (!nodes.ok()) return explanation;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<NodeRecord> records, store.ListNodes());
  std::set<std::string> drained;
  for (const NodeRecord& record : records) {
    if (record.drained) drained.insert(record.name);
  }
  (*nodes)->SetDrained(std::move(drained));
  StoredQueue rebuilt(store, *std::move(nodes), tenancy, id, now);
  TRACKBED_ASSIGN_OR_RETURN(const Activity activity, ActivityOf(store, asked.record.number));
  TRACKBED_ASSIGN_OR_RETURN(std::vector<RunRecord> runs, store.ListRuns(SIZE_MAX, RunsListed::all));
  std::reverse(runs.begin(), runs.end());
  for (const RunRecord& record : runs) {
    if (record.id == id) {
      TRACKBED_RETURN_IF_ERROR(rebuilt.Add(asked, true));
    } else if (record.status == RunStatus::running) {
      const StatusOr<StoredRun> other = LoadRun(store, record.id);
      const StatusOr<Activity> its = ActivityOf(store, record.number);
      if (!other.ok() || !its.ok()) continue;
      // An interrupted run does nothing more once the asked one has been taken up.
      TRACKBED_RETURN_IF_ERROR(rebuilt.Add(*other, its->last >= activity.taken_up));
    }
  }
  return rebuilt.Explain({asked.record.number, task});
}

}  // namespace

StatusOr<TaskExplanation> ExplainTask(Store& store, const RunId& id, TaskIndex task, Time now,
                                      const std::function<bool(const LeaseHolder&)>& is_gone,
                                      const Tenancy& tenancy, const GroupPolicy& policy,
                                      Order* order) {
  TRACKBED_ASSIGN_OR_RETURN(const StoredRun asked, LoadRun(store, id));
  TaskExplanation state = ExplainState(*asked.state, task, now);
  if (state.situation == TaskSituation::ended) return state;
  TRACKBED_ASSIGN_OR_RETURN(
      TaskExplanation explanation,
      ExplainUnended(store, asked, task, std::move(state), now, is_gone, tenancy, policy, order));
  explanation.enforcement = WeakestEnforcement(asked.state->pipeline().tasks[task].resources);
  return explanation;
}

}  // namespace trackbed
