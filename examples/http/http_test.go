package httpexample

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestClientAndServer sends a request over HTTP/1.1, and over HTTP/2 with TLS.
func TestClientAndServer(t *testing.T) {
	for _, test := range []struct {
		name, scheme, proto string
		start               func(*httptest.Server)
	}{
		{"http", "http", "HTTP/1.1", (*httptest.Server).Start},
		{"https", "https", "HTTP/2.0", (*httptest.Server).StartTLS},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := exampletest.Port(t)
			server := newServer(t, port)
			server.EnableHTTP2 = true
			test.start(server)
			defer server.Close()

			var d dialer.Dialer
			client := NewClient(&d)
			defer client.CloseIdleConnections()
			trust(client, server)

			body, conn := get(t, client, test.scheme+"://localhost:"+port)
			if want := fmt.Sprintf("%s %t", test.proto, exampletest.SystemHasMultipath()); body != want {
				t.Errorf("the server saw %q, want %q", body, want)
			}
			exampletest.CheckMultipath(t, conn)
		})
	}
}

// TestPlainClient wants the server to tell a client without Multipath TCP from
// one with it.
func TestPlainClient(t *testing.T) {
	port := exampletest.Port(t)
	server := newServer(t, port)
	server.Start()
	defer server.Close()

	d := dialer.Dialer{Multipath: dialer.MultipathOff}
	client := NewClient(&d)
	defer client.CloseIdleConnections()
	body, conn := get(t, client, "http://localhost:"+port)
	if !strings.HasSuffix(body, " false") {
		t.Errorf("the server saw %q, want plain TCP", body)
	}
	exampletest.CheckPlain(t, conn)
}

// newServer returns a server of the example at both addresses of localhost, that
// tells what it sees.
func newServer(t *testing.T, port string) *httptest.Server {
	t.Helper()
	listener, err := Listen(t.Context(), mpaddr.MustParse("127.0.0.1:"+port+",[::1]:"+port))
	if err != nil {
		t.Fatal(err)
	}
	return &httptest.Server{
		Listener: listener,
		Config: NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Proto, " ", ConnOf(r).ID() != 0)
		})),
	}
}

// trust lets the client believe in the test server's certificate, which is not
// for localhost.
func trust(client *http.Client, server *httptest.Server) {
	if server.TLS == nil {
		return
	}
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	transport.TLSClientConfig.ServerName = "example.com"
}

// get returns the body at url, and the connection over which it came.
func get(t *testing.T, client *http.Client, url string) (string, net.Conn) {
	t.Helper()
	var conn net.Conn
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	return string(body), conn
}
