// The engine: takes runs from submission to their end, durably.
//
// One logical thread of decision. Nothing happens unless the host calls Step: it takes what the
// executor reports and what time it is, decides, makes the decisions durable in one commit, and
// only then acts on them. A crash between any two instructions loses nothing and starts nothing
// twice. The engine owns no thread and reads no clock, file or random number but through the ports
// it is given.
//
//   TRACKBED_ASSIGN_OR_RETURN(auto engine, Engine::Open(options));
//   TRACKBED_ASSIGN_OR_RETURN(RunId run, engine->Submit(pipeline, {}));
//   while (engine->IsActive(run)) {
//     TRACKBED_RETURN_IF_ERROR(engine->Step());
//     poll(engine->WakeDescriptor(), until engine->NextDeadline());
//   }
//
// After an error from Step, Submit, Resume, Cancel, Decide or Retry that is not about its
// arguments, the engine is broken: every later call returns that error. Destroy it and open
// another, which starts from what is durable; attempts go on meanwhile. Not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/random.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/event.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/engine/secrets.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/pipeline/pipeline.hpp"
#include "trackbed/resources/node.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed {

// Called by Step for each event after it is durable, in order, on the thread that calls Step, with
// its number within the run. `run` may be further already, and may be the run of a map of one that
// was submitted (event.hpp). Must not call the engine.
using EventSink = std::function<void(const RunState& run, uint64_t sequence, const Event& event)>;

struct EngineOptions {
  // Ports; not owned, and must outlive the engine. `store` and `executor` must be given.
  Store* store = nullptr;
  Executor* executor = nullptr;
  Clock* clock = nullptr;           // null: SystemClock()
  RandomSource* random = nullptr;   // null: SystemRandom()
  SecretSource* secrets = nullptr;  // null: every secret is unknown

  std::string home;  // absolute folder below which attempts lie (workspace.hpp)
  // What may be used at once. Several need names of their own. One without cpu offers one cpu; none
  // at all: a node of one cpu.
  std::vector<NodeDescription> nodes;
  // Which of the nodes that were added to the store (Store::ListNodes) are used; where any is, it
  // is these instead of `nodes`. Changes are taken up while the engine runs: a node that is drained
  // or taken away keeps what runs there. Empty: none is used.
  std::function<bool(const NodeDescription&)> takes_stored_node;
  // How long a node may be silent (Executor::SilentNodes). It gets nothing new meanwhile; after
  // that, what runs there is given up, counts as lost, and is tried on another node.
  Duration node_lease = std::chrono::seconds(60);
  EventSink sink;  // may be empty

  // Who may use how much of the nodes, and who goes first. Quotas count what QuotaResources names;
  // `max_waiting` counts equal tasks that wait as one. The engine serves nobody last come first:
  // the order lifo is kInvalidArgument. With preempt_by_priority or reclaim attempts are stopped
  // for others, politely first, and killed after the grace period of their task. Who exits with 0
  // all the same has succeeded; any other end is no try, and the task waits for its turn again.
  Tenancy tenancy;
  GroupPolicy policy;
  // The host's own, in place of the policy's order, of priority and of ageing; not owned; null:
  // these. It is asked about the first of tasks that are alike in all that decides, which go first
  // come first served, and only where there is something to decide. Each queue, of which there is a
  // new one when nodes change, asks it anew. An error of Rank is what a call that takes up a run
  // returns; after that, and of tasks that an engine finds running, it counts as 0.
  Order* order = nullptr;
  // Chooses among several nodes: one of kPlacerNames. Empty: "default" where there are
  // accelerators, else "spread". It is told on which nodes the inputs of a task were written, each
  // counting as much; "locality-aware" goes by that, the others where nodes are equal. An unknown
  // one is kInvalidArgument.
  std::string placer;

