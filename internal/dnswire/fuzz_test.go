package dnswire_test

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// FuzzName checks the readers of names inside messages: they agree on where a name ends, what they
// read is a name within its limits, and a name that the reference implementation refuses they do too.
func FuzzName(f *testing.F) {
	for _, s := range [][]byte{pointerChain(3), bigReply(f), raw(1, 0, "\xc0\x0c"), raw(1, 0, "\x3fa")} {
		if len(s) <= dnswire.HeaderLen {
			f.Fatalf("seed %x", s)
		}
		f.Add(s, dnswire.HeaderLen)
		f.Add(s, len(s)-2)
	}
	f.Fuzz(func(t *testing.T, msg []byte, off int) {
		before := []byte("before")
		appended, next, err := dnswire.AppendName(before, msg, off)
		skipped, skipErr := dnswire.SkipName(msg, off)
		if !bytes.HasPrefix(appended, before) || err != nil && len(appended) != len(before) {
			t.Fatalf("appended %x, %v", appended, err)
		}
		if err != nil {
			return
		}
		if skipErr != nil || skipped != next {
			t.Fatalf("AppendName ends at %d, SkipName at %d, %v", next, skipped, skipErr)
		}
		expanded, _, err := dnswire.ExpandName(msg, off)
		if err != nil || len(expanded) > dnswire.MaxNameLen || len(expanded) != len(appended)-len(before) {
			t.Fatalf("expanded %x, %v", expanded, err)
		}
		if again, err := dnswire.ParseName(expanded.String()); err != nil || again != expanded {
			t.Fatalf("%x reads back as %x, %v", expanded, again, err)
		}
		if _, refNext, err := dns.UnpackDomainName(msg, off); err != nil || refNext != next {
			t.Fatalf("reference: ends at %d, %v; want %d", refNext, err, next)
		}
	})
}

// FuzzOptions checks that the options of an OPT record, read and written again, are the octets that
// were read, and that FindOption finds each one's first.
func FuzzOptions(f *testing.F) {
	f.Add(dnswire.AppendEDE(dnswire.AppendOption(nil, dnswire.OptionCookie, []byte("12345678")), dnswire.EDEOther, "text"))
	f.Add([]byte{0, 10, 0, 9, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var again []byte
		first := map[dnswire.Option][]byte{}
		for code, data := range dnswire.Options(raw) {
			again = dnswire.AppendOption(again, code, data)
			if _, seen := first[code]; !seen {
				first[code] = data
			}
		}
		if !bytes.HasPrefix(raw, again) {
			t.Fatalf("%x read as %x", raw, again)
		}
		if _, _, _, more := dnswire.CutOption(raw[len(again):]); more {
			t.Fatalf("%x: stopped after %d octets", raw, len(again))
		}
		for code, want := range first {
			if data, ok := dnswire.FindOption(raw, code); !ok || !bytes.Equal(data, want) {
				t.Fatalf("option %d: %x, %v; want %x", code, data, ok, want)
			}
		}
	})
}

// FuzzCheckReply checks that a message is taken for the reply to a question only if the reference
// implementation reads it as a response with that id and question.
func FuzzCheckReply(f *testing.F) {
	q := ask(f, "www.example.com", dnswire.TypeA)
	good := dnswire.AppendQuery(nil, 7, q, dnswire.QueryOptions{})
	dnswire.PatchFlags(good, 0, dnswire.FlagQR)
	if err := dnswire.CheckReply(q, 7, good); err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint16(7))
	f.Add(good, uint16(8))
	f.Add(bigReply(f), uint16(0))
	f.Fuzz(func(t *testing.T, msg []byte, id uint16) {
		if dnswire.CheckReply(q, id, msg) != nil {
			return
		}
		end := dnswire.HeaderLen + len(q.Name) + 4
		if len(msg) < end {
			t.Fatalf("accepted %x", msg)
		}
		var m dns.Msg
		head := bytes.Clone(msg[:end]) // the records are Validate's business
		clear(head[6:dnswire.HeaderLen])
		if err := m.Unpack(head); err != nil || !m.Response || m.Id != id || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 {
			t.Fatalf("accepted %x: %v, %v", msg, &m, err)
		}
		if got := m.Question[0]; name(t, got.Name) != q.Name || got.Qtype != dns.TypeA || got.Qclass != dns.ClassINET {
			t.Fatalf("accepted the question %v", got)
		}
	})
}
