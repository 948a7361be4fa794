//go:build unix

package mpdnsd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/verdicts"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// serverBound is by when a look-up is answered that has waited for the verdicts'
// server: its own bound, and what a busy machine takes. It is less than the second
// after which a request that nobody waits for is given up.
const serverBound = verdicts.RecallTimeout + 800*time.Millisecond

// The addresses of every name that is asked for here.
const (
	shared4 = "192.0.2.10"
	shared6 = "2001:db8::10"
)

// everyName is an upstream where each name has both addresses, but those that begin
// with "no", which do not exist.
func everyName(t *testing.T) *dnstest.Server {
	t.Helper()
	return dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		switch {
		case strings.HasPrefix(q.Name, "no."):
			return dnstest.Action{RCode: dns.RcodeNameError}
		case q.Type == "A":
			return dnstest.Action{Answer: []string{"@ 60 IN A " + shared4}}
		case q.Type == "AAAA":
			return dnstest.Action{Answer: []string{"@ 60 IN AAAA " + shared6}}
		}
		return dnstest.Action{}
	})
}

// withVerdictsServer runs a daemon that shares its verdicts, until the test ends.
func withVerdictsServer(t *testing.T, up *dnstest.Server, url string) *running {
	t.Helper()
	return startRunning(t, "[verdicts]\nredis = \""+url+"\"\n[upstream]\n"+toml(up))
}

// inTime asks, and checks that the answer comes within serverBound.
func (r *running) inTime(name, typ string) (answer string) {
	r.t.Helper()
	begun := time.Now()
	answer, err := ask("udp", r.addr, name, typ)
	if took := time.Since(begun); err != nil || took > serverBound {
		r.t.Errorf("%s %s: %v after %v", name, typ, err, took)
	}
	return answer
}

// answers is what a daemon says to questions of all kinds, without the TTLs.
func (r *running) answers() (all []string) {
	r.t.Helper()
	for _, q := range []string{"www.example A", "www.example AAAA", "www.example TYPE65400", "new.example TYPE65400", "no.example TYPE65400", "no.example A"} {
		name, typ, _ := strings.Cut(q, " ")
		words := slices.DeleteFunc(strings.Fields(r.inTime(name, typ)), func(w string) bool { return strings.Trim(w, "0123456789") == "" })
		all = append(all, q+": "+strings.Join(words, " "))
	}
	return all
}

// realVerdictsServer is Debian's redis-server on a unix socket.
type realVerdictsServer struct {
	t      *testing.T
	socket string
	cmd    *exec.Cmd
}

// startVerdictsServer starts one, which ends with the test. Where none is installed
// the test is skipped, unless nothing may be.
func startVerdictsServer(t *testing.T, args ...string) *realVerdictsServer {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	switch {
	case err == nil:
	case os.Getenv(labtest.RequiredEnv) == "required":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	dir := t.TempDir()
	s := &realVerdictsServer{t: t, socket: filepath.Join(dir, "s")}
	args = append([]string{"--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", dir}, args...)
	log := newLogBuffer()
	s.cmd = exec.Command(program, args...)
	s.cmd.Stdout = log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // it was killed
	})
	if _, err := log.wait("ready to accept connections at"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *realVerdictsServer) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// claim has another machine have proven that a name's two addresses are one host.
func (s *realVerdictsServer) claim(name string) {
	s.t.Helper()
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitTime))
	fmt.Fprintf(c, "SET \"mpdnsd:1:%s %s %s\" \"joined %d\"\r\n", verdicts.Name(name), shared4, shared6, time.Now().Unix())
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "+OK\r\n" {
		s.t.Fatalf("%q, %v", line, err)
	}
}

// learns waits until a look-up of a name brings what another machine has proven.
func (r *running) learns(name string) {
	r.t.Helper()
	for end := time.Now().Add(waitTime); ; {
		r.inTime(name, "TYPE65400")
		known, err := r.client.Verdicts(r.t.Context(), verdicts.Name(name))
		switch {
		case err != nil:
			r.t.Fatal(err)
		case len(known.Verdicts) == 1 && known.Verdicts[0].Verdict == "same":
			return
		case time.Now().After(end):
			log, _ := r.log.get()
			r.t.Fatalf("%s: known is %+v\n%s", name, known, log)
		}
		if _, err := r.client.FlushName(r.t.Context(), name); err != nil { // for the next is to be looked up
			r.t.Fatal(err)
		}
	}
}

// TestVerdictsServerOfADaemon: what another machine has proven is known with the
// look-up. When the server hangs, look-ups wait for it no longer than they may, and
// it counts as away; when it goes on, it is used again.
func TestVerdictsServerOfADaemon(t *testing.T) {
	server := startVerdictsServer(t)
	server.claim("before.example")
	server.claim("after.example")
	r := withVerdictsServer(t, everyName(t), "unix://"+server.socket)
	r.logs("verdicts server: connected")
	r.learns("before.example")
	want := r.answers()

	server.signal(syscall.SIGSTOP)
	for i := range 10 {
		if got := r.inTime(fmt.Sprintf("hanging%d.example", i), "TYPE65400"); !strings.Contains(got, "TYPE65400") {
			t.Errorf("while the server hangs: %s", got)
		}
	}
	r.logs("verdicts server: away; going on without it")
	if _, err := r.client.FlushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.answers(); !slices.Equal(got, want) {
		t.Errorf("with the server %q, without it %q", want, got)
	}
	server.signal(syscall.SIGCONT)
	r.logs(`(?s)verdicts server: connected.*verdicts server: connected`)
	r.learns("after.example")
}

// TestVerdictsServerOfNoUse: a daemon whose verdicts' server was never of use starts,
// answers as one without, says that it goes on without, and ends.
func TestVerdictsServerOfNoUse(t *testing.T) {
	up := everyName(t)
	want := startRunning(t, "[upstream]\n"+toml(up)).answers()
	for _, tt := range []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"not there", func(t *testing.T) string { return "unix://" + filepath.Join(t.TempDir(), "none") }},
		{"closed port", func(t *testing.T) string { return "redis://" + closedPort(t) }},
		{"says nothing", func(t *testing.T) string { return "redis://" + misbehaving(t, "") }},
		{"another protocol", func(t *testing.T) string { return "redis://" + misbehaving(t, "HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{"wrong password", func(t *testing.T) string {
			return "unix://:wrong@" + startVerdictsServer(t, "--requirepass", "right").socket
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := withVerdictsServer(t, up, tt.url(t))
			for _, when := range []string{"at first", "later"} {
				if got := r.answers(); !slices.Equal(got, want) {
					t.Errorf("%s: %q, without a server %q", when, got, want)
				}
				r.logs("verdicts server: away; going on without it")
				if _, err := r.client.FlushAll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if log, _ := r.log.get(); strings.Contains(log, "verdicts server: connected") || strings.Contains(log, "wrong@") {
				t.Error(log)
			}
		})
	}
}

// closedPort is an address where nobody listens over TCP.
func closedPort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

// misbehaving is the address of a server that says the same to whatever comes, and
// with "" nothing.
func misbehaving(t *testing.T, says string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				for b := make([]byte, 512); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := io.WriteString(c, says); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { // when the daemon has ended, and with it its connections
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}
