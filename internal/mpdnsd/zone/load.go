package zone

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Bounds of what one zone file may ask for.
const (
	maxRecords  = 1_000_000
	maxRRset    = 5000 // records of one name and type: more than a DNS message holds
	maxIncludes = 256  // files included, counted with repetitions; miekg/dns bounds the depth at 7
	maxErrors   = 20   // reported for one zone; a wrong file has few causes
)

// Load reads a zone file. origin is the zone's name in presentation form, or
// empty: then it is the owner of the file's SOA record, and names in the file
// are relative to the file's own name without ".zone" until an $ORIGIN.
//
// $INCLUDE reads regular files in the zone file's own folder and below; what
// leads out of it, by ".." or by a symbolic link, is refused. Errors begin
// with FILE:LINE; all that can be found in one pass are joined.
func Load(file, origin string) (*Zone, error) {
	folder, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("zone file %s: %w", file, plain(err))
	}
	defer func() { _ = folder.Close() }() // read only: nothing is lost
	return load(folder.FS(), filepath.Base(file), filepath.Dir(file), origin)
}

// LoadFS is Load for a file of fsys, which also bounds what it includes.
func LoadFS(fsys fs.FS, file, origin string) (*Zone, error) {
	return load(fsys, file, "", origin)
}

// load reads file from fsys; dir is what error messages put before names.
func load(fsys fs.FS, file, dir, origin string) (*Zone, error) {
	top := strings.TrimSuffix(path.Base(file), ".zone")
	if origin != "" {
		top = origin
	}
	if _, err := dnswire.ParseName(dns.Fqdn(top)); err != nil {
		return nil, fmt.Errorf("zone file %s: origin: %w", filepath.Join(dir, file), err)
	}
	src := &source{fsys: fsys, dir: dir}
	defer src.close()
	r, err := src.Open(file)
	if err != nil {
		return nil, fmt.Errorf("zone file %s: %w", filepath.Join(dir, file), plain(err))
	}
	b := &builder{nodes: make(map[dnswire.Name]node), seen: make(map[string][]dns.RR)}
	if origin != "" {
		b.origin, _ = dnswire.ParseName(dns.Fqdn(origin)) // parsed above
	}
	b.read(dns.NewZoneParser(r, dns.Fqdn(top), file), src)
	return b.finish(filepath.Join(dir, file))
}

// builder collects a zone's records and what is wrong with them.
type builder struct {
	origin dnswire.Name // empty until the SOA is seen, unless it was given
	nodes  map[dnswire.Name]node
	placed []placed
	seen   map[string][]dns.RR // by owner, type and rdata in lower case
	errs   []error
}

// placed is a record with where it was read, which the checks that need the
// whole zone report.
type placed struct {
	rr    dns.RR
	owner dnswire.Name
	at    position
}

// read takes every record from the parser.
func (b *builder) read(zp *dns.ZoneParser, src *source) {
	zp.SetIncludeAllowed(true)
	zp.SetIncludeFS(src)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		at := src.position()
		if len(b.placed) >= maxRecords {
			b.fail(at, "more than %d records", maxRecords)
			return
		}
		b.take(rr, at)
	}
	if err := zp.Err(); err != nil {
		b.errs = append(b.errs, src.parseError(err))
	}
}

// take checks what can be told of one record by itself.
func (b *builder) take(rr dns.RR, at position) {
	h := rr.Header()
	owner, err := dnswire.ParseName(h.Name)
	if err != nil {
		b.fail(at, "%v", err)
		return
	}
	h.Name = owner.String() // as questions are written, so that the message compresses
	switch {
	case h.Class != dns.ClassINET:
		b.fail(at, "%s: class %s in a zone of class IN", h.Name, dns.Class(h.Class))
		return
	case dnswire.Type(h.Rrtype).IsMeta():
		b.fail(at, "%s: %s is no type of data", h.Name, dns.Type(h.Rrtype))
		return
	case h.Rrtype == dns.TypeSOA && b.origin == "":
		b.origin = owner
	}
	b.placed = append(b.placed, placed{rr, owner, at})
}

