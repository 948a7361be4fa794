package hosts

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// single is one dual-stack machine.
func (w *world) single(b *builder) {
	m := b.op.host(w)
	b.add(m.four, 0)
	b.add(m.six, 0)
	name := b.op.hostName(w, w.IntN(9))
	if w.yes(0.3) {
		name = b.name
	}
	b.reverseNames(name, m.four, m.six)
	b.hinted()
}

// hinted gives the name an HTTPS record with all its addresses as hints.
func (b *builder) hinted() {
	if b.w.yes(b.op.hints) {
		b.services = append(b.services, hostid.Service{Target: b.name, Addrs: b.addrs, Hints: true})
	}
}

// multihomed is one machine with addresses of two or three providers.
func (w *world) multihomed(b *builder) {
	name := b.op.hostName(w, w.IntN(9))
	named := w.yes(b.op.named)
	for i := range w.among(2, 3) {
		provider := w.operators[w.IntN(len(w.operators))]
		m := provider.host(w)
		b.add(m.four, 0)
		b.add(m.six, 0)
		n := name
		if w.yes(0.3) {
			n = fmt.Sprintf("isp%d.%s", i, name)
		}
		if named {
			b.reverseNames(n, m.four, m.six)
		}
	}
}

// pool is several machines in one prefix.
func (w *world) pool(b *builder) {
	n := w.among(2, 10)
	ordered := w.yes(b.op.ordered)
	first := b.op.host(w)
	for i := range n {
		m := b.op.host(w)
		four, six := m.four.As4(), m.six.As16()
		base4, base6 := first.four.As4(), first.six.As16()
		copy(four[:3], base4[:3])
		copy(six[:8], base6[:8])
		if ordered {
			four[3] = byte(int(base4[3])%200 + i)
			six = base6
			six[14], six[15] = 0, byte(int(base6[15])%200+i)
		}
		b.member(machine{netip.AddrFrom4(four), netip.AddrFrom16(six)}, i)
	}
	b.hinted()
}

// member adds a machine of a pool, with its reverse names.
func (b *builder) member(m machine, i int) {
	if b.w.yes(0.9) || i < 2 {
		b.add(m.six, i)
	}
	b.add(m.four, i)
	name := b.op.hostName(b.w, i)
	if b.op.service > 0.05 && len(b.name)%2 == 0 {
		name = b.name
	}
	b.reverseNames(name, m.four, m.six)
}

// sites is several machines in as many places.
func (w *world) sites(b *builder) {
	for i := range w.among(2, 6) {
		b.member(b.op.host(w), i)
	}
}

// cdn is a set of front ends of a content network.
func (w *world) cdn(b *builder) { w.fronts(b, hostid.CDN, w.among(1, 4)) }

// anycast is one to three anycast addresses of each family.
func (w *world) anycast(b *builder) { w.fronts(b, hostid.Anycast, w.among(1, 3)) }

// fronts is a number of front ends, of which the two families are seldom one
// machine.
func (w *world) fronts(b *builder, class hostid.Class, n int) {
	net := w.networks[w.IntN(len(w.networks))]
	for net.class != class {
		net = w.networks[w.IntN(len(w.networks))]
	}
	b.ttl = [2]time.Duration{net.ttl, net.ttl}
	if w.yes(0.6) {
		name := fmt.Sprintf("%s.%s", b.name, net.domain)
		b.canonical = [2]string{name, name}
	}
	b.names = map[netip.Addr]int{}
	var pool []machine
	for range n + w.IntN(5) {
		pool = append(pool, net.node(w))
	}
	rotating := len(pool) > n && w.yes(0.6)
	for i, m := range pool[:n] {
		b.add(m.four, 2*i)
		b.add(m.six, 2*i+1)
		if w.yes(net.one) {
			b.host[m.six] = 2 * i
		}
		b.names[m.four], b.names[m.six] = w.IntN(9), w.IntN(9)
	}
	if rotating {
		b.rotate(pool, n, true)
	}
	if w.yes(0.4) {
		b.services = append(b.services, hostid.Service{Target: b.name, Addrs: b.addrs, Hints: true})
	}
}

// rotating is a pool of which each answer has a part.
func (w *world) rotating(b *builder) {
	n := w.among(4, 12)
	shown := w.among(1, min(4, n-1))
	var pool []machine
	for range n {
		pool = append(pool, b.op.host(w))
	}
	picks := w.picks(n, shown, b.op.joint)
	for i, m := range pool {
		if slices.Contains(picks[0], i) {
			b.add(m.four, i)
			b.reverseNames(b.op.hostName(w, i), m.four)
		}
		if slices.Contains(picks[1], i) {
			b.add(m.six, i)
			b.reverseNames(b.op.hostName(w, i), m.six)
		}
	}
	b.rotate(pool, shown, b.op.joint)
}

// picks draws the machines of which an answer has the IPv4 and the IPv6 address.
func (w *world) picks(n, shown int, joint bool) [2][]int {
	four, six := w.Perm(n)[:shown], w.Perm(n)[:shown]
	if joint {
		six = four
	}
	return [2][]int{four, six}
}

