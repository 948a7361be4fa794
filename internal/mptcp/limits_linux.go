package mptcp

import (
	"fmt"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// SetLimits sets the limits of the kernel's own path manager in the calling
// thread's network namespace: how many joins a server accepts per connection,
// and how many announced addresses a client joins, each at most 8. It needs
// CAP_NET_ADMIN. Known is not read.
func SetLimits(l Limits) error {
	c, err := dial()
	if err != nil {
		return fmt.Errorf("mptcp: set limits: %w", err)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	family, err := c.GetFamily(familyName)
	if err != nil {
		return fmt.Errorf("mptcp: set limits: generic netlink family %s: %w", familyName, err)
	}
	attrs := netlink.NewAttributeEncoder()
	attrs.Uint32(attrAddAddrAccepted, uint32(l.AddAddrAccepted))
	attrs.Uint32(attrSubflows, uint32(l.Subflows))
	data, err := attrs.Encode()
	if err != nil {
		return fmt.Errorf("mptcp: set limits: %w", err)
	}
	msg := genetlink.Message{Header: genetlink.Header{Command: cmdSetLimits, Version: familyVersion}, Data: data}
	if _, err := c.Execute(msg, family.ID, netlink.Request|netlink.Acknowledge); err != nil {
		return fmt.Errorf("mptcp: set limits to %d subflows, %d announced addresses: %w", l.Subflows, l.AddAddrAccepted, err)
	}
	return nil
}
