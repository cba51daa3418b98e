package trackbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func newScheduler(t *testing.T, nodes, devices int, options SchedulerOptions) *Scheduler {
	t.Helper()
	scheduler, err := NewScheduler(options)
	must(t, err)
	t.Cleanup(func() { must(t, scheduler.Close()) })
	for i := 0; i < nodes; i++ {
		_, err := scheduler.AddNode(fmt.Sprintf("g%d", i), NodeCapacity{
			CPU: 8 * One, Memory: 64 << 30, Devices: make([]uint8, devices),
		})
		must(t, err)
	}
	return scheduler
}

func TestAGangStartsWhole(t *testing.T) {
	noLeaks(t)
	scheduler := newScheduler(t, 3, 2, SchedulerOptions{Resources: []string{"cpu", "mem", "gpu"}})
	for id := TaskID(1); id <= 2; id++ {
		must(t, scheduler.Submit(Task{ID: id, Devices: 2 * One, Members: 2,
			RunTime: 100 * time.Second}, at(0)))
	}
	plan, err := scheduler.Plan(at(0))
	must(t, err)
	if len(plan.Items) != 2 || plan.Items[0].Kind != PlanStart || plan.Items[1].Task != 1 ||
		plan.Items[1].Member != 1 || plan.Items[1].Members != 2 {
		t.Fatalf("found %+v", plan)
	}
	if devices := plan.Items[0].Placement.Devices(); len(devices) != 2 || devices[1] != 1 {
		t.Errorf("found %v", devices)
	}
	if name := scheduler.NodeName(plan.Items[0].Placement.Node); name != "g0" {
		t.Errorf("found %q", name)
	}
	reason, err := scheduler.Explain(2, at(0))
	must(t, err)
	if reason.Rule != WaitFragmentation || !strings.Contains(reason.Sentence, "needs") ||
		reason.ExpectedStart.Before(at(100)) {
		t.Errorf("found %+v", reason)
	}
	if scheduler.State(1) != ScheduledRunning || scheduler.State(2) != ScheduledWaiting ||
		scheduler.State(3) != ScheduledUnknown {
		t.Error("states are wrong")
	}
	start, _, err := scheduler.Predict(Task{ID: 9, Devices: 2 * One, RunTime: 50 * time.Second}, at(0))
	must(t, err)
	if !start.Equal(at(0)) { // it is over before the gang can start
		t.Errorf("found %v", start)
	}
	places, err := scheduler.Placements(1)
	must(t, err)
	if len(places) != 2 || places[0] != plan.Items[0].Placement {
		t.Errorf("found %v", places)
	}
	_, err = scheduler.Placements(2)
	wants(t, err, NotFound, "")
	must(t, scheduler.Finish(1, at(50)))
	plan, err = scheduler.Plan(at(50))
	must(t, err)
	if len(plan.Items) != 2 {
		t.Errorf("found %+v", plan)
	}
	must(t, scheduler.Recount())
	stats, err := scheduler.Stats()
	must(t, err)
	if stats.Nodes != 3 || stats.Running != 1 || stats.Devices != 6*One || stats.DevicesLeft != 2*One {
		t.Errorf("found %+v", stats)
	}
	wants(t, scheduler.Submit(Task{ID: 2, Devices: One}, at(50)), AlreadyExists, "")
	wants(t, scheduler.Submit(Task{ID: 3, Devices: 5 * One}, at(50)), ResourceExhausted, "gpu")
	for _, members := range []int{-1, 1 << 40} {
		err := scheduler.Submit(Task{ID: 3, Devices: One, Members: members}, at(50))
		if !errors.Is(err, ResourceExhausted) && !errors.Is(err, InvalidArgument) {
			t.Errorf("found %v", err)
		}
	}
	wants(t, scheduler.Submit(Task{ID: 3, Devices: -One}, at(50)), InvalidArgument, "")
}

