package proxyexample

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestThrough gets a page through a SOCKS5 proxy.
func TestThrough(t *testing.T) {
	program := exampletest.Program(t, "microsocks", "microsocks")
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "through the proxy")
	}))
	defer target.Close()

	for _, way := range exampletest.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			port := exampletest.Port(t)
			way.Start(t, exampletest.Server{
				Command: []string{program, "-i", "127.0.0.1", "-p", port},
				Address: "127.0.0.1:" + port,
			})

			var d dialer.Dialer
			through, err := Through(&d, &url.URL{Scheme: "socks5", Host: "localhost:" + port})
			if err != nil {
				t.Fatal(err)
			}
			var conns exampletest.Conns
			transport := &http.Transport{DialContext: conns.Watch(through.DialContext)}
			defer transport.CloseIdleConnections()
			if got := get(t, transport, target.URL); got != "through the proxy" {
				t.Errorf("got %q", got)
			}
			way.Check(t, toProxy(conns.First(t)))
		})
	}
}

// get returns the body at url.
func get(t *testing.T, transport *http.Transport, url string) string {
	t.Helper()
	client := &http.Client{Transport: transport}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// toProxy returns the connection inside c, which x/net wraps in a type that
// only reflection reaches.
func toProxy(c net.Conn) net.Conn {
	return reflect.ValueOf(c).Elem().FieldByName("Conn").Interface().(net.Conn)
}

// TestUnknownProxy wants an error that says which proxy, and keeps its password.
func TestUnknownProxy(t *testing.T) {
	var d dialer.Dialer
	u := &url.URL{Scheme: "gopher", Host: "localhost:70", User: url.UserPassword("user", "secret")}
	_, err := Through(&d, u)
	if err == nil || !strings.Contains(err.Error(), "gopher://user:xxxxx@localhost:70") {
		t.Errorf("got the error %v, want one that names the proxy without its password", err)
	}
}
