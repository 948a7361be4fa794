package verdicts

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// Config is where verdicts are kept beyond the memory.
type Config struct {
	File  string // "": none
	Redis string // the URL of a server, see [CheckURL]; "": none
	Log   *slog.Logger
}

// Store is the memory, its file and its server. It is ended by Close.
type Store struct {
	memory *hostid.Memory
	file   *file   // nil: none
	shared *shared // nil: none
}

// Open reads the file, begins to write it, and begins to look for the server. The
// error is the URL's.
func Open(c Config) (*Store, error) {
	s := &Store{memory: hostid.NewMemory(0)}
	if c.Redis != "" {
		o, err := option(c.Redis)
		if err != nil {
			return nil, fmt.Errorf("verdicts server: %w", err)
		}
		s.shared = openShared(o, s.memory, c.Log)
	}
	if c.File != "" {
		s.file = openFile(c.File, s.memory, c.Log)
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

// Memory is what is remembered, by [Name].
func (s *Store) Memory() *hostid.Memory { return s.memory }

// Prove remembers, and publishes, what this machine's broker has seen proven. It does
// not block.
func (s *Store) Prove(name string, first, addr netip.Addr, o hostid.Outcome, at time.Time) {
	s.memory.Record(name, first, addr, o, at)
	if s.shared != nil {
		s.shared.publish(name, first, addr, claim{o, at})
	}
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
