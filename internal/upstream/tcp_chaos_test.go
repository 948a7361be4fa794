package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/upstream"
)

// upTo is a random time.
func upTo(d time.Duration) time.Duration { return rand.N(d + 1) }

// many is how many questions askMany asks.
const many = 500

// askMany asks many questions at random times, some of which give up, and waits
// for what comes of each.
func askMany(t *testing.T, k *kept, giveUp func() time.Duration, told func(err error)) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			time.Sleep(upTo(10 * time.Second)) // virtual time
			ctx, cancel := context.WithTimeout(t.Context(), giveUp())
			defer cancel()
			start := time.Now()
			err := k.ask(ctx, fmt.Sprintf("n%d.example", i))()
			if d := time.Since(start); d > upstream.DefaultTimeout {
				t.Errorf("told after %v: %v", d, err)
			}
			told(err)
		})
	}
	wg.Wait()
}

// TestTCPCloser: no question fails that is put to a server which closes a connection
// whenever it likes, but answers the first on each.
func TestTCPCloser(t *testing.T) {
	for range 20 {
		inBubble(t, func(p *peer) {
			for range rand.N(20) + 1 {
				b := p.query()
				if b == nil {
					return
				}
				time.Sleep(upTo(5 * time.Millisecond)) // virtual time
				p.reply(b)
			}
		}, func(t *testing.T, k *kept) {
			askMany(t, k, func() time.Duration { return time.Minute }, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestTCPChaos: whatever a server does, who asks is told in time, and of a reply
// to the own question only; nothing is left open.
func TestTCPChaos(t *testing.T) {
	for range 20 {
		inBubble(t, chaos, func(t *testing.T, k *kept) {
			answered := 0
			var mu sync.Mutex
			askMany(t, k, func() time.Duration { return upTo(10 * time.Second) }, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if e := (*upstream.Error)(nil); err == nil {
					answered++
				} else if !errors.As(err, &e) {
					t.Error(err)
				}
			})
			if answered == 0 {
				t.Error("none was answered")
			}
			time.Sleep(upstream.TCPIdle) // virtual time
			want(t, "connections open", k.dialled()-k.left(), 0)
		})
	}
}

// chaos answers out of order, late, twice, wrongly, or not at all, and closes.
func chaos(p *peer) {
	var late sync.WaitGroup
	defer late.Wait()
	defer func() { _ = p.Close() }()
	for b := p.query(); b != nil; b = p.query() {
		switch rand.N(50) {
		case 0:
			return
		case 1:
			_, _ = p.Write(frame(b)[:rand.N(len(b))])
			return
		case 2:
			time.Sleep(upTo(6 * time.Second)) // virtual time
		case 3:
			continue
		case 4:
			p.reply(withID(b, uint16(rand.N(1<<16))))
		case 5:
			b[13] ^= 1
		}
		late.Go(func() {
			time.Sleep(upTo(time.Second)) // virtual time
			for range 1 + rand.N(21)/20 {
				p.reply(b)
			}
		})
	}
}
