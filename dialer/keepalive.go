package dialer

import (
	"net"
	"sync"
	"time"
)

// nudgeIdle is after how long an idle connection that is to be joined gets a
// keep-alive probe. The answer to it makes the connection fully established,
// which joining needs. It is the least that the kernel takes.
const nudgeIdle = time.Second

// keepAliveConfig returns the caller's wish in net's form.
func (d *Dialer) keepAliveConfig() net.KeepAliveConfig {
	if d.KeepAliveConfig.Enable || d.KeepAlive < 0 {
		return d.KeepAliveConfig
	}
	return net.KeepAliveConfig{Enable: true, Idle: d.KeepAlive}
}

// applyKeepAlive sets a new connection's keep-alive probes. net's default is on
// it already. As with net.Dialer, a system that has none is no error.
func (d *Dialer) applyKeepAlive(c *net.TCPConn) {
	if d.KeepAlive == 0 && !d.KeepAliveConfig.Enable {
		return
	}
	setKeepAlive(c, d.keepAliveConfig())
}

func setKeepAlive(c *net.TCPConn, config net.KeepAliveConfig) {
	if config.Enable {
		_ = c.SetKeepAliveConfig(config)
	} else {
		_ = c.SetKeepAlive(false)
	}
}

// keepAlive shortens a connection's keep-alive for a while without the caller
// noticing: what the caller sets meanwhile takes effect afterwards.
type keepAlive struct {
	conn *net.TCPConn

	mu      sync.Mutex // guards all below
	nudged  bool
	restore net.KeepAliveConfig
	later   []func(*net.TCPConn) error // what the caller set meanwhile
}

// nudge makes the connection send a probe within about a second of silence.
func (k *keepAlive) nudge() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.nudged {
		k.nudged = true
		setKeepAlive(k.conn, net.KeepAliveConfig{Enable: true, Idle: nudgeIdle})
	}
}

// calm puts back what the caller wants.
func (k *keepAlive) calm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.nudged {
		return
	}
	k.nudged = false
	setKeepAlive(k.conn, k.restore)
	for _, set := range k.later {
		_ = set(k.conn) // it worked when the caller set it
	}
	k.later = nil
}

// set does what the caller asks for, again after a nudge that is under way.
func (k *keepAlive) set(f func(*net.TCPConn) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.nudged {
		return f(k.conn)
	}
	err := f(k.conn)
	if err == nil {
		k.later = append(k.later, f)
	}
	return err
}
