package trackbed

// #include <trackbed.h>
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
	"unsafe"
)

// Executor runs attempts for an engine. Each method returns at once; what happens later is told to
// the Reporter, from any goroutine. The methods are called by whoever steps the engine, never two at
// a time; see the package's comment on ports. ExecutorFunc makes one of a function.
type Executor interface {
	// Start starts the attempt, or watches the one of this key that was started before. An error
	// means that nothing runs and nothing will; an *Error with Unavailable may be tried again.
	Start(reports Reporter, attempt Attempt) error
	// Adopt watches an attempt started earlier, perhaps by another process. An *Error with NotFound
	// when its key was never started.
	Adopt(reports Reporter, key, folder string) error
	// Stop asks for the end of an attempt, which still ends with a report.
	Stop(key string, mode StopMode) error
}

// GangExecutor is an Executor that can run gangs, tasks of several members.
type GangExecutor interface {
	Executor
	MaxClusterSize() int // the longest gang it can run
}

// Reporter is told what became of attempts. From any goroutine, also within a method of the
// Executor.
type Reporter interface {
	// Report: NotFound for an attempt that is not under way; ErrClosed once the engine is closed.
	Report(report Report) error
}

// StopMode is how an attempt is stopped.
type StopMode int32

// The ways.
const (
	StopTerminate StopMode = C.TRACKBED_STOP_TERMINATE
	StopKill      StopMode = C.TRACKBED_STOP_KILL
)

// AssignedDevice is an accelerator that an attempt was given, or its part of one.
type AssignedDevice struct {
	Index       int // its place among the node's cards of this kind, from 0
	Slot        string
	ID          string
	Card        string // of which it is a part; its ID when it is one itself
	Amount      Amount
	MemoryBytes int64 // of the whole device; 0: unknown
}

// Attempt is one attempt at a task.
type Attempt struct {
	Key         string // "RUN/TASK/ATTEMPT": runs at most once, for ever
	Folder      string // the attempt's own, absolute; not made yet
	Shell       bool   // Command[0] is a script for a shell
	Command     []string
	Environment []string // NAME=VALUE, as os/exec wants it
	Resources   Slots
	Devices     []AssignedDevice
	JSON        json.RawMessage // all there is to know, secrets left out
}

// ReportKind is what a Report is about.
type ReportKind int32

// The kinds.
const (
	AttemptStarted       ReportKind = C.TRACKBED_ATTEMPT_STARTED // at most once, before the others; may be left out
	AttemptExited        ReportKind = C.TRACKBED_ATTEMPT_EXITED  // by itself or by a signal
	AttemptFailedToStart ReportKind = C.TRACKBED_ATTEMPT_FAILED_TO_START
	AttemptLost          ReportKind = C.TRACKBED_ATTEMPT_LOST // started, gone, and left no word of how it ended
)

// Report is what an Executor says about an attempt.
type Report struct {
	Kind         ReportKind // 0: AttemptExited
	Key          string
	ExitCode     int
	Signal       int // that ended it, or 0
	OutOfMemory  bool
	Message      string
	OutputText   string // lines NAME=VALUE: the outputs of the task; at most 1 MiB
	OutputDigest string // names the content of outputs/; empty: no files
	WallTime     time.Duration
	CPUTime      time.Duration
	MaxRSSBytes  int64
}

func goAttempt(native *C.trackbed_attempt) Attempt {
	attempt := Attempt{
		Key:       goString(native.key),
		Folder:    goString(native.folder),
		Shell:     native.shell != 0,
		JSON:      json.RawMessage(goString(native.json)),
		Resources: make(Slots, native.resource_count),
	}
	for _, word := range unsafe.Slice(native.command, int(native.command_count)) {
		attempt.Command = append(attempt.Command, goString(word))
	}
	variables := unsafe.Slice(native.environment, int(native.environment_count))
	for i := 0; i+1 < len(variables); i += 2 {
		attempt.Environment = append(attempt.Environment,
			goString(variables[i])+"="+goString(variables[i+1]))
	}
	for _, slot := range unsafe.Slice(native.resources, int(native.resource_count)) {
		attempt.Resources[goString(slot.name)] = Amount(slot.thousandths)
	}
	for i := uintptr(0); i < uintptr(native.device_count); i++ {
		// Items are as long as the library says, not as long as we know them.
		at := unsafe.Add(unsafe.Pointer(native.devices), i*uintptr(native.device_size))
		device := (*C.trackbed_assigned_device)(at)
		attempt.Devices = append(attempt.Devices, AssignedDevice{
			Index:       int(device.index),
			Slot:        goString(device.slot),
			ID:          goString(device.id),
			Card:        goString(device.card),
			Amount:      Amount(device.thousandths),
			MemoryBytes: int64(device.memory_bytes),
		})
	}
	return attempt
}

