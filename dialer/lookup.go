package dialer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/af-multipath/mpresolve/internal/addrsel"
	"github.com/af-multipath/mpresolve/resolver"
)

// maxAnswers is how many answers one look-up has at most: HTTPS, AAAA and A.
const maxAnswers = 3

// lookup is the look-up of one dial: a goroutine that merges the families'
// answers as they come. It begins with the dial; a connection that can use late
// answers takes it over, else it is stopped when the dial ends. A target
// without a name has a look-up without a goroutine, done from the start.
type lookup struct {
	target target
	source source
	order  orderFunc
	begin  time.Time

	updates chan answered // closed after the last; never blocks the goroutine
	cancel  context.CancelFunc
	group   errgroup.Group

	mu       sync.Mutex // guards all below
	families []resolver.FamilyResult
	merged   *resolver.Answer
	list     []netip.AddrPort // the candidates, in dial order
	hopeful  bool             // not all of them failed lately
	err      error            // of the look-up as a whole
	took     time.Duration    // until the newest answer
	complete bool             // the goroutine has nothing more to say
}

// orderFunc puts candidates in the order in which to dial them, and says
// whether any of them is likely to answer.
type orderFunc func([]netip.AddrPort) (list []netip.AddrPort, hopeful bool)

// source is what a look-up asks.
type source interface {
	// stream gives each family's result as it comes.
	stream(ctx context.Context, name string) iter.Seq2[resolver.FamilyResult, error]
	// merge makes one record of the results so far.
	merge(ctx context.Context, name string, port uint16, families []resolver.FamilyResult) *resolver.Answer
	// services reports whether HTTPS records are asked for.
	services() bool
	// prefersIPv6 reports which family is the preferred one.
	prefersIPv6(ctx context.Context) bool
}

// lookUp starts the look-up of a target.
func (d *Dialer) lookUp(ctx context.Context, t target, past *recall) *lookup {
	if len(t.candidates) == 1 {
		return startLookup(ctx, t, nil, nil)
	}
	return startLookup(ctx, t, names{d.resolver(), past}, past.order)
}

// startLookup starts a look-up that lives until stop, not until ctx is done.
func startLookup(ctx context.Context, t target, s source, order orderFunc) *lookup {
	l := &lookup{target: t, source: s, order: order, begin: time.Now(), cancel: func() {}}
	if t.name == "" {
		l.list, l.complete = t.candidates, true
		if len(l.list) > 1 {
			l.list, _ = order(l.list)
		}
		return l
	}
	l.updates = make(chan answered, maxAnswers+1)
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.group.Go(func() error {
		l.run(ctx)
		return nil
	})
	return l
}

// run takes in the answers.
func (l *lookup) run(ctx context.Context) {
	defer close(l.updates)
	preferred := "A"
	if l.target.family != onlyIPv4 && l.source.prefersIPv6(ctx) {
		preferred = "AAAA"
	}
	for result, err := range l.source.stream(ctx, l.target.name) {
		l.take(ctx, result, err)
		l.send(preferred)
	}
	l.mu.Lock()
	l.complete = true
	l.mu.Unlock()
	l.send(preferred)
}

// take merges one more result.
func (l *lookup) take(ctx context.Context, result resolver.FamilyResult, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = time.Since(l.begin)
	if err != nil && result.Type == "" {
		l.err = err
		return
	}
	l.families = append(l.families, result)
	l.merged = l.source.merge(ctx, l.target.name, l.target.port, slices.Clone(l.families))
	l.list, l.hopeful = l.order(l.allowed(l.merged))
}

// allowed returns the record's addresses that the network allows, with the port.
func (l *lookup) allowed(a *resolver.Answer) []netip.AddrPort {
	var list []netip.AddrPort
	for _, e := range a.Record.All() {
		if l.target.family.allows(e.Addr()) {
			list = append(list, netip.AddrPortFrom(e.Addr().Unmap(), l.target.port))
		}
	}
	return list
}

