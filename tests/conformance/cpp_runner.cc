// The vectors by the C++ interface.
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "conformance/runner.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/pipeline_json.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/pipeline/writer.hpp"
#include "trackbed/resources/allocation_json.hpp"
#include "trackbed/resources/mig_json.hpp"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/slot_allocator.hpp"
#include "trackbed/scheduling/placers.hpp"
#include "trackbed/scheduling/scheduler.hpp"

namespace trackbed::conformance {
namespace {

Json ErrorOf(const Status& status) {
  return {{"error", absl::StatusCodeToString(status.code())},
          {"message", std::string(Message(status))}};
}
Json Done(const Status& status) { return status.ok() ? Json::object() : ErrorOf(status); }

template <typename Value>
Value Must(StatusOr<Value> value) {
  if (!value.ok()) throw std::invalid_argument(std::string(Message(value.status())));
  return *std::move(value);
}
void Must(const Status& status) {
  if (!status.ok()) throw std::invalid_argument(std::string(Message(status)));
}

template <typename Value>
Value Choice(const Json& of, const char* key, const char* otherwise,
             const std::map<std::string, Value>& choices) {
  return choices.at(of.value(key, std::string(otherwise)));
}

StatusOr<SlotDemand> Prepare(const SlotAllocator& allocator, const Json& slots) {
  std::vector<SlotRequest> request;
  for (const auto& [slot, text] : slots.items()) {
    const auto amount = ParseSlotAmount(slot, text.get<std::string>());
    if (!amount.ok()) return amount.status();
    request.push_back({slot, *amount});
  }
  return allocator.Prepare(request);
}

NodeDescription ReadNodeLines(const Json& lines) {
  ParsedNode parsed = ReadNode(Join(lines), "node", TextFormat::yaml);
  Must(parsed.diagnostics.ToStatus());
  return *std::move(parsed.node);
}

// ---- Pipelines ----

class Pipelines {
 public:
  explicit Pipelines(const Json& given) : given_(given.at("pipelines")) {}

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    const ParsedPipeline parsed = Parse(given_.at(step.at("pipeline").get<std::string>()));
    if (what == "validate") {
      return Json::parse(
          CheckToJson(parsed.diagnostics, parsed.pipeline ? &*parsed.pipeline : nullptr));
    }
    Must(parsed.diagnostics.ToStatus());
    const Pipeline& pipeline = *parsed.pipeline;
    if (what == "write") return Write(pipeline, step.at("format"));
    if (what == "reread") return Reread(pipeline, step.at("through"));
    const Graph graph = Must(Graph::Build(pipeline));
    if (what == "graph") {
      return {{"text", Split(RenderGraph(pipeline, graph,
                                         Choice<GraphFormat>(step, "format", "text",
                                                             {{"text", GraphFormat::text},
                                                              {"dot", GraphFormat::dot},
                                                              {"mermaid", GraphFormat::mermaid},
                                                              {"json", GraphFormat::json}})))}};
    }
    if (what == "tasks") {
      return {{"tasks", Json::parse(TasksToJson(pipeline, graph, parsed.task_positions))}};
    }
    if (what != "bind") throw std::invalid_argument("unknown step " + what);
    const auto given = ReadParameters(step.at("parameters").dump());
    if (!given.ok()) return ErrorOf(given.status());
    const auto values = BindParameters(pipeline, *given);
    if (!values.ok()) return ErrorOf(values.status());
    return {{"parameters", Json::parse(ValuesToJson(*values))}};
  }

 private:
  static ParsedPipeline Parse(const Json& document) {
    const std::string format = document.value("format", "yaml");
    const std::string file = document.value("file", "");
    const std::string text = Join(document.at("text"));
    if (format == "fasttrack") return ReadFastTrack(text, file);
    return ReadPipeline(text, file, format == "json" ? TextFormat::json : TextFormat::yaml);
  }
  static Json Write(const Pipeline& pipeline, const std::string& format) {
    if (format == "fasttrack") {
      const FastTrackDocument document = WriteFastTrack(pipeline);
      return {{"text", Split(document.yaml)}, {"lost", document.lost}};
    }
    if (format == "yaml") return {{"text", Split(WriteYaml(pipeline))}};
    if (format == "json") return {{"text", Split(WriteJson(pipeline))}};
    return {{"text", Split(CanonicalForm(pipeline))}};
  }
  static Json Reread(const Pipeline& pipeline, const std::string& through) {
    if (through == "protobuf") {
      return {{"version", PipelineVersion(Must(DecodePipeline(EncodePipeline(pipeline))))}};
    }
    const bool yaml = through == "yaml";
    const std::string text = yaml                ? WriteYaml(pipeline)
                             : through == "json" ? WriteJson(pipeline)
                                                 : CanonicalForm(pipeline);
    const ParsedPipeline again = ReadPipeline(text, "", yaml ? TextFormat::yaml : TextFormat::json);
    Must(again.diagnostics.ToStatus());
    return {{"version", PipelineVersion(*again.pipeline)}};
  }

