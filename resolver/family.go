package resolver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// question is one type asked for, of one name.
type question struct {
	asked string // as the user wrote the name
	name  dnswire.Name
	typ   dnswire.Type
	start time.Time
}

// family asks for one type, and goes on from reply to reply where the alias
// chain does. f has the type, the name and room for addresses, and gets the rest.
// It returns false, with f in disorder, where from is a cache alone, or one reply,
// and lacks the answer.
func (e *engine) family(ctx context.Context, from upstream.Exchanger, f *FamilyResult, q question) bool {
	f.Authenticated = e.conf.TrustAD
	err := follow(ctx, from, f, q.name, q.typ)
	if err == upstream.ErrNotCached { //nolint:errorlint // it is never wrapped, and nothing else is that common
		return false
	}
	f.Elapsed = time.Since(q.start)
	if err != nil {
		f.Authenticated = f.Authenticated && f.Server != ""
		f.Err = familyError(q.asked, f, err)
	}
	return true
}

// follow asks until there is an answer; f gathers what is learned on the way.
func follow(ctx context.Context, from upstream.Exchanger, f *FamilyResult, name dnswire.Name, typ dnswire.Type) error {
	ttl, room := Forever, f.Addrs
	f.Addrs = nil
	var asked []dnswire.Name
	for {
		reply, err := from.Exchange(ctx, upstream.Query{
			Question: dnswire.Question{Name: name, Type: typ, Class: dnswire.ClassINET},
		})
		if err != nil {
			return err
		}
		f.note(reply)
		got, err := read(reply.Msg, name, typ, MaxAliases-len(f.Chain), room)
		for _, a := range got.aliases {
			f.Chain = append(f.Chain, a.String())
		}
		failed := rcodeError(reply.RCode())
		if failed == nil {
			f.Services = got.services
			if len(got.addrs) > 0 { // otherwise it may be the room alone
				f.Addrs = got.addrs
			}
		}
		ttl = min(ttl, got.ttlDuration(f.found() || !got.absent))
		f.TTL = ttl
		switch {
		case failed != nil:
			return failed
		case f.found():
			return nil
		case err != nil:
			return malformed(err)
		case len(got.aliases) == 0 || got.absent:
			return ErrNoData
		}
		asked = append(asked, name)
		if name = got.canonical(name); slices.Contains(asked, name) {
			return ErrAliasLoop
		}
	}
}

// note takes over where a reply came from.
func (f *FamilyResult) note(r upstream.Reply) {
	first := f.Proto == ""
	f.Cached = r.Proto == protoCache && (first || f.Cached)
	if r.Proto != protoCache || first {
		f.Server, f.Proto = r.Server, r.Proto
	}
	f.Tries += r.Tries
	f.Age = max(f.Age, r.Age)
	h, err := dnswire.ParseHeader(r.Msg)
	f.Authenticated = f.Authenticated && err == nil && h.AD()
}

// malformed marks an error as the server's fault, unless it says better.
func malformed(err error) error {
	if errors.Is(err, ErrAliasLoop) {
		return err
	}
	return errors.Join(ErrServerFailure, err)
}

// rcodeReply is a response code as an error.
type rcodeReply struct {
	code dnswire.RCode
	kind error
}

func (r rcodeReply) Error() string { return r.code.String() }
func (r rcodeReply) Unwrap() error { return r.kind }

// rcodeError tells the codes apart; nil for NOERROR.
func rcodeError(c dnswire.RCode) error {
	switch c {
	case dnswire.RCodeSuccess:
		return nil
	case dnswire.RCodeNameError:
		return rcodeReply{c, ErrNoSuchName}
	case dnswire.RCodeRefused:
		return rcodeReply{c, ErrRefused}
	}
	return rcodeReply{c, ErrServerFailure}
}

// familyError puts what went wrong into the terms of this package.
func familyError(asked string, f *FamilyResult, err error) *Error {
	e := &Error{Op: opLookup, Name: asked, Type: f.Type, Server: f.Server, Tries: f.Tries, Elapsed: f.Elapsed, Err: err}
	e.Kind = kindOf(err)
	e.Hint = hintFor(e.Kind)
	var code rcodeReply
	var up *upstream.Error
	switch {
	case errors.As(err, &code):
		e.RCode = code.code.String()
	case errors.Is(err, ErrNoData):
		e.RCode, e.Err = dnswire.RCodeSuccess.String(), nil
	case errors.As(err, &up):
		e.Server, e.Tries = up.Server, up.Tries
		f.Server, f.Proto, f.Tries = up.Server, up.Proto, up.Tries
	}
	return e
}

// kindOf finds the kind of a failure.
func kindOf(err error) error {
	for _, k := range []error{ErrNoSuchName, ErrNoData, ErrRefused, ErrAliasLoop, ErrServerFailure} {
		if errors.Is(err, k) {
			return k
		}
	}
	var up *upstream.Error
	switch {
	case errors.Is(err, context.Canceled):
		return ErrCanceled
	case errors.As(err, &up) && up.Timeout, errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	case errors.Is(err, upstream.ErrAliasLoop):
		return ErrAliasLoop
	case errors.Is(err, upstream.ErrMalformed), errors.Is(err, upstream.ErrTruncated):
		return ErrServerFailure
	}
	return ErrUnreachable
}

// hintFor is what to do about a failure of this kind, or empty.
func hintFor(kind error) string {
	switch {
	case errors.Is(kind, ErrTimeout), errors.Is(kind, ErrUnreachable):
		return "is the server right, and is there a way to it?"
	case errors.Is(kind, ErrRefused):
		return "the server does not answer this client; ask another"
	case errors.Is(kind, ErrServerFailure):
		return "the server could not find out; ask another, or later"
	case errors.Is(kind, ErrAliasLoop):
		return "the zone's CNAME records are wrong"
	}
	return ""
}
