package trackbed_test

// The vectors of tests/conformance: its README.md says what they mean. This knows the public part of
// the package only.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"trackbed"
)

type object = map[string]interface{}

type vector struct {
	Kind  string
	Given json.RawMessage
	Steps []json.RawMessage
}

// runner does one step; what it gives is compared as JSON.
type runner interface {
	do(verb string, step json.RawMessage) (interface{}, error)
	close()
}

func TestConformance(t *testing.T) {
	paths, err := filepath.Glob("../../tests/conformance/*.json")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, path := range paths {
		path := path
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var v vector
			read(t, text, &v)
			kinds[v.Kind] = true
			runVector(t, &v)
		})
	}
	if len(kinds) < 5 {
		t.Fatalf("found vectors of kinds %v, expected all five", kinds)
	}
}

func runVector(t *testing.T, v *vector) {
	var r runner
	switch v.Kind {
	case "pipelines":
		r = newPipelines(t, v.Given)
	case "allocations":
		r = newAllocations(t, v.Given)
	case "plans":
		r = newPlans(t, v.Given)
	case "partitions":
		r = partitions{t}
	case "events":
		r = newEvents(t, v.Given)
	default:
		t.Fatalf("found kind %q", v.Kind)
	}
	defer r.close()
	for number, text := range v.Steps {
		var step struct {
			Do     string
			Expect interface{}
		}
		read(t, text, &step)
		found, err := r.do(step.Do, text)
		var refused *trackbed.Error
		if errors.As(err, &refused) {
			found = object{"error": refused.Code.String(), "message": refused.Message}
		} else if err != nil {
			t.Fatalf("step %d: %s: %v", number+1, step.Do, err)
		}
		if plain := throughJSON(t, found); !reflect.DeepEqual(plain, step.Expect) {
			t.Errorf("step %d: %s:\nfound    %s\nexpected %s", number+1, step.Do,
				show(plain), show(step.Expect))
		}
	}
}

func read(t *testing.T, text []byte, into interface{}) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func throughJSON(t *testing.T, value interface{}) (plain interface{}) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	read(t, text, &plain)
	return plain
}

func show(value interface{}) string {
	text, _ := json.Marshal(value)
	return string(text)
}

func text(lines []string) string { return strings.Join(lines, "\n") }

func lines(text string) []string { return strings.Split(text, "\n") }

// ---- pipelines

var formats = map[string]trackbed.Format{
	"": trackbed.FormatYAML, "yaml": trackbed.FormatYAML, "json": trackbed.FormatJSON,
	"fasttrack": trackbed.FormatFastTrack, "canonical": trackbed.FormatCanonical,
	"protobuf": trackbed.FormatProtobuf,
}

type pipelines struct {
	t         *testing.T
	Pipelines map[string]struct {
		Text   []string
		Format string
		File   string
	}
}

func newPipelines(t *testing.T, given json.RawMessage) runner {
	p := &pipelines{t: t}
	read(t, given, p)
	return p
}

func (p *pipelines) close() {}

func (p *pipelines) do(verb string, given json.RawMessage) (interface{}, error) {
	var step struct {
		Pipeline, Format, Through string
		Parameters                object
	}
	read(p.t, given, &step)
	document := p.Pipelines[step.Pipeline]
	content := []byte(text(document.Text))
	options := trackbed.ParseOptions{Format: formats[document.Format], File: document.File}
	if verb == "validate" {
		found, err := trackbed.Validate(content, options)
		return found.JSON, err
	}
	pipeline, err := trackbed.Parse(content, options)
	if err != nil {
		return nil, err
	}
	defer pipeline.Close()
	switch verb {
	case "write":
		document, lost, err := pipeline.Write(formats[step.Format])
		found := object{"text": lines(string(document))}
		if step.Format == "fasttrack" {
			left := []string{}
			if lost != "" {
				left = lines(lost)
			}
			found["lost"] = left
		}
		return found, err
	case "reread":
		form := formats[step.Through]
		document, _, err := pipeline.Write(form)
		if err != nil {
			return nil, err
		}
		again, err := trackbed.Parse(document, trackbed.ParseOptions{Format: form})
		if err != nil {
			return nil, err
		}
		defer again.Close()
		return object{"version": again.Hash()}, nil
	case "graph":
		graph, err := pipeline.Graph(map[string]trackbed.GraphFormat{
			"text": trackbed.GraphText, "dot": trackbed.GraphDot,
			"mermaid": trackbed.GraphMermaid, "json": trackbed.GraphJSON,
		}[step.Format])
		return object{"text": lines(graph)}, err
	case "tasks":
		tasks, err := pipeline.Tasks()
		return object{"tasks": tasks}, err
	case "bind":
		bound, err := pipeline.Bind(step.Parameters)
		return object{"parameters": bound}, err
	default:
		return nil, fmt.Errorf("found %q", verb)
	}
}

