#include "trackbed/scheduling/simulation.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <numeric>
#include <queue>
#include <tuple>

#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

constexpr double kShortest = 10;  // seconds; shorter jobs do not count as slowed down more

double Seconds(Duration duration) { return static_cast<double>(duration.count()) * 1e-9; }

double Mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// The smallest value that at least `percent` of them do not exceed.
double Percentile(std::vector<double> values, size_t percent) {
  if (values.empty()) return 0;
  const size_t rank = std::max<size_t>((values.size() * percent + 99) / 100, 1) - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(rank), values.end());
  return values[rank];
}

struct Event {
  enum class Kind : uint8_t { end, stop };  // at the same moment, an end comes first
  Time time;
  Kind kind;
  size_t job;
  uint32_t attempt;  // an event of an earlier one means nothing
  friend bool operator<(const Event& a, const Event& b) {  // for a queue with the first on top
    return std::tie(a.time, a.kind, a.job) > std::tie(b.time, b.kind, b.job);
  }
};

class Simulation {
 public:
  Simulation(Workload workload, const GroupPolicy& policy, std::unique_ptr<Placer> placer,
             const SimulationOptions& options)
      : options_(options), scheduler_([&] {
          SchedulerOptions scheduler;
          scheduler.policy = policy;
          scheduler.placer = std::move(placer);
          scheduler.resources = {"cpu", "mem", "devices"};
          return scheduler;
        }()) {
    result_.workload = std::move(workload);
  }

  Status Prepare(const std::vector<SimulatedNode>& nodes) {
    for (const SimulatedNode& node : nodes) {
      TRACKBED_RETURN_IF_ERROR(scheduler_.AddNode(node.name, node.capacity).status());
      result_.cpu_capacity += static_cast<double>(node.capacity.cpu) / 1000;
      result_.device_capacity += node.capacity.device_count;
    }
    std::vector<Job>& jobs = result_.workload.jobs;
    // The seed decides between those that come at the same moment.
    SeededRandom random(options_.seed);
    for (size_t i = jobs.size(); i > 1; --i) std::swap(jobs[i - 1], jobs[random.Next() % i]);
    std::stable_sort(jobs.begin(), jobs.end(),
                     [](const Job& a, const Job& b) { return a.submitted < b.submitted; });
    absl::flat_hash_set<std::string_view> names;
    for (const Job& job : jobs) {
      if (job.run_time < Duration{0} || job.requested < Duration{0}) {
        return InvalidArgument(absl::StrCat("job \"", job.name, "\": found a negative run time"));
      }
      if (!names.insert(job.name).second) {
        return InvalidArgument(absl::StrCat("there are two jobs \"", job.name, "\""));
      }
      TRACKBED_ASSIGN_OR_RETURN(const TenantIndex tenant, TenantOf(job.tenant));
      tenants_.push_back(tenant);
    }
    for (const auto& [path, quota] : options_.quotas) {
      TRACKBED_RETURN_IF_ERROR(TenantOf(path).status());
    }
    result_.jobs.resize(jobs.size());
    states_.resize(jobs.size());
    held_.resize(jobs.size());
    return absl::OkStatus();
  }

  Status Run() {
    const std::vector<Job>& jobs = result_.workload.jobs;
    size_t submitted = 0;
    Time wake = kNever;
    while (submitted < jobs.size() || !events_.empty() || scheduler_.waiting() > 0) {
      Time now = wake;
      if (!events_.empty()) now = std::min(now, events_.top().time);
      if (submitted < jobs.size()) now = std::min(now, jobs[submitted].submitted);
      if (now == kNever) {
        return Internal(absl::StrCat(scheduler_.waiting(),
                                     " jobs wait, none runs, and the scheduler starts none"));
      }
      const uint64_t before = result_.summary.events;
      while (!events_.empty() && events_.top().time == now) {
        const Event event = events_.top();
        events_.pop();
        TRACKBED_RETURN_IF_ERROR(Handle(event));
      }
      for (; submitted < jobs.size() && jobs[submitted].submitted == now; ++submitted) {
        TRACKBED_RETURN_IF_ERROR(Submit(submitted, now));
      }
      TRACKBED_RETURN_IF_ERROR(Decide(now, &wake));
      if (options_.recount_every > 0 &&
          before / options_.recount_every != result_.summary.events / options_.recount_every) {
        TRACKBED_RETURN_IF_ERROR(scheduler_.Recount());
      }
    }
    if (scheduler_.running() > 0) return Internal("a job runs that nobody ends");
    return options_.recount_every > 0 ? scheduler_.Recount() : absl::OkStatus();
  }

  SimulationResult Finish() {
    Summarise();
    result_.scheduler_seconds = Seconds(spent_);
    return std::move(result_);
  }

 private:
  struct JobState {
    uint32_t attempt = 0;
    bool running = false;
    bool stopping = false;
    bool started = false;  // at least once
  };

