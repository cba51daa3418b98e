// Writes pipelines in the form of Backend.AI FastTrack 25.6.
//
// What newer releases added (parameters, retries, going on after a failure) is written in their
// notation; everything else that the form cannot say is listed.
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <chrono>

#include "pipeline/fasttrack_form.hpp"
#include "pipeline/names.hpp"
#include "pipeline/template_parts.hpp"
#include "pipeline/yaml_lines.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/pipeline/fasttrack.hpp"

namespace trackbed {
namespace {

using Labels = std::map<std::string, std::string>;

std::string Quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

// The label, or "".
std::string FindLabel(const Labels& labels, std::string_view key) {
  const auto found = labels.find(std::string(key));
  return found == labels.end() ? "" : found->second;
}

class FastTrackWriter {
 public:
  explicit FastTrackWriter(const Pipeline& pipeline) : pipeline_(pipeline) { NameTasks(); }

  FastTrackDocument Write() {
    NoteLostOfPipeline();
    const std::string version = FindLabel(pipeline_.labels, fasttrack::kVersionLabel);
    out_.Text("version", version.empty() ? "25.6" : version);
    const std::string name = FindLabel(pipeline_.labels, fasttrack::kNameLabel);
    out_.Text("name", name.empty() ? pipeline_.name : name);
    out_.Text("description", pipeline_.description);
    WriteLabel(pipeline_.labels, "project", fasttrack::kProjectLabel);
    WriteOwnership();
    out_.OpenMap("environment");
    WriteLabel(pipeline_.labels, "project", fasttrack::kEnvironmentProjectLabel);
    WriteEnvironment(pipeline_.environment, "pipeline");
    out_.CloseMap();
    WriteParameters();
    out_.OpenList("tasks");
    for (const Task& task : pipeline_.tasks) WriteTask(task);
    out_.CloseList();
    return {out_.text(), std::move(lost_)};
  }

 private:
  // The names that the tasks have in FastTrack; one that is not unique is given up.
  void NameTasks() {
    absl::flat_hash_set<std::string> taken;
    for (const Task& task : pipeline_.tasks) taken.insert(task.name);
    for (const Task& task : pipeline_.tasks) {
      const std::string label = FindLabel(task.labels, fasttrack::kNameLabel);
      const bool usable = !label.empty() && (label == task.name || taken.insert(label).second);
      names_.emplace(task.name, usable ? label : task.name);
    }
  }

  std::string NameOf(const std::string& task) const {
    const auto found = names_.find(task);
    return found == names_.end() ? task : found->second;
  }

  void Lose(const std::string& owner, const std::string& what) {
    lost_.push_back(owner + ": " + what);
  }

  void NoteLostOfPipeline() {
    if (!pipeline_.source.empty()) Lose("pipeline", "source");
    if (!pipeline_.results.empty()) Lose("pipeline", "results");
    if (pipeline_.priority != 0) Lose("pipeline", "priority");
    const auto cached = [](const Task& task) { return task.cache != CacheMode::off; };
    if (std::any_of(pipeline_.tasks.begin(), pipeline_.tasks.end(), cached)) {
      Lose("pipeline", "cache (FastTrack runs every task anew)");
    }
    absl::flat_hash_set<std::string> mounted;
    for (const Task& task : pipeline_.tasks) {
      for (const Mount& mount : task.mounts) mounted.insert(mount.folder);
    }
    for (const Folder& folder : pipeline_.folders) {
      const std::string owner = "folder " + Quoted(folder.name);
      if (!folder.path.empty()) Lose(owner, "path");
      if (!mounted.contains(folder.name)) Lose(owner, "no task mounts it");
    }
    for (const auto& [key, value] : pipeline_.labels) {
      const bool kept =
          key == fasttrack::kNameLabel || key == fasttrack::kVersionLabel ||
          key == fasttrack::kProjectLabel || key == fasttrack::kEnvironmentProjectLabel ||
          key.starts_with(fasttrack::kOwnershipPrefix) || key.starts_with(fasttrack::kFolderPrefix);
      if (!kept) Lose("pipeline", "label " + Quoted(key));
    }
  }

