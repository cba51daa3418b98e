package trackbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

const node = `{"name": "n1", "cpu": 8, "mem": "64g", "devices": [
	{"id": "gpu0", "slot": "cuda.shares"}, {"id": "gpu1", "slot": "cuda.shares"}]}`

const hello = `
name: hello
parameters: {word: hello}
tasks:
- name: one
  command: echo ${{ params.word }}; echo n=3 >> $TRACKBED_OUTPUT
  outputs: {n: integer}
- name: two
  command: echo two ${{ tasks.one.outputs.n }}
  dependencies: [one]
`

// noLeaks fails the test when objects of the library, ports or descriptors are left at its end.
func noLeaks(t *testing.T) {
	t.Helper()
	objects, files := live.Load(), descriptors(t)
	t.Cleanup(func() {
		if left := live.Load() - objects; left != 0 {
			t.Errorf("%d objects or ports are left", left)
		}
		// Readers of streams may be about to go.
		eventually(t, "all descriptors are closed", func() bool { return descriptors(t) <= files })
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	// Go's poller has descriptors of its own from the first use on.
	if reader, writer, err := os.Pipe(); err == nil {
		reader.Close()
		writer.Close()
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// within is a context that ends soon enough for a test that hangs to say where.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// wants checks the kind of an error and a part of its message.
func wants(t *testing.T, err error, code Code, part string) *Error {
	t.Helper()
	var found *Error
	if !errors.As(err, &found) {
		t.Fatalf("found %v, expected an error with code %v", err, code)
	}
	if found.Code != code || !errors.Is(err, code) || !strings.Contains(err.Error(), part) {
		t.Fatalf("found %v (%v), expected %v and %q", err, found.Code, code, part)
	}
	return found
}

func parse(t *testing.T, document string) *Pipeline {
	t.Helper()
	pipeline, err := Parse([]byte(document), ParseOptions{File: "test.yaml"})
	must(t, err)
	t.Cleanup(pipeline.Close)
	return pipeline
}

func open(t *testing.T, options EngineOptions) *Engine {
	t.Helper()
	engine, err := Open(options)
	must(t, err)
	t.Cleanup(func() { must(t, engine.Close()) })
	return engine
}

// succeeds is an executor whose attempts succeed at once.
func succeeds(_ context.Context, attempt Attempt) (Report, error) {
	if strings.Contains(attempt.Key, "/one/") {
		return Report{OutputText: "n=3\n"}, nil
	}
	return Report{}, nil
}

func inMemory() EngineOptions {
	return EngineOptions{
		InMemory: true, Node: []byte(node), Executor: ExecutorFunc(succeeds),
	}
}

// brief is how a run ended, for messages of tests.
func brief(state *RunState) string {
	text := string(state.Status)
	for _, task := range state.Tasks {
		text += fmt.Sprintf(", %s: %s at attempt %d", task.Name, task.State, task.Attempt)
		if task.Failure != nil {
			text += fmt.Sprintf(" (%+v)", *task.Failure)
		}
	}
	return text
}

// eventually waits for something that takes its time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("never: " + what)
		}
		runtime.GC()
	}
}
