// An HTTP service that runs pipelines and streams what happens.
//
//	go run . -home /tmp/service
//	curl --data-binary @hello.yaml 'localhost:8080/runs?word=moon'   # {"run":"hello-7kq2m4"}
//	curl -N localhost:8080/runs/hello-7kq2m4/events                  # server-sent events
//	curl localhost:8080/runs/hello-7kq2m4/log/greet                  # follows
//	curl localhost:8080/runs/hello-7kq2m4
//	curl localhost:8080/runs
//	curl -X DELETE localhost:8080/runs/hello-7kq2m4
//
// Who may post pipelines runs commands as the user of this program: it listens on this machine only,
// and before it does otherwise it needs to ask who is there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trackbed"
)

func main() {
	home := flag.String("home", ".trackbed", "folder of the runs")
	listen := flag.String("listen", "localhost:8080", "address")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *home, *listen); err != nil {
		log.Fatal(err)
	}
}

// serve returns when the context ends. Runs under way go on by themselves; they are taken up when the
// service starts again.
func serve(ctx context.Context, home, listen string) error {
	engine, err := trackbed.Open(trackbed.EngineOptions{Home: home, Description: "go_service"})
	if err != nil {
		return err
	}
	defer engine.Close()
	if err := takeUp(engine); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           &service{engine},
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends streams
	}
	log.Printf("listening on http://%s", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	driven := make(chan error, 1)
	go func() { driven <- engine.Run(ctx) }()
	select {
	case err = <-served:
	case err = <-driven: // the context has ended, or the engine is broken
	}
	soon, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if down := server.Shutdown(soon); errors.Is(err, context.Canceled) {
		err = down
	}
	return err
}

// takeUp resumes the runs that an earlier process left.
func takeUp(engine *trackbed.Engine) error {
	runs, err := engine.Runs(1000)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if run.Status.Ended() {
			continue
		}
		if err := engine.Resume(run.Run); err != nil {
			return err
		}
	}
	return nil
}

type service struct{ engine *trackbed.Engine }

// ServeHTTP: POST and GET /runs; GET and DELETE /runs/RUN; GET /runs/RUN/events; GET
// /runs/RUN/log/TASK.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	found := len(path) >= 1 && path[0] == "runs"
	var err error
	switch {
	case found && len(path) == 1 && r.Method == http.MethodPost:
		err = s.submit(w, r)
	case found && len(path) == 1 && r.Method == http.MethodGet:
		var runs []trackbed.RunSummary
		if runs, err = s.engine.Runs(100); err == nil {
			answer(w, http.StatusOK, runs)
		}
	case found && len(path) == 2 && r.Method == http.MethodGet:
		var state *trackbed.RunState
		if state, err = s.engine.Show(path[1]); err == nil {
			answer(w, http.StatusOK, state)
		}
	case found && len(path) == 2 && r.Method == http.MethodDelete:
		if err = s.engine.Cancel(path[1]); err == nil {
			w.WriteHeader(http.StatusAccepted)
		}
	case found && len(path) == 3 && path[2] == "events" && r.Method == http.MethodGet:
		err = s.events(w, r, path[1])
	case found && len(path) == 4 && path[2] == "log" && r.Method == http.MethodGet:
		err = s.log(w, r, path[1], path[3])
	default:
		http.NotFound(w, r)
	}
	if err != nil && r.Context().Err() == nil {
		refuse(w, err)
	}
}

const mostBytes = 16 << 20

// submit starts a run of the pipeline in the body; the query has its parameters.
func (s *service) submit(w http.ResponseWriter, r *http.Request) error {
	document, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBytes))
	if err != nil {
		return err
	}
	pipeline, err := trackbed.Parse(document, trackbed.ParseOptions{File: "pipeline"})
	if err != nil {
		return err
	}
	defer pipeline.Close()
	parameters := map[string]interface{}{}
	for name, values := range r.URL.Query() {
		parameters[name] = values[0]
	}
	run, err := s.engine.Submit(pipeline, trackbed.SubmitOptions{Parameters: parameters})
	if err != nil {
		return err
	}
	answer(w, http.StatusCreated, map[string]string{"run": run})
	return nil
}

// events streams what happens to a run until its end. A browser that lost the connection says which
// event it saw last.
func (s *service) events(w http.ResponseWriter, r *http.Request, run string) error {
	seen, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
	stream, err := s.engine.Events(r.Context(), trackbed.EventsOptions{
		Run: run, From: seen + 1, JSON: true,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out, _ := w.(http.Flusher)
	for event := range stream.C {
		fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", event.Sequence, event.Type, event.JSON)
		if out != nil && len(stream.C) == 0 {
			out.Flush()
		}
	}
	return nil // the answer has begun: an error only ends it
}

// log copies what a task prints, as it prints it.
func (s *service) log(w http.ResponseWriter, r *http.Request, run, task string) error {
	reader := s.engine.Logs(r.Context(), run, task, trackbed.LogOptions{Follow: true})
	block := make([]byte, 32<<10)
	out, _ := w.(http.Flusher)
	for begun := false; ; begun = true {
		count, err := reader.Read(block)
		if err == io.EOF || (err != nil && begun) {
			return nil
		}
		if err != nil {
			return err
		}
		if !begun {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		if _, err := w.Write(block[:count]); err != nil {
			return nil // nobody listens any more
		}
		if out != nil {
			out.Flush()
		}
	}
}

func answer(w http.ResponseWriter, status int, value interface{}) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// refuse says what is wrong; of a document, where.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	refusal := struct {
		Message     string                `json:"message"`
		Diagnostics []trackbed.Diagnostic `json:"diagnostics,omitempty"`
	}{Message: err.Error()}
	var known *trackbed.Error
	if errors.As(err, &known) {
		refusal.Message, refusal.Diagnostics = known.Message, known.Diagnostics
		switch known.Code {
		case trackbed.InvalidArgument:
			status = http.StatusBadRequest
		case trackbed.NotFound:
			status = http.StatusNotFound
		case trackbed.FailedPrecondition, trackbed.AlreadyExists:
			status = http.StatusConflict
		case trackbed.Unavailable, trackbed.ResourceExhausted:
			status = http.StatusServiceUnavailable
		}
	}
	answer(w, status, refusal)
}
