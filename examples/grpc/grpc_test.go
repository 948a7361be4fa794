package grpcexample

import (
	"context"
	"net"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestNewClient calls the health service, which every gRPC library has.
func TestNewClient(t *testing.T) {
	port := exampletest.Port(t)
	serve(t, "127.0.0.1:"+port)

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

// serve runs a gRPC server at address until the test ends.
func serve(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
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