// ---- allocations

type allocations struct {
	t         *testing.T
	node      []byte
	options   trackbed.SlotAllocatorOptions
	allocator *trackbed.SlotAllocator
	held      map[string]trackbed.AllocationID
}

func newAllocations(t *testing.T, given json.RawMessage) runner {
	var story struct {
		Node    []string
		Options struct {
			Strategy, NUMA string
			Fragmentation  *bool `json:"allow_fragmentation"`
		}
	}
	read(t, given, &story)
	a := &allocations{t: t, node: []byte(text(story.Node)), held: map[string]trackbed.AllocationID{}}
	a.options.Strategy = map[string]trackbed.Strategy{
		"": trackbed.StrategyDefault, "even": trackbed.StrategyEven, "fill": trackbed.StrategyFill,
		"best_fit": trackbed.StrategyBestFit,
	}[story.Options.Strategy]
	a.options.NUMA = map[string]trackbed.NUMA{
		"": trackbed.NUMADefault, "prefer_single_node": trackbed.NUMAPreferSingleNode,
		"interleaved": trackbed.NUMAInterleaved, "none": trackbed.NUMANone,
	}[story.Options.NUMA]
	a.options.NoFragmentation = story.Options.Fragmentation != nil && !*story.Options.Fragmentation
	a.allocator = a.create()
	return a
}

func (a *allocations) create() *trackbed.SlotAllocator {
	allocator, err := trackbed.NewSlotAllocator(a.node, a.options)
	if err != nil {
		a.t.Fatal(err)
	}
	return allocator
}

func (a *allocations) close() { a.allocator.Close() }

// demand reads amounts in the notation of their slots.
func (a *allocations) demand(given json.RawMessage) (*trackbed.SlotDemand, error) {
	var amounts map[string]string
	read(a.t, given, &amounts)
	slots := trackbed.Slots{}
	for slot, amount := range amounts {
		parsed, err := trackbed.ParseAmount(slot, amount)
		if err != nil {
			return nil, err
		}
		slots[slot] = parsed
	}
	return a.allocator.Prepare(slots, trackbed.EnforcementAccounting)
}

func (a *allocations) amount(slot string, amount trackbed.Amount) string {
	text, err := trackbed.FormatAmount(slot, amount)
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}

