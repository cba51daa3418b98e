#include "executors/container_order.hpp"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "executors/answer_json.hpp"
#include "executors/attempt_name.hpp"
#include "executors/container_files.hpp"
#include "executors/gang_environment.hpp"
#include "executors/launch_plan.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxImageName = 512;
constexpr size_t kMaxErrorText = 1000;
constexpr int kNewestApi = 47;  // of version 1
constexpr int64_t kNanoCpusPerThousandth = 1'000'000;
constexpr int64_t kLeastMemory = 6 << 20;  // what Docker accepts

bool IsRoot(std::string_view user) {
  return user == "0" || user == "root" || user.starts_with("0:") || user.starts_with("root:");
}

bool HasUuid(const AssignedDevice& device) {
  return device.id.starts_with("MIG-") || device.card.starts_with("GPU-");
}

// Inside, devices without a UUID are counted anew: whoever has the third one sees it as the first.
void RenumberDevices(const AttemptSpec& spec, std::map<std::string, std::string>* values) {
  std::map<std::string, std::set<int>> seen;  // by the driver's variable
  for (const AssignedDevice& device : spec.devices) {
    const SlotType* type = FindSlotType(device.slot);
    if (type == nullptr || type->visible_devices.empty() || HasUuid(device)) continue;
    seen[std::string(type->visible_devices)].insert(device.index);
  }
  for (const auto& [variable, indices] : seen) {
    std::string list;
    for (size_t i = 0; i < indices.size(); ++i) absl::StrAppend(&list, i == 0 ? "" : ",", i);
    (*values)[variable] = list;
  }
}

bool HasPartOfGpu(const AttemptSpec& spec) {
  return std::any_of(spec.devices.begin(), spec.devices.end(), [](const AssignedDevice& device) {
    return device.slot == "cuda.shares" && device.amount < *Quantity::FromUnits(1);
  });
}

// Values of secrets go to the container engine here, and nowhere else.
Json Environment(const ContainerOrder& order, const ContainerExecutorOptions& options) {
  std::map<std::string, std::string> values(order.launch.environment.begin(),
                                            order.launch.environment.end());
  // Inside, /tmp is the attempt's own.
  values.erase("TMPDIR");
  values["TRACKBED_OUTPUT"] =
      absl::StrCat(order.spec.folder, "/", kContainerFolder, "/", kOutputFile);
  // A user that the image does not know would be at home in "/", which is not writable.
  const std::string& user = order.user;
  if (!user.empty() && !IsRoot(user) && !values.contains("HOME")) {
    values["HOME"] = order.spec.pipeline_paths ? "/home/work"
                                               : absl::StrCat(order.spec.folder, "/", kWorkFolder);
  }
  RenumberDevices(order.spec, &values);
  // Some images ask NVIDIA's runtime for all devices, and a host may use it for every container.
  const bool has_gpu =
      std::any_of(order.spec.devices.begin(), order.spec.devices.end(),
                  [](const AssignedDevice& device) { return device.slot.starts_with("cuda."); });
  if (!has_gpu) values.try_emplace("NVIDIA_VISIBLE_DEVICES", "void");
  if (!options.mps_folder.empty() && HasPartOfGpu(order.spec)) {
    values["CUDA_MPS_PIPE_DIRECTORY"] = options.mps_folder;
  }
  Json list = Json::array();
  for (const auto& [name, value] : values) list.push_back(absl::StrCat(name, "=", value));
  for (const std::string& secret : SecretEnvironment(order.spec)) list.push_back(secret);
  return list;
}

Json Mounts(const ContainerOrder& order, const ContainerExecutorOptions& options) {
  const std::string& init = options.init_path;
  Json list = Json::array();
  const auto bind = [&](const std::string& path, const std::string& host_path, bool read_only) {
    list.push_back(
        {{"Type", "bind"}, {"Source", host_path}, {"Target", path}, {"ReadOnly", read_only}});
  };
  for (const SandboxMount& mount : order.view) {
    if (mount.host_path.empty()) {
      list.push_back({{"Type", "tmpfs"}, {"Target", mount.path}});
    } else {
      bind(mount.path, mount.host_path, mount.read_only);
    }
  }
  const std::string shared = absl::StrCat(order.spec.folder, "/", kContainerFolder);
  bind(shared, shared, false);
  bind(init, init, true);
  if (!options.mps_folder.empty() && HasPartOfGpu(order.spec)) {
    bind(options.mps_folder, options.mps_folder, false);
  }
  return list;
}

