package trackbed

// #include "ports.h"
import "C"

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Resource is what quotas count: processors, memory, or one of six kinds of devices, 2 to 7.
type Resource int

// The resources that every node has, and the usual kind of devices.
const (
	CPU     Resource = 0 // in thousandths of a core
	Memory  Resource = 1 // in bytes
	Devices Resource = 2 // in thousandths of a device
)

const maxResources = C.TRACKBED_MAX_RESOURCES

// MaxCounted is how many resources there can be that are only counted: licences, a second kind of
// devices. Number i counts in quotas as Resource 2 + i.
const MaxCounted = C.TRACKBED_MAX_COUNTED

// MaxDevices is how many devices a node can have.
const MaxDevices = C.TRACKBED_MAX_DEVICES

// NodeID is the number of a node in its scheduler.
type NodeID uint32

// TenantID is the number of a tenant in its scheduler. Root is the one that all others are below.
type TenantID uint32

// Root is the tenant of who says none.
const Root TenantID = 0

// TaskID is the number of a task, which the program chooses; not used again while it is known.
type TaskID uint64

// NodeCapacity is what a node has.
type NodeCapacity struct {
	CPU            Amount
	Memory         int64    // bytes
	Devices        []uint8  // of each its kind, a number of the program's: 0 to 63
	DeviceResource Resource // what they count as in quotas: 2 to 7; 0: Devices
	Architecture   int      // a number of the program's: 0 to 31
	Location       uint32   // the switch or rack it hangs on, as a number of the program's
	PricePerHour   float32
	IdleWatts      float32
	WattsPerDevice float32 // drawn by a device in use, on top
	// Of the resources that are only counted. Beside devices of the same Resource these are parts of
	// the devices.
	Counted [MaxCounted]Amount
}

// NodeState is what is left of a node.
type NodeState struct {
	Open    bool // if not, nothing new is placed there
	CPU     Amount
	Memory  int64
	Devices []Amount // left of each
	Tasks   int
	Counted [MaxCounted]Amount
}

// Placement is where one member of a task is.
type Placement struct {
	Node         NodeID
	WholeDevices uint16 // a set: bit d stands for device d
	SharedDevice int    // -1: none
}

// Devices are the numbers of all devices, the shared one last.
func (p Placement) Devices() []int {
	var devices []int
	for device := 0; device < MaxDevices; device++ {
		if p.WholeDevices>>device&1 != 0 {
			devices = append(devices, device)
		}
	}
	if p.SharedDevice >= 0 {
		devices = append(devices, p.SharedDevice)
	}
	return devices
}

func (p Placement) native() C.trackbed_placement {
	return C.trackbed_placement{
		node: C.uint32_t(p.Node), whole_devices: C.uint16_t(p.WholeDevices),
		shared_device: C.int16_t(p.SharedDevice),
	}
}

func goPlacement(native C.trackbed_placement) Placement {
	return Placement{
		Node: NodeID(native.node), WholeDevices: uint16(native.whole_devices),
		SharedDevice: int(native.shared_device),
	}
}

// WorkKind is a kind of work.
type WorkKind int32

// The kinds.
const (
	WorkBatch       WorkKind = C.TRACKBED_WORK_BATCH
	WorkInteractive WorkKind = C.TRACKBED_WORK_INTERACTIVE
	WorkInference   WorkKind = C.TRACKBED_WORK_INFERENCE
	WorkSystem      WorkKind = C.TRACKBED_WORK_SYSTEM
)

// Task is one task, or a gang of equal members, which starts whole or not at all.
type Task struct {
	ID               TaskID
	Tenant           TenantID
	Priority         int // higher goes first
	Kind             WorkKind
	Members          int // 0: 1
	OnDifferentNodes bool
	NotPreemptible   bool
	RunTime          time.Duration // expected; 0: learned from History, or the policy's default
	History          uint64        // tasks that run about equally long share a number; 0: none
	NotBefore        time.Time
	// Of each member:
	CPU            Amount
	Memory         int64    // bytes
	Devices        Amount   // a part of one, or more than one and a part of one more
	DeviceKinds    uint64   // a set: bit k stands for kind k; 0: any
	DeviceResource Resource // what they count as in quotas; 0: Devices
	Architectures  uint32   // a set: bit a stands for architecture a; 0: any
	Counted        [MaxCounted]Amount
	AtLeast        Enforcement // what is enforced more weakly is refused
}

func nativeCounted(amounts [MaxCounted]Amount) (native [MaxCounted]C.int64_t) {
	for i, amount := range amounts {
		native[i] = C.int64_t(amount)
	}
	return native
}

func goCounted(native [MaxCounted]C.int64_t) (amounts [MaxCounted]Amount) {
	for i, amount := range native {
		amounts[i] = Amount(amount)
	}
	return amounts
}