  LeaseHolder holder;  // who we are
  Duration lease_time = std::chrono::seconds(15);
  // Says whether a holder is known to be dead, so that its lease need not be waited out. Empty:
  // never.
  std::function<bool(const LeaseHolder&)> is_gone;
  // Says whether the output files of an earlier attempt are still there. Empty: always.
  std::function<bool(const std::string& folder, const std::string& digest)> has_outputs;
  // Makes the folder `to` hold what `from` does, the outputs of one batch of a map, and leaves what
  // is there already; best by links, since outputs are not changed. kResourceExhausted stops the
  // engine, any other error fails the map. Empty: maps have no output folder.
  std::function<Status(const std::string& from, const std::string& to)> link_outputs;
};

struct SubmitOptions {
  std::map<std::string, Value> parameters;  // all of them: BindParameters
  SourceBinding source;
  std::vector<FolderBinding> folders;  // one for each folder of the pipeline
  bool use_cache = true;
  std::optional<int> priority;  // of all its tasks, beside their own; none: the pipeline's
  std::string tenant;           // whom it is for: a path in the tenancy; empty: everybody
};

// What quotas of an engine on these nodes count, by number (amounts.hpp): "cpu", "mem", then the
// accelerators. Those handed out whole and in shares count as one: "cuda.shares", in thousandths.
std::vector<std::string> QuotaResources(std::span<const NodeDescription> nodes);

class Engine {
 public:
  // Takes the lease of the store; kFailedPrecondition names the holder when it is taken.
  static StatusOr<std::unique_ptr<Engine>> Open(EngineOptions options);
  // Gives the lease back. Attempts under way go on and can be taken up again.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Makes a new run durable and active. kInvalidArgument when the pipeline, which must be valid,
  // asks for what the executor cannot do, or the priority is beyond kMaxPriority; kNotFound for an
  // unknown tenant; kResourceExhausted when a task needs more slots than there are, or than its
  // quotas will ever let it have.
  StatusOr<RunId> Submit(std::shared_ptr<const Pipeline> pipeline, SubmitOptions options);

  // The runs of maps are not taken up, continued or retried by themselves, only with the run whose
  // tasks they belong to: kFailedPrecondition. Of a task with a map whose batches have failed, a
  // retry runs those again that did, unless its list or its inputs have changed.

  // Takes up a run that was interrupted, or continues a cancelled one. Attempts still under way
  // are watched again; finished tasks stay finished. kFailedPrecondition when it has ended
  // otherwise; OK when it is active already.
  Status Resume(const RunId& run);

  // Runs `tasks` and everything that depends on them again; with no tasks, everything that failed,
  // was cancelled, or was skipped because of that. The tasks of a cancelled run that never ran are
  // run in any case. The run must have ended.
  Status Retry(const RunId& run, const std::vector<std::string>& tasks);

  // Approves of a task that waits for that, or rejects it (approval.hpp), durably and once. Of a
  // run that nobody drives, it is told of when the run is taken up. Errors as CheckDecision;
  // kNotFound.
  Status Decide(const RunId& run, std::string_view task, const ApprovalDecided& decision);

  // Asks for the end of an active run, or of an interrupted one, which is taken up for that.
  Status Cancel(const RunId& run);

  // Does everything that can be done now and returns; never waits. When it returns OK, nothing is
  // left to do before WakeDescriptor is readable or NextDeadline has come.
  Status Step();

  bool IsActive(const RunId& run) const;
  bool HasActiveRuns() const;
  // The state of an active run; null otherwise. Valid until the next call.
  const RunState* Find(const RunId& run) const;

  // Readable when Step has work; -1 when the host should step at once.
  int WakeDescriptor() const;
  // When Step should be called at the latest; kNever when only the descriptor matters.
  Time NextDeadline() const;

  // Why a task that waits is not running: "needs 2 cpu, 0.5 free", "next try at …". "" otherwise.
  std::string ExplainWait(const RunId& run, TaskIndex task) const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The pipeline of a run; of the run of a map, that of its batches.
StatusOr<Pipeline> ReadPipelineOf(Store& store, const RunRecord& run);

// A run as the store has it, for showing.
struct StoredRun {
  RunRecord record;
  std::shared_ptr<const RunState> state;
};
StatusOr<StoredRun> LoadRun(Store& store, const RunId& run);

}  // namespace trackbed
