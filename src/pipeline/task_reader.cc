// The fields of a task.
#include "pipeline/task_reader.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "pipeline/scalar.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/pipeline/map_items.hpp"

namespace trackbed {
namespace {

template <typename T>
struct Choice {
  std::string_view name;
  T value;
};

// Takes one of the names in `choices`.
template <typename T, size_t N>
bool ReadChoice(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                const Choice<T> (&choices)[N], T* value) {
  for (const Choice<T>& choice : choices) {
    if (node.kind == DocumentNode::Kind::scalar && node.scalar == choice.name) {
      *value = choice.value;
      return true;
    }
  }
  std::string expected;
  for (size_t i = 0; i < N; ++i) {
    absl::StrAppend(&expected, i == 0 ? "" : i + 1 == N ? " or " : ", ", AbslView(choices[i].name));
  }
  reader.Expected(node, path, expected);
  return false;
}

// Puts `own` over the entries of `*base` of the same key and sorts.
template <typename T>
void MergeByKey(std::vector<T> own, std::string T::* key, std::vector<T>* base) {
  const auto less = [key](const T& a, const T& b) { return a.*key < b.*key; };
  std::sort(own.begin(), own.end(), less);
  const size_t count = own.size();
  for (T& entry : *base) {
    const auto end = own.begin() + static_cast<std::ptrdiff_t>(count);
    if (!std::binary_search(own.begin(), end, entry, less)) own.push_back(std::move(entry));
  }
  std::sort(own.begin(), own.end(), less);
  *base = std::move(own);
}

// A list of texts.
std::vector<std::string> ReadTexts(SchemaReader& reader, const DocumentNode& node,
                                   const NodePath& path) {
  std::vector<std::string> texts;
  if (!reader.List(node, path)) return texts;
  texts.reserve(node.items.size());
  for (size_t i = 0; i < node.items.size(); ++i) {
    std::string text;
    if (reader.Text(node.items[i], NodePath(path, i), &text)) texts.push_back(std::move(text));
  }
  return texts;
}

void ReadCommand(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  if (node.kind == DocumentNode::Kind::scalar) {
    task->shell = true;
    task->command = {node.scalar};
  } else if (node.kind == DocumentNode::Kind::sequence) {
    task->shell = false;
    task->command = ReadTexts(reader, node, path);
  } else {
    reader.Expected(node, path, "a script, or a list of a program and its arguments");
  }
}

void ReadDependencies(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                      Task* task) {
  if (node.kind == DocumentNode::Kind::scalar) {
    task->dependencies = {node.scalar};
  } else {
    task->dependencies = ReadTexts(reader, node, path);
  }
}

void ReadKind(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr Choice<TaskKind> kChoices[] = {{"command", TaskKind::command},
                                                  {"serve", TaskKind::serve}};
  ReadChoice(reader, node, path, kChoices, &task->kind);
}

void ReadTrigger(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr Choice<Trigger> kChoices[] = {{"all_succeeded", Trigger::all_succeeded},
                                                 {"all_done", Trigger::all_done},
                                                 {"any_failed", Trigger::any_failed},
                                                 {"none_failed", Trigger::none_failed}};
  ReadChoice(reader, node, path, kChoices, &task->trigger);
}

void ReadCache(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr Choice<CacheMode> kChoices[] = {
      {"true", CacheMode::on}, {"false", CacheMode::off}, {"auto", CacheMode::automatic}};
  ReadChoice(reader, node, path, kChoices, &task->cache);
}

void ReadResources(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                   Task* task) {
  if (!reader.Map(node, path)) return;
  std::vector<SlotRequest> own;
  for (const DocumentNode::Member& member : node.members) {
    const NodePath slot_path(path, member.key);
    if (member.value.kind != DocumentNode::Kind::scalar) {
      reader.Expected(member.value, slot_path, "an amount such as 2, 1.5 or 16g");
      continue;
    }
    const StatusOr<Quantity> amount = ParseSlotAmount(member.key, member.value.scalar);
    if (amount.ok()) {
      own.push_back({member.key, *amount});
    } else {
      const bool unknown = amount.status().code() == StatusCode::kNotFound;
      reader.Error(unknown ? member.key_position : member.value.position, slot_path,
                   std::string(Message(amount.status())));
    }
  }
  MergeByKey(std::move(own), &SlotRequest::slot, &task->resources.Mutable());
}

void ReadEnforcement(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                     Task* task) {
  static constexpr Choice<Enforcement> kChoices[] = {{"accounting", Enforcement::accounting},
                                                     {"advisory", Enforcement::advisory},
                                                     {"hardware", Enforcement::hardware}};
  ReadChoice(reader, node, path, kChoices, &task->enforcement);
}

void ReadSharedMemory(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                      Task* task) {
  std::string text;
  if (!reader.Text(node, path, &text)) return;
  const StatusOr<Quantity> amount = Quantity::ParseBytes(text);
  if (amount.ok()) {
    task->shared_memory = *amount;
  } else {
    reader.Error(node, path, std::string(Message(amount.status())));
  }
}

// "FOLDER[:PATH[:ro|rw]]".
bool ParseShortMount(std::string_view text, Mount* mount) {
  const size_t first = text.find(':');
  mount->folder = text.substr(0, first);
  mount->path = mount->folder;
  if (first == std::string_view::npos) return true;
  text.remove_prefix(first + 1);
  const size_t second = text.find(':');
  mount->path = text.substr(0, second);
  // "data:ro" is more likely a forgotten path than a path called "ro".
  if (mount->path.empty() || mount->path == "ro" || mount->path == "rw") return false;
  if (second == std::string_view::npos) return true;
  const std::string_view mode = text.substr(second + 1);
  mount->read_only = mode == "ro";
  return mode == "ro" || mode == "rw";
}

void ReadMount(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr SchemaField<Mount> kFields[] = {
      {"folder", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                    Mount* m) { r.Text(n, p, &m->folder); }},
      {"path", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                  Mount* m) { r.Text(n, p, &m->path); }},
      {"read_only", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       Mount* m) { r.Boolean(n, p, &m->read_only); }},
  };
  Mount mount;
  if (node.kind == DocumentNode::Kind::scalar) {
    if (!ParseShortMount(node.scalar, &mount)) {
      reader.Expected(node, path, "FOLDER, FOLDER:PATH, FOLDER:PATH:ro or FOLDER:PATH:rw");
      return;
    }
  } else if (node.kind == DocumentNode::Kind::map) {
    reader.Fields<Mount>(node, path, "mount", kFields, &mount);
    if (node.Find("folder") == nullptr) {
      reader.Error(node, path, "\"folder\" is missing");
      return;
    }
    if (node.Find("path") == nullptr) mount.path = mount.folder;
  } else {
    reader.Expected(node, path, "a mount such as data:/data:ro");
    return;
  }
  task->mounts.push_back(std::move(mount));
}

