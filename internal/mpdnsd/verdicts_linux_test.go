package mpdnsd

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/testlab"
)

// otherServer is the address of another host that speaks MPTCP at the same port.
const otherServer = "10.1.9.2"

// other adds the other host.
func (w *world) other() {
	w.t.Helper()
	h, err := w.lab.AddHost("other", testlab.LinkSpec{Delay: labDelay, Addrs: []netip.Prefix{netip.MustParsePrefix(otherServer + "/24")}})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := h.Listen("tcp", fmt.Sprintf(":%d", w.port))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	if _, ok := l.(*net.TCPListener); !ok {
		w.t.Fatalf("listener %T", l)
	}
}

// dial has a program of its own connect to both addresses of the server and that of
// the other host, and returns how many joins went to the other host.
func (w *world) dial() (wasted int) {
	w.t.Helper()
	w.lab.ResetSYNs()
	p := w.program("", server1, server2, otherServer)
	s := p.state()
	p.finish()
	if s.Verdicts[server2] != dialer.Joined || len(s.Verdicts) != 2 {
		w.t.Errorf("the program's joins: %v", s.Verdicts)
	}
	for _, syn := range w.lab.SYNs() {
		if syn.Dst.Addr().String() == otherServer {
			if syn.Kind != testlab.Join {
				w.t.Errorf("the other host was sent %v", syn)
			}
			wasted++
		}
	}
	return wasted
}

// TestVerdictsLast: of two hosts the first program learns which is which, at the cost
// of a join that the other host refuses. Programs after it send none, nor after the
// daemon was restarted.
func TestVerdictsLast(t *testing.T) {
	inWorld(t, func(w *world) {
		w.other()
		if err := os.Mkdir(filepath.Dir(broker.DefaultPath), 0o755); err != nil {
			t.Fatal(err)
		}
		config := w.configuration("manager = \"userspace\"\n")
		state := filepath.Dir(config)
		daemon := func() *labDaemon {
			cmd := exec.Command("mpdnsd", append(slices.Clone(daemonArgs), "--config", config)...)
			cmd.Env = append(os.Environ(), stateEnv+"="+state+":/nowhere")
			return w.start(cmd)
		}
		d := daemon()
		d.logs(`verdicts file: none yet.*` + filepath.Join(state, "verdicts"))
		if n := w.dial(); n != 1 {
			t.Errorf("the first program sent the other host %d joins, want the one that tells", n)
		}
		if n := w.dial(); n != 0 {
			t.Errorf("the second program sent the other host %d joins", n)
		}
		d.stop()
		d = daemon()
		d.logs(`verdicts file: read.* pairs=1 users=1`)
		if n := w.dial(); n != 0 {
			t.Errorf("after a restart the other host was sent %d joins", n)
		}
		d.stop()
	})
}
