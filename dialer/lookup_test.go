package dialer

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// fakeFamily is a family's result that comes after a while.
type fakeFamily struct {
	after time.Duration
	resolver.FamilyResult
}

// fakeSource answers in virtual time. IPv6 addresses go before IPv4 ones.
type fakeSource struct {
	families []fakeFamily
	err      error // instead of results
	https    bool
	ipv4     bool // the preferred family
}

func (s fakeSource) services() bool                   { return s.https }
func (s fakeSource) prefersIPv6(context.Context) bool { return !s.ipv4 }

func (s fakeSource) stream(ctx context.Context, _ string) iter.Seq2[resolver.FamilyResult, error] {
	return func(yield func(resolver.FamilyResult, error) bool) {
		if s.err != nil {
			yield(resolver.FamilyResult{}, s.err)
			return
		}
		for _, f := range s.families {
			select {
			case <-time.After(f.after):
			case <-ctx.Done():
				yield(resolver.FamilyResult{}, ctx.Err())
				return
			}
			if !yield(f.FamilyResult, f.Err) {
				return
			}
		}
	}
}

func (s fakeSource) merge(_ context.Context, name string, port uint16, families []resolver.FamilyResult) *resolver.Answer {
	var addrs []netip.Addr
	for _, f := range families {
		addrs = append(addrs, f.Addrs...)
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return b.BitLen() - a.BitLen() })
	return &resolver.Answer{Name: name, Record: mpaddr.FromAddrs(port, addrs...), Families: families}
}

// inOrder is the dial order of a dialer that remembers no failure.
func inOrder(list []netip.AddrPort) ([]netip.AddrPort, bool) { return list, len(list) > 0 }

func aaaa(after time.Duration, addrs ...netip.Addr) fakeFamily {
	return fakeFamily{after, resolver.FamilyResult{Type: "AAAA", Addrs: addrs}}
}

func a(after time.Duration, addrs ...netip.Addr) fakeFamily {
	return fakeFamily{after, resolver.FamilyResult{Type: "A", Addrs: addrs}}
}

// noSuch is a family's negative answer.
func noSuch(typ string, kind error) fakeFamily {
	return fakeFamily{0, resolver.FamilyResult{Type: typ, Err: &resolver.Error{Op: "lookup", Name: "name", Type: typ, Kind: kind}}}
}

func TestLookupUpdates(t *testing.T) {
	v4, v6 := v4a.Addr(), v6a.Addr()
	https := fakeFamily{time.Millisecond, resolver.FamilyResult{Type: "HTTPS"}}
	tests := []struct {
		name   string
		target target
		source fakeSource
		want   []answered
	}{
		{"both families", target{name: "name", port: 443}, fakeSource{families: []fakeFamily{aaaa(0, v6), a(time.Second, v4)}}, []answered{
			{[]netip.AddrPort{v6a}, true, false}, {[]netip.AddrPort{v6a, v4a}, true, false}, {[]netip.AddrPort{v6a, v4a}, true, true},
		}},
		{"the other family first", target{name: "name", port: 443}, fakeSource{families: []fakeFamily{a(0, v4), aaaa(0, v6)}}, []answered{
			{[]netip.AddrPort{v4a}, false, false}, {[]netip.AddrPort{v6a, v4a}, true, false}, {[]netip.AddrPort{v6a, v4a}, true, true},
		}},
		{"IPv4 preferred", target{name: "name", port: 443}, fakeSource{ipv4: true, families: []fakeFamily{a(0, v4)}}, []answered{
			{[]netip.AddrPort{v4a}, true, false}, {[]netip.AddrPort{v4a}, true, true},
		}},
		{"services asked for", target{name: "name", port: 443}, fakeSource{https: true, families: []fakeFamily{aaaa(0, v6), https}}, []answered{
			{[]netip.AddrPort{v6a}, false, false}, {[]netip.AddrPort{v6a}, true, false}, {[]netip.AddrPort{v6a}, true, true},
		}},
		{"tcp4", target{name: "name", port: 443, family: onlyIPv4}, fakeSource{families: []fakeFamily{a(0, v4), aaaa(0, v6)}}, []answered{
			{[]netip.AddrPort{v4a}, true, false}, {[]netip.AddrPort{v4a}, true, false}, {[]netip.AddrPort{v4a}, true, true},
		}},
		{"a record in hand", target{candidates: []netip.AddrPort{v4a, v6a}}, fakeSource{}, []answered{
			{[]netip.AddrPort{v4a, v6a}, true, true},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := startLookup(t.Context(), tt.target, tt.source, inOrder)
				defer l.stop()
				var got []answered
				for u := range l.answers() {
					got = append(got, u)
				}
				if !slices.EqualFunc(got, tt.want, sameAnswer) {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				if list, complete := l.known(); !complete || !slices.Equal(list, tt.want[len(tt.want)-1].candidates) {
					t.Errorf("known %v, complete %v", list, complete)
				}
			})
		})
	}
}

