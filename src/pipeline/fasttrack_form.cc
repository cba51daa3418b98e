// The notations shared by the reader and the writer of FastTrack's form.
#include "pipeline/fasttrack_form.hpp"

#include <algorithm>

#include "pipeline/names.hpp"

namespace trackbed::fasttrack {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

std::string Lowered(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace

std::optional<Substitution> ParseSubstitution(std::string_view text) {
  constexpr size_t kBraces = 3;
  constexpr size_t kMaxLength = 512;  // keeps a text of nothing but "${{" linear
  if (!text.starts_with("${{")) return std::nullopt;
  text = text.substr(0, kMaxLength);
  const size_t close = text.find("}}", kBraces);
  if (close == std::string_view::npos) return std::nullopt;
  std::string_view inside = Trim(text.substr(kBraces, close - kBraces));
  Substitution result;
  result.length = close + 2;
  if (inside.starts_with("secrets.")) {
    result.secret = true;
    inside.remove_prefix(8);
  } else if (inside.starts_with("params.")) {
    inside.remove_prefix(7);
  } else {
    return std::nullopt;
  }
  if (!ExpectedOfReferenceName(inside).empty()) return std::nullopt;
  result.name = inside;
  return result;
}

bool IsServiceType(std::string_view type) {
  const std::string lowered = Lowered(type);
  return lowered == kDeployment || lowered == "serving";
}

bool IsCommandType(std::string_view type) {
  const std::string lowered = Lowered(type);
  return lowered == "custom task" || lowered == "custom";
}

}  // namespace trackbed::fasttrack
