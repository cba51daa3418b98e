#include "executors/launch_plan.hpp"

#include <stdlib.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "executors/device_environment.hpp"
#include "executors/gang_environment.hpp"
#include "executors/host_files.hpp"
#include "executors/sandbox_plan.hpp"
#include "executors/supervisor_channel.hpp"
#include "executors/work_folder.hpp"
#include "executors/work_tree.hpp"
#include "trackbed/base/sha256.hpp"

namespace trackbed {
namespace {

// Linux takes 128 KiB in one argument.
constexpr size_t kMaxScriptArgument = 100000;
constexpr std::string_view kHomeWork = "/home/work";

bool HasZero(std::string_view text) { return text.find('\0') != std::string_view::npos; }

Status CheckSpec(const AttemptSpec& spec) {
  if (spec.key.empty() || HasZero(spec.key)) return InvalidArgument("the attempt has no key");
  if (!spec.folder.starts_with('/') || HasZero(spec.folder)) {
    return InvalidArgument("the attempt's folder \"" + spec.folder + "\" is not an absolute path");
  }
  if (spec.command.empty() || spec.command.front().empty()) {
    return InvalidArgument("the command is empty");
  }
  for (const std::string& argument : spec.command) {
    if (HasZero(argument)) return InvalidArgument("the command holds a zero byte");
  }
  for (const EnvironmentVariable& variable : spec.environment) {
    if (variable.name.empty() || variable.name.find('=') != std::string::npos ||
        HasZero(variable.name)) {
      return InvalidArgument("\"" + variable.name + "\" is no name of an environment variable");
    }
    if (HasZero(variable.value)) {
      return InvalidArgument("the environment variable " + variable.name + " holds a zero byte");
    }
  }
  return absl::OkStatus();
}

// "data-set 1" -> "DATA_SET_1".
std::string VariablePart(std::string_view name) {
  std::string part;
  for (const char c : name) {
    if (c >= 'a' && c <= 'z') {
      part += static_cast<char>(c - 'a' + 'A');
    } else if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      part += c;
    } else {
      part += '_';
    }
  }
  return part;
}

// A task's name as the name of a file.
std::string FileName(std::string_view name) {
  if (name == "." || name == "..") return std::string(name.size(), '_');
  std::string file(name);
  std::replace(file.begin(), file.end(), '/', '_');
  return file;
}

// The same attempt has the same identity wherever it is asked for; in the form of a UUID.
std::string SessionIdentity(const AttemptKey& key) {
  const std::string digest = ContentAddress("session " + key);
  const std::string hex = digest.substr(digest.find(':') + 1, 32);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
         hex.substr(16, 4) + "-" + hex.substr(20, 12);
}

// Whether members of a gang learn the addresses of the others outside containers.
bool HasAddresses(const AttemptSpec& spec, const LaunchPlanOptions& options) {
  return (options.gang_is_here || options.gang_meets) && !spec.gang.empty();
}

class Planner {
 public:
  Planner(const AttemptSpec& spec, const LaunchPlanOptions& options)
      : spec_(spec),
        options_(options),
        sandbox_(options.container || !options.bubblewrap.empty()),
        // A machine that has /home/work keeps it: it is somebody's home there.
        shows_home_work_(sandbox_ && spec.pipeline_paths &&
                         (options.container || !PathExists(std::string(kHomeWork)))),
        work_(spec.folder + "/" + kWorkFolder),
        inputs_(spec.folder + "/" + kInputsFolder) {}

  StatusOr<LaunchRecord> Plan(std::string* script, std::vector<SandboxMount>* view) {
    record_.key = spec_.key;
    record_.folders = {kWorkFolder, kOutputsFolder, kTemporaryFolder};
    PlanBaseEnvironment();
    TRACKBED_RETURN_IF_ERROR(PlanSource());
    PlanInputs();
    TRACKBED_RETURN_IF_ERROR(PlanMounts());
    TRACKBED_RETURN_IF_ERROR(PlanPipelinePaths());
    if (HasAddresses(spec_, options_) && (!sandbox_ || !HasNames())) {
      record_.notes.push_back("trackbed: " + options_.sandbox_reason +
                              ": the names of members do not resolve, their addresses are in "
                              "$TRACKBED_GANG_ADDRESSES");
    }
    tree_.Emit(kWorkFolder, &record_.folders, &record_.links);
    if (options_.container) {
      TRACKBED_RETURN_IF_ERROR(PlanContainerView(view));
    } else if (sandbox_) {
      TRACKBED_RETURN_IF_ERROR(PlanView());
    }
    PlanCommand(script);
    PlanLimits();
    FinishEnvironment();
    return std::move(record_);
  }

