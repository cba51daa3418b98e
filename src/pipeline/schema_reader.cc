// Values of one shape each.
#include "pipeline/schema_reader.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <array>

#include "pipeline/scalar.hpp"
#include "trackbed/pipeline/value.hpp"

namespace trackbed {
namespace {

bool IsPlain(const DocumentNode& node, ValueType type) {
  return node.kind == DocumentNode::Kind::scalar && !node.quoted &&
         TypeOfPlain(node.scalar) == type;
}

std::string PlainText(double value) { return ToText(Value(value)); }

// What other systems call what we have, too. A name that is near enough needs no line.
constexpr std::array<std::array<std::string_view, 2>, 19> kNamesElsewhere = {{
    {"needs", "dependencies"},
    {"depends", "dependencies"},
    {"depends_on", "dependencies"},
    {"requires", "dependencies"},
    {"run", "command"},
    {"script", "command"},
    {"args", "command"},
    {"entrypoint", "command"},
    {"if", "when"},
    {"condition", "when"},
    {"env", "environment"},
    {"envs", "environment"},
    {"params", "parameters"},
    {"retries", "retry"},
    {"foreach", "map"},
    {"matrix", "map"},
    {"volumes", "mounts"},
    {"container", "image"},
    {"steps", "tasks"},
}};

// The name among `names` of what other systems call `name`; "" when there is none.
std::string_view NameHere(std::string_view name, const std::vector<std::string_view>& names) {
  for (const auto& [elsewhere, here] : kNamesElsewhere) {
    if (elsewhere == name && std::find(names.begin(), names.end(), here) != names.end()) {
      return here;
    }
  }
  return "";
}

}  // namespace

std::string NodePath::ToString() const {
  if (parent_ == nullptr) return "";
  std::string text = parent_->ToString();
  if (key_.data() == nullptr) {
    absl::StrAppend(&text, "[", index_, "]");
  } else {
    absl::StrAppend(&text, text.empty() ? "" : ".", AbslView(key_));
  }
  return text;
}

void SchemaReader::Error(Position position, const NodePath& path, std::string message) {
  if (diagnostics_->error_count() > kMaxErrors) return;
  if (diagnostics_->error_count() == kMaxErrors) {
    diagnostics_->Error(position, "",
                        absl::StrCat("only the first ", kMaxErrors, " mistakes are listed"));
    return;
  }
  std::string text = path.ToString();
  reported_.insert(text);
  diagnostics_->Error(position, std::move(text), std::move(message));
}

void SchemaReader::Expected(const DocumentNode& node, const NodePath& path,
                            std::string_view expected) {
  Error(node, path, absl::StrCat("found ", Describe(node), ", expected ", AbslView(expected)));
}

bool SchemaReader::Text(const DocumentNode& node, const NodePath& path, std::string* value) {
  if (node.kind != DocumentNode::Kind::scalar) {
    Expected(node, path, "a text");
    return false;
  }
  *value = node.scalar;
  return true;
}

bool SchemaReader::Boolean(const DocumentNode& node, const NodePath& path, bool* value) {
  if (!IsPlain(node, ValueType::boolean)) {
    Expected(node, path, "true or false");
    return false;
  }
  *value = node.scalar == "true";
  return true;
}

bool SchemaReader::Integer(const DocumentNode& node, const NodePath& path, int64_t minimum,
                           int64_t maximum, int64_t* value) {
  if (IsPlain(node, ValueType::integer)) {
    const StatusOr<Value> parsed = ParseValue(node.scalar, ValueType::integer);
    if (parsed.ok()) {
      const int64_t integer = std::get<int64_t>(*parsed);
      if (integer >= minimum && integer <= maximum) {
        *value = integer;
        return true;
      }
    }
  }
  Expected(node, path, absl::StrCat("a whole number from ", minimum, " to ", maximum));
  return false;
}

bool SchemaReader::Number(const DocumentNode& node, const NodePath& path, double minimum,
                          double maximum, double* value) {
  if (IsPlain(node, ValueType::integer) || IsPlain(node, ValueType::number)) {
    const StatusOr<Value> parsed = ParseValue(node.scalar, ValueType::number);
    if (parsed.ok()) {
      const double number = std::get<double>(*parsed);
      if (number >= minimum && number <= maximum) {
        *value = number;
        return true;
      }
    }
  }
  Expected(node, path,
           absl::StrCat("a number from ", PlainText(minimum), " to ", PlainText(maximum)));
  return false;
}

bool SchemaReader::TimeSpan(const DocumentNode& node, const NodePath& path, Duration* value) {
  if (node.kind != DocumentNode::Kind::scalar) {
    Expected(node, path, "a duration such as 30s or 1h30m");
    return false;
  }
  const StatusOr<Duration> duration = ParseDuration(node.scalar);
  if (!duration.ok()) {
    Error(node, path, std::string(Message(duration.status())));
    return false;
  }
  *value = *duration;
  return true;
}

bool SchemaReader::Map(const DocumentNode& node, const NodePath& path) {
  if (node.kind == DocumentNode::Kind::map || node.kind == DocumentNode::Kind::null) return true;
  Expected(node, path, "a map");
  return false;
}

bool SchemaReader::List(const DocumentNode& node, const NodePath& path) {
  if (node.kind == DocumentNode::Kind::sequence || node.kind == DocumentNode::Kind::null) {
    return true;
  }
  Expected(node, path, "a list");
  return false;
}

void SchemaReader::UnknownField(const DocumentNode::Member& member, const NodePath& path,
                                std::string_view noun, const std::vector<std::string_view>& names) {
  std::string message = absl::StrCat("unknown field \"", member.key, "\"");
  std::string_view near = NameHere(member.key, names);
  if (near.empty()) near = ClosestMatch(member.key, names);
  if (near.empty()) {
    absl::StrAppend(&message, "; a ", AbslView(noun), " has ");
    for (size_t i = 0; i < names.size(); ++i) {
      absl::StrAppend(&message,
                      i == 0                  ? ""
                      : i + 1 == names.size() ? " and "
                                              : ", ",
                      AbslView(names[i]));
    }
  } else {
    absl::StrAppend(&message, "; did you mean \"", AbslView(near), "\"?");
    // That the field is missing follows from this mistake.
    reported_.insert(NodePath(path, near).ToString());
  }
  Error(member.key_position, NodePath(path, member.key), std::move(message));
}

bool SchemaReader::IsReported(const std::string& path) const {
  // The path itself and what holds it.
  for (size_t end = path.size(); end > 0; --end) {
    const bool whole = end == path.size() || path[end] == '.' || path[end] == '[';
    if (whole && reported_.contains(path.substr(0, end))) return true;
  }
  // What it holds.
  for (const char separator : {'.', '['}) {
    const std::string prefix = path + separator;
    const auto held = reported_.lower_bound(prefix);
    if (held != reported_.end() && held->starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace trackbed
