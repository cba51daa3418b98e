// runs, show, logs, why, explain: the commands that only read the store.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/progress.hpp"
#include "cli/terminal.hpp"
#include "trackbed/engine/cache_key.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/explain.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed::cli {
namespace {

constexpr size_t kLogChunk = size_t{4} << 20;
constexpr int kFollowMilliseconds = 200;

struct OpenedRun {
  std::unique_ptr<Store> store;
  StoredRun run;
};

struct OpenedTask {
  std::unique_ptr<Store> store;
  StoredRun run;
  TaskIndex task = 0;
};

StatusOr<OpenedRun> OpenRun(const CommonOptions& common, const std::string& given) {
  OpenedRun opened;
  TRACKBED_ASSIGN_OR_RETURN(opened.store, OpenForReading(common));
  TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(*opened.store, given));
  TRACKBED_ASSIGN_OR_RETURN(opened.run, LoadRun(*opened.store, id));
  return opened;
}

StatusOr<OpenedTask> OpenTask(const CommonOptions& common, const std::string& run,
                              const std::string& name) {
  TRACKBED_ASSIGN_OR_RETURN(OpenedRun opened, OpenRun(common, run));
  TRACKBED_ASSIGN_OR_RETURN(FoundTask found,
                            FindTaskOrBatch(*opened.store, std::move(opened.run), name));
  return OpenedTask{std::move(opened.store), std::move(found.run), found.task};
}

std::string StatusText(RunStatus status, bool driven) {
  if (status == RunStatus::running && !driven) return "interrupted";
  return std::string(ToString(status));
}

// Two values beside each other, from shortly before the place where they differ.
std::string Difference(const std::string& before, const std::string& after) {
  constexpr size_t kContext = 20;
  constexpr size_t kWidth = 48;
  const auto end = std::mismatch(before.begin(), before.end(), after.begin(), after.end()).first;
  auto start = static_cast<size_t>(end - before.begin());
  start -= std::min(start, kContext);
  // Not within a character.
  while (start > 0 && (static_cast<unsigned char>(before[start]) & 0xc0U) == 0x80U) --start;
  const auto part = [&](const std::string& text) {
    return Fit((start > 0 ? "…" : "") + Printable(text.substr(start)), kWidth);
  };
  return absl::StrCat(part(before), "  ->  ", part(after));
}

}  // namespace

int ListRuns(const CommonOptions& common, size_t limit, bool json) {
  StatusOr<std::unique_ptr<Store>> store = OpenForReading(common);
  if (!store.ok()) return Fail(store.status());
  const Time now = SystemClock().Now();
  if (json) {
    const StatusOr<std::vector<std::string>> lines = EachRunAsJson(**store, limit, now);
    if (!lines.ok()) return Fail(lines.status());
    for (const std::string& line : *lines) std::printf("%s\n", line.c_str());
    return kSuccess;
  }
  const StatusOr<std::vector<RunRecord>> runs = (*store)->ListRuns(limit);
  if (!runs.ok()) return Fail(runs.status());
  const bool driven = IsDriven(**store, now);
  const bool may_fall_silent = NodesMayFallSilent(**store, now);
  std::vector<std::vector<std::string>> rows{{"RUN", "STATUS", "SUBMITTED", "TOOK"}};
  for (const RunRecord& run : *runs) {
    const RunGlance glance = GlanceAt(**store, run, may_fall_silent).value_or(RunGlance());
    std::string status = StatusText(run.status, driven);
    if (!glance.asking.empty()) {
      absl::StrAppend(&status, ", asks for approval: ", absl::StrJoin(glance.asking, " "));
    }
    if (glance.unknown > 0) absl::StrAppend(&status, ", ", glance.unknown, " unknown");
    rows.push_back({run.id, std::move(status), LocalTime(run.submitted),
                    run.finished == Time{} ? "" : ShortDuration(run.finished - run.submitted)});
  }
  std::fputs(Table(std::move(rows)).c_str(), stdout);
  return kSuccess;
}

