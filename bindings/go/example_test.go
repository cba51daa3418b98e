package trackbed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"trackbed"
)

const machine = `{"name": "n1", "cpu": 8, "mem": "64g", "devices": [
	{"id": "gpu0", "slot": "cuda.shares"}, {"id": "gpu1", "slot": "cuda.shares"}]}`

const pipelineText = `
name: hello
parameters: {word: hello}
tasks:
- name: greet
  command: echo ${{ params.word }}
- name: count
  dependencies: [greet]
  command: echo two
`

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func Example() {
	pipeline, err := trackbed.Parse([]byte(pipelineText), trackbed.ParseOptions{})
	check(err)
	defer pipeline.Close()

	// In memory, with functions in place of processes. With a Home, and no Executor, tasks are
	// processes and all is durable.
	engine, err := trackbed.Open(trackbed.EngineOptions{
		InMemory: true,
		Slots:    trackbed.Slots{"cpu": 2 * trackbed.One},
		Executor: trackbed.ExecutorFunc(
			func(ctx context.Context, attempt trackbed.Attempt) (trackbed.Report, error) {
				fmt.Println(attempt.Command[0])
				return trackbed.Report{}, nil
			}),
	})
	check(err)
	defer engine.Close()

	run, err := engine.Submit(pipeline, trackbed.SubmitOptions{
		Parameters: map[string]interface{}{"word": "moon"},
	})
	check(err)
	state, err := engine.Wait(context.Background(), run)
	check(err)
	fmt.Println(state.Status)
	// Output:
	// echo moon
	// echo two
	// succeeded
}

func ExampleParse() {
	_, err := trackbed.Parse([]byte("name: x\ntasks:\n- name: a\n  comand: ls\n"),
		trackbed.ParseOptions{File: "x.yaml"})
	var found *trackbed.Error
	if errors.As(err, &found) {
		fmt.Println(found.Code)
		fmt.Println(found.Diagnostics[0])
	}
	// Output:
	// INVALID_ARGUMENT
	// x.yaml:4:3: tasks[0].comand: unknown field "comand"; did you mean "command"?
}

func ExamplePipeline_Graph() {
	pipeline, err := trackbed.Parse([]byte(pipelineText), trackbed.ParseOptions{})
	check(err)
	defer pipeline.Close()
	graph, err := pipeline.Graph(trackbed.GraphMermaid)
	check(err)
	fmt.Println(strings.Split(graph, "\n")[0])
	// Output: flowchart LR
}

func ExampleEngine_Events() {
	engine, run := exampleRun()
	defer engine.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // for readers that stop early
	go engine.Run(ctx)

	stream, err := engine.Events(ctx, trackbed.EventsOptions{Run: run})
	check(err)
	for event := range stream.C {
		fmt.Println(event.Sequence, event.Type)
	}
	check(stream.Err())
	// Output:
	// 1 run_submitted
	// 2 attempt_intended
	// 3 attempt_succeeded
	// 4 attempt_intended
	// 5 attempt_succeeded
	// 6 run_finished
}

func ExampleEngine_EachEvent() {
	engine, run := exampleRun()
	defer engine.Close()
	_, err := engine.Wait(context.Background(), run)
	check(err)
	// A reader that went away after the fourth goes on from the fifth.
	check(engine.EachEvent(context.Background(), trackbed.EventsOptions{Run: run, From: 5},
		func(event trackbed.Event) error {
			fmt.Println(event.Type, event.Task)
			return nil
		}))
	// Output:
	// attempt_succeeded count
	// run_finished
}

// exampleRun is a run under way.
func exampleRun() (*trackbed.Engine, string) {
	pipeline, err := trackbed.Parse([]byte(pipelineText), trackbed.ParseOptions{})
	check(err)
	defer pipeline.Close()
	engine, err := trackbed.Open(trackbed.EngineOptions{
		InMemory: true, Slots: trackbed.Slots{"cpu": trackbed.One},
		Executor: trackbed.ExecutorFunc(
			func(context.Context, trackbed.Attempt) (trackbed.Report, error) {
				return trackbed.Report{}, nil
			}),
	})
	check(err)
	run, err := engine.Submit(pipeline, trackbed.SubmitOptions{})
	check(err)
	return engine, run
}

