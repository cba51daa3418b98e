// What happens to a run, as an append-only sequence of events. The state of a run is the fold of
// its events (run_state.hpp); nothing else is stored about it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/value.hpp"

namespace trackbed {

// "digits-7kq2m4": the pipeline's name and a random ending; unique within a store. The run of a map
// is called by the attempt of the task whose map it is: "digits-7kq2m4/score/1".
using RunId = std::string;

inline bool IsMapRun(std::string_view id) { return id.find('/') != std::string_view::npos; }

inline constexpr TaskIndex kNoTask = UINT32_MAX;

// Numbers are stored: only ever add.
enum class EventType : uint8_t {
  run_submitted = 1,  // detail: RunSubmitted
  run_resumed = 2,    // an engine took the run up again; clears a cancellation under way
  run_cancel_requested = 3,
  run_retried = 4,         // detail: RunRetried
  run_finished = 5,        // detail: RunFinished
  attempt_intended = 10,   // durable before the executor is asked; detail: AttemptIntended
  attempt_succeeded = 12,  // detail: AttemptEnded
  attempt_failed = 13,     // detail: AttemptEnded
  attempt_cancelled = 14,  // detail: AttemptEnded
  // Durable before the attempt is told to stop for another task; detail: AttemptPreempting. Unless
  // it succeeds or takes too long all the same, its end is
  attempt_preempting = 15,
  attempt_preempted = 16,  // … and its task waits for its turn again; detail: AttemptEnded
  attempt_unknown = 17,    // its node does not answer; detail: AttemptUnknown
  attempt_known = 18,      // its node answers again
  task_skipped = 20,       // detail: TaskSkipped
  task_cached = 21,        // detail: TaskCached
  task_failed = 22,        // before any attempt, for a reason of its own; detail: AttemptEnded
  // Of a task with an approval, in place of attempts; the number of the event's attempt says which
  // time it is that it asks. It waits from the one to the other.
  approval_requested = 30,  // detail: ApprovalRequested
  approval_decided = 31,    // detail: ApprovalDecided
};

// "run_submitted", …
std::string_view ToString(EventType type);

struct Event {
  Time time;
  TaskIndex task = kNoTask;
  uint32_t attempt = 0;  // from 1; 0 when the event is not about an attempt
  EventType type = EventType::run_submitted;
  std::string detail;  // one of the structs below, encoded; may be empty: all defaults

  friend bool operator==(const Event&, const Event&) = default;
};

// A folder of the pipeline, bound to a place on this host for one run.
struct FolderBinding {
  std::string name;
  std::string host_path;
  std::string digest;  // of its content when the run was submitted; empty: not taken
  friend bool operator==(const FolderBinding&, const FolderBinding&) = default;
};

// The code of the pipeline as it was when the run was submitted.
struct SourceBinding {
  std::string host_path;  // an immutable copy; empty: the pipeline has no source
  std::string digest;
  std::map<std::string, std::string> files;  // relative path -> digest
  friend bool operator==(const SourceBinding&, const SourceBinding&) = default;
};

// What a task left for others, and where.
struct TaskResult {
  std::map<std::string, Value> outputs;
  std::string digest;  // of its output files; empty: none
  RunId run;           // whose attempt made it …
  std::string task;
  uint32_t attempt = 0;
  friend bool operator==(const TaskResult&, const TaskResult&) = default;
};

// What the run of a map is about: a task of another run of the same pipeline, with all that it
// takes from there. Task N of it is called "N" and is that task, once, with the items of batch N.
struct MapBinding {
  // A task that the mapped one depends on or refers to, as it was then.
  struct Upstream {
    std::string name;
    std::string state;
    bool input = false;                // its output folder is one of the inputs
    std::optional<TaskResult> result;  // with those outputs only that are referred to
    friend bool operator==(const Upstream&, const Upstream&) = default;
  };

  std::string task;
  uint64_t count = 0;                // of the items
  std::vector<std::string> items;    // each as JSON
  bool numbered = false;             // the items are 0 to count - 1, and `items` is empty
  uint64_t batch = 1;                // items of each batch but the last, which may have fewer
  uint32_t concurrency = 0;          // batches under way at once; 0: no limit
  bool fresh = false;                // nothing is taken from the cache
  std::string cache_off;             // why what the task mounts rules out reuse; empty: it does not
  std::vector<std::string> outputs;  // that the task declares
  std::vector<Upstream> upstream;    // inputs first, in order
  friend bool operator==(const MapBinding&, const MapBinding&) = default;

