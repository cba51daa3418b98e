#include "executors/slurm_commands.hpp"

#include <stdlib.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "executors/supervisor_process.hpp"

namespace trackbed {
namespace {

constexpr Duration kCommandLimit = std::chrono::seconds(60);
constexpr Duration kCancelLimit = std::chrono::seconds(20);
constexpr size_t kCancelsAtOnce = 200;

std::string WithoutPrefix(std::string text, const std::string& prefix) {
  for (size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;) {
    text.erase(at, prefix.size());
  }
  return text;
}

// "ID" or "ID;CLUSTER".
SubmitAnswer ReadSubmission(const CommandResult& result) {
  const std::string id = result.output.substr(0, result.output.find_first_of(";\n"));
  if (!id.empty() && id.find_first_not_of("0123456789") == std::string::npos) {
    return {SubmitAnswer::Kind::taken, id, ""};
  }
  const std::string problem = WithoutPrefix(result.Problem(), "sbatch: error: ");
  const bool unsure = result.timed_out || result.exit_code < 0 || MayBeTakenLater(problem);
  return {unsure ? SubmitAnswer::Kind::unsure : SubmitAnswer::Kind::refused, "", problem};
}

std::vector<std::string> FlagsOf(CancelMode mode) {
  switch (mode) {
    case CancelMode::withdraw:
      return {"--state=PENDING"};
    case CancelMode::terminate:
      return {"--batch", "--signal=TERM"};
    case CancelMode::kill:
      return {"--batch", "--signal=USR2"};
    case CancelMode::end:
      break;
  }
  return {};
}

}  // namespace

StatusOr<SlurmCommandPaths> FindSlurmCommands() {
  SlurmCommandPaths paths{FindInPath("sbatch"), FindInPath("squeue"), FindInPath("scancel"),
                          FindInPath("sacct")};
  const std::pair<const char*, const std::string&> needed[] = {
      {"sbatch", paths.submit}, {"squeue", paths.queue}, {"scancel", paths.cancel}};
  for (const auto& [name, path] : needed) {
    if (path.empty()) {
      return NotFound(std::string("there is no ") + name +
                      " in PATH; install Slurm's commands (Debian: slurm-client)");
    }
  }
  return paths;
}

std::vector<std::string> SlurmCommandEnvironment() {
  // Their messages are read here, so they are to be in English.
  std::vector<std::string> environment = {"LC_ALL=C"};
  for (const char* name :
       {"PATH", "HOME", "USER", "LOGNAME", "TZ", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_JWT",
        "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION",
        "SBATCH_CONSTRAINT", "SBATCH_CLUSTERS"}) {
    const char* value = getenv(name);
    if (value != nullptr) environment.push_back(std::string(name) + "=" + value);
  }
  return environment;
}

Status SlurmCommands::Submit(const std::vector<std::string>& arguments,
                             std::function<void(SubmitAnswer)> done) {
  std::vector<std::string> words = {paths_.submit};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return runner_.Start(words, kCommandLimit, [done = std::move(done)](const CommandResult& result) {
    done(ReadSubmission(result));
  });
}

Status SlurmCommands::Query(
    std::function<void(StatusOr<std::multimap<std::string, JobLine>>)> done) {
  return runner_.Start({paths_.queue, "--me", "--all", "--noheader", "--states=all", kQueueFormat},
                       kCommandLimit, [done = std::move(done)](const CommandResult& result) {
                         if (!result.Succeeded()) {
                           done(Unavailable(result.Problem()));
                         } else {
                           done(ReadQueue(result.output));
                         }
                       });
}

Status SlurmCommands::QueryAccounts(
    const std::vector<std::string>& ids,
    std::function<void(StatusOr<std::map<std::string, JobLine>>)> done) {
  if (paths_.account.empty()) return NotFound("there is no sacct in PATH");
  std::string list;
  for (const std::string& id : ids) list += (list.empty() ? "" : ",") + id;
  return runner_.Start({paths_.account, "--noheader", "--parsable2", "--allocations",
                        kAccountFormat, "--jobs=" + list},
                       kCommandLimit, [done = std::move(done)](const CommandResult& result) {
                         if (result.Succeeded()) {
                           done(ReadAccounts(result.output));
                         } else if (result.timed_out) {
                           done(Unavailable(result.Problem()));
                         } else {
                           done(NotFound(result.Problem()));
                         }
                       });
}

// One command for many jobs, but for those with a name: scancel takes one name only.
Status SlurmCommands::Cancel(CancelMode mode, const std::vector<SlurmTarget>& jobs,
                             std::function<void(Status)> done) {
  std::vector<std::vector<std::string>> commands;
  const auto begin = [&] {
    commands.push_back({paths_.cancel, "--quiet"});
    for (std::string& flag : FlagsOf(mode)) commands.back().push_back(std::move(flag));
  };
  for (const SlurmTarget& job : jobs) {
    if (job.name.empty()) continue;
    begin();
    commands.back().push_back("--name=" + job.name);
    if (!job.id.empty()) commands.back().push_back(job.id);
  }
  size_t in_batch = kCancelsAtOnce;
  for (const SlurmTarget& job : jobs) {
    if (!job.name.empty()) continue;
    if (in_batch == kCancelsAtOnce) {
      begin();
      in_batch = 0;
    }
    commands.back().push_back(job.id);
    ++in_batch;
  }
  struct Progress {
    size_t left = 0;
    Status status = absl::OkStatus();
    std::function<void(Status)> done;
  };
  const auto progress = std::make_shared<Progress>();
  progress->left = commands.size();
  progress->done = std::move(done);
  const auto ended = [](const std::shared_ptr<Progress>& of, const Status& status) {
    of->status.Update(status);
    if (--of->left == 0) of->done(of->status);
  };
  size_t started = 0;
  Status failure = absl::OkStatus();
  for (const std::vector<std::string>& words : commands) {
    failure = runner_.Start(words, kCancelLimit, [progress, ended](const CommandResult& result) {
      // Where it was told and refused, the job is over.
      const bool told = !result.timed_out && !MayBeTakenLater(result.error_text);
      ended(progress, told ? absl::OkStatus() : Unavailable(result.Problem()));
    });
    if (!failure.ok()) break;
    ++started;
  }
  if (started == 0) return failure;
  progress->status.Update(failure);
  progress->left = started;
  return absl::OkStatus();
}

}  // namespace trackbed
