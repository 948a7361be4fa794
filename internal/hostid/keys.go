package hostid

import (
	"net/netip"
	"slices"
	"time"
)

// The bounds of what is kept of keys.
const (
	// MaxKeyed is how many names have keys kept, each MaxAddrs.
	MaxKeyed = 512
	// KeyLifetime is how long a key counts that was met at an address.
	KeyLifetime = 24 * time.Hour
	// maxKeyText is how many octets the type and the fingerprint of a key have.
	maxKeyText = 128
)

// Identity is a key that a caller met at an address.
type Identity struct {
	Addr  netip.Addr
	SSH   bool      // an SSH host key; else a TLS certificate
	Type  string    // of the key: "ssh-ed25519"; those of different types are not compared
	Print string    // its fingerprint, in any form that is equal when the keys are
	Seen  time.Time // when it was met
}

// Identities compares the keys that a caller met at addresses of one name under
// which it asked. At most the first MaxAddrs are compared. What it says counts
// until the older of the two keys is KeyLifetime old.
func Identities(met []Identity, now time.Time) []Evidence {
	var out []Evidence
	met = met[:min(len(met), MaxAddrs)]
	for i, a := range met {
		for _, b := range met[:i] {
			if !a.comparable(b) {
				continue
			}
			older := a.Seen
			if b.Seen.Before(older) {
				older = b.Seen
			}
			if e := compareKeys(a, b, older); now.Before(e.Expires) {
				out = append(out, e)
			}
		}
	}
	return out
}

// comparable tells whether two keys say something of their addresses.
func (i Identity) comparable(o Identity) bool {
	return i.SSH == o.SSH && i.Type == o.Type && i.Addr.Unmap() != o.Addr.Unmap()
}

// compareKeys is what two keys say, of which the older was seen at a time.
func compareKeys(a, b Identity, seen time.Time) Evidence {
	kind := OtherCertificate
	switch equal := a.Print == b.Print; {
	case a.SSH && equal:
		kind = SameHostKey
	case a.SSH:
		kind = OtherHostKey
	case equal:
		kind = SameCertificate
	}
	return Evidence{
		Kind: kind, A: []netip.Addr{b.Addr.Unmap(), a.Addr.Unmap()}, Source: "keys",
		Seen: seen, Expires: seen.Add(KeyLifetime), Detail: a.Type,
	}
}

// Meet keeps a key that was met at an address of name; it takes the place of one of
// the same type there. When a name has MaxAddrs keys the one met first goes; when
// there are MaxKeyed names, the one at which none was met for the longest time.
// Snapshot leaves keys out: who connects meets them again.
func (m *Memory) Meet(name string, i Identity) {
	i.Addr = i.Addr.Unmap()
	if !i.Addr.IsValid() || len(name) > MaxName || len(i.Type) > maxKeyText || len(i.Print) > maxKeyText {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	met := m.met.take(name, func() []Identity { return nil })
	*met = slices.DeleteFunc(*met, func(o Identity) bool { return o.Addr == i.Addr && o.SSH == i.SSH && o.Type == i.Type })
	if len(*met) >= MaxAddrs {
		*met = slices.Delete(*met, 0, 1)
	}
	*met = append(*met, i)
}

// keys is what the keys that were met say of addrs. The lock is held.
func (m *Memory) keys(name string, addrs []netip.Addr, now time.Time) []Evidence {
	all := m.met.peek(name)
	if all == nil {
		return nil
	}
	met := slices.Clone(*all)
	met = slices.DeleteFunc(met, func(i Identity) bool { return !slices.Contains(addrs, i.Addr) })
	return Identities(met, now)
}
