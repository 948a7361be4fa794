package broker

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		addr string
		want class
	}{
		{"0.0.0.0", invalid},
		{"0.1.2.3", invalid},
		{"1.1.1.1", public},
		{"9.255.255.255", public},
		{"10.0.0.0", private},
		{"10.255.255.255", private},
		{"11.0.0.0", public},
		{"100.63.255.255", public},
		{"100.64.0.0", private},
		{"100.127.255.255", private},
		{"100.128.0.0", public},
		{"127.0.0.1", local},
		{"127.255.255.254", local},
		{"169.254.169.254", local},
		{"172.15.255.255", public},
		{"172.16.0.0", private},
		{"172.31.255.255", private},
		{"172.32.0.0", public},
		{"192.0.0.8", private},
		{"192.0.2.1", public},
		{"192.168.1.1", private},
		{"198.18.0.1", private},
		{"224.0.0.1", invalid},
		{"239.255.255.255", invalid},
		{"240.0.0.1", invalid},
		{"255.255.255.255", invalid},
		{"::", invalid},
		{"::1", local},
		{"::2", invalid},
		{"::127.0.0.1", invalid},
		{"::ffff:10.0.0.1", private},
		{"::ffff:127.0.0.1", local},
		{"::ffff:1.1.1.1", public},
		{"::ffff:0:127.0.0.1", invalid},
		{"64:ff9b::1.1.1.1", public},
		{"64:ff9b::127.0.0.1", local},
		{"64:ff9b::10.0.0.1", private},
		{"64:ff9b:1::1", private},
		{"100::1", invalid},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", invalid},
		{"2001:db8::1", public},
		{"2001:4860:4860::8888", public},
		{"2002:7f00:1::1", local},
		{"2002:a00:1::1", private},
		{"2002:101:101::1", public},
		{"fbff::1", public},
		{"fc00::1", private},
		{"fdff::1", private},
		{"fe80::1", local},
		{"fe80::1%eth0", local},
		{"fec0::1", private},
		{"ff02::1", invalid},
	}
	for _, test := range tests {
		if got := classify(netip.MustParseAddr(test.addr)); got != test.want {
			t.Errorf("%s is of class %d, want %d", test.addr, got, test.want)
		}
	}
	if got := classify(netip.Addr{}); got != invalid {
		t.Errorf("no address is of class %d", got)
	}
}

