// Requests for partitions as JSON: what is wrong with them is said, and where. What they give is in
// tests/conformance/partitions.json.
#include "trackbed/resources/mig_json.hpp"

#include "support/catch.hpp"

namespace trackbed {
namespace {

std::string Refusal(const char* request) {
  const StatusOr<std::string> plan = PlanMigFromJson(request);
  CHECK(absl::IsInvalidArgument(plan.status()));
  return std::string(Message(plan.status()));
}

TEST_CASE("mig as JSON: what is wrong with a request is said, and where") {
  CHECK(Refusal("[") == "found no JSON");
  CHECK(Refusal("[]") == "the request: expected an object");
  CHECK(Refusal(R"({"profile": []})") == "the request: found the unknown field profile");
  CHECK(Refusal(R"({"devices": {}})") == "the request.devices: expected a list");
  CHECK(Refusal(R"({"devices": [{"id": 3}]})") == "devices[0].id: expected a text");
  CHECK(Refusal(R"({"profiles": ["1g.5gb", 3]})") == "profiles[1]: expected a text");
  CHECK(Refusal(R"({"reconfigure": 1})") == "the request.reconfigure: expected true or false");
  CHECK(Refusal(R"({"devices": [{"id": "g", "model": "A100-40GB",
                    "instances": [{"id": "m", "profile": "3g.20gb", "start": 8}]}]})") ==
        "devices[0].instances[0].start: expected a memory slice, 0 to 7");
}

TEST_CASE("mig as JSON: nothing asked is nothing to do") {
  CHECK(*PlanMigFromJson("{}") == R"({"steps":[],"assignments":[]})");
}

}  // namespace
}  // namespace trackbed
