package trackbed

// #include <trackbed.h>
import "C"

import (
	"encoding/json"
	"time"
)

// SubmitOptions are the choices of a run. The zero value is fine.
type SubmitOptions struct {
	Parameters map[string]interface{} // by name: bool, number, string; the others have their defaults
	NoCache    bool                   // earlier results are neither looked for nor kept
	Base       string                 // folder that paths in the pipeline are relative to; empty: that of its file
	Tenant     string                 // whom it is for: the Path of an EngineTenant; empty: everybody
	Priority   *int                   // of all its tasks, beside their own; higher goes first; nil: the pipeline's
}

// RunStatus is how far a run is.
type RunStatus string

// The states of a run.
const (
	RunRunning     RunStatus = "running"
	RunInterrupted RunStatus = "interrupted" // nobody drives it
	RunSucceeded   RunStatus = "succeeded"
	RunFailed      RunStatus = "failed"
	RunCancelled   RunStatus = "cancelled"
)

// Ended tells whether the run is over.
func (s RunStatus) Ended() bool { return s != RunRunning && s != RunInterrupted }

// TaskStatus is how far a task of a run is.
type TaskStatus string

// The states of a task.
const (
	TaskPending   TaskStatus = "pending"
	TaskWaiting   TaskStatus = "waiting" // for somebody's approval
	TaskRunning   TaskStatus = "running"
	TaskSucceeded TaskStatus = "succeeded"
	TaskFailed    TaskStatus = "failed"
	TaskSkipped   TaskStatus = "skipped"
	TaskCancelled TaskStatus = "cancelled"
)

// RunSummary is a line of a list of runs.
type RunSummary struct {
	Run       string    `json:"run"`
	Pipeline  string    `json:"pipeline"`
	Version   string    `json:"version"`
	Status    RunStatus `json:"status"`
	Submitted time.Time `json:"submitted"`
	Finished  time.Time `json:"finished"`
	// Its tasks that wait for somebody's approval; of Engine.Runs only.
	AsksForApproval []string `json:"asks_for_approval"`
}

// RunState is a run and all its tasks.
type RunState struct {
	RunSummary
	Parameters map[string]interface{} `json:"parameters"`
	Tasks      []TaskState            `json:"tasks"` // in the order of the document
}

// TaskState is a task of a run.
type TaskState struct {
	Name     string                 `json:"name"`
	State    TaskStatus             `json:"state"`
	Cached   bool                   `json:"cached"`  // an earlier result stands for it
	Attempt  int                    `json:"attempt"` // the latest
	Started  time.Time              `json:"started"`
	Finished time.Time              `json:"finished"`
	Outputs  map[string]interface{} `json:"outputs"`
	Failure  *TaskFailure           `json:"failure"`
	Skipped  *TaskSkip              `json:"skipped"`
	Approval *TaskApproval          `json:"approval"`
	// For whom its latest attempt is, or was, stopped.
	PreemptedFor *Preemption `json:"preempted_for"`
}

// TaskApproval is what a task asks, or has asked, of people.
type TaskApproval struct {
	Message   string    `json:"message"`
	Approvers []string  `json:"approvers"` // who may decide; empty: anybody
	Until     time.Time `json:"until"`     // it is rejected then; zero: it waits on
	Decision  *Decision `json:"decision"`  // nil: none yet
}

// Decision is what was decided about a task that waited for approval.
type Decision struct {
	Approved bool   `json:"approved"`
	By       string `json:"by"` // empty: nobody decided in time
	Comment  string `json:"comment"`
}

// Preemption says for which task an attempt is stopped.
type Preemption struct {
	Run   string `json:"run"`
	Task  string `json:"task"`
	Cause string `json:"cause"` // "priority" or "reclaim"
}

// TaskFailure is how the last attempt at a task failed.
type TaskFailure struct {
	Reason   string `json:"reason"`
	ExitCode int    `json:"exit_code"`
	Signal   int    `json:"signal"`
	Message  string `json:"message"`
}

// TaskSkip is why a task was not run.
type TaskSkip struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Task is the task of that name, or nil.
func (s *RunState) Task(name string) *TaskState {
	for i := range s.Tasks {
		if s.Tasks[i].Name == name {
			return &s.Tasks[i]
		}
	}
	return nil
}

// Submit makes a run durable, and is its name; the next step starts it. InvalidArgument: parameters,
// or a task that the executor cannot run; NotFound: source or folder is missing; ResourceExhausted:
// a task needs more than there is.
func (e *Engine) Submit(pipeline *Pipeline, options SubmitOptions) (string, error) {
	parameters, err := parametersAsJSON(options.Parameters)
	if err != nil {
		return "", err
	}
	if err := e.enter(); err != nil {
		return "", err
	}
	defer e.leave()
	if !pipeline.enter() {
		return "", ErrClosed
	}
	defer pipeline.leave()
	var memory arena
	defer memory.free()
	native := C.trackbed_submit_options{
		struct_size: C.sizeof_trackbed_submit_options,
		no_cache:    flag(options.NoCache),
		parameters:  memory.text(parameters),
		base:        memory.text(options.Base),
		tenant:      memory.text(options.Tenant),
	}
	if options.Priority != nil {
		native.has_priority = 1
		native.priority = signed(*options.Priority)
	}
	var run C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_submit(e.native, pipeline.native, &native, &run, &told)
	if err := e.refused(status, told); err != nil {
		return "", err
	}
	return string(taken(&run)), nil
}

