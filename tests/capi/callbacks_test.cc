// Callbacks of a host written in C++: what they throw, and calls that they should not make, are
// contained and reported.
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include "trackbed.h"

namespace {

constexpr char kPipeline[] =
    "name: p\n"
    "tasks:\n"
    "- {name: one, command: x, cache: false}\n"
    "- {name: two, command: x, cache: false, environment: {T: secret://env/TOKEN}}\n";

struct Host {
  Host() { TRACKBED_INIT(&options); }
  ~Host() { trackbed_engine_close(engine); }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  trackbed_status Open(std::string* message = nullptr) {
    options.in_memory = folder.empty() ? 1 : 0;
    options.home = trackbed_text(folder.c_str());
    options.executor = &executor;
    options.slots = &slot;
    options.slot_count = 1;
    trackbed_error* error = nullptr;
    const trackbed_status status = trackbed_engine_open(&options, &engine, &error);
    const trackbed_string text = trackbed_error_message(error);
    if (message != nullptr) message->assign(text.data, text.size);
    trackbed_error_free(error);
    return status;
  }
  // Runs the pipeline to its end and shows it.
  std::string Run() {
    trackbed_pipeline* pipeline = nullptr;
    REQUIRE(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, nullptr,
                                    0, &pipeline, nullptr) == TRACKBED_OK);
    trackbed_bytes run{};
    REQUIRE(trackbed_engine_submit(engine, pipeline, nullptr, &run, nullptr) == TRACKBED_OK);
    trackbed_pipeline_free(pipeline);
    int32_t ended = 0;
    CHECK(trackbed_engine_wait(engine, run.data, run.size, int64_t{60} * 1'000'000'000, &ended,
                               nullptr) == TRACKBED_OK);
    CHECK(ended == 1);
    trackbed_bytes shown{};
    REQUIRE(trackbed_engine_show(engine, run.data, run.size, &shown, nullptr) == TRACKBED_OK);
    std::string text(shown.data, shown.size);
    trackbed_bytes_free(&shown);
    trackbed_bytes_free(&run);
    return text;
  }
  void Finish(const trackbed_string& key) const {
    trackbed_attempt_report report;
    TRACKBED_INIT(&report);
    report.kind = TRACKBED_ATTEMPT_EXITED;
    report.key = key;
    CHECK(trackbed_engine_report(engine, &report, nullptr) == TRACKBED_OK);
  }
  // Every call on an engine that is not allowed in its callbacks; each must be refused.
  void TryEverything() {
    trackbed_bytes out{};
    trackbed_events* events = nullptr;
    trackbed_events_options all;
    TRACKBED_INIT(&all);
    std::vector<trackbed_status> found = {
        trackbed_engine_step(engine, nullptr),
        trackbed_engine_start_thread(engine, nullptr),
        trackbed_engine_stop_thread(engine, nullptr),
        trackbed_engine_wait(engine, "r", 1, 0, nullptr, nullptr),
        trackbed_engine_cancel(engine, "r", 1, nullptr),
        trackbed_engine_resume(engine, "r", 1, nullptr),
        trackbed_engine_retry(engine, "r", 1, nullptr, 0, nullptr),
        trackbed_engine_list_runs(engine, 1, &out, nullptr),
        trackbed_engine_show(engine, "latest", 6, &out, nullptr),
        trackbed_engine_explain(engine, "latest", 6, "one", 3, &out, nullptr),
        trackbed_events_open(engine, &all, &events, nullptr)};
    for (const trackbed_status status : found) {
      if (status == TRACKBED_FAILED_PRECONDITION) ++refused;
    }
    asked += static_cast<int>(found.size());
    if (trackbed_engine_next_deadline(engine) == 0) ++refused;
    if (trackbed_engine_poll_timeout(engine) == 0) ++refused;
    if (trackbed_engine_is_active(engine, nullptr, 0) == 0) ++refused;
    asked += 3;
    trackbed_engine_close(engine);  // does nothing here
  }

