package upstream

import (
	"encoding/binary"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

const (
	// maxTCPIdle is the longest that a connection is kept without a question,
	// whatever the server offers.
	maxTCPIdle = 2 * time.Minute
	// keepaliveUnit is the unit of the option's time-out (RFC 7828 section 3.1).
	keepaliveUnit = 100 * time.Millisecond
)

// appendKeepalive asks for the server's idle time-out: it puts an empty option
// (RFC 7828 section 3.2.1) at the end of the query that begins at at, whose last
// record is OPT, if it has one.
func appendKeepalive(dst []byte, at int) []byte {
	opt, _, ok := dnswire.FindOPT(dst[at:])
	if !ok {
		return dst
	}
	dst = dnswire.AppendOption(dst, dnswire.OptionKeepalive, nil)
	length := dst[at+opt.DataOff-2:]
	binary.BigEndian.PutUint16(length, uint16(len(dst)-at-opt.DataOff)) //nolint:gosec // a query is under 64 KiB
	return dst
}

// keepalive is the idle time-out in the reply b; false if there is none. 0 asks
// to close the connection (RFC 7828 section 3.2.2).
func keepalive(b []byte) (time.Duration, bool) {
	_, edns, _ := dnswire.FindOPT(b)
	data, _ := dnswire.FindOption(edns.Options, dnswire.OptionKeepalive)
	if len(data) != 2 {
		return 0, false
	}
	return min(time.Duration(binary.BigEndian.Uint16(data))*keepaliveUnit, maxTCPIdle), true
}

// heed does what the reply b says of the connection's time. Under pool.mu.
func (c *tcpConn) heed(b []byte) {
	idle, ok := keepalive(b)
	switch {
	case !ok:
	case idle == 0:
		c.retire()
	default:
		c.idle = idle
	}
}
