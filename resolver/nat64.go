package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

const (
	// ipv4OnlyName is the name whose AAAA records give the NAT64 prefix away
	// (RFC 7050 section 3), and ipv4OnlyWire the same in wire form.
	ipv4OnlyName              = "ipv4only.arpa."
	ipv4OnlyWire dnswire.Name = "\x08ipv4only\x04arpa\x00"
	// nat64LeastTime is how long a prefix, or that there is none, or a failure
	// to find out, is remembered at least.
	nat64LeastTime = 30 * time.Second
	// nat64MostTime bounds the TTL that is believed: networks change.
	nat64MostTime = time.Hour
)

// nat64Memory is what has been learned of the network's NAT64.
type nat64Memory struct {
	mu       sync.Mutex // guards what is below
	prefixes []netip.Prefix
	until    time.Time // when to ask again; the prefixes count until they are replaced
}

// last returns the prefixes learned last, and whether they are still good.
func (m *nat64Memory) last(now time.Time) ([]netip.Prefix, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prefixes, now.Before(m.until)
}

func (m *nat64Memory) learn(prefixes []netip.Prefix, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prefixes, m.until = prefixes, until
}

// discover asks for the NAT64 prefixes of the network (RFC 7050).
func (e *engine) discover(ctx context.Context) {
	f := FamilyResult{Type: "AAAA", Name: ipv4OnlyName}
	e.family(ctx, e.ask, &f, question{ipv4OnlyName, ipv4OnlyWire, dnswire.TypeAAAA, time.Now()})
	if ctx.Err() == nil {
		ttl := min(max(f.TTL, nat64LeastTime), nat64MostTime)
		e.nat64.learn(prefixesIn(f.Addrs), time.Now().Add(ttl))
	}
}

// discovery begins to ask for the NAT64 prefixes, if they are wanted and not
// known. The channel is closed when they are known; nil: nothing is asked. The
// question is the resolver's own: it does not end with a look-up.
func (r *Resolver) discovery(ctx context.Context, e *engine, now time.Time) <-chan struct{} {
	if !r.lacksNAT64(ctx, e, now) {
		return nil
	}
	done := make(chan struct{})
	r.state.ask(func() {
		defer close(done)
		e.discover(r.state.base)
	})
	return done
}

// lacksNAT64 reports whether the prefixes are to be asked for now.
func (r *Resolver) lacksNAT64(ctx context.Context, e *engine, now time.Time) bool {
	if !r.wantsNAT64(ctx, now) {
		return false
	}
	_, fresh := e.nat64.last(now)
	return !fresh
}

// wantsNAT64 reports whether this network's prefixes are to be asked for: it
// has IPv6 and no IPv4, or the settings say so.
func (r *Resolver) wantsNAT64(ctx context.Context, now time.Time) bool {
	switch {
	case len(r.NAT64) > 0:
		return false
	case r.DiscoverNAT64:
		return true
	}
	routed := func(a netip.Addr) bool { return r.state.sources.of(ctx, a, now).Addr.IsValid() }
	return !routed(wellKnownIPv4Only[0]) && routed(embed(wellKnownNAT64, wellKnownIPv4Only[0]))
}

// learnNAT64 waits, for the Resolution Delay at most, until a discovery is over.
func (r *Resolver) learnNAT64(ctx context.Context, done <-chan struct{}) {
	if done == nil {
		return
	}
	patience := time.NewTimer(r.resolutionDelay())
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// knownNAT64 are the prefixes set or learned; nothing is asked.
func (r *Resolver) knownNAT64(now time.Time) []netip.Prefix {
	if len(r.NAT64) > 0 {
		return r.NAT64
	}
	e, err := r.prepare(now)
	if err != nil {
		return nil
	}
	prefixes, _ := e.nat64.last(now)
	return prefixes
}

// Synthesize returns the IPv6 address by which an IPv4 address is reached
// through the network's NAT64 (RFC 6052). It is for those who are about to
// connect: it returns false where this host has a way to the address itself,
// where the network has no NAT64, and for addresses that no NAT64 may translate.
// The prefix is that of the NAT64 setting, or else asked of the DNS servers
// (RFC 7050) and remembered; ctx bounds the wait.
func (r *Resolver) Synthesize(ctx context.Context, a netip.Addr) (netip.Addr, bool) {
	now := time.Now()
	a = a.Unmap()
	if !a.Is4() || r.state.sources.of(ctx, a, now).Addr.IsValid() {
		return netip.Addr{}, false
	}
	if e, err := r.prepare(now); err == nil {
		if done := r.discovery(ctx, e, now); done != nil {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
	}
	return synthesized(r.knownNAT64(now), a)
}

// synthesized embeds a under the first prefix that may hold it.
func synthesized(prefixes []netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	for _, p := range prefixes {
		if mayEmbed(p, a) {
			return embed(p, a), true
		}
	}
	return netip.Addr{}, false
}

// turned is an address that a NAT64 made, and the one that it was made of.
type turned struct{ from, to netip.Addr }

// turnBack replaces the addresses that a NAT64 made by those that they were made
// of, so that they are not taken for a second path to the host. Those of this
// machine's own configuration stay. Nothing is written to families.
func turnBack(families []FamilyResult, prefixes []netip.Prefix) ([]FamilyResult, []turned) {
	var back []turned
	for i, f := range families {
		if f.isOwn() {
			continue
		}
		before := len(back)
		for _, a := range f.Addrs {
			if v4, ok := originOf(prefixes, a); ok {
				back = append(back, turned{a, v4})
			}
		}
		if len(back) == before {
			continue
		}
		if before == 0 {
			families = slices.Clone(families)
		}
		families[i].Addrs = replaced(f.Addrs, back[before:])
	}
	return families, back
}

// originOf is the IPv4 address that a NAT64 with one of the prefixes, or the
// Well-Known one, made a of.
func originOf(prefixes []netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	if v4, ok := extract(wellKnownNAT64, a); ok {
		return v4, true
	}
	for _, p := range prefixes {
		if v4, ok := extract(p, a); ok {
			return v4, true
		}
	}
	return netip.Addr{}, false
}

// replaced is addrs with those turned back, which are in its order.
func replaced(addrs []netip.Addr, back []turned) []netip.Addr {
	out := slices.Clone(addrs)
	for i, a := range out {
		if len(back) > 0 && back[0].from == a {
			out[i], back = back[0].to, back[1:]
		}
	}
	return out
}

// dropped says of each address turned back why it is not in the record.
func (t turned) dropped() Dropped {
	return Dropped{t.from, fmt.Sprintf("made of %s by the network's NAT64 (RFC 6052): the same path", t.to)}
}

// source is the address that this host sends from to reach a: of an IPv4 address
// that it has no way to, the one from which the NAT64 is reached.
func (r *Resolver) source(ctx context.Context, a netip.Addr, prefixes []netip.Prefix, now time.Time) Source {
	s := r.state.sources.of(ctx, a, now)
	if s.Addr.IsValid() || len(prefixes) == 0 {
		return s
	}
	if v6, ok := synthesized(prefixes, a); ok {
		return r.state.sources.of(ctx, v6, now)
	}
	return s
}
