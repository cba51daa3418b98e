package trackbed

// #include <stdlib.h>
// #include "ports.h"
import "C"

import (
	"context"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// Durability is what survives what.
type Durability int32

// The degrees.
const (
	DurabilityDefault Durability = C.TRACKBED_DURABILITY_DEFAULT // power
	DurabilityProcess Durability = C.TRACKBED_DURABILITY_PROCESS // survives the death of the process
	DurabilityPower   Durability = C.TRACKBED_DURABILITY_POWER   // survives a power cut
)

// Sandbox is whether attempts of the embedded executor are walled in.
type Sandbox int32

// The ways.
const (
	SandboxAutomatic Sandbox = C.TRACKBED_SANDBOX_AUTOMATIC
	SandboxNever     Sandbox = C.TRACKBED_SANDBOX_NEVER
	SandboxAlways    Sandbox = C.TRACKBED_SANDBOX_ALWAYS
)

// EngineOptions are the choices of an Engine. Home, or InMemory with an Executor, is needed.
type EngineOptions struct {
	InMemory   bool   // nothing is stored; runs are gone when the engine is closed
	Home       string // folder of the runs, made when missing
	Store      string // SQLite file; empty: trackbed.db in Home
	Durability Durability
	Sandbox    Sandbox

	Node        []byte      // what may be used at once: a node description, …
	DeviceProbe DeviceProbe // … or who makes one; else this machine's
	Slots       Slots       // over it: so much of each of these instead

	Description string        // of this process, told to others who want the store
	LeaseTime   time.Duration // how long others wait for a holder that is silent; 0: 15 s
	Supervisor  string        // the embedded executor's helper program; empty: looked for beside the library
	Inherit     []string      // names of variables that attempts get from this process

	Tenants []EngineTenant    // for whom runs are submitted; those above before those below
	Policy  *SchedulerOptions // who goes first; nil: defaults. See Open for what of it holds

	RunOn         *RunOn // nil: processes of this machine. Not with Executor
	Artifacts     string // folder that keeps files beside Home; empty: none. Or the program's own:
	ArtifactStore ArtifactStore

	Executor Executor     // nil: as RunOn says
	Clock    Clock        // nil: the system's
	Random   Random       // nil: the system's
	Secrets  SecretSource // nil: secret://env/NAME, secret://file/NAME below Home
	// Gets each event after it is durable, in order, at the end of the call that brought it about,
	// which waits meanwhile. Engine.Events is the other way. See the package's comment on ports.
	Sink func(Event)
}

// RunKind is which of the embedded executors runs new attempts.
type RunKind int32

// The kinds.
const (
	RunAsProcess   RunKind = C.TRACKBED_RUN_AS_PROCESS   // of this machine
	RunInContainer RunKind = C.TRACKBED_RUN_IN_CONTAINER // of Docker or Podman, for which libcurl is loaded
	RunBySlurm     RunKind = C.TRACKBED_RUN_BY_SLURM     // as jobs; Home is on a file system that its nodes share
)

// RunOn is where new attempts run. Those of earlier runs are followed wherever they run.
type RunOn struct {
	Kind RunKind
	// Containers:
	Endpoint      string   // "unix:///PATH", "tcp://HOST:PORT", "https://HOST:PORT"; empty: as Docker's own program finds it
	Image         string   // of tasks that name none
	Network       string   // empty: the engine's default
	User          string   // "UID:GID" inside; empty: this process's; "image": the image's
	Registries    []string // SERVER=USER:secret://SOURCE/NAME
	ContainerInit string   // the first program of each container; empty: looked for where the supervisor is
	// Slurm: NAME for all tasks, GROUP=NAME for those of one resource group.
	Partitions []string
	Accounts   []string
	Qualities  []string // of service
	Sbatch     []string // more options of sbatch: "--constraint=a100"

	SlurmEndpoint  string // of slurmrestd; empty: Slurm's commands
	SlurmTokenFile string // holds a token for it
	Credentials    string // of registries: a file of docker login; empty: where Docker's own program has it
}

func (r *RunOn) native(memory *arena) *C.trackbed_executor_choice {
	native := (*C.trackbed_executor_choice)(memory.allocate(C.sizeof_trackbed_executor_choice))
	*native = C.trackbed_executor_choice{
		struct_size:    C.sizeof_trackbed_executor_choice,
		kind:           C.int32_t(r.Kind),
		endpoint:       memory.text(r.Endpoint),
		image:          memory.text(r.Image),
		network:        memory.text(r.Network),
		user:           memory.text(r.User),
		container_init: memory.text(r.ContainerInit),

		slurm_endpoint:   memory.text(r.SlurmEndpoint),
		slurm_token_file: memory.text(r.SlurmTokenFile),
		credentials:      memory.text(r.Credentials),
	}
	native.registries, native.registry_count = memory.texts(r.Registries)
	native.partitions, native.partition_count = memory.texts(r.Partitions)
	native.accounts, native.account_count = memory.texts(r.Accounts)
	native.qualities, native.quality_count = memory.texts(r.Qualities)
	native.sbatch, native.sbatch_count = memory.texts(r.Sbatch)
	return native
}

// EngineTenant is somebody for whom runs are submitted, and what all of these may use at once.
type EngineTenant struct {
	Path string // "research/vision/ada"
	// Of "cpu", "mem" and the node's accelerators; GPUs count as "cuda.shares", whole ones too.
	Guaranteed Slots
	Limit      Slots   // what is not named is without limit
	MaxRunning int     // tasks at a time; 0: no limit
	MaxWaiting int     // equal tasks count as one; 0: no limit
	Weight     float64 // of its share beside its siblings; 0: 1
}

func engineTenants(tenants []EngineTenant, memory *arena) (*C.trackbed_engine_tenant, C.size_t) {
	if len(tenants) == 0 {
		return nil, 0
	}
	block := (*C.trackbed_engine_tenant)(
		memory.allocate(uintptr(len(tenants)) * C.sizeof_trackbed_engine_tenant))
	for i, tenant := range tenants {
		native := C.trackbed_engine_tenant{
			struct_size: C.sizeof_trackbed_engine_tenant,
			path:        memory.text(tenant.Path),
			max_running: unsigned(tenant.MaxRunning),
			max_waiting: unsigned(tenant.MaxWaiting),
			weight:      C.double(tenant.Weight),
		}
		native.guaranteed, native.guaranteed_count = memory.slots(tenant.Guaranteed)
		native.limit, native.limit_count = memory.slots(tenant.Limit)
		unsafe.Slice(block, len(tenants))[i] = native
	}
	return block, C.size_t(len(tenants))
}

// Engine takes runs from submission to their end, durably. It does so while a goroutine is in Run,
// Wait or Step; all else may be called at any time.
type Engine struct {
	*core
}

// core is the engine without what the collector watches: ports refer to it, and must not keep an
// Engine alive that nobody else has.
type core struct {
	native   *C.trackbed_engine
	failures *failures // of ports that cannot return any
	inside   *inside   // apart, so that ports do not keep the core alive
	told     *told     // for the sink; nil: there is none
	hasClock bool      // of the program's

	mutex   sync.Mutex
	users   int           // calls under way
	closed  bool          // no more are let in
	idle    *sync.Cond    // users is 0
	closing chan struct{} // closed with `closed`
	streams map[*stream]struct{}
	changed chan struct{} // closed, and made anew, after each step

	turn chan struct{} // holds one token: who has it steps the engine and waits for its descriptor
}

// Open opens the store and takes its lease. FailedPrecondition: another process holds the store (the
// message names it), or the folder cannot be made; NotFound: no supervisor program; DataLoss: the
// store is damaged. Close the engine.
//
// The Placer of Policy chooses among several nodes and knows on which of them a task's inputs were
// written; empty: "default" where there are accelerators, else "spread". Names of resources and the
// seed are not looked at. The engine serves nobody last come first: OrderLIFO and HostPlacer are
// InvalidArgument. With PreemptByPriority or Reclaim attempts are stopped for others, politely first and
// after the grace period of their task by a kill; unless they exit with 0 all the same, their tasks wait
// for their turn again, and it is no try. NotFound also: a tenant whose parent does not stand before it.
//
// Policy.HostOrder is asked about the first of tasks that are alike in tenant, priority (of run and
// task together), resources and expected run time, which go first come first served, and only where
// there is something to decide. Its tenants are numbered as Tenants, from 1; ids of tasks mean
// nothing. An error of Rank refuses a submission, resumption or retry; after that it counts as 0, as
// one of Share does, and is returned by Step.
func Open(options EngineOptions) (*Engine, error) {
	var memory arena
	defer memory.free()
	c := &core{
		failures: &failures{},
		inside:   &inside{},
		hasClock: options.Clock != nil,
		closing:  make(chan struct{}),
		streams:  map[*stream]struct{}{},
		changed:  make(chan struct{}),
		turn:     make(chan struct{}, 1),
	}
	c.idle = sync.NewCond(&c.mutex)
	c.turn <- struct{}{}

	native := C.trackbed_engine_options{
		struct_size:   C.sizeof_trackbed_engine_options,
		in_memory:     flag(options.InMemory),
		home:          memory.text(options.Home),
		store:         memory.text(options.Store),
		durability:    C.int32_t(options.Durability),
		sandbox:       C.int32_t(options.Sandbox),
		node:          memory.text(string(options.Node)),
		description:   memory.text(options.Description),
		lease_time_ns: C.int64_t(options.LeaseTime),
		supervisor:    memory.text(options.Supervisor),
		artifacts:     memory.text(options.Artifacts),
	}
	if options.RunOn != nil {
		native.run_on = options.RunOn.native(&memory)
	}
	native.slots, native.slot_count = memory.slots(options.Slots)
	native.inherit, native.inherit_count = memory.texts(options.Inherit)
	native.tenants, native.tenant_count = engineTenants(options.Tenants, &memory)
	native.tenant_size = C.sizeof_trackbed_engine_tenant
	if options.Policy != nil {
		native.policy = options.Policy.native(&memory)
	}
	reports := &reporter{}
	numbers := holdPorts(&options, c, reports, &native, &memory)

	var told *C.trackbed_error
	status := C.trackbed_engine_open(&native, &c.native, &told)
	if err := failure(status, told); err != nil {
		for _, number := range numbers { // the library has not taken them over
			trackbedGoDrop(number)
		}
		if cause := asError(c.failures.take()); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	live.Add(1)
	reports.opened(c)
	engine := &Engine{c}
	// Not here: the collector's goroutine must not wait for calls under way.
	runtime.SetFinalizer(engine, func(e *Engine) { go e.core.close() })
	return engine, nil
}

// holdPorts fills the tables of the ports that there are and gives their numbers.
func holdPorts(options *EngineOptions, c *core, reports *reporter,
	native *C.trackbed_engine_options, memory *arena) []C.uintptr_t {
	var numbers []C.uintptr_t
	held := func(p *port) C.uintptr_t {
		p.failures, p.inside = c.failures, c.inside
		number := hold(p)
		numbers = append(numbers, number)
		return number
	}
	if options.Executor != nil {
		most := 0
		if gangs, isGangs := options.Executor.(GangExecutor); isGangs {
			most = gangs.MaxClusterSize()
		}
		native.executor = (*C.trackbed_executor)(memory.allocate(C.sizeof_trackbed_executor))
		number := held(&port{name: "executor", executor: options.Executor, reports: reports})
		C.trackbed_go_executor(native.executor, number, signed(most))
	}
	if options.Clock != nil {
		native.clock = (*C.trackbed_clock)(memory.allocate(C.sizeof_trackbed_clock))
		C.trackbed_go_clock(native.clock, held(&port{name: "clock", clock: options.Clock}))
	}
	if options.Random != nil {
		native.random = (*C.trackbed_random)(memory.allocate(C.sizeof_trackbed_random))
		C.trackbed_go_random(native.random, held(&port{name: "random", random: options.Random}))
	}
	if options.Secrets != nil {
		native.secrets = (*C.trackbed_secret_source)(memory.allocate(C.sizeof_trackbed_secret_source))
		number := held(&port{name: "secret source", secrets: options.Secrets})
		C.trackbed_go_secrets(native.secrets, number)
	}
	if options.DeviceProbe != nil {
		native.device_probe = (*C.trackbed_device_probe)(memory.allocate(C.sizeof_trackbed_device_probe))
		number := held(&port{name: "device probe", probe: options.DeviceProbe})
		C.trackbed_go_probe(native.device_probe, number)
	}
	if options.ArtifactStore != nil {
		native.artifact_store = (*C.trackbed_artifact_store)(
			memory.allocate(C.sizeof_trackbed_artifact_store))
		number := held(&port{name: "artifact store", store: options.ArtifactStore})
		C.trackbed_go_artifacts(native.artifact_store, number)
	}
	if options.Policy != nil && options.Policy.HostOrder != nil {
		native.policy.host_order = orderTable(options.Policy.HostOrder, held, memory)
	}
	if options.Sink != nil {
		native.sink = (*C.trackbed_event_sink)(memory.allocate(C.sizeof_trackbed_event_sink))
		c.told = &told{port: &port{name: "event sink", sink: options.Sink}}
		c.told.port.told = c.told
		C.trackbed_go_sink(native.sink, held(c.told.port))
	}
	return numbers
}

// enter begins a call; the engine stays open until leave. Ports may make none: they would wait for
// themselves.
func (c *core) enter() error {
	if c.inside.here() {
		return &Error{Code: FailedPrecondition,
			Message: "a callback of an engine may not call it"}
	}
	return c.admit()
}

// admit is the same for what ports may call too.
func (c *core) admit() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.users++
	return nil
}

// refused is the error of a call that takes up a run, with what an order said of it.
func (c *core) refused(status C.trackbed_status, told *C.trackbed_error) error {
	err := failure(status, told)
	if known, isError := err.(*Error); isError {
		known.cause = c.failures.take()
	}
	return err
}

// tell tells the sink what has happened.
func (c *core) tell() {
	if c.told != nil && !c.inside.here() {
		c.told.deliver()
	}
}

func (c *core) leave() {
	c.tell()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.users--
	if c.users == 0 {
		c.idle.Broadcast()
	}
}

// Close ends Run and Wait, which return ErrClosed, and event streams; waits for calls under way, but
// not for readers of streams; gives the lease back and drops the ports. Attempts of the embedded
// executor go on; who opens the store next takes them up with Resume. A second Close returns at once.
// FailedPrecondition from within a port of this engine.
func (e *Engine) Close() error {
	runtime.SetFinalizer(e, nil)
	return e.core.close()
}

func (c *core) close() error {
	if err := c.enter(); err != nil {
		if err == ErrClosed {
			return nil
		}
		return err
	}
	c.leave()
	c.mutex.Lock()
	if c.closed {
		c.mutex.Unlock()
		return nil
	}
	c.closed = true
	close(c.closing)
	for c.users > 0 {
		c.idle.Wait()
	}
	streams := c.streams
	c.streams = nil
	c.mutex.Unlock()
	<-c.turn // nobody waits for the descriptor any more; and nobody will
	for s := range streams {
		s.shut()
	}
	C.trackbed_engine_close(c.native)
	live.Add(-1)
	return nil
}

// Step does all that can be done now and returns; it never waits for work. After an error that is
// not about a port the engine is broken: every call returns that error, and a new engine goes on
// from what is durable. What went wrong in a port that cannot return an error (Clock, Random, Sink),
// or in an Orderer, is returned here, and by Run and Wait.
func (e *Engine) Step() error {
	defer runtime.KeepAlive(e)
	return e.core.step()
}

func (c *core) step() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	var told *C.trackbed_error
	err := failure(C.trackbed_engine_step(c.native, &told), told)
	c.tell()
	c.tellChange()
	if err == nil {
		err = asError(c.failures.take())
	}
	return err
}

