package mpdnsd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/paths"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// pathBroker is the daemon's part that gives paths to the connections of other
// programs: the broker for those that are brought to it, and with the userspace
// manager a service for all others.
type pathBroker struct {
	config  config.Paths // in effect
	memory  broker.Memory
	group   int // of the socket; negative: the process's
	log     *slog.Logger
	manager mptcp.PathManager
	service *paths.Service    // nil where the namespace is left alone
	server  *broker.Server    // nil without a socket
	socket  *net.UnixListener // nil without one
	handed  bool              // socket is the service manager's
	cancel  context.CancelFunc
	running sync.WaitGroup // serve
}

// openPaths begins to serve. handed is the service manager's socket, which is
// used in place of the configured one; nil if there is none. What can be refused
// for want of a right comes before what changes the machine.
func openPaths(set *setup, handed *net.UnixListener, memory broker.Memory, log *slog.Logger) (*pathBroker, error) {
	b := &pathBroker{
		config: set.config.Paths, memory: memory, group: set.group, log: log,
		socket: handed, handed: handed != nil, cancel: func() {},
	}
	if err := b.open(); err != nil {
		return nil, &pathsError{b.config, errors.Join(err, b.close())}
	}
	b.logStart()
	return b, nil
}

func (b *pathBroker) open() (err error) {
	if b.manager, err = mptcp.OpenPathManager(); err != nil {
		return err
	}
	if b.socket == nil && b.config.Socket != "" {
		b.socket, err = broker.Listen(b.config.Socket, b.config.Mode, b.group)
		if err != nil {
			return &socketError{b.config.Socket, err}
		}
	}
	if b.config.Manager == config.UserspaceManager {
		b.service, err = paths.Open(paths.Config{Manager: b.manager, Switch: true, Log: b.log})
		if err != nil {
			return err
		}
	}
	if b.socket == nil {
		return nil
	}
	if b.server, err = broker.NewServer(b.brokerConfig()); err != nil {
		return err
	}
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	b.running.Go(func() { b.serve(ctx) })
	return nil
}

// brokerConfig has what is brought to the broker left to its owner.
func (b *pathBroker) brokerConfig() broker.Config {
	c := broker.Config{Manager: b.manager, Limits: b.config.Limits, Allow: b.config.Allow, Log: b.log, Memory: b.memory}
	if b.service != nil {
		c.Owner = b.service
	}
	return c
}

// serve is a goroutine.
func (b *pathBroker) serve(ctx context.Context) {
	switch err := b.server.Serve(ctx, b.socket); {
	case err == nil:
	case ctx.Err() != nil:
		b.log.Warn("the path broker's end", "error", err)
	default:
		b.log.Error("the path broker has ended; a restart brings it back", "error", err)
	}
}

// close restores the path manager, lets the broker's clients go and removes the
// socket. The connections keep their subflows. The service ends first: it must
// not take up the connections that the broker lets go.
func (b *pathBroker) close() error {
	var errs []error
	if b.service != nil {
		errs = append(errs, b.service.Close())
	}
	b.cancel()
	b.running.Wait()
	if b.socket != nil {
		if err := b.socket.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if b.manager != nil {
		errs = append(errs, b.manager.Close())
	}
	return errors.Join(errs...)
}

// logStart writes what is on.
func (b *pathBroker) logStart() {
	attrs := []any{"manager", b.config.Manager}
	switch {
	case b.socket == nil:
		attrs = append(attrs, "socket", "none")
	case b.handed:
		attrs = append(attrs, "socket", b.socket.Addr(), "from", "service manager")
	default:
		attrs = append(attrs, "socket", b.socket.Addr(), "mode", octal(b.config.Mode), "group", b.config.Group)
	}
	if len(b.config.Allow) > 0 {
		attrs = append(attrs, "allow", b.config.Allow)
	}
	b.log.Info("path broker", attrs...)
	if system, err := mptcp.ReadSystem(); err == nil && system.PathManager != mptcp.UserspacePathManager {
		b.log.Warn(`new connections belong to the kernel's path manager: the broker cannot serve them; paths.manager = "userspace" switches`,
			"net.mptcp.path_manager", system.PathManager)
	}
}

// octal writes permissions as the configuration has them.
func octal(mode fs.FileMode) string { return fmt.Sprintf("%#o", uint32(mode)) }

// reload applies what can be while clients are served, the socket's mode and
// group, and says that the rest needs a restart.
func (b *pathBroker) reload(set *setup) {
	next := set.config.Paths
	if needsRestart(b.config, next) {
		b.log.Warn("reload: of the settings of [paths], all but mode and group need a restart")
	}
	if b.socket == nil || b.handed || !next.Enabled || next.Socket != b.config.Socket {
		return // there is no socket that these are meant for
	}
	if next.Mode == b.config.Mode && set.group == b.group {
		return
	}
	if err := b.permit(next.Mode, set.group); err != nil {
		b.log.Error("reload: the socket's mode and group", "error", err)
		return
	}
	b.config.Mode, b.config.Group, b.group = next.Mode, next.Group, set.group
	b.log.Info("path broker", "socket", b.config.Socket, "mode", octal(next.Mode), "group", next.Group)
}

// permit sets who may use the socket.
func (b *pathBroker) permit(mode fs.FileMode, group int) error {
	if group < 0 {
		group = os.Getegid()
	}
	if err := os.Chown(b.config.Socket, -1, group); err != nil {
		return err
	}
	return os.Chmod(b.config.Socket, mode)
}

// needsRestart reports whether the settings differ in what reload cannot apply.
func needsRestart(a, b config.Paths) bool {
	return a.Enabled != b.Enabled || a.Enabled && (a.Socket != b.Socket || a.Manager != b.Manager ||
		a.Limits != b.Limits || !slices.Equal(a.Allow, b.Allow))
}
