package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// This program, started by its test, is the service.
func TestMain(m *testing.M) {
	if os.Getenv("GO_SERVICE") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start starts the service and gives its address, and how to end it.
func start(t *testing.T, home string) (string, func()) {
	t.Helper()
	program := exec.Command(os.Args[0], "-home", home, "-listen", "localhost:0")
	program.Env = append(os.Environ(), "GO_SERVICE=1")
	output, err := program.StderrPipe()
	must(t, err)
	must(t, program.Start())
	t.Cleanup(func() { _ = program.Process.Kill() }) // of one that the test did not end
	lines := bufio.NewScanner(output)
	address := ""
	for address == "" && lines.Scan() {
		t.Log(lines.Text())
		address = regexp.MustCompile(`http://\S+`).FindString(lines.Text())
	}
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		for lines.Scan() {
			t.Log(lines.Text())
		}
	}()
	return address, func() {
		must(t, program.Process.Signal(syscall.SIGTERM))
		<-rest
		must(t, program.Wait())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func call(t *testing.T, method, url, body string, status int, into interface{}) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	must(t, err)
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != status {
		t.Fatalf("found %s with %s, expected %d", answer.Status, text, status)
	}
	if into != nil {
		must(t, json.Unmarshal(text, into))
	}
}

// stream reads server-sent events to their end.
func stream(t *testing.T, url, last string) (names, ids []string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	must(t, err)
	request.Header.Set("Last-Event-ID", last)
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("found %s, %q", answer.Status, kind)
	}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
		case "event":
			names = append(names, value)
		case "id":
			ids = append(ids, value)
		}
	}
	return names, ids
}

const hello = `
name: hello
parameters: {word: hello}
tasks:
- name: greet
  command: echo ${{ params.word }}; sleep 0.2; echo again
- name: count
  dependencies: [greet]
  command: echo two
`

func TestService(t *testing.T) {
	home := t.TempDir()
	address, end := start(t, home)
	var submitted struct{ Run string }
	call(t, "POST", address+"/runs?word=moon", hello, http.StatusCreated, &submitted)
	url := address + "/runs/" + submitted.Run

	names, ids := stream(t, url+"/events", "")
	if all := strings.Join(names, " "); all != "run_submitted attempt_intended attempt_succeeded "+
		"attempt_intended attempt_succeeded run_finished" {
		t.Errorf("found %s", all)
	}
	if names, _ = stream(t, url+"/events", ids[len(ids)-2]); len(names) != 1 {
		t.Errorf("found %v, expected what follows the last that was seen", names)
	}
	answer, err := http.Get(url + "/log/greet")
	must(t, err)
	log, err := io.ReadAll(answer.Body)
	must(t, err)
	answer.Body.Close()
	if string(log) != "moon\nagain\n" {
		t.Errorf("found %q", log)
	}

	var wrong struct {
		Message     string
		Diagnostics []struct{ Line, Column int }
	}
	call(t, "POST", address+"/runs", "name: x\ntasks: 3\n", http.StatusBadRequest, &wrong)
	if wrong.Message == "" || len(wrong.Diagnostics) == 0 || wrong.Diagnostics[0].Line != 2 {
		t.Errorf("found %+v", wrong)
	}
	call(t, "POST", address+"/runs?wrod=x", hello, http.StatusBadRequest, nil)
	call(t, "GET", address+"/runs/nothing", "", http.StatusNotFound, nil)
	call(t, "GET", address+"/runs/nothing/events", "", http.StatusNotFound, nil)
	call(t, "GET", url+"/log/nothing", "", http.StatusNotFound, nil)
	call(t, "DELETE", url, "", http.StatusConflict, nil)

	// A run that is under way when the service ends is taken up by the next one.
	call(t, "POST", address+"/runs", "name: long\ntasks: [{name: wait, command: sleep 1}]\n",
		http.StatusCreated, &submitted)
	end()
	address, end = start(t, home)
	names, _ = stream(t, address+"/runs/"+submitted.Run+"/events", "")
	if len(names) == 0 || names[len(names)-1] != "run_finished" {
		t.Errorf("found %v", names)
	}
	var runs []struct{ Run, Status string }
	call(t, "GET", address+"/runs", "", http.StatusOK, &runs)
	if len(runs) != 2 || runs[0].Run != submitted.Run || runs[0].Status != "succeeded" {
		t.Errorf("found %+v", runs)
	}
	end()
}
