// The vectors by the C interface.
#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "conformance/runner.hpp"
#include "trackbed.h"

namespace trackbed::conformance {
namespace {

std::string Text(const trackbed_string& text) { return {text.data, text.size}; }
std::string Take(trackbed_bytes* bytes) {
  std::string text(bytes->data, bytes->size);
  trackbed_bytes_free(bytes);
  return text;
}
trackbed_string View(const std::string& text) { return {text.data(), text.size()}; }

// The error of a call, until it has been looked at.
class Error {
 public:
  Error() = default;
  ~Error() { trackbed_error_free(error_); }
  Error(const Error&) = delete;
  Error& operator=(const Error&) = delete;
  operator trackbed_error**() { return &error_; }  // NOLINT(google-explicit-constructor)
  Json Tell() const {
    return {{"error", trackbed_status_name(trackbed_error_code(error_))},
            {"message", Text(trackbed_error_message(error_))}};
  }

 private:
  trackbed_error* error_ = nullptr;
};

// A call that a vector does not expect to fail.
template <typename Call>
void Must(Call&& call) {
  Error error;
  if (call(error) != TRACKBED_OK) throw std::invalid_argument(error.Tell().dump());
}
template <typename Call>
Json Done(Call&& call) {
  Error error;
  return call(error) == TRACKBED_OK ? Json::object() : error.Tell();
}
template <typename Call>
std::string MustText(Call&& call) {
  trackbed_bytes text{};
  Must([&](trackbed_error** error) { return call(&text, error); });
  return Take(&text);
}

int32_t Choice(const Json& of, const char* key, const char* otherwise,
               const std::map<std::string, int32_t>& choices) {
  return choices.at(of.value(key, std::string(otherwise)));
}

template <typename Struct>
Struct Init() {
  Struct made;
  TRACKBED_INIT(&made);
  return made;
}

template <typename Handle, void (*Free)(Handle*)>
struct Freer {
  void operator()(Handle* handle) const { Free(handle); }
};
using Pipeline =
    std::unique_ptr<trackbed_pipeline, Freer<trackbed_pipeline, trackbed_pipeline_free>>;
using Allocator = std::unique_ptr<trackbed_slot_allocator,
                                  Freer<trackbed_slot_allocator, trackbed_slot_allocator_free>>;
using Demand =
    std::unique_ptr<trackbed_slot_demand, Freer<trackbed_slot_demand, trackbed_slot_demand_free>>;
using Scheduler =
    std::unique_ptr<trackbed_scheduler, Freer<trackbed_scheduler, trackbed_scheduler_free>>;
using Plan = std::unique_ptr<trackbed_plan, Freer<trackbed_plan, trackbed_plan_free>>;
using Engine = std::unique_ptr<trackbed_engine, Freer<trackbed_engine, trackbed_engine_close>>;

const std::map<std::string, int32_t> kFormats = {{"yaml", TRACKBED_FORMAT_YAML},
                                                 {"json", TRACKBED_FORMAT_JSON},
                                                 {"protobuf", TRACKBED_FORMAT_PROTOBUF},
                                                 {"fasttrack", TRACKBED_FORMAT_FASTTRACK},
                                                 {"canonical", TRACKBED_FORMAT_CANONICAL}};
const std::map<std::string, int32_t> kGraphs = {{"text", TRACKBED_GRAPH_TEXT},
                                                {"dot", TRACKBED_GRAPH_DOT},
                                                {"mermaid", TRACKBED_GRAPH_MERMAID},
                                                {"json", TRACKBED_GRAPH_JSON}};

Pipeline ParsePipeline(const std::string& text, int32_t format, const std::string& file) {
  trackbed_pipeline* made = nullptr;
  Must([&](trackbed_error** error) {
    return trackbed_pipeline_parse(text.data(), text.size(), format, file.data(), file.size(),
                                   &made, error);
  });
  return Pipeline(made);
}

// ---- Pipelines ----

class Pipelines {
 public:
  explicit Pipelines(const Json& given) : given_(given.at("pipelines")) {}

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    const Json& document = given_.at(step.at("pipeline").get<std::string>());
    const int32_t format = Choice(document, "format", "yaml", kFormats);
    const std::string file = document.value("file", "");
    const std::string text = Join(document.at("text"));
    if (what == "validate") {
      return Json::parse(MustText([&](trackbed_bytes* out, trackbed_error** error) {
        return trackbed_pipeline_validate(text.data(), text.size(), format, file.data(),
                                          file.size(), out, error);
      }));
    }
    const Pipeline pipeline = ParsePipeline(text, format, file);
    if (what == "write") return Write(pipeline.get(), step.at("format"));
    if (what == "reread") {
      const int32_t through = kFormats.at(step.at("through"));
      const std::string written = MustText([&](trackbed_bytes* out, trackbed_error** error) {
        return trackbed_pipeline_write(pipeline.get(), through, out, nullptr, error);
      });
      return {
          {"version", Text(trackbed_pipeline_version(ParsePipeline(written, through, "").get()))}};
    }
    if (what == "graph") {
      return {{"text", Split(MustText([&](trackbed_bytes* out, trackbed_error** error) {
                 return trackbed_pipeline_graph(pipeline.get(), kGraphs.at(step.at("format")), out,
                                                error);
               }))}};
    }
    if (what == "tasks") {
      return {{"tasks", Json::parse(MustText([&](trackbed_bytes* out, trackbed_error** error) {
                 return trackbed_pipeline_tasks(pipeline.get(), out, error);
               }))}};
    }
    if (what != "bind") throw std::invalid_argument("unknown step " + what);
    const std::string parameters = step.at("parameters").dump();
    trackbed_bytes out{};
    Error error;
    if (trackbed_pipeline_bind(pipeline.get(), parameters.data(), parameters.size(), &out, error) !=
        TRACKBED_OK) {
      return error.Tell();
    }
    return {{"parameters", Json::parse(Take(&out))}};
  }

