package mptcp_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

func TestKernelBackup(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		first := flows(t, p.client)[0]
		backup := p.to(addrB)
		backup.Backup = true
		second := p.create(backup)
		serverToken := info(t, p.server).Token
		for _, change := range []struct {
			name string
			flow mptcp.Subflow
			to   bool
		}{
			{"joined", second, false},
			{"first", mptcp.Subflow{Local: first.Local, Remote: first.Remote}, true},
		} {
			if err := p.pm.SetBackup(p.token, change.flow, change.to); err != nil {
				t.Fatalf("%s: %v", change.name, err)
			}
			client := p.token
			p.token = serverToken
			e := p.next(mptcp.SubflowPriority)
			p.token = client
			if e.Backup != change.to || e.Remote != change.flow.Local {
				t.Errorf("%s: %+v", change.name, e)
			}
		}
		p.echo()
	})
}

func TestKernelAnnounceRemove(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		client, server := p.token, info(t, p.server).Token
		if err := p.pm.Announce(server, 5, netip.AddrPortFrom(addrC, 0)); err != nil {
			t.Fatal(err)
		}
		e := p.next(mptcp.Announced)
		if e.RemoteID != 5 || e.Remote.Addr() != addrC || e.Local.IsValid() {
			t.Errorf("announced %+v", e)
		}
		p.create(mptcp.Subflow{Remote: e.Remote}) // dport is the initial one
		if err := p.pm.Remove(server, 5); err != nil {
			t.Fatal(err)
		}
		if e := p.next(mptcp.Removed); e.RemoteID != 5 {
			t.Errorf("removed %+v", e)
		}
		if err := p.pm.Remove(server, 9); !errors.Is(err, unix.EINVAL) {
			t.Errorf("remove an unknown id: %v", err)
		}
		if err := p.pm.Announce(client, 0, netip.AddrPortFrom(addrB, 0)); !errors.Is(err, unix.EINVAL) {
			t.Errorf("announce id 0: %v", err)
		}
	})
}

func TestKernelPlainTCP(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		mapped := listen(t, false, "tcp", netip.AddrPortFrom(addrB, 0).String())
		remote := mapped.Addr().(*net.TCPAddr).AddrPort()
		v4 := dialFamily(t, "tcp4", remote)
		for name, c := range map[string]*net.TCPConn{
			"AF_INET6, fell back": dial(t, true, remote),
			"AF_INET6, plain":     dial(t, false, remote),
			"AF_INET, fell back":  v4,
		} {
			if _, err := mptcp.GetInfo(raw(t, c)); !errors.Is(err, mptcp.ErrFallback) {
				t.Errorf("%s: GetInfo: %v", name, err)
			}
			if _, _, err := mptcp.FullInfo(raw(t, c)); !errors.Is(err, mptcp.ErrFallback) {
				t.Errorf("%s: FullInfo: %v", name, err)
			}
		}
	})
}

// dialFamily dials with an MPTCP socket of the network's own family.
func dialFamily(t *testing.T, network string, remote netip.AddrPort) *net.TCPConn {
	t.Helper()
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	c, err := dialer.Dial(network, remote.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func TestKernelClosedSocket(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		r := raw(t, p.client)
		p.client.Close()
		if _, err := mptcp.GetInfo(r); !errors.Is(err, net.ErrClosed) {
			t.Errorf("GetInfo: %v", err)
		}
	})
}

// TestKernelSystem runs where the process owns the namespace.
func TestKernelSystem(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		s, err := mptcp.ReadSystem()
		if err != nil {
			t.Fatal(err)
		}
		if !s.Enabled || s.PathManager != mptcp.UserspacePathManager || !s.NetAdmin || !s.Limits.Known || s.Kernel == "" {
			t.Errorf("%+v", s)
		}
		if err := mptcp.SetPathManager("none such"); !errors.Is(err, mptcp.ErrUnsupported) {
			t.Errorf("unknown path manager: %v", err)
		}
		before, err := mptcp.ReadMIB()
		if err != nil {
			t.Fatal(err)
		}
		connect(t).establish()
		after, err := mptcp.ReadMIB()
		if err != nil {
			t.Fatal(err)
		}
		if after["MPCapableSYNTX"] != before["MPCapableSYNTX"]+1 {
			t.Errorf("MPCapableSYNTX %d, then %d", before["MPCapableSYNTX"], after["MPCapableSYNTX"])
		}
		if blackholed, err := mptcp.ProbeBlackhole(); blackholed || err != nil {
			t.Errorf("probe: %v, %v", blackholed, err)
		}
		if err := mptcp.ResetBlackhole(); err != nil {
			t.Error(err)
		}
		if again, err := mptcp.ReadSystem(); err != nil || again.BlackholeTimeout != s.BlackholeTimeout {
			t.Errorf("after the reset: %+v, %v", again, err)
		}
	})
}

