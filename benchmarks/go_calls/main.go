// What a call costs from Go beside the same in C, in one run: a slot allocated and released, a queue
// planned; and how many events a second are delivered.
//
//	go run . [-quick] [-json FILE]
//
// Times are of the processor where one thread does the work, so that other programs disturb them
// less; of channels, which take two, by the clock. The best of several.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"strings"
	"time"

	"trackbed"
)

func main() {
	file := flag.String("json", "", "where the results go for programs")
	quick := flag.Bool("quick", false, "seconds instead of minutes")
	flag.Parse()
	calls, tasks, times := 1_000_000, 50_000, 5
	if *quick {
		calls, tasks, times = 200_000, 5_000, 3
	}
	runtime.LockOSThread() // whose processor time is taken
	found := map[string]float64{}
	for i := 0; i < times; i++ { // one after the other, so that both have the same neighbours
		least(found, "c_allocate_release_ns", cLoop(node(), calls))
		least(found, "go_allocate_release_ns", goLoop(calls))
	}
	found["go_over_c_per_call_ns"] =
		(found["go_allocate_release_ns"] - found["c_allocate_release_ns"]) / 2
	for i := 0; i < times; i++ {
		inC, starts := cPlan(planNodes, planTasks)
		inGo, same := goPlan(planNodes, planTasks)
		if starts == 0 || starts != same {
			log.Fatalf("%d tasks start from C, %d from Go", starts, same)
		}
		least(found, "c_plan_ns", inC)
		least(found, "go_plan_ns", inGo)
	}
	measureEvents(found, tasks, times)

	fmt.Printf("allocate and release from C     %8.0f ns\n", found["c_allocate_release_ns"])
	fmt.Printf("allocate and release from Go    %8.0f ns\n", found["go_allocate_release_ns"])
	fmt.Printf("more for a call                 %8.0f ns\n", found["go_over_c_per_call_ns"])
	fmt.Printf("a plan, 10,000 wait, from C     %8.2f ms\n", found["c_plan_ns"]/1e6)
	fmt.Printf("a plan, 10,000 wait, from Go    %8.2f ms\n", found["go_plan_ns"]/1e6)
	fmt.Printf("events to a function            %8.0f a second\n", found["events_per_second"])
	fmt.Printf("events by a channel             %8.0f a second\n", found["channel_events_per_second"])
	fmt.Printf("events as JSON                  %8.0f a second\n", found["json_events_per_second"])
	if *file != "" {
		text, err := json.Marshal(found)
		check(err)
		check(os.WriteFile(*file, text, 0o644))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func least(found map[string]float64, name string, value float64) {
	if value < 0 {
		log.Fatal(name + ": the library refused")
	}
	if old, known := found[name]; !known || value < old {
		found[name] = value
	}
}

func most(found map[string]float64, name string, value float64) {
	if value > found[name] {
		found[name] = value
	}
}

func node() string {
	devices := make([]string, 8)
	for i := range devices {
		devices[i] = fmt.Sprintf(`{"id": "gpu%d", "slot": "cuda.shares"}`, i)
	}
	return fmt.Sprintf(`{"name": "n1", "cpu": 64, "mem": "256g", "devices": [%s]}`,
		strings.Join(devices, ", "))
}

func goLoop(calls int) float64 {
	allocator, err := trackbed.NewSlotAllocator([]byte(node()), trackbed.SlotAllocatorOptions{})
	check(err)
	defer allocator.Close()
	demand, err := allocator.Prepare(trackbed.Slots{
		"cpu": 2 * trackbed.One, "cuda.shares": trackbed.One / 2,
	}, trackbed.EnforcementAccounting)
	check(err)
	defer demand.Close()
	start := processorSeconds()
	for i := 0; i < calls; i++ {
		id, err := allocator.Allocate(demand)
		check(err)
		check(allocator.Release(id))
	}
	return (processorSeconds() - start) / float64(calls) * 1e9
}

const planNodes, planTasks = 1_000, 10_000

// goPlan is cPlan from Go.
func goPlan(nodes, tasks int) (float64, int) {
	scheduler, err := trackbed.NewScheduler(trackbed.SchedulerOptions{})
	check(err)
	defer scheduler.Close()
	for i := 0; i < nodes; i++ {
		_, err := scheduler.AddNode(fmt.Sprint("n", i), trackbed.NodeCapacity{
			CPU: 64 * trackbed.One, Devices: make([]uint8, 8),
		})
		check(err)
	}
	now := time.Unix(0, 0)
	for i := 0; i < tasks; i++ {
		check(scheduler.Submit(trackbed.Task{
			ID: trackbed.TaskID(i + 1), CPU: trackbed.One, Devices: trackbed.One / 2,
		}, now))
	}
	starts := 0
	start := processorSeconds()
	plan, err := scheduler.Plan(now)
	check(err)
	for _, item := range plan.Items {
		if item.Kind == trackbed.PlanStart {
			starts++
		}
	}
	return (processorSeconds() - start) * 1e9, starts
}

// measureEvents reads all events of a run that has ended, again and again.
func measureEvents(found map[string]float64, tasks, times int) {
	var document strings.Builder
	document.WriteString("name: wide\ntasks:\n")
	for i := 0; i < tasks; i++ {
		fmt.Fprintf(&document, "- {name: t%d, command: \"true\", cache: false}\n", i)
	}
	pipeline, err := trackbed.Parse([]byte(document.String()), trackbed.ParseOptions{})
	check(err)
	defer pipeline.Close()
	engine, err := trackbed.Open(trackbed.EngineOptions{
		InMemory: true, Slots: trackbed.Slots{"cpu": trackbed.Amount(tasks) * trackbed.One},
		Executor: atOnce{},
	})
	check(err)
	defer engine.Close()
	run, err := engine.Submit(pipeline, trackbed.SubmitOptions{})
	check(err)
	_, err = engine.Wait(context.Background(), run)
	check(err)

	for i := 0; i < times; i++ {
		for _, asJSON := range []bool{false, true} {
			count := 0
			start := processorSeconds()
			check(engine.EachEvent(context.Background(),
				trackbed.EventsOptions{Run: run, JSON: asJSON},
				func(trackbed.Event) error { count++; return nil }))
			name := "events_per_second"
			if asJSON {
				name = "json_" + name
			}
			most(found, name, float64(count)/(processorSeconds()-start))
		}
		count := 0
		start := time.Now()
		stream, err := engine.Events(context.Background(), trackbed.EventsOptions{Run: run})
		check(err)
		for range stream.C {
			count++
		}
		check(stream.Err())
		most(found, "channel_events_per_second", float64(count)/time.Since(start).Seconds())
	}
}

// atOnce is an executor whose attempts have succeeded when they start.
type atOnce struct{}

func (atOnce) Start(reports trackbed.Reporter, attempt trackbed.Attempt) error {
	return reports.Report(trackbed.Report{Key: attempt.Key})
}
func (atOnce) Adopt(trackbed.Reporter, string, string) error { return trackbed.NotFound }
func (atOnce) Stop(string, trackbed.StopMode) error          { return nil }