// finish puts the records where they belong and checks the zone as a whole.
func (b *builder) finish(file string) (*Zone, error) {
	if b.origin == "" && len(b.errs) == 0 {
		b.errs = append(b.errs, fmt.Errorf("%s: no SOA record", file))
	}
	if b.origin == "" {
		return nil, errors.Join(b.errs...)
	}
	for _, p := range b.placed {
		b.put(p)
	}
	apex := b.nodes[b.origin]
	soa := apex[dnswire.TypeSOA]
	if soa == nil && len(b.errs) == 0 {
		b.errs = append(b.errs, fmt.Errorf("%s: no SOA record at %v", file, b.origin))
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return &Zone{
		origin:   b.origin,
		nodes:    b.nodes,
		negative: []dns.RR{negativeSOA(soa[0].(*dns.SOA))},
		records:  len(b.placed),
	}, nil
}

// negativeSOA is the SOA with the TTL of negative answers: the smaller of its
// own and its MINIMUM field (RFC 2308 section 3).
func negativeSOA(soa *dns.SOA) dns.RR {
	c := *soa
	c.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	return &c
}

// put adds a record to its node, and the empty non-terminals above it.
func (b *builder) put(p placed) {
	if !p.owner.IsSubdomainOf(b.origin) {
		b.fail(p.at, "%v is not in the zone %v", p.owner, b.origin)
		return
	}
	t := dnswire.Type(p.rr.Header().Rrtype)
	n := b.nodes[p.owner]
	if n == nil {
		n = make(node)
	}
	if why := n.refuse(p, t, b.origin); why != "" {
		b.fail(p.at, "%v: %s", p.owner, why)
		return
	}
	b.nodes[p.owner] = n
	if !b.repeated(p.rr) {
		n.add(p.rr, t)
	}
	for above := range ancestors(p.owner) {
		if _, ok := b.nodes[above]; !ok {
			b.nodes[above] = make(node)
		}
		if above == b.origin {
			return
		}
	}
}

// refuse says why a record cannot stand beside those of the node, or "".
func (n node) refuse(p placed, t dnswire.Type, origin dnswire.Name) string {
	switch {
	case t == dnswire.TypeSOA && p.owner != origin:
		return "a SOA record below the zone's origin " + origin.String()
	case t == dnswire.TypeSOA && n[t] != nil:
		return "a second SOA record"
	case t == dnswire.TypeCNAME && n[t] != nil, t == dnswire.TypeDNAME && n[t] != nil:
		return "a second " + t.String() + " record"
	case t == dnswire.TypeCNAME && len(n) > 0, t != dnswire.TypeCNAME && n[dnswire.TypeCNAME] != nil:
		return "CNAME beside other data (RFC 1034 section 3.6.2)"
	case len(n[t]) >= maxRRset:
		return fmt.Sprintf("more than %d %v records", maxRRset, t)
	}
	return ""
}

// repeated reports whether the same record was put before; an RRset holds
// each once (RFC 2181 section 5).
func (b *builder) repeated(rr dns.RR) bool {
	text := rr.String()
	key := text[:len(rr.Header().Name)] + strings.ToLower(text[len(rr.Header().String()):])
	for _, have := range b.seen[key] {
		if dns.IsDuplicate(have, rr) {
			return true
		}
	}
	b.seen[key] = append(b.seen[key], rr)
	return false
}

// add puts a record into its RRset, all of one TTL: the smallest (RFC 2181
// section 5.2).
func (n node) add(rr dns.RR, t dnswire.Type) {
	n[t] = append(n[t], rr)
	ttl := min(n[t][0].Header().Ttl, rr.Header().Ttl)
	if n[t][0].Header().Ttl == ttl {
		rr.Header().Ttl = ttl
		return
	}
	for _, have := range n[t] {
		have.Header().Ttl = ttl
	}
}

// fail notes an error at a place of the file.
func (b *builder) fail(at position, format string, args ...any) {
	if len(b.errs) < maxErrors {
		b.errs = append(b.errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
}

// position is a line of a file.
type position struct {
	file string
	line int
}

// String returns FILE:LINE.
func (p position) String() string { return p.file + ":" + strconv.Itoa(p.line) }