func (c *core) tellChange() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// NextDeadline is when to step at the latest, by the engine's clock; the zero time: when something
// happens. For programs that have a Clock of their own, and no Run.
func (e *Engine) NextDeadline() time.Time {
	if e.enter() != nil {
		return time.Time{}
	}
	defer e.leave()
	return goTime(C.trackbed_engine_next_deadline(e.native))
}

// Run takes runs on until the context ends or the engine is closed, and returns the error of that
// (ctx.Err(), ErrClosed), or one of Step's. Usually a goroutine of its own is in it. Several may be;
// one of them works.
func (e *Engine) Run(ctx context.Context) error {
	defer runtime.KeepAlive(e)
	return e.core.drive(ctx, nil)
}

// Wait waits until the run has ended, and is its state then. It takes runs on where no goroutine is
// in Run. The run may have failed: that is no error. Errors: those of Run; NotFound;
// FailedPrecondition: nobody drives that run, resume it.
func (e *Engine) Wait(ctx context.Context, run string) (*RunState, error) {
	defer runtime.KeepAlive(e)
	run, err := e.resolve(run)
	if err != nil {
		return nil, err
	}
	if err := e.core.drive(ctx, func() bool { return !e.IsActive(run) }); err != nil {
		return nil, err
	}
	state, err := e.Show(run)
	if err != nil {
		return nil, err
	}
	if !state.Status.Ended() {
		return nil, &Error{Code: FailedPrecondition,
			Message: "nobody drives run " + run + "; resume it"}
	}
	return state, nil
}

