#include "cli/session.hpp"

#include <absl/strings/str_cat.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/executors/container_probe.hpp"
#include "trackbed/resources/local_node.hpp"

namespace trackbed::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kWaitMilliseconds = 300;
constexpr std::string_view kSecretScheme = "secret://";

StatusOr<RegistryLogin> ReadLogin(const std::string& text) {
  const size_t equals = text.find('=');
  const size_t colon = text.find(':', equals == std::string::npos ? 0 : equals);
  if (equals == std::string::npos || equals == 0 || colon == std::string::npos ||
      !std::string_view(text).substr(colon + 1).starts_with(kSecretScheme)) {
    return InvalidArgument(
        "--registry: expected SERVER=USER:secret://env/NAME or SERVER=USER:secret://file/NAME");
  }
  return RegistryLogin{text.substr(0, equals), text.substr(equals + 1, colon - equals - 1),
                       text.substr(colon + 1)};
}

StatusOr<std::string> ResolveReference(SecretSource* secrets, std::string_view reference) {
  reference.remove_prefix(kSecretScheme.size());
  const size_t slash = reference.find('/');
  if (slash == std::string_view::npos) {
    return InvalidArgument("a secret is written secret://SOURCE/NAME");
  }
  return secrets->Resolve(reference.substr(0, slash), reference.substr(slash + 1));
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
                                                   SandboxMode sandbox) {
  TRACKBED_ASSIGN_OR_RETURN(SlurmExecutorOptions options, ChooseSlurm(choice));
  options.sandbox = sandbox;
  // Who asks for Slurm is told at once when it does not answer.
  if (choice.on == "slurm") TRACKBED_RETURN_IF_ERROR(ProbeSlurm(options.place).status());
  return SlurmExecutor::Create(std::move(options));
}

// Slurm decides what runs when: it is handed all that is ready.
NodeDescription UnlimitedNode(const std::vector<std::string>& slots, NodeDescription given) {
  constexpr int64_t kProcessors = 1'000'000;
  constexpr int64_t kMemory = int64_t{1} << 52;
  constexpr int64_t kDevices = 1024;
  std::vector<SlotRequest> all;
  const auto has = [&](std::string_view name) {
    return std::any_of(slots.begin(), slots.end(), [&](const std::string& text) {
      return text.starts_with(std::string(name) + "=");
    });
  };
  const std::pair<const char*, int64_t> amounts[] = {
      {"cpu", kProcessors}, {"mem", kMemory}, {"cuda.device", kDevices}};
  for (const auto& [name, amount] : amounts) {
    if (!has(name)) all.push_back({name, *Quantity::FromUnits(amount)});
  }
  OfferSlots(all, &given);
  return given;
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
    if (fs::exists(place, error)) return place;
  }
  return "";
}

StatusOr<std::unique_ptr<ContainerExecutor>> OpenContainers(
    const ExecutorChoice& choice, const std::string& home, SecretSource* secrets,
    const std::function<void(const std::string&)>& say) {
  ContainerExecutorOptions options;
  TRACKBED_ASSIGN_OR_RETURN(options.endpoint, ChooseEndpoint(choice));
  options.home = home;
  options.default_image = choice.image;
  options.network = choice.network;
  options.user = choice.user;
  for (const std::string& text : choice.registries) {
    TRACKBED_ASSIGN_OR_RETURN(RegistryLogin login, ReadLogin(text));
    options.logins.push_back(std::move(login));
  }
  if (const char* folder = std::getenv("CUDA_MPS_PIPE_DIRECTORY")) options.mps_folder = folder;
  options.credentials_file =
      choice.credentials.empty() ? FindCredentialsFile() : choice.credentials;
  if (say) {
    options.on_pull = [say](const std::string& node, const std::string& image,
                            const std::string& what) {
      say(absl::StrCat("image ", image, node.empty() ? "" : " on ", node, ": ", what));
    };
  }
  options.resolve_secret = [secrets](const std::string& reference) {
    return ResolveReference(secrets, reference);
  };
  // Who asks for containers is told at once when there are none to be had.
  if (choice.on == "docker") {
    TRACKBED_RETURN_IF_ERROR(CheckContainerEngine(options.endpoint));
  }
  return ContainerExecutor::Create(std::move(options));
}

}  // namespace