 private:
  static Json Write(const trackbed_pipeline* pipeline, const std::string& format) {
    trackbed_bytes lost{};
    Json found = {{"text", Split(MustText([&](trackbed_bytes* out, trackbed_error** error) {
                     return trackbed_pipeline_write(pipeline, kFormats.at(format), out, &lost,
                                                    error);
                   }))}};
    if (format == "fasttrack") {
      found["lost"] = lost.size == 0 ? Json::array() : Split(Take(&lost));
    }
    trackbed_bytes_free(&lost);
    return found;
  }

  Json given_;
};

// ---- Allocations ----

class Allocations {
 public:
  explicit Allocations(const Json& given)
      : node_(Join(given.at("node"))), options_(Init<trackbed_slot_allocator_options>()) {
    const Json with = given.value("options", Json::object());
    options_.strategy = Choice(with, "strategy", "even",
                               {{"fill", TRACKBED_STRATEGY_FILL},
                                {"even", TRACKBED_STRATEGY_EVEN},
                                {"best_fit", TRACKBED_STRATEGY_BEST_FIT}});
    options_.numa = Choice(with, "numa", "prefer_single_node",
                           {{"prefer_single_node", TRACKBED_NUMA_PREFER_SINGLE_NODE},
                            {"interleaved", TRACKBED_NUMA_INTERLEAVED},
                            {"none", TRACKBED_NUMA_NONE}});
    options_.no_fragmentation = with.value("allow_fragmentation", true) ? 0 : 1;
    allocator_ = Create();
  }

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    if (what == "allocate") return Allocate(step);
    if (what == "explain") return Explain(step.at("slots"));
    if (what == "usage") return Usage();
    if (what == "release") {
      return Done([&](trackbed_error** error) {
        return trackbed_slot_allocator_release(allocator_.get(),
                                               ids_.at(step.at("name").get<std::string>()), error);
      });
    }
    if (what == "set_healthy") {
      const std::string device = step.at("device");
      return Done([&](trackbed_error** error) {
        return trackbed_slot_allocator_set_healthy(allocator_.get(), device.data(), device.size(),
                                                   step.at("healthy").get<bool>() ? 1 : 0, error);
      });
    }
    if (what != "restart") throw std::invalid_argument("unknown step " + what);
    const std::string live = MustText([&](trackbed_bytes* out, trackbed_error** error) {
      return trackbed_slot_allocator_snapshot(allocator_.get(), out, error);
    });
    allocator_ = Create();
    Must([&](trackbed_error** error) {
      return trackbed_slot_allocator_restore(allocator_.get(), live.data(), live.size(), error);
    });
    return {{"live", trackbed_slot_allocator_live_count(allocator_.get())}};
  }