func TestNodesThatMightBe(t *testing.T) {
	noLeaks(t)
	scheduler := newScheduler(t, 1, 1, SchedulerOptions{})
	must(t, scheduler.Submit(Task{ID: 1, Devices: One, RunTime: time.Minute}, at(0)))
	_, err := scheduler.Plan(at(0))
	must(t, err)
	more := WhatIf{Added: []NodeCapacity{{CPU: 8 * One, Memory: 1 << 30, Devices: make([]uint8, 4)}}}
	start, reason, err := scheduler.PredictIf(Task{ID: 2, Devices: One}, WhatIf{}, at(0))
	must(t, err)
	if start.Before(at(60)) || reason.Rule != WaitShortage {
		t.Errorf("found %v, %+v", start, reason)
	}
	start, _, err = scheduler.PredictIf(Task{ID: 2, Devices: 4 * One}, more, at(0))
	must(t, err)
	if !start.Equal(at(0)) {
		t.Errorf("found %v", start)
	}
	_, _, err = scheduler.PredictIf(Task{ID: 2, Devices: One}, WhatIf{Drained: []NodeID{7}}, at(0))
	wants(t, err, NotFound, "7")
	_, _, err = scheduler.PredictIf(Task{ID: 2, Devices: 4 * One}, WhatIf{}, at(0))
	wants(t, err, ResourceExhausted, "")
	_, _, err = scheduler.PredictIf(Task{ID: 2},
		WhatIf{Added: []NodeCapacity{{Devices: make([]uint8, 17)}}}, at(0))
	wants(t, err, InvalidArgument, "16")
	must(t, scheduler.Recount())
}

func TestNodesComeAndGo(t *testing.T) {
	noLeaks(t)
	scheduler := newScheduler(t, 1, 1, SchedulerOptions{})
	must(t, scheduler.DrainNode(0))
	must(t, scheduler.Submit(Task{ID: 1, Devices: One / 2}, at(0)))
	plan, err := scheduler.Plan(at(0))
	must(t, err)
	if len(plan.Items) != 0 {
		t.Errorf("found %+v", plan)
	}
	must(t, scheduler.OpenNode(0))
	plan, err = scheduler.Plan(at(1))
	must(t, err)
	if len(plan.Items) != 1 || plan.Items[0].Placement.SharedDevice != 0 {
		t.Fatalf("found %+v", plan)
	}
	capacity, state, err := scheduler.Node(0)
	must(t, err)
	if len(capacity.Devices) != 1 || state.Devices[0] != One/2 || state.Tasks != 1 || !state.Open {
		t.Errorf("found %+v, %+v", capacity, state)
	}
	twin := newScheduler(t, 1, 1, SchedulerOptions{})
	place := []Placement{plan.Items[0].Placement}
	must(t, twin.Restore(Task{ID: 1, Devices: One / 2}, place, at(1), at(2)))
	wants(t, twin.Restore(Task{ID: 2, Devices: One}, place, at(1), at(2)), FailedPrecondition, "")
	ended, err := scheduler.LoseNode(0, at(2))
	must(t, err)
	if len(ended.Items) != 1 || ended.Items[0].Kind != PlanEnded || ended.Items[0].Task != 1 {
		t.Errorf("found %+v", ended)
	}
	_, err = scheduler.LoseNode(7, at(2))
	wants(t, err, NotFound, "")
	_, err = scheduler.AddNode("many", NodeCapacity{Devices: make([]uint8, 17)})
	wants(t, err, InvalidArgument, "16")
}

