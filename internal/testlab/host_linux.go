package testlab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is one host of a lab: a network namespace with links to the router.
type Host struct {
	name      string
	lab       *Lab
	namespace *namespace
	links     []*Link
}

// Name returns the name that the host was added with; the client's is "client".
func (h *Host) Name() string { return h.name }

// Links returns the host's links in the order in which they were given.
func (h *Host) Links() []*Link { return append([]*Link(nil), h.links...) }

// nsFile is the file of the host's namespace.
func (h *Host) nsFile() *os.File {
	if h.namespace.file == nil {
		return h.namespace.home
	}
	return h.namespace.file
}

// Do runs fn on a thread inside the host's network namespace and returns its
// error. Sockets that fn makes belong to the host for good; goroutines that it
// starts run elsewhere. /proc/net is the main thread's: use
// /proc/thread-self/net. fn must not call t.FailNow: it runs on a goroutine of
// its own, except on the client, where it runs on the caller's.
func (h *Host) Do(fn func() error) error { return h.namespace.do(fn) }

// Listen listens in the host as [net.Listen] does: "tcp" means MPTCP.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	return h.ListenConfig(&net.ListenConfig{}, network, address)
}

// ListenPlain listens in the host with plain TCP, so that the host answers
// SYNs without an MPTCP option.
func (h *Host) ListenPlain(network, address string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return h.ListenConfig(&lc, network, address)
}

// ListenConfig listens in the host with the given settings.
func (h *Host) ListenConfig(lc *net.ListenConfig, network, address string) (net.Listener, error) {
	var ln net.Listener
	err := h.Do(func() (err error) {
		ln, err = lc.Listen(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in host %s: %w", h.name, err)
	}
	return ln, nil
}

// ListenPacket opens a datagram socket in the host, as [net.ListenPacket] does.
func (h *Host) ListenPacket(network, address string) (net.PacketConn, error) {
	var pc net.PacketConn
	err := h.Do(func() (err error) {
		var lc net.ListenConfig
		pc, err = lc.ListenPacket(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in host %s: %w", h.name, err)
	}
	return pc, nil
}

// DialContext connects from the host with the given settings. The address must
// be a literal: only one socket is made on the host's thread.
func (h *Host) DialContext(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial from host %s: %w", h.name, err)
	}
	return c, nil
}

// Sysctl sets a kernel parameter of the host, such as
// "net.mptcp.allow_join_initial_addr_port".
func (h *Host) Sysctl(key, value string) error {
	err := h.Do(func() error { return writeSysctl(key, value) })
	if err != nil {
		return fmt.Errorf("in host %s: %w", h.name, err)
	}
	return nil
}

// Start starts a command in the host. The caller waits for it before it closes
// the lab; the kernel kills it when the calling process ends before.
func (h *Host) Start(cmd *exec.Cmd) error {
	if err := h.lab.starter.start(h.namespace, cmd); err != nil {
		return fmt.Errorf("start %s in host %s: %w", cmd.Path, h.name, err)
	}
	return nil
}

// writeSysctl sets a parameter of the calling thread's network namespace.
func writeSysctl(key, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}

// raiseLoopback brings up the loopback interface of the calling thread's
// namespace.
func raiseLoopback() error {
	nl, err := dialRTNL()
	if err != nil {
		return err
	}
	defer func() { _ = nl.conn.Close() }()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	const up = unix.IFF_UP
	return nl.request("bring loopback up", unix.RTM_NEWLINK, 0, linkHeader(lo.Index, up, up), nil)
}
