// The parameters of a run: given, by default, or wrong.
#include "support/catch.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {
namespace {

Pipeline MakePipeline() {
  Pipeline pipeline;
  pipeline.parameters = {
      {"alpha", ValueType::number, Value(0.1), "", {}, 0.0, 1.0},
      {"color", ValueType::string, Value("red"), "", {Value("red"), Value("blue")}, {}, {}},
      {"layers", ValueType::integer, {}, "", {}, 1.0, {}},
      {"quick", ValueType::boolean, Value(false), "", {}, {}, {}}};
  return pipeline;
}

TEST_CASE("Given values win over defaults") {
  const auto bound =
      BindParameters(MakePipeline(), {{"layers", "3"}, {"color", "blue"}, {"quick", "true"}});
  REQUIRE(bound.ok());
  CHECK(*bound == std::map<std::string, Value>{{"alpha", Value(0.1)},
                                               {"color", Value("blue")},
                                               {"layers", Value(int64_t{3})},
                                               {"quick", Value(true)}});
}

TEST_CASE("A number may be given as an integer") {
  const auto bound = BindParameters(MakePipeline(), {{"layers", "3"}, {"alpha", "1"}});
  REQUIRE(bound.ok());
  CHECK(bound->at("alpha") == Value(1.0));
}

TEST_CASE("Every wrong parameter is listed") {
  const auto bound = BindParameters(
      MakePipeline(),
      {{"alhpa", "1"}, {"alpha", "2"}, {"color", "green"}, {"quick", "yes"}, {"x", "1"}});
  CHECK(bound.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(bound.status()) ==
        "parameter \"alpha\": found 2, expected at most 1\n"
        "parameter \"color\": found green, expected one of red, blue\n"
        "parameter \"layers\": it has no default, so the run must be given a value\n"
        "parameter \"quick\": found \"yes\", expected true or false\n"
        "parameter \"alhpa\": unknown parameter; did you mean \"alpha\"?\n"
        "parameter \"x\": unknown parameter; there are alpha, color, layers, quick");
}

TEST_CASE("Values out of range are refused") {
  CHECK_FALSE(BindParameters(MakePipeline(), {{"layers", "0"}}).ok());
  CHECK_FALSE(BindParameters(MakePipeline(), {{"layers", "99999999999999999999"}}).ok());
  CHECK_FALSE(BindParameters(MakePipeline(), {{"layers", "1.5"}}).ok());
  CHECK_FALSE(BindParameters(MakePipeline(), {{"layers", "1"}, {"alpha", "nan"}}).ok());
  CHECK_FALSE(BindParameters(MakePipeline(), {{"layers", ""}}).ok());
  CHECK(BindParameters(Pipeline(), {}).ok());
}

}  // namespace
}  // namespace trackbed
