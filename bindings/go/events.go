package trackbed

// #include <trackbed.h>
import "C"

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// EventType is a kind of event.
type EventType int32

// The kinds; numbers are stored and never change.
const (
	EventRunSubmitted       EventType = C.TRACKBED_EVENT_RUN_SUBMITTED
	EventRunResumed         EventType = C.TRACKBED_EVENT_RUN_RESUMED
	EventRunCancelRequested EventType = C.TRACKBED_EVENT_RUN_CANCEL_REQUESTED
	EventRunRetried         EventType = C.TRACKBED_EVENT_RUN_RETRIED
	EventRunFinished        EventType = C.TRACKBED_EVENT_RUN_FINISHED
	EventAttemptIntended    EventType = C.TRACKBED_EVENT_ATTEMPT_INTENDED
	EventAttemptSucceeded   EventType = C.TRACKBED_EVENT_ATTEMPT_SUCCEEDED
	EventAttemptFailed      EventType = C.TRACKBED_EVENT_ATTEMPT_FAILED
	EventAttemptCancelled   EventType = C.TRACKBED_EVENT_ATTEMPT_CANCELLED
	EventAttemptUnknown     EventType = C.TRACKBED_EVENT_ATTEMPT_UNKNOWN
	EventAttemptKnown       EventType = C.TRACKBED_EVENT_ATTEMPT_KNOWN
	EventTaskSkipped        EventType = C.TRACKBED_EVENT_TASK_SKIPPED
	EventTaskCached         EventType = C.TRACKBED_EVENT_TASK_CACHED
	EventTaskFailed         EventType = C.TRACKBED_EVENT_TASK_FAILED
	EventAttemptPreempting  EventType = C.TRACKBED_EVENT_ATTEMPT_PREEMPTING
	EventAttemptPreempted   EventType = C.TRACKBED_EVENT_ATTEMPT_PREEMPTED
	EventApprovalRequested  EventType = C.TRACKBED_EVENT_APPROVAL_REQUESTED
	EventApprovalDecided    EventType = C.TRACKBED_EVENT_APPROVAL_DECIDED
)

var eventNames = map[EventType]string{
	EventRunSubmitted:       "run_submitted",
	EventRunResumed:         "run_resumed",
	EventRunCancelRequested: "run_cancel_requested",
	EventRunRetried:         "run_retried",
	EventRunFinished:        "run_finished",
	EventAttemptIntended:    "attempt_intended",
	EventAttemptSucceeded:   "attempt_succeeded",
	EventAttemptFailed:      "attempt_failed",
	EventAttemptCancelled:   "attempt_cancelled",
	EventAttemptUnknown:     "attempt_unknown",
	EventAttemptKnown:       "attempt_known",
	EventTaskSkipped:        "task_skipped",
	EventTaskCached:         "task_cached",
	EventTaskFailed:         "task_failed",
	EventAttemptPreempting:  "attempt_preempting",
	EventAttemptPreempted:   "attempt_preempted",
	EventApprovalRequested:  "approval_requested",
	EventApprovalDecided:    "approval_decided",
}

var eventTypes = func() map[string]EventType {
	types := map[string]EventType{}
	for kind, name := range eventNames {
		types[name] = kind
	}
	return types
}()

// String is the name that stands in JSON: "run_finished", …
func (t EventType) String() string {
	if name := eventNames[t]; name != "" {
		return name
	}
	return "unknown"
}

// NoTask is the TaskIndex of events about a whole run.
const NoTask = -1

// Event is one thing that happened to a run.
type Event struct {
	Type      EventType
	Sequence  uint64 // within the run, from 1, without gaps
	Time      time.Time
	Run       string
	Task      string // empty: about the whole run
	TaskIndex int    // its place in the document, or NoTask; with JSON always NoTask
	Attempt   int    // from 1; 0: not about an attempt
	Detail    []byte // what else there is, as protobuf (run.proto); with JSON nil
	// With EventsOptions.JSON all of the event, as `trackbed events` prints it.
	JSON json.RawMessage
}

// EventsOptions say which events.
type EventsOptions struct {
	Run      string // "latest" too; empty: every run that this engine drives, from now on
	From     uint64 // of one run: the first sequence number wanted; 0: 1
	JSON     bool   // with all details, as JSON; takes several times as long
	Capacity int    // of all runs: events kept for a reader that is slow; 0: 65536
	Follow   bool   // of one run: goes on after its end, for who means to retry or resume it
}

// EventStream is events as they come.
type EventStream struct {
	C   <-chan Event // closed at the end
	err error
}

// Err is why the stream ended, once C is closed: nil after the end of the run; see Engine.EachEvent.
func (s *EventStream) Err() error { return s.err }

// Events is EachEvent as a channel. It ends with the context, which must end for who stops reading
// before C is closed.
func (e *Engine) Events(ctx context.Context, options EventsOptions) (*EventStream, error) {
	s, err := e.openStream(ctx, options)
	if err != nil {
		return nil, err
	}
	channel := make(chan Event, eventBatch)
	out := &EventStream{C: channel}
	go func() {
		defer close(channel)
		defer runtime.KeepAlive(e)
		out.err = s.each(ctx, func(event Event) error {
			select {
			case channel <- event:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			case <-s.engine.closing:
				return ErrClosed
			}
		})
	}()
	return out, nil
}

// EachEvent calls a function with each event, in order, on this goroutine. Of one run all events come
// from the store, whenever they happened: a reader that went away goes on from the last sequence
// number it saw, plus 1. It returns nil when the run has ended and its last event was told; the
// error of the function, or of the context; ErrClosed when the engine is closed; NotFound; and
// DataLoss when a slow reader of all runs lost some: the message says how many.
func (e *Engine) EachEvent(ctx context.Context, options EventsOptions, tell func(Event) error) error {
	defer runtime.KeepAlive(e)
	s, err := e.openStream(ctx, options)
	if err != nil {
		return err
	}
	return s.each(ctx, tell)
}

