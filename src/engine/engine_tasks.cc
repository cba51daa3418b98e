// Decisions about tasks: whether, when and with what they run, and what follows from their end.
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/attempt_builder.hpp"
#include "engine/engine_impl.hpp"
#include "engine/request.hpp"
#include "engine/utf8.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/engine/cache_key.hpp"

namespace trackbed {
namespace {

// An attempt that vanishes says nothing about its task, so it does not use up a try; but a task
// that takes its machine down every time must end.
constexpr uint8_t kMaxLostAttempts = 3;

// The wait before the next try (pipeline.hpp gives the formula). The jitter follows from the seed
// of the run, so that a simulated run is the same every time.
Duration RetryDelay(const Retry& retry, uint32_t failed_attempts, uint64_t seed, TaskIndex task) {
  if (retry.delay <= Duration(0)) return Duration(0);
  const double base = static_cast<double>(retry.delay.count()) *
                      std::pow(static_cast<double>(retry.backoff), failed_attempts - 1);
  const double capped = std::min(base, static_cast<double>(retry.max_delay.count()));
  SeededRandom random(seed ^ (static_cast<uint64_t>(task) << 32U) ^ failed_attempts);
  const double unit = static_cast<double>(random.Next() >> 11U) * 0x1.0p-53;
  const double jittered = capped * (1.0 + static_cast<double>(retry.jitter) * (2.0 * unit - 1.0));
  constexpr double kLongest = 0x1.0p62;  // 146 years
  return Duration(static_cast<int64_t>(std::clamp(jittered, 0.0, kLongest)));
}

AttemptEnded DescribeEnd(const AttemptReport& report) {
  AttemptEnded ended;
  ended.exit_code = report.exit_code;
  ended.signal = report.signal;
  ended.message = report.message;
  ended.output_digest = report.output_digest;
  ended.image_digest = report.image_digest;
  ended.wall_time = report.wall_time;
  ended.cpu_time = report.cpu_time;
  ended.max_rss_bytes = report.max_rss_bytes;
  return ended;
}

bool HasNothingToSay(const AttemptEnded& ended) { return ended == AttemptEnded{}; }

}  // namespace

Status Engine::Impl::ConsiderTasks() {
  while (!to_consider_.empty() && batch_.events.size() < kEventsPerCommit) {
    const ReadyTask next = to_consider_.front();
    to_consider_.pop_front();
    ActiveRun* run = FindActive(next.run);
    // A follower of a flight may have been retried, with what it depends on, meanwhile.
    if (run == nullptr || run->state.cancel_requested()) continue;
    if (run->state.task(next.task).state != TaskState::pending) continue;
    if (run->waiting_for[next.task] > 0) continue;
    TRACKBED_RETURN_IF_ERROR(Consider(*run, next.task));
  }
  return absl::OkStatus();
}

// All dependencies of `task` have ended: may it run?
Status Engine::Impl::Consider(ActiveRun& run, TaskIndex task) {
  if (const Time retry_at = run.state.RetryAt(task); retry_at > now_) {
    timers_.push({retry_at, Timer::Kind::retry, {run.record.number, task}, 0});
    return absl::OkStatus();
  }
  const Task& definition = run.state.pipeline().tasks[task];
  const TaskStatus& status = run.state.task(task);
  // Whether it runs at all is decided before its first try, once.
  if (!status.tried()) {
    std::optional<TaskSkipped> skip = JudgeTrigger(run, task);
    if (!skip && !definition.when.empty()) {
      const StatusOr<bool> when = EvaluateWhen(run.state, task);
      if (!when.ok()) return FailBeforeAttempt(run, task, when.status());
      if (!*when)
        skip = TaskSkipped{SkipReason::condition, absl::StrCat("not: ", definition.when.get())};
    }
    if (skip) {
      TRACKBED_RETURN_IF_ERROR(Record(run, EventType::task_skipped, task, 0, Encode(*skip)));
      return OnFinal(run, task);
    }
  }
  if (definition.approval) return Ask(run, task);
  if (definition.cache != CacheMode::off && run.state.submitted().use_cache) {
    return ConsiderCache(run, task);
  }
  return Enqueue(run, task);
}

// A map holds no slots itself: its batches wait for theirs.
Status Engine::Impl::Enqueue(ActiveRun& run, TaskIndex task) {
  if (run.state.pipeline().tasks[task].map) return StartMap(run, task);
  Queue(run, task, ReadySince(run.state, task));
  return absl::OkStatus();
}

void Engine::Impl::Queue(const ActiveRun& run, TaskIndex task, Time since) {
  const ReadyTask ready{run.record.number, task};
  if (run.lines[task] == NodeQueue::kNoLine) {
    unplaced_.emplace_back(since, ready);
  } else {
    nodes_->queue().Push(run.lines[task], ready, since);
  }
}

// Why the dependencies of a task rule it out; nothing when they do not.
std::optional<TaskSkipped> Engine::Impl::JudgeTrigger(const ActiveRun& run, TaskIndex task) const {
  const std::vector<Task>& tasks = run.state.pipeline().tasks;
  const Task& definition = tasks[task];
  if (definition.skip) return TaskSkipped{SkipReason::asked, "skip: true"};

  const auto dependencies = run.state.graph().Predecessors(task);
  if (dependencies.empty() || definition.trigger == Trigger::all_done) return std::nullopt;
  TaskIndex failed = kNoTask;
  TaskIndex skipped = kNoTask;
  bool succeeded = false;
  for (TaskIndex dependency : dependencies) {
    switch (run.state.task(dependency).state) {
      case TaskState::failed:
      case TaskState::cancelled:
        if (tasks[dependency].allow_failure && definition.trigger != Trigger::any_failed) {
          succeeded = true;
        } else if (failed == kNoTask) {
          failed = dependency;
        }
        break;
      case TaskState::skipped: {
        const TaskSkipped* reason = run.state.Skip(dependency);
        const bool by_failure = reason != nullptr && reason->reason == SkipReason::upstream_failed;
        TaskIndex& first = by_failure ? failed : skipped;
        if (first == kNoTask) first = dependency;
        break;
      }
      default:
        succeeded = true;
    }
  }
  const auto because = [&](SkipReason reason, TaskIndex culprit, std::string_view what) {
    return TaskSkipped{reason, absl::StrCat("task \"", tasks[culprit].name, "\" ", AbslView(what))};
  };
  if (definition.trigger == Trigger::any_failed) {
    if (failed != kNoTask) return std::nullopt;
    return TaskSkipped{SkipReason::nothing_failed, "no dependency failed"};
  }
  if (failed != kNoTask) {
    const bool itself = run.state.task(failed).state != TaskState::skipped;
    return because(SkipReason::upstream_failed, failed,
                   itself ? "did not succeed" : "was skipped after a failure");
  }
  const bool skip_counts = definition.trigger == Trigger::all_succeeded || !succeeded;
  if (skipped != kNoTask && skip_counts) {
    return because(SkipReason::upstream_skipped, skipped, "was skipped");
  }
  return std::nullopt;
}

// Uses an earlier result, waits for an equal task under way, or lets the task run.
Status Engine::Impl::ConsiderCache(ActiveRun& run, TaskIndex task) {
  const TaskStatus& status = run.state.task(task);
  const ReadyTask self{run.record.number, task};
  StatusOr<AttemptSpec> spec = BuildAttempt(run.state, task, status.attempt + 1, workspace_);
  if (!spec.ok()) return FailBeforeAttempt(run, task, spec.status());
  CachePlan plan = PlanCaching(run.state, task, *spec, kMachineArchitecture);
  if (!plan.off.empty()) {
    return Enqueue(run, task);
  }
  std::string key = CacheKeyOf(plan.fields);
  // A command that holds the number of the attempt makes each try work of its own.
  auto held = run.cache_keys.find(task);
  if (held != run.cache_keys.end() && held->second != key) LandFlight(run, task, nullptr);
  if (!status.fresh) {
    std::optional<CacheEntry> entry;
    if (auto found = uncommitted_cache_.find(key); found != uncommitted_cache_.end()) {
      entry = found->second;
    } else {
      TRACKBED_ASSIGN_OR_RETURN(entry, options_.store->FindCached(key));
    }
    if (entry && !entry->result.output_digest.empty() && options_.has_outputs &&
        !options_.has_outputs(
            workspace_.AttemptFolder(entry->result.run, entry->result.task, entry->result.attempt) +
                "/outputs",
            entry->result.output_digest)) {
      entry.reset();
    }
    if (entry) {
      return UseCached(run, task, {std::move(key), std::move(plan.fields), entry->result});
    }
  }
  Flight& flight = flights_.try_emplace(key, Flight{self, {}}).first->second;
  run.cache_keys[task] = std::move(key);
  if (flight.leader == self) return Enqueue(run, task);
  flight.followers.push_back(self);
  return absl::OkStatus();
}

Status Engine::Impl::UseCached(ActiveRun& run, TaskIndex task, const TaskCached& cached) {
  TRACKBED_RETURN_IF_ERROR(Record(run, EventType::task_cached, task, 0, Encode(cached)));
  LandFlight(run, task, nullptr);  // it may have led one, before its first try failed
  return OnFinal(run, task);
}

// The task that led a flight has ended: with a result the followers have it too, without one each
// is considered anew, and the first of them leads.
void Engine::Impl::LandFlight(ActiveRun& run, TaskIndex task, const CachedResult* result) {
  auto key = run.cache_keys.find(task);
  if (key == run.cache_keys.end()) return;
  auto flight = flights_.find(key->second);
  const ReadyTask self{run.record.number, task};
  if (flight != flights_.end() && flight->second.leader == self) {
    if (result != nullptr) {
      CacheEntry entry;
      entry.key = key->second;
      entry.pipeline = run.state.pipeline().name;
      entry.task = run.state.pipeline().tasks[task].name;
      entry.time = now_;
      if (const AttemptIntended* intended = run.state.Intended(task)) {
        entry.fields = intended->cache_fields;
      }
      entry.result = *result;
      uncommitted_cache_[entry.key] = entry;
      batch_.cache_entries.push_back(std::move(entry));
    }
    for (const ReadyTask& follower : flight->second.followers) to_consider_.push_back(follower);
    flights_.erase(flight);
  }
  run.cache_keys.erase(key);
}

// The nodes on which its inputs were written. What was taken from the cache was written by another
// run, and what a map left by many attempts: of both it is not known.
std::vector<std::string> Engine::Impl::ReadsFrom(const ReadyTask& ready) const {
  const ActiveRun* run = FindActive(ready.run);
  if (run == nullptr) return {};
  if (run->map != nullptr) return ReadsFrom(run->map->mapped);
  std::vector<std::string> nodes;
  for (const TaskIndex dependency : run->state.graph().Predecessors(ready.task)) {
    const TaskResult* result = run->state.Result(dependency);
    const AttemptIntended* intended = run->state.Intended(dependency);
    if (result == nullptr || result->digest.empty() || result->run != run->record.id ||
        intended == nullptr || !intended->map_run.empty()) {
      continue;
    }
    nodes.push_back(intended->gang.empty() ? intended->node : intended->gang.front().node);
  }
  return nodes;
}

// The run may have been cancelled, or cancelled and retried, since the task was queued.
bool Engine::Impl::IsWanted(const ReadyTask& ready) const {
  const ActiveRun* run = FindActive(ready.run);
  return run != nullptr && !run->state.cancel_requested() &&
         run->state.task(ready.task).state == TaskState::pending &&
         run->waiting_for[ready.task] == 0 && run->state.RetryAt(ready.task) <= now_;
}

Status Engine::Impl::StartReady() {
  StopAgainForOthers();
  while (batch_.events.size() < kEventsPerCommit) {
    const std::optional<NodeQueue::Started> next = nodes_->queue().Take(now_);
    TRACKBED_RETURN_IF_ERROR(StopForOthers());
    if (!next) return absl::OkStatus();
    TRACKBED_RETURN_IF_ERROR(StartAttempt(*FindActive(next->task.run), next->task.task, *next));
  }
  return absl::OkStatus();
}

Status Engine::Impl::StartAttempt(ActiveRun& run, TaskIndex task,
                                  const NodeQueue::Started& started) {
  const uint32_t attempt = run.state.task(task).attempt + 1;
  StatusOr<AttemptSpec> spec = BuildAttempt(run.state, task, attempt, workspace_);
  AttemptIntended intended;
  if (spec.ok() && run.state.submitted().use_cache) {
    CachePlan plan = PlanCaching(run.state, task, *spec, kMachineArchitecture);
    intended.cache_off = std::move(plan.off);
    if (auto key = run.cache_keys.find(task); key != run.cache_keys.end()) {
      intended.cache_key = key->second;
      intended.cache_fields = std::move(plan.fields);
    }
  }
  Status status = spec.status();
  if (status.ok()) status = ResolveSecrets(options_.secrets, &*spec);
  if (!status.ok()) {
    nodes_->queue().Release(started.held, now_);
    return FailBeforeAttempt(run, task, status);
  }
  nodes_->Assign(started.members, &*spec, &intended);
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_intended, task, attempt, Encode(intended)));
  const Task& definition = run.state.pipeline().tasks[task];
  if (definition.timeout > Duration(0)) {
    timers_.push({Later(now_, definition.timeout),
                  Timer::Kind::timeout,
                  {run.record.number, task},
                  attempt});
  }
  ++run.attempts;
  attempts_[spec->key] = {&run, task, started.held};
  starts_.push_back({*std::move(spec), false, "", false});
  return absl::OkStatus();
}

