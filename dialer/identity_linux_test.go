package dialer

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// keyKinds are the kinds of what the dialer has learned from keys.
func keyKinds(d *Dialer, t target, addrs ...netip.Addr) (kinds []hostid.Kind) {
	d.prepare()
	for _, e := range d.memory.Evidence(t.key(), addrs, time.Now()) {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// TestReportHostKey: what a host key callback tells is kept for the name and port
// dialled, however its addresses are written.
func TestReportHostKey(t *testing.T) {
	var d Dialer
	first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	tcp := func(a netip.Addr) net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 22)) }
	d.ReportHostKey("host.example:ssh", tcp(netip.MustParseAddr("::ffff:192.0.2.1")), "ssh-ed25519", []byte("key"))
	d.ReportHostKey("host.example:22", mpaddr.FromAddrs(22, second, first), "ssh-ed25519", []byte("key"))
	d.ReportHostKey("host.example:22", tcp(first), "ssh-rsa", []byte("of another type"))
	ssh := target{name: "host.example", port: 22}
	if got := keyKinds(&d, ssh, first, second); len(got) != 1 || got[0] != hostid.SameHostKey {
		t.Errorf("learned %v", got)
	}
	d.ReportHostKey("host.example:22", tcp(second), "ssh-ed25519", []byte("another"))
	if got := keyKinds(&d, ssh, first, second); len(got) != 1 || got[0] != hostid.OtherHostKey {
		t.Errorf("after a change %v", got)
	}
	for address, remote := range map[string]net.Addr{"no port": tcp(first), "192.0.2.1:22": tcp(first), "pipe.example:22": &net.UnixAddr{}} {
		d.ReportHostKey(address, remote, "ssh-ed25519", nil)
		d.ReportHostKey(address, tcp(second), "ssh-ed25519", nil)
	}
	for _, t2 := range []target{{port: 22}, {name: "pipe.example", port: 22}, {name: "host.example", port: 443}} {
		if got := keyKinds(&d, t2, first, second); got != nil {
			t.Errorf("%s: learned %v", t2.key(), got)
		}
	}
}

// TestTLSDialMeetsCertificates: a handshake that succeeds tells the key of its
// address; the session that it resumes tells none.
func TestTLSDialMeetsCertificates(t *testing.T) {
	first, second := badAddr, goodAddr
	one, two := listenOnBoth(t)
	port := portOf(one.Addr().String())
	roots := x509.NewCertPool()
	closeFirst := serveTLS(t, one, roots)
	serveTLS(t, two, roots)
	d := onBoth(t)
	var seen tls.ConnectionState
	dial := func() netip.Addr {
		t.Helper()
		config := &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
		c, err := d.TLSDial(timeout(t), "tcp", net.JoinHostPort(labName, port), config)
		if err != nil {
			t.Fatal(err)
		}
		seen = c.ConnectionState()
		_ = c.Close()
		return firstAddr(c.RemoteAddr())
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	asked := target{name: labName, port: uint16(n)}
	if a := dial(); a != first || keyKinds(d, asked, first, second) != nil {
		t.Errorf("first dial, to %v: learned %v", a, keyKinds(d, asked, first, second))
	}
	closeFirst()
	if a, got := dial(), keyKinds(d, asked, first, second); a != second || len(got) != 1 || got[0] != hostid.OtherCertificate {
		t.Errorf("second dial, to %v: learned %v", a, got)
	}
	seen.DidResume = true
	d.reportCertificate(asked, net.TCPAddrFromAddrPort(netip.AddrPortFrom(first, asked.port)), seen)
	if got := keyKinds(d, asked, first, second); len(got) != 1 || got[0] != hostid.OtherCertificate {
		t.Errorf("of a resumed session: learned %v", got)
	}
}

// serveTLS serves handshakes at ln until the function it returns, or the test, ends
// it, with a key of its own, which it adds to roots.
func serveTLS(t *testing.T, ln net.Listener, roots *x509.CertPool) (stop func()) {
	t.Helper()
	certificate := selfSigned(t)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = server.Listener.Close()
	server.Listener = ln
	server.Config.ErrorLog = discardLog()
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Close
}
