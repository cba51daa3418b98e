// simulate --format philly, sacct or yaml: what the scheduler would have done with recorded work.
#include <absl/strings/str_cat.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/simulation.hpp"
#include "trackbed/scheduling/trace_openb.hpp"

namespace trackbed::cli {
namespace {

StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || file.bad()) return NotFound(absl::StrCat("cannot read ", path));
  return text;
}

Status WriteWhole(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) return FailedPrecondition(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

StatusOr<GroupPolicy> PolicyOf(const SimulateOptions& options) {
  static const std::map<std::string, QueueOrder> orders = {{"fifo", QueueOrder::fifo},
                                                           {"lifo", QueueOrder::lifo},
                                                           {"drf", QueueOrder::drf},
                                                           {"fair-share", QueueOrder::fair_share}};
  static const std::map<std::string, Backfill> backfills = {
      {"strict", Backfill::strict},
      {"any", Backfill::any},
      {"easy", Backfill::easy},
      {"conservative", Backfill::conservative}};
  GroupPolicy policy;
  const auto order = orders.find(options.order);
  const auto backfill = backfills.find(options.backfill);
  if (order == orders.end() || backfill == backfills.end()) {
    return InvalidArgument(absl::StrCat("found the order ", options.order, " and the backfill ",
                                        options.backfill, ", of which one is unknown"));
  }
  policy.order = order->second;
  policy.backfill = backfill->second;
  policy.preempt_by_priority = options.preempt;
  return policy;
}

void PrintSummary(const SimulationResult& result) {
  const SimulationSummary& summary = result.summary;
  std::printf("jobs             %zu ended, %zu refused, %llu stopped for others\n", summary.jobs,
              summary.refused, static_cast<unsigned long long>(summary.evictions));
  std::printf("wait             mean %.0f s, median %.0f s, 95%% below %.0f s\n",
              summary.mean_wait_seconds, summary.median_wait_seconds, summary.p95_wait_seconds);
  std::printf("slowdown         mean %.2f, 95%% below %.2f\n", summary.mean_slowdown,
              summary.p95_slowdown);
  std::printf("utilisation      cpu %.1f%%, devices %.1f%%\n", 100 * summary.cpu_utilisation,
              100 * summary.device_utilisation);
  std::printf("devices unused   %.1f%%; while somebody waits for one %.1f%%\n",
              100 * summary.device_unallocated, 100 * summary.fragmentation);
  std::printf("fairness (Jain)  %.3f over %zu tenants\n", summary.fairness, result.tenants.size());
  std::printf("makespan         %.1f h\n", summary.makespan_seconds / 3600);
}

Status SimulateAll(const SimulateOptions& options) {
  TRACKBED_ASSIGN_OR_RETURN(const GroupPolicy policy, PolicyOf(options));
  TRACKBED_ASSIGN_OR_RETURN(const std::string nodes_text, ReadWhole(options.nodes));
  TRACKBED_ASSIGN_OR_RETURN(const openb::Nodes listed, openb::ReadNodes(nodes_text, options.nodes));
  TRACKBED_ASSIGN_OR_RETURN(const std::string text, ReadWhole(options.workload));
  Diagnostics diagnostics(options.workload);
  const Workload workload = options.format == "yaml"    ? ReadYamlWorkload(text, &diagnostics)
                            : options.format == "sacct" ? ReadSacctWorkload(text, &diagnostics)
                                                        : ReadPhillyWorkload(text, &diagnostics);
  if (diagnostics.has_errors()) return InvalidArgument(diagnostics.ToString());
  std::vector<SimulatedNode> nodes;
  for (const openb::Node& node : listed.nodes) nodes.push_back({node.name, node.capacity});
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<Placer> placer, MakePlacer(options.policy));
  SimulationOptions simulation;
  simulation.exact_run_times = options.exact;
  TRACKBED_ASSIGN_OR_RETURN(
      const SimulationResult result,
      SimulateWorkload(nodes, workload, policy, std::move(placer), simulation));
  if (!options.csv.empty()) {
    TRACKBED_RETURN_IF_ERROR(WriteWhole(options.csv, WriteSimulationCsv(result)));
  }
  if (!options.html.empty()) {
    TRACKBED_RETURN_IF_ERROR(
        WriteWhole(options.html, WriteSimulationHtml(options.workload, result)));
  }
  PrintSummary(result);
  return absl::OkStatus();
}

}  // namespace

int SimulateTrace(const SimulateOptions& options) {
  const Status status = SimulateAll(options);
  return status.ok() ? kSuccess : Fail(status);
}

}  // namespace trackbed::cli
