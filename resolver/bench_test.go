package resolver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/resolver"
)

// quick is a DNS server for measurements: it answers any name with one address,
// another each time, by patching the query, so that its own cost hides nothing.
func quick(b testing.TB) string {
	b.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for nth := uint16(0); ; nth++ {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteToUDPAddrPort(quickReply(buf[:n], nth), from)
		}
	}()
	b.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	return pc.LocalAddr().String()
}

// quickReply makes a reply of a query, in its place: 198.18.x.x (RFC 2544) or
// 2001:db8::x.
func quickReply(query []byte, nth uint16) []byte {
	end := 12 + bytes.IndexByte(query[12:], 0) + 5 // of the question
	typ := query[end-3]
	m := append(query[:end], 0xc0, 12, 0, typ, 0, 1, 0, 0, 0, 60, 0)
	if typ == byte(dns.TypeA) {
		m = append(m, 4, 198, 18)
	} else {
		m = append(m, 16, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	m = binary.BigEndian.AppendUint16(m, nth)
	m[2], m[3] = 0x81, 0x80
	copy(m[4:], []byte{0, 1, 0, 1, 0, 0, 0, 0})
	return m
}

// newNames returns a function that gives one name after the other, more of them
// than a look-up of the same name could profit from. They are made beforehand, to
// be no part of what is measured.
func newNames() func() string {
	names := make([]string, 1<<14)
	for i := range names {
		names[i] = "host" + strconv.Itoa(1000000+i) + ".example.com."
	}
	n := 0
	return func() string {
		n++
		return names[n%len(names)]
	}
}

// BenchmarkLookup is one A and AAAA look-up over the network, against
// net.Resolver's on the same server; without a cache, which that has not, and
// with names and addresses that are new each time.
// To compare the two, run the benchmark ten times over with -count 1, so that they
// take turns, and take the medians: -count 10 runs the one ten times, then the other.
func BenchmarkLookup(b *testing.B) {
	server, next := quick(b), newNames()
	b.Run("net", func(b *testing.B) {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server)
		}}
		b.ReportAllocs()
		for b.Loop() {
			if addrs, err := r.LookupNetIP(b.Context(), "ip", next()); err != nil || len(addrs) != 2 {
				b.Fatal(addrs, err)
			}
		}
	})
	b.Run("resolver", func(b *testing.B) {
		r := config(b, "", "")
		r.Servers, r.CacheOctets, r.WaitAll = []string{server}, -1, true
		b.ReportAllocs()
		for b.Loop() {
			if a, err := r.Lookup(b.Context(), next()); err != nil || a.Record.Len() != 2 {
				b.Fatal(a, err)
			}
		}
	})
}

// BenchmarkLookupCached is a look-up that the cache answers.
func BenchmarkLookupCached(b *testing.B) {
	r := config(b, "", "")
	r.Servers = []string{quick(b)}
	r.WaitAll = true // the first look-up may take longer than the Resolution Delay
	b.ReportAllocs()
	for b.Loop() {
		if a, err := r.Lookup(b.Context(), "www.example.com."); err != nil || a.Record.Len() != 2 {
			b.Fatal(a, err)
		}
	}
}

// BenchmarkMerge is the pure part.
func BenchmarkMerge(b *testing.B) {
	families := []resolver.FamilyResult{result("AAAA", 60e9, "2001:db8::1", "2001:db8::2"), result("A", 60e9, "192.0.2.1", "192.0.2.2")}
	sources := fromSources("192.0.2.1 203.0.113.2", "192.0.2.2 203.0.113.2", "2001:db8::1 2001:db8:ff::2", "2001:db8::2 2001:db8:ff::2")
	b.ReportAllocs()
	for b.Loop() {
		resolver.Merge("www.example", 0, families, resolver.MergeOptions{Source: sources, Now: mergeTime})
	}
}
