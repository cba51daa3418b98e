// Reads the pipeline form of Backend.AI FastTrack.
#include "trackbed/pipeline/fasttrack.hpp"

#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>

#include "pipeline/document.hpp"
#include "pipeline/fasttrack_form.hpp"
#include "pipeline/fasttrack_names.hpp"
#include "pipeline/names.hpp"
#include "pipeline/scalar.hpp"
#include "pipeline/schema_reader.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

using Keys = std::initializer_list<std::string_view>;

constexpr std::string_view kNotActedOn = "kept as a label; this version does not act on it";

std::string Quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

// "name" and "alias" of a mount "name:alias"; the alias is the name when there is none.
struct MountText {
  std::string folder;
  std::string alias;
};

std::optional<MountText> SplitMount(std::string_view text) {
  const size_t colon = std::min(text.find(':'), text.size());
  MountText mount{std::string(text.substr(0, colon)), ""};
  mount.alias = colon == text.size() ? mount.folder : std::string(text.substr(colon + 1));
  if (mount.folder.empty() || mount.alias.empty()) return std::nullopt;
  if (mount.alias.find(':') != std::string::npos) return std::nullopt;
  return mount;
}

// Names that people give to variables that hold credentials.
bool LooksLikeCredential(std::string name) {
  for (char& c : name) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  const Keys endings = {"TOKEN", "KEY", "SECRET", "PASSWORD"};
  return std::any_of(endings.begin(), endings.end(),
                     [&name](std::string_view ending) { return name.ends_with(ending); });
}

class FastTrackReader {
 public:
  explicit FastTrackReader(ParsedPipeline* result)
      : diagnostics_(result->diagnostics),
        reader_(&result->diagnostics),
        positions_(result->task_positions) {}

  Pipeline Read(const DocumentNode& root) {
    const NodePath path;
    if (!IsMapOf(root, path, "pipeline",
                 {"version", "name", "description", "ownership", "environment", "tasks", "params",
                  "continue_on_failure", "retry", "project"})) {
      return {};
    }
    ReadHead(root, path);
    if (const DocumentNode* params = Get(root, "params")) {
      ReadParameters(*params, NodePath(path, "params"));
    }
    if (const DocumentNode* go_on = Get(root, "continue_on_failure")) {
      reader_.Boolean(*go_on, NodePath(path, "continue_on_failure"), &continue_on_failure_);
    }
    if (const DocumentNode* retry = Get(root, "retry")) {
      retry_ = ReadRetry(*retry, NodePath(path, "retry"));
    }
    if (const DocumentNode* tasks = GetRequired(root, path, "tasks")) {
      ReadTasks(*tasks, NodePath(path, "tasks"));
    }
    return std::move(pipeline_);
  }

 private:
  using Labels = std::map<std::string, std::string>;

  void Warning(const DocumentNode& node, const NodePath& path, std::string_view message) {
    diagnostics_.Warning(node.position, path.ToString(), std::string(message));
  }

  // The value of `key`; null also for a value that is nothing, which FastTrack writes for defaults.
  static const DocumentNode* Get(const DocumentNode& map, std::string_view key) {
    const DocumentNode* node = map.Find(key);
    return node == nullptr || node->kind == DocumentNode::Kind::null ? nullptr : node;
  }

  const DocumentNode* GetRequired(const DocumentNode& map, const NodePath& path,
                                  std::string_view key) {
    const DocumentNode* node = Get(map, key);
    if (node == nullptr) reader_.Error(map, path, Quoted(key) + " is missing");
    return node;
  }

  // A map with no fields but those that the form has. Reports others.
  bool IsMapOf(const DocumentNode& node, const NodePath& path, std::string_view noun, Keys known) {
    if (!reader_.Map(node, path)) return false;
    for (const DocumentNode::Member& member : node.members) {
      if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
      reader_.UnknownField(member, path, noun, known);
    }
    return true;
  }

  // The text at `key`, or "" when there is none.
  std::string GetText(const DocumentNode& map, const NodePath& path, std::string_view key) {
    std::string text;
    const DocumentNode* node = Get(map, key);
    if (node != nullptr) reader_.Text(*node, NodePath(path, key), &text);
    return text;
  }

