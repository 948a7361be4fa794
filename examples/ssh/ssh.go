// Package sshexample makes an SSH client whose connection a [dialer.Dialer]
// makes, so that a session goes over every path between the hosts.
package sshexample

import (
	"context"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/af-multipath/mpresolve/dialer"
)

// Client is an SSH client that can tell about its paths.
type Client struct {
	*ssh.Client
	Conn *dialer.Conn // what the client runs over, for Paths and Report; closed with the client
}

// Dial connects to the SSH server at address, "host:port", with d. ctx bounds
// the connecting and the SSH handshake, not the session.
func Dial(ctx context.Context, d *dialer.Dialer, address string, config *ssh.ClientConfig) (*Client, error) {
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	conn, channels, requests, err := ssh.NewClientConn(c, address, config)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("speaking ssh to %s: %w", address, err)
	}
	return &Client{ssh.NewClient(conn, channels, requests), c.(*dialer.Conn)}, nil
}
