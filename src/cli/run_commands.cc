// run, resume, retry, cancel: the commands that need the lease of the store.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <poll.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "cli/commands.hpp"
#include "cli/drive.hpp"
#include "cli/exit_code.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/approval.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/writer.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLogLinesAfterFailure = 20;

StatusOr<SandboxMode> ReadSandboxMode(const std::string& text) {
  if (text == "auto") return SandboxMode::automatic;
  if (text == "never") return SandboxMode::never;
  if (text == "always") return SandboxMode::always;
  return InvalidArgument(
      absl::StrCat("--sandbox: found \"", text, "\", expected auto, never or always"));
}

StatusOr<std::map<std::string, std::string>> ReadGivenParameters(
    const std::vector<std::string>& given) {
  std::map<std::string, std::string> values;
  for (const std::string& text : given) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return InvalidArgument(absl::StrCat("--param: found \"", text, "\", expected NAME=VALUE"));
    }
    if (!values.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
      return InvalidArgument(absl::StrCat("--param: ", text.substr(0, equals), " is given twice"));
    }
  }
  return values;
}

std::unique_ptr<Progress> ChooseProgress(bool json, bool plain) {
  if (json) return NewJsonProgress();
  if (plain || !IsTerminal(STDOUT_FILENO)) return NewPlainProgress();
  return NewLiveProgress();
}

// The lease taken by somebody else has an exit code of its own.
int FailToOpen(const Status& status) {
  const int code = Fail(status);
  if (!absl::IsFailedPrecondition(status) ||
      Message(status).find("the store is held by") == std::string_view::npos) {
    return code;
  }
  std::fprintf(stderr, "trackbed: wait for it with --wait, or use another store with --home\n");
  return kStoreHeld;
}

// The run is there, but not in a state for what was asked.
int FailAsAsked(const Status& status) {
  const int code = Fail(status);
  return absl::IsFailedPrecondition(status) ? kBadInput : code;
}

std::vector<std::string> LastLines(const std::string& path, size_t count) {
  constexpr size_t kTail = 64 * 1024;
  uint64_t size = 0;
  if (!ReadLogFile(path, 0, 0, &size).ok()) return {};
  const StatusOr<std::string> text =
      ReadLogFile(path, size - std::min<uint64_t>(size, kTail), kTail, &size);
  if (!text.ok()) return {};
  std::vector<std::string> lines = absl::StrSplit(absl::StripSuffix(*text, "\n"), '\n');
  if (text->empty()) lines.clear();
  if (lines.size() > count) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  }
  return lines;
}

void ShowEndOfLog(const Workspace& workspace, const RunId& run, const std::string& task,
                  uint32_t attempt) {
  const std::string log = workspace.AttemptFolder(run, task, attempt) + "/log";
  for (const std::string& line : LastLines(log, kLogLinesAfterFailure)) {
    std::fprintf(stderr, "  | %s\n", Printable(line).c_str());
  }
}

// Of a task with a map: the end of the log of the first batch that failed.
void ExplainFailedBatch(Store& store, const RunState& run, TaskIndex task,
                        const Workspace& workspace) {
  const StatusOr<StoredRun> batches = LoadRun(store, run.MapRun(task));
  if (!batches.ok()) return;
  const RunState& state = *batches->state;
  TaskIndex batch = 0;
  while (batch < state.graph().task_count() && state.task(batch).state != TaskState::failed) {
    ++batch;
  }
  if (batch == state.graph().task_count() || state.task(batch).attempt == 0) return;
  ShowEndOfLog(workspace, state.id(), state.pipeline().tasks[batch].name,
               state.task(batch).attempt);
  std::fprintf(stderr, "whole log:  trackbed logs %s '%s[%u]'\n", run.id().c_str(),
               run.pipeline().tasks[task].name.c_str(), batch);
}

// One screen about what went wrong: the task, the end of its log, and what to do next.
void ExplainFailure(Store& store, const RunState& run, const Workspace& workspace) {
  const auto& tasks = run.pipeline().tasks;
  for (TaskIndex task = 0; task < tasks.size(); ++task) {
    const TaskStatus& status = run.task(task);
    if (status.state != TaskState::failed || tasks[task].allow_failure) continue;
    std::fprintf(stderr, "\ntask \"%s\" failed: %s\n", tasks[task].name.c_str(),
                 Note(run, task, Time{}).c_str());
    if (tasks[task].map && !run.MapRun(task).empty()) {
      ExplainFailedBatch(store, run, task, workspace);
    } else if (status.attempt > 0 && !tasks[task].approval) {
      ShowEndOfLog(workspace, run.id(), tasks[task].name, status.attempt);
      std::fprintf(stderr, "whole log:  trackbed logs %s %s\n", run.id().c_str(),
                   tasks[task].name.c_str());
    }
    std::fprintf(stderr, "try again:  trackbed retry %s\n", run.id().c_str());
    return;
  }
}