void ReadMounts(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  if (!reader.List(node, path)) return;
  task->mounts.clear();
  for (size_t i = 0; i < node.items.size(); ++i) {
    ReadMount(reader, node.items[i], NodePath(path, i), task);
  }
}

void ReadOutputs(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  task->outputs.clear();
  if (node.kind == DocumentNode::Kind::sequence) {
    for (std::string& name : ReadTexts(reader, node, path)) {
      task->outputs.push_back({std::move(name), ValueType::string});
    }
  } else if (reader.Map(node, path)) {
    for (const DocumentNode::Member& member : node.members) {
      Output output{member.key, ValueType::string};
      ReadValueType(reader, member.value, NodePath(path, member.key), &output.type);
      task->outputs.push_back(std::move(output));
    }
  } else {
    reader.MarkIncomplete();
  }
  std::stable_sort(task->outputs.begin(), task->outputs.end(),
                   [](const Output& a, const Output& b) { return a.name < b.name; });
}

void ReadMaxAttempts(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                     Retry* retry) {
  int64_t attempts = 0;
  if (reader.Integer(node, path, 1, 1000, &attempts)) {
    retry->max_attempts = static_cast<uint32_t>(attempts);
  }
}

void ReadFloat(SchemaReader& reader, const DocumentNode& node, const NodePath& path, double minimum,
               double maximum, float* value) {
  double number = 0;
  if (reader.Number(node, path, minimum, maximum, &number)) *value = static_cast<float>(number);
}

void ReadRetry(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr SchemaField<Retry> kFields[] = {
      {"max_attempts", ReadMaxAttempts},
      {"delay", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                   Retry* retry) { r.TimeSpan(n, p, &retry->delay); }},
      {"max_delay", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       Retry* retry) { r.TimeSpan(n, p, &retry->max_delay); }},
      {"backoff", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                     Retry* retry) { ReadFloat(r, n, p, 1, 100, &retry->backoff); }},
      {"jitter", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                    Retry* retry) { ReadFloat(r, n, p, 0, 1, &retry->jitter); }},
  };
  task->retry = Retry();
  if (node.kind == DocumentNode::Kind::map) {
    reader.Fields<Retry>(node, path, "retry", kFields, &task->retry);
  } else {
    ReadMaxAttempts(reader, node, path, &task->retry);
  }
}

