package testlab_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// patience bounds the waiting for what the kernel does in its own time.
const patience = 10 * time.Second

// waitFor polls a condition that nothing announces.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// twoLinks is a lab whose client and server have two links each.
func twoLinks(t *testing.T) (lab *testlab.Lab, server *testlab.Host) {
	t.Helper()
	lab = labtest.New(t, testlab.Options{})
	for _, addrs := range [][]netip.Prefix{prefixes("10.0.1.2/24", "fd00:1::2/64"), prefixes("10.0.2.2/24", "fd00:2::2/64")} {
		if _, err := lab.AddClientLink(testlab.LinkSpec{Addrs: addrs}); err != nil {
			t.Fatal(err)
		}
	}
	server, err := lab.AddHost("server",
		testlab.LinkSpec{Name: "first", Addrs: prefixes("10.1.1.2/24", "fd00:11::2/64")},
		testlab.LinkSpec{Name: "second", Addrs: prefixes("10.1.2.2/24", "fd00:12::2/64")})
	if err != nil {
		t.Fatal(err)
	}
	return lab, server
}

func TestSourceRouting(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := twoLinks(t)
		echo(t, listen(t, server))
		links := lab.Client().Links()
		for i, sources := range [][]string{{"", "10.0.1.2"}, {"10.0.2.2"}, {"", "fd00:1::2"}, {"fd00:2::2"}} {
			dst := []netip.Addr{server4, server6}[i/2]
			used, other := links[i%2], links[1-i%2]
			for _, source := range sources {
				before := used.Stats()
				other.Cut()
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
				c, err := d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(dst, port).String())
				if err != nil {
					t.Fatalf("from %q to %v without link %s: %v", source, dst, other.Name(), err)
				}
				roundTrip(t, c)
				other.Heal()
				_ = c.Close()
				if after := used.Stats(); after.ToRouter == before.ToRouter || after.FromRouter == before.FromRouter {
					t.Errorf("from %q to %v: link %s unused", source, dst, used.Name())
				}
			}
		}
	})
}

// TestJoinLeavesBySecondLink makes a subflow from an address of the second
// link.
func TestJoinLeavesBySecondLink(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := twoLinks(t)
		echo(t, listen(t, server))
		if err := mptcp.SetPathManager("userspace"); err != nil {
			t.Fatal(err)
		}
		pm, err := mptcp.OpenPathManager()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pm.Close() }()
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		roundTrip(t, c)
		token := token(t, c)
		join := mptcp.Subflow{
			Local:   netip.AddrPortFrom(netip.MustParseAddr("fd00:2::2"), 0),
			LocalID: 1,
			Remote:  netip.MustParseAddrPort("[fd00:12::2]:7000"),
		}
		// The first round trip may end before the acknowledgement that
		// establishes the connection has come.
		waitFor(t, "an established connection", func() bool {
			return !errors.Is(pm.CreateSubflow(token, join), mptcp.ErrNotEstablished)
		})
		second := lab.Client().Links()[1]
		waitFor(t, "the join's SYN/ACK on the second link", func() bool { return second.Stats().FramesFromRouter > 0 })
		s := lab.SYNs()[1]
		if s.Kind != testlab.Join || s.Token == 0 || s.Src.Addr() != join.Local.Addr() || s.Dst != join.Remote {
			t.Errorf("second SYN %v, want a join from %v to %v", s, join.Local, join.Remote)
		}
		if !strings.Contains(s.String(), "join token 0x") {
			t.Errorf("the join is shown as %q", s)
		}
	})
}

// token returns the local token of an MPTCP connection.
func token(t *testing.T, c *net.TCPConn) uint32 {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	info, err := mptcp.GetInfo(raw)
	if err != nil {
		t.Fatal(err)
	}
	return info.Token
}

func TestDelay(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, 0)
		echo(t, listen(t, server))
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		lab.Client().Links()[0].SetDelay(15 * time.Millisecond)
		server.Links()[0].SetDelay(5 * time.Millisecond)
		const want = 40 * time.Millisecond
		best := time.Hour
		for range 5 {
			took := roundTrip(t, c)
			best = min(best, took)
			if took < want {
				t.Errorf("round trip %v, shorter than %v", took, want)
			}
		}
		t.Logf("shortest round trip %v", best)
		if best > 2*want {
			t.Errorf("shortest round trip %v, want about %v", best, want)
		}
	})
}

