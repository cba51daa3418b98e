// A pipeline as one tree of values, written as YAML, as JSON, or without white space for hashing.
#include "trackbed/pipeline/writer.hpp"

#include <absl/strings/str_cat.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "pipeline/names.hpp"
#include "pipeline/yaml_lines.hpp"
#include "trackbed/base/sha256.hpp"
#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

// Adds a key that is not there yet. ordered_json's own insertion searches the whole map.
void Put(Json* object, std::string_view key, Json value) {
  object->get_ref<Json::object_t&>().emplace_back(std::string(key), std::move(value));
}

void PutText(Json* object, std::string_view key, const std::string& text) {
  if (!text.empty()) Put(object, key, text);
}

void PutNonEmpty(Json* object, std::string_view key, Json collection) {
  if (!collection.empty()) Put(object, key, std::move(collection));
}

void PutDuration(Json* object, std::string_view key, Duration value, Duration default_value) {
  if (value != default_value) Put(object, key, FormatDuration(value));
}

Json Texts(const TextList& texts) {
  Json list = Json::array();
  for (const std::string_view text : texts) list.push_back(text);
  return list;
}

Json Texts(const std::map<std::string, std::string>& texts) {
  Json map = Json::object();
  for (const auto& [key, text] : texts) Put(&map, key, text);
  return map;
}

Json Number(double number) { return number + 0.0; }  // -0 becomes 0, which it equals

// The double that prints as the float does.
Json Number(float number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), number).ptr;
  double wide = 0;
  std::from_chars(text, end, wide);
  return Number(wide);
}

Json FromValue(const Value& value) {
  switch (TypeOf(value)) {
    case ValueType::string:
      return std::get<std::string>(value);
    case ValueType::number:
      return Number(std::get<double>(value));
    case ValueType::integer:
      return std::get<int64_t>(value);
    case ValueType::boolean:
      return std::get<bool>(value);
  }
  return nullptr;
}

Json FromParameter(const Parameter& parameter) {
  Json map = Json::object();
  if (parameter.type != ValueType::string) {
    Put(&map, "type", std::string(ToString(parameter.type)));
  }
  if (parameter.default_value) Put(&map, "default", FromValue(*parameter.default_value));
  PutText(&map, "description", parameter.description);
  Json choices = Json::array();
  for (const Value& choice : parameter.choices) choices.push_back(FromValue(choice));
  PutNonEmpty(&map, "choices", std::move(choices));
  if (parameter.minimum) Put(&map, "minimum", Number(*parameter.minimum));
  if (parameter.maximum) Put(&map, "maximum", Number(*parameter.maximum));
  return map;
}

Json FromEnvironment(const std::vector<EnvironmentVariable>& environment) {
  Json map = Json::object();
  for (const EnvironmentVariable& variable : environment) Put(&map, variable.name, variable.value);
  return map;
}

// Whole counts as numbers, because that is how people write them.
Json FromAmount(const SlotRequest& request) {
  const SlotType* type = FindSlotType(request.slot);
  const bool bytes = type != nullptr && type->kind == SlotKind::bytes;
  if (!bytes && request.amount.thousandths() % 1000 == 0) return request.amount.units();
  return FormatSlotAmount(request.slot, request.amount);
}

Json FromResources(const std::vector<SlotRequest>& resources) {
  Json map = Json::object();
  for (const SlotRequest& request : resources) Put(&map, request.slot, FromAmount(request));
  return map;
}

Json FromMounts(const std::vector<Mount>& mounts) {
  Json list = Json::array();
  for (const Mount& mount : mounts) {
    Json map = Json::object();
    Put(&map, "folder", mount.folder);
    if (mount.path != mount.folder) Put(&map, "path", mount.path);
    if (mount.read_only) Put(&map, "read_only", true);
    list.push_back(std::move(map));
  }
  return list;
}

Json FromOutputs(const std::vector<Output>& outputs) {
  Json map = Json::object();
  for (const Output& output : outputs) Put(&map, output.name, std::string(ToString(output.type)));
  return map;
}

