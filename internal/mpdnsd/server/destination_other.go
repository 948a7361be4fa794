//go:build !linux

package server

import "net"

// maxControl is room for control messages, of which there are none here.
const maxControl = 0

// rememberDestination does nothing: on a machine with several addresses,
// listen on each instead of on the wildcard address.
func rememberDestination(*net.UDPConn, bool) error { return nil }
