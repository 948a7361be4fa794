package dialer

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// acceptor accepts and closes connections until the benchmark or test ends.
func acceptor(b testing.TB) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	b.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

// BenchmarkDial connects to a literal address of the loopback interface and
// closes the connection, beside net.Dialer doing the same.
func BenchmarkDial(b *testing.B) {
	if mptcp.Supported() != nil {
		b.Log("plain TCP only: this system has no Multipath TCP")
	}
	multi, plain := Dialer{}, Dialer{Multipath: MultipathOff}
	var netMulti, netPlain net.Dialer
	netMulti.SetMultipathTCP(true)
	netPlain.SetMultipathTCP(false)
	for _, bb := range []struct {
		name string
		dial func(network, address string) (net.Conn, error)
	}{
		{"mptcp", multi.Dial},
		{"mptcp by net.Dialer", netMulti.Dial},
		{"plain", plain.Dial},
		{"plain by net.Dialer", netPlain.Dial},
	} {
		b.Run(bb.name, func(b *testing.B) {
			address := acceptor(b)
			b.ReportAllocs()
			for b.Loop() {
				c, err := bb.dial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
			}
		})
	}
}

// BenchmarkRaceStep is the cost of deciding one dial of four addresses.
func BenchmarkRaceStep(b *testing.B) {
	b.ReportAllocs()
	all := answered{complete: true}
	all.candidates = append(all.candidates, v6a, v4a, v6b, v4b)
	for b.Loop() {
		r := newRace(0, 0)
		r.step(r.lastStart, all)
		r.step(r.lastStart, succeeded{v6a})
	}
}

// BenchmarkDialRatio is the time of a dial in that of net.Dialer's, both with
// Multipath TCP, taken in turns, so that what else the machine does weighs on
// both. The ratio is that of the medians.
func BenchmarkDialRatio(b *testing.B) {
	var ours Dialer
	var theirs net.Dialer
	theirs.SetMultipathTCP(true)
	address := acceptor(b)
	dials := [2]func(network, address string) (net.Conn, error){ours.Dial, theirs.Dial}
	var times [2][]time.Duration
	for n := 0; b.Loop(); n++ {
		for j := range dials {
			i := (n + j) % 2 // each goes first as often as the other
			begin := time.Now()
			c, err := dials[i]("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			_ = c.Close()
			times[i] = append(times[i], time.Since(begin))
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	mine, yours := times[0][len(times[0])/2], times[1][len(times[1])/2]
	b.ReportMetric(float64(mine)/float64(yours), "ratio")
}
