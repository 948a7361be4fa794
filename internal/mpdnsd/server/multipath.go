package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// partialTTL bounds the TTL of a record that lacks a family whose servers
// failed: as long as a failure is kept (RFC 9520 section 3.2).
const partialTTL = 5 * time.Second

// tooLargeError says that a host has more addresses than a record's 8-bit
// length can hold (draft-sarolahti-mptcp-af-multipath-01 section 5.3). The
// answer is SERVFAIL with these words: two records would say "two hosts", and
// leaving addresses out would say that they do not exist.
type tooLargeError struct {
	addresses, octets int
}

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("%d addresses of one host need %d octets, and a MULTIPATH record holds 255: ask for A and AAAA", e.addresses, e.octets)
}

// merger makes merged records.
type merger struct {
	patient, hasty *resolver.Resolver
	// silent is set while HTTPS questions are not answered in time; then only
	// what is in the cache is waited for.
	silent atomic.Bool
}

// cacheDelay is the time that HTTPS has where servers do not answer it: enough
// to read the cache, whichever of the three questions is worked on first.
const cacheDelay = time.Millisecond

// newMerger makes a merger of what s has on a name. It waits for both families:
// the record is to be whole. HTTPS is asked for what it says of hosts.
func newMerger(s *Source) *merger {
	over := func(delay time.Duration) *resolver.Resolver {
		r := resolver.Over(s)
		r.WaitAll, r.HTTPS, r.HTTPSDelay = true, true, delay
		return r
	}
	return &merger{patient: over(resolver.DefaultResolutionDelay), hasty: over(cacheDelay)}
}

// lookUp waits for HTTPS only where it is known to come.
func (m *merger) lookUp(ctx context.Context, name string) (*resolver.Answer, error) {
	r := m.patient
	if m.silent.Load() {
		r = m.hasty
	}
	a, err := r.Lookup(ctx, name)
	if err == nil && ctx.Err() == nil {
		m.silent.Store(lacksHTTPS(a))
	}
	return a, err
}

// close ends the questions that came too late for an answer and are still out.
func (s *Source) close() {
	if s.merge != nil {
		_ = s.merge.patient.Close() // neither can fail
		_ = s.merge.hasty.Close()
	}
}

// lacksHTTPS reports whether HTTPS had not been answered yet.
func lacksHTTPS(a *resolver.Answer) bool {
	return slices.ContainsFunc(a.Families, func(f resolver.FamilyResult) bool {
		return f.Type == typeHTTPS && errors.Is(f.Err, resolver.ErrPending)
	})
}

// typeHTTPS is the type as [resolver.FamilyResult] spells it.
const typeHTTPS = "HTTPS"

// multipath answers a question for the MULTIPATH record: one RR for each host
// that the name's addresses fall into, by what was looked up and what s.Verdicts
// remembers, each the draft-layout record with port
// 0, behind the aliases that led there. A name without addresses is answered
// as its A question is.
func (s *Source) multipath(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	name := q.Name.String()
	if _, err := netip.ParseAddr(strings.TrimSuffix(name, ".")); err == nil {
		return s.asA(ctx, q, errNotAName)
	}
	a, err := s.merge.lookUp(ctx, name)
	switch {
	case errors.Is(err, resolver.ErrNotFound), errors.Is(err, resolver.ErrBadName):
		return s.asA(ctx, q, err)
	case err != nil:
		return upstream.Reply{}, fmt.Errorf("merging the addresses: %w", err)
	}
	s.remember(ctx, a)
	m, err := merged(q, a)
	if err != nil {
		return upstream.Reply{}, err
	}
	if lost := failure(a); lost != nil {
		m = dnswire.AddOPT(m, dnswire.OPT{Options: dnswire.AppendEDE(nil, dnswire.EDENetworkError, lost.Error())})
	} else if !lacksHTTPS(a) { // the next question may know more
		var key [dnswire.MaxKeyLen]byte
		s.Cache.Put(q.AppendKey(key[:0], q.DO, q.CD), m, s.Now())
	}
	return upstream.Reply{Msg: m, Proto: protoMerged}, nil
}

