package upstream_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestNoRebinding(t *testing.T) {
	lan, err := dnswire.ParseName("lan.example")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name string
		data []string
		left int
	}{
		"public":       {"www.example", []string{"A 192.0.2.1", "A 198.51.100.1"}, 2},
		"one private":  {"www.example", []string{"A 192.168.0.1", "A 198.51.100.1"}, 1},
		"rfc 1918":     {"www.example", []string{"A 10.0.0.1", "A 172.16.0.1", "A 192.168.255.255"}, 0},
		"local":        {"www.example", []string{"A 127.0.0.1", "A 169.254.169.254", "A 0.0.0.0", "A 100.64.0.1"}, 0},
		"ipv6":         {"www.example", []string{"AAAA ::1", "AAAA fe80::1", "AAAA fd00::1", "AAAA ::", "AAAA 2001:db8::1"}, 1},
		"mapped":       {"www.example", []string{"AAAA ::ffff:10.0.0.1", "AAAA 64:ff9b::127.0.0.1"}, 0},
		"the edges":    {"www.example", []string{"A 9.255.255.255", "A 172.32.0.0", "A 100.128.0.0", "A 1.0.0.0"}, 4},
		"an exception": {"nas.lan.example", []string{"A 192.168.0.1"}, 1},
		"not below it": {"xlan.example", []string{"A 192.168.0.1"}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var a dnstest.Action
			for _, d := range tc.data {
				a.Answer = append(a.Answer, "@ 60 IN "+d)
			}
			typ := dnswire.TypeA
			if tc.data[0][:4] == "AAAA" {
				typ = dnswire.TypeAAAA
			}
			n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(a)})
			x := upstream.NoRebinding(newServer(serverAddr, upstream.Options{Dial: n.Dial}), []dnswire.Name{lan})
			r, err := x.Exchange(context.Background(), question(t, tc.name, typ))
			if err != nil {
				t.Fatal(err)
			}
			if got := answers(t, r); got != tc.left {
				t.Errorf("%d addresses left, want %d", got, tc.left)
			}
			if got := filtered(t, r.Msg); got != (tc.left == 0) {
				t.Errorf("filtered: %v", got)
			}
		})
	}
}

