#include "ports.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>

#include "engine.hpp"
#include "trackbed/executors/attempt_json.hpp"

struct trackbed_cluster_view {
  const trackbed::Cluster* cluster;
};

namespace trackbed::capi {
namespace {

int32_t GiveWorkKind(WorkKind kind) {
  switch (kind) {
    case WorkKind::batch:
      return TRACKBED_WORK_BATCH;
    case WorkKind::interactive:
      return TRACKBED_WORK_INTERACTIVE;
    case WorkKind::inference:
      return TRACKBED_WORK_INFERENCE;
    case WorkKind::system:
      return TRACKBED_WORK_SYSTEM;
  }
  return TRACKBED_WORK_BATCH;
}

trackbed_demand GiveDemand(const Demand& demand) {
  trackbed_demand given = {
      sizeof(trackbed_demand), demand.architectures, demand.cpu,          demand.memory,
      demand.whole_devices,    demand.share,         demand.device_kinds, {}};
  if (demand.counted != nullptr) {
    std::copy(demand.counted->begin(), demand.counted->end(), given.counted);
  }
  return given;
}

trackbed_task GiveTask(const TaskRequest& task) {
  trackbed_task given{};
  given.struct_size = sizeof(trackbed_task);
  given.tenant = task.tenant;
  given.id = task.id;
  given.priority = task.priority;
  given.kind = GiveWorkKind(task.kind);
  given.members = task.members;
  given.on_different_nodes = task.on_different_nodes ? 1 : 0;
  given.not_preemptible = task.preemptible ? 0 : 1;
  given.device_resource = task.device_resource;
  given.run_time_ns = task.run_time.count();
  given.history = task.history;
  given.not_before_ns = ToNanoseconds(task.not_before);
  const trackbed_demand demand = GiveDemand(task.demand);
  given.cpu = demand.cpu;
  given.memory = demand.memory;
  given.whole_devices = demand.whole_devices;
  given.share = demand.share;
  given.device_kinds = demand.device_kinds;
  given.architectures = demand.architectures;
  std::copy(std::begin(demand.counted), std::end(demand.counted), given.counted);
  given.at_least = static_cast<int32_t>(task.at_least);
  return given;
}

}  // namespace

Time HostClock::Now() {
  Time last = last_;
  Time now = last;  // time stands still while the host's clock does
  (void)Returns([&] { now = FromNanoseconds(port->now(port->user_data)); });
  while (last < now && !last_.compare_exchange_weak(last, now)) {
  }
  return last_;
}

uint64_t HostRandom::Next() {
  try {
    return port->next(port->user_data);
  } catch (...) {
    return SystemRandom().Next();
  }
}

StatusOr<std::string> HostSecrets::Resolve(std::string_view source, std::string_view name) {
  trackbed_answer answer;
  TRACKBED_RETURN_IF_ERROR(CallBack("the host's secret source", [&](trackbed_error** error) {
    return port->resolve(port->user_data, source.data(), source.size(), name.data(), name.size(),
                         &answer, error);
  }));
  return std::move(answer.text);
}

void HostSink::Tell(const RunState& run, uint64_t sequence, const Event& event) {
  const std::string_view task =
      event.task == kNoTask ? "" : std::string_view(run.pipeline().tasks[event.task].name);
  const trackbed_event given = GiveEvent(run.id(), task, sequence, event);
  (void)Returns([&] { port->event(port->user_data, &given); });  // what happened has happened
}

Status HostExecutor::Start(const AttemptSpec& spec) {
  {
    const std::lock_guard lock(mutex_);
    under_way_.insert(spec.key);
  }
  std::vector<trackbed_string> command;
  command.reserve(spec.command.size());
  for (const std::string& word : spec.command) command.push_back(Borrow(word));
  std::vector<trackbed_string> environment;
  environment.reserve(2 * spec.environment.size());
  for (const EnvironmentVariable& variable : spec.environment) {
    environment.push_back(Borrow(variable.name));
    environment.push_back(Borrow(variable.value));
  }
  std::vector<trackbed_slot> resources;
  resources.reserve(spec.resources.size());
  for (const SlotRequest& slot : spec.resources) {
    resources.push_back({Borrow(slot.slot), slot.amount.thousandths()});
  }
  std::vector<trackbed_assigned_device> devices;
  devices.reserve(spec.devices.size());
  for (const AssignedDevice& device : spec.devices) {
    devices.push_back({sizeof(trackbed_assigned_device), device.index, Borrow(device.slot),
                       Borrow(device.id), Borrow(device.card), device.amount.thousandths(),
                       device.memory});
  }
  const std::string json = port->without_json != 0 ? "" : AttemptToJson(spec);
  const trackbed_attempt attempt = {sizeof(trackbed_attempt),
                                    spec.shell ? 1 : 0,
                                    Borrow(spec.key),
                                    Borrow(spec.folder),
                                    command.data(),
                                    command.size(),
                                    environment.data(),
                                    environment.size(),
                                    Borrow(json),
                                    resources.data(),
                                    resources.size(),
                                    devices.data(),
                                    devices.size(),
                                    sizeof(trackbed_assigned_device)};
  Status started = CallBack("the host's executor", [&](trackbed_error** error) {
    return port->start(port->user_data, &attempt, error);
  });
  if (!started.ok()) {
    const std::lock_guard lock(mutex_);
    under_way_.erase(spec.key);
  }
  return started;
}

Status HostExecutor::Adopt(const AttemptKey& key, const std::string& folder) {
  if (port->adopt == nullptr) return NotFound(absl::StrCat("attempt ", key, " was not started"));
  {
    const std::lock_guard lock(mutex_);
    under_way_.insert(key);
  }
  Status adopted = CallBack("the host's executor", [&](trackbed_error** error) {
    return port->adopt(port->user_data, key.data(), key.size(), folder.data(), folder.size(),
                       error);
  });
  if (!adopted.ok()) {
    const std::lock_guard lock(mutex_);
    under_way_.erase(key);
  }
  return adopted;
}

Status HostExecutor::Poll(std::vector<AttemptReport>* reports) {
  const std::lock_guard lock(mutex_);
  for (AttemptReport& report : reports_) reports->push_back(std::move(report));
  reports_.clear();
  return absl::OkStatus();
}

Status HostExecutor::Stop(const AttemptKey& key, StopMode mode) {
  return CallBack("the host's executor", [&](trackbed_error** error) {
    return port->stop(port->user_data, key.data(), key.size(),
                      mode == StopMode::kill ? TRACKBED_STOP_KILL : TRACKBED_STOP_TERMINATE, error);
  });
}

int HostExecutor::WakeDescriptor() const { return kick_->descriptor(); }

Status HostExecutor::Add(AttemptReport report) {
  const std::lock_guard lock(mutex_);
  // Who took no report since the last one has been told already, or is about to take both.
  const bool first = reports_.empty();
  if (!under_way_.contains(report.key)) {
    return NotFound(absl::StrCat("attempt \"", report.key, "\" is not under way"));
  }
  if (report.kind != AttemptReport::Kind::started) under_way_.erase(report.key);
  reports_.push_back(std::move(report));
  if (first) kick_->Set();
  return absl::OkStatus();
}

std::optional<Placement> HostPlacer::Choose(const Cluster& cluster, const Demand& demand) {
  const trackbed_cluster_view view{&cluster};
  const trackbed_demand given = GiveDemand(demand);
  trackbed_placement chosen{};
  chosen.shared_device = -1;
  Status status = CallBack("the host's placer", [&](trackbed_error** error) {
    return port->choose(port->user_data, &view, &given, &chosen, error);
  });
  if (absl::IsNotFound(status)) return std::nullopt;
  if (status.ok()) {
    const StatusOr<Placement> placement = ReadPlacement(chosen);
    if (placement.ok() && cluster.CanTake(demand, *placement)) return *placement;
    status = Internal(absl::StrCat("the host's placer chose node ", chosen.node, ", devices ",
                                   absl::Hex(chosen.whole_devices), " and ", chosen.shared_device,
                                   ", which cannot be taken"));
  }
  if (failure_.ok()) failure_ = std::move(status);
  return std::nullopt;
}

void HostPlacer::Observe(const Demand& demand) {
  if (port->observe == nullptr) return;
  const trackbed_demand given = GiveDemand(demand);
  if (Returns([&] { port->observe(port->user_data, &given); }) || !failure_.ok()) return;
  failure_ = Internal("the host's placer threw");
}

StatusOr<int64_t> HostOrder::Rank(const TaskRequest& task, Time submitted) {
  const trackbed_task given = GiveTask(task);
  int64_t rank = 0;
  TRACKBED_RETURN_IF_ERROR(CallBack("the host's order", [&](trackbed_error** error) {
    return port->rank(port->user_data, &given, ToNanoseconds(submitted), &rank, error);
  }));
  return rank;
}

double HostOrder::Share(const Tenancy& tenancy, TenantIndex tenant, Time now) {
  const trackbed_tenant_usage usage = GiveUsage(tenancy, tenant);
  double share = 0;
  Status status = CallBack("the host's order", [&](trackbed_error** error) {
    return port->share(port->user_data, tenant, &usage, ToNanoseconds(now), &share, error);
  });
  if (status.ok() && std::isnan(share)) {
    status = Internal("the host's order gave a share that is no number");
  }
  if (status.ok()) return share;
  if (failure_.ok()) failure_ = std::move(status);
  return 0;
}

StatusOr<bool> HostArtifactStore::Has(const std::string& digest) {
  int32_t present = 0;
  TRACKBED_RETURN_IF_ERROR(CallBack("the host's artifact store", [&](trackbed_error** error) {
    return port->has(port->user_data, digest.data(), digest.size(), &present, error);
  }));
  return present != 0;
}

Status HostArtifactStore::Put(const std::string& digest, const std::string& folder) {
  return CallBack("the host's artifact store", [&](trackbed_error** error) {
    return port->put(port->user_data, digest.data(), digest.size(), folder.data(), folder.size(),
                     error);
  });
}

Status HostArtifactStore::Get(const std::string& digest, const std::string& folder) {
  return CallBack("the host's artifact store", [&](trackbed_error** error) {
    return port->get(port->user_data, digest.data(), digest.size(), folder.data(), folder.size(),
                     error);
  });
}

CountedAmounts ReadCounted(const int64_t (&counted)[TRACKBED_MAX_COUNTED]) {
  static_assert(kMaxCounted == TRACKBED_MAX_COUNTED);
  CountedAmounts read{};
  std::copy(std::begin(counted), std::end(counted), read.begin());
  return read;
}

trackbed_tenant_usage GiveUsage(const Tenancy& tenancy, TenantIndex tenant) {
  trackbed_tenant_usage usage{};
  usage.struct_size = sizeof usage;
  usage.running = tenancy.running(tenant);
  std::copy(tenancy.used(tenant).begin(), tenancy.used(tenant).end(), usage.used);
  usage.dominant_share = tenancy.DominantShare(tenant);
  return usage;
}

StatusOr<Demand> ReadDemand(const trackbed_demand& demand) {
  constexpr int32_t kMost = std::numeric_limits<int16_t>::max();
  if (demand.whole_devices < 0 || demand.whole_devices > kMost || demand.share < 0 ||
      demand.share >= kWholeDevice || demand.cpu < 0 || demand.memory < 0) {
    return InvalidArgument("a demand has amounts from 0 on, and a share from 0 to 999");
  }
  Demand read;
  read.cpu = demand.cpu;
  read.memory = demand.memory;
  read.whole_devices = static_cast<int16_t>(demand.whole_devices);
  read.share = static_cast<int16_t>(demand.share);
  if (demand.device_kinds != 0) read.device_kinds = demand.device_kinds;
  if (demand.architectures != 0) read.architectures = demand.architectures;
  return read;
}

trackbed_placement GivePlacement(const Placement& placement) {
  return {placement.node, placement.whole_devices, placement.shared_device};
}

StatusOr<Placement> ReadPlacement(const trackbed_placement& placement) {
  if (placement.shared_device < -1 || placement.shared_device >= kMaxDevices) {
    return InvalidArgument("placement.shared_device: expected a device, or -1");
  }
  return Placement{placement.node, placement.whole_devices,
                   static_cast<int8_t>(placement.shared_device)};
}

trackbed_node_capacity GiveCapacity(const NodeCapacity& capacity, int32_t device_resource) {
  static_assert(kMaxDevices == TRACKBED_MAX_DEVICES);
  trackbed_node_capacity given{};
  given.location = capacity.location;
  given.cpu = capacity.cpu;
  given.memory = capacity.memory;
  given.architecture = capacity.architecture;
  given.device_resource = device_resource;
  given.device_count = capacity.device_count;
  std::copy(capacity.device_kind.begin(), capacity.device_kind.end(), given.device_kind);
  given.price_per_hour = capacity.price_per_hour;
  given.idle_watts = capacity.idle_watts;
  given.watts_per_device = capacity.watts_per_device;
  std::copy(capacity.counted.begin(), capacity.counted.end(), given.counted);
  return given;
}

trackbed_node_state GiveState(const NodeState& state, const NodeCapacity& capacity) {
  trackbed_node_state given{};
  given.open = state.open ? 1 : 0;
  given.cpu = state.cpu;
  given.memory = state.memory;
  given.tasks = state.tasks;
  given.device_count = capacity.device_count;
  std::copy(state.device.begin(), state.device.end(), given.device);
  std::copy(state.counted.begin(), state.counted.end(), given.counted);
  return given;
}

trackbed_event GiveEvent(std::string_view run, std::string_view task_name, uint64_t sequence,
                         const Event& event) {
  static_assert(kNoTask == TRACKBED_NO_TASK);
  return {sizeof(trackbed_event),
          static_cast<trackbed_event_type>(event.type),
          sequence,
          ToNanoseconds(event.time),
          event.task,
          event.attempt,
          Borrow(run),
          Borrow(task_name),
          Borrow(event.detail)};
}

}  // namespace trackbed::capi

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

