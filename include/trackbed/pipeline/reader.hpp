// Reads pipelines from YAML and JSON, telling where each mistake is.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

enum class TextFormat { yaml, json };

// Limits that hostile input meets. A document over a limit is refused with its position.
struct ReaderLimits {
  size_t max_bytes = 16u << 20;
  int max_depth = 64;            // nesting of maps and sequences
  size_t max_nodes = 4'000'000;  // values after aliases are expanded
  size_t max_aliased = 400'000;  // … of which so many stand there by aliases
};

struct ParsedPipeline {
  std::optional<Pipeline> pipeline;  // none when diagnostics.has_errors()
  // Where each task stands in the file, by index into pipeline->tasks.
  std::vector<Position> task_positions;
  Diagnostics diagnostics;
};

// Parses and validates (validate.hpp) one document in Trackbed's own form. Every mistake is
// reported in one go. `file` is only printed. Thread-safe.
ParsedPipeline ReadPipeline(std::string_view text, std::string file, TextFormat format,
                            const ReaderLimits& limits = {});

// Reads a file in any form that Trackbed knows, told apart by content: its own YAML, its own JSON
// (name ends in ".json"), or Backend.AI FastTrack's YAML (fasttrack.hpp). A file that cannot be
// read is one diagnostic. Refuses what is not a regular file.
ParsedPipeline LoadPipeline(const std::string& path, const ReaderLimits& limits = {});

// Checks the meaning of a pipeline that was built in code: names, unknown and duplicate tasks,
// cycles (named in order), conditions and ${{ … }} that refer to nothing, ranges, mounts, results.
// `positions` may be empty.
void ValidatePipeline(const Pipeline& pipeline, const std::vector<Position>& task_positions,
                      Diagnostics* diagnostics);

// Takes the values given for a run (text, by parameter name) and the defaults, and returns the
// value of every parameter. kInvalidArgument lists every unknown, missing or ill-typed one.
StatusOr<std::map<std::string, Value>> BindParameters(
    const Pipeline& pipeline, const std::map<std::string, std::string>& given);

}  // namespace trackbed
