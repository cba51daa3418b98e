// How mistakes print, sort, and how the meant word is found.
#include "trackbed/base/diagnostic.hpp"

#include "support/catch.hpp"

namespace trackbed {
namespace {

TEST_CASE("Diagnostics print one a line, in order of position") {
  Diagnostics diagnostics("digits.yaml");
  diagnostics.Error({12, 7}, "tasks[2].retry", "found \"fast\", expected a number");
  diagnostics.Warning({3, 1}, "image", "not used");
  diagnostics.Error({12, 7}, "", "second at one place");
  diagnostics.Error({}, "", "nowhere");
  diagnostics.Sort();
  CHECK(diagnostics.error_count() == 3);
  CHECK(diagnostics.ToString() ==
        "digits.yaml: nowhere\n"
        "digits.yaml:3:1: image: warning: not used\n"
        "digits.yaml:12:7: tasks[2].retry: found \"fast\", expected a number\n"
        "digits.yaml:12:7: second at one place");
}

TEST_CASE("The status holds the errors only") {
  Diagnostics diagnostics;
  CHECK(diagnostics.ToStatus().ok());
  diagnostics.Warning({1, 2}, "a", "careful");
  CHECK(diagnostics.ToStatus().ok());
  CHECK_FALSE(diagnostics.has_errors());
  diagnostics.Error({2, 3}, "b", "wrong");
  CHECK(diagnostics.ToStatus().code() == StatusCode::kInvalidArgument);
  CHECK(Message(diagnostics.ToStatus()) == "2:3: b: wrong");
}

TEST_CASE("A misspelt word finds the meant one") {
  const std::vector<std::string_view> words = {"retry", "timeout", "resources", "resource_group",
                                               "when",  "mem",     "cpu"};
  CHECK(ClosestMatch("retrys", words) == "retry");
  CHECK(ClosestMatch("rerty", words) == "retry");
  CHECK(ClosestMatch("time_out", words) == "timeout");
  CHECK(ClosestMatch("resource", words) == "resources");
  CHECK(ClosestMatch("wehn", words) == "when");
  CHECK(ClosestMatch("cp", words) == "cpu");
  CHECK(ClosestMatch("cpu", words) == "cpu");
  CHECK(ClosestMatch("gpu_count", words).empty());
  CHECK(ClosestMatch("", words).empty());
  CHECK(ClosestMatch(std::string(10000, 'a'), words).empty());
}

}  // namespace
}  // namespace trackbed
