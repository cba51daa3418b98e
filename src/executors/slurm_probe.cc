#include <algorithm>
#include <cstdlib>
#include <optional>

#include "executors/command_runner.hpp"
#include "executors/slurm_worker.hpp"
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

}  // namespace

StatusOr<SlurmReport> ProbeSlurm(const SlurmPlace& place, Duration patience) {
  TRACKBED_ASSIGN_OR_RETURN(const SlurmCommands commands, FindSlurmCommands());
  CommandRunner runner(SlurmCommandEnvironment());
  SlurmReport report;
  const StatusOr<std::string> version = Ask(&runner, {commands.submit, "--version"}, patience);
  // Without a configuration none of the commands works, not even this.
  if (!version.ok() && std::getenv("SLURM_CONF") == nullptr) {
    return NotFound("the commands of Slurm are here, but know no cluster: " +
                    std::string(Message(version.status())));
  }
  if (!version.ok()) return version.status();
  report.version = *version;
  const StatusOr<std::string> queue =
      Ask(&runner, {commands.queue, "--me", "--noheader", "--format=%i"}, patience);
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
    report.warnings.push_back("the partitions are not known: " +
                              std::string(Message(partitions.status())));
    return report;
  }
  for (size_t begin = 0; begin < partitions->size();) {
    const size_t end = std::min(partitions->find('\n', begin), partitions->size());
    std::string name = partitions->substr(begin, end - begin);
    const auto known = std::find(report.partitions.begin(), report.partitions.end(), name);
    if (!name.empty() && known == report.partitions.end()) {
      report.partitions.push_back(std::move(name));
    }
    begin = end + 1;
  }
  if (report.partitions.empty()) {
    report.warnings.emplace_back("there is no partition that this user may use");
  } else if (!place.partition.empty() &&
             std::find(report.partitions.begin(), report.partitions.end(), place.partition) ==
                 report.partitions.end()) {
    return Unavailable("Slurm has no partition \"" + place.partition +
                       "\" for this user; it has: " + [&] {
                         std::string list;
                         for (const std::string& name : report.partitions) {
                           list += (list.empty() ? "" : ", ") + name;
                         }
                         return list;
                       }());
  }
  return report;
}

}  // namespace trackbed