func TestKernelLimits(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		want := mptcp.Limits{Known: true, Subflows: 5, AddAddrAccepted: 3}
		if err := mptcp.SetLimits(want); err != nil {
			t.Fatal(err)
		}
		if s, err := mptcp.ReadSystem(); err != nil || s.Limits != want {
			t.Errorf("%+v, %v", s.Limits, err)
		}
		if err := mptcp.SetLimits(mptcp.Limits{Subflows: 9}); !errors.Is(err, unix.EINVAL) {
			t.Errorf("limit 9: %v", err)
		}
	})
}

// TestKernelWithoutNetAdmin gives up the capability on one thread.
func TestKernelWithoutNetAdmin(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		if !mptcp.HaveNetAdmin() {
			t.Fatal("the namespace's owner has no CAP_NET_ADMIN")
		}
		onThread(func() {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err := unix.Capset(&header, &none[0]); err != nil {
				t.Error(err)
				return
			}
			if mptcp.HaveNetAdmin() {
				t.Error("HaveNetAdmin without capabilities")
			}
			if _, err := mptcp.OpenPathManager(); !errors.Is(err, mptcp.ErrNotPermitted) {
				t.Errorf("open: %v", err)
			}
			if err := mptcp.SetLimits(mptcp.Limits{}); !errors.Is(err, mptcp.ErrNotPermitted) {
				t.Errorf("set limits: %v", err)
			}
			if s, err := mptcp.ReadSystem(); err != nil || s.NetAdmin || !s.Limits.Known {
				t.Errorf("system: %+v, %v", s, err)
			}
		})
	})
}

// onThread runs fn on a thread of its own, which ends with it.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread is not used again
		fn()
	}()
	<-done
}

// foreignEnv is set in the process that TestKernelForeignNamespace starts.
const foreignEnv = "MPTCP_TEST_FOREIGN"

// TestKernelForeignNamespace has every capability in a user namespace of its
// own, but the network namespace belongs to another.
func TestKernelForeignNamespace(t *testing.T) {
	if os.Getenv(foreignEnv) != "" {
		if _, err := mptcp.OpenPathManager(); mptcp.HaveNetAdmin() || !errors.Is(err, mptcp.ErrNotPermitted) {
			t.Errorf("CAP_NET_ADMIN %v, open: %v", mptcp.HaveNetAdmin(), err)
		}
		return
	}
	inNamespace(t, func(t *testing.T) {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKernelForeignNamespace$")
		cmd.Env = append(os.Environ(), foreignEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{Size: 1}},
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestKernelManagerClosed closes a path manager that is in use.
func TestKernelManagerClosed(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				var err error
				for err == nil {
					err = p.pm.CreateSubflow(p.token, p.to(addrB))
				}
				var refused *mptcp.OpError // too many subflows
				if !errors.Is(err, mptcp.ErrClosed) && !errors.As(err, &refused) {
					t.Error(err)
				}
			})
		}
		p.next(mptcp.SubflowEstablished)
		for range 2 {
			if err := p.pm.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		users.Wait()
		for range p.sub.Events() { // ends, as the channel is closed
		}
		if err := p.pm.CreateSubflow(p.token, p.to(addrB)); !errors.Is(err, mptcp.ErrClosed) {
			t.Errorf("create: %v", err)
		}
		if _, err := p.pm.Subscribe(0); !errors.Is(err, mptcp.ErrClosed) {
			t.Errorf("subscribe: %v", err)
		}
	})
}
