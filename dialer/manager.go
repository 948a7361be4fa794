package dialer

import (
	"sync"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// sharedManager lends one path manager to all the connections of a Dialer. It
// is opened for the first that needs it and closed with the last.
type sharedManager struct {
	open func() (mptcp.PathManager, error) // nil: openDirect

	mu    sync.Mutex // guards all below
	pm    mptcp.PathManager
	users int
}

// acquire returns the path manager; each success needs one release.
func (s *sharedManager) acquire() (mptcp.PathManager, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil {
		open := s.open
		if open == nil {
			open = openDirect
		}
		pm, err := open()
		if err != nil {
			return nil, err
		}
		s.pm = pm
	}
	s.users++
	return s.pm, nil
}

// release gives back what acquire lent.
func (s *sharedManager) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	pm := s.pm
	s.pm = nil
	return pm.Close()
}

// openDirect opens the kernel's path manager for this process, if it may use it.
func openDirect() (mptcp.PathManager, error) {
	if err := mptcp.Supported(); err != nil {
		return nil, err
	}
	if !mptcp.HaveNetAdmin() {
		return nil, mptcp.ErrNotPermitted
	}
	return mptcp.OpenPathManager()
}
