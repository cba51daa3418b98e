package trackbed

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestMistakesHavePositions(t *testing.T) {
	noLeaks(t)
	_, err := Parse([]byte("name: x\ntasks:\n- name: a\n  comand: ls\n  retry: {delay: fast}\n"),
		ParseOptions{File: "x.yaml"})
	found := wants(t, err, InvalidArgument, "x.yaml")
	if len(found.Diagnostics) < 2 {
		t.Fatalf("found %v, expected all mistakes", found.Diagnostics)
	}
	var delay *Diagnostic
	for i := range found.Diagnostics {
		if strings.HasSuffix(found.Diagnostics[i].Path, "delay") {
			delay = &found.Diagnostics[i]
		}
	}
	if delay == nil || delay.File != "x.yaml" || delay.Line != 5 || delay.Column != 18 ||
		delay.Severity != SeverityError || delay.Expected == "" {
		t.Fatalf("found %+v", delay)
	}
	if !strings.HasPrefix(delay.String(), "x.yaml:5:18: tasks[0].retry.delay: ") {
		t.Fatalf("found %q", delay)
	}
}

func TestOnePipelineHasOneHashHoweverWritten(t *testing.T) {
	noLeaks(t)
	pipeline := parse(t, hello)
	if pipeline.Name() != "hello" || pipeline.TaskCount() != 2 || len(pipeline.Warnings()) != 0 {
		t.Fatalf("found %q, %d tasks, %v", pipeline.Name(), pipeline.TaskCount(), pipeline.Warnings())
	}
	canonical, err := pipeline.Canonical()
	must(t, err)
	for _, format := range []Format{FormatYAML, FormatJSON, FormatProtobuf} {
		document, lost, err := pipeline.Write(format)
		must(t, err)
		again, err := Parse(document, ParseOptions{Format: format})
		must(t, err)
		same, err := again.Canonical()
		must(t, err)
		if lost != "" || again.Hash() != pipeline.Hash() || !bytes.Equal(same, canonical) {
			t.Errorf("format %v: found %s, expected %s", format, again.Hash(), pipeline.Hash())
		}
		again.Close()
	}
	graph, err := pipeline.Graph(GraphMermaid)
	must(t, err)
	if !strings.Contains(graph, "one") || !strings.Contains(graph, "t0 ==> t1") {
		t.Errorf("found %q", graph)
	}
	text, err := pipeline.Tasks()
	must(t, err)
	var tasks []struct {
		Name         string
		Dependencies []string
	}
	must(t, json.Unmarshal(text, &tasks))
	if len(tasks) != 2 || tasks[1].Dependencies[0] != "one" {
		t.Errorf("found %v", tasks)
	}
}

func TestParametersAreBound(t *testing.T) {
	noLeaks(t)
	pipeline := parse(t, hello)
	bound, err := pipeline.Bind(nil)
	must(t, err)
	if bound["word"] != "hello" {
		t.Errorf("found %v", bound)
	}
	_, err = pipeline.Bind(map[string]interface{}{"wrod": "x"})
	wants(t, err, InvalidArgument, "wrod")
	_, err = pipeline.Bind(map[string]interface{}{"word": func() {}})
	wants(t, err, InvalidArgument, "unsupported type")
	var cause *json.UnsupportedTypeError
	if !errors.As(err, &cause) {
		t.Errorf("found %v, expected its cause in it", err)
	}
}

func TestLoad(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "p.yaml")
	_, err := Load(path)
	wants(t, err, InvalidArgument, "p.yaml")
	must(t, os.WriteFile(path, []byte(hello), 0o600))
	pipeline, err := Load(path)
	must(t, err)
	pipeline.Close()
}

func TestValidate(t *testing.T) {
	found, err := Validate([]byte("name: x\n"), ParseOptions{File: "x.yaml"})
	must(t, err)
	if found.Valid || len(found.Diagnostics) == 0 || found.Diagnostics[0].File != "x.yaml" {
		t.Errorf("found %+v", found)
	}
	found, err = Validate([]byte(hello), ParseOptions{})
	must(t, err)
	if !found.Valid || !strings.HasPrefix(found.Hash, "sha256:") {
		t.Errorf("found %+v", found)
	}
	found, err = Validate(nil, ParseOptions{})
	must(t, err)
	if found.Valid {
		t.Error("nothing is no pipeline")
	}
}

func TestClosedPipelines(t *testing.T) {
	noLeaks(t)
	pipeline := parse(t, hello)
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(closes bool) {
			defer group.Done()
			for n := 0; n < 200; n++ {
				if _, err := pipeline.Canonical(); err != nil && err != ErrClosed {
					t.Error(err)
				}
			}
			if closes {
				pipeline.Close()
			}
		}(i%2 == 0)
	}
	group.Wait()
	_, err := pipeline.Canonical()
	wants(t, err, FailedPrecondition, "closed")
	if !errors.Is(err, ErrClosed) || pipeline.Hash() != "" || pipeline.TaskCount() != 0 {
		t.Error("a closed pipeline has nothing")
	}
}

func TestForgottenObjectsAreFreed(t *testing.T) {
	before := live.Load()
	func() {
		pipeline, err := Parse([]byte(hello), ParseOptions{})
		must(t, err)
		allocator, err := NewSlotAllocator([]byte(node), SlotAllocatorOptions{})
		must(t, err)
		_, err = allocator.Prepare(Slots{"cpu": One}, EnforcementAccounting)
		must(t, err)
		_, err = NewScheduler(SchedulerOptions{HostPlacer: firstFit{}})
		must(t, err)
		groups, err := NewGroups()
		must(t, err)
		must(t, groups.AddGroup(nil, "g", GroupRules{}, SchedulerOptions{HostPlacer: firstFit{}}))
		_ = groups.Scheduler("g")
		engine, err := Open(inMemory())
		must(t, err)
		_, err = engine.Submit(pipeline, SubmitOptions{})
		must(t, err)
		if live.Load()-before < 8 {
			t.Fatalf("found %d objects, expected all of them counted", live.Load()-before)
		}
	}()
	eventually(t, "all that was forgotten is freed", func() bool { return live.Load() == before })
}
