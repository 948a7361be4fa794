package mptcp_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// TestKernelListeners: the listening sockets of MPTCP are listed with what they
// accept, those of plain TCP and connections are not.
func TestKernelListeners(t *testing.T) {
	tests := []struct {
		network, addr string
		multipath     bool
		a, b, six     bool // accepts addrA, addrB, addr6
	}{
		{"tcp4", addrA.String() + ":0", true, true, false, false},
		{"tcp4", "0.0.0.0:0", true, true, true, false},
		{"tcp6", "[::]:0", true, false, false, true},
		{"tcp", "[::]:0", true, true, true, true},
		{"tcp6", "[" + addr6.String() + "]:0", true, false, false, true},
		{"tcp", ":0", false, false, false, false},
	}
	labtest.Run(t, func(t *testing.T) {
		setUpLoopback(t)
		for _, test := range tests {
			l, err := listenConfig(test.multipath).Listen(context.Background(), test.network, test.addr)
			if err != nil {
				t.Fatal(err)
			}
			port := l.Addr().(*net.TCPAddr).AddrPort().Port()
			all, err := mptcp.Listeners()
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			if !test.multipath {
				if len(all) != 0 {
					t.Errorf("plain TCP: %+v", all)
				}
				continue
			}
			if len(all) != 1 || all[0].UID != uint32(os.Getuid()) {
				t.Fatalf("%s %s: %+v", test.network, test.addr, all)
			}
			for addr, want := range map[netip.Addr]bool{addrA: test.a, addrB: test.b, addr6: test.six} {
				if got := all[0].Accepts(netip.AddrPortFrom(addr, port)); got != want {
					t.Errorf("%s %s accepts %v: %v", test.network, test.addr, addr, got)
				}
				if all[0].Accepts(netip.AddrPortFrom(addr, port+1)) {
					t.Errorf("%s %s accepts another port", test.network, test.addr)
				}
			}
		}
	})
}

func listenConfig(multipath bool) *net.ListenConfig {
	var c net.ListenConfig
	c.SetMultipathTCP(multipath)
	return &c
}