 private:
  Allocator Create() const {
    trackbed_slot_allocator* made = nullptr;
    Must([&](trackbed_error** error) {
      return trackbed_slot_allocator_create(node_.data(), node_.size(), TRACKBED_FORMAT_YAML,
                                            &options_, &made, error);
    });
    return Allocator(made);
  }
  trackbed_status Prepare(const Json& slots, Demand* demand, trackbed_error** error) const {
    std::vector<trackbed_slot> request;
    for (const auto& [slot, amount] : slots.items()) {
      const std::string text = amount;
      int64_t thousandths = 0;
      const trackbed_status status = trackbed_slot_parse(slot.data(), slot.size(), text.data(),
                                                         text.size(), &thousandths, error);
      if (status != TRACKBED_OK) return status;
      request.push_back({View(slot), thousandths});
    }
    trackbed_slot_demand* made = nullptr;
    const trackbed_status status =
        trackbed_slot_allocator_prepare(allocator_.get(), request.data(), request.size(),
                                        TRACKBED_ENFORCEMENT_ACCOUNTING, &made, error);
    demand->reset(made);
    return status;
  }
  static std::string Amount(const trackbed_string& slot, int64_t thousandths) {
    return MustText([&](trackbed_bytes* out, trackbed_error** error) {
      return trackbed_slot_format(slot.data, slot.size, thousandths, out, error);
    });
  }
  Json Allocate(const Json& step) {
    Demand demand;
    Error error;
    if (Prepare(step.at("slots"), &demand, error) != TRACKBED_OK) return error.Tell();
    uint64_t id = 0;
    trackbed_allocation_part parts[16];
    size_t count = 0;
    if (trackbed_slot_allocator_allocate(allocator_.get(), demand.get(), &id, parts,
                                         sizeof parts[0], 16, &count, error) != TRACKBED_OK) {
      return error.Tell();
    }
    ids_[step.at("name")] = id;
    Json found = Json::array();
    for (size_t i = 0; i < count; ++i) {
      found.push_back({{"slot", Text(parts[i].slot)},
                       {"device", Text(parts[i].device)},
                       {"amount", Amount(parts[i].slot, parts[i].thousandths)},
                       {"enforcement", EnforcementName(parts[i].enforcement)}});
    }
    return {{"parts", found}};
  }
  Json Explain(const Json& slots) {
    Demand demand;
    Error error;
    if (Prepare(slots, &demand, error) != TRACKBED_OK) return error.Tell();
    auto found = Init<trackbed_shortfall>();
    Must([&](trackbed_error** failed) {
      return trackbed_slot_allocator_explain(allocator_.get(), demand.get(), &found, failed);
    });
    if (found.kind == TRACKBED_SHORTFALL_NONE) return {{"kind", "none"}};
    return {{"kind", found.kind == TRACKBED_SHORTFALL_SHORTAGE ? "shortage" : "fragmentation"},
            {"slot", Text(found.slot)},
            {"needed", Amount(found.slot, found.needed)},
            {"free", Amount(found.slot, found.free)},
            {"most_on_one_device", Amount(found.slot, found.most_on_one_device)},
            {"missing", Amount(found.slot, found.missing)},
            {"message", Text(found.message)}};
  }
  Json Usage() const {
    trackbed_device_usage devices[64];
    size_t count = 0;
    Must([&](trackbed_error** error) {
      return trackbed_slot_allocator_usage(allocator_.get(), devices, sizeof devices[0], 64, &count,
                                           error);
    });
    Json found = Json::array();
    for (size_t i = 0; i < count; ++i) {
      found.push_back({{"slot", Text(devices[i].slot)},
                       {"device", Text(devices[i].device)},
                       {"capacity", Amount(devices[i].slot, devices[i].capacity)},
                       {"used", Amount(devices[i].slot, devices[i].used)},
                       {"healthy", devices[i].healthy != 0}});
    }
    return {{"devices", found}};
  }

  std::string node_;
  trackbed_slot_allocator_options options_;
  Allocator allocator_;
  std::map<std::string, uint64_t> ids_;
};

// ---- Plans ----