size_t trackbed_cluster_view_size(const trackbed_cluster_view* view) noexcept {
  return view == nullptr ? 0 : view->cluster->size();
}

int32_t trackbed_cluster_view_fits(const trackbed_cluster_view* view, uint32_t node,
                                   const trackbed_demand* demand,
                                   trackbed_placement* first) noexcept {
  return GuardValue<int32_t>(0, [&] {
    trackbed_demand given;
    if (view == nullptr || node >= view->cluster->size() ||
        !ReadStruct(demand, "demand", &given).ok()) {
      return 0;
    }
    StatusOr<Demand> read = ReadDemand(given);
    if (!read.ok()) return 0;
    const CountedAmounts counted = ReadCounted(given.counted);
    read->counted = &counted;
    if (!view->cluster->Fits(node, *read)) return 0;
    if (first != nullptr) *first = GivePlacement(view->cluster->FirstDevices(node, *read));
    return 1;
  });
}

trackbed_status trackbed_cluster_view_node(const trackbed_cluster_view* view, uint32_t node,
                                           trackbed_node_capacity* capacity,
                                           trackbed_node_state* state) noexcept {
  return Guard(nullptr, [&]() -> Status {
    TRACKBED_NEED(view);
    if (node >= view->cluster->size()) return NotFound("no such node");
    const NodeCapacity& has = view->cluster->capacity(node);
    if (capacity != nullptr) {
      TRACKBED_RETURN_IF_ERROR(CheckOut(capacity, "capacity"));
      CopyOut(GiveCapacity(has, 0), capacity->struct_size, capacity);
    }
    if (state != nullptr) {
      TRACKBED_RETURN_IF_ERROR(CheckOut(state, "state"));
      CopyOut(GiveState(view->cluster->state(node), has), state->struct_size, state);
    }
    return absl::OkStatus();
  });
}
