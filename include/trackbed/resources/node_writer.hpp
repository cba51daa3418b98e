// Writes the description of a machine as YAML.
#pragma once

#include <span>
#include <string>

#include "trackbed/resources/node.hpp"

namespace trackbed {

// ReadNode (node_reader.hpp) gives the same description back. Fields that have their default are
// left out. Thread-safe.
std::string WriteNode(const NodeDescription& node);
// What ReadNodes gives back; a list, unless there is one.
std::string WriteNodes(std::span<const NodeDescription> nodes);

}  // namespace trackbed
