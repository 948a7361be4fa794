package testlab_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// TestThroughput moves 64 MiB through the router without delay or rate.
func TestThroughput(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, server := oneServer(t, 0)
		ln, err := server.Listen("tcp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		const total = 64 << 20
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
		t.Logf("%.0f Mbit/s", float64(total)*8/1e6/time.Since(began).Seconds())
	})
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
