// What programs in other languages ask about pipelines, as JSON.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// {"file":…,"valid":true,"version":"sha256:…","diagnostics":[{"severity":…,"line":…,…}]}.
// `pipeline` is null when there are errors.
std::string CheckToJson(const Diagnostics& diagnostics, const Pipeline* pipeline);

// An array with an object a task: its name, what it depends on, its level in the graph, what it
// needs, where it stands (when `positions` are given), and its fields under "task".
std::string TasksToJson(const Pipeline& pipeline, const Graph& graph,
                        const std::vector<Position>& positions);

// Reads {"alpha": 0.1, "name": "x"} for BindParameters; empty text is {}. kInvalidArgument.
StatusOr<std::map<std::string, std::string>> ReadParameters(std::string_view json);
// The other way round.
std::string ValuesToJson(const std::map<std::string, Value>& values);

}  // namespace trackbed