func TestQuotas(t *testing.T) {
	noLeaks(t)
	scheduler := newScheduler(t, 1, 4, SchedulerOptions{Order: OrderDRF})
	team, err := scheduler.AddTenant(Root, "team", Quota{
		Limit: map[Resource]int64{Devices: int64(2 * One)}, Weight: 2,
	})
	must(t, err)
	ada, err := scheduler.AddTenant(team, "ada", Quota{})
	must(t, err)
	if found, err := scheduler.FindTenant("team/ada"); err != nil || found != ada {
		t.Errorf("found %v, %v", found, err)
	}
	tasks := []Task{
		{ID: 1, Tenant: ada, Devices: 2 * One}, {ID: 2, Tenant: ada, Devices: One},
		{ID: 3, Tenant: 99, Devices: One},
	}
	codes, err := scheduler.SubmitBatch(tasks, at(0))
	if err == nil || codes[0] != 0 || codes[1] != 0 || codes[2] == 0 || !errors.Is(err, codes[2]) {
		t.Fatalf("found %v, %v", codes, err)
	}
	plan, err := scheduler.Plan(at(0))
	must(t, err)
	if len(plan.Items) != 1 {
		t.Errorf("found %+v", plan)
	}
	reason, err := scheduler.Explain(2, at(0))
	must(t, err)
	if reason.Rule != WaitQuota || reason.QuotaRule != QuotaLimit || reason.QuotaTenant != team ||
		reason.QuotaResource != Devices || reason.QuotaAllowed != int64(2*One) {
		t.Errorf("found %+v", reason)
	}
	usage, err := scheduler.TenantUsage(team)
	must(t, err)
	if usage.Running != 1 || usage.Used[Devices] != int64(2*One) || usage.DominantShare != 0.25 { // by its weight
		t.Errorf("found %+v", usage)
	}
	must(t, scheduler.SetQuota(team, Quota{}))
	plan, err = scheduler.Plan(at(1))
	must(t, err)
	if len(plan.Items) != 1 || plan.Items[0].Task != 2 {
		t.Errorf("found %+v", plan)
	}
	wants(t, scheduler.SetQuota(team, Quota{Limit: map[Resource]int64{9: 1}}), InvalidArgument, "0 to 7")
}

func TestEviction(t *testing.T) {
	noLeaks(t)
	scheduler := newScheduler(t, 1, 1, SchedulerOptions{PreemptByPriority: true, Ageing: -1})
	must(t, scheduler.Submit(Task{ID: 1, Devices: One}, at(0)))
	_, err := scheduler.Plan(at(0))
	must(t, err)
	must(t, scheduler.Submit(Task{ID: 2, Devices: One, Priority: 5}, at(10)))
	plan, err := scheduler.Plan(at(10))
	must(t, err)
	if len(plan.Items) != 1 || plan.Items[0].Kind != PlanEviction || plan.Items[0].Task != 1 ||
		plan.Items[0].Other != 2 || plan.Items[0].Cause != EvictionPriority || plan.Next.IsZero() {
		t.Errorf("found %+v", plan)
	}
}

// firstFit is the simplest placer there is.
type firstFit struct{}

func (firstFit) Choose(view *ClusterView, _ Demand) (Placement, bool, error) {
	for node := 0; node < view.Len(); node++ {
		if place, fits := view.Fits(NodeID(node)); fits {
			return place, true, nil
		}
	}
	return Placement{}, false, nil
}

// lastFit watches, besides, what it is told.
type lastFit struct {
	seen []Demand
	view *ClusterView
}

func (l *lastFit) Choose(view *ClusterView, demand Demand) (Placement, bool, error) {
	l.view = view
	for node := view.Len() - 1; node >= 0; node-- {
		if place, fits := view.Fits(NodeID(node)); fits {
			capacity, state, err := view.Node(NodeID(node))
			if err != nil || len(capacity.Devices) != 1 || state.Devices[0] < demand.Devices {
				return Placement{}, false, errors.New("the view is wrong")
			}
			return place, true, nil
		}
	}
	return Placement{}, false, nil
}

func (l *lastFit) ObserveDemand(demand Demand) { l.seen = append(l.seen, demand) }