  Json given_;
};

// ---- Allocations ----

class Allocations {
 public:
  explicit Allocations(const Json& given)
      : node_(ReadNodeLines(given.at("node"))),
        options_(ReadOptions(given.value("options", Json::object()))),
        allocator_(Must(SlotAllocator::Create(node_, options_))) {}

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    if (what == "allocate") return Allocate(step);
    if (what == "release") {
      return Done(allocator_.Release(ids_.at(step.at("name").get<std::string>())));
    }
    if (what == "explain") return Explain(step.at("slots"));
    if (what == "set_healthy") {
      return Done(allocator_.SetHealthy(step.at("device").get<std::string>(),
                                        step.at("healthy").get<bool>()));
    }
    if (what == "usage") return Usage();
    if (what != "restart") throw std::invalid_argument("unknown step " + what);
    SlotAllocator again = Must(SlotAllocator::Create(node_, options_));
    Must(RestoreAllocations(WriteAllocations(allocator_), &again));
    allocator_ = std::move(again);
    return {{"live", allocator_.live_count()}};
  }

 private:
  static SlotAllocatorOptions ReadOptions(const Json& given) {
    SlotAllocatorOptions options;
    options.strategy = Choice<AllocationStrategy>(given, "strategy", "even",
                                                  {{"fill", AllocationStrategy::fill},
                                                   {"even", AllocationStrategy::even},
                                                   {"best_fit", AllocationStrategy::best_fit}});
    options.numa = Choice<NumaPolicy>(given, "numa", "prefer_single_node",
                                      {{"prefer_single_node", NumaPolicy::prefer_single_node},
                                       {"interleaved", NumaPolicy::interleaved},
                                       {"none", NumaPolicy::none}});
    options.allow_fragmentation = given.value("allow_fragmentation", true);
    return options;
  }
  Json Allocate(const Json& step) {
    const auto demand = Prepare(allocator_, step.at("slots"));
    if (!demand.ok()) return ErrorOf(demand.status());
    Allocation allocation;
    const Status status = allocator_.Allocate(*demand, &allocation);
    if (!status.ok()) return ErrorOf(status);
    ids_[step.at("name")] = allocation.id;
    Json parts = Json::array();
    for (const AllocationPart& part : allocation.parts) {
      parts.push_back({{"slot", std::string(part.slot)},
                       {"device", std::string(part.device)},
                       {"amount", FormatSlotAmount(part.slot, part.amount)},
                       {"enforcement", std::string(ToString(part.enforcement))}});
    }
    return {{"parts", parts}};
  }
  Json Explain(const Json& slots) const {
    const auto demand = Prepare(allocator_, slots);
    if (!demand.ok()) return ErrorOf(demand.status());
    const Shortfall found = allocator_.Explain(*demand);
    if (found.kind == Shortfall::Kind::none) return {{"kind", "none"}};
    const auto amount = [&](Quantity quantity) { return FormatSlotAmount(found.slot, quantity); };
    return {{"kind", found.kind == Shortfall::Kind::shortage ? "shortage" : "fragmentation"},
            {"slot", std::string(found.slot)},
            {"needed", amount(found.needed)},
            {"free", amount(found.free)},
            {"most_on_one_device", amount(found.most_on_one_device)},
            {"missing", amount(found.missing)},
            {"message", found.message}};
  }
  Json Usage() const {
    Json devices = Json::array();
    for (const DeviceUsage& device : allocator_.Usage()) {
      devices.push_back({{"slot", std::string(device.slot)},
                         {"device", std::string(device.device)},
                         {"capacity", FormatSlotAmount(device.slot, device.capacity)},
                         {"used", FormatSlotAmount(device.slot, device.used)},
                         {"healthy", device.healthy}});
    }
    return {{"devices", devices}};
  }

  NodeDescription node_;
  SlotAllocatorOptions options_;
  SlotAllocator allocator_;
  std::map<std::string, uint64_t> ids_;
};

