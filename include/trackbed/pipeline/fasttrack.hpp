// The pipeline form of Backend.AI FastTrack: read, and written back to the same meaning.
#pragma once

#include <string>
#include <string_view>

#include "trackbed/pipeline/reader.hpp"

namespace trackbed {

// Parses a pipeline exported by FastTrack; both known generations of the form (25.6 and 26.4).
//
// Fields that Trackbed has no use for are kept as labels "fasttrack/…" of the pipeline or task, so
// that WriteFastTrack restores them, and are named in a warning when they change what a run does.
// Nothing is dropped silently; an unknown field is an error with its position.
ParsedPipeline ReadFastTrack(std::string_view text, std::string file,
                             const ReaderLimits& limits = {});

// True when a YAML document looks like FastTrack's form rather than Trackbed's own.
bool LooksLikeFastTrack(std::string_view text);

struct FastTrackDocument {
  std::string yaml;
  // What the form cannot say (conditions, outputs, …), one line each: "task \"x\": when".
  std::vector<std::string> lost;
};

// Writes a pipeline in FastTrack's 25.6 form.
FastTrackDocument WriteFastTrack(const Pipeline& pipeline);

}  // namespace trackbed
