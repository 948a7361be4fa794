// Package redisexample sets up a go-redis client whose connections a
// [dialer.Dialer] makes.
package redisexample

import (
	"github.com/redis/go-redis/v9"

	"github.com/af-multipath/mpresolve/dialer"
)

// Options returns the options of a client of the server at address,
// "host:port", that connects with d. Pass them to [redis.NewClient].
//
// With a Dialer, go-redis ignores its own TLSConfig: a server with TLS needs a
// [crypto/tls.Client] around the connection.
func Options(d *dialer.Dialer, address string) *redis.Options {
	return &redis.Options{Addr: address, Dialer: d.DialContext}
}
