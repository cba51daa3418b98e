// Feeds what brings FastTrack's pipelines in and out. The first byte chooses: a document of
// FastTrack's, or one of ours that is to become one. What comes in
// goes out with nothing lost; what goes out with nothing lost comes in again, and stays as it is.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "fuzz/require.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace {

// Written documents are longer than what was read: no limit is to be met by that.
constexpr size_t kMaxNodes = 10'000;

trackbed::ParsedPipeline Again(const std::string& text) {
  trackbed::ReaderLimits limits;
  limits.max_nodes = 100 * kMaxNodes;
  return trackbed::ReadFastTrack(text, "again", limits);
}

trackbed::Pipeline OutAndIn(const trackbed::Pipeline& pipeline) {
  const trackbed::FastTrackDocument document = trackbed::WriteFastTrack(pipeline);
  Require(document.lost.empty(), "what FastTrack has said is lost", document.yaml);
  trackbed::ParsedPipeline again = Again(document.yaml);
  Require(again.pipeline.has_value(), again.diagnostics.ToString().c_str(), document.yaml);
  return *std::move(again.pipeline);
}

// The first time, what goes without saying is said, and references are spaced as usual.
void CheckStays(const trackbed::Pipeline& pipeline, bool theirs) {
  if (!theirs && !trackbed::WriteFastTrack(pipeline).lost.empty()) return;
  const trackbed::Pipeline once = OutAndIn(pipeline);
  const std::string text = trackbed::WriteFastTrack(once).yaml;
  Require(OutAndIn(once) == once, "the document reads back differently", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  trackbed::ReaderLimits limits;
  limits.max_nodes = kMaxNodes;
  const bool theirs = data[0] % 2 == 0;
  trackbed::LooksLikeFastTrack(text);
  const trackbed::ParsedPipeline parsed =
      theirs ? trackbed::ReadFastTrack(text, "p", limits)
             : trackbed::ReadPipeline(text, "p", trackbed::TextFormat::yaml, limits);
  Require(parsed.pipeline.has_value() != parsed.diagnostics.has_errors(),
          "a pipeline or errors, not both or none", std::string(text));
  if (parsed.pipeline.has_value()) CheckStays(*parsed.pipeline, theirs);
  return 0;
}
