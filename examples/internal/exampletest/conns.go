// Package exampletest runs the examples against real servers and looks at the
// connections that they make.
package exampletest

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/af-multipath/mpresolve/dialer"
)

// DialFunc is the dial hook of most libraries, and what
// [dialer.Dialer.DialContext] is.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Conns collects the connections that a library makes through a hook. Its zero
// value is empty. It is safe for concurrent use.
type Conns struct {
	mu  sync.Mutex
	all []net.Conn
}

// Watch returns dial, with each connection that it makes kept in c.
func (c *Conns) Watch(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil {
			c.Add(conn)
		}
		return conn, err
	}
}

// Add keeps conn.
func (c *Conns) Add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, conn)
}

// First returns the first connection. The test fails where there is none.
func (c *Conns) First(t *testing.T) net.Conn {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == 0 {
		t.Fatal("the library made no connection through its hook")
	}
	return c.all[0]
}

// CheckOurs fails the test unless c was made by a [dialer.Dialer] that was
// given the name "localhost", and not an address that somebody else had looked
// up.
func CheckOurs(t *testing.T, c net.Conn) *dialer.Conn {
	t.Helper()
	conn, ok := c.(*dialer.Conn)
	if !ok {
		t.Fatalf("the connection is a %T, want a *dialer.Conn", c)
	}
	if name := conn.Report().Name; name != "localhost" {
		t.Errorf("the name dialled is %q, want localhost: the library looked it up itself", name)
	}
	return conn
}

// CheckMultipath is [CheckOurs] for a connection to a server that speaks
// Multipath TCP: the report has to say so.
func CheckMultipath(t *testing.T, c net.Conn) {
	t.Helper()
	conn := CheckOurs(t, c)
	if !SystemHasMultipath() {
		missing(t, noMultipath)
	}
	if r := conn.Report(); r.Fallback != "" || conn.ID() == 0 {
		t.Errorf("the connection is plain TCP (token %#x): %s", conn.ID(), r.Fallback)
	}
}

// CheckPlain is [CheckOurs] for a connection to a server that does not speak
// Multipath TCP: the connection works, and the report says why it is plain TCP.
func CheckPlain(t *testing.T, c net.Conn) {
	t.Helper()
	if r := CheckOurs(t, c).Report(); r.Fallback == "" {
		t.Error("the report does not say why the connection is plain TCP")
	}
}

// SystemHasMultipath reports whether this system makes Multipath TCP sockets.
func SystemHasMultipath() bool {
	enabled, err := os.ReadFile("/proc/sys/net/mptcp/enabled")
	return err == nil && bytes.Equal(bytes.TrimSpace(enabled), []byte("1"))
}
