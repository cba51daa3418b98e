/* A vendor's own scheduler, in C, that leaves two things to Trackbed: which waiting job starts next
 * on which node, and which devices of the node it holds. No engine, no store, no thread: whoever
 * copies this keeps the own queue, the own agents and the own clock.
 *
 *   cc main.c -ltrackbed -o scheduler && ./scheduler
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "trackbed.h"

enum { kNodes = 2, kGpus = 4, kJobs = 6 };
static const int64_t kMinute = INT64_C(60) * 1000000000;

/* A node is one to the scheduler, which knows it by number, and has an allocator of its own, which
 * keeps the account of its devices by name. */
struct node {
  char name[8];
  trackbed_slot_allocator* allocator;
};

/* What the vendor knows of a job. */
struct job {
  uint64_t id;
  const char* team;
  int gpus;
  int members; /* a gang starts whole or not at all */
  int minutes;
  uint64_t allocation[kNodes]; /* of each node, 0: none */
};

static int failed(const char* what, trackbed_status status, trackbed_error** error) {
  if (status == TRACKBED_OK) return 0;
  trackbed_string message = trackbed_error_message(*error);
  printf("%s: %s: %.*s\n", what, trackbed_status_name(status), (int)message.size, message.data);
  trackbed_error_free(*error);
  *error = NULL;
  return 1;
}

static int add_node(trackbed_scheduler* scheduler, int number, struct node* node) {
  trackbed_error* error = NULL;
  trackbed_node_capacity capacity;
  char description[512];
  int size;
  snprintf(node->name, sizeof node->name, "node%d", number);
  size = snprintf(description, sizeof description, "name: %s\ncpu: 32\nmem: 256g\ndevices:\n",
                  node->name);
  for (int gpu = 0; gpu < kGpus; ++gpu)
    size += snprintf(description + size, sizeof description - (size_t)size,
                     "- {id: gpu%d, slot: cuda.device, model: A100}\n", gpu);
  if (failed("allocator",
             trackbed_slot_allocator_create(description, (size_t)size, TRACKBED_FORMAT_YAML, NULL,
                                            &node->allocator, &error),
             &error))
    return 1;
  TRACKBED_INIT(&capacity);
  capacity.cpu = 32000; /* thousandths of a core */
  capacity.memory = INT64_C(256) << 30;
  capacity.device_count = kGpus;
  return failed("node",
                trackbed_scheduler_add_node(scheduler, node->name, TRACKBED_TERMINATED, &capacity,
                                            NULL, &error),
                &error);
}

/* Takes the devices that the scheduler has chosen, and says what the agent of the node is to do. */
static int start_member(struct node* node, struct job* job, const trackbed_plan_item* item) {
  trackbed_error* error = NULL;
  trackbed_allocation_part parts[kGpus];
  char names[kGpus][8];
  size_t count = 0;
  uint64_t* id = &job->allocation[item->placement.node];
  printf("job %" PRIu64 " starts on %s: CUDA_VISIBLE_DEVICES=", job->id, node->name);
  for (int gpu = 0; gpu < kGpus; ++gpu) {
    if ((item->placement.whole_devices >> gpu & 1) == 0) continue;
    snprintf(names[count], sizeof names[count], "gpu%d", gpu);
    TRACKBED_INIT(&parts[count]);
    parts[count].slot = trackbed_text("cuda.device");
    parts[count].device = trackbed_text(names[count]);
    parts[count].thousandths = 1000; /* all of it */
    printf("%s%d", count == 0 ? "" : ",", gpu);
    ++count;
  }
  printf("\n");
  return failed("allocate",
                trackbed_slot_allocator_allocate_parts(node->allocator, parts, sizeof parts[0],
                                                       count, id, &error),
                &error);
}

/* Asks what to do now, and does it. */
static int schedule(trackbed_scheduler* scheduler, struct node* nodes, struct job* jobs,
                    int64_t now) {
  trackbed_error* error = NULL;
  trackbed_plan* plan = NULL;
  int result = 0;
  if (failed("schedule", trackbed_scheduler_schedule(scheduler, now, &plan, &error), &error))
    return 1;
  for (size_t i = 0; i < trackbed_plan_size(plan) && result == 0; ++i) {
    trackbed_plan_item item;
    trackbed_plan_read(plan, i, &item, sizeof item, 1);
    if (item.kind == TRACKBED_PLAN_START)
      result = start_member(&nodes[item.placement.node], &jobs[item.task - 1], &item);
    else if (item.kind == TRACKBED_PLAN_EVICTION) /* stop it; when it has ended, finish() */
      printf("job %" PRIu64 " makes room for job %" PRIu64 "\n", item.task, item.other);
  }
  trackbed_plan_free(plan);
  return result;
}

