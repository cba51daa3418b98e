/* A caller that was compiled against an older header, and one against a newer: what is behind the
 * end of an older struct is neither read nor written, and a newer caller is served as long as it
 * does not ask for what this library does not know. older_test SUPERVISOR FOLDER. */
#include "check.h" /* includes older/trackbed.h */

static const char kPipeline[] = "name: older\ntasks:\n- {name: one, command: echo one}\n";
static const char kNode[] =
    "name: n\ncpu: 4\nmem: 16g\ndevices: [{id: gpu0, slot: cuda.shares}, {id: gpu1, slot: "
    "cuda.shares}]\n";

enum { kCanary = 0x5a };

/* An old struct, and the memory of the caller's that follows it. */
#define GUARDED(type) \
  struct {            \
    type item;        \
    char after[256];  \
  }
#define GUARD(guarded) \
  (memset(&(guarded), kCanary, sizeof(guarded)), TRACKBED_INIT(&(guarded).item))
static int untouched(const char* after, size_t size) {
  size_t i = 0;
  for (; i < size; ++i) {
    if (after[i] != kCanary) return 0;
  }
  return 1;
}
#define UNTOUCHED(guarded) CHECK(untouched((guarded).after, sizeof((guarded).after)))

static void test_diagnostics(void) {
  static const char kWrong[] = "name: wrong\ntasks:\n- {name: one, command: echo, retri: 3}\n";
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  GUARDED(trackbed_diagnostic) diagnostic;
  GUARD(diagnostic);
  CHECK(trackbed_pipeline_parse(kWrong, TRACKBED_TERMINATED, 1, "w.yaml", TRACKBED_TERMINATED,
                                &pipeline, &error) == TRACKBED_INVALID_ARGUMENT);
  CHECK(trackbed_error_diagnostic_count(error) == 1);
  CHECK(trackbed_error_diagnostic(error, 0, &diagnostic.item) == TRACKBED_OK);
  CHECK(diagnostic.item.struct_size == sizeof diagnostic.item && diagnostic.item.line == 3);
  CHECK(diagnostic.item.file.size == 6 && memcmp(diagnostic.item.file.data, "w.yaml", 6) == 0);
  UNTOUCHED(diagnostic);
  trackbed_error_free(error);
}

static void test_slots(void) {
  trackbed_error* error = NULL;
  trackbed_slot_allocator* allocator = NULL;
  trackbed_slot_demand* demand = NULL;
  trackbed_slot slots[2];
  uint64_t id = 0;
  size_t count = 0;
  GUARDED(trackbed_slot_allocator_options) options;
  GUARDED(trackbed_shortfall) shortfall;
  struct {
    trackbed_allocation_part items[2];
    char after[256];
  } parts;

  GUARD(options); /* read further, the canaries would be a strange strategy and quanta */
  OK(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, 0, &options.item, &allocator,
                                    &error));
  slots[0].name.data = "cuda.shares";
  slots[0].name.size = 11;
  slots[0].thousandths = 1500;
  slots[1].name.data = "cpu";
  slots[1].name.size = 3;
  slots[1].thousandths = 3000;
  OK(trackbed_slot_allocator_prepare(allocator, slots, 2, 0, &demand, &error));
  memset(&parts, kCanary, sizeof parts);
  /* An array with items of the size that they had: each is where the caller looks for it. */
  OK(trackbed_slot_allocator_allocate(allocator, demand, &id, parts.items, sizeof parts.items[0], 2,
                                      &count, &error));
  CHECK(count == 3);
  CHECK(parts.items[0].struct_size == sizeof parts.items[0]);
  CHECK(parts.items[1].struct_size == sizeof parts.items[1]);
  CHECK(parts.items[1].slot.size == 11 && memcmp(parts.items[1].slot.data, "cuda.shares", 11) == 0);
  UNTOUCHED(parts);
  EXPECT(TRACKBED_RESOURCE_EXHAUSTED,
         trackbed_slot_allocator_allocate(allocator, demand, &id, NULL, 0, 0, NULL, &error));
  GUARD(shortfall);
  OK(trackbed_slot_allocator_explain(allocator, demand, &shortfall.item, &error));
  CHECK(shortfall.item.slot.size > 0 && shortfall.item.needed > 0);
  UNTOUCHED(shortfall);
  trackbed_slot_demand_free(demand);
  trackbed_slot_allocator_free(allocator);
}

