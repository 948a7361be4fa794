package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/resolver"
)

// slack is what the scheduler of a busy machine may add to a time that a test
// expects.
const slack = 100 * time.Millisecond

// labName is the name that the tests dial.
const labName = "host.example"

// zone answers for labName with these addresses.
func zone(addrs ...netip.Addr) dnstest.Script {
	var records []string
	for _, a := range addrs {
		typ := " AAAA "
		if a.Is4() {
			typ = " A "
		}
		records = append(records, labName+". 60 IN"+typ+a.String())
	}
	return dnstest.Zone(records...)
}

// only applies an action to the queries of one type, and script to the others.
func only(script dnstest.Script, typ string, a dnstest.Action) dnstest.Script {
	return dnstest.Overlay(script, func(q dnstest.Query) bool { return q.Type == typ }, dnstest.Always(a))
}

// late is script with the answers to one type delayed.
func late(script dnstest.Script, typ string, by time.Duration) dnstest.Script {
	return func(q dnstest.Query) dnstest.Action {
		a := script(q)
		if q.Type == typ {
			a.Delay = by
		}
		return a
	}
}

// asking returns a dialer that asks a server with this script.
func asking(t *testing.T, script dnstest.Script) *Dialer {
	t.Helper()
	return &Dialer{Resolver: resolving(t, dnstest.Start(t, script).Addr())}
}

// resolving returns a resolver for these servers.
func resolving(t *testing.T, servers ...string) *resolver.Resolver {
	t.Helper()
	r := &resolver.Resolver{Servers: servers, NoHosts: true, NoSearch: true}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// dialName dials labName and closes the connection with the test.
func dialName(t *testing.T, d *Dialer, network string) *Conn {
	t.Helper()
	c, err := d.DialContext(timeout(t), network, net.JoinHostPort(labName, strconv.Itoa(labPort)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*Conn)
}

// checkTime fails when got exceeds want by more than the machine may add.
func checkTime(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	t.Logf("%s: %v, at most %v wanted", what, got, want)
	if got > want+slack {
		t.Errorf("%s took %v, want at most %v", what, got, want)
	}
}

// TestName is the main job: one name, one record, one connection over all paths.
func TestName(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		unlimit(t, w.server)
		serve(t, w.server, false)
		d := asking(t, zone(server1v6, server2v6, server1v4, server2v4))
		c := dialName(t, d, "tcp")
		r := joined(t, c)
		if n := c.RemoteAddrs().Len(); n != 4 {
			t.Errorf("%d remote addresses, want 4: %v", n, verdicts(r))
		}
		if r.Name != labName || r.Answer == nil || r.Answer.Record.Len() != 4 {
			t.Errorf("name %q, answer %+v", r.Name, r.Answer)
		}
		if tcp, ok := c.RemoteAddr().(*net.TCPAddr); !ok || tcp.AddrPort().Addr() != server1v6 {
			t.Errorf("remote address %v (%T), want the first subflow's", c.RemoteAddr(), c.RemoteAddr())
		}
	})
}

// TestTwoHosts: a name that stands for two hosts never leads one connection to
// both (draft section 4.2).
func TestTwoHosts(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		served, foreign := serve(t, w.server, false), serve(t, w.other, false)
		d := asking(t, zone(server1v6, server2v4, otherv6, otherv4))
		c := dialName(t, d, "tcp")
		if c.remote.Addr() != server1v6 {
			served, foreign = foreign, served
		}
		r := joined(t, c)
		if err := <-transfer(t, c, 1<<20); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for _, s := range w.SYNs() {
			if s.Dst.Addr() == otherv6 || s.Dst.Addr() == otherv4 {
				sent++
				if s.Kind != testlab.Join || s.Token == 0 {
					t.Errorf("%v: want a join with this connection's token, which the other host does not know", s)
				}
			}
		}
		if sent != 2 {
			t.Errorf("%d SYNs to the other host, want one for each address", sent)
		}
		for _, a := range []netip.Addr{otherv6, otherv4} {
			if v := verdicts(r)[a]; v != Refused {
				t.Errorf("%v: %q, want refused", a, v)
			}
			if c.RemoteAddrs().ContainsAddrPort(netip.AddrPortFrom(a, labPort)) {
				t.Errorf("%v is in use", a)
			}
		}
		if n := foreign.accepted.Load(); n != 0 {
			t.Errorf("the other host's application accepted %d connections", n)
		}
		if n := foreign.octets.Load(); n != 0 {
			t.Errorf("the other host's application saw %d octets", n)
		}
		if n := served.accepted.Load(); n != 1 {
			t.Errorf("the host's application accepted %d connections", n)
		}
	})
}