  void NoteLostOfTask(const Task& task, const std::string& owner) {
    if (task.trigger != Trigger::all_succeeded) Lose(owner, "trigger");
    if (!task.when.empty()) Lose(owner, "when");
    if (task.map) Lose(owner, "map");
    if (task.approval) Lose(owner, "approval (FastTrack waits for nobody)");
    if (!task.outputs.empty()) Lose(owner, "outputs");
    if (!task.files.empty()) Lose(owner, "files");
    if (task.timeout != Duration(0)) Lose(owner, "timeout");
    if (task.priority != 0) Lose(owner, "priority");
    if (task.enforcement != Enforcement::accounting) Lose(owner, "enforcement");
    if (task.grace_period != Task().grace_period) Lose(owner, "grace_period");
    if (task.retry.max_attempts > 1) {
      const bool waits = task.retry.delay > Duration(0);
      if (waits && task.retry.max_attempts > 2 && task.retry.backoff != 1.0F) {
        Lose(owner, "retry.backoff");
      }
      if (waits && task.retry.jitter != 0.0F) Lose(owner, "retry.jitter");
      if (task.retry.delay > task.retry.max_delay) Lose(owner, "retry.max_delay");
    }
    for (const SlotRequest& request : task.resources) {
      // To FastTrack, none of a slot is no request.
      if (request.amount == Quantity()) Lose(owner, "resources: 0 " + request.slot);
    }
    for (const auto& [key, value] : task.labels) {
      const bool kept = key == fasttrack::kNameLabel || key == fasttrack::kTypeLabel ||
                        key == fasttrack::kModuleLabel || key == fasttrack::kSharedMemoryLabel ||
                        key == fasttrack::kEnvironmentProjectLabel ||
                        key.starts_with(fasttrack::kResourceOptionPrefix) ||
                        key.starts_with(fasttrack::kServicePrefix);
      if (!kept) Lose(owner, "label " + Quoted(key));
    }
  }

  void WriteLabel(const Labels& labels, std::string_view key, std::string_view label) {
    const std::string value = FindLabel(labels, label);
    if (!value.empty()) out_.Text(key, value);
  }

  // A field for every label with `prefix`, named by the rest of it. Values that are numbers or
  // booleans are written as such: they were.
  bool WriteLabels(const Labels& labels, std::string_view prefix) {
    bool any = false;
    for (auto i = labels.lower_bound(std::string(prefix));
         i != labels.end() && i->first.starts_with(prefix); ++i) {
      const std::string key = i->first.substr(prefix.size());
      const bool scalar = ParseValue(i->second, ValueType::boolean).ok() ||
                          ParseValue(i->second, ValueType::integer).ok();
      scalar ? out_.Raw(key, i->second) : out_.Text(key, i->second);
      any = true;
    }
    return any;
  }

  void WriteOwnership() {
    out_.OpenMap("ownership");
    if (!WriteLabels(pipeline_.labels, fasttrack::kOwnershipPrefix)) {
      out_.Text("domain_name", "default");
      out_.Text("scope", "personal");
    }
    out_.CloseMap();
  }

  void WriteEnvironment(const std::vector<EnvironmentVariable>& variables,
                        const std::string& owner) {
    out_.OpenMap("envs");
    for (const EnvironmentVariable& variable : variables) {
      out_.Text(variable.name, ExportVariable(variable, owner));
    }
    out_.CloseMap();
  }

  std::string ExportVariable(const EnvironmentVariable& variable, const std::string& owner) {
    const std::string what = "variable " + Quoted(variable.name);
    if (!IsSecretReference(variable.value)) {
      return ExportTemplate(variable.value, owner, what, false);
    }
    const std::string_view value = variable.value;
    const std::string_view name =
        value.substr(value.starts_with(fasttrack::kSecretSource) ? fasttrack::kSecretSource.size()
                                                                 : value.size());
    if (ExpectedOfReferenceName(name).empty()) return "${{ secrets." + std::string(name) + " }}";
    Lose(owner, what + ": its secret does not come from the environment");
    return variable.value;
  }

