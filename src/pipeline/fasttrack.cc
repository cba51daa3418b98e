// Reads the pipeline form of Backend.AI FastTrack.
#include "trackbed/pipeline/fasttrack.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>

#include "pipeline/document.hpp"
#include "pipeline/fasttrack_form.hpp"
#include "pipeline/scalar.hpp"
#include "pipeline/template_parts.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

using Keys = std::initializer_list<std::string_view>;

constexpr std::string_view kNotActedOn = "kept as a label; this version does not act on it";

std::string Quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

std::string Join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}
std::string Join(const std::string& path, size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool IsNameByte(char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; }

bool IsValidName(std::string_view name) {
  return !name.empty() && IsLetterOrDigit(name.front()) &&
         std::all_of(name.begin(), name.end(), IsNameByte);
}

// `name` with each run of bytes that a name may not have turned into one "-"; "" if nothing stays.
std::string MakeValidName(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (IsNameByte(c)) {
      result += c;
    } else if (!result.empty() && result.back() != '-') {
      result += '-';
    }
  }
  const auto begin = std::find_if(result.begin(), result.end(), IsLetterOrDigit);
  result.erase(result.begin(), begin);
  while (!result.empty() && result.back() == '-') result.pop_back();
  return result;
}

// Gives every name of FastTrack, which may be anything, a valid and unique one of ours.
class NameTable {
 public:
  // `fallback` is what a name without a single usable character becomes.
  NameTable(const std::vector<std::string>& originals, const std::string& fallback) {
    for (const std::string& name : originals) {
      if (IsValidName(name)) Assign(name, name);
    }
    for (const std::string& name : originals) {
      if (IsValidName(name) || names_.contains(name)) continue;
      std::string base = MakeValidName(name);
      if (base.empty()) base = fallback;
      std::string unique = base;
      size_t& number = last_number_[base];
      while (taken_.contains(unique)) unique = base + "-" + std::to_string(++number + 1);
      Assign(name, unique);
    }
  }

  // The name for `original`, or null when there is no such one.
  const std::string* Find(const std::string& original) const {
    const auto found = names_.find(original);
    return found == names_.end() ? nullptr : &found->second;
  }

 private:
  void Assign(const std::string& original, const std::string& name) {
    names_.emplace(original, name);
    taken_.insert(name);
  }

  absl::flat_hash_map<std::string, std::string> names_;
  absl::flat_hash_set<std::string> taken_;
  absl::flat_hash_map<std::string, size_t> last_number_;  // tried for a base name
};

// "name" and "alias" of a mount "name:alias"; the alias is the name when there is none.
struct MountText {
  std::string folder;
  std::string alias;
};

