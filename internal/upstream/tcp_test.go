package upstream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// overTCP asks a server that does with its one connection what serve does; keep
// is for a connection that would be kept.
func overTCP(t *testing.T, keep bool, serve func(c *net.TCPConn, query []byte)) (upstream.Reply, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = ln.Close() }()
	wg.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		query := make([]byte, 512)
		n, _ := io.ReadAtLeast(c, query, 2+dnswire.HeaderLen)
		dnswire.PatchFlags(query[2:n], 0, dnswire.FlagQR)
		serve(c.(*net.TCPConn), query[:n])
	})
	s := newServer(ln.Addr().String(), upstream.Options{UseTCP: true, Attempts: 1, Timeout: 5 * time.Second})
	if keep {
		defer upstream.KeepTCP(s)()
		defer upstream.CloseTCP(s)
	}
	return s.Exchange(context.Background(), question(t, "www.example", dnswire.TypeA))
}

// TestTCPOctetByOctet: a reply may come in any pieces.
func TestTCPOctetByOctet(t *testing.T) {
	for _, keep := range []bool{false, true} {
		_, err := overTCP(t, keep, func(c *net.TCPConn, reply []byte) {
			_ = c.SetNoDelay(true)
			for i := range reply {
				_, _ = c.Write(reply[i : i+1])
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestTCPHalfClose: a server that is done sending has still answered.
func TestTCPHalfClose(t *testing.T) {
	for _, keep := range []bool{false, true} {
		_, err := overTCP(t, keep, func(c *net.TCPConn, reply []byte) {
			_, _ = c.Write(reply)
			_ = c.CloseWrite()
			_, _ = c.Read(make([]byte, 1)) // until the client closes
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestTCPBroken: what ends before the reply does is an error at once, and what
// is not the reply is passed over.
func TestTCPBroken(t *testing.T) {
	tests := map[string]struct {
		serve func(c *net.TCPConn, reply []byte)
		ok    bool
	}{
		"reset":           {func(c *net.TCPConn, _ []byte) { _ = c.SetLinger(0) }, false},
		"half of a reply": {func(c *net.TCPConn, reply []byte) { _, _ = c.Write(reply[:len(reply)/2]) }, false},
		"length only":     {func(c *net.TCPConn, reply []byte) { _, _ = c.Write(reply[:1]) }, false},
		"length of zero":  {func(c *net.TCPConn, reply []byte) { _, _ = c.Write(append([]byte{0, 0}, reply...)) }, true},
		"another first": {func(c *net.TCPConn, reply []byte) {
			other := append([]byte(nil), reply...)
			binary.BigEndian.PutUint16(other[2:], ^binary.BigEndian.Uint16(other[2:]))
			_, _ = c.Write(append(other, reply...))
		}, true},
	}
	for name, tc := range tests {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, keep %v", name, keep), func(t *testing.T) {
				start := time.Now()
				_, err := overTCP(t, keep, tc.serve)
				var e *upstream.Error
				switch {
				case tc.ok && err != nil:
					t.Error(err)
				case !tc.ok && (!errors.As(err, &e) || e.Timeout || time.Since(start) > time.Second):
					t.Errorf("got %v after %v", err, time.Since(start))
				}
			})
		}
	}
}
