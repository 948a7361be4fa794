package broker

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

var (
	local4  = netip.MustParseAddrPort("192.0.2.1:0")
	remote4 = netip.MustParseAddrPort("198.51.100.1:443")
	remote6 = netip.MustParseAddrPort("[2001:db8::1]:443")
)

// messages is the corpus of the tables and of the fuzzer: each message and its
// octets.
var messages = []struct {
	name    string
	message message
	octets  string
}{
	{"greeting", greeting{1}, "01 6d7062726f6b6572 0001"},
	{"attach", attach{0x0203}, "02 0203"},
	{"attached", attached{0xdeadbeef}, "03 deadbeef"},
	{
		"create",
		request{ID: 1, Op: opCreate, Subflow: mptcp.Subflow{Local: local4, Remote: remote4, LocalID: 3, Backup: true, IfIndex: 2}},
		"04 00000001 01 04c00002010000 04c633640101bb 03 01 00000002",
	},
	{
		"create from anywhere",
		request{ID: 2, Op: opCreate, Subflow: mptcp.Subflow{Remote: remote6}},
		"04 00000002 01 000000 0620010db800000000000000000000000101bb 00 00 00000000",
	},
	{
		"destroy",
		request{ID: 3, Op: opDestroy, Subflow: mptcp.Subflow{Local: local4, Remote: remote4}},
		"04 00000003 02 04c00002010000 04c633640101bb 00 00 00000000",
	},
	{
		"backup",
		request{ID: 4, Op: opBackup, Subflow: mptcp.Subflow{Local: local4, Remote: remote4}, Backup: true},
		"04 00000004 03 04c00002010000 04c633640101bb 00 00 00000000 01",
	},
	{"announce", request{ID: 5, Op: opAnnounce, AddrID: 7, Addr: local4}, "04 00000005 04 07 04c00002010000"},
	{"remove", request{ID: 0xffffffff, Op: opRemove, AddrID: 9}, "04 ffffffff 05 09"},
	{
		"report",
		request{ID: 6, Op: opReport, Name: "a.example", Addrs: []netip.Addr{remote6.Addr()}, Outcome: OtherHost},
		"04 00000006 06 04 01 0620010db8000000000000000000000001 612e6578616d706c65",
	},
	{
		"look up",
		request{ID: 7, Op: opLookUp, Name: "b", Addrs: []netip.Addr{remote6.Addr(), remote4.Addr()}},
		"04 00000007 07 00 02 0620010db8000000000000000000000001 04c6336401 62",
	},
	{
		"known",
		reply{ID: 7, Code: codeKnown, Known: []known{{Joined, true, 3}, {}, {Unreachable, false, 0xffffffff}}},
		"05 00000007 04 00000000 01 01 00000003 00 00 00000000 09 00 ffffffff",
	},
	{"done", reply{ID: 1}, "05 00000001 00 00000000"},
	{"kernel's refusal", reply{ID: 1, Code: codeKernel, Errno: 22, Text: "no"}, "05 00000001 01 00000016 6e6f"},
	{"broker's refusal", reply{ID: 1, Code: codeRefused, Text: "no"}, "05 00000001 02 00000000 6e6f"},
	{
		"event",
		event{mptcp.Event{
			Type: mptcp.SubflowClosed, Local: local4, Remote: remote4, LocalID: 1, RemoteID: 2, HasError: true,
			Errno: syscall.Errno(111), HasReset: true, ResetReason: 6, Flags: 1, IfIndex: 3,
		}},
		"06 0b 04c00002010000 04c633640101bb 01 02 06 0000006f 00000006 0001 00000003",
	},
	{"events lost", event{mptcp.Event{Type: mptcp.EventsLost}}, "06 ff 000000 000000 00 00 00 00000000 00000000 0000 00000000"},
	{
		"all bits",
		event{mptcp.Event{Backup: true, HasError: true, HasReset: true, ServerSide: true}},
		"06 00 000000 000000 00 00 0f 00000000 00000000 0000 00000000",
	},
	{"end", end{"why"}, "07 776879"},
	{"end without a word", end{}, "07"},
}

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var equateAddrs = cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})

