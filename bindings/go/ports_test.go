package trackbed

import (
	"context"
	"errors"
	"math/rand"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// virtualClock passes only when told to.
type virtualClock struct {
	mutex sync.Mutex
	now   time.Time
	fails bool
}

func (v *virtualClock) Now() time.Time {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.fails {
		panic("the clock has stopped")
	}
	if v.now.IsZero() {
		v.now = time.Unix(1_700_000_000, 0)
	}
	return v.now
}

func (v *virtualClock) set(now time.Time) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.now = now
}

type secrets struct{}

func (secrets) Resolve(source, name string) (string, error) {
	switch {
	case source != "env":
		return "", NotFound
	case name == "panic":
		panic("the vault is open")
	default:
		return "value of " + name, nil
	}
}

// scripted is an executor that does what each test says.
type scripted struct {
	start func(reports Reporter, attempt Attempt) error
	adopt func(reports Reporter, key, folder string) error
	stop  func(key string, mode StopMode) error
}

func (s *scripted) Start(reports Reporter, attempt Attempt) error {
	return s.start(reports, attempt)
}

func (s *scripted) Adopt(reports Reporter, key, folder string) error {
	if s.adopt == nil {
		return NotFound
	}
	return s.adopt(reports, key, folder)
}

func (s *scripted) Stop(key string, mode StopMode) error { return s.stop(key, mode) }

func (s *scripted) MaxClusterSize() int { return 4 }

const one = "name: x\ntasks:\n- {name: a, command: [run, it], environment: {A: b}, " +
	"resources: {cpu: 2, cuda.shares: 0.5}}\n"

func TestAnExecutorInGo(t *testing.T) {
	noLeaks(t)
	var seen Attempt
	options := inMemory()
	options.Executor = &scripted{start: func(reports Reporter, attempt Attempt) error {
		seen = attempt
		wrong := reports.Report(Report{Key: "x/y/1"})
		if !errors.Is(wrong, NotFound) {
			return errors.New("nobody knows x/y/1")
		}
		if err := reports.Report(Report{Kind: AttemptStarted, Key: attempt.Key}); err != nil {
			return err
		}
		return reports.Report(Report{Key: attempt.Key, ExitCode: 3, Message: "no luck"})
	}}
	engine := open(t, options)
	run, err := engine.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	state, err := engine.Wait(within(t), run)
	must(t, err)
	failed := state.Task("a")
	if state.Status != RunFailed || failed.Failure.ExitCode != 3 || failed.Failure.Message != "no luck" {
		t.Errorf("found %+v, %+v", failed, failed.Failure)
	}
	if seen.Key != run+"/a/1" || seen.Shell || len(seen.Command) != 2 || seen.Command[1] != "it" ||
		seen.Resources["cpu"] != 2*One || len(seen.Devices) != 1 ||
		seen.Devices[0].Amount != One/2 || seen.Devices[0].Slot != "cuda.shares" ||
		!strings.Contains(strings.Join(seen.Environment, "\n"), "A=b") || seen.Folder == "" ||
		!strings.Contains(string(seen.JSON), "cuda.shares") {
		t.Errorf("found %+v", seen)
	}
}