 private:
  void PlanBaseEnvironment() {
    for (const auto& [name, value] : options_.base_environment) environment_[name] = value;
    environment_["TMPDIR"] = spec_.folder + "/" + kTemporaryFolder;
    environment_["TRACKBED_OUTPUT"] = spec_.folder + "/" + kOutputFile;
    environment_["TRACKBED_OUTPUTS"] = spec_.folder + "/" + kOutputsFolder;
    environment_["TRACKBED_INPUTS"] = inputs_;
    environment_["TRACKBED_ATTEMPT_KEY"] = spec_.key;
    if (!spec_.pipeline_folder.empty()) {
      environment_["TRACKBED_PIPELINE_FOLDER"] = spec_.pipeline_folder;
    }
    if (!spec_.source_path.empty()) environment_["TRACKBED_SOURCE"] = spec_.source_path;
    environment_.merge(DeviceEnvironment(spec_));
    PlanSessionEnvironment();
  }

  // What scripts written for Backend.AI sessions read.
  void PlanSessionEnvironment() {
    const std::string_view key = AttemptKeyOf(spec_);
    const size_t first = key.find('/');
    const size_t last = key.rfind('/');
    const std::pair<const char*, std::string> values[] = {
        {"SESSION_ID", SessionIdentity(std::string(key))},
        {"SESSION_NAME", std::string(first < last ? key.substr(first + 1, last - first - 1) : key)},
        {"KERNEL_ID", SessionIdentity(spec_.key)},
        {"KERNEL_IMAGE", spec_.image},
        {"PIPELINE_JOB_ID", std::string(key.substr(0, first))},
    };
    for (const auto& [name, value] : values) environment_[std::string("BACKENDAI_") + name] = value;
    environment_.merge(GangEnvironment(spec_, options_.gang_is_here));
  }

  Status PlanSource() {
    if (spec_.source_path.empty()) {
      if (!spec_.files.empty()) {
        return InvalidArgument("the attempt names files but has no source");
      }
      return absl::OkStatus();
    }
    return tree_.AddSource(spec_.source_path, spec_.files);
  }

  // inputs/TASK for each dependency; an empty folder for one that left nothing.
  void PlanInputs() {
    record_.folders.emplace_back(kInputsFolder);
    std::set<std::string> taken;
    for (size_t i = 0; i < spec_.inputs.size(); ++i) {
      const BoundFolder& input = spec_.inputs[i];
      std::string name = FileName(input.name);
      if (name.empty() || taken.contains(name)) name += "." + std::to_string(i + 1);
      taken.insert(name);
      const std::string path = std::string(kInputsFolder) + "/" + name;
      if (input.host_path.empty()) {
        record_.folders.push_back(path);
      } else {
        record_.links.emplace_back(path, input.host_path);
      }
      environment_["TRACKBED_INPUT_" + std::to_string(i + 1)] = spec_.folder + "/" + path;
    }
  }

  Status PlanMounts() {
    for (const BoundFolder& mount : spec_.mounts) {
      const std::string what = "the path of mount \"" + mount.name + "\"";
      TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                                PathParts(mount.path.empty() ? mount.name : mount.path, what));
      TRACKBED_RETURN_IF_ERROR(PrepareHostFolder(mount));
      const bool absolute = mount.path.starts_with('/');
      std::string seen_at;
      if (absolute && sandbox_) {
        seen_at = JoinParts(parts, true);
        view_.push_back({seen_at, mount.host_path, mount.read_only});
        TRACKBED_RETURN_IF_ERROR(PlaceInHomeWork(seen_at, what));
      } else {
        const std::string link = RelativePlace(JoinParts(parts, absolute));
        TRACKBED_RETURN_IF_ERROR(tree_.AddLink(link, mount.host_path, what));
        seen_at = work_ + "/" + link;
        if (absolute) Note(JoinParts(parts, true), link, "TRACKBED_MOUNT_", mount.name);
      }
      environment_["TRACKBED_MOUNT_" + VariablePart(mount.name)] = seen_at;
    }
    return absl::OkStatus();
  }