std::string CdiName(const AssignedDevice& device) {
  if (device.slot.starts_with("cuda.")) {
    const std::string& id = device.id.starts_with("MIG-") ? device.id : device.card;
    const bool known = id.starts_with("GPU-") || id.starts_with("MIG-");
    return absl::StrCat("nvidia.com/gpu=", known ? id : absl::StrCat(device.index));
  }
  if (device.slot.starts_with("rocm.")) return absl::StrCat("amd.com/gpu=", device.index);
  return "";
}

Status AddDevices(const AttemptSpec& spec, ContainerDevices how, Json* host) {
  Json ids = Json::array();
  for (const AssignedDevice& device : spec.devices) {
    std::string name = CdiName(device);
    // A slot made up by hand (--slots) has nothing behind it.
    if (device.slot.starts_with("cuda.") && device.card.empty()) continue;
    if (name.empty() || (how == ContainerDevices::nvidia && !name.starts_with("nvidia.com/"))) {
      return InvalidArgument(absl::StrCat("the device ", device.id, " of ", device.slot,
                                          " cannot be handed to a container",
                                          name.empty() ? "" : " but by CDI"));
    }
    if (how == ContainerDevices::nvidia) name = name.substr(name.find('=') + 1);
    if (std::find(ids.begin(), ids.end(), name) == ids.end()) ids.push_back(std::move(name));
  }
  if (ids.empty()) return absl::OkStatus();
  Json request = {{"DeviceIDs", ids}};
  if (how == ContainerDevices::nvidia) {
    request["Driver"] = "nvidia";
    request["Capabilities"] = Json::array({Json::array({"gpu"})});
  } else {
    request["Driver"] = "cdi";
  }
  (*host)["DeviceRequests"] = Json::array({std::move(request)});
  return absl::OkStatus();
}

StatusOr<Json> HostConfig(const ContainerOrder& order, const ContainerExecutorOptions& options,
                          bool is_podman) {
  Json host;
  host["Mounts"] = Mounts(order, options);
  // Kept whole until we have read them.
  host["LogConfig"] = {{"Type", "json-file"}};
  host["SecurityOpt"] = Json::array({"no-new-privileges"});
  host["RestartPolicy"] = {{"Name", "no"}};
  const bool shares_ipc = !options.mps_folder.empty() && HasPartOfGpu(order.spec);
  if (shares_ipc) host["IpcMode"] = "host";
  if (!options.network.empty()) host["NetworkMode"] = options.network;
  if (order.launch.memory_bytes > 0) {
    const int64_t bytes = std::max(order.launch.memory_bytes, kLeastMemory);
    host["Memory"] = bytes;
    host["MemorySwap"] = bytes;  // memory and swap together: no swap
  }
  if (order.launch.cpu_thousandths > 0) {
    host["NanoCpus"] = order.launch.cpu_thousandths * kNanoCpusPerThousandth;
  }
  const int64_t shared =
      order.spec.shared_memory > 0 ? order.spec.shared_memory : options.shared_memory;
  // With the machine's IPC comes its /dev/shm, whose size is not ours to set.
  if (shared > 0 && !shares_ipc) host["ShmSize"] = shared;
  if (options.read_only_root) {
    host["ReadonlyRootfs"] = true;
    host["Tmpfs"] = {{"/tmp", ""}};
  }
  ContainerDevices how = options.devices;
  if (how == ContainerDevices::automatic) {
    how = is_podman ? ContainerDevices::cdi : ContainerDevices::nvidia;
  }
  TRACKBED_RETURN_IF_ERROR(AddDevices(order.spec, how, &host));
  return host;
}

void JoinGang(const ContainerOrder& order, Json* body) {
  const GangNetwork& network = order.network;
  Json& host = (*body)["HostConfig"];
  if (network.name.empty()) {
    host["NetworkMode"] = "host";
    host["ExtraHosts"] = network.hosts;
    return;
  }
  host["NetworkMode"] = network.name;
  const Json aliases = Json::array({order.spec.gang[order.spec.rank].host});
  (*body)["NetworkingConfig"]["EndpointsConfig"][network.name]["Aliases"] = aliases;
  (*body)["Labels"][kNetworkLabel] = network.name;
}

