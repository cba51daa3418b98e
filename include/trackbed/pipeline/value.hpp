// A small typed value: what parameters and task outputs hold.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "trackbed/base/status.hpp"

namespace trackbed {

enum class ValueType : uint8_t { string, number, integer, boolean };

// "string", "number", "integer", "boolean".
std::string_view ToString(ValueType type);

// `number` values are doubles; they print in the shortest form that reads back to the same bits.
using Value = std::variant<std::string, double, int64_t, bool>;

ValueType TypeOf(const Value& value);

// The plain text of a value: no quotes, "true"/"false", "0.1", "64".
std::string ToText(const Value& value);

// Reads `text` as a value of `type`; kInvalidArgument says what was found and expected. NaN and
// infinities are refused.
StatusOr<Value> ParseValue(std::string_view text, ValueType type);

}  // namespace trackbed
