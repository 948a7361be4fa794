package mpdnsd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

const (
	// firstHanded is the first descriptor that a service manager hands over, and
	// maxHanded how many are looked at (sd_listen_fds(3)).
	firstHanded = 3
	maxHanded   = 64
)

// handedFiles returns the sockets that the service manager opened for the
// process with this id (sd_listen_fds(3)).
func handedFiles(getenv func(string) string, pid int) ([]*os.File, error) {
	names, err := handedNames(getenv, pid)
	files := make([]*os.File, len(names))
	for i, name := range names {
		files[i] = os.NewFile(uintptr(firstHanded+i), name)
	}
	return files, err
}

// handedNames returns the names of these sockets, in the order of their
// descriptors.
func handedNames(getenv func(string) string, pid int) ([]string, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxHanded {
		return nil, fmt.Errorf("LISTEN_FDS=%q is not a number from 0 to %d", getenv("LISTEN_FDS"), maxHanded)
	}
	given := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	names := make([]string, n)
	for i := range names {
		names[i] = "unknown"
		if i < len(given) && given[i] != "" {
			names[i] = given[i]
		}
	}
	return names, nil
}

// pathsSocket takes the path broker's socket, the one of type SOCK_SEQPACKET,
// from the files, and closes them all. There is nil if they are none. Any other
// file is an error: who handed it over expects it to be served.
func pathsSocket(files []*os.File) (*net.UnixListener, error) {
	var found *net.UnixListener
	var errs []error
	for _, f := range files {
		l, err := net.FileListener(f)
		_ = f.Close() // the listener has its own
		socket, ok := l.(*net.UnixListener)
		switch {
		case err == nil && ok && found == nil && socket.Addr().Network() == "unixpacket":
			found = socket
			continue
		case err == nil:
			_ = l.Close() // nobody connected to it
			err = errors.New("mpdnsd takes one socket from the service manager, the path broker's: ListenSequentialPacket=")
		}
		errs = append(errs, fmt.Errorf("socket %q: %w", f.Name(), err))
	}
	if len(errs) > 0 && found != nil {
		_ = found.Close()
		found = nil
	}
	return found, errors.Join(errs...)
}