// The orders of the host's that vectors name.
trackbed_status LargestFirst(void* /*user*/, const trackbed_task* task, int64_t /*submitted*/,
                             int64_t* rank, trackbed_error** error) {
  if (task->priority < 0) {
    *error =
        trackbed_error_create(TRACKBED_INVALID_ARGUMENT, "no task below 0", TRACKBED_TERMINATED);
    return TRACKBED_INVALID_ARGUMENT;
  }
  *rank = -task->cpu;
  return TRACKBED_OK;
}
trackbed_status AsTheyCame(void* user, const trackbed_task* task, int64_t submitted, int64_t* rank,
                           trackbed_error** error) {
  const trackbed_status status = LargestFirst(user, task, submitted, rank, error);
  *rank = 0;
  return status;
}
trackbed_status Running(void* /*user*/, uint32_t /*tenant*/, const trackbed_tenant_usage* usage,
                        int64_t /*now*/, double* share, trackbed_error** /*error*/) {
  *share = usage->running;
  return TRACKBED_OK;
}

class Plans {
 public:
  explicit Plans(const Json& given) {
    const Json with = given.value("options", Json::object());
    auto options = Init<trackbed_scheduler_options>();
    options.order = Choice(with, "order", "fifo",
                           {{"fifo", TRACKBED_ORDER_FIFO},
                            {"lifo", TRACKBED_ORDER_LIFO},
                            {"drf", TRACKBED_ORDER_DRF},
                            {"fair_share", TRACKBED_ORDER_FAIR_SHARE}});
    options.backfill = Choice(with, "backfill", "easy",
                              {{"strict", TRACKBED_BACKFILL_STRICT},
                               {"any", TRACKBED_BACKFILL_ANY},
                               {"easy", TRACKBED_BACKFILL_EASY},
                               {"conservative", TRACKBED_BACKFILL_CONSERVATIVE}});
    options.preempt_by_priority = with.value("preempt_by_priority", false) ? 1 : 0;
    options.reclaim = with.value("reclaim", false) ? 1 : 0;
    if (with.contains("ageing")) {
      options.ageing_ns = with["ageing"].is_null() ? -1 : Nanoseconds(with["ageing"]);
    }
    if (with.contains("minimum_run_time")) {
      options.minimum_run_time_ns = Nanoseconds(with["minimum_run_time"]);
    }
    options.seed = with.value("seed", uint64_t{0});
    const std::string placer = with.value("placer", "default");
    options.placer = View(placer);
    const std::vector<std::string> names = with.value("resources", std::vector<std::string>());
    std::vector<trackbed_string> resources;
    for (const std::string& name : names) resources.push_back(View(name));
    options.resources = resources.data();
    options.resource_count = resources.size();
    auto order = Init<trackbed_order>();
    const std::string host_order = with.value("host_order", "");
    order.rank = host_order == "fewest_running" ? AsTheyCame : LargestFirst;
    order.share = host_order == "fewest_running" ? Running : nullptr;
    if (!host_order.empty()) options.host_order = &order;
    auto enforcement = Init<trackbed_enforcement>();
    tells_enforcement_ = with.contains("enforcement");
    if (tells_enforcement_) {
      const Json& table = with["enforcement"];
      ReadEnforcement(table.value("whole", Json::array()), TRACKBED_ENFORCEMENT_HARDWARE,
                      enforcement.whole);
      ReadEnforcement(table.value("share", Json::array()), TRACKBED_ENFORCEMENT_ADVISORY,
                      enforcement.share);
      ReadEnforcement(table.value("counted", Json::array()), TRACKBED_ENFORCEMENT_ACCOUNTING,
                      enforcement.counted);
      options.enforcement = &enforcement;
    }
    trackbed_scheduler* made = nullptr;
    Must([&](trackbed_error** error) { return trackbed_scheduler_create(&options, &made, error); });
    scheduler_.reset(made);
    for (const Json& node : given.at("nodes")) AddNode(node);
    for (const Json& tenant : given.value("tenants", Json::array())) AddTenant(tenant);
  }

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    const int64_t now = step.contains("now") ? Nanoseconds(step["now"]) : 0;
    trackbed_scheduler* scheduler = scheduler_.get();
    if (what == "submit") {
      const trackbed_task task = ReadTask(step.at("task"));
      return Done([&](trackbed_error** error) {
        return trackbed_scheduler_submit(scheduler, &task, now, error);
      });
    }
    if (what == "finish") {
      return Done([&](trackbed_error** error) {
        return trackbed_scheduler_finish(scheduler, step.at("task").get<uint64_t>(), now, error);
      });
    }
    if (what == "schedule") {
      trackbed_plan* plan = nullptr;
      Must([&](trackbed_error** error) {
        return trackbed_scheduler_schedule(scheduler, now, &plan, error);
      });
      Json found = GivePlan(Plan(plan).get());
      return found;
    }
    if (what == "explain") {
      auto reason = Init<trackbed_wait_reason>();
      const std::string sentence = MustText([&](trackbed_bytes* out, trackbed_error** error) {
        return trackbed_scheduler_explain(scheduler, step.at("task").get<uint64_t>(), now, &reason,
                                          out, error);
      });
      return GiveReason(reason, sentence);
    }
    if (what == "predict") return Predict(ReadTask(step.at("task")), now);
    if (what == "recount") {
      return Done(
          [&](trackbed_error** error) { return trackbed_scheduler_recount(scheduler, error); });
    }
    const uint32_t node = nodes_.at(step.at("node").get<std::string>());
    if (what == "drain_node") {
      return Done([&](trackbed_error** error) {
        return trackbed_scheduler_drain_node(scheduler, node, error);
      });
    }
    if (what == "open_node") {
      return Done([&](trackbed_error** error) {
        return trackbed_scheduler_open_node(scheduler, node, error);
      });
    }
    if (what != "lose_node") throw std::invalid_argument("unknown step " + what);
    trackbed_plan* ended = nullptr;
    Must([&](trackbed_error** error) {
      return trackbed_scheduler_lose_node(scheduler, node, now, &ended, error);
    });
    Json found = GivePlan(Plan(ended).get());
    found.erase("next");
    return found;
  }

 private:
  // What is not named is `otherwise`.
  template <size_t kCount>
  static void ReadEnforcement(const Json& names, int32_t otherwise, uint8_t (&read)[kCount]) {
    std::fill(std::begin(read), std::end(read), static_cast<uint8_t>(otherwise));
    for (size_t i = 0; i < names.size() && i < kCount; ++i) {
      read[i] = static_cast<uint8_t>(EnforcementNumber(names[i]));
    }
  }
  void AddNode(const Json& node) {
    auto capacity = Init<trackbed_node_capacity>();
    capacity.cpu = Thousandths(node.at("cpu"));
    capacity.memory = node.value("memory", int64_t{0});
    capacity.device_count = node.value("devices", 0);
    for (int32_t i = 0; i < capacity.device_count; ++i) {
      capacity.device_kind[i] = node.value("kind", uint8_t{0});
    }
    capacity.location = node.value("location", uint32_t{0});
    capacity.architecture = node.value("architecture", 0);
    ReadCounted(node, capacity.counted);
    const std::string name = node.at("name");
    Must([&](trackbed_error** error) {
      return trackbed_scheduler_add_node(scheduler_.get(), name.data(), name.size(), &capacity,
                                         &nodes_[name], error);
    });
  }
  static void ReadCounted(const Json& of, int64_t (&counted)[TRACKBED_MAX_COUNTED]) {
    const Json given = of.value("counted", Json::array());
    for (size_t i = 0; i < given.size() && i < TRACKBED_MAX_COUNTED; ++i) {
      counted[i] = Thousandths(given[i]);
    }
  }
  static size_t ResourceOf(const std::string& name) {
    return name == "cpu" ? 0 : name == "memory" ? 1 : 2;
  }
  static int64_t AmountOf(const std::string& name, const Json& amount) {
    return name == "memory" ? amount.get<int64_t>() : Thousandths(amount);
  }
  uint32_t FindTenant(const std::string& path) const {
    uint32_t tenant = 0;
    Must([&](trackbed_error** error) {
      return trackbed_scheduler_find_tenant(scheduler_.get(), path.data(), path.size(), &tenant,
                                            error);
    });
    return tenant;
  }
  void AddTenant(const Json& tenant) {
    const std::string path = tenant.at("path");
    const size_t slash = path.rfind('/');
    const uint32_t parent = FindTenant(slash == std::string::npos ? "" : path.substr(0, slash));
    const std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
    auto quota = Init<trackbed_quota>();
    const Json guaranteed = tenant.value("guaranteed", Json::object());
    const Json limit = tenant.value("limit", Json::object());
    for (const auto& [resource, amount] : guaranteed.items()) {
      quota.guaranteed[ResourceOf(resource)] = AmountOf(resource, amount);
    }
    for (const auto& [resource, amount] : limit.items()) {
      quota.limit[ResourceOf(resource)] = AmountOf(resource, amount);
      quota.limited |= 1U << ResourceOf(resource);
    }
    quota.max_running = tenant.value("max_running", 0U);
    quota.weight = tenant.value("weight", 1.0);
    Must([&](trackbed_error** error) {
      return trackbed_scheduler_add_tenant(scheduler_.get(), parent, name.data(), name.size(),
                                           &quota, nullptr, error);
    });
  }
  trackbed_task ReadTask(const Json& task) const {
    auto read = Init<trackbed_task>();
    read.id = task.at("id");
    read.tenant = FindTenant(task.value("tenant", ""));
    read.priority = task.value("priority", 0);
    read.cpu = task.contains("cpu") ? Thousandths(task["cpu"]) : 0;
    read.memory = task.value("memory", int64_t{0});
    const int64_t devices = task.contains("devices") ? Thousandths(task["devices"]) : 0;
    read.whole_devices = static_cast<int32_t>(devices / 1000);
    read.share = static_cast<int32_t>(devices % 1000);
    read.members = task.value("members", 1U);
    read.on_different_nodes = task.value("on_different_nodes", false) ? 1 : 0;
    read.not_preemptible = task.value("preemptible", true) ? 0 : 1;
    if (task.contains("run_time")) read.run_time_ns = Nanoseconds(task["run_time"]);
    ReadCounted(task, read.counted);
    if (task.contains("at_least")) read.at_least = EnforcementNumber(task["at_least"]);
    return read;
  }
  Json GivePlan(const trackbed_plan* plan) const {
    std::vector<trackbed_plan_item> items(trackbed_plan_size(plan));
    items.resize(
        trackbed_plan_read(plan, 0, items.data(), sizeof(trackbed_plan_item), items.size()));
    Json found = Json::array();
    for (const trackbed_plan_item& item : items) {
      Json given = {{"kind", kPlanKinds[item.kind]}, {"task", item.task}};
      if (item.kind == TRACKBED_PLAN_EVICTION) given["other"] = item.other;
      if (item.kind == TRACKBED_PLAN_START || item.kind == TRACKBED_PLAN_REPAIR) {
        given["member"] = item.member;
        given["members"] = item.members;
        given["node"] = Text(trackbed_scheduler_node_name(scheduler_.get(), item.placement.node));
        Json devices = Json::array();
        for (int d = 0; d < TRACKBED_MAX_DEVICES; ++d) {
          if ((item.placement.whole_devices >> d & 1) != 0) devices.push_back(d);
        }
        if (item.placement.shared_device >= 0) devices.push_back(item.placement.shared_device);
        given["devices"] = devices;
      }
      if (tells_enforcement_ && item.kind == TRACKBED_PLAN_START) {
        given["enforcement"] = EnforcementName(item.enforcement);
      }
      found.push_back(given);
    }
    return {{"plan", found}, {"next", Seconds(trackbed_plan_next(plan))}};
  }
  static Json GiveReason(const trackbed_wait_reason& reason, const std::string& sentence) {
    return {{"rule", kWaitRules[reason.rule]},
            {"needed", reason.needed},
            {"available", reason.available},
            {"ahead", reason.ahead},
            {"expected_start", Seconds(reason.expected_start_ns)},
            {"sentence", sentence}};
  }
  Json Predict(const trackbed_task& task, int64_t now) const {
    auto reason = Init<trackbed_wait_reason>();
    int64_t start = 0;
    trackbed_bytes sentence{};
    Error error;
    if (trackbed_scheduler_predict(scheduler_.get(), &task, now, &start, &reason, &sentence,
                                   error) != TRACKBED_OK) {
      return error.Tell();
    }
    Json given = GiveReason(reason, Take(&sentence));
    if (tells_enforcement_) given["enforcement"] = EnforcementName(reason.enforcement);
    return {{"start", Seconds(start)}, {"reason", given}};
  }

  bool tells_enforcement_ = false;
  Scheduler scheduler_;
  std::map<std::string, uint32_t> nodes_;
};

