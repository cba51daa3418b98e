// Simulates whole systems, seed after seed, and says which promise was broken, by what smallest
// part of a simulation.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "simulation/simulation.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

std::string CommandFor(const SimulationOptions& options) {
  std::string command =
      "./dev simulate --seed " + std::to_string(options.seed) + " --runs " +
      std::to_string(options.runs) + " --hours " +
      std::to_string(std::chrono::duration<double, std::ratio<3600>>(options.time).count());
  for (size_t i = 0; i < kFaults; ++i) {
    if (!options.faults[i]) command += " --without " + std::string(ToString(static_cast<Fault>(i)));
  }
  if (options.lying) command += " --lying";
  return command;
}

// Takes away whatever the violation does not need: kinds of faults, then runs, then time.
SimulationOptions Minimise(SimulationOptions options) {
  const auto still_fails = [](const SimulationOptions& smaller) {
    return !Simulate(smaller).violation.empty();
  };
  for (size_t i = 0; i < kFaults; ++i) {
    SimulationOptions smaller = options;
    smaller.faults[i] = false;
    if (still_fails(smaller)) options = smaller;
  }
  for (int step = options.runs / 2; step > 0; step /= 2) {
    SimulationOptions smaller = options;
    smaller.runs -= step;
    if (smaller.runs > 0 && still_fails(smaller)) options = smaller;
  }
  for (int i = 0; i < 6; ++i) {
    SimulationOptions smaller = options;
    smaller.time = smaller.time * 3 / 4;
    if (still_fails(smaller)) options = smaller;
  }
  return options;
}

int Main(int argc, char** argv) {
  SimulationOptions options;
  uint64_t seeds = 1;
  double minutes = 0;
  double hours = 4;
  bool fresh = false;
  std::vector<std::string> without;
  CLI::App app("Simulates engines, their disk, their host and what goes wrong, from a seed.");
  auto* seed = app.add_option("--seed", options.seed, "the first seed");
  app.add_option("--seeds", seeds, "how many, one after the other");
  app.add_option("--minutes", minutes, "go on with further seeds for so long");
  app.add_option("--hours", hours, "simulated, with faults, for each seed")
      ->check(CLI::Range(0.01, 10'000.0));
  app.add_option("--runs", options.runs, "submitted, for each seed")->check(CLI::Range(1, 100'000));
  app.add_flag("--fresh", fresh, "take a first seed that nobody has seen");
  app.add_option("--without", without, "a kind of fault to leave out; may be repeated");
  app.add_flag("--lying", options.lying,
               "every disk lies about flushes, not that of one seed in ten");
  app.add_flag("--trace", options.trace, "tell what happens");
  CLI11_PARSE(app, argc, argv);

  if (fresh && seed->count() == 0) options.seed = SystemRandom().Next() % 1'000'000'000;
  options.time =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::ratio<3600>>(hours));
  for (const std::string& name : without) {
    bool found = false;
    for (size_t i = 0; i < kFaults; ++i) {
      if (ToString(static_cast<Fault>(i)) != name) continue;
      options.faults[i] = false;
      found = true;
    }
    if (!found) {
      std::fprintf(stderr, "--without: found %s, expected one of", name.c_str());
      for (size_t i = 0; i < kFaults; ++i) {
        std::fprintf(stderr, " %s", std::string(ToString(static_cast<Fault>(i))).c_str());
      }
      std::fprintf(stderr, "\n");
      return 2;
    }
  }

  SimulationResult total;
  int64_t simulations = 0;
  int64_t stores_lost = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  const uint64_t first = options.seed;
  for (; options.seed - first < seeds || elapsed() < minutes * 60; ++options.seed) {
    const SimulationResult result = Simulate(options);
    if (!result.violation.empty()) {
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(options.seed),
                  result.violation.c_str());
      std::fflush(stdout);
      if (options.trace) return 1;
      const SimulationOptions smallest = Minimise(options);
      std::printf("smaller: %s\n%s --trace\n", Simulate(smallest).violation.c_str(),
                  CommandFor(smallest).c_str());
      return 1;
    }
    ++simulations;
    stores_lost += result.store_lost ? 1 : 0;
    total.simulated += result.simulated;
    total.runs += result.runs;
    total.attempts += result.attempts;
    total.events += result.events;
    total.answers += result.answers;
    total.preemptions += result.preemptions;
    total.needed += result.needed;
    total.disk_operations += result.disk_operations;
    for (size_t i = 0; i < kFaults; ++i) total.faults[i] += result.faults[i];
    if (simulations == 1 && Simulate(options).digest != result.digest) {
      std::printf("seed %llu: the same seed tells two stories\n",
                  static_cast<unsigned long long>(options.seed));
      return 1;
    }
  }

  const double simulated = std::chrono::duration<double>(total.simulated).count();
  std::printf(
      "seeds %llu to %llu: %.0f simulated hours, %lld runs, %lld attempts, %lld events, "
      "%lld answers to questions, %lld attempts stopped for others (%lld seen to be needed), %lld "
      "writes and flushes, %lld "
      "stores given up as damaged; %.0f times real time\nfaults:",
      static_cast<unsigned long long>(first), static_cast<unsigned long long>(options.seed - 1),
      simulated / 3600, static_cast<long long>(total.runs), static_cast<long long>(total.attempts),
      static_cast<long long>(total.events), static_cast<long long>(total.answers),
      static_cast<long long>(total.preemptions), static_cast<long long>(total.needed),
      static_cast<long long>(total.disk_operations), static_cast<long long>(stores_lost),
      simulated / elapsed());
  for (size_t i = 0; i < kFaults; ++i) {
    std::printf(" %s %lld", std::string(ToString(static_cast<Fault>(i))).c_str(),
                static_cast<long long>(total.faults[i]));
  }
  std::printf("\n");
  return 0;
}

}  // namespace
}  // namespace trackbed

int main(int argc, char** argv) { return trackbed::Main(argc, argv); }
