package dialer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// TestPathCut: a transfer goes on when the path it began on dies silently, and
// no octet is lost or changed.
func TestPathCut(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		const octets = 8 << 20
		result := transfer(t, c, octets)
		until(t, "a part of the transfer", func() bool { return sentOctets(c) > octets/4 })
		w.server.Links()[0].Cut()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Paths() {
			t.Logf("%v: %s, %d octets sent, backoff %d", p.Remote, p.State, p.BytesSent, p.Backoff)
			if p.Remote.Addr() == server2v6 && p.BytesSent == 0 {
				t.Error("the second path carried nothing")
			}
		}
	})
}

// sentOctets is what all paths have sent.
func sentOctets(c *Conn) (n uint64) {
	for _, p := range c.Paths() {
		n += p.BytesSent
	}
	return n
}

// TestPlainServer: a server without MPTCP is reached with plain TCP, and the
// report says why.
func TestPlainServer(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, true)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v4))
		r := joined(t, c)
		if !strings.Contains(r.Fallback, "does not speak Multipath TCP") || r.Manager != managerNone {
			t.Errorf("fallback %q, manager %q", r.Fallback, r.Manager)
		}
		if c.ID() != 0 || len(c.Paths()) != 1 || c.Paths()[0].State != StateActive {
			t.Errorf("id %d, paths %+v", c.ID(), c.Paths())
		}
		if len(r.Joins) != 1 || r.Joins[0].Verdict != NotTried || !errors.Is(r.Joins[0].Err, errPlain) {
			t.Errorf("joins %+v", r.Joins)
		}
		if set := c.RemoteAddr().(mpaddr.Addr); !set.Equal(record(server1v6)) {
			t.Errorf("remote set %v", set)
		}
		for _, s := range w.SYNs() {
			if s.Kind == testlab.Join {
				t.Errorf("%v: a join to a plain TCP connection", s)
			}
		}
	})
}

// TestThirdACKStripped: a connection that falls back after connect works, and
// says so.
func TestThirdACKStripped(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Behave(server1v6, testlab.StripThirdACK)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		r := joined(t, c)
		until(t, "the fallback", func() bool { r = c.Report(); return r.Fallback != "" })
		if v := verdicts(r)[server2v6]; v == Joined || c.ID() != 0 {
			t.Errorf("verdict %q, id %d", v, c.ID())
		}
		echo(t, c)
		t.Log(r.Fallback)
	})
}

// TestBlackholeState: when only a plain SYN gets through, the kernel turns
// MPTCP off for the namespace, and later reports say so.
func TestBlackholeState(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Behave(server1v6, testlab.BlockMPTCP)
		var d Dialer
		if r := connect(t, &d, record(server1v6)).Report(); r.Fallback == "" {
			t.Error("no fallback reported")
		}
		w.Behave(server1v6, testlab.Up)
		r := connect(t, &d, record(server1v6)).Report()
		if !strings.Contains(r.Fallback, "net.mptcp.blackhole_timeout") {
			t.Errorf("fallback %q, want the blackhole state explained", r.Fallback)
		}
		if err := mptcp.ResetBlackhole(); err != nil {
			t.Fatal(err)
		}
		if r := connect(t, &d, record(server1v6)).Report(); r.Fallback != "" {
			t.Errorf("fallback %q after the reset", r.Fallback)
		}
	})
}

// TestMPTCPDisabled: plain TCP where no MPTCP socket can be made, and a clean
// error where MPTCP was asked for (draft section 5.2).
func TestMPTCPDisabled(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		if err := w.Client().Sysctl("net.mptcp.enabled", "0"); err != nil {
			t.Fatal(err)
		}
		var d Dialer
		c, err := d.Dial("tcp", record(server1v4).At(0).AddrPort().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		echo(t, c)
		r := c.(*Conn).Report()
		if !errors.Is(c.(*Conn).stream.plain, syscall.ENOPROTOOPT) || !strings.Contains(r.Fallback, "makes no Multipath TCP socket") {
			t.Errorf("fallback %q", r.Fallback)
		}
		w.ResetSYNs()
		for _, set := range []mpaddr.Addr{record(server1v4), record(server1v4, server1v6)} {
			_, err = d.Connect(timeout(t), set)
			if !errors.Is(err, ErrMultipathUnsupported) {
				t.Errorf("%v: want ErrMultipathUnsupported", err)
			}
		}
		if n := len(w.SYNs()); n != 0 {
			t.Errorf("%d SYNs sent, want none", n)
		}
	})
}