// Without output: it needs the supervisor program beside the library.
func ExampleEngine_Logs() {
	engine, err := trackbed.Open(trackbed.EngineOptions{Home: "/var/lib/digits"})
	check(err)
	defer engine.Close()
	go engine.Run(context.Background())
	pipeline, err := trackbed.Load("digits.yaml")
	check(err)
	defer pipeline.Close()
	run, err := engine.Submit(pipeline, trackbed.SubmitOptions{})
	check(err)
	log := engine.Logs(context.Background(), run, "train", trackbed.LogOptions{Follow: true})
	_, err = io.Copy(os.Stdout, log)
	check(err)
}

func ExampleSlotAllocator() {
	allocator, err := trackbed.NewSlotAllocator([]byte(machine), trackbed.SlotAllocatorOptions{})
	check(err)
	defer allocator.Close()
	half, err := allocator.Prepare(trackbed.Slots{
		"cpu": 2 * trackbed.One, "cuda.shares": trackbed.One / 2,
	}, trackbed.EnforcementAccounting)
	check(err)
	defer half.Close()

	id, err := allocator.Allocate(half)
	check(err)
	parts, err := allocator.Parts(id)
	check(err)
	for _, part := range parts {
		fmt.Println(part.Slot, part.Device, part.Amount.Float())
	}
	check(allocator.Release(id))
	fmt.Println(allocator.Len(), "left")
	// Output:
	// cuda.shares gpu1 0.5
	// cpu  2
	// 0 left
}

func ExampleScheduler() {
	scheduler, err := trackbed.NewScheduler(trackbed.SchedulerOptions{
		Order: trackbed.OrderDRF, Resources: []string{"cpu", "mem", "GPUs"},
	})
	check(err)
	defer scheduler.Close()
	_, err = scheduler.AddNode("g1", trackbed.NodeCapacity{
		CPU: 16 * trackbed.One, Memory: 64 << 30, Devices: []uint8{0, 0},
	})
	check(err)
	team, err := scheduler.AddTenant(trackbed.Root, "team", trackbed.Quota{})
	check(err)
	now := time.Unix(0, 0)
	for id := trackbed.TaskID(1); id <= 2; id++ {
		check(scheduler.Submit(trackbed.Task{
			ID: id, Tenant: team, Devices: 3 * trackbed.One / 2, RunTime: time.Minute,
		}, now))
	}

	plan, err := scheduler.Plan(now)
	check(err)
	for _, item := range plan.Items {
		fmt.Println(item.Kind, item.Task, "on", scheduler.NodeName(item.Placement.Node),
			item.Placement.Devices())
	}
	reason, err := scheduler.Explain(2, now)
	check(err)
	fmt.Println(reason.Rule)
	// Output:
	// start 1 on g1 [1 0]
	// shortage
}

// pack is the simplest placer there is: the first node with room.
type pack struct{}

func (pack) Choose(view *trackbed.ClusterView, _ trackbed.Demand) (trackbed.Placement, bool, error) {
	for node := 0; node < view.Len(); node++ {
		if place, fits := view.Fits(trackbed.NodeID(node)); fits {
			return place, true, nil
		}
	}
	return trackbed.Placement{}, false, nil
}

func ExamplePlacer() {
	scheduler, err := trackbed.NewScheduler(trackbed.SchedulerOptions{HostPlacer: pack{}})
	check(err)
	defer scheduler.Close()
	_, err = scheduler.AddNode("g1", trackbed.NodeCapacity{Devices: []uint8{0}})
	check(err)
	check(scheduler.Submit(trackbed.Task{ID: 1, Devices: trackbed.One}, time.Unix(0, 0)))
	plan, err := scheduler.Plan(time.Unix(0, 0))
	check(err)
	fmt.Println(plan.Items[0].Placement.Devices())
	// Output: [0]
}
