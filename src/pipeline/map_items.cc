#include "trackbed/pipeline/map_items.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace trackbed {
namespace {

constexpr std::string_view kExpected = ", expected a JSON list or a whole number";
constexpr size_t kShown = 40;
constexpr int kMaxDepth = 100;  // writing nested values recurses

Status NoItems(std::string_view text) {
  return InvalidArgument(absl::StrCat("map.over: found \"", AbslView(text.substr(0, kShown)),
                                      text.size() > kShown ? "…" : "", "\"", AbslView(kExpected)));
}

}  // namespace

StatusOr<MapItems> ParseMapItems(std::string_view text) {
  bool too_deep = false;
  const auto json = nlohmann::json::parse(
      text.begin(), text.end(),
      [&](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
        too_deep = too_deep || depth > kMaxDepth;
        return !too_deep;
      },
      /*allow_exceptions=*/false);
  if (too_deep) {
    return InvalidArgument(
        absl::StrCat("map.over: found a list nested more than ", kMaxDepth, " deep"));
  }
  MapItems result;
  if (json.is_array()) {
    result.count = json.size();
    result.items.reserve(json.size());
    for (const nlohmann::json& item : json) result.items.push_back(item.dump());
    return result;
  }
  // Numbers that a task counted with, as 3.0, are whole as well.
  const double number = json.is_number() ? json.get<double>() : -1;
  if (!(number >= 0) || number != std::floor(number)) return NoItems(text);
  if (number > static_cast<double>(kMaxMapCount)) {
    return InvalidArgument(absl::StrCat("map.over: found ", AbslView(text),
                                        " items, expected at most ", kMaxMapCount));
  }
  result.numbered = true;
  result.count = static_cast<uint64_t>(number);
  return result;
}

StatusOr<uint64_t> BatchSize(const TaskMap& map, uint64_t items) {
  uint64_t size = map.batch;
  if (map.batches > 0) size = (items + map.batches - 1) / map.batches;
  size = std::max<uint64_t>(size, 1);
  const uint64_t batches = (items + size - 1) / size;
  if (batches <= kMaxMapBatches) return size;
  return InvalidArgument(absl::StrCat("map: ", items, " items in batches of ", size, " are ",
                                      batches, " batches, expected at most ", kMaxMapBatches,
                                      "; a larger \"batch\" makes fewer"));
}

}  // namespace trackbed