func TestAPlacerInGo(t *testing.T) {
	noLeaks(t)
	placer := &lastFit{}
	scheduler := newScheduler(t, 3, 1, SchedulerOptions{HostPlacer: placer})
	must(t, scheduler.Submit(Task{ID: 1, Devices: One / 2}, at(0)))
	plan, err := scheduler.Plan(at(0))
	must(t, err)
	if len(plan.Items) != 1 || plan.Items[0].Placement.Node != 2 {
		t.Errorf("found %+v", plan)
	}
	if len(placer.seen) == 0 || placer.seen[0].Devices != One/2 {
		t.Errorf("found %+v", placer.seen)
	}
	if _, fits := placer.view.Fits(0); fits || placer.view.Len() != 0 {
		t.Error("a view lives as long as the call")
	}
	_, _, err = placer.view.Node(0)
	wants(t, err, FailedPrecondition, "")
}

type placerFunc func() (Placement, bool, error)

func (p placerFunc) Choose(*ClusterView, Demand) (Placement, bool, error) { return p() }

// planWith plans for a task that needs the placer.
func planWith(t *testing.T, choose func(*Scheduler) (Placement, bool, error)) error {
	t.Helper()
	var scheduler *Scheduler
	scheduler = newScheduler(t, 1, 1, SchedulerOptions{
		HostPlacer: placerFunc(func() (Placement, bool, error) { return choose(scheduler) }),
	})
	must(t, scheduler.Submit(Task{ID: 1, Devices: One}, at(0)))
	plan, err := scheduler.Plan(at(0))
	if plan == nil || len(plan.Items) != 0 || scheduler.State(1) != ScheduledWaiting {
		t.Errorf("found %+v, expected a plan without a start", plan)
	}
	must(t, scheduler.Recount())
	return err
}

func TestAPanicOfAPlacerIsContained(t *testing.T) {
	noLeaks(t)
	err := planWith(t, func(*Scheduler) (Placement, bool, error) { panic("no idea") })
	wants(t, err, Internal, "no idea")
	var panicked *PanicError
	if !errors.As(err, &panicked) || panicked.Value != "no idea" || panicked.Port != "placer" ||
		!strings.Contains(string(panicked.Stack), "scheduler_test.go") {
		t.Errorf("found %+v", panicked)
	}
}

func TestErrorsOfAPlacerComeThrough(t *testing.T) {
	noLeaks(t)
	full := errors.New("all is full")
	err := planWith(t, func(*Scheduler) (Placement, bool, error) { return Placement{}, true, full })
	wants(t, err, Unknown, "all is full")
	if !errors.Is(err, full) {
		t.Errorf("found %v, expected the placer's error in it", err)
	}
	err = planWith(t, func(*Scheduler) (Placement, bool, error) {
		return Placement{}, false, Unavailable
	})
	wants(t, err, Unavailable, "UNAVAILABLE")
	err = planWith(t, func(*Scheduler) (Placement, bool, error) {
		return Placement{Node: 7}, true, nil
	})
	wants(t, err, Internal, "cannot be taken")
}

func TestAPlacerMayNotCallItsScheduler(t *testing.T) {
	noLeaks(t)
	var asked, closed error
	must(t, planWith(t, func(scheduler *Scheduler) (Placement, bool, error) {
		_, asked = scheduler.Stats()
		closed = scheduler.Close()
		return Placement{}, false, nil
	}))
	wants(t, asked, FailedPrecondition, "placer")
	wants(t, closed, FailedPrecondition, "placer")
}

func TestAWrongPlacerIsGivenBack(t *testing.T) {
	noLeaks(t)
	_, err := NewScheduler(SchedulerOptions{Placer: "defualt"})
	wants(t, err, InvalidArgument, "default")
	_, err = NewScheduler(SchedulerOptions{Order: 99, HostPlacer: firstFit{}})
	wants(t, err, InvalidArgument, "order")
}

