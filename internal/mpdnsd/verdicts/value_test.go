package verdicts

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestParseClaim: what is published is read, and nothing else.
func TestParseClaim(t *testing.T) {
	for _, o := range []hostid.Outcome{hostid.Joined, hostid.LimitReached, hostid.Announced} {
		for _, ago := range []time.Duration{0, time.Second, o.Lifetime() - time.Second} {
			want := claim{o, now.Add(-ago)}
			got, err := parseClaim(want.value(), now)
			if err != nil || got.outcome != o || !got.at.Equal(want.at) {
				t.Errorf("%q: %+v, %v", want.value(), got, err)
			}
		}
		for _, ago := range []time.Duration{o.Lifetime(), -maxSkew - time.Second, -1000 * time.Hour} {
			if got, err := parseClaim(claim{o, now.Add(-ago)}.value(), now); err == nil {
				t.Errorf("%v, %v ago: %+v", o, ago, got)
			}
		}
	}
	if got, err := parseClaim(claim{hostid.Joined, now.Add(maxSkew)}.value(), now); err != nil || !got.at.Equal(now) {
		t.Errorf("a clock that is ahead: %+v, %v", got, err)
	}
	for _, bad := range []string{
		"", " ", "joined", "joined ", " 1767323045", "Joined 1767323045", "joined  1767323045", "joined 1767323045 ", "joined +1767323045",
		"joined -1", "joined 0x69", "joined 1e9", "joined 99999999999999999999", "joined 001767323045", "other-host 1767323045",
		"refused 1767323045", "joined\x001767323045", "joined 1767323045\n", strings.Repeat("joined 1767323045", 9),
	} {
		if got, err := parseClaim(bad, now); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// TestKey: both orders are one key; what only this machine knows has none.
func TestKey(t *testing.T) {
	want := "mpdnsd:1:www.example. 192.0.2.1 2001:db8::1"
	for _, pair := range [][2]netip.Addr{{first, second}, {second, first}, {netip.MustParseAddr("::ffff:192.0.2.1"), second}} {
		if got, ok := key(name, pair[0], pair[1]); !ok || got != want {
			t.Errorf("%q, %v", got, ok)
		}
	}
	for _, pair := range [][2]netip.Addr{{first, first}, {first, {}}, {first, netip.MustParseAddr("fe80::1%eth0")}} {
		if got, ok := key(name, pair[0], pair[1]); ok {
			t.Errorf("%q", got)
		}
	}
	if _, ok := key(strings.Repeat("a", hostid.MaxName+1), first, second); ok {
		t.Error("a name without bounds")
	}
}

// FuzzParseClaim: what is believed is a proof of sameness that is not of the future and
// has not expired, and reads the same again.
func FuzzParseClaim(f *testing.F) {
	for _, o := range []hostid.Outcome{hostid.Joined, hostid.LimitReached, hostid.Announced} {
		good := claim{o, now.Add(-time.Minute)}.value()
		if _, err := parseClaim(good, now); err != nil {
			f.Fatalf("seed %q: %v", good, err)
		}
		f.Add(good)
	}
	f.Add("joined 99999999999")
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseClaim(value, now)
		if err != nil {
			return
		}
		if c.outcome.Verdict() != hostid.Same || c.at.After(now) || !now.Before(c.expires()) || c.expires().After(now.Add(hostid.JoinedLifetime)) {
			t.Errorf("%q is believed: %+v", value, c)
		}
		if again, err := parseClaim(c.value(), now); err != nil || again.outcome != c.outcome || !again.at.Equal(c.at) {
			t.Errorf("%q: %+v and %+v, %v", value, c, again, err)
		}
		if len(value) > maxValue {
			t.Errorf("%d octets are read", len(value))
		}
	})
}