func (a *allocations) do(verb string, text json.RawMessage) (interface{}, error) {
	var step struct {
		Name, Device string
		Healthy      bool
		Slots        json.RawMessage
	}
	read(a.t, text, &step)
	switch verb {
	case "allocate":
		demand, err := a.demand(step.Slots)
		if err != nil {
			return nil, err
		}
		defer demand.Close()
		id, err := a.allocator.Allocate(demand)
		if err != nil {
			return nil, err
		}
		a.held[step.Name] = id
		parts, err := a.allocator.Parts(id)
		found := []object{}
		for _, part := range parts {
			found = append(found, object{
				"slot": part.Slot, "device": part.Device, "amount": a.amount(part.Slot, part.Amount),
				"enforcement": part.Enforcement.String(),
			})
		}
		return object{"parts": found}, err
	case "release":
		return object{}, a.allocator.Release(a.held[step.Name])
	case "explain":
		demand, err := a.demand(step.Slots)
		if err != nil {
			return nil, err
		}
		defer demand.Close()
		short, err := a.allocator.Explain(demand)
		if err != nil || short.Kind == trackbed.ShortfallNone {
			return object{"kind": "none"}, err
		}
		return object{
			"kind": short.Kind.String(), "slot": short.Slot, "message": short.Message,
			"needed":             a.amount(short.Slot, short.Needed),
			"free":               a.amount(short.Slot, short.Free),
			"most_on_one_device": a.amount(short.Slot, short.MostOnOneDevice),
			"missing":            a.amount(short.Slot, short.Missing),
		}, nil
	case "set_healthy":
		return object{}, a.allocator.SetHealthy(step.Device, step.Healthy)
	case "usage":
		usage, err := a.allocator.Usage()
		found := []object{}
		for _, d := range usage {
			found = append(found, object{
				"slot": d.Slot, "device": d.Device, "healthy": d.Healthy,
				"capacity": a.amount(d.Slot, d.Capacity), "used": a.amount(d.Slot, d.Used),
			})
		}
		return object{"devices": found}, err
	case "restart":
		snapshot, err := a.allocator.Snapshot()
		if err != nil {
			return nil, err
		}
		a.allocator.Close()
		a.allocator = a.create()
		err = a.allocator.Restore(snapshot)
		return object{"live": a.allocator.Len()}, err
	default:
		return nil, fmt.Errorf("found %q", verb)
	}
}

// ---- partitions

type partitions struct{ t *testing.T }

func (partitions) close() {}

func (p partitions) do(verb string, text json.RawMessage) (interface{}, error) {
	if verb == "models" {
		models, err := trackbed.MIGModels()
		return object{"models": models}, err
	}
	var step struct {
		Request struct {
			Devices []struct {
				ID, Model string
				Healthy   *bool
				Instances []trackbed.MIGInstance
			}
			Profiles    []string
			Reconfigure bool
		}
	}
	read(p.t, text, &step)
	var devices []trackbed.MIGDevice
	for _, device := range step.Request.Devices {
		devices = append(devices, trackbed.MIGDevice{
			ID: device.ID, Model: device.Model, Instances: device.Instances,
			Unhealthy: device.Healthy != nil && !*device.Healthy,
		})
	}
	plan, err := trackbed.PlanMIG(devices, step.Request.Profiles, step.Request.Reconfigure)
	if err != nil {
		return nil, err
	}
	steps, assignments := []object{}, []object{}
	for _, step := range plan.Steps {
		one := object{"do": step.Do, "device": step.Device}
		if step.Do == "destroy" {
			one["instance"] = step.Instance
		} else {
			one["profile"], one["id"], one["start"] = step.Profile, step.ID, step.Start
		}
		steps = append(steps, one)
	}
	for _, assigned := range plan.Assignments {
		one := object{"profile": assigned.Profile, "device": assigned.Device, "start": assigned.Start}
		if assigned.Instance != "" {
			one["instance"] = assigned.Instance
		}
		assignments = append(assignments, one)
	}
	return object{"steps": steps, "assignments": assignments}, nil
}

// ---- plans

type plans struct {
	t         *testing.T
	scheduler *trackbed.Scheduler
	nodes     map[string]trackbed.NodeID
	tenants   map[string]trackbed.TenantID

	tellsEnforcement bool
}

func enforcement(name string) trackbed.Enforcement {
	return map[string]trackbed.Enforcement{
		"accounting": trackbed.EnforcementAccounting, "advisory": trackbed.EnforcementAdvisory,
		"hardware": trackbed.EnforcementHardware,
	}[name]
}

// enforcementName is null where nothing is enforced.
func enforcementName(found trackbed.Enforcement) interface{} {
	if found < 0 {
		return nil
	}
	return found.String()
}

// enforcements of all, of which some are named.
func enforcements(named []string, all []trackbed.Enforcement, otherwise trackbed.Enforcement) {
	for i := range all {
		all[i] = otherwise
		if i < len(named) {
			all[i] = enforcement(named[i])
		}
	}
}