  // Of the wall: around each call of the scheduler.
  class Timer {
   public:
    explicit Timer(Duration* sum) : sum_(sum) {}
    ~Timer() { *sum_ += std::chrono::steady_clock::now() - start_; }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Duration* sum_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

  StatusOr<TenantIndex> TenantOf(const std::string& path) {
    if (path.empty()) return kRootTenant;
    const auto [known, added] = by_path_.try_emplace(path, kRootTenant);
    if (!added) return known->second;
    const size_t slash = path.rfind('/');
    TenantIndex parent = kRootTenant;
    if (slash != std::string::npos) {
      TRACKBED_ASSIGN_OR_RETURN(parent, TenantOf(path.substr(0, slash)));
    }
    Quota quota;
    if (const auto found = options_.quotas.find(path); found != options_.quotas.end()) {
      quota = found->second;
    }
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    TRACKBED_ASSIGN_OR_RETURN(const TenantIndex tenant, scheduler_.AddTenant(parent, name, quota));
    by_path_[path] = tenant;
    return tenant;
  }

  Status Submit(size_t index, Time now) {
    const Job& job = result_.workload.jobs[index];
    TaskRequest task;
    task.id = index + 1;
    task.tenant = tenants_[index];
    task.priority = job.priority;
    task.demand = job.demand;
    task.members = job.members;
    task.on_different_nodes = job.on_different_nodes;
    task.preemptible = job.preemptible;
    task.run_time = options_.exact_run_times
                        ? std::max<Duration>(job.run_time, std::chrono::milliseconds(1))
                        : job.requested;
    task.history = uint64_t{tenants_[index]} + 1;
    ++result_.summary.events;
    const Timer timer(&spent_);
    const Status status = scheduler_.Submit(task, now);
    if (status.ok()) {
      wanting_devices_ += job.demand.wants_devices() ? 1 : 0;
      return status;
    }
    if (status.code() != StatusCode::kResourceExhausted || states_[index].started) return status;
    result_.jobs[index].refused = std::string(Message(status));
    return absl::OkStatus();
  }

  Status Handle(const Event& event) {
    JobState& state = states_[event.job];
    if (event.attempt != state.attempt) return absl::OkStatus();
    ++result_.summary.events;
    ++state.attempt;
    state.running = false;
    state.stopping = false;
    const Job& job = result_.workload.jobs[event.job];
    Count(event.job, -1);
    {
      const Timer timer(&spent_);
      TRACKBED_RETURN_IF_ERROR(scheduler_.Finish(event.job + 1, event.time));
    }
    JobResult& result = result_.jobs[event.job];
    held_[event.job] += event.time - result.start;
    if (event.kind == Event::Kind::stop) return Submit(event.job, event.time);
    result.end = event.time;
    result.wait = result.end - job.submitted - job.run_time;
    result.slowdown = std::max(
        1.0, Seconds(result.end - job.submitted) / std::max(Seconds(job.run_time), kShortest));
    return absl::OkStatus();
  }

  Status Decide(Time now, Time* wake) {
    Plan plan;
    {
      const Timer timer(&spent_);
      plan = scheduler_.Schedule(now);
    }
    ++result_.summary.decisions;
    for (const Start& start : plan.starts) {
      const size_t index = start.task - 1;
      JobState& state = states_[index];
      const Job& job = result_.workload.jobs[index];
      if (state.running || now < job.submitted || start.members.size() != job.members) {
        return Internal(absl::StrCat("job \"", job.name, "\" starts twice, too early or in part"));
      }
      state.running = true;
      if (!state.started) result_.jobs[index].first_start = now;
      state.started = true;
      result_.jobs[index].start = now;
      events_.push({now + job.run_time, Event::Kind::end, index, state.attempt});
      wanting_devices_ -= job.demand.wants_devices() ? 1 : 0;
      Count(index, 1);
    }
    for (const Eviction& eviction : plan.evictions) {
      const size_t index = eviction.victim - 1;
      JobState& state = states_[index];
      if (!state.running || state.stopping || !result_.workload.jobs[index].preemptible) {
        return Internal(absl::StrCat("job ", index + 1, " is evicted, which it cannot be"));
      }
      state.stopping = true;
      ++result_.jobs[index].evictions;
      ++result_.summary.evictions;
      events_.push({now + options_.stop_time, Event::Kind::stop, index, state.attempt});
    }
    if (plan.next <= now) return Internal("the scheduler wants to be called again at once");
    *wake = plan.next;
    SimulationSample sample;
    sample.time = now;
    sample.cpu_used = static_cast<double>(cpu_used_) / 1000;
    sample.devices_used = static_cast<double>(devices_used_) / kWholeDevice;
    sample.waiting = scheduler_.waiting();
    sample.running = scheduler_.running();
    if (!result_.samples.empty() && result_.samples.back().time == now) {
      result_.samples.pop_back();
      fragmented_.pop_back();
    }
    result_.samples.push_back(sample);
    fragmented_.push_back(wanting_devices_ > 0);
    return options_.observe ? options_.observe(scheduler_, plan, now) : absl::OkStatus();
  }

