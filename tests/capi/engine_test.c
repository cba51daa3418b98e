/* The engine by its C interface: engine_test SUPERVISOR FOLDER. */
#define _GNU_SOURCE
#include <dirent.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const char kPipeline[] =
    "name: capi\n"
    "parameters: {word: hello}\n"
    "tasks:\n"
    "- name: one\n"
    "  command: echo ${{ params.word }}; echo n=3 >> $TRACKBED_OUTPUT\n"
    "  outputs: {n: integer}\n"
    "- name: two\n"
    "  command: echo two ${{ tasks.one.outputs.n }}\n"
    "  dependencies: [one]\n";

struct host {
  trackbed_engine* engine;
  char keys[16][128];
  int started;
  int dropped;
  int events;
  int re_entered;
  uint64_t last;
};

static trackbed_status start(void* user, const trackbed_attempt* attempt, trackbed_error** error) {
  struct host* host = user;
  trackbed_error* refused = NULL;
  (void)error;
  /* A callback may not step the engine that called it. */
  if (trackbed_engine_step(host->engine, &refused) == TRACKBED_FAILED_PRECONDITION)
    ++host->re_entered;
  trackbed_error_free(refused);
  if (attempt->json.size == 0 || attempt->command_count == 0) return TRACKBED_INTERNAL;
  snprintf(host->keys[host->started % 16], 128, "%.*s", (int)attempt->key.size, attempt->key.data);
  ++host->started;
  return TRACKBED_OK;
}
static trackbed_status refuse(void* user, const trackbed_attempt* attempt, trackbed_error** error) {
  (void)user;
  (void)attempt;
  *error = trackbed_error_create(TRACKBED_INTERNAL, "no room today", TRACKBED_TERMINATED);
  return TRACKBED_INTERNAL;
}
static trackbed_status stop(void* user, const char* key, size_t size, int32_t mode,
                            trackbed_error** error) {
  trackbed_attempt_report report;
  struct host* host = user;
  (void)mode;
  (void)error;
  TRACKBED_INIT(&report);
  report.kind = TRACKBED_ATTEMPT_EXITED;
  report.signal = 15;
  report.key.data = key;
  report.key.size = size;
  return trackbed_engine_report(host->engine, &report, NULL);
}
static void drop(void* user) { ++((struct host*)user)->dropped; }
static void on_event(void* user, const trackbed_event* event) {
  struct host* host = user;
  ++host->events;
  CHECK(event->sequence == host->last + 1);
  host->last = event->sequence;
}

static int thread_count(void) {
  int count = 0;
  DIR* folder = opendir("/proc/self/task");
  if (folder == NULL) return -1;
  while (readdir(folder) != NULL) ++count;
  closedir(folder);
  return count - 2; /* but for . and .. */
}

/* What belongs to the host, and what is printed: as it was before all that the tests do. */
struct manners {
  struct sigaction signals[NSIG];
  char locale[256];
  char** environment;
  size_t variables;
  char* first_variable;
  int threads;
  int outputs[2];
  FILE* printed;
};

static size_t count_variables(void) {
  size_t count = 0;
  while (environ[count] != NULL) ++count;
  return count;
}

static void watch_manners(struct manners* before) {
  int number;
  memset(before, 0, sizeof *before);
  for (number = 1; number < NSIG; ++number) sigaction(number, NULL, &before->signals[number]);
  snprintf(before->locale, sizeof before->locale, "%s", setlocale(LC_ALL, NULL));
  before->environment = environ;
  before->variables = count_variables();
  before->first_variable = environ[0];
  before->threads = thread_count();
  fflush(NULL);
  before->printed = tmpfile();
  if (before->printed == NULL) return;
  for (number = 0; number < 2; ++number) {
    before->outputs[number] = dup(number + 1);
    dup2(fileno(before->printed), number + 1);
  }
}

static void check_manners(struct manners* before) {
  int number;
  if (before->printed != NULL) {
    int byte;
    fflush(NULL);
    for (number = 0; number < 2; ++number) {
      dup2(before->outputs[number], number + 1);
      close(before->outputs[number]);
    }
    CHECK(failures > 0 || lseek(fileno(before->printed), 0, SEEK_END) == 0);
    rewind(before->printed);
    while ((byte = getc(before->printed)) != EOF) fputc(byte, stderr);
    fclose(before->printed);
  }
  for (number = 1; number < NSIG; ++number) {
    struct sigaction now;
    memset(&now, 0, sizeof now);
    if (sigaction(number, NULL, &now) != 0) continue;
    CHECK(now.sa_handler == before->signals[number].sa_handler);
  }
  CHECK(strcmp(setlocale(LC_ALL, NULL), before->locale) == 0);
  CHECK(environ == before->environment && environ[0] == before->first_variable &&
        count_variables() == before->variables);
  CHECK(thread_count() == before->threads);
}