func units(number float64) trackbed.Amount { return trackbed.Amount(math.Round(number * 1000)) }

func moment(seconds float64) time.Time { return time.Unix(0, int64(math.Round(seconds*1e9))) }

func duration(seconds float64) time.Duration { return time.Duration(math.Round(seconds * 1e9)) }

// seconds is null for the zero time.
func seconds(t time.Time) interface{} {
	if t.IsZero() {
		return nil
	}
	return float64(t.UnixNano()) / 1e9
}

type amounts struct{ CPU, Memory, Devices *float64 }

func (a *amounts) byResource() map[trackbed.Resource]int64 {
	found := map[trackbed.Resource]int64{}
	if a.CPU != nil {
		found[trackbed.CPU] = int64(units(*a.CPU))
	}
	if a.Memory != nil {
		found[trackbed.Memory] = int64(*a.Memory)
	}
	if a.Devices != nil {
		found[trackbed.Devices] = int64(units(*a.Devices))
	}
	return found
}

func counted(given []float64) (amounts [trackbed.MaxCounted]trackbed.Amount) {
	for i, amount := range given {
		amounts[i] = units(amount)
	}
	return amounts
}

// The orders of the host's that vectors name.

type largestFirst struct{}

func (largestFirst) Rank(task trackbed.Task, _ time.Time) (int64, error) {
	if task.Priority < 0 {
		return 0, &trackbed.Error{Code: trackbed.InvalidArgument, Message: "no task below 0"}
	}
	return -int64(task.CPU), nil
}

type fewestRunning struct{}

func (fewestRunning) Rank(task trackbed.Task, submitted time.Time) (int64, error) {
	_, err := largestFirst{}.Rank(task, submitted)
	return 0, err
}

func (fewestRunning) Share(_ trackbed.TenantID, usage trackbed.TenantUsage, _ time.Time) (float64, error) {
	return float64(usage.Running), nil
}

func newPlans(t *testing.T, given json.RawMessage) runner {
	var story struct {
		Options struct {
			Order, Backfill, Placer string
			Preempt                 bool `json:"preempt_by_priority"`
			Reclaim                 bool
			Ageing                  json.RawMessage
			MinimumRunTime          float64 `json:"minimum_run_time"`
			Seed                    uint64
			Resources               []string
			HostOrder               string `json:"host_order"`
			Enforcement             *struct{ Whole, Share, Counted []string }
		}
		Nodes []struct {
			Name         string
			CPU          float64
			Memory       float64
			Devices      int
			Kind         uint8
			Location     uint32
			Architecture int
			Counted      []float64
		}
		Tenants []struct {
			Path              string
			Guaranteed, Limit amounts
			MaxRunning        int `json:"max_running"`
			Weight            float64
		}
	}
	read(t, given, &story)
	options := trackbed.SchedulerOptions{
		Order: map[string]trackbed.Order{
			"fifo": trackbed.OrderFIFO, "lifo": trackbed.OrderLIFO, "drf": trackbed.OrderDRF,
			"fair_share": trackbed.OrderFairShare,
		}[story.Options.Order],
		Backfill: map[string]trackbed.Backfill{
			"easy": trackbed.BackfillEasy, "strict": trackbed.BackfillStrict,
			"any": trackbed.BackfillAny, "conservative": trackbed.BackfillConservative,
		}[story.Options.Backfill],
		Placer:            story.Options.Placer,
		PreemptByPriority: story.Options.Preempt,
		Reclaim:           story.Options.Reclaim,
		MinimumRunTime:    duration(story.Options.MinimumRunTime),
		Seed:              story.Options.Seed,
		Resources:         story.Options.Resources,
	}
	switch story.Options.HostOrder {
	case "largest_first":
		options.HostOrder = largestFirst{}
	case "fewest_running":
		options.HostOrder = fewestRunning{}
	}
	if named := story.Options.Enforcement; named != nil {
		options.Enforcement = &trackbed.EnforcementTable{}
		enforcements(named.Whole, options.Enforcement.Whole[:], trackbed.EnforcementHardware)
		enforcements(named.Share, options.Enforcement.Share[:], trackbed.EnforcementAdvisory)
		enforcements(named.Counted, options.Enforcement.Counted[:], trackbed.EnforcementAccounting)
	}
	if string(story.Options.Ageing) == "null" {
		options.Ageing = -1
	} else if story.Options.Ageing != nil {
		var ageing float64
		read(t, story.Options.Ageing, &ageing)
		options.Ageing = duration(ageing)
	}
	p := &plans{t: t, nodes: map[string]trackbed.NodeID{},
		tenants:          map[string]trackbed.TenantID{"": trackbed.Root},
		tellsEnforcement: options.Enforcement != nil}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.scheduler, err = trackbed.NewScheduler(options)
	must(err)
	for _, node := range story.Nodes {
		capacity := trackbed.NodeCapacity{
			CPU: units(node.CPU), Memory: int64(node.Memory), Location: node.Location,
			Architecture: node.Architecture, Devices: make([]uint8, node.Devices),
			Counted: counted(node.Counted),
		}
		for i := range capacity.Devices {
			capacity.Devices[i] = node.Kind
		}
		p.nodes[node.Name], err = p.scheduler.AddNode(node.Name, capacity)
		must(err)
	}
	for _, tenant := range story.Tenants {
		parent, name := "", tenant.Path
		if slash := strings.LastIndex(tenant.Path, "/"); slash >= 0 {
			parent, name = tenant.Path[:slash], tenant.Path[slash+1:]
		}
		p.tenants[tenant.Path], err = p.scheduler.AddTenant(p.tenants[parent], name, trackbed.Quota{
			Guaranteed: tenant.Guaranteed.byResource(), Limit: tenant.Limit.byResource(),
			MaxRunning: tenant.MaxRunning, Weight: tenant.Weight,
		})
		must(err)
	}
	return p
}

