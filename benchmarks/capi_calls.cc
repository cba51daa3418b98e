// What the C interface adds to the C++ behind it, both in one process: a slot given and taken back,
// a decision of the scheduler with 10,000 tasks waiting, events told to a sink in C.
//
//   capi_calls [--quick] [--json FILE]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "measure.hpp"
#include "trackbed.h"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/slot_allocator.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed::benchmark {
namespace {

constexpr int kRepetitions = 15;
constexpr double kNano = 1e9;
constexpr int64_t kSecond = 1'000'000'000;

[[noreturn]] void Die(std::string_view message) {
  std::fprintf(stderr, "capi_calls: %.*s\n", static_cast<int>(message.size()), message.data());
  std::exit(1);
}
void Check(const Status& status) {
  if (!status.ok()) Die(Message(status));
}
void Check(trackbed_status status) {
  if (status != TRACKBED_OK) Die(trackbed_status_name(status));
}

struct Pair {
  std::vector<double> cpp;
  std::vector<double> c;
  double CppNanoseconds() const { return Median(cpp) * kNano; }
  double CNanoseconds() const { return Median(c) * kNano; }
  // Of each repetition by itself: what disturbs one of the two disturbs the other.
  double Ratio() const {
    std::vector<double> ratios;
    for (size_t i = 0; i < c.size(); ++i) ratios.push_back(c[i] / cpp[i]);
    return Median(ratios);
  }
};

template <typename Work>
double ProcessorSeconds(int rounds, Work work) {
  const Stopwatch watch;
  for (int i = 0; i < rounds; ++i) work();
  return watch.ProcessorSeconds() / rounds;
}

// ---- Slots ----

constexpr std::string_view kNode =
    "name: n\ncpu: 128\nmem: 2t\ndevices:\n"
    "- {id: gpu0, slot: cuda.shares}\n- {id: gpu1, slot: cuda.shares}\n"
    "- {id: gpu2, slot: cuda.shares}\n- {id: gpu3, slot: cuda.shares}\n"
    "- {id: gpu4, slot: cuda.shares}\n- {id: gpu5, slot: cuda.shares}\n"
    "- {id: gpu6, slot: cuda.shares}\n- {id: gpu7, slot: cuda.shares}\n";

struct Slots {
  Pair fraction;    // 0.25 of a GPU
  Pair whole_task;  // with processors and memory
  Pair unread;      // the same, where C does not ask for the parts
};

Slots MeasureSlots(int rounds) {
  ParsedNode node = ReadNode(kNode, "n", TextFormat::yaml);
  Check(node.diagnostics.ToStatus());
  StatusOr<SlotAllocator> cpp = SlotAllocator::Create(*node.node);
  Check(cpp.status());
  trackbed_slot_allocator* c = nullptr;
  Check(trackbed_slot_allocator_create(kNode.data(), kNode.size(), TRACKBED_FORMAT_YAML, nullptr,
                                       &c, nullptr));
  const trackbed_slot request[] = {
      {trackbed_text("cuda.shares"), 250},
      {trackbed_text("cpu"), 4000},
      {trackbed_text("mem"), (int64_t{1} << 30) * 1000},
  };
  Slots found;
  Allocation allocation;
  trackbed_allocation_part parts[8];
  for (const size_t count : {size_t{1}, std::size(request)}) {
    std::vector<SlotRequest> slots;
    for (size_t i = 0; i < count; ++i) {
      slots.push_back({std::string(request[i].name.data, request[i].name.size),
                       Quantity::FromThousandths(request[i].thousandths)});
    }
    const StatusOr<SlotDemand> demand = cpp->Prepare(slots);
    Check(demand.status());
    trackbed_slot_demand* c_demand = nullptr;
    Check(trackbed_slot_allocator_prepare(c, request, count, 0, &c_demand, nullptr));
    Pair& pair = count == 1 ? found.fraction : found.whole_task;
    for (int repetition = 0; repetition < kRepetitions; ++repetition) {
      pair.cpp.push_back(ProcessorSeconds(rounds, [&] {
        Check(cpp->Allocate(*demand, &allocation));
        Check(cpp->Release(allocation.id));
      }));
      pair.c.push_back(ProcessorSeconds(rounds, [&] {
        uint64_t id = 0;
        size_t part_count = 0;
        Check(trackbed_slot_allocator_allocate(c, c_demand, &id, parts, sizeof parts[0], 8,
                                               &part_count, nullptr));
        Check(trackbed_slot_allocator_release(c, id, nullptr));
      }));
    }
    for (int repetition = 0; count > 1 && repetition < kRepetitions; ++repetition) {
      found.unread.cpp.push_back(pair.cpp[static_cast<size_t>(repetition)]);
      found.unread.c.push_back(ProcessorSeconds(rounds, [&] {
        uint64_t id = 0;
        Check(trackbed_slot_allocator_allocate(c, c_demand, &id, nullptr, 0, 0, nullptr, nullptr));
        Check(trackbed_slot_allocator_release(c, id, nullptr));
      }));
    }
    trackbed_slot_demand_free(c_demand);
  }
  trackbed_slot_allocator_free(c);
  return found;
}

// ---- Plans ----

constexpr uint32_t kNodes = 500;
constexpr uint64_t kWaiting = 10'000;

// On both sides the same cluster, full, with the same queue behind it. One task ends, and what may
// now start is decided.
Pair MeasurePlans(int ends) {
  SchedulerOptions options;
  options.placer = *MakePlacer("pack");
  Scheduler cpp(std::move(options));
  trackbed_scheduler_options c_options;
  TRACKBED_INIT(&c_options);
  c_options.placer = trackbed_text("pack");
  trackbed_scheduler* c = nullptr;
  Check(trackbed_scheduler_create(&c_options, &c, nullptr));
  trackbed_node_capacity c_capacity;
  TRACKBED_INIT(&c_capacity);
  NodeCapacity capacity;
  capacity.cpu = c_capacity.cpu = 64'000;
  capacity.memory = c_capacity.memory = int64_t{1} << 38;
  capacity.device_count = 8;
  c_capacity.device_count = 8;
  for (uint32_t node = 0; node < kNodes; ++node) {
    const std::string name = "n" + std::to_string(node);
    Check(cpp.AddNode(name, capacity).status());
    Check(trackbed_scheduler_add_node(c, name.data(), name.size(), &c_capacity, nullptr, nullptr));
  }
  for (uint64_t id = 1; id <= uint64_t{kNodes} * 8 + kWaiting; ++id) {
    TaskRequest task;
    trackbed_task c_task;
    TRACKBED_INIT(&c_task);
    task.id = c_task.id = id;
    task.demand.cpu = c_task.cpu = 1000;
    task.demand.whole_devices = 1;
    c_task.whole_devices = 1;
    c_task.run_time_ns = kSecond * 3600;
    task.run_time = Duration(c_task.run_time_ns);
    Check(cpp.Submit(task, {}));
    Check(trackbed_scheduler_submit(c, &c_task, 0, nullptr));
  }
  (void)cpp.Schedule({});
  trackbed_plan* plan = nullptr;
  Check(trackbed_scheduler_schedule(c, 0, &plan, nullptr));
  trackbed_plan_free(plan);

  Pair pair;
  uint64_t next = 0;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const uint64_t first = next;
    pair.cpp.push_back(ProcessorSeconds(ends, [&] {
      Check(cpp.Finish(++next, {}));
      if (cpp.Schedule({}).starts.size() != 1) Die("another plan than expected");
    }));
    next = first;
    pair.c.push_back(ProcessorSeconds(ends, [&] {
      trackbed_plan_item items[4];
      Check(trackbed_scheduler_finish(c, ++next, 0, nullptr));
      Check(trackbed_scheduler_schedule(c, 0, &plan, nullptr));
      if (trackbed_plan_read(plan, 0, items, sizeof items[0], 4) != 1) Die("another plan");
      trackbed_plan_free(plan);
    }));
  }
  trackbed_scheduler_free(c);
  return pair;
}

