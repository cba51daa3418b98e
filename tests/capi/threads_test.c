/* Many threads on one engine, and two engines in one process: threads_test SUPERVISOR FOLDER.
 * Made for ThreadSanitizer; what it checks by itself is that nothing is lost and nothing hangs. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { kThreads = 8, kMostKeys = 4096, kKeySize = 96, kMostRuns = 64 };
static const int64_t kSecond = 1000000000;

static const char kPipeline[] =
    "name: threads\n"
    "tasks:\n"
    "- {name: one, command: echo one, cache: false}\n"
    "- {name: two, command: echo two, cache: false, dependencies: [one]}\n";

/* A host whose attempts are ended by a thread of its own. */
struct host {
  trackbed_engine* engine;
  trackbed_pipeline* pipeline;
  int embedded; /* 1: the library's own executor runs processes */
  int rounds;
  pthread_mutex_t mutex; /* of what follows */
  pthread_cond_t more;
  char keys[kMostKeys][kKeySize];
  int first, last;
  int closing;
  atomic_int started;
  atomic_int stopped;
  atomic_int events;
  atomic_int unexpected;
};

struct worker {
  struct host* host;
  int number;
  trackbed_bytes runs[kMostRuns];
  int run_count;
};

static void push(struct host* host, const char* key, size_t size) {
  pthread_mutex_lock(&host->mutex);
  snprintf(host->keys[host->last++ % kMostKeys], kKeySize, "%.*s", (int)size, key);
  pthread_cond_signal(&host->more);
  pthread_mutex_unlock(&host->mutex);
}

static trackbed_status start(void* user, const trackbed_attempt* attempt, trackbed_error** error) {
  struct host* host = user;
  (void)error;
  atomic_fetch_add(&host->started, 1);
  push(host, attempt->key.data, attempt->key.size);
  return TRACKBED_OK;
}
static trackbed_status stop(void* user, const char* key, size_t size, int32_t mode,
                            trackbed_error** error) {
  /* Its end is under way: the finisher reports it. */
  struct host* host = user;
  (void)key, (void)size, (void)mode, (void)error;
  atomic_fetch_add(&host->stopped, 1);
  return TRACKBED_OK;
}
static void on_event(void* user, const trackbed_event* event) {
  struct host* host = user;
  (void)event;
  atomic_fetch_add(&host->events, 1);
}
static int64_t now(void* user) {
  struct timespec time;
  (void)user;
  clock_gettime(CLOCK_REALTIME, &time);
  return (int64_t)time.tv_sec * kSecond + time.tv_nsec;
}

/* Reports the end of each attempt, from a thread that does nothing else. */
static void* finish(void* argument) {
  struct host* host = argument;
  for (;;) {
    trackbed_attempt_report report;
    char key[kKeySize];
    pthread_mutex_lock(&host->mutex);
    while (host->first == host->last && !host->closing)
      pthread_cond_wait(&host->more, &host->mutex);
    if (host->first == host->last) {
      pthread_mutex_unlock(&host->mutex);
      return NULL;
    }
    memcpy(key, host->keys[host->first++ % kMostKeys], sizeof key);
    pthread_mutex_unlock(&host->mutex);
    TRACKBED_INIT(&report);
    report.kind = TRACKBED_ATTEMPT_EXITED;
    report.key = trackbed_text(key);
    if (trackbed_engine_report(host->engine, &report, NULL)) atomic_fetch_add(&host->unexpected, 1);
  }
}

/* These may fail for what another thread has done in between, and for nothing else. */
static void may(struct host* host, trackbed_status status, trackbed_error** error) {
  if (status != TRACKBED_OK && status != TRACKBED_NOT_FOUND &&
      status != TRACKBED_FAILED_PRECONDITION) {
    trackbed_string message = trackbed_error_message(*error);
    fprintf(stderr, "unexpected: %s: %.*s\n", trackbed_status_name(status), (int)message.size,
            message.data);
    atomic_fetch_add(&host->unexpected, 1);
  }
  trackbed_error_free(*error);
  *error = NULL;
}

