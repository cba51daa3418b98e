// Feeds the readers of pipelines. The first byte chooses the form: YAML, JSON or FastTrack's.
// Nothing may crash or hang, and what is accepted must survive every way of writing it.
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace {

void CheckText(const trackbed::Pipeline& pipeline, const std::string& text,
               trackbed::TextFormat format) {
  const trackbed::ParsedPipeline again = trackbed::ReadPipeline(text, "again", format);
  Require(again.pipeline.has_value(), again.diagnostics.ToString().c_str(), text);
  Require(*again.pipeline == pipeline, "the text reads back differently", text);
}

void CheckRoundTrips(const trackbed::Pipeline& pipeline) {
  CheckText(pipeline, trackbed::WriteYaml(pipeline), trackbed::TextFormat::yaml);
  CheckText(pipeline, trackbed::WriteJson(pipeline), trackbed::TextFormat::json);
  CheckText(pipeline, trackbed::CanonicalForm(pipeline), trackbed::TextFormat::json);
  const std::string bytes = trackbed::EncodePipeline(pipeline);
  const auto decoded = trackbed::DecodePipeline(bytes);
  Require(decoded.ok() && *decoded == pipeline, "the bytes decode differently", bytes);
}

trackbed::ParsedPipeline Read(uint8_t form, std::string_view text,
                              const trackbed::ReaderLimits& limits) {
  switch (form % 3) {
    case 0:
      return trackbed::ReadPipeline(text, "p", trackbed::TextFormat::yaml, limits);
    case 1:
      return trackbed::ReadPipeline(text, "p", trackbed::TextFormat::json, limits);
    default:
      trackbed::LooksLikeFastTrack(text);
      return trackbed::ReadFastTrack(text, "p", limits);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  trackbed::ReaderLimits limits;
  limits.max_nodes = 10'000;
  const trackbed::ParsedPipeline parsed = Read(data[0], text, limits);
  Require(parsed.pipeline.has_value() != parsed.diagnostics.has_errors(),
          "a pipeline or errors, not both or none", std::string(text));
  if (parsed.pipeline.has_value()) CheckRoundTrips(*parsed.pipeline);

  // The same bytes as protobuf must at least do no harm.
  const auto decoded = trackbed::DecodePipeline(text);
  if (decoded.ok()) {
    trackbed::Diagnostics diagnostics;
    trackbed::ValidatePipeline(*decoded, {}, &diagnostics);
    trackbed::CanonicalForm(*decoded);
  }
  return 0;
}
