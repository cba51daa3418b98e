#pragma once

#include <optional>
#include <string>
#include <utility>

#include "support/catch.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {

// The pipeline of a text that has nothing wrong.
inline Pipeline MustRead(const std::string& text, TextFormat format = TextFormat::yaml) {
  ParsedPipeline parsed = ReadPipeline(text, "", format);
  INFO(parsed.diagnostics.ToString());
  REQUIRE(parsed.pipeline.has_value());
  return *std::move(parsed.pipeline);
}

}  // namespace trackbed
