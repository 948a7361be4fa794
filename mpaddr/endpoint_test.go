package mpaddr_test

import (
	"net/netip"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestEndpointZones(t *testing.T) {
	for _, tt := range []struct {
		in, zone string
		id       uint32
		ok       bool
	}{
		{"[fe80::1]:1", "", 0, true},
		{"[fe80::1%0]:1", "", 0, true},
		{"[fe80::1%000]:1", "", 0, true},
		{"[fe80::1%3]:1", "3", 3, true},
		{"[fe80::1%0042]:1", "42", 42, true},
		{"[fe80::1%4294967295]:1", "4294967295", 4294967295, true},
		{"[fe80::1%4294967296]:1", "4294967296", 0, false},
		{"[fe80::1%18446744073709551617]:1", "18446744073709551617", 0, false},
		{"[fe80::1%eth0]:1", "eth0", 0, false},
		{"[fe80::1%3a]:1", "3a", 0, false},
		{"[fe80::1%-3]:1", "-3", 0, false},
		{"192.0.2.1:1", "", 0, true},
	} {
		e := mpaddr.EndpointFrom(netip.MustParseAddrPort(tt.in))
		id, ok := e.ScopeID()
		if e.Zone() != tt.zone || id != tt.id || ok != tt.ok {
			t.Errorf("%s: zone %q, scope id %d, %v; want %q, %d, %v", tt.in, e.Zone(), id, ok, tt.zone, tt.id, tt.ok)
		}
	}
}

func TestZeroEndpoint(t *testing.T) {
	var zero mpaddr.Endpoint
	for _, e := range []mpaddr.Endpoint{
		zero, mpaddr.EndpointFrom(netip.AddrPort{}),
		mpaddr.EndpointFrom(netip.AddrPortFrom(netip.Addr{}, 443)),
		zero.WithFlowinfo(1), zero.WithPort(1), zero.Unmap(),
	} {
		if e != zero || e.IsValid() || e.String() != "invalid Endpoint" {
			t.Errorf("got %+v, want the zero Endpoint", e)
		}
	}
	text, err := zero.MarshalText()
	if err != nil || text == nil || len(text) != 0 {
		t.Errorf("text: got %q, %v, want empty", text, err)
	}
	e := endpointsOf(t, "192.0.2.1:1")[0]
	if err := e.UnmarshalText(text); err != nil || e != zero {
		t.Errorf("back: got %v, %v", e, err)
	}
}

func TestEndpointForms(t *testing.T) {
	mapped := endpointsOf(t, "[::ffff:192.0.2.1%3]:443/flowinfo=0x5")[0]
	plain := endpointsOf(t, "192.0.2.1:443")[0]
	if mapped == plain || mapped.Unmap() != plain || plain.Unmap() != plain {
		t.Errorf("Unmap: got %v, want %v", mapped.Unmap(), plain)
	}
	if !mapped.SameTarget(plain) || mapped.Target() != plain.AddrPort() {
		t.Errorf("Target: got %v, want %v", mapped.Target(), plain)
	}
	if plain.WithFlowinfo(9) != plain {
		t.Error("an IPv4 endpoint took flow information")
	}
	six := endpointsOf(t, "[2001:db8::1]:443")[0]
	if got := six.WithFlowinfo(9); got == six || !got.SameTarget(six) || got.Flowinfo() != 9 || got.Unmap() != got {
		t.Errorf("WithFlowinfo: got %v", got)
	}
	if got := mapped.WithPort(80).String(); got != "[::ffff:192.0.2.1%3]:80/flowinfo=0x5" {
		t.Errorf("WithPort: got %s", got)
	}
}
