#include "trackbed/pipeline/pipeline_json.hpp"

#include <absl/strings/str_cat.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Text(std::string_view text) { return std::string(text); }

}  // namespace

std::string CheckToJson(const Diagnostics& diagnostics, const Pipeline* pipeline) {
  Json json;
  json["file"] = diagnostics.file();
  json["valid"] = pipeline != nullptr;
  if (pipeline != nullptr) json["version"] = PipelineVersion(*pipeline);
  json["diagnostics"] = Json::array();
  for (const Diagnostic& item : diagnostics.items()) {
    const bool is_error = item.severity == Diagnostic::Severity::error;
    Json one = {{"severity", is_error ? "error" : "warning"},
                {"line", item.position.line},
                {"column", item.position.column},
                {"path", item.path},
                {"message", item.message}};
    const MessageParts parts = SplitMessage(item.message);
    if (!parts.expected.empty()) {
      one["found"] = Text(parts.found);
      one["expected"] = Text(parts.expected);
    }
    json["diagnostics"].push_back(std::move(one));
  }
  return Dump(json);
}

std::string TasksToJson(const Pipeline& pipeline, const Graph& graph,
                        const std::vector<Position>& positions) {
  // The writer knows how each field is written; it leaves nothing out but defaults.
  const Json document = Json::parse(WriteJson(pipeline));
  const std::vector<uint32_t> levels = graph.Levels();
  Json tasks = Json::array();
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) {
    const Task& task = pipeline.tasks[i];
    Json one;
    one["name"] = task.name;
    one["dependencies"] = Json::array();
    for (const std::string_view name : task.dependencies) one["dependencies"].push_back(name);
    one["level"] = levels[i];
    one["resources"] = Json::object();
    for (const SlotRequest& slot : task.resources) {
      one["resources"][slot.slot] = FormatSlotAmount(slot.slot, slot.amount);
    }
    if (i < positions.size()) {
      one["position"] = {{"line", positions[i].line}, {"column", positions[i].column}};
    }
    one["task"] = document["tasks"][i];
    tasks.push_back(std::move(one));
  }
  return Dump(tasks);
}

StatusOr<std::map<std::string, std::string>> ReadParameters(std::string_view json) {
  std::map<std::string, std::string> values;
  if (json.empty()) return values;
  const Json document = Json::parse(json, nullptr, false);
  if (document.is_discarded() || !document.is_object()) {
    return InvalidArgument("parameters: found no JSON object, expected one such as {\"alpha\": 1}");
  }
  for (const auto& [name, value] : document.items()) {
    if (value.is_string()) {
      values[name] = value.get<std::string>();
    } else if (value.is_primitive() && !value.is_null()) {
      values[name] = value.dump();
    } else {
      return InvalidArgument(absl::StrCat("parameter \"", name, "\": found ", value.type_name(),
                                          ", expected a text, a number or a boolean"));
    }
  }
  return values;
}

std::string ValuesToJson(const std::map<std::string, Value>& values) {
  Json object = Json::object();
  for (const auto& [name, value] : values) {
    object[name] = std::visit([](const auto& held) { return Json(held); }, value);
  }
  return Dump(object);
}

}  // namespace trackbed