// What follows the end of a run: its results are published, its failure explained.
int Conclude(Session& session, const RunId& id, int code, bool json, const std::string& folder) {
  const StatusOr<StoredRun> run = LoadRun(session.store(), id);
  if (!run.ok()) return Fail(run.status());
  const Workspace workspace(session.home());
  const Pipeline& pipeline = run->state->pipeline();
  if (code == kRunFailed) ExplainFailure(session.store(), *run->state, workspace);
  if (code != kSuccess || pipeline.results.empty()) return code;
  const std::string destination = folder.empty() ? workspace.Results(pipeline.name) : folder;
  const StatusOr<std::vector<std::string>> written =
      PublishResults(*run->state, session.home(), destination);
  if (!written.ok()) return Fail(written.status());
  if (!json) {
    const std::string shown = fs::proximate(destination).string();
    std::printf("results in %s: %s\n", shown.c_str(), absl::StrJoin(*written, ", ").c_str());
  }
  return code;
}

// What a run would do, without doing it.
int DryRun(const Pipeline& pipeline, const std::map<std::string, Value>& parameters,
           const NodeDescription& node) {
  const StatusOr<Graph> graph = Graph::Build(pipeline);
  if (!graph.ok()) return Fail(graph.status());
  std::printf("pipeline %s  %s\n", pipeline.name.c_str(), PipelineVersion(pipeline).c_str());
  for (const auto& [name, value] : parameters) {
    std::printf("parameter %s = %s\n", name.c_str(), Printable(ToText(value)).c_str());
  }
  const StatusOr<SlotAllocator> allocator = SlotAllocator::Create(node);
  if (!allocator.ok()) return Fail(allocator.status());
  std::vector<std::vector<std::string>> rows{{"TASK", "NEEDS", "ENFORCED", "AFTER", "WHEN"}};
  int code = kSuccess;
  for (TaskIndex index : graph->TopologicalOrder()) {
    const Task& task = pipeline.tasks[index];
    const std::string needs =
        absl::StrJoin(task.resources, " ", [](std::string* out, const SlotRequest& slot) {
          absl::StrAppend(out, slot.slot, "=", FormatSlotAmount(slot.slot, slot.amount));
        });
    const std::optional<Enforcement> enforcement = WeakestEnforcement(task.resources);
    const std::vector<std::string> after(task.dependencies.begin(), task.dependencies.end());
    rows.push_back({task.name,
                    task.approval   ? "approval"
                    : needs.empty() ? "cpu=1"
                                    : needs,
                    enforcement ? std::string(ToString(*enforcement)) : "",
                    absl::StrJoin(after, " "), task.skip ? "never" : task.when});
    if (task.approval) continue;
    if (const auto demand = allocator->Prepare(task.resources, task.enforcement); !demand.ok()) {
      std::fprintf(stderr, "trackbed: task \"%s\": %s\n", task.name.c_str(),
                   std::string(Message(demand.status())).c_str());
      code = kEnvironment;
    }
  }
  std::fputs(Table(std::move(rows)).c_str(), stdout);
  return code;
}

// A session whose events go to `progress`.
StatusOr<std::unique_ptr<Session>> OpenSession(const CommonOptions& common,
                                               const DriveOptions& drive, std::string description,
                                               Progress& progress) {
  SessionOptions options;
  options.common = common;
  options.slots = drive.slots;
  TRACKBED_ASSIGN_OR_RETURN(options.sandbox, ReadSandboxMode(drive.sandbox));
  options.executor = drive.executor;
  options.preempt = drive.preempt;
  options.wait = drive.wait;
  options.description = std::move(description);
  options.sink = [&progress](const RunState& run, uint64_t, const Event& event) {
    progress.OnEvent(run, event);
  };
  options.say = [&progress](const std::string& text) { progress.Say(text); };
  return Session::Open(std::move(options));
}

