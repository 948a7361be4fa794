//go:build unix

package verdicts

import (
	"context"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// slowReply is by how much a slow server's replies are late: more than a question
// waits, less than makes the connection fail.
const slowReply = 4 * RecallTimeout

// misbehaviour is what becomes of a server's reply; false ends the connection.
type misbehaviour func(ctx context.Context, reply []byte) ([]byte, bool)

// misbehaviours are of servers that are there, and are of no use.
var misbehaviours = map[string]misbehaviour{
	"says nothing": func(context.Context, []byte) ([]byte, bool) { return nil, true },
	"hangs up":     func(context.Context, []byte) ([]byte, bool) { return nil, false },
	"garbage":      func(context.Context, []byte) ([]byte, bool) { return []byte("\x00\xff\r\n+\r\n:x\r\n"), true },
	"no Redis": func(context.Context, []byte) ([]byte, bool) {
		return []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false
	},
	"half a reply": func(_ context.Context, b []byte) ([]byte, bool) { return b[:len(b)/2], true },
	"slow": func(ctx context.Context, b []byte) ([]byte, bool) {
		select {
		case <-time.After(slowReply):
		case <-ctx.Done():
		}
		return b, true
	},
}

// wrapped is a server behind a relay that can make it misbehave.
type wrapped struct {
	l       net.Listener
	socket  string
	how     atomic.Pointer[misbehaviour] // nil: not at all
	running sync.WaitGroup
}

// wrap puts a relay before a server, until the test ends.
func wrap(t *testing.T, server *redisServer) *wrapped {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wrapped{l: l, socket: filepath.Join(server.dir, "s")}
	ctx, cancel := context.WithCancel(context.Background())
	w.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() { w.carry(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		w.running.Wait()
	})
	return w
}

// carry is a goroutine. It carries one connection, and ends when either end has.
func (w *wrapped) carry(ctx context.Context, c net.Conn) {
	defer c.Close()
	to, err := net.Dial("unix", w.socket)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	w.running.Go(func() {
		_, _ = io.Copy(to, c) // either end may go
		_ = to.Close()
	})
	b := make([]byte, 64<<10)
	for {
		n, err := to.Read(b)
		if err != nil {
			return
		}
		reply, more := b[:n], true
		if how := w.how.Load(); how != nil {
			reply, more = (*how)(ctx, reply)
		}
		if _, err := c.Write(reply); err != nil || !more {
			return
		}
	}
}

// waits checks that nothing waits for the server for longer than it may.
func waits(t *testing.T, s *Store, when string) {
	t.Helper()
	begun := time.Now()
	s.Prove(name, at(first), second, hostid.Joined, begun)
	s.Fetch(name, []netip.Addr{first, third})
	s.Recall(t.Context(), name, []netip.Addr{first, third})
	if took := time.Since(begun); took > RecallTimeout+requestTimeout {
		t.Errorf("%s: waited %v", when, took)
	}
	if !knows(s, first, second) {
		t.Errorf("%s: not remembered", when)
	}
}

// TestMisbehaving: a server that is of no use, from the beginning or in the middle of
// a connection, holds nothing up beyond RecallTimeout and counts as away; when it is
// itself again it is used again, and has what was proven meanwhile. The end does not
// wait for it.
func TestMisbehaving(t *testing.T) {
	for what, how := range misbehaviours {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := redis(t)
			w := wrap(t, server)
			w.how.Store(&how)
			s, log := machine(t, "redis://"+w.l.Addr().String())
			waits(t, s, "from the beginning")
			if what != "slow" { // which is good enough to connect to
				eventually(t, "the log", func() bool { return log.count("away; going on without it") == 1 })
			}
			w.how.Store(nil)
			connected(t, s)

			w.how.Store(&how)
			waits(t, s, "in the middle")
			eventually(t, "that it counts as away", func() bool { return s.shared.current.Load() == nil })
			waits(t, s, "away")
			s.Prove(name, at(second), third, hostid.Joined, time.Now())
			w.how.Store(nil)
			connected(t, s)
			other, _ := machine(t, server.url())
			connected(t, other)
			eventually(t, "what was proven meanwhile", func() bool {
				other.Recall(t.Context(), name, []netip.Addr{second, third})
				return knows(other, second, third)
			})

			w.how.Store(&how)
			begun := time.Now()
			s.Close()
			if took := time.Since(begun); took > connectTimeout+2*requestTimeout {
				t.Errorf("the end took %v", took)
			}
		})
	}
}
