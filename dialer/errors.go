package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// ErrMultipathUnsupported is matched by the error of a dial that asked for
// Multipath TCP ("multipath", or [Dialer.Connect]) on a system that has none.
// Dial "tcp" to go on without it (draft-sarolahti-mptcp-af-multipath-01,
// section 5.2). It wraps [errors.ErrUnsupported].
var ErrMultipathUnsupported = fmt.Errorf("multipath TCP is not available on this system; dial \"tcp\" to do without: %w", errors.ErrUnsupported)

// ErrNotMultipath is matched by the error of a dial with [FallbackError] to an
// address that was reached, but not by Multipath TCP.
var ErrNotMultipath = errors.New("the peer, or something on the path to it, does not speak Multipath TCP")

// errNoAddress says that a set or a name has no address to connect to.
var errNoAddress = errors.New("no address to connect to")

// Attempt is one connection attempt of a dial.
type Attempt struct {
	Remote  netip.AddrPort
	Via     netip.AddrPort // the NAT64's address for Remote, where that was connected to
	Started time.Duration  // since the dial began
	Elapsed time.Duration  // until it connected, failed or was stopped
	Err     error          // nil for the address that became the connection
}

// Error is why a dial failed: what was tried, and why each of it failed. It is
// the Err of the [*net.OpError] that a dial returns when there is more to say
// than one address's error.
type Error struct {
	// Attempts are the addresses tried, in the order of starting.
	Attempts []Attempt
	// Cause is why the dial ended early: a timeout, a cancellation, or an
	// error of the look-up. Nil when every address was tried and failed.
	Cause error
}

// Error gives the cause, the addresses that had not answered until then, and
// each other address with its error.
func (e *Error) Error() string {
	var waiting, parts []string
	for _, a := range e.Attempts {
		if e.Cause != nil && errors.Is(a.Err, e.Cause) {
			waiting = append(waiting, a.Remote.String())
		} else {
			parts = append(parts, fmt.Sprintf("%v: %v", a.Remote, a.Err))
		}
	}
	if e.Cause != nil {
		cause := e.Cause.Error()
		if len(waiting) > 0 {
			cause += ", no answer from " + strings.Join(waiting, ", ")
		}
		parts = append([]string{cause}, parts...)
	}
	return strings.Join(parts, "; ")
}

// Unwrap returns the cause and the error of each attempt.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// Timeout reports whether the dial ended by a timeout: its own, or that of
// every address.
func (e *Error) Timeout() bool {
	if e.Cause != nil {
		return isTimeout(e.Cause)
	}
	return len(e.Attempts) > 0 && !slices.ContainsFunc(e.Attempts, func(a Attempt) bool { return !isTimeout(a.Err) })
}

// Temporary reports whether the dial ended by a timeout, as net's errors do.
func (e *Error) Temporary() bool { return e.Timeout() }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// timeoutError is the deadline of a dial. It is what net.Dialer returns for
// one, and matches os.ErrDeadlineExceeded besides.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Is(err error) bool {
	return err == context.DeadlineExceeded || err == os.ErrDeadlineExceeded
}

// canceledError is a cancelled dial, in net.Dialer's words.
type canceledError struct{}

func (canceledError) Error() string     { return "operation was canceled" }
func (canceledError) Is(err error) bool { return err == context.Canceled }

// mapContextError turns a context's error into the one that net.Dialer returns
// for it; other errors stay.
func mapContextError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return timeoutError{}
	case errors.Is(err, context.Canceled):
		return canceledError{}
	}
	return err
}

// innerError returns what a net.OpError wraps, as the dial wraps it again, or
// ctx's error where that is the cause.
func innerError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// asked is the address of a dial as it was asked for, for use in errors.
type asked struct{ network, address string }

func (a asked) Network() string { return a.network }
func (a asked) String() string  { return a.address }

// dialError returns the error of a dial of address that had these attempts and
// this cause. One failed address alone gives the error that net.Dialer gives.
func dialError(network, address string, attempts []Attempt, cause error) error {
	op := &net.OpError{Op: "dial", Net: network, Addr: asked{network, address}}
	switch {
	case cause == nil && len(attempts) == 1:
		op.Addr = net.TCPAddrFromAddrPort(attempts[0].Remote)
		op.Err = attempts[0].Err
	case cause == nil && len(attempts) == 0:
		op.Err = errNoAddress
	case cause == nil && allUnsupported(attempts):
		op.Err = attempts[0].Err
	default:
		op.Err = &Error{Attempts: attempts, Cause: cause}
	}
	return op
}

// allUnsupported reports whether no attempt had a socket: the reason is the
// system's, and the same for all.
func allUnsupported(attempts []Attempt) bool {
	return !slices.ContainsFunc(attempts, func(a Attempt) bool { return !errors.Is(a.Err, ErrMultipathUnsupported) })
}
