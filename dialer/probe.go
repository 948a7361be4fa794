package dialer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// probeHost looks into a refused join with a connection of its own, which it
// closes at once: another MPTCP host accepts it, a closed port refuses it too.
// NotTried means that it did not find out.
func (d *Dialer) probeHost(ctx context.Context, remote netip.AddrPort) hostid.Outcome {
	ctx, cancel := context.WithTimeout(ctx, d.joinTimeout())
	defer cancel()
	s, err := d.connectTCP(ctx, remote, requireMPTCP)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return hostid.ClosedPort
	case err != nil:
		return hostid.NotTried
	}
	defer s.Close()
	if fellBack(s.TCPConn) {
		return hostid.NotMPTCP
	}
	return hostid.OtherHost
}

// kernelAddrs is how many addresses besides the first Linux' own path manager knows
// of itself, in a whole network namespace (MPTCP_PM_ADDR_MAX of its source): a host
// at which as many were joined refuses others of its own as if it were another
// host.
const kernelAddrs = 8

// ErrRefusalUnclear is the Join.Err of a refusal that tells nothing: of another host,
// or of the connection's own that knows no more addresses of itself.
var ErrRefusalUnclear = fmt.Errorf("refused by another host, or by the same one, which may know no more than %d addresses of its own besides the first", kernelAddrs)

// doubt takes a refusal for no evidence of another host where the connection's own
// may be one that knows no more addresses of itself, with the joins under way.
func (s *subflows) doubt(p probed) probed {
	s.mu.Lock()
	offered := s.joiner.count(joinOffered)
	s.mu.Unlock()
	if p.outcome == hostid.OtherHost && s.memory.Siblings(s.key, s.first.Addr(), time.Now())+offered >= kernelAddrs {
		p.outcome, p.err = hostid.NotTried, ErrRefusalUnclear
	}
	return p
}
