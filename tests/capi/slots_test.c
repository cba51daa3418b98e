/* Slots, scheduler, groups, pipelines and simulation by the C interface; bad arguments of all. */
#include "check.h"

static const char kNode[] =
    "name: n\ncpu: 8\nmem: 16g\n"
    "devices: [{id: gpu0, slot: cuda.shares}, {id: gpu1, slot: cuda.shares}]\n";

/* The struct as it was when it had its first two fields only. */
struct old_shortfall {
  uint32_t struct_size;
  int32_t kind;
};
/* One of a later version. */
struct new_options {
  trackbed_slot_allocator_options known;
  uint64_t added;
};

static void test_slots(void) {
  trackbed_error* error = NULL;
  trackbed_slot_allocator* allocator = NULL;
  trackbed_slot_allocator* other = NULL;
  trackbed_slot_allocator_options options;
  trackbed_slot_demand* demand = NULL;
  trackbed_allocation_part parts[4];
  trackbed_device_usage usage[8];
  trackbed_shortfall shortfall;
  trackbed_slot slots[2];
  trackbed_bytes json = {NULL, 0};
  uint64_t ids[2] = {0, 0};
  uint64_t extra = 0;
  size_t count = 0;
  int64_t amount = 0;

  OK(trackbed_slot_parse("mem", 3, "16g", 3, &amount, &error));
  CHECK(amount == 16LL * 1024 * 1024 * 1024 * 1000);
  OK(trackbed_slot_format("mem", 3, amount, &json, &error));
  CHECK(strcmp(json.data, "16g") == 0);
  trackbed_bytes_free(&json);
  EXPECT(TRACKBED_NOT_FOUND, trackbed_slot_parse("cpuu", 4, "1", 1, &amount, &error));

  TRACKBED_INIT(&options);
  options.no_fragmentation = 1;
  OK(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO, &options,
                                    &allocator, &error));
  slots[0].name = trackbed_text("cuda.shares");
  slots[0].thousandths = 600;
  slots[1].name = trackbed_text("cpu");
  slots[1].thousandths = 1000;
  OK(trackbed_slot_allocator_prepare(allocator, slots, 2, 0, &demand, &error));
  OK(trackbed_slot_allocator_allocate(allocator, demand, &ids[0], parts, sizeof parts[0], 4, &count,
                                      &error));
  CHECK(count == 2 && parts[0].thousandths == 600 && parts[0].struct_size == sizeof parts[0]);
  CHECK(parts[0].slot.size == 11 && memcmp(parts[0].slot.data, "cuda.shares", 11) == 0);
  OK(trackbed_slot_allocator_allocate(allocator, demand, &ids[1], NULL, 0, 0, NULL, &error));
  CHECK(ids[0] != ids[1]);
  EXPECT(TRACKBED_RESOURCE_EXHAUSTED,
         trackbed_slot_allocator_allocate(allocator, demand, &extra, NULL, 0, 0, NULL, &error));
  TRACKBED_INIT(&shortfall);
  OK(trackbed_slot_allocator_explain(allocator, demand, &shortfall, &error));
  CHECK(shortfall.kind == TRACKBED_SHORTFALL_FRAGMENTATION && shortfall.free == 800);
  CHECK(shortfall.message.size > 0);
  {
    /* A caller of an older version gets what it knows and no byte more. */
    struct {
      struct old_shortfall out;
      uint32_t guard;
    } old = {{sizeof(struct old_shortfall), 0}, 0xabcdef};
    OK(trackbed_slot_allocator_explain(allocator, demand, (trackbed_shortfall*)(void*)&old.out,
                                       &error));
    CHECK(old.out.kind == TRACKBED_SHORTFALL_FRAGMENTATION && old.guard == 0xabcdef);
    old.out.struct_size = 3;
    REFUSED(trackbed_slot_allocator_explain(allocator, demand, (trackbed_shortfall*)(void*)&old.out,
                                            &error));
  }
  OK(trackbed_slot_allocator_usage(allocator, usage, sizeof usage[0], 8, &count, &error));
  CHECK(count == 4 && usage[0].used == 600 && usage[0].capacity == 1000);
  OK(trackbed_slot_allocator_snapshot(allocator, &json, &error));
  OK(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, &other,
                                    &error));
  OK(trackbed_slot_allocator_restore(other, json.data, json.size, &error));
  CHECK(trackbed_slot_allocator_live_count(other) == 2);
  REFUSED(trackbed_slot_allocator_restore(other, json.data, json.size, &error));
  CHECK(trackbed_slot_allocator_live_count(other) == 2);
  trackbed_bytes_free(&json);
  OK(trackbed_slot_allocator_parts(other, ids[0], parts, sizeof parts[0], 4, &count, &error));
  CHECK(count == 2);
  OK(trackbed_slot_allocator_release(other, ids[0], &error));
  EXPECT(TRACKBED_FAILED_PRECONDITION, trackbed_slot_allocator_release(other, ids[0], &error));
  EXPECT(TRACKBED_NOT_FOUND,
         trackbed_slot_allocator_parts(other, ids[0], parts, sizeof parts[0], 4, &count, &error));
  OK(trackbed_slot_allocator_allocate_parts(other, parts, sizeof parts[0], 2, &extra, &error));
  trackbed_slot_allocator_free(other);
  OK(trackbed_slot_allocator_copy(allocator, &other, &error));
  OK(trackbed_slot_allocator_set_healthy(other, "gpu0", 4, 0, &error));
  EXPECT(TRACKBED_NOT_FOUND, trackbed_slot_allocator_set_healthy(other, "gpu9", 4, 0, &error));
  trackbed_slot_allocator_free(allocator);
  CHECK(trackbed_slot_allocator_live_count(other) == 2);
  trackbed_slot_allocator_free(other);
  trackbed_slot_demand_free(demand);
  {
    struct new_options later;
    memset(&later, 0, sizeof later);
    later.known.struct_size = (uint32_t)sizeof later;
    OK(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML,
                                      &later.known, &allocator, &error));
    trackbed_slot_allocator_free(allocator);
    later.added = 1;
    REFUSED(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML,
                                           &later.known, &allocator, &error));
  }
}

