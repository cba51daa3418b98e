// Runs attempts as jobs of a Slurm cluster that exists already, through its REST service slurmrestd
// or its commands sbatch, squeue, sacct and scancel. The attempts' folders lie on a file system
// that this machine and the nodes share, at the same path.
//
// A job runs `trackbed-supervisor`, which does for the attempt what it does for a process of this
// machine: folders, log, masked secrets, outputs, the record of the end. In the attempt's folder
// (process_executor.hpp) lie besides
//
//   slurm      that it goes to Slurm, and how it is submitted; made once, before it is
//   order      what to run, secrets included: readable by its owner only, and removed by the job
//              before the command starts
//   claim      made once, by the job that runs the command; how that ended is added to it
//   slurm.log  what Slurm itself has to say, such as why a job was killed
//   fence      that whatever still runs the command is to end it: made when the attempt was lost
//
// A gang is one job, whose step has a supervisor for each member. The first has its files in the
// attempt's folder, the others in members/NAME below it. `gang` is made once, by the job that runs
// them. Members end together: when one fails, the others are asked to end. Those that the engine
// has placed on one node stay on one, others are on as many nodes. Their addresses are in
// TRACKBED_GANG_ADDRESSES.
//
// Whoever makes `claim` runs the command, so a key runs at most once however often it is submitted,
// by whom, and whatever Slurm requeues. The job is named after key and folder: the next engine
// finds it by that name, and submits again what has never arrived.
//
// Slurm is asked about all jobs by one question, at most once in `poll_interval`. That an attempt
// begins and ends is seen by its files. While Slurm does not answer nothing is concluded.
//
// Starts one thread, with the first attempt; no function waits for Slurm. The thread starts
// programs and waits for these and no others. Installs no signal handlers. An executor is used by
// one thread at a time. After fork() only the parent may go on using it. Jobs go on when the
// executor is destroyed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trackbed/executors/executor.hpp"
#include "trackbed/executors/process_executor.hpp"

namespace trackbed {

// Where jobs go. Empty: as Slurm has it for this user.
struct SlurmPlace {
  std::string partition;
  std::string account;
  std::string quality_of_service;
};

// slurmrestd, of interface v0.0.36 to v0.0.40; the newest that both speak is used.
struct SlurmRestOptions {
  // "unix:///PATH", "http://HOST:PORT" or "https://HOST:PORT"; empty: Slurm's commands are used.
  std::string endpoint;
  // With a token (auth/jwt) it acts for this user; empty: who we are. Without one it acts as the
  // user that it runs as.
  std::string user;
  // Holds the token, and is read before each request: who renews it is heard at once. Empty: the
  // environment's SLURM_JWT, if any.
  std::string token_file;
  std::string ca_file;  // PEM; empty: the system's authorities
};

struct SlurmExecutorOptions {
  SlurmRestOptions rest;
  SlurmPlace place;
  std::map<std::string, SlurmPlace> groups;  // by resource group of the task, instead of `place`
  // More for sbatch, of every job: "--constraint=a100", "--reservation=course".
  std::vector<std::string> arguments;
  // As nodes see it. Empty: where ProcessExecutorOptions looks, on this machine.
  std::string supervisor_path;
  // `automatic` goes by whether bubblewrap works on this machine: nodes must be like it.
  SandboxMode sandbox = SandboxMode::automatic;
  Duration poll_interval = std::chrono::seconds(5);
  // How long a record, or a sign of life, is waited for when Slurm says that a job is over or does
  // not know it: as long as files that a node has written may take to be seen here, and several
  // times the four seconds between two signs.
  Duration record_patience = std::chrono::seconds(15);
  // Names passed on from this process's environment, as in ProcessExecutorOptions.
  std::vector<std::string> inherit_environment;
};

inline constexpr int kMaxSlurmGang = 1024;

class SlurmExecutor : public Executor {
 public:
  // kNotFound when there is no supervisor program or no Slurm command; what is wrong with the
  // options for REST. Does not ask Slurm.
  static StatusOr<std::unique_ptr<SlurmExecutor>> Create(SlurmExecutorOptions options = {});
  ~SlurmExecutor() override;

  // kInvalidArgument     the specification cannot be run: a mount that climbs out by ".."
  // kFailedPrecondition  the folder cannot be written, holds another attempt, was given up, or its
  //                      attempt was started elsewhere
  // kResourceExhausted   the disk is full
  // What Slurm refuses is reported as an attempt that failed to start.
  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  int WakeDescriptor() const override;
  int MaxClusterSize() const override { return kMaxSlurmGang; }

 private:
  class Impl;
  explicit SlurmExecutor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether the attempt in `folder` was given to Slurm, by whichever executor.
bool StartedInSlurm(const std::string& folder);

struct SlurmReport {
  std::string version;  // "slurm 22.05.8"
  std::vector<std::string> partitions;
  // What works but not as one may expect, each with what to do about it.
  std::vector<std::string> warnings;
};

// Asks Slurm about itself, and whether there is options.place; waits for its answers, at most
// `patience` for each. kNotFound when its commands are not installed, or know no cluster;
// kUnavailable says why the controller does not answer.
StatusOr<SlurmReport> ProbeSlurm(const SlurmExecutorOptions& options = {},
                                 Duration patience = std::chrono::seconds(15));

}  // namespace trackbed
