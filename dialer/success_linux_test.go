package dialer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// Two addresses of this host: on the first stands a server that is no good, on
// the second the one that the tests want.
var (
	badAddr  = netip.MustParseAddr("127.0.0.1")
	goodAddr = netip.MustParseAddr("127.0.0.2")
)

// testDelay is a Connection Attempt Delay that keeps the tests short.
const testDelay = 50 * time.Millisecond

// onBoth returns a dialer for which labName has both addresses, and that begins
// with the bad one.
func onBoth(t *testing.T) *Dialer {
	t.Helper()
	d := asking(t, zone(badAddr, goodAddr))
	d.Resolver.KeepLocal = true
	d.ConnectionAttemptDelay = testDelay
	return d
}

// secureServer is an HTTPS server on the good address, whose certificate is for
// example.com. The pool has its root. A listener on the bad address accepts
// connections at the same port and says nothing.
func secureServer(t *testing.T) (mute net.Listener, port string, config *tls.Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	_ = server.Listener.Close()
	mute, server.Listener = listenOnBoth(t)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return mute, portOf(mute.Addr().String()), &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
}

// listenOnBoth listens on both addresses at one port. The port that is free on
// the one may be taken on the other, by whatever runs besides the tests.
func listenOnBoth(t *testing.T) (bad, good net.Listener) {
	t.Helper()
	for {
		bad = listenAt(t, badAddr)
		good, err := net.Listen("tcp", net.JoinHostPort(goodAddr.String(), portOf(bad.Addr().String())))
		if errors.Is(err, syscall.EADDRINUSE) {
			_ = bad.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = bad.Close(), good.Close() })
		return bad, good
	}
}

func listenAt(t *testing.T, addr netip.Addr) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(addr.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// TestTLSDialPassesOverMuteAddress: an address that accepts TCP and never
// completes TLS costs one Connection Attempt Delay.
func TestTLSDialPassesOverMuteAddress(t *testing.T) {
	_, port, config := secureServer(t)
	d := onBoth(t)
	begin := time.Now()
	c, err := d.TLSDial(timeout(t), "tcp", net.JoinHostPort(labName, port), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	checkTime(t, "dial", time.Since(begin), 20*testDelay) // not the time-out; two handshakes take long on a busy machine
	conn, ok := c.NetConn().(*Conn)
	if !ok {
		t.Fatalf("the connection below is a %T", c.NetConn())
	}
	r := conn.Report()
	if !c.ConnectionState().HandshakeComplete || conn.remote.Addr() != goodAddr || r.Name != labName {
		t.Errorf("connected to %v, report %+v", conn.remote, r)
	}
	if len(r.Attempts) != 2 || !errors.Is(r.Attempts[0].Err, errLost) || r.Attempts[1].Err != nil {
		t.Fatalf("attempts %+v", r.Attempts)
	}
	if waited := r.Attempts[1].Started - r.Attempts[0].Started; waited < testDelay {
		t.Errorf("the second address was tried %v after the first", waited)
	}
}

// TestTLSDialPassesOverWrongCertificate: the next address has its turn at once.
func TestTLSDialPassesOverWrongCertificate(t *testing.T) {
	mute, port, config := secureServer(t)
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = other.Listener.Close()
	other.Listener = mute
	other.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, MinVersion: tls.VersionTLS12}
	other.Config.ErrorLog = discardLog()
	other.StartTLS()
	defer other.Close()
	d := onBoth(t)
	d.ConnectionAttemptDelay = MaxConnectionAttemptDelay
	begin := time.Now()
	c, err := d.TLSDial(timeout(t), "tcp", net.JoinHostPort(labName, port), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	checkTime(t, "dial", time.Since(begin), 10*testDelay)
	var wrong *tls.CertificateVerificationError
	if a := c.NetConn().(*Conn).Report().Attempts; len(a) != 2 || !errors.As(a[0].Err, &wrong) {
		t.Errorf("attempts %+v", a)
	}
	_, err = d.TLSDial(timeout(t), "tcp", net.JoinHostPort(badAddr.String(), port), config)
	var op *net.OpError
	if !errors.As(err, &wrong) || !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("%v: want the certificate's error in a *net.OpError", err)
	}
}

// TestTLSDialNobody: a dial whose addresses are all mute ends with its time.
func TestTLSDialNobody(t *testing.T) {
	ln := listenAt(t, badAddr)
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*testDelay)
	defer cancel()
	var d Dialer
	_, err := d.TLSDial(ctx, "tcp", ln.Addr().String(), nil)
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("%v: want a timeout", err)
	}
	if _, err := d.TLSDial(ctx, "udp", ln.Addr().String(), nil); err == nil {
		t.Error("udp: no error")
	}
}

// TestTLSDialInTransport: as http.Transport.DialTLSContext, with HTTP/2.
func TestTLSDialInTransport(t *testing.T) {
	_, port, config := secureServer(t)
	d := onBoth(t)
	config.NextProtos = []string{"h2", "http/1.1"}
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return d.TLSDial(ctx, network, address, config)
		},
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for range 2 {
		response, err := client.Get("https://" + net.JoinHostPort(labName, port))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != "HTTP/2.0" {
			t.Errorf("%q, %v", body, err)
		}
	}
}

// TestSuccess: the caller's own notion of success, here a greeting.
func TestSuccess(t *testing.T) {
	_, good := listenOnBoth(t)
	greeted := make(chan error, 1)
	go func() {
		c, err := good.Accept()
		if err == nil {
			_, err = io.WriteString(c, "220 ready\r\nrest")
			_ = c.Close()
		}
		greeted <- err
	}()
	d := onBoth(t)
	d.Success = func(_ context.Context, c net.Conn) error {
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("given a %T", c)
		}
		line := make([]byte, len("220 ready\r\n"))
		_, err := io.ReadFull(c, line) // ends with the context
		return err
	}
	c, err := d.DialContext(timeout(t), "tcp", net.JoinHostPort(labName, portOf(good.Addr().String())))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if rest, err := io.ReadAll(c); string(rest) != "rest" || err != nil {
		t.Errorf("after the greeting came %q, %v", rest, err)
	}
	if err := <-greeted; err != nil {
		t.Error(err)
	}
	if got := addrPortOf(c.RemoteAddr()).Addr(); got != goodAddr {
		t.Errorf("connected to %v", got)
	}
}

// TestSuccessFails: the function's error is the attempt's, and its connection is
// closed.
func TestSuccessFails(t *testing.T) {
	failure := errors.New("not what was looked for")
	var seen net.Conn
	d := Dialer{Success: func(_ context.Context, c net.Conn) error { seen = c; return failure }}
	address := echoServer(t, "127.0.0.1:0").String()
	if _, err := d.Dial("tcp", address); !errors.Is(err, failure) || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v, want the function's error with the address", err)
	}
	if _, err := seen.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is open: %v", err)
	}
	set := mpaddr.FromAddrPorts(netip.MustParseAddrPort(address))
	if _, err := d.Connect(t.Context(), set); !errors.Is(err, failure) && !errors.Is(err, ErrMultipathUnsupported) {
		t.Errorf("Connect: %v", err)
	}
}

// selfSigned makes a certificate that nobody trusts.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
