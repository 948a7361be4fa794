package mpaddr_test

import (
	"net/netip"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// sample has every kind of endpoint that octets can have.
const sample = "192.0.2.1:443,[2001:db8::1]:443/flowinfo=0x12345,[fe80::1%7]:443,[::ffff:192.0.2.9]:443"

func TestNoAllocations(t *testing.T) {
	a := setOf(t, sample)
	permuted := setOf(t, "[fe80::1%7]:443,[2001:db8::1]:443,192.0.2.9:443,192.0.2.1:443")
	buf := make([]byte, 0, 1024)
	ap := netip.MustParseAddrPort("192.0.2.9:443")
	sum := 0
	for _, tt := range []struct {
		name string
		f    func()
	}{
		{"Append draft", func() { _, _ = draft.Append(buf, a) }},
		{"Append wide", func() { _, _ = wide.Append(buf, a) }},
		{"Append linux", func() { _, _ = linux.Append(buf, a) }},
		{"AppendBinary", func() { _, _ = a.AppendBinary(buf) }},
		{"AppendText", func() { _, _ = a.AppendText(buf) }},
		{"Endpoint.AppendText", func() { _, _ = a.At(2).AppendText(buf) }},
		{"All", func() {
			for i, e := range a.All() {
				sum += i + int(e.Port())
			}
		}},
		{"At", func() {
			for i := range a.Len() {
				sum += int(a.At(i).Port())
			}
		}},
		{"Contains", func() { _ = a.Contains(permuted.At(2)) }},
		{"ContainsAddrPort", func() { _ = a.ContainsAddrPort(ap) }},
		{"Equal", func() { _ = a.Equal(a) }},
		{"SameSet", func() { _ = a.SameSet(permuted) }},
		{"Diff of the same set", func() { _, _ = a.Diff(permuted) }},
		{"EndpointFrom", func() { _ = mpaddr.EndpointFrom(ap) }},
		{"Size", func() { sum += draft.Size(a) }},
	} {
		if n := testing.AllocsPerRun(100, tt.f); n != 0 {
			t.Errorf("%s: %v allocations, want none", tt.name, n)
		}
	}
}

// A record is parsed into two allocations, the endpoints and the set, when it
// has no scope id.
func TestParseAllocations(t *testing.T) {
	b := octetsOf(t, "2f 27 02"+v4+v6)
	const want = 2
	if n := testing.AllocsPerRun(100, func() { _, _ = draft.Parse(b) }); n > want {
		t.Errorf("%v allocations, want at most %d", n, want)
	}
}

func BenchmarkAppend(b *testing.B) {
	a := setOf(b, sample)
	buf := make([]byte, 0, 1024)
	for _, c := range []mpaddr.Codec{draft, wide, linux} {
		b.Run(c.Layout.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Append(buf, a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseRecord(b *testing.B) {
	for _, c := range []mpaddr.Codec{draft, wide, linux} {
		octets, err := c.Append(nil, setOf(b, sample))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.Layout.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Parse(octets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseLargest(b *testing.B) {
	octets, err := linux.Append(nil, numberedSet(65535))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := linux.Parse(octets); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	a := setOf(b, sample)
	buf := make([]byte, 0, 1024)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = a.AppendText(buf)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := mpaddr.Parse(sample); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"8", 8}, {"255", 255}} {
		b.Run(size.name, func(b *testing.B) {
			a, next := numberedSet(size.n), numberedSet(size.n-1)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = a.Diff(next)
			}
		})
	}
}
