// The Store that keeps everything in memory.
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "engine/lease.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/pipeline/sparse.hpp"

namespace trackbed {
namespace {

// Most events have no detail, and there are two for each task.
class StoredEvent {
 public:
  explicit StoredEvent(const Event& event)
      : time_(event.time),
        detail_(event.detail),
        task_(event.task),
        attempt_(event.attempt),
        type_(event.type) {}
  Event ToEvent() const { return {time_, task_, attempt_, type_, detail_.get()}; }

 private:
  Time time_;
  Sparse<std::string> detail_;
  TaskIndex task_;
  uint32_t attempt_;
  EventType type_;
};

class MemoryStore final : public Store {
 public:
  StatusOr<Lease> AcquireLease(const LeaseHolder& holder, Time now, Duration ttl,
                               const std::function<bool(const LeaseHolder&)>& is_gone) override {
    TRACKBED_RETURN_IF_ERROR(CheckLeaseIsFree(lease_, now, is_gone));
    lease_ = Lease{lease_.fence + 1, holder, now + ttl};
    return lease_;
  }

  Status ReleaseLease(uint64_t fence) override {
    if (fence == lease_.fence) lease_.expires = Time{};
    return absl::OkStatus();
  }

  StatusOr<Lease> ReadLease() override { return lease_; }

  StatusOr<RunRecord> AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                             const Event& submitted) override {
    TRACKBED_RETURN_IF_ERROR(CheckThatIsNew(record.id));
    pipelines_.try_emplace(record.version, encoded_pipeline);
    Add(record, submitted);
    return runs_.back().record;
  }

  Status Commit(uint64_t fence, const Batch& batch) override {
    if (fence != lease_.fence) return LeaseLost(lease_);
    TRACKBED_RETURN_IF_ERROR(CheckSequences(batch));
    TRACKBED_RETURN_IF_ERROR(CheckRuns(batch));
    for (const Batch::NewRun& run : batch.runs) Add(run.record, run.submitted);
    for (const Batch::NewEvent& added : batch.events) {
      runs_[static_cast<size_t>(added.run) - 1].events.emplace_back(added.event);
    }
    for (const Batch::StatusChange& change : batch.status_changes) {
      RunRecord& record = runs_[static_cast<size_t>(change.run) - 1].record;
      record.status = change.status;
      record.finished = change.finished;
    }
    for (const CacheEntry& entry : batch.cache_entries) cache_.insert_or_assign(entry.key, entry);
    std::erase_if(requests_, [&](const Request& request) {
      return std::find(batch.requests_done.begin(), batch.requests_done.end(), request.number) !=
             batch.requests_done.end();
    });
    if (batch.lease_until) lease_.expires = *batch.lease_until;
    if (batch.lease_node) lease_.holder.node = *batch.lease_node;
    return absl::OkStatus();
  }

  StatusOr<RunRecord> FindRun(const RunId& id) override {
    auto number = numbers_.find(id);
    if (number == numbers_.end()) return NotFound(absl::StrCat("there is no run \"", id, "\""));
    return runs_[static_cast<size_t>(number->second) - 1].record;
  }

  StatusOr<std::vector<RunRecord>> ListRuns(size_t limit, RunsListed listed) override {
    std::vector<RunRecord> records;
    for (auto run = runs_.rbegin(); run != runs_.rend() && records.size() < limit; ++run) {
      if (listed == RunsListed::submitted && IsMapRun(run->record.id)) continue;
      records.push_back(run->record);
    }
    return records;
  }

  StatusOr<std::string> ReadPipeline(const std::string& version) override {
    auto found = pipelines_.find(version);
    if (found == pipelines_.end()) {
      return NotFound(absl::StrCat("there is no pipeline ", version));
    }
    return found->second;
  }

  Status ReadEvents(int64_t run, uint64_t from,
                    const std::function<void(uint64_t, Event)>& visit) override {
    if (!Has(run)) return absl::OkStatus();
    const std::deque<StoredEvent>& events = runs_[static_cast<size_t>(run) - 1].events;
    for (size_t i = from == 0 ? 0 : from - 1; i < events.size(); ++i)
      visit(i + 1, events[i].ToEvent());
    return absl::OkStatus();
  }

