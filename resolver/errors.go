package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/upstream"
)

// Kinds of failure; [Error] matches exactly one of those below ErrNotFound, and
// ErrNotFound where it is ErrNoSuchName or ErrNoData.
var (
	// ErrNotFound: the name has no addresses, and the servers are sure.
	ErrNotFound = errors.New("not found")
	// ErrNoSuchName: the name does not exist (NXDOMAIN).
	ErrNoSuchName = errors.New("no such name")
	// ErrNoData: the name exists and has no records of the type asked.
	ErrNoData = errors.New("no records of this type")
	// ErrFiltered: the name has addresses, and none is fit for use.
	ErrFiltered = errors.New("no usable address")
	// ErrServerFailure: the servers could not find out (SERVFAIL, FORMERR,
	// NOTIMP, a reply that makes no sense).
	ErrServerFailure = errors.New("server failure")
	// ErrRefused: the servers do not want to answer (REFUSED).
	ErrRefused = errors.New("refused")
	// ErrTimeout: no answer came in time.
	ErrTimeout = errors.New("timed out")
	// ErrUnreachable: no server could be asked (network error).
	ErrUnreachable = errors.New("could not ask")
	// ErrBadName: the name cannot be looked up; nothing was sent.
	ErrBadName = errors.New("bad name")
	// ErrBadType: what was asked for is no record type.
	ErrBadType = errors.New("bad record type")
	// ErrBadServer: a server in the resolver's settings is no address.
	ErrBadServer = errors.New("bad server address")
	// ErrBadPrefix: a prefix in the resolver's settings is none that a NAT64 has.
	ErrBadPrefix = errors.New("bad NAT64 prefix")
	// ErrAliasLoop: aliases lead back to themselves, or go on for too long.
	ErrAliasLoop = errors.New("alias chain does not end")
	// ErrPending: a family had not answered when the look-up returned.
	ErrPending = errors.New("no answer yet")
	// ErrCanceled: the caller gave up.
	ErrCanceled = errors.New("canceled")
	// ErrClosed: the resolver is closed.
	ErrClosed = errors.New("resolver is closed")
)

// Error says why a name has no answer. It is a net.Error, and unwraps to a
// *net.DNSError, so that checks made for net.Resolver still work.
type Error struct {
	Op      string // "lookup"
	Name    string // as asked
	Type    string // "A", "AAAA", …; empty when it is about all of them
	Server  string // who was asked, or several with commas between; may be empty
	RCode   string // "NXDOMAIN"; empty without a reply
	Tries   int
	Elapsed time.Duration
	Kind    error  // one of the Err values of this package
	Err     error  // what lies behind, or nil
	Hint    string // what to do about it, or empty
}

// Error is "NAME: what happened (of whom, how long)". The hint is not in it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Name)
	b.WriteString(": ")
	if e.Type != "" {
		b.WriteString(e.Type + ": ")
	}
	b.WriteString(e.Kind.Error())
	if errors.Is(e.Kind, ErrTimeout) && e.Tries > 0 {
		fmt.Fprintf(&b, " after %s", plural(e.Tries, "try", "tries"))
	}
	if e.explains() {
		b.WriteString(": " + reason(e.Err))
	}
	if s := e.circumstances(); s != "" {
		b.WriteString(" (" + s + ")")
	}
	return b.String()
}

// explains reports whether Err says more than Kind does.
func (e *Error) explains() bool {
	return e.Err != nil && !e.Timeout() && (e.RCode == "" || e.RCode == "NOERROR")
}

func (e *Error) circumstances() string {
	var parts []string
	switch {
	case e.RCode != "" && e.Server != "":
		parts = append(parts, e.RCode+" from "+withoutPort(e.Server))
	case e.RCode != "":
		parts = append(parts, e.RCode)
	case e.Server != "":
		parts = append(parts, "server "+withoutPort(e.Server))
	}
	if e.Elapsed > 0 {
		parts = append(parts, roundTime(e.Elapsed))
	}
	return strings.Join(parts, ", ")
}

// Is reports whether the failure is of the kind target; ErrNotFound stands for
// ErrNoSuchName and ErrNoData too.
func (e *Error) Is(target error) bool {
	return target == ErrNotFound && e.notFound()
}

func (e *Error) notFound() bool {
	return errors.Is(e.Kind, ErrNoSuchName) || errors.Is(e.Kind, ErrNoData)
}

// Timeout reports whether it failed for lack of time; part of net.Error.
func (e *Error) Timeout() bool {
	return errors.Is(e.Kind, ErrTimeout) || errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, os.ErrDeadlineExceeded)
}

// Temporary reports whether asking again later may help; part of net.Error.
func (e *Error) Temporary() bool {
	switch {
	case e.Timeout(), errors.Is(e.Kind, ErrServerFailure), errors.Is(e.Kind, ErrUnreachable), errors.Is(e.Kind, ErrPending):
		return true
	}
	return false
}

// Unwrap returns the kind, what lies behind, and the same failure as a
// *net.DNSError.
func (e *Error) Unwrap() []error {
	errs := []error{e.Kind, e.dnsError()}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

func (e *Error) dnsError() *net.DNSError {
	d := &net.DNSError{
		Err: e.Kind.Error(), Name: e.Name, Server: e.Server,
		IsNotFound: e.notFound(), IsTimeout: e.Timeout(), IsTemporary: e.Temporary(),
	}
	if d.IsNotFound {
		d.Err = "no such host" // what net.Resolver says of both
	}
	return d
}

// MarshalJSON is an object with "kind", "message" and, where they are known,
// "rcode", "server" and "hint".
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
		RCode   string `json:"rcode,omitempty"`
		Server  string `json:"server,omitempty"`
		Hint    string `json:"hint,omitempty"`
	}{e.Kind.Error(), e.Error(), e.RCode, e.Server, e.Hint})
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// reason is an error in a few words: of a network error what the system said,
// without the sockets and calls on the way.
func reason(err error) string {
	var errno syscall.Errno
	var up *upstream.Error
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &up) && up.Err != nil:
		return up.Err.Error()
	}
	return err.Error()
}

// withoutPort leaves out the port that DNS servers have anyway, of one server
// or of several with commas between.
func withoutPort(servers string) string {
	list := strings.Split(servers, ", ")
	for i, s := range list {
		if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() == dnsPort {
			list[i] = ap.Addr().String()
		}
	}
	return strings.Join(list, ", ")
}

// roundTime is a duration as people read it.
func roundTime(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", milliseconds(d))
}
