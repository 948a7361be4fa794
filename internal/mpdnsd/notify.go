package mpdnsd

import (
	"net"
	"os"
	"strconv"
	"time"
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

// reloading is the state of a reload that begins. The time, in microseconds of
// the monotonic clock, is what tells it from an earlier one (sd_notify(3),
// Type=notify-reload).
func reloading() string {
	state := "RELOADING=1"
	if now, ok := monotonic(); ok {
		state += "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Microseconds(), 10)
	}
	return state
}

// watchdog gives a tick whenever the service manager wants to hear that the
// daemon's loop turns (sd_watchdog_enabled(3)): twice within the time after which
// it would end the daemon. nil, which never ticks, where it does not ask.
func (d *daemon) watchdog() (alive <-chan time.Time, stop func()) {
	limit := watchdogTime(os.Getenv, os.Getpid())
	if limit <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(limit / 2)
	return t.C, t.Stop
}

// watchdogTime is the time that the service manager gives the process with this
// id; 0 if it does not watch it.
func watchdogTime(getenv func(string) string, pid int) time.Duration {
	if p := getenv("WATCHDOG_PID"); p != "" && p != strconv.Itoa(pid) {
		return 0
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec < 2 || usec > int64(time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}
