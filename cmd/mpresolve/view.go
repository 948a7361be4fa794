package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// lookupView is one look-up as it is printed: the JSON schema is this type (see
// docs/json.md), and the text output shows the same.
type lookupView struct {
	Name      string          `json:"name"`
	Port      uint16          `json:"port,omitempty"`
	Canonical string          `json:"canonical,omitempty"`
	TTL       *int64          `json:"ttl"` // seconds; null when the record does not expire
	ElapsedMS float64         `json:"elapsed_ms"`
	Addresses []addressView   `json:"addresses"`
	Hosts     []hostView      `json:"hosts"`
	Pairs     []resolver.Pair `json:"pairs,omitempty"` // with --explain
	Probe     *probeView      `json:"probe,omitempty"` // with --probe
	Dropped   []droppedView   `json:"dropped,omitempty"`
	Queries   []queryView     `json:"queries"`
	Records   []recordsView   `json:"records,omitempty"`
	Record    string          `json:"record"` // the AF_MULTIPATH octets, draft layout, in hexadecimal
	Error     string          `json:"error,omitempty"`
	Hint      string          `json:"hint,omitempty"`

	set mpaddr.Addr
}

// addressView is one address of the record, in dial order.
type addressView struct {
	Address string `json:"address"`
	Why     string `json:"why,omitempty"`
}

// hostView is one host that the name stands for, as far as is known.
type hostView struct {
	Addresses []string `json:"addresses"`
	Verdict   string   `json:"verdict"` // unknown, likely, proven
	Why       []string `json:"why,omitempty"`
}

// droppedView is an address of an answer that did not get into the record.
type droppedView struct {
	Address string `json:"address"`
	Why     string `json:"why"`
}

// queryView is what was asked for one family, of whom, and what came back.
type queryView struct {
	Type          string   `json:"type"`
	Target        string   `json:"target,omitempty"` // of the service, with --service
	Status        string   `json:"status"`           // ok, or the failure in words
	Addresses     []string `json:"addresses"`
	Services      []string `json:"services,omitempty"`
	Chain         []string `json:"chain,omitempty"`
	TTL           int64    `json:"ttl"` // seconds
	ElapsedMS     float64  `json:"elapsed_ms"`
	Protocol      string   `json:"protocol,omitempty"`
	Server        string   `json:"server,omitempty"`
	Tries         int      `json:"tries,omitempty"`
	Cached        bool     `json:"cached,omitempty"`
	Authenticated bool     `json:"authenticated,omitempty"`
}

// recordsView is the answer to one --type.
type recordsView struct {
	Type    string       `json:"type"`
	Records []recordView `json:"records"`
	Error   string       `json:"error,omitempty"`
}

