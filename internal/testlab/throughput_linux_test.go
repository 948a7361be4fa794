package testlab_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// TestThroughput moves data through the router and logs its rate: straight
// through, and with every frame waiting in the queue of delayed ones.
func TestThroughput(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := oneServer(t, 0)
		for _, delay := range []time.Duration{0, time.Millisecond} {
			lab.Client().Links()[0].SetDelay(delay)
			t.Logf("delay %v: %.0f Mbit/s", delay, throughput(t, server))
		}
	})
}

// throughput sends to a server and returns the rate in Mbit/s.
func throughput(t *testing.T, server *testlab.Host) float64 {
	t.Helper()
	const total = 32 << 20
	ln := listen(t, server)
	received := make(chan int64, 1)
	go func() { received <- drain(ln) }()
	c := dial(t, "[fd00:11::2]:7000")
	began := time.Now()
	block := make([]byte, 1<<16)
	for sent := 0; sent < total; sent += len(block) {
		if _, err := c.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := <-received; n != total {
		t.Fatalf("received %d octets of %d", n, total)
	}
	return float64(total) * 8 / 1e6 / time.Since(began).Seconds()
}

// drain reads one connection to its end and closes the listener.
func drain(ln net.Listener) int64 {
	defer func() { _ = ln.Close() }()
	c, err := ln.Accept()
	if err != nil {
		return 0
	}
	defer func() { _ = c.Close() }()
	n, _ := io.Copy(io.Discard, c)
	return n
}
