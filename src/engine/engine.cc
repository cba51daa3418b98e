// The order within a step is the whole point: what happened comes in, decisions become events, the
// events become durable in one commit, and only then is anything done.
#include <absl/strings/str_cat.h>

#include <new>
#include <utility>

#include "engine/cluster_model.hpp"
#include "engine/describe_wait.hpp"
#include "engine/engine_impl.hpp"
#include "engine/request.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/resources/local_node.hpp"
#include "trackbed/resources/node_writer.hpp"
#include "trackbed/scheduling/placers.hpp"

namespace trackbed {
namespace {

constexpr Duration kLongestLease = std::chrono::hours(24 * 365);
constexpr Duration kRequestInterval = std::chrono::milliseconds(200);
constexpr size_t kReportsKept = 64;  // the room for so many

}  // namespace

Engine::Impl::~Impl() {
  try {
    // Who comes next takes a store that was given back for one that nobody else may act on.
    if (last_may_act_ && !counted_others_ && !CountOthers().ok()) return;
    // The result does not matter: a lease that is not given back expires.
    (void)options_.store->ReleaseLease(fence_);
  } catch (const std::bad_alloc&) {  // NOLINT(*-empty-catch): the lease ends by itself
  }
}

Status Engine::Impl::Step() {
  TRACKBED_RETURN_IF_ERROR(broken_);
  if (!counted_others_) {
    now_ = ReadClock();
    if (Status status = CountOthers(); !status.ok()) return Broken(status);
  }
  while (true) {
    now_ = ReadClock();
    if (Status status = TakeReports(); !status.ok()) return Broken(status);
    if (Status status = TakeRequests(); !status.ok()) return Broken(status);
    FireTimers();
    if (Status status = WatchNodes(); !status.ok()) return Broken(status);
    if (Status status = ConsiderTasks(); !status.ok()) return Broken(status);
    if (Status status = StartReady(); !status.ok()) return Broken(status);
    FinishRuns();
    TRACKBED_RETURN_IF_ERROR(broken_);
    const bool idle = batch_.empty() && starts_.empty() && stops_.empty() && give_ups_.empty() &&
                      publications_.empty() && to_consider_.empty();
    if (now_ + options_.lease_time * 2 / 3 >= lease_until_) {
      lease_until_ = now_ + options_.lease_time;
      batch_.lease_until = lease_until_;
    } else if (idle && to_gather_.empty()) {
      return absl::OkStatus();
    }
    TRACKBED_RETURN_IF_ERROR(CommitAndAct());
    // A lease may be shorter than it takes to renew it.
    if (idle) return absl::OkStatus();
  }
}

Status Engine::Impl::CommitAndAct() {
  // Nothing is done under a fence that is no longer ours, not even when there is nothing to store.
  const bool acts = !starts_.empty() || !stops_.empty() || !give_ups_.empty();
  if (batch_.empty() && acts) batch_.lease_until = lease_until_;
  if (!batch_.empty()) {
    if (Status status = options_.store->Commit(fence_, batch_); !status.ok()) {
      return Broken(status);
    }
  }
  batch_.clear();
  uncommitted_cache_.clear();

  for (const PendingStart& start : starts_) {
    Status status = start.adopt_only ? options_.executor->Adopt(start.spec.key, start.spec.folder)
                                     : options_.executor->Start(start.spec);
    if (status.ok()) continue;
    AttemptReport report;
    report.key = start.spec.key;
    // What was given up by an engine in between has not failed.
    const bool lost = absl::IsUnavailable(status) ||
                      (start.taken_up && !start.adopt_only && absl::IsFailedPrecondition(status));
    report.kind = lost ? AttemptReport::Kind::lost : AttemptReport::Kind::failed_to_start;
    report.message = absl::IsNotFound(status) && !start.cannot_start.empty()
                         ? start.cannot_start
                         : std::string(Message(status));
    reports_.push_back(std::move(report));
  }
  starts_.clear();
  for (const PendingStop& stop : stops_) {
    // Not found: it has ended, and its report is on its way.
    (void)options_.executor->Stop(stop.key, stop.mode);
  }
  stops_.clear();
  for (const PendingGiveUp& lost : std::exchange(give_ups_, {})) GiveUp(lost);
  TRACKBED_RETURN_IF_ERROR(ActivateNewMaps());
  gathering_ = !to_gather_.empty();
  for (ActiveRun* run : std::exchange(to_gather_, {})) {
    if (Status status = GatherSome(*run); !status.ok()) return Broken(status);
  }
  for (const Publication& publication : std::exchange(publications_, {})) {
    options_.sink(publication.run->state, publication.sequence, publication.event);
  }
  finished_.clear();
  return absl::OkStatus();
}

// First the executor sees to it that the attempt ends wherever it still runs; then it counts as
// lost, and its task is tried again.
void Engine::Impl::GiveUp(const PendingGiveUp& lost) {
  const Status given_up = options_.executor->GiveUp(lost.key);
  // Not found: it has ended, and its report is on its way.
  if (absl::IsNotFound(given_up)) return;
  const auto attempt = attempts_.find(lost.key);
  if (!given_up.ok() && attempt != attempts_.end()) attempt->second.given_up = false;  // try again
  if (!given_up.ok() || lost.reported) return;
  AttemptReport report;
  report.key = lost.key;
  report.kind = AttemptReport::Kind::lost;
  report.message =
      absl::StrCat("its node has not answered for ", FormatDuration(options_.node_lease));
  reports_.push_back(std::move(report));
}

Status Engine::Impl::TakeReports() {
  if (next_report_ == reports_.size()) {
    if (reports_.size() < kReportsKept) {
      reports_.clear();
    } else {
      reports_ = {};  // gives back what many at once needed
    }
    next_report_ = 0;
  }
  // Also when no attempt is under way: what an executor says twice must not keep it awake.
  if (reports_.size() - next_report_ < kEventsPerCommit) {
    TRACKBED_RETURN_IF_ERROR(options_.executor->Poll(&reports_));
  }
  while (next_report_ < reports_.size() && batch_.events.size() < kEventsPerCommit) {
    TRACKBED_RETURN_IF_ERROR(HandleReport(reports_[next_report_++]));
  }
  return absl::OkStatus();
}

Status Engine::Impl::TakeRequests() {
  if (now_ < next_request_check_) return absl::OkStatus();
  next_request_check_ = now_ + kRequestInterval;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<Request> requests, options_.store->ReadRequests());
  for (const Request& request : requests) {
    batch_.requests_done.push_back(request.number);
    if (request.kind == Request::Kind::look_at_nodes) {
      if (options_.takes_stored_node) TRACKBED_RETURN_IF_ERROR(TakeUpNodes());
      continue;
    }
    // A request that cannot be met any more (the run has ended, somebody else was first) is
    // answered by doing nothing.
    Status status =
        request.kind == Request::Kind::decide ? DecideAsAsked(request) : Cancel(request.run);
    if (!broken_.ok()) return status;
  }
  return absl::OkStatus();
}

