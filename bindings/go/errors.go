package trackbed

// #include <trackbed.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Code is the kind of an error. A Code is an error itself, so that errors.Is(err, NotFound) asks for
// the kind.
type Code int32

// The codes; their meaning is that of the C interface.
const (
	Cancelled          Code = C.TRACKBED_CANCELLED
	Unknown            Code = C.TRACKBED_UNKNOWN
	InvalidArgument    Code = C.TRACKBED_INVALID_ARGUMENT // the input is wrong
	DeadlineExceeded   Code = C.TRACKBED_DEADLINE_EXCEEDED
	NotFound           Code = C.TRACKBED_NOT_FOUND // no such run, task, node or file
	AlreadyExists      Code = C.TRACKBED_ALREADY_EXISTS
	PermissionDenied   Code = C.TRACKBED_PERMISSION_DENIED   // the message names the right that is missing
	ResourceExhausted  Code = C.TRACKBED_RESOURCE_EXHAUSTED  // not possible with what there is
	FailedPrecondition Code = C.TRACKBED_FAILED_PRECONDITION // right request, wrong state
	Aborted            Code = C.TRACKBED_ABORTED
	OutOfRange         Code = C.TRACKBED_OUT_OF_RANGE
	Unimplemented      Code = C.TRACKBED_UNIMPLEMENTED
	Internal           Code = C.TRACKBED_INTERNAL    // a bug of Trackbed's or of a port
	Unavailable        Code = C.TRACKBED_UNAVAILABLE // try again later
	DataLoss           Code = C.TRACKBED_DATA_LOSS   // stored bytes are not what was written
)

// String is "INVALID_ARGUMENT", …
func (c Code) String() string { return C.GoString(C.trackbed_status_name(C.trackbed_status(c))) }

// Error makes a Code an error, for errors.Is.
func (c Code) Error() string { return c.String() }

// Error is what the library returns. It is never changed once it was returned.
type Error struct {
	Code    Code
	Message string // for people; of a document with mistakes, all of them, a line each
	// The mistakes one by one, where the error is about a document.
	Diagnostics []Diagnostic

	cause error
}

// Error is the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return "trackbed: " + e.Code.String()
	}
	return "trackbed: " + e.Message
}

// Is tells whether the target is the Code of the error.
func (e *Error) Is(target error) bool {
	code, isCode := target.(Code)
	return isCode && code == e.Code
}

// Unwrap is what a port of the program's returned, or the *PanicError or *GoexitError of what it did
// instead, where that is what the error came from; else nil.
func (e *Error) Unwrap() error { return e.cause }

// Severity tells errors from warnings.
type Severity int32

// The severities.
const (
	SeverityError   Severity = C.TRACKBED_SEVERITY_ERROR
	SeverityWarning Severity = C.TRACKBED_SEVERITY_WARNING
)

// Diagnostic is one mistake in a document.
type Diagnostic struct {
	Severity Severity
	File     string // as the caller named it
	Line     int    // from 1; 0: unknown
	Column   int    // in characters, from 1; 0: unknown
	Path     string // "tasks[2].retry.delay"; empty: the whole document
	Message  string
	Found    string // the parts of such a message; both empty where it has another form
	Expected string
}

// String is "FILE:LINE:COLUMN: PATH: MESSAGE", as far as these are known.
func (d Diagnostic) String() string {
	var text strings.Builder
	if d.File != "" {
		text.WriteString(d.File + ":")
	}
	if d.Line > 0 {
		fmt.Fprintf(&text, "%d:", d.Line)
		if d.Column > 0 {
			fmt.Fprintf(&text, "%d:", d.Column)
		}
	}
	if text.Len() > 0 {
		text.WriteString(" ")
	}
	if d.Path != "" {
		text.WriteString(d.Path + ": ")
	}
	text.WriteString(d.Message)
	return text.String()
}

// PanicError is a panic in a port of the program's.
type PanicError struct {
	Port  string // "executor", "placer", …
	Value interface{}
	Stack []byte
}

// Error says which port panicked, and how.
func (p *PanicError) Error() string { return fmt.Sprintf("the %s panicked: %v", p.Port, p.Value) }

// GoexitError is a port of the program's that ended its goroutine by runtime.Goexit, as testing's
// FailNow does, instead of returning.
type GoexitError struct {
	Port string // "executor", "placer", …
}

// Error says which port it was.
func (g *GoexitError) Error() string { return "the " + g.Port + " called runtime.Goexit" }

// ErrClosed is what methods of a closed object return. Its Code is FailedPrecondition.
var ErrClosed error = &Error{Code: FailedPrecondition, Message: "it is closed already"}

// failure is the end of a call as an error; it frees what the library told.
func failure(status C.trackbed_status, told *C.trackbed_error) error {
	if status == C.TRACKBED_OK {
		return nil
	}
	found := &Error{Code: Code(status)}
	if told == nil {
		return found
	}
	defer C.trackbed_error_free(told)
	found.Message = goString(C.trackbed_error_message(told))
	count := C.trackbed_error_diagnostic_count(told)
	for index := C.size_t(0); index < count; index++ {
		var diagnostic C.trackbed_diagnostic
		diagnostic.struct_size = C.sizeof_trackbed_diagnostic
		if C.trackbed_error_diagnostic(told, index, &diagnostic) == C.TRACKBED_OK {
			found.Diagnostics = append(found.Diagnostics, goDiagnostic(&diagnostic))
		}
	}
	return found
}

func goDiagnostic(d *C.trackbed_diagnostic) Diagnostic {
	return Diagnostic{
		Severity: Severity(d.severity),
		File:     goString(d.file),
		Line:     int(d.line),
		Column:   int(d.column),
		Path:     goString(d.path),
		Message:  goString(d.message),
		Found:    goString(d.found),
		Expected: goString(d.expected),
	}
}

// codeOf is how an error of a port's is told to the library.
func codeOf(err error) Code {
	var known *Error
	var code Code
	var panicked *PanicError
	var exited *GoexitError
	switch {
	case errors.As(err, &known):
		return known.Code
	case errors.As(err, &code):
		return code
	case errors.As(err, &panicked), errors.As(err, &exited):
		return Internal
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	default:
		return Unknown
	}
}
