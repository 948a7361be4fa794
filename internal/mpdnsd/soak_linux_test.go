package mpdnsd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

const (
	// soakEnv is how long TestSoak loads the daemon, such as "24h".
	soakEnv     = "MPDNSD_SOAK"
	soakDefault = 2 * time.Second
	soakClients = 2 // of each kind
	// leastAnswers is how many show a leak of one goroutine in twenty; on a busy
	// machine the load goes on for them, mostExtra times over.
	leastAnswers = 20 * moreGoroutines
	mostExtra    = 10

	// What may be there after the load that was not after the warm-up. The load
	// makes thousands of everything: a leak of one in a hundred would show.
	moreGoroutines = 64
	// The sockets to the one upstream server are kept, up to so many, and a reload
	// during the warm-up has let any number of them go.
	moreFiles  = 64 + upstream.MaxPorts
	moreOctets = 24 << 20 // of memory; as much as the race detector adds by itself
)

// footprint is what a process holds.
type footprint struct {
	goroutines, files int
	octets            int64
}

// leaks says of what a process holds more than it may after a load.
func leaks(before, after footprint) (all []string) {
	for _, kind := range []struct {
		what                string
		before, after, more int64
	}{
		{"goroutines", int64(before.goroutines), int64(after.goroutines), moreGoroutines},
		{"descriptors", int64(before.files), int64(after.files), moreFiles},
		{"octets of memory", before.octets, after.octets, moreOctets},
	} {
		if kind.after > kind.before+kind.more {
			all = append(all, fmt.Sprintf("%d %s after the load, %d before: %d more are allowed", kind.after, kind.what, kind.before, kind.more))
		}
	}
	return all
}

// TestLeaks: each kind has a bound of its own.
func TestLeaks(t *testing.T) {
	before := footprint{goroutines: 10, files: 20, octets: 30 << 20}
	bound := footprint{before.goroutines + moreGoroutines, before.files + moreFiles, before.octets + moreOctets}
	for want, after := range map[string]footprint{
		"":                 bound,
		"goroutines":       {bound.goroutines + 1, bound.files, bound.octets},
		"descriptors":      {bound.goroutines, bound.files + 1, bound.octets},
		"octets of memory": {0, 0, bound.octets + 1},
	} {
		got := strings.Join(leaks(before, after), "; ")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", after, got, want)
		}
	}
}

// measure asks the daemon, and the system for its memory.
func measure(t *testing.T, c *control.Client) (f footprint, s control.Stats) {
	t.Helper()
	s, err := c.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return footprint{s.Process.Goroutines, s.Process.OpenFiles, residentOctets(t, s.PID)}, s
}

// load is clients of all kinds, and what they got.
type load struct {
	t       *testing.T
	addr    string
	control *control.Client
	answers atomic.Int64
}

// TestSoak loads a daemon with hits, misses, TCP connections, junk, flushes and
// reloads at once, and wants it to hold no more afterwards than after a fifth of
// that.
func TestSoak(t *testing.T) {
	whole := soakDefault
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if whole, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	dir := t.TempDir()
	config := fmt.Sprintf("listen = [\"127.0.0.1:0\"]\n[upstream]\nservers = [%q]\n[cache]\nsize = \"512KiB\"\n[control]\nsocket = \"s\"\n", answerer(t))
	if err := os.WriteFile(filepath.Join(dir, "c.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &plainDaemon{t: t, log: newLogBuffer(), cmd: exec.Command("mpdnsd", "--config", filepath.Join(dir, "c.toml"))}
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.end()
	d.logs("msg=ready")
	m, err := d.log.wait(listening)
	if err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, addr: m[1], control: control.NewClient(filepath.Join(dir, "s"))}
	l.run(whole / 5)
	before, _ := measure(t, l.control)
	l.run(whole - whole/5)
	for more := 0; l.answers.Load() < leastAnswers && more < mostExtra; more++ { // the machine is busy
		l.run(whole)
	}
	after, s := measure(t, l.control)
	t.Logf("%d answers; before %+v, after %+v; %+v", l.answers.Load(), before, after, s.Cache)
	for _, leak := range leaks(before, after) {
		t.Error(leak)
	}
	if n := l.answers.Load(); n < leastAnswers {
		t.Errorf("only %d answers: too few to show a leak", n)
	}
	if s.Cache.Octets > s.Cache.MaxOctets {
		t.Errorf("the cache holds %d of %d octets", s.Cache.Octets, s.Cache.MaxOctets)
	}
	if log, _ := d.log.get(); strings.Contains(log, "panic") {
		t.Error(log)
	}
}

// answerer is an upstream server with one address for every name. It keeps
// nothing, however long it runs.
func answerer(t testing.TB) (addr string) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var q dns.Msg
			if q.Unpack(b[:n]) != nil || len(q.Question) != 1 {
				continue
			}
			r := new(dns.Msg).SetReply(&q)
			r.RecursionAvailable = true
			if q.Question[0].Qtype == dns.TypeA {
				head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}
				r.Answer = []dns.RR{&dns.A{Hdr: head, A: net.IPv4(192, 0, 2, 1)}}
			}
			if out, err := r.Pack(); err == nil {
				_, _ = c.WriteTo(out, from) // lost as datagrams are
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		serving.Wait()
	})
	return c.LocalAddr().String()
}

// run loads the daemon for a time.
func (l *load) run(d time.Duration) {
	ctx, cancel := context.WithTimeout(l.t.Context(), d)
	defer cancel()
	var clients sync.WaitGroup
	for kind, do := range map[string]func(*rand.Rand){
		"hit":    func(*rand.Rand) { l.ask("udp", "www.example.") },
		"miss":   func(r *rand.Rand) { l.ask("udp", fmt.Sprintf("n%d.example.", r.Uint64())) },
		"tcp":    func(r *rand.Rand) { l.ask("tcp", fmt.Sprintf("n%d.example.", r.IntN(1000))) },
		"junk":   func(r *rand.Rand) { l.junk(r) },
		"reload": func(r *rand.Rand) { l.operate(r) },
	} {
		for i := range soakClients {
			random := rand.New(rand.NewPCG(uint64(i), uint64(len(kind))))
			clients.Go(func() {
				for ctx.Err() == nil {
					do(random)
				}
			})
		}
	}
	clients.Wait()
}

func (l *load) ask(network, name string) {
	c := dns.Client{Net: network, Timeout: waitTime}
	if _, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), l.addr); err != nil {
		l.t.Errorf("%s over %s: %v", name, network, err)
		return
	}
	l.answers.Add(1)
}

// junk sends what is no question, over both transports, and then a question: so
// that it goes no faster than the daemon does, and no datagram of others is lost
// for want of room.
func (l *load) junk(r *rand.Rand) {
	b := make([]byte, r.IntN(64))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for _, network := range []string{"udp", "tcp"} {
		c, err := net.Dial(network, l.addr)
		if err != nil {
			l.t.Error(err)
			return
		}
		_, _ = c.Write(b) // the daemon may have closed the connection
		_ = c.Close()
	}
	l.ask("udp", "www.example.")
}

// operate does what an operator does.
func (l *load) operate(r *rand.Rand) {
	var err error
	switch r.IntN(3) {
	case 0:
		err = l.control.Reload(context.Background())
	case 1:
		_, err = l.control.FlushZone(context.Background(), "example")
	default:
		_, err = l.control.Lookup(context.Background(), "www.example")
	}
	if err != nil {
		l.t.Error(err)
	}
}
