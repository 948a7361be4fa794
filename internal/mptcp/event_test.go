package mptcp

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
)

// attr is one netlink attribute.
func attr(typ uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func attrs(list ...[]byte) (all []byte) {
	for _, a := range list {
		all = append(all, a...)
	}
	return all
}

func u16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// mapped1 and mapped2 are IPv4-mapped addresses of an AF_INET6 socket.
var (
	token1  = attr(eventToken, u32(0x172d266a)...)
	mapped1 = netip.MustParseAddr("::ffff:10.0.1.2").As16()
	mapped2 = netip.MustParseAddr("::ffff:10.1.1.2").As16()
	v6addr1 = netip.MustParseAddr("fd00:1::2").As16()
	v6addr2 = netip.MustParseAddr("fd00:11::2").As16()
	ports   = attrs(attr(eventSourcePort, 0xe8, 0xc8), attr(eventDestPort, 0x1b, 0x58)) // 59592, 7000
)

// events are messages as the kernel sends them, and what they say.
var events = []struct {
	name    string
	command uint8
	attrs   []byte
	want    Event
}{
	{
		"created over IPv6", 1,
		attrs(token1, attr(2, u16(10)...), attr(eventLocalID, 0), attr(eventRemoteID, 0),
			attr(eventSourceIPv6, v6addr1[:]...), attr(eventDestIPv6, v6addr2[:]...), ports),
		Event{
			Type: Created, Token: 0x172d266a,
			Local: netip.MustParseAddrPort("[fd00:1::2]:59592"), Remote: netip.MustParseAddrPort("[fd00:11::2]:7000"),
		},
	},
	{
		"created, mapped, C flag, server by the old attribute", 1,
		attrs(token1, attr(2, u16(10)...), attr(eventSourceIPv6, mapped1[:]...), attr(eventDestIPv6, mapped2[:]...),
			ports, attr(eventFlags, u16(FlagDenyJoinInitial)...), attr(eventServerSide, 1)),
		Event{
			Type: Created, Token: 0x172d266a, Flags: FlagDenyJoinInitial, ServerSide: true,
			Local: netip.MustParseAddrPort("10.0.1.2:59592"), Remote: netip.MustParseAddrPort("10.1.1.2:7000"),
		},
	},
	{
		"established, server by the flag", 2,
		attrs(token1, attr(eventFlags, u16(FlagServerSide)...)),
		Event{Type: Established, Token: 0x172d266a, Flags: FlagServerSide, ServerSide: true},
	},
	{
		"joined", 10,
		attrs(token1, attr(2, u16(2)...), attr(eventLocalID, 1), attr(eventRemoteID, 2),
			attr(eventSourceIPv4, 10, 0, 1, 2), attr(eventDestIPv4, 10, 1, 1, 2), ports,
			attr(eventBackup, 1), attr(eventIfIndex, u32(3)...)),
		Event{
			Type: SubflowEstablished, Token: 0x172d266a, LocalID: 1, RemoteID: 2, Backup: true, IfIndex: 3,
			Local: netip.MustParseAddrPort("10.0.1.2:59592"), Remote: netip.MustParseAddrPort("10.1.1.2:7000"),
		},
	},
	{
		"closed, interference", 11,
		attrs(token1, attr(eventError, 104), attr(eventResetReason, u32(6)...), attr(17, u32(0)...)),
		Event{
			Type: SubflowClosed, Token: 0x172d266a, Errno: syscall.Errno(104), HasError: true,
			ResetReason: 6, HasReset: true,
		},
	},
	{"closed without error", 11, attrs(token1, attr(eventBackup, 0)), Event{Type: SubflowClosed, Token: 0x172d266a}},
	{
		"announced", 6,
		attrs(token1, attr(eventRemoteID, 1), attr(eventDestIPv4, 10, 1, 2, 2), attr(eventDestPort, 0x1b, 0x58)),
		Event{Type: Announced, Token: 0x172d266a, RemoteID: 1, Remote: netip.MustParseAddrPort("10.1.2.2:7000")},
	},
	{"removed", 7, attrs(token1, attr(eventRemoteID, 9)), Event{Type: Removed, Token: 0x172d266a, RemoteID: 9}},
	{"connection closed", 3, token1, Event{Type: Closed, Token: 0x172d266a}},
	{"nothing known", 77, attr(99, 1, 2, 3), Event{Type: 77}},
	{"empty", 3, nil, Event{Type: Closed}},
}

func TestParseEvent(t *testing.T) {
	for _, test := range events {
		got, err := ParseEvent(test.command, test.attrs)
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
}

func TestParseEventErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"short token":         attr(eventToken, 1, 2),
		"long port":           attr(eventDestPort, 1, 2, 3),
		"IPv4 of 16 octets":   attr(eventSourceIPv4, make([]byte, 16)...),
		"IPv6 of 4 octets":    attr(eventDestIPv6, 1, 2, 3, 4),
		"address of 5 octets": attr(eventDestIPv4, make([]byte, 5)...),
		"length beyond end":   u32(0x00ff00ff),
		"half a header":       {4, 0},
	} {
		if e, err := ParseEvent(1, b); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestEventTypeString(t *testing.T) {
	for typ, want := range map[EventType]string{
		Created: "created", SubflowClosed: "subflow closed", EventsLost: "events lost", 42: "event 42",
	} {
		if got := typ.String(); got != want {
			t.Errorf("%d: %q, want %q", uint8(typ), got, want)
		}
	}
}

// FuzzParseEvent: whatever the octets, no panic, unmapped addresses, and
// errors without an event.
func FuzzParseEvent(f *testing.F) {
	for _, test := range events {
		f.Add(test.command, test.attrs)
		if e, err := ParseEvent(test.command, test.attrs); err != nil || e != test.want {
			f.Fatalf("seed %s: %+v, %v", test.name, e, err)
		}
	}
	f.Fuzz(func(t *testing.T, command uint8, b []byte) {
		e, err := ParseEvent(command, b)
		if err != nil {
			if e != (Event{}) {
				t.Errorf("event %+v beside %v", e, err)
			}
			return
		}
		if e.Type != EventType(command) || e.Local.Addr().Is4In6() || e.Remote.Addr().Is4In6() {
			t.Errorf("%+v", e)
		}
		if (e.Errno != 0 && !e.HasError) || (e.ResetReason != 0 && !e.HasReset) {
			t.Errorf("%+v", e)
		}
	})
}

func BenchmarkParseEvent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvent(events[3].command, events[3].attrs); err != nil {
			b.Fatal(err)
		}
	}
}
