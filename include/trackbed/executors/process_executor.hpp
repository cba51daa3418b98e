// Runs attempts as processes of this machine.
//
// Attempts are run by small helper processes, `trackbed-supervisor`, each one attempt at a time.
// They outlive the engine: kill -9 of the engine leaves attempts running, and the next engine finds
// them again by the file `claim` in the attempt's folder. It says who runs the attempt: the
// process, its start time, the boot. Made once, with room on the disk for what is added to it once:
// how the attempt ended.
//
// Whoever makes `claim` runs the command; every other helper that is told to run the same attempt
// leaves it alone. So an attempt runs at most once however often, and by however many engines,
// Start is called. A helper that has run one attempt is kept for the next; it ends when its
// executor does, after some seconds without work, and after an attempt that had secrets.
//
// Nothing outlives its attempt: when the command ends, all processes it left behind are killed.
// Resource limits, priority and umask of a command are those that this process had when the helper
// was started.
//
// Needs Linux 5.4 or later. Starts no threads, installs no signal handlers, and waits for no
// process but those that it starts, which are gone in a moment: helpers are no children of this
// process. An executor is used by one thread at a time; the process may have as many as it likes.
// After fork() only the parent may go on using it. Attempts that still run when the executor is
// destroyed go on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trackbed/executors/executor.hpp"

namespace trackbed {

// Whether attempts get a file system view of their own (by bubblewrap), in which absolute mount
// paths and /pipeline/… exist without touching the machine's root. The view is for placing folders,
// not for guarding the machine: everything else of the file system stays as it is.
enum class SandboxMode : uint8_t {
  automatic,  // for attempts with absolute mounts or `pipeline_paths`, where bubblewrap works;
              // elsewhere such mounts become links in the working folder, and the log says so
  never,
  always,  // for every attempt; Start fails where bubblewrap does not work
};

// Whether "mem" and "cpu" are enforced by control groups (version 1 or 2).
enum class CgroupMode : uint8_t {
  automatic,  // where permitted; elsewhere "cpu" is advisory and "mem" limits address space, but is
              // advisory as well for attempts with accelerators, whose drivers reserve a lot of it
  never,
};

struct ProcessExecutorOptions {
  // Empty: $TRACKBED_SUPERVISOR, else `trackbed-supervisor` beside the running program, else
  // ../libexec/trackbed/trackbed-supervisor from there.
  std::string supervisor_path;
  SandboxMode sandbox = SandboxMode::automatic;
  CgroupMode cgroup_mode = CgroupMode::automatic;
  // Group under which those of attempts are made, below the root of each hierarchy. A host that is
  // itself limited by a group names one inside it to have attempts count there.
  std::string cgroup_parent = "trackbed";
  // Names passed on from this process's environment. Always passed, where set: PATH, HOME, USER,
  // LOGNAME, LANG, LC_ALL and TZ. Read once, by Create.
  std::vector<std::string> inherit_environment;
};

class ProcessExecutor : public Executor {
 public:
  // kNotFound when there is no supervisor program.
  static StatusOr<std::unique_ptr<ProcessExecutor>> Create(ProcessExecutorOptions options = {});
  ~ProcessExecutor() override;

  // kInvalidArgument     the specification cannot be run (a mount that climbs out by "..", a file
  //                      that the source does not have)
  // kFailedPrecondition  the folder cannot be written, holds another attempt, or was given up
  // kResourceExhausted   the disk is full; where that is found out later, the attempt is reported
  // as
  //                      one that failed to start
  // kUnavailable         out of processes or descriptors just now
  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  int WakeDescriptor() const override;

  // Whether attempts can have a file system view of their own. Tries it out on the first call.
  bool SandboxWorks();

 private:
  class Impl;
  explicit ProcessExecutor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trackbed