static trackbed_status wrong_choice(void* user, const trackbed_cluster_view* view,
                                    const trackbed_demand* demand, trackbed_placement* out,
                                    trackbed_error** error) {
  (void)user;
  (void)view;
  (void)demand;
  (void)error;
  out->node = 4711;
  return TRACKBED_OK;
}
static trackbed_status first_choice(void* user, const trackbed_cluster_view* view,
                                    const trackbed_demand* demand, trackbed_placement* out,
                                    trackbed_error** error) {
  uint32_t node;
  (void)error;
  for (node = 0; node < trackbed_cluster_view_size(view); ++node) {
    if (trackbed_cluster_view_fits(view, node, demand, out)) {
      ++*(int*)user;
      return TRACKBED_OK;
    }
  }
  return TRACKBED_NOT_FOUND;
}

static void test_scheduler(void) {
  trackbed_error* error = NULL;
  trackbed_scheduler* scheduler = NULL;
  trackbed_scheduler_options options;
  trackbed_node_capacity capacity;
  trackbed_node_state state;
  trackbed_task tasks[3];
  trackbed_plan* plan = NULL;
  trackbed_plan_item items[4];
  trackbed_wait_reason reason;
  trackbed_scheduler_stats stats;
  trackbed_placement placement;
  trackbed_placer placer;
  trackbed_quota quota;
  trackbed_tenant_usage usage;
  trackbed_what_if what_if;
  uint32_t first = 0;
  trackbed_status statuses[3];
  trackbed_bytes sentence = {NULL, 0};
  uint32_t node = 9;
  uint32_t tenant = 0;
  size_t accepted = 0;
  size_t count = 0;
  int64_t start = 0;
  int chosen = 0;
  int i;

  OK(trackbed_scheduler_create(NULL, &scheduler, &error));
  TRACKBED_INIT(&capacity);
  capacity.cpu = 8000;
  capacity.memory = 1 << 30;
  capacity.device_count = 2;
  OK(trackbed_scheduler_add_node(scheduler, "g1", 2, &capacity, &node, &error));
  CHECK(node == 0);
  EXPECT(TRACKBED_ALREADY_EXISTS,
         trackbed_scheduler_add_node(scheduler, "g1", 2, &capacity, &node, &error));
  TRACKBED_INIT(&quota);
  quota.limited = 1u << 2;
  quota.limit[2] = 1000;
  OK(trackbed_scheduler_add_tenant(scheduler, 0, "ada", 3, &quota, &tenant, &error));
  OK(trackbed_scheduler_find_tenant(scheduler, "ada", 3, &node, &error));
  CHECK(node == tenant && tenant == 1);
  for (i = 0; i < 3; ++i) {
    TRACKBED_INIT(&tasks[i]);
    tasks[i].id = (uint64_t)i + 1;
    tasks[i].cpu = 1000;
    tasks[i].whole_devices = 1;
    tasks[i].tenant = tenant;
  }
  tasks[2].whole_devices = 5;
  EXPECT(TRACKBED_RESOURCE_EXHAUSTED,
         trackbed_scheduler_submit_batch(scheduler, tasks, sizeof tasks[0], 3, 0, statuses,
                                         &accepted, &error));
  CHECK(accepted == 2 && statuses[0] == TRACKBED_OK && statuses[2] == TRACKBED_RESOURCE_EXHAUSTED);
  OK(trackbed_scheduler_schedule(scheduler, 0, &plan, &error));
  CHECK(trackbed_plan_size(plan) == 1);
  CHECK(trackbed_plan_read(plan, 0, items, sizeof items[0], 4) == 1);
  CHECK(items[0].kind == TRACKBED_PLAN_START && items[0].task == 1 && items[0].members == 1);
  trackbed_plan_free(plan);
  TRACKBED_INIT(&reason);
  OK(trackbed_scheduler_explain(scheduler, 2, 0, &reason, &sentence, &error));
  CHECK(reason.rule == TRACKBED_WAIT_QUOTA && reason.quota_tenant == tenant);
  CHECK(holds(&sentence, "ada"));
  trackbed_bytes_free(&sentence);
  CHECK(trackbed_scheduler_task_state(scheduler, 1) == TRACKBED_TASK_RUNNING);
  CHECK(trackbed_scheduler_task_state(scheduler, 2) == TRACKBED_TASK_WAITING);
  TRACKBED_INIT(&usage);
  OK(trackbed_scheduler_tenant_usage(scheduler, tenant, &usage, &error));
  CHECK(usage.used[2] == 1000 && usage.running == 1);
  OK(trackbed_scheduler_placements(scheduler, 1, &placement, 1, &count, &error));
  CHECK(count == 1 && placement.node == 0 && placement.shared_device == -1);
  tasks[2].whole_devices = 1;
  tasks[2].tenant = 0;
  OK(trackbed_scheduler_predict(scheduler, &tasks[2], 5, &start, NULL, NULL, &error));
  CHECK(start == 5);
  /* The same if there were another node, or if none took anything new. */
  TRACKBED_INIT(&what_if);
  what_if.drained = &first;
  what_if.drained_count = 1;
  OK(trackbed_scheduler_predict_if(scheduler, &tasks[2], &what_if, 5, &start, NULL, NULL, &error));
  CHECK(start == TRACKBED_NEVER);
  what_if.added = &capacity;
  what_if.added_count = 1;
  what_if.added_size = sizeof capacity;
  OK(trackbed_scheduler_predict_if(scheduler, &tasks[2], &what_if, 5, &start, NULL, NULL, &error));
  CHECK(start == 5);
  first = 77;
  EXPECT(TRACKBED_NOT_FOUND, trackbed_scheduler_predict_if(scheduler, &tasks[2], &what_if, 5,
                                                           &start, NULL, NULL, &error));
  OK(trackbed_scheduler_finish(scheduler, 1, 10, &error));
  EXPECT(TRACKBED_NOT_FOUND, trackbed_scheduler_finish(scheduler, 1, 10, &error));
  tasks[0].id = 7;
  OK(trackbed_scheduler_restore(scheduler, &tasks[0], &placement, 1, 0, 10, &error));
  TRACKBED_INIT(&stats);
  OK(trackbed_scheduler_get_stats(scheduler, &stats, &error));
  CHECK(stats.nodes == 1 && stats.running == 1 && stats.waiting == 1 && stats.device_left == 1000);
  TRACKBED_INIT(&state);
  OK(trackbed_scheduler_node(scheduler, 0, &capacity, &state, &error));
  CHECK(state.tasks == 1 && capacity.device_count == 2 && capacity.device_resource == 2);
  OK(trackbed_scheduler_recount(scheduler, &error));
  OK(trackbed_scheduler_drain_node(scheduler, 0, &error));
  OK(trackbed_scheduler_open_node(scheduler, 0, &error));
  EXPECT(TRACKBED_NOT_FOUND, trackbed_scheduler_open_node(scheduler, 5, &error));
  OK(trackbed_scheduler_lose_node(scheduler, 0, 20, &plan, &error));
  CHECK(trackbed_plan_read(plan, 0, items, sizeof items[0], 4) == 1 && items[0].task == 7);
  trackbed_plan_free(plan);
  trackbed_scheduler_free(scheduler);

  /* A placer of the host's, and one that is wrong. */
  for (i = 0; i < 2; ++i) {
    TRACKBED_INIT(&options);
    TRACKBED_INIT(&placer);
    placer.choose = i == 0 ? first_choice : wrong_choice;
    placer.user_data = &chosen;
    options.host_placer = &placer;
    OK(trackbed_scheduler_create(&options, &scheduler, &error));
    OK(trackbed_scheduler_add_node(scheduler, "g1", 2, &capacity, NULL, &error));
    tasks[2].tenant = 0;
    OK(trackbed_scheduler_submit(scheduler, &tasks[2], 0, &error));
    plan = NULL;
    EXPECT(i == 0 ? TRACKBED_OK : TRACKBED_INTERNAL,
           trackbed_scheduler_schedule(scheduler, 0, &plan, &error));
    CHECK(plan != NULL && trackbed_plan_size(plan) == (i == 0 ? 1u : 0u));
    trackbed_plan_free(plan);
    OK(trackbed_scheduler_recount(scheduler, &error));
    trackbed_scheduler_free(scheduler);
  }
  CHECK(chosen > 0);
  TRACKBED_INIT(&options);
  options.placer = trackbed_text("pakc");
  REFUSED(trackbed_scheduler_create(&options, &scheduler, &error));
}