static void test_embedded(const char* supervisor, const char* folder) {
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_engine* engine = NULL;
  trackbed_engine* second = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_bytes place = {NULL, 0};
  trackbed_engine_options options;
  trackbed_submit_options submit;
  trackbed_events_options stream;
  trackbed_events* events = NULL;
  trackbed_event list[4];
  size_t count = 0;
  size_t total = 0;
  int32_t ended = 0;
  int32_t more = 1;
  int threads;

  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, "p.yaml",
                             TRACKBED_TERMINATED, &pipeline, &error));
  TRACKBED_INIT(&options);
  options.home = trackbed_text(folder);
  options.supervisor = trackbed_text(supervisor);
  options.sandbox = TRACKBED_SANDBOX_NEVER;
  OK(trackbed_engine_open(&options, &engine, &error));
  /* The store has one holder, also within a process. */
  EXPECT(TRACKBED_FAILED_PRECONDITION, trackbed_engine_open(&options, &second, &error));

  TRACKBED_INIT(&submit);
  submit.parameters = trackbed_text("{\"word\": \"good day\"}");
  OK(trackbed_engine_submit(engine, pipeline, &submit, &run, &error));
  CHECK(trackbed_engine_is_active(engine, run.data, run.size) == 1);
  threads = thread_count();
  OK(trackbed_engine_step(engine, &error));
  CHECK(thread_count() == threads); /* none but the one that is asked for */
  OK(trackbed_engine_start_thread(engine, &error));
  CHECK(thread_count() == threads + 1);
  EXPECT(TRACKBED_FAILED_PRECONDITION, trackbed_engine_start_thread(engine, &error));
  OK(trackbed_engine_wait(engine, run.data, run.size, 60LL * 1000000000, &ended, &error));
  CHECK(ended == 1);
  OK(trackbed_engine_stop_thread(engine, &error));
  OK(trackbed_engine_stop_thread(engine, &error));
  CHECK(thread_count() == threads);

  OK(trackbed_engine_show(engine, "latest", TRACKBED_TERMINATED, &text, &error));
  CHECK(holds(&text, "\"status\": \"succeeded\""));
  trackbed_bytes_free(&text);
  OK(trackbed_engine_list_runs(engine, 10, &text, &error));
  CHECK(holds(&text, run.data));
  trackbed_bytes_free(&text);
  OK(trackbed_engine_outputs(engine, run.data, run.size, "one", 3, &text, &place, &error));
  CHECK(strcmp(text.data, "{\"n\":3}") == 0);
  CHECK(place.size == 0);
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&place);
  OK(trackbed_engine_read_log(engine, run.data, run.size, "one", 3, 0, 0, 4, &text, &more, &error));
  CHECK(text.size == 4 && memcmp(text.data, "good", 4) == 0 && more == 1);
  trackbed_bytes_free(&text);
  OK(trackbed_engine_read_log(engine, run.data, run.size, "one", 3, 0, 4, 100, &text, &more,
                              &error));
  CHECK(strcmp(text.data, " day\n") == 0 && more == 0);
  trackbed_bytes_free(&text);
  OK(trackbed_engine_explain(engine, run.data, run.size, "two", 3, &text, &error));
  CHECK(holds(&text, "\"situation\":\"ended\""));
  trackbed_bytes_free(&text);
  OK(trackbed_engine_why(engine, run.data, run.size, "two", 3, &text, &error));
  CHECK(holds(&text, "\"fields\""));
  trackbed_bytes_free(&text);
  EXPECT(TRACKBED_NOT_FOUND,
         trackbed_engine_why(engine, run.data, run.size, "tow", 3, &text, &error));
  EXPECT(TRACKBED_NOT_FOUND, trackbed_engine_show(engine, "nothing", 7, &text, &error));
  EXPECT(TRACKBED_FAILED_PRECONDITION, trackbed_engine_cancel(engine, run.data, run.size, &error));

  /* All events, in parts, from the store; then from the middle. */
  TRACKBED_INIT(&stream);
  stream.run = trackbed_text(run.data);
  OK(trackbed_events_open(engine, &stream, &events, &error));
  do {
    size_t i;
    OK(trackbed_events_next(events, list, sizeof list[0], 4, &count, &error));
    for (i = 0; i < count; ++i) CHECK(list[i].sequence == ++total);
  } while (count > 0);
  CHECK(total == 6);
  trackbed_events_close(events);
  stream.from = total;
  OK(trackbed_events_open(engine, &stream, &events, &error));
  OK(trackbed_events_next_json(events, 0, &text, &count, &error));
  CHECK(count == 1 && holds(&text, "\"event\":\"run_finished\""));
  trackbed_bytes_free(&text);

  /* A child may close what it has inherited, and nothing else. */
  {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
      int good = trackbed_engine_step(engine, NULL) == TRACKBED_FAILED_PRECONDITION &&
                 trackbed_events_next(events, list, sizeof list[0], 4, &count, NULL) ==
                     TRACKBED_FAILED_PRECONDITION &&
                 trackbed_engine_wake_descriptor(engine) == -1;
      trackbed_engine_close(engine);
      trackbed_events_close(events);
      _exit(good ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  OK(trackbed_engine_step(engine, &error));
  trackbed_engine_close(engine);
  /* What is left of it says so. */
  EXPECT(TRACKBED_FAILED_PRECONDITION,
         trackbed_events_next(events, list, sizeof list[0], 4, &count, &error));
  trackbed_events_close(events);
  trackbed_bytes_free(&run);
  trackbed_pipeline_free(pipeline);
}

static void test_host_executor(void) {
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_engine_options options;
  trackbed_executor executor;
  trackbed_event_sink sink;
  trackbed_attempt_report report;
  trackbed_slot slots[1];
  struct host host;
  struct pollfd wake;

  memset(&host, 0, sizeof host);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&executor);
  TRACKBED_INIT(&sink);
  executor.user_data = sink.user_data = &host;
  executor.drop = sink.drop = drop;
  executor.start = start;
  executor.stop = stop;
  sink.event = on_event;
  slots[0].name = trackbed_text("cpu");
  slots[0].thousandths = 4000;
  options.in_memory = 1;
  options.executor = &executor;
  options.sink = &sink;
  options.slots = slots;
  options.slot_count = 1;
  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO, NULL, 0,
                             &pipeline, &error));
  OK(trackbed_engine_open(&options, &host.engine, &error));
  wake.fd = trackbed_engine_wake_descriptor(host.engine);
  wake.events = POLLIN;
  OK(trackbed_engine_step(host.engine, &error));
  CHECK(poll(&wake, 1, 0) == 0);
  OK(trackbed_engine_submit(host.engine, pipeline, NULL, &run, &error));
  CHECK(poll(&wake, 1, 0) == 1);
  OK(trackbed_engine_step(host.engine, &error));
  CHECK(host.started == 1 && host.re_entered == 1);
  TRACKBED_INIT(&report);
  report.kind = TRACKBED_ATTEMPT_EXITED;
  report.key = trackbed_text("nobody/knows/1");
  EXPECT(TRACKBED_NOT_FOUND, trackbed_engine_report(host.engine, &report, &error));
  report.key = trackbed_text(host.keys[0]);
  report.output_text = trackbed_text("n=7\n");
  OK(trackbed_engine_report(host.engine, &report, &error));
  CHECK(poll(&wake, 1, 0) == 1);
  OK(trackbed_engine_step(host.engine, &error));
  CHECK(host.started == 2);
  OK(trackbed_engine_cancel(host.engine, run.data, run.size, &error));
  OK(trackbed_engine_wait(host.engine, run.data, run.size, 10LL * 1000000000, NULL, &error));
  OK(trackbed_engine_show(host.engine, run.data, run.size, &text, &error));
  CHECK(holds(&text, "\"status\": \"cancelled\""));
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);
  CHECK(host.events > 0);
  trackbed_engine_close(host.engine);
  CHECK(host.dropped == 2);

  /* What a callback says of its failure stands in the run. */
  executor.start = refuse;
  options.sink = NULL;
  OK(trackbed_engine_open(&options, &host.engine, &error));
  OK(trackbed_engine_submit(host.engine, pipeline, NULL, &run, &error));
  OK(trackbed_engine_wait(host.engine, run.data, run.size, 10LL * 1000000000, NULL, &error));
  OK(trackbed_engine_show(host.engine, run.data, run.size, &text, &error));
  CHECK(holds(&text, "no room today"));
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);
  trackbed_engine_close(host.engine);
  CHECK(host.dropped == 3);
  trackbed_pipeline_free(pipeline);

  /* A table whose taker failed stays the host's. */
  options.in_memory = 0;
  REFUSED(trackbed_engine_open(&options, &host.engine, &error));
  CHECK(host.dropped == 3);
}

