package mptcp_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

func TestKernelSupported(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		if err := mptcp.Supported(); err != nil {
			t.Fatal(err)
		}
		const setting = "/proc/sys/net/mptcp/enabled"
		if err := os.WriteFile(setting, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		err := mptcp.Supported()
		if !errors.Is(err, mptcp.ErrUnsupported) || !errors.Is(err, unix.ENOPROTOOPT) {
			t.Errorf("disabled: %v", err)
		}
		if _, err := mptcp.ProbeBlackhole(); !errors.Is(err, mptcp.ErrUnsupported) {
			t.Errorf("probe while disabled: %v", err)
		}
	})
}

// TestKernelLifeOfSubflows walks one connection through the states in which
// subflows can and cannot be created.
func TestKernelLifeOfSubflows(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		created := p.next(mptcp.Created)
		if created.ServerSide || created.Remote != netip.AddrPortFrom(addrA, p.port) {
			t.Errorf("created %+v", created)
		}
		err := p.pm.CreateSubflow(p.token, p.to(addrB))
		if !errors.Is(err, mptcp.ErrNotEstablished) {
			t.Fatalf("before data: %v", err)
		}
		p.establish()
		second := p.create(p.to(addrB))
		third := p.create(p.to(addr6))
		if !second.Local.Addr().Is4() || !third.Local.Addr().Is6() {
			t.Errorf("local ends %v, %v", second.Local, third.Local)
		}
		checkFlows(t, p, addrA, addrB, addr6)
		checkOldInfo(t, p)
		if err := p.pm.DestroySubflow(p.token, second); err != nil {
			t.Fatal(err)
		}
		if e := p.next(mptcp.SubflowClosed); e.HasError || e.Remote != second.Remote {
			t.Errorf("closed %+v", e)
		}
		if err := p.pm.DestroySubflow(p.token, second); !errors.Is(err, mptcp.ErrSubflowNotFound) {
			t.Errorf("destroyed twice: %v", err)
		}
		p.echo()
		checkFlows(t, p, addrA, addr6)
		p.client.Close()
		p.next(mptcp.Closed)
	})
}

// checkOldInfo compares what FullInfo reads with what it would read before
// Linux 6.5.
func checkOldInfo(t *testing.T, p *pair) {
	t.Helper()
	err := raw(t, p.client).Control(func(fd uintptr) {
		info, old, err := mptcp.ReadOldInfo(fd)
		if err != nil || info.Token != p.token {
			t.Errorf("%+v, %v", info, err)
		}
		for i, f := range flows(t, p.client) {
			if i >= len(old) || old[i].Local != f.Local || old[i].Remote != f.Remote || old[i].TCP.State != f.TCP.State {
				t.Errorf("subflow %d: %+v, of %+v", i, f, old)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// checkFlows compares the established subflows' remote addresses.
func checkFlows(t *testing.T, p *pair, want ...netip.Addr) {
	t.Helper()
	total, all, err := mptcp.FullInfo(raw(t, p.client))
	if err != nil {
		t.Fatal(err)
	}
	got := map[netip.AddrPort]bool{}
	for _, f := range all {
		if f.TCP.State == mptcp.StateEstablished {
			got[f.Remote] = true
		}
	}
	if len(got) != len(want) || total.Subflows != len(want)-1 || !total.Negotiated() || total.Token != p.token {
		t.Errorf("%d subflows %v, info %+v", len(got), got, total)
	}
	for _, a := range want {
		if !got[netip.AddrPortFrom(a, p.port)] {
			t.Errorf("no subflow to %s in %v", a, got)
		}
	}
}

func TestKernelDestroyFirstSubflow(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		first := flows(t, p.client)[0]
		p.create(p.to(addrB))
		err := p.pm.DestroySubflow(p.token, mptcp.Subflow{Local: first.Local, Remote: first.Remote})
		if err != nil {
			t.Fatal(err)
		}
		p.next(mptcp.SubflowClosed)
		p.echo()
		for _, f := range flows(t, p.client) {
			if f.ID == first.ID && f.TCP.State == mptcp.StateEstablished {
				t.Errorf("the first subflow is still up: %+v", f)
			}
		}
	})
}

func TestKernelLimitOfPeer(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		// A server's path manager is the one selected when the connection
		// arrives, a client's the one selected when its socket is made.
		p := &pair{t: t, pm: openManager(t)}
		var err error
		if p.sub, err = p.pm.Subscribe(0); err != nil {
			t.Fatal(err)
		}
		l := listen(t, true, "tcp", ":0")
		p.port = l.Addr().(*net.TCPAddr).AddrPort().Port()
		p.client = dialControl(t, true, netip.AddrPortFrom(addrA, p.port), func() error {
			return mptcp.SetPathManager(mptcp.KernelPathManager)
		})
		p.token = info(t, p.client).Token
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		p.server = accepted.(*net.TCPConn)
		p.establish()
		if server, client := info(t, p.server).SubflowsMax, info(t, p.client).SubflowsMax; server != 2 || client != 0 {
			t.Fatalf("the server's limit is %d, the client's %d", server, client)
		}
		p.create(p.to(addrB))
		p.create(p.to(addr6))
		p.create(p.to(addrC)) // established: the same host, proven
		if e := p.next(mptcp.SubflowClosed); e.HasError || e.HasReset || e.Remote.Addr() != addrC {
			t.Errorf("closed %+v", e)
		}
		checkFlows(t, p, addrA, addrB, addr6)
	})
}

// TestKernelFailedJoins has the rows of the verdict table that need no other host.
func TestKernelFailedJoins(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		plain := listen(t, false, "tcp", netip.AddrPortFrom(addrC, 0).String())
		plainPort := plain.Addr().(*net.TCPAddr).AddrPort().Port()
		for _, test := range []struct {
			name   string
			remote netip.AddrPort
			errno  syscall.Errno
		}{
			{"plain TCP", netip.AddrPortFrom(addrC, plainPort), 0},
			{"closed port", netip.AddrPortFrom(addrC, 1), unix.ECONNREFUSED},
		} {
			if err := p.pm.CreateSubflow(p.token, mptcp.Subflow{Remote: test.remote}); err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			e := p.next(mptcp.SubflowClosed)
			if e.Errno != test.errno || e.HasError != (test.errno != 0) || e.Remote != test.remote {
				t.Errorf("%s: %+v", test.name, e)
			}
		}
		p.echo()
		checkFlows(t, p, addrA)
	})
}

