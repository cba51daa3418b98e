package trackbed

/*
#include <trackbed.h>

// In registers, so that a call needs no memory of Go's: that would be on the heap.
typedef struct allocated {
  uint64_t id;
  trackbed_error* error;
  trackbed_status status;
} allocated;

static inline allocated allocate(trackbed_slot_allocator* allocator,
                                 const trackbed_slot_demand* demand) {
  allocated result = {0, NULL, 0};
  result.status = trackbed_slot_allocator_allocate(allocator, demand, &result.id, NULL, 0, 0, NULL,
                                                   &result.error);
  return result;
}

static inline allocated release(trackbed_slot_allocator* allocator, uint64_t id) {
  allocated result = {0, NULL, 0};
  result.status = trackbed_slot_allocator_release(allocator, id, &result.error);
  return result;
}
*/
import "C"

import (
	"encoding/json"
	"runtime"
	"sync"
)

// Strategy is how amounts are spread over devices.
type Strategy int32

// The strategies.
const (
	StrategyDefault Strategy = C.TRACKBED_STRATEGY_DEFAULT  // even
	StrategyFill    Strategy = C.TRACKBED_STRATEGY_FILL     // on the device with most free; more: each to the full
	StrategyEven    Strategy = C.TRACKBED_STRATEGY_EVEN     // on the device with least free that holds it; more: equal parts
	StrategyBestFit Strategy = C.TRACKBED_STRATEGY_BEST_FIT // the same; more: whole devices and the rest where it fits best
)

// NUMA is what is done about NUMA nodes.
type NUMA int32

// The ways.
const (
	NUMADefault          NUMA = C.TRACKBED_NUMA_DEFAULT // prefer a single node
	NUMAPreferSingleNode NUMA = C.TRACKBED_NUMA_PREFER_SINGLE_NODE
	NUMAInterleaved      NUMA = C.TRACKBED_NUMA_INTERLEAVED
	NUMANone             NUMA = C.TRACKBED_NUMA_NONE
)

// Enforcement is what keeps a task to its amount.
type Enforcement int32

// The kinds, the weakest first.
const (
	EnforcementAccounting Enforcement = C.TRACKBED_ENFORCEMENT_ACCOUNTING
	EnforcementAdvisory   Enforcement = C.TRACKBED_ENFORCEMENT_ADVISORY
	EnforcementHardware   Enforcement = C.TRACKBED_ENFORCEMENT_HARDWARE
)

// SlotAllocatorOptions are the choices of a SlotAllocator. The zero value is fine.
type SlotAllocatorOptions struct {
	Strategy        Strategy
	NUMA            NUMA
	NoFragmentation bool  // what one device could hold, were it free, is not split
	Quanta          Slots // steps in which slots are given, where not the usual ones
}

// AllocationID names an allocation of one allocator. None is given twice.
type AllocationID uint64

// AllocationPart is one amount on one device.
type AllocationPart struct {
	Slot        string
	Device      string // of cpu and mem "numa0", …; empty without NUMA nodes
	Amount      Amount
	Enforcement Enforcement
	NUMANode    int // -1: unknown
}

// ShortfallKind is the kind of a Shortfall.
type ShortfallKind int32

// The kinds.
const (
	ShortfallNone          ShortfallKind = C.TRACKBED_SHORTFALL_NONE
	ShortfallShortage      ShortfallKind = C.TRACKBED_SHORTFALL_SHORTAGE      // too little is free
	ShortfallFragmentation ShortfallKind = C.TRACKBED_SHORTFALL_FRAGMENTATION // enough, but not where one task could use it
)

// Shortfall is why a demand cannot be met now.
type Shortfall struct {
	Kind            ShortfallKind
	Slot            string
	Needed          Amount
	Free            Amount
	MostOnOneDevice Amount
	Missing         Amount // of a shortage: so much more must become free
	Message         string
}

// DeviceUsage is how much of a device is used.
type DeviceUsage struct {
	Slot     string
	Device   string
	Capacity Amount
	Used     Amount
	Healthy  bool
}

// SlotAllocator decides which task gets how much of which device of one node.
type SlotAllocator struct {
	mutex  sync.Mutex
	native *C.trackbed_slot_allocator // nil once it is closed
}

// SlotDemand is a request in the terms of one allocator and its copies, checked once. It never
// changes.
type SlotDemand struct {
	lease
	native *C.trackbed_slot_demand
}