int ShowRun(const CommonOptions& common, const std::string& given, bool json) {
  const StatusOr<OpenedRun> opened = OpenRun(common, given);
  if (!opened.ok()) return Fail(opened.status());
  const RunState& run = *opened->run.state;
  if (json) {
    std::printf("%s\n", RunToJson(opened->run.record, run).c_str());
    return kSuccess;
  }
  std::printf("run       %s\npipeline  %s  %s\nstatus    %s\nsubmitted %s\n", run.id().c_str(),
              opened->run.record.pipeline.c_str(), opened->run.record.version.c_str(),
              StatusText(run.status(), IsDriven(*opened->store, SystemClock().Now())).c_str(),
              LocalTime(run.submitted_at()).c_str());
  if (run.finished_at() != Time{}) {
    std::printf("took      %s\n", ShortDuration(run.finished_at() - run.submitted_at()).c_str());
  }
  for (const auto& [name, value] : run.submitted().parameters) {
    std::printf("parameter %s = %s\n", name.c_str(), Printable(ToText(value)).c_str());
  }
  std::vector<std::vector<std::string>> rows{{"", "TASK", "STATE", "ATTEMPT", "TOOK", "NOTE"}};
  const Time now = SystemClock().Now();
  for (TaskIndex task = 0; task < run.pipeline().tasks.size(); ++task) {
    const TaskStatus& status = run.task(task);
    std::string took;
    if (status.attempt > 0 && IsFinal(status.state) && !status.cached) {
      took = ShortDuration(status.finished - status.started);
    }
    rows.push_back(
        {std::string(Mark(status)), run.pipeline().tasks[task].name, std::string(StateName(status)),
         status.attempt > 0 && !run.pipeline().tasks[task].approval ? absl::StrCat(status.attempt)
                                                                    : "",
         took, Note(run, task, now)});
  }
  std::printf("\n%s", Table(std::move(rows)).c_str());
  return kSuccess;
}

int PrintEvents(const CommonOptions& common, const std::string& given, uint64_t from) {
  const StatusOr<OpenedRun> opened = OpenRun(common, given);
  if (!opened.ok()) return Fail(opened.status());
  const Status status =
      opened->store->ReadEvents(opened->run.record.number, from, [&](uint64_t, const Event& event) {
        std::printf("%s\n", EventToJson(*opened->run.state, event).c_str());
      });
  return status.ok() ? kSuccess : Fail(status);
}

int ShowLog(const CommonOptions& common, const LogOptions& options) {
  const StatusOr<OpenedTask> opened = OpenTask(common, options.run, options.task);
  if (!opened.ok()) return Fail(opened.status());
  const TaskIndex task = opened->task;
  const std::string& name = opened->run.state->pipeline().tasks[task].name;
  Store& store = *opened->store;
  const RunId& id = opened->run.record.id;
  const Workspace workspace(HomeFolder(common));
  std::string attempt;
  uint64_t offset = 0;
  while (true) {
    const StatusOr<LogPart> part =
        ReadLog(store, workspace, id, {name, options.attempt, options.member}, offset, kLogChunk);
    if (part.ok() && part->attempt != attempt) {
      // Of another attempt than before, which is shown from its beginning.
      attempt = part->attempt;
      if (std::exchange(offset, 0) != 0) continue;
    }
    if (part.ok()) {
      std::fwrite(part->text.data(), 1, part->text.size(), stdout);
      std::fflush(stdout);
      offset += part->text.size();
      if (!part->more || (!options.follow && part->text.empty())) return kSuccess;
      if (!part->text.empty()) continue;
    } else {
      // It may be about to begin.
      if (!options.follow || !absl::IsNotFound(part.status())) return Fail(part.status());
      const StatusOr<StoredRun> run = LoadRun(store, id);
      if (!run.ok()) return Fail(run.status());
      if (IsFinal(run->state->task(task).state) || run->state->status() != RunStatus::running) {
        return Fail(part.status());
      }
    }
    ::poll(nullptr, 0, kFollowMilliseconds);
  }
}