func TestRate(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, linkDelay)
		const rate, total = 20e6, 2 << 20
		link := lab.Client().Links()[0]
		link.SetRate(rate)
		ln := listen(t, server)
		received := make(chan int64, 1)
		go func() { received <- drain(ln) }()
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		began, before := time.Now(), link.Stats().ToRouter
		if _, err := c.Write(make([]byte, total)); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n := <-received; n != total {
			t.Fatalf("received %d octets of %d", n, total)
		}
		octets := link.Stats().ToRouter - before
		bits := float64(octets) * 8 / time.Since(began).Seconds()
		t.Logf("%d octets on the link at %.1f Mbit/s", octets, bits/1e6)
		if bits > rate*1.05 || bits < rate/4 {
			t.Errorf("%.1f Mbit/s over a link of %.0f Mbit/s", bits/1e6, rate/1e6)
		}
	})
}

func TestLoss(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, linkDelay)
		link := lab.Client().Links()[0]
		ln := listen(t, server)
		received := make(chan int64, 1)
		go func() { received <- drain(ln) }()
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		link.SetLoss(0.02)
		const total = 1 << 20
		if _, err := c.Write(make([]byte, total)); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n := <-received; n != total {
			t.Errorf("received %d octets of %d", n, total)
		}
		s := link.Stats()
		t.Logf("%+v", s)
		if s.Dropped == 0 || s.Dropped > s.FramesToRouter/4 {
			t.Errorf("%d frames dropped at 2%%", s.Dropped)
		}
	})
}

// expectSilence expects nothing to be readable for a while, which can only
// miss a fault, never invent one.
func expectSilence(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d octets, %v; want a timeout", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestCutAndHeal(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, linkDelay)
		echo(t, listen(t, server))
		c := dial(t, netip.AddrPortFrom(server6, port).String())
		roundTrip(t, c)
		for _, link := range []*testlab.Link{lab.Client().Links()[0], server.Links()[0]} {
			link.Cut()
			if _, err := io.WriteString(c, "lost?"); err != nil {
				t.Fatal(err)
			}
			expectSilence(t, c)
			link.Heal()
			if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestDownAndUp(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := twoLinks(t)
		echo(t, listen(t, server))
		first := lab.Client().Links()[0]
		for range 2 {
			if err := first.Down(); err != nil {
				t.Fatal(err)
			}
			// Unbound sockets now use the second link.
			for _, dst := range []netip.Addr{server4, server6} {
				c := dial(t, netip.AddrPortFrom(dst, port).String())
				roundTrip(t, c)
				if got := localAddr(t, c); got != netip.MustParseAddr("10.0.2.2") && got != netip.MustParseAddr("fd00:2::2") {
					t.Errorf("to %v from %v with the first link down", dst, got)
				}
			}
			if err := first.Up(); err != nil {
				t.Fatal(err)
			}
			for _, dst := range []netip.Addr{server4, server6} {
				c := dial(t, netip.AddrPortFrom(dst, port).String())
				roundTrip(t, c)
				if got := localAddr(t, c); got != first.Addrs()[0] && got != first.Addrs()[1] {
					t.Errorf("to %v from %v with the first link up again", dst, got)
				}
			}
		}
	})
}

func localAddr(t *testing.T, c net.Conn) netip.Addr {
	t.Helper()
	ap, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return ap.Addr().Unmap()
}

// TestDatagrams sends numbered datagrams over a slow and delayed link: they
// arrive in order.
func TestDatagrams(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, linkDelay)
		lab.Client().Links()[0].SetRate(10e6)
		pc, err := server.ListenPacket("udp", "[fd00:11::2]:53")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pc.Close() }()
		c, err := net.Dial("udp", "[fd00:11::2]:53")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		const count = 50
		for i := range uint32(count) {
			if _, err := c.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := pc.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		for i := range uint32(count) {
			if _, _, err := pc.ReadFrom(b); err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint32(b); got != i {
				t.Fatalf("datagram %d arrives as number %d", got, i)
			}
		}
	})
}
