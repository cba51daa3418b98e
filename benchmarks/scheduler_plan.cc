// What a decision of the scheduler costs: of a whole queue at once, and after one task has ended.
//
//   scheduler_plan [--quick] [--json FILE]
//
// The cluster is one of nodes with 8 devices; tasks come from MakeWorkload. Nodes are chosen by
// first fit that remembers, for each demand, which have room, so that the times are those of the
// scheduler and not of a placer that scans.
#include <absl/container/flat_hash_map.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "measure.hpp"
#include "trackbed/base/random.hpp"
#include "trackbed/scheduling/scheduler.hpp"
#include "trackbed/scheduling/workload.hpp"

namespace trackbed::benchmark {
namespace {

constexpr int64_t kGibibyte = int64_t{1} << 30U;

[[noreturn]] void Die(std::string_view message) {
  std::fprintf(stderr, "scheduler_plan: %.*s\n", static_cast<int>(message.size()), message.data());
  std::exit(1);
}

void Check(const Status& status) {
  if (!status.ok()) Die(Message(status));
}

template <typename T>
T Check(StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

// First fit. For each demand it is kept which nodes have room, a bit each.
class IndexedFirstFit final : public Placer {
 public:
  std::optional<Placement> Choose(const Cluster& cluster, const Demand& demand) override {
    Room& room = rooms_[demand];
    if (room.bits.empty() || room.seen < cluster.first_change()) {
      room.bits.assign((cluster.size() + 63) / 64, 0);
      for (NodeIndex node = 0; node < cluster.size(); ++node) Look(cluster, demand, node, &room);
    } else {
      for (uint64_t i = room.seen; i < cluster.end_change(); ++i) {
        Look(cluster, demand, cluster.Changed(i), &room);
      }
    }
    room.seen = cluster.end_change();
    for (size_t word = 0; word < room.bits.size(); ++word) {
      if (room.bits[word] == 0) continue;
      const auto bit = static_cast<size_t>(std::countr_zero(room.bits[word]));
      return cluster.FirstDevices(static_cast<NodeIndex>(word * 64 + bit), demand);
    }
    return std::nullopt;
  }

 private:
  struct Room {
    std::vector<uint64_t> bits;
    uint64_t seen = 0;
  };
  static void Look(const Cluster& cluster, const Demand& demand, NodeIndex node, Room* room) {
    const uint64_t bit = uint64_t{1} << node % 64;
    room->bits[node / 64] &= ~bit;
    if (cluster.Fits(node, demand)) room->bits[node / 64] |= bit;
  }

  absl::flat_hash_map<Demand, Room> rooms_;
};

const char* NameOf(Backfill backfill) {
  switch (backfill) {
    case Backfill::strict:
      return "strict";
    case Backfill::any:
      return "any";
    case Backfill::easy:
      return "easy";
    case Backfill::conservative:
      return "conservative";
  }
  return "";
}

struct Lab {
  Lab(size_t nodes, Backfill backfill)
      : scheduler([&] {
          SchedulerOptions options;
          options.policy.backfill = backfill;
          options.placer = std::make_unique<IndexedFirstFit>();
          return options;
        }()) {
    NodeCapacity capacity;
    capacity.cpu = 64'000;
    capacity.memory = 512 * kGibibyte;
    capacity.device_count = 8;
    for (size_t i = 0; i < nodes; ++i) {
      Check(scheduler.AddNode(std::to_string(i), capacity));
    }
  }

  void Submit(size_t tasks, uint64_t seed) {
    WorkloadMix mix;
    mix.jobs = tasks;
    mix.tenants = 40;
    for (const Job& job : MakeWorkload(mix, seed).jobs) {
      const auto [tenant, added] = tenants.try_emplace(job.tenant, kRootTenant);
      if (added) {
        std::string name = job.tenant;
        std::replace(name.begin(), name.end(), '/', '.');
        tenant->second = Check(scheduler.AddTenant(kRootTenant, name, {}));
      }
      TaskRequest task;
      task.id = ++last;
      task.tenant = tenant->second;
      task.priority = job.priority;
      task.demand = job.demand;
      task.members = job.members;
      task.on_different_nodes = job.on_different_nodes;
      task.run_time = job.requested;
      Check(scheduler.Submit(task, now));
      now += std::chrono::milliseconds(10);
    }
  }

  size_t Schedule() {
    const Plan plan = scheduler.Schedule(now);
    for (const Start& start : plan.starts) running.push_back(start.task);
    return plan.starts.size();
  }

  Scheduler scheduler;
  absl::flat_hash_map<std::string, TenantIndex> tenants;
  std::vector<TaskId> running;
  TaskId last = 0;
  Time now = FromNanoseconds(1'767'225'600'000'000'000);
};

// ---- The whole queue at once -----------------------------------------------------------------

struct Whole {
  size_t nodes;
  size_t waiting;
  Backfill backfill;
  size_t started;
  double submit;    // seconds of the processor, all of them
  double schedule;  // the same
};

Whole MeasureWhole(size_t nodes, size_t waiting, Backfill backfill) {
  Lab lab(nodes, backfill);
  const Stopwatch submitting;
  lab.Submit(waiting, 1);
  const double submit = submitting.ProcessorSeconds();
  const Stopwatch scheduling;
  const size_t started = lab.Schedule();
  return {nodes, waiting, backfill, started, submit, scheduling.ProcessorSeconds()};
}

// ---- One end and what follows ----------------------------------------------------------------

struct Step {
  size_t nodes;
  size_t waiting;
  Backfill backfill;
  double median;  // seconds of the processor, of one Finish and one Schedule
  double p95;
};

Step MeasureStep(size_t nodes, size_t waiting, Backfill backfill, size_t steps) {
  Lab lab(nodes, backfill);
  do lab.Submit(nodes * 4, lab.last + 1);
  while (lab.Schedule() == nodes * 4);
  lab.Submit(waiting, 1);
  lab.Schedule();
  SeededRandom random(1);
  std::vector<double> times;
  const size_t deep = lab.scheduler.waiting();
  for (size_t i = 0; i < steps; ++i) {
    lab.now += std::chrono::milliseconds(100);
    std::swap(lab.running[random.Next() % lab.running.size()], lab.running.back());
    const TaskId ends = lab.running.back();
    lab.running.pop_back();
    const Stopwatch watch;
    Check(lab.scheduler.Finish(ends, lab.now));
    const Plan plan = lab.scheduler.Schedule(lab.now);
    times.push_back(watch.ProcessorSeconds());
    for (const Start& start : plan.starts) lab.running.push_back(start.task);
  }
  std::sort(times.begin(), times.end());
  return {nodes, deep, backfill, Median(times), times[times.size() * 95 / 100]};
}

// ---- A task that fits, however many wait -----------------------------------------------------

struct Arrival {
  size_t waiting;
  double median;  // seconds of the processor, from Submit to the end of Schedule
};

// The cluster is full of devices but has cores left; those that wait want devices.
Arrival MeasureArrival(size_t waiting, size_t tries) {
  Lab lab(1000, Backfill::easy);
  TaskRequest device;
  device.demand.whole_devices = 8;
  for (size_t i = 0; i < 1000 + waiting; ++i) {
    device.id = ++lab.last;
    device.run_time = std::chrono::minutes(60 + i % 8);
    Check(lab.scheduler.Submit(device, lab.now));
  }
  lab.Schedule();
  std::vector<double> times;
  for (size_t i = 0; i < tries; ++i) {
    lab.now += std::chrono::milliseconds(1);
    TaskRequest task;
    task.id = ++lab.last;
    task.demand.cpu = 1000;
    task.run_time = std::chrono::minutes(1);
    const Stopwatch watch;
    Check(lab.scheduler.Submit(task, lab.now));
    if (lab.scheduler.Schedule(lab.now).starts.size() != 1) Die("the task does not start");
    times.push_back(watch.ProcessorSeconds());
    Check(lab.scheduler.Finish(task.id, lab.now));
    lab.scheduler.Schedule(lab.now);
  }
  return {waiting, Median(times)};
}

// ---- The report ------------------------------------------------------------------------------

struct Aim {
  std::string what;
  double limit;
  std::string unit;
  double measured;
};

struct Results {
  std::vector<Whole> wholes;
  std::vector<Step> steps;
  std::vector<Arrival> arrivals;
};

std::vector<Aim> CompareToAims(const Results& results) {
  std::vector<Aim> aims;
  for (const Whole& whole : results.wholes) {
    aims.push_back({"one Schedule of " + std::to_string(whole.waiting) + " over " +
                        std::to_string(whole.nodes) + " nodes, " + NameOf(whole.backfill),
                    1, "s", whole.schedule});
  }
  for (const Step& step : results.steps) {
    aims.push_back({"one Finish and Schedule, " + std::to_string(step.nodes) + " nodes, " +
                        NameOf(step.backfill),
                    100, "us", step.median * 1e6});
  }
  aims.push_back({"a task that fits, behind " + std::to_string(results.arrivals.back().waiting) +
                      " / behind " + std::to_string(results.arrivals.front().waiting),
                  1.1, "x", results.arrivals.back().median / results.arrivals.front().median});
  return aims;
}

nlohmann::ordered_json ToJson(const Results& results, const std::vector<Aim>& aims) {
  nlohmann::ordered_json json;
  for (const Whole& whole : results.wholes) {
    json["whole"].push_back({{"nodes", whole.nodes},
                             {"waiting", whole.waiting},
                             {"backfill", NameOf(whole.backfill)},
                             {"started", whole.started},
                             {"submit_s", whole.submit},
                             {"schedule_s", whole.schedule}});
  }
  for (const Step& step : results.steps) {
    json["steps"].push_back({{"nodes", step.nodes},
                             {"waiting", step.waiting},
                             {"backfill", NameOf(step.backfill)},
                             {"median_us", step.median * 1e6},
                             {"p95_us", step.p95 * 1e6}});
  }
  for (const Arrival& arrival : results.arrivals) {
    json["arrivals"].push_back({{"waiting", arrival.waiting}, {"median_us", arrival.median * 1e6}});
  }
  for (const Aim& aim : aims) {
    json["aims"].push_back(
        {{"what", aim.what}, {"limit", aim.limit}, {"unit", aim.unit}, {"measured", aim.measured}});
  }
  return json;
}

void Main(bool quick, const std::string& json) {
  Results results;
  std::printf("Of the processor.\n\n%8s %8s %-13s %8s %12s %12s\n", "nodes", "waiting", "backfill",
              "started", "submit, s", "schedule, s");
  for (const Backfill backfill : {Backfill::any, Backfill::easy}) {
    results.wholes.push_back(
        MeasureWhole(quick ? 1000 : 10'000, quick ? 10'000 : 100'000, backfill));
    const Whole& whole = results.wholes.back();
    std::printf("%8zu %8zu %-13s %8zu %12.3f %12.3f\n", whole.nodes, whole.waiting,
                NameOf(backfill), whole.started, whole.submit, whole.schedule);
    std::fflush(stdout);
  }
  std::printf("\n%8s %8s %-13s %12s %12s\n", "nodes", "waiting", "backfill", "median, us",
              "p95, us");
  for (const size_t nodes : {size_t{1000}, size_t{10'000}}) {
    if (quick && nodes > 1000) continue;
    for (const Backfill backfill : {Backfill::any, Backfill::easy}) {
      results.steps.push_back(
          MeasureStep(nodes, quick ? 10'000 : 100'000, backfill, quick ? 200 : 300));
      const Step& step = results.steps.back();
      std::printf("%8zu %8zu %-13s %12.1f %12.1f\n", step.nodes, step.waiting, NameOf(backfill),
                  step.median * 1e6, step.p95 * 1e6);
      std::fflush(stdout);
    }
  }
  std::printf("\n%8s %12s\n", "waiting", "median, us");
  for (const size_t waiting : {10U, 100U, 1000U, 10'000U, 100'000U}) {
    if (quick && waiting > 10'000) continue;
    results.arrivals.push_back(MeasureArrival(waiting, quick ? 300 : 2000));
    std::printf("%8zu %12.2f\n", waiting, results.arrivals.back().median * 1e6);
    std::fflush(stdout);
  }
  const std::vector<Aim> aims = CompareToAims(results);
  std::printf("\n%-64s %8s %9s\n", "aim", "at most", "measured");
  for (const Aim& aim : aims) {
    std::printf("%-64s %8.4g %9.4g %s%s\n", aim.what.c_str(), aim.limit, aim.measured,
                aim.unit.c_str(), aim.measured <= aim.limit ? "" : "  OVER");
  }
  if (json.empty()) return;
  std::ofstream file(json);
  file << ToJson(results, aims).dump(2) << '\n';
  if (!file.flush()) Die("cannot write " + json);
}

}  // namespace
}  // namespace trackbed::benchmark

int main(int argc, char** argv) {
  bool quick = false;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      trackbed::benchmark::Die("usage: scheduler_plan [--quick] [--json FILE]");
    }
  }
  trackbed::benchmark::Main(quick, json);
  return 0;
}