// ---- Partitions ----

class Partitions {
 public:
  explicit Partitions(const Json& /*given*/) {}

  static Json Do(const Json& step) {
    const std::string what = step.at("do");
    if (what == "models") {
      return {{"models", Json::parse(MustText([](trackbed_bytes* out, trackbed_error** error) {
                 return trackbed_mig_models(out, error);
               }))}};
    }
    if (what != "plan") throw std::invalid_argument("unknown step " + what);
    const std::string request = step.at("request").dump();
    trackbed_bytes plan{};
    Error error;
    if (trackbed_mig_plan(request.data(), request.size(), &plan, error) != TRACKBED_OK) {
      return error.Tell();
    }
    return Json::parse(Take(&plan));
  }
};

// ---- Events ----

// A host with a clock that is set by hand and attempts that end as the step says.
class Runs {
 public:
  explicit Runs(const Json& given)
      : pipeline_(ParsePipeline(Join(given.at("pipeline")), TRACKBED_FORMAT_YAML, "")) {
    auto options = Init<trackbed_engine_options>();
    auto executor = Init<trackbed_executor>();
    auto clock = Init<trackbed_clock>();
    executor.user_data = clock.user_data = this;
    executor.start = Start;
    executor.stop = Stop;
    clock.now = Now;
    const std::string node = Join(given.at("node"));
    options.in_memory = 1;
    options.node = View(node);
    options.executor = &executor;
    options.clock = &clock;
    trackbed_engine* made = nullptr;
    Must([&](trackbed_error** error) { return trackbed_engine_open(&options, &made, error); });
    engine_.reset(made);
  }

