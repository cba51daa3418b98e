// The supervisor program's other role: inside a sandbox, between bubblewrap and the command.
//
// Bubblewrap reports a signal as an exit code, and a program that does not exist as a failure of
// its own. This process stands where it can see the difference and tells the supervisor.
#pragma once

#include <string>

namespace trackbed {

inline constexpr const char* kSandboxedFlag = "--sandboxed";

// What it writes to the status descriptor, at most three of them.
struct SandboxedWord {
  // From `starting` on the command may run: it can do much before this process goes on and says so.
  enum class Kind : int { starting, running, not_started, ended } kind = Kind::starting;
  int value = 0;  // errno when not started; the status of waitpid when ended
};

// `trackbed-supervisor --sandboxed STATUS_DESCRIPTOR PROGRAM [ARGUMENT…]`: the exit code.
int RunSandboxed(int argument_count, char** arguments);

}  // namespace trackbed
