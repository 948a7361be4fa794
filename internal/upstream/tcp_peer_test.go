package upstream_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// peer is a server's end of a connection in memory.
type peer struct {
	net.Conn
	number int // of the connection, from 1
}

// query reads one query, as the reply that it will be; nil at the end.
func (p *peer) query() []byte {
	var size [2]byte
	if _, err := io.ReadFull(p, size[:]); err != nil {
		return nil
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(p, b); err != nil {
		return nil
	}
	dnswire.PatchFlags(b, 0, dnswire.FlagQR)
	return b
}

func (p *peer) queries(n int) [][]byte {
	var all [][]byte
	for range n {
		all = append(all, p.query())
	}
	return all
}

func (p *peer) reply(b []byte) { _, _ = p.Write(frame(b)) }

// untilClosed reads until the client closes.
func (p *peer) untilClosed() { _, _ = io.Copy(io.Discard, p) }

func (p *peer) answerAll() {
	for b := p.query(); b != nil; b = p.query() {
		p.reply(b)
	}
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// withID is a copy of b with another id.
func withID(b []byte, id uint16) []byte {
	b = append([]byte(nil), b...)
	dnswire.PatchID(b, id)
	return b
}

// kept is a server in memory whose connections are kept.
type kept struct {
	*upstream.Server
	t *testing.T

	mu            sync.Mutex
	dials, closed int
}

func (k *kept) dialled() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dials
}

// left counts the connections that are over.
func (k *kept) left() int {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// ask returns a function that waits for the error of a question that is in flight.
func (k *kept) ask(ctx context.Context, name string) (wait func() error) {
	q, done := question(k.t, name, dnswire.TypeA), make(chan error, 1)
	go func() {
		r, err := k.Exchange(ctx, q)
		if err == nil {
			if got, _, _ := dnswire.ExpandName(r.Msg, dnswire.HeaderLen); got != q.Name {
				err = fmt.Errorf("asked for %v, got %v", q.Name, got)
			}
		}
		done <- err
	}()
	return func() error { return <-done }
}

// inBubble runs test in virtual time, with a server each of whose connections is
// served by serve.
func inBubble(t *testing.T, serve func(p *peer), test func(t *testing.T, k *kept)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &kept{t: t}
		var peers sync.WaitGroup
		k.Server = newServer(serverAddr, upstream.Options{
			UseTCP: true, Attempts: 1,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.dials++
				client, server := net.Pipe()
				p := &peer{server, k.dials}
				peers.Go(func() {
					defer func() { _ = p.Close() }()
					serve(p)
					k.mu.Lock()
					defer k.mu.Unlock()
					k.closed++
				})
				return client, nil
			},
		})
		wait := upstream.KeepTCP(k.Server)
		test(t, k)
		upstream.CloseTCP(k.Server)
		wait()
		peers.Wait()
	})
}

func want(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%d %s, want %d", got, what, want)
	}
}

func (p *peer) answerLate() {
	for b := p.query(); b != nil; b = p.query() {
		time.Sleep(time.Second) // virtual time
		p.reply(b)
	}
}
