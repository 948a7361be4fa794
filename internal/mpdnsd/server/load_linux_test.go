package server

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/udpbatch"
)

// BenchmarkLoad is the CPU time of the server for one cached answer, under the load of another
// process: closed loops with some questions in flight each. "echo" is what the loops and the kernel
// cost with nothing between.
func BenchmarkLoad(b *testing.B) {
	const questions = 200_000
	_, l := primed(b, options())
	for _, bb := range []struct {
		name, proto string
		to          netip.AddrPort
		conns       int
	}{
		{"echo", "udp", echoing(b), 4},
		{"udp", "udp", l.Addr(), 4},
		{"tcp", "tcp", l.Addr(), 4},
	} {
		b.Run(bb.name, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				load := exec.Command(os.Args[0])
				load.Env = append(os.Environ(), fmt.Sprintf("%s=%s %v %d %d %x", loadEnv, bb.proto, bb.to, bb.conns, questions, pack(b, question("www.example", "A"))))
				if out, err := load.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(questions*b.N), "cpu-ns/question")
		})
	}
}

// echoing answers each datagram with itself and 16 octets, as an answer has.
func echoing(b *testing.B) netip.AddrPort {
	conns, err := udpbatch.Listen(netip.MustParseAddrPort("127.0.0.1:0"), runtime.GOMAXPROCS(0))
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			_ = c.Serve(func(dst, packet []byte, _ udpbatch.Peer) []byte { // until it is closed
				return append(append(dst, packet...), make([]byte, 16)...)
			})
		})
	}
	b.Cleanup(func() { udpbatch.Close(conns); wg.Wait() })
	return conns[0].Addr()
}

// cpuTime is what the process has used so far.
func cpuTime(tb testing.TB) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// loadEnv has this test program be the client of BenchmarkLoad.
const loadEnv = "SERVER_LOAD"

// inFlight is how many questions each connection of the load has open.
const inFlight = 16

// load asks, each connection in a loop of its own.
func load(what string) error {
	var proto, to, packet string
	var conns, questions int
	if _, err := fmt.Sscan(what, &proto, &to, &conns, &questions, &packet); err != nil {
		return err
	}
	octets, err := hex.DecodeString(packet)
	if err != nil {
		return err
	}
	errs := make(chan error, conns)
	for range conns {
		go func() { errs <- askWindows(proto, to, octets, questions/conns) }()
	}
	for range conns {
		err = errors.Join(err, <-errs)
	}
	return err
}

// askWindows asks the same question again and again, a window of them at a time.
func askWindows(proto, to string, packet []byte, questions int) error {
	c, err := net.Dial(proto, to)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	in := make([]byte, 1<<16)
	answer := len(packet) + 16
	if proto == "tcp" {
		window := bytes.Repeat(frame(packet), inFlight)
		for ; questions > 0; questions -= inFlight {
			if _, err := c.Write(window); err != nil {
				return err
			}
			for got := 0; got < inFlight*(answer+2); {
				n, err := c.Read(in)
				if err != nil {
					return err
				}
				got += n
			}
		}
		return nil
	}
	for ; questions > 0; questions -= inFlight {
		for range inFlight {
			if _, err := c.Write(packet); err != nil {
				return err
			}
		}
		for range inFlight {
			if n, err := c.Read(in); err != nil || n != answer {
				return fmt.Errorf("%d octets, want %d: %w", n, answer, err)
			}
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	if what := os.Getenv(loadEnv); what != "" {
		if err := load(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
