package resolver

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

// Bounds of [Resolver.LookupService].
const (
	// MaxTargets is how many targets of one service are looked up. Those beyond
	// are shown, and have no addresses.
	MaxTargets = 16
	// targetsParallel is how many of them are at once.
	targetsParallel = 4
)

// typeSRV is the type of a result that holds SRV records.
const typeSRV = "SRV"

// LookupService looks up a service, "_sip._tcp.example.net" (RFC 2782): its SRV
// records, then A and AAAA of each target, merged into one record. The addresses of
// one target stand together as evidence of one host in Answer.Hosts and
// Answer.Pairs, those of different targets as evidence of several. The record is in
// the order of [Resolver.Lookup], whatever the priorities: who connects to the
// service chooses among Families[0].Services first. Its port is that of the targets,
// 0 where they have different ones.
//
// Answer.Families has the SRV records first, then the families of each target in
// the order of the records, with the target's name. The error is an [*Error], as of
// Lookup; ErrNoData too where the only target is the root: there is no such service.
func (r *Resolver) LookupService(ctx context.Context, name string) (*Answer, error) {
	start := time.Now()
	family := r.askService(ctx, name)
	targets := r.targets(ctx, family.Services)
	families, port := []FamilyResult{family}, commonPort(family.Services)
	var groups []hostid.Service
	for _, t := range targets {
		families = append(families, t.Families...)
		groups = append(groups, hostid.Service{Target: t.Name, Addrs: t.addrs()})
	}
	a := r.merge(ctx, name, port, families, MergeOptions{})
	a.Canonical, a.judging.targets = family.Name, groups
	if expires := a.judging.now.Add(family.TTL); !a.Expires.IsZero() && family.Err == nil && expires.Before(a.Expires) {
		a.Expires = expires
	}
	if err := a.failure(); err != nil {
		err.Elapsed = time.Since(start)
		return a, err
	}
	if r.Reverse {
		r.reverse(ctx, a)
	}
	return a, nil
}

// askService asks for the SRV records.
func (r *Resolver) askService(ctx context.Context, name string) FamilyResult {
	f := FamilyResult{Type: typeSRV, Name: name}
	records, err := r.LookupRecords(ctx, name, typeSRV)
	if records != nil {
		f.TTL, f.Server, f.Proto, f.Elapsed = records.TTL, records.Server, records.Proto, records.Elapsed
		f.Tries, f.Cached, f.Authenticated = records.Tries, records.Cached, records.Authenticated
		f.read(records.RRs)
	}
	if err == nil && len(f.Services) == 0 {
		err = &Error{Op: opLookup, Name: name, Type: typeSRV, Kind: ErrNoData, Server: f.Server, Hint: "the domain says that it has no such service (SRV with the target .)"}
	}
	f.Err = err
	return f
}

// read takes the SRV records of an answer section, by priority, those of one by
// falling weight. A root target is none (RFC 2782).
func (f *FamilyResult) read(records []Record) {
	for _, rr := range records {
		if s, ok := parseSRV(rr.Data); ok && rr.Type == typeSRV && s.Target != "." {
			f.Services, f.Name = append(f.Services, s), rr.Name
		}
	}
	slices.SortStableFunc(f.Services, func(a, b Service) int {
		if a.Priority != b.Priority {
			return int(a.Priority) - int(b.Priority)
		}
		return int(b.Weight) - int(a.Weight)
	})
}

// parseSRV reads an SRV record's presentation form: priority, weight, port, target.
func parseSRV(data string) (s Service, ok bool) {
	fields := strings.Fields(data)
	if len(fields) != 4 {
		return s, false
	}
	for i, to := range []*uint16{&s.Priority, &s.Weight, &s.Port} {
		n, err := strconv.ParseUint(fields[i], 10, 16)
		if err != nil {
			return s, false
		}
		*to = uint16(n)
	}
	s.Target = fields[3]
	return s, true
}

// targets looks up A and AAAA of each target, in the order of the records. One that
// fails has the failure in its families, or, where it cannot be asked for, no
// families.
func (r *Resolver) targets(ctx context.Context, services []Service) []*Answer {
	var names []string
	for _, s := range services {
		same := func(n string) bool { return strings.EqualFold(n, s.Target) }
		if !slices.ContainsFunc(names, same) && len(names) < MaxTargets {
			names = append(names, s.Target)
		}
	}
	answers := make([]*Answer, len(names))
	var asking sync.WaitGroup
	places := make(chan int)
	for range min(len(names), targetsParallel) {
		asking.Go(func() {
			for i := range places {
				answers[i] = r.target(ctx, names[i])
			}
		})
	}
	for i := range names {
		places <- i
	}
	close(places)
	asking.Wait()
	return answers
}

// target looks one target up.
func (r *Resolver) target(ctx context.Context, name string) *Answer {
	a, err := r.lookup(ctx, name, []dnswire.Type{dnswire.TypeAAAA, dnswire.TypeA})
	if a == nil {
		a = &Answer{Name: name, Families: []FamilyResult{{Type: "AAAA", Name: name, Err: err}, {Type: "A", Name: name, Err: err}}}
	}
	a.Name = name
	for i := range a.Families {
		a.Families[i].Name = name
	}
	return a
}

// commonPort is the port of all records; 0 if they have several.
func commonPort(services []Service) uint16 {
	var port uint16
	for i, s := range services {
		if i > 0 && s.Port != port {
			return 0
		}
		port = s.Port
	}
	return port
}

// canonicalIn is the canonical name as evidence. Targets are different names by
// intent, so that of a target counts only where its families disagree.
func (j *judging) canonicalIn(f *FamilyResult) string {
	if j.targets == nil {
		return f.Canonical()
	}
	for i := range j.families {
		o := &j.families[i]
		if o.Name == f.Name && len(o.Addrs) > 0 && o.Canonical() != f.Canonical() {
			return f.Canonical()
		}
	}
	return ""
}
