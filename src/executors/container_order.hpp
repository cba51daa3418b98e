// What is said to the Docker Engine API, and what it says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executors/attempt_records.hpp"
#include "executors/sandbox_plan.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/executors/container_executor.hpp"

namespace trackbed {

// "trackbed-RUN-TASK-ATTEMPT-" and a digest of key and folder: unique to the attempt, and legal.
std::string ContainerName(const AttemptKey& key, const std::string& folder);

// "nginx" -> "docker.io"; "ghcr.io/x/y:1" -> "ghcr.io".
std::string RegistryOf(std::string_view image);

// kInvalidArgument for what cannot be the name of an image, and so must not get into a path.
Status CheckImageName(const std::string& image);

// Everything about a container but its image, which is known when it has been looked up.
struct ContainerOrder {
  std::string name;
  std::string image;  // as the pipeline names it
  AttemptSpec spec;   // with values of secrets: never written
  LaunchRecord launch;
  std::vector<SandboxMount> view;
};

// The body that creates the container. `image` is what to run, `is_podman` whose API it is.
// kInvalidArgument names a device that cannot be handed to a container.
StatusOr<std::string> CreationBody(const ContainerOrder& order, const std::string& image,
                                   const ContainerExecutorOptions& options, bool is_podman);

// The text of an error answer: its "message", else the beginning of the answer itself.
std::string ErrorText(int status, std::string_view body);

struct ImageAnswer {
  std::string id;
  std::string digest;  // "NAME@sha256:…" where a registry knows it, else the id
};
std::optional<ImageAnswer> ReadImage(std::string_view body);

struct ContainerAnswer {
  enum class State : uint8_t { created, running, ended };
  State state = State::created;
  int exit_code = 0;
  bool out_of_memory = false;
  std::string error;  // why it could not be started
  std::string image;  // what it runs
  std::vector<std::string> environment;
};
std::optional<ContainerAnswer> ReadContainer(std::string_view body);

struct VersionAnswer {
  std::string api;  // the newest version that both sides know: "1.43"
  bool is_podman = false;
  std::string description;  // "Podman Engine 4.3.1"
};
std::optional<VersionAnswer> ReadVersion(std::string_view body);

// Reads the progress of a pull, JSON objects one after another, a line each.
class PullReader {
 public:
  void Feed(std::string_view bytes);
  // Why it failed; empty: it did not.
  const std::string& error() const { return error_; }
  const std::string& last() const { return last_; }

 private:
  std::string line_;
  std::string error_;
  std::string last_;
};

// The value of the header X-Registry-Auth.
std::string RegistryAuthorization(const RegistryLogin& login, const std::string& password);

}  // namespace trackbed