struct turns {
  int asked;
  int fail;
};
static trackbed_status rank_of(void* user, const trackbed_task* task, int64_t submitted_ns,
                               int64_t* rank, trackbed_error** error) {
  struct turns* turns = user;
  ++turns->asked;
  CHECK(task->struct_size == sizeof *task && task->members == 1 && submitted_ns == 5);
  if (turns->fail == 1) {
    *error = trackbed_error_create(TRACKBED_UNAVAILABLE, "no rank today", TRACKBED_TERMINATED);
    return TRACKBED_UNAVAILABLE;
  }
  *rank = -(int64_t)task->id;
  return TRACKBED_OK;
}
static trackbed_status share_of(void* user, uint32_t tenant, const trackbed_tenant_usage* usage,
                                int64_t now_ns, double* share, trackbed_error** error) {
  struct turns* turns = user;
  (void)error;
  CHECK(usage->struct_size == sizeof *usage && now_ns == 5);
  *share = tenant == 1 ? 1 : 0;
  if (turns->fail == 2) *share = 0.0 / (*share - *share); /* no number */
  return turns->fail == 3 ? TRACKBED_UNKNOWN : TRACKBED_OK;
}
static void count_drop(void* user) { ++((struct turns*)user)->asked; }

/* An order of the host's: the last first, tenant 2 before tenant 1; and what it fails with. */
static void test_order(void) {
  trackbed_error* error = NULL;
  trackbed_scheduler* scheduler = NULL;
  trackbed_scheduler_options options;
  trackbed_node_capacity capacity;
  trackbed_order order;
  trackbed_task task;
  trackbed_plan* plan = NULL;
  trackbed_plan_item items[4];
  struct turns turns = {0, 0};
  int64_t start = 0;
  uint64_t i;
  int with_shares;

  for (with_shares = 0; with_shares < 2; ++with_shares) {
    TRACKBED_INIT(&options);
    TRACKBED_INIT(&order);
    order.user_data = &turns;
    options.host_order = &order;
    REFUSED(trackbed_scheduler_create(&options, &scheduler, &error));
    order.rank = rank_of;
    order.drop = count_drop;
    if (with_shares) order.share = share_of;
    OK(trackbed_scheduler_create(&options, &scheduler, &error));
    TRACKBED_INIT(&capacity);
    capacity.cpu = 3000;
    capacity.counted[5] = 2000;
    OK(trackbed_scheduler_add_node(scheduler, "n", 1, &capacity, NULL, &error));
    OK(trackbed_scheduler_add_tenant(scheduler, 0, "a", 1, NULL, NULL, &error));
    OK(trackbed_scheduler_add_tenant(scheduler, 0, "b", 1, NULL, NULL, &error));
    turns.asked = 0;
    for (i = 1; i <= 4; ++i) {
      TRACKBED_INIT(&task);
      task.id = i;
      task.cpu = 1000;
      task.tenant = i == 1 ? 2 : 1;
      OK(trackbed_scheduler_submit(scheduler, &task, 5, &error));
    }
    CHECK(turns.asked == 4);
    task.id = 9;
    turns.fail = 1;
    EXPECT(TRACKBED_UNAVAILABLE, trackbed_scheduler_submit(scheduler, &task, 5, &error));
    EXPECT(TRACKBED_UNAVAILABLE,
           trackbed_scheduler_predict(scheduler, &task, 5, &start, NULL, NULL, &error));
    CHECK(trackbed_scheduler_task_state(scheduler, 9) == TRACKBED_TASK_UNKNOWN);
    turns.fail = 0;
    OK(trackbed_scheduler_schedule(scheduler, 5, &plan, &error));
    CHECK(trackbed_plan_read(plan, 0, items, sizeof items[0], 4) == 3);
    CHECK(items[0].task == (with_shares ? 1u : 4u) && items[1].task == (with_shares ? 4u : 3u));
    trackbed_plan_free(plan);
    /* What share fails with is what the plan returns, with what was decided. */
    OK(trackbed_scheduler_finish(scheduler, items[0].task, 5, &error));
    task.tenant = 2;
    OK(trackbed_scheduler_submit(scheduler, &task, 5, &error));
    for (turns.fail = 2; turns.fail <= 3; ++turns.fail) {
      plan = NULL;
      EXPECT(!with_shares      ? TRACKBED_OK
             : turns.fail == 2 ? TRACKBED_INTERNAL
                               : TRACKBED_UNKNOWN,
             trackbed_scheduler_schedule(scheduler, 5, &plan, &error));
      CHECK(plan != NULL);
      trackbed_plan_free(plan);
      OK(trackbed_scheduler_finish(scheduler, turns.fail == 2 ? 9 : 3, 5, &error));
      if (turns.fail == 2) {
        task.id = 10;
        turns.fail = 0;
        OK(trackbed_scheduler_submit(scheduler, &task, 5, &error));
        turns.fail = 2;
      }
    }
    turns.fail = 0;
    OK(trackbed_scheduler_recount(scheduler, &error));
    turns.asked = 0;
    trackbed_scheduler_free(scheduler);
    CHECK(turns.asked == 1); /* dropped */
  }
}