// ---- Plans ----

// The orders of the host's that vectors name.
class NamedOrder final : public Order {
 public:
  explicit NamedOrder(const std::string& name) : by_shares_(name == "fewest_running") {
    if (!by_shares_ && name != "largest_first") throw std::invalid_argument("no order " + name);
  }
  StatusOr<int64_t> Rank(const TaskRequest& task, Time /*submitted*/) override {
    if (task.priority < 0) return InvalidArgument("no task below 0");
    return by_shares_ ? 0 : -task.demand.cpu;
  }
  bool ByShares() const override { return by_shares_; }
  double Share(const Tenancy& tenancy, TenantIndex tenant, Time /*now*/) override {
    return tenancy.running(tenant);
  }

 private:
  const bool by_shares_;
};

class Plans {
 public:
  explicit Plans(const Json& given) {
    const Json with = given.value("options", Json::object());
    SchedulerOptions options;
    options.policy.order = Choice<QueueOrder>(with, "order", "fifo",
                                              {{"fifo", QueueOrder::fifo},
                                               {"lifo", QueueOrder::lifo},
                                               {"drf", QueueOrder::drf},
                                               {"fair_share", QueueOrder::fair_share}});
    options.policy.backfill = Choice<Backfill>(with, "backfill", "easy",
                                               {{"strict", Backfill::strict},
                                                {"any", Backfill::any},
                                                {"easy", Backfill::easy},
                                                {"conservative", Backfill::conservative}});
    options.policy.preempt_by_priority = with.value("preempt_by_priority", false);
    options.policy.reclaim = with.value("reclaim", false);
    if (with.contains("ageing")) {
      options.policy.ageing = Duration(with["ageing"].is_null() ? 0 : Nanoseconds(with["ageing"]));
    }
    if (with.contains("minimum_run_time")) {
      options.policy.minimum_run_time = Duration(Nanoseconds(with["minimum_run_time"]));
    }
    PlacerOptions placer;
    placer.seed = with.value("seed", uint64_t{0});
    options.placer = Must(MakePlacer(with.value("placer", "default"), placer));
    options.resources = with.value("resources", options.resources);
    if (with.contains("host_order")) {
      options.order = std::make_unique<NamedOrder>(with["host_order"].get<std::string>());
    }
    if (with.contains("enforcement")) {
      const Json& table = with["enforcement"];
      ReadEnforcement(table.value("whole", Json::array()), &options.enforcement.whole);
      ReadEnforcement(table.value("share", Json::array()), &options.enforcement.share);
      ReadEnforcement(table.value("counted", Json::array()), &options.enforcement.counted);
      tells_enforcement_ = true;
    }
    scheduler_ = std::make_unique<Scheduler>(std::move(options));
    for (const Json& node : given.at("nodes")) AddNode(node);
    for (const Json& tenant : given.value("tenants", Json::array())) AddTenant(tenant);
  }

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    const Time now = FromNanoseconds(step.contains("now") ? Nanoseconds(step["now"]) : 0);
    if (what == "submit") return Done(scheduler_->Submit(ReadTask(step.at("task")), now));
    if (what == "finish") return Done(scheduler_->Finish(step.at("task").get<TaskId>(), now));
    if (what == "schedule") return GivePlan(scheduler_->Schedule(now));
    if (what == "explain") {
      return GiveReason(scheduler_->Explain(step.at("task").get<TaskId>(), now));
    }
    if (what == "predict") {
      const auto found = scheduler_->Predict(ReadTask(step.at("task")), now);
      if (!found.ok()) return ErrorOf(found.status());
      Json reason = GiveReason(found->reason);
      if (tells_enforcement_) reason["enforcement"] = GiveEnforcement(found->enforcement);
      return {{"start", Seconds(ToNanoseconds(found->start))}, {"reason", reason}};
    }
    if (what == "recount") return Done(scheduler_->Recount());
    const NodeIndex node = nodes_.at(step.at("node").get<std::string>());
    if (what == "drain_node") {
      scheduler_->DrainNode(node);
    } else if (what == "open_node") {
      scheduler_->OpenNode(node);
    } else if (what == "lose_node") {
      Json ended = Json::array();
      for (const TaskId task : scheduler_->LoseNode(node, now)) {
        ended.push_back({{"kind", "ended"}, {"task", task}});
      }
      return {{"plan", ended}};
    } else {
      throw std::invalid_argument("unknown step " + what);
    }
    return Json::object();
  }

 private:
  template <size_t kCount>
  static void ReadEnforcement(const Json& names, std::array<Enforcement, kCount>* read) {
    for (size_t i = 0; i < names.size(); ++i) {
      read->at(i) = static_cast<Enforcement>(EnforcementNumber(names[i]));
    }
  }
  static Json GiveEnforcement(const std::optional<Enforcement>& enforcement) {
    return EnforcementName(enforcement ? static_cast<int32_t>(*enforcement) : -1);
  }
  void AddNode(const Json& node) {
    NodeCapacity capacity;
    capacity.cpu = Thousandths(node.at("cpu"));
    capacity.memory = node.value("memory", int64_t{0});
    capacity.device_count = node.value("devices", uint8_t{0});
    capacity.device_kind.fill(0);
    for (size_t i = 0; i < capacity.device_count; ++i) {
      capacity.device_kind[i] = node.value("kind", uint8_t{0});
    }
    capacity.location = node.value("location", uint32_t{0});
    capacity.architecture = node.value("architecture", uint8_t{0});
    capacity.counted = ReadCounted(node);
    const std::string name = node.at("name");
    nodes_[name] = Must(scheduler_->AddNode(name, capacity));
  }
  static CountedAmounts ReadCounted(const Json& of) {
    CountedAmounts counted{};
    const Json given = of.value("counted", Json::array());
    for (size_t i = 0; i < given.size(); ++i) counted.at(i) = Thousandths(given[i]);
    return counted;
  }
  static Amounts ReadAmounts(const Json& given, Amounts amounts) {
    for (const auto& [name, amount] : given.items()) {
      const size_t resource = name == "cpu"      ? kCpu
                              : name == "memory" ? kMemory
                                                 : kFirstDeviceResource;
      amounts[resource] = resource == kMemory ? amount.get<int64_t>() : Thousandths(amount);
    }
    return amounts;
  }
  void AddTenant(const Json& tenant) {
    const std::string path = tenant.at("path");
    const size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
    Quota quota;
    quota.guaranteed = ReadAmounts(tenant.value("guaranteed", Json::object()), kNothing);
    quota.limit = ReadAmounts(tenant.value("limit", Json::object()), kNoLimit);
    quota.max_running = tenant.value("max_running", quota.max_running);
    quota.weight = tenant.value("weight", 1.0);
    Must(scheduler_->AddTenant(Must(scheduler_->tenancy().Find(parent)),
                               path.substr(slash == std::string::npos ? 0 : slash + 1), quota));
  }
  TaskRequest ReadTask(const Json& task) {
    TaskRequest read;
    read.id = task.at("id");
    read.tenant = Must(scheduler_->tenancy().Find(task.value("tenant", "")));
    read.priority = task.value("priority", 0);
    read.demand.cpu = task.contains("cpu") ? Thousandths(task["cpu"]) : 0;
    read.demand.memory = task.value("memory", int64_t{0});
    const int64_t devices = task.contains("devices") ? Thousandths(task["devices"]) : 0;
    read.demand.whole_devices = static_cast<int16_t>(devices / kWholeDevice);
    read.demand.share = static_cast<int16_t>(devices % kWholeDevice);
    read.members = task.value("members", 1U);
    read.on_different_nodes = task.value("on_different_nodes", false);
    read.preemptible = task.value("preemptible", true);
    if (task.contains("run_time")) read.run_time = Duration(Nanoseconds(task["run_time"]));
    if (task.contains("counted")) read.demand.counted = &counted_.emplace_back(ReadCounted(task));
    if (task.contains("at_least")) {
      read.at_least = static_cast<Enforcement>(EnforcementNumber(task["at_least"]));
    }
    return read;
  }
  Json GivePlace(const char* kind, TaskId task, size_t member, size_t members,
                 const Placement& placement) const {
    Json devices = Json::array();
    for (int d = 0; d < kMaxDevices; ++d) {
      if ((placement.whole_devices >> d & 1) != 0) devices.push_back(d);
    }
    if (placement.shared_device >= 0) devices.push_back(placement.shared_device);
    return {{"kind", kind},
            {"task", task},
            {"member", member},
            {"members", members},
            {"node", scheduler_->NodeName(placement.node)},
            {"devices", devices}};
  }
  Json GivePlan(const Plan& plan) const {
    Json items = Json::array();
    for (const Start& start : plan.starts) {
      for (size_t i = 0; i < start.members.size(); ++i) {
        items.push_back(GivePlace("start", start.task, i, start.members.size(), start.members[i]));
        if (tells_enforcement_) items.back()["enforcement"] = GiveEnforcement(start.enforcement);
      }
    }
    for (const Eviction& eviction : plan.evictions) {
      items.push_back(
          {{"kind", "eviction"}, {"task", eviction.victim}, {"other", eviction.beneficiary}});
    }
    for (const Repair& repair : plan.repairs) {
      items.push_back(GivePlace("repair", repair.task, repair.member, 0, repair.placement));
    }
    for (const TaskId task : plan.released) {
      items.push_back({{"kind", "release"}, {"task", task}});
    }
    return {{"plan", items}, {"next", Seconds(ToNanoseconds(plan.next))}};
  }
  static Json GiveReason(const WaitReason& reason) {
    return {{"rule", kWaitRules[static_cast<size_t>(reason.rule)]},
            {"needed", reason.needed},
            {"available", reason.available},
            {"ahead", reason.ahead},
            {"expected_start", Seconds(ToNanoseconds(reason.expected_start))},
            {"sentence", reason.sentence}};
  }

  std::deque<CountedAmounts> counted_;  // of the tasks, which refer to them
  bool tells_enforcement_ = false;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<std::string, NodeIndex> nodes_;
};

