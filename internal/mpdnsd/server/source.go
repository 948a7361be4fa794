package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// Where a reply came from that no upstream server gave.
const (
	protoZone    = "zone"
	protoHosts   = "hosts"
	protoSpecial = "special"
	protoMerged  = "multipath"
	protoCache   = "cache"
	protoStale   = "stale" // upstream's word for what had expired
)

// maxZoneHops is how often an alias may lead from one local zone to another.
const maxZoneHops = 8

// Source is what questions are answered from, in this order: the cache (whose
// content came from Upstream), the local zones, the hosts file, the special
// names of RFC 6761, Upstream. It must not be changed after its first use.
type Source struct {
	Zones   zone.Set
	Hosts   func(now time.Time) *sysconf.Hosts // nil: none
	Special bool                               // answer the names of RFC 6761 here
	// Forwards is the zones for which Upstream has servers of their own: a special
	// name that is in one is theirs. localhost is nobody's (RFC 6761 section 6.3).
	Forwards []dnswire.Name
	Cache    *dnscache.Cache // what Upstream puts its replies into
	// Upstream answers what is not local; nil where there is no server to ask.
	Upstream upstream.Exchanger
	// Refresh has Upstream's answer to a question fetched anew, behind the
	// caller's back and in bounds, and reports whether it is. It must not wait.
	// It is called when a name in use is close to its expiry; nil: it expires.
	Refresh func(upstream.Query) bool
	// Multipath is the type of the MULTIPATH record; 0 for none.
	Multipath dnswire.Type
	// Verdicts is what is remembered of which addresses are one host, by the name
	// in lower case with its trailing dot; the MULTIPATH record is divided by it
	// too. nil: nothing is.
	Verdicts *hostid.Memory
	// Recall adds to Verdicts what others know of a name's addresses; it is quick
	// or gives up. nil: there are no others.
	Recall func(ctx context.Context, name string, addrs []netip.Addr)
	Pair   bool             // fetch A and AAAA together
	Now    func() time.Time // nil: time.Now

	merge *merger
}

// complete makes what needs the other fields.
func (s *Source) complete() *Source {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Multipath != 0 {
		s.merge = newMerger(s)
	}
	return s
}

// refresh has what is in use and about to expire fetched anew. A merged record
// is not fetched, but what it is made of.
func (s *Source) refresh(asked *dnswire.Query) {
	if s.Refresh == nil {
		return
	}
	q := upstream.Query{Question: asked.Question(), DO: asked.EDNS.DO, CD: asked.Header.CD()}
	merged := s.Multipath != 0 && q.Type == s.Multipath
	if !merged && !(s.Pair && (q.Type == dnswire.TypeA || q.Type == dnswire.TypeAAAA)) {
		s.Refresh(q)
		return
	}
	for _, family := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} { // so that the pair stays of one age
		q.Type = family
		s.Refresh(q)
	}
}

// Reasons why a question cannot be answered; explain turns them into codes.
var (
	errNoUpstream  = errors.New("no upstream server is configured")
	errNoRecursion = errors.New("not known here, and recursion was not desired")
)

// answer answers a question that is not in the cache. Without recursion, only
// what is local is looked at.
func (s *Source) answer(ctx context.Context, q upstream.Query, recursion bool) (upstream.Reply, error) {
	if s.Multipath != 0 && q.Type == s.Multipath {
		if !recursion && !s.isLocal(dnswire.Question{Name: q.Name, Type: dnswire.TypeA, Class: q.Class}) {
			return upstream.Reply{}, errNoRecursion
		}
		return s.multipath(ctx, q)
	}
	if !recursion && !s.isLocal(q.Question) {
		return upstream.Reply{}, errNoRecursion
	}
	return s.Exchange(ctx, q)
}

// begin is answer for what upstream servers are asked for and what they can be
// asked for without waiting; false where it is not.
func (s *Source) begin(ctx context.Context, q upstream.Query, recursion bool, done upstream.Done) bool {
	if s.Upstream == nil || !recursion || s.Multipath != 0 && q.Type == s.Multipath || s.isLocal(q.Question) {
		return false
	}
	return upstream.Begin(ctx, s.Upstream, q, done)
}