  uint64_t batches() const { return (count + batch - 1) / batch; }
};

struct RunSubmitted {
  std::map<std::string, Value> parameters;
  uint64_t seed = 0;  // of everything random about the run
  SourceBinding source;
  std::vector<FolderBinding> folders;
  bool use_cache = true;
  int32_t priority = 0;           // of its tasks, on top of their own
  std::string tenant;             // whom it is for: "research/vision/ada"; empty: everybody
  std::optional<MapBinding> map;  // of the run of a map
  friend bool operator==(const RunSubmitted&, const RunSubmitted&) = default;
};

enum class RunStatus : uint8_t { running = 0, succeeded = 1, failed = 2, cancelled = 3 };
std::string_view ToString(RunStatus status);

struct RunFinished {
  RunStatus status = RunStatus::succeeded;
  friend bool operator==(const RunFinished&, const RunFinished&) = default;
};

struct RetriedBatch {
  TaskIndex task = 0;
  TaskIndex batch = 0;  // of its map
  friend bool operator==(const RetriedBatch&, const RetriedBatch&) = default;
};

struct RunRetried {
  std::vector<TaskIndex> tasks;  // these and all that depend on them start afresh
  // Of some of `tasks`, which have maps: only these batches do, and those that failed.
  std::vector<RetriedBatch> batches = {};
  friend bool operator==(const RunRetried&, const RunRetried&) = default;
};

// What a cache key is made of, in order: ("command", "python3 train.py"), ("input.split", "sha…").
using CacheFields = std::vector<std::pair<std::string, std::string>>;

// A part of one device, or of the processors or the memory of one NUMA node.
struct HeldSlot {
  std::string slot;
  std::string device;  // as the node's description names it; "" of cpu and mem without NUMA nodes
  Quantity amount;
  friend bool operator==(const HeldSlot&, const HeldSlot&) = default;
};

// One member of a gang.
struct IntendedMember {
  std::string node;
  std::vector<HeldSlot> slots;  // as those of an attempt
  friend bool operator==(const IntendedMember&, const IntendedMember&) = default;
};

struct AttemptIntended {
  std::string cache_key;  // empty: the task does not use the cache …
  std::string cache_off;  // … for this reason
  CacheFields cache_fields;
  std::vector<HeldSlot> slots;  // all that it holds; empty when there is no device among it
  std::string node;             // that it runs on; empty: the first, or only one, of the engine
  std::vector<IntendedMember> gang;  // of a gang, in place of node and slots: main1, sub1, …
  RunId map_run = {};                // of a task with a map: the run of its batches
  friend bool operator==(const AttemptIntended&, const AttemptIntended&) = default;
};

enum class FailureReason : uint8_t {
  none = 0,
  exit_code = 1,  // the command ended with a code other than 0
  signal = 2,     // the command was ended by a signal
  timeout = 3,
  out_of_memory = 4,
  failed_to_start = 5,
  lost = 6,               // it vanished; tried again without counting as a try
  bad_output = 7,         // its outputs are not what it declares
  bad_specification = 8,  // a template or condition could not be evaluated, a secret not resolved
  cancelled = 9,          // of a map: the run of its batches was cancelled, and not this one
  rejected = 10,          // of an approval
  preempted = 11,         // it was stopped for another; tried again without counting as a try
};
std::string_view ToString(FailureReason reason);

// How an attempt ended.
struct AttemptEnded {
  FailureReason reason = FailureReason::none;
  int exit_code = 0;
  int signal = 0;
  std::string message;
  std::map<std::string, Value> outputs;
  std::string output_digest;
  std::string image_digest;  // of what it ran in: "NAME@sha256:…", or an id; empty: no image
  Duration wall_time{0};
  Duration cpu_time{0};
  int64_t max_rss_bytes = 0;
  Time retry_at{};  // of a failed attempt that is to be followed by another; epoch: no other
  friend bool operator==(const AttemptEnded&, const AttemptEnded&) = default;
};

// For whom an attempt is stopped.
struct AttemptPreempting {
  enum class Cause : uint8_t {
    priority = 0,  // of a higher priority
    reclaim = 1,   // of a tenant below its guarantee
  };
  RunId run;
  std::string task;
  Cause cause = Cause::priority;
  friend bool operator==(const AttemptPreempting&, const AttemptPreempting&) = default;
};
std::string_view ToString(AttemptPreempting::Cause cause);

struct ApprovalRequested {
  std::string message;  // what is asked
  friend bool operator==(const ApprovalRequested&, const ApprovalRequested&) = default;
};

struct ApprovalDecided {
  bool approved = false;  // else rejected
  std::string by;         // who said so; empty: nobody did in time
  std::string comment;
  friend bool operator==(const ApprovalDecided&, const ApprovalDecided&) = default;
};

// What somebody says about a task that waits, on its way to the engine.
struct DecisionRequest {
  TaskIndex task = 0;
  uint32_t attempt = 0;  // which time it is that the task asks
  ApprovalDecided decision;
  friend bool operator==(const DecisionRequest&, const DecisionRequest&) = default;
};

// Whether the attempt goes on cannot be known. Ends with the attempt, with attempt_known, and when
// an engine takes the run up again, which begins to listen anew.
struct AttemptUnknown {
  std::vector<std::string> nodes;  // that do not answer, in order
  Time since{};                    // the earliest of them has not answered
  friend bool operator==(const AttemptUnknown&, const AttemptUnknown&) = default;
};

enum class SkipReason : uint8_t {
  asked = 0,      // `skip: true`
  condition = 1,  // `when` is false
  upstream_failed = 2,
  upstream_skipped = 3,
  nothing_failed = 4,  // trigger any_failed, and nothing did
};
std::string_view ToString(SkipReason reason);

struct TaskSkipped {
  SkipReason reason = SkipReason::asked;
  std::string message;
  friend bool operator==(const TaskSkipped&, const TaskSkipped&) = default;
};

// The result of an earlier attempt that stands for this task.
struct CachedResult {
  RunId run;
  std::string task;
  uint32_t attempt = 0;
  std::map<std::string, Value> outputs;
  std::string output_digest;
  friend bool operator==(const CachedResult&, const CachedResult&) = default;
};

struct TaskCached {
  std::string cache_key;
  CacheFields cache_fields;
  CachedResult result;
  friend bool operator==(const TaskCached&, const TaskCached&) = default;
};

// Details to bytes (trackbed.v1, run.proto) and back. Decoding foreign bytes is kDataLoss.
std::string Encode(const RunSubmitted& detail);
std::string Encode(const RunFinished& detail);
std::string Encode(const RunRetried& detail);
std::string Encode(const AttemptIntended& detail);
std::string Encode(const AttemptEnded& detail);
std::string Encode(const AttemptUnknown& detail);
std::string Encode(const TaskSkipped& detail);
std::string Encode(const TaskCached& detail);
std::string Encode(const AttemptPreempting& detail);
std::string Encode(const ApprovalRequested& detail);
std::string Encode(const ApprovalDecided& detail);
std::string Encode(const DecisionRequest& detail);
Status Decode(std::string_view bytes, RunSubmitted* detail);
Status Decode(std::string_view bytes, RunFinished* detail);
Status Decode(std::string_view bytes, RunRetried* detail);
Status Decode(std::string_view bytes, AttemptIntended* detail);
Status Decode(std::string_view bytes, AttemptEnded* detail);
Status Decode(std::string_view bytes, AttemptUnknown* detail);
Status Decode(std::string_view bytes, TaskSkipped* detail);
Status Decode(std::string_view bytes, TaskCached* detail);
Status Decode(std::string_view bytes, AttemptPreempting* detail);
Status Decode(std::string_view bytes, ApprovalRequested* detail);
Status Decode(std::string_view bytes, ApprovalDecided* detail);
Status Decode(std::string_view bytes, DecisionRequest* detail);

// A whole event as a trackbed.v1.Event, and back: the form in which events leave the process. The
// detail is decoded on the way, so foreign or damaged bytes are kDataLoss in both directions.
StatusOr<std::string> EncodeEvent(const Event& event);
StatusOr<Event> DecodeEvent(std::string_view bytes);

}  // namespace trackbed