func goTask(native *C.trackbed_task) Task {
	return Task{
		ID:               TaskID(native.id),
		Tenant:           TenantID(native.tenant),
		Priority:         int(native.priority),
		Kind:             WorkKind(native.kind),
		Members:          int(native.members),
		OnDifferentNodes: native.on_different_nodes != 0,
		NotPreemptible:   native.not_preemptible != 0,
		RunTime:          time.Duration(native.run_time_ns),
		History:          uint64(native.history),
		NotBefore:        goTime(native.not_before_ns),
		CPU:              Amount(native.cpu),
		Memory:           int64(native.memory),
		Devices:          Amount(native.whole_devices)*One + Amount(native.share),
		DeviceKinds:      uint64(native.device_kinds),
		DeviceResource:   Resource(native.device_resource),
		Architectures:    uint32(native.architectures),
		Counted:          goCounted(native.counted),
		AtLeast:          Enforcement(native.at_least),
	}
}

func (t *Task) native() C.trackbed_task {
	return C.trackbed_task{
		counted:            nativeCounted(t.Counted),
		struct_size:        C.sizeof_trackbed_task,
		tenant:             C.uint32_t(t.Tenant),
		id:                 C.uint64_t(t.ID),
		priority:           signed(t.Priority),
		kind:               C.int32_t(t.Kind),
		members:            unsigned(t.Members),
		on_different_nodes: flag(t.OnDifferentNodes),
		not_preemptible:    flag(t.NotPreemptible),
		device_resource:    signed(int(t.DeviceResource)),
		run_time_ns:        C.int64_t(t.RunTime),
		history:            C.uint64_t(t.History),
		not_before_ns:      nanoseconds(t.NotBefore),
		cpu:                C.int64_t(t.CPU),
		memory:             C.int64_t(t.Memory),
		whole_devices:      C.int32_t(t.Devices / One),
		share:              C.int32_t(t.Devices % One),
		device_kinds:       C.uint64_t(t.DeviceKinds),
		architectures:      C.uint32_t(t.Architectures),
		at_least:           C.int32_t(t.AtLeast),
	}
}

// Quota is what a tenant may use, with all below it: cpu and devices in thousandths, memory in bytes.
type Quota struct {
	Guaranteed map[Resource]int64
	Limit      map[Resource]int64 // others are without limit
	MaxRunning int                // tasks at a time; 0: no limit
	MaxWaiting int                // 0: no limit
	Weight     float64            // of its share beside its siblings; 0: 1
}

func (q *Quota) native() (C.trackbed_quota, error) {
	native := C.trackbed_quota{
		struct_size: C.sizeof_trackbed_quota,
		max_running: unsigned(q.MaxRunning),
		max_waiting: unsigned(q.MaxWaiting),
		weight:      C.double(q.Weight),
	}
	unknown := &Error{Code: InvalidArgument, Message: "a quota is of resources from 0 to 7"}
	for resource, amount := range q.Guaranteed {
		if resource < 0 || resource >= maxResources {
			return native, unknown
		}
		native.guaranteed[resource] = C.int64_t(amount)
	}
	for resource, amount := range q.Limit {
		if resource < 0 || resource >= maxResources {
			return native, unknown
		}
		native.limit[resource] = C.int64_t(amount)
		native.limited |= 1 << uint(resource)
	}
	return native, nil
}

// TenantUsage is what a tenant uses, with all below it.
type TenantUsage struct {
	Running       int
	Used          [maxResources]int64 // by Resource
	DominantShare float64
}

func goUsage(native *C.trackbed_tenant_usage) TenantUsage {
	usage := TenantUsage{Running: int(native.running), DominantShare: float64(native.dominant_share)}
	for i := range usage.Used {
		usage.Used[i] = int64(native.used[i])
	}
	return usage
}

// Order is which of the waiting tasks goes first.
type Order int32

// The orders.
const (
	OrderFIFO      Order = C.TRACKBED_ORDER_FIFO
	OrderLIFO      Order = C.TRACKBED_ORDER_LIFO
	OrderDRF       Order = C.TRACKBED_ORDER_DRF        // the smallest dominant share, at each level of the tree
	OrderFairShare Order = C.TRACKBED_ORDER_FAIR_SHARE // who has used least, past use fading
)

// Backfill is who may overtake a task that found no room.
type Backfill int32

// The rules.
const (
	BackfillDefault      Backfill = C.TRACKBED_BACKFILL_DEFAULT      // easy
	BackfillStrict       Backfill = C.TRACKBED_BACKFILL_STRICT       // nobody
	BackfillAny          Backfill = C.TRACKBED_BACKFILL_ANY          // whatever fits
	BackfillEasy         Backfill = C.TRACKBED_BACKFILL_EASY         // who does not delay the first that found no room
	BackfillConservative Backfill = C.TRACKBED_BACKFILL_CONSERVATIVE // … nor any that did
)

