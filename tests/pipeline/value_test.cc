// Values as text and back.
#include "trackbed/pipeline/value.hpp"

#include "pipeline/scalar.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

TEST_CASE("Values print in their shortest form") {
  CHECK(ToText(Value("a b")) == "a b");
  CHECK(ToText(Value(0.1)) == "0.1");
  CHECK(ToText(Value(64.0)) == "64");
  CHECK(ToText(Value(1e100)) == "1e+100");
  CHECK(ToText(Value(int64_t{-5})) == "-5");
  CHECK(ToText(Value(true)) == "true");
}

TEST_CASE("Printed numbers read back to the same bits") {
  uint64_t state = 3;
  for (int i = 0; i < 1000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double number =
        static_cast<double>(state >> 11) / static_cast<double>(1 + (state & 0xfff));
    CHECK(std::get<double>(*ParseValue(ToText(Value(number)), ValueType::number)) == number);
  }
}

TEST_CASE("Texts of another type are refused") {
  struct Case {
    std::string_view text;
    ValueType type;
    std::string_view message;
  };
  const Case cases[] = {
      {"x", ValueType::number, "found \"x\", expected a number"},
      {"nan", ValueType::number, "found \"nan\", expected a number"},
      {"inf", ValueType::number, "found \"inf\", expected a number"},
      {"1e999", ValueType::number, "found \"1e999\", expected a number that fits 64 bits"},
      {"", ValueType::number, "found \"\", expected a number"},
      {"1.5", ValueType::integer, "found \"1.5\", expected an integer"},
      {"9223372036854775808", ValueType::integer,
       "found \"9223372036854775808\", expected an integer that fits 64 bits"},
      {"yes", ValueType::boolean, "found \"yes\", expected true or false"},
  };
  for (const Case& c : cases) {
    const auto value = ParseValue(c.text, c.type);
    CHECK(value.status().code() == StatusCode::kInvalidArgument);
    CHECK(Message(value.status()) == c.message);
  }
  CHECK(ToText(*ParseValue("-0", ValueType::number)) == "0");
}

TEST_CASE("Scalars without quotes are told apart") {
  for (std::string_view text : {"0", "-1", "64", "12345678901234567890"}) {
    CHECK(TypeOfPlain(text) == ValueType::integer);
  }
  for (std::string_view text : {"0.5", "-1.25", "1e5", "1E-5", "2.5e+3", "0e0"}) {
    CHECK(TypeOfPlain(text) == ValueType::number);
  }
  for (std::string_view text : {"true", "false"}) {
    CHECK(TypeOfPlain(text) == ValueType::boolean);
  }
  for (std::string_view text : {"", "-", "+1", "007", ".5", "1.", "1e", "0x10", "yes", "True",
                                "nan", ".inf", "1_000", "1 ", "1:30"}) {
    CAPTURE(text);
    CHECK(TypeOfPlain(text) == ValueType::string);
  }
}

}  // namespace
}  // namespace trackbed
