// What is said to the Docker Engine API, and what it says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executors/attempt_records.hpp"
#include "executors/gang_network.hpp"
#include "executors/sandbox_plan.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/executors/container_executor.hpp"

namespace trackbed {

// kInvalidArgument for what cannot be the name of an image, and so must not get into a path.
Status CheckImageName(const std::string& image);

// Labels by which containers are found again: of whose home they are, and the attempt's folder.
inline constexpr const char* kOwnerLabel = "trackbed.owner";
inline constexpr const char* kFolderLabel = "trackbed.folder";
// The network that was made for its gang.
inline constexpr const char* kNetworkLabel = "trackbed.network";

// Everything about a container but its image, which is known when it has been looked up.
struct ContainerOrder {
  std::string name;
  std::string image;  // as the pipeline names it
  std::string owner;  // for kOwnerLabel; empty: nobody's
  AttemptSpec spec;   // with values of secrets: never written
  LaunchRecord launch;
  std::vector<SandboxMount> view;
  GangNetwork network;  // of a member of a gang
  std::string user;     // inside: "UID:GID"; empty: as the image says
};

// Who a container on `endpoint` runs as, so that what it writes belongs to us:
// ContainerOrder::user.
std::string UserInside(const ContainerExecutorOptions& options, const ContainerEndpoint& endpoint);

// The body that creates the container. `image` is what to run, `is_podman` whose API it is.
// kInvalidArgument names a device that cannot be handed to a container.
StatusOr<std::string> CreationBody(const ContainerOrder& order, const std::string& image,
                                   const ContainerExecutorOptions& options, bool is_podman);

// The body that makes the network of a gang.
std::string NetworkBody(const ContainerOrder& order);

// The names in a list of networks. nullopt: it is no list.
std::optional<std::vector<std::string>> ReadNetworkList(std::string_view body);

// The text of an error answer: its "message", else the beginning of the answer itself.
std::string ErrorText(int status, std::string_view body);

struct ImageAnswer {
  std::string id;
  std::string digest;  // "NAME@sha256:…" where a registry knows it, else the id
};
// An image may be known by several names: the digest is that of `name`, if it is among them.
std::optional<ImageAnswer> ReadImage(std::string_view body, const std::string& name);

// "ghcr.io/a/b:1", "ghcr.io/a/b@sha256:…" -> "ghcr.io/a/b".
std::string RepositoryOf(const std::string& image);

struct ContainerAnswer {
  enum class State : uint8_t { created, running, ended };
  State state = State::created;
  int exit_code = 0;
  bool out_of_memory = false;
  std::string error;    // why it could not be started
  std::string image;    // what it runs
  std::string network;  // kNetworkLabel
  std::vector<std::string> environment;
};
std::optional<ContainerAnswer> ReadContainer(std::string_view body);

struct VersionAnswer {
  std::string api;  // the newest version that both sides know: "1.43"
  bool is_podman = false;
  std::string description;  // "Podman Engine 4.3.1"
};
std::optional<VersionAnswer> ReadVersion(std::string_view body);
// The same from the head of the answer to /_ping, which costs an engine nothing; without the
// description. (Podman 4.3 asks the package manager before it tells its version.)
std::optional<VersionAnswer> ReadPing(std::string_view head);

// One of the containers of an owner, as a list of them has it.
struct ListedContainer {
  std::string name;
  std::string folder;  // of the attempt
  bool is_running = false;
};
// nullopt: it is no list. What in it is no container is left out.
std::optional<std::vector<ListedContainer>> ReadContainerList(std::string_view body);

// `text` as a part of a query.
std::string PercentEncode(std::string_view text);

}  // namespace trackbed
