package resolver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestKindsOfFailure tells the ways to fail apart, for this package's checks
// and for those made for net.Resolver.
func TestKindsOfFailure(t *testing.T) {
	tests := map[string]struct {
		script                       dnstest.Script
		kind                         error
		notFound, temporary, timeout bool
		text                         string
	}{
		"NXDOMAIN": {dnstest.Always(dnstest.NXDomain()), resolver.ErrNoSuchName, true, false, false, "www.example: no such name (NXDOMAIN from 192.0.2.53"},
		"NODATA":   {dnstest.Always(dnstest.NoData()), resolver.ErrNoData, true, false, false, "www.example: no records of this type (NOERROR from 192.0.2.53"},
		"SERVFAIL": {dnstest.Always(dnstest.Action{RCode: 2}), resolver.ErrServerFailure, false, true, false, "www.example: server failure (SERVFAIL from 192.0.2.53"},
		"REFUSED":  {dnstest.Always(dnstest.Action{RCode: 5}), resolver.ErrRefused, false, false, false, "www.example: refused (REFUSED from 192.0.2.53"},
		"NOTIMP":   {dnstest.Always(dnstest.Action{RCode: 4}), resolver.ErrServerFailure, false, true, false, "NOTIMP"},
		"silence":  {drop, resolver.ErrTimeout, false, true, true, "www.example: timed out after 2 tries (server 192.0.2.53, 10.0 s)"},
		"NODATA and SERVFAIL": {
			typed("A", dnstest.Always(dnstest.Action{RCode: 2}), dnstest.Always(dnstest.NoData())),
			resolver.ErrServerFailure, false, true, false, "SERVFAIL",
		},
		"NXDOMAIN and SERVFAIL": {
			typed("A", dnstest.Always(dnstest.Action{RCode: 2}), dnstest.Always(dnstest.NXDomain())),
			resolver.ErrNoSuchName, true, false, false, "NXDOMAIN",
		},
		"NODATA and silence": {
			typed("A", drop, dnstest.Always(dnstest.NoData())),
			resolver.ErrTimeout, false, true, true, "timed out",
		},
		"loopback only": {
			dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN A 127.0.0.1"}}),
			resolver.ErrFiltered, false, false, false, "no usable address",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := virtual(t, one, onServer(tc.script))
				a, err := r.Lookup(t.Context(), "www.example")
				if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.text) {
					t.Fatalf("got %v, want %v and %q", err, tc.kind, tc.text)
				}
				if a == nil || len(a.Families) != 2 {
					t.Errorf("no answer with the error: %+v", a)
				}
				var ne net.Error
				var de *net.DNSError
				if !errors.As(err, &ne) || !errors.As(err, &de) {
					t.Fatalf("%v is no net.Error or has no net.DNSError", err)
				}
				got := fmt.Sprint(errors.Is(err, resolver.ErrNotFound), de.IsNotFound, de.IsTemporary, de.IsTimeout, ne.Timeout())
				want := fmt.Sprint(tc.notFound, tc.notFound, tc.temporary, tc.timeout, tc.timeout)
				if got != want {
					t.Errorf("not found, DNSError not found, temporary, timeout, Timeout(): %s, want %s", got, want)
				}
				if de.Name != "www.example" {
					t.Errorf("DNSError %+v", de)
				}
			})
		})
	}
}

func TestServerNotReachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, nil)
		_, err := r.Lookup(t.Context(), "www.example")
		var e *resolver.Error
		if !errors.Is(err, resolver.ErrUnreachable) || !errors.As(err, &e) || !e.Temporary() || e.Hint == "" {
			t.Errorf("got %v, want unreachable with a hint", err)
		}
		if want := "www.example: could not ask: connection refused (server 192.0.2.53, "; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %q, want %q", err, want)
		}
	})
}

func TestMalformedReply(t *testing.T) {
	// The answer to www.example. A, its record cut off.
	cut := append([]byte{0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, "\x03www\x07example\x00\x00\x01\x00\x01\xc0\x0c\x00\x01"...)
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("A", dnstest.Always(dnstest.Action{Raw: cut, PatchID: true}), dnstest.Always(dnstest.NoData()))))
		if _, err := r.Lookup(t.Context(), "www.example"); !errors.Is(err, resolver.ErrServerFailure) {
			t.Errorf("got %v, want a server failure", err)
		}
	})
}

func TestErrorJSON(t *testing.T) {
	e := &resolver.Error{Name: "www.example", Type: "A", Kind: resolver.ErrNoSuchName, RCode: "NXDOMAIN", Server: "192.0.2.53:53"}
	b, err := json.Marshal(e)
	want := `{"kind":"no such name","message":"www.example: A: no such name (NXDOMAIN from 192.0.2.53)","rcode":"NXDOMAIN","server":"192.0.2.53:53"}`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
}
