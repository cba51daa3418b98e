// trackbed-supervisor: runs one attempt and records how it ended. Started by ProcessExecutor, never
// by hand; see process_executor.hpp for the records it shares with the engine.
//
//   trackbed-supervisor FOLDER     the attempt's folder
//   trackbed-supervisor --check    does nothing, successfully
#include <string.h>
#include <unistd.h>

#include "executors/supervisor/attempt.hpp"
#include "executors/supervisor/sandboxed.hpp"

int main(int argument_count, char** arguments) {
  if (argument_count >= 2 && strcmp(arguments[1], trackbed::kSandboxedFlag) == 0) {
    return trackbed::RunSandboxed(argument_count, arguments);
  }
  if (argument_count != 2) return 64;
  if (strcmp(arguments[1], "--check") == 0) return 0;
  if (chdir(arguments[1]) != 0) return 66;
  const int code = trackbed::Attempt().Run();
  _exit(code);  // nothing is left to be flushed or destroyed
}
