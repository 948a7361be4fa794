package broker

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// shelf is a memory that keeps everything.
type shelf struct {
	mu        sync.Mutex // guards all below
	all       []Finding
	withdrawn []Finding
}

// Withdraw keeps what it is told too.
func (s *shelf) Withdraw(f Finding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdrawn = append(s.withdrawn, f)
	return true
}

func (s *shelf) Record(f Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, f)
}

// LookUp does not look at the user: the server must.
func (s *shelf) LookUp(name string, first, addr netip.Addr, _ uint32) (Finding, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.all) - 1; i >= 0; i-- {
		if f := s.all[i]; f.Name == name && f.First == first && f.Addr == addr {
			return f, true
		}
	}
	return Finding{}, false
}

// taken returns what was withdrawn since the last call.
func (s *shelf) taken() []Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.withdrawn
	s.withdrawn = nil
	return all
}

// last returns what was recorded last.
func (s *shelf) last() Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[len(s.all)-1]
}

// TestReport: what the broker has seen on the connection is proven, whatever
// else a client says is a hint of its user.
func TestReport(t *testing.T) {
	kept := new(shelf)
	f, b := serveFakes(t, Config{Memory: kept})
	c := b.attach(f.connect(t, token))
	sub := subscribe(t, c, token)
	report := func(o Outcome, addr netip.Addr, proven bool) {
		t.Helper()
		if err := c.Report("a.example", addr, o); err != nil {
			t.Fatal(err)
		}
		got := kept.last()
		if age := time.Since(got.Time); age < 0 || age > eventTimeout {
			t.Errorf("recorded at %v", got.Time)
		}
		want := Finding{Name: "a.example", First: peer.Addr(), Port: peer.Port(), Addr: addr, Outcome: o, Proven: proven, UID: uint32(os.Getuid())}
		got.Time = time.Time{}
		if got != want {
			t.Errorf("recorded %+v, want %+v", got, want)
		}
	}
	third := netip.MustParseAddr("203.0.113.3")
	report(Joined, other.Addr(), false)
	report(Announced, third, false)
	if err := c.CreateSubflow(token, mptcp.Subflow{Remote: other}); err != nil {
		t.Fatal(err)
	}
	next(t, sub, mptcp.SubflowEstablished)
	f.Emit(mptcp.Event{Type: mptcp.Announced, Token: token, RemoteID: 3, Remote: netip.AddrPortFrom(third, 443)})
	next(t, sub, mptcp.Announced)
	report(Joined, other.Addr(), true)
	report(LimitReached, other.Addr(), true)
	report(Announced, third, true)
	report(Joined, third, false)
	report(Announced, other.Addr(), false)
	report(OtherHost, other.Addr(), false)
	recorded := len(kept.all)
	for _, bad := range []struct {
		addr string
		why  error
	}{{"127.0.0.1", errNotPublic}, {"10.0.0.1", errPrivate}, {peer.Addr().String(), errSameAddr}} {
		err := c.Report("a.example", netip.MustParseAddr(bad.addr), Joined)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), bad.why.Error()) {
			t.Errorf("%s: %v, want %v", bad.addr, err, bad.why)
		}
	}
	for _, err := range []error{
		c.Report("", third, Joined), c.Report(strings.Repeat("x", MaxName+1), third, Joined), c.Report("\xff", third, Joined),
		c.Report("a", netip.Addr{}, Joined), c.Report("a", third, 0), c.Report("a", third, outcomes),
	} {
		if err == nil {
			t.Error("a bad report was accepted")
		}
	}
	if c.Err() != nil || len(kept.all) != recorded {
		t.Errorf("the client ended with %v; %d recorded", c.Err(), len(kept.all)-recorded)
	}
}

// TestReportAwaitsProof: the event that proves a report may come after it, within
// proofTimeout; what no event can prove does not wait.
func TestReportAwaitsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{noted: make(chan struct{})}
		begin := time.Now()
		proven := make(chan bool)
		go func() { proven <- s.awaitProof(t.Context(), Joined, other.Addr()) }()
		synctest.Wait()
		s.note(mptcp.Event{Type: mptcp.SubflowEstablished, Remote: netip.AddrPortFrom(own, 443)})
		synctest.Wait()
		s.note(mptcp.Event{Type: mptcp.SubflowEstablished, Remote: other})
		if !<-proven || time.Since(begin) != 0 {
			t.Errorf("not proven by the event, after %v", time.Since(begin))
		}
		if s.awaitProof(t.Context(), OtherHost, peer.Addr()) || time.Since(begin) != 0 {
			t.Errorf("another host is proven, or was waited for: %v", time.Since(begin))
		}
		if s.awaitProof(t.Context(), Announced, other.Addr()) || time.Since(begin) != proofTimeout {
			t.Errorf("proven without an event, or not given up after %v: %v", proofTimeout, time.Since(begin))
		}
	})
}