// ---- Partitions ----

class Partitions {
 public:
  explicit Partitions(const Json& /*given*/) {}

  static Json Do(const Json& step) {
    const std::string what = step.at("do");
    if (what == "models") return {{"models", Json::parse(MigModelsAsJson())}};
    if (what != "plan") throw std::invalid_argument("unknown step " + what);
    const StatusOr<std::string> plan = PlanMigFromJson(step.at("request").dump());
    return plan.ok() ? Json::parse(*plan) : ErrorOf(plan.status());
  }
};

// ---- Events ----

class VirtualClock final : public Clock {
 public:
  Time Now() override { return now; }
  Time now = FromNanoseconds(kStartNanoseconds);
};

// Runs nothing: attempts end as the step says, and tell so when Settle is called.
class ScriptedExecutor final : public Executor {
 public:
  explicit ScriptedExecutor(VirtualClock* clock) : clock_(clock) {}

  void Begin(const Json& outcomes) {
    outcomes_ = outcomes;
    started_.clear();
  }
  void Settle() {
    std::vector<Live> rest;
    for (Live& live : live_) {
      if (live.ends <= clock_->now) {
        reports_.push_back(ReportOf(live));
      } else {
        rest.push_back(std::move(live));
      }
    }
    live_ = std::move(rest);
  }
  Time NextEnd() const {
    Time next = kNever;
    for (const Live& live : live_) next = std::min(next, live.ends);
    return next;
  }

