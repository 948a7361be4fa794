package dialer

import (
	"errors"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Who adds subflows, in Report.Manager.
const (
	managerDirect = "direct"
	managerKernel = "kernel"
	managerNone   = "none"
)

// The sentences of Report.Why.
const (
	whyPlain      = "plain TCP has one path"
	whyDirect     = "this process has CAP_NET_ADMIN, and the connection belongs to the userspace path manager"
	whyOne        = whyDirect + "; there is no further address to add"
	whyKernel     = "the connection belongs to the kernel's own path manager (net.mptcp.path_manager=kernel), which joins only addresses that the peer announces"
	whyNotAllowed = "this process has no CAP_NET_ADMIN"
	whyNobody     = whyNotAllowed + ", and the userspace path manager is selected (net.mptcp.path_manager=userspace), so the kernel adds nothing by itself"
)

// manager says who adds this connection's subflows, and why.
func (c *Conn) manager() (manager, why string) {
	if c.id == 0 || c.fellBack() {
		return managerNone, whyPlain
	}
	if c.subflows == nil {
		return managerNow(whyOne)
	}
	c.subflows.mu.Lock()
	direct, failure := c.subflows.direct, c.subflows.failure
	c.subflows.mu.Unlock()
	switch {
	case failure == nil && direct:
		return managerDirect, whyDirect
	case errors.Is(failure, mptcp.ErrKernelManaged):
		return managerKernel, whyKernel
	case failure == nil || errors.Is(failure, mptcp.ErrNotPermitted):
		return managerNow(whyDirect)
	}
	manager, _ = managerNow(whyDirect)
	if manager == managerDirect {
		manager = managerNone
	}
	return manager, "the path manager cannot be used: " + failure.Error()
}

// managerNow says who would add subflows to a connection made now; direct is
// the sentence for this process doing it.
func managerNow(direct string) (manager, why string) {
	system, err := mptcp.ReadSystem()
	switch {
	case err != nil:
		return managerNone, "the state of Multipath TCP cannot be read: " + err.Error()
	case system.PathManager == mptcp.UserspacePathManager && system.NetAdmin:
		return managerDirect, direct
	case system.PathManager == mptcp.UserspacePathManager:
		return managerNone, whyNobody
	case system.NetAdmin:
		return managerKernel, whyKernel
	}
	return managerKernel, whyNotAllowed + "; " + whyKernel
}

// blackholed reports whether MPTCP is held back in this network namespace
// because its SYNs were lost. The counters tell whether it ever was, a
// connection over the loopback interface whether it is now. It looks once for a
// connection, the first time that its report is asked for.
func (c *Conn) blackholed() bool {
	c.blackholeOnce.Do(func() {
		mib, err := mptcp.ReadMIB()
		if err == nil && mib[mptcp.MIBSYNTXDisabled] > 0 {
			c.blackhole, _ = mptcp.ProbeBlackhole()
		}
	})
	return c.blackhole
}
