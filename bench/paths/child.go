package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// childArg as the first argument makes this program a child in the lab; the
// second says of what kind.
const (
	childArg    = "child"
	brokerChild = "broker" // SOCKET: serves it until its standard input ends
	joinChild   = "join"   // BROKER RUNS RECORD
	holdChild   = "hold"   // BROKER COUNT RECORD
)

// runChild is the program of a child.
func runChild(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 2 && args[0] == brokerChild {
		return runBrokerChild(ctx, args[1], stdin, stdout)
	}
	if len(args) != 4 {
		return fmt.Errorf("child: unexpected arguments %q", args)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("child: %w", err)
	}
	set, err := mpaddr.Parse(args[3])
	if err != nil {
		return fmt.Errorf("child: %w", err)
	}
	switch args[0] {
	case joinChild:
		return runJoinChild(ctx, args[1], n, set, stdout)
	case holdChild:
		return runHoldChild(ctx, args[1], n, set, stdin, stdout)
	}
	return fmt.Errorf("child: unknown kind %q", args[0])
}

// ask runs a child, with or without the right to use the path manager, and
// decodes what it prints.
func (b *bench) ask(ctx context.Context, privileged bool, into any, args ...string) error {
	cmd := b.child(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := startChild(cmd, privileged); err != nil {
		return err
	}
	err = json.NewDecoder(out).Decode(into)
	return errors.Join(err, cmd.Wait())
}

// brokerProcess is a broker that runs.
type brokerProcess struct {
	socket string
	cmd    *exec.Cmd
	end    io.Closer // its standard input
}

// startBroker starts a broker, with the daemon's own limits, in a process of
// its own.
func (b *bench) startBroker(ctx context.Context) (*brokerProcess, error) {
	socket := filepath.Join(b.dir, "paths.sock")
	cmd := b.child(ctx, brokerChild, socket)
	end, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startChild(cmd, true); err != nil {
		return nil, err
	}
	br := &brokerProcess{socket, cmd, end}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		br.stop()
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	return br, nil
}

// memory returns the broker's resident memory in KiB.
func (b *brokerProcess) memory() (int, error) { return residentKiB(b.cmd.Process.Pid) }

// stop ends the broker and waits for it.
func (b *brokerProcess) stop() {
	b.end.Close()
	_ = b.cmd.Wait() // what it has to say, it says on stderr
}

// runBrokerChild serves a broker until stdin ends.
func runBrokerChild(ctx context.Context, socket string, stdin io.Reader, stdout io.Writer) error {
	pm, err := mptcp.OpenPathManager()
	if err != nil {
		return err
	}
	defer pm.Close()
	server, err := broker.NewServer(broker.Config{Manager: pm})
	if err != nil {
		return err
	}
	l, err := broker.Listen(socket, 0o600, -1)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		_, _ = io.Copy(io.Discard, stdin) // its end is the signal
	}()
	fmt.Fprintln(stdout, "ready")
	err = server.Serve(ctx, l)
	<-watched
	return err
}