void Engine::Impl::FireTimers() {
  while (!timers_.empty() && timers_.top().at <= now_) {
    const Timer timer = timers_.top();
    timers_.pop();
    ActiveRun* run = FindActive(timer.task.run);
    if (run == nullptr) continue;
    const TaskIndex task = timer.task.task;
    const TaskStatus& status = run->state.task(task);
    if (timer.kind == Timer::Kind::retry) {
      if (status.state == TaskState::pending) to_consider_.push_back(timer.task);
      continue;
    }
    if (timer.kind == Timer::Kind::expiry) {
      const bool waits = status.state == TaskState::waiting && status.attempt == timer.attempt;
      if (!waits || run->state.cancel_requested()) continue;
      if (Status decided = RecordDecision(*run, task, {}); !decided.ok()) broken_ = decided;
      continue;
    }
    if (status.state != TaskState::running || status.attempt != timer.attempt) continue;
    if (timer.kind == Timer::Kind::kill) {
      StopAttempt(*run, task, StopMode::kill);
      continue;
    }
    auto attempt = attempts_.find(KeyOf(*run, task));
    if (attempt != attempts_.end() && !attempt->second.makes_room) {
      attempt->second.timed_out = true;
      StopAttempt(*run, task, StopMode::terminate);
    }
  }
}

// By key: the table has another order in each process.
std::vector<ActiveAttempt*> Engine::Impl::AttemptsInOrder() {
  std::vector<std::pair<std::string_view, ActiveAttempt*>> by_key;
  by_key.reserve(attempts_.size());
  for (auto& [key, attempt] : attempts_) by_key.emplace_back(key, &attempt);
  std::sort(by_key.begin(), by_key.end());
  std::vector<ActiveAttempt*> attempts;
  attempts.reserve(by_key.size());
  for (const auto& [key, attempt] : by_key) attempts.push_back(attempt);
  return attempts;
}