int ExplainCache(const CommonOptions& common, const std::string& given, const std::string& asked) {
  const StatusOr<OpenedTask> opened = OpenTask(common, given, asked);
  if (!opened.ok()) return Fail(opened.status());
  const RunState& run = *opened->run.state;
  const TaskIndex task = opened->task;
  const std::string& name = run.pipeline().tasks[task].name;
  const TaskStatus& status = run.task(task);
  const AttemptIntended* intended = run.Intended(task);

  std::printf("task \"%s\" of run %s: %s\n", name.c_str(), run.id().c_str(),
              std::string(StateName(status)).c_str());
  if (const std::string note = Note(run, task, SystemClock().Now()); !note.empty()) {
    std::printf("  %s\n", note.c_str());
  }
  if (run.pipeline().tasks[task].approval) {
    std::printf("not cached: it asks somebody each time\n");
    return kSuccess;
  }
  if (status.attempt == 0 && !status.cached) {
    std::printf("it has not run, so the cache was not asked\n");
    return kSuccess;
  }
  if (intended == nullptr || intended->cache_key.empty()) {
    std::printf("not cached: %s\n", WhyNotCached(run, task).c_str());
    return kSuccess;
  }
  if (status.cached) {
    const TaskResult* result = run.Result(task);
    std::printf("cache hit: result of run %s, task \"%s\", attempt %u\nkey %s\n",
                result->run.c_str(), result->task.c_str(), result->attempt,
                intended->cache_key.c_str());
    for (const auto& [field, value] : intended->cache_fields) {
      std::printf("  same  %s = %s\n", field.c_str(), Fit(Printable(value), 76).c_str());
    }
    return kSuccess;
  }
  StatusOr<std::optional<CacheEntry>> before =
      opened->store->FindLastCached(run.pipeline().name, name, status.started);
  if (!before.ok()) return Fail(before.status());
  std::printf("cache miss: key %s\n", intended->cache_key.c_str());
  if (!*before) {
    std::printf("no earlier result of this task; its key is made of\n");
    for (const auto& [field, value] : intended->cache_fields) {
      std::printf("  %s = %s\n", field.c_str(), Fit(Printable(value), 76).c_str());
    }
    return kSuccess;
  }
  const CacheEntry& earlier = **before;
  std::printf("compared with its latest result, of run %s:\n", earlier.result.run.c_str());
  const auto differences = CompareCacheFields(earlier.fields, intended->cache_fields);
  for (const auto& [field, value] : intended->cache_fields) {
    const auto difference =
        std::find_if(differences.begin(), differences.end(),
                     [&wanted = field](const CacheFieldDifference& d) { return d.name == wanted; });
    if (difference == differences.end()) {
      std::printf("  same     %s\n", field.c_str());
    } else if (difference->before.empty()) {
      std::printf("  new      %s = %s\n", field.c_str(), Fit(Printable(value), 70).c_str());
    } else {
      std::printf("  changed  %s: %s\n", field.c_str(),
                  Difference(difference->before, difference->after).c_str());
    }
  }
  for (const CacheFieldDifference& difference : differences) {
    if (difference.after.empty()) std::printf("  gone     %s\n", difference.name.c_str());
  }
  if (differences.empty()) {
    std::printf("  nothing differs: it was run again on request, or its files are gone\n");
  }
  return kSuccess;
}

int ExplainWait(const CommonOptions& common, const std::string& given, const std::string& asked,
                bool json) {
  const StatusOr<OpenedTask> opened = OpenTask(common, given, asked);
  if (!opened.ok()) return Fail(opened.status());
  const RunState& run = *opened->run.state;
  const TaskIndex task = opened->task;
  const std::string& name = run.pipeline().tasks[task].name;
  const Time now = SystemClock().Now();
  StatusOr<TaskExplanation> explained =
      ExplainTask(*opened->store, run.id(), task, now, HolderIsGone);
  if (!explained.ok()) return Fail(explained.status());
  const std::string state(StateName(run.task(task)));
  if (explained->situation == TaskSituation::ended) {
    const std::string note = Note(run, task, now);
    explained->sentence = absl::StrCat("it has ", state, note.empty() ? "" : ": ", note);
  }
  if (json) {
    std::printf("%s\n", ExplanationToJson(run, task, *explained).c_str());
    return kSuccess;
  }
  std::printf("task \"%s\" of run %s: %s\n  %s\n", name.c_str(), run.id().c_str(), state.c_str(),
              Printable(explained->sentence).c_str());
  if (explained->enforcement) {
    std::printf("  its devices: %s enforcement\n",
                std::string(ToString(*explained->enforcement)).c_str());
  }
  return kSuccess;
}

}  // namespace trackbed::cli
