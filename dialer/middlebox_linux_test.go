package dialer

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// inOneFamily runs a test in a lab whose client has this address only. The
// server has the others.
func inOneFamily(t *testing.T, client string, test func(t *testing.T, w *world), server ...netip.Addr) {
	t.Helper()
	labtest.Run(t, func(t *testing.T) {
		w := &world{Lab: labtest.New(t, testlab.Options{})}
		spec := testlab.LinkSpec{Addrs: []netip.Prefix{netip.MustParsePrefix(client)}, Delay: labDelay}
		if _, err := w.AddClientLink(spec); err != nil {
			t.Fatal(err)
		}
		w.server = w.host(t, "server", server)
		test(t, w)
	})
}

// TestNoRoute: where this host has one family, a name with both is reached over
// that one, at once, and the report says what could not be.
func TestNoRoute(t *testing.T) {
	for _, tt := range []struct {
		name, client string
		first, other netip.Addr
	}{
		{"IPv6 only", "2001:db8:1::2/64", server1v6, server1v4},
		{"IPv4 only", "10.0.1.2/24", server1v4, server1v6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inOneFamily(t, tt.client, func(t *testing.T, w *world) {
				serve(t, w.server, false)
				c := dialName(t, asking(t, zone(server1v6, server1v4)), "tcp")
				r := joined(t, c)
				checkTime(t, "dial", r.Connect-r.Resolve, 2*labRTT)
				if c.remote.Addr() != tt.first || r.Fallback != "" {
					t.Errorf("connected to %v, fallback %q", c.remote, r.Fallback)
				}
				if v := verdicts(r)[tt.other]; v == Joined || v == First {
					t.Errorf("%v: %q without a route", tt.other, v)
				}
				// In the wrong order too.
				var d Dialer
				c = connect(t, &d, record(tt.other, tt.first))
				echo(t, c)
				r = c.Report()
				checkTime(t, "dial", r.Connect, 2*labRTT+synthesisTimeout)
				if len(r.Attempts) != 2 || !isUnreachable(r.Attempts[0].Err) {
					t.Errorf("attempts %+v", r.Attempts)
				}
			}, server1v6, server1v4)
		})
	}
}

// The NAT64 of the tests: natted is reached as translated.
var (
	nat64Prefix = netip.MustParsePrefix("2001:db8:64::/96")
	natted      = netip.MustParseAddr("192.0.2.1")
	translated  = netip.MustParseAddr("2001:db8:64::c000:201")
)

// TestNAT64: an IPv4 address is reached without a route to it, as a literal and
// as a name's; and where there is no NAT64 the error is that of the system.
func TestNAT64(t *testing.T) {
	inOneFamily(t, "2001:db8:1::2/64", func(t *testing.T, w *world) {
		serve(t, w.server, false)
		configured := asking(t, zone(natted))
		configured.Resolver.NAT64 = []netip.Prefix{nat64Prefix}
		discovered := &Dialer{Resolver: resolving(t, discoverable(t))}
		port := strconv.Itoa(labPort)
		for _, tt := range []struct {
			name, address string
			dialer        *Dialer
		}{
			{"literal", net.JoinHostPort(natted.String(), port), configured},
			{"name", net.JoinHostPort(labName, port), configured},
			{"discovered, literal", net.JoinHostPort(natted.String(), port), discovered},
			{"discovered, name", net.JoinHostPort(labName, port), discovered},
		} {
			nc, err := tt.dialer.DialContext(timeout(t), "tcp", tt.address)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			echo(t, nc)
			r := nc.(*Conn).Report()
			if got := addrPortOf(nc.RemoteAddr()).Addr(); got != translated {
				t.Errorf("%s: connected to %v", tt.name, got)
			}
			if a := r.Attempts; len(a) != 1 || a[0].Remote.Addr() != natted || a[0].Via.Addr() != translated {
				t.Errorf("%s: attempts %+v", tt.name, a)
			}
			_ = nc.Close()
		}
		none := asking(t, zone())
		_, err := none.DialContext(timeout(t), "tcp", net.JoinHostPort(natted.String(), port))
		if !errors.Is(err, syscall.ENETUNREACH) || strings.Contains(err.Error(), "NAT64") {
			t.Errorf("without a NAT64: %v", err)
		}
		_, err = configured.DialContext(timeout(t), "tcp", net.JoinHostPort(natted.String(), "7001"))
		if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), translated.String()) {
			t.Errorf("a closed port behind it: %v", err)
		}
	}, translated)
}