// MaxDeviceKinds is how many kinds of devices there can be.
const MaxDeviceKinds = C.TRACKBED_MAX_DEVICE_KINDS

// EnforcementTable is how what a cluster hands out keeps a task to the amounts that it was given.
type EnforcementTable struct {
	Whole   [MaxDeviceKinds]Enforcement // of a device of the kind, given as a whole
	Share   [MaxDeviceKinds]Enforcement // of a part of one
	Counted [MaxCounted]Enforcement     // of what is only counted
}

func (e *EnforcementTable) native(memory *arena) *C.trackbed_enforcement {
	native := (*C.trackbed_enforcement)(memory.allocate(C.sizeof_trackbed_enforcement))
	*native = C.trackbed_enforcement{struct_size: C.sizeof_trackbed_enforcement}
	for kind := range e.Whole {
		native.whole[kind] = C.uint8_t(e.Whole[kind])
		native.share[kind] = C.uint8_t(e.Share[kind])
	}
	for i := range e.Counted {
		native.counted[i] = C.uint8_t(e.Counted[i])
	}
	return native
}

// SchedulerOptions are the policy of a Scheduler. The zero value is fine.
type SchedulerOptions struct {
	Order             Order
	HostOrder         Orderer // instead of Order, of priorities and of ageing; nil: none
	Backfill          Backfill
	ReservationDepth  int // 0: 64
	PreemptByPriority bool
	Reclaim           bool          // a tenant below its guarantee may stop work of borrowers
	Ageing            time.Duration // waiting so long is one step of priority; 0: 1 h; -1: never
	MinimumRunTime    time.Duration // nothing is stopped before
	DefaultRunTime    time.Duration // where nothing is known; 0: 1 h
	GangGrace         time.Duration // how long a gang may wait for a lost member; 0: 10 min
	ClaimTime         time.Duration // how long a claim waits for what was told to stop; 0: 10 min
	HalfLife          time.Duration // of past use; 0: 7 days
	Kinds             []WorkKind    // nil: all
	Placer            string        // "default", "pack", "spread", …; empty: "default"
	HostPlacer        Placer        // instead of Placer; nil: none
	Seed              uint64        // of the placer "random"
	Resources         []string      // names for sentences: "cpu", "mem", "cuda.shares", …
	// nil: a whole device hardware, a share advisory, what is only counted accounting
	Enforcement *EnforcementTable
}

func (o *SchedulerOptions) native(memory *arena) *C.trackbed_scheduler_options {
	native := (*C.trackbed_scheduler_options)(memory.allocate(C.sizeof_trackbed_scheduler_options))
	*native = C.trackbed_scheduler_options{
		struct_size:         C.sizeof_trackbed_scheduler_options,
		order:               C.int32_t(o.Order),
		backfill:            C.int32_t(o.Backfill),
		reservation_depth:   unsigned(o.ReservationDepth),
		preempt_by_priority: flag(o.PreemptByPriority),
		reclaim:             flag(o.Reclaim),
		ageing_ns:           C.int64_t(o.Ageing),
		minimum_run_time_ns: C.int64_t(o.MinimumRunTime),
		default_run_time_ns: C.int64_t(o.DefaultRunTime),
		gang_grace_ns:       C.int64_t(o.GangGrace),
		claim_time_ns:       C.int64_t(o.ClaimTime),
		placer:              memory.text(o.Placer),
		seed:                C.uint64_t(o.Seed),
		half_life_ns:        C.int64_t(o.HalfLife),
	}
	for _, kind := range o.Kinds {
		native.kinds |= 1 << uint(kind)
	}
	native.resources, native.resource_count = memory.texts(o.Resources)
	if o.Enforcement != nil {
		native.enforcement = o.Enforcement.native(memory)
	}
	return native
}

// PlanKind is what an item of a plan says.
type PlanKind int32

// The kinds.
const (
	PlanStart    PlanKind = C.TRACKBED_PLAN_START    // member Member of Members of Task starts at Placement
	PlanEviction PlanKind = C.TRACKBED_PLAN_EVICTION // stop Task for Other; report its end with Finish
	PlanRepair   PlanKind = C.TRACKBED_PLAN_REPAIR   // a lost member of a gang has this new place
	PlanRelease  PlanKind = C.TRACKBED_PLAN_RELEASE  // a crippled gang whose grace is over: stop what is left of it
	PlanEnded    PlanKind = C.TRACKBED_PLAN_ENDED    // by LoseNode: it was on the lost node
)

// EvictionCause is why a task is stopped for another.
type EvictionCause int32

// The causes.
const (
	EvictionPriority EvictionCause = C.TRACKBED_EVICTION_PRIORITY
	EvictionReclaim  EvictionCause = C.TRACKBED_EVICTION_RECLAIM
)

