// Package trackbed is the orchestration engine for AI pipelines inside a Go program: pipelines and
// the engine that runs them, the slots of a machine's devices, the scheduler of a cluster, and
// simulation. It is the C interface, libtrackbed.so, in Go's terms; there is no server.
//
//	pipeline, err := trackbed.Load("digits.yaml")
//	engine, err := trackbed.Open(trackbed.EngineOptions{Home: "/var/lib/digits"})
//	defer engine.Close()
//	run, err := engine.Submit(pipeline, trackbed.SubmitOptions{})
//	state, err := engine.Wait(ctx, run)
//
// # What holds for all of it
//
// Threads: every method of every type may be called by any number of goroutines, unless its comment
// says otherwise. Nothing is started unasked: a run goes on while some goroutine is in Engine.Run,
// Engine.Wait or Engine.Step. Goroutines that wait hold no thread of the system.
//
// Errors: what the library refuses is an *Error, found by errors.As, with a Code and, where a
// document was at fault, the position of each mistake. A closed object returns ErrClosed.
//
// Ownership: what has a Close is closed by who made it, once it is used no more; closing twice is
// fine, and so is closing while others use it. What is forgotten is closed after the garbage
// collector finds it, some time or never: this is a net, not a way of working. But for
// ports nothing that is passed in is kept, and what is returned belongs to the caller.
//
// Ports: an Executor, Placer, Clock, … of the program's own is called on a goroutine of its own,
// while the one that called the library waits. It returns soon, and neither calls the engine or
// scheduler that called it (that is refused with FailedPrecondition) nor waits for another goroutine
// that does (that would be a deadlock). A panic in it, and runtime.Goexit (as testing's FailNow
// calls), are contained and reported as errors.
//
// Units: amounts of slots, cores and devices are an Amount, memory is in bytes, and the zero Time
// stands for "not said", "never" or "not known".
//
// Building needs cgo and what pkg-config knows as trackbed-c.
package trackbed