  // Scripts that expect /home/work/NAME also say NAME, for they run there.
  Status PlaceInHomeWork(const std::string& path, const std::string& what) {
    if (!IsWithin(path, kHomeWork) || path.size() == kHomeWork.size()) return absl::OkStatus();
    const std::string place = RelativePlace(path);
    return shows_home_work_ ? tree_.AddFolder(place, what) : tree_.AddLink(place, path, what);
  }

  static Status PrepareHostFolder(const BoundFolder& mount) {
    if (!mount.host_path.starts_with('/')) {
      return InvalidArgument("the host folder \"" + mount.host_path + "\" of mount \"" +
                             mount.name + "\" is not an absolute path");
    }
    if (!mount.read_only) return MakeFolders(mount.host_path);
    if (IsFolder(mount.host_path)) return absl::OkStatus();
    return FailedPrecondition("the folder " + mount.host_path + " of mount \"" + mount.name +
                              "\" does not exist");
  }

  // Where below work/ an absolute path is shown without a sandbox. Scripts for Backend.AI run in
  // /home/work, so what lies there is where they look first.
  static std::string RelativePlace(const std::string& path) {
    if (!path.starts_with('/')) return path;
    const bool home = path.size() > kHomeWork.size() && IsWithin(path, kHomeWork);
    return path.substr(home ? kHomeWork.size() + 1 : 1);
  }

  void Note(const std::string& path, const std::string& link, const std::string& prefix,
            const std::string& name) {
    record_.notes.push_back("trackbed: " + options_.sandbox_reason + ": " + path + " is at \"" +
                            link + "\" in the working folder, and in $" + prefix +
                            VariablePart(name));
  }

  Status PlanPipelinePaths() {
    if (spec_.pipeline_paths && sandbox_) {
      const std::string outputs = spec_.folder + "/" + kOutputsFolder;
      if (!spec_.pipeline_folder.empty()) {
        TRACKBED_RETURN_IF_ERROR(MakeFolders(spec_.pipeline_folder));
        view_.push_back({"/pipeline/vfroot", spec_.pipeline_folder, false});
      }
      view_.push_back({"/pipeline/outputs", outputs, false});
      view_.push_back({"/pipeline/output", outputs, false});
      for (size_t i = 0; i < spec_.inputs.size(); ++i) {
        view_.push_back({"/pipeline/input" + std::to_string(i + 1), spec_.inputs[i].host_path,
                         spec_.inputs[i].read_only});
      }
      if (shows_home_work_) view_.insert(view_.begin(), {std::string(kHomeWork), work_, false});
    } else if (spec_.pipeline_paths) {
      record_.notes.push_back("trackbed: " + options_.sandbox_reason +
                              ": /pipeline/vfroot is in $TRACKBED_PIPELINE_FOLDER, " +
                              "/pipeline/outputs in $TRACKBED_OUTPUTS, " +
                              "/pipeline/input1 in $TRACKBED_INPUT_1 and so on");
    }
    if (!spec_.inputs.empty() && !tree_.Has(kInputsFolder)) {
      TRACKBED_RETURN_IF_ERROR(tree_.AddLink(kInputsFolder, inputs_, "the folder inputs"));
    }
    return absl::OkStatus();
  }

