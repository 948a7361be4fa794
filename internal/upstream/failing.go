package upstream

import (
	"sync/atomic"
	"time"
)

// failing remembers the questions for which one server failed, so that others are
// asked first (RFC 9520 section 3.2). Its memory is bounded as that of failures.
type failing struct {
	some  atomic.Bool // something was ever put there: the usual server needs no look
	about failures
}

// note takes down how q went.
func (f *failing) note(q Query, useful bool, now time.Time) {
	switch {
	case !useful:
		f.some.Store(true)
		f.about.put(q, outcome{}, now, 0)
	case f.some.Load():
		f.about.forget(q)
	}
}

// failedFor reports whether the server failed for q of late.
func (f *failing) failedFor(q Query, now time.Time) bool {
	if !f.some.Load() {
		return false
	}
	_, failed := f.about.get(q, now)
	return failed
}
