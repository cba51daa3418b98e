package trackbed

// #include <trackbed.h>
import "C"

import (
	"context"
	"io"
	"time"
)

// LogOptions say which log. The zero value is the latest attempt's, as far as it is written.
type LogOptions struct {
	Attempt int  // from 1; 0: the latest, or the one whose result is used
	Follow  bool // waits for more, until the attempt is over
}

const (
	logBlock  = 64 << 10
	logPeriod = 100 * time.Millisecond // a log has no descriptor to wait for
)

// Logs reads what a task printed: everything so far, or with Follow until the attempt is over, which
// need not have begun. Reading returns NotFound when there is no such run or task, or when it has not
// started, and the context's error when that ends. Nothing is to be closed. By one goroutine at a
// time.
func (e *Engine) Logs(ctx context.Context, run, task string, options LogOptions) io.Reader {
	return &logReader{ctx: ctx, engine: e, run: run, task: task, options: options}
}

type logReader struct {
	ctx       context.Context
	engine    *Engine
	run, task string
	options   LogOptions
	offset    uint64
	rest      []byte // read, and not asked for yet
	over      error
}

func (l *logReader) Read(into []byte) (int, error) {
	for len(into) > 0 && len(l.rest) == 0 {
		if l.over != nil {
			return 0, l.over
		}
		more, err := l.fill()
		if err != nil {
			l.over = err
			return 0, err
		}
		if len(l.rest) > 0 {
			break
		}
		if !more || !l.options.Follow {
			l.over = io.EOF
			return 0, io.EOF
		}
		timer := time.NewTimer(logPeriod)
		select {
		case <-timer.C:
		case <-l.engine.closing:
			timer.Stop()
			l.over = ErrClosed
		case <-l.ctx.Done():
			timer.Stop()
			l.over = l.ctx.Err()
		}
	}
	count := copy(into, l.rest)
	l.rest = l.rest[count:]
	return count, nil
}

// fill reads on; true while something may be added or follows.
func (l *logReader) fill() (bool, error) {
	if err := l.ctx.Err(); err != nil {
		return false, err
	}
	if l.options.Follow && l.options.Attempt == 0 {
		waits, err := l.findAttempt()
		if waits || err != nil {
			return waits, err
		}
	}
	part, more, err := l.engine.readLog(l.run, l.task, l.options.Attempt, l.offset)
	l.rest = part
	l.offset += uint64(len(part))
	return more, err
}

// findAttempt settles on one attempt, since a task that is tried again has another log. True while
// there is none yet.
func (l *logReader) findAttempt() (bool, error) {
	active := l.engine.IsActive(l.run) // before looking, so that nothing is missed
	state, err := l.engine.Show(l.run)
	if err != nil {
		return false, err
	}
	task := state.Task(l.task)
	if task == nil || task.Cached {
		return false, nil
	}
	l.options.Attempt = task.Attempt
	return task.Attempt == 0 && active, nil
}

func (e *Engine) readLog(run, task string, attempt int, offset uint64) ([]byte, bool, error) {
	if err := e.enter(); err != nil {
		return nil, false, err
	}
	defer e.leave()
	var out C.trackbed_bytes
	var more C.int32_t
	var told *C.trackbed_error
	status := C.trackbed_engine_read_log(e.native, chars(run), sizeOf(run), chars(task),
		sizeOf(task), unsigned(attempt), C.uint64_t(offset), logBlock, &out, &more, &told)
	if err := failure(status, told); err != nil {
		return nil, false, err
	}
	return taken(&out), more != 0, nil
}