Json FromRetry(const Retry& retry) {
  const Retry defaults;
  Json map = Json::object();
  if (retry.max_attempts != defaults.max_attempts) Put(&map, "max_attempts", retry.max_attempts);
  PutDuration(&map, "delay", retry.delay, defaults.delay);
  PutDuration(&map, "max_delay", retry.max_delay, defaults.max_delay);
  if (retry.backoff != defaults.backoff) Put(&map, "backoff", Number(retry.backoff));
  if (retry.jitter != defaults.jitter) Put(&map, "jitter", Number(retry.jitter));
  return map;
}

void PutCommand(const Task& task, Json* map) {
  if (task.command.empty()) return;
  if (task.shell) {
    Put(map, "command", std::string(task.command.front()));
  } else {
    Put(map, "command", Texts(task.command));
  }
}

void PutCluster(const Task& task, Json* map) {
  Json cluster = Json::object();
  if (task.cluster_size != 1) Put(&cluster, "size", task.cluster_size);
  if (task.multi_node) Put(&cluster, "multi_node", true);
  PutNonEmpty(map, "cluster", std::move(cluster));
}

void PutMap(const Task& task, Json* map) {
  if (!task.map) return;
  static const TaskMap defaults;
  Json fan_out = Json::object();
  Put(&fan_out, "over", task.map->over);
  if (task.map->batch != defaults.batch) Put(&fan_out, "batch", task.map->batch);
  if (task.map->batches != 0) Put(&fan_out, "batches", task.map->batches);
  if (task.map->concurrency != 0) Put(&fan_out, "concurrency", task.map->concurrency);
  Put(map, "map", std::move(fan_out));
}

void PutApproval(const Task& task, Json* map) {
  if (!task.approval) return;
  Json approval = Json::object();
  Put(&approval, "message", task.approval->message);
  PutNonEmpty(&approval, "approvers", Texts(task.approval->approvers));
  PutDuration(&approval, "timeout", task.approval->timeout, Duration(0));
  Put(map, "approval", std::move(approval));
}

// In the order of the schema.
Json FromTask(const Task& task) {
  static const Task defaults;
  Json map = Json::object();
  Put(&map, "name", task.name);
  PutText(&map, "description", task.description);
  if (task.kind == TaskKind::serve) Put(&map, "kind", "serve");
  PutCommand(task, &map);
  PutNonEmpty(&map, "dependencies", Texts(task.dependencies));
  if (task.trigger != defaults.trigger) {
    Put(&map, "trigger", std::string(TriggerName(task.trigger)));
  }
  PutText(&map, "when", task.when);
  PutMap(task, &map);
  PutApproval(task, &map);
  PutNonEmpty(&map, "environment", FromEnvironment(task.environment));
  PutNonEmpty(&map, "resources", FromResources(task.resources));
  if (task.enforcement != defaults.enforcement) {
    Put(&map, "enforcement", std::string(ToString(task.enforcement)));
  }
  if (task.shared_memory != Quantity()) {
    Put(&map, "shared_memory", task.shared_memory.ToBytesString());
  }
  PutNonEmpty(&map, "mounts", FromMounts(task.mounts));
  PutNonEmpty(&map, "outputs", FromOutputs(task.outputs));
  PutNonEmpty(&map, "files", Texts(task.files.get()));
  PutNonEmpty(&map, "retry", FromRetry(task.retry));
  PutDuration(&map, "timeout", task.timeout, defaults.timeout);
  PutDuration(&map, "grace_period", task.grace_period, defaults.grace_period);
  if (task.cache != CacheMode::automatic) Put(&map, "cache", task.cache == CacheMode::on);
  if (task.skip) Put(&map, "skip", true);
  if (task.allow_failure) Put(&map, "allow_failure", true);
  if (task.priority != 0) Put(&map, "priority", task.priority);
  PutText(&map, "image", task.image);
  PutText(&map, "resource_group", task.resource_group);
  PutCluster(task, &map);
  PutNonEmpty(&map, "labels", Texts(task.labels));
  return map;
}

