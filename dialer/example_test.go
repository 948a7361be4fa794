package dialer_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// A Dialer takes the place of net.Dialer in an HTTP client. One of them serves
// all clients of a program, so that what it learns of hosts is shared.
func ExampleDialer_httpTransport() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "over every path")
	}))
	defer server.Close()

	var d dialer.Dialer
	transport := &http.Transport{DialContext: d.DialContext}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	response, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Println(string(body), err)
	// Output: over every path <nil>
}

// A connection explains itself: how it was made, over which paths it goes, and
// what became of the other addresses of the name.
func ExampleConn_Report() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()

	d := dialer.Dialer{Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	conn := c.(*dialer.Conn)
	for _, a := range conn.Report().Attempts {
		fmt.Println("tried", a.Remote.Addr(), a.Err)
	}
	for _, p := range conn.Paths() {
		fmt.Println("path to", p.Remote.Addr(), p.State, p.Verdict)
	}
	// Output:
	// tried 127.0.0.1 <nil>
	// path to 127.0.0.1 active first
}

// Connect takes a record in hand. It is an error where the system has no
// Multipath TCP: then dial "tcp", which does without.
func ExampleDialer_Connect() {
	set := mpaddr.FromAddrPorts(
		netip.MustParseAddrPort("[2001:db8::10]:443"),
		netip.MustParseAddrPort("192.0.2.10:443"),
	)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // these are addresses of documentation: nobody answers there

	var d dialer.Dialer
	_, err := d.Connect(ctx, set)
	fmt.Println(err)
	// Output: dial multipath [2001:db8::10]:443,192.0.2.10:443: operation was canceled
}

// An SSH client has host keys, which tell of the hosts behind a name: its host key
// callback hands them on. This one has met the same key at both addresses of
// localhost, and a later dial says what that is worth.
func ExampleDialer_ReportHostKey() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	address := net.JoinHostPort("localhost", port)

	var d dialer.Dialer
	// As ssh.ClientConfig.HostKeyCallback does when it has verified a key:
	for _, remote := range []string{"127.0.0.1", "::1"} {
		d.ReportHostKey(address, &net.TCPAddr{IP: net.ParseIP(remote)}, "ssh-ed25519", []byte("the key"))
	}

	c, err := d.Dial("tcp", address)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for _, pair := range c.(*dialer.Conn).Report().Answer.Pairs() {
		for _, e := range pair.Evidence {
			if e.Source == "keys" {
				fmt.Println(pair.A, "and", pair.B, e.Says)
			}
		}
	}
	// Output: ::1 and 127.0.0.1 have the same SSH host key (ssh-ed25519)
}