func TestWhoGoesFirstAndForWhom(t *testing.T) {
	noLeaks(t)
	const pipeline = "name: x\ntasks:\n- {name: a, command: [run, it], cache: false}\n"
	var started []string
	options := inMemory()
	options.Node = []byte("name: n\ncpu: 2\nmem: 1g\n")
	options.Executor = &scripted{start: func(_ Reporter, attempt Attempt) error {
		started = append(started, attempt.Key)
		return nil
	}}
	options.Policy = &SchedulerOptions{Order: OrderLIFO}
	_, err := Open(options)
	wants(t, err, InvalidArgument, "")
	options.Policy = &SchedulerOptions{Order: OrderFairShare}
	guests := EngineTenant{Path: "lab/guests", Limit: Slots{"cpu": One}}
	options.Tenants = []EngineTenant{guests, {Path: "lab"}}
	_, err = Open(options)
	wants(t, err, NotFound, "lab")
	options.Tenants = []EngineTenant{{Path: "lab"}, guests}
	engine := open(t, options)
	var runs []string
	for priority := 0; priority < 3; priority++ {
		priority := priority
		run, err := engine.Submit(parse(t, pipeline),
			SubmitOptions{Tenant: "lab/guests", Priority: &priority})
		must(t, err)
		runs = append(runs, run)
	}
	must(t, engine.Step())
	if len(started) != 1 || started[0] != runs[2]+"/a/1" { // of two cores guests may have one
		t.Fatalf("found %v of %v", started, runs)
	}
	must(t, engine.Report(Report{Key: started[0]}))
	must(t, engine.Step())
	if len(started) != 2 || started[1] != runs[1]+"/a/1" {
		t.Errorf("found %v of %v", started, runs)
	}
	_, err = engine.Submit(parse(t, pipeline), SubmitOptions{Tenant: "lab/gusts"})
	wants(t, err, NotFound, "gusts")
	most := 1 << 40
	_, err = engine.Submit(parse(t, pipeline), SubmitOptions{Priority: &most})
	wants(t, err, InvalidArgument, "priority")
}

// leastImportant goes first; and what it fails with.
type leastImportant struct{ fails error }

func (l *leastImportant) Rank(task Task, submitted time.Time) (int64, error) {
	if task.CPU != One || task.Members != 1 || submitted.IsZero() {
		return 0, errors.New("another task was expected")
	}
	return int64(task.Priority), l.fails
}

func TestAnOrderDecidesInAnEngine(t *testing.T) {
	noLeaks(t)
	const pipeline = "name: x\ntasks:\n- {name: a, command: [run, it], cache: false}\n"
	order := &leastImportant{}
	var started []string
	options := inMemory()
	options.Node = []byte("name: n\ncpu: 1\nmem: 1g\n")
	options.Policy = &SchedulerOptions{HostOrder: order}
	options.Executor = &scripted{start: func(_ Reporter, attempt Attempt) error {
		started = append(started, strings.TrimSuffix(attempt.Key, "/a/1"))
		return nil
	}}
	engine := open(t, options)
	submit := func(priority int) string {
		run, err := engine.Submit(parse(t, pipeline), SubmitOptions{Priority: &priority})
		must(t, err)
		return run
	}
	first, _, middle := submit(-1), submit(9), submit(3)
	must(t, engine.Step())
	order.fails = errors.New("no idea")
	_, err := engine.Submit(parse(t, pipeline), SubmitOptions{})
	wants(t, err, Unknown, "no idea")
	if !errors.Is(err, order.fails) {
		t.Errorf("found %v", err)
	}
	order.fails = nil
	must(t, engine.Report(Report{Key: first + "/a/1"}))
	must(t, engine.Step())
	later := submit(5)
	// What cannot be ranked later counts as 0, and the step tells of it.
	order.fails = errors.New("no idea")
	must(t, engine.Report(Report{Key: middle + "/a/1"}))
	wants(t, engine.Step(), Unknown, "no idea")
	if found := strings.Join(started, " "); found != first+" "+middle+" "+later {
		t.Errorf("found %s, expected %s, %s, %s", found, first, middle, later)
	}
}

func TestWhatAnExecutorDoesWrongStandsInTheRun(t *testing.T) {
	noLeaks(t)
	for message, start := range map[string]func(Reporter, Attempt) error{
		"the executor panicked: no room": func(Reporter, Attempt) error { panic("no room") },
		"no room today":                  func(Reporter, Attempt) error { return errors.New("no room today") },
		"index out of range": func(_ Reporter, attempt Attempt) error {
			attempt.Command[7] = ""
			return nil
		},
	} {
		options := inMemory()
		options.Executor = &scripted{start: start}
		engine := open(t, options)
		run, err := engine.Submit(parse(t, one), SubmitOptions{})
		must(t, err)
		state, err := engine.Wait(within(t), run)
		must(t, err)
		if state.Status != RunFailed || !strings.Contains(state.Task("a").Failure.Message, message) {
			t.Errorf("found %+v, expected %q", state.Task("a").Failure, message)
		}
	}
}

