package mpdnsd

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// The two hosts of a name, of which nothing in DNS says which address is whose. The
// client's order begins with one6, whose prefix is nearest to its own.
var (
	one4   = netip.MustParseAddr("192.0.2.17")
	one6   = netip.MustParseAddr("2001:db8:11::ab")
	other4 = netip.MustParseAddr("198.51.100.40")
	other6 = netip.MustParseAddr("2001:db8:21::c3")
	new4   = netip.MustParseAddr("192.0.2.201") // what one has when other has one4
)

const (
	twoName = "www.two.example"
	twoPort = 7000
)

// twoHosts is a name with two hosts of two addresses each, and a daemon that is asked
// for it.
type twoHosts struct {
	t          *testing.T
	probe      bool
	leave      bool   // programs join only what is known
	user       uint32 // of the programs
	records    atomic.Pointer[[]netip.Addr]
	lab        *testlab.Lab
	one, other *counting
	world      *world // for its daemon
	command    func() *exec.Cmd
	state      string
	daemon     *labDaemon
	dials      int64 // of the hosts that there are now
}

// inTwoHosts runs f in a lab, with a daemon that has not run before.
func inTwoHosts(t *testing.T, probe bool, f func(w *twoHosts)) {
	labtest.Run(t, func(t *testing.T) {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			t.Fatalf("mount: %v", err)
		}
		if err := os.Mkdir(filepath.Dir(broker.DefaultPath), 0o755); err != nil {
			t.Fatal(err)
		}
		w := &twoHosts{t: t, probe: probe, world: &world{t: t}}
		w.build([]netip.Addr{one4, one6}, []netip.Addr{other4, other6})
		up := dnstest.Start(t, func(q dnstest.Query) dnstest.Action { return zoneOf(*w.records.Load())(q) })
		config := w.world.configuration("manager = \"userspace\"\n")
		w.state = filepath.Dir(config)
		w.command = func() *exec.Cmd {
			cmd := exec.Command("mpdnsd", "--listen", nameDNS, "--upstream", up.Addr(), "--config", config)
			cmd.Env = append(os.Environ(), stateEnv+"="+w.state+":/nowhere")
			return cmd
		}
		w.daemon = w.world.start(w.command())
		f(w)
		w.settle()
		w.daemon.stop()
	})
}

// zoneOf is a server's answers where twoName has these addresses.
func zoneOf(addrs []netip.Addr) dnstest.Script {
	var records []string
	for _, a := range addrs {
		kind := " 60 IN AAAA "
		if a.Is4() {
			kind = " 60 IN A "
		}
		records = append(records, twoName+"."+kind+a.String())
	}
	return dnstest.Zone(records...)
}

// build makes the two hosts, in place of those before, and has DNS say so.
func (w *twoHosts) build(one, other []netip.Addr) {
	w.t.Helper()
	if w.lab != nil {
		w.settle()
		if err := w.lab.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.lab = labtest.New(w.t, testlab.Options{})
	client := testlab.LinkSpec{Delay: labDelay, Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("2001:db8:1::2/64")}}
	if _, err := w.lab.AddClientLink(client); err != nil {
		w.t.Fatal(err)
	}
	w.one, w.other = w.host("one", one), w.host("other", other)
	records := slices.Concat(one, other)
	w.records.Store(&records)
}

// settle waits until the connections have ended, and checks that all that they
// carried went to the first host.
func (w *twoHosts) settle() {
	w.t.Helper()
	w.one.close()
	w.other.close()
	if one, other := w.one.octets.Load(), w.other.octets.Load(); one != w.dials*labChunk || other != 0 {
		w.t.Errorf("the hosts have seen %d and %d octets, want %d and none", one, other, w.dials*labChunk)
	}
	w.dials = 0
}

