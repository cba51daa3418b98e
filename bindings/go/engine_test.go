package trackbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// processes are options of an engine with the embedded executor.
func processes(t *testing.T) EngineOptions {
	t.Helper()
	if os.Getenv("TRACKBED_SUPERVISOR") == "" {
		t.Skip("TRACKBED_SUPERVISOR does not say where the supervisor is")
	}
	return EngineOptions{
		Home: t.TempDir(), Sandbox: SandboxNever, Durability: DurabilityProcess,
		Slots: Slots{"cpu": 4 * One},
	}
}

func TestARunOfProcesses(t *testing.T) {
	noLeaks(t)
	options := processes(t)
	engine := open(t, options)
	_, err := Open(options)
	wants(t, err, FailedPrecondition, "")
	_, err = engine.Wait(within(t), "latest")
	wants(t, err, NotFound, "nothing has run")
	_, err = engine.Wait(within(t), "nothing")
	wants(t, err, NotFound, "nothing")

	pipeline := parse(t, hello+"results: {}\n")
	_, err = engine.Submit(pipeline, SubmitOptions{Parameters: map[string]interface{}{"wrod": 1}})
	wants(t, err, InvalidArgument, "wrod")
	run, err := engine.Submit(pipeline, SubmitOptions{
		Parameters: map[string]interface{}{"word": "good day"},
	})
	must(t, err)
	if !engine.IsActive(run) || !engine.IsActive("") {
		t.Error("it is not active")
	}
	state, err := engine.Wait(within(t), "latest")
	must(t, err)
	if state.Run != run || state.Status != RunSucceeded || !state.Status.Ended() ||
		state.Parameters["word"] != "good day" || state.Finished.Before(state.Submitted) ||
		state.Task("two").State != TaskSucceeded || state.Task("three") != nil {
		t.Errorf("found %s", brief(state))
	}
	runs, err := engine.Runs(10)
	must(t, err)
	if len(runs) != 1 || runs[0].Run != run || runs[0].Version != pipeline.Hash() {
		t.Errorf("found %+v", runs)
	}
	values, folder, err := engine.Outputs(run, "one")
	must(t, err)
	if values["n"] != 3.0 || folder != "" {
		t.Errorf("found %v in %q", values, folder)
	}
	log, err := io.ReadAll(engine.Logs(within(t), run, "one", LogOptions{}))
	must(t, err)
	if string(log) != "good day\n" {
		t.Errorf("found %q", log)
	}
	for _, ask := range []func(run, task string) error{
		func(run, task string) error { _, err := engine.Why(run, task); return err },
		func(run, task string) error { _, err := engine.Explain(run, task); return err },
		func(run, task string) error { _, _, err := engine.Outputs(run, task); return err },
		func(run, task string) error {
			_, err := engine.Logs(within(t), run, task, LogOptions{Follow: true}).Read(make([]byte, 1))
			return err
		},
	} {
		if err := ask(run, "two"); err != nil && err != io.EOF {
			t.Error(err)
		}
		wants(t, ask(run, "tow"), NotFound, "tow")
		wants(t, ask("nothing", "two"), NotFound, "nothing")
	}
	names, err := engine.PublishResults(run, filepath.Join(t.TempDir(), "results"))
	must(t, err)
	if len(names) != 0 {
		t.Errorf("found %v", names)
	}
	wants(t, engine.Cancel(run), FailedPrecondition, "")
	wants(t, engine.Report(Report{Key: "x"}), FailedPrecondition, "embedded executor")

	must(t, engine.Retry(run, "two"))
	wants(t, engine.Retry(run, "two"), FailedPrecondition, "active")
}