func (p *plans) close() { _ = p.scheduler.Close() }

func (p *plans) task(given json.RawMessage) trackbed.Task {
	task := struct {
		ID                   uint64
		Tenant               string
		Priority, Members    int
		CPU, Memory, Devices float64
		OnDifferentNodes     bool `json:"on_different_nodes"`
		Preemptible          bool
		RunTime              float64 `json:"run_time"`
		Counted              []float64
		AtLeast              string `json:"at_least"`
	}{Preemptible: true}
	read(p.t, given, &task)
	return trackbed.Task{
		ID: trackbed.TaskID(task.ID), Tenant: p.tenants[task.Tenant], Priority: task.Priority,
		Members: task.Members, OnDifferentNodes: task.OnDifferentNodes,
		NotPreemptible: !task.Preemptible, RunTime: duration(task.RunTime),
		CPU: units(task.CPU), Memory: int64(task.Memory), Devices: units(task.Devices),
		Counted: counted(task.Counted), AtLeast: enforcement(task.AtLeast),
	}
}

func (p *plans) items(plan *trackbed.Plan) []object {
	found := []object{}
	for _, item := range plan.Items {
		one := object{"kind": item.Kind.String(), "task": item.Task}
		switch item.Kind {
		case trackbed.PlanEviction:
			one["other"] = item.Other
		case trackbed.PlanStart, trackbed.PlanRepair:
			one["member"], one["members"] = item.Member, item.Members
			one["node"] = p.scheduler.NodeName(item.Placement.Node)
			one["devices"] = append([]int{}, item.Placement.Devices()...)
		}
		if item.Kind == trackbed.PlanStart && p.tellsEnforcement {
			one["enforcement"] = enforcementName(item.Enforcement)
		}
		found = append(found, one)
	}
	return found
}

func reason(reason trackbed.WaitReason) object {
	return object{
		"rule": reason.Rule.String(), "needed": reason.Needed, "available": reason.Available,
		"ahead": reason.Ahead, "expected_start": seconds(reason.ExpectedStart),
		"sentence": reason.Sentence,
	}
}