  Status Start(const AttemptSpec& spec) override {
    const std::string task = TaskOfKey(spec.key);
    const Json told = outcomes_.value(task, Json::array());
    const size_t number = started_[task]++;
    const Json outcome = told.empty() ? Json::object() : told[std::min(number, told.size() - 1)];
    if (outcome.contains("refused")) return Internal(outcome["refused"].get<std::string>());
    const int64_t takes = outcome.contains("seconds") ? Nanoseconds(outcome["seconds"]) : 0;
    live_.push_back({spec.key, outcome, clock_->now + Duration(takes), 0});
    return absl::OkStatus();
  }
  Status Adopt(const AttemptKey& key, const std::string&) override { return NotFound(key); }
  Status Stop(const AttemptKey& key, StopMode mode) override {
    for (Live& live : live_) {
      if (live.key != key) continue;
      if (mode == StopMode::terminate && live.outcome.value("ignores_terminate", false)) continue;
      live.ends = clock_->now;
      live.signal = mode == StopMode::kill ? 9 : 15;
    }
    return absl::OkStatus();
  }
  Status Poll(std::vector<AttemptReport>* reports) override {
    for (AttemptReport& report : std::exchange(reports_, {})) reports->push_back(std::move(report));
    return absl::OkStatus();
  }
  int WakeDescriptor() const override { return -1; }

 private:
  struct Live {
    AttemptKey key;
    Json outcome;
    Time ends;
    int signal;  // by which it was stopped
  };
  static AttemptReport ReportOf(const Live& live) {
    AttemptReport report;
    report.key = live.key;
    report.signal = live.signal;
    if (live.signal != 0) return report;
    if (live.outcome.value("lost", false)) report.kind = AttemptReport::Kind::lost;
    report.exit_code = live.outcome.value("exit_code", 0);
    report.signal = live.outcome.value("signal", 0);
    report.out_of_memory = live.outcome.value("out_of_memory", false);
    report.message = live.outcome.value("message", "");
    if (live.outcome.contains("outputs")) {
      report.output_text = live.outcome["outputs"].dump() + "\n";
    }
    report.output_digest = live.outcome.value("output_digest", "");
    return report;
  }

