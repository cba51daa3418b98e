// The port through which attempts run: processes here, containers or a cluster elsewhere.
//
// The engine calls every function from the thread that steps it, never concurrently, and never
// expects a call to wait for the work itself: starting, stopping and observing return at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/quantity.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

struct NodeDescription;

// Names one attempt for ever: "RUN/TASK/ATTEMPT". Whatever happens to engine or executor, one key
// runs at most once.
using AttemptKey = std::string;

// A folder of the host as the attempt is to see it.
struct BoundFolder {
  std::string name;       // for the environment: TRACKBED_MOUNT_<NAME>
  std::string host_path;  // absolute; created when missing unless read_only
  std::string path;       // absolute, or relative to the working folder
  bool read_only = false;
};

// An accelerator that an attempt was given, or its part of one.
struct AssignedDevice {
  std::string slot;    // "cuda.shares"
  std::string id;      // as the node's description names it: "GPU-6f14…", "gpu0"
  std::string card;    // of which it is a part or a view; `id` when it is one itself
  int index = 0;       // its place among the node's cards of this kind, from 0
  Quantity amount;     // of the slot
  int64_t memory = 0;  // bytes of the whole device; 0: not known
  friend bool operator==(const AssignedDevice&, const AssignedDevice&) = default;
};

// One of the processes that an attempt consists of when its task is a gang. All run the same
// command, start together or not at all, and the attempt succeeds when all of them do.
struct GangMember {
  std::string host;  // by which the others reach it: "main1", then "sub1", "sub2", …
  std::string node;  // on which it runs: NodeDescription::name
  std::vector<AssignedDevice> devices;
};

// Everything an executor needs to know to run one attempt.
struct AttemptSpec {
  AttemptKey key;
  std::string folder;                // absolute; the attempt's own, created by Start. Holds:
                                     //   work/      current folder of the command
                                     //   outputs/   what the task leaves for later tasks
                                     //   output     file for NAME=VALUE lines
                                     //   log        stdout and stderr, in the order written
  std::vector<std::string> command;  // rendered; one script when `shell`
  bool shell = true;
  // Complete but for what the executor adds (PATH, HOME, TRACKBED_* and BACKENDAI_* places).
  std::vector<EnvironmentVariable> environment;
  // Names in `environment` whose values are secret: in no file that stays, masked in the log.
  std::vector<std::string> secret_names;

  std::string source_path;         // host folder of the code; empty: none
  std::vector<std::string> files;  // parts of it the task sees; empty: all
  std::vector<BoundFolder> mounts;
  std::vector<BoundFolder> inputs;  // outputs of the dependencies: /pipeline/input1..N, in order;
                                    // `name` is the task's, host_path empty when it left none
  std::string pipeline_folder;      // host folder behind /pipeline/vfroot
  // Show the places that FastTrack scripts expect, where the executor can: /pipeline/vfroot,
  // /pipeline/outputs, /pipeline/output, /pipeline/input1..N, and the working folder at /home/work.
  bool pipeline_paths = false;
  std::string image;
  std::vector<SlotRequest> resources;  // limits: "cpu" in cores, "mem" in bytes
  int64_t shared_memory = 0;           // bytes of /dev/shm; 0: the executor's default
  std::string resource_group;          // of the task; empty: none named
  // After which the engine stops the attempt; 0: none. For executors that have to announce it.
  Duration timeout{0};
  // From asking to killing, where the executor ends members of a gang because another has failed.
  Duration grace_period = std::chrono::seconds(10);
  // Of the accelerators that the node hands out, the slots of which are `offered_slots`, the
  // attempt may use these and no others.
  std::vector<AssignedDevice> devices;
  std::vector<std::string> offered_slots;

  std::string node;              // it runs on: NodeDescription::name; empty: this machine
  std::vector<GangMember> gang;  // all members, main1 first; empty: a single process
  // Which of `gang` this is about; a specification of the whole gang, as executors that run gangs
  // are given, is that of main1. `folder`, `node` and `devices` are this member's.
  size_t rank = 0;
};