// discoverable is a DNS server from which the prefix can be learned (RFC 7050).
func discoverable(t *testing.T) string {
	t.Helper()
	return dnstest.Start(t, dnstest.Zone(
		"ipv4only.arpa. 60 IN AAAA 2001:db8:64::c000:aa", "ipv4only.arpa. 60 IN AAAA 2001:db8:64::c000:ab",
		labName+". 60 IN A "+natted.String(), labName+". 60 IN AAAA "+translated.String(),
	)).Addr()
}

// TestMiddlebox: whatever a box on the path does to the options of the first
// subflow, a connection comes of it and the report says what it is.
func TestMiddlebox(t *testing.T) {
	for _, tt := range []struct {
		behaviour testlab.Behaviour
		fallback  string // in the report; "" for Multipath TCP
	}{
		{testlab.StripSYN, "does not speak Multipath TCP"},
		{testlab.StripSYNACK, "does not speak Multipath TCP"},
		{testlab.StripThirdACK, "fell back after it was made"},
		{testlab.StripLater, "fell back after it was made"},
		{testlab.BlockMPTCP, "something on the path"}, // the next connection knows more: TestBlackholeState
	} {
		t.Run(tt.behaviour.String(), func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				serve(t, w.server, false)
				w.Behave(server1v6, tt.behaviour)
				var d Dialer
				c := connect(t, &d, record(server1v6))
				if err := <-transfer(t, c, 256<<10); err != nil {
					t.Fatal(err)
				}
				r := c.Report()
				if !strings.Contains(r.Fallback, tt.fallback) {
					t.Errorf("fallback %q, want %q", r.Fallback, tt.fallback)
				}
				if c.ID() != 0 || len(c.Paths()) != 1 || c.Paths()[0].State != StateActive {
					t.Errorf("id %d, paths %+v", c.ID(), c.Paths())
				}
				t.Logf("connected in %v: %s", r.Connect, r.Fallback)
			})
		})
	}
}

// TestPMTUBlackHole: large packets vanish on the way without a word. A
// connection with a second path goes on over it, and no octet is lost.
func TestPMTUBlackHole(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		// The far end of the narrow link does not know that it is narrow, and the
		// link drops what is too large.
		narrow := netip.MustParseAddr("2001:db8:31::2")
		h, err := w.AddHost("behind",
			testlab.LinkSpec{Name: "narrow", Addrs: []netip.Prefix{netip.PrefixFrom(narrow, 64)}, MTU: 1280},
			testlab.LinkSpec{Name: "wide", Addrs: []netip.Prefix{netip.PrefixFrom(wide, 64)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Do(func() error { return setMTU("narrow", testlab.MaxMTU) }); err != nil {
			t.Fatal(err)
		}
		serve(t, h, false)
		var d Dialer
		c := connect(t, &d, record(narrow, wide))
		if v := verdicts(joined(t, c))[wide]; v != Joined {
			t.Fatalf("%q, want joined", v)
		}
		if err := <-transfer(t, c, 1<<20); err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Paths() {
			t.Logf("%v: %s, %d octets sent, backoff %d", p.Remote, p.State, p.BytesSent, p.Backoff)
		}
		if r := c.Report(); r.Fallback != "" || c.remote.Addr() != narrow {
			t.Errorf("connected to %v, fallback %q", c.remote, r.Fallback)
		}
	})
}

// wide is the address of the second link of TestPMTUBlackHole.
var wide = netip.MustParseAddr("2001:db8:32::2")

// setMTU sets the MTU of an interface of the calling thread's namespace.
func setMTU(name string, mtu uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint32(mtu)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFMTU, request))
}
