package dialer_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// A server listens on several addresses of both families in one call. Port 0 is
// one port for all of them.
func ExampleListenConfig_Listen() {
	var lc dialer.ListenConfig
	set := mpaddr.MustParse("127.0.0.1:0,198.51.100.1:0")
	ln, err := lc.Listen(context.Background(), set)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	for _, r := range ln.Results() {
		fmt.Println(r.Asked, "bound:", r.Err == nil)
	}
	// Output:
	// 127.0.0.1:0 bound: true
	// 198.51.100.1:0 bound: false
}

// A Listener takes the place of net.Listener in an HTTP server. TCPAddrs keeps
// the RemoteAddr of requests in the form "address:port".
func ExampleListener_httpServer() {
	lc := dialer.ListenConfig{TCPAddrs: true}
	ln, err := lc.Listen(context.Background(), mpaddr.MustParse("127.0.0.1:0"))
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "from every address")
	})}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()

	response, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Println(string(body), err)
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(server.Close(), <-served)
	// Output:
	// from every address <nil>
	// <nil> http: Server closed
}
