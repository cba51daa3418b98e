// Reading what several parts of the interface take.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common.hpp"
#include "trackbed/pipeline/pipeline.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed::capi {

StatusOr<std::vector<SlotRequest>> ReadSlots(const trackbed_slot* slots, size_t count,
                                             std::string_view name);

Outcome ReadNodeText(std::string_view text, std::string file, trackbed_format format,
                     NodeDescription* node);
// One description or a list of them, in YAML or JSON.
Outcome ReadNodesText(std::string_view text, std::string file, std::vector<NodeDescription>* nodes);

}  // namespace trackbed::capi