// TestLookUp: proven findings are told to everybody, hints to their user alone,
// and only of the peer that the connection has.
func TestLookUp(t *testing.T) {
	kept := new(shelf)
	f, b := serveFakes(t, Config{Memory: kept})
	c := b.attach(f.connect(t, token))
	me := uint32(os.Getuid())
	addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, n}) }
	begin := time.Now()
	for _, k := range []Finding{
		{First: peer.Addr(), Addr: addr(10), Outcome: Joined, Proven: true, UID: me + 1},
		{First: peer.Addr(), Addr: addr(11), Outcome: OtherHost, UID: me + 1},
		{First: peer.Addr(), Addr: addr(12), Outcome: OtherHost, UID: me},
		{First: addr(99), Addr: addr(13), Outcome: Joined, Proven: true},
		{First: peer.Addr(), Addr: addr(30), Outcome: Announced, Proven: true, Time: begin.Add(-time.Hour)},
		{First: peer.Addr(), Addr: addr(29), Outcome: outcomes, Proven: true},
	} {
		k.Name = "a.example"
		if k.Time.IsZero() {
			k.Time = begin
		}
		kept.Record(k)
	}
	var asked []netip.Addr
	for n := range byte(25) { // more than one message
		asked = append(asked, addr(10+n))
	}
	found, err := c.LookUp("a.example", asked)
	if err != nil {
		t.Fatal(err)
	}
	want := []Finding{
		{Addr: addr(10), Outcome: Joined, Proven: true}, {Addr: addr(12), Outcome: OtherHost}, {Addr: addr(30), Outcome: Announced, Proven: true},
	}
	if len(found) != len(want) {
		t.Fatalf("found %+v", found)
	}
	for i, w := range want {
		age := time.Since(found[i].Time)
		if w.Outcome == Announced {
			age -= time.Hour
		}
		if age < -2*time.Second || age > eventTimeout {
			t.Errorf("%+v is of %v", w, found[i].Time)
		}
		w.Name, w.Time = "a.example", found[i].Time
		if found[i] != w {
			t.Errorf("found %+v, want %+v", found[i], w)
		}
	}
	if other, err := c.LookUp("b.example", asked); err != nil || len(other) != 0 {
		t.Errorf("another name: %+v, %v", other, err)
	}
	if none, err := c.LookUp("a.example", nil); err != nil || len(none) != 0 {
		t.Errorf("no address: %+v, %v", none, err)
	}
}

// TestWithdraw: what the broker has seen refused is a proof no more, of the address
// and each that the connection's peer is known by; of a refusal once. A client's word
// does not withdraw, nor does what the broker did not see refused, or at another port,
// or on a connection that ends.
func TestWithdraw(t *testing.T) {
	kept := new(shelf)
	f, b := serveFakes(t, Config{Memory: kept})
	c := b.attach(f.connect(t, token))
	sub := subscribe(t, c, token)
	third, odd := netip.MustParseAddr("203.0.113.3"), netip.MustParseAddrPort("203.0.113.4:8443")
	f.Script(third, mptcptest.Script{Result: mptcptest.Join})
	create := func(to netip.AddrPort, r mptcptest.Result, want mptcp.EventType) {
		t.Helper()
		f.Script(to.Addr(), mptcptest.Script{Result: r})
		if err := c.CreateSubflow(token, mptcp.Subflow{Remote: to}); err != nil {
			t.Fatal(err)
		}
		next(t, sub, want)
	}
	report := func(o Outcome, addr netip.Addr, want ...netip.Addr) {
		t.Helper()
		if err := c.Report("a.example", addr, o); err != nil {
			t.Fatal(err)
		}
		var firsts []netip.Addr
		for _, w := range kept.taken() {
			firsts = append(firsts, w.First)
			if w.Name != "a.example" || w.Addr != addr || w.Port != peer.Port() || time.Since(w.Time) > eventTimeout {
				t.Errorf("withdrawn: %+v", w)
			}
		}
		if !slices.Equal(firsts, want) {
			t.Errorf("%v of %v: withdrawn with %v, want %v", o, addr, firsts, want)
		}
	}
	refuse := func(addr netip.AddrPort) { create(addr, mptcptest.Refuse, mptcp.SubflowClosed) }

	report(Refused, other.Addr()) // says the client
	refuse(other)
	report(TimedOut, other.Addr())
	report(Refused, other.Addr(), peer.Addr())
	report(Refused, other.Addr())
	create(netip.AddrPortFrom(third, peer.Port()), mptcptest.Join, mptcp.SubflowEstablished)
	refuse(other)
	report(OtherHost, other.Addr(), third, peer.Addr())
	refuse(other)
	create(other, mptcptest.Join, mptcp.SubflowEstablished)
	report(Refused, other.Addr()) // it was joined since
	f.Emit(mptcp.Event{Type: mptcp.Announced, Token: token, RemoteID: 4, Remote: odd})
	next(t, sub, mptcp.Announced)
	refuse(odd)
	report(Refused, odd.Addr())
	refuse(other)
	f.closing.Store(true)
	report(Refused, other.Addr())
}