static void read_events(struct host* host, const char* run) {
  trackbed_error* error = NULL;
  trackbed_events_options options;
  trackbed_events* events = NULL;
  trackbed_event list[8];
  size_t count = 0;
  TRACKBED_INIT(&options);
  options.run = trackbed_text(run);
  may(host, trackbed_events_open(host->engine, &options, &events, &error), &error);
  if (events == NULL) return;
  may(host, trackbed_events_next(events, list, sizeof list[0], 8, &count, &error), &error);
  trackbed_events_close(events);
}

static void* hammer(void* argument) {
  struct worker* worker = argument;
  struct host* host = worker->host;
  trackbed_engine* engine = host->engine;
  trackbed_error* error = NULL;
  trackbed_bytes text = {NULL, 0};
  int round;
  for (round = 0; round < host->rounds; ++round) {
    trackbed_bytes* run = &worker->runs[worker->run_count];
    may(host, trackbed_engine_submit(engine, host->pipeline, NULL, run, &error), &error);
    if (run->data == NULL) continue;
    if (worker->run_count + 1 < kMostRuns) ++worker->run_count;
    may(host, trackbed_engine_list_runs(engine, 5, &text, &error), &error);
    trackbed_bytes_free(&text);
    may(host, trackbed_engine_show(engine, "latest", 6, &text, &error), &error);
    trackbed_bytes_free(&text);
    may(host, trackbed_engine_explain(engine, run->data, run->size, "two", 3, &text, &error),
        &error);
    trackbed_bytes_free(&text);
    may(host,
        trackbed_engine_read_log(engine, run->data, run->size, "one", 3, 0, 0, 100, &text, NULL,
                                 &error),
        &error);
    trackbed_bytes_free(&text);
    may(host, trackbed_engine_step(engine, &error), &error);
    if ((round + worker->number) % 3 == 0)
      may(host, trackbed_engine_cancel(engine, run->data, run->size, &error), &error);
    read_events(host, (round & 1) != 0 ? run->data : NULL);
    if (worker->number == 0 && round % 2 == 0)
      may(host, trackbed_engine_stop_thread(engine, &error), &error);
    if (worker->number == 1) may(host, trackbed_engine_start_thread(engine, &error), &error);
    (void)trackbed_engine_is_active(engine, run->data, run->size);
    (void)trackbed_engine_next_deadline(engine);
    (void)trackbed_engine_poll_timeout(engine);
    (void)trackbed_engine_wake_descriptor(engine);
  }
  /* All wait at once, with or without a thread that drives the engine. */
  for (round = 0; round < worker->run_count; ++round) {
    int32_t ended = 0;
    trackbed_bytes* run = &worker->runs[round];
    may(host, trackbed_engine_wait(engine, run->data, run->size, 120 * kSecond, &ended, &error),
        &error);
    if (!ended) atomic_fetch_add(&host->unexpected, 1);
  }
  return NULL;
}

static void open_host(struct host* host, const char* supervisor, const char* folder) {
  trackbed_error* error = NULL;
  trackbed_engine_options options;
  trackbed_executor executor;
  trackbed_event_sink sink;
  trackbed_clock clock;
  trackbed_slot slot;
  pthread_mutex_init(&host->mutex, NULL);
  pthread_cond_init(&host->more, NULL);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&executor);
  TRACKBED_INIT(&sink);
  TRACKBED_INIT(&clock);
  executor.user_data = sink.user_data = host;
  executor.start = start;
  executor.stop = stop;
  sink.event = on_event;
  clock.now = now;
  slot.name = trackbed_text("cpu");
  slot.thousandths = 4000;
  options.slots = &slot;
  options.slot_count = 1;
  options.sink = &sink;
  options.home = trackbed_text(folder);
  options.supervisor = trackbed_text(supervisor);
  options.sandbox = TRACKBED_SANDBOX_NEVER;
  options.durability = TRACKBED_DURABILITY_PROCESS;
  if (folder == NULL) options.in_memory = 1;
  if (!host->embedded) {
    options.executor = &executor;
    options.clock = &clock;
  }
  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0,
                             &host->pipeline, &error));
  OK(trackbed_engine_open(&options, &host->engine, &error));
}

static void close_host(struct host* host) {
  trackbed_engine_close(host->engine);
  trackbed_pipeline_free(host->pipeline);
  pthread_cond_destroy(&host->more);
  pthread_mutex_destroy(&host->mutex);
  CHECK(atomic_load(&host->unexpected) == 0);
  CHECK(atomic_load(&host->events) > 0);
}