// PlanItem is one thing that was decided.
type PlanItem struct {
	Kind      PlanKind
	Task      TaskID
	Other     TaskID
	Member    int
	Members   int
	Placement Placement
	Cause     EvictionCause // of an eviction
	// Of a start: of all that the task got of devices and of what is only counted, the weakest; -1:
	// it got none.
	Enforcement Enforcement
}

// Plan is what a scheduler decided. Members of one task follow each other.
type Plan struct {
	Items []PlanItem
	Next  time.Time // when to plan again even if nothing happens; zero: no need
}

// WaitRule is why a task waits.
type WaitRule int32

// The rules.
const (
	WaitNone          WaitRule = C.TRACKBED_WAIT_NONE // it does not wait, or is not known
	WaitNotYet        WaitRule = C.TRACKBED_WAIT_NOT_YET
	WaitQuota         WaitRule = C.TRACKBED_WAIT_QUOTA         // Quota… say which and where
	WaitShortage      WaitRule = C.TRACKBED_WAIT_SHORTAGE      // there is less free than it needs, in all
	WaitFragmentation WaitRule = C.TRACKBED_WAIT_FRAGMENTATION // enough is free in all, but not together
	WaitReserved      WaitRule = C.TRACKBED_WAIT_RESERVED      // it would delay Ahead, for which room is kept
	WaitStrictOrder   WaitRule = C.TRACKBED_WAIT_STRICT_ORDER
	WaitClaiming      WaitRule = C.TRACKBED_WAIT_CLAIMING // the tasks that make room for it are stopping
	WaitNext          WaitRule = C.TRACKBED_WAIT_NEXT     // nothing is in its way
	// It would fit, but only on devices that are enforced more weakly than it asks.
	WaitEnforcement WaitRule = C.TRACKBED_WAIT_ENFORCEMENT
)

// QuotaRule is the part of a quota that is in the way.
type QuotaRule int32

// The parts.
const (
	QuotaLimit      QuotaRule = C.TRACKBED_QUOTA_LIMIT
	QuotaMaxRunning QuotaRule = C.TRACKBED_QUOTA_MAX_RUNNING
	QuotaMaxWaiting QuotaRule = C.TRACKBED_QUOTA_MAX_WAITING
)

// WaitReason is why a task waits. Amounts are of the resource: thousandths, or bytes.
type WaitReason struct {
	Rule          WaitRule
	Sentence      string   // the same for people
	Resource      Resource // what is short
	Node          int      // where most is free; -1: not about a node
	Needed        int64    // of it, by one member
	Available     int64    // the most that is free together, or in all for a shortage
	QuotaRule     QuotaRule
	QuotaTenant   TenantID
	QuotaResource Resource
	QuotaNeeded   int64
	QuotaUsed     int64
	QuotaAllowed  int64
	Ahead         TaskID
	Until         time.Time   // zero: none
	ExpectedStart time.Time   // zero: not known
	Enforcement   Enforcement // of a prediction to start now, as of PlanItem; else -1
}

func goReason(native *C.trackbed_wait_reason, sentence string) WaitReason {
	return WaitReason{
		Rule:          WaitRule(native.rule),
		Sentence:      sentence,
		Resource:      Resource(native.resource),
		Node:          int(native.node),
		Needed:        int64(native.needed),
		Available:     int64(native.available),
		QuotaRule:     QuotaRule(native.quota_rule),
		QuotaTenant:   TenantID(native.quota_tenant),
		QuotaResource: Resource(native.quota_resource),
		QuotaNeeded:   int64(native.quota_needed),
		QuotaUsed:     int64(native.quota_used),
		QuotaAllowed:  int64(native.quota_allowed),
		Ahead:         TaskID(native.ahead),
		Until:         goTime(native.until_ns),
		ExpectedStart: goTime(native.expected_start_ns),
		Enforcement:   Enforcement(native.enforcement),
	}
}

// ScheduledState is how far a task is in a scheduler.
type ScheduledState int32

// The states.
const (
	ScheduledUnknown ScheduledState = C.TRACKBED_TASK_UNKNOWN
	ScheduledWaiting ScheduledState = C.TRACKBED_TASK_WAITING
	ScheduledRunning ScheduledState = C.TRACKBED_TASK_RUNNING
)

// SchedulerStats are the numbers of a scheduler.
type SchedulerStats struct {
	Nodes       int
	Waiting     int
	Running     int
	Devices     Amount // of all nodes
	DevicesLeft Amount
}

// Scheduler decides which waiting task starts next, and where, in one resource group. Times are the
// program's and may not go back; the zero time is 1970.
type Scheduler struct {
	*turnstile
	native func() *C.trackbed_scheduler // nil once it is closed
	close  func()
	ports  hostPorts
}

// turnstile lets one goroutine at a time into a scheduler, or several that belong together.
type turnstile struct {
	mutex  sync.Mutex
	inside inside
}