  // Text as FastTrack reads it. With `word`, the text is an argument that becomes one word of a
  // command.
  std::string ExportTemplate(const std::string& text, const std::string& owner,
                             const std::string& what, bool word) {
    const StatusOr<std::vector<TemplatePart>> parts = SplitTemplate(text);
    if (!parts.ok()) return text;
    std::string result;
    for (const TemplatePart& part : *parts) {
      if (!part.is_expression) {
        result += word ? QuoteShellWord(part.text) : part.text;
        NoteFalseSubstitutions(part.text, owner, what);
        continue;
      }
      const std::string expression = "${{" + part.text + "}}";
      const auto substitution = fasttrack::ParseSubstitution(expression);
      if (!substitution.has_value() || substitution->secret) {
        Lose(owner, what + ": " + expression);
      }
      result += expression;
    }
    return result.empty() && word ? "''" : result;
  }

  // Literal text that FastTrack would replace: it has no way to say otherwise.
  void NoteFalseSubstitutions(std::string_view text, const std::string& owner,
                              const std::string& what) {
    for (size_t i = text.find("${{"); i != std::string_view::npos; i = text.find("${{", i + 1)) {
      const auto substitution = fasttrack::ParseSubstitution(text.substr(i));
      if (!substitution.has_value()) continue;
      Lose(owner, what + ": the literal text " + Quoted(text.substr(i, substitution->length)));
    }
  }

  void WriteParameters() {
    if (pipeline_.parameters.empty()) return;
    out_.OpenList("params");
    for (const Parameter& parameter : pipeline_.parameters) {
      const std::string owner = "parameter " + Quoted(parameter.name);
      if (!parameter.choices.empty()) Lose(owner, "choices");
      if (parameter.minimum.has_value()) Lose(owner, "minimum");
      if (parameter.maximum.has_value()) Lose(owner, "maximum");
      out_.OpenItem();
      out_.Text("name", parameter.name);
      out_.Text("type", std::string(ToString(parameter.type)));
      if (parameter.default_value.has_value()) WriteDefault(*parameter.default_value);
      if (!parameter.description.empty()) out_.Text("description", parameter.description);
      out_.CloseItem();
    }
    out_.CloseList();
  }

  void WriteDefault(const Value& value) {
    if (const std::string* text = std::get_if<std::string>(&value)) {
      out_.Text("default", *text);
    } else {
      out_.Raw("default", ToText(value));
    }
  }

  void WriteTask(const Task& task) {
    const std::string owner = "task " + Quoted(task.name);
    NoteLostOfTask(task, owner);
    out_.OpenItem();
    out_.Text("name", NameOf(task.name));
    out_.Text("description", task.description);
    out_.Text("type", TypeOf(task));
    out_.Text("cluster_mode", task.multi_node ? "multi-node" : "single-node");
    out_.Raw("cluster_size", std::to_string(task.cluster_size));
    out_.Text("module_uri", FindLabel(task.labels, fasttrack::kModuleLabel));
    out_.Text("command", ExportCommand(task, owner));
    WriteTaskEnvironment(task, owner);
    WriteResources(task);
    WriteDependencies(task);
    WriteMounts(task, owner);
    out_.Raw("skip", task.skip ? "true" : "false");
    WriteOutcome(task);
    WriteService(task);
    out_.CloseItem();
  }

  static std::string TypeOf(const Task& task) {
    const std::string type = FindLabel(task.labels, fasttrack::kTypeLabel);
    if (task.kind == TaskKind::serve) {
      return fasttrack::IsServiceType(type) ? type : std::string(fasttrack::kDeployment);
    }
    return fasttrack::IsCommandType(type) ? type : std::string(fasttrack::kCustomTask);
  }

  std::string ExportCommand(const Task& task, const std::string& owner) {
    std::string result;
    for (const std::string_view part : task.command) {
      if (!result.empty()) result += ' ';
      result += ExportTemplate(std::string(part), owner, "command", !task.shell);
    }
    return result;
  }

