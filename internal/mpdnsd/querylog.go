package mpdnsd

import (
	"bytes"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/server"
)

// queryLogRoom is how many answers may wait to be logged. More are left out, and
// said to be: no client waits for a log.
const queryLogRoom = 256

// queryLog logs one answer in so many. The server's loops put answers into it, a
// goroutine of its own writes them. nil is no log.
type queryLog struct {
	every   uint64
	log     *slog.Logger
	seen    atomic.Uint64
	missed  atomic.Uint64
	events  chan server.Event
	writing sync.WaitGroup
}

func newQueryLog(every int, log *slog.Logger) *queryLog {
	if every == 0 {
		return nil
	}
	q := &queryLog{every: uint64(every), log: log, events: make(chan server.Event, queryLogRoom)}
	q.writing.Go(q.write)
	return q
}

// hook is what the server calls; nil where nothing is to be logged.
func (q *queryLog) hook() func(server.Event) {
	if q == nil {
		return nil
	}
	return q.put
}

func (q *queryLog) put(e server.Event) {
	if q.seen.Add(1)%q.every != 0 {
		return
	}
	e.Name = bytes.Clone(e.Name)
	select {
	case q.events <- e:
	default:
		q.missed.Add(1)
	}
}

// write is a goroutine.
func (q *queryLog) write() {
	for e := range q.events {
		network, name := "udp", "-"
		if e.TCP {
			network = "tcp"
		}
		if n, _, err := dnswire.ExpandName(e.Name, 0); err == nil {
			name = n.String()
		}
		q.log.Info("query", "client", e.Client, "over", network, "name", name, "type", e.Type, "rcode", e.RCode, "from", e.From, "took", e.Duration)
		if n := q.missed.Swap(0); n > 0 {
			q.log.Warn("answers were left out of the query log: it is slower than they come; log.queries thins them", "missed", n)
		}
	}
}

// close ends the log. Nothing is put any more.
func (q *queryLog) close() {
	if q != nil {
		close(q.events)
		q.writing.Wait()
	}
}
