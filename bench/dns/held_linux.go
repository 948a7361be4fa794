package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

const (
	// heldSample is how many names are asked again to see what a cache kept.
	heldSample = 1000
	// enoughHeld is the share of them that counts as all.
	enoughHeld = 0.99
	// quiet is given to what a server asks of its upstream on its own account.
	quiet = 200 * time.Millisecond
)

// warm asks each query twice, then makes sure that the answers are in the cache:
// otherwise the load would be another one than it says.
func (b *bench) warm(ctx context.Context, s *server, list []query) error {
	l := load{server: s.addr, links: 4, next: s.source(inOrder(list)), queries: 2 * len(list)}
	if _, err := l.mustRun(ctx); err != nil || s.floor {
		return err
	}
	held, err := b.held(ctx, s, every(len(list)/heldSample, inOrder(list)))
	if err == nil && held < enoughHeld {
		err = fmt.Errorf("kept only %.0f %% of %d names", held*100, len(list))
	}
	return err
}

// held is the share of a sample that is answered while the upstream is stopped.
func (b *bench) held(ctx context.Context, s *server, sample source) (float64, error) {
	if err := pause(ctx, quiet); err != nil {
		return 0, err
	}
	if err := b.upstream.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return 0, err
	}
	defer func() { _ = b.upstream.cmd.Process.Signal(syscall.SIGCONT) }()
	l := load{server: s.addr, links: 8, next: sample, queries: heldSample}
	t, err := l.run(ctx)
	if err != nil {
		return 0, err
	}
	if t.answered == 0 {
		return 0, fmt.Errorf("nothing is in the cache of %d answers", heldSample)
	}
	return float64(t.answered) / float64(t.answered+t.wrong+t.lost), nil
}

// pause waits for a time of the measurement.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