struct AttemptReport {
  enum class Kind : uint8_t {
    started,          // it runs (or ran); reported at most once, before the others
    exited,           // ended by itself or by a signal
    failed_to_start,  // never ran: `message` says why
    lost,             // it was started, is gone, and left no word of how it ended
  };
  AttemptKey key;
  Kind kind = Kind::exited;
  int exit_code = 0;  // of `exited`, when signal is 0
  int signal = 0;     // that ended it, or 0
  bool out_of_memory = false;
  std::string message;
  std::string image_digest;   // of what it ran in: "NAME@sha256:…", or an id; empty: no image
  std::string output_text;    // the file of NAME=VALUE lines, at most kMaxOutputBytes
  std::string output_digest;  // "sha256:…" of the tree outputs/ (tree_digest.hpp); empty: no files
  Duration wall_time{0};
  Duration cpu_time{0};  // user and system, with children
  int64_t max_rss_bytes = 0;
};

inline constexpr size_t kMaxOutputBytes = 1u << 20;

enum class StopMode : uint8_t {
  terminate,  // ask: SIGTERM to every process of the attempt
  kill,       // force: SIGKILL to every process of the attempt
};

class Executor {
 public:
  virtual ~Executor() = default;

  // Starts the attempt, or, when one with this key was started before by anybody, watches that one
  // instead. An error means that nothing runs and nothing will; kUnavailable may be tried again.
  virtual Status Start(const AttemptSpec& spec) = 0;

  // Watches an attempt started earlier, perhaps by another process. kNotFound when the key was
  // never started; after that, Start with this key fails until `folder` is gone.
  virtual Status Adopt(const AttemptKey& key, const std::string& folder) = 0;

  // Watches an attempt started earlier, as Adopt does, but leaves one that was never started as it
  // is: kNotFound, also where an executor cannot tell.
  virtual Status Observe(const AttemptKey& key, const std::string& folder) {
    static_cast<void>(folder);
    return NotFound("the attempt " + key + " is not known to run");
  }

  // Appends what happened since the last call to *reports. Never blocks.
  virtual Status Poll(std::vector<AttemptReport>* reports) = 0;

  // kNotFound when the attempt is not being watched. A stopped attempt still ends with a report.
  virtual Status Stop(const AttemptKey& key, StopMode mode) = 0;

  // Makes ready for attempts on this node, which is new or has changed: a machine that somebody has
  // added while runs go on. An error says why nothing can be started there.
  virtual Status AddNode(const NodeDescription& node) {
    static_cast<void>(node);
    return absl::OkStatus();
  }

  // Names of nodes that do not answer now, as of the last Poll; where one is added or taken away,
  // WakeDescriptor is readable. Whether attempts there go on cannot be known: no report of them
  // comes until the node answers again. Nothing should be started there meanwhile.
  virtual std::vector<std::string> SilentNodes() const { return {}; }

  // Gives up an attempt whose node is silent, so that it may be tried elsewhere. What has not begun
  // yet never does; what runs ends as soon as it sees its folder or its node answers, and what is
  // left of it is removed then, also by an executor made later; until then the node stays silent.
  // No report of it comes any more, unless parts of it run on nodes that answer (a gang): these are
  // killed, and the report that follows says when they have ended.
  // kNotFound when the attempt is not being watched. Otherwise that of Stop with StopMode::kill.
  virtual Status GiveUp(const AttemptKey& key) { return Stop(key, StopMode::kill); }

  // A descriptor that is readable when Poll has something to say, or -1 when Poll always has. Owned
  // by the executor.
  virtual int WakeDescriptor() const = 0;

  // The longest gang it can run; 1: single processes only. Start is given a gang as a whole.
  virtual int MaxClusterSize() const { return 1; }
};

}  // namespace trackbed