func TestTarget(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	tests := []struct {
		name, remote, peer string
		announced          string
		allow              []netip.Prefix
		want               error
	}{
		{"public", "198.51.100.2:443", "198.51.100.1:443", "", nil, nil},
		{"other family", "[2001:db8::2]:443", "198.51.100.1:443", "", nil, nil},
		{"the peer itself", "198.51.100.1:443", "198.51.100.1:443", "", nil, nil},
		{"other port", "198.51.100.2:22", "198.51.100.1:443", "", nil, errPort},
		{"other port of the peer", "198.51.100.1:22", "198.51.100.1:443", "", nil, errPort},
		{"no port", "198.51.100.2:0", "198.51.100.1:443", "", nil, errPort},
		{"no port at all", "198.51.100.2:0", "198.51.100.1:0", "198.51.100.2:0", nil, errPort},
		{"announced port", "198.51.100.2:8443", "198.51.100.1:443", "198.51.100.2:8443", nil, nil},
		{"announced for another address", "198.51.100.3:8443", "198.51.100.1:443", "198.51.100.2:8443", nil, errPort},
		{"announced, but private", "10.0.0.2:8443", "198.51.100.1:443", "10.0.0.2:8443", nil, errPrivate},
		{"announced loopback", "127.0.0.1:443", "198.51.100.1:443", "127.0.0.1:443", nil, errNotPublic},
		{"private", "10.0.0.2:443", "198.51.100.1:443", "", nil, errPrivate},
		{"private of a private peer", "10.0.0.2:443", "192.168.0.1:443", "", nil, nil},
		{"unique local of a private peer", "[fd00::2]:443", "10.0.0.1:443", "", nil, nil},
		{"private of a link-local peer", "10.0.0.2:443", "[fe80::1]:443", "", nil, nil},
		{"private of a loopback peer", "10.0.0.2:443", "127.0.0.1:443", "", nil, nil},
		{"private of a mapped private peer", "10.0.0.2:443", "[::ffff:10.0.0.1]:443", "", nil, nil},
		{"loopback of a loopback peer", "127.0.0.2:443", "127.0.0.1:443", "", nil, errNotPublic},
		{"link-local of a link-local peer", "[fe80::2]:443", "[fe80::1]:443", "", nil, errNotPublic},
		{"metadata service", "169.254.169.254:80", "10.0.0.1:80", "", nil, errNotPublic},
		{"multicast", "[ff02::1]:443", "[2001:db8::1]:443", "", nil, errNotPublic},
		{"unspecified", "0.0.0.0:443", "10.0.0.1:443", "", nil, errNotPublic},
		{"broadcast", "255.255.255.255:443", "10.0.0.1:443", "", nil, errNotPublic},
		{"allowed", "198.51.100.2:443", "198.51.100.1:443", "", prefixes("203.0.113.0/24", "198.51.100.0/24"), nil},
		{"not allowed", "192.0.2.2:443", "198.51.100.1:443", "", prefixes("203.0.113.0/24", "198.51.100.0/24"), errDisallow},
		{"allowed, but private", "10.0.0.2:443", "198.51.100.1:443", "", prefixes("10.0.0.0/8"), errPrivate},
		{"allowed, but loopback", "127.0.0.1:443", "127.0.0.1:443", "", prefixes("127.0.0.0/8"), errNotPublic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			announced := map[uint8]netip.AddrPort{}
			if test.announced != "" {
				announced[3] = netip.MustParseAddrPort(test.announced)
			}
			p := policy{allow: test.allow}
			err := p.target(netip.MustParseAddrPort(test.remote), netip.MustParseAddrPort(test.peer), announced)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestTargetProperties: whatever is asked for, what is let through has the
// connection's port, an address for hosts, and lies in the allowed prefixes.
func TestTargetProperties(t *testing.T) {
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "octets")
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			return netip.AddrFrom4([4]byte(b))
		case 1: // near a border of one of the ranges
			p := rapid.SampledFrom(classes).Draw(t, "range").prefix
			return rapid.SampledFrom([]netip.Addr{p.Addr(), p.Addr().Next()}).Draw(t, "border")
		}
		return netip.AddrFrom16([16]byte(b))
	})
	allow := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("::/1")}
	rapid.Check(t, func(t *rapid.T) {
		peer := netip.AddrPortFrom(addr.Draw(t, "peer"), rapid.Uint16Range(0, 2).Draw(t, "peer's port"))
		remote := netip.AddrPortFrom(addr.Draw(t, "remote"), rapid.Uint16Range(0, 2).Draw(t, "port"))
		p := policy{}
		if rapid.Bool().Draw(t, "narrowed") {
			p.allow = allow
		}
		if p.target(remote, peer, nil) != nil {
			return
		}
		a := remote.Addr().Unmap()
		if remote.Port() != peer.Port() || remote.Port() == 0 {
			t.Errorf("port of %v for a connection to %v", remote, peer)
		}
		if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
			t.Errorf("target %v", remote)
		}
		if a.IsPrivate() && classify(peer.Addr()) == public {
			t.Errorf("private target %v for a connection to %v", remote, peer)
		}
		if p.allow != nil && !allow[0].Contains(remote.Addr()) && !allow[1].Contains(remote.Addr()) {
			t.Errorf("target %v is not allowed", remote)
		}
	})
}

func TestAnnouncePolicy(t *testing.T) {
	own := machine{addrs: []netip.Addr{
		netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("10.0.0.9"),
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::9"),
	}}
	for _, l := range []string{"198.51.100.9:40000", "10.0.0.9:40000", "127.0.0.1:40000", "198.51.100.7:22", "0.0.0.0:22"} {
		own.listeners = append(own.listeners, mptcp.Listener{Local: netip.MustParseAddrPort(l)})
	}
	here, peer := netip.MustParseAddrPort("198.51.100.8:40000"), netip.MustParseAddrPort("203.0.113.1:443")
	tests := []struct {
		name, addr string
		peer       netip.AddrPort
		want       error
	}{
		{"own", "198.51.100.9:0", peer, nil},
		{"own, the connection's port", "198.51.100.9:40000", peer, nil},
		{"own, another port", "198.51.100.9:22", peer, errOwnPort},
		{"another host's", "198.51.100.10:0", peer, errNotOwn},
		{"not listening on the connection's port", "198.51.100.7:0", peer, errNotBound},
		{"not listening at all", "[2001:db8::9]:0", peer, errNotBound},
		{"private", "10.0.0.9:0", peer, errPrivate},
		{"private to a private peer", "10.0.0.9:0", netip.MustParseAddrPort("10.0.0.1:443"), nil},
		{"loopback", "127.0.0.1:0", netip.MustParseAddrPort("127.0.0.1:443"), errNotPublic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := policy{}.announce(netip.MustParseAddrPort(test.addr), here, test.peer, own)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestRoom(t *testing.T) {
	p := policy{subflows: 2}
	for n, want := range []error{nil, nil, errSubflows, errSubflows} {
		if err := p.room(n); !errors.Is(err, want) {
			t.Errorf("%d subflows: %v, want %v", n, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	got, err := Limits{Subflows: 3}.complete()
	want := Limits{
		DefaultClients, DefaultPerUser, 3, DefaultRequests, DefaultBurst, DefaultHelloTimeout, DefaultWriteTimeout,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []Limits{{Clients: -1}, {Requests: -0.5}, {HelloTimeout: -1}, {Subflows: MaxSubflows + 1}} {
		if _, err := bad.complete(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
