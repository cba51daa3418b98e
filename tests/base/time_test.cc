// Durations and instants as text.
#include "trackbed/base/time.hpp"

#include "support/catch.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST_CASE("A duration is read") {
  struct Case {
    std::string_view text;
    Duration duration;
  };
  const Case cases[] = {
      {"0", Duration(0)},
      {"0s", Duration(0)},
      {"90s", seconds(90)},
      {"1h30m", minutes(90)},
      {"250ms", milliseconds(250)},
      {"2d", hours(48)},
      {"1.5h", minutes(90)},
      {"1m0.25s", milliseconds(60250)},
      {"1d2h3m4s5ms", hours(26) + minutes(3) + seconds(4) + milliseconds(5)},
      {"100000d", hours(2400000)},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto duration = ParseDuration(c.text);
    REQUIRE(duration.ok());
    CHECK(*duration == c.duration);
  }
}

TEST_CASE("What is no duration is refused") {
  for (std::string_view text :
       {"", "fast", "5", "-5s", "5 s", "s", "30m1h", "1h1h", "1.5h30m", "1.h", ".5h", "1us", "1H",
        "0.5ms", "0.3333333s", "200000d", "99999999999999999999s", "1e3s"}) {
    CAPTURE(text);
    CHECK(ParseDuration(text).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK(Message(ParseDuration("fast").status()) ==
        "found \"fast\", expected a duration such as 30s or 1h30m");
  CHECK(Message(ParseDuration("0.5ms").status()) == "found \"0.5ms\", expected whole milliseconds");
  CHECK(Message(ParseDuration("200000d").status()) ==
        "found \"200000d\", expected a duration of at most 292 years");
}

TEST_CASE("A printed duration reads back") {
  CHECK(FormatDuration(Duration(0)) == "0s");
  CHECK(FormatDuration(minutes(90)) == "1h30m");
  CHECK(FormatDuration(milliseconds(250)) == "250ms");
  CHECK(FormatDuration(hours(49)) == "2d1h");
  CHECK(FormatDuration(Duration(1'999'999)) == "1ms");
  CHECK(FormatDuration(-minutes(90)) == "-1h30m");
  for (int64_t ms = 1; ms < int64_t{1} << 42; ms = ms * 3 + 1) {
    CHECK(*ParseDuration(FormatDuration(milliseconds(ms))) == milliseconds(ms));
  }
}

TEST_CASE("Instants print in UTC") {
  CHECK(FormatTime(Time{}) == "1970-01-01T00:00:00Z");
  CHECK(FormatTime(FromNanoseconds(1'795'448'162'999'999'999)) == "2026-11-23T15:36:02Z");
  CHECK(FormatTime(FromNanoseconds(951'782'400'000'000'000)) == "2000-02-29T00:00:00Z");
  CHECK(FormatTime(FromNanoseconds(-1)) == "1969-12-31T23:59:59Z");
  CHECK(FormatTime(kNever) == "2262-04-11T23:47:16Z");
}

TEST_CASE("The system's clock runs") {
  const Time before = SystemClock().Now();
  CHECK(before > FromNanoseconds(1'700'000'000'000'000'000));
  CHECK(SystemClock().Now() >= before - hours(1));
}

}  // namespace
}  // namespace trackbed
