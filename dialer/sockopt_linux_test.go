package dialer

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKeepAlive: the caller's settings are those of net.Dialer.
func TestKeepAlive(t *testing.T) {
	address := echoServer(t, "127.0.0.1:0").String()
	for _, tt := range []struct {
		name   string
		dialer *Dialer
		net    net.Dialer
	}{
		{"default", &Dialer{}, net.Dialer{}},
		{"interval", &Dialer{KeepAlive: time.Minute}, net.Dialer{KeepAlive: time.Minute}},
		{"off", &Dialer{KeepAlive: -1}, net.Dialer{KeepAlive: -1}},
		{
			"in detail",
			&Dialer{KeepAlive: -1, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 2}},
			net.Dialer{KeepAlive: -1, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 2}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.dialer.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			want, err := tt.net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer want.Close()
			g, w := keepAliveOf(t, got.(*Conn)), keepAliveOf(t, want.(*net.TCPConn))
			if g.on != w.on || g.on && g != w {
				t.Errorf("got %+v, want %+v", g, w)
			}
		})
	}
}

// TestNudge: what the caller sets while the keep-alive is shortened takes
// effect afterwards.
func TestNudge(t *testing.T) {
	d := Dialer{KeepAlive: -1}
	nc, err := d.Dial("tcp", echoServer(t, "127.0.0.1:0").String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := nc.(*Conn)
	before := keepAliveOf(t, c)
	c.nudge()
	if got := keepAliveOf(t, c); !got.on || got.idle != 1 {
		t.Errorf("nudged: %+v", got)
	}
	c.calm()
	if got := keepAliveOf(t, c); got.on != before.on {
		t.Errorf("calmed: %+v, want %+v", got, before)
	}
	c.nudge()
	c.nudge()
	err = errors.Join(c.SetKeepAlive(true), c.SetKeepAlivePeriod(40*time.Second))
	c.calm()
	if got := keepAliveOf(t, c); err != nil || !got.on || got.idle != 40 {
		t.Errorf("set meanwhile: %+v, %v", got, err)
	}
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 50 * time.Second}); err != nil {
		t.Error(err)
	}
	if got := keepAliveOf(t, c); got.idle != 50 {
		t.Errorf("set afterwards: %+v", got)
	}
}

// keepAliveOptions is a socket's keep-alive; times are in seconds.
type keepAliveOptions struct {
	on                    bool
	idle, interval, count int
}

func keepAliveOf(t *testing.T, c syscall.Conn) keepAliveOptions {
	t.Helper()
	return keepAliveOptions{
		on:       sockopt(t, c, unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0,
		idle:     sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
		interval: sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL),
		count:    sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
	}
}

// TestWithoutMPTCP: which errors of socket creation mean plain TCP.
func TestWithoutMPTCP(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		unix.EPROTONOSUPPORT: true, unix.EINVAL: true, unix.ENOPROTOOPT: true, unix.EPERM: true, unix.EACCES: true,
		unix.EMFILE: false, unix.ENOBUFS: false, unix.ECONNREFUSED: false, unix.EAFNOSUPPORT: false,
	} {
		if got := withoutMPTCP(fmt.Errorf("socket: %w", errno)); got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
}

func TestZoneID(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[string]uint32{"": 0, "7": 7, "lo": uint32(lo.Index)} {
		if got, err := zoneID(zone); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", zone, got, err, want)
		}
	}
	if _, err := zoneID("no-such-interface"); err == nil {
		t.Error("no error for an interface that does not exist")
	}
}

func sockopt(t *testing.T, c syscall.Conn, level, option int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, option) })
	if err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return value
}