func TestAPanicOfAnAttemptIsItsFailure(t *testing.T) {
	noLeaks(t)
	options := inMemory()
	options.Executor = ExecutorFunc(func(context.Context, Attempt) (Report, error) {
		panic("out of cheese")
	})
	engine := open(t, options)
	run, err := engine.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if failure := state.Task("a").Failure; failure == nil || failure.ExitCode != 1 ||
		!strings.Contains(failure.Message, "out of cheese") {
		t.Errorf("found %+v", failure)
	}
}

// Whatever ends its goroutine, as a test's FailNow does, neither hangs nor breaks who called.
func TestGoexitOfPortsIsContained(t *testing.T) {
	noLeaks(t)
	options := inMemory()
	options.Secrets = exits{}
	options.Executor = &scripted{start: func(Reporter, Attempt) error {
		runtime.Goexit()
		return nil
	}}
	options.Sink = func(Event) { runtime.Goexit() }
	engine := open(t, options)
	for _, document := range []string{one,
		"name: x\ntasks:\n- {name: a, command: x, environment: {S: \"secret://env/key\"}}\n"} {
		run, err := engine.Submit(parse(t, document), SubmitOptions{})
		must(t, err)
		for { // each event adds to what the next step tells of the sink
			_, err = engine.Wait(within(t), run)
			if err == nil {
				break
			}
			wants(t, err, Internal, "the event sink called runtime.Goexit")
		}
		state, err := engine.Show(run)
		must(t, err)
		if failure := state.Task("a").Failure; state.Status != RunFailed || failure == nil ||
			!strings.Contains(failure.Message, "called runtime.Goexit") {
			t.Errorf("found %s", brief(state))
		}
	}

	options = inMemory()
	options.Executor = ExecutorFunc(func(context.Context, Attempt) (Report, error) {
		runtime.Goexit()
		return Report{}, nil
	})
	options.Artifacts = t.TempDir()
	engine = open(t, options)
	run, err := engine.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if state.Status != RunFailed {
		t.Errorf("found %s", brief(state))
	}

	options.Artifacts, options.Policy = "", &SchedulerOptions{HostOrder: exits{}}
	engine = open(t, options)
	_, err = engine.Submit(parse(t, one), SubmitOptions{})
	wants(t, err, Internal, "the order called runtime.Goexit")

	scheduler := newScheduler(t, 1, 1, SchedulerOptions{HostOrder: exits{}, HostPlacer: exits{}})
	err = scheduler.Submit(Task{ID: 1, Devices: One}, at(0))
	wants(t, err, Internal, "the order called runtime.Goexit")
	var exited *GoexitError
	if !errors.As(err, &exited) || exited.Port != "order" {
		t.Errorf("found %v", err)
	}
	scheduler = newScheduler(t, 1, 1, SchedulerOptions{HostPlacer: exits{}})
	must(t, scheduler.Submit(Task{ID: 1, Devices: One}, at(0)))
	_, err = scheduler.Plan(at(0))
	wants(t, err, Internal, "the placer called runtime.Goexit")
	must(t, scheduler.Recount())
}

type exits struct{}

func (exits) Rank(Task, time.Time) (int64, error) {
	runtime.Goexit()
	return 0, nil
}

func (exits) Choose(*ClusterView, Demand) (Placement, bool, error) {
	runtime.Goexit()
	return Placement{}, false, nil
}

func (exits) Resolve(string, string) (string, error) {
	runtime.Goexit()
	return "", nil
}

// shelf is an ArtifactStore that remembers what it was asked.
type shelf struct {
	has  map[string]bool
	fail error
}

func (s *shelf) Has(digest string) (bool, error) { return s.has[digest], nil }