// TestNoMemory: a broker that keeps nothing says so, and goes on.
func TestNoMemory(t *testing.T) {
	f, b := serveFakes(t, Config{})
	c := b.attach(f.connect(t, token))
	_, lookUpErr := c.LookUp("a.example", []netip.Addr{other.Addr()})
	for _, err := range []error{lookUpErr, c.Report("a.example", other.Addr(), Joined)} {
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), errNoMemory.Error()) {
			t.Errorf("%v", err)
		}
	}
	if err := c.CreateSubflow(token, mptcp.Subflow{Remote: other}); err != nil {
		t.Error(err)
	}
}

// TestLabReport: a join that the kernel has checked is proven to another client,
// one that was refused is not.
func TestLabReport(t *testing.T) {
	kept := new(shelf)
	inLab(t, Config{Memory: kept}, func(t *testing.T, w *world) {
		_, raw := connect(t, true, at(server1v6))
		c := w.attach(raw)
		sub := subscribe(t, c, c.token)
		for _, remote := range []netip.Addr{server2v6, otherv6} {
			if err := c.CreateSubflow(c.token, mptcp.Subflow{Remote: at(remote)}); err != nil {
				t.Fatal(err)
			}
		}
		next(t, sub, mptcp.SubflowEstablished)
		for _, remote := range []netip.Addr{server2v6, otherv6} {
			if err := c.Report("server.example", remote, Joined); err != nil {
				t.Fatal(err)
			}
			if got := kept.last(); got.Proven != (remote == server2v6) || got.First != server1v6 {
				t.Errorf("recorded %+v", got)
			}
		}
		_, second := connect(t, true, at(server1v6))
		found, err := w.attach(second).LookUp("server.example", []netip.Addr{server2v6, otherv6})
		if err != nil || len(found) != 2 || !found[0].Proven || found[1].Proven {
			t.Errorf("found %+v, %v", found, err)
		}
	})
}

// TestLabWithdraw: what the kernel says was refused is withdrawn while the connection
// is alive, not when its peer has closed it.
func TestLabWithdraw(t *testing.T) {
	kept := new(shelf)
	inLab(t, Config{Memory: kept}, func(t *testing.T, w *world) {
		l, err := w.server.Listen("tcp", ":7001")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		closed := make(chan error, 1)
		go func() { closed <- closeAfter(l, 6) }()
		for port, alive := range map[uint16]bool{labPort: true, labPort + 1: false} {
			conn, raw := connect(t, true, netip.AddrPortFrom(server1v6, port))
			c := w.attach(raw)
			sub := subscribe(t, c, c.token)
			if err := c.CreateSubflow(c.token, mptcp.Subflow{Remote: netip.AddrPortFrom(otherv6, port)}); err != nil {
				t.Fatal(err)
			}
			next(t, sub, mptcp.SubflowClosed)
			if !alive {
				if _, err := conn.Write([]byte("octets")); err != nil {
					t.Fatal(err)
				}
				if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
					t.Fatalf("%d octets, %v, want the end", n, err)
				}
			}
			if err := c.Report("server.example", otherv6, Refused); err != nil {
				t.Fatal(err)
			}
			all := kept.taken()
			if len(all) != map[bool]int{true: 1}[alive] || alive && (all[0].First != server1v6 || all[0].Port != port) {
				t.Errorf("port %d: withdrawn %+v", port, all)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// closeAfter accepts a connection, returns what it is sent the first time, of n
// octets, and closes it when so many have come again.
func closeAfter(l net.Listener, n int) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err = io.ReadFull(c, b)
	return err
}