/* Threads on each of these hosts at once. */
static void run_hosts(struct host** hosts, int host_count, int threads_each) {
  static struct worker workers[2 * kThreads];
  pthread_t threads[2 * kThreads];
  pthread_t finishers[2];
  int count = 0;
  int h;
  int i;
  memset(workers, 0, sizeof workers);
  for (h = 0; h < host_count; ++h) {
    pthread_create(&finishers[h], NULL, finish, hosts[h]);
    for (i = 0; i < threads_each; ++i, ++count) {
      workers[count].host = hosts[h];
      workers[count].number = i;
      pthread_create(&threads[count], NULL, hammer, &workers[count]);
    }
  }
  for (i = 0; i < count; ++i) {
    int run;
    pthread_join(threads[i], NULL);
    CHECK(workers[i].run_count > 0);
    for (run = 0; run <= workers[i].run_count && run < kMostRuns; ++run)
      trackbed_bytes_free(&workers[i].runs[run]);
  }
  for (h = 0; h < host_count; ++h) {
    pthread_mutex_lock(&hosts[h]->mutex);
    hosts[h]->closing = 1;
    pthread_cond_signal(&hosts[h]->more);
    pthread_mutex_unlock(&hosts[h]->mutex);
    pthread_join(finishers[h], NULL);
    close_host(hosts[h]);
  }
}

/* A callback that blocks holds up the engine and nobody else. */
struct slow {
  trackbed_engine* engine;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  char key[kKeySize];
  int inside;
  int may_go_on;
};

static trackbed_status start_slowly(void* user, const trackbed_attempt* attempt,
                                    trackbed_error** error) {
  struct slow* slow = user;
  (void)error;
  pthread_mutex_lock(&slow->mutex);
  snprintf(slow->key, sizeof slow->key, "%.*s", (int)attempt->key.size, attempt->key.data);
  slow->inside = 1;
  slow->may_go_on = 0;
  pthread_cond_broadcast(&slow->changed);
  while (!slow->may_go_on) pthread_cond_wait(&slow->changed, &slow->mutex);
  slow->inside = 0;
  pthread_mutex_unlock(&slow->mutex);
  return TRACKBED_OK;
}

static void test_slow_callback(const char* folder) {
  trackbed_error* error = NULL;
  trackbed_engine_options options;
  trackbed_executor executor;
  trackbed_pipeline* pipeline = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_slot slot;
  struct slow slow;
  int attempt;
  memset(&slow, 0, sizeof slow);
  pthread_mutex_init(&slow.mutex, NULL);
  pthread_cond_init(&slow.changed, NULL);
  TRACKBED_INIT(&options);
  TRACKBED_INIT(&executor);
  executor.user_data = &slow;
  executor.start = start_slowly;
  executor.stop = stop;
  slot.name = trackbed_text("cpu");
  slot.thousandths = 4000;
  options.slots = &slot;
  options.slot_count = 1;
  options.home = trackbed_text(folder);
  options.executor = &executor;
  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0,
                             &pipeline, &error));
  OK(trackbed_engine_open(&options, &slow.engine, &error));
  OK(trackbed_engine_start_thread(slow.engine, &error));
  OK(trackbed_engine_submit(slow.engine, pipeline, NULL, &run, &error));
  for (attempt = 0; attempt < 2; ++attempt) {
    trackbed_attempt_report report;
    pthread_mutex_lock(&slow.mutex);
    while (!slow.inside) pthread_cond_wait(&slow.changed, &slow.mutex);
    pthread_mutex_unlock(&slow.mutex);
    /* What is durable can be asked for, and what becomes of attempts can be told, meanwhile. */
    OK(trackbed_engine_show(slow.engine, run.data, run.size, &text, &error));
    CHECK(holds(&text, "\"status\": \"running\""));
    trackbed_bytes_free(&text);
    TRACKBED_INIT(&report);
    report.kind = TRACKBED_ATTEMPT_EXITED;
    report.key = trackbed_text(slow.key);
    OK(trackbed_engine_report(slow.engine, &report, &error));
    pthread_mutex_lock(&slow.mutex);
    slow.inside = 0;
    slow.may_go_on = 1;
    pthread_cond_broadcast(&slow.changed);
    pthread_mutex_unlock(&slow.mutex);
  }
  OK(trackbed_engine_wait(slow.engine, run.data, run.size, 120 * kSecond, NULL, &error));
  OK(trackbed_engine_show(slow.engine, run.data, run.size, &text, &error));
  CHECK(holds(&text, "\"status\": \"succeeded\""));
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);
  trackbed_engine_close(slow.engine);
  trackbed_pipeline_free(pipeline);
  pthread_cond_destroy(&slow.changed);
  pthread_mutex_destroy(&slow.mutex);
}

