package verdicts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The bounds of what has to do with the server.
const (
	connectTimeout = time.Second
	// requestTimeout bounds what nobody waits for.
	requestTimeout = time.Second
	// RecallTimeout bounds what a question waits for: after it the server counts
	// as away.
	RecallTimeout = 50 * time.Millisecond
	// pingInterval is how often an idle connection is looked at.
	pingInterval = 10 * time.Second
	// minPause and maxPause are between tries to connect; each is twice the last.
	minPause = time.Second
	maxPause = time.Minute
	// maxWaiting bounds what waits to be published or read; more is forgotten.
	maxWaiting = 256
	// maxPairs bounds the pairs that one question asks for.
	maxPairs = 64
	// bufferOctets is each of a connection's buffers.
	bufferOctets = 16 << 10
	// ringBits is the binary logarithm of how many requests a connection has out.
	ringBits = 8
)

// shared is the verdicts of other machines.
type shared struct {
	memory  *hostid.Memory
	option  rueidis.ClientOption
	log     *slog.Logger
	current atomic.Pointer[rueidis.Client] // nil while the server is away
	broken  chan error                     // a request has failed; room for one
	waiting chan job
	cancel  context.CancelFunc
	running sync.WaitGroup // run
}

// job is a request that nobody waits for.
type job func(ctx context.Context, c rueidis.Client) error

// CheckURL tells whether a server can be meant. The error does not repeat the URL: a
// password may stand in it.
func CheckURL(url string) error {
	_, err := option(url)
	return err
}

// option is how the server of a URL is spoken to: one connection, no cache, no second
// try, for what fails is not needed.
func option(url string) (rueidis.ClientOption, error) {
	scheme, rest, _ := strings.Cut(url, "://")
	switch scheme {
	case "redis", "rediss", "valkey", "valkeys", "unix":
	default:
		return rueidis.ClientOption{}, errors.New("want redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, or unix://PATH")
	}
	o, err := rueidis.ParseURL(url)
	if err != nil || rest == "" || o.SelectDB < 0 || strings.ContainsAny(rest, "?#") && scheme != "unix" {
		return rueidis.ClientOption{}, fmt.Errorf("not %s://[USER:PASSWORD@]HOST[:PORT][/DATABASE] with a database number", scheme)
	}
	o.Dialer.Timeout = connectTimeout
	o.ConnWriteTimeout = requestTimeout
	o.DisableCache, o.DisableRetry, o.ForceSingleClient = true, true, true
	o.PipelineMultiplex = -1
	o.RingScaleEachConn = ringBits
	o.ReadBufferEachConn, o.WriteBufferEachConn = bufferOctets, bufferOctets
	o.ClientName = "mpdnsd"
	// A user with few rights need not have that of CLIENT SETINFO, which Redis has only
	// since 7.2: an ACL that names it is refused before.
	o.ClientSetInfo = rueidis.DisableClientSetInfo
	return o, nil
}

// openShared begins to look for the server.
func openShared(o rueidis.ClientOption, m *hostid.Memory, log *slog.Logger) *shared {
	s := &shared{memory: m, option: o, log: log, broken: make(chan error, 1), waiting: make(chan job, maxWaiting)}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(func() { s.run(ctx) })
	return s
}

func (s *shared) close() {
	s.cancel()
	s.running.Wait()
}

// server names the server without its password.
func (s *shared) server() string { return strings.Join(s.option.InitAddress, ",") }

// run is a goroutine. It has the connection made, and made again.
func (s *shared) run(ctx context.Context) {
	pause, told := minPause, false
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > maxPause {
			pause, told = minPause, false
		}
		if !told {
			s.log.Warn("verdicts server: away; going on without it", "server", s.server(), "error", err)
		}
		told = true
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// serve has one connection, until it breaks or ctx ends.
func (s *shared) serve(ctx context.Context) error {
	client, err := rueidis.NewClient(s.option)
	if err != nil {
		return err
	}
	defer client.Close()
	select {
	case <-s.broken: //nolint:errcheck // it is of the connection before
	default:
	}
	s.current.Store(&client)
	defer s.current.Store(nil)
	s.log.Info("verdicts server: connected", "server", s.server())
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	ping := func(ctx context.Context, c rueidis.Client) error { return c.Do(ctx, c.B().Ping().Build()).Error() }
	for {
		do := ping
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.broken:
			return err
		case do = <-s.waiting:
		case <-tick.C:
		}
		if err := s.do(ctx, client, do); err != nil {
			return err
		}
	}
}