  void Count(size_t index, int64_t sign) {
    const Job& job = result_.workload.jobs[index];
    cpu_used_ += sign * job.demand.cpu * job.members;
    devices_used_ += sign * job.demand.device_amount() * job.members;
  }

  void Summarise() {
    SimulationSummary& summary = result_.summary;
    std::vector<double> waits;
    std::vector<double> slowdowns;
    std::map<std::string, TenantSummary> tenants;
    Time first = kNever;
    Time last{};
    for (size_t i = 0; i < result_.jobs.size(); ++i) {
      const Job& job = result_.workload.jobs[i];
      const JobResult& result = result_.jobs[i];
      if (!result.refused.empty()) {
        ++summary.refused;
        continue;
      }
      waits.push_back(Seconds(result.wait));
      slowdowns.push_back(result.slowdown);
      first = std::min(first, job.submitted);
      last = std::max(last, result.end);
      TenantSummary& tenant = tenants[job.tenant];
      ++tenant.jobs;
      tenant.mean_wait_seconds += Seconds(result.wait);
      tenant.mean_slowdown += tenant.jobs == 1 ? result.slowdown - 1 : result.slowdown;
      tenant.evictions += result.evictions;
      const double hours = Seconds(held_[i]) / 3600 * job.members;
      tenant.device_hours += hours * static_cast<double>(job.demand.device_amount()) / kWholeDevice;
      tenant.core_hours += hours * static_cast<double>(job.demand.cpu) / 1000;
    }
    summary.jobs = waits.size();
    if (waits.empty()) return;
    summary.mean_wait_seconds = Mean(waits);
    summary.median_wait_seconds = Percentile(waits, 50);
    summary.p95_wait_seconds = Percentile(waits, 95);
    summary.mean_slowdown = Mean(slowdowns);
    summary.p95_slowdown = Percentile(slowdowns, 95);
    summary.makespan_seconds = Seconds(last - first);
    SummariseUse(first, last);
    double sum = 0;
    double squares = 0;
    for (auto& [name, tenant] : tenants) {
      tenant.tenant = name;
      tenant.mean_wait_seconds /= static_cast<double>(tenant.jobs);
      tenant.mean_slowdown /= static_cast<double>(tenant.jobs);
      sum += tenant.mean_slowdown;
      squares += tenant.mean_slowdown * tenant.mean_slowdown;
      result_.tenants.push_back(tenant);
    }
    summary.fairness = sum * sum / (squares * static_cast<double>(result_.tenants.size()));
  }

  void SummariseUse(Time first, Time last) {
    double cpu = 0;
    double devices = 0;
    double fragmented = 0;
    for (size_t i = 0; i < result_.samples.size(); ++i) {
      const SimulationSample& sample = result_.samples[i];
      const Time end = i + 1 < result_.samples.size() ? result_.samples[i + 1].time : last;
      const double length = Seconds(std::min(end, last) - std::clamp(sample.time, first, last));
      if (length <= 0) continue;
      cpu += sample.cpu_used * length;
      devices += sample.devices_used * length;
      if (fragmented_[i]) fragmented += (result_.device_capacity - sample.devices_used) * length;
    }
    SimulationSummary& summary = result_.summary;
    const double length = summary.makespan_seconds;
    if (length <= 0) return;
    if (result_.cpu_capacity > 0) summary.cpu_utilisation = cpu / (result_.cpu_capacity * length);
    if (result_.device_capacity <= 0) return;
    summary.device_utilisation = devices / (result_.device_capacity * length);
    summary.device_unallocated = 1 - summary.device_utilisation;
    summary.fragmentation = fragmented / (result_.device_capacity * length);
  }

  const SimulationOptions& options_;
  Scheduler scheduler_;
  SimulationResult result_;
  absl::flat_hash_map<std::string, TenantIndex> by_path_;
  std::vector<TenantIndex> tenants_;  // of each job
  std::vector<JobState> states_;      // of each job
  std::vector<Duration> held_;        // how long each held room in all
  std::priority_queue<Event> events_;
  std::vector<bool> fragmented_;  // for each sample, whether a job that wants devices waits
  int64_t cpu_used_ = 0;
  int64_t devices_used_ = 0;
  size_t wanting_devices_ = 0;  // jobs that wait for devices
  Duration spent_{0};
};

}  // namespace

StatusOr<SimulationResult> SimulateWorkload(const std::vector<SimulatedNode>& nodes,
                                            const Workload& workload, const GroupPolicy& policy,
                                            std::unique_ptr<Placer> placer,
                                            const SimulationOptions& options) {
  Simulation simulation(workload, policy, std::move(placer), options);
  TRACKBED_RETURN_IF_ERROR(simulation.Prepare(nodes));
  TRACKBED_RETURN_IF_ERROR(simulation.Run());
  return simulation.Finish();
}

}  // namespace trackbed