  // Relative mounts and the source become what they say (read-only) where there is a sandbox.
  Status PlanView() {
    std::vector<std::string> needed = {spec_.folder};
    if (!spec_.source_path.empty()) {
      needed.push_back(spec_.source_path);
      view_.push_back({spec_.source_path, spec_.source_path, true});
    }
    for (const BoundFolder& mount : spec_.mounts) {
      if (!mount.path.starts_with('/') && mount.read_only) {
        view_.push_back({mount.host_path, mount.host_path, true});
      }
    }
    // A folder at its own place is there anyway: it hides nothing, and can only become read-only.
    std::vector<SandboxMount> mounts;
    std::vector<std::string> read_only;
    for (SandboxMount& mount : view_) {
      if (mount.path != mount.host_path) {
        mounts.push_back(std::move(mount));
      } else if (mount.read_only) {
        read_only.push_back(mount.path);
      }
    }
    const std::string folder = shows_home_work_ ? std::string(kHomeWork) : work_;
    TRACKBED_ASSIGN_OR_RETURN(record_.bubblewrap_arguments, PlanSandbox(mounts, folder, needed));
    for (const std::string& path : read_only) {
      for (const char* text : {"--ro-bind-try", path.c_str(), path.c_str()}) {
        record_.bubblewrap_arguments.emplace_back(text);
      }
    }
    if (HasNames()) {
      const std::string hosts = spec_.folder + "/" + kHostsFile;
      for (const char* text : {"--ro-bind", hosts.c_str(), "/etc/hosts"}) {
        record_.bubblewrap_arguments.emplace_back(text);
      }
    }
    record_.bubblewrap = options_.bubblewrap;
    return absl::OkStatus();
  }

  // Whether the members of a gang find each other by name.
  bool HasNames() const { return HasAddresses(spec_, options_) && PathExists("/etc/hosts"); }

  // Links in the working folder lead to places outside it, which a container has to have too.
  Status PlanContainerView(std::vector<SandboxMount>* view) {
    std::vector<SandboxMount> mounts = {
        {work_, work_, false},
        {spec_.folder + "/" + kOutputsFolder, spec_.folder + "/" + kOutputsFolder, false},
        {inputs_, inputs_, true}};
    if (!spec_.pipeline_folder.empty()) {
      TRACKBED_RETURN_IF_ERROR(MakeFolders(spec_.pipeline_folder));
      mounts.push_back({spec_.pipeline_folder, spec_.pipeline_folder, false});
    }
    if (!spec_.source_path.empty() && spec_.files.empty()) {
      mounts.push_back({spec_.source_path, spec_.source_path, true});
    } else if (!spec_.source_path.empty()) {
      for (const auto& [path, target] : record_.links) {
        if (IsWithin(target, spec_.source_path) && !AppearsAsCopy(target)) {
          mounts.push_back({target, target, true});
        }
      }
    }
    for (const BoundFolder& input : spec_.inputs) {
      if (!input.host_path.empty()) mounts.push_back({input.host_path, input.host_path, true});
    }
    for (const BoundFolder& mount : spec_.mounts) {
      if (!mount.path.starts_with('/')) {
        mounts.push_back({mount.host_path, mount.host_path, mount.read_only});
      }
    }
    mounts.insert(mounts.end(), view_.begin(), view_.end());
    return OrderMounts(mounts, view);
  }

  // Of mounts at one place the last one counts, and one for writing wins over the same for reading.
  static Status OrderMounts(const std::vector<SandboxMount>& mounts,
                            std::vector<SandboxMount>* view) {
    std::map<std::string, SandboxMount> by_path;  // a folder sorts before what is in it
    for (const SandboxMount& mount : mounts) {
      TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                                PathParts(mount.path, "the mount path"));
      const std::string path = JoinParts(parts, true);
      for (const std::string_view kept : {"/dev", "/proc", "/sys"}) {
        if (parts.empty() || IsWithin(path, kept)) {
          return InvalidArgument("nothing can be mounted at \"" + path + "\"");
        }
      }
      const auto [place, added] = by_path.try_emplace(path, mount);
      if (added) continue;
      const bool same = place->second.host_path == mount.host_path;
      const bool read_only = mount.read_only && (!same || place->second.read_only);
      place->second = mount;
      place->second.read_only = read_only;
    }
    for (auto& [path, mount] : by_path) view->push_back({path, mount.host_path, mount.read_only});
    return absl::OkStatus();
  }

  void PlanCommand(std::string* script) {
    script->clear();
    if (!spec_.shell) {
      record_.command = spec_.command;
    } else if (spec_.command.front().size() <= kMaxScriptArgument) {
      record_.command = {"/bin/sh", "-c", spec_.command.front()};
    } else {
      *script = spec_.command.front();
      record_.command = {"/bin/sh", spec_.folder + "/" + kScriptFile};
    }
  }

  void PlanLimits() {
    record_.cgroup_parent = options_.cgroup_parent;
    for (const SlotRequest& request : spec_.resources) {
      if (request.slot == "mem") record_.memory_bytes = request.amount.units();
      if (request.slot == "cpu") record_.cpu_thousandths = request.amount.thousandths();
    }
    record_.has_accelerators = !spec_.devices.empty();
  }

  void FinishEnvironment() {
    for (const EnvironmentVariable& variable : spec_.environment) {
      environment_[variable.name] = variable.value;
    }
    // By this one a process of the attempt is known for what it is; it cannot be overridden.
    environment_["TRACKBED_ATTEMPT_FOLDER"] = spec_.folder;
    for (const std::string& name : spec_.secret_names) {
      const auto found = environment_.find(name);
      if (found == environment_.end()) continue;
      environment_.erase(found);
      record_.secret_names.push_back(name);
    }
    record_.environment.assign(environment_.begin(), environment_.end());
  }

  const AttemptSpec& spec_;
  const LaunchPlanOptions& options_;
  const bool sandbox_;
  const bool shows_home_work_;
  const std::string work_;
  const std::string inputs_;
  WorkTree tree_;
  std::vector<SandboxMount> view_;
  std::map<std::string, std::string> environment_;
  LaunchRecord record_;
};

