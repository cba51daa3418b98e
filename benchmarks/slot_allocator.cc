// What it costs to give and take back a fraction of a GPU on a node with eight, beside the same
// done in the straightforward way: a vector of maps from slots to amounts.
//
//   slot_allocator [--quick] [--json FILE]
#include "trackbed/resources/slot_allocator.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "measure.hpp"

namespace {

size_t heap_allocations = 0;

}  // namespace

// Counts what the measured code asks of the heap. Not inlined: g++ 12 would see free() given what
// came from new and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  ++heap_allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace trackbed::benchmark {
namespace {

constexpr int kGpus = 8;
constexpr int kRepetitions = 9;
constexpr double kNano = 1e9;

[[noreturn]] void Die(std::string_view message) {
  std::fprintf(stderr, "slot_allocator: %.*s\n", static_cast<int>(message.size()), message.data());
  std::exit(1);
}

NodeDescription EightGpus() {
  NodeDescription node;
  for (int numa = 0; numa < 2; ++numa) {
    node.numa.push_back({numa, *Quantity::FromUnits(64), *Quantity::FromUnits(int64_t{1} << 40)});
  }
  node.cpu = *Quantity::FromUnits(128);
  node.mem = *Quantity::FromUnits(int64_t{2} << 40);
  for (int i = 0; i < kGpus; ++i) {
    NodeDevice device;
    device.id = "GPU-" + std::to_string(i);
    device.slot = "cuda.shares";
    device.capacity = *Quantity::FromUnits(1);
    device.numa_node = i / 4;
    node.devices.push_back(device);
  }
  return node;
}

// The straightforward way: for each device a map of what is used, for each allocation a map.
class MapAllocator {
 public:
  using Given = std::map<std::string, std::map<std::string, int64_t>>;

  MapAllocator() {
    for (int i = 0; i < kGpus; ++i) {
      devices_.push_back({{"cuda.shares", 0}});
      ids_.push_back("GPU-" + std::to_string(i));
    }
  }

  bool Allocate(const std::map<std::string, int64_t>& request, Given* given) {
    given->clear();
    for (const auto& [slot, amount] : request) {
      size_t best = devices_.size();
      for (size_t i = 0; i < devices_.size(); ++i) {
        const int64_t free = 1000 - devices_[i][slot];
        if (free >= amount && (best == devices_.size() || free <= 1000 - devices_[best][slot])) {
          best = i;
        }
      }
      if (best == devices_.size()) return false;
      devices_[best][slot] += amount;
      (*given)[slot][ids_[best]] = amount;
    }
    return true;
  }

  void Release(const Given& given) {
    for (const auto& [slot, parts] : given) {
      for (const auto& [id, amount] : parts) {
        for (size_t i = 0; i < ids_.size(); ++i) {
          if (ids_[i] == id) devices_[i][slot] -= amount;
        }
      }
    }
  }

 private:
  std::vector<std::map<std::string, int64_t>> devices_;
  std::vector<std::string> ids_;
};

struct Sample {
  std::vector<double> seconds;  // of the processor, for one allocation and release
  size_t heap = 0;              // allocations in all repetitions
};

template <typename Work>
void Measure(int rounds, Sample* sample, Work work) {
  const size_t heap_before = heap_allocations;
  const Stopwatch watch;
  for (int i = 0; i < rounds; ++i) work();
  const double seconds = watch.ProcessorSeconds() / rounds;
  sample->heap += heap_allocations - heap_before;
  sample->seconds.push_back(seconds);
}

int Main(int argc, char** argv) {
  int rounds = 1'000'000;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      rounds = 50'000;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      Die("usage: slot_allocator [--quick] [--json FILE]");
    }
  }
  StatusOr<SlotAllocator> allocator = SlotAllocator::Create(EightGpus());
  if (!allocator.ok()) Die(Message(allocator.status()));
  const Quantity quarter = Quantity::FromThousandths(250);
  const auto fraction = allocator->Prepare(std::vector<SlotRequest>{{"cuda.shares", quarter}});
  const auto whole_task =
      allocator->Prepare(std::vector<SlotRequest>{{"cuda.shares", quarter},
                                                  {"cpu", *Quantity::FromUnits(4)},
                                                  {"mem", *Quantity::FromUnits(1 << 30)}});
  if (!fraction.ok() || !whole_task.ok()) Die("a request was refused");

  // Half of the node is taken, so that devices differ.
  MapAllocator maps;
  MapAllocator::Given given;
  Allocation allocation;
  const std::map<std::string, int64_t> request = {{"cuda.shares", 250}};
  for (int i = 0; i < 15; ++i) {
    if (!allocator->TryAllocate(*fraction, &allocation) || !maps.Allocate(request, &given)) {
      Die("the node is full");
    }
  }
  const auto ours = [&](const SlotDemand& demand) {
    if (!allocator->TryAllocate(demand, &allocation) || !allocator->Release(allocation).ok()) {
      Die("an allocation failed");
    }
  };
  ours(*whole_task);  // the table of live allocations grows once
  Sample one;
  Sample three;
  Sample map;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    Measure(rounds, &one, [&] { ours(*fraction); });
    Measure(rounds, &three, [&] { ours(*whole_task); });
    Measure(rounds, &map, [&] {
      if (!maps.Allocate(request, &given)) Die("an allocation failed");
      maps.Release(given);
    });
  }
  const double one_ns = Median(one.seconds) * kNano;
  const double three_ns = Median(three.seconds) * kNano;
  const double map_ns = Median(map.seconds) * kNano;
  const double pairs = static_cast<double>(rounds) * kRepetitions;
  std::printf("allocate and release on a node of %d GPUs, median of %d x %d\n", kGpus, kRepetitions,
              rounds);
  std::printf("  0.25 cuda.shares                     %7.1f ns  %.3f heap allocations\n", one_ns,
              static_cast<double>(one.heap) / pairs);
  std::printf("  0.25 cuda.shares, 4 cpu, 1 GiB mem   %7.1f ns  %.3f heap allocations\n", three_ns,
              static_cast<double>(three.heap) / pairs);
  std::printf("  0.25 cuda.shares in a vector of maps %7.1f ns  %.3f heap allocations\n", map_ns,
              static_cast<double>(map.heap) / pairs);
  std::printf("  maps take %.1f times as long\n", map_ns / one_ns);
  if (!json.empty()) {
    std::ofstream(json) << nlohmann::json{{"fraction_ns", one_ns},
                                          {"fraction_cpu_mem_ns", three_ns},
                                          {"maps_ns", map_ns},
                                          {"maps_ratio", map_ns / one_ns},
                                          {"heap_allocations", one.heap + three.heap}}
                               .dump(2)
                        << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace trackbed::benchmark

int main(int argc, char** argv) { return trackbed::benchmark::Main(argc, argv); }