/* Other handles never disturb each other: a thread each has its own. */
static void* use_own_handles(void* argument) {
  atomic_int* failures_of_all = argument;
  static const char kNode[] =
      "{\"name\": \"n\", \"cpu\": 8, \"devices\": [{\"id\": \"g0\", \"slot\": \"cuda.shares\"}]}";
  int round;
  for (round = 0; round < 20; ++round) {
    trackbed_slot_allocator* allocator = NULL;
    trackbed_slot_demand* demand = NULL;
    trackbed_scheduler* scheduler = NULL;
    trackbed_pipeline* pipeline = NULL;
    trackbed_plan* plan = NULL;
    trackbed_node_capacity capacity;
    trackbed_task task;
    trackbed_slot slot;
    uint64_t id = 0;
    int bad = 0;
    slot.name = trackbed_text("cuda.shares");
    slot.thousandths = 500;
    bad |= trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_JSON, NULL,
                                          &allocator, NULL);
    bad |= trackbed_slot_allocator_prepare(allocator, &slot, 1, 0, &demand, NULL);
    bad |= trackbed_slot_allocator_allocate(allocator, demand, &id, NULL, 0, 0, NULL, NULL);
    bad |= trackbed_slot_allocator_release(allocator, id, NULL);
    TRACKBED_INIT(&capacity);
    TRACKBED_INIT(&task);
    capacity.cpu = 4000;
    task.cpu = 1000;
    task.id = 1;
    bad |= trackbed_scheduler_create(NULL, &scheduler, NULL);
    bad |= trackbed_scheduler_add_node(scheduler, "n", 1, &capacity, NULL, NULL);
    bad |= trackbed_scheduler_submit(scheduler, &task, 0, NULL);
    bad |= trackbed_scheduler_schedule(scheduler, 0, &plan, NULL);
    bad |= trackbed_plan_size(plan) != 1;
    bad |= trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0,
                                   &pipeline, NULL);
    trackbed_plan_free(plan);
    trackbed_scheduler_free(scheduler);
    trackbed_slot_demand_free(demand);
    trackbed_slot_allocator_free(allocator);
    trackbed_pipeline_free(pipeline);
    if (bad) atomic_fetch_add(failures_of_all, 1);
  }
  return NULL;
}

static void test_own_handles(void) {
  pthread_t threads[kThreads];
  atomic_int bad = 0;
  int i;
  for (i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, use_own_handles, &bad);
  for (i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  CHECK(atomic_load(&bad) == 0);
}

int main(int count, char** arguments) {
  static struct host hosts[4];
  struct host* both[2];
  char path[4][512];
  int i;
  if (count != 3) return 2;
  mkdir(arguments[2], 0700);
  for (i = 0; i < 4; ++i) snprintf(path[i], sizeof path[i], "%s/threads%d", arguments[2], i);

  /* In memory, the host ends attempts. */
  hosts[0].rounds = 40;
  open_host(&hosts[0], NULL, NULL);
  both[0] = &hosts[0];
  run_hosts(both, 1, kThreads);
  /* On disk, processes run. */
  hosts[1].rounds = 3;
  hosts[1].embedded = 1;
  open_host(&hosts[1], arguments[1], path[1]);
  both[0] = &hosts[1];
  run_hosts(both, 1, kThreads);
  /* Two engines at once. */
  hosts[2].rounds = 20;
  open_host(&hosts[2], NULL, path[2]);
  hosts[3].rounds = 20;
  open_host(&hosts[3], NULL, NULL);
  both[0] = &hosts[2];
  both[1] = &hosts[3];
  run_hosts(both, 2, kThreads / 2);
  test_slow_callback(path[0]);
  test_own_handles();
  return conclude();
}
