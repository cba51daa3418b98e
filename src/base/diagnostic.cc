// Collecting, ordering and printing what is wrong with a file, and finding what was meant.
#include "trackbed/base/diagnostic.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <numeric>
#include <tuple>

namespace trackbed {
namespace {

constexpr size_t kLongestWord = 64;

void AppendLine(const std::string& file, const Diagnostic& item, std::string* text) {
  if (!text->empty()) text->push_back('\n');
  std::string place = file;
  if (item.position.line > 0) {
    absl::StrAppend(&place, place.empty() ? "" : ":", item.position.line, ":",
                    item.position.column);
  }
  if (!place.empty()) absl::StrAppend(text, place, ": ");
  if (!item.path.empty()) absl::StrAppend(text, item.path, ": ");
  if (item.severity == Diagnostic::Severity::warning) absl::StrAppend(text, "warning: ");
  absl::StrAppend(text, item.message);
}

// How many letters must be put in, taken out, replaced or swapped with their neighbour.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_previous(b.size() + 1);
  std::vector<size_t> previous(b.size() + 1);
  std::vector<size_t> current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({replace, previous[j] + 1, current[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before_previous[j - 2] + 1);
      }
    }
    std::swap(before_previous, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

}  // namespace

void Diagnostics::Error(Position position, std::string path, std::string message) {
  items_.push_back({Diagnostic::Severity::error, position, std::move(path), std::move(message)});
  ++error_count_;
}

void Diagnostics::Warning(Position position, std::string path, std::string message) {
  items_.push_back({Diagnostic::Severity::warning, position, std::move(path), std::move(message)});
}

MessageParts SplitMessage(std::string_view message) {
  constexpr std::string_view kFound = "found ";
  constexpr std::string_view kExpected = ", expected ";
  const size_t middle = message.rfind(kExpected);
  if (!message.starts_with(kFound) || middle == std::string_view::npos) return {};
  return {message.substr(kFound.size(), middle - kFound.size()),
          message.substr(middle + kExpected.size())};
}

void Diagnostics::Sort() {
  std::stable_sort(items_.begin(), items_.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.position.line, a.position.column) <
           std::tie(b.position.line, b.position.column);
  });
}

std::string Diagnostics::ToString() const {
  std::string text;
  for (const Diagnostic& item : items_) AppendLine(file_, item, &text);
  return text;
}

Status Diagnostics::ToStatus() const {
  if (!has_errors()) return absl::OkStatus();
  std::string text;
  for (const Diagnostic& item : items_) {
    if (item.severity == Diagnostic::Severity::error) AppendLine(file_, item, &text);
  }
  return InvalidArgument(text);
}

std::string_view ClosestMatch(std::string_view word,
                              const std::vector<std::string_view>& candidates) {
  std::string_view closest;
  size_t closest_distance = kLongestWord;
  if (word.size() > kLongestWord) return closest;
  for (const std::string_view candidate : candidates) {
    const size_t longer = std::max(word.size(), candidate.size());
    const size_t shorter = std::min(word.size(), candidate.size());
    const size_t limit = longer / 3;
    // The difference in length is a lower bound of the distance.
    if (longer > kLongestWord || longer - shorter > limit) continue;
    const size_t distance = EditDistance(word, candidate);
    if (distance <= limit && distance < closest_distance) {
      closest = candidate;
      closest_distance = distance;
    }
  }
  return closest;
}

}  // namespace trackbed
