package server

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Stats is what a Server has done since it was made, and what it does now.
type Stats struct {
	UDP, TCP Counts

	TCPConnections int    // open now
	TCPRefused     uint64 // connections closed at once: too many, or too many of one client
	Working        int    // questions that wait for others now, or that workers have
	Unsent         uint64 // answers over UDP that the system did not take
}

// Counts are the questions of one transport and their outcomes. Each question is a hit, a miss,
// or answered or dropped before the cache is looked at.
type Counts struct {
	Queries uint64
	Hits    uint64
	Misses  uint64 // not in the cache
	Stale   uint64 // misses answered with what had expired (RFC 8767)
	Dropped [NumDrops]uint64
	Slipped uint64 // over the rate limit, answered with TC or BADCOOKIE
	Panics  uint64
	RCodes  [NumRCodes]uint64 // answers by response code; those beyond are counted in the last
}

// NumRCodes is the number of response codes that are counted apart: up to BADCOOKIE.
const NumRCodes = int(dnswire.RCodeBadCookie) + 1

// Drop is why a datagram got no answer.
type Drop uint8

// Reasons for no answer.
const (
	DropMalformed Drop = iota // less than a header
	DropResponse              // QR is set
	DropPort                  // from a port where no client is
	DropBusy                  // all workers are
	DropLimited               // over the rate limit
	NumDrops      = iota
)

// String returns the reason in a word.
func (d Drop) String() string {
	return [...]string{"malformed", "response", "port", "busy", "limited", "unknown"}[min(int(d), NumDrops)]
}

// Event is one answer, for a log of questions. Name is valid during the call only.
type Event struct {
	Client   netip.AddrPort
	TCP      bool
	Name     []byte // wire form, as asked; nil where no question was read
	Type     dnswire.Type
	RCode    dnswire.RCode
	From     string        // "cache", "zone", "hosts", "special", "multipath", an upstream server; "" for what is refused
	Duration time.Duration // from the reading of the question to its answer
}

// Stats sums up all loops, each at its own moment.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.past
	for l := range s.listeners {
		l.addStats(&sum)
	}
	sum.TCPConnections = int(s.tcpConns.Load())
	sum.TCPRefused = s.tcpRefused.Load()
	sum.Working = int(s.misses.busy.Load() + s.locals.busy.Load() + s.asked.Load())
	return sum
}

// addStats adds what a listener's loops have done.
func (l *Listener) addStats(sum *Stats) {
	for i := range l.loops {
		l.loops[i].counts.addTo(&sum.UDP)
		sum.Unsent += l.loops[i].conn.Unsent()
	}
	for i := range l.tcpCounts {
		l.tcpCounts[i].addTo(&sum.TCP)
	}
}

// counters are the Counts of one loop, or of a share of the TCP connections. The loop writes them,
// workers now and then, so cores do not take the cache line from each other.
type counters struct {
	queries, hits, misses, stale, slipped, panics atomic.Uint64

	dropped [NumDrops]atomic.Uint64
	rcodes  [NumRCodes]atomic.Uint64
	_       [cacheLine]byte
}

// cacheLine is the length of what cores take from each other, in octets; twice that of most, for
// some fetch two.
const cacheLine = 128

func (c *counters) addTo(sum *Counts) {
	sum.Queries += c.queries.Load()
	sum.Hits += c.hits.Load()
	sum.Misses += c.misses.Load()
	sum.Stale += c.stale.Load()
	sum.Slipped += c.slipped.Load()
	sum.Panics += c.panics.Load()
	for i := range c.dropped {
		sum.Dropped[i] += c.dropped[i].Load()
	}
	for i := range c.rcodes {
		sum.RCodes[i] += c.rcodes[i].Load()
	}
}

// drop counts a request that gets no answer.
func (r *request) drop(d Drop) { r.counts.dropped[d].Add(1) }

// done counts an answer and tells of it. from is as in Event.
func (s *Server) done(out []byte, req *request, from string) {
	if len(out) < dnswire.HeaderLen {
		return
	}
	rcode := req.extended | dnswire.RCode(out[3]&0xf)
	req.counts.rcodes[min(int(rcode), NumRCodes-1)].Add(1)
	if s.options.Query == nil {
		return
	}
	s.options.Query(Event{
		Client: req.client, TCP: req.transport == overTCP,
		Name: req.query.Name, Type: req.query.Type, RCode: rcode,
		From: from, Duration: s.options.Now().Sub(req.begun),
	})
}
