package trackbed

// #include <trackbed.h>
import "C"

import (
	"encoding/json"
	"unsafe"
)

// Trace is a form of recorded work.
type Trace int32

// The forms.
const (
	TraceOpenB  Trace = C.TRACKBED_TRACE_OPENB  // placement only: an empty cluster is filled
	TracePhilly Trace = C.TRACKBED_TRACE_PHILLY // jobs with times
	TraceSacct  Trace = C.TRACKBED_TRACE_SACCT  // Slurm's accounting
)

// SimulationOptions say what is simulated.
type SimulationOptions struct {
	Trace        Trace
	Nodes        []byte // CSV, as `trackbed simulate --nodes`
	Workload     []byte // CSV
	NodesFile    string // names for positions; may be empty
	WorkloadFile string
	Placer       string // empty: "default"
	// OpenB:
	Seeds   []uint64 // one run for each; none: 42
	Inflate float64  // load that arrives, in units of all devices; 0: 1.3
	Learn   bool     // the placer is not told the mix of work beforehand
	// Philly and sacct:
	ExactRunTimes bool             // the scheduler knows how long each job will run
	Policy        SchedulerOptions // its placers are not looked at
}

// Simulation is what came of it.
type Simulation struct {
	JSON json.RawMessage // of OpenB as `trackbed simulate --json`; else summary, tenants and jobs
	CSV  []byte          // of Philly and sacct: a line a job
	HTML []byte          // of Philly and sacct: a report
}

// Simulate runs the real scheduler over recorded work. InvalidArgument, with Diagnostics.
func Simulate(options SimulationOptions) (*Simulation, error) {
	var memory arena
	defer memory.free()
	policy := options.Policy
	policy.Placer, policy.HostPlacer = "", nil
	native := C.trackbed_simulation_options{
		struct_size:     C.sizeof_trackbed_simulation_options,
		trace:           C.int32_t(options.Trace),
		nodes:           memory.text(string(options.Nodes)),
		workload:        memory.text(string(options.Workload)),
		nodes_file:      memory.text(options.NodesFile),
		workload_file:   memory.text(options.WorkloadFile),
		placer:          memory.text(options.Placer),
		seed_count:      C.size_t(len(options.Seeds)),
		inflate:         C.double(options.Inflate),
		learn:           flag(options.Learn),
		exact_run_times: flag(options.ExactRunTimes),
		policy:          policy.native(&memory),
	}
	if len(options.Seeds) > 0 {
		native.seeds = (*C.uint64_t)(memory.allocate(uintptr(len(options.Seeds)) * C.sizeof_uint64_t))
		for i, seed := range options.Seeds {
			unsafe.Slice(native.seeds, len(options.Seeds))[i] = C.uint64_t(seed)
		}
	}
	var told *C.trackbed_error
	var result, csv, html C.trackbed_bytes
	status := C.trackbed_simulate(&native, &result, &csv, &html, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return &Simulation{JSON: taken(&result), CSV: taken(&csv), HTML: taken(&html)}, nil
}