// rotate makes a past of answers that are parts of a pool.
func (b *builder) rotate(pool []machine, shown int, joint bool) {
	b.past = []hostid.Sighting{}
	for i := range b.w.IntN(hostid.MaxSightings + 1) {
		picks := b.w.picks(len(pool), shown, joint)
		var set []netip.Addr
		for k, m := range pool {
			if slices.Contains(picks[0], k) {
				set = append(set, m.four)
			}
			if slices.Contains(picks[1], k) {
				set = append(set, m.six)
			}
		}
		b.past = append(b.past, b.sighting(10*(hostid.MaxSightings-i), set))
	}
}

// srv is one host for each target; now and then two targets are one host.
func (w *world) srv(b *builder) {
	host := 0
	var last machine
	for i := range w.among(2, 6) {
		m := b.op.host(w)
		if i > 0 && w.yes(0.01) {
			m.four = last.four // another name of the same host
		} else {
			host = i
		}
		b.add(m.four, host)
		b.add(m.six, host)
		name := b.op.hostName(w, i)
		b.services = append(b.services, hostid.Service{Target: fmt.Sprintf("t%d.%s", i, b.op.domain), Addrs: []netip.Addr{m.four, m.six}})
		b.reverseNames(name, m.four, m.six)
		last = m
	}
}

// balancer is a rented load balancer: what ends there may be one machine or not.
func (w *world) balancer(b *builder) {
	b.ttl = [2]time.Duration{time.Minute, time.Minute}
	name := fmt.Sprintf("lb%d.cloud.example", w.IntN(1e6))
	b.canonical = [2]string{name, name}
	for i := range w.among(1, 3) {
		m := b.op.host(w)
		b.add(m.four, 2*i)
		b.add(m.six, 2*i+1)
		if w.yes(0.5) {
			b.host[m.six] = 2 * i
		}
	}
}

// split is one machine for each family.
func (w *world) split(b *builder) {
	other := w.operators[w.IntN(len(w.operators))]
	one, two := b.op.host(w), other.host(w)
	two.six = w.mirrored(one.four, two.six)
	b.add(one.four, 0)
	b.add(two.six, 1)
	b.reverseNames(b.op.hostName(w, 0), one.four)
	b.reverseNames(b.op.hostName(w, 1), two.six)
	if w.yes(0.4) {
		b.ttl = [2]time.Duration{b.op.ttl, other.ttl}
	}
}

// mirrored gives an IPv6 address, now and then, the number of an IPv4 address of
// another machine, as operators do who want them to look alike.
func (w *world) mirrored(four, six netip.Addr) netip.Addr {
	if !w.yes(0.15) {
		return six
	}
	b := six.As16()
	octet := four.As4()[3]
	clear(b[8:])
	b[14], b[15] = byte(spelled(octet)>>8), byte(spelled(octet))
	return netip.AddrFrom16(b)
}

// several is one machine with a number of addresses in one prefix.
func (w *world) several(b *builder) {
	m := b.op.host(w)
	n := w.among(2, 5)
	four, six := m.four.As4(), m.six.As16()
	ordered, only := w.yes(0.7), w.IntN(6) // 0 and 1: one family only
	for i := range n {
		if i > 0 && ordered {
			four[3]++
			six[15]++
		} else if i > 0 {
			four[3], six[15] = byte(w.IntN(256)), byte(w.IntN(256))
		}
		if only != 1 {
			b.add(netip.AddrFrom16(six), 0)
		}
		if only != 0 {
			b.add(netip.AddrFrom4(four), 0)
		}
	}
	b.reverseNames(b.op.hostName(w, w.IntN(9)), b.addrs...)
}

// twoNames has an alias for A that ends elsewhere than that for AAAA.
func (w *world) twoNames(b *builder) {
	b.canonical = [2]string{"four." + b.name, "six." + b.name}
	same := w.yes(0.002)
	for i := range w.among(1, 3) {
		one, two := b.op.host(w), b.op.host(w)
		two.six = w.mirrored(one.four, two.six)
		if same {
			two.six = one.six
		}
		b.add(one.four, 2*i)
		b.add(two.six, 2*i+1)
		if same {
			b.host[two.six] = 2 * i
		}
	}
}

// published is one host that says so; one in a hundred is wrong.
func (w *world) published(b *builder) {
	w.multihomed(b)
	if w.yes(0.01) {
		for i, a := range b.addrs {
			b.host[a] = i
		}
	}
	b.services = append(b.services, hostid.Service{Target: b.name, Addrs: b.addrs, Hints: true, OneHost: true})
}

// shared is one machine with many names.
func (w *world) shared(b *builder) {
	m := b.op.host(w)
	b.add(m.four, 0)
	b.add(m.six, 0)
	b.names = map[netip.Addr]int{m.four: w.among(1, 12), m.six: 1}
	if w.yes(0.5) {
		b.names[m.six] = b.names[m.four]
	}
	b.reverseNames(b.op.hostName(w, w.IntN(9)), m.four, m.six)
}

// nat64 is an IPv4 host whose IPv6 address a resolver has made up.
func (w *world) nat64(b *builder) {
	m := b.op.host(w)
	four := m.four.As4()
	six := [16]byte{0, 0x64, 0xff, 0x9b}
	copy(six[12:], four[:])
	b.add(m.four, 0)
	b.add(netip.AddrFrom16(six), 0)
	b.reverseNames(b.op.hostName(w, 0), m.four)
}