Json FromPipeline(const Pipeline& pipeline) {
  Json map = Json::object();
  Put(&map, "name", pipeline.name);
  PutText(&map, "description", pipeline.description);
  PutNonEmpty(&map, "labels", Texts(pipeline.labels));
  if (pipeline.priority != 0) Put(&map, "priority", pipeline.priority);
  PutText(&map, "source", pipeline.source);
  Json parameters = Json::object();
  for (const Parameter& parameter : pipeline.parameters) {
    Put(&parameters, parameter.name, FromParameter(parameter));
  }
  PutNonEmpty(&map, "parameters", std::move(parameters));
  PutNonEmpty(&map, "environment", FromEnvironment(pipeline.environment));
  Json folders = Json::object();
  for (const Folder& folder : pipeline.folders) {
    Json folder_map = Json::object();
    PutText(&folder_map, "path", folder.path);
    Put(&folders, folder.name, std::move(folder_map));
  }
  PutNonEmpty(&map, "folders", std::move(folders));
  Json tasks = Json::array();
  tasks.get_ref<Json::array_t&>().reserve(pipeline.tasks.size());
  for (const Task& task : pipeline.tasks) tasks.push_back(FromTask(task));
  Put(&map, "tasks", std::move(tasks));
  PutNonEmpty(&map, "results", Texts(pipeline.results));
  return map;
}

// Text that is not UTF-8, which no reader lets through, must not end the program.
std::string Dump(const Json& document, int indent) {
  return document.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// ---- YAML

// A duration or an amount of bytes, "1h30m" or "16g": no reader takes it for anything but a text.
bool HasUnits(std::string_view text) {
  constexpr std::string_view kUnits = "dhmskgtp";
  constexpr std::string_view kDigits = "0123456789";
  return !text.empty() && kDigits.find(text.front()) != std::string_view::npos &&
         kUnits.find(text.back()) != std::string_view::npos &&
         text.find_first_not_of("0123456789dhmskgtp") == std::string_view::npos;
}

void EmitItems(const Json& list, YamlLines* lines);

void EmitTextMember(const std::string& key, const std::string& text, YamlLines* lines) {
  if (HasUnits(text)) {
    lines->Raw(key, text);
  } else {
    lines->Text(key, text);
  }
}

void EmitMembers(const Json& map, YamlLines* lines) {
  for (const auto& [key, value] : map.items()) {
    switch (value.type()) {
      case Json::value_t::object:
        lines->OpenMap(key);
        EmitMembers(value, lines);
        lines->CloseMap();
        break;
      case Json::value_t::array:
        lines->OpenList(key);
        EmitItems(value, lines);
        lines->CloseList();
        break;
      case Json::value_t::string:
        EmitTextMember(key, value.get_ref<const std::string&>(), lines);
        break;
      default:
        lines->Raw(key, Dump(value, -1));  // numbers and booleans are the same in JSON and YAML
    }
  }
}

// Items are texts, numbers, booleans, or maps that are not empty.
void EmitItems(const Json& list, YamlLines* lines) {
  for (const Json& item : list) {
    if (item.is_object()) {
      lines->OpenItem();
      EmitMembers(item, lines);
      lines->CloseItem();
    } else if (item.is_string()) {
      lines->TextItem(item.get_ref<const std::string&>());
    } else {
      lines->RawItem(Dump(item, -1));
    }
  }
}

}  // namespace

std::string WriteYaml(const Pipeline& pipeline) {
  YamlLines lines;
  EmitMembers(FromPipeline(pipeline), &lines);
  return lines.text();
}

std::string WriteJson(const Pipeline& pipeline) { return Dump(FromPipeline(pipeline), 2) + "\n"; }

std::string CanonicalForm(const Pipeline& pipeline) { return Dump(FromPipeline(pipeline), -1); }

std::string PipelineVersion(const Pipeline& pipeline) {
  return ContentAddress(CanonicalForm(pipeline));
}

}  // namespace trackbed
