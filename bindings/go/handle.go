package trackbed

import "sync/atomic"

// live counts objects of the library and ports that are held, so that tests see what is left.
var live atomic.Int64

// lease keeps an object of the library, which any thread may use, until it is closed and the last
// call on it has returned. It takes no lock, so a call costs next to nothing more.
type lease struct {
	state atomic.Int64 // the calls under way; and closing, once that has begun
	free  func()
}

const (
	closing = int64(1) << 40
	closed  = int64(1) << 41
)

// open begins the life of the object, which free ends.
func (l *lease) open(free func()) {
	l.free = free
	live.Add(1)
}

// enter begins a call: false when it is closed.
func (l *lease) enter() bool {
	if l.state.Add(1) >= closing {
		l.leave()
		return false
	}
	return true
}

func (l *lease) leave() {
	if l.state.Add(-1) == closing {
		l.end()
	}
}

func (l *lease) close() {
	for {
		users := l.state.Load()
		if users >= closing {
			return
		}
		if l.state.CompareAndSwap(users, users+closing) {
			if users == 0 {
				l.end()
			}
			return
		}
	}
}

// end frees the object. A call that came too late may be about to leave: it must not free it again.
func (l *lease) end() {
	if l.state.CompareAndSwap(closing, closed) {
		l.free()
		live.Add(-1)
	}
}
