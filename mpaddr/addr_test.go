package mpaddr_test

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestZeroAddr(t *testing.T) {
	var zero mpaddr.Addr
	for _, a := range []mpaddr.Addr{
		zero,
		mpaddr.New(),
		mpaddr.New(mpaddr.Endpoint{}),
		mpaddr.FromAddrPorts(),
		mpaddr.FromAddrPorts(netip.AddrPort{}),
		mpaddr.FromAddrs(443),
		mpaddr.FromAddrs(443, netip.Addr{}),
		setOf(t, "192.0.2.1:1").Filter(func(mpaddr.Endpoint) bool { return false }),
		zero.Union(zero), zero.Minus(zero), zero.Intersect(zero), zero.WithPort(1), zero.Unmap(),
	} {
		if a != zero || !a.IsEmpty() || a.Len() != 0 || a.String() != "" || !a.Equal(zero) || !a.SameSet(zero) {
			t.Errorf("got %#v, want the zero value", a)
		}
	}
	for range zero.All() {
		t.Error("the empty set has an endpoint")
	}
	if zero.AddrPorts() != nil || zero.Contains(mpaddr.Endpoint{}) || zero.ContainsAddrPort(netip.AddrPort{}) {
		t.Error("the empty set has something in it")
	}
}

func TestNewKeepsOrderDropsDuplicates(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"order", "192.0.2.2:1,[2001:db8::1]:1,192.0.2.1:1", "192.0.2.2:1,[2001:db8::1]:1,192.0.2.1:1"},
		{"duplicate", "192.0.2.1:1,192.0.2.2:1,192.0.2.1:1", "192.0.2.1:1,192.0.2.2:1"},
		{"mapped after plain", "192.0.2.1:1,[::ffff:192.0.2.1]:1", "192.0.2.1:1"},
		{"plain after mapped", "[::ffff:192.0.2.1]:1,192.0.2.1:1", "[::ffff:192.0.2.1]:1"},
		{"port differs", "192.0.2.1:1,192.0.2.1:2", "192.0.2.1:1,192.0.2.1:2"},
		{"zone differs", "[fe80::1%1]:1,[fe80::1%2]:1", "[fe80::1%1]:1,[fe80::1%2]:1"},
		{"flowinfo differs", "[::1]:1/flowinfo=0x1,[::1]:1/flowinfo=0x2", "[::1]:1/flowinfo=0x1"},
		{"many, so that the index is a map", many4Text(40) + ",10.0.0.1:0,10.0.0.40:0", many4Text(40)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eps := endpointsOf(t, tt.in)
			if got := mpaddr.New(eps...).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// endpointsOf parses the endpoints of text one by one, keeping duplicates.
func endpointsOf(t testing.TB, text string) []mpaddr.Endpoint {
	t.Helper()
	var eps []mpaddr.Endpoint
	for part := range splitSeq(text) {
		e, err := mpaddr.ParseEndpoint(part)
		if err != nil {
			t.Fatal(err)
		}
		eps = append(eps, e)
	}
	return eps
}

func TestAddrIsItsOwn(t *testing.T) {
	eps := endpointsOf(t, "192.0.2.1:1,192.0.2.2:1")
	a := mpaddr.New(eps...)
	want := a.String()
	clear(eps)
	clear(a.AddrPorts())
	if a.String() != want {
		t.Errorf("changed from outside: %s, want %s", a, want)
	}
	u := a.Union(setOf(t, "192.0.2.3:1"))
	v := a.Union(setOf(t, "192.0.2.4:1"))
	if u.String() != want+",192.0.2.3:1" || v.String() != want+",192.0.2.4:1" || a.String() != want {
		t.Errorf("sets share memory: %s, %s, %s", a, u, v)
	}
}

func TestAddrAccessors(t *testing.T) {
	a := setOf(t, "192.0.2.1:443,[fe80::1%2]:80/flowinfo=0x7,[::ffff:192.0.2.9]:1")
	want := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:443"),
		netip.MustParseAddrPort("[fe80::1%2]:80"),
		netip.MustParseAddrPort("[::ffff:192.0.2.9]:1"),
	}
	if got := a.AddrPorts(); !slices.Equal(got, want) {
		t.Errorf("AddrPorts: got %v, want %v", got, want)
	}
	for i, e := range a.All() {
		if e != a.At(i) || e.AddrPort() != want[i] {
			t.Errorf("endpoint %d: got %v, At %v, want %v", i, e, a.At(i), want[i])
		}
	}
	if a.Network() != "multipath" {
		t.Errorf("Network: got %q", a.Network())
	}
	if !a.ContainsAddrPort(netip.MustParseAddrPort("192.0.2.9:1")) || !a.Contains(a.At(1).WithFlowinfo(0)) {
		t.Error("Contains does not go by target")
	}
	if a.ContainsAddrPort(netip.MustParseAddrPort("192.0.2.1:80")) || a.ContainsAddrPort(netip.MustParseAddrPort("[fe80::1]:80")) {
		t.Error("Contains what is not there")
	}
}

// A net.Addr is compared and used as a key by programs that know nothing of
// this one; that must not panic.
func TestAddrInInterface(t *testing.T) {
	a, b := setOf(t, "192.0.2.1:1"), setOf(t, "192.0.2.1:1")
	seen := map[net.Addr]bool{a: true}
	if !seen[a] || net.Addr(a) == net.Addr(&net.TCPAddr{}) {
		t.Error("a copy is not equal to itself")
	}
	if seen[b] {
		t.Error("== does more than is promised: say so in the doc comment")
	}
	if !a.Equal(b) || !cmp.Equal(a, b) || !reflect.DeepEqual(a, b) {
		t.Error("equal sets are not equal")
	}
}

