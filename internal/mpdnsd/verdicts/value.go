package verdicts

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The bounds of what is read from the server.
const (
	keyPrefix = "mpdnsd:1:"
	// maxValue is the longest value, in octets.
	maxValue = 64
	// maxSeconds is the longest number of seconds, in digits.
	maxSeconds = 11
	// maxSkew is by how much another machine's clock may be ahead.
	maxSkew = time.Minute
)

// claim is what a value says: an outcome that proves two addresses to be one host.
type claim struct {
	outcome hostid.Outcome
	at      time.Time // in whole seconds
}

// word is the outcome in a value; "" for one that is not shared.
func word(o hostid.Outcome) string {
	switch o {
	case hostid.Joined:
		return "joined"
	case hostid.LimitReached:
		return "limit-reached"
	case hostid.Announced:
		return "announced"
	default:
		return ""
	}
}

// value is the claim as it is published.
func (c claim) value() string { return word(c.outcome) + " " + strconv.FormatInt(c.at.Unix(), 10) }

// expires is when the claim ends.
func (c claim) expires() time.Time { return c.at.Add(c.outcome.Lifetime()) }

// key is the key of two addresses under a name; false for addresses that mean
// something on this machine only.
func key(name string, x, y netip.Addr) (string, bool) {
	x, y = x.Unmap(), y.Unmap()
	if y.Less(x) {
		x, y = y, x
	}
	ok := x.IsValid() && x != y && x.Zone() == "" && y.Zone() == "" && len(name) <= hostid.MaxName
	return keyPrefix + name + " " + x.String() + " " + y.String(), ok
}

// parseClaim reads a value, which anybody may have written. One of the near future is
// taken for one of now; what has expired is an error.
func parseClaim(value string, now time.Time) (claim, error) {
	if len(value) > maxValue {
		return claim{}, fmt.Errorf("more than %d octets", maxValue)
	}
	what, when, _ := strings.Cut(value, " ")
	var c claim
	for _, o := range []hostid.Outcome{hostid.Joined, hostid.LimitReached, hostid.Announced} {
		if what == word(o) {
			c.outcome = o
		}
	}
	seconds, err := strconv.ParseUint(when, 10, 63)
	if c.outcome == hostid.NotTried || err != nil || len(when) > maxSeconds {
		return claim{}, fmt.Errorf("%q is no OUTCOME SECONDS", value)
	}
	c.at = time.Unix(int64(seconds), 0) //nolint:gosec // 63 bits
	switch {
	case c.at.After(now.Add(maxSkew)):
		return claim{}, fmt.Errorf("%q is of the future: is a clock wrong?", value)
	case c.at.After(now):
		c.at = now
	case !now.Before(c.expires()):
		return claim{}, fmt.Errorf("%q has expired", value)
	}
	return c, nil
}
