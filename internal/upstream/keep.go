package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// DefaultKeep is how many sockets a busy program keeps for each server.
	DefaultKeep = 512

	// keptUses is how many questions one kept socket asks. Opening and closing
	// a socket costs about as much as an exchange; shared by so many questions
	// it is a few per cent of each.
	keptUses = 32
	// keptAge is how long a kept socket, and so its port, is in use: a port that
	// someone finds open is soon another (RFC 5452 section 9.2).
	keptAge = 10 * time.Second
)

// keeper holds connected sockets to one server between questions. Each question
// has a socket to itself, so that whoever waits for a reply reads it from the
// kernel himself, and no goroutine hands it over.
type keeper struct {
	mu   sync.Mutex // guards what follows
	size int        // how many sockets may be open to be kept
	open int        // sockets open: idle and in use
	idle []*kept    // the longest unused first
}

// kept is a socket that may serve several questions, one at a time.
type kept struct {
	keptSocket
	born time.Time
	uses int
}

// keptSocket is a socket that can tell whether something lies in its buffer.
type keptSocket interface {
	socket
	asker
	// silent reports whether there is nothing to be read, and no error. What
	// lies there before the question was sent is no answer to it.
	silent() bool
}

// take returns a socket that no question in flight has: a new one as long as few
// are open; else a random one of the half that has been unused the longest, so
// that successive questions have different ports and no one knows which.
func (k *keeper) take(open func() (socket, error)) (socket, error) {
	for c := k.pick(); c != nil; c = k.pick() {
		if time.Since(c.born) < keptAge && c.silent() {
			return c, nil
		}
		k.drop(c)
	}
	s, err := open()
	if err != nil {
		k.mu.Lock()
		k.open--
		k.mu.Unlock()
		return nil, err
	}
	if c, ok := s.(keptSocket); ok {
		return &kept{keptSocket: c, born: time.Now()}, nil
	}
	return s, nil
}

// pick removes an idle socket; with none the caller is to open one, which is
// counted already.
func (k *keeper) pick() *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open < k.size || len(k.idle) == 0 {
		k.open++
		return nil
	}
	i := rand.N((len(k.idle) + 1) / 2) //nolint:gosec // ChaCha8, seeded by the system: as unpredictable as the port
	c := k.idle[i]
	k.idle[i] = k.idle[0]
	k.idle = k.idle[1:]
	return c
}

// give takes s back. One whose question ended badly is not used again, nor one
// that has served long enough.
func (k *keeper) give(s socket, good bool) {
	c, ok := s.(*kept)
	if !ok || !good {
		k.drop(s)
		return
	}
	c.uses++
	if c.uses >= keptUses || time.Since(c.born) >= keptAge {
		k.drop(c)
		return
	}
	if !k.put(c) {
		_ = c.Close()
	}
}

// put makes c idle, or, where too many are open, counts it as closed.
func (k *keeper) put(c *kept) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open > k.size {
		k.open--
		return false
	}
	k.idle = append(k.idle, c)
	return true
}

func (k *keeper) drop(s socket) {
	_ = s.Close()
	k.mu.Lock()
	k.open--
	k.mu.Unlock()
}

// takeUDP returns a socket for one question.
func (s *Server) takeUDP(ctx context.Context) (socket, error) {
	return s.kept.take(func() (socket, error) {
		if s.opts.Dial != nil {
			return s.opts.Dial(ctx, "udp", s.text)
		}
		return openUDP(s.addr)
	})
}

// Close closes the sockets that are kept, those in use once they are free. The
// server may be used on, and keeps none from then on. A server that is dropped
// without Close has them closed with the memory.
func (s *Server) Close() {
	s.kept.mu.Lock()
	idle := s.kept.idle
	s.kept.size, s.kept.idle = 0, nil
	s.kept.open -= len(idle)
	s.kept.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}
