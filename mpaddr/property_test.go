package mpaddr_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// endpoints draws from few addresses and ports, so that sets overlap, and now
// and then from all of them.
func endpoints(zones ...string) *rapid.Generator[mpaddr.Endpoint] {
	return rapid.Custom(func(t *rapid.T) mpaddr.Endpoint {
		ip := rapid.OneOf(few(), all4(), all16(zones)).Draw(t, "ip")
		port := rapid.OneOf(rapid.Uint16Range(0, 1), rapid.Uint16()).Draw(t, "port")
		flow := rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32()).Draw(t, "flowinfo")
		return mpaddr.EndpointFrom(netip.AddrPortFrom(ip, port)).WithFlowinfo(flow)
	})
}

func few() *rapid.Generator[netip.Addr] {
	return rapid.SampledFrom([]netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1"),
		netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("::ffff:192.0.2.2"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%1"), netip.MustParseAddr("fe80::1%2"),
	})
}

func all4() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, "IPv4"))
		return netip.AddrFrom4(b)
	})
}

func all16(zones []string) *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], rapid.Uint64().Draw(t, "high"))
		binary.BigEndian.PutUint64(b[8:], rapid.Uint64().Draw(t, "low"))
		return netip.AddrFrom16(b).WithZone(rapid.SampledFrom(zones).Draw(t, "zone"))
	})
}

var (
	numericZones = []string{"", "0", "1", "007", "4294967295"}
	anyZones     = append(numericZones, "eth0", "4294967296", "a,b]%/", "Ethernet 2", "\x00\xff\u00e9")
)

// sets draws up to n endpoints: with 40, on both sides of linearLimit.
func sets(n int, zones ...string) *rapid.Generator[mpaddr.Addr] {
	return rapid.Map(rapid.SliceOfN(endpoints(zones...), 0, n), func(eps []mpaddr.Endpoint) mpaddr.Addr {
		return mpaddr.New(eps...)
	})
}

func TestPropertyNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := rapid.SliceOfN(endpoints(anyZones...), 0, 40).Draw(t, "endpoints")
		a := mpaddr.New(eps...)
		targets := map[netip.AddrPort]bool{}
		next := 0 // the set is a subsequence of what it was made of
		for _, e := range a.All() {
			if targets[e.Target()] {
				t.Fatalf("%v is twice in %v", e, a)
			}
			targets[e.Target()] = true
			for next < len(eps) && eps[next] != e {
				next++
			}
			if next == len(eps) {
				t.Fatalf("%v is out of order in %v", e, a)
			}
		}
		for _, e := range eps {
			if !a.Contains(e) || !a.ContainsAddrPort(e.Target()) {
				t.Fatalf("%v is not in %v", e, a)
			}
		}
	})
}

func TestPropertyAlgebra(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := sets(40, anyZones...).Draw(t, "a")
		b := sets(40, anyZones...).Draw(t, "b")
		union, minus, both := a.Union(b), a.Minus(b), a.Intersect(b)
		for _, law := range []struct {
			name  string
			holds bool
		}{
			{"union commutes, but for order and form", union.SameSet(b.Union(a))},
			{"intersection commutes, but for order and form", both.SameSet(b.Intersect(a))},
			{"union is idempotent", union.Union(a).Equal(union) && union.Union(b).Equal(union)},
			{"union begins with the receiver", union.Filter(a.Contains).Equal(a)},
			{"sizes add up", union.Len() == a.Len()+b.Len()-both.Len() && minus.Len()+both.Len() == a.Len()},
			{"minus and intersection part the set", minus.Union(both).SameSet(a) && minus.Intersect(b).IsEmpty()},
			{"minus itself is empty", a.Minus(a).IsEmpty() && a.Intersect(a).Equal(a)},
			{"unmap keeps the targets", a.Unmap().SameSet(a) && a.Unmap().Unmap().Equal(a.Unmap())},
			{"equal sets are the same set", a.SameSet(a) && (!a.Equal(b) || a.SameSet(b))},
			{"same set is mutual containment", a.SameSet(b) == (a.Minus(b).IsEmpty() && b.Minus(a).IsEmpty())},
		} {
			if !law.holds {
				t.Fatalf("not so: %s", law.name)
			}
		}
	})
}

// What Diff says, done to the set in use, gives the next one.
func TestPropertyDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inUse := sets(40, anyZones...).Draw(t, "in use")
		next := sets(40, anyZones...).Draw(t, "next")
		added, removed := inUse.Diff(next)
		if !inUse.Minus(removed).Union(added).SameSet(next) {
			t.Fatalf("added %v, removed %v", added, removed)
		}
		if !added.Intersect(inUse).IsEmpty() || !removed.Intersect(next).IsEmpty() {
			t.Fatalf("added %v is in use or removed %v is to stay", added, removed)
		}
		back, forth := next.Diff(inUse)
		if !back.Equal(removed) || !forth.Equal(added) {
			t.Fatalf("the way back adds %v and removes %v", back, forth)
		}
	})
}

func TestPropertyWithPort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := sets(40, anyZones...).Draw(t, "a")
		port := rapid.Uint16().Draw(t, "port")
		b := a.WithPort(port)
		for _, e := range b.All() {
			if e.Port() != port {
				t.Fatalf("%v in %v", e, b)
			}
		}
		for _, e := range a.All() {
			if !b.Contains(e.WithPort(port)) {
				t.Fatalf("%v is lost in %v", e, b)
			}
		}
	})
}

func TestPropertyTextAndJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := sets(40, anyZones...).Draw(t, "a")
		if back, err := mpaddr.Parse(a.String()); err != nil || !back.Equal(a) {
			t.Fatalf("%v comes back as %v, %v", a, back, err)
		}
		checkJSON(t, a)
		for _, e := range a.All() {
			if back, err := mpaddr.ParseEndpoint(e.String()); err != nil || back != e {
				t.Fatalf("%v comes back as %v, %v", e, back, err)
			}
		}
	})
}

// Every set of up to 9 endpoints has a record in every layout and with every
// platform's numbers, and comes back from it.
func TestPropertyRecords(t *testing.T) {
	codecs := []mpaddr.Codec{draft, wide, linux, darwin, freebsd}
	rapid.Check(t, func(t *rapid.T) {
		a := sets(9, numericZones...).Draw(t, "a")
		for _, c := range codecs {
			b, err := c.Append(nil, a)
			if err != nil || len(b) != c.Size(a) {
				t.Fatalf("%v layout: %d octets, %v", c.Layout, len(b), err)
			}
			checkRecord(t, c, a)
		}
	})
}