func (s *shelf) Put(digest, folder string) error {
	if s.fail == nil {
		s.has[digest] = true
	}
	return s.fail
}

func (s *shelf) Get(digest, folder string) error { return NotFound }

func TestAnArtifactStoreInGo(t *testing.T) {
	noLeaks(t)
	kept := &shelf{has: map[string]bool{}}
	options := inMemory()
	options.ArtifactStore = kept
	digest := "sha256:" + strings.Repeat("a", 64)
	options.Executor = ExecutorFunc(func(context.Context, Attempt) (Report, error) {
		return Report{OutputDigest: digest}, nil
	})
	const cached = "name: x\ntasks:\n- {name: a, command: [run, it]}\n"
	engine := open(t, options)
	for _, expected := range []RunStatus{RunSucceeded, RunSucceeded} {
		run, err := engine.Submit(parse(t, cached), SubmitOptions{})
		must(t, err)
		state, err := engine.Wait(within(t), run)
		must(t, err)
		if state.Status != expected || !kept.has[digest] {
			t.Errorf("found %s, kept %v", brief(state), kept.has)
		}
	}
	delete(kept.has, digest) // what is gone is made again, and lost when it cannot be kept
	kept.fail = errors.New("the shelf is full")
	run, err := engine.Submit(parse(t, cached), SubmitOptions{})
	must(t, err)
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if failure := state.Task("a").Failure; state.Status != RunFailed || failure == nil ||
		!strings.Contains(failure.Message, "the shelf is full") {
		t.Errorf("found %s", brief(state))
	}
	options.Artifacts = t.TempDir()
	_, err = Open(options)
	wants(t, err, InvalidArgument, "artifact_store")
}

func TestWhereTasksRun(t *testing.T) {
	noLeaks(t)
	home := t.TempDir()
	options := EngineOptions{Home: home, Node: []byte(node), RunOn: &RunOn{}}
	engine := open(t, options)
	_, err := engine.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	must(t, engine.Close())
	report, err := CheckStore(home + "/trackbed.db")
	must(t, err)
	if report.Runs != 1 || len(report.Findings) != 0 {
		t.Errorf("found %+v", report)
	}
	report, err = BackupStore(home+"/trackbed.db", home+"/copy.db")
	must(t, err)
	if report.Runs != 1 {
		t.Errorf("found %+v", report)
	}
	_, err = BackupStore(home+"/trackbed.db", home+"/copy.db")
	wants(t, err, AlreadyExists, "copy.db")
	_, err = CheckStore(home + "/nothing.db")
	wants(t, err, NotFound, "there is no store")
	options.RunOn = &RunOn{Kind: RunInContainer, Endpoint: "unix:///nowhere.sock"}
	if _, err = Open(options); err == nil {
		t.Error("found containers where there are none")
	}
	options.RunOn = &RunOn{Kind: RunBySlurm, Sbatch: []string{"constraint"}}
	_, err = Open(options)
	wants(t, err, InvalidArgument, "--sbatch")
}

func TestPortsMayNotCallTheirEngine(t *testing.T) {
	noLeaks(t)
	var engine *Engine
	var pipeline *Pipeline
	var refused []error
	call := func() {
		_, submitted := engine.Submit(pipeline, SubmitOptions{})
		_, opened := engine.Events(context.Background(), EventsOptions{})
		refused = append(refused, engine.Step(), engine.Close(), submitted, opened)
	}
	options := inMemory()
	options.Executor = &scripted{start: func(reports Reporter, attempt Attempt) error {
		call()
		return reports.Report(Report{Key: attempt.Key})
	}}
	options.Sink = func(Event) { call() }
	engine = open(t, options)
	pipeline = parse(t, one)
	run, err := engine.Submit(pipeline, SubmitOptions{})
	must(t, err)
	_, err = engine.Wait(within(t), run)
	must(t, err)
	for _, err := range refused {
		wants(t, err, FailedPrecondition, "callback")
	}
	if len(refused) < 8 {
		t.Errorf("found %d calls", len(refused))
	}
}