// TestMemory: what became of the joins orders the next dial, and refused
// addresses are left alone for a while.
func TestMemory(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		d := asking(t, zone(server1v6, otherv6, server2v6))
		joined(t, dialName(t, d, "tcp"))
		w.ResetSYNs()
		r := joined(t, dialName(t, d, "tcp"))
		if len(r.Joins) != 2 || r.Joins[0].Remote.Addr() != server2v6 || r.Joins[0].Verdict != Joined {
			t.Fatalf("joins %+v, want the proven address first", r.Joins)
		}
		if r.Joins[1].Verdict != NotTried || r.Joins[1].Err == nil || w.joins(otherv6) {
			t.Errorf("%+v: want the refused address left alone", r.Joins[1])
		}
		t.Logf("%v; %v", r.Joins[0].Known, r.Joins[1].Err)
	})
}

// TestIPv6Blackholed: connected over IPv4 within the Connection Attempt Delay
// and two round trips; the next dial within two round trips, as it begins with
// the address that worked.
func TestIPv6Blackholed(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Behave(server1v6, testlab.Blackholed)
		d := asking(t, zone(server1v6, server1v4))
		c := dialName(t, d, "tcp")
		r := c.Report()
		if c.remote.Addr() != server1v4 {
			t.Errorf("connected to %v", c.remote)
		}
		checkTime(t, "first dial", r.Connect-r.Resolve, DefaultConnectionAttemptDelay+2*labRTT)
		if len(r.Attempts) != 2 || !errors.Is(r.Attempts[0].Err, errLost) {
			t.Errorf("attempts %+v", r.Attempts)
		}
		r = dialName(t, d, "tcp").Report()
		checkTime(t, "second dial", r.Connect-r.Resolve, 2*labRTT)
	})
}

// TestFirstOfFourDead: one dead address costs one Connection Attempt Delay.
func TestFirstOfFourDead(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Behave(server1v6, testlab.Blackholed)
		var d Dialer
		d.JoinTimeout = 300 * time.Millisecond
		c := connect(t, &d, record(server1v6, server1v4, server2v6, server2v4))
		checkTime(t, "dial", c.Report().Connect, DefaultConnectionAttemptDelay+2*labRTT)
		v := verdicts(joined(t, c))
		if v[server1v6] != TimedOut || v[server2v6] != Joined || v[server2v4] != Joined {
			t.Errorf("verdicts %v", v)
		}
	})
}

// TestRefusedAddressesCostARoundTrip: the next attempt starts when the one
// before is refused, and nothing is dialled twice.
func TestRefusedAddressesCostARoundTrip(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(otherv6, otherv4, server1v6))
		checkTime(t, "dial", c.Report().Connect, 4*labRTT)
		count := make(map[netip.Addr]int)
		for _, s := range w.SYNs() {
			if s.Kind == testlab.Capable {
				count[s.Dst.Addr()]++
			}
			if s.Kind == testlab.Plain {
				t.Errorf("%v: a plain SYN", s)
			}
		}
		if count[otherv6] != 1 || count[otherv4] != 1 || count[server1v6] != 1 {
			t.Errorf("SYNs: %v, want one for each address", count)
		}
	})
}

// TestAAAANeverAnswered: IPv4 goes ahead after the Resolution Delay.
func TestAAAANeverAnswered(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		d := asking(t, only(zone(server1v4, server2v4), "AAAA", dnstest.Action{Drop: true}))
		c := dialName(t, d, "tcp")
		checkTime(t, "dial", c.Report().Connect, DefaultResolutionDelay+2*labRTT)
		if v := verdicts(joined(t, c))[server2v4]; v != Joined {
			t.Errorf("%v: %q, want joined", server2v4, v)
		}
	})
}