Status Engine::Impl::WatchNodes() {
  const std::vector<std::string> lost =
      nodes_->NoteSilent(options_.executor->SilentNodes(), now_, options_.node_lease);
  TRACKBED_RETURN_IF_ERROR(NoteUnknown());
  if (lost.empty()) return absl::OkStatus();
  for (auto& [key, attempt] : attempts_) {
    const AttemptIntended* intended = attempt.run->state.Intended(attempt.task);
    if (attempt.given_up || !nodes_->RunsOn(intended, lost)) continue;
    attempt.given_up = true;
    give_ups_.push_back({key, intended != nullptr && !intended->gang.empty()});
  }
  std::sort(give_ups_.begin(), give_ups_.end(),
            [](const PendingGiveUp& a, const PendingGiveUp& b) { return a.key < b.key; });
  return absl::OkStatus();
}

// Whether attempts on silent nodes go on is not known, until these answer.
Status Engine::Impl::NoteUnknown() {
  if (!nodes_->any_silent() && !any_unknown_) return absl::OkStatus();
  any_unknown_ = false;
  for (const ActiveAttempt* attempt : AttemptsInOrder()) {
    ActiveRun& run = *attempt->run;
    const AttemptUnknown unknown = nodes_->UnknownOf(run.state.Intended(attempt->task));
    const AttemptUnknown* known = run.state.Unknown(attempt->task);
    any_unknown_ = any_unknown_ || !unknown.nodes.empty();
    if (known == nullptr ? unknown.nodes.empty() : unknown.nodes == known->nodes) continue;
    const bool answers = unknown.nodes.empty();
    TRACKBED_RETURN_IF_ERROR(
        Record(run, answers ? EventType::attempt_known : EventType::attempt_unknown, attempt->task,
               run.state.task(attempt->task).attempt, answers ? "" : Encode(unknown)));
  }
  return absl::OkStatus();
}

Status Engine::Impl::Record(ActiveRun& run, EventType type, TaskIndex task, uint32_t attempt,
                            std::string detail) {
  Event event{now_, task, attempt, type, std::move(detail)};
  Status applied = run.state.Apply(event);
  if (!applied.ok()) {
    return Internal(
        absl::StrCat("the engine decided what its own rules forbid: ", AbslView(Message(applied))));
  }
  if (options_.sink) publications_.push_back({&run, run.state.sequence(), event});
  batch_.events.push_back({run.record.number, run.state.sequence(), std::move(event)});
  return absl::OkStatus();
}

// ---- What a host asks ------------------------------------------------------------------------

// Time goes on though the clock is set back: what has come to pass does not become the future
// again, and what is due in a minute is not due in an hour.
Time Engine::Impl::ReadClock() {
  const Time read = options_.clock->Now();
  if (read >= now_) ahead_ = Duration{0};
  ahead_ = std::max(ahead_, now_ - read);
  return read + ahead_;
}

Time Engine::Impl::NextDeadline() const {
  Time deadline = lease_until_ - options_.lease_time * 2 / 3;
  deadline = std::min(deadline, next_request_check_);
  if (gathering_) deadline = now_;
  if (!timers_.empty()) deadline = std::min(deadline, timers_.top().at);
  return std::min(deadline, nodes_->queue().next()) - ahead_;  // the host waits by the clock
}

std::string Engine::Impl::ExplainWait(const RunId& id, TaskIndex task) {
  const ActiveRun* run = FindActive(id);
  if (run == nullptr || run->state.pipeline().tasks[task].skip) return "";
  const TaskState state = run->state.task(task).state;
  if (state != TaskState::pending && state != TaskState::waiting) return "";
  const Time now = ReadClock();
  const TaskExplanation explanation = ExplainState(run->state, task, now);
  if (explanation.situation != TaskSituation::next) return explanation.sentence;
  if (auto key = run->cache_keys.find(task); key != run->cache_keys.end()) {
    auto flight = flights_.find(key->second);
    const ActiveRun* leader =
        flight == flights_.end() ? nullptr : FindActive(flight->second.leader.run);
    if (leader != nullptr && (leader != run || flight->second.leader.task != task)) {
      return DescribeSameWork(NameOfTask(leader->state, flight->second.leader.task, id)).sentence;
    }
  }
  const auto name = [&](const ReadyTask& ready) {
    const ActiveRun* other = FindActive(ready.run);
    return NameOfTask(other->state, ready.task, id);
  };
  if (run->lines[task] == NodeQueue::kNoLine) return "none of the nodes can hold it";
  const TaskExplanation waits = DescribeReason(
      nodes_->queue().Explain(run->lines[task], {run->record.number, task}, now), name);
  return waits.situation == TaskSituation::next ? "" : waits.sentence;
}

