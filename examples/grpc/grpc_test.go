package grpcexample

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestNewClient calls the health service, which every gRPC library has, of a
// server behind package net's listener and of one behind a dialer.Listener.
func TestNewClient(t *testing.T) {
	for name, listen := range map[string]func(address string) (net.Listener, error){
		"net.Listen": func(address string) (net.Listener, error) { return net.Listen("tcp", address) },
		"dialer.Listener": func(address string) (net.Listener, error) {
			var lc dialer.ListenConfig
			return lc.Listen(t.Context(), mpaddr.FromAddrPorts(netip.MustParseAddrPort(address)))
		},
	} {
		t.Run(name, func(t *testing.T) { checkHealth(t, listen) })
	}
}

func checkHealth(t *testing.T, listen func(address string) (net.Listener, error)) {
	t.Helper()
	port := exampletest.Port(t)
	listener, err := listen("127.0.0.1:" + port)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, listener)

	var d dialer.Dialer
	var conns exampletest.Conns
	watch := watchedCredentials{insecure.NewCredentials(), &conns}
	client, err := NewClient(&d, "localhost:"+port, grpc.WithTransportCredentials(watch))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	reply, err := healthpb.NewHealthClient(client).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if reply.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("the server says %v, want SERVING", reply.Status)
	}
	exampletest.CheckMultipath(t, conns.First(t))
}

// serve runs a gRPC server on a listener until the test ends.
func serve(t *testing.T, listener net.Listener) {
	t.Helper()
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// watchedCredentials keeps the connections that gRPC was given by its dialer:
// credentials are the one hook that sees them.
type watchedCredentials struct {
	credentials.TransportCredentials
	conns *exampletest.Conns
}

func (w watchedCredentials) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	w.conns.Add(c)
	return w.TransportCredentials.ClientHandshake(ctx, authority, c)
}

func (w watchedCredentials) Clone() credentials.TransportCredentials {
	return watchedCredentials{w.TransportCredentials.Clone(), w.conns}
}
