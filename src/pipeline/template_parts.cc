// Takes text with ${{ … }} apart.
#include "pipeline/template_parts.hpp"

#include <algorithm>

#include "pipeline/text_place.hpp"

namespace trackbed {
namespace {

constexpr std::string_view kOpen = "${{";
constexpr std::string_view kEscapedOpen = "$${{";
constexpr std::string_view kClose = "}}";

// The offset of the "}}" that ends the expression beginning at `begin`.
StatusOr<size_t> FindClose(std::string_view text, size_t begin) {
  size_t i = begin;
  while (i < text.size()) {
    if (text.substr(i).starts_with(kClose)) return i;
    if (text[i] == '\'' || text[i] == '"') {
      const size_t closing = text.find(text[i], i + 1);
      if (closing == std::string_view::npos) {
        return InvalidArgument(TextPlaces(text).At(i).ToString() + ": the quote is not closed");
      }
      i = closing;
    }
    ++i;
  }
  return InvalidArgument(TextPlaces(text).At(begin - kOpen.size()).ToString() +
                         ": \"${{\" is not closed by \"}}\"; write \"$${{\" for the text itself");
}

}  // namespace

StatusOr<std::vector<TemplatePart>> SplitTemplate(std::string_view text) {
  std::vector<TemplatePart> parts;
  std::string literal;
  const auto flush = [&parts, &literal] {
    if (literal.empty()) return;
    parts.push_back({false, std::move(literal), 0, 0});
    literal.clear();
  };
  size_t i = 0;
  while (i < text.size()) {
    const size_t dollar = std::min(text.find('$', i), text.size());
    literal += text.substr(i, dollar - i);
    i = dollar;
    const std::string_view rest = text.substr(i);
    if (rest.starts_with(kEscapedOpen)) {
      literal += kOpen;
      i += kEscapedOpen.size();
    } else if (rest.starts_with(kOpen)) {
      flush();
      const size_t begin = i + kOpen.size();
      TRACKBED_ASSIGN_OR_RETURN(const size_t end, FindClose(text, begin));
      parts.push_back({true, std::string(text.substr(begin, end - begin)), begin, end});
      i = end + kClose.size();
    } else if (!rest.empty()) {
      literal += '$';
      ++i;
    }
  }
  flush();
  return parts;
}

std::string EscapeTemplate(std::string_view text) {
  std::string result;
  size_t i = 0;
  while (i < text.size()) {
    const size_t open = std::min(text.find(kOpen, i), text.size());
    result += text.substr(i, open - i);
    i = open;
    if (open == text.size()) break;
    result += kEscapedOpen;
    i += kOpen.size();
  }
  return result;
}

std::string QuoteShellWord(std::string_view text) {
  const auto harmless = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_@%+=:,./-").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), harmless)) return std::string(text);
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'') {
      word += "'\\''";
    } else {
      word += c;
    }
  }
  return word + "'";
}

}  // namespace trackbed
