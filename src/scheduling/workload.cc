// Workloads from a seed. Only products, sums and comparisons of numbers: the functions of <cmath>
// and the distributions of <random> differ between libraries.
#include "trackbed/scheduling/workload.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

constexpr int64_t kGibibyte = int64_t{1} << 30U;
// Where made workloads begin: 2026-01-01.
constexpr int64_t kFirstSubmission = 1'767'225'600'000'000'000;

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t end) { return random_.Next() % end; }
  // From 0 to below 1.
  double Uniform() { return static_cast<double>(random_.Next() >> 11U) * 0x1p-53; }

  // Mean 1 (von Neumann, "Various techniques used in connection with random digits", 1951): the
  // length of a falling run of uniform numbers is odd with just the right probability.
  double Exponential() {
    for (double whole = 0;; ++whole) {
      const double first = Uniform();
      double last = first;
      bool odd = true;
      for (double next = Uniform(); next < last; next = Uniform()) {
        last = next;
        odd = !odd;
      }
      if (odd) return whole + first;
    }
  }

  // Mean 0, deviation 1, near enough: the sum of twelve uniform numbers.
  double Normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum;
  }

 private:
  SeededRandom random_;
};

double PowerOfTwo(double exponent) {
  const double whole = std::floor(exponent);
  double fraction = exponent - whole;
  double value = std::ldexp(1.0, static_cast<int>(whole));
  double root = 2;
  for (int bit = 0; bit < 30; ++bit) {
    root = std::sqrt(root);
    fraction *= 2;
    if (fraction >= 1) {
      fraction -= 1;
      value *= root;
    }
  }
  return value;
}

// In whole seconds, as users write it.
Duration Seconds(double seconds) {
  return std::chrono::seconds(std::clamp<int64_t>(static_cast<int64_t>(seconds), 1, 30 * 86'400));
}

void DrawDemand(const WorkloadMix& mix, Draw* draw, Job* job) {
  const auto kind = static_cast<int>(draw->Below(100));
  Demand& demand = job->demand;
  if (kind < mix.fractional) {
    static constexpr std::array<int16_t, 6> kShares = {100, 125, 250, 250, 500, 750};
    demand.share = kShares[draw->Below(kShares.size())];
    demand.cpu = static_cast<int64_t>(1 + draw->Below(4)) * 1000;
    demand.memory = static_cast<int64_t>(2 + draw->Below(8)) * kGibibyte;
  } else if (kind < mix.fractional + mix.whole) {
    const auto devices = std::min(1 << draw->Below(3), mix.devices_per_node);
    demand.whole_devices = static_cast<int16_t>(devices);
    demand.cpu = static_cast<int64_t>(devices) * 4000;
    demand.memory = static_cast<int64_t>(devices) * 16 * kGibibyte;
  } else if (kind < mix.fractional + mix.whole + mix.gangs) {
    const bool nodes = draw->Below(2) == 0;
    const int devices = nodes ? mix.devices_per_node : 1;
    demand.whole_devices = static_cast<int16_t>(devices);
    demand.cpu = static_cast<int64_t>(devices) * 4000;
    demand.memory = static_cast<int64_t>(devices) * 16 * kGibibyte;
    job->members = static_cast<uint32_t>(2 + draw->Below(std::max(mix.largest_gang, 2U) - 1));
    job->on_different_nodes = nodes;
  } else {
    demand.cpu = static_cast<int64_t>(1 + draw->Below(16)) * 1000;
    demand.memory = static_cast<int64_t>(1 + draw->Below(32)) * kGibibyte;
  }
}

}  // namespace

Workload MakeWorkload(const WorkloadMix& mix, uint64_t seed) {
  Draw draw(seed);
  Workload workload;
  workload.jobs.reserve(mix.jobs);
  Time now = FromNanoseconds(kFirstSubmission);
  for (size_t i = 0; i < mix.jobs; ++i) {
    Job job;
    job.name = absl::StrCat("job", i);
    // Whole seconds, so that some come at the same moment.
    const double pause = draw.Exponential() * static_cast<double>(mix.between.count()) * 1e-9;
    now += std::chrono::seconds(std::llround(pause));
    job.submitted = now;
    const double octaves = draw.Normal() * mix.run_time_octaves;
    job.run_time =
        Seconds(static_cast<double>(mix.median_run_time.count()) * 1e-9 * PowerOfTwo(octaves));
    // Owners ask for too much, and for round numbers; some say nothing.
    if (draw.Below(5) != 0) {
      const auto minutes = static_cast<int64_t>(static_cast<double>(job.run_time.count()) * 1e-9 *
                                                (1 + 3 * draw.Uniform()) / 60);
      job.requested = std::chrono::minutes((minutes / 10 + 1) * 10);
    }
    const uint64_t tenant = std::min(draw.Below(mix.tenants + 1), draw.Below(mix.tenants + 1)) %
                            std::max<size_t>(mix.tenants, 1);
    job.tenant = absl::StrCat("team", tenant / 2, "/user", tenant % 2);
    while (job.priority + 1 < mix.priorities && draw.Below(5) == 0) ++job.priority;
    DrawDemand(mix, &draw, &job);
    job.preemptible = draw.Below(10) != 0;
    workload.jobs.push_back(std::move(job));
  }
  return workload;
}

}  // namespace trackbed