// By the newest version of the API that an engine knows.
std::optional<VersionAnswer> Speak(const std::string& api) {
  const std::vector<std::string> parts = absl::StrSplit(api, '.');
  int minor = 0;
  if (parts.size() != 2 || parts[0] != "1" || !absl::SimpleAtoi(parts[1], &minor)) {
    return std::nullopt;
  }
  VersionAnswer answer;
  answer.api = absl::StrCat("1.", std::min(minor, kNewestApi));
  return answer;
}

}  // namespace

Status CheckImageName(const std::string& image) {
  const bool legal = !image.empty() && image.size() <= kMaxImageName &&
                     std::all_of(image.begin(), image.end(), [](char c) {
                       return isalnum(static_cast<unsigned char>(c)) != 0 ||
                              std::string_view("._-/:@").find(c) != std::string_view::npos;
                     });
  if (legal && isalnum(static_cast<unsigned char>(image.front())) != 0 &&
      image.find("..") == std::string::npos && image.find("//") == std::string::npos) {
    return absl::OkStatus();
  }
  return InvalidArgument(absl::StrCat("the image \"", image,
                                      "\" is no name of an image; expected one such as "
                                      "debian:12 or ghcr.io/owner/name:tag"));
}

std::string UserInside(const ContainerExecutorOptions& options, const ContainerEndpoint& endpoint) {
  if (options.user == "image") return "";
  if (!options.user.empty()) return options.user;
  // An engine that runs as ourselves maps us to root inside; one of root's maps nobody.
  struct stat status{};
  const bool is_ours = geteuid() != 0 && !endpoint.socket.empty() &&
                       stat(endpoint.socket.c_str(), &status) == 0 && status.st_uid == geteuid();
  return is_ours ? "0:0" : absl::StrCat(geteuid(), ":", getegid());
}

