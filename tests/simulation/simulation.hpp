// A host with a disk, engines and attempts, simulated from a seed: hours of pipelines, users who
// change their minds, people who are asked, and everything that goes wrong; then, with nothing
// going wrong any more, the end of every run. The engine, its scheduler, its rules of leases,
// retries and cache, and the store on SQLite are the real ones.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "trackbed/base/time.hpp"

namespace trackbed {

enum class Fault : uint8_t {
  crash,           // a process of an engine is killed at some moment
  crash_in_write,  // it dies in the middle of a write to the disk
  write_error,     // a write or a flush fails
  disk_full,       // for minutes
  power_loss,      // everything dies; what was not flushed is kept, lost or torn
  rival,           // a second engine wants the lease
  stall,           // a process stands still, for longer than its lease
  stall_in_start,  // the same, between deciding to start an attempt and starting it
  clock_set,       // by up to ten minutes, either way
  host_loss,       // every attempt vanishes
  busy_executor,   // nothing can be started for minutes
  wild_reports,    // of attempts that are over, or never were
  user,            // cancels, resumes, retries, and posts requests
  node_loss,       // of several nodes one is away for minutes, and what ran there is lost
  node_silent,     // of several nodes one does not answer for minutes, and what runs there goes on
  slow_network,    // what is said to one of several nodes takes half a minute to get there
  node_change,     // somebody drains one of several nodes, takes it away, or has it used again
  no_secret,       // the source of secrets gives none for minutes
};
inline constexpr size_t kFaults = 18;
std::string_view ToString(Fault fault);

struct SimulationOptions {
  uint64_t seed = 1;
  Duration time = std::chrono::hours(4);  // with faults; the rest is without
  int runs = 60;                          // at most
  std::array<bool, kFaults> faults = [] {
    std::array<bool, kFaults> all{};
    all.fill(true);
    return all;
  }();
  bool lying =
      false;  // every disk says that it has flushed and has not; else that of one seed in ten
  bool trace = false;  // what happens, to stderr
};

struct SimulationResult {
  std::string violation;  // the first thing that did not hold; "" when everything did
  Duration simulated{0};
  int64_t runs = 0;
  int64_t attempts = 0;
  int64_t events = 0;
  int64_t answers = 0;      // to tasks that wait for approval, taken or not
  int64_t preemptions = 0;  // attempts told to stop for others
  int64_t needed = 0;       // … of which it was counted that it was not for nothing
  int64_t disk_operations = 0;
  // The disk had said that it had flushed when it had not, the power went, and a damaged store was
  // told from a sound one: nobody goes on with it.
  bool store_lost = false;
  std::array<int64_t, kFaults> faults{};
  std::string digest;  // of everything that was decided: the same for the same options
};

SimulationResult Simulate(const SimulationOptions& options);

}  // namespace trackbed