func TestKernelRefusals(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		from := func(local netip.Addr, id uint8, remote netip.Addr) mptcp.Subflow {
			return mptcp.Subflow{Local: netip.AddrPortFrom(local, 0), LocalID: id, Remote: netip.AddrPortFrom(remote, p.port)}
		}
		p.create(from(addrB, 7, addrB))
		absent := netip.MustParseAddr("10.9.9.9")
		for _, test := range []struct {
			name  string
			token uint32
			flow  mptcp.Subflow
			want  error
			text  string
		}{
			{"unknown token", p.token + 1, p.to(addrB), mptcp.ErrUnknownToken, "invalid token"},
			{"families", p.token, from(addrB, 7, addr6), mptcp.ErrFamilyMismatch, "families mismatch"},
			{"another id", p.token, from(addrB, 8, addrC), mptcp.ErrLocalID, "did not match"},
			{"id of another", p.token, from(addrC, 7, addrC), mptcp.ErrLocalID, "did not match"},
			{"absent local address", p.token, from(absent, 9, addrC), unix.EADDRNOTAVAIL, ""},
			{"no route", p.token, mptcp.Subflow{Remote: netip.MustParseAddrPort("10.9.9.9:1")}, unix.ENETUNREACH, ""},
			{"no local id", p.token, from(addrC, 0, addrC), unix.EINVAL, "local id"},
			{"wildcard's id", p.token, from(addrC, 254, addrC), unix.EINVAL, "local id"},
			{"no remote port", p.token, mptcp.Subflow{Remote: netip.AddrPortFrom(addrC, 0)}, unix.EINVAL, "remote"},
			{"no remote", p.token, mptcp.Subflow{}, unix.EINVAL, "remote"},
		} {
			err := p.pm.CreateSubflow(test.token, test.flow)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: %v, want %v with %q", test.name, err, test.want, test.text)
			}
		}
		missing := p.to(addrB)
		if err := p.pm.DestroySubflow(p.token, missing); !errors.Is(err, unix.EINVAL) {
			t.Errorf("destroy without local address: %v", err)
		}
	})
}

func TestKernelManagedSocket(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		setUpLoopback(t)
		p := connect(t)
		p.echo()
		err := p.pm.CreateSubflow(p.token, p.to(addrB))
		if !errors.Is(err, mptcp.ErrKernelManaged) {
			t.Error(err)
		}
	})
}

func TestKernelIDOutlivesFailedJoin(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		refused := mptcp.Subflow{Local: netip.AddrPortFrom(addrB, 0), LocalID: 3, Remote: netip.AddrPortFrom(addrC, 1)}
		if err := p.pm.CreateSubflow(p.token, refused); err != nil {
			t.Fatal(err)
		}
		p.next(mptcp.SubflowClosed)
		moved := p.to(addrC)
		moved.Local, moved.LocalID = netip.AddrPortFrom(addrC, 0), 3
		if err := p.pm.CreateSubflow(p.token, moved); !errors.Is(err, mptcp.ErrLocalID) {
			t.Errorf("id of the failed join: %v", err)
		}
		again := p.to(addrC)
		again.Local, again.LocalID = netip.AddrPortFrom(addrB, 0), 3
		used := p.create(again)
		if err := p.pm.DestroySubflow(p.token, used); err != nil {
			t.Fatal(err)
		}
		p.next(mptcp.SubflowClosed)
		p.create(moved)
	})
}
