package sshexample

import (
	"crypto/ed25519"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// server is an SSH server for one user, whose only command is echo.
type server struct {
	config  *ssh.ServerConfig
	hostKey ssh.PublicKey
	work    sync.WaitGroup
}

// newServer returns a server that lets in user by password.
func newServer(t *testing.T, user, password string) *server {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{
		PasswordCallback: func(c ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
			if c.User() != user || string(given) != password {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, nil
		},
	}
	config.AddHostKey(signer)
	return &server{config: config, hostKey: signer.PublicKey()}
}

// serve takes one connection at address, and serves it until the test ends.
func (s *server) serve(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		s.work.Wait()
	})
	s.work.Go(func() {
		if c, err := listener.Accept(); err == nil {
			s.connection(c)
		}
	})
}

// connection serves a connection until the client closes it.
func (s *server) connection(c net.Conn) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	s.work.Go(func() { ssh.DiscardRequests(requests) })
	for channel := range channels {
		if session, requests, err := channel.Accept(); err == nil {
			s.work.Go(func() { echo(session, requests) })
		}
	}
}

// echo serves a session: it answers "exec echo WORDS" with the words.
func echo(session ssh.Channel, requests <-chan *ssh.Request) {
	defer session.Close()
	for request := range requests {
		var exec struct{ Command string }
		if request.Type != "exec" || ssh.Unmarshal(request.Payload, &exec) != nil {
			_ = request.Reply(false, nil)
			continue
		}
		_ = request.Reply(true, nil)
		_, _ = io.WriteString(session, strings.TrimPrefix(exec.Command, "echo "))
		_, _ = session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		return
	}
}