// drive steps the engine, or waits for the goroutine that does, until `done`; nil is never done.
func (c *core) drive(ctx context.Context, done func() bool) error {
	for {
		c.mutex.Lock()
		changed := c.changed
		c.mutex.Unlock()
		if done != nil && done() {
			return nil
		}
		if done == nil {
			changed = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closing:
			return ErrClosed
		case <-changed:
		case <-c.turn:
			err := c.driveAlone(ctx, done)
			c.turn <- struct{}{}
			return err
		}
	}
}

// A clock of the program's may jump without telling anybody.
const clockPeriod = 100 * time.Millisecond

func (c *core) driveAlone(ctx context.Context, done func() bool) error {
	if err := c.enter(); err != nil {
		return err
	}
	w, err := newWake(ctx, C.trackbed_engine_wake_descriptor(c.native), c.closing)
	c.leave()
	if err != nil {
		return err
	}
	defer w.close()
	var over error
	ended := func() bool {
		over = ctx.Err()
		if over == nil && c.isClosing() {
			over = ErrClosed
		}
		return over != nil
	}
	for !ended() {
		if err := c.step(); err != nil {
			return err
		}
		if done != nil && done() {
			return nil
		}
		if err := w.wait(c.wakeTime(), ended); err != nil {
			return err
		}
	}
	return over
}

// wakeTime is when to step at the latest, by the clock on the wall; zero: no limit.
func (c *core) wakeTime() time.Time {
	if c.enter() != nil {
		return past
	}
	defer c.leave()
	milliseconds := C.trackbed_engine_poll_timeout(c.native)
	wait := time.Duration(milliseconds) * time.Millisecond
	if c.hasClock && (milliseconds < 0 || wait > clockPeriod) {
		wait = clockPeriod
	} else if milliseconds < 0 {
		return time.Time{}
	}
	return time.Now().Add(wait)
}

// IsActive tells whether this engine drives the run, or any run when that is "".
func (e *Engine) IsActive(run string) bool {
	return e.core.isActive(run)
}

func (c *core) isActive(run string) bool {
	if c.enter() != nil {
		return false
	}
	defer c.leave()
	if run == "" {
		return C.trackbed_engine_is_active(c.native, nil, 0) != 0
	}
	return C.trackbed_engine_is_active(c.native, chars(run), sizeOf(run)) != 0
}

func (c *core) isClosing() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// Report tells what became of an attempt, as a Reporter does. FailedPrecondition: the engine has the
// embedded executor.
func (e *Engine) Report(report Report) error {
	defer runtime.KeepAlive(e)
	return e.core.report(report)
}