func TestGroups(t *testing.T) {
	noLeaks(t)
	groups, err := NewGroups()
	must(t, err)
	defer groups.Close()
	team, err := groups.AddTenant(nil, Root, "team")
	must(t, err)
	other, err := groups.AddTenant(nil, Root, "other")
	must(t, err)
	must(t, groups.AddGroup(nil, "train", GroupRules{Allowed: []TenantID{team}},
		SchedulerOptions{HostPlacer: firstFit{}}))
	wants(t, groups.AddGroup(nil, "train", GroupRules{}, SchedulerOptions{HostPlacer: firstFit{}}),
		AlreadyExists, "train")
	operator := &Principal{Tenant: team, OperatesNodes: true}
	capacity := NodeCapacity{CPU: 8 * One, Memory: 1 << 30, Devices: make([]uint8, 2)}
	_, err = groups.AddNode(operator, "train", "n1", capacity)
	must(t, err)
	user := &Principal{Tenant: team}
	_, err = groups.AddNode(user, "train", "n2", capacity)
	wants(t, err, PermissionDenied, "")
	wants(t, groups.Submit(&Principal{Tenant: other}, "train", Task{ID: 1, Tenant: other}, at(0)),
		PermissionDenied, "")
	wants(t, groups.Submit(user, "rtain", Task{ID: 1, Tenant: team}, at(0)), NotFound, "rtain")
	must(t, groups.Submit(user, "train", Task{ID: 1, Tenant: team, Devices: One}, at(0)))
	must(t, groups.Submit(user, "train", Task{ID: 2, Tenant: team, Devices: One}, at(0)))
	start, _, err := groups.Predict(user, "train", Task{ID: 3, Tenant: team, Devices: One}, at(0))
	must(t, err)
	if !start.Equal(at(0)) {
		t.Errorf("found %v", start)
	}
	_, _, err = groups.Predict(&Principal{Tenant: other}, "train", Task{ID: 3, Tenant: other}, at(0))
	wants(t, err, PermissionDenied, "")
	must(t, groups.Withdraw(user, "train", 2, at(0)))
	usable, err := groups.Usable(user, WorkBatch)
	must(t, err)
	if len(usable) != 1 || usable[0] != "train" {
		t.Errorf("found %v", usable)
	}
	scheduler := groups.Scheduler("train")
	plan, err := scheduler.Plan(at(0))
	must(t, err)
	if len(plan.Items) != 1 || plan.Items[0].Task != 1 {
		t.Errorf("found %+v", plan)
	}
	must(t, scheduler.Close()) // does nothing
	must(t, scheduler.Recount())
	must(t, groups.SetNodeOpen(operator, "train", "n1", false))
	must(t, groups.SetRules(nil, "train", GroupRules{}))
	must(t, groups.SetQuota(nil, "train", team, Quota{MaxRunning: 1}))
	if groups.Scheduler("rtain") != nil {
		t.Error("there is no such group")
	}
	must(t, groups.Close())
	must(t, groups.Close())
	if _, err := scheduler.Stats(); err != ErrClosed {
		t.Errorf("found %v", err)
	}
}

func TestSimulation(t *testing.T) {
	noLeaks(t)
	nodes, jobs := "sn,cpu_milli,memory_mib,gpu,model\n", "job,vc,user,submitted,run_seconds,gpus\n"
	for i := 0; i < 2; i++ {
		nodes += fmt.Sprintf("n%d,32000,131072,4,A100\n", i)
	}
	for i := 0; i < 40; i++ {
		jobs += fmt.Sprintf("j%d,vc%d,u,%d,600,%d\n", i, i%2, 1000000+i*10, 1+i%4)
	}
	result, err := Simulate(SimulationOptions{
		Trace: TracePhilly, Nodes: []byte(nodes), Workload: []byte(jobs),
		Policy: SchedulerOptions{Order: OrderFairShare},
	})
	must(t, err)
	var found struct{ Jobs []json.RawMessage }
	must(t, json.Unmarshal(result.JSON, &found))
	if len(found.Jobs) != 40 || strings.Count(string(result.CSV), "\n") != 41 ||
		!strings.Contains(string(result.HTML), "<html") {
		t.Errorf("found %d jobs", len(found.Jobs))
	}
	_, err = Simulate(SimulationOptions{
		Trace: TracePhilly, Nodes: []byte("sn\nx\n"), Workload: []byte(jobs), NodesFile: "nodes.csv",
	})
	wants(t, err, InvalidArgument, "nodes.csv")
}
