// Small helpers around paths and folders of the host, with errors as Status.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

// The code that fits the errno of an operation on a file or process.
Status HostStatus(int error_number, std::string_view what);

// Makes the folder and those above it; fine when it is there.
Status MakeFolders(const std::string& path);

bool IsFolder(const std::string& path);      // links followed
bool IsRealFolder(const std::string& path);  // a link to a folder is none
bool PathExists(const std::string& path);    // links not followed

// The names in a folder, sorted.
StatusOr<std::vector<std::string>> ListFolder(const std::string& path);

// The parts of a path, "." and empty ones dropped. kInvalidArgument for "..": `what` is named.
StatusOr<std::vector<std::string>> PathParts(std::string_view path, std::string_view what);
// "a/b", for absolute paths "/a/b".
std::string JoinParts(const std::vector<std::string>& parts, bool absolute);

// True when `path` is `folder` or below it; both normalised.
bool IsWithin(std::string_view path, std::string_view folder);

}  // namespace trackbed
