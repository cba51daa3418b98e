// Values as text and back.
#include "trackbed/pipeline/value.hpp"

#include <absl/strings/str_cat.h>

#include <array>
#include <charconv>
#include <cmath>

namespace trackbed {
namespace {

Status Unexpected(std::string_view text, std::string_view expected) {
  return InvalidArgument(
      absl::StrCat("found \"", AbslView(text), "\", expected ", AbslView(expected)));
}

template <typename T>
std::string NumberText(T number) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
  return {buffer.data(), result.ptr};
}

// std::from_chars over the whole text.
template <typename T>
std::errc ReadWhole(std::string_view text, T* number) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *number);
  return result.ptr == end ? result.ec : std::errc::invalid_argument;
}

StatusOr<Value> ParseInteger(std::string_view text) {
  int64_t integer = 0;
  const std::errc error = ReadWhole(text, &integer);
  if (error == std::errc::result_out_of_range) {
    return Unexpected(text, "an integer that fits 64 bits");
  }
  if (error != std::errc{}) return Unexpected(text, "an integer");
  return Value(integer);
}

StatusOr<Value> ParseNumber(std::string_view text) {
  double number = 0;
  const std::errc error = ReadWhole(text, &number);
  if (error == std::errc::result_out_of_range) {
    return Unexpected(text, "a number that fits 64 bits");
  }
  if (error != std::errc{} || !std::isfinite(number)) return Unexpected(text, "a number");
  // Adding zero turns -0 into 0, so that equal numbers have one text.
  return Value(number + 0.0);
}

}  // namespace

std::string_view ToString(ValueType type) {
  switch (type) {
    case ValueType::string:
      return "string";
    case ValueType::number:
      return "number";
    case ValueType::integer:
      return "integer";
    case ValueType::boolean:
      return "boolean";
  }
  return "unknown";
}

ValueType TypeOf(const Value& value) {
  // The alternatives of Value stand in the order of ValueType.
  return static_cast<ValueType>(value.index());
}

std::string ToText(const Value& value) {
  switch (TypeOf(value)) {
    case ValueType::string:
      return std::get<std::string>(value);
    case ValueType::number:
      return NumberText(std::get<double>(value));
    case ValueType::integer:
      return NumberText(std::get<int64_t>(value));
    case ValueType::boolean:
      return std::get<bool>(value) ? "true" : "false";
  }
  return "";
}

StatusOr<Value> ParseValue(std::string_view text, ValueType type) {
  switch (type) {
    case ValueType::string:
      return Value(std::string(text));
    case ValueType::number:
      return ParseNumber(text);
    case ValueType::integer:
      return ParseInteger(text);
    case ValueType::boolean:
      if (text == "true") return Value(true);
      if (text == "false") return Value(false);
      return Unexpected(text, "true or false");
  }
  return Internal("no such type of value");
}

}  // namespace trackbed