func TestEqualAndSameSet(t *testing.T) {
	for _, tt := range []struct {
		name, a, b  string
		equal, same bool
	}{
		{"itself", "192.0.2.1:1,[::1]:1", "192.0.2.1:1,[::1]:1", true, true},
		{"another order", "192.0.2.1:1,[::1]:1", "[::1]:1,192.0.2.1:1", false, true},
		{"mapped", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", false, true},
		{"flowinfo", "[::1]:1", "[::1]:1/flowinfo=0x1", false, true},
		{"port", "192.0.2.1:1", "192.0.2.1:2", false, false},
		{"subset", "192.0.2.1:1", "192.0.2.1:1,192.0.2.2:1", false, false},
		{"empty", "", "192.0.2.1:1", false, false},
		{"one exchanged", "192.0.2.1:1,192.0.2.2:1", "192.0.2.1:1,192.0.2.3:1", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := setOf(t, tt.a), setOf(t, tt.b)
			if a.Equal(b) != tt.equal || b.Equal(a) != tt.equal {
				t.Errorf("Equal: want %v", tt.equal)
			}
			if a.SameSet(b) != tt.same || b.SameSet(a) != tt.same {
				t.Errorf("SameSet: want %v", tt.same)
			}
		})
	}
}

// Sections 4.1 and 4.2: what binding or connecting again adds and removes.
func TestDiff(t *testing.T) {
	for _, tt := range []struct{ name, inUse, next, added, removed string }{
		{"first call", "", "192.0.2.1:1,[::1]:1", "192.0.2.1:1,[::1]:1", ""},
		{"same again", "192.0.2.1:1,[::1]:1", "192.0.2.1:1,[::1]:1", "", ""},
		{"same in another order", "192.0.2.1:1,[::1]:1", "[::1]:1,192.0.2.1:1", "", ""},
		{"one more", "192.0.2.1:1", "192.0.2.2:1,192.0.2.1:1,192.0.2.3:1", "192.0.2.2:1,192.0.2.3:1", ""},
		{"one less", "192.0.2.1:1,192.0.2.2:1", "192.0.2.2:1", "", "192.0.2.1:1"},
		{"replaced", "192.0.2.1:1,192.0.2.2:1", "192.0.2.3:1,192.0.2.4:1", "192.0.2.3:1,192.0.2.4:1", "192.0.2.1:1,192.0.2.2:1"},
		{"none left", "192.0.2.1:1,[::1]:1", "", "", "192.0.2.1:1,[::1]:1"},
		{"written as mapped", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "", ""},
		{"another port", "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:2", "192.0.2.1:1"},
		{"wildcard covers nothing", "192.0.2.1:1", "0.0.0.0:1", "0.0.0.0:1", "192.0.2.1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			added, removed := setOf(t, tt.inUse).Diff(setOf(t, tt.next))
			if added.String() != tt.added || removed.String() != tt.removed {
				t.Errorf("added %q, removed %q; want %q, %q", added, removed, tt.added, tt.removed)
			}
		})
	}
}

func TestSetOperations(t *testing.T) {
	a := setOf(t, "192.0.2.1:1,[2001:db8::1]:1,[::ffff:192.0.2.2]:1")
	b := setOf(t, "192.0.2.2:1,[2001:db8::1]:1/flowinfo=0x5,192.0.2.3:1")
	for _, tt := range []struct {
		name string
		got  mpaddr.Addr
		want string
	}{
		{"union", a.Union(b), "192.0.2.1:1,[2001:db8::1]:1,[::ffff:192.0.2.2]:1,192.0.2.3:1"},
		{"union the other way", b.Union(a), "192.0.2.2:1,[2001:db8::1]:1/flowinfo=0x5,192.0.2.3:1,192.0.2.1:1"},
		{"minus", a.Minus(b), "192.0.2.1:1"},
		{"intersect", a.Intersect(b), "[2001:db8::1]:1,[::ffff:192.0.2.2]:1"},
		{"intersect the other way", b.Intersect(a), "192.0.2.2:1,[2001:db8::1]:1/flowinfo=0x5"},
		{"filter", a.Filter(func(e mpaddr.Endpoint) bool { return e.Addr().Is4() }), "192.0.2.1:1"},
		{"unmap", a.Unmap(), "192.0.2.1:1,[2001:db8::1]:1,192.0.2.2:1"},
		{"port", b.WithPort(443), "192.0.2.2:443,[2001:db8::1]:443/flowinfo=0x5,192.0.2.3:443"},
		{"port makes duplicates", setOf(t, "192.0.2.1:1,192.0.2.1:2").WithPort(443), "192.0.2.1:443"},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestConstructors(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%07")
	if got, want := mpaddr.FromAddrs(443, v4, netip.Addr{}, v6, v4).String(), "192.0.2.1:443,[fe80::1%7]:443"; got != want {
		t.Errorf("FromAddrs: got %s, want %s", got, want)
	}
	aps := []netip.AddrPort{netip.AddrPortFrom(v6, 1), {}, netip.AddrPortFrom(v4, 2), netip.AddrPortFrom(v6, 1)}
	if got, want := mpaddr.FromAddrPorts(aps...).String(), "[fe80::1%7]:1,192.0.2.1:2"; got != want {
		t.Errorf("FromAddrPorts: got %s, want %s", got, want)
	}
}
