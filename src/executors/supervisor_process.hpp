// Starting supervisor programs, and finding out whether bubblewrap works.
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

// `given`, else the places named in ProcessExecutorOptions. kNotFound names where it looked.
StatusOr<std::string> FindSupervisor(const std::string& given);

// The program `name` in the host's PATH; empty: none.
std::string FindInPath(const std::string& name);

// Starts programs detached from this process: in a session of their own, all signals blocked and at
// their defaults, without environment, nothing inherited but /dev/null as standard input and output
// and at most one descriptor.
class DetachedSpawner {
 public:
  DetachedSpawner();
  ~DetachedSpawner();
  DetachedSpawner(const DetachedSpawner&) = delete;
  DetachedSpawner& operator=(const DetachedSpawner&) = delete;

  Status Prepare();

  // `arguments` are complete, the program's name first. The program gets `inherited`, if that is
  // not -1, as kOrdersDescriptor. It must be at least kLowestDescriptor.
  static constexpr int kLowestDescriptor = 10;
  StatusOr<pid_t> Spawn(const std::string& program, const std::vector<std::string>& arguments,
                        int inherited) const;

 private:
  posix_spawnattr_t attributes_;
};

// Tries bubblewrap with a view like those of attempts. Takes some milliseconds.
bool BubblewrapWorks(const std::string& bubblewrap, const std::string& supervisor,
                     const DetachedSpawner& spawner);

}  // namespace trackbed
