package hostid_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// sshKey is a key met at an address, so many hours after the start.
func sshKey(letter byte, print string, hours int) hostid.Identity {
	return hostid.Identity{
		Addr: node(letter), SSH: true, Type: "ssh-ed25519", Print: print,
		Seen: start.Add(time.Duration(hours) * time.Hour),
	}
}

// TestMeet: keys order the joins for a day; a new key takes the place of the old,
// and what the transport has shown goes before.
func TestMeet(t *testing.T) {
	m := hostid.NewMemory(0)
	m.Meet(name, sshKey('a', "one", 0))
	m.Meet(name, sshKey('b', "two", 1))
	m.Meet(name, sshKey('c', "one", 2))
	m.Meet("other.example:22", sshKey('d', "two", 2))
	order := func(hours int) string {
		return show(m.Order(name, node('a'), list("bcd"), start.Add(time.Duration(hours)*time.Hour)))
	}
	if got := order(3); got != "c?d?|b!" {
		t.Errorf("met: %s", got)
	}
	if got := m.Evidence(name, list("ac"), start.Add(3*time.Hour)); len(got) != 1 || got[0].Kind != hostid.SameHostKey || !got[0].Expires.Equal(start.Add(24*time.Hour)) {
		t.Errorf("the same key at two addresses: %v", got)
	}
	if got := order(25); got != "b?c?d?" {
		t.Errorf("the first is a day old: %s", got)
	}
	m.Meet(name, sshKey('a', "two", 4))
	if got := order(5); got != "b?d?|c!" {
		t.Errorf("a new key: %s", got)
	}
	m.Record(name, node('a'), node('c'), hostid.Joined, start.Add(5*time.Hour))
	if got := order(5); got != "c=d?|b!" {
		t.Errorf("joined: %s", got)
	}
	m.Forget(name)
	if got := order(5); got != "b?c?d?" {
		t.Errorf("forgotten: %s", got)
	}
}

// TestKeysAreBounded: names, addresses and texts beyond the bounds, hostile ones.
func TestKeysAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(1)
		names, addrs := rapid.IntRange(1, 2*hostid.MaxKeyed).Draw(t, "names"), rapid.IntRange(1, 2*hostid.MaxAddrs).Draw(t, "addresses")
		var all []netip.Addr
		for i := range addrs {
			all = append(all, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		}
		for i := range names {
			for _, a := range all[:min(2, len(all))] {
				m.Meet(fmt.Sprint(i), hostid.Identity{Addr: a, Print: "x", Seen: start})
			}
		}
		kept := 0
		for i := range names {
			kept += len(m.Evidence(fmt.Sprint(i), all, start))
		}
		if want := min(names, hostid.MaxKeyed) * (min(addrs, 2) - 1); kept != want {
			t.Fatalf("keys of %d names kept, want %d", kept, want)
		}
		for _, a := range all {
			m.Meet(name, hostid.Identity{Addr: a, Print: "x", Seen: start})
		}
		tail := all[max(0, addrs-hostid.MaxAddrs):]
		if n, pairs := len(m.Evidence(name, tail, start)), len(tail)*(len(tail)-1)/2; n != pairs {
			t.Fatalf("%d pairs compared of %d addresses, want %d", n, addrs, pairs)
		}
		if head := all[:len(all)-len(tail)]; len(m.Evidence(name, head, start)) != 0 {
			t.Fatal("more addresses are kept than MaxAddrs")
		}
	})
	m := hostid.NewMemory(0)
	long := string(make([]byte, hostid.MaxName+1))
	for _, i := range []hostid.Identity{sshKey('a', long, 0), {Addr: node('a'), Type: long}, {Print: "x"}} {
		m.Meet(name, i)
		m.Meet(name, sshKey('b', i.Print, 0))
	}
	m.Meet(long, sshKey('a', "x", 0))
	m.Meet(long, sshKey('b', "x", 0))
	if got := append(m.Evidence(name, list("ab"), start), m.Evidence(long, list("ab"), start)...); len(got) != 0 {
		t.Errorf("kept: %v", got)
	}
}
