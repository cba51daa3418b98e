package main

/*
#cgo pkg-config: trackbed-c
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
*/
import "C"

import "unsafe"

// cLoop is what allocating and releasing once takes in C, in nanoseconds.
func cLoop(node string, calls int) float64 {
	text := []byte(node)
	return float64(C.c_loop((*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)),
		C.long(calls))) * 1e9
}

// processorSeconds is the time of the processor that this thread has had.
func processorSeconds() float64 { return float64(C.processor_seconds()) }