// TestNoRebindingOfRecordsWithAddresses: the addresses within records of other
// types are those of A and AAAA by another way.
func TestNoRebindingOfRecordsWithAddresses(t *testing.T) {
	multipath := func(layout mpaddr.Layout, addrs ...string) string {
		t.Helper()
		var all []netip.Addr
		for _, a := range addrs {
			all = append(all, netip.MustParseAddr(a))
		}
		b, err := mpaddr.Codec{Layout: layout}.Append(nil, mpaddr.FromAddrs(0, all...))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`TYPE65400 \# %d %x`, len(b), b)
	}
	draft := func(addrs ...string) string { return multipath(mpaddr.LayoutDraft, addrs...) }
	tests := map[string]struct {
		name, data, left string // left: "" is no record
	}{
		"public hints":     {"www.example", `HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1`, `HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1`},
		"one hint of two":  {"www.example", `HTTPS 1 . alpn=h2 port=8443 ipv4hint=10.0.0.1,192.0.2.1`, `HTTPS 1 . alpn=h2 port=8443 ipv4hint=192.0.2.1`},
		"all IPv4 hints":   {"www.example", `HTTPS 1 h.example. alpn=h2 ipv4hint=10.0.0.1 ipv6hint=2001:db8::1`, `HTTPS 1 h.example. alpn=h2 ipv6hint=2001:db8::1`},
		"all IPv6 hints":   {"www.example", `SVCB 1 h.example. port=53 ipv6hint=fd00::1,64:ff9b::7f00:1`, `SVCB 1 h.example. port=53`},
		"a mandatory hint": {"www.example", `HTTPS 1 . mandatory=ipv4hint ipv4hint=10.0.0.1`, ``},
		"mandatory others": {"www.example", `HTTPS 1 . mandatory=port port=8443 ipv4hint=10.0.0.1`, `HTTPS 1 . mandatory=port port=8443`},
		"mandatory, half":  {"www.example", `HTTPS 1 . mandatory=ipv4hint ipv4hint=10.0.0.1,192.0.2.1`, `HTTPS 1 . mandatory=ipv4hint ipv4hint=192.0.2.1`},
		"an alias":         {"www.example", `HTTPS 0 pool.example.`, `HTTPS 0 pool.example.`},
		"exempt hints":     {"nas.lan.example", `HTTPS 1 . ipv4hint=10.0.0.1`, `HTTPS 1 . ipv4hint=10.0.0.1`},

		"multipath":          {"www.example", draft("192.0.2.1", "2001:db8::1"), draft("192.0.2.1", "2001:db8::1")},
		"multipath, one":     {"www.example", draft("192.0.2.1", "10.0.0.1", "fd00::1"), draft("192.0.2.1")},
		"multipath, all":     {"www.example", draft("::ffff:10.0.0.1", "fd00::1"), ``},
		"multipath, wide":    {"www.example", multipath(mpaddr.LayoutWide, "192.0.2.1", "10.0.0.1"), multipath(mpaddr.LayoutWide, "192.0.2.1")},
		"multipath, linux":   {"www.example", multipath(mpaddr.LayoutLinux, "127.0.0.1"), ``},
		"multipath, exempt":  {"nas.lan.example", draft("10.0.0.1"), draft("10.0.0.1")},
		"multipath, own":     {"www.example", strings.Replace(draft("10.0.0.1"), "TYPE65400", "TYPE65281", 1), ``},
		"other private data": {"www.example", `TYPE65281 \# 4 0a000001`, `TYPE65281 \# 4 0a000001`},
	}
	lan := question(t, "lan.example", dnswire.TypeA).Name
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			word, _, _ := strings.Cut(tc.data, " ")
			typ, err := dnswire.ParseType(word)
			if err != nil {
				t.Fatal(err)
			}
			n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN " + tc.data}})})
			x := upstream.NoRebinding(newServer(serverAddr, upstream.Options{Dial: n.Dial}), []dnswire.Name{lan})
			r, err := x.Exchange(context.Background(), question(t, tc.name, typ))
			if err != nil {
				t.Fatal(err)
			}
			if err := dnswire.Validate(r.Msg); err != nil {
				t.Fatal(err)
			}
			if got, want := answerTexts(t, r.Msg), recordTexts(t, tc.name, tc.left); !slices.Equal(got, want) {
				t.Errorf("left %q, want %q", got, want)
			}
			if got := filtered(t, r.Msg); got != (tc.left == "") {
				t.Errorf("filtered: %v", got)
			}
		})
	}
}

// rawServices are HTTPS records as octets, which have no presentation form, or
// a private address in the form that miekg/dns refuses.
var rawServices = map[string]struct {
	data, left string // left: "" is no record
}{
	"mapped":               {"\x00\x01\x00\x00\x06\x00\x10" + mapped, "\x00\x01\x00"},
	"half a hint":          {"\x00\x01\x00\x00\x04\x00\x02\x0a\x00", ""},
	"a hint and a half":    {"\x00\x01\x00\x00\x04\x00\x06\xc0\x00\x02\x01\x0a\x00", ""},
	"hint beyond the end":  {"\x00\x01\x00\x00\x04\x00\x08\x0a\x00\x00\x01", ""},
	"half a parameter":     {"\x00\x01\x00\x00\x04\x00", ""},
	"no name":              {"\x00\x01", ""},
	"name beyond the end":  {"\x00\x01\x05abc", ""},
	"name without an end":  {"\x00\x01\x03abc", ""},
	"a pointer as name":    {"\x00\x01\xc0\x0c", ""},
	"an empty hint":        {"\x00\x01\x00\x00\x04\x00\x00", "\x00\x01\x00\x00\x04\x00\x00"},
	"a half mandatory key": {"\x00\x01\x00\x00\x00\x00\x01\x00", "\x00\x01\x00\x00\x00\x00\x01\x00"},
}

const mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01" // ::ffff:10.0.0.1

func TestNoRebindingOfRawServices(t *testing.T) {
	for name, tc := range rawServices {
		t.Run(name, func(t *testing.T) {
			msg := withoutRebinding(t, dnswire.TypeHTTPS, tc.data)
			left := "none"
			p := dnswire.NewParser(msg)
			if rr, ok := p.Next(); ok && rr.Section == dnswire.SectionAnswer {
				left = string(rr.Data(msg))
			}
			want := tc.left
			if want == "" {
				want = "none"
			}
			if left != want {
				t.Errorf("left %x, want %x", left, want)
			}
		})
	}
}

// withoutRebinding is what NoRebinding makes of a reply with one record.
func withoutRebinding(t *testing.T, typ dnswire.Type, data string) []byte {
	t.Helper()
	next := upstream.ExchangerFunc(func(_ context.Context, q upstream.Query) (upstream.Reply, error) {
		msg := dnswire.AppendQuery(nil, 1, q.Question, dnswire.QueryOptions{})
		dnswire.PatchFlags(msg, 0, dnswire.FlagQR)
		return upstream.Reply{Msg: dnswire.AddRR(msg, dnswire.SectionAnswer, nil, typ, q.Class, 60, []byte(data))}, nil
	})
	r, err := upstream.NoRebinding(next, nil).Exchange(context.Background(), question(t, "www.example", typ))
	if err != nil {
		t.Fatal(err)
	}
	return r.Msg
}

// FuzzNoRebinding: whatever the rdata, what is left is a message that can be
// kept, and has nothing more to take out.
func FuzzNoRebinding(f *testing.F) {
	for _, s := range rawServices {
		f.Add(uint16(dnswire.TypeHTTPS), []byte(s.data))
	}
	f.Add(uint16(dnswire.TypeA), []byte{10, 0, 0, 1})
	f.Add(uint16(dnswire.TypeMultipath), []byte("\x23\x27\x02\x10\x02\x00\x00\xc0\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x10\x02\x00\x00\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		if len(data) > 1<<15 || !fits(dnswire.Type(typ), len(data)) {
			return
		}
		once := withoutRebinding(t, dnswire.Type(typ), string(data))
		p := dnswire.NewParser(once)
		rr, ok := p.Next()
		for more := ok; more; _, more = p.Next() {
		}
		if err := p.Err(); err != nil {
			t.Fatalf("%x: %v", once, err)
		}
		if !ok || rr.Section != dnswire.SectionAnswer {
			return
		}
		if twice := withoutRebinding(t, dnswire.Type(typ), string(rr.Data(once))); !bytes.Equal(once, twice) {
			t.Errorf("once %x, twice %x", once, twice)
		}
	})
}

// fits reports whether rdata of n octets passes dnswire.Validate, for the types
// that are added with their names written out.
func fits(t dnswire.Type, n int) bool {
	switch t {
	case dnswire.TypeA:
		return n == 4
	case dnswire.TypeAAAA:
		return n == 16
	}
	return t == dnswire.TypeHTTPS || t == dnswire.TypeSVCB || t >= 65280
}

// answerTexts is the answer section in presentation form.
func answerTexts(t *testing.T, msg []byte) (all []string) {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	for _, rr := range m.Answer {
		all = append(all, rr.String())
	}
	return all
}

// recordTexts is one record as answerTexts has it; none where data is empty.
func recordTexts(t *testing.T, name, data string) []string {
	t.Helper()
	if data == "" {
		return nil
	}
	rr, err := dns.NewRR(name + ". 60 IN " + data)
	if err != nil {
		t.Fatal(err)
	}
	return []string{rr.String()}
}

// filtered reports whether msg has the extended error Filtered.
func filtered(t *testing.T, msg []byte) bool {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	for _, o := range m.IsEdns0().Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && e.InfoCode == dns.ExtendedErrorCodeFiltered {
			return true
		}
	}
	return false
}
