// The values of a run's parameters: what is given, laid over the defaults.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>

#include "pipeline/parameter_check.hpp"
#include "trackbed/base/diagnostic.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {
namespace {

double AsNumber(const Value& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  return std::get<double>(value);
}

std::string UnknownParameter(const Pipeline& pipeline, const std::string& name) {
  std::vector<std::string_view> names;
  for (const Parameter& parameter : pipeline.parameters) names.push_back(parameter.name);
  const std::string_view near = ClosestMatch(name, names);
  if (!near.empty()) {
    return absl::StrCat("unknown parameter; did you mean \"", AbslView(near), "\"?");
  }
  return names.empty()
             ? std::string("the pipeline has no parameters")
             : absl::StrCat("unknown parameter; there are ",
                            absl::StrJoin(names, ", ", [](std::string* out, std::string_view n) {
                              out->append(n);
                            }));
}

}  // namespace

std::string ParameterObjection(const Parameter& parameter, const Value& value) {
  if (!parameter.choices.empty() && std::find(parameter.choices.begin(), parameter.choices.end(),
                                              value) == parameter.choices.end()) {
    return absl::StrCat(
        "found ", ToText(value), ", expected one of ",
        absl::StrJoin(parameter.choices, ", ",
                      [](std::string* out, const Value& v) { out->append(ToText(v)); }));
  }
  const bool is_number =
      parameter.type == ValueType::number || parameter.type == ValueType::integer;
  if (!is_number) return "";
  if (parameter.minimum && AsNumber(value) < *parameter.minimum) {
    return absl::StrCat("found ", ToText(value), ", expected at least ",
                        ToText(Value(*parameter.minimum)));
  }
  if (parameter.maximum && AsNumber(value) > *parameter.maximum) {
    return absl::StrCat("found ", ToText(value), ", expected at most ",
                        ToText(Value(*parameter.maximum)));
  }
  return "";
}

StatusOr<std::map<std::string, Value>> BindParameters(
    const Pipeline& pipeline, const std::map<std::string, std::string>& given) {
  std::map<std::string, Value> values;
  std::vector<std::string> problems;
  const auto complain = [&](const std::string& name, std::string_view what) {
    problems.push_back(absl::StrCat("parameter \"", name, "\": ", AbslView(what)));
  };
  for (const Parameter& parameter : pipeline.parameters) {
    const auto text = given.find(parameter.name);
    if (text == given.end()) {
      if (parameter.default_value) {
        values.emplace(parameter.name, *parameter.default_value);
      } else {
        complain(parameter.name, "it has no default, so the run must be given a value");
      }
      continue;
    }
    StatusOr<Value> value = ParseValue(text->second, parameter.type);
    if (!value.ok()) {
      complain(parameter.name, Message(value.status()));
      continue;
    }
    if (const std::string objection = ParameterObjection(parameter, *value); !objection.empty()) {
      complain(parameter.name, objection);
      continue;
    }
    values.emplace(parameter.name, *std::move(value));
  }
  for (const auto& [name, text] : given) {
    const bool known =
        std::any_of(pipeline.parameters.begin(), pipeline.parameters.end(),
                    [&wanted = name](const Parameter& p) { return p.name == wanted; });
    if (!known) complain(name, UnknownParameter(pipeline, name));
  }
  if (!problems.empty()) return InvalidArgument(absl::StrJoin(problems, "\n"));
  return values;
}

}  // namespace trackbed
