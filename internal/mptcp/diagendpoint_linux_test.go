package mptcp

import (
	"net/netip"
	"testing"
)

// endpointAnswers are answers to the get address command, and what they say.
var endpointAnswers = []struct {
	name  string
	attrs []byte
	want  Endpoint
}{
	{
		"IPv4", nested(attrAddr, attr(addrFamily, u16(familyINET)...), attr(addrID, 1), attr(addrFlags, u32(6)...), attr(addrIPv4, 10, 0, 1, 2)),
		Endpoint{ID: 1, Flags: EndpointSubflow | EndpointBackup, Addr: netip.MustParseAddrPort("10.0.1.2:0")},
	},
	{
		"IPv6 with port and interface", nested(attrAddr, attr(addrIPv6, v6addr1[:]...), attr(addrPort, u16(7000)...),
			attr(addrID, 255), attr(addrFlags, u32(1)...), attr(addrIfIndex, u32(3)...), attr(99, 1)),
		Endpoint{ID: 255, Flags: EndpointSignal, Addr: netip.MustParseAddrPort("[fd00:1::2]:7000"), IfIndex: 3},
	},
}

func TestParseEndpoint(t *testing.T) {
	for _, test := range endpointAnswers {
		if got, err := parseEndpoint(test.attrs); err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
	for name, b := range map[string][]byte{
		"empty":             nil,
		"no address":        nested(attrAddr, attr(addrID, 1)),
		"IPv4 of 16 octets": nested(attrAddr, attr(addrIPv4, v6addr1[:]...)),
		"long id":           nested(attrAddr, attr(addrIPv4, 10, 0, 0, 1), attr(addrID, 1, 2)),
		"half a header":     {4, 0},
	} {
		if e, err := parseEndpoint(b); err == nil || e != (Endpoint{}) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// FuzzParseEndpoint: whatever the octets, no panic, and an address or an error.
func FuzzParseEndpoint(f *testing.F) {
	for _, test := range endpointAnswers {
		if e, err := parseEndpoint(test.attrs); err != nil || e != test.want {
			f.Fatalf("seed %s: %+v, %v", test.name, e, err)
		}
		f.Add(test.attrs)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEndpoint(b)
		if (err == nil) != e.Addr.IsValid() || e.Addr.Addr().Is4In6() {
			t.Errorf("%+v, %v", e, err)
		}
	})
}