func TestMessages(t *testing.T) {
	for _, test := range messages {
		t.Run(test.name, func(t *testing.T) {
			want := octets(t, test.octets)
			if got := test.message.append(nil); !bytes.Equal(got, want) {
				t.Errorf("append gives\n%x, want\n%x", got, want)
			}
			got, err := parse(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.message, got, equateAddrs); diff != "" {
				t.Errorf("parse: %s", diff)
			}
		})
	}
}

// TestTruncated: no message parses without its last octet, unless that is text,
// nor with one more.
func TestTruncated(t *testing.T) {
	for _, test := range messages {
		t.Run(test.name, func(t *testing.T) {
			b := octets(t, test.octets)
			switch m := test.message.(type) {
			case reply:
				b = b[:len(b)-len(m.Text)]
				if len(m.Known) > 0 { // there may be less, but not in part
					b = b[:15]
				}
			case end:
				b = b[:1]
			case request:
				// A name may be shorter, but not empty.
				b = b[:len(b)-max(len(m.Name)-1, 0)]
			default:
				if _, err := parse(append(bytes.Clone(b), 0)); !errors.Is(err, errLong) {
					t.Errorf("one more octet: %v", err)
				}
			}
			for n := range b {
				if m, err := parse(b[:n]); err == nil {
					t.Errorf("%d octets: %+v", n, m)
				}
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	tests := []struct {
		name, octets string
		want         error
	}{
		{"empty", "", errShort},
		{"kind 0", "00", errKind},
		{"kind 8", "08", errKind},
		{"another protocol", "01 6d7062726f6b6573 0001", errMismatch},
		{"operation 0", "04 00000001 00", errValue},
		{"operation 8", "04 00000001 08", errValue},
		{"report without outcome", "04 00000006 06 00 01 04c6336401 62", errValue},
		{"report of an unknown outcome", "04 00000006 06 0a 01 04c6336401 62", errValue},
		{"report of two addresses", "04 00000006 06 01 02 04c6336401 04c6336402 62", errValue},
		{"report of no address", "04 00000006 06 01 01 00 62", errValue},
		{"report of an IPv4-mapped address", "04 00000006 06 01 01 06 00000000000000000000ffffc0000201 62", errValue},
		{"report without name", "04 00000006 06 01 01 04c6336401", errValue},
		{"report of a long name", "04 00000006 06 01 01 04c6336401" + strings.Repeat("61", MaxName+1), errValue},
		{"look-up with outcome", "04 00000006 07 01 01 04c6336401 62", errValue},
		{"look-up of nothing", "04 00000006 07 00 00 62", errValue},
		{"look-up of too many", "04 00000006 07 00 0d" + strings.Repeat("04c6336401", MaxLookup+1) + "62", errValue},
		{"nothing known", "05 00000001 04 00000000", errValue},
		{"too much known", "05 00000001 04 00000000" + strings.Repeat("010100000000", MaxLookup+1), errValue},
		{"unknown outcome known", "05 00000001 04 00000000 0a 00 00000000", errValue},
		{"known in part", "05 00000001 04 00000000 01 01 000000", errShort},
		{"family 5", "04 00000005 04 07 05c00002010000", errValue},
		{"IPv4-mapped", "04 00000005 04 07 06 00000000000000000000ffffc0000201 0000", errValue},
		{"backup 2", "04 00000004 03 04c00002010000 04c633640101bb 00 00 00000000 02", errValue},
		{"interface -1", "04 00000003 02 04c00002010000 04c633640101bb 00 00 ffffffff", errValue},
		{"code 5", "05 00000001 05 00000000", errValue},
		{"kernel's refusal without errno", "05 00000001 01 00000000", errValue},
		{"done with errno", "05 00000001 00 00000001", errValue},
		{"event bit 4", "06 00 000000 000000 00 00 10 00000000 00000000 0000 00000000", errValue},
		{"text not UTF-8", "07 ff", errValue},
		{"long text", "07" + strings.Repeat("61", MaxText+1), errValue},
		{"long message", "07" + strings.Repeat("61", MaxMessage), errLong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if m, err := parse(octets(t, test.octets)); !errors.Is(err, test.want) {
				t.Errorf("%+v, %v; want %v", m, err, test.want)
			}
		})
	}
}

// FuzzParse: what parses is written in the same octets.
func FuzzParse(f *testing.F) {
	if len(messages) == 0 {
		f.Fatal("no seeds")
	}
	for _, test := range messages {
		b := octets(f, test.octets)
		if _, err := parse(b); err != nil {
			f.Fatalf("seed %s: %v", test.name, err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if again := m.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%+v: %x became %x", m, b, again)
		}
	})
}

// TestText: any text fits into a message, and what fits is not changed.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text") + strings.Repeat("é", rapid.IntRange(0, MaxText).Draw(t, "more")) +
			string(rapid.SliceOf(rapid.Byte()).Draw(t, "octets"))
		b := reply{ID: 1, Code: codeFailed, Text: text}.append(nil)
		m, err := parse(b)
		if err != nil {
			t.Fatalf("%d octets of text: %v", len(text), err)
		}
		if got := m.(reply).Text; utf8.ValidString(text) && len(text) <= MaxText && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}

// TestLongest: every message fits into MaxMessage.
func TestLongest(t *testing.T) {
	text := strings.Repeat("x", MaxMessage)
	for _, m := range []message{
		reply{Code: codeRefused, Text: text},
		end{text},
		event{mptcp.Event{Local: remote6, Remote: remote6}},
		request{Op: opBackup, Subflow: mptcp.Subflow{Local: remote6, Remote: remote6}},
		request{Op: opLookUp, Name: text[:MaxName], Addrs: slices.Repeat([]netip.Addr{remote6.Addr()}, MaxLookup)},
		reply{Code: codeKnown, Known: make([]known, MaxLookup)},
	} {
		if _, err := parse(m.append(nil)); err != nil {
			t.Errorf("%T: %v", m, err)
		}
		if n := len(m.append(nil)); n > MaxMessage {
			t.Errorf("%T has %d octets", m, n)
		}
	}
}

// TestResults: what the path manager says on one side of the wire, it says on
// the other.
func TestResults(t *testing.T) {
	tests := []struct {
		err     error
		is, not error
	}{
		{nil, nil, nil},
		{&mptcp.OpError{Errno: syscall.ENOTCONN, Msg: "connect error: -107"}, mptcp.ErrNotEstablished, ErrRefused},
		{&mptcp.OpError{Errno: syscall.EPERM}, mptcp.ErrNotPermitted, ErrRefused},
		{&mptcp.OpError{Errno: syscall.ESRCH}, mptcp.ErrSubflowNotFound, ErrRefused},
		{&mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackKernelManaged}, mptcp.ErrKernelManaged, ErrRefused},
		{&mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackUnknownToken}, mptcp.ErrUnknownToken, ErrRefused},
		{&mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackFamilyMismatch}, mptcp.ErrFamilyMismatch, ErrRefused},
		{&mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackLocalID}, mptcp.ErrLocalID, ErrRefused},
		{refusal{errPort}, ErrRefused, mptcp.ErrNotPermitted},
	}
	for _, test := range tests {
		m, err := parse(newReply(7, nil, test.err).append(nil))
		if err != nil {
			t.Fatal(err)
		}
		got := m.(reply).result(opCreate.String())
		if !errors.Is(got, test.is) || test.not != nil && errors.Is(got, test.not) {
			t.Errorf("%v became %v", test.err, got)
		}
	}
	failed := newReply(7, nil, errors.New("broken")).result(opCreate.String())
	if failed == nil || errors.Is(failed, ErrRefused) || !strings.Contains(failed.Error(), "broken") {
		t.Errorf("failure became %v", failed)
	}
}