  void WriteTaskEnvironment(const Task& task, const std::string& owner) {
    out_.OpenMap("environment");
    WriteLabel(task.labels, "project", fasttrack::kEnvironmentProjectLabel);
    if (!task.resource_group.empty()) out_.Text("scaling-group", task.resource_group);
    if (!task.image.empty()) out_.Text("image", task.image);
    WriteEnvironment(task.environment, owner);
    out_.CloseMap();
  }

  void WriteResources(const Task& task) {
    out_.OpenMap("resources");
    for (const SlotRequest& request : task.resources) {
      const std::string amount = FormatSlotAmount(request.slot, request.amount);
      if (request.slot == "cpu" || request.slot == "mem") {
        out_.Raw(request.slot, amount);
      } else {
        out_.Text(request.slot, amount);
      }
    }
    out_.CloseMap();
    out_.OpenMap("resource_opts");
    const std::string shmem = task.shared_memory != Quantity()
                                  ? task.shared_memory.ToBytesString()
                                  : FindLabel(task.labels, fasttrack::kSharedMemoryLabel);
    if (!shmem.empty()) out_.Raw("shmem", shmem);
    WriteLabels(task.labels, fasttrack::kResourceOptionPrefix);
    out_.CloseMap();
  }

  void WriteDependencies(const Task& task) {
    out_.OpenList("dependencies");
    for (const std::string_view dependency : task.dependencies) {
      out_.TextItem(NameOf(std::string(dependency)));
    }
    out_.CloseList();
  }

  static std::string AliasOf(const std::string& path) {
    if (!path.starts_with(fasttrack::kMountRoot)) return path;
    const std::string alias = path.substr(fasttrack::kMountRoot.size());
    return alias.empty() || alias.starts_with('/') ? path : alias;
  }

  void WriteMounts(const Task& task, const std::string& owner) {
    out_.OpenList("mounts");
    for (const Mount& mount : task.mounts) {
      const std::string what = "mount " + Quoted(mount.path);
      if (mount.read_only) Lose(owner, what + ": read_only");
      if (!mount.path.starts_with('/')) {
        Lose(owner, what + ": relative to the working folder of the task");
      }
      const std::string alias = AliasOf(NormalizePath(mount.path));
      const std::string label = std::string(fasttrack::kFolderPrefix) + mount.folder;
      std::string folder = FindLabel(pipeline_.labels, label);
      if (folder.empty()) folder = mount.folder;
      if (alias.find(':') != std::string::npos) Lose(owner, what + ": \":\" in a path");
      out_.TextItem(folder + ":" + alias);
    }
    out_.CloseList();
  }

  void WriteOutcome(const Task& task) {
    if (task.allow_failure) out_.Raw("continue_on_failure", "true");
    if (task.retry == Retry()) return;
    out_.OpenMap("retry");
    out_.Raw("max_attempts", std::to_string(task.retry.max_attempts));
    if (task.retry.delay % std::chrono::seconds(1) == Duration(0)) {
      out_.Raw("delay", std::to_string(task.retry.delay / std::chrono::seconds(1)));
    } else {
      out_.Raw("delay", FormatDuration(task.retry.delay));
    }
    out_.CloseMap();
  }

  void WriteService(const Task& task) {
    const std::map<std::string, std::string>& labels = task.labels;
    const auto first = labels.lower_bound(std::string(fasttrack::kServicePrefix));
    if (first == labels.end() || !first->first.starts_with(fasttrack::kServicePrefix)) return;
    out_.OpenMap("service");
    WriteLabels(task.labels, fasttrack::kServicePrefix);
    out_.CloseMap();
  }

  const Pipeline& pipeline_;
  absl::flat_hash_map<std::string, std::string> names_;
  YamlLines out_;
  std::vector<std::string> lost_;
};

}  // namespace

FastTrackDocument WriteFastTrack(const Pipeline& pipeline) {
  return FastTrackWriter(pipeline).Write();
}

}  // namespace trackbed
