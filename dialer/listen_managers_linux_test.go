package dialer

import (
	"context"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// TestListenManagers: the report says who announces, and what is missing.
func TestListenManagers(t *testing.T) {
	for _, test := range []struct {
		name, manager string
		unprivileged  bool
		want, why     string
		announced     uint64
	}{
		{"kernel", mptcp.KernelPathManager, false, managerKernel, whyListenKernel, 0},
		{"userspace", mptcp.UserspacePathManager, false, managerDirect, whyListenDirect, 1},
		{"kernel without permission", mptcp.KernelPathManager, true, managerKernel, whyListenKernel, 0},
		{"userspace without permission", mptcp.UserspacePathManager, true, managerNone, whyListenDeaf, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				if err := w.server.Sysctl("net.mptcp.path_manager", test.manager); err != nil {
					t.Fatal(err)
				}
				var l *Listener
				var r ListenReport
				err := w.server.Do(func() (err error) {
					if test.unprivileged {
						defer listenDropNetAdmin(t)()
					}
					if l, err = new(ListenConfig).Listen(context.Background(), record(server1v4, server2v4)); err != nil {
						return err
					}
					r = l.Report()
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if r.Manager != test.want || r.Why != test.why || r.Fallback != "" {
					t.Errorf("manager %q: %s; want %q", r.Manager, r.Why, test.want)
				}
				d := Dialer{MaxSubflows: -1}
				connect(t, &d, record(server1v4))
				a, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				if test.announced > 0 {
					until(t, "the announcement", func() bool { return l.Report().Announced == test.announced })
				}
				if r := l.Report(); r.Announced != test.announced || r.Failed != 0 {
					t.Errorf("report %+v", r)
				}
			})
		})
	}
}

// listenDropNetAdmin takes CAP_NET_ADMIN from the calling thread until the function
// that it returns is called.
func listenDropNetAdmin(t *testing.T) (restore func()) {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Errorf("capget: %v", err)
	}
	dropped := before
	dropped[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &dropped[0]); err != nil {
		t.Errorf("capset: %v", err)
	}
	return func() {
		if err := unix.Capset(&header, &before[0]); err != nil {
			t.Errorf("capset: %v", err)
		}
		runtime.UnlockOSThread()
	}
}

// TestListenNoMPTCP: where no MPTCP socket can be made, the listener is a plain
// one, and says so (draft section 5.2).
func TestListenNoMPTCP(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		if err := w.Client().Sysctl("net.mptcp.enabled", "0"); err != nil {
			t.Fatal(err)
		}
		l := listenOn(t, ListenConfig{}, "127.0.0.1:7000,[::]:7001")
		r := l.Report()
		if !strings.Contains(r.Fallback, "makes no Multipath TCP socket") || r.Manager != managerNone || r.Why != whyPlain {
			t.Errorf("report %+v", r)
		}
		_, c := listenReached(t, l, listenBound(l).At(0).Target())
		if got := c.Report(); got.Fallback != r.Fallback || c.ID() != 0 {
			t.Errorf("fallback %q, id %d", got.Fallback, c.ID())
		}
		listenReached(t, l, netip.MustParseAddrPort("127.0.0.1:7001"))
	})
}

// TestListenNoIPv6: with IPv6 switched off, IPv4 addresses and wildcards are
// listened on with Multipath TCP.
func TestListenNoIPv6(t *testing.T) {
	inListenLab(t, ListenConfig{}, record(server1v4, server2v4), func(t *testing.T, w *listenWorld) {
		if err := w.server.Sysctl("net.ipv6.conf.all.disable_ipv6", "1"); err != nil {
			t.Fatal(err)
		}
		results := w.rebind(t, record(server2v4, server1v6, server1v4))
		if results[0].Err != nil || results[1].Err == nil || results[2].Err != nil {
			t.Errorf("%v", results)
		}
		w.rebind(t, mpaddr.MustParse("0.0.0.0:7000,[::]:7000"))
		var d Dialer
		c := connect(t, &d, record(server1v4, server2v4))
		w.echoing(t)
		if v := verdicts(joined(t, c))[server2v4]; v != Joined {
			t.Errorf("%q, want joined", v)
		}
	})
}
