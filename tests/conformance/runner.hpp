// Runs conformance vectors (README.md): once by the C++ interface, once by the C interface.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace trackbed::conformance {

using Json = nlohmann::ordered_json;

// What each step gave, in order: an array of what stands under "expect" when all is well. Throws
// std::exception for a file that is not as README.md says.
Json RunByCpp(const Json& vector);
Json RunByC(const Json& vector);

// A text is an array of its lines.
inline std::string Join(const Json& lines) {
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) text += '\n';
    text += lines[i].get<std::string>();
  }
  return text;
}
inline Json Split(std::string_view text) {
  Json lines = Json::array();
  while (true) {
    const size_t end = text.find('\n');
    lines.push_back(std::string(text.substr(0, end)));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

inline int64_t Thousandths(const Json& number) { return std::llround(number.get<double>() * 1000); }
inline int64_t Nanoseconds(const Json& seconds) {
  return std::llround(seconds.get<double>() * 1e9);
}
// null for a time that never comes.
inline Json Seconds(int64_t nanoseconds) {
  if (nanoseconds == INT64_MAX) return nullptr;
  constexpr int64_t kSecond = 1'000'000'000;
  if (nanoseconds % kSecond == 0) return nanoseconds / kSecond;
  return static_cast<double>(nanoseconds) / kSecond;
}

inline constexpr std::string_view kPlanKinds[] = {"",       "start",   "eviction",
                                                  "repair", "release", "ended"};
inline constexpr std::string_view kWaitRules[] = {
    "none",     "not_yet",      "quota",    "shortage", "fragmentation",
    "reserved", "strict_order", "claiming", "next",     "enforcement"};
inline constexpr std::string_view kEnforcements[] = {"accounting", "advisory", "hardware"};
inline int32_t EnforcementNumber(const Json& name) {
  const auto* const found =
      std::find(std::begin(kEnforcements), std::end(kEnforcements), name.get<std::string_view>());
  if (found == std::end(kEnforcements))
    throw std::invalid_argument("no enforcement " + name.dump());
  return static_cast<int32_t>(found - std::begin(kEnforcements));
}
// null below 0.
inline Json EnforcementName(int32_t number) {
  if (number < 0) return nullptr;
  return kEnforcements[number];
}

// 2026-01-01T00:00:00Z, when vectors of events begin.
inline constexpr int64_t kStartNanoseconds = int64_t{1'767'225'600} * 1'000'000'000;

// An event as `trackbed events` tells it, without the names of runs, which are random.
inline Json WithoutRuns(std::string_view line) {
  Json event = Json::parse(line);
  event.erase("run");
  event.erase("from_run");
  event.erase("map_run");
  return event;
}

// "score" of "RUN/score/1", and of "RUN/score/1/17/2", a batch of its map.
inline std::string TaskOfKey(const std::string& key) {
  const size_t begin = key.find('/') + 1;
  return key.substr(begin, key.find('/', begin) - begin);
}

}  // namespace trackbed::conformance