Status Engine::Impl::HandleReport(const AttemptReport& report) {
  if (report.kind == AttemptReport::Kind::started) return absl::OkStatus();
  const auto found = attempts_.find(report.key);
  if (found == attempts_.end()) {  // not ours, or ended already
    if (const auto other = others_.find(report.key); other != others_.end()) {
      nodes_->queue().Release(other->second, now_);
      others_.erase(other);
    }
    return absl::OkStatus();
  }
  const ActiveAttempt attempt = found->second;
  attempts_.erase(found);
  ActiveRun& run = *attempt.run;
  const TaskIndex task = attempt.task;
  --run.attempts;
  nodes_->queue().Release(attempt.held, now_);

  AttemptEnded ended = DescribeEnd(report);
  const bool exited = report.kind == AttemptReport::Kind::exited;
  if (exited && report.exit_code == 0 && report.signal == 0 && !attempt.timed_out) {
    const Task& definition = run.state.pipeline().tasks[task];
    if (!definition.outputs.empty() || !report.output_text.empty()) {
      StatusOr<std::map<std::string, Value>> outputs = ReadOutputs(definition, report.output_text);
      if (!outputs.ok()) {
        ended.reason = FailureReason::bad_output;
        ended.message = std::string(Message(outputs.status()));
      } else {
        ended.outputs = *std::move(outputs);
      }
    }
    if (ended.reason == FailureReason::none) return Succeed(run, task, std::move(ended));
  } else if (attempt.timed_out) {
    ended.reason = FailureReason::timeout;
    if (ended.message.empty()) {
      ended.message = absl::StrCat("stopped after its timeout of ",
                                   FormatDuration(run.state.pipeline().tasks[task].timeout));
    }
  } else if (report.kind == AttemptReport::Kind::failed_to_start) {
    ended.reason = FailureReason::failed_to_start;
  } else if (report.kind == AttemptReport::Kind::lost) {
    ended.reason = FailureReason::lost;
  } else if (report.out_of_memory) {
    ended.reason = FailureReason::out_of_memory;
  } else {
    ended.reason = report.signal != 0 ? FailureReason::signal : FailureReason::exit_code;
  }
  if (run.state.cancel_requested()) {
    const uint32_t number = run.state.task(task).attempt;
    TRACKBED_RETURN_IF_ERROR(
        Record(run, EventType::attempt_cancelled, task, number, Encode(ended)));
    LandFlight(run, task, nullptr);
    return OnFinal(run, task);
  }
  // Told to stop by a cancellation that was taken back: how it ended says nothing about the task.
  if (run.state.task(task).stopping && ended.reason != FailureReason::timeout) {
    ended.reason = FailureReason::lost;
  }
  if (run.state.task(task).preempting && ended.reason != FailureReason::timeout) {
    return Preempted(run, task, std::move(ended));
  }
  return Fail(run, task, std::move(ended));
}

