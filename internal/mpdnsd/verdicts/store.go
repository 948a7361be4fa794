package verdicts

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// Config is where verdicts are kept beyond the memory.
type Config struct {
	File  string // "": none
	Redis string // the URL of a server, see [CheckURL]; "": none
	Log   *slog.Logger
}

// The bounds of what users' programs say.
const (
	// MaxUsers bounds the users whose hints are kept; of more, any one's are
	// forgotten.
	MaxUsers = 64
	// hintCapacity is how many pairs of addresses one user's hints may be about.
	hintCapacity = 1024
)

// Store is the memory, its file and its server. It is ended by Close.
type Store struct {
	memory *hostid.Memory
	file   *file   // nil: none
	shared *shared // nil: none

	mu    sync.Mutex // guards hints
	hints map[uint32]*hostid.Memory
}

// Open reads the file, begins to write it, and begins to look for the server. The
// error is the URL's.
func Open(c Config) (*Store, error) {
	s := &Store{memory: hostid.NewMemory(0), hints: make(map[uint32]*hostid.Memory)}
	var o rueidis.ClientOption
	if c.Redis != "" {
		var err error
		if o, err = option(c.Redis); err != nil {
			return nil, fmt.Errorf("verdicts server: %w", err)
		}
	}
	if c.File != "" {
		s.file = openFile(c.File, s, c.Log)
	}
	if c.Redis != "" {
		s.shared = openShared(o, s.memory, c.Log)
	}
	return s, nil
}

// Close writes the file and lets the server go.
func (s *Store) Close() {
	if s.shared != nil {
		s.shared.close()
	}
	if s.file != nil {
		s.file.close()
	}
}

// Memory is what was proven, and what answers held, by [Name].
func (s *Store) Memory() *hostid.Memory { return s.memory }

// Prove remembers, and publishes, what this machine's broker has seen proven on a
// connection to first. It does not block.
func (s *Store) Prove(name string, first netip.AddrPort, addr netip.Addr, o hostid.Outcome, at time.Time) {
	s.memory.RecordAt(name, first, addr, o, at)
	if s.shared != nil {
		s.shared.publish(name, first.Addr(), addr, claim{o, at})
	}
}

// Withdraw takes back what was proven, by the rules of [hostid.Memory.Withdraw]: this
// machine's broker has seen a join refused. What other machines know stays.
func (s *Store) Withdraw(name string, first netip.AddrPort, addr netip.Addr, at time.Time) bool {
	return s.memory.Withdraw(name, first, addr, at)
}

// Hints is what a user's programs say, by [Name]; nil if nothing is kept.
func (s *Store) Hints(uid uint32) *hostid.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hints[uid]
}

// Hint remembers what a user's program says.
func (s *Store) Hint(uid uint32, name string, first, addr netip.Addr, o hostid.Outcome, at time.Time) {
	s.ofUser(uid).Record(name, first, addr, o, at)
}

// ofUser returns the memory of a user's hints, a new one if need be.
func (s *Store) ofUser(uid uint32) *hostid.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.hints[uid]
	if m != nil {
		return m
	}
	for other := range s.hints {
		if len(s.hints) >= MaxUsers {
			delete(s.hints, other)
		}
	}
	m = hostid.NewMemory(hintCapacity)
	s.hints[uid] = m
	return m
}

// Users are the users whose hints are kept, sorted.
func (s *Store) Users() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.hints))
}

// Recall adds to the memory what other machines know of a name's addresses. It waits
// for RecallTimeout at most.
func (s *Store) Recall(ctx context.Context, name string, addrs []netip.Addr) {
	if s.shared != nil {
		s.shared.recall(ctx, name, addrs)
	}
}

// Fetch does what Recall does, without waiting: the next question knows it.
func (s *Store) Fetch(name string, addrs []netip.Addr) {
	if s.shared != nil {
		s.shared.fetch(name, addrs)
	}
}