func TestLogsAreFollowed(t *testing.T) {
	noLeaks(t)
	engine := open(t, processes(t))
	go engine.Run(within(t)) //nolint:errcheck // it ends with the engine
	gate := filepath.Join(t.TempDir(), "gate")
	pipeline := parse(t, fmt.Sprintf(`
name: slow
tasks:
- name: first
  command: "true"
- name: second
  dependencies: [first]
  command: echo one; until [ -e %s ]; do sleep 0.01; done; echo two
`, gate))
	run, err := engine.Submit(pipeline, SubmitOptions{})
	must(t, err)
	log := engine.Logs(within(t), run, "second", LogOptions{Follow: true}) // has not started
	some := make([]byte, 100)
	count, err := log.Read(some)
	must(t, err)
	if string(some[:count]) != "one\n" {
		t.Errorf("found %q", some[:count])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = io.ReadAll(engine.Logs(ctx, run, "second", LogOptions{Follow: true}))
	if err != context.DeadlineExceeded {
		t.Errorf("found %v", err)
	}
	must(t, os.WriteFile(gate, nil, 0o600))
	rest, err := io.ReadAll(log)
	must(t, err)
	if string(rest) != "two\n" {
		t.Errorf("found %q", rest)
	}
}

func TestAnotherEngineGoesOn(t *testing.T) {
	noLeaks(t)
	options := processes(t)
	pipeline := parse(t, "name: x\ntasks:\n- {name: one, command: sleep 0.3}\n")
	engine := open(t, options)
	run, err := engine.Submit(pipeline, SubmitOptions{})
	must(t, err)
	must(t, engine.Step())
	must(t, engine.Close())

	engine = open(t, options)
	runs, err := engine.Runs(1)
	must(t, err)
	if runs[0].Status.Ended() {
		t.Errorf("found %+v", runs)
	}
	_, err = engine.Wait(within(t), run)
	wants(t, err, FailedPrecondition, "resume")
	must(t, engine.Resume(run))
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if state.Status != RunSucceeded || state.Task("one").Attempt != 1 {
		t.Errorf("found %s", brief(state))
	}
}

func TestCancelAndRetry(t *testing.T) {
	noLeaks(t)
	release := make(chan struct{})
	options := inMemory()
	options.Executor = ExecutorFunc(func(ctx context.Context, attempt Attempt) (Report, error) {
		select {
		case <-ctx.Done():
			return Report{Signal: 15}, ctx.Err()
		case <-release:
			return succeeds(ctx, attempt)
		}
	})
	engine := open(t, options)
	go engine.Run(within(t)) //nolint:errcheck // it ends with the engine
	run, err := engine.Submit(parse(t, hello), SubmitOptions{})
	must(t, err)
	must(t, engine.Cancel(run))
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if state.Status != RunCancelled {
		t.Errorf("found %s", brief(state))
	}
	close(release)
	must(t, engine.Retry(run))
	state, err = engine.Wait(within(t), run)
	must(t, err)
	if state.Status != RunSucceeded {
		t.Errorf("found %s", brief(state))
	}
	wants(t, engine.Retry(run, "tow"), NotFound, "tow")
	wants(t, engine.Resume(run), FailedPrecondition, "")
	wants(t, engine.Cancel("nothing"), NotFound, "nothing")
}

func TestApprovals(t *testing.T) {
	noLeaks(t)
	engine := open(t, inMemory())
	run, err := engine.Submit(parse(t, `
name: asks
tasks:
- {name: a, approval: {message: Go on, approvers: [ada]}}
- {name: b, approval: And further, dependencies: [a]}
- {name: c, command: x, dependencies: [b]}
`), SubmitOptions{})
	must(t, err)
	must(t, engine.Step())
	state, err := engine.Show(run)
	must(t, err)
	a := state.Task("a")
	if a.State != TaskWaiting || a.Approval == nil || a.Approval.Message != "Go on" || a.Approval.Decision != nil {
		t.Errorf("found %+v", a)
	}
	runs, err := engine.Runs(1)
	must(t, err)
	if len(runs) != 1 || len(runs[0].AsksForApproval) != 1 || runs[0].AsksForApproval[0] != "a" {
		t.Errorf("found %+v", runs)
	}
	wants(t, engine.Approve(run, "a", "bob", ""), FailedPrecondition, "may not decide")
	wants(t, engine.Approve(run, "a", "", ""), InvalidArgument, "by")
	wants(t, engine.Reject(run, "x", "ada", ""), NotFound, "x")
	must(t, engine.Approve(run, "a", "ada", "fine"))
	wants(t, engine.Reject(run, "a", "ada", ""), FailedPrecondition, "decided already: approved by ada")
	must(t, engine.Step())
	must(t, engine.Reject("latest", "b", "bob", "no"))
	go engine.Run(within(t)) //nolint:errcheck // it ends with the engine
	state, err = engine.Wait(within(t), run)
	must(t, err)
	b := state.Task("b")
	if state.Status != RunFailed || b.Failure == nil || b.Failure.Reason != "rejected" ||
		b.Approval.Decision == nil || *b.Approval.Decision != (Decision{By: "bob", Comment: "no"}) ||
		*state.Task("a").Approval.Decision != (Decision{Approved: true, By: "ada", Comment: "fine"}) {
		t.Errorf("found %s", brief(state))
	}
}

func TestContextsEndWaiting(t *testing.T) {
	noLeaks(t)
	options := inMemory()
	options.Executor = ExecutorFunc(func(ctx context.Context, _ Attempt) (Report, error) {
		<-ctx.Done()
		return Report{}, ctx.Err()
	})
	engine := open(t, options)
	run, err := engine.Submit(parse(t, hello), SubmitOptions{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	calls := []func() error{
		func() error { return engine.Run(ctx) },
		func() error { return engine.Run(ctx) },
		func() error { _, err := engine.Wait(ctx, run); return err },
		func() error { _, err := engine.Wait(ctx, run); return err },
		func() error {
			return engine.EachEvent(ctx, EventsOptions{Run: run}, func(Event) error { return nil })
		},
		func() error {
			return engine.EachEvent(ctx, EventsOptions{}, func(Event) error { return nil })
		},
		func() error {
			stream, err := engine.Events(ctx, EventsOptions{Run: run})
			if err != nil {
				return err
			}
			for range stream.C {
			}
			return stream.Err()
		},
	}
	for _, call := range calls {
		go func(call func() error) { ended <- call() }(call)
	}
	time.Sleep(20 * time.Millisecond)
	cancel()
	for range calls {
		if err := <-ended; err != context.Canceled {
			t.Errorf("found %v", err)
		}
	}
	// The same, when the engine is closed.
	ctx = within(t)
	for _, call := range calls {
		go func(call func() error) { ended <- call() }(call)
	}
	time.Sleep(20 * time.Millisecond)
	must(t, engine.Close())
	for range calls {
		if err := <-ended; err != ErrClosed {
			t.Errorf("found %v", err)
		}
	}
}

func TestClosedEngines(t *testing.T) {
	noLeaks(t)
	engine := open(t, inMemory())
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			must(t, engine.Close())
		}()
	}
	group.Wait()
	_, err := engine.Runs(1)
	wants(t, err, FailedPrecondition, "closed")
	for _, err := range []error{
		engine.Step(), engine.Run(context.Background()), engine.Cancel("x"), engine.Report(Report{}),
		engine.EachEvent(context.Background(), EventsOptions{}, nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("found %v", err)
		}
	}
	if engine.IsActive("") || !engine.NextDeadline().IsZero() {
		t.Error("a closed engine has nothing")
	}
}

func TestManyGoroutinesOneEngine(t *testing.T) {
	noLeaks(t)
	engine := open(t, inMemory())
	pipeline := parse(t, hello)
	ctx := within(t)
	for i := 0; i < 2; i++ {
		go engine.Run(ctx) //nolint:errcheck // it ends with the engine
	}
	var group sync.WaitGroup
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for n := 0; n < 10; n++ {
				run, err := engine.Submit(pipeline, SubmitOptions{
					Parameters: map[string]interface{}{"word": fmt.Sprint(i, n)},
				})
				if err != nil {
					t.Error(err)
					return
				}
				stream, err := engine.Events(ctx, EventsOptions{Run: run, JSON: i%2 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				next := uint64(1)
				for event := range stream.C {
					if event.Sequence != next || event.Run != run {
						t.Errorf("found %+v, expected number %d", event, next)
					}
					next++
				}
				if stream.Err() != nil || next < 6 {
					t.Errorf("found %v after %d events", stream.Err(), next-1)
				}
				state, err := engine.Wait(ctx, run)
				if err != nil {
					t.Error(err)
				} else if state.Status != RunSucceeded {
					t.Errorf("found %s", brief(state))
				}
			}
		}(i)
	}
	group.Wait()
}

func TestEnginesThatComeAndGoLeaveNothing(t *testing.T) {
	noLeaks(t)
	pipeline := parse(t, hello)
	cycles := 10_000
	if raceDetector {
		cycles = 500
	}
	resident := 0
	for i := 0; i < cycles; i++ {
		engine, err := Open(inMemory())
		must(t, err)
		run, err := engine.Submit(pipeline, SubmitOptions{})
		must(t, err)
		stream, err := engine.Events(context.Background(), EventsOptions{})
		must(t, err)
		_, err = engine.Wait(context.Background(), run)
		must(t, err)
		must(t, engine.Close())
		for range stream.C {
		}
		if stream.Err() != ErrClosed {
			t.Fatalf("found %v", stream.Err())
		}
		if i == cycles/4 {
			resident = residentBytes(t)
		}
	}
	if more := residentBytes(t) - resident; more > 8<<20 && !raceDetector {
		t.Errorf("%d bytes of memory are left", more)
	}
}

// residentBytes is the memory of this process, once Go has given back what it can.
func residentBytes(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(text), &size, &resident)
	must(t, err)
	return resident * os.Getpagesize()
}

