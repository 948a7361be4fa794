package upstream_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// BenchmarkTCP is one question over TCP over loopback; the server's share is in
// it. "many" has 64 in flight for each processor.
func BenchmarkTCP(b *testing.B) {
	for _, kept := range []string{"kept", "alone"} {
		for _, load := range []string{"one", "many"} {
			b.Run(kept+"/"+load, func(b *testing.B) {
				s := newServer(echoTCP(b), upstream.Options{UseTCP: true})
				if kept == "kept" {
					defer upstream.KeepTCP(s)()
					defer upstream.CloseTCP(s)
				}
				q := question(b, "www.example", dnswire.TypeA)
				ask := func(tb testing.TB) {
					if _, err := s.Exchange(context.Background(), q); err != nil {
						tb.Error(err)
					}
				}
				b.ReportAllocs()
				if load == "one" {
					for b.Loop() {
						ask(b)
					}
					return
				}
				b.SetParallelism(64)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						ask(b)
					}
				})
			})
		}
	}
}

// BenchmarkTCPNagle is two questions at once, of a server whose second reply waits
// until the first is acknowledged.
func BenchmarkTCPNagle(b *testing.B) {
	s := newServer(serveTCP(b, func(c net.Conn) {
		defer func() { _ = c.Close() }()
		_ = c.(*net.TCPConn).SetNoDelay(false)
		(&peer{c, 1}).answerAll()
	}), upstream.Options{UseTCP: true})
	defer upstream.KeepTCP(s)()
	defer upstream.CloseTCP(s)
	q := question(b, "www.example", dnswire.TypeA)
	for b.Loop() {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if _, err := s.Exchange(b.Context(), q); err != nil {
					b.Error(err)
				}
			})
		}
		both.Wait()
	}
}

// echoTCP is a server that only sets QR: as cheap as one can be.
func echoTCP(tb testing.TB) string {
	tb.Helper()
	return serveTCP(tb, echoStream)
}

// serveTCP is a server each of whose connections is served by serve.
func serveTCP(tb testing.TB, serve func(c net.Conn)) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	tb.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// echoStream answers what has come together with one write.
func echoStream(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, out := bufio.NewReader(c), []byte(nil)
	for {
		head, err := r.Peek(2)
		if err != nil {
			return
		}
		n := 2 + int(binary.BigEndian.Uint16(head))
		at := len(out)
		out = append(out, make([]byte, n)...)
		if _, err := io.ReadFull(r, out[at:]); err != nil {
			return
		}
		dnswire.PatchFlags(out[at+2:], 0, dnswire.FlagQR)
		if r.Buffered() > 0 {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}
