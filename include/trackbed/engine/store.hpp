// The port behind which runs are kept: one transactional, append-only log of events.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/event.hpp"

namespace trackbed {

// Who holds the lease on a store, well enough to tell a person and to see whether it is gone.
struct LeaseHolder {
  std::string host;
  std::string boot_id;  // of the host's kernel; empty: unknown
  int64_t process = 0;
  int64_t process_start = 0;  // in clock ticks since boot
  std::string description;    // "trackbed run digits.yaml"
  std::string node;           // what it may use, in the form of node_writer.hpp; empty: not known
  friend bool operator==(const LeaseHolder&, const LeaseHolder&) = default;

  // "trackbed run digits.yaml, process 4711 on host lab1"
  std::string ToString() const;
};

// The right to write to a store. Each grant has a higher fence; a commit with an old one is
// refused.
struct Lease {
  uint64_t fence = 0;  // 0: nobody has ever held it
  LeaseHolder holder;
  Time expires{};
};

struct RunRecord {
  int64_t number = 0;  // the store's own, in order of submission
  RunId id;
  std::string pipeline;  // its name
  std::string version;   // its content address
  Time submitted{};
  RunStatus status = RunStatus::running;
  Time finished{};  // epoch while running
  friend bool operator==(const RunRecord&, const RunRecord&) = default;
};

// What a finished attempt left, under the key of everything it was made from.
struct CacheEntry {
  std::string key;
  std::string pipeline;  // name, for `why`
  std::string task;      // name, for `why`
  Time time{};
  CacheFields fields;
  CachedResult result;
  friend bool operator==(const CacheEntry&, const CacheEntry&) = default;
};

// Something that one process asks of the engine that holds the lease.
struct Request {
  enum class Kind : uint8_t {
    cancel = 1,
    look_at_nodes = 2,  // they have changed; `run` is empty
    decide = 3,         // about a task that waits for approval; detail: DecisionRequest, encoded
  };
  int64_t number = 0;
  Kind kind = Kind::cancel;
  RunId run;
  std::string detail = {};
};

// A node that runs of this store may use.
struct NodeRecord {
  std::string name;
  std::string description;  // in the form of node_writer.hpp
  bool drained = false;     // it gets nothing new
  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

// Everything that becomes durable together, or not at all.
struct Batch {
  struct NewEvent {
    int64_t run = 0;        // RunRecord::number
    uint64_t sequence = 0;  // 1, 2, 3, … within the run
    Event event;
  };
  // The run of a map, with its first event. Its pipeline is there already; the store gives it its
  // number.
  struct NewRun {
    RunRecord record;
    Event submitted;
  };
  struct StatusChange {
    int64_t run = 0;
    RunStatus status = RunStatus::running;
    Time finished{};
  };
  std::vector<NewRun> runs;
  std::vector<NewEvent> events;
  std::vector<StatusChange> status_changes;
  std::vector<CacheEntry> cache_entries;
  std::vector<int64_t> requests_done;
  std::optional<Time> lease_until;
  std::optional<std::string> lease_node;  // what the holder may use from now on

  bool empty() const {
    return runs.empty() && events.empty() && status_changes.empty() && cache_entries.empty() &&
           requests_done.empty() && !lease_until && !lease_node;
  }
  void clear();
};

enum class RunsListed : uint8_t {
  submitted,  // by somebody
  all,        // those of maps too
};

// Reading needs no lease and may be done by many processes while one writes. A Store object is used
// by one thread at a time.
class Store {
 public:
  virtual ~Store() = default;

  // Takes the lease for `holder` until `now` + `ttl`, when it is free: never held, given back,
  // expired, or held by somebody for whom `is_gone` says true. Else kFailedPrecondition, naming
  // the holder.
  virtual StatusOr<Lease> AcquireLease(const LeaseHolder& holder, Time now, Duration ttl,
                                       const std::function<bool(const LeaseHolder&)>& is_gone) = 0;
  virtual Status ReleaseLease(uint64_t fence) = 0;
  // The lease as it stands, whoever holds it; fence 0 or an expired time when nobody does.
  virtual StatusOr<Lease> ReadLease() = 0;

  // Adds a run with its first event (sequence 1) and returns the record with its number. Needs no
  // lease: it starts nothing. kAlreadyExists when the id is taken.
  virtual StatusOr<RunRecord> AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                                     const Event& submitted) = 0;

  // Makes `batch` durable. kFailedPrecondition when `fence` is no longer the lease's: another
  // engine has taken over, and nothing of the batch is stored. After any other error the caller
  // must read the state anew before it goes on.
  virtual Status Commit(uint64_t fence, const Batch& batch) = 0;

  virtual StatusOr<RunRecord> FindRun(const RunId& id) = 0;  // kNotFound
  // Newest first; at most `limit`.
  virtual StatusOr<std::vector<RunRecord>> ListRuns(size_t limit, RunsListed listed) = 0;
  StatusOr<std::vector<RunRecord>> ListRuns(size_t limit) {
    return ListRuns(limit, RunsListed::submitted);
  }
  virtual StatusOr<std::string> ReadPipeline(const std::string& version) = 0;  // encoded

  // Calls `visit` with each event of the run whose sequence is `from` or more, in order.
  virtual Status ReadEvents(int64_t run, uint64_t from,
                            const std::function<void(uint64_t sequence, Event event)>& visit) = 0;
  // The same of the first `limit` of them only. A store that can stop early overrides this.
  virtual Status ReadSomeEvents(int64_t run, uint64_t from, size_t limit,
                                const std::function<void(uint64_t sequence, Event event)>& visit);

  virtual StatusOr<std::optional<CacheEntry>> FindCached(const std::string& key) = 0;
  // The newest entry of that task made before `before`, for explaining a miss.
  virtual StatusOr<std::optional<CacheEntry>> FindLastCached(const std::string& pipeline,
                                                             const std::string& task,
                                                             Time before) = 0;

  // The nodes that somebody added, by name.
  virtual StatusOr<std::vector<NodeRecord>> ListNodes() = 0;
  // Adds or replaces nodes and takes others away, all or nothing, and has the engine that holds the
  // lease look at them. Needs no lease. Taking away what is not there does nothing.
  virtual Status ChangeNodes(const std::vector<NodeRecord>& put,
                             const std::vector<std::string>& remove, Time now) = 0;

  virtual Status PostRequest(const Request& request, Time now) = 0;
  virtual StatusOr<std::vector<Request>> ReadRequests() = 0;
};

// Keeps everything in memory: for tests, simulation and throw-away runs.
std::unique_ptr<Store> NewMemoryStore();

enum class Durability : uint8_t {
  process,  // survives the death of the process; a power cut may lose the last commits
  power,    // each commit survives a power cut (one flush of the disk a commit)
};

struct SqliteStoreOptions {
  Durability durability = Durability::power;
  bool read_only = false;  // never writes, not even to create
  // The SQLite VFS to keep the file on, registered by the host; empty: the system's. The mode of a
  // file that another VFS creates is that VFS's business.
  std::string vfs = {};
};

// A store in one SQLite file (WAL), created with mode 0600 when missing. kDataLoss when the file is
// no store or is damaged, kFailedPrecondition when a newer Trackbed wrote it, kResourceExhausted
// when the disk is full. One that an older Trackbed wrote is brought up to date, but not when it is
// only read: kFailedPrecondition.
StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path,
                                                 const SqliteStoreOptions& options = {});

}  // namespace trackbed