// reporter hands reports to its engine. While that is being opened it keeps them.
type reporter struct {
	mutex   sync.Mutex
	engine  *core
	pending []Report
}

func (r *reporter) Report(report Report) error {
	r.mutex.Lock()
	if r.engine == nil {
		r.pending = append(r.pending, report)
		r.mutex.Unlock()
		return nil
	}
	engine := r.engine
	r.mutex.Unlock()
	return engine.report(report)
}

// opened gives it the engine. A report that this refuses is about an attempt that nobody waits for.
func (r *reporter) opened(engine *core) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.engine = engine
	for _, report := range r.pending {
		_ = engine.report(report)
	}
	r.pending = nil
}

func (c *core) report(report Report) error {
	if err := c.admit(); err != nil {
		return err
	}
	defer c.leave()
	var memory arena
	defer memory.free()
	kind := report.Kind
	if kind == 0 {
		kind = AttemptExited
	}
	native := C.trackbed_attempt_report{
		struct_size:   C.sizeof_trackbed_attempt_report,
		kind:          C.int32_t(kind),
		key:           memory.text(report.Key),
		exit_code:     signed(report.ExitCode),
		signal:        signed(report.Signal),
		out_of_memory: flag(report.OutOfMemory),
		message:       memory.text(report.Message),
		output_text:   memory.text(report.OutputText),
		output_digest: memory.text(report.OutputDigest),
		wall_time_ns:  C.int64_t(report.WallTime),
		cpu_time_ns:   C.int64_t(report.CPUTime),
		max_rss_bytes: C.int64_t(report.MaxRSSBytes),
	}
	var told *C.trackbed_error
	return failure(C.trackbed_engine_report(c.native, &native, &told), told)
}

// ExecutorFunc makes an Executor of a function that runs one attempt and returns when that is over.
// Each attempt gets a goroutine. The context ends when the attempt is to stop. An error, a panic or
// runtime.Goexit is an attempt that failed: exit code 1 unless the report has another, with the error as message.
// Attempts do not outlive the process: an engine that takes over finds them lost.
func ExecutorFunc(run func(ctx context.Context, attempt Attempt) (Report, error)) Executor {
	return &functionExecutor{run: run, cancel: map[string]context.CancelFunc{}}
}

type functionExecutor struct {
	run    func(ctx context.Context, attempt Attempt) (Report, error)
	mutex  sync.Mutex
	cancel map[string]context.CancelFunc // of the attempts under way, by key
}

func (f *functionExecutor) Start(reports Reporter, attempt Attempt) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.cancel[attempt.Key] != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel[attempt.Key] = cancel
	go func() {
		started := time.Now()
		report, err := f.contained(ctx, attempt)
		report.Key = attempt.Key
		if err != nil {
			report.Message = err.Error()
			if report.ExitCode == 0 && report.Signal == 0 {
				report.ExitCode = 1
			}
		}
		if report.WallTime == 0 {
			report.WallTime = time.Since(started)
		}
		f.mutex.Lock()
		delete(f.cancel, attempt.Key)
		f.mutex.Unlock()
		cancel()
		_ = reports.Report(report) // an engine that was closed meanwhile asks the next one
	}()
	return nil
}

func (f *functionExecutor) contained(ctx context.Context, attempt Attempt) (r Report, err error) {
	p := port{name: "executor", inside: &inside{}}
	err = p.contain(func() (err error) {
		r, err = f.run(ctx, attempt)
		return err
	})
	return r, err
}

func (f *functionExecutor) Adopt(_ Reporter, key, _ string) error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("attempt %q does not run here", key)}
}

func (f *functionExecutor) Stop(key string, _ StopMode) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if cancel := f.cancel[key]; cancel != nil {
		cancel()
	}
	return nil
}