// NewSlotAllocator makes one from a node description in YAML or JSON. The error is an *Error with
// every mistake in Diagnostics. Close the allocator.
func NewSlotAllocator(node []byte, options SlotAllocatorOptions) (*SlotAllocator, error) {
	var memory arena
	defer memory.free()
	chosen := C.trackbed_slot_allocator_options{
		struct_size:      C.sizeof_trackbed_slot_allocator_options,
		strategy:         C.int32_t(options.Strategy),
		numa:             C.int32_t(options.NUMA),
		no_fragmentation: flag(options.NoFragmentation),
	}
	chosen.quanta, chosen.quantum_count = memory.slots(options.Quanta)
	var native *C.trackbed_slot_allocator
	var told *C.trackbed_error
	status := C.trackbed_slot_allocator_create(data(node), C.size_t(len(node)),
		C.TRACKBED_FORMAT_AUTO, &chosen, &native, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return newSlotAllocator(native), nil
}

func newSlotAllocator(native *C.trackbed_slot_allocator) *SlotAllocator {
	allocator := &SlotAllocator{native: native}
	live.Add(1)
	runtime.SetFinalizer(allocator, (*SlotAllocator).Close)
	return allocator
}

// Close frees the allocator. Its demands may be used with its copies, and closed, after it.
func (a *SlotAllocator) Close() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native != nil {
		runtime.SetFinalizer(a, nil)
		C.trackbed_slot_allocator_free(a.native)
		a.native = nil
		live.Add(-1)
	}
}

// Copy makes an independent copy: the way to try something out. Demands serve both. Close it.
func (a *SlotAllocator) Copy() (*SlotAllocator, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return nil, ErrClosed
	}
	var native *C.trackbed_slot_allocator
	var told *C.trackbed_error
	status := C.trackbed_slot_allocator_copy(a.native, &native, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return newSlotAllocator(native), nil
}

// Prepare checks a request once, to be allocated many times. NotFound: an unknown slot;
// ResourceExhausted: even the empty node could not meet it; FailedPrecondition: it would be enforced
// more weakly than asked. Close the demand.
func (a *SlotAllocator) Prepare(slots Slots, atLeast Enforcement) (*SlotDemand, error) {
	var memory arena
	defer memory.free()
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return nil, ErrClosed
	}
	var native *C.trackbed_slot_demand
	var told *C.trackbed_error
	items, count := memory.slots(slots)
	status := C.trackbed_slot_allocator_prepare(a.native, items, count, C.int32_t(atLeast), &native,
		&told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	demand := &SlotDemand{native: native}
	demand.open(func() { C.trackbed_slot_demand_free(native) })
	runtime.SetFinalizer(demand, (*SlotDemand).Close)
	return demand, nil
}

// Close frees the demand; what was allocated stays so.
func (d *SlotDemand) Close() {
	runtime.SetFinalizer(d, nil)
	d.close()
}

// Allocate takes all that the demand asks for, or nothing: ResourceExhausted says what is short, and
// why.
func (a *SlotAllocator) Allocate(demand *SlotDemand) (AllocationID, error) {
	if !demand.enter() {
		return 0, ErrClosed
	}
	a.mutex.Lock()
	if a.native == nil {
		a.mutex.Unlock()
		demand.leave()
		return 0, ErrClosed
	}
	result := C.allocate(a.native, demand.native)
	a.mutex.Unlock()
	demand.leave()
	if result.status != C.TRACKBED_OK {
		return 0, failure(result.status, result.error)
	}
	return AllocationID(result.id), nil
}

// Release gives back exactly what was given. FailedPrecondition when it is not live.
func (a *SlotAllocator) Release(id AllocationID) error {
	a.mutex.Lock()
	if a.native == nil {
		a.mutex.Unlock()
		return ErrClosed
	}
	result := C.release(a.native, C.uint64_t(id))
	a.mutex.Unlock()
	if result.status != C.TRACKBED_OK {
		return failure(result.status, result.error)
	}
	return nil
}

// AllocateParts takes just these parts (slot, device and amount count), as who chose or held them
// before wants. InvalidArgument for what is not there or not free.
func (a *SlotAllocator) AllocateParts(parts []AllocationPart) (AllocationID, error) {
	var memory arena
	defer memory.free()
	native := make([]C.trackbed_allocation_part, len(parts)+1) // never without a first
	for i, part := range parts {
		native[i] = C.trackbed_allocation_part{
			struct_size: C.sizeof_trackbed_allocation_part,
			slot:        memory.text(part.Slot),
			device:      memory.text(part.Device),
			thousandths: C.int64_t(part.Amount),
		}
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return 0, ErrClosed
	}
	var id C.uint64_t
	var told *C.trackbed_error
	status := C.trackbed_slot_allocator_allocate_parts(a.native, &native[0],
		C.sizeof_trackbed_allocation_part, C.size_t(len(parts)), &id, &told)
	return AllocationID(id), failure(status, told)
}