// host makes a host that returns what it is sent, and counts it.
func (w *twoHosts) host(name string, addrs []netip.Addr) *counting {
	w.t.Helper()
	spec := testlab.LinkSpec{Delay: labDelay}
	for _, a := range addrs {
		spec.Addrs = append(spec.Addrs, netip.PrefixFrom(a, map[bool]int{true: 24, false: 64}[a.Is4()]))
	}
	h, err := w.lab.AddHost(name, spec)
	if err == nil {
		err = h.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 8, AddAddrAccepted: 8}) })
	}
	if err != nil {
		w.t.Fatal(err)
	}
	ln, err := h.Listen("tcp", net.JoinHostPort("", strconv.Itoa(twoPort)))
	if err != nil {
		w.t.Fatal(err)
	}
	c := &counting{ln: ln, addrs: addrs}
	c.serving.Go(c.accept)
	w.t.Cleanup(c.close)
	return c
}

// counting is a server that returns what it is sent.
type counting struct {
	ln      net.Listener
	addrs   []netip.Addr
	serving sync.WaitGroup
	octets  atomic.Int64
}

// accept is a goroutine.
func (c *counting) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		c.serving.Go(func() {
			n, _ := io.Copy(conn, conn) // the client sees what fails
			c.octets.Add(n)
			_ = conn.Close()
		})
	}
}

// close returns when the clients' connections have ended.
func (c *counting) close() {
	_ = c.ln.Close()
	c.serving.Wait()
}

// restart ends the daemon in order and starts it again.
func (w *twoHosts) restart() {
	w.t.Helper()
	w.daemon.stop()
	w.daemon = w.world.start(w.command())
}

// dial has a program of its own dial the name, which reaches the first host, and
// returns its report of the first dial and how many joins the other host was sent:
// not as the dialer counts them, but as they crossed the network. The program's
// second dial sends it none.
func (w *twoHosts) dial() (first nameReport, wasted int) {
	w.t.Helper()
	w.lab.ResetSYNs()
	reports := w.run()
	for _, syn := range w.lab.SYNs() {
		switch {
		case !slices.Contains(w.other.addrs, syn.Dst.Addr()):
		case syn.Kind == testlab.Join:
			wasted++
		case syn.Kind != testlab.Capable || !w.probe:
			w.t.Errorf("the other host was sent %v", syn)
		}
	}
	for i, r := range reports {
		w.dials++
		if want := wasted * (1 - i); r.First != one6 || r.Manager != "broker" || r.Wasted != want {
			w.t.Errorf("dial %d, %d joins crossed to the other host, want %d reported: %+v", i+1, wasted, want, r)
		}
	}
	if first, again := joined(reports[0]), joined(reports[1]); !slices.Equal(first, again) {
		w.t.Errorf("joined are %v, then %v", first, again)
	}
	return reports[0], wasted
}

