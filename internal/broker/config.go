package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// The defaults of [Limits].
const (
	DefaultClients      = 4096
	DefaultPerUser      = 1024
	DefaultSubflows     = 8
	DefaultRequests     = 50
	DefaultBurst        = 100
	DefaultHelloTimeout = 2 * time.Second
	DefaultWriteTimeout = 5 * time.Second
)

// MaxSubflows is the greatest [Limits].Subflows: the kernel counts subflows in
// an octet, and a connection with more than this gains nothing.
const MaxSubflows = 64

// MaxAnnounced is how many addresses of this machine clients can have announced
// to the peer of one connection: what the kernel's own path manager can take in
// (MPTCP_PM_ADDR_MAX).
const MaxAnnounced = 8

// Limits bounds what clients can take. The zero value of a field is its default.
type Limits struct {
	Clients      int           // clients at a time
	PerUser      int           // clients of one user id at a time; each has one connection
	Subflows     int           // subflows of one connection besides its first, those still connecting included
	Requests     float64       // requests per second of one client; more are read more slowly
	Burst        int           // requests that may come at once
	HelloTimeout time.Duration // from the client's connect to its attach message
	WriteTimeout time.Duration // for which a client may leave a message unread
}

// Config is the configuration of a [Server].
type Config struct {
	// Manager does what clients ask for. It stays open when the server ends.
	Manager mptcp.PathManager
	Limits  Limits
	// Allow narrows the addresses to which subflows may go; empty does not.
	Allow []netip.Prefix
	// Log gets who attached (user and process id), who was refused, and why.
	// nil: nothing is logged.
	Log *slog.Logger
	// Memory keeps what clients report of a name's addresses; nil: nothing is kept.
	Memory Memory
	// Owner manages the connections that nobody brings; nil: nobody does.
	Owner Owner
}

// Owner is who manages the paths of connections that are not brought to the
// broker. A connection has one owner at a time, the broker's clients or this
// one, and it is handed over as it is: subflows that the one has made or begun
// are the other's from then on.
type Owner interface {
	// Claim takes a connection away before its first client is told that it is
	// attached: when Claim returns, no command for the connection is under way,
	// and none follows until Release.
	Claim(token uint32)
	// Release gives it back after the last command of its last client.
	Release(token uint32)
}

// nobody is the Owner where there is none.
type nobody struct{}

func (nobody) Claim(uint32)   {}
func (nobody) Release(uint32) {}

// complete checks c and fills in the defaults.
func (c Config) complete() (Config, error) {
	if c.Manager == nil {
		return c, errors.New("no path manager")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Owner == nil {
		c.Owner = nobody{}
	}
	for _, p := range c.Allow {
		if !p.IsValid() {
			return c, errors.New("invalid allowed prefix")
		}
	}
	var err error
	c.Limits, err = c.Limits.complete()
	return c, err
}

func (l Limits) complete() (Limits, error) {
	err := errors.Join(
		complete("clients", &l.Clients, DefaultClients),
		complete("clients of a user", &l.PerUser, DefaultPerUser),
		complete("subflows", &l.Subflows, DefaultSubflows),
		complete("requests per second", &l.Requests, DefaultRequests),
		complete("burst", &l.Burst, DefaultBurst),
		complete("hello timeout", &l.HelloTimeout, DefaultHelloTimeout),
		complete("write timeout", &l.WriteTimeout, DefaultWriteTimeout),
	)
	if l.Subflows > MaxSubflows {
		err = errors.Join(err, fmt.Errorf("limit of subflows is %d, at most %d are possible", l.Subflows, MaxSubflows))
	}
	return l, err
}

// complete sets a limit that is zero.
func complete[N int | float64 | time.Duration](name string, limit *N, otherwise N) error {
	if *limit == 0 {
		*limit = otherwise
	}
	if *limit < 0 {
		return fmt.Errorf("limit of %s is negative", name)
	}
	return nil
}
