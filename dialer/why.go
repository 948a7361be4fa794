package dialer

import (
	"errors"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Who adds subflows, in Report.Manager.
const (
	managerDirect = "direct"
	managerBroker = "broker"
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
	whyBroker     = whyNotAllowed + "; the broker adds the subflows"
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
	via, failure := c.subflows.via, c.subflows.failure
	c.subflows.mu.Unlock()
	switch {
	case failure == nil && via == managerBroker:
		return managerBroker, whyBroker
	case failure == nil && via == managerDirect:
		return managerDirect, whyDirect
	case errors.Is(failure, mptcp.ErrKernelManaged):
		return managerKernel, whyKernel
	case errors.Is(failure, broker.ErrGone):
		return managerNone, "no more subflows are added, and those there are stay: " + failure.Error()
	case failure == nil:
		return managerNow(whyDirect)
	case errors.Is(failure, mptcp.ErrNotPermitted):
		manager, why = managerNow(whyDirect)
		return manager, why + brokerReason(failure)
	}
	manager, _ = managerNow(whyDirect)
	if manager == managerDirect {
		manager = managerNone
	}
	return manager, "the path manager cannot be used: " + failure.Error()
}

// brokerReason is the clause that says why there is no help from the broker; ""
// where none was asked.
func brokerReason(failure error) string {
	switch {
	case errors.Is(failure, broker.ErrAbsent):
		return "; there is no broker either"
	case errors.Is(failure, broker.ErrRefused), failure != mptcp.ErrNotPermitted: //nolint:errorlint // alone: no broker was asked
		return "; the broker does not help either: " + failure.Error()
	}
	return ""
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