static trackbed_status start_later(void* user, const trackbed_attempt* attempt,
                                   trackbed_error** error) {
  struct host* host = user;
  (void)error;
  CHECK(attempt->json.size == 0); /* as was asked for */
  snprintf(host->keys[host->started % 16], 128, "%.*s", (int)attempt->key.size, attempt->key.data);
  ++host->started;
  return TRACKBED_OK;
}

/* Tasks that wait for somebody. */
static void test_approvals(void) {
  static const char kAsks[] =
      "name: p\ntasks:\n"
      "- {name: a, approval: {message: Go on, approvers: [ada]}}\n"
      "- {name: b, approval: And further, dependencies: [a]}\n"
      "- {name: c, command: x, dependencies: [b]}\n";
  static char large[20000];
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_engine_options options;
  trackbed_executor executor;
  trackbed_engine* engine = NULL;
  struct host host;

  memset(&host, 0, sizeof host);
  memset(large, 'a', sizeof large);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&executor);
  executor.user_data = &host;
  executor.start = start_later;
  executor.stop = stop;
  executor.without_json = 1;
  options.in_memory = 1;
  options.executor = &executor;
  OK(trackbed_pipeline_parse(kAsks, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0, &pipeline,
                             &error));
  OK(trackbed_engine_open(&options, &engine, &error));
  OK(trackbed_engine_submit(engine, pipeline, NULL, &run, &error));
  EXPECT(TRACKBED_FAILED_PRECONDITION,
         trackbed_engine_approve(engine, run.data, run.size, "a", 1, "ada", 3, NULL, 0, &error));
  OK(trackbed_engine_step(engine, &error));
  OK(trackbed_engine_show(engine, "latest", TRACKBED_TERMINATED, &text, &error));
  CHECK(holds(&text, "\"state\": \"waiting\"") && holds(&text, "Go on"));
  trackbed_bytes_free(&text);
  OK(trackbed_engine_explain(engine, run.data, run.size, "a", 1, &text, &error));
  CHECK(holds(&text, "\"situation\":\"approval\""));
  trackbed_bytes_free(&text);
  EXPECT(TRACKBED_FAILED_PRECONDITION,
         trackbed_engine_reject(engine, run.data, run.size, "a", 1, "bob", 3, NULL, 0, &error));
  EXPECT(TRACKBED_INVALID_ARGUMENT,
         trackbed_engine_reject(engine, run.data, run.size, "a", 1, NULL, 0, NULL, 0, &error));
  EXPECT(TRACKBED_INVALID_ARGUMENT, trackbed_engine_approve(engine, run.data, run.size, "a", 1,
                                                            "ada", 3, large, 20000, &error));
  EXPECT(TRACKBED_NOT_FOUND,
         trackbed_engine_approve(engine, run.data, run.size, "x", 1, "ada", 3, NULL, 0, &error));
  EXPECT(TRACKBED_NOT_FOUND,
         trackbed_engine_approve(engine, "nobody", 6, "a", 1, "ada", 3, NULL, 0, &error));
  REFUSED(trackbed_engine_approve(NULL, run.data, run.size, "a", 1, "ada", 3, NULL, 0, &error));
  REFUSED(trackbed_engine_approve(engine, NULL, 0, "a", 1, "ada", 3, NULL, 0, &error));
  OK(trackbed_engine_approve(engine, "latest", TRACKBED_TERMINATED, "a", TRACKBED_TERMINATED, "ada",
                             TRACKBED_TERMINATED, "fine", TRACKBED_TERMINATED, &error));
  EXPECT(TRACKBED_FAILED_PRECONDITION,
         trackbed_engine_reject(engine, run.data, run.size, "a", 1, "ada", 3, NULL, 0, &error));
  OK(trackbed_engine_step(engine, &error));
  OK(trackbed_engine_reject(engine, run.data, run.size, "b", 1, "bob", 3, NULL, 0, &error));
  OK(trackbed_engine_wait(engine, run.data, run.size, 10LL * 1000000000, NULL, &error));
  OK(trackbed_engine_show(engine, run.data, run.size, &text, &error));
  CHECK(holds(&text, "\"comment\": \"fine\"") && holds(&text, "rejected by bob"));
  CHECK(holds(&text, "\"status\": \"failed\""));
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);
  CHECK(host.started == 0);
  trackbed_engine_close(engine);
  trackbed_pipeline_free(pipeline);
}