void ReadCluster(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr SchemaField<Task> kFields[] = {
      {"size",
       [](SchemaReader& r, const DocumentNode& n, const NodePath& p, Task* t) {
         int64_t size = 1;
         r.Integer(n, p, 1, std::numeric_limits<uint16_t>::max(), &size);
         t->cluster_size = static_cast<uint16_t>(size);
       }},
      {"multi_node", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                        Task* t) { r.Boolean(n, p, &t->multi_node); }},
  };
  task->cluster_size = 1;
  task->multi_node = false;
  reader.Fields<Task>(node, path, "cluster", kFields, task);
}

// A list of scalars as JSON; what is in quotes is text, as elsewhere.
bool JsonOfList(const DocumentNode& list, std::string* json) {
  json->assign("[");
  for (const DocumentNode& item : list.items) {
    if (item.kind != DocumentNode::Kind::scalar) return false;
    const bool text = item.quoted || TypeOfPlain(item.scalar) == ValueType::string;
    absl::StrAppend(json, json->size() > 1 ? ", " : "",
                    text ? nlohmann::json(item.scalar).dump() : item.scalar);
  }
  json->append("]");
  return true;
}

void ReadOver(SchemaReader& reader, const DocumentNode& node, const NodePath& path, TaskMap* map) {
  if (node.kind == DocumentNode::Kind::scalar) {
    map->over = node.scalar;
  } else if (node.kind != DocumentNode::Kind::sequence || !JsonOfList(node, &map->over)) {
    reader.Expected(node, path, "a list of texts and numbers, a whole number, or ${{ … }}");
  }
}

template <uint32_t TaskMap::* Member>
void ReadCount(SchemaReader& reader, const DocumentNode& node, const NodePath& path, TaskMap* map) {
  int64_t count = 0;
  if (reader.Integer(node, path, 1, kMaxMapCount, &count)) {
    map->*Member = static_cast<uint32_t>(count);
  }
}

void ReadMap(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  static constexpr SchemaField<TaskMap> kFields[] = {
      {"over", ReadOver},
      {"batch", ReadCount<&TaskMap::batch>},
      {"batches", ReadCount<&TaskMap::batches>},
      {"concurrency", ReadCount<&TaskMap::concurrency>},
  };
  TaskMap map;
  if (!reader.Fields<TaskMap>(node, path, "map", kFields, &map)) return;
  if (node.Find("over") == nullptr) {
    reader.Error(node, path, "\"over\" is missing");
    return;
  }
  if (node.Find("batch") != nullptr && node.Find("batches") != nullptr) {
    reader.Error(node, path, "found both \"batch\" and \"batches\", expected one of them");
  }
  task->map = std::move(map);
}

void ReadApproval(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                  Task* task) {
  static constexpr SchemaField<Approval> kFields[] = {
      {"message", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                     Approval* a) { r.Text(n, p, &a->message); }},
      {"approvers", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       Approval* a) { a->approvers = ReadTexts(r, n, p); }},
      {"timeout", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                     Approval* a) { r.TimeSpan(n, p, &a->timeout); }},
  };
  Approval approval;
  if (node.kind == DocumentNode::Kind::scalar) {
    approval.message = node.scalar;
  } else if (node.kind == DocumentNode::Kind::map) {
    if (!reader.Fields<Approval>(node, path, "approval", kFields, &approval)) return;
    if (node.Find("message") == nullptr) {
      reader.Error(node, path, "\"message\" is missing");
      return;
    }
  } else {
    reader.Expected(node, path, "a question, or a map with \"message\"");
    return;
  }
  task->approval = std::move(approval);
}

void ReadTaskPriority(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                      Task* task) {
  ReadPriority(reader, node, path, &task->priority);
}

template <Sparse<std::string> Task::* Member>
void ReadTextField(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                   Task* task) {
  reader.Text(node, path, &(task->*Member).Mutable());
}

template <bool Task::* Member>
void ReadBooleanField(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                      Task* task) {
  reader.Boolean(node, path, &(task->*Member));
}

template <Duration Task::* Member>
void ReadTimeField(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                   Task* task) {
  reader.TimeSpan(node, path, &(task->*Member));
}

void ReadName(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  if (!reader.Text(node, path, &task->name)) reader.MarkIncomplete();
}

void ReadFiles(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  task->files = ReadTexts(reader, node, path);
}

void ReadTaskLabels(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                    Task* task) {
  ReadLabels(reader, node, path, &task->labels.Mutable());
}

void ReadTaskEnvironment(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                         Task* task) {
  ReadEnvironment(reader, node, path, &task->environment.Mutable());
}

