package mptcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// probeTimeout bounds a connection to this machine itself.
const probeTimeout = time.Second

// ProbeBlackhole connects to itself over the loopback interface and reports
// whether the connection became plain TCP: then MPTCP is held back for the
// whole network namespace at present, because of a blackhole that was found
// before, see [System].BlackholeTimeout and [ResetBlackhole]. Where MPTCP is
// not [Supported] the error says so.
func ProbeBlackhole() (bool, error) {
	if err := Supported(); err != nil {
		return false, err
	}
	blackholed, err := probeLoopback()
	if err != nil {
		return false, fmt.Errorf("mptcp: probe the loopback interface: %w", err)
	}
	return blackholed, nil
}

func probeLoopback() (bool, error) {
	l, err := listenLoopback()
	if err != nil {
		return false, err
	}
	defer l.Close()
	dialer := net.Dialer{Timeout: probeTimeout}
	dialer.SetMultipathTCP(true)
	c, err := dialer.Dial("tcp", l.Addr().String()) // the backlog takes it
	if err != nil {
		return false, err
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false, err
	}
	if _, err = GetInfo(raw); errors.Is(err, ErrFallback) {
		return true, nil
	}
	return false, err
}

// listenLoopback opens an MPTCP listener on whichever loopback address there is.
func listenLoopback() (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return config.Listen(context.Background(), "tcp", "[::1]:0")
	}
	return l, nil
}