/* Who goes first, and whom quotas hold back. */
static void test_tenants(void) {
  static const char kOne[] = "name: p\ntasks:\n- {name: a, command: x, cache: false}\n";
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_bytes runs[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
  trackbed_bytes text = {NULL, 0};
  trackbed_engine_options options;
  trackbed_engine_tenant tenants[2];
  trackbed_scheduler_options policy;
  trackbed_submit_options submit;
  trackbed_attempt_report report;
  trackbed_executor executor;
  trackbed_slot guests;
  struct host host;
  int i;

  memset(&host, 0, sizeof host);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&executor);
  TRACKBED_INIT(&policy);
  TRACKBED_INIT(&tenants[0]);
  TRACKBED_INIT(&tenants[1]);
  executor.user_data = &host;
  executor.start = start_later;
  executor.stop = stop;
  executor.without_json = 1;
  guests.name = trackbed_text("cpu");
  guests.thousandths = 1000;
  tenants[0].path = trackbed_text("lab");
  tenants[1].path = trackbed_text("lab/guests");
  tenants[1].limit = &guests;
  tenants[1].limit_count = 1;
  options.in_memory = 1;
  options.executor = &executor;
  options.node = trackbed_text("name: n\ncpu: 2\nmem: 1g\n");
  options.tenants = tenants;
  options.tenant_count = 2;
  options.tenant_size = sizeof tenants[0];
  options.policy = &policy;
  policy.order = TRACKBED_ORDER_LIFO;
  REFUSED(trackbed_engine_open(&options, &host.engine, &error));
  policy.order = TRACKBED_ORDER_DRF;
  guests.name = trackbed_text("gpus");
  REFUSED(trackbed_engine_open(&options, &host.engine, &error));
  guests.name = trackbed_text("cpu");
  tenants[0].path = trackbed_text("elsewhere"); /* the parent is missing */
  EXPECT(TRACKBED_NOT_FOUND, trackbed_engine_open(&options, &host.engine, &error));
  tenants[0].path = trackbed_text("lab");
  OK(trackbed_engine_open(&options, &host.engine, &error));
  OK(trackbed_pipeline_parse(kOne, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0, &pipeline,
                             &error));
  TRACKBED_INIT(&submit);
  submit.tenant = trackbed_text("lab/gusts");
  EXPECT(TRACKBED_NOT_FOUND,
         trackbed_engine_submit(host.engine, pipeline, &submit, &runs[0], &error));
  submit.tenant = trackbed_text("lab/guests");
  for (i = 0; i < 3; ++i) {
    submit.has_priority = 1;
    submit.priority = i; /* the last one is the most important */
    OK(trackbed_engine_submit(host.engine, pipeline, &submit, &runs[i], &error));
  }
  OK(trackbed_engine_step(host.engine, &error));
  /* Of two cores guests may have one. */
  CHECK(host.started == 1);
  CHECK(strncmp(host.keys[0], runs[2].data, runs[2].size) == 0);
  OK(trackbed_engine_explain(host.engine, runs[0].data, runs[0].size, "a", 1, &text, &error));
  CHECK(holds(&text, "\"situation\":\"quota\"") && holds(&text, "lab/guests"));
  trackbed_bytes_free(&text);
  TRACKBED_INIT(&report);
  report.kind = TRACKBED_ATTEMPT_EXITED;
  report.key = trackbed_text(host.keys[0]);
  OK(trackbed_engine_report(host.engine, &report, &error));
  OK(trackbed_engine_step(host.engine, &error));
  CHECK(host.started == 2);
  CHECK(strncmp(host.keys[1], runs[1].data, runs[1].size) == 0);
  trackbed_engine_close(host.engine);
  trackbed_pipeline_free(pipeline);
  for (i = 0; i < 3; ++i) trackbed_bytes_free(&runs[i]);
}