// ---- Events ----

struct Host {
  trackbed_engine* engine = nullptr;
  uint64_t events = 0;
};

struct Events {
  double with_sink = 0;     // seconds of a run, an event
  double without_sink = 0;  // the same where nobody listens
  double reading = 0;       // seconds to read an event of a run, in batches
};

Events MeasureEvents(int tasks) {
  std::string document = "{\"name\": \"wide\", \"tasks\": [";
  for (int i = 0; i < tasks; ++i) {
    document += (i == 0 ? "" : ",") + std::string("{\"name\": \"t") + std::to_string(i) +
                "\", \"command\": \"x\", \"cache\": false}";
  }
  document += "]}";
  trackbed_pipeline* pipeline = nullptr;
  Check(trackbed_pipeline_parse(document.data(), document.size(), TRACKBED_FORMAT_JSON, nullptr, 0,
                                &pipeline, nullptr));
  Events found;
  std::vector<double> with_sink;
  std::vector<double> without;
  std::vector<double> reading;
  for (int repetition = 0; repetition < 2 * 5; ++repetition) {
    const bool listens = repetition % 2 == 0;
    Host host;
    trackbed_executor executor;
    TRACKBED_INIT(&executor);
    executor.user_data = &host;
    executor.without_json = 1;
    // Attempts end as soon as they start.
    executor.start = [](void* user, const trackbed_attempt* attempt, trackbed_error**) {
      trackbed_attempt_report report;
      TRACKBED_INIT(&report);
      report.kind = TRACKBED_ATTEMPT_EXITED;
      report.key = attempt->key;
      return trackbed_engine_report(static_cast<Host*>(user)->engine, &report, nullptr);
    };
    executor.stop = [](void*, const char*, size_t, int32_t, trackbed_error**) {
      return trackbed_status{TRACKBED_OK};
    };
    trackbed_event_sink sink;
    TRACKBED_INIT(&sink);
    sink.user_data = &host;
    sink.event = [](void* user, const trackbed_event*) { ++static_cast<Host*>(user)->events; };
    const trackbed_slot slots[] = {{trackbed_text("cpu"), int64_t{1000} * tasks}};
    trackbed_engine_options options;
    TRACKBED_INIT(&options);
    options.in_memory = 1;
    options.executor = &executor;
    options.slots = slots;
    options.slot_count = 1;
    if (listens) options.sink = &sink;
    Check(trackbed_engine_open(&options, &host.engine, nullptr));
    trackbed_bytes run{};
    Check(trackbed_engine_submit(host.engine, pipeline, nullptr, &run, nullptr));
    const Stopwatch watch;
    while (trackbed_engine_is_active(host.engine, run.data, run.size) != 0) {
      Check(trackbed_engine_step(host.engine, nullptr));
    }
    const double seconds = watch.ProcessorSeconds();

    trackbed_events_options stream;
    TRACKBED_INIT(&stream);
    stream.run = {run.data, run.size};
    trackbed_events* events = nullptr;
    Check(trackbed_events_open(host.engine, &stream, &events, nullptr));
    std::vector<trackbed_event> batch(4096);
    size_t count = 0;
    uint64_t total = 0;
    const Stopwatch reader;
    do {
      Check(trackbed_events_next(events, batch.data(), sizeof batch[0], batch.size(), &count,
                                 nullptr));
      total += count;
    } while (count > 0);
    reading.push_back(reader.ProcessorSeconds() / static_cast<double>(total));
    if (listens && host.events != total) Die("the sink was not told everything");
    (listens ? with_sink : without).push_back(seconds / static_cast<double>(total));
    trackbed_events_close(events);
    trackbed_bytes_free(&run);
    trackbed_engine_close(host.engine);
  }
  trackbed_pipeline_free(pipeline);
  found.with_sink = Median(with_sink);
  found.without_sink = Median(without);
  found.reading = Median(reading);
  return found;
}