Status Engine::Impl::Succeed(ActiveRun& run, TaskIndex task, AttemptEnded ended) {
  const uint32_t attempt = run.state.task(task).attempt;
  std::string detail = HasNothingToSay(ended) ? std::string() : Encode(ended);
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_succeeded, task, attempt, std::move(detail)));
  if (!run.cache_keys.empty()) {
    const CachedResult result{run.record.id, run.state.pipeline().tasks[task].name, attempt,
                              std::move(ended.outputs), std::move(ended.output_digest)};
    LandFlight(run, task, &result);
  }
  return OnFinal(run, task);
}

Status Engine::Impl::Fail(ActiveRun& run, TaskIndex task, AttemptEnded ended) {
  const TaskStatus& status = run.state.task(task);
  const struct Retry& retry = run.state.pipeline().tasks[task].retry;
  if (ended.reason == FailureReason::lost) {
    if (status.lost_attempts < kMaxLostAttempts) {
      ended.retry_at = now_ + status.lost_attempts * std::chrono::seconds(1);
    }
  } else if (status.failed_attempts + 1 < retry.max_attempts) {
    ended.retry_at = Later(
        now_, RetryDelay(retry, status.failed_attempts + 1, run.state.submitted().seed, task));
  }
  const bool again = ended.retry_at != Time{};
  TRACKBED_RETURN_IF_ERROR(
      Record(run, EventType::attempt_failed, task, status.attempt, Encode(ended)));
  if (again) {
    to_consider_.push_back({run.record.number, task});
    return absl::OkStatus();
  }
  LandFlight(run, task, nullptr);
  return OnFinal(run, task);
}

Status Engine::Impl::FailBeforeAttempt(ActiveRun& run, TaskIndex task, const Status& error) {
  AttemptEnded ended;
  ended.reason = FailureReason::bad_specification;
  ended.message = std::string(Message(error));
  TRACKBED_RETURN_IF_ERROR(Record(run, EventType::task_failed, task, 0, Encode(ended)));
  LandFlight(run, task, nullptr);
  return OnFinal(run, task);
}

// `task` has ended for good: whoever waited only for it may be considered.
Status Engine::Impl::OnFinal(ActiveRun& run, TaskIndex task) {
  for (TaskIndex successor : run.state.graph().Successors(task)) {
    if (--run.waiting_for[successor] == 0) to_consider_.push_back({run.record.number, successor});
  }
  if (run.map != nullptr) {
    run.map->window->OnEnd();
    AdmitBatches(run);
  }
  return absl::OkStatus();
}

}  // namespace trackbed