struct turns {
  struct host* host;
  int ranked;
  int shared;
  int fail;
  int dropped;
};
/* The least important first. */
static trackbed_status rank_of(void* user, const trackbed_task* task, int64_t submitted_ns,
                               int64_t* rank, trackbed_error** error) {
  struct turns* turns = user;
  ++turns->ranked;
  CHECK(task->struct_size == sizeof *task && task->members == 1 && task->cpu == 1000);
  CHECK(submitted_ns > 0);
  if (turns->host->engine != NULL) {
    CHECK(trackbed_engine_step(turns->host->engine, NULL) == TRACKBED_FAILED_PRECONDITION);
  }
  if (turns->fail) {
    *error = trackbed_error_create(TRACKBED_UNAVAILABLE, "no rank today", TRACKBED_TERMINATED);
    return TRACKBED_UNAVAILABLE;
  }
  *rank = task->priority;
  return TRACKBED_OK;
}
static trackbed_status share_of(void* user, uint32_t tenant, const trackbed_tenant_usage* usage,
                                int64_t now_ns, double* share, trackbed_error** error) {
  struct turns* turns = user;
  (void)error;
  ++turns->shared;
  CHECK(usage->struct_size == sizeof *usage && now_ns > 0 && (tenant == 1 || tenant == 2));
  if (turns->fail) return TRACKBED_UNKNOWN; /* counts as 0 */
  *share = tenant == 2 ? 0 : 1;
  return TRACKBED_OK;
}
static void turns_drop(void* user) { ++((struct turns*)user)->dropped; }

static void end_attempt(struct host* host, int number) {
  trackbed_error* error = NULL;
  trackbed_attempt_report report;
  TRACKBED_INIT(&report);
  report.kind = TRACKBED_ATTEMPT_EXITED;
  report.key = trackbed_text(host->keys[number]);
  OK(trackbed_engine_report(host->engine, &report, &error));
  OK(trackbed_engine_step(host->engine, &error));
}

