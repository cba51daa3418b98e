// What is said to Slurm's commands, and what they say.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/executors/slurm_executor.hpp"

namespace trackbed {

// Names inside the attempt's folder beside those of attempt_records.hpp.
inline constexpr const char* kSlurmFile = "slurm";
inline constexpr const char* kSlurmLogFile = "slurm.log";

// The arguments of sbatch that submit the attempt, or gang, as a job named AttemptName(key,
// folder). No environment and nothing secret is in them. kInvalidArgument names what cannot be
// asked of Slurm.
StatusOr<std::vector<std::string>> SubmitArguments(const AttemptSpec& spec,
                                                   const SlurmExecutorOptions& options,
                                                   const std::string& supervisor);

// Where a member of a gang has its files: below the attempt's folder, but for the first, "main1".
std::string GangMemberFolder(const std::string& folder, const std::string& name);

// What Slurm says about a job, as far as it makes a difference.
enum class JobState : uint8_t {
  unknown,        // Slurm does not know the job
  waiting,        // PENDING, REQUEUED, …
  running,        // CONFIGURING, RUNNING, COMPLETING, SUSPENDED, …
  ended,          // COMPLETED, FAILED: by itself
  cancelled,      // CANCELLED, by whoever
  timed_out,      // TIMEOUT, DEADLINE
  out_of_memory,  // OUT_OF_MEMORY
  taken_away,     // NODE_FAIL, BOOT_FAIL, PREEMPTED, REVOKED, …: no fault of the job
};
// Reads "RUNNING", "CANCELLED by 1000". What no version is known to say counts as running.
JobState ReadJobState(std::string_view text);
inline bool HasEnded(JobState state) { return state >= JobState::ended; }

struct JobLine {
  std::string id;
  JobState state = JobState::unknown;
  std::string state_text;
  std::string reason;  // why it waits
  std::string folder;  // its working folder: the attempt's
};

// Format and answer of squeue; the jobs by name. Lines of other jobs do no harm, whatever their
// names hold.
inline constexpr const char* kQueueFormat = "--format=%i|%T|%r|%j|%Z";
std::multimap<std::string, JobLine> ReadQueue(std::string_view text);

// Format and answer of sacct; the jobs by id.
inline constexpr const char* kAccountFormat = "--format=JobIDRaw,State";
std::map<std::string, JobLine> ReadAccounts(std::string_view text);

// Whether a job that waits for this reason will wait for ever, unless somebody changes the cluster.
bool IsHopeless(std::string_view reason);
// Whether it waits for somebody to release it, because a node could not start it.
bool CouldNotBeLaunched(std::string_view reason);
// Whether sbatch would take the job at another time.
bool MayBeTakenLater(std::string_view problem);

}  // namespace trackbed