  static void SetLabel(Labels* labels, std::string_view key, std::string value) {
    if (!value.empty()) labels->insert_or_assign(std::string(key), std::move(value));
  }

  void ReadHead(const DocumentNode& root, const NodePath& path) {
    ReadPipelineName(root, path);
    pipeline_.description = GetText(root, path, "description");
    SetLabel(&pipeline_.labels, fasttrack::kVersionLabel, GetText(root, path, "version"));
    SetLabel(&pipeline_.labels, fasttrack::kProjectLabel, GetText(root, path, "project"));
    if (const DocumentNode* ownership = Get(root, "ownership")) {
      ReadLabels(*ownership, NodePath(path, "ownership"), "ownership",
                 {"domain", "domain_name", "scope", "project", "project_name", "user"},
                 fasttrack::kOwnershipPrefix, &pipeline_.labels);
    }
    const NodePath environment_path(path, "environment");
    const DocumentNode* environment = Get(root, "environment");
    if (environment == nullptr ||
        !IsMapOf(*environment, environment_path, "environment", {"envs", "project"})) {
      return;
    }
    SetLabel(&pipeline_.labels, fasttrack::kEnvironmentProjectLabel,
             GetText(*environment, environment_path, "project"));
    if (const DocumentNode* envs = Get(*environment, "envs")) {
      pipeline_.environment = ReadEnvironment(*envs, NodePath(environment_path, "envs"));
    }
  }

  void ReadPipelineName(const DocumentNode& root, const NodePath& path) {
    const DocumentNode* node = GetRequired(root, path, "name");
    const NodePath name_path(path, "name");
    std::string name;
    if (node == nullptr || !reader_.Text(*node, name_path, &name)) return;
    pipeline_.name = *fasttrack::NameTable({name}, "pipeline").Find(name);
    NoteName(*node, name_path, name, pipeline_.name, &pipeline_.labels);
  }

  void NoteName(const DocumentNode& node, const NodePath& path, const std::string& original,
                const std::string& name, Labels* labels) {
    if (original == name) return;
    SetLabel(labels, fasttrack::kNameLabel, original);
    Warning(
        node, path,
        "found " + Describe(node) + ", which is no valid name here; it becomes " + Quoted(name));
  }

  // Every scalar of a map as a label.
  void ReadLabels(const DocumentNode& node, const NodePath& path, std::string_view noun, Keys known,
                  std::string_view prefix, Labels* labels) {
    if (!IsMapOf(node, path, noun, known)) return;
    for (const std::string_view key : known) {
      SetLabel(labels, std::string(prefix) + std::string(key), GetText(node, path, key));
    }
  }