// do does a request within its time. The error is the connection's; what the server
// has refused is logged.
func (s *shared) do(ctx context.Context, c rueidis.Client, do job) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := do(ctx, c)
	if _, refused := rueidis.IsRedisErr(err); refused {
		s.log.Debug("verdicts server: refused", "server", s.server(), "error", err)
		return nil
	}
	return err
}

// later has a request done when it can be.
func (s *shared) later(j job) {
	select {
	case s.waiting <- j:
	default: // the server is away or slow, and what is lost is a hint
	}
}

// publish tells other machines. A claim that ends sooner does not replace one.
func (s *shared) publish(name string, x, y netip.Addr, c claim) {
	k, ok := key(name, x, y)
	if !ok || word(c.outcome) == "" {
		return
	}
	s.later(func(ctx context.Context, client rueidis.Client) error {
		left := time.Until(c.expires())
		if left < time.Second {
			return nil
		}
		set := client.B().Set().Key(k).Value(c.value())
		if c.outcome == hostid.Announced {
			err := client.Do(ctx, set.Nx().Px(left).Build()).Error()
			if rueidis.IsRedisNil(err) {
				return nil // there is one
			}
			return err
		}
		return client.Do(ctx, set.Px(left).Build()).Error()
	})
}

// recall waits for what others know of a name's addresses, for RecallTimeout at most
// and not at all while the server is away.
func (s *shared) recall(ctx context.Context, name string, addrs []netip.Addr) {
	client := s.current.Load()
	if client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, RecallTimeout)
	defer cancel()
	if err := s.read(ctx, *client, name, addrs); err != nil && !errors.Is(err, context.Canceled) {
		select {
		case s.broken <- fmt.Errorf("reading: %w", err):
		default:
		}
	}
}

// fetch has the same done without anybody waiting.
func (s *shared) fetch(name string, addrs []netip.Addr) {
	if s.current.Load() != nil {
		s.later(func(ctx context.Context, c rueidis.Client) error { return s.read(ctx, c, name, addrs) })
	}
}

// asked is a pair that the server is asked for.
type asked struct{ x, y netip.Addr }

// read asks for the pairs of which nothing is remembered. Of each value no more is
// read than a good one has.
func (s *shared) read(ctx context.Context, c rueidis.Client, name string, addrs []netip.Addr) error {
	var pairs []asked
	var commands rueidis.Commands
	for _, p := range s.missing(name, addrs) {
		if k, ok := key(name, p.x, p.y); ok {
			pairs = append(pairs, p)
			commands = append(commands, c.B().Getrange().Key(k).Start(0).End(maxValue).Build())
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	for i, r := range c.DoMulti(ctx, commands...) {
		value, err := r.ToString()
		if _, refused := rueidis.IsRedisErr(err); err != nil && !refused {
			return err
		}
		if err == nil && value != "" {
			s.believe(name, pairs[i], value)
		}
	}
	return nil
}

// missing lists the pairs of which the memory has no proof, the first addresses'
// first, at most maxPairs.
func (s *shared) missing(name string, addrs []netip.Addr) []asked {
	var out []asked
	now := time.Now()
	for i, y := range addrs {
		for _, x := range addrs[:i] {
			if len(out) == maxPairs {
				return out
			}
			if len(s.memory.Evidence(name, []netip.Addr{x, y}, now)) == 0 {
				out = append(out, asked{x, y})
			}
		}
	}
	return out
}

// believe takes a claim into the memory.
func (s *shared) believe(name string, p asked, value string) {
	c, err := parseClaim(value, time.Now())
	if err != nil {
		s.log.Debug("verdicts server: a value passed over", "name", name, "a", p.x, "b", p.y, "error", err)
		return
	}
	s.memory.Record(name, p.x, p.y, c.outcome, c.at)
}
