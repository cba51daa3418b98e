#include "trackbed/executors/executor_choice.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "trackbed/executors/container_probe.hpp"
#include "trackbed/resources/local_node.hpp"

namespace trackbed {
namespace {

constexpr std::string_view kSecretScheme = "secret://";

StatusOr<RegistryLogin> ReadLogin(const std::string& text) {
  const size_t equals = text.find('=');
  const size_t colon = text.find(':', equals == std::string::npos ? 0 : equals);
  if (equals == std::string::npos || equals == 0 || colon == std::string::npos ||
      !std::string_view(text).substr(colon + 1).starts_with(kSecretScheme)) {
    return InvalidArgument(absl::StrCat(
        "a registry: found \"", text,
        "\", expected SERVER=USER:secret://env/NAME or SERVER=USER:secret://file/NAME"));
  }
  return RegistryLogin{text.substr(0, equals), text.substr(equals + 1, colon - equals - 1),
                       text.substr(colon + 1)};
}

// Reads NAME or GROUP=NAME into what `field` of a place is.
void AddPlaces(const std::vector<std::string>& texts, std::string SlurmPlace::* field,
               SlurmExecutorOptions* options) {
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) options->place.*field = text;
  }
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) continue;
    options->groups[text.substr(0, equals)].*field = text.substr(equals + 1);
  }
}

StatusOr<std::unique_ptr<SlurmExecutor>> OpenSlurm(const ExecutorChoice& choice,
                                                   const ProcessExecutorOptions& processes) {
  TRACKBED_ASSIGN_OR_RETURN(SlurmExecutorOptions options, ChooseSlurm(choice));
  options.sandbox = processes.sandbox;
  options.supervisor_path = processes.supervisor_path;
  options.inherit_environment = processes.inherit_environment;
  if (choice.on == "slurm") TRACKBED_RETURN_IF_ERROR(ProbeSlurm(options).status());
  return SlurmExecutor::Create(std::move(options));
}

// Where docker login and podman login leave what they are told; empty: nowhere.
std::string FindCredentialsFile() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  std::vector<std::string> places;
  if (!variable("REGISTRY_AUTH_FILE").empty()) places.push_back(variable("REGISTRY_AUTH_FILE"));
  if (!variable("DOCKER_CONFIG").empty()) {
    places.push_back(variable("DOCKER_CONFIG") + "/config.json");
  } else if (!variable("HOME").empty()) {
    places.push_back(variable("HOME") + "/.docker/config.json");
  }
  for (const std::string& place : places) {
    std::error_code error;
    if (std::filesystem::exists(place, error)) return place;
  }
  return "";
}

StatusOr<std::unique_ptr<ContainerExecutor>> OpenContainers(
    const ExecutorChoice& choice, const ExecutorSurroundings& surroundings) {
  ContainerExecutorOptions options;
  for (const NodeDescription& node : surroundings.nodes) {
    if (node.endpoint.empty()) continue;
    TRACKBED_ASSIGN_OR_RETURN(options.nodes[node.name].endpoint,
                              ParseContainerEndpoint(node.endpoint, node.certificates));
  }
  const StatusOr<ContainerEndpoint> chosen = ChooseEndpoint(choice);
  // With nodes that have their own, the one of this machine may be missing.
  if (chosen.ok()) {
    options.endpoint = *chosen;
  } else if (options.nodes.empty()) {
    return chosen.status();
  }
  options.silence = std::min(options.silence, choice.node_lease / 2);
  options.home = surroundings.home;
  options.default_image = choice.image;
  options.network = choice.network;
  options.user = choice.user;
  options.read_only_root = choice.read_only_root;
  options.init_path = surroundings.container_init;
  for (const std::string& text : choice.registries) {
    TRACKBED_ASSIGN_OR_RETURN(RegistryLogin login, ReadLogin(text));
    options.logins.push_back(std::move(login));
  }
  if (const char* folder = std::getenv("CUDA_MPS_PIPE_DIRECTORY")) options.mps_folder = folder;
  options.credentials_file =
      choice.credentials.empty() ? FindCredentialsFile() : choice.credentials;
  if (surroundings.say) {
    options.on_pull = [say = surroundings.say](const std::string& node, const std::string& image,
                                               const std::string& what) {
      say(absl::StrCat("image ", image, node.empty() ? "" : " on ", node, ": ", what));
    };
  }
  options.resolve_secret =
      [secret = surroundings.secret](const std::string& reference) -> StatusOr<std::string> {
    const std::string_view name = std::string_view(reference).substr(kSecretScheme.size());
    const size_t slash = name.find('/');
    if (slash == std::string_view::npos || !secret) {
      return InvalidArgument("a secret is written secret://SOURCE/NAME");
    }
    return secret(name.substr(0, slash), name.substr(slash + 1));
  };
  if (choice.on == "docker" && options.nodes.empty()) {
    TRACKBED_RETURN_IF_ERROR(CheckContainerEngine(options.endpoint));
  }
  return ContainerExecutor::Create(std::move(options));
}

}  // namespace

