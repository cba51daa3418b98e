// Starts the command of an attempt.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace trackbed {

// A null-terminated table of pointers into `texts`, as execve wants it.
std::vector<char*> PointerTable(const std::vector<std::string>& texts);

// The file that `name` stands for: itself when it holds a "/" (whether it may be executed is seen
// when it is), else what PATH in `environment` leads to. Empty, with errno, when that is nothing.
std::string FindProgram(const std::string& name, const std::vector<std::string>& environment);

// "NAME=VALUE" of each variable of this process.
std::vector<std::string> OwnEnvironment();

struct SpawnRequest {
  std::string program;
  std::vector<std::string> arguments;    // the first is the program's name
  std::vector<std::string> environment;  // "NAME=VALUE"
  int output = -1;                       // becomes stdout and stderr; -1: those of this process
  std::vector<std::string> join_files;   // control groups to join
  int64_t address_space_bytes = 0;       // limit; 0: none
  // The program is part of our machinery: signals that ask the attempt to end are not for it.
  bool shielded = false;
};

// Runs the program as a child in a process group of its own; it is killed when this process dies.
// 0, or the errno that kept it from starting: then nothing of it ran.
int Spawn(const SpawnRequest& request, pid_t* child);

// Blocks every signal for this process.
void BlockSignals();

}  // namespace trackbed
