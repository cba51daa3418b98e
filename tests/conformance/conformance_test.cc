// Every vector of this folder, by the C++ and by the C interface.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "conformance/runner.hpp"
#include "support/catch.hpp"

namespace trackbed::conformance {
namespace {

std::vector<std::filesystem::path> Vectors() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(TRACKBED_CONFORMANCE)) {
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Members are compared by name, whatever their order.
nlohmann::json Unordered(const Json& json) { return nlohmann::json::parse(json.dump()); }

void Compare(const Json& vector, const Json& found) {
  const Json& steps = vector.at("steps");
  REQUIRE(found.size() == steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const nlohmann::json expected = Unordered(steps[i].at("expect"));
    const nlohmann::json got = Unordered(found[i]);
    INFO("step " << i + 1 << ", " << steps[i].at("do") << ": what differs\n"
                 << nlohmann::json::diff(expected, got).dump(1));
    CHECK(expected == got);
  }
}

TEST_CASE("conformance vectors hold in C++ and C") {
  const auto paths = Vectors();
  REQUIRE(!paths.empty());
  for (const auto& path : paths) {
    INFO(path.filename().string());
    std::ifstream file(path);
    const Json vector = Json::parse(file);
    CHECK(!vector.at("about").get<std::string>().empty());
    {
      INFO("in C++");
      Compare(vector, RunByCpp(vector));
    }
    {
      INFO("in C");
      Compare(vector, RunByC(vector));
    }
  }
}

}  // namespace
}  // namespace trackbed::conformance