  Json Do(const Json& step) {
    const std::string what = step.at("do");
    outcomes_ = step.value("outcomes", Json::object());
    started_.clear();
    Error error;
    if (what == "run") {
      auto options = Init<trackbed_submit_options>();
      const std::string parameters = step.value("parameters", Json::object()).dump();
      options.parameters = View(parameters);
      options.no_cache = step.value("cache", true) ? 0 : 1;
      trackbed_bytes run{};
      if (trackbed_engine_submit(engine_.get(), pipeline_.get(), &options, &run, error) !=
          TRACKBED_OK) {
        return error.Tell();
      }
      run_ = Take(&run);
      told_ = 0;
    } else if (what == "retry") {
      const auto names = step.value("tasks", std::vector<std::string>());
      std::vector<trackbed_string> tasks;
      for (const std::string& name : names) tasks.push_back(View(name));
      if (trackbed_engine_retry(engine_.get(), run_.data(), run_.size(), tasks.data(), tasks.size(),
                                error) != TRACKBED_OK) {
        return error.Tell();
      }
    } else {
      throw std::invalid_argument("unknown step " + what);
    }
    Drive(step.contains("cancel_after") ? now_ + Nanoseconds(step["cancel_after"]) : INT64_MAX);
    return Tell();
  }

 private:
  struct Live {
    std::string key;
    Json outcome;
    int64_t ends;
    int signal;  // by which it was stopped
  };