// TestKernelPathManager: where the kernel manages the paths, nothing is added
// from here, and the report says who does.
func TestKernelPathManager(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		if err := mptcp.SetPathManager(mptcp.KernelPathManager); err != nil {
			t.Fatal(err)
		}
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		r := joined(t, c)
		if r.Manager != managerKernel || r.Why != whyKernel || r.Fallback != "" {
			t.Errorf("manager %q (%s), fallback %q", r.Manager, r.Why, r.Fallback)
		}
		if len(r.Joins) != 1 || r.Joins[0].Verdict != NotTried || !errors.Is(r.Joins[0].Err, mptcp.ErrKernelManaged) {
			t.Errorf("joins %+v", r.Joins)
		}
		if c.ID() == 0 || len(c.Paths()) != 1 {
			t.Errorf("id %d, paths %+v", c.ID(), c.Paths())
		}
	})
}

// TestIPv6Disabled: with IPv6 switched off, the dual-stack socket still makes
// IPv4 connections with Multipath TCP.
func TestIPv6Disabled(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		if err := w.Client().Sysctl("net.ipv6.conf.all.disable_ipv6", "1"); err != nil {
			t.Fatal(err)
		}
		var d Dialer
		c := connect(t, &d, record(server1v6, server1v4, server2v4))
		r := joined(t, c)
		if v := verdicts(r); v[server2v4] != Joined || v[server1v6] != Unreachable && v[server1v6] != NotTried {
			t.Errorf("verdicts %v", v)
		}
		t.Logf("%+v", r.Joins)
	})
}

// TestSlowFamilyAfterConnect: neither a dial that has no use for late answers
// nor Close waits for a family that never answers.
func TestSlowFamilyAfterConnect(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		for _, mode := range []Mode{MultipathOff, MultipathAuto} {
			d := asking(t, only(zone(server1v4, server2v4), "AAAA", dnstest.Action{Drop: true}))
			d.Multipath = mode
			begin := time.Now()
			c := dialName(t, d, "tcp")
			checkTime(t, "dial", time.Since(begin), DefaultResolutionDelay+2*labRTT)
			begin = time.Now()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			checkTime(t, "close", time.Since(begin), 0)
		}
	})
}

// childEnv makes the test binary dial as a program of its own: see TestMain.
const childEnv = "MPRESOLVE_DIALER_CHILD"

// childBrokerEnv is the broker's socket for such a program.
const childBrokerEnv = "MPRESOLVE_DIALER_CHILD_BROKER"

// childReport is what such a program prints.
type childReport struct {
	Manager, Why, Fallback string
	Verdicts               map[string]Verdict
	ID                     uint32
}

// dialAsChild connects to the record in the environment variable and prints the
// report.
func dialAsChild(text string) error {
	set, err := mpaddr.Parse(text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d := Dialer{Broker: os.Getenv(childBrokerEnv)}
	c, err := d.Connect(ctx, set)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.WaitJoins(ctx); err != nil {
		return err
	}
	r := c.Report()
	out := childReport{Manager: r.Manager, Why: r.Why, Fallback: r.Fallback, ID: c.ID(), Verdicts: map[string]Verdict{}}
	for _, j := range r.Joins {
		out.Verdicts[j.Remote.Addr().String()] = j.Verdict
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// TestUnprivileged: a process without CAP_NET_ADMIN connects with MPTCP, adds
// nothing itself, and says what it would take.
func TestUnprivileged(t *testing.T) {
	for _, manager := range []string{mptcp.KernelPathManager, mptcp.UserspacePathManager} {
		t.Run(manager, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				if err := mptcp.SetPathManager(manager); err != nil {
					t.Fatal(err)
				}
				serve(t, w.server, false)
				r := dialWithout(t, BrokerOff, record(server1v6, server2v6))
				want := childReport{Manager: managerKernel, Why: whyNotAllowed + "; " + whyKernel}
				if manager == mptcp.UserspacePathManager {
					want = childReport{Manager: managerNone, Why: whyNobody}
				}
				if r.Manager != want.Manager || r.Why != want.Why || r.Fallback != "" || r.ID == 0 {
					t.Errorf("got %+v, want %+v", r, want)
				}
				if v := r.Verdicts[server2v6.String()]; v != NotTried {
					t.Errorf("verdict %q, want not tried", v)
				}
			})
		})
	}
}

// dialWithout dials in a process that has all of this one's capabilities but
// CAP_NET_ADMIN, and returns its report.
func dialWithout(t *testing.T, broker string, set mpaddr.Addr) (r childReport) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(timeout(t), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+set.String(), childBrokerEnv+"="+broker)
	var out []byte
	err = testlab.WithoutNetAdmin(func() (err error) {
		out, err = cmd.Output()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}
