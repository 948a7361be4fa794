package netmon

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dumpAttempts is how often a dump is begun again because the kernel's tables
// changed under it. A change is over in microseconds, a dump in a millisecond.
const dumpAttempts = 16

// errInterrupted says that a dump is not of one time (NLM_F_DUMP_INTR).
var errInterrupted = errors.New("the tables changed while they were read")

// read reads the state once.
func read() (State, error) {
	c, err := dial(0)
	if err != nil {
		return State{}, err
	}
	defer c.Close()
	t, err := readTables(c)
	if err != nil {
		return State{}, err
	}
	return t.state(), nil
}

// dial opens route netlink with the groups of a bit mask.
func dial(groups uint32) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		return nil, fmt.Errorf("dial route netlink: %w", err)
	}
	return c, nil
}

// readTables reads all tables anew.
func readTables(c *netlink.Conn) (*tables, error) {
	return dump(c, unix.RTM_GETLINK, unix.RTM_GETADDR, unix.RTM_GETROUTE)
}

// dump reads the tables of the given requests, of all families, until each was
// read as it was at one time.
func dump(c *netlink.Conn, requests ...netlink.HeaderType) (*tables, error) {
	t := newTables()
	for _, request := range requests {
		err := errInterrupted
		for n := 0; n < dumpAttempts && errors.Is(err, errInterrupted); n++ {
			t.clear(request)
			err = dumpInto(t, c, request)
		}
		if err != nil {
			return nil, fmt.Errorf("dump %s: %w", requestName(request), err)
		}
	}
	return t, nil
}

func requestName(request netlink.HeaderType) string {
	switch request {
	case unix.RTM_GETLINK:
		return "links"
	case unix.RTM_GETADDR:
		return "addresses"
	}
	return "routes"
}

// clear empties the table of a request.
func (t *tables) clear(request netlink.HeaderType) {
	switch request {
	case unix.RTM_GETLINK:
		clear(t.links)
	case unix.RTM_GETADDR:
		clear(t.addrs)
	case unix.RTM_GETROUTE:
		clear(t.routes)
	}
}

// dumpInto makes one request and applies its replies, one datagram at a time: a
// router's table can be larger than what one would hold in memory.
func dumpInto(t *tables, c *netlink.Conn, request netlink.HeaderType) error {
	sent, err := c.Send(netlink.Message{
		Header: netlink.Header{Type: request, Flags: netlink.Request | netlink.Dump},
		Data:   requestHeader(request),
	})
	if err != nil {
		return err
	}
	interrupted := false
	for m, err := range c.ReceiveIter() {
		if err != nil {
			return err
		}
		if m.Header.Sequence != sent.Header.Sequence {
			return fmt.Errorf("reply has sequence number %d, want %d", m.Header.Sequence, sent.Header.Sequence)
		}
		interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
		if _, err := t.apply(m); err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

// requestHeader is the fixed header of a request, zero for all families and all
// interfaces.
func requestHeader(request netlink.HeaderType) []byte {
	switch request {
	case unix.RTM_GETLINK:
		return make([]byte, unix.SizeofIfInfomsg)
	case unix.RTM_GETADDR:
		return make([]byte, unix.SizeofIfAddrmsg)
	}
	return make([]byte, unix.SizeofRtMsg)
}
