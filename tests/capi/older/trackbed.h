/* A header as a caller may have been compiled against years ago: the structs end earlier, what came
 * later is not there. Not a header of any release; the layout of what is here never changes. */
#ifndef TRACKBED_H
#define TRACKBED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int32_t trackbed_status;
enum {
  TRACKBED_OK = 0,
  TRACKBED_INVALID_ARGUMENT = 3,
  TRACKBED_RESOURCE_EXHAUSTED = 8,
};
#define TRACKBED_TERMINATED ((size_t)-1)
#define TRACKBED_INIT(object)                   \
  ((void)memset((object), 0, sizeof *(object)), \
   (void)((object)->struct_size = (uint32_t)sizeof *(object)))

typedef struct trackbed_string {
  const char* data;
  size_t size;
} trackbed_string;
typedef struct trackbed_bytes {
  char* data;
  size_t size;
} trackbed_bytes;
typedef struct trackbed_slot {
  trackbed_string name;
  int64_t thousandths;
} trackbed_slot;

typedef struct trackbed_error trackbed_error;
typedef struct trackbed_pipeline trackbed_pipeline;
typedef struct trackbed_slot_allocator trackbed_slot_allocator;
typedef struct trackbed_slot_demand trackbed_slot_demand;
typedef struct trackbed_engine trackbed_engine;
typedef struct trackbed_events trackbed_events;
typedef struct trackbed_scheduler trackbed_scheduler;
typedef struct trackbed_plan trackbed_plan;

typedef struct trackbed_diagnostic {
  uint32_t struct_size;
  int32_t severity;
  trackbed_string file;
  int32_t line;
} trackbed_diagnostic; /* later: column, path, message, found, expected */

typedef struct trackbed_slot_allocator_options {
  uint32_t struct_size;
  int32_t strategy;
} trackbed_slot_allocator_options; /* later: numa, no_fragmentation, quanta, quantum_count */

typedef struct trackbed_allocation_part {
  uint32_t struct_size;
  int32_t enforcement;
  trackbed_string slot;
} trackbed_allocation_part; /* later: device, thousandths, numa_node */

typedef struct trackbed_shortfall {
  uint32_t struct_size;
  int32_t kind;
  trackbed_string slot;
  int64_t needed;
} trackbed_shortfall; /* later: free, most_on_one_device, missing, message */

typedef struct trackbed_engine_options {
  uint32_t struct_size;
  int32_t in_memory;
  trackbed_string home;
} trackbed_engine_options; /* later: store, durability, … */

typedef struct trackbed_submit_options {
  uint32_t struct_size;
  int32_t no_cache;
} trackbed_submit_options; /* later: parameters, base */

typedef struct trackbed_events_options {
  uint32_t struct_size;
  uint32_t reserved;
  trackbed_string run;
} trackbed_events_options; /* later: from, capacity */

typedef struct trackbed_event {
  uint32_t struct_size;
  int32_t type;
  uint64_t sequence;
} trackbed_event; /* later: time_ns, task, attempt, run, task_name, detail */

typedef struct trackbed_scheduler_options {
  uint32_t struct_size;
  int32_t order;
} trackbed_scheduler_options; /* later: backfill, … */

typedef struct trackbed_node_capacity {
  uint32_t struct_size;
  uint32_t location;
  int64_t cpu;
  int64_t memory;
} trackbed_node_capacity; /* later: architecture, devices, prices */

typedef struct trackbed_task {
  uint32_t struct_size;
  uint32_t tenant;
  uint64_t id;
  int32_t priority;
  int32_t kind;
} trackbed_task; /* later: members, … */

typedef struct trackbed_plan_item {
  uint32_t struct_size;
  int32_t kind;
  uint64_t task;
} trackbed_plan_item; /* later: other, member, members, placement, cause */

trackbed_status trackbed_error_code(const trackbed_error* error);
trackbed_string trackbed_error_message(const trackbed_error* error);
size_t trackbed_error_diagnostic_count(const trackbed_error* error);
trackbed_status trackbed_error_diagnostic(const trackbed_error* error, size_t index,
                                          trackbed_diagnostic* out);
void trackbed_error_free(trackbed_error* error);
const char* trackbed_status_name(trackbed_status status);
void trackbed_bytes_free(trackbed_bytes* bytes);

trackbed_status trackbed_pipeline_parse(const char* data, size_t size, int32_t format,
                                        const char* file, size_t file_size, trackbed_pipeline** out,
                                        trackbed_error** error);
void trackbed_pipeline_free(trackbed_pipeline* pipeline);

trackbed_status trackbed_slot_allocator_create(const char* node, size_t node_size, int32_t format,
                                               const trackbed_slot_allocator_options* options,
                                               trackbed_slot_allocator** out,
                                               trackbed_error** error);
void trackbed_slot_allocator_free(trackbed_slot_allocator* allocator);
trackbed_status trackbed_slot_allocator_prepare(const trackbed_slot_allocator* allocator,
                                                const trackbed_slot* slots, size_t slot_count,
                                                int32_t at_least, trackbed_slot_demand** out,
                                                trackbed_error** error);
void trackbed_slot_demand_free(trackbed_slot_demand* demand);
trackbed_status trackbed_slot_allocator_allocate(trackbed_slot_allocator* allocator,
                                                 const trackbed_slot_demand* demand, uint64_t* id,
                                                 trackbed_allocation_part* parts, size_t part_size,
                                                 size_t capacity, size_t* count,
                                                 trackbed_error** error);
trackbed_status trackbed_slot_allocator_explain(trackbed_slot_allocator* allocator,
                                                const trackbed_slot_demand* demand,
                                                trackbed_shortfall* out, trackbed_error** error);

trackbed_status trackbed_engine_open(const trackbed_engine_options* options, trackbed_engine** out,
                                     trackbed_error** error);
void trackbed_engine_close(trackbed_engine* engine);
trackbed_status trackbed_engine_submit(trackbed_engine* engine, const trackbed_pipeline* pipeline,
                                       const trackbed_submit_options* options, trackbed_bytes* run,
                                       trackbed_error** error);
trackbed_status trackbed_engine_wait(trackbed_engine* engine, const char* run, size_t run_size,
                                     int64_t timeout_ns, int32_t* ended, trackbed_error** error);
trackbed_status trackbed_events_open(trackbed_engine* engine,
                                     const trackbed_events_options* options, trackbed_events** out,
                                     trackbed_error** error);
trackbed_status trackbed_events_next(trackbed_events* events, trackbed_event* out,
                                     size_t event_size, size_t capacity, size_t* count,
                                     trackbed_error** error);
void trackbed_events_close(trackbed_events* events);

trackbed_status trackbed_scheduler_create(const trackbed_scheduler_options* options,
                                          trackbed_scheduler** out, trackbed_error** error);
void trackbed_scheduler_free(trackbed_scheduler* scheduler);
trackbed_status trackbed_scheduler_add_node(trackbed_scheduler* scheduler, const char* name,
                                            size_t name_size,
                                            const trackbed_node_capacity* capacity, uint32_t* node,
                                            trackbed_error** error);
trackbed_status trackbed_scheduler_submit(trackbed_scheduler* scheduler, const trackbed_task* task,
                                          int64_t now_ns, trackbed_error** error);
trackbed_status trackbed_scheduler_schedule(trackbed_scheduler* scheduler, int64_t now_ns,
                                            trackbed_plan** out, trackbed_error** error);
size_t trackbed_plan_read(const trackbed_plan* plan, size_t first, trackbed_plan_item* items,
                          size_t item_size, size_t capacity);
void trackbed_plan_free(trackbed_plan* plan);

#endif