/* An order of the host's decides who goes first in an engine, with a store and without. */
static void test_order(const char* folder) {
  static const char kOne[] = "name: p\ntasks:\n- {name: a, command: x, cache: false}\n";
  static const char* kTenants[] = {"one", "two"};
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_bytes runs[5];
  trackbed_bytes text = {NULL, 0};
  trackbed_engine_options options;
  trackbed_engine_tenant tenants[2];
  trackbed_scheduler_options policy;
  trackbed_submit_options submit;
  trackbed_executor executor;
  trackbed_order order;
  struct turns turns;
  struct host host;
  char home[600];
  int i;
  int durable;

  snprintf(home, sizeof home, "%s/order", folder);
  OK(trackbed_pipeline_parse(kOne, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0, &pipeline,
                             &error));
  for (durable = 0; durable < 2; ++durable) {
    memset(&host, 0, sizeof host);
    memset(&turns, 0, sizeof turns);
    memset(runs, 0, sizeof runs);
    turns.host = &host;
    TRACKBED_INIT(&options);
    TRACKBED_INIT(&executor);
    TRACKBED_INIT(&policy);
    TRACKBED_INIT(&order);
    executor.user_data = &host;
    executor.start = start_later;
    executor.stop = stop;
    executor.without_json = 1;
    options.in_memory = !durable;
    options.home = trackbed_text(durable ? home : NULL);
    options.executor = &executor;
    options.node = trackbed_text("name: n\ncpu: 1\nmem: 1g\n");
    options.policy = &policy;
    for (i = 0; i < 2; ++i) {
      TRACKBED_INIT(&tenants[i]);
      tenants[i].path = trackbed_text(kTenants[i]);
    }
    options.tenants = tenants;
    options.tenant_count = 2;
    options.tenant_size = sizeof tenants[0];
    policy.host_order = &order;
    order.user_data = &turns;
    order.drop = turns_drop;
    REFUSED(trackbed_engine_open(&options, &host.engine, &error)); /* it has no rank */
    order.rank = rank_of;
    if (durable) order.share = share_of;
    OK(trackbed_engine_open(&options, &host.engine, &error));

    TRACKBED_INIT(&submit);
    submit.has_priority = 1;
    turns.fail = 1;
    EXPECT(TRACKBED_UNAVAILABLE,
           trackbed_engine_submit(host.engine, pipeline, &submit, &runs[0], &error));
    turns.fail = 0;
    for (i = 0; i < 5; ++i) {
      submit.priority = 10 - i;
      submit.tenant = trackbed_text(kTenants[i == 3 || i == 0]);
      OK(trackbed_engine_submit(host.engine, pipeline, &submit, &runs[i], &error));
    }
    OK(trackbed_engine_step(host.engine, &error));
    /* Of all the last is the least important; of tenant two, whose share is smaller, number 3. */
    CHECK(host.started == 1);
    CHECK(strncmp(host.keys[0], runs[durable ? 3 : 4].data, runs[4].size) == 0);
    CHECK((turns.shared > 0) == durable);
    i = turns.ranked;
    OK(trackbed_engine_explain(host.engine, runs[1].data, runs[1].size, "a", 1, &text, &error));
    CHECK(holds(&text, "\"situation\":\"shortage\"") && turns.ranked > i);
    trackbed_bytes_free(&text);
    end_attempt(&host, 0);
    CHECK(host.started == 2);
    CHECK(strncmp(host.keys[1], runs[durable ? 0 : 3].data, runs[0].size) == 0);
    /* What it fails with later holds nobody up. */
    turns.fail = 1;
    for (i = 1; i < 5; ++i) end_attempt(&host, i);
    CHECK(host.started == 5 && trackbed_engine_is_active(host.engine, NULL, 0) == 0);
    trackbed_engine_close(host.engine);
    CHECK(turns.dropped == 1);
    for (i = 0; i < 5; ++i) trackbed_bytes_free(&runs[i]);
  }
  trackbed_pipeline_free(pipeline);
}

static size_t open_files(void) {
  size_t count = 0;
  int number;
  for (number = 0; number < 1024; ++number) count += dup2(number, number) == number;
  return count;
}

static long resident_pages(void) {
  long size = 0;
  long resident = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (file != NULL && fscanf(file, "%ld %ld", &size, &resident) != 2) resident = 0;
  if (file != NULL) fclose(file);
  return resident;
}

/* Engines that come and go leave nothing behind. */
static void test_cycles(int cycles) {
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_engine_options options;
  trackbed_executor executor;
  struct host host;
  size_t files = 0;
  long pages = 0;
  int i;
  memset(&host, 0, sizeof host);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&executor);
  executor.user_data = &host;
  executor.start = refuse;
  executor.stop = stop;
  options.in_memory = 1;
  options.executor = &executor;
  options.node = trackbed_text("name: n\ncpu: 4\nmem: 1g\n");
  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO, NULL, 0,
                             &pipeline, &error));
  for (i = 0; i < cycles; ++i) {
    trackbed_bytes run = {NULL, 0};
    int before = failures;
    OK(trackbed_engine_open(&options, &host.engine, &error));
    OK(trackbed_engine_submit(host.engine, pipeline, NULL, &run, &error));
    OK(trackbed_engine_wait(host.engine, run.data, run.size, -1, NULL, &error));
    trackbed_bytes_free(&run);
    trackbed_engine_close(host.engine);
    if (failures != before) break;
    if (i == cycles / 4) {
      files = open_files();
      pages = resident_pages();
    }
  }
  CHECK(open_files() == files);
#if !defined(TRACKBED_SANITIZE) /* which keeps what was freed for a while */
  CHECK(resident_pages() - pages < 256);
#endif
  (void)pages;
  trackbed_pipeline_free(pipeline);
}