func sameAnswer(a, b answered) bool {
	return slices.Equal(a.candidates, b.candidates) && a.ready == b.ready && a.complete == b.complete
}

// TestLookupWaitsForHope: addresses that failed lately do not start the race
// alone, though their family is the preferred one.
func TestLookupWaitsForHope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order := func(list []netip.AddrPort) ([]netip.AddrPort, bool) { return list, len(list) > 1 }
		l := startLookup(t.Context(), target{name: "name", port: 443},
			fakeSource{families: []fakeFamily{aaaa(0, v6a.Addr()), a(0, v4a.Addr())}}, order)
		defer l.stop()
		if u := <-l.answers(); u.ready {
			t.Errorf("%+v: want it not ready", u)
		}
		if u := <-l.answers(); !u.ready {
			t.Errorf("%+v: want it ready", u)
		}
	})
}

// TestLookupOutlivesTheDial: the dial's context does not end the look-up; stop
// does, and waits.
func TestLookupOutlivesTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := startLookup(ctx, target{name: "name", port: 443},
			fakeSource{families: []fakeFamily{aaaa(0, v6a.Addr()), a(time.Second, v4a.Addr())}}, inOrder)
		<-l.answers()
		cancel()
		if u := <-l.answers(); len(u.candidates) != 2 {
			t.Errorf("%+v: want the late answer", u)
		}
		l.stop()
		l = startLookup(t.Context(), target{name: "name"}, fakeSource{families: []fakeFamily{aaaa(time.Hour)}}, inOrder)
		begin := time.Now()
		l.stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("stop took %v", took)
		}
	})
}

func TestLookupExplains(t *testing.T) {
	bad := errors.New("bad name")
	pending := resolver.ErrTimeout
	tests := []struct {
		name   string
		target target
		source fakeSource
		err    error // of the race
		want   error // nil: no cause
	}{
		{"every address failed", target{name: "name"}, fakeSource{families: []fakeFamily{a(0, v4a.Addr())}}, errAllFailed, nil},
		{"timeout with addresses", target{name: "name"}, fakeSource{families: []fakeFamily{a(0, v4a.Addr())}}, context.DeadlineExceeded, context.DeadlineExceeded},
		{"timeout without addresses", target{name: "name"}, fakeSource{}, context.DeadlineExceeded, context.DeadlineExceeded},
		{"cancelled", target{name: "name"}, fakeSource{}, context.Canceled, context.Canceled},
		{"the name itself", target{name: "name"}, fakeSource{err: bad}, errAllFailed, bad},
		{"no such name", target{name: "name"}, fakeSource{families: []fakeFamily{noSuch("AAAA", pending), noSuch("A", resolver.ErrNoSuchName)}}, errAllFailed, resolver.ErrNoSuchName},
		{"one family not asked", target{name: "name"}, fakeSource{families: []fakeFamily{noSuch("AAAA", resolver.ErrNoData), noSuch("A", pending)}}, errAllFailed, pending},
		{"no record", target{}, fakeSource{}, errAllFailed, errNoAddress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := startLookup(t.Context(), tt.target, tt.source, inOrder)
			for range l.answers() {
			}
			l.stop()
			if err := l.explain(tt.err); !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestLookupOtherFamilyOnly: a name without addresses of the network's family.
func TestLookupOtherFamilyOnly(t *testing.T) {
	l := startLookup(t.Context(), target{name: "name", family: onlyIPv4},
		fakeSource{families: []fakeFamily{aaaa(0, v6a.Addr())}}, inOrder)
	for range l.answers() {
	}
	l.stop()
	var addr *net.AddrError
	if err := l.explain(errAllFailed); !errors.As(err, &addr) {
		t.Errorf("got %v, want what net.Dialer says", err)
	}
}

// TestLateAnswers: what the look-up brings after the connection is joined, for
// a second.
func TestLateAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  []netip.AddrPort
		took  time.Duration
	}{
		{"in time", 500 * time.Millisecond, []netip.AddrPort{v4a}, 500 * time.Millisecond},
		{"too late", 2 * time.Second, nil, lateAnswers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.pm.Establish(testToken)
				b.late = startLookup(t.Context(), target{name: "name", port: 443},
					fakeSource{families: []fakeFamily{aaaa(0, v6a.Addr()), a(tt.after, v4a.Addr())}}, inOrder)
				first := <-b.late.answers()
				begin := time.Now()
				b.start(first.candidates, true)
				if err := b.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer b.stop()
				if took := time.Since(begin); took != tt.took || !slices.Equal(b.creates(), tt.want) {
					t.Errorf("created %v after %v, want %v after %v", b.creates(), took, tt.want, tt.took)
				}
			})
		})
	}
}
