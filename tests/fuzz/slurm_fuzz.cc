// Feeds whatever comes to the readers of what Slurm says: its commands and its REST service.
// Nothing may crash; what is a job's name or number is part of the answer; and a submission that
// was built can be read again.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "executors/slurm_jobs.hpp"
#include "executors/slurm_rest_json.hpp"
#include "fuzz/require.hpp"

namespace {

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

void ReadCommands(std::string_view text) {
  for (const auto& [name, job] : trackbed::ReadQueue(text)) {
    Require(text.find(name) != std::string_view::npos, "a name that was not there", name);
    Require(text.find(job.state_text) != std::string_view::npos, "a state that was not there");
    Require(job.state == trackbed::ReadJobState(job.state_text), "a state read twice differs");
  }
  for (const auto& [id, job] : trackbed::ReadAccounts(text)) {
    Require(id == job.id, "a job under another number", id);
  }
  trackbed::IsHopeless(text);
  trackbed::CouldNotBeLaunched(text);
  trackbed::MayBeTakenLater(text);
}

void ReadRest(std::string_view text) {
  const auto jobs = trackbed::ReadRestJobs(text);
  if (jobs.ok()) {
    for (const auto& [name, job] : *jobs) Require(IsNumber(job.id), "no number", job.id);
  }
  const auto version = trackbed::ChooseRestVersion(text);
  Require(!version.ok() || (*version >= trackbed::kOldestRestVersion &&
                            *version <= trackbed::kNewestRestVersion),
          "a version that is not known");
  for (const int status : {0, 200, 401, 500}) {
    const trackbed::SubmitAnswer answer = trackbed::ReadRestSubmission(status, text);
    const bool taken = answer.kind == trackbed::SubmitAnswer::Kind::taken;
    Require(taken == IsNumber(answer.id), "taken without a number, or the other way round");
    Require(taken || !answer.problem.empty(), "not taken, and not said why");
    Require(!taken || status == 200, "taken by a service that refused");
  }
  (void)trackbed::ReadRestPing(text);
  (void)trackbed::ReadRestPartitions(text);
  trackbed::RestProblem(text);
}

// The lines as arguments of sbatch.
void BuildSubmission(std::string_view text) {
  std::vector<std::string> arguments;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    arguments.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  for (int version = trackbed::kOldestRestVersion; version <= trackbed::kNewestRestVersion;
       ++version) {
    const auto body = trackbed::RestSubmission(version, arguments, arguments);
    if (!body.ok()) continue;
    const auto json = nlohmann::json::parse(*body, nullptr, false);
    Require(json.is_object() && json.contains("job") && json.contains("script"),
            "a submission that cannot be read", *body);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ReadCommands(text);
  ReadRest(text);
  BuildSubmission(text);
  return 0;
}
