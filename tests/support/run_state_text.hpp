// Everything that can be asked of a RunState, as text, so that two can be compared.
#pragma once

#include <sstream>
#include <string>

#include "trackbed/engine/run_state.hpp"

namespace trackbed {

inline std::string RunStateText(const RunState& run) {
  std::ostringstream text;
  const auto values = [&](const std::map<std::string, Value>& all) {
    for (const auto& [name, value] : all) {
      text << " " << name << "=" << ToText(value) << "(" << ToString(TypeOf(value)) << ")";
    }
  };
  text << run.id() << " " << ToString(run.status()) << " cancel=" << run.cancel_requested()
       << " sequence=" << run.sequence() << " unfinished=" << run.unfinished()
       << " verdict=" << ToString(run.Verdict())
       << " submitted=" << ToNanoseconds(run.submitted_at())
       << " finished=" << ToNanoseconds(run.finished_at()) << " seed=" << run.submitted().seed
       << " cache=" << run.submitted().use_cache << " priority=" << run.submitted().priority
       << " tenant=" << run.submitted().tenant;
  values(run.submitted().parameters);
  for (TaskIndex i = 0; i < run.pipeline().tasks.size(); ++i) {
    const TaskStatus& task = run.task(i);
    text << "\n"
         << run.pipeline().tasks[i].name << " " << ToString(task.state) << " cached=" << task.cached
         << " stopping=" << task.stopping << " fresh=" << task.fresh
         << " preempting=" << task.preempting << " preempted=" << task.preempted_attempts
         << " lost=" << static_cast<int>(task.lost_attempts) << " attempt=" << task.attempt
         << " failed=" << task.failed_attempts << " started=" << ToNanoseconds(task.started)
         << " finished=" << ToNanoseconds(task.finished)
         << " retry_at=" << ToNanoseconds(run.RetryAt(i));
    if (const TaskResult* result = run.Result(i)) {
      text << " result=" << result->run << "/" << result->task << "/" << result->attempt << " "
           << result->digest;
      values(result->outputs);
    }
    if (const AttemptEnded* failure = run.Failure(i)) {
      text << " failure=" << ToString(failure->reason) << " " << failure->exit_code << " "
           << failure->signal << " " << failure->message << " " << ToNanoseconds(failure->retry_at);
    }
    if (const TaskSkipped* skip = run.Skip(i)) {
      text << " skip=" << ToString(skip->reason) << " " << skip->message;
    }
    if (const AttemptIntended* intended = run.Intended(i)) {
      text << " key=" << intended->cache_key << " off=" << intended->cache_off
           << " fields=" << intended->cache_fields.size() << " map=" << intended->map_run;
    }
    if (const AttemptUnknown* unknown = run.Unknown(i)) {
      text << " unknown since " << ToNanoseconds(unknown->since) << " of";
      for (const std::string& node : unknown->nodes) text << " " << node;
    }
    text << " map_run=" << run.MapRun(i);
    if (const ApprovalRequested* asked = run.Asked(i)) text << " asked=" << asked->message;
    if (const ApprovalDecided* decision = run.Decision(i)) {
      text << " decision=" << decision->approved << " " << decision->by << " " << decision->comment;
    }
    if (const AttemptPreempting* preempting = run.Preemption(i)) {
      text << " preempted_for=" << preempting->run << "/" << preempting->task << " "
           << ToString(preempting->cause);
    }
  }
  return text.str();
}

}  // namespace trackbed
