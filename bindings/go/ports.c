#include "ports.h"

#include <poll.h>

#include "_cgo_export.h"

// Functions that Go exports have no const: none of them writes what it is given.

static void drop(void* port) { trackbedGoDrop((uintptr_t)port); }

static trackbed_status start(void* port, const trackbed_attempt* attempt, trackbed_error** error) {
  return trackbedGoStart((uintptr_t)port, (trackbed_attempt*)attempt, error);
}

static trackbed_status adopt(void* port, const char* key, size_t key_size, const char* folder,
                             size_t folder_size, trackbed_error** error) {
  trackbed_string names[2] = {{key, key_size}, {folder, folder_size}};
  return trackbedGoAdopt((uintptr_t)port, names[0], names[1], error);
}

static trackbed_status stop(void* port, const char* key, size_t key_size, int32_t mode,
                            trackbed_error** error) {
  trackbed_string name = {key, key_size};
  return trackbedGoStop((uintptr_t)port, name, mode, error);
}

void trackbed_go_executor(trackbed_executor* table, uintptr_t port, int32_t max_cluster_size) {
  TRACKBED_INIT(table);
  table->max_cluster_size = max_cluster_size;
  table->user_data = (void*)port;
  table->drop = drop;
  table->start = start;
  table->adopt = adopt;
  table->stop = stop;
}

static int64_t now(void* port) { return trackbedGoNow((uintptr_t)port); }

void trackbed_go_clock(trackbed_clock* table, uintptr_t port) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->now = now;
}

static uint64_t next(void* port) { return trackbedGoNext((uintptr_t)port); }

void trackbed_go_random(trackbed_random* table, uintptr_t port) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->next = next;
}

static trackbed_status resolve(void* port, const char* source, size_t source_size, const char* name,
                               size_t name_size, trackbed_answer* value, trackbed_error** error) {
  trackbed_string names[2] = {{source, source_size}, {name, name_size}};
  return trackbedGoResolve((uintptr_t)port, names[0], names[1], value, error);
}

void trackbed_go_secrets(trackbed_secret_source* table, uintptr_t port) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->resolve = resolve;
}

static trackbed_status probe(void* port, trackbed_answer* node, trackbed_error** error) {
  return trackbedGoProbe((uintptr_t)port, node, error);
}

void trackbed_go_probe(trackbed_device_probe* table, uintptr_t port) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->probe = probe;
}

static void event(void* port, const trackbed_event* event) {
  trackbedGoEvent((uintptr_t)port, (trackbed_event*)event);
}

void trackbed_go_sink(trackbed_event_sink* table, uintptr_t port) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->event = event;
}

static trackbed_status choose(void* port, const trackbed_cluster_view* view,
                              const trackbed_demand* demand, trackbed_placement* out,
                              trackbed_error** error) {
  return trackbedGoChoose((uintptr_t)port, (trackbed_cluster_view*)view, (trackbed_demand*)demand,
                          out, error);
}

static void observe(void* port, const trackbed_demand* demand) {
  trackbedGoObserve((uintptr_t)port, (trackbed_demand*)demand);
}

void trackbed_go_placer(trackbed_placer* table, uintptr_t port, int observes) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->choose = choose;
  if (observes) table->observe = observe;
}

static trackbed_status rank(void* port, const trackbed_task* task, int64_t submitted_ns,
                            int64_t* rank, trackbed_error** error) {
  return trackbedGoRank((uintptr_t)port, (trackbed_task*)task, submitted_ns, rank, error);
}

static trackbed_status share(void* port, uint32_t tenant, const trackbed_tenant_usage* usage,
                             int64_t now_ns, double* share, trackbed_error** error) {
  return trackbedGoShare((uintptr_t)port, tenant, (trackbed_tenant_usage*)usage, now_ns, share,
                         error);
}

void trackbed_go_order(trackbed_order* table, uintptr_t port, int shares) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->rank = rank;
  if (shares) table->share = share;
}

static trackbed_status has(void* port, const char* digest, size_t digest_size, int32_t* present,
                           trackbed_error** error) {
  trackbed_string name = {digest, digest_size};
  return trackbedGoHas((uintptr_t)port, name, present, error);
}

static trackbed_status put(void* port, const char* digest, size_t digest_size, const char* folder,
                           size_t folder_size, trackbed_error** error) {
  trackbed_string names[2] = {{digest, digest_size}, {folder, folder_size}};
  return trackbedGoPut((uintptr_t)port, names[0], names[1], error);
}

static trackbed_status get(void* port, const char* digest, size_t digest_size, const char* folder,
                           size_t folder_size, trackbed_error** error) {
  trackbed_string names[2] = {{digest, digest_size}, {folder, folder_size}};
  return trackbedGoGet((uintptr_t)port, names[0], names[1], error);
}

void trackbed_go_artifacts(trackbed_artifact_store* table, uintptr_t port) {
  TRACKBED_INIT(table);
  table->user_data = (void*)port;
  table->drop = drop;
  table->has = has;
  table->put = put;
  table->get = get;
}

int trackbed_go_readable(int descriptor) {
  struct pollfd one = {descriptor, POLLIN, 0};
  return poll(&one, 1, 0) == 1;
}
