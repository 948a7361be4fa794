// Package httpexample has the two ends of HTTP over Multipath TCP: a client
// whose connections a [dialer.Dialer] makes, and a server that knows which of
// its requests came that way.
package httpexample

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
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

// Listen listens at address for Multipath TCP and TCP alike. Go does so by
// itself unless GODEBUG says multipathtcp=0; this does so in any case.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	return config.Listen(ctx, "tcp", address)
}

// multipathKey is the key of a connection's context.
type multipathKey struct{}

// NewServer returns an HTTP server whose handlers may ask [IsMultipath].
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, multipathKey{}, isMultipath(c))
		},
	}
}

// IsMultipath reports whether a request to a server of [NewServer] came over
// Multipath TCP. It is false where the client did not speak it, or something
// on the path took it away.
func IsMultipath(r *http.Request) bool {
	is, _ := r.Context().Value(multipathKey{}).(bool)
	return is
}

// isMultipath asks the connection, below TLS where there is TLS.
func isMultipath(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	is, err := tcp.MultipathTCP()
	return err == nil && is
}
