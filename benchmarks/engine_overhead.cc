// What the engine itself costs, with an executor that does nothing: time and heap a task, in memory
// and durable, beside oneTBB's flow graph and beside the flush of this disk.
//
//   engine_overhead [--quick] [--json FILE] [--folder FOLDER]
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flow_graph.hpp"
#include "measure.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/pipeline/writer.hpp"
#include "trackbed/resources/local_node.hpp"
#include "workload.hpp"

namespace trackbed::benchmark {
namespace {

constexpr double kMicro = 1e6;
// What the engine needs once is little to each task of such a graph.
constexpr size_t kLargeGraph = 10'000;

enum class StoreKind { memory, process, power };
constexpr std::array<StoreKind, 3> kStores = {StoreKind::memory, StoreKind::process,
                                              StoreKind::power};

const char* NameOf(StoreKind kind) {
  switch (kind) {
    case StoreKind::memory:
      return "memory";
    case StoreKind::process:
      return "process";
    case StoreKind::power:
      return "power";
  }
  return "";
}

struct Options {
  bool quick = false;
  std::string json;
  std::string folder;  // for stores; made anew and removed
};

[[noreturn]] void Die(std::string_view message) {
  std::fprintf(stderr, "engine_overhead: %.*s\n", static_cast<int>(message.size()), message.data());
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

EngineOptions MakeOptions(Store* store, Executor* executor) {
  EngineOptions options;
  options.store = store;
  options.executor = executor;
  options.home = "/nowhere";
  options.nodes = {NodeOfSlots({{"cpu", Quantity::FromThousandths(1'000'000'000'000)}})};
  options.holder.description = "engine_overhead";
  return options;
}

SubmitOptions WithoutCache() {
  SubmitOptions options;
  options.use_cache = false;
  return options;
}

std::string DatabaseIn(const std::string& folder) { return folder + "/trackbed.db"; }

std::unique_ptr<Store> NewStore(StoreKind kind, const std::string& folder) {
  if (kind == StoreKind::memory) return NewMemoryStore();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(DatabaseIn(folder) + suffix);
  }
  SqliteStoreOptions options;
  options.durability = kind == StoreKind::power ? Durability::power : Durability::process;
  return Check(OpenSqliteStore(DatabaseIn(folder), options));
}

void RunToEnd(Engine& engine, const RunId& run) {
  while (engine.IsActive(run)) Check(engine.Step());
}

// ---- Whole runs ------------------------------------------------------------------------------

// Seconds and bytes of one run from submission to its end.
struct Sample {
  double version = 0;    // of the processor: the content address of the pipeline, a part of submit
  double submit = 0;     // of the processor
  double run = 0;        // of the processor
  double run_clock = 0;  // by the clock, and so with the flushes of the disk
  size_t heap = 0;       // pipeline, engine and store, when half of the tasks are done
};

Sample RunOnce(StoreKind kind, Shape shape, size_t tasks, const std::string& folder) {
  TrimHeap();
  Sample sample;
  const std::unique_ptr<Store> store = NewStore(kind, folder);
  NoOpExecutor executor;
  const auto engine = Check(Engine::Open(MakeOptions(store.get(), &executor)));
  const size_t heap_before = HeapInUse();
  executor.At(tasks / 2, [&] { sample.heap = HeapInUse() - heap_before; });
  auto pipeline = std::make_shared<const Pipeline>(MakePipeline(shape, tasks));
  const Stopwatch version;
  if (PipelineVersion(*pipeline).empty()) Die("no version");
  sample.version = version.ProcessorSeconds();
  const Stopwatch submit;
  const RunId run = Check(engine->Submit(std::move(pipeline), WithoutCache()));
  sample.submit = submit.ProcessorSeconds();
  const Stopwatch rest;
  RunToEnd(*engine, run);
  sample.run = rest.ProcessorSeconds();
  sample.run_clock = rest.Seconds();
  if (executor.ended() != tasks) Die("not every task ran");
  return sample;
}

// Medians over repetitions, in microseconds and bytes a task.
struct Row {
  std::string store;
  Shape shape;
  size_t tasks;
  double version = 0;
  double submit = 0;
  double run = 0;
  double run_clock = 0;
  double heap = 0;
};

class Samples {
 public:
  bool empty() const { return samples_.empty(); }
  void Add(const Sample& sample) { samples_.push_back(sample); }
  Row ToRow(std::string store, Shape shape, size_t tasks) const {
    const auto median = [&](auto member, double scale) {
      std::vector<double> values;
      for (const Sample& sample : samples_) values.push_back(static_cast<double>(sample.*member));
      return Median(std::move(values)) * scale / static_cast<double>(tasks);
    };
    return {std::move(store),
            shape,
            tasks,
            median(&Sample::version, kMicro),
            median(&Sample::submit, kMicro),
            median(&Sample::run, kMicro),
            median(&Sample::run_clock, kMicro),
            median(&Sample::heap, 1)};
  }

