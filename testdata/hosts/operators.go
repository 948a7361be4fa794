package hosts

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// operator is an organisation with habits.
type operator struct {
	domain string
	four   [2]byte // its IPv4 /16
	six    [4]byte // its IPv6 /32
	ttl    time.Duration
	plan   [6]float64 // how likely each way to number IPv6 is, cumulative

	named    float64 // a host has a reverse name of its own
	both     float64 // then both families have it
	marked   float64 // with a mark of the family
	service  float64 // all hosts of a pool have the service's name instead
	numbered bool    // hosts are web1, web2 rather than words
	ordered  float64 // pools are numbered in sequence
	joint    bool    // rotation takes whole hosts, not addresses
	hints    float64 // there is an HTTPS record with hints
}

func (w *world) operator(i int) *operator {
	ttls := []int{30, 60, 120, 300, 300, 600, 3600, 3600, 7200, 14400, 86400}
	o := &operator{
		domain: fmt.Sprintf("op%d.example", i),
		four:   [2]byte{byte(w.among(11, 126)), byte(w.IntN(256))},
		six:    [4]byte{0x2a, byte(w.IntN(32)), byte(w.IntN(256)), byte(w.IntN(256))},
		ttl:    time.Duration(ttls[w.IntN(len(ttls))]) * time.Second,
		named:  w.about(0.45), both: w.about(0.5), marked: w.about(0.12), service: w.about(0.05),
		numbered: w.yes(0.6), ordered: w.about(0.4), joint: w.yes(0.4), hints: w.about(0.12),
	}
	sum := 0.0
	for k, p := range []float64{0.06, 0.05, 0.14, 0.22, 0.25, 0.28} {
		sum += w.about(p)
		o.plan[k] = sum
	}
	for k := range o.plan {
		o.plan[k] /= sum
	}
	return o
}

// machine is a host with one address of each family.
type machine struct{ four, six netip.Addr }

// host makes a machine somewhere in the operator's network.
func (o *operator) host(w *world) machine {
	four := [4]byte{o.four[0], o.four[1], byte(w.IntN(256)), byte(w.among(2, 254))}
	var net [8]byte
	copy(net[:], o.six[:])
	net[5], net[7] = byte(w.IntN(256)), byte(w.IntN(256))
	return machine{netip.AddrFrom4(four), o.number(w, net, four)}
}

// number makes the IPv6 address of a host by one of the operator's plans.
func (o *operator) number(w *world, net [8]byte, four [4]byte) netip.Addr {
	var six [16]byte
	copy(six[:], net[:])
	switch x := w.Float64(); {
	case x < o.plan[0]:
		copy(six[12:], four[:])
	case x < o.plan[1]:
		for i, octet := range four {
			binary.BigEndian.PutUint16(six[8+2*i:], spelled(octet))
		}
	case x < o.plan[2]:
		binary.BigEndian.PutUint16(six[14:], spelled(four[3]))
	case x < o.plan[3]:
		binary.BigEndian.PutUint64(six[8:], w.Uint64())
		six[11], six[12] = 0xff, 0xfe // EUI-64
	case x < o.plan[4]:
		six[15] = byte(w.among(1, 20))
	default:
		binary.BigEndian.PutUint64(six[8:], w.Uint64())
	}
	return netip.AddrFrom16(six)
}

// spelled is the group whose hexadecimal digits are the octet's decimal ones.
func spelled(octet byte) uint16 {
	return uint16(octet/100)<<8 | uint16(octet/10%10)<<4 | uint16(octet%10)
}

// words name hosts that have no numbers.
const words = "alder birch cedar elm fir hazel larch maple oak pine rowan spruce willow yew"

// hostName is the name of the nth host.
func (o *operator) hostName(w *world, n int) string {
	if o.numbered {
		return fmt.Sprintf("web%d.%s", n+1, o.domain)
	}
	list := strings.Fields(words)
	return fmt.Sprintf("%s.%s", list[(n+w.IntN(3))%len(list)], o.domain)
}

// reverseNames gives addresses of one host their PTR records.
func (b *builder) reverseNames(name string, addrs ...netip.Addr) {
	w := b.w
	if !w.yes(b.op.named) {
		for _, a := range addrs {
			if w.yes(0.5) {
				b.reverse = append(b.reverse, hostid.Reverse{Addr: a, Name: providerName(a), Confirmed: w.yes(0.6)})
			}
		}
		return
	}
	marked := w.yes(b.op.marked)
	for i, a := range addrs {
		if i > 0 && !w.yes(b.op.both) {
			continue
		}
		n := name
		if marked {
			n = map[bool]string{true: "v4.", false: "v6."}[a.Is4()] + name
		}
		b.reverse = append(b.reverse, hostid.Reverse{Addr: a, Name: n, Confirmed: w.yes(0.8)})
	}
}

// providerName is what providers call an address that nobody named.
func providerName(a netip.Addr) string {
	if a.Is4() {
		return "static-" + strings.ReplaceAll(a.String(), ".", "-") + ".provider.example"
	}
	return strings.ReplaceAll(a.StringExpanded(), ":", "-") + ".provider.example"
}

// network is a content network or an anycast service.
type network struct {
	domain string
	four   [2]byte
	six    [4]byte
	embeds bool    // its IPv6 addresses have the IPv4 ones in them
	listed bool    // the table has its prefixes
	one    float64 // both families of a node end at one machine
	class  hostid.Class
	ttl    time.Duration
}

func (w *world) network(i int) *network {
	n := &network{
		domain: fmt.Sprintf("edge.cdn%d.example", i), four: [2]byte{byte(130 + i), byte(w.IntN(256))},
		six: [4]byte{0x26, byte(w.IntN(256)), byte(i), 0}, embeds: w.yes(0.4), listed: w.yes(0.75), one: w.about(0.12),
		class: hostid.CDN, ttl: time.Duration(w.among(20, 300)) * time.Second,
	}
	if i%3 == 0 {
		n.class, n.one, n.ttl = hostid.Anycast, w.about(0.04), 300*time.Second
	}
	return n
}

// node makes a front end.
func (n *network) node(w *world) machine {
	four := [4]byte{n.four[0], n.four[1], byte(w.IntN(8)), byte(w.among(1, 254))}
	var six [16]byte
	copy(six[:], n.six[:])
	switch six[5] = byte(w.IntN(8)); {
	case n.embeds:
		copy(six[12:], four[:])
	default:
		binary.BigEndian.PutUint32(six[12:], w.Uint32())
	}
	return machine{netip.AddrFrom4(four), netip.AddrFrom16(six)}
}

// prefixTable lists the networks that are known.
func (w *world) prefixTable() *hostid.Prefixes {
	var text strings.Builder
	for _, n := range w.networks {
		if n.listed {
			fmt.Fprintf(&text, "%d.%d.0.0/16 %s\n", n.four[0], n.four[1], n.class)
			fmt.Fprintf(&text, "%s/32 %s\n", netip.AddrFrom16([16]byte{n.six[0], n.six[1], n.six[2], n.six[3]}), n.class)
		}
	}
	t, err := hostid.ParsePrefixes(strings.NewReader(text.String()))
	if err != nil {
		panic(err) // the text above is not of the format
	}
	return t
}
