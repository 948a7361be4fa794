//go:build !linux

package udpbatch

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// controlLen is room for control messages, of which there are none here.
const controlLen = 0

func canBatch(syscall.RawConn) bool { return false }

// rememberDestination does nothing: on a machine with several addresses, listen on each instead of
// on the wildcard address.
func rememberDestination(syscall.RawConn, bool) error { return nil }

// share fails: SO_REUSEPORT of other systems gives one socket all datagrams.
func share(syscall.RawConn) error { return errors.ErrUnsupported }

func listenNext(netip.AddrPort) (*net.UDPConn, error) { return nil, errors.ErrUnsupported }

func (p *Peer) setControl([]byte) {}

// Asked returns the zero Addr: these systems do not tell.
func (p *Peer) Asked() netip.Addr { return netip.Addr{} }

func (c *Conn) serveBatches(h Handler) error { return c.servePortable(h) }

type queue struct{}

func (c *Conn) enqueue(msg []byte, to Peer) { c.Send(msg, to) }

// Flush does nothing: Queue does not wait for it here.
func (c *Conn) Flush() {}

// Send sends one datagram to a Peer. It may be called by several goroutines.
func (c *Conn) Send(msg []byte, to Peer) { c.sendPortable(msg, &to) }