int Continue(const CommonOptions& common, const ContinueOptions& options, const char* verb,
             const std::function<Status(Engine&, const RunId&)>& start) {
  const std::unique_ptr<Progress> progress = ChooseProgress(options.json, options.plain);
  StatusOr<std::unique_ptr<Store>> store = OpenForReading(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<RunId> id = ResolveRun(**store, options.run);
  if (!id.ok()) return Fail(id.status());
  store->reset();
  StatusOr<std::unique_ptr<Session>> session =
      OpenSession(common, options, absl::StrCat("trackbed ", verb, " ", *id), *progress);
  if (!session.ok()) return FailToOpen(session.status());
  if (Status status = start((*session)->engine(), *id); !status.ok()) return FailAsAsked(status);
  const int code = Drive(**session, *id, *progress);
  return Conclude(**session, *id, code, options.json, options.results);
}

}  // namespace

int RunPipeline(const CommonOptions& common, const RunOptions& options) {
  std::optional<Pipeline> pipeline = LoadOrComplain(options.file);
  if (!pipeline) return kBadInput;
  StatusOr<std::map<std::string, std::string>> given = ReadGivenParameters(options.parameters);
  if (!given.ok()) return Fail(given.status());
  StatusOr<std::map<std::string, Value>> parameters = BindParameters(*pipeline, *given);
  if (!parameters.ok()) return Fail(parameters.status());
  if (options.dry_run) {
    const StatusOr<NodeDescription> node = ChooseNode(options.slots);
    if (!node.ok()) return Fail(node.status());
    return DryRun(*pipeline, *parameters, *node);
  }

  const std::unique_ptr<Progress> progress = ChooseProgress(options.json, options.plain);
  StatusOr<std::unique_ptr<Session>> session =
      OpenSession(common, options, absl::StrCat("trackbed run ", options.file), *progress);
  if (!session.ok()) return FailToOpen(session.status());
  const std::string base = fs::absolute(options.file).parent_path().string();
  StatusOr<SubmitOptions> prepared =
      PrepareRun(*pipeline, base, (*session)->home(), *std::move(parameters), !options.no_cache);
  if (!prepared.ok()) return Fail(prepared.status());
  prepared->priority = options.priority;
  const StatusOr<RunId> id = (*session)->engine().Submit(
      std::make_shared<const Pipeline>(*std::move(pipeline)), *std::move(prepared));
  if (!id.ok()) return Fail(id.status());
  const int code = Drive(**session, *id, *progress);
  return Conclude(**session, *id, code, options.json, options.results);
}

int ResumeRun(const CommonOptions& common, const ContinueOptions& options) {
  return Continue(common, options, "resume",
                  [](Engine& engine, const RunId& run) { return engine.Resume(run); });
}

int RetryRun(const CommonOptions& common, const ContinueOptions& options) {
  return Continue(common, options, "retry", [&](Engine& engine, const RunId& run) {
    return engine.Retry(run, options.from);
  });
}

