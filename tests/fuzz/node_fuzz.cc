// Feeds the reader of node descriptions. The first byte chooses the form: YAML or JSON. Nothing may
// crash or hang, and what is accepted is valid and survives being written.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.hpp"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/node_writer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  trackbed::ReaderLimits limits;
  limits.max_nodes = 10'000;
  const auto format = data[0] % 2 == 0 ? trackbed::TextFormat::yaml : trackbed::TextFormat::json;
  const trackbed::ParsedNode parsed = trackbed::ReadNode(text, "n", format, limits);
  Require(parsed.node.has_value() != parsed.diagnostics.has_errors(),
          "a node or errors, not both or none", std::string(text));
  if (!parsed.node.has_value()) return 0;
  Require(trackbed::ValidateNode(*parsed.node).ok(), "what was read is not valid",
          std::string(text));
  const std::string written = trackbed::WriteNode(*parsed.node);
  const trackbed::ParsedNode again =
      trackbed::ReadNode(written, "again", trackbed::TextFormat::yaml);
  Require(again.node.has_value(), again.diagnostics.ToString().c_str(), written);
  Require(*again.node == *parsed.node, "the text reads back differently", written);
  return 0;
}
