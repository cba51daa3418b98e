// From an AttemptSpec to what the supervisor is told: environment, working folder, mounts, limits.
#pragma once

#include <absl/functional/function_ref.h>

#include <string>
#include <utility>
#include <vector>

#include "executors/attempt_records.hpp"
#include "executors/sandbox_plan.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/executors/process_executor.hpp"

namespace trackbed {

struct LaunchPlanOptions {
  // What every command gets from the host's environment.
  std::vector<std::pair<std::string, std::string>> base_environment;
  std::string bubblewrap;      // program; empty: no sandbox for this attempt
  std::string sandbox_reason;  // why not, when the attempt asks for one
  std::string cgroup_parent;   // empty: no control groups
  // The attempt runs in a container: it sees nothing but its image and what PlanLaunch puts into
  // *view, all at the paths that it has outside beside those that the specification asks for.
  bool container = false;
  // The members of a gang are processes of this machine: each gets an address of its own here, and
  // in a sandbox sees kHostsFile of its folder, to be written by the caller, as /etc/hosts.
  bool gang_is_here = false;
  // They are on nodes of a cluster, where the supervisor adds addresses and writes that file.
  bool gang_meets = false;
};

// Whether this attempt runs in a sandbox: sets `bubblewrap` (that program, or empty) and
// `sandbox_reason`. `works` says whether the program does, and is asked only where that matters.
// kFailedPrecondition when a sandbox must be and cannot.
Status ChooseSandbox(const AttemptSpec& spec, SandboxMode mode, const std::string& bubblewrap,
                     absl::FunctionRef<bool()> works, LaunchPlanOptions* options);

// Reads folders of the host; makes the missing host folders of mounts and nothing else.
// A script too long for a command line is left in *script, to be written to kScriptFile.
// *view, for a container: the mounts, outer ones before those inside them; one without a host path
// is an empty folder.
StatusOr<LaunchRecord> PlanLaunch(const AttemptSpec& spec, const LaunchPlanOptions& options,
                                  std::string* script, std::vector<SandboxMount>* view = nullptr);

// What every command gets from this process's environment: PATH, HOME, USER, LOGNAME, LANG, LC_ALL
// and TZ, where set, and those of `inherited`.
std::vector<std::pair<std::string, std::string>> HostEnvironment(
    const std::vector<std::string>& inherited);

// "NAME=VALUE" of the secrets, which travel beside the record.
std::vector<std::string> SecretEnvironment(const AttemptSpec& spec);

// The order to run the record, with its secrets (EncodeOrder). kInvalidArgument when it is larger
// than kMaxRecordBytes.
StatusOr<std::string> MakeOrder(const AttemptSpec& spec, const LaunchRecord& record);

}  // namespace trackbed
