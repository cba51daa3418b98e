// Tells FastTrack's form from Trackbed's own without parsing the document.
#include <algorithm>
#include <array>
#include <optional>

#include "trackbed/pipeline/fasttrack.hpp"

namespace trackbed {
namespace {

// Fields of a task that only FastTrack has.
constexpr std::array<std::string_view, 4> kTaskFields = {"type", "module_uri", "cluster_mode",
                                                         "resource_opts"};
// Fields of a pipeline that only Trackbed has.
constexpr std::array<std::string_view, 7> kOwnFields = {
    "parameters", "folders", "results", "defaults", "source", "labels", "priority"};

std::string_view TakeLine(std::string_view* text) {
  const size_t end = std::min(text->find('\n'), text->size());
  std::string_view line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// The key of "key:" or "key: value" that begins at `column`, quotes removed; "" for other lines.
std::string_view KeyAt(std::string_view line, size_t column) {
  line.remove_prefix(std::min(column, line.size()));
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || line.starts_with(' ')) return "";
  if (colon + 1 < line.size() && line[colon + 1] != ' ' && line[colon + 1] != '\t') return "";
  std::string_view key = line.substr(0, colon);
  while (key.ends_with(' ')) key.remove_suffix(1);
  if (key.size() >= 2 && key.front() == key.back() && (key[0] == '"' || key[0] == '\'')) {
    key = key.substr(1, key.size() - 2);
  }
  return key;
}

template <size_t N>
bool IsAmong(const std::array<std::string_view, N>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Follows the lines of the list below "tasks:" and knows the column where the fields of a task
// begin. Text inside a field stands further right, so that it is never taken for a field.
class TaskListScanner {
 public:
  bool IsTaskField(std::string_view line) {
    const size_t indent = line.find_first_not_of(' ');
    if (indent == std::string_view::npos) return false;
    const bool item = line.substr(indent).starts_with("- ");
    if (item && (!dash_column_.has_value() || *dash_column_ == indent)) {
      dash_column_ = indent;
      field_column_ = line.find_first_not_of(' ', indent + 1);
      return field_column_ != std::string_view::npos &&
             IsAmong(kTaskFields, KeyAt(line, field_column_));
    }
    return dash_column_.has_value() && indent == field_column_ &&
           IsAmong(kTaskFields, KeyAt(line, field_column_));
  }

 private:
  std::optional<size_t> dash_column_;
  size_t field_column_ = 0;
};

}  // namespace

bool LooksLikeFastTrack(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  bool found = false;
  bool in_tasks = false;
  bool in_environment = false;
  TaskListScanner scanner;
  while (!text.empty()) {
    const std::string_view line = TakeLine(&text);
    if (line.empty() || line.front() == '#') continue;
    const bool top_level = line.front() != ' ' && line.front() != '-';
    if (!top_level) {
      if (in_tasks) found = found || scanner.IsTaskField(line);
      if (in_environment) {
        const size_t indent = std::min(line.find_first_not_of(' '), line.size());
        const std::string_view key = KeyAt(line, indent);
        found = found || (key == "envs" && line.ends_with(':'));
      }
      continue;
    }
    const std::string_view key = KeyAt(line, 0);
    if (IsAmong(kOwnFields, key)) return false;
    found = found || key == "ownership";
    in_tasks = key == "tasks";
    in_environment = key == "environment";
  }
  return found;
}

}  // namespace trackbed