// Exchange implements upstream.Exchanger: every type but MULTIPATH, which is
// made from what Exchange returns.
func (s *Source) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	if z := s.Zones.Find(q.Name, q.Type); z != nil {
		return s.fromZone(ctx, z, q)
	}
	if r, proto, ok := s.local(q.Question); ok {
		return packed(r, proto, q.Question)
	}
	return s.forward(ctx, q)
}

// forward asks upstream.
func (s *Source) forward(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	if s.Upstream == nil {
		return upstream.Reply{}, errNoUpstream
	}
	return s.Upstream.Exchange(ctx, q)
}

// isLocal reports whether the first name of an answer is not upstream's.
func (s *Source) isLocal(q dnswire.Question) bool {
	if s.Zones.Find(q.Name, q.Type) != nil {
		return true
	}
	_, _, ok := s.local(q)
	return ok
}

// packed is a local reply as a message.
func packed(r zone.Reply, proto string, q dnswire.Question) (upstream.Reply, error) {
	msg, err := r.Pack(q)
	if err != nil {
		return upstream.Reply{}, err
	}
	return upstream.Reply{Msg: msg, Proto: proto}, nil
}

// fromZone answers from a zone. Where an alias leads out of it, the rest comes
// from another zone or from wherever that name is known: clients of a stub
// resolver expect whole answers.
func (s *Source) fromZone(ctx context.Context, z *zone.Zone, q upstream.Query) (upstream.Reply, error) {
	r := z.Answer(q.Name, q.Type)
	for hops := 0; r.Target != ""; hops++ {
		if hops == maxZoneHops {
			return upstream.Reply{}, fmt.Errorf("%v: aliases lead from zone to zone more than %d times", q.Name, maxZoneHops)
		}
		next := s.Zones.Find(r.Target, q.Type)
		if next == nil {
			return s.beyond(ctx, r, q)
		}
		more := next.Answer(r.Target, q.Type)
		more.Authoritative = r.Authoritative // it is about the first name (RFC 1034 section 6.2.7)
		more.Answer = append(r.Answer[:len(r.Answer):len(r.Answer)], more.Answer...)
		r = more
	}
	return packed(r, protoZone, q.Question)
}

// beyond completes a zone's answer whose last alias leads out of all zones.
func (s *Source) beyond(ctx context.Context, r zone.Reply, q upstream.Query) (upstream.Reply, error) {
	rest := q
	rest.Name = r.Target
	reply, err := s.Exchange(ctx, rest)
	if err != nil {
		return upstream.Reply{}, fmt.Errorf("%v, alias of %v: %w", r.Target, q.Name, err)
	}
	var m dns.Msg
	if err := m.Unpack(reply.Msg); err != nil {
		return upstream.Reply{}, fmt.Errorf("%v, alias of %v: reading the reply: %w", r.Target, q.Name, err)
	}
	r.Answer = append(r.Answer[:len(r.Answer):len(r.Answer)], m.Answer...)
	r.Authority = m.Ns
	r.RCode = reply.RCode()
	return packed(r, protoZone, q.Question)
}

// explain gives the response code and the extended error (RFC 8914) for the
// reason why there is no reply.
func explain(err error) (rcode dnswire.RCode, code dnswire.EDE, text string) {
	var ue *upstream.Error
	var tooLarge *tooLargeError
	switch {
	case errors.Is(err, errNoRecursion):
		return dnswire.RCodeRefused, dnswire.EDENotAuthoritative, err.Error()
	case errors.As(err, &tooLarge):
		return dnswire.RCodeServerFailure, dnswire.EDEOther, err.Error()
	case errors.Is(err, errNoUpstream), errors.Is(err, upstream.ErrNoServers):
		return dnswire.RCodeServerFailure, dnswire.EDENoReachableServer, errNoUpstream.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ue) && ue.Timeout:
		return dnswire.RCodeServerFailure, dnswire.EDENoReachableServer, "no upstream server answered in time"
	case errors.Is(err, context.Canceled):
		return dnswire.RCodeServerFailure, dnswire.EDENotReady, "shutting down"
	case errors.Is(err, upstream.ErrMalformed):
		return dnswire.RCodeServerFailure, dnswire.EDEInvalidData, err.Error()
	case ue != nil:
		return dnswire.RCodeServerFailure, dnswire.EDENetworkError, err.Error()
	}
	return dnswire.RCodeServerFailure, dnswire.EDEOther, err.Error()
}
