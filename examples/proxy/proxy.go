// Package proxyexample connects through a proxy to which a [dialer.Dialer]
// makes the connection.
package proxyexample

import (
	"fmt"
	"net/url"

	"golang.org/x/net/proxy"

	"github.com/af-multipath/mpresolve/dialer"
)

// A Dialer is a [proxy.ContextDialer] itself: whatever takes one takes it.
var _ proxy.ContextDialer = (*dialer.Dialer)(nil)

// Through returns a dialer that connects through the proxy at u, such as
// "socks5://user:password@proxy.example.net:1080", and to the proxy with d. The
// connection is multipath as far as the proxy; the proxy looks up the names.
func Through(d *dialer.Dialer, u *url.URL) (proxy.ContextDialer, error) {
	through, err := proxy.FromURL(u, d)
	if err != nil {
		return nil, fmt.Errorf("using the proxy %s: %w", u.Redacted(), err)
	}
	withContext, ok := through.(proxy.ContextDialer)
	if !ok {
		return nil, fmt.Errorf("using the proxy %s: its dialer takes no context", u.Redacted())
	}
	return withContext, nil
}