// TestALate: IPv6 does not wait for a late A, whose address is joined when it
// comes.
func TestALate(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		d := asking(t, late(zone(server1v6, server2v4), "A", 300*time.Millisecond))
		c := dialName(t, d, "tcp")
		checkTime(t, "dial", c.Report().Connect, 2*labRTT)
		if v := verdicts(joined(t, c))[server2v4]; v != Joined {
			t.Errorf("%v: %q, want joined", server2v4, v)
		}
	})
}

// TestFirstServerDead: a dead DNS server costs its timeout and nothing else.
func TestFirstServerDead(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		dead := dnstest.Start(t, dnstest.Always(dnstest.Action{Drop: true}))
		live := dnstest.Start(t, zone(server1v6, server2v4))
		r := resolving(t, dead.Addr(), live.Addr())
		r.Timeout = 500 * time.Millisecond
		d := &Dialer{Resolver: r}
		c := dialName(t, d, "tcp")
		checkTime(t, "dial", c.Report().Connect, 2*r.Timeout+2*labRTT)
		report := joined(t, c)
		if v := verdicts(report)[server2v4]; v != Joined {
			t.Errorf("%v: %q, want joined: %+v", server2v4, v, report.Answer)
		}
	})
}

// TestNoAnswer: a dial that nobody answers ends at its deadline, or when it is
// cancelled, with every address named and nothing left behind.
func TestNoAnswer(t *testing.T) {
	const after = 600 * time.Millisecond
	for _, tt := range []struct {
		name  string
		addrs []netip.Addr
		limit func(*Dialer, context.Context) (context.Context, context.CancelFunc)
		want  error
	}{
		{"timeout", []netip.Addr{server1v6, server1v4}, func(d *Dialer, ctx context.Context) (context.Context, context.CancelFunc) {
			d.Timeout = after
			return context.WithCancel(ctx)
		}, os.ErrDeadlineExceeded},
		{"timeout of one address", []netip.Addr{server1v6}, func(_ *Dialer, ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, after)
		}, context.DeadlineExceeded},
		{"cancelled", []netip.Addr{server1v6, server1v4}, func(_ *Dialer, ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(after, cancel)
			return ctx, cancel
		}, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				for _, a := range tt.addrs {
					w.Behave(a, testlab.Blackholed)
				}
				var d Dialer
				ctx, cancel := tt.limit(&d, t.Context())
				defer cancel()
				begin := time.Now()
				_, err := d.Connect(ctx, record(tt.addrs...))
				checkTime(t, "dial", time.Since(begin), after)
				var ne net.Error
				if !errors.Is(err, tt.want) || !errors.As(err, &ne) || ne.Timeout() == errors.Is(err, context.Canceled) {
					t.Errorf("%v: want %v", err, tt.want)
				}
				for _, a := range tt.addrs {
					if !strings.Contains(err.Error(), a.String()) {
						t.Errorf("%v: does not name %v", err, a)
					}
				}
				if strings.Contains(err.Error(), "context") {
					t.Errorf("%v: speaks of contexts", err)
				}
				t.Log(err)
			})
		})
	}
}

// TestNotFound: the error of a name without addresses is the resolver's and
// net's.
func TestNotFound(t *testing.T) {
	d := asking(t, dnstest.Always(dnstest.NXDomain()))
	_, err := d.DialContext(timeout(t), "tcp", "nowhere.example:443")
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case !errors.Is(err, resolver.ErrNoSuchName):
		t.Errorf("%v: want resolver.ErrNoSuchName", err)
	case !errors.As(err, &op) || op.Op != "dial":
		t.Errorf("%v: want a *net.OpError", err)
	case !errors.As(err, &dns) || !dns.IsNotFound:
		t.Errorf("%v: want a *net.DNSError", err)
	case strings.Contains(err.Error(), "context"):
		t.Errorf("%v", err)
	}
	t.Log(err)
}
