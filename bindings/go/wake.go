package trackbed

// #include "ports.h"
import "C"

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// wake waits for a descriptor of the library's by Go's own poller, so that no thread is held.
type wake struct {
	file *os.File
	conn syscall.RawConn
	stop chan struct{} // closed by close
	gone chan struct{} // closed by the watcher at its end
}

var past = time.Unix(1, 0)

// newWake watches a duplicate, which ends with it: the descriptor itself stays the library's. Waiting
// ends early with the context, or when `closing` is closed.
func newWake(ctx context.Context, descriptor C.int, closing <-chan struct{}) (*wake, error) {
	number, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(descriptor),
		syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, &Error{Code: Unavailable, Message: "out of file descriptors", cause: errno}
	}
	// The poller takes none that would block; the library only ever polls it.
	if err := syscall.SetNonblock(int(number), true); err != nil {
		syscall.Close(int(number))
		return nil, &Error{Code: Internal, Message: err.Error(), cause: err}
	}
	file := os.NewFile(number, "trackbed")
	conn, err := file.SyscallConn()
	if err == nil {
		err = file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		file.Close()
		return nil, &Error{Code: Internal, Message: err.Error(), cause: err}
	}
	w := &wake{file: file, conn: conn, stop: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(w.gone)
		select {
		case <-ctx.Done():
		case <-closing:
		case <-w.stop:
			return
		}
		_ = w.file.SetReadDeadline(past)
	}()
	return w, nil
}

func (w *wake) close() {
	close(w.stop)
	<-w.gone
	w.file.Close()
}

// wait returns when the descriptor is readable, the deadline has come (the zero one never does) or
// `ended` is true: that is asked after the deadline is set, so that the watcher's is not lost.
func (w *wake) wait(deadline time.Time, ended func() bool) error {
	if err := w.file.SetReadDeadline(deadline); err != nil {
		return &Error{Code: Internal, Message: err.Error(), cause: err}
	}
	if ended() {
		return nil
	}
	err := w.conn.Read(func(descriptor uintptr) bool {
		return C.trackbed_go_readable(C.int(descriptor)) != 0
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Code: Internal, Message: err.Error(), cause: err}
	}
	return nil
}
