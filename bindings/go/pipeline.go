package trackbed

// #include <trackbed.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime"
)

// Format is a form of a document.
type Format int32

// The forms.
const (
	FormatAuto      Format = C.TRACKBED_FORMAT_AUTO      // reading: JSON when it begins with {, else one of the YAMLs
	FormatYAML      Format = C.TRACKBED_FORMAT_YAML      // Trackbed's own
	FormatJSON      Format = C.TRACKBED_FORMAT_JSON      // the same as JSON
	FormatProtobuf  Format = C.TRACKBED_FORMAT_PROTOBUF  // trackbed.v1.Pipeline
	FormatFastTrack Format = C.TRACKBED_FORMAT_FASTTRACK // Backend.AI FastTrack's YAML
	FormatCanonical Format = C.TRACKBED_FORMAT_CANONICAL // writing: the bytes that Hash is the hash of
)

// GraphFormat is a way to draw a pipeline.
type GraphFormat int32

// The ways.
const (
	GraphText    GraphFormat = C.TRACKBED_GRAPH_TEXT
	GraphDot     GraphFormat = C.TRACKBED_GRAPH_DOT
	GraphMermaid GraphFormat = C.TRACKBED_GRAPH_MERMAID
	GraphJSON    GraphFormat = C.TRACKBED_GRAPH_JSON
)

// ParseOptions say how a document is read. The zero value is fine.
type ParseOptions struct {
	Format Format
	File   string // what positions name it by; may be empty
}

// Pipeline is a valid pipeline. It never changes.
type Pipeline struct {
	lease
	native *C.trackbed_pipeline
}

