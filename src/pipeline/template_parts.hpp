// Text with ${{ … }} taken apart, and words for /bin/sh: what Template and the writers of other
// forms share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

struct TemplatePart {
  bool is_expression = false;
  // Literal text with "$${{" already turned into "${{", or what stands between "${{" and "}}".
  std::string text;
  size_t begin = 0;  // of an expression: its bytes in the whole text
  size_t end = 0;
};

// kInvalidArgument with the place of a "${{" or of a quote inside that is never closed. "}}" inside
// quotes closes nothing.
StatusOr<std::vector<TemplatePart>> SplitTemplate(std::string_view text);

// `text` with every "${{" written so that SplitTemplate gives it back as literal text.
std::string EscapeTemplate(std::string_view text);

// `text` as one word of /bin/sh: as it is when harmless, else in single quotes.
std::string QuoteShellWord(std::string_view text);

}  // namespace trackbed