 private:
  std::vector<Sample> samples_;
};

constexpr const char* kRowFormat = "%-8s %-8s %8s %9s %9s %9s %9s %9s\n";

void PrintHeader() {
  std::printf(
      "Microseconds and bytes a task; medians. Of the processor, and run also by the clock.\n"
      "version is a part of submit. oneTBB: one thread; submit is building its graph.\n\n");
  std::printf(kRowFormat, "store", "shape", "tasks", "version", "submit", "run", "clock", "bytes");
}

std::string Format(double value, int decimals) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

void Print(const Row& row) {
  std::printf(kRowFormat, row.store.c_str(), std::string(ToString(row.shape)).c_str(),
              std::to_string(row.tasks).c_str(), Format(row.version, 2).c_str(),
              Format(row.submit, 2).c_str(), Format(row.run, 2).c_str(),
              Format(row.run_clock, 2).c_str(), Format(row.heap, 0).c_str());
  std::fflush(stdout);
}

#ifdef TRACKBED_HAVE_TBB
Sample RunInFlowGraph(Shape shape, size_t tasks) {
  TrimHeap();
  const FlowGraphTimes times = RunFlowGraph(shape, tasks);
  if (times.run < 0) Die("oneTBB did not run every task");
  Sample sample;
  sample.submit = times.build;
  sample.run = times.run;
  sample.run_clock = times.run_clock;
  sample.heap = times.heap;
  return sample;
}
#endif

// How often to run a graph in a store; 0: not at all.
int RepetitionsOf(StoreKind store, Shape shape, size_t tasks, bool quick) {
  // A chain commits every task by itself: more of them tell nothing new, and at `power`, where each
  // is a flush, MeasureChain has the disk beside it.
  const bool chain = shape == Shape::chain;
  if (chain && store == StoreKind::power) return 0;
  if (chain && store == StoreKind::process && tasks > 1000) return tasks > 10'000 || quick ? 0 : 3;
  if (quick) return tasks > 1000 ? 1 : 3;
  if (tasks > 10'000) return store == StoreKind::memory ? 3 : 1;
  return tasks > 1000 ? 5 : 9;
}

// The same graph in every store and in oneTBB by turns, so that what else this machine does meets
// all alike.
std::vector<Row> MeasureRuns(const Options& options, Shape shape, size_t tasks) {
  std::array<Samples, kStores.size()> engine;
  Samples flow_graph;
  for (int i = 0; i < RepetitionsOf(StoreKind::memory, shape, tasks, options.quick); ++i) {
    for (size_t s = 0; s < kStores.size(); ++s) {
      if (i < RepetitionsOf(kStores[s], shape, tasks, options.quick)) {
        engine[s].Add(RunOnce(kStores[s], shape, tasks, options.folder));
      }
    }
#ifdef TRACKBED_HAVE_TBB
    if (shape != Shape::map) flow_graph.Add(RunInFlowGraph(shape, tasks));
#endif
  }
  std::vector<Row> rows;
  for (size_t s = 0; s < kStores.size(); ++s) {
    if (!engine[s].empty()) rows.push_back(engine[s].ToRow(NameOf(kStores[s]), shape, tasks));
  }
#ifdef TRACKBED_HAVE_TBB
  if (!flow_graph.empty()) rows.push_back(flow_graph.ToRow("oneTBB", shape, tasks));
#endif
  return rows;
}

// ---- One flush a task ------------------------------------------------------------------------

struct ChainResult {
  double append = 0;     // seconds a flush of 4 KiB
  double overwrite = 0;  // the same
  double task = 0;       // seconds a task of a chain, durable at `power`
  double to_append = 0;  // medians of the ratios of each round
  double to_overwrite = 0;
};

// Each round measures the disk right before and after the chain. The chain is long enough for
// SQLite's log to be folded into the database and begun again a few times: its steady state.
ChainResult MeasureChain(const Options& options) {
  const int rounds = options.quick ? 3 : 9;
  const size_t tasks = options.quick ? 500 : 5000;
  std::vector<double> append;
  std::vector<double> overwrite;
  std::vector<double> task;
  std::vector<double> to_append;
  std::vector<double> to_overwrite;
  for (int i = 0; i < rounds; ++i) {
    FlushTimes flush;
    const int flushes = options.quick ? 50 : 200;
    if (!MeasureFlush(options.folder, flushes, &flush)) Die("cannot write to " + options.folder);
    const Sample sample = RunOnce(StoreKind::power, Shape::chain, tasks, options.folder);
    if (!MeasureFlush(options.folder, flushes, &flush)) Die("cannot write to " + options.folder);
    const auto mean = [](const std::vector<double>& values) {
      double sum = 0;
      for (const double value : values) sum += value;
      return sum / static_cast<double>(values.size());
    };
    append.push_back(mean(flush.append));
    overwrite.push_back(mean(flush.overwrite));
    task.push_back(sample.run_clock / static_cast<double>(tasks));
    to_append.push_back(task.back() / append.back());
    to_overwrite.push_back(task.back() / overwrite.back());
  }
  return {Median(append), Median(overwrite), Median(task), Median(to_append), Median(to_overwrite)};
}

// ---- Taking up a store -----------------------------------------------------------------------

// Seconds, by the clock unless it says otherwise.
struct ReopenResult {
  size_t tasks = 0;
  double open = 0;       // the store and the engine
  double resume = 0;     // Resume
  double step = 0;       // until one more task is done
  double processor = 0;  // all of it, of the processor
  double total() const { return open + resume + step; }
};

ReopenResult MeasureReopen(const Options& options, Shape shape, size_t tasks) {
  RunId run;
  {
    const std::unique_ptr<Store> store = NewStore(StoreKind::process, options.folder);
    NoOpExecutor executor(tasks / 2);
    const auto engine = Check(Engine::Open(MakeOptions(store.get(), &executor)));
    run = Check(engine->Submit(std::make_shared<const Pipeline>(MakePipeline(shape, tasks)),
                               WithoutCache()));
    while (executor.ended() < tasks / 2) Check(engine->Step());
  }
  std::vector<double> open;
  std::vector<double> resume;
  std::vector<double> step;
  std::vector<double> processor;
  for (int i = 0; i < (options.quick ? 1 : 5); ++i) {
    TrimHeap();
    const Stopwatch opening;
    const std::unique_ptr<Store> store =
        Check(OpenSqliteStore(DatabaseIn(options.folder), {Durability::process, false}));
    NoOpExecutor executor(1);
    const auto engine = Check(Engine::Open(MakeOptions(store.get(), &executor)));
    open.push_back(opening.Seconds());
    const Stopwatch resuming;
    Check(engine->Resume(run));
    resume.push_back(resuming.Seconds());
    const Stopwatch stepping;
    while (executor.ended() < 1) Check(engine->Step());
    step.push_back(stepping.Seconds());
    processor.push_back(opening.ProcessorSeconds());
  }
  return {tasks, Median(open), Median(resume), Median(step), Median(processor)};
}

void Print(const char* what, const ReopenResult& reopen) {
  std::printf(
      "Reopening %zu %s, half done: open %.3f s, resume %.3f s, first step %.3f s;"
      "\nof the processor %.3f s in all.\n",
      reopen.tasks, what, reopen.open, reopen.resume, reopen.step, reopen.processor);
}

// ---- The report ------------------------------------------------------------------------------

struct Aim {
  std::string what;
  double limit;
  std::string unit;
  double measured;
};

const Row* FindRow(const std::vector<Row>& rows, std::string_view store, Shape shape,
                   size_t tasks) {
  for (const Row& row : rows) {
    if (row.store == store && row.shape == shape && row.tasks == tasks) return &row;
  }
  return nullptr;
}

std::vector<Aim> CompareToAims(const std::vector<Row>& rows, const ChainResult& chain,
                               const ReopenResult& reopen, const ReopenResult& reopen_map) {
  size_t largest = 0;
  for (const Row& row : rows) largest = std::max(largest, row.tasks);
  double memory = 0;
  double durable = 0;
  double heap = 0;
  double growth = 0;
  for (const Row& row : rows) {
    if (row.store == "oneTBB") continue;
    if (row.tasks >= kLargeGraph) heap = std::max(heap, row.heap);
    if (row.tasks != largest) continue;
    if (row.store == "memory") memory = std::max(memory, row.run);
    if (row.store != "memory" && row.shape == Shape::fan_out) {
      durable = std::max(durable, row.run_clock);
    }
    if (const Row* small = FindRow(rows, row.store, row.shape, 1000)) {
      growth = std::max(growth, (row.submit + row.run) / (small->submit + small->run));
    }
  }
  const std::string size = std::to_string(largest);
  return {
      {"in memory, a task of " + size + ", of the processor", 2, "us", memory},
      {"durable by group commit (fan-out), a task of " + size, 25, "us", durable},
      {"chain durable at power, a task / append and flush of 4 KiB", 1.2, "x", chain.to_append},
      {"a task of " + size + " / of 1000, submit and run", 2, "x", growth},
      {"heap, a task of " + std::to_string(kLargeGraph) + " or more", 500, "bytes", heap},
      {"reopening " + std::to_string(reopen.tasks) + " tasks, half done", 2, "s", reopen.total()},
      {"reopening a map of " + std::to_string(reopen_map.tasks) + " batches, half done", 2, "s",
       reopen_map.total()},
  };
}

nlohmann::ordered_json ToJson(const ReopenResult& reopen) {
  return {{"tasks", reopen.tasks},
          {"open_s", reopen.open},
          {"resume_s", reopen.resume},
          {"step_s", reopen.step},
          {"processor_s", reopen.processor}};
}

nlohmann::ordered_json ToJson(const std::vector<Row>& rows, const ChainResult& chain,
                              const ReopenResult& reopen, const ReopenResult& reopen_map,
                              const std::vector<Aim>& aims) {
  nlohmann::ordered_json json;
  for (const Row& row : rows) {
    json["runs"].push_back({{"store", row.store},
                            {"shape", std::string(ToString(row.shape))},
                            {"tasks", row.tasks},
                            {"version_us", row.version},
                            {"submit_us", row.submit},
                            {"run_us", row.run},
                            {"run_clock_us", row.run_clock},
                            {"heap_bytes", row.heap}});
  }
  json["chain"] = {{"append_flush_us", chain.append * kMicro},
                   {"overwrite_flush_us", chain.overwrite * kMicro},
                   {"task_us", chain.task * kMicro},
                   {"task_per_append_flush", chain.to_append},
                   {"task_per_overwrite_flush", chain.to_overwrite}};
  json["reopen"] = ToJson(reopen);
  json["reopen_map"] = ToJson(reopen_map);
  for (const Aim& aim : aims) {
    json["aims"].push_back(
        {{"what", aim.what}, {"limit", aim.limit}, {"unit", aim.unit}, {"measured", aim.measured}});
  }
  return json;
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  options.folder = ".";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--json" && i + 1 < argc) {
      options.json = argv[++i];
    } else if (argument == "--folder" && i + 1 < argc) {
      options.folder = argv[++i];
    } else {
      Die("usage: engine_overhead [--quick] [--json FILE] [--folder FOLDER]");
    }
  }
  options.folder += "/engine_overhead." + std::to_string(getpid());
  return options;
}

void Main(const Options& options) {
  std::filesystem::create_directories(options.folder);
  std::vector<size_t> sizes = {100, 1000, 10'000};
  if (!options.quick) sizes.push_back(1'000'000);
  PrintHeader();
  std::vector<Row> rows;
  for (const Shape shape : {Shape::chain, Shape::fan_out, Shape::layered, Shape::map}) {
    for (const size_t tasks : sizes) {
      for (Row& row : MeasureRuns(options, shape, tasks)) {
        Print(row);
        rows.push_back(std::move(row));
      }
    }
  }
  const ChainResult chain = MeasureChain(options);
  std::printf(
      "\nA chain durable at power: %.0f us a task. The disk: append and flush of 4 KiB %.0f us,"
      "\noverwrite and flush %.0f us.\n",
      chain.task * kMicro, chain.append * kMicro, chain.overwrite * kMicro);
  const size_t reopened = options.quick ? 50'000 : 1'000'000;
  const ReopenResult reopen = MeasureReopen(options, Shape::layered, reopened);
  Print("tasks", reopen);
  const ReopenResult reopen_map = MeasureReopen(options, Shape::map, reopened);
  Print("batches of a map", reopen_map);

  const std::vector<Aim> aims = CompareToAims(rows, chain, reopen, reopen_map);
  std::printf("\n%-64s %8s %9s\n", "aim", "at most", "measured");
  for (const Aim& aim : aims) {
    std::printf("%-64s %8.4g %9.4g %s%s\n", aim.what.c_str(), aim.limit, aim.measured,
                aim.unit.c_str(), aim.measured <= aim.limit ? "" : "  OVER");
  }
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << ToJson(rows, chain, reopen, reopen_map, aims).dump(2) << '\n';
    if (!file.flush()) Die("cannot write " + options.json);
  }
  std::filesystem::remove_all(options.folder);
}

}  // namespace
}  // namespace trackbed::benchmark

int main(int argc, char** argv) {
  trackbed::benchmark::Main(trackbed::benchmark::ParseOptions(argc, argv));
  return 0;
}