  std::string folder;  // of the store; empty: in memory
  trackbed_engine_options options;
  trackbed_executor executor = MakeExecutor();
  trackbed_slot slot = {{"cpu", 3}, 4000};
  trackbed_engine* engine = nullptr;
  int asked = 0;
  int refused = 0;
  int drops = 0;

 private:
  trackbed_executor MakeExecutor() {
    trackbed_executor made;
    TRACKBED_INIT(&made);
    made.user_data = this;
    made.start = [](void* user, const trackbed_attempt* attempt, trackbed_error**) {
      static_cast<Host*>(user)->Finish(attempt->key);
      return trackbed_status{TRACKBED_OK};
    };
    made.stop = [](void*, const char*, size_t, int32_t, trackbed_error**) {
      return trackbed_status{TRACKBED_OK};
    };
    return made;
  }
};

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("an executor that throws fails the attempt") {
  Host host;
  host.executor.start = [](void*, const trackbed_attempt*, trackbed_error**) -> trackbed_status {
    throw std::runtime_error("the cluster is on fire");
  };
  host.executor.drop = [](void* user) {
    ++static_cast<Host*>(user)->drops;
    throw 7;
  };
  REQUIRE(host.Open() == TRACKBED_OK);
  const std::string shown = host.Run();
  CHECK(Contains(shown, "\"status\": \"failed\""));
  CHECK(Contains(shown, "the host's executor threw: the cluster is on fire"));
  trackbed_engine_close(host.engine);
  host.engine = nullptr;
  CHECK(host.drops == 1);
}

TEST_CASE("what is thrown need be no exception, and an error made before is freed") {
  Host host;
  host.executor.start = [](void*, const trackbed_attempt*,
                           trackbed_error** error) -> trackbed_status {
    *error = trackbed_error_create(TRACKBED_UNAVAILABLE, "never seen", TRACKBED_TERMINATED);
    throw 42;
  };
  REQUIRE(host.Open() == TRACKBED_OK);
  const std::string shown = host.Run();
  CHECK(Contains(shown, "the host's executor threw"));
  CHECK(!Contains(shown, "never seen"));
}

TEST_CASE("a device probe that throws fails the opening") {
  Host host;
  trackbed_device_probe probe;
  TRACKBED_INIT(&probe);
  probe.user_data = &host;
  probe.probe = [](void*, trackbed_answer*, trackbed_error**) -> trackbed_status {
    throw std::runtime_error("no devices");
  };
  probe.drop = [](void* user) { ++static_cast<Host*>(user)->drops; };
  host.options.device_probe = &probe;
  std::string message;
  CHECK(host.Open(&message) == TRACKBED_INTERNAL);
  CHECK(message == "the host's device probe threw: no devices");
  CHECK(host.engine == nullptr);
  CHECK(host.drops == 0);
}

TEST_CASE("clock, random numbers and event sink that throw do not stop a run") {
  Host host;
  trackbed_clock clock;
  trackbed_random random;
  trackbed_event_sink sink;
  TRACKBED_INIT(&clock);
  TRACKBED_INIT(&random);
  TRACKBED_INIT(&sink);
  clock.now = [](void*) -> int64_t { throw std::runtime_error("what time is it"); };
  random.next = [](void*) -> uint64_t { throw std::runtime_error("nothing is random"); };
  sink.event = [](void*, const trackbed_event*) { throw std::runtime_error("not interested"); };
  host.options.clock = &clock;
  host.options.random = &random;
  host.options.sink = &sink;
  trackbed_secret_source secrets;
  TRACKBED_INIT(&secrets);
  secrets.resolve = [](void*, const char*, size_t, const char*, size_t, trackbed_answer* answer,
                       trackbed_error**) { return trackbed_answer_set(answer, "s3cr3t", 6); };
  host.options.secrets = &secrets;
  REQUIRE(host.Open() == TRACKBED_OK);
  CHECK(Contains(host.Run(), "\"status\": \"succeeded\""));
}

