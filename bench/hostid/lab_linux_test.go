package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

const (
	labNames = 80
	labPort  = 7000
	labSeed  = 20260103
	labWait  = 20 * time.Second // for one name
	labFile  = "../../testdata/hosts/lab.csv"
)

var update = flag.Bool("update", false, "write testdata/hosts/lab.csv anew")

// labHosts are the hosts of the lab, by number: single boxes with and without a
// pattern, one with links to two networks, a pool in one prefix, another spread
// over several.
func labHosts() [][]netip.Addr {
	var all [][]netip.Addr
	for _, addrs := range []string{
		"192.0.2.17 2001:db8:11::ab",
		"198.51.100.40 2001:db8:21::198:51:100:40",
		"198.18.7.9 2001:db8:23::9",
		"198.18.1.5 198.18.2.5 2001:db8:31::5 2001:db8:32::5",
		"198.18.3.77 198.18.4.12 2001:db8:33::c3",
		"198.18.5.11 2001:db8:41::11", "198.18.5.12 2001:db8:41::12", "198.18.5.13 2001:db8:41::13", "198.18.5.14 2001:db8:41::14",
		"198.19.1.80 2001:db8:51::a1", "198.19.2.81 2001:db8:52::b7", "198.19.3.82 2001:db8:53::d4",
	} {
		var host []netip.Addr
		for a := range strings.FieldsSeq(addrs) {
			host = append(host, netip.MustParseAddr(a))
		}
		all = append(all, host)
	}
	return all
}

// labName is a name of the lab: which hosts it has, and how it is written.
type labName struct {
	name, kind string
	hosts      []int
	balanced   bool // each question is answered with the alias of one host, A of the first, AAAA of the last
	ttl        int
}

// drawNames draws the names, the same ones each time.
func drawNames() []labName {
	r := rand.New(rand.NewPCG(labSeed, 1))
	one := func(from []int) []int { return []int{from[r.IntN(len(from))]} }
	some := func(from []int) []int {
		chosen := slices.Clone(from)
		r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		return chosen[:2+r.IntN(len(chosen)-1)]
	}
	kinds := []struct {
		kind string
		draw func() []int
	}{
		{"lab-single", func() []int { return one([]int{0, 1, 2, 9, 10, 11}) }},
		{"lab-multihomed", func() []int { return one([]int{3, 4}) }},
		{"lab-pool", func() []int { return some([]int{5, 6, 7, 8}) }},
		{"lab-sites", func() []int { return some([]int{9, 10, 11}) }},
		{"lab-two", func() []int { return some([]int{0, 1, 2, 3})[:2] }},
		{"lab-balanced", func() []int { return some([]int{0, 1, 9, 10, 11})[:2] }},
	}
	var all []labName
	for i := range labNames {
		k := kinds[i%len(kinds)]
		all = append(all, labName{
			name: fmt.Sprintf("www%d.lab.example.", i), kind: k.kind, hosts: k.draw(),
			balanced: k.kind == "lab-balanced", ttl: []int{60, 300, 3600}[r.IntN(3)],
		})
	}
	return all
}

// records are the addresses of some hosts as records of an owner.
func (n labName) records(owner string, addrs ...netip.Addr) (all []string) {
	for _, a := range addrs {
		typ := map[bool]string{true: "A", false: "AAAA"}[a.Is4()]
		all = append(all, fmt.Sprintf("%s %d IN %s %s", owner, n.ttl, typ, a))
	}
	return all
}

// answering is the script of the name's server.
func (n labName) answering(hosts [][]netip.Addr) dnstest.Script {
	if n.balanced {
		return n.balancer(hosts)
	}
	var records []string
	for _, h := range n.hosts {
		records = append(records, n.records(n.name, hosts[h]...)...)
	}
	return dnstest.Zone(records...)
}

// balancer leads each question to another host.
func (n labName) balancer(hosts [][]netip.Addr) dnstest.Script {
	return func(q dnstest.Query) dnstest.Action {
		h := n.hosts[0]
		if q.Type == "AAAA" {
			h = n.hosts[1]
		}
		target := fmt.Sprintf("h%d.lab.example.", h)
		a := dnstest.Action{Answer: []string{fmt.Sprintf("%s %d IN CNAME %s", n.name, n.ttl, target)}}
		for _, rr := range n.records(target, hosts[h]...) {
			if strings.Fields(rr)[3] == q.Type {
				a.Answer = append(a.Answer, rr)
			}
		}
		return a
	}
}

