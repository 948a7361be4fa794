package mpaddr

// The operations of this file go by target (see the package comment) and keep
// the order and the form that endpoints have in the receiver.

// Diff compares the set in use with the next one, as binding or connecting
// again does (sections 4.1 and 4.2 of the draft): addresses of next that are
// not in use are to be added, addresses in use that next does not include are
// no longer to be used. added is in the order of next, removed in that of a.
// Wildcard addresses and port 0 stand for themselves only.
func (a Addr) Diff(next Addr) (added, removed Addr) {
	return next.Minus(a), a.Minus(next)
}

// Union returns a followed by what b has in addition.
func (a Addr) Union(b Addr) Addr {
	extra := b.Minus(a)
	if extra.IsEmpty() {
		return a
	}
	eps := make([]Endpoint, 0, a.Len()+extra.Len())
	eps = append(eps, a.endpoints()...)
	return own(append(eps, extra.endpoints()...))
}

// Minus returns a without the targets of b.
func (a Addr) Minus(b Addr) Addr {
	x := index{eps: b.endpoints()}
	x.build()
	return a.Filter(func(e Endpoint) bool { return x.find(e) < 0 })
}

// Intersect returns what a and b have in common, in the order and form of a.
func (a Addr) Intersect(b Addr) Addr {
	x := index{eps: b.endpoints()}
	x.build()
	return a.Filter(func(e Endpoint) bool { return x.find(e) >= 0 })
}

// Filter returns the endpoints of a for which keep is true. keep is called
// once for each, in order.
func (a Addr) Filter(keep func(Endpoint) bool) Addr {
	eps := a.endpoints()
	var kept []Endpoint
	for i, e := range eps {
		if keep(e) {
			if kept == nil {
				kept = make([]Endpoint, 0, len(eps)-i)
			}
			kept = append(kept, e)
		}
	}
	if len(kept) == len(eps) {
		return a
	}
	return own(kept)
}

// WithPort returns a with every port replaced, as when a record from DNS,
// whose ports are 0, is to be connected to. Endpoints that differ in their
// port only become one.
func (a Addr) WithPort(port uint16) Addr {
	x := index{eps: make([]Endpoint, 0, a.Len())}
	for _, e := range a.endpoints() {
		x.add(e.WithPort(port))
	}
	return own(x.eps)
}

// Unmap returns a with IPv4-mapped IPv6 addresses turned into IPv4 addresses,
// see [Endpoint.Unmap]. The targets stay the same.
func (a Addr) Unmap() Addr {
	eps := make([]Endpoint, a.Len())
	for i, e := range a.endpoints() {
		eps[i] = e.Unmap()
	}
	return own(eps)
}