static void test_partitions(void) {
  static const char kRequest[] =
      "{\"devices\": [{\"id\": \"g\", \"model\": \"A100-40GB\"}], \"profiles\": [\"1g.5gb\"]}";
  trackbed_error* error = NULL;
  trackbed_bytes json = {NULL, 0};
  OK(trackbed_mig_models(&json, &error));
  CHECK(holds(&json, "\"profile\":\"1g.5gb\""));
  trackbed_bytes_free(&json);
  OK(trackbed_mig_plan(kRequest, TRACKBED_TERMINATED, &json, &error));
  CHECK(holds(&json, "\"do\":\"create\""));
  trackbed_bytes_free(&json);
  REFUSED(trackbed_mig_plan("[", 1, &json, &error));
  REFUSED(trackbed_mig_plan(NULL, 0, &json, &error));
  REFUSED(trackbed_mig_plan(kRequest, 3, NULL, &error));
  REFUSED(trackbed_mig_models(NULL, &error));
}

static void test_groups(void) {
  trackbed_error* error = NULL;
  trackbed_groups* groups = NULL;
  trackbed_principal nobody;
  trackbed_node_capacity capacity;
  trackbed_group_rules rules;
  trackbed_task task;
  trackbed_bytes names = {NULL, 0};
  uint32_t tenant = 0;
  uint32_t node = 0;
  int64_t start = 0;
  OK(trackbed_groups_create(&groups, &error));
  OK(trackbed_groups_add_tenant(groups, NULL, 0, "ada", 3, &tenant, &error));
  OK(trackbed_groups_add_group(groups, NULL, "gpu", 3, NULL, NULL, &error));
  EXPECT(TRACKBED_ALREADY_EXISTS,
         trackbed_groups_add_group(groups, NULL, "gpu", 3, NULL, NULL, &error));
  TRACKBED_INIT(&capacity);
  capacity.cpu = 1000;
  TRACKBED_INIT(&nobody);
  nobody.tenant = tenant;
  EXPECT(TRACKBED_PERMISSION_DENIED,
         trackbed_groups_add_node(groups, &nobody, "gpu", 3, "n", 1, &capacity, &node, &error));
  OK(trackbed_groups_add_node(groups, NULL, "gpu", 3, "n", 1, &capacity, &node, &error));
  TRACKBED_INIT(&task);
  task.id = 1;
  task.cpu = 500;
  task.tenant = tenant;
  OK(trackbed_groups_predict(groups, &nobody, "gpu", 3, &task, 3, &start, NULL, NULL, &error));
  CHECK(start == 3);
  OK(trackbed_groups_submit(groups, &nobody, "gpu", 3, &task, 0, &error));
  OK(trackbed_groups_withdraw(groups, &nobody, "gpu", 3, 1, 0, &error));
  OK(trackbed_groups_set_node_open(groups, NULL, "gpu", 3, "n", 1, 0, &error));
  TRACKBED_INIT(&rules);
  OK(trackbed_groups_set_rules(groups, NULL, "gpu", 3, &rules, &error));
  OK(trackbed_groups_set_quota(groups, NULL, "gpu", 3, tenant, NULL, &error));
  OK(trackbed_groups_usable(groups, &nobody, TRACKBED_WORK_BATCH, &names, &error));
  CHECK(strcmp(names.data, "[\"gpu\"]") == 0);
  trackbed_bytes_free(&names);
  CHECK(trackbed_groups_scheduler(groups, "gpu", 3) != NULL);
  CHECK(trackbed_groups_scheduler(groups, "cpu", 3) == NULL);
  trackbed_scheduler_free(trackbed_groups_scheduler(groups, "gpu", 3)); /* not the caller's */
  trackbed_groups_free(groups);
}

