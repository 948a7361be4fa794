package mptcp

import (
	"fmt"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// SetLimits sets the limits of the kernel's own path manager in the calling
// thread's network namespace: how many joins a server accepts per connection,
// and how many announced addresses a client joins, each at most 8. It needs
// CAP_NET_ADMIN; a refusal is an [*OpError]. Known is not read.
func SetLimits(l Limits) error {
	request := netlink.NewAttributeEncoder()
	request.Uint32(attrAddAddrAccepted, uint32(l.AddAddrAccepted))
	request.Uint32(attrSubflows, uint32(l.Subflows))
	_, err := executeOnce(opSetLimits, cmdSetLimits, request, netlink.Acknowledge)
	return err
}

// readLimits asks the kernel for the limits of its own path manager, which
// needs no privilege.
func readLimits() (Limits, error) {
	replies, err := executeOnce(opReadLimits, cmdGetLimits, netlink.NewAttributeEncoder(), 0)
	if err != nil || len(replies) == 0 {
		return Limits{}, err
	}
	return parseLimits(replies[0].Data)
}

// executeOnce sends a command on a connection of its own.
func executeOnce(op string, command uint8, request *netlink.AttributeEncoder, flags netlink.HeaderFlags) ([]genetlink.Message, error) {
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("mptcp: %s: %w", op, err)
	}
	defer c.Close()
	family, err := c.GetFamily(familyName)
	if err != nil {
		return nil, fmt.Errorf("mptcp: %s: generic netlink family %s: %w", op, familyName, err)
	}
	data, err := request.Encode()
	if err != nil {
		return nil, fmt.Errorf("mptcp: %s: encode: %w", op, err)
	}
	msg := genetlink.Message{Header: genetlink.Header{Command: command, Version: familyVersion}, Data: data}
	replies, err := c.Execute(msg, family.ID, netlink.Request|flags)
	return replies, wrapExecute(op, err)
}

// parseLimits decodes the answer to the get limits command.
func parseLimits(attrs []byte) (Limits, error) {
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return Limits{}, err
	}
	limits := Limits{Known: true}
	for d.Next() {
		switch d.Type() {
		case attrSubflows:
			limits.Subflows = int(d.Uint32())
		case attrAddAddrAccepted:
			limits.AddAddrAccepted = int(d.Uint32())
		}
	}
	if err := d.Err(); err != nil {
		return Limits{}, err
	}
	return limits, nil
}
