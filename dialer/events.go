package dialer

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// PathChange is what happened to a path.
type PathChange string

// The changes.
const (
	PathJoined    PathChange = "joined"    // a subflow was added
	PathFailed    PathChange = "failed"    // there is no subflow: Err says why
	PathClosed    PathChange = "closed"    // a subflow has ended, or was given up: Err says why
	PathBackup    PathChange = "backup"    // it carries data only when no other can
	PathActive    PathChange = "active"    // it carries data again
	PathAnnounced PathChange = "announced" // the peer offers the address Remote
	PathWithdrawn PathChange = "withdrawn" // the peer takes the address Remote back
)

// PathEvent is one change of a connection's paths.
type PathEvent struct {
	Time          time.Time
	Change        PathChange
	Local, Remote netip.AddrPort // Local is invalid where it is not known
	Err           error
	// Missed is how many events before this one were dropped because the reader
	// was slow.
	Missed int
}

// pathEventBuffer is how many events a reader of [Conn.Events] may lag behind.
const pathEventBuffer = 64

// Events gives the changes of the connection's paths from now on. It ends with
// ctx, with the connection, and when the paths are not followed any more (see
// [Report].Manager). It may be ranged over once, and several readers get all
// events each. A reader that lags more than 64 events behind loses the newest;
// PathEvent.Missed of the next one tells how many. [Conn.Paths] has the present
// state.
func (c *Conn) Events(ctx context.Context) iter.Seq[PathEvent] {
	if c.subflows == nil {
		return func(func(PathEvent) bool) {}
	}
	reader := c.subflows.events.subscribe()
	return func(yield func(PathEvent) bool) {
		defer c.subflows.events.forget(reader)
		for {
			select {
			case e, ok := <-reader.events:
				if !ok || !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// pathEvents hands events to readers and to the Dialer's OnPath. The zero value
// is ready for use.
type pathEvents struct {
	hook func(PathEvent) // may be nil

	mu      sync.Mutex // guards all below
	readers []*pathReader
	ended   bool
}

// pathReader is one reader; missed belongs to the lock of pathEvents.
type pathReader struct {
	events chan PathEvent
	missed int
}

func (p *pathEvents) subscribe() *pathReader {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &pathReader{events: make(chan PathEvent, pathEventBuffer)}
	if p.ended {
		close(r.events)
		return r
	}
	p.readers = append(p.readers, r)
	return r
}

func (p *pathEvents) forget(r *pathReader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers = slices.DeleteFunc(p.readers, func(x *pathReader) bool { return x == r })
}

// tell delivers an event without waiting for any reader.
func (p *pathEvents) tell(e PathEvent) {
	p.mu.Lock()
	for _, r := range p.readers {
		e.Missed = r.missed
		select {
		case r.events <- e:
			r.missed = 0
		default:
			r.missed++
		}
	}
	p.mu.Unlock()
	if e.Missed = 0; p.hook != nil {
		p.hook(e)
	}
}

// end closes the readers' channels; what is in them can still be read.
func (p *pathEvents) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, r := range p.readers {
		close(r.events)
	}
	p.readers = nil
}

// tell tells of a change of a path.
func (s *subflows) tell(change PathChange, local, remote netip.AddrPort, err error) {
	s.events.tell(PathEvent{Time: time.Now(), Change: change, Local: local, Remote: remote, Err: err})
}