func (p *plans) do(verb string, text json.RawMessage) (interface{}, error) {
	var step struct {
		Now  float64
		Task json.RawMessage
		Node string
	}
	read(p.t, text, &step)
	now := moment(step.Now)
	var id trackbed.TaskID
	if verb == "finish" || verb == "explain" {
		read(p.t, step.Task, &id)
	}
	switch verb {
	case "submit":
		return object{}, p.scheduler.Submit(p.task(step.Task), now)
	case "finish":
		return object{}, p.scheduler.Finish(id, now)
	case "schedule":
		plan, err := p.scheduler.Plan(now)
		if err != nil {
			return nil, err
		}
		return object{"plan": p.items(plan), "next": seconds(plan.Next)}, nil
	case "explain":
		found, err := p.scheduler.Explain(id, now)
		return reason(found), err
	case "predict":
		start, found, err := p.scheduler.Predict(p.task(step.Task), now)
		told := reason(found)
		if p.tellsEnforcement {
			told["enforcement"] = enforcementName(found.Enforcement)
		}
		return object{"start": seconds(start), "reason": told}, err
	case "drain_node":
		return object{}, p.scheduler.DrainNode(p.nodes[step.Node])
	case "open_node":
		return object{}, p.scheduler.OpenNode(p.nodes[step.Node])
	case "lose_node":
		plan, err := p.scheduler.LoseNode(p.nodes[step.Node], now)
		if err != nil {
			return nil, err
		}
		return object{"plan": p.items(plan)}, nil
	case "recount":
		return object{}, p.scheduler.Recount()
	default:
		return nil, fmt.Errorf("found %q", verb)
	}
}

// ---- events

// clock says what it is told.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

type outcome struct {
	Seconds          float64
	ExitCode         int `json:"exit_code"`
	Signal           int
	OutOfMemory      bool `json:"out_of_memory"`
	Message          string
	Outputs          json.RawMessage
	OutputDigest     string `json:"output_digest"`
	Lost             bool
	Refused          *string
	IgnoresTerminate bool `json:"ignores_terminate"`
}

// attempt is one that is under way.
type attempt struct {
	key     string
	number  int // in the order of starts
	end     time.Time
	outcome outcome
	stopped int // the signal
}

// script is an executor that runs nothing: attempts end as the step says, once they are settled.
type script struct {
	clock    *clock
	outcomes map[string][]outcome
	started  map[string]int
	count    int
	live     map[string]*attempt
}

func (s *script) Start(_ trackbed.Reporter, given trackbed.Attempt) error {
	task := strings.Split(given.Key, "/")[1]
	told := s.outcomes[task]
	number := s.started[task]
	s.started[task]++
	one := outcome{}
	if len(told) > 0 {
		if number >= len(told) {
			number = len(told) - 1
		}
		one = told[number]
	}
	if one.Refused != nil {
		return &trackbed.Error{Code: trackbed.Internal, Message: *one.Refused}
	}
	s.count++
	s.live[given.Key] = &attempt{key: given.Key, number: s.count, outcome: one,
		end: s.clock.now.Add(duration(one.Seconds))}
	return nil
}

func (s *script) Adopt(trackbed.Reporter, string, string) error { return trackbed.NotFound }

func (s *script) Stop(key string, mode trackbed.StopMode) error {
	one := s.live[key]
	if one == nil || (mode != trackbed.StopKill && one.outcome.IgnoresTerminate) {
		return nil
	}
	one.end, one.stopped = s.clock.now, 15
	if mode == trackbed.StopKill {
		one.stopped = 9
	}
	return nil
}