// ---- The public face -------------------------------------------------------------------------

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

StatusOr<std::unique_ptr<Engine>> Engine::Open(EngineOptions options) {
  if (options.store == nullptr || options.executor == nullptr) {
    return InvalidArgument("EngineOptions: store and executor must be given");
  }
  if (!options.home.starts_with('/')) {
    return InvalidArgument(absl::StrCat("EngineOptions.home: found \"", options.home,
                                        "\", expected an absolute path"));
  }
  if (options.lease_time <= Duration(0) || options.lease_time > kLongestLease) {
    return InvalidArgument("EngineOptions.lease_time: expected more than 0, at most a year");
  }
  if (options.clock == nullptr) options.clock = &SystemClock();
  if (options.random == nullptr) options.random = &SystemRandom();
  TRACKBED_ASSIGN_OR_RETURN(StoredNodes stored,
                            ReadStoredNodes(*options.store, options.takes_stored_node));
  if (options.nodes.empty()) options.nodes.emplace_back();
  for (NodeDescription& node : options.nodes) {
    if (node.cpu == Quantity()) {
      OfferSlots({{{"cpu", Quantity::FromThousandths(1000)}}}, &node);
    }
  }
  const GroupPolicy& policy = options.policy;
  if (policy.order == QueueOrder::lifo) {
    return InvalidArgument("EngineOptions.policy: the engine has no order lifo");
  }
  if (!options.placer.empty()) {
    const auto known = MakePlacer(options.placer);
    if (!known.ok()) {
      return InvalidArgument(
          absl::StrCat("EngineOptions.placer: ", AbslView(Message(known.status()))));
    }
  }
  const auto possible = NodeQueue::Create(options.nodes, Tenancy(), GroupPolicy(), nullptr,
                                          [](const auto&) { return true; });
  if (!possible.ok()) {
    return InvalidArgument(
        absl::StrCat("EngineOptions.nodes: ", AbslView(Message(possible.status()))));
  }
  TRACKBED_ASSIGN_OR_RETURN(const Lease before, options.store->ReadLease());
  const std::vector<NodeDescription>& first = stored.nodes.empty() ? options.nodes : stored.nodes;
  options.holder.node = WriteNodes(first);
  std::optional<bool> is_gone;
  const auto ask = [&](const LeaseHolder& holder) {
    is_gone = options.is_gone && options.is_gone(holder);
    return *is_gone;
  };
  TRACKBED_ASSIGN_OR_RETURN(
      const Lease lease,
      options.store->AcquireLease(options.holder, options.clock->Now(), options.lease_time, ask));
  const bool given_back = before.fence == 0 || before.expires == Time{};
  const bool ended = given_back || (is_gone ? *is_gone : ask(before.holder));
  // Somebody else may have held it between the two.
  const bool last_may_act = before.fence + 1 != lease.fence || !ended;
  auto impl = std::make_unique<Impl>(std::move(options), lease, last_may_act);
  TRACKBED_RETURN_IF_ERROR(impl->MakeQueue(std::move(stored)));
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

StatusOr<RunId> Engine::Submit(std::shared_ptr<const Pipeline> pipeline, SubmitOptions options) {
  return impl_->Submit(std::move(pipeline), std::move(options));
}
Status Engine::Resume(const RunId& run) { return impl_->Resume(run); }
Status Engine::Retry(const RunId& run, const std::vector<std::string>& tasks) {
  return impl_->Retry(run, tasks);
}
Status Engine::Cancel(const RunId& run) { return impl_->Cancel(run); }
Status Engine::Step() { return impl_->Step(); }
Status Engine::Decide(const RunId& run, std::string_view task, const ApprovalDecided& decision) {
  return impl_->Decide(run, [&](const RunState& state) { return FindTask(state, task); }, decision);
}
bool Engine::IsActive(const RunId& run) const { return impl_->FindActive(run) != nullptr; }
bool Engine::HasActiveRuns() const { return impl_->HasActiveRuns(); }
const RunState* Engine::Find(const RunId& run) const {
  const ActiveRun* active = impl_->FindActive(run);
  return active == nullptr ? nullptr : &active->state;
}
int Engine::WakeDescriptor() const { return impl_->WakeDescriptor(); }
Time Engine::NextDeadline() const { return impl_->NextDeadline(); }
std::string Engine::ExplainWait(const RunId& run, TaskIndex task) const {
  return impl_->ExplainWait(run, task);
}

std::vector<std::string> QuotaResources(std::span<const NodeDescription> nodes) {
  return ClusterModel(nodes).resources();
}

}  // namespace trackbed