// Parts is what a live allocation holds. NotFound when it is not live.
func (a *SlotAllocator) Parts(id AllocationID) ([]AllocationPart, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return nil, ErrClosed
	}
	for native := make([]C.trackbed_allocation_part, 8); ; {
		var count C.size_t
		var told *C.trackbed_error
		status := C.trackbed_slot_allocator_parts(a.native, C.uint64_t(id), &native[0],
			C.sizeof_trackbed_allocation_part, C.size_t(len(native)), &count, &told)
		if err := failure(status, told); err != nil {
			return nil, err
		}
		if int(count) > len(native) {
			native = make([]C.trackbed_allocation_part, count)
			continue
		}
		parts := make([]AllocationPart, count)
		for i := range parts {
			parts[i] = AllocationPart{
				Slot:        goString(native[i].slot),
				Device:      goString(native[i].device),
				Amount:      Amount(native[i].thousandths),
				Enforcement: Enforcement(native[i].enforcement),
				NUMANode:    int(native[i].numa_node),
			}
		}
		return parts, nil
	}
}

// Explain tells why the demand could not be met now; Kind is ShortfallNone when it could.
func (a *SlotAllocator) Explain(demand *SlotDemand) (Shortfall, error) {
	if !demand.enter() {
		return Shortfall{}, ErrClosed
	}
	defer demand.leave()
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return Shortfall{}, ErrClosed
	}
	var told *C.trackbed_error
	found := C.trackbed_shortfall{struct_size: C.sizeof_trackbed_shortfall}
	status := C.trackbed_slot_allocator_explain(a.native, demand.native, &found, &told)
	if err := failure(status, told); err != nil {
		return Shortfall{}, err
	}
	return Shortfall{
		Kind:            ShortfallKind(found.kind),
		Slot:            goString(found.slot),
		Needed:          Amount(found.needed),
		Free:            Amount(found.free),
		MostOnOneDevice: Amount(found.most_on_one_device),
		Missing:         Amount(found.missing),
		Message:         goString(found.message),
	}, nil
}

// Usage tells of every device how much is used.
func (a *SlotAllocator) Usage() ([]DeviceUsage, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return nil, ErrClosed
	}
	for native := make([]C.trackbed_device_usage, 16); ; {
		var count C.size_t
		var told *C.trackbed_error
		status := C.trackbed_slot_allocator_usage(a.native, &native[0],
			C.sizeof_trackbed_device_usage, C.size_t(len(native)), &count, &told)
		if err := failure(status, told); err != nil {
			return nil, err
		}
		if int(count) > len(native) {
			native = make([]C.trackbed_device_usage, count)
			continue
		}
		usage := make([]DeviceUsage, count)
		for i := range usage {
			usage[i] = DeviceUsage{
				Slot:     goString(native[i].slot),
				Device:   goString(native[i].device),
				Capacity: Amount(native[i].capacity),
				Used:     Amount(native[i].used),
				Healthy:  native[i].healthy != 0,
			}
		}
		return usage, nil
	}
}

// SetHealthy: nothing new is given of an unhealthy device; what is held stays so. NotFound.
func (a *SlotAllocator) SetHealthy(device string, healthy bool) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return ErrClosed
	}
	var told *C.trackbed_error
	status := C.trackbed_slot_allocator_set_healthy(a.native, chars(device), sizeOf(device),
		flag(healthy), &told)
	return failure(status, told)
}

// Len is how many allocations are live.
func (a *SlotAllocator) Len() int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return int(C.trackbed_slot_allocator_live_count(a.native)) // 0 of NULL
}

// Snapshot is all live allocations as JSON, for Restore.
func (a *SlotAllocator) Snapshot() (json.RawMessage, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return nil, ErrClosed
	}
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_slot_allocator_snapshot(a.native, &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return taken(&out), nil
}

// Restore takes up a snapshot of an allocator of the same node: all of it or, on an error, none.
// Ids stay the same. InvalidArgument names the first that is not consistent.
func (a *SlotAllocator) Restore(snapshot json.RawMessage) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.native == nil {
		return ErrClosed
	}
	var told *C.trackbed_error
	status := C.trackbed_slot_allocator_restore(a.native, data(snapshot),
		C.size_t(len(snapshot)), &told)
	return failure(status, told)
}
