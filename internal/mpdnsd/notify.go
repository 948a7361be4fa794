package mpdnsd

import (
	"net"
	"os"
)

// notify tells the service manager the daemon's state, as sd_notify(3) does,
// if there is one to tell.
func (d *daemon) notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path) // a leading @ is Linux's abstract name space, for Go too
	if err != nil {
		d.log.Warn("telling the service manager", "state", state, "error", err)
		return
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		d.log.Warn("telling the service manager", "state", state, "error", err)
	}
}
