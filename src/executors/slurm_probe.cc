#include <algorithm>
#include <cstdlib>
#include <optional>

#include "executors/command_runner.hpp"
#include "executors/slurm_commands.hpp"
#include "executors/slurm_rest.hpp"
#include "executors/supervisor_process.hpp"
#include "trackbed/executors/slurm_executor.hpp"

namespace trackbed {
namespace {

StatusOr<std::string> Ask(CommandRunner* runner, const std::vector<std::string>& words,
                          Duration patience) {
  std::optional<CommandResult> answer;
  TRACKBED_RETURN_IF_ERROR(
      runner->Start(words, patience, [&](CommandResult result) { answer = std::move(result); }));
  while (!answer) runner->Wait(-1, patience);
  if (!answer->Succeeded()) return Unavailable(answer->Problem());
  while (answer->output.ends_with('\n')) answer->output.pop_back();
  return answer->output;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    const bool known = std::find(lines.begin(), lines.end(), line) != lines.end();
    if (!line.empty() && !known) lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

// A controller that was killed right after it had started jobs may take nodes out of service when
// it comes back, since it starts these jobs again where they still run. Nothing starts there until
// somebody puts the node back.
void WarnOfDrainedNodes(CommandRunner* runner, const std::string& information, Duration patience,
                        SlurmReport* report) {
  const StatusOr<std::string> nodes = Ask(
      runner, {information, "--noheader", "--Node", "--states=drain,down", "--format=%N is %T: %E"},
      patience);
  if (!nodes.ok()) return;
  for (const std::string& line : Lines(*nodes)) {
    report->warnings.push_back("the node " + line +
                               "; an operator puts it back by: scontrol update NodeName=" +
                               line.substr(0, line.find(' ')) + " State=RESUME");
  }
}

Status AskCommands(Duration patience, SlurmReport* report) {
  TRACKBED_ASSIGN_OR_RETURN(const SlurmCommandPaths paths, FindSlurmCommands());
  CommandRunner runner(SlurmCommandEnvironment());
  const StatusOr<std::string> version = Ask(&runner, {paths.submit, "--version"}, patience);
  // Without a configuration none of the commands works, not even this.
  if (!version.ok() && std::getenv("SLURM_CONF") == nullptr) {
    return NotFound("the commands of Slurm are here, but know no cluster: " +
                    std::string(Message(version.status())));
  }
  if (!version.ok()) return version.status();
  report->version = *version;
  const StatusOr<std::string> queue =
      Ask(&runner, {paths.queue, "--me", "--noheader", "--format=%i"}, patience);
  if (!queue.ok()) {
    return Unavailable(
        "the controller of Slurm does not answer: " + std::string(Message(queue.status())) +
        "; is slurmctld running, and do slurm.conf (SLURM_CONF) and munge fit?");
  }
  const std::string information = FindInPath("sinfo");
  const StatusOr<std::string> partitions =
      information.empty() ? StatusOr<std::string>(NotFound("there is no sinfo in PATH"))
                          : Ask(&runner, {information, "--noheader", "--format=%R"}, patience);
  if (!partitions.ok()) {
    report->warnings.push_back("the partitions are not known: " +
                               std::string(Message(partitions.status())));
    return absl::OkStatus();
  }
  report->partitions = Lines(*partitions);
  WarnOfDrainedNodes(&runner, information, patience, report);
  return absl::OkStatus();
}

Status AskRest(const SlurmRestOptions& options, Duration patience, SlurmReport* report) {
  TRACKBED_ASSIGN_OR_RETURN(const std::unique_ptr<SlurmRest> rest, SlurmRest::Create(options));
  const auto until = std::chrono::steady_clock::now() + patience;
  std::optional<StatusOr<std::string>> version;
  std::optional<StatusOr<std::vector<std::string>>> partitions;
  rest->Ping([&](StatusOr<std::string> answer) { version = std::move(answer); });
  rest->Partitions(
      [&](StatusOr<std::vector<std::string>> answer) { partitions = std::move(answer); });
  while (!version || !partitions) {
    const auto rest_of_it = until - std::chrono::steady_clock::now();
    if (rest_of_it <= Duration(0)) {
      return Unavailable("slurmrestd at " + options.endpoint + " does not answer");
    }
    rest->Wait(-1, rest_of_it);
  }
  if (!version->ok()) {
    return Unavailable(options.endpoint + ": " + std::string(Message(version->status())));
  }
  report->version = **version;
  if (partitions->ok()) {
    report->partitions = **partitions;
  } else {
    report->warnings.push_back("the partitions are not known: " +
                               std::string(Message(partitions->status())));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<SlurmReport> ProbeSlurm(const SlurmExecutorOptions& options, Duration patience) {
  SlurmReport report;
  TRACKBED_RETURN_IF_ERROR(options.rest.endpoint.empty()
                               ? AskCommands(patience, &report)
                               : AskRest(options.rest, patience, &report));
  const std::string& wanted = options.place.partition;
  if (report.partitions.empty()) {
    if (report.warnings.empty()) {
      report.warnings.emplace_back("there is no partition that this user may use");
    }
  } else if (!wanted.empty() && std::find(report.partitions.begin(), report.partitions.end(),
                                          wanted) == report.partitions.end()) {
    std::string list;
    for (const std::string& name : report.partitions) list += (list.empty() ? "" : ", ") + name;
    return Unavailable("Slurm has no partition \"" + wanted + "\" for this user; it has: " + list);
  }
  return report;
}

}  // namespace trackbed
