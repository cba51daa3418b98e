// The commands of the program. Each returns its exit code (exit_code.hpp), writes what was asked
// for to standard output and what went wrong to standard error.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/session.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed::cli {

// What the commands that drive a run have in common.
struct DriveOptions {
  std::vector<std::string> slots;  // NAME=AMOUNT
  std::string sandbox = "auto";    // auto, never, always
  ExecutorChoice executor;
  bool preempt = false;  // SessionOptions::preempt
  std::string results;   // folder for the results; empty: below the home folder
  bool json = false;
  bool plain = false;
  bool wait = false;
};

struct RunOptions : DriveOptions {
  std::string file;
  std::vector<std::string> parameters;  // NAME=VALUE
  bool dry_run = false;
  bool no_cache = false;
  std::optional<int> priority;
};
int RunPipeline(const CommonOptions& common, const RunOptions& options);

struct ContinueOptions : DriveOptions {
  std::string run;
  std::vector<std::string> from;  // retry: tasks
};
int ResumeRun(const CommonOptions& common, const ContinueOptions& options);
int RetryRun(const CommonOptions& common, const ContinueOptions& options);
int CancelRun(const CommonOptions& common, const std::string& run, const ExecutorChoice& executor);

struct DecideOptions {
  std::string run;
  std::string task;
  bool approve = true;  // else reject
  std::string by;       // empty: the login name
  std::string comment;
  ExecutorChoice executor;
};
int DecideTask(const CommonOptions& common, const DecideOptions& options);

int ListRuns(const CommonOptions& common, size_t limit, bool json);
int ShowRun(const CommonOptions& common, const std::string& run, bool json);
int PrintEvents(const CommonOptions& common, const std::string& run, uint64_t from);
int ExplainCache(const CommonOptions& common, const std::string& run, const std::string& task);
int ExplainWait(const CommonOptions& common, const std::string& run, const std::string& task,
                bool json);

struct LogOptions {
  std::string member = "main1";  // of a gang
  std::string run;
  std::string task;
  uint32_t attempt = 0;  // 0: the latest
  bool follow = false;
};
int ShowLog(const CommonOptions& common, const LogOptions& options);

// The nodes that runs may use. A file describes one or several.
int AddNodes(const CommonOptions& common, const std::vector<std::string>& files);
int ListNodes(const CommonOptions& common, bool json);
int DrainNodes(const CommonOptions& common, const std::vector<std::string>& names, bool drained);
int RemoveNodes(const CommonOptions& common, const std::vector<std::string>& names);

// Describes this machine, or checks a description and writes it in canonical form.
int DescribeNode(const std::string& file, const std::string& gpu_slot);

// Checks what attempts need of this machine and of the container engine.
int Diagnose(const CommonOptions& common, const ExecutorChoice& executor);

int ValidateFile(const std::string& file, bool json);
int DrawGraph(const std::string& file, const std::string& format);
int ImportFile(const std::string& file, const std::string& output);
int ExportPipeline(const CommonOptions& common, const std::string& what, const std::string& format,
                   const std::string& output);

// Says whether a store is sound. `file` empty: that of the home folder.
int CheckDatabase(const CommonOptions& common, const std::string& file);
// Copies the store of the home folder to the new file `file`.
int BackUpDatabase(const CommonOptions& common, const std::string& file);

struct SimulateOptions {
  std::string format = "openb";
  std::string nodes;
  std::string workload;
  std::string policy = "default";
  double inflate = 1.3;
  std::string seeds = "42-51";  // FIRST-LAST, or numbers joined by commas
  bool learn = false;           // the policy is not told the mix of work beforehand
  int64_t migrations = 0;       // for each 1,000 arrivals
  bool json = false;
  // Of all but openb, which has no times:
  std::string order = "fifo";
  std::string backfill = "easy";
  bool preempt = false;
  bool exact = false;
  std::string csv;   // file to write, a line a job
  std::string html;  // file to write, a report
};
int Simulate(const SimulateOptions& options);
int SimulateTrace(const SimulateOptions& options);

// Prints an error to standard error and gives the exit code for it.
int Fail(const Status& status);

// Prints what a file's reader found, if anything, to standard error.
void PrintDiagnostics(const Diagnostics& diagnostics);

// Reads a pipeline; on mistakes prints them all and returns none. Warnings are printed too.
std::optional<Pipeline> LoadOrComplain(const std::string& file);

}  // namespace trackbed::cli