// True when the attempt has folders, or names of members, that only a sandbox can put in their
// place.
bool WantsSandbox(const AttemptSpec& spec, const LaunchPlanOptions& options) {
  return spec.pipeline_paths || HasAddresses(spec, options) ||
         std::any_of(spec.mounts.begin(), spec.mounts.end(),
                     [](const BoundFolder& mount) { return mount.path.starts_with('/'); });
}

}  // namespace

Status ChooseSandbox(const AttemptSpec& spec, SandboxMode mode, const std::string& bubblewrap,
                     absl::FunctionRef<bool()> works, LaunchPlanOptions* options) {
  constexpr const char* kCannot = "bubblewrap is missing or not permitted";
  options->bubblewrap.clear();
  options->sandbox_reason = mode == SandboxMode::never ? "no sandbox is used" : kCannot;
  const bool asked = mode == SandboxMode::always;
  if (!asked && (mode == SandboxMode::never || !WantsSandbox(spec, *options)))
    return absl::OkStatus();
  if (works()) {
    options->bubblewrap = bubblewrap;
    options->sandbox_reason.clear();
  } else if (asked) {
    return FailedPrecondition(std::string("a sandbox is asked for, but ") + kCannot);
  }
  return absl::OkStatus();
}

StatusOr<LaunchRecord> PlanLaunch(const AttemptSpec& spec, const LaunchPlanOptions& options,
                                  std::string* script, std::vector<SandboxMount>* view) {
  TRACKBED_RETURN_IF_ERROR(CheckSpec(spec));
  return Planner(spec, options).Plan(script, view);
}

std::vector<std::pair<std::string, std::string>> HostEnvironment(
    const std::vector<std::string>& inherited) {
  std::map<std::string, std::string> environment = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"LANG", "C.UTF-8"}};
  std::vector<std::string> names = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"};
  names.insert(names.end(), inherited.begin(), inherited.end());
  for (const std::string& name : names) {
    const char* value = getenv(name.c_str());
    if (value != nullptr) environment[name] = value;
  }
  return {environment.begin(), environment.end()};
}

std::vector<std::string> SecretEnvironment(const AttemptSpec& spec) {
  std::map<std::string, std::string> values;
  for (const EnvironmentVariable& variable : spec.environment) {
    if (std::find(spec.secret_names.begin(), spec.secret_names.end(), variable.name) !=
        spec.secret_names.end()) {
      values[variable.name] = variable.value;
    }
  }
  std::vector<std::string> environment;
  environment.reserve(values.size());
  for (const auto& [name, value] : values) environment.push_back(name + "=" + value);
  return environment;
}

StatusOr<std::string> MakeOrder(const AttemptSpec& spec, const LaunchRecord& record) {
  std::string order = EncodeOrder({spec.folder, SecretEnvironment(spec), EncodeLaunch(record)});
  if (order.size() <= kMaxRecordBytes) return order;
  return InvalidArgument("the attempt's command, environment and folders have " +
                         std::to_string(order.size()) + " bytes, expected at most " +
                         std::to_string(kMaxRecordBytes));
}

}  // namespace trackbed
