// doctor: what works here, what does not, and what to do about it.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <cstdio>
#include <filesystem>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/executors/container_probe.hpp"

namespace trackbed::cli {
namespace {

void Say(const char* mark, const std::string& what, const std::string& text) {
  std::printf("%-5s %-12s %s\n", mark, what.c_str(), text.c_str());
}

// Tells what is wrong and whether it must be mended before anything runs.
bool CheckProcesses() {
  const auto executor = ProcessExecutor::Create();
  if (!executor.ok()) {
    Say("bad", "processes", std::string(Message(executor.status())));
    return false;
  }
  Say("ok", "processes", "tasks run as processes of this machine");
  if ((*executor)->SandboxWorks()) {
    Say("ok", "sandbox", "bubblewrap works: mounts appear at their paths");
  } else {
    Say("note", "sandbox",
        "bubblewrap is missing or not permitted: mounts at absolute paths become links in the "
        "working folder; install bubblewrap");
  }
  return true;
}

bool CheckEndpoint(const std::string& what, const ContainerEndpoint& endpoint) {
  const StatusOr<ContainerEngineReport> report = ProbeContainerEngine(endpoint);
  if (!report.ok()) {
    Say("bad", what, std::string(Message(report.status())));
    return false;
  }
  Say("ok", what,
      absl::StrCat(report->engine, " at ", endpoint.ToString(), ", API ", report->api,
                   ": run --on docker"));
  for (const std::string& warning : report->warnings) Say("note", what, warning);
  return true;
}

bool CheckContainers(const ExecutorChoice& choice) {
  const StatusOr<ContainerEndpoint> endpoint = ChooseEndpoint(choice);
  if (!endpoint.ok()) {
    Say(choice.endpoint.empty() ? "note" : "bad", "containers",
        std::string(Message(endpoint.status())));
    return choice.endpoint.empty();
  }
  if (!CheckEndpoint("containers", *endpoint)) return false;
  ContainerExecutorOptions options;
  options.endpoint = *endpoint;
  if (const auto executor = ContainerExecutor::Create(options); !executor.ok()) {
    Say("bad", "containers", std::string(Message(executor.status())));
    return false;
  }
  return true;
}

// The machines that somebody added, each by its own endpoint.
bool CheckNodes(const CommonOptions& common) {
  const StatusOr<std::unique_ptr<Store>> store = OpenForReading(common);
  if (absl::IsNotFound(store.status())) return true;
  StatusOr<std::vector<NodeDescription>> nodes =
      store.ok() ? ReadAddedNodes(**store) : store.status();
  if (!nodes.ok()) {
    Say("bad", "nodes", std::string(Message(nodes.status())));
    return false;
  }
  bool good = true;
  for (const NodeDescription& node : *nodes) {
    if (node.endpoint.empty()) continue;
    const std::string what = "node " + node.name;
    const auto endpoint = ParseContainerEndpoint(node.endpoint, node.certificates);
    if (!endpoint.ok()) Say("bad", what, std::string(Message(endpoint.status())));
    good = endpoint.ok() && CheckEndpoint(what, *endpoint) && good;
  }
  return good;
}

bool CheckSlurm(const ExecutorChoice& choice) {
  const auto options = ChooseSlurm(choice);
  if (!options.ok()) {
    Say("bad", "slurm", std::string(Message(options.status())));
    return false;
  }
  const bool asked = !choice.partitions.empty() || !choice.slurm_endpoint.empty();
  const StatusOr<SlurmReport> report = ProbeSlurm(*options);
  if (!report.ok()) {
    const bool absent = absl::IsNotFound(report.status()) && !asked;
    Say(absent ? "note" : "bad", "slurm", std::string(Message(report.status())));
    return absent;
  }
  Say("ok", "slurm",
      absl::StrCat(report->version, ", partitions ", absl::StrJoin(report->partitions, ", "),
                   ": run --on slurm"));
  for (const std::string& warning : report->warnings) Say("note", "slurm", warning);
  if (const auto executor = SlurmExecutor::Create(*options); !executor.ok()) {
    Say("bad", "slurm", std::string(Message(executor.status())));
    return false;
  }
  return true;
}

}  // namespace

int Diagnose(const CommonOptions& common, const ExecutorChoice& executor) {
  const std::string home = HomeFolder(common);
  std::error_code error;
  const bool exists = std::filesystem::exists(Workspace(home).Database(), error);
  Say("ok", "home", exists ? home : home + " (nothing has run here yet)");
  const bool processes = CheckProcesses();
  const bool containers = CheckContainers(executor);
  const bool nodes = CheckNodes(common);
  const bool slurm = CheckSlurm(executor);
  return processes && containers && nodes && slurm ? kSuccess : kEnvironment;
}

}  // namespace trackbed::cli
