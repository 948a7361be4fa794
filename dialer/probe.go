package dialer

import (
	"context"
	"errors"
	"net/netip"
	"syscall"

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