int CancelRun(const CommonOptions& common, const std::string& given,
              const ExecutorChoice& executor) {
  StatusOr<std::unique_ptr<Store>> store = OpenForReading(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<RunId> id = ResolveRun(**store, given);
  if (!id.ok()) return Fail(id.status());
  const std::unique_ptr<Progress> progress = NewPlainProgress();
  DriveOptions drive;
  drive.executor = executor;
  StatusOr<std::unique_ptr<Session>> session =
      OpenSession(common, drive, absl::StrCat("trackbed cancel ", *id), *progress);
  if (session.ok()) {
    if (Status status = (*session)->engine().Cancel(*id); !status.ok()) return FailAsAsked(status);
    const int code = Drive(**session, *id, *progress);
    return code == kCancelled ? kSuccess : code;
  }
  if (!absl::IsFailedPrecondition(session.status())) return Fail(session.status());

  // Another process drives the store: ask it, and wait until it has done so.
  StatusOr<RunRecord> record = (*store)->FindRun(*id);
  if (record.ok() && record->status != RunStatus::running) {
    Fail(FailedPrecondition(
        absl::StrCat("run ", *id, " has ", AbslView(ToString(record->status)), " already")));
    return kBadInput;
  }
  if (!record.ok()) return Fail(record.status());
  Request request;
  request.run = *id;
  if (Status status = (*store)->PostRequest(request, SystemClock().Now()); !status.ok()) {
    return Fail(status);
  }
  while (record.ok() && record->status == RunStatus::running) {
    ::poll(nullptr, 0, 100);
    // The lease first: once it is seen given back, the run is read as its driver left it.
    const StatusOr<Lease> lease = (*store)->ReadLease();
    record = (*store)->FindRun(*id);
    const bool abandoned = lease.ok() && lease->expires <= SystemClock().Now() && record.ok() &&
                           record->status == RunStatus::running;
    if (abandoned) return CancelRun(common, *id, executor);  // the store is free: do it ourselves
  }
  if (!record.ok()) return Fail(record.status());
  std::printf("run %s %s\n", id->c_str(), std::string(ToString(record->status)).c_str());
  return record->status == RunStatus::cancelled ? kSuccess : ExitCodeFor(record->status);
}

namespace {

// Who says so when nobody else is named.
std::string LoginName() {
  const passwd* entry = ::getpwuid(::getuid());
  return entry == nullptr ? absl::StrCat("user ", ::getuid()) : entry->pw_name;
}

bool IsAsked(const std::vector<Request>& requests, const Request& request) {
  return std::any_of(requests.begin(), requests.end(), [&](const Request& posted) {
    return posted.kind == request.kind && posted.run == request.run &&
           posted.detail == request.detail;
  });
}

void SayDecided(const RunState& run, TaskIndex task) {
  std::printf("task \"%s\" of run %s %s\n", run.pipeline().tasks[task].name.c_str(),
              run.id().c_str(), Printable(DescribeDecision(*run.Decision(task))).c_str());
}

}  // namespace

int DecideTask(const CommonOptions& common, const DecideOptions& options) {
  ApprovalDecided decision{options.approve, options.by, options.comment};
  if (decision.by.empty()) decision.by = LoginName();
  StatusOr<std::unique_ptr<Store>> store = OpenForReading(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<RunId> id = ResolveRun(**store, options.run);
  if (!id.ok()) return Fail(id.status());
  StatusOr<StoredRun> run = LoadRun(**store, *id);
  if (!run.ok()) return Fail(run.status());
  const StatusOr<TaskIndex> task = FindTask(*run->state, options.task);
  if (!task.ok()) return Fail(task.status());
  if (Status status = CheckDecision(*run->state, *task, decision); !status.ok())
    return FailAsAsked(status);
  const std::unique_ptr<Progress> progress = NewPlainProgress();
  DriveOptions drive;
  drive.executor = options.executor;
  StatusOr<std::unique_ptr<Session>> session = OpenSession(
      common, drive, absl::StrCat("trackbed approve ", *id, " ", options.task), *progress);
  if (session.ok()) {
    if (Status status = (*session)->engine().Decide(*id, options.task, decision); !status.ok())
      return FailAsAsked(status);
    (*session)->Close();
    run = LoadRun(**store, *id);
    if (!run.ok()) return Fail(run.status());
    SayDecided(*run->state, *task);
    std::printf("nobody drives the run; continue with: trackbed resume %s\n", id->c_str());
    return kSuccess;
  }
  if (!absl::IsFailedPrecondition(session.status())) return Fail(session.status());

  // Another process drives the store: ask it, and wait until it has looked.
  const StatusOr<Request> request =
      PostDecision(**store, *run, *task, decision, SystemClock().Now());
  if (!request.ok()) return FailAsAsked(request.status());
  while (true) {
    ::poll(nullptr, 0, 100);
    // The lease first: once it is seen given back, the requests are as its holder left them.
    const StatusOr<Lease> lease = (*store)->ReadLease();
    const StatusOr<std::vector<Request>> requests = (*store)->ReadRequests();
    if (!requests.ok()) return Fail(requests.status());
    if (!IsAsked(*requests, *request)) break;
    const bool abandoned = lease.ok() && lease->expires <= SystemClock().Now();
    if (abandoned) return DecideTask(common, options);  // the store is free: do it ourselves
  }
  run = LoadRun(**store, *id);
  if (!run.ok()) return Fail(run.status());
  const ApprovalDecided* decided = run->state->Decision(*task);
  if (decided == nullptr || !(*decided == decision)) {
    const Status status = CheckDecision(*run->state, *task, decision);
    return FailAsAsked(status.ok() ? Unavailable("it asks again meanwhile; decide anew") : status);
  }
  SayDecided(*run->state, *task);
  return kSuccess;
}

}  // namespace trackbed::cli