std::optional<MountText> SplitMount(std::string_view text) {
  const size_t colon = std::min(text.find(':'), text.size());
  MountText mount{std::string(text.substr(0, colon)), ""};
  mount.alias = colon == text.size() ? mount.folder : std::string(text.substr(colon + 1));
  while (mount.alias.size() > 1 && mount.alias.ends_with('/')) mount.alias.pop_back();
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

// Reads values of one shape each, and reports those of another.
class FieldReader {
 public:
  explicit FieldReader(Diagnostics* diagnostics) : diagnostics_(*diagnostics) {}

 protected:
  void Error(const DocumentNode& node, const std::string& path, std::string message) {
    diagnostics_.Error(node.position, path, std::move(message));
  }
  void Warning(const DocumentNode& node, const std::string& path, std::string message) {
    diagnostics_.Warning(node.position, path, std::move(message));
  }
  void Mismatch(const DocumentNode& node, const std::string& path, const std::string& expected) {
    Error(node, path, "found " + Describe(node) + ", expected " + expected);
  }

  // The value of `key`; null also for a value that is nothing, which FastTrack writes for defaults.
  static const DocumentNode* Get(const DocumentNode& map, std::string_view key) {
    const DocumentNode* node = map.Find(key);
    return node == nullptr || node->kind == DocumentNode::Kind::null ? nullptr : node;
  }

  bool IsMap(const DocumentNode& node, const std::string& path) {
    if (node.kind == DocumentNode::Kind::map) return true;
    Mismatch(node, path, "a map");
    return false;
  }
  bool IsList(const DocumentNode& node, const std::string& path) {
    if (node.kind == DocumentNode::Kind::sequence) return true;
    Mismatch(node, path, "a list");
    return false;
  }

  // A map with none but the keys that the form has. Reports others.
  bool IsMapOf(const DocumentNode& node, const std::string& path, Keys known) {
    if (!IsMap(node, path)) return false;
    for (const DocumentNode::Member& member : node.members) {
      if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
      std::string message = "unknown field " + Quoted(member.key);
      const std::string_view near = ClosestMatch(member.key, known);
      if (!near.empty()) message += "; did you mean " + Quoted(near) + "?";
      diagnostics_.Error(member.key_position, path, std::move(message));
    }
    return true;
  }

  std::optional<std::string> ReadText(const DocumentNode& node, const std::string& path,
                                      const std::string& expected = "a text") {
    if (node.kind == DocumentNode::Kind::scalar) return node.scalar;
    Mismatch(node, path, expected);
    return std::nullopt;
  }

  // The text at `key`, or "" when there is none.
  std::string GetText(const DocumentNode& map, const std::string& path, std::string_view key) {
    const DocumentNode* node = Get(map, key);
    return node == nullptr ? "" : ReadText(*node, Join(path, key)).value_or("");
  }

  std::optional<bool> ReadBoolean(const DocumentNode& node, const std::string& path) {
    if (node.kind == DocumentNode::Kind::scalar) {
      if (node.scalar == "true" || node.scalar == "True") return true;
      if (node.scalar == "false" || node.scalar == "False") return false;
    }
    Mismatch(node, path, "true or false");
    return std::nullopt;
  }

  template <typename Integer>
  std::optional<Integer> ReadInteger(const DocumentNode& node, const std::string& path,
                                     Integer minimum) {
    Integer value = 0;
    const char* const begin = node.scalar.data();
    const char* const end = begin + node.scalar.size();
    const auto [rest, error] = std::from_chars(begin, end, value);
    if (node.kind == DocumentNode::Kind::scalar && error == std::errc() && rest == end &&
        value >= minimum) {
      return value;
    }
    Mismatch(node, path,
             "a whole number from " + std::to_string(minimum) + " to " +
                 std::to_string(std::numeric_limits<Integer>::max()));
    return std::nullopt;
  }

  void SetLabel(std::map<std::string, std::string>* labels, std::string_view key,
                std::string value) {
    if (!value.empty()) labels->insert_or_assign(std::string(key), std::move(value));
  }

  Diagnostics& diagnostics_;
};

class FastTrackReader : FieldReader {
 public:
  explicit FastTrackReader(ParsedPipeline* result)
      : FieldReader(&result->diagnostics), positions_(result->task_positions) {}

  Pipeline Read(const DocumentNode& root) {
    if (!IsMapOf(root, "",
                 {"version", "name", "description", "ownership", "environment", "tasks", "params",
                  "continue_on_failure", "retry", "project"})) {
      return {};
    }
    ReadHead(root);
    if (const DocumentNode* node = Get(root, "params")) ReadParameters(*node);
    if (const DocumentNode* node = Get(root, "continue_on_failure")) {
      continue_on_failure_ = ReadBoolean(*node, "continue_on_failure").value_or(false);
    }
    if (const DocumentNode* node = Get(root, "retry")) retry_ = ReadRetry(*node, "retry");
    const DocumentNode* tasks = Get(root, "tasks");
    if (tasks == nullptr) {
      Error(root, "", "\"tasks\" is missing");
    } else if (IsList(*tasks, "tasks")) {
      ReadTasks(*tasks);
    }
    return std::move(pipeline_);
  }

 private:
  void ReadHead(const DocumentNode& root) {
    ReadPipelineName(root);
    pipeline_.description = GetText(root, "", "description");
    SetLabel(&pipeline_.labels, fasttrack::kVersionLabel, GetText(root, "", "version"));
    SetLabel(&pipeline_.labels, fasttrack::kProjectLabel, GetText(root, "", "project"));
    if (const DocumentNode* node = Get(root, "ownership")) {
      ReadLabels(*node, "ownership",
                 {"domain", "domain_name", "scope", "project", "project_name", "user"},
                 fasttrack::kOwnershipPrefix, &pipeline_.labels);
    }
    const DocumentNode* environment = Get(root, "environment");
    if (environment == nullptr || !IsMapOf(*environment, "environment", {"envs", "project"})) {
      return;
    }
    SetLabel(&pipeline_.labels, fasttrack::kEnvironmentProjectLabel,
             GetText(*environment, "environment", "project"));
    if (const DocumentNode* envs = Get(*environment, "envs")) {
      pipeline_.environment = ReadEnvironment(*envs, "environment.envs");
    }
  }

  void ReadPipelineName(const DocumentNode& root) {
    const DocumentNode* node = Get(root, "name");
    if (node == nullptr) {
      Error(root, "", "\"name\" is missing");
      return;
    }
    const std::optional<std::string> name = ReadText(*node, "name");
    if (!name.has_value()) return;
    pipeline_.name = *NameTable({*name}, "pipeline").Find(*name);
    NoteName(*node, "name", *name, pipeline_.name, &pipeline_.labels);
  }

  void NoteName(const DocumentNode& node, const std::string& path, const std::string& original,
                const std::string& name, std::map<std::string, std::string>* labels) {
    if (original == name) return;
    SetLabel(labels, fasttrack::kNameLabel, original);
    Warning(
        node, path,
        "found " + Describe(node) + ", which is no valid name here; it becomes " + Quoted(name));
  }

  // Every scalar of a map as a label.
  void ReadLabels(const DocumentNode& node, const std::string& path, Keys known,
                  std::string_view prefix, std::map<std::string, std::string>* labels) {
    if (!IsMapOf(node, path, known)) return;
    for (const std::string_view key : known) {
      SetLabel(labels, std::string(prefix) + std::string(key), GetText(node, path, key));
    }
  }

  void ReadParameters(const DocumentNode& node) {
    if (node.kind == DocumentNode::Kind::sequence) {
      for (size_t i = 0; i < node.items.size(); ++i) {
        const DocumentNode& item = node.items[i];
        const std::string path = Join("params", i);
        if (!IsMapOf(item, path, {"name", "type", "default", "value", "description"})) continue;
        const DocumentNode* name = Get(item, "name");
        if (name == nullptr) {
          Error(item, path, "\"name\" is missing");
        } else if (const auto text = ReadText(*name, Join(path, "name"))) {
          AddParameter(*name, Join(path, "name"), *text, &item, path);
        }
      }
    } else if (node.kind == DocumentNode::Kind::map) {
      for (const DocumentNode::Member& member : node.members) {
        const std::string path = Join("params", member.key);
        if (member.value.kind == DocumentNode::Kind::map) {
          IsMapOf(member.value, path, {"type", "default", "value", "description"});
        }
        DocumentNode key;
        key.position = member.key_position;
        AddParameter(key, path, member.key, &member.value, path);
      }
    } else {
      Mismatch(node, "params", "a list or a map");
    }
    std::sort(pipeline_.parameters.begin(), pipeline_.parameters.end(),
              [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
  }

  // `body` is a map with the fields of the parameter, or its default value itself.
  void AddParameter(const DocumentNode& name_node, const std::string& name_path,
                    const std::string& name, const DocumentNode* body, const std::string& path) {
    if (!fasttrack::IsReferenceName(name)) {
      Error(name_node, name_path,
            "found " + Quoted(name) + ", expected a name of letters, digits, \"_\" and \"-\"");
      return;
    }
    if (!parameter_names_.insert(name).second) {
      Error(name_node, name_path, "duplicate parameter " + Quoted(name));
      return;
    }
    Parameter parameter;
    parameter.name = name;
    const DocumentNode* value = body;
    std::string value_path = path;
    std::optional<ValueType> type;
    if (body->kind == DocumentNode::Kind::map) {
      parameter.description = GetText(*body, path, "description");
      const std::string_view key = Get(*body, "default") != nullptr ? "default" : "value";
      value = Get(*body, key);
      value_path = Join(path, key);
      if (const DocumentNode* node = Get(*body, "type")) type = ReadType(*node, path + ".type");
    }
    if (value != nullptr && value->kind != DocumentNode::Kind::null) {
      ReadDefault(*value, value_path, type, &parameter);
    } else {
      parameter.type = type.value_or(ValueType::string);
    }
    pipeline_.parameters.push_back(std::move(parameter));
  }

  std::optional<ValueType> ReadType(const DocumentNode& node, const std::string& path) {
    const std::string& name = node.scalar;
    if (name == "string" || name == "str" || name == "text") return ValueType::string;
    if (name == "number" || name == "float" || name == "double") return ValueType::number;
    if (name == "integer" || name == "int") return ValueType::integer;
    if (name == "boolean" || name == "bool") return ValueType::boolean;
    Mismatch(node, path, "string, number, integer or boolean");
    return std::nullopt;
  }

  void ReadDefault(const DocumentNode& node, const std::string& path, std::optional<ValueType> type,
                   Parameter* parameter) {
    const std::optional<std::string> text = ReadText(node, path, "a value");
    if (!text.has_value()) return;
    parameter->type = type.value_or(node.quoted ? ValueType::string : GuessType(*text));
    const StatusOr<Value> value = ParseValue(*text, parameter->type);
    if (value.ok()) {
      parameter->default_value = *value;
    } else {
      Error(node, path, std::string(Message(value.status())));
    }
  }

  static ValueType GuessType(std::string_view text) {
    switch (ClassifyPlain(text)) {
      case PlainKind::integer:
        return ValueType::integer;
      case PlainKind::number:
        return ValueType::number;
      case PlainKind::boolean:
        return ValueType::boolean;
      case PlainKind::text:
        break;
    }
    return ValueType::string;
  }

  std::vector<EnvironmentVariable> ReadEnvironment(const DocumentNode& node,
                                                   const std::string& path) {
    std::vector<EnvironmentVariable> variables;
    if (!IsMap(node, path)) return variables;
    for (const DocumentNode::Member& member : node.members) {
      const std::string variable_path = Join(path, member.key);
      if (member.value.kind == DocumentNode::Kind::null) {
        variables.push_back({member.key, ""});
      } else if (const auto text = ReadText(member.value, variable_path)) {
        variables.push_back({member.key, ReadVariable(member, variable_path, *text)});
      }
    }
    std::sort(variables.begin(), variables.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return variables;
  }

  // Never puts the value into a message: it may be a credential.
  std::string ReadVariable(const DocumentNode::Member& member, const std::string& path,
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
  std::string ReadTemplate(const DocumentNode& node, const std::string& path,
                           const std::string& text, const std::string& secret_message) {
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
      if (substitution->secret) Error(node, path, secret_message);
      if (result.ends_with('$')) {
        Error(node, path, "\"$\" directly before \"${{\" cannot be said here");
      }
      result += "${{ params." + substitution->name + " }}";
    }
    return result;
  }

  Retry ReadRetry(const DocumentNode& node, const std::string& path) {
    Retry retry;
    if (!IsMapOf(node, path, {"max_attempts", "delay"})) return retry;
    retry.backoff = 1.0F;
    if (const DocumentNode* attempts = Get(node, "max_attempts")) {
      const auto value = ReadInteger<uint32_t>(*attempts, Join(path, "max_attempts"), 0);
      retry.max_attempts = std::max(value.value_or(1), 1U);
    }
    if (const DocumentNode* delay = Get(node, "delay")) {
      retry.delay = ReadDelay(*delay, Join(path, "delay"));
      retry.max_delay = std::max(retry.max_delay, retry.delay);
    }
    return retry;
  }

  // A number counts seconds.
  Duration ReadDelay(const DocumentNode& node, const std::string& path) {
    const bool number = node.kind == DocumentNode::Kind::scalar && !node.scalar.empty() &&
                        node.scalar.find_first_not_of("0123456789.") == std::string::npos;
    const StatusOr<Duration> delay = ParseDuration(number ? node.scalar + "s" : node.scalar);
    if (node.kind == DocumentNode::Kind::scalar && delay.ok()) return *delay;
    Mismatch(node, path, "seconds, or a duration such as 30s or 1h30m");
    return Duration(0);
  }

  void ReadTasks(const DocumentNode& tasks) {
    names_ = CollectNames(tasks);
    const NameTable task_names(names_, "task");
    const NameTable folder_names(CollectFolders(tasks), "folder");
    task_names_ = &task_names;
    folder_names_ = &folder_names;
    for (size_t i = 0; i < tasks.items.size(); ++i) {
      const DocumentNode& node = tasks.items[i];
      positions_.push_back(node.position);
      pipeline_.tasks.push_back(ReadTask(node, Join("tasks", i)));
    }
    std::sort(pipeline_.folders.begin(), pipeline_.folders.end(),
              [](const Folder& a, const Folder& b) { return a.name < b.name; });
  }

  std::vector<std::string> CollectNames(const DocumentNode& tasks) {
    std::vector<std::string> names;
    absl::flat_hash_set<std::string> seen;
    for (size_t i = 0; i < tasks.items.size(); ++i) {
      const DocumentNode* name = Get(tasks.items[i], "name");
      if (name == nullptr || name->kind != DocumentNode::Kind::scalar) continue;
      if (seen.insert(name->scalar).second) {
        names.push_back(name->scalar);
      } else {
        Error(*name, Join("tasks", i) + ".name", "duplicate task " + Quoted(name->scalar));
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

  Task ReadTask(const DocumentNode& node, const std::string& path) {
    Task task;
    task.cache = CacheMode::off;  // FastTrack runs every task of every job
    task.allow_failure = continue_on_failure_;
    task.retry = retry_;
    if (!IsMapOf(node, path,
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

  void ReadTaskName(const DocumentNode& node, const std::string& path, Task* task) {
    task->description = GetText(node, path, "description");
    const DocumentNode* name = Get(node, "name");
    if (name == nullptr) {
      Error(node, path, "\"name\" is missing");
      return;
    }
    const std::optional<std::string> text = ReadText(*name, Join(path, "name"));
    if (!text.has_value()) return;
    task->name = *task_names_->Find(*text);
    NoteName(*name, Join(path, "name"), *text, task->name, &task->labels);
  }

  void ReadKind(const DocumentNode& node, const std::string& path, Task* task) {
    const DocumentNode* service = Get(node, "service");
    if (const DocumentNode* type = Get(node, "type")) {
      const std::string type_path = Join(path, "type");
      if (fasttrack::IsServiceType(type->scalar)) {
        task->kind = TaskKind::serve;
        Warning(*type, type_path, "a service is kept and exported; this version does not run it");
      } else if (!fasttrack::IsCommandType(type->scalar)) {
        Mismatch(*type, type_path, "\"Custom Task\", \"custom\", \"deployment\" or \"serving\"");
      }
      if (type->scalar != fasttrack::kCustomTask) {
        SetLabel(&task->labels, fasttrack::kTypeLabel, type->scalar);
      }
    }
    if (service == nullptr) return;
    const std::string service_path = Join(path, "service");
    ReadLabels(*service, service_path,
               {"name", "model_mount_destination", "model_definition_path", "runtime_variant",
                "replicas", "open_to_public", "ephemeral", "max_surge", "max_unavailable"},
               fasttrack::kServicePrefix, &task->labels);
    if (task->kind == TaskKind::command) Warning(*service, service_path, std::string(kNotActedOn));
  }

  void ReadCommand(const DocumentNode& node, const std::string& path, Task* task) {
    if (const DocumentNode* command = Get(node, "command")) {
      const std::string command_path = Join(path, "command");
      const std::optional<std::string> text = ReadText(*command, command_path);
      if (text.has_value() && !text->empty()) {
        task->command = {ReadTemplate(*command, command_path, *text,
                                      "a secret cannot stand in a command; give it to a variable "
                                      "in environment.envs and use that")};
      }
    }
    if (const DocumentNode* module = Get(node, "module_uri")) {
      const std::string text = GetText(node, path, "module_uri");
      SetLabel(&task->labels, fasttrack::kModuleLabel, text);
      if (!text.empty()) Warning(*module, Join(path, "module_uri"), std::string(kNotActedOn));
    }
  }

  void ReadCluster(const DocumentNode& node, const std::string& path, Task* task) {
    if (const DocumentNode* size = Get(node, "cluster_size")) {
      task->cluster_size =
          ReadInteger<uint16_t>(*size, Join(path, "cluster_size"), 1).value_or(uint16_t{1});
    }
    const DocumentNode* mode = Get(node, "cluster_mode");
    if (mode == nullptr) return;
    if (mode->scalar == "multi-node") {
      task->multi_node = true;
    } else if (mode->scalar != "single-node") {
      Mismatch(*mode, Join(path, "cluster_mode"), "\"single-node\" or \"multi-node\"");
    }
  }

  void ReadTaskEnvironment(const DocumentNode& node, const std::string& path, Task* task) {
    const DocumentNode* environment = Get(node, "environment");
    const std::string environment_path = Join(path, "environment");
    if (environment == nullptr ||
        !IsMapOf(*environment, environment_path,
                 {"project", "scaling-group", "scaling_group", "image", "envs"})) {
      return;
    }
    SetLabel(&task->labels, fasttrack::kEnvironmentProjectLabel,
             GetText(*environment, environment_path, "project"));
    task->image = GetText(*environment, environment_path, "image");
    task->resource_group = GetText(*environment, environment_path, "scaling-group");
    if (task->resource_group.empty()) {
      task->resource_group = GetText(*environment, environment_path, "scaling_group");
    }
    if (const DocumentNode* envs = Get(*environment, "envs")) {
      task->environment = ReadEnvironment(*envs, Join(environment_path, "envs"));
    }
  }

  void ReadResources(const DocumentNode& node, const std::string& path, Task* task) {
    const std::string resources_path = Join(path, "resources");
    const DocumentNode* resources = Get(node, "resources");
    if (resources != nullptr && IsMap(*resources, resources_path)) {
      for (const DocumentNode::Member& member : resources->members) {
        ReadSlot(member, Join(resources_path, member.key), task);
      }
      std::sort(task->resources.begin(), task->resources.end(),
                [](const SlotRequest& a, const SlotRequest& b) { return a.slot < b.slot; });
    }
    const std::string options_path = Join(path, "resource_opts");
    const DocumentNode* options = Get(node, "resource_opts");
    constexpr std::string_view kFragmentation = "allow_fractional_resource_fragmentation";
    if (options == nullptr || !IsMapOf(*options, options_path, {"shmem", kFragmentation})) return;
    ReadSharedMemory(*options, options_path, task);
    if (const DocumentNode* fragmentation = Get(*options, kFragmentation)) {
      SetLabel(&task->labels,
               std::string(fasttrack::kResourceOptionPrefix) + std::string(kFragmentation),
               GetText(*options, options_path, kFragmentation));
      Warning(*fragmentation, Join(options_path, kFragmentation), std::string(kNotActedOn));
    }
  }

  void ReadSlot(const DocumentNode::Member& member, const std::string& path, Task* task) {
    if (member.value.kind == DocumentNode::Kind::null) return;
    const std::optional<std::string> text = ReadText(member.value, path, "an amount");
    if (!text.has_value()) return;
    const StatusOr<Quantity> amount = ParseSlotAmount(member.key, *text);
    if (!amount.ok()) {
      const bool unknown_slot = amount.status().code() == StatusCode::kNotFound;
      diagnostics_.Error(unknown_slot ? member.key_position : member.value.position, path,
                         std::string(Message(amount.status())));
    } else if (*amount != Quantity()) {  // none of a slot is no request
      task->resources.push_back({member.key, *amount});
    }
  }

  void ReadSharedMemory(const DocumentNode& options, const std::string& path, Task* task) {
    const DocumentNode* node = Get(options, "shmem");
    if (node == nullptr) return;
    const std::string shmem_path = Join(path, "shmem");
    const std::string text = GetText(options, path, "shmem");
    SetLabel(&task->labels, fasttrack::kSharedMemoryLabel, text);
    const StatusOr<Quantity> amount = Quantity::ParseBytes(text);
    if (!amount.ok()) {
      Error(*node, shmem_path, std::string(Message(amount.status())));
    } else if (*amount != Quantity()) {
      Warning(*node, shmem_path, std::string(kNotActedOn));
    }
  }

  void ReadDependencies(const DocumentNode& node, const std::string& path, Task* task) {
    const DocumentNode* dependencies = Get(node, "dependencies");
    const std::string list_path = Join(path, "dependencies");
    if (dependencies == nullptr || !IsList(*dependencies, list_path)) return;
    for (size_t i = 0; i < dependencies->items.size(); ++i) {
      const DocumentNode& item = dependencies->items[i];
      const std::string item_path = Join(list_path, i);
      const std::optional<std::string> text = ReadText(item, item_path, "the name of a task");
      if (!text.has_value()) continue;
      if (const std::string* name = task_names_->Find(*text)) {
        task->dependencies.push_back(*name);
      } else {
        Error(item, item_path, UnknownTask(*text));
      }
    }
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

  void ReadMounts(const DocumentNode& node, const std::string& path, Task* task) {
    const DocumentNode* mounts = Get(node, "mounts");
    const std::string list_path = Join(path, "mounts");
    if (mounts == nullptr || !IsList(*mounts, list_path)) return;
    for (size_t i = 0; i < mounts->items.size(); ++i) {
      const DocumentNode& item = mounts->items[i];
      const std::optional<MountText> mount = SplitMount(item.scalar);
      if (!mount.has_value()) {
        Mismatch(item, Join(list_path, i), "\"folder\" or \"folder:alias\"");
        continue;
      }
      const std::string& folder = *folder_names_->Find(mount->folder);
      DeclareFolder(item, Join(list_path, i), mount->folder, folder);
      const bool absolute = mount->alias.starts_with('/');
      task->mounts.push_back(
          {folder, (absolute ? "" : std::string(fasttrack::kMountRoot)) + mount->alias, false});
    }
  }

  void DeclareFolder(const DocumentNode& node, const std::string& path, const std::string& original,
                     const std::string& name) {
    if (!declared_folders_.insert(name).second) return;
    pipeline_.folders.push_back({name, ""});
    if (original == name) return;
    SetLabel(&pipeline_.labels, std::string(fasttrack::kFolderPrefix) + name, original);
    Warning(
        node, path,
        "the folder " + Quoted(original) + " has no valid name here; it becomes " + Quoted(name));
  }

  void ReadOutcome(const DocumentNode& node, const std::string& path, Task* task) {
    if (const DocumentNode* skip = Get(node, "skip")) {
      task->skip = ReadBoolean(*skip, Join(path, "skip")).value_or(false);
    }
    if (const DocumentNode* retry = Get(node, "retry")) {
      task->retry = ReadRetry(*retry, Join(path, "retry"));
    }
    if (const DocumentNode* go_on = Get(node, "continue_on_failure")) {
      task->allow_failure = ReadBoolean(*go_on, Join(path, "continue_on_failure")).value_or(false);
    }
  }

  std::vector<Position>& positions_;
  Pipeline pipeline_;
  bool continue_on_failure_ = false;
  Retry retry_;
  std::vector<std::string> names_;  // of the tasks, as in the document
  int suggestions_left_ = 20;
  const NameTable* task_names_ = nullptr;
  const NameTable* folder_names_ = nullptr;
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
