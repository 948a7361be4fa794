package mptcp

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// ErrUnsupported is matched by the errors of this package that mean that the
// kernel or the operating system has no such thing. It wraps
// [errors.ErrUnsupported].
var ErrUnsupported = fmt.Errorf("multipath TCP is not available here: %w", errors.ErrUnsupported)

// ErrFallback says that a connection is plain TCP: the socket never was
// multipath, the peer or a middlebox does not speak MPTCP, or the connection
// fell back later (RFC 8684 section 3.7).
var ErrFallback = errors.New("the connection is plain TCP")

// The reasons for which a path manager refuses a command. An [*OpError] matches
// them through [errors.Is].
var (
	// ErrNotEstablished: the connection is not fully established yet (no
	// DATA_ACK so far), or it fell back to plain TCP. ENOTCONN.
	ErrNotEstablished = errors.New("the connection is not fully established")
	// ErrNotPermitted: CAP_NET_ADMIN over the network namespace is missing. EPERM.
	ErrNotPermitted = errors.New("CAP_NET_ADMIN is needed over the network namespace")
	// ErrKernelManaged: the socket was made while the kernel's own path manager
	// was selected.
	ErrKernelManaged = errors.New("the socket belongs to the kernel's own path manager")
	// ErrUnknownToken: no connection of this network namespace has the token.
	ErrUnknownToken = errors.New("no connection has this token")
	// ErrSubflowNotFound: the connection has no subflow between the addresses. ESRCH.
	ErrSubflowNotFound = errors.New("the connection has no such subflow")
	// ErrFamilyMismatch: local and remote address, or the remote address and
	// the socket, are of different families. An AF_INET6 socket without
	// IPV6_V6ONLY takes subflows of both.
	ErrFamilyMismatch = errors.New("the address families do not fit")
	// ErrLocalID: the local address already has another id on this connection,
	// or the id another address.
	ErrLocalID = errors.New("local address and id do not match")
	// ErrClosed: the path manager was closed.
	ErrClosed = errors.New("the path manager is closed")
)

// The texts of the kernel's extended acknowledgements that tell apart the
// causes of EINVAL (net/mptcp/pm_userspace.c). Newer kernels may put words
// around them, so they are looked for, not compared.
const (
	ExtackKernelManaged  = "userspace PM not selected"
	ExtackUnknownToken   = "invalid token"
	ExtackFamilyMismatch = "families mismatch"
	ExtackLocalID        = "did not match address and id"
)

// OpError is the refusal of one path manager command by the kernel, or by this
// package where the kernel is known to misbehave on such a command.
type OpError struct {
	Op    string        // "create subflow", "destroy subflow", "announce", ...
	Errno syscall.Errno // the error code of the acknowledgement
	Msg   string        // the extended acknowledgement's text, may be empty
}

// Error gives the operation, the error code in words and the kernel's text.
func (e *OpError) Error() string {
	s := "mptcp: " + e.Op + ": " + e.Errno.Error()
	if e.Msg != "" {
		s += " (" + e.Msg + ")"
	}
	return s
}

// Unwrap returns the error code.
func (e *OpError) Unwrap() error { return e.Errno }

// Is matches the Err variables of this package by error code and text.
func (e *OpError) Is(target error) bool {
	switch target {
	case ErrNotEstablished:
		return e.Errno == syscall.ENOTCONN
	case ErrNotPermitted:
		return e.Errno == syscall.EPERM
	case ErrSubflowNotFound:
		return e.Errno == syscall.ESRCH
	case ErrKernelManaged:
		return e.invalid(ExtackKernelManaged)
	case ErrUnknownToken:
		return e.invalid(ExtackUnknownToken)
	case ErrFamilyMismatch:
		return e.invalid(ExtackFamilyMismatch)
	case ErrLocalID:
		return e.invalid(ExtackLocalID)
	}
	return false
}

// invalid reports whether the error is EINVAL with text in its message.
func (e *OpError) invalid(text string) bool {
	return e.Errno == syscall.EINVAL && strings.Contains(e.Msg, text)
}