  VirtualClock* clock_;
  Json outcomes_;
  std::map<std::string, size_t> started_;  // attempts in this step, by task
  std::vector<Live> live_;                 // in the order of their starts
  std::vector<AttemptReport> reports_;
};

class Runs {
 public:
  explicit Runs(const Json& given) : executor_(&clock_), store_(NewMemoryStore()) {
    ParsedPipeline parsed = ReadPipeline(Join(given.at("pipeline")), "", TextFormat::yaml);
    Must(parsed.diagnostics.ToStatus());
    pipeline_ = std::make_shared<const Pipeline>(*std::move(parsed.pipeline));
    EngineOptions options;
    options.store = store_.get();
    options.executor = &executor_;
    options.clock = &clock_;
    options.random = &random_;
    options.home = "/conformance";
    options.nodes = {ReadNodeLines(given.at("node"))};
    engine_ = Must(Engine::Open(std::move(options)));
  }

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    executor_.Begin(step.value("outcomes", Json::object()));
    if (what == "run") {
      SubmitOptions options;
      const Json parameters = step.value("parameters", Json::object());
      options.parameters =
          Must(BindParameters(*pipeline_, Must(ReadParameters(parameters.dump()))));
      options.use_cache = step.value("cache", true);
      StatusOr<RunId> run = engine_->Submit(pipeline_, std::move(options));
      if (!run.ok()) return ErrorOf(run.status());
      run_ = *run;
      told_ = 0;
    } else if (what == "retry") {
      const Status retried = engine_->Retry(run_, step.value("tasks", std::vector<std::string>()));
      if (!retried.ok()) return ErrorOf(retried);
    } else {
      throw std::invalid_argument("unknown step " + what);
    }
    Drive(step.contains("cancel_after") ? Nanoseconds(step["cancel_after"]) : INT64_MAX);
    return Tell();
  }

 private:
  void Drive(int64_t cancel_after) {
    Time cancel = cancel_after == INT64_MAX ? kNever : clock_.now + Duration(cancel_after);
    for (int i = 0; i < 100'000; ++i) {
      Must(engine_->Step());
      if (!engine_->IsActive(run_)) return;
      const Time next = std::min({executor_.NextEnd(), engine_->NextDeadline(), cancel});
      clock_.now = std::max(clock_.now, next);
      executor_.Settle();
      if (clock_.now >= cancel) {
        cancel = kNever;
        Must(engine_->Cancel(run_));
      }
    }
    throw std::invalid_argument("the run does not end");
  }
  Json Tell() {
    const StoredRun stored = Must(LoadRun(*store_, run_));
    Json events = Json::array();
    Must(store_->ReadEvents(
        stored.record.number, told_ + 1, [&](uint64_t sequence, const Event& event) {
          const std::string task = event.task == kNoTask ? "" : pipeline_->tasks[event.task].name;
          events.push_back(WithoutRuns(EventToJson(run_, task, sequence, event)));
          told_ = sequence;
        }));
    return {{"status", std::string(ToString(stored.record.status))}, {"events", events}};
  }

  VirtualClock clock_;
  ScriptedExecutor executor_;
  SeededRandom random_{1};
  std::unique_ptr<Store> store_;
  std::shared_ptr<const Pipeline> pipeline_;
  std::unique_ptr<Engine> engine_;
  RunId run_;
  uint64_t told_ = 0;  // events of the run
};

template <typename Runner>
Json RunSteps(const Json& vector) {
  Runner runner(vector.at("given"));
  Json found = Json::array();
  for (const Json& step : vector.at("steps")) found.push_back(runner.Do(step));
  return found;
}

}  // namespace

Json RunByCpp(const Json& vector) {
  const std::string kind = vector.at("kind");
  if (kind == "pipelines") return RunSteps<Pipelines>(vector);
  if (kind == "allocations") return RunSteps<Allocations>(vector);
  if (kind == "plans") return RunSteps<Plans>(vector);
  if (kind == "partitions") return RunSteps<Partitions>(vector);
  if (kind == "events") return RunSteps<Runs>(vector);
  throw std::invalid_argument("unknown kind " + kind);
}

}  // namespace trackbed::conformance
