package udpbatch

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestStrangers: a program that shares its address does not get into ours, whichever comes first,
// nor ours into its.
func TestStrangers(t *testing.T) {
	theirs, err := listenNext(netip.MustParseAddrPort("127.0.0.1:0")) // with SO_REUSEPORT
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if ours, err := Listen(theirs.LocalAddr().(*net.UDPAddr).AddrPort(), 2); err == nil {
		Close(ours)
		t.Error("joined the sockets of another program")
	}
}

// loop is one Conn's loop, driven by hand.
func loop(tb testing.TB) (b *batcher, client net.Conn) {
	tb.Helper()
	conns, err := Listen(netip.MustParseAddrPort("0.0.0.0:0"), 1)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { Close(conns) })
	return newBatcher(conns[0], echo), connect(tb, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), conns[0].Addr().Port()))
}

// once is a turn that does not wait for the next when it has answered something.
func (b *batcher) once(fd uintptr) bool {
	b.turn(fd)
	return b.got > 0
}

// TestTurnDoesNotAllocate holds the promise of the loop, the poller included.
func TestTurnDoesNotAllocate(t *testing.T) {
	b, client := loop(t)
	packet, in := make([]byte, 50), make([]byte, 100)
	once := b.once
	allocs := testing.AllocsPerRun(200, func() {
		for range 3 {
			if _, err := client.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
		for got := 0; got < 3; got += b.got {
			if err := b.conn.raw.Read(once); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if n, err := client.Read(in); err != nil || n != len(packet) {
				t.Fatal(n, err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a batch of 3", allocs)
	}
}

// BenchmarkTurn is a batch of eight datagrams through the loop, the kernel's
// work and the client's included.
func BenchmarkTurn(b *testing.B) {
	l, client := loop(b)
	packet, in := make([]byte, 50), make([]byte, 100)
	once := l.once
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			if _, err := client.Write(packet); err != nil {
				b.Fatal(err)
			}
		}
		for got := 0; got < 8; got += l.got {
			if err := l.conn.raw.Read(once); err != nil {
				b.Fatal(err)
			}
		}
		for range 8 {
			if _, err := client.Read(in); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// usage is what the process has cost so far.
func usage(tb testing.TB) (cpu time.Duration, switches int64) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), int64(r.Nvcsw) + int64(r.Nivcsw) //nolint:unconvert // of other sizes elsewhere
}

// BenchmarkLowLoad is one question at a time from another process, with a pause before each, as at a
// few thousand a second: CPU time and context switches of the server alone. "net" is the loop in
// terms of package net.
func BenchmarkLowLoad(b *testing.B) {
	const questions = 5000
	for name, portable := range map[string]bool{"batch": false, "net": true} {
		b.Run(name, func(b *testing.B) {
			addr := serve(b, "127.0.0.1:0", 1, portable, echo)
			cpu, switches := usage(b)
			for b.Loop() {
				ask := exec.Command(os.Args[0])
				ask.Env = append(os.Environ(), fmt.Sprintf("%s=%v %d", askEnv, addr, questions))
				if out, err := ask.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
			cpu2, switches2 := usage(b)
			n := float64(questions * b.N)
			b.ReportMetric(float64(cpu2-cpu)/n, "cpu-ns/question")
			b.ReportMetric(float64(switches2-switches)/n, "switches/question")
		})
	}
}

// askEnv has this test program be the client of BenchmarkLowLoad.
const askEnv = "UDPBATCH_ASK"

// askQuestions is that client.
func askQuestions(what string) error {
	var addr string
	var n int
	if _, err := fmt.Sscan(what, &addr, &n); err != nil {
		return err
	}
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	buf, pause := make([]byte, 50), syscall.Timespec{Nsec: 100_000}
	for range n {
		_ = syscall.Nanosleep(&pause, nil)
		if _, err := c.Write(buf); err != nil {
			return err
		}
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
	return c.Close()
}

func TestMain(m *testing.M) {
	if what := os.Getenv(askEnv); what != "" {
		if err := askQuestions(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
