package sshexample

import (
	"context"
	"errors"
	"net"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDial runs a command on an SSH server.
func TestDial(t *testing.T) {
	port := exampletest.Port(t)
	server := newServer(t, "user", "secret")
	server.serve(t, "127.0.0.1:"+port)

	var d dialer.Dialer
	client, err := Dial(t.Context(), &d, "localhost:"+port, clientConfig(server, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.Output("echo over every path")
	if err != nil || string(out) != "over every path" {
		t.Errorf("the command says %q, %v", out, err)
	}
	exampletest.CheckMultipath(t, client.Conn)
}

// TestDialRefused wants no connection left when the server refuses the user;
// goleak would find it.
func TestDialRefused(t *testing.T) {
	port := exampletest.Port(t)
	server := newServer(t, "user", "secret")
	server.serve(t, "127.0.0.1:"+port)

	var d dialer.Dialer
	if _, err := Dial(t.Context(), &d, "localhost:"+port, clientConfig(server, "wrong")); err == nil {
		t.Error("no error for a wrong password")
	}
}

// TestDialCanceled wants the context to end a handshake with a server that
// says nothing.
func TestDialCanceled(t *testing.T) {
	port := exampletest.Port(t)
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if c, err := listener.Accept(); err == nil {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1)) // the client's version: its handshake has begun
		}
		cancel()
		<-returned
	}()

	var d dialer.Dialer
	server := newServer(t, "user", "secret")
	_, err = Dial(ctx, &d, "localhost:"+port, clientConfig(server, "secret"))
	close(returned)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got the error %v, want the context's", err)
	}
	<-done
}

// clientConfig returns what a client of the server needs.
func clientConfig(s *server, password string) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:            "user",
		Auth:            []ssh.AuthMethod{ssh.Password(password)},
		HostKeyCallback: ssh.FixedHostKey(s.hostKey),
	}
}