  static trackbed_status Start(void* user, const trackbed_attempt* attempt,
                               trackbed_error** error) {
    auto* self = static_cast<Runs*>(user);
    const std::string key = Text(attempt->key);
    const std::string task = TaskOfKey(key);
    const Json told = self->outcomes_.value(task, Json::array());
    const size_t number = self->started_[task]++;
    const Json outcome = told.empty() ? Json::object() : told[std::min(number, told.size() - 1)];
    if (outcome.contains("refused")) {
      const std::string message = outcome["refused"];
      *error = trackbed_error_create(TRACKBED_INTERNAL, message.data(), message.size());
      return TRACKBED_INTERNAL;
    }
    const int64_t takes = outcome.contains("seconds") ? Nanoseconds(outcome["seconds"]) : 0;
    self->live_.push_back({key, outcome, self->now_ + takes, 0});
    return TRACKBED_OK;
  }
  static trackbed_status Stop(void* user, const char* key, size_t size, int32_t mode,
                              trackbed_error** /*error*/) {
    auto* self = static_cast<Runs*>(user);
    for (Live& live : self->live_) {
      if (live.key != std::string_view(key, size)) continue;
      if (mode == TRACKBED_STOP_TERMINATE && live.outcome.value("ignores_terminate", false)) {
        continue;
      }
      live.ends = self->now_;
      live.signal = mode == TRACKBED_STOP_KILL ? 9 : 15;
    }
    return TRACKBED_OK;
  }
  static int64_t Now(void* user) { return static_cast<Runs*>(user)->now_; }

