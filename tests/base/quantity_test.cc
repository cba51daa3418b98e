// Amounts: what is read, what is refused, and what is printed.
#include "trackbed/base/quantity.hpp"

#include <limits>
#include <string>

#include "support/catch.hpp"

namespace trackbed {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

TEST_CASE("A count is read exactly") {
  struct Case {
    std::string_view text;
    int64_t thousandths;
  };
  const Case cases[] = {
      {"0", 0},           {"2", 2000},     {"1.5", 1500},   {"0.001", 1},
      {"500m", 500},      {"1500m", 1500}, {"-1", -1000},   {"-0.5", -500},
      {"1.500000", 1500}, {"007", 7000},   {"-250m", -250}, {"9223372036854775.807", kMax},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto amount = Quantity::ParseCount(c.text);
    REQUIRE(amount.ok());
    CHECK(amount->thousandths() == c.thousandths);
  }
}

TEST_CASE("What is no count is refused") {
  for (std::string_view text : {"",
                                "-",
                                "+1",
                                ".5",
                                "1.",
                                "1e3",
                                "1,5",
                                " 1",
                                "1 ",
                                "0x10",
                                "two",
                                "1.5m",
                                "1_000",
                                "1g",
                                "--1",
                                "nan",
                                "inf",
                                "1.0001",
                                "9223372036854775.808",
                                "99999999999999999999"}) {
    CAPTURE(text);
    CHECK(Quantity::ParseCount(text).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK(Message(Quantity::ParseCount("two").status()) ==
        "found \"two\", expected an amount such as 2, 1.5 or 500m");
  CHECK(Message(Quantity::ParseCount("1.0001").status()) ==
        "found \"1.0001\", expected an amount of at most three decimals");
}

TEST_CASE("Bytes are read with binary suffixes") {
  struct Case {
    std::string_view text;
    int64_t bytes;
  };
  const Case cases[] = {
      {"0", 0},
      {"1000", 1000},
      {"1k", 1024},
      {"1K", 1024},
      {"1kb", 1024},
      {"1KiB", 1024},
      {"16g", int64_t{16} << 30},
      {"1.5GiB", int64_t{3} << 29},
      {"0.5k", 512},
      {"512_000", 512000},
      {"512bytes", 512},
      {"7b", 7},
      {"2mbytes", 2 << 20},
      {"2Mibyte", 2 << 20},
      {"536870912.000000", 536870912},
      {"8p", int64_t{8} << 50},
      {"3t", int64_t{3} << 40},
      {"-1g", -(int64_t{1} << 30)},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto amount = Quantity::ParseBytes(c.text);
    REQUIRE(amount.ok());
    CHECK(amount->units() == c.bytes);
    CHECK(amount->thousandths() == c.bytes * 1000);
  }
}

TEST_CASE("What is no whole number of bytes is refused") {
  for (std::string_view text : {"", "g", "1.5", "0.3k", "1x", "1ib", "1_", "_1", "1__0", "1 g",
                                "9p", "1e", "1gg", "infinity", "0.0000000000000001g"}) {
    CAPTURE(text);
    CHECK(Quantity::ParseBytes(text).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK(Message(Quantity::ParseBytes("0.3k").status()) ==
        "found \"0.3k\", expected a whole number of bytes");
  CHECK(Message(Quantity::ParseBytes("lots").status()) ==
        "found \"lots\", expected an amount of bytes such as 16g, 512MiB or 1000");
}

TEST_CASE("Text of an amount is the shortest exact one") {
  CHECK(Quantity::FromThousandths(2000).ToString() == "2");
  CHECK(Quantity::FromThousandths(1500).ToString() == "1.5");
  CHECK(Quantity::FromThousandths(1001).ToString() == "1.001");
  CHECK(Quantity::FromThousandths(50).ToString() == "0.05");
  CHECK(Quantity::FromThousandths(-500).ToString() == "-0.5");
  CHECK(Quantity::FromThousandths(kMin).ToString() == "-9223372036854775.808");
  CHECK(Quantity::FromUnits(int64_t{16} << 30)->ToBytesString() == "16g");
  CHECK(Quantity::FromUnits(int64_t{3} << 29)->ToBytesString() == "1536m");
  CHECK(Quantity::FromUnits(1000)->ToBytesString() == "1000");
  CHECK(Quantity::FromUnits(0)->ToBytesString() == "0");
  CHECK(Quantity::FromUnits(int64_t{4} << 50)->ToBytesString() == "4p");
}

TEST_CASE("Printed amounts read back to the same") {
  uint64_t state = 1;
  for (int i = 0; i < 2000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto count = Quantity::FromThousandths(static_cast<int64_t>(state >> (1 + i % 60)));
    CHECK(*Quantity::ParseCount(count.ToString()) == count);
    const Quantity bytes = *Quantity::FromUnits(count.units());
    CHECK(*Quantity::ParseBytes(bytes.ToBytesString()) == bytes);
  }
}

TEST_CASE("Sums out of range are refused, not wrapped") {
  Quantity sum = Quantity::FromThousandths(7);
  CHECK(Quantity::Add(Quantity::FromThousandths(1), Quantity::FromThousandths(2), &sum));
  CHECK(sum.thousandths() == 3);
  CHECK_FALSE(Quantity::Add(Quantity::FromThousandths(kMax), Quantity::FromThousandths(1), &sum));
  CHECK_FALSE(
      Quantity::Subtract(Quantity::FromThousandths(kMin), Quantity::FromThousandths(1), &sum));
  CHECK_FALSE(Quantity::FromUnits(kMax).ok());
  CHECK_FALSE(Quantity::FromUnits(kMin).ok());
}

}  // namespace
}  // namespace trackbed
