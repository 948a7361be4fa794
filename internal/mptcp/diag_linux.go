package mptcp

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Connections lists the MPTCP connections of the calling thread's network
// namespace, also those of other users: it needs no privilege. Listening
// sockets are not in it, connections that fell back to plain TCP may be. The
// error is [ErrUnsupported] where the kernel has no diagnosis of MPTCP.
func Connections() ([]Connection, error) {
	var all []Connection
	err := diagnose(diagProtocolMPTCP, diagStates, func(b []byte) error {
		c, err := parseConnection(b)
		if err == nil {
			all = append(all, c)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mptcp: list connections: %w", err)
	}
	return all, nil
}

// Subflows lists the subflows of all MPTCP connections of the calling thread's
// network namespace, in no order; Token tells the connection. Older kernels tell
// a subflow from plain TCP only to a process with CAP_NET_ADMIN, and give others
// an empty list; 6.18 tells everyone. The kernel walks over all TCP sockets for it.
func Subflows() ([]SubflowState, error) {
	var all []SubflowState
	err := diagnose(diagProtocolTCP, diagStates, func(b []byte) error {
		s, ok, err := parseSubflow(b)
		if ok {
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mptcp: list subflows: %w", err)
	}
	return all, nil
}

// Listeners lists the listening MPTCP sockets of the calling thread's network
// namespace, also those of other users: it needs no privilege. The error is as
// that of [Connections].
func Listeners() ([]Listener, error) {
	var all []Listener
	err := diagnose(diagProtocolMPTCP, diagListening, func(b []byte) error {
		l, err := parseListener(b)
		all = append(all, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mptcp: list listeners: %w", err)
	}
	return all, nil
}

// diagnose calls each with every answer about the sockets of a protocol in one
// of the states. The kernel wants a question for each address family.
func diagnose(protocol, states uint32, each func([]byte) error) error {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return fmt.Errorf("dial socket diagnosis: %w", err)
	}
	defer c.Close()
	for _, family := range []uint8{familyINET, familyINET6} {
		answers, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
			Data:   appendDiagRequest(nil, family, protocol, states),
		})
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%w: %w", err, ErrUnsupported)
		}
		if err != nil {
			return err
		}
		for _, a := range answers {
			if err := each(a.Data); err != nil {
				return err
			}
		}
	}
	return nil
}
