package dialer

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// ListenResult is what became of one address that was to be listened on.
type ListenResult struct {
	// Asked is the address as it was asked for.
	Asked mpaddr.Endpoint
	// Bound is Asked with the port that it has; not valid where Err is set.
	Bound mpaddr.Endpoint
	// Socket is what the socket is bound to that takes the address's
	// connections: the address itself, or a wildcard of the set that covers it.
	Socket netip.AddrPort
	// ChosenPort: the port was asked for as 0, and the system chose it, the same
	// for all such addresses.
	ChosenPort bool
	// Err is why the address is not bound; nil when it is.
	Err error
}

// String says in a phrase what became of the address.
func (r ListenResult) String() string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("%v: not bound: %v", r.Asked, r.Err)
	case r.Socket != r.Bound.Target() && r.ChosenPort:
		return fmt.Sprintf("%v: bound, by the socket of %v, port chosen by the system for all", r.Bound, r.Socket)
	case r.Socket != r.Bound.Target():
		return fmt.Sprintf("%v: bound, by the socket of %v", r.Bound, r.Socket)
	case r.ChosenPort:
		return fmt.Sprintf("%v: bound, port chosen by the system for all", r.Bound)
	}
	return fmt.Sprintf("%v: bound", r.Bound)
}

// fail notes why the address is not bound.
func (r *ListenResult) fail(err error) { *r = ListenResult{Asked: r.Asked, Err: err} }

// succeed notes that the address, with its port ap, is served by a socket.
func (r *ListenResult) succeed(ap, socket netip.AddrPort) {
	*r = ListenResult{
		Asked: r.Asked, Bound: r.Asked.WithPort(ap.Port()), Socket: socket,
		ChosenPort: r.Asked.Port() == 0,
	}
}

// ListenError is why no address could be listened on. It is the Err of the
// [*net.OpError] that listening on several returns.
type ListenError struct {
	Results []ListenResult // of each address; all have an Err
}

// Error gives each address with its error.
func (e *ListenError) Error() string {
	var parts []string
	for _, r := range e.Results {
		parts = append(parts, fmt.Sprintf("%v: %v", r.Asked, r.Err))
	}
	return strings.Join(parts, "; ")
}

// Unwrap returns the error of each address.
func (e *ListenError) Unwrap() []error {
	var errs []error
	for _, r := range e.Results {
		errs = append(errs, r.Err)
	}
	return errs
}

// listenError wraps the error of an operation on a set. One address alone gives
// the error that package net gives for it.
func listenError(op string, set mpaddr.Addr, err error) error {
	wrapped := &net.OpError{Op: op, Net: mpaddr.Network, Addr: set, Err: err}
	if e, ok := err.(*ListenError); ok && len(e.Results) == 1 { //nolint:errorlint // it is never wrapped here
		wrapped.Addr = net.TCPAddrFromAddrPort(e.Results[0].Asked.Target())
		wrapped.Err = e.Results[0].Err
	}
	return wrapped
}

// ListenReport explains a listener.
type ListenReport struct {
	// Results tells what became of each address of the set asked for last.
	Results []ListenResult
	// Fallback says in a sentence why the sockets are plain TCP; "" when they
	// take Multipath TCP.
	Fallback string
	// Manager says who announces further addresses to the peers: "direct" (this
	// process), "broker" (for this process, see ListenConfig.Broker), "kernel" (the kernel's own path manager, those configured as
	// signal endpoints), or "none".
	Manager string
	// Why says in a sentence why it is that Manager.
	Why string
	// Further are the addresses that this process, or the broker for it, announces to a connection
	// that begins with another one, as far as ListenConfig.Announce allows. For
	// a wildcard it is this machine's addresses at the time of the last bind.
	Further mpaddr.Addr
	// Connections is how many open connections are kept informed.
	Connections int
	// Announced and Withdrawn count the addresses that connections were told of
	// (ADD_ADDR) and that were taken back (RM_ADDR), Failed the attempts that
	// the kernel refused, the latest with LastError.
	Announced, Withdrawn, Failed uint64
	LastError                    error
}

// The sentences of ListenReport.Why.
const (
	whyListenDirect = "this process has CAP_NET_ADMIN, and the userspace path manager is selected: each connection is told of the further addresses"
	whyListenBroker = whyNotAllowed + "; the broker tells each connection of the further addresses"
	whyListenKernel = "the kernel's own path manager is selected (net.mptcp.path_manager=kernel): it announces the signal endpoints that it was given (ip mptcp endpoint add ADDRESS signal)"
	whyListenDeaf   = whyNotAllowed + ", and the userspace path manager is selected (net.mptcp.path_manager=userspace): nothing is announced, and joins are accepted only while some process of this machine follows path manager events"
)

// Report tells what is bound, whether Multipath TCP is used, and who announces
// the further addresses to the peers. It may be called at any time.
func (l *Listener) Report() ListenReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := ListenReport{Results: slices.Clone(l.results), Fallback: l.fallback()}
	r.Manager, r.Why = managerNone, whyPlain
	if r.Fallback == "" {
		r.Manager, r.Why = l.announcer.manager()
		l.announcer.report(&r)
	}
	return r
}

// fallback says why the sockets are plain TCP. The lock is held.
func (l *Listener) fallback() string {
	if l.config.Multipath == MultipathOff {
		return whyListenOff
	}
	for _, s := range l.sockets {
		if s.plain != nil {
			return fmt.Sprintf("this system makes no Multipath TCP socket: %v", s.plain)
		}
	}
	return ""
}

// manager says who announces addresses, and why.
func (a *listenAnnouncer) manager() (manager, why string) {
	manager, why = managerNow(whyListenDirect)
	failure := a.broken()
	switch {
	case why == whyNobody && a.brokers != nil:
		return a.brokers.manager()
	case why == whyNobody:
		return managerNone, whyListenDeaf
	case manager == managerKernel:
		return managerKernel, whyListenKernel
	case manager == managerDirect && failure != nil:
		return managerNone, "the path manager cannot be used: " + failure.Error()
	}
	return manager, why
}
