// Names of link levels.
#include "trackbed/resources/node.hpp"

#include "resources/link_level.hpp"

namespace trackbed {

std::string_view ToString(LinkLevel level) { return kLinkLevelNames[static_cast<size_t>(level)]; }

}  // namespace trackbed
