package server

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// TestCell: at most burst at once, then one each interval, and a pause gives back no more than burst.
func TestCell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := rapid.Int64Range(1, 1000).Draw(t, "interval")
		most := rapid.Int64Range(1, 100).Draw(t, "burst")
		var empty, begun int64
		now := rapid.Int64Range(1, 1<<40).Draw(t, "now")
		begun = now
		passed := int64(0)
		for range rapid.IntRange(1, 500).Draw(t, "questions") {
			now += rapid.Int64Range(0, 3*interval).Draw(t, "pause")
			next, ok := cell(empty, now, interval, most*interval)
			if ok {
				empty = next
				passed++
			}
			if bound := most + (now-begun)/interval; passed > bound {
				t.Fatalf("%d passed after %d, want at most %d", passed, now-begun, bound)
			}
			if !ok && empty <= now+(most-1)*interval {
				t.Fatalf("dropped with room left: empty at %d, now %d", empty, now)
			}
		}
	})
}

// TestCellClockBack: a clock that is set back does not shut clients out.
func TestCellClockBack(t *testing.T) {
	if _, ok := cell(int64(time.Hour), 0, 10, 100); !ok {
		t.Error("shut out for an hour")
	}
}

func TestLimitPrefix(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.255", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"192.0.2.1", "::ffff:192.0.2.7", true},
		{"2001:db8:0:100::1", "2001:db8:0:1ff::1", true},
		{"2001:db8:0:100::1", "2001:db8:0:200::1", false},
		{"0.0.0.0", "::", false},
	} {
		if same := limitPrefix(netip.MustParseAddr(tt.a)) == limitPrefix(netip.MustParseAddr(tt.b)); same != tt.same {
			t.Errorf("%s and %s: same %v", tt.a, tt.b, same)
		}
	}
}

// limited is a server of at most two answers, whose time stands still.
func limited(t *testing.T) *Server {
	o := options()
	now := time.Now()
	o.Now = func() time.Time { return now }
	o.Limit = RateLimit{PerSecond: 1, Burst: 2}
	return start(t, zoneSource(t), o)
}

// TestRateLimit: over the limit every second answer is TC and the others are dropped; another
// prefix has its own limit, and TCP has none.
func TestRateLimit(t *testing.T) {
	s := limited(t)
	m := question("server.demo.example", "A")
	var whole, truncated, dropped int
	for range 10 {
		switch r := ask(t, s, m, overUDP); {
		case r == nil:
			dropped++
		case r.Truncated && len(r.Answer) == 0 && r.Rcode == dns.RcodeSuccess:
			truncated++
		default:
			whole++
		}
	}
	if whole != 2 || truncated != 4 || dropped != 4 {
		t.Errorf("%d whole, %d truncated, %d dropped; want 2, 4, 4", whole, truncated, dropped)
	}
	if r := ask(t, s, m, overTCP); len(r.Answer) != 2 {
		t.Errorf("over TCP: %v", r)
	}
	req := newRequest(pack(t, m), overUDP)
	req.client = netip.MustParseAddrPort("127.9.9.9:4000")
	if out, _ := s.screen(nil, req); len(out) > 0 {
		t.Errorf("another prefix: %x", out)
	}
}

// TestRateLimitCookie: who shows the server's cookie is not limited; who shows none of it learns it
// by BADCOOKIE, over the limit only.
func TestRateLimitCookie(t *testing.T) {
	s := limited(t)
	mine := cookieIn(t, ask(t, s, withCookie([]byte("12345678")), overUDP))
	var bad int
	for range 10 {
		if r := ask(t, s, withCookie([]byte("12345678")), overUDP); r != nil && r.Rcode == dns.RcodeBadCookie {
			bad++
			if c := cookieIn(t, r); len(c) != cookieLen {
				t.Errorf("BADCOOKIE with %x", c)
			}
		}
	}
	if bad != 4 {
		t.Errorf("%d times BADCOOKIE, want every second of nine", bad)
	}
	for range 10 {
		if r := ask(t, s, withCookie(mine), overUDP); r == nil || len(r.Answer) != 2 {
			t.Fatalf("with the cookie: %v", r)
		}
	}
}

// TestRateLimitOfRefused: what is refused or malformed is limited too.
func TestRateLimitOfRefused(t *testing.T) {
	s := limited(t)
	answered := 0
	for range 20 {
		for _, tt := range []string{"AXFR", "TSIG"} {
			if r := ask(t, s, question("server.demo.example", tt), overUDP); r != nil && !r.Truncated {
				answered++
			}
		}
	}
	if answered != 2 {
		t.Errorf("%d answers, want 2", answered)
	}
}
