// Finding and signalling processes without ever hitting a stranger: a process is named by its id
// and start time, and is signalled through a descriptor opened before the two were compared.
//
// The supervisor program shares this file: no Abseil here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace trackbed {

struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_time = 0;
};

// All processes below `root`, at this moment.
std::vector<ProcessIdentity> Descendants(pid_t root);

// A descriptor of the process, readable once it ended; -1 with errno, ESRCH when it is gone.
int OpenProcess(const ProcessIdentity& process);

// False with errno when the process could not be opened.
bool SignalProcess(const ProcessIdentity& process, int signal);
// The same on a descriptor from OpenProcess; 0 or errno.
int SignalDescriptor(int process_descriptor, int signal);

// Kills all processes whose environment has the entry `entry` ("NAME=VALUE"), until none is left or
// the tries are used up.
void KillByEnvironment(const std::string& entry);

}  // namespace trackbed
