package testlab_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

var (
	server4 = netip.MustParseAddr("10.1.1.2")
	server6 = netip.MustParseAddr("fd00:11::2")
)

const port = 7000

// linkDelay keeps replies from reaching a socket that is inside connect(2):
// the kernel puts off ICMP errors then.
const linkDelay = 2 * time.Millisecond

// tryDial makes one attempt with MPTCP and none with plain TCP after it.
func tryDial(ctx context.Context, dst netip.Addr) (*net.TCPConn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return onlyMPTCP(c) }}
	d.SetMultipathTCP(true)
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(dst, port).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

var errPlainRetry = errors.New("no second attempt with plain TCP")

func onlyMPTCP(c syscall.RawConn) error {
	var proto int
	var err error
	if ctlErr := c.Control(func(fd uintptr) {
		const soProtocol = 38 // SO_PROTOCOL
		proto, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, soProtocol)
	}); ctlErr != nil {
		return ctlErr
	}
	if err == nil && proto == syscall.IPPROTO_TCP {
		return errPlainRetry
	}
	return err
}

// connectError dials with plain TCP and returns what the kernel said.
func connectError(ctx context.Context, dst netip.Addr) error {
	d := net.Dialer{Timeout: 10 * time.Second}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(dst, port).String())
	if err == nil {
		_ = c.Close()
	}
	return err
}

func TestErrors(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, linkDelay)
		echo(t, listen(t, server))
		tests := []struct {
			behaviour testlab.Behaviour
			v4, v6    error
		}{
			{testlab.Refused, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
			{testlab.Unreachable, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
			{testlab.NetUnreachable, syscall.ENETUNREACH, syscall.ENETUNREACH},
			{testlab.PortUnreachable, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
			{testlab.AdminProhibited, syscall.EHOSTUNREACH, syscall.EACCES},
			{testlab.Up, nil, nil},
		}
		for _, tt := range tests {
			lab.Behave(server4, tt.behaviour)
			lab.Behave(server6, tt.behaviour)
			if err := connectError(t.Context(), server4); !errors.Is(err, tt.v4) {
				t.Errorf("%v, IPv4: %v, want %v", tt.behaviour, err, tt.v4)
			}
			if err := connectError(t.Context(), server6); !errors.Is(err, tt.v6) {
				t.Errorf("%v, IPv6: %v, want %v", tt.behaviour, err, tt.v6)
			}
		}
		for _, nobody := range []string{"10.9.9.9", "fd00:99::9"} {
			if err := connectError(t.Context(), netip.MustParseAddr(nobody)); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("address that no host has: %v, want EHOSTUNREACH", err)
			}
		}
	})
}

func TestRefusedDatagram(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, _ := oneServer(t, linkDelay)
		lab.Behave(server6, testlab.Refused)
		c, err := net.Dial("udp", netip.AddrPortFrom(server6, 53).String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("read: %v, want ECONNREFUSED", err)
		}
	})
}

func TestBlackholed(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, 0)
		echo(t, listen(t, server))
		lab.Behave(server4, testlab.Blackholed)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		var timeout net.Error
		if err := connectError(ctx, server4); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v, want a timeout", err)
		}
		roundTrip(t, dial(t, netip.AddrPortFrom(server6, port).String()))
		if n := len(lab.SYNs()); n < 2 {
			t.Errorf("%d SYNs recorded, want the blackholed one too", n)
		}
	})
}

// TestStrippedHandshake shows the connections of both ways of stripping: plain
// TCP, over which data moves.
func TestStrippedHandshake(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, linkDelay)
		echo(t, listen(t, server))
		for _, b := range []testlab.Behaviour{testlab.StripSYN, testlab.StripSYNACK, testlab.StripThirdACK, testlab.StripLater} {
			lab.Behave(server4, b)
			lab.Behave(server6, b)
			for _, dst := range []netip.Addr{server4, server6} {
				c, err := tryDial(t.Context(), dst)
				if err != nil {
					t.Fatalf("%v: %v", b, err)
				}
				roundTrip(t, c)
				roundTrip(t, c)
				if ok, err := c.MultipathTCP(); err != nil || ok {
					t.Errorf("%v, %v: MPTCP %v, %v; want fallback", b, dst, ok, err)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func TestBlockMPTCP(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, 0)
		echo(t, listen(t, server))
		if err := lab.Client().Sysctl("net.mptcp.syn_retrans_before_tcp_fallback", "0"); err != nil {
			t.Fatal(err)
		}
		lab.Behave(server6, testlab.BlockMPTCP)
		c, err := tryDial(t.Context(), server6)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		roundTrip(t, c)
		var kinds []testlab.SYNKind
		for _, s := range lab.SYNs() {
			kinds = append(kinds, s.Kind)
		}
		if len(kinds) < 2 || kinds[0] != testlab.Capable || kinds[len(kinds)-1] != testlab.Plain {
			t.Errorf("SYNs %v, want capable ones, then a plain one", kinds)
		}
	})
}

func TestSYNs(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, 0)
		echo(t, listen(t, server))
		before := time.Now()
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		if err := connectError(t.Context(), server4); err != nil {
			t.Fatal(err)
		}
		got := lab.SYNs()
		if len(got) != 2 {
			t.Fatalf("%d SYNs: %v; client %+v, server %+v", len(got), got, lab.Client().Links()[0].Stats(), server.Links()[0].Stats())
		}
		local := netip.MustParseAddrPort(c.LocalAddr().String())
		if s := got[0]; s.Kind != testlab.Capable || s.Src != local || s.Dst != netip.AddrPortFrom(server6, port) || s.At.Before(before) {
			t.Errorf("first SYN %v at %v, want a capable one from %v", s, s.At, local)
		}
		if s := got[1]; s.Kind != testlab.Plain || s.Dst.Addr() != server4 {
			t.Errorf("second SYN %v, want a plain one", s)
		}
		lab.ResetSYNs()
		if got := lab.SYNs(); len(got) != 0 {
			t.Errorf("SYNs after reset: %v", got)
		}
	})
}

func TestPlainListener(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, server := oneServer(t, 0)
		ln, err := server.ListenPlain("tcp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		echo(t, ln)
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		roundTrip(t, c)
		if ok, err := c.MultipathTCP(); err != nil || ok {
			t.Errorf("MPTCP %v, %v; want plain TCP", ok, err)
		}
	})
}
