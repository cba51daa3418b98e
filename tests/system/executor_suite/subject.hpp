// The executor that the suite is about, chosen by the environment:
//   TRACKBED_SUITE           process, docker, slurm
//   TRACKBED_SUITE_ENDPOINT  of the container engine, or of slurmrestd (empty: Slurm's commands)
//   TRACKBED_SUITE_IMAGE     with a shell
// And what its tests share: a scratch folder, attempts in it, waiting with a deadline.
#pragma once

#include <poll.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "executors/attempt_fixture.hpp"
#include "trackbed/executors/container_executor.hpp"
#include "trackbed/executors/process_executor.hpp"
#include "trackbed/executors/slurm_executor.hpp"

namespace trackbed {

inline std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

inline bool InContainers() { return Setting("TRACKBED_SUITE") == "docker"; }

inline bool InSlurm() { return Setting("TRACKBED_SUITE") == "slurm"; }

inline std::unique_ptr<Executor> NewSlurmSubject() {
  SlurmExecutorOptions options;
  options.poll_interval = std::chrono::milliseconds(300);
  options.record_patience = std::chrono::seconds(1);
  options.rest.endpoint = Setting("TRACKBED_SUITE_ENDPOINT");
  options.groups["many"].partition = "many";  // of small nodes
  options.groups["nowhere"].partition = "nowhere";
  auto executor = SlurmExecutor::Create(std::move(options));
  INFO(executor.status());
  REQUIRE(executor.ok());
  return *std::move(executor);
}

inline std::unique_ptr<Executor> NewSubject() {
  if (InSlurm()) return NewSlurmSubject();
  if (!InContainers()) {
    auto executor = ProcessExecutor::Create();
    INFO(executor.status());
    REQUIRE(executor.ok());
    return *std::move(executor);
  }
  ContainerExecutorOptions options;
  const auto endpoint = ParseContainerEndpoint(Setting("TRACKBED_SUITE_ENDPOINT"));
  INFO(endpoint.status());
  REQUIRE(endpoint.ok());
  options.endpoint = *endpoint;
  options.network = "host";
  auto executor = ContainerExecutor::Create(std::move(options));
  INFO(executor.status());
  REQUIRE(executor.ok());
  return *std::move(executor);
}

inline AttemptSpec NewAttempt(const ScratchFolder& scratch, const std::string& script,
                              const std::string& key = "suite/task/1") {
  AttemptSpec spec = ScriptSpec(scratch, script, key);
  spec.image = Setting("TRACKBED_SUITE_IMAGE");
  return spec;
}

}  // namespace trackbed