StatusOr<std::string> CreationBody(const ContainerOrder& order, const std::string& image,
                                   const ContainerExecutorOptions& options, bool is_podman) {
  Json body;
  body["Image"] = image;
  body["Entrypoint"] =
      Json::array({options.init_path, absl::StrCat(order.spec.folder, "/", kContainerFolder)});
  body["Cmd"] = order.launch.command;
  body["Env"] = Environment(order, options);
  body["Hostname"] = order.spec.gang.empty() ? "main1" : order.spec.gang[order.spec.rank].host;
  body["User"] = order.user;
  body["WorkingDir"] =
      order.spec.pipeline_paths ? "/home/work" : absl::StrCat(order.spec.folder, "/", kWorkFolder);
  body["AttachStdin"] = false;
  body["Tty"] = false;
  body["StopSignal"] = "SIGTERM";
  const AttemptKeyParts parts = SplitAttemptKey(order.spec.key);
  body["Labels"] = {{"trackbed.key", order.spec.key}, {"trackbed.run", parts.run},
                    {"trackbed.task", parts.task},    {"trackbed.attempt", parts.attempt},
                    {"trackbed.image", order.image},  {kFolderLabel, order.spec.folder}};
  if (!order.owner.empty()) body["Labels"][kOwnerLabel] = order.owner;
  TRACKBED_ASSIGN_OR_RETURN(body["HostConfig"], HostConfig(order, options, is_podman));
  if (!order.spec.gang.empty()) {
    body["Labels"]["trackbed.member"] = order.spec.gang[order.spec.rank].host;
    JoinGang(order, &body);
  }
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string NetworkBody(const ContainerOrder& order) {
  Json body = {{"Name", order.network.name}, {"Driver", "bridge"}, {"CheckDuplicate", true}};
  body["Labels"] = {{"trackbed.gang", std::string(AttemptKeyOf(order.spec))}};
  if (!order.owner.empty()) body["Labels"][kOwnerLabel] = order.owner;
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<std::vector<std::string>> ReadNetworkList(std::string_view body) {
  const Json json = ParseAnswer(body);
  if (!json.is_array()) return std::nullopt;
  std::vector<std::string> names;
  for (const Json& entry : json) {
    if (std::string name = TextMember(entry, "Name"); !name.empty()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::string ErrorText(int status, std::string_view body) {
  std::string text = TextMember(ParseAnswer(body), "message");
  if (text.empty()) text = body;
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (text.ends_with(' ')) text.pop_back();
  if (text.size() > kMaxErrorText) text.resize(kMaxErrorText);
  return text.empty() ? absl::StrCat("HTTP status ", status) : text;
}

std::string RepositoryOf(const std::string& image) {
  const std::string name = image.substr(0, image.find('@'));
  const size_t slash = name.rfind('/');
  return name.substr(0, name.find(':', slash == std::string::npos ? 0 : slash));
}

std::optional<ImageAnswer> ReadImage(std::string_view body, const std::string& name) {
  const Json json = ParseAnswer(body);
  ImageAnswer answer;
  answer.id = TextMember(json, "Id");
  if (answer.id.empty()) return std::nullopt;
  const std::string repository = RepositoryOf(name);
  for (const Json& digest : ListMember(json, "RepoDigests")) {
    if (!digest.is_string()) continue;
    const std::string text = digest.get<std::string>();
    const std::string known = RepositoryOf(text);
    const bool same = known == repository || known.ends_with("/" + repository);
    if (same || answer.digest.empty()) answer.digest = text;
    if (same) break;
  }
  if (answer.digest.empty()) answer.digest = answer.id;
  return answer;
}

std::optional<ContainerAnswer> ReadContainer(std::string_view body) {
  const Json json = ParseAnswer(body);
  const Json& state = ObjectMember(json, "State");
  const std::string status = TextMember(state, "Status");
  if (status.empty()) return std::nullopt;
  ContainerAnswer answer;
  if (status == "created" || status == "configured" || status == "initialized") {
    answer.state = ContainerAnswer::State::created;
  } else if (status == "exited" || status == "dead" || status == "stopped") {
    answer.state = ContainerAnswer::State::ended;
  } else {
    answer.state = ContainerAnswer::State::running;  // or paused, stopping, being removed
  }
  answer.exit_code = static_cast<int>(NumberMember(state, "ExitCode"));
  answer.out_of_memory = FlagMember(state, "OOMKilled");
  answer.error = TextMember(state, "Error");
  answer.image = TextMember(json, "Image");
  const Json& config = ObjectMember(json, "Config");
  answer.network = TextMember(ObjectMember(config, "Labels"), kNetworkLabel);
  for (const Json& entry : ListMember(config, "Env")) {
    if (entry.is_string()) answer.environment.push_back(entry.get<std::string>());
  }
  return answer;
}

std::optional<VersionAnswer> ReadVersion(std::string_view body) {
  const Json json = ParseAnswer(body);
  auto answer = Speak(TextMember(json, "ApiVersion"));
  if (!answer) return std::nullopt;
  answer->description = absl::StrCat("Docker ", TextMember(json, "Version"));
  for (const Json& component : ListMember(json, "Components")) {
    if (TextMember(component, "Name") != "Podman Engine") continue;
    answer->is_podman = true;
    answer->description = absl::StrCat("Podman ", TextMember(component, "Version"));
  }
  return answer;
}

std::optional<VersionAnswer> ReadPing(std::string_view head) {
  std::optional<VersionAnswer> answer;
  bool is_podman = false;
  for (const absl::string_view line : absl::StrSplit(AbslView(head), '\n')) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) continue;
    const std::string name = absl::AsciiStrToLower(line.substr(0, colon));
    const std::string value(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    if (name == "api-version") answer = Speak(value);
    if (name == "libpod-api-version") is_podman = true;
  }
  if (answer) answer->is_podman = is_podman;
  return answer;
}

std::optional<std::vector<ListedContainer>> ReadContainerList(std::string_view body) {
  const Json json = ParseAnswer(body);
  if (!json.is_array()) return std::nullopt;
  std::vector<ListedContainer> list;
  for (const Json& entry : json) {
    const Json& names = ListMember(entry, "Names");
    if (names.empty() || !names.front().is_string()) continue;
    ListedContainer container;
    container.name = names.front().get<std::string>();
    if (container.name.starts_with('/')) container.name.erase(0, 1);
    container.folder = TextMember(ObjectMember(entry, "Labels"), kFolderLabel);
    container.is_running = TextMember(entry, "State") == "running";
    list.push_back(std::move(container));
  }
  return list;
}

std::string PercentEncode(std::string_view text) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (isalnum(byte) != 0 || std::string_view("-._~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    }
  }
  return out;
}

}  // namespace trackbed
