package trackbed

// #include <stdint.h>
// #include <trackbed.h>
import "C"

import (
	"errors"
	"runtime/cgo"
	"runtime/debug"
	"sync"
	"time"
)

// Clock is where an engine reads the time. Now may not go back. It is called by several goroutines at
// once if several call the engine; see the package's comment on ports.
type Clock interface {
	Now() time.Time
}

// Random is where an engine gets random numbers: names of runs, jitter. A *rand.Rand of math/rand is
// one. It is called by one goroutine at a time; see the package's comment on ports.
type Random interface {
	Uint64() uint64
}

// SecretSource is where the values behind secret://SOURCE/NAME come from. See the package's comment
// on ports.
type SecretSource interface {
	Resolve(source, name string) (string, error)
}

// DeviceProbe says what there is to hand out: a node description in YAML or JSON. It is called once,
// by Open.
type DeviceProbe interface {
	Probe() ([]byte, error)
}

// A port that the library holds, until it drops it.
type port struct {
	name     string
	executor Executor
	reports  *reporter
	clock    Clock
	last     C.int64_t // what the clock said last
	random   Random
	secrets  SecretSource
	probe    DeviceProbe
	sink     func(Event)
	told     *told
	placer   Placer
	order    Orderer
	store    ArtifactStore
	inside   *inside   // of what calls it
	failures *failures // where what cannot be returned goes
}

// hold gives a port to the library: its number, for user_data.
func hold(p *port) C.uintptr_t {
	live.Add(1)
	return C.uintptr_t(cgo.NewHandle(p))
}

func held(number C.uintptr_t) *port { return cgo.Handle(number).Value().(*port) }

//export trackbedGoDrop
func trackbedGoDrop(number C.uintptr_t) {
	cgo.Handle(number).Delete()
	live.Add(-1)
}

// failures keeps the first thing that went wrong in a port, until it is asked for.
type failures struct {
	mutex sync.Mutex
	first error
}

func (f *failures) add(err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.first == nil {
		f.first = err
	}
}

func (f *failures) take() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	first := f.first
	f.first = nil
	return first
}

// asError is how a failure of a port's is returned.
func asError(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &Error{Code: codeOf(err), Message: err.Error(), cause: err}
}

// contain calls a port, on a goroutine of its own: a panic in it is an error, as good as one that it
// returns, and so is runtime.Goexit. On the goroutine that called the library that would leave the
// library's own functions, which hold locks, behind half-way.
func (p *port) contain(call func() error) error {
	done := make(chan error, 1)
	go func() {
		var err error = &GoexitError{Port: p.name}
		defer func() {
			if value := recover(); value != nil {
				err = &PanicError{Port: p.name, Value: value, Stack: debug.Stack()}
			}
			done <- err
		}()
		defer p.inside.enter()()
		err = call()
	}()
	return <-done
}

// give tells an error to the library.
func give(err error, out **C.trackbed_error) C.trackbed_status {
	if err == nil {
		return C.TRACKBED_OK
	}
	code := C.trackbed_status(codeOf(err))
	message := err.Error()
	var known *Error
	if errors.As(err, &known) && known == err {
		message = known.Message
	}
	if out != nil {
		*out = C.trackbed_error_create(code, chars(message), sizeOf(message))
	}
	return code
}

//export trackbedGoNow
func trackbedGoNow(number C.uintptr_t) C.int64_t {
	p := held(number)
	err := p.contain(func() error {
		p.last = C.int64_t(p.clock.Now().UnixNano())
		return nil
	})
	if err != nil {
		p.failures.add(err) // time stands still meanwhile
	}
	return p.last
}

//export trackbedGoNext
func trackbedGoNext(number C.uintptr_t) C.uint64_t {
	p := held(number)
	var next uint64
	err := p.contain(func() error {
		next = p.random.Uint64()
		return nil
	})
	if err != nil {
		p.failures.add(err)
	}
	return C.uint64_t(next)
}

//export trackbedGoResolve
func trackbedGoResolve(number C.uintptr_t, source, name C.trackbed_string,
	value *C.trackbed_answer, out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		found, err := p.secrets.Resolve(goString(source), goString(name))
		if err != nil {
			return err
		}
		return failure(C.trackbed_answer_set(value, chars(found), sizeOf(found)), nil)
	}), out)
}

