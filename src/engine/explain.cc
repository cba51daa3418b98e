#include "trackbed/engine/explain.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <utility>

#include "engine/node_devices.hpp"
#include "engine/request.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/resources/node_reader.hpp"

namespace trackbed {
namespace {

constexpr size_t kNamed = 8;  // so many tasks are named in a sentence

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

// A task under way, and the amounts it holds.
struct Holder {
  std::string name;
  Allocation allocation;
};

// The account of the driving engine's machine, made again from what is recorded.
class Account {
 public:
  Account(SlotAllocator allocator, RunId asking)
      : allocator_(std::move(allocator)), asking_(std::move(asking)) {}

  void Add(const RunState& run) {
    for (TaskIndex task = 0; task < run.pipeline().tasks.size(); ++task) {
      if (run.task(task).state != TaskState::running) continue;
      const Task& definition = run.pipeline().tasks[task];
      Holder holder{
          run.id() == asking_ ? definition.name : absl::StrCat(run.id(), "/", definition.name), {}};
      const AttemptIntended* intended = run.Intended(task);
      const bool recorded =
          intended != nullptr && !intended->slots.empty() &&
          allocator_.AllocateParts(PartsOf(intended->slots), &holder.allocation).ok();
      if (!recorded) {
        const StatusOr<SlotDemand> demand =
            allocator_.Prepare(RequestOrDefault(definition.resources));
        if (!demand.ok() || !allocator_.TryAllocate(*demand, &holder.allocation)) continue;
      }
      holders_.push_back(std::move(holder));
    }
  }

  TaskExplanation Explain(const Task& task) const {
    const StatusOr<SlotDemand> demand = allocator_.Prepare(RequestOrDefault(task.resources));
    if (!demand.ok()) {
      return Say(TaskSituation::shortage,
                 absl::StrCat(AbslView(Message(demand.status())), ": it cannot run here"));
    }
    const Shortfall shortfall = allocator_.Explain(*demand);
    if (shortfall.kind == Shortfall::Kind::none) {
      return Say(TaskSituation::next, "nothing is in its way: it starts when its turn comes");
    }
    TaskExplanation explanation =
        Say(shortfall.kind == Shortfall::Kind::shortage ? TaskSituation::shortage
                                                        : TaskSituation::fragmentation,
            shortfall.message);
    explanation.slot = shortfall.slot;
    explanation.needed = shortfall.needed;
    explanation.free = shortfall.free;
    std::vector<std::string> held;
    for (const Holder& holder : holders_) {
      for (const AllocationPart& part : holder.allocation.parts) {
        if (part.slot != shortfall.slot) continue;
        explanation.waits_for.push_back(holder.name);
        held.push_back(absl::StrCat(holder.name, " (", FormatSlotAmount(part.slot, part.amount),
                                    part.device.empty() ? "" : " of ", AbslView(part.device), ")"));
      }
    }
    if (!held.empty()) absl::StrAppend(&explanation.sentence, "; held by ", Names(held));
    return explanation;
  }

 private:
  SlotAllocator allocator_;
  RunId asking_;
  std::vector<Holder> holders_;
};

}  // namespace

std::string_view ToString(TaskSituation situation) {
  switch (situation) {
    case TaskSituation::ended:
      return "ended";
    case TaskSituation::running:
      return "running";
    case TaskSituation::dependencies:
      return "dependencies";
    case TaskSituation::retry:
      return "retry";
    case TaskSituation::cancelling:
      return "cancelling";
    case TaskSituation::interrupted:
      return "interrupted";
    case TaskSituation::shortage:
      return "shortage";
    case TaskSituation::fragmentation:
      return "fragmentation";
    case TaskSituation::next:
      return "next";
  }
  return "unknown";
}

std::string DescribeDevices(const RunState& run, TaskIndex task) {
  const AttemptIntended* intended = run.Intended(task);
  if (intended == nullptr) return "";
  std::string text;
  for (const HeldSlot& held : intended->slots) {
    if (held.device.empty() || held.slot == "cpu" || held.slot == "mem") continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", FormatSlotAmount(held.slot, held.amount), " ",
                    held.slot, " of ", held.device);
  }
  return text;
}

TaskExplanation ExplainState(const RunState& run, TaskIndex index, Time now) {
  const TaskStatus& status = run.task(index);
  const std::vector<Task>& tasks = run.pipeline().tasks;
  if (IsFinal(status.state)) return Say(TaskSituation::ended, "it has ended");
  if (status.state == TaskState::running) {
    const std::string held = DescribeDevices(run, index);
    return Say(TaskSituation::running,
               absl::StrCat("attempt ", status.attempt, " runs since ", FormatTime(status.started),
                            held.empty() ? "" : " on ", held));
  }
  if (run.cancel_requested()) {
    return Say(TaskSituation::cancelling, "its run is being cancelled");
  }
  TaskExplanation explanation;
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
  } else {
    explanation.sentence = "nothing is in its way: it starts when its turn comes";
  }
  return explanation;
}

StatusOr<TaskExplanation> ExplainTask(Store& store, const RunId& id, TaskIndex task, Time now,
                                      const std::function<bool(const LeaseHolder&)>& is_gone) {
  TRACKBED_ASSIGN_OR_RETURN(const StoredRun stored, LoadRun(store, id));
  const RunState& run = *stored.state;
  TaskExplanation explanation = ExplainState(run, task, now);
  if (explanation.situation == TaskSituation::ended) return explanation;
  TRACKBED_ASSIGN_OR_RETURN(const Lease lease, store.ReadLease());
  if (lease.expires <= now || (is_gone && is_gone(lease.holder))) {
    return Say(TaskSituation::interrupted,
               absl::StrCat("nobody drives its run; trackbed resume ", id, " continues it"));
  }
  if (explanation.situation != TaskSituation::next) return explanation;
  const ParsedNode node = ReadNode(lease.holder.node, "node", TextFormat::yaml);
  if (!node.node) return explanation;  // an engine that does not say what it may use
  StatusOr<SlotAllocator> allocator = NewNodeAccount(*node.node);
  if (!allocator.ok()) return explanation;
  Account account(*std::move(allocator), id);
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> runs, store.ListRuns(SIZE_MAX));
  for (const RunRecord& record : runs) {
    if (record.status != RunStatus::running) continue;
    if (record.id == id) {
      account.Add(run);
    } else if (const StatusOr<StoredRun> other = LoadRun(store, record.id); other.ok()) {
      account.Add(*other->state);
    }
  }
  return account.Explain(run.pipeline().tasks[task]);
}

}  // namespace trackbed