// send tells what is known. Addresses that failed lately are worth the
// Resolution Delay: another family may have one that works. There is always
// room, unless a family answers twice; then the newest state is told by the next
// update or by known.
func (l *lookup) send(preferred string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := answered{
		candidates: l.list,
		ready:      l.has(preferred) && (!l.source.services() || l.has("HTTPS")) && l.hopeful,
		complete:   l.complete,
	}
	select {
	case l.updates <- a:
	default:
	}
}

// has reports whether a type was answered. The lock is held.
func (l *lookup) has(typ string) bool {
	return slices.ContainsFunc(l.families, func(f resolver.FamilyResult) bool { return f.Type == typ })
}

// answers returns the updates. They are for one reader at a time.
func (l *lookup) answers() <-chan answered {
	if l.updates != nil {
		return l.updates
	}
	updates := make(chan answered, 1)
	updates <- answered{candidates: l.list, ready: true, complete: true}
	close(updates)
	return updates
}

// known returns the candidates so far, and whether there will be no others.
func (l *lookup) known() (candidates []netip.AddrPort, complete bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list, l.complete
}

// answer returns the merged answer so far, nil where nothing was looked up.
func (l *lookup) answer() *resolver.Answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.merged
}

// elapsed returns the time until the newest answer, zero where nothing was
// looked up.
func (l *lookup) elapsed() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

// stop ends the look-up and waits for its goroutine. It may be called more than
// once.
func (l *lookup) stop() {
	l.cancel()
	_ = l.group.Wait() // its function returns nil
}

// explain turns the error of a race into the cause to report: that of the
// look-up where there was no address, else the context's in net.Dialer's words,
// or nil where every address was tried.
func (l *lookup) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !errors.Is(err, errAllFailed) && len(l.list) == 0 && l.target.name != "":
		return fmt.Errorf("looking up %s: %w", l.target.name, mapContextError(err))
	case !errors.Is(err, errAllFailed):
		return mapContextError(err)
	case len(l.list) == 0:
		return l.failure()
	}
	return nil
}

// failure says why a look-up that is complete has no address. The lock is held.
func (l *lookup) failure() error {
	switch {
	case l.err != nil:
		return l.err
	case l.target.name == "":
		return errNoAddress
	case l.merged != nil && l.merged.Record.Len() > 0:
		return &net.AddrError{Err: "no suitable address found", Addr: l.target.name}
	}
	if l.merged != nil && len(l.merged.Dropped) > 0 {
		d := l.merged.Dropped[0]
		return fmt.Errorf("%s: %w: %v: %s", l.target.name, resolver.ErrFiltered, d.Addr, d.Why)
	}
	return l.familyFailure()
}

// familyFailure returns the error of the family that speaks for the name: one
// that says it does not exist, before one that could not be asked, before one
// that has no addresses. The lock is held.
func (l *lookup) familyFailure() error {
	failure, weight := errNoAddress, -1
	for _, f := range l.families {
		w := 1
		switch {
		case f.Err == nil || !l.wants(f.Type):
			continue
		case errors.Is(f.Err, resolver.ErrNoSuchName):
			w = 2
		case errors.Is(f.Err, resolver.ErrNoData):
			w = 0
		}
		if w > weight {
			failure, weight = f.Err, w
		}
	}
	return failure
}

// wants reports whether a type has addresses that the network allows.
func (l *lookup) wants(typ string) bool {
	switch typ {
	case "A":
		return l.target.family != onlyIPv6
	case "AAAA":
		return l.target.family != onlyIPv4
	}
	return false
}

// prefersIPv6 reports whether IPv6 is the preferred family of this host: it is
// where it has a route (Happy Eyeballs v3, section 2). No packet is sent.
func prefersIPv6(ctx context.Context) bool {
	// An address of the documentation prefix (RFC 3849) takes the default route.
	sources := addrsel.Sources(ctx, []netip.Addr{netip.MustParseAddr("2001:db8::1")})
	return sources[0].Addr.IsValid()
}