//export trackbedGoProbe
func trackbedGoProbe(number C.uintptr_t, node *C.trackbed_answer,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		found, err := p.probe.Probe()
		if err != nil {
			return err
		}
		return failure(C.trackbed_answer_set(node, data(found), C.size_t(len(found))), nil)
	}), out)
}

//export trackbedGoEvent
func trackbedGoEvent(number C.uintptr_t, event *C.trackbed_event) {
	held(number).told.add(goEvent(event, nil))
}

// told is what there is to tell a sink. It is told at the end of each call, all events by one change
// of goroutines.
type told struct {
	port    *port
	mutex   sync.Mutex // of pending
	pending []Event
	telling sync.Mutex
}

func (t *told) add(event Event) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.pending = append(t.pending, event)
}

func (t *told) take() []Event {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	events := t.pending
	t.pending = nil
	return events
}

func (t *told) deliver() {
	t.telling.Lock()
	defer t.telling.Unlock()
	for events := t.take(); len(events) > 0; {
		done := 0
		err := t.port.contain(func() error {
			for _, event := range events {
				done++
				t.port.sink(event)
			}
			return nil
		})
		if err != nil {
			t.port.failures.add(err)
		}
		events = events[done:]
	}
}

//export trackbedGoStart
func trackbedGoStart(number C.uintptr_t, attempt *C.trackbed_attempt,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		return p.executor.Start(p.reports, goAttempt(attempt))
	}), out)
}

//export trackbedGoAdopt
func trackbedGoAdopt(number C.uintptr_t, key, folder C.trackbed_string,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		return p.executor.Adopt(p.reports, goString(key), goString(folder))
	}), out)
}

//export trackbedGoStop
func trackbedGoStop(number C.uintptr_t, key C.trackbed_string, mode C.int32_t,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		return p.executor.Stop(goString(key), StopMode(mode))
	}), out)
}

//export trackbedGoChoose
func trackbedGoChoose(number C.uintptr_t, native *C.trackbed_cluster_view,
	demand *C.trackbed_demand, placement *C.trackbed_placement,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	view := &ClusterView{native: native, demand: demand}
	defer func() { view.native, view.demand = nil, nil }()
	found := false
	err := p.contain(func() (err error) {
		var chosen Placement
		chosen, found, err = p.placer.Choose(view, goDemand(demand))
		*placement = chosen.native()
		return err
	})
	if err != nil {
		p.failures.add(err)
		return give(err, out)
	}
	if !found {
		return C.TRACKBED_NOT_FOUND
	}
	return C.TRACKBED_OK
}

//export trackbedGoObserve
func trackbedGoObserve(number C.uintptr_t, demand *C.trackbed_demand) {
	p := held(number)
	err := p.contain(func() error {
		p.placer.(DemandObserver).ObserveDemand(goDemand(demand))
		return nil
	})
	if err != nil {
		p.failures.add(err)
	}
}

//export trackbedGoRank
func trackbedGoRank(number C.uintptr_t, task *C.trackbed_task, submitted C.int64_t,
	rank *C.int64_t, out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	err := p.contain(func() error {
		found, err := p.order.Rank(goTask(task), goTime(submitted))
		*rank = C.int64_t(found)
		return err
	})
	if err != nil {
		p.failures.add(err)
	}
	return give(err, out)
}

//export trackbedGoShare
func trackbedGoShare(number C.uintptr_t, tenant C.uint32_t, usage *C.trackbed_tenant_usage,
	now C.int64_t, share *C.double, out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	err := p.contain(func() error {
		found, err := p.order.(ShareOrderer).Share(TenantID(tenant), goUsage(usage), goTime(now))
		*share = C.double(found)
		return err
	})
	if err != nil {
		p.failures.add(err)
	}
	return give(err, out)
}

//export trackbedGoHas
func trackbedGoHas(number C.uintptr_t, digest C.trackbed_string, present *C.int32_t,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		found, err := p.store.Has(goString(digest))
		*present = flag(found)
		return err
	}), out)
}

//export trackbedGoPut
func trackbedGoPut(number C.uintptr_t, digest, folder C.trackbed_string,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		return p.store.Put(goString(digest), goString(folder))
	}), out)
}

//export trackbedGoGet
func trackbedGoGet(number C.uintptr_t, digest, folder C.trackbed_string,
	out **C.trackbed_error) C.trackbed_status {
	p := held(number)
	return give(p.contain(func() error {
		return p.store.Get(goString(digest), goString(folder))
	}), out)
}