/* A store of artifacts of the host's: folders, copied by cp. */
struct shelf {
  char folder[512];
  int puts;
  int gets;
  int fail;
  int dropped;
};
static void shelf_path(const struct shelf* shelf, const char* digest, size_t size, char* path) {
  snprintf(path, 1024, "%s/%.*s", shelf->folder, (int)size, digest);
}
static int copy(const char* from, const char* to) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    execlp("cp", "cp", "-R", from, to, (char*)NULL);
    _exit(127);
  }
  return waitpid(child, &status, 0) == child && status == 0;
}
static void remove_all(const char* path) {
  pid_t child = fork();
  if (child == 0) {
    execlp("sh", "sh", "-c", "chmod -R u+w \"$1\" 2>/dev/null; rm -rf \"$1\"", "sh", path,
           (char*)NULL);
    _exit(127);
  }
  waitpid(child, NULL, 0);
}
static trackbed_status has(void* user, const char* digest, size_t size, int32_t* present,
                           trackbed_error** error) {
  char path[1024];
  (void)error;
  shelf_path(user, digest, size, path);
  *present = access(path, F_OK) == 0;
  return TRACKBED_OK;
}
static trackbed_status put(void* user, const char* digest, size_t size, const char* folder,
                           size_t folder_size, trackbed_error** error) {
  struct shelf* shelf = user;
  char path[1024];
  char from[1024];
  if (shelf->fail) {
    *error = trackbed_error_create(TRACKBED_UNAVAILABLE, "the shelf is full", TRACKBED_TERMINATED);
    return TRACKBED_UNAVAILABLE;
  }
  ++shelf->puts;
  shelf_path(shelf, digest, size, path);
  snprintf(from, sizeof from, "%.*s", (int)folder_size, folder);
  return copy(from, path) ? TRACKBED_OK : TRACKBED_UNKNOWN;
}
static trackbed_status get(void* user, const char* digest, size_t size, const char* folder,
                           size_t folder_size, trackbed_error** error) {
  struct shelf* shelf = user;
  char path[1024];
  char to[1024];
  (void)error;
  ++shelf->gets;
  shelf_path(shelf, digest, size, path);
  snprintf(to, sizeof to, "%.*s", (int)folder_size, folder);
  /* The folder of the attempt may be gone with all in it. */
  *strrchr(to, '/') = 0;
  if (access(to, F_OK) != 0) {
    char command[1100];
    snprintf(command, sizeof command, "mkdir -p '%s'", to);
    if (system(command) != 0) return TRACKBED_UNKNOWN;
  }
  to[strlen(to)] = '/';
  return copy(path, to) ? TRACKBED_OK : TRACKBED_UNKNOWN;
}
static void shelf_drop(void* user) { ++((struct shelf*)user)->dropped; }

/* Runs it to its end; what `show` says of it. */
static void run_and_show(trackbed_engine* engine, const trackbed_pipeline* pipeline,
                         trackbed_bytes* run, trackbed_bytes* text) {
  trackbed_error* error = NULL;
  OK(trackbed_engine_submit(engine, pipeline, NULL, run, &error));
  OK(trackbed_engine_wait(engine, run->data, run->size, 60LL * 1000000000, NULL, &error));
  OK(trackbed_engine_show(engine, run->data, run->size, text, &error));
}

/* Outputs that are gone come back from where they were kept; and the store is looked after. */
static void test_artifacts(const char* supervisor, const char* folder) {
  static const char kFiles[] =
      "name: shelf\ntasks:\n- {name: a, command: echo hello > $TRACKBED_OUTPUTS/word}\n"
      "- {name: b, command: cat $TRACKBED_INPUTS/a/word, dependencies: [a]}\n";
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_engine* engine = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_bytes place = {NULL, 0};
  trackbed_engine_options options;
  trackbed_artifact_store store;
  struct shelf shelf;
  char home[600];
  char path[700];
  int own;

  memset(&shelf, 0, sizeof shelf);
  OK(trackbed_pipeline_parse(kFiles, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0, &pipeline,
                             &error));
  for (own = 0; own < 2; ++own) {
    snprintf(home, sizeof home, "%s/artifacts%d", folder, own);
    snprintf(shelf.folder, sizeof shelf.folder, "%.400s/shelf%d", folder, own);
    remove_all(home);
    remove_all(shelf.folder);
    TRACKBED_INIT(&options);
    options.home = trackbed_text(home);
    options.supervisor = trackbed_text(supervisor);
    options.sandbox = TRACKBED_SANDBOX_NEVER;
    options.artifacts = trackbed_text(shelf.folder);
    if (own) {
      TRACKBED_INIT(&store);
      store.user_data = &shelf;
      store.drop = shelf_drop;
      store.has = has;
      store.put = put;
      options.artifact_store = &store;
      REFUSED(trackbed_engine_open(&options, &engine, &error)); /* both, and one without get */
      options.artifacts = trackbed_text(NULL);
      REFUSED(trackbed_engine_open(&options, &engine, &error));
      store.get = get;
      snprintf(path, sizeof path, "mkdir -p '%s'", shelf.folder);
      CHECK(system(path) == 0);
    }
    OK(trackbed_engine_open(&options, &engine, &error));
    run_and_show(engine, pipeline, &run, &text);
    CHECK(holds(&text, "\"status\": \"succeeded\""));
    trackbed_bytes_free(&text);
    trackbed_bytes_free(&run);
    trackbed_engine_close(engine);
    CHECK(shelf.puts == own && shelf.gets == 0);

    snprintf(path, sizeof path, "%s/runs", home);
    remove_all(path);
    OK(trackbed_engine_open(&options, &engine, &error));
    OK(trackbed_engine_outputs(engine, "latest", 6, "a", 1, &text, &place, &error));
    trackbed_bytes_free(&text);
    snprintf(path, sizeof path, "%s/word", place.data);
    CHECK(access(path, R_OK) == 0);
    CHECK(shelf.gets == own);
    trackbed_bytes_free(&place);
    snprintf(path, sizeof path, "%s/runs", home);
    remove_all(path);
    run_and_show(engine, pipeline, &run, &text); /* from the cache, with its files */
    CHECK(holds(&text, "\"status\": \"succeeded\"") && holds(&text, "\"cached\""));
    CHECK(shelf.puts == own && shelf.gets == 2 * own);
    trackbed_bytes_free(&text);
    trackbed_bytes_free(&run);
    trackbed_engine_close(engine);
  }
  CHECK(shelf.dropped == 2);

  /* An attempt whose outputs cannot be kept is lost. */
  remove_all(shelf.folder);
  remove_all(home);
  shelf.fail = 1;
  OK(trackbed_engine_open(&options, &engine, &error));
  run_and_show(engine, pipeline, &run, &text);
  CHECK(holds(&text, "\"status\": \"failed\"") && holds(&text, "the shelf is full"));
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);

  /* The store, in use. */
  snprintf(path, sizeof path, "%s/trackbed.db", home);
  OK(trackbed_store_check(path, TRACKBED_TERMINATED, &text, &error));
  CHECK(holds(&text, "\"runs\":1") && holds(&text, "\"findings\":[]"));
  trackbed_bytes_free(&text);
  snprintf(home, sizeof home, "%s/backup.db", folder);
  remove_all(home);
  OK(trackbed_store_backup(path, TRACKBED_TERMINATED, home, TRACKBED_TERMINATED, &text, &error));
  CHECK(holds(&text, "\"runs\":1"));
  trackbed_bytes_free(&text);
  EXPECT(TRACKBED_ALREADY_EXISTS,
         trackbed_store_backup(path, TRACKBED_TERMINATED, home, TRACKBED_TERMINATED, NULL, &error));
  EXPECT(TRACKBED_NOT_FOUND,
         trackbed_store_check("/nowhere.db", TRACKBED_TERMINATED, &text, &error));
  trackbed_engine_close(engine);
  trackbed_pipeline_free(pipeline);
}

