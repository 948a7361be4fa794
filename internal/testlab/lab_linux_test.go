package testlab_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// prefixes parses addresses with their lengths.
func prefixes(ss ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

// oneServer is a lab with a client and a server, one link each.
func oneServer(t *testing.T, delay time.Duration) (*testlab.Lab, *testlab.Host) {
	t.Helper()
	lab := labtest.New(t, testlab.Options{})
	if _, err := lab.AddClientLink(testlab.LinkSpec{Addrs: prefixes("10.0.1.2/24", "fd00:1::2/64"), Delay: delay}); err != nil {
		t.Fatal(err)
	}
	server, err := lab.AddHost("server", testlab.LinkSpec{Addrs: prefixes("10.1.1.2/24", "fd00:11::2/64")})
	if err != nil {
		t.Fatal(err)
	}
	return lab, server
}

// listen listens with MPTCP on the tests' port.
func listen(t *testing.T, h *testlab.Host) net.Listener {
	t.Helper()
	ln, err := h.Listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// echo serves every connection of a listener until it is closed.
func echo(t *testing.T, ln net.Listener) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		var serving sync.WaitGroup
		defer serving.Wait()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	}()
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	var d net.Dialer
	d.SetMultipathTCP(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// roundTrip sends a message to an echo server and waits for it.
func roundTrip(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

func TestConnect(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, server := oneServer(t, 0)
		echo(t, listen(t, server))
		for _, address := range []string{"10.1.1.2:7000", "[fd00:11::2]:7000"} {
			c := dial(t, address)
			t.Logf("%s: round trip %v", address, roundTrip(t, c))
			if ok, err := c.MultipathTCP(); err != nil || !ok {
				t.Errorf("%s: MPTCP %v, %v; want it negotiated", address, ok, err)
			}
		}
	})
}