const eventBatch = 512

// stream is an event stream of the library's. Closing the engine shuts it.
type stream struct {
	engine  *core
	options EventsOptions
	wake    *wake
	mutex   sync.Mutex
	native  *C.trackbed_events // nil once it is shut
	items   []C.trackbed_event
	names   map[string]string // texts that were seen before: runs and tasks recur
	events  []Event
}

func (e *Engine) openStream(ctx context.Context, options EventsOptions) (*stream, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	s := &stream{engine: e.core, options: options, names: map[string]string{}}
	var err error
	if s.options.Run, err = e.resolve(options.Run); err != nil {
		return nil, err
	}
	var memory arena
	defer memory.free()
	native := C.trackbed_events_options{
		struct_size: C.sizeof_trackbed_events_options,
		run:         memory.text(s.options.Run),
		from:        C.uint64_t(options.From),
		capacity:    C.uint64_t(options.Capacity),
	}
	var told *C.trackbed_error
	status := C.trackbed_events_open(e.native, &native, &s.native, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	live.Add(1)
	if s.wake, err = newWake(ctx, C.trackbed_events_descriptor(s.native), e.closing); err != nil {
		s.shut()
		return nil, err
	}
	e.mutex.Lock()
	e.streams[s] = struct{}{} // still there: the engine waits for this call
	e.mutex.Unlock()
	return s, nil
}

// shut closes the stream, once.
func (s *stream) shut() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.native != nil {
		C.trackbed_events_close(s.native)
		s.native = nil
		live.Add(-1)
	}
}

func (s *stream) close() {
	s.wake.close()
	s.shut()
	s.engine.mutex.Lock()
	delete(s.engine.streams, s)
	s.engine.mutex.Unlock()
}

func (s *stream) each(ctx context.Context, tell func(Event) error) error {
	defer s.close()
	var last Event
	quiet := false // the run was seen to be at rest; what it did before that is read since
	ended := func() bool { return ctx.Err() != nil || s.engine.isClosing() }
	for {
		if s.engine.isClosing() {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		events, err := s.next()
		if err != nil {
			return err
		}
		for _, event := range events {
			if err := tell(event); err != nil {
				return err
			}
			last = event
		}
		if len(events) > 0 {
			quiet = false
			continue
		}
		if s.options.Run != "" && !s.options.Follow {
			if quiet && s.isOver(last) {
				return nil
			}
			if !quiet && !s.engine.isActive(s.options.Run) {
				quiet = true
				continue
			}
		}
		if err := s.wake.wait(time.Time{}, ended); err != nil {
			return err
		}
	}
}

// isOver tells whether nothing follows the last event, of a run that is not active.
func (s *stream) isOver(last Event) bool {
	if last.Sequence > 0 {
		return last.Type == EventRunFinished
	}
	// The reader had seen all before.
	state, err := s.engine.show(s.options.Run)
	return err == nil && state.Status.Ended()
}

// next is what there is now; the events are the stream's until the next call.
func (s *stream) next() ([]Event, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.native == nil {
		return nil, ErrClosed
	}
	s.events = s.events[:0]
	if s.options.JSON {
		return s.events, s.nextJSON()
	}
	if s.items == nil {
		s.items = make([]C.trackbed_event, eventBatch)
	}
	var count C.size_t
	var told *C.trackbed_error
	status := C.trackbed_events_next(s.native, &s.items[0], C.sizeof_trackbed_event, eventBatch,
		&count, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	for i := range s.items[:count] {
		s.events = append(s.events, goEvent(&s.items[i], s.names))
	}
	return s.events, nil
}

func (s *stream) nextJSON() error {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_events_next_json(s.native, eventBatch, &out, nil, &told)
	if err := failure(status, told); err != nil {
		return err
	}
	for _, line := range bytes.Split(bytes.TrimSpace(taken(&out)), []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		var read struct {
			Time      time.Time
			Run, Task string
			Sequence  uint64
			Event     string
			Attempt   int
		}
		if err := decode(line, &read); err != nil {
			return err
		}
		s.events = append(s.events, Event{
			Type: eventTypes[read.Event], Sequence: read.Sequence, Time: read.Time, Run: read.Run,
			Task: read.Task, TaskIndex: NoTask, Attempt: read.Attempt, JSON: line,
		})
	}
	return nil
}

// goEvent copies an event. `names`, which may be nil, keeps texts that recur.
func goEvent(native *C.trackbed_event, names map[string]string) Event {
	event := Event{
		Type:      EventType(native._type),
		Sequence:  uint64(native.sequence),
		Time:      time.Unix(0, int64(native.time_ns)).UTC(),
		Run:       recurring(native.run, names),
		Task:      recurring(native.task_name, names),
		TaskIndex: NoTask,
		Attempt:   int(native.attempt),
	}
	if native.task != C.TRACKBED_NO_TASK {
		event.TaskIndex = int(native.task)
	}
	if native.detail.size > 0 {
		event.Detail = C.GoBytes(unsafe.Pointer(native.detail.data), C.int(native.detail.size))
	}
	return event
}

func recurring(text C.trackbed_string, names map[string]string) string {
	if names == nil || text.size == 0 {
		return goString(text)
	}
	// The compiler makes no string for the look-up.
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(text.data)), int(text.size))
	name, known := names[string(bytes)]
	if !known {
		name = string(bytes)
		names[name] = name
	}
	return name
}