// settle reports what has ended.
func (s *script) settle(to trackbed.Reporter) error {
	var over []*attempt
	for _, one := range s.live {
		if !one.end.After(s.clock.now) {
			over = append(over, one)
		}
	}
	sort.Slice(over, func(i, j int) bool { return over[i].number < over[j].number })
	for _, one := range over {
		delete(s.live, one.key)
		report := trackbed.Report{Key: one.key, Signal: one.stopped}
		if one.stopped == 0 {
			report.ExitCode, report.Signal = one.outcome.ExitCode, one.outcome.Signal
			report.OutOfMemory, report.Message = one.outcome.OutOfMemory, one.outcome.Message
			report.OutputDigest = one.outcome.OutputDigest
			if one.outcome.Outputs != nil {
				report.OutputText = string(one.outcome.Outputs) + "\n"
			}
			if one.outcome.Lost {
				report.Kind = trackbed.AttemptLost
			}
		}
		if err := to.Report(report); err != nil {
			return err
		}
	}
	return nil
}

type events struct {
	t        *testing.T
	clock    *clock
	script   *script
	pipeline *trackbed.Pipeline
	engine   *trackbed.Engine
	run      string
	told     uint64
}

func newEvents(t *testing.T, given json.RawMessage) runner {
	var story struct{ Node, Pipeline []string }
	read(t, given, &story)
	e := &events{t: t, clock: &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	e.script = &script{clock: e.clock, live: map[string]*attempt{}}
	var err error
	if e.pipeline, err = trackbed.Parse([]byte(text(story.Pipeline)), trackbed.ParseOptions{}); err != nil {
		t.Fatal(err)
	}
	e.engine, err = trackbed.Open(trackbed.EngineOptions{
		InMemory: true, Node: []byte(text(story.Node)), Clock: e.clock, Executor: e.script,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *events) close() {
	if err := e.engine.Close(); err != nil {
		e.t.Error(err)
	}
	e.pipeline.Close()
}

func (e *events) do(verb string, text json.RawMessage) (interface{}, error) {
	step := struct {
		Parameters  object
		Cache       bool
		Outcomes    map[string][]outcome
		CancelAfter *float64 `json:"cancel_after"`
		Tasks       []string
	}{Cache: true}
	read(e.t, text, &step)
	e.script.outcomes, e.script.started = step.Outcomes, map[string]int{}
	switch verb {
	case "run":
		run, err := e.engine.Submit(e.pipeline, trackbed.SubmitOptions{
			Parameters: step.Parameters, NoCache: !step.Cache,
		})
		if err != nil {
			return nil, err
		}
		e.run, e.told = run, 0
	case "retry":
		if err := e.engine.Retry(e.run, step.Tasks...); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("found %q", verb)
	}
	var cancel time.Time
	if step.CancelAfter != nil {
		cancel = e.clock.now.Add(duration(*step.CancelAfter))
	}
	if err := e.drive(cancel); err != nil {
		return nil, err
	}
	return e.tell()
}

func (e *events) drive(cancel time.Time) error {
	for {
		if err := e.engine.Step(); err != nil {
			return err
		}
		if !e.engine.IsActive(e.run) {
			return nil
		}
		var next time.Time
		earlier := func(t time.Time) {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
		earlier(e.engine.NextDeadline())
		earlier(cancel)
		for _, one := range e.script.live {
			earlier(one.end)
		}
		if next.IsZero() {
			return errors.New("the run does not end")
		}
		if next.After(e.clock.now) {
			e.clock.now = next
		}
		if err := e.script.settle(e.engine); err != nil {
			return err
		}
		if !cancel.IsZero() && !e.clock.now.Before(cancel) {
			cancel = time.Time{}
			if err := e.engine.Cancel(e.run); err != nil {
				return err
			}
		}
	}
}

func (e *events) tell() (interface{}, error) {
	found := []object{}
	options := trackbed.EventsOptions{Run: e.run, From: e.told + 1, JSON: true}
	err := e.engine.EachEvent(context.Background(), options, func(event trackbed.Event) error {
		one := object{}
		read(e.t, event.JSON, &one)
		delete(one, "run")
		delete(one, "from_run")
		delete(one, "map_run")
		found = append(found, one)
		return nil
	})
	if err != nil {
		return nil, err
	}
	e.told += uint64(len(found))
	state, err := e.engine.Show(e.run)
	if err != nil {
		return nil, err
	}
	return object{"status": state.Status, "events": found}, nil
}