// inside knows the threads that callbacks are on. Their goroutines keep them as long as that lasts.
type inside struct {
	count   atomic.Int64
	threads sync.Map
}

func (i *inside) enter() (leave func()) {
	runtime.LockOSThread()
	thread := syscall.Gettid()
	i.threads.Store(thread, nil)
	i.count.Add(1)
	return func() {
		i.count.Add(-1)
		i.threads.Delete(thread)
		runtime.UnlockOSThread()
	}
}

// here tells whether this is a callback's own call.
func (i *inside) here() bool {
	if i.count.Load() == 0 {
		return false
	}
	_, is := i.threads.Load(syscall.Gettid())
	return is
}

// enter waits for its turn, but for a callback's own call, which would wait for itself.
func (t *turnstile) enter() error {
	if t.inside.here() {
		return &Error{Code: FailedPrecondition,
			Message: "a placer or an order may not call the scheduler that calls it"}
	}
	t.mutex.Lock()
	return nil
}

func (t *turnstile) leave() { t.mutex.Unlock() }

// NewScheduler makes one without nodes. InvalidArgument for an unknown placer, with the nearest name.
// Close the scheduler.
func NewScheduler(options SchedulerOptions) (*Scheduler, error) {
	var memory arena
	defer memory.free()
	turns := &turnstile{}
	ports, chosen := schedulerOptions(&options, turns, &memory)
	var native *C.trackbed_scheduler
	var told *C.trackbed_error
	status := C.trackbed_scheduler_create(chosen, &native, &told)
	if err := failure(status, told); err != nil {
		ports.giveBack()
		return nil, err
	}
	live.Add(1)
	scheduler := &Scheduler{turnstile: turns, ports: ports}
	scheduler.native = func() *C.trackbed_scheduler { return native }
	scheduler.close = func() {
		if native != nil {
			C.trackbed_scheduler_free(native)
			native = nil
			live.Add(-1)
		}
	}
	runtime.SetFinalizer(scheduler, func(s *Scheduler) { _ = s.Close() })
	return scheduler, nil
}

// hostPorts are those of the program's that a scheduler has.
type hostPorts struct {
	failures *failures // nil when there are none
	numbers  []C.uintptr_t
}

// giveBack is for those that the library has not taken over.
func (h hostPorts) giveBack() {
	for _, number := range h.numbers {
		trackbedGoDrop(number)
	}
}

func schedulerOptions(options *SchedulerOptions, turns *turnstile,
	memory *arena) (hostPorts, *C.trackbed_scheduler_options) {
	chosen := options.native(memory)
	var ports hostPorts
	held := func(p *port) C.uintptr_t {
		if ports.failures == nil {
			ports.failures = &failures{}
		}
		p.inside, p.failures = &turns.inside, ports.failures
		number := hold(p)
		ports.numbers = append(ports.numbers, number)
		return number
	}
	if options.HostPlacer != nil {
		_, observes := options.HostPlacer.(DemandObserver)
		chosen.host_placer = (*C.trackbed_placer)(memory.allocate(C.sizeof_trackbed_placer))
		number := held(&port{name: "placer", placer: options.HostPlacer})
		C.trackbed_go_placer(chosen.host_placer, number, C.int(flag(observes)))
	}
	if options.HostOrder != nil {
		chosen.host_order = orderTable(options.HostOrder, held, memory)
	}
	return ports, chosen
}

func orderTable(order Orderer, held func(*port) C.uintptr_t, memory *arena) *C.trackbed_order {
	_, shares := order.(ShareOrderer)
	table := (*C.trackbed_order)(memory.allocate(C.sizeof_trackbed_order))
	C.trackbed_go_order(table, held(&port{name: "order", order: order}), C.int(flag(shares)))
	return table
}

// Close frees the scheduler, or does nothing to one of Groups, which go together.
// FailedPrecondition from within a port of its.
func (s *Scheduler) Close() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	runtime.SetFinalizer(s, nil)
	s.close()
	return nil
}

// call makes one call, in turn.
func (s *Scheduler) call(
	do func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	native := s.native()
	if native == nil {
		return ErrClosed
	}
	var told *C.trackbed_error
	err := failure(do(native, &told), told)
	if s.ports.failures == nil {
		return err
	}
	// What a port said is better known here than there.
	if cause := s.ports.failures.take(); cause != nil {
		if known, isError := err.(*Error); isError {
			known.cause = cause
		} else {
			err = asError(cause)
		}
	}
	return err
}

// AddNode adds a node. AlreadyExists.
func (s *Scheduler) AddNode(name string, capacity NodeCapacity) (node NodeID, err error) {
	given, err := capacity.native()
	if err != nil {
		return 0, err
	}
	err = s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		var number C.uint32_t
		status := C.trackbed_scheduler_add_node(native, chars(name), sizeOf(name), &given, &number,
			told)
		node = NodeID(number)
		return status
	})
	return node, err
}

