package dialer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// BrokerOff is the [Dialer].Broker, and [ListenConfig].Broker, with which no broker
// is asked.
const BrokerOff = "off"

// minReattach and maxReattach bound the pauses before a broker that is gone is
// asked again; they double.
const (
	minReattach = time.Second
	maxReattach = time.Minute
)

// brokerTimeout is how long a connection waits for the broker to take it on. It
// works without subflows meanwhile.
const brokerTimeout = 500 * time.Millisecond

// attachFunc makes the broker's path manager of one connection.
type attachFunc func(ctx context.Context) (mptcp.PathManager, error)

// brokerSocket returns the broker's socket by a Broker setting, "" when none is to be
// asked.
func brokerSocket(setting string) string {
	switch setting {
	case "":
		return broker.DefaultPath
	case BrokerOff:
		return ""
	}
	return setting
}

// attacher returns how c gets a path manager from the broker, nil when none is
// to be asked.
func (c *Conn) attacher(path string) attachFunc {
	if path == "" {
		return nil
	}
	return func(ctx context.Context) (mptcp.PathManager, error) {
		raw, err := c.SyscallConn()
		if err != nil {
			return nil, err
		}
		return broker.Attach(ctx, path, raw)
	}
}

// manage gets a path manager: this process's own, or where it may have none the
// broker's. release gives it back.
func (s *subflows) manage(ctx context.Context) (pm mptcp.PathManager, release func(), err error) {
	pm, err = s.managers.acquire()
	if err == nil {
		s.update(func() { s.via = managerDirect })
		leave := s.share(ctx)
		return pm, func() {
			leave()
			_ = s.managers.release() // nobody is left to be told
		}, nil
	}
	if s.attach == nil || !errors.Is(err, mptcp.ErrNotPermitted) {
		return nil, nil, err
	}
	pm, failure := s.brokered(ctx)
	if failure != nil {
		return nil, nil, fmt.Errorf("%w; %w", err, failure)
	}
	s.update(func() { s.via = managerBroker })
	s.shared, _ = pm.(sharedVerdicts)
	return pm, interruptManager(ctx, pm), nil
}

// brokered gets a path manager from the broker, in time.
func (s *subflows) brokered(ctx context.Context) (mptcp.PathManager, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	return s.attach(ctx)
}

// interruptManager closes a path manager when ctx is done, so that no command
// to a broker that hangs holds up the end of the connection. The function it
// returns closes it too, and returns when nothing of it runs any more.
func interruptManager(ctx context.Context, pm mptcp.PathManager) (release func()) {
	ended := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = pm.Close() // its subflows stay; nobody is left to be told
	})
	return func() {
		if !forget() {
			<-ended
		}
		_ = pm.Close() // as above
	}
}

// brokerGone reports whether the broker was lost, and may return.
func (s *subflows) brokerGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.via == managerBroker && errors.Is(s.failure, broker.ErrGone)
}

// reattach asks the broker until it takes the connection on again. Without
// events the connection has ended first.
func (s *subflows) reattach(ctx context.Context) (release func(), events *mptcp.Subscription) {
	for pause := minReattach; ; pause = min(2*pause, maxReattach) {
		s.timer.Reset(pause)
		select {
		case <-ctx.Done():
			return func() {}, nil
		case <-s.timer.C:
		}
		pm, err := s.brokered(ctx)
		if err != nil {
			continue
		}
		release = interruptManager(ctx, pm)
		if events, err = pm.Subscribe(s.token); err == nil {
			s.pm = pm
			s.shared, _ = pm.(sharedVerdicts)
			return release, events
		}
		release()
	}
}

// resume takes up the joins where the last broker left them.
func (s *subflows) resume(ctx context.Context) {
	s.update(func() {
		s.failure, s.joiner.extra = nil, 0
		s.joiner.reopen()
	})
	if infos, err := s.wire.subflowInfos(); err == nil {
		s.feed(ctx, seen{infos})
	}
	s.replan(ctx, wanted{reason: errSourceGone, again: true})
}

// lost returns why a path manager gives no more events.
func lost(pm mptcp.PathManager) error {
	if ended, ok := pm.(interface{ Err() error }); ok && ended.Err() != nil {
		return ended.Err()
	}
	return mptcp.ErrClosed
}
