// Plans a view of the file system in which folders appear at given absolute paths, for bubblewrap.
//
// The view has a root of its own in memory that shows the machine's top-level entries. Where a
// mount point does not exist on the machine, the nearest existing folder above it is rebuilt the
// same way: a folder in memory that shows the entries of the real one beside the mount. So nothing
// is ever made on the machine's disk, except mount points inside a folder that is itself mounted.
#pragma once

#include <string>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

struct SandboxMount {
  std::string path;       // absolute
  std::string host_path;  // empty: an empty folder
  bool read_only = false;
};

// The arguments for bubblewrap, without the program to run. Later mounts at one path win.
// `working_folder` and `needed` are host paths that must stay visible: kInvalidArgument when a
// mount would hide one, or when a mount replaces "/", /dev, /proc or /sys.
StatusOr<std::vector<std::string>> PlanSandbox(const std::vector<SandboxMount>& mounts,
                                               const std::string& working_folder,
                                               const std::vector<std::string>& needed);

}  // namespace trackbed
