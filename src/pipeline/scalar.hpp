// What a scalar that stands without quotes is: one rule for the readers and the writers.
#pragma once

#include <cstdint>
#include <string_view>

namespace trackbed {

enum class PlainKind : uint8_t { text, integer, number, boolean };

// Integers and numbers are those of JSON; "007", "+1", ".5" and "yes" are text.
PlainKind ClassifyPlain(std::string_view text);

}  // namespace trackbed
