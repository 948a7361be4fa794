//go:build !linux

package control

import "net"

// mayAsk leaves it to the socket's mode: the systems differ in how a client's
// user is told.
func mayAsk(*net.UnixConn) bool { return true }
