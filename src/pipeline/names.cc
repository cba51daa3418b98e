// Rules for names and paths.
#include "pipeline/names.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace trackbed {
namespace {

constexpr size_t kMaxLabelKeyLength = 256;

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsLetterOrDigit(char c) { return IsLetter(c) || (c >= '0' && c <= '9'); }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

std::string TooLong(size_t limit) { return absl::StrCat("at most ", limit, " characters"); }

// Calls `visit` with each part between slashes, empty ones included.
template <typename Visit>
void ForEachPart(std::string_view path, Visit visit) {
  while (true) {
    const size_t slash = path.find('/');
    visit(path.substr(0, slash));
    if (slash == std::string_view::npos) return;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

std::string ExpectedOfName(std::string_view name) {
  if (name.size() > kMaxNameLength) return TooLong(kMaxNameLength);
  const bool ok = !name.empty() && IsLetterOrDigit(name.front()) &&
                  std::all_of(name.begin(), name.end(), [](char c) {
                    return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-';
                  });
  if (ok) return "";
  return "a name of letters, digits, \".\", \"_\" and \"-\" that starts with a letter or digit";
}

std::string ExpectedOfReferenceName(std::string_view name) {
  if (name.size() > kMaxNameLength) return TooLong(kMaxNameLength);
  const bool ok = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return IsLetterOrDigit(c) || c == '_' || c == '-';
  });
  return ok ? "" : "a name of letters, digits, \"_\" and \"-\"";
}

std::string ExpectedOfVariableName(std::string_view name) {
  const bool ok =
      !name.empty() && !(name.front() >= '0' && name.front() <= '9') &&
      std::all_of(name.begin(), name.end(), [](char c) { return IsLetterOrDigit(c) || c == '_'; });
  if (!ok) return "a name of letters, digits and \"_\" that does not start with a digit";
  if (name.size() > kMaxNameLength) return TooLong(kMaxNameLength);
  if (name.starts_with("TRACKBED_")) return "a name not starting with TRACKBED_, which is reserved";
  return "";
}

std::string ExpectedOfLabelKey(std::string_view key) {
  if (key.size() > kMaxLabelKeyLength) return TooLong(kMaxLabelKeyLength);
  if (key.empty() || std::any_of(key.begin(), key.end(), IsControl)) {
    return "a key without control characters";
  }
  return "";
}

std::string ExpectedOfInnerPath(std::string_view path) {
  constexpr size_t kMaxPathLength = 4096;
  if (path.size() > kMaxPathLength) return TooLong(kMaxPathLength);
  if (path.empty() || std::any_of(path.begin(), path.end(), IsControl)) return "a path";
  if (path.front() == '/') return "a relative path";
  return LeavesFolder(path) ? "a path without \"..\"" : "";
}

bool LeavesFolder(std::string_view path) {
  bool leaves = false;
  ForEachPart(path, [&](std::string_view part) { leaves = leaves || part == ".."; });
  return leaves;
}

std::string NormalizePath(std::string_view path) {
  std::string normal;
  ForEachPart(path, [&](std::string_view part) {
    if (part.empty() || part == ".") return;
    if (!normal.empty()) normal += '/';
    normal += part;
  });
  if (path.starts_with('/')) return "/" + normal;
  return normal.empty() ? "." : normal;
}

std::string_view TriggerName(Trigger trigger) {
  switch (trigger) {
    case Trigger::all_succeeded:
      return "all_succeeded";
    case Trigger::all_done:
      return "all_done";
    case Trigger::any_failed:
      return "any_failed";
    case Trigger::none_failed:
      return "none_failed";
  }
  return "";
}

}  // namespace trackbed