/* A job has ended: both accounts get back what it held. */
static int finish(trackbed_scheduler* scheduler, struct node* nodes, struct job* job, int64_t now) {
  trackbed_error* error = NULL;
  printf("job %" PRIu64 " has ended\n", job->id);
  for (int i = 0; i < kNodes; ++i) {
    if (job->allocation[i] == 0) continue;
    if (failed("release",
               trackbed_slot_allocator_release(nodes[i].allocator, job->allocation[i], &error),
               &error))
      return 1;
    job->allocation[i] = 0;
  }
  return failed("finish", trackbed_scheduler_finish(scheduler, job->id, now, &error), &error);
}

/* Why a job waits, in words that its owner understands. */
static int explain(trackbed_scheduler* scheduler, const struct job* job, int64_t now) {
  trackbed_error* error = NULL;
  trackbed_wait_reason reason;
  trackbed_bytes sentence = {NULL, 0};
  TRACKBED_INIT(&reason);
  if (failed("explain",
             trackbed_scheduler_explain(scheduler, job->id, now, &reason, &sentence, &error),
             &error))
    return 1;
  if (reason.rule != TRACKBED_WAIT_NONE)
    printf("job %" PRIu64 " waits: %s\n", job->id, sentence.data);
  trackbed_bytes_free(&sentence);
  return 0;
}

static int run(trackbed_scheduler* scheduler, struct node* nodes, struct job* jobs) {
  trackbed_error* error = NULL;
  trackbed_quota quota;
  int64_t now = INT64_C(1767225600) * 1000000000; /* the vendor's clock: nanoseconds since 1970 */
  for (int i = 0; i < kNodes; ++i)
    if (add_node(scheduler, i, &nodes[i]) != 0) return 1;

  /* Nobody of the team guests gets more than two GPUs at a time. */
  TRACKBED_INIT(&quota);
  quota.limited = 1U << 2; /* 0 is cpu, 1 memory, 2 devices */
  quota.limit[2] = 2000;
  if (failed("tenant",
             trackbed_scheduler_add_tenant(scheduler, 0, "guests", TRACKBED_TERMINATED, &quota,
                                           NULL, &error),
             &error))
    return 1;

  for (int i = 0; i < kJobs; ++i) {
    trackbed_task task;
    TRACKBED_INIT(&task);
    task.id = jobs[i].id;
    task.cpu = 4000;
    task.whole_devices = jobs[i].gpus;
    task.members = (uint32_t)jobs[i].members;
    task.on_different_nodes = jobs[i].members > 1;
    task.run_time_ns = jobs[i].minutes * kMinute;
    if (failed("tenant",
               trackbed_scheduler_find_tenant(scheduler, jobs[i].team, TRACKBED_TERMINATED,
                                              &task.tenant, &error),
               &error))
      return 1;
    /* A job that can never run is refused now, not found waiting next week. */
    failed("submit", trackbed_scheduler_submit(scheduler, &task, now, &error), &error);
  }
  if (schedule(scheduler, nodes, jobs, now) != 0) return 1;
  for (int i = 0; i < kJobs; ++i)
    if (explain(scheduler, &jobs[i], now) != 0) return 1;

  now += 30 * kMinute;
  if (finish(scheduler, nodes, &jobs[0], now) != 0) return 1;
  if (finish(scheduler, nodes, &jobs[2], now) != 0) return 1;
  return schedule(scheduler, nodes, jobs, now);
}

int main(void) {
  struct node nodes[kNodes];
  struct job jobs[kJobs] = {{1, "", 3, 1, 30, {0}},       {2, "guests", 2, 1, 60, {0}},
                            {3, "", 2, 1, 30, {0}},       {4, "", 2, 2, 45, {0}},
                            {5, "guests", 1, 1, 10, {0}}, {6, "", 5, 1, 10, {0}}};
  trackbed_error* error = NULL;
  trackbed_scheduler* scheduler = NULL;
  trackbed_scheduler_options options;
  const trackbed_string resources[] = {trackbed_text("cpu"), trackbed_text("mem"),
                                       trackbed_text("GPUs")};
  int result = 1;
  memset(nodes, 0, sizeof nodes);
  TRACKBED_INIT(&options);
  options.resources = resources; /* for sentences */
  options.resource_count = 3;
  if (!failed("scheduler", trackbed_scheduler_create(&options, &scheduler, &error), &error))
    result = run(scheduler, nodes, jobs);
  for (int i = 0; i < kNodes; ++i) trackbed_slot_allocator_free(nodes[i].allocator);
  trackbed_scheduler_free(scheduler);
  return result;
}