  void Drive(int64_t cancel) {
    for (int i = 0; i < 100'000; ++i) {
      Must([&](trackbed_error** error) { return trackbed_engine_step(engine_.get(), error); });
      if (trackbed_engine_is_active(engine_.get(), run_.data(), run_.size()) == 0) return;
      int64_t next = std::min(trackbed_engine_next_deadline(engine_.get()), cancel);
      for (const Live& live : live_) next = std::min(next, live.ends);
      now_ = std::max(now_, next);
      Settle();
      if (now_ >= cancel) {
        cancel = INT64_MAX;
        Must([&](trackbed_error** error) {
          return trackbed_engine_cancel(engine_.get(), run_.data(), run_.size(), error);
        });
      }
    }
    throw std::invalid_argument("the run does not end");
  }
  void Settle() {
    std::vector<Live> rest;
    for (Live& live : live_) {
      if (live.ends <= now_) {
        Report(live);
      } else {
        rest.push_back(std::move(live));
      }
    }
    live_ = std::move(rest);
  }
  void Report(const Live& live) {
    auto report = Init<trackbed_attempt_report>();
    const std::string message = live.outcome.value("message", "");
    const std::string digest = live.outcome.value("output_digest", "");
    const std::string outputs =
        live.outcome.contains("outputs") ? live.outcome["outputs"].dump() + "\n" : "";
    report.kind = TRACKBED_ATTEMPT_EXITED;
    report.key = View(live.key);
    report.signal = live.signal;
    if (live.signal == 0) {
      if (live.outcome.value("lost", false)) report.kind = TRACKBED_ATTEMPT_LOST;
      report.exit_code = live.outcome.value("exit_code", 0);
      report.signal = live.outcome.value("signal", 0);
      report.out_of_memory = live.outcome.value("out_of_memory", false) ? 1 : 0;
      report.message = View(message);
      report.output_text = View(outputs);
      report.output_digest = View(digest);
    }
    Must([&](trackbed_error** error) {
      return trackbed_engine_report(engine_.get(), &report, error);
    });
  }
  Json Tell() {
    auto options = Init<trackbed_events_options>();
    options.run = View(run_);
    options.from = told_ + 1;
    trackbed_events* events = nullptr;
    Must([&](trackbed_error** error) {
      return trackbed_events_open(engine_.get(), &options, &events, error);
    });
    const std::unique_ptr<trackbed_events, Freer<trackbed_events, trackbed_events_close>> owned(
        events);
    Json found = Json::array();
    size_t count = 0;
    do {
      const std::string lines = MustText([&](trackbed_bytes* out, trackbed_error** error) {
        return trackbed_events_next_json(events, 0, out, &count, error);
      });
      for (const Json& line : Split(lines)) {
        if (!line.get<std::string>().empty()) {
          found.push_back(WithoutRuns(line.get<std::string>()));
        }
      }
    } while (count > 0);
    told_ += found.size();
    const Json shown = Json::parse(MustText([&](trackbed_bytes* out, trackbed_error** error) {
      return trackbed_engine_show(engine_.get(), run_.data(), run_.size(), out, error);
    }));
    return {{"status", shown.at("status")}, {"events", found}};
  }

  int64_t now_ = kStartNanoseconds;
  Json outcomes_;
  std::map<std::string, size_t> started_;  // attempts in this step, by task
  std::vector<Live> live_;                 // in the order of their starts
  Pipeline pipeline_;
  Engine engine_;
  std::string run_;
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

Json RunByC(const Json& vector) {
  const std::string kind = vector.at("kind");
  if (kind == "pipelines") return RunSteps<Pipelines>(vector);
  if (kind == "allocations") return RunSteps<Allocations>(vector);
  if (kind == "plans") return RunSteps<Plans>(vector);
  if (kind == "partitions") return RunSteps<Partitions>(vector);
  if (kind == "events") return RunSteps<Runs>(vector);
  throw std::invalid_argument("unknown kind " + kind);
}

}  // namespace trackbed::conformance
