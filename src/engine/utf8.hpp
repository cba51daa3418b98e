// Whether bytes are text. What is stored must be: protobuf does not read back what is not UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace trackbed {

// True for well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates).
bool IsUtf8(std::string_view bytes);

// `bytes`, with each byte that is not part of well-formed UTF-8 replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view bytes);

}  // namespace trackbed