  Status ReadSomeEvents(int64_t run, uint64_t from, size_t limit,
                        const std::function<void(uint64_t, Event)>& visit) override {
    if (!Has(run)) return absl::OkStatus();
    const std::deque<StoredEvent>& events = runs_[static_cast<size_t>(run) - 1].events;
    for (size_t i = from == 0 ? 0 : from - 1; i < events.size() && limit > 0; ++i, --limit) {
      visit(i + 1, events[i].ToEvent());
    }
    return absl::OkStatus();
  }

  StatusOr<std::optional<CacheEntry>> FindCached(const std::string& key) override {
    auto found = cache_.find(key);
    if (found == cache_.end()) return std::nullopt;
    return found->second;
  }

  StatusOr<std::optional<CacheEntry>> FindLastCached(const std::string& pipeline,
                                                     const std::string& task,
                                                     Time before) override {
    const CacheEntry* last = nullptr;
    for (const auto& [key, entry] : cache_) {
      if (entry.pipeline != pipeline || entry.task != task || entry.time >= before) continue;
      if (last == nullptr || entry.time > last->time) last = &entry;
    }
    if (last == nullptr) return std::nullopt;
    return *last;
  }

  StatusOr<std::vector<NodeRecord>> ListNodes() override {
    std::vector<NodeRecord> nodes;
    for (const auto& [name, node] : nodes_) nodes.push_back(node);
    return nodes;
  }

  Status ChangeNodes(const std::vector<NodeRecord>& put, const std::vector<std::string>& remove,
                     Time now) override {
    for (const NodeRecord& node : put) nodes_.insert_or_assign(node.name, node);
    for (const std::string& name : remove) nodes_.erase(name);
    return PostRequest({0, Request::Kind::look_at_nodes, ""}, now);
  }

  Status PostRequest(const Request& request, Time /*now*/) override {
    requests_.push_back(request);
    requests_.back().number = ++last_request_;
    return absl::OkStatus();
  }

  StatusOr<std::vector<Request>> ReadRequests() override { return requests_; }

 private:
  struct StoredRun {
    RunRecord record;
    std::deque<StoredEvent> events;
  };
  Status CheckThatIsNew(const RunId& id) const {
    if (!numbers_.contains(id)) return absl::OkStatus();
    return AlreadyExists(absl::StrCat("run ", id, " exists"));
  }
  void Add(RunRecord record, const Event& submitted) {
    record.number = static_cast<int64_t>(runs_.size()) + 1;
    numbers_.emplace(record.id, record.number);
    runs_.push_back({std::move(record), {StoredEvent(submitted)}});
  }
  bool Has(int64_t run) const { return run > 0 && static_cast<size_t>(run) <= runs_.size(); }

  Status CheckRuns(const Batch& batch) const {
    absl::flat_hash_set<RunId> added;
    for (const Batch::NewRun& run : batch.runs) {
      TRACKBED_RETURN_IF_ERROR(CheckThatIsNew(run.record.id));
      if (!added.insert(run.record.id).second) {
        return AlreadyExists(absl::StrCat("run ", run.record.id, " exists"));
      }
    }
    for (const Batch::StatusChange& change : batch.status_changes) {
      if (!Has(change.run)) return DataLoss(absl::StrCat("there is no run number ", change.run));
    }
    return absl::OkStatus();
  }

  // Each event must follow the one before it in its run; else nothing may be stored.
  Status CheckSequences(const Batch& batch) const {
    absl::flat_hash_map<int64_t, uint64_t> last;
    for (const Batch::NewEvent& added : batch.events) {
      if (!Has(added.run)) return Internal(absl::StrCat("there is no run number ", added.run));
      const uint64_t stored = runs_[static_cast<size_t>(added.run) - 1].events.size();
      uint64_t& before = last.try_emplace(added.run, stored).first->second;
      if (added.sequence != before + 1) {
        return Internal(absl::StrCat("event ", added.sequence, " does not follow event ", before));
      }
      before = added.sequence;
    }
    return absl::OkStatus();
  }

  Lease lease_;
  std::vector<StoredRun> runs_;  // by number - 1
  absl::flat_hash_map<RunId, int64_t> numbers_;
  absl::flat_hash_map<std::string, std::string> pipelines_;
  std::map<std::string, CacheEntry> cache_;
  std::map<std::string, NodeRecord> nodes_;
  std::vector<Request> requests_;
  int64_t last_request_ = 0;
};

}  // namespace

std::unique_ptr<Store> NewMemoryStore() { return std::make_unique<MemoryStore>(); }

}  // namespace trackbed