static void test_pipeline(void) {
  static const char kWrong[] = "name: p\ntasks:\n- name: a\n  command: x\n  timeout: fast\n";
  static const char kGood[] =
      "{\"name\": \"p\", \"tasks\": [{\"name\": \"a\", \"command\": \"x\"}]}";
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_pipeline* again = NULL;
  trackbed_diagnostic diagnostic;
  trackbed_bytes out = {NULL, 0};
  trackbed_bytes lost = {NULL, 0};
  int32_t format;

  CHECK(trackbed_pipeline_parse(kWrong, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, "w.yaml", 6,
                                &pipeline, &error) == TRACKBED_INVALID_ARGUMENT);
  CHECK(trackbed_error_diagnostic_count(error) == 1);
  TRACKBED_INIT(&diagnostic);
  CHECK(trackbed_error_diagnostic(error, 0, &diagnostic) == TRACKBED_OK);
  CHECK(diagnostic.line == 5 && diagnostic.column > 0 && diagnostic.file.size == 6);
  CHECK(diagnostic.expected.size > 0 && diagnostic.found.size > 0);
  CHECK(trackbed_error_diagnostic(error, 1, &diagnostic) == TRACKBED_NOT_FOUND);
  trackbed_error_free(error);
  error = NULL;
  OK(trackbed_pipeline_validate(kWrong, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, NULL, 0, &out,
                                &error));
  CHECK(holds(&out, "\"valid\":false"));
  trackbed_bytes_free(&out);

  OK(trackbed_pipeline_parse(kGood, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO, NULL, 0, &pipeline,
                             &error));
  CHECK(trackbed_pipeline_task_count(pipeline) == 1);
  CHECK(trackbed_pipeline_warning_count(pipeline) == 0);
  CHECK(trackbed_pipeline_name(pipeline).size == 1);
  for (format = TRACKBED_FORMAT_YAML; format <= TRACKBED_FORMAT_CANONICAL; ++format) {
    OK(trackbed_pipeline_write(pipeline, format, &out, &lost, &error));
    OK(trackbed_pipeline_parse(out.data, out.size, format, NULL, 0, &again, &error));
    if (format != TRACKBED_FORMAT_FASTTRACK) {
      trackbed_string a = trackbed_pipeline_version(pipeline);
      trackbed_string b = trackbed_pipeline_version(again);
      CHECK(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
    }
    trackbed_pipeline_free(again);
    trackbed_bytes_free(&out);
    trackbed_bytes_free(&lost);
  }
  for (format = TRACKBED_GRAPH_TEXT; format <= TRACKBED_GRAPH_JSON; ++format) {
    OK(trackbed_pipeline_graph(pipeline, format, &out, &error));
    CHECK(out.size > 0);
    trackbed_bytes_free(&out);
  }
  REFUSED(trackbed_pipeline_graph(pipeline, 99, &out, &error));
  REFUSED(trackbed_pipeline_write(pipeline, 99, &out, NULL, &error));
  OK(trackbed_pipeline_tasks(pipeline, &out, &error));
  CHECK(holds(&out, "\"level\":0"));
  trackbed_bytes_free(&out);
  OK(trackbed_pipeline_bind(pipeline, NULL, 0, &out, &error));
  CHECK(strcmp(out.data, "{}") == 0);
  trackbed_bytes_free(&out);
  REFUSED(trackbed_pipeline_bind(pipeline, "{\"x\": 1}", 8, &out, &error));
  REFUSED(trackbed_pipeline_bind(pipeline, "[", 1, &out, &error));
  trackbed_pipeline_free(pipeline);
  REFUSED(trackbed_pipeline_load("/nowhere.yaml", TRACKBED_TERMINATED, &pipeline, &error));
}

static void test_simulation(void) {
  trackbed_error* error = NULL;
  trackbed_simulation_options options;
  trackbed_bytes json = {NULL, 0};
  trackbed_bytes csv = {NULL, 0};
  trackbed_bytes html = {NULL, 0};
  TRACKBED_INIT(&options);
  options.trace = TRACKBED_TRACE_PHILLY;
  options.nodes = trackbed_text("sn,cpu_milli,memory_mib,gpu,model\nn1,8000,8192,2,V100\n");
  options.workload =
      trackbed_text("job,vc,user,submitted,run_seconds,gpus\nj1,v,u,2026-05-01T10:00:00Z,60,1\n");
  OK(trackbed_simulate(&options, &json, &csv, &html, &error));
  CHECK(holds(&json, "\"j1\"") && holds(&csv, "j1") && html.size > 0);
  trackbed_bytes_free(&json);
  trackbed_bytes_free(&csv);
  trackbed_bytes_free(&html);
  options.workload = trackbed_text("job\nx\n");
  REFUSED(trackbed_simulate(&options, &json, NULL, NULL, &error));
  options.trace = 99;
  REFUSED(trackbed_simulate(&options, &json, NULL, NULL, &error));
}

/* NULL, wherever it is passed, is refused or of no effect. */
static void test_null(void) {
  trackbed_error* error = NULL;
  trackbed_bytes bytes = {NULL, 0};
  REFUSED(trackbed_engine_open(NULL, NULL, &error));
  REFUSED(trackbed_engine_step(NULL, &error));
  REFUSED(trackbed_engine_submit(NULL, NULL, NULL, &bytes, &error));
  REFUSED(trackbed_engine_cancel(NULL, "r", 1, &error));
  REFUSED(trackbed_engine_report(NULL, NULL, &error));
  REFUSED(trackbed_engine_wait(NULL, "r", 1, 0, NULL, &error));
  REFUSED(trackbed_engine_show(NULL, "r", 1, &bytes, &error));
  REFUSED(trackbed_events_open(NULL, NULL, NULL, &error));
  REFUSED(trackbed_events_next(NULL, NULL, 0, 0, NULL, &error));
  REFUSED(trackbed_slot_allocator_create(NULL, 0, 0, NULL, NULL, &error));
  REFUSED(trackbed_slot_allocator_allocate(NULL, NULL, NULL, NULL, 0, 0, NULL, &error));
  REFUSED(trackbed_slot_allocator_release(NULL, 1, &error));
  REFUSED(trackbed_scheduler_create(NULL, NULL, &error));
  REFUSED(trackbed_scheduler_submit(NULL, NULL, 0, &error));
  REFUSED(trackbed_scheduler_schedule(NULL, 0, NULL, &error));
  REFUSED(trackbed_groups_submit(NULL, NULL, "g", 1, NULL, 0, &error));
  REFUSED(trackbed_simulate(NULL, &bytes, NULL, NULL, &error));
  REFUSED(trackbed_store_check(NULL, 0, &bytes, &error));
  REFUSED(trackbed_store_check("x", 1, NULL, &error));
  REFUSED(trackbed_store_backup("x", 1, NULL, 0, NULL, &error));
  REFUSED(trackbed_pipeline_parse(NULL, 0, 0, NULL, 0, NULL, &error));
  CHECK(trackbed_engine_step(NULL, NULL) == TRACKBED_INVALID_ARGUMENT);
  CHECK(trackbed_engine_wake_descriptor(NULL) == -1 && trackbed_events_descriptor(NULL) == -1);
  CHECK(trackbed_plan_size(NULL) == 0 && trackbed_plan_read(NULL, 0, NULL, 0, 0) == 0);
  CHECK(trackbed_pipeline_name(NULL).size == 0 && trackbed_error_code(NULL) == TRACKBED_OK);
  trackbed_engine_close(NULL);
  trackbed_events_close(NULL);
  trackbed_pipeline_free(NULL);
  trackbed_slot_allocator_free(NULL);
  trackbed_slot_demand_free(NULL);
  trackbed_scheduler_free(NULL);
  trackbed_groups_free(NULL);
  trackbed_plan_free(NULL);
  trackbed_error_free(NULL);
  trackbed_bytes_free(NULL);
}

int main(void) {
  CHECK(trackbed_abi_version() == TRACKBED_ABI_VERSION);
  CHECK(strcmp(trackbed_version(), "0.1.0") == 0);
  CHECK(strcmp(trackbed_status_name(-5), "UNKNOWN") == 0);
  test_null();
  test_pipeline();
  test_slots();
  test_scheduler();
  test_order();
  test_partitions();
  test_groups();
  test_simulation();
  return conclude();
}
