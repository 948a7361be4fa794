package upstream

import (
	"sync"
	"time"
)

const (
	// FailureTTL is how long a question that no server answered is not asked again the first time
	// (RFC 9520 section 3.2: start at 5 s).
	FailureTTL = 5 * time.Second
	// MaxFailureTTL is how long at most, after it failed again and again (RFC 9520 section 3.2).
	MaxFailureTTL = 5 * time.Minute
	// maxFailures bounds how many such questions are remembered.
	maxFailures = 4096
	// maxFailureLen bounds, in octets, the failure reply that is remembered as it came.
	maxFailureLen = 512
)

// failures remembers what failed, each question for a time that doubles.
type failures struct {
	mu   sync.Mutex // guards outs
	outs map[Query]failed
}

// failed is a failure. Until its end it is the answer; for as long again it is remembered how long it
// lasted.
type failed struct {
	outcome
	until time.Time
	lasts time.Duration
}

// get returns the failure to answer q with.
func (f *failures) get(q Query, now time.Time) (outcome, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.outs[q]
	return e.outcome, ok && now.Before(e.until)
}

// put remembers a failure for twice the time of the last, at least for least.
func (f *failures) put(q Query, out outcome, now time.Time, least time.Duration) {
	out.reply.Server, out.reply.Proto = "", protoCache
	if len(out.reply.Msg) > maxFailureLen {
		out.reply.Msg = failure(q, out.reply.RCode()&0xf)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outs == nil {
		f.outs = map[Query]failed{}
	}
	lasts := FailureTTL
	if e, ok := f.outs[q]; ok && now.Before(e.until.Add(e.lasts)) {
		lasts = min(2*e.lasts, MaxFailureTTL)
	} else if len(f.outs) >= maxFailures {
		f.makeRoom(now)
	}
	lasts = max(lasts, least)
	f.outs[q] = failed{out, now.Add(lasts), lasts}
}

func (f *failures) forget(q Query) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.outs, q)
}

// makeRoom drops what is over; if that is less than half, all: it is minutes of memory.
func (f *failures) makeRoom(now time.Time) {
	for q, e := range f.outs {
		if !now.Before(e.until) {
			delete(f.outs, q)
		}
	}
	if len(f.outs) > maxFailures/2 {
		clear(f.outs)
	}
}
