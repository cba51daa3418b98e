// The control groups (cgroups) of one attempt: limits for memory and cpu, by version 2 or 1.
//
// The supervisor program shares this file: no Abseil here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trackbed {

class ControlGroup {
 public:
  // Makes the groups `path` ("trackbed/NAME", below the root of each hierarchy) with the limits
  // that are not 0. What is not permitted is left out: see has_memory and has_cpu.
  void Create(const std::string& path, int64_t memory_bytes, int64_t cpu_thousandths);

  bool has_memory() const { return has_memory_; }
  bool has_cpu() const { return has_cpu_; }
  // Files to which a process writes "0" to join.
  const std::vector<std::string>& join_files() const { return join_files_; }
  // True when the kernel killed a process of the group for lack of memory.
  bool RanOutOfMemory() const;
  // Once all processes in it are gone.
  void Remove();

 private:
  void CreateUnified(const std::string& path, int64_t memory_bytes, int64_t cpu_thousandths);
  bool CreateSeparate(const std::string& root, const std::string& path, const std::string& file,
                      int64_t value);

  std::vector<std::string> folders_;
  std::vector<std::string> join_files_;
  std::string memory_events_;  // file with the line "oom_kill N"
  bool has_memory_ = false;
  bool has_cpu_ = false;
};

// Kills what is left in the groups of an attempt whose supervisor is gone, and removes them.
void ClearControlGroup(const std::string& path);

}  // namespace trackbed
