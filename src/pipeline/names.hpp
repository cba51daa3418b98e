// What names and paths in a pipeline may look like, and what it calls things.
#pragma once

#include <string>
#include <string_view>

#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

inline constexpr size_t kMaxNameLength = 128;

// Each returns "" for what is fine, else what was expected: "a name of letters, …".

// Of pipelines, tasks and folders: [A-Za-z0-9][A-Za-z0-9._-]*.
std::string ExpectedOfName(std::string_view name);
// Of parameters and outputs, which stand in expressions: [A-Za-z0-9_-]+.
std::string ExpectedOfReferenceName(std::string_view name);
// Of environment variables: [A-Za-z_][A-Za-z0-9_]*, and not TRACKBED_*, which Trackbed sets.
std::string ExpectedOfVariableName(std::string_view name);
// Keys of labels: short, without control characters.
std::string ExpectedOfLabelKey(std::string_view key);
// Of a path that stays within the folder it is relative to: not absolute, no "..".
std::string ExpectedOfInnerPath(std::string_view path);

// Whether ".." is a part of the path.
bool LeavesFolder(std::string_view path);
// The path without "." parts, doubled slashes and slashes at the end: equal for equal places.
std::string NormalizePath(std::string_view path);

// "all_succeeded", …
std::string_view TriggerName(Trigger trigger);

}  // namespace trackbed