func TestASinkGetsAllInOrder(t *testing.T) {
	noLeaks(t)
	var events []Event
	options := inMemory()
	options.Sink = func(event Event) { events = append(events, event) }
	engine := open(t, options)
	run, err := engine.Submit(parse(t, hello), SubmitOptions{})
	must(t, err)
	_, err = engine.Wait(within(t), run)
	must(t, err)
	for i, event := range events {
		if event.Sequence != uint64(i+1) || event.Run != run {
			t.Errorf("found %+v", event)
		}
	}
	if len(events) == 0 || events[len(events)-1].Type != EventRunFinished {
		t.Errorf("found %+v", events)
	}
}

func TestPanicsThatCannotBeReturnedComeWithTheNextStep(t *testing.T) {
	noLeaks(t)
	clock := &virtualClock{}
	options := inMemory()
	options.Sink = func(event Event) {
		if event.Type == EventRunFinished {
			panic("the sink is full")
		}
	}
	options.Clock = clock
	engine := open(t, options)
	run, err := engine.Submit(parse(t, hello), SubmitOptions{})
	must(t, err)
	_, err = engine.Wait(within(t), run)
	wants(t, err, Internal, "the sink is full")
	state, err := engine.Wait(within(t), run) // it has ended nevertheless
	must(t, err)
	if state.Status != RunSucceeded {
		t.Errorf("found %s", brief(state))
	}
	clock.mutex.Lock()
	clock.fails = true
	clock.mutex.Unlock()
	_, err = engine.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	wants(t, engine.Step(), Internal, "the clock panicked: the clock has stopped")
	clock.mutex.Lock()
	clock.fails = false
	clock.mutex.Unlock()
}

func TestTimeOfTheProgram(t *testing.T) {
	noLeaks(t)
	clock := &virtualClock{}
	options := inMemory()
	options.Clock = clock
	options.Random = rand.New(rand.NewSource(1))
	options.Executor = ExecutorFunc(func(context.Context, Attempt) (Report, error) {
		return Report{}, errors.New("not yet")
	})
	engine := open(t, options)
	run, err := engine.Submit(parse(t, "name: x\ntasks:\n- {name: a, command: x, "+
		"retry: {max_attempts: 3, delay: 1h, jitter: 0}}\n"), SubmitOptions{})
	must(t, err)
	attempt := func(number int) func() bool {
		return func() bool {
			state, err := engine.Show(run)
			must(t, err)
			return state.Task("a").Attempt == number && state.Task("a").State == TaskPending
		}
	}
	go engine.Run(within(t)) //nolint:errcheck // it ends with the engine
	eventually(t, "the first attempt has failed", attempt(1))
	if engine.NextDeadline().Before(clock.Now()) {
		t.Errorf("found %v, expected what is to come", engine.NextDeadline())
	}
	clock.set(clock.Now().Add(2 * time.Hour)) // of which nobody is told
	eventually(t, "the second attempt has failed", attempt(2))

	// The same numbers make the same names.
	options.Random = rand.New(rand.NewSource(1))
	options.Clock = &virtualClock{}
	twin := open(t, options)
	again, err := twin.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	if again != run {
		t.Errorf("found %q, expected %q", again, run)
	}
}

func TestSecretsOfTheProgram(t *testing.T) {
	noLeaks(t)
	var environment string
	options := inMemory()
	options.Secrets = secrets{}
	options.Executor = ExecutorFunc(func(_ context.Context, attempt Attempt) (Report, error) {
		environment = strings.Join(attempt.Environment, "\n")
		return Report{}, nil
	})
	engine := open(t, options)
	for name, expected := range map[string]string{
		"secret://env/key": "", "secret://env/panic": "the vault is open",
		"secret://file/key": "NOT_FOUND",
	} {
		run, err := engine.Submit(parse(t, "name: x\ntasks:\n- {name: a, command: x, environment: {S: \""+
			name+"\"}}\n"), SubmitOptions{})
		must(t, err)
		state, err := engine.Wait(within(t), run)
		must(t, err)
		if expected == "" {
			if state.Status != RunSucceeded || !strings.Contains(environment, "S=value of key") {
				t.Errorf("found %s with %q", brief(state), environment)
			}
		} else if f := state.Task("a").Failure; f == nil || !strings.Contains(f.Message, expected) {
			t.Errorf("found %+v, expected %q", state.Task("a"), expected)
		}
	}
}

