// The ports of the engine and the scheduler, as tables of functions of the host's.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "common.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/data/artifact_store.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/secrets.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/scheduling/order.hpp"
#include "trackbed/scheduling/placer.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed::capi {

class Signal;

// A table of the host's, dropped when it is used no more, once it was kept.
template <typename Table>
class Port {
 public:
  explicit Port(const Table& table) : table_(table) {}
  ~Port() {
    if (!kept_ || table_.drop == nullptr) return;
    (void)Returns([&] { table_.drop(table_.user_data); });  // nobody is left to be told
  }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  // From here on the library owns it: what took it has succeeded.
  void Keep() { kept_ = true; }
  const Table* operator->() const { return &table_; }

 private:
  Table table_;
  bool kept_ = false;
};

class HostClock final : public Clock {
 public:
  explicit HostClock(const trackbed_clock& table) : port(table) {}
  Time Now() override;
  Port<trackbed_clock> port;

 private:
  std::atomic<Time> last_{};  // where the host's fails; several threads may ask at once
};

class HostRandom final : public RandomSource {
 public:
  explicit HostRandom(const trackbed_random& table) : port(table) {}
  uint64_t Next() override;
  Port<trackbed_random> port;
};

class HostSecrets final : public SecretSource {
 public:
  explicit HostSecrets(const trackbed_secret_source& table) : port(table) {}
  StatusOr<std::string> Resolve(std::string_view source, std::string_view name) override;
  Port<trackbed_secret_source> port;
};

class HostSink {
 public:
  explicit HostSink(const trackbed_event_sink& table) : port(table) {}
  void Tell(const RunState& run, uint64_t sequence, const Event& event);
  Port<trackbed_event_sink> port;
};

// Reports come from any thread; the engine takes them with its next step.
class HostExecutor final : public Executor {
 public:
  HostExecutor(const trackbed_executor& table, const Signal* kick) : port(table), kick_(kick) {}
  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  int WakeDescriptor() const override;
  int MaxClusterSize() const override {
    return port->max_cluster_size > 0 ? port->max_cluster_size : 1;
  }

  // Tells whoever steps the engine. kNotFound for an attempt that is not under way.
  Status Add(AttemptReport report);

  Port<trackbed_executor> port;

 private:
  const Signal* kick_;
  std::mutex mutex_;  // of what follows
  absl::flat_hash_set<AttemptKey> under_way_;
  std::vector<AttemptReport> reports_;
};

class HostPlacer final : public Placer {
 public:
  explicit HostPlacer(const trackbed_placer& table) : port(table) {}
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override;
  void Observe(const Demand& demand) override;
  // What went wrong since this was asked last.
  Status TakeFailure() { return std::exchange(failure_, absl::OkStatus()); }
  Port<trackbed_placer> port;

 private:
  Status failure_;
};

class HostOrder final : public Order {
 public:
  explicit HostOrder(const trackbed_order& table) : port(table) {}
  StatusOr<int64_t> Rank(const TaskRequest& task, Time submitted) override;
  bool ByShares() const override { return port->share != nullptr; }
  double Share(const Tenancy& tenancy, TenantIndex tenant, Time now) override;
  // What went wrong since this was asked last.
  Status TakeFailure() { return std::exchange(failure_, absl::OkStatus()); }
  Port<trackbed_order> port;

 private:
  Status failure_;
};

class HostArtifactStore final : public ArtifactStore {
 public:
  explicit HostArtifactStore(const trackbed_artifact_store& table) : port(table) {}
  StatusOr<bool> Has(const std::string& digest) override;
  Status Put(const std::string& digest, const std::string& folder) override;
  Status Get(const std::string& digest, const std::string& folder) override;
  Port<trackbed_artifact_store> port;
};

// Conversions that the scheduler's part shares. All but what is counted, to which it is only
// referred.
StatusOr<Demand> ReadDemand(const trackbed_demand& demand);
CountedAmounts ReadCounted(const int64_t (&counted)[TRACKBED_MAX_COUNTED]);
trackbed_tenant_usage GiveUsage(const Tenancy& tenancy, TenantIndex tenant);
trackbed_placement GivePlacement(const Placement& placement);
StatusOr<Placement> ReadPlacement(const trackbed_placement& placement);
trackbed_node_capacity GiveCapacity(const NodeCapacity& capacity, int32_t device_resource);
trackbed_node_state GiveState(const NodeState& state, const NodeCapacity& capacity);
trackbed_event GiveEvent(std::string_view run, std::string_view task_name, uint64_t sequence,
                         const Event& event);

// Reads a table of callbacks; `needed` are those that must be there.
template <typename Table, typename... Function>
Status ReadTable(const Table* given, std::string_view name, Table* read,
                 Function Table::*... needed) {
  TRACKBED_RETURN_IF_ERROR(ReadStruct(given, name, read));
  const bool complete = ((read->*needed != nullptr) && ...);
  if (!complete) {
    return InvalidArgument(std::string(name) + ": a function that is needed is NULL");
  }
  return absl::OkStatus();
}

}  // namespace trackbed::capi
