// The specification of a pipeline: plain values, no behaviour.
//
// A Pipeline is what a YAML, JSON or protobuf document says (reader.hpp, codec.hpp), already
// checked by Validate (validate.hpp). The engine treats it as immutable; its version is the hash
// of its canonical form (writer.hpp).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/sparse.hpp"
#include "trackbed/pipeline/text_list.hpp"
#include "trackbed/pipeline/value.hpp"

namespace trackbed {

// A parameter of the pipeline: what a run may be given by name.
struct Parameter {
  std::string name;
  ValueType type = ValueType::string;
  std::optional<Value> default_value;  // none: the run must supply it
  std::string description;
  std::vector<Value> choices;     // empty: any value
  std::optional<double> minimum;  // numbers and integers only
  std::optional<double> maximum;
  friend bool operator==(const Parameter&, const Parameter&) = default;
};

// An environment variable. A value "secret://SOURCE/NAME" is a reference: it is resolved when an
// attempt starts and never stored, printed, hashed or exported.
struct EnvironmentVariable {
  std::string name;
  std::string value;  // may hold ${{ … }} (expression.hpp)
  friend bool operator==(const EnvironmentVariable&, const EnvironmentVariable&) = default;
};

// True for "secret://…".
inline bool IsSecretReference(std::string_view value) { return value.starts_with("secret://"); }

// So much of a named slot: {"cpu", 2}, {"cuda.shares", 1.5}, {"mem", 16 GiB in bytes}.
struct SlotRequest {
  std::string slot;
  Quantity amount;
  friend bool operator==(const SlotRequest&, const SlotRequest&) = default;
};

// Named shared storage of the pipeline, which tasks mount.
struct Folder {
  std::string name;
  std::string path;  // on the host, relative to the pipeline's file; empty: kept by Trackbed
  friend bool operator==(const Folder&, const Folder&) = default;
};

// A folder as a task sees it.
struct Mount {
  std::string folder;
  std::string path;  // absolute, or relative to the task's working folder
  bool read_only = false;
  friend bool operator==(const Mount&, const Mount&) = default;
};

// When a failed task is tried again. The wait before try n+1 is
//   min(max_delay, delay * backoff^(n-1)), lengthened or shortened by up to `jitter` of itself.
struct Retry {
  uint32_t max_attempts = 1;  // 1: no second try
  Duration delay{0};
  Duration max_delay = std::chrono::hours(1);
  float backoff = 2.0F;
  float jitter = 0.0F;  // 0 to 1
  friend bool operator==(const Retry&, const Retry&) = default;
};

// What must hold of a task's dependencies before it may start; once it cannot, the task is skipped.
enum class Trigger : uint8_t {
  all_succeeded,  // every dependency succeeded
  all_done,       // every dependency ended, however
  any_failed,     // every dependency ended and at least one failed
  none_failed,    // every dependency ended, none failed, at least one succeeded
};

enum class TaskKind : uint8_t {
  command,  // a program that ends
  serve,    // a service that stays; described and exported, not run by this version
};

enum class CacheMode : uint8_t {
  automatic,  // reuse results unless the task writes to a shared folder
  on,
  off,
};

// A value that a task hands to later tasks by writing NAME=VALUE to the file $TRACKBED_OUTPUT.
struct Output {
  std::string name;
  ValueType type = ValueType::string;
  friend bool operator==(const Output&, const Output&) = default;
};

// A task that is run many times: once for each batch of the items of a list, which need not be
// known before its dependencies have ended.
struct TaskMap {
  // May hold ${{ … }}. Its value is a JSON list, or a whole number N, which stands for 0 to N-1.
  std::string over;
  uint32_t batch = 1;        // items that one attempt gets
  uint32_t batches = 0;      // instead of `batch`: items are dealt out to so many batches at most
  uint32_t concurrency = 0;  // batches under way at once; 0: as many as slots allow
  friend bool operator==(const TaskMap&, const TaskMap&) = default;
};

// A task that runs nothing and takes no slots: it waits until somebody approves of it, which is its
// success, or rejects it, which is its failure. Fields about attempts have their defaults.
struct Approval {
  std::string message;                 // what is asked; may hold ${{ … }}
  std::vector<std::string> approvers;  // who may answer; empty: anybody
  Duration timeout{0};                 // unanswered for so long, it is rejected; 0: it waits on
  friend bool operator==(const Approval&, const Approval&) = default;
};

// Of pipelines, runs and tasks: from minus to plus this.
inline constexpr int16_t kMaxPriority = 1000;

// Fields that most tasks leave empty or share are Sparse: memory is what bounds the size of a
// pipeline.
struct Task {
  std::string name;
  Sparse<std::string> description;

  // Either a script for /bin/sh (one element, `shell` true) or a program and its arguments.
  // Both may hold ${{ … }}.
  TextList command;
  bool shell = true;

  TaskKind kind = TaskKind::command;
  Trigger trigger = Trigger::all_succeeded;
  CacheMode cache = CacheMode::automatic;
  bool skip = false;           // never run; dependents see it as skipped
  bool allow_failure = false;  // a failure neither fails the run nor stops dependents
  int16_t priority = 0;        // added to that of the run; higher goes first
  uint16_t cluster_size = 1;   // members of the gang
  bool multi_node = false;     // the members are to be on different nodes
  // Devices that keep it to its amounts less strictly are refused.
  Enforcement enforcement = Enforcement::accounting;
  Quantity shared_memory;  // bytes of /dev/shm in a container; 0: as the container engine has it

  TextList dependencies;           // names of tasks, in the order of /pipeline/input1..N
  Sparse<std::string> when;        // a condition (expression.hpp); empty: always
  CopyOnWrite<TaskMap> map;        // none: the task runs once
  CopyOnWrite<Approval> approval;  // none: the task runs something

  Sparse<std::vector<EnvironmentVariable>> environment;  // sorted by name
  Sparse<std::vector<SlotRequest>> resources;            // sorted by slot; empty: one cpu
  Sparse<std::vector<Mount>> mounts;
  Sparse<std::vector<Output>> outputs;     // sorted by name
  Sparse<std::vector<std::string>> files;  // parts of `source` the task sees; empty: all of it
  Retry retry;
  Duration timeout{0};                               // of one attempt; 0: none
  Duration grace_period = std::chrono::seconds(10);  // from the polite stop to the kill
  Sparse<std::string> image;                         // for container executors; others record it
  Sparse<std::string> resource_group;
  Sparse<std::map<std::string, std::string>> labels;  // free metadata
  friend bool operator==(const Task&, const Task&) = default;
};

struct Pipeline {
  std::string name;
  std::string description;
  std::map<std::string, std::string> labels;
  int16_t priority = 0;  // of its runs, unless they say otherwise; higher goes first
  std::string source;    // folder of the code, relative to the pipeline's file; empty: none
  std::vector<Parameter> parameters;             // sorted by name
  std::vector<EnvironmentVariable> environment;  // for every task; a task's own wins; sorted
  std::vector<Folder> folders;                   // sorted by name
  std::vector<Task> tasks;                       // in the order of the document
  // Files to publish when the run succeeds: published name -> "TASK/path in its outputs".
  std::map<std::string, std::string> results;
  friend bool operator==(const Pipeline&, const Pipeline&) = default;
};

}  // namespace trackbed