// recordView is one record in presentation form (RFC 1035 section 5.1).
type recordView struct {
	Name string `json:"name"`
	TTL  uint32 `json:"ttl"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// lookupOne looks one target up. The view is filled as far as the look-up got,
// also when it failed.
func lookupOne(ctx context.Context, r *resolver.Resolver, t target, f *lookupFlags) (lookupView, error) {
	start := time.Now()
	answer, err := f.lookUp(ctx, r, &t)
	elapsed := time.Since(start)
	var probed *probeView
	if err == nil && f.probe {
		probed = probe(ctx, answer, t.port, f.broker)
	}
	view := newLookupView(t, answer, time.Now())
	view.ElapsedMS, view.Probe = milliseconds(elapsed), probed
	if answer != nil && f.explain {
		view.Pairs = answer.Pairs()
	}
	for _, typ := range f.types {
		records, recordsErr := lookupRecords(ctx, r, t.name, typ)
		view.Records = append(view.Records, records)
		switch {
		case errors.Is(recordsErr, resolver.ErrBadType):
			err = recordsErr
		case recordsErr == nil && errors.Is(err, resolver.ErrNoData):
			err = nil // the name exists and has what was asked for
		}
	}
	if err == nil {
		err = probed.failure(t)
	}
	if err != nil {
		view.Error = err.Error()
		view.Hint = hintOf(err)
	}
	return view, err
}

// lookUp asks for a name, or for a service, whose port becomes the target's unless
// that has one.
func (f *lookupFlags) lookUp(ctx context.Context, r *resolver.Resolver, t *target) (*resolver.Answer, error) {
	if !f.service {
		return r.Lookup(ctx, t.name)
	}
	answer, err := r.LookupService(ctx, t.name)
	if err == nil && t.port == 0 {
		t.port = answer.Record.At(0).Port()
		if t.port == 0 && f.probe {
			err = &exitError{code: exitUsage, err: fmt.Errorf("--probe %q: the targets of the service have different ports", t.name), hint: "name one: mpresolve --service --probe " + t.name + ":PORT"}
		}
	}
	return answer, err
}

func lookupRecords(ctx context.Context, r *resolver.Resolver, name, typ string) (recordsView, error) {
	view := recordsView{Type: typ, Records: []recordView{}}
	records, err := r.LookupRecords(ctx, name, typ)
	if err != nil {
		view.Error = err.Error()
		return view, err
	}
	for _, rr := range records.RRs {
		view.Records = append(view.Records, recordView{rr.Name, rr.TTL, rr.Type, rr.Data})
	}
	return view, nil
}

// newLookupView turns an answer into what is printed; a nil answer gives an
// empty view.
func newLookupView(t target, answer *resolver.Answer, now time.Time) lookupView {
	view := lookupView{Name: t.name, Port: t.port, Addresses: []addressView{}, Hosts: []hostView{}, Queries: []queryView{}}
	if answer == nil {
		return view
	}
	view.Canonical = answer.Canonical
	if ttl := answer.TTL(now); ttl != resolver.Forever {
		left := seconds(ttl)
		view.TTL = &left
	}
	view.set = answer.Record.WithPort(t.port)
	for i, ep := range view.set.All() {
		why := ""
		if i < len(answer.Reasons()) {
			why = answer.Reasons()[i]
		}
		view.Addresses = append(view.Addresses, addressView{endpointText(ep), why})
	}
	for _, h := range answer.Hosts() {
		view.Hosts = append(view.Hosts, hostView{addressTexts(h.Addrs.WithPort(0)), h.Verdict, h.Why})
	}
	for _, d := range answer.Dropped {
		view.Dropped = append(view.Dropped, droppedView{d.Addr.String(), d.Why})
	}
	for i, family := range answer.Families {
		q := newQueryView(family)
		if i > 0 && answer.Families[0].Type == "SRV" {
			q.Target = family.Name
		}
		view.Queries = append(view.Queries, q)
	}
	if octets, err := (mpaddr.Codec{}).Append(nil, view.set); err == nil {
		view.Record = hex.EncodeToString(octets)
	}
	return view
}

func newQueryView(f resolver.FamilyResult) queryView {
	view := queryView{
		Type: f.Type, Status: "ok", Addresses: []string{}, Chain: f.Chain,
		TTL: seconds(f.TTL), ElapsedMS: milliseconds(f.Elapsed), Protocol: f.Proto,
		Server: serverText(f.Server), Tries: f.Tries, Cached: f.Cached, Authenticated: f.Authenticated,
	}
	for _, addr := range f.Addrs {
		view.Addresses = append(view.Addresses, addr.String())
	}
	for _, service := range f.Services {
		view.Services = append(view.Services, serviceText(service))
	}
	if f.Err != nil {
		view.Status = familyFailure(f.Err)
	}
	return view
}

// serviceText is an HTTPS or SRV record in few words.
func serviceText(s resolver.Service) string {
	text := fmt.Sprintf("%d %s", s.Priority, s.Target)
	if len(s.ALPN) > 0 {
		text += " alpn=" + strings.Join(s.ALPN, ",")
	}
	if s.Weight != 0 {
		text += fmt.Sprintf(" weight=%d", s.Weight)
	}
	if s.Port != 0 {
		text += fmt.Sprintf(" port=%d", s.Port)
	}
	for _, hint := range s.Hints {
		text += " hint=" + hint.String()
	}
	return text
}

// familyFailure says in few words why a family has no address.
func familyFailure(err error) string {
	switch {
	case errors.Is(err, resolver.ErrNoSuchName):
		return "no such name (NXDOMAIN)"
	case errors.Is(err, resolver.ErrNoData):
		return "no records"
	case errors.Is(err, resolver.ErrTimeout):
		return "timed out"
	case errors.Is(err, resolver.ErrRefused):
		return "refused (REFUSED)"
	case errors.Is(err, resolver.ErrServerFailure):
		return "server failure (SERVFAIL)"
	}
	return err.Error()
}

// serverText leaves the port of DNS out.
func serverText(server string) string {
	if ap, err := netip.ParseAddrPort(server); err == nil && ap.Port() == 53 {
		return ap.Addr().String()
	}
	return server
}

// endpointText writes an address; with its port where there is one.
func endpointText(ep mpaddr.Endpoint) string {
	if ep.Port() == 0 {
		return ep.Addr().String()
	}
	return ep.AddrPort().String()
}

func addressTexts(set mpaddr.Addr) []string {
	texts := make([]string, 0, set.Len())
	for _, ep := range set.All() {
		texts = append(texts, endpointText(ep))
	}
	return texts
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func seconds(d time.Duration) int64 { return int64(max(d, 0) / time.Second) }
