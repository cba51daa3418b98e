#include "trackbed/scheduling/simulation_json.hpp"

#include <nlohmann/json.hpp>

namespace trackbed {
namespace {

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

std::string PlacementRunsToJson(const PlacementInput& input, const std::vector<openb::Run>& runs) {
  nlohmann::ordered_json json;
  json["policy"] = input.policy;
  json["nodes"] = input.nodes;
  json["workload"] = input.workload;
  json["inflate"] = input.inflate;
  json["runs"] = nlohmann::ordered_json::array();
  for (const openb::Run& run : runs) {
    nlohmann::ordered_json one;
    one["seed"] = run.seed;
    for (size_t i = 0; i < openb::kLoads; ++i) {
      one["allocated_percent"][std::to_string(openb::LoadAt(i))] = run.allocated[i];
    }
    one["arrived"] = run.arrived;
    one["dropped"] = run.dropped;
    for (size_t i = 0; i < openb::kShapes.size(); ++i) {
      one["dropped_shapes"][openb::kShapes[i]] = run.dropped_shapes[i];
    }
    one["migrated"] = run.migrated;
    one["left_whole_percent"] = run.left_whole;
    one["left_without_cpu_percent"] = run.left_without_cpu;
    one["decisions"] = run.arrived;
    one["seconds"] = run.seconds;
    json["runs"].push_back(std::move(one));
  }
  for (size_t i = 0; i < openb::kLoads; ++i) {
    const openb::Statistic at =
        openb::StatisticOf(runs, [&](const auto& run) { return run.allocated[i]; });
    json["allocated_percent"][std::to_string(openb::LoadAt(i))] = {{"mean", at.mean},
                                                                   {"deviation", at.deviation}};
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string SimulationToJson(const SimulationResult& result) {
  const SimulationSummary& summary = result.summary;
  nlohmann::ordered_json json;
  json["summary"] = {{"jobs", summary.jobs},
                     {"refused", summary.refused},
                     {"mean_wait_seconds", summary.mean_wait_seconds},
                     {"median_wait_seconds", summary.median_wait_seconds},
                     {"p95_wait_seconds", summary.p95_wait_seconds},
                     {"mean_slowdown", summary.mean_slowdown},
                     {"p95_slowdown", summary.p95_slowdown},
                     {"cpu_utilisation", summary.cpu_utilisation},
                     {"device_utilisation", summary.device_utilisation},
                     {"device_unallocated", summary.device_unallocated},
                     {"fragmentation", summary.fragmentation},
                     {"fairness", summary.fairness},
                     {"evictions", summary.evictions},
                     {"makespan_seconds", summary.makespan_seconds},
                     {"events", summary.events},
                     {"decisions", summary.decisions}};
  json["tenants"] = nlohmann::ordered_json::array();
  for (const TenantSummary& tenant : result.tenants) {
    json["tenants"].push_back({{"tenant", tenant.tenant},
                               {"jobs", tenant.jobs},
                               {"mean_wait_seconds", tenant.mean_wait_seconds},
                               {"mean_slowdown", tenant.mean_slowdown},
                               {"device_hours", tenant.device_hours},
                               {"core_hours", tenant.core_hours},
                               {"evictions", tenant.evictions}});
  }
  json["jobs"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < result.jobs.size(); ++i) {
    const Job& job = result.workload.jobs[i];
    const JobResult& end = result.jobs[i];
    nlohmann::ordered_json one = {
        {"job", job.name}, {"tenant", job.tenant}, {"submitted", FormatTime(job.submitted)}};
    if (end.refused.empty()) {
      one["first_start"] = FormatTime(end.first_start);
      one["start"] = FormatTime(end.start);
      one["end"] = FormatTime(end.end);
      one["wait_seconds"] = Seconds(end.wait);
      one["slowdown"] = end.slowdown;
      one["evictions"] = end.evictions;
    } else {
      one["refused"] = end.refused;
    }
    json["jobs"].push_back(std::move(one));
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace trackbed
