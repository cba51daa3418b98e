// The grammar of plain integers, numbers and booleans.
#include "pipeline/scalar.hpp"

#include <cstddef>

namespace trackbed {
namespace {

// Takes digits off the front of *text and returns how many there were.
size_t SkipDigits(std::string_view* text) {
  size_t count = 0;
  while (count < text->size() && (*text)[count] >= '0' && (*text)[count] <= '9') ++count;
  text->remove_prefix(count);
  return count;
}

bool SkipOneOf(std::string_view characters, std::string_view* text) {
  if (text->empty() || characters.find(text->front()) == std::string_view::npos) return false;
  text->remove_prefix(1);
  return true;
}

}  // namespace

ValueType TypeOfPlain(std::string_view text) {
  if (text == "true" || text == "false") return ValueType::boolean;
  SkipOneOf("-", &text);
  const bool leading_zero = text.starts_with('0');
  const size_t digits = SkipDigits(&text);
  if (digits == 0 || (leading_zero && digits > 1)) return ValueType::string;
  if (text.empty()) return ValueType::integer;
  if (SkipOneOf(".", &text) && SkipDigits(&text) == 0) return ValueType::string;
  if (SkipOneOf("eE", &text)) {
    SkipOneOf("+-", &text);
    if (SkipDigits(&text) == 0) return ValueType::string;
  }
  return text.empty() ? ValueType::number : ValueType::string;
}

}  // namespace trackbed
