// Tables of functions of the C interface for ports in Go. A port is a cgo.Handle, which is a
// number: user_data holds it, and only C ever sees it as a pointer.
#pragma once

#include <stdint.h>
#include <trackbed.h>

void trackbed_go_executor(trackbed_executor* table, uintptr_t port, int32_t max_cluster_size);
void trackbed_go_clock(trackbed_clock* table, uintptr_t port);
void trackbed_go_random(trackbed_random* table, uintptr_t port);
void trackbed_go_secrets(trackbed_secret_source* table, uintptr_t port);
void trackbed_go_probe(trackbed_device_probe* table, uintptr_t port);
void trackbed_go_sink(trackbed_event_sink* table, uintptr_t port);
void trackbed_go_placer(trackbed_placer* table, uintptr_t port, int observes);

void trackbed_go_order(trackbed_order* table, uintptr_t port, int shares);
void trackbed_go_artifacts(trackbed_artifact_store* table, uintptr_t port);

// Whether a descriptor is readable now.
int trackbed_go_readable(int descriptor);