func (n *NodeCapacity) native() (C.trackbed_node_capacity, error) {
	native := C.trackbed_node_capacity{
		struct_size:      C.sizeof_trackbed_node_capacity,
		location:         C.uint32_t(n.Location),
		cpu:              C.int64_t(n.CPU),
		memory:           C.int64_t(n.Memory),
		architecture:     signed(n.Architecture),
		device_resource:  signed(int(n.DeviceResource)),
		device_count:     C.int32_t(len(n.Devices)),
		price_per_hour:   C.float(n.PricePerHour),
		idle_watts:       C.float(n.IdleWatts),
		watts_per_device: C.float(n.WattsPerDevice),
		counted:          nativeCounted(n.Counted),
	}
	if len(n.Devices) > MaxDevices {
		return native, &Error{Code: InvalidArgument, Message: "a node has at most 16 devices"}
	}
	for i, kind := range n.Devices {
		native.device_kind[i] = C.uint8_t(kind)
	}
	return native, nil
}

func goCapacity(native *C.trackbed_node_capacity) NodeCapacity {
	capacity := NodeCapacity{
		CPU:            Amount(native.cpu),
		Memory:         int64(native.memory),
		Devices:        make([]uint8, native.device_count),
		DeviceResource: Resource(native.device_resource),
		Architecture:   int(native.architecture),
		Location:       uint32(native.location),
		PricePerHour:   float32(native.price_per_hour),
		IdleWatts:      float32(native.idle_watts),
		WattsPerDevice: float32(native.watts_per_device),
		Counted:        goCounted(native.counted),
	}
	for i := range capacity.Devices {
		capacity.Devices[i] = uint8(native.device_kind[i])
	}
	return capacity
}

func goState(native *C.trackbed_node_state) NodeState {
	state := NodeState{
		Open:    native.open != 0,
		CPU:     Amount(native.cpu),
		Memory:  int64(native.memory),
		Devices: make([]Amount, native.device_count),
		Counted: goCounted(native.counted),
		Tasks:   int(native.tasks),
	}
	for i := range state.Devices {
		state.Devices[i] = Amount(native.device[i])
	}
	return state
}

// DrainNode: nothing new is placed there; what runs goes on. NotFound.
func (s *Scheduler) DrainNode(node NodeID) error {
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_drain_node(native, C.uint32_t(node), told)
	})
}

// OpenNode: the node takes new tasks (again). NotFound.
func (s *Scheduler) OpenNode(node NodeID) error {
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_open_node(native, C.uint32_t(node), told)
	})
}

// LoseNode: the node is gone. The plan has the single tasks that were there, as PlanEnded; gangs keep
// their other members while a place for the lost ones is looked for. NotFound.
func (s *Scheduler) LoseNode(node NodeID, now time.Time) (*Plan, error) {
	var ended *C.trackbed_plan
	err := s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_lose_node(native, C.uint32_t(node), nanoseconds(now), &ended, told)
	})
	return takePlan(ended), err
}

// NodeName is the name of a node; empty when there is no such node.
func (s *Scheduler) NodeName(node NodeID) string {
	name := ""
	_ = s.call(func(native *C.trackbed_scheduler, _ **C.trackbed_error) C.trackbed_status {
		name = goString(C.trackbed_scheduler_node_name(native, C.uint32_t(node)))
		return C.TRACKBED_OK
	})
	return name
}

// Node is what a node has, and what is left of it. NotFound.
func (s *Scheduler) Node(node NodeID) (NodeCapacity, NodeState, error) {
	capacity := C.trackbed_node_capacity{struct_size: C.sizeof_trackbed_node_capacity}
	state := C.trackbed_node_state{struct_size: C.sizeof_trackbed_node_state}
	err := s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_node(native, C.uint32_t(node), &capacity, &state, told)
	})
	return goCapacity(&capacity), goState(&state), err
}

// AddTenant adds a tenant below another. AlreadyExists among its siblings; NotFound: the parent;
// InvalidArgument: a negative amount, or a guarantee above the limit.
func (s *Scheduler) AddTenant(parent TenantID, name string, quota Quota) (tenant TenantID, err error) {
	given, err := quota.native()
	if err != nil {
		return 0, err
	}
	err = s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		var number C.uint32_t
		status := C.trackbed_scheduler_add_tenant(native, C.uint32_t(parent), chars(name),
			sizeOf(name), &given, &number, told)
		tenant = TenantID(number)
		return status
	})
	return tenant, err
}

// SetQuota changes the quota of a tenant. Errors as of AddTenant.
func (s *Scheduler) SetQuota(tenant TenantID, quota Quota) error {
	given, err := quota.native()
	if err != nil {
		return err
	}
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_set_quota(native, C.uint32_t(tenant), &given, told)
	})
}

