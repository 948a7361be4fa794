package dialer

import (
	"net"
	"testing"
)

// BenchmarkListenAccept is a connection made and accepted over the loopback
// interface, with package net's listener and with this package's.
func BenchmarkListenAccept(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	for name, l := range map[string]net.Listener{"net": ln, "set": listenOn(b, ListenConfig{}, "127.0.0.1:0")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				client, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				server, err := l.Accept()
				if err != nil {
					b.Fatal(err)
				}
				_ = client.Close()
				_ = server.Close()
			}
		})
	}
}
