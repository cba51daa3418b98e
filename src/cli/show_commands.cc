// runs, show, logs, why, explain: the commands that only read the store.
#include <absl/strings/str_cat.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

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

struct OpenedRun {
  std::unique_ptr<Store> store;
  StoredRun run;
};

StatusOr<OpenedRun> OpenRun(const CommonOptions& common, const std::string& given) {
  OpenedRun opened;
  TRACKBED_ASSIGN_OR_RETURN(opened.store, OpenForReading(common));
  TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(*opened.store, given));
  TRACKBED_ASSIGN_OR_RETURN(opened.run, LoadRun(*opened.store, id));
  return opened;
}

// A run that nobody drives is not running, whatever its last event says.
bool IsDriven(Store& store) {
  const StatusOr<Lease> lease = store.ReadLease();
  return lease.ok() && lease->expires > SystemClock().Now();
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
  const StatusOr<std::vector<RunRecord>> runs = (*store)->ListRuns(limit);
  if (!runs.ok()) return Fail(runs.status());
  const bool driven = IsDriven(**store);
  std::vector<std::vector<std::string>> rows{{"RUN", "STATUS", "SUBMITTED", "TOOK"}};
  for (const RunRecord& run : *runs) {
    if (json) {
      const nlohmann::ordered_json line = {{"run", run.id},
                                           {"pipeline", run.pipeline},
                                           {"version", run.version},
                                           {"status", StatusText(run.status, driven)},
                                           {"submitted", FormatTime(run.submitted)}};
      std::printf("%s\n", line.dump().c_str());
      continue;
    }
    rows.push_back({run.id, StatusText(run.status, driven), LocalTime(run.submitted),
                    run.finished == Time{} ? "" : ShortDuration(run.finished - run.submitted)});
  }
  if (!json) std::fputs(Table(rows).c_str(), stdout);
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
              StatusText(run.status(), IsDriven(*opened->store)).c_str(),
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
         status.attempt > 0 ? absl::StrCat(status.attempt) : "", took, Note(run, task, now)});
  }
  std::printf("\n%s", Table(rows).c_str());
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
  StatusOr<OpenedRun> opened = OpenRun(common, options.run);
  if (!opened.ok()) return Fail(opened.status());
  const StatusOr<TaskIndex> task = FindTask(*opened->run.state, options.task);
  if (!task.ok()) return Fail(task.status());
  const Workspace workspace(HomeFolder(common));
  std::ifstream file;
  std::string path;
  while (true) {
    const RunState& run = *opened->run.state;
    const TaskStatus& status = run.task(*task);
    // A cached task shows the log of the attempt whose result it uses.
    const TaskResult* result = status.cached ? run.Result(*task) : nullptr;
    const uint32_t attempt = options.attempt != 0 ? options.attempt
                             : result != nullptr  ? result->attempt
                                                  : status.attempt;
    if (attempt > 0) {
      const bool elsewhere = result != nullptr && options.attempt == 0;
      const std::string folder = workspace.AttemptFolder(
          elsewhere ? result->run : run.id(), elsewhere ? result->task : options.task, attempt);
      if (path != folder + "/log") {
        path = folder + "/log";
        file = std::ifstream(path, std::ios::binary);
      }
    }
    const bool over = IsFinal(status.state) || run.status() != RunStatus::running;
    if (!file.is_open() && (!options.follow || over)) {
      return Fail(NotFound(attempt == 0 ? absl::StrCat("task \"", options.task, "\" of run ",
                                                       run.id(), " has not started")
                                        : absl::StrCat("there is no log ", path)));
    }
    std::array<char, 65536> buffer{};
    while (file.is_open() && (file.read(buffer.data(), buffer.size()), file.gcount() > 0)) {
      std::fwrite(buffer.data(), 1, static_cast<size_t>(file.gcount()), stdout);
    }
    std::fflush(stdout);
    if (!options.follow || over) return kSuccess;
    file.clear();
    ::poll(nullptr, 0, 200);
    if (!file.is_open()) path.clear();
    StatusOr<StoredRun> reread = LoadRun(*opened->store, run.id());
    if (!reread.ok()) return Fail(reread.status());
    opened->run = *std::move(reread);
  }
}

int ExplainCache(const CommonOptions& common, const std::string& given, const std::string& name) {
  const StatusOr<OpenedRun> opened = OpenRun(common, given);
  if (!opened.ok()) return Fail(opened.status());
  const RunState& run = *opened->run.state;
  const StatusOr<TaskIndex> task = FindTask(run, name);
  if (!task.ok()) return Fail(task.status());
  const TaskStatus& status = run.task(*task);
  const AttemptIntended* intended = run.Intended(*task);

  std::printf("task \"%s\" of run %s: %s\n", name.c_str(), run.id().c_str(),
              std::string(StateName(status)).c_str());
  if (const std::string note = Note(run, *task, SystemClock().Now()); !note.empty()) {
    std::printf("  %s\n", note.c_str());
  }
  if (status.attempt == 0 && !status.cached) {
    std::printf("it has not run, so the cache was not asked\n");
    return kSuccess;
  }
  if (intended == nullptr || intended->cache_key.empty()) {
    const bool known = intended != nullptr && !intended->cache_off.empty();
    std::printf("not cached: %s\n",
                known ? intended->cache_off.c_str() : "the run was started without the cache");
    return kSuccess;
  }
  if (status.cached) {
    const TaskResult* result = run.Result(*task);
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

int ExplainWait(const CommonOptions& common, const std::string& given, const std::string& name,
                bool json) {
  const StatusOr<OpenedRun> opened = OpenRun(common, given);
  if (!opened.ok()) return Fail(opened.status());
  const RunState& run = *opened->run.state;
  const StatusOr<TaskIndex> task = FindTask(run, name);
  if (!task.ok()) return Fail(task.status());
  const Time now = SystemClock().Now();
  StatusOr<TaskExplanation> explained =
      ExplainTask(*opened->store, run.id(), *task, now, HolderIsGone);
  if (!explained.ok()) return Fail(explained.status());
  const std::string state(StateName(run.task(*task)));
  if (explained->situation == TaskSituation::ended) {
    const std::string note = Note(run, *task, now);
    explained->sentence = absl::StrCat("it has ", state, note.empty() ? "" : ": ", note);
  }
  if (json) {
    std::printf("%s\n", ExplanationToJson(run, *task, *explained).c_str());
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
