// simulate: placement policies on recorded work.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/simulation_json.hpp"
#include "trackbed/scheduling/trace_openb.hpp"

namespace trackbed::cli {
namespace {

StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || file.bad()) return NotFound(absl::StrCat("cannot read ", path));
  return text;
}

StatusOr<std::vector<uint64_t>> ParseSeeds(const std::string& text) {
  constexpr uint64_t kMost = 10'000;
  const auto mistake = [&] {
    return InvalidArgument(absl::StrCat("--seeds: found \"", text,
                                        "\", expected FIRST-LAST or numbers joined by commas, at "
                                        "most ",
                                        kMost));
  };
  std::vector<uint64_t> seeds;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, '-');
    uint64_t first = 0;
    uint64_t last = 0;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
        !absl::SimpleAtoi(ends.back(), &last) || last < first || last - first >= kMost ||
        seeds.size() + (last - first) >= kMost) {
      return mistake();
    }
    for (uint64_t i = 0; i <= last - first; ++i) seeds.push_back(first + i);
  }
  return seeds;
}

// Every tenth percent, to fit a line of a terminal.
void PrintTable(const SimulateOptions& options, const std::vector<openb::Run>& runs) {
  std::printf("Devices allocated, in percent, by the load that had arrived; policy %s\n\n",
              options.policy.c_str());
  std::printf("%9s", "seed");
  for (size_t i = 0; i < openb::kLoads; i += 2) std::printf("%6d%%", openb::LoadAt(i));
  std::printf("%9s%10s\n", "dropped", "us each");
  const auto line = [&](const std::string& name, auto&& number) {
    std::printf("%9s", name.c_str());
    for (size_t i = 0; i < openb::kLoads; i += 2) {
      std::printf("%7.2f", number([&](const openb::Run& run) { return run.allocated[i]; }));
    }
    std::printf("%9.0f%10.2f\n", number([](const openb::Run& run) { return run.dropped; }),
                number([](const openb::Run& run) {
                  return 1e6 * run.seconds / static_cast<double>(run.arrived);
                }));
  };
  for (const openb::Run& run : runs) {
    line(std::to_string(run.seed), [&](auto&& value) { return static_cast<double>(value(run)); });
  }
  if (runs.size() > 1) {
    line("mean", [&](auto&& value) { return openb::StatisticOf(runs, value).mean; });
    line("deviation", [&](auto&& value) { return openb::StatisticOf(runs, value).deviation; });
  }
  const auto mean = [&](auto&& value) { return openb::StatisticOf(runs, value).mean; };
  std::printf("\n%.0f tasks arrived; dropped:",
              mean([](const openb::Run& run) { return run.arrived; }));
  for (size_t i = 0; i < openb::kShapes.size(); ++i) {
    std::printf("%s %.0f %s", i == 0 ? "" : ",",
                mean([&](const openb::Run& run) { return run.dropped_shapes[i]; }),
                openb::kShapes[i]);
  }
  if (options.migrations > 0) {
    std::printf("\nMoved to make room: %.0f",
                mean([](const openb::Run& run) { return run.migrated; }));
  }
  std::printf("\nLeft at the end: %.2f%% in whole devices, %.2f%% where there is no cpu left\n",
              mean([](const openb::Run& run) { return run.left_whole; }),
              mean([](const openb::Run& run) { return run.left_without_cpu; }));
}

}  // namespace

int Simulate(const SimulateOptions& options) {
  constexpr double kMostInflate = 10;
  if (!(options.inflate > 0) || options.inflate > kMostInflate) {
    return Fail(
        InvalidArgument(absl::StrCat("--inflate: found ", options.inflate,
                                     ", expected a number above 0 and up to ", kMostInflate)));
  }
  const StatusOr<std::vector<uint64_t>> seeds = ParseSeeds(options.seeds);
  if (!seeds.ok()) return Fail(seeds.status());
  // An unknown policy is said before large files are read.
  if (const auto placer = MakePlacer(options.policy); !placer.ok()) return Fail(placer.status());

  constexpr int64_t kMostMigrations = 1'000'000;
  if (options.migrations < 0 || options.migrations > kMostMigrations) {
    return Fail(InvalidArgument(absl::StrCat("--migrations: found ", options.migrations,
                                             ", expected 0 to ", kMostMigrations)));
  }
  openb::Setup setup;
  setup.inflate = options.inflate;
  setup.migrations = static_cast<uint64_t>(options.migrations);
  const StatusOr<std::string> nodes_text = ReadWhole(options.nodes);
  if (!nodes_text.ok()) return Fail(nodes_text.status());
  StatusOr<openb::Nodes> nodes = openb::ReadNodes(*nodes_text, options.nodes);
  if (!nodes.ok()) return Fail(nodes.status());
  setup.nodes = *std::move(nodes);
  const StatusOr<std::string> work_text = ReadWhole(options.workload);
  if (!work_text.ok()) return Fail(work_text.status());
  StatusOr<std::vector<openb::Task>> tasks =
      openb::ReadTasks(*work_text, options.workload, setup.nodes);
  if (!tasks.ok()) return Fail(tasks.status());
  setup.tasks = *std::move(tasks);

  std::vector<openb::Run> runs;
  for (const uint64_t seed : *seeds) {
    PlacerOptions placer_options;
    if (!options.learn) placer_options.mix = openb::MixOf(setup.tasks);
    placer_options.seed = seed;
    const auto placer = MakePlacer(options.policy, placer_options);
    if (!placer.ok()) return Fail(placer.status());
    StatusOr<openb::Run> run = openb::Simulate(setup, seed, placer->get());
    if (!run.ok()) return Fail(run.status());
    runs.push_back(*std::move(run));
  }
  if (options.json) {
    const std::string json = PlacementRunsToJson(
        {options.policy, options.nodes, options.workload, options.inflate}, runs);
    std::printf("%s\n", json.c_str());
  } else {
    PrintTable(options, runs);
  }
  return kSuccess;
}

}  // namespace trackbed::cli