// TestLabMakesThem builds the hosts, serves the names, looks each up, joins its addresses
// until every host is known, and wants lab.csv of that. With -update it writes it.
// The joins must say what the hosts are.
func TestLabMakesThem(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		hosts := labHosts()
		buildLab(t, hosts)
		names := drawNames()
		scripts := map[string]dnstest.Script{}
		for _, n := range names {
			scripts[n.name] = n.answering(hosts)
		}
		server := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
			return scripts[strings.ToLower(q.Name)](q)
		})
		r := &resolver.Resolver{Servers: []string{server.Addr()}, NoHosts: true, NoSearch: true, WaitAll: true}
		defer r.Close()
		var out bytes.Buffer
		fmt.Fprintln(&out, "name,kind,address,canonical,ttl,host")
		for _, n := range names {
			n.measure(t, &out, r, hosts)
		}
		if *update && !t.Failed() {
			if err := os.WriteFile(labFile, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(labFile); err != nil || !bytes.Equal(want, out.Bytes()) {
			t.Errorf("%s is not what the lab makes (%v); go test ./bench/hostid -run TestLabMakesThem -update writes it:\n%s", labFile, err, &out)
		}
	})
}

// buildLab makes the hosts, each with a server that says nothing.
func buildLab(t *testing.T, hosts [][]netip.Addr) {
	t.Helper()
	prefix := func(a netip.Addr) netip.Prefix {
		return netip.PrefixFrom(a, map[bool]int{true: 24, false: 64}[a.Is4()])
	}
	lab := labtest.New(t, testlab.Options{})
	client := testlab.LinkSpec{Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("2001:db8:1::2/64")}}
	if _, err := lab.AddClientLink(client); err != nil {
		t.Fatal(err)
	}
	if err := mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
		t.Fatal(err)
	}
	for i, addrs := range hosts {
		var spec testlab.LinkSpec
		for _, a := range addrs {
			spec.Addrs = append(spec.Addrs, prefix(a))
		}
		h, err := lab.AddHost(fmt.Sprintf("h%d", i), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 8, AddAddrAccepted: 8}) }); err != nil {
			t.Fatal(err)
		}
		ln, err := h.Listen("tcp", fmt.Sprintf(":%d", labPort))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go echo(ln)
	}
}

// echo returns what comes, until ln is closed.
func echo(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c) // the client sees what fails
			_ = c.Close()
		}()
	}
}

// measure writes the lines of one name.
func (n labName) measure(t *testing.T, w io.Writer, r *resolver.Resolver, hosts [][]netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labWait)
	defer cancel()
	a, err := r.Lookup(ctx, n.name)
	if err != nil {
		t.Fatal(err)
	}
	proven := prove(ctx, t, a.Record.WithPort(labPort))
	for _, f := range a.Families {
		slices.SortFunc(f.Addrs, netip.Addr.Compare)
		for _, addr := range f.Addrs {
			fmt.Fprintf(w, "%s,%s,%s,%s,%d,%d\n", n.name, n.kind, addr, f.Canonical(), f.TTL/time.Second, proven[addr])
		}
	}
	for x, first := range proven {
		for y, second := range proven {
			if (first == second) != (owner(hosts, x) == owner(hosts, y)) {
				t.Errorf("%s: by the joins %v and %v are hosts %d and %d, in the lab %d and %d", n.name, x, y, first, second, owner(hosts, x), owner(hosts, y))
			}
		}
	}
}

func owner(hosts [][]netip.Addr, a netip.Addr) int {
	return slices.IndexFunc(hosts, func(h []netip.Addr) bool { return slices.Contains(h, a) })
}

// prove numbers the hosts of a record by what joins show: it connects, and again to
// what is another host's, until nothing is left. The number is that of the host's
// place in the order of its least address.
func prove(ctx context.Context, t *testing.T, set mpaddr.Addr) map[netip.Addr]int {
	t.Helper()
	var groups [][]netip.Addr
	for rest := set; !rest.IsEmpty(); {
		d := dialer.Dialer{Probe: true, Broker: dialer.BrokerOff, Fallback: dialer.FallbackError}
		c, err := d.Connect(ctx, rest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitJoins(ctx); err != nil {
			t.Fatal(err)
		}
		own := []netip.Addr{c.RemoteAddrs().At(0).Addr().Unmap()}
		for _, j := range c.Report().Joins {
			switch j.Verdict {
			case dialer.Joined:
				own = append(own, j.Remote.Addr())
			case dialer.OtherHost:
			default:
				t.Errorf("%v beside %v: %q, %v", j.Remote, own[0], j.Verdict, j.Err)
			}
		}
		_ = c.Close()
		slices.SortFunc(own, netip.Addr.Compare)
		groups = append(groups, own)
		rest = rest.Filter(func(e mpaddr.Endpoint) bool { return !slices.Contains(own, e.Addr()) })
	}
	slices.SortFunc(groups, func(a, b []netip.Addr) int { return a[0].Compare(b[0]) })
	proven := map[netip.Addr]int{}
	for i, g := range groups {
		for _, a := range g {
			proven[a] = i
		}
	}
	return proven
}