// Parse reads and checks a document. The error is an *Error with every mistake in Diagnostics;
// warnings stay with the pipeline. Close the pipeline.
func Parse(document []byte, options ParseOptions) (*Pipeline, error) {
	var native *C.trackbed_pipeline
	var told *C.trackbed_error
	status := C.trackbed_pipeline_parse(data(document), C.size_t(len(document)),
		C.trackbed_format(options.Format), chars(options.File), sizeOf(options.File), &native, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return newPipeline(native), nil
}

// Load is Parse of a file, in any text form (JSON when its name ends in .json). Paths in the pipeline
// are relative to its folder. InvalidArgument also for a file that cannot be read.
func Load(path string) (*Pipeline, error) {
	var native *C.trackbed_pipeline
	var told *C.trackbed_error
	status := C.trackbed_pipeline_load(chars(path), sizeOf(path), &native, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return newPipeline(native), nil
}

func newPipeline(native *C.trackbed_pipeline) *Pipeline {
	pipeline := &Pipeline{native: native}
	pipeline.open(func() { C.trackbed_pipeline_free(native) })
	runtime.SetFinalizer(pipeline, (*Pipeline).Close)
	return pipeline
}

// Close frees the pipeline; runs that were made of it go on.
func (p *Pipeline) Close() {
	runtime.SetFinalizer(p, nil)
	p.close()
}

// Name is the name of the pipeline; empty once it is closed.
func (p *Pipeline) Name() string {
	if !p.enter() {
		return ""
	}
	defer p.leave()
	return goString(C.trackbed_pipeline_name(p.native))
}

// Hash is "sha256:…", the content address: equal pipelines have equal ones, however they were
// written. Empty once the pipeline is closed.
func (p *Pipeline) Hash() string {
	if !p.enter() {
		return ""
	}
	defer p.leave()
	return goString(C.trackbed_pipeline_version(p.native))
}

// TaskCount is how many tasks there are.
func (p *Pipeline) TaskCount() int {
	if !p.enter() {
		return 0
	}
	defer p.leave()
	return int(C.trackbed_pipeline_task_count(p.native))
}

// Warnings are what is odd about the document, without being wrong.
func (p *Pipeline) Warnings() []Diagnostic {
	if !p.enter() {
		return nil
	}
	defer p.leave()
	var warnings []Diagnostic
	for index := C.size_t(0); index < C.trackbed_pipeline_warning_count(p.native); index++ {
		var warning C.trackbed_diagnostic
		warning.struct_size = C.sizeof_trackbed_diagnostic
		if C.trackbed_pipeline_warning(p.native, index, &warning) == C.TRACKBED_OK {
			warnings = append(warnings, goDiagnostic(&warning))
		}
	}
	return warnings
}

// Write writes the pipeline in one of the forms, which reads back as an equal pipeline. FastTrack's
// form cannot say everything: lost has what it could not, a line each.
func (p *Pipeline) Write(format Format) (document []byte, lost string, err error) {
	if !p.enter() {
		return nil, "", ErrClosed
	}
	defer p.leave()
	var out, left C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_pipeline_write(p.native, C.trackbed_format(format), &out, &left, &told)
	if err := failure(status, told); err != nil {
		return nil, "", err
	}
	return taken(&out), string(taken(&left)), nil
}

// Canonical is the form that Hash is the hash of.
func (p *Pipeline) Canonical() ([]byte, error) {
	document, _, err := p.Write(FormatCanonical)
	return document, err
}

// Graph draws the tasks.
func (p *Pipeline) Graph(format GraphFormat) (string, error) {
	if !p.enter() {
		return "", ErrClosed
	}
	defer p.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_pipeline_graph(p.native, C.trackbed_graph_format(format), &out, &told)
	if err := failure(status, told); err != nil {
		return "", err
	}
	return string(taken(&out)), nil
}

// Tasks are the tasks as a JSON array, in the order of the document: name, dependencies, level,
// resources, position, and under "task" the fields of the document.
func (p *Pipeline) Tasks() (json.RawMessage, error) {
	if !p.enter() {
		return nil, ErrClosed
	}
	defer p.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_pipeline_tasks(p.native, &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return taken(&out), nil
}

// Bind checks the parameters of a run and gives the value of every parameter, defaults included.
// InvalidArgument names every unknown, missing or ill-typed one.
func (p *Pipeline) Bind(parameters map[string]interface{}) (map[string]interface{}, error) {
	given, err := parametersAsJSON(parameters)
	if err != nil {
		return nil, err
	}
	if !p.enter() {
		return nil, ErrClosed
	}
	defer p.leave()
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_pipeline_bind(p.native, chars(given), sizeOf(given), &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	var bound map[string]interface{}
	return bound, decode(taken(&out), &bound)
}

// Validation is what Validate finds.
type Validation struct {
	Valid       bool
	Hash        string // of a valid one
	Diagnostics []Diagnostic
	JSON        json.RawMessage // the same, for programs that hand it on
}

// Validate says all that is wrong with a document, and what is odd about it. A wrong document is
// not an error here.
func Validate(document []byte, options ParseOptions) (Validation, error) {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_pipeline_validate(data(document), C.size_t(len(document)),
		C.trackbed_format(options.Format), chars(options.File), sizeOf(options.File), &out, &told)
	if err := failure(status, told); err != nil {
		return Validation{}, err
	}
	var found struct {
		File        string
		Valid       bool
		Version     string
		Diagnostics []struct {
			Severity, Path, Message, Found, Expected string
			Line, Column                             int
		}
	}
	text := taken(&out)
	if err := decode(text, &found); err != nil {
		return Validation{}, err
	}
	validation := Validation{Valid: found.Valid, Hash: found.Version, JSON: text}
	for _, d := range found.Diagnostics {
		severity := SeverityError
		if d.Severity == "warning" {
			severity = SeverityWarning
		}
		validation.Diagnostics = append(validation.Diagnostics, Diagnostic{
			Severity: severity, File: found.File, Line: d.Line, Column: d.Column, Path: d.Path,
			Message: d.Message, Found: d.Found, Expected: d.Expected,
		})
	}
	return validation, nil
}

func parametersAsJSON(parameters map[string]interface{}) (string, error) {
	if len(parameters) == 0 {
		return "", nil
	}
	text, err := json.Marshal(parameters)
	if err != nil {
		return "", &Error{Code: InvalidArgument, Message: "parameters: " + err.Error(), cause: err}
	}
	return string(text), nil
}

// decode reads what the library wrote as JSON.
func decode(text []byte, into interface{}) error {
	if err := json.Unmarshal(text, into); err != nil {
		return &Error{Code: Internal, Message: fmt.Sprintf("the library's answer: %v", err), cause: err}
	}
	return nil
}