// remember has the answer judged by what earlier look-ups and joins showed too.
func (s *Source) remember(ctx context.Context, a *resolver.Answer) {
	if s.Verdicts == nil {
		return
	}
	if s.Recall != nil {
		var addrs []netip.Addr
		for _, e := range a.Record.All() {
			addrs = append(addrs, e.Addr())
		}
		s.Recall(ctx, a.Name, addrs)
	}
	a.Remember(s.Verdicts)
}

// errNotAName is why a name that looks like an address is not merged.
var errNotAName = errors.New("an address, not a name")

// asA answers with the reply to the A question, which has no addresses, under
// the question asked. Where it has some after all, err is the reason why they
// could not be merged.
func (s *Source) asA(ctx context.Context, q upstream.Query, err error) (upstream.Reply, error) {
	qa := q
	qa.Type = dnswire.TypeA
	reply, aerr := s.Exchange(ctx, qa)
	if aerr != nil {
		return upstream.Reply{}, aerr
	}
	p := dnswire.NewParser(reply.Msg)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Section == dnswire.SectionAnswer && rr.Type == dnswire.TypeA {
			return upstream.Reply{}, fmt.Errorf("merging the addresses: %w", err)
		}
	}
	reply.Msg = slices.Clone(reply.Msg)
	binary.BigEndian.PutUint16(reply.Msg[p.QuestionEnd()-4:], uint16(q.Type))
	return reply, nil
}

// merged is the answer as a message.
func merged(q upstream.Query, a *resolver.Answer) ([]byte, error) {
	base := dnswire.Query{
		Name: []byte(q.Name), Type: q.Type, Class: q.Class,
		QEnd: dnswire.HeaderLen + len(q.Name) + 4, // type and class
	}
	m := dnswire.AppendReply(nil, &base, 0, dnswire.RCodeSuccess)
	ttl := leastTTL(a)
	var owner []byte // nil is the name asked
	for _, alias := range aliases(a) {
		target, err := dnswire.ParseName(alias)
		if err != nil {
			return nil, fmt.Errorf("alias of %v: %w", q.Name, err)
		}
		m = dnswire.AddRR(m, dnswire.SectionAnswer, owner, dnswire.TypeCNAME, q.Class, ttl, []byte(target))
		owner = []byte(target)
	}
	for _, host := range a.Hosts() {
		set := host.Addrs.WithPort(0)
		rdata, err := mpaddr.Codec{}.Append(nil, set)
		switch {
		case errors.Is(err, mpaddr.ErrTooLong):
			return nil, &tooLargeError{set.Len(), mpaddr.Codec{}.Size(set)}
		case err != nil:
			return nil, fmt.Errorf("encoding the addresses of %v: %w", q.Name, err)
		}
		m = dnswire.AddRR(m, dnswire.SectionAnswer, owner, q.Type, q.Class, ttl, rdata)
	}
	return m, nil
}

// aliases is the chain that all families with addresses went through; none
// where they differ, for then the merged record stands at the name asked only.
func aliases(a *resolver.Answer) []string {
	var chain []string
	first := true
	for _, f := range a.Families {
		switch {
		case len(f.Addrs) == 0:
		case first:
			chain, first = f.Chain, false
		case !slices.Equal(chain, f.Chain):
			return nil
		}
	}
	return chain
}

// leastTTL is the smallest TTL, in seconds, of the RRsets merged.
func leastTTL(a *resolver.Answer) uint32 {
	least := resolver.Forever
	for _, f := range a.Families {
		if len(f.Addrs) > 0 {
			least = min(least, f.TTL)
		}
	}
	if failure(a) != nil {
		least = min(least, partialTTL)
	}
	return uint32(min(least, maxTTL) / time.Second)
}

// maxTTL bounds what is said of addresses that do not expire.
const maxTTL = 24 * time.Hour

// failure is why an address family is missing whose servers failed; nil if none
// is, or if they say that it has no addresses.
func failure(a *resolver.Answer) error {
	for _, f := range a.Families {
		if f.Type != typeHTTPS && f.Err != nil && !errors.Is(f.Err, resolver.ErrNotFound) && !errors.Is(f.Err, resolver.ErrFiltered) {
			return f.Err
		}
	}
	return nil
}