static void test_scheduler(void) {
  trackbed_error* error = NULL;
  trackbed_scheduler* scheduler = NULL;
  trackbed_plan* plan = NULL;
  uint32_t node = 0;
  GUARDED(trackbed_scheduler_options) options;
  GUARDED(trackbed_node_capacity) capacity;
  GUARDED(trackbed_task) task;
  GUARDED(trackbed_plan_item) item;

  GUARD(options);
  OK(trackbed_scheduler_create(&options.item, &scheduler, &error));
  GUARD(capacity);
  capacity.item.cpu = 4000;
  capacity.item.memory = 1 << 30;
  OK(trackbed_scheduler_add_node(scheduler, "n", 1, &capacity.item, &node, &error));
  GUARD(task); /* read further, it would want an absurd number of members */
  task.item.id = 7;
  OK(trackbed_scheduler_submit(scheduler, &task.item, 0, &error));
  OK(trackbed_scheduler_schedule(scheduler, 0, &plan, &error));
  GUARD(item);
  CHECK(trackbed_plan_read(plan, 0, &item.item, sizeof item.item, 1) == 1);
  CHECK(item.item.task == 7 && item.item.struct_size == sizeof item.item);
  UNTOUCHED(item);
  trackbed_plan_free(plan);
  trackbed_scheduler_free(scheduler);
}

static void test_engine(const char* folder) {
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_engine* engine = NULL;
  trackbed_events* events = NULL;
  trackbed_bytes run = {NULL, 0};
  int32_t ended = 0;
  size_t count = 0;
  size_t i = 0;
  GUARDED(trackbed_engine_options) options;
  GUARDED(trackbed_submit_options) submit;
  GUARDED(trackbed_events_options) stream;
  struct {
    trackbed_event items[8];
    char after[256];
  } list;

  OK(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, 1, "p.yaml", TRACKBED_TERMINATED,
                             &pipeline, &error));
  GUARD(options);
  options.item.home.data = folder;
  options.item.home.size = strlen(folder);
  OK(trackbed_engine_open(&options.item, &engine, &error));
  GUARD(submit);
  OK(trackbed_engine_submit(engine, pipeline, &submit.item, &run, &error));
  OK(trackbed_engine_wait(engine, run.data, run.size, 60LL * 1000000000, &ended, &error));
  CHECK(ended == 1);
  GUARD(stream);
  stream.item.run.data = run.data;
  stream.item.run.size = run.size;
  OK(trackbed_events_open(engine, &stream.item, &events, &error));
  memset(&list, kCanary, sizeof list);
  OK(trackbed_events_next(events, list.items, sizeof list.items[0], 8, &count, &error));
  CHECK(count >= 3);
  for (i = 0; i < count; ++i) {
    CHECK(list.items[i].sequence == i + 1 && list.items[i].struct_size == sizeof list.items[i]);
  }
  UNTOUCHED(list);
  trackbed_events_close(events);
  trackbed_bytes_free(&run);
  trackbed_engine_close(engine);
  trackbed_pipeline_free(pipeline);
}

/* A caller of a later version: its structs are longer than this library knows. */
struct newer_options {
  trackbed_slot_allocator_options item;
  char later[512]; /* longer than all this library knows of these options */
};
struct newer_shortfall {
  trackbed_shortfall item;
  char later[512];
};

static void test_newer(void) {
  trackbed_error* error = NULL;
  trackbed_slot_allocator* allocator = NULL;
  trackbed_slot_demand* demand = NULL;
  trackbed_slot slot = {{"cpu", 3}, 1000};
  struct newer_options options;
  struct newer_shortfall shortfall;
  size_t i = 0;

  /* It leaves what is new at its default: fine. */
  memset(&options, 0, sizeof options);
  options.item.struct_size = sizeof options;
  OK(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, 0, &options.item, &allocator,
                                    &error));
  OK(trackbed_slot_allocator_prepare(allocator, &slot, 1, 0, &demand, &error));
  /* What is new in a struct that it wants filled is 0. */
  memset(&shortfall, kCanary, sizeof shortfall);
  shortfall.item.struct_size = sizeof shortfall;
  OK(trackbed_slot_allocator_explain(allocator, demand, &shortfall.item, &error));
  CHECK(shortfall.item.struct_size == sizeof shortfall);
  for (i = sizeof shortfall.later - 64; i < sizeof shortfall.later; ++i) {
    CHECK(shortfall.later[i] == 0);
  }
  trackbed_slot_demand_free(demand);
  trackbed_slot_allocator_free(allocator);

  /* It uses what is new: refused, with words that say so. */
  options.later[sizeof options.later - 1] = 1;
  CHECK(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, 0, &options.item, &allocator,
                                       &error) == TRACKBED_INVALID_ARGUMENT);
  CHECK(strstr(trackbed_error_message(error).data, "older than its caller") != NULL);
  trackbed_error_free(error);
  error = NULL;

  /* No size is no version. */
  options.item.struct_size = 0;
  REFUSED(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, 0, &options.item, &allocator,
                                         &error));
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  setenv("TRACKBED_SUPERVISOR", arguments[1], 1);
  test_diagnostics();
  test_slots();
  test_scheduler();
  test_engine(arguments[2]);
  test_newer();
  return conclude();
}