func TestWrongOptions(t *testing.T) {
	noLeaks(t)
	_, err := Open(EngineOptions{})
	wants(t, err, InvalidArgument, "options.home")
	_, err = Open(EngineOptions{InMemory: true, Executor: ExecutorFunc(succeeds), Sink: func(Event) {},
		Random: rand.New(rand.NewSource(1)), Clock: &virtualClock{}, Secrets: secrets{},
		Slots: Slots{"cup": One}})
	wants(t, err, NotFound, "cup")
	_, err = Open(EngineOptions{Home: t.TempDir(), Supervisor: "/nowhere"})
	wants(t, err, NotFound, "/nowhere")
}

func TestEvents(t *testing.T) {
	noLeaks(t)
	engine := open(t, inMemory())
	run, err := engine.Submit(parse(t, hello), SubmitOptions{})
	must(t, err)
	_, err = engine.Wait(within(t), run)
	must(t, err)

	read := func(options EventsOptions) []Event {
		var events []Event
		must(t, engine.EachEvent(within(t), options, func(event Event) error {
			events = append(events, event)
			return nil
		}))
		return events
	}
	all := read(EventsOptions{Run: "latest"})
	last := all[len(all)-1]
	if all[0].Type != EventRunSubmitted || all[0].Type.String() != "run_submitted" ||
		all[0].TaskIndex != NoTask || last.Type != EventRunFinished || all[1].Task != "one" ||
		all[1].Attempt != 1 || all[1].TaskIndex != 0 || len(all[0].Detail) == 0 {
		t.Errorf("found %+v", all)
	}
	texts := read(EventsOptions{Run: run, JSON: true})
	for i := range all {
		if texts[i].Type != all[i].Type || texts[i].Sequence != all[i].Sequence ||
			texts[i].Task != all[i].Task || len(texts[i].JSON) == 0 {
			t.Errorf("found %+v, expected %+v", texts[i], all[i])
		}
	}
	if !strings.Contains(string(texts[len(texts)-1].JSON), `"status":"succeeded"`) {
		t.Errorf("found %s", texts[len(texts)-1].JSON)
	}
	if rest := read(EventsOptions{Run: run, From: last.Sequence}); len(rest) != 1 ||
		rest[0].Type != EventRunFinished {
		t.Errorf("found %+v", rest)
	}
	if rest := read(EventsOptions{Run: run, From: last.Sequence + 1}); len(rest) != 0 {
		t.Errorf("found %+v", rest)
	}
	enough := errors.New("enough")
	err = engine.EachEvent(within(t), EventsOptions{Run: run}, func(Event) error { return enough })
	if err != enough {
		t.Errorf("found %v", err)
	}
	_, err = engine.Events(within(t), EventsOptions{Run: "nothing"})
	wants(t, err, NotFound, "nothing")

	// Who follows sees the run go on.
	ctx, cancel := context.WithCancel(within(t))
	stream, err := engine.Events(ctx, EventsOptions{Run: run, Follow: true})
	must(t, err)
	for range all {
		<-stream.C
	}
	must(t, engine.Retry(run, "two"))
	if event := <-stream.C; event.Type != EventRunRetried || event.Sequence != last.Sequence+1 {
		t.Errorf("found %+v", event)
	}
	cancel()
	for range stream.C {
	}
	if stream.Err() != context.Canceled {
		t.Errorf("found %v", stream.Err())
	}
}

func TestASlowReaderOfAllRunsIsTold(t *testing.T) {
	noLeaks(t)
	engine := open(t, inMemory())
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	s, err := engine.openStream(ctx, EventsOptions{Capacity: 2})
	must(t, err)
	run, err := engine.Submit(parse(t, hello), SubmitOptions{})
	must(t, err)
	_, err = engine.Wait(within(t), run)
	must(t, err)
	err = s.each(ctx, func(Event) error { return nil })
	wants(t, err, DataLoss, "events")
}
