// trackbed-supervisor: runs attempts, one at a time, and records how they ended. Started by
// ProcessExecutor, or in a job of SlurmExecutor, never by hand; see process_executor.hpp for the
// records it shares with the engine.
//
//   trackbed-supervisor --serve        takes orders from the socket kOrdersDescriptor
//   trackbed-supervisor --job FOLDER   runs the attempt in FOLDER, as a job of a cluster
//   trackbed-supervisor --gang FOLDER COUNT PROCESSORS
//                                      starts the members of the gang in FOLDER, likewise
//   trackbed-supervisor --member FOLDER
//                                      is one of these
//   trackbed-supervisor --check        does nothing, successfully
#include <string.h>
#include <unistd.h>

#include "executors/attempt_records.hpp"
#include "executors/supervisor/gang.hpp"
#include "executors/supervisor/job.hpp"
#include "executors/supervisor/sandboxed.hpp"
#include "executors/supervisor/station.hpp"

int main(int argument_count, char** arguments) {
  if (argument_count >= 2 && strcmp(arguments[1], trackbed::kSandboxedFlag) == 0) {
    return trackbed::RunSandboxed(argument_count, arguments);
  }
  if (argument_count == 3 && strcmp(arguments[1], trackbed::kJobFlag) == 0) {
    _exit(trackbed::RunJob(arguments[2]));
  }
  if (argument_count == 3 && strcmp(arguments[1], trackbed::kMemberFlag) == 0) {
    _exit(trackbed::RunMember(arguments[2]));
  }
  if (argument_count == 5 && strcmp(arguments[1], trackbed::kGangFlag) == 0) {
    return trackbed::RunGang(arguments[0], arguments[2], arguments[3], arguments[4]);
  }
  if (argument_count != 2) return 64;
  if (strcmp(arguments[1], "--check") == 0) return 0;
  if (strcmp(arguments[1], trackbed::kServeFlag) != 0) return 64;
  const int code = trackbed::Serve();
  _exit(code);  // nothing is left to be flushed or destroyed
}