// joined is the addresses that were joined, sorted.
func joined(r nameReport) (all []netip.Addr) {
	for a, v := range r.Verdicts {
		if v == dialer.Joined {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// run has a program without privilege dial the name.
func (w *twoHosts) run() (reports [nameDials]nameReport) {
	w.t.Helper()
	args := []string{net.JoinHostPort(twoName, strconv.Itoa(twoPort))}
	if w.probe {
		args = append(args, probeArg)
	}
	if w.leave {
		args = append(args, leaveArg)
	}
	cmd := exec.Command("nameprogram", args...)
	cmd.Stderr = os.Stderr
	if w.user != 0 {
		defer w.become(cmd)()
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := testlab.WithoutNetAdmin(cmd.Start); err != nil {
		w.t.Fatal(err)
	}
	decoding := json.NewDecoder(out).Decode(&reports)
	if err := cmd.Wait(); err != nil || decoding != nil {
		w.t.Fatalf("the program: %v, its report: %v", err, decoding)
	}
	return reports
}

// become has a program run as the user, who may not look into the folder that the
// program is in.
func (w *twoHosts) become(cmd *exec.Cmd) (done func()) {
	w.t.Helper()
	f, err := os.Open(cmd.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{f}
	cmd.Path = "/proc/self/fd/3"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: w.user, NoSetGroups: true}}
	return func() { _ = f.Close() } // it was only read
}

// TestVerdictsLast is what a name of two hosts of two addresses each, in both
// families, costs. The first program to dial it learns which address is whose, by a
// join to each of the other host's. It sends that host none when it dials again, nor
// do programs after it, nor after the daemon was restarted. When addresses have
// changed hands, what was proven costs one more. No octet of data goes to the other
// host.
func TestVerdictsLast(t *testing.T) {
	for name, probe := range map[string]bool{"as it comes": false, "probing": true} {
		t.Run(name, func(t *testing.T) {
			inTwoHosts(t, probe, func(w *twoHosts) { w.last() })
		})
	}
}

func (w *twoHosts) last() {
	w.daemon.logs(`verdicts file: none yet.*` + filepath.Join(w.state, "verdicts"))
	r, wasted := w.dial()
	if wasted != len(w.other.addrs) || r.Missed != 0 || r.Verdicts[one4] != dialer.Joined {
		w.t.Errorf("first program: %d joins to the other host, %+v", wasted, r)
	}
	for a, believed := range r.Believed {
		if believed != "unknown" {
			w.t.Errorf("first program: %v is believed to be %s", a, believed)
		}
	}
	w.knows("second program", one4)
	w.restart()
	w.daemon.logs(`verdicts file: read.* pairs=1 users=1`)
	w.knows("after a restart", one4)

	w.build([]netip.Addr{new4, one6}, []netip.Addr{one4, other6})
	if out, err := exec.Command("mpdnsd", "ctl", "flush", twoName).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	r, wasted = w.dial()
	if wasted != 1 || r.Believed[one4] != "same" || r.Verdicts[one4] == dialer.Joined || r.Verdicts[new4] != dialer.Joined {
		w.t.Errorf("renumbered: %d joins to the other host, %+v", wasted, r)
	}
	w.knows("corrected", new4)
	w.restart()
	w.knows("corrected, and restarted", new4)
}

// knows checks that a program joins the first host's further address and sends the
// other host nothing.
func (w *twoHosts) knows(what string, further netip.Addr) {
	w.t.Helper()
	if r, wasted := w.dial(); wasted != 0 || r.Verdicts[further] != dialer.Joined {
		w.t.Errorf("%s: %d joins to the other host, %+v", what, wasted, r)
	}
}

// remembered is what the daemon knows of the name.
func (w *twoHosts) remembered() []control.Verdict {
	w.t.Helper()
	out, err := exec.Command("mpdnsd", "ctl", "--json", "verdicts", twoName).Output()
	if err != nil {
		w.t.Fatal(err)
	}
	var known control.Verdicts
	if err := json.Unmarshal(out, &known); err != nil || len(known.Verdicts) == 0 {
		w.t.Fatalf("%v: %s", err, out)
	}
	return known.Verdicts
}

// TestRefusalIsEverybodys: addresses have changed hands, and one program was refused.
// The broker has seen it, so that what was proven is no more told to another user's
// program, which joins no address but those known to be the host's: it sends the
// other host none.
func TestRefusalIsEverybodys(t *testing.T) {
	inTwoHosts(t, false, func(w *twoHosts) {
		w.dial()
		w.leave = true
		w.knows("before", one4)
		w.restart()
		w.build([]netip.Addr{new4, one6}, []netip.Addr{one4, other6})
		if out, err := exec.Command("mpdnsd", "ctl", "flush", twoName).CombinedOutput(); err != nil {
			w.t.Fatalf("%v: %s", err, out)
		}
		w.leave = false
		if r, wasted := w.dial(); wasted != 1 || r.Believed[one4] != "same" {
			t.Errorf("renumbered: %d joins to the other host, %+v", wasted, r)
		}
		w.daemon.logs(`a proof is withdrawn.* name=` + twoName + `:7000 first=` + one6.String() + ` addr=` + one4.String())
		for _, v := range w.remembered() {
			if v.UID == nil && (v.A == one4.String() || v.B == one4.String()) {
				t.Errorf("still told to everybody: %+v", v)
			}
		}
		var err error
		if w.user, err = testlab.OtherUser(); err != nil {
			t.Fatal(err)
		}
		if w.user == 0 {
			return // only root's labs have another user
		}
		w.leave = true
		r, wasted := w.dial()
		if wasted != 0 || r.Believed[one4] != "unknown" || r.Verdicts[new4] != dialer.Joined {
			t.Errorf("another user: %d joins to the other host, %+v", wasted, r)
		}
	})
}