  void ReadParameters(const DocumentNode& node, const NodePath& path) {
    if (node.kind == DocumentNode::Kind::map) {
      for (const DocumentNode::Member& member : node.members) {
        const NodePath item_path(path, member.key);
        if (member.value.kind == DocumentNode::Kind::map) {
          IsMapOf(member.value, item_path, "parameter",
                  {"type", "default", "value", "description"});
        }
        AddParameter(member.key_position, item_path, member.key, member.value, item_path);
      }
    } else if (reader_.List(node, path)) {
      for (size_t i = 0; i < node.items.size(); ++i) {
        ReadListedParameter(node.items[i], NodePath(path, i));
      }
    }
    std::sort(pipeline_.parameters.begin(), pipeline_.parameters.end(),
              [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
  }

  void ReadListedParameter(const DocumentNode& node, const NodePath& path) {
    if (!IsMapOf(node, path, "parameter", {"name", "type", "default", "value", "description"})) {
      return;
    }
    const DocumentNode* name_node = GetRequired(node, path, "name");
    const NodePath name_path(path, "name");
    std::string name;
    if (name_node != nullptr && reader_.Text(*name_node, name_path, &name)) {
      AddParameter(name_node->position, name_path, name, node, path);
    }
  }

  // `body` is a map with the fields of the parameter, or its default value itself.
  void AddParameter(Position name_position, const NodePath& name_path, const std::string& name,
                    const DocumentNode& body, const NodePath& path) {
    if (const std::string expected = ExpectedOfReferenceName(name); !expected.empty()) {
      reader_.Error(name_position, name_path, "found " + Quoted(name) + ", expected " + expected);
      return;
    }
    if (!parameter_names_.insert(name).second) {
      reader_.Error(name_position, name_path, "duplicate parameter " + Quoted(name));
      return;
    }
    Parameter parameter;
    parameter.name = name;
    if (body.kind != DocumentNode::Kind::map) {
      ReadDefault(body, path, std::nullopt, &parameter);
    } else {
      parameter.description = GetText(body, path, "description");
      std::optional<ValueType> type;
      if (const DocumentNode* node = Get(body, "type"))
        type = ReadType(*node, NodePath(path, "type"));
      parameter.type = type.value_or(ValueType::string);
      const std::string_view key = Get(body, "default") != nullptr ? "default" : "value";
      if (const DocumentNode* node = Get(body, key)) {
        ReadDefault(*node, NodePath(path, key), type, &parameter);
      }
    }
    pipeline_.parameters.push_back(std::move(parameter));
  }

  std::optional<ValueType> ReadType(const DocumentNode& node, const NodePath& path) {
    const std::string& name = node.scalar;
    if (name == "string" || name == "str" || name == "text") return ValueType::string;
    if (name == "number" || name == "float" || name == "double") return ValueType::number;
    if (name == "integer" || name == "int") return ValueType::integer;
    if (name == "boolean" || name == "bool") return ValueType::boolean;
    reader_.Expected(node, path, "string, number, integer or boolean");
    return std::nullopt;
  }

  // Nothing is no default: the run must supply the value.
  void ReadDefault(const DocumentNode& node, const NodePath& path, std::optional<ValueType> type,
                   Parameter* parameter) {
    std::string text;
    if (node.kind == DocumentNode::Kind::null || !reader_.Text(node, path, &text)) return;
    parameter->type = type.value_or(node.quoted ? ValueType::string : TypeOfPlain(text));
    const StatusOr<Value> value = ParseValue(text, parameter->type);
    if (value.ok()) {
      parameter->default_value = *value;
    } else {
      reader_.Error(node, path, std::string(Message(value.status())));
    }
  }

  std::vector<EnvironmentVariable> ReadEnvironment(const DocumentNode& node, const NodePath& path) {
    std::vector<EnvironmentVariable> variables;
    if (!reader_.Map(node, path)) return variables;
    for (const DocumentNode::Member& member : node.members) {
      const NodePath variable_path(path, member.key);
      std::string text;
      if (member.value.kind == DocumentNode::Kind::null) {
        variables.push_back({member.key, ""});
      } else if (reader_.Text(member.value, variable_path, &text)) {
        variables.push_back({member.key, ReadVariable(member, variable_path, text)});
      }
    }
    std::sort(variables.begin(), variables.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return variables;
  }

  // Never puts the value into a message: it may be a credential.
  std::string ReadVariable(const DocumentNode::Member& member, const NodePath& path,
                           const std::string& text) {
    if (IsSecretReference(text)) return text;
    const auto substitution = fasttrack::ParseSubstitution(text);
    if (substitution.has_value() && substitution->secret && substitution->length == text.size()) {
      return std::string(fasttrack::kSecretSource) + substitution->name;
    }
    if (LooksLikeCredential(member.key) && !text.empty() && !substitution.has_value()) {
      Warning(member.value, path,
              "looks like a credential in plain text; secret://env/" + member.key +
                  " reads it from the environment and keeps it out of the file");
    }
    return ReadTemplate(member.value, path, text, "a secret must be the whole value of a variable");
  }

  // Keeps ${{ params.NAME }}; every other "${{" is text, as it is to FastTrack.
  std::string ReadTemplate(const DocumentNode& node, const NodePath& path, const std::string& text,
                           std::string_view secret_message) {
    std::string result;
    size_t i = 0;
    while (i < text.size()) {
      const size_t open = std::min(text.find("${{", i), text.size());
      result += std::string_view(text).substr(i, open - i);
      if (open == text.size()) break;
      i = open + 3;
      const auto substitution = fasttrack::ParseSubstitution(std::string_view(text).substr(open));
      if (!substitution.has_value()) {
        result += "$${{";
        continue;
      }
      i = open + substitution->length;
      if (substitution->secret) reader_.Error(node, path, std::string(secret_message));
      if (result.ends_with('$')) {
        reader_.Error(node, path, "\"$\" directly before \"${{\" cannot be said here");
      }
      result += "${{ params." + substitution->name + " }}";
    }
    return result;
  }

  Retry ReadRetry(const DocumentNode& node, const NodePath& path) {
    Retry retry;
    if (!IsMapOf(node, path, "retry", {"max_attempts", "delay"})) return retry;
    retry.backoff = 1.0F;
    if (const DocumentNode* attempts = Get(node, "max_attempts")) {
      int64_t count = 1;
      reader_.Integer(*attempts, NodePath(path, "max_attempts"), 0, 1000, &count);
      retry.max_attempts = count == 0 ? 1 : static_cast<uint32_t>(count);
    }
    if (const DocumentNode* delay = Get(node, "delay")) {
      retry.delay = ReadDelay(*delay, NodePath(path, "delay"));
      retry.max_delay = std::max(retry.max_delay, retry.delay);
    }
    return retry;
  }

  // A number counts seconds.
  Duration ReadDelay(const DocumentNode& node, const NodePath& path) {
    const ValueType type = TypeOfPlain(node.scalar);
    const bool number = type == ValueType::integer || type == ValueType::number;
    const StatusOr<Duration> delay = ParseDuration(number ? node.scalar + "s" : node.scalar);
    if (node.kind == DocumentNode::Kind::scalar && delay.ok()) return *delay;
    reader_.Expected(node, path, "seconds, or a duration such as 30s or 1h30m");
    return Duration(0);
  }

  void ReadTasks(const DocumentNode& tasks, const NodePath& path) {
    if (!reader_.List(tasks, path)) return;
    names_ = CollectNames(tasks, path);
    const fasttrack::NameTable task_names(names_, "task");
    const fasttrack::NameTable folder_names(CollectFolders(tasks), "folder");
    task_names_ = &task_names;
    folder_names_ = &folder_names;
    for (size_t i = 0; i < tasks.items.size(); ++i) {
      const DocumentNode& node = tasks.items[i];
      positions_.push_back(node.position);
      pipeline_.tasks.push_back(ReadTask(node, NodePath(path, i)));
    }
    std::sort(pipeline_.folders.begin(), pipeline_.folders.end(),
              [](const Folder& a, const Folder& b) { return a.name < b.name; });
  }

  std::vector<std::string> CollectNames(const DocumentNode& tasks, const NodePath& path) {
    std::vector<std::string> names;
    absl::flat_hash_set<std::string> seen;
    for (size_t i = 0; i < tasks.items.size(); ++i) {
      const DocumentNode* name = Get(tasks.items[i], "name");
      if (name == nullptr || name->kind != DocumentNode::Kind::scalar) continue;
      if (seen.insert(name->scalar).second) {
        names.push_back(name->scalar);
      } else {
        const NodePath task_path(path, i);
        reader_.Error(*name, NodePath(task_path, "name"), "duplicate task " + Quoted(name->scalar));
      }
    }
    return names;
  }

  static std::vector<std::string> CollectFolders(const DocumentNode& tasks) {
    std::vector<std::string> folders;
    for (const DocumentNode& task : tasks.items) {
      const DocumentNode* mounts = Get(task, "mounts");
      if (mounts == nullptr) continue;
      for (const DocumentNode& item : mounts->items) {
        if (const auto mount = SplitMount(item.scalar)) folders.push_back(mount->folder);
      }
    }
    return folders;
  }

  Task ReadTask(const DocumentNode& node, const NodePath& path) {
    Task task;
    task.cache = CacheMode::off;  // FastTrack runs every task of every job
    task.allow_failure = continue_on_failure_;
    task.retry = retry_;
    if (!IsMapOf(node, path, "task",
                 {"name", "description", "type", "cluster_mode", "cluster_size", "module_uri",
                  "command", "environment", "resources", "resource_opts", "dependencies", "mounts",
                  "skip", "retry", "continue_on_failure", "service"})) {
      return task;
    }
    ReadTaskName(node, path, &task);
    ReadKind(node, path, &task);
    ReadCommand(node, path, &task);
    ReadCluster(node, path, &task);
    ReadTaskEnvironment(node, path, &task);
    ReadResources(node, path, &task);
    ReadDependencies(node, path, &task);
    ReadMounts(node, path, &task);
    ReadOutcome(node, path, &task);
    return task;
  }

  void ReadTaskName(const DocumentNode& node, const NodePath& path, Task* task) {
    task->description = GetText(node, path, "description");
    const DocumentNode* name_node = GetRequired(node, path, "name");
    const NodePath name_path(path, "name");
    std::string name;
    if (name_node == nullptr || !reader_.Text(*name_node, name_path, &name)) return;
    task->name = *task_names_->Find(name);
    NoteName(*name_node, name_path, name, task->name, &task->labels.Mutable());
  }

  void ReadKind(const DocumentNode& node, const NodePath& path, Task* task) {
    const DocumentNode* service = Get(node, "service");
    if (const DocumentNode* type = Get(node, "type")) {
      const NodePath type_path(path, "type");
      if (fasttrack::IsServiceType(type->scalar)) {
        task->kind = TaskKind::serve;
        Warning(*type, type_path, "a service is kept and exported; this version does not run it");
      } else if (!fasttrack::IsCommandType(type->scalar)) {
        reader_.Expected(*type, type_path,
                         "\"Custom Task\", \"custom\", \"deployment\" or \"serving\"");
      }
      if (type->scalar != fasttrack::kCustomTask) {
        SetLabel(&task->labels.Mutable(), fasttrack::kTypeLabel, type->scalar);
      }
    }
    if (service == nullptr) return;
    const NodePath service_path(path, "service");
    ReadLabels(*service, service_path, "service",
               {"name", "model_mount_destination", "model_definition_path", "runtime_variant",
                "replicas", "open_to_public", "ephemeral", "max_surge", "max_unavailable"},
               fasttrack::kServicePrefix, &task->labels.Mutable());
    if (task->kind == TaskKind::command) Warning(*service, service_path, kNotActedOn);
  }

  void ReadCommand(const DocumentNode& node, const NodePath& path, Task* task) {
    if (const DocumentNode* command = Get(node, "command")) {
      const NodePath command_path(path, "command");
      std::string text;
      if (reader_.Text(*command, command_path, &text) && !text.empty()) {
        task->command = {ReadTemplate(*command, command_path, text,
                                      "a secret cannot stand in a command; give it to a variable "
                                      "in environment.envs and use that")};
      }
    }
    if (const DocumentNode* module = Get(node, "module_uri")) {
      const std::string text = GetText(node, path, "module_uri");
      SetLabel(&task->labels.Mutable(), fasttrack::kModuleLabel, text);
      if (!text.empty()) Warning(*module, NodePath(path, "module_uri"), kNotActedOn);
    }
  }

  void ReadCluster(const DocumentNode& node, const NodePath& path, Task* task) {
    if (const DocumentNode* size = Get(node, "cluster_size")) {
      int64_t count = 1;
      reader_.Integer(*size, NodePath(path, "cluster_size"), 1,
                      std::numeric_limits<uint16_t>::max(), &count);
      task->cluster_size = static_cast<uint16_t>(count);
    }
    const DocumentNode* mode = Get(node, "cluster_mode");
    if (mode == nullptr) return;
    if (mode->scalar == "multi-node") {
      task->multi_node = true;
    } else if (mode->scalar != "single-node") {
      reader_.Expected(*mode, NodePath(path, "cluster_mode"), "\"single-node\" or \"multi-node\"");
    }
  }

  void ReadTaskEnvironment(const DocumentNode& node, const NodePath& path, Task* task) {
    const DocumentNode* environment = Get(node, "environment");
    const NodePath environment_path(path, "environment");
    if (environment == nullptr ||
        !IsMapOf(*environment, environment_path, "environment",
                 {"project", "scaling-group", "scaling_group", "image", "envs"})) {
      return;
    }
    SetLabel(&task->labels.Mutable(), fasttrack::kEnvironmentProjectLabel,
             GetText(*environment, environment_path, "project"));
    task->image = GetText(*environment, environment_path, "image");
    task->resource_group = GetText(*environment, environment_path, "scaling-group");
    if (task->resource_group.empty()) {
      task->resource_group = GetText(*environment, environment_path, "scaling_group");
    }
    if (const DocumentNode* envs = Get(*environment, "envs")) {
      task->environment = ReadEnvironment(*envs, NodePath(environment_path, "envs"));
    }
  }

  void ReadResources(const DocumentNode& node, const NodePath& path, Task* task) {
    const NodePath resources_path(path, "resources");
    const DocumentNode* resources = Get(node, "resources");
    if (resources != nullptr && reader_.Map(*resources, resources_path)) {
      for (const DocumentNode::Member& member : resources->members) {
        ReadSlot(member, NodePath(resources_path, member.key), task);
      }
      std::sort(task->resources.begin(), task->resources.end(),
                [](const SlotRequest& a, const SlotRequest& b) { return a.slot < b.slot; });
    }
    const NodePath options_path(path, "resource_opts");
    const DocumentNode* options = Get(node, "resource_opts");
    constexpr std::string_view kFragmentation = "allow_fractional_resource_fragmentation";
    if (options == nullptr ||
        !IsMapOf(*options, options_path, "resource option", {"shmem", kFragmentation}))
      return;
    ReadSharedMemory(*options, options_path, task);
    if (const DocumentNode* fragmentation = Get(*options, kFragmentation)) {
      SetLabel(&task->labels.Mutable(),
               std::string(fasttrack::kResourceOptionPrefix) + std::string(kFragmentation),
               GetText(*options, options_path, kFragmentation));
      Warning(*fragmentation, NodePath(options_path, kFragmentation), kNotActedOn);
    }
  }

  void ReadSlot(const DocumentNode::Member& member, const NodePath& path, Task* task) {
    if (member.value.kind == DocumentNode::Kind::null) return;
    std::string text;
    if (!reader_.Text(member.value, path, &text)) return;
    const StatusOr<Quantity> amount = ParseSlotAmount(member.key, text);
    if (!amount.ok()) {
      const bool unknown_slot = amount.status().code() == StatusCode::kNotFound;
      reader_.Error(unknown_slot ? member.key_position : member.value.position, path,
                    std::string(Message(amount.status())));
    } else if (*amount != Quantity()) {  // none of a slot is no request
      task->resources.push_back({member.key, *amount});
    }
  }

  void ReadSharedMemory(const DocumentNode& options, const NodePath& path, Task* task) {
    const DocumentNode* node = Get(options, "shmem");
    if (node == nullptr) return;
    const NodePath shmem_path(path, "shmem");
    const std::string text = GetText(options, path, "shmem");
    const StatusOr<Quantity> amount = Quantity::ParseBytes(text);
    if (!amount.ok()) {
      reader_.Error(*node, shmem_path, std::string(Message(amount.status())));
    } else if (*amount != Quantity()) {
      task->shared_memory = *amount;
    } else {  // none asked for, and said so
      SetLabel(&task->labels.Mutable(), fasttrack::kSharedMemoryLabel, text);
    }
  }

  void ReadDependencies(const DocumentNode& node, const NodePath& path, Task* task) {
    const DocumentNode* dependencies = Get(node, "dependencies");
    const NodePath list_path(path, "dependencies");
    if (dependencies == nullptr || !reader_.List(*dependencies, list_path)) return;
    std::vector<std::string> names;
    for (size_t i = 0; i < dependencies->items.size(); ++i) {
      const DocumentNode& item = dependencies->items[i];
      const NodePath item_path(list_path, i);
      std::string text;
      if (!reader_.Text(item, item_path, &text)) continue;
      if (const std::string* name = task_names_->Find(text)) {
        names.push_back(*name);
      } else {
        reader_.Error(item, item_path, UnknownTask(text));
      }
    }
    task->dependencies = names;
  }

  std::string UnknownTask(const std::string& name) {
    std::string message = "found " + Quoted(name) + ", but no task has this name";
    // Each suggestion looks at every name; a file of nothing but mistakes must not take for ever.
    if (suggestions_left_ == 0) return message;
    --suggestions_left_;
    const std::string_view near = ClosestMatch(name, {names_.begin(), names_.end()});
    if (!near.empty()) message += "; did you mean " + Quoted(near) + "?";
    return message;
  }

  void ReadMounts(const DocumentNode& node, const NodePath& path, Task* task) {
    const DocumentNode* mounts = Get(node, "mounts");
    const NodePath list_path(path, "mounts");
    if (mounts == nullptr || !reader_.List(*mounts, list_path)) return;
    for (size_t i = 0; i < mounts->items.size(); ++i) {
      const DocumentNode& item = mounts->items[i];
      const std::optional<MountText> mount = SplitMount(item.scalar);
      if (!mount.has_value()) {
        reader_.Expected(item, NodePath(list_path, i), "\"folder\" or \"folder:alias\"");
        continue;
      }
      const std::string& folder = *folder_names_->Find(mount->folder);
      DeclareFolder(item, NodePath(list_path, i), mount->folder, folder);
      const bool absolute = mount->alias.starts_with('/');
      const std::string place = (absolute ? "" : std::string(fasttrack::kMountRoot)) + mount->alias;
      task->mounts.push_back({folder, NormalizePath(place), false});
    }
  }

  void DeclareFolder(const DocumentNode& node, const NodePath& path, const std::string& original,
                     const std::string& name) {
    if (!declared_folders_.insert(name).second) return;
    pipeline_.folders.push_back({name, ""});
    if (original == name) return;
    SetLabel(&pipeline_.labels, std::string(fasttrack::kFolderPrefix) + name, original);
    Warning(
        node, path,
        "the folder " + Quoted(original) + " has no valid name here; it becomes " + Quoted(name));
  }

  void ReadOutcome(const DocumentNode& node, const NodePath& path, Task* task) {
    if (const DocumentNode* skip = Get(node, "skip")) {
      reader_.Boolean(*skip, NodePath(path, "skip"), &task->skip);
    }
    if (const DocumentNode* retry = Get(node, "retry")) {
      task->retry = ReadRetry(*retry, NodePath(path, "retry"));
    }
    if (const DocumentNode* go_on = Get(node, "continue_on_failure")) {
      reader_.Boolean(*go_on, NodePath(path, "continue_on_failure"), &task->allow_failure);
    }
  }

  Diagnostics& diagnostics_;
  SchemaReader reader_;
  std::vector<Position>& positions_;
  Pipeline pipeline_;
  bool continue_on_failure_ = false;
  Retry retry_;
  std::vector<std::string> names_;  // of the tasks, as in the document
  int suggestions_left_ = 20;
  const fasttrack::NameTable* task_names_ = nullptr;
  const fasttrack::NameTable* folder_names_ = nullptr;
  absl::flat_hash_set<std::string> declared_folders_;
  absl::flat_hash_set<std::string> parameter_names_;
};

}  // namespace

ParsedPipeline ReadFastTrack(std::string_view text, std::string file, const ReaderLimits& limits) {
  ParsedPipeline result;
  result.diagnostics = Diagnostics(std::move(file));
  DocumentNode root;
  if (!ParseYamlDocument(text, limits, &root, &result.diagnostics)) return result;
  Pipeline pipeline = FastTrackReader(&result).Read(root);
  if (!result.diagnostics.has_errors()) {
    ValidatePipeline(pipeline, result.task_positions, &result.diagnostics);
  }
  result.diagnostics.Sort();
  if (!result.diagnostics.has_errors()) result.pipeline = std::move(pipeline);
  return result;
}

}  // namespace trackbed