StatusOr<SlurmExecutorOptions> ChooseSlurm(const ExecutorChoice& choice) {
  SlurmExecutorOptions options;
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

StatusOr<ContainerEndpoint> ChooseEndpoint(const ExecutorChoice& choice) {
  if (choice.endpoint.empty()) return FindContainerEndpoint();
  const char* certificates = std::getenv("DOCKER_CERT_PATH");
  return ParseContainerEndpoint(choice.endpoint, certificates == nullptr ? "" : certificates);
}

std::string HomeFolder(const CommonOptions& options) {
  const char* from_environment = std::getenv("TRACKBED_HOME");
  std::string home = options.home;
  if (home.empty() && from_environment != nullptr) home = from_environment;
  if (home.empty()) home = ".trackbed";
  std::error_code error;
  std::string absolute = fs::absolute(home, error).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

StatusOr<std::unique_ptr<Store>> OpenForReading(const CommonOptions& options) {
  const std::string path = Workspace(HomeFolder(options)).Database();
  std::error_code error;
  if (!fs::exists(path, error)) {
    return NotFound(absl::StrCat("nothing has run here yet: there is no ", path));
  }
  // A reader of a write-ahead log may have to bring it in order, so it needs to write too; only
  // where that is not permitted is the store opened as it lies.
  StatusOr<std::unique_ptr<Store>> store = OpenSqliteStore(path, {options.durability, false, ""});
  if (!absl::IsFailedPrecondition(store.status())) return store;
  StatusOr<std::unique_ptr<Store>> read_only =
      OpenSqliteStore(path, {options.durability, true, ""});
  return read_only.ok() ? std::move(read_only) : std::move(store);
}

StatusOr<NodeDescription> ChooseNode(const std::vector<std::string>& slots) {
  std::vector<SlotRequest> given;
  for (const std::string& text : slots) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return InvalidArgument(
          absl::StrCat("--slots: found \"", text, "\", expected NAME=AMOUNT such as cpu=4"));
    }
    const std::string name = text.substr(0, equals);
    const StatusOr<Quantity> amount = ParseSlotAmount(name, text.substr(equals + 1));
    if (!amount.ok()) {
      return InvalidArgument(absl::StrCat("--slots: ", AbslView(Message(amount.status()))));
    }
    const auto known = std::find_if(given.begin(), given.end(),
                                    [&](const SlotRequest& slot) { return slot.slot == name; });
    if (known != given.end()) {
      known->amount = *amount;
    } else {
      given.push_back({name, *amount});
    }
  }
  NodeDescription node = DetectLocalNode();
  OfferSlots(given, &node);
  return node;
}

StatusOr<std::unique_ptr<Session>> Session::Open(SessionOptions options) {
  auto session = std::make_unique<Session>();
  session->home_ = HomeFolder(options.common);
  const Workspace workspace(session->home_);
  TRACKBED_ASSIGN_OR_RETURN(session->node_, ChooseNode(options.slots));
  TRACKBED_RETURN_IF_ERROR(MakeHomeFolder(session->home_).status());
  // Also one that was there: logs and outputs may hold what others should not see.
  (void)chmod(session->home_.c_str(), 0700);
  TRACKBED_ASSIGN_OR_RETURN(
      session->store_,
      OpenSqliteStore(workspace.Database(), {options.common.durability, false, ""}));
  ProcessExecutorOptions executor_options;
  executor_options.sandbox = options.sandbox;
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<ProcessExecutor> processes,
                            ProcessExecutor::Create(executor_options));
  session->secrets_ = NewLocalSecrets(workspace.Secrets());
  // Attempts of earlier runs may be in containers, whatever is chosen now.
  StatusOr<std::unique_ptr<ContainerExecutor>> containers =
      OpenContainers(options.executor, session->home_, session->secrets_.get(), options.say);
  StatusOr<std::unique_ptr<SlurmExecutor>> slurm = OpenSlurm(options.executor, options.sandbox);
  ExecutorRoutes routes;
  routes.processes = std::move(processes);
  if (options.executor.on == "docker") {
    if (!containers.ok()) return containers.status();
    routes.new_attempts = ExecutorKind::containers;
  }
  if (options.executor.on == "slurm") {
    if (!slurm.ok()) return slurm.status();
    routes.new_attempts = ExecutorKind::slurm;
    session->node_ = UnlimitedNode(options.slots, std::move(session->node_));
  }
  routes.no_containers = std::string(Message(containers.status()));
  if (containers.ok()) routes.containers = *std::move(containers);
  routes.no_slurm = std::string(Message(slurm.status()));
  if (slurm.ok()) routes.slurm = *std::move(slurm);
  TRACKBED_ASSIGN_OR_RETURN(session->executor_, ExecutorRouter::Create(std::move(routes)));

  EngineOptions engine;
  engine.store = session->store_.get();
  engine.executor = session->executor_.get();
  engine.secrets = session->secrets_.get();
  engine.home = session->home_;
  engine.node = session->node_;
  engine.sink = std::move(options.sink);
  engine.holder = ThisProcess(std::move(options.description));
  engine.is_gone = HolderIsGone;
  engine.has_outputs = HasOutputFolder;
  while (true) {
    StatusOr<std::unique_ptr<Engine>> opened = Engine::Open(engine);
    if (opened.ok()) {
      session->engine_ = *std::move(opened);
      return session;
    }
    if (!options.wait || !absl::IsFailedPrecondition(opened.status())) return opened.status();
    ::poll(nullptr, 0, kWaitMilliseconds);
  }
}

}  // namespace trackbed::cli
