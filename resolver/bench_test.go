package resolver_test

import (
	"context"
	"net"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/resolver"
)

// quick is a DNS server for measurements: it patches one of two ready replies,
// so that its own cost hides nothing.
func quick(b *testing.B) string {
	b.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ready := map[byte][]byte{}
	for typ, text := range map[uint16]string{dns.TypeA: "www.example.com. 60 IN A 192.0.2.1", dns.TypeAAAA: "www.example.com. 60 IN AAAA 2001:db8::1"} {
		m := new(dns.Msg).SetQuestion("www.example.com.", typ)
		m.Response, m.RecursionAvailable, m.Compress = true, true, true
		rr, err := dns.NewRR(text)
		if err != nil {
			b.Fatal(err)
		}
		m.Answer = []dns.RR{rr}
		if ready[byte(typ)], err = m.Pack(); err != nil {
			b.Fatal(err)
		}
	}
	const typeAt = 12 + len("\x03www\x07example\x03com\x00") + 1
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.(*net.UDPConn).ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if reply := ready[buf[typeAt]]; n > typeAt && reply != nil {
				copy(reply, buf[:2])
				_, _ = pc.(*net.UDPConn).WriteToUDPAddrPort(reply, from)
			}
		}
	}()
	b.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	return pc.LocalAddr().String()
}

// BenchmarkLookup is one A and AAAA look-up over the network, against
// net.Resolver's on the same server; without a cache, which that has not.
func BenchmarkLookup(b *testing.B) {
	server := quick(b)
	b.Run("net", func(b *testing.B) {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server)
		}}
		b.ReportAllocs()
		for b.Loop() {
			if addrs, err := r.LookupNetIP(b.Context(), "ip", "www.example.com."); err != nil || len(addrs) != 2 {
				b.Fatal(addrs, err)
			}
		}
	})
	b.Run("resolver", func(b *testing.B) {
		r := config(b, "", "")
		r.Servers, r.CacheOctets, r.WaitAll = []string{server}, -1, true
		b.ReportAllocs()
		for b.Loop() {
			if a, err := r.Lookup(b.Context(), "www.example.com."); err != nil || a.Record.Len() != 2 {
				b.Fatal(a, err)
			}
		}
	})
}

// BenchmarkLookupCached is a look-up that the cache answers.
func BenchmarkLookupCached(b *testing.B) {
	r := config(b, "", "")
	r.Servers = []string{quick(b)}
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
		resolver.Merge("www.example", 0, families, resolver.MergeOptions{Sources: sources, Now: mergeTime})
	}
}
