// What is said to slurmrestd, and what it says. Plain functions; JSON of any shape does no harm.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "executors/slurm_cluster.hpp"
#include "executors/slurm_jobs.hpp"
#include "trackbed/base/status.hpp"

namespace trackbed {

// The versions of its interface that we speak: "v0.0.38".
inline constexpr int kOldestRestVersion = 36;
inline constexpr int kNewestRestVersion = 40;

// The newest version that both speak, from the description that it gives of itself (/openapi).
// kFailedPrecondition says what was found and what was expected.
StatusOr<int> ChooseRestVersion(std::string_view openapi);

// "/slurm/v0.0.38/jobs" of version 38 and "jobs".
std::string RestPath(int version, std::string_view what);

// The body that submits a job as sbatch would with these arguments (SubmitArguments), and with
// `environment` ("NAME=VALUE"). kInvalidArgument names an option that cannot be said this way.
StatusOr<std::string> RestSubmission(int version, const std::vector<std::string>& arguments,
                                     const std::vector<std::string>& environment);

// The answer to a submission with this status of HTTP.
SubmitAnswer ReadRestSubmission(int status, std::string_view body);

// The answer to a question about jobs, by name. An error when it is none, or says that something
// is wrong.
StatusOr<std::multimap<std::string, JobLine>> ReadRestJobs(std::string_view body);

// The release of Slurm, where its controller answers; kUnavailable where it does not.
StatusOr<std::string> ReadRestPing(std::string_view body);
std::vector<std::string> ReadRestPartitions(std::string_view body);

// The errors that an answer names, as one line; empty: none.
std::string RestProblem(std::string_view body);

}  // namespace trackbed
