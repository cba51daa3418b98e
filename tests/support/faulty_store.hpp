// A store whose process dies at a chosen commit: before the commit took effect, or just after.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trackbed/engine/store.hpp"

namespace trackbed {

// Passes everything on to another store, which it does not own, until it dies; from then on every
// call fails and changes nothing, not even to give the lease back.
class FaultyStore : public Store {
 public:
  enum class Point : uint8_t { before, after };

  explicit FaultyStore(Store* store) : store_(store) {}

  // Dies at the n-th write from now on (1: the next); writes are AddRun and Commit.
  void DieAt(int64_t write, Point point) {
    die_at_ = writes_ + write;
    point_ = point;
  }
  void Die() { dead_ = true; }
  bool dead() const { return dead_; }
  int64_t writes() const { return writes_; }

  StatusOr<Lease> AcquireLease(const LeaseHolder& holder, Time now, Duration ttl,
                               const std::function<bool(const LeaseHolder&)>& is_gone) override {
    if (dead_) return Gone();
    return store_->AcquireLease(holder, now, ttl, is_gone);
  }
  Status ReleaseLease(uint64_t fence) override {
    return dead_ ? Gone() : store_->ReleaseLease(fence);
  }
  StatusOr<Lease> ReadLease() override {
    if (dead_) return Gone();
    return store_->ReadLease();
  }
  StatusOr<RunRecord> AddRun(const RunRecord& record, std::string_view encoded_pipeline,
                             const Event& submitted) override {
    if (DiesNow(Point::before)) return Gone();
    StatusOr<RunRecord> added = store_->AddRun(record, encoded_pipeline, submitted);
    if (DiesNow(Point::after)) return Gone();
    return added;
  }
  Status Commit(uint64_t fence, const Batch& batch) override {
    if (DiesNow(Point::before)) return Gone();
    Status status = store_->Commit(fence, batch);
    return DiesNow(Point::after) ? Gone() : status;
  }
  StatusOr<RunRecord> FindRun(const RunId& id) override {
    if (dead_) return Gone();
    return store_->FindRun(id);
  }
  StatusOr<std::vector<RunRecord>> ListRuns(size_t limit, RunsListed listed) override {
    if (dead_) return Gone();
    return store_->ListRuns(limit, listed);
  }
  StatusOr<std::string> ReadPipeline(const std::string& version) override {
    if (dead_) return Gone();
    return store_->ReadPipeline(version);
  }
  Status ReadEvents(int64_t run, uint64_t from,
                    const std::function<void(uint64_t, Event)>& visit) override {
    return dead_ ? Gone() : store_->ReadEvents(run, from, visit);
  }
  StatusOr<std::optional<CacheEntry>> FindCached(const std::string& key) override {
    if (dead_) return Gone();
    return store_->FindCached(key);
  }
  StatusOr<std::optional<CacheEntry>> FindLastCached(const std::string& pipeline,
                                                     const std::string& task,
                                                     Time before) override {
    if (dead_) return Gone();
    return store_->FindLastCached(pipeline, task, before);
  }
  StatusOr<std::vector<NodeRecord>> ListNodes() override {
    if (dead_) return Gone();
    return store_->ListNodes();
  }
  Status ChangeNodes(const std::vector<NodeRecord>& put, const std::vector<std::string>& remove,
                     Time now) override {
    return dead_ ? Gone() : store_->ChangeNodes(put, remove, now);
  }
  Status PostRequest(const Request& request, Time now) override {
    return dead_ ? Gone() : store_->PostRequest(request, now);
  }
  StatusOr<std::vector<Request>> ReadRequests() override {
    if (dead_) return Gone();
    return store_->ReadRequests();
  }

 private:
  static Status Gone() { return Unavailable("the process has died"); }

  bool DiesNow(Point point) {
    if (dead_) return true;
    if (point == Point::before) ++writes_;
    if (writes_ == die_at_ && point == point_) dead_ = true;
    return dead_;
  }

  Store* store_;
  int64_t writes_ = 0;
  int64_t die_at_ = -1;
  Point point_ = Point::before;
  bool dead_ = false;
};

}  // namespace trackbed
