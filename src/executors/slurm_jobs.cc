#include "executors/slurm_jobs.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "executors/attempt_name.hpp"
#include "executors/attempt_records.hpp"

namespace trackbed {
namespace {

constexpr int64_t kBytesPerMebibyte = int64_t{1} << 20;
constexpr int64_t kPercent = 100;
// The engine stops an attempt at its timeout, politely first. Slurm's own limit is for when there
// is no engine to do it.
constexpr Duration kTimeLimitMargin = std::chrono::minutes(2);

std::string ShellQuote(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

// Slurm reads "%" in the name of a file as the beginning of a pattern.
std::string FilePattern(const std::string& path) {
  std::string pattern;
  for (const char c : path) {
    if (c == '%') pattern += '%';
    pattern += c;
  }
  return pattern;
}

int64_t RoundUp(int64_t amount, int64_t unit) { return amount / unit + (amount % unit != 0); }

// Members that the engine has placed together stay together, and others apart.
bool IsOnOneNode(const AttemptSpec& spec) {
  return std::all_of(spec.gang.begin(), spec.gang.end(), [&](const GangMember& member) {
    return member.node == spec.gang.front().node;
  });
}

// "cuda.device" 2 -> "gpu:2", "cuda.device:1g.5gb-mig" -> "gpu:1g.5gb:1", half a "cuda.shares" ->
// "mps:50", "tpu.device" -> "tpu:1".
std::string GenericResource(const SlotRequest& slot, int64_t members) {
  const size_t dot = slot.slot.find('.');
  const size_t colon = slot.slot.find(':');
  const std::string maker = slot.slot.substr(0, dot);
  const std::string name = maker == "cuda" || maker == "rocm" ? "gpu" : maker;
  const int64_t thousandths = slot.amount.thousandths();
  if (thousandths % 1000 != 0) {
    return "mps:" + std::to_string(RoundUp(thousandths * kPercent, 1000) * members);
  }
  std::string type;
  if (colon != std::string::npos) {
    type = slot.slot.substr(colon + 1);
    constexpr std::string_view kMigSuffix = "-mig";
    if (type.ends_with(kMigSuffix)) type.resize(type.size() - kMigSuffix.size());
    type = ":" + type;
  }
  return name + type + ":" + std::to_string(thousandths / 1000 * members);
}

int64_t Processors(const AttemptSpec& spec) {
  for (const SlotRequest& slot : spec.resources) {
    if (slot.slot == "cpu" && slot.amount.thousandths() > 0) {
      return RoundUp(slot.amount.thousandths(), 1000);
    }
  }
  return 1;
}

// A member's resources; those that Slurm counts by node for all members on one.
Status AddResources(const AttemptSpec& spec, std::vector<std::string>* arguments) {
  const int64_t members =
      spec.gang.size() > 1 && IsOnOneNode(spec) ? static_cast<int64_t>(spec.gang.size()) : 1;
  std::string generic;
  for (const SlotRequest& slot : spec.resources) {
    if (slot.amount.thousandths() <= 0) continue;
    if (slot.slot == "cpu") continue;
    if (slot.slot == "mem") {
      const int64_t mebibytes = RoundUp(slot.amount.units(), kBytesPerMebibyte);
      arguments->push_back("--mem=" + std::to_string(mebibytes * members) + "M");
    } else {
      if (slot.slot.find_first_of(",= ") != std::string::npos) {
        return InvalidArgument("the slot \"" + slot.slot + "\" has no name that Slurm could know");
      }
      generic += (generic.empty() ? "" : ",") + GenericResource(slot, members);
    }
  }
  arguments->push_back("--cpus-per-task=" + std::to_string(Processors(spec)));
  if (!generic.empty()) arguments->push_back("--gres=" + generic);
  return absl::OkStatus();
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// Takes what comes before the next "|" off the line.
std::string_view Field(std::string_view* line) {
  const size_t end = std::min(line->find('|'), line->size());
  const std::string_view field = line->substr(0, end);
  line->remove_prefix(std::min(end + 1, line->size()));
  return field;
}

}  // namespace

StatusOr<std::vector<std::string>> SubmitArguments(const AttemptSpec& spec,
                                                   const SlurmExecutorOptions& options,
                                                   const std::string& supervisor) {
  std::string comment = spec.key;
  std::replace(comment.begin(), comment.end(), '\n', ' ');
  std::vector<std::string> arguments = {
      "--parsable",
      "--job-name=" + AttemptName(spec.key, spec.folder),
      "--comment=" + comment,
      "--output=" + FilePattern(spec.folder + "/" + kSlurmLogFile),
      "--open-mode=append",
      "--chdir=" + spec.folder,
      "--export=ALL",  // of the few variables that sbatch itself is given
      "--requeue"};    // harmless: one that is started again finds the claim, if there is one
  const bool gang = spec.gang.size() > 1;
  const std::string size = std::to_string(gang ? spec.gang.size() : 1);
  arguments.push_back("--nodes=" + (gang && !IsOnOneNode(spec) ? size : "1"));
  arguments.push_back("--ntasks=" + size);
  TRACKBED_RETURN_IF_ERROR(AddResources(spec, &arguments));
  if (spec.timeout > Duration(0)) {
    const auto limit = std::chrono::ceil<std::chrono::minutes>(spec.timeout + kTimeLimitMargin);
    arguments.push_back("--time=" + std::to_string(limit.count()));
  }
  const auto group = options.groups.find(spec.resource_group);
  const SlurmPlace& place = group == options.groups.end() ? options.place : group->second;
  if (!place.partition.empty()) arguments.push_back("--partition=" + place.partition);
  if (!place.account.empty()) arguments.push_back("--account=" + place.account);
  if (!place.quality_of_service.empty()) arguments.push_back("--qos=" + place.quality_of_service);
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  arguments.push_back("--wrap=exec " + ShellQuote(supervisor) + " " +
                      (gang ? kGangFlag : kJobFlag) + " " + ShellQuote(spec.folder) +
                      (gang ? " " + size + " " + std::to_string(Processors(spec)) : ""));
  return arguments;
}

std::string GangMemberFolder(const std::string& folder, const std::string& name) {
  return name == "main1" ? folder : folder + "/" + kMembersFolder + "/" + name;
}

JobState ReadJobState(std::string_view text) {
  text = text.substr(0, text.find_first_of(" +"));
  constexpr std::array<std::pair<std::string_view, JobState>, 17> kStates = {{
      {"PENDING", JobState::waiting},
      {"REQUEUED", JobState::waiting},
      {"REQUEUE_HOLD", JobState::waiting},
      {"REQUEUE_FED", JobState::waiting},
      {"SPECIAL_EXIT", JobState::waiting},
      {"RESV_DEL_HOLD", JobState::waiting},
      {"COMPLETED", JobState::ended},
      {"FAILED", JobState::ended},
      {"CANCELLED", JobState::cancelled},
      {"TIMEOUT", JobState::timed_out},
      {"DEADLINE", JobState::timed_out},
      {"OUT_OF_MEMORY", JobState::out_of_memory},
      {"NODE_FAIL", JobState::taken_away},
      {"BOOT_FAIL", JobState::taken_away},
      {"PREEMPTED", JobState::taken_away},
      {"REVOKED", JobState::taken_away},
      {"LAUNCH_FAILED", JobState::taken_away},
  }};
  for (const auto& [name, state] : kStates) {
    if (text == name) return state;
  }
  return JobState::running;
}

std::multimap<std::string, JobLine> ReadQueue(std::string_view text) {
  std::multimap<std::string, JobLine> jobs;
  for (std::string_view line : Lines(text)) {
    JobLine job;
    job.id = Field(&line);
    job.state_text = Field(&line);
    job.state = ReadJobState(job.state_text);
    job.reason = Field(&line);
    std::string name(Field(&line));
    job.folder = line;
    jobs.emplace(std::move(name), std::move(job));
  }
  return jobs;
}

std::map<std::string, JobLine> ReadAccounts(std::string_view text) {
  std::map<std::string, JobLine> jobs;
  for (std::string_view line : Lines(text)) {
    JobLine job;
    job.id = Field(&line);
    job.state_text = Field(&line);
    job.state = ReadJobState(job.state_text);
    jobs[job.id] = job;
  }
  return jobs;
}

bool IsHopeless(std::string_view reason) {
  constexpr std::array<std::string_view, 8> kReasons = {
      "BadConstraints", "PartitionNodeLimit", "PartitionTimeLimit", "JobHeldAdmin",
      "InvalidAccount", "InvalidQOS",         "AccountNotAllowed",  "QOSNotAllowed"};
  return std::any_of(kReasons.begin(), kReasons.end(),
                     [&](std::string_view known) { return reason == known; });
}

bool CouldNotBeLaunched(std::string_view reason) {
  return reason.find("launch failed") != std::string_view::npos || reason == "JobLaunchFailure";
}

bool MayBeTakenLater(std::string_view problem) {
  // Of a controller that is down, busy or starting, and of limits on the number of jobs.
  constexpr std::array<std::string_view, 24> kProblems = {
      "does not answer",
      "Unable to contact slurm controller",
      "Socket timed out",
      "Connection refused",
      "Connection reset by peer",
      "Connection timed out",
      "Broken pipe",
      "No route to host",
      "Network is unreachable",
      "Transport endpoint is not connected",
      "Communication connection failure",
      "Communication shutdown failure",
      "Message send failure",
      "Message receive failure",
      "Unexpected missing socket error",
      "Protocol authentication error",
      "Temporary failure in name resolution",
      "Zero Bytes were transmitted",
      "Slurm controller not responding",
      "Slurm temporarily unable to accept job",
      "Resource temporarily unavailable",
      "in standby mode",
      "MaxSubmitJob",
      "Job violates accounting/QOS policy (job submit limit"};
  return std::any_of(kProblems.begin(), kProblems.end(), [&](std::string_view known) {
    return problem.find(known) != std::string_view::npos;
  });
}

}  // namespace trackbed
