package mpdnsd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// pathsError is why the path broker cannot be had, with what to do.
type pathsError struct {
	config config.Paths
	err    error
}

func (e *pathsError) Unwrap() error { return e.err }

func (e *pathsError) Error() string {
	text := "path broker: " + e.err.Error()
	if advice := e.advice(); advice != "" {
		text += "\n" + advice
	}
	return text
}

// advice is what to type.
func (e *pathsError) advice() string {
	switch {
	case errors.As(e.err, new(*socketError)):
		return e.socketAdvice()
	case errors.Is(e.err, mptcp.ErrNotPermitted):
		return `adding paths needs a privilege. One of these gives it:
  sudo setcap cap_net_admin,cap_net_bind_service=+ep "$(command -v mpdnsd)"
  AmbientCapabilities=CAP_NET_ADMIN   (in the systemd unit's [Service])
or go on without the broker: enabled = false in [paths], and no --paths flag`
	case errors.Is(e.err, mptcp.ErrUnsupported):
		return `see what this machine has:
  mpresolve doctor
or go on without the broker: enabled = false in [paths], and no --paths flag`
	case errors.Is(e.err, syscall.EROFS), errors.Is(e.err, fs.ErrPermission):
		return `manager = "userspace" writes net.mptcp.path_manager: in the systemd unit, neither
ProtectKernelTunables= nor PrivateUsers= may be set; see
  sysctl net.mptcp.path_manager`
	}
	return ""
}

// socketError is a socket that could not be made.
type socketError struct {
	path string
	err  error
}

func (e *socketError) Unwrap() error { return e.err }

func (e *socketError) Error() string {
	reason := e.err
	if oe := (*net.OpError)(nil); errors.As(e.err, &oe) {
		reason = oe.Err // the others tell the path again
	} else if pe := (*fs.PathError)(nil); errors.As(e.err, &pe) {
		reason = fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return fmt.Sprintf("listening on %s: %v", e.path, reason)
}

func (e *pathsError) socketAdvice() string {
	socket, dir := e.config.Socket, filepath.Dir(e.config.Socket)
	switch {
	case errors.Is(e.err, syscall.EADDRINUSE):
		return fmt.Sprintf(`another program has this socket, or the file is not a socket; see which:
  ss -xlp | grep -F %[1]s
  ls -l %[1]s`, socket)
	case errors.Is(e.err, fs.ErrNotExist):
		return fmt.Sprintf(`the folder is missing. One of these makes it:
  sudo install -d -o "$(id -un)" %s
  RuntimeDirectory=mpdnsd   (in the systemd unit's [Service], for /run/mpdnsd)
or take another:
  mpdnsd --paths-socket PATH`, dir)
	case errors.Is(e.err, syscall.EPERM) && e.config.Group != "":
		return fmt.Sprintf(`the socket's group can only be one that the daemon is in: SupplementaryGroups=%[1]s
in the systemd unit's [Service], or
  sudo usermod -aG %[1]s "$(id -un)"`, e.config.Group)
	case errors.Is(e.err, fs.ErrPermission):
		return fmt.Sprintf(`this user may not write to the folder. Change that, or take another:
  sudo chown "$(id -un)" %s
  mpdnsd --paths-socket PATH`, dir)
	}
	return ""
}
