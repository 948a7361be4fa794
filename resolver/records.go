package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// LookupRecords asks for records of any type, "MX" or "TYPE65400", and returns
// the answer section as text. The search list is gone through as for addresses;
// the hosts file is not looked at. PTR of an IP address asks for its reverse
// name. The error is an [*Error]; with ErrNoData comes the Records too.
func (r *Resolver) LookupRecords(ctx context.Context, name, typ string) (*Records, error) {
	t, err := dnswire.ParseType(typ)
	if err != nil || t.IsMeta() && t != dnswire.TypeANY {
		return nil, &Error{Op: opLookup, Name: name, Type: typ, Kind: ErrBadType, Err: err}
	}
	e, err := r.prepare(time.Now())
	if err != nil {
		return nil, settingsError(name, err)
	}
	names, err := r.recordNames(e, name, t)
	if err != nil {
		return nil, badName(name, err)
	}
	var records *Records
	var failure *Error
	for _, n := range names {
		rec, fail := e.records(ctx, name, n, t)
		if fail == nil {
			return rec, nil
		}
		if failure == nil || fail.telling() > failure.telling() {
			records, failure = rec, fail
		}
		if ctx.Err() != nil || fail.telling() >= tellsEnd {
			break
		}
	}
	return records, failure
}

// recordNames are the names to ask for. Unlike a host's name, one of other
// records may hold any octet, written with a backslash.
func (r *Resolver) recordNames(e *engine, name string, t dnswire.Type) ([]dnswire.Name, error) {
	if addr, err := netip.ParseAddr(name); err == nil && t == dnswire.TypePTR {
		reverse, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
		if err != nil {
			return nil, err
		}
		name = reverse
	}
	if strings.Contains(name, `\`) {
		wire, err := dnswire.ParseName(name)
		return []dnswire.Name{wire}, err
	}
	ascii, wire, err := checkName(name)
	if err != nil {
		return nil, err
	}
	if names := r.searched(e, ascii); len(names) > 0 {
		return names, nil
	}
	return []dnswire.Name{wire}, nil
}

// records asks for one name and type.
func (e *engine) records(ctx context.Context, asked string, name dnswire.Name, t dnswire.Type) (*Records, *Error) {
	start := time.Now()
	f := FamilyResult{Type: typeName(t), Name: name.String(), Authenticated: e.conf.TrustAD}
	fail := func(err error) *Error {
		f.Elapsed = time.Since(start)
		return familyError(asked, &f, err)
	}
	reply, err := e.ask.Exchange(ctx, upstream.Query{
		Question: dnswire.Question{Name: name, Type: t, Class: dnswire.ClassINET},
	})
	if err != nil {
		return nil, fail(err)
	}
	f.note(reply)
	if err := rcodeError(reply.RCode()); err != nil {
		return nil, fail(err)
	}
	rec := &Records{
		Name: asked, Type: f.Type, Server: f.Server, Proto: f.Proto, Elapsed: time.Since(start),
		Tries: f.Tries, Cached: f.Cached, Authenticated: f.Authenticated,
	}
	found, err := rec.fill(reply.Msg, t)
	switch {
	case err != nil:
		return nil, fail(malformed(err))
	case !found:
		return rec, fail(ErrNoData)
	}
	return rec, nil
}

// fill takes the answer section over as text, and reports whether a record of
// the type asked is among it.
func (r *Records) fill(msg []byte, t dnswire.Type) (found bool, err error) {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		return false, fmt.Errorf("read reply: %w", err)
	}
	least := Forever
	for _, rr := range m.Answer {
		h := rr.Header()
		found = found || t == dnswire.TypeANY || h.Rrtype == uint16(t)
		r.RRs = append(r.RRs, Record{
			Name: h.Name, Type: dns.Type(h.Rrtype).String(), TTL: h.Ttl,
			Data: presentation(rr),
		})
		least = min(least, time.Duration(h.Ttl)*time.Second)
	}
	if len(m.Answer) > 0 {
		r.TTL = least
	}
	return found, nil
}

// presentation is a record's data as text: what follows its name, TTL, class
// and type, which the library sets apart by tabs.
func presentation(rr dns.RR) string {
	const before = 4
	parts := strings.SplitN(rr.String(), "\t", before+1)
	if len(parts) <= before {
		return ""
	}
	return parts[before]
}

// LookupAddr returns the names of an address, as net.Resolver's method does:
// those of the hosts file, or else the PTR records, with the trailing dot.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &Error{Op: opLookup, Name: addr, Type: "PTR", Kind: ErrBadName, Err: err}
	}
	now := time.Now()
	if _, err := r.prepare(now); err != nil {
		return nil, settingsError(addr, err)
	}
	if names := r.hosts(now).LookupAddr(ip.Unmap()); len(names) > 0 {
		return names, nil
	}
	rec, err := r.LookupRecords(ctx, addr, "PTR")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, rr := range rec.RRs {
		if rr.Type == "PTR" {
			names = append(names, rr.Data)
		}
	}
	return names, nil
}