int Main(int argc, char** argv) {
  bool quick = false;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      Die("usage: capi_calls [--quick] [--json FILE]");
    }
  }
  const Slots slots = MeasureSlots(quick ? 50'000 : 500'000);
  const Pair plans = MeasurePlans(quick ? 50 : 250);
  const Events events = MeasureEvents(quick ? 5'000 : 50'000);
  std::printf("processor time, medians of %d                C++          C      C / C++\n",
              kRepetitions);
  const auto row = [](const char* name, const Pair& pair) {
    std::printf("  %-38s %8.1f ns %8.1f ns   %.2f\n", name, pair.CppNanoseconds(),
                pair.CNanoseconds(), pair.Ratio());
  };
  row("0.25 cuda.shares given, taken back", slots.fraction);
  row("0.25 cuda.shares, cpu and mem", slots.whole_task);
  row("the same, parts not asked for", slots.unread);
  row("an end and a plan, 10,000 waiting", plans);
  std::printf("  events, the whole run, to a sink in C  %8.0f a second\n", 1 / events.with_sink);
  std::printf("  the same run without a sink            %8.0f a second\n", 1 / events.without_sink);
  std::printf("  events read in batches                 %8.0f a second\n", 1 / events.reading);
  if (!json.empty()) {
    std::ofstream(json) << nlohmann::json{{"fraction_cpp_ns", slots.fraction.CppNanoseconds()},
                                          {"fraction_c_ns", slots.fraction.CNanoseconds()},
                                          {"fraction_ratio", slots.fraction.Ratio()},
                                          {"whole_task_ratio", slots.whole_task.Ratio()},
                                          {"unread_ratio", slots.unread.Ratio()},
                                          {"plan_ratio", plans.Ratio()},
                                          {"events_to_sink_per_second", 1 / events.with_sink},
                                          {"events_without_sink_per_second",
                                           1 / events.without_sink},
                                          {"events_read_per_second", 1 / events.reading}}
                               .dump(2)
                        << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace trackbed::benchmark

int main(int argc, char** argv) { return trackbed::benchmark::Main(argc, argv); }