// Cancel asks for the end of a run; the steps that follow bring it about. NotFound;
// FailedPrecondition: it has ended. Here and below "latest" stands for the run submitted last.
func (e *Engine) Cancel(run string) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	var told *C.trackbed_error
	return failure(C.trackbed_engine_cancel(e.native, chars(run), sizeOf(run), &told), told)
}

// Approve lets a task that waits for somebody's approval succeed, durably and once. `by` says who
// decides; the host has made sure of that. NotFound; InvalidArgument: nobody decides, or the texts
// are too long; FailedPrecondition: it does not wait, or not for the approval of `by`.
func (e *Engine) Approve(run, task, by, comment string) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	var told *C.trackbed_error
	status := C.trackbed_engine_approve(e.native, chars(run), sizeOf(run), chars(task), sizeOf(task),
		chars(by), sizeOf(by), chars(comment), sizeOf(comment), &told)
	return failure(status, told)
}

// Reject lets a task that waits for somebody's approval fail. Errors as Approve.
func (e *Engine) Reject(run, task, by, comment string) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	var told *C.trackbed_error
	status := C.trackbed_engine_reject(e.native, chars(run), sizeOf(run), chars(task), sizeOf(task),
		chars(by), sizeOf(by), chars(comment), sizeOf(comment), &told)
	return failure(status, told)
}

// Resume takes up an interrupted run, or continues a cancelled one. NotFound; FailedPrecondition: it
// has ended otherwise.
func (e *Engine) Resume(run string) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	var told *C.trackbed_error
	return e.refused(C.trackbed_engine_resume(e.native, chars(run), sizeOf(run), &told), told)
}

// Retry runs these tasks and all that depend on them again; with none, all that failed or was
// cancelled or skipped for that. NotFound; FailedPrecondition: it has not ended.
func (e *Engine) Retry(run string, tasks ...string) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	var memory arena
	defer memory.free()
	var told *C.trackbed_error
	names, count := memory.texts(tasks)
	status := C.trackbed_engine_retry(e.native, chars(run), sizeOf(run), names, count, &told)
	return e.refused(status, told)
}

// Runs are the newest runs first, at most `limit`.
func (e *Engine) Runs(limit int) ([]RunSummary, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	if limit < 0 {
		limit = 0
	}
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_list_runs(e.native, C.size_t(limit), &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	var runs []RunSummary
	return runs, decode(taken(&out), &runs)
}

// resolve is the name of a run that may be called "latest".
func (e *Engine) resolve(run string) (string, error) {
	if run != "latest" {
		return run, nil
	}
	runs, err := e.Runs(1)
	if err != nil {
		return "", err
	}
	if len(runs) == 0 {
		return "", &Error{Code: NotFound, Message: "nothing has run here yet"}
	}
	return runs[0].Run, nil
}

// Show is a run and the state of each task, from what is durable. NotFound.
func (e *Engine) Show(run string) (*RunState, error) {
	return e.core.show(run)
}

func (c *core) show(run string) (*RunState, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_show(c.native, chars(run), sizeOf(run), &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	state := &RunState{}
	return state, decode(taken(&out), state)
}

// Explain is why a task is not running, as JSON: as `trackbed explain --json`. NotFound.
func (e *Engine) Explain(run, task string) (json.RawMessage, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_explain(e.native, chars(run), sizeOf(run), chars(task), sizeOf(task),
		&out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return taken(&out), nil
}

// Why is why a task did or did not use an earlier result, field by field, as JSON: as
// `trackbed why --json`. NotFound.
func (e *Engine) Why(run, task string) (json.RawMessage, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_why(e.native, chars(run), sizeOf(run), chars(task), sizeOf(task),
		&out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return taken(&out), nil
}

// Outputs is what a task that succeeded left: its values, and the folder of its files, empty when
// there are none. NotFound; FailedPrecondition: it has not succeeded.
func (e *Engine) Outputs(run, task string) (map[string]interface{}, string, error) {
	if err := e.enter(); err != nil {
		return nil, "", err
	}
	defer e.leave()
	var out, folder C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_outputs(e.native, chars(run), sizeOf(run), chars(task), sizeOf(task),
		&out, &folder, &told)
	if err := failure(status, told); err != nil {
		return nil, "", err
	}
	place := string(taken(&folder))
	values := map[string]interface{}{}
	return values, place, decode(taken(&out), &values)
}

// PublishResults copies what the pipeline names under `results` to a folder (empty:
// results/PIPELINE in Home), each file as a whole, and is the names written.
func (e *Engine) PublishResults(run, folder string) ([]string, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_engine_publish_results(e.native, chars(run), sizeOf(run), chars(folder),
		sizeOf(folder), &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	var names []string
	return names, decode(taken(&out), &names)
}
