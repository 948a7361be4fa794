package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// demoLoopback shows what works without a lab: the daemon with the demo's zone,
// look-ups, and a dial over loopback.
func (a *app) demoLoopback(ctx context.Context) error {
	st, err := a.style()
	if err != nil {
		return err
	}
	n := &narrator{w: a.stdout, st: st, start: time.Now()}
	d := newDemoLab()
	defer d.close()
	if err := d.loopback(ctx, n); err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("demo: %w", err)}
	}
	n.summary()
	return nil
}

func (d *demoLab) loopback(ctx context.Context, n *narrator) (err error) {
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	if d.dir, err = writeZones(); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	server := fmt.Sprintf("127.0.0.1:%d", port)
	zone := demoZone + "=" + filepath.Join(d.dir, "demo.example.zone")
	if err := d.startDaemon(ctx, (*exec.Cmd).Start, []string{"--listen", server, "--upstream", "192.0.2.1", "--zone", zone}); err != nil {
		return err
	}
	n.begin("lookup")
	if err := d.show(ctx, n, "@"+server, "lb.demo.example:7000", "--hex"); err != nil {
		return err
	}
	n.proved("one look-up gave one record of five addresses")
	return d.loopbackDial(ctx, n)
}

// loopbackDial connects to a listener of the demo's own.
func (d *demoLab) loopbackDial(ctx context.Context, n *narrator) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.listeners = append(d.listeners, listener)
	d.serving.Go(func() { d.accept(listener, greet("loopback")) })
	n.begin("dial")
	if err := d.show(ctx, n, "dial", "--wait", "1500ms", listener.Addr().String()); err != nil {
		return err
	}
	n.proved("a connection, with a report of what it is and why")
	return nil
}

// show runs a command and prints it with its output.
func (d *demoLab) show(ctx context.Context, n *narrator, args ...string) error {
	n.command(append([]string{"mpresolve"}, args...)...)
	out, err := d.run(ctx, nil, args...)
	n.output(out)
	return err
}

// freePort finds a port that nothing listens on now, for UDP and TCP.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