StatusOr<std::unique_ptr<Executor>> OpenExecutors(const ExecutorChoice& choice,
                                                  const ExecutorSurroundings& surroundings) {
  if (choice.on != "process" && choice.on != "docker" && choice.on != "slurm") {
    return InvalidArgument(absl::StrCat("where tasks run: found \"", choice.on,
                                        "\", expected process, docker or slurm"));
  }
  ExecutorRoutes routes;
  TRACKBED_ASSIGN_OR_RETURN(routes.processes, ProcessExecutor::Create(surroundings.processes));
  StatusOr<std::unique_ptr<ContainerExecutor>> containers = OpenContainers(choice, surroundings);
  StatusOr<std::unique_ptr<SlurmExecutor>> slurm = OpenSlurm(choice, surroundings.processes);
  if (choice.on == "docker") {
    if (!containers.ok()) return containers.status();
    routes.new_attempts = ExecutorKind::containers;
  }
  if (choice.on == "slurm") {
    if (!slurm.ok()) return slurm.status();
    routes.new_attempts = ExecutorKind::slurm;
  }
  routes.no_containers = std::string(Message(containers.status()));
  if (containers.ok()) routes.containers = *std::move(containers);
  routes.no_slurm = std::string(Message(slurm.status()));
  if (slurm.ok()) routes.slurm = *std::move(slurm);
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<Executor> executor,
                            ExecutorRouter::Create(std::move(routes)));
  return executor;
}

StatusOr<ContainerEndpoint> ChooseEndpoint(const ExecutorChoice& choice) {
  if (choice.endpoint.empty()) return FindContainerEndpoint();
  const char* certificates = std::getenv("DOCKER_CERT_PATH");
  return ParseContainerEndpoint(choice.endpoint, certificates == nullptr ? "" : certificates);
}

StatusOr<SlurmExecutorOptions> ChooseSlurm(const ExecutorChoice& choice) {
  SlurmExecutorOptions options;
  options.rest.endpoint = choice.slurm_endpoint;
  options.rest.token_file = choice.slurm_token_file;
  AddPlaces(choice.partitions, &SlurmPlace::partition, &options);
  // A group that has one of its own has the others as everybody.
  AddPlaces(choice.accounts, &SlurmPlace::account, &options);
  AddPlaces(choice.qualities, &SlurmPlace::quality_of_service, &options);
  for (auto& [group, place] : options.groups) {
    if (place.partition.empty()) place.partition = options.place.partition;
    if (place.account.empty()) place.account = options.place.account;
    if (place.quality_of_service.empty()) {
      place.quality_of_service = options.place.quality_of_service;
    }
  }
  for (const std::string& option : choice.submit_options) {
    if (!option.starts_with("--") || option.starts_with("--wrap") ||
        option.starts_with("--array")) {
      return InvalidArgument("--sbatch: found \"" + option +
                             "\", expected an option of sbatch such as --constraint=NAME");
    }
    options.arguments.push_back(option);
  }
  return options;
}

NodeDescription UnlimitedNode(const std::vector<SlotRequest>& limited, NodeDescription given) {
  constexpr int64_t kProcessors = 1'000'000;
  constexpr int64_t kMemory = int64_t{1} << 52;
  constexpr int64_t kDevices = 1024;
  std::vector<SlotRequest> all;
  const std::pair<const char*, int64_t> amounts[] = {
      {"cpu", kProcessors}, {"mem", kMemory}, {"cuda.device", kDevices}};
  for (const auto& amount : amounts) {
    const bool is_limited =
        std::any_of(limited.begin(), limited.end(),
                    [&](const SlotRequest& slot) { return slot.slot == amount.first; });
    if (!is_limited) all.push_back({amount.first, *Quantity::FromUnits(amount.second)});
  }
  OfferSlots(all, &given);
  return given;
}

void AddNodesOfSlurm(std::vector<NodeDescription>* nodes) {
  constexpr size_t kNodes = 32;
  while (nodes->size() < kNodes) {
    NodeDescription next = nodes->front();
    next.name = "slurm-" + std::to_string(nodes->size() + 1);
    nodes->push_back(std::move(next));
  }
}

}  // namespace trackbed