// Those that belong to one task only come first, so that the rest are the fields of `defaults`.
constexpr SchemaField<Task> kTaskFields[] = {
    {"name", ReadName},
    {"dependencies", ReadDependencies},
    {"kind", ReadKind},
    {"command", ReadCommand},
    {"when", ReadTextField<&Task::when>},
    {"map", ReadMap},
    {"approval", ReadApproval},
    {"outputs", ReadOutputs},
    {"description", ReadTextField<&Task::description>},
    {"trigger", ReadTrigger},
    {"environment", ReadTaskEnvironment},
    {"resources", ReadResources},
    {"enforcement", ReadEnforcement},
    {"shared_memory", ReadSharedMemory},
    {"mounts", ReadMounts},
    {"files", ReadFiles},
    {"retry", ReadRetry},
    {"timeout", ReadTimeField<&Task::timeout>},
    {"grace_period", ReadTimeField<&Task::grace_period>},
    {"cache", ReadCache},
    {"skip", ReadBooleanField<&Task::skip>},
    {"allow_failure", ReadBooleanField<&Task::allow_failure>},
    {"priority", ReadTaskPriority},
    {"image", ReadTextField<&Task::image>},
    {"resource_group", ReadTextField<&Task::resource_group>},
    {"cluster", ReadCluster},
    {"labels", ReadTaskLabels},
};
constexpr size_t kFieldsOfOneTask = 8;

// Of the defaults, those that mean something to a task without attempts.
Task WithoutAttempts(Task defaults) {
  Task task;
  task.description = std::move(defaults.description);
  task.trigger = defaults.trigger;
  task.skip = defaults.skip;
  task.allow_failure = defaults.allow_failure;
  task.labels = std::move(defaults.labels);
  return task;
}

}  // namespace

void ReadPriority(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                  int16_t* priority) {
  int64_t value = 0;
  if (reader.Integer(node, path, -kMaxPriority, kMaxPriority, &value)) {
    *priority = static_cast<int16_t>(value);
  }
}

void ReadTask(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task) {
  if (node.kind != DocumentNode::Kind::map) {
    reader.Expected(node, path, "a task, which is a map");
    reader.MarkIncomplete();
    return;
  }
  if (node.Find("approval") != nullptr) *task = WithoutAttempts(std::move(*task));
  reader.Fields<Task>(node, path, "task", kTaskFields, task);
  if (node.Find("name") == nullptr) {
    reader.Error(node, path, "\"name\" is missing");
    reader.MarkIncomplete();
  }
}

void ReadTaskDefaults(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                      Task* task) {
  DocumentNode allowed = node;
  std::erase_if(allowed.members, [&](const DocumentNode::Member& member) {
    const auto* end = kTaskFields + kFieldsOfOneTask;
    const bool of_one_task = std::any_of(
        kTaskFields, end, [&](const SchemaField<Task>& f) { return f.name == member.key; });
    if (of_one_task) {
      reader.Error(member.key_position, NodePath(path, member.key), "this field has no default");
    }
    return of_one_task;
  });
  reader.Fields<Task>(allowed, path, "default",
                      std::span<const SchemaField<Task>>(kTaskFields).subspan(kFieldsOfOneTask),
                      task);
}

void ReadLabels(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                std::map<std::string, std::string>* labels) {
  if (!reader.Map(node, path)) return;
  for (const DocumentNode::Member& member : node.members) {
    std::string text;
    if (reader.Text(member.value, NodePath(path, member.key), &text)) {
      labels->insert_or_assign(member.key, std::move(text));
    }
  }
}

void ReadEnvironment(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                     std::vector<EnvironmentVariable>* environment) {
  if (!reader.Map(node, path)) return;
  std::vector<EnvironmentVariable> own;
  own.reserve(node.members.size());
  for (const DocumentNode::Member& member : node.members) {
    EnvironmentVariable variable{member.key, ""};
    if (member.value.kind != DocumentNode::Kind::scalar) {
      reader.Expected(member.value, NodePath(path, member.key), "a text (\"\" for an empty one)");
      continue;
    }
    variable.value = member.value.scalar;
    own.push_back(std::move(variable));
  }
  MergeByKey(std::move(own), &EnvironmentVariable::name, environment);
}

bool ReadValueType(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                   ValueType* type) {
  static constexpr Choice<ValueType> kChoices[] = {{"string", ValueType::string},
                                                   {"number", ValueType::number},
                                                   {"integer", ValueType::integer},
                                                   {"boolean", ValueType::boolean}};
  return ReadChoice(reader, node, path, kChoices, type);
}

}  // namespace trackbed
