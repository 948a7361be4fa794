// Package httpexample has the two ends of HTTP over Multipath TCP: a client
// whose connections a [dialer.Dialer] makes, and a server whose connections a
// [dialer.Listener] takes, so that its handlers can ask for the paths.
package httpexample

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// readHeaderTimeout is how long a client may take to send a request's header.
const readHeaderTimeout = 10 * time.Second

// NewClient returns an HTTP client that connects with d. The rest is as in
// [http.DefaultTransport]: proxies of the environment, HTTP/2, idle connections.
func NewClient(d *dialer.Dialer) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = d.DialContext
	return &http.Client{Transport: transport}
}

// Listen listens on all addresses of set, for Multipath TCP and TCP alike. Pass
// the listener to [http.Server.Serve].
//
// TCPAddrs keeps RemoteAddr of a request one address, for handlers that split
// it into host and port.
func Listen(ctx context.Context, set mpaddr.Addr) (*dialer.Listener, error) {
	config := dialer.ListenConfig{TCPAddrs: true}
	return config.Listen(ctx, set)
}

// connKey is the key of a connection in its context.
type connKey struct{}

// NewServer returns an HTTP server whose handlers may ask [ConnOf].
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if over, ok := c.(*tls.Conn); ok {
				c = over.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
}

// ConnOf returns the connection that a request came over, for its Paths and
// Report. It is nil unless the server is of [NewServer] and its listener of
// [Listen]. A handler must not close it, nor read or write.
func ConnOf(r *http.Request) *dialer.Conn {
	c, _ := r.Context().Value(connKey{}).(*dialer.Conn)
	return c
}
