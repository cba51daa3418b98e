// Simulation of recorded work.
#include "scheduler.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/simulation.hpp"
#include "trackbed/scheduling/simulation_json.hpp"
#include "trackbed/scheduling/trace_openb.hpp"

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

namespace {

constexpr uint64_t kUsualSeed = 42;
constexpr size_t kMostSeeds = 10'000;
constexpr double kMostInflate = 10;

struct Input {
  std::string nodes;
  std::string nodes_file;
  std::string workload;
  std::string workload_file;
  std::string placer;
};

StatusOr<Input> ReadInput(const trackbed_simulation_options& read) {
  Input input;
  TRACKBED_RETURN_IF_ERROR(ReadText(read.nodes, "options.nodes", &input.nodes));
  TRACKBED_RETURN_IF_ERROR(ReadText(read.nodes_file, "options.nodes_file", &input.nodes_file));
  TRACKBED_RETURN_IF_ERROR(ReadText(read.workload, "options.workload", &input.workload));
  TRACKBED_RETURN_IF_ERROR(
      ReadText(read.workload_file, "options.workload_file", &input.workload_file));
  TRACKBED_RETURN_IF_ERROR(ReadText(read.placer, "options.placer", &input.placer));
  if (input.nodes_file.empty()) input.nodes_file = "nodes";
  if (input.workload_file.empty()) input.workload_file = "workload";
  if (input.placer.empty()) input.placer = "default";
  // An unknown placer is said before large texts are read.
  TRACKBED_RETURN_IF_ERROR(MakePlacer(input.placer).status());
  return input;
}

StatusOr<std::string> SimulatePlacement(const trackbed_simulation_options& read,
                                        const Input& input) {
  openb::Setup setup;
  if (read.inflate < 0 || read.inflate > kMostInflate || read.inflate != read.inflate) {
    return InvalidArgument("options.inflate: expected a number above 0 and up to 10");
  }
  if (read.inflate > 0) setup.inflate = read.inflate;
  if (read.seed_count > kMostSeeds) return InvalidArgument("options.seeds: found too many");
  if (read.seeds == nullptr && read.seed_count != 0) return MissingArgument("options.seeds");
  std::vector<uint64_t> seeds = {kUsualSeed};
  if (read.seed_count != 0) seeds.assign(read.seeds, read.seeds + read.seed_count);
  TRACKBED_ASSIGN_OR_RETURN(setup.nodes, openb::ReadNodes(input.nodes, input.nodes_file));
  TRACKBED_ASSIGN_OR_RETURN(setup.tasks,
                            openb::ReadTasks(input.workload, input.workload_file, setup.nodes));
  std::vector<openb::Run> runs;
  for (const uint64_t seed : seeds) {
    PlacerOptions options;
    if (read.learn == 0) options.mix = openb::MixOf(setup.tasks);
    options.seed = seed;
    TRACKBED_ASSIGN_OR_RETURN(const std::unique_ptr<Placer> placer,
                              MakePlacer(input.placer, options));
    TRACKBED_ASSIGN_OR_RETURN(openb::Run run, openb::Simulate(setup, seed, placer.get()));
    runs.push_back(std::move(run));
  }
  return PlacementRunsToJson({input.placer, input.nodes_file, input.workload_file, setup.inflate},
                             runs);
}

Outcome SimulateJobs(const trackbed_simulation_options& read, const Input& input,
                     SimulationResult* result) {
  trackbed_scheduler_options given;
  TRACKBED_RETURN_IF_ERROR(ReadOptions(read.policy, "options.policy", &given));
  if (given.host_order != nullptr) {
    return InvalidArgument(
        "options.policy.host_order: a simulation has one of the built-in orders");
  }
  StatusOr<GroupPolicy> policy = ReadPolicy(given);
  if (!policy.ok()) return policy.status();
  StatusOr<openb::Nodes> listed = openb::ReadNodes(input.nodes, input.nodes_file);
  if (!listed.ok()) return listed.status();
  Diagnostics diagnostics(input.workload_file);
  const Workload workload = read.trace == TRACKBED_TRACE_SACCT
                                ? ReadSacctWorkload(input.workload, &diagnostics)
                                : ReadPhillyWorkload(input.workload, &diagnostics);
  if (diagnostics.has_errors()) return Outcome(diagnostics);
  std::vector<SimulatedNode> nodes;
  nodes.reserve(listed->nodes.size());
  for (const openb::Node& node : listed->nodes) nodes.push_back({node.name, node.capacity});
  StatusOr<std::unique_ptr<Placer>> placer = MakePlacer(input.placer);
  if (!placer.ok()) return placer.status();
  SimulationOptions options;
  options.exact_run_times = read.exact_run_times != 0;
  if (read.seed_count != 0 && read.seeds != nullptr) options.seed = read.seeds[0];
  StatusOr<SimulationResult> simulated =
      SimulateWorkload(nodes, workload, *policy, *std::move(placer), options);
  if (!simulated.ok()) return simulated.status();
  *result = *std::move(simulated);
  return absl::OkStatus();
}

}  // namespace

trackbed_status trackbed_simulate(const trackbed_simulation_options* options, trackbed_bytes* json,
                                  trackbed_bytes* csv, trackbed_bytes* html,
                                  trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Outcome {
    TRACKBED_NEED(json);
    trackbed_simulation_options read;
    TRACKBED_RETURN_IF_ERROR(ReadStruct(options, "options", &read));
    StatusOr<Input> input = ReadInput(read);
    if (!input.ok()) return input.status();
    if (read.trace == TRACKBED_TRACE_OPENB) {
      StatusOr<std::string> result = SimulatePlacement(read, *input);
      if (!result.ok()) return result.status();
      if (csv != nullptr) *csv = {nullptr, 0};
      if (html != nullptr) *html = {nullptr, 0};
      return GiveBytes(*result, json);
    }
    if (read.trace != TRACKBED_TRACE_PHILLY && read.trace != TRACKBED_TRACE_SACCT) {
      return InvalidArgument("options.trace: found an unknown form");
    }
    SimulationResult result;
    if (Outcome simulated = SimulateJobs(read, *input, &result); !simulated.ok()) return simulated;
    trackbed_bytes texts[3] = {};
    Status given = GiveBytes(SimulationToJson(result), &texts[0]);
    if (given.ok() && csv != nullptr) given = GiveBytes(WriteSimulationCsv(result), &texts[1]);
    if (given.ok() && html != nullptr) {
      given = GiveBytes(WriteSimulationHtml(input->workload_file, result), &texts[2]);
    }
    if (!given.ok()) {
      for (trackbed_bytes& text : texts) trackbed_bytes_free(&text);
      return given;
    }
    *json = texts[0];
    if (csv != nullptr) *csv = texts[1];
    if (html != nullptr) *html = texts[2];
    return absl::OkStatus();
  });
}
