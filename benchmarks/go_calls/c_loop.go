package main

/*
#cgo pkg-config: trackbed-c
#include <stdio.h>
#include <time.h>
#include <trackbed.h>

static double processor_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// What allocating and releasing once takes in C, in seconds of the processor; less than 0: failed.
static double c_loop(const char* node, size_t node_size, long calls) {
  trackbed_slot_allocator* allocator = NULL;
  trackbed_slot_demand* demand = NULL;
  trackbed_slot slots[2] = {{{"cpu", 3}, 2000}, {{"cuda.shares", 11}, 500}};
  double result = -1;
  if (trackbed_slot_allocator_create(node, node_size, TRACKBED_FORMAT_AUTO, NULL, &allocator, NULL))
    return -1;
  if (trackbed_slot_allocator_prepare(allocator, slots, 2, 0, &demand, NULL) == TRACKBED_OK) {
    const double start = processor_seconds();
    long i = 0;
    for (; i < calls; ++i) {
      uint64_t id = 0;
      if (trackbed_slot_allocator_allocate(allocator, demand, &id, NULL, 0, 0, NULL, NULL)) break;
      if (trackbed_slot_allocator_release(allocator, id, NULL)) break;
    }
    if (i == calls) result = (processor_seconds() - start) / (double)calls;
  }
  trackbed_slot_demand_free(demand);
  trackbed_slot_allocator_free(allocator);
  return result;
}

// What planning a queue of tasks of half a device on nodes of eight takes in C, the plan read, in
// seconds of the processor; less than 0: failed. *starts gets how many start.
static double c_plan(long nodes, long tasks, size_t* starts) {
  trackbed_scheduler* scheduler = NULL;
  trackbed_node_capacity capacity;
  trackbed_task task;
  trackbed_plan* plan = NULL;
  trackbed_plan_item items[1024];
  double result = -1;
  long i;
  if (trackbed_scheduler_create(NULL, &scheduler, NULL)) return -1;
  TRACKBED_INIT(&capacity);
  capacity.device_count = 8;
  capacity.cpu = 64000;
  for (i = 0; i < nodes; ++i) {
    char name[32];
    uint32_t number = 0;
    const int size = snprintf(name, sizeof name, "n%ld", i);
    if (trackbed_scheduler_add_node(scheduler, name, (size_t)size, &capacity, &number, NULL))
      goto end;
  }
  TRACKBED_INIT(&task);
  task.cpu = 1000;
  task.share = 500;
  for (i = 0; i < tasks; ++i) {
    task.id = (uint64_t)i + 1;
    if (trackbed_scheduler_submit(scheduler, &task, 0, NULL)) goto end;
  }
  *starts = 0;
  const double start = processor_seconds();
  if (trackbed_scheduler_schedule(scheduler, 0, &plan, NULL)) goto end;
  for (size_t first = 0; first < trackbed_plan_size(plan);) {
    const size_t read = trackbed_plan_read(plan, first, items, sizeof items[0], 1024);
    for (size_t k = 0; k < read; ++k) *starts += items[k].kind == TRACKBED_PLAN_START;
    first += read;
  }
  result = processor_seconds() - start;
end:
  trackbed_plan_free(plan);
  trackbed_scheduler_free(scheduler);
  return result;
}
*/
import "C"

import "unsafe"

// cLoop is what allocating and releasing once takes in C, in nanoseconds.
func cLoop(node string, calls int) float64 {
	text := []byte(node)
	return float64(C.c_loop((*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)),
		C.long(calls))) * 1e9
}

// cPlan is what planning a queue takes in C, in nanoseconds, and how many tasks start.
func cPlan(nodes, tasks int) (float64, int) {
	var starts C.size_t
	seconds := C.c_plan(C.long(nodes), C.long(tasks), &starts)
	return float64(seconds) * 1e9, int(starts)
}

// processorSeconds is the time of the processor that this thread has had.
func processorSeconds() float64 { return float64(C.processor_seconds()) }
