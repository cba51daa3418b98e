// Reads the log of a run as a stranger would, by rules written down here a second time: what
// happened was allowed to happen, in that order.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "trackbed/engine/event.hpp"
#include "trackbed/engine/run_state.hpp"

namespace trackbed {

struct StoryRules {
  bool time_goes_on = true;  // no event is older than the one before
};

// What is wrong with it; "" when nothing is.
inline std::string FaultOfStory(const RunState& run, const std::vector<Event>& events,
                                const StoryRules& rules = {}) {
  enum class Fate : uint8_t { open, waiting, running, succeeded, failed, skipped, cancelled };
  const Graph& graph = run.graph();
  std::vector<Fate> fates(graph.task_count(), Fate::open);
  std::vector<uint32_t> attempts(graph.task_count(), 0);
  std::vector<uint32_t> failures(graph.task_count(), 0);
  std::set<TaskIndex> told_to_stop;  // for others
  bool cancelling = false;
  Time last{};
  std::string fault;
  size_t number = 0;
  TaskIndex about = kNoTask;
  const auto require = [&](bool holds, const char* rule) {
    if (holds || !fault.empty()) return;
    fault = run.id() + ", event " + std::to_string(number);
    if (about != kNoTask) fault += ", task " + run.pipeline().tasks[about].name;
    fault += std::string(": it does not hold that ") + rule;
  };
  const auto about_run = [&](const Event& event) {
    if (event.type == EventType::run_cancel_requested) cancelling = true;
    if (event.type == EventType::run_resumed || event.type == EventType::run_retried) {
      cancelling = false;
      for (size_t i = 0; i < fates.size(); ++i) {
        if (fates[i] != Fate::cancelled) continue;
        fates[i] = Fate::open;
        failures[i] = 0;
      }
    }
    if (event.type == EventType::run_retried) {
      RunRetried detail;
      require(Decode(event.detail, &detail).ok(), "the event can be read");
      std::set<TaskIndex> again(detail.tasks.begin(), detail.tasks.end());
      for (const TaskIndex task : graph.TopologicalOrder()) {
        for (const TaskIndex d : graph.Predecessors(task)) {
          if (again.contains(d)) again.insert(task);
        }
      }
      for (const TaskIndex task : again) {
        fates[task] = Fate::open;
        failures[task] = 0;
      }
    }
    if (event.type == EventType::run_finished) {
      for (Fate& fate : fates) {
        require(fate != Fate::running, "nothing runs when the run ends");
        if (fate == Fate::open || fate == Fate::waiting) {
          require(cancelling, "only a cancelled run leaves tasks open");
          fate = Fate::cancelled;
        }
      }
      cancelling = false;
    }
  };
  const auto begins = [&](const Event& event) {
    require(!cancelling, "nothing begins while the run is being cancelled");
    require(fates[event.task] == Fate::open, "a task begins only while it is open");
    int ok = 0;
    int bad = 0;
    for (const TaskIndex d : graph.Predecessors(event.task)) {
      require(fates[d] > Fate::running, "every dependency has ended");
      const bool allowed = run.pipeline().tasks[d].allow_failure;
      if (fates[d] == Fate::succeeded || (fates[d] == Fate::failed && allowed)) ++ok;
      if (fates[d] == Fate::failed && !allowed) ++bad;
    }
    const Task& definition = run.pipeline().tasks[event.task];
    if (event.type != EventType::task_skipped && !graph.Predecessors(event.task).empty()) {
      const auto all = static_cast<int>(graph.Predecessors(event.task).size());
      require(definition.trigger != Trigger::all_succeeded || ok == all,
              "all dependencies succeeded");
      require(definition.trigger != Trigger::none_failed || (bad == 0 && ok > 0),
              "no dependency failed");
    }
    require(!definition.skip || event.type == EventType::task_skipped, "a skipped task is skipped");
  };
  const auto ends = [&](const Event& event) {
    Fate& fate = fates[event.task];
    require(fate == Fate::running, "an attempt ends only while it runs");
    require(event.attempt == attempts[event.task], "it is the last attempt that ends");
    AttemptEnded ended;
    require(Decode(event.detail, &ended).ok(), "the event can be read");
    const bool was_told_to_stop = told_to_stop.erase(event.task) > 0;
    if (event.type == EventType::attempt_succeeded) {
      fate = Fate::succeeded;
    } else if (event.type == EventType::attempt_preempted) {
      require(was_told_to_stop, "nobody is preempted who was not told to stop for somebody");
      require(!cancelling, "attempts are cancelled with their run");
      require(ended.reason == FailureReason::preempted, "who is preempted has not failed");
      fate = Fate::open;
    } else if (event.type == EventType::attempt_cancelled) {
      require(cancelling, "attempts are cancelled with their run");
      fate = Fate::cancelled;
    } else {
      uint32_t& failed = failures[event.task];
      if (ended.reason != FailureReason::lost) ++failed;
      require(failed <= run.pipeline().tasks[event.task].retry.max_attempts,
              "a task fails no more often than it may");
      fate = ended.retry_at == Time{} ? Fate::failed : Fate::open;
    }
  };
  for (const Event& event : events) {
    ++number;
    about = event.task;
    require(!rules.time_goes_on || event.time >= last, "time goes on");
    last = event.time;
    if (event.task == kNoTask) {
      about_run(event);
      continue;
    }
    switch (event.type) {
      case EventType::attempt_intended:
        begins(event);
        require(event.attempt == ++attempts[event.task], "attempts are counted");
        fates[event.task] = Fate::running;
        if (const MapBinding* map = run.map(); map != nullptr && map->concurrency > 0) {
          require(std::count(fates.begin(), fates.end(), Fate::running) <= map->concurrency,
                  "no more batches run at once than their map says");
        }
        break;
      case EventType::attempt_preempting: {
        AttemptPreempting detail;
        require(Decode(event.detail, &detail).ok(), "the event can be read");
        require(fates[event.task] == Fate::running, "only who runs is told to stop");
        require(event.attempt == attempts[event.task], "it is the last attempt that is stopped");
        require(detail.run != run.id() || detail.task != run.pipeline().tasks[event.task].name,
                "nobody is stopped for himself");
        told_to_stop.insert(event.task);
        break;
      }
      case EventType::approval_requested:
        begins(event);
        require(event.attempt == ++attempts[event.task], "questions are counted");
        require(bool{run.pipeline().tasks[event.task].approval}, "only an approval asks");
        fates[event.task] = Fate::waiting;
        break;
      case EventType::approval_decided: {
        ApprovalDecided decision;
        require(Decode(event.detail, &decision).ok(), "the event can be read");
        require(fates[event.task] == Fate::waiting, "what is decided waits, and is decided once");
        require(event.attempt == attempts[event.task], "it is the last question that is answered");
        const Approval& approval = *run.pipeline().tasks[event.task].approval;
        const std::vector<std::string>& may = approval.approvers;
        require(may.empty() || decision.by.empty() ||
                    std::find(may.begin(), may.end(), decision.by) != may.end(),
                "who decides may");
        require(!decision.by.empty() || (!decision.approved && approval.timeout > Duration(0)),
                "without an answer nothing but time decides, and against it");
        fates[event.task] = decision.approved ? Fate::succeeded : Fate::failed;
        break;
      }
      case EventType::task_cached:
        begins(event);
        fates[event.task] = Fate::succeeded;
        break;
      case EventType::task_skipped:
        begins(event);
        fates[event.task] = Fate::skipped;
        break;
      case EventType::task_failed:
        begins(event);
        fates[event.task] = Fate::failed;
        break;
      case EventType::attempt_succeeded:
      case EventType::attempt_cancelled:
      case EventType::attempt_failed:
      case EventType::attempt_preempted:
        ends(event);
        break;
      case EventType::attempt_unknown:
      case EventType::attempt_known:
        require(fates[event.task] == Fate::running && event.attempt == attempts[event.task],
                "only of an attempt under way it may be unknown whether it goes on");
        break;
      default:
        require(false, "an event about a task is one of those");
    }
  }
  return fault;
}

}  // namespace trackbed