// FindTenant is the tenant of a path, "research/vision/ada"; "" is the root. NotFound.
func (s *Scheduler) FindTenant(path string) (tenant TenantID, err error) {
	err = s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		var number C.uint32_t
		status := C.trackbed_scheduler_find_tenant(native, chars(path), sizeOf(path), &number, told)
		tenant = TenantID(number)
		return status
	})
	return tenant, err
}

// TenantUsage is what a tenant uses. NotFound.
func (s *Scheduler) TenantUsage(tenant TenantID) (TenantUsage, error) {
	native := C.trackbed_tenant_usage{struct_size: C.sizeof_trackbed_tenant_usage}
	err := s.call(func(scheduler *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_tenant_usage(scheduler, C.uint32_t(tenant), &native, told)
	})
	return goUsage(&native), err
}

// Submit adds a task to the queue. AlreadyExists; InvalidArgument; ResourceExhausted: it could never
// run on these nodes or within its quotas, and the message says which.
func (s *Scheduler) Submit(task Task, now time.Time) error {
	given := task.native()
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_submit(native, &given, nanoseconds(now), told)
	})
}

// SubmitBatch submits many at once; each is taken or refused by itself: codes has 0 or the reason
// for each, and the error is that of the first that was refused.
func (s *Scheduler) SubmitBatch(tasks []Task, now time.Time) (codes []Code, err error) {
	given := make([]C.trackbed_task, len(tasks)+1) // never without a first
	for i := range tasks {
		given[i] = tasks[i].native()
	}
	statuses := make([]C.trackbed_status, len(tasks)+1)
	err = s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_submit_batch(native, &given[0], C.sizeof_trackbed_task,
			C.size_t(len(tasks)), nanoseconds(now), &statuses[0], nil, told)
	})
	codes = make([]Code, len(tasks))
	for i := range codes {
		codes[i] = Code(statuses[i])
	}
	return codes, err
}

// Restore counts a task as running there: rebuilds the state after a restart. One placement a member.
// FailedPrecondition, with nothing changed, when the room is not free.
func (s *Scheduler) Restore(task Task, placements []Placement, started, now time.Time) error {
	given := task.native()
	places := make([]C.trackbed_placement, len(placements)+1) // never without a first
	for i, placement := range placements {
		places[i] = placement.native()
	}
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_restore(native, &given, &places[0], C.size_t(len(placements)),
			nanoseconds(started), nanoseconds(now), told)
	})
}

// Finish takes a task out: a waiting one is withdrawn, a running one has ended. NotFound.
func (s *Scheduler) Finish(task TaskID, now time.Time) error {
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_finish(native, C.uint64_t(task), nanoseconds(now), told)
	})
}

// Plan decides all that can be decided now, and counts it as done. When a placer of the program's
// failed there is an error, which unwraps to the placer's, and the plan has what was decided
// nevertheless.
func (s *Scheduler) Plan(now time.Time) (*Plan, error) {
	var plan *C.trackbed_plan
	err := s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_schedule(native, nanoseconds(now), &plan, told)
	})
	return takePlan(plan), err
}

const planBlock = 1024

// takePlan copies a plan and frees it; nil for NULL.
func takePlan(native *C.trackbed_plan) *Plan {
	if native == nil {
		return nil
	}
	defer C.trackbed_plan_free(native)
	count := C.trackbed_plan_size(native)
	plan := &Plan{Items: make([]PlanItem, 0, count), Next: goTime(C.trackbed_plan_next(native))}
	if count == 0 {
		return plan
	}
	block := make([]C.trackbed_plan_item, planBlock)
	for first := C.size_t(0); first < count; {
		read := C.trackbed_plan_read(native, first, &block[0], C.sizeof_trackbed_plan_item, planBlock)
		if read == 0 {
			break
		}
		for i := range block[:read] {
			item := &block[i]
			plan.Items = append(plan.Items, PlanItem{
				Kind:      PlanKind(item.kind),
				Task:      TaskID(item.task),
				Other:     TaskID(item.other),
				Member:    int(item.member),
				Members:   int(item.members),
				Placement: goPlacement(item.placement),
				Cause:     EvictionCause(item.cause),

				Enforcement: Enforcement(item.enforcement),
			})
		}
		first += read
	}
	return plan
}

// Explain is why the task waits.
func (s *Scheduler) Explain(task TaskID, now time.Time) (WaitReason, error) {
	reason := C.trackbed_wait_reason{struct_size: C.sizeof_trackbed_wait_reason}
	var sentence C.trackbed_bytes
	err := s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_explain(native, C.uint64_t(task), nanoseconds(now), &reason,
			&sentence, told)
	})
	if err != nil {
		return WaitReason{}, err
	}
	return goReason(&reason, string(taken(&sentence))), nil
}

