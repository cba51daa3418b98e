// The names of link levels, in order.
#pragma once

#include <array>
#include <string_view>

namespace trackbed {

inline constexpr std::array<std::string_view, 7> kLinkLevelNames = {
    "system",        "numa_node",  "host_bridge", "multiple_switches",
    "single_switch", "same_board", "nvlink"};

}  // namespace trackbed
