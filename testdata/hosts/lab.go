package hosts

import (
	_ "embed" // the list is part of the corpus
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

//go:embed lab.csv
var labList string

// Lab returns the part of the corpus that was made in the lab (lab.csv): names of
// real hosts in network namespaces, looked up with the resolver, their addresses
// joined until each host was known. A test of bench/hostid makes it again.
func Lab() []Case {
	cases, err := ReadLab(strings.NewReader(labList))
	if err != nil {
		panic(err) // the tests of bench/hostid read it
	}
	return cases
}

// ReadLab reads lines "name,kind,address,canonical,ttl,host": what was answered for
// a name, the TTL in seconds, and the number of the host as joins have shown it.
// The lines of one name stand together. The first line is a heading.
func ReadLab(r io.Reader) ([]Case, error) {
	records := csv.NewReader(r)
	records.FieldsPerRecord = 6
	if _, err := records.Read(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	var out []Case
	for {
		fields, err := records.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		addr, err := netip.ParseAddr(fields[2])
		ttl, terr := strconv.Atoi(fields[4])
		host, herr := strconv.Atoi(fields[5])
		if err := errors.Join(err, terr, herr); err != nil {
			line, _ := records.FieldPos(0)
			return nil, fmt.Errorf("lab, line %d: %w", line, err)
		}
		if n := len(out); n == 0 || out[n-1].Observation.Name != fields[0] {
			out = append(out, Case{fields[1], hostid.Observation{Name: fields[0], Server: "lab"}, map[netip.Addr]int{}})
		}
		c := &out[len(out)-1]
		c.Observation.Addrs = append(c.Observation.Addrs, hostid.Address{Addr: addr, Canonical: fields[3], TTL: time.Duration(ttl) * time.Second})
		c.Host[addr] = host
	}
}