type noSecrets struct{}

func (noSecrets) Resolve(string, string) (string, error) { return "", errors.New("locked") }

type probeFunc func() ([]byte, error)

func (p probeFunc) Probe() ([]byte, error) { return p() }

func TestAProbeOfTheProgram(t *testing.T) {
	noLeaks(t)
	options := inMemory()
	options.Node = nil
	options.DeviceProbe = probeFunc(func() ([]byte, error) { return []byte("name: n\ncpu: 1\n"), nil })
	engine := open(t, options)
	_, err := engine.Submit(parse(t, one), SubmitOptions{}) // wants two
	wants(t, err, ResourceExhausted, "cpu")
	options.DeviceProbe = probeFunc(func() ([]byte, error) { panic("no bus") })
	_, err = Open(options)
	wants(t, err, Internal, "the device probe panicked: no bus")
	options.DeviceProbe = probeFunc(func() ([]byte, error) { return nil, Unavailable })
	_, err = Open(options)
	wants(t, err, Unavailable, "")
	if Version() == "" {
		t.Error("the library has no version")
	}
}

// What cannot be started again, for want of a secret, is watched where it runs.
func TestAttemptsAreAdopted(t *testing.T) {
	noLeaks(t)
	options := EngineOptions{Home: t.TempDir(), Node: []byte(node), Durability: DurabilityProcess}
	options.Secrets = secrets{}
	options.Executor = &scripted{start: func(Reporter, Attempt) error { return nil }}
	pipeline := parse(t, "name: x\ntasks:\n- {name: a, command: x, environment: "+
		"{S: \"secret://env/key\"}}\n")
	engine := open(t, options)
	run, err := engine.Submit(pipeline, SubmitOptions{})
	must(t, err)
	must(t, engine.Step())
	must(t, engine.Close())

	adopted := ""
	options.Secrets = noSecrets{}
	options.Executor = &scripted{adopt: func(reports Reporter, key, folder string) error {
		if !strings.HasPrefix(folder, options.Home) {
			return errors.New(folder)
		}
		adopted = key
		return reports.Report(Report{Key: key})
	}}
	engine = open(t, options)
	must(t, engine.Resume(run))
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if state.Status != RunSucceeded || adopted != run+"/a/1" {
		t.Errorf("found %s, adopted %q", brief(state), adopted)
	}
}

func TestReportsBeforeTheEngineIsOpen(t *testing.T) {
	noLeaks(t)
	engine := open(t, inMemory())
	reports := &reporter{}
	must(t, reports.Report(Report{Key: "x/y/1"}))
	reports.opened(engine.core) // of which nobody knows that attempt
	wants(t, reports.Report(Report{Key: "x/y/1"}), NotFound, "x/y/1")
}

func TestStop(t *testing.T) {
	noLeaks(t)
	executor := &scripted{}
	options := inMemory()
	options.Executor = executor
	engine := open(t, options)
	executor.start = func(Reporter, Attempt) error { return nil }
	executor.stop = func(key string, mode StopMode) error {
		if mode != StopTerminate {
			return errors.New("it stops when it is asked to")
		}
		return engine.Report(Report{Key: key, Signal: 15})
	}
	run, err := engine.Submit(parse(t, one), SubmitOptions{})
	must(t, err)
	must(t, engine.Step())
	must(t, engine.Cancel(run))
	state, err := engine.Wait(within(t), run)
	must(t, err)
	if state.Status != RunCancelled || state.Task("a").State != TaskCancelled {
		t.Errorf("found %s", brief(state))
	}
}