/* Where tasks run: what cannot be had is said when the engine is opened. */
static void test_run_on(const char* supervisor, const char* folder) {
  static const trackbed_string kWrong = {"ghcr.io", 7};
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_engine* engine = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_engine_options options;
  trackbed_executor_choice choice;
  trackbed_executor executor;
  char home[600];
  trackbed_status status;

  snprintf(home, sizeof home, "%s/run_on", folder);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&choice);
  options.home = trackbed_text(home);
  options.supervisor = trackbed_text(supervisor);
  options.sandbox = TRACKBED_SANDBOX_NEVER;
  options.run_on = &choice;
  OK(trackbed_engine_open(&options, &engine, &error));
  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0,
                             &pipeline, &error));
  run_and_show(engine, pipeline, &run, &text);
  CHECK(holds(&text, "\"status\": \"succeeded\""));
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);
  trackbed_pipeline_free(pipeline);
  trackbed_engine_close(engine);

  choice.kind = 9;
  REFUSED(trackbed_engine_open(&options, &engine, &error));
  choice.kind = TRACKBED_RUN_IN_CONTAINER;
  choice.endpoint = trackbed_text("unix:///nowhere.sock");
  status = trackbed_engine_open(&options, &engine, &error);
  /* Where there is no libcurl, that is what is said. */
  CHECK(status == TRACKBED_UNAVAILABLE || status == TRACKBED_FAILED_PRECONDITION ||
        status == TRACKBED_NOT_FOUND);
  CHECK(trackbed_error_message(error).size > 0);
  trackbed_error_free(error);
  error = NULL;
  choice.registries = &kWrong;
  choice.registry_count = 1;
  REFUSED(trackbed_engine_open(&options, &engine, &error));
  choice.registries = NULL;
  REFUSED(trackbed_engine_open(&options, &engine, &error));
  choice.registry_count = 0;
  choice.kind = TRACKBED_RUN_BY_SLURM;
  choice.sbatch = &kWrong;
  choice.sbatch_count = 1;
  REFUSED(trackbed_engine_open(&options, &engine, &error));
  TRACKBED_INIT(&executor);
  executor.start = start;
  executor.stop = stop;
  options.executor = &executor;
  REFUSED(trackbed_engine_open(&options, &engine, &error));
}

int main(int argc, char** argv) {
  struct manners manners;
  if (argc != 3) return 2;
  watch_manners(&manners);
  test_embedded(argv[1], argv[2]);
  test_host_executor();
  test_approvals();
  test_tenants();
  test_order(argv[2]);
  test_artifacts(argv[1], argv[2]);
  test_run_on(argv[1], argv[2]);
#if defined(TRACKBED_SANITIZE)
  test_cycles(500);
#else
  test_cycles(10000);
#endif
  check_manners(&manners);
  return conclude();
}
