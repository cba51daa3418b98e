// What an attempt is called where others can see it: its container, its network, its job.
#pragma once

#include <string>

#include "trackbed/executors/executor.hpp"

namespace trackbed {

struct AttemptKeyParts {
  std::string run;
  std::string task;
  std::string attempt;
  std::string member;  // of a gang: "sub1"; of main1, and of a single process, empty
};
AttemptKeyParts SplitAttemptKey(const AttemptKey& key);

// "trackbed-RUN-TASK-ATTEMPT-" and a digest of key and folder: unique to the attempt, and legal for
// container engines and Slurm.
std::string AttemptName(const AttemptKey& key, const std::string& folder);

}  // namespace trackbed