TEST_CASE("a secret source that throws fails the attempt that needs it") {
  Host host;
  trackbed_secret_source secrets;
  TRACKBED_INIT(&secrets);
  secrets.resolve = [](void*, const char*, size_t, const char*, size_t, trackbed_answer*,
                       trackbed_error**) -> trackbed_status {
    throw std::runtime_error("the vault is shut");
  };
  host.options.secrets = &secrets;
  REQUIRE(host.Open() == TRACKBED_OK);
  const std::string shown = host.Run();
  CHECK(Contains(shown, "\"status\": \"failed\""));
  CHECK(Contains(shown, "the vault is shut"));
}

TEST_CASE("a placer that throws is reported by the call that needed it") {
  trackbed_placer placer;
  TRACKBED_INIT(&placer);
  placer.choose = [](void*, const trackbed_cluster_view*, const trackbed_demand*,
                     trackbed_placement*, trackbed_error**) -> trackbed_status {
    throw std::runtime_error("cannot decide");
  };
  trackbed_scheduler_options options;
  TRACKBED_INIT(&options);
  options.host_placer = &placer;
  trackbed_scheduler* scheduler = nullptr;
  REQUIRE(trackbed_scheduler_create(&options, &scheduler, nullptr) == TRACKBED_OK);
  trackbed_node_capacity capacity;
  TRACKBED_INIT(&capacity);
  capacity.cpu = 1000;
  REQUIRE(trackbed_scheduler_add_node(scheduler, "n", 1, &capacity, nullptr, nullptr) ==
          TRACKBED_OK);
  trackbed_task task;
  TRACKBED_INIT(&task);
  task.id = 1;
  task.cpu = 1000;
  REQUIRE(trackbed_scheduler_submit(scheduler, &task, 0, nullptr) == TRACKBED_OK);
  trackbed_plan* plan = nullptr;
  trackbed_error* error = nullptr;
  CHECK(trackbed_scheduler_schedule(scheduler, 0, &plan, &error) == TRACKBED_INTERNAL);
  const trackbed_string message = trackbed_error_message(error);
  CHECK(std::string(message.data, message.size) == "the host's placer threw: cannot decide");
  trackbed_error_free(error);
  CHECK(trackbed_plan_size(plan) == 0);
  trackbed_plan_free(plan);
  CHECK(trackbed_scheduler_recount(scheduler, nullptr) == TRACKBED_OK);
  trackbed_scheduler_free(scheduler);
}

TEST_CASE("calls on the engine from its callbacks are refused, not waited for") {
  const trackbed::TemporaryFolder folder;
  Host host;
  if (GENERATE(false, true)) host.folder = folder.path();
  trackbed_clock clock;
  trackbed_event_sink sink;
  TRACKBED_INIT(&clock);
  TRACKBED_INIT(&sink);
  sink.user_data = clock.user_data = &host;
  sink.event = [](void* user, const trackbed_event*) { static_cast<Host*>(user)->TryEverything(); };
  clock.now = [](void* user) {
    auto* self = static_cast<Host*>(user);
    if (self->engine != nullptr) self->TryEverything();
    return int64_t{1'700'000'000} * 1'000'000'000;
  };
  host.options.sink = &sink;
  host.options.clock = &clock;
  host.executor.start = [](void* user, const trackbed_attempt* attempt, trackbed_error**) {
    static_cast<Host*>(user)->TryEverything();
    static_cast<Host*>(user)->Finish(attempt->key);
    return trackbed_status{TRACKBED_OK};
  };
  trackbed_secret_source secrets;
  TRACKBED_INIT(&secrets);
  secrets.user_data = &host;
  secrets.resolve = [](void* user, const char*, size_t, const char*, size_t,
                       trackbed_answer* answer, trackbed_error**) {
    static_cast<Host*>(user)->TryEverything();
    return trackbed_answer_set(answer, "x", 1);
  };
  host.options.secrets = &secrets;
  REQUIRE(host.Open() == TRACKBED_OK);
  CHECK(Contains(host.Run(), "\"status\": \"succeeded\""));
  CHECK(host.asked > 0);
  CHECK(host.refused == host.asked);
}

}  // namespace