// Predict is what would become of a task if it were submitted now: when it would start, zero for
// never on these nodes, and why not now. Nothing is changed. Errors as of Submit.
func (s *Scheduler) Predict(task Task, now time.Time) (time.Time, WaitReason, error) {
	given := task.native()
	var start C.int64_t
	reason := C.trackbed_wait_reason{struct_size: C.sizeof_trackbed_wait_reason}
	var sentence C.trackbed_bytes
	err := s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_predict(native, &given, nanoseconds(now), &start, &reason,
			&sentence, told)
	})
	if err != nil {
		return time.Time{}, WaitReason{}, err
	}
	return goTime(start), goReason(&reason, string(taken(&sentence))), nil
}

// WhatIf is nodes as they might be.
type WhatIf struct {
	Added   []NodeCapacity // numbered on from those that there are
	Drained []NodeID       // take nothing new
}

// PredictIf is the same as Predict if nodes were added or drained; by first fit, since the placer
// knows only the nodes that there are. NotFound also: a node to drain.
func (s *Scheduler) PredictIf(task Task, whatIf WhatIf, now time.Time) (time.Time, WaitReason, error) {
	var memory arena
	defer memory.free()
	nodes, err := whatIf.native(&memory)
	if err != nil {
		return time.Time{}, WaitReason{}, err
	}
	given := task.native()
	var start C.int64_t
	reason := C.trackbed_wait_reason{struct_size: C.sizeof_trackbed_wait_reason}
	var sentence C.trackbed_bytes
	err = s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_predict_if(native, &given, &nodes, nanoseconds(now), &start,
			&reason, &sentence, told)
	})
	if err != nil {
		return time.Time{}, WaitReason{}, err
	}
	return goTime(start), goReason(&reason, string(taken(&sentence))), nil
}

func (w *WhatIf) native(memory *arena) (C.trackbed_what_if, error) {
	native := C.trackbed_what_if{
		struct_size:   C.sizeof_trackbed_what_if,
		added_size:    C.sizeof_trackbed_node_capacity,
		added_count:   C.size_t(len(w.Added)),
		drained_count: C.size_t(len(w.Drained)),
	}
	if len(w.Added) > 0 {
		native.added = (*C.trackbed_node_capacity)(
			memory.allocate(uintptr(len(w.Added)) * C.sizeof_trackbed_node_capacity))
		for i := range w.Added {
			capacity, err := w.Added[i].native()
			if err != nil {
				return native, err
			}
			unsafe.Slice(native.added, len(w.Added))[i] = capacity
		}
	}
	if len(w.Drained) > 0 {
		native.drained = (*C.uint32_t)(
			memory.allocate(uintptr(len(w.Drained)) * C.sizeof_uint32_t))
		for i, node := range w.Drained {
			unsafe.Slice(native.drained, len(w.Drained))[i] = C.uint32_t(node)
		}
	}
	return native, nil
}

// State is how far a task is.
func (s *Scheduler) State(task TaskID) ScheduledState {
	state := ScheduledUnknown
	_ = s.call(func(native *C.trackbed_scheduler, _ **C.trackbed_error) C.trackbed_status {
		state = ScheduledState(C.trackbed_scheduler_task_state(native, C.uint64_t(task)))
		return C.TRACKBED_OK
	})
	return state
}

// Placements are where the members of a running task are. NotFound: it does not run.
func (s *Scheduler) Placements(task TaskID) ([]Placement, error) {
	places := make([]C.trackbed_placement, 8)
	var count C.size_t
	err := s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		status := C.trackbed_scheduler_placements(native, C.uint64_t(task), &places[0],
			C.size_t(len(places)), &count, told)
		if status == C.TRACKBED_OK && int(count) > len(places) {
			places = make([]C.trackbed_placement, count)
			status = C.trackbed_scheduler_placements(native, C.uint64_t(task), &places[0],
				C.size_t(len(places)), &count, told)
		}
		return status
	})
	if err != nil {
		return nil, err
	}
	found := make([]Placement, count)
	for i := range found {
		found[i] = goPlacement(places[i])
	}
	return found, nil
}

// Stats are the numbers of the scheduler.
func (s *Scheduler) Stats() (SchedulerStats, error) {
	native := C.trackbed_scheduler_stats{struct_size: C.sizeof_trackbed_scheduler_stats}
	err := s.call(func(scheduler *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_get_stats(scheduler, &native, told)
	})
	return SchedulerStats{
		Nodes:       int(native.nodes),
		Waiting:     int(native.waiting),
		Running:     int(native.running),
		Devices:     Amount(native.device_capacity),
		DevicesLeft: Amount(native.device_left),
	}, err
}

// Recount adds up everything again and compares: for tests. Internal names the difference.
func (s *Scheduler) Recount() error {
	return s.call(func(native *C.trackbed_scheduler, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_scheduler_recount(native, told)
	})
}
